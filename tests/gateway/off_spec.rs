//! Values off the specification of their product, as real devices report them: they are kept as they came, and counted.

use serde_json::{Value, json};

use super::{SECRET, value};
use crate::feed::Subscriber;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, linkkit, tuyalink, with_secrets};
use crate::support::world::PLUG;

const TOPIC: &str = "tylink/27511006b4e62d4b8f21/thing/property/report";
const POST: &str = "/sys/a1plug00001/dev001/thing/event/property/post";

/// The plug's product has a function of each type.
fn functions() -> Value {
    let function = |code: &str, kind: &str, values: Value| json!({"code": code, "type": kind, "values": values});
    json!([
        function("switch", "Boolean", json!({})),
        function("power", "Integer", json!({"min": 10, "max": 1000, "step": 1})),
        function("mode", "Enum", json!({"range": ["white", "colour"]})),
        function("fault", "Bitmap", json!({"label": ["e1", "e2"]})),
        function("text", "String", json!({"maxlen": 5})),
        function("colour_data", "Json", json!({})),
        function("raw", "Raw", json!({})),
    ])
}

fn apply(cloud: &TestCloud, strict: bool) {
    let product = json!({"product_id": "EvolhYPyZNWYP001", "name": "Plug", "category": "cz", "strict": strict, "functions": functions()});
    cloud.apply(&json!({"projects": [{"name": "first", "products": [product]}]}));
}

fn cloud() -> TestCloud {
    let cloud = TestCloud::start();
    with_secrets(&cloud);
    apply(&cloud, false);
    cloud
}

fn tuya(cloud: &TestCloud) -> MqttDevice {
    let mut plug = MqttDevice::connect(cloud, &tuyalink(PLUG, SECRET));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/channel/downlink/auto_subscribe")]), [true]);
    plug
}

fn alink(cloud: &TestCloud) -> MqttDevice {
    MqttDevice::connect(cloud, &linkkit("a1plug00001", "dev001", SECRET, ",_ss=1"))
}

fn report(plug: &mut MqttDevice, data: &Value) -> i64 {
    plug.asked(TOPIC, &json!({"msgId": "1", "sys": {"ack": 1}, "data": data})).1["code"].as_i64().unwrap()
}

fn post(plug: &mut MqttDevice, params: &Value) -> i64 {
    plug.asked(POST, &json!({"id": "1", "version": "1.0", "params": params})).1["code"].as_i64().unwrap()
}

/// A code and a value that is off its specification.
fn odd() -> [(&'static str, Value); 13] {
    [
        ("switch", json!("true")),
        ("switch", json!(2)),
        ("power", json!(1001)),
        ("power", json!(9)),
        ("power", json!(20.5)),
        ("power", json!("20")),
        ("mode", json!("purple")),
        ("mode", json!(7)),
        ("fault", json!(4)),
        ("text", json!("too long")),
        ("text", json!(5)),
        ("raw", json!(1)),
        ("colour_data", json!(1)),
    ]
}

#[test]
fn what_is_off_the_specification_is_kept_as_it_came_and_counted() {
    let cloud = cloud();
    let mut count = 0;
    for (number, (code, odd)) in odd().into_iter().enumerate() {
        // One good member beside the odd one.
        let good = if code == "power" { ("mode", json!("colour")) } else { ("power", json!(100 + number)) };
        let members = json!({code: odd, good.0: good.1});
        assert_eq!(report(&mut tuya(&cloud), &members), 0, "{members}");
        assert_eq!((value(&cloud, code), value(&cloud, good.0)), (odd.clone(), good.1.clone()), "{members}");
        let members = json!({code: null, good.0: if good.0 == "mode" { json!(0) } else { json!(500) }});
        assert_eq!(post(&mut alink(&cloud), &members), 200, "{members}");
        assert_eq!(value(&cloud, code), Value::Null, "{members}");
        count += 2;
    }
    let metrics = cloud.metrics();
    let counted =
        metrics.lines().filter_map(|line| line.strip_prefix("ingle_off_spec_values_total{")?.rsplit_once(' '));
    let counts: Vec<(&str, u64)> = counted.map(|(labels, count)| (labels, count.parse().unwrap())).collect();
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), count, "{counts:?}");
    assert!(counts.contains(&(r#"product="EvolhYPyZNWYP001",code="switch"}"#, 4)), "{counts:?}");
}

#[test]
fn the_log_has_a_line_for_each_device_and_connection() {
    let parent = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&parent.path().join("data"), "info");
    cloud.apply(&crate::support::world::standard());
    with_secrets(&cloud);
    apply(&cloud, false);
    let mut plug = tuya(&cloud);
    for n in 0..5 {
        assert_eq!(report(&mut plug, &json!({"mode": "purple", "power": n})), 0);
    }
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("off its product's specification")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains(PLUG) && lines[0].contains("EvolhYPyZNWYP001"), "{}", lines[0]);
}

