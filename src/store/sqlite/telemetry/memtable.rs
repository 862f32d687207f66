//! A memtable: rows that are not in a file yet, grouped by device. It is divided into shards, each with its own lock.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use rustc_hash::FxHashMap;

use super::fault::{Fault, Result};
use super::row::{self, Row, RowView, Rows, TYPE_BITS};
use crate::domain::{EventQuery, EventType, RowRef};

/// A memtable has 2 to the power of this many shards.
const SHARD_BITS: u32 = 6;
/// With more codes than this, a code is found through a hash map instead of a linear search.
const CODES_SCANNED: usize = 24;
/// Approximate memory of a row, a device and a code besides their bytes, rounded up.
const ROW_BYTES: usize = 40;
const DEVICE_BYTES: usize = 320;
const CODE_BYTES: usize = 160;

/// The rows of one journal.
pub struct Memtable {
    /// The number of the memtable and of its journal.
    pub no: i64,
    shards: Vec<RwLock<Shard>>,
    rows: AtomicUsize,
    bytes: AtomicUsize,
}

/// All memtables, oldest first. The last one is active: it receives new rows. The others are immutable.
pub struct Memtables {
    /// The memtables; never empty.
    pub list: Vec<Arc<Memtable>>,
}

impl Memtables {
    /// The number of the oldest memtable. All rows of lower numbers are on disk.
    pub fn oldest_no(&self) -> i64 {
        self.list.first().map_or(i64::MAX, |memtable| memtable.no)
    }

    /// The number of the active memtable.
    pub fn active_no(&self) -> i64 {
        self.list.last().map_or(i64::MIN, |memtable| memtable.no)
    }

    /// Number of rows and approximate bytes of all memtables.
    pub fn size(&self) -> (usize, usize) {
        self.list.iter().fold((0, 0), |(rows, bytes), memtable| (rows + memtable.rows(), bytes + memtable.bytes()))
    }
}

/// The rows of a subset of the devices.
#[derive(Default)]
pub struct Shard {
    devices: FxHashMap<i64, DeviceRows>,
    codes: FxHashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
    bytes: Vec<u8>,
}

/// The rows of one device in a memtable.
#[derive(Default)]
pub struct DeviceRows {
    /// The rows, oldest first.
    pub rows: Vec<Row>,
    /// The latest data point of each code, in the order in which the codes first appeared.
    pub latest: Vec<Row>,
    /// The index in `latest` of each code, once there are many codes.
    index: Option<Box<FxHashMap<u32, u32>>>,
    /// The latest connect or disconnect.
    pub presence: Option<Row>,
}

impl Memtable {
    /// Creates an empty memtable.
    pub fn new(no: i64) -> Self {
        let shards = (0..1 << SHARD_BITS).map(|_| RwLock::default()).collect();
        Self { no, shards, rows: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Approximate memory in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn shard(&self, device: i64) -> &RwLock<Shard> {
        &self.shards[row::bucket_of(device, SHARD_BITS)]
    }

    fn read(&self, device: i64) -> RwLockReadGuard<'_, Shard> {
        self.shard(device).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inserts rows of one device, given in the order of arrival. They become visible to readers together.
    pub fn insert(&self, device: i64, rows: &[RowView<'_>]) -> Result<()> {
        let mut shard = self.shard(device).write().unwrap_or_else(PoisonError::into_inner);
        let added = shard.insert(device, rows)?;
        drop(shard);
        self.rows.fetch_add(rows.len(), Ordering::Relaxed);
        self.bytes.fetch_add(added, Ordering::Relaxed);
        Ok(())
    }

    /// The largest number of a device's rows that have this time.
    pub fn last_number(&self, device: i64, time_ms: i64) -> Option<u32> {
        let shard = self.read(device);
        let rows = &shard.devices.get(&device)?.rows;
        let last = rows.last()?;
        let newest = if last.time_ms <= time_ms {
            last
        } else {
            rows.get(rows.partition_point(|row| row.time_ms <= time_ms).checked_sub(1)?)?
        };
        (newest.time_ms == time_ms).then_some(newest.n)
    }

    /// Appends up to `max` rows of a device to `out`, newest first, from `upper` down to `from_ms`. Returns whether
    /// there may be more.
    pub fn collect_rows(&self, device: i64, upper: RowRef, from_ms: i64, max: usize, out: &mut Rows) -> bool {
        let shard = self.read(device);
        let Some(found) = shard.devices.get(&device) else { return false };
        let end = found.rows.partition_point(|row| row.row_ref() <= upper);
        let wanted = found.rows[..end].iter().rev().take_while(|row| row.time_ms >= from_ms);
        for (count, row) in wanted.enumerate() {
            if count == max {
                return true;
            }
            let view = shard.view(row);
            let at = out.bytes.len() as u32;
            out.bytes.extend_from_slice(view.value);
            let code = view.code.map_or(0, |code| {
                out.codes.push(code.clone());
                out.codes.len() as u32
            });
            out.rows.push(Row { at, code, ..*row });
        }
        false
    }

    /// Counts the rows that match a query. Examines at most `left` rows and subtracts the number examined from it.
    pub fn count(&self, device: i64, query: &EventQuery, left: &mut usize) -> u64 {
        let shard = self.read(device);
        let Some(found) = shard.devices.get(&device) else { return 0 };
        let first = found.rows.partition_point(|row| row.time_ms < query.from_ms);
        let end = found.rows.partition_point(|row| row.time_ms <= query.to_ms);
        let rows = found.rows.get(first.max(end.saturating_sub(*left))..end).unwrap_or_default();
        *left = left.saturating_sub(end.saturating_sub(first));
        rows.iter().filter(|row| matches_query(query, &shard.view(row))).count() as u64
    }

    /// Calls `visit` with the latest data points and the presence of a device, if the memtable has rows of it.
    pub fn latest<T>(&self, device: i64, visit: impl FnOnce(&Shard, &DeviceRows) -> T) -> Option<T> {
        let shard = self.read(device);
        shard.devices.get(&device).map(|found| visit(&shard, found))
    }

    /// Locks all shards for reading, as a flush does.
    pub fn lock_all(&self) -> LockedMemtable<'_> {
        let lock = |shard| RwLock::read(shard).unwrap_or_else(PoisonError::into_inner);
        LockedMemtable { shards: self.shards.iter().map(lock).collect() }
    }
}

/// A memtable whose shards are all locked for reading.
pub struct LockedMemtable<'a> {
    shards: Vec<RwLockReadGuard<'a, Shard>>,
}

impl LockedMemtable<'_> {
    /// All devices in ascending order, each with its rows and the shard that holds their codes and values.
    pub fn devices(&self) -> Vec<(i64, &DeviceRows, &Shard)> {
        let all = self.shards.iter().flat_map(|shard| shard.devices.iter().map(|(no, rows)| (*no, rows, &**shard)));
        let mut devices: Vec<_> = all.collect();
        devices.sort_unstable_by_key(|(no, ..)| *no);
        devices
    }

