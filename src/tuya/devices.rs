//! Devices (seed 003; contract tuya §3.4–3.14).

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, Call, SignedRequest};
use super::reply::{Envelope, Reply};
use crate::domain::device::{
    DEVICE_LIST_MAX, DEVICE_PAGE_MAX, Device, DeviceCursor, DeviceQuery, NAME_CHARS_MAX, Removal, UserDevices,
};
use crate::domain::{DeviceId, DeviceState, Error, Function, ProductId, Requester, Result, Schema, Uid};
use crate::http::Rendering;
use crate::thing_model::tuya_value;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(device))
        .routes(routes!(user_devices))
        .routes(routes!(devices))
        .routes(routes!(rename_device))
        .routes(routes!(remove_device))
        .routes(routes!(reset_factory))
        .routes(routes!(reset_factory_post))
        .routes(routes!(sub_devices))
        .routes(routes!(factory_infos))
}

/// A device and the latest value of each of its functions.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceView<'a> {
    id: &'a str,
    name: &'a str,
    /// The owner's uid, empty when nobody of this project owns it.
    uid: &'a str,
    /// The home's id, empty when it stands in none.
    owner_id: String,
    local_key: &'a str,
    category: &'a str,
    product_id: &'a str,
    product_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    uuid: &'a str,
    icon: &'a str,
    ip: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<&'a str>,
    time_zone: &'a str,
    biz_type: i64,
    /// Whether it connects through a gateway.
    sub: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = true)]
    online: Option<bool>,
    /// Absent in the list of the newer calls, where clients ask for it apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Vec<StatusView<'a>>>,
    /// Seconds; 0 before the first activation.
    active_time: i64,
    /// Seconds.
    create_time: i64,
    /// Seconds; the last change of anything but the status.
    update_time: i64,
}

/// The latest value of a function, in its JSON type.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusView<'a> {
    code: &'a str,
    #[schema(value_type = Value)]
    value: Option<Cow<'a, RawValue>>,
}

impl<'a> DeviceView<'a> {
    pub(super) fn of(state: &'a DeviceState) -> Self {
        let device = &state.device;
        Self {
            id: device.id.as_str(),
            name: &device.name,
            uid: device.owner.as_ref().map_or("", Uid::as_str),
            owner_id: owner_id(device),
            local_key: &device.local_key,
            category: &device.product.category,
            product_id: device.product.id.as_str(),
            product_name: &device.product.name,
            model: device.product.model.as_deref(),
            uuid: &device.uuid,
            icon: &device.product.icon,
            ip: &device.ip,
            lat: device.lat.as_deref(),
            lon: device.lon.as_deref(),
            time_zone: &device.time_zone,
            biz_type: device.product.biz_type,
            sub: device.gateway.is_some(),
            gateway_id: device.gateway.as_ref().map(DeviceId::as_str),
            node_id: device.node_id.as_deref(),
            online: Some(state.online),
            status: Some(status(state)),
            active_time: device.active_ms / 1000,
            create_time: device.created_ms / 1000,
            update_time: device.updated_ms / 1000,
        }
    }
}

impl DeviceView<'_> {
    pub(super) fn without_status(self) -> Self {
        Self { status: None, ..self }
    }
}

/// What rarely changes of some devices: for each of them the form of [`DeviceView`] up to the value of `online`.
pub(super) struct DeviceTexts {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl DeviceTexts {
    fn of(states: &[DeviceState]) -> Self {
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(states.len()));
        for state in states {
            let view = DeviceView { online: None, status: None, ..DeviceView::of(state) };
            // Numbers and texts can always be written to memory.
            let _ = serde_json::to_writer(&mut text, &view);
            text.pop_if(|last| *last == b'}');
            text.extend_from_slice(b",\"online\":");
            ends.push(text.len());
        }
        text.shrink_to_fit();
        Self { text, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |end| self.text.get(std::mem::replace(&mut begin, *end)..*end).unwrap_or_default())
    }
}

impl Rendering for DeviceTexts {
    fn heap_bytes(&self) -> usize {
        self.text.capacity() + size_of_val(self.ends.as_slice())
    }
}

