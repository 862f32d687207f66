//! One connection of a device, from its CONNECT to its end. What the device says is in [`incoming`], what is said to it
//! by itself in [`outgoing`].

mod incoming;
mod outgoing;
mod stored;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::auth::Protocol;
use super::batch::{Answer, Batch};
use super::calls::Calls;
use super::connect::{self, Guest};
use super::dialect::{Fault, Heard, Message, Reply, Told};
use super::dialect::{linkkit, tuyalink};
use super::off_spec::Oddities;
use super::router::{Mailbox, Sent};
use super::subscriptions::Subscriptions;
use super::{Gateway, Peer};
use crate::domain::data_point::Reported;
use crate::domain::{Cloud, Device, DeviceNo, Error};
use crate::feed;
use crate::mqtt::codec::{Ending, Refusal, Resumed};
use crate::mqtt::connection::{Gone, Link, silence};
use crate::shutdown::Shutdown;
use stored::Kept;

/// A CONNECT must have arrived by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A device subscribes within this time after it came; until then commands wait for that.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves one connection to its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    gateway: Arc<Gateway>,
    mut shutdown: Shutdown,
    peer: Peer,
) {
    let mut link = Link::new(stream);
    // What happens once or seldom is on the heap while it happens: an idle connection has no room for it.
    let greeted = tokio::select! {
        greeted = timeout(CONNECT_TIMEOUT, Box::pin(connect::greeting(&mut link, &gateway, peer))) => greeted,
        () = shutdown.begun() => return,
    };
    match greeted {
        Ok(Ok((Guest::Device(device, protocol), terms))) => {
            let mut session = Session::new(device, protocol, peer);
            gateway.hub.enter(session.device.no, &session.mailbox);
            let no = session.device.no;
            if gateway.cloud.connected(&session.device, || gateway.hub.has(no)).await.is_ok() {
                let resumed = Box::pin(session.resume(&gateway, terms)).await;
                link.wire.welcome(Ok(resumed));
                let _ = session.run(&mut link, &gateway, terms.keep_alive_s, &mut shutdown).await;
            } else {
                link.wire.welcome(Err(Refusal::Unavailable));
                let _ = link.flush().await;
            }
            Box::pin(session.end(&gateway)).await;
        }
        Ok(Ok((Guest::Listener(listening), terms))) => {
            link.wire.welcome(Ok(Resumed::default()));
            let now_ms = gateway.cloud.now_ms();
            // On the heap: a connection of a device has no room for it.
            let _ = Box::pin(feed::serve(&mut link, listening, terms.keep_alive_s, now_ms, &mut shutdown)).await;
        }
        _ => {}
    }
    link.close().await;
}

/// The session of a device, and of those behind it that it speaks for.
pub struct Session {
    /// The device that proved itself.
    pub device: Arc<Device>,
    /// Those behind it that it speaks for, by their names in topics.
    pub subs: HashMap<String, Arc<Device>>,
    /// Where its connection comes from.
    pub peer: Peer,
    protocol: Protocol,
    /// What it is called in topics.
    name: String,
    subscriptions: Subscriptions,
    /// What is kept of them on disk.
    kept: Kept,
    /// Whether everything is sent down without further subscriptions.
    is_auto: bool,
    mailbox: Arc<Mailbox>,
    /// When the device came.
    since: Instant,
    /// When those behind it came that did within [`SUBSCRIBE_TIMEOUT`].
    subs_since: Vec<(DeviceNo, Instant)>,
    /// Commands to devices that may be about to subscribe.
    held: VecDeque<Sent>,
    /// Devices that may have values to take and were not told yet.
    owed: Vec<Arc<Device>>,
    /// Devices that it claimed and could not prove.
    failures: usize,
    /// Services whose answers are awaited.
    calls: Calls,
    oddities: Oddities,
}

impl Session {
    fn new(device: Arc<Device>, protocol: Protocol, peer: Peer) -> Self {
        let name = name_of(protocol, &device);
        let is_auto = matches!(protocol, Protocol::LinkKit { auto_subscribe: true });
        let (subs, subscriptions, mailbox, calls, oddities) = Default::default();
        let (owed, failures) = (vec![device.clone()], 0);
        let kept = Kept::default();
        let (since, subs_since, held) = (Instant::now(), Vec::new(), VecDeque::new());
        Self {
            device,
            subs,
            peer,
            protocol,
            name,
            subscriptions,
            kept,
            is_auto,
            mailbox,
            since,
            subs_since,
            held,
            owed,
            failures,
            calls,
            oddities,
        }
    }

