//! Messages of simulated devices: CONNECT, reports and answers (contract tuya §6, aliyun §6).

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v3::{Codec, Connect, Packet};
use serde_json::{Map, Value as Json, json};
use sha2::Sha256;
use tokio_util::codec::Encoder;

use super::world::{Kind, kind};
use crate::hex;

/// The keep-alive interval in seconds.
const KEEP_ALIVE_S: u16 = 1200;
/// Maximum length of a packet.
pub const PACKET_BYTES_MAX: u32 = 260 * 1024;

/// The byte that marks the message number in a form, and the width of the number.
const NUMBER: (u8, usize) = (b'~', 10);
/// The same for a time in milliseconds.
const TIME: (u8, usize) = (b'^', 13);
/// The same for a value. JSON allows blanks before a number.
const VALUE: (u8, usize) = (b'*', 5);

/// The protocol above MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Tuya's.
    TuyaLink,
    /// Alibaba's.
    LinkKit,
}

/// The identity of a device. Without `Debug`, because it contains the secret.
pub struct Identity {
    /// The device id in both clouds.
    pub device_id: String,
    /// The product key in LinkKit.
    pub product_key: String,
    /// The device name in LinkKit.
    pub device_name: String,
    /// The device secret.
    pub secret: String,
}

impl Identity {
    /// The CONNECT packet.
    pub fn connect(&self, protocol: Protocol, is_tls: bool, subscribes: bool, now_ms: i64) -> Bytes {
        let Self { device_id, product_key, device_name, .. } = self;
        let (client_id, username, content) = match protocol {
            Protocol::TuyaLink => {
                let fields = format!("timestamp={},secureMode=1,accessType=1", now_ms / 1000);
                let username = format!("{device_id}|signMethod=hmacSha256,{fields}");
                (format!("tuyalink_{device_id}"), username, format!("deviceId={device_id},{fields}"))
            }
            Protocol::LinkKit => {
                let base = format!("{product_key}&{device_name}");
                let mode = if is_tls { 2 } else { 3 };
                let auto = if subscribes { ",_ss=1" } else { "" };
                let client_id = format!("{base}|securemode={mode},signmethod=hmacsha256{auto},timestamp={now_ms}|");
                let content = format!("clientId{base}deviceName{device_name}productKey{product_key}timestamp{now_ms}");
                (client_id, format!("{device_name}&{product_key}"), content)
            }
        };
        encoded(Packet::from(Connect {
            clean_session: true,
            keep_alive: KEEP_ALIVE_S,
            client_id: client_id.into(),
            username: Some(username.into()),
            password: Some(mac(&self.secret, &content).into()),
            ..Connect::default()
        }))
    }

    /// The SUBSCRIBE packet for all messages to the device, if the protocol needs one.
    pub fn subscription(&self, protocol: Protocol) -> Option<Bytes> {
        let Self { device_id, .. } = self;
        let filter = match protocol {
            Protocol::TuyaLink => format!("tylink/{device_id}/channel/downlink/auto_subscribe"),
            Protocol::LinkKit => return None,
        };
        let topic_filters = vec![(filter.into(), QoS::AtLeastOnce)];
        Some(encoded(Packet::Subscribe { packet_id: NonZeroU16::MIN, topic_filters }))
    }

    fn report_topic(&self, protocol: Protocol) -> String {
        let Self { device_id, product_key, device_name, .. } = self;
        match protocol {
            Protocol::TuyaLink => format!("tylink/{device_id}/thing/property/report"),
            Protocol::LinkKit => format!("/sys/{product_key}/{device_name}/thing/event/property/post"),
        }
    }

    /// A report with QoS 1 and this payload. Its packet id is not yet set.
    pub fn report(&self, protocol: Protocol, payload: &[u8]) -> Report {
        let topic = self.report_topic(protocol);
        let bytes = publish(&topic, Some(NonZeroU16::MIN), payload.to_vec());
        Report { payload_at: bytes.len() - payload.len(), bytes: bytes.into() }
    }
}

/// A report in wire format. It is reused for all regular reports.
pub struct Report {
    bytes: BytesMut,
    payload_at: usize,
}

