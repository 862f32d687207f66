//! The visual login (seed 001; contract aliyun §7, §10 item 11).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ingle::app::{App, SystemClock};
use ingle::config::Config;
use ingle::http::Peer;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::Sha256;
use tower::ServiceExt;

use crate::support::TestCloud;
use crate::support::http::{Answer, Request, send};
use crate::support::world::{OWNER, PLUG, SPEAKER};

pub const PATH: &str = "/v1.0/openapi/visual/d/user/login";
pub const NOW: i64 = 1_763_800_000_000;

/// Passwords for the first project's users, and factory names for its devices.
pub fn with_passwords(cloud: &TestCloud) {
    cloud.apply(&json!({"projects": [
        {"name": "first",
         "users": [
            {"schema": "testApp", "username": "18200000678", "password": "owner's"},
            {"schema": "testApp", "username": "guest@example.com", "password": "guest's"}],
         "products": [
            {"product_id": "EvolhYPyZNWYP001", "product_key": "wkNCAsnnlsYSnI6n", "name": "Plug", "category": "cz"},
            {"product_id": "i9vkz00000000001", "product_key": "speaker", "name": "Speaker", "category": "qt"}],
         "devices": [
            {"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "device_name": "2ac4d7cffa"},
            {"product_id": "i9vkz00000000001", "device_id": SPEAKER, "device_name": "box"}]},
        {"name": "second",
         "users": [{"schema": "otherApp", "username": "other@example.com", "password": "other's"}],
         "products": [{"product_id": "foreign000000001", "product_key": "lamp", "name": "Lamp", "category": "dj"}]},
    ]}));
}

pub fn plug() -> Value {
    json!({"productKey": "wkNCAsnnlsYSnI6n", "deviceName": "2ac4d7cffa"})
}

pub fn speaker() -> Value {
    json!({"productKey": "speaker", "deviceName": "box"})
}

pub fn body(user: &str, password: &str, devices: Value) -> Value {
    json!({"userName": user, "password": password, "deviceList": devices})
}

pub fn post(cloud: &TestCloud, body: &Value) -> Answer {
    let mut request = Request::new("POST", PATH).with("Content-Type", "application/json");
    request.body = body.to_string().into_bytes();
    send(cloud.api, &request)
}

/// The tokens of a login that succeeds.
pub fn tokens(cloud: &TestCloud, user: &str, password: &str, devices: Value) -> Vec<String> {
    let answer = post(cloud, &body(user, password, devices));
    assert_eq!(answer.body["success"], true, "{answer:?}");
    let list = answer.body["data"]["deviceVisualTokenList"].as_array().unwrap().clone();
    list.iter().map(|row| row["visualToken"].as_str().unwrap().to_owned()).collect()
}

pub fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn keys(cloud: &TestCloud) -> Vec<Value> {
    let answer = send(cloud.api, &Request::new("GET", "/.well-known/jwks.json"));
    assert_eq!(answer.status, 200);
    answer.body["keys"].as_array().unwrap().clone()
}

#[test]
fn login() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let answer = post(&cloud, &body("18200000678", "owner's", json!([plug()])));
    // The seed's example, member by member.
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&answer.body["success"], &answer.body["msg"], &answer.body["t"]),
        (&json!(true), &Value::Null, &json!(NOW))
    );
    let rows = answer.body["data"]["deviceVisualTokenList"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["productKey"], &rows[0]["deviceName"], &rows[0]["expire"]),
        (&json!("wkNCAsnnlsYSnI6n"), &json!("2ac4d7cffa"), &json!(3600))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = rows[0]["visualToken"].as_str().unwrap();
    let (header, claims) = (part(token, 0), part(token, 1));
    assert_eq!(
        (&header["alg"], &header["typ"], &header["kid"]),
        (&json!("ES256"), &json!("JWT"), &keys(&cloud)[0]["kid"])
    );
    let seconds = NOW / 1000;
    for (claim, value) in [
        ("iss", json!("ingle")),
        ("aud", json!("visual")),
        ("sub", json!("wkNCAsnnlsYSnI6n#2ac4d7cffa")),
        ("iat", json!(seconds)),
        ("nbf", json!(seconds)),
        ("exp", json!(seconds + 3600)),
        ("uid", json!(OWNER)),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);

    // The members of the vendor's table, and one device named twice.
    let capitals = json!({"UserName": "guest@example.com", "Password": "guest's", "DeviceList": [
        {"ProductKey": "speaker", "DeviceName": "box"}, speaker(), plug()]});
    let rows = post(&cloud, &capitals).body["data"]["deviceVisualTokenList"].clone();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2, "an owned one and a shared one, each once");
    let different: HashSet<&str> = rows.iter().map(|row| row["visualToken"].as_str().unwrap()).collect();
    assert_eq!(different.len(), 2);
    // What the vendor's samples may send along is ignored.
    let mut request = Request::new("POST", PATH).with("Authorization", "APPCODE x").with("X-Ca-Key", "1");
    request.body = body("18200000678", "owner's", json!([plug()])).to_string().into_bytes();
    assert_eq!(send(cloud.api, &request).body["success"], true);
}

