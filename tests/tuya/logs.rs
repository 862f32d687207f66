//! A device's log (seed 003; contract tuya §3.9; DESIGN §5).

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;
use crate::support::world::{DUMB, FOREIGN, PLUG};

fn logs(app: &TuyaApp, query: &str) -> Value {
    app.get(&format!("/v1.0/devices/{PLUG}/logs?{query}"))
}

/// 1,203 rows: two codes and presence, many in one millisecond. Newest first, as the log shows them.
fn fill(cloud: &TestCloud) -> (i64, Vec<(i64, i64, String)>) {
    let end = cloud.now_ms() - 1000;
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for index in 0..401_i64 {
        let time = end - index / 2 * 250;
        for (kind, code, value) in
            [(7, "switch_1", json!(index % 2 == 0)), (7, "cur_power", json!(index)), (1 + index % 2, "", Value::Null)]
        {
            rows.push((PLUG, time, kind, 1, code, value.clone()));
            let text = if code.is_empty() { String::new() } else { format!("{code}={value}") };
            shown.push((time, kind, text));
        }
    }
    cloud.import(&rows);
    // Rows of one millisecond keep the order of their arrival, of which the log shows the last first.
    shown.reverse();
    shown.sort_by_key(|(time, _, _)| -time);
    (end, shown)
}

fn row(log: &Value) -> (i64, i64, String) {
    let text = match log.get("code") {
        Some(code) => format!("{}={}", code.as_str().unwrap(), log["value"].as_str().unwrap()),
        None => String::new(),
    };
    (log["event_time"].as_i64().unwrap(), log["event_id"].as_i64().unwrap(), text)
}

/// Every row of the free form, page by page.
fn walk_free(app: &TuyaApp, query: &str) -> Vec<(i64, i64, String)> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let encoded = cursor.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let answer = app.send(&unsorted(app, &format!("{query}&start_row_key={encoded}"))).body;
        let page = &answer["result"];
        let here: Vec<_> = page["logs"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(row).collect();
        rows.extend(here);
        assert_eq!(page["has_next"], !page["next_row_key"].is_null());
        let Some(next) = page["next_row_key"].as_str() else { return rows };
        assert_ne!(next, cursor);
        cursor = next.to_owned();
    }
}

/// Signed as the vendor says, sorted and decoded, whatever the order on the wire.
fn unsorted(app: &TuyaApp, query: &str) -> crate::support::tuya::Request {
    let mut pairs: Vec<String> = query
        .split('&')
        .map(|pair| pair.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=").replace("%2C", ","))
        .collect();
    pairs.sort();
    let path = format!("/v1.0/devices/{PLUG}/logs");
    let mut request = app.signed("GET", &format!("{path}?{}", pairs.join("&")), b"", &app.token());
    request.target = format!("{path}?{query}");
    request
}

#[test]
fn device_logs() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let (end, shown) = fill(&cloud);
    // The free form to the end, without a gap or a repeat.
    let all = format!("type=1,2,7&start_time=0&end_time={end}");
    for size in [7, 100, 1000] {
        assert_eq!(walk_free(&app, &format!("{all}&size={size}")), shown, "size {size}");
    }
    // The paid form, with the exact count.
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = logs(&app, &format!("end_time={end}{cursor}&query_type=2&size=97&start_time=0&type=1,2,7"));
        let page = &page["result"];
        assert_eq!(page["count"], shown.len());
        let here = page["logs"].as_array().unwrap();
        rows.extend(here.iter().map(row));
        if page["has_next"] == false {
            break;
        }
        let last = here.last().unwrap();
        cursor = format!("&last_event_time={}&last_row_key={}", last["event_time"], last["row"].as_str().unwrap());
    }
    assert_eq!(rows, shown);
}

#[test]
fn filters() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let (end, shown) = fill(&cloud);
    let expect = |keep: &dyn Fn(&(i64, i64, String)) -> bool| -> Vec<(i64, i64, String)> {
        shown.iter().filter(|row| keep(row)).cloned().collect()
    };
    let span = format!("start_time=0&end_time={end}&size=50");
    assert_eq!(walk_free(&app, &format!("type=7&{span}")), expect(&|row| row.1 == 7));
    assert_eq!(walk_free(&app, &format!("type=2&{span}")), expect(&|row| row.1 == 2));
    assert_eq!(walk_free(&app, &format!("type=5&{span}")), []);
    let power = expect(&|row| row.2.starts_with("cur_power"));
    assert_eq!(walk_free(&app, &format!("codes=cur_power&type=1,2,7&{span}")), power);
    assert_eq!(walk_free(&app, &format!("codes=cur_power%2Cswitch_1&type=7&{span}")), expect(&|row| row.1 == 7));
    assert_eq!(walk_free(&app, &format!("codes=nothing&type=7&{span}")), []);
    let (from, to) = (end - 20_000, end - 10_000);
    let within = expect(&|row| (from..=to).contains(&row.0));
    assert_eq!(walk_free(&app, &format!("type=1,2,7&start_time={from}&end_time={to}&size=9")), within);
    let count = logs(&app, &format!("codes=cur_power&end_time={to}&query_type=2&size=1&start_time={from}&type=7"));
    let expected = within.iter().filter(|row| row.2.starts_with("cur_power")).count();
    assert_eq!((&count["result"]["count"], &count["result"]["has_next"]), (&json!(expected), &json!(true)));
    // Seconds are taken too, and mean the whole second.
    let seconds = walk_free(&app, &format!("type=7&start_time={}&end_time={}&size=50", from / 1000, to / 1000));
    assert_eq!(seconds, expect(&|row| row.1 == 7 && (from / 1000..=to / 1000).contains(&(row.0 / 1000))));
}

