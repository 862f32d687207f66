//! What is remembered of the registry between two writes: the facts that every request needs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::binding::BoundDevices;
use crate::domain::device::UserDevices;
use crate::domain::login::TokenHolder;
use crate::domain::user::User;
use crate::domain::{Device, DeviceId, Product, Project, ProjectNo, Result, Uid};

/// Entries of the small maps.
const SMALL_MAX: usize = 4096;
/// Users that are remembered.
const USERS_MAX: usize = 16 * 1024;
/// Devices that are remembered, by their own ids and again in the lists of users: some 100 MB each when every place is
/// taken.
const DEVICES_MAX: usize = 128 * 1024;
/// A user's devices are remembered up to so many; a longer list is read again each time.
pub const LIST_MAX: usize = 256;

/// Facts that every request needs. All of it is forgotten at every write to the registry, which is simple and right:
/// an entry is only used as long as nothing was committed since before it was read.
#[derive(Default)]
pub struct Known {
    writes: AtomicU64,
    /// By client id.
    pub projects: Map<String, Arc<Project>, SMALL_MAX>,
    /// By AppKey.
    pub keys: Map<String, Arc<Project>, SMALL_MAX>,
    /// By a token's hash.
    pub tokens: Map<[u8; 32], TokenHolder, SMALL_MAX>,
    /// Project and expiry by a cloudToken's hash.
    pub cloud_tokens: Map<[u8; 32], (ProjectNo, i64), SMALL_MAX>,
    /// By number.
    pub products: Map<i64, Arc<Product>, SMALL_MAX>,
    /// As their project sees them.
    pub users: Map<(ProjectNo, UserName), Arc<User>, USERS_MAX>,
    /// As a project sees them.
    pub devices: Map<(ProjectNo, DeviceId), Arc<Device>, DEVICES_MAX>,
    /// A user's devices, or the first of more than [`LIST_MAX`].
    pub lists: Map<(ProjectNo, Uid, UserDevices), List, DEVICES_MAX>,
    /// What a user has.
    pub bound: Map<(ProjectNo, Uid), Arc<BoundDevices>, DEVICES_MAX>,
}

/// Devices in their order.
pub type List = Arc<[Arc<Device>]>;

/// What a user is found by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum UserName {
    /// An AppKey and an open id.
    OpenId(String, String),
    /// Alibaba's id.
    Identity(String),
}

impl Known {
    /// Called after a commit, before its caller is answered.
    pub fn forget(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// What is remembered, or else what `read` finds.
    pub fn get<K: Hash + Eq, V: Clone + Weight, const MAX: usize>(
        &self,
        map: &Map<K, V, MAX>,
        key: K,
        read: impl FnOnce() -> Result<Option<V>>,
    ) -> Result<Option<V>> {
        let writes = self.writes.load(Ordering::SeqCst);
        if let Some((at, value)) = map.0.read().unwrap_or_else(PoisonError::into_inner).entries.get(&key)
            && *at == writes
        {
            return Ok(Some(value.clone()));
        }
        let value = read()?;
        if let Some((value, weight)) = value.as_ref().and_then(|value| Some((value, value.weight()?))) {
            let mut held = map.0.write().unwrap_or_else(PoisonError::into_inner);
            if held.weight + weight > MAX {
                *held = Held::default();
            }
            held.weight += weight;
            if let Some((_, old)) = held.entries.insert(key, (writes, value.clone())) {
                held.weight -= old.weight().unwrap_or(0);
            }
        }
        Ok(value)
    }
}

/// Values of a weight of at most `MAX` together; a map that would be heavier is emptied.
pub struct Map<K, V, const MAX: usize>(RwLock<Held<K, V>>);

struct Held<K, V> {
    weight: usize,
    /// Each value with the number of writes there had been before it was read.
    entries: HashMap<K, (u64, V)>,
}

impl<K, V> Default for Held<K, V> {
    fn default() -> Self {
        Self { weight: 0, entries: HashMap::new() }
    }
}

impl<K, V, const MAX: usize> Default for Map<K, V, MAX> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// How much of a map a value takes; `None` when it is not worth it.
pub trait Weight {
    /// One, if nothing else is said.
    fn weight(&self) -> Option<usize> {
        Some(1)
    }
}

impl Weight for Arc<Project> {}
impl Weight for Arc<Product> {}
impl Weight for Arc<User> {}
impl Weight for Arc<Device> {}
impl Weight for TokenHolder {}
impl Weight for (ProjectNo, i64) {}

impl Weight for List {
    fn weight(&self) -> Option<usize> {
        (self.len() <= LIST_MAX).then_some(self.len() + 1)
    }
}

impl Weight for Arc<BoundDevices> {
    fn weight(&self) -> Option<usize> {
        (self.list.len() <= LIST_MAX).then_some(self.list.len() + 1)
    }
}
