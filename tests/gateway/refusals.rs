//! Refused devices and messages: counted by reason, logged, and reported to the device.

use std::path::Path;

use serde_json::{Value, json};

use super::{SECRET, alink_plug, cloud, tuya_plug, value};
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, connect, linkkit, signed, tuyalink, with_gateway, with_secrets};
use crate::support::world::{PLUG, standard};

/// How often a reason was met.
fn count(cloud: &TestCloud, reason: &str) -> u64 {
    let (metrics, name) = (cloud.metrics(), format!("ingle_device_refusals_total{{reason=\"{reason}\"}} "));
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
}

/// The log's lines of a reason.
fn lines(log: &Path, reason: &str) -> Vec<String> {
    let log = std::fs::read_to_string(log).unwrap();
    let named = format!("reason=\"{reason}\"");
    log.lines().filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

fn logging(folder: &Path) -> (TestCloud, std::path::PathBuf) {
    let (cloud, log) = TestCloud::logging(&folder.join("data"), "info");
    cloud.apply(&standard());
    with_secrets(&cloud);
    with_gateway(&cloud);
    (cloud, log)
}

/// What is done, the reason, and what the line of the log has besides it.
type Case<'a> = (&'a dyn Fn(), &'a str, &'a [&'a str]);

#[test]
fn each_refusal_is_in_the_log_and_in_a_counter() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = logging(folder.path());
    let greet = |who: [String; 3]| assert_ne!(MqttDevice::open(&cloud).greet(&who), Some(0));
    let tuya = |below: &str, payload: &str| {
        let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
        plug.publish(&format!("tylink/{PLUG}/{below}"), payload.as_bytes());
        plug.receive();
    };
    let alink = |topic: &str, payload: &str| {
        let mut plug = MqttDevice::connect(&cloud, &alink_plug());
        plug.publish(topic, payload.as_bytes());
        plug.receive();
    };
    let gate = |below: &str, params: Value| {
        let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ",_ss=1"));
        let message = json!({"id": "1", "params": params});
        gate.asked(&format!("/sys/a1gate/gate1/thing/{below}"), &message);
    };
    let sent = |bytes: &[u8]| {
        let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
        plug.send(bytes);
        assert!(plug.is_closed());
    };
    let report = "thing/property/report";
    let sys = "/sys/a1plug00001/dev001";
    let proof = json!([{"productKey": "a1sensor", "deviceName": "temp3", "clientId": "x", "timestamp": "1",
        "signmethod": "hmacSha256", "sign": "00"}]);
    let plug = format!("device=\"{PLUG}\"");
    let future = json!({"msgId": "1", "time": 9_999_999_999_999_i64, "data": {"cur_power": 1}}).to_string();
    let register = [
        "x.a1off|random=1,authType=register,signmethod=hmacsha256|".to_owned(),
        "x&a1off".to_owned(),
        signed("secret-of-off", "deviceNamexproductKeya1offrandom1"),
    ];
    let cases: [Case<'_>; 19] = [
        (&|| greet(tuyalink(PLUG, "5c1e2d3f4a5b6c7e")), "wrong_password", &["client.id=\"tuyalink_27511006"]),
        (&|| greet(linkkit("a1plug00001", "dev001", "x", "")), "wrong_password", &["client.id=\"a1plug00001&dev001|"]),
        (&|| greet(tuyalink("nobody", SECRET)), "unknown_device", &["client.id=\"tuyalink_nobody\""]),
        (&|| greet(linkkit("nothing", "dev001", SECRET, "")), "unknown_device", &["client.id=\"nothing&dev001|"]),
        (
            &|| greet(["some client", "a user", "a password"].map(str::to_owned)),
            "unreadable_connect",
            &["client.id=\"some client\"", "a user"],
        ),
        (&|| greet(register.clone()), "registration", &["client.id=\"x.a1off|"]),
        (&|| greet(["cloud_x", "cloud_x", "x"].map(str::to_owned)), "listener", &["client.id=\"cloud_x\""]),
        (
            &|| tuya("../second000000000001/thing/property/report", "{}"),
            "unknown_topic",
            &[&plug, "second000000000001"],
        ),
        (&|| alink("/sys/a1plug00001/dev002/thing/event/property/post", "{}"), "foreign_topic", &[&plug, "dev002"]),
        (&|| tuya(report, "{"), "unreadable_payload", &[&plug, report]),
        (&|| alink(&format!("{sys}/thing/event/property/post"), "\u{0}"), "unreadable_payload", &[&plug]),
        (&|| tuya(report, r#"{"data":{"cur_power":{"value":1,"time":"soon"}}}"#), "bad_parameter", &[&plug, report]),
        (&|| tuya(report, &future), "time_out_of_range", &[&plug, report]),
        (&|| alink("/a1plug00001/dev001/user/update", "x"), "custom_topic", &[&plug, "user/update"]),
        (&|| alink(&format!("{sys}/thing/model/up_raw"), "x"), "unknown_topic", &[&plug]),
        (
            &|| gate("topo/delete", json!([{"productKey": "a1sensor", "deviceName": "temp3"}])),
            "sub_device",
            &["device=\"gate1\"", "topo/delete"],
        ),
        (&|| gate("topo/add", proof.clone()), "wrong_proof", &["device=\"gate1\"", "topo/add"]),
        (&|| sent(&super::publish(0x34, "x")), "protocol", &[&plug, "QosNotSupported"]),
        (
            &|| assert_eq!(MqttDevice::connect(&cloud, &tuya_plug()).subscribe(&["#"]), [false]),
            "filter",
            &[&plug, "\"#\""],
        ),
    ];
    for (n, (act, reason, parts)) in cases.iter().enumerate() {
        let before = count(&cloud, reason);
        act();
        cloud.wait(|| count(&cloud, reason) > before);
        assert_eq!(count(&cloud, reason), before + 1, "{n} {reason}");
        // The same device is logged once for a reason, whatever else is wrong.
        cloud.wait(|| !lines(&log, reason).is_empty());
        if before == 0 || reason.contains("pass") || *reason == "unknown_device" {
            let lines = lines(&log, reason);
            let line = lines.last().unwrap();
            assert!(line.contains("INFO") && line.contains("address=127.0.0.1"), "{line}");
            parts.iter().for_each(|part| assert!(line.contains(part), "{part} in {line}"));
        }
    }
    let shut_out = json!([{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "disabled": true}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": shut_out}]}));
    greet(tuya_plug());
    assert_eq!((count(&cloud, "disabled"), lines(&log, "disabled").len()), (1, 1));
    // No password, nor what it is made of.
    let all = std::fs::read_to_string(&log).unwrap();
    for secret in [SECRET, "5c1e2d3f4a5b6c7e", "a password", &tuya_plug()[2], &alink_plug()[2], &register[2]] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[test]
fn a_stranger_fills_no_log_and_writes_no_lines_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = logging(folder.path());
    let evil = "x\n2026-01-01T00:00:00Z  INFO ingle: all is well \u{1b}[2J";
    assert_eq!(MqttDevice::open(&cloud).greet(&[evil.into(), evil.into(), "x".into()]), Some(4));
    for n in 0..100 {
        assert_eq!(MqttDevice::open(&cloud).greet(&tuyalink(&format!("nobody{n}{}", "x".repeat(1000)), "x")), Some(4));
        assert_eq!(MqttDevice::open(&cloud).greet(&tuyalink(PLUG, "wrong")), Some(4));
    }
    assert_eq!((count(&cloud, "unknown_device"), count(&cloud, "wrong_password")), (100, 100));
    assert_eq!(lines(&log, "wrong_password").len(), 1, "the same device from the same address");
    let strangers = lines(&log, "unknown_device");
    assert_eq!(strangers.len(), 9, "eight, and that there are more: {strangers:#?}");
    assert!(strangers.iter().all(|line| line.len() < 500));
    let all = std::fs::read_to_string(&log).unwrap();
    assert!(!all.lines().any(|line| line.starts_with("2026-01-01")) && !all.contains('\u{1b}'), "{all}");
}

#[test]
fn mqtt_5_says_what_became_of_a_report() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut plug = MqttDevice::connect5(&cloud, &tuya_plug());
    let own = |below: &str| format!("tylink/{PLUG}/{below}");
    let report = |power: Value| json!({"msgId": "1", "data": {"cur_power": power}}).to_string();
    for (topic, payload, reason) in [
        (own("thing/property/report"), report(json!(1)), 0),
        (own("thing/property/report"), "{".to_owned(), 0x99),
        (own("thing/property/report"), "[]".to_owned(), 0x99),
        (own("thing/property/report"), report(json!("x".repeat(20_000))), 0x99),
        (own("thing/property/report"), report(json!({"value": 1, "time": "x"})), 0x99),
        (own("thing/property/set_response"), "{}".to_owned(), 0),
        (own("thing/nothing"), "{}".to_owned(), 0x10),
        (own("channel/raw/up"), "x".to_owned(), 0x10),
        (own("device/topo/delete"), r#"{"data":["nobody"]}"#.to_owned(), 0x87),
        (own("thing/property/report"), report(json!(2)), 0),
    ] {
        assert_eq!(plug.published5(&topic, payload.as_bytes()), reason, "{topic} {payload:.50}");
    }
    assert_eq!(value(&cloud, "cur_power"), 2);
    let mut gate = MqttDevice::connect5(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ""));
    let sys = "/sys/a1gate/gate1/thing";
    for (topic, payload, reason) in [
        (format!("{sys}/event/property/post"), r#"{"id":"1","params":{"on":1}}"#, 0),
        (format!("{sys}/event/property/post"), r#"{"id":"1","params":[1]}"#, 0x99),
        (format!("{sys}/event/property/post"), "{", 0x99),
        (format!("{sys}/config/get"), r#"{"id":"1","params":{}}"#, 0),
        (format!("{sys}/nothing/here"), r#"{"id":"1","params":{}}"#, 0x90),
        (format!("{sys}/sub/register"), r#"{"id":"1","params":[{"productKey":"a","deviceName":"b"}]}"#, 0x87),
        ("/sys/a1gate/gate2/thing/event/property/post".to_owned(), r#"{"id":"1","params":{"on":1}}"#, 0x87),
        ("/sys/a1sensor/temp1/thing/event/property/post".to_owned(), r#"{"id":"1","params":{"temp":1}}"#, 0x87),
        ("/a1gate/gate1/user/update".to_owned(), "x", 0x10),
        ("/a1gate/gate1/user/update/more".to_owned(), "{}", 0x10),
    ] {
        assert_eq!(gate.published5(&topic, payload.as_bytes()), reason, "{topic} {payload}");
    }
    let many: Vec<Value> = (0..101).map(|_| json!({"identity": {"productKey": "a", "deviceName": "b"}})).collect();
    let pack = json!({"id": "1", "params": {"subDevices": many}}).to_string();
    assert_eq!(gate.published5(&format!("{sys}/event/property/pack/post"), pack.as_bytes()), 0x97);
}

#[test]
fn mqtt_3_acknowledges_what_is_refused_and_the_protocol_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = logging(folder.path());
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let post = "/sys/a1plug00001/dev001/thing/event/property/post";
    // Otherwise the device would send it again for ever.
    assert_eq!(plug.asked(post, &json!({"id": "1", "params": [1]})).1["code"], 460);
    assert!(plug.published("/a1plug00001/dev001/user/update", &json!({})) && plug.pings());
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    let report = format!("tylink/{PLUG}/thing/property/report");
    assert_eq!(plug.asked(&report, &json!({"msgId": "1", "sys": {"ack": 1}, "data": [1]})).1["code"], 1003);
    for reason in ["bad_parameter", "custom_topic", "unreadable_payload"] {
        assert_eq!((count(&cloud, reason), lines(&log, reason).len()), (1, 1), "{reason}");
    }
}

#[test]
fn clients_that_write_their_client_id_on_several_lines_are_let_in() {
    let cloud = cloud();
    let [client, user, password] = linkkit("a1plug00001", "dev001", SECRET, "");
    for gap in ["\n", "\r\n    ", " ", "\t"] {
        let client = client.replace(',', &format!(",{gap}")).replace('=', &format!("{gap}={gap}"));
        let mut plug = MqttDevice::open(&cloud);
        plug.send(&connect(&client, &user, &password, 60));
        assert_eq!(plug.receive(), Some((0x20, vec![0, 0])), "{client:?}");
        assert!(plug.pings());
    }
    let content = format!("deviceId={PLUG},timestamp=1,securemode=1,accessType=1");
    let user = format!("{PLUG}|signMethod=hmacSha256,timestamp=1,securemode=1,accessType=1");
    assert_eq!(MqttDevice::open(&cloud).greet(&[format!("tuyalink_{PLUG}"), user, signed(SECRET, &content)]), Some(0));
}
