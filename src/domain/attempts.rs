//! Guessing made slow: how often a key (an account, an address) may fail in a minute.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

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
    /// Counts an attempt as failed, before it is known how it ends: whether each key has had fewer failures than it
    /// may. A key without an attempt left refuses all and counts none.
    pub fn begin<K: Hash>(&self, keys: &[(K, u16)], now_ms: i64) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.abs_diff(window.began_ms) >= WINDOW_MS.unsigned_abs() {
            window.began_ms = now_ms;
            window.failures.fill(0);
        }
        if keys.iter().any(|(key, failures_max)| window.failures[self.place(key)] >= *failures_max) {
            return false;
        }
        for (key, _) in keys {
            let counter = &mut window.failures[self.place(key)];
            *counter = counter.saturating_add(1);
        }
        true
    }

    /// Takes back what [`Attempts::begin`] counted, for an attempt that succeeded.
    pub fn succeeded<K: Hash>(&self, keys: &[(K, u16)]) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys {
            let counter = &mut window.failures[self.place(key)];
            *counter = counter.saturating_sub(1);
        }
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
        assert!(attempts.begin(&keys, 1_000_000) && attempts.begin(&keys, 1_000_001));
        assert!(!attempts.begin(&keys, 1_000_002), "the account is used up");
        assert!(attempts.begin(&[("other", 2), ("address", 3)], 1_000_003));
        assert!(!attempts.begin(&[("third", 2), ("address", 3)], 1_000_004), "the address is used up");
        attempts.succeeded(&keys);
        assert!(attempts.begin(&keys, 1_000_005), "a success does not count");
        assert!(attempts.begin(&keys, 1_060_000), "a minute later all is forgotten");
    }
}
