//! Copies of a data folder that `ingle backup` did not make.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::load::Load;
use super::number;
use crate::support::world::{PLUG, standard};
use crate::support::{INGLE, TestCloud, ingle};

/// Copies a folder as an operator would. The exit code shows an operator that files vanished meanwhile; here it is ignored.
fn cp(from: &Path, to: &Path) {
    let _ = Command::new("cp").arg("-a").arg(from).arg(to).stderr(Stdio::null()).status().unwrap();
}

/// The error with which the server refuses to start; `None` if it starts.
fn refusal(data: &Path) -> Option<String> {
    TestCloud::by(Command::new(INGLE), data, &[]).err()
}

#[test]
fn a_copy_of_a_running_servers_folder_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    Load::on(&data, |_, _| {
        for copy in 0..number("INGLE_COPIES", 8) {
            let to = temporary.path().join(format!("copy{copy}"));
            cp(&data, &to);
            let said = refusal(&to).expect("a copy that was made while the server was running is served");
            assert!(said.contains("is a copy of a data folder that was in use"), "{said}");
            fs::remove_dir_all(to).unwrap();
        }
        let to = temporary.path().join("copy");
        cp(&data, &to);
        let said = ingle(&["apply", "-"], &to, r#"{"projects":[]}"#).unwrap_err();
        assert!(said.contains("in use"), "{said}");
        assert!(ingle(&["verify"], &to, "").unwrap_err().contains("damaged"));
    });
}

#[test]
fn a_copy_of_a_stopped_servers_folder_and_a_crashed_folder_are_served() {
    let temporary = tempfile::tempdir().unwrap();
    let (data, copy) = (temporary.path().join("data"), temporary.path().join("copy"));
    let cloud = TestCloud::binary(&data, &[]);
    cloud.apply(&standard());
    cloud.kill();
    // The folder itself, after a crash and under another name.
    let moved = temporary.path().join("moved");
    fs::rename(&data, &moved).unwrap();
    let cloud = TestCloud::binary(&moved, &[]);
    cloud.stop();
    cp(&moved, &copy);
    let cloud = TestCloud::binary(&copy, &[]);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["success"], json!(true));
}

#[test]
fn what_is_sound_of_a_refused_copy_can_be_served() {
    let temporary = tempfile::tempdir().unwrap();
    let (data, copy) = (temporary.path().join("data"), temporary.path().join("copy"));
    Load::on(&data, |load, _| {
        let before = load.acknowledged();
        cp(&data, &copy);
        assert!(before.iter().all(|number| *number > 0));
    });
    let mut command = Command::new(INGLE);
    command.args(["serve", "--salvage", "--json", "--data"]).arg(&copy);
    command.envs(crate::support::free_ports()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    crate::support::terminate(&child);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("salvage: a copy of a folder that was in use"), "{said}");
    // From now on it is a folder like any other.
    assert_eq!(refusal(&copy), None);
}
