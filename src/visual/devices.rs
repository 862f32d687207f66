//! The device of a visualToken and its reported values (DESIGN §5).

use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{self, Envelope, Failure, Reply};
use super::{Visual, peer, token};
use crate::domain::device::FactoryName;
use crate::domain::event::{EventTypes, NextRow, PAGE_ROWS_MAX, PageStart};
use crate::domain::visual::Access;
use crate::domain::{Error, Event, EventQuery, RowRef, Uid};

/// The number of rows on a page when the caller does not give it.
const SIZE_DEFAULT: usize = 20;

pub fn routes() -> OpenApiRouter<Arc<Visual>> {
    OpenApiRouter::new().routes(routes!(visual_device)).routes(routes!(visual_device_logs))
}

/// A call with a valid token for the device in its path. Handlers get a device only from here.
struct DeviceCall {
    visual: Arc<Visual>,
    access: Access,
    query: Vec<(String, String)>,
}

impl FromRequestParts<Arc<Visual>> for DeviceCall {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, visual: &Arc<Visual>) -> Result<Self, Failure> {
        peer(visual, &parts.extensions)?;
        let bearer = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let bearer =
            bearer.ok_or_else(|| Failure::token("the header Authorization: Bearer <visualToken> is missing"))?;
        let keys = visual.cloud.visual_keys().await?;
        let claims = token::check(&keys, bearer, visual.cloud.now_ms()).map_err(Failure::token)?;

        let wire = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let query = wire.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).take(20);
        let query = query.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned())
        });
        let query = query.collect();
        let path = RawPathParams::from_request_parts(parts, visual).await;
        let path = path.map_err(|_| Failure::token("the path is not UTF-8"))?;
        let of = |name: &str| path.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value).to_owned();
        let asked = FactoryName { product_key: of("product_key"), device_name: of("device_name") };
        if claims.device().as_ref() != Some(&asked) {
            return Err(Failure::token("the token is another device's"));
        }
        let access = visual.cloud.granted(&Uid(claims.uid), &asked, &claims.ver).await?;
        Ok(Self { visual: visual.clone(), access, query })
    }
}

impl DeviceCall {
    fn whole(&self, name: &'static str) -> Result<Option<i64>, Failure> {
        let value = self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        let parse = |text: &str| text.parse().map_err(|_| Failure::param(format!("{name} must be a whole number")));
        value.filter(|text| !text.is_empty()).map(parse).transpose()
    }
}

/// A device and its latest values.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VisualDeviceView<'a> {
    product_key: &'a str,
    device_name: &'a str,
    name: &'a str,
    product_name: &'a str,
    category: &'a str,
    online: bool,
    status: Vec<StatusView<'a>>,
    /// Milliseconds; 0 before the first activation.
    active_time: i64,
}

#[derive(Serialize, ToSchema)]
struct StatusView<'a> {
    code: &'a str,
    #[schema(value_type = Value)]
    value: Option<&'a RawValue>,
    /// Milliseconds.
    time: i64,
}

/// The device of the token. Ingle's own: what a visualToken opens.
#[utoipa::path(get, path = "/v1.0/visual/devices/{product_key}/{device_name}", tag = "devices",
    params(("product_key" = String, Path, description = "The device's product"),
        ("device_name" = String, Path, description = "Its name in the product")),
    responses((status = 200, body = Envelope<VisualDeviceView>)))]
async fn visual_device(opened: DeviceCall) -> Reply {
    let state = opened.visual.cloud.accessed_device(&opened.access).await?;
    let device = &state.device;
    let status = state.points().map(|point| StatusView {
        code: &point.code,
        value: serde_json::from_str(point.value.as_json()).ok(),
        time: point.row.time_ms,
    });
    let view = VisualDeviceView {
        product_key: &device.product.key,
        device_name: &device.device_name,
        name: &device.name,
        product_name: &device.product.name,
        category: &device.product.category,
        online: state.online,
        status: status.collect(),
        active_time: device.active_ms,
    };
    reply::success(view, opened.visual.cloud.now_ms())
}

#[derive(Serialize, ToSchema)]
struct LogsView {
    /// Newest first.
    logs: Vec<LogView>,
    /// The `cursor` of the next page; `null` at the end.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct LogView {
    /// Milliseconds.
    time: i64,
    /// 1 online, 2 offline, 3 activated, 4 removed or reset, 5 command, 7 data point, and so on as in the Tuya dialect.
    #[serde(rename = "type")]
    kind: u8,
    /// Who caused it, as in the Tuya dialect.
    from: i8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    value: Option<Box<RawValue>>,
}

impl LogView {
    fn of(event: Event) -> Self {
        Self {
            time: event.row.time_ms,
            kind: event.kind.number(),
            from: event.source.number(),
            code: event.code.map(|code| code.as_ref().to_owned()),
            value: event.value.and_then(|value| RawValue::from_string(value.as_json().to_owned()).ok()),
        }
    }
}

/// A page of the log of the token's device. Ingle's own.
#[utoipa::path(get, path = "/v1.0/visual/devices/{product_key}/{device_name}/logs", tag = "devices",
    params(("product_key" = String, Path, description = "The device's product"),
        ("device_name" = String, Path, description = "Its name in the product"),
        ("start_time" = Option<i64>, Query, description = "Milliseconds, included"),
        ("end_time" = Option<i64>, Query, description = "Milliseconds, included; now by default"),
        ("size" = Option<i64>, Query, description = "1 to 100, 20 by default"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = Envelope<LogsView>)))]
async fn visual_device_logs(opened: DeviceCall) -> Reply {
    let cloud = &opened.visual.cloud;
    let limit = match opened.whole("size")? {
        None => SIZE_DEFAULT,
        Some(size) => {
            let size = usize::try_from(size).ok().filter(|size| (1..=PAGE_ROWS_MAX).contains(size));
            size.ok_or_else(|| Failure::param(format!("size must be 1 to {PAGE_ROWS_MAX}")))?
        }
    };
    let cursor = opened.query.iter().find(|(name, _)| name == "cursor").map(|(_, value)| value.as_str());
    let query = EventQuery {
        types: EventTypes::all(),
        codes: Vec::new(),
        from_ms: opened.whole("start_time")?.unwrap_or(0),
        to_ms: opened.whole("end_time")?.unwrap_or_else(|| cloud.now_ms()),
        start: match cursor.filter(|text| !text.is_empty()) {
            None => PageStart::Newest,
            Some(text) => PageStart::At(parse_cursor(text).ok_or(Error::DamagedCursor("cursor"))?),
        },
        limit,
    };
    let page = cloud.accessed_events(&opened.access, query).await?;
    let next = page.next.map(|NextRow { row, .. }| format!("{}-{}", row.time_ms, row.n));
    reply::success(LogsView { logs: page.rows.into_iter().map(LogView::of).collect(), next }, cloud.now_ms())
}

fn parse_cursor(text: &str) -> Option<RowRef> {
    let (time_ms, n) = text.split_once('-')?;
    Some(RowRef { time_ms: time_ms.parse().ok()?, n: n.parse().ok()? })
}
