//! The commands as an operator uses them: destinations, keys, interruptions, full disks.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{names, path, run};
use crate::support::small_disk::SmallDisk;
use crate::support::world::{FIRST_SECRET, OWNER, PLUG, standard};
use crate::support::{INGLE, TestCloud, ingle};

/// A running server with the standard world and rows of three weeks.
fn cloud(temporary: &TempDir) -> TestCloud {
    let cloud = TestCloud::binary(&temporary.path().join("data"), &[]);
    cloud.apply(&standard());
    let week = 7 * 24 * 3600 * 1000;
    let rows = (0..3).map(|n| (PLUG, cloud.now_ms() - 1000 - n * week, 7, 1, "cur_power", json!(n)));
    cloud.import(&rows.collect::<Vec<_>>());
    cloud
}

fn data(temporary: &TempDir) -> PathBuf {
    temporary.path().join("data")
}

/// Checks that a restored folder has the world and the rows.
fn has_everything(data: &Path) {
    let cloud = TestCloud::binary(data, &[]);
    let app = cloud.first();
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["uid"], json!(OWNER));
    let logs = format!("/v1.0/devices/{PLUG}/logs?end_time={}&size=10&start_time=1&type=7", cloud.now_ms());
    assert_eq!(app.get(&logs)["result"]["logs"].as_array().unwrap().len(), 3);
    cloud.stop();
}

#[test]
fn a_backup_of_a_running_or_stopped_server_becomes_a_folder_again() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = cloud(&temporary);
    let [running, stopped, plain] = ["running.tar", "stopped.tar", "plain"].map(|name| temporary.path().join(name));
    let said: Value = serde_json::from_str(&cloud.ingle(&["backup", path(&running), "--json"], "").unwrap()).unwrap();
    let found = fs::metadata(&running).unwrap();
    assert_eq!((said["bytes"].as_u64(), said["with_keys"].as_bool()), (Some(found.len()), Some(true)));
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert!(cloud.ingle(&["verify"], "").unwrap().contains("3 rows"));
    cloud.stop();
    ingle(&["backup", path(&stopped)], &data(&temporary), "").unwrap();
    for backup in [&running, &stopped] {
        assert!(run(&["verify", "--backup", path(backup)]).unwrap().contains("every checksum is correct"));
        let to = backup.with_extension("");
        let said = ingle(&["restore", path(backup), "--json"], &to, "").unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((said["devices"].as_u64(), said["rows"].as_u64()), (Some(10), Some(3)));
        assert!(names(&to).iter().all(|name| !name.ends_with("-wal") && !name.ends_with("-shm")), "{:?}", names(&to));
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
        has_everything(&to);
    }
    // An ordinary person's tools are enough.
    fs::create_dir(&plain).unwrap();
    let unpacked = Command::new("tar").arg("-xf").arg(&running).arg("-C").arg(&plain).status().unwrap();
    let mut check = Command::new("sha256sum");
    let checked = check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&plain).status().unwrap();
    assert!(unpacked.success() && checked.success());
    has_everything(&plain);
}

#[test]
fn a_backup_without_keys_needs_the_right_ones() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = cloud(&temporary);
    let backup = temporary.path().join("backup.tar");
    cloud.ingle(&["backup", path(&backup), "--without-key"], "").unwrap();
    cloud.stop();
    let bytes = fs::read(&backup).unwrap();
    let contains = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    for key in ["secret.key", "ca.key"] {
        assert!(!contains(&fs::read(data(&temporary).join(key)).unwrap()), "{key}");
    }
    let listed = Command::new("tar").arg("-tf").arg(&backup).output().unwrap();
    assert!(!String::from_utf8(listed.stdout).unwrap().contains(".key"));
    assert!(!contains(FIRST_SECRET.as_bytes()));
    let to = temporary.path().join("restored");
    let said = ingle(&["restore", path(&backup)], &to, "").unwrap_err();
    assert!(said.contains("--keys"), "{said}");
    let others = temporary.path().join("others");
    fs::create_dir(&others).unwrap();
    fs::write(others.join("secret.key"), [7; 32]).unwrap();
    let said = ingle(&["restore", path(&backup), "--keys", path(&others)], &to, "").unwrap_err();
    assert!(said.contains("secret.key is not the key of"), "{said}");
    assert!(!to.exists());
    ingle(&["restore", path(&backup), "--keys", path(&data(&temporary))], &to, "").unwrap();
    assert_eq!(fs::read(to.join("ca.key")).unwrap(), fs::read(data(&temporary).join("ca.key")).unwrap());
    has_everything(&to);
}

