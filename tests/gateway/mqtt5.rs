//! What MQTT 5 has words for: why a connection ends, why a filter is not granted, what became of a report.

use serde_json::json;

use super::{alink_plug, cloud, publish, tuya_plug};
use crate::support::mqtt::{MqttDevice, connect5, linkkit, packet, text, tuyalink, with_gateway};
use crate::support::world::PLUG;

#[test]
fn the_server_says_why_it_ends_a_connection() {
    let cloud = cloud();
    let who = tuya_plug();
    let own = format!("tylink/{PLUG}/x");
    let publish5 = |first: u8, topic: &str| {
        let id: &[u8] = if first & 6 == 0 { &[] } else { &[0, 1] };
        packet(first, &[&text(topic)[..], id, &[0], b"{}"].concat())
    };
    for (bytes, reason) in [
        (publish5(0x34, &own), 0x9B),
        (publish5(0x32, "tylink/second000000000001/thing/property/report"), 0x90),
        (publish5(0x30, "/sys/a1plug00001/dev001/thing/event/property/post"), 0x90),
        (publish5(0x32, "a/+"), 0x90),
        (connect5(&who, 60, 0xC2, &[]), 0x82),
        (vec![0x20, 2, 0, 0], 0x81),
        (vec![0x30, 0xFF, 0xFF, 0x7F], 0x95),
    ] {
        let mut plug = MqttDevice::connect5(&cloud, &who);
        plug.send(&bytes);
        assert_eq!(plug.dismissed5(), Some(reason), "{bytes:02x?}");
    }
    // What came before is acknowledged first.
    let mut plug = MqttDevice::connect5(&cloud, &who);
    plug.send(&[publish5(0x32, &own), publish5(0x34, &own)].concat());
    assert_eq!(plug.receive().unwrap().0, 0x40);
    assert_eq!(plug.dismissed5(), Some(0x9B));
    // Another connection of the device, by either protocol and version.
    let mut first = MqttDevice::connect5(&cloud, &who);
    let mut second = MqttDevice::connect5(&cloud, &alink_plug());
    assert_eq!(first.dismissed5(), Some(0x8E));
    let mut third = MqttDevice::connect(&cloud, &who);
    assert_eq!(second.dismissed5(), Some(0x8E));
    assert!(third.pings());
    // It says nothing for too long; and it is shut out.
    let mut silent = MqttDevice::open(&cloud);
    silent.send(&connect5(&who, 1, 0xC2, &[]));
    assert_eq!(silent.receive().unwrap().0, 0x20);
    assert_eq!(silent.dismissed5(), Some(0x8D));
    let mut plug = MqttDevice::connect5(&cloud, &who);
    let shut_out = json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "disabled": true}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": shut_out}]}));
    assert_eq!(plug.dismissed5(), Some(0x98));
    // A client that disconnects by itself, or was not accepted, receives nothing more.
    let who = tuyalink("second000000000001", "another-secret-2");
    let mut plug = MqttDevice::connect5(&cloud, &who);
    plug.send(&packet(0xE0, &[]));
    assert!(plug.is_closed());
    let mut plug = MqttDevice::open(&cloud);
    plug.send(&connect5(&tuya_plug(), 60, 0xC2, &[]));
    assert_eq!(plug.receive().unwrap().1[1], 0x87);
    assert!(plug.is_closed());
    // MQTT 3.1.1 has no such word.
    let mut plug = MqttDevice::connect(&cloud, &who);
    plug.send(&publish(0x34, "tylink/second000000000001/x"));
    assert!(plug.is_closed());
}

#[test]
fn a_stopping_server_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = crate::support::TestCloud::binary(&folder.path().join("data"), &[]);
    cloud.apply(&crate::support::world::standard());
    crate::support::mqtt::with_secrets(&cloud);
    let mut plug = MqttDevice::connect5(&cloud, &tuya_plug());
    cloud.stop();
    assert_eq!(plug.dismissed5(), Some(0x8B));
}

#[test]
fn filters_are_refused_with_a_reason() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut gate = MqttDevice::connect5(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ""));
    let reasons = gate.subscribe5(&["/sys/a1gate/gate1/#", "/sys/a1gate/gate1/a#", "/sys/a1gate/gate2/#", "#"]);
    assert_eq!(reasons, [1, 0x8F, 0x87, 0x87]);
    let many: Vec<String> = (0..64).map(|n| format!("/a1gate/gate1/user/{n}")).collect();
    let reasons = gate.subscribe5(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((reasons[62], reasons[63]), (1, 0x97));
    let filters = ["/sys/a1gate/gate1/#", "/sys/a1gate/gate1/x", "/sys/a1gate/gate2/#"];
    let list: Vec<u8> = filters.iter().flat_map(|filter| text(filter)).collect();
    gate.send(&packet(0xA2, &[&[0, 8, 0][..], &list].concat()));
    assert_eq!(gate.receive(), Some((0xB0, vec![0, 8, 0, 0, 0x11, 0x11])));
}
