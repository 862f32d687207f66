//! People known to a device (seed 003; contract tuya §3.15).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN, HELD_ELSEWHERE, PLUG, SCALE};

fn users() -> String {
    format!("/v1.0/devices/{SCALE}/users")
}

fn add(app: &TuyaApp, facts: Value) -> Value {
    app.post(&format!("/v1.0/devices/{SCALE}/user"), facts)
}

#[test]
fn add_device_user() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    for (facts, expected) in [
        (json!({"nick_name": "n", "sex": 1}), 0),
        (
            json!({"nick_name": "n", "sex": "2", "birthday": -1000, "height": "178", "weight": 70_000, "contact": "c"}),
            0,
        ),
        (json!({"nickName": "n", "sex": 2}), 0),
        (json!({"sex": 1}), 1100),
        (json!({"nick_name": "n"}), 1100),
        (json!({"nick_name": "", "sex": 1}), 1100),
        (json!({"nick_name": "n", "sex": 3}), 1101),
        (json!({"nick_name": "n", "sex": 1.5}), 1109),
        (json!({"nick_name": "n", "sex": "male"}), 1109),
        (json!({"nick_name": "n", "sex": 1, "height": 301}), 1101),
        (json!({"nick_name": "n", "sex": 1, "weight": -1}), 1101),
        (json!({"nick_name": "n", "sex": 1, "birthday": 99_999_999_999_999_i64}), 1101),
        (json!({"nick_name": "n".repeat(65), "sex": 1}), 1101),
    ] {
        assert_eq!(add(&app, facts.clone())["code"].as_i64().unwrap_or(0), expected, "{facts}");
    }
    assert_eq!(app.get(&users())["result"].as_array().unwrap().len(), 3);
    assert_eq!(app.post(&format!("/v1.0/devices/{FOREIGN}/user"), json!({"nick_name": "n", "sex": 1}))["code"], 1106);
}

#[test]
fn the_maker_of_a_device_does_not_meet_the_people_of_another_projects_home() {
    let cloud = TestCloud::start();
    let target = format!("/v1.0/devices/{HELD_ELSEWHERE}/users");
    let person = json!({"nick_name": "at home", "sex": 1});
    let added = cloud.second().post(&format!("/v1.0/devices/{HELD_ELSEWHERE}/user"), person.clone());
    let id = added["result"].as_str().unwrap();
    assert_eq!(cloud.second().get(&target)["result"][0]["nick_name"], "at home");
    let maker = cloud.first();
    assert_eq!(maker.get(&target)["code"], 1106);
    assert_eq!(maker.get(&format!("{target}/{id}"))["code"], 1106);
    assert_eq!(maker.delete(&format!("{target}/{id}"))["code"], 1106);
    assert_eq!(maker.post(&format!("/v1.0/devices/{HELD_ELSEWHERE}/user"), person)["code"], 1106);
}

#[test]
fn a_device_knows_a_hundred_people_at_most() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    for _ in 0..100 {
        assert_eq!(add(&app, json!({"nick_name": "n", "sex": 1}))["success"], true);
    }
    assert_eq!(add(&app, json!({"nick_name": "n", "sex": 1}))["code"], 1101);
    assert_eq!(app.get(&users())["result"].as_array().unwrap().len(), 100);
}

#[test]
fn update_device_user() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let facts = json!({"nick_name": "n", "sex": 1, "birthday": 5, "height": 170, "weight": 60_000, "contact": "c"});
    let id = add(&app, facts)["result"].as_str().unwrap().to_owned();
    let one = format!("{}/{id}", users());
    assert_eq!(app.put(&one, json!({"nick_name": "m", "sex": 2}))["result"], true);
    // What is not given is gone; the contact, which this call does not have, stays.
    let expected = json!({"device_id": SCALE, "user_id": id, "nick_name": "m", "sex": 2, "contact": "c"});
    assert_eq!(app.get(&one)["result"], expected);
    assert_eq!(app.put(&one, json!({"sex": 2}))["code"], 1100);
    assert_eq!(app.put(&format!("{}/9999999", users()), json!({"nick_name": "m", "sex": 2}))["code"], 2006);
    // The id is of this device alone.
    let elsewhere = format!("/v1.0/devices/{PLUG}/users/{id}");
    assert_eq!(app.put(&elsewhere, json!({"nick_name": "m", "sex": 2}))["code"], 2006);
}

#[test]
fn remove_device_user() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let id = add(&app, json!({"nick_name": "n", "sex": 1}))["result"].as_str().unwrap().to_owned();
    let one = format!("{}/{id}", users());
    assert_eq!(app.delete(&format!("/v1.0/devices/{PLUG}/users/{id}"))["code"], 2006);
    assert_eq!(app.delete(&format!("/v1.0/devices/{FOREIGN}/users/{id}"))["code"], 1106);
    assert_eq!(app.delete(&one)["result"], true);
    assert_eq!((&app.delete(&one)["code"], &app.get(&one)["code"]), (&json!(2006), &json!(2006)));
}

#[test]
fn device_user() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let id = add(&app, json!({"nick_name": "名", "sex": 2, "height": 160}))["result"].as_str().unwrap().to_owned();
    let expected =
        json!({"device_id": SCALE, "user_id": id, "nick_name": "名", "sex": 2, "height": 160, "contact": ""});
    assert_eq!(app.get(&format!("{}/{id}", users()))["result"], expected);
    for id in ["unknown", "0", "%00", "1%2F2"] {
        assert_eq!(app.get(&format!("{}/{id}", users()))["code"], 2006, "{id}");
    }
    assert_eq!(app.get(&format!("/v1.0/devices/{FOREIGN}/users/{id}"))["code"], 1106);
}

#[test]
fn device_users() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    assert_eq!(app.get(&users())["result"], json!([]));
    for name in ["c", "a", "b"] {
        add(&app, json!({"nick_name": name, "sex": 1}));
    }
    let list = app.get(&users())["result"].clone();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|user| user["nick_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert_eq!(app.get(&format!("/v1.0/devices/{FOREIGN}/users"))["code"], 1106);
}
