//! A signed device read, a signed page of the log, a signed list of a user's hundred devices with their status, as the
//! project and as the user, and in the other dialect a signed list of a user's twenty devices, against a bare axum
//! "hello": each server on one processor and the client on the other. Then the processor time that the server takes for a
//! device read and for a list of a hundred devices, with none and with up to fifty writes to the registry a second beside,
//! and what the writes take alone.
//!
//! `cargo bench --bench api`. Settings: `INGLE_BENCH_DEVICES` (100000), `INGLE_BENCH_SECONDS` a round (3),
//! `INGLE_BENCH_ROUNDS` (5), `INGLE_BENCH_ROWS`: `reads` or `writes` for the first or the last part alone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

mod support;

use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use support::server::{
    DEVICES_OF_LARGE_USER, DEVICES_OF_USER, LARGE_USERS, Server, Writes, cloud_token, device_id, large_user, prepare,
    signed, signed_call, throughput, token, user_token,
};
use support::{median, setting};

const SERVER: &str = "0";
const CLIENT: &str = "1";
const CONNECTIONS: usize = 64;
/// Writes to the registry a second, beside reads.
const WRITE_RATES: [u32; 4] = [0, 1, 10, 50];

fn main() {
    match std::env::var("INGLE_BENCH_MODE").as_deref() {
        Ok("hello") => hello(),
        Ok("load") => load(),
        _ => {
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", CLIENT]).arg(std::env::current_exe().unwrap()).env("INGLE_BENCH_MODE", "load");
            assert!(pinned.status().unwrap().success());
        }
    }
}

/// The reference: the framework alone, answering a constant.
#[expect(clippy::disallowed_methods, reason = "the reference is the framework as it comes")]
fn hello() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        axum::serve(listener, Router::new().route("/", get(|| async { "hello" }))).await.unwrap();
    });
}

fn load() {
    let devices = setting("INGLE_BENCH_DEVICES", 100_000) as usize;
    let lasting = Duration::from_secs(setting("INGLE_BENCH_SECONDS", 3));
    let rounds = setting("INGLE_BENCH_ROUNDS", 5);
    let rows = std::env::var("INGLE_BENCH_ROWS").unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), devices);
    let mut server = Server::start(folder.path(), SERVER);
    let token = token(server.address);
    let cold = Instant::now();
    for n in 0..devices {
        server.ask(&signed(&format!("/v1.0/devices/{}", device_id(n)), &token));
    }
    let cold = cold.elapsed().as_secs_f64() * 1e6 / devices as f64;
    println!("first read of each       {cold:>9.1} us, one after the other");
    if rows != "writes" {
        reads(&mut server, &token, devices, rounds, lasting);
    }
    if rows != "reads" {
        beside_writes(&server, &token, devices, rounds, lasting);
    }
    println!("({devices} devices, 6 data points each, {CONNECTIONS} connections, medians of {rounds} rounds)");
    println!("resident memory          {:>9} kB", server.resident_kb());
}

/// Signed reads of all devices.
fn device_reads(devices: usize, token: &str) -> Vec<Vec<u8>> {
    (0..devices).map(|n| signed(&format!("/v1.0/devices/{}", device_id(n)), token)).collect()
}

