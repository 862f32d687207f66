//! Data points: the latest value of each code of a device, and the reports that change them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::event::BATCH_ROWS_MAX;
use super::row_time::{ReportTime, check_row};
use super::{Cloud, Device, Error, EventType, NewEvent, ProductId, Result, RowRef, Value};

/// The latest value of one code of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPoint {
    /// The code of the function.
    pub code: Arc<str>,
    /// Its value.
    pub value: Value,
    /// The log row of the report.
    pub row: RowRef,
}

/// The latest values and the presence of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// One entry for each code, in the order of their first report.
    pub points: Vec<DataPoint>,
    /// The last connect (`true`) or disconnect (`false`) and its row. [`Cloud::online`] says whether the device is
    /// connected now.
    pub presence: Option<(bool, RowRef)>,
}

/// The maximal number of codes of a device with a latest value, so that a device cannot grow it without limit. Rows of
/// further codes are only in the log.
pub const CODES_PER_DEVICE_MAX: usize = 512;

/// A reported value: code, value and time.
pub type ReportedValue = (Arc<str>, Value, ReportTime);

/// The validated rows of reports.
#[derive(Default)]
pub struct Reported {
    rows: Vec<NewEvent>,
    /// Whether a time was impossible, so that its row got the server's time.
    pub is_clock_wrong: bool,
    /// A code whose value does not match the specification, if any.
    pub off_spec: Option<Arc<str>>,
}

impl Reported {
    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds the rows of another report.
    pub fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.is_clock_wrong |= other.is_clock_wrong;
        self.off_spec = self.off_spec.take().or(other.off_spec);
    }
}

/// Counts stored values that do not match their specification.
#[derive(Default)]
pub struct OffSpec(Mutex<BTreeMap<(ProductId, String), u64>>);

impl OffSpec {
    /// The maximal number of codes that are counted separately. Further ones are counted together, without names.
    const CODES_MAX: usize = 1000;

    fn count(&self, product: &ProductId, code: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (product.clone(), code.to_owned());
        let is_counted = counts.len() < Self::CODES_MAX || counts.contains_key(&key);
        let key = if is_counted { key } else { (ProductId(String::new()), String::new()) };
        *counts.entry(key).or_default() += 1;
    }

    fn counts(&self) -> Vec<(ProductId, String, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((product, code), count)| (product.clone(), code.clone(), *count)).collect()
    }
}

impl Cloud {
    /// Stores a report of a device. When this returns, every row is on disk and the latest values are visible.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a code or batch that is too long; [`Error::Unfit`] for a value off the specification
    /// of a strict product. Nothing is stored then.
    pub async fn report(&self, device: &Device, points: Vec<ReportedValue>) -> Result<()> {
        self.keep(self.reported(device, points)?).await
    }

    /// Validates a report for [`Cloud::keep`]. Codes that the product does not have are stored and counted; values off
    /// the specification too, unless the product is strict.
    ///
    /// # Errors
    /// As [`Cloud::report`].
    pub fn reported(&self, device: &Device, mut points: Vec<ReportedValue>) -> Result<Reported> {
        let (mut unknown, mut off_spec) = (0, Vec::new());
        for (code, value, _) in &mut points {
            let Some(function) = device.product.function(code) else {
                unknown += 1;
                continue;
            };
            if !function.accepts_normalized(value) {
                if device.product.strict {
                    return Err(Error::Unfit(code.to_string()));
                }
                off_spec.push(code.clone());
            }
        }
        let mut reported = self.rows_reported(device, EventType::DataPoint, points)?;
        if unknown > 0 {
            self.unknown_codes.fetch_add(unknown, Ordering::Relaxed);
        }
        for code in &off_spec {
            self.off_spec.count(&device.product.id, code);
        }
        reported.off_spec = off_spec.pop();
        Ok(reported)
    }

    /// The numbers of stored values off the specification, by product and code.
    pub fn off_spec_values(&self) -> Vec<(ProductId, String, u64)> {
        self.off_spec.counts()
    }

    /// Validates thing events that a device reports, for [`Cloud::keep`].
    ///
    /// # Errors
    /// As [`Cloud::report`].
    pub fn thing_events(&self, device: &Device, events: Vec<ReportedValue>) -> Result<Reported> {
        self.rows_reported(device, EventType::ThingEvent, events)
    }

    /// The number of stored data points whose codes their products do not have.
    pub fn unknown_codes(&self) -> u64 {
        self.unknown_codes.load(Ordering::Relaxed)
    }

    fn rows_reported(&self, device: &Device, kind: EventType, said: Vec<ReportedValue>) -> Result<Reported> {
        let mut reported = Reported { rows: Vec::with_capacity(said.len()), ..Reported::default() };
        for (code, value, when) in said {
            let (row, is_clock_wrong) = self.row_reported(device, kind, when);
            let row = NewEvent { code: Some(code), value: Some(value), ..row };
            check_row(&row)?;
            reported.rows.push(row);
            reported.is_clock_wrong |= is_clock_wrong;
        }
        Ok(reported)
    }

    /// Stores validated reports, all or none, in one batch.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a batch that is too long, [`Error::Store`].
    pub async fn keep(&self, reported: Reported) -> Result<()> {
        let rows = reported.rows;
        if rows.is_empty() {
            return Ok(());
        }
        if rows.len() > BATCH_ROWS_MAX {
            return Err(Error::OutOfRange { param: "events", allowed: format!("at most {BATCH_ROWS_MAX} rows") });
        }
        self.log(rows).await
    }
}
