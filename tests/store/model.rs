//! Random histories are compared with a plain sorted list: late, equal and repeated times, uploads, a clock that runs
//! backwards, flushes, compactions, retention and reopening at any point. Then every page, count and latest value is
//! compared.
//!
//! A history depends on its seed only. `INGLE_MODEL_SEED` runs one of them, `INGLE_MODEL_HISTORIES` sets how many.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ingle::domain::event::{Consent, PageStart};
use ingle::domain::store::Telemetry;
use ingle::domain::{
    DeviceNo, DurationMs, Event, EventQuery, EventSource, EventType, EventTypes, Latest, NewEvent, RowRef, Value,
};
use ingle::store::sqlite::telemetry::{Durability, SqliteTelemetry, TelemetryOptions};

use super::contract::telemetry::at;

const SPAN_MS: i64 = 7 * 24 * 3600 * 1000;
const DEVICES: u64 = 5;
const STEPS: u64 = 60;
const CODES: [&str; 6] = ["switch", "temp", "humidity", "a", "b", "long_code_of_a_device_that_likes_words"];

/// A small random number generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a log should contain.
#[derive(Default)]
struct Model {
    rows: BTreeMap<i64, BTreeMap<RowRef, Event>>,
    latest: BTreeMap<i64, Latest>,
}

impl Model {
    fn append(&mut self, batch: &[NewEvent]) {
        // Numbers and latest values follow the order of arrival, whatever the times.
        for new in batch {
            let rows = self.rows.entry(new.device.0).or_default();
            let last = rows.range(at(new.time_ms, 0)..=at(new.time_ms, u32::MAX)).next_back();
            let row = at(new.time_ms, last.map_or(0, |(row, _)| row.n) + 1);
            let event =
                Event { row, kind: new.kind, source: new.source, code: new.code.clone(), value: new.value.clone() };
            rows.insert(row, event);
            let latest = self.latest.entry(new.device.0).or_default();
            match (new.kind, &new.code, &new.value) {
                (EventType::Online | EventType::Offline, ..)
                    if latest.presence.is_none_or(|known| !new.is_history || known.1 <= row) =>
                {
                    latest.presence = Some((new.kind == EventType::Online, row));
                }
                (EventType::DataPoint, Some(code), Some(value)) => {
                    let point = ingle::domain::DataPoint { code: code.clone(), value: value.clone(), row };
                    match latest.points.iter_mut().find(|known| known.code == *code) {
                        Some(known) if !new.is_history || known.row <= row => *known = point,
                        Some(_) => {}
                        None => latest.points.push(point),
                    }
                }
                _ => {}
            }
        }
    }

    fn expire(&mut self, before_ms: i64) {
        let oldest = before_ms.div_euclid(SPAN_MS) * SPAN_MS;
        for rows in self.rows.values_mut() {
            rows.retain(|row, _| row.time_ms >= oldest);
        }
    }

    /// The rows that match a query from its start on, newest first.
    fn select(&self, device: DeviceNo, query: &EventQuery) -> Vec<&Event> {
        let begins = |row: RowRef| match query.start {
            PageStart::Newest => true,
            PageStart::At(start) => row <= start,
            PageStart::After(start) => row < start,
        };
        let rows = self.rows.get(&device.0).into_iter().flat_map(|rows| rows.values().rev());
        rows.filter(|event| begins(event.row) && query.wants(event.row.time_ms, event.kind, event.code.as_deref()))
            .collect()
    }
}

fn random_event(random: &mut Random, now_ms: i64) -> NewEvent {
    let device = DeviceNo(1 + random.below(DEVICES) as i64 * 17);
    let time_ms = match random.below(10) {
        0..=4 => now_ms + random.below(20) as i64,
        5 => now_ms,
        6 => now_ms - random.below(40) as i64,
        7 => now_ms - random.below(3 * SPAN_MS as u64) as i64,
        8 => (now_ms / 1000 - random.below(3) as i64) * 1000,
        _ => now_ms - now_ms.rem_euclid(SPAN_MS) - random.below(2) as i64,
    };
    let kind = match random.below(8) {
        0 => EventType::Online,
        1 => EventType::Offline,
        2 => random.pick(&EventType::ALL),
        _ => EventType::DataPoint,
    };
    let code = (kind == EventType::DataPoint || random.one_in(4)).then(|| random.pick(&CODES).into());
    let value = (kind == EventType::DataPoint || random.one_in(4)).then(|| random_value(random));
    let source = EventSource::from_number(random.pick(&[-1, 1, 2, 4, 16])).unwrap();
    let is_history = random.one_in(3);
    NewEvent { device, time_ms: time_ms.max(0), kind, source, code, value, is_history }
}

fn random_value(random: &mut Random) -> Value {
    let text = match random.below(12) {
        0 => "true".to_owned(),
        1..=8 => random.below(1000).to_string(),
        9 => format!("\"{:x}\"", random.next()),
        10 => format!("\"{}\"", "x".repeat(random.below(300) as usize)),
        _ if random.one_in(10) => format!("\"{}\"", "long ".repeat(3_000)),
        _ => "0.5".to_owned(),
    };
    Value::from_json(text).unwrap()
}

