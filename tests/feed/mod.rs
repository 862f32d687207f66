//! Apps listen to what happens to their devices (contract tuya §5.2–5.4).

mod changes;

use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{Array, BlockCipherDecrypt};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::gateway::{SECRET, cloud, tuya_plug};
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::people::{ADMIN, HOME, STRANGER, people};
use crate::support::tuya::TuyaApp;
use crate::support::world::{DOOR, FOREIGN_USER, GATEWAY, GUEST, HELD_ELSEWHERE, LEAK, OWNER, PLUG};

/// A subscriber that decrypts what it receives as the vendor's document says.
pub struct Subscriber {
    connection: MqttDevice,
    key: [u8; 16],
    topic: String,
}

fn config(app: &TuyaApp, form: &str) -> Value {
    let body = json!({"link_id": format!("subscriber {form}"), "link_type": "mqtt", "topics": "device",
        "msg_encrypted_version": form});
    app.post("/v1.0/iot-03/open-hub/access-config", body)["result"].clone()
}

fn who(config: &Value) -> [String; 3] {
    ["client_id", "username", "password"].map(|name| config[name].as_str().unwrap().to_owned())
}

impl Subscriber {
    pub fn of(cloud: &TestCloud, app: &TuyaApp, form: &str) -> Self {
        let config = config(app, form);
        let mut connection = MqttDevice::connect(cloud, &who(&config));
        let topic = config["source_topic"]["device"].as_str().unwrap().to_owned();
        assert_eq!(connection.subscribe(&[&topic]), [true]);
        let key = config["password"].as_str().unwrap().as_bytes()[8..24].try_into().unwrap();
        Self { connection, key, topic }
    }

    /// The protocol of the next message, and what it says.
    pub fn next_message(&mut self) -> (i64, Value) {
        let (topic, message) = self.connection.message();
        assert_eq!((topic, &message["pv"]), (self.topic.clone(), &json!("2.0")));
        let data = STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
        let text = if data.starts_with(&[0, 0, 0, 12]) {
            let cipher = Aes128Gcm::new_from_slice(&self.key).unwrap();
            let (iv, sealed) = data[4..].split_at(12);
            let time = message["t"].to_string();
            let payload = Payload { msg: sealed, aad: time.as_bytes() };
            cipher.decrypt(&Nonce::from(<[u8; 12]>::try_from(iv).unwrap()), payload).unwrap()
        } else {
            let cipher = Aes128::new(&Array::from(self.key));
            let mut text = Vec::new();
            for block in data.chunks(16) {
                let mut block = Array::from(<[u8; 16]>::try_from(block).unwrap());
                cipher.decrypt_block(&mut block);
                text.extend_from_slice(&block);
            }
            let padding = usize::from(*text.last().unwrap());
            text.truncate(text.len() - padding);
            text
        };
        (message["protocol"].as_i64().unwrap(), serde_json::from_slice(&text).unwrap())
    }

    /// The next message of another kind than reports: its code and data.
    pub fn next_about_plug(&mut self) -> (String, Value) {
        self.next_about(PLUG)
    }

    fn next_about(&mut self, device: &str) -> (String, Value) {
        let (protocol, received) = self.next_message();
        assert_eq!((protocol, &received["devId"]), (20, &json!(device)), "{received}");
        (received["bizCode"].as_str().unwrap().to_owned(), received["bizData"].clone())
    }
}

/// Nothing that happened before this reaches anybody after it.
pub fn nothing_more(subscribers: &mut [&mut Subscriber]) {
    for subscriber in subscribers {
        assert!(subscriber.connection.pings(), "a message came that should not");
    }
}

