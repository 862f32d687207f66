//! Authentication of calls (contract tuya §1). A handler receives a [`Call`] (made by a project) or an [`AppCall`]
//! (made by a project or an app user) only after signature and token were verified, so a handler that omits the check
//! does not compile.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, OriginalUri, RawPathParams, Request};
use axum::http::{HeaderMap, Method};
use serde::Serialize;

use super::devices::DeviceTexts;
use super::params::{Body, Query};
use super::reply::{self, Code, Failure, Reply};
use super::sign::{self, Claims, Rules, SignedParts};
use super::{FeedAddresses, Tuya};
use crate::actor;
use crate::domain::audit::ActorKind;
use crate::domain::replay::{RequestId, Seen};
use crate::domain::{AppCaller, Caller, Cloud, Device, DeviceId, Project, Requester, Result as DomainResult, Uid};
use crate::http::{self, BodyError, HeldBody, Rendered, Sender};

/// Maximum length of a body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A business call: signed, with a valid token of the project.
pub struct Call<C = Caller> {
    /// The project or user that makes the call.
    pub caller: C,
    /// The request.
    pub request: SignedRequest,
}

/// A business call that an app user may also make, with the token of a login. Operations check what the user may do.
pub type AppCall = Call<AppCaller>;

/// A token call: signed, without a token.
pub struct TokenCall {
    /// The project whose secret signed it.
    pub project: Arc<Project>,
    /// The request.
    pub request: SignedRequest,
}

/// A login: signed, without a token. The old rule is not sufficient, because it does not cover the body.
pub struct LoginCall(pub TokenCall);

/// A request whose signature was verified.
pub struct SignedRequest {
    tuya: Arc<Tuya>,
    path: Vec<(String, String)>,
    /// The query parameters.
    pub query: Query,
    body: HeldBody,
    now_ms: i64,
    /// The address of the client, and whether the connection is encrypted.
    pub peer: http::Peer,
    /// The headers.
    pub headers: HeaderMap,
}

impl SignedRequest {
    /// The cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.tuya.cloud
    }

    /// The MQTT addresses that subscribers are given.
    pub fn feed_addresses(&self) -> &FeedAddresses {
        &self.tuya.feed_addresses
    }

    /// The cached texts of devices.
    pub fn device_texts(&self) -> &Rendered<Device, DeviceTexts> {
        &self.tuya.device_texts
    }

    /// The time at which the request was received, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// A decoded parameter of the path.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The device id in the path.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::from(self.path("device_id"))
    }

    /// The uid in the path.
    pub fn uid(&self) -> Uid {
        Uid(self.path("uid").to_owned())
    }

    /// The members of the JSON body.
    ///
    /// # Errors
    /// 1109 for a body that is not a JSON object.
    pub fn body(&self) -> Result<Body, Failure> {
        Body::parse(&self.body)
    }

    /// The JSON body whose only member is `name`, or the bare text of that member.
    ///
    /// # Errors
    /// 1109 for a body that is neither.
    pub fn sole_body(&self, name: &str) -> Result<Body, Failure> {
        Body::parse_sole(name, &self.body)
    }

    /// The envelope of a result.
    pub fn answer<T: Serialize>(&self, result: T) -> Reply {
        reply::success(result, self.now_ms)
    }

    /// The envelope of a result that `write` appends as JSON.
    pub fn answer_written(&self, write: impl FnOnce(&mut Vec<u8>)) -> Reply {
        Ok(reply::success_written(write, self.now_ms))
    }

    /// The answer `true` of an operation without a result.
    pub fn done(&self, result: DomainResult<()>) -> Reply {
        result?;
        reply::success(true, self.now_ms)
    }
}

impl<C> std::ops::Deref for Call<C> {
    type Target = SignedRequest;

    fn deref(&self) -> &SignedRequest {
        &self.request
    }
}

impl std::ops::Deref for TokenCall {
    type Target = SignedRequest;

    fn deref(&self) -> &SignedRequest {
        &self.request
    }
}

impl FromRequest<Arc<Tuya>> for Call {
    type Rejection = Failure;

    async fn from_request(request: Request, tuya: &Arc<Tuya>) -> Result<Self, Failure> {
        let (project, token, request) = authenticate(request, tuya, Kind::Business).await?;
        let caller = tuya.cloud.caller(project, &token).await?;
        Ok(Self { caller, request })
    }
}

impl FromRequest<Arc<Tuya>> for AppCall {
    type Rejection = Failure;

    async fn from_request(request: Request, tuya: &Arc<Tuya>) -> Result<Self, Failure> {
        let (project, token, request) = authenticate(request, tuya, Kind::Business).await?;
        let caller = tuya.cloud.app_caller(project, &token).await?;
        if let Some(user) = caller.user() {
            actor::identify(|actor| (actor.kind, actor.name) = (ActorKind::User, user.uid.0.clone()));
        }
        Ok(Self { caller, request })
    }
}

impl FromRequest<Arc<Tuya>> for TokenCall {
    type Rejection = Failure;

    async fn from_request(request: Request, tuya: &Arc<Tuya>) -> Result<Self, Failure> {
        let (project, _, request) = authenticate(request, tuya, Kind::Token).await?;
        Ok(Self { project, request })
    }
}

impl FromRequest<Arc<Tuya>> for LoginCall {
    type Rejection = Failure;

    async fn from_request(request: Request, tuya: &Arc<Tuya>) -> Result<Self, Failure> {
        let (project, _, request) = authenticate(request, tuya, Kind::Login).await?;
        Ok(Self(TokenCall { project, request }))
    }
}

/// The kind of call, which decides the rules for its signature.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Business,
    Token,
    Login,
}

