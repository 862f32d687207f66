//! A cache of registry rows that nearly every request needs. A write names what it touched, and only those entries become
//! stale; a full cache evicts what is used least.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use prometheus_client::metrics::counter::Counter;
use quick_cache::Weighter;
use quick_cache::sync::DefaultLifecycle;

use crate::domain::binding::BoundDevices;
use crate::domain::device::UserDevices;
use crate::domain::login::TokenHolder;
use crate::domain::user::User;
use crate::domain::{Device, DeviceId, DeviceNo, Product, Project, ProjectNo, Result, Uid};

/// The maximum number of entries of a small map.
const SMALL_MAX: usize = 4096;
/// The maximum number of users in the cache.
const USERS_MAX: usize = 16 * 1024;
/// The maximum number of devices in the cache, by their ids and again in the lists of users: about 100 MB each.
const DEVICES_MAX: usize = 128 * 1024;
/// The maximum length of a cached device list; a longer list is read from the database each time.
pub const LIST_MAX: usize = 256;
/// The number of counters in [`Cache::touched`], 1 MB. A write makes one of so many entries stale without need.
const SLOTS: usize = 128 * 1024;
/// The slot of [`Touched::All`].
const ALL: usize = 0;

/// What a committed write touched. It covers every cached value that the write may have changed. It refers to nothing in
/// this process, so a message bus could send it to other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// A device, as every project sees it.
    Device(DeviceNo),
    /// A user's account.
    User(Uid),
    /// The lists of a user's devices, with the devices in them.
    DevicesOf(Uid),
    /// A token, by its hash.
    Token([u8; 32]),
    /// Everything.
    All,
}

/// The cache. An entry is used only if no write that touches it was committed since before it was read.
pub struct Cache {
    /// Twice the number of completed commits, plus one while a commit is running.
    commits: AtomicU64,
    /// Reads that the cache answered.
    pub hits: Counter,
    /// Reads that it could not answer.
    pub misses: Counter,
    /// For each [`slot`], the value of [`Cache::commits`] after the last commit that touched it.
    touched: Box<[AtomicU64]>,
    /// Projects by client id.
    pub projects: Map<String, Arc<Project>>,
    /// Projects by AppKey.
    pub keys: Map<String, Arc<Project>>,
    /// Token holders by the hash of the token.
    pub tokens: Map<[u8; 32], TokenHolder>,
    /// Project and expiry by the hash of a cloudToken.
    pub cloud_tokens: Map<[u8; 32], (ProjectNo, i64)>,
    /// Products by number.
    pub products: Map<i64, Arc<Product>>,
    /// Users of a project.
    pub users: Map<(ProjectNo, UserName), Arc<User>>,
    /// Devices as a project sees them.
    pub devices: Map<(ProjectNo, DeviceId), Arc<Device>>,
    /// The devices of a user. A list of more than [`LIST_MAX`] is not cached.
    pub lists: Map<(ProjectNo, Uid, UserDevices), List>,
    /// The devices that a user owns or shares.
    pub bound: Map<(ProjectNo, Uid), Arc<BoundDevices>>,
}

/// A device list, in order.
pub type List = Arc<[Arc<Device>]>;

/// The name by which a user is looked up.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum UserName {
    /// An AppKey and an open id.
    OpenId(String, String),
    /// Alibaba's id.
    Identity(String),
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            hits: Counter::default(),
            misses: Counter::default(),
            touched: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            projects: map(SMALL_MAX, SMALL_MAX),
            keys: map(SMALL_MAX, SMALL_MAX),
            tokens: map(SMALL_MAX, SMALL_MAX),
            cloud_tokens: map(SMALL_MAX, SMALL_MAX),
            products: map(SMALL_MAX, SMALL_MAX),
            users: map(USERS_MAX, USERS_MAX),
            devices: map(DEVICES_MAX, DEVICES_MAX),
            lists: map(DEVICES_MAX / 16, DEVICES_MAX),
            bound: map(DEVICES_MAX / 16, DEVICES_MAX),
        }
    }
}

