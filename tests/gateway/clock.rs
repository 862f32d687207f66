//! A device's last word is its state, whatever the clocks say: the server's that is set back, and the device's that was
//! never set or is ahead (decision 0015).

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{alink_plug, device, tuya_plug};
use crate::feed::Subscriber;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink, with_gateway, with_secrets};
use crate::support::world::{OWNER, PLUG, standard};

const NOW: i64 = 1_763_800_000_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// A server that rolls what it has in memory as soon as it may.
fn open(folder: &Path, now_ms: i64) -> TestCloud {
    TestCloud::over(folder, now_ms, &[("INGLE_TELEMETRY_MEMORY_ROWS", "1000")])
}

fn cloud(folder: &Path) -> TestCloud {
    let cloud = open(folder, NOW);
    cloud.apply(&standard());
    with_secrets(&cloud);
    cloud
}

/// Reports by TuyaLink, which must be taken.
fn says(plug: &mut MqttDevice, below: &str, data: Value) {
    says_at(plug, below, json!({"msgId": "1", "data": data}));
}

fn says_at(plug: &mut MqttDevice, below: &str, message: Value) {
    let topic = format!("tylink/{PLUG}/thing/{below}");
    assert!(plug.published(&topic, &message), "{message}");
}

/// The same by LinkKit.
fn posts(plug: &mut MqttDevice, below: &str, params: Value) {
    let topic = format!("/sys/a1plug00001/dev001/thing/event/{below}/post");
    let answer = plug.asked(&topic, &json!({"id": "1", "version": "1.0", "params": params})).1;
    assert_eq!(answer["code"], 200, "{params}");
}

/// The value of a code, which every reader must show alike.
fn last_word(cloud: &TestCloud, code: &str) -> Value {
    let app = cloud.first();
    let find = |list: &Value, name: &str| {
        let found = list.as_array().unwrap().iter().find(|point| point[name] == *code);
        found.map(|point| point["value"].clone()).unwrap_or_default()
    };
    // Without the defaults of what was not reported, which the other dialect does not show.
    let word = find(&app.reported(PLUG), "code");
    let is_reported = |shown: Value| Some(shown).filter(|_| !word.is_null()).unwrap_or_default();
    assert_eq!(
        is_reported(find(&app.get(&format!("/v1.0/devices/{PLUG}/status"))["result"], "code")),
        word,
        "the status"
    );
    let list = app.get(&format!("/v1.0/users/{OWNER}/devices"))["result"].clone();
    let listed = list.as_array().unwrap().iter().find(|device| device["id"] == PLUG).unwrap();
    assert_eq!(is_reported(find(&listed["status"], "code")), word, "the list");
    let shadow = app.get(&format!("/v2.0/cloud/thing/{PLUG}/shadow/properties"))["result"]["properties"].clone();
    assert_eq!(is_reported(find(&shadow, "code")), word, "the shadow");
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    let elsewhere = find(&cloud.aliyun().data("/cloud/thing/properties/get", there), "attribute");
    // It writes choices as numbers.
    assert!(elsewhere == word || word.is_string() && elsewhere.is_number(), "the other dialect: {elsewhere}");
    word
}

/// Whether a device is connected, which every reader must show alike.
fn is_online(cloud: &TestCloud) -> bool {
    let online = device(cloud)["online"].clone();
    let list = cloud.first().get(&format!("/v1.0/users/{OWNER}/devices"))["result"].clone();
    let listed = list.as_array().unwrap().iter().find(|device| device["id"] == PLUG).unwrap();
    assert_eq!(listed["online"], online);
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    let status = cloud.aliyun().data("/cloud/thing/status/get", there)["status"].clone();
    assert_eq!(status == 1, online == true);
    online == true
}

fn goes_offline(cloud: &TestCloud) {
    cloud.wait(|| device(cloud)["online"] == false);
    assert!(!is_online(cloud));
}

/// Values of a code in the log, oldest first, with their times after [`NOW`].
fn logged(cloud: &TestCloud, code: &str) -> Vec<(i64, String)> {
    let end = NOW + 2 * DAY;
    let path = format!("/v1.0/devices/{PLUG}/logs?codes={code}&end_time={end}&size=100&start_time=1&type=7");
    let rows = cloud.first().get(&path)["result"]["logs"].clone();
    let row = |row: &Value| (row["event_time"].as_i64().unwrap() - NOW, row["value"].as_str().unwrap().to_owned());
    rows.as_array().unwrap().iter().rev().map(row).collect()
}

