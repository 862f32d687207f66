//! LinkKit (Alink): topics below `/sys/{productKey}/{deviceName}/` and its siblings (contract aliyun §6.2, §6.3). What
//! is said to a device is in [`encode`].

pub mod encode;

use serde_json::{Map, Value as Json, json};

use super::super::auth::Proof;
use super::{
    Answered, Ask, Fault, Heard, ID_BYTES_MAX, Message, POINTS_MAX, Reply, Step, SubProof, Times, code_of, command_id,
    points, text, texts,
};
use crate::domain::data_point::Said;
use crate::domain::device::FactoryName;
use crate::domain::fact::{FACTS_MAX, FactChange};
use crate::domain::session::DeviceClaim;
use crate::domain::{Device, Product, Value};
use crate::refusals::Reason;
use crate::thing_model;

/// Sub-devices that one message may name.
const SUBS_MAX: usize = 100;
/// Where calls of the device's own making come and go. They name no device: they are the connection's.
const RRPC: &str = "/ext/rrpc/";
/// The name in topics that name no device.
pub const NOBODY: &str = "";
/// The part of the firmware that a report means which names none.
const MAIN_PART: &str = "default";

/// A topic, or a filter, by its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    /// What stands before the device, with its slashes.
    area: &'a str,
    /// `{productKey}/{deviceName}`, or [`NOBODY`].
    pub name: &'a str,
    /// What stands after it.
    below: &'a str,
}

/// The parts of a topic or filter.
pub fn split(topic: &str) -> Option<Topic<'_>> {
    if let Some(below) = topic.strip_prefix(RRPC) {
        return Some(Topic { area: RRPC, name: NOBODY, below });
    }
    for area in ["/sys/", "/shadow/update/", "/shadow/get/"] {
        if topic.starts_with(area) {
            return split_after(area, topic, area.len());
        }
    }
    // The kind of message stands before the device there.
    for area in ["/ota/device/", "/ext/"] {
        if let Some(rest) = topic.strip_prefix(area) {
            let kind = rest.split_once('/')?.0;
            let length = area.len() + kind.len() + 1;
            return split_after(topic.get(..length)?, topic, length);
        }
    }
    topic.strip_prefix('/')?;
    split_after("/", topic, 1)
}

fn split_after<'a>(area: &'a str, topic: &'a str, length: usize) -> Option<Topic<'a>> {
    let rest = topic.get(length..)?;
    let key = rest.find('/')?;
    let end = rest[key + 1..].find('/').map_or(rest.len(), |end| key + 1 + end);
    let name = &rest[..end];
    (key > 0 && end > key + 1).then(|| Topic { area, name, below: rest.get(end + 1..).unwrap_or_default() })
}

/// How a device is called in topics.
pub fn name(device: &Device) -> String {
    format!("{}/{}", device.product.key, device.device_name)
}

