//! Who may ask (contract tuya §1, §2).

use std::time::Duration;

use serde_json::json;

use crate::support::TestCloud;
use crate::support::tuya::{Request, send};
use crate::support::world::{FIRST_ID, PLUG, SECOND_ID, SECOND_SECRET};

const TARGET: &str = "/v1.0/devices/27511006b4e62d4b8f21";

fn without(request: &Request, name: &str) -> Request {
    let mut request = request.clone();
    request.headers.retain(|(key, _)| key != name);
    request
}

fn with(request: &Request, name: &str, value: &str) -> Request {
    let mut request = without(request, name);
    request.headers.push((name.to_owned(), value.to_owned()));
    request
}

#[test]
fn each_refusal_has_its_code_and_explanation() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let good = app.signed("GET", TARGET, b"", &app.token());
    assert_eq!(app.send(&good).code(), 0);
    let old = format!("{}", cloud.now_ms() - 301_000);
    for (request, code, msg, explain) in [
        (without(&good, "client_id"), 1105, "missing the header", "client_id"),
        (without(&good, "t"), 1105, "missing the header", "header t"),
        (without(&good, "sign"), 1105, "missing the header", "header sign"),
        (without(&good, "access_token"), 1002, "access_token is null", "access_token"),
        (with(&good, "client_id", "nobody"), 1005, "clientId invalid", "client_id"),
        (with(&good, "sign", &"0".repeat(64)), 1004, "sign invalid", "stringToSign"),
        (with(&good, "sign", "short"), 1004, "sign invalid", "stringToSign"),
        (with(&good, "t", &old), 1013, "request time is invalid", "ms from the server's clock"),
        (with(&good, "t", "1763800000"), 1013, "request time is invalid", "ms from"),
        (with(&good, "t", "yesterday"), 1013, "request time is invalid", "13 digits"),
        (with(&good, "nonce", &"n".repeat(300)), 1109, "param is illegal, please check it", "nonce"),
        (app.signed("GET", TARGET, b"", "0123456789abcdef0123456789abcdef"), 1010, "token invalid", "token"),
    ] {
        let answer = app.send(&request);
        assert_eq!((answer.code(), answer.body["msg"].as_str().unwrap()), (code, msg), "{request:?}");
        assert_eq!(answer.status, 200);
        assert!(answer.explain.as_deref().unwrap().contains(explain), "{answer:?}");
        assert_eq!(answer.body["success"], false);
        assert!(answer.body.get("result").is_none());
        assert!(answer.body["t"].as_i64().unwrap() > 1_700_000_000_000);
        assert_eq!(answer.body["tid"].as_str().unwrap().len(), 32);
        assert_eq!(answer.content_type, "application/json;charset=UTF-8");
    }
}

#[test]
fn explanations_are_silent_unless_wanted_and_never_tell_a_secret() {
    let cloud = TestCloud::start();
    let mut app = cloud.first();
    let token = app.token();
    let secret = std::mem::replace(&mut app.secret, "wrong".to_owned());
    let answer = app.call("GET", TARGET, "");
    let explain = answer.explain.unwrap();
    assert!(explain.contains("the secret is wrong") && explain.contains("GET\\n"), "{explain}");
    assert!(!explain.contains(&secret) && !explain.contains(&token), "{explain}");

    let folder = tempfile::tempdir().unwrap();
    let quiet = TestCloud::binary(&folder.path().join("data"), &[]);
    quiet.apply(&crate::support::world::standard());
    let mut app = quiet.first();
    app.secret = "wrong".to_owned();
    let answer = app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", ""));
    assert_eq!((answer.code(), answer.explain), (1004, None));
}

#[test]
fn texts_are_chinese_when_the_caller_is() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let request = app.signed("PUT", TARGET, b"{", &app.token());
    let answer = app.send(&with(&request, "lang", "zh"));
    assert_eq!((answer.code(), answer.body["msg"].as_str().unwrap()), (1109, "请求参数非法，请检查"));
    assert_eq!(app.send(&with(&request, "lang", "en")).body["msg"], "param is illegal, please check it");
}

#[test]
fn the_clock_window_is_five_minutes_either_way() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let app = cloud.first();
    app.token();
    for (by_ms, code) in [(-300_000, 0), (-300_001, 1013), (300_000, 0), (300_001, 1013)] {
        let mut app = cloud.first();
        app.token();
        app.t = Some(cloud.now_ms() + by_ms);
        assert_eq!(app.call("GET", TARGET, "").code(), code, "{by_ms}");
    }
    // A 10-digit time is in 1970.
    let mut app = cloud.first();
    app.token();
    app.t = Some(cloud.now_ms() / 1000);
    assert_eq!(app.call("GET", TARGET, "").code(), 1013);
}

