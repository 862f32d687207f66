//! The packets that a device sends: read, decoded, validated, and refused.

use std::sync::Arc;

use super::super::batch::{Batch, Outcome, Response};
use super::super::dialect::{DeviceMessage, DeviceRequest, DeviceResponse, Fault, ForeignTopic, ReplyTo};
use super::super::subscriptions::{OF_A_SUB, OF_ITSELF};
use super::super::{Gateway, requests};
use super::Session;
use crate::actor;
use crate::domain::Device;
use crate::domain::audit::{Actor, ActorKind};
use crate::mqtt::codec::{DisconnectReason, Packet, ProtocolError, ReceivedPublish};
use crate::mqtt::connection::{Closed, Connection};
use crate::mqtt::filter::SubscribeRefusal;
use crate::refusals::{Reason, Who};

/// Wrong proofs that a gateway may send before its connection is closed.
const FAILURES_MAX: usize = 16;
/// Bytes of responses that wait together to be sent.
const RESPONSES_BYTES_MAX: usize = 64 * 1024;

impl Session {
    /// Reads the packets that were received into a batch. `Closed` when one of them ends the session; those before it are
    /// in the batch.
    pub(super) async fn read_packets<S>(
        &mut self,
        connection: &mut Connection<S>,
        gateway: &Gateway,
        batch: &mut Batch,
    ) -> Result<(), Closed> {
        loop {
            if batch.responses.iter().map(Response::bytes).sum::<usize>() > RESPONSES_BYTES_MAX {
                batch.is_full = true;
                return Ok(());
            }
            let packet = connection.codec.next_packet().map_err(|error| self.protocol_error(gateway, error))?;
            let Some(packet) = packet else { return Ok(()) };
            match packet {
                Packet::Publish(publish) => {
                    let handled = self.handle_publish(publish, gateway, batch).await;
                    handled.map_err(|reason| connection.codec.close_with(reason)).map_err(|()| Closed)?;
                }
                Packet::Subscribe(id, filters) => {
                    let subscribe = |(filter, qos): &(String, _)| {
                        let subscribed = self.subscribe(filter);
                        if subscribed.is_err() {
                            self.refused(gateway, Reason::Filter, &self.device, filter);
                        }
                        subscribed.map(|()| *qos)
                    };
                    connection.codec.subscribe_ack(id, filters.iter().map(subscribe).collect());
                }
                Packet::Unsubscribe(id, filters) => {
                    let existed = filters.iter().map(|filter| self.unsubscribe(filter)).collect();
                    connection.codec.unsubscribe_ack(id, existed);
                }
                Packet::PingRequest => connection.codec.ping_response(),
                Packet::PublishAck => {}
                Packet::Connect(_) => {
                    connection.codec.close_with(DisconnectReason::ProtocolError);
                    return Err(self.protocol_error(gateway, ProtocolError(DisconnectReason::ProtocolError)));
                }
                Packet::Disconnect { ends_session } => {
                    self.has_disconnected = true;
                    if ends_session {
                        self.stored.forget();
                    }
                    return Err(Closed);
                }
            }
        }
    }

    /// Decodes one message, and validates or does what it asks for. When it ends the session, why.
    async fn handle_publish(
        &mut self,
        publish: ReceivedPublish,
        gateway: &Gateway,
        batch: &mut Batch,
    ) -> Result<(), DisconnectReason> {
        let ReceivedPublish { topic, payload, id } = publish;
        self.messages += 1;
        gateway.instruments.messages.inc();
        let now_ms = gateway.cloud.now_ms();
        let outcome = match self.decode(&topic, &payload, now_ms) {
            Some((device, message)) => {
                // Of this message alone.
                batch.rows.is_clock_wrong = false;
                let outcome = self.handle_message(gateway, &device, message, batch).await?;
                if let Some(reason) = outcome.reason() {
                    self.refused(gateway, reason, &device, &topic);
                }
                if batch.rows.is_clock_wrong {
                    self.refused(gateway, Reason::TimeOutOfRange, &device, &topic);
                }
                outcome
            }
            None => {
                self.refused(gateway, Reason::ForeignTopic, &self.device, &topic);
                match self.dialect.foreign_topic(&self.device, &topic, &payload, now_ms) {
                    ForeignTopic::Disconnect => return Err(DisconnectReason::TopicNameInvalid),
                    ForeignTopic::Respond(message) => batch.responses.extend(message.map(Response::Ready)),
                }
                Outcome::ForeignTopic
            }
        };
        batch.acknowledgements.extend(id.map(|id| (id, outcome)));
        Ok(())
    }

    /// What a message asks for, and for which device of this session; `None` if its topic belongs to none.
    fn decode(&self, topic: &str, payload: &[u8], now_ms: i64) -> Option<(Arc<Device>, DeviceMessage)> {
        let device = self.device_of_topic(topic)?;
        Some((device.clone(), self.dialect.decode(device, topic, payload, now_ms)))
    }