/// Writes devices in the form of [`DeviceView`], separated by commas.
fn write_devices(text: &mut Vec<u8>, call: &SignedRequest, states: &[DeviceState]) {
    let texts = call.device_texts().get(states.iter().map(|state| &state.device), || DeviceTexts::of(states));
    for (index, (state, facts)) in states.iter().zip(texts.iter()).enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(facts);
        write_state(text, state);
    }
}

/// The answer with a list of devices in the form of [`DeviceView`].
pub(super) fn answer_devices(call: &SignedRequest, states: &[DeviceState]) -> Reply {
    call.answer_written(|text| {
        text.push(b'[');
        write_devices(text, call, states);
        text.push(b']');
    })
}

/// Writes the value of `online` and the members after it.
fn write_state(text: &mut Vec<u8>, state: &DeviceState) {
    text.extend_from_slice(if state.online { b"true" } else { b"false" });
    text.extend_from_slice(b",\"status\":[");
    let mut is_first = true;
    state.visit_status(|point| {
        text.extend_from_slice(if is_first { b"{\"code\":" } else { b",{\"code\":" });
        is_first = false;
        // A code is arbitrary text of the device; a value was validated as JSON when it was received.
        let _ = serde_json::to_writer(&mut *text, point.code);
        text.extend_from_slice(b",\"value\":");
        text.extend_from_slice(tuya_value(point.function, point.value).as_bytes());
        text.push(b'}');
    });
    text.extend_from_slice(b"]}");
}

/// The status of a device.
pub(super) fn status(state: &DeviceState) -> Vec<StatusView<'_>> {
    let mut status = Vec::with_capacity(state.device.product.functions.len());
    state.visit_status(|point| {
        status.push(StatusView { code: point.code, value: raw_value(point.function, point.value) })
    });
    status
}

/// A value in the vendor's form.
pub(super) fn raw_value<'a>(function: Option<&Function>, stored: Cow<'a, str>) -> Option<Cow<'a, RawValue>> {
    match tuya_value(function, stored) {
        Cow::Borrowed(text) => serde_json::from_str(text).ok().map(Cow::Borrowed),
        Cow::Owned(text) => RawValue::from_string(text).ok().map(Cow::Owned),
    }
}

/// The devices of the query parameter `device_ids` that the project may see.
pub(super) async fn states_of_ids<C: Requester>(call: &Call<C>) -> Result<Vec<DeviceState>> {
    let ids = call.query.list("device_ids")?.ok_or(Error::Missing("device_ids"))?;
    let ids = ids.into_iter().map(DeviceId::from).collect();
    let query = DeviceQuery { ids: Some(ids), limit: DEVICE_PAGE_MAX, ..DeviceQuery::default() };
    Ok(call.cloud().devices(&call.caller, query).await?.devices)
}

/// The id of the home as text; empty if the device is in no home.
pub(super) fn owner_id(device: &Device) -> String {
    device.home.map(|home| home.0.to_string()).unwrap_or_default()
}

/// One device.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}", tag = "devices",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<DeviceView>)))]
async fn device(call: AppCall) -> Reply {
    let state = call.cloud().device(&call.caller, &call.device_id()).await?;
    call.answer_written(|text| write_devices(text, &call, &[state]))
}

/// A user's devices: those of the user's homes, or those shared to the user. Without paging the first 1,000.
#[utoipa::path(get, path = "/v1.0/users/{uid}/devices", tag = "devices",
    params(("uid" = String, Path, description = "The user"),
        ("from" = Option<String>, Query, description = "`home` (default) or `sharing`"),
        ("page_no" = Option<i64>, Query, description = "From 1"),
        ("page_size" = Option<i64>, Query, description = "1 to 100")),
    responses((status = 200, body = Envelope<Vec<DeviceView>>)))]
async fn user_devices(call: AppCall) -> Reply {
    let which = match call.query.text("from") {
        None | Some("home") => UserDevices::Home,
        Some("sharing") => UserDevices::Shared,
        Some(_) => return Err(Error::OutOfRange { param: "from", allowed: "home or sharing".to_owned() }.into()),
    };
    let (offset, limit) = page_or_all(&call)?;
    let uid = call.uid();
    let states = call.cloud().devices_of_user(&call.caller, &uid, which, offset, limit).await?;
    answer_devices(&call, &states)
}

