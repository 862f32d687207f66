//! What devices show now (contract tuya §4.2).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::{DUMB, FOREIGN, HELD_ELSEWHERE, PLUG, SCALE};

fn with_values() -> TestCloud {
    let cloud = TestCloud::start();
    let now = cloud.now_ms();
    cloud.import(&[(PLUG, now - 5, 7, 1, "switch_1", json!(true)), (PLUG, now, 7, 1, "cur_power", json!(7))]);
    cloud
}

/// The plug's status: in the order of the data points, with defaults for what was not reported.
fn plug() -> Value {
    let point = |(code, value): (&str, Value)| json!({"code": code, "value": value});
    let (zero, off) = (|code| (code, json!(0)), |code| (code, json!(false)));
    let points =
        [("cur_power", json!(7)), zero("cur_voltage"), off("switch"), zero("countdown_1"), zero("cur_current")];
    points.into_iter().chain([("switch_1", json!(true)), off("switch_2")]).map(point).collect()
}

/// The scale's, which has reported nothing.
fn scale() -> Value {
    let numbers = ["weight", "left_hand_r", "right_hand_r", "left_leg_r", "right_leg_r", "body_r"];
    let number = |code| json!({"code": code, "value": 0});
    numbers.into_iter().map(number).chain([json!({"code": "battery_low", "value": false})]).collect()
}

#[test]
fn what_was_not_reported_has_the_default_of_its_function() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let function = |code: &str, dp_id: u32, kind: &str, values: Value| json!({"code": code, "dp_id": dp_id, "type": kind, "values": values});
    let mut desired_values = function("desired_values", 2, "Boolean", json!({}));
    desired_values["access"] = json!("wo");
    let functions = json!([
        function("last", 101, "Bitmap", json!({"label": ["e1", "e2"]})),
        function("mode", 4, "Enum", json!({"range": ["white", "colour"]})),
        function("switch", 1, "Boolean", json!({})),
        desired_values,
        function("temp", 3, "Integer", json!({"min": -20, "max": 50})),
        function("free", 5, "Integer", json!({})),
        function("text", 6, "String", json!({"maxlen": 9})),
        function("colour_data", 7, "Json", json!({})),
        function("raw", 8, "Raw", json!({})),
    ]);
    let world = |functions: &Value| {
        json!({"projects": [{"name": "first",
            "products": [{"product_id": "everything000001", "name": "All", "category": "qt", "functions": functions}],
            "devices": [{"product_id": "everything000001", "device_id": "all0001", "name": "All"}]}]})
    };
    cloud.apply(&world(&functions));
    let defaults = json!([
        {"code": "switch", "value": false},
        {"code": "temp", "value": -20},
        {"code": "mode", "value": "white"},
        {"code": "free", "value": 0},
        {"code": "text", "value": ""},
        {"code": "colour_data", "value": ""},
        {"code": "raw", "value": ""},
        {"code": "last", "value": 0},
    ]);
    let app = cloud.first();
    let shown = || {
        let status = app.get("/v1.0/devices/all0001/status")["result"].clone();
        for other in [
            app.get("/v1.0/devices/all0001")["result"]["status"].clone(),
            app.get("/v1.0/devices?device_ids=all0001")["result"]["devices"][0]["status"].clone(),
            app.get("/v1.0/iot-03/devices/status?device_ids=all0001")["result"][0]["status"].clone(),
            app.get("/v1.0/devices/status?device_ids=all0001")["result"]["all0001"].clone(),
        ] {
            assert_eq!(other, status);
        }
        status
    };
    assert_eq!(shown(), defaults);
    let shadow = app.get("/v2.0/cloud/thing/all0001/shadow/properties")["result"]["properties"].clone();
    assert_eq!(
        shadow[1],
        json!({"code": "temp", "custom_name": "", "dp_id": 3, "time": 0, "type": "value", "value": -20})
    );
    // What was reported stands in its place, what the product does not have comes last.
    let now = cloud.now_ms();
    let rows = [("unknown", json!(1)), ("temp", json!(21)), ("desired_values", json!(true)), ("mode", json!("colour"))];
    cloud.import(&rows.map(|(code, value)| ("all0001", now, 7, 1, code, value)));
    let mut reported = defaults.clone();
    reported[1]["value"] = json!(21);
    reported[2]["value"] = json!("colour");
    reported.as_array_mut().unwrap().insert(1, json!({"code": "desired_values", "value": true}));
    reported.as_array_mut().unwrap().push(json!({"code": "unknown", "value": 1}));
    assert_eq!(shown(), reported);
    // A reset brings the defaults back.
    cloud.advance(std::time::Duration::from_secs(1));
    assert_eq!(app.put("/v1.0/devices/all0001/reset-factory", json!({}))["result"], true);
    cloud.apply(&world(&functions));
    let device = json!({"product_id": "everything000001", "device_id": "all0001", "owner": "18200000678"});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
    assert_eq!(shown(), defaults);
}

#[test]
fn device_status() {
    let cloud = with_values();
    let app = cloud.first();
    let status = |id: &str| app.get(&format!("/v1.0/devices/{id}/status"));
    assert_eq!((status(PLUG)["result"].clone(), status(SCALE)["result"].clone()), (plug(), scale()));
    assert_eq!(status(DUMB)["code"], 2003, "without a standard set");
    for id in [FOREIGN, "nobody", "a%2Fb", "%F0%9F%92%A1"] {
        assert_eq!(status(id)["code"], 1106, "{id}");
    }
    assert_eq!(cloud.second().get(&format!("/v1.0/devices/{PLUG}/status"))["code"], 1106);
}

#[test]
fn iot03_device_status() {
    let cloud = with_values();
    let app = cloud.first();
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{PLUG}/status"))["result"], plug());
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{DUMB}/status"))["result"], json!([]));
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{FOREIGN}/status"))["code"], 1106);
}

/// What batch calls refuse, and whom they leave out.
pub fn batches(cloud: &TestCloud, path: &str, count: impl Fn(&Value) -> usize) {
    let app = cloud.first();
    let get = |ids: &str| app.get(&format!("{path}?device_ids={ids}"));
    // Twice the same, strangers and another tenant's are left out.
    let answer = get(&format!("{PLUG},{SCALE},{PLUG},nobody,{FOREIGN}"));
    assert_eq!(count(&answer["result"]), 2, "{answer}");
    let many = (0..21).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(get(&many)["code"], 1101);
    assert_eq!(app.get(path)["code"], 1100);
    assert_eq!(count(&cloud.second().get(&format!("{path}?device_ids={PLUG}"))["result"]), 0);
    assert_eq!(count(&cloud.second().get(&format!("{path}?device_ids={HELD_ELSEWHERE}"))["result"]), 1);
}

#[test]
fn devices_status() {
    let cloud = with_values();
    let answer = cloud.first().get(&format!("/v1.0/devices/status?device_ids={PLUG},{SCALE}"));
    assert_eq!(answer["result"], json!({PLUG: plug(), SCALE: scale()}));
    batches(&cloud, "/v1.0/devices/status", |result| result.as_object().unwrap().len());
}

#[test]
fn iot03_devices_status() {
    let cloud = with_values();
    let answer = cloud.first().get(&format!("/v1.0/iot-03/devices/status?device_ids={PLUG}"));
    assert_eq!(answer["result"], json!([{"id": PLUG, "status": plug()}]));
    batches(&cloud, "/v1.0/iot-03/devices/status", |result| result.as_array().unwrap().len());
}
