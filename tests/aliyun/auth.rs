//! The gateway's signature, time and nonce (contract aliyun §1, §10 items 2, 3, 5).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::aliyun::{AliyunApp, envelope};
use crate::support::http::{Answer, Request, send};
use crate::support::world::{FIRST_APP_KEY, SECOND_APP_KEY};

const PATH: &str = "/living/account/region/get";

fn body() -> Vec<u8> {
    envelope("1.0.2", None, &json!({})).to_string().into_bytes()
}

/// Status, header and body of a refusal of the gateway, all three.
fn refused(answer: &Answer, status: u16, code: i64, message: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    let received = answer.header("x-ca-error-message").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(received.starts_with(message), "{received}");
    assert!(answer.body["message"].is_string() && answer.body["localizedMsg"].is_string(), "{answer:?}");
    assert!(answer.body["id"].is_string() && answer.body.get("data").is_none(), "{answer:?}");
    assert!(answer.content_type.starts_with("application/json"), "{answer:?}");
    is_request_id(answer);
}

fn is_request_id(answer: &Answer) {
    let id = answer.header("x-ca-request-id").unwrap();
    assert!(id.len() == 36 && !id.contains(char::is_lowercase), "{id}");
}

fn accepted(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (200, 200), "{answer:?}");
    assert_eq!(answer.content_type, "application/json;charset=UTF-8");
    is_request_id(answer);
}

fn call(app: &AliyunApp, request: Request) -> Answer {
    send(app.api, &request)
}

#[test]
fn each_refusal_of_the_gateway() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let good = || app.signed(PATH, &body());
    accepted(&call(&app, good()));
    refused(&call(&app, good().without("X-Ca-Key")), 400, 401, "Invalid AppKey");
    refused(&call(&app, good().with("X-Ca-Key", "60039999")), 400, 401, "Invalid AppKey");
    refused(&call(&app, good().without("X-Ca-Signature")), 404, 401, "Empty Signature");
    refused(&call(&app, good().with("X-Ca-Signature", "")), 404, 401, "Empty Signature");
    refused(
        &call(&app, good().with("X-Ca-Signature", "AAAA")),
        400,
        401,
        "Invalid Signature, Server StringToSign:`POST#",
    );
    refused(&call(&app, good().with("X-Ca-Key", SECOND_APP_KEY)), 400, 401, "Invalid Signature");
    refused(&call(&app, good().with("Content-MD5", "AAAA")), 400, 401, "Invalid Content-MD5");
    refused(&call(&app, good().with("X-Ca-Timestamp", "now")), 400, 401, "Invalid Timestamp");
    refused(&call(&app, good().with("X-Ca-Timestamp", "1530262800000")), 400, 401, "Timestamp Expired");
    refused(&call(&app, app.signed("/cloud/no/such/api", &body())), 400, 404, "API Not Found");
    let get = app.sign(Request { method: "GET".to_owned(), ..good() });
    refused(&call(&app, get), 400, 404, "API Not Found");
    let mut other = good();
    other.body[3] ^= 1;
    refused(&call(&app, other), 400, 401, "Invalid Content-MD5");
    let long = app.signed(PATH, &vec![b' '; 1024 * 1024 + 1]);
    refused(&call(&app, long), 400, 400, "Invalid Request Body");
    let odd = good().with("X-Ca-Key", &"9".repeat(300));
    refused(&call(&app, odd), 400, 400, "Invalid Request Body");
}

