//! Devices as things (contract tuya §4.2).

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::{FOREIGN, PLUG, SCALE};

#[test]
fn thing() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let thing = app.get(&format!("/v2.0/cloud/thing/{PLUG}"))["result"].clone();
    for (member, value) in [
        ("id", json!(PLUG)),
        ("is_online", json!(false)),
        ("custom_name", json!("xxx测试")),
        ("product_id", json!("EvolhYPyZNWYP001")),
        ("product_name", json!("Wi-Fi 智能计量插座")),
        ("local_key", json!("11a53bdd67e40001")),
        ("bind_space_id", json!("10700001")),
        ("category", json!("cz")),
        ("sub", json!(false)),
    ] {
        assert_eq!(thing[member], value, "{member}");
    }
    assert!(thing["create_time"].as_i64().unwrap() < 99_999_999_999, "seconds");
    for id in [FOREIGN, "nobody"] {
        assert_eq!(app.get(&format!("/v2.0/cloud/thing/{id}"))["code"], 1106);
    }
}

#[test]
fn things() {
    let cloud = TestCloud::start();
    let (app, path) = (cloud.first(), "/v2.0/cloud/thing/device");
    let ids = |page: &Value| -> Vec<String> {
        page["result"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .iter()
            .map(|thing| thing["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = ids(&app.get(&format!("{path}?page_size=20")));
    assert!(all.len() > 8 && !all.contains(&FOREIGN.to_owned()));
    let mut walked = ids(&app.get(&format!("{path}?page_size=3")));
    while let Some(last) = walked.last() {
        let more = ids(&app.get(&format!("{path}?last_id={last}&page_size=3")));
        if more.is_empty() {
            break;
        }
        walked.extend(more);
    }
    assert_eq!(walked, all);
    let one = app.get(&format!("{path}?device_ids={PLUG}"))["result"][0].clone();
    assert_eq!(
        (&one["isOnline"], &one["customName"], &one["localKey"]),
        (&json!(false), &json!("xxx测试"), &json!("11a53bdd67e40001"))
    );
    assert!(one["is_online"].is_null(), "spelled otherwise than the detail");
    assert_eq!(ids(&app.get(&format!("{path}?product_ids=EvolhYPyZNWYP001"))), [PLUG]);
    let both = ids(&app.get(&format!("{path}?product_ids=EvolhYPyZNWYP001,g0er6hSKgMqr0001")));
    assert!(both.len() > 1 && both.iter().any(|id| id == PLUG) && both.iter().any(|id| id == SCALE), "{both:?}");
    let sockets = ids(&app.get(&format!("{path}?categories=cz")));
    assert!(sockets.iter().any(|id| id == PLUG) && !sockets.iter().any(|id| id == SCALE), "{sockets:?}");
    let scales = app.get(&format!("/v2.0/cloud/thing/{SCALE}"))["result"]["category"].clone();
    let two = ids(&app.get(&format!("{path}?categories=cz,{}", scales.as_str().unwrap())));
    assert!(two.iter().any(|id| id == PLUG) && two.iter().any(|id| id == SCALE), "{two:?}");
    assert_eq!(app.get(&format!("{path}?categories=none"))["result"], json!([]));
    let many = (0..21).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for (query, code) in [
        ("page_size=21".to_owned(), 1101),
        ("page_size=0".to_owned(), 1101),
        ("last_id=nobody".to_owned(), 1109),
        (format!("last_id={FOREIGN}"), 1109),
        ("product_ids=a,b".to_owned(), 1106),
        (format!("product_ids={many}"), 1101),
        (format!("categories={many}"), 1101),
        ("product_ids=foreign000000001".to_owned(), 1106),
        (format!("device_ids={many}"), 1101),
    ] {
        assert_eq!(app.get(&format!("{path}?{query}"))["code"], code, "{query}");
    }
}

#[test]
fn thing_model_of_device() {
    let cloud = TestCloud::start();
    let answer = cloud.first().get(&format!("/v2.0/cloud/thing/{PLUG}/model"))["result"].clone();
    let model: Value = serde_json::from_str(answer["model"].as_str().unwrap()).unwrap();
    let first = &model["services"][0]["properties"][0];
    assert_eq!(
        (&first["code"], &first["abilityId"], &first["accessMode"]),
        (&json!("cur_power"), &json!(1), &json!("rw"))
    );
    assert_eq!(first["typeSpec"], json!({"type": "value", "min": 0, "max": 1_000_000}));
    assert_eq!(cloud.first().get(&format!("/v2.0/cloud/thing/{FOREIGN}/model"))["code"], 1106);
}

#[test]
fn shadow_properties() {
    let cloud = TestCloud::start();
    let (app, now) = (cloud.first(), cloud.now_ms());
    cloud.import(&[
        (PLUG, now - 5, 7, 1, "switch_1", json!(true)),
        (PLUG, now, 7, 1, "cur_power", json!(7)),
        (PLUG, now, 7, 1, "unknown", json!(1)),
    ]);
    assert_eq!(app.put(&format!("/v1.0/devices/{PLUG}/functions/switch_1"), json!({"name": "左"}))["result"], true);
    let path = format!("/v2.0/cloud/thing/{PLUG}/shadow/properties");
    let switch =
        json!({"code": "switch_1", "custom_name": "左", "dp_id": 6, "time": now - 5, "type": "bool", "value": true});
    let power = json!({"code": "cur_power", "custom_name": "", "dp_id": 1, "time": now, "type": "value", "value": 7});
    let properties = app.get(&path)["result"]["properties"].clone();
    let properties = properties.as_array().unwrap();
    assert_eq!((&properties[0], &properties[5], properties.len()), (&power, &switch, 7));
    let voltage = json!({"code": "cur_voltage", "custom_name": "", "dp_id": 2, "time": 0, "type": "value", "value": 0});
    assert_eq!(properties[1], voltage, "the default until it is reported");
    assert_eq!(app.get(&format!("{path}?codes=cur_power,nothing"))["result"], json!({"properties": [power]}));
    assert_eq!(app.get(&format!("/v2.0/cloud/thing/{FOREIGN}/shadow/properties"))["code"], 1106);
}

#[test]
fn reset_thing() {
    super::device_lists::leaves(|app, id| app.post(&format!("/v2.0/cloud/thing/{id}/reset"), json!({})));
}
