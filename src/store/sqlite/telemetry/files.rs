//! The files of sorted runs: one SQLite database for each weekly partition, and `latest.db` for the latest values. Both
//! have the same tables. A sorted run is a list of blocks, ordered by device and then newest row first. It is written
//! once and never changed; later it is compacted with others into a larger one.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use rustc_hash::FxHashSet;

use super::super::connection::write_ahead;
use super::super::wal;
use super::codec::{Block, Salt};
use super::fault::{Context, Fault, Result};
use super::partition::{PartitionFileId, is_empty, partition_end_ms, partition_of};
use super::retention;
use super::row::Key;
use super::sorted_run::{RunState, SortedRun};
use crate::durable_file;
use crate::store::read_threads::check_may_block;

/// Maximum number of idle connections to all files together, which limits the number of open files.
const IDLE_READERS_MAX: usize = 48;
/// Maximum number of damaged blocks that are remembered in order to log and count each once.
const DAMAGED_MAX: usize = 10_000;
/// Since format 2, a row says whether it was current when it arrived. A file of format 1 can be read without
/// conversion.
const FORMAT: i64 = 2;

const SCHEMA: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS run(run INTEGER PRIMARY KEY, state INTEGER NOT NULL, first_gen INTEGER NOT NULL,
  last_gen INTEGER NOT NULL, rows INTEGER NOT NULL, oldest_ms INTEGER NOT NULL, newest_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS block(run INTEGER, device INTEGER, inv_time INTEGER, inv_n INTEGER, blob BLOB NOT NULL,
  PRIMARY KEY(run, device, inv_time, inv_n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version=2;
COMMIT;";

/// The name in the table `meta` of the id of the data folder to which the file belongs.
pub const FOLDER: &str = "folder";

/// How much of a file a connection will read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// A few blocks; the file is mapped into memory.
    Short,
    /// Many blocks; nothing is mapped, because in the end every connection would have the whole file mapped.
    Long,
}

/// A connection that is not in use.
struct Idle {
    file: u64,
    mode: ReadMode,
    connection: Connection,
}

/// A SQLite database with sorted runs.
pub struct RunFile {
    id: u64,
    /// Its path.
    pub path: PathBuf,
    /// The id of the data folder to which it belongs; 0 if that is not checked.
    folder_id: i64,
    /// Whether retention deleted it.
    pub expired: AtomicBool,
    /// Whether it was renamed; another [`RunFile`] stands for the new name.
    pub renamed: AtomicBool,
    /// The number of its live sorted runs when they were last read.
    runs: AtomicU64,
}

impl RunFile {
    fn new(path: PathBuf, folder_id: i64) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (id, expired, renamed) =
            (NEXT.fetch_add(1, Ordering::Relaxed), AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { id, path, folder_id, expired, renamed, runs: AtomicU64::new(0) })
    }

    /// Notes how many live sorted runs it has.
    pub fn note_runs(&self, runs: usize) {
        self.runs.store(runs as u64, Ordering::Relaxed);
    }

    /// A file with another name in the same folder.
    pub fn sibling(&self, name: &str) -> Arc<Self> {
        Self::new(self.path.with_file_name(name), self.folder_id)
    }

    /// Whether it was deleted or renamed.
    pub fn is_removed(&self) -> bool {
        self.expired.load(Ordering::Acquire) || self.renamed.load(Ordering::Acquire)
    }

    /// Opens the file for writing and creates it if it does not exist.
    pub fn writer(&self) -> Result<Connection> {
        const OPENING: &str = "opening a telemetry file";
        durable_file::create_private(&self.path)?;
        let connection = Connection::open(&self.path).during(OPENING)?;
        connection.busy_timeout(Duration::from_secs(30)).during(OPENING)?;
        // Only `sorted_run::checkpoint` makes checkpoints, because it stores the checksums of the pages.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).during(OPENING)?;
        connection
            .execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-8192;")
            .during(OPENING)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).during(OPENING)?;
        if version > FORMAT {
            return Err(Fault::Newer(self.path.display().to_string()));
        }
        if version < FORMAT {
            const CREATING: &str = "creating a telemetry file";
            connection.execute_batch("PRAGMA page_size=16384").during(CREATING)?;
            write_ahead(&connection).and_then(|()| connection.execute_batch(SCHEMA)).during(CREATING)?;
        }
        match meta(&connection, FOLDER)? {
            None if self.folder_id != 0 => set_meta(&connection, FOLDER, self.folder_id)?,
            Some(other) if self.folder_id != 0 && other != self.folder_id => {
                let text = format!("{} belongs to another data folder than registry.db", self.path.display());
                return Err(Fault::Foreign(text));
            }
            _ => {}
        }
        Ok(connection)
    }

    /// Opens the file for reading.
    pub fn reader(&self, mode: ReadMode) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).during("opening a telemetry file")?;
        connection.busy_timeout(Duration::from_secs(10)).during("opening a telemetry file")?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            // Without this, SQLite prepares some statements again for every new parameter value.
            .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true))
            .and_then(|_| connection.execute_batch("PRAGMA query_only=1; PRAGMA cache_size=-1024;"))
            .and_then(|()| match mode {
                ReadMode::Short => connection.execute_batch("PRAGMA mmap_size=268435456;"),
                ReadMode::Long => Ok(()),
            })
            .during("opening a telemetry file")?;
        Ok(connection)
    }
}

