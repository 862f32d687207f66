//! Where devices connect: MQTT 3.1.1 and 5, with TuyaLink and LinkKit told apart by the CONNECT; and apps that listen to
//! their devices.

mod auth;
mod batch;
mod calls;
mod connect;
pub mod dialect;
mod off_spec;
mod proxied;
mod requests;
mod router;
mod session;
mod subscriptions;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::domain::{Cloud, Device};
use crate::feed::Subscribers;
use crate::refusals::DeviceRefusals;
use crate::repeated::Repeated;
use crate::shutdown::Shutdown;
use dialect::DeviceDialect;
pub use router::CommandRouter;

/// A TLS handshake must be done by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptor left, for one) wait this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether nobody between it and this server reads what is sent.
    pub is_private: bool,
}

/// What all connections of devices share.
pub struct Gateway {
    cloud: Arc<Cloud>,
    router: Arc<CommandRouter>,
    subscribers: Arc<Subscribers>,
    /// Devices that were refused.
    pub refusals: Arc<DeviceRefusals>,
    connections: Arc<Semaphore>,
    per_address_max: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Gateway {
    /// A gateway to a cloud, for at most so many connections, and so many of one address. This machine's own addresses
    /// are not counted.
    pub fn new(
        cloud: Arc<Cloud>,
        router: Arc<CommandRouter>,
        subscribers: Arc<Subscribers>,
        connections_max: usize,
        per_address_max: usize,
    ) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(connections_max));
        let (refusals, by_address) = Default::default();
        Arc::new(Self { cloud, router, subscribers, refusals, connections, per_address_max, by_address })
    }

    /// Serves one connection, however it came here, to its end.
    pub async fn serve<S>(self: Arc<Self>, stream: S, shutdown: Shutdown, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        session::serve(stream, self, shutdown, peer).await;
    }

    /// Serves a connection that a proxy passes on.
    async fn serve_proxied(self: Arc<Self>, mut stream: TcpStream, proxy: IpAddr, shutdown: Shutdown) {
        let source = tokio::time::timeout(HANDSHAKE_TIMEOUT, proxied::source(&mut stream)).await;
        match source {
            Ok(Ok(source)) => {
                let address = source.map_or(proxy, |source| source.to_canonical());
                let Some(_place) = self.place(address) else { return };
                self.serve(stream, shutdown, Peer { address, is_private: true }).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(%proxy, %error, "a connection at mqtt.proxy_listen does not begin as a proxy's");
            }
            Err(_) => {}
        }
    }

    /// A place among those of an address; `None` when all are taken.
    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if !address.is_loopback() {
            let mut by_address = self.by_address();
            let count = by_address.entry(address).or_default();
            if *count >= self.per_address_max {
                tracing::debug!(%address, "an address has all the connections that it may have");
                return None;
            }
            *count += 1;
        }
        Some(Place { gateway: self.clone(), address })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes a message as a session of a device would, and does nothing of what it asks for. Whether its topic is the
/// device's.
pub fn decode(dialect: &dyn DeviceDialect, device: &Device, topic: &str, payload: &[u8], now_ms: i64) -> bool {
    let is_own = dialect.device_of_topic(topic).is_some_and(|name| name == dialect.topic_name(device));
    if is_own {
        drop(dialect.decode(device, topic, payload, now_ms));
    }
    is_own
}

/// A connection's place among those of its address.
struct Place {
    gateway: Arc<Gateway>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.gateway.by_address();
        if let Entry::Occupied(mut count) = by_address.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What the connections of a listener begin with.
pub enum Transport {
    /// MQTT, in the clear.
    Plain,
    /// TLS.
    Tls(Arc<ServerConfig>),
    /// A header of the PROXY protocol. The proxy before it ended TLS, so the device's connection counts as encrypted.
    Proxied,
}

/// One address at which devices connect.
pub struct Listener {
    tcp: TcpListener,
    /// What its connections begin with.
    pub transport: Transport,
    failed: Arc<Repeated>,
}

impl Listener {
    /// Listens at an address. What cannot be accepted, for want of a file descriptor for one, is counted in `failed`.
    ///
    /// # Errors
    /// With the address in the text.
    pub async fn bind(address: &str, transport: Transport, failed: Arc<Repeated>) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        Ok(Self { tcp, transport, failed })
    }

    /// The address in force.
    ///
    /// # Errors
    /// As the system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until the shutdown begins; then every device is disconnected.
    pub async fn serve(self, gateway: Arc<Gateway>, mut shutdown: Shutdown) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.tcp, &gateway.connections) => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.begun() => break,
            };
            let (stream, address, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.failed.happened(&error.to_string());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            self.failed.ended();
            let Some(place) = gateway.place(address) else { continue };
            let (gateway, shutdown) = (gateway.clone(), shutdown.clone());
            let _ = stream.set_nodelay(true);
            match &self.transport {
                Transport::Plain => connections.spawn(async move {
                    let _held = (permit, place);
                    gateway.serve(stream, shutdown, Peer { address, is_private: address.is_loopback() }).await;
                }),
                Transport::Tls(config) => {
                    let tls = TlsAcceptor::from(config.clone());
                    connections.spawn(async move {
                        let _held = (permit, place);
                        // On the heap while it lasts: it needs much more than what comes after.
                        let handshake = Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)));
                        if let Ok(Ok(stream)) = handshake.await {
                            gateway.serve(stream, shutdown, Peer { address, is_private: true }).await;
                        }
                    })
                }
                Transport::Proxied => connections.spawn(async move {
                    let _held = permit;
                    drop(place);
                    gateway.serve_proxied(stream, address, shutdown).await;
                }),
            };
        }
        while connections.join_next().await.is_some() {}
    }
}

async fn accept(
    tcp: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = tcp.accept().await?;
    Ok((stream, peer.ip().to_canonical(), permit))
}
