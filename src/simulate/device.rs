//! A simulated device: connects, reports, answers commands, and reconnects when the connection is lost.

use std::num::NonZeroU16;
use std::time::Duration;

use rmqtt_codec::types::Publish;
use rmqtt_codec::v3::Packet;
use serde_json::{Map, Value as Json};
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::figures::add;
use super::link::{Gone, Link, Unmade, acknowledgement};
use super::message::{self, Form, Identity, Protocol, Report, encoded};
use super::{Common, Course};
use crate::shutdown::Shutdown;

/// The timeout of one attempt to connect.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);
/// The pause before the first attempt to reconnect. It doubles with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The idle time after which a device sends a ping.
const PING_AFTER: Duration = Duration::from_secs(600);
/// Maximum number of codes that wait to be reported after a command.
const WANTED_MAX: usize = 256;

/// Why a device has left the round.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
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
    flight: Option<Flight>,
    /// Values that commands set and that must be reported.
    wanted: Map<String, Json>,
}

/// A message that is not yet acknowledged.
struct Flight {
    id: NonZeroU16,
    due: Instant,
    /// A report of values that a command set; `None` for the regular report.
    back: Option<(Report, u64)>,
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
            wanted: Map::new(),
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
    pub async fn live(&mut self, common: &Common, course: &Course, ending: &mut Shutdown) -> Result<(), Trouble> {
        self.reported = 0;
        if self.flight.is_some() {
            add(&common.counts.sent);
        }
        loop {
            if self.link.is_none() {
                self.connect(common, course).await?;
            }
            match self.work(common, course, ending).await {
                Ok(()) => return Ok(()),
                Err(Gone) => self.link = None,
            }
        }
    }

    async fn connect(&mut self, common: &Common, course: &Course) -> Result<(), Trouble> {
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
                Ok(Err(Unmade::Refused(reason))) => return Err(Trouble::Refused(reason)),
                Ok(Err(Unmade::Failed(text))) => text,
                Err(_) => "the server does not answer".to_owned(),
            };
            if Instant::now() >= deadline || course.ended() {
                return Err(Trouble::Unreachable(failure));
            }
            if !self.was_connected {
                sleep(PAUSE_MAX).await;
            }
        }
    }

    /// Reports until the round ends or the connection is lost.
    async fn work(&mut self, common: &Common, course: &Course, ending: &mut Shutdown) -> Result<(), Gone> {
        if self.flight.is_some() {
            add(&common.counts.sent_again);
            self.deliver(common, course, true).await?;
        }
        loop {
            let now = Instant::now();
            if !self.wanted.is_empty() {
                self.take_wanted(common, course, now);
            } else {
                let Some(due) = course.due(self.index, self.reported, now) else { return Ok(()) };
                if due > now {
                    self.rest(due, common, course, ending).await?;
                    continue;
                }
                self.take_regular(common, course, now, due);
            }
            add(&common.counts.sent);
            self.deliver(common, course, false).await?;
        }
    }

    /// The packet id of the next message. Its time is later than that of the previous one, so that the rows differ.
    fn next_id(&mut self, course: &Course, now: Instant) -> NonZeroU16 {
        self.number += 1;
        self.time_ms = course.time_ms(now).max(self.time_ms + 1);
        let id = u16::try_from(self.number % u64::from(u16::MAX)).unwrap_or_default();
        NonZeroU16::MIN.saturating_add(id)
    }

    fn take_regular(&mut self, common: &Common, course: &Course, now: Instant, due: Instant) {
        let id = self.next_id(course, now);
        let chance = self.index as u64;
        common.form.fill(self.report.payload(), self.number, self.time_ms, chance << 32);
        self.reported += 1;
        self.flight = Some(Flight { id, due, back: None });
    }

    fn take_wanted(&mut self, common: &Common, course: &Course, now: Instant) {
        let id = self.next_id(course, now);
        let (protocol, values) = (common.settings.protocol, std::mem::take(&mut self.wanted));
        let payload = message::report_of(protocol, &values, self.number, self.time_ms);
        let back = Some((self.who.report(protocol, &payload), values.len() as u64));
        self.flight = Some(Flight { id, due: now, back });
    }

    /// Sends the message in flight and waits for its acknowledgement.
    async fn deliver(&mut self, common: &Common, course: &Course, again: bool) -> Result<(), Gone> {
        let (Some(flight), Some(link)) = (&mut self.flight, &mut self.link) else { return Err(Gone) };
        let report = flight.back.as_mut().map_or(&mut self.report, |(report, _)| report);
        report.name(flight.id, again);
        let id = flight.id;
        link.send(report.bytes()).await?;
        loop {
            let Some(link) = &mut self.link else { return Err(Gone) };
            if link.hear(Some(id)).await? {
                self.acknowledged(common);
                return Ok(());
            }
            self.listen(common, course).await?;
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
        if let Some((_, points)) = flight.back {
            add(&counts.reported_back);
            counts.points_back.fetch_add(points, Ordering::Relaxed);
        }
        self.pause = PAUSE_MIN;
    }

    /// Waits until `due`, until data arrives, or until the round ends.
    async fn rest(
        &mut self,
        due: Instant,
        common: &Common,
        course: &Course,
        ending: &mut Shutdown,
    ) -> Result<(), Gone> {
        let Some(link) = &mut self.link else { return Err(Gone) };
        let ping_at = Instant::now() + PING_AFTER;
        tokio::select! {
            heard = link.hear(None) => {
                heard?;
                self.listen(common, course).await
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
    async fn listen(&mut self, common: &Common, course: &Course) -> Result<(), Gone> {
        loop {
            let Some(link) = &mut self.link else { return Err(Gone) };
            let Some(packet) = link.next()? else { return Ok(()) };
            match packet {
                Packet::PublishAck { packet_id } => {
                    if self.flight.as_ref().is_some_and(|flight| flight.id == packet_id) {
                        self.acknowledged(common);
                    } else {
                        add(&common.counts.unexpected);
                    }
                }
                Packet::Publish(message) => self.told(*message, common, course).await?,
                _ => {}
            }
        }
    }

    /// Processes a message to the device. A command is answered; its values are reported when no message is in flight.
    async fn told(&mut self, message: Publish, common: &Common, course: &Course) -> Result<(), Gone> {
        let Some(link) = &mut self.link else { return Err(Gone) };
        if let Some(id) = message.packet_id {
            link.send(&acknowledgement(id)).await?;
        }
        let time_ms = course.time_ms(Instant::now());
        let Some((values, answer)) = message::set(common.settings.protocol, &message, time_ms) else { return Ok(()) };
        link.send(&answer).await?;
        add(&common.counts.commands);
        self.wanted.extend(values);
        if self.wanted.len() > WANTED_MAX {
            self.wanted.clear();
        }
        Ok(())
    }
}