/// All files of sorted runs.
pub struct Files {
    folder: PathBuf,
    folder_id: i64,
    partitions: RwLock<BTreeMap<PartitionFileId, Arc<RunFile>>>,
    /// The file of the latest values, `latest.db`.
    pub latest: Arc<RunFile>,
    idle: Mutex<Vec<Idle>>,
    write_lock: Mutex<()>,
    damaged: Mutex<FxHashSet<(u64, Key)>>,
    damaged_count: AtomicU64,
}

impl Files {
    /// Finds the files in a folder.
    pub fn open(folder: &Path, folder_id: i64) -> Result<Self> {
        let mut partitions = BTreeMap::new();
        for entry in fs::read_dir(folder).during("listing the telemetry folder")? {
            let entry = entry.during("listing the telemetry folder")?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(PartitionFileId::from_name)
                && entry.file_type().is_ok_and(|kind| kind.is_file())
                && !is_empty(&entry.path())
            {
                partitions.insert(id, RunFile::new(entry.path(), folder_id));
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            folder_id,
            partitions: RwLock::new(partitions),
            latest: RunFile::new(folder.join("latest.db"), folder_id),
            idle: Mutex::default(),
            write_lock: Mutex::default(),
            damaged: Mutex::default(),
            damaged_count: AtomicU64::new(0),
        })
    }