#[test]
fn both_forms_name_the_same_row_and_keys_are_unique() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let (end, shown) = fill(&cloud);
    let paid = logs(&app, &format!("end_time={end}&query_type=2&size=100&start_time=0&type=1,2,7"));
    let keys: HashSet<&str> =
        paid["result"]["logs"].as_array().unwrap().iter().map(|log| log["row"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 100);
    // A free page from a paid row's place: the key of the form with the type put in.
    let tenth = &paid["result"]["logs"][10];
    let (prefix, n) = tenth["row"].as_str().unwrap().rsplit_once('_').unwrap();
    let text = format!("{prefix}_{}_{n}", tenth["event_id"]);
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let free = app
        .send(&unsorted(
            &app,
            &format!("end_time={end}&size=5&start_row_key={}&start_time=0&type=1,2,7", key.replace('=', "%3D")),
        ))
        .body;
    assert_eq!(free["result"]["current_row_key"], key, "{free}");
    assert_eq!(row(&free["result"]["logs"][0]), shown[10]);
}

#[test]
fn refusals() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let (end, _) = fill(&cloud);
    let good = logs(&app, &format!("end_time={end}&size=5&start_time=0&type=7"))["result"].clone();
    let key = good["next_row_key"].as_str().unwrap().replace('=', "%3D");
    for (query, code) in [
        (format!("end_time={end}&start_time=0"), 1100),
        (format!("end_time={end}&start_time=0&type="), 1100),
        ("start_time=0&type=7".to_owned(), 1100),
        (format!("end_time={end}&start_time=0&type=11"), 1101),
        (format!("end_time={end}&start_time=0&type=0"), 1101),
        (format!("end_time={end}&start_time=0&type=seven"), 1109),
        ("end_time=tomorrow&start_time=0&type=7".to_owned(), 1109),
        ("end_time=-5&start_time=0&type=7".to_owned(), 1101),
        (format!("end_time={end}&size=0&start_time=0&type=7"), 1101),
        (format!("end_time={end}&size=-1&start_time=0&type=7"), 1101),
        (format!("end_time={end}&size=x&start_time=0&type=7"), 1109),
        (format!("end_time={end}&query_type=3&start_time=0&type=7"), 1101),
        (format!("end_time={end}&start_row_key=x&start_time=0&type=7"), 1109),
        (format!("end_time={end}&start_row_key={}&start_time=0&type=7", &key[4..]), 1109),
        (format!("end_time={end}&last_row_key=x&query_type=2&start_time=0&type=7"), 1109),
        (format!("end_time={end}&last_event_time={end}&query_type=2&start_time=0&type=7"), 1100),
    ] {
        let answer = app.send(&unsorted(&app, &query)).body;
        assert_eq!(answer["code"], code, "{query}: {answer}");
    }
    // A key of another device, and a paid one whose time does not fit.
    let other = format!(
        "/v1.0/devices/{}/logs?end_time={end}&start_row_key={}&start_time=0&type=7",
        crate::support::world::SCALE,
        good["next_row_key"].as_str().unwrap()
    );
    assert_eq!(app.get(&other)["code"], 1109);
    let paid = logs(&app, &format!("end_time={end}&query_type=2&size=1&start_time=0&type=7"))["result"].clone();
    let row = paid["logs"][0]["row"].as_str().unwrap();
    let bent = format!("end_time={end}&last_event_time=5&last_row_key={row}&query_type=2&start_time=0&type=7");
    assert_eq!(logs(&app, &bent)["code"], 1109);
    let app = cloud.first();
    assert_eq!(app.get(&format!("/v1.0/devices/{DUMB}/logs?end_time={end}&start_time=0&type=7"))["code"], 2009);
    assert_eq!(app.get(&format!("/v1.0/devices/{FOREIGN}/logs?end_time={end}&start_time=0&type=7"))["code"], 1106);
    // More than a page may hold is clamped.
    let page = logs(&app, &format!("end_time={end}&size=100000&start_time=0&type=7"));
    assert_eq!(page["result"]["logs"].as_array().unwrap().len(), 100);
}

#[test]
fn nothing_older_than_the_retention_is_shown() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let cloud = TestCloud::at(1_763_800_000_000);
    let start = cloud.now_ms();
    cloud.advance(Duration::from_millis(1));
    cloud.import(&[(PLUG, start, 7, 1, "switch_1", json!(true)), (PLUG, start + 1, 7, 1, "switch_1", json!(false))]);
    let rows = |cloud: &TestCloud| {
        let page = logs(&cloud.first(), &format!("end_time={}&size=9&start_time=1&type=7", cloud.now_ms()));
        page["result"]["logs"].as_array().unwrap().len()
    };
    cloud.advance(30 * DAY - Duration::from_millis(1));
    assert_eq!(rows(&cloud), 2);
    cloud.advance(Duration::from_millis(1));
    assert_eq!(rows(&cloud), 1);
    cloud.advance(DAY);
    assert_eq!(rows(&cloud), 0);
    // The latest value is the device's state, not its history.
    assert_eq!(cloud.first().reported(PLUG), json!([{"code": "switch_1", "value": false}]));
    let refused = cloud.import_lines(&format!("{{\"device_id\":\"{PLUG}\",\"time\":{start},\"type\":1,\"from\":1}}\n"));
    assert!(refused.unwrap_err().contains("retention"));
}
