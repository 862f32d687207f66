//! Logins of app users (contract tuya §1.7). Their tokens give access only to what the user may see.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, LoginCall, TokenCall};
use super::params::{Body, COUNTRY_CHARS_MAX};
use super::reply::{Code, Envelope, Failure, Reply};
use super::token::TokenView;
use crate::domain::login::Login;
use crate::domain::password::Password;
use crate::domain::{Error, Result, Schema};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(authorized_login))
        .routes(routes!(custom_login))
        .routes(routes!(refresh_login))
        .routes(routes!(log_out))
}

/// A user's token.
#[derive(Serialize, ToSchema)]
struct LoginView<'a> {
    #[serde(flatten)]
    token: TokenView<'a>,
    /// As `expire_time`, which some clients call so.
    expire: i64,
}

/// What a user signs in with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct AuthorizedLoginBody {
    username: String,
    /// The MD5 of the password, 32 hex digits.
    password: String,
    /// The country's calling code, as text or number.
    country_code: String,
    /// The app.
    schema: String,
}

/// Signs a user of an app in. 2401 for a wrong account or password, 1106 for an app or country that is not the account's,
/// 2402 for what is no country's calling code, 2406 for a country that the app does not serve.
#[utoipa::path(post, path = "/v1.0/iot-01/associated-users/actions/authorized-login", tag = "logins",
    request_body = AuthorizedLoginBody, responses((status = 200, body = Envelope<LoginView>)))]
async fn authorized_login(LoginCall(call): LoginCall) -> Reply {
    let body = call.body()?;
    // The vendor answers 1109 for a body without a required member.
    let illegal = |error: Error| Failure::new(Code::ILLEGAL, error.to_string());
    let (username, password) = credentials(&body).map_err(illegal)?;
    let country = body.required_text("country_code", COUNTRY_CHARS_MAX).map_err(illegal)?;
    let schema = Schema(body.required_text("schema", 128).map_err(illegal)?);
    sign_in(&call, Some(&schema), &username, password, Some(&country)).await
}

/// What a user signs in with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct CustomLoginBody {
    username: String,
    /// The SHA-256 of the password, 64 hex digits.
    password: String,
    /// The app, where several of the project know the name.
    schema: Option<String>,
}

/// Signs a user of any app of the project in. 2401 for a wrong account or password.
#[utoipa::path(post, path = "/v1.0/iot-03/users/login", tag = "logins", request_body = CustomLoginBody,
    responses((status = 200, body = Envelope<LoginView>)))]
async fn custom_login(LoginCall(call): LoginCall) -> Reply {
    let body = call.body()?;
    let (username, password) = credentials(&body)?;
    let schema = body.text("schema", 128)?.map(Schema);
    sign_in(&call, schema.as_ref(), &username, password, None).await
}

/// Renews a user's token. The old pair is no longer accepted.
#[utoipa::path(post, path = "/v1.0/iot-03/users/token/{refresh_token}", tag = "logins",
    params(("refresh_token" = String, Path, description = "From the token it renews")),
    responses((status = 200, body = Envelope<LoginView>)))]
async fn refresh_login(call: TokenCall) -> Reply {
    let (pair, uid) = call.cloud().refresh_user_token(&call.project, call.path("refresh_token")).await?;
    let token = TokenView::of(&pair, uid.as_str(), call.now_ms());
    call.answer(LoginView { token, expire: pair.seconds_left(call.now_ms()) })
}

/// Ends the login of the user whose token it is, and the live messages of all that the user's logins listen by. Ingle's
/// own: the vendor's apps end a login by a call that it does not publish.
#[utoipa::path(post, path = "/v1.0/iot-03/users/logout", tag = "logins",
    responses((status = 200, body = Envelope<bool>)))]
async fn log_out(call: AppCall) -> Reply {
    let token = call.headers.get("access_token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    call.done(call.cloud().log_out(&call.caller, token).await)
}

fn credentials(body: &Body) -> Result<(String, Password)> {
    Ok((body.required_text("username", 128)?, Password::sent(body.required_text("password", 256)?)))
}

async fn sign_in(
    call: &TokenCall,
    schema: Option<&Schema>,
    username: &str,
    password: Password,
    country_code: Option<&str>,
) -> Reply {
    let login = Login { schema, username, password, country_code, address: call.peer.address };
    let (pair, uid) = call.cloud().log_in(&call.project, login).await?;
    let token = TokenView::of(&pair, uid.as_str(), call.now_ms());
    call.answer(LoginView { token, expire: pair.seconds_left(call.now_ms()) })
}
