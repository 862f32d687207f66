//! A process is killed while it ingests: afterwards the log has every acknowledged row exactly once, and no incomplete
//! batch. `INGLE_CRASH_KILLS` sets how often.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it did")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ingle::domain::store::Telemetry;
use ingle::domain::{DeviceNo, Value};
use ingle::store::sqlite::telemetry::{SqliteTelemetry, TelemetryOptions};

use super::contract::telemetry::{T, everything, point, walk};
use super::model::Random;

const FOLDER: &str = "INGLE_CRASH_FOLDER";
const FIRST: &str = "INGLE_CRASH_FIRST";
const DEVICES: i64 = 3;
const ROWS: i64 = 7;
/// Includes batches whose rows all have one device and millisecond, and late rows.
const SPREAD_MS: [i64; 4] = [0, 1, 1000, 3 * 24 * 3600 * 1000];

fn options() -> TelemetryOptions {
    TelemetryOptions { memtable_rows: 120, block_rows: 16, compaction_runs: 3, ..TelemetryOptions::default() }
}

fn time_of(batch: i64, row: i64) -> i64 {
    let spread = SPREAD_MS[batch as usize % SPREAD_MS.len()];
    T + batch * 60_000 - spread * row
}

async fn append(telemetry: &SqliteTelemetry, batch: i64) {
    let rows = (0..ROWS).map(|row| {
        let device = DeviceNo(1 + (batch + row) % DEVICES);
        point(device, time_of(batch, row), "batch", &(batch * 100 + row).to_string())
    });
    telemetry.append(rows.collect()).await.unwrap();
}

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let (Ok(folder), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST)) else { return };
    let first: i64 = first.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let telemetry = SqliteTelemetry::open(Path::new(&folder), options()).unwrap();
        for batch in first.. {
            append(&telemetry, batch).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {batch}").unwrap();
            out.flush().unwrap();
        }
    });
}

/// Lets a child process ingest from batch `first` on and kills it; returns the last batch that it acknowledged.
fn ingest_and_kill(folder: &Path, first: i64, random: &mut Random) -> Option<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::crash::child", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let wanted = random.below(300);
    // The moment is random in two ways: after a number of batches, and then some time into the next batch or into a
    // flush.
    let killer_wait = Duration::from_micros(random.below(3_000));
    let mut last = None;
    let mut killed = false;
    let mut seen = 0;
    for line in lines.map_while(Result::ok) {
        let Some(batch) = line.split("acknowledged ").nth(1) else { continue };
        last = Some(batch.parse().unwrap());
        seen += 1;
        if seen >= wanted && !killed {
            std::thread::park_timeout(killer_wait);
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
    last
}

/// The batches in the log. Each must be complete and have each row once.
async fn batches(folder: &Path, random: &mut Random) -> BTreeSet<i64> {
    let telemetry = SqliteTelemetry::open(folder, options()).unwrap();
    if random.below(3) == 0 {
        telemetry.flush_and_compact().unwrap();
    }
    let mut rows = Vec::new();
    for device in 1..=DEVICES {
        let events = walk(&*telemetry, DeviceNo(device), everything()).await;
        assert!(events.windows(2).all(|pair| pair[0].row > pair[1].row), "rows are out of order");
        assert_eq!(telemetry.count(None, DeviceNo(device), &everything()).await.unwrap().rows, events.len() as u64);
        for event in &events {
            let number: i64 = event.value.as_ref().map(Value::as_json).unwrap().parse().unwrap();
            assert_eq!(event.row.time_ms, time_of(number / 100, number % 100));
        }
        rows.extend(events.iter().map(|event| event.value.as_ref().unwrap().as_json().parse::<i64>().unwrap()));
        let latest = telemetry.latest(&[DeviceNo(device)]).await.unwrap();
        let number = |value: &Value| value.as_json().parse::<i64>().unwrap();
        let last = events.iter().max_by_key(|event| number(event.value.as_ref().unwrap()));
        let last = last.map(|event| (event.row, event.value.clone().unwrap()));
        let point = latest[0].points.first().map(|point| (point.row, point.value.clone()));
        assert_eq!(point, last, "the latest value is not the one that arrived last");
    }
    let total = rows.len();
    let distinct: BTreeSet<_> = rows.into_iter().collect();
    assert_eq!(distinct.len(), total, "a row is there twice");
    let batches: BTreeSet<_> = distinct.iter().map(|number| number / 100).collect();
    assert_eq!(total as i64, batches.len() as i64 * ROWS, "a batch is there by half");
    assert_eq!(telemetry.figures().damaged, 0);
    batches
}

#[test]
fn no_acknowledged_row_is_lost_when_the_process_is_killed() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("INGLE_CRASH_KILLS").unwrap_or(10);
    let seed = number("INGLE_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("INGLE_CRASH_SEED={seed}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acknowledged = -1;
    let mut first = 0;
    for kill in 0..kills {
        let last = ingest_and_kill(folder.path(), first, &mut random);
        acknowledged = last.unwrap_or(acknowledged);
        let there = runtime.block_on(batches(folder.path(), &mut random));
        let newest = there.last().copied().unwrap_or(-1);
        assert!(newest >= acknowledged, "batch {acknowledged} was acknowledged and is gone after kill {kill}");
        // The last batch may be stored although it was not acknowledged.
        assert!(newest <= acknowledged + 1);
        assert_eq!(there.len() as i64, newest + 1, "a batch is missing after kill {kill}");
        first = newest + 1;
        acknowledged = newest;
    }
    println!("{kills} kills, {} rows, none lost", first * ROWS);
}
