//! Weekly partitions of the event log, and the names of their files.

use std::fs;
use std::path::Path;

use super::super::wal;

/// The length of a partition in milliseconds; retention deletes whole partitions.
const PARTITION_MS: i64 = 7 * 24 * 3600 * 1000;
/// The beginning of the name of a partition's file.
const PREFIX: &str = "events-";
/// The end of the name.
const SUFFIX: &str = ".db";
/// The text between the partition's number and the number of a damaged file that was set aside.
const ASIDE: &str = ".damaged-";

/// The partition of a time in milliseconds since 1970.
pub fn partition_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(PARTITION_MS)
}

/// The last millisecond of a partition.
pub fn partition_end_ms(partition: i64) -> i64 {
    partition.saturating_add(1).saturating_mul(PARTITION_MS).saturating_sub(1)
}

/// Identifies one file of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionFileId {
    /// The partition's number: full weeks since 1970.
    pub partition: i64,
    /// 0 for the file that receives new rows; 1 and up for damaged files of the partition that were set aside.
    pub damaged_no: u32,
}

impl PartitionFileId {
    /// The file of a partition that receives new rows.
    pub fn active(partition: i64) -> Self {
        Self { partition, damaged_no: 0 }
    }

    /// The last id that a file of a partition can have.
    pub fn last(partition: i64) -> Self {
        Self { partition, damaged_no: u32::MAX }
    }

    /// Reads the id from a file name; `None` if the name is not one of a partition's file.
    pub fn from_name(name: &str) -> Option<Self> {
        let middle = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        match middle.split_once(ASIDE) {
            Some((partition, number)) => {
                let damaged_no = number.parse().ok().filter(|number| *number > 0)?;
                Some(Self { partition: partition.parse().ok()?, damaged_no })
            }
            None => Some(Self::active(middle.parse().ok()?)),
        }
    }

    /// Whether this is the file that receives new rows.
    pub fn is_active(self) -> bool {
        self.damaged_no == 0
    }

    /// The name of the file.
    pub fn name(self) -> String {
        match self {
            Self { partition, damaged_no: 0 } => format!("{PREFIX}{partition}{SUFFIX}"),
            Self { partition, damaged_no } => format!("{PREFIX}{partition}{ASIDE}{damaged_no}{SUFFIX}"),
        }
    }
}

/// Whether a file and its SQLite write-ahead log are both empty: its creation was interrupted by a full disk or by the
/// end of the server.
pub fn is_empty(path: &Path) -> bool {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    bytes(path) == 0 && bytes(&wal::path(path)) == 0
}