#[test]
fn jwks() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let token = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    let keys = keys(&cloud);
    assert_eq!(keys.len(), 1);
    let names: HashSet<&str> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, HashSet::from(["kty", "crv", "alg", "use", "kid", "x", "y"]), "the public half alone");
    assert_eq!((&keys[0]["kty"], &keys[0]["crv"], &keys[0]["use"]), (&json!("EC"), &json!("P-256"), &json!("sig")));
    // Anybody can check the token with it.
    let half = |name: &str| URL_SAFE_NO_PAD.decode(keys[0][name].as_str().unwrap()).unwrap();
    let point = [vec![4], half("x"), half("y")].concat();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature).unwrap();
    assert_eq!(send(cloud.api, &Request::new("POST", "/.well-known/jwks.json")).status, 405);
}

#[test]
fn logins_that_give_nothing() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let refused = |request: Value| {
        let answer = post(&cloud, &request);
        assert_eq!((answer.status, &answer.body["success"], &answer.body["data"]), (200, &json!(false), &Value::Null));
        answer.body["msg"].as_str().unwrap().to_owned()
    };
    let wrong = refused(body("18200000678", "wrong", json!([plug()])));
    assert_eq!(refused(body("nobody", "owner's", json!([plug()]))), wrong, "the same words for both");
    assert_eq!(refused(body("18200000678", "guest's", json!([plug()]))), wrong);
    // One device that is not the account's spoils all, and unknown and foreign are the same.
    let lamp = json!({"productKey": "lamp", "deviceName": "foreign0000000000001"});
    let nothing = json!({"productKey": "nothing", "deviceName": "nothing"});
    let foreign = refused(body("18200000678", "owner's", json!([plug(), lamp])));
    assert_eq!(foreign, wrong, "nor is the reason received");
    for device in [nothing, speaker()] {
        assert_eq!(refused(body("18200000678", "owner's", json!([device.clone()]))), foreign, "{device}");
        assert_eq!(refused(body("18200000678", "owner's", json!([plug(), device]))), foreign);
    }
    let many: Vec<Value> = (0..101).map(|n| json!({"productKey": "p", "deviceName": n.to_string()})).collect();
    for request in [
        body("18200000678", "owner's", json!([])),
        body("18200000678", "owner's", json!(many)),
        body("18200000678", "owner's", json!([{"productKey": "wkNCAsnnlsYSnI6n"}])),
        body("18200000678", "", json!([plug()])),
        body("", "owner's", json!([plug()])),
        body("18200000678", &"x".repeat(257), json!([plug()])),
        json!({"userName": "18200000678", "password": "owner's"}),
        json!({"userName": 7, "password": "owner's", "deviceList": [plug()]}),
        json!({"userName": "18200000678", "password": "owner's", "deviceList": "all"}),
    ] {
        refused(request);
    }
    let mut request = Request::new("POST", PATH);
    for text in ["", "x", "{", "\"userName\"", "[]", "[\"a\",\"b\",[[\"x\",\"y\"]]]", &"[".repeat(10_000)] {
        request.body = text.as_bytes().to_vec();
        let answer = send(cloud.api, &request);
        assert_eq!((answer.status, &answer.body["success"]), (400, &json!(false)), "{text:?}");
    }
    request.body = vec![b' '; 64 * 1024 + 1];
    assert_eq!(send(cloud.api, &request).status, 400);
    // A user without a password has no login; nor has a disabled one.
    cloud.apply(&json!({"projects": [{"name": "first", "users": [
        {"schema": "testApp", "username": "silent"},
        {"schema": "testApp", "username": "guest@example.com", "disabled": true}]}]}));
    assert_eq!(refused(body("silent", "x", json!([plug()]))), wrong);
    assert_eq!(refused(body("guest@example.com", "guest's", json!([speaker()]))), wrong);
}

