//! The latest values of each device: how they are merged from sorted runs and memtables, and a bounded cache of those
//! on disk.

use std::mem;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::fault::Result;
use super::files::{Files, ReadMode, Snapshot};
use super::memtable::{DeviceRows, Memtables, Shard};
use super::row::{self, Key, NEWEST_TIME, RowView, kind_of, replaces};
use crate::domain::data_point::CODES_PER_DEVICE_MAX;
use crate::domain::{DataPoint, EventSource, EventType, Latest, RowRef};

/// With more codes than this, a code is found through a hash map instead of a linear search.
const CODES_SCANNED: usize = 24;
/// The cache has 2 to the power of this many shards.
const CACHE_SHARD_BITS: u32 = 6;

/// Merges the latest values of one device from several sources, in the order of arrival. Merging the last source twice
/// has no further effect.
#[derive(Default)]
pub struct LatestBuilder {
    /// The result so far.
    pub latest: Latest,
    /// One bit for each data point whose merged rows are all history. In that case a row that arrived earlier may be
    /// newer.
    history: [u64; CODES_PER_DEVICE_MAX / 64],
    /// The same for the presence.
    is_presence_history: bool,
    /// The newest time of all rows of the device on disk.
    pub newest_ms: Option<i64>,
    index: Option<FxHashMap<Arc<str>, usize>>,
}

impl LatestBuilder {
    /// Starts from existing latest values.
    pub fn from_latest(latest: Latest) -> Self {
        Self { latest, ..Self::default() }
    }

    /// Merges rows of one source.
    pub fn merge<'a>(&mut self, rows: impl Iterator<Item = RowView<'a>>) -> Result<()> {
        for row in rows {
            self.newest_ms = self.newest_ms.max(Some(row.time_ms));
            match row.event_type() {
                Some(EventType::DataPoint) => self.merge_point(&row)?,
                Some(kind @ (EventType::Online | EventType::Offline)) => self.merge_presence(kind, &row),
                _ => {}
            }
        }
        Ok(())
    }

    fn merge_presence(&mut self, kind: EventType, row: &RowView<'_>) {
        let existing = self.latest.presence;
        if existing.is_none_or(|(_, existing)| replaces(row.row_ref(), row.kind, existing)) {
            self.latest.presence = Some((kind == EventType::Online, row.row_ref()));
        }
        self.is_presence_history = row.is_history() && (existing.is_none() || self.is_presence_history);
    }

    fn merge_point(&mut self, row: &RowView<'_>) -> Result<()> {
        let Some(code) = row.code else { return Ok(()) };
        let points = &mut self.latest.points;
        if self.index.is_none() && points.len() > CODES_SCANNED {
            self.index = Some(points.iter().enumerate().map(|(at, point)| (point.code.clone(), at)).collect());
        }
        let existing = match &self.index {
            Some(index) => index.get(code).copied(),
            None => points.iter().position(|point| point.code == *code),
        };
        if let Some(existing) = existing {
            let replaced =
                |point: &&mut DataPoint| point.row != row.row_ref() && replaces(row.row_ref(), row.kind, point.row);
            if let Some(point) = points.get_mut(existing).filter(replaced) {
                (point.value, point.row) = (row::value(row.value)?, row.row_ref());
            }
            if !row.is_history() {
                self.history[existing / 64] &= !(1 << (existing % 64));
            }
        } else if points.len() < CODES_PER_DEVICE_MAX {
            if let Some(index) = &mut self.index {
                index.insert(code.clone(), points.len());
            }
            self.history[points.len() / 64] |= u64::from(row.is_history()) << (points.len() % 64);
            points.push(DataPoint { code: code.clone(), value: row::value(row.value)?, row: row.row_ref() });
        }
        Ok(())
    }

    /// Merges the latest values of a memtable.
    pub fn merge_memory(&mut self, shard: &Shard, found: &DeviceRows) -> Result<()> {
        self.merge(found.latest.iter().chain(&found.presence).map(|row| shard.view(row)))
    }

    /// Passes the result to `write` as the rows that are stored in `latest.db`.
    pub fn each_row(&self, mut write: impl FnMut(&RowView<'_>) -> Result<()>) -> Result<()> {
        for (at, point) in self.latest.points.iter().enumerate() {
            let is_history = self.history[at / 64] >> (at % 64) & 1 == 1;
            let (kind, source) = (kind_of(EventType::DataPoint, is_history), EventSource::DEVICE.number());
            let RowRef { time_ms, n } = point.row;
            let value = point.value.as_json().as_bytes();
            write(&RowView { time_ms, n, kind, source, code: Some(&point.code), value })?;
        }
        if let Some((online, RowRef { time_ms, n })) = self.latest.presence {
            let kind = if online { EventType::Online } else { EventType::Offline };
            let kind = kind_of(kind, self.is_presence_history);
            write(&RowView { time_ms, n, kind, source: EventSource::DEVICE.number(), code: None, value: &[] })?;
        }
        self.newest_ms.map_or(Ok(()), |time_ms| write(&newest_time_row(time_ms)))
    }
}

/// The row that stores the newest time of a device on disk.
pub fn newest_time_row(time_ms: i64) -> RowView<'static> {
    RowView { time_ms, n: 0, kind: NEWEST_TIME, source: EventSource::DEVICE.number(), code: None, value: &[] }
}

