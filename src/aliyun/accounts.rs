//! Accounts: the users of a project's apps (seed 002; contract aliyun §4.1, §4.2, §4.5, §5 row 17).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::auth::{Call, KeyCall, SignedRequest};
use super::params::{Body, required, text, whole};
use super::reply::{Code, Envelope, Failure, Reply};
use super::token::tenant_id;
use crate::domain::user::{ALL_USERS_PAGE_MAX, User, UserOrder};
use crate::domain::{Caller, Error, Noun, UsernameType};

/// The number of accounts on a page when the caller does not give it.
const COUNT_DEFAULT: usize = 20;
/// A larger count is refused; one above [`ALL_USERS_PAGE_MAX`] is reduced to it.
const COUNT_MAX: i64 = 10_000;
const IDENTITIES_MAX: usize = 100;

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new()
        .routes(routes!(query_identity_by_page))
        .routes(routes!(query_identity_desc_by_page))
        .routes(routes!(get_by_open_id))
        .routes(routes!(get_by_identity_id))
        .routes(routes!(query_identity_list))
        .routes(routes!(open_id_of_identity))
        .routes(routes!(open_id_of_identity_cloud))
        .routes(routes!(update_account))
        .routes(routes!(unregister_account))
}

/// An account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountView {
    identity_id: String,
    login_id: String,
    login_source: &'static str,
    /// Milliseconds.
    gmt_create: i64,
    /// Milliseconds.
    gmt_modified: i64,
    login_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nick_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gender: Option<String>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_login_time: Option<i64>,
    /// 1 while an app of the account is signed in, else 0.
    online_status: i64,
    tenant_id: String,
    status: &'static str,
}

impl AccountView {
    fn of(user: &User, caller: &Caller) -> Self {
        let named = |kind, other: &Option<String>| {
            other.clone().or_else(|| (user.username_type == kind).then(|| user.username.clone()))
        };
        let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            identity_id: user.identity_id.clone(),
            login_id: user.login_id.clone(),
            login_source: "openAccount",
            gmt_create: user.created_ms,
            gmt_modified: user.updated_ms,
            login_name: user.username.clone(),
            phone: named(UsernameType::Mobile, &user.phone),
            email: named(UsernameType::Email, &user.email),
            nick_name: set(&user.nick_name),
            avatar_url: set(&user.avatar),
            gender: user.gender.clone(),
            last_login_time: user.last_login_ms,
            // Users of apps do not log in through this API yet.
            online_status: 0,
            tenant_id: tenant_id(caller.project()),
            status: "0",
        }
    }
}

#[derive(Deserialize, ToSchema)]
struct PageParams {
    /// From 0, the default.
    #[serde(default, deserialize_with = "whole")]
    offset: Option<i64>,
    /// From 1; 20 by default, at most 200 are given.
    #[serde(default, deserialize_with = "whole")]
    count: Option<i64>,
}

/// A page of all accounts of the tenant, oldest first; 20 by default, at most 200.
#[utoipa::path(post, path = "/cloud/account/queryIdentityByPage", tag = "accounts", request_body = Body<PageParams>,
    responses((status = 200, body = Envelope<Vec<AccountView>>)))]
async fn query_identity_by_page(call: Call) -> Reply {
    accounts(&call, UserOrder::OldestFirst).await
}

/// A page of all accounts of the tenant, newest first; 20 by default, at most 200.
#[utoipa::path(post, path = "/cloud/account/queryidentitydescbypage", tag = "accounts",
    request_body = Body<PageParams>, responses((status = 200, body = Envelope<Vec<AccountView>>)))]
async fn query_identity_desc_by_page(call: Call) -> Reply {
    accounts(&call, UserOrder::NewestFirst).await
}

async fn accounts(call: &Call, order: UserOrder) -> Reply {
    let params: PageParams = call.params().map_err(|failure| failure.with(Code::PAGE))?;
    let wrong = || Failure::new(Code::PAGE, format!("offset must be 0 or more, count 1 to {COUNT_MAX}"));
    let offset = usize::try_from(params.offset.unwrap_or(0)).map_err(|_| wrong())?;
    let limit = match params.count {
        None => COUNT_DEFAULT,
        Some(count) if (1..=COUNT_MAX).contains(&count) => usize::try_from(count).unwrap_or(ALL_USERS_PAGE_MAX),
        Some(_) => return Err(wrong()),
    };
    let users = call.cloud().all_users(&call.caller, offset, limit, order).await?;
    call.answer(users.iter().map(|user| AccountView::of(user, &call.caller)).collect::<Vec<_>>())
}

