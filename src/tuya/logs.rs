//! Device logs, in the vendor's free and paid form (seed 003; contract tuya §3.9; DESIGN §5).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::reply::{Envelope, Reply};
use super::row_key::RowKeys;
use crate::domain::event::{PAGE_ROWS_MAX, PageStart};
use crate::domain::{Device, Error, Event, EventQuery, EventType, EventTypes, Result};
use crate::thing_model::tuya_value;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new().routes(routes!(device_logs))
}

/// The time range of a query without a start.
const DEFAULT_SPAN_MS: i64 = 7 * 24 * 3600 * 1000;
/// Times below this are in seconds; in milliseconds they would be before April 1970.
const SECONDS_BELOW: i64 = 10_000_000_000;
/// The number of rows on a page when the caller does not give it.
const DEFAULT_SIZE: i64 = 20;

/// A page in the free form. It starts at `start_row_key`, itself included.
#[derive(Serialize, ToSchema)]
struct FreePageView {
    device_id: String,
    logs: Vec<LogView>,
    has_next: bool,
    /// The key of the first row of this page; null when it has no row.
    #[schema(required)]
    current_row_key: Option<String>,
    /// Where the next page starts; null when there is none.
    #[schema(required)]
    next_row_key: Option<String>,
}

/// A page in the paid form. It starts after `last_row_key`.
#[derive(Serialize, ToSchema)]
struct PaidPageView {
    device_id: String,
    logs: Vec<LogView>,
    has_next: bool,
    /// All rows that match, whatever the page.
    count: u64,
}

/// A page in the form that was asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum PageView {
    Free(FreePageView),
    Paid(PaidPageView),
}

/// One row.
#[derive(Serialize, ToSchema)]
struct LogView {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Always a string, whatever the data point's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Milliseconds since 1970.
    event_time: i64,
    event_from: String,
    event_id: u8,
    /// Always `1`: the row was not deleted.
    status: &'static str,
    /// The row's key, in the paid form.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
}

/// What happened to a device, newest first, at most 100 rows a page. `query_type` 1, the free form, pages with
/// `start_row_key`, 2, the paid one, with `last_row_key`.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/logs", tag = "logs",
    params(("device_id" = String, Path, description = "The device"),
        ("type" = String, Query, description = "Event types 1 to 10, separated by commas"),
        ("start_time" = Option<i64>, Query, description = "Milliseconds; 0 or empty means 7 days back"),
        ("end_time" = i64, Query, description = "Milliseconds"),
        ("codes" = Option<String>, Query, description = "Only these data points, separated by commas"),
        ("size" = Option<i64>, Query, description = "Rows, 20 by default, at most 100"),
        ("query_type" = Option<i64>, Query, description = "1 free (default), 2 paid"),
        ("start_row_key" = Option<String>, Query, description = "Free: `next_row_key` of the page before"),
        ("last_row_key" = Option<String>, Query, description = "Paid: `row` of the last row seen"),
        ("last_event_time" = Option<i64>, Query, description = "Paid: `event_time` of the last row seen")),
    responses((status = 200, body = Envelope<PageView>)))]
async fn device_logs(call: AppCall) -> Reply {
    let id = call.device_id();
    let mut query = event_query(&call)?;
    let keys = RowKeys::of(id.as_str());
    match call.query.integer("query_type")?.unwrap_or(1) {
        1 => {
            if let Some(key) = call.query.text("start_row_key") {
                query.start = PageStart::At(keys.parse_free(key).ok_or(Error::DamagedCursor("start_row_key"))?);
            }
            let device = call.cloud().device_with_log(&call.caller, &id).await?;
            let page = call.cloud().events(&call.caller, &device, query).await?;
            let first = page.rows.first().map(|event| keys.free(event.row, event.kind));
            call.answer(PageView::Free(FreePageView {
                device_id: id.0,
                has_next: page.next.is_some(),
                current_row_key: first,
                next_row_key: page.next.map(|next| keys.free(next.row, next.kind)),
                logs: page.rows.into_iter().map(|event| log(&device, event, None)).collect(),
            }))
        }
        2 => {
            query.start = paid_start(&call, &keys)?;
            let device = call.cloud().device_with_log(&call.caller, &id).await?;
            let (page, count) = call.cloud().events_counted(&call.caller, &device, query).await?;
            let row = |event: Event| {
                let key = keys.paid(event.row);
                log(&device, event, Some(key))
            };
            let (has_next, device_id) = (page.next.is_some(), id.0);
            let logs = page.rows.into_iter().map(row).collect();
            call.answer(PageView::Paid(PaidPageView { device_id, logs, has_next, count }))
        }
        _ => Err(Error::OutOfRange { param: "query_type", allowed: "1 or 2".to_owned() }.into()),
    }
}

