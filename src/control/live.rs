//! The log of a device, and live views of devices. A live view has a bounded queue: what a slow reader misses is counted, and
//! shown to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::stream::body_of;
use super::{Refusal, parse};
use crate::domain::event::{EventTypes, PAGE_ROWS_MAX, PageStart};
use crate::domain::feed::News;
use crate::domain::watch::Watcher;
use crate::domain::{
    Cloud, Device, DeviceId, DeviceNo, Error, Event, EventQuery, EventType, NewEvent, Result as DomainResult, Value,
};
use crate::shutdown::Shutdown;

/// The maximal number of live views at a time, fewer than there are connections to the socket.
const VIEWS_MAX: usize = 8;
/// The maximal number of messages that wait for a reader.
const WAITING_MAX: usize = 1024;
/// The maximal number of devices whose ids a view remembers.
const IDS_MAX: usize = 16 * 1024;
/// The number of pieces of an answer that are on their way.
const PIECES_MAX: usize = 4;
/// The maximal number of rows of a log in one answer.
const LOG_ROWS_MAX: usize = 100_000;
/// The interval at which an empty line is sent, so that both sides notice when the other one is gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Rows of a device's log that are requested.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogRequest {
    /// The device.
    pub device_id: String,
    /// Only these types, by their numbers; all if there are none.
    pub types: Vec<i64>,
    /// Only these codes; all rows if there are none.
    pub codes: Vec<String>,
    /// The beginning of the time span, milliseconds since 1970.
    pub from_ms: i64,
    /// The end of the time span, milliseconds since 1970.
    pub to_ms: i64,
    /// The maximal number of rows, the newest of the time span.
    pub limit: usize,
    /// Whether to send further rows as they arrive.
    pub follow: bool,
}

impl Default for LogRequest {
    fn default() -> Self {
        let (device_id, types, codes) = Default::default();
        Self { device_id, types, codes, from_ms: 0, to_ms: i64::MAX, limit: PAGE_ROWS_MAX, follow: false }
    }
}

/// A live view that is requested.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchRequest {
    /// The devices; all if there are none.
    pub device_ids: Vec<String>,
    /// Only rows of these types, by their numbers; with none also changes that are no rows.
    pub types: Vec<i64>,
    /// Only rows with these codes.
    pub codes: Vec<String>,
}

/// What the live views of a server have in common. Without a server there are none.
#[derive(Clone)]
pub struct Views {
    shutdown: Shutdown,
    places: Arc<Semaphore>,
}

impl Views {
    /// The live views of a server that ends with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, places: Arc::new(Semaphore::new(VIEWS_MAX)) }
    }

    fn place(views: Option<Self>) -> DomainResult<(Shutdown, OwnedSemaphorePermit)> {
        let views = views.ok_or_else(|| Error::Refused("no server runs on the data folder".to_owned()))?;
        let place = views.places.try_acquire_owned().map_err(|_| Error::Busy("too many live views"))?;
        Ok((views.shutdown, place))
    }
}

pub(super) fn routes(views: Option<Views>) -> Router<Arc<Cloud>> {
    let others = views.clone();
    let log = move |State(cloud), body| log(cloud, body, views.clone());
    let watch = move |State(cloud), body| watch(cloud, body, others.clone());
    Router::new().route("/log", post(log)).route("/watch", post(watch))
}

fn types(numbers: &[i64]) -> DomainResult<EventTypes> {
    if numbers.is_empty() {
        return Ok(EventTypes::all());
    }
    let kind =
        |number: &i64| EventType::from_number(*number).ok_or_else(|| Error::Refused("type must be 1 to 11".to_owned()));
    numbers.iter().map(kind).collect()
}