/// Processor time for a read beside so many writes a second: with the writes, and without what the same writes take alone.
fn beside_writes(server: &Server, token: &str, devices: usize, rounds: u64, lasting: Duration) {
    // Microseconds of processor time a second.
    let busy = |work: &mut dyn FnMut()| {
        let (began, before) = (Instant::now(), server.processor_time());
        work();
        (server.processor_time() - before).as_secs_f64() * 1e6 / began.elapsed().as_secs_f64()
    };
    let writes_alone: Vec<Vec<f64>> = WRITE_RATES
        .into_iter()
        .map(|per_second| {
            let _writes = Writes::start(server, per_second, devices);
            (0..rounds).map(|_| busy(&mut || wait(lasting))).collect()
        })
        .collect();
    let writes_alone: Vec<f64> = writes_alone.into_iter().map(median).collect();
    for (per_second, time) in WRITE_RATES.into_iter().zip(&writes_alone).skip(1) {
        let each = (time - writes_alone[0]) / f64::from(per_second);
        println!("a write, {per_second:>2} writes/s alone        {each:>8.1} us of processor");
    }
    let mut samples: [[Vec<(f64, f64)>; 4]; 2] = Default::default();
    for _ in 0..rounds {
        let list = |n: usize| signed(&format!("/v1.0/users/{}/devices", large_user(n)), token);
        let requests = [device_reads(devices, token), (0..LARGE_USERS).map(list).collect()].map(Rc::new);
        for (requests, samples) in requests.iter().zip(&mut samples) {
            for (at, (per_second, samples)) in WRITE_RATES.into_iter().zip(samples).enumerate() {
                let _writes = Writes::start(server, per_second, devices);
                let mut reads_a_second = 0.0;
                let busy = busy(&mut || {
                    reads_a_second = throughput(server.address, requests, CONNECTIONS, lasting, b"point_5");
                });
                let writes = writes_alone[at] - writes_alone[0];
                samples.push((busy / reads_a_second, (busy - writes) / reads_a_second));
            }
        }
    }
    for (name, samples) in ["signed device read", "signed list of 100"].into_iter().zip(&samples) {
        for (per_second, times) in WRITE_RATES.into_iter().zip(samples) {
            let of = |part: fn(&(f64, f64)) -> f64| {
                let ratios = times.iter().zip(&samples[0]).map(|(time, without)| part(time) / part(without));
                (median(times.iter().map(part).collect()), median(ratios.collect()))
            };
            let ((all, all_ratio), (own, own_ratio)) = (of(|time| time.0), of(|time| time.1));
            println!(
                "{name}, {per_second:>2} writes/s {all:>8.1} us of processor  ratio {all_ratio:.2}, without the writes' own time \
                 {own:>6.1} us  ratio {own_ratio:.2}  (goal at 50: 1.15)"
            );
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the server is measured for that long")]
fn wait(lasting: Duration) {
    std::thread::sleep(lasting);
}

fn reads(server: &mut Server, token: &str, devices: usize, rounds: u64, lasting: Duration) {
    let reference = Server::start_self("hello", SERVER);
    let cloud_token = cloud_token(server.address);
    let plain = Rc::new(vec![b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n".to_vec()]);

    let list = |n: usize| {
        let params = format!(r#"{{"openId":"open{n}","openIdAppKey":"app"}}"#);
        signed_call("/cloud/device/queryByUser", Some(&cloud_token), &params)
    };
    let users = devices / DEVICES_OF_USER;
    // More than can be asked for in a round: each has a nonce, which is good for one time.
    let lists_a_round = 100_000 * lasting.as_secs() as usize;
    let cold_lists = Instant::now();
    for n in 0..users {
        server.ask(&list(n));
    }
    let cold_lists = cold_lists.elapsed();

    let user_tokens: Vec<String> = (0..LARGE_USERS).map(|n| user_token(server.address, n)).collect();
    let mut samples: Vec<[f64; 6]> = Vec::new();
    for _ in 0..rounds {
        // Signed anew: a request is valid for five minutes.
        let reads = device_reads(devices, token);
        let end = "/logs?end_time=4000000000000&size=20&start_time=0&type=7";
        let pages = (0..devices).map(|n| signed(&format!("/v1.0/devices/{}{end}", device_id(n)), token)).collect();
        let hundred = |n: usize, token: &str| signed(&format!("/v1.0/users/{}/devices", large_user(n)), token);
        let of_users = (0..LARGE_USERS).map(|n| hundred(n, token)).collect();
        let by_users = (0..LARGE_USERS).map(|n| hundred(n, &user_tokens[n])).collect();
        let lists = (0..lists_a_round).map(|n| list(n % users)).collect();
        samples.push([
            throughput(reference.address, &plain, CONNECTIONS, lasting, b"hello"),
            throughput(server.address, &Rc::new(reads), CONNECTIONS, lasting, b"point_5"),
            throughput(server.address, &Rc::new(pages), CONNECTIONS, lasting, b"current_row_key"),
            throughput(server.address, &Rc::new(lists), CONNECTIONS, lasting, b"identityAlias"),
            throughput(server.address, &Rc::new(of_users), CONNECTIONS, lasting, b"point_5"),
            throughput(server.address, &Rc::new(by_users), CONNECTIONS, lasting, b"point_5"),
        ]);
    }
    let column = |index: usize| median(samples.iter().map(|sample| sample[index]).collect());
    let ratio = |index: usize| median(samples.iter().map(|sample| sample[index] / sample[0]).collect());
    println!("bare axum hello          {:>9.0} requests/s", column(0));
    println!("signed device read       {:>9.0} requests/s  ratio {:.2}  (goal 0.30, aim 0.50)", column(1), ratio(1));
    println!("signed page of the log   {:>9.0} requests/s  ratio {:.2}", column(2), ratio(2));
    println!("signed queryByUser of 20  {:>8.0} requests/s  ratio {:.2}  (goal 0.25)", column(3), ratio(3));
    let many = DEVICES_OF_LARGE_USER;
    println!("signed list of {many}       {:>9.0} requests/s  ratio {:.3}  (goal 0.05)", column(4), ratio(4));
    println!("the same by its user     {:>9.0} requests/s  ratio {:.3}", column(5), ratio(5));
    println!("first list of each       {:>9.1} us, one after the other", cold_lists.as_secs_f64() * 1e6 / users as f64);
}
