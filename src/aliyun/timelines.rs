//! Values and thing events that a device reported (contract aliyun §5 rows 10, 11).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::auth::Call;
use super::devices::DeviceParams;
use super::params::{Body, flag, required, text, whole};
use super::reply::{Code, Envelope, Failure, Reply};
use super::things::batch_id;
use crate::domain::event::PAGE_ROWS_MAX;
use crate::domain::timeline::{TimelinePage, TimelineQuery};
use crate::domain::{Device, Event, EventType};
use crate::thing_model;

/// The number of rows on a page when the caller does not give it.
const PAGE_SIZE_DEFAULT: i64 = 20;
/// The type of an event when its product does not define it.
const EVENT_TYPE: &str = "info";

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(property_timeline)).routes(routes!(event_timeline))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TimelineParams {
    #[serde(flatten)]
    device: DeviceParams,
    /// The property or event.
    #[serde(default, deserialize_with = "text")]
    identifier: Option<String>,
    /// Of an event: `info`, `alert` or `error`.
    #[serde(default, deserialize_with = "text")]
    event_type: Option<String>,
    /// Milliseconds, included; the beginning by default.
    #[serde(default, deserialize_with = "whole")]
    start: Option<i64>,
    /// Milliseconds, included; now by default.
    #[serde(default, deserialize_with = "whole")]
    end: Option<i64>,
    /// From 1, 20 by default; more than 100 are not given.
    #[serde(default, deserialize_with = "whole")]
    page_size: Option<i64>,
    /// Oldest first; newest first by default.
    #[serde(default, deserialize_with = "flag")]
    ordered: Option<bool>,
}

/// A page, and the time at which the next one begins: the new `end`, or with `ordered` the new `start`.
#[derive(Serialize, ToSchema)]
struct TimelineView<T> {
    items: Vec<T>,
    /// Milliseconds.
    timestamp: i64,
}

async fn timeline(call: &Call, types: &[EventType]) -> Result<(Arc<Device>, TimelinePage, TimelineParams), Failure> {
    let params: TimelineParams = call.params()?;
    let size = params.page_size.unwrap_or(PAGE_SIZE_DEFAULT);
    if size < 1 {
        return Err(Failure::new(Code::PARAM, "pageSize must be 1 or more"));
    }
    let name = DeviceParams {
        iot_id: params.device.iot_id.clone(),
        product_key: params.device.product_key.clone(),
        device_name: params.device.device_name.clone(),
    };
    let query = TimelineQuery {
        code: required(params.identifier.clone(), "identifier")?,
        from_ms: params.start.unwrap_or(0).max(0),
        to_ms: params.end.unwrap_or_else(|| call.cloud().now_ms()),
        limit: usize::try_from(size).unwrap_or(PAGE_ROWS_MAX).min(PAGE_ROWS_MAX),
        oldest_first: params.ordered.unwrap_or(false),
        types: types.iter().copied().collect(),
    };
    let (device, page) = call.cloud().timeline(&call.caller, &name.name()?, query).await?;
    Ok((device, page, params))
}

/// One value of a property. The names are the vendor's, small letters included.
#[derive(Serialize, ToSchema)]
struct PropertyRow {
    iotid: String,
    /// As the thing model has it.
    data: Json,
    /// Milliseconds.
    modifytime: i64,
    property: String,
    #[serde(rename = "batchId")]
    batch_id: String,
    #[schema(value_type = Option<String>)]
    group: Option<()>,
    /// Milliseconds.
    timestamp: i64,
}

/// The values of a property over time, in either direction. A page is at most 100 rows, and those of the last one's
/// millisecond.
#[utoipa::path(post, path = "/cloud/thing/property/timeline/get", tag = "timelines",
    request_body = Body<TimelineParams>, responses((status = 200, body = Envelope<TimelineView<PropertyRow>>)))]
async fn property_timeline(call: Call) -> Reply {
    let (device, page, _) = timeline(&call, &[EventType::DataPoint]).await?;
    let row = |event: Event| {
        let property = event.code.as_deref().unwrap_or_default();
        let stored = event.value.as_ref().map_or("null", |value| value.as_json());
        PropertyRow {
            iotid: device.iot_id.clone(),
            data: thing_model::to_alink(device.product.function(property), stored),
            modifytime: event.row.time_ms,
            property: property.to_owned(),
            batch_id: batch_id(event.row.time_ms, event.row.n),
            group: None,
            timestamp: event.row.time_ms,
        }
    };
    call.answer(TimelineView { items: page.rows.into_iter().map(row).collect(), timestamp: page.next_ms })
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventRow {
    event_code: String,
    iot_id: String,
    event_name: String,
    /// `info`, `alert` or `error`.
    event_type: &'static str,
    /// The event's output, as JSON text.
    event_body: String,
    batch_id: String,
    /// Milliseconds.
    timestamp: i64,
}

/// The events of one kind over time, and what a device reported as a value that is no property of its product; paged as
/// the values are.
#[utoipa::path(post, path = "/cloud/thing/event/timeline/get", tag = "timelines",
    request_body = Body<TimelineParams>, responses((status = 200, body = Envelope<TimelineView<EventRow>>)))]
async fn event_timeline(call: Call) -> Reply {
    let (device, mut page, params) = timeline(&call, &[EventType::DataPoint, EventType::ThingEvent]).await?;
    let is_property = params.identifier.as_deref().is_some_and(|code| device.product.function(code).is_some());
    let other_type = params.event_type.is_some_and(|kind| kind != EVENT_TYPE);
    page.rows.retain(|event| !other_type && (event.kind == EventType::ThingEvent || !is_property));
    let row = |event: Event| {
        let code = event.code.as_deref().unwrap_or_default().to_owned();
        EventRow {
            event_name: code.clone(),
            event_code: code,
            iot_id: device.iot_id.clone(),
            event_type: EVENT_TYPE,
            event_body: event.value.as_ref().map_or_else(String::new, |value| value.as_json().to_owned()),
            batch_id: batch_id(event.row.time_ms, event.row.n),
            timestamp: event.row.time_ms,
        }
    };
    call.answer(TimelineView { items: page.rows.into_iter().map(row).collect(), timestamp: page.next_ms })
}
