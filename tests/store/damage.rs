//! Damage of the event log is logged, counted and limited to the damaged rows; nothing is deleted because a clock
//! jumped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ingle::domain::event::Consent;
use ingle::domain::store::Telemetry;
use ingle::domain::{DeviceNo, DurationMs, EventQuery};
use ingle::store::sqlite::telemetry::{SqliteTelemetry, TelemetryOptions};

use super::contract::telemetry::{DEVICE, T, everything, point, walk};

const DAY: i64 = 24 * 3600 * 1000;
const KEEP: i64 = 30 * DAY;

fn open(folder: &Path) -> Arc<SqliteTelemetry> {
    SqliteTelemetry::open(folder, TelemetryOptions::default()).unwrap()
}

/// Files whose names begin and end like this, in order.
fn files(folder: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(prefix) && name.ends_with(suffix)
    };
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(named).collect();
    found.sort();
    found
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

async fn rows(telemetry: &SqliteTelemetry) -> Vec<i64> {
    let events = walk(telemetry, DEVICE, everything()).await;
    assert_eq!(telemetry.count(None, DEVICE, &everything()).await.unwrap().rows, events.len() as u64);
    events.iter().rev().map(|event| event.value.as_ref().unwrap().as_json().parse().unwrap()).collect()
}

async fn append(telemetry: &SqliteTelemetry, numbers: std::ops::Range<i64>) {
    telemetry.append(numbers.map(|n| point(DEVICE, T + n, "a", &n.to_string())).collect()).await.unwrap();
}

/// A journal of ten commits of ten rows, as a killed server leaves it.
async fn journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    for batch in 0..10 {
        append(&telemetry, batch * 10..(batch + 1) * 10).await;
    }
    telemetry.close();
    let journals = files(folder.path(), "journal-", ".db");
    (folder, journals[0].clone())
}

