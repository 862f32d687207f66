//! Homes, and what stands in them (contract tuya §4.2).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::people::{ADMIN, MEMBER, people};
use crate::support::world::{FOREIGN_USER, GATEWAY, GUEST, OWNER, PLUG, SPEAKER};

const HOME: &str = "/v1.0/homes/10700001";

/// What every path of a home refuses: another tenant's, unknown ones, and what is no number.
pub fn refuses(cloud: &TestCloud, path: impl Fn(&str) -> String) {
    for id in ["1", "0", "-1", "x", "a%2Fb", "%F0%9F%92%A1", "99999999999999999999"] {
        assert_eq!(cloud.first().get(&path(id))["code"], 1106, "{id}");
    }
    assert_eq!(cloud.second().get(&path("10700001"))["code"], 1106);
}

#[test]
fn user_homes() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let homes = |uid: &str| app.get(&format!("/v1.0/users/{uid}/homes"));
    let expected =
        json!([{"home_id": 10_700_001, "name": "Home", "geo_name": "", "lat": 0.0, "lon": 0.0, "role": "OWNER"}]);
    assert_eq!(homes(OWNER)["result"], expected);
    assert_eq!(homes(GUEST)["result"][0]["home_id"], 11_600_001);
    for uid in [FOREIGN_USER, "nobody"] {
        assert_eq!(homes(uid)["code"], 1106, "{uid}");
    }
    assert_eq!(cloud.second().get(&format!("/v1.0/users/{OWNER}/homes"))["code"], 1106);
}

#[test]
fn home() {
    let cloud = TestCloud::start();
    let home = cloud.first().get(HOME)["result"].clone();
    assert_eq!(home, json!({"home_id": 10_700_001, "name": "Home", "geo_name": "", "lat": 0.0, "lon": 0.0}));
    refuses(&cloud, |id| format!("/v1.0/homes/{id}"));
}

#[test]
fn home_devices() {
    let cloud = TestCloud::start();
    let devices = cloud.first().get(&format!("{HOME}/devices"))["result"].clone();
    let ids: Vec<&Value> = devices.as_array().unwrap().iter().map(|device| &device["id"]).collect();
    assert!(
        ids.contains(&&json!(PLUG)) && ids.contains(&&json!(GATEWAY)) && !ids.contains(&&json!(SPEAKER)),
        "{ids:?}"
    );
    assert_eq!(devices[0], cloud.first().get(&format!("/v1.0/devices/{}", ids[0].as_str().unwrap()))["result"]);
    refuses(&cloud, |id| format!("/v1.0/homes/{id}/devices"));
}

#[test]
fn home_rooms() {
    let cloud = TestCloud::start();
    let home = cloud.first().get(&format!("{HOME}/rooms"))["result"].clone();
    assert_eq!((&home["home_id"], &home["rooms"]), (&json!(10_700_001), &json!([])));
    refuses(&cloud, |id| format!("/v1.0/homes/{id}/rooms"));
}

#[test]
fn create_home() {
    let cloud = TestCloud::start();
    let (app, path) = (cloud.first(), "/v1.0/home/create-home");
    let place = json!({"name": "Boat", "geo_name": "Elbe", "lat": "53.5", "lon": 9.9});
    let made = app.post(path, json!({"uid": OWNER, "home": place, "rooms": ["Cabin"]}));
    let id = made["result"].as_i64().unwrap_or_else(|| panic!("{made}"));
    let home = json!({"home_id": id, "name": "Boat", "geo_name": "Elbe", "lat": 53.5, "lon": 9.9});
    assert_eq!(app.get(&format!("/v1.0/homes/{id}"))["result"], home);
    assert_eq!(app.get(&format!("/v1.0/users/{OWNER}/homes"))["result"].as_array().unwrap().len(), 2);
    for (body, code) in [
        (json!({"uid": OWNER}), 1100),
        (json!({"uid": OWNER, "home": {"name": ""}}), 1100),
        (json!({"home": {"name": "x"}}), 1100),
        (json!({"uid": OWNER, "home": "x"}), 1109),
        (json!({"uid": OWNER, "home": {"name": "x", "lat": 91}}), 1101),
        (json!({"uid": OWNER, "home": {"name": "x", "lon": "far"}}), 1109),
        (json!({"uid": OWNER, "home": {"name": "x".repeat(129)}}), 1101),
        (json!({"uid": FOREIGN_USER, "home": {"name": "x"}}), 1106),
        (json!({"uid": "nobody", "home": {"name": "x"}}), 1106),
    ] {
        assert_eq!(app.post(path, body.clone())["code"], code, "{body}");
    }
    for n in 2..100 {
        assert_eq!(app.post(path, json!({"uid": OWNER, "home": {"name": n.to_string()}}))["success"], true, "{n}");
    }
    assert_eq!(app.post(path, json!({"uid": OWNER, "home": {"name": "one too many"}}))["code"], 1101);
    let people = people(&cloud);
    assert_eq!(people.member.post(path, json!({"uid": MEMBER, "home": {"name": "Mine"}}))["success"], true);
    assert_eq!(people.member.post(path, json!({"uid": ADMIN, "home": {"name": "x"}}))["code"], 1106);
}

#[test]
fn change_home() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    assert_eq!(app.put(HOME, json!({"name": "House", "lat": 1.5}))["result"], true);
    assert_eq!(app.put(HOME, json!({"geo_name": "Hamburg"}))["result"], true);
    let home = json!({"home_id": 10_700_001, "name": "House", "geo_name": "Hamburg", "lat": 1.5, "lon": 0.0});
    assert_eq!(app.get(HOME)["result"], home);
    assert_eq!(app.put(HOME, json!({}))["code"], 1100);
    for id in ["1", "x", "%F0%9F%92%A1"] {
        assert_eq!(app.put(&format!("/v1.0/homes/{id}"), json!({"name": "x"}))["code"], 1106);
    }
    assert_eq!(cloud.second().put(HOME, json!({"name": "x"}))["code"], 1106);
    let people = people(&cloud);
    for user in [&people.admin, &people.member, &people.sharee, &people.stranger] {
        assert_eq!(user.put(HOME, json!({"name": "x"}))["code"], 1106);
    }
    assert_eq!(people.owner.put(HOME, json!({"name": "Mine"}))["result"], true);
    assert_eq!(people.member.get(HOME)["result"]["name"], "Mine");
}

#[test]
fn remove_home() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    for user in [&people.admin, &people.member, &people.stranger, &cloud.second()] {
        assert_eq!(user.delete(HOME)["code"], 1106);
    }
    assert_eq!(people.member.get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
    assert_eq!(people.owner.delete(HOME)["result"], true);
    assert_eq!(cloud.first().delete(HOME)["code"], 1106, "the second time");
    // The devices stay their owner's, and are nobody else's any more.
    assert_eq!(people.owner.get(&format!("/v1.0/devices/{PLUG}"))["result"]["owner_id"], "");
    assert_eq!(people.member.get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106);
    assert_eq!(people.member.get(&format!("/v1.0/users/{MEMBER}/homes"))["result"], json!([]));
}
