//! TuyaLink: topics below `tylink/{deviceId}/` (contract tuya §6).

use serde_json::{Map, Value as Json, json};

use super::super::auth::Proof;
use super::{
    Answered, Ask, Fault, Heard, ID_BYTES_MAX, Message, Reply, Step, SubProof, Times, Told, code_of, command_id,
    points, text, texts, time_ms,
};
use crate::domain::command::Wish;
use crate::domain::data_point::Said;
use crate::domain::fact::{Desired, FACTS_MAX, FactChange};
use crate::domain::session::DeviceClaim;
use crate::domain::topology::NewSubDevice;
use crate::domain::{Device, DeviceId, Product, ProductId, Value};
use crate::refusals::Reason;
use crate::thing_model;

const PREFIX: &str = "tylink/";
/// Sub-devices that a batch may speak for.
const BATCH_SUBS_MAX: usize = 20;
/// Sub-devices that one message may bind, log in or put behind a gateway.
const SUBS_MAX: usize = 100;

/// The topic after which everything is sent down without further subscriptions.
pub fn auto_subscription(device: &Device) -> String {
    format!("{PREFIX}{}/channel/downlink/auto_subscribe", device.id)
}

/// The device that a topic or filter names, and what is below it.
pub fn split(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(PREFIX)?.split_once('/').filter(|(id, _)| !id.is_empty())
}

/// What a message of the device asks for. `below` is the topic below the device's own.
pub fn step(device: &Device, below: &str, payload: &[u8], now_ms: i64) -> Step {
    if below == "channel/raw/up" {
        return Step::Dropped(Reason::UnknownTopic);
    }
    let Ok(frame) = serde_json::from_slice::<Json>(payload) else { return Step::Refuse(Fault::Format, None) };
    let frame = Frame { device, below, message: &frame, now_ms };
    match below {
        "thing/property/report" => frame.report(),
        "thing/event/trigger" => frame.event(),
        "thing/data/batch_report" | "thing/data/history_report" => frame.batch(),
        "thing/property/set_response" => Step::Nothing,
        "thing/action/execute_response" => frame.executed(),
        "thing/model/get" => frame.answer(&thing_model::tuya_model(&device.product)),
        "thing/property/desired/get" => frame.ask(frame.desired()),
        "thing/property/desired/delete" => frame.ask(frame.desired_taken()),
        "device/bind" => frame.ask(text(&frame.data()["token"]).map(Ask::Pair)),
        "device/sub/bind" => frame.ask(frame.bind()),
        "device/sub/login" => frame.told(frame.subs().map(|subs| Ask::Login(subs.into_iter().map(unproven).collect()))),
        "device/sub/logout" => frame.told(frame.subs().map(Ask::Logout)),
        "device/topo/add" => frame.ask(frame.attach()),
        "device/topo/delete" => frame.ask(frame.subs().map(Ask::Detach)),
        "device/topo/get" => frame.ask(Some(Ask::Behind)),
        "device/tag/report" => frame.ask(frame.tags()),
        "device/tag/get" if frame.data().is_null() => frame.ask(Some(Ask::Tags(Vec::new()))),
        "device/tag/get" => frame.ask(texts(frame.data(), FACTS_MAX).map(Ask::Tags)),
        "device/tag/delete" => frame.ask(frame.tags_gone()),
        "ota/firmware/report" => frame.firmware(),
        // No newer firmware and no remote configuration is kept here.
        "ota/get" | "ext/config/get" => frame.answer(&json!({})),
        "ext/time/request" => frame.time(),
        "ext/file/upload/request" | "ext/file/download/request" => frame.refuse(Fault::Service),
        _ => Step::Dropped(Reason::UnknownTopic),
    }
}

/// The answer to a message on behalf of a device that the gateway does not speak for, if it wants one.
pub fn stranger(topic: &str, payload: &[u8], now_ms: i64) -> Option<Message> {
    let (_, _) = split(topic)?;
    let message: Json = serde_json::from_slice(payload).ok()?;
    let wanted = message["sys"]["ack"].as_i64() == Some(1);
    let reply = Reply { topic: format!("{topic}_response"), id: id_of(&message), method: String::new() };
    wanted.then(|| say(reply, Err(Fault::Device), now_ms))
}

