//! The examples of the documentation, as they are pasted into a shell.

use std::path::Path;
use std::process::Command;

use crate::support::{INGLE, TestCloud, run};

/// Pastes the examples of a document into a shell in `folder`. Where a block contains the first text of a pair of `shown`, it
/// prints the second one.
fn paste(folder: &Path, document: &str, blocks_min: usize, shown: &[(&str, &str)]) {
    std::os::unix::fs::symlink(INGLE, folder.join("ingle")).unwrap();
    let blocks: Vec<&str> = document.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= blocks_min, "{}", blocks.len());
    for block in blocks {
        let mut bash = Command::new("bash");
        bash.args(["-ec", &format!("PATH=$PWD:$PATH; set -o pipefail; {block}")]).current_dir(folder);
        let printed = run(bash, "").unwrap_or_else(|error| panic!("{block}\n{error}"));
        for (example, shown) in shown {
            assert!(!block.contains(example) || printed.contains(shown), "{block}\n{printed}");
        }
    }
}

#[test]
fn the_examples_of_the_documentation_paste() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("ingle-data"), &[]);
    let shown = [
        ("device list --owner mia", "Window"),
        ("--secrets\n", "tuya.secret"),
        ("--format arduino", "#include"),
        ("ingle log", "switch_led = true"),
        ("ingle call", "shoplampdevice000001"),
        ("ingle erase", "nothing of the user is left"),
    ];
    paste(folder.path(), include_str!("../../docs/administration.md"), 9, &shown);
    assert!(folder.path().join("mia.json").metadata().unwrap().len() > 100);
    cloud.stop();
}

#[test]
fn the_examples_of_the_import_paste() {
    let folder = tempfile::tempdir().unwrap();
    let shown = [
        ("history.jsonl", "2 events imported, 0 were there already\n0 events imported, 2 were there already\n"),
        ("history.csv", "3 events imported, 1 were there already\n"),
        ("logs.json", "1 events imported, 0 were there already\n"),
        ("--lenient", "1 of the imported events are data points that their product cannot have\n"),
        ("ingle log", "bright = 40"),
    ];
    paste(folder.path(), include_str!("../../docs/import.md"), 5, &shown);
}
