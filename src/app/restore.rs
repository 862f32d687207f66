//! Restores a backup into a data folder.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::folder::{self, Lock};
use super::{AppError, folder::examine};
use crate::domain::{Error, Result as DomainResult};
use crate::durable_file::{self, SECRET_MODE};
use crate::store::archive::{self, Manifest};
use crate::store::seal::KEY_FILE;
use crate::store::sqlite::REGISTRY_FILE;
use crate::store::sqlite::verify::Report;

/// The file of the own CA's key.
const CA_KEY_FILE: &str = "ca.key";
/// The files that are moved first and last if a folder must be filled file by file: until the last one is there, no
/// server starts with the others.
const FIRST_FILE: &str = "registry.mark";
const LAST_FILE: &str = REGISTRY_FILE;

/// A backup that was restored.
pub struct Restored {
    /// What it contains.
    pub manifest: Manifest,
    /// The result of examining its files.
    pub report: Report,
}

/// Compares every file of a backup with its checksum. `progress` gets the bytes of each piece, and can stop the work.
///
/// # Errors
/// [`AppError`], whose text says what is wrong.
pub fn check(archive: impl Read, progress: &mut dyn FnMut(u64) -> DomainResult<()>) -> Result<Manifest, AppError> {
    Ok(archive::unpack(archive, None, progress)?)
}

/// Restores a backup into a folder that must be empty or missing. The keys are those of the backup, or are copied from
/// the folder `keys`. Everything is examined first; if anything is wrong, the folder stays as it was.
///
/// # Errors
/// [`AppError`], whose text says what is wrong.
pub fn restore(
    archive: impl Read,
    folder: &Path,
    keys: Option<&Path>,
    progress: &mut dyn FnMut(u64) -> DomainResult<()>,
) -> Result<Restored, AppError> {
    if !folder::is_empty(folder)? {
        let text = "is not empty: restore into a new folder, and move this one away if the new one is to replace it";
        return Err(AppError::Store(format!("{} {text}", folder.display())));
    }
    let place = Place::choose(folder)?;
    durable_file::create_folder(&place.draft)?;
    let restored = fill(archive, &place.draft, keys, progress).and_then(|restored| {
        place.publish(folder)?;
        Ok(restored)
    });
    if restored.is_err() {
        // What cannot be deleted has a name of its own and disturbs nothing.
        let _ = fs::remove_dir_all(&place.draft);
    }
    restored
}

/// Where a folder is filled before it gets its name.
struct Place {
    draft: PathBuf,
    /// The lock of the folder, if it is the root of a file system and cannot be replaced.
    inside: Option<Lock>,
}

impl Place {
    fn choose(folder: &Path) -> Result<Self, AppError> {
        let unusable = |error| AppError::Folder(folder.to_owned(), error);
        let draft_name = format!(".restoring-{}", std::process::id());
        let Ok(found) = fs::metadata(folder) else {
            return Ok(Self { draft: beside(folder, &draft_name), inside: None });
        };
        let folder = folder.canonicalize().map_err(unusable)?;
        let parent = folder.parent().map(fs::metadata).transpose().map_err(unusable)?;
        let is_root = parent.is_none_or(|parent| parent.dev() != found.dev()) || folder.join("lost+found").exists();
        if !is_root {
            return Ok(Self { draft: beside(&folder, &draft_name), inside: None });
        }
        Ok(Self { draft: folder.join(draft_name), inside: Some(Lock::take(&folder)?) })
    }

    fn publish(&self, folder: &Path) -> Result<(), AppError> {
        match &self.inside {
            Some(_lock) => durable_file::move_files(&self.draft, folder, FIRST_FILE, LAST_FILE)?,
            None => {
                durable_file::publish_folder(&self.draft, &folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))?
            }
        }
        Ok(())
    }
}

/// The path of a folder beside another one.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.components().as_path().as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Unpacks and examines a backup.
fn fill(
    archive: impl Read,
    draft: &Path,
    keys: Option<&Path>,
    progress: &mut dyn FnMut(u64) -> DomainResult<()>,
) -> Result<Restored, AppError> {
    let manifest = archive::unpack(archive, Some(draft), progress)?;
    if !manifest.with_keys {
        let Some(keys) = keys else {
            let text = "the backup was made without the keys: name the folder that has them with --keys";
            return Err(AppError::Store(text.to_owned()));
        };
        copy_keys(keys, draft)?;
    }
    let report = examine(draft, progress)?;
    if let Some(problem) = report.problems.first() {
        let others = if report.problems.len() > 1 {
            format!(" (and {} more)", report.problems.len() - 1)
        } else {
            String::new()
        };
        return Err(AppError::Store(format!("the backup cannot be used: {problem}{others}")));
    }
    remove_indexes(draft)?;
    Ok(Restored { manifest, report })
}

/// Deletes the empty write-ahead logs and their indexes, which SQLite made during the examination.
fn remove_indexes(draft: &Path) -> Result<(), AppError> {
    let remove = || -> std::io::Result<()> {
        for entry in fs::read_dir(draft)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-shm") || path.to_string_lossy().ends_with("-wal") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| AppError::Folder(draft.to_owned(), error))
}

/// Copies the key, and the key of the CA if there is one.
fn copy_keys(keys: &Path, draft: &Path) -> Result<(), AppError> {
    for name in [KEY_FILE, CA_KEY_FILE] {
        let path = keys.join(name);
        match fs::read(&path) {
            Ok(key) => durable_file::write(&draft.join(name), &key, SECRET_MODE)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name != KEY_FILE => {}
            Err(error) => return Err(Error::Refused(format!("{}: {error}", path.display())).into()),
        }
    }
    Ok(())
}
