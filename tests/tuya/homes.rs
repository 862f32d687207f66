//! Homes, and what stands in them (contract tuya §4.2).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::{FOREIGN_USER, GATEWAY, GUEST, OWNER, PLUG, SPEAKER};

const HOME: &str = "/v1.0/homes/10700001";

/// What every path of a home refuses: another tenant's, unknown ones, and what is no number.
fn refuses(cloud: &TestCloud, path: impl Fn(&str) -> String) {
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
fn home_members() {
    let cloud = TestCloud::start();
    let members = cloud.first().get(&format!("{HOME}/members"))["result"].clone();
    assert_eq!(
        members,
        json!([{"uid": OWNER, "name": "Owner", "avatar": "", "country_code": "86", "member_account": "18200000678",
            "admin": true, "owner": true}])
    );
    refuses(&cloud, |id| format!("/v1.0/homes/{id}/members"));
}

#[test]
fn home_rooms() {
    let cloud = TestCloud::start();
    let home = cloud.first().get(&format!("{HOME}/rooms"))["result"].clone();
    assert_eq!((&home["home_id"], &home["rooms"]), (&json!(10_700_001), &json!([])));
    refuses(&cloud, |id| format!("/v1.0/homes/{id}/rooms"));
}

#[test]
fn home_scenes() {
    let cloud = TestCloud::start();
    assert_eq!(cloud.first().get(&format!("{HOME}/scenes"))["result"], json!([]));
    refuses(&cloud, |id| format!("/v1.0/homes/{id}/scenes"));
}

#[test]
fn home_scenes_of_today() {
    let cloud = TestCloud::start();
    assert_eq!(cloud.first().get("/v1.1/homes/10700001/scenes")["result"], json!([]));
    refuses(&cloud, |id| format!("/v1.1/homes/{id}/scenes"));
}
