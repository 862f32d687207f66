//! Users (seed 000; contract tuya §3.1–3.3).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::{FOREIGN_USER, GUEST, OWNER};

fn user(username: &str, kind: i64) -> Value {
    json!({"country_code": "86", "username": username, "password": "c7fb2740c5f0", "username_type": kind})
}

#[test]
fn sync_user() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let sync = |body: Value| app.post("/v1.0/apps/testApp/user", body);
    let created = sync(user("someone", 3));
    let uid = created["result"]["uid"].as_str().unwrap().to_owned();
    // The same name is the same user; country and type stay, nick name and time zone follow.
    let mut again = user("someone", 3);
    again["country_code"] = json!("1");
    again["nick_name"] = json!("名字 😀");
    again["time_zone_id"] = json!("Europe/Berlin");
    assert_eq!(sync(again)["result"]["uid"], uid);
    let infos = app.get(&format!("/v1.0/users/{uid}/infos"))["result"].clone();
    assert_eq!((&infos["country_code"], &infos["nick_name"]), (&json!("86"), &json!("名字 😀")));
    assert_eq!(infos["time_zone_id"], "Europe/Berlin");
    // What is not given stays.
    sync(user("someone", 3));
    assert_eq!(app.get(&format!("/v1.0/users/{uid}/infos"))["result"]["nick_name"], "名字 😀");
    // The type defaults to 3, numbers may be texts, names camelCase, and the table's spelling is taken too.
    let lenient = json!({"countryCode": 86, "username": "other", "Password": "p", "usernameType": "2x"});
    assert_eq!(sync(lenient)["code"], 1109);
    let lenient = json!({"countryCode": 86, "username": "other", "Password": "p", "schema": "testApp"});
    assert_eq!(sync(lenient)["success"], true);
    let mail = sync(user("a@b.example", 2));
    assert_eq!(mail["success"], true);
}

#[test]
fn sync_user_refusals() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    for (body, code) in [
        (user("18x", 1), 2021),
        (user("not an address", 2), 2022),
        (user("someone", 4), 1101),
        (user("", 3), 1100),
        (json!({}), 1100),
        (json!({"country_code": "86", "username": "u"}), 1100),
        (json!({"country_code": "86", "username": "u", "password": ""}), 1100),
        (json!({"country_code": "86", "username": ["u"], "password": "p"}), 1109),
        (json!({"country_code": "86", "username": "u".repeat(129), "password": "p"}), 1101),
        (json!({"country_code": "86", "username": "a\nb", "password": "p"}), 1109),
        (json!({"country_code": "49", "username": "u", "password": "p"}), 2403),
        (json!("text"), 1109),
        (json!([1]), 1109),
    ] {
        let answer = app.post("/v1.0/apps/testApp/user", body.clone());
        assert_eq!(answer["code"], code, "{body}: {answer}");
    }
    assert_eq!(app.post("/v1.0/apps/otherApp/user", user("u", 3))["code"], 1106);
    assert_eq!(app.post("/v1.0/apps/nowhere/user", user("u", 3))["code"], 1106);
    // Nothing of it was kept.
    assert_eq!(app.get("/v1.0/apps/testApp/users?page_no=1&page_size=1")["result"]["total"], 2);
}