impl Cache {
    /// Must be called before a commit.
    pub fn begin_commit(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    /// Must be called after a commit with everything that it touched, before the writers get their results.
    ///
    /// A reader loads the number of commits before it reads. If its data is older than this commit, it loaded the number
    /// before this function raised it, so the slots that are set here are greater than the number of its entry.
    pub fn end_commit(&self, touched: &[Touched]) {
        let after = self.commits.load(Ordering::SeqCst) + 1;
        for touched in touched {
            self.touched[slot(touched)].store(after, Ordering::SeqCst);
        }
        self.commits.store(after, Ordering::SeqCst);
    }

    /// Returns the cached value, or else the result of `read`. Where [`Cache::verifies`], it calls `read` for a cached
    /// value too, and compares the values.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get<K: Hash + Eq + Clone, V: Cached<K>>(
        &self,
        map: &Map<K, V>,
        key: &K,
        read: impl Fn() -> Result<Option<V>>,
    ) -> Result<Option<V>> {
        let commits = self.commits.load(Ordering::SeqCst);
        if let Some(value) = self.current(map, key) {
            if self.verifies() {
                self.verify(&value, commits, read()?.as_ref());
            }
            self.hits.inc();
            return Ok(Some(value));
        }
        self.misses.inc();
        let value = read()?;
        if let Some(value) = value.as_ref().filter(|value| value.items() <= LIST_MAX) {
            let slot = slot(&value.touched_by(key));
            map.insert(key.clone(), Entry { commits, slot, value: value.clone() });
        }
        Ok(value)
    }

    /// Returns the cached value, if there is one, without any read.
    pub fn current<K: Hash + Eq, V: Cached<K>>(&self, map: &Map<K, V>, key: &K) -> Option<V> {
        map.get(key).filter(|entry| self.is_current(entry)).map(|entry| entry.value)
    }

    /// Whether [`Cache::get`] compares cached values with the database. Debug builds do so unless a commit is running,
    /// because then the database may already hold another value.
    pub fn verifies(&self) -> bool {
        cfg!(debug_assertions) && self.commits.load(Ordering::SeqCst).is_multiple_of(2)
    }

    fn is_current<V>(&self, entry: &Entry<V>) -> bool {
        [ALL, entry.slot].iter().all(|slot| self.touched[*slot].load(Ordering::SeqCst) <= entry.commits)
    }

    /// Checks that a cached value equals the one in the database, unless a write was committed in the meantime.
    fn verify<K, V: Cached<K>>(&self, value: &V, commits: u64, read: Option<&V>) {
        let is_comparable = commits.is_multiple_of(2) && self.commits.load(Ordering::SeqCst) == commits;
        let name = std::any::type_name::<V>();
        assert!(
            !is_comparable || read == Some(value),
            "a cached {name} is stale: no trigger said that a write touched it"
        );
    }
}

/// The counter for something that was touched. Several things can share one counter.
fn slot(touched: &Touched) -> usize {
    match touched {
        Touched::All => ALL,
        one => {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(one);
            1 + usize::try_from(hash % (SLOTS as u64 - 1)).unwrap_or_default()
        }
    }
}

/// A map whose values have a limited total weight.
pub type Map<K, V> = quick_cache::sync::Cache<K, Entry<V>, Weight, RandomState>;

fn map<K: Hash + Eq, V: Cached<K>>(entries: usize, weight_max: usize) -> Map<K, V> {
    Map::with(entries, weight_max as u64, Weight, RandomState::default(), DefaultLifecycle::default())
}

/// A cached value.
#[derive(Clone)]
pub struct Entry<V> {
    /// The number of commits before the value was read.
    commits: u64,
    slot: usize,
    value: V,
}

/// Weighs a value by the number of devices in it.
#[derive(Clone)]
pub struct Weight;

impl<K, V: Cached<K>> Weighter<K, Entry<V>> for Weight {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        1 + entry.value.items() as u64
    }
}

/// A value that can be cached under a key `K`.
pub trait Cached<K>: Clone + PartialEq {
    /// The writes that change it, besides [`Touched::All`].
    fn touched_by(&self, key: &K) -> Touched;

    /// The number of items if it is a list.
    fn items(&self) -> usize {
        0
    }
}

impl Cached<String> for Arc<Project> {
    fn touched_by(&self, _: &String) -> Touched {
        Touched::All
    }
}

impl Cached<i64> for Arc<Product> {
    fn touched_by(&self, _: &i64) -> Touched {
        Touched::All
    }
}

