//! Reads the write-ahead log of an SQLite file without SQLite (<https://www.sqlite.org/fileformat2.html#walformat>) to find
//! the committed pages in it. SQLite itself silently stops at the first frame with a wrong checksum.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24;
/// The magic number of a log with checksums over little-endian words. For big-endian words it is one more.
const MAGIC: u32 = 0x377f_0682;
/// The page sizes that SQLite supports.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// The path of the write-ahead log of a database file.
pub fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// The contents of the committed and undamaged part of a write-ahead log.
#[derive(Debug, Default)]
pub struct Committed {
    /// The CRC-32 of the last committed version of each page, by page number from 1.
    pub pages: HashMap<u32, u32>,
    /// The size of a page in bytes; 0 without a log.
    pub page_bytes: u32,
    /// The number of pages of the database after the last commit; 0 without a commit.
    pub database_pages: u32,
}

/// Reads the write-ahead log of `database`. The result is empty if there is no log.
///
/// # Errors
/// Those of reading the file.
pub fn committed(database: &Path) -> io::Result<Committed> {
    let mut committed = Committed::default();
    let file = match File::open(path(database)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(committed),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !read_whole(&mut file, &mut header)? {
        return Ok(committed);
    }
    let (magic, page_bytes) = (word(&header, 0), word(&header, 8));
    let is_big_endian = magic == MAGIC | 1;
    if magic & !1 != MAGIC || !PAGE_BYTES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
        return Ok(committed);
    }
    let mut sum = checksum(&header[..24], (0, 0), is_big_endian);
    if sum != (word(&header, 24), word(&header, 28)) {
        return Ok(committed);
    }
    committed.page_bytes = page_bytes;
    let mut frame = vec![0; FRAME_BYTES + page_bytes as usize];
    let mut open = Vec::new();
    while read_whole(&mut file, &mut frame)? {
        // Frames from before a restart of the log have another salt.
        if frame[8..16] != header[16..24] {
            break;
        }
        sum = checksum(&frame[..8], sum, is_big_endian);
        sum = checksum(&frame[FRAME_BYTES..], sum, is_big_endian);
        if sum != (word(&frame, 16), word(&frame, 20)) {
            break;
        }
        open.push((word(&frame, 0), crc32fast::hash(&frame[FRAME_BYTES..])));
        let database_pages = word(&frame, 4);
        if database_pages > 0 {
            committed.pages.extend(open.drain(..));
            committed.database_pages = database_pages;
        }
    }
    Ok(committed)
}

/// Fills `buffer`. Returns false at the end of the file.
fn read_whole(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a big-endian number. The caller ensures that the bytes exist.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Continues SQLite's checksum `before` with bytes whose number is a multiple of eight.
fn checksum(bytes: &[u8], before: (u32, u32), is_big_endian: bool) -> (u32, u32) {
    let read = |four: &[u8]| {
        let four = four.try_into().unwrap_or([0; 4]);
        if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    bytes.chunks_exact(8).fold(before, |(mut first, mut second), eight| {
        first = first.wrapping_add(read(&eight[..4])).wrapping_add(second);
        second = second.wrapping_add(read(&eight[4..])).wrapping_add(first);
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::config::DbConfig;

    use super::*;

    #[test]
    fn committed_pages_are_read_up_to_the_first_damaged_frame() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("some.db");
        let pages = |database: &Path| -> io::Result<Vec<u32>> {
            let mut pages: Vec<u32> = committed(database)?.pages.into_keys().collect();
            pages.sort_unstable();
            Ok(pages)
        };
        assert!(pages(&database)?.is_empty());
        let connection = Connection::open(&database)?;
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute("INSERT INTO t VALUES(zeroblob(20000))", [])?;
        assert_eq!(pages(&database)?, (1..=7).take(pages(&database)?.len()).collect::<Vec<_>>());
        assert_eq!(committed(&database)?.database_pages as usize, pages(&database)?.len());
        let whole = std::fs::read(path(&database))?;
        let frames = (whole.len() - HEADER_BYTES) / (FRAME_BYTES + 4096);
        let mut damaged = whole.clone();
        // This is the last frame, which belongs to the second commit.
        damaged[HEADER_BYTES + (frames - 1) * (FRAME_BYTES + 4096) + 100] ^= 1;
        std::fs::write(path(&database), damaged)?;
        assert_eq!(pages(&database)?, [1, 2]);
        std::fs::write(path(&database), &whole[..whole.len() - 1])?;
        assert_eq!(pages(&database)?, [1, 2]);
        Ok(())
    }
}
