//! Timelines (contract aliyun §5 rows 10, 11).

use serde_json::{Value, json};

use super::devices::named;
use crate::support::TestCloud;
use crate::support::aliyun::AliyunApp;
use crate::support::world::PLUG;

const PROPERTY: &str = "/cloud/thing/property/timeline/get";
const EVENT: &str = "/cloud/thing/event/timeline/get";

/// Pages through a whole timeline as the vendor's cursor wants it: the values and the number of pages.
fn all(app: &AliyunApp, size: i64, start: i64, end: i64, ordered: bool) -> (Vec<i64>, usize) {
    let (mut values, mut pages, mut start, mut end) = (Vec::new(), 0, start, end);
    loop {
        let params = json!({"iotId": "iotPlug", "identifier": "cur_power", "start": start, "end": end, "pageSize": size,
            "ordered": ordered});
        let page = app.data(PROPERTY, params);
        let items = page["items"].as_array().unwrap();
        pages += 1;
        if items.is_empty() {
            return (values, pages);
        }
        values.extend(items.iter().map(|item| item["data"].as_i64().unwrap()));
        if ordered {
            start = page["timestamp"].as_i64().unwrap();
        } else {
            end = page["timestamp"].as_i64().unwrap();
        }
    }
}

#[test]
fn property_timeline() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let now = cloud.now_ms();
    let hour = 3_600_000;
    // Sparse and dense, with several in one millisecond, and other codes between.
    let mut rows = Vec::new();
    for n in 0..300_i64 {
        let time = match n {
            0..100 => now - 20 * 24 * hour + n * 4 * hour / 10,
            100..200 => now - 5 * hour + n / 7,
            _ => now - 300_000 + n * 1000,
        };
        rows.push((PLUG, time, 7, 1, "cur_power", json!(n)));
        rows.push((PLUG, time, 7, 1, "cur_voltage", json!(-n)));
    }
    cloud.import(&rows);
    let oldest_first: Vec<i64> = (0..300).collect();
    let newest_first: Vec<i64> = (0..300).rev().collect();
    for size in [1, 7, 20, 100, 1000] {
        assert_eq!(all(&app, size, 0, now, true).0, oldest_first, "{size} ordered");
        assert_eq!(all(&app, size, 0, now, false).0, newest_first, "{size}");
    }
    assert!(all(&app, 1000, 0, now, false).1 >= 3, "no page of more than a hundred");
    let between = all(&app, 20, now - 6 * hour, now - 4 * hour, true).0;
    assert_eq!(between, (100..200).collect::<Vec<_>>());

    let first = json!({"iotId": "iotPlug", "identifier": "cur_power", "pageSize": 1});
    let item = app.data(PROPERTY, first.clone())["items"][0].clone();
    let time = now - 300_000 + 299_000;
    assert_eq!(
        (&item["iotid"], &item["data"], &item["property"], &item["group"]),
        (&json!("iotPlug"), &json!(299), &json!("cur_power"), &Value::Null)
    );
    assert_eq!((&item["modifytime"], &item["timestamp"]), (&json!(time), &json!(time)));
    assert!(item["batchId"].is_string() && item.as_object().unwrap().contains_key("group"));
    for (more, code) in [
        (json!({"pageSize": 0}), 460),
        (json!({"pageSize": -1}), 460),
        (json!({"identifier": ""}), 460),
        (json!({"start": "x"}), 460),
        (json!({"ordered": "maybe"}), 460),
        (json!({"iotId": "iotForeign"}), 2063),
    ] {
        let mut params = first.clone();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(app.code(PROPERTY, params), code, "{more}");
    }
    let empty =
        json!({"iotId": "iotPlug", "identifier": "cur_power", "start": now, "end": now - hour, "ordered": true});
    assert_eq!(app.data(PROPERTY, empty)["items"], json!([]));
}

#[test]
fn event_timeline() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let now = cloud.now_ms();
    cloud.import(&[
        (PLUG, now - 2000, 7, 1, "Error", json!({"ErrorCode": 1})),
        (PLUG, now - 1000, 7, 1, "Error", json!({"ErrorCode": 0})),
        (PLUG, now, 7, 1, "switch", json!(true)),
    ]);
    let ask = |more: Value| {
        let mut params = json!({"iotId": "iotPlug", "identifier": "Error", "start": 0, "end": now, "pageSize": 10});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.data(EVENT, params)
    };
    let items = ask(json!({}))["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 2);
    let newest = &items[0];
    assert_eq!(
        (&newest["eventCode"], &newest["iotId"], &newest["eventType"], &newest["timestamp"]),
        (&json!("Error"), &json!("iotPlug"), &json!("info"), &json!(now - 1000))
    );
    let body: Value = serde_json::from_str(newest["eventBody"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({"ErrorCode": 0}));
    assert_eq!(ask(json!({"ordered": true}))["items"][0]["timestamp"], now - 2000);
    assert_eq!(ask(json!({"eventType": "info"}))["items"].as_array().unwrap().len(), 2);
    assert_eq!(ask(json!({"eventType": "alert"}))["items"], json!([]));
    assert_eq!(ask(json!({"identifier": "switch"}))["items"], json!([]), "a property is no event");
    assert_eq!(app.code(EVENT, json!({"iotId": "iotPlug"})), 460);
    assert_eq!(app.code(EVENT, json!({"iotId": "nothing", "identifier": "Error"})), 2063);
}

#[test]
fn a_reset_hides_what_was_before() {
    let cloud = TestCloud::start();
    named(&cloud);
    let (app, tuya) = (cloud.aliyun(), cloud.first());
    cloud.import(&[(PLUG, cloud.now_ms() - 1000, 7, 1, "cur_power", json!(1))]);
    assert_eq!(all(&app, 10, 0, cloud.now_ms(), true).0, [1]);
    assert_eq!(tuya.put(&format!("/v1.0/devices/{PLUG}/reset-factory"), json!({}))["result"], true);
    let list = json!([{"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"}]);
    app.data("/living/cloud/user/binding/device/batch/bind", json!({"identityId": "50owner", "deviceList": list}));
    assert_eq!(all(&app, 10, 0, cloud.now_ms(), true).0, Vec::<i64>::new());
}