/// Reads the latest values of a device from disk. Rows that were flushed after the reader took its memtables do no
/// harm: they are newer than or equal to those in the memtables.
pub fn load(files: &Files, device: i64) -> Result<LatestBuilder> {
    let mut newest = LatestBuilder::default();
    let read =
        files.snapshot(&files.latest, ReadMode::Short).and_then(|snapshot| load_into(&snapshot, device, &mut newest));
    match read {
        // `latest.db` is rebuilt at the next start.
        Err(fault) if fault.is_damage() => files.note_unreadable(&files.latest, &fault),
        other => other?,
    }
    Ok(newest)
}

fn load_into(snapshot: &Snapshot<'_>, device: i64, newest: &mut LatestBuilder) -> Result<()> {
    let mut runs = snapshot.runs()?;
    runs.sort_unstable_by_key(|run| run.first_memtable);
    for run in runs {
        snapshot.blocks(run.no, Key::first_of(device), |_, block| {
            let body = block.body()?;
            if let Some(index) = body.find(device) {
                let rows = body.into_section(index)?;
                newest.merge(rows.rows.iter().map(|row| rows.view(row)))?;
            }
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(())
}

/// Merges the latest values in memtables into those on disk.
pub fn merge(memtables: &Memtables, device: i64, stored: Arc<Latest>) -> Result<Arc<Latest>> {
    let mut merged: Option<LatestBuilder> = None;
    for memtable in &memtables.list {
        let merge_into = |shard: &Shard, found: &DeviceRows| {
            let newest = merged.get_or_insert_with(|| LatestBuilder::from_latest(Latest::clone(&stored)));
            newest.merge_memory(shard, found)
        };
        memtable.latest(device, merge_into).unwrap_or(Ok(()))?;
    }
    Ok(merged.map_or(stored, |newest| Arc::new(newest.latest)))
}

/// A cache of the latest values on disk, with approximate least-recently-used eviction.
pub struct Cache {
    shards: Vec<Mutex<CacheShard>>,
    shard_bytes_max: usize,
}

/// A cache shard with two halves: when `young` is full it replaces `old`, whose entries are evicted unless they were
/// used in the meantime.
#[derive(Default)]
struct CacheShard {
    young: FxHashMap<i64, Arc<Latest>>,
    old: FxHashMap<i64, Arc<Latest>>,
    young_bytes: usize,
    /// Incremented whenever `latest.db` receives newer values.
    epoch: u64,
}

/// The result of a cache lookup.
pub enum Lookup {
    /// The latest values on disk.
    Hit(Arc<Latest>),
    /// The device is not cached. Values that are read now may be inserted with this epoch.
    Miss(u64),
}

impl Cache {
    /// Creates an empty cache of about this size in bytes.
    pub fn new(bytes_max: usize) -> Self {
        let shards = (0..1 << CACHE_SHARD_BITS).map(|_| Mutex::default()).collect();
        Self { shards, shard_bytes_max: (bytes_max >> CACHE_SHARD_BITS) / 2 }
    }

    fn shard(&self, device: i64) -> MutexGuard<'_, CacheShard> {
        self.shards[row::bucket_of(device, CACHE_SHARD_BITS)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up a device.
    pub fn get(&self, device: i64) -> Lookup {
        let mut shard = self.shard(device);
        if let Some(found) = shard.young.get(&device) {
            return Lookup::Hit(found.clone());
        }
        match shard.old.remove(&device) {
            Some(found) => {
                shard.put(device, found.clone(), self.shard_bytes_max);
                Lookup::Hit(found)
            }
            None => Lookup::Miss(shard.epoch),
        }
    }

    /// Inserts values that were read from disk, unless a flush wrote newer ones meanwhile.
    pub fn put(&self, device: i64, epoch: u64, latest: Arc<Latest>) {
        let mut shard = self.shard(device);
        if shard.epoch == epoch {
            shard.put(device, latest, self.shard_bytes_max);
        }
    }

    /// Starts a new epoch: values that were read before are not inserted any more. Call it after a flush and before its
    /// memtable is removed.
    pub fn begin_epoch(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).epoch += 1;
        }
    }

    /// Removes all entries, because they may have been read from a damaged file.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *shard = CacheShard { epoch: shard.epoch + 1, ..CacheShard::default() };
        }
    }

    /// Merges a flushed memtable into the entry of a device, if there is one.
    pub fn refresh(&self, device: i64, memory: &Shard, found: &DeviceRows) -> Result<()> {
        let mut shard = self.shard(device);
        let shard = &mut *shard;
        let Some(existing) = shard.young.get_mut(&device).or_else(|| shard.old.get_mut(&device)) else { return Ok(()) };
        let mut newest = LatestBuilder::from_latest(Latest::clone(existing));
        if let Err(fault) = newest.merge_memory(memory, found) {
            shard.young.remove(&device);
            shard.old.remove(&device);
            return Err(fault);
        }
        let grown = weight(&newest.latest).saturating_sub(weight(existing));
        *existing = Arc::new(newest.latest);
        shard.grow(grown, self.shard_bytes_max);
        Ok(())
    }
}

impl CacheShard {
    fn put(&mut self, device: i64, latest: Arc<Latest>, bytes_max: usize) {
        let bytes = weight(&latest);
        self.young.insert(device, latest);
        self.grow(bytes, bytes_max);
    }

    fn grow(&mut self, bytes: usize, bytes_max: usize) {
        self.young_bytes += bytes;
        if self.young_bytes > bytes_max {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

/// Approximate memory of an entry.
fn weight(latest: &Latest) -> usize {
    let points = latest.points.iter().map(|point| 80 + point.code.len() + point.value.as_json().len());
    96 + points.sum::<usize>()
}
