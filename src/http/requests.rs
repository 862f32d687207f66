//! What the operator learns of requests. Each is one event in the log, with its duration; a refused one is also counted by
//! dialect and code, remembered for `ingle explain`, and logged with its reason. The number of log lines is limited; the
//! next line contains the number of omitted ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::{Extensions, HeaderValue, Method, Uri, header};
use tracing::Level;

use super::{Peer, header_text};
use crate::instruments::{Instruments, Route};
use crate::log_limit::{LinesMax, LogLimit};
use crate::refusals::{Origin, RecentRefusals, Refusal};
use crate::traces::{self, KeyValue, Recorded, SpanKind};

const USER_AGENT_BYTES_MAX: usize = 64;
const TARGET_BYTES_MAX: usize = 200;
const REASON_BYTES_MAX: usize = 300;
/// Longer parts of a path or query are masked, because they could be tokens. Ids are shorter.
const PART_BYTES_MAX: usize = 31;
/// Replaces a possible secret in the log.
const MASK: &str = "***";
/// Limits of the log lines about answered requests, unless every request is logged at debug level.
const ANSWERED_LINES_MAX: LinesMax = LinesMax { of_kind: 20, of_client: 60, in_total: 600 };
/// Limits of the log lines about refused requests; the kind is dialect and code.
const REFUSED_LINES_MAX: LinesMax = LinesMax { of_kind: 10, of_client: 60, in_total: 600 };
/// The methods that metrics name.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "HEAD"];
/// Maximum number of codes of a dialect that are counted separately. Further ones are counted as code 0.
const CODES_MAX: usize = 64;

/// What is logged, counted and remembered of the requests of all dialects.
pub struct Requests {
    refused: Mutex<BTreeMap<(&'static str, u32), u64>>,
    answered_lines: LogLimit,
    refused_lines: LogLimit,
    recent: Arc<RecentRefusals>,
    instruments: Arc<Instruments>,
}

impl Requests {
    /// No requests yet. Refused ones are remembered in `recent`; all are measured by `instruments`.
    pub fn new(recent: Arc<RecentRefusals>, instruments: Arc<Instruments>) -> Arc<Self> {
        let (answered_lines, refused_lines) = (LogLimit::new(ANSWERED_LINES_MAX), LogLimit::new(REFUSED_LINES_MAX));
        Arc::new(Self { refused: Mutex::default(), answered_lines, refused_lines, recent, instruments })
    }

    /// Records an answer that is not a refusal. `dialect` is the name of its document.
    pub fn answered(&self, dialect: &'static str, request: &RequestLog) {
        let now = self.measure(dialect, request, None);
        if !tracing::enabled!(Level::INFO) {
            return;
        }
        let left_out = match tracing::enabled!(Level::DEBUG) {
            true => Some(0),
            false => self.answered_lines.admit(request.address, request.route(), now),
        };
        let Some(left_out) = left_out else { return };
        let is_matched = request.route.is_some();
        tracing::info!(
            dialect,
            http.method = %request.method,
            http.route = request.route(),
            http.path = (!is_matched).then(|| request.target()),
            http.user_agent = request.user_agent(),
            client.address = request.address.map(|address| address.to_string()),
            project = request.subject.project(),
            device = request.device(),
            duration_ms = request.duration_ms(),
            left_out,
            "a request was answered"
        );
    }

