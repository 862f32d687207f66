//! Devices connect, prove themselves and report.

mod alink;
mod clock;
mod commands;
mod crash;
mod devices_page;
mod fuzz;
mod kept;
mod living_types;
mod mqtt5;
mod off_spec;
mod others;
mod pairing;
mod proxied;
mod refusals;
mod subscriptions;
mod tls;
mod tylink;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, connect, linkkit, packet, tuyalink, with_secrets};
use crate::support::world::PLUG;

pub const SECRET: &str = "5c1e2d3f4a5b6c7d";

pub fn cloud() -> TestCloud {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    cloud
}

pub fn tuya_plug() -> [String; 3] {
    tuyalink(PLUG, SECRET)
}

fn alink_plug() -> [String; 3] {
    linkkit("a1plug00001", "dev001", SECRET, ",_ss=1")
}

fn device(cloud: &TestCloud) -> Value {
    cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"].clone()
}

/// What the plug last reported of a code; null until it has.
fn value(cloud: &TestCloud, code: &str) -> Value {
    reported(cloud, PLUG, code)
}

/// What a device last reported of a code; null until it has.
fn reported(cloud: &TestCloud, id: &str, code: &str) -> Value {
    let points = cloud.first().reported(id);
    points
        .as_array()
        .unwrap()
        .iter()
        .find(|point| point["code"] == code)
        .map_or(Value::Null, |point| point["value"].clone())
}

/// Types of log rows, oldest first.
fn log(cloud: &TestCloud) -> Vec<i64> {
    let end = cloud.now_ms() + 1000;
    let path = format!("/v1.0/devices/{PLUG}/logs?end_time={end}&size=100&start_time=0&type=1,2,3,4,5,6,7,8,9,10");
    let rows = cloud.first().get(&path)["result"]["logs"].clone();
    rows.as_array().unwrap().iter().rev().map(|row| row["event_id"].as_i64().unwrap()).collect()
}

#[test]
fn a_device_of_either_protocol_is_let_in() {
    let cloud = cloud();
    for who in [tuya_plug(), alink_plug()] {
        assert_eq!(device(&cloud)["online"], false);
        let mut plug = MqttDevice::connect(&cloud, &who);
        assert!(plug.pings());
        assert_eq!(device(&cloud)["online"], true);
        plug.break_off();
        assert_eq!(device(&cloud)["online"], false);
    }
    assert_eq!(log(&cloud), [3, 1, 2, 1, 2], "activated once, then on and off twice");
}

#[test]
fn who_is_not_let_in() {
    let cloud = cloud();
    let mut wrong = alink_plug();
    wrong[2] = "00".repeat(32);
    for who in [
        tuyalink(PLUG, "5c1e2d3f4a5b6c7e"),
        tuyalink("nobody", SECRET),
        linkkit("a1plug00001", "dev002", SECRET, ""),
        linkkit("nothing", "dev001", SECRET, ""),
        wrong,
        ["".into(), "".into(), "".into()],
    ] {
        let mut device = MqttDevice::open(&cloud);
        assert_eq!(device.greet(&who), Some(4), "{who:?}");
        assert!(device.is_closed());
    }
    let shut_out = json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "disabled": true}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": shut_out}]}));
    assert_eq!(MqttDevice::open(&cloud).greet(&tuya_plug()), Some(5));
    assert_eq!(log(&cloud), Vec::<i64>::new(), "nobody was there");
}

