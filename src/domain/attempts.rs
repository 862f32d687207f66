//! Limits failed logins: how often a key (an account, an address, or both together) may fail in a minute.

use std::net::IpAddr;

use async_trait::async_trait;

use super::{ProjectNo, Result};

/// What failures are counted by. The visual login has no project; failures at accounts of one project do not count for
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptKey<'a> {
    /// An account together with a client network.
    Pair(Option<ProjectNo>, &'a str, IpAddr),
    /// An account, from any network.
    Account(Option<ProjectNo>, &'a str),
    /// A client network, for any account.
    Address(Option<ProjectNo>, IpAddr),
}

/// What happens to a key after this number of failures in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is refused until the minute is over.
    Refused(u16),
    /// It may fail once more for each second of the minute.
    Slowed(u16),
}

impl Bound {
    /// How many failures are allowed, `passed_ms` milliseconds after the minute began.
    pub fn failures_max(self, passed_ms: i64) -> i64 {
        match self {
            Self::Refused(max) => max.into(),
            Self::Slowed(max) => i64::from(max) + passed_ms.max(0) / 1000,
        }
    }
}

/// Counts failures by key and minute.
///
/// A minute is a window of 60 s of `now_ms`, milliseconds since 1970, which is the same for all keys and after which all
/// counters are 0. Every later call, on whichever node, sees a failure that was counted; calls at the same time may miss it.
/// If memory is short, an implementation may count too much, and never too little. Both methods fail with
/// [`super::Error::Store`] or [`super::Error::Busy`] if the counters cannot be reached; the login is refused then.
#[async_trait]
pub trait Attempts: Send + Sync {
    /// Whether every key is below its bound in this minute. Counts nothing.
    async fn allow(&self, keys: &[(AttemptKey<'_>, Bound)], now_ms: i64) -> Result<bool>;
    /// Counts one failure of each key.
    async fn failed(&self, keys: &[(AttemptKey<'_>, Bound)], now_ms: i64) -> Result<()>;
}
