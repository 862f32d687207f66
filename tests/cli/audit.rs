//! `ingle audit`: who changed what.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::people::people;
use crate::support::world::{OWNER, PLUG};

fn audit(cloud: &TestCloud, arguments: &[&str]) -> Vec<Value> {
    let all = [&["audit", "--json"], arguments].concat();
    cloud.ingle(&all, "").unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_change_by_each_kind_of_caller_is_a_row() {
    let cloud = TestCloud::start();
    let account = format!("account {}", std::fs::metadata("/proc/self").unwrap().uid());

    let renamed = cloud.first().put(&format!("/v1.0/devices/{PLUG}"), json!({"name": "by the project"}));
    assert_eq!(renamed["success"], true);
    let row = audit(&cloud, &["--object", PLUG, "--kind", "device", "--limit", "1"]).remove(0);
    let by = |row: &Value| [&row["actor_kind"], &row["actor"], &row["origin"], &row["call"]].map(|text| text.clone());
    assert_eq!(by(&row), ["project", "first", "127.0.0.1", "PUT /v1.0/devices/{device_id}"].map(|text| json!(text)));
    assert_eq!((&row["after"], &row["project"]), (&json!({"name": "by the project"}), &json!("first")));

    let world = json!({"projects": [{"name": "first", "devices": [{"device_id": PLUG, "product_id": "EvolhYPyZNWYP001",
        "name": "by a document"}]}]});
    cloud.apply(&world);
    let row = audit(&cloud, &["--object", PLUG, "--kind", "device", "--by", &account, "--limit", "1"]).remove(0);
    assert_eq!(by(&row), ["operator", &account, "control socket", "POST /world"].map(|text| json!(text)));
    assert_eq!(row["before"], json!({"name": "by the project"}));

    let people = people(&cloud);
    let named = people.owner.put(&format!("/v1.0/devices/{PLUG}"), json!({"name": "by the owner"}));
    assert_eq!(named["success"], true, "{named}");
    let row = audit(&cloud, &["--by", OWNER, "--limit", "1"]).remove(0);
    assert_eq!(row["actor_kind"], "user");

    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "switch_1", json!(true))]);
    let row = audit(&cloud, &["--kind", "operation", "--limit", "1"]).remove(0);
    assert_eq!((&row["operation"], &row["after"]), (&json!("import"), &json!({"rows": 1})));
}

#[test]
fn rows_are_lines_for_people_and_pages_for_programs() {
    let cloud = TestCloud::start();
    let text = cloud.ingle(&["audit", "--object", PLUG, "--limit", "3"], "").unwrap();
    assert!(text.contains("create device") && text.contains("by operator account"), "{text}");
    assert!(!text.contains(crate::support::world::FIRST_SECRET), "{text}");
    let first = audit(&cloud, &["--limit", "2"]);
    let next = audit(&cloud, &["--limit", "1", "--before", &first[1]["no"].to_string()]);
    assert!(next[0]["no"].as_i64() < first[1]["no"].as_i64());
    assert!(audit(&cloud, &["--since", "1h"]).len() > 2);
    assert!(cloud.ingle(&["audit", "--since", "soon"], "").unwrap_err().contains("24h"));
    // A stopped server's folder is opened by the command itself.
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(folder.path(), &[]);
    cloud.apply(&crate::support::world::standard());
    cloud.stop();
    let rows = crate::support::ingle(&["audit", "--json"], folder.path(), "").unwrap();
    assert!(rows.lines().count() > 2);
}
