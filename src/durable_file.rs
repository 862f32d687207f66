//! Writes files that survive a power cut and that only their owner can read. A file is replaced atomically: its content
//! is written to a draft beside it and synced, the draft is renamed, and the folder is synced.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Readable and writable by the owner only: keys, databases and what is derived from them.
pub const SECRET_MODE: u32 = 0o600;
/// Readable by everyone: certificates.
pub const PUBLIC_MODE: u32 = 0o644;
/// The permissions of the data folder.
const FOLDER_MODE: u32 = 0o700;
/// The permission bits of the group and of others.
const OTHERS_BITS: u32 = 0o077;

/// An error of a file operation, with the path.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// The error of the operating system.
    #[source]
    pub cause: io::Error,
}

/// The result type of this module's functions.
pub type Result<T> = std::result::Result<T, FileError>;

fn with_path<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|cause| FileError { path: path.to_owned(), cause })
}

/// Replaces a file atomically and gives it exactly these permissions, whatever the umask. When it returns `Ok`, the
/// content and the name are on disk. After a power cut the file has the old content (or does not exist) or the new
/// content, never a part of it.
///
/// # Errors
/// [`FileError`].
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut draft = path.to_owned().into_os_string();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    with_path(&draft, written)?;
    with_path(path, fs::rename(&draft, path))?;
    sync_folder_of(path)
}

/// A new file that has a temporary name beside its path until it is complete. If it is dropped before it is published, it
/// is deleted.
pub struct Draft {
    path: PathBuf,
    draft: PathBuf,
    file: File,
    is_published: bool,
}

impl Draft {
    /// Creates the file under a temporary name, with exactly these permissions.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path, mode: u32) -> Result<Self> {
        let mut number = 0;
        loop {
            let mut draft = path.to_owned().into_os_string();
            draft.push(format!(".part-{}-{number}", std::process::id()));
            let draft = PathBuf::from(draft);
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft) {
                Ok(file) => {
                    let draft = Self { path: path.to_owned(), draft, file, is_published: false };
                    with_path(&draft.draft, draft.file.set_permissions(Permissions::from_mode(mode)))?;
                    return Ok(draft);
                }
                // It is left from an earlier process, or in use by another thread.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(cause) => return Err(FileError { path: draft, cause }),
            }
        }
    }

    /// Writes what was written so far to the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives the file its name. When it returns `Ok`, content and name are on disk. Without `replace`, a file that has
    /// the name already is kept, which is an error.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn publish(mut self, replace: bool) -> Result<()> {
        with_path(&self.draft, self.file.sync_all())?;
        let renamed = if replace { fs::rename(&self.draft, &self.path) } else { rename_new(&self.draft, &self.path) };
        with_path(&self.path, renamed)?;
        self.is_published = true;
        sync_folder_of(&self.path)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(&self.draft);
        }
    }
}

/// Renames a file unless the new name exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system or the kernel does not know this flag.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// Renames a complete folder to its final name, which must not exist or be an empty folder, and makes that durable.
///
/// # Errors
/// [`FileError`].
pub fn publish_folder(from: &Path, to: &Path) -> Result<()> {
    with_path(from, File::open(from).and_then(|folder| folder.sync_all()))?;
    with_path(to, fs::rename(from, to))?;
    sync_folder_of(to)
}

/// Moves all files of a folder into another one, `first` before and `last` after all others, and deletes the folder.
///
/// # Errors
/// [`FileError`].
pub fn move_files(from: &Path, to: &Path, first: &str, last: &str) -> Result<()> {
    let names = with_path(from, fs::read_dir(from).and_then(Iterator::collect::<io::Result<Vec<_>>>))?;
    let mut names: Vec<_> = names.into_iter().map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| (name != first, name == last));
    for name in &names {
        with_path(&to.join(name), fs::rename(from.join(name), to.join(name)))?;
        if name == first || name == last {
            with_path(to, File::open(to).and_then(|folder| folder.sync_all()))?;
        }
    }
    with_path(from, fs::remove_dir(from))
}

/// Creates a folder that only its owner can open, and its missing parents, and makes their directory entries durable.
///
/// # Errors
/// [`FileError`].
pub fn create_folder(path: &Path) -> Result<()> {
    let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let missing: Vec<&Path> = missing.collect();
    with_path(path, DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path))?;
    missing.into_iter().try_for_each(sync_folder_of)
}

/// Creates an empty file that only its owner can read, unless it exists. Call it before SQLite opens a database,
/// because SQLite gives its other files the permissions of the database.
///
/// # Errors
/// [`FileError`].
pub fn create_private(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(path) {
        Ok(file) => with_path(path, file.set_permissions(Permissions::from_mode(SECRET_MODE))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(FileError { path: path.to_owned(), cause }),
    }
}

/// Removes the permissions of the group and of others from the keys, databases and lock of a folder, and logs each file
/// that had any. Other files are not changed.
///
/// # Errors
/// [`FileError`] when the permissions of a file cannot be changed.
pub fn restrict_permissions(folder: &Path) -> Result<()> {
    for entry in with_path(folder, fs::read_dir(folder))? {
        let path = with_path(folder, entry)?.path();
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(is_private) {
            continue;
        }
        let mode = match fs::metadata(&path) {
            Ok(found) if found.is_file() => found.permissions().mode(),
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(cause) => return Err(FileError { path, cause }),
        };
        if mode & OTHERS_BITS != 0 {
            with_path(&path, fs::set_permissions(&path, Permissions::from_mode(SECRET_MODE)))?;
            let was = format!("{:03o}", mode & 0o777);
            tracing::warn!(file = %path.display(), was, "other users had permissions for this file; now only its owner has (600)");
        }
    }
    Ok(())
}

/// Whether the name is one of a file with keys or data, including one that was set aside, or of the lock file, which
/// another user could lock.
pub fn is_private(name: &str) -> bool {
    [".key", ".db", ".mark", ".pages", ".lock"].iter().any(|part| name.contains(part))
}

/// Renames a damaged file to `<name>.damaged-<ms>`, where the number is the time of its last change, so that the
/// operator can examine it. Returns the new path.
///
/// # Errors
/// [`FileError`].
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    let modified = with_path(path, fs::metadata(path).and_then(|found| found.modified()))?;
    let mut number = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut aside = path.to_owned();
    while aside.exists() {
        let mut name = path.to_owned().into_os_string();
        name.push(format!(".damaged-{number}"));
        (aside, number) = (PathBuf::from(name), number + 1);
    }
    with_path(path, fs::rename(path, &aside))?;
    sync_folder_of(path)?;
    Ok(aside)
}

/// Makes the directory entry of a file durable.
fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    with_path(folder, File::open(folder).and_then(|folder| folder.sync_all()))
}
