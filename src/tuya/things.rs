//! Devices as things: details, list, thing model and shadow (contract tuya §4.2). Commands are in `commands`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, Call};
use super::devices::{cursor_of, owner_id, raw_value};
use super::reply::{Envelope, Failure, Reply};
use crate::domain::device::{DEVICE_IDS_MAX, DeviceCursor, DeviceQuery, Removal};
use crate::domain::{DeviceId, DeviceState, Error, ProductId};
use crate::thing_model;

const PAGE_MAX: i64 = 20;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(thing))
        .routes(routes!(things))
        .routes(routes!(thing_model_of_device))
        .routes(routes!(shadow_properties))
        .routes(routes!(reset_thing))
}

/// Defines one set of members in both of the vendor's spellings.
macro_rules! thing_views {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)*) => {
        /// A device.
        #[derive(Serialize, ToSchema)]
        struct ThingView<'a> {
            $($(#[$meta])* $name: $type,)*
        }

        /// A device in a list, whose members are spelled otherwise.
        #[derive(Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        struct ThingInListView<'a> {
            $($(#[$meta])* $name: $type,)*
        }

        impl<'a> From<ThingView<'a>> for ThingInListView<'a> {
            fn from(view: ThingView<'a>) -> Self {
                Self { $($name: view.$name,)* }
            }
        }
    };
}

thing_views! {
    /// Seconds; 0 before the first activation.
    active_time: i64,
    bind_space_id: String,
    category: &'a str,
    /// Seconds.
    create_time: i64,
    /// What its owner calls it.
    custom_name: &'a str,
    icon: &'a str,
    id: &'a str,
    ip: &'a str,
    is_online: bool,
    lat: &'a str,
    local_key: &'a str,
    lon: &'a str,
    model: &'a str,
    /// What its product is called.
    name: &'a str,
    product_id: &'a str,
    product_name: &'a str,
    sub: bool,
    time_zone: &'a str,
    /// Seconds.
    update_time: i64,
    uuid: &'a str,
}

impl<'a> ThingView<'a> {
    fn of(state: &'a DeviceState) -> Self {
        let device = &state.device;
        Self {
            active_time: device.active_ms / 1000,
            bind_space_id: owner_id(device),
            category: &device.product.category,
            create_time: device.created_ms / 1000,
            custom_name: &device.name,
            icon: &device.product.icon,
            id: device.id.as_str(),
            ip: &device.ip,
            is_online: state.online,
            lat: device.lat.as_deref().unwrap_or_default(),
            local_key: &device.local_key,
            lon: device.lon.as_deref().unwrap_or_default(),
            model: device.product.model.as_deref().unwrap_or_default(),
            name: &device.product.name,
            product_id: device.product.id.as_str(),
            product_name: &device.product.name,
            sub: device.gateway.is_some(),
            time_zone: &device.time_zone,
            update_time: device.updated_ms / 1000,
            uuid: &device.uuid,
        }
    }
}

/// One device.
#[utoipa::path(get, path = "/v2.0/cloud/thing/{device_id}", tag = "things",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<ThingView>)))]
async fn thing(call: AppCall) -> Reply {
    let state = call.cloud().device(&call.caller, &call.device_id()).await?;
    call.answer(ThingView::of(&state))
}

/// A page of devices, at most 20, in order of creation.
#[utoipa::path(get, path = "/v2.0/cloud/thing/device", tag = "things",
    params(("page_size" = Option<i64>, Query, description = "1 to 20, 20 by default"),
        ("last_id" = Option<String>, Query, description = "The id of the last device of the page before"),
        ("product_ids" = Option<String>, Query, description = "Only devices of these products, separated by commas"),
        ("categories" = Option<String>, Query, description = "Only devices of these categories, separated by commas"),
        ("device_ids" = Option<String>, Query, description = "Only these, at most 20, separated by commas")),
    responses((status = 200, body = Envelope<Vec<ThingInListView>>)))]
