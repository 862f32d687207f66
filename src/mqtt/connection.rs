//! One MQTT connection: its bytes, read and written.

use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::codec::{Codec, ProtocolError};

/// A client that takes no bytes for so long is disconnected.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The keep-alive, in seconds, of a client that names none or a longer one.
const KEEP_ALIVE_S_MAX: u16 = 1200;
/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

std::thread_local! {
    /// One buffer a thread, so that an idle connection has none.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

/// The connection is closed, or must be.
pub struct Closed;

impl From<ProtocolError> for Closed {
    fn from(_: ProtocolError) -> Self {
        Self
    }
}

/// How long a client with this keep-alive may send nothing: one and a half times as long, as MQTT has it.
pub fn keep_alive_timeout(keep_alive_s: u16) -> Duration {
    let keep_alive_s = match keep_alive_s {
        0 => KEEP_ALIVE_S_MAX,
        seconds => seconds.min(KEEP_ALIVE_S_MAX),
    };
    Duration::from_millis(u64::from(keep_alive_s) * 1500)
}

/// A connection, with the packets under way on it.
pub struct Connection<S> {
    stream: S,
    /// What was received and what is to be sent.
    pub codec: Codec,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection on which nothing was received yet.
    pub fn new(stream: S) -> Self {
        Self { stream, codec: Codec::default() }
    }

    /// Closes it, with a DISCONNECT if there is a reason.
    pub async fn close(mut self) {
        self.codec.disconnect();
        let _ = self.flush().await;
        let _ = timeout(WRITE_TIMEOUT, self.stream.shutdown()).await;
    }

    /// Reads bytes, once there are some.
    pub async fn read(&mut self) -> Result<(), Closed> {
        let (stream, codec) = (&mut self.stream, &mut self.codec);
        let read = std::future::poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)).map_err(|_| Closed)?;
                codec.receive(buffer.filled());
                Poll::Ready(Ok::<usize, Closed>(buffer.filled().len()))
            })
        });
        if read.await? == 0 { Err(Closed) } else { Ok(()) }
    }

    /// Sends what is to be sent.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        let outgoing = self.codec.take_output();
        if outgoing.is_empty() {
            return Ok(());
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&outgoing)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Closed),
        }
    }
}
