//! Accounts (seed 002; contract aliyun §4.1, §4.2, §4.5, §5 row 17).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::aliyun::{AliyunApp, envelope};
use crate::support::world::{APP_KEY, FIRST_APP_KEY, OTHER_APP_KEY, OWNER, PLUG};

const BY_PAGE: &str = "/cloud/account/queryIdentityByPage";
const BY_OPEN_ID: &str = "/cloud/account/getByOpenId";
const OPEN_ID_OF: &str = "/account/openid/getbyidentityid";

/// Two users of the first project with names of every kind.
fn named(cloud: &TestCloud) {
    cloud.apply(&json!({"projects": [
        {"name": "first", "users": [
            {"schema": "testApp", "username": "18200000678", "open_id": "linked-1", "identity_id": "50identityOwner",
             "login_id": "439800000001", "gender": "M", "avatar": "https://x.test/a.png", "email": "o@example.com"},
            {"schema": "testApp", "username": "guest@example.com", "identity_id": "50identityGuest"}]},
        {"name": "second", "users": [
            {"schema": "otherApp", "username": "other@example.com", "identity_id": "50identityOther", "open_id": "linked-1"}]},
    ]}));
}

fn ids(page: &Value) -> Vec<&str> {
    page.as_array().unwrap().iter().map(|row| row["identityId"].as_str().unwrap()).collect()
}

#[test]
fn query_identity_by_page() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let all = app.data(BY_PAGE, json!({}));
    assert_eq!(ids(&all), ["50identityOwner", "50identityGuest"], "the tenant's, oldest first");
    let owner = &all[0];
    for (member, value) in [
        ("loginId", json!("439800000001")),
        ("loginSource", json!("openAccount")),
        ("loginName", json!("18200000678")),
        ("phone", json!("18200000678")),
        ("email", json!("o@example.com")),
        ("nickName", json!("Owner")),
        ("avatarUrl", json!("https://x.test/a.png")),
        ("gender", json!("M")),
        ("onlineStatus", json!(0)),
        ("status", json!("0")),
    ] {
        assert_eq!(owner[member], value, "{member}");
    }
    assert!(owner["gmtCreate"].as_i64().unwrap() > 1_500_000_000_000 && owner["gmtModified"].is_i64(), "{owner}");
    let tenant = owner["tenantId"].as_str().unwrap();
    assert!(tenant.len() == 32 && !tenant.contains(char::is_lowercase), "{tenant}");
    // What is not set is not there.
    let guest = all[1].as_object().unwrap();
    for absent in ["phone", "nickName", "avatarUrl", "gender", "lastLoginTime"] {
        assert!(!guest.contains_key(absent), "{absent}: {guest:?}");
    }
    assert_eq!(guest["email"], "guest@example.com");

    assert_eq!(ids(&app.data(BY_PAGE, json!({"offset": 1, "count": 1}))), ["50identityGuest"]);
    assert_eq!(ids(&app.data(BY_PAGE, json!({"offset": "0", "count": "1"}))), ["50identityOwner"]);
    assert_eq!(app.data(BY_PAGE, json!({"offset": 2, "count": 1})), json!([]));
    assert_eq!(app.data(BY_PAGE, json!({"offset": i64::MAX, "count": 1})), json!([]));
    assert_eq!(app.data(BY_PAGE, json!({"count": 10_000})).as_array().unwrap().len(), 2, "clamped, not refused");
    for wrong in [
        json!({"count": 0}),
        json!({"count": -1}),
        json!({"offset": -1, "count": 1}),
        json!({"count": 10_001}),
        json!({"count": 1.5}),
        json!({"offset": "x"}),
        json!({"offset": [0]}),
    ] {
        let answer = app.call(BY_PAGE, wrong.clone());
        assert_eq!((answer.status, answer.code()), (200, 460), "{wrong}");
        assert_eq!(answer.body["message"], "invalid count or offset!");
    }
}

#[test]
fn query_identity_desc_by_page() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/account/queryidentitydescbypage";
    assert_eq!(ids(&app.data(path, json!({}))), ["50identityGuest", "50identityOwner"]);
    assert_eq!(ids(&app.data(path, json!({"offset": 1, "count": 5}))), ["50identityOwner"]);
    assert_eq!(app.code(path, json!({"count": 0})), 460);
}

