//! Devices redeem tokens that the cloud made for a user (contract tuya §4.2, aliyun §6.8).

use std::time::Duration;

use serde_json::{Value, json};

use super::SECRET;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, linkkit, tuyalink};
use crate::support::people::{HOME, MEMBER, people};
use crate::support::tuya::TuyaApp;
use crate::support::world::{GUEST, LONELY, OWNER, PLUG};

/// Gives the device that nobody owns, and the plug, a secret to connect with.
fn with_secrets(cloud: &TestCloud) {
    let device = |product: &str, id: &str, name: &str| json!({"product_id": product, "device_id": id, "secret": SECRET, "device_name": name});
    let products = json!([{"product_id": "g0er6hSKgMqr0001", "product_key": "a1scale0001", "name": "Scales",
        "category": "qt", "functions": [{"code": "weight", "type": "Integer"}]}]);
    let devices = [device("g0er6hSKgMqr0001", LONELY, "lonely"), device("EvolhYPyZNWYP001", PLUG, "plug")];
    cloud.apply(&json!({"projects": [{"name": "first", "products": products, "devices": devices}]}));
}

fn token(app: &TuyaApp, body: Value) -> String {
    let made = app.post("/v1.0/devices/token", body)["result"].clone();
    made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// The code of the answer of TuyaLink.
fn bind(device: &mut MqttDevice, id: &str, token: &str) -> i64 {
    let message = json!({"msgId": "1", "sys": {"ack": 1}, "data": {"token": token}});
    device.asked(&format!("tylink/{id}/device/bind"), &message).1["code"].as_i64().unwrap()
}

/// The code of the answer of LinkKit.
fn enrollee_match(device: &mut MqttDevice, token: &str) -> i64 {
    let message =
        json!({"id": "1", "version": "1.0", "method": "thing.awss.enrollee.match", "params": {"token": token}});
    let (topic, answer) = device.asked("/sys/a1scale0001/lonely/thing/awss/enrollee/match", &message);
    assert_eq!(topic, "/sys/a1scale0001/lonely/thing/awss/enrollee/match_reply");
    answer["code"].as_i64().unwrap()
}

fn listening(cloud: &TestCloud, id: &str) -> MqttDevice {
    let mut device = MqttDevice::connect(cloud, &tuyalink(id, SECRET));
    assert_eq!(device.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
    device
}

fn activations(cloud: &TestCloud, app: &TuyaApp) -> usize {
    let end = cloud.now_ms() + 1000;
    let rows = app.get(&format!("/v1.0/devices/{LONELY}/logs?end_time={end}&size=100&start_time=0&type=3"));
    rows["result"]["logs"].as_array().unwrap_or_else(|| panic!("{rows}")).len()
}

#[test]
fn a_device_that_speaks_tuyalink_redeems_a_token() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    let people = people(&cloud);
    let app = cloud.first();
    let result = |app: &TuyaApp, token: &str| app.get(&format!("/v1.0/devices/tokens/{token}"))["result"].clone();
    let path = format!("/v1.0/devices/{LONELY}");
    let mut lonely = listening(&cloud, LONELY);
    assert_eq!(people.owner.get(&path)["code"], 1106, "nobody's yet");
    assert_eq!(bind(&mut lonely, LONELY, "nothing"), 1002);
    assert_eq!(bind(&mut lonely, LONELY, ""), 1002);
    let before = activations(&cloud, &app);

    let one = token(&people.owner, json!({}));
    assert_eq!(bind(&mut lonely, LONELY, &one), 0);
    let device = people.owner.get(&path)["result"].clone();
    assert_eq!(
        (&device["uid"], &device["owner_id"], &device["online"]),
        (&json!(OWNER), &json!("10700001"), &json!(true))
    );
    assert_eq!(people.member.get(&path)["result"]["id"], LONELY, "it stands in the home");
    assert!(device["active_time"].as_i64().unwrap() > 0);
    assert_eq!(activations(&cloud, &app), before + 1);
    let paired = result(&people.owner, &one)["successDevices"][0].clone();
    assert_eq!((&paired["id"], &paired["productId"]), (&json!(LONELY), &json!("g0er6hSKgMqr0001")));

    // Used, it does nothing more; and the session goes on.
    assert_eq!(bind(&mut lonely, LONELY, &one), 1002);
    assert_eq!(activations(&cloud, &app), before + 1);
    let report = json!({"msgId": "2", "data": {"weight": 7}});
    assert!(lonely.published(&format!("tylink/{LONELY}/thing/property/report"), &report));
    assert_eq!(people.owner.get(&path)["result"]["status"][0]["value"], 7);

    // A token of another user changes nothing, and its result shows who tried.
    let guests = token(&people.sharee, json!({}));
    let mut plug = listening(&cloud, PLUG);
    assert_eq!(bind(&mut plug, PLUG, &guests), 1002);
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["uid"], OWNER);
    let failed = result(&app, &guests)["errorDevices"][0].clone();
    assert_eq!((&failed["id"], &failed["code"]), (&json!(PLUG), &json!("1106")));
    assert_eq!(result(&app, &guests)["successDevices"], json!([]), "the token is still good");
}

