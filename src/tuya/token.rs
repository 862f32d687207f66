//! Tokens (contract tuya §1.6).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::TokenCall;
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::Uid;
use crate::domain::token::TokenPair;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new().routes(routes!(get_token)).routes(routes!(refresh_token))
}

/// A token and what renews it.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenView<'a> {
    /// Opens business calls; 32 hex digits.
    access_token: &'a str,
    /// Seconds that it still lives.
    expire_time: i64,
    /// Renews it, once; 32 hex digits.
    refresh_token: &'a str,
    /// The user's uid, or the project's own.
    uid: &'a str,
}

impl<'a> TokenView<'a> {
    pub(super) fn of(pair: &'a TokenPair, uid: &'a str, now_ms: i64) -> Self {
        let expire_time = pair.seconds_left(now_ms);
        Self { access_token: &pair.access, expire_time, refresh_token: &pair.refresh, uid }
    }
}

/// Gives the project's valid token, or a new one when less than a minute of it is left. `grant_type` is 1; either
/// rule of signing is taken.
#[utoipa::path(get, path = "/v1.0/token", tag = "token",
    params(("grant_type" = i64, Query, description = "1, the simple mode")),
    responses((status = 200, body = Envelope<TokenView>)))]
async fn get_token(call: TokenCall) -> Reply {
    if call.query.text("grant_type") != Some("1") {
        return Err(Failure::new(Code::GRANT_TYPE, "grant_type must be 1"));
    }
    let pair = call.cloud().grant_token(&call.project).await?;
    call.answer(TokenView::of(&pair, &call.project.admin_uid, call.now_ms()))
}

/// Renews a token, of the project or of one of its users. The old pair is no longer accepted.
#[utoipa::path(get, path = "/v1.0/token/{refresh_token}", tag = "token",
    params(("refresh_token" = String, Path, description = "From the token it renews")),
    responses((status = 200, body = Envelope<TokenView>)))]
async fn refresh_token(call: TokenCall) -> Reply {
    let (pair, uid) = call.cloud().refresh_any_token(&call.project, call.path("refresh_token")).await?;
    let uid = uid.as_ref().map_or(call.project.admin_uid.as_str(), Uid::as_str);
    call.answer(TokenView::of(&pair, uid, call.now_ms()))
}
