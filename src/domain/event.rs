//! The event log of a device, newest row first (contract tuya §3.9).

use std::borrow::Cow;
use std::sync::Arc;

use super::device::Device;
use super::{Cloud, DeviceId, DeviceNo, DurationMs, Error, ProjectNo, Requester, Result};

/// The maximal number of rows on a page. A greater limit is reduced to it, as the vendor does.
pub const PAGE_ROWS_MAX: usize = 100;
/// The maximal length of a value's JSON text.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;
/// The maximal length of a code.
pub const CODE_BYTES_MAX: usize = 64;
/// The maximal number of rows that one call may append.
pub const BATCH_ROWS_MAX: usize = 100_000;
/// The maximal number of pages that one call reads to find a matching row.
const READS_MAX: usize = 16;

/// The type of an event. The numbers up to 10 are the vendor's `event_id`.
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

    /// The number, the vendor's up to 10.
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

    /// One bit for each type: bit n means the type with number n.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl FromIterator<EventType> for EventTypes {
    fn from_iter<I: IntoIterator<Item = EventType>>(types: I) -> Self {
        Self(types.into_iter().fold(0, |bits, kind| bits | 1 << kind.number()))
    }
}

/// The cause of an event. The numbers are the vendor's `event_from` (contract tuya §3.9).
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

    /// The source with a vendor's number: −1, 1 to 13, or 16.
    pub fn from_number(number: i64) -> Option<Self> {
        matches!(number, -1 | 1..=13 | 16).then(|| Self(number as i8))
    }

    /// The vendor's number.
    pub fn number(self) -> i8 {
        self.0
    }
}

/// A data point's value: JSON text as it was received, never empty, at most [`VALUE_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value(Box<str>);

impl Value {
    /// A value from text that a JSON parser has accepted. `None` if it is empty or longer than [`VALUE_BYTES_MAX`].
    pub fn from_json(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty() && text.len() <= VALUE_BYTES_MAX).then_some(Self(text))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The text in a form that is the same for equal values: without spaces, without escapes that are not necessary, and with
    /// the members of objects in order.
    pub fn canonical(&self) -> Cow<'_, str> {
        let has_one_form = !self.0.starts_with(['{', '[']) && !self.0.contains('\\');
        let parsed = (!has_one_form).then(|| serde_json::from_str::<serde_json::Value>(&self.0).ok()).flatten();
        parsed.map_or(Cow::Borrowed(&*self.0), |value| value.to_string().into())
    }
}

/// What two rows of a device have in common if an import takes them for the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowContent<'a> {
    time_ms: i64,
    kind: EventType,
    code: Option<&'a str>,
    value: Option<Cow<'a, str>>,
}

/// A row that is to be appended to the event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The device.
    pub device: DeviceNo,
    /// The time of the event, milliseconds since 1970, never negative.
    pub time_ms: i64,
    /// The type.
    pub kind: EventType,
    /// The cause.
    pub source: EventSource,
    /// The data point's code, for types that have one; at most [`CODE_BYTES_MAX`] bytes.
    pub code: Option<Arc<str>>,
    /// Its value.
    pub value: Option<Value>,
    /// Whether it was uploaded later than it happened. It becomes the latest value only if no newer one exists.
    pub is_history: bool,
}

impl NewEvent {
    /// Time, type, code and value.
    pub fn content(&self) -> RowContent<'_> {
        let value = self.value.as_ref().map(Value::canonical);
        RowContent { time_ms: self.time_ms, kind: self.kind, code: self.code.as_deref(), value }
    }
}

/// Identifies a row among those of a device. Ordered by time, then by number.
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
    /// Its identification.
    pub row: RowRef,
    /// The type.
    pub kind: EventType,
    /// The cause.
    pub source: EventSource,
    /// The data point's code.
    pub code: Option<Arc<str>>,
    /// Its value.
    pub value: Option<Value>,
}

impl Event {
    /// Time, type, code and value.
    pub fn content(&self) -> RowContent<'_> {
        let value = self.value.as_ref().map(Value::canonical);
        RowContent { time_ms: self.row.time_ms, kind: self.kind, code: self.code.as_deref(), value }
    }
}

/// The start of a page. Pages go from newer to older rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// At the newest row of the time span.
    Newest,
    /// At this row, inclusive.
    At(RowRef),
    /// At the next older row after this one.
    After(RowRef),
}

/// Selects rows of a device's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Only these types.
    pub types: EventTypes,
    /// Only these codes; if empty, all rows, with or without a code.
    pub codes: Vec<String>,
    /// The start of the time span, inclusive.
    pub from_ms: i64,
    /// The end of the time span, inclusive.
    pub to_ms: i64,
    /// The start of the page.
    pub start: PageStart,
    /// The maximal number of rows, 1 to [`PAGE_ROWS_MAX`].
    pub limit: usize,
}

