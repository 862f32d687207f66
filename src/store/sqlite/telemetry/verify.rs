//! The examination of the event log, as a part of [`crate::store::sqlite::verify`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::Connection;

use super::super::backup::FolderSnapshot;
use super::super::mark;
use super::super::snapshot::DatabaseSnapshot;
use super::super::verify::{PROBLEMS_MAX, Progress, Report, database};
use super::check::{self, LOST_ROWS, PartitionTotals, REGISTRY_COMMITS};
use super::codec::Block;
use super::fault::{Context, Fault, Result};
use super::files;
use super::row::Key;
use super::snapshot::damaged;
use super::sorted_run::RunState;
use super::{journal, snapshot};
use crate::domain;

/// Examines every file of the event log.
///
/// # Errors
/// The error of `progress`; [`domain::Error::Store`].
pub fn verify(folder: &FolderSnapshot, report: &mut Report, progress: Progress<'_>) -> domain::Result<()> {
    let mut partitions = BTreeMap::<i64, PartitionTotals>::new();
    for (id, file) in &folder.log.partitions {
        let totals = partitions.entry(id.partition).or_default();
        if !id.is_active() {
            // It was set aside because it is damaged, and what is readable of it is used.
            let found = contents(file, &mut |_, _| {}).unwrap_or_default();
            totals.rows += found.recorded_rows;
            totals.last_memtable = totals.last_memtable.max(found.last_memtable);
            let kept = found.rows;
            report.rows += kept.unsigned_abs();
            report
                .notes
                .push(format!("{} was set aside because it was damaged; {kept} rows of it are readable", file.name()));
            continue;
        }
        let found = examine(folder, file, report, progress)?;
        totals.rows += found.recorded_rows;
        totals.last_memtable = totals.last_memtable.max(found.last_memtable);
        report.rows += found.rows.unsigned_abs();
    }
    let unreadable = folder.log.unreadable.iter();
    report.notes.extend(unreadable.map(|(name, why)| format!("{name} was set aside and cannot be read at all: {why}")));
    let before = report.problems.len();
    match &folder.log.latest {
        Some(latest) => {
            examine(folder, latest, report, progress)?;
            if report.problems.len() == before {
                let compared = totals(&latest.connection, folder.facts.commits, &partitions, report);
                note(report, compared.map_err(|fault| damaged(&latest.path, fault)))?;
            }
        }
        None if partitions.is_empty() => {}
        None => report.problems.push("latest.db is missing; it is made again from the log at the start".to_owned()),
    }
    journals(folder, report, progress)
}

