//! What a CONNECT turns out to be: a device's, a registration, or a subscriber's of the live feed.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Gateway;
use super::auth::{Claim, Intent, Proof, Registration};
use super::dialect::{self, DeviceDialect, Message};
use crate::actor;
use crate::domain::audit::{Actor, ActorKind};
use crate::domain::device::FactoryName;
use crate::domain::session::{DeviceClaim, DeviceSecret};
use crate::domain::{Cloud, Device, Error};
use crate::feed::{CLIENT_ID_PREFIX, Subscription};
use crate::mqtt::codec::{Connect, ConnectRefusal, Packet, SessionOptions, SessionState};
use crate::mqtt::connection::{Closed, Connection};
use crate::net::Peer;
use crate::refusals::{Reason, Who};

/// Reads the CONNECT, which must come first, and proves it. A client that is let in has no CONNACK yet.
pub async fn accept<S>(
    connection: &mut Connection<S>,
    gateway: &Gateway,
    peer: Peer,
) -> Result<(Client, SessionOptions), Closed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connect = loop {
        match connection.codec.next_packet()? {
            Some(Packet::Connect(connect)) => break connect,
            Some(_) => return Err(Closed),
            None => connection.read().await?,
        }
    };
    let refusal = match authenticate(gateway, &connect, peer).await {
        Ok(Authenticated::Client(client)) => {
            if matches!(client, Client::Device(..)) {
                connection.codec.accept_long_packets();
            }
            return Ok((client, connect.options));
        }
        Ok(Authenticated::Registered(message)) => {
            connection.codec.connect_ack(Ok(SessionState::default()));
            connection.codec.publish(&message.topic, message.payload);
            connection.flush().await?;
            // The device closes the connection when it has its secret; what it sends until then is discarded.
            loop {
                match connection.codec.next_packet()? {
                    Some(Packet::Disconnect { .. }) => return Err(Closed),
                    Some(_) => {}
                    None => connection.read().await?,
                }
            }
        }
        Err(Refused { refusal, reason, device }) => {
            if let Some(reason) = reason {
                let (device, client_id) = (device.as_deref().unwrap_or_default(), &connect.client_id);
                let (who, what) = (Who::Unauthenticated { client_id, device }, format!("user {}", connect.username));
                gateway.refusals.refused(reason, who, peer.address, &what, gateway.cloud.now_ms());
            }
            refusal
        }
    };
    connection.codec.connect_ack(Err(refusal));
    connection.flush().await?;
    Err(Closed)
}

/// A client that is let in.
pub enum Client {
    /// A device.
    Device(DeviceClient),
    /// A subscriber of the live feed.
    Subscriber(Subscription),
}

/// A device that proved itself.
pub struct DeviceClient {
    /// The device.
    pub device: Arc<Device>,
    /// Its protocol.
    pub dialect: &'static dyn DeviceDialect,
    /// Whether it is sent everything without any subscription.
    pub receives_all: bool,
}

/// What a CONNECT turned out to be.
enum Authenticated {
    /// A client that stays.
    Client(Client),
    /// A device that proved its product, and the message that gives it its own secret.
    Registered(Message),
}

/// Why a client is not let in.
struct Refused {
    /// What is answered.
    refusal: ConnectRefusal,
    /// What the operator sees; `None` for a failure of the store, which is logged where it happens.
    reason: Option<Reason>,
    /// The device that the client claims to be, by its id or by the name that it claims.
    device: Option<String>,
}

impl Refused {
    const fn new(refusal: ConnectRefusal, reason: Reason) -> Self {
        Self { refusal, reason: Some(reason), device: None }
    }

    fn of(self, device: &str) -> Self {
        Self { device: Some(device.to_owned()), ..self }
    }
}

const UNREADABLE: Refused = Refused::new(ConnectRefusal::Credentials, Reason::UnreadableConnect);
const UNKNOWN: Refused = Refused::new(ConnectRefusal::Credentials, Reason::UnknownDevice);
const WRONG_PASSWORD: Refused = Refused::new(ConnectRefusal::Credentials, Reason::WrongPassword);
const DISABLED: Refused = Refused::new(ConnectRefusal::Forbidden, Reason::Disabled);
const NO_SUBSCRIBER: Refused = Refused::new(ConnectRefusal::Forbidden, Reason::Subscriber);
const NO_REGISTRATION: Refused = Refused::new(ConnectRefusal::Forbidden, Reason::Registration);

