//! Who a device is, from its CONNECT (contract tuya §6.1, aliyun §6.1). Pure: what is claimed, and whether a secret
//! proves it.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::DeviceId;
use crate::domain::device::FactoryName;
use crate::domain::session::DeviceClaim;
use crate::feed::PREFIX;
use crate::mqtt::codec::Hello;

/// The protocol that a device speaks above MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Tuya's. What is sent down needs a subscription, the magic one among them.
    TuyaLink,
    /// Alibaba's. With `_ss=1` everything is sent down without any subscription.
    LinkKit {
        /// Whether the server subscribes for the device.
        auto_subscribe: bool,
    },
}

/// What a CONNECT claims, and what should prove it.
pub struct Claim {
    /// The claim.
    pub wish: Wish,
    /// What should prove it.
    pub proof: Proof,
}

/// What a CONNECT wants.
pub enum Wish {
    /// To be a device, by the device's own secret.
    Session(DeviceClaim, Protocol),
    /// To learn the device's secret, by its product's.
    Register(FactoryName, Registering),
    /// To hear what happens to devices, by a name that the cloud API gave.
    Listen(String),
}

/// How a device registers (contract aliyun §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registering {
    /// A device that exists.
    Known,
    /// Also one that does not.
    New,
}

/// What should prove that somebody has a secret. No `Debug`.
pub struct Proof {
    method: Method,
    /// Forms of what is signed; one of them must be.
    contents: Vec<String>,
    given: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Method {
    Sha256,
    Sha1,
    Md5,
    /// The secret itself.
    Same,
}

/// Reads a CONNECT. `None` for one that is of neither protocol.
pub fn claim(hello: &Hello) -> Option<Claim> {
    if hello.client_id.starts_with(PREFIX) {
        let proof = Proof::same(&hello.password);
        return (hello.client_id == hello.username)
            .then(|| Claim { wish: Wish::Listen(hello.client_id.clone()), proof });
    }
    match hello.client_id.strip_prefix("tuyalink_") {
        Some(id) => tuyalink(id, &hello.username, &hello.password),
        None => linkkit(&hello.client_id, &hello.username, &hello.password),
    }
}

fn tuyalink(id: &str, username: &str, password: &[u8]) -> Option<Claim> {
    let (named, fields) = username.split_once('|')?;
    if named.trim() != id {
        return None;
    }
    let method = match method(field(fields, "signMethod")?.1)? {
        Method::Md5 | Method::Same => return None,
        method => method,
    };
    let (timestamp, access) = (field(fields, "timestamp")?.1, field(fields, "accessType")?.1);
    // The vendor spells one of the names in two ways. A device signs what it sends; some sign the other spelling.
    let (_, mode) = field(fields, "secureMode")?;
    let content = |name: &str| format!("deviceId={id},timestamp={timestamp},{name}={mode},accessType={access}");
    let who = DeviceClaim::Id(DeviceId(id.to_owned()));
    let contents = vec![content("secureMode"), content("securemode")];
    let proof = Proof { method, contents, given: unhex(password)? };
    Some(Claim { wish: Wish::Session(who, Protocol::TuyaLink), proof })
}

fn linkkit(client_id: &str, username: &str, password: &[u8]) -> Option<Claim> {
    let (base, fields) = client_id.split_once('|')?;
    let fields = fields.trim_end_matches(|c: char| c == '|' || c.is_whitespace());
    let field = |name: &str| field(fields, name).map(|(_, value)| value);
    let (device_name, product_key) = username.trim().rsplit_once('&')?;
    let name = FactoryName { product_key: product_key.to_owned(), device_name: device_name.to_owned() };
    let protocol = Protocol::LinkKit { auto_subscribe: field("_ss") == Some("1") };
    let method = method(field("signmethod").unwrap_or("hmacmd5"));
    let register = |kind| {
        let content = format!("deviceName{device_name}productKey{product_key}random{}", field("random")?);
        let proof = Proof { method: method?, contents: vec![content], given: unhex(password)? };
        Some(Claim { wish: Wish::Register(name.clone(), kind), proof })
    };
    match field("authType") {
        None => {}
        Some("register") => return register(Registering::Known),
        Some("regnwl") => return register(Registering::New),
        Some("connwl") => {
            // The client id and the token that the registration gave.
            let who = DeviceClaim::Registered(DeviceId(base.trim().to_owned()), name);
            return Some(Claim { wish: Wish::Session(who, protocol), proof: Proof::same(password) });
        }
        Some(_) => return None,
    }
    let timestamp = field("timestamp").map(|at| format!("timestamp{at}")).unwrap_or_default();
    let content = |base: &str| format!("clientId{base}deviceName{device_name}productKey{product_key}{timestamp}");
    let proof = Proof { method: method?, contents: vec![content(base), content(base.trim())], given: unhex(password)? };
    Some(Claim { wish: Wish::Session(DeviceClaim::Factory(name), protocol), proof })
}

/// The name, as it was spelled, and the value of a field among `name=value,…`. White space and line breaks around both
/// are no part of them: clients write their templates on several lines.
fn field<'a>(fields: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let pairs = fields.split(',').filter_map(|pair| pair.split_once('='));
    let mut pairs = pairs.map(|(name, value)| (name.trim(), value.trim()));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name))
}

