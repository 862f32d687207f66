//! Tokens (contract tuya §1.6).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::TokenCall;
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::token::TokenPair;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new().routes(routes!(get_token)).routes(routes!(refresh_token))
}

/// A token and what renews it.
#[derive(Serialize, ToSchema)]
struct TokenView<'a> {
    /// Opens business calls; 32 hex digits.
    access_token: &'a str,
    /// Seconds that it still lives.
    expire_time: i64,
    /// Renews it, once; 32 hex digits.
    refresh_token: &'a str,
    /// The project's own uid.
    uid: &'a str,
}

/// Hands out the project's living token, or a new one when less than a minute is left of it.
#[utoipa::path(get, path = "/v1.0/token", tag = "token",
    params(("grant_type" = i64, Query, description = "1, the simple mode")),
    responses((status = 200, body = Envelope<TokenView>)))]
async fn get_token(call: TokenCall) -> Reply {
    if call.query.text("grant_type") != Some("1") {
        return Err(Failure::new(Code::GRANT_TYPE, "grant_type must be 1"));
    }
    let pair = call.cloud().grant_token(&call.project).await?;
    show(&call, &pair)
}

/// Renews a token. The old pair is dead from then on.
#[utoipa::path(get, path = "/v1.0/token/{refresh_token}", tag = "token",
    params(("refresh_token" = String, Path, description = "From the token it renews")),
    responses((status = 200, body = Envelope<TokenView>)))]
async fn refresh_token(call: TokenCall) -> Reply {
    let pair = call.cloud().refresh_token(&call.project, call.path("refresh_token")).await?;
    show(&call, &pair)
}

fn show(call: &TokenCall, pair: &TokenPair) -> Reply {
    call.answer(TokenView {
        access_token: &pair.access,
        expire_time: pair.seconds_left(call.now_ms()),
        refresh_token: &pair.refresh,
        uid: &call.project.admin_uid,
    })
}