#[test]
fn a_tuyalink_report_is_kept_before_it_is_acknowledged() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let topic = format!("tylink/{PLUG}/thing/property/report");
    let now = cloud.now_ms();
    let data = json!({"switch_1": {"value": true, "time": now}, "cur_power": 120, "unknown": {"value": [1, null]}});
    assert!(plug.published(&topic, &json!({"msgId": "1", "time": now / 1000, "data": data})));
    assert_eq!((value(&cloud, "switch_1"), value(&cloud, "cur_power")), (json!(true), json!(120)));
    assert_eq!(value(&cloud, "unknown"), "[1,null]", "kept, though the product does not have it");
    // No reply unless it is wanted, and none before it is subscribed to.
    assert!(plug.pings());
    let wanted = json!({"msgId": "2", "time": now, "sys": {"ack": 1}, "data": {"cur_power": 121}});
    assert!(plug.published(&topic, &wanted) && plug.pings());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    assert!(plug.published(&topic, &wanted));
    let (reply, answer) = plug.message();
    assert_eq!((reply, &answer["msgId"], &answer["code"]), (format!("{topic}_response"), &json!("2"), &json!(0)));
    for (data, code) in [
        (json!("x"), 1003),
        (json!({"cur_power": {"value": 1, "time": "soon"}}), 1002),
        (json!({"": 1}), 1002),
        (json!({"cur_power": "x".repeat(20_000)}), 1002),
    ] {
        assert!(plug.published(&topic, &json!({"msgId": "3", "sys": {"ack": 1}, "data": data})));
        assert_eq!(plug.message().1["code"], code, "{data:.60}");
    }
    assert_eq!(value(&cloud, "cur_power"), 121, "nothing of what was refused");
}

#[test]
fn a_linkkit_report_is_read_in_both_worlds() {
    let cloud = cloud();
    // It subscribes to nothing, as the vendor's Python library.
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let topic = "/sys/a1plug00001/dev001/thing/event/property/post";
    let params = json!({"switch_1": 1, "mode": {"value": 1, "time": cloud.now_ms()}, "cur_power": 7});
    let message = json!({"id": "1", "version": "1.0", "params": params, "method": "thing.event.property.post"});
    assert!(plug.published(topic, &message));
    let (reply, answer) = plug.message();
    assert_eq!(reply, format!("{topic}_reply"));
    for (member, value) in
        [("id", json!("1")), ("code", json!(200)), ("data", json!({})), ("message", json!("success"))]
    {
        assert_eq!(answer[member], value, "{member}");
    }
    assert_eq!((value(&cloud, "switch_1"), value(&cloud, "mode")), (json!(true), json!("colour")));
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    let rows = cloud.aliyun().data("/cloud/thing/properties/get", there);
    let row =
        |code: &str| rows.as_array().unwrap().iter().find(|row| row["attribute"] == code).unwrap()["value"].clone();
    assert_eq!((row("switch_1"), row("mode"), row("cur_power")), (json!(1), json!(1), json!(7)));
    // Without a setpoint for a reply there is no reply; an invalid one is refused with a reason.
    assert!(plug.published(topic, &json!({"id": 2, "sys": {"ack": 0}, "params": {"cur_power": 8}})) && plug.pings());
    assert!(plug.published(topic, &json!({"id": 3, "params": [1]})));
    assert_eq!(
        plug.message().1,
        json!({"id": "3", "code": 460, "data": {}, "message": "request parameter error",
        "method": null, "version": "1.0"})
    );
    let id = plug.publish(topic, b"{");
    assert_eq!(plug.receive().unwrap(), (0x40, id.to_be_bytes().to_vec()));
    assert_eq!(plug.message().1["code"], 6207);
    // The time.
    assert!(plug.published("/ext/ntp/a1plug00001/dev001/request", &json!({"deviceSendTime": "5"})));
    let (topic, answer) = plug.message();
    assert_eq!((topic.as_str(), &answer["deviceSendTime"]), ("/ext/ntp/a1plug00001/dev001/response", &json!("5")));
}

#[test]
fn many_reports_at_once_are_all_kept_and_acknowledged_in_order() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let topic = format!("tylink/{PLUG}/thing/property/report");
    let now = cloud.now_ms();
    for n in 1..=60_i64 {
        let data = json!({"cur_power": {"value": n, "time": now - 60 + n}});
        plug.publish(&topic, json!({"msgId": "1", "data": data}).to_string().as_bytes());
    }
    for n in 1..=60_u16 {
        assert_eq!(plug.receive(), Some((0x40, n.to_be_bytes().to_vec())));
    }
    assert_eq!(log(&cloud).iter().filter(|kind| **kind == 7).count(), 60);
    assert_eq!(value(&cloud, "cur_power"), 60);
}

