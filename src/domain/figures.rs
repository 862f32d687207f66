//! Metrics of the event log.

/// The metrics of the event log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryFigures {
    /// Rows acknowledged since the start.
    pub rows_appended: u64,
    /// Group commits since the start.
    pub commits: u64,
    /// Rows in memtables that wait for a flush.
    pub rows_in_memory: u64,
    /// Approximate size of the memtables, in bytes.
    pub bytes_in_memory: u64,
    /// Memtables.
    pub memtables: u64,
    /// Partition files.
    pub partitions: u64,
    /// Sorted runs in all files, as far as they were read.
    pub runs: u64,
    /// Free space of the disk, in bytes.
    pub disk_free_bytes: u64,
    /// Size of the files in the data folder, in bytes.
    pub disk_used_bytes: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// Flushes that failed and will be tried again.
    pub flushes_failed: u64,
    /// Damaged parts of files that were found.
    pub damaged: u64,
    /// Acknowledged rows that were found missing, ever.
    pub lost_rows: u64,
    /// Why rows cannot be written now, if they cannot.
    pub write_failure: Option<&'static str>,
    /// Rows refused since the start because the disk is full.
    pub refused_rows: u64,
    /// Files that retention would remove and that wait for the operator's consent.
    pub waiting_to_expire: u64,
    /// Whether an acknowledgement waits for the disk.
    pub durable: bool,
    /// Long reads in progress.
    pub long_reads: u64,
    /// Long reads that were refused because too many waited.
    pub reads_refused: u64,
}
