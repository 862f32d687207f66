//! TuyaLink: topics below `tylink/{deviceId}/` (contract tuya §6).

use serde_json::{Map, Value as Json, json};

use super::super::auth::{Claim, Intent, Method, Proof, digits, field, method};
use super::{
    CommandResponse, DeviceDialect, DeviceMessage, DeviceRequest, DeviceResponse, Fault, ForeignTopic, ID_BYTES_MAX,
    Message, ReplyTo, Report, ReportKind, SubProof, Times, code_of, command_id, points, text, texts, time_ms,
};
use crate::domain::attribute::{ATTRIBUTES_MAX, AttributeChange, Desired};
use crate::domain::command::{Command, Setpoint};
use crate::domain::data_point::ReportedValue;
use crate::domain::session::DeviceClaim;
use crate::domain::topology::NewSubDevice;
use crate::domain::{Device, DeviceId, NodeType, Product, ProductId, Value};
use crate::mqtt::codec::Connect;
use crate::refusals::Reason;
use crate::thing_model;

const PREFIX: &str = "tylink/";
/// Sub-devices of which a batch may have reports.
const BATCH_SUBS_MAX: usize = 20;
/// Sub-devices that one message may bind, log in or put behind a gateway.
const SUBS_MAX: usize = 100;

/// What a client id begins with.
const CLIENT_ID_PREFIX: &str = "tuyalink_";

/// Tuya's protocol. What is sent to a device needs a subscription, the one to everything among them.
pub struct TuyaLink;