impl EventQuery {
    /// Whether a row matches types, codes and time span (not the cursor).
    pub fn wants(&self, time_ms: i64, kind: EventType, code: Option<&str>) -> bool {
        self.types.contains(kind)
            && (self.from_ms..=self.to_ms).contains(&time_ms)
            && (self.codes.is_empty() || code.is_some_and(|code| self.codes.iter().any(|wanted| wanted == code)))
    }
}

/// A page of a device's log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The rows, newest first, at most the limit. With a selective filter there may be fewer rows, even none, although
    /// `next` is given, because the number of examined rows is limited.
    pub rows: Vec<Event>,
    /// The first row of the next page, inclusive; `None` at the end.
    pub next: Option<NextRow>,
}

/// The number of rows that a query selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// The number of rows that were found.
    pub rows: u64,
    /// Whether these are all: a count examines a limited number of rows.
    pub is_exact: bool,
}

/// The first row of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRow {
    /// Its identification.
    pub row: RowRef,
    /// Its type.
    pub kind: EventType,
}

/// Whether the operator consents to a removal of files that depends only on the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Only files that are certainly too old, even if the clock is wrong, may be removed.
    NotGiven,
    /// The operator confirmed that the clock is right.
    Given,
}

/// The result of one run of the retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Files that were removed.
    pub removed: u64,
    /// Files that are too old according to the clock, and wait for the operator's consent or for time to pass.
    pub waiting: u64,
}

impl Cloud {
    /// A page of the log of a device, see [`Cloud::device_with_log`]. It contains no rows that are older than the
    /// retention or the device's last reset.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn events(&self, requester: &impl Requester, device: &Device, query: EventQuery) -> Result<EventPage> {
        let query = self.within_history(device, query);
        self.telemetry.page(Some(requester.project().no), device.no, &query).await
    }

    /// A page as [`Cloud::events`] returns it, but not empty while older rows match; with the number of all rows that
    /// match the query, regardless of its cursor. For a very long log this is the number of rows that were found.
    ///
    /// # Errors
    /// As [`Cloud::events`]; [`Error::OutOfRange`] if no row matches among those that one call examines.
    pub async fn events_counted(
        &self,
        requester: &impl Requester,
        device: &Device,
        query: EventQuery,
    ) -> Result<(EventPage, u64)> {
        let mut query = self.within_history(device, query);
        let project = Some(requester.project().no);
        let count = self.telemetry.count(project, device.no, &query).await?;
        if count == (EventCount { rows: 0, is_exact: true }) {
            return Ok((EventPage::default(), 0));
        }
        let mut page = self.telemetry.page(project, device.no, &query).await?;
        let mut reads = 1;
        while let (true, Some(next)) = (page.rows.is_empty(), page.next) {
            if reads == READS_MAX {
                let allowed = "later: too many rows before end_time were looked through without a match".to_owned();
                return Err(Error::OutOfRange { param: "start_time", allowed });
            }
            query.start = PageStart::At(next.row);
            page = self.telemetry.page(project, device.no, &query).await?;
            reads += 1;
        }
        if let Some(next) = page.next {
            // Continue only if a matching row follows, not just any row.
            query.start = PageStart::At(next.row);
            query.limit = 1;
            page.next = self.first_match(project, device.no, query).await?;
        }
        Ok((page, count.rows))
    }

    /// The next matching row, or the first row that was not examined.
    async fn first_match(
        &self,
        project: Option<ProjectNo>,
        device: DeviceNo,
        mut query: EventQuery,
    ) -> Result<Option<NextRow>> {
        let mut unread = None;
        for _ in 0..READS_MAX {
            let page = self.telemetry.page(project, device, &query).await?;
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

    /// A device with a log.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::LogsNotSupported`] for a product without functions.
    pub async fn device_with_log(&self, requester: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let device = self.visible_device(requester, id).await?;
        if device.product.functions.is_empty() {
            return Err(Error::LogsNotSupported);
        }
        Ok(device)
    }

    /// Limits the time span to the retention and to the time after the device's last reset.
    pub(super) fn within_history(&self, device: &Device, mut query: EventQuery) -> EventQuery {
        query.from_ms = query.from_ms.max(self.oldest_kept_ms()).max(device.history_from_ms);
        query.limit = query.limit.clamp(1, PAGE_ROWS_MAX);
        query
    }

    /// The oldest millisecond within the retention.
    pub fn oldest_kept_ms(&self) -> i64 {
        self.now_ms() - self.retention()
    }

    /// Removes whole files that are older than the retention. Without the operator's consent, only files that are
    /// certainly too old, even if the clock jumped.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn expire_events(&self, consent: Consent) -> Result<Expiry> {
        self.telemetry.expire(self.now_ms(), self.retention(), consent).await
    }

    fn retention(&self) -> DurationMs {
        DurationMs(i64::from(self.limits.retention_days) * 24 * 3600 * 1000)
    }
}
