//! TuyaLink's topics (contract tuya §6.3).

use serde_json::{Value, json};

use super::{SECRET, cloud, log, tuya_plug, value};
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink, with_gateway};
use crate::support::world::PLUG;

/// A connected device that receives everything.
fn listening(cloud: &TestCloud, id: &str, secret: &str) -> MqttDevice {
    let mut device = MqttDevice::connect(cloud, &tuyalink(id, secret));
    assert_eq!(device.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
    device
}

/// Code and data of the answer to a message.
fn ask(device: &mut MqttDevice, id: &str, below: &str, data: &Value) -> (i64, Value) {
    let message = json!({"msgId": "45lkj3551234001", "sys": {"ack": 1}, "data": data});
    let (topic, answer) = device.asked(&format!("tylink/{id}/{below}"), &message);
    let expected = match below.strip_suffix("/request") {
        Some(asked) => format!("tylink/{id}/{asked}/response"),
        None => format!("tylink/{id}/{below}_response"),
    };
    assert_eq!((topic, &answer["msgId"]), (expected, &json!("45lkj3551234001")));
    assert!(answer["time"].as_i64().unwrap() > 1_700_000_000_000);
    (answer["code"].as_i64().unwrap(), answer["data"].clone())
}

#[test]
fn an_unknown_code_is_kept_and_counted() {
    let cloud = cloud();
    let mut plug = listening(&cloud, PLUG, SECRET);
    let data = json!({"mode": "white", "switch_1": false, "cur_power": 9, "other": {"value": {"a": 1}}});
    assert_eq!(ask(&mut plug, PLUG, "thing/property/report", &data).0, 0);
    assert_eq!((value(&cloud, "mode"), value(&cloud, "cur_power")), (json!("white"), json!(9)));
    assert_eq!(value(&cloud, "other"), r#"{"a":1}"#);
    let metrics = cloud.metrics();
    assert!(metrics.contains("ingle_unknown_codes_total 1"), "{metrics}");
}

#[test]
fn the_model_is_given() {
    let cloud = cloud();
    let mut plug = listening(&cloud, PLUG, SECRET);
    let (code, model) = ask(&mut plug, PLUG, "thing/model/get", &json!({"format": "simple"}));
    assert_eq!((code, &model["modelId"]), (0, &json!("EvolhYPyZNWYP001")));
    let properties = model["services"][0]["properties"].clone();
    assert_eq!(
        properties[0],
        json!({"abilityId": 1, "code": "switch_1", "name": "switch_1", "description": "", "accessMode": "rw",
            "typeSpec": {"type": "bool"}})
    );
    assert_eq!(properties[2]["typeSpec"], json!({"type": "enum", "range": ["white", "colour"]}));
}

#[test]
fn events_and_batches() {
    let cloud = cloud();
    let mut plug = listening(&cloud, PLUG, SECRET);
    let now = cloud.now_ms();
    let boom = json!({"eventCode": "boom", "eventTime": now, "outputParams": {"loud": 7}});
    assert_eq!(ask(&mut plug, PLUG, "thing/event/trigger", &boom).0, 0);
    assert_eq!(ask(&mut plug, PLUG, "thing/event/trigger", &json!({"eventTime": now})).0, 1002);
    assert_eq!(ask(&mut plug, PLUG, "thing/event/trigger", &json!([])).0, 1003);
    assert_eq!(value(&cloud, "boom"), Value::Null, "an event is no value");
    assert_eq!(log(&cloud), [3, 1], "and has no number in this vendor's log");
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "boom"});
    let events = cloud.aliyun().data("/cloud/thing/event/timeline/get", there);
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&events["items"][0]["eventCode"], &events["items"][0]["eventBody"]),
        (&json!("boom"), &json!("{\"loud\":7}"))
    );

    let batch = json!({"properties": {"cur_power": {"value": 3, "time": now}},
        "events": {"boom": {"outputParams": {}, "eventTime": now}}});
    assert_eq!(ask(&mut plug, PLUG, "thing/data/batch_report", &batch).0, 0);
    // As one of the vendor's demos sends it.
    let nested =
        json!({"msgId": "1", "time": now, "data": {"properties": {"cur_power": {"value": 4, "time": now + 1}}}});
    assert_eq!(ask(&mut plug, PLUG, "thing/data/batch_report", &nested).0, 0);
    assert_eq!(value(&cloud, "cur_power"), 4);
    let point = |n: i64| json!({"value": n, "time": now - 1000 + n});
    let history = json!({"properties": {"cur_power": (0..500).map(point).collect::<Vec<_>>()}});
    assert_eq!(ask(&mut plug, PLUG, "thing/data/history_report", &history).0, 0);
    assert_eq!(
        (value(&cloud, "cur_power"), cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["success"].clone()),
        (json!(4), json!(true))
    );
    let long = json!({"properties": {"cur_power": (0..600).map(point).collect::<Vec<_>>()}});
    assert_eq!(ask(&mut plug, PLUG, "thing/data/history_report", &long).0, 1002);
    let subs: Vec<Value> = (0..21).map(|n| json!({"deviceId": n.to_string(), "properties": {}})).collect();
    assert_eq!(ask(&mut plug, PLUG, "thing/data/batch_report", &json!({"subDevices": subs})).0, 2123);
    let mine = json!({"properties": {"cur_power": {"value": 5, "time": now + 2}},
        "subDevices": [{"deviceId": "nobody", "properties": {"a": {"value": 1}}}]});
    assert_eq!(ask(&mut plug, PLUG, "thing/data/batch_report", &mine).0, 2121, "its own part is kept");
    assert_eq!(value(&cloud, "cur_power"), 5);
    let bad = json!({"subDevices": [{"deviceId": "nobody", "properties": {"a": {"value": 1}}}]});
    assert_eq!(ask(&mut plug, PLUG, "thing/data/batch_report", &bad).0, 2122);
    assert_eq!(ask(&mut plug, PLUG, "thing/data/batch_report", &json!({"properties": 1})).0, 1002);
}

