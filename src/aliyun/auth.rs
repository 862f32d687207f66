//! Authentication of calls (contract aliyun §1, §3). A handler receives a [`Call`] only after the signature and the
//! cloudToken were verified, so a handler that omits the check does not compile.

use std::sync::Arc;

use axum::extract::{FromRequest, OriginalUri, Request};
use axum::http::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Aliyun;
use super::devices::{DeviceParams, UserDevicesText};
use super::params::{Envelope, Version};
use super::reply::{self, Failure, Gate, Reply, Slot};
use super::sign::{self, Method, SignedParts};
use crate::actor;
use crate::domain::audit::ActorKind;
use crate::domain::binding::BoundDevices;
use crate::domain::replay::{RequestId, Seen};
use crate::domain::{Caller, Cloud, Project};
use crate::http::{self, BodyError, Rendered, Sender};

const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The largest accepted difference between the time of a request and the server's clock.
const WINDOW_MS: i64 = 15 * 60 * 1000;
/// How long the nonce of a request without a time is stored.
const UNDATED_MS: i64 = 24 * 3600 * 1000;

/// A cloud call: signed, with a valid cloudToken if the project requires one.
pub struct Call {
    /// The project that makes the call.
    pub caller: Caller,
    request: SignedRequest,
}

/// A call that needs only a signature. If it carries a cloudToken, the token must still be valid.
pub struct KeyCall {
    /// The project that makes the call.
    pub caller: Caller,
    request: SignedRequest,
}

/// A request for a cloudToken: signed; a token that it carries is ignored.
pub struct TokenCall {
    /// The project whose AppSecret signed it.
    pub project: Arc<Project>,
    request: SignedRequest,
}

/// A request whose signature was verified.
pub struct SignedRequest {
    aliyun: Arc<Aliyun>,
    envelope: Envelope,
    host: String,
}

impl SignedRequest {
    /// The cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.aliyun.cloud
    }

    /// The requested version of the endpoint.
    pub fn version(&self) -> Version {
        self.envelope.version
    }

    /// The cached lists of devices.
    pub fn user_devices(&self) -> &Rendered<BoundDevices, UserDevicesText> {
        &self.aliyun.user_devices
    }

    /// The value of `owned` for a sharee.
    pub fn sharee_owned(&self) -> u8 {
        self.aliyun.sharee_owned
    }

    /// The address for devices from the settings; empty if it is not set.
    pub fn mqtt_endpoint(&self) -> &str {
        &self.aliyun.mqtt_endpoint
    }

    /// The host and port to which the client sent the request.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The endpoint's parameters.
    ///
    /// # Errors
    /// Code 460.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, Failure> {
        self.envelope.params()
    }

    /// The envelope of a result that is already JSON; `mend` updates it in place.
    pub fn answer_written(&self, data: &[u8], mend: impl FnOnce(&mut [u8])) -> Reply {
        reply::success_written(&self.envelope.reply_options.id, data, mend)
    }

    /// The envelope of a result.
    pub fn answer<T: Serialize>(&self, data: T) -> Reply {
        reply::success(data, &self.envelope.reply_options.id)
    }
}

macro_rules! is_a_signed_request {
    ($($name:ident),*) => {$(
        impl std::ops::Deref for $name {
            type Target = SignedRequest;

            fn deref(&self) -> &SignedRequest {
                &self.request
            }
        }
    )*};
}

is_a_signed_request!(Call, KeyCall, TokenCall);

impl FromRequest<Arc<Aliyun>> for Call {
    type Rejection = Failure;

    async fn from_request(request: Request, aliyun: &Arc<Aliyun>) -> Result<Self, Failure> {
        let (project, request) = authenticate(request, aliyun).await?;
        let caller = aliyun.cloud.cloud_caller(project, request.envelope.cloud_token.as_deref()).await?;
        Ok(Self { caller, request })
    }
}

impl FromRequest<Arc<Aliyun>> for KeyCall {
    type Rejection = Failure;

    async fn from_request(request: Request, aliyun: &Arc<Aliyun>) -> Result<Self, Failure> {
        let (project, request) = authenticate(request, aliyun).await?;
        let caller = aliyun.cloud.key_caller(project, request.envelope.cloud_token.as_deref()).await?;
        Ok(Self { caller, request })
    }
}

impl FromRequest<Arc<Aliyun>> for TokenCall {
    type Rejection = Failure;

