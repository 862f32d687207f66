//! Reads: pages, counts, and the searches for the numbering of rows. A reader takes the list of memtables first, and
//! then only sorted runs that hold no row of these memtables, so it sees each row exactly once.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::codec::{BlockHeader, code_bit};
use super::engine::Engine;
use super::fault::{Fault, Result};
use super::files::{Files, ReadMode, RunFile, Snapshot};
use super::latest;
use super::memtable::{Memtable, Memtables, matches_query};
use super::partition::partition_of;
use super::row::{Key, Rows};
use super::sorted_run::SortedRun;
use crate::domain::event::{NextRow, PAGE_ROWS_MAX, PageStart};
use crate::domain::{EventCount, EventPage, EventQuery, RowRef};

/// Skipping a block without decompressing it costs as much as this number of rows.
const ROWS_PER_SKIP: usize = 16;
/// Number of times that a read starts again before it fails.
const RETRIES_MAX: usize = 1000;

/// The limits of a read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Maximum number of rows to examine; skipping a block counts as [`ROWS_PER_SKIP`] rows.
    pub rows: usize,
    /// How the files are read. `None` for a read of the memtables alone, which fails with [`Fault::NeedsFiles`] if rows
    /// may be in files.
    pub mode: Option<ReadMode>,
}

impl ReadLimits {
    /// The limits of a short read: it takes some hundred microseconds at most.
    pub const SHORT: Self = Self { rows: 1000, mode: Some(ReadMode::Short) };
}

/// The result of reading a page.
pub struct PageScan {
    /// The page.
    pub page: EventPage,
    /// Whether it ended because of [`ReadLimits::rows`], and not because the page was full or the log ended.
    pub hit_limit: bool,
}

/// Reads a page of a device's log.
pub fn page(engine: &Engine, device: i64, query: &EventQuery, limits: ReadLimits) -> Result<PageScan> {
    retry(|| match upper(query) {
        None => Ok(PageScan { page: EventPage::default(), hit_limit: false }),
        Some(upper) => Scan::new(engine, device, query, upper, limits).page(),
    })
}

/// Counts the rows that match a query. The result is marked as inexact if the limit was reached.
pub fn count(engine: &Engine, device: i64, query: &EventQuery, limits: ReadLimits) -> Result<EventCount> {
    retry(|| {
        let mut count = EventCount { rows: 0, is_exact: true };
        if query.from_ms > query.to_ms {
            return Ok(count);
        }
        let memtables = engine.memtables();
        // One row more than the limit, so that 0 left means that the limit was exceeded.
        let mut left = limits.rows + 1;
        count.rows = memtables.list.iter().map(|memtable| memtable.count(device, query, &mut left)).sum();
        for (_, file) in files_with(engine, device, query.from_ms, query.to_ms) {
            if left == 0 {
                break;
            }
            let mode = limits.mode.ok_or(Fault::NeedsFiles)?;
            match count_file(engine, &file, &memtables, device, query, (mode, &mut left)) {
                Ok(found) => count.rows += found,
                Err(Fault::Expired) => {}
                Err(fault) if fault.is_damage() => engine.files.note_unreadable(&file, &fault),
                Err(fault) => return Err(fault),
            }
        }
        count.is_exact = left > 0;
        Ok(count)
    })
}

/// The files that may hold rows of the device in a time range, each with a time that no row in it is newer than. To be
/// called after the list of memtables was taken. Reads no file.
fn files_with(engine: &Engine, device: i64, from_ms: i64, to_ms: i64) -> Vec<(i64, Arc<RunFile>)> {
    // Rows that are damaged or were lost with a file may be newer than those that could be read at the start.
    let newest_ms = if engine.files.damaged() == 0 { engine.flushed.bound_ms(device) } else { i64::MAX };
    let to_ms = to_ms.min(newest_ms);
    if from_ms > to_ms {
        return Vec::new();
    }
    let mut files = engine.files.partitions(partition_of(from_ms), partition_of(to_ms));
    files.iter_mut().for_each(|(end_ms, _)| *end_ms = newest_ms.min(*end_ms));
    files
}

/// An upper bound of a device's newest time on disk.
pub fn newest_on_disk(files: &Files, device: i64) -> Result<i64> {
    let newest_ms = latest::load(files, device)?.newest_ms;
    // Rows that are damaged or were lost with a file may be newer than those that can be read.
    Ok(newest_ms.filter(|_| files.damaged() == 0).unwrap_or(i64::MAX))
}