#[test]
fn desired_values_are_sent_or_requested() {
    let cloud = cloud();
    let app = cloud.first();
    let path = format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired");
    let setpoint =
        |properties: Value, kind: i64| app.post(&path, json!({"properties": properties, "duration": 60, "type": kind}));
    assert_eq!(setpoint(json!({"mode": "colour"}), 1)["success"], true);
    assert_eq!(setpoint(json!({"switch_1": true}), 0)["success"], true);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert!(plug.pings(), "nothing comes before it listens");
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    let (topic, received) = plug.message();
    assert_eq!((topic, &received["data"]), (format!("tylink/{PLUG}/thing/property/set"), &json!({"mode": "colour"})));
    let asked = json!({"properties": {"switch_1": {"version": 1, "value": true}}});
    for data in [json!(["switch_1", "mode"]), json!({"properties": ["switch_1"]}), Value::Null] {
        assert_eq!(ask(&mut plug, PLUG, "thing/property/desired/get", &data), (0, asked.clone()), "{data}");
    }
    let stale = json!({"properties": {"switch_1": {"version": 7}}});
    assert_eq!(ask(&mut plug, PLUG, "thing/property/desired/delete", &stale).0, 0);
    assert_eq!(ask(&mut plug, PLUG, "thing/property/desired/get", &Value::Null).1, asked, "a newer setpoint stays");
    let done = json!({"properties": {"switch_1": {"version": 1}}});
    assert_eq!(ask(&mut plug, PLUG, "thing/property/desired/delete", &done).0, 0);
    assert_eq!(ask(&mut plug, PLUG, "thing/property/desired/get", &Value::Null).1, json!({"properties": {}}));
    assert_eq!(ask(&mut plug, PLUG, "thing/property/desired/get", &json!([1])).0, 1002);
}

