//! Whose a device is, over its sessions: what one tenant, owner, gateway or stranger must not get of another's.

use serde_json::{Value, json};

use super::{cloud, device, tuya_plug};
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, linkkit, packet, tuyalink, with_gateway};
use crate::support::world::{FIRST_ID, PLUG};

/// A gateway with two sub-devices, whose owner is a user of the first project.
fn gateways() -> TestCloud {
    let cloud = cloud();
    with_gateway(&cloud);
    cloud
}

fn connected(cloud: &TestCloud, id: &str) -> MqttDevice {
    let mut device = MqttDevice::connect(cloud, &tuyalink(id, &format!("secret-of-{id}")));
    assert_eq!(device.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
    device
}

fn ask(device: &mut MqttDevice, id: &str, below: &str, data: &Value) -> i64 {
    let message = json!({"msgId": "1", "sys": {"ack": 1}, "data": data});
    device.asked(&format!("tylink/{id}/{below}"), &message).1["code"].as_i64().unwrap()
}

/// Gives a device of the first project to the second project's user.
fn give_away(cloud: &TestCloud, product: &str, id: &str) {
    let devices = json!([{"product_id": product, "device_id": id, "owner": "other@example.com"}]);
    cloud.apply(&json!({"projects": [{"name": "second", "devices": devices}]}));
}

#[test]
fn a_gateway_loses_a_device_with_its_owner() {
    let cloud = gateways();
    let mut gate = connected(&cloud, "gate1");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1"])), 0);
    let app = cloud.first();
    assert_eq!(app.put("/v1.0/devices/temp1/reset-factory", json!({}))["result"], true);
    give_away(&cloud, "sensors000000001", "temp1");
    let report = json!({"temp": 13});
    assert_eq!(ask(&mut gate, "temp1", "thing/property/report", &report), 1004);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1"])), 1004);
    assert_eq!(
        ask(&mut gate, "gate1", "device/sub/bind", &json!([{"productId": "sensors000000001", "clientId": "temp1"}])),
        1004
    );
    assert_eq!(cloud.second().reported("temp1"), json!([]));
    assert_eq!(
        cloud.second().post("/v1.0/devices/temp1/commands", json!({"commands": [{"code": "temp", "value": 1}]}))["code"],
        2001
    );
}

#[test]
fn a_gateway_does_not_get_another_owners_device_by_its_name() {
    let cloud = gateways();
    let owned = |owner: &str| {
        let devices = json!([{"product_id": "sensors000000001", "device_id": "temp3", "owner": owner}]);
        cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    };
    let mut gate = connected(&cloud, "gate1");
    let named = json!([{"productId": "sensors000000001", "clientId": "temp3"}]);
    let key = json!({"id": "1", "params": [{"productKey": "a1sensor", "deviceName": "temp3"}]});
    owned("guest@example.com");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/bind", &named), 1004, "somebody else's");
    let mut alink = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ",_ss=1"));
    assert_eq!(alink.asked("/sys/a1gate/gate1/thing/sub/register", &key).1["code"], 6100);
    owned("18200000678");
    assert_eq!(alink.asked("/sys/a1gate/gate1/thing/sub/register", &key).1["code"], 200, "its own owner's");
    let mut gate = connected(&cloud, "gate1");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/bind", &named), 0);
}

#[test]
fn what_a_gateway_makes_is_counted_even_when_it_lets_go() {
    let cloud = gateways();
    let mut gate = connected(&cloud, "gate1");
    let mut made = 0;
    loop {
        let names = |n: i32| json!({"productId": "sensors000000001", "clientId": format!("m{n}")});
        let list: Vec<Value> = (made..made + 100).map(names).collect();
        let message = json!({"msgId": "1", "sys": {"ack": 1}, "data": list});
        let answer = gate.asked("tylink/gate1/device/sub/bind", &message).1;
        if answer["code"] != 0 {
            break;
        }
        made += 100;
        assert!(made <= 1000, "more than a thousand");
        let ids: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|sub| &sub["deviceId"]).collect();
        assert_eq!(ask(&mut gate, "gate1", "device/topo/delete", &json!(ids)), 0);
    }
    assert_eq!(made, 900, "two were behind it before, and the last hundred has no room");
}

