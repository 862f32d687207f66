//! What the benches share: figures from samples, and rows.
#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

pub mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ingle::domain::{DeviceNo, EventSource, EventType, NewEvent, Value};

/// A time to begin at.
pub const T: i64 = 1_760_000_000_000;

/// The three codes that the devices report.
pub fn codes() -> [Arc<str>; 3] {
    ["switch_1", "cur_power", "temp_current"].map(Into::into)
}

/// One report: a data point of one of three codes, with a small value.
pub fn report(codes: &[Arc<str>; 3], device: i64, time_ms: i64, count: u64) -> NewEvent {
    let code = (count % 3) as usize;
    let mixed = count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let value = match code {
        0 => (if mixed & 1 == 0 { "true" } else { "false" }).to_owned(),
        1 => (mixed % 20_000).to_string(),
        _ => format!("{}.{}", 15 + mixed % 15, mixed % 10),
    };
    NewEvent {
        device: DeviceNo(device),
        time_ms,
        kind: EventType::DataPoint,
        source: EventSource::DEVICE,
        code: Some(codes[code].clone()),
        value: Value::from_json(value),
        is_history: false,
    }
}

/// The middle one.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The sample that so many of all are below.
pub fn quantile(samples: &mut [Duration], part: f64) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() as f64 * part) as usize;
    samples.get(at.min(samples.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Milliseconds, for printing.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes of all files in a folder.
pub fn bytes_in(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Bytes that this process had written to disk so far, where the system counts them.
pub fn bytes_written() -> u64 {
    bytes_written_by("self")
}

/// Bytes that a process had written to disk so far, where the system counts them.
pub fn bytes_written_by(process: &str) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let line = counts.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What the kernel counts processor time in.
const TICK_MS: u64 = 10;

/// Processor time that a process has taken so far.
pub fn processor_time_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // After the name in parentheses; user and system time are the fields 14 and 15 of all.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].map(|field| fields[field].parse::<u64>().unwrap()).iter().sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// A whole number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
