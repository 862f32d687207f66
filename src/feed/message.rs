//! The messages of the feed, in the vendor's form and encryption (contract tuya §5.2–5.4).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{Array, BlockCipherEncrypt};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde_json::{Map, Value as Json, json};

use crate::domain::feed::{MessageForm, News};
use crate::domain::{Device, EventType, NewEvent, Uid};
use crate::thing_model::tuya_value;
use crate::{hex, random};

/// Bytes of a key and of a block.
const BLOCK: usize = 16;
const IV_BYTES: usize = 12;

/// The key of a subscriber's messages: the middle of its password.
pub struct MessageKey([u8; BLOCK]);

impl MessageKey {
    /// `None` for a password that is too short.
    pub fn of(password: &str) -> Option<Self> {
        password.as_bytes().get(8..8 + BLOCK)?.try_into().ok().map(Self)
    }
}

/// A message before it is encrypted.
pub struct OutgoingMessage {
    protocol: u8,
    text: String,
}

/// Reports of data points.
const REPORT: u8 = 4;
/// Everything else.
const OTHER: u8 = 20;

impl OutgoingMessage {
    /// The message as it is sent to a subscriber, with the time in seconds; `None` when the system gives no randomness.
    pub fn encrypted(&self, key: &MessageKey, form: MessageForm, now_ms: i64) -> Option<Vec<u8>> {
        let time_s = now_ms / 1000;
        let data = match form {
            MessageForm::Ecb => STANDARD.encode(ecb(key, self.text.as_bytes())),
            MessageForm::Gcm => STANDARD.encode(gcm(key, self.text.as_bytes(), time_s, &random::bytes().ok()?)?),
        };
        let key_text = String::from_utf8_lossy(&key.0);
        let signed = format!("data={data}||protocol={}||pv=2.0||t={time_s}||{key_text}", self.protocol);
        let sign = hex::encode(Md5::digest(signed));
        Some(
            format!(r#"{{"data":"{data}","protocol":{},"pv":"2.0","sign":"{sign}","t":{time_s}}}"#, self.protocol)
                .into_bytes(),
        )
    }
}

/// AES-128-ECB with PKCS#7.
fn ecb(key: &MessageKey, text: &[u8]) -> Vec<u8> {
    let cipher = Aes128::new(&Array::from(key.0));
    let padding = BLOCK - text.len() % BLOCK;
    let mut bytes = text.to_vec();
    bytes.resize(text.len() + padding, padding as u8);
    for block in bytes.chunks_exact_mut(BLOCK) {
        if let Ok(block) = <&mut Array<u8, _>>::try_from(block) {
            cipher.encrypt_block(block);
        }
    }
    bytes
}

/// AES-128-GCM: the length of the IV in four bytes, the IV, the text and its tag. The time is authenticated.
fn gcm(key: &MessageKey, text: &[u8], time_s: i64, iv: &[u8; IV_BYTES]) -> Option<Vec<u8>> {
    let cipher = Aes128Gcm::new_from_slice(&key.0).ok()?;
    let time = time_s.to_string();
    let sealed = cipher.encrypt(&Nonce::from(*iv), Payload { msg: text, aad: time.as_bytes() }).ok()?;
    let length = u32::try_from(IV_BYTES).ok()?.to_be_bytes();
    Some([&length[..], iv, &sealed].concat())
}

/// Writes the messages about one device.
pub struct Publisher<'a>(pub &'a Device);