#[test]
fn a_wrong_signature_is_explained_without_a_secret() {
    let cloud = TestCloud::start();
    let mut app = cloud.aliyun();
    app.secret = "ffffffffffffffffffffffffffffffff".to_owned();
    let request = app.signed("/living/account/region/get", &body());
    let answer = call(&app, request.clone());
    refused(&answer, 400, 401, "Invalid Signature, Server StringToSign:");
    let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
    let (md5, nonce, t) = (header("Content-MD5"), header("X-Ca-Nonce"), header("X-Ca-Timestamp"));
    let string = format!(
        "POST#application/json#{md5}#application/json##X-Ca-Key:{FIRST_APP_KEY}#X-Ca-Nonce:{nonce}#X-Ca-Timestamp:{t}#{PATH}"
    );
    let received = answer.header("x-ca-error-message").unwrap();
    assert_eq!(received, format!("Invalid Signature, Server StringToSign:`{string}`"));
    let explained = answer.explain.clone().unwrap();
    assert!(explained.contains(&nonce) && explained.contains("\\n"), "{explained}");
    let all = format!("{answer:?}");
    assert!(!all.contains(crate::support::world::FIRST_APP_SECRET) && !all.contains(&app.secret), "{all}");
}

#[test]
fn ids_come_back_as_text() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let ask = |body: Value| app.send(PATH, &body).body["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(json!({"id": 1_538_185_690_705_015_u64, "params": {}})), "1538185690705015");
    assert_eq!(ask(json!({"id": "текст"})), "текст");
    assert_eq!(ask(json!({})).len(), 36);
    assert_ne!(ask(json!({})), ask(json!({})));
    // Also of a refused call.
    let answer = app.send("/cloud/thing/status/get", &json!({"id": 7, "request": {"apiVer": "1.0.2"}}));
    assert_eq!((answer.status, &answer.body["id"], answer.code()), (200, &json!("7"), 401));
}

#[test]
fn texts_for_people_in_the_callers_language() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    for (language, text) in [
        (json!("zh-CN"), "请求认证错误"),
        (json!("en-US"), "request auth error."),
        (json!(null), "request auth error."),
    ] {
        let answer = app.send("/cloud/thing/status/get", &json!({"request": {"language": language}}));
        assert_eq!(answer.body["message"], "request auth error.");
        assert_eq!(answer.body["localizedMsg"], text);
    }
}

#[test]
fn a_body_that_is_no_envelope() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    for body in ["", "x", "[]", "{\"request\":1}", "{\"params\":{}", "\u{0}"] {
        let answer = call(&app, app.signed(PATH, body.as_bytes()));
        assert_eq!((answer.status, answer.code()), (200, 400), "{body:?}: {answer:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(call(&app, app.signed(PATH, format!("{{\"params\":{deep}").as_bytes())).code(), 400);
}

#[test]
fn every_content_type_is_read_as_json() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    for kind in ["application/json; charset=utf-8", "application/octet-stream", "text/plain", ""] {
        accepted(&call(&app, app.sign(app.signed(PATH, &body()).with("Content-Type", kind))));
    }
}

#[test]
fn times_within_a_quarter_of_an_hour() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let now = cloud.now_ms();
    let mut app = cloud.aliyun();
    for (minutes, good) in [(14, true), (-14, true), (16, false), (-16, false)] {
        app.t = Some(now + minutes * 60_000);
        let answer = call(&app, app.signed(PATH, &body()));
        if good {
            accepted(&answer);
        } else {
            refused(&answer, 400, 401, "Timestamp Expired");
            assert!(answer.explain.as_deref().unwrap().contains(&(minutes * 60_000).to_string()), "{answer:?}");
        }
    }
    app.t = Some(now);
    for digits in [(now / 1000).to_string(), now.to_string(), format!("{now}000"), format!("{now}000000")] {
        accepted(&call(&app, app.sign(app.signed(PATH, &body()).with("X-Ca-Timestamp", &digits))));
    }
    let ancient = app.sign(app.signed(PATH, &body()).with("X-Ca-Timestamp", "1530262800000000000"));
    refused(&call(&app, ancient), 400, 401, "Timestamp Expired");
}