impl DeviceDialect for TuyaLink {
    fn protocol(&self) -> &'static str {
        "tuyalink"
    }

    fn recognizes(&self, client_id: &str) -> bool {
        client_id.starts_with(CLIENT_ID_PREFIX)
    }

    fn claim(&self, connect: &Connect) -> Option<Claim> {
        let id = connect.client_id.strip_prefix(CLIENT_ID_PREFIX)?;
        let (named, fields) = connect.username.split_once('|')?;
        if named.trim() != id {
            return None;
        }
        let method = match method(field(fields, "signMethod")?.1)? {
            Method::Md5 | Method::Same => return None,
            method => method,
        };
        let (timestamp, access) = (field(fields, "timestamp")?.1, field(fields, "accessType")?.1);
        // The vendor spells one of the names in two ways. A device signs what it sends; some sign the other spelling.
        let (_, mode) = field(fields, "secureMode")?;
        let content = |name: &str| format!("deviceId={id},timestamp={timestamp},{name}={mode},accessType={access}");
        let who = DeviceClaim::Id(DeviceId(id.to_owned()));
        let contents = vec![content("secureMode"), content("securemode")];
        let proof = Proof { method, contents, given: digits(&connect.password)? };
        Some(Claim { intent: Intent::Session { who, receives_all: false }, proof })
    }

    fn topic_name(&self, device: &Device) -> String {
        device.id.0.clone()
    }

    fn device_of_topic<'a>(&self, topic: &'a str) -> Option<&'a str> {
        split(topic).map(|(id, _)| id)
    }

    fn decode(&self, device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> DeviceMessage {
        match split(topic) {
            Some((_, below)) => decode(device, below, payload, now_ms),
            None => DeviceMessage::Ignored(Reason::UnknownTopic),
        }
    }

    fn keeps_partial_batches(&self) -> bool {
        true
    }

    fn encode_response(
        &self,
        device: &Device,
        to: ReplyTo,
        outcome: Result<&DeviceResponse, Fault>,
        now_ms: i64,
    ) -> Message {
        let data = outcome.map(|response| data(&device.product, response));
        response(to, data.as_ref().map_err(|fault| *fault), now_ms)
    }

    fn encode_command(&self, device: &Device, id: u32, command: &Command, now_ms: i64) -> Message {
        match command {
            Command::Set(values) => set(device, id, values, now_ms),
            Command::Do { name, input } => execute(device, id, name, input, now_ms),
        }
    }

    fn auto_subscription(&self, device: &Device) -> Option<String> {
        Some(format!("{PREFIX}{}/channel/downlink/auto_subscribe", device.id))
    }

    /// Only a gateway gets a response: it may not know yet that a sub-device is no longer its own.
    fn foreign_topic(&self, device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> ForeignTopic {
        match device.product.node_type {
            NodeType::Gateway => ForeignTopic::Respond(foreign_device(topic, payload, now_ms)),
            NodeType::Device | NodeType::Sub => ForeignTopic::Disconnect,
        }
    }
}

/// The device that a topic or filter names, and what is below it.
fn split(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(PREFIX)?.split_once('/').filter(|(id, _)| !id.is_empty())
}

/// What a message of the device asks for. `below` is the topic below the device's own.
fn decode(device: &Device, below: &str, payload: &[u8], now_ms: i64) -> DeviceMessage {
    if below == "channel/raw/up" {
        return DeviceMessage::Ignored(Reason::UnknownTopic);
    }
    let Ok(frame) = serde_json::from_slice::<Json>(payload) else { return DeviceMessage::Invalid(Fault::Format, None) };
    let frame = Frame { device, below, message: &frame, now_ms };
    match below {
        "thing/property/report" => frame.report(),
        "thing/event/trigger" => frame.event(),
        "thing/data/batch_report" | "thing/data/history_report" => frame.batch(),
        "thing/property/set_response" => DeviceMessage::Done,
        "thing/action/execute_response" => frame.executed(),
        "thing/model/get" => frame.answer(&thing_model::tuya_model(&device.product)),
        "thing/property/desired/get" => frame.request(frame.desired()),
        "thing/property/desired/delete" => frame.request(frame.desired_taken()),
        "device/bind" => frame.request(text(&frame.data()["token"]).map(DeviceRequest::Pair)),
        "device/sub/bind" => frame.request(frame.bind()),
        "device/sub/login" => frame
            .request_if_wanted(frame.subs().map(|subs| DeviceRequest::Login(subs.into_iter().map(unproven).collect()))),
        "device/sub/logout" => frame.request_if_wanted(frame.subs().map(DeviceRequest::Logout)),
        "device/topo/add" => frame.request(frame.attach()),
        "device/topo/delete" => frame.request(frame.subs().map(DeviceRequest::Detach)),
        "device/topo/get" => frame.request(Some(DeviceRequest::SubDevices)),
        "device/tag/report" => frame.request(frame.tags()),
        "device/tag/get" if frame.data().is_null() => frame.request(Some(DeviceRequest::Tags(Vec::new()))),
        "device/tag/get" => frame.request(texts(frame.data(), ATTRIBUTES_MAX).map(DeviceRequest::Tags)),
        "device/tag/delete" => frame.request(frame.tags_gone()),
        "ota/firmware/report" => frame.firmware(),
        // No newer firmware and no remote configuration is kept here.
        "ota/get" | "ext/config/get" => frame.answer(&json!({})),
        "ext/time/request" => frame.time(),
        "ext/file/upload/request" | "ext/file/download/request" => frame.refuse(Fault::Service),
        _ => DeviceMessage::Ignored(Reason::UnknownTopic),
    }
}

/// The response to a message for a device that is not in the gateway's session, if it wants one.
fn foreign_device(topic: &str, payload: &[u8], now_ms: i64) -> Option<Message> {
    split(topic)?;
    let message: Json = serde_json::from_slice(payload).ok()?;
    let wanted = message["sys"]["ack"].as_i64() == Some(1);
    let reply = ReplyTo { topic: format!("{topic}_response"), id: id_of(&message), method: String::new() };
    wanted.then(|| response(reply, Err(Fault::Device), now_ms))
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

    fn reply(&self) -> ReplyTo {
        let topic = match self.below.strip_suffix("/request") {
            Some(asked) => format!("{PREFIX}{}/{asked}/response", self.device.id),
            None => format!("{PREFIX}{}/{}_response", self.device.id, self.below),
        };
        ReplyTo { topic, id: id_of(self.message), method: String::new() }
    }

    /// A report is answered only when `sys.ack` is 1.
    fn wanted_reply(&self) -> Option<ReplyTo> {
        (self.message["sys"]["ack"].as_i64() == Some(1)).then(|| self.reply())
    }

    fn answer(&self, data: &Json) -> DeviceMessage {
        DeviceMessage::Respond(response(self.reply(), Ok(data), self.now_ms))
    }

    fn refuse(&self, fault: Fault) -> DeviceMessage {
        DeviceMessage::Invalid(fault, Some(self.reply()))
    }

    fn refuse_report(&self, fault: Fault) -> DeviceMessage {
        DeviceMessage::Invalid(fault, self.wanted_reply())
    }

    fn request(&self, request: Option<DeviceRequest>) -> DeviceMessage {
        match request {
            Some(request) => DeviceMessage::Request(request, Some(self.reply())),
            None if self.data().is_null() => self.refuse(Fault::Format),
            None => self.refuse(Fault::Parameter),
        }
    }

    /// As [`Frame::request`], with a response only if it is wanted, as a report has it.
    fn request_if_wanted(&self, request: Option<DeviceRequest>) -> DeviceMessage {
        match request {
            Some(request) => DeviceMessage::Request(request, self.wanted_reply()),
            None => self.refuse_report(Fault::Parameter),
        }
    }

    fn times(&self, kind: ReportKind) -> Option<Times> {
        Some(Times { sent_ms: time_ms(self.message.get("time"), self.now_ms)?, kind })
    }

    fn report(&self) -> DeviceMessage {
        let Some(values) = self.data().as_object() else { return self.refuse_report(Fault::Format) };
        match self.times(ReportKind::Current).and_then(|times| points(values, times, &as_it_is)) {
            Some(points) => DeviceMessage::Report(Report { points, events: Vec::new() }, self.wanted_reply()),
            None => self.refuse_report(Fault::Parameter),
        }
    }

    fn event(&self) -> DeviceMessage {
        let Some(data) = self.data().as_object() else { return self.refuse_report(Fault::Format) };
        let code = data.get("eventCode").and_then(Json::as_str);
        match self.times(ReportKind::Current).zip(code).and_then(|(times, code)| event(code, self.data(), times)) {
            Some(event) => {
                DeviceMessage::Report(Report { points: Vec::new(), events: vec![event] }, self.wanted_reply())
            }
            None => self.refuse_report(Fault::Parameter),
        }
    }

    /// One demo of the vendor's puts a whole message into `data`.
    fn batch(&self) -> DeviceMessage {
        let data = self.data();
        let inner = data["data"].as_object().filter(|_| data.get("msgId").is_some());
        let Some(data) = inner.or(data.as_object()) else { return self.refuse_report(Fault::Format) };
        let Some(times) = self.times(ReportKind::Upload) else { return self.refuse_report(Fault::Parameter) };
        let subs = data.get("subDevices").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        if subs.len() > BATCH_SUBS_MAX {
            return self.refuse_report(Fault::TooMany);
        }
        let mut all = Vec::with_capacity(subs.len() + 1);
        match report_of(data, times) {
            Some(report) if report.points.is_empty() && report.events.is_empty() => {}
            Some(report) => all.push((None, report)),
            None => return self.refuse_report(Fault::Parameter),
        }
        for sub in subs {
            let found = sub.as_object().and_then(|data| Some((sub["deviceId"].as_str()?, report_of(data, times)?)));
            let Some((id, report)) = found else { return self.refuse_report(Fault::Parameter) };
            all.push((Some(id.to_owned()), report));
        }
        DeviceMessage::Reports(all, self.wanted_reply())
    }

    fn executed(&self) -> DeviceMessage {
        let code = self.message["code"].as_i64().unwrap_or(0);
        let output = &self.data()["outputParams"];
        let output = if output.is_null() { "{}".to_owned() } else { output.to_string() };
        DeviceMessage::CommandResponse(CommandResponse {
            id: command_id(&self.message["msgId"]),
            service: text(&self.data()["actionCode"]),
            output: (code == 0).then_some(output),
        })
    }

    /// A list of codes, bare or under `properties`; without one all of them.
    fn desired(&self) -> Option<DeviceRequest> {
        let list = if self.data().is_object() { &self.data()["properties"] } else { self.data() };
        if list.is_null() {
            return Some(DeviceRequest::Desired(Vec::new()));
        }
        texts(list, ATTRIBUTES_MAX).map(DeviceRequest::Desired)
    }

    fn desired_taken(&self) -> Option<DeviceRequest> {
        let properties = self.data()["properties"].as_object()?;
        let change = |(code, taken): (&String, &Json)| AttributeChange {
            from_version: taken["version"].as_i64(),
            ..AttributeChange::remove(code)
        };
        Some(DeviceRequest::ForgetDesired(properties.iter().map(change).collect()))
    }

    fn bind(&self) -> Option<DeviceRequest> {
        let items = self.data().as_array().filter(|items| items.len() <= SUBS_MAX)?;
        let sub = |item: &Json| {
            let product = ProductId::from(item["productId"].as_str()?);
            Some(NewSubDevice { product, name: text(&item["clientId"])?, node_id: text(&item["nodeId"]) })
        };
        items.iter().map(sub).collect::<Option<_>>().map(DeviceRequest::Bind)
    }

    fn subs(&self) -> Option<Vec<DeviceClaim>> {
        let ids = texts(self.data(), SUBS_MAX)?;
        Some(ids.into_iter().map(|id| DeviceClaim::Id(DeviceId(id))).collect())
    }

    /// What is signed: the other members in the order of their names, each name followed by its value.
    fn attach(&self) -> Option<DeviceRequest> {
        let items = self.data().as_array().filter(|items| items.len() <= SUBS_MAX)?;
        let sub = |item: &Json| {
            let id = item["deviceId"].as_str()?;
            let (product, timestamp) = (text(&item["productId"])?, text(&item["timestamp"])?);
            let content = format!("deviceId{id}productId{product}timestamp{timestamp}");
            let method = item["signMethod"].as_str().unwrap_or("hmacSha1");
            let proof = Proof::of(method, content, item["sign"].as_str()?)?;
            Some(SubProof { who: DeviceClaim::Id(DeviceId(id.to_owned())), proofs: Some(vec![proof]) })
        };
        items.iter().map(sub).collect::<Option<_>>().map(DeviceRequest::Attach)
    }

    fn tags(&self) -> Option<DeviceRequest> {
        let items = self.data().as_array().filter(|items| items.len() <= ATTRIBUTES_MAX)?;
        let tag = |item: &Json| Some(AttributeChange::set(item["key"].as_str()?, text(&item["value"])?));
        items.iter().map(tag).collect::<Option<_>>().map(DeviceRequest::ChangeTags)
    }

    fn tags_gone(&self) -> Option<DeviceRequest> {
        let keys = texts(self.data(), ATTRIBUTES_MAX)?;
        Some(DeviceRequest::ChangeTags(keys.into_iter().map(AttributeChange::remove).collect()))
    }

    /// It has no answer.
    fn firmware(&self) -> DeviceMessage {
        let channels = self.data()["otaChannel"].as_array().filter(|items| items.len() <= ATTRIBUTES_MAX);
        let version = |item: &Json| Some((text(&item["channel"])?, text(&item["version"])?));
        match channels.and_then(|items| items.iter().map(version).collect()) {
            Some(versions) => DeviceMessage::Request(DeviceRequest::ReportFirmware(versions), None),
            None => DeviceMessage::Invalid(Fault::Parameter, None),
        }
    }

    /// The time, for a device without a clock: what it sent, and when that came and went.
    fn time(&self) -> DeviceMessage {
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
fn report_of(data: &Map<String, Json>, times: Times) -> Option<Report> {
    let mut report = Report::default();
    if let Some(values) = data.get("properties") {
        report.points = points(values.as_object()?, times, &as_it_is)?;
    }
    for (code, given) in data.get("events").map_or(Some(&Map::new()), Json::as_object)? {
        let list = given.as_array().map_or(std::slice::from_ref(given), Vec::as_slice);
        for one in list {
            report.events.push(event(code, one, times)?);
        }
        if report.events.len() > super::POINTS_MAX {
            return None;
        }
    }
    Some(report)
}

fn event(code: &str, given: &Json, times: Times) -> Option<ReportedValue> {
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

/// The response to a message. Without data it has no such member.
fn response(to: ReplyTo, outcome: Result<&Json, Fault>, now_ms: i64) -> Message {
    let ReplyTo { topic, id, .. } = to;
    let payload = match outcome {
        Ok(Json::Null) => format!(r#"{{"msgId":{id},"time":{now_ms},"code":0}}"#),
        Ok(data) => format!(r#"{{"msgId":{id},"time":{now_ms},"code":0,"data":{data}}}"#),
        Err(fault) => format!(r#"{{"msgId":{id},"time":{now_ms},"code":{}}}"#, code(fault)),
    };
    Message { topic, payload: payload.into_bytes() }
}

/// The data of the response to a request.
fn data(product: &Product, response: &DeviceResponse) -> Json {
    match response {
        DeviceResponse::Done => Json::Null,
        DeviceResponse::Tags(attributes) => {
            attributes.iter().map(|attribute| json!({"key": attribute.key, "value": attribute.text})).collect()
        }
        DeviceResponse::Desired(desired) => {
            let value = |one: &Desired| thing_model::to_tuyalink(product.function(&one.code), one.value.as_json());
            let member = |one: &Desired| (one.code.clone(), json!({"version": one.version, "value": value(one)}));
            json!({"properties": desired.iter().map(member).collect::<Map<_, _>>()})
        }
        DeviceResponse::Devices(devices) => {
            let device = |device: &std::sync::Arc<Device>| {
                json!({"productId": device.product.id.as_str(), "clientId": device.device_name,
                    "deviceId": device.id.as_str(), "nodeId": device.node_id})
            };
            devices.iter().map(device).collect()
        }
        // No message of this protocol asks for either.
        DeviceResponse::Secrets(_) => Json::Null,
        DeviceResponse::Document(document) => document.clone(),
    }
}

/// A command to set values.
fn set(device: &Device, id: u32, values: &[Setpoint], now_ms: i64) -> Message {
    let value = |code: &str, value: &Value| thing_model::to_tuyalink(device.product.function(code), value.as_json());
    let data: Map<String, Json> = values.iter().map(|(code, wanted)| (code.to_string(), value(code, wanted))).collect();
    command(device, "thing/property/set", id, &data.into(), now_ms)
}

/// A command to execute an action.
fn execute(device: &Device, id: u32, name: &str, input: &Value, now_ms: i64) -> Message {
    let input: Json = serde_json::from_str(input.as_json()).unwrap_or_default();
    command(device, "thing/action/execute", id, &json!({"actionCode": name, "inputParams": input}), now_ms)
}

fn command(device: &Device, below: &str, id: u32, data: &Json, now_ms: i64) -> Message {
    let payload = json!({"msgId": id.to_string(), "time": now_ms, "version": "1.0", "data": data});
    Message { topic: format!("{PREFIX}{}/{below}", device.id), payload: payload.to_string().into_bytes() }
}
