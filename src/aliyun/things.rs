//! Things: the description, values and functions of a device (contract aliyun §5 rows 2, 6–9).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::auth::Call;
use super::devices::{DeviceParams, nick_name, status, thing_type};
use super::params::{Body, page, required, text, whole};
use super::reply::{Code, Envelope, Failure, Reply};
use super::token::tenant_id;
use crate::domain::attribute::AttributeKind;
use crate::domain::device::{DEVICE_LIST_MAX, DEVICE_PAGE_MAX, DeviceCursor, DeviceQuery};
use crate::domain::{Caller, DeviceState};
use crate::http::document::AnyObject;
use crate::thing_model;

const PAGE_SIZE_MAX: usize = 200;
/// Maximum number of devices that one call with a status filter examines.
const LOOKED_THROUGH_MAX: usize = 10_000;
/// The names of the main firmware module in the two device protocols.
const MAIN_FIRMWARE: [&str; 2] = ["default", "0"];
/// The region of every device.
const REGION: &str = "local";

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new()
        .routes(routes!(thing_properties))
        .routes(routes!(thing_status))
        .routes(routes!(thing_info))
        .routes(routes!(things_info))
        .routes(routes!(things))
        .routes(routes!(thing_tsl))
}

/// The latest value of a property.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PropertyView<'a> {
    attribute: &'a str,
    /// The same for one report only.
    batch_id: String,
    /// Milliseconds.
    gmt_modified: i64,
    iot_id: &'a str,
    /// As the thing model has it: 0 and 1 for a boolean, the index of a choice.
    value: Json,
}

/// The latest value of each property, as the thing model has it: booleans as 0 and 1, choices as their index.
#[utoipa::path(post, path = "/cloud/thing/properties/get", tag = "things", request_body = Body<DeviceParams>,
    responses((status = 200, body = Envelope<Vec<PropertyView>>)))]
async fn thing_properties(call: Call) -> Reply {
    let state = call.cloud().named_device(&call.caller, &call.device_name()?).await?;
    let product = &state.device.product;
    let properties = state.points().map(|point| PropertyView {
        attribute: &point.code,
        batch_id: batch_id(point.row.time_ms, point.row.n),
        gmt_modified: point.row.time_ms,
        iot_id: &state.device.iot_id,
        value: thing_model::to_alink(product.function(&point.code), point.value.as_json()),
    });
    call.answer(properties.collect::<Vec<_>>())
}

/// The id of one report of a device.
pub fn batch_id(time_ms: i64, n: u32) -> String {
    format!("{time_ms:016x}{n:06x}")
}

#[derive(Serialize, ToSchema)]
struct StatusView {
    /// Since when, milliseconds; 0 when it never connected.
    time: i64,
    /// 0 not activated, 1 online, 3 offline, 8 disabled.
    status: u8,
}

/// Whether a device is connected, and since when.
#[utoipa::path(post, path = "/cloud/thing/status/get", tag = "things", request_body = Body<DeviceParams>,
    responses((status = 200, body = Envelope<StatusView>)))]
async fn thing_status(call: Call) -> Reply {
    let state = call.cloud().named_device(&call.caller, &call.device_name()?).await?;
    call.answer(StatusView { time: state.presence_ms().unwrap_or(0), status: status(&state) })
}

/// What is known of a device. The platform's `deviceSecret` is left out: it opens the device to whoever reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ThingView {
    iot_id: String,
    product_key: String,
    /// The device's name in its product.
    name: String,
    /// The device's id in the Tuya dialect.
    device_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nickname: Option<String>,
    thing_type: &'static str,
    status: u8,
    status_last: u8,
    /// Milliseconds.
    gmt_create: i64,
    /// Milliseconds.
    gmt_modified: i64,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_time: Option<i64>,
    region: &'static str,
    rbac_tenant_id: String,
    tenant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    net_address: Option<String>,
    /// What the device last said; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    firmware_version: Option<String>,
}

impl ThingView {
    fn of(state: &DeviceState, caller: &Caller) -> Self {
        let device = &state.device;
        let (status, tenant) = (status(state), tenant_id(caller.project()));
        Self {
            iot_id: device.iot_id.clone(),
            product_key: device.product.key.clone(),
            name: device.device_name.clone(),
            device_key: device.id.0.clone(),
            nickname: nick_name(device).map(str::to_owned),
            thing_type: thing_type(device),
            status,
            status_last: status,
            gmt_create: device.created_ms,
            gmt_modified: device.updated_ms,
            active_time: Some(device.active_ms).filter(|ms| *ms > 0),
            region: REGION,
            rbac_tenant_id: tenant.clone(),
            tenant_id: tenant,
            mac: device.mac.clone(),
            sn: device.sn.clone(),
            net_address: Some(device.ip.clone()).filter(|ip| !ip.is_empty()),
            firmware_version: None,
        }
    }
}