    /// Opens the active file of a partition for writing, creates it if it does not exist, and makes it visible to
    /// readers.
    pub fn open_partition(&self, partition: i64) -> Result<(Arc<RunFile>, Connection)> {
        let id = PartitionFileId::active(partition);
        let existing = self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let new = || RunFile::new(self.folder.join(id.name()), self.folder_id);
        let file = existing.unwrap_or_else(new);
        if !file.path.exists() {
            // A write-ahead log or checksums of an earlier file with this name do not belong to the new one.
            retention::remove(&file.path)?;
        }
        let connection = file.writer()?;
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).insert(id, file.clone());
        Ok((file, connection))
    }

    /// Renames the damaged active file of a partition, so that new rows go to a new file. The undamaged part of it is
    /// read as before. The caller holds [`Files::write_lock`].
    pub fn set_aside(&self, partition: i64, why: &dyn std::fmt::Display) -> Result<Arc<RunFile>> {
        const DOING: &str = "setting a damaged file aside";
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let active = PartitionFileId::active(partition);
        let file = match partitions.get(&active) {
            Some(file) => file.clone(),
            None => RunFile::new(self.folder.join(active.name()), self.folder_id),
        };
        let last = partitions.range(active..=PartitionFileId::last(partition)).next_back();
        let id = PartitionFileId { partition, damaged_no: last.map_or(0, |(id, _)| id.damaged_no) + 1 };
        let path = self.folder.join(id.name());
        self.close_idle(&file);
        // SQLite's write-ahead log is renamed first, because without its database it has no effect.
        let log = wal::path(&file.path);
        if log.exists() {
            fs::rename(log, wal::path(&path)).during(DOING)?;
        }
        fs::rename(&file.path, &path).during(DOING)?;
        for left in [file.path.with_extension("pages"), file.path.with_extension("db-shm")] {
            if left.exists() {
                fs::remove_file(left).during(DOING)?;
            }
        }
        fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).during(DOING)?;
        let (from, to) = (file.path.display(), path.display());
        tracing::error!(%from, %to, %why, "a damaged file of the event log is set aside; rows of it may be missing");
        file.renamed.store(true, Ordering::Release);
        partitions.remove(&active);
        let aside = RunFile::new(path, self.folder_id);
        partitions.insert(id, aside.clone());
        self.damaged_count.fetch_add(1, Ordering::Relaxed);
        Ok(aside)
    }

    /// The files of a range of partitions, each with the last millisecond of its partition.
    pub fn partitions(&self, first: i64, last: i64) -> Vec<(i64, Arc<RunFile>)> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        if first > last {
            return Vec::new();
        }
        let found = partitions.range(PartitionFileId::active(first)..=PartitionFileId::last(last));
        found.map(|(id, file)| (partition_end_ms(id.partition), file.clone())).collect()
    }

    /// All partition files with their ids, oldest partition first.
    pub fn partition_files(&self) -> Vec<(PartitionFileId, Arc<RunFile>)> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().map(|(id, file)| (*id, file.clone())).collect()
    }

    /// All files that receive new rows.
    pub fn writable(&self) -> Vec<Arc<RunFile>> {
        let active = self.partition_files().into_iter().filter(|(id, _)| id.is_active());
        active.map(|(_, file)| file).chain([self.latest.clone()]).collect()
    }

    /// Locked while a file is written, renamed or deleted.
    pub fn write_lock(&self) -> MutexGuard<'_, ()> {
        self.write_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the files of all partitions that end before `before_ms` from later reads, and returns them.
    pub fn expire(&self, before_ms: i64) -> Vec<Arc<RunFile>> {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let remaining = partitions.split_off(&PartitionFileId::active(partition_of(before_ms)));
        let old: Vec<_> = std::mem::replace(&mut *partitions, remaining).into_values().collect();
        for file in &old {
            file.expired.store(true, Ordering::Release);
            self.close_idle(file);
        }
        old
    }

    /// Closes the idle connections to a file.
    pub fn close_idle(&self, file: &RunFile) {
        self.idle().retain(|idle| idle.file != file.id);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a read transaction on a file.
    pub fn snapshot(&self, file: &Arc<RunFile>, mode: ReadMode) -> Result<Snapshot<'_>> {
        check_may_block();
        let idle = {
            let mut idle = self.idle();
            let fits = |idle: &Idle| idle.file == file.id && idle.mode == mode;
            idle.iter().rposition(fits).map(|at| idle.remove(at).connection)
        };
        let opened = match idle {
            Some(connection) => Ok(connection),
            None => file.reader(mode),
        };
        let begun = opened.and_then(|connection| {
            execute(&connection, "BEGIN")?;
            if file.is_removed() {
                // The connection may have opened a new file with the same name.
                return Err(Fault::SnapshotChanged);
            }
            Ok(Snapshot { files: self, file: file.clone(), mode, connection: Some(connection) })
        });
        begun.map_err(|fault| {
            if file.expired.load(Ordering::Acquire) {
                Fault::Expired
            } else if file.renamed.load(Ordering::Acquire) {
                Fault::SnapshotChanged
            } else {
                fault
            }
        })
    }

    /// Counts and logs, once for each file, that SQLite cannot read a part of it. The rest of the file is still used.
    pub fn note_unreadable(&self, file: &RunFile, fault: &Fault) {
        let mut reported = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = Key { device: i64::MIN, inv_time: 0, inv_n: 0 };
        if reported.len() < DAMAGED_MAX && reported.insert((file.id, whole)) {
            self.damaged_count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(file = %file.path.display(), error = %fault, "a telemetry file is damaged; rows are missing");
        }
    }

    /// Counts damage that was logged elsewhere.
    pub fn count_damage(&self, count: u64) {
        self.damaged_count.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts and logs, once for each block, that it is damaged.
    pub fn note_damage(&self, file: &RunFile, run: i64, key: Key, how: &str) {
        let mut reported = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < DAMAGED_MAX && reported.insert((file.id, Key { inv_n: key.inv_n ^ run << 32, ..key })) {
            self.damaged_count.fetch_add(1, Ordering::Relaxed);
            let device = key.device;
            tracing::warn!(file = %file.path.display(), device, run, how, "a block is damaged; its rows are lost");
        }
    }

    /// Number of live sorted runs in all files, when they were last read.
    pub fn known_runs(&self) -> u64 {
        let files = self.partition_files();
        let files = files.iter().map(|(_, file)| file).chain([&self.latest]);
        files.map(|file| file.runs.load(Ordering::Relaxed)).sum()
    }

    /// Number of damaged blocks and files that were found.
    pub fn damaged(&self) -> u64 {
        self.damaged_count.load(Ordering::Relaxed)
    }
}

