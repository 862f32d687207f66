//! Changes of owner by a world document, by a changed secret and by the removal of several devices.

use std::time::Duration;

use serde_json::{Value, json};

use super::people::ask;
use crate::aliyun::bindings::shared_from_elsewhere;
use crate::support::TestCloud;
use crate::support::http::{Request, send};
use crate::support::mqtt::{MqttDevice, tuyalink, with_gateway};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN, FOREIGN_USER, GUEST, HELD_ELSEWHERE, LEAK, LONELY, OWNER, PLUG, SCALE};

const NOW: i64 = 1_763_800_000_000;
const HOUR_MS: i64 = 3_600_000;
const HOUR: Duration = Duration::from_secs(3600);
pub const PLUGS: &str = "EvolhYPyZNWYP001";

pub fn documented(project: &str, devices: Value) -> Value {
    json!({"projects": [{"name": project, "devices": devices}]})
}

/// The number of values, rows, names and device users that the API shows for the plug.
pub fn past(app: &TuyaApp) -> [usize; 4] {
    let path = format!("/v1.0/devices/{PLUG}");
    let logs = format!("{path}/logs?end_time={}&size=100&start_time=0&type=7", NOW + 24 * HOUR_MS);
    let count = |value: &Value| value.as_array().unwrap_or_else(|| panic!("{value}")).len();
    [
        count(&app.reported(PLUG)),
        count(&app.get(&logs)["result"]["logs"]),
        count(&app.get(&format!("{path}/multiple-names"))["result"]),
        count(&app.get(&format!("{path}/users"))["result"]),
    ]
}

/// A cloud in which the plug's owner has stored values, rows, names and device users.
pub fn lived_with() -> TestCloud {
    let cloud = TestCloud::at(NOW);
    let app = cloud.first();
    let path = format!("/v1.0/devices/{PLUG}");
    cloud.import(&[(PLUG, NOW - 1000, 7, 1, "switch_1", json!(true))]);
    // The clock was one hour ahead.
    cloud.advance(HOUR);
    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "cur_power", json!(12))]);
    cloud.set_back(HOUR);
    assert_eq!(app.put(&format!("{path}/functions/switch_1"), json!({"name": "Night light"}))["result"], true);
    let anna = json!({"nick_name": "Anna", "sex": 2, "contact": "+4917012345"});
    assert_eq!(app.post(&format!("{path}/user"), anna)["success"], true);
    assert_eq!(past(&app), [2, 2, 1, 1]);
    cloud
}

#[test]
fn a_value_ahead_of_the_clock_does_not_show_to_the_next_owner() {
    let cloud = lived_with();
    let app = cloud.aliyun();
    crate::aliyun::devices::named(&cloud);
    app.data("/cloud/user/device/unbind", json!({"identityId": "50owner", "iotId": "iotPlug"}));
    let list = json!([{"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"}]);
    app.data("/living/cloud/user/binding/device/batch/bind", json!({"identityId": "50guest", "deviceList": list}));
    assert_eq!(past(&cloud.first()), [0; 4]);
    assert_eq!(app.data("/cloud/thing/properties/get", json!({"iotId": "iotPlug"})), json!([]));
    // The old rows stay hidden after the clock has passed their time, and new reports are visible.
    cloud.advance(2 * HOUR);
    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "cur_power", json!(13))]);
    assert_eq!(cloud.first().reported(PLUG), json!([{"code": "cur_power", "value": 13}]));
}

#[test]
fn a_document_that_changes_an_owner_hands_over_as_a_binding_does() {
    for (project, owner, uid) in [("first", "guest@example.com", GUEST), ("second", "other@example.com", FOREIGN_USER)]
    {
        let cloud = lived_with();
        let app = [cloud.first(), cloud.second()].into_iter().nth(usize::from(project == "second")).unwrap();
        let device = json!({"product_id": PLUGS, "device_id": PLUG, "owner": owner, "name": "Given", "lat": "1.5"});
        let document = documented(project, json!([device]));
        let applied = cloud.apply(&document);
        assert_eq!(past(&app), [0; 4], "{project}");
        let plug = app.get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
        // The new owner sees the members of the document.
        assert_eq!((&plug["uid"], &plug["name"], &plug["lat"]), (&json!(uid), &json!("Given"), &json!("1.5")));
        assert_eq!((&plug["ip"], &plug["time_zone"]), (&json!(""), &json!("+00:00")), "{plug}");
        // The same document changes nothing, neither as it was sent nor filled in.
        cloud.advance(HOUR + Duration::from_secs(10));
        cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "cur_power", json!(13))]);
        cloud.set_back(HOUR + Duration::from_secs(10));
        for again in [&document, &applied] {
            assert_eq!(cloud.apply(again)["projects"][0]["devices"], applied["projects"][0]["devices"]);
            assert_eq!(past(&app), [1, 1, 0, 0], "{project}");
        }
    }
}

