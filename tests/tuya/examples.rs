//! The example responses of both seed documents, member by member. Where an example is masked with stars, or shows a
//! time or an id that the server makes, the type is compared; everything else is compared as it is.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::mqtt::MqttDevice;
use crate::support::world::{GATEWAY, LEAK, OWNER, PLUG, SCALE, SPEAKER};

/// When the log example was taken.
const THEN_MS: i64 = 1_561_344_464_370;

/// Members whose values a server makes.
const MADE: &[&str] = &["t", "uid", "active_time", "create_time", "update_time", "last_id", "total"];

/// Whether `actual` has every member of the example.
fn assert_like(example: &Value, actual: &Value, place: &str) {
    let name = place.rsplit('.').next().unwrap();
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
        (Value::String(text), Value::String(_)) if text.contains('*') && text != "****" => {}
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) if MADE.contains(&name) => {}
        _ => assert_eq!(example, actual, "{place}"),
    }
}

fn example(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The examples' devices with the values that they show.
struct Examples {
    cloud: TestCloud,
    /// Those that are connected.
    _there: Vec<MqttDevice>,
}

impl std::ops::Deref for Examples {
    type Target = TestCloud;

    fn deref(&self) -> &TestCloud {
        &self.cloud
    }
}

/// The products with the functions that the examples' status lists have, in their order. The plug has two more, which
/// have names.
fn plug() -> Value {
    let number = |code: &str| json!({"code": code, "type": "Integer"});
    let named = |code: &str| json!({"code": code, "type": "Boolean", "access": "wo"});
    json!({"product_id": "EvolhYPyZNWYP001", "name": "Wi-Fi 智能计量插座", "category": "cz",
        "functions": [number("cur_power"), number("cur_voltage"), {"code": "switch", "type": "Boolean"},
            number("countdown_1"), number("cur_current"), named("switch_1"), named("switch_2")]})
}

fn speaker() -> Value {
    let boolean = |code: &str| json!({"code": code, "type": "Boolean"});
    let text = |code: &str| json!({"code": code, "type": "String"});
    json!({"product_id": "i9vkz00000000001", "name": "Wi-Fi 智能音箱 SS190", "category": "znyxss",
        "functions": [{"code": "smartspeaker_vol", "type": "Integer"}, boolean("smartspeaker_mic"),
            boolean("smartspeaker_play"), text("smartspeaker_wm_switch"), boolean("smartspeaker_bt_switch"),
            boolean("smartspeaker_pre"), boolean("smartspeaker_next"), text("smartspeaker_play_mode"),
            text("smartspeaker_alarm_clock"), text("smartspeaker_alert"), text("ir_send"), text("ir_study_code")]})
}

fn cloud() -> Examples {
    let cloud = TestCloud::start();
    cloud.apply(&json!({"projects": [{"name": "first", "products": [plug(), speaker()]}]}));
    let now = cloud.now_ms();
    let there = [("g0er6hSKgMqr0001", SCALE), ("EvolhYPyZNWYP001", PLUG), ("rzeSU2h9uoklx001", LEAK)];
    let there = there.map(|(product, device)| MqttDevice::of(&cloud, product, device));
    let mut rows = Vec::new();
    for (device, code, value) in [
        (SCALE, "weight", json!(48900)),
        (SCALE, "left_hand_r", json!(0)),
        (SCALE, "right_hand_r", json!(0)),
        (SCALE, "left_leg_r", json!(0)),
        (SCALE, "right_leg_r", json!(0)),
        (SCALE, "body_r", json!(653)),
        (SCALE, "battery_low", json!(false)),
        (PLUG, "cur_power", json!(0)),
        (PLUG, "cur_voltage", json!(2196)),
        (PLUG, "switch", json!(false)),
        (PLUG, "countdown_1", json!(0)),
        (PLUG, "cur_current", json!(0)),
        (SPEAKER, "smartspeaker_vol", json!(26)),
        (SPEAKER, "smartspeaker_mic", json!(true)),
        (SPEAKER, "smartspeaker_play", json!(false)),
        (SPEAKER, "smartspeaker_wm_switch", json!("btm")),
        (SPEAKER, "smartspeaker_bt_switch", json!(false)),
        (SPEAKER, "smartspeaker_pre", json!(false)),
        (SPEAKER, "smartspeaker_next", json!(false)),
        (SPEAKER, "smartspeaker_play_mode", json!("random")),
        (SPEAKER, "smartspeaker_alarm_clock", json!("")),
        (SPEAKER, "smartspeaker_alert", json!("")),
        (SPEAKER, "ir_send", json!("{\"control\":\"study_exit\"}")),
        (SPEAKER, "ir_study_code", json!("")),
    ] {
        rows.push((device, now, 7, 1, code, value));
    }
    cloud.import(&rows);
    Examples { cloud, _there: there.into() }
}

#[test]
fn a_device() {
    let expected = example(
        r#"{"success": true, "result": {"active_time": 1589505938, "biz_type": 299009, "category": "qt",
        "create_time": 1560827137, "icon": "smart/icon/15402589135gknz23xajb_0.png", "id": "60613135b121cddc294****",
        "ip": "120.198.****.****", "local_key": "3a9b50126fe473****", "name": "体脂秤", "online": true,
        "owner_id": "1070****", "product_id": "g0er6hSKgMqr****", "product_name": "Wifi scales_OEM", "status": [
        {"code": "weight", "value": 48900}, {"code": "left_hand_r", "value": 0}, {"code": "right_hand_r", "value": 0},
        {"code": "left_leg_r", "value": 0}, {"code": "right_leg_r", "value": 0}, {"code": "body_r", "value": 653},
        {"code": "battery_low", "value": false}], "sub": false, "time_zone": "+08:00",
        "uid": "ay157896239864843g****", "update_time": 1589764585, "uuid": "60613135b23cddc294****"}}"#,
    );
    assert_like(&expected, &cloud().first().get(&format!("/v1.0/devices/{SCALE}")), "device");
}

