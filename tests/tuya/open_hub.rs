//! Where an app listens to its devices (contract tuya §5.2). What it receives is in `feed`.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::mqtt::MqttDevice;
use crate::support::people::{MEMBER, people};
use crate::support::world::{FOREIGN_USER, OWNER};

/// What each way of asking has in common.
fn configs(path: &str) {
    let cloud = TestCloud::start();
    let body = |uid: Option<&str>| {
        let mut body =
            json!({"link_id": "sdk.1", "link_type": "mqtt", "topics": "device", "msg_encrypted_version": "1.0"});
        if let Some(uid) = uid {
            body["uid"] = json!(uid);
        }
        body
    };
    let config = cloud.first().post(path, body(None))["result"].clone();
    let port = cloud.addresses["mqtt"].as_str().unwrap().rsplit_once(':').unwrap().1;
    assert_eq!((&config["url"], &config["expire_time"]), (&json!(format!("tcp://127.0.0.1:{port}")), &json!(7200)));
    let text = |name: &str| config[name].as_str().unwrap().to_owned();
    assert!(text("client_id").starts_with("cloud_") && text("client_id").len() == 38);
    assert_eq!((text("username"), text("password").len()), (text("client_id"), 32));
    let topic = config["source_topic"]["device"].as_str().unwrap();
    assert!(topic.starts_with("cloud/token/in/") && topic.len() == 47, "{topic}");
    assert_eq!(config["sink_topic"]["device"], "cloud/token/out/{device_id}");

    let people = people(&cloud);
    for (app, uid, code) in [
        (&cloud.first(), Some(OWNER), Value::Null),
        (&cloud.first(), Some("nobody"), json!(1106)),
        (&cloud.first(), Some(FOREIGN_USER), json!(1106)),
        (&cloud.second(), Some(OWNER), json!(1106)),
        (&people.member, None, Value::Null),
        (&people.member, Some(MEMBER), Value::Null),
        (&people.member, Some(OWNER), json!(1106)),
    ] {
        assert_eq!(app.post(path, body(uid))["code"], code, "{uid:?}");
    }
    for (member, value, code) in [
        ("link_id", json!(""), 1100),
        ("link_id", json!("x".repeat(200)), 1101),
        ("link_type", json!("websocket"), 1101),
        ("topics", json!("home"), 1101),
        ("msg_encrypted_version", json!("3.0"), 1101),
    ] {
        let mut body = body(None);
        body[member] = value;
        assert_eq!(cloud.first().post(path, body)["code"], code, "{member}");
    }
    // Fifty links of one user at most: those that are not there make room, and those that are stay.
    let ask = |n: usize| {
        let mut body = body(None);
        body["link_id"] = json!(n.to_string());
        people.owner.post(path, body)
    };
    for n in 0..60 {
        assert_eq!(ask(n)["success"], true, "{n}");
    }
    let connect = |n: usize| {
        let config = ask(n)["result"].clone();
        let who = ["client_id", "username", "password"].map(|name| config[name].as_str().unwrap().to_owned());
        MqttDevice::connect(&cloud, &who)
    };
    let there: Vec<MqttDevice> = (100..150).map(connect).collect();
    assert_eq!(ask(150)["code"], 1111);
    there.into_iter().for_each(MqttDevice::break_off);
    assert_eq!(ask(150)["success"], true);
}

#[test]
fn access_config() {
    configs("/v1.0/open-hub/access/config");
}

#[test]
fn iot03_access_config() {
    configs("/v1.0/iot-03/open-hub/access-config");
}

#[test]
fn old_access_config() {
    configs("/v1.0/open-iot-hub/access/config");
}
