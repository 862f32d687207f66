//! `ingle export --user` and `ingle erase --user`.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::{GUEST, OWNER, PLUG, SCALE, SPEAKER};

#[test]
fn everything_about_a_person_is_exported_and_erased() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let now = cloud.now_ms();
    cloud.import(&[
        (SCALE, now - 1000, 7, 1, "weight", json!(70)),
        (SCALE, now - 900, 7, 1, "weight", json!(71)),
        (SPEAKER, now - 900, 7, 1, "smartspeaker_vol", json!(7)),
    ]);
    let named = format!("/v1.0/devices/{SCALE}/functions/weight");
    assert_eq!(app.put(&named, json!({"name": "My weight"}))["result"], true);
    cloud.apply(&json!({"projects": [{"name": "first", "users": [{"schema": "testApp", "username": "18200000678",
        "password": "a secret", "email": "owner@example.com", "phone": "+86-18200000678"}]}]}));
    let text = cloud.ingle(&["export", "--user", OWNER], "").unwrap();
    let person: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(person["account"]["email"], "owner@example.com");
    assert_eq!(person["function_names"][0]["name"], "My weight");
    assert_eq!(person["homes"][0]["home_id"], 10_700_001);
    assert_eq!(person["devices"].as_array().unwrap().len(), 6);
    assert_eq!(
        person["shared_by_the_user"],
        json!([{"device_id": PLUG, "uid": GUEST,
        "created_ms": person["shared_by_the_user"][0]["created_ms"]}])
    );
    let weights: Vec<&Value> = person["log"].as_array().unwrap().iter().map(|row| &row["value"]).collect();
    assert_eq!(weights, [&json!(70), &json!(71)]);
    assert!(!text.contains("argon2") && !text.contains("a secret") && !text.contains("local_key"), "{text}");
    for (arguments, text) in [
        (&["export"][..], "say what to export"),
        (&["export", "--user", "nobody"], "there is no user \"nobody\""),
        (&["erase", "--user", OWNER], "give --yes"),
    ] {
        let error = cloud.ingle(arguments, "").unwrap_err();
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
    let erased = cloud.ingle(&["erase", "--user", "18200000678", "--yes"], "").unwrap();
    assert!(erased.contains(&format!("user {OWNER} is erased")), "{erased}");
    assert!(erased.contains(&format!("device {SCALE}: 2 rows are hidden")), "{erased}");
    assert!(erased.contains("the retention deletes their files by 20"), "{erased}");
    assert!(erased.contains("nothing of the user is left"), "{erased}");
    assert_eq!(cloud.ingle(&["log", SCALE, "--type", "data"], "").unwrap(), "");
    assert_eq!(app.get(&format!("/v1.0/users/{OWNER}/infos"))["success"], false);
    // The audit still has the rows, without the person.
    let audit = cloud.ingle(&["audit", "--json", "--limit", "1000"], "").unwrap();
    assert!(audit.contains("\"object\":\"erased\"") && !audit.contains(OWNER), "{audit}");
    assert!(!audit.contains("18200000678") && !audit.contains("My weight"), "{audit}");
    // The other user has everything as before.
    let other: Value = serde_json::from_str(&cloud.ingle(&["export", "--user", GUEST], "").unwrap()).unwrap();
    assert_eq!((&other["devices"][0]["device_id"], &other["log"][0]["value"]), (&json!(SPEAKER), &json!(7)));
    // What somebody else has in common is named.
    cloud.apply(
        &json!({"projects": [{"name": "second", "users": [{"schema": "otherApp", "username": "guest@example.com"}]}]}),
    );
    let error = cloud.ingle(&["erase", "--user", GUEST, "--yes"], "").unwrap_err();
    assert!(error.contains("still has rows with texts of the user"), "{error}");
}

#[test]
fn the_audit_about_a_person_is_exported_and_not_that_about_others() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let export =
        |user: &str| -> Value { serde_json::from_str(&cloud.ingle(&["export", "--user", user], "").unwrap()).unwrap() };
    let rename = |device: &str, name: &str| {
        assert_eq!(app.put(&format!("/v1.0/devices/{device}"), json!({"name": name}))["result"], true);
    };
    rename(SCALE, "The owner's scale");
    rename(SPEAKER, "The guest's speaker");
    cloud.ingle(&["home", "set", "11600001", "--name", "The guest's home"], "").unwrap();
    let has = |person: &Value, text: &str| person["audit"].to_string().contains(text);
    let (owner, guest) = (export(OWNER), export(GUEST));
    assert!(has(&owner, "The owner's scale") && !has(&owner, "The guest's"), "{owner:#}");
    assert!(has(&guest, "The guest's speaker") && has(&guest, "The guest's home") && !has(&guest, "The owner's scale"));
    // What connects both is about both.
    let device = json!({"product_id": "g0er6hSKgMqr0001", "device_id": SCALE, "shared_with": ["guest@example.com"]});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
    let (owner, guest) = (export(OWNER), export(GUEST));
    let shared = |person: &Value| has(person, &format!("{SCALE}/{GUEST}"));
    assert!(shared(&owner) && shared(&guest));
    let rows = |person: &Value, kind: &str| {
        let rows = person["audit"].as_array().unwrap().iter().filter(|row| row["kind"] == kind);
        rows.map(|row| row["object"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((rows(&owner, "user"), rows(&owner, "home")), (vec![OWNER.to_owned()], vec!["10700001".to_owned()]));
    assert_eq!(rows(&owner, "product"), [] as [String; 0]);
    // A device that changes hands: what was before is not about its new owner.
    cloud.ingle(&["device", "set", SPEAKER, "--owner", "18200000678"], "").unwrap();
    rename(SPEAKER, "The owner's speaker");
    let (owner, guest) = (export(OWNER), export(GUEST));
    assert!(has(&owner, "The owner's speaker") && has(&owner, &format!("{SPEAKER}/{OWNER}")));
    assert!(!has(&owner, "The guest's speaker") && !has(&guest, "The owner's speaker"), "{owner:#}");
    assert!(!has(&owner, &format!("{SPEAKER}/{GUEST}")), "{owner:#}");
    // The same for a home.
    cloud.ingle(&["home", "set", "11600001", "--owner", "18200000678", "--name", "The owner's flat"], "").unwrap();
    let (owner, guest) = (export(OWNER), export(GUEST));
    assert!(has(&owner, "The owner's flat") && !has(&owner, "The guest's home"), "{owner:#}");
    assert!(!has(&guest, "The guest's home") && !has(&guest, "The owner's flat"), "{guest:#}");
}

#[test]
fn a_long_log_is_exported_whole_and_oldest_first() {
    let cloud = TestCloud::start();
    let now = cloud.now_ms() - 1_000_000;
    let count: i64 = 100_250;
    // Up to seven rows in a millisecond.
    let rows = (0..count).map(|at| {
        let (time, value) = (now + at / 7, at);
        format!(r#"{{"device_id":"{SCALE}","time":{time},"type":7,"from":1,"code":"weight","value":{value}}}"#) + "\n"
    });
    cloud.import_lines(&rows.collect::<String>()).unwrap();
    let person: Value = serde_json::from_str(&cloud.ingle(&["export", "--user", OWNER], "").unwrap()).unwrap();
    let values = person["log"].as_array().unwrap().iter().map(|row| row["value"].as_i64().unwrap());
    assert!(values.eq(0..count), "every row once, in order");
}
