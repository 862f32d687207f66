//! The functions of devices (contract tuya §4.2).

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::devices::states_of_ids;
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::name::FunctionName;
use crate::domain::product::PRODUCT_PAGE_MAX;
use crate::domain::{Access, Device, DeviceId, Function, FunctionType};
use crate::thing_model;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(functions))
        .routes(routes!(iot03_functions))
        .routes(routes!(devices_functions))
        .routes(routes!(category_functions))
        .routes(routes!(iot03_category_functions))
        .routes(routes!(specifications))
        .routes(routes!(specifications_with_points))
        .routes(routes!(iot03_specification))
}

/// The functions that can be sent to a device.
#[derive(Serialize, ToSchema)]
struct FunctionsView {
    category: String,
    functions: Vec<FunctionView>,
}

#[derive(Clone, Serialize, ToSchema)]
struct FunctionView {
    code: String,
    desc: String,
    /// What its owner calls it, or else the product.
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// A JSON object as text.
    values: String,
}

impl FunctionView {
    fn of(function: &Function, names: &HashMap<String, String>) -> Self {
        Self {
            code: function.code.clone(),
            desc: function.name.clone(),
            name: names.get(&function.code).unwrap_or(&function.name).clone(),
            kind: kind(function),
            values: thing_model::tuya_values(function).into_owned(),
        }
    }
}

fn kind(function: &Function) -> &'static str {
    match function.kind {
        FunctionType::Boolean => "Boolean",
        FunctionType::Integer => "Integer",
        FunctionType::Float | FunctionType::Double if function.bounds.decimal.scale.is_some() => "Integer",
        FunctionType::Enum => "Enum",
        FunctionType::String | FunctionType::Float | FunctionType::Double | FunctionType::Date => "String",
        FunctionType::Json | FunctionType::Struct => "Json",
        FunctionType::Raw => "Raw",
        FunctionType::Bitmap => "Bitmap",
    }
}

fn is_commanded(function: &&Function) -> bool {
    function.access != Access::ReadOnly
}

fn is_reported(function: &&Function) -> bool {
    function.access != Access::WriteOnly
}

/// A device with functions, and the names that its owner gave to them.
async fn device_with_functions(call: &AppCall) -> Result<(Arc<Device>, HashMap<String, String>), Failure> {
    let id = call.device_id();
    let device = call.cloud().device(&call.caller, &id).await?.device;
    if device.product.functions.is_empty() {
        return Err(Failure::new(Code::FUNCTION, "the device's product has no functions"));
    }
    Ok((device, names(call, &id).await?))
}

/// The functions that can be sent to a device, with the names that its owner gave. 2003 when its product describes no functions.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/functions", tag = "functions",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<FunctionsView>)))]
async fn functions(call: AppCall) -> Reply {
    let (device, names) = device_with_functions(&call).await?;
    let functions = device.product.functions.iter().filter(is_commanded);
    let functions = functions.map(|function| FunctionView::of(function, &names)).collect();
    call.answer(FunctionsView { category: device.product.category.clone(), functions })
}

/// As `/v1.0/devices/{device_id}/functions`.
#[utoipa::path(get, path = "/v1.0/iot-03/devices/{device_id}/functions", tag = "functions",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<FunctionsView>)))]
async fn iot03_functions(call: AppCall) -> Reply {
    functions(call).await
}

/// The functions that can be sent to a device.
#[derive(Serialize, ToSchema)]
struct DeviceFunctionsView {
    product_id: String,
    category: String,
    /// One: a client looks only at the first.
    devices: [String; 1],
    functions: Vec<FunctionView>,
}

/// The functions that can be sent to some devices, at most 20, a row each. Unknown ids are left out.
#[utoipa::path(get, path = "/v1.0/devices/functions", tag = "functions",
    params(("device_ids" = String, Query, description = "At most 20, separated by commas")),
    responses((status = 200, body = Envelope<Vec<DeviceFunctionsView>>)))]
async fn devices_functions(call: AppCall) -> Reply {
    let mut rows = Vec::new();
    let states = states_of_ids(&call).await?;
    let names = call.cloud().function_names_of(&states).await?;
    for (state, names) in states.iter().zip(names) {
        let (product, id, names) = (&state.device.product, &state.device.id, by_code(names));
        let functions = product.functions.iter().filter(is_commanded);
        rows.push(DeviceFunctionsView {
            product_id: product.id.as_str().to_owned(),
            category: product.category.clone(),
            devices: [id.0.clone()],
            functions: functions.map(|function| FunctionView::of(function, &names)).collect(),
        });
    }
    call.answer(rows)
}