#[test]
fn reports_and_presence_reach_those_who_see_the_device() {
    let cloud = cloud();
    let people = people(&cloud);
    let mut owner = Subscriber::of(&cloud, &people.owner, "1.0");
    let mut member = Subscriber::of(&cloud, &people.member, "2.0");
    let mut sharee = Subscriber::of(&cloud, &people.sharee, "1.0");
    let mut project = Subscriber::of(&cloud, &cloud.first(), "2.0");
    let mut stranger = Subscriber::of(&cloud, &people.stranger, "1.0");
    let mut other = Subscriber::of(&cloud, &cloud.second(), "1.0");

    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let now = cloud.now_ms();
    let report = json!({"msgId": "1", "data": {"switch_1": {"value": true, "time": now}, "mode": "colour"}});
    assert!(plug.published(&format!("tylink/{PLUG}/thing/property/report"), &report));
    for subscriber in [&mut owner, &mut member, &mut sharee, &mut project] {
        let (code, data) = subscriber.next_about_plug();
        assert_eq!((code.as_str(), &data["devId"]), ("online", &json!(PLUG)));
        assert!(data["time"].as_i64().unwrap() >= now / 1000 - 60);
        let (protocol, received) = subscriber.next_message();
        assert_eq!(
            (protocol, &received["devId"], &received["productKey"]),
            (4, &json!(PLUG), &json!("EvolhYPyZNWYP001"))
        );
        let status = received["status"].as_array().unwrap();
        let point = |code: &str| status.iter().find(|point| point["code"] == code).unwrap().clone();
        assert_eq!(
            point("switch_1"),
            json!({"code": "switch_1", "value": true, "t": (now / 1000).to_string(), "1": true})
        );
        assert_eq!(point("mode")["value"], "colour");
        assert!(received["dataId"].is_string());
    }
    drop(plug);
    let (code, data) = owner.next_about_plug();
    assert_eq!((code.as_str(), &data["devId"]), ("offline", &json!(PLUG)));
    nothing_more(&mut [&mut stranger, &mut other]);
}

#[test]
fn what_changes_hands_and_names_is_reported() {
    let cloud = cloud();
    let people = people(&cloud);
    let mut owner = Subscriber::of(&cloud, &people.owner, "1.0");
    let mut sharee = Subscriber::of(&cloud, &people.sharee, "1.0");
    let mut stranger = Subscriber::of(&cloud, &people.stranger, "1.0");
    let path = format!("/v1.0/devices/{PLUG}");
    assert_eq!(people.owner.put(&path, json!({"name": "水 lamp"}))["result"], true);
    for subscriber in [&mut owner, &mut sharee] {
        let (code, data) = subscriber.next_about_plug();
        assert_eq!((code.as_str(), &data["name"], &data["uid"]), ("nameUpdate", &json!("水 lamp"), &json!(OWNER)));
    }
    assert_eq!(people.owner.put(&format!("{path}/functions/switch_1"), json!({"name": "Left"}))["result"], true);
    for subscriber in [&mut owner, &mut sharee] {
        let (code, data) = subscriber.next_about_plug();
        assert_eq!((code.as_str(), &data["name"], &data["dpId"]), ("dpNameUpdate", &json!("Left"), &json!(1)));
    }
    assert_eq!(people.owner.post(&format!("{path}/shares"), json!({"uid": STRANGER}))["result"], true);
    // To whom else it is shared is the owner's business.
    for subscriber in [&mut owner, &mut stranger] {
        let (code, data) = subscriber.next_about_plug();
        assert_eq!((code.as_str(), &data["uid"]), ("bindUser", &json!(STRANGER)));
    }
    assert_eq!(people.owner.delete(&format!("{path}/shares/{STRANGER}"))["result"], true);
    let (code, data) = stranger.next_about_plug();
    assert_eq!((code.as_str(), &data["ownerId"]), ("delete", &json!("")), "where it stands is not for a sharee");
    nothing_more(&mut [&mut owner, &mut sharee]);
    // After access was withdrawn, nothing is received.
    assert_eq!(people.owner.put(&path, json!({"name": "Other"}))["result"], true);
    assert_eq!(owner.next_about_plug().0, "nameUpdate");
    assert_eq!(sharee.next_about_plug().0, "nameUpdate");
    nothing_more(&mut [&mut stranger]);
    assert_eq!(cloud.first().delete(&path)["result"], true);
    for subscriber in [&mut owner, &mut sharee] {
        assert_eq!(subscriber.next_about_plug().0, "delete");
    }
    let missing = cloud.first().get(&format!("/v1.0/users/{GUEST}/devices?from=sharing"));
    assert_eq!(missing["result"], json!([]));
}