/// Adds a refusal to the problems.
fn note<T>(report: &mut Report, result: domain::Result<T>) -> domain::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(domain::Error::Refused(problem)) => {
            report.problems.push(problem);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What a file of sorted runs contains.
#[derive(Default)]
struct Contents {
    /// Rows that were decoded.
    rows: i64,
    /// Rows that the runs must have.
    recorded_rows: i64,
    /// The largest number of a memtable that has rows in it.
    last_memtable: i64,
    /// The largest device number.
    device_no: i64,
    /// The id of the data folder.
    folder_id: Option<i64>,
}

/// Examines a file of sorted runs completely.
fn examine(
    folder: &FolderSnapshot,
    file: &DatabaseSnapshot,
    report: &mut Report,
    progress: Progress<'_>,
) -> domain::Result<Contents> {
    if !database(file, report, progress)? {
        return Ok(Contents::default());
    }
    let name = file.path.display();
    let mut wrong = 0;
    let found = contents(file, &mut |key, how| {
        wrong += 1;
        if wrong <= PROBLEMS_MAX {
            report.problems.push(format!("{name}: a block of device number {} is damaged: {how}", key.device));
        }
    });
    let found = found.map_err(|fault| damaged(&file.path, fault));
    let Some(found) = note(report, found)? else { return Ok(Contents::default()) };
    if found.rows != found.recorded_rows && wrong == 0 {
        report.problems.push(format!("{name} has {} rows, but its runs must have {}", found.rows, found.recorded_rows));
    }
    if found.device_no > folder.facts.device_no {
        let (device_no, assigned) = (found.device_no, folder.facts.device_no);
        report.problems.push(format!(
            "{name} has rows of device number {device_no}, but the registry has assigned numbers up to {assigned}"
        ));
    }
    if found.folder_id.is_some_and(|id| id != folder.facts.id) {
        report.problems.push(format!("{name} belongs to another data folder than registry.db"));
    }
    Ok(found)
}

/// Decodes every block of a file. Damaged blocks are passed to `note`.
fn contents(file: &DatabaseSnapshot, note: &mut dyn FnMut(Key, &str)) -> Result<Contents> {
    let connection = &file.connection;
    let mut found = Contents { folder_id: files::meta(connection, files::FOLDER)?, ..Contents::default() };
    for run in files::runs(connection, RunState::Live)? {
        found.recorded_rows += run.rows;
        found.last_memtable = found.last_memtable.max(run.last_memtable);
        files::blocks(connection, run.no, Key::first_of(i64::MIN), &mut *note, &mut |_, block: &Block<'_>| {
            let (rows, ends) = block.body()?.into_all()?;
            if rows.rows.len() != block.header.rows as usize {
                return Err(Fault::Damaged("it has another number of rows than its header says"));
            }
            found.rows += i64::from(block.header.rows);
            found.device_no = found.device_no.max(ends.last().map_or(0, |end| end.device));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(found)
}

/// Compares `latest.db` with the registry and with the rows of the partitions.
fn totals(
    latest: &Connection,
    registry_commits: i64,
    partitions: &BTreeMap<i64, PartitionTotals>,
    report: &mut Report,
) -> Result<()> {
    let commits = files::meta(latest, REGISTRY_COMMITS)?.unwrap_or(0);
    if commits > registry_commits {
        report.problems.push(format!(
            "registry.db is older than the event log: the log was written after {commits} commits of the registry, which has {registry_commits}"
        ));
    }
    let lost = files::meta(latest, LOST_ROWS)?.unwrap_or(0);
    if lost > 0 {
        report.notes.push(format!("{lost} rows were found missing at an earlier start"));
    }
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'span'";
    if latest.query_row(sql, [], |row| row.get::<_, i64>(0)).during("reading the recorded number of rows")? == 0 {
        return Ok(());
    }
    for (partition, missing) in check::missing_rows(latest, partitions)? {
        report.problems.push(format!("{missing} rows of events-{partition}.db are missing"));
    }
    Ok(())
}

/// Examines the journals, and compares those of a closed log with their marks.
fn journals(folder: &FolderSnapshot, report: &mut Report, progress: Progress<'_>) -> domain::Result<()> {
    let mut rows_of = BTreeMap::new();
    for snapshot::JournalSnapshot { no, database: file } in &folder.log.journals {
        rows_of.insert(*no, 0);
        if !database(file, report, progress)? {
            continue;
        }
        let has_rows = "SELECT count(*) FROM sqlite_schema WHERE name = 'journal'";
        if file.connection.query_row(has_rows, [], |row| row.get::<_, i64>(0)).map_err(domain::Error::store)? == 0 {
            continue;
        }
        let totals = journal::totals(&file.connection, *no).map_err(|fault| damaged(&file.path, fault));
        if let Some((_, rows)) = note(report, totals)? {
            report.rows += rows.unsigned_abs();
            rows_of.insert(*no, rows);
        }
    }
    if !folder.is_closed {
        return Ok(());
    }
    let flushed_to = folder.log.flushed_to;
    for (no, [_, commits, _, marked]) in marks(&folder.folder)?.into_iter().filter(|(no, _)| *no > flushed_to) {
        let (name, missing) = (journal::path(&folder.folder, no), marked - rows_of.get(&no).copied().unwrap_or(0));
        if missing > 0 {
            report.problems.push(format!("{} lacks {missing} rows that were acknowledged", name.display()));
        }
        if marked > 0 && commits > folder.facts.commits {
            report.problems.push(format!("registry.db is older than {}", name.display()));
        }
    }
    Ok(())
}

/// The marks of all journals in a folder, with the numbers of the journals.
fn marks(folder: &Path) -> domain::Result<Vec<(i64, mark::Numbers)>> {
    let mut found = Vec::new();
    for no in journal::marked(folder)? {
        let numbers = mark::read(&journal::mark_path(folder, no)).map_err(domain::Error::store)?;
        found.extend(numbers.map(|numbers| (no, numbers)));
    }
    Ok(found)
}
