//! What a device needs to connect: for people who set up a device or try it with a client of their own.

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value as Json, json};
use sha2::Sha256;

use crate::domain::session::DeviceSecret;
use crate::domain::{Access, Function, FunctionType};
use crate::hex;
use crate::thing_model;

/// A protocol that devices use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Tuya's.
    TuyaLink,
    /// Alibaba's.
    LinkKit,
}

/// How a device connects in one protocol, at one time. No `Debug`: the password is a MAC made with the device's secret, and
/// neither protocol limits how long it may be used.
pub struct ConnectInfo {
    /// The MQTT client id.
    pub client_id: String,
    /// The MQTT user name.
    pub username: String,
    /// The MQTT password.
    pub password: String,
    /// The topic to which the device reports values.
    pub report_topic: String,
    /// The filter with which it receives commands and replies.
    pub command_filter: String,
    /// A report of one value that the product has, or of no value.
    pub payload: Json,
}

/// What a device needs to connect at a time, milliseconds since 1970.
pub fn connect_info(found: &DeviceSecret, protocol: Protocol, is_tls: bool, now_ms: i64) -> ConnectInfo {
    let device = &found.device;
    let (id, key, name) = (&device.id, &device.product.key, &device.device_name);
    let reported = |function: &&Function| {
        let is_simple = matches!(function.kind, FunctionType::Boolean | FunctionType::Integer | FunctionType::Enum);
        function.access != Access::WriteOnly && is_simple
    };
    let reported = device.product.functions.iter().find(reported);
    match protocol {
        Protocol::TuyaLink => {
            let fields = format!("timestamp={},secureMode=1,accessType=1", now_ms / 1000);
            let value = |function: &Function| json!({"value": thing_model::to_tuyalink(Some(function), &sample(function)), "time": now_ms});
            let data: Map<String, Json> = reported.map(|one| (one.code.clone(), value(one))).into_iter().collect();
            ConnectInfo {
                client_id: format!("tuyalink_{id}"),
                username: format!("{id}|signMethod=hmacSha256,{fields}"),
                password: mac(&found.secret, &format!("deviceId={id},{fields}")),
                report_topic: format!("tylink/{id}/thing/property/report"),
                command_filter: format!("tylink/{id}/channel/downlink/auto_subscribe"),
                payload: json!({"msgId": "1", "time": now_ms, "data": data}),
            }
        }
        Protocol::LinkKit => {
            let (base, mode) = (format!("{key}&{name}"), if is_tls { 2 } else { 3 });
            let value = |function: &Function| thing_model::to_alink(Some(function), &sample(function));
            let params: Map<String, Json> = reported.map(|one| (one.code.clone(), value(one))).into_iter().collect();
            ConnectInfo {
                client_id: format!("{base}|securemode={mode},signmethod=hmacsha256,timestamp={now_ms}|"),
                username: format!("{name}&{key}"),
                password: mac(
                    &found.secret,
                    &format!("clientId{base}deviceName{name}productKey{key}timestamp{now_ms}"),
                ),
                report_topic: format!("/sys/{key}/{name}/thing/event/property/post"),
                command_filter: format!("/sys/{key}/{name}/thing/service/property/set"),
                payload: json!({"id": "1", "version": "1.0", "params": params,
                    "method": "thing.event.property.post"}),
            }
        }
    }
}

fn mac(secret: &str, content: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    mac.map(|mac| hex::encode(mac.chain_update(content).finalize().into_bytes())).unwrap_or_default()
}

/// A value that a function allows, as stored: true, the smallest number or the first choice.
fn sample(function: &Function) -> Cow<'_, str> {
    if function.kind == FunctionType::Boolean { "true".into() } else { function.default_value() }
}
