//! Commands reach devices in their own protocol.

use serde_json::{Value, json};

use super::{SECRET, alink_plug, cloud, device, log, tuya_plug};
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, linkkit, with_secrets};
use crate::support::world::PLUG;

fn commands(cloud: &TestCloud, path: &str, code: &str, value: Value) -> Value {
    cloud.first().post(path, json!({"commands": [{"code": code, "value": value}]}))
}

/// A server with 200 ms for one of its time-outs, for tests in which a device does not do what the server waits for.
fn with_short(timeout: &str) -> (tempfile::TempDir, TestCloud) {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[("INGLE_API_EXPLAIN", "true"), (timeout, "200")]);
    cloud.apply(&crate::support::world::standard());
    with_secrets(&cloud);
    (folder, cloud)
}

#[test]
fn to_a_device_that_speaks_tuyalink() {
    let cloud = cloud();
    let path = format!("/v1.0/devices/{PLUG}/commands");
    assert_eq!(commands(&cloud, &path, "switch_1", json!(true))["code"], 2001, "offline");
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/property/set")]), [true]);
    for (path, body) in [
        (
            path.as_str(),
            json!({"commands": [{"code": "switch_1", "value": true}, {"code": "mode", "value": "colour"}]}),
        ),
        (
            &format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/issue"),
            json!({"properties": "{\"switch_1\":true,\"mode\":\"colour\"}"}),
        ),
        (
            &format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/issue"),
            json!({"properties": {"switch_1": true, "mode": "colour"}}),
        ),
    ] {
        assert_eq!(cloud.first().post(path, body)["success"], true, "{path}");
        let (topic, received) = plug.message();
        assert_eq!(topic, format!("tylink/{PLUG}/thing/property/set"));
        assert_eq!(received["data"], json!({"switch_1": true, "mode": "colour"}));
        assert!(received["msgId"].is_string() && received["time"].is_i64(), "{received}");
    }
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001", "items": {"switch_1": 0, "mode": 0}});
    assert_eq!(cloud.aliyun().data("/cloud/thing/properties/set", there), json!({}));
    assert_eq!(plug.message().1["data"], json!({"switch_1": false, "mode": "white"}));
    assert_eq!(log(&cloud), [3, 1, 5, 5, 5, 5, 5, 5, 5, 5]);
    let end = cloud.now_ms() + 1000;
    let rows = cloud.first().get(&format!("/v1.0/devices/{PLUG}/logs?end_time={end}&size=1&start_time=0&type=5"));
    let row = &rows["result"]["logs"][0];
    assert_eq!((&row["event_from"], &row["event_id"]), (&json!("4"), &json!(5)));
    assert!(row["code"].is_string() && row["value"].is_string(), "{row}");
}

#[test]
fn to_a_device_that_speaks_linkkit() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    for (value, alink) in [(json!("colour"), json!(1)), (json!("white"), json!(0))] {
        assert_eq!(commands(&cloud, &format!("/v1.0/iot-03/devices/{PLUG}/commands"), "mode", value)["result"], true);
        let (topic, received) = plug.message();
        assert_eq!(topic, "/sys/a1plug00001/dev001/thing/service/property/set");
        assert_eq!(
            (&received["params"], &received["method"]),
            (&json!({"mode": alink}), &json!("thing.service.property.set"))
        );
        let reply = json!({"id": received["id"], "code": 200, "data": {}});
        assert!(plug.published("/sys/a1plug00001/dev001/thing/service/property/set_reply", &reply) && plug.pings());
    }
    let there =
        json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "set", "args": {"switch_1": 1}});
    assert_eq!(cloud.aliyun().data("/cloud/thing/service/invoke", there), json!({}));
    assert_eq!(plug.message().1["params"], json!({"switch_1": 1}));
}

/// The result of a service call while the device answers as the test says.
fn invoked(cloud: &TestCloud, params: Value, answer: impl FnOnce()) -> Value {
    std::thread::scope(|scope| {
        let call = scope.spawn(|| cloud.aliyun().call("/cloud/thing/service/invoke", params).body);
        answer();
        call.join().unwrap()
    })
}

#[test]
fn a_service_is_done_and_what_came_of_it_comes_back() {
    let cloud = cloud();
    let params =
        json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "reboot", "args": {"delay": 5}});
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let answer = invoked(&cloud, params.clone(), || {
        let (topic, received) = plug.message();
        assert_eq!(topic, "/sys/a1plug00001/dev001/thing/service/reboot");
        assert_eq!((&received["params"], &received["method"]), (&json!({"delay": 5}), &json!("thing.service.reboot")));
        // Another service's answer changes nothing, though it has the number.
        for id in [received["id"].clone(), json!("99999"), json!(null), json!("x")] {
            assert!(plug.published(&topic.replace("reboot", "boot_reply"), &json!({"id": id, "data": {"in": -1}})));
        }
        assert!(
            plug.published(&format!("{topic}_reply"), &json!({"id": received["id"], "code": 200, "data": {"in": 5}}))
        );
    });
    assert_eq!((&answer["code"], &answer["data"]), (&json!(200), &json!({"in": 5})));
    let refused = invoked(&cloud, params.clone(), || {
        let (topic, received) = plug.message();
        assert!(plug.published(&format!("{topic}_reply"), &json!({"id": received["id"], "code": 100_001, "data": {}})));
    });
    assert_eq!(refused["code"], 460);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/action/+")]), [true]);
    let answer = invoked(&cloud, params, || {
        let (topic, received) = plug.message();
        assert_eq!(topic, format!("tylink/{PLUG}/thing/action/execute"));
        assert_eq!(received["data"], json!({"actionCode": "reboot", "inputParams": {"delay": 5}}));
        let output = json!({"msgId": received["msgId"], "time": 1, "code": 0, "data": {"actionCode": "reboot", "outputParams": {"ok": true}}});
        assert!(plug.published(&format!("tylink/{PLUG}/thing/action/execute_response"), &output));
    });
    assert_eq!(answer["data"], json!({"ok": true}));
    assert_eq!(log(&cloud).iter().filter(|kind| **kind == 5).count(), 3);
}