#[tokio::test]
async fn rows_that_a_damaged_journal_lacks_are_counted_once_and_for_all() {
    type Damage = fn(&Path, &Path);
    let damages: [(&str, Damage); 5] = [
        ("a flipped bit", |_, log| {
            change(log, |bytes| {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
            })
        }),
        ("a shortened log", |_, log| change(log, |bytes| bytes.truncate(bytes.len() - 2000))),
        ("no log", |_, log| fs::remove_file(log).unwrap()),
        ("no journal", |journal, log| {
            fs::remove_file(log).unwrap();
            fs::remove_file(journal).unwrap();
        }),
        ("a header of zeros", |journal, log| {
            fs::remove_file(log).unwrap();
            change(journal, |bytes| bytes.fill(0));
        }),
    ];
    for (name, damage) in damages {
        let (folder, journal) = journal().await;
        let log = PathBuf::from(format!("{}-wal", journal.display()));
        damage(&journal, &log);
        let telemetry = open(folder.path());
        let found = rows(&telemetry).await;
        assert!(found.len() < 100 && found.len() % 10 == 0, "{name}: {found:?}");
        assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>(), "{name}");
        let lost = 100 - found.len() as u64;
        assert_eq!(telemetry.figures().lost_rows, lost, "{name}");
        // The readable rows are flushed, and the damaged journal is kept for an examination. The loss stays in the
        // count.
        append(&telemetry, 1000..1010).await;
        telemetry.stop();
        drop(telemetry);
        if name != "no journal" {
            assert!(
                !files(folder.path(), "journal-", "")
                    .iter()
                    .all(|path| !path.display().to_string().contains("damaged"))
            );
        }
        let telemetry = open(folder.path());
        assert_eq!(telemetry.figures().lost_rows, lost, "{name}");
        assert_eq!(rows(&telemetry).await.len(), found.len() + 10, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_events_file_is_set_aside_by_name_and_the_log_goes_on() {
    for at in [0, 20, 100, 16_384 + 50] {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = open(folder.path());
        append(&telemetry, 0..1000).await;
        telemetry.stop();
        drop(telemetry);
        let [events] = files(folder.path(), "events-", ".db").try_into().unwrap();
        change(&events, |bytes| bytes[at] ^= 0x40);
        let telemetry = open(folder.path());
        assert!(telemetry.figures().damaged > 0, "at {at}: silence");
        append(&telemetry, 2000..2010).await;
        telemetry.flush_and_compact().unwrap();
        let found = rows(&telemetry).await;
        assert!(found.ends_with(&(2000..2010).collect::<Vec<_>>()), "at {at}: {found:?}");
        let aside = files(folder.path(), "events-", ".damaged-1.db");
        assert_eq!(aside.len(), 1, "at {at}");
        drop(telemetry);
        let telemetry = open(folder.path());
        assert_eq!(rows(&telemetry).await, found, "at {at}");
        // Retention deletes it with the other files.
        telemetry.expire(T + 100 * DAY, DurationMs(0), Consent::Given).await.unwrap();
        assert!(files(folder.path(), "events-", "").is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_used_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 0..1000).await;
    telemetry.flush_and_compact().unwrap();
    let [events] = files(folder.path(), "events-", ".db").try_into().unwrap();
    change(&events, |bytes| bytes.fill(7));
    append(&telemetry, 2000..2010).await;
    telemetry.flush_and_compact().unwrap();
    assert!(telemetry.figures().damaged > 0);
    assert!(rows(&telemetry).await.ends_with(&(2000..2010).collect::<Vec<_>>()));
}

#[tokio::test]
async fn an_events_file_that_is_missing_or_older_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    append(&telemetry, 0..100).await;
    telemetry.stop();
    drop(telemetry);
    let [events] = files(folder.path(), "events-", ".db").try_into().unwrap();
    let sums = events.with_extension("pages");
    let older = (fs::read(&events).unwrap(), fs::read(&sums).unwrap());
    let telemetry = open(folder.path());
    append(&telemetry, 100..200).await;
    telemetry.stop();
    drop(telemetry);
    fs::write(&events, &older.0).unwrap();
    fs::write(&sums, &older.1).unwrap();
    let telemetry = open(folder.path());
    assert_eq!(telemetry.figures().lost_rows, 100);
    telemetry.stop();
    drop(telemetry);
    fs::remove_file(&events).unwrap();
    let telemetry = open(folder.path());
    assert_eq!(telemetry.figures().lost_rows, 200);
    append(&telemetry, 300..310).await;
    assert_eq!(rows(&telemetry).await, (300..310).collect::<Vec<_>>());
}

#[tokio::test]
async fn latest_values_that_are_damaged_or_missing_are_made_again_from_the_log() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |file| fs::remove_file(file).unwrap(),
        |file| change(file, |bytes| bytes[17] ^= 1),
        |file| change(file, |bytes| bytes.truncate(bytes.len() / 2)),
        |file| {
            change(file, |bytes| {
                let last = bytes.len() - 40;
                bytes[last] ^= 1;
            })
        },
    ];
    for damage in damages {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = open(folder.path());
        for no in 1..=50 {
            let values =
                (0..3).map(|code| point(DeviceNo(no), T + no, &format!("c{code}"), &(no * 10 + code).to_string()));
            telemetry.append(values.collect()).await.unwrap();
        }
        telemetry.flush().unwrap();
        telemetry.append(vec![point(DeviceNo(7), T + 5000, "c1", "999")]).await.unwrap();
        telemetry.close();
        drop(telemetry);
        damage(&folder.path().join("latest.db"));
        let telemetry = open(folder.path());
        assert!(telemetry.figures().damaged > 0, "silence");
        for no in 1..=50 {
            let latest = telemetry.latest(&[DeviceNo(no)]).await.unwrap();
            let values: Vec<_> = latest[0].points.iter().map(|point| point.value.as_json().to_owned()).collect();
            let expected = (0..3).map(|code| if (no, code) == (7, 1) { 999 } else { no * 10 + code }.to_string());
            assert_eq!(values, expected.collect::<Vec<_>>());
        }
        telemetry.flush_and_compact().unwrap();
        assert_eq!(telemetry.figures().lost_rows, 0);
        assert_eq!(telemetry.count(None, DeviceNo(7), &everything()).await.unwrap().rows, 4);
    }
}

