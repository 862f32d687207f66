//! `ingle simulate`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{interval, timeout};

use super::serve::stopped;
use super::{Outcome, Place, print};
use crate::app::SystemClock;
use crate::control::world::{APPLY, REPLACE_SECRETS};
use crate::control::{Control, SOCKET_FILE};
use crate::domain::Clock;
use crate::shutdown::{self, Shutdown};
use crate::simulate::{Fleet, Identity, POINTS_MAX, Pace, Plan, Protocol, Round, Settings, Tls, documents, identities};
use crate::tls::CA_FILE;
use crate::{hex, random};

/// The number of devices that connect at the same time.
const CONNECTING_MAX: usize = 128;
/// The time within which a device must connect or reconnect.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long the run waits for acknowledgements after its end.
const DRAIN: Duration = Duration::from_secs(10);
/// The time within which the address must accept a connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval between two updates of the progress.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);
const SEED_BYTES: usize = 16;

/// Connect simulated devices to a running server, and check that every report is acknowledged.
///
/// The devices (sim000001 and so on, in a project named `simulation`) are created through the data folder of the server, with new
/// secrets each time. They connect over MQTT as real devices do, report, answer commands, and reconnect when the connection is lost.
/// The exit code is 1 if a device was refused or a report was not acknowledged. Ctrl-C ends the run early.
#[derive(Args)]
pub struct Simulate {
    /// The number of devices.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// Messages per second from all devices together. 0 sends as fast as messages are acknowledged.
    #[arg(long, value_name = "R", default_value_t = 100.0, value_parser = rate)]
    rate: f64,
    /// The device protocol above MQTT.
    #[arg(long, value_enum, default_value_t = DeviceProtocol::Tuyalink)]
    protocol: DeviceProtocol,
    /// How many seconds the devices report.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: u64,
    /// Data points per message.
    #[arg(long, value_name = "P", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=POINTS_MAX as i64))]
    points: u8,
    /// Connect over TLS and trust the CA of the data folder.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    place: Place,
    /// The address to which the devices connect. By default, that of the settings.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceProtocol {
    Tuyalink,
    Linkkit,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    rate.ok_or_else(|| "must be 0 or more messages a second".to_owned())
}

impl Simulate {
    pub(super) async fn run(self) -> Outcome {
        let data = &self.place.data;
        if !data.exists() {
            return Err(format!("there is no data folder {}: name it with --data", data.display()));
        }
        let address = self.address()?;
        let settings = self.settings(&address).await?;
        let devices = identities(self.devices as usize, &seed()?);
        make(data, &devices, self.points.into()).await?;
        let mut fleet = Fleet::new(settings, devices);
        let (stop, stopping) = shutdown::channel();
        let noticed = stopped();
        tokio::spawn(async move {
            noticed.await;
            stop.now();
        });
        let connected = watched(&mut fleet, self.connecting(), stopping.clone(), "connected").await;
        if let Some(failure) = connected.failure() {
            return Err(format!("{address}: {failure}"));
        }
        let round = watched(&mut fleet, self.reporting(), stopping, "acknowledged").await;
        match self.json {
            true => print(&json!({"connect_seconds": connected.seconds, "round": round}).to_string()),
            false => show(&connected, &round),
        }
        round.failure().map_or(Ok(()), |failure| Err(format!("{address}: {failure}")))
    }

    fn connecting(&self) -> Plan {
        Plan::connect(CONNECT_WITHIN * 2, SystemClock.now_ms())
    }

    fn reporting(&self) -> Plan {
        let pace = if self.rate == 0.0 { Pace::Full } else { Pace::Rate(self.rate) };
        Plan { pace, lasting: Duration::from_secs(self.seconds), each: None, now_ms: SystemClock.now_ms() }
    }

