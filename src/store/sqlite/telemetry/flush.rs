//! The flusher: one thread that writes immutable memtables to the files and then deletes their journals. While there is
//! nothing to flush, it compacts sorted runs.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::check;
use super::compaction::Compactor;
use super::engine::Engine;
use super::fault::{Context, Fault, Result};
use super::files;
use super::journal::{self, Journal};
use super::latest::{self, newest_time_row};
use super::memtable::{DeviceRows, Memtable, Shard};
use super::partition::partition_of;
use super::rebuild;
use super::row::{Key, Row};
use super::sorted_run::{Cut, RunState, RunWriter, checkpoint, transaction};

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Number of devices that are written between two checks whether the engine is being closed.
const DEVICES_PER_CLOSE_CHECK: usize = 256;
/// A device with more codes than this in one memtable is first merged with its latest values on disk.
const CODES_UNCHECKED: usize = 64;

/// The name in the table `meta` of `latest.db` of the number of the last memtable that is completely on disk.
pub const FLUSHED_TO: &str = "rolled_to";

/// The state of the flusher thread.
pub struct Flusher {
    engine: Arc<Engine>,
    compactor: Compactor,
    retry: Retry,
    compaction_retry: Retry,
}

/// When to try a failed operation again.
#[derive(Default)]
struct Retry {
    at: Option<Instant>,
    delay: Duration,
}

impl Retry {
    /// Sets the time of the next attempt. Returns whether this is the first failure since the last success.
    fn failed(&mut self) -> bool {
        let is_first = self.at.is_none() && self.delay.is_zero();
        self.delay = (self.delay * 2).clamp(RETRY_MIN, RETRY_MAX);
        self.at = Some(Instant::now() + self.delay);
        is_first
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn due(&self) -> bool {
        self.at.is_none_or(|at| Instant::now() >= at)
    }
}

/// What the flusher does next.
enum Next {
    Flush(Arc<Memtable>),
    Compact,
    Prepare(i64),
    Stop,
}

impl Flusher {
    /// Creates the flusher. It will examine every file for pending compactions.
    pub fn new(engine: Arc<Engine>) -> Self {
        let compactor = Compactor::new(engine.files.writable());
        Self { engine, compactor, retry: Retry::default(), compaction_retry: Retry::default() }
    }

    /// Runs until the engine is closed.
    pub fn run(mut self) {
        loop {
            match self.next() {
                Next::Flush(memtable) => self.flush(&memtable),
                Next::Compact => self.compact(),
                Next::Prepare(no) => self.prepare(no),
                Next::Stop => return,
            }
        }
    }

    fn next(&mut self) -> Next {
        let engine = self.engine.clone();
        let mut state = engine.state();
        loop {
            if state.closing {
                return Next::Stop;
            }
            if std::mem::take(&mut state.retry_now) {
                (self.retry.at, self.compaction_retry.at) = (None, None);
            }
            let memtables = engine.memtables();
            let [older @ .., active] = memtables.list.as_slice() else { return Next::Stop };
            let mut wake = None;
            if let Some(oldest) = older.first() {
                if self.retry.due() {
                    state.attempts += 1;
                    return Next::Flush(oldest.clone());
                }
                wake = self.retry.at;
            }
            if state.next_journal.as_ref().is_none_or(|journal| journal.no != active.no + 1) && self.retry.due() {
                return Next::Prepare(active.no + 1);
            }
            // A compaction temporarily needs as much disk space as the runs that it compacts.
            if self.compactor.has_work() && !engine.space.is_low() {
                if self.compaction_retry.due() {
                    return Next::Compact;
                }
                wake = earlier(wake, self.compaction_retry.at);
            } else if state.compacted.is_none() {
                state.compacted = Some(Ok(()));
                drop(state);
                engine.change_state(|_| ());
                state = engine.state();
                continue;
            }
            if let Some(since) = state.filling_since {
                let due = since + engine.options.flush_after;
                if Instant::now() >= due {
                    state.filling_since = None;
                    engine.queue.request_rotation();
                } else {
                    wake = earlier(wake, Some(due));
                }
            }
            state = engine.wait(state, wake);
        }
    }

