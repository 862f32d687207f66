//! LinkKit (Alink): topics below `/sys/{productKey}/{deviceName}/` and its siblings (contract aliyun §6.1 to §6.4).

mod decode;
mod encode;

use serde_json::Value as Json;

use super::super::auth::{Claim, Intent, Proof, Registration, digits, field, method};
use super::{DeviceDialect, DeviceMessage, DeviceResponse, Fault, ForeignTopic, Message, ReplyTo, UNNAMED};
use crate::domain::command::Command;
use crate::domain::data_point::ReportedValue;
use crate::domain::device::FactoryName;
use crate::domain::session::{DeviceClaim, DeviceSecret};
use crate::domain::{Device, DeviceId, Product, Value};
use crate::mqtt::codec::Connect;
use crate::refusals::Reason;
use crate::thing_model;

/// Where calls of the device's own making come and go. They name no device: they are the connection's.
const RRPC: &str = "/ext/rrpc/";

/// Alibaba's protocol. With `_ss=1` in its client id a device is sent everything without any subscription.
pub struct LinkKit;

impl DeviceDialect for LinkKit {
    /// A client id has no form that distinguishes it from others.
    fn protocol(&self) -> &'static str {
        "linkkit"
    }

    fn recognizes(&self, _client_id: &str) -> bool {
        true
    }

    fn claim(&self, connect: &Connect) -> Option<Claim> {
        let (base, fields) = connect.client_id.split_once('|')?;
        let fields = fields.trim_end_matches(|c: char| c == '|' || c.is_whitespace());
        let field = |name: &str| field(fields, name).map(|(_, value)| value);
        let (device_name, product_key) = connect.username.trim().rsplit_once('&')?;
        let name = FactoryName { product_key: product_key.to_owned(), device_name: device_name.to_owned() };
        let receives_all = field("_ss") == Some("1");
        let method = method(field("signmethod").unwrap_or("hmacmd5"));
        let register = |registration| {
            let content = format!("deviceName{device_name}productKey{product_key}random{}", field("random")?);
            let proof = Proof { method: method?, contents: vec![content], given: digits(&connect.password)? };
            Some(Claim { intent: Intent::Register(name.clone(), registration), proof })
        };
        match field("authType") {
            None => {}
            Some("register") => return register(Registration::Existing),
            Some("regnwl") => return register(Registration::New),
            Some("connwl") => {
                // The client id and the token that the registration gave.
                let who = DeviceClaim::Registered(DeviceId(base.trim().to_owned()), name);
                let proof = Proof::same(&connect.password);
                return Some(Claim { intent: Intent::Session { who, receives_all }, proof });
            }
            Some(_) => return None,
        }
        let timestamp = field("timestamp").map(|at| format!("timestamp{at}")).unwrap_or_default();
        let content = |base: &str| format!("clientId{base}deviceName{device_name}productKey{product_key}{timestamp}");
        let contents = vec![content(base), content(base.trim())];
        let proof = Proof { method: method?, contents, given: digits(&connect.password)? };
        Some(Claim { intent: Intent::Session { who: DeviceClaim::Factory(name), receives_all }, proof })
    }

    fn encode_registration(&self, found: &DeviceSecret, registration: Registration) -> Option<Message> {
        Some(encode::registration(found, registration))
    }

    fn topic_name(&self, device: &Device) -> String {
        name(device)
    }

    fn device_of_topic<'a>(&self, topic: &'a str) -> Option<&'a str> {
        split(topic).map(|parts| parts.name)
    }

    fn decode(&self, device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> DeviceMessage {
        match split(topic) {
            Some(parts) => decode::decode(device, topic, parts, payload, now_ms),
            None => DeviceMessage::Ignored(Reason::UnknownTopic),
        }
    }

    fn to_stored(&self, product: &Product, points: Vec<ReportedValue>) -> Vec<ReportedValue> {
        let value = |code: &str, value: Value| {
            let sent: Json = serde_json::from_str(value.as_json()).unwrap_or_default();
            Value::from_json(thing_model::from_alink(product.function(code), &sent)).unwrap_or(value)
        };
        points.into_iter().map(|(code, sent, when)| (code.clone(), value(&code, sent), when)).collect()
    }

    /// The protocol has no code for a part.
    fn keeps_partial_batches(&self) -> bool {
        false
    }

    fn encode_response(
        &self,
        device: &Device,
        to: ReplyTo,
        outcome: Result<&DeviceResponse, Fault>,
        _now_ms: i64,
    ) -> Message {
        let data = outcome.map(|response| encode::data(&device.product, response));
        encode::response(to, data.as_ref().map_err(|fault| *fault))
    }

    fn encode_command(&self, device: &Device, id: u32, command: &Command, _now_ms: i64) -> Message {
        match command {
            Command::Set(values) => encode::set(device, id, values),
            Command::Do { name, input } => encode::invoke(device, id, name, input),
        }
    }

    fn foreign_topic(&self, device: &Device, topic: &str, _payload: &[u8], _now_ms: i64) -> ForeignTopic {
        ForeignTopic::Respond(Some(encode::illegal_topic(device, topic)))
    }
}

/// A topic, or a filter, by its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Topic<'a> {
    /// What stands before the device, with its slashes.
    area: &'a str,
    /// `{productKey}/{deviceName}`, or [`UNNAMED`].
    name: &'a str,
    /// What stands after it.
    below: &'a str,
}

/// The parts of a topic or filter.
fn split(topic: &str) -> Option<Topic<'_>> {
    if let Some(below) = topic.strip_prefix(RRPC) {
        return Some(Topic { area: RRPC, name: UNNAMED, below });
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

/// The name of a device in topics.
fn name(device: &Device) -> String {
    format!("{}/{}", device.product.key, device.device_name)
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
