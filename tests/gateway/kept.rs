//! A device that keeps its session receives again after a reconnect, without a SUBSCRIBE (decision 0019).

use serde_json::{Value, json};

use super::{SECRET, cloud, device, publish, tuya_plug};
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, connect5, linkkit, packet, signed, tuyalink, with_gateway, with_secrets};
use crate::support::world::{PLUG, standard};

const SYS: &str = "/sys/a1plug00001/dev001/thing";

fn alink_plug() -> [String; 3] {
    // It subscribes by itself, as the vendor's C SDK and its Node SDK do.
    linkkit("a1plug00001", "dev001", SECRET, "")
}

fn switch(cloud: &TestCloud, id: &str, code: &str) -> Value {
    let body = json!({"commands": [{"code": code, "value": 7}]});
    let answer = cloud.first().post(&format!("/v1.0/devices/{id}/commands"), body);
    if answer["success"] == true { answer["result"].clone() } else { answer["code"].clone() }
}

/// Whether it receives a set, a service and a reply, all of which it never subscribed to on this connection.
fn next_message(cloud: &TestCloud, plug: &mut MqttDevice) {
    assert_eq!(switch(cloud, PLUG, "cur_power"), true);
    assert_eq!(plug.message().0, format!("{SYS}/service/property/set"));
    let (topic, _) = plug.asked(&format!("{SYS}/event/property/post"), &json!({"id": "1", "params": {"cur_power": 1}}));
    assert_eq!(topic, format!("{SYS}/event/property/post_reply"));
    std::thread::scope(|scope| {
        let params = json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "reboot"});
        let call = scope.spawn(|| cloud.aliyun().call("/cloud/thing/service/invoke", params).body);
        let (topic, received) = plug.message();
        assert!(
            plug.published(&format!("{topic}_reply"), &json!({"id": received["id"], "code": 200, "data": {"ok": 1}}))
        );
        assert_eq!(call.join().unwrap()["data"], json!({"ok": 1}));
    });
}

#[test]
fn filters_are_kept_over_a_dropped_connection_and_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = || {
        let cloud = TestCloud::binary(&data, &[]);
        cloud.apply(&standard());
        with_secrets(&cloud);
        cloud
    };
    let cloud = start();
    let (mut plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(!is_present, "there was none before");
    assert_eq!(plug.subscribe(&[&format!("{SYS}/service/+"), &format!("{SYS}/service/property/+")]), [true, true]);
    assert_eq!(
        plug.subscribe(&[&format!("{SYS}/event/+/post_reply"), &format!("{SYS}/event/property/post_reply")]),
        [true, true]
    );
    next_message(&cloud, &mut plug);
    // The connection drops; it goes in order; another takes its place.
    plug.break_off();
    assert_eq!(device(&cloud)["online"], false);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), 2001, "nothing is queued");
    let (mut plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(is_present && plug.pings());
    next_message(&cloud, &mut plug);
    plug.send(&packet(0xE0, &[]));
    assert!(plug.is_closed());
    let (mut plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(is_present);
    next_message(&cloud, &mut plug);
    let (mut other, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(is_present && plug.is_closed());
    next_message(&cloud, &mut other);
    cloud.kill();
    let cloud = start();
    let (mut plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(is_present);
    next_message(&cloud, &mut plug);
    // What it no longer wants is gone the next time too.
    plug.unsubscribe(&[&format!("{SYS}/service/property/+")]);
    cloud.kill();
    let cloud = start();
    let (_plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(is_present);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), 2001);
}

#[test]
fn a_clean_session_forgets() {
    let cloud = cloud();
    let filter = format!("{SYS}/service/property/set");
    let (mut plug, _) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert_eq!(plug.subscribe(&[&filter]), [true]);
    let (mut plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), true);
    assert!(!is_present);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), 2001);
    // What it subscribes to now is not kept either.
    assert_eq!(plug.subscribe(&[&filter]), [true]);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), true);
    let (_plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(!is_present);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), 2001);
}

#[test]
fn the_subscription_to_everything_is_kept_too_and_each_protocol_has_its_own() {
    let cloud = cloud();
    let (mut plug, _) = MqttDevice::resume(&cloud, &tuya_plug(), false);
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    let (mut plug, is_present) = MqttDevice::resume(&cloud, &tuya_plug(), false);
    assert!(is_present);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), true);
    assert_eq!(plug.message().0, format!("tylink/{PLUG}/thing/property/set"));
    let (_plug, is_present) = MqttDevice::resume(&cloud, &alink_plug(), false);
    assert!(!is_present);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), 2001, "it subscribed by the other protocol");
}

