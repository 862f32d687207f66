//! Commands (contract tuya §4.2). `tests/gateway/commands.rs` follows them to the devices.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::world::{FOREIGN, HELD_ELSEWHERE, LONELY, PLUG};

/// A cloud in which the plug is connected.
fn connected() -> (TestCloud, MqttDevice) {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    cloud.apply(&json!({"projects": [{"name": "first", "products": [{"product_id": "EvolhYPyZNWYP001", "name": "Plug",
        "category": "cz", "functions": [
            {"code": "on", "type": "Boolean"}, {"code": "dim", "type": "Integer", "values": {"min": 10, "max": 20}},
            {"code": "mode", "type": "Enum", "values": {"range": ["white", "colour"]}},
            {"code": "note", "type": "String", "values": {"maxlen": 4}}, {"code": "hsv", "type": "Json"},
            {"code": "seen", "type": "Boolean", "access": "ro"}, {"code": "go", "type": "Boolean", "access": "wo"}]}]}]}));
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, "5c1e2d3f4a5b6c7d"));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/property/set")]), [true]);
    (cloud, plug)
}

/// What is refused alike, whatever the path; `wrap` makes the body of one code and value.
fn refusals(cloud: &TestCloud, path: impl Fn(&str) -> String, wrap: impl Fn(&str, Value) -> Value) {
    let app = cloud.first();
    for (code, value, expected) in [
        ("on", json!(true), 0),
        ("dim", json!(20), 0),
        ("mode", json!("colour"), 0),
        ("note", json!("水水水水"), 0),
        ("hsv", json!({"h": 1, "s": 2, "v": 3}), 0),
        ("hsv", json!("{\"h\":1}"), 0),
        ("go", json!(false), 0),
        ("on", json!(1), 2008),
        ("on", json!("true"), 2008),
        ("dim", json!(9), 2008),
        ("dim", json!(21), 2008),
        ("dim", json!(12.5), 2008),
        ("mode", json!("red"), 2008),
        ("note", json!("水水水水水"), 2008),
        ("note", json!("x".repeat(20_000)), 2008),
        ("seen", json!(true), 2008),
        ("unknown", json!(true), 2008),
        ("", json!(true), 2008),
    ] {
        let answer = app.post(&path(PLUG), wrap(code, value.clone()));
        assert_eq!(answer["code"].as_i64().unwrap_or(0), expected, "{code} {value}");
    }
    for (device, expected) in [(LONELY, 2001), (FOREIGN, 1106), (HELD_ELSEWHERE, 1106), ("nobody", 1106)] {
        let code = if device == LONELY { "battery_low" } else { "on" };
        assert_eq!(app.post(&path(device), wrap(code, json!(true)))["code"], expected, "{device}");
    }
    // The other tenant cannot reach it.
    assert_eq!(cloud.second().post(&path(PLUG), wrap("on", json!(true)))["code"], 1106);
    assert_eq!(app.call("POST", &path(PLUG), "{").body["code"], 1109);
}

fn as_commands(code: &str, value: Value) -> Value {
    json!({"commands": [{"code": code, "value": value}], "deviceId": "one client adds it"})
}

fn malformed(cloud: &TestCloud, path: &str) {
    for body in [
        json!({}),
        json!({"commands": []}),
        json!({"commands": {}}),
        json!({"commands": [{"code": "on"}]}),
        json!({"commands": [{"value": true}]}),
        json!({"commands": [7]}),
        json!({"commands": [{"code": 1, "value": 1}]}),
    ] {
        assert_eq!(cloud.first().post(path, body.clone())["code"], 1109, "{body}");
    }
    let many: Vec<Value> = (0..101).map(|_| json!({"code": "on", "value": true})).collect();
    assert_eq!(cloud.first().post(path, json!({"commands": many}))["code"], 1101);
}

#[test]
fn commands() {
    let (cloud, _plug) = connected();
    refusals(&cloud, |device| format!("/v1.0/devices/{device}/commands"), as_commands);
    malformed(&cloud, &format!("/v1.0/devices/{PLUG}/commands"));
    assert_eq!(
        cloud.first().post(&format!("/v1.0/devices/{PLUG}/commands"), as_commands("on", json!(true)))["result"],
        true
    );
}

#[test]
fn iot03_commands() {
    let (cloud, _plug) = connected();
    refusals(&cloud, |device| format!("/v1.0/iot-03/devices/{device}/commands"), as_commands);
    malformed(&cloud, &format!("/v1.0/iot-03/devices/{PLUG}/commands"));
}

fn as_text(code: &str, value: Value) -> Value {
    json!({"properties": json!({code: value}).to_string()})
}

#[test]
fn issue_properties() {
    let (cloud, _plug) = connected();
    let path = |device: &str| format!("/v2.0/cloud/thing/{device}/shadow/properties/issue");
    refusals(&cloud, path, as_text);
    refusals(&cloud, path, |code, value| json!({"properties": {code: value}}));
    let app = cloud.first();
    for (body, code) in [
        (json!({}), 1100),
        (json!({"properties": "{}"}), 1100),
        (json!({"properties": "x"}), 1109),
        (json!({"properties": [1]}), 1109),
    ] {
        assert_eq!(app.post(&path(PLUG), body.clone())["code"], code, "{body}");
    }
    assert_eq!(app.post(&path(PLUG), as_text("on", json!(true)))["result"], json!({}));
}

#[test]
fn desire_properties() {
    let (cloud, _plug) = connected();
    let path = |device: &str| format!("/v2.0/cloud/thing/{device}/shadow/properties/desired");
    let app = cloud.first();
    let setpoint =
        |duration: Value, kind: Value| json!({"properties": {"on": true}, "duration": duration, "type": kind});
    for (body, code) in [
        (setpoint(json!(60), json!(0)), 0),
        (setpoint(json!("60"), Value::Null), 0),
        (json!({"properties": "{\"on\":true}", "duration": 60}), 0),
        (setpoint(Value::Null, json!(0)), 1100),
        (setpoint(json!(0), json!(0)), 1101),
        (setpoint(json!(i64::MAX), json!(0)), 1101),
        (setpoint(json!(60), json!(2)), 1101),
        (json!({"duration": 60}), 1100),
        (json!({"properties": {"on": 1}, "duration": 60}), 2008),
        (json!({"properties": {"seen": true}, "duration": 60}), 2008),
    ] {
        assert_eq!(app.post(&path(PLUG), body.clone())["code"].as_i64().unwrap_or(0), code, "{body}");
    }
    for (device, code) in [(FOREIGN, 1106), (HELD_ELSEWHERE, 1106), ("nobody", 1106)] {
        assert_eq!(app.post(&path(device), setpoint(json!(60), json!(0)))["code"], code, "{device}");
    }
    assert_eq!(cloud.second().post(&path(PLUG), setpoint(json!(60), json!(0)))["code"], 1106);
}
