//! A client of the Alibaba Living cloud API. It signs by the vendor's document (contract aliyun §1.3), not with the
//! server's code.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ingle::app::SystemClock;
use ingle::domain::Clock;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha2::Sha256;

use super::TestCloud;
use super::http::{Answer, Request, send};

/// A project's AppKey at a server.
pub struct AliyunApp {
    pub api: SocketAddr,
    pub app_key: String,
    pub secret: String,
    pub project_id: String,
    /// The time that it sends. `None` means the system time.
    pub t: Option<i64>,
    token: RefCell<Option<String>>,
}

impl AliyunApp {
    pub fn new(cloud: &TestCloud, app_key: &str, secret: &str, project_id: &str) -> Self {
        Self {
            api: cloud.api,
            app_key: app_key.to_owned(),
            secret: secret.to_owned(),
            project_id: project_id.to_owned(),
            t: cloud.clock.as_ref().map(|_| cloud.now_ms()),
            token: RefCell::new(None),
        }
    }

    /// The same client with its token, for a server that was restarted.
    pub fn moved_to(self, cloud: &TestCloud) -> Self {
        Self { api: cloud.api, ..self }
    }

    /// A new cloudToken.
    pub fn new_token(&self) -> String {
        let params = json!({"grantType": "project", "res": self.project_id});
        let answer = self.send("/cloud/token", &envelope("1.0.1", None, &params));
        answer.body["data"]["cloudToken"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// The cloudToken, which is fetched once.
    pub fn token(&self) -> String {
        self.token.borrow_mut().get_or_insert_with(|| self.new_token()).clone()
    }

    /// Calls the first version of an endpoint with a cloudToken.
    pub fn call(&self, path: &str, params: Value) -> Answer {
        self.call_version(path, "1.0.0", params)
    }

    /// Calls an endpoint with a cloudToken.
    pub fn call_version(&self, path: &str, version: &str, params: Value) -> Answer {
        self.send(path, &envelope(version, Some(&self.token()), &params))
    }

    /// The data of a call that succeeds.
    pub fn data(&self, path: &str, params: Value) -> Value {
        let answer = self.call_version(path, "1.0.9", params);
        assert_eq!((answer.status, answer.code()), (200, 200), "{path}: {answer:?}");
        answer.body["data"].clone()
    }

    /// The code of a call that fails.
    pub fn code(&self, path: &str, params: Value) -> i64 {
        self.call_version(path, "1.0.9", params).code()
    }

    /// Signs and sends a body.
    pub fn send(&self, path: &str, body: &Value) -> Answer {
        send(self.api, &self.signed(path, body.to_string().as_bytes()))
    }

    /// A signed request in the form of the real clients, with a new nonce.
    pub fn signed(&self, path: &str, body: &[u8]) -> Request {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nonce = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let t = self.t.unwrap_or_else(|| SystemClock.now_ms()).to_string();
        let mut request = Request::new("POST", path)
            .with("Accept", "application/json")
            .with("Content-Type", "application/json")
            .with("Content-MD5", &STANDARD.encode(Md5::digest(body)))
            .with("X-Ca-Key", &self.app_key)
            .with("X-Ca-Nonce", &nonce)
            .with("X-Ca-Timestamp", &t)
            .with("X-Ca-Signature-Headers", "X-Ca-Key,X-Ca-Nonce,X-Ca-Timestamp");
        request.body = body.to_vec();
        self.sign(request)
    }

    /// Signs a request again. The headers that it lists must be sorted.
    pub fn sign(&self, request: Request) -> Request {
        let header = |name: &str| {
            let found = request.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.as_str())
        };
        let mut string = format!("{}\n", request.method);
        for name in ["accept", "content-md5", "content-type", "date"] {
            string.push_str(&format!("{}\n", header(name)));
        }
        for name in header("x-ca-signature-headers").split(',').filter(|name| !name.is_empty()) {
            string.push_str(&format!("{name}:{}\n", header(name)));
        }
        string.push_str(&request.target);
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap().chain_update(string);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        request.with("X-Ca-Signature", &signature)
    }
}

/// The vendor's envelope.
pub fn envelope(version: &str, token: Option<&str>, params: &Value) -> Value {
    json!({"id": 1_508_232_047_194_u64, "version": "1.0", "params": params,
        "request": {"apiVer": version, "cloudToken": token}})
}
