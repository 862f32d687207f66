//! Every operation of every dialect, answered rightly and with a refusal, as its OpenAPI document says: `send` checks
//! each answer against the schema, and here it is seen that there was one of each.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::aliyun::devices::named;
use crate::openapi::{DIALECTS, document, routes};
use crate::support::TestCloud;
use crate::support::aliyun::envelope;
use crate::support::http::{Request, send};
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::people::{PASSWORD, STRANGER, md5, people};
use crate::support::schema::{fits, seen};
use crate::support::world::{APP_KEY, FIRST_PROJECT_ID, OWNER, PLUG};
use crate::tuya::rights::{body, subjects, target};
use crate::visual::devices::get;
use crate::visual::login::{plug, post, tokens, with_passwords};

/// Fails unless each operation was answered in both ways. `never` are those that have no success or no refusal.
fn answered_both_ways(dialect: &str, never: &[(&str, bool)]) {
    let seen: BTreeSet<(String, bool)> = seen()
        .into_iter()
        .filter(|seen| seen.dialect == dialect)
        .map(|seen| (seen.operation, seen.is_success))
        .collect();
    for route in routes(dialect) {
        for is_success in [true, false] {
            let is_expected = !never.contains(&(route.name.as_str(), is_success));
            let what = if is_success { "a success" } else { "a refusal" };
            assert_eq!(seen.contains(&(route.name.clone(), is_success)), is_expected, "{}: {what}", route.name);
        }
    }
}

#[test]
fn the_tuya_dialect_answers_as_its_document_says() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    let people = people(&cloud);
    let app = cloud.first();
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, "5c1e2d3f4a5b6c7d"));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    for (number, route) in routes("tuya").iter().enumerate() {
        let subject = subjects(&cloud, &app, &people.owner, number, route).pop().unwrap();
        let target = target(route, &subject, cloud.now_ms() + 1000);
        let text = if route.method == "GET" { String::new() } else { body(route).to_string() };
        let token = if matches!(route.tag.as_str(), "token" | "logins") { String::new() } else { app.token() };
        let request = app.signed(&route.method, &target, text.as_bytes(), &token);
        app.send(&request);
        app.send(&request.without("sign"));
    }
    let plug = |rest: &str| format!("/v1.0/devices/{PLUG}/{rest}");
    let commands = json!({"commands": [{"code": "switch_1", "value": true}]});
    app.post(&plug("commands"), commands.clone());
    app.post(&format!("/v1.0/iot-03/devices/{PLUG}/commands"), commands);
    let properties = json!({"properties": {"switch_1": true}});
    app.post(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/issue"), properties);
    // What only somebody who has signed in can do.
    let login = json!({"username": "member", "password": md5(PASSWORD), "country_code": "86", "schema": "testApp"});
    let login = app.signed("POST", "/v1.0/iot-03/users/login", login.to_string().as_bytes(), "");
    let login = app.send(&login).body["result"].clone();
    let refresh = format!("/v1.0/iot-03/users/token/{}", login["refresh_token"].as_str().unwrap());
    let fresh = app.send(&app.signed("POST", &refresh, b"", "")).body["result"]["access_token"].clone();
    app.send(&app.signed("POST", "/v1.0/iot-03/users/logout", b"{}", fresh.as_str().unwrap()));
    let tokens = app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body["result"].clone();
    let refresh = format!("/v1.0/token/{}", tokens["refresh_token"].as_str().unwrap());
    app.send(&app.signed("GET", &refresh, b"", ""));
    app.forget_token();
    let home = people.owner.post("/v1.0/home/create-home", json!({"uid": OWNER, "home": {"name": "New"}}));
    let home = home["result"].as_i64().unwrap();
    let member = json!({"app_schema": "testApp", "member": {"member_account": "stranger", "name": "New"}});
    people.owner.post(&format!("/v1.0/homes/{home}/members"), member);
    people.stranger.get(&format!("/v1.0/users/{STRANGER}/invitations"));
    people.stranger.put(&format!("/v1.0/users/{STRANGER}/invitations/{home}"), json!({"accept": true}));
    // There are no scenes and no cameras.
    answered_both_ways("tuya", &[("trigger_scene", true), ("trigger_rule", true), ("allocate_stream", true)]);
}

/// Parameters that any operation of the Alibaba dialect finds its own among.
fn params(token: &str) -> Value {
    json!({"openId": "owner", "openIdAppKey": APP_KEY, "iotId": "iotPlug", "identifier": "switch_1", "nickName": "n",
        "projectId": FIRST_PROJECT_ID, "deviceList": [{"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"}],
        "items": {"switch_1": 1}, "args": {"switch_1": 1}, "grantType": "project", "res": FIRST_PROJECT_ID,
        "cloudToken": token, "pageNo": 1, "pageSize": 20, "offset": 0, "count": 20})
}