#[test]
fn a_whole_number_is_one_however_it_is_written_up_and_down() {
    let cloud = cloud();
    let mut plug = tuya(&cloud);
    for (written, whole) in [("200.0", 200), ("2e2", 200), ("3.0E1", 30), ("40", 40)] {
        plug.publish(TOPIC, format!(r#"{{"msgId":"1","data":{{"power":{written}}}}}"#).as_bytes());
        assert!(plug.receive().is_some_and(|(kind, _)| kind == 0x40));
        assert_eq!(value(&cloud, "power").to_string(), whole.to_string(), "{written}");
        let body = format!(r#"{{"commands":[{{"code":"power","value":{written}}}]}}"#);
        let answer = cloud.first().call("POST", &format!("/v1.0/devices/{PLUG}/commands"), &body);
        assert_eq!(answer.body["result"], true, "{answer:?}");
        assert_eq!(plug.message().1["data"]["power"].to_string(), whole.to_string(), "{written}");
    }
    assert!(!cloud.metrics().contains("ingle_off_spec_values_total{"));
}

#[test]
fn a_strict_product_refuses_the_whole_report() {
    let cloud = cloud();
    apply(&cloud, true);
    assert_eq!(report(&mut tuya(&cloud), &json!({"power": 20.0, "switch": true})), 0);
    for (code, odd) in odd() {
        let good = if code == "power" { "mode" } else { "power" };
        let members = json!({code: odd, good: if good == "mode" { json!("colour") } else { json!(77) }});
        assert_eq!(report(&mut tuya(&cloud), &members), 2006, "{members}");
    }
    assert_eq!(post(&mut alink(&cloud), &json!({"switch": 1, "power": 1})), 460);
    assert_eq!((value(&cloud, "power"), value(&cloud, "mode")), (json!(20), Value::Null));
    // Another document that says nothing of it changes nothing.
    let product = json!({"product_id": "EvolhYPyZNWYP001", "name": "Plug", "category": "cz"});
    cloud.apply(&json!({"projects": [{"name": "first", "products": [product]}]}));
    assert_eq!(report(&mut tuya(&cloud), &json!({"power": 1})), 2006);
    apply(&cloud, false);
    assert_eq!(report(&mut tuya(&cloud), &json!({"power": 1})), 0);
}

#[test]
fn a_document_is_a_text_wherever_the_tuya_dialect_shows_it() {
    let cloud = cloud();
    let mut subscriber = Subscriber::of(&cloud, &cloud.first(), "2.0");
    let colour = json!({"h": 10, "s": 20, "v": 30});
    let app = cloud.first();
    let text = colour.to_string();
    for given in [colour, json!(text)] {
        let mut plug = tuya(&cloud);
        assert_eq!(subscriber.next_about_plug().0, "online");
        assert_eq!(report(&mut plug, &json!({"colour_data": {"value": given}, "other": {"value": [1, 2]}})), 0);
        let received = subscriber.next_message().1["status"].clone();
        let points = received.as_array().unwrap();
        let shown = |code: &str| points.iter().find(|point| point["code"] == code).unwrap()["value"].clone();
        assert_eq!((shown("colour_data"), shown("other")), (json!(text), json!("[1,2]")), "live: {received}");
        assert_eq!(points.iter().find(|point| point["code"] == "colour_data").unwrap()["6"], json!(text), "{received}");
        let find = |list: &Value, code: &str| {
            list.as_array().unwrap().iter().find(|point| point["code"] == code).unwrap()["value"].clone()
        };
        let device = app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["status"].clone();
        let list = app.get(&format!("/v1.0/devices?device_ids={PLUG}"))["result"]["devices"][0]["status"].clone();
        let status = app.get(&format!("/v1.0/iot-03/devices/{PLUG}/status"))["result"].clone();
        for shown in [&device, &list, &status] {
            assert_eq!((find(shown, "colour_data"), find(shown, "other")), (json!(text), json!("[1,2]")), "{shown}");
        }
        let shadow = app.get(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties"))["result"]["properties"].clone();
        assert_eq!(find(&shadow, "colour_data"), json!(text));
        let end = cloud.now_ms() + 1000;
        let log =
            app.get(&format!("/v1.0/devices/{PLUG}/logs?codes=colour_data&end_time={end}&size=5&start_time=0&type=7"));
        assert_eq!(log["result"]["logs"][0]["value"], json!(text), "{log}");
        drop(plug);
        assert_eq!(subscriber.next_about_plug().0, "offline");
    }
}
