//! A full disk: reads continue, devices get an error of their protocol, the operator sees it, and the server starts. It
//! runs on a small file system of its own, in a mount namespace that ends with the test.

use serde_json::json;

use crate::gateway::SECRET;
use crate::support::aliyun::AliyunApp;
use crate::support::mqtt::{MqttDevice, linkkit, tuyalink, with_secrets};
use crate::support::small_disk::SmallDisk;
use crate::support::world::{OWNER, PLUG, standard};
use crate::support::{TestCloud, raw};

/// Runs [`child`] in a mount namespace of its own, which ends with it.
#[test]
fn on_a_full_disk_reads_go_on_devices_are_sent_and_the_server_starts() {
    let output = SmallDisk::run("store::disk_full::child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    let lines = said.lines().filter(|line| line.contains("the disk is full: reports")).count();
    assert_eq!(lines, 3, "once a run of the server: {said}");
    assert!(said.lines().filter(|line| line.contains("ERROR")).count() <= 4, "{said}");
}

fn operator(cloud: &TestCloud, path: &str) -> String {
    let address = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    raw(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
}

/// Reads of clients, for a device with history.
fn reads(cloud: &TestCloud, aliyun: &AliyunApp) {
    let app = cloud.first();
    let end = cloud.now_ms() + 1000;
    for path in [
        format!("/v1.0/devices/{PLUG}"),
        format!("/v1.0/devices/{PLUG}/status"),
        format!("/v1.0/devices/{PLUG}/logs?type=7&start_time=0&end_time={end}"),
        format!("/v1.0/devices/{PLUG}/logs?type=7&start_time=0&end_time={end}&query_type=2"),
        format!("/v1.0/users/{OWNER}/devices"),
    ] {
        let answer = app.get(&path);
        assert_eq!(answer["success"], json!(true), "{path}: {answer}");
    }
    let rows = app.get(&format!("/v1.0/devices/{PLUG}/logs?type=7&start_time=0&end_time={end}"));
    assert!(rows["result"]["logs"].as_array().unwrap().len() >= 2, "{rows}");
    let page = json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "switch_1", "start": 0, "end": end,
        "pageSize": 10});
    let page = aliyun.data("/cloud/thing/property/timeline/get", page);
    assert!(page["items"].as_array().unwrap().len() >= 2, "{page}");
}

/// Runs in the mount namespace; not a test by itself.
#[test]
fn child() {
    let Some(disk) = SmallDisk::mount(40) else { return };
    let folder = disk.path.join("data");
    let settings = [("INGLE_TELEMETRY_FREE_MEGABYTES", "4"), ("INGLE_TELEMETRY_MEMORY_ROWS", "1000")];
    let cloud = TestCloud::binary(&folder, &settings);
    cloud.apply(&standard());
    with_secrets(&cloud);
    let day = 24 * 3600 * 1000;
    let rows: Vec<_> =
        (0..3).map(|n| (PLUG, cloud.now_ms() - n * 7 * day - 1000, 7, 1, "switch_1", json!(true))).collect();
    cloud.import(&rows);
    let topic = format!("tylink/{PLUG}/thing/property/report");
    let report = json!({"msgId": "45", "sys": {"ack": 1}, "data": {"switch_1": {"value": false}}});
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    plug.subscribe(&[&format!("{topic}_response")]);
    assert_eq!(plug.asked(&topic, &report).1["code"], json!(0));
    let aliyun = cloud.aliyun();
    reads(&cloud, &aliyun);

    disk.fill(2048);
    cloud.wait(|| operator(&cloud, "/healthz").contains("503"));
    assert!(operator(&cloud, "/healthz").ends_with("not writing: the disk is full\n"));
    // The device gets an error and no acknowledgement, and sends the report again when it reconnects.
    let id = plug.publish(&topic, report.to_string().as_bytes());
    let (received, payload) = plug.message();
    assert_eq!((received, payload["code"].clone()), (format!("{topic}_response"), json!(1001)), "{id}");
    assert!(plug.is_closed());
    assert_eq!(MqttDevice::open(&cloud).greet(&tuyalink(PLUG, SECRET)), Some(3));
    assert_eq!(MqttDevice::open(&cloud).greet(&linkkit("none", "none", "none", "")), Some(4));
    let metrics = operator(&cloud, "/metrics");
    assert!(metrics.contains("ingle_log_writing 0"), "{metrics}");
    assert!(!metrics.contains("ingle_log_refused_rows_total 0"), "{metrics}");
    for left in [512, 0] {
        disk.empty();
        disk.fill(left);
        reads(&cloud, &aliyun);
    }
    // The server stops and starts with no byte left, and still answers.
    cloud.stop();
    disk.empty();
    disk.fill(0);
    let cloud = TestCloud::binary(&folder, &settings);
    let aliyun = aliyun.moved_to(&cloud);
    reads(&cloud, &aliyun);
    assert!(operator(&cloud, "/healthz").ends_with("not writing: the disk is full\n"));
    cloud.kill();
    disk.empty();
    disk.fill(0);
    let cloud = TestCloud::binary(&folder, &settings);
    let aliyun = aliyun.moved_to(&cloud);
    reads(&cloud, &aliyun);

    disk.empty();
    cloud.wait(|| operator(&cloud, "/healthz").ends_with("ok\n"));
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    plug.subscribe(&[&format!("{topic}_response")]);
    assert_eq!(plug.asked(&topic, &report).1["code"], json!(0));
    let status = cloud.first().get(&format!("/v1.0/devices/{PLUG}/status"));
    assert!(status["result"].as_array().unwrap().contains(&json!({"code": "switch_1", "value": false})), "{status}");
    assert!(operator(&cloud, "/metrics").contains("ingle_log_lost_rows_total 0"));
}
