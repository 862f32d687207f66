//! Reads for several devices or rows, made of pages.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::SqliteTelemetry;
use crate::domain::event::{PAGE_ROWS_MAX, PageStart, RowContent};
use crate::domain::store::Telemetry;
use crate::domain::{DeviceNo, EventQuery, EventTypes, NewEvent, Result, RowRef};

/// The time of the newest row of each device.
pub async fn newest_ms(telemetry: &SqliteTelemetry, devices: &[DeviceNo]) -> Result<Vec<i64>> {
    let query = all_rows(0, i64::MAX, 1);
    let mut newest_ms = Vec::with_capacity(devices.len());
    for device in devices {
        let page = telemetry.page(None, *device, &query).await?;
        newest_ms.push(page.rows.first().map_or(0, |event| event.row.time_ms));
    }
    Ok(newest_ms)
}

/// For each row, whether the log has an equal one.
pub async fn contains(telemetry: &SqliteTelemetry, rows: &[NewEvent]) -> Result<Vec<bool>> {
    let mut found = vec![false; rows.len()];
    let mut wanted: Vec<(usize, &NewEvent)> = rows.iter().enumerate().collect();
    wanted.sort_unstable_by_key(|(_, row)| (row.device, Reverse(row.time_ms)));
    for of_device in wanted.chunk_by(|(_, a), (_, b)| a.device == b.device) {
        find(telemetry, of_device, &mut found).await?;
    }
    Ok(found)
}

/// Looks for rows of one device, given newest first with their places in `found`. Pages without a wanted row are skipped:
/// after each page, the next one begins at the next wanted time.
async fn find(telemetry: &SqliteTelemetry, wanted: &[(usize, &NewEvent)], found: &mut [bool]) -> Result<()> {
    let (Some((_, newest)), Some((_, oldest))) = (wanted.first(), wanted.last()) else { return Ok(()) };
    let mut places: HashMap<RowContent<'_>, Vec<usize>> = HashMap::with_capacity(wanted.len());
    for (place, row) in wanted {
        places.entry(row.content()).or_default().push(*place);
    }
    let mut query = all_rows(oldest.time_ms, newest.time_ms, PAGE_ROWS_MAX);
    let mut rest = wanted;
    loop {
        let page = telemetry.page(None, newest.device, &query).await?;
        for place in page.rows.iter().filter_map(|event| places.get(&event.content())).flatten() {
            if let Some(found) = found.get_mut(*place) {
                *found = true;
            }
        }
        let Some(next) = page.next else { return Ok(()) };
        let decided = rest.partition_point(|(_, row)| row.time_ms > next.row.time_ms);
        rest = rest.get(decided..).unwrap_or_default();
        let Some((_, first)) = rest.first() else { return Ok(()) };
        query.start = PageStart::At(next.row.min(RowRef { time_ms: first.time_ms, n: u32::MAX }));
    }
}

fn all_rows(from_ms: i64, to_ms: i64, limit: usize) -> EventQuery {
    let start = PageStart::Newest;
    EventQuery { types: EventTypes::all(), codes: Vec::new(), from_ms, to_ms, start, limit }
}
