//! Commands to devices (contract tuya §4.2).

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::command::Setpoint;
use crate::domain::{Error, Result, Value};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(commands))
        .routes(routes!(iot03_commands))
        .routes(routes!(issue_properties))
        .routes(routes!(desire_properties))
}

/// Values that a device is to take.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct CommandsBody {
    commands: Vec<CommandBody>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct CommandBody {
    code: String,
    #[schema(value_type = Value)]
    value: Json,
}

/// Sends values down to a device. 2001 when it is offline, 2008 for a code or value that its product does not have.
#[utoipa::path(post, path = "/v1.0/devices/{device_id}/commands", tag = "commands",
    params(("device_id" = String, Path, description = "The device")), request_body = CommandsBody,
    responses((status = 200, body = Envelope<bool>)))]
async fn commands(call: AppCall) -> Reply {
    let setpoints = setpoints_of_commands(&call)?;
    call.done(call.cloud().set_values(&call.caller, &call.device_id(), setpoints).await)
}

/// As `/v1.0/devices/{device_id}/commands`.
#[utoipa::path(post, path = "/v1.0/iot-03/devices/{device_id}/commands", tag = "commands",
    params(("device_id" = String, Path, description = "The device")), request_body = CommandsBody,
    responses((status = 200, body = Envelope<bool>)))]
async fn iot03_commands(call: AppCall) -> Reply {
    commands(call).await
}

/// Values by their codes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct PropertiesBody {
    /// An object, or the same as JSON in a string.
    #[schema(schema_with = object_or_text)]
    properties: Json,
}

/// The schema of an object, or of the same object as JSON in a string.
fn object_or_text() -> Schema {
    let free_object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    OneOfBuilder::new().item(free_object).item(ObjectBuilder::new().schema_type(Type::String)).build().into()
}

/// Values by their codes, for a while.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct DesiredBody {
    /// An object, or the same as JSON in a string.
    #[schema(schema_with = object_or_text)]
    properties: Json,
    /// Seconds.
    duration: i64,
    /// 0: the device requests them; 1 (default): it receives them when it connects.
    r#type: Option<i64>,
}

/// The longest duration of a desired value.
const DURATION_S_MAX: i64 = 366 * 24 * 3600;

#[derive(Serialize, ToSchema)]
struct Empty {}

/// Sends values down to a device, as its commands. `properties` is an object, or one as JSON in a string.
#[utoipa::path(post, path = "/v2.0/cloud/thing/{device_id}/shadow/properties/issue", tag = "commands",
    params(("device_id" = String, Path, description = "The device")), request_body = PropertiesBody,
    responses((status = 200, body = Envelope<Empty>)))]
async fn issue_properties(call: AppCall) -> Reply {
    let setpoints = setpoints_of_properties(&call)?;
    call.cloud().set_values(&call.caller, &call.device_id(), setpoints).await?;
    call.answer(Empty {})
}

/// Notes values that a device should take: it receives them at once or when it next connects, or with `type` 0 requests them itself.
#[utoipa::path(post, path = "/v2.0/cloud/thing/{device_id}/shadow/properties/desired", tag = "commands",
    params(("device_id" = String, Path, description = "The device")), request_body = DesiredBody,
    responses((status = 200, body = Envelope<Empty>)))]
async fn desire_properties(call: AppCall) -> Reply {
    let (setpoints, body) = (setpoints_of_properties(&call)?, call.body()?);
    let for_ms = body.required_integer("duration", 1..=DURATION_S_MAX)? * 1000;
    let is_pushed = body.integer("type", 0..=1)?.unwrap_or(1) == 1;
    call.cloud().set_desired_values(&call.caller, &call.device_id(), setpoints, for_ms, is_pushed).await?;
    call.answer(Empty {})
}

/// Reads the member `commands`. Without it the vendor answers 1109.
fn setpoints_of_commands(call: &AppCall) -> std::result::Result<Vec<Setpoint>, Failure> {
    let body = call.body()?;
    let missing = || Failure::new(Code::ILLEGAL, "commands must be a list of {\"code\", \"value\"}");
    let items = body.items("commands")?.filter(|items| !items.is_empty()).ok_or_else(missing)?;
    items
        .iter()
        .map(|item| {
            let code = item["code"].as_str().ok_or_else(missing)?;
            let value = item.get("value").filter(|value| !value.is_null()).ok_or_else(missing)?;
            Ok(setpoint(code, value)?)
        })
        .collect()
}

fn setpoints_of_properties(call: &AppCall) -> std::result::Result<Vec<Setpoint>, Failure> {
    let properties: Map<String, Json> = call.body()?.object("properties")?.ok_or(Error::Missing("properties"))?;
    let setpoints: Result<Vec<Setpoint>> = properties.iter().map(|(code, value)| setpoint(code, value)).collect();
    Ok(setpoints?)
}

fn setpoint(code: &str, value: &Json) -> Result<Setpoint> {
    let too_long = || Error::CommandNotSupported(format!("the value of {code:?} is too long"));
    Ok((Arc::from(code), Value::from_json(value.to_string()).ok_or_else(too_long)?))
}
