//! The embedded event log and latest values (DESIGN §2, §6), on SQLite as the durable substrate, but not with a row of
//! SQLite for each event:
//!
//! - A group commit is one entry of a *journal* (`journal`); that commit is the acknowledgement (`commit`).
//! - The rows since then are in *memory*, in generations, one a journal (`memory`).
//! - A generation that is large or old enough is *rolled* (`roll`): its rows are written, sorted by device and time,
//!   as a run of blocks (`codec`, `runs`) to a file for each span of days (`files`), its latest values to another;
//!   then its journal is unlinked and the memory freed. Runs of like size are merged (`merge`).
//! - A read merges memory and runs, newest first (`read`).

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
mod memtable;
mod numbering;
mod partition;
mod queue;
mod read;
mod rebuild;
mod retention;
mod row;
mod sorted_run;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;

use self::commit::Committer;
use self::engine::{Engine, FlushedTimes};
use self::fault::{Context, Fault};
use self::files::{Files, ReadMode};
use self::flush::Flusher;
use self::journal::Journal;
use self::latest::{LatestBuilder, Lookup};
use self::memtable::{DeviceRows, Memtable, Memtables, Shard};
use self::numbering::Numbering;
use self::read::{PageScan, ReadLimits};
use self::retention::Progress;
use super::upkeep::FolderStamp;
use crate::domain::event::{Consent, Expiry, NextRow, PageStart};
use crate::domain::figures::TelemetryFigures;
use crate::domain::store::Telemetry;
use crate::domain::{DeviceNo, Event, EventCount, EventPage, EventQuery, Latest, NewEvent, ProjectNo, Result};
use crate::durable_file;
use crate::store::space::Space;
use crate::store::turns::Turns;

pub use check::{LogSummary, log_summary};
pub use fault::{DISK_FULL, is_full};

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The disk: an acknowledged row survives a power failure.
    #[default]
    Sync,
    /// The operating system: an acknowledged row survives the end of the server, but not a power failure.
    Os,
}

/// Settings of the embedded event log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TelemetryOptions {
    /// What an acknowledgement waits for.
    pub durability: Durability,
    /// Rows in memory after which they are rolled to disk. Up to twice as many are held while a roll is under way.
    pub memtable_rows: usize,
    /// Bytes in memory after which they are rolled to disk, likewise.
    pub memtable_bytes: usize,
    /// How long a row stays in memory at most before it is rolled.
    pub flush_after: Duration,
    /// Bytes of latest values that are cached.
    pub cache_bytes: usize,
    /// Rows that one page examines at most.
    pub scan_rows: usize,
    /// Rows that one count examines at most.
    pub count_rows: usize,
    /// Rows of a device in one block at most.
    pub block_rows: u32,
    /// How many runs of like size are merged.
    pub compaction_runs: usize,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            memtable_rows: 250_000,
            memtable_bytes: 48 << 20,
            flush_after: Duration::from_secs(300),
            // Room for those of 100,000 devices with half a dozen data points each, in either age.
            cache_bytes: 160 << 20,
            scan_rows: 20_000,
            count_rows: 1_000_000,
            block_rows: 256,
            compaction_runs: 8,
        }
    }
}

/// What the log shares with the registry of its folder.
pub struct Shared {
    /// The registry that it belongs to.
    pub stamp: FolderStamp,
    /// The room on the disk.
    pub space: Arc<Space>,
    /// Whose turn it is to read at length.
    pub turns: Arc<Turns>,
}

impl Shared {
    /// Of a log without a registry, for tests and benchmarks of the log alone.
    pub fn standalone() -> Self {
        Self { stamp: FolderStamp::alone(), space: Arc::new(Space::unlimited()), turns: Arc::default() }
    }
}

