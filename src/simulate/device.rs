//! A simulated device: connects, reports, answers commands, and reconnects when the connection is lost.

use std::num::NonZeroU16;
use std::time::Duration;

use rmqtt_codec::types::Publish;
use rmqtt_codec::v3::Packet;
use serde_json::{Map, Value as Json};
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::figures::add;
use super::link::{Closed, Link, OpenError, acknowledgement};
use super::message::{self, Form, Identity, Protocol, Report, encoded};
use super::{Common, RoundState};
use crate::shutdown::Shutdown;

/// The timeout of one attempt to connect.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);
/// The pause before the first attempt to reconnect. It doubles with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The idle time after which a device sends a ping.
const PING_AFTER: Duration = Duration::from_secs(600);
/// Maximum number of codes that wait to be reported after a command.
const PENDING_VALUES_MAX: usize = 256;

/// Why a device has left the round.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused the device.
    #[error("{0}")]
    Refused(&'static str),
    /// The server could not be reached in time.
    #[error("{0}")]
    Unreachable(String),
}

/// A simulated device.
pub struct Device {
    index: usize,
    who: Identity,
    link: Option<Link>,
    was_connected: bool,
    pause: Duration,
    /// The packet of regular reports.
    report: Report,
    /// The number of the last message, and its time.
    number: u64,
    time_ms: i64,
    /// Number of regular reports in this round.
    reported: u64,
    flight: Option<InFlight>,
    /// Values that commands set and that must be reported.
    pending_values: Map<String, Json>,
}

/// A message that is not yet acknowledged.
struct InFlight {
    id: NonZeroU16,
    due: Instant,
    /// A report of values that a command set; `None` for the regular report.
    command_report: Option<(Report, u64)>,
}

impl Device {
    /// A device without a connection.
    pub fn new(index: usize, who: Identity, protocol: Protocol, form: &Form) -> Self {
        let report = who.report(protocol, form.payload());
        Self {
            index,
            who,
            link: None,
            was_connected: false,
            pause: PAUSE_MIN,
            report,
            number: 0,
            time_ms: 0,
            reported: 0,
            flight: None,
            pending_values: Map::new(),
        }
    }

    /// Its index among all devices.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether it has a connection.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Takes part in a round. At the end it waits for the acknowledgement of the message in flight.
    pub async fn take_part(
        &mut self,
        common: &Common,
        round: &RoundState,
        ending: &mut Shutdown,
    ) -> Result<(), Failure> {
        self.reported = 0;
        if self.flight.is_some() {
            add(&common.counts.sent);
        }
        loop {
            if self.link.is_none() {
                self.connect(common, round).await?;
            }
            match self.work(common, round, ending).await {
                Ok(()) => return Ok(()),
                Err(Closed) => self.link = None,
            }
        }
    }

