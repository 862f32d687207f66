//! Writes a sorted run: blocks of rows in ascending order of their keys.

use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

use super::super::pages::{self, CheckpointError};
use super::codec::Encoder;
use super::fault::{Context, Result};
use super::files::{RunFile, salt};
use super::row::{Key, RowView};

/// Approximate size of a block in bytes before compression.
const BLOCK_BYTES: usize = 8 << 10;

/// The state of a sorted run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Its rows are part of the log.
    Live = 0,
    /// A compaction or a flush is writing it; readers ignore it.
    Building = 1,
    /// It was compacted into another run; its blocks are being deleted.
    Obsolete = 2,
}

/// A sorted run.
#[derive(Clone, Copy, Debug)]
pub struct SortedRun {
    /// Its number in the file.
    pub no: i64,
    /// The number of the first memtable whose rows it holds.
    pub first_memtable: i64,
    /// The number of the last memtable whose rows it holds.
    pub last_memtable: i64,
    /// Number of rows.
    pub rows: i64,
    /// The time of the oldest row.
    pub oldest_ms: i64,
    /// The time of the newest row.
    pub newest_ms: i64,
}

/// Where rows may be divided into blocks.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Between any two rows; also after this many rows of one device.
    Anywhere(u32),
    /// Only between two devices.
    BetweenDevices,
}

/// Writes one sorted run.
pub struct RunWriter {
    /// The description of the run so far.
    pub run: SortedRun,
    cut: Cut,
    encoder: Encoder,
    last: Key,
}

impl RunWriter {
    /// Begins a run that holds rows of these memtables. Call it within a transaction.
    pub fn begin(connection: &Connection, memtables: RangeInclusive<i64>, cut: Cut) -> Result<Self> {
        const NEXT: &str = "SELECT coalesce(max(run), 0) + 1 FROM run";
        let no = connection.query_row(NEXT, [], |row| row.get(0)).during("beginning a run")?;
        let (first_memtable, last_memtable) = memtables.into_inner();
        let run = SortedRun { no, first_memtable, last_memtable, rows: 0, oldest_ms: i64::MAX, newest_ms: i64::MIN };
        let writer = Self { run, cut, encoder: Encoder::default(), last: Key::first_of(i64::MIN) };
        writer.record(connection, RunState::Building)?;
        Ok(writer)
    }

    /// The key of the last row.
    pub fn last(&self) -> Key {
        self.last
    }

    /// Adds a row; call it in ascending order of keys.
    pub fn push(&mut self, connection: &Connection, key: Key, row: &RowView<'_>) -> Result<()> {
        let full = self.encoder.bytes() >= BLOCK_BYTES;
        let cut = self.encoder.rows() > 0
            && match self.cut {
                Cut::Anywhere(rows) => full || self.encoder.section_rows() >= rows,
                Cut::BetweenDevices => full && key.device != self.last.device,
            };
        if cut {
            self.close_block(connection)?;
        }
        self.encoder.push(key.device, row);
        self.last = key;
        self.run.rows += 1;
        self.run.oldest_ms = self.run.oldest_ms.min(row.time_ms);
        self.run.newest_ms = self.run.newest_ms.max(row.time_ms);
        Ok(())
    }

    fn close_block(&mut self, connection: &Connection) -> Result<()> {
        const INSERT: &str = "INSERT INTO block(run, device, inv_time, inv_n, blob) VALUES(?1, ?2, ?3, ?4, ?5)";
        let key = self.last;
        let blob = self.encoder.finish(salt(key))?;
        connection
            .prepare_cached(INSERT)
            .and_then(|mut insert| insert.execute(params![self.run.no, key.device, key.inv_time, key.inv_n, blob]))
            .during("writing a block")
            .map(drop)
    }

    /// Writes the last block and makes the run live.
    pub fn finish(&mut self, connection: &Connection) -> Result<()> {
        if self.encoder.rows() > 0 {
            self.close_block(connection)?;
        }
        self.record(connection, RunState::Live)
    }

    fn record(&self, connection: &Connection, state: RunState) -> Result<()> {
        const REPLACE: &str = "INSERT OR REPLACE INTO run(run, state, first_gen, last_gen, rows, oldest_ms, newest_ms)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let SortedRun { no, first_memtable, last_memtable, rows, oldest_ms, newest_ms } = self.run;
        let values = params![no, state as i64, first_memtable, last_memtable, rows, oldest_ms, newest_ms];
        connection
            .prepare_cached(REPLACE)
            .and_then(|mut replace| replace.execute(values))
            .during("recording a run")
            .map(drop)
    }
}

/// Changes the state of a run.
pub fn set_state(connection: &Connection, run: i64, state: RunState) -> Result<()> {
    connection
        .execute("UPDATE run SET state = ?2 WHERE run = ?1", [run, state as i64])
        .during("changing a run")
        .map(drop)
}

/// Deletes a run and its blocks. Call it within a transaction.
pub fn remove(connection: &Connection, run: i64) -> Result<()> {
    connection
        .execute("DELETE FROM block WHERE run = ?1", [run])
        .and_then(|_| connection.execute("DELETE FROM run WHERE run = ?1", [run]))
        .during("deleting a run")
        .map(drop)
}

/// Runs `action` in one transaction.
pub fn transaction<T>(connection: &Connection, action: impl FnOnce() -> Result<T>) -> Result<T> {
    // SQLite rolls the transaction back if it is dropped before its commit.
    let transaction = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)
        .during("beginning a transaction")?;
    let done = action()?;
    transaction.commit().during("committing")?;
    Ok(done)
}

/// Checkpoints the file: copies committed pages from its SQLite write-ahead log into it and stores their checksums.
/// Pages that a reader still needs wait for the next checkpoint.
pub fn checkpoint(connection: &Connection, file: &RunFile) {
    let moved = connection.busy_timeout(std::time::Duration::ZERO).map_err(CheckpointError::from).and_then(|()| {
        let moved = pages::checkpoint(connection, &file.path)?;
        connection.busy_timeout(std::time::Duration::from_secs(30))?;
        Ok(moved)
    });
    match moved {
        Ok(true) => {}
        Ok(false) => tracing::debug!(file = %file.path.display(), "a checkpoint waits for a reader"),
        Err(error) => tracing::debug!(file = %file.path.display(), %error, "a checkpoint was postponed"),
    }
}