#[test]
fn tags_firmware_time_and_what_is_not_kept_here() {
    let cloud = cloud();
    let mut plug = listening(&cloud, PLUG, SECRET);
    let tags = json!([{"key": "room", "value": "kitchen"}, {"key": "floor", "value": 2}]);
    assert_eq!(ask(&mut plug, PLUG, "device/tag/report", &tags).0, 0);
    let kept = json!([{"key": "floor", "value": "2"}, {"key": "room", "value": "kitchen"}]);
    assert_eq!(ask(&mut plug, PLUG, "device/tag/get", &json!([])), (0, kept.clone()));
    assert_eq!(ask(&mut plug, PLUG, "device/tag/get", &json!(["room", "x"])), (0, json!([kept[1]])));
    assert_eq!(ask(&mut plug, PLUG, "device/tag/get", &json!({})).0, 1002);
    assert_eq!(ask(&mut plug, PLUG, "device/tag/delete", &json!(["floor"])).0, 0);
    assert_eq!(ask(&mut plug, PLUG, "device/tag/get", &Value::Null).1.as_array().unwrap().len(), 1);
    let many: Vec<Value> = (0..128).map(|n| json!({"key": n.to_string(), "value": ""})).collect();
    assert_eq!(ask(&mut plug, PLUG, "device/tag/report", &json!(many)).0, 1002, "bounded: there is one already");
    assert_eq!(ask(&mut plug, PLUG, "device/tag/report", &json!([{"key": "", "value": ""}])).0, 1002);
    assert_eq!(ask(&mut plug, PLUG, "device/tag/report", &Value::Null).0, 1003);

    let report = |version: &str| {
        json!({"msgId": "1", "time": 1, "data": {"bizType": "UPDATE", "pid": "x",
            "otaChannel": [{"channel": 0, "version": version}, {"channel": 9, "version": "1.0.0"}]}})
    };
    let topic = format!("tylink/{PLUG}/ota/firmware/report");
    for version in ["1.0.0", "1.0.0", "1.0.1"] {
        assert!(plug.published(&topic, &report(version)) && plug.pings());
    }
    assert_eq!(log(&cloud), [3, 1, 6, 6, 6], "each change once");
    assert_eq!(ask(&mut plug, PLUG, "ota/get", &json!({})), (0, json!({})));
    assert_eq!(ask(&mut plug, PLUG, "ext/config/get", &json!({})), (0, json!({})));
    assert_eq!(ask(&mut plug, PLUG, "ext/file/upload/request", &json!({})).0, 1001);
    let (code, time) = ask(&mut plug, PLUG, "ext/time/request", &json!({"bizType": "NTP", "dst": 5}));
    assert_eq!((code, &time["dst"]), (0, &json!(5)));
    assert!(time["srt"].as_i64().unwrap() > 1_700_000_000_000 && time["sst"].is_i64());
    assert_eq!(ask(&mut plug, PLUG, "ext/time/request", &json!({"bizType": "DST", "timezoneId": "x"})).0, 1002);
    // Taken and left at that.
    for below in ["ota/progress/report", "channel/raw/up", "channel/rpc/request", "thing/property/set_response"] {
        assert!(plug.published(&format!("tylink/{PLUG}/{below}"), &json!({"data": {}})) && plug.pings(), "{below}");
    }
}

#[test]
fn a_gateway_speaks_for_the_devices_behind_it() {
    let cloud = cloud();
    with_gateway(&cloud);
    let app = cloud.first();
    let online = |id: &str| app.get(&format!("/v1.0/devices/{id}"))["result"]["online"].clone();
    let mut gate = listening(&cloud, "gate1", "secret-of-gate1");
    let report = json!({"msgId": "1", "sys": {"ack": 1}, "data": {"temp": 21}});
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1", "temp2"])).0, 0);
    assert_eq!((online("temp1"), online("temp2"), online("temp3")), (json!(true), json!(true), json!(false)));
    assert_eq!(gate.asked("tylink/temp1/thing/property/report", &report).1["code"], 0);
    let batch = json!({"subDevices": [{"deviceId": "temp1", "properties": {"temp": 22}}, {"deviceId": "temp2", "properties": {"temp": 5}}]});
    assert_eq!(ask(&mut gate, "gate1", "thing/data/batch_report", &batch).0, 0);
    let status = |id: &str| app.reported(id);
    assert_eq!(
        (status("temp1"), status("temp2")),
        (json!([{"code": "temp", "value": 22}]), json!([{"code": "temp", "value": 5}]))
    );
    // A command for one of them comes down to the gateway.
    let command = json!({"commands": [{"code": "temp", "value": 3}]});
    assert_eq!(app.post("/v1.0/devices/temp1/commands", command.clone())["result"], true);
    let (topic, received) = gate.message();
    assert_eq!((topic.as_str(), &received["data"]), ("tylink/temp1/thing/property/set", &json!({"temp": 3})));
    assert_eq!(app.post("/v1.0/devices/temp3/commands", command)["code"], 2001);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/logout", &json!(["temp2"])).0, 0);
    assert_eq!(online("temp2"), false);
    // Somebody takes one from its users: the gateway no longer stands for it.
    assert_eq!(app.delete("/v1.0/devices/temp1")["result"], true);
    assert_ne!(gate.asked("tylink/temp1/thing/property/report", &report).1["code"], 0);
    let mut gate = listening(&cloud, "gate1", "secret-of-gate1");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp2"])).0, 0);
    gate.break_off();
    assert_eq!(online("temp2"), false);
}