fn figure(cloud: &TestCloud, name: &str) -> u64 {
    let metrics = cloud.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// Brings everything that is in memory to disk, by reports of a code that is of no further interest.
fn roll(cloud: &TestCloud, plug: &mut MqttDevice) {
    let before = figure(cloud, "ingle_log_rolls_total");
    for _ in 0..3 {
        // Events, which are not sent to subscribers: there would be more than fit into the queue of one.
        says(plug, "data/batch_report", json!({"events": {"ballast": vec![json!({"outputParams": {}}); 400]}}));
    }
    cloud.wait(|| figure(cloud, "ingle_log_rolls_total") > before);
}

#[test]
fn the_last_word_is_the_state_when_the_clock_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    for is_rolled in [false, true] {
        let data = folder.path().join(is_rolled.to_string());
        let cloud = cloud(&data);
        let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
        says(&mut plug, "property/report", json!({"cur_power": 1, "mode": "white"}));
        if is_rolled {
            roll(&cloud, &mut plug);
        }
        cloud.set_back(A_DAY);
        for (value, power) in
            [(2, json!({"value": 2, "time": NOW - DAY})), (3, json!(3)), (4, json!({"value": 4, "time": NOW}))]
        {
            says(&mut plug, "property/report", json!({"cur_power": power}));
            assert_eq!(last_word(&cloud, "cur_power"), value);
        }
        if is_rolled {
            roll(&cloud, &mut plug);
            assert_eq!(last_word(&cloud, "cur_power"), 4);
        }
        drop((plug, cloud));
        // The same folder, by a clock that is a day late.
        let cloud = open(&data, NOW - DAY);
        assert_eq!((last_word(&cloud, "cur_power"), last_word(&cloud, "mode")), (json!(4), json!("white")));
        let mut plug = MqttDevice::connect(&cloud, &alink_plug());
        posts(&mut plug, "property", json!({"cur_power": 5}));
        assert_eq!(last_word(&cloud, "cur_power"), 5);
        drop((plug, cloud));
        assert_eq!(last_word(&open(&data, NOW), "cur_power"), 5);
    }
}

#[test]
fn a_value_from_the_future_does_not_freeze_its_data_point() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let mut subscriber = Subscriber::of(&cloud, &cloud.first(), "1.0");
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(subscriber.next_message().1["bizCode"], "online");
    let mut arrived = || {
        let status = subscriber.next_message().1["status"][0].clone();
        (status["value"].clone(), status["t"].as_str().unwrap().parse::<i64>().unwrap() * 1000)
    };
    for (value, time) in [(1, NOW + 10 * MINUTE), (2, NOW), (3, NOW + 1), (4, NOW - 1)] {
        says(&mut plug, "property/report", json!({"cur_power": {"value": value, "time": time}}));
        assert_eq!((last_word(&cloud, "cur_power"), arrived().0), (json!(value), json!(value)));
    }
    // The message's own time means the same, and so does the other protocol's.
    says_at(&mut plug, "property/report", json!({"msgId": "1", "time": NOW + 10 * MINUTE, "data": {"cur_power": 5}}));
    says_at(&mut plug, "property/report", json!({"msgId": "1", "time": NOW, "data": {"cur_power": 6}}));
    assert_eq!((last_word(&cloud, "cur_power"), arrived().0, arrived()), (json!(6), json!(5), (json!(6), NOW)));
    drop(plug);
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    posts(&mut plug, "property", json!({"cur_power": {"value": 7, "time": NOW + 10 * MINUTE}}));
    posts(&mut plug, "property", json!({"cur_power": {"value": 8, "time": NOW}}));
    assert_eq!(last_word(&cloud, "cur_power"), 8);
    let times: Vec<i64> = logged(&cloud, "cur_power").into_iter().map(|(after, _)| after).collect();
    assert_eq!(times, [-1, 0, 0, 0, 0, 0, 0, 0], "nothing is ahead of the server's clock");
}

