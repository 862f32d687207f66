//! Guessing made slow: how often a key (an account, an address) may fail in a minute.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counters a window. Two keys that share one share its limit; nobody can aim at another's.
const COUNTERS: usize = 64 * 1024;
/// What a window is.
const WINDOW_MS: i64 = 60_000;

/// Failures by key in this minute, in a table of fixed size.
pub struct Attempts {
    hasher: RandomState,
    window: Mutex<Window>,
}

struct Window {
    began_ms: i64,
    failures: Box<[u16]>,
}

impl Default for Attempts {
    fn default() -> Self {
        let window = Window { began_ms: 0, failures: vec![0; COUNTERS].into() };
        Self { hasher: RandomState::new(), window: Mutex::new(window) }
    }
}

impl Attempts {
    /// Whether each key has had fewer failures in this minute than it may.
    pub fn allow<K: Hash>(&self, keys: &[(K, u16)], now_ms: i64) -> bool {
        let window = self.window(now_ms);
        keys.iter().all(|(key, failures_max)| window.failures[self.place(key)] < *failures_max)
    }

    /// Counts a failure of each key.
    pub fn failed<K: Hash>(&self, keys: &[(K, u16)], now_ms: i64) {
        let mut window = self.window(now_ms);
        for (key, _) in keys {
            let counter = &mut window.failures[self.place(key)];
            *counter = counter.saturating_add(1);
        }
    }

    /// The counters of this minute.
    fn window(&self, now_ms: i64) -> MutexGuard<'_, Window> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.abs_diff(window.began_ms) >= WINDOW_MS.unsigned_abs() {
            window.began_ms = now_ms;
            window.failures.fill(0);
        }
        window
    }

    fn place(&self, key: &impl Hash) -> usize {
        self.hasher.hash_one(key) as usize % COUNTERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_key_and_minute() {
        let attempts = Attempts::default();
        let keys = [("account", 2), ("address", 3)];
        assert!(attempts.allow(&keys, 1_000_000));
        attempts.failed(&keys, 1_000_000);
        assert!(attempts.allow(&keys, 1_000_001));
        attempts.failed(&keys, 1_000_001);
        assert!(!attempts.allow(&keys, 1_000_002), "the account is used up");
        let other = [("other", 2), ("address", 3)];
        assert!(attempts.allow(&other, 1_000_003));
        attempts.failed(&other, 1_000_003);
        assert!(!attempts.allow(&[("third", 2), ("address", 3)], 1_000_004), "the address is used up");
        assert!(attempts.allow(&keys, 1_060_000), "a minute later all is forgotten");
    }
}