#[test]
fn get_by_open_id() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let ask = |open_id: &str, key: &str| app.call(BY_OPEN_ID, json!({"openId": open_id, "openIdAppKey": key}));
    let answer = ask("linked-1", APP_KEY);
    assert!(answer.body["data"].is_object(), "an object, as the platform answers: {answer:?}");
    assert_eq!(answer.body["data"]["identityId"], "50identityOwner");
    assert!(answer.body["data"].get("lastLoginTime").is_none());
    // The project's own AppKey finds the one user of any of its apps.
    assert_eq!(ask("linked-1", FIRST_APP_KEY).body["data"]["identityId"], "50identityOwner");
    // Without a linked account the login id is the open id.
    let guest = app.data(BY_PAGE, json!({"offset": 1}))[0]["loginId"].as_str().unwrap().to_owned();
    assert_eq!(ask(&guest, APP_KEY).body["data"]["identityId"], "50identityGuest");
    assert_eq!(ask("nobody", APP_KEY).body["message"], "openId invalid");
    for (open_id, key, code) in [
        ("nobody", APP_KEY, 2407),
        ("nobody", FIRST_APP_KEY, 2407),
        ("linked-1", OTHER_APP_KEY, 28514),
        ("linked-1", "60049999", 28514),
        ("", APP_KEY, 460),
        ("linked-1", "", 460),
    ] {
        assert_eq!(ask(open_id, key).code(), code, "{open_id} {key}");
    }
    assert_eq!(app.code(BY_OPEN_ID, json!({"openId": "linked-1"})), 460);
    assert_eq!(app.code(BY_OPEN_ID, json!({"openId": {}, "openIdAppKey": APP_KEY})), 460);
}

#[test]
fn an_open_id_of_two_apps_needs_the_apps_key() {
    let cloud = TestCloud::start();
    cloud.apply(&json!({"projects": [{"name": "first",
        "apps": [{"schema": "emptyApp", "app_key": "60030002"}],
        "users": [
            {"schema": "testApp", "username": "a", "open_id": "twice", "identity_id": "50a"},
            {"schema": "emptyApp", "username": "b", "open_id": "twice", "identity_id": "50b"}]}]}));
    let app = cloud.aliyun();
    let ask = |key: &str| app.call(BY_OPEN_ID, json!({"openId": "twice", "openIdAppKey": key}));
    assert_eq!(ask(APP_KEY).body["data"]["identityId"], "50a");
    assert_eq!(ask("60030002").body["data"]["identityId"], "50b");
    assert_eq!(ask(FIRST_APP_KEY).code(), 2407);
}

#[test]
fn get_by_identity_id() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/account/getByIdentityId";
    assert_eq!(app.data(path, json!({"identityId": "50identityGuest"}))["loginName"], "guest@example.com");
    let unknown = app.call(path, json!({"identityId": "50nobody"}));
    assert_eq!((unknown.code(), unknown.body["message"].as_str()), (2062, Some("identityId does not exist.")));
    assert_eq!(app.code(path, json!({"identityId": "50identityOther"})), 2062, "another tenant's is unknown");
    assert_eq!(app.code(path, json!({})), 460);
}

#[test]
fn query_identity_list() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/iotx/account/queryIdentityList";
    let list = ["50identityGuest", "50identityOther", "50nobody", "50identityOwner"];
    for params in [json!({"request": {"identityIds": list}}), json!({"identityIds": list})] {
        assert_eq!(ids(&app.data(path, params)), ["50identityGuest", "50identityOwner"]);
    }
    let many: Vec<String> = (0..101).map(|n| format!("50{n}")).collect();
    for wrong in [json!({}), json!({"identityIds": []}), json!({"identityIds": many}), json!({"identityIds": [1]})] {
        assert_eq!(app.code(path, wrong.clone()), 460, "{wrong}");
    }
}

#[test]
fn open_id_of_identity() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    // The signature alone, as the seed's example: no cloudToken.
    let ask = |params: Value| app.send(OPEN_ID_OF, &envelope("1.0.6", None, &params));
    assert_eq!(ask(json!({"request": {"identityId": "50identityOwner"}})).body["data"], "linked-1");
    for guest in [
        json!({"request": {"identityId": "50identityGuest"}}),
        json!({"identityId": "50identityGuest"}),
        json!({"request": {"identityId": ["50identityGuest"]}}),
        json!({"identityId": ["50identityGuest"]}),
    ] {
        assert_eq!(
            ask(guest.clone()).body["data"],
            "50identityGuest",
            "no linked account, the identity itself: {guest}"
        );
    }
    for (params, code) in [
        (json!({"request": {"identityId": ["50identityGuest", "50identityOwner"]}}), 460),
        (json!({"request": {"identityId": []}}), 460),
        (json!({"request": {"identityId": ""}}), 460),
        (json!({"request": {}}), 460),
        (json!({}), 460),
        (json!({"request": {"identityId": 7}}), 460),
        (json!({"request": {"identityId": "50nobody"}}), 2062),
        (json!({"request": {"identityId": "50identityOther"}}), 2062),
    ] {
        assert_eq!(ask(params.clone()).code(), code, "{params}");
    }
    // A token that comes along must be good.
    let owner = json!({"request": {"identityId": "50identityOwner"}});
    let with = |token: &str| app.send(OPEN_ID_OF, &envelope("1.0.6", Some(token), &owner)).code();
    assert_eq!((with(&app.token()), with("x"), with(&cloud.other_aliyun().token())), (200, 401, 403));
}