#[derive(Serialize, ToSchema)]
struct DeviceListView<'a> {
    devices: Vec<DeviceView<'a>>,
    /// Continues after the last device of this page; empty when there is none.
    last_id: String,
    /// All devices that the filters select.
    total: u64,
}

/// A page of the devices that the project sees, in order of creation. `last_id` is opaque, and stays right while
/// devices change.
#[utoipa::path(get, path = "/v1.0/devices", tag = "devices",
    params(("page_no" = Option<i64>, Query, description = "From 1"),
        ("page_size" = Option<i64>, Query, description = "1 to 100, 20 by default"),
        ("last_id" = Option<String>, Query, description = "In place of page_no: `last_id` of the page before"),
        ("schema" = Option<String>, Query, description = "Only devices of this app's users"),
        ("product_id" = Option<String>, Query, description = "Only devices of this product"),
        ("device_ids" = Option<String>, Query, description = "Only these, at most 20, separated by commas"),
        ("start_time" = Option<i64>, Query, description = "Changed at or after; seconds"),
        ("end_time" = Option<i64>, Query, description = "Changed at or before; seconds")),
    responses((status = 200, body = Envelope<DeviceListView>)))]
async fn devices(call: AppCall) -> Reply {
    let page = call.cloud().devices(&call.caller, device_query(&call)?).await?;
    let last_id = page.devices.last().map(|state| cursor(&state.device)).unwrap_or_default();
    let devices = page.devices.iter().map(DeviceView::of).collect();
    call.answer(DeviceListView { devices, last_id, total: page.total })
}

fn device_query(call: &SignedRequest) -> Result<DeviceQuery> {
    let after = call.query.text("last_id").map(parse_cursor).transpose()?;
    let (offset, limit) = page(call)?;
    let ids = call.query.list("device_ids")?;
    let end_ms = call.query.seconds("end_time")?.map(|start_of_second| start_of_second + 999);
    Ok(DeviceQuery {
        schema: call.query.text("schema").map(Schema::from),
        products: call.query.text("product_id").map(ProductId::from).into_iter().collect(),
        ids: ids.map(|ids| ids.into_iter().map(DeviceId::from).collect()),
        from_ms: call.query.seconds("start_time")?,
        to_ms: end_ms,
        offset: if after.is_some() { 0 } else { offset },
        after,
        limit,
        ..DeviceQuery::default()
    })
}

/// A cursor, opaque to clients: the creation time and id of the last device of a page.
pub(super) fn cursor(device: &Device) -> String {
    format!("{}_{}", device.created_ms, device.id)
}

/// The position of a device in lists.
pub(super) fn cursor_of(device: &Device) -> DeviceCursor {
    DeviceCursor { created_ms: device.created_ms, id: device.id.clone() }
}

/// The position that [`cursor`] encoded.
pub(super) fn parse_cursor(text: &str) -> Result<DeviceCursor> {
    let damaged = Error::DamagedCursor("last_id");
    let Some((created_ms, id)) = text.split_once('_') else { return Err(damaged) };
    let Ok(created_ms) = created_ms.parse() else { return Err(damaged) };
    Ok(DeviceCursor { created_ms, id: DeviceId::from(id) })
}

/// Like [`page`]; without `page_no` and `page_size`, all devices that fit in one answer.
pub(super) fn page_or_all(call: &SignedRequest) -> Result<(usize, usize)> {
    let is_paged = call.query.text("page_no").is_some() || call.query.text("page_size").is_some();
    if is_paged { page(call) } else { Ok((0, DEVICE_LIST_MAX)) }
}

/// `page_no` and `page_size` as the number of devices to skip and to return.
fn page(call: &SignedRequest) -> Result<(usize, usize)> {
    const SIZE: i64 = 20;
    let page_no = call.query.integer("page_no")?.unwrap_or(1).max(1);
    let size = call.query.integer("page_size")?.unwrap_or(SIZE);
    let limit = usize::try_from(size).ok().filter(|limit| (1..=DEVICE_PAGE_MAX).contains(limit));
    let limit =
        limit.ok_or_else(|| Error::OutOfRange { param: "page_size", allowed: format!("1 to {DEVICE_PAGE_MAX}") })?;
    Ok((usize::try_from(page_no - 1).unwrap_or(usize::MAX).saturating_mul(limit), limit))
}

