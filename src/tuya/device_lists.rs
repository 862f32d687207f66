//! Lists of devices at the paths that integrations call (contract tuya §4.2). The list of the seed is in `devices`.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, Call, SignedRequest};
use super::devices::{DeviceView, cursor, parse_cursor, states_of_ids};
use super::homes::home_id;
use super::reply::{Envelope, Failure, Reply};
use crate::domain::device::{DEVICE_PAGE_MAX, DeviceQuery, Removal};
use crate::domain::{DeviceId, DeviceState, Error, ProductId, Schema, Uid};

const PAGE_MAX: i64 = 200;
/// The number of devices on a page when the caller does not give it.
const SIZE: i64 = 20;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(associated_devices))
        .routes(routes!(iot03_device))
        .routes(routes!(iot03_devices))
        .routes(routes!(remove_devices))
        .routes(routes!(iot03_remove_device))
        .routes(routes!(iot03_reset_device))
        .routes(routes!(iot03_reset_device_post))
        .routes(routes!(sourced_devices))
}

/// A page of devices and the cursor of the next one.
pub(super) struct Page {
    pub devices: Vec<DeviceState>,
    pub has_more: bool,
    pub last_row_key: String,
    pub total: u64,
}

/// The requested number of devices on a page.
pub(super) fn page_size(call: &SignedRequest, param: &'static str) -> Result<usize, Failure> {
    let size = call.query.integer(param)?.unwrap_or(SIZE);
    let fits = usize::try_from(size).ok().filter(|_| (1..=PAGE_MAX).contains(&size));
    Ok(fits.ok_or_else(|| Error::OutOfRange { param, allowed: format!("1 to {PAGE_MAX}") })?)
}

/// Reads a page of the devices that the query selects, in several reads if it is longer than a page of the store.
pub(super) async fn page(call: &AppCall, size_param: &'static str, mut query: DeviceQuery) -> Result<Page, Failure> {
    let size = page_size(call, size_param)?;
    query.after = call.query.text("last_row_key").map(parse_cursor).transpose()?;
    let (mut devices, mut total): (Vec<DeviceState>, _) = (Vec::new(), None);
    // One more than requested, to find out whether there is another page.
    while devices.len() <= size {
        query.limit = (size + 1 - devices.len()).min(DEVICE_PAGE_MAX);
        let found = call.cloud().devices(&call.caller, query.clone()).await?;
        total.get_or_insert(found.total);
        let is_end = found.devices.len() < query.limit;
        devices.extend(found.devices);
        if is_end {
            break;
        }
        query.after = devices.last().map(|state| cursor(&state.device)).as_deref().map(parse_cursor).transpose()?;
    }
    let has_more = devices.len() > size;
    devices.truncate(size);
    let last_row_key = devices.last().filter(|_| has_more).map(|state| cursor(&state.device)).unwrap_or_default();
    Ok(Page { devices, has_more, last_row_key, total: total.unwrap_or(0) })
}

#[derive(Serialize, ToSchema)]
struct AssociatedView<'a> {
    devices: Vec<DeviceView<'a>>,
    has_more: bool,
    /// Continues after this page; empty at the end.
    last_row_key: String,
    total: u64,
}

/// A page of the devices of the project's users and products, in order of creation; `size` is at most 200.
#[utoipa::path(get, path = "/v1.0/iot-01/associated-users/devices", tag = "device_lists",
    params(("size" = Option<i64>, Query, description = "1 to 200, 20 by default"),
        ("last_row_key" = Option<String>, Query, description = "Of the page before")),
    responses((status = 200, body = Envelope<AssociatedView>)))]
async fn associated_devices(call: AppCall) -> Reply {
    let page = page(&call, "size", DeviceQuery::default()).await?;
    let devices = page.devices.iter().map(DeviceView::of).collect();
    let Page { has_more, last_row_key, total, .. } = page;
    call.answer(AssociatedView { devices, has_more, last_row_key, total })
}

/// One device.
#[utoipa::path(get, path = "/v1.0/iot-03/devices/{device_id}", tag = "device_lists",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<DeviceView>)))]
async fn iot03_device(call: AppCall) -> Reply {
    let state = call.cloud().device(&call.caller, &call.device_id()).await?;
    call.answer(DeviceView::of(&state))
}

#[derive(Serialize, ToSchema)]
struct ListView<'a> {
    list: Vec<DeviceView<'a>>,
    total: usize,
}

