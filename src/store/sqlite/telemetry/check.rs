//! What is looked at when the log is opened: whether its files are whole, belong to this folder and its registry, and hold
//! all that they must. Damage is named, counted and contained; what can be made again is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::pages::{self, Verdict};
use super::super::upkeep::FolderStamp;
use super::fault::{Context, Fault, Result};
use super::files::{self, Files, PartitionFileId, ReadMode, RunFile, RunState};
use super::sorted_run::{checkpoint, transaction};
use super::{journal, rebuild};

/// Bytes of events that are compared with their checksums before the start; the rest follows while the server works.
const VERIFIED_AT_START_BYTES: u64 = 64 << 20;
/// How many rows were found missing, ever: a number in the file of the latest values.
const LOST_ROWS: &str = "lost_rows";
/// How often the registry had been written to, at the last roll.
pub const REGISTRY_COMMITS: &str = "registry_commits";
/// What each span's files must hold at least, kept in the file of the latest values.
pub const PARTITION_TOTALS: &str =
    "CREATE TABLE IF NOT EXISTS span(span INTEGER PRIMARY KEY, last_gen INTEGER NOT NULL,
    rows INTEGER NOT NULL) WITHOUT ROWID";

/// What the files of a folder were found to hold.
pub struct FolderCheck {
    /// The last generation that any file has rows of, or that is known to be rolled.
    pub last_memtable: i64,
    /// The last generation that is on disk as a whole.
    pub flushed_to: i64,
    /// The newest row's time; `i64::MIN` without one.
    pub newest_ms: i64,
    /// Rows that are missing, now or at an earlier start.
    pub lost_rows: u64,
    /// The last generation with rows in a file whose journal is gone: all of it must be there.
    complete_memtable: i64,
    /// Files that are compared with their checksums later.
    pub unverified: Vec<(PartitionFileId, Arc<RunFile>)>,
}

/// What one file of events holds.
#[derive(Clone, Copy, Default)]
struct PartitionTotals {
    last_memtable: i64,
    rows: i64,
}

/// What an event log says of the registry that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// The data folder's id; 0 when no file says it.
    pub folder_id: i64,
    /// The highest device number with rows or values.
    pub device_no: i64,
    /// How often the registry had been written to, at the last roll.
    pub registry_commits: i64,
    /// The newest row's time, milliseconds since 1970; 0 without one.
    pub newest_ms: i64,
}

/// Reads from the event log of a folder, which no server has open, what it says of its registry. What is damaged is
/// passed over.
///
/// # Errors
/// [`crate::domain::Error::Store`] when the folder cannot be read.
pub fn log_summary(folder: &Path) -> crate::domain::Result<LogSummary> {
    let mut facts = LogSummary::default();
    if !folder.exists() {
        return Ok(facts);
    }
    let files = Files::open(folder, 0)?;
    let latest = Some(files.latest.clone()).filter(|file| file.path.exists());
    for file in files.partition_files().into_iter().map(|(_, file)| file).chain(latest) {
        let mut read = || -> Result<()> {
            let connection = file.reader(ReadMode::Long)?;
            for run in files::runs(&connection, RunState::Live)? {
                facts.newest_ms = facts.newest_ms.max(run.newest_ms);
                facts.device_no = facts.device_no.max(last_device(&connection, run.no)?);
            }
            let number = |name| Ok::<i64, Fault>(files::meta(&connection, name)?.unwrap_or(0));
            facts.registry_commits = facts.registry_commits.max(number(REGISTRY_COMMITS)?);
            facts.folder_id = Some(number(files::FOLDER)?).filter(|id| *id != 0).unwrap_or(facts.folder_id);
            Ok(())
        };
        if let Err(fault) = read() {
            tracing::warn!(file = %file.path.display(), error = %fault, "a file of the event log cannot be read");
        }
    }
    for no in journal::list(folder)? {
        facts.registry_commits = facts.registry_commits.max(journal::registry_commits(folder, no)?);
        let memtable = journal::replay(folder, no, 0)?.memtable;
        let locked = memtable.lock_all();
        facts.device_no = facts.device_no.max(locked.devices().last().map_or(0, |(device, ..)| *device));
        facts.newest_ms = facts.newest_ms.max(locked.newest_ms().unwrap_or(0));
    }
    Ok(facts)
}

