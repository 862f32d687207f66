//! cloudTokens (contract aliyun §3, §10 item 6).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::aliyun::{AliyunApp, envelope};
use crate::support::http::Answer;
use crate::support::world::{FIRST_PROJECT_ID, SECOND_PROJECT_ID};

const PAGE: &str = "/cloud/account/queryIdentityByPage";

/// A business call with a token of choice.
fn with_token(app: &AliyunApp, token: Option<&str>) -> Answer {
    app.send(PAGE, &envelope("1.0.0", token, &json!({"offset": 0, "count": 1})))
}

fn refresh(app: &AliyunApp, token: &str) -> Answer {
    app.send("/cloud/token/refresh", &envelope("1.0.1", None, &json!({"cloudToken": token})))
}

#[test]
fn cloud_token() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let ask = |params: Value| app.send("/cloud/token", &envelope("1.0.0", None, &params));
    let answer = ask(json!({"grantType": "project", "res": FIRST_PROJECT_ID}));
    let data = &answer.body["data"];
    let token = data["cloudToken"].as_str().unwrap();
    assert!(token.len() == 32 && token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{token}");
    assert_eq!((&data["expireIn"], &data["expiresIn"]), (&json!(7_200_000), &json!(7_200_000)));
    assert!(data["isolationId"].as_str().unwrap().starts_with("a103"), "{data}");
    assert_eq!(with_token(&app, Some(token)).code(), 200);

    // A new one kills the old.
    let next = ask(json!({"grantType": "project", "res": FIRST_PROJECT_ID}));
    assert_ne!(next.body["data"]["cloudToken"], token);
    assert_eq!(next.body["data"]["isolationId"], data["isolationId"]);
    assert_eq!(with_token(&app, Some(token)).code(), 401);
    assert_eq!(with_token(&app, next.body["data"]["cloudToken"].as_str()).code(), 200);

    assert_eq!(ask(json!({"grantType": "project", "res": SECOND_PROJECT_ID})).code(), 403);
    assert_eq!(ask(json!({"grantType": "project", "res": "nobody's"})).code(), 403);
    assert_eq!(ask(json!({"grantType": "password", "res": FIRST_PROJECT_ID})).code(), 460);
    assert_eq!(ask(json!({"grantType": "project"})).code(), 460);
    assert_eq!(ask(json!({})).code(), 460);
    assert_eq!(with_token(&app, next.body["data"]["cloudToken"].as_str()).code(), 200, "a refusal kills nothing");
}

#[test]
fn refresh_cloud_token() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.aliyun();
    let first = app.new_token();
    cloud.advance(Duration::from_secs(3600));
    app.t = Some(cloud.now_ms());
    let answer = refresh(&app, &first);
    let second = answer.body["data"]["cloudToken"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    assert_eq!(answer.body["data"]["expireIn"], 7_200_000);
    assert_ne!(first, second);
    for token in [&first, &second] {
        assert_eq!(with_token(&app, Some(token)).code(), 200);
    }
    cloud.advance(Duration::from_secs(4 * 60 + 59));
    app.t = Some(cloud.now_ms());
    assert_eq!(with_token(&app, Some(&first)).code(), 200, "five more minutes");
    cloud.advance(Duration::from_secs(1));
    assert_eq!(with_token(&app, Some(&first)).code(), 401);
    assert_eq!(with_token(&app, Some(&second)).code(), 200);
    assert_eq!(refresh(&app, &first).code(), 401, "an expired one cannot be refreshed");
    assert_eq!(refresh(&app, "unknown").code(), 401);
    assert_eq!(app.send("/cloud/token/refresh", &envelope("1.0.1", None, &json!({}))).code(), 460);
}

#[test]
fn a_token_lives_two_hours() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.aliyun();
    let token = app.new_token();
    cloud.advance(Duration::from_millis(7_199_999));
    app.t = Some(cloud.now_ms());
    assert_eq!(with_token(&app, Some(&token)).code(), 200);
    cloud.advance(Duration::from_millis(1));
    assert_eq!(with_token(&app, Some(&token)).code(), 401);
}

