//! What an operator sees: each refusal is one line of the log with its reason, one counter and one line of `ingle explain`;
//! each request and each session of a device is one event; and none of them has a secret in it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::gateway::SECRET;
use crate::support::http::Request;
use crate::support::mqtt::{MqttDevice, connect5, linkkit, packet, tuyalink, with_secrets};
use crate::support::world::{PLUG, standard};
use crate::support::{TestCloud, ingle};

const DEVICE: &str = "ingle_device_refusals_total{reason=";

fn logging(folder: &Path) -> (TestCloud, PathBuf) {
    let (cloud, log) = TestCloud::logging(&folder.join("data"), "info");
    cloud.apply(&standard());
    with_secrets(&cloud);
    (cloud, log)
}

/// The value of a series.
fn counted(cloud: &TestCloud, series: &str) -> u64 {
    let metrics = cloud.metrics();
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0)
}

/// Does something that is refused, and checks that the plug has exactly one more line in the log, one more in the counter
/// and one more of `ingle explain`, all with the reason.
fn is_explained(series: &str, in_log: &[&str], in_explanation: &[&str], refused: impl FnOnce(&TestCloud)) {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = logging(folder.path());
    assert_eq!(counted(&cloud, series), 0);
    refused(&cloud);
    cloud.wait(|| counted(&cloud, series) > 0);
    assert_eq!(counted(&cloud, series), 1);
    let explained = cloud.ingle(&["explain", "--device", PLUG], "").unwrap();
    let lines: Vec<&str> = explained.lines().filter(|line| in_explanation.iter().all(|p| line.contains(p))).collect();
    assert_eq!((lines.len(), explained.lines().count()), (1, 1), "{in_explanation:?} in {explained}");
    let parsed: Value =
        serde_json::from_str(&cloud.ingle(&["explain", "--device", PLUG, "--json"], "").unwrap()).unwrap();
    assert_eq!((&parsed[0]["count"], &parsed[0]["client"]), (&json!(1), &json!("127.0.0.1")), "{parsed}");
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| in_log.iter().all(|part| line.contains(part))).collect();
    assert_eq!(lines.len(), 1, "{in_log:?} in {log}");
    assert!(lines[0].contains("INFO") && lines[0].contains(PLUG), "{}", lines[0]);
    for secret in [SECRET, "a-wrong-secret", &tuyalink(PLUG, "a-wrong-secret")[2]] {
        assert!(!log.contains(secret) && !explained.contains(secret), "{secret}");
    }
}

fn publishes(cloud: &TestCloud, below: &str, payload: &str) {
    let mut plug = MqttDevice::connect(cloud, &tuyalink(PLUG, SECRET));
    plug.publish(&format!("tylink/{PLUG}/{below}"), payload.as_bytes());
    plug.receive();
}

#[test]
fn a_wrong_password() {
    let (series, reason) = (format!("{DEVICE}\"wrong_password\"}}"), "a device was refused: its password is wrong");
    is_explained(&series, &["reason=\"wrong_password\"", reason], &["127.0.0.1 wrong_password:", reason], |cloud| {
        assert_eq!(MqttDevice::open(cloud).greet(&tuyalink(PLUG, "a-wrong-secret")), Some(4));
    });
}

#[test]
fn a_wrong_password_of_a_device_that_is_named_by_its_factory() {
    let (series, reason) = (format!("{DEVICE}\"wrong_password\"}}"), "a device was refused: its password is wrong");
    is_explained(
        &series,
        &["reason=\"wrong_password\"", reason],
        &["wrong_password:", "dev001&a1plug00001"],
        |cloud| {
            assert_eq!(MqttDevice::open(cloud).greet(&linkkit("a1plug00001", "dev001", "a-wrong-secret", "")), Some(4));
        },
    );
}

#[test]
fn a_foreign_topic() {
    let (series, what) = (format!("{DEVICE}\"foreign_topic\"}}"), "tylink/second000000000001/thing/property/report");
    let reason = "its topic belongs to a device that is not on this connection";
    is_explained(&series, &["reason=\"foreign_topic\"", reason, what], &["foreign_topic:", reason, what], |cloud| {
        let mut plug = MqttDevice::connect(cloud, &tuyalink(PLUG, SECRET));
        plug.publish(what, b"{}");
        assert!(plug.is_closed());
    });
}

