//! Figures for the operator.

/// What an operator wants to know of the log's engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryFigures {
    /// Rows acknowledged since the start.
    pub rows_appended: u64,
    /// Commits that brought them.
    pub commits: u64,
    /// Rows in memory that wait for a roll.
    pub rows_in_memory: u64,
    /// Rolls finished since the start.
    pub rolls: u64,
    /// Rolls that failed and will be tried again.
    pub rolls_failed: u64,
    /// Parts of files that were found damaged.
    pub damaged: u64,
    /// Acknowledged rows that were found missing, ever.
    pub lost_rows: u64,
    /// Whether rows are taken; otherwise the disk is full.
    pub is_writing: bool,
    /// Rows refused since the start because the disk is full.
    pub refused_rows: u64,
    /// Files that retention would remove and that wait for the operator's consent.
    pub waiting_to_expire: u64,
    /// Whether an acknowledgement waits for the disk.
    pub durable: bool,
    /// Long reads under way.
    pub long_reads: u64,
    /// Long reads that were refused, as too many waited.
    pub reads_refused: u64,
}
