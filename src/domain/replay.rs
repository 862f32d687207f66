//! Protection against replays: a captured request cannot be sent again.

use async_trait::async_trait;

use super::{Cloud, ProjectNo, Result};

/// What identifies a signed request. Requests are the same if all members are equal.
#[derive(Clone, Copy, Debug)]
pub struct RequestId<'a> {
    /// The project that signed it.
    pub project: ProjectNo,
    /// The kind of request. All requests of a kind are valid for equally long.
    pub kind: &'static str,
    /// Those parts of the request that make it unique, such as its time and its nonce.
    pub parts: &'a [&'a str],
}

/// Whether a request is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The request is new.
    First,
    /// The request was received before.
    Again,
    /// Too many requests of the project and kind are stored to decide. The request was not stored.
    Full,
}

/// Remembers the requests that were received.
#[async_trait]
pub trait Replays: Send + Sync {
    /// Stores a request unless it is stored already, in one atomic step: of several calls with the same request, on whichever
    /// nodes, exactly one gets [`Seen::First`]. The request is remembered for at least twice `valid_ms` from `now_ms`, because
    /// it is valid from `valid_ms` before its own time to `valid_ms` after it. Only requests with a valid signature may be
    /// stored, and a project that stores too many affects only itself.
    ///
    /// # Errors
    /// [`super::Error::Store`] or [`super::Error::Busy`] if the memory cannot be reached; the request must be refused then.
    async fn first(&self, request: RequestId<'_>, now_ms: i64, valid_ms: i64) -> Result<Seen>;
}

impl Cloud {
    /// Whether a request with a valid signature is received for the first time. It is valid for at most `valid_ms`
    /// milliseconds before and after its own time.
    ///
    /// # Errors
    /// As of [`Replays::first`].
    pub async fn first_seen(&self, request: RequestId<'_>, valid_ms: i64) -> Result<Seen> {
        self.replays.first(request, self.now_ms(), valid_ms).await
    }
}
