//! The protocols that devices use above MQTT, and what they have in common: what a message asks for, and times and
//! values in their JSON. A further protocol is a module here and a line in `DIALECTS`.

pub mod linkkit;
pub mod tuyalink;

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::auth::{Claim, Proof, Registration};
use crate::domain::attribute::{Attribute, AttributeChange, Desired};
use crate::domain::command::Command;
use crate::domain::data_point::ReportedValue;
use crate::domain::device::FactoryName;
use crate::domain::event::CODE_BYTES_MAX;
use crate::domain::row_time::ReportTime;
use crate::domain::session::{DeviceClaim, DeviceSecret};
use crate::domain::topology::NewSubDevice;
use crate::domain::{Device, Product, Value};
use crate::mqtt::codec::Connect;
use crate::refusals::Reason;

/// Data points and events that one message may carry.
pub const POINTS_MAX: usize = 512;
/// A message's id is given back up to this length; the vendors' own SDKs use up to 73 characters.
pub const ID_BYTES_MAX: usize = 256;
/// The name in topics that name no device: they belong to the device that connected.
pub const UNNAMED: &str = "";

/// Every protocol. The first that recognizes a client id has the connection, so the one that recognizes all of them is
/// the last.
static DIALECTS: [&dyn DeviceDialect; 2] = [&tuyalink::TuyaLink, &linkkit::LinkKit];

/// The protocol of a client, by its client id.
pub fn of_client_id(client_id: &str) -> Option<&'static dyn DeviceDialect> {
    DIALECTS.into_iter().find(|dialect| dialect.recognizes(client_id))
}

/// A protocol that devices use above MQTT: how a device proves itself, its topics, and how messages are read and
/// written. It decides nothing and keeps nothing; that is the session's.
pub trait DeviceDialect: Send + Sync {
    /// The name of the protocol in the log and in metrics.
    fn protocol(&self) -> &'static str;

    /// Whether a client id is of this protocol.
    fn recognizes(&self, client_id: &str) -> bool;

    /// What a CONNECT claims to be, and what proves it; `None` for one that cannot be read.
    fn claim(&self, connect: &Connect) -> Option<Claim>;

    /// The message that gives a device which registered its secret; `None` if the protocol has no registration.
    fn encode_registration(&self, _found: &DeviceSecret, _registration: Registration) -> Option<Message> {
        None
    }

    /// The name of a device in topics.
    fn topic_name(&self, device: &Device) -> String;

    /// The name of the device to which a topic or filter belongs, or [`UNNAMED`]; `None` for one that belongs to none.
    fn device_of_topic<'a>(&self, topic: &'a str) -> Option<&'a str>;

    /// What a message asks for that a device sent to a topic of its own.
    fn decode(&self, device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> DeviceMessage;

    /// Reported values in the form in which they are stored, of a device that is known only after decoding.
    fn to_stored(&self, _product: &Product, points: Vec<ReportedValue>) -> Vec<ReportedValue> {
        points
    }

    /// Whether a batch of which a part is refused is kept in part. If not, it is all or nothing.
    fn keeps_partial_batches(&self) -> bool;

    /// The response to a message.
    fn encode_response(
        &self,
        device: &Device,
        to: ReplyTo,
        outcome: Result<&DeviceResponse, Fault>,
        now_ms: i64,
    ) -> Message;

    /// A command, with the number by which its response names it.
    fn encode_command(&self, device: &Device, id: u32, command: &Command, now_ms: i64) -> Message;

    /// The filter that subscribes a device to everything, if the protocol has one.
    fn auto_subscription(&self, _device: &Device) -> Option<String> {
        None
    }

    /// What is done about a message to a topic that belongs to no device of the session.
    fn foreign_topic(&self, device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> ForeignTopic;
}

/// What is done about a message to a topic that belongs to no device of the session.
pub enum ForeignTopic {
    /// The connection is closed.
    Disconnect,
    /// It is refused, and a response sent if there is one.
    Respond(Option<Message>),
}

/// A message to a device.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The whole topic.
    pub topic: String,
    /// JSON.
    pub payload: Vec<u8>,
}