#[test]
fn sub_devices_of_a_gateway_receive_again_when_they_log_in() {
    let cloud = cloud();
    with_gateway(&cloud);
    let who = linkkit("a1gate", "gate1", "secret-of-gate1", "");
    let content = "clientIdxdeviceNametemp1productKeya1sensortimestamp1";
    let params = json!({"productKey": "a1sensor", "deviceName": "temp1", "clientId": "x", "timestamp": "1",
        "signMethod": "hmacSha256", "sign": signed("secret-of-temp1", content)});
    let session = |gate: &mut MqttDevice, kind: &str| {
        let topic = format!("/ext/session/a1gate/gate1/combine/{kind}");
        assert_eq!(gate.asked(&topic, &json!({"id": "1", "params": params})).1["code"], 200);
    };
    let (mut gate, _) = MqttDevice::resume(&cloud, &who, false);
    assert_eq!(gate.subscribe(&["/ext/session/a1gate/gate1/combine/+"]), [true]);
    session(&mut gate, "login");
    assert_eq!(gate.subscribe(&["/sys/a1sensor/temp1/thing/service/property/set"]), [true]);
    for _ in 0..2 {
        let (next, is_present) = MqttDevice::resume(&cloud, &who, false);
        gate = next;
        assert!(is_present);
        session(&mut gate, "login");
        assert_eq!(switch(&cloud, "temp1", "temp"), true);
        assert_eq!(gate.message().0, "/sys/a1sensor/temp1/thing/service/property/set");
    }
    // It logs out: that is forgotten, here and the next time.
    session(&mut gate, "logout");
    session(&mut gate, "login");
    assert_eq!(switch(&cloud, "temp1", "temp"), 2001);
    let (mut gate, _) = MqttDevice::resume(&cloud, &who, false);
    session(&mut gate, "login");
    assert_eq!(switch(&cloud, "temp1", "temp"), 2001);
}

#[test]
fn mqtt_5_is_reported_how_long_its_session_lives() {
    let cloud = cloud();
    let who = tuyalink(PLUG, SECRET);
    let filter = format!("tylink/{PLUG}/thing/property/set");
    // Whether there was a session, and for how many seconds this one is kept.
    let greet = |flags: u8, expiry_s: Option<u32>| {
        let mut plug = MqttDevice::open(&cloud);
        let properties = expiry_s.map(|seconds| [&[0x11][..], &seconds.to_be_bytes()].concat()).unwrap_or_default();
        plug.send(&connect5(&who, 60, flags, &properties));
        let (first, rest) = plug.receive().unwrap();
        assert_eq!((first, rest[1]), (0x20, 0));
        // The properties come after their length; this one is sent first or not at all.
        let at = rest[3..].windows(5).find(|property| property[0] == 0x11).unwrap();
        (plug, rest[0] == 1, u32::from_be_bytes(at[1..].try_into().unwrap()))
    };
    let (mut plug, is_present, kept_s) = greet(0xC0, Some(3600));
    assert_eq!((is_present, kept_s), (false, u32::MAX));
    assert_eq!(plug.subscribe5(&[&filter]), [1]);
    drop(plug);
    let (mut plug, is_present, _) = greet(0xC0, Some(3600));
    assert!(is_present);
    assert_eq!(switch(&cloud, PLUG, "cur_power"), true);
    assert_eq!(plug.receive().unwrap().0, 0x30);
    // It takes leave for good.
    plug.send(&packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]));
    assert!(plug.is_closed());
    let (mut plug, is_present, _) = greet(0xC0, Some(3600));
    assert!(!is_present);
    assert_eq!(plug.subscribe5(&[&filter]), [1]);
    drop(plug);
    // A session that goes on and is not to be kept is there for one more connection.
    let (_plug, is_present, kept_s) = greet(0xC0, None);
    assert_eq!((is_present, kept_s), (true, 0));
    assert_eq!(switch(&cloud, PLUG, "cur_power"), true);
    let (mut plug, is_present, _) = greet(0xC0, Some(u32::MAX));
    assert!(!is_present);
    assert_eq!(plug.subscribe5(&[&filter]), [1]);
    drop(plug);
    let (mut plug, is_present, kept_s) = greet(0xC2, Some(60));
    assert_eq!((is_present, kept_s), (false, u32::MAX), "a clean start");
    plug.send(&publish(0x34, "x"));
}
