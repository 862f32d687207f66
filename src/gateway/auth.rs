//! Who a device is, from its CONNECT (contract tuya §6.1, aliyun §6.1). Pure: what is claimed, and whether a secret
//! proves it.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::device::FactoryName;
use crate::domain::session::DeviceClaim;
use crate::hex;

/// Digits of the longest proof, an HMAC-SHA256.
const PROOF_DIGITS_MAX: usize = 64;

/// What a CONNECT claims to be, and what proves it.
pub struct Claim {
    /// What is claimed.
    pub intent: Intent,
    /// What should prove it.
    pub proof: Proof,
}

/// What a client connects for.
pub enum Intent {
    /// A device's session, by the device's own secret.
    Session {
        /// The device.
        who: DeviceClaim,
        /// Whether it is sent everything without any subscription.
        receives_all: bool,
    },
    /// To be given the device's secret, by its product's.
    Register(FactoryName, Registration),
}

/// How a device registers (contract aliyun §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// A device that exists.
    Existing,
    /// Also one that does not.
    New,
}

/// What should prove that somebody has a secret. No `Debug`.
pub struct Proof {
    /// How it is made.
    pub method: Method,
    /// Forms of what is signed; one of them must be.
    pub contents: Vec<String>,
    /// The bytes that were given.
    pub given: Vec<u8>,
}

/// How a proof is made of a secret.
#[derive(Clone, Copy)]
pub enum Method {
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-MD5.
    Md5,
    /// The secret itself.
    Same,
}

/// The name, as it was spelled, and the value of a field among `name=value,…`. White space and line breaks around both
/// are no part of them: clients write their templates on several lines.
pub fn field<'a>(fields: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let pairs = fields.split(',').filter_map(|pair| pair.split_once('='));
    let mut pairs = pairs.map(|(name, value)| (name.trim(), value.trim()));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name))
}

/// A method by the name that both vendors have for it.
pub fn method(name: &str) -> Option<Method> {
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
        Some(Self { method: method(method_name)?, contents: vec![content], given: digits(sign.as_bytes())? })
    }

    /// The secret itself.
    pub fn same(given: &[u8]) -> Self {
        Self { method: Method::Same, contents: vec![String::new()], given: given.to_vec() }
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

/// The bytes of a proof's digits in either case: the vendor's C library writes capitals, its Python library does not.
pub fn digits(digits: &[u8]) -> Option<Vec<u8>> {
    if (1..=PROOF_DIGITS_MAX).contains(&digits.len()) { hex::decode(digits) } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::of_client_id;
    use super::*;
    use crate::mqtt::codec::{Connect, SessionOptions};

    fn connect(client_id: &str, username: &str, password: &str) -> Connect {
        let password = bytes::Bytes::copy_from_slice(password.as_bytes());
        let options = SessionOptions { keep_alive_s: 60, is_clean_start: true, outlives_connection: false };
        Connect { client_id: client_id.to_owned(), username: username.to_owned(), password, options }
    }

    fn claim(connect: &Connect) -> Option<Claim> {
        of_client_id(&connect.client_id)?.claim(connect)
    }

    fn is_proven(client_id: &str, username: &str, password: &str, secret: &str) -> bool {
        claim(&connect(client_id, username, password)).is_some_and(|claim| claim.proof.is_proven_by(secret))
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
            hex::encode(code)
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
        let receives_all = |client: &str| match claim(&connect(client, user, "00")).unwrap().intent {
            Intent::Session { receives_all, .. } => receives_all,
            Intent::Register(..) => panic!("a session is wanted"),
        };
        assert!(receives_all("x|_ss=1|") && !receives_all("x||"));
    }

    #[test]
    fn registration_vector() {
        let (client, user) = (
            "dev001.a1K1PK00001|random=RRRRRRRRRRRRRRR,authType=register,securemode=2,signmethod=hmacsha256|",
            "dev001&a1K1PK00001",
        );
        let sign = "96951c4a33587df64c4947989ad5cfbae3d3e92756a8834ff3baa7c16d175f41";
        let claim = claim(&connect(client, user, sign)).unwrap();
        assert!(
            matches!(&claim.intent, Intent::Register(name, Registration::Existing) if name.device_name == "dev001")
        );
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
            assert!(claim(&connect(client, user, password)).is_none(), "{client} {user}");
        }
    }
}