#[test]
fn the_alibaba_dialect_answers_as_its_document_says() {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    named(&cloud);
    let app = cloud.aliyun();
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, "5c1e2d3f4a5b6c7d"));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    let mut routes = routes("aliyun");
    // What takes something away comes last, and then what ends the token in use.
    routes.sort_by_key(|route| {
        let ending = ["unbind", "unregister", "token/refresh", "cloud/token"];
        ending.iter().position(|part| route.path.contains(part)).map_or(0, |place| place + 1)
    });
    for route in &routes {
        let mut params = params(&app.token());
        match route.name.as_str() {
            "get_by_identity_id" | "open_id_of_identity" | "open_id_of_identity_cloud" => {
                let request = json!({"identityId": "50owner"});
                params = json!({"identityId": "50owner", "openIdAppKey": APP_KEY, "request": request});
            }
            "query_identity_list" => params["request"] = json!({"identityIds": ["50owner"]}),
            "invoke_service" => params["identifier"] = json!("set"),
            "unbind_everybody" => {
                app.data("/living/cloud/user/binding/device/batch/bind", params.clone());
            }
            "product" | "things" | "things_info" => params = json!({"productKey": "a1FNS8TYhpQ"}),
            _ => {}
        }
        let good = app.signed(&route.path, envelope("1.0.9", Some(&app.token()), &params).to_string().as_bytes());
        send(app.api, &good);
        send(app.api, &app.signed(&route.path, b"{}"));
        for refused in [good.clone().without("x-ca-signature"), good.with("x-ca-key", "1")] {
            send(app.api, &refused);
        }
    }
    answered_both_ways("aliyun", &[]);
}

#[test]
fn the_visual_login_answers_as_its_document_says() {
    let cloud = TestCloud::start();
    with_passwords(&cloud);
    let token = tokens(&cloud, "18200000678", "owner's", json!([plug()])).remove(0);
    cloud.import(&[(PLUG, cloud.now_ms() - 1, 7, 1, "cur_power", json!(7))]);
    for more in ["", "/logs", "/logs?size=x"] {
        get(&cloud, &token, more);
        get(&cloud, "x", more);
    }
    send(cloud.api, &Request::new("GET", "/.well-known/jwks.json"));
    post(&cloud, &json!({"userName": "18200000678"}));
    post(&cloud, &json!([]));
    answered_both_ways("visual", &[("jwks", false)]);
    let statuses: BTreeSet<u16> =
        seen().into_iter().filter(|seen| seen.operation == "login").map(|seen| seen.status).collect();
    assert_eq!(statuses, BTreeSet::from([200, 400]));
}

/// The documents are this package's, and name nobody else.
#[test]
fn the_documents_are_our_own() {
    for dialect in DIALECTS {
        let document = serde_json::to_value(document(dialect)).unwrap();
        let info = document["info"].as_object().unwrap();
        let names: Vec<&str> = info.keys().map(String::as_str).collect();
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(["title", "description", "version", "license"]));
        assert!(info["title"].as_str().unwrap().starts_with("Ingle: "), "{info:?}");
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(info["license"], json!({"name": "Apache 2.0", "identifier": "Apache-2.0"}));
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let place = format!("{method} {path} {status}");
                    assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}");
                    assert!(response["content"]["application/json"]["schema"].is_object(), "{place}");
                }
            }
        }
    }
}

/// A value has the type of its function, which no document can know.
#[test]
fn a_value_may_be_anything() {
    for (dialect, names) in [
        ("tuya", &["CommandBody", "StatusView", "PropertyView"][..]),
        ("aliyun", &["PropertyView"]),
        ("visual", &["StatusView", "LogView"]),
    ] {
        let document = serde_json::to_value(document(dialect)).unwrap();
        for name in names {
            let schema = &document["components"]["schemas"][name]["properties"]["value"];
            for value in [json!(true), json!(7), json!(1.5), json!("text"), json!({"h": 1}), json!([1]), json!(null)] {
                assert_eq!(fits(&document, schema, &value, name), Ok(()), "{dialect} {name}");
            }
        }
    }
}

/// The check itself refuses what it should.
#[test]
fn the_check_sees_what_is_wrong() {
    let document = json!({"components": {"schemas": {"Name": {"type": "string"}}}});
    let schema = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"$ref": "#/components/schemas/Name"},
        "rows": {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}},
        "page": {"oneOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]},
        "either": {"oneOf": [{"type": "string"}, {"type": "object", "allOf": [
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "null"}}},
            {"type": "object", "properties": {"b": {"type": "boolean"}}}]}]}}});
    let is_so = |value: Value| fits(&document, &schema, &value, "").is_ok();
    for good in [
        json!({"name": "n"}),
        json!({"name": "n", "rows": null}),
        json!({"name": "n", "rows": [0, 1]}),
        json!({"name": "n", "either": "text"}),
        json!({"name": "n", "either": {"a": null, "b": true}}),
    ] {
        assert!(is_so(good.clone()), "{good}");
    }
    for bad in [
        json!(null),
        json!({}),
        json!({"name": 1}),
        json!({"name": "n", "more": 1}),
        json!({"name": "n", "rows": [-1]}),
        json!({"name": "n", "rows": [0.5]}),
        json!({"name": "n", "rows": {}}),
        json!({"name": "n", "page": {"a": 1}}),
        json!({"name": "n", "either": 1}),
        json!({"name": "n", "either": {"b": true}}),
        json!({"name": "n", "either": {"a": null, "c": 1}}),
    ] {
        assert!(!is_so(bad.clone()), "{bad}");
    }
}
