//! Devices (seed 003; contract tuya §3.4–3.14).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::people::people;
use crate::support::world::{
    DOOR, DUMB, FOREIGN, FOREIGN_USER, GATEWAY, GUEST, HELD_ELSEWHERE, LEAK, LONELY, OWNER, PLUG, SCALE, SPEAKER,
};

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap_or_else(|| panic!("{list}")).iter().map(|device| device["id"].as_str().unwrap()).collect()
}

#[test]
fn device() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let leak = app.get(&format!("/v1.0/devices/{LEAK}"))["result"].clone();
    assert_eq!(
        (&leak["sub"], &leak["gateway_id"], &leak["node_id"]),
        (&json!(true), &json!(GATEWAY), &json!("00124b0001"))
    );
    assert_eq!((&leak["uid"], &leak["owner_id"]), (&json!(OWNER), &json!("10700001")));
    let lonely = app.get(&format!("/v1.0/devices/{LONELY}"))["result"].clone();
    assert_eq!((&lonely["uid"], &lonely["owner_id"], &lonely["online"]), (&json!(""), &json!(""), &json!(false)));
    assert_eq!(app.reported(LONELY), json!([]));
    // Our product in another project's hands: we see it, but not whose it is there.
    let held_elsewhere = app.get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"].clone();
    assert_eq!((&held_elsewhere["id"], &held_elsewhere["uid"]), (&json!(HELD_ELSEWHERE), &json!("")));
    assert_eq!((&held_elsewhere["owner_id"], &held_elsewhere["local_key"]), (&json!(""), &json!("")));
    assert_eq!(cloud.second().get(&format!("/v1.0/devices/{HELD_ELSEWHERE}"))["result"]["uid"], FOREIGN_USER);
    for id in ["unknown", FOREIGN, "%E2%9C%93", "a%2Fb", "..", &"x".repeat(500)] {
        assert_eq!(app.get(&format!("/v1.0/devices/{id}"))["code"], 1106, "{id}");
    }
}

#[test]
fn a_device_keeps_the_json_types_of_its_values_and_the_latest_of_each() {
    let cloud = TestCloud::start();
    let now = cloud.now_ms();
    cloud.import(&[
        (PLUG, now - 2000, 7, 1, "switch", json!(true)),
        (PLUG, now - 1000, 7, 1, "cur_power", json!(-17)),
        (PLUG, now - 1000, 7, 1, "made_up", json!({"a": [1, null, "é"]})),
        (PLUG, now - 5000, 7, 1, "cur_power", json!(99)),
        (PLUG, now - 2000, 7, 1, "switch", json!(false)),
        (PLUG, now - 900, 7, 1, "text", json!("\u{1F600}\"\\")),
        (PLUG, now - 800, 7, 1, "float", json!(21.5)),
    ]);
    let device = cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
    let value = |code: &str| {
        let status = device["status"].as_array().unwrap();
        status.iter().find(|point| point["code"] == code).unwrap_or_else(|| panic!("{code} in {device}"))["value"]
            .clone()
    };
    assert_eq!(value("switch"), false);
    assert_eq!(value("cur_power"), -17);
    assert_eq!(value("made_up"), r#"{"a":[1,null,"é"]}"#, "a document is a text");
    assert_eq!(value("text"), "\u{1F600}\"\\");
    assert_eq!(value("float"), 21.5);
}

#[test]
fn user_devices() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let list = |user: &str, query: &str| app.get(&format!("/v1.0/users/{user}/devices{query}"))["result"].clone();
    let home = list(OWNER, "");
    let mut mine = ids(&home);
    mine.sort_unstable();
    let mut expected = [SCALE, PLUG, GATEWAY, LEAK, DOOR, DUMB];
    expected.sort_unstable();
    assert_eq!(mine, expected);
    assert_eq!(ids(&list(OWNER, "?from=home")), ids(&home));
    assert_eq!(list(OWNER, "?from=sharing"), json!([]));
    // Without `from` what is shared to the user is not in it.
    assert_eq!(ids(&list(GUEST, "")), [SPEAKER]);
    assert_eq!(ids(&list(GUEST, "?from=sharing")), [PLUG]);
    // Paged.
    let pages: Vec<Value> = (1..=4).map(|page| list(OWNER, &format!("?page_no={page}&page_size=2"))).collect();
    let paged: Vec<&str> = pages.iter().flat_map(ids).collect();
    assert_eq!(paged, ids(&home));
    for (path, code) in [
        (format!("/v1.0/users/{OWNER}/devices?from=mars"), 1101),
        (format!("/v1.0/users/{OWNER}/devices?page_size=0"), 1101),
        (format!("/v1.0/users/{OWNER}/devices?page_size=101"), 1101),
        (format!("/v1.0/users/{OWNER}/devices?page_no=one"), 1109),
        (format!("/v1.0/users/{FOREIGN_USER}/devices"), 1106),
        ("/v1.0/users/nobody/devices".to_owned(), 1106),
    ] {
        assert_eq!(app.get(&path)["code"], code, "{path}");
    }
}

