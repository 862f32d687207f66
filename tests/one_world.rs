//! One world under all dialects: what is made through one is there in the other.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::http::{Request, send};
use crate::support::mqtt::MqttDevice;
use crate::support::world::{APP_KEY, FIRST_APP_KEY, OWNER, PLUG};
use crate::visual::login::{plug, tokens, with_passwords};

const ACCOUNTS: &str = "/cloud/account/queryIdentityByPage";
const BY_USER: &str = "/cloud/device/queryByUser";

fn owner(cloud: &TestCloud) -> String {
    let accounts = cloud.aliyun().data(ACCOUNTS, json!({"count": 1}));
    accounts[0]["identityId"].as_str().unwrap().to_owned()
}

fn ids(answer: &Value) -> Vec<String> {
    answer["result"].as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_user_synchronised_in_one_is_an_account_in_the_other() {
    let cloud = TestCloud::start();
    let (tuya, aliyun) = (cloud.first(), cloud.aliyun());
    let user = json!({"country_code": "86", "username": "18211110000", "username_type": 1, "password": "pass",
        "nick_name": "新人"});
    let uid = tuya.post("/v1.0/apps/testApp/user", user)["result"]["uid"].as_str().unwrap().to_owned();
    let account = aliyun.data("/cloud/account/queryidentitydescbypage", json!({"count": 1}))[0].clone();
    assert_eq!(
        (&account["loginName"], &account["phone"], &account["nickName"]),
        (&json!("18211110000"), &json!("18211110000"), &json!("新人"))
    );
    // What the account is called there finds it.
    let by_open_id = json!({"openId": account["loginId"], "openIdAppKey": APP_KEY});
    assert_eq!(aliyun.data("/cloud/account/getByOpenId", by_open_id.clone())["identityId"], account["identityId"]);
    assert_eq!(aliyun.data(BY_USER, by_open_id)["data"], json!([]));
    // A nick name given there is seen here.
    let rename = json!({"identityId": account["identityId"], "nickName": "改名"});
    aliyun.data("/user/account/info/update", rename);
    assert_eq!(tuya.get(&format!("/v1.0/users/{uid}/infos"))["result"]["nick_name"], "改名");
    // And removed there it is gone here.
    aliyun.data("/user/account/unregister", json!({"identityId": account["identityId"]}));
    assert_eq!(tuya.get(&format!("/v1.0/users/{uid}/infos"))["code"], 1106);
}

#[test]
fn a_device_unbound_in_one_is_gone_from_the_other() {
    let cloud = TestCloud::start();
    let (tuya, aliyun) = (cloud.first(), cloud.aliyun());
    let mine = format!("/v1.0/users/{OWNER}/devices");
    assert!(ids(&tuya.get(&mine)).contains(&PLUG.to_owned()));
    let identity = owner(&cloud);
    let rows = aliyun.data(BY_USER, json!({"identityId": identity}))["data"].clone();
    let row = rows.as_array().unwrap().iter().find(|row| row["deviceName"] == PLUG).unwrap();
    aliyun.data("/cloud/user/device/unbind", json!({"identityId": identity, "iotId": row["iotId"]}));
    assert!(!ids(&tuya.get(&mine)).contains(&PLUG.to_owned()));
    let shared = format!("/v1.0/users/{}/devices?from=sharing", crate::support::world::GUEST);
    assert_eq!(ids(&tuya.get(&shared)), Vec::<String>::new(), "nor is it shared any more");
    // The log contains it, and the device can be bound again.
    let logs = format!("/v1.0/devices/{PLUG}/logs?end_time={}&start_time=0&type=4", cloud.now_ms() + 1000);
    assert_eq!(tuya.get(&logs)["result"]["logs"][0]["event_from"], "11");
    let list = json!([{"productKey": row["productKey"], "deviceName": PLUG}]);
    let bound = aliyun
        .data("/living/cloud/user/binding/device/batch/bind", json!({"identityId": identity, "deviceList": list}));
    assert_eq!(bound[0]["bindCode"], 0);
    assert!(ids(&tuya.get(&mine)).contains(&PLUG.to_owned()));
}

#[test]
fn a_device_removed_in_one_is_gone_from_the_other() {
    let cloud = TestCloud::start();
    let (tuya, aliyun) = (cloud.first(), cloud.aliyun());
    let identity = owner(&cloud);
    let count = || aliyun.data(BY_USER, json!({"identityId": identity}))["data"].as_array().unwrap().len();
    assert_eq!(count(), 6);
    assert_eq!(tuya.delete(&format!("/v1.0/devices/{PLUG}"))["result"], true);
    assert_eq!(count(), 5);
}

#[test]
fn a_rename_in_one_is_seen_in_the_others() {
    let cloud = TestCloud::start();
    with_passwords(&cloud);
    let (tuya, aliyun) = (cloud.first(), cloud.aliyun());
    assert_eq!(tuya.put(&format!("/v1.0/devices/{PLUG}"), json!({"name": "Küche"}))["result"], true);
    let rows = aliyun.data(BY_USER, json!({"identityId": owner(&cloud)}))["data"].clone();
    let row = rows.as_array().unwrap().iter().find(|row| row["deviceName"] == "2ac4d7cffa").unwrap();
    assert_eq!(row["nickName"], "Küche");
    let info = aliyun.data("/cloud/thing/info/get", json!({"iotId": row["iotId"]}));
    assert_eq!((&info["nickname"], &info["deviceKey"]), (&json!("Küche"), &json!(PLUG)));
    let token = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    assert_eq!(crate::visual::devices::get(&cloud, &token, "").body["data"]["name"], "Küche");
}

#[test]
fn a_report_is_read_by_all() {
    let cloud = TestCloud::start();
    with_passwords(&cloud);
    let _there = MqttDevice::of(&cloud, "EvolhYPyZNWYP001", PLUG);
    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "switch", json!(true))]);
    let plug_here = cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"].clone();
    assert_eq!((&plug_here["status"][2]["value"], &plug_here["online"]), (&json!(true), &json!(true)));
    let there = json!({"productKey": "wkNCAsnnlsYSnI6n", "deviceName": "2ac4d7cffa"});
    let rows = cloud.aliyun().data("/cloud/thing/properties/get", there.clone());
    assert_eq!((&rows[0]["attribute"], &rows[0]["value"]), (&json!("switch"), &json!(1)), "as the thing model has it");
    assert_eq!(cloud.aliyun().data("/cloud/thing/status/get", there)["status"], 1);
    let token = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    let shown = crate::visual::devices::get(&cloud, &token, "").body["data"].clone();
    assert_eq!((&shown["status"][0]["value"], &shown["online"]), (&json!(true), &json!(true)));
}

