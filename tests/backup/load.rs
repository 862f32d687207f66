//! A server under load, and what a copy of its folder must contain: a device reports and is renamed in turn, batches of
//! rows are imported and documents applied. Each counts what was begun and what was acknowledged.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use ingle::app::SystemClock;
use ingle::domain::Clock;
use serde_json::json;

use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FIRST_ID, FIRST_SECRET};
use crate::support::{TestCloud, ingle};

/// The device that reports and is renamed.
const REPORTER: &str = "reporter000000000001";
/// The device whose rows are imported.
const IMPORTED: &str = "imported000000000001";
const SECRET: &str = "5c1e2d3f4a5b6c7d";
/// Rows of one import, which is one commit.
const IMPORT_ROWS: u64 = 300;
/// Devices of one document.
const DOCUMENT_DEVICES: u64 = 5;
/// So few rows in memory that flushes and compactions run all the time.
const SETTINGS: [(&str, &str); 1] = [("INGLE_TELEMETRY_MEMORY_ROWS", "1000")];

/// How often something was begun and acknowledged.
#[derive(Default)]
struct Count {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

impl Count {
    fn run(&self, act: impl FnOnce(u64)) {
        let number = self.begun.load(Ordering::SeqCst) + 1;
        self.begun.store(number, Ordering::SeqCst);
        act(number);
        self.acknowledged.store(number, Ordering::SeqCst);
    }
}

/// The load on a server.
#[derive(Default)]
pub struct Load {
    reports: Count,
    renames: Count,
    imports: Count,
    documents: Count,
    state: Mutex<State>,
    changed: Condvar,
}

/// What the threads of the load do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Paused,
    Over,
}

/// Numbers of reports, renames, imports and documents.
type Numbers = [u64; 4];

impl Load {
    /// Starts a server in `data`, and runs `work` while it is under load.
    pub fn on(data: &Path, work: impl FnOnce(&Self, &TestCloud)) {
        let cloud = TestCloud::binary(data, &SETTINGS);
        cloud.apply(&json!({"projects": [{"name": "first", "tuya": {"client_id": FIRST_ID, "secret": FIRST_SECRET},
            "products": [{"product_id": "loadproduct", "name": "p", "category": "cz",
                "functions": [{"code": "n", "type": "Integer", "values": {"min": 0, "max": 100_000_000}}]}],
            "devices": [{"product_id": "loadproduct", "device_id": REPORTER, "secret": SECRET},
                {"product_id": "loadproduct", "device_id": IMPORTED}]}]}));
        let load = Self::default();
        std::thread::scope(|scope| {
            scope.spawn(|| load.report_and_rename(&cloud));
            scope.spawn(|| load.import(&cloud));
            scope.spawn(|| load.apply(&cloud));
            // The threads must end if the work panics.
            let over = Over(&load);
            cloud.wait(|| load.acknowledged().iter().all(|number| *number > 0));
            work(&load, &cloud);
            drop(over);
        });
    }

    /// Runs `work` while there is no load.
    pub fn paused<T>(&self, work: impl FnOnce() -> T) -> T {
        self.change(State::Paused);
        let done = work();
        self.change(State::Running);
        done
    }

    fn change(&self, state: State) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    /// Waits until the load runs. Returns false when it is over.
    fn goes_on(&self) -> bool {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |state| *state == State::Paused).unwrap();
        *state == State::Running
    }

    /// What was acknowledged so far.
    pub fn acknowledged(&self) -> Numbers {
        self.numbers(|count| &count.acknowledged)
    }

    /// What was begun so far.
    pub fn begun(&self) -> Numbers {
        self.numbers(|count| &count.begun)
    }

    fn numbers(&self, of: impl Fn(&Count) -> &AtomicU64) -> Numbers {
        [&self.reports, &self.renames, &self.imports, &self.documents].map(|count| of(count).load(Ordering::SeqCst))
    }

    fn report_and_rename(&self, cloud: &TestCloud) {
        let mut device = MqttDevice::connect(cloud, &tuyalink(REPORTER, SECRET));
        let (app, topic) = (cloud.first(), format!("tylink/{REPORTER}/thing/property/report"));
        while self.goes_on() {
            self.reports.run(|number| {
                assert!(device.published(&topic, &json!({"msgId": "1", "data": {"n": {"value": number}}})));
            });
            self.renames.run(|number| {
                let body = json!({"name": number.to_string()});
                assert_eq!(app.put(&format!("/v1.0/devices/{REPORTER}"), body)["success"], json!(true));
            });
        }
    }

    fn import(&self, cloud: &TestCloud) {
        let base_ms = cloud.now_ms() - 20 * 24 * 3600 * 1000;
        while self.goes_on() {
            self.imports.run(|number| {
                let rows = (0..IMPORT_ROWS as i64).map(|row| {
                    // Each import has rows of three weeks.
                    let time_ms = base_ms + number as i64 * 1000 + row + row % 3 * 7 * 24 * 3600 * 1000;
                    (IMPORTED, time_ms, 7, 1, "n", json!(number))
                });
                cloud.import(&rows.collect::<Vec<_>>());
            });
        }
    }

    fn apply(&self, cloud: &TestCloud) {
        while self.goes_on() {
            self.documents.run(|number| {
                let device = |n| json!({"product_id": "loadproduct", "device_id": applied(number, n)});
                let devices: Vec<_> = (0..DOCUMENT_DEVICES).map(device).collect();
                cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
            });
        }
    }
}

struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.change(State::Over);
    }
}

fn applied(document: u64, n: u64) -> String {
    format!("applied{document:08}x{n:04}")
}

/// What a folder contains, after checking that nothing of it is half.
pub fn contents(data: &Path) -> Numbers {
    let cloud = TestCloud::over(data, SystemClock.now_ms(), &SETTINGS);
    let app = cloud.first();
    let reports = rows(&app, REPORTER, cloud.now_ms());
    let name = app.get(&format!("/v1.0/devices/{REPORTER}"))["result"]["name"].as_str().unwrap().to_owned();
    let renames: u64 = name.parse().unwrap_or(0);
    // The device is renamed to a number after the report of this number was acknowledged, and before the next report.
    assert!(renames == reports || renames + 1 == reports, "{reports} reports, but {renames} changes of the name");
    let imported = count(&app, IMPORTED, cloud.now_ms());
    assert_eq!(imported % IMPORT_ROWS, 0, "a half import: {imported} rows");
    let listed = app.get("/v1.0/devices?page_no=1&page_size=1");
    let devices = listed["result"]["total"].as_u64().unwrap_or_else(|| panic!("{listed}")) - 2;
    let documents = devices / DOCUMENT_DEVICES;
    assert_eq!(devices % DOCUMENT_DEVICES, 0, "a half document");
    for (document, expected) in [(1, DOCUMENT_DEVICES), (documents, DOCUMENT_DEVICES), (documents + 1, 0)] {
        let ids: Vec<_> = (0..DOCUMENT_DEVICES).map(|n| applied(document, n)).collect();
        let found = app.get(&format!("/v1.0/devices?device_ids={}&page_no=1&page_size=20", ids.join("%2C")));
        assert_eq!(found["result"]["devices"].as_array().unwrap().len() as u64, expected, "of document {document}");
    }
    let metrics = cloud.metrics();
    for name in ["ingle_log_lost_rows_total", "ingle_log_damaged_total"] {
        assert!(metrics.contains(&format!("\n{name} 0\n")), "{metrics}");
    }
    [reports, renames, imported / IMPORT_ROWS, documents]
}

/// Checks that a device has the values 1 to n, once each. Returns n.
fn rows(app: &TuyaApp, id: &str, now_ms: i64) -> u64 {
    let path = format!("/v1.0/devices/{id}/logs?end_time={}&query_type=2&size=1&start_time=1&type=7", now_ms + 60_000);
    let newest = app.get(&path)["result"]["logs"][0]["value"].as_str().map_or(0, |value| value.parse().unwrap());
    assert_eq!(count(app, id, now_ms), newest, "rows of {id}, whose newest value is {newest}");
    newest
}

/// The number of values that a device has reported.
fn count(app: &TuyaApp, id: &str, now_ms: i64) -> u64 {
    let path = format!("/v1.0/devices/{id}/logs?end_time={}&query_type=2&size=1&start_time=1&type=7", now_ms + 60_000);
    let answer = app.get(&path);
    answer["result"]["count"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// Restores a backup, which examines it, and checks that it contains everything that was acknowledged before it, and nothing that began
/// after it.
pub fn check(backup: &Path, before: Numbers, after: Numbers) -> Numbers {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    ingle(&["restore", backup.to_str().unwrap()], &data, "").unwrap();
    let found = contents(&data);
    for ((found, before), after) in found.iter().zip(before).zip(after) {
        assert!((before..=after).contains(found), "{found} is not from {before} to {after}");
    }
    found
}