/// Rows over ninety days, flushed into one file a week.
async fn history(folder: &Path) -> Arc<SqliteTelemetry> {
    let telemetry = open(folder);
    let rows = (0..90).map(|day| point(DEVICE, T + day * DAY, "a", &day.to_string()));
    telemetry.append(rows.collect()).await.unwrap();
    telemetry.flush_and_compact().unwrap();
    telemetry
}

async fn days(telemetry: &SqliteTelemetry) -> u64 {
    telemetry.count(None, DEVICE, &EventQuery { from_ms: 0, ..everything() }).await.unwrap().rows
}

#[tokio::test]
async fn a_clock_that_is_ahead_removes_nothing() {
    const YEAR: i64 = 365 * DAY;
    let folder = tempfile::tempdir().unwrap();
    history(folder.path()).await.stop();
    let telemetry = open(folder.path());
    let now = T + 90 * DAY;
    // In a folder's first pass the newest row from before the start decides: files that are thirty days older are old
    // in any case, but a row that was written with a wrong clock proves nothing.
    telemetry.append(vec![point(DEVICE, now + YEAR, "b", "1")]).await.unwrap();
    let first = telemetry.expire(now, DurationMs(KEEP), Consent::NotGiven).await.unwrap();
    assert!(first.removed > 0 && first.waiting == 0, "{first:?}");
    let kept = days(&telemetry).await;
    assert!((31..39).contains(&kept), "{kept}");
    for round in 0..3 {
        let pass = telemetry.expire(now + YEAR, DurationMs(KEEP), Consent::NotGiven).await.unwrap();
        assert_eq!((pass.removed, days(&telemetry).await), (0, kept + round), "round {round}");
        assert!(pass.waiting > 0);
        assert_eq!(telemetry.figures().waiting_to_expire, pass.waiting);
        // A row whose time comes from the same clock proves nothing.
        telemetry.append(vec![point(DEVICE, now + YEAR, "b", "1")]).await.unwrap();
    }
    telemetry.stop();
    drop(telemetry);
    let telemetry = open(folder.path());
    let pass = telemetry.expire(now + YEAR, DurationMs(KEEP), Consent::NotGiven).await.unwrap();
    assert_eq!(pass.removed, 0, "not at the start of another run either");
    // The right time again, then a year ahead once more.
    assert_eq!(telemetry.expire(now, DurationMs(KEEP), Consent::NotGiven).await.unwrap().waiting, 0);
    assert_eq!(telemetry.expire(now + YEAR, DurationMs(KEEP), Consent::NotGiven).await.unwrap().removed, 0);
    assert_eq!(days(&telemetry).await, kept + 3);
    // The operator confirms that the clock is right.
    let pass = telemetry.expire(now + YEAR, DurationMs(KEEP), Consent::Given).await.unwrap();
    assert!(pass.removed > 0 && pass.waiting == 0);
    assert_eq!((days(&telemetry).await, telemetry.figures().waiting_to_expire), (4, 0));
    assert_eq!(telemetry.figures().lost_rows, 0);
    telemetry.stop();
    drop(telemetry);
    assert_eq!(open(folder.path()).figures().lost_rows, 0, "what retention removed is not missing");
}

#[tokio::test]
async fn a_folder_without_old_rows_never_waits_for_consent() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = open(folder.path());
    // A machine without a clock battery starts in 1970 and gets the right time soon.
    assert_eq!(telemetry.expire(1000, DurationMs(KEEP), Consent::NotGiven).await.unwrap().waiting, 0);
    assert_eq!(telemetry.expire(T, DurationMs(KEEP), Consent::NotGiven).await.unwrap().waiting, 0);
    append(&telemetry, 0..10).await;
    telemetry.flush_and_compact().unwrap();
    let pass = telemetry.expire(T + 1000, DurationMs(KEEP), Consent::NotGiven).await.unwrap();
    assert_eq!((pass.removed, pass.waiting), (0, 0));
}