/// Verifies the signature. Returns the project that signed, the access token and the request.
async fn authenticate(
    request: Request,
    tuya: &Arc<Tuya>,
    kind: Kind,
) -> Result<(Arc<Project>, String, SignedRequest), Failure> {
    let now_ms = tuya.cloud.now_ms();
    let (mut parts, body) = request.into_parts();
    let token_class = kind != Kind::Business;
    let claims = claims(&parts.headers, token_class)?;
    check_time(claims.t, now_ms, tuya.window_ms)?;
    let project = tuya.cloud.project_of(claims.client_id).await?;
    let project = project.ok_or_else(|| Failure::new(Code::CLIENT_ID, "no project has that client_id"))?;
    // The body is read only now, so that a client without a valid project uses no memory for it.
    let peer = http::peer(&parts.extensions);
    let sender = Sender { project: Some(project.no.0), address: peer.address };
    let body = tuya.bodies.receive(body, BODY_BYTES_MAX, sender).await.map_err(refused_body)?;

    let wire = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let signed = SignedParts {
        method: parts.method.as_str(),
        path: wire.path(),
        query: wire.query(),
        headers: &parts.headers,
        body: &body,
    };
    let query = Query::parse(wire.query().unwrap_or_default())?;
    let rules = Rules { old: kind == Kind::Token || project.legacy_sign, without_token: token_class };
    if !project.secrets(now_ms).any(|secret| sign::verify(secret, &claims, &signed, rules)) {
        return Err(Failure::quoting(
            Code::SIGN,
            "the signature is not that of the project's secret",
            explain_sign(&claims, &signed),
        ));
    }
    if parts.method != Method::GET && !claims.nonce.is_empty() {
        check_replay(tuya, &project, &claims).await?;
    }
    actor::identify(|actor| {
        (actor.kind, actor.name, actor.call) = (ActorKind::Project, project.name.clone(), http::call(&parts));
    });
    http::Subject::of(&parts.extensions).set_project(&project.name);
    let token = claims.access_token.to_owned();
    let path = RawPathParams::from_request_parts(&mut parts, tuya).await;
    let path = path.map_err(|_| Failure::new(Code::ILLEGAL, "the path is not UTF-8"))?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let headers = parts.headers;
    Ok((project, token, SignedRequest { tuya: tuya.clone(), path, query, body, now_ms, peer, headers }))
}

fn refused_body(error: BodyError) -> Failure {
    let code = match error {
        BodyError::Late | BodyError::Broken(_) => Code::ILLEGAL,
        BodyError::TooLong(_) => Code::RANGE,
        BodyError::Busy => Code::BUSY,
    };
    Failure::new(code, error.to_string())
}

/// The headers that carry a signature.
///
/// # Errors
/// 1105 for one that is missing, 1002 for a business call without a token, 1010 for one with an empty token.
pub fn claims(headers: &HeaderMap, token_class: bool) -> Result<Claims<'_>, Failure> {
    let text = |name: &str| http::short_header(headers, name).map_err(|text| Failure::new(Code::ILLEGAL, text));
    let required = |name: &str| -> Result<&str, Failure> {
        let text = text(name)?;
        if text.is_empty() {
            return Err(Failure::new(Code::HEADER, format!("the header {name} is missing")));
        }
        Ok(text)
    };
    let claims = Claims {
        client_id: required("client_id")?,
        sign: required("sign")?,
        t: required("t")?,
        nonce: text("nonce")?,
        access_token: text("access_token")?,
    };
    if !token_class && claims.access_token.is_empty() {
        // A client that lost its token sends an empty one, and requests a new token only after 1010.
        let code = if headers.contains_key("access_token") { Code::TOKEN } else { Code::TOKEN_NULL };
        return Err(Failure::new(code, "a business call needs the header access_token"));
    }
    Ok(claims)
}

/// Checks that `t` is within the allowed window around the current time.
///
/// # Errors
/// Code 1013.
pub fn check_time(t: &str, now_ms: i64, window_ms: i64) -> Result<(), Failure> {
    let Ok(sent_ms) = t.parse::<i64>() else {
        return Err(Failure::new(Code::TIME, "t must be milliseconds since 1970, 13 digits"));
    };
    let ahead_ms = sent_ms.saturating_sub(now_ms);
    if ahead_ms.saturating_abs() > window_ms {
        let text = format!("t is {ahead_ms} ms from the server's clock; at most {window_ms} ms either way are allowed");
        return Err(Failure::new(Code::TIME, text));
    }
    Ok(())
}

/// Helps a caller to find the error in a signature: contains the server's string to sign, and no secret.
pub fn explain_sign(claims: &Claims<'_>, parts: &SignedParts<'_>) -> String {
    let token = if claims.access_token.is_empty() { "" } else { " + access_token" };
    format!(
        "sign must be the upper-case HMAC-SHA256 with the secret over client_id{token} + t + nonce + stringToSign; \
         the server's stringToSign is {:?}; if it equals yours the secret is wrong",
        sign::shown_string_to_sign(parts)
    )
}

/// Refuses a write that was already processed.
async fn check_replay(tuya: &Tuya, project: &Project, claims: &Claims<'_>) -> Result<(), Failure> {
    // The case of the hex digits does not change the signature.
    let sign = claims.sign.to_ascii_uppercase();
    let request = RequestId { project: project.no, kind: "tuya", parts: &[claims.t, claims.nonce, &sign] };
    match tuya.cloud.first_seen(request, tuya.window_ms).await? {
        Seen::First => Ok(()),
        Seen::Again => Err(Failure::new(Code::SIGN, "this request was already processed: the nonce is used")),
        Seen::Full => Err(Failure::new(Code::BUSY, "too many writes with a nonce within the window")),
    }
}
