//! The journal, which is the write-ahead log (WAL) of the engine: one file for each memtable, with one or more entries
//! for each group commit. The whole file is deleted once its memtable is flushed.
//!
//! A journal is a SQLite database whose own write-ahead log is never checkpointed. SQLite silently stops reading that
//! log at the first damaged frame. Therefore the file `journal-….mark` beside each journal records how many entries and
//! rows were acknowledged, and a replay that finds fewer rows reports the difference.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::super::connection::write_ahead;
use super::super::mark::{self, Mark};
use super::super::upkeep::FolderStamp;
use super::Durability;
use super::codec::{Block, Encoder};
use super::fault::{Context, Fault, Result};
use super::memtable::Memtable;
use super::partition::is_empty;
use super::row::{DeviceEnd, RowView};
use crate::durable_file;

/// A commit is divided into entries of about this size.
pub const ENTRY_BYTES: usize = 4 << 20;

/// Only the committer uses a journal, so it never waits for a lock in practice.
const BUSY_MAX: Duration = Duration::from_millis(250);

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".db";
/// A part of the name under which a damaged journal is set aside.
const ASIDE: &str = "damaged";

/// An open journal.
pub struct Journal {
    /// The number of the memtable.
    pub no: i64,
    connection: Connection,
    stamp: FolderStamp,
    mark: Mark,
    entries: i64,
    rows: i64,
}

/// The result of replaying a journal.
pub struct Replayed {
    /// The rows that could be read.
    pub memtable: Memtable,
    /// Number of damaged entries.
    pub damaged: u64,
    /// Number of acknowledged rows that are missing.
    pub lost_rows: u64,
}

impl Replayed {
    /// Whether a part of the journal is missing or damaged, so that it is set aside and not deleted.
    pub fn is_damaged(&self) -> bool {
        self.damaged > 0 || self.lost_rows > 0
    }
}

/// The path of the journal of a memtable.
pub fn path(folder: &Path, no: i64) -> PathBuf {
    folder.join(format!("{PREFIX}{no:010}{SUFFIX}"))
}

/// The path of the mark of a journal.
pub fn mark_path(folder: &Path, no: i64) -> PathBuf {
    path(folder, no).with_extension("mark")
}

/// The numbers of all memtables that have a journal, oldest first.
pub fn numbers(folder: &Path) -> Result<Vec<i64>> {
    let found = with_suffix(folder, SUFFIX)?;
    Ok(found.into_iter().filter(|no| !is_empty(&path(folder, *no))).collect())
}

/// The numbers of all memtables that have a mark of a journal, oldest first.
pub fn marked(folder: &Path) -> Result<Vec<i64>> {
    with_suffix(folder, ".mark")
}

fn with_suffix(folder: &Path, suffix: &str) -> Result<Vec<i64>> {
    let mut found = Vec::<i64>::new();
    for entry in fs::read_dir(folder).during("listing the telemetry folder")? {
        let name = entry.during("listing the telemetry folder")?.file_name();
        found.extend(
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(suffix)?.parse::<i64>().ok()),
        );
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads all entries of an open journal. Returns the number of the last one, and the number of rows in all of them.
pub fn totals(connection: &Connection, no: i64) -> Result<(i64, i64)> {
    const READING: &str = "reading a journal";
    let mut select = connection.prepare("SELECT batch, rows FROM journal ORDER BY batch").during(READING)?;
    let mut entries = select.query([]).during(READING)?;
    let (mut last, mut rows) = (0, 0);
    while let Some(entry) = entries.next().during(READING)? {
        last = entry.get(0).during(READING)?;
        let blob = entry.get_ref(1).during(READING)?.as_blob().unwrap_or_default();
        let block = Block::open(blob, [no, last, 0])?;
        block.body()?.into_all()?;
        rows += i64::from(block.header.rows);
    }
    Ok((last, rows))
}

/// The numbers of all memtables that have a journal, or the mark of one that had rows, oldest first. Deletes what is
/// left of other journals.
pub fn list(folder: &Path) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).during("listing the telemetry folder")? {
        let name = entry.during("listing the telemetry folder")?.file_name();
        let Some((number, rest)) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('.')) else {
            continue;
        };
        let Ok(no) = number.parse() else { continue };
        match rest {
            "db" => found.push(no),
            _ if rest.starts_with(ASIDE) || path(folder, no).exists() || found.contains(&no) => {}
            _ if marked_rows(folder, no)? > 0 => found.push(no),
            _ => remove(folder, no)?,
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The registry's number of commits at the last acknowledgement of this journal, from its mark; 0 without a mark.
pub fn registry_commits(folder: &Path, no: i64) -> Result<i64> {
    let marked = mark::read(&mark_path(folder, no)).during("reading a journal's mark")?;
    Ok(marked.map_or(0, |[_, commits, ..]| commits))
}

/// The number of acknowledged rows according to the mark of a journal.
pub fn marked_rows(folder: &Path, no: i64) -> Result<i64> {
    let marked = mark::read(&mark_path(folder, no)).during("reading a journal's mark")?;
    Ok(marked.map_or(0, |[.., rows]| rows))
}

/// Deletes a journal: SQLite's write-ahead log first, so that it is never found beside another file of that name, and
/// the mark last, so that it never accuses a deletion that was intended.
pub fn remove(folder: &Path, no: i64) -> Result<()> {
    let mark = mark_path(folder, no);
    if mark.exists() {
        // From here on no row is reported as missing.
        Mark::open(&mark, [0; mark::NUMBERS]).during("deleting a journal")?;
    }
    each_file(folder, no, |file| match fs::remove_file(file) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause).during("deleting a journal"),
        _ => Ok(()),
    })
}