#[test]
fn who_may_listen_and_for_how_long() {
    let cloud = TestCloud::at(1_763_800_000_000);
    crate::support::mqtt::with_secrets(&cloud);
    let people = people(&cloud);
    let first = config(&people.owner, "1.0");
    let mut wrong = who(&first);
    wrong[2] = "0".repeat(32);
    let mut renamed = who(&first);
    renamed[1] = "cloud_other".to_owned();
    let unknown = ["cloud_x", "cloud_x", "x"].map(str::to_owned);
    // What makes the vendor's clients ask for new credentials.
    for (who, code) in [(&wrong, 5), (&unknown, 5), (&renamed, 4)] {
        assert_eq!(MqttDevice::open(&cloud).greet(who), Some(code), "{who:?}");
    }
    let mut subscriber = MqttDevice::connect(&cloud, &who(&first));
    let topic = first["source_topic"]["device"].as_str().unwrap();
    let foreign = format!("tylink/{PLUG}/thing/property/set");
    assert_eq!(subscriber.subscribe(&["cloud/token/in/#", "#", &foreign, topic]), [false, false, false, true]);
    // A second connection takes its place.
    let mut second = MqttDevice::connect(&cloud, &who(&first));
    assert!(subscriber.is_closed());
    // So does the same link once more.
    let again = config(&people.owner, "1.0");
    assert!(second.is_closed());
    assert_eq!(MqttDevice::open(&cloud).greet(&who(&first)), Some(5));
    let mut third = MqttDevice::connect(&cloud, &who(&again));
    third.publish("cloud/token/out/x", b"{}");
    assert!(third.is_closed(), "commands go by the API");
    cloud.advance(Duration::from_secs(7200));
    assert_eq!(MqttDevice::open(&cloud).greet(&who(&again)), Some(5), "its time is over");
}

/// What a listener was admitted by ends: what does it, and which of the two listeners, the member's and the project's.
#[test]
fn a_listener_ends_with_what_it_was_admitted_by() {
    type End = fn(&TestCloud);
    let ends: [(&str, End, [bool; 2]); 6] = [
        ("another password by document", |cloud| of_member(cloud, "password", json!("another")), [true, false]),
        ("a disabled account", |cloud| of_member(cloud, "disabled", json!(true)), [true, false]),
        (
            "another password by the API",
            |cloud| {
                let body = json!({"country_code": "86", "username": "member", "password": "another"});
                assert_eq!(cloud.first().post("/v1.0/apps/testApp/user", body)["success"], true);
            },
            [true, false],
        ),
        (
            "a removed account",
            |cloud| {
                let accounts = cloud.aliyun().data("/cloud/account/queryIdentityByPage", json!({"count": 10}));
                let member = accounts.as_array().unwrap().iter().find(|one| one["loginName"] == "member").unwrap();
                let params = json!({"identityId": member["identityId"]});
                cloud.aliyun().data("/user/account/unregister", params);
            },
            [true, false],
        ),
        (
            "another secret of the project",
            |cloud| {
                let secret = json!({"secret": "00000000000000000000000000000000"});
                cloud.apply(&json!({"projects": [{"name": "first", "tuya": secret}]}));
            },
            [true, true],
        ),
        ("nothing", |cloud| of_member(cloud, "nick_name", json!("Kid")), [false, false]),
    ];
    for (what, end, expected) in ends {
        let cloud = cloud();
        let people = people(&cloud);
        let configs = [config(&people.member, "1.0"), config(&cloud.first(), "1.0")];
        let mut subscribers =
            [Subscriber::of(&cloud, &people.member, "2.0"), Subscriber::of(&cloud, &cloud.first(), "2.0")];
        end(&cloud);
        for ((subscriber, config), over) in subscribers.iter_mut().zip(&configs).zip(expected) {
            assert_eq!(
                if over { subscriber.connection.ends() } else { !subscriber.connection.pings() },
                over,
                "{what}"
            );
            // Nor do credentials open anything that were never used.
            assert_eq!(MqttDevice::open(&cloud).greet(&who(config)), Some(if over { 5 } else { 0 }), "{what}");
        }
    }
}

#[test]
fn a_log_out_ends_what_the_users_logins_listen_by() {
    let cloud = cloud();
    let people = people(&cloud);
    let config_of_member = config(&people.member, "1.0");
    let mut subscribers = [Subscriber::of(&cloud, &people.member, "2.0"), Subscriber::of(&cloud, &people.owner, "2.0")];
    assert_eq!(people.member.post("/v1.0/iot-03/users/logout", json!({}))["result"], true);
    assert!(subscribers[0].connection.is_closed() && subscribers[1].connection.pings(), "the member's alone");
    assert_eq!(MqttDevice::open(&cloud).greet(&who(&config_of_member)), Some(5));
}

