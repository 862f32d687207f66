//! Scenes and cameras, of which there are none (contract tuya §4.2).

use serde_json::json;

use super::homes::refuses;
use crate::support::TestCloud;
use crate::support::world::{FOREIGN, PLUG};

const HOME: &str = "/v1.0/homes/10700001";

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

#[test]
fn trigger_scene() {
    let cloud = TestCloud::start();
    let trigger = |home: &str| cloud.first().post(&format!("/v1.0/homes/{home}/scenes/1/trigger"), json!({}));
    assert_eq!(trigger("10700001")["code"], 2503);
    assert_eq!((trigger("1")["code"].clone(), trigger("x")["code"].clone()), (json!(1106), json!(1106)));
    assert_eq!(cloud.second().post(&format!("{HOME}/scenes/1/trigger"), json!({}))["code"], 1106);
}

#[test]
fn scene_rules() {
    let cloud = TestCloud::start();
    let rules = cloud.first().get("/v2.0/cloud/scene/rule?space_id=10700001")["result"].clone();
    assert_eq!(rules, json!({"has_more": false, "list": [], "total": 0}));
    assert_eq!(cloud.first().get("/v2.0/cloud/scene/rule")["code"], 1100);
    refuses(&cloud, |id| format!("/v2.0/cloud/scene/rule?space_id={id}"));
}

#[test]
fn trigger_rule() {
    let cloud = TestCloud::start();
    let trigger = cloud.first().post("/v2.0/cloud/scene/rule/1/actions/trigger", json!({}));
    assert_eq!(trigger["code"], 2503);
}

#[test]
fn allocate_stream() {
    let cloud = TestCloud::start();
    let allocate = |id: &str| {
        let path = format!("/v1.0/devices/{id}/stream/actions/allocate");
        cloud.first().post(&path, json!({"type": "rtsp"}))["code"].clone()
    };
    assert_eq!((allocate(PLUG), allocate(FOREIGN), allocate("nobody")), (json!(2009), json!(1106), json!(1106)));
}
