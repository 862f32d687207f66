//! LinkKit's topics (contract aliyun §6.2, §6.3).

use serde_json::{Value, json};

use super::{SECRET, alink_plug, cloud, log, tuya_plug, value};
use crate::support::mqtt::{MqttDevice, linkkit, signed, with_gateway};
use crate::support::world::PLUG;

const SYS: &str = "/sys/a1plug00001/dev001";

/// Code and data of the answer to a message below a device's own topics.
fn ask(device: &mut MqttDevice, below: &str, params: &Value) -> (i64, Value) {
    ask_at(device, &format!("{SYS}/thing/{below}"), params)
}

fn ask_at(device: &mut MqttDevice, topic: &str, params: &Value) -> (i64, Value) {
    // One client sends numbers for ids and no method.
    let (reply, answer) = device.asked(topic, &json!({"id": 11, "version": "1.0", "params": params}));
    assert_eq!((reply, &answer["id"]), (format!("{topic}_reply"), &json!("11")));
    assert!(answer["message"].is_string(), "{answer}");
    (answer["code"].as_i64().unwrap(), answer["data"].clone())
}

#[test]
fn ids_come_back_as_they_were_sent_up_to_their_bound() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let post = format!("{SYS}/thing/event/property/post");
    for (id, back) in [
        (json!("1"), json!("1")),
        (json!(7), json!("7")),
        // As the vendor's Node SDK makes them.
        (
            json!(format!("{}_{}", "1".repeat(40), "2".repeat(32))),
            json!(format!("{}_{}", "1".repeat(40), "2".repeat(32))),
        ),
        (json!("\"\\\n水"), json!("\"\\\n水")),
        (json!("x".repeat(256)), json!("x".repeat(256))),
        (json!("水".repeat(85)), json!("水".repeat(85))),
        (json!("x".repeat(257)), json!("0")),
        (json!("水".repeat(86)), json!("0")),
        (json!({"a": 1}), json!("0")),
    ] {
        for (params, code) in [(json!({"cur_power": 1}), 200), (json!([1]), 460)] {
            let (_, answer) = plug.asked(&post, &json!({"id": id, "params": params}));
            assert_eq!((&answer["id"], &answer["code"]), (&back, &json!(code)), "{id}");
        }
    }
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    for (id, back) in
        [(json!("x".repeat(256)), json!("x".repeat(256))), (json!("x".repeat(257)), Value::Null), (json!(5), json!(5))]
    {
        let message = json!({"msgId": id, "sys": {"ack": 1}, "data": {"cur_power": 1}});
        let (_, answer) = plug.asked(&format!("tylink/{PLUG}/thing/property/report"), &message);
        assert_eq!((&answer["msgId"], &answer["code"]), (&back, &json!(0)));
    }
}

#[test]
fn events_packs_batches_and_histories() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let now = cloud.now_ms();
    assert_eq!(ask(&mut plug, "event/alarm/post", &json!({"value": {"level": 3}, "time": now})), (200, json!({})));
    assert_eq!(ask(&mut plug, "event/alarm/post", &json!({"level": 4})), (200, json!({})));
    assert_eq!(ask(&mut plug, "event/alarm/post", &json!([1])).0, 460);
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "alarm", "ordered": true});
    let events = cloud.aliyun().data("/cloud/thing/event/timeline/get", there)["items"].clone();
    let bodies: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["eventBody"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["{\"level\":3}", "{\"level\":4}"]);

    let timed = |value: Value, ago: i64| json!({"value": value, "time": now - ago});
    let pack =
        json!({"properties": {"cur_power": timed(json!(3), 0)}, "events": {"alarm": {"value": {}, "time": now}}});
    assert_eq!(ask(&mut plug, "event/property/pack/post", &pack).0, 200);
    assert_eq!(value(&cloud, "cur_power"), 3);
    let batch =
        json!({"properties": {"cur_power": [timed(json!(1), 20), timed(json!(2), 10)], "mode": [timed(json!(1), 0)]}});
    assert_eq!(ask(&mut plug, "event/property/batch/post", &batch).0, 200);
    assert_eq!((value(&cloud, "cur_power"), value(&cloud, "mode")), (json!(3), json!("colour")));
    let identity = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    let history = json!([{"identity": identity, "properties": [{"cur_power": timed(json!(9), 5), "switch_1": timed(json!(0), 5)}],
        "events": [{"alarm": {"value": {}, "time": now - 5}}]}]);
    assert_eq!(ask(&mut plug, "event/property/history/post", &history).0, 200);
    assert_eq!((value(&cloud, "switch_1"), log(&cloud).iter().filter(|kind| **kind == 7).count()), (json!(false), 6));
    // All or nothing.
    let foreign = json!({"productKey": "a1plug00001", "deviceName": "dev002"});
    let mixed = json!([{"identity": identity, "properties": [{"cur_power": 10}]}, {"identity": foreign, "properties": [{"cur_power": 10}]}]);
    assert_eq!(ask(&mut plug, "event/property/history/post", &mixed).0, 460);
    for bad in [
        json!({}),
        json!({"properties": [1]}),
        json!(7),
        json!({"properties": {"cur_power": {"value": 1, "time": "x"}}}),
    ] {
        assert_eq!(ask(&mut plug, "event/property/pack/post", &bad).0, 460, "{bad}");
    }
    assert_eq!(value(&cloud, "cur_power"), 3);
}

