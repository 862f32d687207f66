//! A connection of a device, and who its CONNECT turns out to be.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::auth::{self, Claim, Proof, Protocol, Registering, Wish};
use super::listeners::Listening;
use super::payload::Message;
use super::wire::{Hello, Malformed, Refusal, Resumed, Said, Terms, Wire};
use super::{Gateway, Peer, alink};
use crate::domain::device::FactoryName;
use crate::domain::{Cloud, Device, Error};
use crate::refusals::{Reason, Who};

/// A device that takes nothing for so long is gone.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a device that names no keep-alive, or a longer one.
const KEEP_ALIVE_S_MAX: u16 = 1200;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

std::thread_local! {
    /// One buffer a thread, so that an idle connection has none.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

/// The device or its connection went, or said what may not be said.
pub struct Gone;

impl From<Malformed> for Gone {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// How long somebody with this keep-alive may say nothing: the protocol's own one and a half times.
pub fn silence(keep_alive_s: u16) -> Duration {
    let keep_alive_s = match keep_alive_s {
        0 => KEEP_ALIVE_S_MAX,
        seconds => seconds.min(KEEP_ALIVE_S_MAX),
    };
    Duration::from_secs(u64::from(keep_alive_s) * 3 / 2)
}

/// A connection and what is under way on it.
pub struct Link<S> {
    stream: S,
    /// What was read and what is to be sent.
    pub wire: Wire,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// A connection on which nothing was said yet.
    pub fn new(stream: S) -> Self {
        Self { stream, wire: Wire::default() }
    }

    /// Closes it, with a word of why.
    pub async fn close(mut self) {
        self.wire.goodbye();
        let _ = self.flush().await;
        let _ = timeout(WRITE_TIMEOUT, self.stream.shutdown()).await;
    }

    /// Waits for bytes.
    pub async fn fill(&mut self) -> Result<(), Gone> {
        let (stream, wire) = (&mut self.stream, &mut self.wire);
        let read = std::future::poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)).map_err(|_| Gone)?;
                wire.take(buffer.filled());
                Poll::Ready(Ok::<usize, Gone>(buffer.filled().len()))
            })
        });
        if read.await? == 0 { Err(Gone) } else { Ok(()) }
    }

    /// Sends what is to be sent.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        let outgoing = self.wire.outgoing();
        if outgoing.is_empty() {
            return Ok(());
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&outgoing)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// The CONNECT, which must come first, and who it proves. Its answer is not sent yet.
    pub async fn greeting(&mut self, gateway: &Gateway, peer: Peer) -> Result<(Guest, Terms), Gone> {
        let hello = loop {
            match self.wire.next()? {
                Some(Said::Connect(hello)) => break hello,
                Some(_) => return Err(Gone),
                None => self.fill().await?,
            }
        };
        let refusal = match known(gateway, &hello, peer).await {
            Ok(Known::Guest(guest)) => {
                if matches!(guest, Guest::Device(..)) {
                    self.wire.trust();
                }
                return Ok((guest, hello.terms));
            }
            Ok(Known::Registered(message)) => {
                self.wire.welcome(Ok(Resumed::default()));
                self.wire.publish(&message.topic, message.payload);
                self.flush().await?;
                // The device goes when it has it; whatever else it says until then is not heard.
                loop {
                    match self.wire.next()? {
                        Some(Said::Goodbye { .. }) => return Err(Gone),
                        Some(_) => {}
                        None => self.fill().await?,
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
        self.wire.welcome(Err(refusal));
        self.flush().await?;
        Err(Gone)
    }
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
    Ok(Known::Registered(alink::say::registered(&found, kind == Registering::New)))
}