fn method(name: &str) -> Option<Method> {
    match name.to_ascii_lowercase().as_str() {
        "hmacsha256" => Some(Method::Sha256),
        "hmacsha1" => Some(Method::Sha1),
        "hmacmd5" => Some(Method::Md5),
        _ => None,
    }
}

impl Proof {
    /// A signature in hex digits over a content, by a method's name.
    pub fn of(method_name: &str, content: String, sign: &str) -> Option<Self> {
        Some(Self { method: method(method_name)?, contents: vec![content], given: unhex(sign.as_bytes())? })
    }

    /// The secret itself.
    fn same(given: &[u8]) -> Self {
        Self { method: Method::Same, contents: vec![String::new()], given: given.to_vec() }
    }

    /// What was given.
    pub fn given(&self) -> &[u8] {
        &self.given
    }

    /// Whether the secret gives what was given, in equal time.
    pub fn is_proven_by(&self, secret: &str) -> bool {
        let key = secret.as_bytes();
        let gives = |content: &String| {
            let content = content.as_bytes();
            let expected = match self.method {
                Method::Sha256 => Hmac::<Sha256>::new_from_slice(key).map(|mac| code(mac, content)),
                Method::Sha1 => Hmac::<Sha1>::new_from_slice(key).map(|mac| code(mac, content)),
                Method::Md5 => Hmac::<Md5>::new_from_slice(key).map(|mac| code(mac, content)),
                Method::Same => Ok(key.to_vec()),
            };
            expected.is_ok_and(|expected| bool::from(expected.ct_eq(&self.given)))
        };
        self.contents.iter().any(gives)
    }
}

fn code(mac: impl Mac, content: &[u8]) -> Vec<u8> {
    mac.chain_update(content).finalize().into_bytes().to_vec()
}