#[test]
fn no_device_is_refused_because_of_its_clock() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    // Never set, in seconds and milliseconds, in a zone, in 2000, days off; and numbers that no clock shows.
    let wrong = [
        json!(0),
        json!(1),
        json!("0"),
        json!(-28_800),
        json!(946_684_800),
        json!(946_684_800_000_i64),
        json!(NOW - 2 * DAY),
        json!(NOW + 2 * DAY),
        json!(NOW / 1000 + 1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!(-1e300),
    ];
    let mut count = 0;
    for who in [tuya_plug(), alink_plug()] {
        let is_tuya = who == tuya_plug();
        let mut plug = MqttDevice::connect(&cloud, &who);
        for time in &wrong {
            let data = json!({"cur_power": {"value": count, "time": time}});
            if is_tuya {
                says(&mut plug, "property/report", data);
                assert_eq!(last_word(&cloud, "cur_power"), count, "{time}");
                let message = json!({"msgId": "1", "time": time, "data": {"eventCode": "boom", "eventTime": time}});
                says_at(&mut plug, "event/trigger", message);
                // What was uploaded at a time that cannot be is as good as said now.
                says(
                    &mut plug,
                    "data/history_report",
                    json!({"properties": {"cur_power": {"value": count, "time": -1}}}),
                );
            } else {
                posts(&mut plug, "property", data);
                assert_eq!(last_word(&cloud, "cur_power"), count, "{time}");
                posts(&mut plug, "boom", json!({"value": {}, "time": time}));
                let history = json!([{"properties": [{"cur_power": {"value": count, "time": 0}}]}]);
                posts(&mut plug, "property/history", history);
            }
            count += 3;
            assert_eq!(figure(&cloud, "ingle_clock_corrected_total"), count, "{time}");
        }
        drop(plug);
    }
    let rows = logged(&cloud, "cur_power");
    assert_eq!(rows.len(), 4 * wrong.len());
    assert!(rows.iter().all(|(after, _)| *after == 0), "at the server's time: {rows:?}");
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001", "identifier": "boom", "pageSize": 100});
    let events = cloud.aliyun().data("/cloud/thing/event/timeline/get", there)["items"].clone();
    assert_eq!(events.as_array().unwrap().len(), 2 * wrong.len());
    // A clock that is a little late is believed.
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    says(&mut plug, "property/report", json!({"switch_1": {"value": true, "time": NOW - DAY}}));
    assert_eq!(logged(&cloud, "switch_1"), [(-DAY, "true".to_owned())]);
    assert_eq!(figure(&cloud, "ingle_clock_corrected_total"), count);
}

#[test]
fn what_is_uploaded_later_does_not_replace_what_is_newer() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let mut subscriber = Subscriber::of(&cloud, &cloud.first(), "1.0");
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert_eq!(subscriber.next_message().1["bizCode"], "online");
    let mut receives = |value: i64| assert_eq!(subscriber.next_message().1["status"][0]["value"], value);
    let at = |value: i64, before: i64| json!({"value": value, "time": NOW - before});
    says(&mut plug, "property/report", json!({"cur_power": 5}));
    says(&mut plug, "data/history_report", json!({"properties": {"cur_power": [at(1, 2 * DAY), at(2, MINUTE)]}}));
    says(&mut plug, "data/batch_report", json!({"properties": {"cur_power": at(3, 1)}}));
    roll(&cloud, &mut plug);
    says(&mut plug, "data/batch_report", json!({"properties": {"cur_power": at(4, 2)}}));
    assert_eq!(last_word(&cloud, "cur_power"), 5);
    // What has no time of its own is said now, also in a batch.
    says(&mut plug, "data/batch_report", json!({"properties": {"cur_power": {"value": 6}}}));
    assert_eq!(last_word(&cloud, "cur_power"), 6);
    // Something newer is the state, and so is what is the first of its code.
    cloud.advance(Duration::from_millis(10));
    says(
        &mut plug,
        "data/history_report",
        json!({"properties": {"cur_power": [at(8, -5), at(7, -3)], "other": at(9, DAY)}}),
    );
    assert_eq!((last_word(&cloud, "cur_power"), cloud.first().reported(PLUG).as_array().unwrap().len()), (json!(8), 2));
    receives(5);
    let mut received = Vec::new();
    while received.last() != Some(&json!(9)) {
        received.extend(
            subscriber.next_message().1["status"].as_array().unwrap().iter().map(|point| point["value"].clone()),
        );
    }
    assert_eq!(received, [6, 8, 9], "of uploads only what is the state is news");
    drop(plug);
    let mut plug = MqttDevice::connect(&cloud, &alink_plug());
    let history = |value: i64, before: i64| json!([{"properties": [{"cur_power": at(value, before)}]}]);
    posts(&mut plug, "property", json!({"cur_power": at(10, 0)}));
    posts(&mut plug, "property/history", history(11, MINUTE));
    posts(&mut plug, "property/batch", json!({"properties": {"cur_power": [at(12, 3), at(13, 2)]}}));
    assert_eq!(last_word(&cloud, "cur_power"), 10);
    posts(&mut plug, "property/history", history(14, -9));
    posts(&mut plug, "property/history", history(15, -7));
    assert_eq!(last_word(&cloud, "cur_power"), 14);
    // The log has all of them, each at its own time.
    let rows: Vec<i64> = logged(&cloud, "cur_power").into_iter().map(|(_, value)| value.parse().unwrap()).collect();
    assert_eq!(rows, [1, 2, 11, 12, 4, 13, 3, 5, 6, 10, 7, 8, 15, 14]);
    drop((plug, cloud));
    assert_eq!(last_word(&open(folder.path(), NOW), "cur_power"), 14);
}

