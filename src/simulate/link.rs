//! The MQTT connection of a simulated device.

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rmqtt_codec::v3::{Codec, ConnectAckReason, Packet, SubscribeReturnCode};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Decoder;

use super::message::{Identity, PACKET_BYTES_MAX};
use super::{Settings, Tls};

const READ_BYTES: usize = 2048;

/// The connection is lost, or the server sent invalid MQTT.
#[derive(Debug)]
pub struct Closed;

/// Why a connection could not be established.
pub enum OpenError {
    /// The server refused the device permanently.
    Refused(&'static str),
    /// A temporary failure.
    Failed(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Closed> for OpenError {
    fn from(_: Closed) -> Self {
        Self::Failed("the server closed the connection".to_owned())
    }
}

/// An accepted connection.
pub struct Link {
    stream: Stream,
    codec: Codec,
    input: BytesMut,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Link {
    /// Connects, authenticates the device and subscribes.
    pub async fn open(settings: &Settings, who: &Identity) -> Result<Self, OpenError> {
        let stream = TcpStream::connect(settings.address).await?;
        stream.set_nodelay(true)?;
        let stream = match &settings.tls {
            None => Stream::Plain(stream),
            Some(Tls { connector, name }) => {
                Stream::Tls(Box::new(connector.connect(name.clone(), stream).await.map_err(untrusted)?))
            }
        };
        let mut link = Self { stream, codec: Codec::new(PACKET_BYTES_MAX), input: BytesMut::new() };
        let (protocol, subscribes) = (settings.protocol, settings.subscribes);
        link.send(&who.connect(protocol, settings.tls.is_some(), subscribes, settings.now_ms)).await?;
        match link.packet().await? {
            Packet::ConnectAck(answer) => match answer.return_code {
                ConnectAckReason::ConnectionAccepted => {}
                ConnectAckReason::ServiceUnavailable => {
                    return Err(OpenError::Failed("server unavailable".to_owned()));
                }
                reason => return Err(OpenError::Refused(reason.reason())),
            },
            _ => return Err(Closed.into()),
        }
        if let Some(subscription) = who.subscription(protocol).filter(|_| subscribes) {
            link.send(&subscription).await?;
            match link.packet().await? {
                Packet::SubscribeAck { status, .. } if !status.contains(&SubscribeReturnCode::Failure) => {}
                Packet::SubscribeAck { .. } => return Err(OpenError::Refused("the subscription was not granted")),
                _ => return Err(Closed.into()),
            }
        }
        Ok(link)
    }

    /// Sends a packet.
    pub async fn send(&mut self, packet: &[u8]) -> Result<(), Closed> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(packet).await,
            Stream::Tls(stream) => {
                let written = stream.write_all(packet).await;
                if written.is_ok() { stream.flush().await } else { written }
            }
        };
        sent.map_err(|_| Closed)
    }

    /// Waits for data. Returns true if it is only the awaited acknowledgement; otherwise [`Link::next`] returns the
    /// packets.
    pub async fn receive(&mut self, awaited: Option<NonZeroU16>) -> Result<bool, Closed> {
        let Self { stream, input, .. } = self;
        std::future::poll_fn(|context| {
            let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(stream.poll_read(context, &mut buffer)).map_err(|_| Closed)?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(Closed));
            }
            let is_awaited = input.is_empty() && awaited.is_some_and(|id| bytes == acknowledgement(id));
            if !is_awaited {
                input.extend_from_slice(bytes);
            }
            Poll::Ready(Ok(is_awaited))
        })
        .await
    }

    /// The next received packet.
    pub fn next(&mut self) -> Result<Option<Packet>, Closed> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let decoded = self.codec.decode(&mut self.input).map_err(|_| Closed)?;
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Ok(decoded.map(|(packet, _)| packet))
    }

    /// Waits for a packet.
    async fn packet(&mut self) -> Result<Packet, Closed> {
        loop {
            if let Some(packet) = self.next()? {
                return Ok(packet);
            }
            self.receive(None).await?;
        }
    }
}

/// The bytes of a PUBACK.
pub fn acknowledgement(id: NonZeroU16) -> [u8; 4] {
    let [high, low] = id.get().to_be_bytes();
    [0x40, 2, high, low]
}

/// A failed TLS handshake is permanent if the certificate is not trusted.
fn untrusted(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            OpenError::Refused("TLS: the server's certificate is not of the data folder's CA")
        }
        _ => OpenError::Failed(error.to_string()),
    }
}