#[test]
fn a_refreshed_token_lives_no_longer_than_it_would_have() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.aliyun();
    let first = app.new_token();
    cloud.advance(Duration::from_secs(7198));
    app.t = Some(cloud.now_ms());
    assert_eq!(refresh(&app, &first).code(), 200);
    cloud.advance(Duration::from_secs(3));
    assert_eq!(with_token(&app, Some(&first)).code(), 401);
}

#[test]
fn tokens_that_open_nothing() {
    let cloud = TestCloud::start();
    let (app, other) = (cloud.aliyun(), cloud.other_aliyun());
    assert_eq!(with_token(&app, None).code(), 401);
    assert_eq!(with_token(&app, Some("")).code(), 401);
    assert_eq!(with_token(&app, Some("109049c80bcde4c06b15f6f62e29a3ba")).code(), 401);
    let foreign = other.new_token();
    let answer = with_token(&app, Some(&foreign));
    assert_eq!((answer.status, answer.code()), (200, 403), "{answer:?}");
    assert_eq!(answer.body["message"], "request forbidden.");
    assert_eq!(refresh(&app, &foreign).code(), 403);
    assert_eq!(with_token(&other, Some(&foreign)).code(), 200, "nothing happened to it");
    // An access token of the other dialect is none here, nor the other way round.
    assert_eq!(with_token(&app, Some(&cloud.first().token())).code(), 401);
    let tuya = cloud.first();
    let answer = tuya.send(&tuya.signed("GET", "/v1.0/devices", b"", &app.new_token()));
    assert_eq!(answer.code(), 1010);
}

#[test]
fn a_project_may_do_without_a_token() {
    let cloud = TestCloud::start();
    let require = |required: bool| {
        let project = json!({"name": "first", "aliyun": {"require_cloud_token": required}});
        cloud.apply(&json!({"projects": [project]}));
    };
    let app = cloud.aliyun();
    require(false);
    assert_eq!(with_token(&app, None).code(), 200);
    assert_eq!(with_token(&app, Some("unknown")).code(), 401, "one that is sent must be good");
    assert_eq!(with_token(&app, Some(&cloud.other_aliyun().new_token())).code(), 403);
    require(true);
    assert_eq!(with_token(&app, None).code(), 401);
}

#[test]
fn a_project_may_keep_its_older_tokens() {
    let cloud = TestCloud::at(1_763_800_000_000);
    cloud.apply(&json!({"projects": [{"name": "first", "aliyun": {"keep_cloud_tokens": true}}]}));
    let mut app = cloud.aliyun();
    let first = app.new_token();
    cloud.advance(Duration::from_secs(3600));
    app.t = Some(cloud.now_ms());
    let second = app.new_token();
    for token in [&first, &second] {
        assert_eq!(with_token(&app, Some(token)).code(), 200);
    }
    cloud.advance(Duration::from_secs(3600));
    app.t = Some(cloud.now_ms());
    assert_eq!(with_token(&app, Some(&first)).code(), 401, "until its own end");
    // Bounded: the oldest of more than a hundred makes room.
    for _ in 0..100 {
        app.new_token();
    }
    assert_eq!(with_token(&app, Some(&second)).code(), 401);
}

#[test]
fn tokens_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let cloud = TestCloud::binary(&data, &[]);
    cloud.apply(&crate::support::world::standard());
    let token = cloud.aliyun().new_token();
    cloud.kill();
    let cloud = TestCloud::binary(&data, &[]);
    assert_eq!(with_token(&cloud.aliyun(), Some(&token)).code(), 200);
    let held = std::fs::read(data.join("registry.db")).unwrap();
    assert!(!held.windows(32).any(|window| window == token.as_bytes()), "only a hash is kept");
}
