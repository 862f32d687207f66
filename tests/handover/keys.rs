//! The local key of a sub-device: it shows the key of its gateway, which clients of the local network need, but only to users
//! who also have the gateway.

use serde_json::{Value, json};

use super::documents::documented;
use crate::support::world::{DOOR, GATEWAY, GUEST, LEAK};
use crate::support::{TestCloud, ingle};

const GATEWAYS: &str = "gateway000000001";
const SENSORS: &str = "rzeSU2h9uoklx001";

/// An operation on a device.
type Way = fn(&TestCloud);

fn key(cloud: &TestCloud, device: &str) -> String {
    let device = cloud.first().get(&format!("/v1.0/devices/{device}"))["result"].clone();
    device["local_key"].as_str().unwrap_or_else(|| panic!("{device}")).to_owned()
}

fn sensor(device: &str, more: Value) -> Value {
    let mut row = json!({"product_id": SENSORS, "device_id": device});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

/// Applies a document with devices and returns them filled in.
fn apply(cloud: &TestCloud, devices: Value) -> Value {
    cloud.apply(&documented("first", devices))["projects"][0]["devices"].clone()
}

#[test]
fn a_device_behind_a_gateway_shows_its_key() {
    let cloud = TestCloud::start();
    let gates = key(&cloud, GATEWAY);
    assert_eq!((gates.len(), key(&cloud, LEAK), key(&cloud, DOOR)), (16, gates.clone(), gates.clone()));
    let thing = cloud.first().get(&format!("/v2.0/cloud/thing/{LEAK}"))["result"].clone();
    assert_eq!(thing["local_key"], gates);
    // The document shows this key, and applying it again changes nothing.
    let leak = json!([sensor(LEAK, json!({}))]);
    let filled = apply(&cloud, leak.clone());
    assert_eq!(filled[0]["local_key"], gates);
    assert_eq!(apply(&cloud, filled.clone()), filled);
    assert_eq!(apply(&cloud, leak), filled);
    // It follows the gateway's key, with all characters that real keys contain.
    let other = "a<'&|$; `\"~}K9=";
    apply(&cloud, json!([{"product_id": GATEWAYS, "device_id": GATEWAY, "local_key": other}]));
    assert_eq!((key(&cloud, GATEWAY), key(&cloud, LEAK)), (other.to_owned(), other.to_owned()));
    // A device that was given its own key shows that one.
    apply(&cloud, json!([sensor(DOOR, json!({"local_key": "door's own key!!"}))]));
    assert_eq!((key(&cloud, DOOR), key(&cloud, LEAK)), ("door's own key!!".to_owned(), other.to_owned()));
}

#[test]
fn a_device_that_changes_hands_takes_no_gateways_key_along() {
    let cloud = TestCloud::start();
    let gates = key(&cloud, GATEWAY);
    let ways: [(&str, Way); 3] = [
        ("another owner", |cloud| drop(apply(cloud, json!([sensor(LEAK, json!({"owner": "guest@example.com"}))])))),
        ("behind another's gateway", |cloud| {
            let gate = json!({"product_id": GATEWAYS, "device_id": "gate2", "owner": "guest@example.com"});
            apply(cloud, json!([gate, sensor(LEAK, json!({"gateway": "gate2"}))]));
            assert_eq!(key(cloud, LEAK), key(cloud, "gate2"), "the new gateway's");
        }),
        ("back without a gateway", |cloud| drop(apply(cloud, json!([sensor(LEAK, json!({"owner": "18200000678"}))])))),
    ];
    for (way, go) in ways {
        go(&cloud);
        assert_ne!(key(&cloud, LEAK), gates, "{way}");
        assert_ne!(key(&cloud, LEAK), "", "{way}");
    }
    assert_ne!(key(&cloud, LEAK), key(&cloud, "gate2"));
    // Another home of the same owner has other members, who do not have the gateway.
    assert_eq!(key(&cloud, DOOR), gates);
    let home = json!({"projects": [{"name": "first", "homes": [{"name": "Hut", "owner": "18200000678", "home_id": 5}],
        "devices": [sensor(DOOR, json!({"home_id": 5}))]}]});
    cloud.apply(&home);
    assert_ne!(key(&cloud, DOOR), gates);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{DOOR}"))["result"]["gateway_id"], GATEWAY);
    // The gateway gets another owner, and its sub-devices keep theirs.
    apply(&cloud, json!([sensor(DOOR, json!({"home_id": 10_700_001}))]));
    assert_eq!(key(&cloud, DOOR), gates);
    apply(&cloud, json!([{"product_id": GATEWAYS, "device_id": GATEWAY, "owner": "guest@example.com"}]));
    assert_ne!(key(&cloud, DOOR), gates);
}

#[test]
fn a_document_that_was_printed_gives_no_device_the_gateways_key_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let apply = |world: &Value| -> Value {
        serde_json::from_str(&ingle(&["apply", "-", "--json"], folder.path(), &world.to_string()).unwrap()).unwrap()
    };
    let mut filled = TestCloud::start().apply(&crate::support::world::standard());
    filled["projects"].as_array_mut().unwrap().truncate(1);
    let of = |world: &Value, id: &str| {
        let devices = world["projects"][0]["devices"].as_array().unwrap().clone();
        devices.into_iter().find(|device| device["device_id"] == id).unwrap()["local_key"].clone()
    };
    let gates = of(&filled, GATEWAY);
    assert_eq!(of(&filled, LEAK), gates);
    // The printed document is applied to another folder. It lists the sensors before their gateway.
    filled["projects"][0]["devices"].as_array_mut().unwrap().reverse();
    let restored = apply(&filled);
    assert_eq!((of(&restored, GATEWAY), of(&restored, LEAK)), (gates.clone(), gates.clone()));
    assert_eq!(apply(&restored), restored);
    let moved = apply(&documented("first", json!([sensor(LEAK, json!({"owner": "guest@example.com"}))])));
    assert_ne!(of(&moved, LEAK), gates, "{GUEST}");
}
