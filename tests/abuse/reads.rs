//! Reads of a long log, many at once.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{CALLS, compare, is_full, memory, metric, timed, timed_while, watched};
use crate::support::TestCloud;
use crate::support::people::people;
use crate::support::tuya::{Request, send};
use crate::support::world::{FOREIGN, PLUG, standard};

/// A server with a long log of the first project's plug, on disk: two codes by turns, and a third that was only commanded.
fn with_a_long_log() -> (tempfile::TempDir, TestCloud, i64) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("INGLE_TELEMETRY_MEMORY_ROWS", "20000"), ("INGLE_TELEMETRY_DURABILITY", "os")];
    let cloud = TestCloud::binary(folder.path(), &settings);
    cloud.apply(&standard());
    let rows = if is_full() { 2_000_000 } else { 120_000 };
    let end = cloud.now_ms() - 60_000;
    let step = 27 * 24 * 3600 * 1000 / rows;
    for from in (0..rows).step_by(40_000) {
        let lines = (from..(from + 40_000).min(rows)).map(|n| {
            let time = end - (rows - n) * step;
            let (kind, code) = match n % 100 {
                0 => (5, "countdown_1"),
                n => (7, ["cur_power", "cur_voltage"][n as usize % 2]),
            };
            let (kind, code) = (format!("\"type\":{kind},\"from\":1"), format!("\"code\":\"{code}\",\"value\":{n}"));
            format!("{{\"device_id\":\"{PLUG}\",\"time\":{time},{kind},{code}}}\n")
        });
        cloud.import_file(lines.collect::<String>().as_bytes(), &["--lenient"]).unwrap();
    }
    (folder, cloud, end)
}

/// Sends a request from so many threads at once until all have so many answers, or until `done`.
fn at_once(cloud: &TestCloud, threads: usize, request: &Request, done: &AtomicBool) -> Vec<Value> {
    let api = cloud.api;
    std::thread::scope(|scope| {
        let ask = || {
            let mut answers = vec![send(api, request).body];
            while !done.load(Ordering::Acquire) {
                answers.push(send(api, request).body);
            }
            answers
        };
        let asking: Vec<_> = (0..threads).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// A project may have half of the turns.
fn turns_of_one() -> u64 {
    std::thread::available_parallelism().map_or(2, usize::from).max(2) as u64 / 2
}

/// Answers that are right, and such that say that the server is busy.
fn right_or_busy(answers: &[Value], is_right: impl Fn(&Value) -> bool) -> (usize, usize) {
    let right = answers.iter().filter(|answer| answer["success"] == true && is_right(&answer["result"])).count();
    let busy = answers.iter().filter(|answer| answer["code"] == 1111).count();
    assert_eq!(right + busy, answers.len(), "{:?}", answers.iter().find(|answer| answer["code"] != 1111));
    (right, busy)
}

#[test]
fn counts_of_a_users_token_are_few_at_once_and_bounded_in_memory() {
    let (_folder, cloud, end) = with_a_long_log();
    let second = cloud.second();
    let foreign = format!("/v1.0/devices/{FOREIGN}");
    let quiet = timed(CALLS, || assert_eq!(second.get(&foreign)["success"], true));
    let idle = memory(&cloud);
    let first = people(&cloud).owner;
    let target =
        format!("/v1.0/devices/{PLUG}/logs?codes=cur_power&end_time={end}&query_type=2&size=1&start_time=1&type=7");
    let request = first.signed("GET", &target, b"", &first.token());
    let count = send(cloud.api, &request).body["result"]["count"].as_u64().unwrap();
    for threads in if is_full() { vec![100, 400] } else { vec![60] } {
        let (peak, reads, (answers, during)) = watched(&cloud, || {
            let done = AtomicBool::new(true);
            let api = cloud.api;
            let calls = second.signed("GET", &foreign, b"", &second.token());
            let call = || assert_eq!(send(api, &calls).body["success"], true);
            timed_while(|| at_once(&cloud, threads, &request, &done), call)
        });
        let (right, busy) = right_or_busy(&answers, |page| page["count"] == count && page["has_next"] == true);
        println!("{threads} counts at once: {right} answered, {busy} refused, {reads} at once in the store");
        assert!(right > 0 && reads <= turns_of_one(), "{right} answers, {reads} at once");
        compare("counts", idle, peak, quiet.clone(), during);
    }
}

#[test]
fn filters_that_match_nothing_leave_the_threads_to_others() {
    let (_folder, cloud, end) = with_a_long_log();
    let (first, second) = (cloud.first(), cloud.second());
    let foreign = format!("/v1.0/devices/{FOREIGN}");
    let quiet = timed(CALLS, || assert_eq!(second.get(&foreign)["success"], true));
    let idle = memory(&cloud);
    // Every block has rows of this type and rows of this code, but no row of both.
    let target = format!("/v1.0/devices/{PLUG}/logs?codes=countdown_1&end_time={end}&size=20&start_time=1&type=7");
    let request = first.signed("GET", &target, b"", &first.token());
    let done = AtomicBool::new(false);
    let (peak, reads, (answers, during)) = watched(&cloud, || {
        let calls = second.signed("GET", &foreign, b"", &second.token());
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| at_once(&cloud, if is_full() { 60 } else { 20 }, &request, &done));
            // All of them wait or read by now.
            cloud.wait(|| metric(&cloud, "ingle_long_reads") > 0);
            let during = timed(CALLS, || assert_eq!(send(cloud.api, &calls).body["success"], true));
            done.store(true, Ordering::Release);
            (asking.join().unwrap(), during)
        })
    });
    let (right, busy) = right_or_busy(&answers, |page| page["logs"] == serde_json::json!([]));
    println!("filters: {right} answered, {busy} refused, {reads} at once in the store");
    assert!(right > 0 && (1..=turns_of_one()).contains(&reads), "{right} answers, {reads} at once");
    compare("filters", idle, peak, quiet, during);
}