    /// Host and port.
    fn address(&self) -> Result<String, String> {
        if let Some(address) = &self.address {
            return Ok(address.clone());
        }
        let mqtt = self.place.config()?.mqtt;
        let listen = if self.tls { mqtt.tls_listen } else { mqtt.listen };
        let address: Option<SocketAddr> = listen.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        let mut address = address.ok_or("the settings do not say where devices connect: give --address HOST:PORT")?;
        if address.ip().is_unspecified() {
            address.set_ip(match address.is_ipv4() {
                true => IpAddr::V4(Ipv4Addr::LOCALHOST),
                false => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Ok(address.to_string())
    }

    async fn settings(&self, address: &str) -> Result<Settings, String> {
        let resolved = lookup_host(address).await.map_err(|error| format!("{address}: {error}"))?.next();
        let resolved = resolved.ok_or_else(|| format!("{address} is no address"))?;
        match timeout(PROBE_TIMEOUT, TcpStream::connect(resolved)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("no server listens for devices at {address}: {error}")),
            Err(_) => return Err(format!("no server answers at {address}")),
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let ca = self.place.data.join(CA_FILE);
        Ok(Settings {
            address: resolved,
            tls: self.tls.then(|| Tls::trusting(&ca, host)).transpose()?,
            protocol: match self.protocol {
                DeviceProtocol::Tuyalink => Protocol::TuyaLink,
                DeviceProtocol::Linkkit => Protocol::LinkKit,
            },
            points: self.points.into(),
            subscribes: true,
            connecting_max: CONNECTING_MAX,
            connect_within: CONNECT_WITHIN,
            drain: DRAIN,
            now_ms: SystemClock.now_ms(),
        })
    }
}

/// The seed from which the secrets of the devices are derived.
fn seed() -> Result<String, String> {
    let bytes = random::bytes::<SEED_BYTES>().map_err(|error| format!("no randomness: {error}"))?;
    Ok(hex::encode(bytes))
}

/// Creates the devices on the server that has the folder open.
async fn make(data: &Path, devices: &[Identity], points: usize) -> Outcome {
    let control = Control::Running(data.join(SOCKET_FILE));
    let bar = ProgressBar::new_spinner().with_message("making the devices");
    for document in documents(devices, points) {
        bar.tick();
        // The devices of an earlier run have other secrets.
        let made = control.ask(&format!("{APPLY}?{REPLACE_SECRETS}"), document).await;
        made.map_err(|error| format!("the server on {} did not make the devices: {error}", data.display()))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Runs a plan and shows its progress.
async fn watched(fleet: &mut Fleet, plan: Plan, stop: Shutdown, doing: &str) -> Round {
    let (counts, bar) = (fleet.counts(), ProgressBar::new_spinner());
    let mut periods = interval(PROGRESS_PERIOD);
    let running = fleet.run(plan, stop);
    tokio::pin!(running);
    loop {
        tokio::select! {
            round = &mut running => {
                bar.finish_and_clear();
                return round;
            }
            _ = periods.tick() => {
                let count = if plan.each == Some(0) { counts.connects() } else { counts.acknowledged() };
                bar.set_message(format!("{count} {doing}"));
                bar.tick();
            }
        }
    }
}

fn show(connected: &Round, round: &Round) {
    let Round { messages, points, seconds, messages_per_second, points_per_second, latency_ms, .. } = round;
    print(&format!("{} devices connected in {:.1} s", connected.connected, connected.seconds));
    print(&format!("{messages} messages with {points} data points acknowledged in {seconds:.1} s"));
    print(&format!("  {messages_per_second:.0} messages/s, {points_per_second:.0} data points/s"));
    let ms = [latency_ms.p50, latency_ms.p99, latency_ms.worst];
    print(&format!("  acknowledged within {:.1} ms (half), {:.1} ms (99 of 100), {:.1} ms (all)", ms[0], ms[1], ms[2]));
    print(&format!(
        "  {} not acknowledged, {} connections lost and made again",
        round.unacknowledged, round.reconnects
    ));
    print(&format!("  {} commands answered", round.commands));
}