/// What a message of a device asks for.
pub fn step(device: &Device, topic: &str, parts: Topic<'_>, payload: &[u8], now_ms: i64) -> Step {
    // Topics of the device's own making, and bytes that only its maker can read.
    if parts.area == "/" {
        return Step::Dropped(Reason::CustomTopic);
    }
    if parts.below.starts_with("thing/model/") {
        return Step::Dropped(Reason::UnknownTopic);
    }
    let Ok(message) = serde_json::from_slice::<Json>(payload) else {
        let reply = Reply { topic: format!("{topic}_reply"), id: r#""0""#.to_owned(), method: "null".to_owned() };
        let wanted = parts.area == "/sys/" && parts.below.starts_with("thing/") && !parts.below.ends_with("_reply");
        return Step::Refuse(Fault::Format, wanted.then_some(reply));
    };
    let frame = Frame { device, topic, message: &message, now_ms };
    match (parts.area, parts.below) {
        ("/sys/", below) => frame.system(below),
        (RRPC, below) => frame.answered(&json!(below.split('/').next()), None),
        ("/ext/ntp/", "request") => frame.time(parts.name),
        ("/ext/session/", below) => frame.session(below),
        ("/shadow/update/", "") => Step::Ask(Ask::Shadow(message), Some(encode::shadow(parts.name))),
        ("/ota/device/inform/", "") => frame.firmware(),
        _ => Step::Dropped(Reason::UnknownTopic),
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
    fn system(&self, below: &str) -> Step {
        let service = below.strip_prefix("thing/service/").and_then(|below| below.strip_suffix("_reply"));
        match service {
            Some("property/set") => return Step::Nothing,
            Some(service) => return self.answered(&self.message["id"], Some(encode::service_of(service))),
            None => {}
        }
        if let Some(id) = below.strip_prefix("rrpc/response/") {
            return self.answered(&json!(id), None);
        }
        let Some(below) = below.strip_prefix("thing/") else { return Step::Dropped(Reason::UnknownTopic) };
        match below {
            "event/property/post" => self.post(),
            "event/property/pack/post" => self.pack(),
            "event/property/batch/post" => self.batch(),
            "event/property/history/post" => self.history(),
            "property/desired/get" => self.ask(texts(self.params(), FACTS_MAX).map(Ask::Desired)),
            "property/desired/delete" => self.ask(self.desired_taken()),
            "deviceinfo/update" => self.ask(self.tags()),
            "deviceinfo/delete" => self.ask(self.tags_gone()),
            "deviceinfo/get" => self.ask(Some(Ask::Tags(Vec::new()))),
            "dsltemplate/get" | "dynamicTsl/get" => {
                self.answer(&thing_model::tsl(&self.device.product, Some(&self.device.device_name)))
            }
            "awss/enrollee/match" => self.ask(text(&self.params()["token"]).map(Ask::Pair)),
            "topo/add" => self.ask(self.proven(self.params()).map(Ask::Attach)),
            "topo/delete" => self.ask(self.subs(self.params()).map(Ask::Detach)),
            "topo/get" => self.ask(Some(Ask::Behind)),
            "list/found" => self.answer(&json!({})),
            "sub/register" => self.ask(self.register()),
            "sub/unregister" => self.ask(self.subs(self.params()).map(Ask::Detach)),
            "proxy/provisioning/product_register" => self.ask(self.register_by_product()),
            // No newer firmware is kept here.
            "ota/firmware/get" => self.answer(&json!({})),
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

    fn reply(&self) -> Reply {
        let id = text(&self.message["id"]).filter(|id| id.len() <= ID_BYTES_MAX);
        let method = self.message["method"].as_str().filter(|method| method.len() <= self.topic.len());
        Reply {
            topic: format!("{}_reply", self.topic),
            id: json!(id.unwrap_or_else(|| "0".to_owned())).to_string(),
            method: json!(method).to_string(),
        }
    }

    /// Everything is answered unless `sys.ack` is 0.
    fn wanted_reply(&self) -> Option<Reply> {
        (self.message["sys"]["ack"].as_i64() != Some(0)).then(|| self.reply())
    }

    fn answer(&self, data: &Json) -> Step {
        self.wanted_reply().map_or(Step::Nothing, |reply| Step::Answer(encode::reply(reply, Ok(data))))
    }

    fn refuse(&self, fault: Fault) -> Step {
        Step::Refuse(fault, self.wanted_reply())
    }

    fn ask(&self, ask: Option<Ask>) -> Step {
        ask.map_or_else(|| self.refuse(Fault::Parameter), |ask| Step::Ask(ask, self.wanted_reply()))
    }

    fn keep(&self, heard: Option<Heard>) -> Step {
        heard.map_or_else(|| self.refuse(Fault::Parameter), |heard| Step::Keep(heard, self.wanted_reply()))
    }

    /// A message has no time of its own.
    fn times(&self, is_upload: bool) -> Times {
        Times { sent_ms: self.now_ms, is_upload }
    }

    fn post(&self) -> Step {
        let stored = |code: &str, value: &Json| thing_model::from_alink(self.device.product.function(code), value);
        let points = self.params().as_object().and_then(|values| points(values, self.times(false), &stored));
        self.keep(points.map(|points| Heard { points, events: Vec::new() }))
    }

    fn event(&self, code: &str) -> Step {
        let event = event(code, self.params(), self.times(false));
        self.keep(event.map(|event| Heard { points: Vec::new(), events: vec![event] }))
    }

    /// Values and events of the device, one of a code or a list of them, and of its sub-devices.
    fn pack(&self) -> Step {
        let subs = self.params()["subDevices"].as_array().map_or(&[][..], Vec::as_slice);
        if subs.len() > SUBS_MAX {
            return self.refuse(Fault::TooMany);
        }
        let own = self.heard(self.params(), false).filter(|heard| !heard.points.is_empty() || !heard.events.is_empty());
        let is_sound = own.is_some() || !subs.is_empty();
        let mut all: Vec<_> = own.map(|heard| (None, heard)).into_iter().collect();
        for sub in subs {
            let Some(one) = self.heard_of(sub, false) else { return self.refuse(Fault::Parameter) };
            all.push(one);
        }
        if is_sound { Step::KeepAll(all, self.wanted_reply()) } else { self.refuse(Fault::Parameter) }
    }

    fn batch(&self) -> Step {
        match self.heard(self.params(), true) {
            Some(heard) => Step::KeepAll(vec![(None, heard)], self.wanted_reply()),
            None => self.refuse(Fault::Parameter),
        }
    }

    /// A list of devices, each with lists of values and of events.
    fn history(&self) -> Step {
        let Some(items) = self.params().as_array().filter(|items| items.len() <= SUBS_MAX) else {
            return self.refuse(Fault::Parameter);
        };
        match items.iter().map(|item| self.heard_of(item, true)).collect::<Option<Vec<_>>>() {
            Some(all) => Step::KeepAll(all, self.wanted_reply()),
            None => self.refuse(Fault::Parameter),
        }
    }

    fn heard_of(&self, item: &Json, is_upload: bool) -> Option<(Option<String>, Heard)> {
        let identity = &item["identity"];
        let name = if identity.is_null() {
            name(self.device)
        } else {
            format!("{}/{}", identity["productKey"].as_str()?, identity["deviceName"].as_str()?)
        };
        Some(((name != self::name(self.device)).then_some(name), self.heard(item, is_upload)?))
    }

    /// Both members are objects, or lists of objects. The values are as they were sent: whose they are is not known here.
    fn heard(&self, data: &Json, is_upload: bool) -> Option<Heard> {
        let times = self.times(is_upload);
        let mut heard = Heard::default();
        for values in objects(&data["properties"])? {
            heard.points.extend(points(values, times, &|_, value| value.to_string())?);
        }
        for events in objects(&data["events"])? {
            for (code, given) in events {
                let list = given.as_array().map_or(std::slice::from_ref(given), Vec::as_slice);
                for one in list {
                    heard.events.push(event(code, one, times)?);
                }
            }
        }
        (heard.points.len() + heard.events.len() <= POINTS_MAX).then_some(heard)
    }

    fn answered(&self, id: &Json, service: Option<&str>) -> Step {
        let data = &self.message["data"];
        let output = if data.is_null() { "{}".to_owned() } else { data.to_string() };
        let is_done = self.message["code"].as_i64().is_none_or(|code| code == encode::OK);
        Step::Answered(Answered {
            id: command_id(id),
            service: service.map(str::to_owned),
            output: is_done.then_some(output),
        })
    }

    fn desired_taken(&self) -> Option<Ask> {
        let change = |(code, taken): (&String, &Json)| FactChange {
            from_version: taken["version"].as_i64(),
            ..FactChange::forget(code)
        };
        Some(Ask::ForgetDesired(self.params().as_object()?.iter().map(change).collect()))
    }

    fn tags(&self) -> Option<Ask> {
        let items = self.params().as_array().filter(|items| items.len() <= FACTS_MAX)?;
        let tag = |item: &Json| Some(FactChange::set(item["attrKey"].as_str()?, text(&item["attrValue"])?));
        items.iter().map(tag).collect::<Option<_>>().map(Ask::ChangeTags)
    }

    fn tags_gone(&self) -> Option<Ask> {
        let items = self.params().as_array().filter(|items| items.len() <= FACTS_MAX)?;
        let tag = |item: &Json| Some(FactChange::forget(item["attrKey"].as_str()?));
        items.iter().map(tag).collect::<Option<_>>().map(Ask::ChangeTags)
    }

    fn firmware(&self) -> Step {
        let params = self.params();
        let part = params["module"].as_str().filter(|part| !part.is_empty()).unwrap_or(MAIN_PART);
        match text(&params["version"]) {
            Some(version) => Step::Ask(Ask::Firmware(vec![(part.to_owned(), version)]), None),
            None => Step::Refuse(Fault::Parameter, None),
        }
    }

    fn session(&self, below: &str) -> Step {
        let Some(kind) = below.strip_prefix("combine/") else { return Step::Dropped(Reason::UnknownTopic) };
        let params = self.params();
        match kind {
            "login" => self.ask(self.proven(&json!([params])).map(Ask::Login)),
            "batch_login" => {
                let method = &params["signMethod"];
                let mut list = params["deviceList"].clone();
                for item in list.as_array_mut().into_iter().flatten() {
                    if item["signMethod"].is_null() && item.is_object() {
                        item["signMethod"] = method.clone();
                    }
                }
                self.ask(self.proven(&list).map(Ask::Login))
            }
            "logout" => self.ask(self.subs(&json!([params])).map(Ask::Logout)),
            "batch_logout" => {
                let list = if params.is_array() { params } else { &params["deviceList"] };
                self.ask(self.subs(list).map(Ask::Logout))
            }
            _ => Step::Dropped(Reason::UnknownTopic),
        }
    }

    fn subs(&self, list: &Json) -> Option<Vec<DeviceClaim>> {
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

    fn register(&self) -> Option<Ask> {
        let items = self.params().as_array().filter(|items| items.len() <= SUBS_MAX)?;
        items.iter().map(|item| Some((factory_name(item)?, None))).collect::<Option<_>>().map(Ask::Register)
    }

    /// Devices that prove their products.
    fn register_by_product(&self) -> Option<Ask> {
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
        items.iter().map(sub).collect::<Option<_>>().map(Ask::Register)
    }

    /// The time, for a device without a clock; all of them texts.
    fn time(&self, name: &str) -> Step {
        let now = self.now_ms.to_string();
        let sent = &self.message["deviceSendTime"];
        let answer = json!({"deviceSendTime": sent, "serverRecvTime": now, "serverSendTime": now});
        let payload = answer.to_string().into_bytes();
        Step::Answer(Message { topic: format!("/ext/ntp/{name}/response"), payload })
    }
}

fn factory_name(item: &Json) -> Option<FactoryName> {
    let (product_key, device_name) = (item["productKey"].as_str()?, item["deviceName"].as_str()?);
    Some(FactoryName { product_key: product_key.to_owned(), device_name: device_name.to_owned() })
}

/// Values as they are stored, of what a device of this product sent.
pub fn stored(product: &Product, points: Vec<Said>) -> Vec<Said> {
    let value = |code: &str, value: Value| {
        let sent: Json = serde_json::from_str(value.as_json()).unwrap_or_default();
        Value::from_json(thing_model::from_alink(product.function(code), &sent)).unwrap_or(value)
    };
    points.into_iter().map(|(code, sent, when)| (code.clone(), value(&code, sent), when)).collect()
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
fn event(code: &str, given: &Json, times: Times) -> Option<Said> {
    let object = given.as_object()?;
    let output = object.get("value").unwrap_or(given);
    Some((code_of(code)?, Value::from_json(output.to_string())?, times.when(object.get("time"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_by_their_parts() {
        for (topic, area, name, below) in [
            ("/sys/pk/dn/thing/event/property/post", "/sys/", "pk/dn", "thing/event/property/post"),
            ("/sys/pk/dn", "/sys/", "pk/dn", ""),
            ("/sys/pk/dn/", "/sys/", "pk/dn", ""),
            ("/sys/pk/dn/#", "/sys/", "pk/dn", "#"),
            ("/shadow/update/pk/dn", "/shadow/update/", "pk/dn", ""),
            ("/ota/device/inform/pk/dn", "/ota/device/inform/", "pk/dn", ""),
            ("/ota/device/+/pk/dn", "/ota/device/+/", "pk/dn", ""),
            ("/ext/ntp/pk/dn/request", "/ext/ntp/", "pk/dn", "request"),
            ("/ext/rrpc/+/user/x", "/ext/rrpc/", "", "+/user/x"),
            ("/pk/dn/user/get", "/", "pk/dn", "user/get"),
        ] {
            assert_eq!(split(topic), Some(Topic { area, name, below }), "{topic}");
        }
        for topic in [
            "",
            "/",
            "//",
            "/sys/",
            "/sys//dn/x",
            "/sys/pk",
            "/sys/pk/",
            "/sys/pk//x",
            "pk/dn/x",
            "/ext/ntp",
            "#",
            "+/+",
        ] {
            assert_eq!(split(topic), None, "{topic}");
        }
    }
}
