//! A power cut at any moment: every write, fsync, rename and unlink of the real binary is recorded, and the server is
//! started on disks that a power cut could have left, with changes that no fsync covered lost, torn or out of order.
//! The server starts, everything that was acknowledged before is there, and nothing that was never sent.
//! `INGLE_POWER_CUTS` sets how many disks, `INGLE_POWER_CUT_SEED` which.

mod recording;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::recording::{Base, Disk, Marks, Recording};
use crate::store::model::Random;
use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::world::{FIRST_APP_KEY, FIRST_APP_SECRET, FIRST_ID, FIRST_PROJECT_ID, FIRST_SECRET};
use crate::support::{INGLE, TestCloud};

const DEVICES: u64 = 6;
/// Reports of all devices while no memtable is flushed.
const STEADY_REPORTS: u64 = 240;
/// The smallest value of the setting, so that flushes happen soon.
const MEMTABLE_ROWS: u64 = 1000;
const RETENTION_DAYS: i64 = 10;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Rows of each day in the history for retention.
const ROWS_A_DAY: i64 = 60;
const HISTORY_DAYS: i64 = 28;
/// One disk in this many has a second power cut. It is no divisor of the number of phases, so that each phase has some.
const CUT_AGAIN: u64 = 5;
/// Number of servers at the same time.
const THREADS: usize = 2;

/// The device whose rows are imported, and a device that is renamed repeatedly.
const HISTORY: &str = "history";
const RENAMED: &str = "cut0";

