//! An MQTT device that builds its packets by the standard and authenticates by the vendors' documents, without the server's
//! code.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::TestCloud;
use super::tuya::hex;

/// A connection of a device.
pub struct MqttDevice {
    pub stream: TcpStream,
    next_id: u16,
}

/// A packet from the server: its first byte, and the rest after the length.
pub type Packet = (u8, Vec<u8>);

pub fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// Encodes a packet from its first byte and the rest.
pub fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
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

/// Reads the next packet of a connection. `None` if it is closed.
pub fn read_packet(stream: &mut impl Read) -> Option<Packet> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let first = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] < 128 {
            break;
        }
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).ok()?;
    Some((first, rest))
}

/// A CONNECT with a clean session.
pub fn connect(client_id: &str, username: &str, password: &str, keep_alive_s: u16) -> Vec<u8> {
    let head = [&text("MQTT")[..], &[4, 0xC2], &keep_alive_s.to_be_bytes()].concat();
    packet(0x10, &[head, text(client_id), text(username), text(password)].concat())
}

/// A CONNECT of MQTT 5 with a clean start, and its properties.
pub fn connect5(who: &[String; 3], keep_alive_s: u16, flags: u8, properties: &[u8]) -> Vec<u8> {
    let length = [u8::try_from(properties.len()).unwrap()];
    let head = [&text("MQTT")[..], &[5, flags], &keep_alive_s.to_be_bytes(), &length, properties].concat();
    packet(0x10, &[head, text(&who[0]), text(&who[1]), text(&who[2])].concat())
}

/// The client id, user name and password of TuyaLink.
pub fn tuyalink(device_id: &str, secret: &str) -> [String; 3] {
    let fields = "timestamp=1607635284,secureMode=1,accessType=1";
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let mac = mac.chain_update(format!("deviceId={device_id},{fields}"));
    let username = format!("{device_id}|signMethod=hmacSha256,{fields}");
    [format!("tuyalink_{device_id}"), username, hex(&mac.finalize().into_bytes())]
}

/// The client id, user name and password of LinkKit. `more` are further fields of the client id.
pub fn linkkit(product_key: &str, device_name: &str, secret: &str, more: &str) -> [String; 3] {
    let base = format!("{product_key}&{device_name}");
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let mac =
        mac.chain_update(format!("clientId{base}deviceName{device_name}productKey{product_key}timestamp1530262800"));
    let client_id = format!("{base}|securemode=3,signmethod=hmacsha256,timestamp=1530262800{more}|");
    [client_id, format!("{device_name}&{product_key}"), hex(&mac.finalize().into_bytes())]
}

impl MqttDevice {
    /// Opens a connection without sending anything.
    pub fn open(cloud: &TestCloud) -> Self {
        let stream = TcpStream::connect(cloud.addresses["mqtt"].as_str().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream, next_id: 0 }
    }

    /// Connects a device. The server must accept it.
    pub fn connect(cloud: &TestCloud, who: &[String; 3]) -> Self {
        let mut device = Self::open(cloud);
        assert_eq!(device.greet(who), Some(0));
        device
    }

    /// Connects with or without a clean session. Returns the session-present flag as well.
    pub fn resume(cloud: &TestCloud, who: &[String; 3], is_clean: bool) -> (Self, bool) {
        let mut device = Self::open(cloud);
        let flags = if is_clean { 0xC2 } else { 0xC0 };
        let head = [&text("MQTT")[..], &[4, flags, 0, 60]].concat();
        device.send(&packet(0x10, &[head, text(&who[0]), text(&who[1]), text(&who[2])].concat()));
        let (first, rest) = device.receive().unwrap();
        assert_eq!((first, rest[1]), (0x20, 0));
        (device, rest[0] == 1)
    }

    /// Connects a device by MQTT 5. The server must accept it.
    pub fn connect5(cloud: &TestCloud, who: &[String; 3]) -> Self {
        let mut device = Self::open(cloud);
        device.send(&connect5(who, 60, 0xC2, &[]));
        let (first, rest) = device.receive().unwrap();
        assert_eq!((first, &rest[..2]), (0x20, &[0, 0][..]));
        device
    }

    /// Publishes with QoS 1 by MQTT 5. Returns the reason code of the acknowledgement.
    pub fn published5(&mut self, topic: &str, payload: &[u8]) -> u8 {
        self.next_id += 1;
        let id = self.next_id.to_be_bytes();
        self.send(&packet(0x32, &[&text(topic)[..], &id, &[0], payload].concat()));
        let (first, rest) = self.receive().unwrap();
        assert_eq!((first, &rest[..2]), (0x40, &id[..]));
        rest.get(2).copied().unwrap_or(0)
    }

