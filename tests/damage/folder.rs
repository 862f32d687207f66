//! The folder that is damaged: two projects with history in several files, in a journal and in the registry's
//! write-ahead log, left by a server that was killed; and an earlier copy of it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::oracle;
use crate::support::tuya::TuyaApp;
use crate::support::world::{FIRST_ID, FIRST_SECRET, SECOND_ID, SECOND_SECRET};
use crate::support::{INGLE, TestCloud};

/// Devices of each project.
const DEVICES: usize = 3;
/// Devices of each project that have no rows, so that the registry needs more than one page.
const IDLE_DEVICES: usize = 90;
/// Rows of each device that are imported in one request; those of all devices are more than a memtable holds.
const ROWS: i64 = 400;
/// Rows of each device that only a journal has, and in how many commits.
const LAST_ROWS: i64 = 8;
const LAST_COMMITS: i64 = 4;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// The length of the history, which covers several files.
const HISTORY_DAYS: i64 = 27;

/// The names and keys of the idle devices.
pub fn idle(project: usize) -> impl Iterator<Item = (String, String)> {
    (0..IDLE_DEVICES).map(move |n| {
        let id = format!("{}-idle{n}", WORDS[project]);
        let key = key_of(&id);
        (id, key)
    })
}

/// The name that a device has after its creation.
pub fn first_name(id: &str) -> String {
    format!("{id} as made")
}

fn key_of(id: &str) -> String {
    format!("key-{id}")
}

/// The beginning of the ids of each project's devices.
const WORDS: [&str; 2] = ["alpha", "beta"];

/// Name, id and secret of each project.
pub const PROJECTS: [(&str, &str, &str); 2] = [("first", FIRST_ID, FIRST_SECRET), ("second", SECOND_ID, SECOND_SECRET)];

/// What a device must have.
pub struct Known {
    pub id: String,
    pub local_key: String,
    /// The names that it has had; the last one is current.
    pub names: Vec<String>,
    /// Time and value of every row. No other device has the same values.
    pub rows: BTreeSet<(i64, String)>,
}

impl Known {
    /// The value of the newest row.
    pub fn latest(&self) -> &str {
        &self.rows.last().unwrap().1
    }
}

/// The folder, its earlier copy, and what they contain.
pub struct Fixture {
    temporary: TempDir,
    /// The devices of each project.
    pub known: [Vec<Known>; 2],
}

/// Starts a server on a folder, or returns its message when it refused to start.
pub fn start(data: &Path) -> Result<TestCloud, String> {
    TestCloud::by(Command::new(INGLE), data, &[("INGLE_TELEMETRY_MEMORY_ROWS", "1000")])
}