/// The names that the owner gave to the functions of a device.
async fn names(call: &AppCall, id: &DeviceId) -> Result<HashMap<String, String>, Failure> {
    let names = call.cloud().function_names(&call.caller, id).await?;
    Ok(by_code(names))
}

fn by_code(names: Vec<FunctionName>) -> HashMap<String, String> {
    names.into_iter().map(|name| (name.code, name.name)).collect()
}

/// The functions that can be sent to devices of a category: those of the project's products of it, each
/// code once.
#[utoipa::path(get, path = "/v1.0/functions/{category}", tag = "functions",
    params(("category" = String, Path, description = "For example cz")),
    responses((status = 200, body = Envelope<FunctionsView>)))]
async fn category_functions(call: AppCall) -> Reply {
    let category = call.path("category");
    let products = call.cloud().products(&call.caller, 0, PRODUCT_PAGE_MAX).await?;
    let mut found: Vec<FunctionView> = Vec::new();
    for product in products.iter().filter(|product| product.category == category) {
        for function in product.functions.iter().filter(is_commanded) {
            if !found.iter().any(|known| known.code == function.code) {
                found.push(FunctionView::of(function, &HashMap::new()));
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::new(Code::FUNCTION, "no product of that category has functions"));
    }
    call.answer(FunctionsView { category: category.to_owned(), functions: found })
}

/// As `/v1.0/functions/{category}`.
#[utoipa::path(get, path = "/v1.0/iot-03/categories/{category}/functions", tag = "functions",
    params(("category" = String, Path, description = "For example cz")),
    responses((status = 200, body = Envelope<FunctionsView>)))]
async fn iot03_category_functions(call: AppCall) -> Reply {
    category_functions(call).await
}

/// The functions that can be sent to a device, and the values that it reports.
#[derive(Serialize, ToSchema)]
struct SpecificationView {
    category: String,
    functions: Vec<SpecificationRow>,
    status: Vec<SpecificationRow>,
}

#[derive(Serialize, ToSchema)]
struct SpecificationRow {
    code: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// A JSON object as text.
    values: String,
    /// The number of the data point on the device; from v1.1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    dp_id: Option<u32>,
    /// From v1.1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The two forms of a specification.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpecificationForm {
    /// As in v1.0.
    Short,
    /// With the numbers of the data points and the names.
    Full,
}

async fn specification(call: &AppCall, form: SpecificationForm) -> Reply {
    let (device, names) = device_with_functions(call).await?;
    let is_full = form == SpecificationForm::Full;
    let row = |function: &Function| SpecificationRow {
        code: function.code.clone(),
        kind: kind(function),
        values: thing_model::tuya_values(function).into_owned(),
        dp_id: is_full.then_some(function.dp_id),
        name: is_full.then(|| names.get(&function.code).unwrap_or(&function.name).clone()),
    };
    let all = &device.product.functions;
    call.answer(SpecificationView {
        category: device.product.category.clone(),
        functions: all.iter().filter(is_commanded).map(row).collect(),
        status: all.iter().filter(is_reported).map(row).collect(),
    })
}

/// The functions that can be sent to a device, and the values that it reports. 2003 when its product describes no functions.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/specifications", tag = "functions",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<SpecificationView>)))]
async fn specifications(call: AppCall) -> Reply {
    specification(&call, SpecificationForm::Short).await
}

/// As v1.0, with the numbers of the data points and the names.
#[utoipa::path(get, path = "/v1.1/devices/{device_id}/specifications", tag = "functions",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<SpecificationView>)))]
async fn specifications_with_points(call: AppCall) -> Reply {
    specification(&call, SpecificationForm::Full).await
}

/// As `/v1.0/devices/{device_id}/specifications`.
#[utoipa::path(get, path = "/v1.0/iot-03/devices/{device_id}/specification", tag = "functions",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<SpecificationView>)))]
async fn iot03_specification(call: AppCall) -> Reply {
    specification(&call, SpecificationForm::Short).await
}
