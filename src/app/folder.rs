//! The data folder: its lock, copies of it that cannot be used, backups, and its repair.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{AppError, SystemClock};
use crate::control::{DataFolder, PreparedBackup};
use crate::domain::{Clock, Error, Result as DomainResult};
use crate::durable_file;
use crate::store::disk_space::{self, FileSystem};
use crate::store::seal::Seal;
use crate::store::sqlite::REGISTRY_FILE;
use crate::store::sqlite::backup::{Backup, FolderSnapshot};
use crate::store::sqlite::recover::{self, OldHistory, Recovered};
use crate::store::sqlite::telemetry::SqliteTelemetry;
use crate::store::sqlite::verify::{self, Progress, Report};

/// The file that the process that uses the folder has locked. Its content says that a server is running, see [`Lock`].
pub(super) const LOCK_FILE: &str = "ingle.lock";
/// The number of snapshots for backups and examinations at the same time.
const SNAPSHOTS_MAX: u32 = 4;

/// The lock of a data folder.
///
/// While a server runs, the lock file contains its own inode number and the time of its creation, and after a clean stop
/// it is empty. A copy of a running server's folder therefore contains numbers that are not those of its own lock file,
/// unlike the folder itself after a crash, and unlike a snapshot of the file system.
pub struct Lock {
    file: File,
    /// Whether the folder is a copy that was made while a server was running.
    pub is_copy: bool,
}

impl Lock {
    /// Locks a data folder for this process and creates it if necessary.
    ///
    /// # Errors
    /// [`AppError`], whose text says what to do.
    pub fn take(folder: &Path) -> Result<Self, AppError> {
        let unusable = |error| AppError::Folder(folder.to_owned(), error);
        durable_file::create_folder(folder)?;
        if let Ok(FileSystem::Network(name)) = disk_space::file_system(folder) {
            let text = format!(
                "{} is on {name}, a network file system, on which SQLite loses data: use a local disk",
                folder.display()
            );
            return Err(AppError::Store(text));
        }
        let path = folder.join(LOCK_FILE);
        durable_file::create_private(&path)?;
        let file = File::options().write(true).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AppError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        Ok(Self { file, is_copy: Self::is_copy(folder) })
    }

    /// Whether a folder that is not in use is a copy that was made while a server was running.
    pub fn is_copy(folder: &Path) -> bool {
        let path = folder.join(LOCK_FILE);
        let found = fs::read_to_string(&path).ok().zip(fs::metadata(&path).ok());
        found.is_some_and(|(content, metadata)| {
            Identity::parse(&content).is_some_and(|recorded| !recorded.is_same(&Identity::of(&metadata)))
        })
    }

    /// Records that a server runs. An error is logged: without the record only a copy is not recognized.
    pub fn record_use(&self) {
        let write = || -> io::Result<()> {
            let text = Identity::of(&self.file.metadata()?).to_string();
            self.file.write_all_at(text.as_bytes(), 0)?;
            self.file.set_len(text.len() as u64)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "the lock file cannot be written");
        }
    }

    /// Records a clean stop.
    pub fn record_stop(&self) {
        if let Err(error) = self.file.set_len(0) {
            tracing::warn!(%error, "the lock file cannot be written");
        }
    }
}

/// What distinguishes a lock file from a copy of it.
struct Identity {
    inode: u64,
    /// The time of its creation in nanoseconds since 1970, if the file system records it. No program can set it.
    created_ns: Option<u128>,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let created = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self { inode: metadata.ino(), created_ns: created.map(|since| since.as_nanos()) }
    }

    fn parse(text: &str) -> Option<Self> {
        let (inode, created) = text.trim_end().strip_prefix("in use, inode ")?.split_once(", created ")?;
        Some(Self { inode: inode.parse().ok()?, created_ns: created.parse().ok() })
    }

    /// Whether both describe the same file. Some file systems give other inode numbers after a restart, so the time of
    /// the creation decides if it is known.
    fn is_same(&self, other: &Self) -> bool {
        match (self.created_ns, other.created_ns) {
            (Some(one), Some(other)) => one == other,
            _ => self.inode == other.inode,
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "in use, inode {}, created ", self.inode)?;
        match self.created_ns {
            Some(created) => writeln!(formatter, "{created}"),
            None => writeln!(formatter, "unknown"),
        }
    }
}

/// The error for a copy of a running server's folder.
pub fn refuse_copy(folder: &Path) -> AppError {
    AppError::Store(format!(
        "{} is a copy of a data folder that was in use: its files may be of different moments. Restore a backup that `ingle backup` \
         made, or stop the server and copy its folder again. If the server was not stopped but crashed, start it once in the \
         folder that was copied. `ingle serve --salvage` serves what is sound of this copy",
        folder.display()
    ))
}

