//! What a session's device says, packet by packet: what is kept of it, what is answered, and what is refused.

use std::sync::Arc;

use super::super::auth::Protocol;
use super::super::batch::{Answer, Batch, Fate};
use super::super::dialect::{Ask, Fault, Reply, Step, Told};
use super::super::dialect::{linkkit, tuyalink};
use super::super::subscriptions::{OF_A_SUB, OF_ITSELF};
use super::super::{Gateway, requests};
use super::Session;
use crate::domain::{Device, NodeType};
use crate::mqtt::codec::{Ending, Malformed, Published, Said};
use crate::mqtt::connection::{Gone, Link};
use crate::mqtt::filter::Denied;
use crate::refusals::{Reason, Who};

/// Devices that a gateway may claim without proving them before it is closed.
const FAILURES_MAX: usize = 16;
/// Answers that wait together to be sent.
const ANSWERS_BYTES_MAX: usize = 64 * 1024;

impl Session {
    /// `Gone` when something ends the session; what was said before it is in the batch.
    pub(super) async fn hear<S>(
        &mut self,
        link: &mut Link<S>,
        gateway: &Gateway,
        batch: &mut Batch,
    ) -> Result<(), Gone> {
        loop {
            if batch.answers.iter().map(Answer::bytes).sum::<usize>() > ANSWERS_BYTES_MAX {
                batch.is_cut = true;
                return Ok(());
            }
            let said = link.wire.next_packet().map_err(|malformed| self.broke_rules(gateway, malformed))?;
            let Some(said) = said else { return Ok(()) };
            match said {
                Said::Publish(published) => {
                    let heard = self.published(published, gateway, batch).await;
                    heard.map_err(|ending| link.wire.ends(ending)).map_err(|()| Gone)?;
                }
                Said::Subscribe(id, filters) => {
                    let grant = |(filter, qos): &(String, _)| {
                        let granted = self.subscribe(filter);
                        if granted.is_err() {
                            self.note(gateway, Reason::Filter, &self.device, filter);
                        }
                        granted.map(|()| *qos)
                    };
                    link.wire.granted(id, filters.iter().map(grant).collect());
                }
                Said::Unsubscribe(id, filters) => {
                    link.wire.ungranted(id, filters.iter().map(|filter| self.unsubscribe(filter)).collect());
                }
                Said::Ping => link.wire.pong(),
                Said::Acknowledged => {}
                Said::Connect(_) => {
                    link.wire.ends(Ending::ProtocolError);
                    return Err(self.broke_rules(gateway, Malformed(Ending::ProtocolError)));
                }
                Said::Goodbye { forget } => {
                    if forget {
                        self.kept.forget();
                    }
                    return Err(Gone);
                }
            }
        }
    }

    /// Takes one message. When it ends the session, why.
    async fn published(&mut self, published: Published, gateway: &Gateway, batch: &mut Batch) -> Result<(), Ending> {
        let Published { topic, payload, id } = published;
        let now_ms = gateway.cloud.now_ms();
        let (step, device) = self.step(&topic, &payload, now_ms);
        // Of this message alone.
        batch.reported.is_clock_wrong = false;
        let fate = match step {
            Step::Keep(heard, reply) => {
                let outcome = self.checked(&gateway.cloud, &device, heard).map(|reported| {
                    batch.reported.extend(reported);
                    Told::Done
                });
                let fate = Fate::of(&outcome);
                batch.answers.extend(reply.map(|reply| Answer::OfReport(device.clone(), reply, outcome)));
                fate
            }
            Step::KeepAll(all, reply) => {
                let outcome = self.keep_all(&gateway.cloud, &device, all, &mut batch.reported).map(|()| Told::Done);
                let fate = Fate::of(&outcome);
                batch.answers.extend(reply.map(|reply| Answer::OfReport(device.clone(), reply, outcome)));
                fate
            }
            Step::Ask(ask, reply) => self.asked(gateway, &device, ask, reply, batch).await?,
            Step::Answer(message) => {
                batch.answers.push(Answer::Ready(message));
                Fate::Taken
            }
            Step::Refuse(fault, reply) => {
                let answer = reply.map(|reply| self.reply(&device, reply, &Err(fault), now_ms));
                batch.answers.extend(answer.map(Answer::Ready));
                Fate::Refused(fault)
            }
            Step::Dropped(reason) => Fate::Dropped(reason),
            Step::Answered(answered) => {
                self.calls.answered(device.no, answered);
                Fate::Taken
            }
            Step::Nothing => Fate::Taken,
            Step::Foreign => Fate::Foreign,
        };
        if let Some(reason) = fate.reason() {
            self.note(gateway, reason, &device, &topic);
        }
        if batch.reported.is_clock_wrong {
            self.note(gateway, Reason::TimeOutOfRange, &device, &topic);
        }
        if fate == Fate::Foreign {
            self.foreign(&topic, &payload, now_ms, batch)?;
        }
        batch.acknowledged.extend(id.map(|id| (id, fate.verdict())));
        Ok(())
    }