/// Renames the files of a damaged journal, so that they can be examined and are not replayed again.
pub fn set_aside(folder: &Path, no: i64) -> Result<()> {
    each_file(folder, no, |file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((stem, kind)) = name.split_once('.') else { return Ok(()) };
        if kind.ends_with("-shm") {
            return Ok(());
        }
        match fs::rename(file, folder.join(format!("{stem}.{ASIDE}.{kind}"))) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause).during("setting a journal aside"),
            _ => Ok(()),
        }
    })?;
    remove(folder, no)
}

fn each_file(folder: &Path, no: i64, act: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let file = path(folder, no);
    for suffix in ["-wal", "-shm", ""] {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        act(Path::new(&name))?;
    }
    act(&mark_path(folder, no))
}

impl Journal {
    /// Creates the journal of a new memtable and makes its directory entry durable.
    pub fn create(folder: &Path, no: i64, stamp: &FolderStamp, durability: Durability) -> Result<Self> {
        let folder_id = stamp.id;
        remove(folder, no)?;
        durable_file::create_private(&path(folder, no))?;
        let connection = Connection::open(path(folder, no)).during("creating a journal")?;
        connection.busy_timeout(BUSY_MAX).during("creating a journal")?;
        let synchronous = match durability {
            Durability::Sync => "FULL",
            Durability::Os => "NORMAL",
        };
        // A commit writes whole pages, so small pages keep small commits small.
        connection
            .execute_batch("PRAGMA page_size=512")
            .and_then(|()| write_ahead(&connection))
            .and_then(|()| {
                connection.execute_batch(&format!(
                    "PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-512;
                     PRAGMA user_version=2; PRAGMA application_id={};
                     CREATE TABLE IF NOT EXISTS journal(batch INTEGER PRIMARY KEY, rows BLOB NOT NULL);",
                    application_id(folder_id)
                ))
            })
            .during("creating a journal")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).during("creating a journal")?;
        let numbers = [folder_id, stamp.commits.load(Ordering::Acquire), 0, 0];
        let mark = Mark::open(&mark_path(folder, no), numbers).during("creating a journal's mark")?;
        File::open(folder).and_then(|folder| folder.sync_all()).during("syncing the telemetry folder")?;
        Ok(Self { no, connection, stamp: stamp.clone(), mark, entries: 0, rows: 0 })
    }

    /// Commits rows, all or none. Each row comes with the number of its device. Returns the time that the last step took,
    /// which includes the fsync.
    pub fn commit<'a>(
        &mut self,
        encoder: &mut Encoder,
        rows: impl Iterator<Item = (i64, RowView<'a>)>,
    ) -> Result<Duration> {
        let written = self.write(encoder, rows);
        if written.is_err() {
            encoder.clear();
            if !self.connection.is_autocommit() {
                // Nothing was acknowledged. If the rollback fails too, the next commit reports it.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
        }
        let (entries, rows, synced) = written?;
        (self.entries, self.rows) = (entries, self.rows + rows);
        // The commit itself is on disk. Without an up-to-date mark, only a later loss of these rows would not be
        // noticed.
        if let Err(error) =
            self.mark.put([self.stamp.id, self.stamp.commits.load(Ordering::Acquire), self.entries, self.rows])
        {
            tracing::warn!(%error, journal = self.no, "the mark of the journal could not be updated");
        }
        Ok(synced)
    }

    /// Returns the number of the last entry, how many rows were written, and the time of the last step.
    fn write<'a>(
        &self,
        encoder: &mut Encoder,
        rows: impl Iterator<Item = (i64, RowView<'a>)>,
    ) -> Result<(i64, i64, Duration)> {
        let run = |sql| self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        run("BEGIN IMMEDIATE").during("beginning a commit")?;
        let last = "SELECT coalesce(max(batch), 0) FROM journal";
        let mut batch = self
            .connection
            .prepare_cached(last)
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
            .during("beginning a commit")?;
        let mut insert =
            self.connection.prepare_cached("INSERT INTO journal(batch, rows) VALUES(?1, ?2)").during("a commit")?;
        let mut rows = rows.peekable();
        let mut count = 0;
        while let Some((device, row)) = rows.next() {
            count += 1;
            encoder.push(device, &row);
            if rows.peek().is_none() || encoder.bytes() >= ENTRY_BYTES {
                batch += 1;
                let blob = encoder.finish([self.no, batch, 0])?;
                insert.execute(params![batch, blob]).during("writing the journal")?;
            }
        }
        let begun = Instant::now();
        run("COMMIT").during("committing to the journal")?;
        Ok((batch, count, begun.elapsed()))
    }
}