/// Locks a folder that must exist.
fn lock_existing(folder: &Path) -> Result<Lock, AppError> {
    if !folder.join(LOCK_FILE).exists() && !folder.join(REGISTRY_FILE).exists() {
        return Err(AppError::Store(format!("{} is no data folder: name it with --data", folder.display())));
    }
    Lock::take(folder)
}

/// Repairs a data folder that does not open because its registry lost data.
///
/// # Errors
/// [`AppError`], whose text says what to do.
pub fn recover(folder: &Path, history: OldHistory) -> Result<Recovered, AppError> {
    let _lock = lock_existing(folder)?;
    Ok(recover::recover(folder, history, SystemClock.now_ms())?)
}

/// Examines a data folder that no server has open, and changes nothing in it.
///
/// # Errors
/// [`AppError::InUse`]; the text of anything that makes the examination impossible.
pub fn verify(folder: &Path, progress: Progress<'_>) -> Result<Report, AppError> {
    let lock = lock_existing(folder)?;
    let mut report = examine(folder, progress)?;
    if lock.is_copy {
        report.problems.push(refuse_copy(folder).to_string());
    }
    Ok(report)
}

/// Examines the files of a folder that no server has open.
pub(super) fn examine(folder: &Path, progress: Progress<'_>) -> DomainResult<Report> {
    let snapshot = match FolderSnapshot::of_closed(folder) {
        Err(Error::Refused(problem)) => return Ok(Report { problems: vec![problem], ..Report::default() }),
        other => other?,
    };
    match Seal::open(folder, false) {
        Ok(seal) => verify::verify(&snapshot, &seal, progress),
        Err(Error::Refused(problem)) => Ok(Report { problems: vec![problem], ..Report::default() }),
        Err(error) => Err(error),
    }
}

/// Takes snapshots of an open folder.
pub struct Snapshots {
    folder: PathBuf,
    telemetry: Arc<SqliteTelemetry>,
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
    is_closing: Arc<AtomicBool>,
}

impl Snapshots {
    /// Creates it for the folder of this event log.
    pub fn new(folder: &Path, telemetry: Arc<SqliteTelemetry>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(SNAPSHOTS_MAX as usize));
        Arc::new(Self { folder: folder.to_owned(), telemetry, clock, permits, is_closing: Arc::default() })
    }

    /// Ends all snapshots, and returns when none is left.
    pub async fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        let _ = self.permits.acquire_many(SNAPSHOTS_MAX).await;
        self.permits.close();
    }

    fn permit(&self) -> DomainResult<OwnedSemaphorePermit> {
        let busy = |_| Error::Busy("too many other backups are being made");
        self.permits.clone().try_acquire_owned().map_err(busy)
    }
}

impl DataFolder for Snapshots {
    fn begin_backup(&self, with_keys: bool) -> DomainResult<Box<dyn PreparedBackup>> {
        let permit = self.permit()?;
        let snapshot = FolderSnapshot::of_open(&self.folder, &self.telemetry)?;
        let backup = Backup::new(snapshot, with_keys, self.clock.now_ms())?;
        Ok(Box::new(RunningBackup { backup, is_closing: self.is_closing.clone(), _permit: permit }))
    }

    fn verify(&self) -> DomainResult<String> {
        let _permit = self.permit()?;
        let snapshot = FolderSnapshot::of_open(&self.folder, &self.telemetry)?;
        let seal = Seal::open(&self.folder, false)?;
        let is_closing = |_| if self.is_closing.load(Ordering::Acquire) { Err(stopping()) } else { Ok(()) };
        let report = verify::verify(&snapshot, &seal, &mut { is_closing })?;
        serde_json::to_string(&report).map_err(Error::store)
    }
}

fn stopping() -> Error {
    Error::Busy("the server is stopping")
}

/// A backup of an open folder.
struct RunningBackup {
    backup: Backup,
    is_closing: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl PreparedBackup for RunningBackup {
    fn bytes(&self) -> u64 {
        self.backup.bytes()
    }

    fn write(&self, to: &mut dyn Write) -> DomainResult<()> {
        self.backup
            .write(&mut UntilClosing { to, is_closing: &self.is_closing })
            .map_err(|error| if self.is_closing.load(Ordering::Acquire) { stopping() } else { error })
    }
}

/// A writer that fails when the server stops.
struct UntilClosing<'a> {
    to: &'a mut dyn Write,
    is_closing: &'a AtomicBool,
}

impl Write for UntilClosing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether a folder is missing, or has nothing in it but what a new file system has.
///
/// # Errors
/// [`AppError::Folder`].
pub(super) fn is_empty(folder: &Path) -> Result<bool, AppError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(AppError::Folder(folder.to_owned(), error)),
    };
    let mut names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names
        .try_fold(true, |is_empty, name| Ok(is_empty && name? == "lost+found"))
        .map_err(|error| AppError::Folder(folder.to_owned(), error))
}
