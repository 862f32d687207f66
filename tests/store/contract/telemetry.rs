//! What each method of `Telemetry` means. A further engine is one more line at the end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use super::contains::{rows_are_found_among_many, rows_are_found_by_their_content};
use ingle::domain::data_point::CODES_PER_DEVICE_MAX;
use ingle::domain::event::{Consent, NextRow, PageStart};
use ingle::domain::store::Telemetry;
use ingle::domain::{
    DeviceNo, DurationMs, Event, EventPage, EventQuery, EventSource, EventType, EventTypes, NewEvent, RowRef, Value,
};

/// An engine under test.
pub struct Subject {
    /// The engine, empty at first.
    pub telemetry: Arc<dyn Telemetry>,
    /// Runs the background work of the engine now (flush and compaction); no read may return anything else afterwards.
    pub maintain: Box<dyn Fn()>,
    /// Keeps alive what the engine needs.
    pub _keep: Box<dyn std::any::Any>,
}

pub const DEVICE: DeviceNo = DeviceNo(7);
const OTHER: DeviceNo = DeviceNo(8);
/// A time far from the beginning of any partition.
pub const T: i64 = 1_700_000_000_000;
const DAY: i64 = 24 * 3600 * 1000;

pub fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

pub fn at(time_ms: i64, n: u32) -> RowRef {
    RowRef { time_ms, n }
}

pub fn point(device: DeviceNo, time_ms: i64, code: &str, value: &str) -> NewEvent {
    let (kind, source) = (EventType::DataPoint, EventSource::DEVICE);
    NewEvent { device, time_ms, kind, source, code: Some(code.into()), value: Some(json(value)), is_history: false }
}

pub fn plain(device: DeviceNo, time_ms: i64, kind: EventType) -> NewEvent {
    NewEvent { device, time_ms, kind, source: EventSource::DEVICE, code: None, value: None, is_history: false }
}

pub fn everything() -> EventQuery {
    let types = EventTypes::all();
    EventQuery { types, codes: vec![], from_ms: 0, to_ms: i64::MAX, start: PageStart::Newest, limit: 100 }
}

/// Reads page after page until there is no next one.
pub async fn walk(telemetry: &dyn Telemetry, device: DeviceNo, mut query: EventQuery) -> Vec<Event> {
    let mut rows = Vec::new();
    loop {
        let page = telemetry.page(None, device, &query).await.unwrap();
        assert!(page.rows.len() <= query.limit, "a page of {} rows where {} are wanted", page.rows.len(), query.limit);
        rows.extend(page.rows);
        match page.next {
            Some(next) => {
                if let PageStart::At(before) = query.start {
                    assert!(next.row < before, "a page that does not go on: {next:?}");
                }
                query.start = PageStart::At(next.row);
            }
            None => return rows,
        }
    }
}

fn row_refs(page: &EventPage) -> Vec<(i64, u32)> {
    page.rows.iter().map(|event| (event.row.time_ms, event.row.n)).collect()
}

fn values(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.value.as_ref()).map(Value::as_json).collect()
}

async fn an_empty_log(subject: Subject) {
    let telemetry = subject.telemetry;
    assert_eq!(telemetry.page(None, DEVICE, &everything()).await.unwrap(), EventPage::default());
    assert_eq!(telemetry.count(None, DEVICE, &everything()).await.unwrap().rows, 0);
    assert_eq!(telemetry.latest(&[DEVICE, OTHER]).await.unwrap(), vec![Default::default(), Default::default()]);
    assert_eq!(telemetry.newest_ms(&[DEVICE, OTHER]).await.unwrap(), [0, 0]);
    telemetry.append(vec![]).await.unwrap();
    telemetry.expire(T, DurationMs(0), Consent::Given).await.unwrap();
    assert_eq!(telemetry.figures().rows_appended, 0);
}

