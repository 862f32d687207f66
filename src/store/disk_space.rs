//! The free space of the disk, and whether it can be written. Below a limit the event log refuses new rows, so that reads, the
//! registry and the next start still have some space; none of them works with a completely full disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;

/// A file that only occupies space. It is deleted when not even a start or a read has enough space.
const RESERVE_FILE: &str = "reserve";
/// A file that is written and deleted to find out whether the disk can be written again.
const PROBE_FILE: &str = "reserve.probe";
const RESERVE_BYTES: u64 = 1 << 20;
/// The reserve is deleted when less than this is free.
const LAST_BYTES: u64 = 512 << 10;

/// After a write failed because the disk was full, no write is attempted for this long, whatever the reported free
/// space.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The free space of the disk that holds a data folder.
#[derive(Default)]
pub struct DiskSpace {
    /// None if the free space is not checked, as in tests and benchmarks of an engine.
    folder: Option<PathBuf>,
    min_bytes: u64,
    is_low: AtomicBool,
    refused: AtomicU64,
    /// When a write last failed because the disk was full. That can happen although free space is reported, for example
    /// with a quota.
    failed: Mutex<Option<Instant>>,
    /// The free bytes at the last check.
    free: AtomicU64,
    /// The size of the files in the folder at the last check, in bytes.
    used: AtomicU64,
    /// Whether the last write failed for another reason than a full disk.
    is_failing: AtomicBool,
    /// Whether the file system was read-only at the last check.
    is_read_only: AtomicBool,
}

impl DiskSpace {
    /// The free space for a data folder; the event log leaves `min_bytes` free.
    pub fn new(folder: &Path, min_bytes: u64) -> Self {
        Self { folder: Some(folder.to_owned()), min_bytes, ..Self::unlimited() }
    }

    /// A disk without a limit.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Whether the event log must refuse new rows.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Acquire)
    }

    /// Rows that were refused since the start because the disk was full.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts rows that were refused.
    pub fn count_refused(&self, rows: usize) {
        self.refused.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Reads the free space; call it about once a second. Each change between low and sufficient is logged once.
    pub fn check(&self) {
        let Some(folder) = &self.folder else { return };
        let free = match rustix::fs::statvfs(folder) {
            Ok(found) => {
                self.note_read_only(found.f_flag.contains(StatVfsMountFlags::RDONLY));
                found.f_bavail.saturating_mul(found.f_frsize)
            }
            Err(error) => {
                tracing::debug!(%error, folder = %folder.display(), "the free space of the disk cannot be read");
                return;
            }
        };
        self.free.store(free, Ordering::Relaxed);
        if self.is_failing.load(Ordering::Acquire) {
            match probe(&folder.join(PROBE_FILE)) {
                Ok(()) => self.note_written(),
                Err(error) => tracing::debug!(%error, "the disk still cannot be written"),
            }
        }
        // Half more than the limit, so that the state does not change with every row.
        let enough = self.min_bytes.saturating_add(self.min_bytes / 2);
        let reserve = folder.join(RESERVE_FILE);
        if free < self.min_bytes {
            self.set_low(free);
        } else if self.is_low() && free >= enough && !self.failed_recently() {
            self.is_low.store(false, Ordering::Release);
            tracing::info!(folder = %folder.display(), free, refused_rows = self.refused(), "enough disk space is free again: rows are accepted");
        }
        if free < LAST_BYTES && reserve.exists() {
            match fs::remove_file(&reserve) {
                Ok(()) => tracing::warn!(file = %reserve.display(), "the disk is full: the reserve was deleted"),
                Err(error) => tracing::warn!(file = %reserve.display(), %error, "the reserve cannot be deleted"),
            }
        } else if free >= enough + RESERVE_BYTES
            && !reserve.exists()
            && let Err(error) = create_reserve(&reserve)
        {
            tracing::debug!(file = %reserve.display(), %error, "the reserve cannot be created");
        }
        self.used.store(bytes_of_files(folder), Ordering::Relaxed);
    }

    /// The free bytes at the last check.
    pub fn free_bytes(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// The size of the files in the folder in bytes at the last check, 0 if the folder is not known.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Why the event log cannot be written now, if it cannot.
    pub fn write_failure(&self) -> Option<&'static str> {
        if self.is_low() {
            Some("the disk is full")
        } else if self.is_read_only.load(Ordering::Acquire) {
            Some("the file system is read-only")
        } else if self.is_failing.load(Ordering::Acquire) {
            Some("writes to the disk fail")
        } else {
            None
        }
    }

    /// Records that a write failed for another reason than a full disk. Later writes are attempted nevertheless.
    pub fn note_failed(&self, error: &str) {
        if self.folder.is_some() && !self.is_failing.swap(true, Ordering::AcqRel) {
            tracing::error!(error, "writes to the disk fail: nothing is acknowledged until they succeed");
        }
    }

    /// Records that a write succeeded. Costs one atomic load while there is no failure.
    pub fn note_written(&self) {
        if self.is_failing.load(Ordering::Acquire) && self.is_failing.swap(false, Ordering::AcqRel) {
            tracing::info!("writes to the disk succeed again");
        }
    }

    fn note_read_only(&self, is_read_only: bool) {
        if self.is_read_only.swap(is_read_only, Ordering::AcqRel) != is_read_only {
            if is_read_only {
                tracing::error!("the file system of the data folder is read-only: nothing can be stored");
            } else {
                tracing::info!("the file system of the data folder can be written again");
            }
        }
    }

    /// Records that a write failed because the disk is full.
    pub fn note_full(&self) {
        if self.folder.is_some() {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.set_low(0);
        }
    }

    fn failed_recently(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }

    fn set_low(&self, free: u64) {
        if !self.is_low.swap(true, Ordering::AcqRel) {
            let folder = self.folder.as_deref().unwrap_or(Path::new("")).display();
            tracing::error!(
                %folder,
                free,
                at_least = self.min_bytes,
                "the disk is full: reports of devices are refused until space is free; reads continue"
            );
        }
    }
}

