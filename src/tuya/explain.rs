//! `ingle explain`: the diagnosis that the server gives in `x-ingle-explain`, for a request on paper (DESIGN §5).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::auth::{check_time, claims, explain_sign};
use super::sign::{self, Rules, SignedParts};

/// A request as text: a request line, headers, an empty line, a body. Lines may carry curl's `> `.
pub struct WrittenRequest {
    method: String,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl WrittenRequest {
    /// Reads a request as `curl -v` shows it or as it goes over the wire.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((text, ""));
        let mut lines = head.lines().map(|line| line.strip_prefix("> ").unwrap_or(line)).map(str::trim_end);
        let request_line = lines.find(|line| !line.is_empty()).ok_or("the request is empty")?;
        let mut words = request_line.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(format!("the first line must be a method and a path, not {request_line:?}"));
        };
        if !target.starts_with('/') {
            return Err(format!("the path must start with a slash, not {target:?}"));
        }
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty() && *line != ">") {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("a header without a colon: {line:?}"))?;
            let name = HeaderName::try_from(name.trim()).map_err(|_| format!("no header name: {name:?}"))?;
            let value = HeaderValue::try_from(value.trim()).map_err(|_| format!("no header value for {name}"))?;
            headers.append(name, value);
        }
        let body = body.strip_suffix('\n').unwrap_or(body).as_bytes().to_vec();
        Ok(Self { method: method.to_owned(), target: target.to_owned(), headers, body })
    }

    /// The project's Access ID, if the request names one.
    pub fn client_id(&self) -> Option<&str> {
        self.headers.get("client_id")?.to_str().ok()
    }

    /// What the server would say of time and signature: code, text, and which part is wrong.
    ///
    /// # Errors
    /// The first refusal, as the server would find it.
    pub fn diagnose(
        &self,
        secret: &str,
        legacy_sign: bool,
        now_ms: i64,
        window_ms: i64,
    ) -> Result<(), (u32, &'static str, String)> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        let token_class = path == "/v1.0/token" || path.starts_with("/v1.0/token/");
        let told = |failure: super::Failure| {
            let (code, msg, text) = failure.parts();
            (code, msg, text.to_owned())
        };
        let claims = claims(&self.headers, token_class).map_err(told)?;
        check_time(claims.t, now_ms, window_ms).map_err(told)?;
        let parts = SignedParts { method: &self.method, path, query, headers: &self.headers, body: &self.body };
        let rules = Rules { old: token_class || legacy_sign, without_token: token_class };
        if sign::verify(secret, &claims, &parts, rules) {
            return Ok(());
        }
        Err((1004, "sign invalid", explain_sign(&claims, &parts)))
    }
}
