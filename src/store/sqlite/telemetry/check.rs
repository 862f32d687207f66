//! The checks when the log is opened: whether its files are undamaged, belong to this folder and this registry, and
//! hold all rows that they must hold. Damage is logged, counted and limited to the rows that it affects; derived data
//! is rebuilt.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::pages::{self, Verdict};
use super::super::upkeep::FolderStamp;
use super::fault::{Context, Fault, Result};
use super::files::{self, Files, ReadMode, RunFile};
use super::journal::{self, Replayed};
use super::partition::PartitionFileId;
use super::rebuild;
use super::sorted_run::{RunState, checkpoint, transaction};

/// Bytes of partition files whose checksums are verified before the server starts; the other files are verified while
/// it runs.
const VERIFIED_AT_START_BYTES: u64 = 64 << 20;
/// The name in the table `meta` of `latest.db` of the number of rows that were ever found missing.
pub const LOST_ROWS: &str = "lost_rows";
/// The name in the table `meta` of the registry's number of commits at the last flush.
pub const REGISTRY_COMMITS: &str = "registry_commits";
/// The table in `latest.db` of how many rows each partition's files must hold at least.
pub const PARTITION_TOTALS: &str =
    "CREATE TABLE IF NOT EXISTS span(span INTEGER PRIMARY KEY, last_gen INTEGER NOT NULL,
    rows INTEGER NOT NULL) WITHOUT ROWID";

/// The result of checking the files of a folder.
pub struct FolderCheck {
    /// The largest number of a memtable that has rows in a file or is recorded as flushed.
    pub last_memtable: i64,
    /// The number of the last memtable that is completely on disk.
    pub flushed_to: i64,
    /// The time of the newest row; `i64::MIN` if there is none.
    pub newest_ms: i64,
    /// Rows that are missing, found at this start or an earlier one.
    pub lost_rows: u64,
    /// The largest number of a memtable that has rows in a file and no journal any more, so that all its rows must be
    /// on disk.
    complete_memtable: i64,
    /// Files whose checksums are verified while the server runs.
    pub unverified: Vec<(PartitionFileId, Arc<RunFile>)>,
}

/// What the files of one partition hold.
#[derive(Clone, Copy, Default)]
pub struct PartitionTotals {
    /// The largest number of a memtable that has rows among them.
    pub last_memtable: i64,
    /// Number of rows.
    pub rows: i64,
}

/// What the files of an event log record about their registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// The id of the data folder; 0 if no file records it.
    pub folder_id: i64,
    /// The largest device number in the log.
    pub device_no: i64,
    /// The registry's number of commits when the log was last written.
    pub registry_commits: i64,
    /// The time of the newest row, milliseconds since 1970; 0 if there is none.
    pub newest_ms: i64,
}

/// Reads what the event log in a folder records about its registry. No server may have the folder open. Damaged files
/// are skipped.
///
/// # Errors
/// [`crate::domain::Error::Store`] when the folder cannot be read.
pub fn log_summary(folder: &Path) -> crate::domain::Result<LogSummary> {
    let mut summary = LogSummary::default();
    if !folder.exists() {
        return Ok(summary);
    }
    let files = Files::open(folder, 0)?;
    let latest = Some(files.latest.clone()).filter(|file| file.path.exists());
    for file in files.partition_files().into_iter().map(|(_, file)| file).chain(latest) {
        let mut read = || -> Result<()> {
            let connection = file.reader(ReadMode::Long)?;
            for run in files::runs(&connection, RunState::Live)? {
                summary.newest_ms = summary.newest_ms.max(run.newest_ms);
                summary.device_no = summary.device_no.max(last_device(&connection, run.no)?);
            }
            let number = |name| Ok::<i64, Fault>(files::meta(&connection, name)?.unwrap_or(0));
            summary.registry_commits = summary.registry_commits.max(number(REGISTRY_COMMITS)?);
            summary.folder_id = Some(number(files::FOLDER)?).filter(|id| *id != 0).unwrap_or(summary.folder_id);
            Ok(())
        };
        if let Err(fault) = read() {
            tracing::warn!(file = %file.path.display(), error = %fault, "a file of the event log cannot be read");
        }
    }
    for no in journal::list(folder)? {
        summary.registry_commits = summary.registry_commits.max(journal::registry_commits(folder, no)?);
        let memtable = journal::replay(folder, no, 0)?.memtable;
        let locked = memtable.lock_all();
        summary.device_no = summary.device_no.max(locked.devices().last().map_or(0, |(device, ..)| *device));
        summary.newest_ms = summary.newest_ms.max(locked.newest_ms().unwrap_or(0));
    }
    Ok(summary)
}

