//! The session of a connected device, from its CONNECT to its end. [`incoming`] has what the device sends, [`outgoing`]
//! what it is sent without having asked.

mod end_log;
mod incoming;
mod outgoing;
mod stored;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};

use super::Gateway;
use super::batch::{Batch, Response};
use super::calls::PendingCalls;
use super::connect::{self, Client, DeviceClient};
use super::dialect::{DeviceDialect, DeviceResponse, Fault, Message, ReplyTo, Report, UNNAMED};
use super::router::{Mailbox, PendingCommand};
use super::subscriptions::Subscriptions;
use crate::domain::data_point::Reported;
use crate::domain::presence::{Lease, LeasedDevice};
use crate::domain::{Device, DeviceNo, Error};
use crate::feed;
use crate::instruments::Protocol;
use crate::mqtt::codec::{ConnectRefusal, DisconnectReason, SessionState};
use crate::mqtt::connection::{Closed, Connection, keep_alive_timeout};
use crate::net::Peer;
use crate::refusals::Reason;
use crate::shutdown::Shutdown;
use crate::traces::{KeyValue, Recorded, SpanKind};
pub use end_log::LINES_MAX;
use stored::StoredSubscriptions;

/// Runs one MQTT connection until it closes.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    gateway: Arc<Gateway>,
    mut shutdown: Shutdown,
    peer: Peer,
) {
    let mut connection = Connection::new(stream);
    // What happens once or seldom is on the heap while it happens: an idle connection has no room for it.
    let accepted = tokio::select! {
        accepted = timeout(gateway.timeouts.connect, Box::pin(connect::accept(&mut connection, &gateway, peer))) => accepted,
        () = shutdown.begun() => return,
    };
    match accepted {
        Ok(Ok((Client::Device(client), options))) => {
            let mut session = Session::new(client, peer);
            if Box::pin(session.begin(&gateway)).await.is_ok() {
                let protocol = Protocol { protocol: session.dialect.protocol() };
                gateway.instruments.sessions_started.get_or_create(&protocol).inc();
                gateway.instruments.sessions.get_or_create(&protocol).inc();
                let state = Box::pin(session.resume(&gateway, options)).await;
                connection.codec.connect_ack(Ok(state));
                let _ = session.run(&mut connection, &gateway, options.keep_alive_s, &mut shutdown).await;
                let protocol = Protocol { protocol: session.dialect.protocol() };
                gateway.instruments.sessions.get_or_create(&protocol).dec();
                Box::pin(session.log_end(&gateway, connection.codec.ending())).await;
            } else {
                connection.codec.connect_ack(Err(ConnectRefusal::Unavailable));
                let _ = connection.flush().await;
            }
            Box::pin(session.end(&gateway)).await;
        }
        Ok(Ok((Client::Subscriber(subscription), options))) => {
            connection.codec.connect_ack(Ok(SessionState::default()));
            let (now_ms, keep_alive_s) = (gateway.cloud.now_ms(), options.keep_alive_s);
            // On the heap: a connection of a device has no room for it.
            let _ = Box::pin(feed::serve(&mut connection, subscription, keep_alive_s, now_ms, &mut shutdown)).await;
        }
        _ => {}
    }
    Box::pin(connection.close()).await;
}

/// The session of a device, and of its sub-devices that are online in it.
pub struct Session {
    /// The device that proved itself.
    pub device: Arc<Device>,
    /// The lease of that device, once it was acquired.
    lease: Option<Lease>,
    /// Its sub-devices that are online, by their names in topics.
    pub sub_devices: HashMap<String, LeasedDevice>,
    /// Where its connection comes from.
    pub peer: Peer,
    dialect: &'static dyn DeviceDialect,
    /// The device's name in topics.
    name: String,
    subscriptions: Subscriptions,
    /// The subscriptions on disk.
    stored: StoredSubscriptions,
    /// Whether everything is sent without further subscriptions.
    receives_all: bool,
    mailbox: Arc<Mailbox>,
    /// When the device connected.
    since: Instant,
    /// When those sub-devices came online that did within `SessionTimeouts::subscribe`.
    sub_devices_since: Vec<(DeviceNo, Instant)>,
    /// Commands to devices that may be about to subscribe.
    held_commands: VecDeque<PendingCommand>,
    /// Devices whose desired values have not been sent yet.
    pending_desired: Vec<Arc<Device>>,
    /// How many messages its devices have sent.
    messages: u64,
    /// Whether the client sent a DISCONNECT.
    has_disconnected: bool,
    /// How many wrong proofs the device has sent.
    failures: usize,
    /// Services whose responses are awaited.
    calls: PendingCalls,
}

impl Session {
    fn new(DeviceClient { device, dialect, receives_all }: DeviceClient, peer: Peer) -> Self {
        Self {
            name: dialect.topic_name(&device),
            pending_desired: vec![device.clone()],
            device,
            lease: None,
            sub_devices: HashMap::new(),
            peer,
            dialect,
            subscriptions: Subscriptions::default(),
            stored: StoredSubscriptions::default(),
            receives_all,
            mailbox: Arc::default(),
            since: Instant::now(),
            sub_devices_since: Vec::new(),
            held_commands: VecDeque::new(),
            messages: 0,
            has_disconnected: false,
            failures: 0,
            calls: PendingCalls::default(),
        }
    }