/// How a call names an account.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountParams {
    /// What the app knows the account by.
    #[serde(default, deserialize_with = "text")]
    pub open_id: Option<String>,
    /// The AppKey of that app, or of the project.
    #[serde(default, deserialize_with = "text")]
    pub open_id_app_key: Option<String>,
    /// In place of both.
    #[serde(default, deserialize_with = "text")]
    pub identity_id: Option<String>,
}

impl AccountParams {
    /// The account that the parameters identify.
    ///
    /// # Errors
    /// 460 if neither an identityId nor an openId with its AppKey is given, 28514 for the AppKey of another tenant,
    /// 2407 for an unknown openId, 2062 for an unknown identityId.
    pub async fn find(&self, request: &SignedRequest, caller: &Caller) -> Result<Arc<User>, Failure> {
        if let Some(open_id) = &self.open_id {
            return by_open_id(request, caller, open_id, self.open_id_app_key.as_deref()).await;
        }
        let identity_id = required(self.identity_id.as_deref(), "openId or identityId")?;
        Ok(request.cloud().user_by_identity(caller, identity_id).await?)
    }
}

async fn by_open_id(
    request: &SignedRequest,
    caller: &Caller,
    open_id: &str,
    app_key: Option<&str>,
) -> Result<Arc<User>, Failure> {
    let app_key = required(app_key, "openIdAppKey")?;
    request.cloud().user_by_open_id(caller, app_key, open_id).await.map_err(|error| {
        let unknown = matches!(error, Error::NotVisible(Noun::User));
        let failure = Failure::from(error);
        if unknown { failure.with(Code::OPEN_ID) } else { failure }
    })
}

/// The account of an openId: an object, as the platform answers, though the vendor's example shows a list. The
/// project's own AppKey stands for any of its apps.
#[utoipa::path(post, path = "/cloud/account/getByOpenId", tag = "accounts", request_body = Body<AccountParams>,
    responses((status = 200, body = Envelope<AccountView>)))]
async fn get_by_open_id(call: Call) -> Reply {
    let params: AccountParams = call.params()?;
    let open_id = required(params.open_id, "openId")?;
    let user = by_open_id(&call, &call.caller, &open_id, params.open_id_app_key.as_deref()).await?;
    call.answer(AccountView::of(&user, &call.caller))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IdentityParams {
    #[serde(default, deserialize_with = "text")]
    identity_id: Option<String>,
    /// The AppKey of the account's app; only where an endpoint wants it.
    #[serde(default, deserialize_with = "text")]
    open_id_app_key: Option<String>,
}

/// The account of an identityId.
#[utoipa::path(post, path = "/cloud/account/getByIdentityId", tag = "accounts", request_body = Body<IdentityParams>,
    responses((status = 200, body = Envelope<AccountView>)))]
async fn get_by_identity_id(call: Call) -> Reply {
    let params: IdentityParams = call.params()?;
    let identity_id = required(params.identity_id, "identityId")?;
    let user = call.cloud().user_by_identity(&call.caller, &identity_id).await?;
    call.answer(AccountView::of(&user, &call.caller))
}

/// The identities that a list names, below `request` as in the vendor's example or beside it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IdentitiesParams {
    request: Option<IdentityList>,
    identity_ids: Option<Vec<String>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IdentityList {
    identity_ids: Option<Vec<String>>,
}

/// Several accounts at once, at most 100; unknown ones are left out.
#[utoipa::path(post, path = "/iotx/account/queryIdentityList", tag = "accounts",
    request_body = Body<IdentitiesParams>, responses((status = 200, body = Envelope<Vec<AccountView>>)))]
