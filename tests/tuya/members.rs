//! Who lives in a home (contract tuya §4.2).

use serde_json::{Value, json};

use super::homes::refuses;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::people::{ADMIN, HOME, MEMBER, STRANGER, people};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN_USER, GUEST, OWNER, PLUG};

const MEMBERS: &str = "/v1.0/homes/10700001/members";

/// Each member's uid, and whether admin.
fn list(app: &TuyaApp) -> Vec<(String, bool)> {
    let members = app.get(MEMBERS)["result"].clone();
    let row = |member: &Value| (member["uid"].as_str().unwrap().to_owned(), member["admin"] == true);
    members.as_array().unwrap_or_else(|| panic!("{members}")).iter().map(row).collect()
}

fn new(account: &str, admin: bool) -> Value {
    json!({"app_schema": "testApp", "member": {"country_code": "86", "member_account": account, "admin": admin,
        "name": "New"}})
}

#[test]
fn home_members() {
    let cloud = TestCloud::start();
    let members = cloud.first().get(MEMBERS)["result"].clone();
    assert_eq!(
        members,
        json!([{"uid": OWNER, "name": "Owner", "avatar": "", "country_code": "86", "member_account": "18200000678",
            "admin": true, "owner": true}])
    );
    refuses(&cloud, |id| format!("/v1.0/homes/{id}/members"));
    let people = people(&cloud);
    let everybody = [(OWNER.to_owned(), true), (ADMIN.to_owned(), true), (MEMBER.to_owned(), false)];
    for user in [&people.owner, &people.admin, &people.member] {
        assert_eq!(list(user), everybody);
        let account = &user.get(MEMBERS)["result"][0]["member_account"];
        assert_eq!(account, "86-182******78", "users are not shown each other's accounts");
    }
    for user in [&people.sharee, &people.stranger] {
        assert_eq!(user.get(MEMBERS)["code"], 1106);
    }
}

#[test]
fn add_member() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let plug = format!("/v1.0/devices/{PLUG}");
    assert_eq!(people.stranger.get(&plug)["code"], 1106);
    for user in [&people.member, &people.sharee, &people.stranger, &cloud.second()] {
        assert_eq!(user.post(MEMBERS, new("stranger", false))["code"], 1106);
    }
    assert_eq!(people.admin.post(MEMBERS, new("stranger", true))["code"], 1106, "an admin makes no admins");
    assert_eq!(people.admin.post(MEMBERS, new("stranger", false))["result"], true);
    assert_eq!(people.stranger.get(&plug)["code"], 1106, "only invited");
    assert_eq!(cloud.first().post(MEMBERS, new("stranger", false))["result"], true);
    assert_eq!(people.stranger.get(&plug)["result"]["id"], PLUG, "the project takes in at once");
    assert_eq!(people.owner.post(MEMBERS, new("stranger", true))["result"], true, "again, as admin");
    assert_eq!(list(&people.owner).last().unwrap(), &(STRANGER.to_owned(), true));
    for (body, code) in [
        (new("nobody", false), 1106),
        (new("18200000678", false), 1106),
        (json!({"app_schema": "otherApp", "member": {"member_account": "other@example.com"}}), 1106),
        (json!({"member": {}}), 1100),
        (json!({"member": []}), 1109),
        (json!({"member": {"member_account": "stranger", "admin": 1}}), 1109),
        (json!({}), 1100),
    ] {
        assert_eq!(people.owner.post(MEMBERS, body.clone())["code"], code, "{body}");
    }
    // Without the app it is the only user of that name.
    assert_eq!(people.owner.post(MEMBERS, json!({"member": {"member_account": "guest@example.com"}}))["result"], true);
}

#[test]
fn change_member() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let member = format!("{MEMBERS}/{MEMBER}");
    assert_eq!(people.admin.put(&member, json!({"name": "Kid"}))["result"], true);
    let named = people.owner.get(MEMBERS)["result"].clone();
    assert_eq!(named[2]["name"], "Kid");
    assert_eq!(people.admin.put(&member, json!({"admin": true}))["code"], 1106);
    assert_eq!(people.member.put(&member, json!({"name": "Boss"}))["code"], 1106);
    assert_eq!(people.owner.put(&member, json!({"admin": "true"}))["result"], true);
    assert_eq!(list(&people.owner)[2], (MEMBER.to_owned(), true));
    assert_eq!(people.owner.get(MEMBERS)["result"][2]["name"], "Kid", "the name stays");
    for (uid, body, code) in [
        (STRANGER, json!({"name": "x"}), 1106),
        (FOREIGN_USER, json!({"name": "x"}), 1106),
        (OWNER, json!({"admin": false}), 1106),
        (MEMBER, json!({}), 1100),
        ("%F0%9F%92%A1", json!({"name": "x"}), 1106),
    ] {
        assert_eq!(people.owner.put(&format!("{MEMBERS}/{uid}"), body)["code"], code, "{uid}");
    }
    assert_eq!(list(&people.owner).len(), 3, "nobody came by that way");
}