impl Cached<[u8; 32]> for TokenHolder {
    fn touched_by(&self, hash: &[u8; 32]) -> Touched {
        Touched::Token(*hash)
    }
}

impl Cached<[u8; 32]> for (ProjectNo, i64) {
    fn touched_by(&self, hash: &[u8; 32]) -> Touched {
        Touched::Token(*hash)
    }
}

impl Cached<(ProjectNo, UserName)> for Arc<User> {
    fn touched_by(&self, _: &(ProjectNo, UserName)) -> Touched {
        Touched::User(self.uid.clone())
    }
}

impl Cached<(ProjectNo, DeviceId)> for Arc<Device> {
    fn touched_by(&self, _: &(ProjectNo, DeviceId)) -> Touched {
        Touched::Device(self.no)
    }
}

impl Cached<(ProjectNo, Uid, UserDevices)> for List {
    fn touched_by(&self, (_, uid, _): &(ProjectNo, Uid, UserDevices)) -> Touched {
        Touched::DevicesOf(uid.clone())
    }

    fn items(&self) -> usize {
        self.as_ref().len()
    }
}

impl Cached<(ProjectNo, Uid)> for Arc<BoundDevices> {
    fn touched_by(&self, (_, uid): &(ProjectNo, Uid)) -> Touched {
        Touched::DevicesOf(uid.clone())
    }

    fn items(&self) -> usize {
        self.list.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Cache {
        /// True if the entry would be used.
        pub fn holds<K: Hash + Eq, V: Cached<K>>(&self, map: &Map<K, V>, key: &K) -> bool {
            self.current(map, key).is_some()
        }
    }

    const HASH: [u8; 32] = [7; 32];

    fn commit(cache: &Cache, touched: &[Touched]) {
        cache.begin_commit();
        cache.end_commit(touched);
    }

    fn read(cache: &Cache, expires_ms: i64) -> i64 {
        let found = cache.get(&cache.cloud_tokens, &HASH, || Ok(Some((ProjectNo(1), expires_ms))));
        found.unwrap().unwrap().1
    }

    #[test]
    fn an_entry_is_used_until_a_commit_touches_it() {
        let cache = Cache::default();
        assert_eq!(read(&cache, 1), 1);
        commit(&cache, &[Touched::Token([8; 32]), Touched::Device(DeviceNo(1))]);
        assert!(cache.holds(&cache.cloud_tokens, &HASH));
        for touched in [Touched::Token(HASH), Touched::All] {
            commit(&cache, &[touched]);
            assert!(!cache.holds(&cache.cloud_tokens, &HASH));
            assert_eq!(read(&cache, 2), 2);
            assert!(cache.holds(&cache.cloud_tokens, &HASH));
        }
    }

    #[test]
    fn a_value_read_before_or_during_a_commit_is_not_used_after_it() {
        let cache = Cache::default();
        let before = || {
            commit(&cache, &[Touched::Token(HASH)]);
            Ok(Some((ProjectNo(1), 1)))
        };
        assert_eq!(cache.get(&cache.cloud_tokens, &HASH, before).unwrap(), Some((ProjectNo(1), 1)));
        assert_eq!(read(&cache, 2), 2);
        cache.begin_commit();
        // The database may already hold another value, but its writer has not got a result yet.
        assert_eq!(read(&cache, 3), 2);
        cache.end_commit(&[Touched::Token(HASH)]);
        assert_eq!(read(&cache, 4), 4);
    }

    #[test]
    #[should_panic(expected = "is stale")]
    fn a_write_without_a_trigger_is_detected() {
        let cache = Cache::default();
        read(&cache, 1);
        commit(&cache, &[]);
        read(&cache, 2);
    }

    #[test]
    fn a_full_map_retains_the_entries_in_use() {
        let cache = Cache::default();
        let key = |n: usize| n.to_be_bytes().repeat(4).try_into().unwrap();
        let token = |n| cache.get(&cache.cloud_tokens, &key(n), || Ok(Some((ProjectNo(1), 1)))).unwrap();
        for n in 0..10 * SMALL_MAX {
            token(n);
            token(0);
        }
        assert!(cache.holds(&cache.cloud_tokens, &key(0)));
        assert!(cache.cloud_tokens.weight() <= SMALL_MAX as u64 + 64, "{}", cache.cloud_tokens.weight());
    }
}