fn of_member(cloud: &TestCloud, member: &str, value: Value) {
    let mut user = json!({"schema": "testApp", "username": "member"});
    user[member] = value;
    cloud.apply(&json!({"projects": [{"name": "first", "users": [user]}]}));
}

/// The second project's user has a device of the first project's product, and another user of that project.
fn held_elsewhere() -> TestCloud {
    let cloud = cloud();
    cloud.apply(&json!({"projects": [{"name": "second",
        "users": [{"schema": "otherApp", "username": "neighbour", "uid": "az1578962398648neigh1"}],
        "devices": [{"product_id": "g0er6hSKgMqr0001", "device_id": HELD_ELSEWHERE, "secret": SECRET,
            "owner": "other@example.com"}]}]}));
    cloud
}

#[test]
fn the_makers_subscribers_receive_no_names_and_no_people_of_another_project() {
    let cloud = held_elsewhere();
    let (maker, owners) = (cloud.first(), cloud.second());
    let (mut at_maker, mut at_owners) = (Subscriber::of(&cloud, &maker, "1.0"), Subscriber::of(&cloud, &owners, "2.0"));
    let path = format!("/v1.0/devices/{HELD_ELSEWHERE}");
    let done = |answer: Value| assert_eq!(answer["result"], true, "{answer}");
    done(owners.put(&path, json!({"name": "Anna's bedroom"})));
    done(owners.put(&format!("{path}/functions/weight"), json!({"name": "Anna's weight"})));
    done(owners.post(&format!("{path}/shares"), json!({"uid": "az1578962398648neigh1"})));
    done(owners.delete(&format!("{path}/shares/az1578962398648neigh1")));
    let _scale = MqttDevice::connect(&cloud, &tuyalink(HELD_ELSEWHERE, SECRET));
    // The maker receives messages of the device itself, and nothing before them.
    assert_eq!(at_maker.next_about(HELD_ELSEWHERE).0, "online");
    for expected in ["nameUpdate", "dpNameUpdate", "bindUser", "online"] {
        assert_eq!(at_owners.next_about(HELD_ELSEWHERE).0, expected);
    }
    nothing_more(&mut [&mut at_maker, &mut at_owners]);
}

#[test]
fn the_owners_project_receives_a_message_when_the_maker_removes_a_device() {
    for call in ["delete", "reset"] {
        let cloud = held_elsewhere();
        let (maker, owners) = (cloud.first(), cloud.second());
        let home = owners.get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"]["owner_id"].clone();
        let (mut at_maker, mut at_owners) =
            (Subscriber::of(&cloud, &maker, "1.0"), Subscriber::of(&cloud, &owners, "2.0"));
        let path = format!("/v1.0/devices/{HELD_ELSEWHERE}");
        let answer = match call {
            "delete" => maker.delete(&path),
            _ => maker.put(&format!("{path}/reset-factory"), json!({})),
        };
        assert_eq!(answer["result"], true);
        let (code, data) = at_owners.next_about(HELD_ELSEWHERE);
        assert_eq!((code.as_str(), &data["uid"], &data["ownerId"]), ("delete", &json!(FOREIGN_USER), &home), "{call}");
        let (code, data) = at_maker.next_about(HELD_ELSEWHERE);
        assert_eq!((code.as_str(), &data["uid"], &data["ownerId"]), ("delete", &json!(""), &json!("")), "{call}");
        nothing_more(&mut [&mut at_maker, &mut at_owners]);
    }
}

#[test]
fn the_owners_project_receives_a_message_when_its_user_loses_a_device_that_the_maker_still_sees() {
    let cloud = held_elsewhere();
    let (mut at_maker, mut at_owners) =
        (Subscriber::of(&cloud, &cloud.first(), "1.0"), Subscriber::of(&cloud, &cloud.second(), "1.0"));
    let aliyun = cloud.other_aliyun();
    let accounts = aliyun.data("/cloud/account/queryIdentityByPage", json!({"count": 10}));
    let account = accounts.as_array().unwrap().iter().find(|one| one["loginName"] == "other@example.com").unwrap();
    let devices = json!({"identityId": account["identityId"]});
    let devices = aliyun.data("/cloud/device/queryByUser", devices)["data"].clone();
    let scale = devices.as_array().unwrap().iter().find(|one| one["productName"] == "Wifi scales_OEM").unwrap();
    aliyun.data("/living/cloud/user/binding/device/unbind", json!({"iotId": scale["iotId"]}));
    assert_eq!(at_owners.next_about(HELD_ELSEWHERE).0, "delete");
    nothing_more(&mut [&mut at_maker, &mut at_owners]);
}

