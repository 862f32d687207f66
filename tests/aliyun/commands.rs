//! Commands (contract aliyun §5 rows 3, 4). `tests/gateway/commands.rs` follows them to the devices.

use serde_json::json;

use super::devices::named;
use super::things::refuses_other_devices;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::world::PLUG;

#[test]
fn set_properties() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/thing/properties/set";
    let there = |items| json!({"iotId": "iotPlug", "items": items});
    let answer = app.call(path, there(json!({"switch_1": 1})));
    assert_eq!((answer.status, answer.code(), answer.body["message"].as_str()), (200, 6205, Some("device offline")));
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, "5c1e2d3f4a5b6c7d"));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/property/set")]), [true]);
    assert_eq!(app.data(path, there(json!({"switch_1": 1, "mode": 1}))), json!({}));
    for items in [
        json!({}),
        json!([]),
        json!(null),
        json!({"switch_1": 2}),
        json!({"mode": 2}),
        json!({"mode": -1}),
        json!({"unknown": 1}),
        json!({"cur_power": "x".repeat(20_000)}),
    ] {
        assert_eq!(app.code(path, there(items.clone())), 460, "{items:.80}");
    }
    refuses_other_devices(&cloud, path, json!({"items": {"switch_1": 1}}));
}

#[test]
fn invoke_service() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/thing/service/invoke";
    let answer = app.call(path, json!({"iotId": "iotPlug", "identifier": "set", "args": {"switch_1": 1}}));
    assert_eq!((answer.status, answer.code(), answer.body["message"].as_str()), (200, 6205, Some("device offline")));
    assert_eq!(app.code(path, json!({"iotId": "iotPlug", "identifier": "reboot"})), 6205);
    for bad in [
        json!({"args": {}}),
        json!({"identifier": "reboot", "args": 7}),
        json!({"identifier": "reboot", "args": "{}"}),
        json!({"identifier": "a/b", "args": {}}),
        json!({"identifier": "+", "args": {}}),
        json!({"identifier": "x".repeat(65), "args": {}}),
        json!({"identifier": "reboot", "args": {"long": "x".repeat(20_000)}}),
    ] {
        let mut params = json!({"iotId": "iotPlug"});
        params.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert_eq!(app.code(path, params), 460, "{bad:.80}");
    }
    // Another project's device of a product of one's own is none of one's business.
    assert_eq!(app.code(path, json!({"iotId": "iotElsewhere", "identifier": "reboot", "args": {}})), 2063);
    refuses_other_devices(&cloud, path, json!({"identifier": "reboot", "args": {}}));
}
