//! What a page of 20 rows costs at many rows of one device, against its own first page at 1,000 rows. Processor time, with
//! many pages requested at the same time; only pages that need long reads are timed one after the other.
//!
//! `INGLE_BENCH_ROWS` sets how many are many, `INGLE_BENCH_FOLDER` where it writes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ingle::domain::event::PageStart;
use ingle::domain::store::Telemetry;
use ingle::domain::{DeviceNo, EventQuery, EventType, EventTypes, NewEvent, RowRef};
use ingle::store::sqlite::telemetry::{Durability, SqliteTelemetry, TelemetryOptions};
use support::{T, codes, median, processor_time_of, report, setting};

const STEP_MS: i64 = 200;
const BATCH: i64 = 10_000;
/// Pages requested at the same time.
const IN_FLIGHT: usize = 64;
/// Pages of which the processor time is measured.
const PAGES: usize = 100_000;
/// Every so many rows the device restarts.
const RESTART_EVERY: i64 = 100_000;

fn query(start: PageStart) -> EventQuery {
    EventQuery { types: EventTypes::all(), codes: vec![], from_ms: 0, to_ms: i64::MAX, start, limit: 20 }
}

/// Processor time for a page in microseconds, with [`IN_FLIGHT`] pages requested at the same time; cursors are taken in turn.
async fn processor_time(telemetry: &Arc<SqliteTelemetry>, queries: &[EventQuery], pages: usize) -> f64 {
    let before = processor_time_of("self");
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|first| {
            let (telemetry, queries) = (telemetry.clone(), queries.to_vec());
            tokio::spawn(async move {
                for at in (first..pages).step_by(IN_FLIGHT) {
                    std::hint::black_box(
                        telemetry.page(None, DeviceNo(1), &queries[at % queries.len()]).await.unwrap(),
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (processor_time_of("self") - before).as_secs_f64() * 1e6 / pages as f64
}

/// The median time of pages that are requested one after the other, in microseconds.
async fn time(telemetry: &SqliteTelemetry, queries: &[EventQuery], pages: usize) -> f64 {
    let mut samples = Vec::new();
    for at in 0..pages {
        let query = &queries[at % queries.len()];
        let begin = Instant::now();
        std::hint::black_box(telemetry.page(None, DeviceNo(1), query).await.unwrap());
        samples.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    median(samples)
}

async fn fill(telemetry: &SqliteTelemetry, rows: std::ops::Range<i64>) {
    let codes = codes();
    for from in rows.clone().step_by(BATCH as usize) {
        let row = |i: i64| {
            let row = report(&codes, 1, T + i * STEP_MS, i as u64);
            if i % RESTART_EVERY == 50 {
                NewEvent { kind: EventType::Restart, code: None, value: None, ..row }
            } else {
                row
            }
        };
        telemetry.append((from..(from + BATCH).min(rows.end)).map(row).collect()).await.unwrap();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let many = setting("INGLE_BENCH_ROWS", 10_000_000) as i64;
    let parent = std::env::var_os("INGLE_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let options = TelemetryOptions { durability: Durability::Os, ..TelemetryOptions::default() };
    runtime.block_on(async {
        let telemetry = SqliteTelemetry::open(folder.path(), options).unwrap();
        fill(&telemetry, 0..1_000).await;
        let in_memory = processor_time(&telemetry, &[query(PageStart::Newest)], PAGES).await;
        telemetry.flush_and_compact().unwrap();
        let few = processor_time(&telemetry, &[query(PageStart::Newest)], PAGES).await;
        println!("page of 20 at 1,000 rows: {few:.1} us from disk (reference), {in_memory:.1} us from memory");
        fill(&telemetry, 1_000..many).await;
        telemetry.flush_and_compact().unwrap();
        let first = processor_time(&telemetry, &[query(PageStart::Newest)], PAGES).await;
        println!(
            "page of 20 at {many} rows, first page: {first:.1} us | {few:.1} us | ratio {:.2} (goal <= 1.5)",
            first / few
        );
        let deep: Vec<_> = (0..997)
            .map(|i| {
                let row = RowRef { time_ms: T + (i * 7_919_933 % many) * STEP_MS, n: 1 };
                query(PageStart::After(row))
            })
            .collect();
        let deep = processor_time(&telemetry, &deep, PAGES).await;
        println!(
            "page of 20 at {many} rows, deep cursors: {deep:.1} us | {few:.1} us | ratio {:.2} (goal <= 1.5)",
            deep / few
        );
        let middle = PageStart::At(RowRef { time_ms: T + many / 2 * STEP_MS, n: 1 });
        let rare = EventQuery { types: [EventType::Restart].into_iter().collect(), ..query(middle) };
        let rare = time(&telemetry, &[rare], 200).await;
        println!("page with a filter for one row in {RESTART_EVERY} (bounded scan): {rare:.0} us");
        let code = EventQuery { codes: vec!["cur_power".to_owned()], ..query(middle) };
        let code = processor_time(&telemetry, &[code], PAGES / 4).await;
        println!("page of 20 with a filter for one code of three: {code:.1} us");
        let begin = Instant::now();
        let count = telemetry.count(None, DeviceNo(1), &query(PageStart::Newest)).await.unwrap().rows;
        println!("count of all {count} rows: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    });
}