    async fn from_request(request: Request, aliyun: &Arc<Aliyun>) -> Result<Self, Failure> {
        let (project, request) = authenticate(request, aliyun).await?;
        Ok(Self { project, request })
    }
}

/// Verifies the signature and reads the envelope.
async fn authenticate(request: Request, aliyun: &Arc<Aliyun>) -> Result<(Arc<Project>, SignedRequest), Failure> {
    let now_ms = aliyun.cloud.now_ms();
    let (parts, body) = request.into_parts();
    let app_key = signed_header(&parts.headers, "x-ca-key")?;
    let project = match app_key {
        "" => None,
        app_key => aliyun.cloud.project_of_key(app_key).await.map_err(store_failure)?,
    };
    let project = project.ok_or_else(|| Failure::at_gate(Gate::APP_KEY, "no project has that X-Ca-Key"))?;
    // The body is read only now, so that a client without a valid project uses no memory for it.
    let sender = Sender { project: Some(project.no.0), address: http::peer(&parts.extensions).address };
    let body = aliyun.bodies.receive(body, BODY_BYTES_MAX, sender).await.map_err(refused_body)?;
    let wire = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let signed = SignedParts {
        method: parts.method.as_str(),
        path: wire.path(),
        query: wire.query(),
        headers: &parts.headers,
        body: &body,
    };
    let freshness = check_signed(aliyun, &project, &signed, now_ms)?;
    check_replay(aliyun, &project, signed_header(&parts.headers, "x-ca-nonce")?, &signed, freshness).await?;

    let envelope = Envelope::parse(&body)?;
    let subject = http::Subject::of(&parts.extensions);
    subject.set_project(&project.name);
    if let Ok(DeviceParams { iot_id: Some(id), .. } | DeviceParams { device_name: Some(id), .. }) = envelope.params() {
        subject.set_device(&id);
    }
    if let Some(slot) = parts.extensions.get::<Slot>() {
        let _ = slot.0.set(envelope.reply_options.clone());
    }
    actor::identify(|actor| {
        (actor.kind, actor.name, actor.call) = (ActorKind::Project, project.name.clone(), http::call(&parts));
    });
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    Ok((project, SignedRequest { aliyun: aliyun.clone(), envelope, host }))
}

/// Whether a request has a time that its signature covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Dated,
    Undated,
}

fn check_signed(
    aliyun: &Aliyun,
    project: &Project,
    signed: &SignedParts<'_>,
    now_ms: i64,
) -> Result<Freshness, Failure> {
    let signature = signed_header(signed.headers, "x-ca-signature")?;
    if signature.is_empty() {
        return Err(Failure::at_gate(Gate::EMPTY_SIGNATURE, "the header X-Ca-Signature is missing"));
    }
    let freshness = check_time(aliyun, signed, now_ms)?;
    if !signed.md5_matches() {
        return Err(Failure::at_gate(Gate::MD5, "Content-MD5 must be the base64 of the body's MD5"));
    }
    let method = Method::of(signed.headers);
    let string = signed.string_to_sign();
    if method == Method::Sha1 && !aliyun.hmac_sha1 {
        let text = "HmacSHA1 is switched off (aliyun.hmac_sha1): sign with HmacSHA256";
        return Err(Failure::signature(&string, text));
    }
    if !project.app_secrets(now_ms).any(|secret| sign::verify(secret, method, &string, signature)) {
        let text = format!(
            "X-Ca-Signature must be the base64 {} with the AppSecret over the string to sign; the server's is {:?}; if \
             it equals yours the secret is wrong",
            if method == Method::Sha1 { "HMAC-SHA1" } else { "HMAC-SHA256" },
            String::from_utf8_lossy(&string)
        );
        return Err(Failure::signature(&string, text));
    }
    Ok(freshness)
}

