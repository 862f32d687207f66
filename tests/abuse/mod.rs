//! What somebody who means no good can ask for, of the built binary: its memory stays bounded, and others are served.
//!
//! With `INGLE_ABUSE=full` there is as much of it as the bounds are made for, and the latency of others is measured too,
//! which needs a machine with nothing else to do.

mod accepts;
mod bodies;
mod reads;
mod searches;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::support::TestCloud;

/// So much more than idle a server may take, whatever is asked of it.
const MEMORY_MAX: u64 = 256 << 20;

/// A time that is no longer than this says nothing on a machine that others use too.
const NOISE: Duration = Duration::from_millis(5);

/// Calls of the other project at least, of which the time is taken.
const CALLS: usize = 200;

/// Between two looks at a server that is watched.
const PERIOD: Duration = Duration::from_millis(20);

/// Whether the whole of it is wanted.
fn is_full() -> bool {
    std::env::var("INGLE_ABUSE").is_ok_and(|value| value == "full")
}

/// Bytes of memory that a server's process has now.
fn memory(cloud: &TestCloud) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cloud.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The operator's figures.
fn metric(cloud: &TestCloud, name: &str) -> u64 {
    let address: SocketAddr =
        cloud.addresses["metrics"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
    let text = crate::support::raw(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Watches a server's memory and its long reads while something is done to it: the most of each.
fn watched<T>(cloud: &TestCloud, work: impl FnOnce() -> T) -> (u64, u64, T) {
    let (most, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
    let result = std::thread::scope(|scope| {
        let (most, reads) = (&most, &reads);
        let watcher = scope.spawn(move || {
            while is_done.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                most.fetch_max(memory(cloud), Ordering::Relaxed);
                reads.fetch_max(metric(cloud, "ingle_long_reads"), Ordering::Relaxed);
            }
        });
        let result = work();
        drop(done);
        watcher.join().unwrap();
        result
    });
    (most.into_inner(), reads.into_inner(), result)
}

/// The time that 99 of a hundred do not exceed.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// How long something takes, again and again.
fn timed(count: usize, mut call: impl FnMut()) -> Vec<Duration> {
    let one = |_| {
        let begun = Instant::now();
        call();
        begun.elapsed()
    };
    (0..count).map(one).collect()
}

/// How long something takes, again and again while something else is done, and the result of that.
fn timed_while<T: Send>(work: impl FnOnce() -> T + Send, mut call: impl FnMut()) -> (T, Vec<Duration>) {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut times = timed(CALLS, &mut call);
        while !working.is_finished() {
            times.extend(timed(1, &mut call));
        }
        (working.join().unwrap(), times)
    })
}

/// Says what was measured, and in a full run that others were not held up.
fn compare(what: &str, idle: u64, peak: u64, quiet: Vec<Duration>, during: Vec<Duration>) {
    let (quiet, during) = (p99(quiet), p99(during));
    let megabytes = |bytes: u64| bytes / (1 << 20);
    let _ = writeln!(
        std::io::stdout(),
        "{what}: memory {} MB idle, {} MB at most; another project's p99 {quiet:?} in quiet, {during:?} meanwhile",
        megabytes(idle),
        megabytes(peak)
    );
    assert!(peak < idle + MEMORY_MAX, "{what}: {peak} bytes, {idle} idle");
    if is_full() {
        assert!(during < (quiet * 3).max(NOISE), "{what}: {during:?} instead of {quiet:?}");
    }
}