#[test]
fn devices() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let list = |query: &str| app.get(&format!("/v1.0/devices{query}"));
    let all = list("")["result"].clone();
    let mut seen = ids(&all["devices"]);
    seen.sort_unstable();
    let mut expected = [SCALE, PLUG, SPEAKER, GATEWAY, LEAK, DOOR, LONELY, DUMB, HELD_ELSEWHERE];
    expected.sort_unstable();
    assert_eq!((seen.as_slice(), &all["total"]), (expected.as_slice(), &json!(9)));
    // Filters.
    let found = |query: &str| {
        let answer = list(query)["result"].clone();
        let mut found: Vec<String> = ids(&answer["devices"]).into_iter().map(str::to_owned).collect();
        found.sort();
        assert_eq!(answer["total"], found.len(), "{query}");
        found
    };
    assert_eq!(found("?product_id=rzeSU2h9uoklx001"), [LEAK, DOOR]);
    assert_eq!(found(&format!("?device_ids={PLUG},unknown,{FOREIGN}")), [PLUG]);
    assert_eq!(found(&format!("?device_ids={PLUG}%2C{PLUG}")), [PLUG]);
    assert_eq!(found(&format!("?device_ids[0]={PLUG}&device_ids[1]={LEAK}")), [PLUG, LEAK]);
    assert_eq!(found("?schema=testApp").len(), 7);
    assert_eq!(found("?schema=emptyApp"), [] as [&str; 0]);
    assert_eq!(found("?product_id=g0er6hSKgMqr0001&schema=testApp"), [SCALE]);
    let now = cloud.now_ms() / 1000;
    assert_eq!(found(&format!("?start_time={}", now + 100)), [] as [&str; 0]);
    assert_eq!(found(&format!("?end_time={}", now + 100)).len(), 9);
    // The second project has its own, one of them of our product.
    let mut others: Vec<String> =
        ids(&cloud.second().get("/v1.0/devices")["result"]["devices"]).into_iter().map(str::to_owned).collect();
    others.sort();
    assert_eq!(others, [HELD_ELSEWHERE, FOREIGN]);
    for (query, code) in [
        ("?schema=otherApp", 1106),
        ("?product_id=foreign000000001", 1106),
        ("?page_size=0", 1101),
        ("?page_size=101", 1101),
        ("?last_id=damaged", 1109),
        ("?last_id=x_y", 1109),
        ("?start_time=soon", 1109),
        ("?start_time=1763800000000", 1101),
    ] {
        assert_eq!(list(query)["code"], code, "{query}");
    }
    let many = vec!["a"; 21].join(",");
    assert_eq!(list(&format!("?device_ids={many}"))["code"], 1101);
}

