//! A file system of a few megabytes, in a mount namespace of its own that ends with the test.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The environment variable with the path at which it is mounted.
const PLACE: &str = "INGLE_SMALL_FILE_SYSTEM";

/// A mounted file system.
pub struct SmallDisk {
    pub path: PathBuf,
}

impl SmallDisk {
    /// Runs another test of this binary in a mount namespace of its own, in which [`SmallDisk::mount`] works.
    pub fn run(test: &str) -> Output {
        let place = tempfile::tempdir().unwrap();
        let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        let mut command = Command::new("unshare");
        command.args(if is_root { &["-m"][..] } else { &["-U", "-r", "-m"][..] }).arg(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(PLACE, place.path());
        command.output().unwrap()
    }

    /// Mounts the file system in the namespace of this process. `None` outside of [`SmallDisk::run`].
    pub fn mount(megabytes: u64) -> Option<Self> {
        let path = PathBuf::from(std::env::var_os(PLACE)?);
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path).status().unwrap();
        assert!(mounted.success());
        Some(Self { path })
    }

    /// Fills it except for some kilobytes.
    pub fn fill(&self, left_kilobytes: u64) {
        let mut file = fs::File::create(self.path.join("filler")).unwrap();
        let block = [0x5A; 4096];
        while file.write_all(&block).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left_kilobytes * 1024)).unwrap();
    }

    pub fn empty(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }
}
