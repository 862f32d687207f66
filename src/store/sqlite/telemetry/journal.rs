//! The journal: a file for each generation, a row for each group commit. Its write-ahead log is never checkpointed;
//! the whole file goes once its generation is rolled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::Durability;
use super::codec::{Block, Encoder};
use super::fault::{Context, Fault, Result};
use super::memory::Generation;
use super::row::RowView;

/// A commit is split into entries of about this size.
pub const ENTRY_BYTES: usize = 4 << 20;

/// Nobody but the committer has business with a journal.
const BUSY_MAX: Duration = Duration::from_millis(250);

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".db";

/// An open journal.
pub struct Journal {
    /// The generation's number.
    pub no: i64,
    connection: Connection,
}

/// Where the journal of a generation lies.
pub fn path(folder: &Path, no: i64) -> PathBuf {
    folder.join(format!("{PREFIX}{no:010}{SUFFIX}"))
}

/// The generations that have a journal in a folder, oldest first. What is left of journals already gone is removed.
pub fn list(folder: &Path) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).during("listing the telemetry folder")? {
        let name = entry.during("listing the telemetry folder")?.file_name();
        let Some((number, rest)) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('.')) else {
            continue;
        };
        let Ok(no) = number.parse() else { continue };
        if rest == "db" {
            found.push(no);
        } else if !path(folder, no).exists() {
            remove(folder, no)?;
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes a journal. Its write-ahead log goes first, so that none is ever found beside another file.
pub fn remove(folder: &Path, no: i64) -> Result<()> {
    let file = path(folder, no);
    for suffix in ["-wal", "-shm", ""] {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(cause).during("removing a journal");
            }
            _ => {}
        }
    }
    Ok(())
}

impl Journal {
    /// Makes the journal of a new generation, and sure that it will be found again.
    pub fn create(folder: &Path, no: i64, durability: Durability) -> Result<Self> {
        remove(folder, no)?;
        let connection = Connection::open(path(folder, no)).during("creating a journal")?;
        connection.busy_timeout(BUSY_MAX).during("creating a journal")?;
        let synchronous = match durability {
            Durability::Sync => "FULL",
            Durability::Os => "NORMAL",
        };
        // Small pages, because a commit writes whole ones, and a small commit should not write much.
        connection
            .execute_batch(&format!(
                "PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};
                 PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-512; PRAGMA user_version=2;
                 CREATE TABLE IF NOT EXISTS journal(batch INTEGER PRIMARY KEY, rows BLOB NOT NULL);"
            ))
            .during("creating a journal")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).during("creating a journal")?;
        File::open(folder).and_then(|folder| folder.sync_all()).during("syncing the telemetry folder")?;
        Ok(Self { no, connection })
    }

    /// Commits rows, as a whole or not at all. `rows` hands each row with its device to the function it is given,
    /// which says when it has had enough for one entry.
    pub fn commit<'a>(&self, encoder: &mut Encoder, rows: impl Iterator<Item = (i64, RowView<'a>)>) -> Result<()> {
        let written = self.write(encoder, rows);
        if written.is_err() {
            encoder.clear();
            if !self.connection.is_autocommit() {
                // Nothing of it was acknowledged; should this fail as well, the next attempt says so.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
        }
        written
    }

    fn write<'a>(&self, encoder: &mut Encoder, rows: impl Iterator<Item = (i64, RowView<'a>)>) -> Result<()> {
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
        while let Some((device, row)) = rows.next() {
            encoder.push(device, &row);
            if rows.peek().is_none() || encoder.bytes() >= ENTRY_BYTES {
                batch += 1;
                let blob = encoder.finish([self.no, batch, 0])?;
                insert.execute(params![batch, blob]).during("writing the journal")?;
            }
        }
        run("COMMIT").during("committing to the journal")?;
        Ok(())
    }
}

/// Reads a journal back into memory. Also returns how many entries were damaged.
pub fn replay(folder: &Path, no: i64) -> Result<(Generation, u64)> {
    let generation = Generation::new(no);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path(folder, no), flags).during("opening a journal")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).during("opening a journal")?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).during("opening a journal")?;
    if version > 2 {
        return Err(Fault::Newer(path(folder, no).display().to_string()));
    }
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'journal'";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0)).during("opening a journal")? == 0 {
        // It was being made when the server ended.
        return Ok((generation, 0));
    }
    let mut damaged = 0;
    let mut select =
        connection.prepare("SELECT batch, rows FROM journal ORDER BY batch").during("reading a journal")?;
    let mut entries = select.query([]).during("reading a journal")?;
    while let Some(entry) = entries.next().during("reading a journal")? {
        let batch: i64 = entry.get(0).during("reading a journal")?;
        let blob = entry.get_ref(1).during("reading a journal")?.as_blob().unwrap_or_default();
        match replay_entry(&generation, blob, batch) {
            Ok(()) => {}
            Err(Fault::Damaged(how)) => {
                tracing::warn!(journal = no, batch, how, "a journal entry is damaged; its rows are lost");
                damaged += 1;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok((generation, damaged))
}

fn replay_entry(generation: &Generation, blob: &[u8], batch: i64) -> Result<()> {
    let (rows, ends) = Block::open(blob, [generation.no, batch, 0])?.body()?.into_all()?;
    let mut views = Vec::new();
    let mut first = 0;
    for (device, end) in ends {
        views.clear();
        views.extend(rows.rows.get(first..end).unwrap_or_default().iter().map(|row| rows.view(row)));
        generation.insert(device, &views)?;
        first = end;
    }
    Ok(())
}
