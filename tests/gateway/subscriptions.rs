//! What devices and gateways subscribe to.

use serde_json::{Value, json};

use super::cloud;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, linkkit, signed, tuyalink, with_gateway};

/// Sub-devices behind the gateway.
const SUBS: usize = 20;

/// A gateway with twenty sub-devices behind it.
fn gateway() -> TestCloud {
    let cloud = cloud();
    with_gateway(&cloud);
    let device = |n: usize| {
        json!({"product_id": "sensors000000001", "device_id": format!("s{n}"),
        "device_name": format!("s{n}"), "secret": format!("secret-of-s{n}"), "gateway": "gate1"})
    };
    let devices: Vec<Value> = (0..SUBS).map(device).collect();
    cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    cloud
}

/// What the answer to a message has, besides the acknowledgement.
fn ask(gate: &mut MqttDevice, topic: &str, params: &Value) -> Value {
    gate.asked(topic, &json!({"id": "1", "params": params})).1
}

fn log_in(gate: &mut MqttDevice, n: usize) {
    let content = format!("clientIdxdeviceNames{n}productKeya1sensortimestamp1");
    let params = json!({"productKey": "a1sensor", "deviceName": format!("s{n}"), "clientId": "x", "timestamp": "1",
        "signMethod": "hmacSha256", "sign": signed(&format!("secret-of-s{n}"), &content)});
    assert_eq!(ask(gate, "/ext/session/a1gate/gate1/combine/login", &params)["code"], 200, "{n}");
}

fn log_out(gate: &mut MqttDevice, n: usize) {
    let params = json!({"productKey": "a1sensor", "deviceName": format!("s{n}")});
    assert_eq!(ask(gate, "/ext/session/a1gate/gate1/combine/logout", &params)["code"], 200, "{n}");
}

fn filters(name: &str, count: usize) -> Vec<String> {
    let more = (1..count).map(|n| format!("/sys/{name}/thing/event/e{n}/post_reply"));
    std::iter::once(format!("/sys/{name}/thing/service/property/set")).chain(more).collect()
}

fn subscribe(gate: &mut MqttDevice, filters: &[String]) -> Vec<bool> {
    gate.subscribe(&filters.iter().map(String::as_str).collect::<Vec<_>>())
}

fn set(cloud: &TestCloud, n: usize) -> Value {
    let body = json!({"commands": [{"code": "temp", "value": n}]});
    cloud.first().post(&format!("/v1.0/devices/s{n}/commands"), body)
}

#[test]
fn a_gateway_subscribes_for_each_of_twenty_sub_devices() {
    let cloud = gateway();
    let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ""));
    // As the vendor's C SDK: 26 of its own.
    let own = filters("a1gate/gate1", 26);
    assert_eq!(subscribe(&mut gate, &own), [true; 26]);
    assert_eq!(subscribe(&mut gate, &["/ext/session/a1gate/gate1/combine/+".to_owned()]), [true]);
    let name = |n: usize| format!("a1sensor/s{n}");
    for n in 0..SUBS {
        assert_eq!(subscribe(&mut gate, &filters(&name(n), 1)), [false], "it does not represent it yet");
        log_in(&mut gate, n);
        assert_eq!(subscribe(&mut gate, &filters(&name(n), 16)), [true; 16], "{n}");
    }
    for n in 0..SUBS {
        assert_eq!(set(&cloud, n)["result"], true);
        assert_eq!(gate.message().0, format!("/sys/a1sensor/s{n}/thing/service/property/set"));
    }
    // It may fill what it may have, for itself and for each; what was granted is granted again, whatever else is refused.
    for (name, count) in [("a1gate/gate1", 64), ("a1sensor/s7", 32)] {
        let granted = subscribe(&mut gate, &filters(name, 100));
        assert!(granted.iter().filter(|granted| **granted).count() <= count, "{name}");
        assert!(granted[..26.min(count)].iter().all(|granted| *granted), "{name}");
        assert_eq!(subscribe(&mut gate, &filters(name, 100)), granted, "{name}");
    }
    assert_eq!(subscribe(&mut gate, &filters(&name(8), 32)), [true; 32], "another's bound is its own");
}

#[test]
fn what_a_sub_device_subscribed_to_ends_with_its_log_out() {
    let cloud = gateway();
    let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ""));
    assert_eq!(subscribe(&mut gate, &["/ext/session/a1gate/gate1/combine/+".to_owned()]), [true]);
    for round in 0..3 {
        for n in 0..SUBS {
            log_in(&mut gate, n);
            let granted = subscribe(&mut gate, &filters(&format!("a1sensor/s{n}/r{round}"), 32));
            assert_eq!(granted, [true; 32], "those of the round before are gone");
            log_out(&mut gate, n);
        }
    }
}

#[test]
fn an_unsubscription_ends_what_it_names() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut gate = MqttDevice::connect(&cloud, &tuyalink("gate1", "secret-of-gate1"));
    let asked = |gate: &mut MqttDevice| {
        let message = json!({"msgId": "1", "sys": {"ack": 1}, "data": {"on": true}});
        assert!(gate.published("tylink/gate1/thing/property/report", &message));
    };
    for filter in ["tylink/gate1/channel/downlink/auto_subscribe", "tylink/gate1/#", "tylink/gate1/thing/+/+"] {
        assert_eq!(gate.subscribe(&[filter]), [true]);
        asked(&mut gate);
        assert_eq!(gate.message().1["code"], 0, "{filter}");
        gate.unsubscribe(&[filter]);
        asked(&mut gate);
        assert!(gate.pings(), "{filter}");
    }
}
