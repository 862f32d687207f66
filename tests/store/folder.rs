//! The server does not start if a file of the data folder is damaged, missing or an older copy. These tests run the built
//! binary.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::world::{LONELY, OWNER, PLUG, standard};
use crate::support::{TestCloud, ingle};

/// A folder with the standard world and rows of a device, after the server was ended by `end`.
fn folder(end: impl FnOnce(TestCloud)) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&data(&temporary), &[]);
    cloud.apply(&standard());
    cloud.import(&[(PLUG, cloud.now_ms() - 1000, 7, 1, "switch_1", json!(true))]);
    end(cloud);
    temporary
}

fn data(temporary: &tempfile::TempDir) -> PathBuf {
    temporary.path().join("data")
}

/// Changes a byte of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The error with which the server refuses to start.
fn refusal(folder: &Path) -> String {
    ingle(&["import", "events", "/dev/null"], folder, "").unwrap_err()
}

fn rename(cloud: &TestCloud, name: &str) {
    assert_eq!(cloud.first().put(&format!("/v1.0/devices/{PLUG}"), json!({"name": name}))["result"], json!(true));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_clean_stop_leaves_every_file_whole_by_itself() {
    let temporary = folder(TestCloud::stop);
    let data = data(&temporary);
    let empty = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len()) == 0;
    let mut names = Vec::new();
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.ends_with("-wal") || empty(path.clone()), "{name} is not empty");
        if name.starts_with("journal-") && name.ends_with(".db") {
            let rows: i64 = rusqlite::Connection::open(&path)
                .unwrap()
                .query_row("SELECT count(*) FROM journal", [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, 0, "{name} holds rows");
        }
        names.push(name);
    }
    assert!(names.iter().any(|name| name.starts_with("events-")), "{names:?}");
    // The registry is unchanged, and only its key is beside it.
    let alone = temporary.path().join("alone");
    fs::create_dir(&alone).unwrap();
    for name in ["registry.db", "secret.key"] {
        fs::copy(data.join(name), alone.join(name)).unwrap();
    }
    let cloud = TestCloud::binary(&alone, &[]);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"]["uid"], json!(OWNER));
}

#[test]
fn a_registry_that_lost_acknowledged_changes_is_refused_by_name_and_never_gives_a_number_twice() {
    let temporary = folder(TestCloud::stop);
    let data = data(&temporary);
    let older = temporary.path().join("older");
    copy(&data, &older);
    // A new device of the second project with a row is in the write-ahead log when the server is killed.
    let cloud = TestCloud::binary(&data, &[]);
    let device = |project: &str, product: &Value, id: &str| json!({"projects": [{"name": project, "devices": [{"product_id": product, "device_id": id}]}]});
    let world = standard();
    let product = |project: usize| world["projects"][project]["devices"][0]["product_id"].clone();
    let names = [0, 1].map(|project| world["projects"][project]["name"].as_str().unwrap().to_owned());
    cloud.apply(&device(&names[1], &product(1), "secret000000000000001"));
    cloud.import(&[("secret000000000000001", cloud.now_ms() - 500, 7, 1, "switch_1", json!(true))]);
    cloud.kill();
    let newer = temporary.path().join("newer");
    copy(&data, &newer);

    let log = fs::metadata(data.join("registry.db-wal")).unwrap().len() as usize;
    assert!(log > 0, "the changes are in the write-ahead log");
    let restore = |names: &[&str]| {
        for name in names {
            fs::copy(newer.join(name), data.join(name)).unwrap();
        }
    };
    flip(&data.join("registry.db-wal"), log / 2);
    assert!(refusal(&data).contains("registry.db lacks"), "{}", refusal(&data));
    restore(&["registry.db", "registry.db-wal"]);
    fs::remove_file(data.join("registry.db-wal")).unwrap();
    assert!(refusal(&data).contains("registry.db-wal"), "{}", refusal(&data));
    restore(&["registry.db", "registry.db-wal"]);
    let damaged = temporary.path().join("damaged");
    copy(&older, &damaged);
    flip(&damaged.join("registry.db"), 5000);
    assert!(refusal(&damaged).contains("registry.db is damaged"), "{}", refusal(&damaged));
    fs::remove_file(data.join("registry.db")).unwrap();
    assert!(refusal(&data).contains("registry.db is missing"), "{}", refusal(&data));
    // All files of the registry are older than the event log, as after restoring only the registry.
    for name in ["registry.db", "registry.db-wal", "registry.mark", "registry.pages"] {
        fs::copy(older.join(name), data.join(name)).unwrap();
    }
    let text = refusal(&data);
    assert!(text.contains("registry.db is older than") && text.contains("ingle recover"), "{text}");

    // After `recover`, no new device gets a number that has rows.
    let said = ingle(&["recover"], &data, "").unwrap();
    assert!(said.contains("lost: the devices of the numbers"), "{said}");
    let cloud = TestCloud::binary(&data, &[]);
    cloud.apply(&device(&names[0], &product(0), "another00000000000001"));
    assert_eq!(cloud.first().reported("another00000000000001"), json!([]));
    let logs = format!("/v1.0/devices/another00000000000001/logs?type=7&start_time=0&end_time={}", cloud.now_ms() + 1);
    assert_eq!(cloud.first().get(&logs)["result"]["logs"], json!([]));
    // Older rows may belong to another owner now, so they are hidden.
    assert_eq!(cloud.first().reported(PLUG), json!([]));
}

