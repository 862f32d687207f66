//! The state that the committer, the flusher and the readers share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::super::upkeep::FolderStamp;
use super::TelemetryOptions;
use super::fault::{Fault, Result};
use super::files::Files;
use super::journal::Journal;
use super::latest::Cache;
use super::memtable::{Memtable, Memtables};
use super::queue::Queue;
use super::retention::Progress;
use super::row::bucket_of;
use crate::instruments::Instruments;
use crate::store::disk_space::DiskSpace;
use crate::store::long_reads::LongReads;

/// [`FlushedTimes`] has 2 to the power of this many hash buckets of devices.
const FLUSHED_BUCKET_BITS: u32 = 16;

/// What the event log shares with the registry of the same data folder.
pub struct Shared {
    /// The state of the registry, with which the files of the log are compared.
    pub stamp: FolderStamp,
    /// The free space of the disk.
    pub space: Arc<DiskSpace>,
    /// The limiter for long reads.
    pub long_reads: Arc<LongReads>,
    /// Metrics of the commits.
    pub instruments: Arc<Instruments>,
}

impl Shared {
    /// For an event log without a registry, as tests and benchmarks use it.
    pub fn standalone() -> Self {
        let (space, long_reads, instruments) = (Arc::new(DiskSpace::unlimited()), Arc::default(), Arc::default());
        Self { stamp: FolderStamp::alone(), space, long_reads, instruments }
    }
}

/// The engine's shared state.
pub struct Engine {
    /// The folder of the event log.
    pub folder: PathBuf,
    /// The settings.
    pub options: TelemetryOptions,
    /// The state of the registry, with which the files of the log are compared.
    pub stamp: FolderStamp,
    /// The free space of the disk.
    pub space: Arc<DiskSpace>,
    /// The queue of the committer.
    pub queue: Queue,
    /// The rows in memory.
    memtables: RwLock<Arc<Memtables>>,
    /// The rows on disk.
    pub files: Files,
    /// The cache of latest values that were read from disk.
    pub cache: Cache,
    /// An upper bound of the newest time on disk, for each bucket of devices.
    pub flushed: FlushedTimes,
    /// Locked while a journal is created, so that the committer and the flusher do not create the same one.
    pub journal_creation: Mutex<()>,
    /// The time of the newest row, milliseconds since 1970; `i64::MIN` if there is none.
    pub newest_ms: AtomicI64,
    /// The progress of retention.
    pub retention: Mutex<Progress>,
    /// State that the threads exchange.
    state: Mutex<EngineState>,
    /// Notified at every change of `state` and of the memtables.
    changed: Condvar,
    /// Counters for the metrics.
    pub counters: Counters,
}

/// Counters for the metrics.
#[derive(Default)]
pub struct Counters {
    /// Rows that were acknowledged.
    pub rows: AtomicU64,
    /// Group commits to the journal.
    pub commits: AtomicU64,
    /// Flushes that were finished.
    pub flushes: AtomicU64,
    /// Flushes that failed.
    pub flushes_failed: AtomicU64,
    /// Journal entries that were damaged when the log was opened.
    pub damaged_entries: AtomicU64,
    /// Acknowledged rows that were found missing, at this start or an earlier one.
    pub lost_rows: AtomicU64,
    /// Partition files that are older than the retention and wait for the operator's consent.
    pub waiting_to_expire: AtomicU64,
}

/// State that the threads exchange.
#[derive(Default)]
pub struct EngineState {
    /// The engine is being closed.
    pub closing: bool,
    /// A caller waits, so failed work is tried again immediately.
    pub retry_now: bool,
    /// Flushes that were started.
    pub attempts: u64,
    /// The number of the last flush that failed, and the reason.
    pub failed: Option<(u64, String)>,
    /// `Ok` if no compaction is pending, or the reason why compaction failed; `None` if that is not determined yet.
    pub compacted: Option<std::result::Result<(), String>>,
    /// When the active memtable received its first row.
    pub filling_since: Option<Instant>,
    /// The journal of the next memtable, created in advance.
    pub next_journal: Option<Journal>,
    /// Memtables whose journal was damaged. It is renamed after the flush and not deleted, so that it can be examined.
    pub damaged_journals: Vec<i64>,
}

