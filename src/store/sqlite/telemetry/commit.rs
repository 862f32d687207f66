//! The committer: one thread that takes all queued batches, numbers their rows, writes them to the journal (the
//! write-ahead log) in one group commit, inserts them into the active memtable and answers the callers. No other thread
//! writes to the journal or to the active memtable.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::codec::Encoder;
use super::engine::Engine;
use super::fault::{DISK_FULL, Fault, Result};
use super::journal::Journal;
use super::memtable::{Memtable, Memtables};
use super::numbering::Numbering;
use super::queue::{Job, Task};
use super::row::{BatchRow, RowView, kind_of};
use crate::domain::{self, NewEvent};
use crate::instruments::Instruments;

/// How long a commit stalls while memory is full, before its callers get [`domain::Error::Busy`].
const STALL_MAX: Duration = Duration::from_secs(15);
/// The largest delay per row, and per commit, while a flush is running and memory fills up.
const SLOWDOWN_PER_ROW: Duration = Duration::from_micros(5);
const SLOWDOWN_MAX: Duration = Duration::from_millis(20);

/// When the active memtable is made immutable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rotation {
    /// If it has rows.
    Now,
    /// If it is large enough and no other memtable waits for its flush.
    WhenFull,
}

/// The state of the committer thread.
pub struct Committer {
    engine: Arc<Engine>,
    journal: Journal,
    encoder: Encoder,
    numbering: Numbering,
    rows: Vec<NewEvent>,
    /// `rows` in the order in which they are numbered, and after that in the order in which they are written.
    order: Vec<BatchRow>,
    /// The number of each row of `rows`.
    numbers: Vec<u32>,
    instruments: Arc<Instruments>,
}

impl Committer {
    /// Creates the committer with the journal of the active memtable, which is empty.
    pub fn new(engine: Arc<Engine>, journal: Journal, numbering: Numbering, instruments: Arc<Instruments>) -> Self {
        let (encoder, rows, order, numbers) = (Encoder::default(), Vec::new(), Vec::new(), Vec::new());
        Self { engine, journal, encoder, numbering, rows, order, numbers, instruments }
    }

