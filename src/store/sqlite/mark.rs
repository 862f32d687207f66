//! High-water marks: a small file beside a database that records how much was acknowledged. It reveals that a database has
//! lost commits (a damaged or truncated write-ahead log, an older copy), which SQLite cannot detect.
//!
//! A mark is written after the commit is on disk and is not synced. After a power cut it may be behind the database, but
//! never ahead of it. So a mark that is ahead of its database always means a loss.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// How many numbers a mark has.
pub const NUMBERS: usize = 4;
/// Two slots are written alternately, so that a power cut can damage only one of them.
const SLOT_BYTES: usize = 512;
/// The size of a mark in bytes.
pub const BYTES: usize = 2 * SLOT_BYTES;
const MAGIC: &[u8; 8] = b"inglemk1";
const BODY_BYTES: usize = MAGIC.len() + NUMBERS * 8;

/// The numbers of a mark. The ones after the first never decrease.
pub type Numbers = [i64; NUMBERS];

/// A mark that is open for writing.
pub struct Mark {
    file: File,
    slot: u64,
}

impl Mark {
    /// Opens the mark at `path`, or creates it, and writes its first numbers.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, numbers: Numbers) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let mut mark = Self { file, slot: 0 };
        // Both slots are written, so that none holds old numbers and no later write needs more disk space.
        mark.put(numbers)?;
        mark.put(numbers)?;
        Ok(mark)
    }

    /// Writes the numbers of a commit that is already on disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn put(&mut self, numbers: Numbers) -> io::Result<()> {
        self.file.write_all_at(&slot_of(numbers), self.slot * SLOT_BYTES as u64)?;
        self.slot ^= 1;
        Ok(())
    }
}

/// The content of a mark with these numbers.
pub fn content(numbers: Numbers) -> [u8; BYTES] {
    let mut both = [0; BYTES];
    both.chunks_exact_mut(SLOT_BYTES).for_each(|slot| slot.copy_from_slice(&slot_of(numbers)));
    both
}

fn slot_of(numbers: Numbers) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..MAGIC.len()].copy_from_slice(MAGIC);
    for (number, bytes) in numbers.iter().zip(slot[MAGIC.len()..].chunks_exact_mut(8)) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    let sum = crc32fast::hash(&slot[..BODY_BYTES]);
    slot[BODY_BYTES..BODY_BYTES + 4].copy_from_slice(&sum.to_le_bytes());
    slot
}

/// Reads the mark at a path. `None` if it does not exist or both slots are damaged.
///
/// # Errors
/// Those of reading the file.
pub fn read(path: &Path) -> io::Result<Option<Numbers>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(bytes.chunks_exact(SLOT_BYTES).filter_map(numbers_of).max_by_key(|numbers| (numbers[1], numbers[2], numbers[3])))
}

fn numbers_of(slot: &[u8]) -> Option<Numbers> {
    let sum = slot.get(BODY_BYTES..BODY_BYTES + 4)?.try_into().ok().map(u32::from_le_bytes)?;
    if slot.get(..MAGIC.len())? != MAGIC || sum != crc32fast::hash(slot.get(..BODY_BYTES)?) {
        return None;
    }
    let mut numbers = [0; NUMBERS];
    for (number, bytes) in numbers.iter_mut().zip(slot.get(MAGIC.len()..)?.chunks_exact(8)) {
        *number = i64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_undamaged_slot_is_read() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("some.mark");
        assert_eq!(read(&path)?, None);
        let mut mark = Mark::open(&path, [7, 0, 0, 0])?;
        for n in 1..6 {
            mark.put([7, n, 10 * n, 0])?;
            assert_eq!(read(&path)?, Some([7, n, 10 * n, 0]));
        }
        let whole = std::fs::read(&path)?;
        for (slot, expected) in [(0, [7, 4, 40, 0]), (1, [7, 5, 50, 0])] {
            let mut damaged = whole.clone();
            damaged[slot * SLOT_BYTES + 20] ^= 1;
            std::fs::write(&path, &damaged)?;
            assert_eq!(read(&path)?, Some(expected).filter(|_| slot == 1).or(Some([7, 4, 40, 0])));
        }
        std::fs::write(&path, &whole[..100])?;
        assert_eq!(read(&path)?, None);
        Ok(())
    }
}
