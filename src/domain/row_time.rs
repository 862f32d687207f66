//! The time of a row of the log: what a device says of it as far as that can be, else the server's (decision 0015).

use std::sync::atomic::{AtomicU64, Ordering};

use super::event::CODE_BYTES_MAX;
use super::{Cloud, Device, Error, EventSource, EventType, NewEvent, Result};

/// How far behind the server's clock the time may be that a device gives to what it says now.
pub const LATE_MS_MAX: i64 = 24 * 3600 * 1000;
/// How far ahead of the server's clock an imported row may be. It gets the server's time then.
const IMPORT_AHEAD_MS_MAX: i64 = 24 * 3600 * 1000;

/// When something was so, by the word of a device, milliseconds since 1970. No device is refused because of its clock:
/// a time that cannot be is corrected to the server's, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is so now: the last word of the device, whatever its clock says.
    Now(i64),
    /// It was so then and is uploaded later: the last word only when nothing newer is known.
    Then(i64),
}

/// How often a device's clock was wrong.
#[derive(Default)]
pub(super) struct Corrections(AtomicU64);

impl Cloud {
    /// Times of reports that could not be, so that their rows got the server's time, since the start.
    pub fn clocks_corrected(&self) -> u64 {
        self.corrections.0.load(Ordering::Relaxed)
    }

    /// The time of a row that says what is so now: the server's, but never from before the device's last reset or
    /// handover, which would hide it.
    pub(super) fn row_ms(&self, device: &Device) -> i64 {
        self.now_ms().max(device.history_from_ms)
    }

    /// A row that says what is so now, without code and value.
    pub(super) fn row_now(&self, device: &Device, kind: EventType, source: EventSource) -> NewEvent {
        let time_ms = self.row_ms(device);
        NewEvent { device: device.no, time_ms, kind, source, code: None, value: None, is_history: false }
    }

    /// The same for what a device says by itself of some moment, and whether its clock was wrong about it.
    pub(super) fn row_said(&self, device: &Device, kind: EventType, when: When) -> (NewEvent, bool) {
        let now_ms = self.now_ms();
        let (said_ms, oldest_ms, is_history) = match when {
            When::Now(said_ms) => (said_ms, now_ms.saturating_sub(LATE_MS_MAX), false),
            When::Then(said_ms) => (said_ms, self.oldest_kept_ms(), true),
        };
        let mut row = NewEvent { is_history, ..self.row_now(device, kind, EventSource::DEVICE) };
        let is_wrong = !(oldest_ms.max(0)..=now_ms).contains(&said_ms);
        if is_wrong {
            self.corrections.0.fetch_add(1, Ordering::Relaxed);
        } else {
            // An upload of what was before the last reset or handover stays before it.
            row.time_ms = if is_history { said_ms } else { said_ms.max(device.history_from_ms) };
        }
        (row, is_wrong)
    }

    /// A row of an operator's document, which is history with the time that it names.
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

/// What every row must fulfil besides.
pub(super) fn check_row(row: &NewEvent) -> Result<()> {
    if row.code.as_ref().is_some_and(|code| code.is_empty() || code.len() > CODE_BYTES_MAX) {
        return Err(Error::OutOfRange { param: "code", allowed: format!("1 to {CODE_BYTES_MAX} bytes") });
    }
    if row.kind == EventType::DataPoint && (row.code.is_none() || row.value.is_none()) {
        return Err(Error::Missing("code and value of a data point"));
    }
    Ok(())
}
