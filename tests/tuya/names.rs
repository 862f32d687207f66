//! Names of functions (seed 003; contract tuya §3.8, §3.16).

use serde_json::json;

use crate::support::TestCloud;
use crate::support::world::{DUMB, FOREIGN, PLUG};

#[test]
fn name_function() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}/functions/switch_1");
    assert_eq!(app.put(&target, json!({"name": "左"}))["result"], true);
    // One old client sends a bare string; the last name stands.
    assert_eq!(app.put(&target, json!("links"))["result"], true);
    let names = app.get(&format!("/v1.0/devices/{PLUG}/multiple-names"))["result"].clone();
    assert_eq!(names, json!([{"identifier": "switch_1", "name": "links"}]));
    for (device, code, body, expected) in [
        (PLUG, "unknown", json!({"name": "n"}), 2003),
        (DUMB, "switch_1", json!({"name": "n"}), 2003),
        (PLUG, "switch_1", json!({}), 1100),
        (PLUG, "switch_1", json!({"name": ""}), 1100),
        (PLUG, "switch_1", json!({"name": 1.5e300}), 0),
        (PLUG, "switch_1", json!({"name": []}), 1109),
        (PLUG, "switch_1", json!({"name": "n".repeat(129)}), 1101),
        (FOREIGN, "switch_led", json!({"name": "n"}), 1106),
        ("unknown", "switch_1", json!({"name": "n"}), 1106),
    ] {
        let answer = app.put(&format!("/v1.0/devices/{device}/functions/{code}"), body.clone());
        assert_eq!(answer["code"].as_i64().unwrap_or(0), expected, "{device} {code} {body}");
    }
}

#[test]
fn set_multiple_name() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}/multiple-name");
    for (body, expected) in [
        (json!({"identifier": "switch_2", "name": "right"}), 0),
        (json!({"identifier": "switch_9", "name": "right"}), 2003),
        (json!({"identifier": "", "name": "right"}), 1100),
        (json!({"name": "right"}), 1100),
        (json!({"identifier": "switch_2"}), 1100),
        (json!({"identifier": "s".repeat(65), "name": "right"}), 1101),
        (json!({"identifier": true, "name": "right"}), 1109),
    ] {
        assert_eq!(app.put(&target, body.clone())["code"].as_i64().unwrap_or(0), expected, "{body}");
    }
    assert_eq!(
        app.put(&format!("/v1.0/devices/{FOREIGN}/multiple-name"), json!({"identifier": "a", "name": "n"}))["code"],
        1106
    );
}

#[test]
fn multiple_names() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}/multiple-names");
    assert_eq!(app.get(&target)["result"], json!([]));
    app.put(&format!("/v1.0/devices/{PLUG}/multiple-name"), json!({"identifier": "switch_2", "name": "b"}));
    app.put(&format!("/v1.0/devices/{PLUG}/functions/switch_1"), json!({"name": "a"}));
    let names = json!([{"identifier": "switch_1", "name": "a"}, {"identifier": "switch_2", "name": "b"}]);
    assert_eq!(app.get(&target)["result"], names);
    assert_eq!(app.get(&format!("/v1.0/devices/{FOREIGN}/multiple-names"))["code"], 1106);
}
