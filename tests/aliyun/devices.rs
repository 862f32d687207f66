//! A user's devices (seed 002; contract aliyun §4.3, §4.4).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::aliyun::AliyunApp;
use crate::support::world::{APP_KEY, FIRST_APP_KEY, HELD_ELSEWHERE, OTHER_APP_KEY, PLUG, SPEAKER};

const BY_USER: &str = "/cloud/device/queryByUser";
const UNBIND: &str = "/cloud/user/device/unbind";

/// The first project's users with open ids, and names for two devices.
pub fn named(cloud: &TestCloud) {
    cloud.apply(&json!({"projects": [
        {"name": "first",
         "users": [
            {"schema": "testApp", "username": "18200000678", "open_id": "owner", "identity_id": "50owner"},
            {"schema": "testApp", "username": "guest@example.com", "open_id": "guest", "identity_id": "50guest"}],
         "products": [{"product_id": "EvolhYPyZNWYP001", "product_key": "a1FNS8TYhpQ", "name": "Wi-Fi 智能计量插座",
            "category": "cz", "model": "P1"}],
         "devices": [{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "iot_id": "iotPlug", "device_name": "VD_plug"}]},
        {"name": "second",
         "users": [{"schema": "otherApp", "username": "other@example.com", "open_id": "other", "identity_id": "50other"}],
         "devices": [{"product_id": "g0er6hSKgMqr0001", "device_id": HELD_ELSEWHERE, "iot_id": "iotElsewhere"},
            {"product_id": "foreign000000001", "device_id": "foreign0000000000001", "iot_id": "iotForeign"}]},
    ]}));
}

fn user(open_id: &str) -> Value {
    json!({"openId": open_id, "openIdAppKey": APP_KEY})
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["deviceName"].as_str().unwrap()).collect()
}

#[test]
fn query_by_user() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    cloud.import(&[(PLUG, cloud.now_ms(), 1, 1, "", Value::Null)]);
    let answer = app.call(BY_USER, user("owner"));
    let nested = &answer.body["data"];
    assert_eq!((&nested["code"], &nested["message"]), (&json!(200), &json!("success")), "nested twice: {answer:?}");
    let rows = nested["data"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    let plug = rows.iter().find(|row| row["iotId"] == "iotPlug").unwrap();
    for (member, value) in [
        ("identityId", json!("50owner")),
        ("productKey", json!("a1FNS8TYhpQ")),
        ("deviceName", json!("VD_plug")),
        ("productName", json!("Wi-Fi 智能计量插座")),
        ("productModel", json!("P1")),
        ("categoryImage", json!("smart/product_icon/cz.png")),
        ("nickName", json!("xxx测试")),
        ("netType", json!("NET_WIFI")),
        ("thingType", json!("DEVICE")),
        ("nodeType", json!("DEVICE")),
        ("owned", json!(1)),
        ("groupId", json!("")),
        ("identityAlias", json!("18200000678")),
        // It reported, but was never activated by a session of its own.
        ("status", json!(0)),
    ] {
        assert_eq!(plug[member], value, "{member}");
    }
    assert!(plug["gmtCreate"].is_i64() && plug["gmtModified"].is_i64());
    let gateway = rows.iter().find(|row| row["nodeType"] == "GATEWAY").unwrap();
    assert!(gateway.get("productModel").is_none() && gateway.get("nickName").is_none(), "{gateway}");

    // A share.
    let guest = app.call(BY_USER, user("guest")).body["data"]["data"].clone();
    let owned: Vec<&Value> = guest.as_array().unwrap().iter().map(|row| &row["owned"]).collect();
    assert_eq!((names(&guest), owned), (vec!["VD_plug", SPEAKER], vec![&json!(0), &json!(1)]));

    for (params, code) in [
        (user("nobody"), 2407),
        (json!({"openId": "owner"}), 460),
        (json!({}), 460),
        (json!({"openId": "owner", "openIdAppKey": OTHER_APP_KEY}), 28514),
        (json!({"openId": "other", "openIdAppKey": APP_KEY}), 2407),
        (json!({"openId": "other", "openIdAppKey": OTHER_APP_KEY}), 28514),
        (json!({"identityId": "50other"}), 2062),
        (json!({"identityId": "50nobody"}), 2062),
    ] {
        assert_eq!(app.code(BY_USER, params.clone()), code, "{params}");
    }
    assert_eq!(app.data(BY_USER, json!({"openId": "owner", "openIdAppKey": FIRST_APP_KEY}))["data"], nested["data"]);
}

