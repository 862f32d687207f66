//! The files that rolled rows lie in: one for each span of days, and one for the latest values. All have one shape: a
//! file holds *runs*, and a run is a list of blocks ordered by device and then newest first. A run is written once,
//! in order, and never changed; several small ones are later merged into a larger one.

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

use super::codec::{Block, Salt};
use super::fault::{Context, Fault, Result};
use super::row::Key;

/// The days of one span: retention drops whole spans.
const SPAN_MS: i64 = 7 * 24 * 3600 * 1000;
/// Idle connections kept for reading, of all files together: the bound on open files.
const IDLE_READERS_MAX: usize = 48;
/// Damaged blobs remembered, so that each is logged and counted once.
const DAMAGED_MAX: usize = 10_000;
const FORMAT: i64 = 1;

const SCHEMA: &str = "
PRAGMA page_size=16384; PRAGMA journal_mode=WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS run(run INTEGER PRIMARY KEY, state INTEGER NOT NULL, first_gen INTEGER NOT NULL,
  last_gen INTEGER NOT NULL, rows INTEGER NOT NULL, oldest_ms INTEGER NOT NULL, newest_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS block(run INTEGER, device INTEGER, inv_time INTEGER, inv_n INTEGER, blob BLOB NOT NULL,
  PRIMARY KEY(run, device, inv_time, inv_n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version=1;
COMMIT;";

/// The span that a time falls into.
pub fn span_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(SPAN_MS)
}

/// The newest millisecond of a span.
pub fn span_end_ms(span: i64) -> i64 {
    span.saturating_add(1).saturating_mul(SPAN_MS).saturating_sub(1)
}

/// What a run is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Its rows are part of the log.
    Live = 0,
    /// It is being merged from others and does not count yet.
    Building = 1,
    /// It was merged into another; its blocks are being removed.
    Dying = 2,
}

/// A run of a file.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its number in the file.
    pub no: i64,
    /// The first generation whose rows it holds.
    pub first_gen: i64,
    /// The last one.
    pub last_gen: i64,
    /// How many rows.
    pub rows: i64,
    /// The oldest row's time.
    pub oldest_ms: i64,
    /// The newest row's time.
    pub newest_ms: i64,
}

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A few blocks. The file is mapped into memory.
    Glance,
    /// Much of it. Nothing is mapped: every connection would have the whole file in its memory in the end.
    Long,
}

/// A connection that nobody reads through now.
struct Idle {
    file: u64,
    purpose: Purpose,
    connection: Connection,
}

/// One file of runs.
pub struct RunFile {
    id: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether the retention removed it.
    pub retired: AtomicBool,
}

impl RunFile {
    fn new(path: PathBuf) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), path, retired: AtomicBool::new(false) })
    }

    /// Opens it for writing; makes it if need be.
    pub fn writer(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path).during("opening a telemetry file")?;
        connection.busy_timeout(Duration::from_secs(30)).during("opening a telemetry file")?;
        connection
            .execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-8192;")
            .during("opening a telemetry file")?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).during("opening a telemetry file")?;
        if version > FORMAT {
            return Err(Fault::Newer(self.path.display().to_string()));
        }
        if version < FORMAT {
            connection.execute_batch(SCHEMA).during("creating a telemetry file")?;
        }
        Ok(connection)
    }

    fn reader(&self, purpose: Purpose) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).during("opening a telemetry file")?;
        connection.busy_timeout(Duration::from_secs(10)).during("opening a telemetry file")?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            // Without it SQLite plans a statement anew for every new value of some parameters.
            .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true))
            .and_then(|_| connection.execute_batch("PRAGMA query_only=1; PRAGMA cache_size=-1024;"))
            .and_then(|()| match purpose {
                Purpose::Glance => connection.execute_batch("PRAGMA mmap_size=268435456;"),
                Purpose::Long => Ok(()),
            })
            .during("opening a telemetry file")?;
        Ok(connection)
    }
}

