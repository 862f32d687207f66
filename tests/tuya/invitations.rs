//! Invitations into homes: nobody lives in another's home without having accepted (decision 0014).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::people::{HOME, MEMBER, OWNER_NAME, People, STRANGER, people, sign_in};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN_USER, OWNER, PLUG, standard};

const NOW: i64 = 1_763_800_000_000;

/// A home of a user's, made by the user.
fn home_of(app: &TuyaApp, uid: &str, name: &str) -> i64 {
    let made = app.post("/v1.0/home/create-home", json!({"uid": uid, "home": {"name": name}}));
    made["result"].as_i64().unwrap_or_else(|| panic!("{made}"))
}

/// The answer to taking a user into a home.
fn add(app: &TuyaApp, home: i64, account: &str, admin: bool) -> Value {
    let member = json!({"member_account": account, "admin": admin, "name": "New"});
    app.post(&format!("/v1.0/homes/{home}/members"), json!({"app_schema": "testApp", "member": member}))
}

fn waiting(app: &TuyaApp, uid: &str) -> Vec<i64> {
    let answer = app.get(&format!("/v1.0/users/{uid}/invitations"))["result"].clone();
    let list = answer.as_array().unwrap_or_else(|| panic!("{answer}"));
    list.iter().map(|invitation| invitation["home_id"].as_i64().unwrap()).collect()
}

fn answer(app: &TuyaApp, uid: &str, home: i64, accept: bool) -> Value {
    app.put(&format!("/v1.0/users/{uid}/invitations/{home}"), json!({"accept": accept}))
}

/// What a user has of homes and devices, in every list that there is.
fn has(app: &TuyaApp, uid: &str) -> Vec<Value> {
    let paths = [
        format!("/v1.0/users/{uid}/homes"),
        format!("/v1.0/users/{uid}/devices"),
        "/v1.0/iot-03/users/assets?page_no=0".to_owned(),
        "/v1.0/iot-02/assets/-1/sub-assets".to_owned(),
        "/v1.0/devices?page_size=100".to_owned(),
        "/v1.0/iot-01/associated-users/devices?size=100".to_owned(),
        format!("/v1.3/iot-03/devices?page_size=100&source_id={uid}&source_type=tuyaUser"),
    ];
    paths.iter().map(|path| app.get(path)["result"].clone()).collect()
}

#[test]
fn invitations() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let path = format!("/v1.0/users/{STRANGER}/invitations");
    assert_eq!(people.stranger.get(&path)["result"], json!([]));
    assert_eq!(add(&people.owner, HOME, "stranger", true)["result"], true);
    let invitation = people.stranger.get(&path)["result"][0].clone();
    assert_eq!(
        (&invitation["home_id"], &invitation["name"], &invitation["admin"]),
        (&json!(HOME), &json!("Home"), &json!(true))
    );
    assert_eq!(
        (&invitation["inviter_name"], &invitation["inviter_account"]),
        (&json!("Owner"), &json!("86-182******78"))
    );
    let week = invitation["expire_time"].as_i64().unwrap() - invitation["invite_time"].as_i64().unwrap();
    assert_eq!(week, 7 * 24 * 3600);
    assert_eq!(cloud.first().get(&path)["result"][0]["inviter_account"], OWNER_NAME, "the project reads its users");
    for user in [&people.owner, &people.admin, &people.sharee, &cloud.second()] {
        assert_eq!(user.get(&path)["code"], 1106);
    }
    for uid in [FOREIGN_USER, "nobody", "%F0%9F%92%A1"] {
        assert_eq!(cloud.first().get(&format!("/v1.0/users/{uid}/invitations"))["code"], 1106, "{uid}");
    }
}

#[test]
fn answer_invitation() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let plug = format!("/v1.0/devices/{PLUG}");
    assert_eq!(answer(&people.stranger, STRANGER, HOME, true)["code"], 1106, "nobody has invited");
    assert_eq!(add(&people.admin, HOME, "stranger", false)["result"], true);
    for user in [&people.owner, &people.member, &cloud.second()] {
        assert_eq!(answer(user, STRANGER, HOME, true)["code"], 1106, "it is not theirs to accept");
    }
    for id in ["1", "0", "-1", "x", "a%2Fb", "%F0%9F%92%A1", "99999999999999999999"] {
        let path = format!("/v1.0/users/{STRANGER}/invitations/{id}");
        assert_eq!(people.stranger.put(&path, json!({"accept": true}))["code"], 1106, "{id}");
    }
    let path = format!("/v1.0/users/{STRANGER}/invitations/{HOME}");
    assert_eq!(people.stranger.put(&path, json!({}))["code"], 1100);
    assert_eq!(people.stranger.put(&path, json!({"accept": 1}))["code"], 1109);
    assert_eq!(answer(&people.stranger, STRANGER, HOME, false)["result"], true);
    assert_eq!(people.stranger.get(&plug)["code"], 1106, "declined");
    assert_eq!(answer(&people.stranger, STRANGER, HOME, true)["code"], 1106, "and over");
    // Another one is accepted, and the user lives there.
    assert_eq!(add(&people.owner, HOME, "stranger", true)["result"], true);
    assert_eq!(answer(&people.stranger, STRANGER, HOME, true)["result"], true);
    assert_eq!(people.stranger.get(&plug)["result"]["id"], PLUG);
    let members = people.owner.get(&format!("/v1.0/homes/{HOME}/members"))["result"].clone();
    let last = members.as_array().unwrap().last().unwrap();
    assert_eq!((&last["uid"], &last["admin"], &last["name"]), (&json!(STRANGER), &json!(true), &json!("New")));
    assert_eq!(answer(&people.stranger, STRANGER, HOME, true)["code"], 1106, "the second time");
}

