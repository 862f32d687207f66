//! A limit for log lines that clients cause: so many for each client and kind, for each client, and in total within a
//! minute. Lines that are left out are counted, and the next line says how many.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// The period of the limits.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Maximum numbers of lines within a [`PERIOD`].
#[derive(Clone, Copy, Debug)]
pub struct LinesMax {
    /// For a client and a kind of event.
    pub of_kind: u32,
    /// For a client.
    pub of_client: u32,
    /// In total. It also limits the memory.
    pub in_total: u32,
}

/// The lines of one kind of event.
pub struct LogLimit {
    max: LinesMax,
    hasher: RandomState,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// The beginning of the period.
    since: Option<Instant>,
    /// Lines of this period by the hash of a client, and of a client and a kind. The hashes are keyed, so nobody can choose
    /// keys that collide in the map.
    counts: FxHashMap<u64, u32>,
    total: u32,
    /// Events without a line since the last line of an earlier period.
    left_out: u64,
}

impl LogLimit {
    /// No lines yet.
    pub fn new(max: LinesMax) -> Self {
        Self { max, hasher: RandomState::new(), lines: Mutex::default() }
    }

    /// Whether an event may be logged: the number of events that were left out in earlier periods and that no line has
    /// reported yet. `None` if the event is left out.
    pub fn admit(&self, client: impl Hash, kind: impl Hash, now: Instant) -> Option<u64> {
        let of_client = self.hasher.hash_one(&client);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = lines.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD);
        if is_new {
            (lines.since, lines.total) = (Some(now), 0);
            lines.counts.clear();
        }
        let has_room = |key: u64, max: u32| lines.counts.get(&key).is_none_or(|count| *count < max);
        // The kind is often a long text, so it is hashed last.
        let of_kind = (lines.total < self.max.in_total && has_room(of_client, self.max.of_client))
            .then(|| self.hasher.hash_one((&client, &kind)))
            .filter(|of_kind| has_room(*of_kind, self.max.of_kind));
        let Some(of_kind) = of_kind else {
            lines.left_out += 1;
            return None;
        };
        for key in [of_client, of_kind] {
            *lines.counts.entry(key).or_default() += 1;
        }
        lines.total += 1;
        // Within a period the number grows with every event, so it is reported once, at the beginning of the next one.
        Some(if lines.total == 1 { std::mem::take(&mut lines.left_out) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_by_kind_by_client_and_in_total_and_what_is_left_out_is_reported() {
        let limit = LogLimit::new(LinesMax { of_kind: 2, of_client: 5, in_total: 12 });
        let begin = Instant::now();
        let lines = |client: u8, kind: u8, now| (0..100).filter_map(|_| limit.admit(client, kind, now)).count();
        assert_eq!([lines(1, 1, begin), lines(1, 2, begin), lines(1, 3, begin), lines(1, 4, begin)], [2, 2, 1, 0]);
        assert_eq!([lines(2, 1, begin), lines(2, 2, begin), lines(2, 3, begin), lines(3, 1, begin)], [2, 2, 1, 2]);
        assert_eq!(lines(4, 1, begin), 0, "twelve in total");
        assert!(limit.lines.lock().unwrap().counts.len() <= 24);
        let later = begin + PERIOD;
        assert_eq!(limit.admit(1, 1, later), Some(9 * 100 - 12));
        assert_eq!([limit.admit(1, 1, later), limit.admit(1, 1, later)], [Some(0), None]);
        assert_eq!(limit.admit(1, 1, later + PERIOD), Some(1));
    }
}