impl Publisher<'_> {
    /// The messages about rows of its log: values together until a code comes again, and each connect and disconnect.
    pub fn rows<'a>(&self, rows: impl Iterator<Item = &'a NewEvent>) -> Vec<OutgoingMessage> {
        let (mut status, mut messages) = (Vec::<Json>::new(), Vec::new());
        for row in rows {
            match (row.kind, &row.code, &row.value) {
                (EventType::DataPoint, Some(code), Some(value)) => {
                    if status.iter().any(|point| point["code"] == **code) {
                        messages.push(self.report(&std::mem::take(&mut status)));
                    }
                    status.push(self.point(code, value.as_json(), row.time_ms));
                }
                (EventType::Online, ..) => messages.push(self.presence("online", row.time_ms)),
                (EventType::Offline, ..) => messages.push(self.presence("offline", row.time_ms)),
                _ => {}
            }
        }
        if !status.is_empty() {
            messages.push(self.report(&status));
        }
        messages
    }

    fn report(&self, status: &[Json]) -> OutgoingMessage {
        let data_id = u128::from_be_bytes(random::bytes().unwrap_or_default());
        let text = json!({"dataId": format!("{data_id:032x}"), "devId": self.id(), "productKey": self.product(),
            "status": status});
        OutgoingMessage { protocol: REPORT, text: text.to_string() }
    }

    /// A value, also under the number of its data point; the time in seconds, as text (decision 0012).
    fn point(&self, code: &str, value: &str, time_ms: i64) -> Json {
        let function = self.0.product.function(code);
        let value: Json = serde_json::from_str(&tuya_value(function, value.into())).unwrap_or_default();
        let mut point = Map::new();
        if let Some(function) = function {
            point.insert(function.dp_id.to_string(), value.clone());
        }
        point.insert("code".to_owned(), code.into());
        point.insert("t".to_owned(), (time_ms / 1000).to_string().into());
        point.insert("value".to_owned(), value);
        point.into()
    }

    fn presence(&self, code: &str, time_ms: i64) -> OutgoingMessage {
        self.other(code, &json!({"devId": self.id(), "time": time_ms / 1000}), time_ms)
    }

    /// The message about something else.
    pub fn news(&self, news: &News, now_ms: i64) -> Option<OutgoingMessage> {
        let owner = self.0.owner.as_ref().map_or("", Uid::as_str);
        Some(match news {
            News::Renamed(name) => {
                self.other("nameUpdate", &json!({"devId": self.id(), "uid": owner, "name": name}), now_ms)
            }
            News::FunctionNamed(code, name) => {
                let dp_id = self.0.product.function(code)?.dp_id;
                self.other("dpNameUpdate", &json!({"devId": self.id(), "dpId": dp_id, "name": name}), now_ms)
            }
            News::Bound(uid) => {
                let data = json!({"devId": self.id(), "uid": uid.as_str(), "ownerId": self.home(), "uuid": self.0.uuid,
                    "time": now_ms});
                self.other("bindUser", &data, now_ms)
            }
        })
    }

    /// The message that the subscriber no longer has the device, since `at_ms`.
    pub fn taken(&self, at_ms: i64) -> OutgoingMessage {
        let owner = self.0.owner.as_ref().map_or("", Uid::as_str);
        self.other("delete", &json!({"devId": self.id(), "uid": owner, "ownerId": self.home()}), at_ms)
    }

    fn other(&self, code: &str, data: &Json, time_ms: i64) -> OutgoingMessage {
        let text = json!({"bizCode": code, "bizData": data, "devId": self.id(), "productKey": self.product(),
            "ts": time_ms, "uuid": self.0.uuid});
        OutgoingMessage { protocol: OTHER, text: text.to_string() }
    }

    fn id(&self) -> &str {
        self.0.id.as_str()
    }

    fn product(&self) -> &str {
        self.0.product.id.as_str()
    }

    fn home(&self) -> String {
        self.0.home.map(|home| home.0.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors that the vendor's own Python SDK decodes (contract tuya §5.2).
    #[test]
    fn both_forms_of_the_vectors() {
        let key = MessageKey::of("8f14e45fceea167a5a36dedd4bea2543").unwrap();
        assert_eq!(&key.0, b"ceea167a5a36dedd");
        let text = r#"{"dataId":"AAXI3c1i6TY","devId":"60613135b121cddc2941","productKey":"g0er6hSKgMqr1234","status":[{"code":"switch_1","value":false,"t":1628229842692,"1":"false"}]}"#;
        let of_ecb = "ooATQrzkw2KZN9zPxyE8DRZZQIsgFp/Ppy84eS0FssBnSI/Rb9iMECP6g6aMW5eoQTFnJfY5qTeYGmJKmks5tlNU2JiuBxCa0fD4TRj8+xYhSlB4oiwZuH39YWE7bZhQ7OjeMvKGw/T1wX9DtQwaxGgVHJalqWSdnjE90Q2sbaM3rb6nFuHjUDQAmyGuCHe/gtddQxcKcvSfR8Ljc7rnUeVe4P6KhF9xzaQwctg86jk=";
        assert_eq!(STANDARD.encode(ecb(&key, text.as_bytes())), of_ecb);
        let of_gcm = "AAAADDAxMjM0NTY3ODlhYogu3D3vqa5c+cURfk/gmHTLzYaQ09CoedThfJ2CcwwZpi9+egQHSSTrWgY1fTYvyYVuM6KvEI/S6PswVr+gDVjGCZfIjfGhmwfJtv/JJvk24aBxMvt3sfN+Si4xZ/ixxhnhGUE2yE+my4l/SnX2nXrT+AbHS2QUeHSF2bL6Au+g8fUUrPDdxNkeC8rBkWBh7e2qFfDeTGYOebxwjE5QKj4eOsPk3xPl0kvs7TXN7g/AHeM=";
        assert_eq!(STANDARD.encode(gcm(&key, text.as_bytes(), 1_628_229_842, b"0123456789ab").unwrap()), of_gcm);
        assert!(MessageKey::of("short").is_none());
    }
}