#[test]
fn a_write_with_a_nonce_is_taken_once() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let request = |method: &str, nonce: &str| {
        use sha2::{Digest, Sha256};
        let (t, token, body) =
            (cloud.now_ms().to_string(), app.token(), if method == "GET" { "" } else { "{\"name\":\"n\"}" });
        let string = format!("{method}\n{}\n\n{TARGET}", crate::support::tuya::hex(&Sha256::digest(body)));
        let sign = crate::support::tuya::hmac_upper(&app.secret, &format!("{FIRST_ID}{token}{t}{nonce}{string}"));
        let headers = [("client_id", FIRST_ID), ("t", &t), ("sign", &sign), ("access_token", &token), ("nonce", nonce)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Request { method: method.to_owned(), target: TARGET.to_owned(), headers, body: body.into() }
    };
    let write = request("PUT", "one");
    assert_eq!(app.send(&write).code(), 0);
    assert_eq!(app.send(&write).code(), 1004);
    let mut lower = write.clone();
    lower.headers[2].1 = lower.headers[2].1.to_lowercase();
    assert_eq!(app.send(&lower).code(), 1004);
    assert_eq!(app.send(&request("PUT", "two")).code(), 0);
    let read = request("GET", "three");
    assert_eq!((app.send(&read).code(), app.send(&read).code()), (0, 0));
}

#[test]
fn the_old_rule_is_a_projects_choice() {
    let cloud = TestCloud::start();
    // The second project has `legacy_sign`, the first has not.
    for (app, expected) in [(cloud.second(), 0), (cloud.first(), 1004)] {
        let (t, token) = (cloud.now_ms().to_string(), app.token());
        let sign = crate::support::tuya::hmac_upper(&app.secret, &format!("{}{token}{t}", app.client_id));
        let headers = [("client_id", &app.client_id), ("t", &t), ("sign", &sign), ("access_token", &token)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.clone())).to_vec();
        let request = Request { method: "GET".into(), target: "/v1.0/devices".into(), headers, body: Vec::new() };
        assert_eq!(app.send(&request).code(), expected);
    }
}

#[test]
fn a_token_opens_only_its_own_project() {
    let cloud = TestCloud::start();
    let (first, second) = (cloud.first(), cloud.second());
    let answer = second.send(&second.signed("GET", "/v1.0/devices", b"", &first.token()));
    assert_eq!(answer.code(), 1010);
    assert_eq!((second.client_id.as_str(), second.secret.as_str()), (SECOND_ID, SECOND_SECRET));
}

#[test]
fn a_changed_secret_counts_at_once() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    assert_eq!(app.call("GET", TARGET, "").code(), 0);
    cloud.apply(&json!({"projects": [{"name": "first", "tuya": {"secret": "another-secret"}}]}));
    assert_eq!(app.call("GET", TARGET, "").code(), 1004);
    let mut app = cloud.first();
    app.secret = "another-secret".to_owned();
    assert_eq!(app.call("GET", TARGET, "").code(), 0);
}

#[test]
fn unknown_paths_and_methods_are_one_answer() {
    let cloud = TestCloud::start();
    let request = |method: &str, target: &str| Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/v9.9/devices"),
        ("POST", "/v1.0/token"),
        ("PATCH", TARGET),
        ("DELETE", "/v1.0/devices"),
        ("GET", "/v1.0/devices/x/y/z"),
        ("OPTIONS", "/v1.0/devices"),
    ] {
        let answer = send(cloud.api, &request(method, target));
        assert_eq!((answer.code(), answer.status), (1108, 200), "{method} {target}");
        assert_eq!(answer.body["msg"], "uri path invalid");
    }
}

#[test]
fn secrets_are_not_in_the_data_folder_nor_in_what_is_printed() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let token = app.token();
    app.post(
        "/v1.0/apps/testApp/user",
        json!({"country_code": "86", "username": "s", "password": "a-password-of-mine"}),
    );
    app.get(&format!("/v1.0/devices/{PLUG}"));
    let secrets = [app.secret.as_str(), &token, "a-password-of-mine", "11a53bdd67e40001", "3a9b50126fe47301"];
    for entry in std::fs::read_dir(&cloud.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {}", path.display());
            }
        }
    }
    for file in ["secret.key", "ca.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(cloud.folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}

#[test]
fn time_passes_for_tokens() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.first();
    app.token();
    cloud.advance(Duration::from_secs(7199));
    app.t = Some(cloud.now_ms());
    assert_eq!(app.call("GET", TARGET, "").code(), 0);
    cloud.advance(Duration::from_secs(1));
    app.t = Some(cloud.now_ms());
    let answer = app.call("GET", TARGET, "");
    assert_eq!((answer.code(), answer.body["msg"].as_str().unwrap()), (1010, "token invalid"));
}