async fn query_identity_list(call: Call) -> Reply {
    let params: IdentitiesParams = call.params()?;
    let ids = params.request.and_then(|request| request.identity_ids).or(params.identity_ids);
    let ids = required(ids, "identityIds")?;
    if ids.is_empty() || ids.len() > IDENTITIES_MAX {
        return Err(Failure::new(Code::PARAM, format!("identityIds must be 1 to {IDENTITIES_MAX} ids")));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let users = call.cloud().users_by_identity(&call.caller, &ids).await?;
    let accounts: Vec<_> = users.iter().flatten().map(|user| AccountView::of(user, &call.caller)).collect();
    call.answer(accounts)
}

/// The identity that is asked for: below `request` as in the vendor's example, beside it, or as a list of one.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OpenIdParams {
    request: Option<NestedIdentity>,
    #[schema(value_type = String)]
    identity_id: Option<OneIdentity>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NestedIdentity {
    #[schema(value_type = String)]
    identity_id: Option<OneIdentity>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneIdentity {
    Text(String),
    List(Vec<String>),
}

/// The openId of an identity: that of a linked third party's account, or else the identityId itself. It wants no
/// cloudToken, and takes `identityId` below `request`, beside it, or as a list of one.
#[utoipa::path(post, path = "/account/openid/getbyidentityid", tag = "accounts", request_body = Body<OpenIdParams>,
    responses((status = 200, body = Envelope<String>)))]
async fn open_id_of_identity(call: KeyCall) -> Reply {
    let params: OpenIdParams = call.params()?;
    let given = params.request.and_then(|request| request.identity_id).or(params.identity_id);
    let identity_id = match required(given, "identityId")? {
        OneIdentity::Text(id) => id,
        OneIdentity::List(mut ids) if ids.len() == 1 => ids.swap_remove(0),
        OneIdentity::List(_) => return Err(Failure::new(Code::PARAM, "identityId must be one id")),
    };
    if identity_id.trim().is_empty() {
        return Err(Failure::new(Code::PARAM, "identityId is empty"));
    }
    let user = call.cloud().user_by_identity(&call.caller, &identity_id).await?;
    call.answer(open_id(&user))
}

/// As `/account/openid/getbyidentityid`, in its later form: with a cloudToken, and an `openIdAppKey` that must fit.
#[utoipa::path(post, path = "/cloud/account/openId/getByIdentityId", tag = "accounts",
    request_body = Body<IdentityParams>, responses((status = 200, body = Envelope<String>)))]
async fn open_id_of_identity_cloud(call: Call) -> Reply {
    let params: IdentityParams = call.params()?;
    let identity_id = required(params.identity_id, "identityId")?;
    let app_key = required(params.open_id_app_key, "openIdAppKey")?;
    let user = call.cloud().user_by_identity(&call.caller, &identity_id).await?;
    if app_key != user.app_key && app_key != call.caller.project().app_key {
        return Err(Failure::new(Code::TENANT, "openIdAppKey is not that of the account's app"));
    }
    call.answer(open_id(&user))
}

fn open_id(user: &User) -> &str {
    if user.open_id == user.login_id { &user.identity_id } else { &user.open_id }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UpdateParams {
    #[serde(flatten)]
    account: AccountParams,
    /// The new nick name, at most 128 characters.
    #[serde(default, deserialize_with = "text")]
    nick_name: Option<String>,
}

/// Gives an account another `nickName`.
#[utoipa::path(post, path = "/user/account/info/update", tag = "accounts", request_body = Body<UpdateParams>,
    responses((status = 200, body = Envelope<String>)))]
async fn update_account(call: Call) -> Reply {
    let params: UpdateParams = call.params()?;
    let nick_name = required(params.nick_name, "nickName")?;
    if nick_name.chars().count() > 128 {
        return Err(Failure::new(Code::PARAM, "nickName must be at most 128 characters"));
    }
    let user = params.account.find(&call, &call.caller).await?;
    call.cloud().rename_user(&call.caller, &user.uid, &nick_name).await?;
    call.answer("")
}

/// Removes an account, with its homes and bindings. What it owned belongs to nobody then.
#[utoipa::path(post, path = "/user/account/unregister", tag = "accounts", request_body = Body<AccountParams>,
    responses((status = 200, body = Envelope<String>)))]
async fn unregister_account(call: Call) -> Reply {
    let params: AccountParams = call.params()?;
    let user = params.find(&call, &call.caller).await?;
    call.cloud().remove_user(&call.caller, &user.uid).await?;
    call.answer("")
}
