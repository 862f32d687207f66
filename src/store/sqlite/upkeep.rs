//! Maintains the files of the registry: checks them before they are used, records acknowledged commits in a mark, and makes
//! checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::mark::{self, Mark};
use super::pages::{self, Verdict};
use super::wal;
use crate::domain::{Error, Result};
use crate::random;
use crate::store::seal::Seal;

/// The size of the write-ahead log from which a checkpoint is made.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// The text that is encrypted to recognize the key, and its additional authenticated data.
const KEY_CHECK: (&str, &str) = ("ingle", "folder.key_check");
/// The maximum number of damaged pages that a message lists.
const PAGES_LISTED_MAX: usize = 5;

/// Identifies the registry to which an event log belongs.
#[derive(Clone, Debug)]
pub struct FolderStamp {
    /// The random id of the folder.
    pub id: i64,
    /// The highest number that was ever assigned to a device.
    pub device_no: i64,
    /// The number of commits of the registry. It grows while the registry is open.
    pub commits: Arc<AtomicI64>,
}

impl FolderStamp {
    /// The stamp of an event log without a registry, for tests and benchmarks.
    pub fn alone() -> Self {
        Self { id: 0, device_no: i64::MAX, commits: Arc::default() }
    }
}

/// The path of the registry's mark.
pub fn mark_path(database: &Path) -> PathBuf {
    database.with_extension("mark")
}

/// Checks that the database file is there, unless the folder is new. Returns whether it has content.
///
/// # Errors
/// [`Error::Refused`] naming the file, with what to do.
pub fn check_presence(database: &Path) -> Result<bool> {
    let (exists, length) = match std::fs::metadata(database) {
        Ok(found) => (true, found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (false, 0),
        Err(error) => return Err(with_path(database, &error)),
    };
    if length > 0 {
        return Ok(true);
    }
    match mark::read(&mark_path(database)).map_err(Error::store)? {
        None => Ok(false),
        Some([_, commits, ..]) => Err(Error::Refused(format!(
            "{} is {}, and {} says that it was written to {commits} times: restore it from a backup",
            database.display(),
            if exists { "empty" } else { "missing" },
            mark_path(database).display()
        ))),
    }
}

/// Checks for missing and damaged files before SQLite opens them.
///
/// # Errors
/// [`Error::Refused`] naming the file, with what to do.
pub fn check_files(database: &Path) -> Result<()> {
    let name = database.display();
    if !check_presence(database)? {
        return Ok(());
    }
    match pages::verify(database, false).map_err(Error::store)? {
        Verdict::Whole => Ok(()),
        Verdict::Damaged(pages) => {
            let listed = pages.iter().take(PAGES_LISTED_MAX).map(u32::to_string).collect::<Vec<_>>().join(", ");
            let sums = pages::path(database);
            Err(Error::Refused(format!(
                "{name} is damaged or an older copy: {} of its pages do not match {} ({listed}{}). Restore the data \
                 folder from a backup, or try `ingle recover`",
                pages.len(),
                sums.display(),
                if pages.len() > PAGES_LISTED_MAX { ", …" } else { "" },
            )))
        }
        verdict => {
            if verdict == Verdict::SumsDamaged {
                tracing::error!(file = %pages::path(database).display(), "the checksums are damaged; they are computed again");
            }
            pages::trust(database, false).map_err(Error::store)
        }
    }
}

/// Maintains the files of an open registry. It belongs to the thread that writes.
pub struct Upkeep {
    database: PathBuf,
    id: i64,
    mark: Mark,
    commits: Arc<AtomicI64>,
    changes: u64,
    /// The size of the write-ahead log at which the next checkpoint is tried. A reader, such as a backup, can postpone it.
    log_bytes_max: u64,
}

impl Upkeep {
    /// Compares an opened registry with its mark and its key, and assigns an id if it has none.
    ///
    /// # Errors
    /// [`Error::Refused`] if the key is wrong or acknowledged changes are missing; [`Error::Store`].
    pub fn open(connection: &Connection, database: &Path, seal: &Seal) -> Result<(Self, FolderStamp)> {
        let is_new = !has_identity(connection).map_err(Error::store)?;
        if is_new && mark::read(&mark_path(database)).map_err(Error::store)?.is_some() {
            return Err(Error::Refused(format!(
                "{} is older than its mark, {}: restore the files that belong together, or try \
                 `ingle recover`",
                database.display(),
                mark_path(database).display()
            )));
        }
        let (id, commits) = identity(connection, database, seal)?;
        if !is_new {
            check_mark(database, id, commits)?;
        }
        make_checkpoint(connection, database);
        let device_no = device_no(connection).map_err(Error::store)?;
        let mark = mark_path(database);
        let mark = Mark::open(&mark, [id, commits, device_no, 0]).map_err(|error| with_path(&mark, &error))?;
        let commits = Arc::new(AtomicI64::new(commits));
        let stamp = FolderStamp { id, device_no, commits: commits.clone() };
        let changes = connection.total_changes();
        let database = database.to_owned();
        Ok((Self { database, id, mark, commits, changes, log_bytes_max: LOG_BYTES_MAX }, stamp))
    }

    /// Must be called in a transaction before its commit. Counts the commit if it changes anything.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn count(&self, connection: &Connection) -> rusqlite::Result<()> {
        if connection.total_changes() != self.changes {
            connection.prepare_cached("UPDATE folder SET commits = commits + 1")?.execute([])?;
        }
        Ok(())
    }

    /// Must be called after a commit and before it is acknowledged.
    pub fn committed(&mut self, connection: &Connection) {
        if connection.total_changes() == self.changes {
            return;
        }
        self.changes = connection.total_changes();
        let read = || -> rusqlite::Result<(i64, i64)> {
            let commits = connection.prepare_cached("SELECT commits FROM folder")?.query_row([], |row| row.get(0))?;
            Ok((commits, device_no(connection)?))
        };
        let marked = read().map_err(|error| error.to_string()).and_then(|(commits, device_no)| {
            self.commits.store(commits, Ordering::Release);
            self.mark.put([self.id, commits, device_no, 0]).map_err(|error| error.to_string())
        });
        if let Err(error) = marked {
            tracing::warn!(%error, file = %mark_path(&self.database).display(), "the mark of the registry cannot be written");
        }
        let log_bytes = std::fs::metadata(wal::path(&self.database)).map_or(0, |log| log.len());
        if log_bytes > self.log_bytes_max {
            // The checkpoint must not wait for readers. Pages that cannot be moved now are moved later.
            let busy_ms: rusqlite::Result<i64> = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0));
            let _ = connection.busy_timeout(Duration::ZERO);
            let is_done = make_checkpoint(connection, &self.database);
            // A failed one is not tried again at every commit, because it reads the whole log.
            self.log_bytes_max = LOG_BYTES_MAX + if is_done { 0 } else { log_bytes };
            let _ = connection.busy_timeout(Duration::from_millis(busy_ms.unwrap_or(0).unsigned_abs()));
        }
    }

    /// Must be called at the shutdown. Moves the write-ahead log into the database file.
    pub fn close(&self, connection: &Connection) {
        make_checkpoint(connection, &self.database);
    }
}