#[test]
fn a_subscriber_who_still_has_a_device_in_another_way_receives_no_message_of_a_loss() {
    let cloud = cloud();
    let people = people(&cloud);
    let (mut admin, mut member) =
        (Subscriber::of(&cloud, &people.admin, "1.0"), Subscriber::of(&cloud, &people.member, "1.0"));
    let shares = format!("/v1.0/devices/{PLUG}/shares");
    assert_eq!(people.owner.post(&shares, json!({"uid": ADMIN}))["result"], true);
    assert_eq!(admin.next_about_plug().0, "bindUser");
    assert_eq!(people.owner.delete(&format!("{shares}/{ADMIN}"))["result"], true);
    nothing_more(&mut [&mut admin, &mut member]);
    // Who is sent away loses all that stands in the home.
    assert_eq!(people.owner.post(&shares, json!({"uid": ADMIN}))["result"], true);
    assert_eq!(admin.next_about_plug().0, "bindUser");
    assert_eq!(people.owner.delete(&format!("/v1.0/homes/{HOME}/members/{ADMIN}"))["result"], true);
    let mut lost = Vec::new();
    for _ in 0..5 {
        let (_, received) = admin.next_message();
        assert_eq!(received["bizCode"], "delete", "{received}");
        lost.push(received["devId"].as_str().unwrap().to_owned());
    }
    assert!(!lost.contains(&PLUG.to_owned()), "it is shared to the admin: {lost:?}");
    nothing_more(&mut [&mut admin, &mut member]);
}

/// The devices of the next so many messages, all of which say that one is lost.
fn lost(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let mut devices: Vec<String> = (0..count)
        .map(|_| {
            let (_, received) = subscriber.next_message();
            assert_eq!(received["bizCode"], "delete", "{received}");
            received["devId"].as_str().unwrap().to_owned()
        })
        .collect();
    devices.sort_unstable();
    devices
}

#[test]
fn everyone_who_loses_a_device_receives_a_message_whatever_the_cause() {
    let with_subscribers = || {
        let cloud = cloud();
        let people = people(&cloud);
        let subscribers = [&people.owner, &people.member, &people.sharee, &cloud.first()]
            .map(|app| Subscriber::of(&cloud, app, "1.0"));
        (cloud, people, subscribers)
    };
    // With a gateway goes what is behind it; that is nobody's then, and the maker still sees it.
    let (cloud, _people, [mut owner, mut member, mut sharee, mut project]) = with_subscribers();
    assert_eq!(cloud.first().delete(&format!("/v1.0/devices/{GATEWAY}"))["result"], true);
    for subscriber in [&mut owner, &mut member] {
        assert_eq!(lost(subscriber, 3), [GATEWAY, LEAK, DOOR]);
    }
    assert_eq!(lost(&mut project, 1), [GATEWAY]);
    nothing_more(&mut [&mut owner, &mut member, &mut sharee, &mut project]);
    // A home that is removed leaves its devices to their owner, and nobody else.
    let (_cloud, people, [mut owner, mut member, mut sharee, mut project]) = with_subscribers();
    assert_eq!(people.owner.delete(&format!("/v1.0/homes/{HOME}"))["result"], true);
    assert_eq!(lost(&mut member, 6).len(), 6);
    nothing_more(&mut [&mut owner, &mut member, &mut sharee, &mut project]);
    // A user who is removed takes from everybody what was the user's.
    let (cloud, _people, [_, mut member, mut sharee, mut project]) = with_subscribers();
    let accounts = cloud.aliyun().data("/cloud/account/queryIdentityByPage", json!({"count": 10}));
    let owner = accounts.as_array().unwrap().iter().find(|one| one["loginName"] == "18200000678").unwrap();
    cloud.aliyun().data("/user/account/unregister", json!({"identityId": owner["identityId"]}));
    assert_eq!(lost(&mut member, 6).len(), 6);
    assert_eq!(lost(&mut sharee, 1), [PLUG]);
    nothing_more(&mut [&mut member, &mut sharee, &mut project]);
}
