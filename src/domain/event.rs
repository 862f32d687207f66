//! The event log of a device: what happened, newest first (DESIGN §6; contract tuya §3.9).

use std::sync::Arc;

use super::device::Device;
use super::{Cloud, DeviceId, DeviceNo, Error, ProjectNo, Requester, Result};

/// Rows a page may hold; more is clamped, as the vendor does.
pub const PAGE_ROWS_MAX: usize = 100;
/// A value's JSON text may be this long.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;
/// A code may be this long.
pub const CODE_BYTES_MAX: usize = 64;
/// Rows one call may append.
pub const BATCH_ROWS_MAX: usize = 100_000;
/// Pages that one call may read to find a row that matches.
const READS_MAX: usize = 16;

/// What kind of thing happened. The numbers up to 10 are the vendor's `event_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventType {
    /// The device connected.
    Online = 1,
    /// The device disconnected.
    Offline = 2,
    /// The device was activated for the first time.
    Activated = 3,
    /// The device was removed or reset.
    Reset = 4,
    /// A command was issued.
    Command = 5,
    /// The firmware changed its version.
    Firmware = 6,
    /// A data point was reported.
    DataPoint = 7,
    /// A signal strength was reported.
    Signal = 8,
    /// The device restarted.
    Restart = 9,
    /// A timer ran.
    Timer = 10,
    /// An event of the thing model was reported. The vendor's log has no number for it and does not show it.
    ThingEvent = 11,
}

impl EventType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Online,
        Self::Offline,
        Self::Activated,
        Self::Reset,
        Self::Command,
        Self::Firmware,
        Self::DataPoint,
        Self::Signal,
        Self::Restart,
        Self::Timer,
        Self::ThingEvent,
    ];

    /// The type of a number: the vendor's 1 to 10, and 11.
    pub fn from_number(number: i64) -> Option<Self> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        Self::ALL.get(index).copied()
    }

    /// Its number, the vendor's up to 10.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// A set of event types. Empty selects nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTypes(u16);

impl EventTypes {
    /// All types.
    pub fn all() -> Self {
        EventType::ALL.into_iter().collect()
    }

    /// Whether `kind` is in the set.
    pub fn contains(self, kind: EventType) -> bool {
        self.0 & (1 << kind.number()) != 0
    }

    /// One bit a type: bit n stands for the vendor's number n.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl FromIterator<EventType> for EventTypes {
    fn from_iter<I: IntoIterator<Item = EventType>>(types: I) -> Self {
        Self(types.into_iter().fold(0, |bits, kind| bits | 1 << kind.number()))
    }
}

/// Who caused an event. The numbers are the vendor's `event_from` (contract tuya §3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventSource(i8);

impl EventSource {
    /// The device itself.
    pub const DEVICE: Self = Self(1);
    /// A command of an app's user.
    pub const APP_USER: Self = Self(2);
    /// A call of the project through the cloud API.
    pub const CLOUD: Self = Self(4);
    /// Removal by the project.
    pub const PROJECT_REMOVAL: Self = Self(11);

    /// The source of a vendor's number: −1, 1 to 13, or 16.
    pub fn from_number(number: i64) -> Option<Self> {
        matches!(number, -1 | 1..=13 | 16).then(|| Self(number as i8))
    }

    /// The vendor's number.
    pub fn number(self) -> i8 {
        self.0
    }
}

/// A data point's value: JSON text as it came, never empty, at most [`VALUE_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value(Box<str>);

impl Value {
    /// Takes text that a JSON parser has accepted. Longer than [`VALUE_BYTES_MAX`] or empty: `None`.
    pub fn from_json(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty() && text.len() <= VALUE_BYTES_MAX).then_some(Self(text))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// An event on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Whose log.
    pub device: DeviceNo,
    /// When it happened, milliseconds since 1970, never negative.
    pub time_ms: i64,
    /// What happened.
    pub kind: EventType,
    /// Who caused it.
    pub source: EventSource,
    /// Which data point, for those types that have one; at most [`CODE_BYTES_MAX`] bytes.
    pub code: Option<Arc<str>>,
    /// Its value.
    pub value: Option<Value>,
    /// Whether it was uploaded later than it happened, so that it is the state of the device only when nothing newer is.
    pub is_history: bool,
}

/// Names one row among those of a device. Ordered by time, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The row's number among the device's rows of that millisecond, from 1 in order of arrival.
    pub n: u32,
}

/// One row of a device's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub row: RowRef,
    /// What happened.
    pub kind: EventType,
    /// Who caused it.
    pub source: EventSource,
    /// Which data point.
    pub code: Option<Arc<str>>,
    /// Its value.
    pub value: Option<Value>,
}

/// Where a page begins. Pages go from newer to older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// At the newest row of the time span.
    Newest,
    /// At this row, itself included.
    At(RowRef),
    /// At the row before (older than) this one.
    After(RowRef),
}

/// Which rows of a device's log are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Only these types.
    pub types: EventTypes,
    /// Only these codes; empty means every row, with a code or without.
    pub codes: Vec<String>,
    /// The oldest millisecond wanted, included.
    pub from_ms: i64,
    /// The newest millisecond wanted, included.
    pub to_ms: i64,
    /// Where the page begins.
    pub start: PageStart,
    /// Rows wanted, 1 to [`PAGE_ROWS_MAX`].
    pub limit: usize,
}

