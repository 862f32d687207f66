//! The format of a backup: a tar archive of a data folder. Its first file is the manifest, `backup.json`, and its last one
//! is `SHA256SUMS`, which `sha256sum -c` checks. An archive without its last file is incomplete.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::domain::{Error, Result};
use crate::durable_file::{Draft, PUBLIC_MODE, SECRET_MODE};
use crate::hex;

/// The name of the manifest.
pub const MANIFEST: &str = "backup.json";
/// The name of the file of checksums.
const SUMS: &str = "SHA256SUMS";
/// The format that this version writes, and the newest one that it reads.
pub const FORMAT: u32 = 1;
/// The size of a block of a tar archive in bytes.
const BLOCK: u64 = 512;
/// The hexadecimal digits of a checksum, and the characters around the name in its line.
const SUM_LINE_BYTES: u64 = 64 + 3;
/// The maximum size of the manifest and of the file of checksums.
const TEXT_BYTES_MAX: u64 = 64 << 20;
const COPY_BYTES: usize = 256 << 10;

/// What an archive contains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the archive's format.
    pub format: u32,
    /// The version of the server that made it.
    pub ingle: String,
    /// The number of migrations that the registry has.
    pub registry_schema: usize,
    /// The moment of the backup in UTC.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub time_ms: i64,
    /// The number of commits of the registry at that moment.
    pub registry_commits: i64,
    /// Whether the keys are in the archive.
    pub with_keys: bool,
    /// The files that follow.
    pub files: Vec<File>,
    /// Damaged files of the event log that could not be read and are not in the archive.
    pub left_out: Vec<String>,
}

/// A file in an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Writes an archive.
pub struct Writer<'a> {
    to: &'a mut dyn Write,
    time_ms: i64,
    sums: String,
}

/// The size of an archive in bytes, with a manifest of this size and these files.
pub fn bytes(manifest_bytes: u64, files: &[File]) -> u64 {
    let entry = |bytes: u64| BLOCK + bytes.next_multiple_of(BLOCK);
    let line = |name: &str| SUM_LINE_BYTES + name.len() as u64;
    let sums = line(MANIFEST) + files.iter().map(|file| line(&file.name)).sum::<u64>();
    entry(manifest_bytes) + files.iter().map(|file| entry(file.bytes)).sum::<u64>() + entry(sums) + 2 * BLOCK
}

impl<'a> Writer<'a> {
    /// Begins an archive. Its files get the time `time_ms`.
    pub fn new(to: &'a mut dyn Write, time_ms: i64) -> Self {
        Self { to, time_ms, sums: String::new() }
    }

    /// Writes one file of exactly `bytes` bytes, which `content` passes on piece by piece, and returns the result of
    /// `content`.
    ///
    /// # Errors
    /// Those of `content`; [`Error::Store`] if the archive cannot be written, or for another number of bytes.
    pub fn file<T>(
        &mut self,
        name: &str,
        bytes: u64,
        content: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<T>,
    ) -> Result<T> {
        self.to.write_all(&self.header(name, bytes)?).map_err(Error::store)?;
        let (mut hasher, mut written) = (Sha256::new(), 0);
        let done = content(&mut |piece| {
            hasher.update(piece);
            written += piece.len() as u64;
            self.to.write_all(piece).map_err(Error::store)
        })?;
        if written != bytes {
            return Err(Error::store(format!("{name} has {written} bytes instead of {bytes}")));
        }
        let padding = [0; BLOCK as usize];
        let padding = padding.get(..(bytes.next_multiple_of(BLOCK) - bytes) as usize).unwrap_or_default();
        self.to.write_all(padding).map_err(Error::store)?;
        self.sums.push_str(&format!("{}  {name}\n", hex::encode(hasher.finalize())));
        Ok(done)
    }

    /// Writes the checksums and the end of the archive.
    ///
    /// # Errors
    /// [`Error::Store`] if the archive cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let sums = std::mem::take(&mut self.sums);
        self.file(SUMS, sums.len() as u64, |write| write(sums.as_bytes()))?;
        self.to.write_all(&[0; 2 * BLOCK as usize]).and_then(|()| self.to.flush()).map_err(Error::store)
    }

    fn header(&self, name: &str, bytes: u64) -> Result<[u8; BLOCK as usize]> {
        let mut header = Header::new_gnu();
        header.set_path(name).map_err(Error::store)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes);
        header.set_mode(mode_of(name));
        header.set_uid(rustix::process::getuid().as_raw().into());
        header.set_gid(rustix::process::getgid().as_raw().into());
        header.set_mtime(u64::try_from(self.time_ms / 1000).unwrap_or(0));
        header.set_cksum();
        Ok(*header.as_bytes())
    }
}

/// The permissions of an unpacked file: only certificates are readable by everyone.
fn mode_of(name: &str) -> u32 {
    if name.ends_with(".pem") { PUBLIC_MODE } else { SECRET_MODE }
}