#[test]
fn a_users_devices() {
    let expected = example(
        r#"{"result": [{"sub": false, "create_time": 1540691155, "local_key": "11a53bdd67e4****",
        "owner_id": "357****", "ip": "**.62.43.**", "biz_type": 293964, "icon": "smart/product_icon/cz.png",
        "time_zone": "+08:00", "uuid": "27511006b4e62d4b****", "product_name": "Wi-Fi 智能计量插座",
        "active_time": 1548584422, "uid": "ay1548569152777Q****", "update_time": 1548584559,
        "product_id": "EvolhYPyZNWYP***", "name": "xxx测试", "online": true, "id": "27511006b4e62d4b****",
        "category": "cz", "status": [{"code": "cur_power", "value": 0}, {"code": "cur_voltage", "value": 2196},
        {"code": "switch", "value": false}, {"code": "countdown_1", "value": 0}, {"code": "cur_current", "value": 0}]}],
        "t": 1564996327422, "success": true}"#,
    );
    let cloud = cloud();
    let mut answer = cloud.first().get(&format!("/v1.0/users/{OWNER}/devices"));
    // The example's user has one device, ours has more.
    answer["result"].as_array_mut().unwrap().retain(|device| device["id"] == PLUG);
    assert_like(&expected, &answer, "devices");
    let page = cloud.first().get(&format!("/v1.0/users/{OWNER}/devices?page_no=1&page_size=50"));
    assert_eq!(page["result"].as_array().unwrap().len(), 6);
}

#[test]
fn a_list_of_devices() {
    let expected = example(
        r#"{"result": {"devices": [{"active_time": 1584063323, "biz_type": 310002, "category": "znyxss",
        "create_time": 1575017570, "icon": "smart/program_category_icon/znyxss.png", "id": "747b2165d9449964****",
        "ip": "58.251.**.****", "local_key": "11d7f7286caa****", "model": "SS190", "name": "Wi-Fi 智能音箱 SS190",
        "online": false, "owner_id": "1160****", "product_id": "i9vkz***", "product_name": "Wi-Fi 智能音箱 SS190",
        "status": [{"code": "smartspeaker_vol", "value": 26}, {"code": "smartspeaker_mic", "value": true},
        {"code": "smartspeaker_play", "value": false}, {"code": "smartspeaker_wm_switch", "value": "btm"},
        {"code": "smartspeaker_bt_switch", "value": false}, {"code": "smartspeaker_pre", "value": false},
        {"code": "smartspeaker_next", "value": false}, {"code": "smartspeaker_play_mode", "value": "random"},
        {"code": "smartspeaker_alarm_clock", "value": ""}, {"code": "smartspeaker_alert", "value": ""},
        {"code": "ir_send", "value": "{\"control\":\"study_exit\"}"}, {"code": "ir_study_code", "value": ""}],
        "sub": false, "time_zone": "+08:00", "uid": "ay156531946658X****", "update_time": 1584939489,
        "uuid": "12****"}], "last_id": "158493****", "total": 1}, "success": true, "t": 1586741851210}"#,
    );
    let cloud = cloud();
    let answer = cloud.first().get("/v1.0/devices?product_id=i9vkz00000000001");
    assert_like(&expected, &answer, "devices");
    assert_eq!(answer["result"]["total"], 1);
}