#[test]
fn a_service_is_answered_with_an_id_of_the_devices_own_and_on_every_topic_for_it() {
    let cloud = cloud();
    let named = |service: &str| json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": service, "args": {"delay": 5}});
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let long = format!("{}_{}", "9".repeat(40), "x".repeat(32));
    for (n, (service, topic)) in [
        ("reboot", "/sys/a1plug00001/dev001/thing/service/reboot_reply"),
        ("get", "/sys/a1plug00001/dev001/thing/service/property/get_reply"),
        ("reboot", "/sys/a1plug00001/dev001/rrpc/response/1234567890123456789"),
        ("reboot", "/ext/rrpc/1234567890123456789/sys/a1plug00001/dev001/thing/service/reboot"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = invoked(&cloud, named(service), || {
            plug.message();
            assert!(plug.published(topic, &json!({"id": long, "code": 200, "data": {"n": n}})));
        });
        assert_eq!(answer["data"], json!({"n": n}), "{topic}");
    }
    // With two open calls of a service only the number distinguishes them.
    std::thread::scope(|scope| {
        let app = || cloud.aliyun().call("/cloud/thing/service/invoke", named("reboot")).body;
        let first = (scope.spawn(app), plug.message());
        let second = (scope.spawn(app), plug.message());
        let (calls, received) = ([first.0, second.0], [first.1, second.1]);
        let reply = format!("{}_reply", received[0].0);
        assert!(plug.published(&reply, &json!({"id": long, "data": {"id": long}})));
        for (_, received) in &received {
            assert!(plug.published(&reply, &json!({"id": received["id"], "data": {"id": received["id"]}})));
        }
        let mut answers = calls.map(|call| call.join().unwrap()["data"]["id"].as_str().unwrap().to_owned());
        answers.sort_by_key(|id| id.parse::<u32>().unwrap());
        assert_eq!(answers.to_vec(), received.map(|(_, received)| received["id"].as_str().unwrap().to_owned()));
    });
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/action/+")]), [true]);
    let answer = invoked(&cloud, named("reboot"), || {
        let (topic, _) = plug.message();
        for (action, ok) in [("other", false), ("reboot", true)] {
            let output = json!({"msgId": long, "data": {"actionCode": action, "outputParams": {"ok": ok}}});
            assert!(plug.published(&format!("{topic}_response"), &output));
        }
    });
    assert_eq!(answer["data"], json!({"ok": true}));
}

#[test]
fn a_device_that_does_not_answer() {
    let (_folder, cloud) = with_short("INGLE_TIMES_COMMAND_ANSWER_MS");
    let params = json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "reboot"});
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let begun = std::time::Instant::now();
    assert_eq!(invoked(&cloud, params.clone(), || drop(plug.message()))["code"], 20056);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(200));
    // Gone before it answers: offline at once.
    let cloud = crate::gateway::cloud();
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let answer = invoked(&cloud, params.clone(), || {
        plug.message();
        plug.break_off();
    });
    assert_eq!(answer["code"], 6205);
    assert_eq!(device(&cloud)["online"], false);
    assert_eq!(cloud.aliyun().code("/cloud/thing/service/invoke", params), 6205);
}

#[test]
fn a_device_that_takes_nothing_is_not_waited_for() {
    let (_folder, cloud) = with_short("INGLE_TIMES_SUBSCRIBE_MS");
    // It neither subscribes nor has the server do so.
    let mut plug = MqttDevice::connect(&cloud, &linkkit("a1plug00001", "dev001", SECRET, ""));
    let path = format!("/v1.0/devices/{PLUG}/commands");
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(commands(&cloud, &path, "cur_power", json!(7))["code"], 2001);
    }
    assert!(plug.pings());
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the first waits for a subscription");
}

