//! Assembles the server. The only module that names the implementations of the ports of the domain.

mod clock;
pub mod doctor;
mod downlinks;
mod folder;
mod restore;
mod stores;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use utoipa::openapi::OpenApi;

use crate::config::{self, Config};
use crate::control::live::Views;
use crate::control::observe::{self, Observed};
use crate::control::{self, Socket};
use crate::domain::event::Consent;
use crate::domain::presence::NodeId;
use crate::domain::{Clock, Cloud, Error, Limits, Ports};
use crate::durable_file::FileError;
use crate::feed::{FeedEvents, Subscribers};
use crate::gateway::{CommandRouter, Gateway, SessionTimeouts};
use crate::http::{Bodies, HttpService, Requests};
use crate::in_process::{MemoryAttempts, MemoryPresence, MemoryReplays};
use crate::instruments::Instruments;
use crate::logging::LogLevel;
use crate::metrics::Sources;
use crate::net::{Limits as ConnectionLimits, Listener, Transport};
use crate::refusals::DeviceRefusals;
use crate::repeated::Repeated;
use crate::shutdown::{self, Shutdown};
pub use crate::store::archive::Manifest;
use crate::store::disk_space::DiskSpace;
pub use crate::store::sqlite::recover::{OldHistory, Recovered};
pub use crate::store::sqlite::verify::Report;
use crate::tls::{self, Certificate, TlsError};
use crate::virtual_devices::{self, VirtualMessages};
use crate::{aliyun, durable_file, feed, metrics, random, tuya, visual};

pub use clock::SystemClock;
use downlinks::Downlinks;
use folder::{Lock, Snapshots};
pub use folder::{recover, verify};
pub use restore::{Restored, check, restore};
use stores::{OnDamage, OpenFolder, Stores};

/// The interval at which expired log partitions are deleted.
const EXPIRY_PERIOD: Duration = Duration::from_secs(3600);

/// The interval at which the free disk space is checked.
const SPACE_PERIOD: Duration = Duration::from_secs(1);

/// Why the server cannot start or run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another process uses the data folder.
    #[error("{0} is in use by another ingle: stop it first, or give another folder with --data")]
    InUse(PathBuf),
    /// The data folder cannot be used.
    #[error("the data folder {0}: {1}")]
    Folder(PathBuf, #[source] io::Error),
    /// A file of the data folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The stores cannot be opened.
    #[error("{0}")]
    Store(String),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The URL of `traces.endpoint` is not valid.
    #[error("traces.endpoint: {0}")]
    Traces(String),
    /// The server cannot listen on the address of a setting.
    #[error("{0}: {1}")]
    Listen(&'static str, #[source] io::Error),
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(cause) => Self::Store(format!("the store cannot be opened: {cause}")),
            other => Self::Store(other.to_string()),
        }
    }
}

/// The OpenAPI document of each dialect, with its name.
pub fn openapi() -> [(&'static str, OpenApi); 3] {
    [("tuya", tuya::openapi()), ("aliyun", aliyun::openapi()), ("visual", visual::openapi())]
}

/// An open data folder and its cloud.
pub struct App {
    /// The cloud.
    pub cloud: Arc<Cloud>,
    config: Config,
    folder: PathBuf,
    virtual_messages: VirtualMessages,
    router: Arc<CommandRouter>,
    subscribers: Arc<Subscribers>,
    events: FeedEvents,
    bodies: Arc<Bodies>,
    snapshots: Arc<Snapshots>,
    instruments: Arc<Instruments>,
    cache_counters: [Counter; 2],
    /// When the first of the certificates that are in use expires, in seconds since 1970.
    certificate_expires_s: OnceLock<i64>,
    requests: Arc<Requests>,
    device_refusals: Arc<DeviceRefusals>,
    /// Changes the level of the log while the server runs, if this process writes a log.
    pub log_level: Option<LogLevel>,
    opened: OpenFolder,
}

/// The addresses on which the server listens, as `serve --json` prints them.
#[derive(Debug, Default, Serialize)]
pub struct Addresses {
    /// The plain API listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// The TLS API listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls: Option<String>,
    /// The plain listener for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<String>,
    /// The TLS listener for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_tls: Option<String>,
    /// The listener for a proxy that terminates TLS for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_proxy: Option<String>,
    /// The listener for health and metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
}

impl Addresses {
    /// The name and address of each open listener.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("api", &self.api),
            ("api_tls", &self.api_tls),
            ("mqtt", &self.mqtt),
            ("mqtt_tls", &self.mqtt_tls),
            ("mqtt_proxy", &self.mqtt_proxy),
            ("metrics", &self.metrics),
        ];
        all.into_iter().filter_map(|(name, address)| Some((name, address.as_deref()?)))
    }
}

