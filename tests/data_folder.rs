//! The files of a data folder: who may read them, and what becomes of damaged keys and certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::world::{self, SCALE};
use crate::support::{INGLE, TestCloud};

/// A folder that a server has used and left.
fn used() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cloud = start(folder.path()).unwrap();
    cloud.apply(&world::standard());
    cloud.stop();
    folder
}

fn data(folder: &Path) -> std::path::PathBuf {
    folder.join("data")
}

fn start(folder: &Path) -> Result<TestCloud, String> {
    TestCloud::by(Command::new(INGLE), &data(folder), &[])
}

fn log(folder: &Path) -> String {
    fs::read_to_string(TestCloud::log_of(&data(folder))).unwrap()
}

/// Lines of the log that name a file at a level.
fn said(folder: &Path, level: &str, file: &str) -> usize {
    let path = data(folder).join(file).display().to_string();
    log(folder).lines().filter(|line| line.contains(level) && line.contains(&path)).count()
}

/// The files in the folder whose names begin so.
fn beginning(folder: &Path, start: &str) -> Vec<String> {
    let names = fs::read_dir(data(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(start)).collect()
}

/// Requester over TLS with the certificate that the folder gives to clients; whether the server proved itself by it.
fn is_trusted(cloud: &TestCloud) -> bool {
    let url = format!("{}/openapi/tuya.json", cloud.addresses["api_tls"].as_str().unwrap());
    let mut curl = Command::new("curl");
    curl.args(["-sf", "-o", "/dev/null", "--cacert"]).arg(cloud.folder.join("ca.pem")).arg(url);
    curl.status().unwrap().success()
}

/// Every kind of damage to a small file: nothing left, a part left, and a bit changed at some places.
fn damages(whole: &[u8]) -> Vec<Vec<u8>> {
    let flipped = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 4;
        bytes
    };
    let places = [40, whole.len() / 4, whole.len() / 2, whole.len() * 3 / 4];
    [vec![Vec::new(), whole[..whole.len() / 2].to_vec()], places.into_iter().map(flipped).collect()].concat()
}

#[test]
fn a_damaged_or_lost_certificate_of_the_ca_is_named_and_made_again_from_its_key() {
    let folder = used();
    let path = data(folder.path()).join("ca.pem");
    let (whole, key) = (fs::read(&path).unwrap(), fs::read(data(folder.path()).join("ca.key")).unwrap());
    for (index, damaged) in damages(&whole).into_iter().enumerate() {
        fs::write(&path, &damaged).unwrap();
        let cloud = start(folder.path()).unwrap();
        assert!(is_trusted(&cloud));
        assert_ne!(fs::read(&path).unwrap(), damaged);
        // Set aside and made again.
        assert_eq!(said(folder.path(), " WARN ", "ca.pem"), 2 * (index + 1));
        cloud.stop();
    }
    let before = said(folder.path(), " WARN ", "ca.pem");
    fs::remove_file(&path).unwrap();
    let cloud = start(folder.path()).unwrap();
    assert!(is_trusted(&cloud));
    assert_eq!(said(folder.path(), " WARN ", "ca.pem"), before + 1);
    cloud.stop();
    // Clients that trust the certificate of before still do.
    fs::write(&path, &whole).unwrap();
    let cloud = start(folder.path()).unwrap();
    assert!(is_trusted(&cloud));
    assert_eq!(said(folder.path(), " WARN ", "ca.pem"), before + 1, "a whole certificate was called damaged");
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(fs::read(data(folder.path()).join("ca.key")).unwrap(), key);
}

#[test]
fn a_damaged_key_of_the_ca_is_set_aside_for_a_new_ca_that_the_log_asks_to_trust() {
    let folder = used();
    let path = data(folder.path()).join("ca.key");
    let whole = fs::read(&path).unwrap();
    for (index, damaged) in damages(&whole).into_iter().enumerate() {
        fs::write(&path, &damaged).unwrap();
        let cloud = start(folder.path()).unwrap();
        assert!(is_trusted(&cloud), "damage {index}");
        cloud.stop();
        let aside = beginning(folder.path(), "ca.key.damaged-");
        assert_eq!(aside.len(), index + 1, "damage {index}");
        assert!(aside.iter().any(|name| fs::read(data(folder.path()).join(name)).unwrap() == damaged));
        assert_eq!(log(folder.path()).matches("clients must trust the new").count(), index + 1);
        assert_eq!(said(folder.path(), " ERROR ", "ca.key"), 2 * (index + 1));
    }
}