    fn flush(&mut self, memtable: &Memtable) {
        let engine = self.engine.clone();
        let began = Instant::now();
        let flushed = self.write(memtable).and_then(|()| {
            let folder = &engine.folder;
            engine.change_memtables(|list| list.retain(|other| other.no != memtable.no));
            if engine.state().damaged_journals.contains(&memtable.no) {
                journal::set_aside(folder, memtable.no)
            } else {
                journal::remove(folder, memtable.no)
            }
        });
        match flushed {
            Ok(()) => {
                self.retry.succeeded();
                engine.counters.flushes.fetch_add(1, Ordering::Relaxed);
                let elapsed_ms = began.elapsed().as_millis() as u64;
                tracing::debug!(memtable = memtable.no, rows = memtable.rows(), elapsed_ms, "flushed a memtable");
                engine.change_state(|state| state.failed = None);
            }
            Err(Fault::Closed) => {}
            Err(fault) => {
                let is_first = self.retry.failed();
                engine.counters.flushes_failed.fetch_add(1, Ordering::Relaxed);
                if fault.is_full() {
                    engine.space.note_full();
                } else if is_first {
                    tracing::error!(error = %fault, "a flush failed; it is tried again, and the metrics count the failures");
                }
                engine.change_state(|state| state.failed = Some((state.attempts, fault.to_string())));
            }
        }
    }

    /// Writes every row of a memtable to the files. Each file receives a memtable completely or not at all, so files
    /// that received it before a crash or a failure are left unchanged.
    fn write(&mut self, memtable: &Memtable) -> Result<()> {
        let engine = self.engine.clone();
        let locked = memtable.lock_all();
        let devices = locked.devices();
        for (device, found, _) in &devices {
            if let Some(row) = found.rows.last() {
                engine.flushed.note(*device, row.time_ms);
            }
        }
        let mut added = Vec::new();
        for partition in locked.partitions(partition_of) {
            let _write_lock = engine.files.write_lock();
            let mut written = self.write_partition(memtable.no, partition, &devices);
            if let Err(fault) = &written
                && fault.is_damage()
            {
                engine.files.set_aside(partition, fault)?;
                written = self.write_partition(memtable.no, partition, &devices);
            }
            added.push((partition, written?));
        }
        {
            let _write_lock = engine.files.write_lock();
            let mut written = self.write_latest(memtable.no, &devices, &added);
            if let Err(fault) = &written
                && fault.is_damage()
            {
                tracing::error!(error = %fault, "the latest values are damaged; they are rebuilt from the log");
                engine.files.count_damage(1);
                drop(rebuild::latest(&engine.files, memtable.no - 1)?);
                engine.cache.clear();
                written = self.write_latest(memtable.no, &devices, &added);
            }
            written?;
        }
        File::open(&engine.folder).and_then(|folder| folder.sync_all()).during("syncing the telemetry folder")?;
        // From here on the disk is newer than the cache, while the memtable still covers the difference.
        engine.cache.begin_epoch();
        devices.iter().try_for_each(|(device, found, shard)| engine.cache.refresh(*device, shard, found))
    }

    /// Writes a memtable's rows of one partition to its file. Returns the number of rows.
    fn write_partition(&mut self, memtable: i64, partition: i64, devices: &Devices<'_>) -> Result<usize> {
        let engine = &self.engine;
        let (file, connection) = engine.files.open_partition(partition)?;
        self.compactor.enqueue(&file);
        transaction(&connection, || write_partition(engine, &connection, memtable, partition, devices))?;
        checkpoint(&connection, &file);
        Ok(devices.iter().map(|(_, found, _)| in_partition(&found.rows, partition).len()).sum())
    }

    fn write_latest(&mut self, memtable: i64, devices: &Devices<'_>, added: &[(i64, usize)]) -> Result<()> {
        let (engine, file) = (&self.engine, &self.engine.files.latest);
        let connection = file.writer()?;
        self.compactor.enqueue(file);
        transaction(&connection, || {
            if write_latest(engine, &connection, memtable, devices)? {
                check::add_to_partitions(&connection, memtable, added)?;
            }
            let commits = engine.stamp.commits.load(Ordering::Acquire);
            files::set_meta(&connection, check::REGISTRY_COMMITS, commits)
        })?;
        checkpoint(&connection, file);
        Ok(())
    }

