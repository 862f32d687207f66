//! Devices behind a proxy that ends their TLS, as docs/devices.md sets it up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::SECRET;
use super::devices_page::block;
use crate::support::TestCloud;
use crate::support::mqtt::{connect, linkkit, read_packet, signed, with_gateway, with_secrets};
use crate::support::world::standard;

/// A server that listens for a proxy, and its log.
fn cloud(parent: &Path) -> TestCloud {
    let settings = [("INGLE_MQTT_PROXY_LISTEN", "127.0.0.1:0"), ("INGLE_MQTT_CONNECTIONS_PER_ADDRESS", "2")];
    let cloud = TestCloud::by(Command::new(crate::support::INGLE), &parent.join("data"), &settings).unwrap();
    cloud.apply(&standard());
    with_secrets(&cloud);
    with_gateway(&cloud);
    cloud
}

/// Devices that may connect: a second connection of one would end its first.
const DEVICES: [(&str, &str, &str); 6] = [
    ("a1plug00001", "dev001", SECRET),
    ("a1plug00001", "dev002", "another-secret-2"),
    ("a1gate", "gate1", "secret-of-gate1"),
    ("a1gate", "gate2", "secret-of-gate2"),
    ("a1sensor", "temp3", "secret-of-temp3"),
    ("a1known", "known1", "secret-of-known1"),
];

/// A connection that begins with these bytes, which a CONNECT of a device follows.
fn begin(cloud: &TestCloud, header: &[u8], device: usize) -> (TcpStream, Option<Vec<u8>>) {
    let (key, name, secret) = DEVICES[device];
    let mut stream = TcpStream::connect(cloud.addresses["mqtt_proxy"].as_str().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let [client, user, password] = linkkit(key, name, secret, ",_ss=1");
    // The server may close before all was sent.
    let _ = stream.write_all(&[header, &connect(&client, &user, &password, 60)].concat());
    let answer = read_packet(&mut stream).map(|(kind, rest)| [vec![kind], rest].concat());
    (stream, answer)
}

const WELCOME: [u8; 3] = [0x20, 0, 0];

#[test]
fn a_proxy_names_the_address_by_which_a_device_is_bounded() {
    let parent = tempfile::tempdir().unwrap();
    let cloud = cloud(parent.path());
    let two = |last: u8| {
        let head = [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x21, 0x11, 0, 12]].concat();
        [head.as_slice(), &[192, 0, 2, last], &[192, 0, 2, 1], &[0x13, 0x88, 0x22, 0xB3]].concat()
    };
    let one = |last: u8| format!("PROXY TCP4 192.0.2.{last} 192.0.2.1 5000 8883\r\n").into_bytes();
    let mut held = Vec::new();
    let cases = [
        (two(7), Some(&WELCOME)),
        (one(7), Some(&WELCOME)),
        (two(7), None),
        (one(7), None),
        (two(8), Some(&WELCOME)),
        (b"PROXY UNKNOWN\r\n".to_vec(), Some(&WELCOME)),
    ];
    for (device, (header, answer)) in cases.into_iter().enumerate() {
        let (stream, answered) = begin(&cloud, &header, device);
        assert_eq!(answered.as_deref(), answer.map(<[u8; 3]>::as_slice), "{header:?}");
        held.push(stream);
    }
    // Whoever is no proxy is not served, and the log says so.
    for header in [&b""[..], b"PROXY TCP4 nobody\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        assert_eq!(begin(&cloud, header, 0).1, None, "{header:?}");
    }
    let log = std::fs::read_to_string(TestCloud::log_of(&parent.path().join("data"))).unwrap();
    assert_eq!(log.matches("does not begin as a proxy's").count(), 3, "{log}");
}

/// A proxy that ends TLS in the forms of old device SDKs, with the configuration of docs/devices.md.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn proxy(folder: &Path, server: &str) -> Proxy {
    let mut shell = Command::new("sh");
    let made = shell.args(["-euc", &block("legacy-tls-certificate")]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let configuration = block("legacy-tls-haproxy");
    let configuration = configuration.replace(":8884", "unix@proxy.sock").replace("127.0.0.1:1884", server);
    std::fs::write(folder.join("haproxy.cfg"), configuration).unwrap();
    let mut proxy = Command::new("haproxy");
    proxy.args(["-db", "-f", "haproxy.cfg"]).current_dir(folder).stdout(Stdio::null());
    Proxy(proxy.spawn().unwrap_or_else(|error| panic!("haproxy: {error}; ./check installs it")))
}

#[test]
fn a_device_whose_tls_is_rsa_key_exchange_alone_connects_and_registers() {
    let parent = tempfile::tempdir().unwrap();
    let cloud = cloud(parent.path());
    let folder = parent.path().join("proxy");
    std::fs::create_dir(&folder).unwrap();
    let _proxy = proxy(&folder, cloud.addresses["mqtt_proxy"].as_str().unwrap());
    crate::support::wait::until(&[&folder], || folder.join("proxy.sock").exists());
    for cipher in ["AES256-SHA256", "AES128-SHA256", "AES256-SHA", "AES128-SHA"] {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-quiet",
            "-unix",
            "proxy.sock",
            "-tls1_2",
            "-CAfile",
            "mqtt.pem",
            "-verify_return_error",
        ]);
        client.args(["-cipher", &format!("{cipher}:@SECLEVEL=0")]);
        let mut client = client
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // What only an encrypted connection gets: the secret of a device, by that of its product.
        let sign = signed("secret-of-known", "deviceNameknown1productKeya1knownrandom7");
        let fields = "random=7,authType=register,securemode=2,signmethod=hmacsha256";
        let hello = connect(&format!("known1.a1known|{fields}|"), "known1&a1known", &sign, 60);
        client.stdin.as_mut().unwrap().write_all(&hello).unwrap();
        let mut stdout = client.stdout.take().unwrap();
        assert_eq!(read_packet(&mut stdout), Some((0x20, vec![0, 0])), "{cipher}");
        let (kind, rest) = read_packet(&mut stdout).unwrap();
        let at = rest.iter().position(|byte| *byte == b'{').unwrap();
        let received: Value = serde_json::from_slice(&rest[at..]).unwrap();
        assert_eq!(
            (kind & 0xF0, &received["deviceSecret"]),
            (0x30, &Value::from("secret-of-known1")),
            "{cipher}: {received}"
        );
        client.kill().unwrap();
        let _ = stdout.read_to_end(&mut Vec::new());
        client.wait().unwrap();
    }
}
