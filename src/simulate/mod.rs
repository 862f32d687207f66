//! Simulated devices for tests and benchmarks: many real MQTT 3.1.1 connections that report and check that every report
//! is acknowledged. `ingle simulate` and `benches/gateway.rs` use them.

mod device;
mod figures;
mod link;
mod message;
mod world;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::shutdown::{self, Shutdown};
use device::{Device, Failure};
pub use figures::{Counts, LatencyMs, Round};
use message::Form;
pub use message::{Identity, Protocol};
pub use world::{POINTS_MAX, documents, identities};

/// The due time of a device that does not report: later than the end of any plan.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How the devices connect and what they send.
pub struct Settings {
    /// The server's address for devices.
    pub address: SocketAddr,
    /// The trusted certificates and the name of the server; `None` without TLS.
    pub tls: Option<Tls>,
    /// The protocol above MQTT.
    pub protocol: Protocol,
    /// Number of data points in a report.
    pub points: usize,
    /// Whether the devices subscribe to commands and replies.
    pub subscribes: bool,
    /// Maximum number of devices that connect at the same time.
    pub connecting_max: usize,
    /// The time after which a device that cannot connect or reconnect gives up.
    pub connect_within: Duration,
    /// How long to wait for acknowledgements after the end of a plan.
    pub drain: Duration,
    /// The time for signatures, in milliseconds since 1970.
    pub now_ms: i64,
}

/// How the devices check the server's certificate.
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts the certificates in a PEM file, for a server with this name or address.
    ///
    /// # Errors
    /// A text that names the file or the name.
    pub fn trusting(file: &Path, server_name: &str) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(|error| wrong(&error))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // Devices that have just started have no TLS session to resume.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(server_name.to_owned()).map_err(|error| format!("{server_name}: {error}"))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    /// A certificate that is not trusted or has another name, or an error of the connection.
    pub async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// How often the devices report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Never; they only stay connected.
    Rest,
    /// This many messages per second, of all devices together.
    Rate(f64),
    /// Each device, as soon as its last message is acknowledged.
    Full,
}

/// What the devices do in one round, after all of them are connected.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often they report.
    pub pace: Pace,
    /// The maximum duration.
    pub lasting: Duration,
    /// The number of messages after which a device ends the round.
    pub each: Option<u64>,
    /// The time in milliseconds since 1970 at which the round begins. The times of reports are relative to it.
    pub now_ms: i64,
}

impl Plan {
    /// A plan that connects and reports nothing.
    pub fn connect(lasting: Duration, now_ms: i64) -> Self {
        Self { pace: Pace::Full, lasting, each: Some(0), now_ms }
    }
}

/// The simulated devices.
pub struct Fleet {
    devices: Vec<Device>,
    size: usize,
    common: Arc<Common>,
}

/// The state that all devices share.
struct Common {
    settings: Settings,
    form: Form,
    connecting: Semaphore,
    counts: Arc<Counts>,
}

/// The state of one round that all devices read.
struct RoundState {
    plan: Plan,
    began: Instant,
    devices: usize,
    ended: AtomicBool,
}

impl RoundState {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// When a device that has sent this many reports sends the next one.
    fn due(&self, device: usize, reported: u64, now: Instant) -> Option<Instant> {
        if self.ended() || self.plan.each.is_some_and(|each| reported >= each) {
            return None;
        }
        Some(match self.plan.pace {
            Pace::Rest => self.began + NEVER,
            Pace::Rate(rate) => {
                let place = reported as f64 * self.devices as f64 + device as f64;
                self.began + Duration::try_from_secs_f64(place / rate).unwrap_or(NEVER)
            }
            Pace::Full => now,
        })
    }

    /// The time for a report that is sent now.
    fn time_ms(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.began).as_millis();
        self.plan.now_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

impl Fleet {
    /// Creates devices without connections.
    pub fn new(settings: Settings, devices: impl IntoIterator<Item = Identity>) -> Self {
        let form = Form::new(settings.protocol, &world::codes(settings.points), settings.subscribes);
        let devices: Vec<Device> = devices
            .into_iter()
            .enumerate()
            .map(|(index, who)| Device::new(index, who, settings.protocol, &form))
            .collect();
        let connecting = Semaphore::new(settings.connecting_max);
        let common = Common { settings, form, connecting, counts: Arc::default() };
        Self { size: devices.len(), devices, common: Arc::new(common) }
    }

    /// The counters of the present round.
    pub fn counts(&self) -> Arc<Counts> {
        self.common.counts.clone()
    }

    /// Runs the plan until it is complete or `stop` begins. A device that is not finished when the drain time ends is
    /// removed from the fleet.
    pub async fn run(&mut self, plan: Plan, mut stop: Shutdown) -> Round {
        self.common.counts.clear();
        let state = RoundState { plan, began: Instant::now(), devices: self.size, ended: AtomicBool::new(false) };
        let state = Arc::new(state);
        let (end, ending) = shutdown::channel();
        let mut tasks = JoinSet::new();
        for mut device in self.devices.drain(..) {
            let (common, state, mut ending) = (self.common.clone(), state.clone(), ending.clone());
            tasks.spawn(async move {
                let ended_with = device.take_part(&common, &state, &mut ending).await;
                (device, ended_with.err())
            });
        }
        let mut back = Vec::with_capacity(self.size);
        tokio::select! {
            () = gather(&mut tasks, &mut back) => {}
            () = tokio::time::sleep(plan.lasting) => {}
            () = stop.begun() => {}
        }
        state.ended.store(true, Ordering::Relaxed);
        end.now();
        if timeout(self.common.settings.drain, gather(&mut tasks, &mut back)).await.is_err() {
            tasks.shutdown().await;
        }
        let took = state.began.elapsed();
        let (devices, troubles): (Vec<Device>, Vec<Option<Failure>>) = back.into_iter().unzip();
        let mut round = self.common.counts.round(self.size, self.common.settings.points, took);
        round.connected = devices.iter().filter(|device| device.is_connected()).count();
        for trouble in troubles.into_iter().flatten() {
            match trouble {
                Failure::Refused(_) => round.refused += 1,
                Failure::Unreachable(_) => round.unreachable += 1,
            }
            round.trouble.get_or_insert_with(|| trouble.to_string());
        }
        self.devices = devices;
        self.devices.sort_by_key(Device::index);
        round
    }
}

async fn gather(tasks: &mut JoinSet<(Device, Option<Failure>)>, back: &mut Vec<(Device, Option<Failure>)>) {
    while let Some(joined) = tasks.join_next().await {
        back.extend(joined.ok());
    }
}
