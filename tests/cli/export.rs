//! `ingle export world`: applying what it prints changes nothing.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::world::{DOOR, FIRST_SECRET, HELD_ELSEWHERE, LONELY, PLUG, SPEAKER, standard};
use crate::support::{TestCloud, ingle};

/// Every row of every table of the registry, without encrypted columns, which differ in each encryption, and without
/// counters of numbers and commits.
fn rows(folder: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(folder.join("registry.db")).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut all = Vec::new();
    for table in
        texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('folder', 'sqlite_sequence')")
    {
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{table}') WHERE name NOT LIKE '%_sealed'"));
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let sql = format!("SELECT {} FROM {table} ORDER BY 1", quoted.join(" || ' ' || "));
        all.extend(texts(&sql).into_iter().map(|row| format!("{table}: {row}")));
    }
    assert!(all.len() > 20, "{all:?}");
    all
}

/// Applies what is exported to the same folder, and to an empty one. Neither may change anything. Returns the export.
fn check(folder: &Path) -> Value {
    let before = rows(folder);
    let without = ingle(&["export", "world"], folder, "").unwrap();
    assert!(!without.contains("secret\"") && !without.contains("local_key"), "{without}");
    ingle(&["apply", "-"], folder, &without).unwrap();
    assert_eq!(rows(folder), before, "without secrets");
    let whole = ingle(&["export", "world", "--secrets"], folder, "").unwrap();
    ingle(&["apply", "-"], folder, &whole).unwrap();
    assert_eq!(rows(folder), before, "with secrets");
    assert_eq!(ingle(&["export", "world", "--secrets"], folder, "").unwrap(), whole);
    let other = tempfile::tempdir().unwrap();
    ingle(&["apply", "-"], other.path(), &whole).unwrap();
    assert_eq!(ingle(&["export", "world", "--secrets"], other.path(), "").unwrap(), whole, "another folder");
    serde_json::from_str(&whole).unwrap()
}

#[test]
fn applying_the_standard_world_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    ingle(&["apply", "-"], folder.path(), &standard().to_string()).unwrap();
    let world = check(folder.path());
    assert_eq!(world["projects"][0]["tuya"]["secret"], FIRST_SECRET);
    let devices = world["projects"][0]["devices"].as_array().unwrap();
    let device = |id: &str| devices.iter().find(|device| device["device_id"] == id).unwrap();
    assert_eq!(device(PLUG)["shared_with"], json!(["guest@example.com"]));
    assert_eq!((&device(LONELY)["owner"], &device(LONELY)["home_id"]), (&Value::Null, &Value::Null));
    // It is in the project of its owner, and of a product of another one.
    assert_eq!(world["projects"][1]["devices"][1]["device_id"], HELD_ELSEWHERE);
    // One project alone.
    let second = ingle(&["export", "world", "--project", "second", "--secrets"], folder.path(), "").unwrap();
    let second: Value = serde_json::from_str(&second).unwrap();
    assert_eq!((&second["projects"][0], second["projects"].as_array().unwrap().len()), (&world["projects"][1], 1));
    let error = ingle(&["export", "world", "--project", "third"], folder.path(), "").unwrap_err();
    assert!(error.contains("no project \"third\""), "{error}");
}

#[test]
fn applying_a_world_with_everything_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../docs/world.md");
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    ingle(&["apply", "-"], folder.path(), example).unwrap();
    // The same name in two apps, a home that changes its owner, and devices that only another project or nobody has.
    let more = json!({"projects": [
        {"name": "home", "apps": [{"schema": "other"}],
         "users": [{"schema": "other", "username": "ben", "uid": "az1700000000000other1"}],
         "homes": [{"home_id": 1_070_002, "name": "Second \"home\"", "owner": "az1700000000000other1"}],
         "devices": [{"product_id": "homeplug00000001", "device_id": "twice", "owner": "az1700000000000other1",
            "home_id": 1_070_002}, {"product_id": "homeplug00000001", "device_id": "nobodys", "mac": "aa-bb"}]},
        {"name": "empty"},
        {"name": "else", "apps": [{"schema": "else"}], "users": [{"schema": "else", "username": "eve"}],
         "devices": [{"product_id": "homeplug00000001", "device_id": "held_elsewhere", "owner": "eve"}]}]});
    ingle(&["apply", "-"], folder.path(), &more.to_string()).unwrap();
    let given = json!({"projects": [{"name": "home", "homes": [{"home_id": 1_070_002, "name": "Second \"home\"",
        "owner": "anna@example.com"}]}]});
    ingle(&["apply", "-"], folder.path(), &given.to_string()).unwrap();
    let world = check(folder.path());
    let devices = world["projects"][0]["devices"].as_array().unwrap();
    let device = |id: &str| devices.iter().find(|device| device["device_id"] == id).unwrap();
    assert_eq!((&device("twice")["home_id"], &device("twice")["owner"]), (&json!(0), &json!("az1700000000000other1")));
    assert_eq!(
        world["projects"][1],
        json!({"name": "empty", "tuya": world["projects"][1]["tuya"],
        "aliyun": world["projects"][1]["aliyun"]})
    );
    // The example says everything that there is to say about its first device, and all of it is exported.
    let said: Value = serde_json::from_str(example).unwrap();
    for (member, value) in said["projects"][0]["devices"][0].as_object().unwrap() {
        // Whom `ben` names is not clear any more.
        if !matches!(member.as_str(), "keep_history" | "shared_with") {
            assert_eq!(&device("homeplugdevice000001")[member], value, "{member}");
        }
    }
}

#[test]
fn a_running_server_with_devices_that_were_given_up() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    assert_eq!(app.delete(&format!("/v1.0/devices/{SPEAKER}"))["result"], true);
    assert_eq!(app.delete(&format!("/v1.0/devices/{DOOR}"))["result"], true);
    assert_eq!(app.delete(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"], true);
    let before = rows(&cloud.folder);
    let world = cloud.ingle(&["export", "world", "--secrets"], "").unwrap();
    cloud.ingle(&["apply", "-"], &world).unwrap();
    assert_eq!(rows(&cloud.folder), before);
    assert_eq!(app.get(&format!("/v1.0/devices/{SPEAKER}"))["code"], 1106, "it stays removed");
    // Many pieces.
    let devices: Vec<Value> =
        (0..3000).map(|at| json!({"product_id": "EvolhYPyZNWYP001", "device_id": format!("d{at}")})).collect();
    cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    let world: Value = serde_json::from_str(&cloud.ingle(&["export", "world"], "").unwrap()).unwrap();
    assert_eq!(world["projects"][0]["devices"].as_array().unwrap().len(), 3000 + 9);
}
