//! Countries and accounts in the forms in which clients write them.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::http::Answer;
use crate::support::people::{HOME, PASSWORD, md5, people};
use crate::support::tuya::TuyaApp;

const LOGIN: &str = "/v1.0/iot-01/associated-users/actions/authorized-login";
const CUSTOM: &str = "/v1.0/iot-03/users/login";
const FORMS: [&str; 4] = ["+86", "86", "0086", " 086"];
const NO_COUNTRIES: [&str; 6] = ["CN", "999999", "999", "+", "86a", "8 6"];

fn log_in(app: &TuyaApp, username: &str, country: &Value) -> Answer {
    let body = json!({"username": username, "password": md5(PASSWORD), "country_code": country, "schema": "testApp"});
    app.send(&app.signed("POST", LOGIN, body.to_string().as_bytes(), ""))
}

/// As texts, and as a number where it is one.
fn forms(texts: &[&str]) -> Vec<Value> {
    let numbers = texts.iter().filter_map(|text| text.parse::<u32>().ok()).map(|number| json!(number));
    texts.iter().map(|text| json!(text)).chain(numbers).collect()
}

#[test]
fn a_country_is_one_in_every_call() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    for (n, country) in forms(&FORMS).into_iter().enumerate() {
        let user = json!({"country_code": country, "username": format!("user{n}"), "password": md5(PASSWORD)});
        let uid = app.post("/v1.0/apps/testApp/user", user)["result"]["uid"].as_str().unwrap().to_owned();
        assert_eq!(app.get(&format!("/v1.0/users/{uid}/infos"))["result"]["country_code"], "86", "{country}");
        for other in forms(&FORMS) {
            let answer = log_in(&app, &format!("user{n}"), &other);
            assert_eq!(answer.body["success"], true, "{country} and {other}: {answer:?}");
        }
        let member = json!({"country_code": country, "member_account": format!("user{n}"), "name": ""});
        let path = format!("/v1.0/homes/{HOME}/members");
        assert_eq!(app.post(&path, json!({"app_schema": "testApp", "member": member}))["result"], true, "{country}");
        assert_eq!(app.delete(&format!("{path}/{uid}"))["result"], true);
        // The account of another country is not meant.
        let member = json!({"country_code": "1", "member_account": format!("user{n}"), "name": ""});
        assert_eq!(app.post(&path, json!({"app_schema": "testApp", "member": member}))["code"], 1106);
    }
}

#[test]
fn what_is_no_country_is_refused_in_every_call() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    for country in forms(&NO_COUNTRIES) {
        let user = json!({"country_code": country, "username": "new", "password": "p"});
        assert_eq!(app.post("/v1.0/apps/testApp/user", user)["code"], 2402, "{country}");
        let member = json!({"country_code": country, "member_account": "stranger", "name": ""});
        let path = format!("/v1.0/homes/{HOME}/members");
        assert_eq!(app.post(&path, json!({"app_schema": "testApp", "member": member}))["code"], 2402, "{country}");
        let answer = log_in(&app, "stranger", &country);
        assert_eq!(answer.code(), 2402, "{country}");
        assert!(answer.header("x-ingle-explain").unwrap().contains("country_code"), "{answer:?}");
    }
    let members = app.get(&format!("/v1.0/homes/{HOME}/members"))["result"].clone();
    assert_eq!(members.as_array().unwrap().len(), 3, "{members}");
}

#[test]
fn a_login_that_fails_for_its_country_says_so() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    for (country, code) in [("1", 1106), ("49", 2406), ("DE", 2402)] {
        let answer = log_in(&app, "stranger", &json!(country));
        assert_eq!(answer.code(), code, "{country}");
        assert!(answer.header("x-ingle-explain").unwrap().contains("country_code"), "{answer:?}");
    }
    // A wrong password is refused without the country, so that nobody can find it out.
    let body = json!({"username": "stranger", "password": "wrong", "country_code": "1", "schema": "testApp"});
    let answer = app.send(&app.signed("POST", LOGIN, body.to_string().as_bytes(), ""));
    assert_eq!(answer.code(), 2401);
    assert!(!answer.header("x-ingle-explain").unwrap().contains("country"), "{answer:?}");
    // Without api.explain nothing is said.
    let folder = tempfile::tempdir().unwrap();
    let quiet = TestCloud::binary(folder.path(), &[]);
    quiet.apply(&crate::support::world::standard());
    people(&quiet);
    let answer = log_in(&quiet.first(), "stranger", &json!("1"));
    assert_eq!((answer.code(), answer.header("x-ingle-explain")), (1106, None));
}

#[test]
fn email_addresses_compare_without_case() {
    let cloud = TestCloud::start();
    people(&cloud);
    let app = cloud.first();
    let (small, large) = ("guest@example.com", "Guest@Example.COM");
    let uid = log_in(&app, small, &json!("86")).body["result"]["uid"].clone();
    assert_eq!(log_in(&app, large, &json!("86")).body["result"]["uid"], uid);
    let sync = |name: &str| {
        let body = json!({"country_code": "86", "username": name, "password": md5(PASSWORD), "username_type": 2});
        app.post("/v1.0/apps/testApp/user", body)["result"]["uid"].clone()
    };
    assert_eq!(sync(large), uid, "the same user is updated");
    let listed = app.get(&format!("/v1.0/apps/testApp/users?page_no=1&page_size=9&username={large}"));
    assert_eq!(listed["result"]["list"].as_array().unwrap().len(), 1, "{listed}");
    let custom = |name: &str| {
        let body = json!({"username": name, "password": md5(PASSWORD)});
        app.send(&app.signed("POST", CUSTOM, body.to_string().as_bytes(), "")).body["result"]["uid"].clone()
    };
    assert_eq!((custom(large), custom(small)), (uid.clone(), uid.clone()));
    let member = json!({"country_code": "86", "member_account": large, "name": ""});
    let path = format!("/v1.0/homes/{HOME}/members");
    assert_eq!(app.post(&path, json!({"app_schema": "testApp", "member": member}))["result"], true);
    let members = app.get(&path)["result"].clone();
    assert!(members.as_array().unwrap().iter().any(|member| member["uid"] == uid), "{members}");
    // Failures are counted for one account, however it is written; all other names are exact.
    assert_eq!(log_in(&app, "STRANGER", &json!("86")).code(), 2401);
    let wrong = |name: &str| {
        let body = json!({"username": name, "password": "wrong", "country_code": "86", "schema": "testApp"});
        app.send(&app.signed("POST", LOGIN, body.to_string().as_bytes(), "")).code()
    };
    let codes: Vec<i64> = [small, large].into_iter().cycle().take(11).map(wrong).collect();
    assert_eq!(codes, [&[2401; 10][..], &[1199]].concat());
}
