//! Homes as assets (contract tuya §4.2).

use serde_json::{Value, json};

use super::homes::refuses;
use crate::support::TestCloud;
use crate::support::people::people;
use crate::support::world::PLUG;

fn row(id: &str, name: &str) -> Value {
    json!({"asset_id": id, "asset_name": name, "asset_full_name": name, "parent_asset_id": "-1"})
}

#[test]
fn user_assets() {
    let cloud = TestCloud::start();
    let path = "/v1.0/iot-03/users/assets";
    let both = [row("10700001", "Home"), row("11600001", "Flat")];
    for root in
        ["page_size=20", "page_no=0&page_size=100&parent_asset_id=null", "parent_asset_id=-1", "parent_asset_id="]
    {
        let answer = cloud.first().get(&format!("{path}?{root}"))["result"].clone();
        assert_eq!(
            (&answer["assets"], &answer["has_next"], &answer["total"]),
            (&json!(both), &json!(false), &json!(2))
        );
    }
    let page = cloud.first().get(&format!("{path}?page_no=1&page_size=1"))["result"].clone();
    assert_eq!((&page["assets"], &page["has_next"]), (&json!([both[1]]), &json!(false)));
    assert_eq!(cloud.first().get(&format!("{path}?page_size=1"))["result"]["has_next"], true);
    assert_eq!(cloud.first().get(&format!("{path}?parent_asset_id=10700001"))["result"]["assets"], json!([]));
    refuses(&cloud, |id| format!("{path}?parent_asset_id={}", if id == "-1" { "-2" } else { id }));
    let people = people(&cloud);
    assert_eq!(people.member.get(path)["result"]["assets"], json!([both[0]]));
    assert_eq!(people.sharee.get(path)["result"]["assets"], json!([both[1]]));
    assert_eq!(people.stranger.get(path)["result"]["assets"], json!([]));
    assert_eq!(cloud.second().get(path)["result"]["total"], 1, "its own");
}

#[test]
fn asset() {
    let cloud = TestCloud::start();
    let home = cloud.first().get("/v1.0/iot-02/assets/10700001")["result"].clone();
    assert_eq!(home, row("10700001", "Home"));
    refuses(&cloud, |id| format!("/v1.0/iot-02/assets/{id}"));
}

#[test]
fn sub_assets() {
    let cloud = TestCloud::start();
    let root = "/v1.0/iot-02/assets/-1/sub-assets";
    let all = cloud.first().get(&format!("{root}?asset_id=-1&last_row_key=&page_size=100"))["result"].clone();
    assert_eq!(all["list"], json!([row("10700001", "Home"), row("11600001", "Flat")]));
    assert_eq!((&all["has_next"], &all["last_row_key"]), (&json!(false), &json!("")));
    let first = cloud.first().get(&format!("{root}?page_size=1"))["result"].clone();
    assert_eq!((&first["list"][0]["asset_id"], &first["has_next"]), (&json!("10700001"), &json!(true)));
    let key = first["last_row_key"].as_str().unwrap();
    let second = cloud.first().get(&format!("{root}?last_row_key={key}&page_size=1"))["result"].clone();
    assert_eq!((&second["list"][0]["asset_id"], &second["has_next"]), (&json!("11600001"), &json!(false)));
    assert_eq!(cloud.first().get(&format!("{root}?last_row_key=x"))["code"], 1109);
    assert_eq!(cloud.first().get("/v1.0/iot-02/assets/10700001/sub-assets")["result"]["list"], json!([]));
    refuses(&cloud, |id| format!("/v1.0/iot-02/assets/{}/sub-assets", if id == "-1" { "-2" } else { id }));
    let people = people(&cloud);
    assert_eq!(people.member.get(root)["result"]["list"], json!([row("10700001", "Home")]));
}

#[test]
fn asset_devices() {
    let cloud = TestCloud::start();
    let path = "/v1.0/iot-02/assets/10700001/devices";
    let all = cloud.first().get(&format!("{path}?page_size=100"))["result"].clone();
    let ids: Vec<&Value> = all["list"].as_array().unwrap().iter().map(|row| &row["device_id"]).collect();
    assert!(ids.contains(&&json!(PLUG)) && ids.len() == 6, "{all}");
    assert_eq!((&all["total_size"], &all["has_next"], &all["last_row_key"]), (&json!(6), &json!(false), &json!("")));
    assert_eq!(all["list"][0]["asset_name"], "Home");
    let mut key = String::new();
    let mut walked = Vec::new();
    loop {
        let query = if key.is_empty() { String::new() } else { format!("last_row_key={key}&") };
        let page = cloud.first().get(&format!("{path}?{query}page_size=4"))["result"].clone();
        walked.extend(page["list"].as_array().unwrap().iter().map(|row| row["device_id"].clone()));
        key = page["last_row_key"].as_str().unwrap().to_owned();
        if page["has_next"] == false {
            break;
        }
    }
    assert_eq!(walked.iter().collect::<Vec<_>>(), ids);
    for (query, code) in [("page_size=0", 1101), ("page_size=201", 1101), ("last_row_key=x", 1109)] {
        assert_eq!(cloud.first().get(&format!("{path}?{query}"))["code"], code, "{query}");
    }
    refuses(&cloud, |id| format!("/v1.0/iot-02/assets/{id}/devices"));
}
