//! Where devices connect: MQTT 3.1.1 and 5, with TuyaLink and LinkKit told apart by the CONNECT. So far devices prove
//! themselves, report properties and ask for the time; nothing is sent down to them but replies.

mod alink;
mod auth;
mod hub;
mod payload;
mod session;
mod tylink;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::domain::Cloud;
use crate::shutdown::Shutdown;
pub use hub::Hub;

/// A TLS handshake must be done by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptor left, for one) wait this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections of devices share.
pub struct Gateway {
    cloud: Arc<Cloud>,
    hub: Arc<Hub>,
    connections: Arc<Semaphore>,
}

impl Gateway {
    /// A gateway to a cloud, for at most so many connections.
    pub fn new(cloud: Arc<Cloud>, hub: Arc<Hub>, connections_max: usize) -> Arc<Self> {
        Arc::new(Self { cloud, hub, connections: Arc::new(Semaphore::new(connections_max)) })
    }
}

/// One address at which devices connect.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// With the address in the text.
    pub async fn bind(address: &str, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        Ok(Self { tcp, tls: tls.map(TlsAcceptor::from) })
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
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection of a device could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (gateway, tls, shutdown) = (gateway.clone(), self.tls.clone(), shutdown.clone());
            connections.spawn(async move {
                let _permit = permit;
                let _ = stream.set_nodelay(true);
                match tls {
                    None => session::serve(stream, gateway, shutdown).await,
                    Some(tls) => {
                        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                            session::serve(stream, gateway, shutdown).await;
                        }
                    }
                }
            });
        }
        while connections.join_next().await.is_some() {}
    }
}

async fn accept(
    tcp: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = tcp.accept().await?;
    Ok((stream, permit))
}
