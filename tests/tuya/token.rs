//! Tokens (contract tuya §1.6).

use std::time::Duration;

use crate::support::TestCloud;

#[test]
fn get_token() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.first();
    let grant =
        |app: &crate::support::tuya::TuyaApp| app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body;
    let first = grant(&app);
    let result = &first["result"];
    assert_eq!(result["expire_time"], 7200);
    assert!(result["uid"].as_str().unwrap().starts_with("bay"));
    for name in ["access_token", "refresh_token"] {
        let token = result[name].as_str().unwrap();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    }
    // The living token is handed out again with what is left of it, until less than a minute is.
    cloud.advance(Duration::from_secs(1000));
    app.t = Some(cloud.now_ms());
    let again = grant(&app);
    assert_eq!(again["result"]["access_token"], result["access_token"]);
    assert_eq!(again["result"]["refresh_token"], result["refresh_token"]);
    assert_eq!(again["result"]["expire_time"], 6200);
    cloud.advance(Duration::from_secs(6140));
    app.t = Some(cloud.now_ms());
    assert_eq!(grant(&app)["result"]["expire_time"], 60);
    cloud.advance(Duration::from_secs(1));
    app.t = Some(cloud.now_ms());
    let new = grant(&app);
    assert_eq!(new["result"]["expire_time"], 7200);
    assert_ne!(new["result"]["access_token"], result["access_token"]);
    // The replaced one is dead though its time was not over.
    let old = result["access_token"].as_str().unwrap();
    assert_eq!(app.send(&app.signed("GET", "/v1.0/devices", b"", old)).code(), 1010);
}

#[test]
fn grant_types() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    for target in ["/v1.0/token", "/v1.0/token?grant_type=", "/v1.0/token?grant_type=2", "/v1.0/token?grant_type=x"] {
        let answer = app.send(&app.signed("GET", target, b"", ""));
        assert_eq!((answer.code(), answer.body["msg"].as_str().unwrap()), (1003, "grant type invalid"), "{target}");
    }
}

#[test]
fn refresh_token() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let refresh = |token: &str| app.send(&app.signed("GET", &format!("/v1.0/token/{token}"), b"", ""));
    let before = app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body;
    let (access, renew) = (&before["result"]["access_token"], before["result"]["refresh_token"].as_str().unwrap());
    let after = refresh(renew).body;
    assert_eq!(after["result"]["expire_time"], 7200);
    assert_ne!(&after["result"]["access_token"], access);
    // Single use, and it kills the old pair.
    assert_eq!(refresh(renew).code(), 1010);
    assert_eq!(app.send(&app.signed("GET", "/v1.0/devices", b"", access.as_str().unwrap())).code(), 1010);
    let living = after["result"]["access_token"].as_str().unwrap();
    assert_eq!(app.send(&app.signed("GET", "/v1.0/devices", b"", living)).code(), 0);
    // Unknown, and another project's.
    assert_eq!(refresh("0123456789abcdef0123456789abcdef").code(), 1010);
    let second = cloud.second();
    let foreign = after["result"]["refresh_token"].as_str().unwrap();
    let answer = second.send(&second.signed("GET", &format!("/v1.0/token/{foreign}"), b"", ""));
    assert_eq!(answer.code(), 1010);
    assert_eq!(app.send(&app.signed("GET", "/v1.0/devices", b"", living)).code(), 0);
}

#[test]
fn tokens_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let cloud = TestCloud::binary(&data, &[]);
    cloud.apply(&crate::support::world::standard());
    let token = cloud.first().token();
    cloud.kill();
    let cloud = TestCloud::binary(&data, &[]);
    let app = cloud.first();
    assert_eq!(app.send(&app.signed("GET", "/v1.0/devices", b"", &token)).code(), 0);
    assert_eq!(app.token(), token);
    cloud.stop();
}