/// Checks every file except the journals.
///
/// # Errors
/// [`Fault::Foreign`] for files of another folder, or newer than the registry; [`Fault::Newer`]; errors of the file
/// system; with `refuse_damage`, [`Fault::Refused`] for damage.
pub fn folder(files: &Files, folder: &Path, stamp: &FolderStamp, refuse_damage: bool) -> Result<FolderCheck> {
    let journals = journal::list(folder)?;
    let oldest_journal = journals.first().copied();
    let (newest_ms, unverified) = (i64::MIN, Vec::new());
    let mut found =
        FolderCheck { last_memtable: 0, flushed_to: 0, newest_ms, lost_rows: 0, complete_memtable: 0, unverified };
    let mut bytes = 0;
    let (mut partitions, mut device_no) = (BTreeMap::<i64, PartitionTotals>::new(), 0);
    for (id, file) in files.partition_files().into_iter().rev() {
        bytes += std::fs::metadata(&file.path).map_or(0, |found| found.len());
        let is_verified_later = id.is_active() && bytes > VERIFIED_AT_START_BYTES;
        let set_aside = if is_verified_later { None } else { verify(files, id, &file, false, refuse_damage)? };
        let receives_rows = id.is_active() && set_aside.is_none();
        let (mut file, mut receives_rows) = (set_aside.unwrap_or(file), receives_rows);
        let mut examined = examine(&file, receives_rows, oldest_journal, &mut found, &mut device_no);
        if let Err(fault) = &examined
            && fault.is_damage()
            && receives_rows
        {
            if refuse_damage {
                return Err(Fault::Refused(format!("{} is damaged: {fault}", file.path.display())));
            }
            file = files.set_aside(id.partition, fault)?;
            receives_rows = false;
            examined = examine(&file, false, oldest_journal, &mut found, &mut device_no);
        }
        match examined {
            Ok(here) => {
                let totals = partitions.entry(id.partition).or_default();
                *totals = PartitionTotals {
                    last_memtable: totals.last_memtable.max(here.last_memtable),
                    rows: totals.rows + here.rows,
                };
            }
            Err(fault) if fault.is_damage() => files.note_unreadable(&file, &fault),
            Err(fault @ (Fault::Foreign(_) | Fault::Newer(_))) => return Err(fault),
            // Not fatal here: a flush that needs the file tries again until it succeeds.
            Err(fault) => tracing::error!(file = %file.path.display(), error = %fault, "a file cannot be opened"),
        }
        if is_verified_later && receives_rows {
            found.unverified.push((id, file));
        }
    }
    let had_rows = !partitions.is_empty();
    let connection = latest(files, had_rows, &found, oldest_journal)?;
    found.flushed_to = files::meta(&connection, super::flush::FLUSHED_TO)?.unwrap_or(0);
    found.last_memtable = found.last_memtable.max(found.flushed_to);
    check_registry(&connection, &files.latest, stamp, device_no)?;
    connection.execute_batch(PARTITION_TOTALS).during("reading the recorded number of rows")?;
    found.lost_rows = transaction(&connection, || {
        let lost = missing_from_partitions(&connection, folder, &partitions, refuse_damage)?;
        add_lost_rows(&connection, lost)
    })?;
    checkpoint(&connection, &files.latest);
    Ok(found)
}