/// Looks at every file but the journals.
///
/// # Errors
/// [`Fault::Foreign`] for files of another folder or of another time than the registry; [`Fault::Newer`]; those of the
/// file system. Damage is none.
pub fn folder(files: &Files, folder: &Path, stamp: &FolderStamp) -> Result<FolderCheck> {
    let journals = journal::list(folder)?;
    let oldest_journal = journals.first().copied();
    let (newest_ms, unverified) = (i64::MIN, Vec::new());
    let mut found =
        FolderCheck { last_memtable: 0, flushed_to: 0, newest_ms, lost_rows: 0, complete_memtable: 0, unverified };
    let mut bytes = 0;
    let (mut partitions, mut device_no) = (BTreeMap::<i64, PartitionTotals>::new(), 0);
    for (id, file) in files.partition_files().into_iter().rev() {
        bytes += std::fs::metadata(&file.path).map_or(0, |found| found.len());
        let is_late = id.is_active() && bytes > VERIFIED_AT_START_BYTES;
        let aside = if is_late { None } else { verify(files, id, &file, false)? };
        let is_written = id.is_active() && aside.is_none();
        let (mut file, mut is_written) = (aside.unwrap_or(file), is_written);
        let mut examined = examine(&file, is_written, oldest_journal, &mut found, &mut device_no);
        if let Err(fault) = &examined
            && fault.is_damage()
            && is_written
        {
            file = files.set_aside(id.partition, fault)?;
            is_written = false;
            examined = examine(&file, false, oldest_journal, &mut found, &mut device_no);
        }
        match examined {
            Ok(here) => {
                let held = partitions.entry(id.partition).or_default();
                *held = PartitionTotals {
                    last_memtable: held.last_memtable.max(here.last_memtable),
                    rows: held.rows + here.rows,
                };
            }
            Err(fault) if fault.is_damage() => files.note_unreadable(&file, &fault),
            // A roll that needs the file is tried again and again.
            Err(fault @ (Fault::Foreign(_) | Fault::Newer(_))) => return Err(fault),
            Err(fault) => tracing::error!(file = %file.path.display(), error = %fault, "a file cannot be opened"),
        }
        if is_late && is_written {
            found.unverified.push((id, file));
        }
    }
    let had_rows = !partitions.is_empty();
    let connection = latest(files, had_rows, &found, oldest_journal)?;
    found.flushed_to = files::meta(&connection, super::flush::FLUSHED_TO)?.unwrap_or(0);
    found.last_memtable = found.last_memtable.max(found.flushed_to);
    check_registry(&connection, &files.latest, stamp, device_no)?;
    connection.execute_batch(PARTITION_TOTALS).during("reading what the files must hold")?;
    found.lost_rows = transaction(&connection, || {
        let lost = missing_from_partitions(&connection, folder, &partitions)?;
        note_lost(&connection, lost)
    })?;
    checkpoint(&connection, &files.latest);
    Ok(found)
}

/// Adds rows that a journal lacks to those that were found missing before, once for each journal; the number of all.
pub fn note_lost_of_journal(files: &Files, no: i64, lost: u64) -> Result<u64> {
    let connection = files.latest.writer()?;
    let name = format!("lost_rows_of_journal_{no}");
    let all = transaction(&connection, || {
        let is_known = files::meta(&connection, &name)?.is_some();
        if !is_known {
            files::set_meta(&connection, &name, i64::try_from(lost).unwrap_or(i64::MAX))?;
        }
        note_lost(&connection, if is_known { 0 } else { lost })
    })?;
    checkpoint(&connection, &files.latest);
    Ok(all)
}

/// Adds rows that were found missing to those of earlier starts; the number of all.
fn note_lost(connection: &Connection, lost: u64) -> Result<u64> {
    let before = files::meta(connection, LOST_ROWS)?.unwrap_or(0);
    let all = before.saturating_add(i64::try_from(lost).unwrap_or(i64::MAX));
    if lost > 0 {
        files::set_meta(connection, LOST_ROWS, all)?;
    }
    Ok(u64::try_from(all).unwrap_or(0))
}

/// Compares a file of events with its checksums; sets a damaged one aside, which is returned then.
fn verify(files: &Files, id: PartitionFileId, file: &RunFile, keep_open: bool) -> Result<Option<Arc<RunFile>>> {
    const READING: &str = "reading a telemetry file";
    if !id.is_active() {
        return Ok(None);
    }
    let verdict = pages::verify(&file.path, keep_open).during(READING)?;
    match verdict {
        Verdict::Whole => Ok(None),
        Verdict::Damaged(pages) => {
            let first = pages.first().copied().unwrap_or(0);
            let why = format!("{} of its pages are not what was written, the first is page {first}", pages.len());
            files.set_aside(id.partition, &why).map(Some)
        }
        Verdict::Unknown | Verdict::SumsDamaged => {
            if verdict == Verdict::SumsDamaged {
                tracing::warn!(file = %pages::path(&file.path).display(), "checksums are damaged; they are made again");
            }
            pages::trust(&file.path, keep_open).during(READING).map(|()| None)
        }
    }
}

