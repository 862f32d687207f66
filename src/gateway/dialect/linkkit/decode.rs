//! LinkKit: what a message of a device asks for.

use serde_json::{Map, Value as Json, json};

use super::super::super::auth::Proof;
use super::super::{
    CommandResponse, DeviceMessage, DeviceRequest, Fault, ID_BYTES_MAX, Message, POINTS_MAX, ReplyTo, Report,
    ReportKind, SubProof, Times, code_of, command_id, points, text, texts,
};
use super::{RRPC, Topic, encode};
use crate::domain::attribute::{ATTRIBUTES_MAX, AttributeChange};
use crate::domain::data_point::ReportedValue;
use crate::domain::device::FactoryName;
use crate::domain::session::DeviceClaim;
use crate::domain::{Device, Value};
use crate::refusals::Reason;
use crate::thing_model;

/// Sub-devices that one message may name.
const SUBS_MAX: usize = 100;
/// The part of the firmware that a report means which names none.
const MAIN_PART: &str = "default";

/// What a message of a device asks for.
pub fn decode(device: &Device, topic: &str, parts: Topic<'_>, payload: &[u8], now_ms: i64) -> DeviceMessage {
    // Topics of the device's own making, and bytes that only its maker can read.
    if parts.area == "/" {
        return DeviceMessage::Ignored(Reason::CustomTopic);
    }
    if parts.below.starts_with("thing/model/") {
        return DeviceMessage::Ignored(Reason::UnknownTopic);
    }
    let Ok(message) = serde_json::from_slice::<Json>(payload) else {
        let reply = ReplyTo { topic: format!("{topic}_reply"), id: r#""0""#.to_owned(), method: "null".to_owned() };
        let wanted = parts.area == "/sys/" && parts.below.starts_with("thing/") && !parts.below.ends_with("_reply");
        return DeviceMessage::Invalid(Fault::Format, wanted.then_some(reply));
    };
    let frame = Frame { device, topic, message: &message, now_ms };
    match (parts.area, parts.below) {
        ("/sys/", below) => frame.system(below),
        (RRPC, below) => frame.command_response(&json!(below.split('/').next()), None),
        ("/ext/ntp/", "request") => frame.time(parts.name),
        ("/ext/session/", below) => frame.session(below),
        ("/shadow/update/", "") => {
            DeviceMessage::Request(DeviceRequest::Shadow(message), Some(encode::shadow(parts.name)))
        }
        ("/ota/device/inform/", "") => frame.firmware(),
        _ => DeviceMessage::Ignored(Reason::UnknownTopic),
    }
}

/// One message.
struct Frame<'a> {
    device: &'a Device,
    topic: &'a str,
    message: &'a Json,
    now_ms: i64,
}

