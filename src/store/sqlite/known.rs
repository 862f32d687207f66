//! What is remembered of the registry between two writes: the facts that every request needs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::binding::BoundDevice;
use crate::domain::user::User;
use crate::domain::{Device, DeviceId, Product, Project, ProjectNo, Result, Uid};

/// Entries of the maps but for the devices'; a full one is emptied.
const KNOWN_MAX: usize = 4096;
/// Lists of a user's devices are remembered up to this length; a longer one is read again each time.
const BOUND_MAX: usize = 64;
/// Devices that are remembered: some 100 MB when every place is taken.
const DEVICES_MAX: usize = 128 * 1024;

/// Facts that every request needs. All of it is forgotten at every write to the registry, which is simple and right:
/// an entry is only used as long as nothing was committed since before it was read.
#[derive(Default)]
pub struct Known {
    writes: AtomicU64,
    projects: Map<String, Arc<Project>>,
    keys: Map<String, Arc<Project>>,
    users: Map<(ProjectNo, UserName), Arc<User>>,
    bound: Map<(ProjectNo, Uid), Arc<[BoundDevice]>>,
    cloud_tokens: Map<[u8; 32], (ProjectNo, i64)>,
    tokens: Map<[u8; 32], (ProjectNo, i64)>,
    products: Map<i64, Arc<Product>>,
    devices: Map<(ProjectNo, DeviceId), Arc<Device>>,
}

/// What a user is found by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum UserName {
    /// An AppKey and an open id.
    OpenId(String, String),
    /// Alibaba's id.
    Identity(String),
}

/// Each value with the number of writes there had been before it was read.
type Map<K, V> = RwLock<HashMap<K, (u64, V)>>;

impl Known {
    /// Called after a commit, before its caller is answered.
    pub fn forget(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// A project by its client id.
    pub fn project(
        &self,
        client_id: &str,
        read: impl FnOnce() -> Result<Option<Arc<Project>>>,
    ) -> Result<Option<Arc<Project>>> {
        get(&self.writes, &self.projects, &client_id.to_owned(), KNOWN_MAX, read)
    }

    /// A project by its AppKey.
    pub fn key(
        &self,
        app_key: &str,
        read: impl FnOnce() -> Result<Option<Arc<Project>>>,
    ) -> Result<Option<Arc<Project>>> {
        get(&self.writes, &self.keys, &app_key.to_owned(), KNOWN_MAX, read)
    }

    /// A token's project and expiry by its hash.
    pub fn token(
        &self,
        hash: [u8; 32],
        read: impl FnOnce() -> Result<Option<(ProjectNo, i64)>>,
    ) -> Result<Option<(ProjectNo, i64)>> {
        get(&self.writes, &self.tokens, &hash, KNOWN_MAX, read)
    }

    /// A cloudToken's project and expiry by its hash.
    pub fn cloud_token(
        &self,
        hash: [u8; 32],
        read: impl FnOnce() -> Result<Option<(ProjectNo, i64)>>,
    ) -> Result<Option<(ProjectNo, i64)>> {
        get(&self.writes, &self.cloud_tokens, &hash, KNOWN_MAX, read)
    }

    /// A user of a project.
    pub fn user(
        &self,
        key: (ProjectNo, UserName),
        read: impl FnOnce() -> Result<Option<Arc<User>>>,
    ) -> Result<Option<Arc<User>>> {
        get(&self.writes, &self.users, &key, KNOWN_MAX, read)
    }

    /// What a user has.
    pub fn bound(
        &self,
        key: (ProjectNo, Uid),
        read: impl FnOnce() -> Result<Option<Arc<[BoundDevice]>>>,
    ) -> Result<Option<Arc<[BoundDevice]>>> {
        let short = |devices: &Arc<[BoundDevice]>| devices.len() <= BOUND_MAX;
        get_if(&self.writes, &self.bound, &key, KNOWN_MAX, short, read)
    }

    /// A product by its number.
    pub fn product(
        &self,
        no: i64,
        read: impl FnOnce() -> Result<Option<Arc<Product>>>,
    ) -> Result<Option<Arc<Product>>> {
        get(&self.writes, &self.products, &no, KNOWN_MAX, read)
    }

    /// A device as a project sees it.
    pub fn device(
        &self,
        key: (ProjectNo, DeviceId),
        read: impl FnOnce() -> Result<Option<Arc<Device>>>,
    ) -> Result<Option<Arc<Device>>> {
        get(&self.writes, &self.devices, &key, DEVICES_MAX, read)
    }
}

/// What is remembered, or else what `read` finds.
fn get<K: Hash + Eq + Clone, V: Clone>(
    writes: &AtomicU64,
    map: &Map<K, V>,
    key: &K,
    entries_max: usize,
    read: impl FnOnce() -> Result<Option<V>>,
) -> Result<Option<V>> {
    get_if(writes, map, key, entries_max, |_| true, read)
}

/// As [`get`], of values that are worth it.
fn get_if<K: Hash + Eq + Clone, V: Clone>(
    writes: &AtomicU64,
    map: &Map<K, V>,
    key: &K,
    entries_max: usize,
    worth: impl FnOnce(&V) -> bool,
    read: impl FnOnce() -> Result<Option<V>>,
) -> Result<Option<V>> {
    let writes = writes.load(Ordering::SeqCst);
    if let Some((at, value)) = map.read().unwrap_or_else(PoisonError::into_inner).get(key)
        && *at == writes
    {
        return Ok(Some(value.clone()));
    }
    let value = read()?;
    if let Some(value) = value.as_ref().filter(|value| worth(value)) {
        let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= entries_max {
            map.clear();
        }
        map.insert(key.clone(), (writes, value.clone()));
    }
    Ok(value)
}