/// A new name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct NameBody {
    name: String,
}

/// Renames a device.
#[utoipa::path(put, path = "/v1.0/devices/{device_id}", tag = "devices",
    params(("device_id" = String, Path, description = "The device")), request_body = NameBody,
    responses((status = 200, body = Envelope<bool>)))]
async fn rename_device(call: AppCall) -> Reply {
    let name = name_in(&call)?;
    call.done(call.cloud().rename_device(&call.caller, &call.device_id(), &name).await)
}

/// The name in a body. One old client sends it as a bare string.
pub(super) fn name_in(call: &SignedRequest) -> std::result::Result<String, super::reply::Failure> {
    Ok(call.sole_body("name")?.required_text("name", NAME_CHARS_MAX)?)
}

/// Takes a device from its users. Its history stays, and shows when its last owner binds it again.
#[utoipa::path(delete, path = "/v1.0/devices/{device_id}", tag = "devices",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn remove_device(call: Call) -> Reply {
    call.done(call.cloud().remove_devices(&call.caller, &[call.device_id()], Removal::Removed).await)
}

/// Takes a device from its users and hides its history, names and users for good.
#[utoipa::path(put, path = "/v1.0/devices/{device_id}/reset-factory", tag = "devices",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn reset_factory(call: Call) -> Reply {
    call.done(call.cloud().remove_devices(&call.caller, &[call.device_id()], Removal::Reset).await)
}

/// As with PUT: one of the vendor's own clients sends POST.
#[utoipa::path(post, path = "/v1.0/devices/{device_id}/reset-factory", tag = "devices",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn reset_factory_post(call: Call) -> Reply {
    reset_factory(call).await
}

/// A device behind a gateway.
#[derive(Serialize, ToSchema)]
struct SubDeviceView<'a> {
    id: &'a str,
    name: &'a str,
    online: bool,
    owner_id: String,
    category: &'a str,
    product_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<&'a str>,
    /// Seconds.
    active_time: i64,
    /// Seconds.
    update_time: i64,
}

/// The devices behind a gateway.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/sub-devices", tag = "devices",
    params(("device_id" = String, Path, description = "The gateway")),
    responses((status = 200, body = Envelope<Vec<SubDeviceView>>)))]
async fn sub_devices(call: AppCall) -> Reply {
    let states = call.cloud().sub_devices(&call.caller, &call.device_id()).await?;
    call.answer(states.iter().map(sub_device).collect::<Vec<_>>())
}

fn sub_device(state: &DeviceState) -> SubDeviceView<'_> {
    SubDeviceView {
        id: state.device.id.as_str(),
        name: &state.device.name,
        online: state.online,
        owner_id: owner_id(&state.device),
        category: &state.device.product.category,
        product_id: state.device.product.id.as_str(),
        node_id: state.device.node_id.as_deref(),
        active_time: state.device.active_ms / 1000,
        update_time: state.device.updated_ms / 1000,
    }
}

/// What the factory gave a device.
#[derive(Serialize, ToSchema)]
struct FactoryInfoView<'a> {
    id: &'a str,
    uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<&'a str>,
}

/// The UUID, serial number and MAC address of some devices, at most 100. Unknown ids are left out.
#[utoipa::path(get, path = "/v1.0/devices/factory-infos", tag = "devices",
    params(("device_ids" = String, Query, description = "At most 100, separated by commas")),
    responses((status = 200, body = Envelope<Vec<FactoryInfoView>>)))]
async fn factory_infos(call: AppCall) -> Reply {
    let ids = call.query.list("device_ids")?.ok_or(Error::Missing("device_ids"))?;
    let ids = ids.into_iter().map(DeviceId::from).collect();
    let devices = call.cloud().factory_infos(&call.caller, ids).await?;
    call.answer(devices.iter().map(|device| factory_info(device)).collect::<Vec<_>>())
}

fn factory_info(device: &Device) -> FactoryInfoView<'_> {
    FactoryInfoView { id: device.id.as_str(), uuid: &device.uuid, sn: device.sn.as_deref(), mac: device.mac.as_deref() }
}