    /// Subscribes by MQTT 5. Returns the reason code of each filter.
    pub fn subscribe5(&mut self, filters: &[&str]) -> Vec<u8> {
        let list: Vec<u8> = filters.iter().flat_map(|filter| [text(filter), vec![1]].concat()).collect();
        self.send(&packet(0x82, &[&[0, 9, 0][..], &list].concat()));
        let (first, rest) = self.receive().unwrap();
        assert_eq!((first, &rest[..2]), (0x90, &[0, 9][..]));
        // The properties, of which there is only a reason string.
        rest[3 + usize::from(rest[2])..].to_vec()
    }

    /// The reason code of the DISCONNECT with which the server closes an MQTT 5 connection.
    pub fn dismissed5(&mut self) -> Option<u8> {
        let (first, rest) = self.receive()?;
        assert_eq!(first, 0xE0, "{rest:?}");
        assert!(self.is_closed());
        Some(rest.first().copied().unwrap_or(0))
    }

    /// Gives a secret to a device of the first project and connects it by TuyaLink. A sub-device keeps its gateway.
    pub fn of(cloud: &TestCloud, product: &str, device: &str) -> Self {
        let secret = "secret-of-the-test";
        let mut row = json!({"product_id": product, "device_id": device, "secret": secret});
        if let Some(gateway) = cloud.first().get(&format!("/v1.0/devices/{device}"))["result"].get("gateway_id") {
            row["gateway"] = gateway.clone();
        }
        cloud.apply(&json!({"projects": [{"name": "first", "devices": [row]}]}));
        Self::connect(cloud, &tuyalink(device, secret))
    }

    /// The return code of a CONNECT. `None` if the server closes without one.
    pub fn greet(&mut self, who: &[String; 3]) -> Option<u8> {
        self.send(&connect(&who[0], &who[1], &who[2], 60));
        let (first, rest) = self.receive()?;
        assert_eq!((first, rest[0]), (0x20, 0));
        Some(rest[1])
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next packet. `None` if the server has closed the connection.
    pub fn receive(&mut self) -> Option<Packet> {
        read_packet(&mut self.stream)
    }

    /// Publishes with QoS 1 without waiting. Returns the packet id.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> u16 {
        self.next_id += 1;
        let rest = [&text(topic)[..], &self.next_id.to_be_bytes(), payload].concat();
        self.send(&packet(0x32, &rest));
        self.next_id
    }

    /// Publishes and waits. Returns true if the acknowledgement came.
    pub fn published(&mut self, topic: &str, payload: &Value) -> bool {
        let id = self.publish(topic, payload.to_string().as_bytes());
        self.receive() == Some((0x40, id.to_be_bytes().to_vec()))
    }

    /// Subscribes. Returns for each filter if it was granted.
    pub fn subscribe(&mut self, filters: &[&str]) -> Vec<bool> {
        let list: Vec<u8> = filters.iter().flat_map(|filter| [text(filter), vec![1]].concat()).collect();
        self.send(&packet(0x82, &[&[0, 9][..], &list].concat()));
        let (first, rest) = self.receive().unwrap();
        assert_eq!((first, &rest[..2]), (0x90, &[0, 9][..]));
        rest[2..].iter().map(|code| *code < 128).collect()
    }

    /// Unsubscribes.
    pub fn unsubscribe(&mut self, filters: &[&str]) {
        let list: Vec<u8> = filters.iter().flat_map(|filter| text(filter)).collect();
        self.send(&packet(0xA2, &[&[0, 8][..], &list].concat()));
        assert_eq!(self.receive(), Some((0xB0, vec![0, 8])));
    }

    /// The next message that the server publishes to the device.
    pub fn message(&mut self) -> (String, Value) {
        let (first, rest) = self.receive().unwrap();
        assert_eq!(first, 0x30, "{rest:?}");
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let topic = String::from_utf8(rest[2..2 + length].to_vec()).unwrap();
        (topic, serde_json::from_slice(&rest[2 + length..]).unwrap())
    }

    /// Publishes a message and returns the topic and payload of the response.
    pub fn asked(&mut self, topic: &str, payload: &Value) -> (String, Value) {
        assert!(self.published(topic, payload), "{topic}");
        self.message()
    }

