//! Connections to the registry: one writer on a thread of its own, and readers on the threads for reads.

use std::ffi::c_int;
use std::hash::Hash;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Params};
use tokio::sync::{mpsc, oneshot};

use super::audit::Audit;
use super::telemetry::{DISK_FULL, is_full};
use super::touched::TouchedRows;
use super::upkeep::Upkeep;
use crate::actor;
use crate::domain::audit::Actor;
use crate::domain::{Clock, Error, ProjectNo, Result};
use crate::durable_file;
use crate::store::cache::{Cache, Cached, Map};
use crate::store::long_reads::LongReads;
use crate::store::read_threads::{ReadThreads, check_may_block};
use crate::store::seal::Seal;

/// The maximum number of queued writes. Further callers wait before they are queued.
const QUEUE_MAX: usize = 1024;
/// The maximum number of writes in one commit.
const COMMIT_MAX: usize = 256;
/// The maximum number of idle readers.
const READERS_MAX: usize = 8;
/// The maximum number of SQLite's steps of a read that is not a long read: about a millisecond.
const SHORT_READ_STEPS: c_int = 50_000;
/// A long read yields to other threads after this many steps.
const YIELD_STEPS: c_int = 10_000;
/// The maximum number of prepared statements in the cache of a connection.
const STATEMENTS_MAX: usize = 64;

/// Runs writes one after the other. Waiting writes share one commit and one fsync, but each of them is atomic.
pub struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<thread::JoinHandle<()>>,
}

trait Job: Send {
    fn run(&mut self, connection: &Connection, audit: &mut Audit);
    fn answer(self: Box<Self>, committed: std::result::Result<(), Failure>);
}

struct Pending<T, F> {
    work: Option<F>,
    actor: Arc<Actor>,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T> + Send> Job for Pending<T, F> {
    fn run(&mut self, connection: &Connection, audit: &mut Audit) {
        if let Some(work) = self.work.take() {
            self.result = Some(in_savepoint(connection, |connection| {
                audit.begin();
                let done = work(connection)?;
                audit.store(connection, &self.actor)?;
                Ok(done)
            }));
        }
    }

    fn answer(self: Box<Self>, committed: std::result::Result<(), Failure>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) => Err(full_disk_as_busy(error)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(Failure { is_full: true, .. })) => Err(Error::Busy(DISK_FULL)),
            (_, Err(Failure { cause, .. })) => Err(Error::store(cause)),
            (None, Ok(())) => Err(Error::store("a write did not run")),
        };
        // This fails if the caller has disconnected. The write remains committed.
        let _ = self.reply.send(result);
    }
}

/// A commit that failed.
#[derive(Clone)]
struct Failure {
    cause: String,
    is_full: bool,
}

/// Reports a full disk as [`Error::Busy`], because it is not an internal error.
fn full_disk_as_busy(error: Error) -> Error {
    match error {
        Error::Store(cause) if cause.downcast_ref::<rusqlite::Error>().is_some_and(is_full) => Error::Busy(DISK_FULL),
        other => other,
    }
}

/// Executes a statement and caches it. Preparing it takes longer than executing it, because of the triggers (`touched.sql`).
///
/// # Errors
/// Those of SQLite.
pub fn execute(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}

fn in_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.execute_batch("SAVEPOINT job").map_err(Error::store)?;
    let result = work(connection);
    let end = if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    connection.execute_batch(end).map_err(Error::store)?;
    result
}