#[test]
fn a_destination_that_loses_something_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = cloud(&temporary);
    let place = |name: &str| temporary.path().join(name);
    fs::write(place("existing.tar"), "older").unwrap();
    fs::create_dir(place("folder")).unwrap();
    symlink(place("nowhere"), place("link.tar")).unwrap();
    symlink(data(&temporary), place("linked-data")).unwrap();
    for (file, expected) in [
        (place("existing.tar"), "--overwrite"),
        (place("folder"), "is a folder"),
        (place("link.tar"), "no regular file"),
        (place("missing/backup.tar"), "No such file"),
        (data(&temporary).join("backup.tar"), "in the data folder"),
        (place("linked-data/backup.tar"), "in the data folder"),
        (PathBuf::from("/dev/null"), "no regular file"),
    ] {
        let said = cloud.ingle(&["backup", path(&file)], "").unwrap_err();
        assert!(said.contains(expected), "{file:?}: {said}");
    }
    assert_eq!(fs::read(place("existing.tar")).unwrap(), b"older");
    cloud.ingle(&["backup", path(&place("existing.tar")), "--overwrite"], "").unwrap();
    assert!(run(&["verify", "--backup", path(&place("existing.tar"))]).is_ok());
    let said = ingle(&["backup", path(&place("new.tar"))], &place("none"), "").unwrap_err();
    assert!(said.contains("there is no data folder") && !place("none").exists(), "{said}");
    assert_eq!(names(temporary.path()), ["data", "existing.tar", "folder", "link.tar", "linked-data"]);
    // A folder that is not empty is never written to.
    let said = cloud.ingle(&["restore", path(&place("existing.tar"))], "").unwrap_err();
    assert!(said.contains("is not empty"), "{said}");
    fs::write(place("folder/file"), "mine").unwrap();
    let said = ingle(&["restore", path(&place("existing.tar"))], &place("folder"), "").unwrap_err();
    assert!(said.contains("is not empty") && names(&place("folder")) == ["file"], "{said}");
    fs::remove_file(place("folder/file")).unwrap();
    ingle(&["restore", path(&place("existing.tar"))], &place("folder"), "").unwrap();
    cloud.stop();
    has_everything(&place("folder"));
}

/// A backup through a pipe whose reader has not begun to read, on a server with more data than fits into the pipe.
/// Returns its first bytes too.
fn begin_backup(cloud: &TestCloud) -> (std::process::Child, [u8; 1024]) {
    let mut command = Command::new(INGLE);
    command.args(["backup", "-", "--data"]).arg(&cloud.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 1024];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    (child, first)
}

/// Many devices with long names, so that a backup is larger than all buffers on its way.
fn many(cloud: &TestCloud) {
    let device = |n: usize| json!({"product_id": "g0er6hSKgMqr0001", "device_id": format!("many{n:016}"), "name": format!("{n}").repeat(40)});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": (0..6000).map(device).collect::<Vec<_>>()}]}));
}

#[test]
fn a_backup_goes_to_a_pipe_and_two_at_once_do_not_disturb_each_other() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = cloud(&temporary);
    many(&cloud);
    let (waiting, first) = begin_backup(&cloud);
    let other = temporary.path().join("other.tar");
    // While one waits, the server changes, and another backup has the change.
    assert_eq!(cloud.first().put(&format!("/v1.0/devices/{PLUG}"), json!({"name": "later"}))["success"], json!(true));
    cloud.ingle(&["backup", path(&other)], "").unwrap();
    let rest = waiting.wait_with_output().unwrap();
    assert!(rest.status.success(), "{}", String::from_utf8_lossy(&rest.stderr));
    cloud.stop();
    let archive = [first.to_vec(), rest.stdout].concat();
    for (n, (archive, expected)) in [(archive, "xxx测试"), (fs::read(other).unwrap(), "later")].into_iter().enumerate()
    {
        let to = temporary.path().join(format!("restored{n}"));
        let mut command = Command::new(INGLE);
        command.args(["restore", "-", "--data"]).arg(&to).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(child.wait().unwrap().success());
        let cloud = TestCloud::binary(&to, &[]);
        assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"]["name"], json!(expected));
    }
}

#[test]
fn an_interrupted_backup_leaves_nothing_and_the_server_goes_on_or_stops() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = cloud(&temporary);
    many(&cloud);
    // A client that disappears.
    let (mut child, _) = begin_backup(&cloud);
    child.kill().unwrap();
    child.wait().unwrap();
    // A client that receives SIGTERM while it writes to a file.
    let file = temporary.path().join("none.tar");
    let mut command = Command::new(INGLE);
    command.args(["backup", path(&file), "--data"]).arg(&cloud.folder).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    crate::support::terminate(&child);
    let ended = child.wait_with_output().unwrap();
    // It may have been complete already, or not have begun.
    assert_eq!(ended.status.success(), file.exists());
    assert!(names(temporary.path()).iter().all(|name| !name.contains(".part-")), "{:?}", names(temporary.path()));
    // A server that receives SIGTERM does not wait for the client.
    let (child, _) = begin_backup(&cloud);
    let begun = std::time::Instant::now();
    cloud.stop();
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && (said.contains("stopping") || said.contains("broke off")), "{said}");
    ingle(&["verify"], &data(&temporary), "").unwrap();
}

/// Runs [`child`] on a small file system.
#[test]
fn a_full_disk_ends_a_backup_or_a_restore_and_a_file_system_of_its_own_can_be_restored_to() {
    let output = SmallDisk::run("backup::commands::child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}

/// Runs in the mount namespace; not a test by itself.
#[test]
fn child() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let temporary = tempfile::tempdir().unwrap();
    let cloud = cloud(&temporary);
    many(&cloud);
    let backup = temporary.path().join("backup.tar");
    cloud.ingle(&["backup", path(&backup)], "").unwrap();
    disk.fill(256);
    let on_disk = disk.path.join("backup.tar");
    let said = cloud.ingle(&["backup", path(&on_disk)], "").unwrap_err();
    assert!(said.contains("No space left") && names(&disk.path) == ["filler"], "{said}");
    cloud.ingle(&["verify"], "").unwrap();
    cloud.stop();
    let said = ingle(&["restore", path(&backup)], &disk.path.join("data"), "").unwrap_err();
    assert!(said.contains("No space left") && names(&disk.path) == ["filler"], "{said}");
    disk.empty();
    // The mount point itself cannot be replaced by another folder.
    ingle(&["restore", path(&backup)], &disk.path, "").unwrap();
    has_everything(&disk.path);
}