#[test]
fn until_it_is_accepted_neither_sees_anything_of_the_other() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let home = home_of(&people.stranger, STRANGER, "Trap");
    let devices: Vec<Value> = (0..30)
        .map(|n| json!({"product_id": "dumb000000000001", "device_id": format!("trap{n}"), "owner": "stranger", "home_id": home}))
        .collect();
    cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    let before = has(&people.owner, OWNER);
    assert_eq!(add(&people.stranger, home, OWNER_NAME, true)["result"], true);
    assert_eq!(has(&people.owner, OWNER), before, "nothing of the home is the invited user's");
    for below in ["", "/devices", "/members", "/rooms"] {
        assert_eq!(people.owner.get(&format!("/v1.0/homes/{home}{below}"))["code"], 1106);
    }
    assert_eq!(people.owner.get("/v1.0/devices/trap0")["code"], 1106);
    let members = people.stranger.get(&format!("/v1.0/homes/{home}/members"))["result"].clone();
    assert_eq!(members.as_array().unwrap().len(), 1, "nor is the invited user shown there: {members}");
    let member = format!("/v1.0/homes/{home}/members/{OWNER}");
    assert_eq!(people.stranger.put(&member, json!({"admin": true}))["code"], 1106);
    assert_eq!(people.stranger.delete(&member)["code"], 1106);
}

#[test]
fn strangers_keep_no_real_invitation_out() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let homes: Vec<i64> = (0..99).map(|n| home_of(&people.stranger, STRANGER, &format!("Trap {n}"))).collect();
    let taken: Vec<bool> =
        homes.iter().map(|home| add(&people.stranger, *home, "member", true)["success"] == true).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 5, "one user invites another so often at once");
    assert_eq!(add(&people.stranger, homes[50], "member", true)["code"], 1101);
    let guests = home_of(&people.sharee, crate::support::world::GUEST, "Real");
    assert_eq!(add(&people.sharee, guests, "member", false)["result"], true);
    assert_eq!(waiting(&people.member, MEMBER).len(), 6);
    assert_eq!(answer(&people.member, MEMBER, guests, true)["result"], true);
    // Of one owner at most 20 homes, so that nobody's fill all that a user may live in.
    for home in homes.iter().take(25) {
        add(&people.stranger, *home, "member", false);
        answer(&people.member, MEMBER, *home, true);
    }
    let lived_in = people.member.get(&format!("/v1.0/users/{MEMBER}/homes"))["result"].clone();
    assert_eq!(lived_in.as_array().unwrap().len(), 1 + 1 + 20, "{lived_in}");
}

#[test]
fn an_invitation_ends_with_its_time_and_with_the_right_to_invite() {
    let cloud = TestCloud::at(NOW);
    let people = people(&cloud);
    assert_eq!(add(&people.admin, HOME, "stranger", false)["result"], true);
    assert_eq!(waiting(&people.stranger, STRANGER), [HOME]);
    let admin = format!("/v1.0/homes/{HOME}/members/{}", crate::support::people::ADMIN);
    assert_eq!(people.owner.put(&admin, json!({"admin": false}))["result"], true);
    assert_eq!(waiting(&people.stranger, STRANGER), Vec::<i64>::new(), "who invited may not any more");
    assert_eq!(answer(&people.stranger, STRANGER, HOME, true)["code"], 1106);
    assert_eq!(add(&people.owner, HOME, "stranger", false)["result"], true);
    cloud.advance(Duration::from_secs(7 * 24 * 3600 - 1));
    assert_eq!(waiting(&sign_in(&cloud, "stranger"), STRANGER), [HOME]);
    cloud.advance(Duration::from_secs(1));
    let stranger = sign_in(&cloud, "stranger");
    assert_eq!(waiting(&stranger, STRANGER), Vec::<i64>::new());
    assert_eq!(answer(&stranger, STRANGER, HOME, true)["code"], 1106);
}

#[test]
fn whom_the_project_takes_in_lives_there_at_once() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    assert_eq!(add(&people.owner, HOME, "stranger", false)["result"], true);
    assert_eq!(add(&cloud.first(), HOME, "stranger", true)["result"], true);
    assert_eq!(people.stranger.get(&format!("/v1.0/devices/{PLUG}"))["result"]["id"], PLUG);
    assert_eq!(waiting(&people.stranger, STRANGER), Vec::<i64>::new(), "nothing waits any more");
}

#[test]
fn a_login_accepts_what_waits_where_the_settings_say_so() {
    for setting in ["true", "false"] {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("data");
        let cloud = TestCloud::binary(&folder, &[("INGLE_TUYA_ACCEPT_INVITATIONS_AT_LOGIN", setting)]);
        cloud.apply(&standard());
        let People { owner, stranger, .. } = people(&cloud);
        assert_eq!(add(&owner, HOME, "stranger", false)["result"], true);
        assert_eq!(stranger.get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106, "not before the next login");
        let again = sign_in(&cloud, "stranger");
        let lives_there = again.get(&format!("/v1.0/homes/{HOME}"))["success"] == true;
        assert_eq!(lives_there, setting == "true");
    }
}
