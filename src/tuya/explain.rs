//! `ingle explain`: the explanation of the header `x-ingle-explain` for a request in a file (DESIGN §5).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::auth::{check_time, claims, explain_sign};
use super::sign::{self, Rules, SignedParts};

/// A request as text: request line, headers, an empty line, body. Lines may begin with curl's `> `.
pub struct WrittenRequest {
    method: String,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl WrittenRequest {
    /// Parses a request as `curl -v` prints it or as it is sent.
    ///
    /// # Errors
    /// Describes what is wrong with it.
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

    /// Checks time and signature as the server does. Returns code, text and the part that is wrong.
    ///
    /// # Errors
    /// The first refusal.
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
        let explained = |failure: super::Failure| {
            let (code, msg, text) = failure.parts();
            (code, msg, text.to_owned())
        };
        let claims = claims(&self.headers, token_class).map_err(explained)?;
        check_time(claims.t, now_ms, window_ms).map_err(explained)?;
        let parts = SignedParts { method: &self.method, path, query, headers: &self.headers, body: &self.body };
        let rules = Rules { old: token_class || legacy_sign, without_token: token_class };
        if sign::verify(secret, &claims, &parts, rules) {
            return Ok(());
        }
        Err((1004, "sign invalid", explain_sign(&claims, &parts)))
    }
}
