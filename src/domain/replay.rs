//! Requests that were already taken, so that a captured one cannot be sent again (DESIGN §5).

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use super::ProjectNo;

/// Requests of one project that are remembered in one window. Only proven signatures get here, and a project that
/// fills its share harms none but itself.
const REQUESTS_MAX: usize = 1_000_000;

/// Remembers the requests of this window and the one before, by project.
#[derive(Default)]
pub struct Replays {
    /// Two independent hashes under keys of this process stand for a request: nobody can aim at a collision.
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
    /// It is.
    First,
    /// It was taken before.
    Again,
    /// Too many are remembered to say so of another.
    Full,
}

impl Replays {
    /// Notes a request of a project by the parts that name it. A request must be valid for at most `window_ms` before
    /// and after its own time.
    pub fn first(&self, project: ProjectNo, parts: &[&str], now_ms: i64, window_ms: i64) -> Seen {
        let key = [self.hashers[0].hash_one(parts), self.hashers[1].hash_one(parts)];
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.entry(project).or_default().note(key, now_ms, window_ms)
    }
}

impl Windows {
    fn note(&mut self, key: [u64; 2], now_ms: i64, window_ms: i64) -> Seen {
        // A request is valid from `window_ms` before its own time until as long after it.
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
