//! What listeners are told when a device changes hands: when it was lost, and to whom it came, by whatever way.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ear, nothing_more};
use crate::support::TestCloud;
use crate::support::people::{OWNER_NAME, STRANGER, people};
use crate::support::world::{GATEWAY, GUEST, LEAK, LONELY, OWNER, PLUG};

const NOW: i64 = 1_763_800_000_000;

fn apply(cloud: &TestCloud, device: Value) {
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
}

/// The next message as it was written, of something other than a report.
fn told(ear: &mut Ear, code: &str, device: &str) -> Value {
    let (protocol, told) = ear.hears();
    assert_eq!((protocol, &told["bizCode"], &told["devId"]), (20, &json!(code), &json!(device)), "{told}");
    assert_eq!(told["bizData"]["devId"], device, "{told}");
    told
}

#[test]
fn a_loss_carries_its_moment() {
    type Loss = fn(&TestCloud);
    let losses: [(&str, Loss); 6] = [
        ("removal", |cloud| {
            assert_eq!(cloud.first().delete(&format!("/v1.0/devices/{PLUG}"))["result"], true);
        }),
        ("reset", |cloud| {
            let path = format!("/v1.0/devices/{PLUG}/reset-factory");
            assert_eq!(cloud.first().put(&path, json!({}))["result"], true);
        }),
        ("share withdrawn", |cloud| {
            assert_eq!(cloud.first().delete(&format!("/v1.0/devices/{PLUG}/shares/{GUEST}"))["result"], true);
        }),
        ("another owner in the document", |cloud| {
            apply(cloud, json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "owner": "stranger"}));
        }),
        ("no share in the document", |cloud| {
            apply(cloud, json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "shared_with": []}));
        }),
        ("unbinding", |cloud| {
            let params = json!({"iotId": PLUG});
            assert_eq!(cloud.aliyun().call("/living/cloud/user/binding/device/unbind", params).code(), 200);
        }),
    ];
    for (name, lose) in losses {
        let cloud = TestCloud::at(NOW);
        let people = people(&cloud);
        apply(&cloud, json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "iot_id": PLUG}));
        let mut sharee = Ear::of(&cloud, &people.sharee, "1.0");
        cloud.advance(Duration::from_secs(3600));
        lose(&cloud);
        assert_eq!(told(&mut sharee, "delete", PLUG)["ts"], cloud.now_ms(), "{name}");
    }
}

#[test]
fn a_document_tells_who_has_a_device_now() {
    let cloud = TestCloud::at(NOW);
    let people = people(&cloud);
    let mut project = Ear::of(&cloud, &cloud.first(), "2.0");
    let mut owner = Ear::of(&cloud, &people.owner, "1.0");
    let mut stranger = Ear::of(&cloud, &people.stranger, "1.0");
    let scale = |device: &str| json!({"product_id": "g0er6hSKgMqr0001", "device_id": device});
    let owned = |device: &str, owner: &str| {
        let mut world = scale(device);
        world["owner"] = json!(owner);
        world
    };
    // One that nobody had, one that is new, and one that was another's.
    for device in [LONELY, "new00000000000000001"] {
        apply(&cloud, owned(device, OWNER_NAME));
        for ear in [&mut project, &mut owner] {
            let told = told(ear, "bindUser", device);
            assert_eq!((&told["bizData"]["uid"], &told["ts"]), (&json!(OWNER), &json!(NOW)), "{device}");
        }
    }
    apply(&cloud, owned(LONELY, "stranger"));
    told(&mut owner, "delete", LONELY);
    for ear in [&mut project, &mut stranger] {
        assert_eq!(told(ear, "bindUser", LONELY)["bizData"]["uid"], STRANGER);
    }
    // The same again is no change.
    apply(&cloud, owned(LONELY, "stranger"));
    apply(&cloud, scale(LONELY));
    nothing_more(&mut [&mut project, &mut owner, &mut stranger]);
    // Behind a gateway that comes, what is behind it comes too.
    apply(&cloud, json!({"product_id": "gateway000000001", "device_id": GATEWAY, "owner": "stranger"}));
    apply(&cloud, json!({"product_id": "rzeSU2h9uoklx001", "device_id": LEAK, "owner": "stranger"}));
    let mut came = Vec::new();
    while came.len() < 2 {
        let (_, told) = stranger.hears();
        assert_eq!(told["bizCode"], "bindUser", "{told}");
        came.push(told["devId"].as_str().unwrap().to_owned());
    }
    assert_eq!(came, [GATEWAY, LEAK]);
}

#[test]
fn a_document_tells_to_whom_a_device_is_shared_now() {
    let cloud = TestCloud::at(NOW);
    let people = people(&cloud);
    let mut owner = Ear::of(&cloud, &people.owner, "1.0");
    let mut stranger = Ear::of(&cloud, &people.stranger, "1.0");
    let mut sharee = Ear::of(&cloud, &people.sharee, "1.0");
    let shared = |users: Value| json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "shared_with": users});
    apply(&cloud, shared(json!(["guest@example.com", "stranger"])));
    for ear in [&mut owner, &mut stranger] {
        assert_eq!(told(ear, "bindUser", PLUG)["bizData"]["uid"], STRANGER);
    }
    // Who had it hears nothing, nor does anybody of the same again.
    apply(&cloud, shared(json!(["guest@example.com", "stranger"])));
    nothing_more(&mut [&mut owner, &mut stranger, &mut sharee]);
    apply(&cloud, shared(json!(["guest@example.com"])));
    told(&mut stranger, "delete", PLUG);
    nothing_more(&mut [&mut owner, &mut sharee]);
}
