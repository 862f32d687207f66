//! Failures that occur repeatedly: logged when they begin, counted while they continue, and logged again when they end
//! and once an hour.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time after which a continuing failure is logged again.
const LOG_AGAIN: Duration = Duration::from_secs(3600);
/// A failure has ended if it did not occur for this long and the operation then succeeds.
const QUIET_PERIOD: Duration = Duration::from_secs(60);
/// Maximum number of causes that are counted separately; further ones are counted together.
const CAUSES_MAX: usize = 8;
/// The cause under which the remaining ones are counted.
const OTHER: &str = "other causes";

/// One kind of failure. It is counted by cause, and each cause is logged at most once an hour, however often it occurs.
pub struct Repeated {
    what: &'static str,
    total: AtomicU64,
    is_failing: AtomicBool,
    causes: Mutex<Vec<Cause>>,
}

struct Cause {
    text: String,
    /// Number of failures since the first.
    count: u64,
    logged: Instant,
    last: Instant,
}

/// What is logged.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Begun,
    /// The failure continues; with the number of failures since the first.
    Continues(u64),
}

impl Repeated {
    /// A failure that has not occurred yet. `what` describes it in a few words for the log.
    pub const fn new(what: &'static str) -> Self {
        let (total, is_failing) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { what, total, is_failing, causes: Mutex::new(Vec::new()) }
    }

    /// Records a failure. The first failure of a cause is logged, and after that one an hour. The text must not contain
    /// secrets, and should be the same whenever the cause is the same.
    pub fn record_failure(&self, cause: &str) {
        match self.note(cause, Instant::now()) {
            None => {}
            Some(Line::Begun) => {
                tracing::warn!(cause, "{}; further ones are counted and not logged", self.what);
            }
            Some(Line::Continues(count)) => tracing::warn!(cause, count, "{}, still", self.what),
        }
    }

    /// Records a success. When no failure has occurred for a minute, the end of the failure is logged once, so an
    /// operation that fails now and then is logged as one continuing failure. Costs one atomic load while there is no
    /// failure.
    pub fn record_success(&self) {
        if !self.is_failing.load(Ordering::Acquire) {
            return;
        }
        for Cause { text, count, .. } in self.take_ended(Instant::now()) {
            tracing::info!(cause = text, count, "{}: it has ended", self.what);
        }
    }

    /// Number of failures since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn causes(&self) -> MutexGuard<'_, Vec<Cause>> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_ended(&self, now: Instant) -> Vec<Cause> {
        let mut causes = self.causes();
        let (ended, continuing) = std::mem::take(&mut *causes)
            .into_iter()
            .partition(|cause: &Cause| now.saturating_duration_since(cause.last) >= QUIET_PERIOD);
        *causes = continuing;
        self.is_failing.store(!causes.is_empty(), Ordering::Release);
        ended
    }

    fn note(&self, cause: &str, now: Instant) -> Option<Line> {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut causes = self.causes();
        self.is_failing.store(true, Ordering::Release);
        let is_full = causes.len() >= CAUSES_MAX && causes.iter().all(|other| other.text != cause);
        let cause = if is_full { OTHER } else { cause };
        if let Some(existing) = causes.iter_mut().find(|other| other.text == cause) {
            existing.count += 1;
            existing.last = now;
            if now.saturating_duration_since(existing.logged) < LOG_AGAIN {
                return None;
            }
            existing.logged = now;
            return Some(Line::Continues(existing.count));
        }
        causes.push(Cause { text: cause.to_owned(), count: 1, logged: now, last: now });
        Some(Line::Begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_an_hour_and_counted_always() {
        let repeated = Repeated::new("a test fails");
        let begin = Instant::now();
        assert_eq!(repeated.note("disk", begin), Some(Line::Begun));
        for second in 1..3600 {
            assert_eq!(repeated.note("disk", begin + Duration::from_secs(second)), None);
        }
        assert_eq!(repeated.note("network", begin + LOG_AGAIN), Some(Line::Begun));
        assert_eq!(repeated.note("disk", begin + LOG_AGAIN), Some(Line::Continues(3601)));
        assert_eq!(repeated.note("disk", begin + LOG_AGAIN), None);
        assert_eq!(repeated.total(), 3603);
    }

    #[test]
    fn what_ended_is_logged_again_when_it_begins_again() {
        let repeated = Repeated::new("a test fails");
        let begin = Instant::now();
        assert!(repeated.take_ended(begin).is_empty());
        assert_eq!(repeated.note("disk", begin), Some(Line::Begun));
        // Alternating success and failure is one continuing failure.
        assert!(repeated.take_ended(begin + QUIET_PERIOD / 2).is_empty());
        assert_eq!(repeated.note("disk", begin + QUIET_PERIOD / 2), None);
        assert!(repeated.take_ended(begin + QUIET_PERIOD).is_empty());
        let ended = repeated.take_ended(begin + QUIET_PERIOD + QUIET_PERIOD / 2);
        assert_eq!(ended.iter().map(|cause| (cause.text.as_str(), cause.count)).collect::<Vec<_>>(), [("disk", 2)]);
        assert_eq!(repeated.note("disk", begin + QUIET_PERIOD * 2), Some(Line::Begun));
        assert_eq!(repeated.total(), 3);
    }

    #[test]
    fn causes_without_end_are_counted_together() {
        let repeated = Repeated::new("a test fails");
        let now = Instant::now();
        let lines = (0..1000).filter_map(|n| repeated.note(&format!("cause {n}"), now)).count();
        assert_eq!((lines, repeated.total()), (CAUSES_MAX + 1, 1000));
        assert_eq!(repeated.causes().len(), CAUSES_MAX + 1);
    }
}