fn settings(retention_days: i64) -> [(&'static str, String); 2] {
    [
        ("INGLE_TELEMETRY_MEMORY_ROWS", MEMTABLE_ROWS.to_string()),
        ("INGLE_TELEMETRY_RETENTION_DAYS", retention_days.to_string()),
    ]
}

fn start(folder: &Path, retention_days: i64, preload: &[(&str, &str)]) -> Result<TestCloud, String> {
    let own = settings(retention_days);
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestCloud::by(Command::new(INGLE), folder, &[&own, preload].concat())
}

fn id(device: u64) -> String {
    format!("cut{device}")
}

fn world() -> Value {
    let device = |id: String| json!({"product_id": "cut", "device_id": id, "device_name": id, "secret": "secret"});
    let devices = (0..DEVICES).map(id).chain([HISTORY.to_owned()]).map(device);
    json!({"projects": [{"name": "first",
        "tuya": {"client_id": FIRST_ID, "secret": FIRST_SECRET},
        "aliyun": {"project_id": FIRST_PROJECT_ID, "app_key": FIRST_APP_KEY, "app_secret": FIRST_APP_SECRET},
        "products": [{"product_id": "cut", "product_key": "cutkey", "name": "Cut", "category": "cz",
            "functions": [{"code": "n", "type": "Integer"}]}],
        "devices": devices.collect::<Vec<_>>()}]})
}

/// The recording of one folder, and its state before.
struct Life {
    name: &'static str,
    base: Base,
    recording: Recording,
    retention_days: i64,
    /// The marks between which power cuts fall, equally often in each.
    phases: Vec<(&'static str, &'static str)>,
    _temporary: TempDir,
}

/// A recorded server, and how many reports of its devices were acknowledged.
struct Recorded {
    cloud: TestCloud,
    marks: Marks,
    acknowledged: AtomicU64,
}

impl Recorded {
    fn start(temporary: &Path, data: &Path, retention_days: i64) -> Self {
        let library = recording::recorder(temporary);
        let log = log_of(temporary);
        let marks = Marks::new(&log);
        marks.mark("begun");
        let names = [&library, data, &log].map(|path| path.to_str().unwrap());
        let preload = [("LD_PRELOAD", names[0]), ("INGLE_RECORD_FOLDER", names[1]), ("INGLE_RECORD_LOG", names[2])];
        let cloud = start(data, retention_days, &preload).unwrap();
        marks.mark("started");
        Self { cloud, marks, acknowledged: AtomicU64::new(0) }
    }

    /// Devices report numbers from `first[device]` on, one in flight, and one is renamed, until `enough`. Returns the
    /// next numbers.
    fn load(&self, first: &[u64], enough: impl Fn(u64) -> bool + Sync) -> Vec<u64> {
        let before = self.acknowledged.load(Ordering::Relaxed);
        let done = AtomicBool::new(false);
        let is_done = || {
            if enough(self.acknowledged.load(Ordering::Relaxed) - before) {
                done.store(true, Ordering::Relaxed);
            }
            done.load(Ordering::Relaxed)
        };
        std::thread::scope(|scope| {
            let devices: Vec<_> = (0..DEVICES)
                .map(|device| {
                    let (is_done, next) = (&is_done, first[device as usize]);
                    scope.spawn(move || self.report(device, next, is_done))
                })
                .collect();
            let app = self.cloud.first();
            // The first number is higher in every load.
            for n in first[0].. {
                let renamed = app.put(&format!("/v1.0/devices/{RENAMED}"), json!({"name": format!("name {n}")}));
                assert_eq!(renamed["success"], true, "{renamed}");
                self.marks.mark(&format!("name {n}"));
                if is_done() {
                    break;
                }
            }
            devices.into_iter().map(|device| device.join().unwrap()).collect()
        })
    }

    fn report(&self, device: u64, first: u64, is_done: impl Fn() -> bool) -> u64 {
        let id = id(device);
        let mut connection = MqttDevice::connect(&self.cloud, &tuyalink(&id, "secret"));
        for n in first.. {
            let value = json!({"msgId": "1", "data": {"n": {"value": n, "time": self.cloud.now_ms()}}});
            assert!(connection.published(&format!("tylink/{id}/thing/property/report"), &value));
            self.marks.mark(&format!("row {device} {n}"));
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            if is_done() {
                return n + 1;
            }
        }
        unreachable!("numbers do not end")
    }

    fn stop(self) {
        self.marks.mark("stopping");
        self.cloud.stop();
        self.marks.mark("stopped");
    }
}

fn log_of(temporary: &Path) -> PathBuf {
    temporary.join("recording")
}

/// How many flushes the server has finished.
fn flushes(cloud: &TestCloud) -> u64 {
    let metrics = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let text = crate::support::raw(metrics, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let line = text.lines().find(|line| line.starts_with("ingle_log_rolls_total ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A first start, steady load, load with flushes, and a clean stop.
fn ordinary_life() -> Life {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    let recorded = Recorded::start(temporary.path(), &data, 30);
    recorded.cloud.apply(&world());
    recorded.marks.mark("applied");
    let next = recorded.load(&[1; DEVICES as usize], |reports| reports >= STEADY_REPORTS);
    recorded.marks.mark("steady");
    recorded.load(&next, |reports| {
        reports >= MEMTABLE_ROWS && flushes(&recorded.cloud) >= 2 || reports > 20 * MEMTABLE_ROWS
    });
    assert!(flushes(&recorded.cloud) >= 2, "no memtable was flushed");
    recorded.stop();
    let recording = Recording::read(&log_of(temporary.path()));
    the_recording_is_complete(&recording, &Base(Vec::new()), &data);
    let phases = vec![
        ("begun", "started"),
        ("started", "applied"),
        ("applied", "steady"),
        ("steady", "stopping"),
        ("stopping", "stopped"),
    ];
    Life { name: "ordinary", base: Base(Vec::new()), recording, retention_days: 30, phases, _temporary: temporary }
}

/// A start after a kill, with history that is partly older than the retention, some load, and a clean stop.
fn life_with_retention() -> Life {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    let cloud = start(&data, 30, &[]).unwrap();
    cloud.apply(&world());
    let now = cloud.now_ms();
    let rows = (0..HISTORY_DAYS * ROWS_A_DAY).map(|n| (HISTORY, now - DAY_MS * n / ROWS_A_DAY, 7, 1, "n", json!(n)));
    cloud.import(&rows.collect::<Vec<_>>());
    cloud.wait(|| flushes(&cloud) > 0);
    cloud.kill();
    let base = Base::read(&data);
    let old = events_files(&data);
    assert!(old.len() >= 4, "{old:?}");
    let recorded = Recorded::start(temporary.path(), &data, RETENTION_DAYS);
    for word in ["applied", &format!("history {now}")] {
        recorded.marks.mark(word);
    }
    // Retention decides whether a file is deleted; if one is, it is deleted while devices report.
    let enough = |reports| reports >= STEADY_REPORTS / 2 && !data.join(&old[0]).exists() || reports >= STEADY_REPORTS;
    recorded.load(&[1; DEVICES as usize], enough);
    recorded.stop();
    let recording = Recording::read(&log_of(temporary.path()));
    the_recording_is_complete(&recording, &base, &data);
    let phases = vec![("begun", "started"), ("started", "stopping"), ("stopping", "stopped")];
    Life { name: "retention", base, recording, retention_days: RETENTION_DAYS, phases, _temporary: temporary }
}

fn events_files(data: &Path) -> Vec<String> {
    let names = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("events-") && name.ends_with(".db")).collect();
    names.sort();
    names
}

/// Replaying all recorded calls gives the files that exist: the recorder missed nothing.
fn the_recording_is_complete(recording: &Recording, base: &Base, data: &Path) {
    let mut disk = Disk::before(base, recording);
    disk.replay(0..recording.calls.len());
    let (made, real) = (disk.whole(), Base::read(data).contents());
    assert_eq!(made.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>());
    for (name, bytes) in real {
        assert!(made[&name] == bytes, "the recording of {name} is not complete");
    }
}

/// What must be there after a power cut, by the marks before it.
#[derive(Default)]
struct Acknowledged {
    applied: bool,
    rows: BTreeMap<u64, u64>,
    name: u64,
    history_from_ms: Option<i64>,
}

impl Acknowledged {
    fn at(recording: &Recording, cut: usize) -> Self {
        let mut found = Self::default();
        for mark in recording.marks(cut) {
            let words: Vec<&str> = mark.split(' ').collect();
            match words[..] {
                ["applied"] => found.applied = true,
                ["row", device, n] => {
                    found.rows.insert(device.parse().unwrap(), n.parse().unwrap());
                }
                ["name", n] => found.name = n.parse().unwrap(),
                ["history", now] => found.history_from_ms = Some(now.parse().unwrap()),
                _ => {}
            }
        }
        // What existed before the recording began.
        found.history_from_ms = found.history_from_ms.or_else(|| {
            let mut all = recording.marks(recording.calls.len());
            all.find_map(|mark| mark.strip_prefix("history ")).map(|now| now.parse().unwrap())
        });
        found.applied |= found.history_from_ms.is_some();
        found
    }
}

/// Time and value of each row of a device, newest first.
fn rows(cloud: &TestCloud, device: &str) -> Vec<(i64, i64)> {
    let (app, mut end, mut found) = (cloud.aliyun(), cloud.now_ms() + 60_000, Vec::new());
    loop {
        let page = json!({"productKey": "cutkey", "deviceName": device, "identifier": "n", "start": 0, "end": end,
            "pageSize": 100});
        let page = app.data("/cloud/thing/property/timeline/get", page);
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|row| (row["timestamp"].as_i64().unwrap(), row["data"].as_i64().unwrap())));
        if items.is_empty() {
            return found;
        }
        end = page["timestamp"].as_i64().unwrap();
    }
}

/// Starts a server on a disk and compares its data with what was acknowledged.
fn check(folder: &Path, life: &Life, cut: usize) {
    let expected = Acknowledged::at(&life.recording, cut);
    let cloud = start(folder, life.retention_days, &[]).unwrap_or_else(|text| panic!("it does not start: {text}"));
    if !expected.applied {
        // Nothing was acknowledged yet; the folder must be usable.
        cloud.apply(&world());
        return;
    }
    for device in 0..DEVICES {
        let last = expected.rows.get(&device).copied().unwrap_or(0);
        let mut numbers: Vec<u64> = rows(&cloud, &id(device)).iter().map(|(_, n)| u64::try_from(*n).unwrap()).collect();
        numbers.sort_unstable();
        // One report may be on the disk that was not acknowledged yet.
        let whole = |last| (1..=last).collect::<Vec<u64>>();
        if numbers != whole(last) && numbers != whole(last + 1) {
            let missing: Vec<_> = (1..=last).filter(|n| !numbers.contains(n)).collect();
            panic!("device {device}: {last} rows were acknowledged, {} are there; missing {missing:?}", numbers.len());
        }
    }
    let detail = cloud.first().get(&format!("/v1.0/devices/{RENAMED}"));
    let name = detail["result"]["name"].as_str().unwrap_or_else(|| panic!("{detail}")).to_owned();
    let number = name.strip_prefix("name ").map_or(0, |number| number.parse::<u64>().unwrap());
    assert!((expected.name..=expected.name + 1).contains(&number), "{name:?}, acknowledged was {}", expected.name);
    if let Some(now) = expected.history_from_ms {
        let there = rows(&cloud, HISTORY);
        let all: BTreeMap<i64, i64> =
            (0..HISTORY_DAYS * ROWS_A_DAY).map(|n| (n, now - DAY_MS * n / ROWS_A_DAY)).collect();
        assert!(there.iter().all(|(time, n)| all.get(n) == Some(time)), "history that nobody imported");
        // A part of the oldest day may have passed since.
        let kept = all.range(..(life.retention_days - 1) * ROWS_A_DAY).count();
        let found = there.iter().filter(|(_, n)| *n < (life.retention_days - 1) * ROWS_A_DAY).count();
        assert_eq!(found, kept, "rows within the retention");
    }
}

/// Cuts the power once, or once more while the server starts from the first disk, and starts it again.
fn cut_and_check(life: &Life, phase: (&str, &str), again: bool, random: &mut Random, temporary: &Path) {
    let recording = &life.recording;
    let cut = recording.moment(recording.position(phase.0), recording.position(phase.1), random);
    let mut disk = Disk::before(&life.base, recording);
    disk.replay(0..cut);
    let folder = temporary.join("data");
    recording::write_image(&folder, &disk.after_a_power_cut(random));
    if !again {
        check(&folder, life, cut);
        return;
    }
    let base = Base::read(&folder);
    Recorded::start(temporary, &folder, life.retention_days).stop();
    let recovery = Recording::read(&log_of(temporary));
    the_recording_is_complete(&recovery, &base, &folder);
    let mut disk = Disk::before(&base, &recovery);
    disk.replay(0..recovery.moment(0, recovery.calls.len(), random));
    let folder = temporary.join("again");
    recording::write_image(&folder, &disk.after_a_power_cut(random));
    check(&folder, life, cut);
}

#[test]
fn nothing_acknowledged_is_lost_by_a_power_cut() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cuts = number("INGLE_POWER_CUTS").unwrap_or(20);
    let seed = number("INGLE_POWER_CUT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("INGLE_POWER_CUT_SEED={seed}");
    let lives = [ordinary_life(), life_with_retention()];
    let phases: Vec<_> = lives.iter().flat_map(|life| life.phases.iter().map(move |phase| (life, *phase))).collect();
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= cuts {
                        return;
                    }
                    let mut random = Random(seed.wrapping_add(index.wrapping_mul(1_000_003)));
                    let (life, phase) = phases[index as usize % phases.len()];
                    let again = index % CUT_AGAIN == CUT_AGAIN - 1;
                    let temporary = tempfile::tempdir().unwrap();
                    let checked = catch_unwind(AssertUnwindSafe(|| {
                        cut_and_check(life, phase, again, &mut random, temporary.path());
                    }));
                    if let Err(panicked) = checked {
                        let text = panicked.downcast_ref::<String>().cloned().unwrap_or_default();
                        let logs = ["data.log", "again.log"].map(|name| temporary.path().join(name));
                        let log: String = logs.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
                        let twice = if again { ", twice" } else { "" };
                        let place = format!("disk {index} ({}, {} to {}{twice})", life.name, phase.0, phase.1);
                        failures.lock().unwrap().push(format!("{place}: {text}\n{log}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {cuts} disks:\n{}", failures.len(), failures.join("\n"));
}
