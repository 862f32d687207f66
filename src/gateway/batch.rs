//! The messages that came in one read of a connection, until their reports are on disk.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::dialect::{DeviceResponse, Fault, Message, ReplyTo};
use crate::domain::Device;
use crate::domain::data_point::Reported;
use crate::mqtt::codec::PublishAckReason;
use crate::refusals::Reason;

/// The messages that came in one read.
#[derive(Default)]
pub struct Batch {
    /// Reported rows, which are committed together.
    pub rows: Reported,
    /// Packets to acknowledge after the commit, each with what became of the message.
    pub acknowledgements: Vec<(NonZeroU16, Outcome)>,
    /// Responses, in the order of the messages.
    pub responses: Vec<Response>,
    /// Whether the responses are many already: the packets that follow are another batch.
    pub is_full: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is accepted.
    Accepted,
    /// Nothing here reads it.
    Ignored(Reason),
    /// It is refused.
    Refused(Fault),
    /// Its topic is not the sender's.
    ForeignTopic,
}

impl Outcome {
    /// The outcome of a message by its result.
    pub fn of<T>(outcome: &Result<T, Fault>) -> Self {
        outcome.as_ref().map_or_else(|fault| Self::Refused(*fault), |_| Self::Accepted)
    }

    /// How MQTT 5 acknowledges it.
    pub fn reason_code(self) -> PublishAckReason {
        match self {
            Self::Accepted => PublishAckReason::Success,
            Self::Ignored(_) => PublishAckReason::NoMatchingSubscribers,
            Self::ForeignTopic => PublishAckReason::NotAuthorized,
            Self::Refused(fault) => match fault {
                // Part of it is stored, or what was requested does not exist.
                Fault::Part | Fault::Absent => PublishAckReason::Success,
                Fault::Format | Fault::Parameter | Fault::Unfit | Fault::All => PublishAckReason::PayloadFormatInvalid,
                Fault::Device | Fault::Proof | Fault::Topology => PublishAckReason::NotAuthorized,
                Fault::TooMany => PublishAckReason::QuotaExceeded,
                Fault::Method => PublishAckReason::TopicNameInvalid,
                Fault::Service => PublishAckReason::ImplementationSpecificError,
            },
        }
    }

    /// Under which reason it is counted and logged, if it is.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Accepted => None,
            Self::Ignored(reason) => Some(reason),
            Self::ForeignTopic => Some(Reason::ForeignTopic),
            Self::Refused(fault) => match fault {
                Fault::Format => Some(Reason::UnreadablePayload),
                Fault::Parameter => Some(Reason::Parameter),
                Fault::Unfit | Fault::Part | Fault::All => Some(Reason::Unfit),
                Fault::Device | Fault::Topology => Some(Reason::SubDevice),
                Fault::Proof => Some(Reason::Proof),
                Fault::TooMany => Some(Reason::TooMany),
                Fault::Method => Some(Reason::UnknownTopic),
                // A failure of the server is logged where it happens.
                Fault::Absent | Fault::Service => None,
            },
        }
    }
}

/// A response that waits for the commit.
pub enum Response {
    /// As it is.
    Ready(Message),
    /// To a report of a device: another one if the commit fails.
    ToReport(Arc<Device>, ReplyTo, Result<DeviceResponse, Fault>),
}

impl Response {
    /// The bytes of a response to a report besides its topic and id, roughly.
    const REPLY_BYTES: usize = 128;

    /// Its size in bytes, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ready(message) => message.topic.len() + message.payload.len(),
            Self::ToReport(_, reply, _) => reply.topic.len() + reply.id.len() + Self::REPLY_BYTES,
        }
    }
}