impl Report {
    /// The packet in wire format.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload of the packet.
    pub fn payload(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.payload_at..).unwrap_or_default()
    }

    /// Sets the packet id and the flag of a repeated message.
    pub fn name(&mut self, id: NonZeroU16, again: bool) {
        const AGAIN: u8 = 0b1000;
        let [high, low] = id.get().to_be_bytes();
        if let Some(place) = self.payload_at.checked_sub(2).and_then(|at| self.bytes.get_mut(at..at + 2)) {
            place.copy_from_slice(&[high, low]);
        }
        if let Some(first) = self.bytes.first_mut() {
            *first = if again { *first | AGAIN } else { *first & !AGAIN };
        }
    }
}

/// The template of every regular report, with the positions of its numbers.
pub struct Form {
    payload: Vec<u8>,
    numbers: Vec<usize>,
    times: Vec<usize>,
    values: Vec<(usize, Kind)>,
    protocol: Protocol,
}

impl Form {
    /// A template for these codes. A device that does not subscribe requests no reply.
    pub fn new(protocol: Protocol, codes: &[String], subscribes: bool) -> Self {
        let blank = |(mark, width): (u8, usize)| char::from(mark).to_string().repeat(width);
        let (number, time, value) = (blank(NUMBER), blank(TIME), blank(VALUE));
        let points: Vec<String> =
            codes.iter().map(|code| format!(r#""{code}":{{"value":{value},"time":{time}}}"#)).collect();
        let points = points.join(",");
        let payload = match protocol {
            Protocol::TuyaLink => format!(r#"{{"msgId":"{number}","time":{time},"data":{{{points}}}}}"#),
            Protocol::LinkKit => {
                let sys = if subscribes { "" } else { r#""sys":{"ack":0},"# };
                let method = r#""method":"thing.event.property.post""#;
                format!(r#"{{"id":"{number}","version":"1.0",{sys}"params":{{{points}}},{method}}}"#)
            }
        };
        let payload = payload.into_bytes();
        let kinds = (0..).map(kind);
        Self {
            numbers: places(&payload, NUMBER.0),
            times: places(&payload, TIME.0),
            values: places(&payload, VALUE.0).into_iter().zip(kinds).collect(),
            payload,
            protocol,
        }
    }

    /// The template itself.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Writes number, time and values into a payload. The values depend on `chance`.
    pub fn fill(&self, payload: &mut [u8], number: u64, time_ms: i64, chance: u64) {
        for at in &self.numbers {
            write(payload, *at, NUMBER.1, number, b'0');
        }
        let mut time = [0; TIME.1];
        write(&mut time, 0, TIME.1, time_ms.unsigned_abs(), b'0');
        for at in &self.times {
            if let Some(place) = payload.get_mut(*at..at + TIME.1) {
                place.copy_from_slice(&time);
            }
        }
        let mut chance = pseudorandom(chance ^ number);
        for (at, kind) in &self.values {
            chance = pseudorandom(chance);
            match (kind, self.protocol) {
                (Kind::Switch, Protocol::TuyaLink) => {
                    if let Some(place) = payload.get_mut(*at..at + VALUE.1) {
                        place.copy_from_slice(if chance & 1 == 0 { b"false" } else { b" true" });
                    }
                }
                (Kind::Switch, Protocol::LinkKit) => write(payload, *at, VALUE.1, chance & 1, b' '),
                (Kind::Number { max }, _) => write(payload, *at, VALUE.1, chance % (max + 1), b' '),
            }
        }
    }
}

fn places(payload: &[u8], mark: u8) -> Vec<usize> {
    let starts = |at: &usize| payload[*at] == mark && at.checked_sub(1).is_none_or(|before| payload[before] != mark);
    (0..payload.len()).filter(starts).collect()
}

/// Writes a number, aligned to the right, at a position.
fn write(payload: &mut [u8], at: usize, width: usize, mut number: u64, blank: u8) {
    let Some(place) = payload.get_mut(at..at + width) else { return };
    let mut is_first = true;
    for digit in place.iter_mut().rev() {
        *digit = if number > 0 || is_first { b'0' + (number % 10) as u8 } else { blank };
        number /= 10;
        is_first = false;
    }
}

fn pseudorandom(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) ^ (mixed >> 31)
}

/// A report of values that a command set.
pub fn report_of(protocol: Protocol, values: &Map<String, Json>, number: u64, time_ms: i64) -> Vec<u8> {
    let points = values.iter().map(|(code, value)| (code.clone(), json!({"value": value, "time": time_ms})));
    let (id, points) = (number.to_string(), Json::Object(points.collect()));
    let message = match protocol {
        Protocol::TuyaLink => json!({"msgId": id, "time": time_ms, "data": points}),
        Protocol::LinkKit => {
            json!({"id": id, "version": "1.0", "params": points, "method": "thing.event.property.post"})
        }
    };
    message.to_string().into_bytes()
}

/// The values that a message to the device sets, and the answer to it; `None` if it sets none.
pub fn set(protocol: Protocol, message: &Publish, time_ms: i64) -> Option<(Map<String, Json>, Bytes)> {
    if !message.topic.ends_with("/property/set") {
        return None;
    }
    let mut command: Json = serde_json::from_slice(&message.payload).ok()?;
    let (values, ending, answer) = match protocol {
        Protocol::TuyaLink => {
            let answer = json!({"msgId": command["msgId"], "time": time_ms, "code": 0});
            (command["data"].take(), "_response", answer)
        }
        Protocol::LinkKit => {
            (command["params"].take(), "_reply", json!({"id": command["id"], "code": 200, "data": {}}))
        }
    };
    let Json::Object(values) = values else { return None };
    Some((values, publish(&format!("{}{ending}", message.topic), None, answer.to_string().into_bytes())))
}

/// A PUBLISH packet, with QoS 1 if it has an id.
fn publish(topic: &str, packet_id: Option<NonZeroU16>, payload: Vec<u8>) -> Bytes {
    let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    encoded(Packet::from(Publish {
        dup: false,
        retain: false,
        qos,
        topic: topic.into(),
        packet_id,
        payload: payload.into(),
        properties: None,
    }))
}

/// The packet in wire format; empty if it cannot be encoded, which does not occur for packets of these devices.
pub fn encoded(packet: Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    match Codec::new(PACKET_BYTES_MAX).encode(packet, &mut bytes) {
        Ok(()) => bytes.freeze(),
        Err(_) => Bytes::new(),
    }
}

/// The HMAC of a content, in hex digits.
pub fn mac(secret: &str, content: &str) -> String {
    let code = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let code = code.map(|mac| mac.chain_update(content).finalize().into_bytes());
    code.map(hex::encode).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_vectors() {
        let tuya = "deviceId=6c828cba434ff40c074wF2,timestamp=1607635284,secureMode=1,accessType=1";
        let expected = "4cea272e1dcbb36b31bfabaaca08fbf652a16393b375cb3387912adff30f7253";
        assert_eq!(mac("5c1e2d3f4a5b6c7d", tuya), expected);
    }

    #[test]
    fn a_filled_form_is_json_with_the_figures() {
        let codes = super::super::world::codes(3);
        for (protocol, values) in [(Protocol::TuyaLink, "data"), (Protocol::LinkKit, "params")] {
            let form = Form::new(protocol, &codes, false);
            let who = Identity {
                device_id: "sim000001".into(),
                product_key: "pk".into(),
                device_name: "dn".into(),
                secret: String::new(),
            };
            let mut report = who.report(protocol, form.payload());
            let mut seen = std::collections::BTreeSet::new();
            for number in 1..50 {
                form.fill(report.payload(), number, 1_760_000_000_000 + number as i64, 7);
                let json: Json = serde_json::from_slice(report.payload()).unwrap();
                assert_eq!(json[values].as_object().unwrap().len(), 3);
                assert_eq!(json[values][&codes[2]]["time"], 1_760_000_000_000 + number as i64);
                assert_eq!(json[values][&codes[0]]["value"].is_boolean(), protocol == Protocol::TuyaLink);
                seen.insert(json[values][&codes[1]]["value"].as_u64().unwrap());
            }
            assert!(seen.len() > 40, "{seen:?}");
            report.name(NonZeroU16::new(0x1234).unwrap(), true);
            assert_eq!(report.bytes()[0], 0x3A);
            let at = report.bytes().len() - form.payload().len();
            assert_eq!(report.bytes()[at - 2..at], [0x12, 0x34]);
        }
    }
}
