//! The requests that this process received.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::domain::replay::{Replays, RequestId, Seen};
use crate::domain::{ProjectNo, Result};

/// The maximal number of stored requests of a project and kind in one window.
const REQUESTS_MAX: usize = 1_000_000;

/// Stores the requests of the present window and the previous one, by project and kind.
#[derive(Default)]
pub struct MemoryReplays {
    /// A request is stored as two independent hashes with random keys of this process, so that collisions cannot be
    /// caused deliberately.
    hashers: [RandomState; 2],
    windows: Mutex<HashMap<(ProjectNo, &'static str), Windows>>,
}

#[derive(Default)]
struct Windows {
    began_ms: i64,
    now: HashSet<[u64; 2]>,
    before: HashSet<[u64; 2]>,
}

#[async_trait]
impl Replays for MemoryReplays {
    async fn first(&self, request: RequestId<'_>, now_ms: i64, valid_ms: i64) -> Result<Seen> {
        let RequestId { project, kind, parts } = request;
        let key = [self.hashers[0].hash_one(parts), self.hashers[1].hash_one(parts)];
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(windows.entry((project, kind)).or_default().note(key, now_ms, valid_ms))
    }
}

impl Windows {
    fn note(&mut self, key: [u64; 2], now_ms: i64, valid_ms: i64) -> Seen {
        // A request is valid from `valid_ms` before its own time to `valid_ms` after it.
        let span_ms = 2 * valid_ms;
        if now_ms - self.began_ms >= span_ms {
            let fresh = now_ms - self.began_ms < 2 * span_ms;
            self.before = if fresh { std::mem::take(&mut self.now) } else { HashSet::new() };
            self.now.clear();
            self.began_ms = now_ms;
        }
        if self.now.contains(&key) || self.before.contains(&key) {
            return Seen::Again;
        }
        if self.now.len() >= REQUESTS_MAX {
            return Seen::Full;
        }
        self.now.insert(key);
        Seen::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded() {
        let mut windows = Windows::default();
        for n in 0..REQUESTS_MAX as u64 {
            assert_eq!(windows.note([n, 0], 1_000_000, 1000), Seen::First);
        }
        assert_eq!(windows.note([0, 1], 1_000_001, 1000), Seen::Full);
        assert_eq!(windows.note([0, 1], 1_002_001, 1000), Seen::First);
    }
}
