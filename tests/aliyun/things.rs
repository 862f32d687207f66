//! Things (contract aliyun §5 rows 2, 4, 6–9).

use std::time::Duration;

use serde_json::{Value, json};

use super::devices::named;
use crate::support::TestCloud;
use crate::support::world::PLUG;

fn plug() -> Value {
    json!({"iotId": "iotPlug"})
}

/// What every call for one device refuses.
pub fn refuses_other_devices(cloud: &TestCloud, path: &str, more: Value) {
    let app = cloud.aliyun();
    for (mut params, code) in [
        (json!({}), 460),
        (json!({"iotId": ""}), 460),
        (json!({"iotId": "x".repeat(257)}), 460),
        (json!({"productKey": "a1FNS8TYhpQ"}), 460),
        (json!({"deviceName": "VD_plug"}), 460),
        (json!({"iotId": "nothing"}), 2063),
        (json!({"iotId": "iotForeign"}), 2063),
        (json!({"productKey": "nothing", "deviceName": "VD_plug"}), 2063),
    ] {
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(app.code(path, params.clone()), code, "{path} {params}");
    }
}

#[test]
fn thing_properties() {
    let cloud = TestCloud::start();
    named(&cloud);
    cloud.apply(&json!({"projects": [{"name": "first", "products": [{"product_id": "EvolhYPyZNWYP001",
        "name": "Wi-Fi 智能计量插座", "category": "cz", "functions": [
            {"code": "switch_1", "type": "Boolean"}, {"code": "cur_power", "type": "Integer"},
            {"code": "mode", "type": "Enum", "values": {"range": ["white", "colour"]}}]}]}]}));
    let app = cloud.aliyun();
    let path = "/cloud/thing/properties/get";
    assert_eq!(app.data(path, plug()), json!([]));
    let now = cloud.now_ms();
    cloud.import(&[
        (PLUG, now - 1000, 7, 1, "switch_1", json!(false)),
        (PLUG, now, 7, 1, "switch_1", json!(true)),
        (PLUG, now - 500, 7, 1, "cur_power", json!(120)),
        (PLUG, now, 7, 1, "mode", json!("colour")),
        (PLUG, now, 7, 1, "unknown", json!({"a": [1, null]})),
    ]);
    let rows = app.data(path, plug());
    let row = |code: &str| rows.as_array().unwrap().iter().find(|row| row["attribute"] == code).unwrap().clone();
    // Booleans and choices as the thing model has them.
    for (code, value, time) in [
        ("switch_1", json!(1), now),
        ("cur_power", json!(120), now - 500),
        ("mode", json!(1), now),
        ("unknown", json!({"a": [1, null]}), now),
    ] {
        let row = row(code);
        assert_eq!((&row["value"], &row["gmtModified"], &row["iotId"]), (&value, &json!(time), &json!("iotPlug")));
        assert!(!row["batchId"].as_str().unwrap().is_empty());
    }
    assert_eq!(rows, app.data(path, json!({"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"})));
    refuses_other_devices(&cloud, path, json!({}));
}

#[test]
fn thing_status() {
    let cloud = TestCloud::at(1_763_800_000_000);
    named(&cloud);
    let path = "/cloud/thing/status/get";
    assert_eq!(cloud.aliyun().data(path, plug()), json!({"time": 0, "status": 0}));
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [
        {"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "virtual": true}]}]}));
    let begun = cloud.now_ms();
    cloud.wait(|| cloud.aliyun().data(path, plug())["status"] == 1);
    assert_eq!(cloud.aliyun().data(path, plug())["time"], begun);
    cloud.advance(Duration::from_secs(60));
    let off = json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "virtual": false}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": off}]}));
    cloud.wait(|| cloud.aliyun().data(path, plug())["status"] == 3);
    assert_eq!(cloud.aliyun().data(path, plug())["time"], begun + 60_000);
    refuses_other_devices(&cloud, path, json!({}));
}

#[test]
fn thing_info() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/thing/info/get";
    let info = app.data(path, plug());
    for (member, value) in [
        ("iotId", json!("iotPlug")),
        ("productKey", json!("a1FNS8TYhpQ")),
        ("name", json!("VD_plug")),
        ("deviceKey", json!(PLUG)),
        ("nickname", json!("xxx测试")),
        ("thingType", json!("DEVICE")),
        ("status", json!(0)),
        ("statusLast", json!(0)),
        ("mac", json!("5c:cf:7f:53:10:01")),
        ("sn", json!("SN-1")),
        ("netAddress", json!("10.62.43.7")),
    ] {
        assert_eq!(info[member], value, "{member}");
    }
    assert!(info["gmtCreate"].is_i64() && info.get("activeTime").is_none() && info["tenantId"] == info["rbacTenantId"]);
    assert!(!info.to_string().contains("ecret"), "no secret: {info}");
    // Elsewhere the maker sees the device, but nothing of the home.
    let held_elsewhere = app.data(path, json!({"iotId": "iotElsewhere"}));
    assert!(
        held_elsewhere.get("netAddress").is_none() && held_elsewhere["iotId"] == "iotElsewhere",
        "{held_elsewhere}"
    );
    refuses_other_devices(&cloud, path, json!({}));
}

