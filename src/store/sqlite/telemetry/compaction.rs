//! Compaction (size-tiered): several sorted runs of similar size are merged into one, so that a read has few runs to
//! search. Each step handles a limited number of rows, so that a flush never waits long. Readers ignore the new run
//! until it is complete, and ignore the runs it was made of from then on.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::Connection;

use super::engine::Engine;
use super::fault::{Fault, Result};
use super::files::{self, RunFile};
use super::latest::{self, LatestBuilder};
use super::row::{DeviceEnd, Key, Row, Rows};
use super::sorted_run::{self, Cut, RunState, RunWriter, SortedRun, checkpoint, transaction};
use crate::domain::data_point::CODES_PER_DEVICE_MAX;

/// Number of rows that one step merges in one transaction.
const STEP_ROWS: usize = 100_000;
/// Runs of at least this size are not compacted any more.
const LARGE_ROWS: i64 = 1 << 24;

/// The state of the compaction.
pub struct Compactor {
    /// Files that may have runs to compact or to delete.
    waiting: VecDeque<Arc<RunFile>>,
    /// Files in which the incomplete runs of an earlier process were already marked for deletion.
    cleaned: Vec<Arc<RunFile>>,
    job: Option<Job>,
}

/// A compaction in progress.
struct Job {
    file: Arc<RunFile>,
    sources: Vec<Source>,
    writer: RunWriter,
}

/// A sorted run that is read from its first row to its last.
struct Source {
    run: SortedRun,
    rows: Rows,
    /// The end of each device's rows in `rows`.
    ends: Vec<DeviceEnd>,
    section: usize,
    at: usize,
    /// The key at which the next block is searched; `None` at the end of the run.
    next: Option<Key>,
}

impl Compactor {
    /// Creates the state; the existing files are examined first.
    pub fn new(files: Vec<Arc<RunFile>>) -> Self {
        let waiting = files.into_iter().filter(|file| file.path.exists()).collect();
        Self { waiting, cleaned: Vec::new(), job: None }
    }

    /// Registers a file that has received a new run.
    pub fn enqueue(&mut self, file: &Arc<RunFile>) {
        if !self.waiting.iter().any(|other| Arc::ptr_eq(other, file)) {
            self.waiting.push_back(file.clone());
        }
    }

    /// Whether [`Compactor::step`] has something to do.
    pub fn has_work(&self) -> bool {
        self.job.is_some() || !self.waiting.is_empty()
    }

    /// Does one step.
    pub fn step(&mut self, engine: &Engine) -> Result<()> {
        let _write_lock = engine.files.write_lock();
        match self.job.take() {
            Some(mut job) => {
                if job.file.is_removed() {
                    return Ok(());
                }
                let connection = job.file.writer()?;
                let merged = transaction(&connection, || job.step(engine, &connection));
                checkpoint(&connection, &job.file);
                match merged {
                    Ok(true) => self.enqueue(&job.file),
                    Ok(false) => self.job = Some(job),
                    Err(fault) => {
                        // The run is incomplete without the rows of this step, so it is deleted and the compaction
                        // starts again.
                        self.cleaned.retain(|other| !Arc::ptr_eq(other, &job.file));
                        self.enqueue(&job.file);
                        return Err(fault);
                    }
                }
                Ok(())
            }
            None => self.inspect(engine),
        }
    }

    /// Examines the file at the front of the queue.
    fn inspect(&mut self, engine: &Engine) -> Result<()> {
        let Some(file) = self.waiting.front().cloned() else { return Ok(()) };
        if file.is_removed() {
            self.waiting.pop_front();
            self.cleaned.retain(|other| !Arc::ptr_eq(other, &file));
            return Ok(());
        }
        let connection = file.writer()?;
        if !self.cleaned.iter().any(|other| Arc::ptr_eq(other, &file)) {
            for run in files::runs(&connection, RunState::Building)? {
                sorted_run::set_state(&connection, run.no, RunState::Obsolete)?;
            }
            self.cleaned.push(file.clone());
        }
        if let Some(run) = files::runs(&connection, RunState::Obsolete)?.first() {
            transaction(&connection, || sorted_run::remove(&connection, run.no))?;
            checkpoint(&connection, &file);
            return Ok(());
        }
        let is_latest = Arc::ptr_eq(&file, &engine.files.latest);
        let runs = files::runs(&connection, RunState::Live)?;
        file.note_runs(runs.len());
        match choose(engine, is_latest, runs) {
            Some(sources) => {
                let cut = if is_latest { Cut::BetweenDevices } else { Cut::Anywhere(engine.options.block_rows) };
                let first_memtable = sources.iter().map(|run| run.first_memtable).min().unwrap_or(0);
                let last_memtable = sources.iter().map(|run| run.last_memtable).max().unwrap_or(0);
                let begin = || RunWriter::begin(&connection, first_memtable..=last_memtable, cut);
                let writer = transaction(&connection, begin)?;
                let sources = sources.into_iter().map(Source::new).collect();
                self.job = Some(Job { file, sources, writer });
            }
            None => {
                self.waiting.pop_front();
            }
        }
        Ok(())
    }
}