/// Reads an archive to its end and compares every file with its checksum. Writes the files into `folder` if there is one;
/// they must not be used before this returns. `progress` gets the number of bytes of each piece, and can stop the work.
///
/// # Errors
/// [`Error::Refused`] if it is no archive of this format, or is damaged or incomplete; the error of `progress`;
/// [`Error::Store`].
pub fn unpack(from: impl Read, folder: Option<&Path>, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Manifest> {
    let mut archive = tar::Archive::new(from);
    let mut entries = archive.entries().map_err(unreadable)?;
    let (name, text, sum) = match entries.next() {
        None => return Err(no_backup("it is empty")),
        Some(entry) => text_of(entry.map_err(|error| no_backup(&error.to_string()))?)?,
    };
    if name != MANIFEST {
        return Err(no_backup(&format!("it begins with {name:?} instead of {MANIFEST}")));
    }
    let manifest = parse(&text)?;
    let mut found = BTreeMap::from([(name, sum)]);
    for file in &manifest.files {
        let entry = entries.next().ok_or_else(|| incomplete(&format!("{} is missing", file.name)))?;
        let entry = entry.map_err(unreadable)?;
        let name = name_of(&entry)?;
        if name != file.name || entry.size() != file.bytes {
            return Err(incomplete(&format!("{} with {} bytes should follow, not {name}", file.name, file.bytes)));
        }
        let sum = copy(entry, folder.map(|folder| folder.join(&name)).as_deref(), progress)?;
        if found.insert(name.clone(), sum).is_some() {
            return Err(no_backup(&format!("it has two files {name}")));
        }
    }
    let last = entries.next().ok_or_else(|| incomplete(&format!("{SUMS} is missing")))?;
    let (name, sums, _) = text_of(last.map_err(unreadable)?)?;
    if name != SUMS || entries.next().is_some() {
        return Err(incomplete(&format!("{SUMS} should be its last file, not {name}")));
    }
    compare(&found, &sums)?;
    Ok(manifest)
}

fn parse(text: &str) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_str(text).map_err(|error| no_backup(&error.to_string()))?;
    if format > FORMAT {
        let text = format!("the backup has format {format}, and this version reads up to {FORMAT}: use a newer ingle");
        return Err(Error::Refused(text));
    }
    serde_json::from_str(text).map_err(|error| no_backup(&error.to_string()))
}

/// Compares the checksums of the files with the lines of the last file.
fn compare(found: &BTreeMap<String, String>, sums: &str) -> Result<()> {
    let stored: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ")).map(|(s, n)| (n, s)).collect();
    for (name, sum) in found {
        if stored.get(name.as_str()) != Some(&sum.as_str()) {
            return Err(Error::Refused(format!("the backup is damaged: {name} differs from its checksum")));
        }
    }
    if stored.len() == found.len() { Ok(()) } else { Err(incomplete("it has checksums of files that it lacks")) }
}

/// The name, the content and the checksum of a small file.
fn text_of(mut entry: tar::Entry<'_, impl Read>) -> Result<(String, String, String)> {
    let name = name_of(&entry)?;
    if entry.size() > TEXT_BYTES_MAX {
        return Err(no_backup(&format!("{name} is too large")));
    }
    let mut text = String::new();
    entry.read_to_string(&mut text).map_err(unreadable)?;
    let sum = hex::encode(Sha256::digest(text.as_bytes()));
    Ok((name, text, sum))
}

/// The name of an entry that is a file, and in no folder.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_file = entry.header().entry_type() == EntryType::Regular;
    if !is_file || name.is_empty() || name.starts_with('.') || !name.bytes().all(is_plain) {
        return Err(no_backup(&format!("it contains {name:?}")));
    }
    Ok(name)
}

/// Copies a file to `path`, and returns its checksum.
fn copy(
    mut entry: tar::Entry<'_, impl Read>,
    path: Option<&Path>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<String> {
    let mut draft = match path {
        Some(path) => {
            Some(Draft::create(path, mode_of(&path.to_string_lossy())).map_err(|error| cannot_write(&error))?)
        }
        None => None,
    };
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; COPY_BYTES]);
    loop {
        let read = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hasher.update(piece);
        if let (Some(draft), Some(path)) = (&mut draft, path) {
            draft.write_all(piece).map_err(|error| cannot_write(&format!("{}: {error}", path.display())))?;
        }
        progress(read as u64)?;
    }
    if let Some(draft) = draft {
        draft.publish(false).map_err(|error| cannot_write(&error))?;
    }
    Ok(hex::encode(hasher.finalize()))
}

fn cannot_write(error: &dyn std::fmt::Display) -> Error {
    Error::Refused(format!("a file cannot be written: {error}"))
}

fn no_backup(why: &str) -> Error {
    Error::Refused(format!("this is no backup that `ingle backup` made: {why}"))
}

fn incomplete(why: &str) -> Error {
    Error::Refused(format!("the backup is damaged or incomplete: {why}"))
}

fn unreadable(error: io::Error) -> Error {
    incomplete(&error.to_string())
}
