//! Commands to devices (contract aliyun §5 rows 3, 4).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::auth::Call;
use super::devices::DeviceParams;
use super::params::{Body, required, text};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::command::Setpoint;
use crate::domain::{Device, Value};
use crate::thing_model;

/// The service of every thing model that sets properties.
const SET: &str = "set";

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(set_properties)).routes(routes!(invoke_service))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SetParams {
    #[serde(flatten)]
    device: DeviceParams,
    /// Values by their identifiers, as the thing model has them.
    #[schema(value_type = Object)]
    items: Option<Map<String, Json>>,
}

#[derive(Serialize, ToSchema)]
struct Empty {}

/// Sends values down to a device. 6205 when it is offline, 460 for what its product does not have.
#[utoipa::path(post, path = "/cloud/thing/properties/set", tag = "commands", request_body = Body<SetParams>,
    responses((status = 200, body = Envelope<Empty>)))]
async fn set_properties(call: Call) -> Reply {
    let SetParams { device, items } = call.params()?;
    let items = items.ok_or_else(|| Failure::new(Code::PARAM, "items must be an object of values"))?;
    set(&call, device, &items).await
}

async fn set(call: &Call, device: DeviceParams, items: &Map<String, Json>) -> Reply {
    let state = call.cloud().named_device(&call.caller, &device.name()?).await?;
    let setpoints = items.iter().map(|(code, value)| setpoint(&state.device, code, value)).collect::<Result<_, _>>()?;
    call.cloud().set_values(&call.caller, &state.device.id, setpoints).await?;
    call.answer(Empty {})
}

fn setpoint(device: &Device, code: &str, value: &Json) -> Result<Setpoint, Failure> {
    let stored = thing_model::from_alink(device.product.function(code), value);
    let too_long = || Failure::new(Code::PARAM, format!("the value of {code:?} is too long"));
    Ok((Arc::from(code), Value::from_json(stored).ok_or_else(too_long)?))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvokeParams {
    #[serde(flatten)]
    device: DeviceParams,
    /// The service.
    #[serde(default, deserialize_with = "text")]
    identifier: Option<String>,
    /// What it needs: an object, a list for `get`.
    #[serde(default)]
    #[schema(value_type = Value)]
    args: Json,
}

/// Has a device do a service, and gives what came of it. 6205 when it is offline, 20056 when it does not answer within
/// 8 s. Thing models have no services of their own here, so every name is passed on; `set` sets properties.
#[utoipa::path(post, path = "/cloud/thing/service/invoke", tag = "commands", request_body = Body<InvokeParams>,
    responses((status = 200, body = Envelope<Json>)))]
async fn invoke_service(call: Call) -> Reply {
    let InvokeParams { device, identifier, args } = call.params()?;
    let identifier = required(identifier, "identifier")?;
    if let (SET, Json::Object(items)) = (identifier.as_str(), &args) {
        return set(&call, device, items).await;
    }
    let args = if args.is_null() { Json::Object(Map::new()) } else { args };
    let wrong = || Failure::new(Code::PARAM, "args must be an object or a list, at most 16 KiB");
    let input = Value::from_json(args.to_string()).filter(|_| args.is_object() || args.is_array()).ok_or_else(wrong)?;
    let state = call.cloud().named_device(&call.caller, &device.name()?).await?;
    let output = call.cloud().invoke(&call.caller, &state.device.id, &identifier, input).await?;
    call.answer(serde_json::from_str::<Json>(&output).unwrap_or_default())
}
