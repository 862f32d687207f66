//! `ingle project rotate-secret`: when old secrets and their tokens end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::aliyun::AliyunApp;
use crate::support::tuya::TuyaApp;
use crate::support::world::{FIRST_APP_KEY, FIRST_APP_SECRET, FIRST_ID, FIRST_PROJECT_ID, FIRST_SECRET, PLUG};

const HOUR: Duration = Duration::from_secs(3600);

/// The secrets that the project has now.
fn secrets(cloud: &TestCloud) -> (String, String, Value) {
    let shown = cloud.ingle(&["project", "show", "first", "--json", "--secrets"], "").unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let until = shown["old_secrets_until_ms"].clone();
    (text(&shown["tuya"]["secret"]), text(&shown["aliyun"]["app_secret"]), until)
}

/// Whether each API grants a token for these secrets.
fn works(cloud: &TestCloud, secret: &str, app_secret: &str) -> bool {
    let app = TuyaApp::new(cloud, FIRST_ID, secret);
    let token = app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body;
    let aliyun = AliyunApp::new(cloud, FIRST_APP_KEY, app_secret, FIRST_PROJECT_ID);
    let params = json!({"grantType": "project", "res": FIRST_PROJECT_ID});
    let cloud_token = aliyun.send("/cloud/token", &crate::support::aliyun::envelope("1.0.1", None, &params)).body;
    let both = (token["success"] == true, cloud_token["code"] == 200);
    assert_eq!(both.0, both.1, "{token} {cloud_token}");
    both.0
}

#[test]
fn without_a_time_of_grace_old_secrets_and_tokens_end_at_once() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let app = cloud.first();
    let plug = format!("/v1.0/devices/{PLUG}");
    assert_eq!(app.get(&plug)["success"], true);
    let said = cloud.ingle(&["project", "rotate-secret", "first", "--secrets"], "").unwrap();
    let (secret, app_secret, until) = secrets(&cloud);
    assert!(said.contains("revoked") && said.contains(&secret) && said.contains(&app_secret), "{said}");
    assert_eq!(until, Value::Null);
    assert!(!works(&cloud, FIRST_SECRET, FIRST_APP_SECRET) && works(&cloud, &secret, &app_secret));
    // The token of the old secret, in a request that the new one signs.
    let new = TuyaApp::new(&cloud, FIRST_ID, &secret);
    new.hold(&app.token());
    assert_eq!(new.get(&plug)["code"], 1010);
    for (arguments, text) in [
        (&["project", "rotate-secret", "third"][..], "there is no project \"third\""),
        (&["project", "rotate-secret", "first", "--grace", "91d"], "0 to 90 days"),
        (&["project", "rotate-secret", "first", "--grace", "soon"], "write it as 30m"),
    ] {
        let error = cloud.ingle(arguments, "").unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn with_a_time_of_grace_both_secrets_work_until_it_ends() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let plug = format!("/v1.0/devices/{PLUG}");
    let old = cloud.first();
    let first_token = old.token();
    let said = cloud.ingle(&["project", "rotate-secret", "first", "--grace", "3h"], "").unwrap();
    assert!(said.contains("valid until 2025-11-22T11:26:40Z"), "{said}");
    let (secret, app_secret, until) = secrets(&cloud);
    assert_eq!(until, 1_763_800_000_000_i64 + 3 * 3_600_000);
    assert_eq!(old.get(&plug)["success"], true, "the token of the old secret");
    assert!(works(&cloud, FIRST_SECRET, FIRST_APP_SECRET) && works(&cloud, &secret, &app_secret));
    // What is granted shortly before the end ends with it.
    cloud.advance(HOUR * 5 / 2);
    let late = TuyaApp::new(&cloud, FIRST_ID, FIRST_SECRET);
    let granted = late.send(&late.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body;
    let token = granted["result"]["access_token"].as_str().unwrap().to_owned();
    assert_ne!(token, first_token);
    assert_eq!(granted["result"]["expire_time"], 1800);
    cloud.advance(HOUR / 2);
    assert!(!works(&cloud, FIRST_SECRET, FIRST_APP_SECRET));
    let new = TuyaApp::new(&cloud, FIRST_ID, &secret);
    new.hold(&token);
    assert_eq!(new.get(&plug)["code"], 1010, "a token of the old secret");
    assert!(works(&cloud, &secret, &app_secret));
    // A secret in a document ends the time of grace.
    cloud.ingle(&["project", "rotate-secret", "first", "--grace", "3h"], "").unwrap();
    assert!(works(&cloud, &secret, &app_secret));
    cloud.ingle(&["project", "set", "first", "--secret", "another-secret"], "").unwrap();
    let old = TuyaApp::new(&cloud, FIRST_ID, &secret);
    assert_eq!(old.send(&old.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body["code"], 1004);
    assert_eq!(secrets(&cloud).2, Value::Null);
}
