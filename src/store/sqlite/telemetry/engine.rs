//! What the committer, the roller and the readers share.

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
use crate::store::space::Space;

/// Buckets of devices for the newest time that is on disk.
const FLUSHED_BUCKETS: usize = 1 << 16;

/// The engine's shared state.
pub struct Engine {
    /// Where everything lies.
    pub folder: PathBuf,
    /// Settings.
    pub options: TelemetryOptions,
    /// The registry that it belongs to.
    pub stamp: FolderStamp,
    /// The room on its disk.
    pub space: Arc<Space>,
    /// What waits for the committer.
    pub queue: Queue,
    /// The rows in memory.
    memtables: RwLock<Arc<Memtables>>,
    /// The rows on disk.
    pub files: Files,
    /// Latest values read from disk.
    pub cache: Cache,
    /// The newest time on disk, by bucket of devices.
    pub flushed: FlushedTimes,
    /// Held by whoever makes a journal, so that no two make the same.
    pub journal_making: Mutex<()>,
    /// The newest row's time; `i64::MIN` without one.
    pub newest_ms: AtomicI64,
    /// How far retention went.
    pub retention: Mutex<Progress>,
    /// What the threads tell each other.
    state: Mutex<EngineState>,
    /// Signals every change of `state` and of the generations.
    changed: Condvar,
    /// Figures for the operator.
    pub counters: Counters,
}

/// What is counted.
#[derive(Default)]
pub struct Counters {
    /// Rows acknowledged.
    pub rows: AtomicU64,
    /// Group commits.
    pub commits: AtomicU64,
    /// Rolls finished.
    pub flushes: AtomicU64,
    /// Rolls that failed.
    pub flushes_failed: AtomicU64,
    /// Journal entries that were damaged at open.
    pub damaged_entries: AtomicU64,
    /// Acknowledged rows that were found missing, at this open or an earlier one.
    pub lost_rows: AtomicU64,
    /// Files that retention would remove and that wait for the operator's consent.
    pub waiting_to_expire: AtomicU64,
}

/// What the threads tell each other.
#[derive(Default)]
pub struct EngineState {
    /// The engine is being closed.
    pub closing: bool,
    /// Somebody waits: whatever failed is to be tried now.
    pub retry_now: bool,
    /// Rolls begun.
    pub attempts: u64,
    /// The last roll that failed, and why.
    pub failed: Option<(u64, String)>,
    /// Whether merging has nothing to do, or why it cannot.
    pub compacted: Option<std::result::Result<(), String>>,
    /// When the youngest generation got its first row.
    pub filling_since: Option<Instant>,
    /// The journal for the generation after the youngest one, made in advance.
    pub next_journal: Option<Journal>,
    /// Generations whose damaged journals are kept for an examination.
    pub set_aside: Vec<i64>,
}

impl Engine {
    /// An engine over what was found on disk; the last of `memtables` is empty and takes new rows.
    pub fn new(
        folder: PathBuf,
        options: TelemetryOptions,
        stamp: FolderStamp,
        space: Arc<Space>,
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
            journal_making: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            counters: Counters::default(),
        }
    }

    /// The generations as they are now.
    pub fn memtables(&self) -> Arc<Memtables> {
        self.memtables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the list of generations, and tells everybody who waits.
    pub fn change_memtables(&self, change: impl FnOnce(&mut Vec<Arc<Memtable>>)) {
        {
            let mut current = self.memtables.write().unwrap_or_else(PoisonError::into_inner);
            let mut list = current.list.clone();
            change(&mut list);
            *current = Arc::new(Memtables { list });
        }
        self.change_state(|_| ());
    }

    /// What the threads tell each other.
    pub fn state(&self) -> MutexGuard<'_, EngineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it, and tells everybody who waits.
    pub fn change_state<T>(&self, change: impl FnOnce(&mut EngineState) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.notify_all();
        changed
    }

    /// Waits for a change, at most until `deadline`.
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

    /// Has everything that is in memory rolled, and waits for it.
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

    /// As [`Engine::flush`], and waits until nothing is left to be merged.
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

/// For each bucket of devices a time that no row on disk is newer than. Bounded, whatever the number of devices.
pub struct FlushedTimes(Vec<AtomicI64>);

impl FlushedTimes {
    /// Nothing on disk is newer than `newest_ms`.
    pub fn new(newest_ms: i64) -> Self {
        Self((0..FLUSHED_BUCKETS).map(|_| AtomicI64::new(newest_ms)).collect())
    }

    fn bucket(&self, device: i64) -> &AtomicI64 {
        &self.0[((device as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize % FLUSHED_BUCKETS]
    }

    /// No row of the device on disk is newer than this.
    pub fn bound_ms(&self, device: i64) -> i64 {
        self.bucket(device).load(Ordering::Acquire)
    }

    /// A row of this time is on its way to the disk.
    pub fn note(&self, device: i64, time_ms: i64) {
        self.bucket(device).fetch_max(time_ms, Ordering::AcqRel);
    }
}
