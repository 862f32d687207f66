//! How many durable QoS 1 reports devices get acknowledged over MQTT, one in flight a device and three data points each,
//! against mosquitto, which takes the same messages and keeps nothing; what an idle connection takes of memory; how soon
//! devices are back after a crash; and how much longer an acknowledgement takes while backups are made. Each server on one processor and the devices on the other.
//!
//! `cargo bench --bench gateway`. Settings: `INGLE_BENCH_DEVICES` (20000, as far as the limit of open files lets),
//! `INGLE_BENCH_SECONDS` a round (5), `INGLE_BENCH_ROUNDS` (3), `INGLE_BENCH_PROTOCOL` (tuyalink), `INGLE_BENCH_PARTS`
//! (load,memory,crash,backup), `INGLE_BENCH_FOLDER` where it writes. Without mosquitto there is no ratio.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops at the first failure")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ingle::app::SystemClock;
use ingle::domain::Clock;
use ingle::shutdown;
use ingle::simulate::{Fleet, Pace, Plan, Protocol, Round, Settings, Tls, documents, identities};
use ingle::tls::CA_FILE;
use support::server::{Server, run};
use support::{bytes_in, median, setting};
use tokio::runtime::Runtime;

const SERVER: &str = "0";
const CLIENT: &str = "1";
const POINTS: usize = 3;
const FEW: usize = 1_000;
/// Devices that a crash disconnects.
const RETURNING: usize = 10_000;
/// Open files that are not connections.
const OTHER_FILES: usize = 100;
/// Devices that connect at once.
const CONNECTING: usize = 512;
const PATIENCE: Duration = Duration::from_secs(120);
/// What the devices' secrets follow from.
const SEED: &str = "bench";
const MOSQUITTO: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];