#[test]
fn tags_desires_model_and_what_is_not_kept_here() {
    let cloud = cloud();
    let app = cloud.first();
    let setpoint = json!({"properties": {"mode": "colour"}, "duration": 60, "type": 1});
    assert_eq!(app.post(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired"), setpoint)["success"], true);
    let setpoint = json!({"properties": "{\"switch_1\":true}", "duration": 60, "type": 0});
    assert_eq!(app.post(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties/desired"), setpoint)["success"], true);
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let (topic, received) = plug.message();
    assert_eq!((topic, &received["params"]), (format!("{SYS}/thing/service/property/set"), &json!({"mode": 1})));
    assert_eq!(
        ask(&mut plug, "property/desired/get", &json!(["switch_1", "mode"])),
        (200, json!({"switch_1": {"value": 1, "version": 1}}))
    );
    assert_eq!(ask(&mut plug, "property/desired/delete", &json!({"switch_1": {"version": 1}})).0, 200);
    assert_eq!(ask(&mut plug, "property/desired/get", &json!(["switch_1"])), (200, json!({})));

    let tags = json!([{"attrKey": "room", "attrValue": "kitchen"}, {"attrKey": "n", "attrValue": 1}]);
    assert_eq!(ask(&mut plug, "deviceinfo/update", &tags), (200, json!({})));
    assert_eq!(ask(&mut plug, "deviceinfo/delete", &json!([{"attrKey": "n"}])), (200, json!({})));
    assert_eq!(
        ask(&mut plug, "deviceinfo/get", &json!({})),
        (200, json!([{"attrKey": "room", "attrValue": "kitchen"}]))
    );
    assert_eq!(ask(&mut plug, "deviceinfo/update", &json!([{"attrKey": 1}])).0, 460);
    assert_eq!(ask(&mut plug, "deviceinfo/update", &json!([{"attrKey": "k".repeat(65), "attrValue": ""}])).0, 460);
    let model = ask(&mut plug, "dsltemplate/get", &json!({})).1;
    assert_eq!(model["profile"], json!({"productKey": "a1plug00001", "deviceName": "dev001"}));
    assert_eq!(ask(&mut plug, "dynamicTsl/get", &json!({})).1, model);

    assert_eq!(ask(&mut plug, "ota/firmware/get", &json!({"module": "MCU"})), (200, json!({})));
    assert_eq!(ask(&mut plug, "config/get", &json!({})).0, 6710);
    assert_eq!(ask(&mut plug, "list/found", &json!([])).0, 200);
    assert_eq!(ask(&mut plug, "log/post", &json!({})).0, 6300);
    assert_eq!(ask(&mut plug, "some/thing", &json!({})).0, 6300);
}

#[test]
fn firmware_and_what_is_taken_and_left_at_that() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    assert_eq!(cloud.aliyun().data("/cloud/thing/info/get", there.clone())["firmwareVersion"], Value::Null);
    for version in ["1.0.0", "1.0.0", "1.0.1"] {
        let inform = json!({"id": 1, "params": {"version": version, "module": "MCU"}});
        assert!(plug.published("/ota/device/inform/a1plug00001/dev001", &inform) && plug.pings());
    }
    assert_eq!(log(&cloud), [3, 1, 6, 6]);
    let main = json!({"id": 1, "params": {"version": "7.0"}});
    assert!(plug.published("/ota/device/inform/a1plug00001/dev001", &main) && plug.pings());
    assert_eq!(cloud.aliyun().data("/cloud/thing/info/get", there)["firmwareVersion"], "7.0");
    for topic in [
        "/ota/device/progress/a1plug00001/dev001",
        "/ota/device/request/a1plug00001/dev001",
        "/sys/a1plug00001/dev001/thing/model/up_raw",
        "/sys/a1plug00001/dev001/thing/service/property/set_reply",
        "/sys/a1plug00001/dev001/thing/service/nothing_reply",
        "/sys/a1plug00001/dev001/rrpc/response/5",
        "/ext/rrpc/5/user/x",
        "/a1plug00001/dev001/user/update",
    ] {
        assert!(
            plug.published(topic, &json!({"id": "5", "code": 200, "data": {}, "params": {}})) && plug.pings(),
            "{topic}"
        );
    }
}

#[test]
fn a_shadow_is_kept() {
    let cloud = cloud();
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let mut shadow = |message: Value| {
        let (topic, answer) = plug.asked("/shadow/update/a1plug00001/dev001", &message);
        assert_eq!((topic.as_str(), &answer["method"]), ("/shadow/get/a1plug00001/dev001", &json!("reply")));
        assert!(answer["timestamp"].as_i64().unwrap() > 1_700_000_000);
        answer["payload"].clone()
    };
    let get = || json!({"method": "get"});
    assert_eq!(shadow(get()), json!({"status": "success", "state": {}, "metadata": {}, "version": 0}));
    let update = |version: i64, reported: Value| json!({"method": "update", "state": {"reported": reported}, "version": version});
    assert_eq!(shadow(update(1, json!({"color": "red", "on": 1}))), json!({"status": "success", "version": 1}));
    assert_eq!(shadow(update(1, json!({"color": "blue"})))["content"]["errorcode"], "409");
    assert_eq!(shadow(update(5, json!({"color": "blue", "on": null})))["version"], 5);
    let kept = shadow(get());
    assert_eq!((&kept["state"], &kept["version"]), (&json!({"reported": {"color": "blue"}}), &json!(5)));
    assert!(kept["metadata"]["reported"]["color"]["timestamp"].is_i64());
    let delete = json!({"method": "delete", "state": {"reported": {"color": "null"}}, "version": 6});
    assert_eq!(shadow(delete)["status"], "success");
    assert_eq!(shadow(get())["state"], json!({"reported": {}}));
    assert_eq!(shadow(update(7, json!({"long": "x".repeat(17_000)})))["content"]["errorcode"], "500");
    assert_eq!(shadow(update(-1, json!({"new": 1})))["version"], 0);
    assert_eq!(shadow(get())["state"], json!({"reported": {"new": 1}}));
    for (bad, code) in [
        (json!({"method": "update", "state": {"reported": {"a": 1}}}), "402"),
        (json!({"method": "other", "version": 9}), "401"),
        (json!({}), "401"),
        (json!([]), "401"),
    ] {
        assert_eq!(shadow(bad.clone())["content"]["errorcode"], code, "{bad}");
    }
    for odd in [
        json!({"method": "update", "state": [1], "version": 20}),
        json!({"method": "update", "state": {"reported": 5}, "version": 21}),
    ] {
        assert_eq!(shadow(odd)["status"], "success");
    }
    assert_eq!(shadow(get())["state"], json!({"reported": {"new": 1}}));
}

/// A sub-device as a gateway names and proves it.
fn sub(name: &str, secret: &str, client_id: &str) -> Value {
    let content = format!("clientId{client_id}deviceName{name}productKeya1sensortimestamp1530262800000");
    json!({"productKey": "a1sensor", "deviceName": name, "clientId": client_id, "timestamp": "1530262800000",
        "signmethod": "hmacSha256", "sign": signed(secret, &content)})
}

#[test]
fn a_gateway_and_the_devices_behind_it() {
    let cloud = cloud();
    with_gateway(&cloud);
    let app = cloud.first();
    let online = |id: &str| app.get(&format!("/v1.0/devices/{id}"))["result"]["online"].clone();
    let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ",_ss=1"));
    let gate_topic = |below: &str| format!("/sys/a1gate/gate1/thing/{below}");
    let session = |kind: &str| format!("/ext/session/a1gate/gate1/combine/{kind}");
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["deviceName"].as_str().unwrap().to_owned()).collect()
    };
    let (code, behind) = ask_at(&mut gate, &gate_topic("topo/get"), &json!({}));
    assert_eq!((code, names(&behind)), (200, vec!["temp1".to_owned(), "temp2".to_owned()]));
    // Not yet in its topology; then with a wrong proof; then right.
    let third = sub("temp3", "secret-of-temp3", "a1sensor.temp3");
    let list = json!({"signMethod": "hmacSha256", "deviceList": [third]});
    assert_eq!(ask_at(&mut gate, &session("batch_login"), &list).0, 6401);
    assert_eq!(ask_at(&mut gate, &gate_topic("topo/add"), &json!([sub("temp3", "wrong", "a1sensor.temp3")])).0, 401);
    assert_eq!(ask_at(&mut gate, &gate_topic("topo/add"), &json!([sub("nobody", "wrong", "x")])).0, 401);
    assert_eq!(ask_at(&mut gate, &gate_topic("topo/add"), &json!([third])).0, 200);
    // The whole client id is signed, or its beginning alone.
    let whole = sub("temp3", "secret-of-temp3", "a1sensor.temp3|lan=Python,_v=2.2.1,_ss=1|");
    let mut begin = third.clone();
    begin["clientId"] = json!("a1sensor.temp3|_ss=1|");
    for one in [whole, begin] {
        let list = json!({"signMethod": "hmacSha256", "deviceList": [one]});
        let (code, data) = ask_at(&mut gate, &session("batch_login"), &list);
        assert_eq!((code, names(&data), online("temp3")), (200, vec!["temp3".to_owned()], json!(true)));
        assert_eq!(
            ask_at(&mut gate, &session("batch_logout"), &json!([{"productKey": "a1sensor", "deviceName": "temp3"}])).0,
            200
        );
        assert_eq!(online("temp3"), false);
    }
    assert_eq!(ask_at(&mut gate, &session("login"), &sub("temp1", "secret-of-temp1", "x")).0, 200);
    assert_eq!(ask_at(&mut gate, &session("login"), &sub("temp2", "secret-of-temp1", "x")).0, 401);
    // Its topics are the gateway's now, and its commands come there.
    let post = "/sys/a1sensor/temp1/thing/event/property/post";
    assert_eq!(ask_at(&mut gate, post, &json!({"temp": 20})).0, 200);
    let pack = json!({"subDevices": [{"identity": {"productKey": "a1sensor", "deviceName": "temp1"}, "properties": {"temp": 19}}]});
    assert_eq!(ask_at(&mut gate, &gate_topic("event/property/pack/post"), &pack).0, 200);
    assert_eq!(app.reported("temp1"), json!([{"code": "temp", "value": 19}]));
    let there = json!({"productKey": "a1sensor", "deviceName": "temp1", "items": {"temp": 5}});
    assert_eq!(cloud.aliyun().data("/cloud/thing/properties/set", there), json!({}));
    let (topic, received) = gate.message();
    assert_eq!(
        (topic.as_str(), &received["params"]),
        ("/sys/a1sensor/temp1/thing/service/property/set", &json!({"temp": 5}))
    );
    assert_eq!(gate.subscribe(&["/sys/a1sensor/temp1/thing/#", "/sys/a1sensor/temp2/thing/#"]), [true, false]);
    // A device that it does not represent is refused, and the gateway receives the reason.
    let (topic, error) =
        gate.asked("/sys/a1sensor/temp2/thing/event/property/post", &json!({"id": "1", "params": {"temp": 1}}));
    assert_eq!((topic.as_str(), &error["code"]), ("/ext/error/a1gate/gate1", &json!(6813)));
    // The sub-device connects by itself: the gateway no longer stands for it.
    let mut itself = MqttDevice::connect(&cloud, &linkkit("a1sensor", "temp1", "secret-of-temp1", ",_ss=1"));
    assert!(itself.pings());
    assert_eq!(gate.asked(post, &json!({"id": "1", "params": {"temp": 21}})).0, "/ext/error/a1gate/gate1");
    assert_eq!(online("temp1"), true);
    let third = json!([{"productKey": "a1sensor", "deviceName": "temp3"}]);
    let codes = [(); 2].map(|()| ask_at(&mut gate, &gate_topic("topo/delete"), &third).0);
    assert_eq!(codes, [200, 6401]);
    for bad in [json!({}), json!([{}]), json!([{"productKey": "a1sensor"}]), Value::Null] {
        assert_eq!(ask_at(&mut gate, &gate_topic("topo/delete"), &bad).0, 460, "{bad}");
    }
}