/// Chooses the runs to compact next: several of one size class, the smallest class first. In `latest.db` the chosen
/// runs must be adjacent in time, because the order of runs determines the order of codes.
fn choose(engine: &Engine, is_latest: bool, mut runs: Vec<SortedRun>) -> Option<Vec<SortedRun>> {
    let oldest_no = engine.memtables().oldest_no();
    let fan_in = engine.options.compaction_runs.max(2);
    runs.retain(|run| run.last_memtable < oldest_no && (is_latest || run.rows < LARGE_ROWS));
    runs.sort_unstable_by_key(|run| run.first_memtable);
    let class = |run: &SortedRun| run.rows.max(1).ilog(fan_in as i64);
    (0..64).find_map(|wanted| {
        let in_class = |run: &SortedRun| class(run) == wanted;
        if runs.iter().filter(|run| in_class(run)).count() < fan_in {
            return None;
        }
        if !is_latest {
            return Some(runs.iter().filter(|run| in_class(run)).take(2 * fan_in).copied().collect());
        }
        let (first, last) = (runs.iter().position(in_class)?, runs.iter().rposition(in_class)?);
        runs.get(first..=last).map(<[SortedRun]>::to_vec)
    })
}

impl Job {
    /// Merges up to [`STEP_ROWS`] rows. Returns whether the compaction is complete. Call it within a transaction.
    fn step(&mut self, engine: &Engine, connection: &Connection) -> Result<bool> {
        if engine.state().closing {
            return Err(Fault::Closed);
        }
        let end = self.writer.run.rows + STEP_ROWS as i64;
        let is_latest = Arc::ptr_eq(&self.file, &engine.files.latest);
        while self.writer.run.rows < end {
            let more =
                if is_latest { self.merge_latest(engine, connection)? } else { self.merge_rows(engine, connection)? };
            if !more {
                self.writer.finish(connection)?;
                for source in &self.sources {
                    sorted_run::set_state(connection, source.run.no, RunState::Obsolete)?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The source with the smallest key, and the smallest key of all others.
    fn smallest(&mut self, engine: &Engine, connection: &Connection) -> Result<Option<(usize, Option<Key>)>> {
        let (mut best, mut second): (Option<(usize, Key)>, Option<Key>) = (None, None);
        for (at, source) in self.sources.iter_mut().enumerate() {
            let Some(key) = source.key(engine, &self.file, connection)? else { continue };
            match best {
                Some((_, smallest)) if smallest <= key => second = Some(second.map_or(key, |other| other.min(key))),
                _ => {
                    second = best.map(|(_, smallest)| second.map_or(smallest, |other| other.min(smallest))).or(second);
                    best = Some((at, key));
                }
            }
        }
        Ok(best.map(|(at, _)| (at, second)))
    }

    /// Copies rows from the source with the smallest key until another source has the smallest key.
    fn merge_rows(&mut self, engine: &Engine, connection: &Connection) -> Result<bool> {
        let Some((at, second)) = self.smallest(engine, connection)? else { return Ok(false) };
        let Some(source) = self.sources.get_mut(at) else { return Ok(false) };
        while let Some((device, row)) = source.row() {
            let key = Key::new(device, row.row_ref());
            if second.is_some_and(|second| key > second) {
                break;
            }
            // The same row may exist in two runs after a damaged file was set aside.
            if self.writer.run.rows == 0 || key > self.writer.last() {
                self.writer.push(connection, key, &source.rows.view(&row))?;
            }
            source.at += 1;
        }
        Ok(true)
    }

    /// Merges the latest values of one device.
    fn merge_latest(&mut self, engine: &Engine, connection: &Connection) -> Result<bool> {
        let Some((at, _)) = self.smallest(engine, connection)? else { return Ok(false) };
        let Some((device, _)) = self.sources.get_mut(at).and_then(Source::row) else { return Ok(false) };
        let mut newest = LatestBuilder::default();
        let mut rows = 0;
        for source in &mut self.sources {
            // The sources are in the order of their memtables.
            if source.key(engine, &self.file, connection)?.is_some_and(|key| key.device == device) {
                let end = source.ends.get(source.section).map_or(source.at, |section| section.end);
                let section = source.rows.rows.get(source.at..end).unwrap_or_default();
                rows += section.len();
                newest.merge(section.iter().map(|row| source.rows.view(row)))?;
                source.at = end;
            }
        }
        if rows > CODES_PER_DEVICE_MAX {
            // Only a limited number of codes per device is stored, and only all runs together determine which ones came
            // first.
            newest = latest::load(&engine.files, device)?;
        }
        let key = Key::of_latest(device);
        newest.each_row(|row| self.writer.push(connection, key, row))?;
        Ok(true)
    }
}

impl Source {
    fn new(run: SortedRun) -> Self {
        let next = Some(Key::first_of(i64::MIN));
        Self { run, rows: Rows::default(), ends: Vec::new(), section: 0, at: 0, next }
    }

    /// The current row; `None` if all rows of the block are used up.
    fn row(&mut self) -> Option<(i64, Row)> {
        while self.ends.get(self.section).is_some_and(|section| self.at >= section.end) {
            self.section += 1;
        }
        let device = self.ends.get(self.section)?.device;
        Some((device, *self.rows.rows.get(self.at)?))
    }

    /// The key of the current row. Reads the next block if necessary.
    fn key(&mut self, engine: &Engine, file: &Arc<RunFile>, connection: &Connection) -> Result<Option<Key>> {
        loop {
            if let Some((device, row)) = self.row() {
                let is_latest = Arc::ptr_eq(file, &engine.files.latest);
                let key = if is_latest { Key::of_latest(device) } else { Key::new(device, row.row_ref()) };
                return Ok(Some(key));
            }
            let Some(from) = self.next else { return Ok(None) };
            self.next = None;
            let mut read = None;
            let run = self.run.no;
            let damaged = |key, how: &str| engine.files.note_damage(file, run, key, how);
            files::blocks(connection, run, from, damaged, &mut |key, block| {
                read = Some((key, block.body()?.into_all()?));
                Ok(ControlFlow::Break(()))
            })?;
            if let Some((key, (rows, ends))) = read {
                (self.rows, self.ends, self.section, self.at) = (rows, ends, 0, 0);
                self.next = Some(key.next());
            }
        }
    }
}