/// Compares the files with their checksums that were too large for the start. Nobody waits for it but where a file seems
/// to be damaged or has no checksums yet.
pub fn verify_rest(files: &Files, unverified: Vec<(PartitionFileId, Arc<RunFile>)>, is_closing: impl Fn() -> bool) {
    for (id, file) in unverified {
        if is_closing() {
            return;
        }
        if file.is_removed() || pages::verify(&file.path, true).is_ok_and(|verdict| verdict == Verdict::Whole) {
            continue;
        }
        // It may have changed while it was read.
        let _write_lock = files.write_lock();
        if file.is_removed() {
            continue;
        }
        if let Err(fault) = verify(files, id, &file, true) {
            tracing::error!(file = %file.path.display(), error = %fault, "a file cannot be compared with its checksums");
        }
    }
}

/// What a file holds. One that takes new rows is left without anything in its write-ahead log.
fn examine(
    file: &RunFile,
    is_written: bool,
    oldest_journal: Option<i64>,
    found: &mut FolderCheck,
    device_no: &mut i64,
) -> Result<PartitionTotals> {
    let connection = if is_written { file.writer()? } else { file.reader(ReadMode::Long)? };
    if is_written {
        checkpoint(&connection, file);
    }
    let mut held = PartitionTotals::default();
    for run in files::runs(&connection, RunState::Live)? {
        held = PartitionTotals {
            last_memtable: held.last_memtable.max(run.last_memtable),
            rows: held.rows.saturating_add(run.rows),
        };
        found.newest_ms = found.newest_ms.max(run.newest_ms);
        if oldest_journal.is_none_or(|oldest| run.last_memtable < oldest) {
            found.complete_memtable = found.complete_memtable.max(run.last_memtable);
        }
        *device_no = (*device_no).max(last_device(&connection, run.no)?);
    }
    found.last_memtable = found.last_memtable.max(held.last_memtable);
    Ok(held)
}

/// The highest device number in a run.
fn last_device(connection: &Connection, run: i64) -> Result<i64> {
    let sql = "SELECT device FROM block WHERE run = ?1 ORDER BY run DESC, device DESC LIMIT 1";
    let found = connection.query_row(sql, [run], |row| row.get(0)).optional();
    Ok(found.during("reading a telemetry file")?.unwrap_or(0))
}

/// The file of the latest values, made again from the log when it is damaged or missing.
fn latest(files: &Files, had_rows: bool, found: &FolderCheck, oldest_journal: Option<i64>) -> Result<Connection> {
    let file = &files.latest;
    let is_missing = !file.path.exists() || std::fs::metadata(&file.path).is_ok_and(|found| found.len() == 0);
    let was_there = had_rows || pages::path(&file.path).exists();
    // A generation that still has its journal is rolled once more; what of it is there already is left as it is.
    let flushed_to = oldest_journal.map_or(found.last_memtable, |oldest| found.last_memtable.min(oldest - 1));
    let why = match pages::verify(&file.path, false).during("reading the latest values")? {
        _ if is_missing && was_there => Some("it is missing".to_owned()),
        _ if is_missing => None,
        Verdict::Damaged(pages) => Some(format!("{} of its pages are not what was written", pages.len())),
        Verdict::Whole => None,
        Verdict::Unknown | Verdict::SumsDamaged => {
            pages::trust(&file.path, false).during("noting checksums")?;
            None
        }
    };
    let open = || -> Result<std::result::Result<Connection, String>> {
        let connection = file.writer()?;
        checkpoint(&connection, file);
        files::runs(&connection, RunState::Live)?;
        let flushed_to = files::meta(&connection, super::flush::FLUSHED_TO)?.unwrap_or(0);
        // A roll brings rows to the events first, and then to the latest values.
        Ok(if flushed_to < found.complete_memtable {
            Err(format!("it lacks the rows that were flushed after memtable {flushed_to}"))
        } else {
            Ok(connection)
        })
    };
    let why = match why {
        Some(why) => why,
        None => match open() {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(why)) => why,
            Err(fault) if fault.is_damage() => fault.to_string(),
            Err(fault) => return Err(fault),
        },
    };
    tracing::error!(file = %file.path.display(), why, "the latest values are made again from the log");
    files.count_damage(1);
    rebuild::latest(files, flushed_to)
}

