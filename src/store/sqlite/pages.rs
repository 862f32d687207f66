//! Checksums of an SQLite file's pages, in a file beside it (`registry.pages` for `registry.db`): SQLite has none of its
//! own, so a flipped bit or a page of an older copy would be read as if it were right.
//!
//! A database in WAL mode changes only at a checkpoint, and checkpoints are made here alone. The checksums of what a
//! checkpoint will write are saved before it, and a page that the write-ahead log still holds is not compared: it is read
//! from there. So at every moment, also after a power cut or a failure, each page is in the log or has its checksum.
//!
//! A database file is never opened and closed here while SQLite has it open, but for [`verify`] with `keep_open`: closing
//! any descriptor of a file ends the POSIX locks that SQLite has on it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::wal;
use crate::durable_file;

const MAGIC: &[u8; 8] = b"inglepg1";
/// Magic, page size and number of pages.
const HEAD_BYTES: usize = 16;
/// Where a database file says its page size, in big-endian order; 1 stands for 65,536.
const PAGE_SIZE_AT: u64 = 16;
/// Where SQLite locks a database file.
const LOCK_BYTE: usize = 0x4000_0000;
/// What is read at once.
const READ_BYTES: usize = 1 << 20;

/// What the checksums say of a database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every page is what was written.
    Whole,
    /// These pages, numbered from 1, are not what was written; never empty.
    Damaged(Vec<u32>),
    /// There are no checksums: the file is older than they are, or they were deleted.
    Unknown,
    /// The file of the checksums is damaged itself.
    SumsDamaged,
}

/// The checksums of the pages of one file.
struct Sums {
    page_bytes: u32,
    pages: Vec<u32>,
}

/// Where the checksums of a database file lie.
pub fn path(database: &Path) -> PathBuf {
    database.with_extension("pages")
}

/// Compares a database file with its checksums. Call it before SQLite opens the file, or with `keep_open`, which leaves a
/// descriptor open for as long as the process lives.
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
    // SQLite never writes the page at this place, which holds its locks.
    let lock_page = LOCK_BYTE / sums.page_bytes as usize;
    let is_wrong = |index: &usize| *index != lock_page && sums.pages.get(*index) != found.pages.get(*index);
    let number = |index| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let damaged: Vec<u32> = (0..count).filter(is_wrong).map(number).filter(|page| !in_log.contains_key(page)).collect();
    Ok(if damaged.is_empty() { Verdict::Whole } else { Verdict::Damaged(damaged) })
}

/// Takes a database file that has no checksums as it is. As [`verify`].
///
/// # Errors
/// Those of the file system.
pub fn trust(database: &Path, keep_open: bool) -> io::Result<()> {
    Sums::of(database, None, keep_open)?.save(database)
}

/// Notes the checksums of what the write-ahead log holds, moves it into the database file, and empties the log. False when
/// a reader still needs the log: it stays as it is then, until the next time. `connection` is the only one that writes. A
/// file that has no checksums gets none here, unless all of it is in the log.
///
/// # Errors
/// Those of SQLite and of saving the checksums; nothing was moved when they could not be saved.
pub fn checkpoint(connection: &Connection, database: &Path) -> Result<bool, CheckpointError> {
    let in_log = wal::committed(database)?;
    if in_log.database_pages == 0 {
        return Ok(true);
    }
    let sums = match Sums::load(database)? {
        Loaded::Sums(sums) => Some(sums),
        Loaded::Nothing | Loaded::Damaged => {
            // A new database: its file holds no more than SQLite's first page yet.
            let is_new = fs::metadata(database)?.len() <= u64::from(in_log.page_bytes);
            is_new.then(|| Sums { page_bytes: in_log.page_bytes, pages: Vec::new() })
        }
    };
    if let Some(mut sums) = sums {
        sums.pages.resize(in_log.database_pages as usize, 0);
        for (number, sum) in in_log.pages {
            if let Some(known) = (number as usize).checked_sub(1).and_then(|index| sums.pages.get_mut(index)) {
                *known = sum;
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

/// Forgets the checksums of a database file.
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

    /// The checksums of a file as it is now, in pages of this size or of the file's own.
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
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 4 * self.pages.len() + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.page_bytes.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.pages.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(self.pages.iter().flat_map(|sum| sum.to_le_bytes()));
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        durable_file::write(&path(database), &bytes, durable_file::SECRET_MODE).map_err(|error| error.cause)
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
    fn every_damaged_page_is_named_and_a_change_is_none() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("some.db");
        let connection = Connection::open(&database)?;
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        assert_eq!(verify(&database, false)?, Verdict::Unknown);
        for round in 1..4 {
            connection.execute("INSERT INTO t VALUES(randomblob(20000))", [])?;
            if round > 1 {
                assert_eq!(verify(&database, false)?, Verdict::Whole, "what the log holds is no contradiction");
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
