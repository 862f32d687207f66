//! The import of events. A request is one line with [`ImportOptions`], and then one line for each row.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::{Refusal, parse};
use crate::domain::import::{Imported, ImportedRow, Unfit};
use crate::domain::{Cloud, Device, DeviceId, Error, EventSource, EventType, NewEvent, Result as DomainResult, Value};

/// The path of a request that checks the rows and stores nothing.
pub const CHECK_PATH: &str = "/events/check";
/// The path of a request that stores the rows. The answer is an [`ImportAnswer`].
pub const IMPORT_PATH: &str = "/events";

/// How rows are imported.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportOptions {
    /// Whether data points that the product cannot have are stored.
    pub lenient: bool,
}

/// A row of an import.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportLine<'a> {
    /// The device.
    pub device_id: String,
    /// Milliseconds since 1970.
    pub time: i64,
    /// The number of the event type.
    #[serde(rename = "type")]
    pub kind: i64,
    /// The number of the source.
    pub from: i64,
    /// The code of a data point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its value: JSON of its type, or a string that contains it.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub value: Option<&'a RawValue>,
}

/// What an import did, or what a check found: then every row counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportAnswer {
    /// The number of rows that were stored.
    pub stored: u64,
    /// The number of rows that were there already.
    pub known: u64,
    /// How many of the stored rows are data points that the product cannot have.
    pub unfit: u64,
}

pub(super) fn routes() -> Router<Arc<Cloud>> {
    // Imports take turns, so that two of the same file do not both find that a row is new.
    let turn = Arc::new(Mutex::new(()));
    let import = move |State(cloud), body| import(cloud, body, turn.clone());
    Router::new().route(CHECK_PATH, post(check)).route(IMPORT_PATH, post(import))
}

async fn check(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let rows = rows(&cloud, &body).await?;
    let unfit = rows.iter().filter(|row| row.is_unfit).count() as u64;
    Ok(json!(ImportAnswer { stored: rows.len() as u64, known: 0, unfit }).to_string().into_response())
}

async fn import(cloud: Arc<Cloud>, body: String, turn: Arc<Mutex<()>>) -> Result<Response, Refusal> {
    let rows = rows(&cloud, &body).await?;
    let _turn = turn.lock().await;
    let Imported { stored, known, unfit } = cloud.import(rows).await?;
    if stored > 0 {
        cloud.record_operation("import", "events".to_owned(), format!("{{\"rows\":{stored}}}")).await?;
    }
    Ok(json!(ImportAnswer { stored, known, unfit }).to_string().into_response())
}

/// Parses and checks the rows of a request. An error names the first invalid row as `line` and its number, from 1.
async fn rows(cloud: &Cloud, text: &str) -> DomainResult<Vec<ImportedRow>> {
    let (options, text) = text.split_once('\n').unwrap_or((text, ""));
    let options: ImportOptions = parse(options)?;
    let unfit = if options.lenient { Unfit::Stored } else { Unfit::Refused };
    let lines: Vec<serde_json::Result<ImportLine<'_>>> = text.lines().map(serde_json::from_str).collect();
    let ids: BTreeSet<&str> = lines.iter().flatten().map(|line| line.device_id.as_str()).collect();
    let ids: Vec<DeviceId> = ids.into_iter().map(DeviceId::from).collect();
    let found = cloud.devices_by_id(&ids).await?;
    let found = ids.iter().zip(found).filter_map(|(id, device)| Some((id.as_str(), device?)));
    let devices: HashMap<&str, Device> = found.collect();
    let row = |(index, line): (usize, serde_json::Result<ImportLine<'_>>)| {
        let line = line.map_err(|error| Error::Refused(error.to_string()));
        line.and_then(|line| row(cloud, line, &devices, unfit)).map_err(|error| match error {
            Error::Store(cause) => Error::Store(cause),
            error => Error::Refused(format!("line {}: {error}", index + 1)),
        })
    };
    lines.into_iter().enumerate().map(row).collect()
}

fn row(
    cloud: &Cloud,
    line: ImportLine<'_>,
    devices: &HashMap<&str, Device>,
    unfit: Unfit,
) -> DomainResult<ImportedRow> {
    let refuse = |text: &str| Error::Refused(text.to_owned());
    let device = devices.get(line.device_id.as_str());
    let device = device.ok_or_else(|| Error::Refused(format!("there is no device {:?}", line.device_id)))?;
    let value = line.value.filter(|value| value.get() != "null").map(|value| Value::from_json(value.get()));
    let row = NewEvent {
        device: device.no,
        time_ms: line.time,
        kind: EventType::from_number(line.kind).ok_or_else(|| refuse("type must be 1 to 11"))?,
        source: EventSource::from_number(line.from).ok_or_else(|| refuse("from must be -1, 1 to 13 or 16"))?,
        code: line.code.map(Arc::from),
        value: value.map(|value| value.ok_or_else(|| refuse("the value is too long"))).transpose()?,
        is_history: true,
    };
    cloud.row_to_import(device, row, unfit)
}
