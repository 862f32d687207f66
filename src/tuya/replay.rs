//! Writes that were already taken, so that a captured one cannot be sent again (DESIGN §5).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Writes remembered in one window. Only proven signatures get here, so only a project's own calls can fill it.
const WRITES_MAX: usize = 250_000;

/// Remembers the writes of this window and the one before.
#[derive(Default)]
pub struct Replays(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    began_ms: i64,
    now: HashSet<[u8; 16]>,
    before: HashSet<[u8; 16]>,
}

/// Whether a write is new.
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
    /// Notes a write by the parts that name it.
    pub fn first(&self, parts: &[&str], now_ms: i64, window_ms: i64) -> Seen {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(key, now_ms, window_ms)
    }
}

impl Windows {
    fn note(&mut self, key: [u8; 16], now_ms: i64, window_ms: i64) -> Seen {
        // A request is valid from `window_ms` before its `t` until as long after it.
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
        if self.now.len() >= WRITES_MAX {
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
    fn a_write_is_taken_once_for_as_long_as_it_is_valid() {
        let replays = Replays::default();
        let write = |part: &str, now_ms| replays.first(&["id", part], now_ms, 300_000);
        assert_eq!(write("a", 1_000_000_000), Seen::First);
        assert_eq!(write("b", 1_000_000_000), Seen::First);
        assert_eq!(write("a", 1_000_000_001), Seen::Again);
        assert_eq!(write("a", 1_000_599_999), Seen::Again);
        assert_eq!(write("c", 1_000_600_000), Seen::First);
        assert_eq!(write("a", 1_001_100_000), Seen::Again);
        assert_eq!(write("a", 1_009_000_000), Seen::First);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut windows = Windows::default();
        for n in 0..WRITES_MAX as u128 {
            assert_eq!(windows.note(n.to_le_bytes(), 1_000_000, 1000), Seen::First);
        }
        assert_eq!(windows.note([255; 16], 1_000_001, 1000), Seen::Full);
        assert_eq!(windows.note([255; 16], 1_002_001, 1000), Seen::First);
    }
}
