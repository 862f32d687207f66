//! The time of a log row: the device's time if it is plausible, otherwise the server's (decision 0015).

use std::sync::atomic::{AtomicU64, Ordering};

use super::event::CODE_BYTES_MAX;
use super::{Cloud, Device, Error, EventSource, EventType, NewEvent, Result};

/// How far the time of a live report may be behind the server's clock.
pub const LATE_MS_MAX: i64 = 24 * 3600 * 1000;
/// How far the time of an imported row may be ahead of the server's clock. The row then gets the server's time.
const IMPORT_AHEAD_MS_MAX: i64 = 24 * 3600 * 1000;

/// The time of a report according to the device, milliseconds since 1970. No report is refused because of its time: an
/// implausible time is replaced by the server's, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportTime {
    /// A live report, which is the latest value, whatever its time.
    Live(i64),
    /// A report that is uploaded later. It is the latest value only if no newer one exists.
    Late(i64),
}

/// Counts implausible times.
#[derive(Default)]
pub(super) struct Corrections(AtomicU64);

impl Cloud {
    /// The number of reports since the start that got the server's time because their own was implausible.
    pub fn clocks_corrected(&self) -> u64 {
        self.corrections.0.load(Ordering::Relaxed)
    }

    /// The time of a live row: the server's, but never before the device's last reset or change of owner, because the
    /// row would be hidden.
    pub(super) fn row_ms(&self, device: &Device) -> i64 {
        self.now_ms().max(device.history_from_ms)
    }

    /// A live row without code and value.
    pub(super) fn row_now(&self, device: &Device, kind: EventType, source: EventSource) -> NewEvent {
        let time_ms = self.row_ms(device);
        NewEvent { device: device.no, time_ms, kind, source, code: None, value: None, is_history: false }
    }

    /// The same with the time of the device, and whether that time was implausible.
    pub(super) fn row_reported(&self, device: &Device, kind: EventType, when: ReportTime) -> (NewEvent, bool) {
        let now_ms = self.now_ms();
        let (reported_ms, oldest_ms, is_history) = match when {
            ReportTime::Live(reported_ms) => (reported_ms, now_ms.saturating_sub(LATE_MS_MAX), false),
            ReportTime::Late(reported_ms) => (reported_ms, self.oldest_kept_ms(), true),
        };
        let mut row = NewEvent { is_history, ..self.row_now(device, kind, EventSource::DEVICE) };
        let is_wrong = !(oldest_ms.max(0)..=now_ms).contains(&reported_ms);
        if is_wrong {
            self.corrections.0.fetch_add(1, Ordering::Relaxed);
        } else {
            // An uploaded row from before the last reset or change of owner remains before it.
            row.time_ms = if is_history { reported_ms } else { reported_ms.max(device.history_from_ms) };
        }
        (row, is_wrong)
    }

    /// A row of an operator's document, which is history with the time that it has there.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a time beyond the retention or more than a day ahead, and a code that is too long;
    /// [`Error::Missing`] for a data point without code or value.
    pub fn row_imported(&self, row: NewEvent) -> Result<NewEvent> {
        let (oldest_ms, now_ms) = (self.oldest_kept_ms(), self.now_ms());
        let newest_ms = now_ms.saturating_add(IMPORT_AHEAD_MS_MAX);
        let refuse = |allowed: String| Err(Error::OutOfRange { param: "time", allowed });
        if row.time_ms < oldest_ms.max(0) {
            return refuse(format!("within the retention: {oldest_ms} or later (telemetry.retention_days)"));
        }
        if row.time_ms > newest_ms {
            return refuse(format!("at most a day ahead: {newest_ms} or earlier"));
        }
        check_row(&row)?;
        Ok(NewEvent { time_ms: row.time_ms.min(now_ms), is_history: true, ..row })
    }
}

/// The checks for every row.
pub(super) fn check_row(row: &NewEvent) -> Result<()> {
    if row.code.as_ref().is_some_and(|code| code.is_empty() || code.len() > CODE_BYTES_MAX) {
        return Err(Error::OutOfRange { param: "code", allowed: format!("1 to {CODE_BYTES_MAX} bytes") });
    }
    if row.kind == EventType::DataPoint && (row.code.is_none() || row.value.is_none()) {
        return Err(Error::Missing("code and value of a data point"));
    }
    Ok(())
}