/// A message's id as JSON text, `null` for one that cannot be.
fn id_of(message: &Json) -> String {
    let id = &message["msgId"];
    let is_short = id.as_str().is_none_or(|id| id.len() <= ID_BYTES_MAX);
    if is_short && !id.is_array() && !id.is_object() { id.to_string() } else { "null".to_owned() }
}

/// One message.
struct Frame<'a> {
    device: &'a Device,
    below: &'a str,
    message: &'a Json,
    now_ms: i64,
}

impl Frame<'_> {
    fn data(&self) -> &Json {
        &self.message["data"]
    }

    fn reply(&self) -> Reply {
        let topic = match self.below.strip_suffix("/request") {
            Some(asked) => format!("{PREFIX}{}/{asked}/response", self.device.id),
            None => format!("{PREFIX}{}/{}_response", self.device.id, self.below),
        };
        Reply { topic, id: id_of(self.message), method: String::new() }
    }

    /// A report is answered only when `sys.ack` is 1.
    fn wanted_reply(&self) -> Option<Reply> {
        (self.message["sys"]["ack"].as_i64() == Some(1)).then(|| self.reply())
    }

    fn answer(&self, data: &Json) -> Step {
        Step::Answer(say(self.reply(), Ok(data), self.now_ms))
    }

    fn refuse(&self, fault: Fault) -> Step {
        Step::Refuse(fault, Some(self.reply()))
    }

    fn refuse_report(&self, fault: Fault) -> Step {
        Step::Refuse(fault, self.wanted_reply())
    }

    fn ask(&self, ask: Option<Ask>) -> Step {
        match ask {
            Some(ask) => Step::Ask(ask, Some(self.reply())),
            None if self.data().is_null() => self.refuse(Fault::Format),
            None => self.refuse(Fault::Parameter),
        }
    }

    /// As [`Frame::ask`], answered as a report is.
    fn told(&self, ask: Option<Ask>) -> Step {
        match ask {
            Some(ask) => Step::Ask(ask, self.wanted_reply()),
            None => self.refuse_report(Fault::Parameter),
        }
    }

    fn times(&self, is_upload: bool) -> Option<Times> {
        Some(Times { sent_ms: time_ms(self.message.get("time"), self.now_ms)?, is_upload })
    }

    fn report(&self) -> Step {
        let Some(values) = self.data().as_object() else { return self.refuse_report(Fault::Format) };
        match self.times(false).and_then(|times| points(values, times, &as_it_is)) {
            Some(points) => Step::Keep(Heard { points, events: Vec::new() }, self.wanted_reply()),
            None => self.refuse_report(Fault::Parameter),
        }
    }

    fn event(&self) -> Step {
        let Some(data) = self.data().as_object() else { return self.refuse_report(Fault::Format) };
        let code = data.get("eventCode").and_then(Json::as_str);
        match self.times(false).zip(code).and_then(|(times, code)| event(code, self.data(), times)) {
            Some(event) => Step::Keep(Heard { points: Vec::new(), events: vec![event] }, self.wanted_reply()),
            None => self.refuse_report(Fault::Parameter),
        }
    }

    /// One demo of the vendor's puts a whole message into `data`.
    fn batch(&self) -> Step {
        let data = self.data();
        let inner = data["data"].as_object().filter(|_| data.get("msgId").is_some());
        let Some(data) = inner.or(data.as_object()) else { return self.refuse_report(Fault::Format) };
        let Some(times) = self.times(true) else { return self.refuse_report(Fault::Parameter) };
        let subs = data.get("subDevices").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        if subs.len() > BATCH_SUBS_MAX {
            return self.refuse_report(Fault::TooMany);
        }
        let mut all = Vec::with_capacity(subs.len() + 1);
        match heard(data, times) {
            Some(heard) if heard.points.is_empty() && heard.events.is_empty() => {}
            Some(heard) => all.push((None, heard)),
            None => return self.refuse_report(Fault::Parameter),
        }
        for sub in subs {
            let found = sub.as_object().and_then(|data| Some((sub["deviceId"].as_str()?, heard(data, times)?)));
            let Some((id, heard)) = found else { return self.refuse_report(Fault::Parameter) };
            all.push((Some(id.to_owned()), heard));
        }
        Step::KeepAll(all, self.wanted_reply())
    }

    fn executed(&self) -> Step {
        let code = self.message["code"].as_i64().unwrap_or(0);
        let output = &self.data()["outputParams"];
        let output = if output.is_null() { "{}".to_owned() } else { output.to_string() };
        Step::Answered(Answered {
            id: command_id(&self.message["msgId"]),
            service: text(&self.data()["actionCode"]),
            output: (code == 0).then_some(output),
        })
    }

    /// A list of codes, bare or under `properties`; without one all of them.
    fn desired(&self) -> Option<Ask> {
        let list = if self.data().is_object() { &self.data()["properties"] } else { self.data() };
        if list.is_null() {
            return Some(Ask::Desired(Vec::new()));
        }
        texts(list, FACTS_MAX).map(Ask::Desired)
    }

    fn desired_taken(&self) -> Option<Ask> {
        let properties = self.data()["properties"].as_object()?;
        let change = |(code, taken): (&String, &Json)| FactChange {
            from_version: taken["version"].as_i64(),
            ..FactChange::forget(code)
        };
        Some(Ask::ForgetDesired(properties.iter().map(change).collect()))
    }

    fn bind(&self) -> Option<Ask> {
        let items = self.data().as_array().filter(|items| items.len() <= SUBS_MAX)?;
        let sub = |item: &Json| {
            let product = ProductId::from(item["productId"].as_str()?);
            Some(NewSubDevice { product, name: text(&item["clientId"])?, node_id: text(&item["nodeId"]) })
        };
        items.iter().map(sub).collect::<Option<_>>().map(Ask::Bind)
    }

    fn subs(&self) -> Option<Vec<DeviceClaim>> {
        let ids = texts(self.data(), SUBS_MAX)?;
        Some(ids.into_iter().map(|id| DeviceClaim::Id(DeviceId(id))).collect())
    }

    /// What is signed: the other members in the order of their names, each name followed by its value.
    fn attach(&self) -> Option<Ask> {
        let items = self.data().as_array().filter(|items| items.len() <= SUBS_MAX)?;
        let sub = |item: &Json| {
            let id = item["deviceId"].as_str()?;
            let (product, timestamp) = (text(&item["productId"])?, text(&item["timestamp"])?);
            let content = format!("deviceId{id}productId{product}timestamp{timestamp}");
            let method = item["signMethod"].as_str().unwrap_or("hmacSha1");
            let proof = Proof::of(method, content, item["sign"].as_str()?)?;
            Some(SubProof { who: DeviceClaim::Id(DeviceId(id.to_owned())), proofs: Some(vec![proof]) })
        };
        items.iter().map(sub).collect::<Option<_>>().map(Ask::Attach)
    }

    fn tags(&self) -> Option<Ask> {
        let items = self.data().as_array().filter(|items| items.len() <= FACTS_MAX)?;
        let tag = |item: &Json| Some(FactChange::set(item["key"].as_str()?, text(&item["value"])?));
        items.iter().map(tag).collect::<Option<_>>().map(Ask::ChangeTags)
    }

    fn tags_gone(&self) -> Option<Ask> {
        let keys = texts(self.data(), FACTS_MAX)?;
        Some(Ask::ChangeTags(keys.into_iter().map(FactChange::forget).collect()))
    }

    /// It has no answer.
    fn firmware(&self) -> Step {
        let channels = self.data()["otaChannel"].as_array().filter(|items| items.len() <= FACTS_MAX);
        let version = |item: &Json| Some((text(&item["channel"])?, text(&item["version"])?));
        match channels.and_then(|items| items.iter().map(version).collect()) {
            Some(versions) => Step::Ask(Ask::Firmware(versions), None),
            None => Step::Refuse(Fault::Parameter, None),
        }
    }

    /// The time, for a device without a clock: what it sent, and when that came and went.
    fn time(&self) -> Step {
        match self.data()["bizType"].as_str() {
            None | Some("NTP") => {
                let (dst, now) = (&self.data()["dst"], self.now_ms);
                self.answer(&json!({"bizType": "NTP", "dst": dst, "srt": now, "sst": now}))
            }
            Some(_) => self.refuse(Fault::Parameter),
        }
    }
}

