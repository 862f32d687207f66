//! The examples of the documentation of the administration, as they are pasted into a shell.

use std::process::Command;

use crate::support::{INGLE, TestCloud, run};

#[test]
fn the_examples_of_the_documentation_paste() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("ingle-data"), &[]);
    std::os::unix::fs::symlink(INGLE, folder.path().join("ingle")).unwrap();
    let text = include_str!("../../docs/administration.md");
    let blocks: Vec<&str> = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 9, "{}", blocks.len());
    for block in blocks {
        let mut bash = Command::new("bash");
        bash.args(["-ec", &format!("PATH=$PWD:$PATH; set -o pipefail; {block}")]).current_dir(folder.path());
        let printed = run(bash, "").unwrap_or_else(|error| panic!("{block}\n{error}"));
        for (example, shown) in [
            ("device list --owner mia", "Window"),
            ("--secrets\n", "tuya.secret"),
            ("--format arduino", "#include"),
            ("ingle log", "switch_led = true"),
            ("ingle call", "shoplampdevice000001"),
            ("ingle erase", "nothing of the user is left"),
        ] {
            assert!(!block.contains(example) || printed.contains(shown), "{block}\n{printed}");
        }
    }
    assert!(folder.path().join("mia.json").metadata().unwrap().len() > 100);
    cloud.stop();
}