#[test]
fn what_names_one_device_and_what_names_several() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ",_ss=1"));
    let session = |kind: &str| format!("/ext/session/a1gate/gate1/combine/{kind}");
    let one = json!({"productKey": "a1sensor", "deviceName": "temp1"});
    let (code, data) = ask_at(&mut gate, &session("login"), &sub("temp1", "secret-of-temp1", "x"));
    assert_eq!((code, &data["deviceName"]), (200, &json!("temp1")), "one device, no list");
    assert_eq!(ask_at(&mut gate, &session("logout"), &one).1["deviceName"], "temp1");
    assert_eq!(ask_at(&mut gate, &session("login"), &sub("temp1", "secret-of-temp1", "x")).0, 200);
    // Values of a sub-device are read by its own thing model: a choice by its index.
    let pack = json!({"subDevices": [{"identity": one, "properties": {"state": {"value": 1}, "temp": 7},
        "events": {"low": {"value": {"at": 3}}}}]});
    assert_eq!(ask_at(&mut gate, "/sys/a1gate/gate1/thing/event/property/pack/post", &pack).0, 200);
    let status = cloud.first().get("/v1.0/devices/temp1")["result"]["status"].clone();
    assert!(status.as_array().unwrap().contains(&json!({"code": "state", "value": "alarm"})), "{status}");
    // One that cannot be there, and the other is not put there either.
    let topo = "/sys/a1gate/gate1/thing/topo/add";
    let content = "clientIdxdeviceNamegate2productKeya1gatetimestamp1530262800000";
    let gate2 = json!({"productKey": "a1gate", "deviceName": "gate2", "clientId": "x", "timestamp": "1530262800000",
        "signmethod": "hmacSha256", "sign": signed("secret-of-gate2", content)});
    assert_eq!(ask_at(&mut gate, topo, &json!([sub("temp3", "secret-of-temp3", "x"), gate2])).0, 6401);
    let behind = ask_at(&mut gate, "/sys/a1gate/gate1/thing/topo/get", &json!({})).1;
    assert_eq!(behind.as_array().unwrap().len(), 2);
}

