//! The example requests and responses of the seed document, member by member, with the corrections of contract aliyun
//! §4: getByOpenId answers an object, and unbind takes the parameters of its own table.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::world::APP_KEY;

const CREATED_MS: i64 = 1_508_314_232_000;
const SECOND_CREATED_MS: i64 = 1_513_181_985_000;
const LOGIN_MS: i64 = 1_515_590_332_000;

/// Whether `actual` has every member of the example with its value; ids of answers are the request's.
fn assert_like(example: &Value, actual: &Value, place: &str) {
    match (example, actual) {
        (Value::Object(members), Value::Object(_)) => {
            for (key, value) in members {
                let here = format!("{place}.{key}");
                assert_like(value, actual.get(key).unwrap_or_else(|| panic!("{here} is missing in {actual}")), &here);
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len(), "{place}: {actual}");
            for (index, (item, other)) in items.iter().zip(others).enumerate() {
                assert_like(item, other, &format!("{place}[{index}]"));
            }
        }
        (Value::String(_), Value::String(_)) if place == "answer.id" => {}
        _ => assert_eq!(example, actual, "{place}"),
    }
}

/// The seed's request with a living token.
fn ask(cloud: &TestCloud, path: &str, version: &str, params: Value) -> Value {
    let app = cloud.aliyun();
    let body = json!({"id": 1_508_232_047_194_u64, "request": {"cloudToken": app.token(), "apiVer": version},
        "params": params, "version": "1.0"});
    let answer = app.send(path, &body);
    assert_eq!(answer.body["id"], "1508232047194");
    answer.body
}

fn users(cloud: &TestCloud, users: Value) {
    cloud.apply(&json!({"projects": [{"name": "first", "users": users}]}));
}

#[test]
fn users_by_page() {
    let cloud = TestCloud::empty_at(CREATED_MS);
    users(
        &cloud,
        json!([{"schema": "testApp", "username": "test", "phone": "13888888888", "email": "test@aliyun.com",
            "nick_name": "test", "identity_id": "506bop1ef3a1ce8005d731e0df57ae175ac94618", "login_id": "4398047084811"}]),
    );
    let example = json!({
        "code": 200,
        "data": [{
            "gmtModified": 1_508_314_232_000_i64,
            "loginId": "4398047084811",
            "gmtCreate": 1_508_314_232_000_i64,
            "identityId": "506bop1ef3a1ce8005d731e0df57ae175ac94618",
            "loginSource": "openAccount",
            "loginName": "test",
            "phone": "13888888888",
            "email": "test@aliyun.com",
            "nickName": "test",
        }],
        "id": "bb179e80-39fd-4a79-ba97-48ca87a3f5c5",
    });
    let answer = ask(&cloud, "/cloud/account/queryIdentityByPage", "1.0.0", json!({"offset": 0, "count": 1}));
    assert_like(&example, &answer, "answer");
}

#[test]
fn user_by_open_id() {
    let cloud = TestCloud::empty_at(SECOND_CREATED_MS);
    let user = json!([{"schema": "testApp", "username": "15757245467", "username_type": 1, "email": "test@aliyun.com",
        "nick_name": "first", "password": "p", "identity_id": "5091op618500614829ee12fae93ba653a5928119",
        "login_id": "4398050099996"}]);
    users(&cloud, user);
    let product = json!([{"product_id": "p", "product_key": "a1FNS8TYhpQ", "name": "P", "category": "qt"}]);
    let device = json!([{"product_id": "p", "device_id": "d", "owner": "15757245467"}]);
    cloud.apply(&json!({"projects": [{"name": "first", "products": product, "devices": device}]}));
    cloud.advance(Duration::from_millis((LOGIN_MS - SECOND_CREATED_MS) as u64));
    // The account's last login and change are at one time.
    let login = json!({"userName": "15757245467", "password": "p",
        "deviceList": [{"productKey": "a1FNS8TYhpQ", "deviceName": "d"}]});
    assert_eq!(crate::visual::login::post(&cloud, &login).body["success"], true);
    users(&cloud, json!([{"schema": "testApp", "username": "15757245467", "nick_name": "test"}]));
    let answer =
        ask(&cloud, "/cloud/account/getByOpenId", "1.0.0", json!({"openId": "4398050099996", "openIdAppKey": APP_KEY}));
    let example = json!({
        "code": 200,
        "data": {
            "gmtModified": 1_515_590_332_000_i64,
            "loginId": "4398050099996",
            "gmtCreate": 1_513_181_985_000_i64,
            "lastLoginTime": 1_515_590_332_000_i64,
            "phone": "15757245467",
            "identityId": "5091op618500614829ee12fae93ba653a5928119",
            "loginName": "15757245467",
            "loginSource": "openAccount",
            "email": "test@aliyun.com",
            "nickName": "test",
        },
        "id": "bb179e80-39fd-4a79-ba97-48ca87a3f5c5",
    });
    assert_like(&example, &answer, "answer");
    // The seed's is another tenant's.
    assert_eq!(answer["data"]["tenantId"].as_str().unwrap().len(), "45CFEA759A994F48A8305D59452B1437".len());
}