/// Adds the rows that a damaged journal lacks to the count of lost rows, once for each journal. Returns the total.
///
/// # Errors
/// With `refuse_damage`, [`Fault::Refused`] for a journal that was not counted yet.
pub fn add_damaged_journal(
    files: &Files,
    no: i64,
    path: &Path,
    replayed: &Replayed,
    refuse_damage: bool,
) -> Result<u64> {
    let connection = files.latest.writer()?;
    let name = format!("lost_rows_of_journal_{no}");
    let all = transaction(&connection, || {
        let is_counted = files::meta(&connection, &name)?.is_some();
        if !is_counted {
            if refuse_damage {
                let (path, lost, damaged) = (path.display(), replayed.lost_rows, replayed.damaged);
                let text = format!(
                    "{path} is damaged: {lost} acknowledged rows are missing, and {damaged} entries are damaged"
                );
                return Err(Fault::Refused(text));
            }
            files::set_meta(&connection, &name, i64::try_from(replayed.lost_rows).unwrap_or(i64::MAX))?;
        }
        add_lost_rows(&connection, if is_counted { 0 } else { replayed.lost_rows })
    })?;
    checkpoint(&connection, &files.latest);
    Ok(all)
}

/// Adds rows to the count of lost rows. Returns the total.
fn add_lost_rows(connection: &Connection, lost: u64) -> Result<u64> {
    let before = files::meta(connection, LOST_ROWS)?.unwrap_or(0);
    let all = before.saturating_add(i64::try_from(lost).unwrap_or(i64::MAX));
    if lost > 0 {
        files::set_meta(connection, LOST_ROWS, all)?;
    }
    Ok(u64::try_from(all).unwrap_or(0))
}

/// Verifies the checksums of an active partition file. If it is damaged, sets it aside and returns it under its new
/// name.
fn verify(
    files: &Files,
    id: PartitionFileId,
    file: &RunFile,
    keep_open: bool,
    refuse_damage: bool,
) -> Result<Option<Arc<RunFile>>> {
    const READING: &str = "reading a telemetry file";
    if !id.is_active() {
        return Ok(None);
    }
    let verdict = pages::verify(&file.path, keep_open).during(READING)?;
    match verdict {
        Verdict::Whole => Ok(None),
        Verdict::Damaged(pages) => {
            let first = pages.first().copied().unwrap_or(0);
            let why = format!("{} of its pages have a wrong checksum, the first is page {first}", pages.len());
            if refuse_damage {
                return Err(Fault::Refused(format!("{} is damaged: {why}", file.path.display())));
            }
            files.set_aside(id.partition, &why).map(Some)
        }
        Verdict::Unknown | Verdict::SumsDamaged => {
            if verdict == Verdict::SumsDamaged {
                tracing::warn!(file = %pages::path(&file.path).display(), "the checksums are damaged; they are computed again");
            }
            pages::trust(&file.path, keep_open).during(READING).map(|()| None)
        }
    }
}

/// Verifies the files that were too large for the start. It blocks writers only while it handles a file that seems to
/// be damaged or has no checksums yet.
pub fn verify_rest(files: &Files, unverified: Vec<(PartitionFileId, Arc<RunFile>)>, is_closing: impl Fn() -> bool) {
    for (id, file) in unverified {
        if is_closing() {
            return;
        }
        if file.is_removed() || pages::verify(&file.path, true).is_ok_and(|verdict| verdict == Verdict::Whole) {
            continue;
        }
        // The file may have changed while it was read, so it is verified again under the lock.
        let _write_lock = files.write_lock();
        if file.is_removed() {
            continue;
        }
        if let Err(fault) = verify(files, id, &file, true, false) {
            tracing::error!(file = %file.path.display(), error = %fault, "the checksums of a file cannot be verified");
        }
    }
}

