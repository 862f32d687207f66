//! One connection of a device, from its CONNECT to its end.

use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::auth::{self, Protocol};
use super::payload::Step;
use super::wire::{Hello, Malformed, Published, Refusal, Said, Wire};
use super::{Gateway, alink, tylink};
use crate::domain::data_point::Reported;
use crate::domain::{Cloud, Device};
use crate::shutdown::Shutdown;

/// A CONNECT must have arrived by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A device that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a device that names no keep-alive, or a longer one.
const KEEP_ALIVE_S_MAX: u16 = 1200;
/// Filters that a device may have subscribed to.
const FILTERS_MAX: usize = 64;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

std::thread_local! {
    /// One buffer a thread, so that an idle connection has none.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

/// The device or its connection went, or said what may not be said.
struct Gone;

impl From<Malformed> for Gone {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// Serves one connection to its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, gateway: Arc<Gateway>, mut shutdown: Shutdown) {
    let mut link = Link { stream, wire: Wire::default() };
    let greeted = tokio::select! {
        greeted = timeout(CONNECT_TIMEOUT, link.greeting(&gateway.cloud)) => greeted,
        () = shutdown.begun() => return,
    };
    let Ok(Ok((device, protocol, keep_alive_s))) = greeted else { return };
    let mut place = gateway.hub.enter(device.no);
    if gateway.cloud.connected(&device).await.is_ok() {
        let mut session = Session { device, protocol, filters: Vec::new(), is_auto: false };
        session.is_auto = matches!(protocol, Protocol::LinkKit { auto_subscribe: true });
        link.wire.welcome(Ok(()));
        tokio::select! {
            _ = session.run(&mut link, &gateway.cloud, keep_alive_s) => {}
            () = place.ended() => {}
            () = shutdown.begun() => {}
        }
        // Only the session that still has the place says that the device is gone: after another has taken it the device
        // is there.
        if place.leave()
            && let Err(error) = gateway.cloud.disconnected(&session.device).await
        {
            tracing::warn!(%error, "a device could not be disconnected");
        }
    } else {
        place.leave();
    }
    let _ = timeout(WRITE_TIMEOUT, link.stream.shutdown()).await;
}

/// A connection and what is under way on it.
struct Link<S> {
    stream: S,
    wire: Wire,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Waits for bytes.
    async fn fill(&mut self) -> Result<(), Gone> {
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
    async fn flush(&mut self) -> Result<(), Gone> {
        let outgoing = self.wire.outgoing();
        if outgoing.is_empty() {
            return Ok(());
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&outgoing)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// The CONNECT, which must come first, and the device that it proves. Its answer is not sent yet.
    async fn greeting(&mut self, cloud: &Cloud) -> Result<(Device, Protocol, u16), Gone> {
        let hello = loop {
            match self.wire.next()? {
                Some(Said::Connect(hello)) => break hello,
                Some(_) => return Err(Gone),
                None => self.fill().await?,
            }
        };
        match known(cloud, &hello).await {
            Ok((device, protocol)) => Ok((device, protocol, hello.keep_alive_s)),
            Err(refusal) => {
                self.wire.welcome(Err(refusal));
                self.flush().await?;
                Err(Gone)
            }
        }
    }
}

/// The device of a CONNECT, when its secret proves it.
async fn known(cloud: &Cloud, hello: &Hello) -> Result<(Device, Protocol), Refusal> {
    let claim = auth::claim(hello).ok_or(Refusal::Credentials)?;
    let found = cloud.claimed_device(&claim.who).await.map_err(|_| Refusal::Forbidden)?;
    let found = found.filter(|found| claim.is_proven_by(&found.secret)).ok_or(Refusal::Credentials)?;
    if found.device.disabled {
        return Err(Refusal::Forbidden);
    }
    Ok((found.device, claim.protocol))
}

struct Session {
    device: Device,
    protocol: Protocol,
    filters: Vec<String>,
    /// Whether everything is sent down without further subscriptions.
    is_auto: bool,
}

impl Session {
    async fn run<S>(&mut self, link: &mut Link<S>, cloud: &Cloud, keep_alive_s: u16) -> Result<(), Gone>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let keep_alive_s = match keep_alive_s {
            0 => KEEP_ALIVE_S_MAX,
            seconds => seconds.min(KEEP_ALIVE_S_MAX),
        };
        // The protocol's own one and a half times.
        let silence = Duration::from_secs(u64::from(keep_alive_s) * 3 / 2);
        loop {
            self.answer(link, cloud).await?;
            link.flush().await?;
            timeout(silence, link.fill()).await.map_err(|_| Gone)??;
        }
    }

    /// Takes everything that was said in what was read. All reports in it are one batch; each is acknowledged when the
    /// batch is on disk, and until then nothing more is read.
    async fn answer<S>(&mut self, link: &mut Link<S>, cloud: &Cloud) -> Result<(), Gone> {
        let mut batch = Batch::default();
        while let Some(said) = link.wire.next()? {
            match said {
                Said::Publish(published) => self.published(published, cloud, &mut batch)?,
                Said::Subscribe(id, filters) => {
                    let granted: Vec<bool> = filters.into_iter().map(|filter| self.subscribe(filter)).collect();
                    link.wire.granted(id, &granted);
                }
                Said::Unsubscribe(id, filters) => {
                    self.filters.retain(|filter| !filters.contains(filter));
                    link.wire.ungranted(id, filters.len());
                }
                Said::Ping => link.wire.pong(),
                Said::Acknowledged => {}
                Said::Connect(_) | Said::Goodbye => return Err(Gone),
            }
        }
        if cloud.keep(batch.reported).await.is_err() {
            // Nothing was kept and nothing is acknowledged: the device sends it again.
            return Err(Gone);
        }
        for id in batch.acknowledged {
            link.wire.acknowledge(id);
        }
        for message in batch.messages.into_iter().filter(|message| self.wants(&message.topic)) {
            link.wire.publish(&message.topic, message.payload);
        }
        Ok(())
    }

    fn published(&self, published: Published, cloud: &Cloud, batch: &mut Batch) -> Result<(), Gone> {
        let Published { topic, payload, id } = published;
        let step = match self.protocol {
            Protocol::TuyaLink => tylink::step(&self.device, &topic, &payload, cloud.now_ms()),
            Protocol::LinkKit { .. } => alink::step(&self.device, &topic, &payload, cloud.now_ms()),
        };
        match step {
            Step::Keep { points, kept, refused } => match cloud.reported(self.device.no, points) {
                Ok(reported) => {
                    batch.reported.extend(reported);
                    batch.messages.extend(kept);
                }
                Err(_) => batch.messages.extend(refused),
            },
            Step::Answer(message) => batch.messages.push(message),
            Step::Nothing => {}
            Step::Foreign => return Err(Gone),
        }
        batch.acknowledged.extend(id);
        Ok(())
    }

    /// Whether a filter is granted: only below the device's own topics.
    fn subscribe(&mut self, filter: String) -> bool {
        let is_own = match self.protocol {
            Protocol::TuyaLink => tylink::own(&self.device, &filter).is_some(),
            Protocol::LinkKit { .. } => alink::is_own(&self.device, &filter),
        };
        if !is_own || self.filters.len() >= FILTERS_MAX {
            return false;
        }
        if self.protocol == Protocol::TuyaLink && filter == tylink::auto_subscription(&self.device) {
            self.is_auto = true;
        } else if !self.filters.contains(&filter) {
            self.filters.push(filter);
        }
        true
    }

    fn wants(&self, topic: &str) -> bool {
        self.is_auto || self.filters.iter().any(|filter| matches(filter, topic))
    }
}

/// What came in one read.
#[derive(Default)]
struct Batch {
    reported: Reported,
    acknowledged: Vec<NonZeroU16>,
    messages: Vec<super::payload::Message>,
}

/// Whether a filter covers a topic (MQTT 3.1.1 §4.7).
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_and_topics() {
        for (filter, topic, covers) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("#", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("/a", "a", false),
        ] {
            assert_eq!(matches(filter, topic), covers, "{filter} {topic}");
        }
    }
}
