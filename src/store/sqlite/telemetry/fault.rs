//! The errors of the engine, which are converted to [`domain::Error`] at its boundary.

use super::super::pages::CheckpointError;
use crate::domain;
use crate::durable_file::FileError;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// SQLite returned an error.
    #[error("{context}: {cause}")]
    Sqlite {
        /// The operation that failed.
        context: &'static str,
        /// The error of SQLite.
        cause: rusqlite::Error,
    },
    /// The file system returned an error.
    #[error("{context}: {cause}")]
    Io {
        /// The operation that failed.
        context: &'static str,
        /// The error of the operating system.
        cause: std::io::Error,
    },
    /// A file could not be created.
    #[error(transparent)]
    File(#[from] FileError),
    /// A block or a journal entry is damaged.
    #[error("damaged blob: {0}")]
    Damaged(&'static str),
    /// A limit of the file format was exceeded.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// A flush, a compaction or a rename changed the files during a read; the read starts again.
    #[error("the files changed while they were read")]
    SnapshotChanged,
    /// A read of the memtables alone would need files.
    #[error("the rows are in files")]
    NeedsFiles,
    /// A background task failed.
    #[error("{0}")]
    Failed(String),
    /// The engine is being closed.
    #[error("the event log is closed")]
    Closed,
    /// Retention deleted the file of a partition.
    #[error("the file was deleted by retention")]
    Expired,
    /// A file of this folder was written by a newer version.
    #[error("{0} was written by a newer version of this server")]
    Newer(String),
    /// Files that do not belong together; the text names them and says what to do.
    #[error("{0}")]
    Foreign(String),
    /// Damage with which the log is not opened; the text names the file and says what to do.
    #[error("{0}. Restore the data folder from a backup, or serve what is sound of it with `ingle serve --salvage`")]
    Refused(String),
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

    /// Whether the disk cannot be written or read now.
    pub fn is_of_disk(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly, SystemIoFailure};
        match self {
            Self::Sqlite { cause: rusqlite::Error::SqliteFailure(failure, _), .. } => {
                matches!(failure.code, CannotOpen | PermissionDenied | ReadOnly | SystemIoFailure)
            }
            Self::Io { .. } | Self::File(_) => true,
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
            // A column has a type that this engine never writes.
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => true,
            // A table or column is missing.
            rusqlite::Error::SqlInputError { .. } => true,
            _ => false,
        }
    }
}

/// The reason that callers get when a write is refused because the disk is full.
pub const DISK_FULL: &str = "the disk is full";

/// The result type of the engine's functions.
pub type Result<T> = std::result::Result<T, Fault>;

/// Whether the error means that the disk is full: either for a database file or for the shared memory of its WAL index.
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
            refused @ Fault::Refused(_) => Self::Refused(refused.to_string()),
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

/// Adds the operation that failed to an error.
pub trait Context<T> {
    /// Adds the operation to the error.
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