#[test]
fn a_gateway_registers_devices_that_never_connected() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ",_ss=1"));
    let topic = "/sys/a1gate/gate1/thing/sub/register";
    let named = |key: &str, name: &str| json!([{"productKey": key, "deviceName": name}]);
    let (code, data) = ask_at(&mut gate, topic, &named("a1sensor", "temp3"));
    assert_eq!(
        (code, &data[0]["deviceSecret"], &data[0]["deviceName"]),
        (200, &json!("secret-of-temp3"), &json!("temp3"))
    );
    assert!(data[0]["iotId"].is_string());
    for (key, name) in [
        ("a1sensor", "nobody"),
        ("a1shy", "shy1"),
        ("a1other", "other1"),
        ("a1plug00001", "dev002"),
        ("a1gate", "gate2"),
    ] {
        assert_eq!(ask_at(&mut gate, topic, &named(key, name)).0, 6100, "{name}");
    }
    let topic = "/sys/a1gate/gate1/thing/proxy/provisioning/product_register";
    let proxied = |secret: &str| {
        let sign = signed(secret, "deviceNametemp3productKeya1sensorrandom5");
        json!({"proxieds": [{"productKey": "a1sensor", "deviceName": "temp3", "random": "5", "signMethod": "hmacSha256", "sign": sign}]})
    };
    assert_eq!(ask_at(&mut gate, topic, &proxied("wrong")).0, 401);
    assert_eq!(ask_at(&mut gate, topic, &proxied("secret-of-sensors")).1[0]["deviceSecret"], "secret-of-temp3");
    // Once it was there its secret is not given again.
    drop(MqttDevice::connect(&cloud, &linkkit("a1sensor", "temp3", "secret-of-temp3", "")));
    assert_eq!(ask_at(&mut gate, topic, &proxied("secret-of-sensors")).0, 6100);
}