/// Whether the log belongs to the registry, as it is now.
fn check_registry(connection: &Connection, file: &RunFile, stamp: &FolderStamp, device_no: i64) -> Result<()> {
    let mut device_no = device_no;
    for run in files::runs(connection, RunState::Live)? {
        device_no = device_no.max(last_device(connection, run.no)?);
    }
    let commits = files::meta(connection, REGISTRY_COMMITS)?.unwrap_or(0);
    let is_known = stamp.id != 0;
    if is_known && (device_no > stamp.device_no || commits > stamp.commits.load(Ordering::Acquire)) {
        let folder = file.path.parent().unwrap_or(&file.path).display();
        return Err(Fault::Foreign(format!(
            "registry.db is older than the event log in {folder}: the log knows device number {device_no} and {commits} \
             commits of the registry, the registry gave numbers up to {} and has {} commits. Restore files that belong \
             together, or go on with `ingle recover`, which gives no number twice",
            stamp.device_no,
            stamp.commits.load(Ordering::Acquire),
        )));
    }
    Ok(())
}

/// Refuses a journal with rows of a device that the registry never gave a number.
pub fn check_device_numbers(journal: &Path, stamp: &FolderStamp, device_no: i64) -> Result<()> {
    if stamp.id == 0 || device_no <= stamp.device_no {
        return Ok(());
    }
    Err(Fault::Foreign(format!(
        "registry.db is older than {}, which knows device number {device_no}: the registry gave numbers up to {}. Restore \
         files that belong together, or go on with `ingle recover`, which gives no number twice",
        journal.display(),
        stamp.device_no
    )))
}

/// Refuses a journal whose rows were acknowledged after changes of the registry that the registry lacks.
pub fn check_registry_commits(journal: &Path, stamp: &FolderStamp, commits: i64) -> Result<()> {
    let registry_commits = stamp.commits.load(Ordering::Acquire);
    if stamp.id == 0 || commits <= registry_commits {
        return Ok(());
    }
    Err(Fault::Foreign(format!(
        "registry.db is older than {}, whose rows were acknowledged after {commits} commits of the registry: it has {registry_commits}. \
         Restore files that belong together, or go on with `ingle recover`",
        journal.display()
    )))
}

/// The rows that the files of a span lack; each span is named.
fn missing_from_partitions(
    connection: &Connection,
    folder: &Path,
    partitions: &BTreeMap<i64, PartitionTotals>,
) -> Result<u64> {
    const READING: &str = "reading what the files must hold";
    let mut select = connection.prepare("SELECT span, last_gen, rows FROM span").during(READING)?;
    let expected = select
        .query_map([], |row| Ok((row.get(0)?, PartitionTotals { last_memtable: row.get(1)?, rows: row.get(2)? })));
    let expected: Vec<(i64, PartitionTotals)> = expected.and_then(Iterator::collect).during(READING)?;
    let mut lost = 0;
    for (partition, must) in expected {
        let held = partitions.get(&partition).copied().unwrap_or_default();
        if held.rows >= must.rows && held.last_memtable >= must.last_memtable {
            continue;
        }
        let missing = u64::try_from(must.rows - held.rows).unwrap_or(0);
        let file = folder.join(format!("events-{partition}.db"));
        tracing::error!(
            file = %file.display(),
            missing,
            "rows are missing: the file was removed, is damaged, or is an older copy"
        );
        lost += missing.max(1);
        let sql = "UPDATE span SET rows = ?2, last_gen = ?3 WHERE span = ?1";
        connection.execute(sql, params![partition, held.rows, held.last_memtable]).during(READING)?;
    }
    Ok(lost)
}

/// Notes what the rows of a generation add to the spans, in the transaction of its latest values.
pub fn note_partitions(connection: &Connection, memtable: i64, added: &[(i64, usize)]) -> Result<()> {
    const NOTE: &str = "INSERT INTO span(span, last_gen, rows) VALUES(?1, ?2, ?3) ON CONFLICT(span)
        DO UPDATE SET last_gen = max(last_gen, excluded.last_gen), rows = rows + excluded.rows";
    for (partition, rows) in added {
        connection
            .prepare_cached(NOTE)
            .and_then(|mut note| note.execute(params![partition, memtable, *rows as i64]))
            .during("noting what the files must hold")?;
    }
    Ok(())
}

/// Forgets what the files of spans that retention removes must hold; before they are removed.
pub fn forget_partitions(files: &Files, before_partition: i64) -> Result<()> {
    let connection = files.latest.writer()?;
    transaction(&connection, || {
        connection.execute("DELETE FROM span WHERE span < ?1", [before_partition]).during("retention").map(drop)
    })?;
    checkpoint(&connection, &files.latest);
    Ok(())
}
