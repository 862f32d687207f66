//! Numbers with decimals, dates and structs of Alibaba's thing model, described, reported, set and read in both dialects.

use serde_json::{Value, json};

use super::{alink_plug, cloud, tuya_plug};
use crate::feed::Subscriber;
use crate::support::TestCloud;
use crate::support::mqtt::MqttDevice;
use crate::support::world::PLUG;

const POST: &str = "/sys/a1plug00001/dev001/thing/event/property/post";
const REPORT: &str = "tylink/27511006b4e62d4b8f21/thing/property/report";

/// The plug's product has a function of each of these types.
fn described() -> TestCloud {
    let cloud = cloud();
    let members = json!([
        {"code": "lat", "type": "Double"},
        {"code": "speed", "type": "float", "values": {"step": 0.5, "max": 100}},
        {"code": "moving", "type": "Boolean"},
        {"code": "mode", "type": "Enum", "values": {"range": ["foot", "car"]}},
        {"code": "at", "type": "Date"},
        {"code": "count", "type": "Integer"},
        {"code": "note", "type": "String", "name": "Note"},
    ]);
    let functions = json!([
        {"code": "temperature", "type": "Float", "values": {"min": -40, "max": 120.5, "step": 0.1, "unit": "C"}},
        {"code": "exact", "type": "Double", "values": {"min": -1, "max": 1}},
        {"code": "since", "type": "Date"},
        {"code": "place", "type": "Struct", "values": {"members": members}},
    ]);
    let product = json!({"product_id": "EvolhYPyZNWYP001", "name": "Plug", "category": "cz", "functions": functions});
    cloud.apply(&json!({"projects": [{"name": "first", "products": [product]}]}));
    cloud
}

/// Code, value as Alibaba's model has it, value as the Tuya dialect shows it.
fn values() -> Vec<(&'static str, Value, Value)> {
    let place = json!({"lat": 52.520_008, "speed": 12.5, "moving": 1, "mode": 1, "at": "1635839462000", "count": 3,
        "note": "a \"b\" 水"});
    let shown = json!({"lat": "52.520008", "speed": 125, "moving": true, "mode": "car", "at": "1635839462000",
        "count": 3, "note": "a \"b\" 水"});
    vec![
        ("temperature", json!(21.5), json!(215)),
        ("temperature", json!(-40), json!(-400)),
        ("temperature", json!(0.3), json!(3)),
        ("exact", json!(0.123_456_789_012_345_6), json!("0.1234567890123456")),
        ("exact", json!(-1), json!("-1")),
        ("since", json!("1635839462000"), json!("1635839462000")),
        ("place", place, shown),
    ]
}

/// A text that is a document, as the document: its members have no order.
fn opened(value: &Value) -> Value {
    let document = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    document.filter(Value::is_object).unwrap_or_else(|| value.clone())
}

fn of(list: &Value, name: &str, code: &str) -> Value {
    list.as_array().unwrap().iter().find(|one| one[name] == code).unwrap_or(&Value::Null)["value"].clone()
}

fn alink_value(cloud: &TestCloud, code: &str) -> Value {
    of(&cloud.aliyun().data("/cloud/thing/properties/get", json!({"iotId": iot_id(cloud)})), "attribute", code)
}

fn iot_id(cloud: &TestCloud) -> String {
    let app = cloud.aliyun();
    let name = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    app.data("/cloud/thing/info/get", name)["iotId"].as_str().unwrap().to_owned()
}

