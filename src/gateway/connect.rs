//! Who a CONNECT turns out to be: a device, a device that registers, or a subscriber of the feed.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::auth::{self, Claim, Proof, Protocol, Registering, Wish};
use super::dialect::{Message, linkkit};
use super::{Gateway, Peer};
use crate::domain::device::FactoryName;
use crate::domain::{Cloud, Device, Error};
use crate::feed::Listening;
use crate::mqtt::codec::{Hello, Refusal, Resumed, Said, Terms};
use crate::mqtt::connection::{Gone, Link};
use crate::refusals::{Reason, Who};

/// The CONNECT, which must come first, and who it proves. Its answer is not sent yet.
pub async fn greeting<S>(link: &mut Link<S>, gateway: &Gateway, peer: Peer) -> Result<(Guest, Terms), Gone>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = loop {
        match link.wire.next_packet()? {
            Some(Said::Connect(hello)) => break hello,
            Some(_) => return Err(Gone),
            None => link.fill().await?,
        }
    };
    let refusal = match known(gateway, &hello, peer).await {
        Ok(Known::Guest(guest)) => {
            if matches!(guest, Guest::Device(..)) {
                link.wire.trust();
            }
            return Ok((guest, hello.terms));
        }
        Ok(Known::Registered(message)) => {
            link.wire.welcome(Ok(Resumed::default()));
            link.wire.publish(&message.topic, message.payload);
            link.flush().await?;
            // The device goes when it has it; whatever else it says until then is not heard.
            loop {
                match link.wire.next_packet()? {
                    Some(Said::Goodbye { .. }) => return Err(Gone),
                    Some(_) => {}
                    None => link.fill().await?,
                }
            }
        }
        Err((refusal, reason)) => {
            if let Some(reason) = reason {
                let what = format!("user {}", hello.username);
                gateway.refusals.refused(reason, Who::Claimed(&hello.client_id), peer.address, &what);
            }
            refusal
        }
    };
    link.wire.welcome(Err(refusal));
    link.flush().await?;
    Err(Gone)
}

/// Who is let in.
pub enum Guest {
    /// A device, by its secret.
    Device(Arc<Device>, Protocol),
    /// Somebody who listens to devices.
    Listener(Listening),
}

/// Who a CONNECT turned out to be.
enum Known {
    /// Somebody who stays.
    Guest(Guest),
    /// A device, by its product's secret, and what tells it its own.
    Registered(Message),
}

/// Why somebody is not let in: what is answered, and what the log says, unless the store's failure is logged there.
type Refused = (Refusal, Option<Reason>);

const UNREADABLE: Refused = (Refusal::Credentials, Some(Reason::UnreadableConnect));
const UNKNOWN: Refused = (Refusal::Credentials, Some(Reason::UnknownDevice));
const WRONG_PASSWORD: Refused = (Refusal::Credentials, Some(Reason::WrongPassword));
const DISABLED: Refused = (Refusal::Forbidden, Some(Reason::Disabled));
const NO_LISTENER: Refused = (Refusal::Forbidden, Some(Reason::Listener));
const NO_REGISTRATION: Refused = (Refusal::Forbidden, Some(Reason::Registration));

fn failed(error: Error) -> Refused {
    tracing::error!(%error, "a device could not be looked up");
    (Refusal::Forbidden, None)
}

/// The device or listener of a CONNECT, when it proves it.
async fn known(gateway: &Gateway, hello: &Hello, peer: Peer) -> Result<Known, Refused> {
    let cloud = &*gateway.cloud;
    let Claim { wish, proof } = auth::claim(hello).ok_or(UNREADABLE)?;
    let (who, protocol) = match wish {
        Wish::Session(who, protocol) => (who, protocol),
        // Its client asks for new credentials when it is told that it may not.
        Wish::Listen(name) => {
            let listening = gateway.listeners.connect(&name, proof.given(), cloud.now_ms()).ok_or(NO_LISTENER)?;
            if !cloud.may_listen(&listening.listener).await.unwrap_or(false) {
                return Err(NO_LISTENER);
            }
            return Ok(Known::Guest(Guest::Listener(listening)));
        }
        Wish::Register(name, kind) => return register(cloud, &name, kind, &proof, peer.is_private).await,
    };
    let found = cloud.claimed_device(&who).await.map_err(failed)?.ok_or(UNKNOWN)?;
    if !proof.is_proven_by(&found.secret) {
        return Err(WRONG_PASSWORD);
    }
    if found.device.disabled {
        return Err(DISABLED);
    }
    Ok(Known::Guest(Guest::Device(Arc::new(in_session(found.device)), protocol)))
}

/// A device as a session keeps it, which may last for months: without any key and text that it has no use for.
pub fn in_session(device: Device) -> Device {
    Device {
        local_key: String::new(),
        uuid: String::new(),
        name: String::new(),
        sn: None,
        mac: None,
        ip: String::new(),
        lat: None,
        lon: None,
        time_zone: String::new(),
        ..device
    }
}

/// A secret goes only where nobody else reads it.
async fn register(
    cloud: &Cloud,
    name: &FactoryName,
    kind: Registering,
    proof: &Proof,
    is_private: bool,
) -> Result<Known, Refused> {
    let product = cloud.product_secret(&name.product_key).await.map_err(failed)?.ok_or(UNKNOWN)?;
    if !proof.is_proven_by(&product.secret) {
        return Err(WRONG_PASSWORD);
    }
    let product = product.product;
    if !is_private {
        return Err(NO_REGISTRATION);
    }
    let found = match kind {
        Registering::Known => cloud.register(&product, &name.device_name).await,
        Registering::New => cloud.register_new(&product, &name.device_name).await,
    };
    let found = found.map_err(failed)?.ok_or(NO_REGISTRATION)?;
    Ok(Known::Registered(linkkit::encode::registered(&found, kind == Registering::New)))
}