#[test]
fn a_desired_value_ends_with_its_owner() {
    let cloud = gateways();
    let setpoint = json!({"properties": {"switch_1": true}, "duration": 3600});
    let app = cloud.first();
    assert_eq!(app.post(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired"), setpoint)["success"], true);
    assert_eq!(app.delete(&format!("/v1.0/devices/{PLUG}"))["result"], true);
    give_away(&cloud, "EvolhYPyZNWYP001", PLUG);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    assert!(plug.pings(), "nothing was sent");
    // While it is connected a setpoint is a command, to a sub-device when its gateway comes; and there is no end of room.
    let second = cloud.second();
    let setpoint = json!({"properties": {"cur_power": 5}, "duration": 3600});
    assert_eq!(second.post(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired"), setpoint)["success"], true);
    assert_eq!(plug.message().1["data"], json!({"cur_power": 5}));
    let setpoint = json!({"properties": {"temp": 5}, "duration": 3600});
    assert_eq!(app.post("/v2.0/cloud/thing/temp1/shadow/properties/desired", setpoint)["success"], true);
    let mut gate = connected(&cloud, "gate1");
    let login = json!({"msgId": "1", "data": ["temp1"]});
    let (topic, received) = gate.asked("tylink/gate1/device/sub/login", &login);
    assert_eq!((topic.as_str(), &received["data"]), ("tylink/temp1/thing/property/set", &json!({"temp": 5})));
}

#[test]
fn one_that_is_shut_out_takes_no_other_with_it() {
    let cloud = gateways();
    let mut gate = connected(&cloud, "gate1");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1", "temp2"])), 0);
    let devices = json!([{"product_id": "sensors000000001", "device_id": "temp2", "disabled": true}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    let report = json!({"temp": 1});
    assert_eq!(ask(&mut gate, "temp2", "thing/property/report", &report), 1004);
    assert_eq!(ask(&mut gate, "temp1", "thing/property/report", &report), 0);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp2", "temp1"])), 1004, "and the other is in");
    assert_eq!(ask(&mut gate, "temp1", "thing/property/report", &report), 0);
}

#[test]
fn a_session_ends_with_what_proved_it() {
    let cloud = gateways();
    let apply = |devices: Value| cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    apply(json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "secret": "5c1e2d3f4a5b6c7d"}]));
    assert!(plug.pings(), "the same secret");
    apply(json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "secret": "another-secret-1"}]));
    assert!(plug.is_closed());
    assert_eq!(device(&cloud)["online"], false);
    // Its product is another thing now, which a session would not know.
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, "another-secret-1"));
    let product = |kind: &str| {
        let functions = json!([{"code": "cur_power", "type": kind}]);
        cloud.apply(&json!({"projects": [{"name": "first", "products": [{"product_id": "EvolhYPyZNWYP001",
            "name": "Plug", "category": "cz", "functions": functions}]}]}))
    };
    product("String");
    assert!(plug.is_closed());
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, "another-secret-1"));
    product("String");
    assert!(plug.pings(), "the same product");
    // Behind another gateway now: the first no longer represents it.
    let mut gate = connected(&cloud, "gate1");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1"])), 0);
    apply(json!([{"product_id": "sensors000000001", "device_id": "temp1", "gateway": "gate2"}]));
    assert_eq!(ask(&mut gate, "temp1", "thing/property/report", &json!({"temp": 1})), 1004);
}

#[test]
fn nobody_learns_which_devices_there_are() {
    let cloud = gateways();
    let mut gate = connected(&cloud, "gate1");
    for id in ["other1", "nobody", PLUG] {
        assert_eq!(ask(&mut gate, "gate1", "device/sub/logout", &json!([id])), 0, "{id}");
        assert_eq!(ask(&mut gate, "gate1", "device/topo/delete", &json!([id])), 1004, "{id}");
    }
    let proof = |id: &str| json!([{"productId": "p", "deviceId": id, "sign": "00", "signMethod": "hmacSha256", "timestamp": "1"}]);
    for id in ["other1", "nobody", PLUG] {
        assert_eq!(ask(&mut gate, "gate1", "device/topo/add", &proof(id)), 1002, "{id}");
    }
    // Nor guesses secrets for ever.
    let message = json!({"msgId": "1", "sys": {"ack": 1}, "data": proof("temp3")});
    let mut guesses = 0;
    while gate.published("tylink/gate1/device/topo/add", &message) {
        gate.message();
        guesses += 1;
        assert!(guesses < 100, "closed after some");
    }
}

/// Resident memory of a server in kilobytes.
fn resident_kb(cloud: &TestCloud) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cloud.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_a_stranger_announces_takes_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[]);
    let before = resident_kb(&cloud);
    // The head of a CONNECT that says it is 260 KiB long.
    let head = [0x10, 0x80, 0xA0, 0x10, 0, 4, b'M', b'Q', b'T', b'T', 4];
    let strangers: Vec<MqttDevice> = (0..500)
        .map(|_| {
            let mut stranger = MqttDevice::open(&cloud);
            stranger.send(&head);
            stranger
        })
        .collect();
    for mut stranger in strangers {
        assert!(stranger.is_closed());
    }
    let grown = resident_kb(&cloud).saturating_sub(before);
    assert!(grown < 30_000, "{grown} kB for 500 strangers");
}

#[test]
fn a_device_that_asks_much_and_reads_nothing_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[]);
    cloud.apply(&crate::support::world::standard());
    crate::support::mqtt::with_secrets(&cloud);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    for n in 0..128 {
        let tags = json!([{"key": format!("k{n}"), "value": "x".repeat(512)}]);
        assert_eq!(ask(&mut plug, PLUG, "device/tag/report", &tags), 0);
    }
    assert_eq!(ask(&mut plug, PLUG, "device/tag/report", &json!([{"key": "k1", "value": "x".repeat(513)}])), 1002);
    let before = resident_kb(&cloud);
    let topic = format!("tylink/{PLUG}/device/tag/get");
    let one = packet(0x30, &[&(topic.len() as u16).to_be_bytes(), topic.as_bytes(), b"{}"].concat());
    for _ in 0..20 {
        plug.send(&one.repeat(200));
    }
    // Meanwhile everybody else is served.
    let app = crate::support::tuya::TuyaApp::new(&cloud, FIRST_ID, crate::support::world::FIRST_SECRET);
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["online"], true);
    let grown = resident_kb(&cloud).saturating_sub(before);
    assert!(grown < 60_000, "{grown} kB");
}