#[test]
fn reported_by_linkkit_and_read_in_both_dialects() {
    let cloud = described();
    let app = cloud.first();
    let mut subscriber = Subscriber::of(&cloud, &app, "2.0");
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    assert_eq!(subscriber.next_about_plug().0, "online");
    for (code, alink, tuya) in values() {
        let (_, answer) = plug.asked(POST, &json!({"id": "1", "version": "1.0", "params": {code: alink}}));
        assert_eq!(answer["code"], 200, "{code}");
        assert_eq!(alink_value(&cloud, code).to_string(), alink.to_string(), "{code}");
        let received = subscriber.next_message().1["status"].clone();
        let status = app.get(&format!("/v1.0/devices/{PLUG}/status"))["result"].clone();
        let device = app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["status"].clone();
        let shadow = app.get(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties"))["result"]["properties"].clone();
        for (place, shown) in [("live", &received), ("status", &status), ("device", &device), ("shadow", &shadow)] {
            assert_eq!(opened(&of(shown, "code", code)), tuya, "{place} {code}");
        }
        assert!(of(&status, "code", "place").is_string(), "a struct is a text");
        let end = cloud.now_ms() + 1000;
        let log = app.get(&format!("/v1.0/devices/{PLUG}/logs?codes={code}&end_time={end}&size=1&start_time=0&type=7"));
        let logged = log["result"]["logs"][0]["value"].clone();
        let text = tuya.as_str().map_or_else(|| tuya.to_string(), str::to_owned);
        assert!(logged == text || opened(&logged) == tuya, "{logged} {tuya}");
        let span = json!({"iotId": iot_id(&cloud), "identifier": code, "start": 0, "end": end, "ordered": false, "pageSize": 1});
        let row = cloud.aliyun().data("/cloud/thing/property/timeline/get", span)["items"][0].clone();
        assert_eq!(row["data"].to_string(), alink.to_string(), "{row}");
    }
    assert!(!cloud.metrics().contains("ingle_off_spec_values_total{"), "all of them fit");
    // A number finer than its step is kept, and rounded where it is a whole number.
    let _ = plug.asked(POST, &json!({"id": "2", "version": "1.0", "params": {"temperature": 21.57}}));
    let status = app.get(&format!("/v1.0/devices/{PLUG}/status"))["result"].clone();
    assert_eq!((alink_value(&cloud, "temperature"), of(&status, "code", "temperature")), (json!(21.57), json!(216)));
    let end = cloud.now_ms() + 1000;
    let log =
        app.get(&format!("/v1.0/devices/{PLUG}/logs?codes=temperature&end_time={end}&size=1&start_time=0&type=7"));
    assert_eq!(log["result"]["logs"][0]["value"], "216");
    // A date is taken as a number too.
    let _ = plug.asked(POST, &json!({"id": "2", "version": "1.0", "params": {"since": 1_635_839_462_001_i64}}));
    assert_eq!(alink_value(&cloud, "since"), json!("1635839462001"));
}

#[test]
fn reported_by_tuyalink_and_read_in_both_dialects() {
    let cloud = described();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    for (code, alink, tuya) in values() {
        // A struct as text, as the model has it, and as an object.
        let text = if tuya.is_object() { json!(tuya.to_string()) } else { tuya.clone() };
        for sent in [text, tuya.clone()] {
            let (_, answer) = plug.asked(REPORT, &json!({"msgId": "1", "sys": {"ack": 1}, "data": {code: sent}}));
            assert_eq!(answer["code"], 0, "{code}");
            assert_eq!(alink_value(&cloud, code).to_string(), alink.to_string(), "{code}");
            let status = cloud.first().get(&format!("/v1.0/devices/{PLUG}/status"))["result"].clone();
            assert_eq!(opened(&of(&status, "code", code)), tuya, "{code}");
        }
    }
    assert!(!cloud.metrics().contains("ingle_off_spec_values_total{"), "all of them fit");
}

#[test]
fn a_text_that_is_no_struct_is_stored_as_the_text_that_came() {
    let cloud = described();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    for odd in ["hello", "{", "", "[1]", "{\"unknown\":1}", "{\"speed\":1001}"] {
        let (_, answer) = plug.asked(REPORT, &json!({"msgId": "1", "sys": {"ack": 1}, "data": {"place": odd}}));
        assert_eq!(answer["code"], 0, "{odd}");
        let status = cloud.first().get(&format!("/v1.0/devices/{PLUG}/status"))["result"].clone();
        assert_eq!(of(&status, "code", "place"), odd);
        assert_eq!(alink_value(&cloud, "place"), odd);
    }
}

#[test]
fn set_from_either_dialect_on_either_protocol() {
    let cloud = described();
    let (app, living) = (cloud.first(), cloud.aliyun());
    let id = iot_id(&cloud);
    let set_both = |code: &str, alink: &Value, tuya: &Value| {
        let text = if tuya.is_object() { json!(tuya.to_string()) } else { tuya.clone() };
        let path = format!("/v1.0/devices/{PLUG}/commands");
        assert_eq!(app.post(&path, json!({"commands": [{"code": code, "value": text}]}))["result"], true, "{code}");
        let answer = living.data("/cloud/thing/properties/set", json!({"iotId": id, "items": {code: alink}}));
        assert_eq!(answer, json!({}), "{code}");
    };
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    for (code, alink, tuya) in values() {
        set_both(code, &alink, &tuya);
        for _ in 0..2 {
            assert_eq!(plug.message().1["params"][code].to_string(), alink.to_string(), "{code}");
        }
    }
    drop(plug);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    for (code, alink, tuya) in values() {
        set_both(code, &alink, &tuya);
        for _ in 0..2 {
            let received = plug.message().1["data"][code].clone();
            assert_eq!((opened(&received), received.is_object()), (tuya.clone(), false), "{code}");
        }
    }
    // What the function cannot have.
    for (code, alink) in [
        ("temperature", json!(121)),
        ("temperature", json!(-41)),
        ("temperature", json!("warm")),
        ("exact", json!(1.1)),
        ("since", json!("2021-11-02")),
        ("since", json!(true)),
        ("place", json!({"speed": 101})),
        ("place", json!({"unknown": 1})),
        ("place", json!({"mode": 2})),
        ("place", json!(1)),
    ] {
        let items = json!({"iotId": id, "items": {code: alink}});
        assert_eq!(living.code("/cloud/thing/properties/set", items), 460, "{code} {alink}");
    }
    for (code, tuya) in [
        ("temperature", json!(1206)),
        ("temperature", json!("215")),
        ("exact", json!(0.5)),
        ("exact", json!("1.1")),
        ("since", json!("")),
        ("place", json!("{\"speed\":1001}")),
        ("place", json!("{")),
        ("place", json!("[]")),
    ] {
        let path = format!("/v1.0/devices/{PLUG}/commands");
        let answer = app.post(&path, json!({"commands": [{"code": code, "value": tuya}]}));
        assert_eq!(answer["code"], 2008, "{code} {tuya}");
    }
}

#[test]
fn desired_values_while_the_device_is_away() {
    let cloud = described();
    let path = format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired");
    let setpoint = json!({"properties": {"temperature": 215, "place": "{\"speed\":125,\"moving\":true}"}, "duration": 60, "type": 0});
    assert_eq!(cloud.first().post(&path, setpoint)["success"], true);
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let get = json!({"id": "1", "version": "1.0", "params": ["temperature", "place"]});
    let data = plug.asked("/sys/a1plug00001/dev001/thing/property/desired/get", &get).1["data"].clone();
    assert_eq!(
        (&data["temperature"]["value"], &data["place"]["value"]),
        (&json!(21.5), &json!({"speed": 12.5, "moving": 1}))
    );
    drop(plug);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    let get = json!({"msgId": "1", "data": {"properties": ["temperature", "place"]}});
    let data = plug.asked(&format!("tylink/{PLUG}/thing/property/desired/get"), &get).1["data"]["properties"].clone();
    assert_eq!(data["temperature"]["value"], 215);
    assert_eq!(opened(&data["place"]["value"]), json!({"speed": 125, "moving": true}));
}

#[test]
fn described_in_both_dialects() {
    let cloud = described();
    let app = cloud.first();
    let specification = app.get(&format!("/v1.1/devices/{PLUG}/specifications"))["result"].clone();
    let row = |code: &str| {
        let row = specification["functions"].as_array().unwrap().iter().find(|row| row["code"] == code).unwrap();
        (
            row["type"].as_str().unwrap().to_owned(),
            serde_json::from_str::<Value>(row["values"].as_str().unwrap()).unwrap(),
        )
    };
    let scaled = json!({"min": -400, "max": 1205, "step": 1, "scale": 1, "unit": "C"});
    assert_eq!(row("temperature"), ("Integer".to_owned(), scaled.clone()));
    assert_eq!(row("exact"), ("String".to_owned(), json!({"maxlen": 32})));
    assert_eq!(row("since"), ("String".to_owned(), json!({"maxlen": 14})));
    let (kind, place) = row("place");
    assert_eq!(
        (kind.as_str(), &place["speed"]),
        ("Json", &json!({"type": "value", "max": 1000, "step": 5, "scale": 1}))
    );
    assert_eq!(place["mode"], json!({"type": "enum", "range": ["foot", "car"]}));
    let model = app.get(&format!("/v2.0/cloud/thing/{PLUG}/model"))["result"]["model"].clone();
    let model: Value = serde_json::from_str(model.as_str().unwrap()).unwrap();
    let properties = model["services"][0]["properties"].as_array().unwrap().clone();
    let spec = |code: &str| properties.iter().find(|one| one["code"] == code).unwrap()["typeSpec"].clone();
    let mut value = scaled;
    value["type"] = json!("value");
    assert_eq!((spec("temperature"), &spec("place")["type"]), (value, &json!("string")));

    let tsl = cloud.aliyun().data("/cloud/thing/tsl/get", json!({"iotId": iot_id(&cloud)}));
    let data_type = |list: &Value, code: &str| {
        list.as_array().unwrap().iter().find(|one| one["identifier"] == code).unwrap()["dataType"].clone()
    };
    let properties = &tsl["properties"];
    let bounds = json!({"min": "-40", "max": "120.5", "step": "0.1", "unit": "C"});
    assert_eq!(data_type(properties, "temperature"), json!({"type": "float", "specs": bounds}));
    assert_eq!(
        data_type(properties, "exact"),
        json!({"type": "double", "specs": {"min": "-1", "max": "1", "unit": ""}})
    );
    assert_eq!(data_type(properties, "since"), json!({"type": "date", "specs": {}}));
    let place = data_type(properties, "place");
    assert_eq!((&place["type"], place["specs"].as_array().unwrap().len()), (&json!("struct"), 7));
    assert_eq!(place["specs"][6]["name"], "Note");
    assert_eq!(data_type(&place["specs"], "moving")["type"], "bool");

    // Until it is reported the status has a value that the specification allows.
    let status = app.get(&format!("/v1.0/devices/{PLUG}/status"))["result"].clone();
    let defaults = ["temperature", "exact", "since", "place"].map(|code| of(&status, "code", code));
    assert_eq!(defaults, [json!(-400), json!(""), json!(""), json!("")]);
}
