//! Binding devices and users (contract aliyun §5 rows 14–16).

use serde_json::{Value, json};

use super::devices::named;
use crate::support::TestCloud;
use crate::support::world::{APP_KEY, FIRST_PROJECT_ID, GUEST, HELD_ELSEWHERE, LONELY, PLUG, SECOND_PROJECT_ID};

const BIND: &str = "/living/cloud/user/binding/device/batch/bind";
const UNBIND: &str = "/living/cloud/user/binding/device/unbind";
const QUERY: &str = "/living/user/device/binding/query";

/// The key of the scale's product, and with it the names of devices.
fn keyed(cloud: &TestCloud) {
    named(cloud);
    cloud.apply(&json!({"projects": [{"name": "first", "products": [{"product_id": "g0er6hSKgMqr0001",
        "product_key": "a1scale0001", "name": "Wifi scales_OEM", "category": "qt"}]}]}));
}

fn device(key: &str, name: &str) -> Value {
    json!({"productKey": key, "deviceName": name})
}

#[test]
fn batch_bind() {
    let cloud = TestCloud::start();
    keyed(&cloud);
    let (app, tuya) = (cloud.aliyun(), cloud.first());
    let list = json!([
        device("a1scale0001", LONELY),
        device("a1FNS8TYhpQ", "VD_plug"),
        device("a1scale0001", "nothing"),
        device("nothing", LONELY),
        device("a1scale0001", HELD_ELSEWHERE)
    ]);
    let bind = |list: &Value| {
        let params =
            json!({"openId": "guest", "openIdAppKey": APP_KEY, "projectId": FIRST_PROJECT_ID, "deviceList": list});
        app.data(BIND, params)
    };
    let codes = |rows: &Value| -> Vec<i64> {
        rows.as_array().unwrap().iter().map(|row| row["bindCode"].as_i64().unwrap()).collect()
    };
    let rows = bind(&list);
    // Bound; the owner's already; no such device, twice; another tenant's user has it.
    assert_eq!(codes(&rows), [0, 1, 7, 7, 1]);
    assert_eq!((&rows[0]["deviceName"], &rows[1]["iotId"]), (&json!(LONELY), &json!("iotPlug")));
    assert!(rows[2].get("iotId").is_none(), "{rows}");
    assert_eq!(codes(&bind(&list)), [0, 1, 7, 7, 1], "the same again");
    let lonely = tuya.get(&format!("/v1.0/devices/{LONELY}"))["result"].clone();
    assert_eq!((&lonely["uid"], &lonely["owner_id"]), (&json!(GUEST), &json!("11600001")), "in the guest's first home");

    let many: Vec<Value> = (0..21).map(|n| device("a1scale0001", &n.to_string())).collect();
    for (params, code) in [
        (json!({"identityId": "50guest", "deviceList": []}), 460),
        (json!({"identityId": "50guest"}), 460),
        (json!({"identityId": "50guest", "deviceList": many}), 460),
        (json!({"identityId": "50guest", "deviceList": [{"productKey": "a1scale0001"}]}), 460),
        (json!({"deviceList": [device("a1scale0001", LONELY)]}), 460),
        (json!({"identityId": "50other", "deviceList": [device("a1scale0001", LONELY)]}), 2062),
        (
            json!({"identityId": "50guest", "projectId": SECOND_PROJECT_ID, "deviceList": [device("a1scale0001", LONELY)]}),
            28514,
        ),
    ] {
        assert_eq!(app.code(BIND, params.clone()), code, "{params}");
    }
    assert_eq!(
        app.call(BIND, json!({"identityId": "50guest", "deviceList": []})).body["message"],
        "batch device amount invalid"
    );
    // Another tenant cannot bind what it does not see, nor learn that it is there.
    let other = cloud.other_aliyun();
    let rows = other.data(BIND, json!({"identityId": "50other", "deviceList": [device("a1FNS8TYhpQ", "VD_plug")]}));
    assert_eq!((codes(&rows), rows[0].get("iotId")), (vec![7], None));
}

#[test]
fn a_removed_device_can_be_bound_again() {
    let cloud = TestCloud::start();
    keyed(&cloud);
    let (app, tuya) = (cloud.aliyun(), cloud.first());
    assert_eq!(tuya.delete(&format!("/v1.0/devices/{PLUG}"))["result"], true);
    assert_eq!(app.code("/cloud/thing/status/get", json!({"iotId": "iotPlug"})), 2063);
    let rows = app.data(BIND, json!({"identityId": "50guest", "deviceList": [device("a1FNS8TYhpQ", "VD_plug")]}));
    assert_eq!(rows[0]["bindCode"], 0);
    assert_eq!(tuya.get(&format!("/v1.0/devices/{PLUG}"))["result"]["uid"], GUEST);
}

#[test]
fn unbind_everybody() {
    let cloud = TestCloud::start();
    keyed(&cloud);
    let (app, tuya) = (cloud.aliyun(), cloud.first());
    assert_eq!(app.data(UNBIND, device("a1FNS8TYhpQ", "VD_plug")), "");
    assert_eq!(app.data(QUERY, json!({"iotId": "iotPlug"}))["total"], 0);
    assert_eq!(tuya.get(&format!("/v1.0/devices/{PLUG}"))["result"]["uid"], "");
    assert_eq!(app.code(UNBIND, json!({"iotId": "iotPlug"})), 2065);
    for (params, code) in [
        (json!({}), 460),
        (json!({"iotId": "nothing"}), 2063),
        (json!({"iotId": "iotForeign"}), 2063),
        // Its maker does not decide over a foreign home.
        (json!({"iotId": "iotElsewhere"}), 2063),
    ] {
        assert_eq!(app.code(UNBIND, params.clone()), code, "{params}");
    }
    assert_eq!(cloud.other_aliyun().data(UNBIND, json!({"iotId": "iotElsewhere"})), "");
}

