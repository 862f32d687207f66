//! `ingle doctor` names what keeps a server from running well.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::{INGLE, TestCloud, free_ports};

/// Runs it with free ports and these settings. Returns whether nothing is wrong, and the report.
fn examined(data: &Path, settings: &[(&str, &str)]) -> (bool, Value) {
    let mut command = Command::new(INGLE);
    command.args(["doctor", "--json", "--data"]).arg(data).envs(free_ports()).envs(settings.iter().copied());
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (output.status.success(), report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

/// The texts of the findings of a subject with this severity.
fn found(report: &Value, what: &str, severity: &str) -> String {
    let findings = report["findings"].as_array().unwrap().iter();
    let fits = findings.filter(|finding| finding["what"] == what && finding["severity"] == severity);
    fits.map(|finding| finding["text"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// A PEM file of a certificate that is valid until so many days from now, and one of its key.
fn certificate(folder: &Path, days: i64) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - time::Duration::days(400);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(days) + time::Duration::hours(1);
    let pem = params.self_signed(&key).unwrap().pem();
    let paths = ["cert.pem", "cert.key"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    fs::write(&paths[0], pem).unwrap();
    fs::write(&paths[1], key.serialize_pem()).unwrap();
    paths
}

#[test]
fn a_healthy_server_has_nothing_wrong_running_or_not() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    let (is_well, report) = examined(&data, &[]);
    assert!(is_well && !data.exists(), "{report}");
    assert!(found(&report, "data folder", "warning").contains("does not exist"), "{report}");
    let cloud = TestCloud::binary(&data, &[]);
    let (is_well, report) = examined(&data, &[]);
    assert!(is_well && report["running"] == json!(true), "{report}");
    assert_eq!(report["addresses"]["api"], cloud.addresses["api"]);
    cloud.stop();
    let (is_well, report) = examined(&data, &[]);
    assert!(is_well && report["running"] == json!(false), "{report}");
    for what in ["clock", "data folder", "disk space", "permissions", "ports", "tls"] {
        assert!(!found(&report, what, "ok").is_empty(), "{what}: {report}");
    }
}

#[test]
fn each_thing_that_is_wrong_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    TestCloud::binary(&data, &[]).stop();
    let wrong = |settings: &[(&str, &str)], what: &str| {
        let (is_well, report) = examined(&data, settings);
        assert!(!is_well, "{report}");
        found(&report, what, "wrong")
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = wrong(&[("INGLE_MQTT_LISTEN", &address)], "ports");
    assert!(text.contains("mqtt.listen") && text.contains("another program"), "{text}");
    drop(taken);
    let text = wrong(&[("INGLE_API_LISTEN", &address), ("INGLE_METRICS_LISTEN", &address)], "ports");
    assert!(text.contains("metrics.listen") && text.contains("the setting api.listen"), "{text}");
    let text = wrong(&[("INGLE_TELEMETRY_FREE_MEGABYTES", "1000000000")], "disk space");
    assert!(text.contains("telemetry.free_megabytes"), "{text}");

    let settings = |[certificate, key]: &[String; 2]| {
        [("INGLE_API_TLS_CERT", certificate.clone()), ("INGLE_API_TLS_KEY", key.clone())]
    };
    for (days, severity, text) in
        [(-3, "wrong", "expired on"), (5, "warning", "expires in 5 days"), (300, "ok", "expires on")]
    {
        let files = settings(&certificate(temporary.path(), days));
        let files = files.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (is_well, report) = examined(&data, &files);
        assert_eq!(is_well, severity != "wrong", "{report}");
        assert!(found(&report, "tls", severity).contains(text), "{report}");
    }

    // A copy of a folder in use, keys that others can read, and a file from the future.
    let copy = temporary.path().join("copy");
    let cloud = TestCloud::binary(&data, &[]);
    // The exit code is 1 if the server renames a file after cp has listed it. cp copies the others all the same.
    Command::new("cp").arg("-a").arg(&data).arg(&copy).output().unwrap();
    cloud.stop();
    fs::set_permissions(copy.join("secret.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(copy.join("secret.key")).unwrap();
    let later = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(24 * 3600);
    file.set_modified(later).unwrap();
    let (is_well, report) = examined(&copy, &[]);
    assert!(!is_well && found(&report, "data folder", "wrong").contains("in use"), "{report}");
    assert!(found(&report, "permissions", "warning").contains("secret.key"), "{report}");
    assert!(found(&report, "clock", "warning").contains("secret.key"), "{report}");
}
