//! The world of the matrix: two projects with users who own, share and get devices, and the ways to read devices.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::feed::Subscriber;
use crate::support::TestCloud;
use crate::support::aliyun::AliyunApp;
use crate::support::http::{Answer, Request, send};
use crate::support::mqtt::{MqttDevice, linkkit, tuyalink};
use crate::support::people::{PASSWORD, md5};
use crate::support::tuya::TuyaApp;

pub const NOW: i64 = 1_763_800_000_000;
pub const HOUR_MS: i64 = 3_600_000;
/// The project that makes all devices of the matrix.
pub const MAKER: usize = 0;
pub const OTHER: usize = 1;
const SCHEMAS: [(&str, &str, &str); 2] = [("first", "testApp", "86"), ("second", "otherApp", "49")];

/// A signed-in user with an app that subscribes to the live feed.
pub struct Person {
    pub name: &'static str,
    pub project: usize,
    pub home: i64,
    pub app: TuyaApp,
    listener: Listener,
}

/// A subscriber of the live feed, with a device of its own whose message shows that all earlier ones have arrived.
struct Listener {
    sentinel: String,
    subscriber: RefCell<Subscriber>,
}

impl Listener {
    fn of(cloud: &TestCloud, app: &TuyaApp, name: &str, link: &str) -> Self {
        Self { sentinel: format!("sentinel-{name}"), subscriber: RefCell::new(Subscriber::of(cloud, app, link)) }
    }

    /// The messages about `what`, or all, since the last call; nothing if the app can no longer rename the device.
    fn arrived(&self, app: &TuyaApp, what: &str) -> String {
        let path = format!("/v1.0/devices/{}", self.sentinel);
        if app.put(&path, json!({"name": "over"}))["result"] != true {
            return String::new();
        }
        let mut all = String::new();
        loop {
            let (_, received) = self.subscriber.borrow_mut().next_message();
            if received["devId"] == self.sentinel.as_str() {
                return all;
            }
            all.extend(Some(received.to_string()).filter(|received| received.contains(what)));
        }
    }
}

impl Person {
    pub fn uid(&self) -> String {
        uid(self.name)
    }

    pub fn identity(&self) -> String {
        format!("50{}", self.name)
    }

    /// All messages that the user's app has received since the last call.
    pub fn arrived(&self) -> String {
        self.listener.arrived(&self.app, "")
    }
}

fn uid(name: &str) -> String {
    format!("az1578962398648{name:x<6}")
}

/// The projects, their users, and the server.
pub struct Matrix {
    pub cloud: TestCloud,
    pub tuya: [TuyaApp; 2],
    pub aliyun: [AliyunApp; 2],
    pub people: Vec<Person>,
    listeners: [Listener; 2],
}

/// The name, project and home of each user.
const PEOPLE: [(&str, usize, i64); 10] = [
    ("former", MAKER, 20_000_001),
    ("leaver", MAKER, 20_000_002),
    ("sharee", MAKER, 20_000_003),
    ("member", MAKER, 20_000_004),
    ("next", MAKER, 20_000_005),
    ("other", OTHER, 20_000_006),
    ("guest", OTHER, 20_000_007),
    ("lodger", OTHER, 20_000_008),
    ("heir", OTHER, 20_000_009),
    ("parter", MAKER, 20_000_010),
];

impl Matrix {
    pub fn open() -> Self {
        let cloud = TestCloud::empty_at(NOW);
        let project = |index: usize| {
            let (name, schema, code) = SCHEMAS[index];
            let of = || PEOPLE.iter().filter(move |person| person.1 == index);
            let user = |(name, ..): &(&str, usize, i64)| {
                json!({"schema": schema, "username": name, "uid": uid(name), "identity_id": format!("50{name}"),
                    "country_code": code, "password": PASSWORD})
            };
            let home = |(name, _, home): &(&str, usize, i64)| json!({"home_id": home, "name": name, "owner": name});
            let product = format!("watch{index:011}");
            let sentinel = |(owner, ..): &(&str, usize, i64)| json!({"product_id": product, "device_id": format!("sentinel-{owner}"), "owner": owner});
            let of_project = json!({"product_id": product, "device_id": format!("sentinel-{name}")});
            json!({"name": name, "users": of().map(user).collect::<Vec<_>>(), "homes": of().map(home).collect::<Vec<_>>(),
                "products": [{"product_id": product, "name": "Watch", "category": "qt"}],
                "devices": of().map(sentinel).chain([of_project]).collect::<Vec<_>>()})
        };
        let mut first = project(MAKER);
        first["products"].as_array_mut().unwrap().extend(products());
        cloud.apply(&json!({"projects": [first, project(OTHER)]}));
        let tuya = [cloud.first(), cloud.second()];
        let aliyun = [cloud.aliyun(), cloud.other_aliyun()];
        let people = PEOPLE.map(|(name, project, home)| {
            let app = sign_in(&cloud, name, project);
            let listener = Listener::of(&cloud, &app, name, "1.0");
            Person { name, project, home, app, listener }
        });
        let listeners = [MAKER, OTHER].map(|index| Listener::of(&cloud, &tuya[index], SCHEMAS[index].0, "2.0"));
        let matrix = Self { cloud, tuya, aliyun, people: people.into(), listeners };
        for (member, owner) in [("member", "former"), ("member", "leaver"), ("member", "parter"), ("lodger", "other")] {
            matrix.lives_with(matrix.person(member), matrix.person(owner));
        }
        matrix
    }