#[test]
fn an_older_registry_beside_rows_of_a_newer_owner_is_refused() {
    let temporary = folder(TestCloud::stop);
    let data = data(&temporary);
    let older = temporary.path().join("older");
    copy(&data, &older);
    // There is no new device, only a new owner, and the rows of the new owner are still in a journal.
    let cloud = TestCloud::binary(&data, &[]);
    let owned = json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "owner": "guest@example.com"});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [owned]}]}));
    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "cur_power", json!(777))]);
    cloud.kill();
    fs::remove_file(data.join("registry.db-wal")).unwrap();
    for name in ["registry.db", "registry.mark", "registry.pages"] {
        fs::copy(older.join(name), data.join(name)).unwrap();
    }
    let text = refusal(&data);
    assert!(text.contains("registry.db is older than") && text.contains("journal-"), "{text}");
}

#[test]
fn files_of_two_folders_are_not_used_together() {
    let (one, other) = (folder(TestCloud::stop), folder(TestCloud::stop));
    let (one, other) = (data(&one), data(&other));
    fs::copy(other.join("latest.db"), one.join("latest.db")).unwrap();
    fs::copy(other.join("latest.pages"), one.join("latest.pages")).unwrap();
    assert!(refusal(&one).contains("latest.db belongs to another data folder"), "{}", refusal(&one));
}

#[test]
fn another_key_is_refused_at_the_start() {
    let temporary = folder(TestCloud::stop);
    flip(&data(&temporary).join("secret.key"), 5);
    assert!(refusal(&data(&temporary)).contains("secret.key is not the key of"), "{}", refusal(&data(&temporary)));
}

#[test]
fn checksums_and_marks_that_are_lost_are_made_again() {
    let temporary = folder(TestCloud::stop);
    let data = data(&temporary);
    for name in ["registry.pages", "registry.mark", "latest.pages"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    let cloud = TestCloud::binary(&data, &[]);
    rename(&cloud, "After");
    cloud.stop();
    for name in ["registry.pages", "registry.mark", "latest.pages"] {
        assert!(data.join(name).exists(), "{name}");
    }
    let at = data.join("registry.db");
    flip(&at, 9000);
    assert!(refusal(&data).contains("registry.db is damaged"));
    flip(&at, 9000);
    let cloud = TestCloud::binary(&data, &[]);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"]["name"], json!("After"));
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{LONELY}"))["success"], json!(true));
}