    /// Records a request that was refused at `now_ms`. `code` is the vendor's; `reason` must not contain secrets.
    pub fn refused(&self, dialect: &'static str, code: u32, request: &RequestLog, reason: &str, now_ms: i64) {
        let now = self.measure(dialect, request, Some(code));
        let code = self.count(dialect, code);
        let mut reason = Cow::Borrowed(reason);
        if reason.len() > REASON_BYTES_MAX {
            let end = (0..=REASON_BYTES_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
            reason = Cow::Owned(format!("{}...", &reason[..end]));
        }
        let (target, reason, device) = (request.target(), header_text(&reason, "\\n"), request.device());
        if let Some(left_out) = self.refused_lines.admit(request.address, (dialect, code), now) {
            tracing::info!(
                dialect,
                code,
                http.method = %request.method,
                http.path = target,
                http.route = request.route(),
                http.user_agent = request.user_agent(),
                client.address = request.address.map(|address| address.to_string()),
                project = request.subject.project(),
                device,
                duration_ms = request.duration_ms(),
                reason,
                left_out,
                "a request was refused"
            );
        }
        let (what, code) = (format!("{} {target}", request.method), format!("{dialect} {code}"));
        let (client, device, count) = (request.address, device.unwrap_or_default(), 1);
        self.recent.record(Origin::Client, Refusal { time_ms: now_ms, count, client, device, code, reason, what });
    }

    /// Number of refusals for each dialect and code since the start.
    pub fn totals(&self) -> Vec<(&'static str, u32, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|((dialect, code), count)| (*dialect, *code, *count)).collect()
    }

    /// Measures the time that a request took until now, which it returns. `refused` is the code of a refusal.
    fn measure(&self, dialect: &'static str, request: &RequestLog, refused: Option<u32>) -> Instant {
        let method = METHODS.iter().find(|method| **method == request.method.as_str()).copied().unwrap_or("other");
        let route = Route { dialect, method, route: request.route().into() };
        let now = Instant::now();
        self.instruments.requests.get_or_create(&route).observe((now - request.begun).as_secs_f64());
        self.instruments.traces.record(request.begun, || request.recorded(dialect, refused));
        now
    }

    /// Counts a refusal, and returns the code under which it is counted.
    fn count(&self, dialect: &'static str, code: u32) -> u32 {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refused.keys().filter(|(known, _)| *known == dialect).count();
        let code = if known < CODES_MAX || refused.contains_key(&(dialect, code)) { code } else { 0 };
        *refused.entry((dialect, code)).or_default() += 1;
        code
    }
}

/// Who makes a request and about which device, as soon as the dialect knows it. It is an extension of the request.
#[derive(Clone, Default)]
pub struct Subject(Arc<SubjectParts>);

#[derive(Default)]
struct SubjectParts {
    project: OnceLock<String>,
    device: OnceLock<String>,
}

impl Subject {
    /// That of a request; one that nobody reads if the request has none.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Sets the name of the project whose signature was verified.
    pub fn set_project(&self, name: &str) {
        self.0.project.get_or_init(|| name.to_owned());
    }

    /// Sets the id of the device, if the path does not have it.
    pub fn set_device(&self, id: &str) {
        self.0.device.get_or_init(|| id.to_owned());
    }

    fn project(&self) -> Option<&str> {
        self.0.project.get().map(String::as_str)
    }
}

/// The parts of a request that may be logged. Every request creates one, so texts are only formatted when they are
/// logged.
pub struct RequestLog {
    begun: Instant,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    agent: Option<HeaderValue>,
    /// The span of the client.
    parent: Option<HeaderValue>,
    address: Option<IpAddr>,
    subject: Subject,
}

impl RequestLog {
    /// Extracts the parts of a request that has just been received, and gives it a [`Subject`].
    pub fn of(request: &mut Request) -> Self {
        let subject = Subject::default();
        request.extensions_mut().insert(subject.clone());
        let extensions = request.extensions();
        let uri = extensions.get::<OriginalUri>().map_or(request.uri(), |original| &original.0).clone();
        Self {
            begun: Instant::now(),
            method: request.method().clone(),
            uri,
            route: extensions.get().cloned(),
            agent: request.headers().get(header::USER_AGENT).cloned(),
            parent: request.headers().get(traces::PARENT_HEADER).cloned(),
            address: extensions.get::<Peer>().map(|peer| peer.address),
            subject,
        }
    }

    /// The request as a span. `refused` is the code of a refusal.
    fn recorded(&self, dialect: &'static str, refused: Option<u32>) -> Recorded<'_> {
        let mut attributes = vec![
            KeyValue::new("http.request.method", self.method.to_string()),
            KeyValue::new("http.route", self.route().to_owned()),
            KeyValue::new("url.path", self.target()),
            KeyValue::new("user_agent.original", self.user_agent()),
            KeyValue::new("ingle.dialect", dialect),
        ];
        attributes.extend(self.address.map(|address| KeyValue::new("client.address", address.to_string())));
        attributes.extend(self.subject.project().map(|name| KeyValue::new("ingle.project", name.to_owned())));
        attributes.extend(self.device().map(|device| KeyValue::new("ingle.device", device)));
        let error = refused.map(|code| format!("{dialect} {code}"));
        let parent = self.parent.as_ref().and_then(|parent| parent.to_str().ok());
        let name = format!("{} {}", self.method, self.route());
        Recorded { name, kind: SpanKind::Server, parent, error, attributes }
    }

    /// Milliseconds since the request was received.
    fn duration_ms(&self) -> f64 {
        self.begun.elapsed().as_micros() as f64 / 1000.0
    }

    /// The device that the request is about: of its subject, of the path's parameter, or of an unknown path the part after
    /// `devices`.
    fn device(&self) -> Option<String> {
        let of_subject = self.subject.0.device.get().cloned();
        of_subject.or_else(|| {
            let mut parts = self.masked_path().into_iter();
            let part = match &self.route {
                Some(route) => {
                    let is_device = |name: &str| matches!(name, "{device_id}" | "{device_name}");
                    parts.nth(route.as_str().split('/').position(is_device)?)
                }
                None => parts.skip_while(|part| !matches!(*part, "devices" | "thing")).nth(1),
            };
            part.filter(|part| !matches!(*part, "" | MASK)).map(|part| header_text(part, "\\n"))
        })
    }

    /// The route: the path with the names of its parameters. Empty for an unknown path.
    fn route(&self) -> &str {
        self.route.as_ref().map_or("", MatchedPath::as_str)
    }

    /// The user agent, cut to the maximum length and without unprintable characters. Empty if there is none.
    fn user_agent(&self) -> String {
        let bytes = self.agent.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        let printable = bytes.iter().filter(|byte| matches!(byte, b' '..=b'~'));
        printable.take(USER_AGENT_BYTES_MAX).copied().map(char::from).collect()
    }

    /// The parts of the path. Possible tokens are masked: the part after `token` or `tokens`, and long parts.
    fn masked_path(&self) -> Vec<&str> {
        let mut follows_token = false;
        let masked = |part: &'_ str| {
            let is_word = matches!(part, "" | "refresh");
            let is_secret = !is_word && (follows_token || part.len() > PART_BYTES_MAX || part.contains('%'));
            follows_token = part.to_ascii_lowercase().contains("token");
            is_secret
        };
        let parts = self.uri.path().split('/');
        parts.clone().map(masked).zip(parts).map(|(is_secret, part)| if is_secret { MASK } else { part }).collect()
    }

