//! From the start of the process to the first answer with 100,000 devices, and the memory of an empty server.
//!
//! `cargo bench --bench startup`. Settings: `INGLE_BENCH_DEVICES` (100000), `INGLE_BENCH_ROUNDS` (5).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

mod support;

use std::path::Path;
use std::time::Instant;

use support::server::{Server, ask, device_id, prepare, signed, token};
use support::{median, setting};

const PROCESSORS: &str = "0,1";

fn main() {
    let devices = setting("INGLE_BENCH_DEVICES", 100_000) as usize;
    let rounds = setting("INGLE_BENCH_ROUNDS", 5);
    let (full, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    prepare(full.path(), devices);
    prepare(empty.path(), 1);
    let starts = |folder: &Path, device: &str| {
        let samples: Vec<f64> = (0..rounds).map(|_| start(folder, device)).collect();
        median(samples)
    };
    let reference = starts(empty.path(), &device_id(0));
    let figure = starts(full.path(), &device_id(devices / 2));
    println!("start with 1 device        {reference:>7.0} ms to the first answered device read");
    println!("start with {devices} devices  {figure:>7.0} ms  ratio {:.2}  (goal 300 ms)", figure / reference);
    let server = Server::start(empty.path(), PROCESSORS);
    token(server.address);
    println!("empty server               {:>7.1} MB resident  (goal 40 MB)", server.resident_kb() as f64 / 1024.0);
}

/// Milliseconds from the start of the process to the answer of a device read. The process is killed afterwards, so the
/// next start finds what a crash leaves.
fn start(folder: &Path, device: &str) -> f64 {
    let began = Instant::now();
    let server = Server::start(folder, PROCESSORS);
    let token = token(server.address);
    let answer = ask(server.address, &signed(&format!("/v1.0/devices/{device}"), &token));
    let took = began.elapsed();
    assert!(answer.contains("point_5"), "{answer}");
    took.as_secs_f64() * 1000.0
}