impl App {
    /// Opens a data folder and creates it if necessary. Only one process can have it open.
    ///
    /// # Errors
    /// [`AppError`], whose text says what to do.
    pub fn open(folder: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let lock = Lock::take(folder)?;
        if lock.is_copy {
            return Err(folder::refuse_copy(folder));
        }
        lock.record_use();
        durable_file::restrict_permissions(folder)?;
        let stores = Stores::open(folder, &config, OnDamage::Refuse, clock.clone())?;
        Self::with_stores(stores, lock, folder, config, clock)
    }

    /// As [`App::open`], but uses what is sound of a damaged folder or of a copy, and logs what is not.
    ///
    /// # Errors
    /// [`AppError`]; also if the key is not the folder's.
    pub fn salvage(folder: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let lock = Lock::take(folder)?;
        durable_file::restrict_permissions(folder)?;
        let stores = Stores::salvage(folder, &config, clock.clone())?;
        if lock.is_copy {
            tracing::warn!(
                "salvage: a copy of a folder that was in use is used; changes that it lacks cannot be noticed"
            );
        }
        lock.record_use();
        Self::with_stores(stores, lock, folder, config, clock)
    }

    fn with_stores(
        stores: Stores,
        lock: Lock,
        folder: &Path,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        let Stores { registry, telemetry, space, instruments } = stores;
        let cache_counters = registry.cache_counters();
        let snapshots = Snapshots::new(folder, telemetry.clone(), clock.clone());
        let (times, ms) = (&config.times, Duration::from_millis);
        let (to_virtual, virtual_messages) = virtual_devices::downlink(ms(times.command_answer_ms));
        let router = Arc::new(CommandRouter::new(ms(times.command_answer_ms), ms(times.command_delivery_ms)));
        let (subscribers, events) = feed::feed();
        let downlink = Downlinks { instruments: instruments.clone(), to_virtual, router: router.clone() };
        let config::Visual { failures_of_account, failures_of_address, .. } = config.visual;
        let retention_days = config.telemetry.retention_days;
        let accepts_at_login = config.tuya.accept_invitations_at_login;
        let limits = Limits { retention_days, failures_of_account, failures_of_address, accepts_at_login };
        let node = random::number().map(NodeId).map_err(|error| AppError::Store(error.to_string()))?;
        let ports = Ports {
            registry,
            telemetry: telemetry.clone(),
            downlink: Arc::new(downlink),
            feed: subscribers.clone(),
            presence: Arc::new(MemoryPresence::new(node)),
            attempts: Arc::new(MemoryAttempts::default()),
            replays: Arc::new(MemoryReplays::default()),
            clock,
        };
        let cloud = Arc::new(Cloud::new(ports, limits));
        let (folder, opened) = (folder.to_owned(), OpenFolder { telemetry, space, lock });
        let device_refusals: Arc<DeviceRefusals> = Arc::default();
        let bodies = Bodies::new(config.api.bodies_megabytes * 1024 * 1024, ms(times.request_body_ms));
        Ok(Self {
            cloud,
            config,
            folder,
            virtual_messages,
            router,
            subscribers,
            events,
            bodies,
            snapshots,
            requests: Requests::new(device_refusals.recent.clone(), instruments.clone()),
            device_refusals,
            instruments,
            cache_counters,
            certificate_expires_s: OnceLock::new(),
            log_level: None,
            opened,
        })
    }

    /// All routes of all dialects. Apps are given the MQTT addresses for the live feed.
    pub fn router(&self, addresses: &Addresses) -> Router {
        let config::Tuya { clock_window_seconds, mqtt_url, .. } = self.config.tuya.clone();
        let window_ms = i64::from(clock_window_seconds) * 1000;
        let port = |address: &Option<String>| address.as_ref()?.rsplit_once(':')?.1.parse().ok();
        let feed_addresses =
            tuya::FeedAddresses { url: mqtt_url, plain: port(&addresses.mqtt), tls: port(&addresses.mqtt_tls) };
        let (cloud, bodies, explain) = (|| self.cloud.clone(), || self.bodies.clone(), self.config.api.explain);
        let (requests, plain_http) = (|| self.requests.clone(), self.config.visual.plain_http);
        let config::Aliyun { hmac_sha1, require_timestamp, sharee_owned, mqtt_endpoint } = self.config.aliyun.clone();
        let options = aliyun::Options { explain, hmac_sha1, require_timestamp, sharee_owned, mqtt_endpoint };
        let dialects = tuya::router(tuya::Tuya::new(cloud(), explain, window_ms, feed_addresses, bodies(), requests()))
            .merge(aliyun::router(aliyun::Aliyun::new(cloud(), options, bodies(), requests())))
            .merge(visual::router(visual::Visual::new(cloud(), explain, plain_http, bodies(), requests())));
        openapi().into_iter().fold(dialects, |router, (name, document)| {
            let document = Bytes::from(document.to_json().unwrap_or_default());
            let served = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
            router.route(&format!("/openapi/{name}.json"), get(served))
        })
    }