/// What a device reports of itself.
#[derive(Debug, Default)]
pub struct Report {
    /// Values.
    pub points: Vec<ReportedValue>,
    /// Events of the thing model.
    pub events: Vec<ReportedValue>,
}

/// What a message of a device asks for, each with where a response goes if one is wanted.
pub enum DeviceMessage {
    /// To store a report.
    Report(Report, Option<ReplyTo>),
    /// To store reports of several devices, each by its name in topics, or `None` for the sender.
    Reports(Vec<(Option<String>, Report)>, Option<ReplyTo>),
    /// To look something up or change it.
    Request(DeviceRequest, Option<ReplyTo>),
    /// To send this response.
    Respond(Message),
    /// To pass on what came of a command.
    CommandResponse(CommandResponse),
    /// To be refused.
    Invalid(Fault, Option<ReplyTo>),
    /// To be dropped: nothing here reads it.
    Ignored(Reason),
    /// Nothing more.
    Done,
}

/// What came of a command to do a service.
pub struct CommandResponse {
    /// The number of the command, if the response has one.
    pub id: Option<u32>,
    /// The service, if the response names it.
    pub service: Option<String>,
    /// JSON text, or `None` when the device refused.
    pub output: Option<String>,
}

/// What a device may request besides reporting.
pub enum DeviceRequest {
    /// Its tags; all when no key is named.
    Tags(Vec<String>),
    /// To set or delete tags.
    ChangeTags(Vec<AttributeChange>),
    /// Its desired values; all when no code is named.
    Desired(Vec<String>),
    /// To delete desired values, once it has taken them.
    ForgetDesired(Vec<AttributeChange>),
    /// To store the versions of its firmware, by their parts.
    ReportFirmware(Vec<(String, String)>),
    /// Its shadow, or a change of it.
    Shadow(Json),
    /// Its sub-devices.
    SubDevices,
    /// To make devices its sub-devices, each with what proves it.
    Attach(Vec<SubProof>),
    /// To give up sub-devices.
    Detach(Vec<DeviceClaim>),
    /// To bring sub-devices online in its session, each with what proves it, if the protocol has that.
    Login(Vec<SubProof>),
    /// To take them offline.
    Logout(Vec<DeviceClaim>),
    /// To be bound to a user, by a pairing token.
    Pair(String),
    /// Ids for sub-devices that it names itself.
    Bind(Vec<NewSubDevice>),
    /// The secrets of sub-devices that never connected, each with what proves their product, if need be.
    Register(Vec<(FactoryName, Option<Vec<Proof>>)>),
}

/// A sub-device, and what proves it: one of several forms of the same claim, or nothing.
pub struct SubProof {
    /// The device.
    pub who: DeviceClaim,
    /// Forms of its proof.
    pub proofs: Option<Vec<Proof>>,
}

/// The response to a [`DeviceRequest`].
pub enum DeviceResponse {
    /// It is done.
    Done,
    /// Tags.
    Tags(Vec<Attribute>),
    /// Desired values.
    Desired(Vec<Desired>),
    /// Devices.
    Devices(Vec<Arc<Device>>),
    /// Devices with their secrets.
    Secrets(Vec<DeviceSecret>),
    /// A document that is sent as it is.
    Document(Json),
}

/// Why a message is refused. Each protocol has its own code for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No JSON, or not of the protocol's form.
    Format,
    /// A member that cannot be.
    Parameter,
    /// A value that its function cannot have.
    Unfit,
    /// No such device, or none that the gateway may have.
    Device,
    /// Something that should prove a device does not.
    Proof,
    /// The device is not behind the gateway.
    Topology,
    /// More sub-devices than a message may have.
    TooMany,
    /// Part of a batch was refused, and the rest kept.
    Part,
    /// All of a batch was refused.
    All,
    /// Nothing that is offered here.
    Method,
    /// What was requested does not exist.
    Absent,
    /// The server failed.
    Service,
}

