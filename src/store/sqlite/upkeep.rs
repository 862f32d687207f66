//! The registry's files: they are checked before they are used, a mark beside them says how far acknowledged commits went,
//! and checkpoints leave them whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::mark::{self, Mark};
use super::pages::{self, Verdict};
use super::wal;
use crate::domain::{Error, Result};
use crate::store::seal::{Seal, random};

/// Bytes of write-ahead log after which it is moved into the database.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// What is encrypted to know the key by, and where that stands.
const KEY_CHECK: (&str, &str) = ("ingle", "folder.key_check");
/// Damaged pages that a message names.
const PAGES_NAMED: usize = 5;

/// By what the event log knows the registry that it belongs to.
#[derive(Clone, Debug)]
pub struct FolderStamp {
    /// The folder's own random number.
    pub id: i64,
    /// The highest number that a device was given.
    pub device_no: i64,
    /// How many times the registry was written to; grows while it is open.
    pub commits: Arc<AtomicI64>,
}

impl FolderStamp {
    /// That of an event log without a registry, for tests and benchmarks of the log alone.
    pub fn alone() -> Self {
        Self { id: 0, device_no: i64::MAX, commits: Arc::default() }
    }
}

/// Where the registry's mark lies.
pub fn mark_path(database: &Path) -> PathBuf {
    database.with_extension("mark")
}

/// Refuses files that are damaged or missing, before SQLite opens them.
///
/// # Errors
/// [`Error::Refused`] naming the file, with what to do.
pub fn check_files(database: &Path) -> Result<()> {
    let name = database.display();
    if !database.exists() {
        return match mark::read(&mark_path(database)).map_err(Error::store)? {
            None => Ok(()),
            Some([_, commits, ..]) => Err(Error::Refused(format!(
                "{name} is missing, and {} says that it was written to {commits} times: restore it from a backup",
                mark_path(database).display()
            ))),
        };
    }
    let is_empty = std::fs::metadata(database).map_err(Error::store)?.len() == 0;
    if is_empty && let Some([_, commits, ..]) = mark::read(&mark_path(database)).map_err(Error::store)? {
        return Err(Error::Refused(format!(
            "{name} is empty, and {} says that it was written to {commits} times: restore it from a backup",
            mark_path(database).display()
        )));
    }
    match pages::verify(database, false).map_err(Error::store)? {
        Verdict::Whole => Ok(()),
        Verdict::Damaged(pages) => {
            let named = pages.iter().take(PAGES_NAMED).map(u32::to_string).collect::<Vec<_>>().join(", ");
            let sums = pages::path(database);
            Err(Error::Refused(format!(
                "{name} is damaged or an older copy: {} of its pages are not what {} says ({named}{}). Restore the data \
                 folder from a backup, or see what is left with `ingle recover`",
                pages.len(),
                sums.display(),
                if pages.len() > PAGES_NAMED { ", …" } else { "" },
            )))
        }
        Verdict::Unknown if is_empty => Ok(()),
        verdict => {
            if verdict == Verdict::SumsDamaged {
                tracing::error!(file = %pages::path(database).display(), "the checksums are damaged; they are made again");
            }
            pages::trust(database, false).map_err(Error::store)
        }
    }
}

/// Keeps the registry's files while it is open. It belongs to the thread that writes.
pub struct Upkeep {
    database: PathBuf,
    id: i64,
    mark: Mark,
    commits: Arc<AtomicI64>,
    changes: u64,
}

impl Upkeep {
    /// Checks an opened registry against its mark and its key, and gives it an identity when it has none.
    ///
    /// # Errors
    /// [`Error::Refused`] for another key, and for a registry that lacks acknowledged changes; [`Error::Store`].
    pub fn open(connection: &Connection, database: &Path, seal: &Seal) -> Result<(Self, FolderStamp)> {
        let is_new = !has_identity(connection).map_err(Error::store)?;
        if is_new && mark::read(&mark_path(database)).map_err(Error::store)?.is_some() {
            return Err(Error::Refused(format!(
                "{} is older than its mark, {}: restore the files that belong together, or see what is left with \
                 `ingle recover`",
                database.display(),
                mark_path(database).display()
            )));
        }
        let (id, commits) = identity(connection, database, seal)?;
        if !is_new {
            check_mark(database, id, commits)?;
        }
        settle(connection, database);
        let device_no = device_no(connection).map_err(Error::store)?;
        let mark = mark_path(database);
        let mark = Mark::open(&mark, [id, commits, device_no, 0]).map_err(|error| named(&mark, &error))?;
        let commits = Arc::new(AtomicI64::new(commits));
        let stamp = FolderStamp { id, device_no, commits: commits.clone() };
        let changes = connection.total_changes();
        Ok((Self { database: database.to_owned(), id, mark, commits, changes }, stamp))
    }