/// The text of the metrics.
pub fn metrics(cloud: &TestCloud) -> String {
    let address = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    crate::support::raw(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

/// A document with one project and devices of these ids.
pub fn document(name: &str, client_id: &str, secret: &str, devices: &[(String, String)]) -> Value {
    let product = format!("{name}product");
    let device = |(id, local_key): &(String, String)| {
        json!({"product_id": product, "device_id": id,
        "device_name": id, "name": first_name(id), "local_key": local_key, "secret": format!("secret-{id}")})
    };
    json!({"projects": [{"name": name, "tuya": {"client_id": client_id, "secret": secret},
        "products": [{"product_id": product, "product_key": format!("{name}key"), "name": name, "category": "cz",
            "functions": [{"code": "n", "type": "Integer"}]}],
        "devices": devices.iter().map(device).collect::<Vec<_>>()}]})
}

impl Fixture {
    /// Creates the folder with the real server.
    pub fn prepare() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let known = [0, 1].map(|project| (0..DEVICES).map(|n| new_device(project, n)).collect());
        let mut fixture = Self { temporary, known };
        let data = fixture.data();
        let cloud = start(&data).unwrap();
        let now = cloud.now_ms();
        fixture.apply(&cloud, 0);
        fixture.import(&cloud, 0..1, now - 1, ROWS, HISTORY_DAYS * DAY_MS);
        wait_for_flush(&cloud);
        cloud.stop();
        copy(&data, &fixture.older());
        // Devices of the second project get numbers that the earlier registry has not assigned yet.
        let cloud = start(&data).unwrap();
        fixture.apply(&cloud, 1);
        // Files that are being read keep their write-ahead logs.
        fixture.read(&cloud);
        fixture.import(&cloud, 0..2, now, ROWS, HISTORY_DAYS * DAY_MS);
        wait_for_flush(&cloud);
        fixture.rename(&cloud);
        for _ in 0..LAST_COMMITS {
            fixture.import(&cloud, 0..2, cloud.now_ms(), LAST_ROWS / LAST_COMMITS, 1);
        }
        cloud.kill();
        fixture
    }

    fn data(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    /// The earlier copy.
    pub fn older(&self) -> PathBuf {
        self.temporary.path().join("older")
    }

    /// Copies the folder.
    pub fn copy(&self, to: &Path) {
        copy(&self.data(), to);
    }

    /// The names of all files that are not empty.
    pub fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.data()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let holds = entry.file_type().unwrap().is_file() && entry.metadata().unwrap().len() > 0;
            if holds && !name.ends_with("-shm") && name != "ingle.lock" {
                names.push(name);
            }
        }
        names.sort();
        names
    }

    fn apply(&self, cloud: &TestCloud, project: usize) {
        let (name, id, secret) = PROJECTS[project];
        let known = self.known[project].iter().map(|known| (known.id.clone(), known.local_key.clone()));
        let devices: Vec<_> = known.chain(idle(project)).collect();
        cloud.apply(&document(name, id, secret, &devices));
    }

    /// Imports rows for every device of some projects, the newest at `newest_ms` and the others up to `span_ms` before
    /// it.
    fn import(&mut self, cloud: &TestCloud, projects: Range<usize>, newest_ms: i64, count: i64, span_ms: i64) {
        let mut rows = Vec::new();
        for project in projects {
            for (n, known) in self.known[project].iter_mut().enumerate() {
                let first = known.rows.len() as i64;
                for row in 0..count {
                    let value = ((project * 10 + n + 1) as i64) * 1_000_000 + first + row;
                    let time_ms = newest_ms - (count - 1 - row) * span_ms / count;
                    known.rows.insert((time_ms, value.to_string()));
                    rows.push((known.id.clone(), time_ms, value));
                }
            }
        }
        let rows: Vec<_> = rows.iter().map(|(id, time_ms, n)| (id.as_str(), *time_ms, 7, 1, "n", json!(n))).collect();
        cloud.import(&rows);
    }

    /// Reads the whole log of the devices of the first project.
    fn read(&self, cloud: &TestCloud) {
        let app = cloud.first();
        for known in &self.known[0] {
            assert_eq!(oracle::log(&app, &known.id).unwrap().len(), known.rows.len());
        }
    }

    fn rename(&mut self, cloud: &TestCloud) {
        for (project, (_, client_id, secret)) in PROJECTS.into_iter().enumerate() {
            let app = TuyaApp::new(cloud, client_id, secret);
            for known in &mut self.known[project] {
                let name = format!("{} renamed", known.id);
                let answer = app.put(&format!("/v1.0/devices/{}", known.id), json!({"name": name}));
                assert_eq!(answer["success"], true, "{answer}");
                known.names.push(name);
            }
        }
    }
}

fn new_device(project: usize, n: usize) -> Known {
    let id = format!("{}{n}", WORDS[project]);
    let names = vec![first_name(&id)];
    Known { local_key: key_of(&id), names, rows: BTreeSet::new(), id }
}

fn wait_for_flush(cloud: &TestCloud) {
    cloud.wait(|| !metrics(cloud).contains("\ningle_log_rolls_total 0"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // SQLite creates the index of a write-ahead log again. Without the lock file, a copy stands for the folder itself.
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !name.ends_with("-shm") && name != "ingle.lock" {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
