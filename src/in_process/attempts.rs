//! Failures of this minute, in a table of fixed size.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::domain::Result;
use crate::domain::attempts::{AttemptKey, Attempts, Bound};

/// Counters in each row of a window. A key has one counter in each row, and the lower one counts. So only keys that
/// share both counters share a limit, and nobody can cause that deliberately.
const COUNTERS: usize = 64 * 1024;
/// Rows of a window.
const ROWS: usize = 2;
/// The length of a window.
const WINDOW_MS: i64 = 60_000;

/// The failures of this minute by key.
pub struct MemoryAttempts {
    hasher: RandomState,
    window: Mutex<Window>,
}

struct Window {
    began_ms: i64,
    failures: Box<[u16]>,
}

impl Default for MemoryAttempts {
    fn default() -> Self {
        let window = Window { began_ms: 0, failures: vec![0; ROWS * COUNTERS].into() };
        Self { hasher: RandomState::new(), window: Mutex::new(window) }
    }
}

#[async_trait]
impl Attempts for MemoryAttempts {
    async fn allow(&self, keys: &[(AttemptKey<'_>, Bound)], now_ms: i64) -> Result<bool> {
        let window = self.window(now_ms);
        let passed_ms = now_ms - window.began_ms;
        let has_left = |(key, bound): &(AttemptKey<'_>, Bound)| {
            let [one, other] = self.places(key).map(|place| window.failures[place]);
            i64::from(one.min(other)) < bound.failures_max(passed_ms)
        };
        Ok(keys.iter().all(has_left))
    }

    async fn failed(&self, keys: &[(AttemptKey<'_>, Bound)], now_ms: i64) -> Result<()> {
        let mut window = self.window(now_ms);
        for (key, _) in keys {
            for place in self.places(key) {
                let counter = &mut window.failures[place];
                *counter = counter.saturating_add(1);
            }
        }
        Ok(())
    }
}

impl MemoryAttempts {
    /// The counters of this minute.
    fn window(&self, now_ms: i64) -> MutexGuard<'_, Window> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.abs_diff(window.began_ms) >= WINDOW_MS.unsigned_abs() {
            window.began_ms = now_ms;
            window.failures.fill(0);
        }
        window
    }

    fn places(&self, key: &AttemptKey<'_>) -> [usize; ROWS] {
        let hash = self.hasher.hash_one(key);
        [hash as usize % COUNTERS, COUNTERS + (hash >> 32) as usize % COUNTERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_that_fail_much_take_no_others_along() {
        let attempts = MemoryAttempts::default();
        let bound = Bound::Refused(20);
        let names: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let heavy: Vec<_> = names[..200].iter().map(|name| (AttemptKey::Account(None, name), bound)).collect();
        for _ in 0..20 {
            attempts.failed(&heavy, 1_000_000).await.unwrap();
        }
        let mut refused = 0;
        for name in &names {
            let is_allowed = attempts.allow(&[(AttemptKey::Account(None, name), bound)], 1_000_000).await.unwrap();
            refused += usize::from(!is_allowed);
        }
        // With a single row it would be about thirty more.
        assert!((200..=205).contains(&refused), "{refused}");
    }
}