#[test]
fn what_was_said_before_the_end_is_kept() {
    let cloud = cloud();
    let topic = format!("tylink/{PLUG}/thing/property/report");
    let foreign = "tylink/second000000000001/thing/property/report";
    for (n, last) in
        [packet(0xE0, &[]), publish(0x30, foreign), vec![0xF0, 0], connect("", "", "", 60)].iter().enumerate()
    {
        let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
        // Without an acknowledgement, and with one; all in one segment with what ends the session.
        let report = |first: u8, value: usize| {
            let payload = json!({"msgId": "1", "data": {"cur_power": value}}).to_string();
            let id: &[u8] = if first == 0x32 { &[0, 7] } else { &[] };
            packet(first, &[&(topic.len() as u16).to_be_bytes(), topic.as_bytes(), id, payload.as_bytes()].concat())
        };
        plug.send(&[report(0x30, 2 * n), report(0x32, 2 * n + 1), last.clone()].concat());
        assert_eq!(plug.receive(), Some((0x40, vec![0, 7])), "{n}");
        assert!(plug.is_closed());
        assert_eq!(value(&cloud, "cur_power"), 2 * n + 1);
    }
    assert_eq!(log(&cloud).iter().filter(|kind| **kind == 7).count(), 8);
}

/// A PUBLISH of an empty object with id 1, or none in QoS 0.
fn publish(first: u8, topic: &str) -> Vec<u8> {
    let id: &[u8] = if first & 6 == 0 { &[] } else { &[0, 1] };
    packet(first, &[&(topic.len() as u16).to_be_bytes()[..], topic.as_bytes(), id, b"{}"].concat())
}