fn main() {
    if std::env::var("INGLE_BENCH_MODE").as_deref() == Ok("load") {
        return load();
    }
    // With as many open files as may be had.
    let mut pinned = Command::new("sh");
    pinned.args(["-c", r#"ulimit -n "$(ulimit -Hn)"; exec taskset -c "$0" "$1""#, CLIENT]);
    pinned.arg(std::env::current_exe().unwrap()).env("INGLE_BENCH_MODE", "load");
    assert!(pinned.status().unwrap().success());
}

/// What the whole bench knows.
struct Bench {
    runtime: Runtime,
    folder: tempfile::TempDir,
    devices: usize,
    protocol: Protocol,
    lasting: Duration,
    rounds: u64,
}

fn load() {
    let wanted = setting("INGLE_BENCH_DEVICES", 20_000) as usize;
    let devices = wanted.min(open_files() - OTHER_FILES);
    let parts = std::env::var("INGLE_BENCH_PARTS").unwrap_or_else(|_| "load,memory,crash,backup".to_owned());
    let parent = std::env::var_os("INGLE_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let bench = Bench {
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        folder: tempfile::tempdir_in(parent).unwrap(),
        devices,
        protocol: match std::env::var("INGLE_BENCH_PROTOCOL").as_deref() {
            Ok("linkkit") => Protocol::LinkKit,
            _ => Protocol::TuyaLink,
        },
        lasting: Duration::from_secs(setting("INGLE_BENCH_SECONDS", 5)),
        rounds: setting("INGLE_BENCH_ROUNDS", 3),
    };
    println!("{:?}, {POINTS} data points a message, {} rounds of {:?}", bench.protocol, bench.rounds, bench.lasting);
    if devices < wanted {
        println!("the limit of open files allows {devices} devices instead of {wanted}");
    }
    for document in documents(&identities(devices, SEED), POINTS) {
        run(bench.data(), &["apply", "-"], document.as_bytes());
    }
    if parts.contains("load") {
        bench.load();
    }
    if parts.contains("memory") {
        bench.memory("plain", ("INGLE_MQTT_LISTEN", "mqtt"), 4.0);
        bench.memory("TLS", ("INGLE_MQTT_TLS_LISTEN", "mqtt_tls"), 20.0);
    }
    if parts.contains("crash") {
        bench.crash();
    }
    if parts.contains("backup") {
        bench.backup();
    }
}

/// A server under load, and what it took.
struct Taken {
    full: Round,
    half: Option<Round>,
    /// Microseconds of its processor that a message took.
    processor_us: f64,
}

impl Bench {
    fn data(&self) -> &Path {
        self.folder.path()
    }

    fn fleet(&self, count: usize, address: SocketAddr, tls: Option<Tls>) -> Fleet {
        let settings = Settings {
            address,
            tls,
            protocol: self.protocol,
            points: POINTS,
            subscribes: false,
            connecting_max: CONNECTING,
            connect_within: PATIENCE,
            drain: PATIENCE,
            now_ms: SystemClock.now_ms(),
        };
        Fleet::new(settings, identities(count, SEED))
    }

    /// Runs a plan. The devices' processor never sleeps: waking it would be charged to the server, and more so to a
    /// slower one.
    fn run(&self, fleet: &mut Fleet, pace: Pace, lasting: Duration, each: Option<u64>) -> Round {
        let plan = Plan { pace, lasting, each, now_ms: SystemClock.now_ms() };
        let (_stop, stopping) = shutdown::channel();
        let round = self.runtime.block_on(async {
            let awake = tokio::spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            let round = fleet.run(plan, stopping).await;
            awake.abort();
            round
        });
        assert!(round.failure().is_none() && round.connected == round.devices, "{round:?}");
        round
    }

    fn connect(&self, fleet: &mut Fleet) -> Round {
        self.run(fleet, Pace::Full, PATIENCE, Some(0))
    }

    /// As many messages as the server takes from so many devices, then at half that rate when it is asked for.
    fn take(&self, server: &Server, count: usize, halved: bool) -> Taken {
        let mut fleet = self.fleet(count, server.address, None);
        self.connect(&mut fleet);
        let before = server.processor_time();
        let full = self.run(&mut fleet, Pace::Full, self.lasting, None);
        let processor = server.processor_time() - before;
        let half = halved.then(|| {
            let rate = full.messages_per_second / 2.0;
            self.run(&mut fleet, Pace::Rate(rate), self.lasting, None)
        });
        drop(fleet);
        self.until_idle(server);
        Taken { processor_us: processor.as_secs_f64() * 1e6 / full.messages as f64, full, half }
    }

    /// Waits until a server has nothing to do any more.
    fn until_idle(&self, server: &Server) {
        let look = Duration::from_millis(500);
        loop {
            let before = server.processor_time();
            self.runtime.block_on(async { tokio::time::sleep(look).await });
            if server.processor_time() - before <= look / 20 {
                return;
            }
        }
    }

    fn load(&self) {
        let config = self.folder.path().join("mosquitto.conf");
        let mosquitto = mosquitto(&config);
        if mosquitto.is_none() {
            println!("mosquitto is not installed: no ratio");
        }
        let server = Server::listening(self.data(), SERVER, ("INGLE_MQTT_LISTEN", "127.0.0.1:0"), "mqtt");
        let (kept, written) = (bytes_in(self.data()), server.bytes_written());
        let mut messages = 0;
        let few = (self.devices > FEW).then_some(FEW);
        for count in few.into_iter().chain([self.devices]) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                theirs.extend(mosquitto.as_ref().map(|mosquitto| self.take(mosquitto, count, false)));
                ours.push(self.take(&server, count, true));
            }
            messages += ours.iter().map(|taken| taken.full.messages).sum::<u64>();
            messages += ours.iter().flat_map(|taken| &taken.half).map(|half| half.messages).sum::<u64>();
            print_load(count, &ours, &theirs);
        }
        let (kept, written) = (bytes_in(self.data()) - kept, server.bytes_written() - written);
        let a_report = |bytes: u64| bytes as f64 / messages as f64;
        println!("bytes on disk a report   {:>9.1} kept, {:.1} written in all", a_report(kept), a_report(written));
    }

    /// Resident memory of idle connections.
    fn memory(&self, kind: &str, (setting, name): (&str, &str), goal_kb: f64) {
        let server = Server::listening(self.data(), SERVER, (setting, "127.0.0.1:0"), name);
        let tls = (kind == "TLS").then(|| Tls::trusting(&self.data().join(CA_FILE), "127.0.0.1").unwrap());
        self.until_idle(&server);
        let before = server.resident_kb();
        let mut fleet = self.fleet(self.devices, server.address, tls);
        let connected = self.connect(&mut fleet);
        self.until_idle(&server);
        let connection_kb = (server.resident_kb() - before) as f64 / self.devices as f64;
        println!(
            "idle {kind} connection  {connection_kb:>11.2} kB  (goal {goal_kb} kB; {} connections, made in {:.1} s; \
             server {} kB before)",
            self.devices, connected.seconds, before
        );
    }

    /// From the start after a crash until every device is connected again and has a report acknowledged.
    fn crash(&self) {
        let count = RETURNING.min(self.devices);
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let server = Server::listening(self.data(), SERVER, ("INGLE_MQTT_LISTEN", &listen), "mqtt");
        let mut fleet = self.fleet(count, server.address, None);
        self.connect(&mut fleet);
        self.run(&mut fleet, Pace::Full, Duration::from_secs(1), None);
        // Dropping it kills it.
        drop(server);
        let began = Instant::now();
        let data = self.data().to_owned();
        let again =
            std::thread::spawn(move || Server::listening(&data, SERVER, ("INGLE_MQTT_LISTEN", &listen), "mqtt"));
        let round = self.run(&mut fleet, Pace::Full, PATIENCE, Some(1));
        let took = began.elapsed().as_secs_f64();
        assert_eq!((round.messages, round.reconnects), (count as u64, count as u64), "{round:?}");
        println!("{count} devices are back {took:>6.1} s after the restart of a killed server  (goal 60 s)");
        drop(again.join().unwrap());
    }

    /// The time of an acknowledgement under full load, with one backup after the other and without.
    fn backup(&self) {
        let server = Server::listening(self.data(), SERVER, ("INGLE_MQTT_LISTEN", "127.0.0.1:0"), "mqtt");
        let mut fleet = self.fleet(self.devices, server.address, None);
        self.connect(&mut fleet);
        self.run(&mut fleet, Pace::Full, self.lasting, None);
        let file = tempfile::NamedTempFile::new_in(self.folder.path().parent().unwrap()).unwrap();
        let (mut without, mut with, mut backups) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.rounds {
            without.push(self.run(&mut fleet, Pace::Full, self.lasting, None));
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let making = scope.spawn(|| {
                    let mut made = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        run(self.data(), &["backup", file.path().to_str().unwrap(), "--overwrite"], b"");
                        made += 1;
                    }
                    made
                });
                with.push(self.run(&mut fleet, Pace::Full, self.lasting, None));
                is_over.store(true, Ordering::Relaxed);
                backups += making.join().unwrap();
            });
        }
        let p99 = |rounds: &[Round]| median(rounds.iter().map(|round| round.latency_ms.p99).collect());
        let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.messages_per_second).collect());
        println!(
            "{backups} backups of up to {} MB at the full rate of {} devices: p99 of acknowledgement {:.1} ms, {:.1} ms without \
             ({:+.0} %, goal < +20 %); {:.0} messages/s, {:.0} without",
            std::fs::metadata(file.path()).unwrap().len() >> 20,
            self.devices,
            p99(&with),
            p99(&without),
            (p99(&with) / p99(&without) - 1.0) * 100.0,
            rate(&with),
            rate(&without),
        );
    }
}