#[test]
fn devices_by_cursor_stay_right_while_devices_change() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1.0/devices?last_id={cursor}&page_size=2"))["result"].clone();
        let here = ids(&page["devices"]);
        seen.extend(here.iter().map(|id| (*id).to_owned()));
        // Names change, and a device that was seen already goes.
        app.put(&format!("/v1.0/devices/{}", here[0]), json!({"name": "changed"}));
        if seen.len() == 4 {
            assert_eq!(app.delete(&format!("/v1.0/devices/{}", seen[1]))["result"], true);
        }
        cursor = page["last_id"].as_str().unwrap().to_owned();
        if here.len() < 2 {
            break;
        }
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), count), (9, 9));
    assert_eq!(app.get("/v1.0/devices?page_no=2&page_size=5")["result"]["devices"].as_array().unwrap().len(), 3);
    let end = app.get(&format!("/v1.0/devices?last_id={cursor}&page_size=2"))["result"].clone();
    assert_eq!((&end["devices"], &end["last_id"]), (&json!([]), &json!("")));
}

#[test]
fn rename_device() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    for name in ["客厅灯", "a", "😀 emoji", &"é".repeat(128)] {
        assert_eq!(app.put(&target, json!({"name": name}))["result"], true, "{name}");
        assert_eq!(app.get(&target)["result"]["name"], name);
    }
    // One old client sends the name as a bare string.
    assert_eq!(app.put(&target, json!("bare"))["result"], true);
    for (body, code) in [
        ("{}", 1100),
        ("", 1100),
        (r#"{"name":""}"#, 1100),
        (r#"{"name":"   "}"#, 1100),
        (r#"{"name":null}"#, 1100),
        (r#"{"name":{}}"#, 1109),
        (r#"{"name":true}"#, 1109),
        (r#"{"name":"a\u0000b"}"#, 1109),
        ("{", 1109),
        ("\"", 1109),
    ] {
        assert_eq!(app.call("PUT", &target, body).code(), code, "{body}");
    }
    assert_eq!(app.put(&target, json!({"name": "é".repeat(129)}))["code"], 1101);
    assert_eq!(app.put(&format!("/v1.0/devices/{FOREIGN}"), json!({"name": "n"}))["code"], 1106);
    assert_eq!(app.get(&target)["result"]["name"], "bare");
}

fn logs(app: &crate::support::tuya::TuyaApp, now_ms: i64, device: &str) -> Vec<Value> {
    let target =
        format!("/v1.0/devices/{device}/logs?end_time={}&size=100&start_time=0&type=1,2,3,4,5,6,7", now_ms + 60_000);
    app.get(&target)["result"]["logs"].as_array().unwrap().clone()
}

#[test]
fn remove_device() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "switch_1", json!(true))]);
    app.put(&format!("{target}/functions/switch_1"), json!({"name": "kept"}));
    assert_eq!(app.delete(&format!("/v1.0/devices/{FOREIGN}"))["code"], 1106);
    assert_eq!(app.delete(&target)["result"], true);
    // It belongs to nobody, and is not there a second time.
    for answer in [app.delete(&target), app.get(&target), app.put(&target, json!({"name": "n"}))] {
        assert_eq!(answer["code"], 1106);
    }
    assert!(!ids(&app.get(&format!("/v1.0/users/{OWNER}/devices"))["result"]).contains(&PLUG));
    assert_eq!(app.get(&format!("/v1.0/users/{GUEST}/devices?from=sharing"))["result"], json!([]));
    assert!(!ids(&app.get("/v1.0/devices")["result"]["devices"]).contains(&PLUG));
    // Bound to the same owner again it has its history, its names, and the removal as a row.
    cloud.apply(&json!({"projects": [{"name": "first", "devices":
        [{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "owner": "18200000678"}]}]}));
    let device = app.get(&target)["result"].clone();
    assert_eq!((&device["uid"], &device["status"][5]["value"]), (&json!(OWNER), &json!(true)));
    assert_eq!(app.get(&format!("{target}/multiple-names"))["result"][0]["name"], "kept");
    let rows = logs(&app, cloud.now_ms(), PLUG);
    assert_eq!((&rows[0]["event_id"], &rows[0]["event_from"]), (&json!(4), &json!("11")));
    assert_eq!(rows[1]["code"], "switch_1");
}

#[test]
fn reset_factory() {
    let cloud = TestCloud::at(1_763_800_000_000);
    let now = cloud.now_ms();
    cloud.import(&[(SCALE, now - 1000, 7, 1, "weight", json!(1))]);
    // The server's clock may have been ahead; such rows are history all the same.
    cloud.advance(Duration::from_secs(3600));
    cloud.import(&[(SCALE, now + 3_600_000, 7, 1, "body_r", json!(2))]);
    cloud.set_back(Duration::from_secs(3600));
    let app = cloud.first();
    let target = format!("/v1.0/devices/{SCALE}");
    app.put(&format!("{target}/functions/weight"), json!({"name": "gone"}));
    app.post(&format!("{target}/user"), json!({"nick_name": "n", "sex": 1}));
    assert_eq!(app.put(&format!("{target}/reset-factory"), json!({}))["result"], true);
    assert_eq!(app.put(&format!("{target}/reset-factory"), json!({}))["code"], 1106);
    assert_eq!(app.get(&target)["code"], 1106);
    cloud.apply(&json!({"projects": [{"name": "first", "devices":
        [{"product_id": "g0er6hSKgMqr0001", "device_id": SCALE, "owner": "18200000678"}]}]}));
    assert_eq!(app.reported(SCALE), json!([]));
    assert_eq!(app.get(&format!("{target}/multiple-names"))["result"], json!([]));
    assert_eq!(app.get(&format!("{target}/users"))["result"], json!([]));
    let rows = logs(&app, now + 7_200_000, SCALE);
    assert_eq!((rows.len(), &rows[0]["event_id"], &rows[0]["event_from"]), (1, &json!(4), &json!("4")));
    // What arrives afterwards for a time before the reset stays hidden, too.
    cloud.import(&[(SCALE, now - 500, 7, 1, "weight", json!(3))]);
    assert_eq!(logs(&app, now + 7_200_000, SCALE).len(), 1);
    assert_eq!(app.reported(SCALE), json!([]));
}

#[test]
fn reset_factory_post() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    assert_eq!(app.post(&format!("/v1.0/devices/{SCALE}/reset-factory"), json!({}))["result"], true);
    assert_eq!(app.get(&format!("/v1.0/devices/{SCALE}"))["code"], 1106);
    assert_eq!(app.post("/v1.0/devices/unknown/reset-factory", json!({}))["code"], 1106);
}

