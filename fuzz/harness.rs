//! What the fuzz targets do with their input; the tests replay the kept inputs through the same functions.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ingle::app::{App, SystemClock};
use ingle::config::Config;
use ingle::control::Control;
use ingle::domain::{Device, DeviceId};
use ingle::gateway::dialect::{DeviceDialect, linkkit, tuyalink};
use ingle::gateway::{Gateway, decode};
use ingle::net::{Peer, Service};
use ingle::shutdown::{self, Shutdown, Stop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NOW_MS: i64 = 1_790_000_000_000;
/// A session must have ended by then once its device is gone.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A plug, a gateway and what is behind it, and the server in which they live, in a folder of its own.
struct World {
    runtime: tokio::runtime::Runtime,
    gateway: Arc<Gateway>,
    device: Device,
    shutdown: Shutdown,
    _stop: Stop,
    _app: App,
    _folder: tempfile::TempDir,
}

const WORLD: &str = r#"{"projects": [{"name": "fuzz",
    "products": [
        {"product_id": "gate", "product_key": "gk", "name": "Gate", "category": "wg2", "node_type": "gateway",
         "functions": [{"code": "on", "type": "Boolean"}, {"code": "n", "type": "Integer", "values": {"min": 0, "max": 9}},
            {"code": "mode", "type": "Enum", "values": {"range": ["a", "b"]}}, {"code": "t", "type": "String"}]},
        {"product_id": "sub", "product_key": "sk", "product_secret": "subs", "name": "Sub", "category": "cz",
         "node_type": "sub", "functions": [{"code": "on", "type": "Boolean"}]}],
    "devices": [
        {"product_id": "gate", "device_id": "g", "device_name": "g", "secret": "secret"},
        {"product_id": "sub", "device_id": "s", "device_name": "s", "secret": "secret", "gateway": "g"}]}]}"#;

fn world() -> &'static World {
    static WORLD_OF_ALL: OnceLock<World> = OnceLock::new();
    WORLD_OF_ALL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let settings = [("INGLE_TELEMETRY_DURABILITY".to_owned(), "os".to_owned())];
        let config = Config::load(None, settings.into_iter()).unwrap();
        let app = App::open(folder.path(), config, Arc::new(SystemClock)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (device, gateway) = runtime.block_on(async {
            Control::InProcess(app.control()).ask("/world", WORLD.to_owned()).await.unwrap();
            (app.cloud.device_by_id(&DeviceId("g".to_owned())).await.unwrap().unwrap(), app.gateway())
        });
        let (stop, shutdown) = shutdown::channel();
        World { runtime, gateway, device, shutdown, _stop: stop, _app: app, _folder: folder }
    })
}

/// A topic up to the first line end, then a payload, as TuyaLink has them.
pub fn tuyalink(input: &[u8]) {
    message(&tuyalink::TuyaLink, "tylink/g/", input);
}

/// A topic up to the first line end, then a payload, as LinkKit has them.
pub fn linkkit(input: &[u8]) {
    message(&linkkit::LinkKit, "/sys/gk/g/thing/", input);
}

/// Reads a message on its own topic, and again below the device's, so that what follows is reached.
fn message(dialect: &dyn DeviceDialect, prefix: &str, input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let topic = String::from_utf8_lossy(&input[..end]);
    let payload = input.get(end + 1..).unwrap_or_default();
    let device = &world().device;
    decode(dialect, device, &topic, payload, NOW_MS);
    assert!(decode(dialect, device, &format!("{prefix}{topic}"), payload, NOW_MS), "its own topic");
}

/// Topics and filters that packets are made with.
const TOPICS: [&str; 24] = [
    "tylink/g/thing/property/report",
    "tylink/g/thing/data/batch_report",
    "tylink/g/thing/event/trigger",
    "tylink/g/device/sub/login",
    "tylink/g/device/sub/logout",
    "tylink/g/device/topo/get",
    "tylink/g/device/tag/report",
    "tylink/g/thing/property/desired/get",
    "tylink/g/channel/downlink/auto_subscribe",
    "tylink/g/#",
    "tylink/s/thing/property/report",
    "tylink/x/thing/property/report",
    "/sys/gk/g/thing/event/property/post",
    "/sys/gk/g/thing/event/property/pack/post",
    "/sys/gk/g/thing/event/property/history/post",
    "/sys/gk/g/thing/event/e/post",
    "/sys/gk/g/thing/topo/get",
    "/sys/gk/g/thing/deviceinfo/update",
    "/shadow/update/gk/g",
    "/ext/session/gk/g/combine/batch_login",
    "/ext/session/gk/g/combine/batch_logout",
    "/sys/sk/s/thing/event/property/post",
    "/sys/gk/g/#",
    "#",
];