    /// The newest time of all rows.
    pub fn newest_ms(&self) -> Option<i64> {
        let all = self.shards.iter().flat_map(|shard| shard.devices.values());
        all.filter_map(|found| found.rows.last()).map(|row| row.time_ms).max()
    }

    /// The partitions of all rows.
    pub fn partitions(&self, partition_of: impl Fn(i64) -> i64) -> BTreeSet<i64> {
        let mut partitions = BTreeSet::new();
        for found in self.shards.iter().flat_map(|shard| shard.devices.values()) {
            let mut rest = found.rows.as_slice();
            while let Some(row) = rest.first() {
                let partition = partition_of(row.time_ms);
                partitions.insert(partition);
                rest = &rest[rest.partition_point(|row| partition_of(row.time_ms) <= partition)..];
            }
        }
        partitions
    }
}

impl Shard {
    /// A row with its code and value.
    pub fn view<'a>(&'a self, row: &Row) -> RowView<'a> {
        row::view(row, &self.names, &self.bytes)
    }

    fn insert(&mut self, device: i64, views: &[RowView<'_>]) -> Result<usize> {
        let mut added = views.len() * ROW_BYTES;
        let found = self.devices.entry(device).or_insert_with(|| {
            added += DEVICE_BYTES;
            DeviceRows::default()
        });
        let sorted_from = found.rows.len();
        for view in views {
            let code = match view.code {
                None => 0,
                Some(code) => match self.codes.get(code) {
                    Some(&number) => number,
                    None => {
                        self.names.push(code.clone());
                        let number = self.names.len() as u32;
                        self.codes.insert(code.clone(), number);
                        added += CODE_BYTES + code.len();
                        number
                    }
                },
            };
            let at = u32::try_from(self.bytes.len()).map_err(|_| Fault::TooLarge("values in memory"))?;
            let len = u16::try_from(view.value.len()).map_err(|_| Fault::TooLarge("a value"))?;
            self.bytes.extend_from_slice(view.value);
            added += view.value.len();
            let (kind, source) = (view.kind, view.source);
            let row = Row { time_ms: view.time_ms, n: view.n, code, at, len, kind, source };
            found.rows.push(row);
            found.update(row);
        }
        let is_sorted = |rows: &[Row]| rows.is_sorted_by_key(Row::row_ref);
        if !found.rows.get(sorted_from.saturating_sub(1)..).is_none_or(is_sorted) {
            // The existing rows are sorted and the new ones mostly are; a stable sort merges them in one pass.
            found.rows.sort_by_key(Row::row_ref);
        }
        Ok(added)
    }
}

impl DeviceRows {
    /// Updates the latest values and the presence with a row that has just arrived.
    fn update(&mut self, row: Row) {
        match row.event_type() {
            Some(EventType::Online | EventType::Offline) => {
                self.presence = Some(self.presence.map_or(row, |existing| row.after(existing)));
            }
            Some(EventType::DataPoint) if row.code > 0 && row.len > 0 => self.update_point(row),
            _ => {}
        }
    }

    fn update_point(&mut self, row: Row) {
        let existing = match &self.index {
            None => self.latest.iter().position(|existing| existing.code == row.code),
            Some(index) => index.get(&row.code).map(|at| *at as usize),
        };
        if let Some(existing) = existing.and_then(|at| self.latest.get_mut(at)) {
            *existing = row.after(*existing);
            return;
        }
        self.latest.push(row);
        let len = self.latest.len() as u32;
        match &mut self.index {
            Some(index) => {
                index.insert(row.code, len - 1);
            }
            None if self.latest.len() > CODES_SCANNED => {
                let all = self.latest.iter().enumerate().map(|(at, existing)| (existing.code, at as u32));
                self.index = Some(Box::new(all.collect()));
            }
            None => {}
        }
    }
}

/// Whether a row matches the types, codes and time range of a query.
pub fn matches_query(query: &EventQuery, row: &RowView<'_>) -> bool {
    query.types.bits() & (1 << (row.kind & TYPE_BITS)) != 0
        && (query.from_ms..=query.to_ms).contains(&row.time_ms)
        && (query.codes.is_empty()
            || row.code.is_some_and(|code| query.codes.iter().any(|wanted| wanted.as_str() == &**code)))
}
