//! The packets of MQTT 3.1.1 and 5, in one form for both: those that a client sends and those that it is sent.

use bytes::{Bytes, BytesMut};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v5::ToReasonCode;
use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
use rmqtt_codec::{MqttCodec, MqttPacket, v3, v5};
use std::num::NonZeroU16;
use tokio_util::codec::{Decoder, Encoder};

use super::filter::SubscribeRefusal;

/// A packet may be this long: both device protocols allow payloads of 256 KiB.
const PACKET_BYTES_MAX: u32 = 260 * 1024;
/// The same before the client has proved itself. The codec allocates a packet as soon as its length is known.
const CONNECT_BYTES_MAX: u32 = 4 * 1024;
/// PUBLISH packets that a client may send before the first of them is acknowledged.
const IN_FLIGHT_MAX: u16 = 64;

/// Every packet with a reason string is shorter. A client that accepts only shorter packets gets no reason strings.
const REASON_PACKET_BYTES: u32 = 256;

/// A packet from a client.
#[derive(Debug)]
pub enum Packet {
    /// CONNECT.
    Connect(Connect),
    /// PUBLISH.
    Publish(ReceivedPublish),
    /// SUBSCRIBE: filters, each with the QoS that can be granted, 1 at most.
    Subscribe(NonZeroU16, Vec<(String, QoS)>),
    /// UNSUBSCRIBE: filters.
    Unsubscribe(NonZeroU16, Vec<String>),
    /// PINGREQ.
    PingRequest,
    /// DISCONNECT.
    Disconnect {
        /// Whether the session ends too, by a session expiry interval of 0.
        ends_session: bool,
    },
    /// PUBACK.
    PublishAck,
}

/// A CONNECT. No `Debug` of its password.
pub struct Connect {
    /// The client id.
    pub client_id: String,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Bytes,
    /// What it asks of the session.
    pub options: SessionOptions,
}

/// What a client asks of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Keep-alive in seconds; 0 for none.
    pub keep_alive_s: u16,
    /// Whether an earlier session is discarded.
    pub is_clean_start: bool,
    /// Whether the session outlives the connection.
    pub outlives_connection: bool,
}

/// The session that a CONNACK announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Whether it is that of an earlier connection.
    pub is_present: bool,
    /// Whether it outlives the connection.
    pub outlives_connection: bool,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A PUBLISH.
#[derive(Debug)]
pub struct ReceivedPublish {
    /// The topic, without wildcards.
    pub topic: String,
    /// The payload; it shares the memory of what was read.
    pub payload: Bytes,
    /// To acknowledge it by, with QoS 1.
    pub id: Option<NonZeroU16>,
}

/// Why a CONNECT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// The credentials are wrong.
    Credentials,
    /// The client is not authorized.
    Forbidden,
    /// The server is unavailable: its disk is full, or the store failed.
    Unavailable,
}

/// A packet that is malformed or not allowed, and the reason that MQTT 5 has for it.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolError(pub DisconnectReason);

/// The reason code of a PUBACK, which only MQTT 5 has.
pub type PublishAckReason = v5::PublishAckReason;

/// The reason code of a DISCONNECT, which only MQTT 5 has.
pub type DisconnectReason = v5::DisconnectReasonCode;

/// Reads and writes packets of one connection, in the version with which it began.
pub struct Codec {
    codec: MqttCodec,
    input: BytesMut,
    output: BytesMut,
    /// Whether the client was let in. No DISCONNECT is sent before.
    is_connected: bool,
    /// Whether the client accepts a reason string, which only MQTT 5 has.
    accepts_reasons: bool,
    /// Why the server closes the connection.
    ending: Option<DisconnectReason>,
}

impl Default for Codec {
    fn default() -> Self {
        let (input, output) = Default::default();
        let (is_connected, accepts_reasons) = (false, false);
        Self { codec: MqttCodec::Version(VersionCodec), input, output, is_connected, accepts_reasons, ending: None }
    }
}

impl Codec {
    /// Adds bytes that were read.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Accepts packets of full length, from a client that has proved itself.
    pub fn accept_long_packets(&mut self) {
        match &mut self.codec {
            MqttCodec::V3(codec) => codec.set_max_size(PACKET_BYTES_MAX),
            MqttCodec::V5(codec) => codec.set_max_inbound_size(PACKET_BYTES_MAX),
            MqttCodec::Version(_) => {}
        }
    }

    /// Sets the reason with which the connection will end. The first reason stays. [`Codec::disconnect`] sends it.
    pub fn close_with(&mut self, why: DisconnectReason) {
        self.ending.get_or_insert(why);
    }