    async fn run<S>(
        &mut self,
        link: &mut Link<S>,
        gateway: &Gateway,
        keep_alive_s: u16,
        shutdown: &mut Shutdown,
    ) -> Result<(), Gone>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let silence = silence(keep_alive_s);
        loop {
            self.answer(link, gateway).await?;
            if !self.held.is_empty() {
                Box::pin(self.deliver(link, gateway)).await?;
            }
            link.flush().await?;
            if !self.owed.is_empty() {
                Box::pin(self.tell_desires(link, &gateway.cloud)).await?;
            }
            let mailbox = self.mailbox.clone();
            let heard = timeout(silence, async {
                loop {
                    tokio::select! {
                        filled = link.fill() => return filled,
                        () = mailbox.changed() => {
                            Box::pin(self.deliver(link, gateway)).await?;
                            link.flush().await?;
                        }
                        () = shutdown.begun() => {
                            link.wire.ends(Ending::ServerShuttingDown);
                            return Err(Gone);
                        }
                    }
                }
            });
            let Ok(heard) = heard.await else {
                link.wire.ends(Ending::KeepAliveTimeout);
                return Err(Gone);
            };
            heard?;
        }
    }

    /// Speaks for a device behind it from now on.
    pub async fn add_sub(&mut self, gateway: &Gateway, sub: &Arc<Device>) -> Result<(), Fault> {
        let name = name_of(self.protocol, sub);
        if self.subs.contains_key(&name) {
            return Ok(());
        }
        gateway.hub.enter(sub.no, &self.mailbox);
        if let Err(error) = gateway.cloud.connected(sub, || gateway.hub.has(sub.no)).await {
            self.disconnected(gateway, sub).await;
            return Err(error.into());
        }
        self.subs.insert(name, sub.clone());
        self.resume_sub(sub.no);
        self.subs_since.retain(|(no, since)| *no != sub.no && since.elapsed() < SUBSCRIBE_TIMEOUT);
        self.subs_since.push((sub.no, Instant::now()));
        self.owed.push(sub.clone());
        Ok(())
    }

    /// Speaks for a device behind it no longer.
    pub async fn drop_sub(&mut self, gateway: &Gateway, sub: &Device) {
        if let Some(sub) = self.subs.remove(&name_of(self.protocol, sub)) {
            self.subscriptions.forget(sub.no);
            self.kept.changed(sub.no);
            self.disconnected(gateway, &sub).await;
        }
    }

    async fn end(mut self, gateway: &Gateway) {
        self.forget_if_asked(gateway).await;
        for sub in std::mem::take(&mut self.subs).into_values() {
            self.disconnected(gateway, &sub).await;
        }
        self.disconnected(gateway, &self.device).await;
    }

    /// Only the session that still stands for a device says that it is gone: after another has it the device is there.
    async fn disconnected(&self, gateway: &Gateway, device: &Device) {
        if !gateway.hub.leave(device.no, &self.mailbox) {
            return;
        }
        let has_session = || gateway.hub.has(device.no);
        let mut noted = gateway.cloud.disconnected(device, has_session).await;
        if has_session() {
            // It came back in the meantime, and that row may be the older one.
            noted = noted.and(gateway.cloud.connected(device, has_session).await);
        }
        // A full disk is said once for all.
        if let Err(error) = noted
            && !matches!(error, Error::Busy(_))
        {
            tracing::warn!(%error, "a device could not be disconnected");
        }
    }

    /// Takes everything that was said in what was read, up to what ends the session. All reports in it are one batch;
    /// each is acknowledged when the batch is on disk, and until then nothing more is read.
    async fn answer<S>(&mut self, link: &mut Link<S>, gateway: &Gateway) -> Result<(), Gone>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let mut batch = Batch::default();
            let heard = self.hear(link, gateway, &mut batch).await;
            if self.kept.is_changed() {
                Box::pin(self.keep_filters(gateway)).await;
            }
            let is_kept = gateway.cloud.keep(batch.reported).await.is_ok();
            if is_kept {
                batch.acknowledged.into_iter().for_each(|(id, verdict)| link.wire.acknowledge(id, verdict));
            }
            for answer in batch.answers {
                let message = match answer {
                    Answer::Ready(message) => message,
                    // Nothing was kept and nothing is acknowledged: the device is told, and sends it again.
                    Answer::OfReport(device, reply, outcome) => {
                        let outcome = if is_kept { outcome } else { Err(Fault::Service) };
                        self.reply(&device, reply, &outcome, gateway.cloud.now_ms())
                    }
                };
                if self.wants(&message.topic) {
                    link.wire.publish(&message.topic, message.payload);
                }
            }
            if !is_kept {
                link.wire.ends(Ending::ImplementationSpecificError);
                link.flush().await?;
                return Err(Gone);
            }
            if heard.is_err() || batch.is_cut {
                link.flush().await?;
            }
            if !batch.is_cut {
                return heard;
            }
        }
    }

    /// The device of a name in topics, when this session stands for it.
    fn spoken_for(&self, name: &str) -> Option<&Arc<Device>> {
        if name == self.name || name == linkkit::NOBODY { Some(&self.device) } else { self.subs.get(name) }
    }

    /// Keeps what fits. LinkKit has no word for a part, so there it is all or nothing.
    fn keep_all(
        &mut self,
        cloud: &Cloud,
        device: &Arc<Device>,
        all: Vec<(Option<String>, Heard)>,
        reported: &mut Reported,
    ) -> Result<(), Fault> {
        let (count, mut kept) = (all.len(), Vec::new());
        for (name, heard) in all {
            let device = match &name {
                None => Some(device),
                Some(name) => self.spoken_for(name),
            };
            let Some(device) = device.cloned() else { continue };
            let heard = self.stored(&device, heard);
            kept.extend(self.checked(cloud, &device, heard).ok());
        }
        let outcome = match kept.len() {
            all if all == count => Ok(()),
            0 => Err(Fault::All),
            _ => Err(Fault::Part),
        };
        if outcome.is_ok() || self.protocol == Protocol::TuyaLink {
            kept.into_iter().for_each(|rows| reported.extend(rows));
        }
        outcome
    }

    /// What a device reports, as rows.
    fn checked(&mut self, cloud: &Cloud, device: &Device, heard: Heard) -> Result<Reported, Fault> {
        let Heard { points, events } = heard;
        let happened = if events.is_empty() { None } else { Some(cloud.happened(device, events)?) };
        let mut reported = cloud.reported(device, points)?;
        reported.extend(happened.unwrap_or_default());
        self.oddities.log(device, &reported);
        Ok(reported)
    }

    /// What was sent on behalf of a device, as it is stored.
    fn stored(&self, device: &Device, heard: Heard) -> Heard {
        match self.protocol {
            Protocol::TuyaLink => heard,
            Protocol::LinkKit { .. } => Heard { points: linkkit::stored(&device.product, heard.points), ..heard },
        }
    }

    fn reply(&self, device: &Device, reply: Reply, outcome: &Result<Told, Fault>, now_ms: i64) -> Message {
        match self.protocol {
            Protocol::TuyaLink => {
                let data = outcome.as_ref().map(|told| tuyalink::data(&device.product, told)).map_err(|fault| *fault);
                tuyalink::say(reply, data.as_ref().map_err(|fault| *fault), now_ms)
            }
            Protocol::LinkKit { .. } => {
                let data =
                    outcome.as_ref().map(|told| linkkit::encode::data(&device.product, told)).map_err(|fault| *fault);
                linkkit::encode::reply(reply, data.as_ref().map_err(|fault| *fault))
            }
        }
    }

    /// The device that a topic or filter names, when this session stands for it.
    fn named_in(&self, topic: &str) -> Option<&Arc<Device>> {
        let name = match self.protocol {
            Protocol::TuyaLink => tuyalink::split(topic)?.0,
            Protocol::LinkKit { .. } => linkkit::split(topic)?.name,
        };
        self.spoken_for(name)
    }

    fn wants(&self, topic: &str) -> bool {
        self.is_auto || self.named_in(topic).is_some_and(|device| self.subscriptions.cover(device.no, topic))
    }
}

fn name_of(protocol: Protocol, device: &Device) -> String {
    match protocol {
        Protocol::TuyaLink => device.id.0.clone(),
        Protocol::LinkKit { .. } => linkkit::name(device),
    }
}
