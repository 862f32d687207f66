//! The accept loop of every listener.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::limits::Limits;
use super::{Peer, proxy_protocol};
use crate::repeated::Repeated;
use crate::shutdown::Shutdown;

/// A TLS handshake, or a header of the PROXY protocol, must be done by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptor left, for one) wait this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is served on the connections of a listener.
pub trait Service: Clone + Send + Sync + 'static {
    /// How long connections may take to end after the shutdown began; without it as long as they need.
    const DRAIN_TIMEOUT: Option<Duration> = None;

    /// Serves one connection until it closes. When the shutdown begins it ends as soon as what is under way is done.
    fn serve<S>(self, stream: S, peer: Peer, shutdown: Shutdown) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// What the connections of a listener begin with.
pub enum Transport {
    /// The protocol that is served, in the clear.
    Plain,
    /// TLS, with the protocols that its configuration names by ALPN.
    Tls(Arc<ServerConfig>),
    /// A header of the PROXY protocol. The proxy ended TLS, so the connection counts as encrypted.
    Proxied,
}

/// One address, or one socket file, that is served.
pub struct Listener {
    socket: Socket,
    /// What its connections begin with.
    pub transport: Transport,
    limits: Arc<Limits>,
    failed: Arc<Repeated>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Listens at an address. Connections beyond the limits wait, or are closed if their address has too many. What cannot
    /// be accepted, for want of a file descriptor for one, is counted in `failed`.
    ///
    /// # Errors
    /// With the address in the text.
    pub async fn bind(
        address: &str,
        transport: Transport,
        limits: Arc<Limits>,
        failed: Arc<Repeated>,
    ) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        Ok(Self { socket: Socket::Tcp(tcp), transport, limits, failed })
    }

    /// Listens on a Unix socket, whose file must not exist yet. Its peers have the address of this machine.
    ///
    /// # Errors
    /// As the system's; a path that is too long for a socket, for one.
    pub fn bind_unix(path: &Path, limits: Arc<Limits>, failed: Arc<Repeated>) -> io::Result<Self> {
        let socket = Socket::Unix(UnixListener::bind(path)?);
        Ok(Self { socket, transport: Transport::Plain, limits, failed })
    }

    /// The address in force.
    ///
    /// # Errors
    /// As the system's; `Unsupported` for a Unix socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.local_addr(),
            Socket::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Serves until the shutdown begins, then waits until the connections have ended.
    pub async fn serve<V: Service>(self, service: V, mut shutdown: Shutdown) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.begun() => break,
            };
            match accepted {
                Ok((stream, address, permit)) => {
                    self.failed.record_success();
                    self.spawn(&mut connections, stream, address, permit, service.clone(), shutdown.clone());
                }
                Err(error) => {
                    self.failed.record_failure(&error.to_string());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        match V::DRAIN_TIMEOUT {
            None => drained.await,
            Some(limit) => {
                if timeout(limit, drained).await.is_err() {
                    tracing::warn!("requests still ran when the time to finish was over");
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(Stream, IpAddr, OwnedSemaphorePermit)> {
        let permit = self.limits.connection().await?;
        Ok(match &self.socket {
            Socket::Tcp(tcp) => {
                let (stream, peer) = tcp.accept().await?;
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), peer.ip().to_canonical(), permit)
            }
            Socket::Unix(unix) => (Stream::Unix(unix.accept().await?.0), Ipv4Addr::LOCALHOST.into(), permit),
        })
    }

    /// Serves one connection in a task of its own.
    fn spawn<V: Service>(
        &self,
        connections: &mut JoinSet<()>,
        stream: Stream,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
        service: V,
        shutdown: Shutdown,
    ) {
        let limits = self.limits.clone();
        // The address of a proxied connection is known after its header.
        let slot = if matches!(self.transport, Transport::Proxied) { None } else { limits.address(address) };
        match (stream, &self.transport) {
            (Stream::Tcp(stream), Transport::Proxied) => connections.spawn(async move {
                let _permit = permit;
                serve_proxied(stream, address, &limits, service, shutdown).await;
            }),
            _ if slot.is_none() => return,
            (Stream::Tcp(stream), Transport::Tls(config)) => {
                let tls = TlsAcceptor::from(config.clone());
                connections.spawn(async move {
                    let _held = (permit, slot);
                    // On the heap while it lasts: it needs much more than what comes after.
                    let handshake = Box::pin(timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)));
                    if let Ok(Ok(stream)) = handshake.await {
                        service.serve(stream, Peer { address, encrypted: true, account: None }, shutdown).await;
                    }
                })
            }
            (Stream::Tcp(stream), Transport::Plain) => connections.spawn(async move {
                let _held = (permit, slot);
                service.serve(stream, Peer { address, encrypted: false, account: None }, shutdown).await;
            }),
            (Stream::Unix(stream), _) => connections.spawn(async move {
                let _held = (permit, slot);
                let account = stream.peer_cred().ok().map(|credentials| credentials.uid());
                service.serve(stream, Peer { address, encrypted: false, account }, shutdown).await;
            }),
        };
    }
}

/// Serves a connection that a proxy passes on.
async fn serve_proxied<V: Service>(
    mut stream: TcpStream,
    proxy: IpAddr,
    limits: &Arc<Limits>,
    service: V,
    shutdown: Shutdown,
) {
    match timeout(HANDSHAKE_TIMEOUT, proxy_protocol::source(&mut stream)).await {
        Ok(Ok(source)) => {
            let address = source.map_or(proxy, |source| source.to_canonical());
            let Some(_slot) = limits.address(address) else { return };
            service.serve(stream, Peer { address, encrypted: true, account: None }, shutdown).await;
        }
        Ok(Err(error)) => {
            tracing::warn!(%proxy, %error, "a connection at mqtt.proxy_listen does not begin as a proxy's");
        }
        Err(_) => {}
    }
}