fn has_identity(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM folder)", [], |row| row.get(0))
}

/// The id of an opened registry and its number of commits. A registry without an id gets one.
///
/// # Errors
/// [`Error::Refused`] if the key is wrong; [`Error::Store`].
pub fn identity(connection: &Connection, database: &Path, seal: &Seal) -> Result<(i64, i64)> {
    let stored = connection
        .query_row("SELECT id, key_check, commits FROM folder", [], |row| {
            Ok((row.get("id")?, row.get::<_, Vec<u8>>("key_check")?, row.get("commits")?))
        })
        .optional();
    if let Some((id, key_check, commits)) = stored.map_err(Error::store)? {
        return is_key(&key_check, seal).then_some((id, commits)).ok_or_else(|| wrong_key(database));
    }
    check_key(connection, database, seal)?;
    let id = i64::from_le_bytes(random::bytes()?) | 1;
    let key_check = seal.seal(KEY_CHECK.0, KEY_CHECK.1)?;
    let sql = "INSERT INTO folder (only, id, key_check, commits) VALUES (1, ?1, ?2, 1)";
    connection.execute(sql, params![id, key_check]).map_err(Error::store)?;
    Ok((id, 1))
}

/// Whether the key decrypts the key check of a registry.
pub fn is_key(key_check: &[u8], seal: &Seal) -> bool {
    seal.unseal(key_check, KEY_CHECK.1).is_ok_and(|text| text == KEY_CHECK.0)
}

/// Writes a new mark over one that is wrong.
///
/// # Errors
/// [`Error::Refused`] naming the file.
pub fn replace_mark(database: &Path, id: i64, commits: i64, device_no: i64) -> Result<()> {
    let path = mark_path(database);
    Mark::open(&path, [id, commits, device_no, 0]).map(drop).map_err(|error| with_path(&path, &error))
}

/// Returns whether the write-ahead log is empty now.
fn make_checkpoint(connection: &Connection, database: &Path) -> bool {
    match pages::checkpoint(connection, database) {
        Ok(true) => return true,
        Ok(false) => tracing::debug!("a checkpoint of the registry is postponed because of a reader"),
        // The pages remain in the write-ahead log, where they are equally safe.
        Err(error) => tracing::warn!(%error, file = %database.display(), "a checkpoint failed; it is tried again"),
    }
    false
}

/// The highest number that was ever assigned to a device.
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
    match mark::read(&path).map_err(|error| with_path(&path, &error))? {
        Some([other, ..]) if other != id => Err(Error::Refused(format!(
            "{name} and {mark} belong to different data folders: restore the files that belong together, or try \
             `ingle recover`"
        ))),
        Some([_, marked, ..]) if marked > commits => Err(Error::Refused(format!(
            "{name} lacks {} changes that were acknowledged: it or {} is damaged, missing or an older copy ({mark} \
             says {marked} commits, it has {commits}). Restore the data folder from a backup, or continue without these changes with \
             `ingle recover`",
            marked - commits,
            wal::path(database).display(),
        ))),
        Some(_) => Ok(()),
        None => {
            tracing::warn!(file = %mark, "the mark of the registry is missing or damaged; a new one is created");
            Ok(())
        }
    }
}

/// Checks the key of a registry from an older version, which stored no key check, with the secret of a project.
fn check_key(connection: &Connection, database: &Path, seal: &Seal) -> Result<()> {
    let sql = "SELECT name, secret_sealed FROM project ORDER BY project_no LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>("name")?, row.get::<_, Vec<u8>>("secret_sealed")?));
    let found = connection.query_row(sql, [], read).optional().map_err(Error::store)?;
    let is_correct =
        found.is_none_or(|(project, sealed)| seal.unseal(&sealed, &super::project::secret_aad(&project)).is_ok());
    is_correct.then_some(()).ok_or_else(|| wrong_key(database))
}

/// The error for a key that is not the key of a registry.
pub fn wrong_key(database: &Path) -> Error {
    Error::Refused(format!(
        "secret.key is not the key of {}: it is damaged or belongs to another folder; restore it from a backup",
        database.display()
    ))
}

fn with_path(path: &Path, error: &std::io::Error) -> Error {
    Error::Refused(format!("{}: {error}", path.display()))
}
