//! What only the embedded engine promises: damage affects only the damaged rows, a failed flush is tried again, and
//! reads are correct while rows move from memtables to disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it did")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ingle::domain::event::PageStart;
use ingle::domain::store::Telemetry;
use ingle::domain::{DeviceNo, EventQuery, NewEvent};
use ingle::store::sqlite::telemetry::{SqliteTelemetry, TelemetryOptions};

use super::contract::telemetry::{DEVICE, Subject, T, everything, point, walk};

/// A device whose clock runs backwards: each row is older than the one before.
const BACKWARDS: DeviceNo = DeviceNo(12);

/// The embedded engine in a folder of its own.
pub fn subject() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = SqliteTelemetry::open(folder.path(), TelemetryOptions::default()).unwrap();
    let maintained = telemetry.clone();
    Subject { telemetry, maintain: Box::new(move || maintained.flush_and_compact().unwrap()), _keep: Box::new(folder) }
}

/// Flushes and compacts as often as possible.
pub fn flush_eagerly() -> TelemetryOptions {
    TelemetryOptions {
        memtable_rows: 10,
        block_rows: 4,
        compaction_runs: 2,
        scan_rows: 64,
        ..TelemetryOptions::default()
    }
}

fn open(folder: &Path) -> Arc<SqliteTelemetry> {
    SqliteTelemetry::open(folder, TelemetryOptions::default()).unwrap()
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(prefix) && name.ends_with(".db")
    };
    entries.filter(named).collect()
}

async fn append(telemetry: &SqliteTelemetry, rows: impl Iterator<Item = i64>) {
    telemetry.append(rows.map(|i| point(DEVICE, T + i, "a", &i.to_string())).collect()).await.unwrap();
}

async fn count(telemetry: &SqliteTelemetry) -> u64 {
    let count = telemetry.count(None, DEVICE, &everything()).await.unwrap().rows;
    assert_eq!(walk(telemetry, DEVICE, everything()).await.len() as u64, count);
    count
}

#[tokio::test]
async fn acknowledged_rows_are_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let telemetry = open(folder.path());
        assert_eq!(count(&telemetry).await, round * 100);
        append(&telemetry, (0..50).map(|i| i + 100 * round as i64)).await;
        if round == 1 {
            telemetry.flush().unwrap();
        }
        append(&telemetry, (50..100).map(|i| i + 100 * round as i64)).await;
        telemetry.close();
        assert!(telemetry.append(vec![point(DEVICE, T, "a", "0")]).await.is_err());
    }
    let telemetry = open(folder.path());
    telemetry.flush_and_compact().unwrap();
    assert_eq!(count(&telemetry).await, 400);
    assert_eq!(telemetry.latest(&[DEVICE]).await.unwrap()[0].points[0].value.as_json(), "399");
    assert_eq!(telemetry.figures().rows_in_memory, 0);
}

#[tokio::test]
async fn a_damaged_block_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 0..2_000).await;
    telemetry.flush_and_compact().unwrap();
    let [file] = files(folder.path(), "events-").try_into().unwrap();
    let database = rusqlite::Connection::open(file).unwrap();
    let middle = "SELECT inv_time FROM block ORDER BY inv_time LIMIT 1 OFFSET 3";
    let inv_time: i64 = database.query_row(middle, [], |row| row.get(0)).unwrap();
    let mut blob: Vec<u8> =
        database.query_row("SELECT blob FROM block WHERE inv_time = ?1", [inv_time], |row| row.get(0)).unwrap();
    for place in [0, 7, blob.len() / 2, blob.len() - 1] {
        blob[place] ^= 0x40;
        database.execute("UPDATE block SET blob = ?2 WHERE inv_time = ?1", (inv_time, &blob)).unwrap();
        let left = count(&telemetry).await;
        assert_eq!(left, 2_000 - 256);
        assert_eq!(telemetry.figures().damaged, 1);
        blob[place] ^= 0x40;
    }
    database.execute("UPDATE block SET blob = x'' WHERE inv_time = ?1", [inv_time]).unwrap();
    assert_eq!(count(&telemetry).await, 2_000 - 256);
    // An undamaged block at a wrong location counts as damage as well.
    database
        .execute("UPDATE block SET blob = ?2, inv_time = inv_time - 1 WHERE inv_time = ?1", (inv_time, &blob))
        .unwrap();
    assert_eq!(count(&telemetry).await, 2_000 - 256);
    // Late rows for the times that were lost, then everything is compacted.
    append(&telemetry, (0..2_000).step_by(10)).await;
    for _ in 0..8 {
        append(&telemetry, 5_000..5_010).await;
        telemetry.flush_and_compact().unwrap();
    }
    assert_eq!(count(&telemetry).await, 2_000 - 256 + 200 + 80);
}