#[test]
fn topics_of_others_are_closed() {
    let cloud = cloud();
    let report = json!({"msgId": "1", "data": {"switch_1": true}, "params": {"switch_1": 1}, "id": "1"});
    for topic in [
        "tylink/second000000000001/thing/property/report".to_owned(),
        "/sys/a1plug00001/dev001/thing/event/property/post".to_owned(),
        format!("tylink/{PLUG}x/thing/property/report"),
        "tylink//thing/property/report".to_owned(),
        "tylink".to_owned(),
    ] {
        let mut device = MqttDevice::connect(&cloud, &tuya_plug());
        assert!(!device.published(&topic, &report), "{topic}");
    }
    // LinkKit has a word for it, and the device stays.
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    for topic in [
        "/sys/a1plug00001/dev002/thing/event/property/post",
        "/sys/a1plug00001/dev0010/thing/event/property/post",
        "/sys/a1plug00001//thing/event/property/post",
        "/sys/a1plug00001",
        "tylink/27511006b4e62d4b8f21/thing/property/report",
        "/ota/device/inform/a1plug00001/dev002",
        "/shadow/update/a1plug00001/dev002",
        "/ext/session/a1plug00001/dev002/combine/batch_login",
    ] {
        let (received, error) = plug.asked(topic, &report);
        assert_eq!((received.as_str(), &error["code"]), ("/ext/error/a1plug00001/dev001", &json!(6813)), "{topic}");
        assert_eq!(error["data"]["topic"], topic);
    }
    assert_eq!(value(&cloud, "switch_1"), Value::Null, "nothing of it was kept");
    // Its own, but nothing that is known: taken and left at that.
    for (who, topic) in [
        (tuya_plug(), format!("tylink/{PLUG}/")),
        (tuya_plug(), format!("tylink/{PLUG}/thing")),
        (alink_plug(), "/sys/a1plug00001/dev001".to_owned()),
        (alink_plug(), "/ext/rrpc/5/user/x".to_owned()),
        (alink_plug(), "/sys/a1plug00001/dev001/".to_owned()),
        (alink_plug(), "/a1plug00001/dev001".to_owned()),
        (alink_plug(), "/ext/session/a1plug00001/dev001/combine/other".to_owned()),
    ] {
        assert!(MqttDevice::connect(&cloud, &who).published(&topic, &report), "{topic}");
    }
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let own = format!("tylink/{PLUG}/thing/property/report_response");
    let granted = plug.subscribe(&[
        &own,
        &format!("tylink/{PLUG}/#"),
        "#",
        "+/+/thing/property/set",
        "tylink/+/thing/property/set",
        "tylink/second000000000001/#",
        "$SYS/#",
    ]);
    assert_eq!(granted, [true, true, false, false, false, false, false]);
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let granted = plug.subscribe(&[
        "/sys/a1plug00001/dev001/thing/#",
        "/a1plug00001/dev001/user/get",
        "/ota/device/upgrade/a1plug00001/dev001",
        "/sys/a1plug00001/+/thing/#",
        "/ota/device/+/a1plug00001/dev001",
        "/ext/rrpc/+/user/x",
        "/ota/device/+/a1plug00001/+",
        "/ota/device/#",
        "/sys/#",
        "/#",
        "#",
        "+/+/+/+/#",
    ]);
    assert_eq!(granted, [true, true, true, false, true, true, false, false, false, false, false, false]);
    let granted = plug.subscribe(&[
        "/sys/a1plug00001/dev001/a#",
        "/sys/a1plug00001/dev001/+a",
        "/sys/a1plug00001/dev001/thing/a+",
        "/sys/a1plug00001/dev001/#/thing",
        "/sys/a1plug00001/dev001/##",
        "/sys/a1plug00001/dev001/+/#",
    ]);
    assert_eq!(granted, [false, false, false, false, false, true]);
    let many: Vec<String> = (0..100).map(|n| format!("/a1plug00001/dev001/user/{n}")).collect();
    let granted = plug.subscribe(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(granted.iter().filter(|granted| **granted).count() < 64, "bounded");
}

#[test]
fn what_is_no_mqtt_is_closed() {
    let cloud = cloud();
    let who = tuya_plug();
    let hello = connect(&who[0], &who[1], &who[2], 60);
    let topic = format!("tylink/{PLUG}/x");
    // Before a CONNECT.
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xC0, 0],
        &[0xFF; 64],
        &publish(0x32, &topic),
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        let mut device = MqttDevice::open(&cloud);
        device.send(bytes);
        assert!(device.is_closed(), "{bytes:?}");
    }
    // After it.
    for bytes in [
        hello.clone(),
        publish(0x34, &topic),
        publish(0x32, "a/+"),
        publish(0x32, "a/\0"),
        publish(0x32, ""),
        vec![0x20, 2, 0, 0],
        vec![0x32, 1, 0],
        [&[0x30, 0xFF, 0xFF, 0x7F][..], &[0; 100]].concat(),
        vec![0xE0, 0],
    ] {
        let mut device = MqttDevice::connect(&cloud, &who);
        device.send(&bytes);
        assert!(device.is_closed(), "{bytes:?}");
    }
    assert!(MqttDevice::connect(&cloud, &who).pings());
}

#[test]
fn a_second_session_takes_the_place_of_the_first() {
    let cloud = cloud();
    let mut first = MqttDevice::connect(&cloud, &tuya_plug());
    let mut second = MqttDevice::connect(&cloud, &alink_plug());
    assert!(first.is_closed() && second.pings());
    assert_eq!(device(&cloud)["online"], true);
    assert_eq!(log(&cloud), [3, 1, 1], "it was there all the time");
    second.break_off();
    assert_eq!(device(&cloud)["online"], false);
}

#[test]
fn a_device_that_is_removed_is_disconnected() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(cloud.first().delete(&format!("/v1.0/devices/{PLUG}"))["result"], true);
    assert!(plug.is_closed());
}

#[test]
fn a_device_that_is_shut_out_is_disconnected() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let shut_out = json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "disabled": true}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": shut_out}]}));
    assert!(plug.is_closed());
    assert_eq!(MqttDevice::open(&cloud).greet(&tuya_plug()), Some(5));
}