    async fn connect(&mut self, common: &Common, round: &RoundState) -> Result<(), Failure> {
        let deadline = Instant::now() + common.settings.connect_within;
        loop {
            if self.was_connected {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
            let permit = common.connecting.acquire().await;
            let attempt = timeout(ATTEMPT_MAX, Link::open(&common.settings, &self.who)).await;
            drop(permit);
            let failure = match attempt {
                Ok(Ok(link)) => {
                    add(&common.counts.connects);
                    if std::mem::replace(&mut self.was_connected, true) {
                        add(&common.counts.reconnects);
                    }
                    self.link = Some(link);
                    return Ok(());
                }
                Ok(Err(OpenError::Refused(reason))) => return Err(Failure::Refused(reason)),
                Ok(Err(OpenError::Failed(text))) => text,
                Err(_) => "the server does not answer".to_owned(),
            };
            if Instant::now() >= deadline || round.ended() {
                return Err(Failure::Unreachable(failure));
            }
            if !self.was_connected {
                sleep(PAUSE_MAX).await;
            }
        }
    }

    /// Reports until the round ends or the connection is lost.
    async fn work(&mut self, common: &Common, round: &RoundState, ending: &mut Shutdown) -> Result<(), Closed> {
        if self.flight.is_some() {
            add(&common.counts.sent_again);
            self.deliver(common, round, true).await?;
        }
        loop {
            let now = Instant::now();
            if !self.pending_values.is_empty() {
                self.take_pending(common, round, now);
            } else {
                let Some(due) = round.due(self.index, self.reported, now) else { return Ok(()) };
                if due > now {
                    self.wait(due, common, round, ending).await?;
                    continue;
                }
                self.take_regular(common, round, now, due);
            }
            add(&common.counts.sent);
            self.deliver(common, round, false).await?;
        }
    }

    /// The packet id of the next message. Its time is later than that of the previous one, so that the rows differ.
    fn next_id(&mut self, round: &RoundState, now: Instant) -> NonZeroU16 {
        self.number += 1;
        self.time_ms = round.time_ms(now).max(self.time_ms + 1);
        let id = u16::try_from(self.number % u64::from(u16::MAX)).unwrap_or_default();
        NonZeroU16::MIN.saturating_add(id)
    }

    fn take_regular(&mut self, common: &Common, round: &RoundState, now: Instant, due: Instant) {
        let id = self.next_id(round, now);
        let chance = self.index as u64;
        common.form.fill(self.report.payload(), self.number, self.time_ms, chance << 32);
        self.reported += 1;
        self.flight = Some(InFlight { id, due, command_report: None });
    }

    fn take_pending(&mut self, common: &Common, round: &RoundState, now: Instant) {
        let id = self.next_id(round, now);
        let (protocol, values) = (common.settings.protocol, std::mem::take(&mut self.pending_values));
        let payload = message::report_of(protocol, &values, self.number, self.time_ms);
        let command_report = Some((self.who.report(protocol, &payload), values.len() as u64));
        self.flight = Some(InFlight { id, due: now, command_report });
    }

    /// Sends the message in flight and waits for its acknowledgement.
    async fn deliver(&mut self, common: &Common, round: &RoundState, again: bool) -> Result<(), Closed> {
        let (Some(flight), Some(link)) = (&mut self.flight, &mut self.link) else { return Err(Closed) };
        let report = flight.command_report.as_mut().map_or(&mut self.report, |(report, _)| report);
        report.name(flight.id, again);
        let id = flight.id;
        link.send(report.bytes()).await?;
        loop {
            let Some(link) = &mut self.link else { return Err(Closed) };
            if link.receive(Some(id)).await? {
                self.acknowledged(common);
                return Ok(());
            }
            self.process_packets(common, round).await?;
            if self.flight.is_none() {
                return Ok(());
            }
        }
    }

    fn acknowledged(&mut self, common: &Common) {
        let Some(flight) = self.flight.take() else { return };
        let counts = &common.counts;
        counts.took(flight.due.elapsed());
        add(&counts.acknowledged);
        if let Some((_, points)) = flight.command_report {
            add(&counts.reported_back);
            counts.points_back.fetch_add(points, Ordering::Relaxed);
        }
        self.pause = PAUSE_MIN;
    }

    /// Waits until `due`, until data arrives, or until the round ends.
    async fn wait(
        &mut self,
        due: Instant,
        common: &Common,
        round: &RoundState,
        ending: &mut Shutdown,
    ) -> Result<(), Closed> {
        let Some(link) = &mut self.link else { return Err(Closed) };
        let ping_at = Instant::now() + PING_AFTER;
        tokio::select! {
            received = link.receive(None) => {
                received?;
                self.process_packets(common, round).await
            }
            () = sleep_until(due.min(ping_at)) => {
                if ping_at <= due {
                    link.send(&encoded(Packet::PingRequest)).await?;
                }
                Ok(())
            }
            () = ending.begun() => Ok(()),
        }
    }

    /// Processes every packet that was received.
    async fn process_packets(&mut self, common: &Common, round: &RoundState) -> Result<(), Closed> {
        loop {
            let Some(link) = &mut self.link else { return Err(Closed) };
            let Some(packet) = link.next()? else { return Ok(()) };
            match packet {
                Packet::PublishAck { packet_id } => {
                    if self.flight.as_ref().is_some_and(|flight| flight.id == packet_id) {
                        self.acknowledged(common);
                    } else {
                        add(&common.counts.unexpected);
                    }
                }
                Packet::Publish(message) => self.process_publish(*message, common, round).await?,
                _ => {}
            }
        }
    }

    /// Processes a message to the device. A command is answered; its values are reported when no message is in flight.
    async fn process_publish(&mut self, message: Publish, common: &Common, round: &RoundState) -> Result<(), Closed> {
        let Some(link) = &mut self.link else { return Err(Closed) };
        if let Some(id) = message.packet_id {
            link.send(&acknowledgement(id)).await?;
        }
        let time_ms = round.time_ms(Instant::now());
        let Some((values, answer)) = message::set(common.settings.protocol, &message, time_ms) else { return Ok(()) };
        link.send(&answer).await?;
        add(&common.counts.commands);
        self.pending_values.extend(values);
        if self.pending_values.len() > PENDING_VALUES_MAX {
            self.pending_values.clear();
        }
        Ok(())
    }
}