#[test]
fn an_unknown_account_takes_as_long_as_a_wrong_password() {
    let cloud = TestCloud::start();
    with_passwords(&cloud);
    // Medians of few, since an address has only so many failures in a minute.
    let median = |user: &str| {
        let mut times: Vec<Duration> = (0..7)
            .map(|_| {
                let begun = std::time::Instant::now();
                assert_eq!(post(&cloud, &body(user, "wrong", json!([plug()]))).status, 200);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (known, unknown) = (median("18200000678"), median("nobody"));
    // Without the hash an answer would take a hundredth of the time.
    assert!(unknown > known / 5.0 && known > unknown / 5.0, "{known} s and {unknown} s");
}

#[test]
fn failures_are_counted_by_account_and_by_address() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let status = |user: &str, password: &str| post(&cloud, &body(user, password, json!([plug()]))).status;
    for _ in 0..10 {
        assert_eq!(status("18200000678", "wrong"), 200);
    }
    assert_eq!(status("18200000678", "owner's"), 429, "even the right password");
    let answer = post(&cloud, &body("18200000678", "owner's", json!([plug()])));
    assert_eq!((&answer.body["success"], &answer.body["data"]), (&json!(false), &Value::Null), "in the envelope");
    for _ in 0..12 {
        assert_eq!(status("guest@example.com", "guest's"), 200, "successes do not count");
    }
    for n in 0..90 {
        assert_eq!(status(&format!("nobody{n}"), "wrong"), 200);
    }
    assert_eq!(status("guest@example.com", "guest's"), 429, "the address has failed too often");
    cloud.advance(Duration::from_secs(60));
    assert_eq!(status("18200000678", "owner's"), 200, "a minute later");
}

#[test]
fn logins_under_way_are_no_failures() {
    let cloud = TestCloud::start();
    with_passwords(&cloud);
    // As a back end makes them that signs in for everybody it serves.
    let login = body("18200000678", "owner's", json!([plug()]));
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..30).map(|_| scope.spawn(|| post(&cloud, &login).status)).collect();
        for login in logins {
            assert_eq!(login.join().unwrap(), 200);
        }
    });
}

#[test]
fn no_password_comes_back_in_an_explanation() {
    let cloud = TestCloud::start();
    let login = json!({"userName": "18200000678", "password": 987_654_321, "deviceList": [plug()]});
    let answer = post(&cloud, &login);
    assert_eq!((answer.status, &answer.body["success"]), (200, &json!(false)));
    let explained = answer.explain.clone().unwrap();
    assert!(explained.contains("expected a string") && explained.contains("line 1"), "{explained}");
    assert!(!format!("{answer:?}").contains("987654321"), "{answer:?}");
}

#[test]
fn a_name_that_two_projects_have() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    cloud.apply(&json!({"projects": [{"name": "second", "users": [
        {"schema": "otherApp", "username": "18200000678", "password": "second's"}],
        "devices": [{"product_id": "foreign000000001", "device_id": "foreign0000000000002", "owner": "18200000678"}]}]}));
    let lamp = json!({"productKey": "lamp", "deviceName": "foreign0000000000002"});
    assert_eq!(tokens(&cloud, "18200000678", "owner's", json!([plug()])).len(), 1);
    assert_eq!(tokens(&cloud, "18200000678", "second's", json!([lamp])).len(), 1);
    // Whatever is asked of the wrong one, the answer is the same: it does not show which of the two has a device.
    let nothing = json!({"productKey": "nothing", "deviceName": "nothing"});
    let mut answers = HashSet::new();
    for (password, devices) in [
        ("second's", json!([plug()])),
        ("second's", json!([nothing])),
        ("second's", json!([lamp, nothing])),
        ("second's", json!([nothing, lamp])),
        ("owner's", json!([lamp])),
        ("owner's", json!([plug(), lamp])),
        ("owner's", json!([lamp, plug()])),
        ("wrong", json!([plug()])),
    ] {
        answers.insert(post(&cloud, &body("18200000678", password, devices)).body.to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[test]
fn the_key_is_rotated() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let opens = |token: &str| super::devices::get(&cloud, token, "").status;
    let old = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    let said = cloud.ingle(&["rotate", "visual-key"], "").unwrap();
    let new = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    let kid = |token: &str| part(token, 0)["kid"].as_str().unwrap().to_owned();
    assert!(kid(&old) != kid(&new) && said.contains(&kid(&new)), "{said}");
    let published =
        || -> Vec<String> { keys(&cloud).iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect() };
    assert_eq!(published(), [kid(&new), kid(&old)]);
    assert_eq!((opens(&old), opens(&new)), (200, 200));
    cloud.advance(Duration::from_secs(3599));
    assert_eq!((opens(&old), published().len()), (200, 2));
    cloud.advance(Duration::from_secs(62));
    assert_eq!((opens(&old), published()), (401, vec![kid(&new)]), "gone with its last token");
    assert_eq!(opens(&new), 401);
    assert!(cloud.ingle(&["rotate", "nothing"], "").is_err());
}

#[test]
fn tokens_that_others_made() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let token = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    let key = keys(&cloud).remove(0);
    let (header, claims, signature) = {
        let parts: Vec<&str> = token.split('.').collect();
        (part(&token, 0), part(&token, 1), parts[2].to_owned())
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut forged = Vec::new();
    for alg in ["none", "None", "NONE"] {
        let mut header = header.clone();
        header["alg"] = json!(alg);
        for signature in ["", signature.as_str()] {
            forged.push(format!("{}.{}.{signature}", encode(&header), encode(&claims)));
        }
    }
    // The public key as the secret of an HMAC, in every form in which it could be read.
    let half = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], half("x"), half("y")].concat();
    for secret in [point, key.to_string().into_bytes(), key["x"].as_str().unwrap().as_bytes().to_vec(), Vec::new()] {
        let mut header = header.clone();
        header["alg"] = json!("HS256");
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(&message);
        forged.push(format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())));
    }
    for (claim, value) in
        [("sub", json!("speaker#box")), ("exp", json!(i64::MAX)), ("uid", json!("somebody")), ("aud", json!("other"))]
    {
        let mut claims = claims.clone();
        claims[claim] = value;
        forged.push(format!("{}.{}.{signature}", encode(&header), encode(&claims)));
    }
    for alg in ["ES384", "RS256", "EdDSA"] {
        let mut header = header.clone();
        header["alg"] = json!(alg);
        forged.push(format!("{}.{}.{signature}", encode(&header), encode(&claims)));
    }
    let mut unknown = header.clone();
    unknown["kid"] = json!("unknown");
    forged.push(format!("{}.{}.{signature}", encode(&unknown), encode(&claims)));
    let mut bare = header.clone();
    bare.as_object_mut().unwrap().remove("kid");
    forged.push(format!("{}.{}.{signature}", encode(&bare), encode(&claims)));
    forged.extend(["", "x", "a.b.c", "..", "x".repeat(5000).as_str()].map(str::to_owned));
    forged.push(token[..token.len() - 2].to_owned());
    assert_eq!(super::devices::get(&cloud, &token, "").status, 200);
    for token in forged {
        let answer = super::devices::get(&cloud, &token, "");
        assert_eq!((answer.status, &answer.body["success"]), (401, &json!(false)), "{token}: {answer:?}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
    }
}