    /// To be called in a transaction before its commit: counts it, if it changes anything.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn count(&self, connection: &Connection) -> rusqlite::Result<()> {
        if connection.total_changes() != self.changes {
            connection.prepare_cached("UPDATE folder SET commits = commits + 1")?.execute([])?;
        }
        Ok(())
    }

    /// To be called after a commit and before it is acknowledged.
    pub fn committed(&mut self, connection: &Connection) {
        if connection.total_changes() == self.changes {
            return;
        }
        self.changes = connection.total_changes();
        let read = || -> rusqlite::Result<(i64, i64)> {
            let commits = connection.prepare_cached("SELECT commits FROM folder")?.query_row([], |row| row.get(0))?;
            Ok((commits, device_no(connection)?))
        };
        let noted = read().map_err(|error| error.to_string()).and_then(|(commits, device_no)| {
            self.commits.store(commits, Ordering::Release);
            self.mark.put([self.id, commits, device_no, 0]).map_err(|error| error.to_string())
        });
        if let Err(error) = noted {
            tracing::warn!(%error, file = %mark_path(&self.database).display(), "a commit could not be marked");
        }
        if std::fs::metadata(wal::path(&self.database)).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            // Nobody waits for a reader here: what cannot be moved now is moved later.
            let busy_ms: rusqlite::Result<i64> = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0));
            let _ = connection.busy_timeout(Duration::ZERO);
            settle(connection, &self.database);
            let _ = connection.busy_timeout(Duration::from_millis(busy_ms.unwrap_or(0).unsigned_abs()));
        }
    }

    /// To be called at the end: the database file holds everything then.
    pub fn close(&self, connection: &Connection) {
        settle(connection, &self.database);
    }
}

fn has_identity(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM folder)", [], |row| row.get(0))
}

/// The id of an opened registry and how often it was written to; both are made when it has none.
///
/// # Errors
/// [`Error::Refused`] for another key; [`Error::Store`].
pub fn identity(connection: &Connection, database: &Path, seal: &Seal) -> Result<(i64, i64)> {
    let known = connection
        .query_row("SELECT id, key_check, commits FROM folder", [], |row| {
            Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?))
        })
        .optional();
    if let Some((id, key_check, commits)) = known.map_err(Error::store)? {
        let is_ours = seal.unseal(&key_check, KEY_CHECK.1).is_ok_and(|text| text == KEY_CHECK.0);
        return is_ours.then_some((id, commits)).ok_or_else(|| wrong_key(database));
    }
    check_key(connection, database, seal)?;
    let id = i64::from_le_bytes(random()?) | 1;
    let key_check = seal.seal(KEY_CHECK.0, KEY_CHECK.1)?;
    let sql = "INSERT INTO folder (only, id, key_check, commits) VALUES (1, ?1, ?2, 1)";
    connection.execute(sql, params![id, key_check]).map_err(Error::store)?;
    Ok((id, 1))
}

/// Puts a new mark in the place of one that is no longer true.
///
/// # Errors
/// [`Error::Refused`] naming the file.
pub fn replace_mark(database: &Path, id: i64, commits: i64, device_no: i64) -> Result<()> {
    let path = mark_path(database);
    Mark::open(&path, [id, commits, device_no, 0]).map(drop).map_err(|error| named(&path, &error))
}

fn settle(connection: &Connection, database: &Path) {
    match pages::checkpoint(connection, database) {
        Ok(true) => {}
        Ok(false) => tracing::debug!("a checkpoint of the registry has to wait for a reader"),
        // Everything stays in the write-ahead log, where it is as safe.
        Err(error) => tracing::warn!(%error, file = %database.display(), "a checkpoint failed; it is tried again"),
    }
}

/// The highest number that a device was ever given.
///
/// # Errors
/// Those of SQLite.
pub fn device_no(connection: &Connection) -> rusqlite::Result<i64> {
    let found = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'device'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

fn check_mark(database: &Path, id: i64, commits: i64) -> Result<()> {
    let path = mark_path(database);
    let (name, mark) = (database.display(), path.display());
    match mark::read(&path).map_err(|error| named(&path, &error))? {
        Some([other, ..]) if other != id => Err(Error::Refused(format!(
            "{name} and {mark} are of two data folders: restore the files that belong together, or see what is left \
             with `ingle recover`"
        ))),
        Some([_, marked, ..]) if marked > commits => Err(Error::Refused(format!(
            "{name} lacks {} changes that were acknowledged: it or {} is damaged, missing or an older copy ({mark} \
             says {marked} commits, it has {commits}). Restore the data folder from a backup, or go on without them by \
             `ingle recover`",
            marked - commits,
            wal::path(database).display(),
        ))),
        Some(_) => Ok(()),
        None => {
            tracing::warn!(file = %mark, "the mark of the registry is missing or damaged; it is made again");
            Ok(())
        }
    }
}

/// A registry from before it knew its key: any secret in it tells.
fn check_key(connection: &Connection, database: &Path, seal: &Seal) -> Result<()> {
    let sql = "SELECT name, secret_sealed FROM project ORDER BY project_no LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?));
    let found = connection.query_row(sql, [], read).optional().map_err(Error::store)?;
    let is_ours =
        found.is_none_or(|(project, sealed)| seal.unseal(&sealed, &super::project::place_of_secret(&project)).is_ok());
    is_ours.then_some(()).ok_or_else(|| wrong_key(database))
}

fn wrong_key(database: &Path) -> Error {
    Error::Refused(format!(
        "secret.key is not the key of {}: it is damaged or another folder's; restore it from its copy",
        database.display()
    ))
}

fn named(path: &Path, error: &std::io::Error) -> Error {
    Error::Refused(format!("{}: {error}", path.display()))
}