/// The seed's fan, which was once online.
fn fan(now_ms: i64) -> TestCloud {
    let cloud = TestCloud::empty_at(now_ms);
    let user = json!([{"schema": "testApp", "username": "u", "open_id": "10000000001",
        "identity_id": "50ceop3441838d879e23f01933ab455be61f0356"}]);
    let product = json!([{"product_id": "fan", "product_key": "a1FNS8TYhpQ", "name": "风扇3-复制", "category": "fs"}]);
    let device = |is_virtual: bool| {
        json!([{"product_id": "fan", "device_id": "fan1", "device_name": "VD_sdDaqyTXeQ", "name": "风扇3-复制",
            "iot_id": "VPuHLddp6fisYryXdk0T0010dbd910", "owner": "u", "virtual": is_virtual}])
    };
    let apply = |is_virtual: bool| {
        let devices = device(is_virtual);
        cloud.apply(&json!({"projects": [{"name": "first", "users": user, "products": product, "devices": devices}]}))
    };
    // It is played for a moment, so that it was activated and is offline now.
    let status = || cloud.aliyun().data("/cloud/thing/status/get", json!({"iotId": "VPuHLddp6fisYryXdk0T0010dbd910"}));
    apply(true);
    cloud.wait(|| status()["status"] == 1);
    apply(false);
    cloud.wait(|| status()["status"] == 3);
    cloud
}

#[test]
fn devices_of_a_user_and_unbinding() {
    let cloud = fan(CREATED_MS);
    let user = json!({"openId": "10000000001", "openIdAppKey": APP_KEY});
    let example = json!({
        "code": 200,
        "data": {
            "code": 200,
            "data": [{
                "iotId": "VPuHLddp6fisYryXdk0T0010dbd910",
                "identityId": "50ceop3441838d879e23f01933ab455be61f0356",
                "netType": "NET_WIFI",
                "thingType": "DEVICE",
                "productKey": "a1FNS8TYhpQ",
                "deviceName": "VD_sdDaqyTXeQ",
                "productName": "风扇3-复制",
                "status": 3,
            }],
            "message": "success",
        },
        "id": "55428a70-a740-4b54-bd7f-89f727744740",
    });
    let answer = ask(&cloud, "/cloud/device/queryByUser", "1.0.0", user.clone());
    assert_like(&example, &answer, "answer");
    assert!(answer["data"]["data"][0].get("nickName").is_none(), "as in the example");

    let mut params = user;
    params["iotId"] = json!("VPuHLddp6fisYryXdk0T0010dbd910");
    let example = json!({"code": 200, "data": "", "id": "3389580f-c698-4a83-9eee-b576c6d6c874"});
    assert_like(&example, &ask(&cloud, "/cloud/user/device/unbind", "1.0.0", params), "answer");
}

#[test]
fn open_id_of_an_identity() {
    let cloud = TestCloud::empty_at(CREATED_MS);
    let identity = "506bop1ef3a1ce8005d731e0df57ae175ac94618";
    users(&cloud, json!([{"schema": "testApp", "username": "test", "identity_id": identity}]));
    let app = cloud.aliyun();
    // As the seed sends it: without a cloudToken.
    let body = json!({"id": 1_508_232_047_194_u64, "request": {"apiVer": "1.0.6"},
        "params": {"request": {"identityId": identity}}, "version": "1.0"});
    let answer = app.send("/account/openid/getbyidentityid", &body).body;
    let example = json!({"code": 200, "data": identity, "id": "bb179e80-39fd-4a79-ba97-48ca87a3f5c5"});
    assert_like(&example, &answer, "answer");
}
