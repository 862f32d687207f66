//! Long reads wait for a permit; short ones do not.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ingle::domain::event::PageStart;
use ingle::domain::store::Telemetry;
use ingle::domain::{EventCount, EventQuery, ProjectNo};
use ingle::store::long_reads::LongReads;
use ingle::store::sqlite::telemetry::{Shared, SqliteTelemetry, TelemetryOptions};

use super::contract::telemetry::{DEVICE, T, everything, point, walk};

const PROJECT: Option<ProjectNo> = Some(ProjectNo(1));
const ROWS: i64 = 10_000;

/// A log on disk, in which every block has some of three codes, and a limiter with one permit.
async fn log(options: TelemetryOptions) -> (tempfile::TempDir, Arc<SqliteTelemetry>, Arc<LongReads>) {
    let folder = tempfile::tempdir().unwrap();
    let long_reads = Arc::new(LongReads::new(1, 1));
    let telemetry = SqliteTelemetry::open_with(
        folder.path(),
        options,
        Shared { long_reads: long_reads.clone(), ..Shared::standalone() },
    )
    .unwrap();
    let rows = (0..ROWS).map(|i| point(DEVICE, T + i, if i == 0 { "first" } else { ["a", "b"][i as usize % 2] }, "1"));
    telemetry.append(rows.collect()).await.unwrap();
    telemetry.flush_and_compact().unwrap();
    (folder, telemetry, long_reads)
}

fn of_code(code: &str) -> EventQuery {
    EventQuery { codes: vec![code.to_owned()], ..everything() }
}

/// Whether a read is not answered although its short read has had enough time.
async fn becomes_long<T>(read: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(200), read).await.is_err()
}

#[tokio::test]
async fn a_short_read_needs_no_permit_and_a_long_one_waits_for_it() {
    let (_folder, telemetry, long_reads) =
        log(TelemetryOptions { block_rows: 64, ..TelemetryOptions::default() }).await;
    let held = long_reads.acquire(PROJECT).await.unwrap();
    assert_eq!(telemetry.page(PROJECT, DEVICE, &everything()).await.unwrap().rows.len(), 100);
    assert_eq!(telemetry.page(PROJECT, DEVICE, &of_code("a")).await.unwrap().rows.len(), 100);
    let few = EventQuery { from_ms: T + ROWS - 500, ..of_code("a") };
    assert_eq!(telemetry.count(PROJECT, DEVICE, &few).await.unwrap(), EventCount { rows: 250, is_exact: true });
    // Blocks that are completely within the time range are counted by their headers.
    let many = EventQuery { from_ms: T + ROWS - 3_000, ..everything() };
    assert_eq!(telemetry.count(PROJECT, DEVICE, &many).await.unwrap(), EventCount { rows: 3_000, is_exact: true });

    // The whole log has to be searched for the one row.
    let query = EventQuery { limit: 2, ..of_code("first") };
    let (mut page, count) = (telemetry.page(PROJECT, DEVICE, &query), of_code("b"));
    let mut count = telemetry.count(PROJECT, DEVICE, &count);
    assert!(becomes_long(&mut page).await && becomes_long(&mut count).await);
    assert_eq!(long_reads.running(), 1);
    // A caller that disconnects leaves the queue.
    let mut gone = telemetry.page(PROJECT, DEVICE, &query);
    assert!(becomes_long(&mut gone).await);
    drop(gone);
    drop(held);
    let page = page.await.unwrap();
    assert_eq!((page.rows.len(), page.next), (1, None));
    assert_eq!(count.await.unwrap(), EventCount { rows: ROWS as u64 / 2, is_exact: true });
    assert_eq!(long_reads.running(), 0);
}

#[tokio::test]
async fn a_read_that_was_begun_keeps_its_permit_until_it_is_done() {
    let (_folder, telemetry, long_reads) =
        log(TelemetryOptions { block_rows: 64, ..TelemetryOptions::default() }).await;
    let query = of_code("b");
    for _ in 0..20 {
        // The read gets its permit immediately, and its caller disconnects before it is done.
        let count = telemetry.count(PROJECT, DEVICE, &query);
        let _ = tokio::time::timeout(Duration::from_millis(1), count).await;
        assert!(long_reads.running() <= 1);
    }
    // The next caller waits until the last of these reads is done, and gets the permit.
    drop(long_reads.acquire(PROJECT).await.unwrap());
    assert_eq!(long_reads.running(), 0);
}

#[tokio::test]
async fn a_count_looks_at_a_bounded_number_of_rows() {
    let options = TelemetryOptions { block_rows: 64, count_rows: 2_000, ..TelemetryOptions::default() };
    let (_folder, telemetry, _) = log(options).await;
    let count = telemetry.count(PROJECT, DEVICE, &of_code("b")).await.unwrap();
    assert!(!count.is_exact && (900..=1_000).contains(&count.rows), "{count:?}");
    // The same in a memtable.
    let rows = (0..ROWS).map(|i| point(DEVICE, T + ROWS + i, "b", "1"));
    telemetry.append(rows.collect()).await.unwrap();
    let count = telemetry.count(PROJECT, DEVICE, &of_code("b")).await.unwrap();
    assert!(!count.is_exact && (1_900..=2_001).contains(&count.rows), "{count:?}");
}

#[tokio::test]
async fn a_page_that_goes_on_aside_leaves_no_row_out() {
    let (_folder, telemetry, _) = log(TelemetryOptions { block_rows: 64, ..TelemetryOptions::default() }).await;
    for (code, limit) in [("a", 1), ("a", 100), ("b", 7), ("first", 1), ("first", 2), ("none", 5)] {
        let found = walk(&*telemetry, DEVICE, EventQuery { limit, ..of_code(code) }).await;
        let wanted = (0..ROWS).rev().filter(|i| match code {
            "first" => *i == 0,
            "none" => false,
            code => *i > 0 && ["a", "b"][*i as usize % 2] == code,
        });
        let found: Vec<i64> = found.iter().map(|event| event.row.time_ms - T).collect();
        assert_eq!(found, wanted.collect::<Vec<_>>(), "{code} by {limit}");
    }
    // A full page whose next match is far away: the cursor names it, or there is none.
    let query = EventQuery { to_ms: T + 4_000, limit: 1, ..of_code("first") };
    let page = telemetry.page(PROJECT, DEVICE, &query).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (1, None));
    let next = telemetry.page(PROJECT, DEVICE, &EventQuery { start: PageStart::Newest, ..query }).await.unwrap();
    assert_eq!(next, page);
}
