//! The metrics as Prometheus reads them, and the dashboard and the alert rules, which name only metrics that exist.
//! `promtool` comes with the distribution's Prometheus; `./check` installs it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ingle::app::SystemClock;
use ingle::domain::Clock;
use serde_json::{Value, json};

use crate::gateway::SECRET;
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::world::{PLUG, standard};
use crate::support::{TestCloud, raw};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `promtool check`, and fails if it finds anything.
fn promtool_check(what: &[&str], input: &str) {
    let installed = root().join("target/tools/promtool");
    let program = if installed.exists() { installed } else { PathBuf::from("promtool") };
    let mut command = Command::new(program);
    command.arg("check").args(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("promtool: {error}; ./check installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool check {what:?}: {said}");
}

/// The metrics of a server in which everything with a label has happened once.
fn metrics(folder: &Path) -> String {
    let cloud = TestCloud::binary(folder, &[]);
    cloud.apply(&standard());
    with_secrets(&cloud);
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    let report = format!("tylink/{PLUG}/thing/property/report");
    assert!(plug.published(&report, &json!({"data": {"cur_power": 1, "mode": "purple", "other": 1}})));
    let app = cloud.first();
    app.post(&format!("/v1.0/devices/{PLUG}/commands"), json!({"commands": [{"code": "switch_1", "value": true}]}));
    assert_eq!(app.get("/v1.0/nothing/here")["code"], 1108);
    assert_eq!(MqttDevice::open(&cloud).greet(&tuyalink(PLUG, "a-wrong-secret")), Some(4));
    let address = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let answer = raw(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains("content-length:"), "{head}");
    body.to_owned()
}

/// Every expression of the dashboard, with a value for each variable.
fn expressions(panels: &Value) -> Vec<String> {
    let panels = panels.as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel.get("targets")?.as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    expressions.map(|text| text.replace("$__rate_interval", "5m").replace("$instance", ".*")).collect()
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("ingle_")).map(str::to_owned).collect()
}

#[test]
fn prometheus_reads_the_metrics_and_the_dashboard_and_the_alerts_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = metrics(&folder.path().join("data"));
    promtool_check(&["metrics"], &metrics);
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let existing: BTreeSet<String> = samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    assert!(existing.len() > 40, "{existing:?}");

    let alerts = root().join("dashboards/alerts.yml");
    promtool_check(&["rules", alerts.to_str().unwrap()], "");
    let dashboard = std::fs::read_to_string(root().join("dashboards/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let expressions = expressions(&dashboard["panels"]);
    assert!(expressions.len() > 40, "{expressions:?}");
    let rules = expressions.iter().enumerate().map(|(n, expr)| json!({"record": format!("x:{n}"), "expr": expr}));
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let file = folder.path().join("rules.yml");
    // JSON is YAML.
    std::fs::write(&file, rules.to_string()).unwrap();
    promtool_check(&["rules", file.to_str().unwrap()], "");

    let variables = dashboard["templating"].to_string();
    let named = names(&[std::fs::read_to_string(&alerts).unwrap(), expressions.join(" "), variables].join(" "));
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<&String> = named.difference(&existing).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
}

#[test]
fn every_request_and_report_is_measured_with_bounded_labels() {
    let folder = tempfile::tempdir().unwrap();
    let text = metrics(&folder.path().join("data"));
    for series in [
        "ingle_request_duration_seconds_count{dialect=\"tuya\",method=\"POST\",route=\"/v1.0/devices/{device_id}/commands\"} 1",
        "ingle_request_duration_seconds_count{dialect=\"tuya\",method=\"GET\",route=\"\"} 1",
        "ingle_sessions{protocol=\"tuyalink\"} 1",
        "ingle_sessions_started_total{protocol=\"tuyalink\"} 1",
        "ingle_device_messages_total 1",
        "ingle_device_reports_total 1",
        "ingle_report_duration_seconds_count 1",
        "ingle_command_duration_seconds_count{outcome=\"delivered\"} 1",
        "ingle_device_refusals_total{reason=\"off_specification\"} 1",
        "ingle_log_memtables 1",
        concat!("ingle_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().unwrap()
    };
    let commits = value("ingle_log_commits_total");
    assert_eq!([value("ingle_log_commit_rows_count"), value("ingle_log_fsync_duration_seconds_count")], [commits; 2]);
    assert_eq!(value("ingle_log_commit_rows_sum"), value("ingle_log_rows_total"));
    assert!(value("ingle_disk_free_bytes") > 0.0 && value("ingle_disk_used_bytes") > 100_000.0);
    assert!(value("ingle_cache_hits_total") > 0.0 && value("ingle_cache_misses_total") > 0.0);
    // The certificate of the own CA is valid for about 800 days.
    let now_s = SystemClock.now_ms() as f64 / 1000.0;
    let days = (value("ingle_certificate_expiry_timestamp_seconds") - now_s) / 86400.0;
    assert!((790.0..=800.0).contains(&days), "{days}");
    // That of the plug, the one for which the listener waits, and perhaps the refused one that is being closed.
    assert!((2.0..=3.0).contains(&value("ingle_connections{listener=\"mqtt\"}")));
    assert!(!text.contains(PLUG), "no label is a path or a device");
}
