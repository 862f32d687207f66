//! A snapshot of a whole data folder at one instant, and the archive that is made of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::snapshot::{DatabaseSnapshot, unreadable};
use super::telemetry::SqliteTelemetry;
use super::telemetry::snapshot::{self as log_snapshot, JournalSnapshot, LogSnapshot};
use super::upkeep::{self, mark_path};
use super::{REGISTRY_FILE, connection, mark, pages};
use crate::domain::{Error, Result};
use crate::store::archive::{self, File, Manifest, Writer};
use crate::store::seal::KEY_FILE;

/// The certificate of the own CA, which is no secret.
const CA_FILE: &str = "ca.pem";
/// Files of the data folder that are secret and never change.
const KEY_FILES: [&str; 2] = [KEY_FILE, "ca.key"];

/// What the registry records about itself.
#[derive(Clone, Debug, Default)]
pub struct RegistryFacts {
    /// The random id of the folder.
    pub id: i64,
    /// The known text that is encrypted with the key.
    pub key_check: Vec<u8>,
    /// The number of commits.
    pub commits: i64,
    /// The highest number that was ever assigned to a device.
    pub device_no: i64,
    /// The number of migrations that have run.
    pub schema: usize,
}

/// A snapshot of a data folder.
pub struct FolderSnapshot {
    /// The folder.
    pub folder: PathBuf,
    /// The registry.
    pub registry: DatabaseSnapshot,
    /// What the registry records about itself.
    pub facts: RegistryFacts,
    /// The event log.
    pub log: LogSnapshot,
    /// Whether the folder was closed, so that the marks are not ahead of the snapshot.
    pub is_closed: bool,
}

impl FolderSnapshot {
    /// A snapshot of an open folder: everything that was acknowledged before some instant during this call, and nothing
    /// that began after it. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`] if a file cannot be read; [`Error::Busy`]; [`Error::Store`].
    pub fn of_open(folder: &Path, telemetry: &SqliteTelemetry) -> Result<Self> {
        let registry = open_registry(folder)?;
        let (registry, log) = telemetry.snapshot(registry)?;
        let facts = facts(&registry)?;
        Ok(Self { folder: folder.to_owned(), registry, facts, log, is_closed: false })
    }

    /// A snapshot of a folder that no server has open.
    ///
    /// # Errors
    /// As [`FolderSnapshot::of_open`].
    pub fn of_closed(folder: &Path) -> Result<Self> {
        if !upkeep::check_presence(&folder.join(REGISTRY_FILE))? {
            return Err(Error::Refused(format!("{} has no {REGISTRY_FILE}: it is no data folder", folder.display())));
        }
        let registry = open_registry(folder)?;
        let facts = facts(&registry)?;
        let log = log_snapshot::of_closed(folder, facts.id)?;
        Ok(Self { folder: folder.to_owned(), registry, facts, log, is_closed: true })
    }
}

fn open_registry(folder: &Path) -> Result<DatabaseSnapshot> {
    let path = folder.join(REGISTRY_FILE);
    let connection = connection::open_reader(&path)?;
    DatabaseSnapshot::begin(path.clone(), connection).map_err(|error| unreadable(&path, &error))
}

fn facts(registry: &DatabaseSnapshot) -> Result<RegistryFacts> {
    let connection = &registry.connection;
    let read = || -> rusqlite::Result<RegistryFacts> {
        let schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let device_no = upkeep::device_no(connection)?;
        connection.query_row("SELECT id, key_check, commits FROM folder", [], |row| {
            Ok(RegistryFacts { id: row.get(0)?, key_check: row.get(1)?, commits: row.get(2)?, device_no, schema })
        })
    };
    read().map_err(|error| unreadable(&registry.path, &error))
}

/// Where the content of a file in a backup comes from.
enum Source<'a> {
    /// It is in memory.
    Bytes(Vec<u8>),
    /// A copy of the registry or of a file of sorted runs.
    Database(&'a DatabaseSnapshot),
    /// The checksums of the pages of the database before it.
    Sums(&'a DatabaseSnapshot),
    /// A copy of a journal.
    Journal(&'a DatabaseSnapshot),
    /// The mark of a journal.
    Mark(&'a JournalSnapshot),
}

impl Source<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Database(database) | Self::Journal(database) => database.bytes(),
            Self::Sums(database) => database.sums_bytes(),
            Self::Mark(_) => mark::BYTES as u64,
        }
    }
}