#[test]
fn query_bindings() {
    let cloud = TestCloud::start();
    keyed(&cloud);
    let app = cloud.aliyun();
    let data = app.data(QUERY, json!({"iotId": "iotPlug", "pageNo": 1, "pageSize": 10}));
    assert_eq!(data["total"], 2);
    let owner = &data["accountDevList"][0];
    for (member, value) in [
        ("iotId", "iotPlug"),
        ("productKey", "a1FNS8TYhpQ"),
        ("deviceName", "VD_plug"),
        ("productName", "Wi-Fi 智能计量插座"),
        ("nickName", "xxx测试"),
        ("identityId", "50owner"),
    ] {
        assert_eq!(owner[member], value, "{member}");
    }
    let owned = |row: &Value| row["owned"].as_i64().unwrap();
    assert_eq!((owned(owner), owned(&data["accountDevList"][1])), (1, 0));
    let second = app.data(QUERY, json!({"iotId": "iotPlug", "pageNo": "2", "pageSize": "1"}));
    assert_eq!(second["accountDevList"][0]["identityId"], "50guest");
    assert_eq!(app.data(QUERY, json!({"iotId": "iotPlug", "pageNo": 3, "pageSize": 1}))["accountDevList"], json!([]));
    // The maker does not learn which user of the other project has it.
    assert_eq!(app.data(QUERY, json!({"iotId": "iotElsewhere"})), json!({"total": 0, "accountDevList": []}));
    for (params, code) in [
        (json!({}), 460),
        (json!({"iotId": "iotPlug", "pageNo": 0}), 460),
        (json!({"iotId": "iotPlug", "pageSize": 0}), 460),
        (json!({"iotId": "iotPlug", "pageSize": 101}), 460),
        (json!({"iotId": "iotForeign"}), 2063),
    ] {
        assert_eq!(app.code(QUERY, params.clone()), code, "{params}");
    }
}

/// A device of the second project that is shared to the first project's guest, as older versions allowed a document
/// to do.
pub fn shared_from_elsewhere(cloud: &TestCloud) {
    let database = rusqlite::Connection::open(cloud.folder.join("registry.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    let sql = "INSERT INTO binding (device_no, user_no, project_no, app_no, owned, is_foreign, created_ms)
               SELECT d.device_no, u.user_no, u.project_no, u.app_no, 0, 1, 1 FROM device d, app_user u
               WHERE d.device_id = 'foreign0000000000001' AND u.username = 'guest@example.com'";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    // What the server remembers is forgotten at its own next write.
    cloud.apply(&json!({"projects": [{"name": "second",
        "products": [{"product_id": "foreign000000001", "product_key": "a1lamp", "name": "Lamp", "category": "dj"}],
        "devices": [{"product_id": "foreign000000001", "device_id": "foreign0000000000001", "iot_id": "iotForeign"}]}]}));
}

#[test]
fn a_share_gives_no_right_over_the_owner() {
    let cloud = TestCloud::start();
    keyed(&cloud);
    shared_from_elsewhere(&cloud);
    let (first, second) = (cloud.aliyun(), cloud.other_aliyun());
    let owns = || {
        let rows = second.data("/cloud/device/queryByUser", json!({"identityId": "50other"}))["data"].clone();
        rows.as_array().unwrap().iter().any(|row| row["iotId"] == "iotForeign")
    };
    let sees = || first.call_version("/cloud/thing/status/get", "1.0.2", json!({"iotId": "iotForeign"})).code() == 200;
    assert!(owns() && sees());
    // Neither by the other dialect's removal nor by its reset.
    let tuya = cloud.first();
    assert_eq!(tuya.delete("/v1.0/devices/foreign0000000000001")["code"], 1106);
    assert_eq!(tuya.put("/v1.0/devices/foreign0000000000001/reset-factory", json!({}))["code"], 1106);
    assert!(owns() && sees());
    // Unbound from everybody, it leaves the caller's own users alone.
    assert_eq!(first.data(UNBIND, json!({"iotId": "iotForeign"})), "");
    assert!(owns() && !sees());
    assert_eq!(second.data(QUERY, json!({"iotId": "iotForeign"}))["total"], 1);
}

#[test]
fn a_device_that_nobody_has_stays_where_it_stands() {
    let cloud = TestCloud::start();
    keyed(&cloud);
    let (app, tuya) = (cloud.aliyun(), cloud.first());
    let lonely = json!({"product_id": "g0er6hSKgMqr0001", "device_id": LONELY, "iot_id": "iotLonely",
        "home_id": 10_700_001});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [lonely]}]}));
    let at_home = |user: &str| {
        let devices = tuya.get(&format!("/v1.0/users/{user}/devices"))["result"].clone();
        devices.as_array().unwrap().iter().any(|device| device["id"] == LONELY)
    };
    assert!(at_home(crate::support::world::OWNER));
    assert_eq!(app.code(UNBIND, json!({"iotId": "iotLonely"})), 2065);
    assert!(at_home(crate::support::world::OWNER), "nothing happened");
    // Its new owner takes it home.
    let list = json!([device("a1scale0001", LONELY)]);
    assert_eq!(app.data(BIND, json!({"identityId": "50guest", "deviceList": list}))[0]["bindCode"], 0);
    assert!(at_home(GUEST) && !at_home(crate::support::world::OWNER));
}