fn paid_start(call: &AppCall, keys: &RowKeys) -> Result<PageStart> {
    let Some(key) = call.query.text("last_row_key") else {
        // With only a time, the caller would get the first page again and again.
        let alone = call.query.integer("last_event_time")?.is_some_and(|time_ms| time_ms != 0);
        return if alone { Err(Error::Missing("last_row_key")) } else { Ok(PageStart::Newest) };
    };
    let row = keys.parse_paid(key).ok_or(Error::DamagedCursor("last_row_key"))?;
    match call.query.integer("last_event_time")? {
        Some(time_ms) if time_ms != row.time_ms => Err(Error::DamagedCursor("last_event_time")),
        _ => Ok(PageStart::After(row)),
    }
}

fn event_query(call: &AppCall) -> Result<EventQuery> {
    let types = call.query.list("type")?.ok_or(Error::Missing("type"))?;
    let types = types.into_iter().map(event_type).collect::<Result<EventTypes>>()?;
    let from_ms = match call.query.integer("start_time")? {
        None | Some(0) => call.now_ms() - DEFAULT_SPAN_MS,
        Some(time) => milliseconds(time, 0),
    };
    let to_ms = milliseconds(call.query.required_integer("end_time")?, 999);
    if from_ms < 0 || to_ms < 0 {
        return Err(Error::OutOfRange { param: "start_time", allowed: "0 or later".to_owned() });
    }
    let size = call.query.integer("size")?.unwrap_or(DEFAULT_SIZE);
    let limit = usize::try_from(size).ok().filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Error::OutOfRange { param: "size", allowed: "1 or more".to_owned() })?;
    let codes = call.query.list("codes")?.unwrap_or_default();
    Ok(EventQuery {
        types,
        codes: codes.into_iter().map(str::to_owned).collect(),
        from_ms,
        to_ms,
        start: PageStart::Newest,
        limit: limit.min(PAGE_ROWS_MAX),
    })
}

fn event_type(text: &str) -> Result<EventType> {
    let number = text.parse().map_err(|_| Error::WrongType { param: "type", expected: "numbers with commas" })?;
    let kind = EventType::from_number(number).filter(|kind| *kind != EventType::ThingEvent);
    kind.ok_or_else(|| Error::OutOfRange { param: "type", allowed: "event types 1 to 10".to_owned() })
}

/// A time of at most 10 digits is in seconds; an end includes the whole second.
fn milliseconds(time: i64, rest_ms: i64) -> i64 {
    if (0..SECONDS_BELOW).contains(&time) { time * 1000 + rest_ms } else { time }
}

fn log(device: &Device, event: Event, row: Option<String>) -> LogView {
    let function = event.code.as_ref().and_then(|code| device.product.function(code));
    LogView {
        value: event.value.map(|value| text_of(&tuya_value(function, value.as_json().into()))),
        code: event.code.map(|code| code.to_string()),
        event_time: event.row.time_ms,
        event_from: event.source.number().to_string(),
        event_id: event.kind.number(),
        status: "1",
        row,
    }
}

/// The content of a JSON string, or the text of any other value.
fn text_of(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}
