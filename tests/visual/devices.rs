//! What a visualToken opens (DESIGN §5; contract aliyun §7.3).

use std::time::Duration;

use serde_json::{Value, json};

use super::login::{NOW, body, plug, post, speaker, tokens, with_passwords};
use crate::support::TestCloud;
use crate::support::http::{Answer, Request, send};
use crate::support::world::PLUG;

/// A read of the plug with a token.
pub fn get(cloud: &TestCloud, token: &str, more: &str) -> Answer {
    let path = format!("/v1.0/visual/devices/wkNCAsnnlsYSnI6n/2ac4d7cffa{more}");
    send(cloud.api, &Request::new("GET", &path).with("Authorization", &format!("Bearer {token}")))
}

fn open() -> (TestCloud, String) {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let token = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    (cloud, token)
}

#[test]
fn visual_device() {
    let (cloud, token) = open();
    cloud.import(&[(PLUG, NOW - 1000, 7, 1, "switch_1", json!(true)), (PLUG, NOW, 7, 1, "cur_power", json!(12))]);
    let answer = get(&cloud, &token, "");
    assert_eq!((answer.status, &answer.body["success"], &answer.body["t"]), (200, &json!(true), &json!(NOW)));
    let device = &answer.body["data"];
    for (member, value) in [
        ("productKey", json!("wkNCAsnnlsYSnI6n")),
        ("deviceName", json!("2ac4d7cffa")),
        ("name", json!("xxx测试")),
        ("productName", json!("Plug")),
        ("category", json!("cz")),
        ("online", json!(false)),
        ("activeTime", json!(0)),
    ] {
        assert_eq!(device[member], value, "{member}");
    }
    assert_eq!(device["status"][0], json!({"code": "switch_1", "value": true, "time": NOW - 1000}));
    let all = answer.body.to_string();
    assert!(!all.contains("11a53bdd67e40001") && !all.contains("10.62.43.7"), "no key and no address: {all}");
}

#[test]
fn visual_device_logs() {
    let (cloud, token) = open();
    let rows: Vec<_> = (0..45).map(|n| (PLUG, NOW - n * 500, 7, 1, "cur_power", json!(n))).collect();
    cloud.import(&rows);
    let page = |query: &str| get(&cloud, &token, &format!("/logs{query}")).body["data"].clone();
    let first = page("");
    assert_eq!(first["logs"].as_array().unwrap().len(), 20);
    assert_eq!(first["logs"][0], json!({"time": NOW, "type": 7, "from": 1, "code": "cur_power", "value": 0}));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(&format!("?size=7&cursor={cursor}"));
        seen.extend(page["logs"].as_array().unwrap().iter().map(|row| row["value"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (0..45).collect::<Vec<_>>());
    let some = page(&format!("?start_time={}&end_time={}", NOW - 5000, NOW - 1000));
    assert_eq!(some["logs"].as_array().unwrap().len(), 9);
    for wrong in ["?size=0", "?size=101", "?size=x", "?start_time=x", "?cursor=x", "?cursor=1-", "?cursor=-1-1-1"] {
        let answer = get(&cloud, &token, &format!("/logs{wrong}"));
        assert_eq!((answer.status, &answer.body["success"]), (200, &json!(false)), "{wrong}: {answer:?}");
    }
}

#[test]
fn a_token_opens_one_device_and_nothing_else() {
    let (cloud, token) = open();
    let bearer = |method: &str, path: &str| {
        send(cloud.api, &Request::new(method, path).with("Authorization", &format!("Bearer {token}")))
    };
    for path in [
        "/v1.0/visual/devices/speaker/box",
        "/v1.0/visual/devices/speaker/box/logs",
        "/v1.0/visual/devices/wkNCAsnnlsYSnI6n/other",
        "/v1.0/visual/devices/wkNCAsnnlsYSnI6n/2ac4d7cffa%23",
        "/v1.0/visual/devices/wkNCAsnnlsYSnI6n%232ac4d7cffa/x",
        "/v1.0/visual/devices/nothing/nothing",
    ] {
        assert_eq!(bearer("GET", path).status, 401, "{path}");
    }
    // Not on the other dialects, and no token of theirs here.
    assert_eq!(bearer("GET", &format!("/v1.0/devices/{PLUG}")).code(), 1105);
    assert_eq!(bearer("POST", "/cloud/thing/info/get").code(), 401);
    let app = cloud.first();
    assert_eq!(app.send(&app.signed("GET", "/v1.0/devices", b"", &token)).code(), 1109, "too long to be one");
    let foreign = crate::support::aliyun::envelope("1.0.0", Some(&token), &json!({}));
    assert!(matches!(cloud.aliyun().send("/cloud/account/queryIdentityByPage", &foreign).code(), 400 | 401));
    assert_eq!(get(&cloud, &app.token(), "").status, 401);
    assert_eq!(get(&cloud, &cloud.aliyun().token(), "").status, 401);
    let plain = Request::new("GET", "/v1.0/visual/devices/wkNCAsnnlsYSnI6n/2ac4d7cffa");
    assert_eq!(send(cloud.api, &plain).status, 401);
    assert_eq!(send(cloud.api, &plain.with("Authorization", &token)).status, 401);
    assert_eq!(bearer("DELETE", "/v1.0/visual/devices/wkNCAsnnlsYSnI6n/2ac4d7cffa").status, 405);
}

#[test]
fn a_token_lives_an_hour() {
    let (cloud, token) = open();
    cloud.advance(Duration::from_millis(3_599_999));
    assert_eq!(get(&cloud, &token, "").status, 200);
    cloud.advance(Duration::from_millis(1));
    let answer = get(&cloud, &token, "");
    assert_eq!(answer.status, 401);
    assert!(answer.explain.unwrap().contains("died"));
}

/// Something that ends access for good: the token is dead after it, also when it is taken back, and a new login works.
fn ends_access(end: impl Fn(&TestCloud), take_back: impl Fn(&TestCloud)) {
    let (cloud, token) = open();
    assert_eq!(get(&cloud, &token, "").status, 200);
    end(&cloud);
    assert_eq!(get(&cloud, &token, "").status, 401);
    assert_eq!(get(&cloud, &token, "/logs").status, 401);
    // A binding of the same millisecond would be the same binding.
    cloud.advance(Duration::from_millis(1));
    take_back(&cloud);
    assert_eq!(get(&cloud, &token, "").status, 401, "not even when it is taken back");
    let fresh = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    assert_eq!(get(&cloud, &fresh, "").status, 200);
}

fn bind_again(cloud: &TestCloud) {
    let device = json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "owner": "18200000678"});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
}