    /// Writes a DISCONNECT to an MQTT 5 client that was let in, if there is a reason.
    pub fn disconnect(&mut self) {
        let (Some(why), true) = (self.ending.take(), self.is_connected) else { return };
        if matches!(self.codec, MqttCodec::V5(_)) {
            let reason_string = self.reason_string(disconnect_text(why));
            let disconnect = v5::Disconnect { reason_string, ..v5::Disconnect::new(why) };
            self.encode(MqttPacket::V5(v5::Packet::Disconnect(disconnect)));
        }
    }

    /// Why the server closes the connection, if it does.
    pub fn ending(&self) -> Option<DisconnectReason> {
        self.ending
    }

    /// A reason string for the client, if it accepts one.
    fn reason_string<T: From<&'static str>>(&self, text: Option<&'static str>) -> Option<T> {
        text.filter(|_| self.accepts_reasons).map(T::from)
    }

    /// The next packet in the bytes received so far. An idle connection keeps no buffer.
    ///
    /// # Errors
    /// [`ProtocolError`], which ends the connection.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, ProtocolError> {
        let packet = self.decode();
        if let Err(ProtocolError(why)) = packet {
            self.close_with(why);
        }
        packet
    }

    fn decode(&mut self) -> Result<Option<Packet>, ProtocolError> {
        loop {
            let decoded = self.codec.decode(&mut self.input).map_err(|error| ProtocolError(error.to_reason_code()))?;
            let Some((packet, _)) = decoded else {
                if self.input.is_empty() {
                    self.input = BytesMut::new();
                }
                return Ok(None);
            };
            match packet {
                MqttPacket::Version(ProtocolVersion::MQTT3) => {
                    self.codec = MqttCodec::V3(v3::Codec::new(CONNECT_BYTES_MAX));
                }
                MqttPacket::Version(ProtocolVersion::MQTT5) => {
                    self.codec = MqttCodec::V5(v5::Codec::new(CONNECT_BYTES_MAX, 0));
                }
                MqttPacket::V3(packet) => return packet_v3(packet).map(Some),
                MqttPacket::V5(packet) => {
                    if let v5::Packet::Connect(connect) = &packet {
                        let has_room = connect.max_packet_size.is_none_or(|max| max.get() >= REASON_PACKET_BYTES);
                        self.accepts_reasons = connect.request_problem_info && has_room;
                    }
                    return packet_v5(packet).map(Some);
                }
            }
        }
    }

    /// Writes a CONNACK.
    pub fn connect_ack(&mut self, answer: Result<SessionState, ConnectRefusal>) {
        self.is_connected = answer.is_ok();
        let (three, five) = match answer {
            Ok(_) => (v3::ConnectAckReason::ConnectionAccepted, v5::ConnectAckReason::Success),
            Err(ConnectRefusal::Credentials) => {
                (v3::ConnectAckReason::BadUserNameOrPassword, v5::ConnectAckReason::BadUserNameOrPassword)
            }
            Err(ConnectRefusal::Unavailable) => {
                (v3::ConnectAckReason::ServiceUnavailable, v5::ConnectAckReason::ServerUnavailable)
            }
            Err(ConnectRefusal::Forbidden) => {
                (v3::ConnectAckReason::NotAuthorized, v5::ConnectAckReason::NotAuthorized)
            }
        };
        let SessionState { is_present: session_present, outlives_connection } = answer.unwrap_or_default();
        let five = v5::ConnectAck {
            session_present,
            // However long it was asked for: it is bounded by its size, and there is one a device.
            session_expiry_interval_secs: Some(if outlives_connection { u32::MAX } else { 0 }),
            reason_code: five,
            max_qos: QoS::AtLeastOnce,
            max_packet_size: Some(PACKET_BYTES_MAX),
            receive_max: NonZeroU16::new(IN_FLIGHT_MAX).unwrap_or(NonZeroU16::MIN),
            retain_available: false,
            shared_subscription_available: false,
            subscription_identifiers_available: false,
            reason_string: self.reason_string(answer.err().map(connect_refusal_text)),
            ..v5::ConnectAck::default()
        };
        let three = v3::ConnectAck { return_code: three, session_present };
        self.say(v3::Packet::ConnectAck(three), v5::Packet::ConnectAck(Box::new(five)));
    }

    /// Writes a PUBACK. Only MQTT 5 has a reason code in it, and the reason in words.
    pub fn publish_ack(&mut self, packet_id: NonZeroU16, reason_code: PublishAckReason, reason: Option<&'static str>) {
        let reason_string = self.reason_string(reason);
        let five = v5::PublishAck { packet_id, reason_code, properties: Vec::new(), reason_string };
        self.say(v3::Packet::PublishAck { packet_id }, v5::Packet::PublishAck(five));
    }

    /// Writes a SUBACK: the QoS that each filter is granted, or why it is refused.
    pub fn subscribe_ack(&mut self, packet_id: NonZeroU16, granted: Vec<Result<QoS, SubscribeRefusal>>) {
        let three = granted.iter().map(|granted| match granted {
            Ok(qos) => v3::SubscribeReturnCode::Success(*qos),
            Err(_) => v3::SubscribeReturnCode::Failure,
        });
        let five = granted.iter().map(|granted| match granted {
            Ok(QoS::AtMostOnce) => v5::SubscribeAckReason::GrantedQos0,
            Ok(_) => v5::SubscribeAckReason::GrantedQos1,
            Err(SubscribeRefusal::Invalid) => v5::SubscribeAckReason::TopicFilterInvalid,
            Err(SubscribeRefusal::NotOwn) => v5::SubscribeAckReason::NotAuthorized,
            Err(SubscribeRefusal::TooMany) => v5::SubscribeAckReason::QuotaExceeded,
        });
        let refusal = granted.iter().find_map(|granted| granted.as_ref().err());
        let reason_string = self.reason_string(refusal.map(subscribe_refusal_text));
        let five = v5::SubscribeAck { packet_id, properties: Vec::new(), reason_string, status: five.collect() };
        self.say(v3::Packet::SubscribeAck { packet_id, status: three.collect() }, v5::Packet::SubscribeAck(five));
    }

    /// Writes an UNSUBACK: whether each subscription existed.
    pub fn unsubscribe_ack(&mut self, packet_id: NonZeroU16, existed: Vec<bool>) {
        let reason = |was_there| match was_there {
            true => v5::UnsubscribeAckReason::Success,
            false => v5::UnsubscribeAckReason::NoSubscriptionExisted,
        };
        let status = existed.into_iter().map(reason).collect();
        let five = v5::UnsubscribeAck { packet_id, properties: Vec::new(), reason_string: None, status };
        self.say(v3::Packet::UnsubscribeAck { packet_id }, v5::Packet::UnsubscribeAck(five));
    }

    /// Writes a PINGRESP.
    pub fn ping_response(&mut self) {
        self.say(v3::Packet::PingResponse, v5::Packet::PingResponse);
    }

    /// Writes a PUBLISH with QoS 0.
    pub fn publish(&mut self, topic: &str, payload: Vec<u8>) {
        let is_five = matches!(self.codec, MqttCodec::V5(_));
        let publish = Publish {
            dup: false,
            retain: false,
            qos: QoS::AtMostOnce,
            topic: topic.into(),
            packet_id: None,
            payload: payload.into(),
            properties: is_five.then(Default::default),
        };
        let packet = match is_five {
            true => MqttPacket::V5(v5::Packet::Publish(Box::new(publish))),
            false => MqttPacket::V3(v3::Packet::Publish(Box::new(publish))),
        };
        self.encode(packet);
    }

    fn say(&mut self, three: v3::Packet, five: v5::Packet) {
        let packet = match self.codec {
            MqttCodec::V5(_) => MqttPacket::V5(five),
            MqttCodec::V3(_) | MqttCodec::Version(_) => MqttPacket::V3(three),
        };
        self.encode(packet);
    }

    fn encode(&mut self, packet: MqttPacket) {
        // Packets that are made here are well formed; before a version is known none is sent.
        if self.codec.encode(packet, &mut self.output).is_err() {
            tracing::debug!("a packet could not be written");
        }
    }

    /// Takes the bytes that are to be sent.
    pub fn take_output(&mut self) -> BytesMut {
        std::mem::take(&mut self.output)
    }
}