/// A backup that is about to be written.
pub struct Backup {
    snapshot: FolderSnapshot,
    with_keys: bool,
    time_ms: i64,
    manifest: String,
    bytes: u64,
}

impl Backup {
    /// Prepares a backup of a snapshot that was taken at `now_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Refused`] if a key cannot be read; [`Error::Store`].
    pub fn new(snapshot: FolderSnapshot, with_keys: bool, now_ms: i64) -> Result<Self> {
        let mut backup = Self { snapshot, with_keys, time_ms: now_ms, manifest: String::new(), bytes: 0 };
        let files = backup.sources()?.into_iter().map(|(name, source)| File { name, bytes: source.bytes() });
        let files: Vec<File> = files.collect();
        let sql = "SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ?1 / 1000, 'unixepoch')";
        let time =
            backup.snapshot.registry.connection.query_row(sql, [now_ms], |row| row.get(0)).map_err(Error::store)?;
        let facts = &backup.snapshot.facts;
        let left_out = backup.snapshot.log.unreadable.iter().map(|(name, _)| name.clone()).collect();
        let manifest = Manifest {
            format: archive::FORMAT,
            ingle: env!("CARGO_PKG_VERSION").to_owned(),
            registry_schema: facts.schema,
            time,
            time_ms: now_ms,
            registry_commits: facts.commits,
            with_keys,
            files,
            left_out,
        };
        backup.manifest = serde_json::to_string_pretty(&manifest).map_err(Error::store)? + "\n";
        backup.bytes = archive::bytes(backup.manifest.len() as u64, &manifest.files);
        Ok(backup)
    }

    /// The size of the archive in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// [`Error::Refused`] if a file is damaged; [`Error::Store`], also if the archive cannot be written.
    pub fn write(&self, to: &mut dyn Write) -> Result<()> {
        let mut writer = Writer::new(to, self.time_ms);
        let manifest = self.manifest.as_bytes();
        writer.file(archive::MANIFEST, manifest.len() as u64, |write| write(manifest))?;
        let mut sums = Vec::new();
        for (name, source) in self.sources()? {
            let bytes = source.bytes();
            match source {
                Source::Bytes(content) => writer.file(&name, bytes, |write| write(&content))?,
                Source::Database(database) => {
                    sums = writer.file(&name, bytes, |write| database.copy(write))?;
                    database.end().map_err(Error::store)?;
                }
                Source::Journal(database) => drop(writer.file(&name, bytes, |write| database.copy(write))?),
                Source::Sums(_) => writer.file(&name, bytes, |write| write(&sums))?,
                Source::Mark(journal) => {
                    let (entries, rows) = journal.totals()?;
                    let facts = &self.snapshot.facts;
                    let content = mark::content([facts.id, facts.commits, entries, rows]);
                    writer.file(&name, bytes, |write| write(&content))?;
                }
            }
        }
        writer.finish()
    }

    /// The files of the backup after the manifest, with their names.
    fn sources(&self) -> Result<Vec<(String, Source<'_>)>> {
        let FolderSnapshot { folder, registry, facts, log, .. } = &self.snapshot;
        let mut sources = Vec::new();
        for name in KEY_FILES.into_iter().filter(|_| self.with_keys).chain([CA_FILE]) {
            match std::fs::read(folder.join(name)) {
                Ok(content) => sources.push((name.to_owned(), Source::Bytes(content))),
                // A server without TLS listeners has no CA.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && name != KEY_FILE => {}
                Err(error) => return Err(Error::Refused(format!("{}: {error}", folder.join(name).display()))),
            }
        }
        let mark = mark::content([facts.id, facts.commits, facts.device_no, 0]);
        sources.push((name_of(&mark_path(&registry.path)), Source::Bytes(mark.to_vec())));
        let partitions = log.partitions.iter().map(|(_, database)| database);
        for database in [registry].into_iter().chain(&log.latest).chain(partitions) {
            sources.push((database.name(), Source::Database(database)));
            sources.push((name_of(&pages::path(&database.path)), Source::Sums(database)));
        }
        for journal in &log.journals {
            sources.push((journal.database.name(), Source::Journal(&journal.database)));
            sources.push((name_of(&journal.database.path.with_extension("mark")), Source::Mark(journal)));
        }
        Ok(sources)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
