//! Where devices connect: the session of a connected device, in one of the protocols that devices use above MQTT.

mod auth;
mod batch;
mod calls;
mod connect;
mod connect_info;
pub mod dialect;
mod requests;
mod router;
mod session;
mod subscriptions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::domain::{Cloud, Device, ProjectNo};
use crate::feed::Subscribers;
use crate::instruments::Instruments;
use crate::log_limit::LogLimit;
use crate::net::{Peer, Service};
use crate::refusals::DeviceRefusals;
use crate::repeated::Repeated;
use crate::shutdown::Shutdown;
pub use connect_info::{ConnectInfo, Protocol, connect_info};
use dialect::DeviceDialect;
pub use router::CommandRouter;

/// What all connections of devices share.
pub struct Gateway {
    cloud: Arc<Cloud>,
    router: Arc<CommandRouter>,
    subscribers: Arc<Subscribers>,
    /// Devices that were refused.
    refusals: Arc<DeviceRefusals>,
    instruments: Arc<Instruments>,
    desired_failed: Repeated,
    timeouts: SessionTimeouts,
    session_lines: LogLimit,
    /// The names of projects, for the log.
    projects: Mutex<HashMap<ProjectNo, String>>,
}

/// Time-outs of the session of a device.
#[derive(Clone, Copy)]
pub struct SessionTimeouts {
    /// A CONNECT must have arrived by then.
    pub connect: Duration,
    /// A device subscribes within this time after it came online; until then commands wait for that.
    pub subscribe: Duration,
}

impl Gateway {
    /// A gateway to a cloud. Clients that are no devices but subscribers of the live feed connect here too.
    pub fn new(
        cloud: Arc<Cloud>,
        router: Arc<CommandRouter>,
        subscribers: Arc<Subscribers>,
        timeouts: SessionTimeouts,
        refusals: Arc<DeviceRefusals>,
        instruments: Arc<Instruments>,
    ) -> Arc<Self> {
        let desired_failed = Repeated::new("desired values could not be read");
        let (session_lines, projects) = (LogLimit::new(session::LINES_MAX), Mutex::default());
        Arc::new(Self {
            cloud,
            router,
            subscribers,
            refusals,
            instruments,
            desired_failed,
            timeouts,
            session_lines,
            projects,
        })
    }

    fn projects(&self) -> MutexGuard<'_, HashMap<ProjectNo, String>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Arc<Gateway> {
    async fn serve<S>(self, stream: S, peer: Peer, shutdown: Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        session::serve(stream, self, shutdown, peer).await;
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