    /// The path, and the names of the query parameters without their values. Possible tokens are masked.
    fn target(&self) -> String {
        let mut target = self.masked_path().join("/");
        for (index, pair) in self.uri.query().unwrap_or_default().split('&').enumerate() {
            let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
            if name.is_empty() {
                continue;
            }
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(if name.len() > PART_BYTES_MAX { MASK } else { name });
            target.push_str(if value.is_some() { "=" } else { "" });
        }
        let mut target = header_text(&target, "\\n");
        if target.len() > TARGET_BYTES_MAX {
            target.truncate(TARGET_BYTES_MAX);
            target.push_str("...");
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn target(uri: &str) -> String {
        RequestLog::of(&mut Request::builder().uri(uri).body(Body::empty()).unwrap()).target()
    }

    #[test]
    fn what_could_be_a_token_is_masked() {
        for (asked, logged) in [
            ("/v1.0/devices/27511006b4e62d4b8f21/status", "/v1.0/devices/27511006b4e62d4b8f21/status"),
            ("/v1.0/token/short", "/v1.0/token/***"),
            ("/v1.0/Token/short/", "/v1.0/Token/***/"),
            ("/v1.0/iot-03/users/token/short", "/v1.0/iot-03/users/token/***"),
            ("/v1.0/devices/tokens/short", "/v1.0/devices/tokens/***"),
            ("/v1.0/refresh_token/short", "/v1.0/refresh_token/***"),
            ("/v1.0/%74oken/short", "/v1.0/***/short"),
            ("/cloud/token/refresh", "/cloud/token/refresh"),
            ("/v9/0123456789abcdef0123456789abcdef", "/v9/***"),
            ("/v1.0/token?grant_type=1", "/v1.0/token?grant_type="),
            ("/a?access_token=short&x&0123456789abcdef0123456789abcdef", "/a?access_token=&x&***"),
        ] {
            assert_eq!(target(asked), logged);
        }
        let long = target(&format!("/{}", "a/".repeat(1000)));
        assert_eq!(long.len(), TARGET_BYTES_MAX + 3);
    }

    #[test]
    fn the_device_of_a_path_is_known_without_a_route() {
        let device = |uri: &str| RequestLog::of(&mut Request::builder().uri(uri).body(Body::empty()).unwrap()).device();
        assert_eq!(device("/v1.0/devices/27511006b4e62d4b8f21/nothing").as_deref(), Some("27511006b4e62d4b8f21"));
        for none in ["/v1.0/devices", "/v1.0/devices/", "/v1.0/devices/0123456789abcdef0123456789abcdef", "/a/b"] {
            assert_eq!(device(none), None, "{none}");
        }
    }

    #[test]
    fn refusals_are_counted_by_dialect_and_code_and_the_codes_are_bounded() {
        let requests = Requests::new(Arc::default(), Arc::default());
        for (dialect, code, times) in [("tuya", 1004, 2000), ("tuya", 1010, 1), ("aliyun", 1004, 1)] {
            (0..times).for_each(|_| assert_eq!(requests.count(dialect, code), code));
        }
        assert_eq!(requests.totals(), [("aliyun", 1004, 1), ("tuya", 1004, 2000), ("tuya", 1010, 1)]);
        for code in 1..10_000 {
            requests.count("visual", code);
        }
        assert!(requests.totals().len() <= CODES_MAX + 4, "{}", requests.totals().len());
    }
}