fn failed(error: Error) -> Refused {
    tracing::error!(%error, "a device could not be looked up");
    Refused { refusal: ConnectRefusal::Forbidden, reason: None, device: None }
}

/// The id of the device that is claimed, or the name that the factory gave to it.
fn claimed_name(who: &DeviceClaim) -> &str {
    match who {
        DeviceClaim::Id(id) | DeviceClaim::Registered(id, _) => id.as_str(),
        DeviceClaim::Factory(name) => &name.device_name,
    }
}

/// The client of a CONNECT, when it proves what it claims.
async fn authenticate(gateway: &Gateway, connect: &Connect, peer: Peer) -> Result<Authenticated, Refused> {
    if connect.client_id.starts_with(CLIENT_ID_PREFIX) {
        return subscriber(gateway, connect).await;
    }
    let cloud = &*gateway.cloud;
    let dialect = dialect::of_client_id(&connect.client_id).ok_or(UNREADABLE)?;
    let Claim { intent, proof } = dialect.claim(connect).ok_or(UNREADABLE)?;
    let (who, receives_all) = match intent {
        Intent::Session { who, receives_all } => (who, receives_all),
        Intent::Register(name, registration) => {
            let actor = Actor {
                kind: ActorKind::Device,
                name: format!("{}/{}", name.product_key, name.device_name),
                origin: peer.address.to_string(),
                call: "registration".to_owned(),
            };
            let registered = register(cloud, &name, registration, &proof, peer.is_confidential());
            let found = actor::scope(actor, registered).await;
            let found = found.map_err(|refused| refused.of(&name.device_name))?;
            let message = dialect.encode_registration(&found, registration).ok_or(NO_REGISTRATION)?;
            return Ok(Authenticated::Registered(message));
        }
    };
    let found = cloud.claimed_device(&who).await.map_err(failed)?;
    let found = found.ok_or_else(|| UNKNOWN.of(claimed_name(&who)))?;
    if !proof.is_proven_by(&found.secret) {
        return Err(WRONG_PASSWORD.of(found.device.id.as_str()));
    }
    if found.device.disabled {
        return Err(DISABLED.of(found.device.id.as_str()));
    }
    let device = Arc::new(in_session(found.device));
    Ok(Authenticated::Client(Client::Device(DeviceClient { device, dialect, receives_all })))
}

/// A subscriber of the feed. Its client asks the cloud API for new credentials when it receives "not authorized".
async fn subscriber(gateway: &Gateway, connect: &Connect) -> Result<Authenticated, Refused> {
    if connect.client_id != connect.username {
        return Err(UNREADABLE);
    }
    let (subscribers, now_ms) = (&gateway.subscribers, gateway.cloud.now_ms());
    let subscription = subscribers.connect(&connect.client_id, &connect.password, now_ms).ok_or(NO_SUBSCRIBER)?;
    if !gateway.cloud.may_subscribe(&subscription.identity).await.unwrap_or(false) {
        return Err(NO_SUBSCRIBER);
    }
    Ok(Authenticated::Client(Client::Subscriber(subscription)))
}

/// A device as a session holds it, which may last for months: without keys and texts that the session does not use.
pub fn in_session(device: Device) -> Device {
    let mut device = device;
    for text in [&mut device.local_key, &mut device.uuid, &mut device.name, &mut device.ip, &mut device.time_zone] {
        *text = String::new();
    }
    for text in [&mut device.sn, &mut device.mac, &mut device.lat, &mut device.lon] {
        *text = None;
    }
    device
}

/// Registers a device. Its secret is sent only over a connection that nobody else can read.
async fn register(
    cloud: &Cloud,
    name: &FactoryName,
    registration: Registration,
    proof: &Proof,
    is_confidential: bool,
) -> Result<DeviceSecret, Refused> {
    let product = cloud.product_secrets(&[&name.product_key]).await.map_err(failed)?.pop().flatten().ok_or(UNKNOWN)?;
    if !proof.is_proven_by(&product.secret) {
        return Err(WRONG_PASSWORD);
    }
    let product = product.product;
    if !is_confidential {
        return Err(NO_REGISTRATION);
    }
    let found = match registration {
        Registration::Existing => cloud.register(&product, &name.device_name).await,
        Registration::New => cloud.register_new(&product, &name.device_name).await,
    };
    found.map_err(failed)?.ok_or(NO_REGISTRATION)
}