/// The app itself, asked as if the connection came from somewhere.
async fn asked_from(app: &App, method: &str, path: &str, peer: Option<Peer>) -> u16 {
    let request = axum::http::Request::builder().method(method).uri(path);
    let body = body("18200000678", "owner's", json!([plug()])).to_string();
    let mut request = request.body(axum::body::Body::from(body)).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    app.router(&ingle::app::Addresses::default()).oneshot(request).await.unwrap().status().as_u16()
}

#[test]
fn no_password_or_token_in_the_clear_from_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let peer =
        |address: &str, encrypted: bool| Some(Peer { address: address.parse().unwrap(), encrypted, account: None });
    for plain in [false, true] {
        let mut config = Config::load(None, std::iter::empty()).unwrap();
        config.visual.plain_http = plain;
        let app = App::open(folder.path(), config, Arc::new(SystemClock)).unwrap();
        let elsewhere = if plain { 200 } else { 403 };
        for (from, status) in [
            (peer("127.0.0.1", false), 200),
            (peer("::1", false), 200),
            (peer("192.0.2.7", true), 200),
            (peer("2001:db8::7", true), 200),
            (peer("192.0.2.7", false), elsewhere),
            (peer("10.0.0.7", false), elsewhere),
            (peer("2001:db8::7", false), elsewhere),
            (None, elsewhere),
        ] {
            let login = runtime.block_on(asked_from(&app, "POST", PATH, from));
            assert_eq!(login, status, "{from:?} {plain}");
            let read = runtime.block_on(asked_from(&app, "GET", "/v1.0/visual/devices/a/b", from));
            assert_eq!(read, if status == 200 { 401 } else { 403 }, "{from:?} {plain}");
        }
    }
}

#[test]
fn no_secret_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (cloud, log) = TestCloud::logging(&data, "trace");
    cloud.apply(&crate::support::world::standard());
    with_passwords(&cloud);
    let app = cloud.aliyun();
    let mut secrets = tokens(&cloud, "18200000678", "owner's", json!([plug()]));
    post(&cloud, &body("18200000678", "a-wrong-password", json!([plug()])));
    super::devices::get(&cloud, &secrets[0], "");
    super::devices::get(&cloud, &secrets[0], "/logs");
    let token = app.token();
    app.call("/cloud/account/queryIdentityByPage", json!({}));
    app.send("/cloud/token/refresh", &crate::support::aliyun::envelope("1.0.1", None, &json!({"cloudToken": token})));
    app.call("/cloud/thing/info/get", json!({"iotId": "nothing"}));
    let signature = app.signed("/cloud/token", b"{}").with("X-Ca-Signature", "AAAA");
    send(cloud.api, &signature);
    secrets.extend([token, app.secret.clone(), "owner's".to_owned(), "a-wrong-password".to_owned()]);
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("a request was answered"), "every request is in the log: {log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds {secret}");
    }
}
