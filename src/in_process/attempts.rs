//! Limits failed logins: how often a key (an account, an address, or both together) may fail in a minute.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counters in each row of a window. A key has one counter in each row, and the lower one counts. So only keys that
/// share both counters share a limit, and nobody can cause that deliberately.
const COUNTERS: usize = 64 * 1024;
/// Rows of a window.
const ROWS: usize = 2;
/// The length of a window.
const WINDOW_MS: i64 = 60_000;

/// What happens to a key after this number of failures in a minute.
#[derive(Clone, Copy)]
pub enum Bound {
    /// It is refused until the minute is over.
    Refused(u16),
    /// It may fail once more for each second of the minute.
    Slowed(u16),
}

impl Bound {
    fn failures_max(self, passed_ms: i64) -> i64 {
        match self {
            Self::Refused(max) => max.into(),
            Self::Slowed(max) => i64::from(max) + passed_ms.max(0) / 1000,
        }
    }
}

/// The failures of this minute by key, in a table of fixed size.
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
        let window = Window { began_ms: 0, failures: vec![0; ROWS * COUNTERS].into() };
        Self { hasher: RandomState::new(), window: Mutex::new(window) }
    }
}

impl Attempts {
    /// Whether every key is below its limit in this minute.
    pub fn allow<K: Hash>(&self, keys: &[(K, Bound)], now_ms: i64) -> bool {
        let window = self.window(now_ms);
        let passed_ms = now_ms - window.began_ms;
        let has_left = |(key, bound): &(K, Bound)| {
            let [one, other] = self.places(key).map(|place| window.failures[place]);
            i64::from(one.min(other)) < bound.failures_max(passed_ms)
        };
        keys.iter().all(has_left)
    }

    /// Counts a failure of each key.
    pub fn failed<K: Hash>(&self, keys: &[(K, Bound)], now_ms: i64) {
        let mut window = self.window(now_ms);
        for (key, _) in keys {
            for place in self.places(key) {
                let counter = &mut window.failures[place];
                *counter = counter.saturating_add(1);
            }
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

    fn places(&self, key: &impl Hash) -> [usize; ROWS] {
        let hash = self.hasher.hash_one(key);
        [hash as usize % COUNTERS, COUNTERS + (hash >> 32) as usize % COUNTERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_key_and_minute() {
        let attempts = Attempts::default();
        let (two, three) = (Bound::Refused(2), Bound::Refused(3));
        let keys = [("account", two), ("address", three)];
        assert!(attempts.allow(&keys, 1_000_000));
        attempts.failed(&keys, 1_000_000);
        assert!(attempts.allow(&keys, 1_000_001));
        attempts.failed(&keys, 1_000_001);
        assert!(!attempts.allow(&keys, 1_000_002), "the account is used up");
        let other = [("other", two), ("address", three)];
        assert!(attempts.allow(&other, 1_000_003));
        attempts.failed(&other, 1_000_003);
        assert!(!attempts.allow(&[("third", two), ("address", three)], 1_000_004), "the address is used up");
        assert!(attempts.allow(&keys, 1_060_000), "a minute later all is forgotten");
    }

    #[test]
    fn keys_that_fail_much_take_no_others_along() {
        let attempts = Attempts::default();
        let heavy: Vec<(String, Bound)> = (0..200).map(|n| (format!("heavy{n}"), Bound::Refused(20))).collect();
        for _ in 0..20 {
            attempts.failed(&heavy, 1_000_000);
        }
        assert!(heavy.iter().all(|key| !attempts.allow(std::slice::from_ref(key), 1_000_000)));
        let refused = (0..10_000).filter(|n| !attempts.allow(&[(*n, Bound::Refused(20))], 1_000_000)).count();
        // With a single row it would be about thirty.
        assert!(refused <= 5, "{refused}");
    }

    #[test]
    fn a_slowed_key_may_fail_once_a_second() {
        let attempts = Attempts::default();
        let keys = [("account", Bound::Slowed(2))];
        for _ in 0..2 {
            assert!(attempts.allow(&keys, 1_000_000));
            attempts.failed(&keys, 1_000_000);
        }
        assert!(!attempts.allow(&keys, 1_000_999));
        assert!(attempts.allow(&keys, 1_001_000), "success costs nothing");
        assert!(attempts.allow(&keys, 1_001_500));
        attempts.failed(&keys, 1_001_500);
        assert!(!attempts.allow(&keys, 1_001_999));
        assert!(attempts.allow(&keys, 1_002_000));
        assert!(!attempts.allow(&keys, 999_999), "a clock that is set back gives none");
    }
}
