//! The embedded event log, with the latest values of every device. It is a log-structured merge tree (LSM tree) whose files are
//! SQLite databases: SQLite provides transactions, checksummed recovery and fsync, but a row of SQLite holds many events.
//!
//! - A group commit is one entry of the *journal*, which is the write-ahead log (WAL) of the engine (`journal`). The
//!   commit of that entry is the acknowledgement (`commit`).
//! - Rows that are not in a file yet are in *memtables* (`memtable`), each with its own journal. The newest memtable is
//!   active and receives rows; older ones are immutable.
//! - A memtable that is large or old enough is *flushed* (`flush`): its rows are written in the order of device and time as one
//!   *sorted run* of compressed blocks (`codec`, `sorted_run`) into the file of each weekly *partition* (`partition`, `files`),
//!   and its latest values into `latest.db`. Then its journal is deleted and its memory is freed.
//! - Several sorted runs of similar size are *compacted* into one (`compaction`).
//! - A read merges the memtables and the sorted runs, newest row first (`read`).
//! - Retention deletes whole partitions (`retention`). At the start `check` compares the files with their checksums and
//!   counts, and `rebuild` creates `latest.db` again if it is damaged.

mod check;
mod codec;
mod commit;
mod compaction;
mod engine;
mod fault;
mod files;
mod flush;
mod journal;
mod latest;
mod lists;
mod memtable;
mod numbering;
mod partition;
mod queue;
mod read;
mod rebuild;
mod retention;
mod row;
pub mod snapshot;
mod sorted_run;
pub mod verify;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;

use self::commit::Committer;
pub use self::engine::Shared;
use self::engine::{Engine, FlushedTimes};
use self::fault::{Context, Fault};
use self::files::{Files, ReadMode};
use self::flush::Flusher;
use self::journal::Journal;
use self::latest::Lookup;
use self::memtable::Memtable;
use self::numbering::Numbering;
use self::read::{PageScan, ReadLimits};
use self::retention::Progress;
use crate::domain::event::{Consent, Expiry, NextRow, PageStart};
use crate::domain::figures::TelemetryFigures;
use crate::domain::store::Telemetry;
use crate::domain::{
    DeviceNo, DurationMs, Event, EventCount, EventPage, EventQuery, Latest, NewEvent, ProjectNo, Result,
};
use crate::durable_file;
use crate::store::long_reads::LongReads;
use crate::store::read_threads::ReadThreads;

pub use check::{LogSummary, log_summary};
pub use fault::{DISK_FULL, is_full};

/// What an acknowledgement guarantees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The data is on the disk: an acknowledged row survives a power failure.
    #[default]
    Sync,
    /// The data is in the operating system's cache: an acknowledged row survives a crash of the server, but not a power
    /// failure.
    Os,
}

/// Settings of the embedded event log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TelemetryOptions {
    /// What an acknowledgement guarantees.
    pub durability: Durability,
    /// Number of rows at which a memtable is flushed. Memory holds up to twice as many while a flush is running.
    pub memtable_rows: usize,
    /// Size in bytes at which a memtable is flushed. Memory holds up to twice as much while a flush is running.
    pub memtable_bytes: usize,
    /// A memtable is flushed at the latest this long after its first row.
    pub flush_after: Duration,
    /// Size in bytes of the cache of latest values.
    pub cache_bytes: usize,
    /// Maximum number of rows that one page examines.
    pub scan_rows: usize,
    /// Maximum number of rows that one count examines.
    pub count_rows: usize,
    /// Maximum number of rows of one device in a block.
    pub block_rows: u32,
    /// Number of sorted runs of similar size that are compacted into one.
    pub compaction_runs: usize,
    /// Whether the log is not opened if a file is damaged or rows are missing. Otherwise what is sound of it is used.
    /// Latest values are derived data and are always rebuilt, and without fsync a journal may lack rows.
    pub refuse_damage: bool,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            memtable_rows: 250_000,
            memtable_bytes: 48 << 20,
            flush_after: Duration::from_secs(300),
            // Enough for the latest values of 100,000 devices with six data points each, in each of the cache's two
            // halves.
            cache_bytes: 160 << 20,
            scan_rows: 20_000,
            count_rows: 1_000_000,
            block_rows: 256,
            compaction_runs: 8,
            refuse_damage: false,
        }
    }
}

