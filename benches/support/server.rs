//! A real server with many devices, and a client that asks as fast as it can.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ingle::app::SystemClock;
use ingle::domain::Clock;
use ingle::tuya::sign::{Claims, SignedParts, sign};
use md5::{Digest, Md5};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const INGLE: &str = env!("CARGO_BIN_EXE_ingle");
const CLIENT_ID: &str = "benchclient000000001";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const APP_KEY: &str = "60030000";
/// Data points of a device.
const POINTS: usize = 6;

/// The id of the n-th device.
pub fn device_id(n: usize) -> String {
    format!("bf{n:018}")
}

/// Devices of one user.
pub const DEVICES_OF_USER: usize = 20;

/// The password of each user who has many devices.
const LARGE_PASSWORD: &str = "password";
/// Users who have many devices, and how many each.
pub const LARGE_USERS: usize = 20;
pub const DEVICES_OF_LARGE_USER: usize = 100;

/// The uid of the n-th user who has many.
pub fn large_user(n: usize) -> String {
    format!("az{n:017}")
}

/// Makes a data folder with one project and `devices` devices that have six data points each, twenty a user, and further
/// ones of [`LARGE_USERS`].
pub fn prepare(folder: &Path, devices: usize) {
    let functions: Vec<String> =
        (0..POINTS).map(|n| format!(r#"{{"code":"point_{n}","type":"Integer","values":{{}}}}"#)).collect();
    let all = devices + LARGE_USERS * DEVICES_OF_LARGE_USER;
    let owner = |n: usize| match n.checked_sub(devices) {
        None => format!("u{}", n / DEVICES_OF_USER),
        Some(more) => format!("large{}", more / DEVICES_OF_LARGE_USER),
    };
    let list: Vec<String> = (0..all)
        .map(|n| {
            let (id, owner) = (device_id(n), owner(n));
            format!(r#"{{"product_id":"bench","device_id":"{id}","name":"Device {n}","owner":"{owner}"}}"#)
        })
        .collect();
    let mut users: Vec<String> = (0..devices.div_ceil(DEVICES_OF_USER))
        .map(|n| format!(r#"{{"schema":"app","username":"u{n}","open_id":"open{n}"}}"#))
        .collect();
    users.extend((0..LARGE_USERS).map(|n| {
        let (uid, password) = (large_user(n), LARGE_PASSWORD);
        format!(r#"{{"schema":"app","username":"large{n}","uid":"{uid}","password":"{password}"}}"#)
    }));
    let world = format!(
        r#"{{"projects":[{{"name":"bench","tuya":{{"client_id":"{CLIENT_ID}","secret":"{SECRET}"}},
        "aliyun":{{"project_id":"bench","app_key":"{APP_KEY}","app_secret":"{SECRET}"}},
        "apps":[{{"schema":"app","app_key":"app"}}],"users":[{}],
        "products":[{{"product_id":"bench","name":"Bench","category":"cz","functions":[{}]}}],
        "devices":[{}]}}]}}"#,
        users.join(","),
        functions.join(","),
        list.join(",")
    );
    run(folder, &["apply", "-"], world.as_bytes());
    let now = SystemClock.now_ms();
    let mut lines = String::new();
    for (n, point) in (0..all).flat_map(|n| (0..POINTS).map(move |point| (n, point))) {
        lines.push_str(&format!(
            "{{\"device_id\":\"{}\",\"time\":{now},\"type\":7,\"from\":1,\"code\":\"point_{point}\",\"value\":{n}}}\n",
            device_id(n)
        ));
    }
    let file = folder.join("events.jsonl");
    std::fs::write(&file, lines).unwrap();
    run(folder, &["import", "events", file.to_str().unwrap()], b"");
    std::fs::remove_file(file).unwrap();
}

/// Runs a subcommand on a folder.
pub fn run(folder: &Path, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new(INGLE);
    command.args(arguments).arg("--data").arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
}

/// A server process, ended when dropped.
pub struct Server {
    child: Child,
    kept: Option<TcpStream>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Listeners that are switched off.
const OFF: [(&str, &str); 5] = [
    ("INGLE_API_LISTEN", ""),
    ("INGLE_API_TLS_LISTEN", ""),
    ("INGLE_MQTT_LISTEN", ""),
    ("INGLE_MQTT_TLS_LISTEN", ""),
    ("INGLE_METRICS_LISTEN", ""),
];

impl Server {
    /// Starts the built binary on a processor, for the API.
    pub fn start(folder: &Path, processor: &str) -> Self {
        Self::listening(folder, processor, ("INGLE_API_LISTEN", "127.0.0.1:0"), "api")
    }

    /// Starts the built binary on a processor, with one listener: the setting of its address, and its name.
    pub fn listening(folder: &Path, processor: &str, listen: (&str, &str), name: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", processor, INGLE, "serve", "--json", "--data"]).arg(folder);
        command.envs(OFF).env(listen.0, listen.1);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let line = first_line(&mut child);
        let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = addresses[name].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { child, kept: None, address }
    }

    /// Another server, on a processor, that listens when a connection succeeds.
    pub fn other(command: &[&str], processor: &str, address: SocketAddr) -> Self {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", processor]).args(command).stdout(Stdio::null()).stderr(Stdio::null());
        let child = pinned.spawn().unwrap();
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        Self { child, kept: None, address }
    }

    /// Starts another mode of this bench on a processor; it prints its address.
    pub fn start_self(mode: &str, processor: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", processor]).arg(std::env::current_exe().unwrap()).env("INGLE_BENCH_MODE", mode);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let address = first_line(&mut child).trim().parse().unwrap();
        Self { child, kept: None, address }
    }

    /// One request on the connection that is kept for it.
    pub fn ask(&mut self, request: &[u8]) {
        let stream = self.kept.get_or_insert_with(|| TcpStream::connect(self.address).unwrap());
        stream.set_nodelay(true).unwrap();
        answer_on(stream, request);
    }

    /// Resident memory in kilobytes. `taskset` has become the server by now.
    pub fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor time that it has taken so far.
    pub fn processor_time(&self) -> Duration {
        super::processor_time_of(&self.child.id().to_string())
    }

    /// Bytes that it had written to disk so far.
    pub fn bytes_written(&self) -> u64 {
        super::bytes_written_by(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

/// A signed read as it goes over the wire.
pub fn signed(target: &str, token: &str) -> Vec<u8> {
    signed_with("GET", target, token, "")
}

/// A signed request with a body as it goes over the wire.
pub fn signed_with(method: &str, target: &str, token: &str, body: &str) -> Vec<u8> {
    let t = SystemClock.now_ms().to_string();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let claims = Claims { client_id: CLIENT_ID, sign: "", t: &t, nonce: "", access_token: token };
    let headers = axum::http::HeaderMap::new();
    let parts = SignedParts { method, path, query, headers: &headers, body: body.as_bytes() };
    let sign = sign(SECRET, &claims, &parts).unwrap();
    let token = if token.is_empty() { String::new() } else { format!("access_token: {token}\r\n") };
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!(
        "{method} {target} HTTP/1.1\r\nhost: bench\r\nclient_id: {CLIENT_ID}\r\nt: {t}\r\nsign: {sign}\r\n\
         sign_method: HMAC-SHA256\r\n{token}{length}\r\n{body}"
    )
    .into_bytes()
}

/// A signed call of the Alibaba dialect as it goes over the wire: as one of its clients makes it, with a nonce that is
/// good for one time.
pub fn signed_call(path: &str, token: Option<&str>, params: &str) -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nonce = format!("c9f15cbf-f4ac-4a6c-b54d-{:012x}", COUNT.fetch_add(1, Ordering::Relaxed));
    let token = token.map_or("null".to_owned(), |token| format!("\"{token}\""));
    let body = format!(
        r#"{{"id":"1509086454180","version":"1.0","request":{{"apiVer":"1.0.0","cloudToken":{token}}},"params":{params}}}"#
    );
    let (t, md5) = (SystemClock.now_ms(), STANDARD.encode(Md5::digest(&body)));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let headers = format!("X-Ca-Key:{APP_KEY}\nX-Ca-Nonce:{nonce}\nX-Ca-Timestamp:{t}\n");
    mac.update(format!("POST\napplication/json\n{md5}\napplication/json\n\n{headers}{path}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\ncontent-type: application/json\r\n\
         content-md5: {md5}\r\nx-ca-key: {APP_KEY}\r\nx-ca-nonce: {nonce}\r\nx-ca-timestamp: {t}\r\n\
         x-ca-signature-headers: X-Ca-Key,X-Ca-Nonce,X-Ca-Timestamp\r\nx-ca-signature: {signature}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A cloudToken.
pub fn cloud_token(address: SocketAddr) -> String {
    let answer = ask(address, &signed_call("/cloud/token", None, r#"{"grantType":"project","res":"bench"}"#));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["data"]["cloudToken"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// One request on a connection of its own; the body.
pub fn ask(address: SocketAddr, request: &[u8]) -> String {
    answer_on(&mut TcpStream::connect(address).unwrap(), request)
}

fn answer_on(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "closed");
        answer.extend_from_slice(&buffer[..read]);
        if let Some(length) = complete(&answer) {
            return String::from_utf8_lossy(&answer[..length]).split("\r\n\r\n").nth(1).unwrap().to_owned();
        }
    }
}

/// An access token of the n-th user who has many devices.
pub fn user_token(address: SocketAddr, n: usize) -> String {
    login(address, n)["access_token"].as_str().unwrap().to_owned()
}

/// A login of the n-th user who has many devices: its two tokens.
fn login(address: SocketAddr, n: usize) -> serde_json::Value {
    let body = format!(r#"{{"username":"large{n}","password":"{LARGE_PASSWORD}"}}"#);
    result(&ask(address, &signed_with("POST", "/v1.0/iot-03/users/login", "", &body)))
}

fn result(answer: &str) -> serde_json::Value {
    let mut answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["success"], true, "{answer}");
    answer["result"].take()
}

/// Writes to the registry at a steady rate, until it is dropped: devices are renamed, every second one of a user who has
/// many, and between two of them a login is renewed. None of them hashes a password.
pub struct Writes {
    /// Ends the thread when it is dropped.
    going: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writes {
    /// Begins to write so many times a second, to a server with `devices` devices besides those of the users who have many.
    pub fn start(server: &Server, per_second: u32, devices: usize) -> Self {
        if per_second == 0 {
            return Self { going: None, thread: None };
        }
        let (address, (going, gone)) = (server.address, mpsc::sync_channel(1));
        let token = token(address);
        let mut refresh = login(address, 0)["refresh_token"].take();
        let run = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            let began = Instant::now();
            for n in 0.. {
                let due = began + Duration::from_secs(1) * n / per_second;
                let wait = due.saturating_duration_since(Instant::now());
                if gone.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    return;
                }
                let n = n as usize;
                let of_large = devices + n * 7 % (LARGE_USERS * DEVICES_OF_LARGE_USER);
                let (device, body) = ([n * 7919 % devices, of_large][n / 2 % 2], format!(r#"{{"name":"Name {n}"}}"#));
                if n.is_multiple_of(2) {
                    let target = format!("/v1.0/devices/{}", device_id(device));
                    result(&answer_on(&mut stream, &signed_with("PUT", &target, &token, &body)));
                } else {
                    let target = format!("/v1.0/token/{}", refresh.as_str().unwrap());
                    refresh = result(&answer_on(&mut stream, &signed(&target, "")))["refresh_token"].take();
                }
            }
        };
        Self { going: Some(going), thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.going.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// An access token.
pub fn token(address: SocketAddr) -> String {
    let answer = ask(address, &signed("/v1.0/token?grant_type=1", ""));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["result"]["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The length of the first whole answer in `bytes`.
fn complete(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let whole = head + length.parse::<usize>().unwrap();
    (bytes.len() >= whole).then_some(whole)
}

/// Requests a second that `connections` clients get answered, each asking for the next thing when it has its answer.
/// Every answer must hold `mark`. No request is sent again before all others were.
pub fn throughput(
    address: SocketAddr,
    requests: &Rc<Vec<Vec<u8>>>,
    connections: usize,
    lasting: Duration,
    mark: &'static [u8],
) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().event_interval(4).enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let began = Instant::now();
        // The client never sleeps: waking it would be charged to the server, and more so to a slower one.
        tokio::task::spawn_local(async move {
            while began.elapsed() < lasting {
                tokio::task::yield_now().await;
            }
        });
        let count = Rc::new(Cell::new(0));
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let (requests, count) = (requests.clone(), count.clone());
                tokio::task::spawn_local(async move {
                    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = vec![0; 512 * 1024];
                    let mut done = 0_u64;
                    while began.elapsed() < lasting {
                        // In no order that a cache could like: a step that shares no factor with the length.
                        let next = count.get() * 104_729 % requests.len();
                        count.set(count.get() + 1);
                        stream.write_all(&requests[next]).await.unwrap();
                        let mut filled = 0;
                        loop {
                            let read = stream.read(&mut buffer[filled..]).await.unwrap();
                            assert!(read > 0, "closed");
                            filled += read;
                            if complete(&buffer[..filled]).is_some() {
                                break;
                            }
                        }
                        // Looked for in a few of them, so that the client does not become the measure.
                        if done.is_multiple_of(64) {
                            let found = buffer[..filled].windows(mark.len()).any(|window| window == mark);
                            assert!(found, "{}", String::from_utf8_lossy(&buffer[..filled]));
                        }
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut all = 0;
        for client in clients {
            all += client.await.unwrap();
        }
        all as f64 / began.elapsed().as_secs_f64()
    })
}
