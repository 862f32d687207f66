//! A device of one project's product that another project's user owns (decision 0003): the maker's project sees that it
//! is there, its status and its log, may remove or reset it, and learns and does nothing else.

use serde_json::{Value, json};

use crate::openapi::{Route, routes};
use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN_USER, HELD_ELSEWHERE};

const NOW: i64 = 1_763_800_000_000;
/// A gateway of the first project's product, and what is behind it; both are the second project's user's.
const HUB: &str = "elsewherehub00000001";
const SENSOR: &str = "elsewheresensor00001";
const NEIGHBOUR: &str = "az1578962398648neigh1";
const DEVICES: [&str; 3] = [HELD_ELSEWHERE, HUB, SENSOR];

/// What the owner's project said of the devices and of the home. None of it is in anything that the maker's reads.
const OWNERS: [&str; 16] = [
    "Anna's bedroom",
    "Anna's hub",
    "Anna's sensor",
    "Anna's house",
    "Anna's weight",
    "Anna's hand",
    "Anna herself",
    "anna@example.com",
    "+09:00",
    "203.0.113.77",
    "35.6761",
    "139.6503",
    "localkeyanother1",
    "12700001",
    FOREIGN_USER,
    NEIGHBOUR,
];

/// The second project's user has made the devices the user's own.
fn world(cloud: &TestCloud) {
    let device = |id: &str, product: &str, name: &str| {
        json!({"product_id": product, "device_id": id, "name": name, "device_name": format!("factory-{id}"),
            "iot_id": format!("iot-{id}"), "time_zone": "+09:00", "ip": "203.0.113.77", "lat": "35.6761",
            "lon": "139.6503", "local_key": "localkeyanother1", "owner": "other@example.com", "home_id": 12_700_001,
            "shared_with": ["neighbour"]})
    };
    let mut sensor = device(SENSOR, "rzeSU2h9uoklx001", "Anna's sensor");
    sensor["gateway"] = json!(HUB);
    sensor["node_id"] = json!("anna-node");
    cloud.apply(&json!({"projects": [{"name": "second",
        "users": [{"schema": "otherApp", "username": "neighbour", "uid": NEIGHBOUR}],
        "homes": [{"home_id": 12_700_001, "name": "Anna's house", "owner": "other@example.com"}],
        "devices": [device(HUB, "gateway000000001", "Anna's hub"), sensor,
            device(HELD_ELSEWHERE, "g0er6hSKgMqr0001", "Anna's bedroom")]}]}));
    let second = cloud.second();
    for (code, name) in [("weight", "Anna's weight"), ("left_hand_r", "Anna's hand")] {
        let named = second.put(&format!("/v1.0/devices/{HELD_ELSEWHERE}/functions/{code}"), json!({"name": name}));
        assert_eq!(named["result"], true);
    }
    let person = json!({"nick_name": "Anna herself", "sex": 2, "contact": "anna@example.com"});
    assert_eq!(second.post(&format!("/v1.0/devices/{HELD_ELSEWHERE}/user"), person)["success"], true);
    cloud.import(&[(HELD_ELSEWHERE, NOW - 1000, 7, 1, "weight", json!(61))]);
}

/// A route's path and query, about one device wherever a device is meant.
fn target(route: &Route, device: &str) -> String {
    let (mut target, mut pairs) = (route.path.clone(), Vec::new());
    for parameter in &route.parameters {
        let value = match parameter.name.as_str() {
            "device_id" => device,
            "device_ids" => &DEVICES.join(","),
            "uid" => FOREIGN_USER,
            "home_id" | "asset_id" | "space_id" => "12700001",
            "schema" => "testApp",
            "category" => "qt",
            "function_code" => "weight",
            "start_time" => "0",
            "end_time" => &(NOW + 1000).to_string(),
            "type" => "1,2,3,4,5,6,7,8,9,10",
            "size" | "page_size" => "20",
            _ => "1",
        };
        if parameter.in_path {
            target = target.replace(&format!("{{{}}}", parameter.name), value);
        } else if parameter.required || matches!(parameter.name.as_str(), "device_ids" | "size" | "page_size") {
            pairs.push(format!("{}={value}", parameter.name));
        }
    }
    pairs.sort();
    if pairs.is_empty() { target } else { format!("{target}?{}", pairs.join("&")) }
}

/// Everything that the owner's project reads of the devices.
fn owner_sees(second: &TuyaApp) -> Vec<Value> {
    let mut seen: Vec<Value> =
        DEVICES.iter().map(|id| second.get(&format!("/v1.0/devices/{id}"))["result"].clone()).collect();
    for below in ["multiple-names", "users", "shares", "sub-devices"] {
        for id in DEVICES {
            seen.push(second.get(&format!("/v1.0/devices/{id}/{below}"))["result"].clone());
        }
    }
    seen
}

fn shows_nothing(what: &str, answer: &str) {
    for text in OWNERS.iter().chain(&["anna-node"]) {
        assert!(!answer.contains(text), "{what} shows {text}: {answer}");
    }
}

