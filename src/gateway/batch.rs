//! What came in one read of a connection, until its reports are on disk.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::dialect::{Fault, Message, Reply, Told};
use crate::domain::Device;
use crate::domain::data_point::Reported;
use crate::mqtt::codec::Verdict;
use crate::refusals::Reason;

/// What came in one read.
#[derive(Default)]
pub struct Batch {
    /// Rows that are kept together.
    pub reported: Reported,
    /// Packets to acknowledge when they are, each with what became of it.
    pub acknowledged: Vec<(NonZeroU16, Verdict)>,
    /// Answers, in the order of what they answer.
    pub answers: Vec<Answer>,
    /// Whether more was said than is answered at once.
    pub is_cut: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept, done or answered.
    Taken,
    /// Nothing here reads it.
    Dropped(Reason),
    /// It is refused.
    Refused(Fault),
    /// Its topic is not the sender's.
    Foreign,
}

impl Fate {
    /// Of a message by what came of it.
    pub fn of<T>(outcome: &Result<T, Fault>) -> Self {
        outcome.as_ref().map_or_else(|fault| Self::Refused(*fault), |_| Self::Taken)
    }

    /// How MQTT 5 acknowledges it.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Taken => Verdict::Success,
            Self::Dropped(_) => Verdict::NoMatchingSubscribers,
            Self::Foreign => Verdict::NotAuthorized,
            Self::Refused(fault) => match fault {
                // Part of it is kept, or there was nothing to be had.
                Fault::Part | Fault::Absent => Verdict::Success,
                Fault::Format | Fault::Parameter | Fault::Unfit | Fault::All => Verdict::PayloadFormatInvalid,
                Fault::Device | Fault::Proof | Fault::Topology => Verdict::NotAuthorized,
                Fault::TooMany => Verdict::QuotaExceeded,
                Fault::Method => Verdict::TopicNameInvalid,
                Fault::Service => Verdict::ImplementationSpecificError,
            },
        }
    }

    /// Under which reason it is counted and logged, if it is.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Taken => None,
            Self::Dropped(reason) => Some(reason),
            Self::Foreign => Some(Reason::ForeignTopic),
            Self::Refused(fault) => match fault {
                Fault::Format => Some(Reason::UnreadablePayload),
                Fault::Parameter => Some(Reason::Parameter),
                Fault::Unfit | Fault::Part | Fault::All => Some(Reason::Unfit),
                Fault::Device | Fault::Topology => Some(Reason::SubDevice),
                Fault::Proof => Some(Reason::Proof),
                Fault::TooMany => Some(Reason::TooMany),
                Fault::Method => Some(Reason::UnknownTopic),
                // A server that fails says so where it fails.
                Fault::Absent | Fault::Service => None,
            },
        }
    }
}

/// An answer that waits until what came with it is kept.
pub enum Answer {
    /// As it is.
    Ready(Message),
    /// To a report of a device: another one when it cannot be kept.
    OfReport(Arc<Device>, Reply, Result<Told, Fault>),
}

impl Answer {
    /// What is in an answer besides its topic, roughly.
    const REPLY_BYTES: usize = 128;

    /// Its size, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ready(message) => message.topic.len() + message.payload.len(),
            Self::OfReport(_, reply, _) => reply.topic.len() + reply.id.len() + Self::REPLY_BYTES,
        }
    }
}
