//! Lists of devices under the paths that integrations call (contract tuya §4.2).

use serde_json::{Value, json};

use super::status::batches;
use crate::support::TestCloud;
use crate::support::people::{HOME, MEMBER};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN, GUEST, HELD_ELSEWHERE, OWNER, PLUG, SCALE, SPEAKER};

/// The ids of every page, and that each page says whether there are more.
fn walk(app: &TuyaApp, first: &str, list: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut target = first.to_owned();
    loop {
        let page = app.get(&target)["result"].clone();
        let here = page[list].as_array().unwrap_or_else(|| panic!("{page}"));
        ids.extend(here.iter().map(|device| device["id"].as_str().unwrap().to_owned()));
        let key = page["last_row_key"].as_str().unwrap();
        assert_eq!(page["has_more"], !key.is_empty());
        if key.is_empty() {
            assert_eq!(page["total"], ids.len());
            return ids;
        }
        let (path, query) = first.split_once('?').unwrap();
        let mut pairs: Vec<String> = query.split('&').map(str::to_owned).collect();
        pairs.push(format!("last_row_key={key}"));
        pairs.sort();
        target = format!("{path}?{}", pairs.join("&"));
    }
}

#[test]
fn associated_devices() {
    let cloud = TestCloud::start();
    let (app, path) = (cloud.first(), "/v1.0/iot-01/associated-users/devices");
    let all = walk(&app, &format!("{path}?size=200"), "devices");
    assert!(all.len() > 8 && all.contains(&PLUG.to_owned()) && !all.contains(&FOREIGN.to_owned()), "{all:?}");
    for size in [1, 2, 5, 100] {
        assert_eq!(walk(&app, &format!("{path}?size={size}"), "devices"), all, "{size}");
    }
    let one = app.get(&format!("{path}?size=200"))["result"]["devices"].clone();
    let one = one.as_array().unwrap().iter().find(|device| device["id"] == PLUG).unwrap().clone();
    assert_eq!(one, app.get(&format!("/v1.0/devices/{PLUG}"))["result"]);
    for (query, code) in [("size=0", 1101), ("size=201", 1101), ("size=x", 1109), ("last_row_key=x", 1109)] {
        assert_eq!(app.get(&format!("{path}?{query}"))["code"], code, "{query}");
    }
    assert_eq!(walk(&cloud.second(), &format!("{path}?size=50"), "devices"), [HELD_ELSEWHERE, FOREIGN]);
}

#[test]
fn pages_longer_than_the_stores() {
    let cloud = TestCloud::start();
    let device = |n: usize| json!({"product_id": "EvolhYPyZNWYP001", "device_id": format!("many{n:03}")});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": (0..250).map(device).collect::<Vec<Value>>()}]}));
    let (app, path) = (cloud.first(), "/v1.0/iot-01/associated-users/devices");
    let all = walk(&app, &format!("{path}?size=200"), "devices");
    assert!(all.len() > 250);
    assert_eq!(app.get(&format!("{path}?size=200"))["result"]["devices"].as_array().unwrap().len(), 200);
    assert_eq!(walk(&app, &format!("{path}?size=99"), "devices"), all);
}

#[test]
fn iot03_device() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    assert_eq!(
        app.get(&format!("/v1.0/iot-03/devices/{PLUG}"))["result"],
        app.get(&format!("/v1.0/devices/{PLUG}"))["result"]
    );
    assert_eq!(app.get(&format!("/v1.0/iot-03/devices/{FOREIGN}"))["code"], 1106);
}

#[test]
fn iot03_devices() {
    let cloud = TestCloud::start();
    let answer = cloud.first().get(&format!("/v1.0/iot-03/devices?device_ids={PLUG}"))["result"].clone();
    assert_eq!((&answer["total"], &answer["list"][0]["id"]), (&json!(1), &json!(PLUG)));
    let mut device = cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
    device.as_object_mut().unwrap().remove("status");
    assert_eq!(answer["list"][0], device, "one client breaks on a status here");
    batches(&cloud, "/v1.0/iot-03/devices", |result| result["list"].as_array().unwrap().len());
}

#[test]
fn remove_devices() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let there = |id: &str| app.get(&format!("/v1.0/devices/{id}"))["success"].clone();
    let remove = |ids: &str| app.delete(&format!("/v1.0/iot-03/devices?device_ids={ids}"));
    assert_eq!(remove(&format!("{PLUG},nobody"))["code"], 1106);
    assert_eq!(remove(&format!("{PLUG},{FOREIGN}"))["code"], 1106);
    assert_eq!(there(PLUG), true, "none of them");
    assert_eq!(app.delete("/v1.0/iot-03/devices")["code"], 1100);
    // One client ends the path with a slash.
    let answer = app.delete(&format!("/v1.0/iot-03/devices/?device_ids={PLUG},{SCALE},{PLUG}"));
    assert_eq!((answer["result"].clone(), there(PLUG), there(SCALE)), (json!(true), json!(false), json!(false)));
}