fn as_it_is(_: &str, value: &Json) -> String {
    value.to_string()
}

fn unproven(who: DeviceClaim) -> SubProof {
    SubProof { who, proofs: None }
}

/// Values and events of one device; one of a code or a list of them.
fn heard(data: &Map<String, Json>, times: Times) -> Option<Heard> {
    let mut heard = Heard::default();
    if let Some(values) = data.get("properties") {
        heard.points = points(values.as_object()?, times, &as_it_is)?;
    }
    for (code, given) in data.get("events").map_or(Some(&Map::new()), Json::as_object)? {
        let list = given.as_array().map_or(std::slice::from_ref(given), Vec::as_slice);
        for one in list {
            heard.events.push(event(code, one, times)?);
        }
        if heard.events.len() > super::POINTS_MAX {
            return None;
        }
    }
    Some(heard)
}

fn event(code: &str, given: &Json, times: Times) -> Option<Said> {
    let output = if given["outputParams"].is_null() { "{}".to_owned() } else { given["outputParams"].to_string() };
    Some((code_of(code)?, Value::from_json(output)?, times.when(given.get("eventTime"))?))
}

/// The code of each refusal (contract §6.2).
fn code(fault: Fault) -> i64 {
    match fault {
        Fault::Service | Fault::Method => 1001,
        Fault::Parameter | Fault::Proof | Fault::Absent => 1002,
        Fault::Format => 1003,
        Fault::Device | Fault::Topology => 1004,
        Fault::Unfit => 2006,
        Fault::Part => 2121,
        Fault::All => 2122,
        Fault::TooMany => 2123,
    }
}