    /// The device gateway.
    pub fn gateway(&self) -> Arc<Gateway> {
        let times = &self.config.times;
        let timeouts = SessionTimeouts {
            connect: Duration::from_millis(times.connect_ms),
            subscribe: Duration::from_millis(times.subscribe_ms),
        };
        let (refusals, instruments) = (self.device_refusals.clone(), self.instruments.clone());
        Gateway::new(self.cloud.clone(), self.router.clone(), self.subscribers.clone(), timeouts, refusals, instruments)
    }

    /// The routes of the operator, for a process that has opened the folder itself.
    pub fn control(&self) -> Router {
        control::router(self.cloud.clone(), self.snapshots.clone(), "{}".to_owned(), None)
    }

    /// The TLS configuration for one protocol, with the operator's certificate or one of the built-in CA.
    fn certificate(&self, protocol: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
        let api = &self.config.api;
        let certificate = match (api.tls_cert.as_str(), api.tls_key.as_str()) {
            ("", _) => tls::from_own_ca(&self.folder, &api.tls_names, protocol),
            (certificates, key) => tls::from_files(Path::new(certificates), Path::new(key), protocol),
        };
        let Certificate { config, expires_s } = certificate?;
        if let Some(expires_s) = expires_s {
            self.certificate_expires_s.get_or_init(|| expires_s);
        }
        Ok(config)
    }

    /// The enabled listeners for devices, each with the name of its setting.
    async fn bind_for_devices(
        &self,
        accepts: &Arc<Repeated>,
        limits: &Arc<ConnectionLimits>,
    ) -> Result<Vec<(&'static str, Listener)>, AppError> {
        let mqtt = &self.config.mqtt;
        let mut bound = Vec::new();
        for (setting, address) in [
            ("mqtt.listen", &mqtt.listen),
            ("mqtt.tls_listen", &mqtt.tls_listen),
            ("mqtt.proxy_listen", &mqtt.proxy_listen),
        ] {
            if address.is_empty() {
                continue;
            }
            let transport = match setting {
                "mqtt.tls_listen" => Transport::Tls(self.certificate(tls::MQTT)?),
                "mqtt.proxy_listen" => Transport::Proxied,
                _ => Transport::Plain,
            };
            let listener = Listener::bind(address, transport, limits.clone(), accepts.clone()).await;
            bound.push((setting, listener.map_err(|error| AppError::Listen(setting, error))?));
        }
        Ok(bound)
    }

    /// What the operator observes through the control socket.
    fn observed(&self) -> Observed {
        let (cloud, recent) = (self.cloud.clone(), self.device_refusals.recent.clone());
        Observed { cloud, recent, log_level: self.log_level.clone() }
    }

