//! Logins of an app's users (contract tuya §1.7).

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::TestCloud;
use crate::support::people::{PASSWORD, log_in, md5, people, sign_in};
use crate::support::tuya::{Request, TuyaApp, hex, hmac_upper};
use crate::support::world::{FOREIGN, GUEST, OWNER, PLUG, SPEAKER};

const LOGIN: &str = "/v1.0/iot-01/associated-users/actions/authorized-login";
const CUSTOM: &str = "/v1.0/iot-03/users/login";

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn post(app: &TuyaApp, path: &str, body: &Value) -> Value {
    app.send(&app.signed("POST", path, body.to_string().as_bytes(), "")).body
}

fn with(token: &Value) -> impl Fn(TuyaApp) -> TuyaApp {
    let token = token.as_str().unwrap().to_owned();
    move |app| {
        app.hold(&token);
        app
    }
}

#[test]
fn authorized_login() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    let body = |username: &str, password: &str, country: Value, schema: &str| json!({"username": username, "password": password, "country_code": country, "schema": schema});
    let owner = "18200000678";
    let answer = post(&app, LOGIN, &body(owner, &md5(PASSWORD), json!("86"), "testApp"));
    let token = answer["result"].clone();
    assert_eq!((&token["uid"], &token["expire_time"], &token["expire"]), (&json!(OWNER), &json!(7200), &json!(7200)));
    assert!(token.get("platform_url").is_none(), "clients go there: {token}");
    assert!(answer["t"].is_i64());
    for field in ["access_token", "refresh_token"] {
        assert_eq!(token[field].as_str().unwrap().len(), 32);
    }
    // In any form, the country as one client sends it, and with the token of an earlier login.
    for (password, country) in [
        (md5(PASSWORD).to_uppercase(), json!(86)),
        (sha256(PASSWORD), json!("+86")),
        (PASSWORD.to_owned(), json!("86")),
    ] {
        let body = body(owner, &password, country, "testApp").to_string();
        let old = token["access_token"].as_str().unwrap();
        assert_eq!(app.send(&app.signed("POST", LOGIN, body.as_bytes(), old)).body["success"], true, "{body}");
    }
    let right = md5(PASSWORD);
    for (body, code) in [
        (body(owner, &md5("wrong"), json!("86"), "testApp"), 2401),
        (body("nobody", &right, json!("86"), "testApp"), 2401),
        (body("", &right, json!("86"), "testApp"), 1109),
        (body(owner, &right, json!("1"), "testApp"), 1106),
        (body(owner, &right, json!("49"), "testApp"), 2406),
        (body(owner, &right, json!("86"), "emptyApp"), 2401),
        (body(owner, &right, json!("86"), "otherApp"), 1106),
        (body(owner, &right, json!("86"), "nothing"), 1106),
        (json!({"username": owner, "password": right, "schema": "testApp"}), 1109),
        (json!({"username": owner, "password": right, "country_code": "86"}), 1109),
        (json!({"username": [], "password": {}}), 1109),
        (json!({}), 1109),
    ] {
        assert_eq!(post(&app, LOGIN, &body)["code"], code, "{body}");
    }
    assert_eq!(post(&cloud.second(), LOGIN, &body(owner, &right, json!("86"), "testApp"))["code"], 1106);
    // The old rule covers no body.
    let t = app.t.unwrap_or_else(|| cloud.now_ms()).to_string();
    let sign = hmac_upper(&app.secret, &format!("{}{t}", app.client_id));
    let headers = [("client_id", app.client_id.as_str()), ("t", &t), ("sign", &sign)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let text = body(owner, &right, json!("86"), "testApp").to_string().into_bytes();
    let old = Request { method: "POST".into(), target: LOGIN.into(), headers, body: text };
    assert_eq!(app.send(&old).code(), 1004);
}

#[test]
fn custom_login() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    let body = |username: &str, password: &str| json!({"username": username, "password": password});
    let answer = post(&app, CUSTOM, &body("guest@example.com", &sha256(PASSWORD)))["result"].clone();
    assert_eq!((&answer["uid"], &answer["expire"]), (&json!(GUEST), &json!(7200)));
    for (body, code) in [
        (body("guest@example.com", &sha256("wrong")), 2401),
        (body("nobody", &sha256(PASSWORD)), 2401),
        (body("other@example.com", &sha256(PASSWORD)), 2401),
        (json!({"username": "x"}), 1100),
        (json!({}), 1100),
    ] {
        assert_eq!(post(&app, CUSTOM, &body)["code"], code, "{body}");
    }
    // A name that two apps know needs its app.
    let twin = json!([{"schema": "emptyApp", "username": "guest@example.com", "uid": "aztwin", "password": PASSWORD}]);
    cloud.apply(&json!({"projects": [{"name": "first", "users": twin}]}));
    let mut both = body("guest@example.com", &sha256(PASSWORD));
    assert_eq!(post(&app, CUSTOM, &both)["code"], 2401);
    both["schema"] = json!("emptyApp");
    assert_eq!(post(&app, CUSTOM, &both)["result"]["uid"], "aztwin");
}

