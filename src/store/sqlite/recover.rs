//! Repairs a registry that has lost data so that the server can start with it, on the operator's request.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::telemetry::{LogSummary, log_summary};
use super::upkeep::{self, mark_path};
use super::{REGISTRY_FILE, connection, mark, migrate, pages, wal};
use crate::domain::{Error, Result};
use crate::durable_file;
use crate::store::seal::Seal;

/// The result of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Devices in the registry.
    pub devices: u64,
    /// Descriptions of the damage and the losses.
    pub problems: Vec<String>,
}

/// What a recovery does with the logs of the devices, whose owner may have changed since the registry's last state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldHistory {
    /// All rows from before the recovery are hidden.
    Hide,
    /// They remain visible: the operator knows that no device has another owner.
    Keep,
}

/// Repairs the registry of a folder so that it opens again together with the event log of that folder.
///
/// # Errors
/// [`Error::Refused`] if the database cannot be repaired, or the key is wrong; [`Error::Store`].
pub fn recover(folder: &Path, history: OldHistory, now_ms: i64) -> Result<Recovered> {
    let path = folder.join(REGISTRY_FILE);
    let mut problems = Vec::new();
    if let pages::Verdict::Damaged(pages) = pages::verify(&path, false).map_err(Error::store)? {
        problems.push(format!("{} damaged pages of registry.db", pages.len()));
    }
    let marked = mark::read(&mark_path(&path)).map_err(Error::store)?.map_or(0, |[_, commits, ..]| commits);
    keep_copies(&path)?;
    let seal = Seal::open(folder, !path.exists())?;
    let log = log_summary(folder)?;
    let connection = connection::open_writer(&path)?;
    check_integrity(&connection)?;
    migrate(&connection)?;
    // One transaction makes the changes that keep new devices from getting the rows of lost ones. The server still refuses
    // to start until the mark is replaced after it.
    let left = write(&connection, &seal, &path, &log, marked, now_ms, history)?;
    if marked > left.commits_before {
        problems.push(format!("{} acknowledged changes of the registry", marked - left.commits_before));
    }
    if log.device_no > left.device_no_before {
        let numbers = (left.device_no_before + 1, log.device_no);
        problems.push(format!("the devices of the numbers {} to {}, if they were not removed", numbers.0, numbers.1));
    }
    pages::remove(&path).map_err(Error::store)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(Error::store)?;
    drop(connection);
    pages::trust(&path, false).map_err(Error::store)?;
    upkeep::replace_mark(&path, left.id, left.commits, left.device_no_before.max(log.device_no))?;
    Ok(Recovered { devices: left.devices, problems })
}

/// Copies the files to `….before-recover-<n>` before they are changed.
fn keep_copies(database: &Path) -> Result<()> {
    let beside = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let number = (1..).find(|n| !beside(&format!(".before-recover-{n}")).exists()).unwrap_or(1);
    for path in [database.to_owned(), wal::path(database), mark_path(database), pages::path(database)] {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::store(error)),
        };
        let mut name = path.into_os_string();
        name.push(format!(".before-recover-{number}"));
        durable_file::write(Path::new(&name), &bytes, durable_file::SECRET_MODE).map_err(Error::store)?;
    }
    Ok(())
}

/// Refuses a database that SQLite finds damaged.
fn check_integrity(connection: &Connection) -> Result<()> {
    let damaged =
        |text: String| Error::Refused(format!("registry.db cannot be repaired; restore it from a backup ({text})"));
    let check = || -> rusqlite::Result<String> {
        connection.execute_batch("REINDEX")?;
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
    };
    match check() {
        Ok(text) if text == "ok" => Ok(()),
        Ok(text) => Err(damaged(text)),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// The state of the registry before and after the changes.
struct Left {
    commits_before: i64,
    device_no_before: i64,
    id: i64,
    commits: i64,
    devices: u64,
}

fn write(
    connection: &Connection,
    seal: &Seal,
    database: &Path,
    log: &LogSummary,
    marked: i64,
    now_ms: i64,
    history: OldHistory,
) -> Result<Left> {
    let transaction = connection.unchecked_transaction().map_err(Error::store)?;
    let (id, commits_before) = upkeep::identity(&transaction, database, seal)?;
    let id = if log.folder_id == 0 { id } else { log.folder_id };
    let commits = commits_before.max(marked).max(log.registry_commits) + 1;
    let change = || -> rusqlite::Result<Left> {
        transaction.execute("UPDATE folder SET id = ?1, commits = ?2", [id, commits])?;
        let device_no_before = upkeep::device_no(&transaction)?;
        let raised = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'device'";
        if transaction.execute(raised, [log.device_no])? == 0 {
            transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('device', ?1)", [log.device_no])?;
        }
        if history == OldHistory::Hide {
            let from_ms = now_ms.max(log.newest_ms.saturating_add(1));
            let sql = "UPDATE device SET history_from_ms = max(history_from_ms, ?1)";
            transaction.execute(sql, params![from_ms])?;
        }
        let devices = transaction.query_row("SELECT count(*) FROM device", [], |row| row.get(0))?;
        Ok(Left { commits_before, device_no_before, id, commits, devices })
    };
    let left = change().map_err(Error::store)?;
    transaction.commit().map_err(Error::store)?;
    Ok(left)
}
