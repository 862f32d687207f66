//! No file descriptor left.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::metric;
use crate::gateway::SECRET;
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::world::{PLUG, standard};
use crate::support::{TestCloud, raw};

/// What the listener for health answers.
fn health(cloud: &TestCloud) -> String {
    let address = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    raw(address, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn power(cloud: &TestCloud) -> Value {
    let status = cloud.first().get(&format!("/v1.0/devices/{PLUG}/status"))["result"].clone();
    status.as_array().unwrap().iter().find(|point| point["code"] == "cur_power").unwrap()["value"].clone()
}

#[test]
fn a_server_without_file_descriptors_says_so_once_and_recovers() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let parent = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&parent.path().join("data"), "info");
    cloud.apply(&standard());
    with_secrets(&cloud);
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    let report = format!("tylink/{PLUG}/thing/property/report");
    let first = cloud.first();
    assert_eq!(first.get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
    let pid = i32::try_from(cloud.pid()).unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let (mut soft, mut hard) = (0, 0);
    let files = rlimit::Resource::NOFILE;
    rlimit::prlimit(pid, files, Some((open + 8, open + 4096)), Some((&mut soft, &mut hard))).unwrap();
    let streams: Vec<_> = (0..24).map(|_| TcpStream::connect(cloud.api).unwrap()).collect();
    let lines = || std::fs::read_to_string(&log).unwrap().matches("could not be accepted").count();
    cloud.wait(|| lines() > 0);
    // A session that is open goes on, and what it reports is stored.
    for value in [1, 2, 3] {
        assert!(plug.published(&report, &json!({"data": {"cur_power": value}})));
    }
    rlimit::prlimit(pid, files, Some((open + 4096, open + 4096)), None).unwrap();
    // Those that waited are accepted now, and whoever comes.
    assert_eq!(first.get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
    assert!(metric(&cloud, "ingle_accepts_failed_total") >= 1);
    assert_eq!(lines(), 1);
    assert!(health(&cloud).ends_with("\r\n\r\nok\n"));
    drop(streams);
    cloud.stop();
    let again = TestCloud::binary(&parent.path().join("data"), &[]);
    assert_eq!(power(&again), 3);
    again.stop();
}