/// The plug's product with two hundred and five devices, the last of which is disabled.
fn many(cloud: &TestCloud) {
    named(cloud);
    let mut devices: Vec<Value> =
        (0..204).map(|n| json!({"product_id": "EvolhYPyZNWYP001", "device_id": format!("many{n:04}")})).collect();
    devices[203]["disabled"] = json!(true);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
}

fn lists_things(path: &str) {
    let cloud = TestCloud::start();
    many(&cloud);
    let app = cloud.aliyun();
    let names = |more: Value| -> Vec<String> {
        let mut params = json!({"productKey": "a1FNS8TYhpQ"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let rows = app.data(path, params);
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(json!({})).len(), 20);
    assert_eq!(names(json!({"pageSize": 1}))[0], "VD_plug");
    let pages = [names(json!({"pageSize": 200})), names(json!({"pageSize": "200", "currentPage": "2"}))];
    assert_eq!((pages[0].len(), pages[1].len()), (200, 5));
    assert!(pages[1].iter().all(|name| !pages[0].contains(name)));
    assert_eq!(
        names(json!({"pageSize": 3, "currentPage": 69})),
        names(json!({"pageSize": 200, "currentPage": 2}))[4..]
    );
    assert_eq!(names(json!({"currentPage": 100})), Vec::<String>::new());
    // By state.
    assert_eq!(names(json!({"status": 8})), ["many0203"]);
    assert_eq!(names(json!({"status": 1})), Vec::<String>::new());
    assert_eq!(names(json!({"status": 0, "pageSize": 100, "currentPage": 3})).len(), 4);
    for (params, code) in [
        (json!({}), 460),
        (json!({"productKey": "a1FNS8TYhpQ", "pageSize": 201}), 460),
        (json!({"productKey": "a1FNS8TYhpQ", "pageSize": 0}), 460),
        (json!({"productKey": "a1FNS8TYhpQ", "currentPage": 0}), 460),
        (json!({"productKey": "a1FNS8TYhpQ", "status": 2}), 460),
        (json!({"productKey": "nothing"}), 2000),
    ] {
        assert_eq!(app.code(path, params.clone()), code, "{params}");
    }
    assert_eq!(cloud.other_aliyun().code(path, json!({"productKey": "a1FNS8TYhpQ"})), 2000, "another tenant's product");
}

#[test]
fn things() {
    lists_things("/cloud/things/get");
}

#[test]
fn things_info() {
    lists_things("/cloud/things/info/get");
}

#[test]
fn thing_tsl() {
    let cloud = TestCloud::start();
    named(&cloud);
    cloud.apply(&json!({"projects": [{"name": "first", "products": [{"product_id": "EvolhYPyZNWYP001",
        "name": "Wi-Fi 智能计量插座", "category": "cz", "functions": [
            {"code": "switch_1", "type": "Boolean", "name": "Switch"},
            {"code": "cur_power", "type": "Integer", "values": {"min": 0, "max": 50000, "unit": "W"}, "access": "ro"},
            {"code": "ir_send", "type": "String", "access": "wo"}]}]}]}));
    let app = cloud.aliyun();
    let path = "/cloud/thing/tsl/get";
    let tsl = app.data(path, plug());
    assert_eq!(tsl["profile"], json!({"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"}));
    assert_eq!(tsl["link"], "/sys/a1FNS8TYhpQ/VD_plug/thing/");
    assert!(tsl["schema"].is_string());
    assert_eq!(
        tsl["properties"][0],
        json!({"identifier": "switch_1", "name": "Switch", "required": false,
        "accessMode": "rw", "dataType": {"type": "bool", "specs": {"0": "false", "1": "true"}}})
    );
    assert_eq!(tsl["properties"][1]["accessMode"], "r");
    assert_eq!(tsl["properties"][1]["dataType"]["specs"]["max"], "50000");
    assert_eq!(tsl["properties"][2]["accessMode"], "w");
    let service = |name: &str| {
        tsl["services"].as_array().unwrap().iter().find(|service| service["identifier"] == name).unwrap().clone()
    };
    let inputs = |service: Value| -> Vec<String> {
        service["inputData"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| input["identifier"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(inputs(service("set")), ["switch_1", "ir_send"]);
    assert_eq!(service("get")["inputData"], json!(["switch_1", "cur_power"]));
    assert_eq!(tsl["events"][0]["method"], "thing.event.property.post");
    refuses_other_devices(&cloud, path, json!({}));
}