/// All files of runs.
pub struct Files {
    folder: PathBuf,
    spans: RwLock<BTreeMap<i64, Arc<RunFile>>>,
    /// The file of the latest values.
    pub latest: Arc<RunFile>,
    idle: Mutex<Vec<Idle>>,
    writing: Mutex<()>,
    damaged: Mutex<FxHashSet<(u64, Key)>>,
    damaged_count: AtomicU64,
}

impl Files {
    /// Finds the files of a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut spans = BTreeMap::new();
        for entry in fs::read_dir(folder).during("listing the telemetry folder")? {
            let entry = entry.during("listing the telemetry folder")?;
            let name = entry.file_name();
            let span = name.to_str().and_then(|name| name.strip_prefix("events-")?.strip_suffix(".db")?.parse().ok());
            if let Some(span) = span
                && entry.file_type().is_ok_and(|kind| kind.is_file())
            {
                spans.insert(span, RunFile::new(entry.path()));
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            spans: RwLock::new(spans),
            latest: RunFile::new(folder.join("latest.db")),
            idle: Mutex::default(),
            writing: Mutex::default(),
            damaged: Mutex::default(),
            damaged_count: AtomicU64::new(0),
        })
    }

    /// The file of a span, if there is one.
    pub fn span(&self, span: i64) -> Option<Arc<RunFile>> {
        self.spans.read().unwrap_or_else(PoisonError::into_inner).get(&span).cloned()
    }

    /// The file of a span, opened for writing and made if need be. Readers know it from then on.
    pub fn open_span(&self, span: i64) -> Result<(Arc<RunFile>, Connection)> {
        let known = self.span(span);
        let file = known.unwrap_or_else(|| RunFile::new(self.folder.join(format!("events-{span}.db"))));
        let connection = file.writer()?;
        self.spans.write().unwrap_or_else(PoisonError::into_inner).insert(span, file.clone());
        Ok((file, connection))
    }

    /// The files of a range of spans, and the newest millisecond of each.
    pub fn spans(&self, first: i64, last: i64) -> Vec<(i64, Arc<RunFile>)> {
        let spans = self.spans.read().unwrap_or_else(PoisonError::into_inner);
        if first > last {
            return Vec::new();
        }
        spans.range(first..=last).map(|(span, file)| (span_end_ms(*span), file.clone())).collect()
    }

    /// Every file.
    pub fn all(&self) -> Vec<Arc<RunFile>> {
        let spans = self.spans.read().unwrap_or_else(PoisonError::into_inner);
        spans.values().cloned().chain([self.latest.clone()]).collect()
    }

    /// The last generation that any file has rows of, and the newest row's time.
    pub fn last(&self) -> (i64, i64) {
        let (mut last_gen, mut newest_ms) = (0, i64::MIN);
        for file in self.all() {
            match file.writer().and_then(|connection| runs(&connection, RunState::Live)) {
                Ok(runs) => {
                    for run in runs {
                        (last_gen, newest_ms) = (run.last_gen.max(last_gen), run.newest_ms.max(newest_ms));
                    }
                }
                Err(fault) => {
                    tracing::error!(file = %file.path.display(), error = %fault, "a telemetry file cannot be read");
                }
            }
        }
        (last_gen, newest_ms)
    }

    /// Only one thread writes files or removes them.
    pub fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the files of spans that are wholly older than `before_ms`.
    pub fn expire(&self, before_ms: i64) -> Result<()> {
        let _writing = self.writing();
        let old: Vec<_> = {
            let mut spans = self.spans.write().unwrap_or_else(PoisonError::into_inner);
            let kept = spans.split_off(&span_of(before_ms));
            std::mem::replace(&mut *spans, kept).into_values().collect()
        };
        let mut removed = Ok(());
        for file in old {
            file.retired.store(true, Ordering::Release);
            self.idle().retain(|idle| idle.file != file.id);
            for suffix in ["", "-wal", "-shm"] {
                let mut name = file.path.clone().into_os_string();
                name.push(suffix);
                match fs::remove_file(name) {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        removed = Err(cause).during("removing a telemetry file");
                    }
                    _ => {}
                }
            }
        }
        removed
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a file still for reading.
    pub fn snapshot(&self, file: &Arc<RunFile>, purpose: Purpose) -> Result<Snapshot<'_>> {
        let idle = {
            let mut idle = self.idle();
            let fits = |idle: &Idle| idle.file == file.id && idle.purpose == purpose;
            idle.iter().rposition(fits).map(|at| idle.remove(at).connection)
        };
        let opened = match idle {
            Some(connection) => Ok(connection),
            None => file.reader(purpose),
        };
        let begun = opened.and_then(|connection| {
            execute(&connection, "BEGIN")?;
            Ok(Snapshot { files: self, file: file.clone(), purpose, connection: Some(connection) })
        });
        begun.map_err(|fault| if file.retired.load(Ordering::Acquire) { Fault::Retired } else { fault })
    }

    /// Notes that a blob is damaged.
    pub fn note_damage(&self, file: &RunFile, run: i64, key: Key, how: &str) {
        let mut known = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < DAMAGED_MAX && known.insert((file.id, Key { inv_n: key.inv_n ^ run << 32, ..key })) {
            self.damaged_count.fetch_add(1, Ordering::Relaxed);
            let device = key.device;
            tracing::warn!(file = %file.path.display(), device, run, how, "a block is damaged; its rows are lost");
        }
    }

    /// How many damaged blobs were found.
    pub fn damaged(&self) -> u64 {
        self.damaged_count.load(Ordering::Relaxed)
    }
}