/// Where the response to a message goes, and what it repeats of the message.
#[derive(Debug)]
pub struct ReplyTo {
    /// The topic of the response.
    pub topic: String,
    /// The message's id, as JSON text.
    pub id: String,
    /// The message's method, as JSON text.
    pub method: String,
}

impl ReplyTo {
    /// A response that is a document of its own form.
    pub fn bare(topic: String) -> Self {
        Self { topic, id: String::new(), method: String::new() }
    }

    /// Whether it is such a response.
    pub fn is_bare(&self) -> bool {
        self.id.is_empty()
    }
}

/// A time in seconds or milliseconds, which the number of digits decides. An impossible time is accepted too: a device is
/// not refused because of its clock.
pub fn time_ms(time: Option<&Json>, now_ms: i64) -> Option<i64> {
    let number = match time {
        None | Some(Json::Null) => return Some(now_ms),
        Some(Json::Number(number)) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64))?,
        Some(Json::String(text)) => text.parse().ok()?,
        Some(_) => return None,
    };
    Some(if number < 100_000_000_000 { number.saturating_mul(1000) } else { number })
}

/// What kind of message contains a report.
#[derive(Clone, Copy)]
pub enum ReportKind {
    /// The present values, also if the device says when it measured them.
    Current,
    /// Values that were stored on the device and are uploaded later, each with its own time.
    Upload,
}

/// What the times in a message mean.
#[derive(Clone, Copy)]
pub struct Times {
    /// When the message was sent: the time of every value that has no time of its own.
    pub sent_ms: i64,
    /// What a time of its own means.
    pub kind: ReportKind,
}

impl Times {
    /// The time of one value; `None` if its own time is invalid.
    pub fn when(self, own: Option<&Json>) -> Option<ReportTime> {
        match (own, self.kind) {
            (None | Some(Json::Null), _) => Some(ReportTime::Live(self.sent_ms)),
            (Some(_), ReportKind::Current) => Some(ReportTime::Live(time_ms(own, self.sent_ms)?)),
            (Some(_), ReportKind::Upload) => Some(ReportTime::Late(time_ms(own, self.sent_ms)?)),
        }
    }
}

/// How a protocol's value is stored, by its code.
pub type Stored<'a> = &'a dyn Fn(&str, &Json) -> String;

/// The points of an object of values, each bare, as `{"value", "time"}`, or as a list of those; `None` when one of
/// them cannot be.
pub fn points(values: &Map<String, Json>, times: Times, stored: Stored<'_>) -> Option<Vec<ReportedValue>> {
    let mut points = Vec::with_capacity(values.len());
    for (code, given) in values {
        match given {
            Json::Array(items) if items.iter().all(is_timed) && !items.is_empty() => {
                for item in items {
                    points.push(point(code, item, times, stored)?);
                }
            }
            one => points.push(point(code, one, times, stored)?),
        }
        if points.len() > POINTS_MAX {
            return None;
        }
    }
    Some(points)
}

fn is_timed(given: &Json) -> bool {
    given.as_object().is_some_and(|object| object.contains_key("value"))
}

fn point(code: &str, given: &Json, times: Times, stored: Stored<'_>) -> Option<ReportedValue> {
    let (value, time) = match given.as_object().filter(|object| object.contains_key("value")) {
        Some(object) => (&object["value"], object.get("time")),
        None => (given, None),
    };
    Some((code_of(code)?, Value::from_json(stored(code, value))?, times.when(time)?))
}

/// A code that can be kept.
pub fn code_of(code: &str) -> Option<Arc<str>> {
    (1..=CODE_BYTES_MAX).contains(&code.len()).then(|| Arc::from(code))
}

/// The texts of a list; `None` when it has anything else or too many.
pub fn texts(list: &Json, max: usize) -> Option<Vec<String>> {
    let items = list.as_array().filter(|items| items.len() <= max)?;
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A text, or a number as its digits.
pub fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The number by which a response names its command.
pub fn command_id(id: &Json) -> Option<u32> {
    text(id)?.parse().ok()
}
