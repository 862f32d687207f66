//! What subscribers receive when a device changes hands: when it was lost, and who has it now, whatever the cause.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Subscriber, nothing_more};
use crate::support::TestCloud;
use crate::support::people::{OWNER_NAME, STRANGER, people};
use crate::support::world::{GATEWAY, GUEST, LEAK, LONELY, OWNER, PLUG};

const NOW: i64 = 1_763_800_000_000;

fn apply(cloud: &TestCloud, device: Value) {
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
}

/// The next message as it was written, of something other than a report.
fn received(subscriber: &mut Subscriber, code: &str, device: &str) -> Value {
    let (protocol, received) = subscriber.next_message();
    assert_eq!((protocol, &received["bizCode"], &received["devId"]), (20, &json!(code), &json!(device)), "{received}");
    assert_eq!(received["bizData"]["devId"], device, "{received}");
    received
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
        let mut sharee = Subscriber::of(&cloud, &people.sharee, "1.0");
        cloud.advance(Duration::from_secs(3600));
        lose(&cloud);
        assert_eq!(received(&mut sharee, "delete", PLUG)["ts"], cloud.now_ms(), "{name}");
    }
}

#[test]
fn a_document_says_who_has_a_device_now() {
    let cloud = TestCloud::at(NOW);
    let people = people(&cloud);
    let mut project = Subscriber::of(&cloud, &cloud.first(), "2.0");
    let mut owner = Subscriber::of(&cloud, &people.owner, "1.0");
    let mut stranger = Subscriber::of(&cloud, &people.stranger, "1.0");
    let scale = |device: &str| json!({"product_id": "g0er6hSKgMqr0001", "device_id": device});
    let owned = |device: &str, owner: &str| {
        let mut world = scale(device);
        world["owner"] = json!(owner);
        world
    };
    // One that nobody had, one that is new, and one that was another's.
    for device in [LONELY, "new00000000000000001"] {
        apply(&cloud, owned(device, OWNER_NAME));
        for subscriber in [&mut project, &mut owner] {
            let received = received(subscriber, "bindUser", device);
            assert_eq!((&received["bizData"]["uid"], &received["ts"]), (&json!(OWNER), &json!(NOW)), "{device}");
        }
    }
    apply(&cloud, owned(LONELY, "stranger"));
    received(&mut owner, "delete", LONELY);
    for subscriber in [&mut project, &mut stranger] {
        assert_eq!(received(subscriber, "bindUser", LONELY)["bizData"]["uid"], STRANGER);
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
        let (_, received) = stranger.next_message();
        assert_eq!(received["bizCode"], "bindUser", "{received}");
        came.push(received["devId"].as_str().unwrap().to_owned());
    }
    assert_eq!(came, [GATEWAY, LEAK]);
}

#[test]
fn a_document_says_to_whom_a_device_is_shared_now() {
    let cloud = TestCloud::at(NOW);
    let people = people(&cloud);
    let mut owner = Subscriber::of(&cloud, &people.owner, "1.0");
    let mut stranger = Subscriber::of(&cloud, &people.stranger, "1.0");
    let mut sharee = Subscriber::of(&cloud, &people.sharee, "1.0");
    let shared = |users: Value| json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "shared_with": users});
    apply(&cloud, shared(json!(["guest@example.com", "stranger"])));
    for subscriber in [&mut owner, &mut stranger] {
        assert_eq!(received(subscriber, "bindUser", PLUG)["bizData"]["uid"], STRANGER);
    }
    // The former owner receives nothing, and nobody receives the same message again.
    apply(&cloud, shared(json!(["guest@example.com", "stranger"])));
    nothing_more(&mut [&mut owner, &mut stranger, &mut sharee]);
    apply(&cloud, shared(json!(["guest@example.com"])));
    received(&mut stranger, "delete", PLUG);
    nothing_more(&mut [&mut owner, &mut sharee]);
}
