//! Spans of days, and the names of their files.

use std::fs;
use std::path::Path;

use super::super::wal;

/// The days of one span: retention drops whole spans.
const PARTITION_MS: i64 = 7 * 24 * 3600 * 1000;
/// How the name of a file of events begins.
pub const PREFIX: &str = "events-";
/// How it ends.
pub const SUFFIX: &str = ".db";
/// Stands between the span and the number of a file that was set aside.
pub const ASIDE: &str = ".damaged-";

/// The span that a time falls into.
pub fn partition_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(PARTITION_MS)
}

/// The newest millisecond of a span.
pub fn partition_end_ms(partition: i64) -> i64 {
    partition.saturating_add(1).saturating_mul(PARTITION_MS).saturating_sub(1)
}

/// A span, and 0 for the file that new rows of it go to, or the number of one that was set aside.
pub type Place = (i64, u32);

/// The place of a file of events, by its name.
pub fn place_of(name: &str) -> Option<Place> {
    let middle = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    match middle.split_once(ASIDE) {
        Some((partition, number)) => Some((partition.parse().ok()?, number.parse().ok().filter(|number| *number > 0)?)),
        None => Some((middle.parse().ok()?, 0)),
    }
}

/// Whether a file and its write-ahead log hold nothing: it was being made when the disk was full, or the server ended.
pub fn is_empty(path: &Path) -> bool {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    bytes(path) == 0 && bytes(&wal::path(path)) == 0
}
