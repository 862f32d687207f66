//! Snapshots of all files of the event log, and of one more database, at one instant.
//!
//! First a read transaction begins on each partition file and on `latest.db`, while nothing is written to them. Then the
//! committer begins the transactions on the journals between two commits. So every acknowledged row is in a partition
//! file or in a journal of the snapshot, as after a crash at that instant: a flush since the first step is not in it, but
//! the journal is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::super::snapshot::{DatabaseSnapshot, unreadable};
use super::SqliteTelemetry;
use super::engine::Engine;
use super::fault::{Context, Fault, Result};
use super::files::{self, Files, ReadMode, RunFile};
use super::flush::FLUSHED_TO;
use super::journal;
use super::partition::{PartitionFileId, is_empty};
use crate::domain;

/// How often a snapshot is tried when a memtable was created and flushed while it began.
const ATTEMPTS_MAX: usize = 5;

/// Journals by the numbers of their memtables.
type Journals = BTreeMap<i64, DatabaseSnapshot>;

/// Snapshots of all files of an event log.
pub struct LogSnapshot {
    /// The file of the latest values; `None` if it does not exist.
    pub latest: Option<DatabaseSnapshot>,
    /// The partition files; those that were set aside may be damaged.
    pub partitions: Vec<(PartitionFileId, DatabaseSnapshot)>,
    /// The journals of the rows that are in no file yet.
    pub journals: Vec<JournalSnapshot>,
    /// The number of the last memtable that is completely in the partition files.
    pub flushed_to: i64,
    /// The names of files that were set aside and cannot be read at all, with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// A snapshot of a journal.
pub struct JournalSnapshot {
    /// The number of its memtable.
    pub no: i64,
    /// The database.
    pub database: DatabaseSnapshot,
}

impl JournalSnapshot {
    /// Reads all entries. Returns the number of the last one, and the number of rows in all of them.
    ///
    /// # Errors
    /// [`domain::Error::Refused`] if an entry is damaged; [`domain::Error::Store`].
    pub fn totals(&self) -> domain::Result<(i64, i64)> {
        journal::totals(&self.database.connection, self.no).map_err(|fault| damaged(&self.database.path, fault))
    }
}

/// The error for a file with something damaged in it.
pub fn damaged(path: &Path, fault: Fault) -> domain::Error {
    match fault {
        Fault::Damaged(how) => domain::Error::Refused(format!("{} is damaged: {how}", path.display())),
        fault if fault.is_damage() => domain::Error::Refused(format!("{} is damaged: {fault}", path.display())),
        fault => fault.into(),
    }
}

impl SqliteTelemetry {
    /// Snapshots of all files at one instant, at which the transaction of `also` is renewed too. Acknowledgements wait
    /// for less time than a commit takes. Blocks.
    ///
    /// # Errors
    /// [`domain::Error::Refused`] if a file cannot be read; [`domain::Error::Store`].
    pub fn snapshot(&self, mut also: DatabaseSnapshot) -> domain::Result<(DatabaseSnapshot, LogSnapshot)> {
        for _ in 0..ATTEMPTS_MAX {
            let (mut log, mut journals, newest) = self.open_files()?;
            let engine = self.engine.clone();
            let at_once = move || {
                let began = Instant::now();
                let begun = also.renew().during("reading the registry").and_then(|()| {
                    let is_complete = renew(&engine, &mut journals, newest)?;
                    Ok(is_complete.then_some(journals))
                });
                let waited_us = began.elapsed().as_micros() as u64;
                tracing::debug!(waited_us, "acknowledgements waited for a snapshot");
                (also, begun)
            };
            let (returned, begun) = self.engine.queue.run_between_commits(at_once)?;
            also = returned;
            if let Some(journals) = begun? {
                let journals = journals.into_iter().map(|(no, database)| JournalSnapshot { no, database });
                log.journals = journals.collect();
                return Ok((also, log));
            }
        }
        Err(domain::Error::Busy("the event log is flushed too often for a snapshot"))
    }

    /// Begins the transactions on the partition files and `latest.db`, and opens the journals of all memtables that are
    /// not completely in them. The last value is the number of the newest of these memtables.
    fn open_files(&self) -> domain::Result<(LogSnapshot, Journals, i64)> {
        let engine = &self.engine;
        let _write_lock = engine.files.write_lock();
        let log = begin(&engine.files)?;
        let (oldest, newest) = (log.flushed_to + 1, engine.memtables().active_no());
        let mut journals = Journals::new();
        // The journal after the newest one may have been created in advance.
        for no in (oldest..=newest + 1).filter(|no| journal::path(&engine.folder, *no).exists()) {
            journals.insert(no, open_journal(&engine.folder, no)?);
        }
        Ok((log, journals, newest))
    }
}

/// Begins transactions on the partition files and on `latest.db`. Nothing may write to them meanwhile.
fn begin(files: &Files) -> domain::Result<LogSnapshot> {
    let open = |file: &RunFile| -> domain::Result<DatabaseSnapshot> {
        let connection = file.reader(ReadMode::Long)?;
        DatabaseSnapshot::begin(file.path.clone(), connection).map_err(|error| unreadable(&file.path, &error))
    };
    let (partitions, unreadable) = (Vec::new(), Vec::new());
    let mut log = LogSnapshot { latest: None, partitions, journals: Vec::new(), flushed_to: 0, unreadable };
    if !is_empty(&files.latest.path) {
        let latest = open(&files.latest)?;
        let flushed_to = files::meta(&latest.connection, FLUSHED_TO).map_err(|fault| damaged(&latest.path, fault))?;
        log.flushed_to = flushed_to.unwrap_or(0);
        log.latest = Some(latest);
    }
    for (id, file) in files.partition_files() {
        match open(&file) {
            Ok(snapshot) => log.partitions.push((id, snapshot)),
            Err(error) if id.is_active() => return Err(error),
            Err(error) => log.unreadable.push((id.name(), error.to_string())),
        }
    }
    Ok(log)
}

/// Snapshots of the event log in a folder that no server has open.
///
/// # Errors
/// [`domain::Error::Refused`] if a file cannot be read; [`domain::Error::Store`].
pub fn of_closed(folder: &Path, folder_id: i64) -> domain::Result<LogSnapshot> {
    let mut log = begin(&Files::open(folder, folder_id)?)?;
    let flushed_to = log.flushed_to;
    for no in journal::numbers(folder)?.into_iter().filter(|no| *no > flushed_to) {
        log.journals.push(JournalSnapshot { no, database: open_journal(folder, no)? });
    }
    Ok(log)
}

fn open_journal(folder: &Path, no: i64) -> Result<DatabaseSnapshot> {
    let connection = journal::open(&journal::path(folder, no))?;
    DatabaseSnapshot::begin(journal::path(folder, no), connection).during("opening a journal")
}

/// Renews the transactions on the journals and opens those of memtables since `newest`. The caller is the committer, so no
/// row is written meanwhile. Returns false if one of these journals was already flushed and deleted.
fn renew(engine: &Engine, journals: &mut Journals, newest: i64) -> Result<bool> {
    let active = engine.memtables().active_no();
    journals.retain(|no, _| *no <= active);
    for journal in journals.values_mut() {
        journal.renew().during("reading a journal")?;
    }
    for no in newest + 1..=active {
        if journals.contains_key(&no) {
            continue;
        }
        if !journal::path(&engine.folder, no).exists() {
            return Ok(false);
        }
        journals.insert(no, open_journal(&engine.folder, no)?);
    }
    Ok(true)
}
