//! What can go wrong inside the engine, before it becomes a domain error.

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
    Moved,
    /// Work in the background failed.
    #[error("{0}")]
    Failed(String),
    /// The engine is being closed.
    #[error("the event log is closed")]
    Closed,
    /// The file of a span was retired by the retention.
    #[error("the file was retired")]
    Retired,
    /// A file of this folder was written by a newer version.
    #[error("{0} was written by a newer version of this server")]
    Newer(String),
}

/// What inner functions return.
pub type Result<T> = std::result::Result<T, Fault>;

impl From<Fault> for domain::Error {
    fn from(fault: Fault) -> Self {
        Self::store(fault)
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