#[test]
fn what_there_is_goes_with_a_device_when_the_operator_says_so() {
    for (project, owner) in [("first", "guest@example.com"), ("second", "other@example.com")] {
        let cloud = lived_with();
        let app = [cloud.first(), cloud.second()].into_iter().nth(usize::from(project == "second")).unwrap();
        let device = json!({"product_id": PLUGS, "device_id": PLUG, "owner": owner, "keep_history": true});
        let applied = cloud.apply(&documented(project, json!([device])));
        assert_eq!(past(&app), [2, 2, 1, 1], "{project}");
        // The previous owner loses it even so.
        let owners = cloud.first().get(&format!("/v1.0/users/{OWNER}/devices")).to_string();
        assert!(!owners.contains(PLUG), "{owners}");
        cloud.apply(&applied);
        assert_eq!(past(&app), [2, 2, 1, 1], "{project}");
    }
    let cloud = TestCloud::at(NOW);
    let ownerless = documented("first", json!([{"product_id": PLUGS, "device_id": PLUG, "keep_history": true}]));
    let refusal = cloud.ingle(&["apply", "-"], &ownerless.to_string()).unwrap_err();
    assert!(refusal.contains(PLUG) && refusal.contains("keep_history"), "{refusal}");
}

#[test]
fn a_changed_secret_ends_gateway_session_and_desired_values() {
    let cloud = TestCloud::start();
    with_gateway(&cloud);
    let listening = |id: &str, secret: &str| {
        let mut device = MqttDevice::connect(&cloud, &tuyalink(id, secret));
        assert_eq!(device.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
        device
    };
    let mut gate = listening("gate1", "secret-of-gate1");
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1"])).0, 0);
    let app = cloud.first();
    let setpoint = json!({"properties": {"temp": 5}, "duration": 3600, "type": 0});
    assert_eq!(app.post("/v2.0/cloud/thing/temp1/shadow/properties/desired", setpoint)["success"], true);
    let same = json!([{"product_id": "sensors000000001", "device_id": "temp1", "secret": "secret-of-temp1"}]);
    cloud.apply(&documented("first", same));
    assert_eq!(ask(&mut gate, "temp1", "thing/property/report", &json!({"temp": 1})).0, 0, "the same secret");

    let other = json!([{"product_id": "sensors000000001", "device_id": "temp1", "secret": "another-secret-1"}]);
    cloud.apply(&documented("first", other));
    assert_eq!(ask(&mut gate, "temp1", "thing/property/report", &json!({"temp": 2})).0, 1004);
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1"])).0, 1004, "without proof");
    let command = json!({"commands": [{"code": "temp", "value": 1}]});
    assert_eq!(app.post("/v1.0/devices/temp1/commands", command)["code"], 2001, "nobody to send it to");
    assert_eq!(app.get("/v1.0/devices/temp1")["result"]["status"][0]["value"], 1, "what was reported before");
    let mut temp = listening("temp1", "another-secret-1");
    let desired_values = ask(&mut temp, "temp1", "thing/property/desired/get", &Value::Null).1;
    assert_eq!(desired_values, json!({"properties": {}}));
    // It can be attached to the gateway again with proof of the new secret, or by a document.
    let there = json!([{"product_id": "sensors000000001", "device_id": "temp1", "secret": "another-secret-2",
        "gateway": "gate1"}]);
    cloud.apply(&documented("first", there));
    assert_eq!(ask(&mut gate, "gate1", "device/sub/login", &json!(["temp1"])).0, 0);
}

#[test]
fn a_document_names_only_what_its_project_has() {
    let cloud = TestCloud::start();
    with_gateway(&cloud);
    let lamp = |more: &Value| {
        let mut device = json!({"product_id": "foreign000000001", "device_id": FOREIGN});
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        device
    };
    let held_elsewhere = |more: &Value| {
        let mut device = json!({"product_id": "g0er6hSKgMqr0001", "device_id": HELD_ELSEWHERE});
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        device
    };
    let other_gate = json!({"product_id": "gates00000000001", "device_id": "gate9", "owner": "other@example.com"});
    cloud.apply(&documented("second", json!([other_gate])));
    let before = cloud.apply(&documented("second", json!([lamp(&json!({})), held_elsewhere(&json!({}))])));
    let shared = json!({"shared_with": ["guest@example.com"]});
    let sub = json!({"product_id": "sensors000000001", "device_id": "temp3", "gateway": "gate9"});
    for (device, words) in [
        // The product and the device belong to another project.
        (lamp(&json!({})), "another project's"),
        (lamp(&shared), "another project's"),
        (lamp(&json!({"home_id": 10_700_001})), "another project's"),
        (lamp(&json!({"gateway": "gate1"})), "another project's"),
        (lamp(&json!({"name": "Mine", "local_key": "0123456789abcdef"})), "another project's"),
        // A device of the project's own product that is held elsewhere.
        (held_elsewhere(&shared), "shared_with"),
        (held_elsewhere(&json!({"home_id": 10_700_001})), "home_id"),
        (held_elsewhere(&json!({"gateway": "gate1"})), "gateway"),
        (held_elsewhere(&json!({"name": "Mine"})), "name"),
        (held_elsewhere(&json!({"lat": "1.5"})), "lat"),
        (held_elsewhere(&json!({"disabled": true})), "disabled"),
        // The project's own device with a gateway or a home of another project.
        (sub, "gateway"),
        (json!({"product_id": PLUGS, "device_id": PLUG, "home_id": 999}), "home_id"),
        (json!({"product_id": "foreign000000001", "device_id": "new-lamp"}), "owner"),
    ] {
        let document =
            documented("first", json!([{"product_id": "g0er6hSKgMqr0001", "device_id": SCALE, "name": "x"}, device]));
        let refusal = cloud.ingle(&["apply", "-"], &document.to_string()).unwrap_err();
        assert!(refusal.contains("projects[0] \"first\": devices[1]"), "the place: {refusal}");
        assert!(refusal.contains(words), "{device}: {refusal}");
    }
    // Nothing was changed, and the first project's users have no access.
    assert_eq!(cloud.apply(&documented("second", json!([lamp(&json!({})), held_elsewhere(&json!({}))]))), before);
    let app = cloud.first();
    assert_ne!(app.get(&format!("/v1.0/devices/{SCALE}"))["result"]["name"], "x");
    assert_eq!(app.get(&format!("/v1.0/devices/{FOREIGN}"))["code"], 1106);
    // The maker may describe what the factory knows, also of a device that is held elsewhere, and may repeat it.
    let factory = json!({"sn": "SN-9", "name": "Elsewhere", "secret": "a-new-secret-0001"});
    cloud.apply(&documented("first", json!([held_elsewhere(&factory)])));
    // The filled-in document contains no data of the owner's home.
    let received = cloud.apply(&documented("first", json!([held_elsewhere(&json!({}))])));
    let received = &received["projects"][0]["devices"][0];
    assert_eq!(
        (&received["sn"], received.get("name"), received.get("local_key")),
        (&json!("SN-9"), None, None),
        "{received}"
    );
    assert_eq!(cloud.second().get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"]["uid"], FOREIGN_USER);
}

#[test]
fn a_device_that_a_user_of_another_project_gives_up_shows_its_maker_no_more_than_before() {
    let cloud = TestCloud::start();
    crate::aliyun::devices::named(&cloud);
    let place = json!([{"product_id": "g0er6hSKgMqr0001", "device_id": HELD_ELSEWHERE, "local_key": "key-of-a-home-01",
        "lat": "48.13719", "ip": "10.11.12.13"}]);
    cloud.apply(&documented("second", place));
    let second = cloud.second();
    let path = format!("/v1.0/devices/{HELD_ELSEWHERE}");
    assert_eq!(second.post(&format!("{path}/user"), json!({"nick_name": "Anna", "sex": 2}))["success"], true);
    assert!(second.get(&path).to_string().contains("key-of-a-home-01"));
    cloud.other_aliyun().data("/living/cloud/user/binding/device/unbind", json!({"iotId": "iotElsewhere"}));
    let maker = cloud.first();
    let seen = maker.get(&path).to_string();
    assert!(seen.contains(HELD_ELSEWHERE), "{seen}");
    for text in ["key-of-a-home-01", "48.13719", "10.11.12.13"] {
        assert!(!seen.contains(text), "{text}: {seen}");
    }
    assert_eq!(maker.get(&format!("{path}/users"))["code"], 1106);
    assert_eq!(second.get(&path)["code"], 1106, "nor is it the second project's any more");
}

#[test]
fn several_devices_are_removed_together_or_not_at_all() {
    let cloud = TestCloud::start();
    with_gateway(&cloud);
    shared_from_elsewhere(&cloud);
    let app = cloud.first();
    let is_there = |id: &str| app.get(&format!("/v1.0/devices/{id}"))["success"].clone();
    let remove = |ids: &[&str]| app.delete(&format!("/v1.0/iot-03/devices?device_ids={}", ids.join(",")));
    // A device that is only shared with a user, one that is not visible, and one that does not exist.
    assert_eq!(is_there(FOREIGN), true);
    for stranger in [FOREIGN, "other1", "nobody"] {
        for ids in [[PLUG, SCALE, stranger], [stranger, PLUG, SCALE], [PLUG, stranger, SCALE]] {
            assert_eq!(remove(&ids)["code"], 1106, "{ids:?}");
            assert_eq!((is_there(PLUG), is_there(SCALE)), (json!(true), json!(true)), "{ids:?}");
        }
    }
    let shared = app.get(&format!("/v1.0/users/{GUEST}/devices?from=sharing")).to_string();
    assert!(shared.contains(PLUG), "nor was a share ended: {shared}");
    let many: Vec<String> = (0..21).map(|n| format!("n{n}")).collect();
    assert_eq!(remove(&many.iter().map(String::as_str).collect::<Vec<_>>())["code"], 1101);
    assert_eq!(remove(&[PLUG, SCALE, LEAK, LONELY])["result"], true);
    for id in [PLUG, SCALE, LEAK, LONELY] {
        assert_eq!(is_there(id), false, "{id}");
    }
    // The same holds for a device that its gateway removes.
    let mut gate = MqttDevice::connect(&cloud, &tuyalink("gate1", "secret-of-gate1"));
    assert_eq!(gate.subscribe(&["tylink/gate1/channel/downlink/auto_subscribe"]), [true]);
    assert_eq!(ask(&mut gate, "gate1", "device/topo/delete", &json!(["temp1", "temp3"])).0, 1004);
    let behind = ask(&mut gate, "gate1", "device/topo/get", &Value::Null).1;
    assert_eq!(behind.as_array().unwrap().len(), 2, "{behind}");
    assert_eq!(ask(&mut gate, "gate1", "device/topo/delete", &json!(["temp1", "temp2"])).0, 0);
}

#[test]
fn what_a_removed_user_had_is_as_after_a_reset() {
    let cloud = lived_with();
    crate::aliyun::devices::named(&cloud);
    cloud.aliyun().data("/user/account/unregister", json!({"identityId": "50owner"}));
    // The user no longer exists, so even the project does not see this data.
    assert_eq!(past(&cloud.first()), [0; 4]);
    let plug = cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
    assert_eq!((&plug["name"], &plug["ip"], &plug["uid"]), (&plug["product_name"], &json!(""), &json!("")), "{plug}");
}

#[test]
fn a_visual_token_is_dead_once_its_device_was_given_up_however_soon_it_comes_back() {
    let cloud = TestCloud::at(NOW);
    crate::aliyun::devices::named(&cloud);
    let password = json!([{"schema": "testApp", "username": "18200000678", "password": "owner's"}]);
    cloud.apply(&json!({"projects": [{"name": "first", "users": password}]}));
    let device = json!({"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"});
    let token = || crate::visual::login::tokens(&cloud, "18200000678", "owner's", json!([device])).remove(0);
    let opens = |token: &str| {
        let request = Request::new("GET", "/v1.0/visual/devices/a1FNS8TYhpQ/VD_plug");
        send(cloud.api, &request.with("Authorization", &format!("Bearer {token}"))).status
    };
    let before = token();
    assert_eq!(opens(&before), 200);
    let app = cloud.aliyun();
    app.data("/cloud/user/device/unbind", json!({"identityId": "50owner", "iotId": "iotPlug"}));
    app.data("/living/cloud/user/binding/device/batch/bind", json!({"identityId": "50owner", "deviceList": [device]}));
    // This is in the same millisecond and for the same owner.
    assert_eq!((opens(&before), opens(&token())), (401, 200));
}