async fn log(cloud: Arc<Cloud>, body: String, views: Option<Views>) -> Result<Response, Refusal> {
    let request: LogRequest = parse(&body)?;
    let device = device(&cloud, &request.device_id).await?;
    let query = EventQuery {
        types: types(&request.types)?,
        codes: request.codes.clone(),
        from_ms: request.from_ms,
        to_ms: request.to_ms,
        start: PageStart::Newest,
        limit: PAGE_ROWS_MAX,
    };
    let view = match request.follow {
        true => {
            let (shutdown, place) = Views::place(views)?;
            let filter = Filter { devices: Some(HashSet::from([device.no])), query: query.clone(), news: false };
            Some((View::open(&cloud, filter), shutdown, place))
        }
        false => None,
    };
    let rows = newest(&cloud, &device, query, request.limit.min(LOG_ROWS_MAX)).await?;
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        // Rows may be both in the log and in the queue of the view.
        let mut sent: HashMap<RowContent, usize> = HashMap::new();
        let mut lines = String::new();
        for row in rows.into_iter().rev() {
            let content = (row.row.time_ms, row.kind, row.code, row.value);
            lines.push_str(&format!("{}\n", row_json(device.id.as_str(), row.source.number(), &content)));
            *sent.entry(content).or_default() += 1;
            if lines.len() >= 64 * 1024 && sender.send(Bytes::from(std::mem::take(&mut lines))).await.is_err() {
                return;
            }
        }
        if sender.send(Bytes::from(lines)).await.is_ok()
            && let Some((view, shutdown, _place)) = view
        {
            view.run(&sender, shutdown, sent).await;
        }
    });
    Ok(Body::new(body_of(pieces)).into_response())
}

async fn watch(cloud: Arc<Cloud>, body: String, views: Option<Views>) -> Result<Response, Refusal> {
    let request: WatchRequest = parse(&body)?;
    let (shutdown, place) = Views::place(views)?;
    let mut devices = HashSet::new();
    for id in &request.device_ids {
        devices.insert(device(&cloud, id).await?.no);
    }
    let query = EventQuery {
        types: types(&request.types)?,
        codes: request.codes.clone(),
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        start: PageStart::Newest,
        limit: 0,
    };
    let news = request.types.is_empty() && request.codes.is_empty();
    let filter = Filter { devices: Some(devices).filter(|devices| !devices.is_empty()), query, news };
    let view = View::open(&cloud, filter);
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let _place = place;
        view.run(&sender, shutdown, HashMap::new()).await;
    });
    Ok(Body::new(body_of(pieces)).into_response())
}

async fn device(cloud: &Cloud, id: &str) -> DomainResult<Device> {
    let found = cloud.device_by_id(&DeviceId::from(id)).await?;
    found.ok_or_else(|| Error::Refused(format!("there is no device {id:?}")))
}

/// The newest rows that a query selects, newest first.
async fn newest(cloud: &Cloud, device: &Device, mut query: EventQuery, limit: usize) -> DomainResult<Vec<Event>> {
    let mut rows = Vec::new();
    while rows.len() < limit {
        query.limit = (limit - rows.len()).min(PAGE_ROWS_MAX);
        let page = cloud.device_log(device, query.clone()).await?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => query.start = PageStart::At(next.row),
            None => break,
        }
    }
    Ok(rows)
}

/// Time, type, code and value of a row.
pub(super) type RowContent = (i64, EventType, Option<Arc<str>>, Option<Value>);

/// A row in the form in which `ingle import events` reads it.
pub(super) fn row_json(device_id: &str, source: i8, (time_ms, kind, code, value): &RowContent) -> Json {
    let mut row = json!({"device_id": device_id, "time": time_ms, "type": kind.number(), "from": source});
    if let Some(code) = code {
        row["code"] = json!(**code);
    }
    if let Some(value) = value {
        row["value"] = serde_json::from_str(value.as_json()).unwrap_or(Json::Null);
    }
    row
}

/// What a view shows.
struct Filter {
    devices: Option<HashSet<DeviceNo>>,
    query: EventQuery,
    /// Also changes that are no rows.
    news: bool,
}

impl Filter {
    fn has(&self, device: DeviceNo) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(&device))
    }
}

enum Seen {
    Row(NewEvent),
    News(DeviceNo, News),
}

/// The queue of a view.
struct Queue {
    filter: Filter,
    to: mpsc::Sender<Seen>,
    dropped: AtomicU64,
}

