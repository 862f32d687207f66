//! Checksums of the pages of an SQLite file, in a file beside it (`registry.pages` for `registry.db`). SQLite has no
//! checksums, so it would not notice a flipped bit or a page of an older copy.
//!
//! A database file in WAL mode changes only at a checkpoint, and only this module makes checkpoints. Before a checkpoint it
//! saves the checksums of the pages that will be written. A page that is still in the write-ahead log is not compared,
//! because it is read from there. So even after a power cut each page is in the log or has a correct checksum.
//!
//! This module must not open and close a database file that SQLite has open, except in [`verify`] with `keep_open`: closing
//! any descriptor of a file releases the POSIX locks that SQLite holds on it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::wal;
use crate::durable_file;

const MAGIC: &[u8; 8] = b"inglepg1";
/// The size of the header: magic, page size and number of pages.
const HEAD_BYTES: usize = 16;
/// The offset of the page size in a database file, in big-endian order; 1 stands for 65,536.
const PAGE_SIZE_AT: u64 = 16;
/// The offset of the byte that SQLite locks in a database file.
const LOCK_BYTE: usize = 0x4000_0000;
/// The number of bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// The result of comparing a database file with its checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every page is correct.
    Whole,
    /// These pages, numbered from 1, are wrong. The list is never empty.
    Damaged(Vec<u32>),
    /// The checksums do not exist: an older version wrote the database, or they were deleted.
    Unknown,
    /// The file with the checksums is damaged.
    SumsDamaged,
}

/// The checksums of the pages of one file.
struct Sums {
    page_bytes: u32,
    pages: Vec<u32>,
}

/// The path of the checksums of a database file.
pub fn path(database: &Path) -> PathBuf {
    database.with_extension("pages")
}

/// Compares a database file with its checksums. Must be called before SQLite opens the file, or with `keep_open`, which
/// leaves a descriptor open until the process ends.
///
/// # Errors
/// Those of reading the files.
pub fn verify(database: &Path, keep_open: bool) -> io::Result<Verdict> {
    let sums = match Sums::load(database)? {
        Loaded::Sums(sums) => sums,
        Loaded::Nothing => return Ok(Verdict::Unknown),
        Loaded::Damaged => return Ok(Verdict::SumsDamaged),
    };
    let in_log = wal::committed(database)?.pages;
    let found = Sums::of(database, Some(sums.page_bytes), keep_open)?;
    let count = sums.pages.len().max(found.pages.len());
    // SQLite never writes the page that contains the lock byte.
    let lock_page = LOCK_BYTE / sums.page_bytes as usize;
    let is_wrong = |index: &usize| *index != lock_page && sums.pages.get(*index) != found.pages.get(*index);
    let number = |index| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let damaged: Vec<u32> = (0..count).filter(is_wrong).map(number).filter(|page| !in_log.contains_key(page)).collect();
    Ok(if damaged.is_empty() { Verdict::Whole } else { Verdict::Damaged(damaged) })
}

/// Computes and saves the checksums of a database file that has none. `keep_open` is the same as in [`verify`].
///
/// # Errors
/// Those of the file system.
pub fn trust(database: &Path, keep_open: bool) -> io::Result<()> {
    Sums::of(database, None, keep_open)?.save(database)
}

/// Saves the checksums of the pages in the write-ahead log, moves the pages into the database file and empties the log.
/// Returns false if a reader still needs the log, which then remains. `connection` must be the only one that writes. If the
/// file has no checksums, none are saved unless all of its pages are in the log.
///
/// # Errors
/// Those of SQLite and of saving the checksums. If they cannot be saved, no page is moved.
pub fn checkpoint(connection: &Connection, database: &Path) -> Result<bool, CheckpointError> {
    let in_log = wal::committed(database)?;
    if in_log.database_pages == 0 {
        return Ok(true);
    }
    let sums = match Sums::load(database)? {
        Loaded::Sums(sums) => Some(sums),
        Loaded::Nothing | Loaded::Damaged => {
            // The file of a new database holds at most SQLite's first page.
            let is_new = fs::metadata(database)?.len() <= u64::from(in_log.page_bytes);
            is_new.then(|| Sums { page_bytes: in_log.page_bytes, pages: Vec::new() })
        }
    };
    if let Some(mut sums) = sums {
        sums.pages.resize(in_log.database_pages as usize, 0);
        for (number, sum) in in_log.pages {
            if let Some(stored) = (number as usize).checked_sub(1).and_then(|index| sums.pages.get_mut(index)) {
                *stored = sum;
            }
        }
        sums.save(database)?;
    }
    let step = |mode: &str| {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        connection.query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
    };
    let (busy, in_log, done) = step("FULL")?;
    if busy != 0 || in_log != done {
        return Ok(false);
    }
    let (busy, ..) = step("TRUNCATE")?;
    Ok(busy == 0)
}

/// Compares the pages of a snapshot of a database, one after the other, with the checksums of its file, and makes the
/// checksums of a copy of the snapshot.
pub struct Comparison {
    stored: Option<Sums>,
    in_log: HashMap<u32, u32>,
    copied: Sums,
    damaged: Vec<u32>,
}

