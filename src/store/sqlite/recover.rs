//! Going on with a registry that lost something, on the operator's word: without a backup there is no other way.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, params};

use super::telemetry::{LogFacts, log_facts};
use super::upkeep::{Upkeep, mark_path};
use super::{REGISTRY_FILE, connection, mark, migrate, pages};
use crate::domain::{Error, Result};
use crate::store::seal::Seal;

/// What is left after a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Devices in the registry.
    pub devices: u64,
    /// What was found wrong, in SQLite's words and ours.
    pub problems: Vec<String>,
}

/// Makes the registry of a folder one that opens again beside the event log of that folder. Without
/// `keep_history` nothing is shown of any device from before `now_ms`.
///
/// # Errors
/// [`Error::Refused`] when what is left is no sound database, or the key is another one; [`Error::Store`].
pub fn recover(folder: &Path, keep_history: bool, now_ms: i64) -> Result<Recovered> {
    let path = folder.join(REGISTRY_FILE);
    let mut problems = Vec::new();
    if let pages::Verdict::Damaged(pages) = pages::verify(&path).map_err(Error::store)? {
        problems.push(format!("{} pages of registry.db are not what was written", pages.len()));
    }
    let marked = mark::read(&mark_path(&path)).map_err(Error::store)?.map_or(0, |[_, commits, ..]| commits);
    let seal = Seal::open(folder, !path.exists())?;
    let connection = connection::open_writer(&path)?;
    sound(&connection)?;
    migrate(&connection)?;
    // The mark and the checksums are of what was lost too.
    for old in [mark_path(&path), pages::path(&path)] {
        match fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::store(error)),
            _ => {}
        }
    }
    let (upkeep, stamp) = Upkeep::open(&connection, &path, &seal)?;
    let commits = stamp.commits.load(std::sync::atomic::Ordering::Acquire);
    let log = log_facts(folder)?;
    if marked > commits {
        problems.push(format!("{} acknowledged changes of the registry", marked - commits));
    }
    if log.device_no > stamp.device_no {
        let numbers = (stamp.device_no + 1, log.device_no);
        problems.push(format!("the devices of the numbers {} to {}, if they were not removed", numbers.0, numbers.1));
    }
    let commits = commits.max(marked).max(log.registry_commits) + 1;
    let devices = write(&connection, &log, commits, now_ms, keep_history).map_err(Error::store)?;
    upkeep.close(&connection);
    Ok(Recovered { devices, problems })
}

/// Refuses a database that SQLite itself finds broken.
fn sound(connection: &Connection) -> Result<()> {
    let broken =
        |text: String| Error::Refused(format!("registry.db cannot be read any more, only a backup helps ({text})"));
    let check = || -> rusqlite::Result<String> {
        connection.execute_batch("REINDEX")?;
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
    };
    match check() {
        Ok(text) if text == "ok" => Ok(()),
        Ok(text) => Err(broken(text)),
        Err(error) => Err(broken(error.to_string())),
    }
}

fn write(
    connection: &Connection,
    log: &LogFacts,
    commits: i64,
    now_ms: i64,
    keep_history: bool,
) -> rusqlite::Result<u64> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("UPDATE folder SET commits = ?1", [commits])?;
    if log.folder_id != 0 {
        transaction.execute("UPDATE folder SET id = ?1", [log.folder_id])?;
    }
    let raised = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'device'";
    if transaction.execute(raised, [log.device_no])? == 0 {
        transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('device', ?1)", [log.device_no])?;
    }
    if !keep_history {
        let from_ms = now_ms.max(log.newest_ms.saturating_add(1));
        let sql = "UPDATE device SET history_from_ms = max(history_from_ms, ?1)";
        transaction.execute(sql, params![from_ms])?;
    }
    let devices = transaction.query_row("SELECT count(*) FROM device", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(devices)
}
