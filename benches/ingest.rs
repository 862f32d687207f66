//! How fast the embedded event log takes rows, durably, against a plain append of the same bytes with fdatasync a batch;
//! and how long a commit and a page take at a steady rate with flushes and compactions included.
//!
//! `INGLE_BENCH_ROWS` sets the rows of a run, `INGLE_BENCH_RUNS` the runs, `INGLE_BENCH_SECONDS` the steady part,
//! `INGLE_BENCH_FOLDER` where it writes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ingle::domain::event::PageStart;
use ingle::domain::store::Telemetry;
use ingle::domain::{DeviceNo, EventQuery, EventTypes, NewEvent};
use ingle::store::sqlite::telemetry::{SqliteTelemetry, TelemetryOptions};
use support::{T, bytes_in, bytes_written, codes, median, ms, quantile, report, setting};

const DEVICES: u64 = 100_000;

fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("INGLE_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

/// Batches of rows, devices in turn; a device's time advances by a minute each turn.
fn batches(rows: u64, size: u64) -> Vec<Vec<NewEvent>> {
    let codes = codes();
    let row =
        |i: u64| report(&codes, (i % DEVICES) as i64 + 1, T + (i / DEVICES * 60_000 + i % DEVICES / 2) as i64, i / 7);
    (0..rows / size).map(|batch| (batch * size..(batch + 1) * size).map(row).collect()).collect()
}

struct Run {
    rows_per_second: f64,
    rolled_rows_per_second: f64,
    settled: Duration,
    bytes_per_row: f64,
    journal_bytes_per_row: f64,
    written_per_row: f64,
}

fn ingest(runtime: &tokio::runtime::Runtime, rows: u64, size: u64, callers: usize) -> Run {
    let folder = folder();
    let telemetry = SqliteTelemetry::open(folder.path(), TelemetryOptions::default()).unwrap();
    let mut shares: Vec<Vec<_>> = (0..callers).map(|_| Vec::new()).collect();
    for (at, batch) in batches(rows, size).into_iter().enumerate() {
        shares[at % callers].push(batch);
    }
    let total: usize = shares.iter().flatten().map(Vec::len).sum();
    let written = bytes_written();
    let begin = Instant::now();
    runtime.block_on(async {
        let callers: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let telemetry = telemetry.clone();
                tokio::spawn(async move {
                    for batch in share {
                        telemetry.append(batch).await.unwrap();
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
    let elapsed = begin.elapsed();
    let rows = total as f64;
    let journal_bytes_per_row = {
        let waiting = telemetry.figures().rows_in_memory as f64;
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        let journals = names.filter(|entry| entry.file_name().to_string_lossy().starts_with("journal-"));
        journals.map(|entry| entry.metadata().unwrap().len()).sum::<u64>() as f64 / waiting
    };
    telemetry.flush().unwrap();
    let rolled = begin.elapsed();
    telemetry.flush_and_compact().unwrap();
    let settled = begin.elapsed();
    Run {
        rows_per_second: rows / elapsed.as_secs_f64(),
        rolled_rows_per_second: rows / rolled.as_secs_f64(),
        settled: settled - elapsed,
        bytes_per_row: bytes_in(folder.path()) as f64 / rows,
        journal_bytes_per_row,
        written_per_row: (bytes_written() - written) as f64 / rows,
    }
}

/// Appends of so many bytes a batch to a plain file, each with fdatasync; in rows a second.
fn plain(rows: u64, size: u64, bytes_per_row: f64) -> f64 {
    let folder = folder();
    let mut file = std::fs::File::create(folder.path().join("plain")).unwrap();
    let batch: Vec<u8> = (0..(size as f64 * bytes_per_row) as usize).map(|i| (i * 31 % 251) as u8).collect();
    let begin = Instant::now();
    for _ in 0..rows / size {
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
    }
    rows as f64 / begin.elapsed().as_secs_f64()
}

fn compare(runtime: &tokio::runtime::Runtime, rows: u64, size: u64, callers: usize, runs: u64) {
    let runs: Vec<_> = (0..runs)
        .map(|_| {
            let run = ingest(runtime, rows, size, callers);
            let plain = plain(rows, size, run.journal_bytes_per_row);
            (run, plain)
        })
        .collect();
    let of = |figure: &dyn Fn(&(Run, f64)) -> f64| median(runs.iter().map(figure).collect());
    let rate = of(&|(run, _)| run.rows_per_second);
    let plain = of(&|(_, plain)| *plain);
    println!(
        "ingest durable batch={size} callers={callers}: {rate:.0} rows/s | plain append+fdatasync {plain:.0} rows/s | \
         ratio {:.2} | with rolls finished {:.0} rows/s, merged {:.1} s later",
        rate / plain,
        of(&|(run, _)| run.rolled_rows_per_second),
        of(&|(run, _)| run.settled.as_secs_f64()),
    );
    let (kept, journal) = (of(&|(run, _)| run.bytes_per_row), of(&|(run, _)| run.journal_bytes_per_row));
    let written = of(&|(run, _)| run.written_per_row);
    println!(
        "  bytes a row: {kept:.1} on disk after all rolls and merges, {journal:.1} in the journal, {written:.1} written \
         in all ({:.1} x what is kept)",
        written / kept
    );
}

fn steady(runtime: &tokio::runtime::Runtime, rate: u64, seconds: u64) {
    let folder = folder();
    let options = TelemetryOptions { memtable_rows: 50_000, ..TelemetryOptions::default() };
    let telemetry = SqliteTelemetry::open(folder.path(), options).unwrap();
    let size = 200;
    let batches = batches(rate * seconds, size);
    let done = Arc::new(AtomicBool::new(false));
    let (mut commits, mut pages) = runtime.block_on(async {
        let reader = tokio::spawn(read(telemetry.clone(), done.clone()));
        let begin = Instant::now();
        let mut waiting = Vec::new();
        for (at, batch) in batches.into_iter().enumerate() {
            let due = begin + Duration::from_secs_f64(at as f64 * size as f64 / rate as f64);
            tokio::time::sleep_until(due.into()).await;
            let telemetry = telemetry.clone();
            waiting.push(tokio::spawn(async move {
                let begin = Instant::now();
                telemetry.append(batch).await.unwrap();
                begin.elapsed()
            }));
        }
        let mut commits = Vec::new();
        for commit in waiting {
            commits.push(commit.await.unwrap());
        }
        done.store(true, Ordering::Release);
        (commits, reader.await.unwrap())
    });
    let flushes = telemetry.figures().flushes;
    println!(
        "steady {rate} rows/s for {seconds} s, {flushes} flushes: commit p50 {:.2} ms, p99 {:.2} ms (goal < 25), worst {:.2} ms | \
         page of 20 p50 {:.3} ms, p99 {:.3} ms (goal < 2), worst {:.2} ms, {} pages",
        ms(quantile(&mut commits, 0.5)),
        ms(quantile(&mut commits, 0.99)),
        ms(quantile(&mut commits, 1.0)),
        ms(quantile(&mut pages, 0.5)),
        ms(quantile(&mut pages, 0.99)),
        ms(quantile(&mut pages, 1.0)),
        pages.len(),
    );
}

/// Reads pages of one device after the other, a thousand a second.
async fn read(telemetry: Arc<SqliteTelemetry>, done: Arc<AtomicBool>) -> Vec<Duration> {
    let mut pages = Vec::new();
    let mut device = 0;
    while !done.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        device = (device + 7919) % DEVICES as i64;
        let types = EventTypes::all();
        let query =
            EventQuery { types, codes: vec![], from_ms: 0, to_ms: i64::MAX, start: PageStart::Newest, limit: 20 };
        let begin = Instant::now();
        telemetry.page(None, DeviceNo(device + 1), &query).await.unwrap();
        pages.push(begin.elapsed());
    }
    pages
}

/// How long a cached latest value takes to read, and how long the log takes to open.
fn hot_and_cold(runtime: &tokio::runtime::Runtime) {
    let folder = folder();
    let open = || SqliteTelemetry::open(folder.path(), TelemetryOptions::default()).unwrap();
    let telemetry = open();
    let device = [DeviceNo(5)];
    let rows = |round: i64| {
        let codes: Vec<Arc<str>> = (0..6).map(|i| format!("code_{i}").into()).collect();
        let base = report(&support::codes(), 5, T + round, 1);
        codes.into_iter().map(move |code| NewEvent { code: Some(code), ..base.clone() }).collect::<Vec<_>>()
    };
    runtime.block_on(async {
        telemetry.append(rows(0)).await.unwrap();
        telemetry.flush().unwrap();
        let time = async |what: &str| {
            telemetry.latest(&device).await.unwrap();
            let begin = Instant::now();
            for _ in 0..200_000 {
                std::hint::black_box(telemetry.latest(&device).await.unwrap());
            }
            println!(
                "latest of one device with 6 points, {what}: {:.0} ns (goal 1000)",
                begin.elapsed().as_nanos() as f64 / 2e5
            );
        };
        time("cached from disk").await;
        telemetry.append(rows(1)).await.unwrap();
        time("cached, and all newer in memory").await;
        telemetry.flush().unwrap();
        for batch in batches(249_000, 1_000) {
            telemetry.append(batch).await.unwrap();
        }
    });
    drop(telemetry);
    let begin = Instant::now();
    let telemetry = open();
    println!(
        "open with a full journal ({} rows of 100,000 devices): {:.0} ms (goal < 300)",
        telemetry.figures().rows_in_memory,
        ms(begin.elapsed())
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runs = setting("INGLE_BENCH_RUNS", 3);
    let rows = setting("INGLE_BENCH_ROWS", 5_000_000);
    compare(&runtime, rows, 5_000, 1, runs);
    compare(&runtime, rows, 5_000, 4, runs);
    compare(&runtime, rows / 4, 100, 1, runs);
    compare(&runtime, rows / 4, 100, 8, runs);
    steady(&runtime, 20_000, setting("INGLE_BENCH_SECONDS", 20));
    hot_and_cold(&runtime);
}