#[test]
fn a_gateway_registers_devices_that_nobody_described() {
    let cloud = cloud();
    with_gateway(&cloud);
    let product = |id: &str, key: &str, registration: &str, kind: &str| {
        json!({"product_id": id, "product_key": key,
        "product_secret": format!("secret-of-{key}"), "name": "Any", "category": "wsdcg", "node_type": kind,
        "dynamic_registration": registration, "functions": [{"code": "temp", "type": "Integer"}]})
    };
    cloud.apply(&json!({"projects": [
        {"name": "first", "products": [product("anysensors000001", "a1anysub", "any", "sub")]},
        {"name": "second", "products": [product("theirsensors0001", "a1theirs", "any", "sub")]}]}));
    let mut gate = MqttDevice::connect(&cloud, &linkkit("a1gate", "gate1", "secret-of-gate1", ",_ss=1"));
    let sys = |below: &str| format!("/sys/a1gate/gate1/thing/{below}");
    let named = |key: &str, name: &str| json!([{"productKey": key, "deviceName": name}]);
    let proxied = |key: &str, name: &str, secret: &str| {
        let sign = signed(secret, &format!("deviceName{name}productKey{key}random5"));
        json!({"proxieds": [{"productKey": key, "deviceName": name, "random": "5", "signMethod": "hmacSha256", "sign": sign}]})
    };
    let (code, data) = ask_at(&mut gate, &sys("sub/register"), &named("a1anysub", "fresh1"));
    let secret = data[0]["deviceSecret"].as_str().unwrap().to_owned();
    assert_eq!((code, data[0]["deviceName"].as_str(), secret.is_empty()), (200, Some("fresh1"), false));
    // Asked again before it connected, it is the same device.
    assert_eq!(ask_at(&mut gate, &sys("sub/register"), &named("a1anysub", "fresh1")).1[0]["deviceSecret"], secret);
    let topic = sys("proxy/provisioning/product_register");
    assert_eq!(ask_at(&mut gate, &topic, &proxied("a1anysub", "fresh2", "wrong")).0, 401);
    let (code, data) = ask_at(&mut gate, &topic, &proxied("a1anysub", "fresh2", "secret-of-a1anysub"));
    assert_eq!((code, data[0]["deviceName"].as_str()), (200, Some("fresh2")));
    // With its secret it comes into the topology, logs in and reports.
    let content = "clientIdxdeviceNamefresh1productKeya1anysubtimestamp1";
    let proof = json!({"productKey": "a1anysub", "deviceName": "fresh1", "clientId": "x", "timestamp": "1",
        "signmethod": "hmacSha256", "sign": signed(&secret, content)});
    assert_eq!(ask_at(&mut gate, &sys("topo/add"), &json!([proof])).0, 200);
    assert_eq!(ask_at(&mut gate, "/ext/session/a1gate/gate1/combine/login", &proof).0, 200);
    assert_eq!(ask_at(&mut gate, "/sys/a1anysub/fresh1/thing/event/property/post", &json!({"temp": 5})).0, 200);
    assert_eq!(ask_at(&mut gate, &sys("sub/register"), &named("a1anysub", "fresh1")).0, 6100, "it has connected");
    // Not where only known devices register, nobody does, another project decides, or the product is none of these.
    for (key, name) in [
        ("a1sensor", "fresh3"),
        ("a1shy", "fresh3"),
        ("a1theirs", "fresh3"),
        ("a1any", "fresh3"),
        ("nothing", "fresh3"),
        ("a1anysub", "not/a/name"),
        ("a1anysub", ""),
    ] {
        assert_eq!(ask_at(&mut gate, &sys("sub/register"), &named(key, name)).0, 6100, "{key} {name}");
    }
    assert_eq!(ask_at(&mut gate, &topic, &proxied("a1theirs", "fresh3", "secret-of-a1theirs")).0, 6100);
    // What is no gateway registers nothing.
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    assert_eq!(ask(&mut plug, "sub/register", &named("a1anysub", "fresh4")).0, 6100);
}