fn print_load(count: usize, ours: &[Taken], theirs: &[Taken]) {
    let middle = |taken: &[Taken], figure: &dyn Fn(&Taken) -> f64| median(taken.iter().map(figure).collect());
    let rate = |taken: &Taken| taken.full.messages_per_second;
    let half = |taken: &Taken| taken.half.as_ref().map_or(f64::NAN, |half| half.latency_ms.p99);
    println!("{count} devices");
    let messages = middle(ours, &rate);
    let processor = |taken: &Taken| taken.processor_us;
    if !theirs.is_empty() {
        let reference = middle(theirs, &rate);
        println!("  mosquitto              {reference:>9.0} messages/s, {:.1} us each", middle(theirs, &processor));
    }
    println!("  ingle                  {messages:>9.0} messages/s, {:.1} us each", middle(ours, &processor));
    if !theirs.is_empty() {
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| rate(ours) / rate(theirs)).collect();
        println!("  ratio                  {:>9.2}  (goal 0.50, aim 0.70)", median(ratios));
    }
    println!("  data points            {:>9.0} /s  (goal 120000)", messages * POINTS as f64);
    let p99 = |taken: &Taken| taken.full.latency_ms.p99;
    println!("  p99 of acknowledgement {:>9.1} ms at half that rate  (goal 50 ms)", middle(ours, &half));
    println!("  p99 of acknowledgement {:>9.1} ms at the full rate", middle(ours, &p99));
}

/// A private mosquitto that keeps nothing.
fn mosquitto(config: &Path) -> Option<Server> {
    let found = |program: &&&str| Command::new(program).arg("-h").output().is_ok();
    let program = MOSQUITTO.iter().find(found)?;
    let port = free_port();
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\nset_tcp_nodelay true\n"
    );
    std::fs::write(config, text).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Some(Server::other(&[program, "-c", config.to_str().unwrap()], SERVER, address))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Files that this process, and a server that it starts, may have open.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX)
}
