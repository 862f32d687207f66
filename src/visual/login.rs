//! The login, and the public keys with which others verify its tokens (seed 001; contract aliyun §7).

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{self, Envelope, Failure, Reply};
use super::token::{self, Jwk, LIFE_S};
use super::{Visual, peer};
use crate::domain::device::FactoryName;
use crate::domain::visual::{LoginRefusal, VISUAL_DEVICES_MAX, VisualKey};
use crate::http::{self, BodyError, Sender};
use crate::{hex, random};

const BODY_BYTES_MAX: usize = 64 * 1024;
/// Maximum length of a name, key or password.
const TEXT_CHARS_MAX: usize = 256;

pub fn routes() -> OpenApiRouter<Arc<Visual>> {
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(jwks))
}

/// A login. The vendor's table writes the members with a capital letter, its example without; both are read.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LoginBody {
    /// The account's user name.
    #[serde(alias = "UserName")]
    user_name: Option<String>,
    #[serde(alias = "Password")]
    password: Option<String>,
    /// 1 to 100 devices that the account owns or that are shared to it.
    #[serde(alias = "DeviceList")]
    device_list: Option<Vec<DeviceInfo>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeviceInfo {
    #[serde(alias = "ProductKey")]
    product_key: Option<String>,
    #[serde(alias = "DeviceName")]
    device_name: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LoginView {
    device_visual_token_list: Vec<DeviceTokenView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeviceTokenView {
    product_key: String,
    device_name: String,
    /// A JWT for this device alone.
    visual_token: String,
    /// Seconds.
    expire: i64,
}

/// Checks a password and gives a token for each device named: for all, or for none when one is not the account's.
/// Members may begin with a small or a capital letter; `expire` is seconds.
#[utoipa::path(post, path = "/v1.0/openapi/visual/d/user/login", tag = "login", request_body = LoginBody,
    responses((status = 200, body = Envelope<LoginView>)))]
async fn login(State(visual): State<Arc<Visual>>, login: Login) -> Reply {
    let cloud = &visual.cloud;
    let granted = cloud.visual_login(&login.username, login.password, &login.devices, login.address).await?;
    let granted = granted.map_err(|refusal| match refusal {
        LoginRefusal::Denied => Failure::new(
            StatusCode::OK,
            "userName or password is wrong, or a device is not this account's",
            "which of them is not said, so that nobody can find out whose a device is",
        ),
        LoginRefusal::TooMany => Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many failed logins, try again later",
            "failures are counted by account and address together, for a minute, and more generously by each of them",
        ),
    })?;
    let keys = cloud.visual_keys().await?;
    let damaged = |text: String| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed", text);
    let key = keys.first().ok_or_else(|| damaged("there is no key".to_owned()))?;
    let now_ms = cloud.now_ms();
    let token = |access: &crate::domain::visual::Access| {
        let jti = random::bytes::<16>();
        let jti = hex::encode(jti.map_err(|error| damaged(error.to_string()))?);
        let visual_token = token::issue(key, access, jti, now_ms).map_err(|error| damaged(error.to_string()))?;
        Ok(DeviceTokenView {
            product_key: access.device.product.key.clone(),
            device_name: access.device.device_name.clone(),
            visual_token,
            expire: LIFE_S,
        })
    };
    let device_visual_token_list = granted.iter().map(token).collect::<Result<Vec<_>, Failure>>()?;
    reply::success(LoginView { device_visual_token_list }, now_ms)
}

#[derive(Serialize, ToSchema)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// The public keys (ES256) of all tokens that may still live; a retired key stays until its last token is gone.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "login",
    responses((status = 200, description = "The keys", body = Jwks)))]
async fn jwks(State(visual): State<Arc<Visual>>) -> Reply {
    let keys: Vec<VisualKey> = visual.cloud.visual_keys().await?;
    let body = serde_json::to_vec(&Jwks { keys: keys.iter().filter_map(Jwk::of).collect() }).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    let brief = HeaderValue::from_static("max-age=300");
    Ok(([(header::CONTENT_TYPE, json), (header::CACHE_CONTROL, brief)], body).into_response())
}

/// The parameters of a login. Without `Debug`, because they contain a password.
struct Login {
    username: String,
    password: String,
    devices: Vec<FactoryName>,
    address: std::net::IpAddr,
}

impl FromRequest<Arc<Visual>> for Login {
    type Rejection = Failure;

    async fn from_request(request: Request, visual: &Arc<Visual>) -> Result<Self, Failure> {
        let address = peer(visual, request.extensions())?.address;
        let sender = Sender { project: None, address };
        let body = visual.bodies.receive(request.into_body(), BODY_BYTES_MAX, sender).await;
        let unreadable = |text: String| Failure::new(StatusCode::BAD_REQUEST, "the body is not a JSON object", text);
        let body = body.map_err(|error| match error {
            BodyError::Busy => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy, try again later", error.to_string())
            }
            BodyError::Late | BodyError::TooLong(_) | BodyError::Broken(_) => unreadable(error.to_string()),
        })?;
        let body = http::without_mark(&body);
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(unreadable("it does not begin with a brace".to_owned()));
        }
        let body: LoginBody = serde_json::from_slice(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Failure::param(http::json_fault(&error)),
            _ => unreadable(http::json_fault(&error)),
        })?;
        let list = body.device_list.unwrap_or_default();
        if !(1..=VISUAL_DEVICES_MAX).contains(&list.len()) {
            return Err(Failure::param(format!("deviceList must be 1 to {VISUAL_DEVICES_MAX} devices")));
        }
        let mut seen = HashSet::new();
        let mut devices = Vec::with_capacity(list.len());
        for DeviceInfo { product_key, device_name } in list {
            let name = FactoryName {
                product_key: text("productKey", product_key)?,
                device_name: text("deviceName", device_name)?,
            };
            if seen.insert(name.clone()) {
                devices.push(name);
            }
        }
        let (username, password) = (text("userName", body.user_name)?, text("password", body.password)?);
        Ok(Self { username, password, devices, address })
    }
}

fn text(name: &'static str, value: Option<String>) -> Result<String, Failure> {
    let value = value.filter(|text| !text.is_empty());
    let fits = value.filter(|text| text.chars().count() <= TEXT_CHARS_MAX);
    fits.ok_or_else(|| Failure::param(format!("{name} must be 1 to {TEXT_CHARS_MAX} characters")))
}
