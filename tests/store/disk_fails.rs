//! A disk that cannot be written: devices are not acknowledged, health and metrics say so, and when the disk works again
//! the server does too, without a hand and without losing anything that it acknowledged.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::gateway::SECRET;
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::world::{PLUG, standard};
use crate::support::{INGLE, TestCloud, raw};

fn operator(cloud: &TestCloud, path: &str) -> String {
    let address = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    raw(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
}

fn library(folder: &Path) -> std::path::PathBuf {
    let library = folder.join("failing_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/failing_disk.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(cc.status().unwrap().success(), "cc cannot compile the library");
    library
}

/// Reports a value. Whether it was acknowledged.
fn is_acknowledged(cloud: &TestCloud, value: u64) -> bool {
    let mut plug = MqttDevice::open(cloud);
    if plug.greet(&tuyalink(PLUG, SECRET)) != Some(0) {
        return false;
    }
    let report = json!({"msgId": "1", "data": {"cur_power": value}});
    let id = plug.publish(&format!("tylink/{PLUG}/thing/property/report"), report.to_string().as_bytes());
    plug.receive() == Some((0x40, id.to_be_bytes().to_vec()))
}

#[test]
fn while_the_disk_cannot_be_written_nothing_is_acknowledged_and_health_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let (data, control) = (temporary.path().join("data"), temporary.path().join("control"));
    let library = library(temporary.path());
    let names = [&library, &data, &control].map(|path| path.to_str().unwrap());
    let settings = [("LD_PRELOAD", names[0]), ("INGLE_FAIL_FOLDER", names[1]), ("INGLE_FAIL_CONTROL", names[2])];
    let cloud = TestCloud::by(Command::new(INGLE), &data, &settings).unwrap();
    cloud.apply(&standard());
    with_secrets(&cloud);
    let app = cloud.first();
    app.get(&format!("/v1.0/devices/{PLUG}"));
    let (mut acknowledged, mut value) = (Vec::new(), 0);
    for kind in ["syncs", "writes"] {
        for _ in 0..3 {
            value += 1;
            assert!(is_acknowledged(&cloud, value), "{kind}");
            acknowledged.push(value);
        }
        assert!(operator(&cloud, "/healthz").ends_with("\r\n\r\nok\n"));
        assert!(operator(&cloud, "/readyz").ends_with("\r\n\r\nready\n"));
        std::fs::write(&control, kind).unwrap();
        assert!(!is_acknowledged(&cloud, 1000), "{kind}");
        cloud.wait(|| operator(&cloud, "/healthz").contains("503"));
        assert!(operator(&cloud, "/healthz").ends_with("not writing: writes to the disk fail\n"), "{kind}");
        assert!(operator(&cloud, "/readyz").ends_with("not ready: not writing: writes to the disk fail\n"), "{kind}");
        assert!(operator(&cloud, "/metrics").contains("\ningle_log_writing 0\n"), "{kind}");
        // Reads are answered, with the token from before: a new one would have to be stored.
        let answer = app.get(&format!("/v1.0/devices/{PLUG}/status"));
        assert_eq!(answer["success"], json!(true), "{kind}: {answer}");
        std::fs::remove_file(&control).unwrap();
        // Without any traffic.
        cloud.wait(|| operator(&cloud, "/healthz").ends_with("\r\n\r\nok\n"));
        assert!(operator(&cloud, "/metrics").contains("\ningle_log_writing 1\n"), "{kind}");
    }
    value += 1;
    assert!(is_acknowledged(&cloud, value));
    acknowledged.push(value);
    cloud.stop();
    let log = std::fs::read_to_string(TestCloud::log_of(&data)).unwrap();
    assert_eq!(log.matches("writes to the disk fail: nothing is acknowledged until they succeed").count(), 2, "{log}");
    let cloud = TestCloud::binary(&data, &[]);
    let end = cloud.now_ms() + 1000;
    let path = format!("/v1.0/devices/{PLUG}/logs?codes=cur_power&type=7&start_time=0&end_time={end}&size=100");
    let rows = cloud.first().get(&path)["result"]["logs"].clone();
    let stored: Vec<u64> =
        rows.as_array().unwrap().iter().map(|row| row["value"].as_str().unwrap().parse().unwrap()).collect();
    for value in acknowledged {
        assert!(stored.contains(&value), "{value} in {stored:?}");
    }
}