#[test]
fn the_maker_reads_nothing_that_the_owner_said_in_any_dialect() {
    let cloud = TestCloud::at(NOW);
    world(&cloud);
    let (first, second, aliyun) = (cloud.first(), cloud.second(), cloud.aliyun());
    let known = second.get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"].to_string();
    assert!(known.contains("Anna's bedroom") && known.contains("localkeyanother1"), "{known}");
    let (mut asked, mut seen) = (0, 0);
    for route in routes("tuya").iter().filter(|route| route.method == "GET") {
        for device in DEVICES {
            let answer = first.get(&target(route, device));
            shows_nothing(&route.path, &answer.to_string());
            asked += 1;
            seen += usize::from(answer["success"] == true);
        }
    }
    assert!(asked > 100 && seen > 50, "{asked} {seen}");
    for route in routes("aliyun") {
        for device in DEVICES {
            let params = json!({"iotId": format!("iot-{device}"), "identifier": "weight", "start": 0, "end": NOW,
                "pageSize": 10, "limit": 10, "ordered": false});
            let answer = aliyun.call_version(&route.path, "1.0.9", params).body;
            shows_nothing(&route.path, &answer.to_string());
        }
    }
    // What the maker is shown in their place: what the factory knows.
    let shown = first.get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"].clone();
    assert_eq!((&shown["name"], &shown["time_zone"]), (&json!("Wifi scales_OEM"), &json!("+00:00")));
    assert_eq!(first.reported(HELD_ELSEWHERE), json!([{"code": "weight", "value": 61}]), "the device's own word");
    assert_eq!(first.get(&format!("/v1.0/devices/{HELD_ELSEWHERE}/multiple-names"))["result"], json!([]));
    assert_eq!(first.get(&format!("/v1.0/devices/{HUB}/sub-devices"))["result"], json!([]), "what is in the home");
    let info = aliyun.data("/cloud/thing/info/get", json!({"iotId": format!("iot-{HELD_ELSEWHERE}")}));
    assert_eq!(info.get("nickname").and_then(Value::as_str).unwrap_or("Wifi scales_OEM"), "Wifi scales_OEM");
}

#[test]
fn no_filter_says_the_maker_when_the_owner_changed_something() {
    let cloud = TestCloud::at(NOW);
    world(&cloud);
    cloud.advance(std::time::Duration::from_secs(86_400));
    let second = cloud.second();
    assert_eq!(
        second.put(&format!("/v1.0/devices/{HELD_ELSEWHERE}"), json!({"name": "Anna's kitchen"}))["result"],
        true
    );
    let changed = |app: &TuyaApp| {
        let answer = app.get(&format!("/v1.0/devices?page_size=100&start_time={}", cloud.now_ms() / 1000 - 60));
        let list = answer["result"]["devices"].as_array().unwrap().clone();
        list.iter().any(|device| device["id"] == HELD_ELSEWHERE)
    };
    assert_eq!((changed(&second), changed(&cloud.first())), (true, false));
    let shown = cloud.first().get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"]["update_time"].clone();
    assert_eq!(shown, NOW / 1000);
}

#[test]
fn the_maker_may_remove_and_reset_and_do_nothing_else() {
    let cloud = TestCloud::at(NOW);
    world(&cloud);
    let (first, second) = (cloud.first(), cloud.second());
    let before = owner_sees(&second);
    let takes =
        |name: &str| name.starts_with("remove_device") || name.contains("reset") || name == "iot03_remove_device";
    let of_devices = |route: &Route| {
        route.method != "GET"
            && route.parameters.iter().any(|one| matches!(one.name.as_str(), "device_id" | "device_ids"))
    };
    let all = routes("tuya");
    let (taking, other): (Vec<&Route>, Vec<&Route>) = all
        .iter()
        .filter(|route| of_devices(route) && route.tag != "device_users")
        .partition(|route| takes(&route.name) && !route.name.contains("device_user"));
    assert!(taking.len() >= 7 && other.len() >= 8, "{} {}", taking.len(), other.len());
    let body = json!({"name": "taken over", "identifier": "weight", "uid": "az1578962398648guest1",
        "nick_name": "n", "sex": 1, "commands": [{"code": "weight", "value": 1}], "properties": {"weight": 1},
        "code": "weight", "input_params": {}, "duration": 60});
    let people = all.iter().filter(|route| route.tag == "device_users" && route.method != "GET");
    for route in other.into_iter().chain(people) {
        let answer = first.call(&route.method, &target(route, HELD_ELSEWHERE), &body.to_string()).body;
        assert_eq!(answer["success"], false, "{} {}: {answer}", route.method, route.path);
        shows_nothing(&route.path, &answer.to_string());
    }
    for (path, params) in [
        ("/cloud/thing/properties/set", json!({"iotId": format!("iot-{HELD_ELSEWHERE}"), "items": {"weight": 1}})),
        ("/living/cloud/user/binding/device/unbind", json!({"iotId": format!("iot-{HELD_ELSEWHERE}")})),
    ] {
        assert_ne!(cloud.aliyun().code(path, params), 200, "{path}");
    }
    assert_eq!(owner_sees(&second), before, "and nothing of it was done");
    for route in taking {
        let answer = first.call(&route.method, &target(route, HELD_ELSEWHERE), "{}").body;
        assert_eq!(answer["result"], true, "{} {}: {answer}", route.method, route.path);
        assert_eq!(
            second.get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["code"],
            1106,
            "{} {}",
            route.method,
            route.path
        );
        world(&cloud);
    }
}