/// The embedded event log. Dropping it stops its threads.
pub struct SqliteTelemetry {
    engine: Arc<Engine>,
    read_threads: ReadThreads,
    long_reads: Arc<LongReads>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteTelemetry {
    /// Opens the event log of a folder without a registry, for tests and benchmarks. Blocks.
    ///
    /// # Errors
    /// As [`SqliteTelemetry::open_with`].
    pub fn open(folder: &Path, options: TelemetryOptions) -> Result<Arc<Self>> {
        Self::open_with(folder, options, Shared::standalone())
    }

    /// Opens the event log of a folder, which is created if it does not exist, and replays the journals into memtables.
    /// Blocks.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] when a newer version wrote the folder, or when the log and the registry do not
    /// belong together; [`crate::domain::Error::Store`] when the folder cannot be read or written. Damage is an error only
    /// with [`TelemetryOptions::refuse_damage`]: otherwise it is logged, counted and limited to the rows that it affects.
    pub fn open_with(folder: &Path, options: TelemetryOptions, shared: Shared) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::open_inner(folder, options, shared)?))
    }

    fn open_inner(folder: &Path, options: TelemetryOptions, shared: Shared) -> fault::Result<Self> {
        let Shared { stamp, space, long_reads, instruments } = shared;
        durable_file::create_folder(folder)?;
        let files = Files::open(folder, stamp.id)?;
        let check::FolderCheck { last_memtable, flushed_to, newest_ms, mut lost_rows, unverified, .. } =
            check::folder(&files, folder, &stamp, options.refuse_damage)?;
        // Without fsync, a power cut loses the last rows of a journal, which is what the operator has chosen.
        let refuse_journal = options.refuse_damage && options.durability == Durability::Sync;
        let mut memtables = Vec::new();
        let (mut last_no, mut seen_ms, mut damaged) = (last_memtable, newest_ms, 0);
        let mut damaged_journals = Vec::new();
        for no in journal::list(folder)? {
            last_no = last_no.max(no);
            if no <= flushed_to {
                journal::remove(folder, no)?;
                continue;
            }
            check::check_registry_commits(&journal::path(folder, no), &stamp, journal::registry_commits(folder, no)?)?;
            let replayed = journal::replay(folder, no, stamp.id)?;
            damaged += replayed.damaged;
            let is_damaged = replayed.is_damaged();
            if is_damaged {
                let path = journal::path(folder, no);
                lost_rows = check::add_damaged_journal(&files, no, &path, &replayed, refuse_journal)?;
            }
            let memtable = replayed.memtable;
            if memtable.rows() > 0 {
                let device_no = memtable.lock_all().devices().last().map_or(0, |(no, ..)| *no);
                check::check_device_numbers(&journal::path(folder, no), &stamp, device_no)?;
                seen_ms = seen_ms.max(memtable.lock_all().newest_ms().unwrap_or(i64::MIN));
                if is_damaged {
                    damaged_journals.push(no);
                }
                memtables.push(Arc::new(memtable));
            } else if is_damaged {
                journal::set_aside(folder, no)?;
            } else {
                journal::remove(folder, no)?;
            }
        }
        let journal = Journal::create(folder, last_no + 1, &stamp, options.durability)?;
        memtables.push(Arc::new(Memtable::new(last_no + 1)));
        let flushed = FlushedTimes::new(newest_ms);
        let engine = Arc::new(Engine::new(folder.to_owned(), options, stamp, space, files, memtables, flushed));
        engine.newest_ms.store(seen_ms, Ordering::Release);
        *engine.retention.lock().unwrap_or_else(PoisonError::into_inner) = Progress::since_open(seen_ms);
        engine.counters.damaged_entries.store(damaged, Ordering::Relaxed);
        engine.counters.lost_rows.store(lost_rows, Ordering::Relaxed);
        engine.change_state(|state| state.damaged_journals = damaged_journals);
        let read_threads = ReadThreads::default();
        let opened = Self { engine: engine.clone(), read_threads, long_reads, threads: Mutex::default() };
        let committer = Committer::new(engine.clone(), journal, Numbering::new(seen_ms), instruments);
        opened.spawn("telemetry-commit", move || committer.run())?;
        if !unverified.is_empty() {
            let engine = engine.clone();
            let is_closing = move |engine: &Engine| engine.state().closing;
            opened.spawn("telemetry-verify", move || {
                check::verify_rest(&engine.files, unverified, || is_closing(&engine));
            })?;
        }
        opened.spawn("telemetry-flush", move || Flusher::new(engine).run())?;
        Ok(opened)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> fault::Result<()> {
        let thread = Builder::new().name(name.to_owned()).spawn(work).during("starting a thread")?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Flushes all memtables and waits until they are on disk. Blocks, so do not call it from an asynchronous task.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`] when the flush failed. The engine tries again later, and no row is lost.
    pub fn flush(&self) -> Result<()> {
        Ok(self.engine.flush()?)
    }

    /// As [`SqliteTelemetry::flush`], and then waits until no compaction is pending, which is the best state to be
    /// copied or measured. Blocks.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`] when a flush or a compaction failed. The engine tries again later, and no row is
    /// lost.
    pub fn flush_and_compact(&self) -> Result<()> {
        Ok(self.engine.flush_and_compact()?)
    }

    /// Flushes the memtables and stops the threads. Afterwards every row is in a database file. If a flush is not
    /// possible, the rows stay in their journal, where they are equally safe. Blocks.
    pub fn stop(&self) {
        if self.engine.memtables().size().0 > 0
            && let Err(fault) = self.engine.flush()
        {
            tracing::warn!(error = %fault, "rows stay in the journal because they could not be flushed");
        }
        if let Err(fault) = retention::store_progress(&self.engine) {
            tracing::warn!(error = %fault, "the progress of retention could not be stored");
        }
        self.close();
        // Journals without rows are not needed at the next start.
        drop(self.engine.change_state(|state| state.next_journal.take()));
        let memtables = self.engine.memtables();
        let is_used = |no| memtables.list.iter().any(|memtable| memtable.no == no && memtable.rows() > 0);
        let unused = journal::list(&self.engine.folder).map(|all| all.into_iter().filter(|no| !is_used(*no)));
        let removed = unused.and_then(|mut unused| unused.try_for_each(|no| journal::remove(&self.engine.folder, no)));
        if let Err(fault) = removed {
            tracing::warn!(error = %fault, "an empty journal could not be removed");
        }
    }

    /// Commits what is queued and stops the threads. Rows in memtables stay in their journals and are replayed at the
    /// next start. Blocks.
    pub fn close(&self) {
        self.engine.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = threads.into_iter();
        // The committer stops first, because it may need the flusher while it empties its queue.
        for thread in threads.by_ref().take(1) {
            join(thread);
        }
        self.engine.change_state(|state| state.closing = true);
        threads.for_each(join);
    }

    /// Reads the rest of a page that needs a long read: from `next` on, with `rows` more rows to examine.
    async fn continue_page(
        &self,
        project: Option<ProjectNo>,
        device: DeviceNo,
        query: &EventQuery,
        mut found: Vec<Event>,
        (next, rows): (NextRow, usize),
    ) -> Result<EventPage> {
        let missing = query.limit.saturating_sub(found.len());
        // A page that is already full still needs the next matching row, for the cursor.
        let rest = EventQuery { start: PageStart::At(next.row), limit: missing.max(1), ..query.clone() };
        let engine = self.engine.clone();
        let limits = ReadLimits { rows, mode: Some(ReadMode::Long) };
        let more = move || Ok(read::page(&engine, device.0, &rest, limits)?);
        let mut page = self.long_reads.run(project, more).await?.page;
        match page.rows.first() {
            Some(event) if missing == 0 => page.next = Some(NextRow { row: event.row, kind: event.kind }),
            _ => found.append(&mut page.rows),
        }
        Ok(EventPage { rows: found, next: page.next })
    }

    /// Runs a read of the memtables alone, or else, if it needs files, as a short read on a thread for reads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Engine, ReadLimits) -> fault::Result<T> + Send + 'static,
    ) -> Result<T> {
        let short = ReadLimits { rows: ReadLimits::SHORT.rows.min(self.engine.options.scan_rows), ..ReadLimits::SHORT };
        match read(&self.engine, ReadLimits { mode: None, ..short }) {
            Err(Fault::NeedsFiles) => {
                let engine = self.engine.clone();
                self.read_threads.run(move || Ok(read(&engine, short)?)).await
            }
            other => Ok(other?),
        }
    }

    /// The latest values of each device on disk, from the cache or from `latest.db`.
    async fn stored_latest(&self, devices: &[DeviceNo]) -> Result<Vec<Arc<Latest>>> {
        let cached: Vec<Lookup> = devices.iter().map(|device| self.engine.cache.get(device.0)).collect();
        let missing = cached.iter().zip(devices).filter_map(|(found, device)| match found {
            Lookup::Hit(_) => None,
            Lookup::Miss(epoch) => Some((device.0, *epoch)),
        });
        let missing: Vec<(i64, u64)> = missing.collect();
        let mut loaded = Vec::new().into_iter();
        if !missing.is_empty() {
            let engine = self.engine.clone();
            let load = move || {
                let load = |(device, epoch)| {
                    let stored = Arc::new(latest::load(&engine.files, device)?.latest);
                    engine.cache.put(device, epoch, stored.clone());
                    Ok(stored)
                };
                Ok(missing.into_iter().map(load).collect::<fault::Result<Vec<_>>>()?)
            };
            loaded = self.read_threads.run(load).await?.into_iter();
        }
        let stored = cached.into_iter().filter_map(|found| match found {
            Lookup::Hit(stored) => Some(stored),
            Lookup::Miss(_) => loaded.next(),
        });
        Ok(stored.collect())
    }
}