impl Queue {
    fn put(&self, seen: Seen) {
        if self.to.try_send(seen).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Watcher for Queue {
    fn logged(&self, rows: &[NewEvent]) {
        let Filter { query, .. } = &self.filter;
        let shown =
            |row: &&NewEvent| self.filter.has(row.device) && query.wants(row.time_ms, row.kind, row.code.as_deref());
        rows.iter().filter(shown).for_each(|row| self.put(Seen::Row(row.clone())));
    }

    fn changed(&self, device: DeviceNo, news: &News) {
        if self.filter.news && self.filter.has(device) {
            self.put(Seen::News(device, news.clone()));
        }
    }
}

/// A live view. The cloud shows it nothing any more when it is dropped.
struct View {
    cloud: Arc<Cloud>,
    queue: Arc<Queue>,
    watcher: Arc<dyn Watcher>,
    seen: mpsc::Receiver<Seen>,
    ids: HashMap<DeviceNo, DeviceId>,
}

impl Drop for View {
    fn drop(&mut self) {
        self.cloud.unwatch(&self.watcher);
    }
}

impl View {
    fn open(cloud: &Arc<Cloud>, filter: Filter) -> Self {
        let (to, seen) = mpsc::channel(WAITING_MAX);
        let queue = Arc::new(Queue { filter, to, dropped: AtomicU64::new(0) });
        let watcher: Arc<dyn Watcher> = queue.clone();
        cloud.watch(watcher.clone());
        Self { cloud: cloud.clone(), queue, watcher, seen, ids: HashMap::new() }
    }

    /// Sends what is seen, except what was `sent` already, until the reader is gone or the server stops.
    async fn run(mut self, sender: &mpsc::Sender<Bytes>, mut shutdown: Shutdown, mut sent: HashMap<RowContent, usize>) {
        let mut signs_of_life = tokio::time::interval(SIGN_OF_LIFE);
        loop {
            let line = tokio::select! {
                seen = self.seen.recv() => match seen {
                    Some(seen) => self.line(seen, &mut sent).await,
                    None => return,
                },
                _ = signs_of_life.tick() => Some("\n".to_owned()),
                () = shutdown.begun() => return,
            };
            let dropped = self.queue.dropped.swap(0, Ordering::Relaxed);
            let drops = if dropped > 0 { format!("{}\n", json!({"dropped": dropped})) } else { String::new() };
            let Some(line) = line else { continue };
            let is_gone = tokio::select! {
                sent = sender.send(Bytes::from(format!("{drops}{line}"))) => sent.is_err(),
                () = shutdown.begun() => true,
            };
            if is_gone {
                return;
            }
        }
    }

    /// The line for something; `None` if it was sent already.
    async fn line(&mut self, seen: Seen, sent: &mut HashMap<RowContent, usize>) -> Option<String> {
        let line = match seen {
            Seen::Row(row) => {
                let content = (row.time_ms, row.kind, row.code, row.value);
                if let Some(left) = sent.get_mut(&content).filter(|left| **left > 0) {
                    *left -= 1;
                    return None;
                }
                row_json(&self.id(row.device).await, row.source.number(), &content)
            }
            Seen::News(device, news) => {
                let id = self.id(device).await;
                match news {
                    News::Renamed(name) => json!({"device_id": id, "event": "renamed", "name": name}),
                    News::FunctionNamed(code, name) => {
                        json!({"device_id": id, "event": "function_named", "code": code, "name": name})
                    }
                    News::Bound(uid) => json!({"device_id": id, "event": "bound", "uid": uid.as_str()}),
                }
            }
        };
        Some(format!("{line}\n"))
    }

    async fn id(&mut self, device: DeviceNo) -> String {
        if let Some(id) = self.ids.get(&device) {
            return id.0.clone();
        }
        let found = self.cloud.device_ids(&[device]).await.ok().and_then(|ids| ids.into_iter().next().flatten());
        let Some(id) = found else { return String::new() };
        if self.ids.len() >= IDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(device, id.clone());
        id.0
    }
}