    async fn handle_message(
        &mut self,
        gateway: &Gateway,
        device: &Arc<Device>,
        message: DeviceMessage,
        batch: &mut Batch,
    ) -> Result<Outcome, DisconnectReason> {
        let (outcome, to) = match message {
            DeviceMessage::Report(report, to) => {
                gateway.instruments.reports.inc();
                let rows = self.validate(gateway, device, report);
                (rows.map(|rows| batch.rows.extend(rows)), to)
            }
            DeviceMessage::Reports(reports, to) => {
                gateway.instruments.reports.inc();
                (self.validate_all(gateway, device, reports, &mut batch.rows), to)
            }
            DeviceMessage::Request(request, to) => {
                return self.handle_request(gateway, device, request, to, batch).await;
            }
            DeviceMessage::Respond(message) => {
                batch.responses.push(Response::Ready(message));
                return Ok(Outcome::Accepted);
            }
            DeviceMessage::Invalid(fault, to) => {
                let response = to.map(|to| self.response(device, to, &Err(fault), gateway.cloud.now_ms()));
                batch.responses.extend(response.map(Response::Ready));
                return Ok(Outcome::Refused(fault));
            }
            DeviceMessage::CommandResponse(response) => {
                self.calls.complete(device.no, response);
                return Ok(Outcome::Accepted);
            }
            DeviceMessage::Ignored(reason) => return Ok(Outcome::Ignored(reason)),
            DeviceMessage::Done => return Ok(Outcome::Accepted),
        };
        let result = Outcome::of(&outcome);
        let outcome = outcome.map(|()| DeviceResponse::Done);
        batch.responses.extend(to.map(|to| Response::ToReport(device.clone(), to, outcome)));
        Ok(result)
    }

    /// Does what a device requests, and responds. A request that the store could not serve ends the session without an
    /// acknowledgement: the device sends it again.
    async fn handle_request(
        &mut self,
        gateway: &Gateway,
        device: &Arc<Device>,
        request: DeviceRequest,
        to: Option<ReplyTo>,
        batch: &mut Batch,
    ) -> Result<Outcome, DisconnectReason> {
        let actor = Actor {
            kind: ActorKind::Device,
            name: device.id.0.clone(),
            origin: self.peer.address.to_string(),
            call: String::new(),
        };
        let outcome = Box::pin(actor::scope(actor, requests::handle(self, gateway, device, request))).await;
        tokio::task::yield_now().await;
        match outcome {
            Err(Fault::Service) => return Err(DisconnectReason::ImplementationSpecificError),
            Err(Fault::Proof) if self.failures >= FAILURES_MAX => return Err(DisconnectReason::NotAuthorized),
            Err(Fault::Proof) => self.failures += 1,
            _ => {}
        }
        let to = to.filter(|to| self.is_subscribed(&to.topic));
        let response = to.map(|to| self.response(device, to, &outcome, gateway.cloud.now_ms()));
        batch.responses.extend(response.map(Response::Ready));
        Ok(Outcome::of(&outcome))
    }

    fn protocol_error(&self, gateway: &Gateway, ProtocolError(reason): ProtocolError) -> Closed {
        self.refused(gateway, Reason::Protocol, &self.device, &format!("{reason:?}"));
        Closed
    }

    /// Counts, remembers and logs that something is refused.
    pub(super) fn refused(&self, gateway: &Gateway, reason: Reason, device: &Device, what: &str) {
        let now_ms = gateway.cloud.now_ms();
        gateway.refusals.refused(reason, Who::Device(device.id.as_str()), self.peer.address, what, now_ms);
    }

    /// Subscribes to a filter, which must be below the topics of a device of this session.
    pub(super) fn subscribe(&mut self, filter: &str) -> Result<(), SubscribeRefusal> {
        let device = self.device_of_topic(filter).ok_or(SubscribeRefusal::NotOwn)?.no;
        let is_new = if self.is_auto_subscription(filter) {
            !std::mem::replace(&mut self.receives_all, true)
        } else {
            let bounds = if device == self.device.no { OF_ITSELF } else { OF_A_SUB };
            self.subscriptions.add(device, filter, bounds)?
        };
        if is_new {
            self.stored.changed(device);
        }
        Ok(())
    }

    /// Unsubscribes from a filter; whether there was such a subscription.
    fn unsubscribe(&mut self, filter: &str) -> bool {
        let Some(device) = self.device_of_topic(filter).map(|device| device.no) else { return false };
        let existed = if self.is_auto_subscription(filter) {
            std::mem::take(&mut self.receives_all)
        } else {
            self.subscriptions.remove(device, filter)
        };
        if existed {
            self.stored.changed(device);
        }
        existed
    }

    fn is_auto_subscription(&self, filter: &str) -> bool {
        self.dialect.auto_subscription(&self.device).is_some_and(|auto| auto == filter)
    }
}