/// Answers a message. Without data the answer has none.
pub fn say(reply: Reply, outcome: Result<&Json, Fault>, now_ms: i64) -> Message {
    let Reply { topic, id, .. } = reply;
    let payload = match outcome {
        Ok(Json::Null) => format!(r#"{{"msgId":{id},"time":{now_ms},"code":0}}"#),
        Ok(data) => format!(r#"{{"msgId":{id},"time":{now_ms},"code":0,"data":{data}}}"#),
        Err(fault) => format!(r#"{{"msgId":{id},"time":{now_ms},"code":{}}}"#, code(fault)),
    };
    Message { topic, payload: payload.into_bytes() }
}

/// What came of an [`Ask`], in the members that the answer has.
pub fn data(product: &Product, told: &Told) -> Json {
    match told {
        Told::Done => Json::Null,
        Told::Tags(facts) => facts.iter().map(|fact| json!({"key": fact.key, "value": fact.text})).collect(),
        Told::Desired(desired) => {
            let value = |one: &Desired| thing_model::to_tuyalink(product.function(&one.code), one.value.as_json());
            let member = |one: &Desired| (one.code.clone(), json!({"version": one.version, "value": value(one)}));
            json!({"properties": desired.iter().map(member).collect::<Map<_, _>>()})
        }
        Told::Devices(devices) => {
            let device = |device: &std::sync::Arc<Device>| {
                json!({"productId": device.product.id.as_str(), "clientId": device.device_name,
                    "deviceId": device.id.as_str(), "nodeId": device.node_id})
            };
            devices.iter().map(device).collect()
        }
        // No message of this protocol asks for either.
        Told::Secrets(_) => Json::Null,
        Told::Document(document) => document.clone(),
    }
}

/// A wish for values, on its way down.
pub fn set(device: &Device, id: u32, wishes: &[Wish], now_ms: i64) -> Message {
    let value = |code: &str, value: &Value| thing_model::to_tuyalink(device.product.function(code), value.as_json());
    let data: Map<String, Json> = wishes.iter().map(|(code, wish)| (code.to_string(), value(code, wish))).collect();
    down(device, "thing/property/set", id, &data.into(), now_ms)
}

/// An action to execute.
pub fn execute(device: &Device, id: u32, name: &str, input: &Value, now_ms: i64) -> Message {
    let input: Json = serde_json::from_str(input.as_json()).unwrap_or_default();
    down(device, "thing/action/execute", id, &json!({"actionCode": name, "inputParams": input}), now_ms)
}

fn down(device: &Device, below: &str, id: u32, data: &Json, now_ms: i64) -> Message {
    let payload = json!({"msgId": id.to_string(), "time": now_ms, "version": "1.0", "data": data});
    Message { topic: format!("{PREFIX}{}/{below}", device.id), payload: payload.to_string().into_bytes() }
}