/// Client id, user name and password of a registration.
fn registration(key: &str, name: &str, kind: &str, secret: &str) -> [String; 3] {
    let client_id = format!("{name}.{key}|random=r1,authType={kind},securemode=2,signmethod=hmacsha256|");
    let sign = signed(secret, &format!("deviceName{name}productKey{key}randomr1"));
    [client_id, format!("{name}&{key}"), sign]
}

#[test]
fn a_device_registers_by_its_products_secret() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut device = MqttDevice::connect(&cloud, &registration("a1known", "known1", "register", "secret-of-known"));
    let (topic, given) = device.message();
    assert_eq!(topic, "/ext/register");
    assert_eq!(given, json!({"productKey": "a1known", "deviceName": "known1", "deviceSecret": "secret-of-known1"}));
    drop(device);
    for (who, code) in [
        (registration("a1known", "known1", "register", "wrong"), 4),
        (registration("a1known", "nobody", "register", "secret-of-known"), 5),
        (registration("a1known", "nobody", "regnwl", "secret-of-known"), 5),
        (registration("a1known", "known1", "regnwl", "secret-of-known"), 5),
        (registration("a1off", "off1", "register", "secret-of-off"), 5),
        (registration("a1plug00001", "dev001", "register", "secret-of-off"), 4),
        (registration("nothing", "x", "register", "x"), 4),
        (registration("a1known", "known1", "other", "secret-of-known"), 4),
        (registration("a1any", "a/b", "regnwl", "secret-of-any"), 5),
        (registration("a1any", "", "regnwl", "secret-of-any"), 5),
    ] {
        assert_eq!(MqttDevice::open(&cloud).greet(&who), Some(code), "{who:?}");
    }
    // Connected once, it is not given again.
    drop(MqttDevice::connect(&cloud, &linkkit("a1known", "known1", "secret-of-known1", "")));
    let again = registration("a1known", "known1", "register", "secret-of-known");
    assert_eq!(MqttDevice::open(&cloud).greet(&again), Some(5));
}

