//! Protection against replays: a captured request cannot be sent again.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use super::ProjectNo;

/// The maximal number of stored requests of a project in one window. Only requests with a valid signature are stored,
/// and a project that reaches the limit affects only itself.
const REQUESTS_MAX: usize = 1_000_000;

/// Stores the requests of the present window and the previous one, by project.
#[derive(Default)]
pub struct Replays {
    /// A request is stored as two independent hashes with random keys of this process, so that collisions cannot be
    /// caused deliberately.
    hashers: [RandomState; 2],
    projects: Mutex<HashMap<ProjectNo, Windows>>,
}

#[derive(Default)]
struct Windows {
    began_ms: i64,
    now: HashSet<[u64; 2]>,
    before: HashSet<[u64; 2]>,
}

/// Whether a request is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The request is new.
    First,
    /// The request was received before.
    Again,
    /// Too many requests are stored to decide.
    Full,
}

impl Replays {
    /// Stores a request of a project, identified by `parts`. A request must be valid for at most `window_ms` before and
    /// after its own time.
    pub fn first(&self, project: ProjectNo, parts: &[&str], now_ms: i64, window_ms: i64) -> Seen {
        let key = [self.hashers[0].hash_one(parts), self.hashers[1].hash_one(parts)];
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.entry(project).or_default().note(key, now_ms, window_ms)
    }
}

impl Windows {
    fn note(&mut self, key: [u64; 2], now_ms: i64, window_ms: i64) -> Seen {
        // A request is valid from `window_ms` before its own time to `window_ms` after it.
        let span_ms = 2 * window_ms;
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
    fn a_request_is_taken_once_for_as_long_as_it_is_valid() {
        let replays = Replays::default();
        let request = |part: &str, now_ms| replays.first(ProjectNo(1), &["id", part], now_ms, 300_000);
        assert_eq!(request("a", 1_000_000_000), Seen::First);
        assert_eq!(request("b", 1_000_000_000), Seen::First);
        assert_eq!(request("a", 1_000_000_001), Seen::Again);
        assert_eq!(request("a", 1_000_599_999), Seen::Again);
        assert_eq!(request("c", 1_000_600_000), Seen::First);
        assert_eq!(request("a", 1_001_100_000), Seen::Again);
        assert_eq!(request("a", 1_009_000_000), Seen::First);
        assert_eq!(replays.first(ProjectNo(2), &["id", "a"], 1_009_000_000, 300_000), Seen::First);
    }

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