async fn things(call: AppCall) -> Reply {
    let size = call.query.integer("page_size")?.unwrap_or(PAGE_MAX);
    let size = usize::try_from(size).ok().filter(|_| (1..=PAGE_MAX).contains(&size));
    let limit = size.ok_or_else(|| Error::OutOfRange { param: "page_size", allowed: format!("1 to {PAGE_MAX}") })?;
    let list = |param| -> Result<Option<Vec<&str>>, Error> {
        let items = call.query.list(param)?;
        let is_short = items.as_ref().is_none_or(|items| items.len() <= DEVICE_IDS_MAX);
        is_short
            .then_some(items)
            .ok_or_else(|| Error::OutOfRange { param, allowed: format!("at most {DEVICE_IDS_MAX}") })
    };
    let products = list("product_ids")?.unwrap_or_default().into_iter().map(ProductId::from).collect();
    let categories = list("categories")?.unwrap_or_default().into_iter().map(str::to_owned).collect();
    let ids = list("device_ids")?.map(|ids| ids.into_iter().map(DeviceId::from).collect());
    let after = after(&call).await?;
    let query = DeviceQuery { products, categories, ids, after, limit, ..DeviceQuery::default() };
    let page = call.cloud().devices(&call.caller, query).await?;
    call.answer(page.devices.iter().map(|state| ThingInListView::from(ThingView::of(state))).collect::<Vec<_>>())
}

/// The position of the device that `last_id` names. The cursor here is a bare device id.
async fn after(call: &AppCall) -> Result<Option<DeviceCursor>, Failure> {
    let Some(id) = call.query.text("last_id") else { return Ok(None) };
    let last = call.cloud().device(&call.caller, &DeviceId::from(id)).await;
    Ok(Some(cursor_of(&last.map_err(|_| Error::DamagedCursor("last_id"))?.device)))
}

#[derive(Serialize, ToSchema)]
struct ModelView {
    /// A JSON object as text.
    model: String,
}

/// What a device can do and report, in the vendor's thing model, made from the product's functions.
#[utoipa::path(get, path = "/v2.0/cloud/thing/{device_id}/model", tag = "things",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<ModelView>)))]
async fn thing_model_of_device(call: AppCall) -> Reply {
    let state = call.cloud().device(&call.caller, &call.device_id()).await?;
    call.answer(ModelView { model: thing_model::tuya_model(&state.device.product).to_string() })
}

#[derive(Serialize, ToSchema)]
struct PropertiesView<'a> {
    properties: Vec<PropertyView<'a>>,
}

/// The latest value of a property.
#[derive(Serialize, ToSchema)]
struct PropertyView<'a> {
    code: &'a str,
    /// What its owner calls it; empty when nobody named it.
    custom_name: &'a str,
    dp_id: u32,
    /// Milliseconds; 0 until the device has reported it.
    time: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    #[schema(value_type = Value)]
    value: Option<Cow<'a, RawValue>>,
}

/// The latest value of each property of a device's product, or its default until the device has reported it.
#[utoipa::path(get, path = "/v2.0/cloud/thing/{device_id}/shadow/properties", tag = "things",
    params(("device_id" = String, Path, description = "The device"),
        ("codes" = Option<String>, Query, description = "Only these, separated by commas")),
    responses((status = 200, body = Envelope<PropertiesView>)))]
async fn shadow_properties(call: AppCall) -> Reply {
    let id = call.device_id();
    let state = call.cloud().device(&call.caller, &id).await?;
    let names = call.cloud().function_names(&call.caller, &id).await?;
    let names: HashMap<String, String> = names.into_iter().map(|name| (name.code, name.name)).collect();
    let codes = call.query.list("codes")?;
    let mut properties = Vec::new();
    state.visit_status(|point| {
        let Some(function) = point.function else { return };
        if codes.as_ref().is_none_or(|codes| codes.contains(&point.code)) {
            properties.push(PropertyView {
                code: point.code,
                custom_name: names.get(point.code).map_or("", String::as_str),
                dp_id: function.dp_id,
                time: point.time_ms,
                kind: thing_model::tuya_type(function),
                value: raw_value(point.function, point.value),
            });
        }
    });
    call.answer(PropertiesView { properties })
}

/// As `PUT /v1.0/devices/{device_id}/reset-factory`.
#[utoipa::path(post, path = "/v2.0/cloud/thing/{device_id}/reset", tag = "things",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn reset_thing(call: Call) -> Reply {
    call.done(call.cloud().remove_devices(&call.caller, &[call.device_id()], Removal::Reset).await)
}