/// The same for everybody who is refused in the same way, so that nothing can be learned by guessing.
fn connect_refusal_text(refusal: ConnectRefusal) -> &'static str {
    match refusal {
        ConnectRefusal::Credentials => "the client id, user name or password is not valid",
        ConnectRefusal::Forbidden => "this client may not connect",
        ConnectRefusal::Unavailable => "the server cannot store anything now; try again later",
    }
}

fn subscribe_refusal_text(refusal: &SubscribeRefusal) -> &'static str {
    match refusal {
        SubscribeRefusal::Invalid => "a topic filter is not valid",
        SubscribeRefusal::NotOwn => "a topic filter is not below the topics of this client",
        SubscribeRefusal::TooMany => "this client has as many subscriptions as it may have",
    }
}

fn disconnect_text(reason: DisconnectReason) -> Option<&'static str> {
    Some(match reason {
        DisconnectReason::SessionTakenOver => "another connection of this device replaced this one",
        DisconnectReason::AdministrativeAction => "the device was disabled, removed or changed",
        DisconnectReason::QosNotSupported => "QoS 2 is not supported",
        DisconnectReason::TopicNameInvalid => "the topic is not one of this device's topics",
        DisconnectReason::KeepAliveTimeout => "no packet arrived within the keep-alive time",
        DisconnectReason::ServerShuttingDown => "the server is shutting down",
        DisconnectReason::NotAuthorized => "too many authentications of devices in messages failed",
        DisconnectReason::PacketTooLarge => "the packet is too long",
        DisconnectReason::MalformedPacket | DisconnectReason::ProtocolError => "the packet is not valid here",
        DisconnectReason::ImplementationSpecificError => "the server could not process the message; send it again",
        _ => return None,
    })
}

