//! The reports of one code in either direction. A page ends with a whole millisecond, so the time of its last row is a
//! sufficient cursor, and no row is lost or repeated between two pages.

use std::sync::Arc;

use super::event::{PAGE_ROWS_MAX, PageStart};
use super::{Caller, Cloud, Device, DeviceName, Event, EventQuery, EventTypes, Result};

/// The maximal number of rows by which the last millisecond may exceed the limit of a page; further ones are skipped.
const SAME_MS_ROWS_MAX: usize = 1000;
/// The maximal number of reads for one page.
const READS_MAX: usize = 64;
/// The first time span that a page with the oldest row first examines.
const SPAN_MS: i64 = 60_000;

/// Selects rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineQuery {
    /// Only this code.
    pub code: String,
    /// The start of the time span, inclusive.
    pub from_ms: i64,
    /// The end of the time span, inclusive.
    pub to_ms: i64,
    /// The maximal number of rows, 1 to [`PAGE_ROWS_MAX`].
    pub limit: usize,
    /// Whether the oldest rows come first; otherwise the newest.
    pub oldest_first: bool,
    /// Only rows of these types.
    pub types: EventTypes,
}

/// A page of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelinePage {
    /// The rows, in the direction of the query. Slightly more than the limit if several rows share the last
    /// millisecond.
    pub rows: Vec<Event>,
    /// The start of the next page: the new `from_ms` if the oldest rows come first, otherwise the new `to_ms`.
    pub next_ms: i64,
}

impl Cloud {
    /// A page of the reports of one code, within the retention and after the device's last reset.
    ///
    /// # Errors
    /// [`super::Error::NotVisible`].
    pub async fn timeline(
        &self,
        caller: &Caller,
        name: &DeviceName,
        query: TimelineQuery,
    ) -> Result<(Arc<Device>, TimelinePage)> {
        let device = self.device_named(caller, name).await?;
        let rows = EventQuery {
            types: query.types,
            codes: vec![query.code.clone()],
            from_ms: query.from_ms,
            to_ms: query.to_ms,
            start: PageStart::Newest,
            limit: query.limit.clamp(1, PAGE_ROWS_MAX),
        };
        let rows = self.within_history(&device, rows);
        let page = if rows.from_ms > rows.to_ms {
            TimelinePage { rows: Vec::new(), next_ms: if query.oldest_first { query.to_ms } else { query.from_ms } }
        } else if query.oldest_first {
            self.oldest_first(caller, &device, rows).await?
        } else {
            self.newest_first(caller, &device, rows).await?
        };
        Ok((device, page))
    }

    async fn newest_first(&self, caller: &Caller, device: &Device, query: EventQuery) -> Result<TimelinePage> {
        let from_ms = query.from_ms;
        let mut rows = Vec::new();
        let mut reads = 0;
        let mut at = query.clone();
        while rows.len() < query.limit {
            at.limit = query.limit - rows.len();
            let page = self.telemetry.page(Some(caller.project.no), device.no, &at).await?;
            rows.extend(page.rows);
            reads += 1;
            match page.next {
                Some(next) if rows.len() < query.limit && reads < READS_MAX => at.start = PageStart::At(next.row),
                // No row was found in all reads. The caller continues from here.
                Some(next) if rows.is_empty() => {
                    return Ok(TimelinePage { rows, next_ms: next.row.time_ms });
                }
                Some(_) => break,
                None => return Ok(TimelinePage { next_ms: rows.last().map_or(from_ms, before), rows }),
            }
        }
        let Some(last) = rows.last().map(|event: &Event| event.row) else {
            return Ok(TimelinePage { rows, next_ms: from_ms });
        };
        let rest = EventQuery { from_ms: last.time_ms, start: PageStart::After(last), ..query };
        rows.extend(self.all(caller, device, rest).await?);
        Ok(TimelinePage { rows, next_ms: last.time_ms - 1 })
    }

    /// The log is read newest first, so a page with the oldest rows is collected from time spans, each as long as one
    /// read covers.
    async fn oldest_first(&self, caller: &Caller, device: &Device, query: EventQuery) -> Result<TimelinePage> {
        let mut rows: Vec<Event> = Vec::new();
        let (mut from_ms, mut span_ms) = (query.from_ms, SPAN_MS);
        for _ in 0..READS_MAX {
            if rows.len() >= query.limit || from_ms > query.to_ms {
                break;
            }
            let to_ms = from_ms.saturating_add(span_ms - 1).min(query.to_ms);
            let span = EventQuery { from_ms, to_ms, limit: PAGE_ROWS_MAX, ..query.clone() };
            let page = self.telemetry.page(Some(caller.project.no), device.no, &span).await?;
            let mut found = match page.next {
                Some(_) if span_ms > 1 => {
                    span_ms = (span_ms / 8).max(1);
                    continue;
                }
                Some(_) => self.all(caller, device, span).await?,
                None => page.rows,
            };
            found.reverse();
            rows.extend(found);
            from_ms = to_ms.saturating_add(1);
            span_ms = span_ms.saturating_mul(4);
        }
        if let Some(last_ms) = rows.get(query.limit - 1).map(|event| event.row.time_ms) {
            rows.retain(|event| event.row.time_ms <= last_ms);
            from_ms = last_ms + 1;
        }
        Ok(TimelinePage { rows, next_ms: from_ms })
    }

    /// Every row of a query whose time span is one millisecond, up to a limit.
    async fn all(&self, caller: &Caller, device: &Device, mut query: EventQuery) -> Result<Vec<Event>> {
        query.limit = PAGE_ROWS_MAX;
        let mut rows = Vec::new();
        let from_ms = query.from_ms;
        loop {
            let page = self.telemetry.page(Some(caller.project.no), device.no, &query).await?;
            rows.extend(page.rows);
            match page.next {
                Some(next) if next.row.time_ms >= from_ms && rows.len() < SAME_MS_ROWS_MAX => {
                    query.start = PageStart::At(next.row);
                }
                _ => return Ok(rows),
            }
        }
    }
}

fn before(event: &Event) -> i64 {
    event.row.time_ms - 1
}