/// The largest number on disk of a device's rows that have this time.
pub fn last_number_on_disk(files: &Files, device: i64, time_ms: i64) -> Result<Option<u32>> {
    let partition = partition_of(time_ms);
    let search = |file: &Arc<RunFile>| {
        let snapshot = files.snapshot(file, ReadMode::Short)?;
        let from = Key::new(device, RowRef { time_ms, n: u32::MAX });
        let mut last = None;
        for run in snapshot.runs()? {
            if !(run.oldest_ms..=run.newest_ms).contains(&time_ms) {
                continue;
            }
            snapshot.blocks(run.no, from, |_, block| {
                let body = block.body()?;
                if let Some(index) = body.find(device) {
                    let rows = body.into_section(index)?.rows;
                    last = last.max(rows.iter().filter(|row| row.time_ms == time_ms).map(|row| row.n).max());
                }
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(last)
    };
    retry(|| {
        let mut last = None;
        for (_, file) in files.partitions(partition, partition) {
            match search(&file) {
                Ok(found) => last = last.max(found),
                Err(Fault::Expired) => {}
                Err(fault) if fault.is_damage() => files.note_unreadable(&file, &fault),
                Err(fault) => return Err(fault),
            }
        }
        Ok(last)
    })
}

fn retry<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..RETRIES_MAX {
        match read() {
            Err(Fault::SnapshotChanged) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Fault::SnapshotChanged)
}

/// The newest row that the page may contain.
fn upper(query: &EventQuery) -> Option<RowRef> {
    let newest = RowRef { time_ms: query.to_ms, n: u32::MAX };
    let upper = match query.start {
        PageStart::Newest => newest,
        PageStart::At(row) => newest.min(row),
        PageStart::After(row) => newest.min(before(row)?),
    };
    (upper.time_ms >= query.from_ms && query.limit > 0).then_some(upper)
}

fn before(row: RowRef) -> Option<RowRef> {
    match row.n.checked_sub(1) {
        Some(n) => Some(RowRef { n, ..row }),
        None => Some(RowRef { time_ms: row.time_ms.checked_sub(1)?, n: u32::MAX }),
    }
}

/// The runs of a file that hold only rows of memtables older than those of the reader.
fn runs_older_than(snapshot: &Snapshot<'_>, memtables: &Memtables) -> Result<Vec<SortedRun>> {
    let oldest_no = memtables.oldest_no();
    let mut runs = snapshot.runs()?;
    runs.retain(|run| run.first_memtable < oldest_no);
    // This run was compacted from runs before and after that point: one of the reader's memtables was flushed
    // meanwhile.
    if runs.iter().any(|run| run.last_memtable >= oldest_no) { Err(Fault::SnapshotChanged) } else { Ok(runs) }
}

/// Whether a block that holds one device contains no matching row, judging by its header.
fn can_skip(header: &BlockHeader, query: &EventQuery, code_bits: u64) -> bool {
    header.sections == 1
        && (header.kinds & query.types.bits() == 0 || (!query.codes.is_empty() && header.code_bits & code_bits == 0))
}

fn code_bits(query: &EventQuery) -> u64 {
    query.codes.iter().fold(0, |bits, code| bits | code_bit(code))
}

/// Subtracts a cost from the remaining limit. Returns `Break` when nothing is left.
fn charge(left: &mut usize, rows: usize) -> ControlFlow<()> {
    *left = left.saturating_sub(rows);
    if *left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn count_file(
    engine: &Engine,
    file: &Arc<RunFile>,
    memtables: &Memtables,
    device: i64,
    query: &EventQuery,
    (mode, left): (ReadMode, &mut usize),
) -> Result<u64> {
    let snapshot = engine.files.snapshot(file, mode)?;
    let from = Key::new(device, RowRef { time_ms: query.to_ms, n: u32::MAX });
    let bits = code_bits(query);
    let mut count = 0;
    for run in runs_older_than(&snapshot, memtables)? {
        if run.newest_ms < query.from_ms || run.oldest_ms > query.to_ms {
            continue;
        }
        snapshot.blocks(run.no, from, |key, block| {
            let header = &block.header;
            if header.sections == 1 && key.device == device {
                let within = header.oldest_ms >= query.from_ms && header.newest_ms <= query.to_ms;
                if header.newest_ms < query.from_ms {
                    return Ok(ControlFlow::Break(()));
                }
                if can_skip(header, query, bits) {
                    return Ok(charge(left, ROWS_PER_SKIP));
                }
                if within && query.codes.is_empty() && header.kinds & !query.types.bits() == 0 {
                    count += u64::from(header.rows);
                    return Ok(charge(left, ROWS_PER_SKIP));
                }
            }
            if charge(left, header.rows as usize).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let body = block.body()?;
            let begins_after = body.sections.first().is_some_and(|section| section.device > device);
            if let Some(index) = body.find(device) {
                let rows = body.into_section(index)?;
                count += rows.rows.iter().filter(|row| matches_query(query, &rows.view(row))).count() as u64;
            }
            let done = begins_after || key.device > device || key.inv_time > !query.from_ms;
            Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(count)
}

/// A k-way merge of memtables and sorted runs. A source is opened only when it may contain the next row.
struct Scan<'a> {
    engine: &'a Engine,
    memtables: Arc<Memtables>,
    device: i64,
    query: &'a EventQuery,
    code_bits: u64,
    upper: RowRef,
    snapshots: Vec<Snapshot<'a>>,
    unopened: Vec<(i64, Unopened)>,
    streams: Vec<Stream>,
    /// Number of rows examined.
    scanned: usize,
    limits: ReadLimits,
    /// Number of blocks that may still be skipped without decompressing them.
    skips: usize,
}

/// A source that is not open yet.
enum Unopened {
    File(Arc<RunFile>),
    SortedRun { snapshot: usize, run: i64 },
}

/// The rows of one source, newest first.
struct Stream {
    source: Source,
    rows: Rows,
    at: usize,
    /// The row at which the next batch begins; `None` at the end.
    next: Option<RowRef>,
    batch: usize,
}

enum Source {
    Memory(Arc<Memtable>),
    SortedRun { snapshot: usize, run: i64 },
}

impl<'a> Scan<'a> {
    fn new(engine: &'a Engine, device: i64, query: &'a EventQuery, upper: RowRef, limits: ReadLimits) -> Self {
        let memtables = engine.memtables();
        let batch = query.limit.min(PAGE_ROWS_MAX) + 1;
        let memory = memtables.list.iter().map(|memtable| Stream {
            source: Source::Memory(memtable.clone()),
            rows: Rows::default(),
            at: 0,
            next: Some(upper),
            batch,
        });
        let files = files_with(engine, device, query.from_ms, upper.time_ms);
        Self {
            engine,
            device,
            query,
            code_bits: code_bits(query),
            upper,
            snapshots: Vec::new(),
            unopened: files.into_iter().map(|(end_ms, file)| (end_ms, Unopened::File(file))).collect(),
            streams: memory.collect(),
            scanned: 0,
            limits,
            skips: limits.rows / ROWS_PER_SKIP,
            memtables,
        }
    }

    fn page(mut self) -> Result<PageScan> {
        for at in 0..self.streams.len() {
            self.refill(at)?;
        }
        let (mut page, mut hit_limit, mut last) = (EventPage::default(), false, None);
        while let Some(at) = self.newest()? {
            let Some(stream) = self.streams.get(at) else { break };
            let Some(row) = stream.rows.rows.get(stream.at) else { break };
            let (row_ref, matches) = (row.row_ref(), matches_query(self.query, &stream.rows.view(row)));
            if last == Some(row_ref) {
                // The same row exists in a damaged file and, because it was flushed again, in the file that replaced
                // it.
                self.advance(at)?;
                continue;
            }
            let is_full = matches && page.rows.len() == self.query.limit;
            if is_full || self.scanned >= self.limits.rows {
                hit_limit = !is_full;
                let kind = row.event_type().ok_or(Fault::Damaged("an unknown event type"))?;
                page.next = Some(NextRow { row: row_ref, kind });
                break;
            }
            if matches {
                page.rows.push(stream.rows.event(row)?);
            }
            self.scanned += 1;
            last = Some(row_ref);
            self.advance(at)?;
        }
        Ok(PageScan { page, hit_limit })
    }

    /// The stream with the newest current row.
    fn newest(&mut self) -> Result<Option<usize>> {
        loop {
            let best = self.streams.iter().enumerate().filter_map(|(at, stream)| Some((stream.current()?, at))).max();
            let unopened = self.unopened.iter().enumerate().map(|(at, (bound_ms, _))| (*bound_ms, at)).max();
            match (best, unopened) {
                (best, Some((bound_ms, at))) if best.is_none_or(|(row, _)| bound_ms >= row.time_ms) => {
                    self.open(at)?;
                }
                (best, _) => return Ok(best.map(|(_, at)| at)),
            }
        }
    }

    fn open(&mut self, at: usize) -> Result<()> {
        let mode = self.limits.mode.ok_or(Fault::NeedsFiles)?;
        match self.unopened.swap_remove(at).1 {
            Unopened::File(file) => {
                let opened = self.engine.files.snapshot(&file, mode).and_then(|snapshot| {
                    let runs = runs_older_than(&snapshot, &self.memtables)?;
                    Ok((snapshot, runs))
                });
                let (snapshot, runs) = match opened {
                    Ok(opened) => opened,
                    Err(Fault::Expired) => return Ok(()),
                    Err(fault) if fault.is_damage() => {
                        self.engine.files.note_unreadable(&file, &fault);
                        return Ok(());
                    }
                    Err(fault) => return Err(fault),
                };
                let snapshots = self.snapshots.len();
                self.snapshots.push(snapshot);
                let (from_ms, to_ms) = (self.query.from_ms, self.upper.time_ms);
                let wanted = runs.into_iter().filter(|run| run.newest_ms >= from_ms && run.oldest_ms <= to_ms);
                self.unopened.extend(
                    wanted.map(|run| (run.newest_ms, Unopened::SortedRun { snapshot: snapshots, run: run.no })),
                );
                Ok(())
            }
            Unopened::SortedRun { snapshot, run } => {
                let source = Source::SortedRun { snapshot, run };
                self.streams.push(Stream { source, rows: Rows::default(), at: 0, next: Some(self.upper), batch: 0 });
                self.refill(self.streams.len() - 1)
            }
        }
    }

    fn advance(&mut self, at: usize) -> Result<()> {
        if let Some(stream) = self.streams.get_mut(at) {
            stream.at += 1;
            if stream.at >= stream.rows.rows.len() {
                return self.refill(at);
            }
        }
        Ok(())
    }

    fn refill(&mut self, at: usize) -> Result<()> {
        let Some(stream) = self.streams.get_mut(at) else { return Ok(()) };
        stream.at = 0;
        stream.rows.rows.clear();
        let Some(upper) = stream.next.take() else { return Ok(()) };
        match &stream.source {
            Source::Memory(memtable) => {
                stream.rows.codes.clear();
                stream.rows.bytes.clear();
                let more =
                    memtable.collect_rows(self.device, upper, self.query.from_ms, stream.batch, &mut stream.rows);
                stream.batch = (stream.batch * 2).min(1024);
                stream.next = stream.rows.rows.last().filter(|_| more).and_then(|row| before(row.row_ref()));
                Ok(())
            }
            Source::SortedRun { snapshot, run } => {
                let Some(snapshot) = self.snapshots.get(*snapshot) else { return Ok(()) };
                let (device, query, code_bits) = (self.device, self.query, self.code_bits);
                let skips = &mut self.skips;
                let read = snapshot.blocks(*run, Key::new(device, upper), |key, block| {
                    let header = &block.header;
                    if key.device == device && *skips > 0 && can_skip(header, query, code_bits) {
                        *skips -= 1;
                        let done = header.newest_ms < query.from_ms;
                        return Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
                    }
                    let body = block.body()?;
                    let Some(index) = body.find(device) else { return Ok(ControlFlow::Break(())) };
                    let mut rows = body.into_section(index)?;
                    rows.rows.retain(|row| row.row_ref() <= upper && row.time_ms >= query.from_ms);
                    // If the block ends with a row of this device, its rows may continue in the next block.
                    let continues = key.device == device && key.inv_time <= !query.from_ms;
                    stream.rows = rows;
                    if continues {
                        let last = RowRef { time_ms: !key.inv_time, n: (!key.inv_n) as u32 };
                        stream.next = before(last);
                    }
                    let empty = stream.rows.rows.is_empty() && continues;
                    Ok(if empty { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                });
                match read {
                    Err(fault) if fault.is_damage() => {
                        snapshot.note_unreadable(&fault);
                        Ok(())
                    }
                    other => other,
                }
            }
        }
    }
}

impl Stream {
    fn current(&self) -> Option<RowRef> {
        self.rows.rows.get(self.at).map(super::row::Row::row_ref)
    }
}