/// A file as it was at one moment.
pub struct Snapshot<'a> {
    files: &'a Files,
    file: Arc<RunFile>,
    purpose: Purpose,
    connection: Option<Connection>,
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && execute(&connection, "COMMIT").is_ok()
            && !self.file.retired.load(Ordering::Acquire)
        {
            let mut idle = self.files.idle();
            if idle.len() >= IDLE_READERS_MAX {
                idle.remove(0);
            }
            idle.push(Idle { file: self.file.id, purpose: self.purpose, connection });
        }
    }
}

impl Snapshot<'_> {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Fault::Closed)
    }

    /// The runs that count.
    pub fn runs(&self) -> Result<Vec<Run>> {
        match runs(self.connection()?, RunState::Live) {
            Err(_) if self.file.retired.load(Ordering::Acquire) => Err(Fault::Retired),
            other => other,
        }
    }

    /// Goes through the blocks of a run from the one that holds the first row at or after `from`. A damaged block is
    /// noted and passed over.
    pub fn blocks(
        &self,
        run: i64,
        from: Key,
        mut visit: impl FnMut(Key, &Block<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let note = |key, how: &str| self.files.note_damage(&self.file, run, key, how);
        blocks(self.connection()?, run, from, note, &mut visit)
    }
}

/// Where a block belongs.
pub fn salt(key: Key) -> Salt {
    [key.device, key.inv_time, key.inv_n]
}

/// [`Snapshot::blocks`] on any connection.
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

/// The runs in a state, in the order in which they were made.
pub fn runs(connection: &Connection, state: RunState) -> Result<Vec<Run>> {
    const SELECT: &str =
        "SELECT run, first_gen, last_gen, rows, oldest_ms, newest_ms FROM run WHERE state = ?1 ORDER BY run";
    let mut select = connection.prepare_cached(SELECT).during("reading the runs")?;
    let found = select.query_map([state as i64], |row| {
        let (no, first_gen, last_gen) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Run { no, first_gen, last_gen, rows: row.get(3)?, oldest_ms: row.get(4)?, newest_ms: row.get(5)? })
    });
    found.and_then(Iterator::collect).during("reading the runs")
}

/// A number kept beside the runs.
pub fn meta(connection: &Connection, name: &str) -> Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1").during("reading a number")?;
    let mut found = select.query([name]).during("reading a number")?;
    found.next().and_then(|row| row.map(|row| row.get(0)).transpose()).during("reading a number")
}

/// Executes a statement that answers nothing, and keeps it prepared.
pub fn execute(connection: &Connection, sql: &str) -> Result<()> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).during("a statement").map(drop)
}