fn random_query(random: &mut Random, now_ms: i64, model: &Model) -> (DeviceNo, EventQuery) {
    let device = DeviceNo(1 + random.below(DEVICES + 1) as i64 * 17);
    let types: EventTypes = match random.below(4) {
        0 => EventType::ALL.into_iter().filter(|_| random.one_in(3)).collect(),
        1 => [EventType::DataPoint].into_iter().collect(),
        _ => EventTypes::all(),
    };
    let codes = match random.below(3) {
        0 => (0..1 + random.below(2)).map(|_| random.pick(&CODES).to_owned()).collect(),
        _ => vec![],
    };
    let (mut from_ms, mut to_ms) = (0, i64::MAX);
    if random.one_in(2) {
        to_ms = now_ms + 20 - random.below(40) as i64;
        from_ms = to_ms - random.pick(&[0, 5, 60, SPAN_MS, 4 * SPAN_MS]);
    }
    let known: Vec<_> = model.rows.get(&device.0).into_iter().flat_map(|rows| rows.keys().copied()).collect();
    let place = if known.is_empty() || random.one_in(4) {
        at(now_ms - random.below(100) as i64, random.below(4) as u32)
    } else {
        random.pick(&known)
    };
    let start = match random.below(3) {
        0 => PageStart::Newest,
        1 => PageStart::At(place),
        _ => PageStart::After(place),
    };
    (device, EventQuery { types, codes, from_ms, to_ms, start, limit: 1 + random.below(30) as usize })
}

/// Reads all pages of a query and compares each.
async fn compare_pages(telemetry: &dyn Telemetry, model: &Model, device: DeviceNo, mut query: EventQuery) {
    loop {
        let wanted = model.select(device, &query);
        let page = telemetry.page(None, device, &query).await.unwrap();
        assert!(page.rows.len() <= query.limit, "{} rows for {query:?}", page.rows.len());
        assert!(page.rows.iter().eq(wanted.iter().take(page.rows.len()).copied()), "{device:?} {query:?}\n{page:#?}");
        let left = wanted.get(page.rows.len()..).unwrap_or_default();
        let Some(next) = page.next else {
            assert!(left.is_empty(), "{} rows were left out of {query:?}", left.len());
            return;
        };
        let known = model.rows.get(&device.0).and_then(|rows| rows.get(&next.row));
        assert_eq!(known.map(|event| event.kind), Some(next.kind), "no such row: {next:?}");
        assert!(left.iter().all(|event| event.row <= next.row), "{next:?} leaves rows out of {query:?}");
        if page.rows.len() == query.limit && left.first().is_some_and(|event| event.row != next.row) {
            // In this case the limit on examined rows was reached before the next matching row.
            assert!(next.row < page.rows.last().unwrap().row);
        }
        if let PageStart::At(start) = query.start {
            assert!(next.row < start || page.rows.is_empty() && next.row <= start);
        }
        query.start = PageStart::At(next.row);
    }
}

async fn compare(telemetry: &dyn Telemetry, model: &Model, random: &mut Random, now_ms: i64, queries: u64) {
    for _ in 0..queries {
        let (device, query) = random_query(random, now_ms, model);
        compare_pages(telemetry, model, device, query.clone()).await;
        let wanted = model.select(device, &EventQuery { start: PageStart::Newest, ..query.clone() }).len() as u64;
        assert_eq!(telemetry.count(None, device, &query).await.unwrap().rows, wanted, "{device:?} {query:?}");
    }
    let devices: Vec<_> = (0..=DEVICES as i64).map(|i| DeviceNo(1 + i * 17)).collect();
    let latest = telemetry.latest(&devices).await.unwrap();
    for (device, latest) in devices.iter().zip(latest) {
        assert_eq!(*latest, model.latest.get(&device.0).cloned().unwrap_or_default(), "{device:?}");
    }
}

fn open(folder: &Path, random: &mut Random) -> Arc<SqliteTelemetry> {
    let options = TelemetryOptions {
        durability: Durability::Os,
        memtable_rows: 5 + random.below(200) as usize,
        block_rows: 1 + random.below(20) as u32,
        compaction_runs: 2 + random.below(3) as usize,
        scan_rows: 5 + random.below(100) as usize,
        cache_bytes: random.pick(&[0, 100_000, 10_000_000]),
        ..TelemetryOptions::default()
    };
    SqliteTelemetry::open(folder, options).unwrap()
}

async fn history(seed: u64) {
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut telemetry = open(folder.path(), &mut random);
    let mut now_ms = 100 * SPAN_MS + random.below(SPAN_MS as u64) as i64;
    for _ in 0..STEPS {
        now_ms += random.pick(&[0, 1, 10, 1000, 3600 * 1000, SPAN_MS / 5, -10, -SPAN_MS / 5]);
        match random.below(20) {
            0..=11 => {
                let rows = 1 + random.below(40);
                let batch: Vec<_> = (0..rows).map(|_| random_event(&mut random, now_ms)).collect();
                model.append(&batch);
                telemetry.append(batch).await.unwrap();
            }
            12..=13 => telemetry.flush().unwrap(),
            14 => telemetry.flush_and_compact().unwrap(),
            15 => {
                // Rows in memtables do not expire. They are flushed first, so that the model does not need to know
                // which they are.
                telemetry.flush().unwrap();
                let before_ms = now_ms - random.below(4 * SPAN_MS as u64) as i64;
                telemetry.expire(before_ms, DurationMs(0), Consent::Given).await.unwrap();
                model.expire(before_ms);
            }
            16 => {
                drop(telemetry);
                telemetry = open(folder.path(), &mut random);
            }
            _ => compare(&*telemetry, &model, &mut random, now_ms, 4).await,
        }
    }
    compare(&*telemetry, &model, &mut random, now_ms, 20).await;
    telemetry.flush_and_compact().unwrap();
    compare(&*telemetry, &model, &mut random, now_ms, 20).await;
}

#[test]
fn random_histories_are_what_a_sorted_list_says() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("INGLE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("INGLE_MODEL_HISTORIES").unwrap_or(24),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for seed in seeds {
        let failed = runtime.block_on(async { tokio::spawn(history(seed)).await });
        assert!(failed.is_ok(), "INGLE_MODEL_SEED={seed} shows it again");
    }
}
