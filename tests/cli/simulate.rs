//! `ingle simulate`, against the real server.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;

const CLIENT_ID: &str = "simulationclient0001";
const SECRET: &str = "00112233445566778899aabbccddeeff";
const DEVICES: usize = 4;
const POINTS: u64 = 3;

/// A server that knows the project of the simulated devices, and a client of that project.
fn server(folder: &std::path::Path) -> (TestCloud, TuyaApp) {
    let cloud = TestCloud::binary(folder, &[("INGLE_MQTT_TLS_LISTEN", "127.0.0.1:0")]);
    let tuya = json!({"client_id": CLIENT_ID, "secret": SECRET});
    cloud.apply(&json!({"projects": [{"name": "simulation", "tuya": tuya}]}));
    let app = TuyaApp::new(&cloud, CLIENT_ID, SECRET);
    (cloud, app)
}

/// Runs it for a second; what it printed.
fn simulate(cloud: &TestCloud, listener: &str, more: &[&str]) -> Value {
    let (devices, address) = (DEVICES.to_string(), cloud.addresses[listener].as_str().unwrap());
    let arguments = ["simulate", "--json", "--devices", &devices, "--rate", "100", "--seconds", "1"];
    let printed = cloud.ingle(&[&arguments[..], &["--address", address], more].concat(), "").unwrap();
    serde_json::from_str(&printed).unwrap()
}

/// Time and code of each row that a device reported; no two are alike.
fn rows(app: &TuyaApp, device: usize) -> BTreeSet<(i64, String)> {
    let (mut rows, mut count, mut start) = (BTreeSet::new(), 0, String::new());
    loop {
        let target = format!(
            "/v1.0/devices/sim{device:06}/logs?end_time=4000000000000&size=100{start}&start_time=1600000000000&type=7"
        );
        let page = app.get(&target);
        for log in page["result"]["logs"].as_array().unwrap_or_else(|| panic!("{page}")) {
            rows.insert((log["event_time"].as_i64().unwrap(), log["code"].as_str().unwrap().to_owned()));
            count += 1;
        }
        match page["result"]["next_row_key"].as_str().filter(|key| !key.is_empty()) {
            Some(key) => start = format!("&start_row_key={}", key.replace('+', "%2B").replace('=', "%3D")),
            None => break,
        }
    }
    assert_eq!(rows.len(), count, "device {device} has rows twice");
    rows
}

#[test]
fn every_acknowledged_report_is_in_the_log_once() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, app) = server(folder.path());
    let mut points = 0;
    for (listener, more) in [
        ("mqtt", &["--protocol", "tuyalink"][..]),
        ("mqtt", &["--protocol", "linkkit"]),
        ("mqtt_tls", &["--protocol", "tuyalink", "--tls"]),
        ("mqtt_tls", &["--protocol", "linkkit", "--tls"]),
    ] {
        let printed = simulate(&cloud, listener, more);
        let round = &printed["round"];
        assert_eq!((&round["connected"], &round["devices"]), (&json!(DEVICES), &json!(DEVICES)), "{more:?}");
        for none in ["refused", "unreachable", "reconnects", "unacknowledged", "unexpected", "sent_again"] {
            assert_eq!(round[none], 0, "{more:?} {none}");
        }
        let messages = round["messages"].as_u64().unwrap();
        assert!((10..=110).contains(&messages), "{more:?} {messages}");
        assert_eq!(round["points"], messages * POINTS);
        assert!(round["latency_ms"]["worst"].as_f64() >= round["latency_ms"]["p50"].as_f64(), "{round}");
        points += messages * POINTS;
        let kept: usize = (1..=DEVICES).map(|device| rows(&app, device).len()).sum();
        assert_eq!(kept as u64, points, "{more:?}");
    }
    let plain = cloud.ingle(
        &["simulate", "--rate", "0", "--seconds", "1", "--address", cloud.addresses["mqtt"].as_str().unwrap()],
        "",
    );
    let plain = plain.unwrap();
    assert!(plain.contains("100 devices connected") && plain.contains("\n  0 not acknowledged"), "{plain}");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, _) = server(folder.path());
    let simulate = |more: &[&str]| cloud.ingle(&[&["simulate", "--devices", "2"], more].concat(), "").unwrap_err();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = simulate(&["--address", &closed]);
    assert!(error.contains("no server listens") && error.contains(&closed), "{error}");
    let mqtt_tls = cloud.addresses["mqtt_tls"].as_str().unwrap();
    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let error = simulate(&["--address", mqtt_tls, "--tls"]);
    assert!(error.contains("ca.pem"), "{error}");
    // Another server's CA.
    let other = tempfile::tempdir().unwrap();
    TestCloud::binary(other.path(), &[]).stop();
    std::fs::copy(other.path().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
    let error = simulate(&["--address", mqtt_tls, "--tls"]);
    assert!(error.contains("2 devices were refused") && error.contains("certificate"), "{error}");
    let error = simulate(&["--address", cloud.addresses["mqtt"].as_str().unwrap(), "--rate=-1"]);
    assert!(error.contains("messages a second"), "{error}");
    // Nobody has the folder any more.
    cloud.stop();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let error = crate::support::ingle(&["simulate", "--address", &address], folder.path(), "").unwrap_err();
    assert!(error.contains("did not make the devices"), "{error}");
    let error = crate::support::ingle(&["simulate"], &folder.path().join("nothing"), "").unwrap_err();
    assert!(error.contains("no data folder"), "{error}");
}