#[test]
fn users() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let cloud = TestCloud::at(1_763_800_000_000);
    let mut app = cloud.first();
    app.post("/v1.0/apps/testApp/user", user("third", 3));
    cloud.advance(31 * DAY);
    app = cloud.first();
    app.post("/v1.0/apps/testApp/user", user("fourth", 3));
    cloud.advance(DAY);
    app = cloud.first();
    let now = cloud.now_ms() / 1000;
    let list = |query: &str| app.get(&format!("/v2.0/apps/testApp/users?{query}"));
    let rows = |answer: &Value| answer["result"]["list"].as_array().unwrap().len();
    // The last 30 days by default, while total counts the whole app.
    let page = list("page_no=1&page_size=10");
    assert_eq!((rows(&page), &page["result"]["total"], &page["result"]["has_more"]), (1, &json!(4), &json!(false)));
    let before = now - 32 * 24 * 3600;
    let page = list(&format!("end_time={}&page_no=1&page_size=2&start_time={before}", before + 60));
    assert_eq!((rows(&page), &page["result"]["has_more"]), (2, &json!(true)));
    let page = list(&format!("end_time={}&page_no=2&page_size=2&start_time={before}", before + 60));
    assert_eq!((rows(&page), &page["result"]["has_more"]), (1, &json!(false)));
    // One bound gives the other.
    assert_eq!(rows(&list(&format!("page_no=1&page_size=10&start_time={before}"))), 3);
    assert_eq!(rows(&list(&format!("end_time={}&page_no=1&page_size=10", before + 60))), 3);
    // By name, page 0 counts as 1, size 0 is empty.
    assert_eq!(rows(&list("page_no=1&page_size=10&username=fourth")), 1);
    assert_eq!(rows(&list("page_no=0&page_size=10")), 1);
    let none = list("page_no=1&page_size=0");
    assert_eq!((rows(&none), &none["result"]["has_more"]), (0, &json!(false)));
    for (query, code) in [
        ("page_no=1", 1100),
        ("page_size=10", 1100),
        ("page_no=1&page_size=101", 1101),
        ("page_no=1&page_size=-1", 1101),
        ("page_no=x&page_size=1", 1109),
        ("end_time=1&page_no=1&page_size=1&start_time=5", 1101),
        ("page_no=1&page_size=1&start_time=1763800000000", 1101),
    ] {
        assert_eq!(list(query)["code"], code, "{query}");
    }
    let span = format!("end_time={now}&page_no=1&page_size=1&start_time={}", now - 30 * 24 * 3600 - 1);
    assert_eq!(list(&span)["code"], 1101);
    assert_eq!(app.get("/v2.0/apps/otherApp/users?page_no=1&page_size=1")["code"], 1106);
}

#[test]
fn users_v1() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let page = app.get("/v1.0/apps/testApp/users?page_no=1&page_size=1");
    assert_eq!((&page["result"]["has_more"], &page["result"]["total"]), (&json!(true), &json!(2)));
    assert_eq!(page["result"]["list"][0]["uid"], OWNER);
    assert_eq!(page["result"]["list"][0]["mobile"], "****");
    assert!(page["result"]["list"][0].get("email").is_none());
    let page = app.get("/v1.0/apps/testApp/users?page_no=2&page_size=1");
    assert_eq!((&page["result"]["has_more"], &page["result"]["list"][0]["uid"]), (&json!(false), &json!(GUEST)));
    assert_eq!(page["result"]["list"][0]["email"], "****");
    // A project may want to see its users.
    let page = cloud.second().get("/v1.0/apps/otherApp/users?page_no=1&page_size=1");
    assert_eq!(page["result"]["list"][0]["email"], "other@example.com");
}

#[test]
fn user_infos() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let infos = app.get(&format!("/v1.0/users/{OWNER}/infos"))["result"].clone();
    assert_eq!((&infos["uid"], &infos["username"]), (&json!(OWNER), &json!("86-182******78")));
    assert_eq!((&infos["mobile"], &infos["country_code"]), (&json!("86-182******78"), &json!("86")));
    let infos = app.get(&format!("/v1.0/users/{GUEST}/infos"))["result"].clone();
    assert_eq!((&infos["email"], &infos["mobile"]), (&json!("gue******om"), &json!("")));
    assert_eq!(app.get("/v1.0/users/nobody/infos")["code"], 1106);
    assert_eq!(app.get(&format!("/v1.0/users/{FOREIGN_USER}/infos"))["code"], 1106);
    let open = cloud.second().get(&format!("/v1.0/users/{FOREIGN_USER}/infos"))["result"].clone();
    assert_eq!(open["username"], "other@example.com");
}
