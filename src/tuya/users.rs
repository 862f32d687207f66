//! Users (seed 000; contract tuya §3.1–3.3).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, Call};
use super::params::COUNTRY_CHARS_MAX;
use super::reply::{Envelope, Reply};
use crate::domain::password::Password;
use crate::domain::user::{USER_PAGE_MAX, User, UserPage, UserQuery, UserSync};
use crate::domain::{Error, Requester, Result, Schema, UsernameType};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(sync_user))
        .routes(routes!(users))
        .routes(routes!(users_v1))
        .routes(routes!(user_infos))
}

/// Replaces a private field.
const MASK: &str = "****";

/// A user to create or update.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct SyncUserBody {
    /// The country's calling code, as text or number, with or without a plus.
    country_code: String,
    /// The name, unique in the app.
    username: String,
    /// Any text; the vendor recommends the MD5 of the password.
    password: String,
    /// 1 mobile number, 2 email address, 3 anything else.
    #[schema(default = 3)]
    username_type: i64,
    nick_name: Option<String>,
    /// An IANA time zone.
    time_zone_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct UidView {
    uid: String,
}

/// Creates a user, or updates password, nick name and time zone of the one with that name.
#[utoipa::path(post, path = "/v1.0/apps/{schema}/user", tag = "users",
    params(("schema" = String, Path, description = "The app")), request_body = SyncUserBody,
    responses((status = 200, body = Envelope<UidView>)))]
async fn sync_user(call: Call) -> Reply {
    let body = call.body()?;
    let user = UserSync {
        country_code: body.required_text("country_code", COUNTRY_CHARS_MAX)?,
        username: body.required_text("username", 128)?,
        password: Password::sent(body.required_text("password", 256)?),
        username_type: match body.integer("username_type", 1..=3)? {
            Some(number) => UsernameType::from_number(number).unwrap_or(UsernameType::Other),
            None => UsernameType::Other,
        },
        nick_name: body.text("nick_name", 128)?,
        time_zone_id: body.text("time_zone_id", 64)?,
    };
    let uid = call.cloud().sync_user(&call.caller, &schema(&call), user).await?;
    call.answer(UidView { uid: uid.0 })
}

/// A page of an app's users, created within at most 30 days; the last 30 days by default. Private fields are masked
/// unless the project says otherwise.
#[utoipa::path(get, path = "/v2.0/apps/{schema}/users", tag = "users",
    params(("schema" = String, Path, description = "The app"),
        ("page_no" = i64, Query, description = "From 1"),
        ("page_size" = i64, Query, description = "0 to 100"),
        ("start_time" = Option<i64>, Query, description = "Created at or after; seconds"),
        ("end_time" = Option<i64>, Query, description = "Created at or before; seconds"),
        ("username" = Option<String>, Query, description = "Only this name")),
    responses((status = 200, body = Envelope<UserListView>)))]
async fn users(call: Call) -> Reply {
    let page = call.cloud().recent_users(&call.caller, &schema(&call), user_query(&call)?).await?;
    list(&call, page)
}

/// A page of an app's users, as v2.0 shows them, whenever they were created.
#[utoipa::path(get, path = "/v1.0/apps/{schema}/users", tag = "users",
    params(("schema" = String, Path, description = "The app"),
        ("page_no" = i64, Query, description = "From 1"),
        ("page_size" = i64, Query, description = "0 to 100")),
    responses((status = 200, body = Envelope<UserListView>)))]
async fn users_v1(call: Call) -> Reply {
    let page = call.cloud().users(&call.caller, &schema(&call), user_query(&call)?).await?;
    list(&call, page)
}

#[derive(Serialize, ToSchema)]
struct UserListView {
    list: Vec<UserRowView>,
    /// Whether a further page has any.
    has_more: bool,
    /// All users of the app, whatever the time span.
    total: u64,
}

#[derive(Serialize, ToSchema)]
struct UserRowView {
    country_code: String,
    uid: String,
    username: String,
    /// Only of a user with a mobile number.
    #[serde(skip_serializing_if = "Option::is_none")]
    mobile: Option<String>,
    /// Only of a user with an email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Seconds.
    create_time: i64,
    /// Seconds.
    update_time: i64,
}

