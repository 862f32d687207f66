//! A client of the Tuya Cloud OpenAPI. It signs by the vendor's document (contract tuya §1.3), not with the server's
//! code.

use std::cell::RefCell;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use ingle::app::SystemClock;
use ingle::domain::Clock;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::TestCloud;
pub use super::http::{Answer, Request, send};

/// A project's credentials at a server.
pub struct TuyaApp {
    pub api: SocketAddr,
    pub client_id: String,
    pub secret: String,
    /// The time that it sends. `None` means the system time.
    pub t: Option<i64>,
    token: RefCell<Option<String>>,
}

impl TuyaApp {
    pub fn new(cloud: &TestCloud, client_id: &str, secret: &str) -> Self {
        Self {
            api: cloud.api,
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            t: cloud.clock.as_ref().map(|_| cloud.now_ms()),
            token: RefCell::new(None),
        }
    }

    /// The access token, which is fetched once.
    pub fn token(&self) -> String {
        if let Some(token) = &*self.token.borrow() {
            return token.clone();
        }
        let answer = self.send(&self.signed("GET", "/v1.0/token?grant_type=1", b"", ""));
        let token = answer.body["result"]["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        *self.token.borrow_mut() = Some(token.clone());
        token
    }

    /// Uses this access token.
    pub fn hold(&self, token: &str) {
        *self.token.borrow_mut() = Some(token.to_owned());
    }

    /// Discards the access token.
    pub fn forget_token(&self) {
        *self.token.borrow_mut() = None;
    }

    pub fn get(&self, target: &str) -> Value {
        self.call("GET", target, "").body
    }

    /// The reported values in the status of a device, without the defaults of values that were not reported.
    pub fn reported(&self, id: &str) -> Value {
        let list = |answer: &Value| answer.as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        let shadow = self.get(&format!("/v2.0/cloud/thing/{id}/shadow/properties"));
        let shadow = list(&shadow["result"]["properties"]);
        let status = list(&self.get(&format!("/v1.0/devices/{id}"))["result"]["status"]);
        let is_reported = |point: &Value| {
            let property = shadow.iter().find(|property| property["code"] == point["code"]);
            assert!(property.is_none_or(|property| property["value"] == point["value"]), "{point} {property:?}");
            property.is_none_or(|property| property["time"] != 0)
        };
        status.into_iter().filter(is_reported).collect()
    }

    pub fn put(&self, target: &str, body: Value) -> Value {
        self.call("PUT", target, &body.to_string()).body
    }

    pub fn post(&self, target: &str, body: Value) -> Value {
        self.call("POST", target, &body.to_string()).body
    }

    pub fn delete(&self, target: &str) -> Value {
        self.call("DELETE", target, "").body
    }

    /// A signed business call.
    pub fn call(&self, method: &str, target: &str, body: &str) -> Answer {
        self.send(&self.signed(method, target, body.as_bytes(), &self.token()))
    }

    /// A request that is signed by the new rule. The query is signed as it is, so it should be sorted.
    pub fn signed(&self, method: &str, target: &str, body: &[u8], token: &str) -> Request {
        let t = self.t.unwrap_or_else(|| SystemClock.now_ms());
        let string = format!("{method}\n{}\n\n{target}", hex(&Sha256::digest(body)));
        let sign = hmac_upper(&self.secret, &format!("{}{token}{t}{string}", self.client_id));
        let mut headers = vec![
            ("client_id".to_owned(), self.client_id.clone()),
            ("t".to_owned(), t.to_string()),
            ("sign".to_owned(), sign),
            ("sign_method".to_owned(), "HMAC-SHA256".to_owned()),
        ];
        if !token.is_empty() {
            headers.push(("access_token".to_owned(), token.to_owned()));
        }
        Request { method: method.to_owned(), target: target.to_owned(), headers, body: body.to_vec() }
    }

    /// Sends a request unchanged. Panics if the answer is not JSON.
    pub fn send(&self, request: &Request) -> Answer {
        send(self.api, request)
    }
}

/// `HMAC-SHA256` in upper-case hex, the last step of every signing rule of the vendor.
pub fn hmac_upper(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes()).to_uppercase()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
