//! Data on a device that its owner has given up, and the devices of others beside it.

use serde_json::{Value, json};

use super::documents::{PLUGS, documented, lived_with, past};
use super::people::ask;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink, with_gateway, with_secrets};
use crate::support::world::PLUG;

/// A cloud in which the owner of the plug has stored data and then given the plug up.
fn given_up() -> TestCloud {
    let cloud = lived_with();
    crate::aliyun::devices::named(&cloud);
    cloud.aliyun().data("/cloud/user/device/unbind", json!({"identityId": "50owner", "iotId": "iotPlug"}));
    cloud
}

#[test]
fn what_a_removed_user_gave_up_before_is_as_after_a_reset() {
    let cloud = given_up();
    cloud.aliyun().data("/user/account/unregister", json!({"identityId": "50owner"}));
    assert_eq!(past(&cloud.first()), [0; 4]);
    let plug = cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
    assert_eq!((&plug["name"], &plug["ip"]), (&plug["product_name"], &json!("")), "{plug}");
}

#[test]
fn a_document_neither_shares_nor_places_what_somebody_left() {
    let cloud = given_up();
    for (member, value) in [("shared_with", json!(["guest@example.com"])), ("home_id", json!(10_700_001))] {
        let mut device = json!({"product_id": PLUGS, "device_id": PLUG});
        device[member] = value;
        let refusal = cloud.ingle(&["apply", "-"], &documented("first", json!([device.clone()])).to_string());
        let refusal = refusal.unwrap_err();
        assert!(
            refusal.contains("devices[0]") && refusal.contains(&format!("{member}: the device has no owner")),
            "{refusal}"
        );
    }
    let owned = json!({"product_id": PLUGS, "device_id": PLUG, "owner": "guest@example.com", "shared_with": []});
    cloud.apply(&documented("first", json!([owned])));
    assert_eq!(past(&cloud.first()), [0; 4]);
}

#[test]
fn a_gateway_that_gets_an_owner_lets_go_of_what_others_own_behind_it() {
    let cloud = TestCloud::start();
    with_gateway(&cloud);
    let app = cloud.first();
    let gateway = |id: &str| app.get(&format!("/v1.0/devices/{id}"))["result"]["gateway_id"].clone();
    // A gateway without an owner, with one sub-device that has an owner and one that has none.
    cloud.apply(&documented(
        "first",
        json!([{"product_id": "gates00000000001", "device_id": "gate7", "secret": "secret-of-gate7"},
            {"product_id": "sensors000000001", "device_id": "temp7", "gateway": "gate7", "owner": "guest@example.com"},
            {"product_id": "sensors000000001", "device_id": "temp8", "gateway": "gate7"}]),
    ));
    let login = || {
        let mut gate = MqttDevice::connect(&cloud, &tuyalink("gate7", "secret-of-gate7"));
        assert_eq!(gate.subscribe(&["tylink/gate7/channel/downlink/auto_subscribe"]), [true]);
        ask(&mut gate, "gate7", "device/sub/login", &json!(["temp7"])).0
    };
    assert_eq!((gateway("temp7"), gateway("temp8"), login()), (json!("gate7"), json!("gate7"), 0));
    let owned = json!([{"product_id": "gates00000000001", "device_id": "gate7", "owner": "18200000678"}]);
    cloud.apply(&documented("first", owned));
    assert_eq!((gateway("temp7"), gateway("temp8")), (Value::Null, json!("gate7")));
    assert_eq!(login(), 1004, "without proof");
}

#[test]
fn desired_values_and_foreign_gateways_end_with_the_home_that_a_device_leaves() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    let app = cloud.first();
    let setpoint = json!({"properties": {"cur_power": 5}, "duration": 3600, "type": 0});
    let desired_values = |cloud: &TestCloud| {
        let mut plug = MqttDevice::connect(cloud, &tuyalink(PLUG, crate::gateway::SECRET));
        assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
        ask(&mut plug, PLUG, "thing/property/desired/get", &Value::Null).1["properties"].clone()
    };
    let desired = format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired");
    assert_eq!(app.post(&desired, setpoint)["success"], true);
    assert_eq!(desired_values(&cloud)["cur_power"]["value"], 5);
    let mut document = documented("first", json!([{"product_id": PLUGS, "device_id": PLUG, "home_id": 10_700_009}]));
    document["projects"][0]["homes"] = json!([{"home_id": 10_700_009, "name": "Cabin", "owner": "18200000678"}]);
    cloud.apply(&document);
    assert_eq!(desired_values(&cloud), json!({}));
}
