//! Shared test code: a real server on a free port, and clients that sign by the vendor's document.

pub mod aliyun;
pub mod http;
pub mod mqtt;
pub mod people;
pub mod schema;
pub mod small_disk;
pub mod tuya;
pub mod wait;
pub mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ingle::app::{App, SystemClock};
use ingle::config::Config;
use ingle::domain::Clock;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The built binary.
pub const INGLE: &str = env!("CARGO_BIN_EXE_ingle");

/// A running server with a data folder of its own.
pub struct TestCloud {
    pub folder: PathBuf,
    pub api: SocketAddr,
    pub addresses: Value,
    clock: Option<Arc<TestClock>>,
    running: Running,
    _temporary: Option<tempfile::TempDir>,
}

enum Running {
    Binary(Child),
    Here(Option<oneshot::Sender<()>>, Option<JoinHandle<()>>),
}

/// A clock that changes only when a test moves it.
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl TestCloud {
    /// Starts the built binary with the world of [`world::standard`] and explanations of refusals.
    pub fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("data");
        let mut cloud = Self::binary(&folder, &[("INGLE_API_EXPLAIN", "true")]);
        cloud._temporary = Some(temporary);
        cloud.apply(&world::standard());
        cloud
    }

    /// Starts the built binary on a folder, with settings from the environment.
    pub fn binary(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(folder, settings, Stdio::inherit())
    }

    fn spawn(folder: &Path, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut command = Command::new(INGLE);
        command.args(["serve", "--json", "--data"]).arg(folder).envs(free_ports()).envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no addresses: {line:?}"));
        Self {
            folder: folder.to_owned(),
            api: address_of(&addresses),
            addresses,
            clock: None,
            running: Running::Binary(child),
            _temporary: None,
        }
    }

    /// Starts a server by a command that takes the binary's arguments. Its log is appended to [`TestCloud::log_of`]. If the
    /// server refuses to start, the error is this log.
    pub fn by(mut command: Command, folder: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        let path = Self::log_of(folder);
        let log = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        let before = usize::try_from(log.metadata().unwrap().len()).unwrap();
        command.args(["serve", "--json", "--data"]).arg(folder).envs(free_ports()).envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(addresses) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            child.wait().unwrap();
            return Err(String::from_utf8_lossy(&std::fs::read(path).unwrap()[before..]).into_owned());
        };
        let (folder, api) = (folder.to_owned(), address_of(&addresses));
        Ok(Self { folder, api, addresses, clock: None, running: Running::Binary(child), _temporary: None })
    }

    /// The log file of [`TestCloud::by`] for a folder.
    pub fn log_of(folder: &Path) -> PathBuf {
        folder.with_extension("log")
    }

    /// Starts the built binary with this log level. Returns the log file as well.
    pub fn logging(folder: &Path, level: &str) -> (Self, PathBuf) {
        Self::logging_with(folder, level, &[])
    }

    /// Like [`TestCloud::logging`], with further settings.
    pub fn logging_with(folder: &Path, level: &str, settings: &[(&str, &str)]) -> (Self, PathBuf) {
        let path = folder.with_extension("log");
        let file = std::fs::File::create(&path).unwrap();
        let level = format!("info,ingle={level}");
        (Self::spawn(folder, &[&[("RUST_LOG", level.as_str())], settings].concat(), file.into()), path)
    }

    /// Starts a server in this process with a clock that the test moves and the world of [`world::standard`].
    pub fn at(now_ms: i64) -> Self {
        let cloud = Self::here(now_ms);
        cloud.apply(&world::standard());
        cloud
    }

    /// Like [`TestCloud::at`], but without users, products and devices.
    pub fn empty_at(now_ms: i64) -> Self {
        let cloud = Self::here(now_ms);
        let mut world = world::standard();
        for project in world["projects"].as_array_mut().unwrap() {
            for part in ["users", "homes", "products", "devices"] {
                project.as_object_mut().unwrap().remove(part);
            }
        }
        cloud.apply(&world);
        cloud
    }

    fn here(now_ms: i64) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut cloud = Self::over(temporary.path(), now_ms, &[]);
        cloud._temporary = Some(temporary);
        cloud
    }

    /// Starts a server in this process on a folder, with a clock that the test moves and settings as from the environment.
    pub fn over(folder: &Path, now_ms: i64, settings: &[(&str, &str)]) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(now_ms)));
        let settings = free_ports().into_iter().chain(settings.iter().copied());
        let mut config = Config::load(None, settings.map(|(n, v)| (n.to_owned(), v.to_owned()))).unwrap();
        config.api.explain = true;
        let app = App::open(folder, config, clock.clone()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (announced, received) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let announce = move |addresses: &ingle::app::Addresses| announced.send(json!(addresses)).unwrap();
            let stopped = async {
                let _ = stopped.await;
            };
            runtime.block_on(app.serve(announce, stopped)).unwrap();
        });
        let addresses = received.recv().unwrap();
        Self {
            folder: folder.to_owned(),
            api: address_of(&addresses),
            addresses,
            clock: Some(clock),
            running: Running::Here(Some(stop), Some(thread)),
            _temporary: None,
        }
    }

    /// The server's time.
    pub fn now_ms(&self) -> i64 {
        match &self.clock {
            Some(clock) => clock.now_ms(),
            None => SystemClock.now_ms(),
        }
    }

    /// Moves the time of a server made by [`TestCloud::at`].
    pub fn advance(&self, by: Duration) {
        self.clock.as_ref().unwrap().0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// Sets the clock of such a server back.
    pub fn set_back(&self, by: Duration) {
        self.clock.as_ref().unwrap().0.fetch_sub(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        let address = self.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        raw(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    }

    /// Runs a subcommand on this cloud's folder. Returns standard output, or standard error.
    pub fn ingle(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        ingle(arguments, &self.folder, input)
    }

    /// Applies a world document and returns it filled in.
    pub fn apply(&self, world: &Value) -> Value {
        let text = self.ingle(&["apply", "-", "--json", "--replace-secrets"], &world.to_string()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Adds log rows: `(device, time_ms, type, from, code, value)`. Any value is taken, as in a report of a device.
    pub fn import(&self, rows: &[(&str, i64, i64, i64, &str, Value)]) {
        let lines = rows.iter().map(|(device, time_ms, kind, from, code, value)| {
            let mut line = json!({"device_id": device, "time": time_ms, "type": kind, "from": from});
            if !code.is_empty() {
                line["code"] = json!(code);
                line["value"] = value.clone();
            }
            format!("{line}\n")
        });
        self.import_file(lines.collect::<String>().as_bytes(), &["--lenient"]).unwrap();
    }

    /// Imports lines without a change.
    pub fn import_lines(&self, lines: &str) -> Result<String, String> {
        self.import_file(lines.as_bytes(), &[])
    }

    /// Imports a file with this content.
    pub fn import_file(&self, content: &[u8], options: &[&str]) -> Result<String, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let arguments = [&["import", "events", file.path().to_str().unwrap()], options].concat();
        self.ingle(&arguments, "")
    }

    /// The Tuya client of the first project.
    pub fn first(&self) -> tuya::TuyaApp {
        tuya::TuyaApp::new(self, world::FIRST_ID, world::FIRST_SECRET)
    }

    /// The Tuya client of the second project.
    pub fn second(&self) -> tuya::TuyaApp {
        tuya::TuyaApp::new(self, world::SECOND_ID, world::SECOND_SECRET)
    }

    /// The Alibaba client of the first project.
    pub fn aliyun(&self) -> aliyun::AliyunApp {
        aliyun::AliyunApp::new(self, world::FIRST_APP_KEY, world::FIRST_APP_SECRET, world::FIRST_PROJECT_ID)
    }

    /// The Alibaba client of the second project.
    pub fn other_aliyun(&self) -> aliyun::AliyunApp {
        aliyun::AliyunApp::new(self, world::SECOND_APP_KEY, world::SECOND_APP_SECRET, world::SECOND_PROJECT_ID)
    }

    /// Waits for a change that the server makes by itself and does not report. The condition is checked again after every change
    /// of the data folder or of the log, and for what is only in memory every 20 ms.
    pub fn wait(&self, is_so: impl FnMut() -> bool) {
        wait::until(&[&self.folder, &Self::log_of(&self.folder)], is_so);
    }

    /// Sends bytes on a new connection and reads until it is closed.
    pub fn raw(&self, bytes: &[u8]) -> String {
        raw(self.api, bytes)
    }

    /// Stops the built binary as an operator would, and checks that it shuts down in order.
    pub fn stop(mut self) {
        if let Running::Binary(child) = &mut self.running {
            terminate(child);
            assert!(child.wait().unwrap().success());
        }
    }

    /// Kills the built binary.
    pub fn kill(mut self) {
        self.kill_now();
        if let Running::Binary(child) = &mut self.running {
            child.wait().unwrap();
        }
    }

    /// The process of the built binary.
    pub fn pid(&self) -> u32 {
        match &self.running {
            Running::Binary(child) => child.id(),
            Running::Here(..) => std::process::id(),
        }
    }

    /// Kills the built binary while other threads use it.
    pub fn kill_now(&self) {
        if let Running::Binary(child) = &self.running {
            assert!(Command::new("kill").args(["-9", &child.id().to_string()]).status().unwrap().success());
        }
    }
}

impl Drop for TestCloud {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Binary(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Running::Here(stop, thread) => {
                if let Some(stop) = stop.take() {
                    let _ = stop.send(());
                }
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}

/// Sends bytes on a new connection and reads until it is closed.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server may answer and close the connection before everything was sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Runs a subcommand with `--data`. Returns standard output, or standard error.
pub fn ingle(arguments: &[&str], folder: &Path, input: &str) -> Result<String, String> {
    let mut command = Command::new(INGLE);
    command.args(arguments).arg("--data").arg(folder).env("INGLE_API_LISTEN", "127.0.0.1:0");
    run(command, input)
}

/// Runs a command to its end. Returns standard output, or standard error.
pub fn run(mut command: Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// Asks a process to stop.
pub fn terminate(child: &Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
}

/// Settings with which several servers can run at the same time, log only problems, and bring virtual devices online soon.
pub fn free_ports() -> [(&'static str, &'static str); 7] {
    [
        ("INGLE_TIMES_VIRTUAL_ROUND_MS", "200"),
        ("INGLE_LOG_LEVEL", "warn"),
        ("INGLE_MQTT_LISTEN", "127.0.0.1:0"),
        ("INGLE_MQTT_TLS_LISTEN", ""),
        ("INGLE_API_LISTEN", "127.0.0.1:0"),
        ("INGLE_API_TLS_LISTEN", "127.0.0.1:0"),
        ("INGLE_METRICS_LISTEN", "127.0.0.1:0"),
    ]
}

fn address_of(addresses: &Value) -> SocketAddr {
    addresses["api"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}