/// The kind of a file system, with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// A disk of this machine.
    Local(&'static str),
    /// In memory.
    Memory(&'static str),
    /// On another machine. SQLite's locks and shared memory do not work there.
    Network(&'static str),
    /// A layer over something that cannot be determined.
    Unknown(&'static str),
}

/// File systems by the magic numbers of Linux (linux/magic.h).
const FILE_SYSTEMS: [(u32, FileSystem); 22] = [
    (0xEF53, FileSystem::Local("ext4")),
    (0x5846_5342, FileSystem::Local("xfs")),
    (0x9123_683E, FileSystem::Local("btrfs")),
    (0x2FC1_2FC1, FileSystem::Local("zfs")),
    (0xF2F5_2010, FileSystem::Local("f2fs")),
    (0xCA45_1A4E, FileSystem::Local("bcachefs")),
    (0x794C_7630, FileSystem::Local("overlayfs")),
    (0x4D44, FileSystem::Local("vfat")),
    (0x2011_BAB0, FileSystem::Local("exfat")),
    (0x5346_544E, FileSystem::Local("ntfs")),
    (0x7366_746E, FileSystem::Local("ntfs3")),
    (0x0102_1994, FileSystem::Memory("tmpfs")),
    (0x8584_58F6, FileSystem::Memory("ramfs")),
    (0x6969, FileSystem::Network("nfs")),
    (0x517B, FileSystem::Network("smb")),
    (0xFE53_4D42, FileSystem::Network("smb")),
    (0xFF53_4D42, FileSystem::Network("cifs")),
    (0x5346_414F, FileSystem::Network("afs")),
    (0x7375_7245, FileSystem::Network("coda")),
    (0x00C3_6400, FileSystem::Network("ceph")),
    (0x6573_5546, FileSystem::Unknown("fuse")),
    (0x0102_1997, FileSystem::Unknown("9p")),
];

/// The file system of a folder.
///
/// # Errors
/// Those of the operating system.
pub fn file_system(folder: &Path) -> io::Result<FileSystem> {
    // The kernel's number has 32 bits, whatever the type of the member is.
    let magic = rustix::fs::statfs(folder)?.f_type as u32;
    let found = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    Ok(found.map_or(FileSystem::Unknown("an unknown file system"), |(_, found)| *found))
}

/// The size of the files in a folder in bytes.
fn bytes_of_files(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    sizes.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// Writes a small file with fsync and deletes it.
fn probe(path: &Path) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let written = file.write_all(&[0xA5; 4096]).and_then(|()| file.sync_all());
    fs::remove_file(path)?;
    written
}

fn create_reserve(path: &Path) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // Not zeros, because some file systems allocate no space for them.
    let written = (0..RESERVE_BYTES / 4096).try_for_each(|_| file.write_all(&[0xA5; 4096]));
    written.and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}