impl EventQuery {
    /// Whether a row satisfies types, codes and time span (not the cursor).
    pub fn wants(&self, time_ms: i64, kind: EventType, code: Option<&str>) -> bool {
        self.types.contains(kind)
            && (self.from_ms..=self.to_ms).contains(&time_ms)
            && (self.codes.is_empty() || code.is_some_and(|code| self.codes.iter().any(|wanted| wanted == code)))
    }
}

/// A page of a device's log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventPage {
    /// Newest first, at most the limit. Fewer, even none, while `next` is given when a filter is very selective:
    /// the rows scanned a page are bounded.
    pub rows: Vec<Event>,
    /// The row at which the next page starts, itself included; `None` at the end.
    pub next: Option<NextRow>,
}

/// How many rows a query selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// Rows that were found.
    pub rows: u64,
    /// Whether these are all: a count looks at a bounded number of rows.
    pub is_exact: bool,
}

/// The row that a following page starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRow {
    /// Its place in the log.
    pub row: RowRef,
    /// Its type.
    pub kind: EventType,
}

/// Whether retention may go as far as the clock alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Only as far as is certain whatever the clock says.
    NotGiven,
    /// The operator knows that the clock is right.
    Given,
}

/// What a pass of the retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Files that were removed.
    pub removed: u64,
    /// Files that the clock says are too old, and that wait for the operator's consent or for time to pass.
    pub waiting: u64,
}

impl Cloud {
    /// A page of the log of a [`Cloud::device_with_log`]. Rows past the retention, or from before the device's last reset,
    /// are never in it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn events(&self, who: &impl Requester, device: &Device, query: EventQuery) -> Result<EventPage> {
        let query = self.within_history(device, query);
        self.telemetry.page(Some(who.project().no), device.no, &query).await
    }

    /// A page as [`Cloud::events`] gives it, but never empty while older rows match, and with the number of all rows
    /// that match the query whatever its cursor. Of a log that is too long to be looked through it is the number of
    /// those that were found.
    ///
    /// # Errors
    /// As [`Cloud::events`]; [`Error::OutOfRange`] when nothing matches in as many rows as one call looks through.
    pub async fn events_counted(
        &self,
        who: &impl Requester,
        device: &Device,
        query: EventQuery,
    ) -> Result<(EventPage, u64)> {
        let mut query = self.within_history(device, query);
        let asker = Some(who.project().no);
        let count = self.telemetry.count(asker, device.no, &query).await?;
        if count == (EventCount { rows: 0, is_exact: true }) {
            return Ok((EventPage::default(), 0));
        }
        let mut page = self.telemetry.page(asker, device.no, &query).await?;
        let mut reads = 1;
        while let (true, Some(next)) = (page.rows.is_empty(), page.next) {
            if reads == READS_MAX {
                let allowed = "later: too many rows before end_time were looked through without a match".to_owned();
                return Err(Error::OutOfRange { param: "start_time", allowed });
            }
            query.start = PageStart::At(next.row);
            page = self.telemetry.page(asker, device.no, &query).await?;
            reads += 1;
        }
        if let Some(next) = page.next {
            // Whether a row that matches follows, not merely a row.
            query.start = PageStart::At(next.row);
            query.limit = 1;
            page.next = self.first_match(asker, device.no, query).await?;
        }
        Ok((page, count.rows))
    }

    /// The next row that matches, or the first that was not looked at any more.
    async fn first_match(
        &self,
        asker: Option<ProjectNo>,
        device: DeviceNo,
        mut query: EventQuery,
    ) -> Result<Option<NextRow>> {
        let mut unread = None;
        for _ in 0..READS_MAX {
            let page = self.telemetry.page(asker, device, &query).await?;
            if let Some(event) = page.rows.first() {
                return Ok(Some(NextRow { row: event.row, kind: event.kind }));
            }
            unread = page.next;
            match page.next {
                Some(next) => query.start = PageStart::At(next.row),
                None => break,
            }
        }
        Ok(unread)
    }

    /// A device whose log can be read.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::LogsNotSupported`] for a product without functions.
    pub async fn device_with_log(&self, who: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let device = self.visible_device(who, id).await?;
        if device.product.functions.is_empty() {
            return Err(Error::LogsNotSupported);
        }
        Ok(device)
    }

    /// Narrows the time span to what the retention and the device's last reset leave.
    pub(super) fn within_history(&self, device: &Device, mut query: EventQuery) -> EventQuery {
        query.from_ms = query.from_ms.max(self.oldest_kept_ms()).max(device.history_from_ms);
        query.limit = query.limit.clamp(1, PAGE_ROWS_MAX);
        query
    }

    /// The oldest millisecond that the retention keeps.
    pub fn oldest_kept_ms(&self) -> i64 {
        self.now_ms() - self.retention_ms()
    }

    /// Removes what the retention no longer keeps, in whole files. Without the operator's consent only as far as is certain
    /// although clocks jump.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn expire_events(&self, consent: Consent) -> Result<Expiry> {
        self.telemetry.expire(self.now_ms(), self.retention_ms(), consent).await
    }

    fn retention_ms(&self) -> i64 {
        i64::from(self.limits.retention_days) * 24 * 3600 * 1000
    }
}
