//! Pairing tokens (contract tuya §4.2). Three generations of the same two calls.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::homes::home_id;
use super::reply::{Envelope, Reply};
use crate::domain::pairing::PAIRING_LIFE;
use crate::domain::{DeviceState, Uid};

/// The region that devices are given; there is only one.
const REGION: &str = "AY";

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(device_token))
        .routes(routes!(device_token_result))
        .routes(routes!(paring_token))
        .routes(routes!(paring_token_result))
        .routes(routes!(registration_token))
        .routes(routes!(registration_token_result))
}

/// Whose a device is to become. All of it is read in snake_case and camelCase.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct PairingBody {
    /// The user; not needed with a user's own token, nor with a home, whose owner is meant then.
    uid: Option<String>,
    /// The home that the device is to stand in; the user's first own one by default.
    home_id: Option<i64>,
    /// As `home_id`.
    asset_id: Option<String>,
}

/// A token that a device redeems, alone or as region, token and secret in one.
#[derive(Serialize, ToSchema)]
struct PairingTokenView<'a> {
    /// Seconds.
    expire_time: i64,
    region: &'static str,
    token: &'a str,
    secret: &'a str,
}

/// Makes a token by which one device becomes a user's, within five minutes.
#[utoipa::path(post, path = "/v1.0/devices/token", tag = "pairing", request_body = PairingBody,
    responses((status = 200, body = Envelope<PairingTokenView>)))]
async fn device_token(call: AppCall) -> Reply {
    let body = call.body()?;
    let uid = body.text("uid", 64)?.map(Uid);
    let home = match body.text("home_id", 32)? {
        Some(home) => Some(home),
        None => body.text("asset_id", 32)?,
    };
    let home = home.as_deref().map(home_id).transpose()?;
    let made = call.cloud().pairing_token(&call.caller, uid, home).await?;
    let (token, secret) = (&made.token, &made.secret);
    call.answer(PairingTokenView { expire_time: PAIRING_LIFE.0 / 1000, region: REGION, token, secret })
}

/// As `/v1.0/devices/token`.
#[utoipa::path(post, path = "/v1.0/device/paring/token", tag = "pairing", request_body = PairingBody,
    responses((status = 200, body = Envelope<PairingTokenView>)))]
async fn paring_token(call: AppCall) -> Reply {
    device_token(call).await
}

/// As `/v1.0/devices/token`.
#[utoipa::path(post, path = "/v1.0/iot-03/device-registration/token", tag = "pairing", request_body = PairingBody,
    responses((status = 200, body = Envelope<PairingTokenView>)))]
async fn registration_token(call: AppCall) -> Reply {
    device_token(call).await
}

/// The devices that redeemed a pairing token, and those that were refused, in the spelling of the oldest call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeviceTokenResultView<'a> {
    /// The device that redeemed it, if one did.
    success_devices: Vec<PairedView<'a>>,
    /// Devices that tried to, and are somebody else's.
    error_devices: Vec<RefusedView<'a>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PairedView<'a> {
    id: &'a str,
    product_id: &'a str,
    name: &'a str,
    ip: &'a str,
    lat: Option<&'a str>,
    lon: Option<&'a str>,
    online: bool,
}

#[derive(Serialize, ToSchema)]
struct RefusedView<'a> {
    id: &'a str,
    name: &'a str,
    code: &'static str,
    msg: &'static str,
}

impl<'a> RefusedView<'a> {
    fn of(state: &'a DeviceState) -> Self {
        let device = &state.device;
        Self { id: device.id.as_str(), name: &device.name, code: "1106", msg: "permission deny" }
    }
}

/// The device that redeemed a pairing token, and those that were refused.
#[utoipa::path(get, path = "/v1.0/devices/tokens/{token}", tag = "pairing",
    params(("token" = String, Path, description = "The token")),
    responses((status = 200, body = Envelope<DeviceTokenResultView>)))]
async fn device_token_result(call: AppCall) -> Reply {
    let result = call.cloud().pairing_result(&call.caller, call.path("token")).await?;
    fn paired(state: &DeviceState) -> PairedView<'_> {
        let device = &state.device;
        PairedView {
            id: device.id.as_str(),
            product_id: device.product.id.as_str(),
            name: &device.name,
            ip: &device.ip,
            lat: device.lat.as_deref(),
            lon: device.lon.as_deref(),
            online: state.online,
        }
    }
    call.answer(DeviceTokenResultView {
        success_devices: result.paired.iter().map(paired).collect(),
        error_devices: result.refused.iter().map(RefusedView::of).collect(),
    })
}

/// The devices that redeemed a pairing token, and those that were refused, in the spelling of the newer calls.
#[derive(Serialize, ToSchema)]
struct TokenResultView<'a> {
    /// The device that redeemed it, if one did.
    success_devices: Vec<RegisteredView<'a>>,
    /// Devices that tried to, and are somebody else's.
    error_devices: Vec<UnregisteredView<'a>>,
}

#[derive(Serialize, ToSchema)]
struct RegisteredView<'a> {
    id: &'a str,
    device_id: &'a str,
    product_id: &'a str,
    name: &'a str,
    category: &'a str,
}

#[derive(Serialize, ToSchema)]
struct UnregisteredView<'a> {
    device_id: &'a str,
    #[serde(flatten)]
    refused: RefusedView<'a>,
}

/// The device that redeemed a pairing token, and those that were refused.
#[utoipa::path(get, path = "/v1.0/iot-03/device-registration/tokens/{token}", tag = "pairing",
    params(("token" = String, Path, description = "The token")),
    responses((status = 200, body = Envelope<TokenResultView>)))]
async fn registration_token_result(call: AppCall) -> Reply {
    let result = call.cloud().pairing_result(&call.caller, call.path("token")).await?;
    fn registered(state: &DeviceState) -> RegisteredView<'_> {
        let (device, id) = (&state.device, state.device.id.as_str());
        let (product_id, category) = (device.product.id.as_str(), device.product.category.as_str());
        RegisteredView { id, device_id: id, product_id, name: &device.name, category }
    }
    fn unregistered(state: &DeviceState) -> UnregisteredView<'_> {
        UnregisteredView { device_id: state.device.id.as_str(), refused: RefusedView::of(state) }
    }
    call.answer(TokenResultView {
        success_devices: result.paired.iter().map(registered).collect(),
        error_devices: result.refused.iter().map(unregistered).collect(),
    })
}

/// As `/v1.0/iot-03/device-registration/tokens/{token}`.
#[utoipa::path(get, path = "/v1.0/device/paring/tokens/{token}", tag = "pairing",
    params(("token" = String, Path, description = "The token")),
    responses((status = 200, body = Envelope<TokenResultView>)))]
async fn paring_token_result(call: AppCall) -> Reply {
    registration_token_result(call).await
}