fn apply_user(cloud: &TestCloud, more: Value) {
    let mut user = json!({"schema": "testApp", "username": "18200000678"});
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    cloud.apply(&json!({"projects": [{"name": "first", "users": [user]}]}));
}

#[test]
fn unbinding_ends_access() {
    let identity = |cloud: &TestCloud| {
        let users = cloud.aliyun().data("/cloud/account/queryIdentityByPage", json!({"count": 1}));
        users[0]["identityId"].as_str().unwrap().to_owned()
    };
    let factory = json!({"productKey": "wkNCAsnnlsYSnI6n", "deviceName": "2ac4d7cffa"});
    ends_access(
        |cloud| {
            let mut params = factory.clone();
            params["identityId"] = json!(identity(cloud));
            cloud.aliyun().data("/cloud/user/device/unbind", params);
        },
        bind_again,
    );
    ends_access(
        |cloud| {
            cloud.aliyun().data("/living/cloud/user/binding/device/unbind", factory.clone());
        },
        bind_again,
    );
}

#[test]
fn removal_through_the_other_dialect_ends_access() {
    let path = format!("/v1.0/devices/{PLUG}");
    ends_access(|cloud| assert_eq!(cloud.first().delete(&path)["result"], true), bind_again);
}

#[test]
fn disablement_ends_access() {
    let device = |cloud: &TestCloud, disabled: bool| {
        let device = json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "disabled": disabled});
        cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
    };
    ends_access(|cloud| device(cloud, true), |cloud| device(cloud, false));
    ends_access(
        |cloud| apply_user(cloud, json!({"disabled": true})),
        |cloud| apply_user(cloud, json!({"disabled": false})),
    );
}

#[test]
fn another_password_ends_access() {
    ends_access(
        |cloud| apply_user(cloud, json!({"password": "another"})),
        |cloud| apply_user(cloud, json!({"password": "owner's"})),
    );
    let sync = |cloud: &TestCloud, password: &str| {
        let user = json!({"country_code": "86", "username": "18200000678", "username_type": 1, "password": password});
        assert_eq!(cloud.first().post("/v1.0/apps/testApp/user", user)["success"], true);
    };
    ends_access(|cloud| sync(cloud, "another"), |cloud| sync(cloud, "owner's"));
}

#[test]
fn the_same_password_again_ends_nothing() {
    let (cloud, token) = open();
    let user = json!({"country_code": "86", "username": "18200000678", "username_type": 1, "password": "owner's",
        "nick_name": "Renamed"});
    assert_eq!(cloud.first().post("/v1.0/apps/testApp/user", user)["success"], true);
    apply_user(&cloud, json!({"password": "owner's"}));
    assert_eq!(get(&cloud, &token, "").status, 200);
}

#[test]
fn a_share_that_is_withdrawn() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let token = tokens(&cloud, "guest@example.com", "guest's", json!([plug(), speaker()])).remove(0);
    assert_eq!(get(&cloud, &token, "").status, 200);
    let alone = json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "shared_with": []});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [alone]}]}));
    assert_eq!(get(&cloud, &token, "").status, 401);
    let again = post(&cloud, &body("guest@example.com", "guest's", json!([plug(), speaker()])));
    assert_eq!(again.body["success"], false);
}

#[test]
fn the_same_world_again_ends_nothing() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let share = json!({"projects": [{"name": "first", "devices": [{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG,
        "shared_with": ["guest@example.com"]}]}]});
    let token = tokens(&cloud, "guest@example.com", "guest's", json!([plug()])).remove(0);
    cloud.advance(Duration::from_secs(60));
    let written = cloud.apply(&share);
    cloud.apply(&written);
    with_passwords(&cloud);
    assert_eq!(get(&cloud, &token, "").status, 200);
}
