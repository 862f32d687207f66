//! Rows as the engine holds them, and their order.

use std::sync::Arc;

use super::fault::{Fault, Result};
use crate::domain::{Event, EventSource, EventType, RowRef, Value};

/// The kind of a row that is no event: in the latest values it carries the newest time that a device has on disk.
pub const NEWEST_TIME: u8 = 0;
/// The bits of a row's kind that are its event type's number.
pub const TYPE_BITS: u8 = 15;
/// The bit of a row's kind that says that it was so when the row arrived: it is the state from then on, whatever its time.
/// A row without it was uploaded later, or written before there was this bit, and is the state only when it is newer than
/// the row that is.
const NOW: u8 = 16;

/// The kind of a row.
pub fn kind_of(event: EventType, is_history: bool) -> u8 {
    event.number() | if is_history { 0 } else { NOW }
}

/// Whether a row takes the place of another one of its kind and code that arrived before it.
pub fn replaces(row: RowRef, kind: u8, previous: RowRef) -> bool {
    kind & NOW != 0 || row >= previous
}

/// A row whose code and value lie in a dictionary and a byte arena beside it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Number among the device's rows of that millisecond.
    pub n: u32,
    /// 0 for none, else the place in the dictionary plus one.
    pub code: u32,
    /// Where the value begins in the arena.
    pub at: u32,
    /// The value's bytes; 0 for none.
    pub len: u16,
    /// The event type's number, and perhaps the bit of [`kind_of`].
    pub kind: u8,
    /// The source's number.
    pub source: i8,
}

impl Row {
    /// The row's place in its device's log.
    pub fn row_ref(&self) -> RowRef {
        RowRef { time_ms: self.time_ms, n: self.n }
    }

    /// What happened; `None` for a row that is no event.
    pub fn event_type(&self) -> Option<EventType> {
        event_type(self.kind)
    }

    /// What is the state after this row and the one that was it before. Whatever came before both no longer counts when
    /// either of them is no history.
    pub fn after(self, previous: Self) -> Self {
        let row = if replaces(self.row_ref(), self.kind, previous.row_ref()) { self } else { previous };
        Self { kind: row.kind | (previous.kind | self.kind) & NOW, ..row }
    }
}

fn event_type(kind: u8) -> Option<EventType> {
    EventType::from_number(i64::from(kind & TYPE_BITS))
}

/// A row with its code and value at hand.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Number among the device's rows of that millisecond.
    pub n: u32,
    /// The event type's number, and perhaps the bit of [`kind_of`].
    pub kind: u8,
    /// The source's number.
    pub source: i8,
    /// Which data point.
    pub code: Option<&'a Arc<str>>,
    /// The value's JSON text; empty for none.
    pub value: &'a [u8],
}

impl RowView<'_> {
    /// The row's place in its device's log.
    pub fn row_ref(&self) -> RowRef {
        RowRef { time_ms: self.time_ms, n: self.n }
    }

    /// What happened; `None` for a row that is no event.
    pub fn event_type(&self) -> Option<EventType> {
        event_type(self.kind)
    }

    /// Whether the row was uploaded later.
    pub fn is_history(&self) -> bool {
        self.kind & NOW == 0
    }
}

/// Rows of one or more devices with what they refer to.
#[derive(Debug, Default)]
pub struct Rows {
    /// In the order of their source.
    pub rows: Vec<Row>,
    /// The dictionary.
    pub codes: Vec<Arc<str>>,
    /// The arena.
    pub bytes: Vec<u8>,
}

impl Rows {
    /// A row with what it refers to.
    pub fn view<'a>(&'a self, row: &Row) -> RowView<'a> {
        view(row, &self.codes, &self.bytes)
    }

    /// The row as the domain knows it.
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

/// A row with what it refers to.
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

/// A value from its bytes.
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

/// The order of rows on disk: by device, then newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose log.
    pub device: i64,
    /// The time, inverted so that newer sorts first.
    pub inv_time: i64,
    /// The number, inverted likewise.
    pub inv_n: i64,
}

impl Key {
    /// The key of a place in a device's log.
    pub fn new(device: i64, row: RowRef) -> Self {
        Self { device, inv_time: !row.time_ms, inv_n: !i64::from(row.n) }
    }

    /// Before every row of a device.
    pub fn first_of(device: i64) -> Self {
        Self { device, inv_time: i64::MIN, inv_n: i64::MIN }
    }

    /// The key next after this one.
    pub fn next(self) -> Self {
        Self { inv_n: self.inv_n + 1, ..self }
    }
}
