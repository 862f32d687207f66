//! The simulated devices, against a server that the test plays byte by byte.

use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use ingle::shutdown;
use ingle::simulate::{Fleet, Identity, Pace, Plan, Protocol, Round, Settings, identities};
use serde_json::{Value, json};

use crate::support::mqtt::{packet, read_packet, text};

const NOW_MS: i64 = 1_760_000_000_000;

/// One device against a server that is played by `serve`, and what came of the plan.
fn round(protocol: Protocol, plan: Plan, serve: impl FnOnce(Server) + Send + 'static) -> Round {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        address: listener.local_addr().unwrap(),
        tls: None,
        protocol,
        points: 1,
        subscribes: true,
        connecting_max: 1,
        connect_within: Duration::from_secs(30),
        drain: Duration::from_millis(300),
        now_ms: NOW_MS,
    };
    let server: JoinHandle<()> = std::thread::spawn(move || serve(Server { listener }));
    let devices: Vec<Identity> = identities(1, "seed");
    let mut fleet = Fleet::new(settings, devices);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_stop, stopping) = shutdown::channel();
    let round = runtime.block_on(fleet.run(plan, stopping));
    drop(fleet);
    server.join().unwrap();
    round
}

fn once() -> Plan {
    Plan { pace: Pace::Full, lasting: Duration::from_secs(30), each: Some(1), now_ms: NOW_MS }
}

struct Server {
    listener: TcpListener,
}

impl Server {
    /// Accepts a device, and grants its subscription if it uses TuyaLink.
    fn welcome(&self, protocol: Protocol) -> TcpStream {
        let stream = self.listener.accept().unwrap().0;
        assert_eq!(take(&stream).0, 0x10);
        give(&stream, &packet(0x20, &[0, 0]));
        if protocol == Protocol::TuyaLink {
            let (first, rest) = take(&stream);
            assert_eq!(first, 0x82);
            give(&stream, &packet(0x90, &[rest[0], rest[1], 1]));
        }
        stream
    }
}

fn take(mut stream: &TcpStream) -> (u8, Vec<u8>) {
    read_packet(&mut stream).unwrap()
}

fn give(mut stream: &TcpStream, bytes: &[u8]) {
    use std::io::Write;
    stream.write_all(bytes).unwrap();
}

/// Topic, id and payload of a PUBLISH.
fn published(first: u8, rest: &[u8]) -> (String, [u8; 2], Value) {
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let topic = String::from_utf8(rest[2..2 + length].to_vec()).unwrap();
    let has_id = first & 0b110 != 0;
    let id = if has_id { [rest[2 + length], rest[3 + length]] } else { [0, 0] };
    let payload = &rest[2 + length + if has_id { 2 } else { 0 }..];
    (topic, id, serde_json::from_slice(payload).unwrap())
}

#[test]
fn a_set_is_answered_and_reported_back() {
    for (protocol, set, answer, report, command, expected) in [
        (
            Protocol::TuyaLink,
            "tylink/sim000001/thing/property/set",
            "tylink/sim000001/thing/property/set_response",
            "tylink/sim000001/thing/property/report",
            json!({"msgId": "45lkj3551234001", "time": NOW_MS, "data": {"switch_1": true}}),
            json!({"msgId": "45lkj3551234001", "code": 0}),
        ),
        (
            Protocol::LinkKit,
            "/sys/a1simulated/sim000001/thing/service/property/set",
            "/sys/a1simulated/sim000001/thing/service/property/set_reply",
            "/sys/a1simulated/sim000001/thing/event/property/post",
            json!({"id": "123", "version": "1.0.0", "params": {"switch_1": 1}, "method": "thing.service.property.set"}),
            json!({"id": "123", "code": 200, "data": {}}),
        ),
    ] {
        let round = round(protocol, once(), move |server| {
            let stream = server.welcome(protocol);
            let (first, rest) = take(&stream);
            let (topic, id, _) = published(first, &rest);
            assert_eq!((first, topic.as_str()), (0x32, report));
            // While its report waits: a set with QoS 1, and the acknowledgement in the same breath.
            let mut bytes = packet(0x32, &[&text(set)[..], &[0, 7], command.to_string().as_bytes()].concat());
            bytes.extend(packet(0x40, &id));
            give(&stream, &bytes);
            assert_eq!(take(&stream), (0x40, vec![0, 7]));
            let (first, rest) = take(&stream);
            let (topic, _, mut payload) = published(first, &rest);
            assert_eq!((first, topic.as_str()), (0x30, answer));
            payload.as_object_mut().unwrap().remove("time");
            assert_eq!(payload, expected);
            let (first, rest) = take(&stream);
            let (topic, id, payload) = published(first, &rest);
            assert_eq!((first, topic.as_str()), (0x32, report));
            let values = if protocol == Protocol::TuyaLink { "data" } else { "params" };
            assert_eq!(payload[values]["switch_1"]["value"], command[values]["switch_1"]);
            give(&stream, &packet(0x40, &id));
        });
        assert_eq!((round.messages, round.points, round.commands), (2, 2, 1), "{protocol:?}");
        assert!(round.failure().is_none(), "{round:?}");
    }
}

#[test]
fn a_lost_connection_is_made_again_and_the_message_sent_again() {
    let protocol = Protocol::TuyaLink;
    let round = round(protocol, once(), move |server| {
        let stream = server.welcome(protocol);
        let (_, rest) = take(&stream);
        drop(stream);
        let stream = server.welcome(protocol);
        let (first, again) = take(&stream);
        assert_eq!((first, &again), (0x3A, &rest));
        give(&stream, &packet(0x40, &published(first, &again).1));
    });
    assert_eq!((round.messages, round.reconnects, round.sent_again, round.unacknowledged), (1, 1, 1, 0));
    assert!(round.failure().is_none());
}

#[test]
fn a_missing_acknowledgement_is_counted() {
    let protocol = Protocol::LinkKit;
    let plan = Plan { lasting: Duration::from_millis(100), ..once() };
    let round = round(protocol, plan, move |server| {
        let stream = server.welcome(protocol);
        let (first, rest) = take(&stream);
        let id = u16::from_be_bytes(published(first, &rest).1);
        give(&stream, &packet(0x40, &(id + 1).to_be_bytes()));
        assert!(read_packet(&mut &stream).is_none());
    });
    assert_eq!((round.messages, round.unacknowledged, round.unexpected), (0, 1, 1));
    let failure = round.failure().unwrap();
    assert!(failure.contains("1 messages were not acknowledged"), "{failure}");
}

#[test]
fn a_refusal_is_final() {
    let round = round(Protocol::LinkKit, once(), |server| {
        let stream = server.listener.accept().unwrap().0;
        assert_eq!(take(&stream).0, 0x10);
        give(&stream, &packet(0x20, &[0, 4]));
    });
    assert_eq!((round.connected, round.refused, round.messages), (0, 1, 0));
    let failure = round.failure().unwrap();
    assert!(failure.contains("1 devices were refused") && failure.contains("bad user name"), "{failure}");
}
