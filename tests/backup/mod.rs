//! `ingle backup`, `restore` and `verify`, and copies of a data folder by other means. `INGLE_BACKUPS` and `INGLE_COPIES`
//! set how many backups and copies are made under load.

mod commands;
mod copies;
mod damaged;
mod load;

use std::path::Path;
use std::process::Command;

use self::load::Load;
use crate::support::{INGLE, ingle};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the binary with these arguments alone. Returns standard output, or standard error.
fn run(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(INGLE);
    command.args(arguments);
    crate::support::run(command, "")
}

/// The names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Backups that are made before they are checked. While they are checked, there is no load.
const AT_ONCE: u64 = 10;

#[test]
fn a_backup_under_load_has_everything_from_before_its_moment_and_nothing_half() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    let (wanted, mut made, mut last) = (number("INGLE_BACKUPS", 4), 0, [0; 4]);
    Load::on(&data, |load, _| {
        while made < wanted {
            let mut backups = Vec::new();
            for number in 0..AT_ONCE.min(wanted - made) {
                let backup = temporary.path().join(format!("{number}.tar"));
                let before = load.acknowledged();
                ingle(&["backup", path(&backup)], &data, "").unwrap();
                backups.push((backup, before, load.begun()));
            }
            made += backups.len() as u64;
            load.paused(|| {
                for (backup, before, after) in backups {
                    let found = load::check(&backup, before, after);
                    assert!(found.iter().zip(last).all(|(found, last)| *found >= last), "{found:?} after {last:?}");
                    last = found;
                    std::fs::remove_file(backup).unwrap();
                }
            });
            println!("{made} backups; the last has {last:?} reports, renames, imports and documents");
        }
        ingle(&["verify"], &data, "").unwrap();
    });
    assert_eq!(names(temporary.path()), ["data"]);
}