#[test]
fn refresh_login() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    let sees = |token: &Value| with(token)(cloud.first()).get(&format!("/v1.0/devices/{PLUG}"))["code"].clone();
    let first = log_in(&app, "18200000678", &md5(PASSWORD))["result"].clone();
    assert_eq!(sees(&first["access_token"]), Value::Null);
    let refresh = |token: &Value| {
        let path = format!("/v1.0/iot-03/users/token/{}", token["refresh_token"].as_str().unwrap());
        app.send(&app.signed("POST", &path, b"", "")).body
    };
    let second = refresh(&first)["result"].clone();
    assert_eq!((&second["uid"], sees(&second["access_token"])), (&json!(OWNER), Value::Null));
    assert_eq!(sees(&first["access_token"]), 1010, "the old pair is dead");
    assert_eq!(refresh(&first)["code"], 1010, "single use");
    // The other client renews it by the project's path.
    let path = format!("/v1.0/token/{}", second["refresh_token"].as_str().unwrap());
    let third = app.send(&app.signed("GET", &path, b"", "")).body["result"].clone();
    assert_eq!((&third["uid"], sees(&third["access_token"])), (&json!(OWNER), Value::Null));
    assert_eq!(refresh(&json!({"refresh_token": "x"}))["code"], 1010);
    // The project's own is not a user's.
    let own = app.get("/v1.0/token?grant_type=1");
    assert_eq!(own["success"], true);
    assert_eq!(refresh(&own["result"])["code"], 1010);
    let other = cloud.second();
    let path = format!("/v1.0/iot-03/users/token/{}", third["refresh_token"].as_str().unwrap());
    assert_eq!(other.send(&other.signed("POST", &path, b"", "")).code(), 1010);
}

#[test]
fn a_login_ends_with_its_password_its_account_and_its_time() {
    let cloud = TestCloud::at(1_763_800_000_000);
    people(&cloud);
    let alive = |app: &TuyaApp| app.get(&format!("/v1.0/users/{OWNER}/homes"))["code"] == Value::Null;
    let change = |user: Value| {
        let mut all = json!({"schema": "testApp", "username": "18200000678"});
        all.as_object_mut().unwrap().extend(user.as_object().unwrap().clone());
        cloud.apply(&json!({"projects": [{"name": "first", "users": [all]}]}));
    };
    let owner = sign_in(&cloud, "18200000678");
    change(json!({"nick_name": "Still me"}));
    assert!(alive(&owner));
    change(json!({"password": "another"}));
    assert!(!alive(&owner), "another password");
    assert_eq!(log_in(&cloud.first(), "18200000678", &md5(PASSWORD))["code"], 2401);
    change(json!({"password": PASSWORD}));
    let owner = sign_in(&cloud, "18200000678");
    assert!(alive(&owner));
    change(json!({"disabled": true}));
    assert!(!alive(&owner), "shut out");
    assert_eq!(log_in(&cloud.first(), "18200000678", &md5(PASSWORD))["code"], 2401);
    change(json!({"disabled": false}));
    let mut owner = sign_in(&cloud, "18200000678");
    cloud.advance(std::time::Duration::from_secs(7199));
    owner.t = Some(cloud.now_ms());
    assert!(alive(&owner));
    cloud.advance(std::time::Duration::from_secs(1));
    owner.t = Some(cloud.now_ms());
    assert_eq!(owner.get(&format!("/v1.0/users/{OWNER}/homes"))["code"], 1010);
}

#[test]
fn a_user_who_was_synchronised_signs_in_by_what_was_given() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let sync = |password: &str| {
        let body = json!({"country_code": "86", "username": "synced", "password": password, "username_type": 3});
        assert_eq!(app.post("/v1.0/apps/testApp/user", body)["success"], true);
    };
    let custom =
        |password: &str| post(&app, CUSTOM, &json!({"username": "synced", "password": password}))["code"].clone();
    sync(&md5(PASSWORD));
    assert_eq!(log_in(&app, "synced", &md5(PASSWORD))["success"], true);
    assert_eq!(log_in(&app, "synced", PASSWORD)["success"], true);
    assert_eq!(custom(&sha256(PASSWORD)), 2401, "from the one digest the other cannot be made");
    sync(PASSWORD);
    assert_eq!(log_in(&app, "synced", &md5(PASSWORD))["success"], true);
    assert_eq!(custom(&sha256(PASSWORD)), Value::Null);
}

