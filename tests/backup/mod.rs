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

#[test]
fn a_backup_under_load_has_everything_from_before_its_moment_and_nothing_half() {
    let temporary = tempfile::tempdir().unwrap();
    let (data, backup) = (temporary.path().join("data"), temporary.path().join("backup.tar"));
    let mut last = [0; 4];
    Load::on(&data, |load, _| {
        for _ in 0..number("INGLE_BACKUPS", 4) {
            let before = load.acknowledged();
            ingle(&["backup", path(&backup), "--overwrite"], &data, "").unwrap();
            let after = load.begun();
            let found = load::check(&backup, before, after);
            assert!(found.iter().zip(last).all(|(found, last)| *found >= last), "{found:?} after {last:?}");
            last = found;
        }
        ingle(&["verify"], &data, "").unwrap();
    });
    println!("the last backup has {last:?} reports, renames, imports and documents");
    assert_eq!(names(temporary.path()), ["backup.tar", "data"]);
}
