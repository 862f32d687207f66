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
