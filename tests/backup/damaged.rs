//! Damaged backups and folders are refused, named by `ingle verify`, and served only with `--salvage`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{names, path, run};
use crate::store::model::Random;
use crate::support::world::{PLUG, standard};
use crate::support::{INGLE, TestCloud, ingle};

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

/// A folder after a clean stop, with rows of three weeks.
fn folder(temporary: &TempDir) -> PathBuf {
    let data = temporary.path().join("data");
    let cloud = TestCloud::binary(&data, &[]);
    cloud.apply(&standard());
    let rows = (0..300).map(|n| (PLUG, cloud.now_ms() - 1000 - n * WEEK_MS / 100, 7, 1, "cur_power", json!(n)));
    cloud.import(&rows.collect::<Vec<_>>());
    cloud.stop();
    data
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A file of the event log.
fn events(data: &Path) -> PathBuf {
    let name = names(data).into_iter().find(|name| name.starts_with("events-") && name.ends_with(".db")).unwrap();
    data.join(name)
}

/// The problems that `ingle verify` finds.
fn problems(data: &Path) -> Vec<String> {
    let mut command = Command::new(INGLE);
    let output = command.args(["verify", "--json", "--data"]).arg(data).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(output.status.success(), problems.is_empty());
    problems.iter().map(|problem| problem.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_damaged_or_incomplete_backup_is_never_restored() {
    let temporary = tempfile::tempdir().unwrap();
    let data = folder(&temporary);
    let (backup, damaged) = (temporary.path().join("backup.tar"), temporary.path().join("damaged.tar"));
    ingle(&["backup", path(&backup)], &data, "").unwrap();
    let whole = fs::read(&backup).unwrap();
    let to = temporary.path().join("restored");
    let mut random = Random(u64::from(std::process::id()));
    let below = |random: &mut Random, bound: usize| random.below(bound as u64) as usize;
    for round in 0..40 {
        let mut bytes = whole.clone();
        let at = below(&mut random, whole.len() - 1024);
        match round % 4 {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => bytes[at / 512 * 512..][..512].fill(0),
            _ => drop(bytes.drain(at / 512 * 512..at / 512 * 512 + 512)),
        }
        fs::write(&damaged, &bytes).unwrap();
        let checked = run(&["verify", "--backup", path(&damaged)]);
        match ingle(&["restore", path(&damaged)], &to, "") {
            Err(said) => {
                assert!(!to.exists() && said.contains("backup") && checked.is_err(), "{round} at {at}: {said}")
            }
            // Some bytes of the format mean nothing. Then nothing is different in the folder.
            Ok(_) => {
                for name in names(&to) {
                    let expected = whole.windows(fs::read(to.join(&name)).unwrap().len().max(1));
                    let content = fs::read(to.join(&name)).unwrap();
                    assert!(expected.into_iter().any(|window| window == content), "{name}, {round} at {at}");
                }
                fs::remove_dir_all(&to).unwrap();
            }
        }
        assert_eq!(names(temporary.path()), ["backup.tar", "damaged.tar", "data"]);
    }
    fs::write(&damaged, "not an archive").unwrap();
    let said = ingle(&["restore", path(&damaged)], &to, "").unwrap_err();
    assert!(said.contains("no backup that `ingle backup` made"), "{said}");
}

#[test]
fn a_backup_of_a_newer_format_or_with_another_file_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let place = |name: &str| temporary.path().join(name);
    let tar = |files: &[(&str, &str)]| {
        let folder = place("files");
        fs::create_dir(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name.rsplit('/').next().unwrap()), content).unwrap();
        }
        let mut command = Command::new("tar");
        command.arg("-cf").arg(place("made.tar")).arg("-P").arg("-C").arg(&folder);
        command.args(files.iter().map(|(name, _)| name.rsplit('/').next().unwrap()));
        // A file that would be written outside of the folder.
        command.arg("--transform=s,escape,../escape,");
        assert!(command.status().unwrap().success());
        fs::remove_dir_all(&folder).unwrap();
        ingle(&["restore", path(&place("made.tar"))], &place("restored"), "").unwrap_err()
    };
    assert!(tar(&[("backup.json", r#"{"format": 2}"#)]).contains("newer"));
    assert!(tar(&[("other.json", "{}")]).contains("backup.json"));
    let manifest = |name: &str| {
        json!({"format": 1, "ingle": "0", "registry_schema": 1, "time": "", "time_ms": 1, "registry_commits": 1,
            "with_keys": true, "left_out": [], "files": [{"name": name, "bytes": 1}]})
        .to_string()
    };
    let said = tar(&[("backup.json", &manifest("../escape")), ("escape", "x")]);
    assert!(said.contains("../escape"), "{said}");
    let said = tar(&[("backup.json", &manifest("a")), ("a", "x")]);
    assert!(said.contains("SHA256SUMS is missing"), "{said}");
    assert_eq!(names(temporary.path()), ["made.tar"]);
}

#[test]
fn verify_names_every_kind_of_damage() {
    let temporary = tempfile::tempdir().unwrap();
    let data = folder(&temporary);
    assert_eq!(problems(&data), Vec::<String>::new());
    let sql = |path: &Path, sql: &str| {
        // The checksums of pages would name any other change.
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
        fs::remove_file(path.with_extension("pages")).unwrap();
    };
    type Damage = Box<dyn Fn(&Path)>;
    let damages: Vec<(&str, Damage)> = vec![
        ("registry.db is damaged", Box::new(|data| change(&data.join("registry.db"), |bytes| bytes[9000] ^= 1))),
        ("registry.db is missing", Box::new(|data| fs::remove_file(data.join("registry.db")).unwrap())),
        ("lacks", Box::new(move |data| sql(&data.join("registry.db"), "UPDATE folder SET commits = commits - 1"))),
        (
            "refers to a row",
            Box::new(move |data| {
                let change = "PRAGMA foreign_keys = OFF; UPDATE device SET product_no = 99 WHERE device_no = 1";
                sql(&data.join("registry.db"), change);
            }),
        ),
        (
            "cannot be decrypted",
            Box::new(move |data| {
                let change = "UPDATE device SET local_key_sealed = zeroblob(40) WHERE device_no = 1";
                sql(&data.join("registry.db"), change);
            }),
        ),
        ("secret.key is not the key", Box::new(|data| change(&data.join("secret.key"), |bytes| bytes[3] ^= 1))),
        ("secret.key is missing", Box::new(|data| fs::remove_file(data.join("secret.key")).unwrap())),
        ("events-", Box::new(|data| change(&events(data), |bytes| bytes[40_000] ^= 1))),
        (
            "a block of device number",
            Box::new(move |data| {
                sql(&events(data), "UPDATE block SET blob = substr(blob, 1, length(blob) - 1) || x'00'")
            }),
        ),
        ("rows, but its runs must have", Box::new(move |data| sql(&events(data), "UPDATE run SET rows = rows + 1"))),
        ("are missing", Box::new(|data| fs::remove_file(events(data)).unwrap())),
        (
            "another data folder",
            Box::new(move |data| sql(&events(data), "UPDATE meta SET value = 5 WHERE name = 'folder'")),
        ),
        (
            "has assigned numbers up to",
            Box::new(move |data| {
                sql(&data.join("registry.db"), "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'device'")
            }),
        ),
        ("latest.db", Box::new(|data| change(&data.join("latest.db"), |bytes| bytes[20_000] ^= 1))),
        ("latest.db is missing", Box::new(|data| fs::remove_file(data.join("latest.db")).unwrap())),
    ];
    for (expected, damage) in damages {
        let copy = temporary.path().join("copy");
        assert!(Command::new("cp").arg("-a").arg(&data).arg(&copy).status().unwrap().success());
        damage(&copy);
        let found = problems(&copy);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
        fs::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn a_damaged_event_log_is_served_only_with_salvage_and_is_no_reason_later() {
    let temporary = tempfile::tempdir().unwrap();
    let data = folder(&temporary);
    let file = events(&data);
    change(&file, |bytes| bytes[40_000] ^= 1);
    let said = TestCloud::by(Command::new(INGLE), &data, &[]).err().unwrap();
    assert!(said.contains(path(&file)) && said.contains("--salvage"), "{said}");
    // A damaged page is in no backup.
    let backup = temporary.path().join("backup.tar");
    assert!(ingle(&["backup", path(&backup)], &data, "").is_err() && !backup.exists());
    assert!(names(&data).iter().all(|name| !name.contains("damaged")), "nothing was changed");

    let mut child = Command::new(INGLE);
    child.args(["serve", "--salvage", "--data"]).arg(&data).envs(crate::support::free_ports());
    let mut child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    crate::support::terminate(&child);
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("is set aside") && said.contains("salvage:"), "{said}");

    // The damage is known now: the server starts, and backups are made of what is left.
    let cloud = TestCloud::binary(&data, &[]);
    cloud.ingle(&["backup", path(&backup)], "").unwrap();
    cloud.stop();
    let to = temporary.path().join("restored");
    let said = ingle(&["restore", path(&backup)], &to, "").unwrap();
    assert!(said.contains("note:") && said.contains("set aside"), "{said}");
    assert_eq!(problems(&to), Vec::<String>::new());
    let cloud = TestCloud::binary(&to, &[]);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["success"], json!(true));
}

#[test]
fn a_page_that_is_damaged_while_the_server_runs_is_in_no_backup() {
    let temporary = tempfile::tempdir().unwrap();
    let data = folder(&temporary);
    let cloud = TestCloud::binary(&data, &[]);
    change(&events(&data), |bytes| bytes[40_000] ^= 1);
    let backup = temporary.path().join("backup.tar");
    let said = cloud.ingle(&["backup", path(&backup)], "").unwrap_err();
    assert!(said.contains("events-") && said.contains("wrong checksum"), "{said}");
    assert!(cloud.ingle(&["verify"], "").unwrap_err().contains("damaged"));
    assert_eq!(names(temporary.path()), ["data"]);
    cloud.stop();
}
