//! LinkKit: messages to a device.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::super::super::auth::Registration;
use super::super::{DeviceResponse, Fault, Message, ReplyTo};
use super::name;
use crate::domain::attribute::Desired;
use crate::domain::command::Setpoint;
use crate::domain::session::DeviceSecret;
use crate::domain::{Device, Product, Value};
use crate::thing_model;

/// The code of everything that went well.
pub const OK: i64 = 200;

/// The code and text of each refusal.
fn code(fault: Fault) -> (i64, &'static str) {
    match fault {
        Fault::Format => (6207, "alink data is not json format"),
        Fault::Parameter | Fault::Unfit | Fault::Part | Fault::All => (460, "request parameter error"),
        Fault::TooMany => (429, "too many requests"),
        Fault::Device => (6100, "device not found"),
        Fault::Proof => (401, "request auth error"),
        Fault::Topology => (6401, "topo relation not exist"),
        Fault::Method => (6300, "method not found"),
        Fault::Absent => (6710, "no data"),
        Fault::Service => (500, "service error"),
    }
}

/// The responses to messages that name one device.
const SINGLE: [&str; 2] = ["/combine/login_reply", "/combine/logout_reply"];

/// The response to a message. Every response has all four of `id`, `code`, `data` and `message`: one client fails without.
pub fn response(to: ReplyTo, outcome: Result<&Json, Fault>) -> Message {
    if let (true, Ok(document)) = (to.is_bare(), outcome) {
        return Message { topic: to.topic, payload: document.to_string().into_bytes() };
    }
    // A message that names one device is answered with it, not with a list.
    let is_single = SINGLE.iter().any(|kind| to.topic.ends_with(kind));
    let single = outcome.ok().filter(|_| is_single).and_then(|data| data.get(0));
    let outcome = single.map_or(outcome, Ok);
    let ReplyTo { topic, id, method } = to;
    let (code, text) = outcome.as_ref().map_or_else(|fault| code(*fault), |_| (OK, "success"));
    let none = Json::Object(Map::new());
    let data = outcome.ok().filter(|data| !data.is_null()).unwrap_or(&none);
    let payload =
        format!(r#"{{"id":{id},"code":{code},"data":{data},"message":"{text}","method":{method},"version":"1.0"}}"#);
    Message { topic, payload: payload.into_bytes() }
}

/// Where the shadow's responses go; they have a form of their own.
pub fn shadow(name: &str) -> ReplyTo {
    ReplyTo::bare(format!("/shadow/get/{name}"))
}

/// The data of the response to a request.
pub fn data(product: &Product, response: &DeviceResponse) -> Json {
    match response {
        DeviceResponse::Done => Json::Null,
        DeviceResponse::Tags(attributes) => {
            attributes.iter().map(|attribute| json!({"attrKey": attribute.key, "attrValue": attribute.text})).collect()
        }
        DeviceResponse::Desired(desired) => {
            let value = |one: &Desired| thing_model::to_alink(product.function(&one.code), one.value.as_json());
            let member = |one: &Desired| (one.code.clone(), json!({"value": value(one), "version": one.version}));
            desired.iter().map(member).collect::<Map<_, _>>().into()
        }
        DeviceResponse::Devices(devices) => {
            let device = |device: &Arc<Device>| json!({"productKey": device.product.key, "deviceName": device.device_name, "iotId": device.iot_id});
            devices.iter().map(device).collect()
        }
        DeviceResponse::Secrets(found) => {
            let secret = |found: &DeviceSecret| {
                json!({"productKey": found.device.product.key, "deviceName": found.device.device_name,
                    "iotId": found.device.iot_id, "deviceSecret": found.secret})
            };
            found.iter().map(secret).collect()
        }
        DeviceResponse::Document(document) => document.clone(),
    }
}

/// A command to set values.
pub fn set(device: &Device, id: u32, values: &[Setpoint]) -> Message {
    let value = |code: &str, value: &Value| thing_model::to_alink(device.product.function(code), value.as_json());
    let params: Map<String, Json> =
        values.iter().map(|(code, wanted)| (code.to_string(), value(code, wanted))).collect();
    serve(device, id, "property/set", &params.into())
}

/// The service to read values stands on a topic of its own.
const GET: (&str, &str) = ("get", "property/get");

/// The service of a topic below `thing/service/`.
pub fn service_of(topic: &str) -> &str {
    if topic == GET.1 { GET.0 } else { topic }
}

/// A command to do a service.
pub fn invoke(device: &Device, id: u32, service: &str, input: &Value) -> Message {
    let input: Json = serde_json::from_str(input.as_json()).unwrap_or_default();
    let service = if service == GET.0 { GET.1 } else { service };
    serve(device, id, service, &input)
}

fn serve(device: &Device, id: u32, service: &str, params: &Json) -> Message {
    let method = format!("thing.service.{}", service.replace('/', "."));
    let payload = json!({"method": method, "id": id.to_string(), "params": params, "version": "1.0.0"});
    let topic = format!("/sys/{}/thing/service/{service}", name(device));
    Message { topic, payload: payload.to_string().into_bytes() }
}

/// The error about a topic that is not the device's own.
pub fn illegal_topic(device: &Device, topic: &str) -> Message {
    let payload = json!({"id": "0", "code": 6813, "data": {"topic": topic}, "message": "topic illegal"});
    Message { topic: format!("/ext/error/{}", name(device)), payload: payload.to_string().into_bytes() }
}

/// What a device gets that registered: its secret, or a client id and a token that stands for it.
pub fn registration(found: &DeviceSecret, registration: Registration) -> Message {
    let (device, secret) = (&found.device, &found.secret);
    let (key, name) = (&device.product.key, &device.device_name);
    let (topic, payload) = if registration == Registration::New {
        let payload =
            json!({"clientId": device.id.as_str(), "productKey": key, "deviceName": name, "deviceToken": secret});
        ("/ext/regnwl", payload)
    } else {
        ("/ext/register", json!({"productKey": key, "deviceName": name, "deviceSecret": secret}))
    };
    Message { topic: topic.to_owned(), payload: payload.to_string().into_bytes() }
}
