//! Sharing devices between users. The calls are Ingle's own, because those of the vendor's apps are not published.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::reply::{Envelope, Reply};
use super::users::account_name;
use crate::domain::Uid;
use crate::domain::user::User;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new().routes(routes!(shares)).routes(routes!(share_device)).routes(routes!(withdraw_device))
}

/// Somebody to whom a device is shared.
#[derive(Serialize, ToSchema)]
struct ShareeView {
    uid: String,
    /// Masked for a user who asks.
    username: String,
    nick_name: String,
}

/// To whom a device is shared. A user must own it.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/shares", tag = "shares",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<Vec<ShareeView>>)))]
async fn shares(call: AppCall) -> Reply {
    let sharees = call.cloud().sharees(&call.caller, &call.device_id()).await?;
    let view = |user: User| {
        let username = account_name(&user, &call.caller);
        ShareeView { uid: user.uid.0, username, nick_name: user.nick_name }
    };
    call.answer(sharees.into_iter().map(view).collect::<Vec<_>>())
}

/// Somebody to share a device to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct ShareBody {
    /// A user of the project, of any of its apps.
    uid: String,
}

/// Shares a device to a user, who sees and commands it from then on; at most 20. A user must own it.
#[utoipa::path(post, path = "/v1.0/devices/{device_id}/shares", tag = "shares",
    params(("device_id" = String, Path, description = "The device")), request_body = ShareBody,
    responses((status = 200, body = Envelope<bool>)))]
async fn share_device(call: AppCall) -> Reply {
    let uid = Uid(call.body()?.required_text("uid", 64)?);
    call.done(call.cloud().share_device(&call.caller, &call.device_id(), &uid).await)
}

/// Takes a device back from a user to whom it was shared, who may also give it back.
#[utoipa::path(delete, path = "/v1.0/devices/{device_id}/shares/{uid}", tag = "shares",
    params(("device_id" = String, Path, description = "The device"),
        ("uid" = String, Path, description = "The user to whom it is shared")),
    responses((status = 200, body = Envelope<bool>)))]
async fn withdraw_device(call: AppCall) -> Reply {
    let (id, uid) = (call.device_id(), call.uid());
    call.done(call.cloud().withdraw_device(&call.caller, &id, &uid).await)
}
