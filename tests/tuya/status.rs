//! What devices show now (contract tuya §4.2).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::{ABROAD, DUMB, FOREIGN, PLUG, SCALE};

fn with_values() -> TestCloud {
    let cloud = TestCloud::start();
    let now = cloud.now_ms();
    cloud.import(&[(PLUG, now - 5, 7, 1, "switch_1", json!(true)), (PLUG, now, 7, 1, "cur_power", json!(7))]);
    cloud
}

fn plug() -> Value {
    json!([{"code": "switch_1", "value": true}, {"code": "cur_power", "value": 7}])
}

#[test]
fn device_status() {
    let cloud = with_values();
    let app = cloud.first();
    let status = |id: &str| app.get(&format!("/v1.0/devices/{id}/status"));
    assert_eq!((status(PLUG)["result"].clone(), status(SCALE)["result"].clone()), (plug(), json!([])));
    assert_eq!(status(DUMB)["code"], 2003, "without a standard set");
    for id in [FOREIGN, "nobody", "a%2Fb", "%F0%9F%92%A1"] {
        assert_eq!(status(id)["code"], 1106, "{id}");
    }
    assert_eq!(cloud.second().get(&format!("/v1.0/devices/{PLUG}/status"))["code"], 1106);
}

#[test]
fn iot03_device_status() {
    let cloud = with_values();
    let app = cloud.first();
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{PLUG}/status"))["result"], plug());
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{DUMB}/status"))["result"], json!([]));
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{FOREIGN}/status"))["code"], 1106);
}

/// What batch calls refuse, and whom they leave out.
pub fn batches(cloud: &TestCloud, path: &str, count: impl Fn(&Value) -> usize) {
    let app = cloud.first();
    let get = |ids: &str| app.get(&format!("{path}?device_ids={ids}"));
    // Twice the same, strangers and another tenant's are left out.
    let answer = get(&format!("{PLUG},{SCALE},{PLUG},nobody,{FOREIGN}"));
    assert_eq!(count(&answer["result"]), 2, "{answer}");
    let many = (0..21).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(get(&many)["code"], 1101);
    assert_eq!(app.get(path)["code"], 1100);
    assert_eq!(count(&cloud.second().get(&format!("{path}?device_ids={PLUG}"))["result"]), 0);
    assert_eq!(count(&cloud.second().get(&format!("{path}?device_ids={ABROAD}"))["result"]), 1);
}

#[test]
fn devices_status() {
    let cloud = with_values();
    let answer = cloud.first().get(&format!("/v1.0/devices/status?device_ids={PLUG},{SCALE}"));
    assert_eq!(answer["result"], json!({PLUG: plug(), SCALE: []}));
    batches(&cloud, "/v1.0/devices/status", |result| result.as_object().unwrap().len());
}

#[test]
fn iot03_devices_status() {
    let cloud = with_values();
    let answer = cloud.first().get(&format!("/v1.0/iot-03/devices/status?device_ids={PLUG}"));
    assert_eq!(answer["result"], json!([{"id": PLUG, "status": plug()}]));
    batches(&cloud, "/v1.0/iot-03/devices/status", |result| result.as_array().unwrap().len());
}