    /// Acquires the lease of the device and brings it online.
    async fn begin(&mut self, gateway: &Gateway) -> Result<(), Error> {
        let leased = gateway.cloud.acquire_leases(vec![self.device.clone()]).await?;
        for LeasedDevice { lease, .. } in &leased {
            self.lease = Some(*lease);
            gateway.router.register(*lease, &self.mailbox);
        }
        gateway.cloud.connected(&leased).await
    }

    async fn run<S>(
        &mut self,
        connection: &mut Connection<S>,
        gateway: &Gateway,
        keep_alive_s: u16,
        shutdown: &mut Shutdown,
    ) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let keep_alive = keep_alive_timeout(keep_alive_s);
        loop {
            // On the heap while there is input: an idle connection has no room for it.
            Box::pin(self.process_input(connection, gateway)).await?;
            if !self.held_commands.is_empty() {
                Box::pin(self.deliver_mail(connection, gateway)).await?;
            }
            connection.flush().await?;
            if !self.pending_desired.is_empty() {
                Box::pin(self.send_desired(connection, gateway)).await?;
            }
            let read_by = Instant::now() + keep_alive;
            loop {
                let mailbox = &*self.mailbox;
                let reason = tokio::select! {
                    // In this order: once a call that takes a device from the session was answered, nothing that the
                    // session sends for it is accepted.
                    biased;
                    () = shutdown.begun() => DisconnectReason::ServerShuttingDown,
                    () = mailbox.changed() => {
                        Box::pin(self.deliver_mail(connection, gateway)).await?;
                        connection.flush().await?;
                        continue;
                    }
                    read = timeout_at(read_by, connection.read()) => match read {
                        Ok(read) => break read?,
                        Err(_) => DisconnectReason::KeepAliveTimeout,
                    },
                };
                connection.codec.close_with(reason);
                return Err(Closed);
            }
        }
    }

    /// Processes everything that was received, up to a packet that ends the session. All reports in it are one batch;
    /// each is acknowledged after the batch is on disk, and until then nothing more is read.
    async fn process_input<S>(&mut self, connection: &mut Connection<S>, gateway: &Gateway) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let mut batch = Batch::default();
            // Reads and decodes the packets, and validates what they report.
            let begun = std::time::Instant::now();
            let read = self.read_packets(connection, gateway, &mut batch).await;
            let is_report = !batch.rows.is_empty();
            let Batch { rows, acknowledgements, responses, is_full } = batch;
            let is_committed = self.commit(gateway, rows).await;
            if is_committed {
                for (id, outcome) in acknowledgements {
                    let reason = outcome.reason().map(Reason::description);
                    connection.codec.publish_ack(id, outcome.reason_code(), reason);
                }
                if is_report {
                    gateway.instruments.report_seconds.observe(begun.elapsed().as_secs_f64());
                    gateway.instruments.traces.record(begun, || Recorded {
                        name: "report".to_owned(),
                        kind: SpanKind::Server,
                        parent: None,
                        error: None,
                        attributes: vec![KeyValue::new("ingle.device", self.device.id.to_string())],
                    });
                }
            }
            self.reply(connection, gateway, responses, is_committed);
            if !is_committed {
                connection.codec.close_with(DisconnectReason::ImplementationSpecificError);
                connection.flush().await?;
                return Err(Closed);
            }
            if read.is_err() || is_full {
                connection.flush().await?;
            }
            if !is_full {
                return read;
            }
        }
    }

    /// Commits reported rows, and the subscriptions if they changed. Whether the rows are on disk.
    async fn commit(&mut self, gateway: &Gateway, rows: Reported) -> bool {
        if self.stored.is_changed() {
            Box::pin(self.store_filters(gateway)).await;
        }
        gateway.cloud.keep(rows).await.is_ok()
    }

    /// Sends the responses of a batch. If its commit failed, nothing is acknowledged and the responses to its reports say
    /// so: the device sends them again.
    fn reply<S>(
        &self,
        connection: &mut Connection<S>,
        gateway: &Gateway,
        responses: Vec<Response>,
        is_committed: bool,
    ) {
        for response in responses {
            let message = match response {
                Response::Ready(message) => message,
                Response::ToReport(device, to, outcome) => {
                    let outcome = if is_committed { outcome } else { Err(Fault::Service) };
                    self.response(&device, to, &outcome, gateway.cloud.now_ms())
                }
            };
            if self.is_subscribed(&message.topic) {
                connection.codec.publish(&message.topic, message.payload);
            }
        }
    }

    /// Brings sub-devices online in this session.
    pub async fn add_sub_devices(&mut self, gateway: &Gateway, subs: &[Arc<Device>]) -> Result<(), Fault> {
        let mut new: Vec<Arc<Device>> = Vec::with_capacity(subs.len());
        for sub in subs {
            let is_here = self.sub_devices.contains_key(&self.dialect.topic_name(sub));
            if !is_here && new.iter().all(|other| other.no != sub.no) {
                new.push(sub.clone());
            }
        }
        let new = gateway.cloud.acquire_leases(new).await?;
        new.iter().for_each(|leased| gateway.router.register(leased.lease, &self.mailbox));
        if let Err(error) = gateway.cloud.connected(&new).await {
            disconnected(gateway, &new).await;
            return Err(error.into());
        }
        let limit = gateway.timeouts.subscribe;
        for leased in new {
            let sub = leased.device.clone();
            self.sub_devices.insert(self.dialect.topic_name(&sub), leased);
            self.resume_sub_device(sub.no);
            self.sub_devices_since.retain(|(no, since)| *no != sub.no && since.elapsed() < limit);
            self.sub_devices_since.push((sub.no, Instant::now()));
            self.pending_desired.push(sub);
        }
        Ok(())
    }

    /// Takes sub-devices offline.
    pub async fn remove_sub_devices(&mut self, gateway: &Gateway, subs: &[Arc<Device>]) {
        let mut removed = Vec::with_capacity(subs.len());
        for sub in subs {
            if let Some(leased) = self.sub_devices.remove(&self.dialect.topic_name(sub)) {
                self.subscriptions.forget(sub.no);
                self.stored.changed(sub.no);
                removed.push(leased);
            }
        }
        disconnected(gateway, &removed).await;
    }

    async fn end(mut self, gateway: &Gateway) {
        self.forget_if_asked(gateway).await;
        let mut devices: Vec<LeasedDevice> = std::mem::take(&mut self.sub_devices).into_values().collect();
        devices.extend(self.lease.map(|lease| LeasedDevice { device: self.device.clone(), lease }));
        disconnected(gateway, &devices).await;
    }

    /// The device of a name in topics, if it is online in this session.
    fn device_by_name(&self, name: &str) -> Option<&Arc<Device>> {
        match name == self.name || name == UNNAMED {
            true => Some(&self.device),
            false => self.sub_devices.get(name).map(|sub| &sub.device),
        }
    }

    /// Validates reports of several devices. What fits is kept even if the rest does not, unless the protocol has no word
    /// for that.
    fn validate_all(
        &self,
        gateway: &Gateway,
        device: &Arc<Device>,
        reports: Vec<(Option<String>, Report)>,
        rows: &mut Reported,
    ) -> Result<(), Fault> {
        let (count, mut valid) = (reports.len(), Vec::new());
        for (name, report) in reports {
            let device = match &name {
                None => Some(device),
                Some(name) => self.device_by_name(name),
            };
            let Some(device) = device.cloned() else { continue };
            let points = self.dialect.to_stored(&device.product, report.points);
            valid.extend(self.validate(gateway, &device, Report { points, ..report }).ok());
        }
        let outcome = match valid.len() {
            all if all == count => Ok(()),
            0 => Err(Fault::All),
            _ => Err(Fault::Part),
        };
        if outcome.is_ok() || self.dialect.keeps_partial_batches() {
            valid.into_iter().for_each(|valid| rows.extend(valid));
        }
        outcome
    }

    /// A valid report as rows.
    fn validate(&self, gateway: &Gateway, device: &Device, report: Report) -> Result<Reported, Fault> {
        let (cloud, Report { points, events }) = (&gateway.cloud, report);
        let happened = if events.is_empty() { None } else { Some(cloud.thing_events(device, events)?) };
        let mut rows = cloud.reported(device, points)?;
        rows.extend(happened.unwrap_or_default());
        if let Some(code) = &rows.off_spec {
            let what = format!("product {}, code {code}", device.product.id);
            self.refused(gateway, Reason::OffSpecification, device, &what);
        }
        Ok(rows)
    }

    fn response(&self, device: &Device, to: ReplyTo, outcome: &Result<DeviceResponse, Fault>, now_ms: i64) -> Message {
        self.dialect.encode_response(device, to, outcome.as_ref().map_err(|fault| *fault), now_ms)
    }

    /// The device to which a topic or filter belongs, if it is online in this session.
    fn device_of_topic(&self, topic: &str) -> Option<&Arc<Device>> {
        self.device_by_name(self.dialect.device_of_topic(topic)?)
    }

    fn is_subscribed(&self, topic: &str) -> bool {
        self.receives_all
            || self.device_of_topic(topic).is_some_and(|device| self.subscriptions.cover(device.no, topic))
    }
}

/// Devices of a session have disconnected, unless other sessions have acquired their leases.
async fn disconnected(gateway: &Gateway, devices: &[LeasedDevice]) {
    devices.iter().for_each(|leased| gateway.router.unregister(leased.lease));
    // A full disk is logged once for all devices.
    if let Err(error) = gateway.cloud.disconnected(devices).await
        && !matches!(error, Error::Busy(_))
    {
        tracing::warn!(%error, "a device could not be disconnected");
    }
}
