//! What both device protocols have in common: a step that a message asks for, and times and values in their JSON.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::domain::Value;
use crate::domain::event::CODE_BYTES_MAX;

/// Data points that one message may carry.
pub const POINTS_MAX: usize = 512;

/// A message to a device.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The whole topic.
    pub topic: String,
    /// JSON.
    pub payload: Vec<u8>,
}

/// A data point: code, value, milliseconds since 1970.
pub type Point = (Arc<str>, Value, i64);

/// What a message of a device asks for.
#[derive(Debug)]
pub enum Step {
    /// To keep these points, then to answer one way or the other.
    Keep {
        /// The points, in the order of the message.
        points: Vec<Point>,
        /// Once they are on disk.
        kept: Option<Message>,
        /// When they cannot be kept.
        refused: Option<Message>,
    },
    /// To answer.
    Answer(Message),
    /// Nothing that is known; it is taken and left at that.
    Nothing,
    /// Something on a topic that is not the device's own.
    Foreign,
}

/// A time in seconds or milliseconds, told apart by its digits.
pub fn time_ms(time: Option<&Json>, now_ms: i64) -> Option<i64> {
    let number = match time {
        None | Some(Json::Null) => return Some(now_ms),
        Some(Json::Number(number)) => number.as_i64()?,
        Some(Json::String(text)) => text.parse().ok()?,
        Some(_) => return None,
    };
    match number {
        0..=99_999_999_999 => number.checked_mul(1000),
        100_000_000_000.. => Some(number),
        _ => None,
    }
}

/// The points of an object of values, each bare or as `{"value", "time"}`; `None` when one of them cannot be.
pub fn points(
    values: &serde_json::Map<String, Json>,
    default_ms: i64,
    stored: impl Fn(&str, &Json) -> String,
) -> Option<Vec<Point>> {
    if values.len() > POINTS_MAX {
        return None;
    }
    let point = |(code, given): (&String, &Json)| {
        if code.is_empty() || code.len() > CODE_BYTES_MAX {
            return None;
        }
        let (value, time) = match given.as_object().filter(|object| object.contains_key("value")) {
            Some(object) => (&object["value"], object.get("time")),
            None => (given, None),
        };
        let value = Value::from_json(stored(code, value))?;
        Some((Arc::from(code.as_str()), value, time_ms(time, default_ms)?))
    };
    values.iter().map(point).collect()
}