impl Comparison {
    /// Begins a comparison. A read transaction of the snapshot must be open until it ends: a page that changes after the
    /// snapshot stays in the write-ahead log as long as the transaction, and pages in the log are not compared.
    ///
    /// # Errors
    /// Those of reading the files.
    pub fn begin(database: &Path, page_bytes: u32) -> io::Result<Self> {
        // The checksums first: those that are newer than the snapshot belong to pages in the log, which is read after them.
        let stored = match Sums::load(database)? {
            Loaded::Sums(sums) => Some(sums),
            Loaded::Nothing | Loaded::Damaged => None,
        };
        let in_log = wal::committed(database)?.pages;
        Ok(Self { stored, in_log, copied: Sums { page_bytes, pages: Vec::new() }, damaged: Vec::new() })
    }

    /// Adds the next page.
    pub fn page(&mut self, page: &[u8]) {
        let (index, sum) = (self.copied.pages.len(), crc32fast::hash(page));
        self.copied.pages.push(sum);
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let stored = self.stored.as_ref().and_then(|stored| stored.pages.get(index));
        let is_lock_page = index == LOCK_BYTE / self.copied.page_bytes as usize;
        if stored.is_some_and(|stored| *stored != sum) && !is_lock_page && !self.in_log.contains_key(&number) {
            self.damaged.push(number);
        }
    }

    /// The pages that are damaged, and the content of the file of checksums for the copy.
    pub fn finish(self) -> (Vec<u32>, Vec<u8>) {
        (self.damaged, self.copied.content())
    }
}

/// The size of a file of checksums in bytes, for a database of so many pages.
pub fn content_bytes(pages: u32) -> u64 {
    (HEAD_BYTES + 4) as u64 + 4 * u64::from(pages)
}

/// Deletes the checksums of a database file.
///
/// # Errors
/// Those of the file system.
pub fn remove(database: &Path) -> io::Result<()> {
    match fs::remove_file(path(database)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Why a checkpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// SQLite failed.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

enum Loaded {
    Sums(Sums),
    Nothing,
    Damaged,
}

impl Sums {
    fn load(database: &Path) -> io::Result<Loaded> {
        let bytes = match fs::read(path(database)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&bytes).map_or(Loaded::Damaged, Loaded::Sums))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let word = |four: &[u8]| four.try_into().ok().map(u32::from_le_bytes);
        if word(sum)? != crc32fast::hash(body) || body.get(..8)? != MAGIC {
            return None;
        }
        let (page_bytes, count) = (word(body.get(8..12)?)?, word(body.get(12..16)?)?);
        let pages: Vec<u32> = body.get(HEAD_BYTES..)?.chunks_exact(4).filter_map(word).collect();
        (pages.len() == count as usize && page_bytes >= 512).then_some(Self { page_bytes, pages })
    }

    /// Computes the checksums of a file with this page size, or with the one in the file.
    fn of(database: &Path, page_bytes: Option<u32>, keep_open: bool) -> io::Result<Self> {
        let mut file = match File::open(database) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { page_bytes: page_bytes.unwrap_or(512), pages: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let page_bytes = page_bytes.map_or_else(|| page_size(&file), Ok)?;
        let page = page_bytes as usize;
        let mut buffer = vec![0; READ_BYTES.next_multiple_of(page)];
        let (mut pages, mut filled) = (Vec::new(), 0);
        loop {
            let read = file.read(&mut buffer[filled..])?;
            filled += read;
            if filled == buffer.len() || read == 0 {
                pages.extend(buffer[..filled].chunks(page).map(crc32fast::hash));
                filled = 0;
            }
            if read == 0 {
                break;
            }
        }
        if keep_open {
            std::mem::forget(file);
        }
        Ok(Self { page_bytes, pages })
    }

    fn save(&self, database: &Path) -> io::Result<()> {
        durable_file::write(&path(database), &self.content(), durable_file::SECRET_MODE).map_err(|error| error.cause)
    }

    fn content(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 4 * self.pages.len() + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.page_bytes.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.pages.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(self.pages.iter().flat_map(|sum| sum.to_le_bytes()));
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }
}

fn page_size(file: &File) -> io::Result<u32> {
    let mut two = [0; 2];
    match file.read_exact_at(&mut two, PAGE_SIZE_AT) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(512),
        other => other?,
    }
    Ok(match u16::from_be_bytes(two) {
        1 => 65_536,
        bytes => u32::from(bytes).max(512),
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::config::DbConfig;

    use super::*;

    #[test]
    fn every_damaged_page_is_reported_but_no_change() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("some.db");
        let connection = Connection::open(&database)?;
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        assert_eq!(verify(&database, false)?, Verdict::Unknown);
        for round in 1..4 {
            connection.execute("INSERT INTO t VALUES(randomblob(20000))", [])?;
            if round > 1 {
                assert_eq!(verify(&database, false)?, Verdict::Whole, "pages in the log are not compared");
            }
            assert!(checkpoint(&connection, &database)?);
            assert_eq!(verify(&database, false)?, Verdict::Whole);
            assert_eq!(fs::metadata(wal::path(&database))?.len(), 0);
        }
        let whole = fs::read(&database)?;
        for page in 0..whole.len() / 4096 {
            let mut damaged = whole.clone();
            damaged[page * 4096 + 7] ^= 0x10;
            fs::write(&database, &damaged)?;
            assert_eq!(verify(&database, false)?, Verdict::Damaged(vec![page as u32 + 1]));
        }
        fs::write(&database, &whole[..whole.len() - 4096])?;
        assert_eq!(verify(&database, false)?, Verdict::Damaged(vec![(whole.len() / 4096) as u32]));
        fs::write(&database, &whole)?;
        let sums = fs::read(path(&database))?;
        fs::write(path(&database), &sums[..sums.len() - 8])?;
        assert_eq!(verify(&database, false)?, Verdict::SumsDamaged);
        Ok(())
    }
}