#[tokio::test]
async fn a_damaged_journal_entry_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    for batch in 0..5 {
        append(&telemetry, batch * 10..(batch + 1) * 10).await;
    }
    telemetry.close();
    let [file] = files(folder.path(), "journal-").into_iter().min().map(|file| [file]).unwrap();
    let database = rusqlite::Connection::open(file).unwrap();
    let mut blob: Vec<u8> =
        database.query_row("SELECT rows FROM journal WHERE batch = 3", [], |row| row.get(0)).unwrap();
    blob[20] ^= 1;
    database.execute("UPDATE journal SET rows = ?1 WHERE batch = 3", [blob]).unwrap();
    drop(database);
    let telemetry = open(folder.path());
    assert_eq!(telemetry.figures().damaged, 1);
    assert_eq!(count(&telemetry).await, 40);
    telemetry.flush_and_compact().unwrap();
    assert_eq!(count(&telemetry).await, 40);
}

#[tokio::test]
async fn a_flush_that_fails_is_tried_again_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 0..100).await;
    let partition = T / (7 * 24 * 3600 * 1000);
    let obstacle = folder.path().join(format!("events-{partition}.db"));
    std::fs::create_dir(&obstacle).unwrap();
    assert!(telemetry.flush().is_err());
    append(&telemetry, 100..200).await;
    assert!(telemetry.flush().is_err());
    assert_eq!(count(&telemetry).await, 200);
    assert!(telemetry.figures().flushes_failed >= 2);
    assert_eq!(telemetry.figures().rows_in_memory, 200);
    // The numbers continue, too.
    append(&telemetry, 0..1).await;
    assert_eq!(walk(&*telemetry, DEVICE, everything()).await.last().unwrap().row.n, 1);
    // Restarting in that state must not lose anything either.
    telemetry.close();
    drop(telemetry);
    let telemetry = open(folder.path());
    assert_eq!(count(&telemetry).await, 201);
    assert!(telemetry.flush().is_err());
    std::fs::remove_dir(&obstacle).unwrap();
    telemetry.flush_and_compact().unwrap();
    assert_eq!(telemetry.figures().rows_in_memory, 0);
    assert_eq!(count(&telemetry).await, 201);
}

#[tokio::test]
async fn memtables_that_cannot_be_flushed_stay_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options = TelemetryOptions { memtable_rows: 1_000, ..TelemetryOptions::default() };
    let telemetry = SqliteTelemetry::open(folder.path(), options).unwrap();
    let partition = T / (7 * 24 * 3600 * 1000);
    let obstacle = folder.path().join(format!("events-{partition}.db"));
    std::fs::create_dir(&obstacle).unwrap();
    for batch in 0..20 {
        append(&telemetry, batch * 100..(batch + 1) * 100).await;
    }
    assert_eq!(count(&telemetry).await, 2_000);
    // The next commit has to wait until the disk has space.
    let waiting = tokio::spawn({
        let telemetry = telemetry.clone();
        async move { append(&telemetry, 5_000..5_100).await }
    });
    std::fs::remove_dir(&obstacle).unwrap();
    waiting.await.unwrap();
    telemetry.flush_and_compact().unwrap();
    assert_eq!(count(&telemetry).await, 2_100);
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 0..10).await;
    let [journal] = files(folder.path(), "journal-").into_iter().min().map(|file| [file]).unwrap();
    let obstacle = rusqlite::Connection::open(journal).unwrap();
    obstacle.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = telemetry.append(vec![point(DEVICE, T, "a", "1"), point(DEVICE, T + 50, "b", "1")]).await;
    assert!(matches!(failed, Err(ingle::domain::Error::Store(_))), "{failed:?}");
    assert_eq!(count(&telemetry).await, 10);
    assert_eq!(telemetry.latest(&[DEVICE]).await.unwrap()[0].points.len(), 1);
    obstacle.execute_batch("ROLLBACK").unwrap();
    drop(obstacle);
    append(&telemetry, 0..10).await;
    telemetry.close();
    drop(telemetry);
    let telemetry = open(folder.path());
    assert_eq!(count(&telemetry).await, 20);
    assert!(walk(&*telemetry, DEVICE, everything()).await.iter().step_by(2).all(|event| event.row.n == 2));
}

