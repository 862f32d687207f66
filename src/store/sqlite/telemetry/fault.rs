//! What can go wrong inside the engine, before it becomes a domain error.

use super::super::pages::CheckpointError;
use crate::domain;
use crate::durable_file::FileError;

/// An inner failure.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// SQLite failed.
    #[error("{context}: {cause}")]
    Sqlite {
        /// What was being done.
        context: &'static str,
        /// SQLite's own words.
        cause: rusqlite::Error,
    },
    /// The file system failed.
    #[error("{context}: {cause}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// The system's own words.
        cause: std::io::Error,
    },
    /// A file could not be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// A blob is not what was written.
    #[error("damaged blob: {0}")]
    Damaged(&'static str),
    /// A bound of the format was exceeded.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// Rows moved between memory and disk in a way that this read cannot follow; it starts again.
    #[error("the rows moved while they were read")]
    SnapshotChanged,
    /// Work in the background failed.
    #[error("{0}")]
    Failed(String),
    /// The engine is being closed.
    #[error("the event log is closed")]
    Closed,
    /// The file of a span was retired by the retention.
    #[error("the file was retired")]
    Expired,
    /// A file of this folder was written by a newer version.
    #[error("{0} was written by a newer version of this server")]
    Newer(String),
    /// Files that do not belong together; the text names them and says what to do.
    #[error("{0}")]
    Foreign(String),
}

impl Fault {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { cause, .. } => is_full(cause),
            Self::Io { cause, .. } => cause.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// Whether SQLite found that a file is damaged, as opposed to a disk that cannot be read or written now.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let Self::Sqlite { cause, .. } = self else { return false };
        match cause {
            rusqlite::Error::SqliteFailure(failure, text) => {
                let is_missing =
                    |text: &String| text.starts_with("no such table") || text.starts_with("no such column");
                matches!(failure.code, DatabaseCorrupt | NotADatabase) || text.as_ref().is_some_and(is_missing)
            }
            // A column holds what was never written there.
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => true,
            // A table or column is missing.
            rusqlite::Error::SqlInputError { .. } => true,
            _ => false,
        }
    }
}

/// What whoever wants something written is told when the disk is full.
pub const DISK_FULL: &str = "the disk is full";

/// What inner functions return.
pub type Result<T> = std::result::Result<T, Fault>;

/// Whether SQLite found the disk full: of its own files, or of the memory that it shares between connections.
pub fn is_full(cause: &rusqlite::Error) -> bool {
    let failure = cause.sqlite_error();
    failure.is_some_and(|failure| {
        failure.code == rusqlite::ErrorCode::DiskFull || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

impl From<Fault> for domain::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Foreign(text) => Self::Refused(text),
            full if full.is_full() => Self::Busy(DISK_FULL),
            newer @ Fault::Newer(_) => Self::Refused(newer.to_string()),
            fault => Self::store(fault),
        }
    }
}

impl From<CheckpointError> for Fault {
    fn from(error: CheckpointError) -> Self {
        const CONTEXT: &str = "a checkpoint";
        match error {
            CheckpointError::Sqlite(cause) => Self::Sqlite { context: CONTEXT, cause },
            CheckpointError::Io(cause) => Self::Io { context: CONTEXT, cause },
        }
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Adds the context.
    fn during(self, context: &'static str) -> Result<T>;
}

impl<T> Context<T> for rusqlite::Result<T> {
    fn during(self, context: &'static str) -> Result<T> {
        self.map_err(|cause| Fault::Sqlite { context, cause })
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn during(self, context: &'static str) -> Result<T> {
        self.map_err(|cause| Fault::Io { context, cause })
    }
}