#[test]
fn bad_json() {
    let (series, reason) = (format!("{DEVICE}\"unreadable_payload\"}}"), "its payload cannot be read");
    is_explained(&series, &["reason=\"unreadable_payload\"", reason], &["unreadable_payload:", reason], |cloud| {
        publishes(cloud, "thing/property/report", "{");
    });
}

#[test]
fn a_value_out_of_range_that_is_stored() {
    let (series, reason) = (format!("{DEVICE}\"off_specification\"}}"), "a value is off its product's specification");
    is_explained(&series, &["reason=\"off_specification\"", reason], &["off_specification:", "code mode"], |cloud| {
        publishes(cloud, "thing/property/report", r#"{"msgId":"1","data":{"mode":"purple"}}"#);
    });
}

#[test]
fn a_value_out_of_range_that_is_refused() {
    let (series, reason) = (format!("{DEVICE}\"unfit_value\"}}"), "a value is invalid for its function");
    is_explained(&series, &["reason=\"unfit_value\"", reason], &["unfit_value:", reason], |cloud| {
        let product = json!({"product_id": "EvolhYPyZNWYP001", "name": "Plug", "category": "cz", "strict": true});
        cloud.apply(&json!({"projects": [{"name": "first", "products": [product]}]}));
        publishes(cloud, "thing/property/report", r#"{"msgId":"1","data":{"mode":"purple"}}"#);
    });
}

#[test]
fn a_time_out_of_range() {
    let (series, reason) = (format!("{DEVICE}\"time_out_of_range\"}}"), "a report has an invalid time");
    is_explained(&series, &["reason=\"time_out_of_range\"", reason], &["time_out_of_range:", reason], |cloud| {
        publishes(cloud, "thing/property/report", r#"{"msgId":"1","time":9999999999999,"data":{"cur_power":1}}"#);
    });
}

#[test]
fn an_unknown_path() {
    let (series, path) =
        ("ingle_requests_refused_total{dialect=\"tuya\",code=\"1108\"}", format!("/v1.0/devices/{PLUG}/nothing/here"));
    let reason = "no such path and method here";
    let in_log = ["a request was refused", &format!("http.path=\"{path}\""), reason, &format!("device=\"{PLUG}\"")];
    is_explained(series, &in_log, &["tuya 1108:", &path, reason], |cloud| {
        let app = cloud.first();
        app.hold("x");
        assert_eq!(app.send(&app.signed("GET", &path, b"", "x")).code(), 1108);
    });
}

#[test]
fn a_wrong_signature() {
    let (series, path) =
        ("ingle_requests_refused_total{dialect=\"tuya\",code=\"1004\"}", format!("/v1.0/devices/{PLUG}"));
    let reason = "the signature is not that of the project's secret";
    let in_log = ["a request was refused", &format!("http.path=\"{path}\""), reason];
    is_explained(series, &in_log, &["tuya 1004:", &path, reason], |cloud| {
        let app = cloud.first();
        assert_eq!(app.send(&app.signed("GET", &path, b"", "x").with("sign", "00")).code(), 1004);
    });
}

/// A token that has expired, is replaced or unknown is refused in the same way.
#[test]
fn an_expired_token() {
    let (series, path) =
        ("ingle_requests_refused_total{dialect=\"tuya\",code=\"1010\"}", format!("/v1.0/devices/{PLUG}"));
    let in_log = ["a request was refused", &format!("http.path=\"{path}\""), "code=1010", "project=\"first\""];
    is_explained(series, &in_log, &["tuya 1010:", &path, "token"], |cloud| {
        let app = cloud.first();
        assert_eq!(app.send(&app.signed("GET", &path, b"", "0123456789abcdef0123456789abcdef")).code(), 1010);
    });
}

#[test]
fn a_token_whose_time_is_over() {
    let cloud = TestCloud::at(1_700_000_000_000);
    let app = cloud.first();
    let token = app.token();
    cloud.advance(std::time::Duration::from_secs(2 * 3600 + 1));
    let app = cloud.first();
    let path = format!("/v1.0/devices/{PLUG}");
    assert_eq!(app.send(&app.signed("GET", &path, b"", &token)).code(), 1010);
    assert_eq!(counted(&cloud, "ingle_requests_refused_total{dialect=\"tuya\",code=\"1010\"}"), 1);
    let explained = cloud.ingle(&["explain", "--device", PLUG], "").unwrap();
    assert!(explained.starts_with("2023-11-15T00:13:21Z from 127.0.0.1 tuya 1010: "), "{explained}");
}

#[test]
fn repeated_refusals_are_one_line_with_a_number_and_others_are_shown_with_everything() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    assert!(cloud.ingle(&["explain", "--device", PLUG], "").unwrap().contains("nothing was refused"));
    for _ in 0..3 {
        assert_eq!(MqttDevice::open(&cloud).greet(&tuyalink(PLUG, "a-wrong-secret")), Some(4));
    }
    assert_eq!(MqttDevice::open(&cloud).greet(&tuyalink("nobody", "a-wrong-secret")), Some(4));
    cloud.raw(b"GET /v1.0/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let explained = cloud.ingle(&["explain", "--device", PLUG], "").unwrap();
    assert_eq!(explained.lines().count(), 1, "{explained}");
    assert!(explained.trim().ends_with(", 3 times"), "{explained}");
    let all = cloud.ingle(&["explain", "--refusals"], "").unwrap();
    assert_eq!(all.lines().count(), 3, "{all}");
    assert!(all.contains(&format!(" {PLUG} wrong_password:")) && all.contains(" nobody unknown_device:"), "{all}");
    assert!(all.contains("GET /v1.0/nothing"), "{all}");
}

#[test]
fn without_a_server_there_is_nothing_to_explain_and_no_folder_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for arguments in [&["explain", "--device", "x"][..], &["log-level", "debug"]] {
        let error = ingle(arguments, &data, "").unwrap_err();
        assert!(error.contains("no server runs on the data folder"), "{error}");
    }
    assert!(!data.exists());
}

/// The properties of an MQTT 5 packet as text: there is only a reason string in those that are looked at.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn mqtt_5_clients_get_a_reason_string_unless_they_want_none() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    let general = "the client id, user name or password is not valid";
    // Strangers get the same reason, whether the device exists or not.
    for who in [tuyalink(PLUG, "a-wrong-secret"), tuyalink("nobody", SECRET), ["x"; 3].map(str::to_owned)] {
        let mut client = MqttDevice::open(&cloud);
        client.send(&connect5(&who, 60, 0xC2, &[]));
        let (_, rest) = client.receive().unwrap();
        assert!(text(&rest).contains(general), "{rest:?}");
    }
    // 0x17 is Request Problem Information, 0x27 the Maximum Packet Size.
    for properties in [&[0x17, 0][..], &[0x27, 0, 0, 0, 100]] {
        let mut client = MqttDevice::open(&cloud);
        client.send(&connect5(&tuyalink(PLUG, "a-wrong-secret"), 60, 0xC2, properties));
        assert!(!text(&client.receive().unwrap().1).contains("password"));
    }
    let reason = "a message was refused: its payload cannot be read";
    let report = format!("tylink/{PLUG}/thing/property/report");
    for (properties, is_reported) in [(&[][..], true), (&[0x17, 1][..], true), (&[0x17, 0][..], false)] {
        let mut plug = MqttDevice::open(&cloud);
        plug.send(&connect5(&tuyalink(PLUG, SECRET), 60, 0xC2, properties));
        assert_eq!(plug.receive().unwrap().1[1], 0);
        plug.send(&packet(0x32, &[&(report.len() as u16).to_be_bytes(), report.as_bytes(), &[0, 7, 0], b"{"].concat()));
        let (kind, rest) = plug.receive().unwrap();
        assert_eq!((kind, rest[2], text(&rest).contains(reason)), (0x40, 0x99, is_reported), "{rest:?}");
        let mut second = MqttDevice::connect5(&cloud, &tuyalink(PLUG, SECRET));
        let (kind, rest) = plug.receive().unwrap();
        let is_in_text = text(&rest).contains("another connection of this device replaced this one");
        assert_eq!((kind, rest[0], is_in_text), (0xE0, 0x8E, is_reported));
        assert_eq!(second.subscribe5(&["#"]), [0x87]);
    }
}

#[test]
fn each_request_and_each_session_is_one_event_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let cloud = TestCloud::by(
        std::process::Command::new(crate::support::INGLE),
        &data,
        &[("INGLE_LOG_FORMAT", "json"), ("INGLE_LOG_LEVEL", "info")],
    )
    .unwrap();
    cloud.apply(&standard());
    with_secrets(&cloud);
    let app = cloud.first();
    let path = format!("/v1.0/devices/{PLUG}?x=1");
    app.send(&app.signed("GET", &path, b"", &app.token()).with("User-Agent", "an agent/1.0"));
    app.send(&Request::new("GET", "/v9/nothing"));
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    assert!(plug.published(&format!("tylink/{PLUG}/thing/property/report"), &json!({"data": {"cur_power": 1}})));
    plug.send(&[0xE0, 0]);
    assert!(plug.is_closed());
    cloud.stop();
    let log = std::fs::read_to_string(TestCloud::log_of(&data)).unwrap();
    let events: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let one = |message: &str, name: &str, value: &str| {
        let is_it = |event: &&Value| event["message"] == message && event[name] == value;
        let found: Vec<&Value> = events.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{message} {value} in {log}");
        found[0].clone()
    };
    let answered = one("a request was answered", "http.route", "/v1.0/devices/{device_id}");
    for (name, value) in [
        ("level", json!("INFO")),
        ("dialect", json!("tuya")),
        ("http.method", json!("GET")),
        ("http.user_agent", json!("an agent/1.0")),
        ("client.address", json!("127.0.0.1")),
        ("project", json!("first")),
        ("device", json!(PLUG)),
    ] {
        assert_eq!(answered[name], value, "{name} in {answered}");
    }
    assert!(answered["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{answered}");
    let refused = one("a request was refused", "http.path", "/v9/nothing");
    assert_eq!((&refused["code"], &refused["http.route"]), (&json!(1108), &json!("")), "{refused}");
    let ended = one("a device session ended", "device", PLUG);
    for (name, value) in [
        ("protocol", json!("tuyalink")),
        ("project", json!("first")),
        ("product", json!("EvolhYPyZNWYP001")),
        ("client.address", json!("127.0.0.1")),
        ("messages", json!(1)),
        ("end", json!("Disconnected")),
    ] {
        assert_eq!(ended[name], value, "{name} in {ended}");
    }
    assert!(ended["duration_ms"].is_u64(), "{ended}");
}

#[test]
fn the_level_is_a_setting_and_changes_at_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = || std::process::Command::new(crate::support::INGLE);
    let refused = TestCloud::by(start(), &data, &[("INGLE_LOG_LEVEL", "loud")]).err().unwrap();
    assert!(refused.contains("log.level") && refused.contains("\"loud\""), "{refused}");
    let cloud = TestCloud::by(start(), &data, &[("INGLE_LOG_LEVEL", "warn")]).unwrap();
    let ask = |path: &str| cloud.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
    let log = || std::fs::read_to_string(TestCloud::log_of(&data)).unwrap();
    ask("/v9/first");
    assert!(cloud.ingle(&["log-level", "loud"], "").unwrap_err().contains("not a log level"));
    cloud.ingle(&["log-level", "info"], "").unwrap();
    ask("/v9/second");
    cloud.ingle(&["log-level", "error"], "").unwrap();
    ask("/v9/third");
    let log = log();
    assert!(!log.contains("/v9/first") && log.contains("/v9/second") && !log.contains("/v9/third"), "{log}");
    cloud.stop();
    // RUST_LOG overrides the setting.
    let cloud = TestCloud::by(start(), &data, &[("INGLE_LOG_LEVEL", "error"), ("RUST_LOG", "info")]).unwrap();
    cloud.raw(b"GET /v9/fourth HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    cloud.stop();
    assert!(std::fs::read_to_string(TestCloud::log_of(&data)).unwrap().contains("/v9/fourth"));
}

/// However many requests and sessions there are, a client fills no log.
#[test]
fn a_client_fills_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = logging(folder.path());
    let app = cloud.first();
    for _ in 0..300 {
        app.get(&format!("/v1.0/devices/{PLUG}"));
    }
    for _ in 0..30 {
        drop(MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET)));
    }
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    // 20 of a route and 5 of a device in a minute; the test may see the next minute begin.
    assert!((20..=62).contains(&count("a request was answered")), "{}", count("a request was answered"));
    assert!((5..=10).contains(&count("a device session ended")), "{}", count("a device session ended"));
}
