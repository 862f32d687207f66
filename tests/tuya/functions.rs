//! What devices can do and report (contract tuya §4.2).

use serde_json::{Value, json};

use super::status::batches;
use crate::support::TestCloud;
use crate::support::world::{DUMB, FOREIGN, PLUG, SCALE};

/// The plug with one function of each kind that matters.
fn cloud() -> TestCloud {
    let cloud = TestCloud::start();
    cloud.apply(&json!({"projects": [{"name": "first", "products": [{"product_id": "EvolhYPyZNWYP001", "name": "Plug",
        "category": "cz", "functions": [
            {"code": "on", "type": "Boolean", "name": "Switch"},
            {"code": "dim", "type": "Integer", "dp_id": 22, "values": {"min": 10, "max": 20}},
            {"code": "seen", "type": "Boolean", "access": "ro"}, {"code": "go", "type": "Enum", "access": "wo",
             "values": {"range": ["a"]}}]}]}]}));
    let name = cloud.first().put(&format!("/v1.0/devices/{PLUG}/functions/on"), json!({"name": "左"}));
    assert_eq!(name["result"], true);
    cloud
}

fn refuses(cloud: &TestCloud, path: impl Fn(&str) -> String) {
    for (id, code) in [(DUMB, 2003), (FOREIGN, 1106), ("nobody", 1106)] {
        assert_eq!(cloud.first().get(&path(id))["code"], code, "{}", path(id));
    }
    assert_eq!(cloud.second().get(&path(PLUG))["code"], 1106);
}

fn expected() -> Value {
    json!({"category": "cz", "functions": [
        {"code": "on", "desc": "Switch", "name": "左", "type": "Boolean", "values": "{}"},
        {"code": "dim", "desc": "dim", "name": "dim", "type": "Integer", "values": "{\"min\":10,\"max\":20}"},
        {"code": "go", "desc": "go", "name": "go", "type": "Enum", "values": "{\"range\":[\"a\"]}"}]})
}

/// Values are texts whose members have no order.
fn parsed(mut answer: Value) -> Value {
    for list in ["functions", "status"] {
        for row in answer[list].as_array_mut().into_iter().flatten() {
            row["values"] = serde_json::from_str(row["values"].as_str().unwrap()).unwrap();
        }
    }
    answer
}

#[test]
fn functions() {
    let cloud = cloud();
    let answer = cloud.first().get(&format!("/v1.0/devices/{PLUG}/functions"))["result"].clone();
    assert_eq!(parsed(answer), parsed(expected()));
    refuses(&cloud, |id| format!("/v1.0/devices/{id}/functions"));
}

#[test]
fn iot03_functions() {
    let cloud = cloud();
    let answer = cloud.first().get(&format!("/v1.0/iot-03/devices/{PLUG}/functions"))["result"].clone();
    assert_eq!(parsed(answer), parsed(expected()));
    refuses(&cloud, |id| format!("/v1.0/iot-03/devices/{id}/functions"));
}

#[test]
fn devices_functions() {
    let cloud = cloud();
    let path = "/v1.0/devices/functions";
    let answer = cloud.first().get(&format!("{path}?device_ids={PLUG},{SCALE}"))["result"].clone();
    let plugs = answer.as_array().unwrap().iter().find(|row| row["category"] == "cz").unwrap();
    assert_eq!((&plugs["product_id"], &plugs["devices"]), (&json!("EvolhYPyZNWYP001"), &json!([PLUG])));
    assert_eq!((plugs["functions"].as_array().unwrap().len(), &plugs["functions"][0]["name"]), (3, &json!("左")));
    batches(&cloud, path, |result| {
        result.as_array().unwrap().iter().map(|row| row["devices"].as_array().unwrap().len()).sum()
    });
}

#[test]
fn category_functions() {
    let cloud = cloud();
    let answer = cloud.first().get("/v1.0/functions/cz")["result"].clone();
    assert_eq!((&answer["category"], answer["functions"].as_array().unwrap().len()), (&json!("cz"), 3));
    for category in ["nothing", "dj", "a%2Fb"] {
        assert_eq!(cloud.first().get(&format!("/v1.0/functions/{category}"))["code"], 2003, "{category}");
    }
    assert_eq!(cloud.second().get("/v1.0/functions/cz")["code"], 2003, "another project's products");
}

#[test]
fn iot03_category_functions() {
    let cloud = cloud();
    let answer = cloud.first().get("/v1.0/iot-03/categories/cz/functions")["result"].clone();
    assert_eq!(answer["functions"].as_array().unwrap().len(), 3);
    assert_eq!(cloud.first().get("/v1.0/iot-03/categories/nothing/functions")["code"], 2003);
}

fn codes(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["code"].as_str().unwrap()).collect()
}

#[test]
fn specifications() {
    let cloud = cloud();
    let answer = cloud.first().get(&format!("/v1.0/devices/{PLUG}/specifications"))["result"].clone();
    assert_eq!(
        (codes(&answer["functions"]), codes(&answer["status"])),
        (vec!["on", "dim", "go"], vec!["on", "dim", "seen"])
    );
    assert_eq!(answer["functions"][0], json!({"code": "on", "type": "Boolean", "values": "{}"}));
    refuses(&cloud, |id| format!("/v1.0/devices/{id}/specifications"));
}

#[test]
fn specifications_with_points() {
    let cloud = cloud();
    let answer = cloud.first().get(&format!("/v1.1/devices/{PLUG}/specifications"))["result"].clone();
    let row = |n: usize| (answer["status"][n]["dp_id"].clone(), answer["status"][n]["name"].clone());
    assert_eq!(
        (row(0), row(1), row(2)),
        ((json!(1), json!("左")), (json!(22), json!("dim")), (json!(3), json!("seen")))
    );
    refuses(&cloud, |id| format!("/v1.1/devices/{id}/specifications"));
}

#[test]
fn iot03_specification() {
    let cloud = cloud();
    let answer = cloud.first().get(&format!("/v1.0/iot-03/devices/{PLUG}/specification"))["result"].clone();
    assert_eq!((codes(&answer["functions"]).len(), codes(&answer["status"]).len()), (3, 3));
    refuses(&cloud, |id| format!("/v1.0/iot-03/devices/{id}/specification"));
}