impl Frame<'_> {
    fn system(&self, below: &str) -> DeviceMessage {
        let service = below.strip_prefix("thing/service/").and_then(|below| below.strip_suffix("_reply"));
        match service {
            Some("property/set") => return DeviceMessage::Done,
            Some(service) => return self.command_response(&self.message["id"], Some(encode::service_of(service))),
            None => {}
        }
        if let Some(id) = below.strip_prefix("rrpc/response/") {
            return self.command_response(&json!(id), None);
        }
        let Some(below) = below.strip_prefix("thing/") else { return DeviceMessage::Ignored(Reason::UnknownTopic) };
        match below {
            "event/property/post" => self.post(),
            "event/property/pack/post" => self.pack(),
            "event/property/batch/post" => self.batch(),
            "event/property/history/post" => self.history(),
            "property/desired/get" => self.request(texts(self.params(), ATTRIBUTES_MAX).map(DeviceRequest::Desired)),
            "property/desired/delete" => self.request(self.desired_taken()),
            "deviceinfo/update" => self.request(self.tags()),
            "deviceinfo/delete" => self.request(self.tags_gone()),
            "deviceinfo/get" => self.request(Some(DeviceRequest::Tags(Vec::new()))),
            "dsltemplate/get" | "dynamicTsl/get" => {
                self.respond(&thing_model::tsl(&self.device.product, Some(&self.device.device_name)))
            }
            "awss/enrollee/match" => self.request(text(&self.params()["token"]).map(DeviceRequest::Pair)),
            "topo/add" => self.request(self.proven(self.params()).map(DeviceRequest::Attach)),
            "topo/delete" => self.request(self.sub_devices(self.params()).map(DeviceRequest::Detach)),
            "topo/get" => self.request(Some(DeviceRequest::SubDevices)),
            "list/found" => self.respond(&json!({})),
            "sub/register" => self.request(self.register()),
            "sub/unregister" => self.request(self.sub_devices(self.params()).map(DeviceRequest::Detach)),
            "proxy/provisioning/product_register" => self.request(self.register_by_product()),
            // No newer firmware is kept here.
            "ota/firmware/get" => self.respond(&json!({})),
            "config/get" | "config/log/get" => self.refuse(Fault::Absent),
            _ => match below.strip_prefix("event/").and_then(|rest| rest.strip_suffix("/post")) {
                Some(code) if !code.contains('/') => self.event(code),
                _ => self.refuse(Fault::Method),
            },
        }
    }

    fn params(&self) -> &Json {
        &self.message["params"]
    }

    fn reply(&self) -> ReplyTo {
        let id = text(&self.message["id"]).filter(|id| id.len() <= ID_BYTES_MAX);
        let method = self.message["method"].as_str().filter(|method| method.len() <= self.topic.len());
        ReplyTo {
            topic: format!("{}_reply", self.topic),
            id: json!(id.unwrap_or_else(|| "0".to_owned())).to_string(),
            method: json!(method).to_string(),
        }
    }

    /// Every message gets a response unless `sys.ack` is 0.
    fn wanted_reply(&self) -> Option<ReplyTo> {
        (self.message["sys"]["ack"].as_i64() != Some(0)).then(|| self.reply())
    }

    fn respond(&self, data: &Json) -> DeviceMessage {
        self.wanted_reply()
            .map_or(DeviceMessage::Done, |reply| DeviceMessage::Respond(encode::response(reply, Ok(data))))
    }

    fn refuse(&self, fault: Fault) -> DeviceMessage {
        DeviceMessage::Invalid(fault, self.wanted_reply())
    }

    fn request(&self, request: Option<DeviceRequest>) -> DeviceMessage {
        request.map_or_else(
            || self.refuse(Fault::Parameter),
            |request| DeviceMessage::Request(request, self.wanted_reply()),
        )
    }

    fn store(&self, report: Option<Report>) -> DeviceMessage {
        report
            .map_or_else(|| self.refuse(Fault::Parameter), |report| DeviceMessage::Report(report, self.wanted_reply()))
    }

    /// A message has no time of its own.
    fn times(&self, kind: ReportKind) -> Times {
        Times { sent_ms: self.now_ms, kind }
    }

    fn post(&self) -> DeviceMessage {
        let stored = |code: &str, value: &Json| thing_model::from_alink(self.device.product.function(code), value);
        let points =
            self.params().as_object().and_then(|values| points(values, self.times(ReportKind::Current), &stored));
        self.store(points.map(|points| Report { points, events: Vec::new() }))
    }

    fn event(&self, code: &str) -> DeviceMessage {
        let event = event(code, self.params(), self.times(ReportKind::Current));
        self.store(event.map(|event| Report { points: Vec::new(), events: vec![event] }))
    }

    /// Values and events of the device, one of a code or a list of them, and of its sub-devices.
    fn pack(&self) -> DeviceMessage {
        let subs = self.params()["subDevices"].as_array().map_or(&[][..], Vec::as_slice);
        if subs.len() > SUBS_MAX {
            return self.refuse(Fault::TooMany);
        }
        let own = self
            .report_of(self.params(), ReportKind::Current)
            .filter(|report| !report.points.is_empty() || !report.events.is_empty());
        let is_sound = own.is_some() || !subs.is_empty();
        let mut all: Vec<_> = own.map(|report| (None, report)).into_iter().collect();
        for sub in subs {
            let Some(one) = self.report_of_item(sub, ReportKind::Current) else { return self.refuse(Fault::Parameter) };
            all.push(one);
        }
        if is_sound { DeviceMessage::Reports(all, self.wanted_reply()) } else { self.refuse(Fault::Parameter) }
    }

    fn batch(&self) -> DeviceMessage {
        match self.report_of(self.params(), ReportKind::Upload) {
            Some(report) => DeviceMessage::Reports(vec![(None, report)], self.wanted_reply()),
            None => self.refuse(Fault::Parameter),
        }
    }

    /// A list of devices, each with lists of values and of events.
    fn history(&self) -> DeviceMessage {
        let Some(items) = self.params().as_array().filter(|items| items.len() <= SUBS_MAX) else {
            return self.refuse(Fault::Parameter);
        };
        match items.iter().map(|item| self.report_of_item(item, ReportKind::Upload)).collect::<Option<Vec<_>>>() {
            Some(all) => DeviceMessage::Reports(all, self.wanted_reply()),
            None => self.refuse(Fault::Parameter),
        }
    }

    fn report_of_item(&self, item: &Json, kind: ReportKind) -> Option<(Option<String>, Report)> {
        let identity = &item["identity"];
        let name = if identity.is_null() {
            super::name(self.device)
        } else {
            format!("{}/{}", identity["productKey"].as_str()?, identity["deviceName"].as_str()?)
        };
        Some(((name != super::name(self.device)).then_some(name), self.report_of(item, kind)?))
    }

    /// Both members are objects, or lists of objects. The values are as they were sent: whose they are is not known here.
    fn report_of(&self, data: &Json, kind: ReportKind) -> Option<Report> {
        let times = self.times(kind);
        let mut report = Report::default();
        for values in objects(&data["properties"])? {
            report.points.extend(points(values, times, &|_, value| value.to_string())?);
        }
        for events in objects(&data["events"])? {
            for (code, given) in events {
                let list = given.as_array().map_or(std::slice::from_ref(given), Vec::as_slice);
                for one in list {
                    report.events.push(event(code, one, times)?);
                }
            }
        }
        (report.points.len() + report.events.len() <= POINTS_MAX).then_some(report)
    }

    fn command_response(&self, id: &Json, service: Option<&str>) -> DeviceMessage {
        let data = &self.message["data"];
        let output = if data.is_null() { "{}".to_owned() } else { data.to_string() };
        let is_done = self.message["code"].as_i64().is_none_or(|code| code == encode::OK);
        DeviceMessage::CommandResponse(CommandResponse {
            id: command_id(id),
            service: service.map(str::to_owned),
            output: is_done.then_some(output),
        })
    }

    fn desired_taken(&self) -> Option<DeviceRequest> {
        let change = |(code, taken): (&String, &Json)| AttributeChange {
            from_version: taken["version"].as_i64(),
            ..AttributeChange::remove(code)
        };
        Some(DeviceRequest::ForgetDesired(self.params().as_object()?.iter().map(change).collect()))
    }

    fn tags(&self) -> Option<DeviceRequest> {
        let items = self.params().as_array().filter(|items| items.len() <= ATTRIBUTES_MAX)?;
        let tag = |item: &Json| Some(AttributeChange::set(item["attrKey"].as_str()?, text(&item["attrValue"])?));
        items.iter().map(tag).collect::<Option<_>>().map(DeviceRequest::ChangeTags)
    }

    fn tags_gone(&self) -> Option<DeviceRequest> {
        let items = self.params().as_array().filter(|items| items.len() <= ATTRIBUTES_MAX)?;
        let tag = |item: &Json| Some(AttributeChange::remove(item["attrKey"].as_str()?));
        items.iter().map(tag).collect::<Option<_>>().map(DeviceRequest::ChangeTags)
    }

    fn firmware(&self) -> DeviceMessage {
        let params = self.params();
        let part = params["module"].as_str().filter(|part| !part.is_empty()).unwrap_or(MAIN_PART);
        match text(&params["version"]) {
            Some(version) => {
                DeviceMessage::Request(DeviceRequest::ReportFirmware(vec![(part.to_owned(), version)]), None)
            }
            None => DeviceMessage::Invalid(Fault::Parameter, None),
        }
    }

    fn session(&self, below: &str) -> DeviceMessage {
        let Some(kind) = below.strip_prefix("combine/") else { return DeviceMessage::Ignored(Reason::UnknownTopic) };
        let params = self.params();
        match kind {
            "login" => self.request(self.proven(&json!([params])).map(DeviceRequest::Login)),
            "batch_login" => {
                let method = &params["signMethod"];
                let mut list = params["deviceList"].clone();
                for item in list.as_array_mut().into_iter().flatten() {
                    if item["signMethod"].is_null() && item.is_object() {
                        item["signMethod"] = method.clone();
                    }
                }
                self.request(self.proven(&list).map(DeviceRequest::Login))
            }
            "logout" => self.request(self.sub_devices(&json!([params])).map(DeviceRequest::Logout)),
            "batch_logout" => {
                let list = if params.is_array() { params } else { &params["deviceList"] };
                self.request(self.sub_devices(list).map(DeviceRequest::Logout))
            }
            _ => DeviceMessage::Ignored(Reason::UnknownTopic),
        }
    }

    fn sub_devices(&self, list: &Json) -> Option<Vec<DeviceClaim>> {
        let items = list.as_array().filter(|items| items.len() <= SUBS_MAX)?;
        items.iter().map(|item| factory_name(item).map(DeviceClaim::Factory)).collect()
    }

    /// Devices that prove themselves: over the whole client id, or what stands before its first bar.
    fn proven(&self, list: &Json) -> Option<Vec<SubProof>> {
        let items = list.as_array().filter(|items| items.len() <= SUBS_MAX)?;
        let sub = |item: &Json| {
            let name = factory_name(item)?;
            let client_id = text(&item["clientId"])?;
            let timestamp = text(&item["timestamp"]).map(|at| format!("timestamp{at}")).unwrap_or_default();
            let method = item["signMethod"].as_str().or(item["signmethod"].as_str()).unwrap_or("hmacMd5");
            let proof = |client_id: &str| {
                let FactoryName { product_key, device_name } = &name;
                let content = format!("clientId{client_id}deviceName{device_name}productKey{product_key}{timestamp}");
                Proof::of(method, content, item["sign"].as_str()?)
            };
            let base = client_id.split('|').next().unwrap_or_default();
            let proofs = Some(vec![proof(&client_id)?, proof(base)?]);
            Some(SubProof { who: DeviceClaim::Factory(name.clone()), proofs })
        };
        items.iter().map(sub).collect()
    }

    fn register(&self) -> Option<DeviceRequest> {
        let items = self.params().as_array().filter(|items| items.len() <= SUBS_MAX)?;
        items.iter().map(|item| Some((factory_name(item)?, None))).collect::<Option<_>>().map(DeviceRequest::Register)
    }

    /// Devices that prove their products.
    fn register_by_product(&self) -> Option<DeviceRequest> {
        let items = self.params()["proxieds"].as_array().filter(|items| items.len() <= SUBS_MAX)?;
        let sub = |item: &Json| {
            let name = factory_name(item)?;
            let FactoryName { product_key, device_name } = &name;
            let random = text(&item["random"])?;
            let content = format!("deviceName{device_name}productKey{product_key}random{random}");
            let method = item["signMethod"].as_str().unwrap_or("hmacSha256");
            let proof = Proof::of(method, content, item["sign"].as_str()?)?;
            Some((name, Some(vec![proof])))
        };
        items.iter().map(sub).collect::<Option<_>>().map(DeviceRequest::Register)
    }

    /// The time, for a device without a clock; all of them texts.
    fn time(&self, name: &str) -> DeviceMessage {
        let now = self.now_ms.to_string();
        let sent = &self.message["deviceSendTime"];
        let answer = json!({"deviceSendTime": sent, "serverRecvTime": now, "serverSendTime": now});
        let payload = answer.to_string().into_bytes();
        DeviceMessage::Respond(Message { topic: format!("/ext/ntp/{name}/response"), payload })
    }
}

fn factory_name(item: &Json) -> Option<FactoryName> {
    let (product_key, device_name) = (item["productKey"].as_str()?, item["deviceName"].as_str()?);
    Some(FactoryName { product_key: product_key.to_owned(), device_name: device_name.to_owned() })
}

/// The objects of a member that is one, a list of them, or absent.
fn objects(value: &Json) -> Option<Vec<&Map<String, Json>>> {
    match value {
        Json::Null => Some(Vec::new()),
        Json::Object(object) => Some(vec![object]),
        Json::Array(items) => items.iter().map(Json::as_object).collect(),
        _ => None,
    }
}

/// An event with its output under `value`, or bare.
fn event(code: &str, given: &Json, times: Times) -> Option<ReportedValue> {
    let object = given.as_object()?;
    let output = object.get("value").unwrap_or(given);
    Some((code_of(code)?, Value::from_json(output.to_string())?, times.when(object.get("time"))?))
}
