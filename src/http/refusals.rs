//! Refused requests. Each is counted by dialect and code and logged with the request and the reason. The number of log
//! lines is limited; the next line contains the number of omitted ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::{HeaderValue, Method, Uri, header};
use tracing::Level;

use super::{Peer, header_text};

const USER_AGENT_BYTES_MAX: usize = 64;
const TARGET_BYTES_MAX: usize = 200;
const REASON_BYTES_MAX: usize = 300;
/// Longer parts of a path or query are masked, because they could be tokens. Ids are shorter.
const PART_BYTES_MAX: usize = 31;
/// Replaces a possible secret in the log.
const MASK: &str = "***";
/// Maximum number of log lines for one code of a dialect in a [`PERIOD`].
const LINES_MAX: u64 = 10;
const PERIOD: Duration = Duration::from_secs(60);
/// Maximum number of codes of a dialect that are counted separately. Further ones are counted as code 0.
const CODES_MAX: usize = 64;

/// The refusals of all dialects.
#[derive(Default)]
pub struct Refusals {
    counts: Mutex<BTreeMap<(&'static str, u32), Count>>,
}

struct Count {
    total: u64,
    /// The beginning of the period.
    since: Instant,
    /// Number of refusals in this period.
    in_period: u64,
}

impl Refusals {
    /// No refusals.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Records a refused request. `dialect` is the name of its document, `code` the vendor's; `reason` must not contain
    /// secrets.
    pub fn record(&self, dialect: &'static str, code: u32, request: &RequestLog, reason: &str) {
        let Some(left_out) = self.note(dialect, code, Instant::now()) else { return };
        let mut reason = Cow::Borrowed(reason);
        if reason.len() > REASON_BYTES_MAX {
            let end = (0..=REASON_BYTES_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
            reason = Cow::Owned(format!("{}...", &reason[..end]));
        }
        let (target, reason) = (request.target(), header_text(&reason, "\\n"));
        let (method, agent, address) =
            (&request.method, request.user_agent(), request.address.map(|address| address.to_string()));
        tracing::info!(
            dialect,
            code,
            http.method = %method,
            http.path = target,
            http.user_agent = agent,
            client.address = address,
            reason,
            left_out,
            "a request was refused"
        );
    }

    /// Number of refusals for each dialect and code since the start.
    pub fn totals(&self) -> Vec<(&'static str, u32, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((dialect, code), count)| (*dialect, *code, count.total)).collect()
    }

    /// Counts a refusal. If it must be logged, returns the number of refusals before it that were not logged.
    fn note(&self, dialect: &'static str, code: u32, now: Instant) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.keys().filter(|(known, _)| *known == dialect).count();
        let code = if known < CODES_MAX || counts.contains_key(&(dialect, code)) { code } else { 0 };
        let count = counts.entry((dialect, code)).or_insert(Count { total: 0, since: now, in_period: 0 });
        count.total += 1;
        let mut left_out = 0;
        if now.saturating_duration_since(count.since) >= PERIOD {
            left_out = count.in_period.saturating_sub(LINES_MAX);
            (count.since, count.in_period) = (now, 0);
        }
        count.in_period += 1;
        (count.in_period <= LINES_MAX).then_some(left_out)
    }
}

/// The parts of a request that may be logged. Every request creates one, so texts are only formatted when they are
/// logged.
pub struct RequestLog {
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    agent: Option<HeaderValue>,
    address: Option<IpAddr>,
}

impl RequestLog {
    /// Extracts the parts of a request.
    pub fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        let uri = extensions.get::<OriginalUri>().map_or(request.uri(), |original| &original.0).clone();
        Self {
            method: request.method().clone(),
            uri,
            route: extensions.get().cloned(),
            agent: request.headers().get(header::USER_AGENT).cloned(),
            address: extensions.get::<Peer>().map(|peer| peer.address),
        }
    }

    /// Logs an answer that is not a refusal, at debug level.
    pub fn answered(&self) {
        if tracing::enabled!(Level::DEBUG) {
            let (route, agent) = (self.route(), self.user_agent());
            tracing::debug!(http.method = %self.method, http.route = route, http.user_agent = agent, "answered");
        }
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

    /// The path, and the names of the query parameters. Possible tokens are masked: the segment after `token` or
    /// `tokens`, long segments, and all values of the query.
    fn target(&self) -> String {
        let mut target = String::new();
        let mut follows_token = false;
        for (index, part) in self.uri.path().split('/').enumerate() {
            if index > 0 {
                target.push('/');
            }
            let is_word = matches!(part, "" | "refresh");
            let is_secret = !is_word && (follows_token || part.len() > PART_BYTES_MAX || part.contains('%'));
            target.push_str(if is_secret { MASK } else { part });
            follows_token = part.to_ascii_lowercase().contains("token");
        }
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
        RequestLog::of(&Request::builder().uri(uri).body(Body::empty()).unwrap()).target()
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
    fn lines_are_bounded_and_what_is_left_out_is_counted() {
        let refusals = Refusals::default();
        let begin = Instant::now();
        let lines = |now| (0..1000).filter_map(|_| refusals.note("tuya", 1004, now)).collect::<Vec<_>>();
        assert_eq!(lines(begin), [0; LINES_MAX as usize]);
        // Each code and each dialect has its own lines.
        assert_eq!(refusals.note("tuya", 1010, begin), Some(0));
        assert_eq!(refusals.note("aliyun", 1004, begin), Some(0));
        let later = lines(begin + PERIOD);
        assert_eq!((later[0], later.len()), (1000 - LINES_MAX, LINES_MAX as usize));
        assert!(later[1..].iter().all(|left_out| *left_out == 0));
        assert_eq!(refusals.totals(), [("aliyun", 1004, 1), ("tuya", 1004, 2000), ("tuya", 1010, 1)]);
        for code in 0..10_000 {
            refusals.note("visual", code, begin);
        }
        assert!(refusals.totals().len() <= CODES_MAX + 3, "{}", refusals.totals().len());
    }
}
