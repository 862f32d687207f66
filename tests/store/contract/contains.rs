//! What `Telemetry::contains` means, for [`super::telemetry`].

use ingle::domain::event::EventSource;
use ingle::domain::{DeviceNo, EventType, NewEvent};

use super::telemetry::{DEVICE, Subject, T, json, plain, point};

const WEEK: i64 = 7 * 24 * 3600 * 1000;

pub async fn rows_are_found_by_their_content(subject: Subject) {
    let telemetry = subject.telemetry;
    let object = point(DEVICE, T + 5, "place", r#"{"b": 1, "a": "\u6c34"}"#);
    telemetry.append(vec![point(DEVICE, T, "a", "1"), plain(DEVICE, T, EventType::Online), object]).await.unwrap();
    let other_source = NewEvent { source: EventSource::CLOUD, is_history: true, ..point(DEVICE, T, "a", "1") };
    let asked = [
        (point(DEVICE, T, "a", "1"), true),
        (other_source, true),
        (point(DEVICE, T + 5, "place", r#"{"a":"水","b":1}"#), true),
        (plain(DEVICE, T, EventType::Online), true),
        (plain(DEVICE, T, EventType::Offline), false),
        (point(DEVICE, T, "a", "\"1\""), false),
        (point(DEVICE, T, "b", "1"), false),
        (point(DEVICE, T + 1, "a", "1"), false),
        (point(DEVICE, T - 1, "a", "1"), false),
        (point(DeviceNo(8), T, "a", "1"), false),
        (NewEvent { value: None, ..point(DEVICE, T, "a", "1") }, false),
        (NewEvent { value: Some(json("1")), ..plain(DEVICE, T, EventType::Online) }, false),
    ];
    let rows: Vec<NewEvent> = asked.iter().map(|(row, _)| row.clone()).collect();
    let expected: Vec<bool> = asked.iter().map(|(_, is_there)| *is_there).collect();
    assert_eq!(telemetry.contains(&rows).await.unwrap(), expected);
    (subject.maintain)();
    assert_eq!(telemetry.contains(&rows).await.unwrap(), expected);
    assert!(telemetry.contains(&[]).await.unwrap().is_empty());
}

/// Some of many rows: in memory and in files, close together and weeks apart, and more within a millisecond than a page has.
pub async fn rows_are_found_among_many(subject: Subject) {
    let telemetry = subject.telemetry;
    let devices = [DeviceNo(3), DeviceNo(1), DeviceNo(2)];
    for part in 0..4 {
        for device in devices {
            let rows = (0..500).map(|at| point(device, T + part * WEEK / 2 + at * 10, "a", &at.to_string()));
            let at_once = (0..350).map(|value| point(device, T + part * WEEK / 2 + 7, "b", &value.to_string()));
            telemetry.append(rows.chain(at_once).collect()).await.unwrap();
        }
        if part < 3 {
            (subject.maintain)();
        }
    }
    let mut asked = Vec::new();
    for at in 0..3_000 {
        // In no order. Every third row is there.
        let at = at * 1_009 % 3_000;
        let (device, part) = (devices[at as usize / 9 % 3], at / 3 % 4);
        let (time_ms, code, value) = match at % 9 {
            0 | 3 => (at % 500 * 10, "a", at % 500),
            6 => (7, "b", at % 350),
            1 | 4 => (at % 500 * 10 + 1, "a", at % 500),
            7 => (7, "b", 350 + at),
            _ => (at % 500 * 10, "a", 500 + at),
        };
        asked.push((point(device, T + part * WEEK / 2 + time_ms, code, &value.to_string()), at % 3 == 0));
    }
    let (rows, expected): (Vec<NewEvent>, Vec<bool>) = asked.into_iter().unzip();
    assert_eq!(telemetry.contains(&rows).await.unwrap(), expected);
}