/// The rows of a file. The SQLite write-ahead log of an active file is emptied by a checkpoint first.
fn examine(
    file: &RunFile,
    receives_rows: bool,
    oldest_journal: Option<i64>,
    found: &mut FolderCheck,
    device_no: &mut i64,
) -> Result<PartitionTotals> {
    let connection = if receives_rows { file.writer()? } else { file.reader(ReadMode::Long)? };
    if receives_rows {
        checkpoint(&connection, file);
    }
    let mut totals = PartitionTotals::default();
    for run in files::runs(&connection, RunState::Live)? {
        totals = PartitionTotals {
            last_memtable: totals.last_memtable.max(run.last_memtable),
            rows: totals.rows.saturating_add(run.rows),
        };
        found.newest_ms = found.newest_ms.max(run.newest_ms);
        if oldest_journal.is_none_or(|oldest| run.last_memtable < oldest) {
            found.complete_memtable = found.complete_memtable.max(run.last_memtable);
        }
        *device_no = (*device_no).max(last_device(&connection, run.no)?);
    }
    found.last_memtable = found.last_memtable.max(totals.last_memtable);
    Ok(totals)
}

/// The largest device number in a sorted run.
fn last_device(connection: &Connection, run: i64) -> Result<i64> {
    let sql = "SELECT device FROM block WHERE run = ?1 ORDER BY run DESC, device DESC LIMIT 1";
    let found = connection.query_row(sql, [run], |row| row.get(0)).optional();
    Ok(found.during("reading a telemetry file")?.unwrap_or(0))
}