#[test]
fn another_secret_ends_the_tokens_of_the_one_before() {
    let cloud = TestCloud::start();
    crate::support::people::people(&cloud);
    let plug = format!("/v1.0/devices/{}", crate::support::world::PLUG);
    let pair = |app: &crate::support::tuya::TuyaApp, of: Option<&str>| match of {
        None => app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body["result"].clone(),
        Some(user) => {
            use crate::support::people::{PASSWORD, log_in, md5};
            log_in(app, user, &md5(PASSWORD))["result"].clone()
        }
    };
    let text = |pair: &serde_json::Value, name: &str| pair[name].as_str().unwrap().to_owned();
    let mut app = cloud.first();
    let (own, users) = (pair(&app, None), pair(&app, Some("member")));
    let other = cloud.second();
    let others = other.token();
    let mut living = cloud.aliyun();
    let product = serde_json::json!({"identityId": "nobody"});
    assert_eq!(living.code("/cloud/device/queryByUser", product.clone()), 2062);
    let apply = |members: serde_json::Value| {
        let mut project = serde_json::json!({"name": "first"});
        project.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        cloud.apply(&serde_json::json!({"projects": [project]}));
    };
    let opens =
        |app: &crate::support::tuya::TuyaApp, token: &str| app.send(&app.signed("GET", &plug, b"", token)).code();
    // The same secret again, and another name of an app, change nothing.
    apply(serde_json::json!({"tuya": {"client_id": app.client_id, "secret": app.secret}}));
    for pair in [&own, &users] {
        assert_eq!(opens(&app, &text(pair, "access_token")), 0);
    }
    apply(serde_json::json!({"tuya": {"secret": "another secret, 0001"}}));
    assert_eq!(opens(&app, &text(&own, "access_token")), 1004, "the old secret signs nothing");
    app.secret = "another secret, 0001".to_owned();
    for pair in [&own, &users] {
        assert_eq!(opens(&app, &text(pair, "access_token")), 1010);
        let refresh = format!("/v1.0/token/{}", text(pair, "refresh_token"));
        assert_eq!(app.send(&app.signed("GET", &refresh, b"", "")).code(), 1010);
    }
    assert_eq!(opens(&app, &text(&pair(&app, None), "access_token")), 0, "a new one is granted");
    assert_eq!(opens(&app, &text(&pair(&app, Some("member")), "access_token")), 0);
    let foreign = format!("/v1.0/devices/{}", crate::support::world::FOREIGN);
    assert_eq!(other.send(&other.signed("GET", &foreign, b"", &others)).code(), 0, "the other project's lives");
    // A cloudToken is of the AppSecret.
    assert_eq!(living.code("/cloud/device/queryByUser", product.clone()), 2062);
    apply(serde_json::json!({"aliyun": {"app_secret": "another AppSecret 01"}}));
    living.secret = "another AppSecret 01".to_owned();
    assert_eq!(living.code("/cloud/device/queryByUser", product.clone()), 401);
}

#[test]
fn a_users_refresh_token_dies_after_seven_days_and_the_projects_when_it_is_used() {
    use crate::support::people::{PASSWORD, log_in, md5, people};
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let cloud = TestCloud::at(1_763_800_000_000);
    people(&cloud);
    let now = || {
        let mut app = cloud.first();
        app.t = Some(cloud.now_ms());
        app
    };
    let refresh = |method: &str, path: &str, pair: &serde_json::Value| {
        let path = format!("{path}/{}", pair["refresh_token"].as_str().unwrap());
        let app = now();
        app.send(&app.signed(method, &path, b"", "")).body
    };
    let of_user = |pair: &serde_json::Value| refresh("POST", "/v1.0/iot-03/users/token", pair);
    let of_any = |pair: &serde_json::Value| refresh("GET", "/v1.0/token", pair);
    let sign_in = || log_in(&now(), "member", &md5(PASSWORD))["result"].clone();
    let logins = [sign_in(), sign_in(), sign_in(), sign_in()];
    let own = now().get("/v1.0/token?grant_type=1")["result"].clone();
    cloud.advance(7 * DAY - Duration::from_millis(1));
    // By either path, and once.
    let mut fresh = of_user(&logins[0])["result"].clone();
    assert_eq!(of_user(&logins[0])["code"], 1010, "single use");
    assert_eq!(of_any(&logins[1])["success"], true);
    assert_eq!(of_any(&logins[1])["code"], 1010, "single use");
    cloud.advance(Duration::from_millis(1));
    assert_eq!((&of_user(&logins[2])["code"], &of_any(&logins[3])["code"]), (&1010.into(), &1010.into()));
    // Whoever refreshes goes on for ever.
    for _ in 0..3 {
        cloud.advance(6 * DAY);
        fresh = of_user(&fresh)["result"].clone();
    }
    cloud.advance(7 * DAY);
    assert_eq!(of_user(&fresh)["code"], 1010);
    // The vendor's document gives the project's own no limit in time.
    let renewed = of_any(&own);
    assert_eq!(renewed["success"], true, "{renewed}");
    assert_eq!(of_any(&own)["code"], 1010, "single use");
}