#[test]
fn a_thousand_wrong_passwords_are_not_tried() {
    let cloud = TestCloud::at(1_763_800_000_000);
    people(&cloud);
    let app = cloud.first();
    let codes: Vec<i64> =
        (0..1000).map(|n| log_in(&app, "member", &md5(&n.to_string()))["code"].as_i64().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 2401).count(), 10);
    assert!(codes[10..].iter().all(|code| *code == 1199), "{codes:?}");
    assert_eq!(log_in(&app, "member", &md5(PASSWORD))["code"], 1199, "not even the right one");
    assert_eq!(log_in(&app, "stranger", &md5(PASSWORD))["success"], true, "others may");
    cloud.advance(std::time::Duration::from_secs(60));
    let mut app = cloud.first();
    app.t = Some(cloud.now_ms());
    assert_eq!(log_in(&app, "member", &md5(PASSWORD))["success"], true, "a minute later");
}

#[test]
fn a_user_sees_what_the_user_has_and_no_keys_of_others() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let ids = |app: &TuyaApp, path: &str| {
        let result = app.get(path)["result"].clone();
        let list = if result["devices"].is_array() { &result["devices"] } else { &result };
        let ids = list.as_array().unwrap_or_else(|| panic!("{path}: {result}")).iter();
        ids.map(|device| device["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ids(&people.sharee, "/v1.0/iot-01/associated-users/devices?size=100");
    assert_eq!(all, ids(&people.sharee, "/v1.0/devices?page_size=100"));
    assert!(all.contains(&PLUG.to_owned()) && all.contains(&SPEAKER.to_owned()) && all.len() == 2, "{all:?}");
    assert_eq!(ids(&people.sharee, &format!("/v1.0/users/{GUEST}/devices")), [SPEAKER]);
    assert_eq!(ids(&people.sharee, &format!("/v1.0/users/{GUEST}/devices?from=sharing")), [PLUG]);
    assert_eq!(ids(&people.stranger, "/v1.0/devices"), Vec::<String>::new());
    let asked = format!("/v1.0/devices/?device_ids={PLUG},{SPEAKER},{FOREIGN},nobody,{PLUG}");
    assert_eq!(ids(&people.member, &asked), [PLUG]);
    // A key cannot be taken back: whoever has it on the network keeps it.
    let key = |app: &TuyaApp| {
        let device = app.get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
        let listed = app.get(&format!("/v1.0/devices?device_ids={PLUG}"))["result"]["devices"][0].clone();
        assert_eq!(device, listed);
        let shown = ["local_key", "ip", "owner_id"].map(|name| device[name].as_str().unwrap().to_owned());
        (shown[0].clone(), shown[1].is_empty(), shown[2].is_empty())
    };
    for app in [&people.owner, &people.member, &cloud.first()] {
        assert_eq!(key(app), ("11a53bdd67e40001".to_owned(), false, false));
    }
    assert_eq!(key(&people.sharee), (String::new(), true, true));
    let thing = people.sharee.get(&format!("/v2.0/cloud/thing/{PLUG}"))["result"].clone();
    assert_eq!((&thing["local_key"], &thing["id"]), (&json!(""), &json!(PLUG)));
}

#[test]
fn a_command_of_a_user_is_noted_as_the_users() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let lamp = json!([{"product_id": "EvolhYPyZNWYP001", "device_id": "vdevo0000000000000001", "name": "Played",
        "virtual": true, "owner": "18200000678", "shared_with": ["guest@example.com"]}]);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": lamp}]}));
    let path = "/v1.0/devices/vdevo0000000000000001";
    cloud.wait(|| people.owner.get(path)["result"]["online"] == true);
    let command = json!({"commands": [{"code": "switch_1", "value": true}]});
    for (app, source) in [(&people.sharee, "2"), (&people.member, "2"), (&people.owner, "2"), (&cloud.first(), "4")] {
        assert_eq!(app.post(&format!("{path}/commands"), command.clone())["result"], true);
        let end = cloud.now_ms() + 1000;
        let rows = cloud.first().get(&format!("{path}/logs?end_time={end}&size=1&start_time=0&type=5"));
        assert_eq!(rows["result"]["logs"][0]["event_from"], source);
    }
}

#[test]
fn log_out() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let (path, plug) = ("/v1.0/iot-03/users/logout", format!("/v1.0/devices/{PLUG}"));
    let elsewhere = sign_in(&cloud, "member");
    assert_eq!(cloud.first().post(path, json!({}))["code"], 1106, "the project's token is no login");
    assert_eq!(people.member.post(path, json!({}))["result"], true);
    assert_eq!(people.member.get(&plug)["code"], 1010);
    assert_eq!(people.member.post(path, json!({}))["code"], 1010, "the second time");
    assert_eq!(elsewhere.get(&plug)["result"]["id"], PLUG, "other logins of the user go on");
}
