//! Data points: the latest value of each code of a device, and the reports that change them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::event::{BATCH_ROWS_MAX, CODE_BYTES_MAX, FUTURE_MS_MAX};
use super::{Cloud, Device, DeviceNo, Error, EventSource, EventType, NewEvent, Result, RowRef, Value};

/// The latest value of one code of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPoint {
    /// The function's code.
    pub code: Arc<str>,
    /// Its value.
    pub value: Value,
    /// The log row that brought it.
    pub row: RowRef,
}

/// What a device last said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// One entry a code, in the order in which the codes first appeared.
    pub points: Vec<DataPoint>,
    /// The newest connect (`true`) or disconnect (`false`) and its row.
    pub presence: Option<(bool, RowRef)>,
}

/// Codes of which a device's latest value is kept, so that a device cannot grow it without bound. Rows of a further
/// code are in the log, but not among the latest values.
pub const CODES_PER_DEVICE_MAX: usize = 512;

/// Rows of reports that were checked.
#[derive(Default)]
pub struct Reported(Vec<NewEvent>);

impl Reported {
    /// Adds those of another report.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl Cloud {
    /// Takes what a device reports. When this returns, every row is on disk and the latest values are visible.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a time beyond the retention or more than a day ahead, a code or batch that is too
    /// long; [`Error::Unfit`] for a value that its function cannot have. Nothing of the batch is kept then.
    pub async fn report(&self, device: &Device, points: Vec<(Arc<str>, Value, i64)>) -> Result<()> {
        self.keep(self.reported(device, points)?).await
    }

    /// What a device reports, checked, for [`Cloud::keep`]. A code that its product does not have is kept and counted.
    ///
    /// # Errors
    /// As [`Cloud::report`].
    pub fn reported(&self, device: &Device, points: Vec<(Arc<str>, Value, i64)>) -> Result<Reported> {
        let mut unknown = 0;
        for (code, value, _) in &points {
            match device.product.function(code) {
                Some(function) if !function.accepts(value) => return Err(Error::Unfit(code.to_string())),
                Some(_) => {}
                None => unknown += 1,
            }
        }
        let reported = self.rows_reported(device.no, EventType::DataPoint, points)?;
        if unknown > 0 {
            self.unknown_codes.fetch_add(unknown, Ordering::Relaxed);
        }
        Ok(reported)
    }

    /// What happened to a device by its own word, checked, for [`Cloud::keep`]: events of the thing model.
    ///
    /// # Errors
    /// As [`Cloud::report`].
    pub fn happened(&self, device: &Device, events: Vec<(Arc<str>, Value, i64)>) -> Result<Reported> {
        self.rows_reported(device.no, EventType::Happened, events)
    }

    /// Data points taken so far whose codes their products do not have.
    pub fn unknown_codes(&self) -> u64 {
        self.unknown_codes.load(Ordering::Relaxed)
    }

    fn rows_reported(
        &self,
        device: DeviceNo,
        kind: EventType,
        points: Vec<(Arc<str>, Value, i64)>,
    ) -> Result<Reported> {
        let rows = points.into_iter().map(|(code, value, time_ms)| NewEvent {
            device,
            time_ms,
            kind,
            source: EventSource::DEVICE,
            code: Some(code),
            value: Some(value),
        });
        let rows: Vec<NewEvent> = rows.collect();
        rows.iter().try_for_each(|row| self.check_event(row))?;
        Ok(Reported(rows))
    }

    /// Keeps checked reports, all of them or none, in one batch.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a batch that is too long, [`Error::Store`].
    pub async fn keep(&self, reported: Reported) -> Result<()> {
        let Reported(rows) = reported;
        if rows.is_empty() {
            return Ok(());
        }
        if rows.len() > BATCH_ROWS_MAX {
            return Err(Error::OutOfRange { param: "events", allowed: format!("at most {BATCH_ROWS_MAX} rows") });
        }
        self.log(rows).await
    }

    /// Appends rows to the log after the checks that every door shares.
    ///
    /// # Errors
    /// As [`Cloud::report`].
    pub async fn append(&self, rows: Vec<NewEvent>) -> Result<()> {
        rows.iter().try_for_each(|row| self.check_event(row))?;
        self.keep(Reported(rows)).await
    }

    /// Whether [`Cloud::append`] would take a row.
    ///
    /// # Errors
    /// As [`Cloud::report`].
    pub fn check_event(&self, row: &NewEvent) -> Result<()> {
        check_row(row, self.oldest_kept_ms(), self.now_ms() + FUTURE_MS_MAX)
    }
}

fn check_row(row: &NewEvent, oldest_ms: i64, newest_ms: i64) -> Result<()> {
    if row.time_ms < oldest_ms.max(0) {
        let allowed = format!("within the retention: {oldest_ms} or later (telemetry.retention_days)");
        return Err(Error::OutOfRange { param: "time", allowed });
    }
    if row.time_ms > newest_ms {
        return Err(Error::OutOfRange {
            param: "time",
            allowed: format!("at most a day ahead: {newest_ms} or earlier"),
        });
    }
    if row.code.as_ref().is_some_and(|code| code.is_empty() || code.len() > CODE_BYTES_MAX) {
        return Err(Error::OutOfRange { param: "code", allowed: format!("1 to {CODE_BYTES_MAX} bytes") });
    }
    if row.kind == EventType::DataPoint && (row.code.is_none() || row.value.is_none()) {
        return Err(Error::Missing("code and value of a data point"));
    }
    Ok(())
}
