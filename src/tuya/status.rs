//! The latest values of devices (contract tuya §4.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::devices::{StatusView, states_of_ids, status};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::DeviceState;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(device_status))
        .routes(routes!(iot03_device_status))
        .routes(routes!(devices_status))
        .routes(routes!(iot03_devices_status))
}

/// The latest value of each code of a device, in the order of the data points; of a code that the device has not reported
/// yet the default. 2003 when its product describes no functions.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/status", tag = "status",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<Vec<StatusView>>)))]
async fn device_status(call: AppCall) -> Reply {
    let state = call.cloud().device(&call.caller, &call.device_id()).await?;
    if state.device.product.functions.is_empty() {
        return Err(Failure::new(Code::FUNCTION, "the device's product has no functions"));
    }
    call.answer(status(&state))
}

/// As `/v1.0/devices/{device_id}/status`, of any device.
#[utoipa::path(get, path = "/v1.0/iot-03/devices/{device_id}/status", tag = "status",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<Vec<StatusView>>)))]
async fn iot03_device_status(call: AppCall) -> Reply {
    let state = call.cloud().device(&call.caller, &call.device_id()).await?;
    call.answer(status(&state))
}

/// The latest values of some devices, at most 20, by their ids. Unknown ids are left out.
#[utoipa::path(get, path = "/v1.0/devices/status", tag = "status",
    params(("device_ids" = String, Query, description = "At most 20, separated by commas")),
    responses((status = 200, body = Envelope<BTreeMap<String, Vec<StatusView>>>)))]
async fn devices_status(call: AppCall) -> Reply {
    let states = states_of_ids(&call).await?;
    let by_id: BTreeMap<&str, _> = states.iter().map(|state| (state.device.id.as_str(), status(state))).collect();
    call.answer(by_id)
}

/// The latest values of one device.
#[derive(Serialize, ToSchema)]
struct DeviceStatusView<'a> {
    id: &'a str,
    status: Vec<StatusView<'a>>,
}

/// The latest values of some devices, at most 20. Unknown ids are left out.
#[utoipa::path(get, path = "/v1.0/iot-03/devices/status", tag = "status",
    params(("device_ids" = String, Query, description = "At most 20, separated by commas")),
    responses((status = 200, body = Envelope<Vec<DeviceStatusView>>)))]
async fn iot03_devices_status(call: AppCall) -> Reply {
    let states = states_of_ids(&call).await?;
    fn view(state: &DeviceState) -> DeviceStatusView<'_> {
        DeviceStatusView { id: state.device.id.as_str(), status: status(state) }
    }
    call.answer(states.iter().map(view).collect::<Vec<_>>())
}