/// Needs a small file system at the path in `INGLE_SMALL_DISK`, which `./check` does not provide.
#[tokio::test]
async fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let Some(disk) = std::env::var_os("INGLE_SMALL_DISK") else { return };
    let folder = tempfile::tempdir_in(&disk).unwrap();
    let ballast = Path::new(&disk).join("ballast");
    std::fs::write(&ballast, vec![1; 6 << 20]).unwrap();
    let options = TelemetryOptions { memtable_rows: 20_000, ..TelemetryOptions::default() };
    let telemetry = SqliteTelemetry::open(folder.path(), options).unwrap();
    let (mut there, mut failures) = (0, 0);
    let batch = async |from: i64| {
        let value = |i: i64| format!("\"{:016x}{:016x}\"", super::model::Random(i as u64).next(), i);
        telemetry.append((from..from + 100).map(|i| point(DEVICE, T + i, "a", &value(i))).collect()).await
    };
    while failures < 20 {
        match batch(there).await {
            Ok(()) => there += 100,
            Err(_) => failures += 1,
        }
        assert!(there < 10_000_000, "the disk does not get full");
    }
    println!("{there} rows until the disk was full, {} flushes failed", telemetry.figures().flushes_failed);
    assert_eq!(count(&telemetry).await, there as u64);
    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..20 {
        batch(there).await.unwrap();
        there += 100;
    }
    telemetry.flush_and_compact().unwrap();
    assert_eq!(count(&telemetry).await, there as u64);
    telemetry.close();
    drop(telemetry);
    assert_eq!(count(&open(folder.path())).await, there as u64);
}

#[tokio::test]
async fn the_log_goes_on_without_the_file_of_latest_values() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 0..100).await;
    telemetry.flush_and_compact().unwrap();
    append(&telemetry, 100..200).await;
    drop(telemetry);
    std::fs::remove_file(folder.path().join("latest.db")).unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 50..60).await;
    assert_eq!(count(&telemetry).await, 210);
    telemetry.flush_and_compact().unwrap();
    assert_eq!(count(&telemetry).await, 210);
}

#[tokio::test]
async fn a_page_that_finds_nothing_names_the_first_row_it_did_not_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let options = TelemetryOptions { scan_rows: 64, ..TelemetryOptions::default() };
    let telemetry = SqliteTelemetry::open(folder.path(), options).unwrap();
    let rows = |i: i64| [point(DEVICE, T + i, "b", "1"), point(DEVICE, T + i, "a", "1")][i.min(1) as usize].clone();
    telemetry.append((0..1_000).map(rows).collect()).await.unwrap();
    let query = EventQuery { codes: vec!["b".to_owned()], ..everything() };
    let page = telemetry.page(None, DEVICE, &query).await.unwrap();
    assert!(page.rows.is_empty());
    assert_eq!(page.next.unwrap().row.time_ms, T + 999 - 64);
    assert_eq!(walk(&*telemetry, DEVICE, query.clone()).await.len(), 1);
    // On disk, a few blocks without that code are skipped without decompressing them.
    telemetry.flush_and_compact().unwrap();
    let page = telemetry.page(None, DEVICE, &query).await.unwrap();
    assert!(page.next.unwrap().row.time_ms < T + 999 - 256);
    assert_eq!(walk(&*telemetry, DEVICE, query).await.len(), 1);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close();
    let database = rusqlite::Connection::open(folder.path().join("latest.db")).unwrap();
    database.execute_batch("PRAGMA user_version = 3").unwrap();
    assert!(SqliteTelemetry::open(folder.path(), TelemetryOptions::default()).is_err());
}