#[test]
fn function_names_and_renaming() {
    let cloud = cloud();
    let app = cloud.first();
    let done = example(r#"{"success": true, "t": 1562229928732, "result": true}"#);
    let named = app.put(&format!("/v1.0/devices/{PLUG}/functions/switch_1"), json!({"name": "lalal"}));
    assert_like(&done, &named, "function");
    let named =
        app.put(&format!("/v1.0/devices/{PLUG}/multiple-name"), json!({"identifier": "switch_2", "name": "second"}));
    assert_like(&done, &named, "multiple-name");
    let names = app.get(&format!("/v1.0/devices/{PLUG}/multiple-names"));
    let expected = json!([{"identifier": "switch_1", "name": "lalal"}, {"identifier": "switch_2", "name": "second"}]);
    assert_eq!((&names["result"], &names["success"]), (&expected, &json!(true)));
    assert_like(&done, &app.put(&format!("/v1.0/devices/{PLUG}"), json!({"name": "插座"})), "rename");
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["name"], "插座");
}

#[test]
fn logs_free() {
    let device = "75500780ecfabc9a86f5";
    let cloud = TestCloud::at(THEN_MS);
    cloud.apply(&json!({"projects": [{"name": "first", "products": [], "devices":
        [{"product_id": "EvolhYPyZNWYP001", "device_id": device}]}]}));
    cloud.import(&[
        (device, 1_560_872_567_955, 7, 1, "switch_1", json!(false)),
        (device, 1_560_783_276_382, 7, 1, "switch_1", json!(false)),
        (device, 1_560_783_275_873, 7, 1, "switch_1", json!(true)),
    ]);
    let expected = example(
        r#"{"success": true, "t": 1561344464370, "result": {"logs": [{"code": "switch_1", "value": "false",
        "event_time": 1560872567955, "event_from": "1", "event_id": 7}, {"code": "switch_1", "value": "false",
        "event_time": 1560783276382, "event_from": "1", "event_id": 7}], "device_id": "75500780ecfabc9a****",
        "has_next": true,
        "current_row_key": "NjUwODIzNDU1ZjY4YTljYmFmY2UwODcwMDU1N185MjIzMzcwNDc1OTgyMjA3ODUyXzdfMQ==",
        "next_row_key": "NjUwODIzNDU1ZjY4YTljYmFmY2UwODcwMDU1N185MjIzMzcwNDc2MDcxNDk5OTM0XzdfMQ=="}}"#,
    );
    let app = cloud.first();
    let target =
        format!("/v1.0/devices/{device}/logs?end_time=1561344464370&size=2&start_time=1560700000000&type=1,2,7");
    assert_like(&expected, &app.get(&target), "logs");
    // As printed in the seed: an empty cursor, and 0 for seven days back.
    let target =
        format!("/v1.0/devices/{device}/logs?end_time=1561344464370&size=20&start_row_key=&start_time=0&type=7");
    let week = app.get(&target);
    assert_eq!(week["result"]["logs"].as_array().unwrap().len(), 3);
    assert_eq!(week["result"]["next_row_key"], Value::Null);
}

#[test]
fn logs_paid() {
    let device = "75500780ecfabc9a86f5";
    let cloud = TestCloud::at(1_562_031_600_000);
    cloud.apply(&json!({"projects": [{"name": "first", "devices":
        [{"product_id": "EvolhYPyZNWYP001", "device_id": device}]}]}));
    let shown = [1_562_031_576_431, 1_562_031_394_665, 1_562_031_277_824, 1_561_935_500_636];
    let older = (0..28).map(|n| 1_561_779_264_393 - n * 1000);
    let rows: Vec<_> = shown.into_iter().chain(older).map(|time| (device, time, 1, 1, "", Value::Null)).collect();
    cloud.import(&rows);
    let expected = example(
        r#"{"success": true, "t": 1561344464370, "result": {"count": 32, "device_id": "75500780ecfabc9a****",
        "has_next": true, "logs": [
        {"event_id": 1, "event_time": 1562031576431, "event_from": "1",
         "row": "650823455f68a9cbafce08700557_9223370474823199376_1", "status": "1"},
        {"event_id": 1, "event_time": 1562031394665, "event_from": "1",
         "row": "650823455f68a9cbafce08700557_9223370474823381142_1", "status": "1"},
        {"event_id": 1, "event_time": 1562031277824, "event_from": "1",
         "row": "650823455f68a9cbafce08700557_9223370474823497983_1", "status": "1"},
        {"event_id": 1, "event_time": 1561935500636, "event_from": "1",
         "row": "650823455f68a9cbafce08700557_9223370474919275171_1", "status": "1"}]}}"#,
    );
    let target = format!("/v1.0/devices/{device}/logs?end_time=1562031600000&query_type=2&size=4&start_time=0&type=1");
    assert_like(&expected, &cloud.first().get(&target), "logs");
}

