//! Tokens that devices redeem (contract tuya §4.2). Devices that do are in `gateway::pairing`.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::people::{HOME, MEMBER, people};
use crate::support::world::{FOREIGN_USER, GUEST, OWNER};

/// What each way of asking for a token has in common.
fn tokens(path: &str) {
    let cloud = TestCloud::start();
    let made = cloud.first().post(path, json!({"uid": OWNER, "timeZoneId": "Asia/Shanghai"}))["result"].clone();
    assert_eq!((&made["expire_time"], &made["region"]), (&json!(300), &json!("AY")));
    assert_eq!((made["token"].as_str().unwrap().len(), made["secret"].as_str().unwrap().len()), (12, 4));
    let people = people(&cloud);
    for (app, body, code) in [
        (&cloud.first(), json!({}), 1100),
        (&cloud.first(), json!({"uid": "nobody"}), 1106),
        (&cloud.first(), json!({"uid": FOREIGN_USER}), 1106),
        (&cloud.first(), json!({"uid": OWNER, "home_id": 11_600_001}), 1106),
        (&cloud.first(), json!({"uid": OWNER, "home_id": "x"}), 1106),
        (&cloud.first(), json!({"uid": MEMBER, "home_id": HOME}), 1106),
        (&cloud.second(), json!({"uid": OWNER}), 1106),
        (&cloud.second(), json!({"asset_id": "10700001"}), 1106),
        (&people.member, json!({"uid": OWNER}), 1106),
        (&people.member, json!({"home_id": HOME}), 1106),
        (&people.stranger, json!({"home_id": HOME}), 1106),
    ] {
        assert_eq!(app.post(path, body.clone())["code"], code, "{body}");
    }
    for (app, body) in [
        (&cloud.first(), json!({"asset_id": "10700001", "pairing_type": "EZ", "time_zone_id": "Europe/Sofia"})),
        (&cloud.first(), json!({"asset_id": "", "uid": GUEST})),
        (&people.owner, json!({})),
        (&people.admin, json!({"home_id": HOME})),
        (&people.member, json!({"uid": MEMBER})),
    ] {
        assert_eq!(app.post(path, body.clone())["success"], true, "{body}");
    }
}

/// What each way of asking what came of a token has in common.
fn results(path: &str, nothing: &Value) {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let token = people.owner.post("/v1.0/devices/token", json!({}))["result"]["token"].as_str().unwrap().to_owned();
    for app in [&people.owner, &cloud.first()] {
        assert_eq!(&app.get(&format!("{path}/{token}"))["result"], nothing);
    }
    for app in [&people.member, &people.stranger, &cloud.second()] {
        assert_eq!(app.get(&format!("{path}/{token}"))["code"], 1106);
    }
    for token in ["x", "a%2Fb", "%F0%9F%92%A1"] {
        assert_eq!(cloud.first().get(&format!("{path}/{token}"))["code"], 1106);
    }
}

#[test]
fn device_token() {
    tokens("/v1.0/devices/token");
}

#[test]
fn paring_token() {
    tokens("/v1.0/device/paring/token");
}

#[test]
fn registration_token() {
    tokens("/v1.0/iot-03/device-registration/token");
}

#[test]
fn device_token_result() {
    results("/v1.0/devices/tokens", &json!({"successDevices": [], "errorDevices": []}));
}

#[test]
fn paring_token_result() {
    results("/v1.0/device/paring/tokens", &json!({"success_devices": [], "error_devices": []}));
}

#[test]
fn registration_token_result() {
    results("/v1.0/iot-03/device-registration/tokens", &json!({"success_devices": [], "error_devices": []}));
}