#[test]
fn the_order_of_a_message_and_of_a_batch_is_the_order_of_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    let at = |value: i64, before: i64| json!({"value": value, "time": NOW - before});
    says(&mut plug, "property/report", json!({"cur_power": [at(1, 1), at(2, 0), at(3, 5)]}));
    assert_eq!(last_word(&cloud, "cur_power"), 3);
    // Several messages at once are one batch of the log.
    let topic = format!("tylink/{PLUG}/thing/property/report");
    for (value, before) in [(4, 0), (5, 9), (6, 2), (7, 7)] {
        plug.publish(&topic, json!({"msgId": "1", "data": {"cur_power": at(value, before)}}).to_string().as_bytes());
    }
    for _ in 0..4 {
        assert_eq!(plug.receive().unwrap().0, 0x40);
    }
    assert_eq!(last_word(&cloud, "cur_power"), 7);
    drop((plug, cloud));
    let cloud = open(folder.path(), NOW);
    assert_eq!(last_word(&cloud, "cur_power"), 7, "from the journal");
    let rows: Vec<i64> = logged(&cloud, "cur_power").into_iter().map(|(after, _)| after).collect();
    assert_eq!(rows, [-9, -7, -5, -2, -1, 0, 0]);
}

#[test]
fn presence_is_what_the_gateway_knows_now() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    for who in [tuya_plug(), alink_plug()] {
        let plug = MqttDevice::connect(&cloud, &who);
        assert!(is_online(&cloud));
        cloud.set_back(A_DAY);
        drop(plug);
        goes_offline(&cloud);
        let there = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
        let status = cloud.aliyun().data("/cloud/thing/status/get", there);
        assert_eq!((&status["status"], &status["time"]), (&json!(3), &json!(cloud.now_ms())), "since it went");
        let plug = MqttDevice::connect(&cloud, &who);
        assert!(is_online(&cloud));
        drop(plug);
        goes_offline(&cloud);
    }
    // After a restart nobody is there until it connects, whatever the log's last row says.
    let plug = MqttDevice::connect(&cloud, &tuya_plug());
    cloud.import(&[(PLUG, cloud.now_ms(), 1, 1, "", Value::Null)]);
    drop((cloud, plug));
    let cloud = open(folder.path(), NOW - 30 * DAY);
    cloud.import(&[(PLUG, cloud.now_ms(), 1, 1, "", Value::Null)]);
    assert!(!is_online(&cloud), "a row is no connection");
    let plug = MqttDevice::connect(&cloud, &tuya_plug());
    assert!(is_online(&cloud));
    drop(plug);
    goes_offline(&cloud);
}

#[test]
fn a_device_stays_online_while_one_connection_replaces_another() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    for who in [alink_plug(), tuya_plug()].iter().cycle().take(10) {
        cloud.set_back(Duration::from_secs(60));
        let mut next = MqttDevice::connect(&cloud, who);
        assert!(plug.is_closed() && next.pings() && is_online(&cloud));
        plug = next;
    }
    // Those that go and come at the same time.
    for _ in 0..10 {
        drop(plug);
        plug = MqttDevice::connect(&cloud, &tuya_plug());
        assert!(plug.pings() && is_online(&cloud));
    }
    drop(plug);
    goes_offline(&cloud);
}