impl Engine {
    /// Creates the engine from the state of the disk. The last of `memtables` is empty and becomes the active one.
    pub fn new(
        folder: PathBuf,
        options: TelemetryOptions,
        stamp: FolderStamp,
        space: Arc<DiskSpace>,
        files: Files,
        memtables: Vec<Arc<Memtable>>,
        flushed: FlushedTimes,
    ) -> Self {
        Self {
            folder,
            options,
            stamp,
            space,
            newest_ms: AtomicI64::new(i64::MIN),
            retention: Mutex::default(),
            queue: Queue::new(),
            memtables: RwLock::new(Arc::new(Memtables { list: memtables })),
            files,
            cache: Cache::new(options.cache_bytes),
            flushed,
            journal_creation: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            counters: Counters::default(),
        }
    }

    /// The current list of memtables.
    pub fn memtables(&self) -> Arc<Memtables> {
        self.memtables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the list of memtables and notifies all waiting threads.
    pub fn change_memtables(&self, change: impl FnOnce(&mut Vec<Arc<Memtable>>)) {
        {
            let mut current = self.memtables.write().unwrap_or_else(PoisonError::into_inner);
            let mut list = current.list.clone();
            change(&mut list);
            *current = Arc::new(Memtables { list });
        }
        self.change_state(|_| ());
    }

    /// State that the threads exchange.
    pub fn state(&self) -> MutexGuard<'_, EngineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the shared state and notifies all waiting threads.
    pub fn change_state<T>(&self, change: impl FnOnce(&mut EngineState) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.notify_all();
        changed
    }

    /// Waits for a notification, at most until `deadline`.
    pub fn wait<'a>(
        &self,
        state: MutexGuard<'a, EngineState>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, EngineState> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Makes the active memtable immutable and waits until all memtables are flushed.
    pub fn flush(&self) -> Result<()> {
        let last = self.queue.rotate()?;
        let wanted = self.change_state(|state| {
            state.retry_now = true;
            state.attempts + 1
        });
        let mut state = self.state();
        loop {
            if self.memtables().oldest_no() > last {
                return Ok(());
            }
            if state.closing {
                return Err(Fault::Closed);
            }
            if let Some((attempt, why)) = &state.failed
                && *attempt >= wanted
            {
                return Err(Fault::Failed(why.clone()));
            }
            state = self.wait(state, None);
        }
    }

    /// As [`Engine::flush`], and then waits until no compaction is pending.
    pub fn flush_and_compact(&self) -> Result<()> {
        self.flush()?;
        self.change_state(|state| {
            state.retry_now = true;
            state.compacted = None;
        });
        let mut state = self.state();
        loop {
            match &state.compacted {
                _ if state.closing => return Err(Fault::Closed),
                Some(Ok(())) => return Ok(()),
                Some(Err(why)) => return Err(Fault::Failed(why.clone())),
                None => state = self.wait(state, None),
            }
        }
    }
}

/// An upper bound of the newest time on disk, for each hash bucket of devices. Its size does not depend on the number
/// of devices.
pub struct FlushedTimes(Vec<AtomicI64>);

impl FlushedTimes {
    /// Creates the bounds for a log in which no row on disk is newer than `newest_ms`.
    pub fn new(newest_ms: i64) -> Self {
        Self((0..1 << FLUSHED_BUCKET_BITS).map(|_| AtomicI64::new(newest_ms)).collect())
    }

    fn bucket(&self, device: i64) -> &AtomicI64 {
        &self.0[bucket_of(device, FLUSHED_BUCKET_BITS)]
    }

    /// No row of the device on disk is newer than this time.
    pub fn bound_ms(&self, device: i64) -> i64 {
        self.bucket(device).load(Ordering::Acquire)
    }

    /// Raises the bound; called before a row of this time is written to disk.
    pub fn note(&self, device: i64, time_ms: i64) {
        self.bucket(device).fetch_max(time_ms, Ordering::AcqRel);
    }
}
