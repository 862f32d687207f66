//! Rows in the form in which the engine holds them, and their order.

use std::sync::Arc;

use super::fault::{Fault, Result};
use crate::domain::{Event, EventSource, EventType, RowRef, Value};

/// The kind of a row that is not an event: in `latest.db` it holds the newest time that the device has on disk.
pub const NEWEST_TIME: u8 = 0;
/// The bits of a row's kind that hold the number of the event type.
pub const TYPE_BITS: u8 = 15;
/// The bit of a row's kind for a row that was current when it arrived: it becomes the latest value, whatever its time.
/// A row without this bit was uploaded later as history (or was written before the bit existed), and becomes the latest
/// value only if it is newer than the latest one.
const NOW: u8 = 16;

/// The kind of a row, from its event type and whether it was uploaded as history.
pub fn kind_of(event: EventType, is_history: bool) -> u8 {
    event.number() | if is_history { 0 } else { NOW }
}

/// Whether a row replaces `previous` as the latest of its kind and code. `previous` arrived before it.
pub fn replaces(row: RowRef, kind: u8, previous: RowRef) -> bool {
    kind & NOW != 0 || row >= previous
}

/// A row whose code and value are stored in a dictionary and a byte buffer beside it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The number of the row within its device and millisecond.
    pub n: u32,
    /// Index in the dictionary plus one; 0 for a row without a code.
    pub code: u32,
    /// Offset of the value in the byte buffer.
    pub at: u32,
    /// Length of the value in bytes; 0 for a row without a value.
    pub len: u16,
    /// The number of the event type, and the bit for current rows.
    pub kind: u8,
    /// The number of the source.
    pub source: i8,
}

impl Row {
    /// The row's identity within the log of its device.
    pub fn row_ref(&self) -> RowRef {
        RowRef { time_ms: self.time_ms, n: self.n }
    }

    /// The event type; `None` for a row that is not an event.
    pub fn event_type(&self) -> Option<EventType> {
        event_type(self.kind)
    }

    /// The latest row of this one and `previous`. The result counts as current if either of them does, so that rows
    /// which arrived before both are not considered.
    pub fn after(self, previous: Self) -> Self {
        let row = if replaces(self.row_ref(), self.kind, previous.row_ref()) { self } else { previous };
        Self { kind: row.kind | (previous.kind | self.kind) & NOW, ..row }
    }
}

fn event_type(kind: u8) -> Option<EventType> {
    EventType::from_number(i64::from(kind & TYPE_BITS))
}

/// A row with its code and value.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The number of the row within its device and millisecond.
    pub n: u32,
    /// The number of the event type, and the bit for current rows.
    pub kind: u8,
    /// The number of the source.
    pub source: i8,
    /// The code of the data point.
    pub code: Option<&'a Arc<str>>,
    /// The value as JSON text; empty for a row without a value.
    pub value: &'a [u8],
}

impl RowView<'_> {
    /// The row's identity within the log of its device.
    pub fn row_ref(&self) -> RowRef {
        RowRef { time_ms: self.time_ms, n: self.n }
    }

    /// The event type; `None` for a row that is not an event.
    pub fn event_type(&self) -> Option<EventType> {
        event_type(self.kind)
    }

    /// Whether the row was uploaded later as history.
    pub fn is_history(&self) -> bool {
        self.kind & NOW == 0
    }
}

/// Rows of one or more devices, with their dictionary of codes and their byte buffer of values.
#[derive(Debug, Default)]
pub struct Rows {
    /// The rows, in the order of their source.
    pub rows: Vec<Row>,
    /// The dictionary of codes.
    pub codes: Vec<Arc<str>>,
    /// The byte buffer of values.
    pub bytes: Vec<u8>,
}

impl Rows {
    /// A row with its code and value.
    pub fn view<'a>(&'a self, row: &Row) -> RowView<'a> {
        view(row, &self.codes, &self.bytes)
    }

    /// Converts a row to the domain's type.
    pub fn event(&self, row: &Row) -> Result<Event> {
        let view = self.view(row);
        let kind = view.event_type().ok_or(Fault::Damaged("an unknown event type"))?;
        let source = EventSource::from_number(i64::from(view.source)).ok_or(Fault::Damaged("an unknown source"))?;
        let value = if view.value.is_empty() { None } else { Some(value(view.value)?) };
        Ok(Event { row: row.row_ref(), kind, source, code: view.code.cloned(), value })
    }
}

/// Where the rows of one device end in a list of rows that is ordered by device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceEnd {
    /// The device's number.
    pub device: i64,
    /// The index after its last row.
    pub end: usize,
}

/// A row with its code and value.
pub fn view<'a>(row: &Row, codes: &'a [Arc<str>], bytes: &'a [u8]) -> RowView<'a> {
    let at = row.at as usize;
    RowView {
        time_ms: row.time_ms,
        n: row.n,
        kind: row.kind,
        source: row.source,
        code: (row.code as usize).checked_sub(1).and_then(|index| codes.get(index)),
        value: bytes.get(at..at + usize::from(row.len)).unwrap_or_default(),
    }
}

/// The hash bucket of a device, of 2 to the power of `bits` buckets. The upper bits of the product are well mixed.
pub fn bucket_of(device: i64, bits: u32) -> usize {
    ((device as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - bits)) as usize
}

/// Parses a value.
pub fn value(bytes: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged("a value that is not UTF-8"))?;
    Value::from_json(text).ok_or(Fault::Damaged("an impossible value"))
}

/// A row of a batch that is being committed. The derived order is the one in which rows are numbered: by device, time and
/// index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchRow {
    /// The device's number.
    pub device: i64,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The row's index in the batch, which is the order of arrival.
    pub index: u32,
}

/// The sort key of rows on disk: by device, then newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The device's number.
    pub device: i64,
    /// The bitwise complement of the time, so that newer rows sort first.
    pub inv_time: i64,
    /// The bitwise complement of the number, for the same reason.
    pub inv_n: i64,
}

impl Key {
    /// The key of a row.
    pub fn new(device: i64, row: RowRef) -> Self {
        Self { device, inv_time: !row.time_ms, inv_n: !i64::from(row.n) }
    }

    /// The key that all rows of a device have in `latest.db`.
    pub fn of_latest(device: i64) -> Self {
        Self { device, inv_time: 0, inv_n: 0 }
    }

    /// A key before every row of a device.
    pub fn first_of(device: i64) -> Self {
        Self { device, inv_time: i64::MIN, inv_n: i64::MIN }
    }

    /// The smallest key after this one.
    pub fn next(self) -> Self {
        Self { inv_n: self.inv_n + 1, ..self }
    }
}