/// A filter, and the QoS that can be granted.
fn wanted(filter: &str, qos: QoS) -> (String, QoS) {
    (filter.to_owned(), if qos == QoS::AtMostOnce { qos } else { QoS::AtLeastOnce })
}

fn packet_v3(packet: v3::Packet) -> Result<Packet, ProtocolError> {
    Ok(match packet {
        v3::Packet::Connect(connect) => Packet::Connect(Connect {
            client_id: connect.client_id.to_string(),
            username: connect.username.as_ref().map(ToString::to_string).unwrap_or_default(),
            password: connect.password.clone().unwrap_or_default(),
            options: SessionOptions {
                keep_alive_s: connect.keep_alive,
                is_clean_start: connect.clean_session,
                outlives_connection: !connect.clean_session,
            },
        }),
        v3::Packet::Publish(publish) => Packet::Publish(published(*publish)?),
        v3::Packet::Subscribe { packet_id, topic_filters } => {
            Packet::Subscribe(packet_id, topic_filters.iter().map(|(filter, qos)| wanted(filter, *qos)).collect())
        }
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            Packet::Unsubscribe(packet_id, topic_filters.iter().map(ToString::to_string).collect())
        }
        v3::Packet::PingRequest => Packet::PingRequest,
        v3::Packet::Disconnect => Packet::Disconnect { ends_session: false },
        v3::Packet::PublishAck { .. } => Packet::PublishAck,
        _ => return Err(ProtocolError(DisconnectReason::ProtocolError)),
    })
}

fn packet_v5(packet: v5::Packet) -> Result<Packet, ProtocolError> {
    Ok(match packet {
        v5::Packet::Connect(connect) => Packet::Connect(Connect {
            client_id: connect.client_id.to_string(),
            username: connect.username.as_ref().map(ToString::to_string).unwrap_or_default(),
            password: connect.password.clone().unwrap_or_default(),
            options: SessionOptions {
                keep_alive_s: connect.keep_alive,
                is_clean_start: connect.clean_start,
                outlives_connection: connect.session_expiry_interval_secs > 0,
            },
        }),
        v5::Packet::Publish(publish) => Packet::Publish(published(*publish)?),
        v5::Packet::Subscribe(packet) => Packet::Subscribe(
            packet.packet_id,
            packet.topic_filters.iter().map(|(filter, options)| wanted(filter, options.qos)).collect(),
        ),
        v5::Packet::Unsubscribe(packet) => {
            Packet::Unsubscribe(packet.packet_id, packet.topic_filters.iter().map(ToString::to_string).collect())
        }
        v5::Packet::PingRequest => Packet::PingRequest,
        v5::Packet::Disconnect(goodbye) => {
            Packet::Disconnect { ends_session: goodbye.session_expiry_interval_secs == Some(0) }
        }
        v5::Packet::PublishAck(_) => Packet::PublishAck,
        _ => return Err(ProtocolError(DisconnectReason::ProtocolError)),
    })
}

/// QoS 2 is not supported, nor topics with wildcards or NUL, which the codec lets through.
fn published(publish: Publish) -> Result<ReceivedPublish, ProtocolError> {
    let topic = publish.topic.to_string();
    if publish.qos == QoS::ExactlyOnce {
        return Err(ProtocolError(DisconnectReason::QosNotSupported));
    }
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(ProtocolError(DisconnectReason::TopicNameInvalid));
    }
    Ok(ReceivedPublish { topic, payload: publish.payload, id: publish.packet_id })
}