impl Writer {
    /// Starts the thread. After every commit, the cache is informed of what was touched before the callers get results.
    /// Every write adds its rows of the audit, with the time of `clock`.
    ///
    /// # Errors
    /// [`Error::Store`], also when no thread can be started.
    pub fn start(connection: Connection, mut upkeep: Upkeep, cache: Arc<Cache>, clock: Arc<dyn Clock>) -> Result<Self> {
        let touched = TouchedRows::watch(&connection)?;
        let mut audit = Audit::watch(&connection, clock)?;
        let (queue, mut waiting) = mpsc::channel::<Box<dyn Job>>(QUEUE_MAX);
        let run = move || {
            while let Some(first) = waiting.blocking_recv() {
                let mut jobs = vec![first];
                while jobs.len() < COMMIT_MAX
                    && let Ok(next) = waiting.try_recv()
                {
                    jobs.push(next);
                }
                cache.begin_commit();
                let outcome = commit_together(&connection, &upkeep, &mut audit, &mut jobs);
                if outcome.is_ok() {
                    upkeep.committed(&connection);
                }
                cache.end_commit(&touched.take());
                for job in jobs {
                    job.answer(outcome.clone());
                }
            }
            upkeep.close(&connection);
        };
        let thread = thread::Builder::new().name("registry".to_owned()).spawn(run).map_err(Error::store)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs one write. `Ok` means that the write is on disk, `Err` that no part of it was stored.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Store`] when the commit fails.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending { work: Some(work), actor: actor::current(), result: None, reply });
        let queue = self.queue.as_ref().ok_or_else(|| Error::store("the registry is closed"))?;
        queue.send(job).await.map_err(|_| Error::store("the registry's writer has stopped"))?;
        answer.await.map_err(|_| Error::store("the registry's writer has stopped"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn commit_together(
    connection: &Connection,
    upkeep: &Upkeep,
    audit: &mut Audit,
    jobs: &mut [Box<dyn Job>],
) -> std::result::Result<(), Failure> {
    let outcome = (|| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for job in jobs {
            job.run(connection, audit);
            if connection.is_autocommit() {
                // On a full disk SQLite rolls back the whole transaction. The next job must not begin its own.
                return Err(rusqlite::Error::InvalidQuery);
            }
        }
        upkeep.count(connection)?;
        connection.execute_batch("COMMIT")
    })();
    outcome.map_err(|error| {
        // After a failed BEGIN there is nothing to roll back, so this can fail.
        let _ = connection.execute_batch("ROLLBACK");
        Failure { is_full: is_full(&error), cause: error.to_string() }
    })
}

/// Connections that only read. A read sees the last commit.
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    threads: ReadThreads,
    /// The cache of registry rows.
    pub cache: Arc<Cache>,
    /// What decrypts secrets.
    pub seal: Arc<Seal>,
    /// The limiter for long reads.
    pub long_reads: Arc<LongReads>,
}

/// A connection that only reads, with what is needed to decrypt and complete its rows.
pub struct Reader<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The readers to which the connection belongs.
    pub readers: &'a Readers,
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Readers {
    /// Creates readers for the database at `path`.
    pub fn new(path: PathBuf, cache: Arc<Cache>, seal: Arc<Seal>) -> Self {
        Self { path, idle: Mutex::default(), threads: ReadThreads::default(), cache, seal, long_reads: Arc::default() }
    }

    /// Runs reads on one connection, on a thread for reads. Several statements that need the same snapshot must use a
    /// transaction.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Store`].
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Reader<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.clone();
        self.threads.run(move || readers.run_here(work)).await
    }

    /// Returns the cached value, or else the result of `read`, which runs on a thread for reads. The cached value is
    /// returned at once, but debug builds read it again and compare.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Store`].
    pub async fn cached<K, V>(
        self: &Arc<Self>,
        map: fn(&Cache) -> &Map<K, V>,
        key: K,
        read: impl Fn(&Reader<'_>, &K) -> Result<Option<V>> + Send + 'static,
    ) -> Result<Option<V>>
    where
        K: Hash + Eq + Clone + Send + 'static,
        V: Cached<K> + Send + 'static,
    {
        let current = self.cache.current(map(&self.cache), &key);
        if current.is_some() && !self.cache.verifies() {
            self.cache.hits.inc();
            return Ok(current);
        }
        let readers = self.clone();
        let get = move || {
            let read = || readers.run_here(|reader| read(reader, &key));
            readers.cache.get(map(&readers.cache), &key, read)
        };
        self.threads.run(get).await
    }

    /// Runs reads on the calling thread, which must not be a worker of the runtime.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Store`].
    pub fn run_here<T>(&self, work: impl FnOnce(&Reader<'_>) -> Result<T>) -> Result<T> {
        self.with(|connection| work(&Reader { connection, readers: self }))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        check_may_block();
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let result = work(&mut connection);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_MAX {
            idle.push(connection);
        }
        result
    }

    /// Runs reads that may take long, such as long lists. They start as other reads do. If they exceed
    /// [`SHORT_READ_STEPS`], they start again on a thread of their own with a permit for a long read of the project.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Busy`] when too many long reads of the project wait; [`Error::Store`].
    pub async fn run_limited<T: Send + 'static>(
        self: &Arc<Self>,
        project: ProjectNo,
        work: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.clone();
        let short = move || {
            let done = readers.run_if_short(&work);
            Ok((done, work))
        };
        let work = match self.threads.run(short).await? {
            (Some(done), _) => return done,
            (None, work) => work,
        };
        let readers = self.clone();
        let long = move |connection: &mut Connection| {
            let yields = || {
                thread::yield_now();
                false
            };
            with_progress(connection, YIELD_STEPS, yields, &work)
        };
        self.long_reads.run(Some(project), move || readers.with(long)).await
    }

    /// Runs reads. Stops and returns `None` if one takes more than [`SHORT_READ_STEPS`].
    fn run_if_short<T>(&self, work: impl Fn(&Connection) -> Result<T>) -> Option<Result<T>> {
        let is_long = Arc::new(AtomicBool::new(false));
        let flag = is_long.clone();
        let interrupt = move || {
            flag.store(true, Ordering::Relaxed);
            true
        };
        let result = self.with(|connection| with_progress(connection, SHORT_READ_STEPS, interrupt, work));
        (!is_long.load(Ordering::Relaxed)).then_some(result)
    }
}