#[test]
fn logs_refused() {
    let expected = example(r#"{"success": false, "code": 2009, "msg": "not support this device", "t": 1561348644346}"#);
    let target =
        format!("/v1.0/devices/{}/logs?end_time=1545898159935&start_time=0&type=7", crate::support::world::DUMB);
    assert_like(&expected, &cloud().first().get(&target), "logs");
}

#[test]
fn reset_and_removal() {
    let cloud = cloud();
    let done = example(r#"{"success": true, "t": 1550642917632, "result": true}"#);
    let app = cloud.first();
    let reset = app.call("PUT", &format!("/v1.0/devices/{SCALE}/reset-factory"), "");
    assert_like(&done, &reset.body, "reset-factory");
    assert_like(&done, &app.delete(&format!("/v1.0/devices/{PLUG}")), "delete");
}

#[test]
fn sub_devices() {
    let expected = example(
        r#"{"result": [{"active_time": 1586169374, "category": "sj", "id": "6c0746cfe887e21e8b****",
        "name": "水浸警报", "online": true, "owner_id": "1059****", "product_id": "rzeSU2h9uoklx***",
        "update_time": 1586169379}], "success": true, "t": 1586169580204}"#,
    );
    let mut answer = cloud().first().get(&format!("/v1.0/devices/{GATEWAY}/sub-devices"));
    answer["result"].as_array_mut().unwrap().retain(|device| device["id"] == LEAK);
    assert_like(&expected, &answer, "sub-devices");
}

#[test]
fn factory_infos() {
    let expected = example(
        r#"{"result": [{"id": "002008535ccf7f53****", "mac": "5c:cf:7f:53:**:**", "uuid": "002008535ccf7f53****"}],
        "success": true, "t": 1585619435816}"#,
    );
    let answer = cloud().first().get(&format!("/v1.0/devices/factory-infos?device_ids={PLUG}"));
    assert_like(&expected, &answer, "factory-infos");
}

#[test]
fn device_users() {
    let cloud = cloud();
    let app = cloud.first();
    let added = app.post(&format!("/v1.0/devices/{SCALE}/user"), json!({"nick_name": "test", "sex": 1}));
    let id = added["result"].as_str().unwrap().to_owned();
    assert!(id.len() == 7 && id.bytes().all(|byte| byte.is_ascii_digit()), "{added}");
    let one = format!("/v1.0/devices/{SCALE}/users/{id}");
    let facts = json!({"nick_name": "n", "sex": 1, "birthday": 1_544_996_327_422_i64, "height": 178, "weight": 160});
    let done = example(r#"{"t": 1564996327422, "success": true, "result": true}"#);
    assert_like(&done, &app.put(&one, facts), "update");
    let expected = example(
        r#"{"t": 1564996327422, "success": true, "result": {"device_id": "6061313****", "nick_name": "n", "sex": 1,
        "birthday": 1544996327422, "height": 178, "weight": 160, "contact": ""}}"#,
    );
    assert_like(&expected, &app.get(&one), "user");
    let all = app.get(&format!("/v1.0/devices/{SCALE}/users"));
    assert_like(&json!([expected["result"]]), &all["result"], "users");
    assert_like(&done, &app.delete(&one), "delete");
}

#[test]
fn users() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let synced = app.post(
        "/v1.0/apps/testApp/user",
        json!({"country_code": "86", "username": "18212345678", "password": "c7fb2740c5f000000004ed765a479fa0",
            "username_type": 1, "time_zone_id": "Asia/Shanghai"}),
    );
    assert_like(&example(r#"{"success": true, "result": {"uid": "ay1534*****4744oIAa"}}"#), &synced, "sync");
    let uid = synced["result"]["uid"].as_str().unwrap();
    assert!(uid.len() == 21 && uid.starts_with("az"), "{uid}");

    let now = cloud.now_ms() / 1000;
    let list = app.get(&format!(
        "/v2.0/apps/testApp/users?end_time={}&page_no=1&page_size=10&start_time={}",
        now + 60,
        now - 3600
    ));
    let expected = example(
        r#"{"success": true, "t": 1551851043862, "result": {"list": [
        {"country_code": "86", "uid": "ay15264******aK4Jo", "username": "****", "mobile": "****"},
        {"country_code": "86", "uid": "ay1526******09hBOKe", "username": "****", "email": "****"},
        {"country_code": "86", "uid": "ay15264******aK4Jo", "username": "****", "mobile": "****"}],
        "has_more": false, "total": 12}}"#,
    );
    assert_like(&expected, &list, "users");
    assert_eq!(list["result"]["total"], 3);

    let infos = app.get(&format!("/v1.0/users/{uid}/infos"));
    let expected = example(
        r#"{"result": {"avatar": "", "create_time": 1582601946, "mobile": "86-153******93", "nick_name": "",
        "uid": "ay1587******2vqTA", "update_time": 1582601946, "username": "86-153******93"}, "success": true,
        "t": 1586153261345}"#,
    );
    assert_like(&expected, &infos, "infos");
    assert_eq!(infos["result"]["mobile"], "86-182******78");
}