    pub fn person(&self, name: &str) -> &Person {
        self.people.iter().find(|person| person.name == name).unwrap()
    }

    /// The messages about a device that a project has received since the last call.
    pub fn project_received(&self, project: usize, id: &str) -> String {
        self.listeners[project].arrived(&self.tuya[project], id)
    }

    fn lives_with(&self, member: &Person, owner: &Person) {
        let (_, schema, code) = SCHEMAS[owner.project];
        let member = json!({"country_code": code, "member_account": member.name, "admin": false, "name": ""});
        let body = json!({"app_schema": schema, "member": member});
        let added = self.tuya[owner.project].post(&format!("/v1.0/homes/{}/members", owner.home), body);
        assert_eq!(added["result"], true, "{added}");
    }

    /// Applies a document that describes devices for one project.
    pub fn apply_devices(&self, project: usize, devices: Value) {
        self.cloud.apply(&json!({"projects": [{"name": SCHEMAS[project].0, "devices": devices}]}));
    }

    /// The answers of all read calls of the Tuya dialect for a device.
    pub fn tuya_says(&self, app: &TuyaApp, id: &str) -> String {
        let end = NOW + 24 * HOUR_MS;
        let all = "1,2,3,4,5,6,7,8,9,10";
        [
            format!("/v1.0/devices/{id}"),
            format!("/v1.0/devices/{id}/status"),
            format!("/v1.0/devices/{id}/logs?end_time={end}&size=100&start_time=0&type={all}"),
            format!("/v1.0/devices/{id}/multiple-names"),
            format!("/v1.0/devices/{id}/users"),
            format!("/v1.0/devices/{id}/shares"),
            format!("/v1.0/devices/{id}/sub-devices"),
            format!("/v1.0/devices/factory-infos?device_ids={id}"),
            format!("/v1.0/iot-03/devices/{id}"),
            format!("/v1.0/iot-03/devices?device_ids={id}"),
            format!("/v1.0/iot-03/devices/status?device_ids={id}"),
            format!("/v2.0/cloud/thing/{id}"),
            format!("/v2.0/cloud/thing/{id}/shadow/properties"),
        ]
        .iter()
        .map(|path| app.get(path).to_string())
        .collect()
    }

    /// The answers of the Alibaba dialect for a device and its owner's devices.
    pub fn aliyun_says(&self, owner: &Person, id: &str) -> String {
        let app = &self.aliyun[owner.project];
        let iot = json!({"iotId": format!("iot-{id}")});
        let timeline = |code: &str| {
            json!({"iotId": format!("iot-{id}"), "identifier": code, "start": 0, "end": NOW + 24 * HOUR_MS,
                "pageSize": 100})
        };
        [
            ("/cloud/thing/properties/get", iot.clone()),
            ("/cloud/thing/status/get", iot.clone()),
            ("/cloud/thing/info/get", iot.clone()),
            ("/cloud/thing/property/timeline/get", timeline("temp")),
            ("/cloud/thing/property/timeline/get", timeline("humid")),
            ("/cloud/thing/event/timeline/get", timeline("alarm")),
            ("/living/user/device/binding/query", iot),
            ("/cloud/device/queryByUser", json!({"identityId": owner.identity()})),
        ]
        .into_iter()
        .map(|(path, params)| app.call_version(path, "1.0.9", params).body.to_string())
        .collect()
    }