#[test]
fn the_projects_own_key_stands_for_its_apps() {
    let cloud = TestCloud::start();
    let aliyun = cloud.aliyun();
    let login_id = aliyun.data(ACCOUNTS, json!({"count": 1}))[0]["loginId"].clone();
    for key in [APP_KEY, FIRST_APP_KEY] {
        let params = json!({"openId": login_id, "openIdAppKey": key});
        assert_eq!(aliyun.data(BY_USER, params)["data"].as_array().unwrap().len(), 6, "{key}");
    }
}

/// The clients' suites take from it which client called what (`tests/clients/evidence.py`).
#[test]
fn the_log_says_what_was_answered_in_each_dialect() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&folder.path().join("data"), "debug");
    cloud.apply(&crate::support::world::standard());
    let (tuya, aliyun, agent) = (cloud.first(), cloud.aliyun(), format!("a \"b\"\té {}", "x".repeat(100)));
    let plug = tuya.signed("GET", &format!("/v1.0/devices/{PLUG}"), b"", &tuya.token());
    send(cloud.api, &plug.with("User-Agent", &agent));
    aliyun.data(ACCOUNTS, json!({"count": 1}));
    send(cloud.api, &Request::new("GET", "/.well-known/jwks.json").with("User-Agent", "b"));
    send(cloud.api, &Request::new("GET", "/v1.0/visual/devices/a/b").with("User-Agent", "b"));
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let answered = |dialect: &str, method: &str, route: &str, agent: &str| {
        format!(
            "a request was answered dialect=\"{dialect}\" http.method={method} http.route=\"{route}\" \
             http.user_agent=\"{agent}\" client.address=\"127.0.0.1\""
        )
    };
    let cut = format!("a \\\"b\\\" {}", "x".repeat(58));
    assert!(log.contains(&answered("tuya", "GET", "/v1.0/devices/{device_id}", &cut)), "{log}");
    assert!(log.contains(&answered("aliyun", "POST", ACCOUNTS, "")), "{log}");
    assert!(log.contains(&answered("visual", "GET", "/.well-known/jwks.json", "b")), "{log}");
    let of_visual: Vec<&str> = log.lines().filter(|line| line.contains("/v1.0/visual/")).collect();
    assert_eq!(of_visual.len(), 1, "{log}");
    assert!(of_visual[0].contains("a request was refused") && !of_visual[0].contains("answered"), "{of_visual:?}");
}
