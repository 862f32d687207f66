//! Invitations into homes. `members` creates them and the invited user accepts or refuses them. The calls are Ingle's
//! own, because those of the vendor's apps are not published.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::homes::home_in;
use super::reply::{Envelope, Reply};
use super::users::account_name;
use crate::domain::Error;
use crate::domain::invitation::{INVITATION_LIFE_MS, Invitation};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new().routes(routes!(invitations)).routes(routes!(answer_invitation))
}

/// An invitation into a home.
#[derive(Serialize, ToSchema)]
struct InvitationView {
    home_id: i64,
    /// What the home is called.
    name: String,
    /// The nick name of whoever invites.
    inviter_name: String,
    /// The account of whoever invites, masked for a user who asks.
    inviter_account: String,
    /// Whether as admin.
    admin: bool,
    /// Seconds.
    invite_time: i64,
    /// Seconds; from then on it can no longer be accepted.
    expire_time: i64,
}

/// The invitations of a user that wait, the oldest first, at most 200. Each waits for 7 days.
#[utoipa::path(get, path = "/v1.0/users/{uid}/invitations", tag = "invitations",
    params(("uid" = String, Path, description = "The invited user")),
    responses((status = 200, body = Envelope<Vec<InvitationView>>)))]
async fn invitations(call: AppCall) -> Reply {
    let found = call.cloud().invitations(&call.caller, &call.uid()).await?;
    let view = |invitation: Invitation| InvitationView {
        home_id: invitation.home.0,
        name: invitation.home_name,
        inviter_account: account_name(&invitation.by, &call.caller),
        inviter_name: invitation.by.nick_name,
        admin: invitation.is_admin,
        invite_time: invitation.invited_ms / 1000,
        expire_time: (invitation.invited_ms + INVITATION_LIFE_MS) / 1000,
    };
    call.answer(found.into_iter().map(view).collect::<Vec<_>>())
}

/// Whether an invitation is accepted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct AnswerBody {
    /// `true` to live in the home from now on, `false` to decline.
    accept: bool,
}

/// Accepts or declines an invitation into a home. 1106 when there is none, 1101 for a home or a user that is full.
#[utoipa::path(put, path = "/v1.0/users/{uid}/invitations/{home_id}", tag = "invitations",
    params(("uid" = String, Path, description = "The invited user"), ("home_id" = String, Path, description = "The home")),
    request_body = AnswerBody, responses((status = 200, body = Envelope<bool>)))]
async fn answer_invitation(call: AppCall) -> Reply {
    let accept = call.body()?.flag("accept")?.ok_or(Error::Missing("accept"))?;
    let uid = call.uid();
    call.done(call.cloud().answer_invitation(&call.caller, &uid, home_in(&call)?, accept).await)
}