/// Some devices, at most 20, without their status: one client keeps values in what it is given here. Unknown ids are left
/// out.
#[utoipa::path(get, path = "/v1.0/iot-03/devices", tag = "device_lists",
    params(("device_ids" = String, Query, description = "At most 20, separated by commas")),
    responses((status = 200, body = Envelope<ListView>)))]
async fn iot03_devices(call: AppCall) -> Reply {
    let states = states_of_ids(&call).await?;
    let list = states.iter().map(|state| DeviceView::of(state).without_status()).collect();
    call.answer(ListView { list, total: states.len() })
}

/// Takes some devices, at most 20, from their users; none of them when one is not there.
#[utoipa::path(delete, path = "/v1.0/iot-03/devices", tag = "device_lists",
    params(("device_ids" = String, Query, description = "At most 20, separated by commas")),
    responses((status = 200, body = Envelope<bool>)))]
async fn remove_devices(call: Call) -> Reply {
    let mut ids: Vec<&str> = call.query.list("device_ids")?.ok_or(Error::Missing("device_ids"))?;
    ids.sort_unstable();
    ids.dedup();
    let ids: Vec<DeviceId> = ids.into_iter().map(DeviceId::from).collect();
    call.done(call.cloud().remove_devices(&call.caller, &ids, Removal::Removed).await)
}

/// As `DELETE /v1.0/devices/{device_id}`.
#[utoipa::path(delete, path = "/v1.0/iot-03/devices/{device_id}", tag = "device_lists",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn iot03_remove_device(call: Call) -> Reply {
    call.done(call.cloud().remove_devices(&call.caller, &[call.device_id()], Removal::Removed).await)
}

/// As `PUT /v1.0/devices/{device_id}/reset-factory`; one of the vendor's own clients sends DELETE.
#[utoipa::path(delete, path = "/v1.0/iot-03/devices/{device_id}/actions/reset", tag = "device_lists",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn iot03_reset_device(call: Call) -> Reply {
    call.done(call.cloud().remove_devices(&call.caller, &[call.device_id()], Removal::Reset).await)
}

/// As with DELETE.
#[utoipa::path(post, path = "/v1.0/iot-03/devices/{device_id}/actions/reset", tag = "device_lists",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<bool>)))]
async fn iot03_reset_device_post(call: Call) -> Reply {
    iot03_reset_device(call).await
}

#[derive(Serialize, ToSchema)]
struct SourcedView<'a> {
    list: Vec<DeviceView<'a>>,
    has_more: bool,
    /// Continues after this page; empty at the end.
    last_row_key: String,
    total: u64,
}

/// A page of devices: a user's (`tuyaUser`), an app's (`homeApp`), a product's (`product`), a home's (`asset`), or all
/// that whoever asks sees.
#[utoipa::path(get, path = "/v1.3/iot-03/devices", tag = "device_lists",
    params(("source_type" = Option<String>, Query, description = "tuyaUser, homeApp, product or asset"),
        ("source_id" = Option<String>, Query, description = "The user's uid, the app's schema, the product's id, the home's id"),
        ("device_ids" = Option<String>, Query, description = "Only these, at most 20, separated by commas"),
        ("page_size" = Option<i64>, Query, description = "1 to 200, 20 by default"),
        ("last_row_key" = Option<String>, Query, description = "Of the page before")),
    responses((status = 200, body = Envelope<SourcedView>)))]
async fn sourced_devices(call: AppCall) -> Reply {
    let id = || call.query.text("source_id").map(str::to_owned).ok_or(Error::Missing("source_id"));
    let ids = call.query.list("device_ids")?;
    let mut query =
        DeviceQuery { ids: ids.map(|ids| ids.into_iter().map(DeviceId::from).collect()), ..DeviceQuery::default() };
    match call.query.text("source_type") {
        // A home is an asset. Without one, all visible devices are selected.
        None | Some("asset") => {
            if let Some(home) = call.query.text("source_id") {
                query.home = Some(call.cloud().home(&call.caller, home_id(home)?).await?.id);
            }
        }
        Some("product") => query.products = vec![ProductId::from(id()?.as_str())],
        Some("homeApp") => query.schema = Some(Schema::from(id()?.as_str())),
        Some("tuyaUser") => query.of_user = Some(Uid(id()?)),
        Some(_) => {
            let allowed = "tuyaUser, homeApp, product or asset".to_owned();
            return Err(Error::OutOfRange { param: "source_type", allowed }.into());
        }
    }
    let page = page(&call, "page_size", query).await?;
    let list = page.devices.iter().map(DeviceView::of).collect();
    let Page { has_more, last_row_key, total, .. } = page;
    call.answer(SourcedView { list, has_more, last_row_key, total })
}