/// The bytes of hex digits in either case: the vendor's C library writes capitals, its Python library does not.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.is_empty() || digits.len() > 64 || !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::codec::Terms;

    fn hello(client_id: &str, username: &str, password: &str) -> Hello {
        let password = bytes::Bytes::copy_from_slice(password.as_bytes());
        let terms = Terms { keep_alive_s: 60, is_clean: true, is_kept: false };
        Hello { client_id: client_id.to_owned(), username: username.to_owned(), password, terms }
    }

    fn is_proven(client_id: &str, username: &str, password: &str, secret: &str) -> bool {
        claim(&hello(client_id, username, password)).is_some_and(|claim| claim.proof.is_proven_by(secret))
    }

    #[test]
    fn tuyalink_vectors() {
        let secret = "5c1e2d3f4a5b6c7d";
        for (ts, password) in [
            ("1607635284", "4cea272e1dcbb36b31bfabaaca08fbf652a16393b375cb3387912adff30f7253"),
            ("1607635284000", "2bea5f5cc21df820dc00498202ce946a477f700c4307e662337d1166199df493"),
        ] {
            let id = "6c828cba434ff40c074wF2";
            let user = format!("{id}|signMethod=hmacSha256,timestamp={ts},secureMode=1,accessType=1");
            let client = format!("tuyalink_{id}");
            assert!(is_proven(&client, &user, password, secret));
            assert!(!is_proven(&client, &user, password, "5c1e2d3f4a5b6c7e"));
            assert!(!is_proven("tuyalink_6c828cba434ff40c074wF3", &user, password, secret));
            assert!(!is_proven(&client, &user.replace("timestamp=1", "timestamp=2"), password, secret));
        }
    }

    #[test]
    fn tuyalink_in_either_spelling_and_by_either_method() {
        let secret = "5c1e2d3f4a5b6c7d";
        let sign = |method: &str, content: &str| {
            let (key, content) = (secret.as_bytes(), content.as_bytes());
            let code = match method {
                "hmacSha1" => code(Hmac::<Sha1>::new_from_slice(key).unwrap(), content),
                _ => code(Hmac::<Sha256>::new_from_slice(key).unwrap(), content),
            };
            code.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        for method in ["hmacSha1", "hmacSha256", "HMACSHA1"] {
            for (sent, signed) in [
                ("secureMode", "secureMode"),
                ("securemode", "securemode"),
                ("securemode", "secureMode"),
                ("secureMode", "securemode"),
            ] {
                let content = format!("deviceId=d1,timestamp=5,{signed}=1,accessType=1");
                let password = sign(if method == "hmacSha256" { method } else { "hmacSha1" }, &content);
                for gap in ["", " ", "\r\n    "] {
                    let user =
                        format!("d1|signMethod={method},{gap}timestamp=5,{gap}{sent}={gap}1{gap},accessType=1{gap}");
                    assert!(is_proven("tuyalink_d1", &user, &password, secret), "{user:?}");
                    assert!(!is_proven("tuyalink_d1", &user, &password, "5c1e2d3f4a5b6c7e"));
                    assert!(!is_proven("tuyalink_d1", &user.replace("=5", "=6"), &password, secret));
                }
            }
        }
    }

    #[test]
    fn linkkit_on_several_lines() {
        let (secret, user) = ("ds_0123456789abcdef0123456789abcd", "dev001&a1K1PK00001");
        let password = "6234144042f230c63eb75d073e977f224ea317d62203f87f3bd7b67468734f07";
        for client in [
            "a1K1PK00001&dev001|securemode=2,\n    signmethod=hmacsha256,\n    timestamp=1530262800000|",
            "a1K1PK00001&dev001|\r\n\tsecuremode = 2 ,\r\n\tsignmethod = hmacsha256 ,\r\n\ttimestamp = 1530262800000\r\n|\r\n",
            "\n  a1K1PK00001&dev001 |signMethod=hmacsha256,timestamp=1530262800000,\n|",
        ] {
            assert!(is_proven(client, user, password, secret), "{client:?}");
            assert!(is_proven(client, &format!(" {user}\n"), password, secret), "{client:?}");
            assert!(!is_proven(&client.replace("00000", "00001"), user, password, secret), "{client:?}");
        }
    }

    #[test]
    fn linkkit_vectors() {
        let (secret, user) = ("ds_0123456789abcdef0123456789abcd", "dev001&a1K1PK00001");
        let c = "a1K1PK00001.dev001|timestamp=2524608000000,_v=sdk-c-3.0.1,securemode=3,signmethod=hmacsha256,lan=C|";
        for (client, password) in [
            (
                "a1K1PK00001&dev001|securemode=3,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1530262800|",
                "b13dc3fa5aa5f11c6408a5d1c76f222f39aa33e3",
            ),
            (c, "A1875DD2B488B6FEF2DC1CD337DE1C83210D8DA2249AFDB252053B9891AC3498"),
            (
                "a1K1PK00001&dev001|securemode=2,signmethod=hmacsha256,timestamp=1530262800000|",
                "6234144042f230c63eb75d073e977f224ea317d62203f87f3bd7b67468734f07",
            ),
            (
                "a1K1PK00001&dev001|securemode=2,signmethod=hmacmd5,timestamp=1530262800000|",
                "b467fd1bbc5f5be17994d0830a20dbf2",
            ),
            ("a1K1PK00001.dev001|securemode=3,signmethod=hmacsha1|", "fe1c4b70361a35c7da9345bcafb253b957056c23"),
            ("a1K1PK00001.dev001|securemode=3|", "a5928ac8108ceaa94243f349d8648772"),
        ] {
            assert!(is_proven(client, user, password, secret), "{client}");
            assert!(!is_proven(client, "dev002&a1K1PK00001", password, secret), "{client}");
            assert!(!is_proven(client, user, &password[2..], secret), "{client}");
        }
        let auto = |client: &str| match claim(&hello(client, user, "00")).unwrap().wish {
            Wish::Session(_, protocol) => protocol,
            Wish::Register(..) | Wish::Listen(_) => panic!("a session is wanted"),
        };
        assert_eq!(auto("x|_ss=1|"), Protocol::LinkKit { auto_subscribe: true });
        assert_eq!(auto("x||"), Protocol::LinkKit { auto_subscribe: false });
    }

    #[test]
    fn registration_vector() {
        let (client, user) = (
            "dev001.a1K1PK00001|random=RRRRRRRRRRRRRRR,authType=register,securemode=2,signmethod=hmacsha256|",
            "dev001&a1K1PK00001",
        );
        let sign = "96951c4a33587df64c4947989ad5cfbae3d3e92756a8834ff3baa7c16d175f41";
        let claim = claim(&hello(client, user, sign)).unwrap();
        assert!(matches!(&claim.wish, Wish::Register(name, Registering::Known) if name.device_name == "dev001"));
        assert!(claim.proof.is_proven_by("ps_0123456789abcdef"));
        assert!(!claim.proof.is_proven_by("ps_0123456789abcdee"));
    }

    #[test]
    fn sub_device_vectors() {
        let fields = "clientIda1SUB.sub1deviceNamesub1productKeya1SUBtimestamp1530262800000";
        let sign = "31a0daf560b9f560988f2a376c89abf34280549d34250e671d9f79cab3a2752d";
        assert!(Proof::of("hmacSha256", fields.to_owned(), sign).unwrap().is_proven_by("subsecret"));
        let full = fields.replace("a1SUB.sub1d", "a1SUB.sub1|lan=Python,_v=2.2.1,_ss=1|d");
        let sign = "5ffd88ab908301c02e4944b1a16e9ed1497f8c3a739fc47d6dd41ee3d7ca546d";
        assert!(Proof::of("hmacSha256", full, sign).unwrap().is_proven_by("subsecret"));
    }

    #[test]
    fn what_is_of_neither_protocol() {
        for (client, user, password) in [
            ("", "", ""),
            ("x", "a&b", "00"),
            ("x|securemode=2|", "a", "00"),
            ("x|securemode=2|", "a&b", "0g"),
            ("x|securemode=2|", "a&b", "0"),
            ("x|signmethod=none|", "a&b", "00"),
            ("x|authType=register|", "a&b", "00"),
            ("x|authType=other,random=1|", "a&b", "00"),
            ("tuyalink_x", "x", "00"),
            ("tuyalink_x", "y|signMethod=hmacSha256,timestamp=1,secureMode=1,accessType=1", "00"),
            ("tuyalink_x", "x|signMethod=hmacMd5,timestamp=1,secureMode=1,accessType=1", "00"),
            ("tuyalink_x", "x|timestamp=1", "00"),
        ] {
            assert!(claim(&hello(client, user, password)).is_none(), "{client} {user}");
        }
    }
}