    /// A visualToken of a user for a device.
    pub fn visual_token(&self, person: &Person, id: &str) -> String {
        let device = json!([{"productKey": "a1matrix", "deviceName": id}]);
        crate::visual::login::tokens(&self.cloud, person.name, PASSWORD, device).remove(0)
    }

    /// Reads the device or its log with a visualToken.
    pub fn visual(&self, token: &str, id: &str, below: &str) -> Answer {
        let path = format!("/v1.0/visual/devices/a1matrix/{id}{below}");
        send(self.cloud.api, &Request::new("GET", &path).with("Authorization", &format!("Bearer {token}")))
    }

    pub fn visual_says(&self, token: &str, id: &str) -> String {
        ["", "/logs?size=100"].map(|below| self.visual(token, id, below).body.to_string()).concat()
    }

    /// Connects a device by both protocols and stores a tag by the one and a shadow by the other.
    pub fn device_notes(&self, id: &str, tag: &str, shadow: &str) {
        let tags = json!([{"key": "room", "value": tag}]);
        assert_eq!(ask(&mut self.tuyalink(id), id, "device/tag/report", &tags).0, 0);
        let state = json!({"reported": {"room": shadow}});
        let message = json!({"method": "update", "state": state, "version": 1});
        let answer = self.shadow(&mut self.linkkit(id), id, &message);
        assert_eq!(answer["payload"]["status"], "success", "{answer}");
    }

    /// The desired values, tags and shadow that the device itself gets by either protocol.
    pub fn device_says(&self, id: &str) -> String {
        let mut device = self.tuyalink(id);
        let desired_values = ask(&mut device, id, "thing/property/desired/get", &Value::Null).1;
        let tags = ask(&mut device, id, "device/tag/get", &Value::Null).1;
        let mut device = self.linkkit(id);
        let message =
            json!({"id": "1", "version": "1.0", "params": ["setpoint"], "method": "thing.property.desired.get"});
        let topic = format!("/sys/a1matrix/{id}/thing/property/desired/get");
        let desired = device.asked(&topic, &message).1;
        let shadow = self.shadow(&mut device, id, &json!({"method": "get"}));
        format!("{desired_values}{tags}{desired}{shadow}")
    }

    fn shadow(&self, device: &mut MqttDevice, id: &str, message: &Value) -> Value {
        device.asked(&format!("/shadow/update/a1matrix/{id}"), message).1
    }

    fn linkkit(&self, id: &str) -> MqttDevice {
        MqttDevice::connect(&self.cloud, &linkkit("a1matrix", id, &format!("secret-of-{id}"), ",_ss=1"))
    }

    /// A device or gateway that is connected by TuyaLink and subscribed.
    pub fn tuyalink(&self, id: &str) -> MqttDevice {
        let mut device = MqttDevice::connect(&self.cloud, &tuyalink(id, &format!("secret-of-{id}")));
        assert_eq!(device.subscribe(&[&format!("tylink/{id}/channel/downlink/auto_subscribe")]), [true]);
        device
    }
}

/// Sends a TuyaLink request. Returns the code and the data of the answer.
pub fn ask(device: &mut MqttDevice, id: &str, below: &str, data: &Value) -> (i64, Value) {
    let message = json!({"msgId": "1", "sys": {"ack": 1}, "data": data});
    let answer = device.asked(&format!("tylink/{id}/{below}"), &message).1;
    (answer["code"].as_i64().unwrap(), answer["data"].clone())
}

fn products() -> Vec<Value> {
    let number = |code: &str| json!({"code": code, "type": "Integer"});
    vec![
        json!({"product_id": "matrixsensor0001", "product_key": "a1matrix", "name": "Sensor", "category": "wsdcg",
            "node_type": "sub", "functions": [number("temp"), number("humid"), number("setpoint")]}),
        json!({"product_id": "matrixgate000001", "product_key": "a1mgate", "name": "Gate", "category": "wg2",
            "node_type": "gateway", "functions": [{"code": "on", "type": "Boolean"}]}),
    ]
}

fn sign_in(cloud: &TestCloud, name: &str, project: usize) -> TuyaApp {
    let (_, schema, code) = SCHEMAS[project];
    let app = [TestCloud::first, TestCloud::second][project](cloud);
    let body = json!({"username": name, "password": md5(PASSWORD), "country_code": code, "schema": schema});
    let path = "/v1.0/iot-01/associated-users/actions/authorized-login";
    let answer = app.send(&app.signed("POST", path, body.to_string().as_bytes(), "")).body;
    app.hold(answer["result"]["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")));
    app
}