fn check_time(aliyun: &Aliyun, signed: &SignedParts<'_>, now_ms: i64) -> Result<Freshness, Failure> {
    let timestamp = signed_header(signed.headers, "x-ca-timestamp")?;
    let date_ms = signed.headers.get("date").and_then(|date| http_date_ms(date.to_str().ok()?));
    let (sent_ms, is_covered) = match (timestamp, date_ms) {
        ("", None) => (None, false),
        ("", Some(date_ms)) => (Some(date_ms), true),
        (digits, date_ms) => {
            let sent_ms = timestamp_ms(digits).ok_or_else(|| {
                Failure::at_gate(Gate::TIMESTAMP, "X-Ca-Timestamp must be a time since 1970 of 10 to 19 digits")
            })?;
            (Some(sent_ms), date_ms.is_some() || signed.covers("x-ca-timestamp"))
        }
    };
    for sent_ms in [sent_ms, date_ms].into_iter().flatten() {
        let ahead_ms = sent_ms.saturating_sub(now_ms);
        if ahead_ms.saturating_abs() > WINDOW_MS {
            let text = format!("the request's time is {ahead_ms} ms from the server's; at most {WINDOW_MS} either way");
            return Err(Failure::at_gate(Gate::EXPIRED, text));
        }
    }
    if is_covered {
        return Ok(Freshness::Dated);
    }
    if aliyun.require_timestamp || !signed.covers("x-ca-nonce") || !signed.headers.contains_key("x-ca-nonce") {
        let text = "a request needs a signed X-Ca-Timestamp, a Date, or where the server allows it a signed X-Ca-Nonce";
        return Err(Failure::at_gate(Gate::TIMESTAMP, text));
    }
    Ok(Freshness::Undated)
}

/// A time in seconds, milliseconds, microseconds or nanoseconds; the number of digits decides which.
fn timestamp_ms(digits: &str) -> Option<i64> {
    let number: i64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    match digits.len() {
        10..=11 => number.checked_mul(1000),
        12..=14 => Some(number),
        15..=17 => Some(number / 1000),
        18..=19 => Some(number / 1_000_000),
        _ => None,
    }
}

fn http_date_ms(date: &str) -> Option<i64> {
    let date = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    date.unix_timestamp().checked_mul(1000)
}

/// Refuses a request that was already processed. A nonce is checked only if the signature covers it.
async fn check_replay(
    aliyun: &Aliyun,
    project: &Project,
    nonce: &str,
    signed: &SignedParts<'_>,
    freshness: Freshness,
) -> Result<(), Failure> {
    if nonce.is_empty() || !signed.covers("x-ca-nonce") {
        return Ok(());
    }
    let (kind, valid_ms) = match freshness {
        Freshness::Dated => ("aliyun", WINDOW_MS),
        Freshness::Undated => ("aliyun without a time", UNDATED_MS),
    };
    let request = RequestId { project: project.no, kind, parts: &[nonce] };
    match aliyun.cloud.first_seen(request, valid_ms).await.map_err(store_failure)? {
        Seen::First => Ok(()),
        Seen::Again => Err(Failure::at_gate(Gate::NONCE, "this X-Ca-Nonce was already used")),
        // The nonce is optional here, so one that cannot be stored is treated as absent.
        Seen::Full if freshness == Freshness::Dated => Ok(()),
        Seen::Full => Err(Failure::at_gate(Gate::THROTTLED, "too many requests with a nonce are remembered")),
    }
}

fn signed_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Failure> {
    http::short_header(headers, name).map_err(|text| Failure::at_gate(Gate::BODY, text))
}

fn refused_body(error: BodyError) -> Failure {
    let gate = match error {
        BodyError::Busy => Gate::THROTTLED,
        BodyError::Late | BodyError::TooLong(_) | BodyError::Broken(_) => Gate::BODY,
    };
    Failure::at_gate(gate, error.to_string())
}

fn store_failure(error: crate::domain::Error) -> Failure {
    tracing::error!(%error, "a request could not be authenticated");
    Failure::at_gate(Gate::INTERNAL, "the store failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_ten_to_nineteen_digits() {
        for (digits, ms) in [
            ("1530262800", Some(1_530_262_800_000)),
            ("1530262800123", Some(1_530_262_800_123)),
            ("1530262800123456", Some(1_530_262_800_123)),
            ("1530262800123456789", Some(1_530_262_800_123)),
            ("153026280", None),
            ("15302628001234567890", None),
            ("1530262800.5", None),
            ("-153026280012", None),
            ("9999999999999999999", None),
        ] {
            assert_eq!(timestamp_ms(digits), ms, "{digits}");
        }
        assert_eq!(http_date_ms("Fri, 29 Jun 2018 09:00:00 GMT"), Some(1_530_262_800_000));
        assert_eq!(http_date_ms("yesterday"), None);
    }
}
