//! The address, credentials and topics with which an app subscribes to its devices over MQTT (contract tuya §5.2). The
//! messages are in `feed`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::header;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, SignedRequest};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::feed::{MessageForm, SUBSCRIPTION_LIFE_MS};
use crate::domain::{Error, Uid};

/// The addresses of the live feed, from the settings and the open listeners.
#[derive(Clone, Debug, Default)]
pub struct FeedAddresses {
    /// The complete URL, if the settings give one.
    pub url: String,
    /// The port without TLS.
    pub plain: Option<u16>,
    /// The port with TLS.
    pub tls: Option<u16>,
}

impl FeedAddresses {
    /// The URL for a client that reached the server at `host`. It uses TLS if the client did, because such a client
    /// trusts the certificate.
    fn url(&self, host: &str, encrypted: bool) -> Option<String> {
        if !self.url.is_empty() {
            return Some(self.url.clone());
        }
        let tls = self.tls.map(|port| format!("ssl://{host}:{port}"));
        let plain = self.plain.map(|port| format!("tcp://{host}:{port}"));
        if encrypted { tls.or(plain) } else { plain.or(tls) }
    }
}

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(access_config))
        .routes(routes!(iot03_access_config))
        .routes(routes!(old_access_config))
}

/// Who wants to listen.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct AccessConfigBody {
    /// Whose devices; by default those of whoever asks.
    uid: Option<String>,
    /// Distinguishes several subscribers of one user.
    link_id: String,
    /// `mqtt`.
    link_type: Option<String>,
    /// `device`.
    topics: Option<String>,
    /// `1.0` (AES-128-ECB, the default) or `2.0` (AES-128-GCM).
    msg_encrypted_version: Option<String>,
}

/// What a listener connects with.
#[derive(Serialize, ToSchema)]
struct AccessConfigView {
    /// `tcp://` or `ssl://`, host and port.
    url: String,
    client_id: String,
    username: String,
    password: String,
    /// What to subscribe to, by the kind of topic.
    source_topic: BTreeMap<&'static str, String>,
    /// Where nothing is taken: commands go by the API.
    sink_topic: BTreeMap<&'static str, String>,
    /// Seconds, after which it must ask again.
    expire_time: i64,
}

/// Lets an app listen by MQTT to what happens to the devices that it sees.
#[utoipa::path(post, path = "/v1.0/iot-03/open-hub/access-config", tag = "open_hub", request_body = AccessConfigBody,
    responses((status = 200, body = Envelope<AccessConfigView>)))]
async fn iot03_access_config(call: AppCall) -> Reply {
    let body = call.body()?;
    let uid = body.text("uid", 64)?.map(Uid);
    let link = body.required_text("link_id", 128)?;
    if body.text("link_type", 16)?.is_some_and(|kind| kind != "mqtt") {
        return Err(Error::OutOfRange { param: "link_type", allowed: "mqtt".to_owned() }.into());
    }
    if body.text("topics", 256)?.is_some_and(|topics| topics.split(',').all(|topic| topic.trim() != "device")) {
        return Err(Error::OutOfRange { param: "topics", allowed: "device".to_owned() }.into());
    }
    let form = match body.text("msg_encrypted_version", 8)?.as_deref() {
        None | Some("1.0") => MessageForm::Ecb,
        Some("2.0") => MessageForm::Gcm,
        Some(_) => {
            return Err(Error::OutOfRange { param: "msg_encrypted_version", allowed: "1.0 or 2.0".to_owned() }.into());
        }
    };
    let url = call.feed_addresses().url(host(&call), call.peer.encrypted);
    let url =
        url.ok_or_else(|| Failure::new(Code::SYSTEM, "there is no listener for MQTT: see [mqtt] in the settings"))?;
    let credentials = call.cloud().subscribe(&call.caller, uid.as_ref(), link, form).await?;
    call.answer(AccessConfigView {
        url,
        client_id: credentials.name.clone(),
        username: credentials.name,
        password: credentials.password,
        source_topic: BTreeMap::from([("device", credentials.topic)]),
        sink_topic: BTreeMap::from([("device", "cloud/token/out/{device_id}".to_owned())]),
        expire_time: SUBSCRIPTION_LIFE_MS / 1000,
    })
}

/// As `/v1.0/iot-03/open-hub/access-config`.
#[utoipa::path(post, path = "/v1.0/open-hub/access/config", tag = "open_hub", request_body = AccessConfigBody,
    responses((status = 200, body = Envelope<AccessConfigView>)))]
async fn access_config(call: AppCall) -> Reply {
    iot03_access_config(call).await
}

/// As `/v1.0/iot-03/open-hub/access-config`.
#[utoipa::path(post, path = "/v1.0/open-iot-hub/access/config", tag = "open_hub", request_body = AccessConfigBody,
    responses((status = 200, body = Envelope<AccessConfigView>)))]
async fn old_access_config(call: AppCall) -> Reply {
    iot03_access_config(call).await
}

/// The host to which the client sent the request.
fn host(call: &SignedRequest) -> &str {
    let host = call.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    // Without the port; an IPv6 address keeps its brackets.
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}