#[test]
fn a_device_that_nobody_described_registers() {
    let cloud = cloud();
    with_gateway(&cloud);
    let mut device = MqttDevice::connect(&cloud, &registration("a1any", "fresh-1", "regnwl", "secret-of-any"));
    let (topic, given) = device.message();
    assert_eq!(
        (topic.as_str(), &given["productKey"], &given["deviceName"]),
        ("/ext/regnwl", &json!("a1any"), &json!("fresh-1"))
    );
    drop(device);
    let text = |member: &str| given[member].as_str().unwrap().to_owned();
    let fields = "|authType=connwl,securemode=-2,_ss=1,ext=3,lan=Python,_v=1.2.13|";
    let who = [format!("{}{fields}", text("clientId")), "fresh-1&a1any".to_owned(), text("deviceToken")];
    for wrong in [
        [format!("other{fields}"), who[1].clone(), who[2].clone()],
        [who[0].clone(), "fresh-2&a1any".to_owned(), who[2].clone()],
        [who[0].clone(), who[1].clone(), text("deviceToken").replace(char::is_alphanumeric, "0")],
        [who[0].clone(), who[1].clone(), String::new()],
    ] {
        assert_eq!(MqttDevice::open(&cloud).greet(&wrong), Some(4), "{wrong:?}");
    }
    let mut device = MqttDevice::connect(&cloud, &who);
    assert_eq!(ask_at(&mut device, "/sys/a1any/fresh-1/thing/event/property/post", &json!({"on": 1})).0, 200);
    let devices = cloud.first().get("/v1.0/devices?product_id=any0000000000001")["result"]["devices"].clone();
    assert_eq!((&devices[0]["online"], &devices[0]["status"]), (&json!(true), &json!([{"code": "on", "value": true}])));
    assert_eq!(cloud.second().get("/v1.0/devices?product_id=any0000000000001")["code"], 1106);
}

#[test]
fn replies_only_go_where_they_are_wanted() {
    let cloud = cloud();
    // Without `_ss=1` and without a subscription nothing is sent down.
    let mut plug = MqttDevice::connect(&cloud, &linkkit("a1plug00001", "dev001", SECRET, ""));
    let post = format!("{SYS}/thing/event/property/post");
    assert!(plug.published(&post, &json!({"id": "1", "params": {"cur_power": 1}})) && plug.pings());
    assert_eq!(plug.subscribe(&[&format!("{SYS}/thing/event/+/post_reply")]), [true]);
    assert_eq!(plug.asked(&post, &json!({"id": "2", "params": {"cur_power": 2}})).1["id"], "2");
    drop(plug);
    // The other protocol's names mean nothing here.
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(plug.subscribe(&[&format!("{SYS}/#"), "tylink//x"]), [false, false]);
}
