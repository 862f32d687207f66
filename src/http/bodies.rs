//! The memory of request bodies. It is limited in total, and one client cannot use all of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;

use crate::repeated::Repeated;

/// The timeout for the rest of a refused body, because its sender occupies a connection and its buffers.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of bytes that are read of the rest of a refused body.
const DROPPED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum bytes per second of refused bodies in total, to limit the CPU time of reading them.
const DROPPED_BYTES_PER_SECOND: f64 = 16e6;
/// The first bytes of a body are not counted, because the number of connections limits them. So small requests are
/// answered even when large ones use the whole budget.
const SMALL_BYTES: usize = 8 * 1024;

/// Why a body could not be received.
#[derive(Debug)]
pub enum BodyError {
    /// It did not arrive in time.
    Late,
    /// It is longer than this many bytes.
    TooLong(usize),
    /// The limit for all bodies, or for those of the project or address, is reached.
    Busy,
    /// The connection was closed, or the client sent invalid HTTP.
    Broken(axum::Error),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late => f.write_str("the body did not arrive in time"),
            Self::TooLong(bytes_max) => write!(f, "the body is longer than {bytes_max} bytes"),
            Self::Busy => f.write_str("the bodies of too many requests are being received; try again later"),
            Self::Broken(error) => write!(f, "the body could not be read: {error}"),
        }
    }
}

/// The sender of a body, before authentication: the project that the request names, and the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The number of the project that the request names; `None` for requests that name none.
    pub project: Option<i64>,
    /// The address of the client. Loopback addresses have no limit of their own, because they belong to a proxy.
    pub address: IpAddr,
}

/// The memory budget of all request bodies.
///
/// A body uses the budget as its data arrives, until its request is done. A project, and an address, may use at most as
/// much as then remains: one alone may use half, two a third each, and so on, so that some always remains for another.
pub struct Bodies {
    bytes_max: usize,
    timeout: Duration,
    ledger: Mutex<Ledger>,
    refused: Repeated,
    /// The time at which more bytes of refused bodies may be read.
    next_dropped: Mutex<Instant>,
}

#[derive(Default)]
struct Ledger {
    held: usize,
    by_project: HashMap<Option<i64>, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// A received body. Dropping it releases its part of the budget.
pub struct HeldBody {
    bytes: Vec<u8>,
    _share: Share,
}

impl Deref for HeldBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// A budget of this many bytes. Each body must arrive within `timeout`.
    pub fn new(bytes_max: usize, timeout: Duration) -> Arc<Self> {
        let refused = Repeated::new(
            "a request was refused because the bodies of other requests use all the memory allowed for them",
        );
        Arc::new(Self {
            bytes_max,
            timeout,
            ledger: Mutex::default(),
            refused,
            next_dropped: Mutex::new(Instant::now()),
        })
    }

    /// The used part of the budget.
    pub fn held_bytes(&self) -> u64 {
        self.ledger().held as u64
    }

    /// Number of bodies that were refused since the start because of the budget.
    pub fn refused(&self) -> u64 {
        self.refused.total()
    }