#[test]
fn a_nonce_is_used_once() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.aliyun();
    let request = app.signed(PATH, &body());
    let nonce = request.headers.iter().find(|(key, _)| key == "X-Ca-Nonce").unwrap().1.clone();
    // A wrong signature uses up no nonce.
    refused(
        &call(&app, request.clone().with("X-Ca-Signature", &STANDARD.encode([7; 32]))),
        400,
        401,
        "Invalid Signature",
    );
    accepted(&call(&app, request.clone()));
    refused(&call(&app, request.clone()), 400, 401, "Nonce Used");
    // Also with another body, and until the request itself has expired.
    let other = app.sign(app.signed(PATH, b"{\"id\":2}").with("X-Ca-Nonce", &nonce));
    refused(&call(&app, other), 400, 401, "Nonce Used");
    cloud.advance(Duration::from_secs(14 * 60));
    refused(&call(&app, request.clone()), 400, 401, "Nonce Used");
    cloud.advance(Duration::from_secs(2 * 60));
    refused(&call(&app, request), 400, 401, "Timestamp Expired");
    // Another AppKey has nonces of its own.
    let mut second = cloud.other_aliyun();
    (second.t, app.t) = (Some(cloud.now_ms()), Some(cloud.now_ms()));
    let same = |app: &AliyunApp| app.sign(app.signed(PATH, &body()).with("X-Ca-Nonce", "the same"));
    accepted(&call(&app, same(&app)));
    accepted(&call(&second, same(&second)));
}

#[test]
fn a_request_without_a_time_needs_a_signed_nonce() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let app = cloud.aliyun();
    let undated = |list: &str| {
        let request = app.signed(PATH, &body()).without("X-Ca-Timestamp");
        app.sign(request.with("X-Ca-Signature-Headers", list))
    };
    let request = undated("X-Ca-Key,X-Ca-Nonce");
    accepted(&call(&app, request.clone()));
    refused(&call(&app, request.clone()), 400, 401, "Nonce Used");
    cloud.advance(Duration::from_secs(20 * 3600));
    refused(&call(&app, request), 400, 401, "Nonce Used");
    refused(&call(&app, undated("X-Ca-Key")), 400, 401, "Invalid Timestamp");
    refused(&call(&app, undated("X-Ca-Key,X-Ca-Nonce").without("X-Ca-Nonce")), 400, 401, "Invalid Timestamp");
    // A time that the signature does not cover could be anybody's.
    let bare = app.signed(PATH, &body()).without("X-Ca-Nonce").with("X-Ca-Timestamp", &cloud.now_ms().to_string());
    refused(&call(&app, app.sign(bare.with("X-Ca-Signature-Headers", "X-Ca-Key"))), 400, 401, "Invalid Timestamp");
}

#[test]
fn stricter_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("INGLE_ALIYUN_HMAC_SHA1", "false"), ("INGLE_ALIYUN_REQUIRE_TIMESTAMP", "true")];
    let cloud = TestCloud::binary(&folder.path().join("data"), &settings);
    cloud.apply(&crate::support::world::standard());
    let app = cloud.aliyun();
    accepted(&call(&app, app.signed(PATH, &body())));
    let undated = app.signed(PATH, &body()).without("X-Ca-Timestamp");
    let undated = app.sign(undated.with("X-Ca-Signature-Headers", "X-Ca-Key,X-Ca-Nonce"));
    refused(&call(&app, undated), 400, 401, "Invalid Timestamp");
    let sha1 = app.sign(app.signed(PATH, &body()).with("X-Ca-Signature-Method", "HmacSHA1"));
    let answer = call(&app, sha1);
    refused(&answer, 400, 401, "Invalid Signature");
    assert_eq!(answer.explain, None, "not in serve by default");
}

#[test]
fn foreign_headers_are_ignored() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let request = app.signed(PATH, &body()).with("CA_VERSION", "1").with("X-Ca-Stage", "TEST");
    accepted(&call(&app, request.with("Authorization", "APPCODE x")));
    let slash = Request { target: format!("{PATH}/"), ..app.signed(PATH, &body()) };
    accepted(&call(&app, app.sign(slash)));
}