#[test]
fn sub_devices() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let list = app.get(&format!("/v1.0/devices/{GATEWAY}/sub-devices"))["result"].clone();
    let mut found = ids(&list);
    found.sort_unstable();
    assert_eq!(found, [LEAK, DOOR]);
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}/sub-devices"))["result"], json!([]));
    assert_eq!(app.get(&format!("/v1.0/devices/{FOREIGN}/sub-devices"))["code"], 1106);
    app.delete(&format!("/v1.0/devices/{LEAK}"));
    assert_eq!(ids(&app.get(&format!("/v1.0/devices/{GATEWAY}/sub-devices"))["result"]), [DOOR]);
}

#[test]
fn factory_infos() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let answer = app.get(&format!("/v1.0/devices/factory-infos?device_ids={PLUG},unknown,{FOREIGN},{SCALE}"));
    let mut rows = answer["result"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["id"].to_string());
    assert_eq!(
        rows,
        [
            json!({"id": PLUG, "uuid": PLUG, "sn": "SN-1", "mac": "5c:cf:7f:53:10:01"}),
            json!({"id": SCALE, "uuid": "60613135b23cddc29410"}),
        ]
    );
    let path = format!("/v1.0/devices/factory-infos?device_ids={PLUG}");
    let shared = json!([{"id": PLUG, "uuid": PLUG}]);
    assert_eq!(people(&cloud).sharee.get(&path)["result"], shared, "no address for whom it is shared to");
    assert_eq!(app.get("/v1.0/devices/factory-infos")["code"], 1100);
    assert_eq!(app.get("/v1.0/devices/factory-infos?device_ids=")["code"], 1100);
    assert_eq!(app.get("/v1.0/devices/factory-infos?device_ids=unknown")["result"], json!([]));
    let ids = |count| vec!["a"; count].join(",");
    assert_eq!(app.get(&format!("/v1.0/devices/factory-infos?device_ids={}", ids(100)))["result"], json!([]));
    assert_eq!(app.get(&format!("/v1.0/devices/factory-infos?device_ids={}", ids(101)))["code"], 1101);
}