/// A read transaction on a file.
pub struct Snapshot<'a> {
    files: &'a Files,
    file: Arc<RunFile>,
    mode: ReadMode,
    connection: Option<Connection>,
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && execute(&connection, "COMMIT").is_ok()
            && !self.file.expired.load(Ordering::Acquire)
            && !self.file.renamed.load(Ordering::Acquire)
        {
            let mut idle = self.files.idle();
            if idle.len() >= IDLE_READERS_MAX {
                idle.remove(0);
            }
            idle.push(Idle { file: self.file.id, mode: self.mode, connection });
        }
    }
}

impl Snapshot<'_> {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Fault::Closed)
    }

    /// Calls [`Files::note_unreadable`] with this file.
    pub fn note_unreadable(&self, fault: &Fault) {
        self.files.note_unreadable(&self.file, fault);
    }

    /// The live sorted runs.
    pub fn runs(&self) -> Result<Vec<SortedRun>> {
        match runs(self.connection()?, RunState::Live) {
            Err(_) if self.file.expired.load(Ordering::Acquire) => Err(Fault::Expired),
            other => other.inspect(|runs| self.file.note_runs(runs.len())),
        }
    }

    /// Visits the blocks of a run, beginning with the one that holds the first row at or after `from`. Damaged blocks
    /// are counted and skipped. A long read yields its time slice after each block.
    pub fn blocks(
        &self,
        run: i64,
        from: Key,
        mut visit: impl FnMut(Key, &Block<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let note = |key, how: &str| self.files.note_damage(&self.file, run, key, how);
        blocks(self.connection()?, run, from, note, &mut |key, block| {
            if self.mode == ReadMode::Long {
                std::thread::yield_now();
            }
            visit(key, block)
        })
    }
}

/// The location of a block with this key, as [`Salt`].
pub fn salt(key: Key) -> Salt {
    [key.device, key.inv_time, key.inv_n]
}

/// As [`Snapshot::blocks`], on any connection.
pub fn blocks(
    connection: &Connection,
    run: i64,
    from: Key,
    mut damaged: impl FnMut(Key, &str),
    visit: &mut dyn FnMut(Key, &Block<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    const READING: &str = "reading a telemetry file";
    const SELECT: &str = "SELECT device, inv_time, inv_n, blob FROM block
        WHERE run = ?1 AND (device, inv_time, inv_n) >= (?2, ?3, ?4) ORDER BY device, inv_time, inv_n";
    let mut select = connection.prepare_cached(SELECT).during(READING)?;
    let mut found = select.query(params![run, from.device, from.inv_time, from.inv_n]).during(READING)?;
    while let Some(row) = found.next().during(READING)? {
        let number = |column| row.get::<_, i64>(column).during(READING);
        let key = Key { device: number(0)?, inv_time: number(1)?, inv_n: number(2)? };
        let blob = row.get_ref(3).during(READING)?.as_blob().unwrap_or_default();
        match Block::open(blob, salt(key)).and_then(|block| visit(key, &block)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(Fault::Damaged(how)) => damaged(key, how),
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The runs that have this state, in the order in which they were created.
pub fn runs(connection: &Connection, state: RunState) -> Result<Vec<SortedRun>> {
    const SELECT: &str =
        "SELECT run, first_gen, last_gen, rows, oldest_ms, newest_ms FROM run WHERE state = ?1 ORDER BY run";
    let mut select = connection.prepare_cached(SELECT).during("reading the runs")?;
    let found = select.query_map([state as i64], |row| {
        let (no, first_memtable, last_memtable) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(SortedRun {
            no,
            first_memtable,
            last_memtable,
            rows: row.get(3)?,
            oldest_ms: row.get(4)?,
            newest_ms: row.get(5)?,
        })
    });
    found.and_then(Iterator::collect).during("reading the runs")
}

/// Stores a number in the table `meta`.
pub fn set_meta(connection: &Connection, name: &str, value: i64) -> Result<()> {
    const SET: &str = "INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)";
    connection.execute(SET, params![name, value]).during("storing a number").map(drop)
}

/// A number from the table `meta`.
pub fn meta(connection: &Connection, name: &str) -> Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1").during("reading a number")?;
    let mut found = select.query([name]).during("reading a number")?;
    found.next().and_then(|row| row.map(|row| row.get(0)).transpose()).during("reading a number")
}

/// Executes a statement that returns no rows, and caches it.
pub fn execute(connection: &Connection, sql: &str) -> Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .during("executing a statement")
        .map(drop)
}