/// The part of the folder's id that fits into SQLite's application id.
fn application_id(folder_id: i64) -> i32 {
    (folder_id & i64::from(i32::MAX)) as i32
}

/// Replays a journal into a memtable. Damaged entries are skipped and counted.
pub fn replay(folder: &Path, no: i64, folder_id: i64) -> Result<Replayed> {
    let mut replayed = Replayed { memtable: Memtable::new(no), damaged: 0, lost_rows: 0 };
    let file = path(folder, no);
    match read(&file, folder_id, &mut replayed) {
        Ok(()) => {}
        Err(fault) if fault.is_damage() => {
            tracing::error!(file = %file.display(), error = %fault, "a journal is damaged");
            replayed.damaged += 1;
        }
        Err(fault) => return Err(fault),
    }
    let marked = u64::try_from(marked_rows(folder, no)?).unwrap_or(0);
    replayed.lost_rows = marked.saturating_sub(replayed.memtable.rows() as u64);
    if replayed.lost_rows > 0 {
        let (file, lost_rows) = (file.display(), replayed.lost_rows);
        tracing::error!(%file, lost_rows, marked, "acknowledged rows are missing: the journal is damaged or was deleted");
    }
    Ok(replayed)
}

/// Opens a journal for reading.
pub fn open(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).during("opening a journal")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).during("opening a journal")?;
    Ok(connection)
}

fn read(file: &Path, folder_id: i64, replayed: &mut Replayed) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let connection = open(file)?;
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).during("opening a journal");
    if number("PRAGMA user_version")? > 2 {
        return Err(Fault::Newer(file.display().to_string()));
    }
    if number("SELECT count(*) FROM sqlite_schema WHERE name = 'journal'")? == 0 {
        // The server ended while the journal was being created.
        return Ok(());
    }
    let application = number("PRAGMA application_id")?;
    if folder_id != 0 && application != 0 && application != i64::from(application_id(folder_id)) {
        return Err(Fault::Foreign(format!("{} belongs to another data folder", file.display())));
    }
    let memtable = &replayed.memtable;
    let mut select =
        connection.prepare("SELECT batch, rows FROM journal ORDER BY batch").during("reading a journal")?;
    let mut entries = select.query([]).during("reading a journal")?;
    while let Some(entry) = entries.next().during("reading a journal")? {
        let batch: i64 = entry.get(0).during("reading a journal")?;
        let blob = entry.get_ref(1).during("reading a journal")?.as_blob().unwrap_or_default();
        match replay_entry(memtable, blob, batch) {
            Ok(()) => {}
            Err(Fault::Damaged(how)) => {
                tracing::warn!(journal = memtable.no, batch, how, "a journal entry is damaged; its rows are lost");
                replayed.damaged += 1;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn replay_entry(memtable: &Memtable, blob: &[u8], batch: i64) -> Result<()> {
    let (rows, ends) = Block::open(blob, [memtable.no, batch, 0])?.body()?.into_all()?;
    let mut views = Vec::new();
    let mut first = 0;
    for DeviceEnd { device, end } in ends {
        views.clear();
        views.extend(rows.rows.get(first..end).unwrap_or_default().iter().map(|row| rows.view(row)));
        memtable.insert(device, &views)?;
        first = end;
    }
    Ok(())
}