/// Opens `latest.db`, which is rebuilt from the partition files if it is damaged or missing.
fn latest(files: &Files, had_rows: bool, found: &FolderCheck, oldest_journal: Option<i64>) -> Result<Connection> {
    let file = &files.latest;
    let is_missing = !file.path.exists() || std::fs::metadata(&file.path).is_ok_and(|found| found.len() == 0);
    let was_there = had_rows || pages::path(&file.path).exists();
    // A memtable that still has its journal is flushed again, and files that already hold it are left unchanged.
    let flushed_to = oldest_journal.map_or(found.last_memtable, |oldest| found.last_memtable.min(oldest - 1));
    let why = match pages::verify(&file.path, false).during("reading the latest values")? {
        _ if is_missing && was_there => Some("it is missing".to_owned()),
        _ if is_missing => None,
        Verdict::Damaged(pages) => Some(format!("{} of its pages have a wrong checksum", pages.len())),
        Verdict::Whole => None,
        Verdict::Unknown | Verdict::SumsDamaged => {
            pages::trust(&file.path, false).during("storing checksums")?;
            None
        }
    };
    let open = || -> Result<std::result::Result<Connection, String>> {
        let connection = file.writer()?;
        checkpoint(&connection, file);
        files::runs(&connection, RunState::Live)?;
        let flushed_to = files::meta(&connection, super::flush::FLUSHED_TO)?.unwrap_or(0);
        // A flush writes the partition files first and `latest.db` last.
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
    tracing::error!(file = %file.path.display(), why, "the latest values are rebuilt from the log");
    files.count_damage(1);
    rebuild::latest(files, flushed_to)
}

/// Checks that the registry is at least as new as the log.
fn check_registry(connection: &Connection, file: &RunFile, stamp: &FolderStamp, device_no: i64) -> Result<()> {
    let mut device_no = device_no;
    for run in files::runs(connection, RunState::Live)? {
        device_no = device_no.max(last_device(connection, run.no)?);
    }
    let commits = files::meta(connection, REGISTRY_COMMITS)?.unwrap_or(0);
    if stamp.id != 0 && (device_no > stamp.device_no || commits > stamp.commits.load(Ordering::Acquire)) {
        let folder = file.path.parent().unwrap_or(&file.path).display();
        return Err(Fault::Foreign(format!(
            "registry.db is older than the event log in {folder}: the log has rows of device number {device_no} and was \
             written after {commits} commits of the registry, but the registry has assigned numbers up to {} and has {} \
             commits. Restore files that belong together, or run `ingle recover`, which assigns no number twice",
            stamp.device_no,
            stamp.commits.load(Ordering::Acquire),
        )));
    }
    Ok(())
}

/// Rejects a journal with rows of a device number that the registry has not assigned.
pub fn check_device_numbers(journal: &Path, stamp: &FolderStamp, device_no: i64) -> Result<()> {
    if stamp.id == 0 || device_no <= stamp.device_no {
        return Ok(());
    }
    Err(Fault::Foreign(format!(
        "registry.db is older than {}, which has rows of device number {device_no}: the registry has assigned numbers up to {}. \
         Restore files that belong together, or run `ingle recover`, which assigns no number twice",
        journal.display(),
        stamp.device_no
    )))
}

/// Rejects a journal whose last rows were acknowledged after commits that the registry lacks.
pub fn check_registry_commits(journal: &Path, stamp: &FolderStamp, commits: i64) -> Result<()> {
    let registry_commits = stamp.commits.load(Ordering::Acquire);
    if stamp.id == 0 || commits <= registry_commits {
        return Ok(());
    }
    Err(Fault::Foreign(format!(
        "registry.db is older than {}, whose rows were acknowledged after {commits} commits of the registry: it has {registry_commits}. \
         Restore files that belong together, or run `ingle recover`",
        journal.display()
    )))
}

/// Compares the rows of each partition with the number that was recorded. Logs each difference and returns the rows
/// missing.
fn missing_from_partitions(
    connection: &Connection,
    folder: &Path,
    partitions: &BTreeMap<i64, PartitionTotals>,
    refuse_damage: bool,
) -> Result<u64> {
    let mut lost = 0;
    for (partition, missing) in missing_rows(connection, partitions)? {
        let file = folder.join(PartitionFileId::active(partition).name());
        if refuse_damage {
            let file = file.display();
            let text = format!("{missing} rows are missing: {file} was deleted, is damaged, or is an older copy");
            return Err(Fault::Refused(text));
        }
        tracing::error!(
            file = %file.display(),
            missing,
            "rows are missing: the file was deleted, is damaged, or is an older copy"
        );
        lost += missing.max(1);
        let totals = partitions.get(&partition).copied().unwrap_or_default();
        let sql = "UPDATE span SET rows = ?2, last_gen = ?3 WHERE span = ?1";
        connection
            .execute(sql, params![partition, totals.rows, totals.last_memtable])
            .during("correcting the recorded number of rows")?;
    }
    Ok(lost)
}

/// The partitions that have fewer rows than was recorded, or not all memtables, and how many rows are missing.
pub fn missing_rows(connection: &Connection, partitions: &BTreeMap<i64, PartitionTotals>) -> Result<Vec<(i64, u64)>> {
    const READING: &str = "reading the recorded number of rows";
    let mut select = connection.prepare("SELECT span, last_gen, rows FROM span").during(READING)?;
    let expected = select
        .query_map([], |row| Ok((row.get(0)?, PartitionTotals { last_memtable: row.get(1)?, rows: row.get(2)? })));
    let expected: Vec<(i64, PartitionTotals)> = expected.and_then(Iterator::collect).during(READING)?;
    let missing = expected.into_iter().filter_map(|(partition, expected)| {
        let totals = partitions.get(&partition).copied().unwrap_or_default();
        let is_missing = totals.rows < expected.rows || totals.last_memtable < expected.last_memtable;
        is_missing.then(|| (partition, u64::try_from(expected.rows - totals.rows).unwrap_or(0)))
    });
    Ok(missing.collect())
}

/// Adds the rows of a flushed memtable to the recorded number of each partition, in the transaction that writes its
/// latest values.
pub fn add_to_partitions(connection: &Connection, memtable: i64, added: &[(i64, usize)]) -> Result<()> {
    const NOTE: &str = "INSERT INTO span(span, last_gen, rows) VALUES(?1, ?2, ?3) ON CONFLICT(span)
        DO UPDATE SET last_gen = max(last_gen, excluded.last_gen), rows = rows + excluded.rows";
    for (partition, rows) in added {
        connection
            .prepare_cached(NOTE)
            .and_then(|mut note| note.execute(params![partition, memtable, *rows as i64]))
            .during("storing the number of rows")?;
    }
    Ok(())
}

/// Deletes the recorded numbers of the partitions that retention is about to delete.
pub fn forget_partitions(files: &Files, before_partition: i64) -> Result<()> {
    let connection = files.latest.writer()?;
    transaction(&connection, || {
        connection.execute("DELETE FROM span WHERE span < ?1", [before_partition]).during("retention").map(drop)
    })?;
    checkpoint(&connection, &files.latest);
    Ok(())
}
