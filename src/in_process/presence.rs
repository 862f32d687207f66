//! The leases of the sessions of this process.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use rustc_hash::FxHashMap;

use crate::domain::presence::{Lease, NodeId, Presence};
use crate::domain::{DeviceNo, Result};

/// The valid leases. All of them belong to this process, so they expire when it ends and need no time of expiry.
pub struct MemoryPresence {
    owner: NodeId,
    leases: RwLock<Leases>,
}

#[derive(Default)]
struct Leases {
    last_epoch: u64,
    valid: FxHashMap<DeviceNo, Held>,
}

/// The valid lease of a device.
struct Held {
    epoch: u64,
    is_online: bool,
}

impl MemoryPresence {
    /// No leases. `owner` must be another node at each start.
    pub fn new(owner: NodeId) -> Self {
        Self { owner, leases: RwLock::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Leases> {
        self.leases.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Leases> {
        self.leases.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_valid(&self, leases: &Leases, lease: Lease) -> bool {
        lease.owner == self.owner && leases.valid.get(&lease.device).is_some_and(|held| held.epoch == lease.epoch)
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn acquire(&self, devices: &[DeviceNo]) -> Result<Vec<Lease>> {
        let mut leases = self.write();
        let acquire = |device: &DeviceNo| {
            leases.last_epoch += 1;
            let epoch = leases.last_epoch;
            leases.valid.entry(*device).or_insert(Held { epoch, is_online: false }).epoch = epoch;
            Lease { device: *device, owner: self.owner, epoch }
        };
        Ok(devices.iter().map(acquire).collect())
    }

    async fn set_online(&self, leases: &[Lease]) -> Result<()> {
        let mut held = self.write();
        for lease in leases {
            if self.is_valid(&held, *lease)
                && let Some(held) = held.valid.get_mut(&lease.device)
            {
                held.is_online = true;
            }
        }
        Ok(())
    }

    async fn are_valid(&self, leases: &[Lease]) -> Result<Vec<bool>> {
        let held = self.read();
        Ok(leases.iter().map(|lease| self.is_valid(&held, *lease)).collect())
    }

    async fn release(&self, leases: &[Lease]) -> Result<Vec<bool>> {
        let mut held = self.write();
        let release = |lease: &Lease| {
            if self.is_valid(&held, *lease) {
                held.valid.remove(&lease.device);
            }
            !held.valid.contains_key(&lease.device)
        };
        Ok(leases.iter().map(release).collect())
    }

    async fn online(&self, devices: &[DeviceNo]) -> Result<Vec<bool>> {
        let leases = self.read();
        Ok(devices.iter().map(|device| leases.valid.get(device).is_some_and(|held| held.is_online)).collect())
    }
}