#[test]
fn each_version_has_its_parameters() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let ask = |version: &str, more: Value| {
        let mut params = user("owner");
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.call_version(BY_USER, version, params)
    };
    let count = |version: &str, more: Value| {
        let answer = ask(version, more);
        answer.body["data"]["data"].as_array().unwrap_or_else(|| panic!("{answer:?}")).len()
    };
    // Before 1.0.5 there are no pages.
    assert_eq!(count("1.0.0", json!({"limit": 1, "offset": 1})), 6);
    assert_eq!(count("1.0.4", json!({"limit": 0})), 6);
    let page = |offset: i64| ask("1.0.5", json!({"limit": 4, "offset": offset})).body["data"]["data"].clone();
    let (first, second) = (page(0), page(4));
    assert_eq!((names(&first).len(), names(&second).len()), (4, 2));
    assert!(names(&first).iter().all(|name| !names(&second).contains(name)));
    assert_eq!(count("1.0.5", json!({"offset": 100})), 0);
    for wrong in [json!({"limit": 101}), json!({"limit": 0}), json!({"limit": -1}), json!({"offset": -1})] {
        assert_eq!(ask("1.0.5", wrong.clone()).code(), 460, "{wrong}");
    }
    // From 1.0.7 on, also by identity and filtered.
    assert_eq!(count("1.0.7", json!({"nodeType": "GATEWAY"})), 1);
    assert_eq!(count("1.0.7", json!({"isSubDevice": true})), 2);
    assert_eq!(count("1.0.7", json!({"isSubDevice": "false", "nodeType": "DEVICE"})), 3);
    assert_eq!(count("1.0.5", json!({"isSubDevice": true})), 6);
    let by_identity = |version: &str| app.call_version(BY_USER, version, json!({"identityId": "50owner"})).code();
    assert_eq!((by_identity("1.0.5"), by_identity("1.0.7"), by_identity("9.9.9")), (460, 200, 200));
}

#[test]
fn states_of_a_device() {
    let cloud = TestCloud::start();
    named(&cloud);
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [
        {"product_id": "EvolhYPyZNWYP001", "device_id": "virtual0000000000001", "owner": "guest@example.com",
         "virtual": true}]}]}));
    let app = cloud.aliyun();
    let state = || {
        let rows = app.data(BY_USER, json!({"identityId": "50guest"}))["data"].clone();
        let find = |row: &&Value| row["deviceName"] == "virtual0000000000001";
        let row = rows.as_array().unwrap().iter().find(find).unwrap();
        (row["status"].as_i64().unwrap(), row["thingType"].as_str().unwrap().to_owned())
    };
    cloud.wait(|| state().0 == 1);
    assert_eq!(state(), (1, "VIRTUAL".to_owned()));
    let disable = |disabled: bool| {
        cloud.apply(&json!({"projects": [{"name": "first", "devices": [
            {"product_id": "EvolhYPyZNWYP001", "device_id": "virtual0000000000001", "disabled": disabled}]}]}))
    };
    disable(true);
    assert_eq!(state().0, 8);
    disable(false);
    cloud.wait(|| state().0 == 1);
}

#[test]
fn what_owned_is_for_a_sharee_is_a_setting() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[("INGLE_ALIYUN_SHAREE_OWNED", "2")]);
    cloud.apply(&crate::support::world::standard());
    named(&cloud);
    let rows = cloud.aliyun().data(BY_USER, json!({"identityId": "50guest"}))["data"].clone();
    assert_eq!((&rows[0]["owned"], &rows[1]["owned"]), (&json!(2), &json!(1)));
}

fn unbind(app: &AliyunApp, open_id: &str, device: Value) -> (i64, Value) {
    let mut params = user(open_id);
    params.as_object_mut().unwrap().extend(device.as_object().unwrap().clone());
    let answer = app.call(UNBIND, params);
    (answer.code(), answer.body["data"].clone())
}