fn list(call: &Call, page: UserPage) -> Reply {
    let mask = call.caller.project().mask_private_fields;
    let list = page.users.into_iter().map(|user| row(user, mask)).collect();
    call.answer(UserListView { list, has_more: page.has_more, total: page.total })
}

fn user_query(call: &Call) -> Result<UserQuery> {
    let page_no = call.query.required_integer("page_no")?.max(1);
    let page_size = call.query.required_integer("page_size")?;
    let limit = usize::try_from(page_size).ok().filter(|limit| *limit <= USER_PAGE_MAX);
    let limit =
        limit.ok_or_else(|| Error::OutOfRange { param: "page_size", allowed: format!("0 to {USER_PAGE_MAX}") })?;
    let end_ms = call.query.seconds("end_time")?.map(|start_of_second| start_of_second + 999);
    Ok(UserQuery {
        from_ms: call.query.seconds("start_time")?,
        to_ms: end_ms,
        username: call.query.text("username").map(str::to_owned),
        offset: usize::try_from(page_no - 1).unwrap_or(usize::MAX).saturating_mul(limit),
        limit,
    })
}

fn row(user: User, mask: bool) -> UserRowView {
    let username = if mask { MASK.to_owned() } else { user.username };
    UserRowView {
        country_code: user.country_code,
        uid: user.uid.0,
        mobile: (user.username_type == UsernameType::Mobile).then(|| username.clone()),
        email: (user.username_type == UsernameType::Email).then(|| username.clone()),
        username,
        create_time: user.created_ms / 1000,
        update_time: user.updated_ms / 1000,
    }
}

#[derive(Serialize, ToSchema)]
struct UserInfosView {
    uid: String,
    username: String,
    country_code: String,
    nick_name: String,
    avatar: String,
    /// The masked number of a user with one, else empty.
    mobile: String,
    /// The masked address of a user with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone_id: Option<String>,
    /// Seconds.
    create_time: i64,
    /// Seconds.
    update_time: i64,
}

/// One user.
#[utoipa::path(get, path = "/v1.0/users/{uid}/infos", tag = "users",
    params(("uid" = String, Path, description = "The user")),
    responses((status = 200, body = Envelope<UserInfosView>)))]
async fn user_infos(call: AppCall) -> Reply {
    let user = call.cloud().user(&call.caller, &call.uid()).await?;
    let shown = shown_name(&user, call.caller.project().mask_private_fields);
    call.answer(UserInfosView {
        uid: user.uid.0,
        mobile: if user.username_type == UsernameType::Mobile { shown.clone() } else { String::new() },
        email: (user.username_type == UsernameType::Email).then(|| shown.clone()),
        username: shown,
        country_code: user.country_code,
        nick_name: user.nick_name,
        avatar: user.avatar,
        time_zone_id: user.time_zone_id,
        create_time: user.created_ms / 1000,
        update_time: user.updated_ms / 1000,
    })
}

/// The name of another user in the app. It is always masked for users, because it may be a phone number or an e-mail
/// address; `mask_private_fields` applies only to the project.
pub(super) fn account_name(user: &User, who: &impl Requester) -> String {
    if who.user().is_some() { shown_name(user, true) } else { user.username.clone() }
}

/// A phone number with its country code. If masked: the first three and last two characters of the name, with six stars
/// between them.
fn shown_name(user: &User, mask: bool) -> String {
    let characters: Vec<char> = user.username.chars().collect();
    let name = match characters.len() {
        _ if !mask => user.username.clone(),
        0..=5 => "******".to_owned(),
        count => characters[..3].iter().chain(&['*'; 6]).chain(&characters[count - 2..]).collect(),
    };
    let prefix = format!("{}-", user.country_code);
    if user.username_type == UsernameType::Mobile && !user.username.starts_with(&prefix) {
        return prefix + &name;
    }
    name
}

fn schema(call: &Call) -> Schema {
    Schema(call.path("schema").to_owned())
}
