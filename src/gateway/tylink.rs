//! TuyaLink: topics below `tylink/{deviceId}/` (contract tuya §6).

use serde_json::{Value as Json, json};

use super::payload::{Message, Step, points, time_ms};
use crate::domain::Device;

const PREFIX: &str = "tylink/";
/// Parameters that cannot be.
const INVALID_PARAMETER: i64 = 1002;
/// A payload that is no JSON of the protocol's form.
const DATA_FORMAT: i64 = 1003;

/// The topic after which everything is sent down without further subscriptions.
pub fn auto_subscription(device: &Device) -> String {
    format!("{PREFIX}{}/channel/downlink/auto_subscribe", device.id)
}

/// The part of a topic or filter below the device's own prefix.
pub fn own<'a>(device: &Device, topic: &'a str) -> Option<&'a str> {
    topic.strip_prefix(PREFIX)?.strip_prefix(device.id.as_str())?.strip_prefix('/')
}

/// What a message of the device asks for.
pub fn step(device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> Step {
    let Some(below) = own(device, topic) else { return Step::Foreign };
    match below {
        "thing/property/report" => report(topic, payload, now_ms),
        "ext/time/request" => time(device, payload, now_ms),
        _ => Step::Nothing,
    }
}

/// Only `sys.ack` = 1 wants a reply.
fn report(topic: &str, payload: &[u8], now_ms: i64) -> Step {
    let Ok(message) = serde_json::from_slice::<Json>(payload) else { return Step::Nothing };
    let reply = |code: i64| {
        let wanted = message["sys"]["ack"].as_i64() == Some(1);
        wanted.then(|| Message {
            topic: format!("{topic}_response"),
            payload: json!({"msgId": message["msgId"], "time": now_ms, "code": code}).to_string().into_bytes(),
        })
    };
    let refused = |code| reply(code).map_or(Step::Nothing, Step::Answer);
    let Some(values) = message["data"].as_object() else { return refused(DATA_FORMAT) };
    let Some(sent_ms) = time_ms(message.get("time"), now_ms) else { return refused(INVALID_PARAMETER) };
    match points(values, sent_ms, |_, value| value.to_string()) {
        Some(points) => Step::Keep { points, kept: reply(0), refused: reply(INVALID_PARAMETER) },
        None => refused(INVALID_PARAMETER),
    }
}

/// The time, for a device without a clock: what it sent, and when that came and went.
fn time(device: &Device, payload: &[u8], now_ms: i64) -> Step {
    let Ok(message) = serde_json::from_slice::<Json>(payload) else { return Step::Nothing };
    let data = json!({"bizType": "NTP", "dst": message["data"]["dst"], "srt": now_ms, "sst": now_ms});
    let payload = json!({"msgId": message["msgId"], "time": now_ms, "code": 0, "data": data}).to_string().into_bytes();
    Step::Answer(Message { topic: format!("{PREFIX}{}/ext/time/response", device.id), payload })
}