/// Runs reads and calls `progress` after every `steps` steps of SQLite. If it returns true, the reads are interrupted.
fn with_progress<T>(
    connection: &mut Connection,
    steps: c_int,
    progress: impl FnMut() -> bool + Send + 'static,
    work: impl Fn(&Connection) -> Result<T>,
) -> Result<T> {
    connection.progress_handler(steps, Some(progress)).map_err(Error::store)?;
    let result = work(connection);
    connection.progress_handler(0, None::<fn() -> bool>).map_err(Error::store)?;
    result
}

/// Opens the database for writing. Creates it if it does not exist.
///
/// # Errors
/// [`Error::Store`].
pub fn open_writer(path: &Path) -> Result<Connection> {
    durable_file::create_private(path).map_err(Error::store)?;
    let connection = Connection::open(path).map_err(Error::store)?;
    // This comes first, so that a write-ahead log left by another connection is not checkpointed before it is checked.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(Error::store)?;
    write_ahead(&connection).map_err(Error::store)?;
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;",
        )
        .map_err(Error::store)?;
    prepare(&connection)?;
    Ok(connection)
}

/// Sets a database to WAL mode. SQLite returns the mode and reports no error if it could not change it.
///
/// # Errors
/// Those of SQLite, and one if the mode was not changed.
pub fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode == "wal" {
        return Ok(());
    }
    let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    Err(rusqlite::Error::SqliteFailure(failure, Some(format!("the journal mode is {mode} and cannot be made WAL"))))
}

/// Opens the database for reading.
///
/// # Errors
/// [`Error::Store`].
pub fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Error::store)?;
    connection.execute_batch("PRAGMA cache_size = -4096; PRAGMA mmap_size = 268435456;").map_err(Error::store)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(10)).map_err(Error::store)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without this, SQLite plans a statement again for every new value of some parameters.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(Error::store)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::store::read_threads::tests::poll;

    /// Runs a query that takes about this many steps.
    fn count_to(connection: &Connection, number: i64) -> Result<i64> {
        const SQL: &str =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT max(i) FROM n";
        connection.query_row(SQL, [number], |row| row.get(0)).map_err(Error::store)
    }

    #[tokio::test]
    async fn only_a_long_read_waits_for_a_permit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        drop(open_writer(&path).unwrap());
        let seal = Arc::new(Seal::open(folder.path(), true).unwrap());
        let readers = Readers::new(path, Arc::default(), seal);
        let readers = Arc::new(Readers { long_reads: Arc::new(LongReads::new(1, 1)), ..readers });
        let project = ProjectNo(1);
        let held = readers.long_reads.acquire(Some(project)).await.unwrap();
        // A short read needs no permit.
        assert_eq!(readers.run_limited(project, |connection| count_to(connection, 100)).await.unwrap(), 100);
        let mut long = Box::pin(readers.run_limited(project, |connection| count_to(connection, 1_000_000)));
        assert!(poll(&mut long).is_pending());
        drop(held);
        assert_eq!(long.await.unwrap(), 1_000_000);
        assert_eq!(readers.long_reads.running(), 0);
        // The limit does not remain on a connection that was interrupted.
        assert_eq!(readers.run(|reader| count_to(reader, 1_000_000)).await.unwrap(), 1_000_000);
    }

    #[tokio::test]
    async fn a_cached_value_needs_no_thread_and_a_missing_one_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        drop(open_writer(&path).unwrap());
        let seal = Arc::new(Seal::open(folder.path(), true).unwrap());
        let readers = Arc::new(Readers::new(path, Arc::default(), seal));
        let find = |n: u8| {
            let read =
                |reader: &Reader<'_>, hash: &[u8; 32]| Ok(Some((ProjectNo(1), count_to(reader, hash[0].into())?)));
            Box::pin(readers.cached(|cache| &cache.cloud_tokens, [n; 32], read))
        };
        assert_eq!(find(1).await.unwrap(), Some((ProjectNo(1), 1)));
        // While a commit is running, debug builds do not compare cached values with the database.
        readers.cache.begin_commit();
        let held = readers.threads.hold_up();
        assert!(matches!(poll(&mut find(1)), Poll::Ready(Ok(Some((ProjectNo(1), 1))))));
        let mut missing = find(2);
        let mut never_cached = Box::pin(readers.run(|reader| count_to(reader, 3)));
        assert!(poll(&mut missing).is_pending() && poll(&mut never_cached).is_pending());
        drop(held);
        assert_eq!(missing.await.unwrap(), Some((ProjectNo(1), 2)));
        assert_eq!(never_cached.await.unwrap(), 3);
    }
}