    /// Does what a device asks, and answers.
    async fn asked(
        &mut self,
        gateway: &Gateway,
        device: &Arc<Device>,
        ask: Ask,
        reply: Option<Reply>,
        batch: &mut Batch,
    ) -> Result<Fate, Ending> {
        let outcome = Box::pin(requests::done(self, gateway, device, ask)).await;
        tokio::task::yield_now().await;
        match outcome {
            // What is not kept is not acknowledged: the device sends it again.
            Err(Fault::Service) => return Err(Ending::ImplementationSpecificError),
            Err(Fault::Proof) if self.failures >= FAILURES_MAX => return Err(Ending::NotAuthorized),
            Err(Fault::Proof) => self.failures += 1,
            _ => {}
        }
        let reply = reply.filter(|reply| self.wants(&reply.topic));
        let answer = reply.map(|reply| self.reply(device, reply, &outcome, gateway.cloud.now_ms()));
        batch.answers.extend(answer.map(Answer::Ready));
        Ok(Fate::of(&outcome))
    }

    /// Answers a message on a topic that is not the session's; TuyaLink has a word for it only of a gateway, which may
    /// not know yet that it no longer speaks for a device.
    fn foreign(&self, topic: &str, payload: &[u8], now_ms: i64, batch: &mut Batch) -> Result<(), Ending> {
        let answer = match self.protocol {
            Protocol::TuyaLink if self.device.product.node_type == NodeType::Gateway => {
                tuyalink::stranger(topic, payload, now_ms)
            }
            Protocol::TuyaLink => return Err(Ending::TopicNameInvalid),
            Protocol::LinkKit { .. } => Some(linkkit::encode::illegal_topic(&self.device, topic)),
        };
        batch.answers.extend(answer.map(Answer::Ready));
        Ok(())
    }

    fn broke_rules(&self, gateway: &Gateway, Malformed(ending): Malformed) -> Gone {
        self.note(gateway, Reason::Protocol, &self.device, &format!("{ending:?}"));
        Gone
    }

    /// Counts and logs that something is refused.
    fn note(&self, gateway: &Gateway, reason: Reason, device: &Device, what: &str) {
        gateway.refusals.refused(reason, Who::Device(device.id.as_str()), self.peer.address, what);
    }

    /// What a message asks for, and on behalf of which device.
    fn step(&self, topic: &str, payload: &[u8], now_ms: i64) -> (Step, Arc<Device>) {
        let foreign = || (Step::Foreign, self.device.clone());
        match self.protocol {
            Protocol::TuyaLink => {
                let Some((name, below)) = tuyalink::split(topic) else { return foreign() };
                let Some(device) = self.spoken_for(name) else { return foreign() };
                (tuyalink::step(device, below, payload, now_ms), device.clone())
            }
            Protocol::LinkKit { .. } => {
                let Some(parts) = linkkit::split(topic) else { return foreign() };
                let Some(device) = self.spoken_for(parts.name) else { return foreign() };
                (linkkit::step(device, topic, parts, payload, now_ms), device.clone())
            }
        }
    }

    /// Subscribes: only below the topics of a device that this session stands for.
    pub(super) fn subscribe(&mut self, filter: &str) -> Result<(), Denied> {
        let device = self.named_in(filter).ok_or(Denied::NotOwn)?.no;
        let is_new = if self.is_auto_subscription(filter) {
            !std::mem::replace(&mut self.is_auto, true)
        } else {
            let bounds = if device == self.device.no { OF_ITSELF } else { OF_A_SUB };
            self.subscriptions.add(device, filter, bounds)?
        };
        if is_new {
            self.kept.changed(device);
        }
        Ok(())
    }

    /// Whether there was such a subscription.
    fn unsubscribe(&mut self, filter: &str) -> bool {
        let Some(device) = self.named_in(filter).map(|device| device.no) else { return false };
        let was_there = if self.is_auto_subscription(filter) {
            std::mem::take(&mut self.is_auto)
        } else {
            self.subscriptions.remove(device, filter)
        };
        if was_there {
            self.kept.changed(device);
        }
        was_there
    }

    fn is_auto_subscription(&self, filter: &str) -> bool {
        self.protocol == Protocol::TuyaLink && filter == tuyalink::auto_subscription(&self.device)
    }
}