async fn a_row_comes_back_as_it_was(subject: Subject) {
    let command = NewEvent {
        device: DEVICE,
        time_ms: T,
        kind: EventType::Command,
        source: EventSource::CLOUD,
        code: Some("mode".into()),
        value: None,
        is_history: false,
    };
    let long = format!("\"{}\"", "é".repeat(8_000));
    subject.telemetry.append(vec![command, point(DEVICE, T, "text", &long)]).await.unwrap();
    for _ in 0..2 {
        let page = subject.telemetry.page(None, DEVICE, &everything()).await.unwrap();
        let [text, command] = page.rows.as_slice() else { panic!("{page:?}") };
        assert_eq!((text.row, text.value.as_ref().unwrap().as_json()), (at(T, 2), long.as_str()));
        assert_eq!((command.row, command.kind, command.source), (at(T, 1), EventType::Command, EventSource::CLOUD));
        assert_eq!((command.code.as_deref(), &command.value), (Some("mode"), &None));
        (subject.maintain)();
    }
}

async fn rows_of_one_millisecond_are_numbered(subject: Subject) {
    let telemetry = subject.telemetry;
    telemetry.append((1..=3).map(|i| point(DEVICE, T, "a", &i.to_string())).collect()).await.unwrap();
    telemetry.append(vec![point(OTHER, T, "a", "9"), point(DEVICE, T, "a", "4")]).await.unwrap();
    (subject.maintain)();
    telemetry.append(vec![point(DEVICE, T, "a", "5"), point(DEVICE, T + 1, "a", "0")]).await.unwrap();
    (subject.maintain)();
    (subject.maintain)();
    telemetry.append(vec![point(DEVICE, T, "a", "6"), point(DEVICE, T - 1, "a", "0")]).await.unwrap();
    let mut query = everything();
    (query.from_ms, query.to_ms) = (T, T);
    let rows = walk(&*telemetry, DEVICE, query).await;
    assert_eq!(rows.iter().map(|event| event.row.n).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
    assert_eq!(values(&rows), ["6", "5", "4", "3", "2", "1"]);
    assert_eq!(row_refs(&telemetry.page(None, OTHER, &everything()).await.unwrap()), [(T, 1)]);
}

async fn a_page_is_newest_first_whatever_the_order_of_arrival(subject: Subject) {
    let telemetry = subject.telemetry;
    for offset in [5, 1, 9, -40 * DAY, 3, 7 * DAY, 2, 8 * DAY, 4] {
        telemetry.append(vec![point(DEVICE, T + offset, "a", "1")]).await.unwrap();
        if offset == 3 {
            (subject.maintain)();
        }
    }
    let wanted = [8 * DAY, 7 * DAY, 9, 5, 4, 3, 2, 1, -40 * DAY];
    for _ in 0..2 {
        let rows = walk(&*telemetry, DEVICE, EventQuery { limit: 2, ..everything() }).await;
        assert_eq!(rows.iter().map(|event| event.row.time_ms - T).collect::<Vec<_>>(), wanted);
        (subject.maintain)();
    }
}

async fn a_start_is_inclusive_or_exclusive(subject: Subject) {
    let telemetry = subject.telemetry;
    let rows = [T, T, T + 1, T + 2, T + 2].map(|time_ms| plain(DEVICE, time_ms, EventType::Restart));
    telemetry.append(rows.to_vec()).await.unwrap();
    let page = async |start, limit| {
        let page = telemetry.page(None, DEVICE, &EventQuery { start, limit, ..everything() }).await.unwrap();
        (row_refs(&page), page.next.map(|next| (next.row.time_ms, next.row.n)))
    };
    for _ in 0..2 {
        assert_eq!(page(PageStart::Newest, 2).await, (vec![(T + 2, 2), (T + 2, 1)], Some((T + 1, 1))));
        assert_eq!(page(PageStart::At(at(T + 2, 1)), 1).await, (vec![(T + 2, 1)], Some((T + 1, 1))));
        assert_eq!(page(PageStart::After(at(T + 2, 1)), 1).await, (vec![(T + 1, 1)], Some((T, 2))));
        assert_eq!(page(PageStart::After(at(T, 2)), 5).await, (vec![(T, 1)], None));
        assert_eq!(page(PageStart::After(at(T, 1)), 5).await, (vec![], None));
        // A start need not be the position of an existing row.
        assert_eq!(page(PageStart::At(at(T + 2, 9)), 1).await, (vec![(T + 2, 2)], Some((T + 2, 1))));
        assert_eq!(page(PageStart::At(at(T + 1, 0)), 1).await, (vec![(T, 2)], Some((T, 1))));
        assert_eq!(page(PageStart::After(at(0, 0)), 1).await, (vec![], None));
        (subject.maintain)();
    }
}

async fn filters_select_by_type_and_code(subject: Subject) {
    let telemetry = subject.telemetry;
    let mut rows = Vec::new();
    for i in 0..300 {
        rows.push(point(DEVICE, T + i * 10, ["a", "b", "c"][i as usize % 3], &i.to_string()));
    }
    rows.push(plain(DEVICE, T + 1, EventType::Online));
    rows.push(NewEvent { kind: EventType::Command, ..point(DEVICE, T + 2, "b", "true") });
    telemetry.append(rows).await.unwrap();
    let select = async |types: &[EventType], codes: &[&str]| {
        let types = types.iter().copied().collect();
        let codes = codes.iter().map(|code| (*code).to_owned()).collect();
        let query = EventQuery { types, codes, limit: 7, ..everything() };
        let rows = walk(&*telemetry, DEVICE, query.clone()).await;
        assert_eq!(telemetry.count(None, DEVICE, &query).await.unwrap().rows, rows.len() as u64);
        assert!(rows.iter().all(|event| query.wants(event.row.time_ms, event.kind, event.code.as_deref())));
        rows.len()
    };
    for _ in 0..2 {
        assert_eq!(select(&EventType::ALL, &[]).await, 302);
        assert_eq!(select(&EventType::ALL, &["b"]).await, 101);
        assert_eq!(select(&[EventType::DataPoint], &["b", "c", "no such code"]).await, 200);
        assert_eq!(select(&[EventType::Online], &[]).await, 1);
        assert_eq!(select(&[EventType::Online], &["b"]).await, 0);
        assert_eq!(select(&[EventType::Command, EventType::Timer], &[]).await, 1);
        assert_eq!(select(&[], &[]).await, 0);
        (subject.maintain)();
    }
}

async fn the_next_row_is_one_that_matches(subject: Subject) {
    let telemetry = subject.telemetry;
    let mut rows: Vec<_> = (0..50).map(|i| point(DEVICE, T + i, "a", "1")).collect();
    rows.insert(0, plain(DEVICE, T - 5, EventType::Online));
    rows.push(plain(DEVICE, T + 50, EventType::Online));
    telemetry.append(rows).await.unwrap();
    let types: EventTypes = [EventType::Online].into_iter().collect();
    for _ in 0..2 {
        let query = EventQuery { types, limit: 1, ..everything() };
        let page = telemetry.page(None, DEVICE, &query).await.unwrap();
        assert_eq!(row_refs(&page), [(T + 50, 1)]);
        assert_eq!(page.next, Some(NextRow { row: at(T - 5, 1), kind: EventType::Online }));
        (subject.maintain)();
    }
}

async fn a_page_scans_a_bounded_number_of_rows(subject: Subject) {
    let telemetry = subject.telemetry;
    let mut rows = vec![plain(DEVICE, T, EventType::Timer)];
    rows.extend((1..=60_000).map(|i| point(DEVICE, T + i, if i % 2 == 0 { "a" } else { "b" }, "1")));
    telemetry.append(rows).await.unwrap();
    // A code for which no block can be skipped, with a type that only the oldest row has.
    let query = EventQuery { codes: vec!["a".to_owned()], to_ms: T + 59_999, ..everything() };
    for _ in 0..2 {
        let rare = EventQuery { types: [EventType::Timer].into_iter().collect(), ..everything() };
        assert_eq!(walk(&*telemetry, DEVICE, rare.clone()).await.len(), 1);
        let page =
            telemetry.page(None, DEVICE, &EventQuery { codes: vec!["none".to_owned()], ..everything() }).await.unwrap();
        assert!(page.rows.is_empty());
        assert_eq!(walk(&*telemetry, DEVICE, query.clone()).await.len(), 29_999);
        (subject.maintain)();
    }
}

async fn a_time_range_includes_both_ends(subject: Subject) {
    let telemetry = subject.telemetry;
    telemetry.append((0..20).map(|i| point(DEVICE, T + i * DAY, "a", &i.to_string())).collect()).await.unwrap();
    for _ in 0..2 {
        let query = EventQuery { from_ms: T + 3 * DAY, to_ms: T + 12 * DAY, limit: 3, ..everything() };
        let rows = walk(&*telemetry, DEVICE, query.clone()).await;
        assert_eq!(values(&rows), ["12", "11", "10", "9", "8", "7", "6", "5", "4", "3"]);
        assert_eq!(telemetry.count(None, DEVICE, &query).await.unwrap().rows, 10);
        let tail = EventQuery { start: PageStart::At(at(T + 4 * DAY, 1)), ..query.clone() };
        assert_eq!(values(&walk(&*telemetry, DEVICE, tail.clone()).await), ["4", "3"]);
        assert_eq!(telemetry.count(None, DEVICE, &tail).await.unwrap().rows, 10);
        let nothing = EventQuery { from_ms: T + 2, to_ms: T + 1, ..everything() };
        assert_eq!(telemetry.count(None, DEVICE, &nothing).await.unwrap().rows, 0);
        assert_eq!(telemetry.page(None, DEVICE, &nothing).await.unwrap(), EventPage::default());
        let wide = EventQuery { from_ms: i64::MIN, to_ms: i64::MAX, ..everything() };
        assert_eq!(telemetry.count(None, DEVICE, &wide).await.unwrap().rows, 20);
        assert_eq!(telemetry.page(None, DEVICE, &wide).await.unwrap().rows.len(), 20);
        (subject.maintain)();
    }
}

/// Code, value, time after `T` and number of each latest value.
async fn state(telemetry: &dyn Telemetry, device: DeviceNo) -> Vec<(String, String, i64, u32)> {
    let latest = telemetry.latest(&[OTHER, device]).await.unwrap();
    let points = latest[1].points.iter();
    points.map(|p| (p.code.to_string(), p.value.as_json().to_owned(), p.row.time_ms - T, p.row.n)).collect()
}

fn points(wanted: &[(&str, &str, i64, u32)]) -> Vec<(String, String, i64, u32)> {
    wanted.iter().map(|(code, value, after, n)| ((*code).to_owned(), (*value).to_owned(), *after, *n)).collect()
}

/// A data point that was uploaded later as history.
fn late(time_ms: i64, code: &str, value: &str) -> NewEvent {
    NewEvent { is_history: true, ..point(DEVICE, time_ms, code, value) }
}

async fn what_arrived_last_is_the_state_whatever_its_time(subject: Subject) {
    let telemetry = subject.telemetry;
    let check = async |wanted: &[(&str, &str, i64, u32)]| {
        for _ in 0..2 {
            assert_eq!(state(&*telemetry, DEVICE).await, points(wanted));
            (subject.maintain)();
        }
        assert_eq!(state(&*telemetry, OTHER).await, []);
    };
    telemetry.append(vec![point(DEVICE, T + 10, "b", "1"), point(DEVICE, T + 10, "a", "2")]).await.unwrap();
    check(&[("b", "1", 10, 1), ("a", "2", 10, 2)]).await;
    // The clock runs backwards, within one memtable and across a flush.
    telemetry.append(vec![point(DEVICE, T - DAY, "b", "3"), point(DEVICE, T + 10, "a", "4")]).await.unwrap();
    check(&[("b", "3", -DAY, 1), ("a", "4", 10, 3)]).await;
    telemetry.append(vec![point(DEVICE, T - DAY + 1, "a", "5")]).await.unwrap();
    telemetry.append(vec![point(DEVICE, T - 2 * DAY, "a", "6")]).await.unwrap();
    check(&[("b", "3", -DAY, 1), ("a", "6", -2 * DAY, 1)]).await;
    telemetry.append(vec![point(DEVICE, T + 11, "c", "7"), point(DEVICE, T + 12, "b", "8")]).await.unwrap();
    check(&[("b", "8", 12, 1), ("a", "6", -2 * DAY, 1), ("c", "7", 11, 1)]).await;
    // A command is a desired value, not a reported one.
    telemetry.append(vec![NewEvent { kind: EventType::Command, ..point(DEVICE, T + 20, "a", "9") }]).await.unwrap();
    check(&[("b", "8", 12, 1), ("a", "6", -2 * DAY, 1), ("c", "7", 11, 1)]).await;
    // The log stays ordered by time.
    let rows = walk(&*telemetry, DEVICE, everything()).await;
    assert_eq!(values(&rows), ["9", "8", "7", "4", "2", "1", "5", "3", "6"]);
}

async fn the_order_of_one_batch_is_the_order_of_arrival(subject: Subject) {
    let telemetry = subject.telemetry;
    let batch = vec![
        point(DEVICE, T + 5, "a", "1"),
        point(DEVICE, T + 7, "b", "2"),
        point(OTHER, T, "a", "0"),
        point(DEVICE, T + 3, "a", "3"),
        point(DEVICE, T + 3, "c", "4"),
        late(T + 4, "b", "5"),
        point(DEVICE, T + 3, "c", "6"),
        late(T + 2, "a", "7"),
    ];
    telemetry.append(batch).await.unwrap();
    for _ in 0..2 {
        let wanted = [("a", "3", 3, 1), ("b", "2", 7, 1), ("c", "6", 3, 3)];
        assert_eq!(state(&*telemetry, DEVICE).await, points(&wanted));
        let rows = walk(&*telemetry, DEVICE, everything()).await;
        assert_eq!(values(&rows), ["2", "1", "5", "6", "4", "3", "7"]);
        (subject.maintain)();
    }
}

async fn history_is_the_state_only_when_it_is_newer(subject: Subject) {
    let telemetry = subject.telemetry;
    let check = async |wanted: &[(&str, &str, i64, u32)]| assert_eq!(state(&*telemetry, DEVICE).await, points(wanted));
    // Each step once within a memtable and once across several flushes.
    for (round, maintains) in [(0, false), (1, true)] {
        let (codes, t) = (["a", "b"][round], T + round as i64 * DAY);
        let step = async |row: NewEvent| {
            telemetry.append(vec![row]).await.unwrap();
            if maintains {
                (subject.maintain)();
            }
        };
        let wanted = |value: &'static str, after: i64| (codes, value, t - T + after, 1);
        let only = |last: (&'static str, &'static str, i64, u32)| match round {
            0 => vec![last],
            _ => vec![("a", "7", 50, 1), last],
        };
        step(late(t + 10, codes, "1")).await;
        step(late(t + 5, codes, "2")).await;
        check(&only(wanted("1", 10))).await;
        step(point(DEVICE, t, codes, "3")).await;
        step(late(t - 1, codes, "4")).await;
        check(&only(wanted("3", 0))).await;
        step(late(t + 60, codes, "5")).await;
        check(&only(wanted("5", 60))).await;
        // A current report becomes the latest value, whatever was newer and whatever is uploaded beside it.
        step(point(DEVICE, t + 20, codes, "6")).await;
        step(late(t + 50, codes, "7")).await;
        step(late(t + 40, codes, "8")).await;
        check(&only(wanted("7", 50))).await;
    }
    (subject.maintain)();
    check(&[("a", "7", 50, 1), ("b", "7", DAY + 50, 1)]).await;
}

async fn presence_is_the_last_of_its_rows(subject: Subject) {
    let telemetry = subject.telemetry;
    let presence = async || telemetry.latest(&[DEVICE]).await.unwrap()[0].presence;
    telemetry.append(vec![plain(DEVICE, T, EventType::Online)]).await.unwrap();
    assert_eq!(presence().await, Some((true, at(T, 1))));
    telemetry.append(vec![plain(DEVICE, T, EventType::Offline), plain(DEVICE, T, EventType::Restart)]).await.unwrap();
    assert_eq!(presence().await, Some((false, at(T, 2))));
    (subject.maintain)();
    telemetry.append(vec![plain(DEVICE, T - DAY, EventType::Online)]).await.unwrap();
    assert_eq!(presence().await, Some((true, at(T - DAY, 1))));
    (subject.maintain)();
    assert_eq!(presence().await, Some((true, at(T - DAY, 1))));
    let late = |time_ms, kind| NewEvent { is_history: true, ..plain(DEVICE, time_ms, kind) };
    telemetry.append(vec![late(T - 2 * DAY, EventType::Offline)]).await.unwrap();
    assert_eq!(presence().await, Some((true, at(T - DAY, 1))));
    (subject.maintain)();
    telemetry.append(vec![late(T, EventType::Offline)]).await.unwrap();
    assert_eq!(presence().await, Some((false, at(T, 4))));
    (subject.maintain)();
    assert_eq!(presence().await, Some((false, at(T, 4))));
}

async fn the_codes_of_a_device_are_bounded(subject: Subject) {
    let telemetry = subject.telemetry;
    let batch = |from: usize, to: usize, time_ms, value: &str| {
        (from..to).map(|i| point(DEVICE, time_ms, &format!("code_{i}"), value)).collect::<Vec<_>>()
    };
    let max = CODES_PER_DEVICE_MAX;
    telemetry.append(batch(0, max - 100, T, "1")).await.unwrap();
    (subject.maintain)();
    telemetry.append(batch(max - 100, max + 300, T + 1, "2")).await.unwrap();
    for _ in 0..2 {
        let latest = &telemetry.latest(&[DEVICE]).await.unwrap()[0];
        let codes: Vec<_> = latest.points.iter().map(|point| point.code.to_string()).collect();
        assert_eq!(codes, (0..max).map(|i| format!("code_{i}")).collect::<Vec<_>>());
        (subject.maintain)();
    }
    // Codes that are stored stay up to date among many that are not.
    telemetry.append(batch(0, max + 300, T + 2, "3")).await.unwrap();
    for _ in 0..2 {
        let latest = &telemetry.latest(&[DEVICE]).await.unwrap()[0];
        assert_eq!(latest.points.len(), max);
        assert!(latest.points.iter().all(|point| point.value.as_json() == "3"));
        (subject.maintain)();
    }
    let rows = telemetry.count(None, DEVICE, &everything()).await.unwrap().rows;
    assert_eq!(rows, (max - 100 + 400 + max + 300) as u64);
}

async fn many_devices_do_not_mix(subject: Subject) {
    let telemetry = subject.telemetry;
    for round in 0..3 {
        let rows = (1..=2_000).map(|no| point(DeviceNo(no), T + round, "a", &format!("{}", no * 10 + round)));
        telemetry.append(rows.collect()).await.unwrap();
        (subject.maintain)();
    }
    let devices: Vec<_> = (1..=2_000).rev().map(DeviceNo).collect();
    let latest = telemetry.latest(&devices).await.unwrap();
    for (device, latest) in devices.iter().zip(&latest) {
        assert_eq!(latest.points[0].value.as_json(), format!("{}", device.0 * 10 + 2));
    }
    assert_eq!(telemetry.newest_ms(&[devices[5], OTHER, DeviceNo(-1)]).await.unwrap(), [T + 2, T + 2, 0]);
    for device in devices.iter().step_by(37) {
        let rows = walk(&*telemetry, *device, everything()).await;
        assert_eq!(values(&rows), [2, 1, 0].map(|round| (device.0 * 10 + round).to_string()));
        assert_eq!(telemetry.count(None, *device, &everything()).await.unwrap().rows, 3);
    }
}

async fn what_is_old_expires_and_nothing_newer(subject: Subject) {
    let telemetry = subject.telemetry;
    telemetry.append((0..60).map(|day| point(DEVICE, T + day * DAY, "a", &day.to_string())).collect()).await.unwrap();
    (subject.maintain)();
    telemetry.expire(T + 30 * DAY, DurationMs(0), Consent::Given).await.unwrap();
    let rows = walk(&*telemetry, DEVICE, everything()).await;
    assert_eq!(values(&rows)[..30], (30..60).rev().map(|day| day.to_string()).collect::<Vec<_>>());
    assert!(rows.len() < 60, "nothing expired");
    assert_eq!(telemetry.count(None, DEVICE, &everything()).await.unwrap().rows, rows.len() as u64);
    // The latest value is not deleted with the row of the log.
    assert_eq!(telemetry.latest(&[DEVICE]).await.unwrap()[0].points[0].value.as_json(), "59");
    telemetry.append(vec![point(DEVICE, T, "a", "100")]).await.unwrap();
    (subject.maintain)();
    let rows = walk(&*telemetry, DEVICE, everything()).await;
    assert_eq!(rows.last().map(|event| event.row), Some(at(T, 1)));
}

async fn appends_at_once_are_each_complete(subject: Subject) {
    let telemetry = subject.telemetry;
    let appends = (0..40).map(|caller: i64| {
        let telemetry = telemetry.clone();
        tokio::spawn(async move {
            for batch in 0..10 {
                let value = (caller * 10 + batch).to_string();
                let rows = (0..5).map(|_| point(DEVICE, T, "a", &value)).collect();
                telemetry.append(rows).await.unwrap();
                let count = telemetry.count(None, DEVICE, &everything()).await.unwrap().rows;
                assert_eq!(count % 5, 0, "half a batch is visible");
            }
        })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap();
    }
    (subject.maintain)();
    let rows = walk(&*telemetry, DEVICE, everything()).await;
    assert_eq!(rows.iter().map(|event| event.row.n).rev().collect::<Vec<_>>(), (1..=2_000).collect::<Vec<_>>());
    for batch in values(&rows).chunks(5) {
        assert!(batch.iter().all(|value| *value == batch[0]), "batches are interleaved: {batch:?}");
    }
    assert_eq!(telemetry.figures().rows_appended, 2_000);
}

macro_rules! contract {
    ($engine:ident, $open:expr, [$($test:ident),* $(,)?]) => {
        mod $engine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($open).await;
            })*
        }
    };
}

macro_rules! on_engines {
    ($($engine:ident: $open:expr;)*) => {
        $(contract!($engine, $open, [
            an_empty_log, a_row_comes_back_as_it_was, rows_of_one_millisecond_are_numbered,
            rows_are_found_by_their_content, rows_are_found_among_many,
            a_page_is_newest_first_whatever_the_order_of_arrival, a_start_is_inclusive_or_exclusive,
            filters_select_by_type_and_code,
            the_next_row_is_one_that_matches,
            a_page_scans_a_bounded_number_of_rows,
            a_time_range_includes_both_ends,
            what_arrived_last_is_the_state_whatever_its_time,
            the_order_of_one_batch_is_the_order_of_arrival,
            history_is_the_state_only_when_it_is_newer,
            presence_is_the_last_of_its_rows,
            the_codes_of_a_device_are_bounded,
            many_devices_do_not_mix,
            what_is_old_expires_and_nothing_newer,
            appends_at_once_are_each_complete,
        ]);)*
    };
}

on_engines! {
    sqlite: crate::store::sqlite_telemetry::subject();
}