#[test]
fn a_stopped_server_says_goodbye_and_a_killed_one_forgets_presence() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = || {
        let cloud = TestCloud::binary(&data, &[]);
        cloud.apply(&crate::support::world::standard());
        with_secrets(&cloud);
        cloud
    };
    let cloud = start();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let topic = format!("tylink/{PLUG}/thing/property/report");
    assert!(plug.published(&topic, &json!({"msgId": "1", "data": {"cur_power": 1}})));
    cloud.stop();
    assert!(plug.is_closed());
    let cloud = start();
    assert_eq!(log(&cloud), [3, 1, 7, 2]);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert!(plug.published(&topic, &json!({"msgId": "1", "data": {"cur_power": 2}})));
    cloud.kill();
    let cloud = start();
    assert_eq!((device(&cloud)["online"].clone(), value(&cloud, "cur_power")), (json!(false), json!(2)));
}

#[test]
fn retained_messages_wills_and_numbers_that_come_twice() {
    let cloud = cloud();
    let topic = format!("tylink/{PLUG}/thing/property/report");
    let report = |value: i64| json!({"msgId": "1", "data": {"cur_power": value}}).to_string().into_bytes();
    // A will for a topic of another device is never delivered.
    let who = tuya_plug();
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let will = [text("tylink/second000000000001/thing/property/report"), text("{\"data\":{\"cur_power\":7}}")].concat();
    let flags = 0xC2 | 0x04 | 0x20 | 0x08;
    let hello = [&text("MQTT")[..], &[4, flags, 0, 60], &text(&who[0]), &will, &text(&who[1]), &text(&who[2])].concat();
    let mut plug = MqttDevice::open(&cloud);
    plug.send(&packet(0x10, &hello));
    assert_eq!(plug.receive(), Some((0x20, vec![0, 0])));
    // Retained, with the same number twice, and as a duplicate: each is a report like any other.
    for (first, power) in [(0x33, 1), (0x33, 2), (0x3A, 3)] {
        plug.send(&packet(first, &[&text(&topic)[..], &[0, 9], &report(power)].concat()));
        assert_eq!(plug.receive(), Some((0x40, vec![0, 9])));
        assert_eq!(value(&cloud, "cur_power"), power);
    }
    plug.break_off();
    assert_eq!(device(&cloud)["online"], false);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    assert!(plug.pings(), "nothing was retained");
    assert_eq!(cloud.first().reported("second000000000001"), json!([]));
}

/// How many files this process may have open.
fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

#[test]
fn ten_thousand_that_say_nothing_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[]);
    cloud.apply(&crate::support::world::standard());
    with_secrets(&cloud);
    let count = open_files_max().saturating_sub(1000).min(10_000);
    let address = cloud.addresses["mqtt"].as_str().unwrap();
    let half_open: Vec<std::net::TcpStream> =
        (0..count).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let topic = format!("tylink/{PLUG}/thing/property/report");
    assert!(plug.published(&topic, &json!({"msgId": "1", "data": {"cur_power": 1}})));
    assert_eq!(device(&cloud)["online"], true);
    // They are closed in time, each of them.
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(std::io::Read::read(&mut stream, &mut [0]).unwrap(), 0);
    }
    assert!(plug.pings());
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[("INGLE_TIMES_CONNECT_MS", "200")]);
    cloud.apply(&crate::support::world::standard());
    with_secrets(&cloud);
    let begun = std::time::Instant::now();
    assert!(MqttDevice::open(&cloud).is_closed(), "without a CONNECT");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let who = tuya_plug();
    let mut brief = MqttDevice::open(&cloud);
    let begun = std::time::Instant::now();
    // The shortest keep-alive that a device can have is a second.
    brief.send(&connect(&who[0], &who[1], &who[2], 1));
    assert_eq!(brief.receive(), Some((0x20, vec![0, 0])));
    assert!(brief.is_closed(), "after one and a half times its keep-alive");
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
}