/// Payloads that packets are made with.
const PAYLOADS: [&str; 12] = [
    r#"{"msgId":"1","sys":{"ack":1},"data":{"on":true,"n":{"value":3},"mode":"b","other":[1]}}"#,
    r#"{"msgId":"1","sys":{"ack":1},"data":{"properties":{"n":[{"value":1},{"value":2}]},"subDevices":[{"deviceId":"s","properties":{"on":true}}]}}"#,
    r#"{"msgId":"1","data":["s"]}"#,
    r#"{"msgId":"1","data":{"eventCode":"e","outputParams":{}}}"#,
    r#"{"msgId":"1","data":[{"key":"k","value":"v"}]}"#,
    r#"{"id":"1","params":{"on":1,"n":{"value":3},"mode":1}}"#,
    r#"{"id":"1","params":{"properties":{"n":1},"events":{"e":{"value":{}}}}}"#,
    r#"{"id":1,"params":[{"identity":{"productKey":"gk","deviceName":"g"},"properties":[{"n":1}]}]}"#,
    r#"{"id":"1","params":[{"attrKey":"k","attrValue":"v"}]}"#,
    r#"{"method":"update","state":{"reported":{"a":1}},"version":-1}"#,
    r#"{"method":"get"}"#,
    "{",
];

/// Who connects: both protocols, both versions of MQTT.
fn hello(kind: u8) -> Vec<u8> {
    // The signatures of the world's secret.
    let (client, user, password) = match kind & 1 {
        0 => (
            "tuyalink_g",
            "g|signMethod=hmacSha256,timestamp=1607635284,secureMode=1,accessType=1",
            "655638485e81544ecf19412992939ac6eda97b55ce7409c648e7209257205a68",
        ),
        _ => (
            "gk&g|securemode=3,signmethod=hmacsha256,_ss=1|",
            "g&gk",
            "5f8e84ab7c7a386876e9c02fdaea373fbafd36019c50164e4aa9906b6ad28720",
        ),
    };
    let is_five = kind & 2 != 0;
    let mut rest = [&text("MQTT")[..], &[if is_five { 5 } else { 4 }, 0xC2, 0, 60]].concat();
    if is_five {
        rest.push(0);
    }
    for part in [client, user, password] {
        rest.extend(text(part));
    }
    packet(0x10, &rest)
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = rest.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { byte | 128 } else { byte });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// The packets of an input: what they are is said by a byte each, and some of it is changed.
fn packets(input: &[u8]) -> Vec<u8> {
    let mut input = input.iter().copied();
    let mut byte = || input.next();
    let Some(kind) = byte() else { return Vec::new() };
    let properties: &[u8] = if kind & 2 != 0 { &[0] } else { &[] };
    let mut all = if kind & 4 == 0 { hello(kind) } else { Vec::new() };
    while let (Some(what), Some(which)) = (byte(), byte()) {
        let topic = text(TOPICS[usize::from(which) % TOPICS.len()]);
        let id = [0, which.max(1)];
        let mut one = match what % 8 {
            0 | 1 => {
                let payload = PAYLOADS[usize::from(what / 8) % PAYLOADS.len()].as_bytes();
                packet(0x32, &[&topic[..], &id, properties, payload].concat())
            }
            2 => packet(0x82, &[&id[..], properties, &topic, &[1]].concat()),
            3 => packet(0xA2, &[&id[..], properties, &topic].concat()),
            4 => packet(0xC0, &[]),
            5 => packet(0x40, &id),
            6 => hello(which),
            _ => (0..which % 32).map_while(|_| byte()).collect(),
        };
        if what & 0x80 != 0
            && let (Some(at), Some(with)) = (byte(), byte())
        {
            let length = one.len().max(1);
            if let Some(changed) = one.get_mut(usize::from(at) % length) {
                *changed ^= with;
            }
        }
        all.extend(one);
    }
    all
}

/// A connection on which these packets come; the session has to end when the device goes. Bytes that were said to it.
pub fn session(input: &[u8]) -> usize {
    let world = world();
    let bytes = packets(input);
    world.runtime.block_on(async {
        let (device, server) = tokio::io::duplex(64 * 1024);
        let peer = Peer { address: std::net::Ipv4Addr::LOCALHOST.into(), encrypted: true, account: None };
        let served = tokio::spawn(world.gateway.clone().serve(server, peer, world.shutdown.clone()));
        let (mut from, mut to) = tokio::io::split(device);
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            let _ = from.read_to_end(&mut all).await;
            all.len()
        });
        let _ = to.write_all(&bytes).await;
        let _ = to.shutdown().await;
        tokio::time::timeout(END_TIMEOUT, served).await.unwrap().unwrap();
        read.await.unwrap()
    })
}