#[test]
fn what_is_behind_a_gateway() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut gate = listening(&cloud, "gate1", "secret-of-gate1");
    let ids = |answer: &Value| -> Vec<String> {
        answer.as_array().unwrap().iter().map(|sub| sub["deviceId"].as_str().unwrap().to_owned()).collect()
    };
    let behind = |gate: &mut MqttDevice| ids(&ask(gate, "gate1", "device/topo/get", &Value::Null).1);
    assert_eq!(behind(&mut gate), ["temp1", "temp2"]);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp3"])).0, 1004, "behind another, or none");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["nobody"])).0, 1004);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!([PLUG])).0, 1004);
    let proof = |id: &str, product: &str, secret: &str| {
        let sign = crate::support::mqtt::signed(secret, &format!("deviceId{id}productId{product}timestamp1"));
        json!([{"productId": product, "deviceId": id, "sign": sign, "signMethod": "hmacSha256", "timestamp": "1"}])
    };
    let product = "sensors000000001";
    assert_eq!(ask(&mut gate, "gate1", "device/topo/add", &proof("temp3", product, "secret-of-temp2")).0, 1002);
    assert_eq!(ask(&mut gate, "gate1", "device/topo/add", &proof("nobody", product, "secret-of-temp2")).0, 1002);
    assert_eq!(ask(&mut gate, "gate1", "device/topo/add", &proof(PLUG, product, SECRET)).0, 1004, "no sub-device");
    assert_eq!(ask(&mut gate, "gate1", "device/topo/add", &proof("temp3", product, "secret-of-temp3")).0, 0);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp3"])).0, 0);
    assert_eq!(ask(&mut gate, "gate1", "device/topo/delete", &json!(["temp3"])).0, 0);
    assert_eq!(ask(&mut gate, "gate1", "device/topo/delete", &json!(["temp3"])).0, 1004);
    assert_eq!(behind(&mut gate), ["temp1", "temp2"]);

    // It names devices of its own: each gets an id once, the gateway's owner has it.
    let named = json!([{"productId": product, "clientId": "cellar-7", "nodeId": "0x7"}]);
    let (code, bound) = ask(&mut gate, "gate1", "device/sub/bind", &named);
    assert_eq!((code, &bound[0]["clientId"], &bound[0]["productId"]), (0, &json!("cellar-7"), &json!(product)));
    let id = bound[0]["deviceId"].as_str().unwrap().to_owned();
    assert_eq!(ask(&mut gate, "gate1", "device/sub/bind", &named).1[0]["deviceId"], json!(id));
    let seen = cloud.first().get(&format!("/v1.0/devices/{id}"))["result"].clone();
    assert_eq!(
        (&seen["gateway_id"], &seen["node_id"], &seen["uid"]),
        (&json!("gate1"), &json!("0x7"), &json!(crate::support::world::OWNER))
    );
    assert_eq!(cloud.second().get(&format!("/v1.0/devices/{id}"))["code"], 1106);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!([id])).0, 0);
    for (product, name) in [
        ("othersensors0001", "cellar-8"),
        ("EvolhYPyZNWYP001", "cellar-8"),
        ("nothing", "cellar-8"),
        (product, ""),
        (product, "a/b"),
        (product, "temp2/+"),
    ] {
        let named = json!([{"productId": product, "clientId": name}]);
        assert_eq!(ask(&mut gate, "gate1", "device/sub/bind", &named).0, 1004, "{product} {name}");
    }
    // Another gateway cannot take it, nor what is no gateway have any.
    let mut other = listening(&cloud, "gate2", "secret-of-gate2");
    assert_eq!(ask(&mut other, "gate2", "device/sub/bind", &named).0, 1004);
    assert_eq!(ask(&mut other, "gate2", "device/sub/login", &json!([id])).0, 1004);
    let mut plug = listening(&cloud, PLUG, SECRET);
    assert_eq!(ask(&mut plug, PLUG, "device/sub/bind", &named).0, 1004);
    assert_eq!(ask(&mut plug, PLUG, "device/topo/add", &proof("temp3", product, "secret-of-temp3")).0, 1004);
}
