//! Snapshots of database files: a read transaction on each of them. SQLite keeps what a transaction sees, whatever is
//! written meanwhile, so a snapshot can be copied and examined while the server runs.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::pages::{self, Comparison};
use crate::domain::{Error, Result};

/// Reads all pages in their order.
const PAGES: &str = "SELECT data FROM sqlite_dbpage";
/// How many damaged pages an error lists.
const PAGES_LISTED_MAX: usize = 5;

/// One state of a database file.
pub struct DatabaseSnapshot {
    /// The database file.
    pub path: PathBuf,
    /// The connection with the read transaction.
    pub connection: Connection,
    page_bytes: u32,
    page_count: u32,
}

impl DatabaseSnapshot {
    /// Begins a read transaction on an open connection.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn begin(path: PathBuf, connection: Connection) -> rusqlite::Result<Self> {
        let mut snapshot = Self { path, connection, page_bytes: 0, page_count: 0 };
        snapshot.renew()?;
        Ok(snapshot)
    }

    /// Ends the transaction and begins another one, which sees the last commit.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn renew(&mut self) -> rusqlite::Result<()> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("COMMIT")?;
        }
        self.connection.execute_batch("BEGIN")?;
        // The first read decides which commit the transaction sees.
        self.page_count = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        self.page_bytes = self.connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        // A file whose pages cannot be read at all is noticed now.
        self.connection.prepare_cached(PAGES).map(drop)
    }

    /// Ends the transaction, so that checkpoints are possible again.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn end(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")
    }

    /// The name of the file.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The size of a copy of the database file in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.page_bytes) * u64::from(self.page_count)
    }

    /// The size of the file of checksums for a copy in bytes.
    pub fn sums_bytes(&self) -> u64 {
        pages::content_bytes(self.page_count)
    }

    /// Passes every page to `write`, which makes a copy of the database that needs no write-ahead log. Returns the content
    /// of the file of checksums for the copy.
    ///
    /// # Errors
    /// Those of `write`; [`Error::Refused`] if a page differs from its checksum; [`Error::Store`].
    pub fn copy(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<Vec<u8>> {
        let mut comparison = Comparison::begin(&self.path, self.page_bytes).map_err(Error::store)?;
        let mut select = self.connection.prepare_cached(PAGES).map_err(Error::store)?;
        let mut found = select.query([]).map_err(Error::store)?;
        while let Some(row) = found.next().map_err(|error| unreadable(&self.path, &error))? {
            let page = row.get_ref(0).map_err(Error::store)?.as_blob().map_err(Error::store)?;
            comparison.page(page);
            write(page)?;
        }
        let (damaged, sums) = comparison.finish();
        if damaged.is_empty() {
            return Ok(sums);
        }
        let listed = damaged.iter().take(PAGES_LISTED_MAX).map(u32::to_string).collect::<Vec<_>>().join(", ");
        let more = if damaged.len() > PAGES_LISTED_MAX { ", …" } else { "" };
        let (file, count) = (self.path.display(), damaged.len());
        Err(Error::Refused(format!("{file} is damaged: {count} of its pages have a wrong checksum ({listed}{more})")))
    }
}

/// The error for a file that SQLite cannot read.
pub fn unreadable(path: &Path, error: &rusqlite::Error) -> Error {
    Error::Refused(format!("{} cannot be read: {error}", path.display()))
}
