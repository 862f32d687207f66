//! How many connections may be open at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections may be open at once, in all and of one address. Listeners may share it.
pub struct Limits {
    connections: Arc<Semaphore>,
    connections_max: usize,
    per_address_max: Option<usize>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Limits {
    /// At most so many connections, and so many of one address, if that is bounded. This machine's own addresses are not
    /// counted.
    pub fn new(connections_max: usize, per_address_max: Option<usize>) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(connections_max));
        Arc::new(Self { connections, connections_max, per_address_max, by_address: Mutex::default() })
    }

    /// Number of connections that are open, with the one for which each listener waits.
    pub fn open(&self) -> u64 {
        self.connections_max.saturating_sub(self.connections.available_permits()) as u64
    }

    /// Waits until a further connection may be open, for as long as the permit lives.
    ///
    /// # Errors
    /// Never, as the semaphore is not closed.
    pub(super) async fn connection(&self) -> io::Result<OwnedSemaphorePermit> {
        self.connections.clone().acquire_owned().await.map_err(io::Error::other)
    }

    /// Counts a connection of an address for as long as the slot lives; `None` when the address has all that it may have.
    pub(super) fn address(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        if let Some(per_address_max) = self.per_address_max.filter(|_| !address.is_loopback()) {
            let mut by_address = self.by_address();
            let count = by_address.entry(address).or_default();
            if *count >= per_address_max {
                tracing::debug!(%address, "an address has all the connections that it may have");
                return None;
            }
            *count += 1;
        }
        Some(AddressSlot { limits: self.clone(), address })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection among those of its address.
pub(super) struct AddressSlot {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.limits.by_address().entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