#[test]
fn unbind_device() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let holders =
        |iot_id: &str| app.data("/living/user/device/binding/query", json!({"iotId": iot_id}))["total"].clone();
    assert_eq!(holders("iotPlug"), 2);
    // A share goes alone.
    assert_eq!(unbind(&app, "guest", json!({"iotId": "iotPlug"})), (200, json!("")));
    assert_eq!(holders("iotPlug"), 1);
    assert_eq!(unbind(&app, "guest", json!({"iotId": "iotPlug"})).0, 2065, "a second time is said");
    // With the owner all shares go.
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [{"product_id": "EvolhYPyZNWYP001",
        "device_id": PLUG, "shared_with": ["guest@example.com"]}]}]}));
    assert_eq!(holders("iotPlug"), 2);
    let named = json!({"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"});
    assert_eq!(unbind(&app, "owner", named), (200, json!("")));
    assert_eq!(holders("iotPlug"), 0);
    let again = app.call(UNBIND, json!({"openId": "owner", "openIdAppKey": APP_KEY, "iotId": "iotPlug"}));
    assert_eq!((again.code(), again.body["message"].as_str()), (2065, Some("identityId and iotId not bound")));

    for (params, code) in [
        // The seed's own example is a slip of the pen: it names neither user nor device.
        (json!({"offset": 0, "count": 1}), 460),
        (json!({"openId": "owner", "openIdAppKey": APP_KEY}), 460),
        (json!({"openId": "owner", "iotId": "iotPlug"}), 460),
        (json!({"iotId": "iotPlug"}), 460),
        (json!({"identityId": "50owner", "productKey": "a1FNS8TYhpQ"}), 460),
        (json!({"openId": "nobody", "openIdAppKey": APP_KEY, "iotId": "iotPlug"}), 2407),
        (json!({"openId": "owner", "openIdAppKey": OTHER_APP_KEY, "iotId": "iotPlug"}), 28514),
        (json!({"identityId": "50nobody", "iotId": "iotPlug"}), 2062),
        (json!({"identityId": "50other", "iotId": "iotForeign"}), 2062),
        (json!({"identityId": "50owner", "iotId": "iotForeign"}), 2063),
        (json!({"identityId": "50owner", "iotId": "nothing"}), 2063),
        (json!({"identityId": "50owner", "productKey": "a1FNS8TYhpQ", "deviceName": "nothing"}), 2063),
        // The maker sees the device, but none of its users: nothing is unbound.
        (json!({"identityId": "50owner", "iotId": "iotElsewhere"}), 2065),
    ] {
        assert_eq!(app.code(UNBIND, params.clone()), code, "{params}");
    }
    let other = cloud.other_aliyun();
    assert_eq!(other.data(BY_USER, json!({"identityId": "50other"}))["data"].as_array().unwrap().len(), 2);
    assert_eq!(unbind_foreign(&other), (200, json!("")));
}

/// The owner's project may end a binding of its own user, of whatever product the device is.
fn unbind_foreign(other: &AliyunApp) -> (i64, Value) {
    let answer = other.call_version(UNBIND, "1.0.5", json!({"identityId": "50other", "iotId": "iotElsewhere"}));
    (answer.code(), answer.body["data"].clone())
}

/// More than is read at once: the first of them without pages, and all of them in pages.
#[test]
fn a_user_of_more_devices_than_one_answer_holds_reads_all_of_them_in_pages() {
    let cloud = TestCloud::start();
    named(&cloud);
    let device = |n: usize| json!({"product_id": "dumb000000000001", "device_id": format!("many{n:04}"), "device_name": format!("many{n:04}"), "owner": "guest@example.com"});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": (0..5010).map(device).collect::<Vec<Value>>()}]}));
    let app = cloud.aliyun();
    let names = |more: Value| -> Vec<String> {
        let mut params = json!({"identityId": "50guest"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let rows = app.data("/cloud/device/queryByUser", params)["data"].clone();
        let rows = rows.as_array().unwrap_or_else(|| panic!("{rows}"));
        rows.iter().map(|row| row["deviceName"].as_str().unwrap().to_owned()).collect()
    };
    let first = names(json!({}));
    assert_eq!(first.len(), 5000, "what fits");
    assert_eq!(names(json!({"offset": 4950, "limit": 50})), first[4950..]);
    // The guest's own speaker, and what is shared to the guest, too.
    let rest = names(json!({"offset": 4950, "limit": 100}));
    assert_eq!((rest.len(), &rest[..50]), (5012 - 4950, &first[4950..]));
    assert_eq!(names(json!({"offset": 5011, "limit": 10})), rest[61..]);
    assert!(names(json!({"offset": 5012, "limit": 10})).is_empty());
    assert!(names(json!({"offset": 4999, "limit": 10, "isSubDevice": true})).is_empty());
}