#[test]
fn presence_behind_a_gateway_is_what_the_gateway_says() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    with_gateway(&cloud);
    let online = |id: &str| cloud.first().get(&format!("/v1.0/devices/{id}"))["result"]["online"] == true;
    let connect = || MqttDevice::connect(&cloud, &tuyalink("gate1", "secret-of-gate1"));
    let received = |gate: &mut MqttDevice, below: &str| {
        assert!(gate.published(&format!("tylink/gate1/device/sub/{below}"), &json!({"msgId": "1", "data": ["temp1"]})));
    };
    let mut gate = connect();
    for _ in 0..2 {
        received(&mut gate, "login");
        assert!(online("temp1") && !online("temp2"));
        cloud.set_back(A_DAY);
        received(&mut gate, "logout");
        assert!(!online("temp1") && online("gate1"));
    }
    received(&mut gate, "login");
    let report = json!({"msgId": "1", "data": {"temp": {"value": 20, "time": NOW + DAY}}});
    assert!(gate.published("tylink/temp1/thing/property/report", &report));
    assert_eq!(cloud.first().get("/v1.0/devices/temp1")["result"]["status"][0]["value"], 20);
    // Another connection of the gateway does not represent a sub-device yet.
    let mut next = connect();
    assert!(gate.is_closed() && next.pings());
    assert!(!online("temp1") && online("gate1"));
}

#[test]
fn a_cut_that_is_ahead_of_the_clock_hides_nothing_that_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    cloud.advance(A_DAY);
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    says(&mut plug, "property/report", json!({"cur_power": 1, "mode": "white"}));
    assert_eq!(cloud.first().put(&format!("/v1.0/devices/{PLUG}/reset-factory"), json!({}))["result"], true);
    assert!(plug.is_closed());
    cloud.set_back(A_DAY);
    cloud.apply(&json!({"projects": [{"name": "first", "devices":
        [{"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "owner": "18200000678"}]}]}));
    assert_eq!((last_word(&cloud, "cur_power"), last_word(&cloud, "mode")), (Value::Null, Value::Null));
    let there = json!({"productKey": "a1plug00001", "deviceName": "dev001"});
    let status = || cloud.aliyun().data("/cloud/thing/status/get", there.clone());
    assert_eq!(status()["time"], 0, "nor when it came and went");
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    for (value, power) in [(2, json!(2)), (3, json!({"value": 3, "time": NOW})), (4, json!({"value": 4, "time": 0}))] {
        says(&mut plug, "property/report", json!({"cur_power": power}));
        assert_eq!(last_word(&cloud, "cur_power"), value);
    }
    assert_eq!(status()["status"], 1);
    let commands = json!({"commands": [{"code": "switch_1", "value": true}]});
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/thing/property/set")]), [true]);
    assert_eq!(cloud.first().post(&format!("/v1.0/devices/{PLUG}/commands"), commands)["result"], true);
    assert_eq!(plug.message().1["data"], json!({"switch_1": true}));
    // What was before the cut and is uploaded after it stays before it.
    says(&mut plug, "data/history_report", json!({"properties": {"mode": {"value": "colour", "time": NOW - MINUTE}}}));
    assert_eq!(last_word(&cloud, "mode"), Value::Null);
    let end = NOW + 2 * DAY;
    let path = format!("/v1.0/devices/{PLUG}/logs?end_time={end}&size=100&start_time=1&type=1,2,3,4,5,7");
    let rows = cloud.first().get(&path)["result"]["logs"].clone();
    let kinds: Vec<i64> = rows.as_array().unwrap().iter().rev().map(|row| row["event_id"].as_i64().unwrap()).collect();
    assert_eq!(kinds, [4, 1, 7, 7, 7, 5]);
}

#[test]
fn what_an_operator_imports_is_history() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let mut plug = MqttDevice::connect(&cloud, &tuya_plug());
    says(&mut plug, "property/report", json!({"cur_power": 5}));
    cloud.import(&[(PLUG, NOW - DAY, 7, 1, "cur_power", json!(1)), (PLUG, NOW - DAY, 7, 1, "mode", json!("white"))]);
    assert_eq!((last_word(&cloud, "cur_power"), last_word(&cloud, "mode")), (json!(5), json!("white")));
    cloud.import(&[(PLUG, NOW + MINUTE, 7, 1, "cur_power", json!(2))]);
    assert_eq!(last_word(&cloud, "cur_power"), 2);
    assert_eq!(logged(&cloud, "cur_power").last(), Some(&(0, "2".to_owned())), "not ahead of the clock");
    says(&mut plug, "property/report", json!({"cur_power": 6}));
    assert_eq!(last_word(&cloud, "cur_power"), 6);
}