/// What each newer way of removing or resetting a device has in common.
pub fn leaves(call: impl Fn(&TuyaApp, &str) -> Value) {
    let cloud = TestCloud::start();
    for id in [FOREIGN, "nobody", "a%2Fb", "%F0%9F%92%A1"] {
        assert_eq!(call(&cloud.first(), id)["code"], 1106, "{id}");
    }
    assert_eq!(call(&cloud.second(), PLUG)["code"], 1106);
    assert_eq!(call(&cloud.first(), PLUG)["result"], true);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106);
    assert_eq!(call(&cloud.first(), PLUG)["code"], 1106, "the second time");
}

#[test]
fn iot03_remove_device() {
    leaves(|app, id| app.delete(&format!("/v1.0/iot-03/devices/{id}")));
}

#[test]
fn iot03_reset_device() {
    leaves(|app, id| app.delete(&format!("/v1.0/iot-03/devices/{id}/actions/reset")));
}

#[test]
fn iot03_reset_device_post() {
    leaves(|app, id| app.post(&format!("/v1.0/iot-03/devices/{id}/actions/reset"), json!({})));
}

#[test]
fn sourced_devices() {
    let cloud = TestCloud::start();
    let (app, path) = (cloud.first(), "/v1.3/iot-03/devices");
    let ids = |query: &str| walk(&app, &format!("{path}?{query}"), "list");
    let all = ids("page_size=200");
    assert_eq!(all, walk(&app, "/v1.0/iot-01/associated-users/devices?size=200", "devices"));
    let mine = ids(&format!("page_size=75&source_id={OWNER}&source_type=tuyaUser"));
    assert!(mine.contains(&PLUG.to_owned()) && !mine.contains(&SPEAKER.to_owned()));
    assert_eq!(ids(&format!("page_size=2&source_id={OWNER}&source_type=tuyaUser")), mine);
    let guest = ids(&format!("page_size=75&source_id={GUEST}&source_type=tuyaUser"));
    assert!(guest.contains(&SPEAKER.to_owned()) && guest.contains(&PLUG.to_owned()), "own and shared: {guest:?}");
    assert_eq!(ids(&format!("device_ids={PLUG},nobody&page_size=75&source_id={OWNER}&source_type=tuyaUser")), [PLUG]);
    assert_eq!(ids("page_size=75&source_id=g0er6hSKgMqr0001&source_type=product").len(), 3);
    assert!(ids("page_size=75&source_id=testApp&source_type=homeApp").len() > 5);
    assert_eq!(ids(&format!("device_ids={PLUG}&page_size=75")), [PLUG]);
    let many = (0..21).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for (query, code) in [
        ("source_type=tuyaUser".to_owned(), 1100),
        ("source_id=x&source_type=other".to_owned(), 1101),
        ("source_id=nobody&source_type=tuyaUser".to_owned(), 1106),
        ("source_id=otherApp&source_type=homeApp".to_owned(), 1106),
        ("source_id=foreign000000001&source_type=product".to_owned(), 1106),
        ("page_size=201".to_owned(), 1101),
        (format!("page_size=0&source_id={OWNER}&source_type=tuyaUser"), 1101),
        (format!("device_ids={many}"), 1101),
        (format!("device_ids={many}&source_id={OWNER}&source_type=tuyaUser"), 1101),
        (format!("last_row_key=x&source_id={OWNER}&source_type=tuyaUser"), 1109),
    ] {
        assert_eq!(app.get(&format!("{path}?{query}"))["code"], code, "{query}");
    }
}

/// More than one list may hold: the first of them in an answer without pages, and all of them in pages, in every form.
#[test]
fn a_user_of_more_devices_than_one_list_holds_reads_all_of_them_in_pages() {
    let cloud = TestCloud::start();
    let people = crate::support::people::people(&cloud);
    let device = |n: usize| json!({"product_id": "dumb000000000001", "device_id": format!("many{n:04}"), "owner": "18200000678", "home_id": HOME});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": (0..1400).map(device).collect::<Vec<Value>>()}]}));
    let total = 1400 + 6;
    for app in [&people.owner, &people.member, &cloud.first()] {
        let (uid, home) = (if std::ptr::eq(app, &people.member) { MEMBER } else { OWNER }, HOME);
        for path in [format!("/v1.0/users/{uid}/devices"), format!("/v1.0/homes/{home}/devices")] {
            let ids = |query: &str| -> Vec<String> {
                let answer = app.get(&format!("{path}{query}"))["result"].clone();
                let list = answer.as_array().unwrap_or_else(|| panic!("{path}{query}: {answer}"));
                list.iter().map(|device| device["id"].as_str().unwrap().to_owned()).collect()
            };
            let first = ids("");
            assert_eq!(first.len(), 1000, "what fits");
            let paged: Vec<String> = (1..=15).flat_map(|page| ids(&format!("?page_no={page}&page_size=100"))).collect();
            assert_eq!((paged.len(), &paged[..1000]), (total, &first[..]));
        }
        for source in [format!("source_id={uid}&source_type=tuyaUser"), format!("source_id={home}&source_type=asset")] {
            let all = walk(app, &format!("/v1.3/iot-03/devices?page_size=200&{source}"), "list");
            // What is shared to the owner counts too; nothing is.
            assert_eq!(all.len(), total, "{source}");
        }
        let page = app.get(&format!("/v1.0/iot-02/assets/{home}/devices?page_size=200"))["result"].clone();
        assert_eq!((&page["total_size"], &page["has_next"]), (&json!(total), &json!(true)));
    }
}
