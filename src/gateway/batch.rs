//! What came in one read of a connection, until its reports are on disk.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::payload::{Fault, Message, Reply, Told};
use crate::domain::Device;
use crate::domain::data_point::Reported;

/// What came in one read.
#[derive(Default)]
pub struct Batch {
    /// Rows that are kept together.
    pub reported: Reported,
    /// Packets to acknowledge when they are.
    pub acknowledged: Vec<NonZeroU16>,
    /// Answers, in the order of what they answer.
    pub answers: Vec<Answer>,
    /// Whether more was said than is answered at once.
    pub is_cut: bool,
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