#[test]
fn a_device_that_speaks_linkkit_redeems_a_token() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    let people = people(&cloud);
    let mut lonely = MqttDevice::connect(&cloud, &linkkit("a1scale0001", "lonely", SECRET, ",_ss=1"));
    assert_eq!(enrollee_match(&mut lonely, "nothing"), 401);
    // As region, token and secret in one, into a home that an admin may bring devices to.
    let body = json!({"asset_id": HOME.to_string(), "time_zone_id": "Asia/Shanghai", "pairing_type": "EZ"});
    let made = people.admin.post("/v1.0/iot-03/device-registration/token", body)["result"].clone();
    let text = |name: &str| made[name].as_str().unwrap();
    let wrong = format!("{}{}0000", text("region"), text("token"));
    assert_eq!(enrollee_match(&mut lonely, &wrong), 401, "another secret");
    let whole = format!("{}{}{}", text("region"), text("token"), text("secret"));
    assert_eq!(enrollee_match(&mut lonely, &whole), 200);
    assert_eq!(people.owner.get(&format!("/v1.0/devices/{LONELY}"))["result"]["owner_id"], HOME.to_string());
    let path = format!("/v1.0/iot-03/device-registration/tokens/{}", text("token"));
    let paired = people.admin.get(&path)["result"]["success_devices"][0].clone();
    assert_eq!(
        (&paired["device_id"], &paired["id"], &paired["category"]),
        (&json!(LONELY), &json!(LONELY), &json!("qt"))
    );
}

#[test]
fn an_expired_token_does_nothing_and_guessing_ends() {
    let cloud = TestCloud::at(1_763_800_000_000);
    with_secrets(&cloud);
    let late = token(&cloud.first(), json!({"uid": GUEST}));
    cloud.advance(Duration::from_secs(300));
    let mut lonely = listening(&cloud, LONELY);
    assert_eq!(bind(&mut lonely, LONELY, &late), 1002);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{LONELY}"))["result"]["uid"], "");
    for n in 1..16 {
        assert_eq!(bind(&mut lonely, LONELY, &format!("guess{n:07}")), 1002);
    }
    lonely.publish(&format!("tylink/{LONELY}/device/bind"), br#"{"msgId":"1","data":{"token":"x"}}"#);
    assert!(lonely.is_closed(), "whoever guesses is sent away");
}

#[test]
fn a_device_that_was_sold_shows_its_next_owner_nothing_of_the_one_before() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    let people = people(&cloud);
    let app = cloud.first();
    let path = format!("/v1.0/devices/{LONELY}");
    let mut lonely = listening(&cloud, LONELY);
    let firsts = token(&people.owner, json!({}));
    assert_eq!(bind(&mut lonely, LONELY, &firsts), 0);
    assert_eq!(people.owner.put(&path, json!({"name": "Attic"}))["result"], true);
    let name = json!({"function_code": "weight", "name": "Mine"});
    assert_eq!(people.owner.put(&format!("{path}/functions/weight"), name)["result"], true);
    assert_eq!(people.owner.post(&format!("{path}/shares"), json!({"uid": MEMBER}))["result"], true);
    let report = json!({"msgId": "2", "data": {"weight": 7}});
    assert!(lonely.published(&format!("tylink/{LONELY}/thing/property/report"), &report));
    assert_eq!(app.delete(&path)["result"], true);
    assert!(lonely.is_closed());
    let mut lonely = listening(&cloud, LONELY);
    assert_eq!(bind(&mut lonely, LONELY, &token(&people.sharee, json!({}))), 0);
    // The first token has no result any more either.
    let result = people.owner.get(&format!("/v1.0/devices/tokens/{firsts}"))["result"].clone();
    assert_eq!(result, json!({"successDevices": [], "errorDevices": []}));

    let device = people.sharee.get(&path)["result"].clone();
    assert_eq!((&device["uid"], &device["name"]), (&json!(GUEST), &json!("Scales")));
    assert_eq!(people.sharee.reported(LONELY), json!([]));
    assert_eq!(people.sharee.get(&format!("{path}/multiple-names"))["result"], json!([]));
    let logs =
        format!("{path}/logs?end_time={}&size=100&start_time=0&type=1,2,3,4,5,6,7,8,9,10", cloud.now_ms() + 1000);
    let rows = people.sharee.get(&logs)["result"]["logs"].clone();
    assert!(rows.as_array().unwrap().iter().all(|row| row["event_id"] != 7), "{rows}");
    assert_eq!(rows.as_array().unwrap().iter().filter(|row| row["event_id"] == 3).count(), 1, "{rows}");
    for user in [&people.owner, &people.member] {
        assert_eq!(user.get(&path)["code"], 1106);
    }

    // Whoever takes the own device back finds it as it was.
    assert_eq!(app.delete(&path)["result"], true);
    let mut lonely = listening(&cloud, LONELY);
    assert_eq!(bind(&mut lonely, LONELY, &token(&people.sharee, json!({}))), 0);
    let rows = people.sharee.get(&logs)["result"]["logs"].clone();
    assert_eq!(rows.as_array().unwrap().iter().filter(|row| row["event_id"] == 3).count(), 2, "{rows}");
}
