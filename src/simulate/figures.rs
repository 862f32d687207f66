//! Counters of a simulation, and the results of a round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Buckets for each doubling of the latency. They give the relative precision of the histogram.
const STEPS: u64 = 64;
const STEPS_LOG2: u32 = STEPS.ilog2();
/// Latencies in microseconds from 0 to beyond an hour.
const BUCKETS: usize = 30 * STEPS as usize;

/// Counters of a round, summed over all devices.
#[derive(Debug)]
pub struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) sent_again: AtomicU64,
    pub(super) unexpected: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) commands: AtomicU64,
    /// Messages that report values set by commands, and their data points.
    pub(super) reported_back: AtomicU64,
    pub(super) points_back: AtomicU64,
    latency_us: Box<[AtomicU64]>,
    worst_us: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            sent: zero(),
            acknowledged: zero(),
            sent_again: zero(),
            unexpected: zero(),
            connects: zero(),
            reconnects: zero(),
            commands: zero(),
            reported_back: zero(),
            points_back: zero(),
            latency_us: (0..BUCKETS).map(|_| zero()).collect(),
            worst_us: zero(),
        }
    }
}

/// Adds one.
pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Counts {
    /// Number of messages that were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        get(&self.acknowledged)
    }

    /// Number of connections that were established so far.
    pub fn connects(&self) -> u64 {
        get(&self.connects)
    }

    pub(super) fn took(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.latency_us.get(bucket(us)).or(self.latency_us.last()) {
            add(bucket);
        }
        if us > get(&self.worst_us) {
            self.worst_us.fetch_max(us, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        let counts = [
            &self.sent,
            &self.acknowledged,
            &self.sent_again,
            &self.unexpected,
            &self.connects,
            &self.reconnects,
            &self.commands,
            &self.reported_back,
            &self.points_back,
            &self.worst_us,
        ];
        for count in counts.into_iter().chain(&self.latency_us) {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn round(&self, devices: usize, points: usize, took: Duration) -> Round {
        let (messages, seconds) = (self.acknowledged(), took.as_secs_f64());
        let own = messages.saturating_sub(get(&self.reported_back));
        let points = own * points as u64 + get(&self.points_back);
        Round {
            devices,
            connected: 0,
            refused: 0,
            unreachable: 0,
            reconnects: get(&self.reconnects),
            messages,
            points,
            unacknowledged: get(&self.sent).saturating_sub(messages),
            sent_again: get(&self.sent_again),
            unexpected: get(&self.unexpected),
            commands: get(&self.commands),
            seconds,
            messages_per_second: messages as f64 / seconds,
            points_per_second: points as f64 / seconds,
            latency_ms: LatencyMs {
                p50: self.part(0.5),
                p99: self.part(0.99),
                worst: get(&self.worst_us) as f64 / 1e3,
            },
            trouble: None,
        }
    }

    /// The latency in milliseconds that this part of the acknowledgements did not exceed.
    fn part(&self, part: f64) -> f64 {
        let all: u64 = self.latency_us.iter().map(get).sum();
        let wanted = (all as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.latency_us.iter().enumerate() {
            seen += get(count);
            if seen >= wanted && seen > 0 {
                return upper_us(index).min(get(&self.worst_us)) as f64 / 1e3;
            }
        }
        0.0
    }
}

/// The bucket of a latency: first one for each microsecond, then [`STEPS`] for each doubling.
fn bucket(us: u64) -> usize {
    let doublings = (us | STEPS).ilog2() - STEPS_LOG2;
    let place = u64::from(doublings) * STEPS + (us >> doublings);
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The longest latency in a bucket.
fn upper_us(bucket: usize) -> u64 {
    let (doublings, step) = ((bucket as u64 / STEPS).saturating_sub(1), bucket as u64 % STEPS);
    if bucket as u64 >= STEPS { ((STEPS + step + 1) << doublings) - 1 } else { step }
}

/// The results of a round.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Number of devices that took part.
    pub devices: usize,
    /// Number of devices that were connected at the end.
    pub connected: usize,
    /// Number of devices that the server refused.
    pub refused: usize,
    /// Number of devices that could not reach the server in time.
    pub unreachable: usize,
    /// Connections that were lost and established again.
    pub reconnects: u64,
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Data points in them.
    pub points: u64,
    /// Messages that were not acknowledged.
    pub unacknowledged: u64,
    /// Messages that were sent again after a lost connection.
    pub sent_again: u64,
    /// Acknowledgements of messages that were not sent.
    pub unexpected: u64,
    /// Commands that were answered.
    pub commands: u64,
    /// Duration until the last acknowledgement.
    pub seconds: f64,
    /// Acknowledged messages per second.
    pub messages_per_second: f64,
    /// Acknowledged data points per second.
    pub points_per_second: f64,
    /// Time from when a message was due until its acknowledgement.
    pub latency_ms: LatencyMs,
    /// A description of the first refusal or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub worst: f64,
}

impl Round {
    /// A description of what went wrong; `None` when every device was accepted and every message acknowledged once.
    pub fn failure(&self) -> Option<String> {
        let counts = [
            (self.refused as u64, "devices were refused"),
            (self.unreachable as u64, "devices could not connect"),
            (self.unacknowledged, "messages were not acknowledged"),
            (self.unexpected, "acknowledgements were of nothing that was sent"),
        ];
        let mut parts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if parts.is_empty() {
            return None;
        }
        parts.extend(self.trouble.clone());
        Some(parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_what_is_in_it() {
        let mut before = 0;
        for us in (0..5000).chain([10_000, 99_999, 1_000_000, 3_599_000_000]) {
            let at = bucket(us);
            assert!(at >= before && at < BUCKETS, "{us}");
            let upper = upper_us(at);
            assert!(upper >= us && (upper - us) * STEPS <= us.max(STEPS), "{us} {upper}");
            before = at;
        }
    }

    #[test]
    fn parts_of_latencies() {
        let counts = Counts::default();
        assert_eq!(counts.part(0.99), 0.0);
        for us in 1..=1000 {
            counts.took(Duration::from_micros(us));
            add(&counts.acknowledged);
            add(&counts.sent);
        }
        add(&counts.sent);
        let round = counts.round(1, 3, Duration::from_secs(2));
        assert!((round.latency_ms.p50 - 0.5).abs() < 0.01 && (round.latency_ms.p99 - 0.99).abs() < 0.02, "{round:?}");
        assert_eq!((round.latency_ms.worst, round.points, round.unacknowledged), (1.0, 3000, 1));
        assert_eq!(round.messages_per_second, 500.0);
        assert_eq!(round.failure().unwrap(), "1 messages were not acknowledged");
        counts.clear();
        assert!(counts.round(1, 3, Duration::from_secs(2)).failure().is_none());
    }
}