    /// Receives a body of at most `bytes_max`. The rest of one that is refused is read and dropped, so that its sender
    /// receives the refusal.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn receive(
        self: &Arc<Self>,
        mut body: Body,
        bytes_max: usize,
        sender: Sender,
    ) -> Result<HeldBody, BodyError> {
        let share = Share { bodies: self.clone(), sender, bytes: 0 };
        let mut held = HeldBody { bytes: Vec::new(), _share: share };
        if body.is_end_stream() {
            return Ok(held);
        }
        let mut refusal = None;
        let collecting = self.collect(&mut body, bytes_max, &mut held, &mut refusal);
        let received = tokio::time::timeout(self.timeout, collecting).await;
        if matches!(refusal, Some(BodyError::Busy)) {
            self.refused.record_failure("api.bodies_megabytes");
            let _ = tokio::time::timeout(REFUSED_TIMEOUT, self.drop_rest(&mut body)).await;
        }
        // The budget is the reason for the refusal even if the rest of the body was late.
        match (refusal, received) {
            (Some(refusal), _) => Err(refusal),
            (None, Ok(Ok(()))) => Ok(held),
            (None, Ok(Err(broken))) => Err(BodyError::Broken(broken)),
            (None, Err(_)) => Err(BodyError::Late),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends data to `held`. A body that is too long is read to its end; one that exceeds the budget is not.
    async fn collect(
        &self,
        body: &mut Body,
        bytes_max: usize,
        held: &mut HeldBody,
        refusal: &mut Option<BodyError>,
    ) -> Result<(), axum::Error> {
        let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let longest = declared.unwrap_or(bytes_max).min(bytes_max);
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            length += data.len();
            if length > bytes_max {
                *refusal = Some(BodyError::TooLong(bytes_max));
            } else if !held.grow(length, longest) {
                held.give_back();
                *refusal = Some(BodyError::Busy);
                return Ok(());
            }
            if refusal.is_none() {
                held.bytes.extend_from_slice(&data);
            } else {
                held.give_back();
                let bytes = data.len();
                drop(data);
                self.pace(bytes).await;
            }
            if length > DROPPED_BYTES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Reads the rest of a body, so that its sender receives the answer.
    async fn drop_rest(&self, body: &mut Body) {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await
            && length <= DROPPED_BYTES_MAX
        {
            let bytes = frame.data_ref().map_or(0, |data| data.len());
            // Released before the wait.
            drop(frame);
            self.pace(bytes).await;
            length += bytes;
        }
    }

    /// Waits until this many bytes of a refused body may be read.
    async fn pace(&self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / DROPPED_BYTES_PER_SECOND);
        let due = {
            let mut next = self.next_dropped.lock().unwrap_or_else(PoisonError::into_inner);
            let due = (*next).max(Instant::now());
            *next = due + time;
            due
        };
        tokio::time::sleep_until(due.into()).await;
    }
}

impl HeldBody {
    /// Reserves memory for a body of `length` bytes so far and `longest` at the end. Returns false if the budget is
    /// exceeded.
    fn grow(&mut self, length: usize, longest: usize) -> bool {
        let capacity = self.bytes.capacity();
        if length <= capacity {
            return true;
        }
        let wanted = (capacity * 2).max(length).max(SMALL_BYTES).min(longest.max(length));
        if !self._share.grow_to(wanted.saturating_sub(SMALL_BYTES)) {
            return false;
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        true
    }

    fn give_back(&mut self) {
        self.bytes = Vec::new();
        self._share.give_back();
    }
}

/// The part of the budget that one body uses.
struct Share {
    bodies: Arc<Bodies>,
    sender: Sender,
    bytes: usize,
}

impl Share {
    fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = more == 0 || self.bodies.ledger().take(self.sender, more, self.bodies.bytes_max);
        if fits {
            self.bytes += more;
        }
        fits
    }

    fn give_back(&mut self) {
        if self.bytes > 0 {
            self.bodies.ledger().give_back(self.sender, self.bytes);
            self.bytes = 0;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Ledger {
    fn take(&mut self, sender: Sender, more: usize, bytes_max: usize) -> bool {
        let held = self.held.saturating_add(more);
        let Some(left) = bytes_max.checked_sub(held) else { return false };
        let of_project = self.by_project.get(&sender.project).copied().unwrap_or(0) + more;
        let of_address = self.by_address.get(&sender.address).copied().unwrap_or(0) + more;
        if of_project > left || (of_address > left && !sender.address.is_loopback()) {
            return false;
        }
        self.held = held;
        self.by_project.insert(sender.project, of_project);
        self.by_address.insert(sender.address, of_address);
        true
    }

    fn give_back(&mut self, sender: Sender, bytes: usize) {
        self.held -= bytes;
        lower(&mut self.by_project, sender.project, bytes);
        lower(&mut self.by_address, sender.address, bytes);
    }
}

fn lower<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, bytes: usize) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= bytes;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn sender(project: i64, last: u8) -> Sender {
        Sender { project: Some(project), address: [192, 0, 2, last].into() }
    }

    #[test]
    fn nobody_takes_what_is_left_for_the_others() {
        let mut ledger = Ledger::default();
        let mut take = |sender| (0..).take_while(|_| ledger.take(sender, KIB, 900 * KIB)).count();
        // One project alone may use half of the budget, a second one half of the rest, and so on.
        assert_eq!(take(sender(1, 1)), 450);
        assert_eq!(take(sender(2, 2)), 225);
        assert_eq!(take(sender(3, 3)), 112);
        // Another address does not raise the limit of the first project, and another project does not raise that of the
        // address.
        assert_eq!(take(sender(1, 4)), 0);
        assert_eq!(take(sender(5, 1)), 0);
    }

    #[test]
    fn a_proxy_on_this_machine_has_all_its_projects_shares() {
        let mut ledger = Ledger::default();
        let here = |project| Sender { project: Some(project), address: [127, 0, 0, 1].into() };
        let mut take = |project| (0..).take_while(|_| ledger.take(here(project), KIB, 900 * KIB)).count();
        assert_eq!((take(1), take(2)), (450, 225));
    }

    #[tokio::test]
    async fn what_a_body_held_is_given_back() {
        let bodies = Bodies::new(4096 * KIB, Duration::from_secs(10));
        let body = |bytes: usize| Body::from(vec![b'x'; bytes]);
        let small = bodies.receive(body(SMALL_BYTES), 1024 * KIB, sender(1, 1)).await.unwrap();
        assert_eq!((small.len(), bodies.held_bytes()), (SMALL_BYTES, 0));
        let mut held = Vec::new();
        let refused = loop {
            match bodies.receive(body(256 * KIB), 1024 * KIB, sender(1, 1)).await {
                Ok(whole) => held.push(whole),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, BodyError::Busy));
        assert_eq!(held.len(), 8);
        assert_eq!(bodies.held_bytes(), held.iter().map(|body| (body.len() - SMALL_BYTES) as u64).sum::<u64>());
        // Other senders can send large bodies, and the same sender small ones.
        assert!(bodies.receive(body(256 * KIB), 1024 * KIB, sender(2, 2)).await.is_ok());
        assert!(bodies.receive(body(100), 1024 * KIB, sender(1, 1)).await.is_ok());
        assert_eq!(bodies.refused(), 1);
        drop(held);
        assert_eq!(bodies.held_bytes(), 0);
        assert!(bodies.ledger().by_project.is_empty() && bodies.ledger().by_address.is_empty());
        let long = bodies.receive(body(2 * KIB), KIB, sender(1, 1)).await;
        assert!(matches!(long, Err(BodyError::TooLong(KIB))));
    }
}
