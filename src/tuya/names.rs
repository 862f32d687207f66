//! Names of a device's functions (seed 003; contract tuya §3.8, §3.16).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::devices::name_in;
use super::reply::{Envelope, Reply};
use crate::domain::device::NAME_CHARS_MAX;
use crate::domain::event::CODE_BYTES_MAX;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(name_function))
        .routes(routes!(set_multiple_name))
        .routes(routes!(multiple_names))
}

/// The name of a function.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct FunctionNameBody {
    name: String,
}

/// Names a function of a device, which its product must have.
#[utoipa::path(put, path = "/v1.0/devices/{device_id}/functions/{function_code}", tag = "names",
    params(("device_id" = String, Path, description = "The device"),
        ("function_code" = String, Path, description = "The function")),
    request_body = FunctionNameBody, responses((status = 200, body = Envelope<bool>)))]
async fn name_function(call: AppCall) -> Reply {
    let (id, name) = (call.device_id(), name_in(&call)?);
    call.done(call.cloud().name_function(&call.caller, &id, call.path("function_code"), &name).await)
}

/// The name of a function.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct MultipleNameBody {
    /// The function's code.
    identifier: String,
    name: String,
}

/// Names a function of a device, for example a gang of a switch, which its product must have.
#[utoipa::path(put, path = "/v1.0/devices/{device_id}/multiple-name", tag = "names",
    params(("device_id" = String, Path, description = "The device")),
    request_body = MultipleNameBody, responses((status = 200, body = Envelope<bool>)))]
async fn set_multiple_name(call: AppCall) -> Reply {
    let body = call.body()?;
    let code = body.required_text("identifier", CODE_BYTES_MAX)?;
    let name = body.required_text("name", NAME_CHARS_MAX)?;
    let id = call.device_id();
    call.done(call.cloud().name_function(&call.caller, &id, &code, &name).await)
}

#[derive(Serialize, ToSchema)]
struct MultipleNameView {
    /// The function's code.
    identifier: String,
    name: String,
}

/// The names that were given to functions of a device.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/multiple-names", tag = "names",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<Vec<MultipleNameView>>)))]
async fn multiple_names(call: AppCall) -> Reply {
    let names = call.cloud().function_names(&call.caller, &call.device_id()).await?;
    let view = names.into_iter().map(|name| MultipleNameView { identifier: name.code, name: name.name });
    call.answer(view.collect::<Vec<_>>())
}
