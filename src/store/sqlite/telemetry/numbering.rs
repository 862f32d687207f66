//! Numbers rows that have the same device and millisecond: 1 for the first one that arrives, then 2, and so on.

use rustc_hash::FxHashMap;

use super::engine::Engine;
use super::fault::{Fault, Result};
use super::memtable::Memtables;
use super::read;
use super::row::{BatchRow, bucket_of};

/// [`Numbering::seen`] has 2 to the power of this many hash buckets of devices.
const SEEN_BUCKET_BITS: u32 = 18;
/// Maximum number of entries in [`Numbering::disk_times`].
const DISK_TIMES_MAX: usize = 1 << 18;

/// Assigns the numbers. Only the committer has one.
pub struct Numbering {
    /// For each bucket of devices a time that no row is newer than, so that a newer row gets number 1 without a search.
    seen: Vec<i64>,
    /// The newest time on disk of devices that reported late rows. Valid as long as the oldest memtable is
    /// `disk_times_no`.
    disk_times: FxHashMap<i64, i64>,
    disk_times_no: i64,
}

impl Numbering {
    /// Creates the numbering for a log in which no row is newer than `newest_ms`.
    pub fn new(newest_ms: i64) -> Self {
        Self { seen: vec![newest_ms; 1 << SEEN_BUCKET_BITS], disk_times: FxHashMap::default(), disk_times_no: 0 }
    }

    /// Assigns a number to each row of a batch; `numbers` is indexed by [`BatchRow::index`].
    pub fn assign(
        &mut self,
        engine: &Engine,
        memtables: &Memtables,
        order: &[BatchRow],
        numbers: &mut Vec<u32>,
    ) -> Result<()> {
        if self.disk_times_no != memtables.oldest_no() || self.disk_times.len() > DISK_TIMES_MAX {
            self.disk_times.clear();
            self.disk_times_no = memtables.oldest_no();
        }
        numbers.clear();
        numbers.resize(order.len(), 0);
        let mut last: Option<(&BatchRow, u32)> = None;
        for row @ &BatchRow { device, time_ms, index } in order {
            let before = match last {
                Some((last, n)) if last.device == device && last.time_ms == time_ms => n,
                _ => self.last_number(engine, memtables, device, time_ms)?,
            };
            let n = before.checked_add(1).ok_or(Fault::TooLarge("rows of one millisecond"))?;
            if let Some(number) = numbers.get_mut(index as usize) {
                *number = n;
            }
            last = Some((row, n));
        }
        Ok(())
    }

    /// The largest number that a row of this device and time has so far; 0 if there is no such row.
    fn last_number(&mut self, engine: &Engine, memtables: &Memtables, device: i64, time_ms: i64) -> Result<u32> {
        if let Some(seen) = self.seen.get_mut(bucket_of(device, SEEN_BUCKET_BITS))
            && time_ms > *seen
        {
            *seen = time_ms;
            return Ok(0);
        }
        // Memtables first: a memtable is removed only after its rows are on disk.
        for memtable in memtables.list.iter().rev() {
            if let Some(n) = memtable.last_number(device, time_ms) {
                return Ok(n);
            }
        }
        if time_ms > engine.flushed.bound_ms(device) {
            return Ok(0);
        }
        let newest_ms = match self.disk_times.get(&device) {
            Some(&disk_times) => disk_times,
            None => {
                let newest_ms = read::newest_on_disk(&engine.files, device)?;
                self.disk_times.insert(device, newest_ms);
                newest_ms
            }
        };
        if time_ms > newest_ms {
            return Ok(0);
        }
        Ok(read::last_number_on_disk(&engine.files, device, time_ms)?.unwrap_or(0))
    }
}