/// Commands that no device received.
fn without_subscription(cloud: &TestCloud) -> u64 {
    let metrics = cloud.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("ingle_commands_unheard_total "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_command_that_no_subscription_covers_is_not_received() {
    let (_folder, cloud) = with_short("INGLE_TIMES_SUBSCRIBE_MS");
    let there = |more: Value| {
        let mut params = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let set = || cloud.aliyun().call("/cloud/thing/properties/set", there(json!({"items": {"cur_power": 7}}))).code();
    let invoke = || {
        let params = there(json!({"identifier": "reboot", "args": {}}));
        cloud.aliyun().call("/cloud/thing/service/invoke", params).code()
    };
    let path = format!("/v1.0/devices/{PLUG}/commands");
    let switch = || commands(&cloud, &path, "cur_power", json!(7));
    let sys = "/sys/a1plug00001/dev001/thing";
    // It listens to something, but not to this.
    for (who, deaf, receives) in [
        (
            linkkit("a1plug00001", "dev001", SECRET, ""),
            format!("{sys}/event/property/post_reply"),
            format!("{sys}/service/property/set"),
        ),
        (tuya_plug(), format!("tylink/{PLUG}/thing/model/#"), format!("tylink/{PLUG}/thing/property/+")),
    ] {
        let before = without_subscription(&cloud);
        let mut plug = MqttDevice::connect(&cloud, &who);
        assert_eq!(plug.subscribe(&[&deaf]), [true]);
        assert_eq!((switch()["code"].clone(), set(), invoke()), (json!(2001), 6205, 6205));
        assert_eq!(without_subscription(&cloud) - before, 3);
        assert!(plug.pings(), "nothing was sent");
        assert_eq!(plug.subscribe(&[&receives]), [true]);
        assert_eq!(switch()["result"], true);
        plug.message();
        assert_eq!((set(), invoke()), (200, 6205), "it takes values and has no subscriber for services");
        plug.message();
        assert_eq!(without_subscription(&cloud) - before, 4);
        plug.unsubscribe(&[&receives]);
        assert_eq!(switch()["code"], 2001);
        assert_eq!(device(&cloud)["online"], true);
    }
}

#[test]
fn a_command_waits_for_the_first_subscription_of_a_device() {
    let cloud = cloud();
    let path = format!("/v1.0/devices/{PLUG}/commands");
    let filter = "/sys/a1plug00001/dev001/thing/service/property/set";
    let desired_values = || log(&cloud).iter().filter(|kind| **kind == 5).count();
    // The call comes before the subscription, and the row of the log before the call is sent down.
    let mut plug = MqttDevice::connect(&cloud, &linkkit("a1plug00001", "dev001", SECRET, ""));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| commands(&cloud, &path, "cur_power", json!(7)));
        cloud.wait(|| desired_values() == 1);
        assert_eq!(plug.subscribe(&["/sys/a1plug00001/dev001/thing/event/+/post_reply"]), [true]);
        assert_eq!(plug.subscribe(&[filter]), [true]);
        assert_eq!(plug.message().1["params"], json!({"cur_power": 7}));
        assert_eq!(call.join().unwrap()["result"], true);
    });
    assert_eq!(without_subscription(&cloud), 0);
    // One that goes meanwhile is offline at once.
    let plug = MqttDevice::connect(&cloud, &linkkit("a1plug00001", "dev001", SECRET, ""));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| commands(&cloud, &path, "cur_power", json!(7)));
        cloud.wait(|| desired_values() == 2);
        drop(plug);
        assert_eq!(call.join().unwrap()["code"], 2001);
    });
}

#[test]
fn a_desired_value_that_is_not_received_is_sent_when_the_device_subscribes() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/model/#")]), [true]);
    let setpoint = json!({"properties": {"cur_power": 5}, "duration": 3600, "type": 1});
    let path = format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired");
    assert_eq!(cloud.first().post(&path, setpoint)["success"], true);
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/property/set")]), [true]);
    assert_eq!(plug.message().1["data"], json!({"cur_power": 5}));
}

#[test]
fn virtual_devices_obey() {
    let cloud = cloud();
    let product = json!({"product_id": "virtual000000001", "name": "Virtual", "category": "dj", "functions": [
        {"code": "on", "type": "Boolean"}, {"code": "bright", "type": "Integer", "values": {"min": 0, "max": 100}},
        {"code": "scene", "type": "Enum", "values": {"range": ["a", "b"]}}, {"code": "text", "type": "String"}]});
    let lamp = json!({"product_id": "virtual000000001", "device_id": "lamp1", "iot_id": "iotLamp", "virtual": true, "owner": "18200000678"});
    cloud.apply(&json!({"projects": [{"name": "first", "products": [product], "devices": [lamp]}]}));
    let app = cloud.first();
    cloud.wait(|| app.get("/v1.0/devices/lamp1")["result"]["online"] == true);
    let received = json!({"commands": [{"code": "text", "value": "水"}, {"code": "scene", "value": "b"}]});
    assert_eq!(app.post("/v1.0/devices/lamp1/commands", received)["result"], true);
    let status = || app.get("/v1.0/devices/lamp1")["result"]["status"].clone();
    let has = |code: &str, value: Value| status().as_array().unwrap().contains(&json!({"code": code, "value": value}));
    assert!(has("text", json!("水")), "{}", status());
    let params = json!({"iotId": "iotLamp", "identifier": "dance", "args": {}});
    assert_eq!(cloud.aliyun().data("/cloud/thing/service/invoke", params), json!({}));
}
