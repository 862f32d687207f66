//! The examination of a data folder: every page, index and reference of its files, every block of the event log, and
//! whether the key decrypts every secret. It changes nothing.

use rusqlite::Connection;

use super::backup::{FolderSnapshot, RegistryFacts};
use super::snapshot::{DatabaseSnapshot, unreadable};
use super::telemetry::verify as log;
use super::upkeep::{self, mark_path};
use super::{device, mark, project, visual, world};
use crate::domain::{Error, Result};
use crate::store::seal::Seal;

/// The maximum number of problems of one kind that are reported for a file.
pub const PROBLEMS_MAX: usize = 20;

/// The result of an examination.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Database files that were examined.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Devices in the registry.
    pub devices: u64,
    /// Rows in the event log.
    pub rows: u64,
    /// Secrets that the key decrypts.
    pub secrets: u64,
    /// What is wrong. If it is empty, the folder is undamaged.
    pub problems: Vec<String>,
    /// What is known to be missing since an earlier start and does not keep the server from starting.
    pub notes: Vec<String>,
}

/// Reports the bytes that were examined, and can stop the work by an error.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> Result<()>;

/// Computes the data that is authenticated with a secret from the name of its row.
type Aad = fn(&str) -> String;

/// The encrypted columns: table, column of the row's name, column, and the data that is authenticated with it.
const SEALED: [(&str, &str, &str, Aad); 8] = [
    ("project", "name", "secret_sealed", project::secret_aad),
    ("project", "name", "aliyun_app_secret_sealed", project::app_secret_aad),
    ("project", "name", "old_secret_sealed", project::secret_aad),
    ("project", "name", "old_app_secret_sealed", project::app_secret_aad),
    ("product", "product_id", "product_secret_sealed", world::product_secret_aad),
    ("device", "device_id", "secret_sealed", device::secret_aad),
    ("device", "device_id", "local_key_sealed", device::local_key_aad),
    ("visual_key", "kid", "private_sealed", visual::key_aad),
];

/// Examines a snapshot of a data folder with its key. Damage is part of the result and not an error.
///
/// # Errors
/// The error of `progress`; [`Error::Store`].
pub fn verify(snapshot: &FolderSnapshot, seal: &Seal, progress: Progress<'_>) -> Result<Report> {
    let FolderSnapshot { registry, facts, .. } = snapshot;
    let mut report = Report::default();
    if database(registry, &mut report, progress)? {
        let connection = &registry.connection;
        let counted = connection.query_row("SELECT count(*) FROM device", [], |row| row.get(0));
        report.devices = counted.map_err(|error| unreadable(&registry.path, &error))?;
        references(connection, &mut report)?;
        if upkeep::is_key(&facts.key_check, seal) {
            secrets(connection, seal, &mut report)?;
        } else {
            report.problems.push(upkeep::wrong_key(&registry.path).to_string());
        }
    }
    registry_mark(snapshot, &mut report)?;
    log::verify(snapshot, &mut report, progress)?;
    Ok(report)
}

/// Examines the pages and indexes of a database. Returns whether it can be read further.
pub fn database(database: &DatabaseSnapshot, report: &mut Report, progress: Progress<'_>) -> Result<bool> {
    report.files += 1;
    report.bytes += database.bytes();
    match database.copy(|page| progress(page.len() as u64)) {
        Ok(_) => {}
        Err(Error::Refused(problem)) => {
            report.problems.push(problem);
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    let check = || -> rusqlite::Result<Vec<String>> {
        let mut select = database.connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
        select.query_map([], |row| row.get(0))?.collect()
    };
    let found = check().unwrap_or_else(|error| vec![error.to_string()]);
    let is_whole = found == ["ok"];
    if !is_whole {
        report.problems.extend(found.into_iter().map(|text| format!("{}: {text}", database.path.display())));
    }
    Ok(is_whole)
}

/// Examines the references between rows of the registry.
fn references(connection: &Connection, report: &mut Report) -> Result<()> {
    let mut select = connection.prepare("PRAGMA foreign_key_check").map_err(Error::store)?;
    let found = select.query_map([], |row| {
        let (table, row, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("registry.db: row {} of {table} refers to a row of {parent} that does not exist", row.unwrap_or(0)))
    });
    for problem in found.map_err(Error::store)?.take(PROBLEMS_MAX) {
        report.problems.push(problem.map_err(Error::store)?);
    }
    Ok(())
}

/// Decrypts every secret.
fn secrets(connection: &Connection, seal: &Seal, report: &mut Report) -> Result<()> {
    for (table, name, column, aad) in SEALED {
        let sql = format!("SELECT {name}, {column} FROM {table} WHERE {column} IS NOT NULL");
        let mut select = connection.prepare(&sql).map_err(Error::store)?;
        let mut rows = select.query([]).map_err(Error::store)?;
        let mut wrong = 0;
        while let Some(row) = rows.next().map_err(Error::store)? {
            let (name, sealed): (String, Vec<u8>) =
                (row.get(0).map_err(Error::store)?, row.get(1).map_err(Error::store)?);
            if seal.unseal(&sealed, &aad(&name)).is_ok() {
                report.secrets += 1;
                continue;
            }
            wrong += 1;
            if wrong <= PROBLEMS_MAX {
                report
                    .problems
                    .push(format!("registry.db: {column} of {table} {name:?} cannot be decrypted with secret.key"));
            }
        }
    }
    Ok(())
}

/// Compares a closed registry with its mark.
fn registry_mark(snapshot: &FolderSnapshot, report: &mut Report) -> Result<()> {
    let path = mark_path(&snapshot.registry.path);
    let RegistryFacts { id, commits, .. } = snapshot.facts;
    match mark::read(&path).map_err(Error::store)?.filter(|_| snapshot.is_closed) {
        Some([other, ..]) if other != id => {
            report.problems.push(format!("{} belongs to another data folder", path.display()));
        }
        Some([_, marked, ..]) if marked > commits => {
            report.problems.push(format!("registry.db lacks {} changes that were acknowledged", marked - commits));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{MIGRATIONS, migrate};
    use super::*;

    #[test]
    fn every_encrypted_column_is_examined() -> Result<()> {
        let connection = Connection::open_in_memory().map_err(Error::store)?;
        migrate(&connection)?;
        assert!(!MIGRATIONS.is_empty());
        let sql = "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c
            WHERE m.type = 'table' AND c.name LIKE '%_sealed' ORDER BY 1, 2";
        let mut select = connection.prepare(sql).map_err(Error::store)?;
        let found = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(Error::store)?;
        let found: Vec<(String, String)> = found.collect::<rusqlite::Result<_>>().map_err(Error::store)?;
        let mut listed = SEALED.map(|(table, _, column, _)| (table.to_owned(), column.to_owned()));
        listed.sort();
        assert_eq!(found, listed);
        Ok(())
    }
}
