//! What `recorder.c` recorded, and the disk that a power cut could have left at any point of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::store::model::Random;

const HEAD_BYTES: usize = 48;
/// The size that a disk writes atomically.
const SECTOR: usize = 512;

/// One call of the recorded process, or a mark of the test. Files are named by inode.
pub enum Call {
    Create { file: u64, name: String },
    Write { file: u64, at: usize, data: Range<usize> },
    Truncate { file: u64, size: usize },
    Sync { file: u64 },
    SyncFolder,
    Rename { from: String, to: String },
    Unlink { name: String },
    MakeFolder,
    SyncParent,
    Mark(String),
}

/// A recording: its calls in order, and the bytes that they wrote.
pub struct Recording {
    pub calls: Vec<Call>,
    bytes: Vec<u8>,
}

/// Compiles the recorder into a folder.
pub fn recorder(folder: &Path) -> PathBuf {
    let library = folder.join("recorder.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/recorder.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-o"]).arg(&library).arg(source);
    assert!(cc.status().unwrap().success(), "cc cannot compile the recorder");
    library
}

/// Lets the test write marks between the calls.
pub struct Marks(File);

impl Marks {
    pub fn new(log: &Path) -> Self {
        Self(File::options().create(true).append(true).open(log).unwrap())
    }

    /// Writes a mark after every call that was recorded before.
    pub fn mark(&self, text: &str) {
        let head = [u64::from(b'M'), 0, 0, text.len() as u64, 0, 0].map(u64::to_le_bytes).concat();
        // One write, so that it is not mixed with others.
        assert_eq!((&self.0).write(&[&head, text.as_bytes()].concat()).unwrap(), HEAD_BYTES + text.len());
    }
}

impl Recording {
    pub fn read(log: &Path) -> Self {
        let bytes = fs::read(log).unwrap();
        let (mut calls, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let field = |n: usize| u64::from_le_bytes(bytes[at + n * 8..at + n * 8 + 8].try_into().unwrap());
            let length = |n| usize::try_from(field(n)).unwrap();
            let (op, file, number) = (u8::try_from(field(0)).unwrap(), field(1), length(2));
            let one_end = at + HEAD_BYTES + length(3);
            let two_end = one_end + length(4);
            let data = two_end..two_end + length(5);
            let text = |range: Range<usize>| String::from_utf8(bytes[range].to_vec()).unwrap();
            let one = || text(at + HEAD_BYTES..one_end);
            let call = match op {
                b'C' => Call::Create { file, name: one() },
                b'W' => Call::Write { file, at: number, data: data.clone() },
                b'T' => Call::Truncate { file, size: number },
                b'S' => Call::Sync { file },
                b'D' => Call::SyncFolder,
                b'R' => Call::Rename { from: one(), to: text(one_end..two_end) },
                b'U' => Call::Unlink { name: one() },
                b'K' => Call::MakeFolder,
                b'P' => Call::SyncParent,
                b'M' => Call::Mark(one()),
                other => panic!("the recording has a call {other}"),
            };
            calls.push(call);
            at = data.end;
        }
        Self { calls, bytes }
    }

    /// The marks before a point, in order.
    pub fn marks(&self, until: usize) -> impl Iterator<Item = &str> {
        self.calls[..until].iter().filter_map(|call| match call {
            Call::Mark(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A random moment between two points: any, or one close to a change of names or sizes, which are rare among the
    /// writes.
    pub fn moment(&self, from: usize, to: usize, random: &mut Random) -> usize {
        let is_rare = |at: &usize| !matches!(self.calls[*at], Call::Write { .. } | Call::Sync { .. } | Call::Mark(_));
        let rare: Vec<usize> = (from..to).filter(is_rare).collect();
        if rare.is_empty() || random.below(2) == 0 {
            return from + random.below((to - from) as u64) as usize;
        }
        let near = rare[random.below(rare.len() as u64) as usize] + random.below(6) as usize;
        near.saturating_sub(2).clamp(from, to)
    }

    /// The position of a mark.
    pub fn position(&self, mark: &str) -> usize {
        let found = self.calls.iter().position(|call| matches!(call, Call::Mark(text) if text == mark));
        found.unwrap_or_else(|| panic!("{mark} was not marked"))
    }
}

/// A change of a file that no fsync has followed yet.
enum Unsynced {
    Write(usize, Range<usize>),
    Truncate(usize),
}

#[derive(Default)]
struct Inode {
    synced: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Unlink(String),
}

fn change_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            let inode = names.remove(from).unwrap();
            names.insert(to.clone(), inode);
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
    }
}

/// What is certainly on the disk of a folder, and what may or may not be.
pub struct Disk<'a> {
    recording: &'a Recording,
    inodes: Vec<Inode>,
    by_number: HashMap<u64, usize>,
    names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    folder_is_unsynced: bool,
}

impl<'a> Disk<'a> {
    /// The disk of a folder, all of it synced, before the recording began.
    pub fn before(folder: &Base, recording: &'a Recording) -> Self {
        let mut disk = Self {
            recording,
            inodes: Vec::new(),
            by_number: HashMap::new(),
            names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            folder_is_unsynced: false,
        };
        for (name, number, bytes) in &folder.0 {
            disk.by_number.insert(*number, disk.inodes.len());
            disk.names.insert(name.clone(), disk.inodes.len());
            disk.inodes.push(Inode { synced: bytes.clone(), unsynced: Vec::new() });
        }
        disk
    }

