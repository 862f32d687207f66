//! What both device protocols have in common: what a message of a device asks for, and times and values in their JSON.

pub mod linkkit;
pub mod tuyalink;

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::auth::Proof;
use crate::domain::data_point::Said;
use crate::domain::device::FactoryName;
use crate::domain::event::CODE_BYTES_MAX;
use crate::domain::fact::{Desired, Fact, FactChange};
use crate::domain::row_time::When;
use crate::domain::session::{DeviceClaim, DeviceSecret};
use crate::domain::topology::NewSubDevice;
use crate::domain::{Device, Value};
use crate::refusals::Reason;

/// Data points and events that one message may carry.
pub const POINTS_MAX: usize = 512;
/// A message's id is given back up to this length; the vendors' own SDKs use up to 73 characters.
pub const ID_BYTES_MAX: usize = 256;

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
pub struct Heard {
    /// Values.
    pub points: Vec<Said>,
    /// Events of the thing model.
    pub events: Vec<Said>,
}

/// What a message of a device asks for.
pub enum Step {
    /// To keep what it says.
    Keep(Heard, Option<Reply>),
    /// To keep what it says of several devices, each by its name in topics, or `None` for itself.
    KeepAll(Vec<(Option<String>, Heard)>, Option<Reply>),
    /// To look something up or change it.
    Ask(Ask, Option<Reply>),
    /// To answer.
    Answer(Message),
    /// To pass on what came of a command.
    Answered(Answered),
    /// To refuse it, and to answer so if it wants an answer.
    Refuse(Fault, Option<Reply>),
    /// To drop it, as nothing here reads it.
    Dropped(Reason),
    /// Nothing: it is understood, and there is nothing to do.
    Nothing,
    /// Something on a topic that is not the device's own.
    Foreign,
}

/// What a device answers to a call of a service.
pub struct Answered {
    /// The number of the call, if the answer has one.
    pub id: Option<u32>,
    /// The service, if the answer names it.
    pub service: Option<String>,
    /// JSON text, or `None` when the device refused.
    pub output: Option<String>,
}

/// What a device may ask besides reporting.
pub enum Ask {
    /// Its tags; all when no key is named.
    Tags(Vec<String>),
    /// To set or forget tags.
    ChangeTags(Vec<FactChange>),
    /// The values that it should take; all when no code is named.
    Desired(Vec<String>),
    /// To forget such values, once it took them.
    ForgetDesired(Vec<FactChange>),
    /// To note versions of its firmware, by their parts.
    Firmware(Vec<(String, String)>),
    /// Its shadow, or a change of it.
    Shadow(Json),
    /// The devices behind it.
    Behind,
    /// To put devices behind it, each with what proves it.
    Attach(Vec<SubProof>),
    /// To take devices from behind it.
    Detach(Vec<DeviceClaim>),
    /// To speak for devices behind it, each with what proves it, if the protocol has that.
    Login(Vec<SubProof>),
    /// To speak for them no longer.
    Logout(Vec<DeviceClaim>),
    /// To become a user's, by a token.
    Pair(String),
    /// Ids for devices behind it that it names itself.
    Bind(Vec<NewSubDevice>),
    /// The secrets of devices behind it that never connected, each with what proves their product, if need be.
    Register(Vec<(FactoryName, Option<Vec<Proof>>)>),
}

/// A device behind a gateway, and what proves it: one of several forms of the same claim, or nothing.
pub struct SubProof {
    /// The device.
    pub who: DeviceClaim,
    /// Forms of its proof.
    pub proofs: Option<Vec<Proof>>,
}

/// What came of an [`Ask`].
pub enum Told {
    /// It is done.
    Done,
    /// Tags.
    Tags(Vec<Fact>),
    /// Values that the device should take.
    Desired(Vec<Desired>),
    /// Devices.
    Devices(Vec<Arc<Device>>),
    /// Devices with their secrets.
    Secrets(Vec<DeviceSecret>),
    /// What goes out as it is.
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
    /// There is none.
    Absent,
    /// The server failed.
    Service,
}

/// What is needed to answer a message.
#[derive(Debug)]
pub struct Reply {
    /// The topic of the answer.
    pub topic: String,
    /// The message's id, as JSON text.
    pub id: String,
    /// The message's method, as JSON text.
    pub method: String,
}

impl Reply {
    /// An answer that is a document of its own form.
    pub fn bare(topic: String) -> Self {
        Self { topic, id: String::new(), method: String::new() }
    }

    /// Whether it is such an answer.
    pub fn is_bare(&self) -> bool {
        self.id.is_empty()
    }
}

/// A time in seconds or milliseconds, told apart by its digits. A number that no clock shows is a time too: a device is
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

/// What the times in a message mean.
#[derive(Clone, Copy)]
pub struct Times {
    /// When it was sent, which is the time of what has none of its own.
    pub sent_ms: i64,
    /// Whether what has a time of its own is uploaded later.
    pub is_upload: bool,
}

impl Times {
    /// When something was so; `None` for a time that is none.
    pub fn when(self, own: Option<&Json>) -> Option<When> {
        match own {
            None | Some(Json::Null) => Some(When::Now(self.sent_ms)),
            Some(_) if self.is_upload => Some(When::Then(time_ms(own, self.sent_ms)?)),
            Some(_) => Some(When::Now(time_ms(own, self.sent_ms)?)),
        }
    }
}

/// How a protocol's value is stored, by its code.
pub type Stored<'a> = &'a dyn Fn(&str, &Json) -> String;

/// The points of an object of values, each bare, as `{"value", "time"}`, or as a list of those; `None` when one of
/// them cannot be.
pub fn points(values: &Map<String, Json>, times: Times, stored: Stored<'_>) -> Option<Vec<Said>> {
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

fn point(code: &str, given: &Json, times: Times, stored: Stored<'_>) -> Option<Said> {
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

/// The number by which an answer names its command.
pub fn command_id(id: &Json) -> Option<u32> {
    text(id)?.parse().ok()
}