#[test]
fn a_damaged_secret_key_is_refused_by_name_once_something_was_sealed() {
    let folder = used();
    let path = data(folder.path()).join("secret.key");
    let whole = fs::read(&path).unwrap();
    for damaged in [&whole[..0], &whole[..31]] {
        fs::write(&path, damaged).unwrap();
        let refused = start(folder.path()).err().unwrap();
        assert!(refused.contains(&path.display().to_string()), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "it is left as it is");
    }
    // Unreadable for another reason: named as well.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = start(folder.path()).err().unwrap();
    assert!(refused.contains(&path.display().to_string()), "{refused}");
}

#[test]
fn a_torn_secret_key_that_sealed_nothing_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(data(folder.path())).unwrap();
    fs::write(data(folder.path()).join("secret.key"), b"torn").unwrap();
    let cloud = start(folder.path()).unwrap();
    cloud.apply(&world::standard());
    cloud.stop();
    assert_eq!(beginning(folder.path(), "secret.key.damaged-").len(), 1);
    assert_eq!(said(folder.path(), " ERROR ", "secret.key"), 1);
    start(folder.path()).unwrap().stop();
}

/// Files of the folder that group or others may use, and those that only the owner may.
fn modes(folder: &Path) -> (Vec<String>, Vec<String>) {
    let (mut open, mut private) = (Vec::new(), Vec::new());
    for name in beginning(folder, "") {
        let mode = fs::symlink_metadata(data(folder).join(&name)).unwrap().permissions().mode();
        if mode & 0o077 == 0 { private.push(name) } else { open.push(name) }
    }
    open.sort();
    (open, private)
}

#[test]
fn keys_and_databases_are_their_owners_alone_whatever_the_umask_and_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(data(folder.path())).unwrap();
    fs::set_permissions(data(folder.path()), fs::Permissions::from_mode(0o777)).unwrap();
    let mut careless = Command::new("sh");
    careless.args(["-c", "umask 000; exec \"$0\" \"$@\"", INGLE]);
    let cloud = TestCloud::by(careless, &data(folder.path()), &[("INGLE_TELEMETRY_MEMORY_ROWS", "1000")]).unwrap();
    cloud.apply(&world::standard());
    let now = cloud.now_ms();
    let rows: Vec<_> = (0..2500).map(|n| (SCALE, now - n, 7, 1, "weight", json!(n))).collect();
    cloud.import(&rows);
    cloud.wait(|| !beginning(folder.path(), "events-").is_empty());
    let (open, private) = modes(folder.path());
    assert!(open.iter().all(|name| name == "ca.pem"), "{open:?}");
    for kind in ["secret.key", "ca.key", "registry.db", "registry.db-wal", "registry.db-shm", "latest.db", "ingle.lock"]
    {
        assert!(private.iter().any(|name| name == kind), "{kind} is not among {private:?}");
    }
    for kind in ["events-", "journal-"] {
        assert!(private.iter().any(|name| name.starts_with(kind)), "{kind} is not among {private:?}");
    }
}

#[test]
fn files_that_others_can_read_are_tightened_and_named_or_the_start_is_refused() {
    let folder = used();
    let files: Vec<_> = modes(folder.path()).1;
    // A socket is made anew, and the reserve holds nothing.
    let files: Vec<_> = files.into_iter().filter(|name| name != "control.sock" && name != "reserve").collect();
    assert!(files.len() >= 5, "{files:?}");
    for name in &files {
        fs::set_permissions(data(folder.path()).join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let cloud = start(folder.path()).unwrap();
    let open = modes(folder.path()).0;
    assert!(open.iter().all(|name| name == "ca.pem"), "{open:?}");
    for name in &files {
        let lines = log(folder.path());
        let path = format!("file={} ", data(folder.path()).join(name).display());
        assert_eq!(lines.lines().filter(|line| line.contains(&path)).count(), 1, "{name}: {lines}");
    }
    cloud.stop();
    // Of what the system says of a process nobody can change the permissions.
    std::os::unix::fs::symlink("/proc/self/status", data(folder.path()).join("old.key")).unwrap();
    let refused = start(folder.path()).err().unwrap();
    assert!(refused.contains("old.key"), "{refused}");
}
