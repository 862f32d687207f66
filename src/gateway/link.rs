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
use super::wire::{Hello, Malformed, Refusal, Said, Wire};
use super::{Gateway, alink};
use crate::domain::device::FactoryName;
use crate::domain::{Cloud, Device};

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
    pub async fn greeting(&mut self, gateway: &Gateway, is_private: bool) -> Result<(Guest, u16), Gone> {
        let hello = loop {
            match self.wire.next()? {
                Some(Said::Connect(hello)) => break hello,
                Some(_) => return Err(Gone),
                None => self.fill().await?,
            }
        };
        let refusal = match known(gateway, &hello, is_private).await {
            Ok(Known::Guest(guest)) => {
                if matches!(guest, Guest::Device(..)) {
                    self.wire.trust();
                }
                return Ok((guest, hello.keep_alive_s));
            }
            Ok(Known::Registered(message)) => {
                self.wire.welcome(Ok(()));
                self.wire.publish(&message.topic, message.payload);
                self.flush().await?;
                // The device goes when it has it; whatever else it says until then is not heard.
                loop {
                    match self.wire.next()? {
                        Some(Said::Goodbye) => return Err(Gone),
                        Some(_) => {}
                        None => self.fill().await?,
                    }
                }
            }
            Err(refusal) => refusal,
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

/// The device or listener of a CONNECT, when it proves it.
async fn known(gateway: &Gateway, hello: &Hello, is_private: bool) -> Result<Known, Refusal> {
    let cloud = &*gateway.cloud;
    let Claim { wish, proof } = auth::claim(hello).ok_or(Refusal::Credentials)?;
    let (who, protocol) = match wish {
        Wish::Session(who, protocol) => (who, protocol),
        // Its client asks for new credentials when it is told that it may not.
        Wish::Listen(name) => {
            let listening =
                gateway.listeners.connect(&name, proof.given(), cloud.now_ms()).ok_or(Refusal::Forbidden)?;
            if !cloud.may_listen(&listening.listener).await.unwrap_or(false) {
                return Err(Refusal::Forbidden);
            }
            return Ok(Known::Guest(Guest::Listener(listening)));
        }
        Wish::Register(name, kind) => return register(cloud, &name, kind, &proof, is_private).await,
    };
    let found = cloud.claimed_device(&who).await.map_err(|_| Refusal::Forbidden)?;
    let found = found.filter(|found| proof.is_proven_by(&found.secret)).ok_or(Refusal::Credentials)?;
    if found.device.disabled {
        return Err(Refusal::Forbidden);
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
) -> Result<Known, Refusal> {
    let product = cloud.product_secret(&name.product_key).await.map_err(|_| Refusal::Forbidden)?;
    let product = product.filter(|product| proof.is_proven_by(&product.secret)).ok_or(Refusal::Credentials)?.product;
    if !is_private {
        return Err(Refusal::Forbidden);
    }
    let found = match kind {
        Registering::Known => cloud.register(&product, &name.device_name).await,
        Registering::New => cloud.register_new(&product, &name.device_name).await,
    };
    let found = found.map_err(|_| Refusal::Forbidden)?.ok_or(Refusal::Forbidden)?;
    Ok(Known::Registered(alink::say::registered(&found, kind == Registering::New)))
}
