//! The connections of every listener: one accept loop with limits, TLS, the PROXY protocol and an orderly end.

mod limits;
mod proxy_protocol;
mod serve;

use std::net::IpAddr;

pub use limits::Limits;
pub use serve::{Listener, Service, Transport};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address. A proxy's, when there is one in front that does not name it.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The account of the process at the other end of a Unix socket.
    pub account: Option<u32>,
}

impl Peer {
    /// Whether the connection is encrypted or local, so that secrets may be sent over it.
    pub fn is_confidential(self) -> bool {
        self.encrypted || self.address.is_loopback()
    }
}
