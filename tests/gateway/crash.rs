//! A server that is killed while devices report: every report that it had acknowledged is in the log afterwards, once.
//! `INGLE_CRASH_KILLS` sets how often.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::json;

use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, linkkit, tuyalink};

const DEVICES: u64 = 8;
/// A kill comes after so many acknowledgements at most.
const REPORTS_MAX: u64 = 600;
/// Small, so that kills fall into rolls too.
const SETTINGS: [(&str, &str); 1] = [("INGLE_TELEMETRY_MEMORY_ROWS", "1000")];

fn id(device: u64) -> String {
    format!("crash{device}")
}

fn world() -> serde_json::Value {
    let device = |n: u64| json!({"product_id": "crash", "device_id": id(n), "device_name": id(n), "secret": "secret"});
    json!({"projects": [{"name": "first",
        "products": [{"product_id": "crash", "product_key": "crashkey", "name": "Crash", "category": "cz",
            "functions": [{"code": "n", "type": "Integer"}]}],
        "devices": (0..DEVICES).map(device).collect::<Vec<_>>()}]})
}

/// Reports numbers from `from` on, one in flight, until the server is gone; every second device uses LinkKit. The last
/// number that was acknowledged, and the last that was sent.
fn report(cloud: &TestCloud, device: u64, from: u64, acknowledged: &SyncSender<()>) -> (u64, u64) {
    let id = id(device);
    let (who, topic) = match device % 2 {
        0 => (tuyalink(&id, "secret"), format!("tylink/{id}/thing/property/report")),
        _ => (linkkit("crashkey", &id, "secret", ""), format!("/sys/crashkey/{id}/thing/event/property/post")),
    };
    let mut plug = MqttDevice::open(cloud);
    if plug.greet(&who) != Some(0) {
        return (from - 1, from - 1);
    }
    for n in from.. {
        let value = json!({"n": {"value": n, "time": cloud.now_ms()}});
        let message = if device.is_multiple_of(2) {
            json!({"msgId": "1", "data": value})
        } else {
            json!({"id": "1", "params": value})
        };
        if !plug.published(&topic, &message) {
            return (n - 1, n);
        }
        let _ = acknowledged.try_send(());
    }
    unreachable!("numbers do not end")
}

/// How often each number is in a device's log.
fn counted(cloud: &TestCloud, device: u64) -> HashMap<u64, u64> {
    let (app, mut end) = (cloud.aliyun(), cloud.now_ms() + 1000);
    let mut counts = HashMap::new();
    loop {
        let page = json!({"productKey": "crashkey", "deviceName": id(device), "identifier": "n", "start": 0, "end": end,
            "pageSize": 100});
        let page = app.data("/cloud/thing/property/timeline/get", page);
        let rows = page["items"].as_array().unwrap();
        for row in rows {
            *counts.entry(row["data"].as_u64().unwrap()).or_default() += 1;
        }
        if rows.is_empty() {
            return counts;
        }
        end = page["timestamp"].as_i64().unwrap();
    }
}

#[test]
fn no_acknowledged_report_is_lost_when_the_server_is_killed() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("INGLE_CRASH_KILLS").unwrap_or(10);
    let mut random = number("INGLE_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id())) | 1;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // For each device the next number, and the numbers that were sent and not acknowledged.
    let state =
        Mutex::new((0..DEVICES).map(|device| (device, (1, Vec::new()))).collect::<HashMap<_, (u64, Vec<u64>)>>());
    let start = || {
        let cloud = TestCloud::binary(&data, &SETTINGS);
        cloud.apply(&crate::support::world::standard());
        cloud.apply(&world());
        cloud
    };
    for _ in 0..kills {
        let cloud = start();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = 1 + (random >> 33) % REPORTS_MAX;
        let (acknowledged, received) = sync_channel(REPORTS_MAX as usize);
        std::thread::scope(|scope| {
            for device in 0..DEVICES {
                let (cloud, state, acknowledged) = (&cloud, &state, &acknowledged);
                scope.spawn(move || {
                    let from = state.lock().unwrap()[&device].0;
                    let (last, sent) = report(cloud, device, from, acknowledged);
                    let mut state = state.lock().unwrap();
                    let (next, unsure) = state.get_mut(&device).unwrap();
                    unsure.extend(last + 1..=sent);
                    *next = sent + 1;
                });
            }
            for _ in 0..after {
                received.recv().unwrap();
            }
            cloud.kill_now();
        });
    }
    let cloud = start();
    let mut total = 0;
    for (device, (next, unsure)) in state.into_inner().unwrap() {
        let counts = counted(&cloud, device);
        for n in 1..next {
            let times = counts.get(&n).copied().unwrap_or(0);
            assert!(times == 1 || times == 0 && unsure.contains(&n), "{n} of device {device} is there {times} times");
        }
        assert!(counts.keys().all(|n| *n < next), "what nobody sent");
        total += next - 1 - unsure.len() as u64;
    }
    println!("{kills} kills, {total} acknowledged reports, each there once");
}
