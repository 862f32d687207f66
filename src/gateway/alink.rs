//! LinkKit (Alink): topics below `/sys/{productKey}/{deviceName}/` and its siblings (contract aliyun §6.2, §6.3).

use serde_json::{Value as Json, json};

use super::payload::{Message, Step, points};
use crate::domain::Device;
use crate::thing_model;

const OK: i64 = 200;
const PARAMETER_ERROR: i64 = 460;
const NOT_JSON: i64 = 6207;

/// The areas below which a device has topics of its own.
const AREAS: [&str; 8] =
    ["/sys/", "/shadow/update/", "/shadow/get/", "/ota/device/", "/ext/ntp/", "/ext/session/", "/ext/error/", "/"];

/// Whether a topic or filter is the device's own, and none that could match another's.
pub fn is_own(device: &Device, topic: &str) -> bool {
    let name = format!("{}/{}", device.product.key, device.device_name);
    AREAS.iter().filter_map(|area| topic.strip_prefix(area)).any(|below| {
        // `/ota/device/inform/{pk}/{dn}`: the kind of message stands before the device there.
        let below = if topic.starts_with("/ota/device/") {
            below.split_once('/').map_or(below, |(kind, rest)| if kind.contains(['+', '#']) { below } else { rest })
        } else {
            below
        };
        below.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What a message of the device asks for.
pub fn step(device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> Step {
    if !is_own(device, topic) {
        return Step::Foreign;
    }
    let name = format!("{}/{}", device.product.key, device.device_name);
    let system = topic.strip_prefix("/sys/").and_then(|rest| rest.strip_prefix(&name)?.strip_prefix('/'));
    match system {
        Some("thing/event/property/post") => post(device, topic, payload, now_ms),
        _ if topic == format!("/ext/ntp/{name}/request") => ntp(&name, payload, now_ms),
        _ => Step::Nothing,
    }
}

/// Every reply has all four of `id`, `code`, `data` and `message`: one client fails without.
fn reply(topic: &str, message: &Json, code: i64) -> Message {
    let text = if code == OK { "success" } else { "request parameter error" };
    let id = match &message["id"] {
        Json::String(id) => json!(id),
        Json::Number(id) => json!(id.to_string()),
        _ => json!("0"),
    };
    let payload = json!({"id": id, "code": code, "data": {}, "message": text, "method": message["method"],
        "version": "1.0"});
    Message { topic: format!("{topic}_reply"), payload: payload.to_string().into_bytes() }
}

fn post(device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> Step {
    let Ok(message) = serde_json::from_slice::<Json>(payload) else {
        return Step::Answer(reply(topic, &Json::Null, NOT_JSON));
    };
    let answer = |code: i64| {
        let wanted = message["sys"]["ack"].as_i64() != Some(0);
        wanted.then(|| reply(topic, &message, code))
    };
    let stored = |code: &str, value: &Json| thing_model::from_alink(device.product.function(code), value);
    let found = message["params"].as_object().and_then(|values| points(values, now_ms, stored));
    match found {
        Some(points) => Step::Keep { points, kept: answer(OK), refused: answer(PARAMETER_ERROR) },
        None => answer(PARAMETER_ERROR).map_or(Step::Nothing, Step::Answer),
    }
}

/// The time, for a device without a clock; all of them texts.
fn ntp(name: &str, payload: &[u8], now_ms: i64) -> Step {
    let Ok(message) = serde_json::from_slice::<Json>(payload) else { return Step::Nothing };
    let now = now_ms.to_string();
    let answer = json!({"deviceSendTime": message["deviceSendTime"], "serverRecvTime": now, "serverSendTime": now});
    let payload = answer.to_string().into_bytes();
    Step::Answer(Message { topic: format!("/ext/ntp/{name}/response"), payload })
}