/// Rows that were written before the bit for current rows existed are read as uploads.
#[tokio::test]
async fn a_folder_from_before_keeps_its_state_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let before = |i: i64| NewEvent { is_history: true, ..point(DEVICE, T + i, "a", &i.to_string()) };
    let state = async |telemetry: &SqliteTelemetry| {
        let latest = telemetry.latest(&[DEVICE]).await.unwrap();
        latest[0].points[0].value.as_json().to_owned()
    };
    let telemetry = open(folder.path());
    for (i, is_rolled) in [(1, true), (9, true), (5, true), (3, false)] {
        telemetry.append(vec![before(i)]).await.unwrap();
        if is_rolled {
            telemetry.flush_and_compact().unwrap();
        }
    }
    telemetry.close();
    drop(telemetry);
    for prefix in ["journal-", "events-", "latest"] {
        let found = files(folder.path(), prefix);
        assert!(!found.is_empty());
        for file in found {
            let database = rusqlite::Connection::open(file).unwrap();
            database.execute_batch("PRAGMA user_version = 1").unwrap();
        }
    }
    let telemetry = open(folder.path());
    assert_eq!((state(&telemetry).await.as_str(), count(&telemetry).await), ("9", 4));
    append(&telemetry, [2, 0].into_iter()).await;
    assert_eq!(state(&telemetry).await, "0");
    telemetry.flush_and_compact().unwrap();
    drop(telemetry);
    let telemetry = open(folder.path());
    assert_eq!((state(&telemetry).await.as_str(), count(&telemetry).await), ("0", 6));
}

/// Rows of one device arrive in order while memtables are flushed and compacted as often as possible. A reader sees
/// each acknowledged row exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_stay_right_while_rows_move() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = SqliteTelemetry::open(folder.path(), flush_eagerly()).unwrap();
    let (acknowledged, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (telemetry, acknowledged, done) = (telemetry.clone(), acknowledged.clone(), done.clone());
            tokio::spawn(async move {
                let mut rounds = 0;
                while !done.load(Ordering::Acquire) {
                    let before = acknowledged.load(Ordering::Acquire);
                    match reader {
                        0 => {
                            let count = telemetry.count(None, DEVICE, &everything()).await.unwrap().rows;
                            assert!(count >= before, "{count} of at least {before} rows");
                            assert!(count <= acknowledged.load(Ordering::Acquire) + 1_000);
                        }
                        1 => {
                            let from = EventQuery { start: PageStart::Newest, limit: 20, ..everything() };
                            let rows = walk(&*telemetry, DEVICE, from).await;
                            let times: Vec<_> = rows.iter().map(|event| event.row.time_ms - T).rev().collect();
                            assert!(times.len() as u64 >= before);
                            assert_eq!(times, (0..times.len() as i64).collect::<Vec<_>>());
                        }
                        _ => {
                            let latest = telemetry.latest(&[DEVICE, DeviceNo(99), BACKWARDS]).await.unwrap();
                            let newest = latest[0].points.first().map_or(0, |point| point.row.time_ms - T + 1);
                            assert!(newest as u64 >= before, "the latest value is {newest} of {before}");
                            // With a clock that runs backwards the result is the same.
                            let last = latest[2].points.first().map_or(0, |point| T - point.row.time_ms);
                            assert!(last as u64 >= before, "the last value is {last} of {before}");
                        }
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    for batch in 0..400 {
        append(&telemetry, batch * 5..(batch + 1) * 5).await;
        telemetry.append(vec![point(BACKWARDS, T - (batch + 1) * 5, "a", "0")]).await.unwrap();
        acknowledged.store(batch as u64 * 5 + 5, Ordering::Release);
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    telemetry.flush_and_compact().unwrap();
    assert_eq!(count(&telemetry).await, 2_000);
    assert!(telemetry.figures().flushes > 10);
}