    fn compact(&mut self) {
        let engine = self.engine.clone();
        match self.compactor.step(&engine) {
            Ok(()) => self.compaction_retry.succeeded(),
            Err(Fault::Closed) => {}
            Err(fault) => {
                let is_first = self.compaction_retry.failed();
                if fault.is_full() {
                    engine.space.note_full();
                } else if is_first {
                    tracing::error!(error = %fault, "sorted runs cannot be compacted; reads get slower until they are");
                }
                engine.change_state(|state| state.compacted = Some(Err(fault.to_string())));
            }
        }
    }

    /// Creates the journal of the next memtable in advance, so that no commit has to wait for it.
    fn prepare(&mut self, no: i64) {
        let engine = &self.engine;
        let _creating = engine.journal_creation.lock().unwrap_or_else(PoisonError::into_inner);
        if engine.memtables().list.last().is_none_or(|active| active.no + 1 != no) {
            // The committer has already created it.
            return;
        }
        match Journal::create(&engine.folder, no, &engine.stamp, engine.options.durability) {
            Ok(journal) => engine.state().next_journal = Some(journal),
            Err(fault) => {
                let is_first = self.retry.failed();
                if fault.is_full() {
                    engine.space.note_full();
                } else if is_first {
                    tracing::warn!(error = %fault, "a journal cannot be created in advance");
                }
            }
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn is_flushed(connection: &Connection, memtable: i64) -> Result<bool> {
    Ok(files::runs(connection, RunState::Live)?.iter().any(|run| run.last_memtable >= memtable))
}

type Devices<'a> = [(i64, &'a DeviceRows, &'a Shard)];

fn write_partition(
    engine: &Engine,
    connection: &Connection,
    memtable: i64,
    partition: i64,
    devices: &Devices<'_>,
) -> Result<()> {
    if is_flushed(connection, memtable)? {
        return Ok(());
    }
    let cut = Cut::Anywhere(engine.options.block_rows);
    let mut writer = RunWriter::begin(connection, memtable..=memtable, cut)?;
    for (index, (device, found, shard)) in devices.iter().enumerate() {
        if index % DEVICES_PER_CLOSE_CHECK == 0 && engine.state().closing {
            return Err(Fault::Closed);
        }
        for row in in_partition(&found.rows, partition).iter().rev() {
            writer.push(connection, Key::new(*device, row.row_ref()), &shard.view(row))?;
        }
    }
    writer.finish(connection)
}

fn in_partition(rows: &[Row], partition: i64) -> &[Row] {
    match (rows.first(), rows.last()) {
        (Some(first), Some(last))
            if partition_of(first.time_ms) == partition && partition_of(last.time_ms) == partition =>
        {
            rows
        }
        _ => {
            let first = rows.partition_point(|row| partition_of(row.time_ms) < partition);
            let end = rows.partition_point(|row| partition_of(row.time_ms) <= partition);
            rows.get(first..end).unwrap_or_default()
        }
    }
}

/// Writes a memtable's latest values, unless they were written before. Returns whether it wrote them.
fn write_latest(engine: &Engine, connection: &Connection, memtable: i64, devices: &Devices<'_>) -> Result<bool> {
    if files::meta(connection, FLUSHED_TO)?.is_some_and(|flushed_to| flushed_to >= memtable) {
        return Ok(false);
    }
    let mut writer = RunWriter::begin(connection, memtable..=memtable, Cut::BetweenDevices)?;
    for (index, (device, found, shard)) in devices.iter().enumerate() {
        if index % DEVICES_PER_CLOSE_CHECK == 0 && engine.state().closing {
            return Err(Fault::Closed);
        }
        let key = Key::of_latest(*device);
        if found.latest.len() > CODES_UNCHECKED {
            // The number of codes per device is limited, so only codes within the limit are written.
            let mut merged = latest::load(&engine.files, *device)?;
            merged.merge_memory(shard, found)?;
            merged.each_row(|row| writer.push(connection, key, row))?;
        } else {
            for row in found.latest.iter().chain(&found.presence) {
                writer.push(connection, key, &shard.view(row))?;
            }
        }
        if let Some(row) = found.rows.last() {
            writer.push(connection, key, &newest_time_row(row.time_ms))?;
        }
    }
    writer.finish(connection)?;
    files::set_meta(connection, FLUSHED_TO, memtable)?;
    Ok(true)
}