impl Drop for SqliteTelemetry {
    fn drop(&mut self) {
        self.close();
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the event log panicked");
    }
}

#[async_trait]
impl Telemetry for SqliteTelemetry {
    async fn append(&self, rows: Vec<NewEvent>) -> Result<()> {
        if rows.is_empty() { Ok(()) } else { self.engine.queue.append(rows).await }
    }

    async fn page(&self, project: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventPage> {
        let wanted = query.clone();
        let short = self.read(move |engine, limits| Ok((read::page(engine, device.0, &wanted, limits)?, limits.rows)));
        let (PageScan { page, hit_limit }, examined) = short.await?;
        let rows = self.engine.options.scan_rows - examined;
        match page.next {
            Some(next) if hit_limit && rows > 0 => {
                self.continue_page(project, device, query, page.rows, (next, rows)).await
            }
            _ => Ok(page),
        }
    }

    async fn count(&self, project: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventCount> {
        let (engine, query) = (self.engine.clone(), query.clone());
        let wanted = query.clone();
        let count = self.read(move |engine, limits| read::count(engine, device.0, &wanted, limits)).await?;
        if count.is_exact {
            return Ok(count);
        }
        let limits = ReadLimits { rows: engine.options.count_rows, mode: Some(ReadMode::Long) };
        self.long_reads.run(project, move || Ok(read::count(&engine, device.0, &query, limits)?)).await
    }

    async fn contains(&self, rows: &[NewEvent]) -> Result<Vec<bool>> {
        lists::contains(self, rows).await
    }

    async fn newest_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>> {
        lists::newest_ms(self, devices).await
    }

    async fn latest(&self, devices: &[DeviceNo]) -> Result<Vec<Arc<Latest>>> {
        loop {
            let memtables = self.engine.memtables();
            let stored = self.stored_latest(devices).await?.into_iter().zip(devices);
            let latest = stored.map(|(stored, device)| latest::merge(&memtables, device.0, stored));
            let latest = latest.collect::<fault::Result<_>>()?;
            // If all of these memtables have been flushed meanwhile, `latest.db` may contain rows of a newer memtable,
            // so read again.
            if self.engine.memtables().oldest_no() <= memtables.active_no() {
                return Ok(latest);
            }
        }
    }

    async fn expire(&self, now_ms: i64, keep: DurationMs, consent: Consent) -> Result<Expiry> {
        let engine = self.engine.clone();
        let pass = tokio::task::spawn_blocking(move || retention::pass(&engine, now_ms, keep, consent));
        Ok(pass.await.unwrap_or_else(|panicked| Err(Fault::Failed(panicked.to_string())))?)
    }

    fn figures(&self) -> TelemetryFigures {
        let (counters, files, memtables) = (&self.engine.counters, &self.engine.files, self.engine.memtables());
        let (rows, bytes) = memtables.size();
        TelemetryFigures {
            rows_appended: counters.rows.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            rows_in_memory: rows as u64,
            bytes_in_memory: bytes as u64,
            memtables: memtables.list.len() as u64,
            partitions: files.partition_files().len() as u64,
            runs: files.known_runs(),
            disk_free_bytes: self.engine.space.free_bytes(),
            disk_used_bytes: self.engine.space.used_bytes(),
            flushes: counters.flushes.load(Ordering::Relaxed),
            flushes_failed: counters.flushes_failed.load(Ordering::Relaxed),
            damaged: counters.damaged_entries.load(Ordering::Relaxed) + self.engine.files.damaged(),
            lost_rows: counters.lost_rows.load(Ordering::Relaxed),
            write_failure: self.engine.space.write_failure(),
            refused_rows: self.engine.space.refused(),
            waiting_to_expire: counters.waiting_to_expire.load(Ordering::Relaxed),
            durable: self.engine.options.durability == Durability::Sync,
            long_reads: self.long_reads.running(),
            reads_refused: self.long_reads.refused(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::domain::{EventSource, EventType, EventTypes, Value};
    use crate::store::read_threads::tests::poll;

    #[tokio::test]
    async fn what_is_in_memory_needs_no_thread_and_what_is_in_files_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = SqliteTelemetry::open(folder.path(), TelemetryOptions::default()).unwrap();
        let row = |device, time_ms| NewEvent {
            device: DeviceNo(device),
            time_ms,
            kind: EventType::DataPoint,
            source: EventSource::DEVICE,
            code: Some("switch".into()),
            value: Value::from_json("true".to_owned()),
            is_history: false,
        };
        telemetry.append(vec![row(1, 1), row(2, 2)]).await.unwrap();
        telemetry.flush().unwrap();
        telemetry.latest(&[DeviceNo(1)]).await.unwrap();
        telemetry.append(vec![row(1, 3)]).await.unwrap();
        let query = |from_ms| EventQuery {
            types: EventTypes::all(),
            codes: Vec::new(),
            from_ms,
            to_ms: i64::MAX,
            start: PageStart::Newest,
            limit: 10,
        };
        let (old, new) = (query(0), query(3));

        let held = telemetry.read_threads.hold_up();
        let rows = |page: Poll<Result<EventPage>>| page.map(|page| page.unwrap().rows.len());
        assert_eq!(rows(poll(&mut telemetry.page(None, DeviceNo(1), &new))), Poll::Ready(1));
        assert!(matches!(
            poll(&mut telemetry.count(None, DeviceNo(1), &new)),
            Poll::Ready(Ok(EventCount { rows: 1, .. }))
        ));
        let latest = poll(&mut telemetry.latest(&[DeviceNo(1)])).map(|latest| latest.unwrap()[0].points[0].row.time_ms);
        assert_eq!(latest, Poll::Ready(3));
        let (devices, mut page) = ([DeviceNo(1), DeviceNo(2)], telemetry.page(None, DeviceNo(1), &old));
        let (mut count, mut latest) = (telemetry.count(None, DeviceNo(2), &old), telemetry.latest(&devices));
        assert!(poll(&mut page).is_pending() && poll(&mut count).is_pending() && poll(&mut latest).is_pending());
        drop(held);
        assert_eq!(page.await.unwrap().rows.len(), 2);
        assert_eq!(count.await.unwrap().rows, 1);
        let newest = latest.await.unwrap().iter().map(|latest| latest.points[0].row.time_ms).collect::<Vec<_>>();
        assert_eq!(newest, [3, 2]);
    }
}
