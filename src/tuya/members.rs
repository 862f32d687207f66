//! The members of a home (contract tuya §4.2). The owner appoints admins; the owner and admins add and remove members.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::homes::home_in;
use super::params::COUNTRY_CHARS_MAX;
use super::reply::{Envelope, Reply};
use super::users::account_name;
use crate::domain::device::NAME_CHARS_MAX;
use crate::domain::home::{HomeRole, Member, NewMember};
use crate::domain::{Error, Requester, Schema};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(home_members))
        .routes(routes!(add_member))
        .routes(routes!(change_member))
        .routes(routes!(remove_member))
}

/// Somebody who lives in a home.
#[derive(Serialize, ToSchema)]
struct MemberView {
    uid: String,
    name: String,
    avatar: String,
    country_code: String,
    /// Masked for a user who asks.
    member_account: String,
    /// Also of the owner.
    admin: bool,
    owner: bool,
}

impl MemberView {
    fn of(Member { user, role, name }: Member, who: &impl Requester) -> Self {
        let member_account = account_name(&user, who);
        Self {
            uid: user.uid.0,
            name: if name.is_empty() { user.nick_name } else { name },
            avatar: user.avatar,
            country_code: user.country_code,
            member_account,
            admin: role >= HomeRole::Admin,
            owner: role == HomeRole::Owner,
        }
    }
}

/// Who lives in a home, its owner first.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/members", tag = "members",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<MemberView>>)))]
async fn home_members(call: AppCall) -> Reply {
    let members = call.cloud().members(&call.caller, home_in(&call)?).await?;
    call.answer(members.into_iter().map(|member| MemberView::of(member, &call.caller)).collect::<Vec<_>>())
}

/// Somebody to take into a home.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct AddMemberBody {
    /// The user's app, where several of the project know the account.
    app_schema: Option<String>,
    member: NewMemberBody,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct NewMemberBody {
    member_account: String,
    /// The calling code of the account's country; an account of another country is not meant.
    country_code: Option<String>,
    name: Option<String>,
    admin: Option<bool>,
}

/// Takes a user into a home, who then sees and commands its devices. Whom a user takes in is only invited, and lives there
/// when the invitation is accepted. A user must be its owner, or an admin, who makes no admins.
#[utoipa::path(post, path = "/v1.0/homes/{home_id}/members", tag = "members",
    params(("home_id" = String, Path, description = "The home")), request_body = AddMemberBody,
    responses((status = 200, body = Envelope<bool>)))]
async fn add_member(call: AppCall) -> Reply {
    let body = call.body()?;
    let member = body.inner("member")?;
    let new = NewMember {
        schema: body.text("app_schema", 128)?.map(Schema),
        username: member.required_text("member_account", 128)?,
        country_code: member.text("country_code", COUNTRY_CHARS_MAX)?,
        name: member.text("name", NAME_CHARS_MAX)?.unwrap_or_default(),
        is_admin: member.flag("admin")?.unwrap_or(false),
    };
    call.done(call.cloud().add_member(&call.caller, home_in(&call)?, new).await)
}

/// What changes of somebody who lives in a home.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct ChangeMemberBody {
    name: Option<String>,
    admin: Option<bool>,
}

/// Gives somebody who lives in a home another name there, or another role, which its owner alone may among users.
#[utoipa::path(put, path = "/v1.0/homes/{home_id}/members/{uid}", tag = "members",
    params(("home_id" = String, Path, description = "The home"), ("uid" = String, Path, description = "The member")),
    request_body = ChangeMemberBody, responses((status = 200, body = Envelope<bool>)))]
async fn change_member(call: AppCall) -> Reply {
    let body = call.body()?;
    let (name, is_admin) = (body.text("name", NAME_CHARS_MAX)?, body.flag("admin")?);
    if name.is_none() && is_admin.is_none() {
        return Err(Error::Missing("name").into());
    }
    let uid = call.uid();
    call.done(call.cloud().change_member(&call.caller, home_in(&call)?, &uid, name, is_admin).await)
}

/// Sends a member away, with the devices that are the member's own. Everybody but the owner may go; others need the owner,
/// or for plain members an admin.
#[utoipa::path(delete, path = "/v1.0/homes/{home_id}/members/{uid}", tag = "members",
    params(("home_id" = String, Path, description = "The home"), ("uid" = String, Path, description = "The member")),
    responses((status = 200, body = Envelope<bool>)))]
async fn remove_member(call: AppCall) -> Reply {
    let uid = call.uid();
    call.done(call.cloud().remove_member(&call.caller, home_in(&call)?, &uid).await)
}