#[test]
fn open_id_of_identity_cloud() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/account/openId/getByIdentityId";
    let ask = |id: &str, key: &str| app.call(path, json!({"identityId": id, "openIdAppKey": key}));
    assert_eq!(ask("50identityOwner", APP_KEY).body["data"], "linked-1");
    assert_eq!(ask("50identityOwner", FIRST_APP_KEY).body["data"], "linked-1");
    assert_eq!(ask("50identityOwner", OTHER_APP_KEY).code(), 28514);
    assert_eq!(ask("50identityOther", OTHER_APP_KEY).code(), 2062);
    assert_eq!(app.code(path, json!({"identityId": "50identityOwner"})), 460);
    let unsigned = app.send(path, &envelope("1.0.4", None, &json!({})));
    assert_eq!(unsigned.code(), 401, "this one needs a cloudToken");
}

#[test]
fn update_account() {
    let cloud = TestCloud::at(1_763_800_000_000);
    named(&cloud);
    cloud.advance(Duration::from_secs(60));
    let app = cloud.aliyun();
    let path = "/user/account/info/update";
    let nick = |app: &AliyunApp| app.data(BY_PAGE, json!({}))[0].clone();
    assert_eq!(app.data(path, json!({"openId": "linked-1", "openIdAppKey": APP_KEY, "nickName": "小明"})), "");
    assert_eq!((&nick(&app)["nickName"], &nick(&app)["gmtModified"]), (&json!("小明"), &json!(cloud.now_ms())));
    assert_eq!(app.data(path, json!({"identityId": "50identityOwner", "nickName": "M"})), "");
    assert_eq!(nick(&app)["nickName"], "M");
    for (params, code) in [
        (json!({"identityId": "50identityOwner"}), 460),
        (json!({"identityId": "50identityOwner", "nickName": "n".repeat(129)}), 460),
        (json!({"identityId": "50identityOwner", "nickName": "a\nb"}), 460),
        (json!({"nickName": "x"}), 460),
        (json!({"identityId": "50identityOther", "nickName": "x"}), 2062),
        (json!({"openId": "linked-1", "openIdAppKey": OTHER_APP_KEY, "nickName": "x"}), 28514),
    ] {
        assert_eq!(app.code(path, params.clone()), code, "{params}");
    }
    assert_eq!(nick(&app)["nickName"], "M");
}

#[test]
fn unregister_account() {
    let cloud = TestCloud::start();
    named(&cloud);
    let (app, tuya) = (cloud.aliyun(), cloud.first());
    let path = "/user/account/unregister";
    assert_eq!(app.code(path, json!({"identityId": "50identityOther"})), 2062);
    assert_eq!(app.data(path, json!({"identityId": "50identityOwner"})), "");
    assert_eq!(app.code(path, json!({"identityId": "50identityOwner"})), 2062);
    assert_eq!(ids(&app.data(BY_PAGE, json!({}))), ["50identityGuest"]);
    assert_eq!(tuya.get(&format!("/v1.0/users/{OWNER}/infos"))["code"], 1106);
    // What the user owned belongs to nobody, also not to those to whom it was shared.
    let plug = tuya.get(&format!("/v1.0/devices/{PLUG}"));
    assert_eq!((&plug["result"]["uid"], &plug["result"]["owner_id"]), (&json!(""), &json!("")));
    let guest = app.data("/cloud/device/queryByUser", json!({"identityId": "50identityGuest"}));
    assert_eq!(guest["data"].as_array().unwrap().len(), 1, "only the guest's own: {guest}");
    let log = tuya.get(&format!("/v1.0/devices/{PLUG}/logs?end_time={}&start_time=0&type=4", cloud.now_ms() + 1000));
    assert_eq!(log["result"]["logs"][0]["event_from"], "11", "{log}");
}