    /// True if the server answers a ping. All earlier packets have arrived then.
    pub fn pings(&mut self) -> bool {
        self.send(&[0xC0, 0]);
        self.receive() == Some((0xD0, Vec::new()))
    }

    /// Breaks the connection off without a DISCONNECT. Returns when the server has closed its side, which it does after the
    /// device is offline.
    pub fn break_off(mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while self.receive().is_some() {}
    }

    /// True if the server closes the connection, perhaps after further messages.
    pub fn ends(&mut self) -> bool {
        let begun = std::time::Instant::now();
        while self.receive().is_some() {}
        // A read that times out after 30 seconds ends the loop as well.
        begun.elapsed() < Duration::from_secs(25)
    }

    /// True if the server has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }
}

/// A document of the first project with the seed's plug as a real device, with the names of both vendors.
pub fn with_secrets(cloud: &TestCloud) {
    let functions = json!([{"code": "switch_1", "type": "Boolean"}, {"code": "cur_power", "type": "Integer"},
        {"code": "mode", "type": "Enum", "values": {"range": ["white", "colour"]}}]);
    cloud.apply(&json!({"projects": [{"name": "first",
        "products": [{"product_id": "EvolhYPyZNWYP001", "product_key": "a1plug00001", "name": "Plug", "category": "cz",
            "functions": functions}],
        "devices": [
            {"product_id": "EvolhYPyZNWYP001", "device_id": super::world::PLUG, "device_name": "dev001",
             "secret": "5c1e2d3f4a5b6c7d"},
            {"product_id": "EvolhYPyZNWYP001", "device_id": "second000000000001", "device_name": "dev002",
             "secret": "another-secret-2"}]}]}));
}

/// A document with a gateway with two sub-devices, one sub-device without a gateway, and a product whose devices may
/// register. It has the names of both vendors.
pub fn with_gateway(cloud: &TestCloud) {
    let sensor = json!([{"code": "temp", "type": "Integer", "values": {"min": -20, "max": 50}},
        {"code": "state", "type": "Enum", "values": {"range": ["fine", "alarm"]}}]);
    let device = |product: &str, name: &str| json!({"product_id": product, "device_id": name, "device_name": name, "secret": format!("secret-of-{name}")});
    let behind = |name: &str| {
        let mut device = device("sensors000000001", name);
        device["gateway"] = json!("gate1");
        device
    };
    cloud.apply(&json!({"projects": [
        {"name": "first",
         "products": [
            {"product_id": "gates00000000001", "product_key": "a1gate", "name": "Gate", "category": "wg2",
             "node_type": "gateway", "functions": [{"code": "on", "type": "Boolean"}]},
            {"product_id": "sensors000000001", "product_key": "a1sensor", "product_secret": "secret-of-sensors",
             "name": "Sensor", "category": "wsdcg", "node_type": "sub", "dynamic_registration": "known",
             "functions": sensor},
            {"product_id": "shysensors000001", "product_key": "a1shy", "product_secret": "secret-of-shy",
             "name": "Shy", "category": "wsdcg", "node_type": "sub", "functions": sensor},
            {"product_id": "known00000000001", "product_key": "a1known", "product_secret": "secret-of-known",
             "name": "Known", "category": "cz", "dynamic_registration": "known"},
            {"product_id": "any0000000000001", "product_key": "a1any", "product_secret": "secret-of-any",
             "name": "Any", "category": "cz", "dynamic_registration": "any",
             "functions": [{"code": "on", "type": "Boolean"}]},
            {"product_id": "off0000000000001", "product_key": "a1off", "product_secret": "secret-of-off",
             "name": "Off", "category": "cz"}],
         "devices": [
            {"product_id": "gates00000000001", "device_id": "gate1", "device_name": "gate1",
             "secret": "secret-of-gate1", "owner": "18200000678"},
            device("gates00000000001", "gate2"),
            behind("temp1"), behind("temp2"), device("sensors000000001", "temp3"), device("shysensors000001", "shy1"),
            device("known00000000001", "known1"), device("off0000000000001", "off1")]},
        {"name": "second",
         "products": [{"product_id": "othersensors0001", "product_key": "a1other", "product_secret": "secret-of-other",
            "name": "Other", "category": "wsdcg", "node_type": "sub"}],
         "devices": [device("othersensors0001", "other1")]},
    ]}));
}

/// The lower-case hex HMAC-SHA256 of a text.
pub fn signed(secret: &str, content: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    hex(&mac.chain_update(content).finalize().into_bytes())
}