/// What is known of a device, without the `deviceSecret`.
#[utoipa::path(post, path = "/cloud/thing/info/get", tag = "things", request_body = Body<DeviceParams>,
    responses((status = 200, body = Envelope<ThingView>)))]
async fn thing_info(call: Call) -> Reply {
    let state = call.cloud().named_device(&call.caller, &call.device_name()?).await?;
    let firmware = call.cloud().attributes(&state.device, AttributeKind::Firmware).await?;
    let main = firmware.into_iter().find(|part| MAIN_FIRMWARE.contains(&part.key.as_str()));
    let firmware_version = main.map(|part| part.text);
    call.answer(ThingView { firmware_version, ..ThingView::of(&state, &call.caller) })
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ThingsParams {
    #[serde(default, deserialize_with = "text")]
    product_key: Option<String>,
    /// Only those in this state: 0, 1, 3 or 8. The first 10,000 devices of the product are looked through.
    #[serde(default, deserialize_with = "whole")]
    status: Option<i64>,
    /// From 1, the default.
    #[serde(default, deserialize_with = "whole")]
    current_page: Option<i64>,
    /// 1 to 200, 20 by default.
    #[serde(default, deserialize_with = "whole")]
    page_size: Option<i64>,
}

/// A page of a product's devices, in order of creation. With a `status` its first 10,000 devices are looked through.
#[utoipa::path(post, path = "/cloud/things/get", tag = "things", request_body = Body<ThingsParams>,
    responses((status = 200, body = Envelope<Vec<ThingView>>)))]
async fn things(call: Call) -> Reply {
    list(&call).await
}

/// As `/cloud/things/get`, under the name that one client has for it.
#[utoipa::path(post, path = "/cloud/things/info/get", tag = "things", request_body = Body<ThingsParams>,
    responses((status = 200, body = Envelope<Vec<ThingView>>)))]
async fn things_info(call: Call) -> Reply {
    list(&call).await
}

async fn list(call: &Call) -> Reply {
    let params: ThingsParams = call.params()?;
    let wanted = match params.status {
        None => None,
        Some(number @ (0 | 1 | 3 | 8)) => u8::try_from(number).ok(),
        Some(_) => return Err(Failure::new(Code::PARAM, "status must be 0, 1, 3 or 8")),
    };
    let (offset, size) = page(params.current_page, params.page_size, PAGE_SIZE_MAX)?;
    let key = required(params.product_key, "productKey")?;
    let product = call.cloud().product(&call.caller, &key).await?;
    let mut query =
        DeviceQuery { products: vec![product.id.clone()], limit: DEVICE_PAGE_MAX, ..DeviceQuery::default() };
    // Without a status filter the store paginates; with one, the matching devices are counted here.
    let (mut skip, mut looked_through) = (0, 0);
    match wanted {
        None => query.offset = offset,
        Some(_) => (skip, query.limit) = (offset, DEVICE_LIST_MAX),
    }
    let mut found = Vec::new();
    while found.len() < size && looked_through < LOOKED_THROUGH_MAX {
        let devices = call.cloud().devices(&call.caller, query.clone()).await?.devices;
        looked_through += devices.len();
        let Some(last) = devices.last().filter(|_| devices.len() == query.limit) else {
            take(&devices, wanted, &mut skip, size, &mut found, call);
            break;
        };
        query.after = Some(DeviceCursor { created_ms: last.device.created_ms, id: last.device.id.clone() });
        query.offset = 0;
        take(&devices, wanted, &mut skip, size, &mut found, call);
    }
    call.answer(found)
}

fn take(
    devices: &[DeviceState],
    wanted: Option<u8>,
    skip: &mut usize,
    size: usize,
    found: &mut Vec<ThingView>,
    call: &Call,
) {
    for state in devices.iter().filter(|state| wanted.is_none_or(|wanted| wanted == status(state))) {
        if *skip > 0 {
            *skip -= 1;
        } else if found.len() < size {
            found.push(ThingView::of(state, &call.caller));
        }
    }
}

/// What a device can do and report, in the vendor's thing model, made from the product's functions.
#[utoipa::path(post, path = "/cloud/thing/tsl/get", tag = "things", request_body = Body<DeviceParams>,
    responses((status = 200, body = Envelope<AnyObject>)))]
async fn thing_tsl(call: Call) -> Reply {
    let state = call.cloud().named_device(&call.caller, &call.device_name()?).await?;
    call.answer(thing_model::tsl(&state.device.product, Some(&state.device.device_name)))
}