    /// Advances to a point of the recording.
    pub fn replay(&mut self, calls: Range<usize>) {
        for call in &self.recording.calls[calls] {
            self.take(call);
        }
    }

    fn take(&mut self, call: &Call) {
        match call {
            Call::Create { file, name } => {
                let inode = self.inodes.len();
                self.inodes.push(Inode::default());
                self.by_number.insert(*file, inode);
                self.unsynced_names.push(NameChange::Create(name.clone(), inode));
            }
            Call::Write { file, at, data } => self.changed(*file, Unsynced::Write(*at, data.clone())),
            Call::Truncate { file, size } => self.changed(*file, Unsynced::Truncate(*size)),
            Call::Sync { file } => {
                let inode = &mut self.inodes[self.by_number[file]];
                for change in std::mem::take(&mut inode.unsynced) {
                    change_bytes(&mut inode.synced, &change, &self.recording.bytes);
                }
            }
            Call::SyncFolder => {
                for change in std::mem::take(&mut self.unsynced_names) {
                    change_name(&mut self.names, &change);
                }
            }
            Call::Rename { from, to } => self.unsynced_names.push(NameChange::Rename(from.clone(), to.clone())),
            Call::Unlink { name } => self.unsynced_names.push(NameChange::Unlink(name.clone())),
            Call::MakeFolder => self.folder_is_unsynced = true,
            Call::SyncParent => self.folder_is_unsynced = false,
            Call::Mark(_) => {}
        }
    }

    fn changed(&mut self, file: u64, change: Unsynced) {
        self.inodes[self.by_number[&file]].unsynced.push(change);
    }

    /// The disk with every change, as before the power cut.
    pub fn whole(&self) -> BTreeMap<String, Vec<u8>> {
        self.chosen(self.unsynced_names.len(), |_, _| Kept::Whole)
    }

    /// A disk that the power cut could have left: the first few of the name changes since the folder's last fsync, and
    /// each change of a file since its last fsync complete, lost, or in part, independently of the changes before it.
    pub fn after_a_power_cut(&self, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
        if self.folder_is_unsynced && random.below(2) == 0 {
            return BTreeMap::new();
        }
        let names = random.below(self.unsynced_names.len() as u64 + 1) as usize;
        // Disks that lost everything, and those that lost nothing, are among them.
        let (lost, torn) = [(100, 0), (0, 0), (50, 20), (20, 10), (80, 10)][random.below(5) as usize];
        self.chosen(names, |_, change| match (random.below(100), change) {
            (number, _) if number < lost => Kept::Nothing,
            (number, Unsynced::Write(_, data)) if number < lost + torn => {
                Kept::Sectors(random.below((data.len() / SECTOR) as u64 + 1) as usize)
            }
            _ => Kept::Whole,
        })
    }

    fn chosen(&self, names_kept: usize, mut choose: impl FnMut(&str, &Unsynced) -> Kept) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.names.clone();
        self.unsynced_names[..names_kept].iter().for_each(|change| change_name(&mut names, change));
        let content = |(name, inode): (String, usize)| {
            let inode = &self.inodes[inode];
            let mut bytes = inode.synced.clone();
            for change in &inode.unsynced {
                match (choose(&name, change), change) {
                    (Kept::Nothing, _) => {}
                    (Kept::Sectors(sectors), Unsynced::Write(at, data)) => {
                        // A sector is written atomically: a part of a write ends at a sector boundary of the file.
                        let end = (at / SECTOR + sectors) * SECTOR;
                        let kept = end.saturating_sub(*at).min(data.len());
                        let part = Unsynced::Write(*at, data.start..data.start + kept);
                        change_bytes(&mut bytes, &part, &self.recording.bytes);
                    }
                    _ => change_bytes(&mut bytes, change, &self.recording.bytes),
                }
            }
            (name, bytes)
        };
        names.into_iter().map(content).collect()
    }
}

enum Kept {
    Whole,
    Nothing,
    Sectors(usize),
}

fn change_bytes(bytes: &mut Vec<u8>, change: &Unsynced, written: &[u8]) {
    match change {
        Unsynced::Truncate(size) => bytes.resize(*size, 0),
        Unsynced::Write(_, data) if data.is_empty() => {}
        Unsynced::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(&written[data.clone()]);
        }
    }
}

/// The files of a folder: name, inode and bytes, without the files that are not recorded.
pub struct Base(pub Vec<(String, u64, Vec<u8>)>);

impl Base {
    pub fn read(folder: &Path) -> Self {
        let Ok(entries) = fs::read_dir(folder) else { return Self(Vec::new()) };
        let entries = entries.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_file());
        let file = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (!name.ends_with("-shm")).then(|| (name, entry.metadata().unwrap().ino(), fs::read(entry.path()).unwrap()))
        };
        Self(entries.filter_map(file).collect())
    }

    /// Name and bytes of each file.
    pub fn contents(self) -> BTreeMap<String, Vec<u8>> {
        self.0.into_iter().map(|(name, _, bytes)| (name, bytes)).collect()
    }
}

/// Creates a folder with files. The lock file is left out: its content says that it is this very file, by which a folder
/// after a power cut differs from a copy.
pub fn write_image(folder: &Path, image: &BTreeMap<String, Vec<u8>>) {
    fs::create_dir(folder).unwrap();
    for (name, bytes) in image.iter().filter(|(name, _)| *name != "ingle.lock") {
        let file = File::options().write(true).create_new(true).mode(0o600).open(folder.join(name));
        file.unwrap().write_all(bytes).unwrap();
    }
}