/// The embedded event log. Ends its threads when it is dropped.
pub struct SqliteTelemetry {
    engine: Arc<Engine>,
    turns: Arc<Turns>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteTelemetry {
    /// Opens the event log of a folder without a registry, for tests and benchmarks of the log alone. Blocks.
    ///
    /// # Errors
    /// As [`SqliteTelemetry::open_with`].
    pub fn open(folder: &Path, options: TelemetryOptions) -> Result<Arc<Self>> {
        Self::open_with(folder, options, Shared::standalone())
    }

    /// Opens the event log of a folder, which is made if need be, and reads its journals back into memory. Blocks.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] when a newer version wrote the folder, or the log and the registry do not belong
    /// together; [`crate::domain::Error::Store`] when the folder cannot be read or written. Damage is no error: it is
    /// logged, counted and contained.
    pub fn open_with(folder: &Path, options: TelemetryOptions, shared: Shared) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::open_inner(folder, options, shared)?))
    }

    fn open_inner(folder: &Path, options: TelemetryOptions, shared: Shared) -> fault::Result<Self> {
        let Shared { stamp, space, turns } = shared;
        durable_file::make_folder(folder)?;
        let files = Files::open(folder, stamp.id)?;
        let check::FolderCheck { last_memtable, flushed_to, newest_ms, mut lost_rows, unverified, .. } =
            check::folder(&files, folder, &stamp)?;
        let mut memtables = Vec::new();
        let (mut last_no, mut seen_ms, mut damaged) = (last_memtable, newest_ms, 0);
        let mut set_aside = Vec::new();
        for no in journal::list(folder)? {
            last_no = last_no.max(no);
            if no <= flushed_to {
                journal::remove(folder, no)?;
                continue;
            }
            check::check_registry_commits(&journal::path(folder, no), &stamp, journal::registry_commits(folder, no)?)?;
            let replayed = journal::replay(folder, no, stamp.id)?;
            damaged += replayed.damaged;
            if replayed.lost_rows > 0 {
                lost_rows = check::note_lost_of_journal(&files, no, replayed.lost_rows)?;
            }
            let is_damaged = replayed.is_damaged();
            let memtable = replayed.memtable;
            if memtable.rows() > 0 {
                let device_no = memtable.lock_all().devices().last().map_or(0, |(no, ..)| *no);
                check::check_device_numbers(&journal::path(folder, no), &stamp, device_no)?;
                seen_ms = seen_ms.max(memtable.lock_all().newest_ms().unwrap_or(i64::MIN));
                if is_damaged {
                    set_aside.push(no);
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
        engine.change_state(|state| state.set_aside = set_aside);
        let opened = Self { engine: engine.clone(), turns, threads: Mutex::default() };
        let committer = Committer::new(engine.clone(), journal, Numbering::new(seen_ms));
        opened.spawn("telemetry-commit", move || committer.run())?;
        if !unverified.is_empty() {
            let engine = engine.clone();
            let is_closing = move |engine: &Engine| engine.state().closing;
            opened.spawn("telemetry-verify", move || {
                check::verify_rest(&engine.files, unverified, || is_closing(&engine));
            })?;
        }
        opened.spawn("telemetry-roll", move || Flusher::new(engine).run())?;
        Ok(opened)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> fault::Result<()> {
        let thread = Builder::new().name(name.to_owned()).spawn(work).during("starting a thread")?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Rolls everything that is in memory to disk, and waits for it. Blocks: not for an asynchronous task.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`] when the roll failed; it is tried again, and nothing is lost.
    pub fn flush(&self) -> Result<()> {
        Ok(self.engine.flush()?)
    }

    /// As [`SqliteTelemetry::flush`], and waits until nothing is left to be merged: the state that is best to be
    /// copied or measured. Blocks.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`] when a roll or a merge failed; it is tried again, and nothing is lost.
    pub fn flush_and_compact(&self) -> Result<()> {
        Ok(self.engine.flush_and_compact()?)
    }

    /// Rolls what is in memory and ends the threads: every row is in a file that is whole by itself then. When a roll is
    /// not possible, the rows stay in their journal, where they are as safe. Blocks.
    pub fn stop(&self) {
        if self.engine.memtables().size().0 > 0
            && let Err(fault) = self.engine.flush()
        {
            tracing::warn!(error = %fault, "rows stay in the journal: they could not be rolled");
        }
        if let Err(fault) = retention::note_progress(&self.engine) {
            tracing::warn!(error = %fault, "how far the retention went could not be noted");
        }
        self.close();
        // Journals without a row are of no use to anybody.
        drop(self.engine.change_state(|state| state.next_journal.take()));
        let memtables = self.engine.memtables();
        let is_used = |no| memtables.list.iter().any(|memtable| memtable.no == no && memtable.rows() > 0);
        let unused = journal::list(&self.engine.folder).map(|all| all.into_iter().filter(|no| !is_used(*no)));
        let removed = unused.and_then(|mut unused| unused.try_for_each(|no| journal::remove(&self.engine.folder, no)));
        if let Err(fault) = removed {
            tracing::warn!(error = %fault, "an empty journal could not be removed");
        }
    }

    /// Commits what waits and ends the threads. What is in memory stays in its journal for the next open. Blocks.
    pub fn close(&self) {
        self.engine.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = threads.into_iter();
        // The committer first: while it works off its queue it may need the roller.
        for thread in threads.by_ref().take(1) {
            join(thread);
        }
        self.engine.change_state(|state| state.closing = true);
        threads.for_each(join);
    }

    /// The rest of a page that takes long: from `next` on, looking at so many rows more.
    async fn continue_page(
        &self,
        project: Option<ProjectNo>,
        device: DeviceNo,
        query: &EventQuery,
        mut found: Vec<Event>,
        (next, rows): (NextRow, usize),
    ) -> Result<EventPage> {
        let missing = query.limit.saturating_sub(found.len());
        // A page that is full already wants to know which row is the next that matches.
        let rest = EventQuery { start: PageStart::At(next.row), limit: missing.max(1), ..query.clone() };
        let engine = self.engine.clone();
        let limits = ReadLimits { rows, mode: ReadMode::Long };
        let more = move || Ok(read::page(&engine, device.0, &rest, limits)?);
        let mut page = self.turns.run(project, more).await?.page;
        match page.rows.first() {
            Some(event) if missing == 0 => page.next = Some(NextRow { row: event.row, kind: event.kind }),
            _ => found.append(&mut page.rows),
        }
        Ok(EventPage { rows: found, next: page.next })
    }

    fn latest_of(&self, memtables: &Memtables, device: i64) -> fault::Result<Arc<Latest>> {
        let engine = &self.engine;
        let stored = match engine.cache.get(device) {
            Lookup::Hit(stored) => stored,
            Lookup::Miss(epoch) => {
                let stored = Arc::new(latest::load(&engine.files, device)?.latest);
                engine.cache.put(device, epoch, stored.clone());
                stored
            }
        };
        let mut merged: Option<LatestBuilder> = None;
        for memtable in &memtables.list {
            let put_in = |shard: &Shard, found: &DeviceRows| {
                let newest = merged.get_or_insert_with(|| LatestBuilder::from_latest(Latest::clone(&stored)));
                newest.merge_memory(shard, found)
            };
            memtable.latest(device, put_in).unwrap_or(Ok(()))?;
        }
        Ok(merged.map_or(stored, |newest| Arc::new(newest.latest)))
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
        let inline =
            ReadLimits { rows: ReadLimits::INLINE.rows.min(self.engine.options.scan_rows), ..ReadLimits::INLINE };
        let PageScan { page, hit_limit } = read::page(&self.engine, device.0, query, inline)?;
        let rows = self.engine.options.scan_rows - inline.rows;
        match page.next {
            Some(next) if hit_limit && rows > 0 => {
                self.continue_page(project, device, query, page.rows, (next, rows)).await
            }
            _ => Ok(page),
        }
    }

    async fn count(&self, project: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventCount> {
        let count = read::count(&self.engine, device.0, query, ReadLimits::INLINE)?;
        if count.is_exact {
            return Ok(count);
        }
        let (engine, query) = (self.engine.clone(), query.clone());
        let limits = ReadLimits { rows: engine.options.count_rows, mode: ReadMode::Long };
        self.turns.run(project, move || Ok(read::count(&engine, device.0, &query, limits)?)).await
    }

    async fn latest(&self, devices: &[DeviceNo]) -> Result<Vec<Arc<Latest>>> {
        loop {
            let memtables = self.engine.memtables();
            let latest =
                devices.iter().map(|device| self.latest_of(&memtables, device.0)).collect::<fault::Result<_>>()?;
            // Once all of these generations were rolled, the disk may have had rows of one that arrived after them.
            if self.engine.memtables().oldest_no() <= memtables.last_no() {
                return Ok(latest);
            }
        }
    }

    async fn expire(&self, now_ms: i64, keep_ms: i64, consent: Consent) -> Result<Expiry> {
        let engine = self.engine.clone();
        let pass = tokio::task::spawn_blocking(move || retention::pass(&engine, now_ms, keep_ms, consent));
        Ok(pass.await.unwrap_or_else(|panicked| Err(Fault::Failed(panicked.to_string())))?)
    }

    fn figures(&self) -> TelemetryFigures {
        let counters = &self.engine.counters;
        TelemetryFigures {
            rows_appended: counters.rows.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            rows_in_memory: self.engine.memtables().size().0 as u64,
            rolls: counters.flushes.load(Ordering::Relaxed),
            rolls_failed: counters.flushes_failed.load(Ordering::Relaxed),
            damaged: counters.damaged_entries.load(Ordering::Relaxed) + self.engine.files.damaged(),
            lost_rows: counters.lost_rows.load(Ordering::Relaxed),
            is_writing: !self.engine.space.is_low(),
            refused_rows: self.engine.space.refused(),
            waiting_to_expire: counters.waiting_to_expire.load(Ordering::Relaxed),
            durable: self.engine.options.durability == Durability::Sync,
            long_reads: self.turns.taken(),
            reads_refused: self.turns.refused(),
        }
    }
}