    /// What the metrics are read from.
    fn sources(
        &self,
        accepts: &Arc<Repeated>,
        connections: &[(&'static str, Arc<ConnectionLimits>)],
        is_serving: &Arc<AtomicBool>,
    ) -> Sources {
        Sources {
            cloud: self.cloud.clone(),
            instruments: self.instruments.clone(),
            bodies: self.bodies.clone(),
            requests: self.requests.clone(),
            device_refusals: self.device_refusals.clone(),
            accepts: accepts.clone(),
            cache: self.cache_counters.clone(),
            connections: connections.to_vec(),
            certificate_expires_s: self.certificate_expires_s.get().copied(),
            is_serving: is_serving.clone(),
        }
    }

    /// Starts the export of traces, if the settings name a collector.
    fn start_traces(&self) -> Result<(), AppError> {
        let config::Traces { endpoint, percent } = &self.config.traces;
        if endpoint.is_empty() {
            return Ok(());
        }
        self.instruments.traces.start(endpoint, *percent).map_err(AppError::Traces)
    }

    /// Opens the listeners, reports their addresses through `announce`, and serves until `stop` completes. When it
    /// returns, everything acknowledged is on disk.
    ///
    /// # Errors
    /// [`AppError`] when a listener cannot be opened.
    pub async fn serve(
        self,
        announce: impl FnOnce(&Addresses),
        stop: impl Future<Output = ()>,
    ) -> Result<(), AppError> {
        self.start_traces()?;
        let (stop_all, stopping) = shutdown::channel();
        let mut tasks = JoinSet::new();
        let mut addresses = Addresses::default();
        let api = &self.config.api;
        let gateway = self.gateway();
        let accepts = Arc::new(Repeated::new("a connection could not be accepted"));
        let of = |setting| move |error| AppError::Listen(setting, error);
        let mqtt = &self.config.mqtt;
        let limits = ConnectionLimits::new(mqtt.connections_max, Some(mqtt.connections_per_address));
        let mut connections = vec![("mqtt", limits.clone())];
        for (setting, listener) in self.bind_for_devices(&accepts, &limits).await? {
            let address = Some(listener.address().map_err(of(setting))?.to_string());
            match listener.transport {
                Transport::Plain => addresses.mqtt = address,
                Transport::Tls(_) => addresses.mqtt_tls = address,
                Transport::Proxied => addresses.mqtt_proxy = address,
            }
            tasks.spawn(listener.serve(gateway.clone(), stopping.clone()));
        }
        let router = self.router(&addresses);
        let head_timeout = Duration::from_millis(self.config.times.request_head_ms);
        let is_serving = Arc::new(AtomicBool::new(false));
        for (name, setting, address) in [
            ("api", "api.listen", &api.listen),
            ("api_tls", "api.tls_listen", &api.tls_listen),
            ("metrics", "metrics.listen", &self.config.metrics.listen),
        ] {
            if address.is_empty() {
                continue;
            }
            let is_tls = name == "api_tls";
            let transport = if is_tls { Transport::Tls(self.certificate(tls::HTTP)?) } else { Transport::Plain };
            let limits = ConnectionLimits::new(api.connections_max, None);
            connections.push((name, limits.clone()));
            let listener = Listener::bind(address, transport, limits, accepts.clone()).await.map_err(of(setting))?;
            let scheme = if is_tls { "https" } else { "http" };
            let bound = Some(format!("{scheme}://{}", listener.address().map_err(of(setting))?));
            match name {
                "api" => addresses.api = bound,
                "api_tls" => addresses.api_tls = bound,
                _ => addresses.metrics = bound,
            }
            let router = match name {
                "metrics" => metrics::router(self.sources(&accepts, &connections, &is_serving)),
                _ => router.clone(),
            };
            tasks.spawn(listener.serve(HttpService { router, head_timeout }, stopping.clone()));
        }
        let socket =
            Socket::open(&self.folder, accepts).map_err(|error| AppError::Folder(self.folder.clone(), error))?;
        let shown = serde_json::to_string(&addresses).unwrap_or_default();
        let operator =
            control::router(self.cloud.clone(), self.snapshots.clone(), shown, Some(Views::new(stopping.clone())));
        tasks.spawn(socket.serve(operator.merge(observe::router(self.observed())), stopping.clone()));
        tasks.spawn(watch(self.opened.space.clone(), stopping.clone()));
        tasks.spawn(expire(self.cloud.clone(), stopping.clone()));
        tasks.spawn(feed::publish(self.cloud.clone(), self.subscribers, self.events, stopping.clone()));
        let round = Duration::from_millis(self.config.times.virtual_round_ms);
        tasks.spawn(virtual_devices::run(self.cloud.clone(), self.virtual_messages, round, stopping));
        is_serving.store(true, Ordering::Release);
        announce(&addresses);
        stop.await;
        is_serving.store(false, Ordering::Release);
        stop_all.now();
        tokio::join!(self.snapshots.close(), async { while tasks.join_next().await.is_some() {} });
        self.instruments.traces.stop().await;
        Ok(())
    }
}

/// Checks the free disk space.
async fn watch(space: Arc<DiskSpace>, mut shutdown: Shutdown) {
    let mut periods = tokio::time::interval(SPACE_PERIOD);
    loop {
        tokio::select! {
            _ = periods.tick() => {
                let space = space.clone();
                // A disk that does not answer must not block a worker of the runtime.
                let _ = tokio::task::spawn_blocking(move || space.check()).await;
            }
            () = shutdown.begun() => return,
        }
    }
}

async fn expire(cloud: Arc<Cloud>, mut shutdown: Shutdown) {
    let mut periods = tokio::time::interval(EXPIRY_PERIOD);
    loop {
        tokio::select! {
            _ = periods.tick() => {
                if let Err(error) = cloud.expire_events(Consent::NotGiven).await {
                    tracing::warn!(%error, "expired log partitions could not be deleted");
                }
            }
            () = shutdown.begun() => return,
        }
    }
}