#[test]
fn remove_member() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let gone = |uid: &str| format!("{MEMBERS}/{uid}");
    assert_eq!(people.member.delete(&gone(ADMIN))["code"], 1106);
    assert_eq!(people.stranger.delete(&gone(MEMBER))["code"], 1106);
    assert_eq!(people.owner.delete(&gone(OWNER))["code"], 1106, "the owner stays");
    assert_eq!(people.owner.delete(&gone(GUEST))["code"], 1106, "does not live there");
    assert_eq!(people.member.delete(&gone(MEMBER))["result"], true, "everybody may go");
    assert_eq!(people.member.get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106, "at once");
    assert_eq!(people.owner.delete(&gone(MEMBER))["code"], 1106, "the second time");
    assert_eq!(cloud.first().post(MEMBERS, new("member", true))["result"], true);
    assert_eq!(people.admin.delete(&gone(MEMBER))["code"], 1106, "an admin sends no admin away");
    assert_eq!(people.owner.delete(&gone(MEMBER))["result"], true);
    assert_eq!(cloud.second().delete(&gone(ADMIN))["code"], 1106);
}

#[test]
fn no_user_reads_another_users_phone_number_whatever_the_project_may_read() {
    for mask in [true, false] {
        let cloud = TestCloud::start();
        let people = people(&cloud);
        cloud.apply(&json!({"projects": [{"name": "first", "tuya": {"mask_private_fields": mask}}]}));
        // The owner's name is a phone number, the sharee's an address.
        let shared = format!("/v1.0/devices/{PLUG}/shares");
        for (user, path) in
            [(&people.admin, MEMBERS), (&people.member, MEMBERS), (&people.owner, MEMBERS), (&people.owner, &shared)]
        {
            let answer = user.get(path).to_string();
            assert!(answer.contains("\"success\":true"), "{answer}");
            assert!(!answer.contains("18200000678") && !answer.contains("guest@example.com"), "{mask}: {answer}");
        }
        assert!(cloud.first().get(MEMBERS).to_string().contains("18200000678"), "the project reads its users");
        let own = people.owner.get(&format!("/v1.0/users/{OWNER}/infos"))["result"]["mobile"].clone();
        assert_eq!(own == "86-18200000678", !mask, "{own}");
    }
}

/// A device of the admin's that stands in the owner's home, brought there by pairing.
fn brought_by_the_admin(cloud: &TestCloud, people: &crate::support::people::People) -> String {
    let id = "broughtbyadmin000001".to_owned();
    let device = json!({"product_id": "EvolhYPyZNWYP001", "device_id": id, "secret": "brought-secret-1"});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [device]}]}));
    let token = people.admin.post("/v1.0/device/paring/token", json!({"home_id": HOME, "uid": ADMIN}));
    let token = token["result"]["token"].as_str().unwrap_or_else(|| panic!("{token}")).to_owned();
    let mut plug = MqttDevice::connect(cloud, &tuyalink(&id, "brought-secret-1"));
    let asked = json!({"msgId": "1", "data": {"token": token}});
    assert_eq!(plug.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
    let (_, answer) = plug.asked(&format!("tylink/{id}/device/bind"), &asked);
    assert_eq!(answer["code"], 0, "{answer}");
    id
}

#[test]
fn the_devices_of_somebody_who_is_sent_away_leave_the_home() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let id = brought_by_the_admin(&cloud, &people);
    let path = format!("/v1.0/devices/{id}");
    let shown = people.owner.get(&path)["result"].clone();
    assert_eq!((&shown["uid"], &shown["owner_id"]), (&json!(ADMIN), &json!(HOME.to_string())));
    assert_ne!(shown["local_key"], "", "who lives there has what stands there");
    let setpoint = json!({"properties": {"switch_1": true}, "duration": 3600, "type": 0});
    let desired = format!("/v2.0/cloud/thing/{id}/shadow/properties/desired");
    let desired_values = people.owner.post(&desired, setpoint);
    assert_eq!(desired_values["success"], true, "{desired_values}");

    assert_eq!(people.owner.delete(&format!("{MEMBERS}/{ADMIN}"))["result"], true);
    let command = json!({"commands": [{"code": "switch_1", "value": true}]});
    for user in [&people.owner, &people.member] {
        assert_eq!(user.get(&path)["code"], 1106);
        assert_eq!(user.post(&format!("{path}/commands"), command.clone())["code"], 1106);
        assert!(!user.get(&format!("/v1.0/homes/{HOME}/devices")).to_string().contains(&id));
    }
    let shown = people.admin.get(&path)["result"].clone();
    assert_eq!((&shown["uid"], &shown["owner_id"]), (&json!(ADMIN), &json!("")), "the admin's still, and nowhere");
    assert_eq!(people.admin.get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106, "and the owner's stay");
    // A desired value that its owner sets does not reach it.
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(&id, "brought-secret-1"));
    assert_eq!(plug.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
    let (_, desired_values) =
        plug.asked(&format!("tylink/{id}/thing/property/desired/get"), &json!({"msgId": "2", "data": {}}));
    assert_eq!(desired_values["data"], json!({"properties": {}}));
}

#[test]
fn a_member_who_becomes_the_homes_owner_is_listed_once_and_the_one_before_takes_the_devices() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let home = json!([{"home_id": HOME, "name": "Home", "owner": "admin"}]);
    cloud.apply(&json!({"projects": [{"name": "first", "homes": home}]}));
    assert_eq!(list(&people.admin), [(ADMIN.to_owned(), true), (MEMBER.to_owned(), false)]);
    assert_eq!(people.admin.get(&format!("/v1.0/homes/{HOME}"))["success"], true);
    for user in [&people.admin, &people.member] {
        assert_eq!(user.get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106);
    }
    assert_eq!(people.owner.get(&format!("/v1.0/devices/{PLUG}"))["result"]["owner_id"], "");
    assert_eq!(people.owner.get(MEMBERS)["code"], 1106, "who does not live there");
}