    /// Runs until the queue is closed and empty.
    pub fn run(mut self) {
        loop {
            match self.engine.queue.next() {
                Task::Commit(group) => self.commit(group),
                Task::Rotate(answer) => {
                    let rotated = self.rotate(Rotation::Now);
                    if let (true, Some(answer)) = (rotated, answer) {
                        let memtables = self.engine.memtables();
                        let last = memtables.list.iter().rev().find(|memtable| memtable.rows() > 0);
                        // The caller may have stopped waiting.
                        let _ = answer.send(last.map_or(0, |memtable| memtable.no));
                    }
                }
                Task::Run(work) => work(),
                Task::Stop => return,
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Job>) {
        let rows = group.iter().map(|job| job.rows.len()).sum();
        let space = self.engine.space.clone();
        let has_space = if space.is_low() { Err(domain::Error::Busy(DISK_FULL)) } else { Ok(()) };
        let outcome = has_space.and_then(|()| self.throttle(rows)).and_then(|()| {
            self.rows.clear();
            match group.as_mut_slice() {
                [only] => mem::swap(&mut self.rows, &mut only.rows),
                many => self.rows.extend(many.iter_mut().flat_map(|job| job.rows.drain(..))),
            }
            let written = self.write();
            match &written {
                Ok(()) => space.note_written(),
                Err(fault) if fault.is_full() => space.note_full(),
                Err(fault) if fault.is_of_disk() => space.note_failed(&fault.to_string()),
                Err(_) => {}
            }
            Ok(written?)
        });
        if space.is_low() && outcome.is_err() {
            space.count_refused(rows);
        }
        match outcome {
            Ok(()) => group.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(error) => group.into_iter().for_each(|job| job.answer(Err(copy_error(&error)))),
        }
        self.rows.clear();
        self.rotate(Rotation::WhenFull);
    }

    /// Stalls while memory is full, and slows writes down while it fills up.
    fn throttle(&mut self, rows: usize) -> domain::Result<()> {
        let deadline = Instant::now() + STALL_MAX;
        loop {
            let rotated = self.rotate(Rotation::WhenFull);
            let state = self.engine.state();
            let memtables = self.engine.memtables();
            let fill = self.fill(&memtables);
            let is_only = memtables.list.len() == 1;
            if fill <= 1.0 || (is_only && fill < 2.0) {
                return Ok(());
            }
            if fill < 2.0 {
                // The delay grows slowly at first, because a flush that waits for one step of a compaction is normal.
                // The wait ends early when a flush finishes.
                let over = fill - 1.0;
                let slowdown = SLOWDOWN_PER_ROW.mul_f64(rows as f64 * over * over * over).min(SLOWDOWN_MAX);
                drop(self.engine.wait(state, Some(Instant::now() + slowdown)));
                return Ok(());
            }
            if !rotated || state.closing || Instant::now() >= deadline {
                return Err(domain::Error::Busy("the event log waits for its disk"));
            }
            if !is_only {
                drop(self.engine.wait(state, Some(deadline)));
            }
        }
    }

    /// How full the memory is; 1.0 means that a memtable has to be flushed.
    fn fill(&self, memtables: &Memtables) -> f64 {
        let options = &self.engine.options;
        let (rows, bytes) = memtables.size();
        (rows as f64 / options.memtable_rows.max(1) as f64).max(bytes as f64 / options.memtable_bytes.max(1) as f64)
    }

    fn write(&mut self) -> Result<()> {
        let memtables = self.engine.memtables();
        let rows = &self.rows;
        self.order.clear();
        let mut newest_ms = i64::MIN;
        self.order.extend(rows.iter().enumerate().map(|(index, row)| {
            newest_ms = newest_ms.max(row.time_ms);
            BatchRow { device: row.device.0, time_ms: row.time_ms, index: index as u32 }
        }));
        self.engine.newest_ms.fetch_max(newest_ms, Ordering::AcqRel);
        self.order.sort_unstable();
        self.numbering.assign(&self.engine, &memtables, &self.order, &mut self.numbers)?;
        // The order by device and arrival determines the latest value. In most batches the rows are in this order
        // already.
        let by_arrival = |row: &BatchRow| (row.device, row.index);
        if !self.order.is_sorted_by_key(by_arrival) {
            self.order.sort_unstable_by_key(by_arrival);
        }
        let numbers = &self.numbers;
        let ordered = self.order.iter().filter_map(|&BatchRow { device, index, .. }| {
            let (row, n) = (rows.get(index as usize)?, numbers.get(index as usize)?);
            Some((device, view(row, *n)))
        });
        let begun = Instant::now();
        let synced = self.journal.commit(&mut self.encoder, ordered.clone())?;
        self.instruments.commit_seconds.observe(begun.elapsed().as_secs_f64());
        self.instruments.fsync_seconds.observe(synced.as_secs_f64());
        self.instruments.commit_rows.observe(rows.len() as f64);
        let Some(active) = memtables.list.last() else { return Err(Fault::Closed) };
        if active.rows() == 0 {
            self.engine.change_state(|state| state.filling_since = Some(Instant::now()));
        }
        let mut device_rows = Vec::new();
        let mut ordered = ordered.peekable();
        while let Some((device, row)) = ordered.next() {
            device_rows.push(row);
            if ordered.peek().is_none_or(|(next, _)| *next != device) {
                active.insert(device, &device_rows)?;
                device_rows.clear();
            }
        }
        self.engine.counters.rows.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.engine.counters.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the active memtable immutable and creates a new one, if [`Rotation`] demands it. Returns false if that was
    /// necessary and failed.
    fn rotate(&mut self, rotation: Rotation) -> bool {
        let memtables = self.engine.memtables();
        let Some(active) = memtables.list.last() else { return false };
        let options = &self.engine.options;
        let large = active.rows() >= options.memtable_rows || active.bytes() >= options.memtable_bytes;
        let waiting = memtables.list.len() > 1;
        if active.rows() == 0 || !(rotation == Rotation::Now || (large && !waiting)) {
            return true;
        }
        let no = active.no + 1;
        let _creating = self.engine.journal_creation.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = self.engine.change_state(|state| state.next_journal.take()).filter(|journal| journal.no == no);
        let created = match prepared {
            Some(journal) => Ok(journal),
            None => Journal::create(&self.engine.folder, no, &self.engine.stamp, options.durability),
        };
        match created {
            Ok(journal) => {
                // The old journal receives no more entries. Its rows stay in memory until they are flushed.
                self.journal = journal;
                self.engine.change_state(|state| state.filling_since = None);
                self.engine.change_memtables(|list| list.push(Arc::new(Memtable::new(no))));
                true
            }
            Err(fault) => {
                tracing::error!(error = %fault, "a new journal cannot be created; the old one is used further");
                false
            }
        }
    }
}

fn view(row: &NewEvent, n: u32) -> RowView<'_> {
    RowView {
        time_ms: row.time_ms,
        n,
        kind: kind_of(row.kind, row.is_history),
        source: row.source.number(),
        code: row.code.as_ref(),
        value: row.value.as_ref().map_or(&[], |value| value.as_json().as_bytes()),
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // If the committer panics, no caller must wait for it.
        self.engine.queue.abandon();
    }
}

/// Copies the error of a failed commit, for every caller whose rows were in it.
fn copy_error(error: &domain::Error) -> domain::Error {
    match error {
        domain::Error::Busy(what) => domain::Error::Busy(what),
        other => {
            let cause = std::error::Error::source(other).map(ToString::to_string).unwrap_or_default();
            domain::Error::store(format!("the commit failed: {cause}"))
        }
    }
}
