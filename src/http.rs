//! The HTTP/1.1 server: timeouts and limits of connections and requests. Independent of the vendors.

mod bodies;
pub mod document;
mod rendered;
mod requests;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::Sleep;
use tower::ServiceExt;

use crate::actor;
pub use crate::net::Peer;
use crate::net::Service;
use crate::shutdown::Shutdown;
pub use bodies::{Bodies, BodyError, HeldBody, Sender};
pub use rendered::{Rendered, Rendering};
pub use requests::{RequestLog, Requests, Subject};

/// The timeout for a client that does not read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum length of request line and headers together. Hyper limits the number of headers to 100.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Maximum length of one read, so that the read buffer stays small.
const READ_BYTES_MAX: u64 = 8 * 1024;

/// Maximum length of a header that is part of a signature.
const SIGNED_HEADER_BYTES_MAX: usize = 256;
/// The header that says which part of a refused request was wrong. It never contains secrets.
const EXPLAIN_HEADER: &str = "x-ingle-explain";
/// Maximum length of an explanation in its header.
const EXPLAIN_BYTES_MAX: usize = 4096;

/// A router that is served over HTTP/1.1. Each request has its [`Peer`] in its extensions.
#[derive(Clone)]
pub struct HttpService {
    /// The routes.
    pub router: Router,
    /// The timeout for the headers of a request, and of an idle connection.
    pub head_timeout: Duration,
}

impl Service for HttpService {
    const DRAIN_TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

    async fn serve<S>(self, stream: S, peer: Peer, mut shutdown: Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = without_trailing_slash(request.map(Body::new));
            request.extensions_mut().insert(peer);
            let writes = request.method() != Method::GET;
            let answer = self.router.clone().oneshot(request);
            async move {
                if !writes {
                    return Ok(answer.await.unwrap_or_else(|never| match never {}));
                }
                // A write that has begun is completed even if the client closes the connection.
                match tokio::spawn(actor::scope_of_client(peer.address.to_string(), answer)).await {
                    Ok(answered) => Ok(answered.unwrap_or_else(|never| match never {})),
                    Err(panicked) => Err(io::Error::other(panicked)),
                }
            }
        });
        let stream = WriteTimeout { stream: stream.take(READ_BYTES_MAX), stalled: None };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // A client may close its sending side after the request.
            .half_close(true)
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = shutdown.begun() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "an HTTP connection ended with an error");
        }
    }
}

/// A stream with short reads whose writes fail when the client reads nothing for [`WRITE_TIMEOUT`].
struct WriteTimeout<S> {
    stream: Take<S>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> WriteTimeout<S> {
    /// Returns the result. A pending one starts the timer; any other stops it.
    fn with_timeout<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        sleep.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.set_limit(READ_BYTES_MAX);
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(self.stream.get_mut()).poll_write(context, bytes);
        self.with_timeout(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(self.stream.get_mut()).poll_write_vectored(context, slices);
        self.with_timeout(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.stream.get_mut()).poll_flush(context);
        self.with_timeout(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.stream.get_mut()).poll_shutdown(context);
        self.with_timeout(context, polled)
    }
}

/// Removes the slash with which some clients end a path. Signatures cover the original path, in the extension
/// [`OriginalUri`].
fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() < 2 || !path.ends_with('/') {
        return request;
    }
    let trimmed = path.trim_end_matches('/');
    let target = match request.uri().query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let Ok(target) = PathAndQuery::try_from(target) else { return request };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        let original = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(OriginalUri(original));
    }
    request
}

/// A body without the UTF-8 byte order mark that some clients send. Signatures cover the mark.
pub fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Describes a JSON error without the invalid value, which may be a secret.
pub fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!("at line {} column {}", error.line(), error.column());
    match text.split_once(": ") {
        Some((kind @ ("invalid type" | "invalid value" | "invalid length"), rest)) => {
            let wanted = rest.rsplit_once(", expected ").map_or("", |(_, wanted)| wanted);
            let wanted = wanted.split(" at line").next().unwrap_or_default();
            format!("{kind}, expected {wanted} {position}")
        }
        _ if error.is_data() && text.contains('`') => format!("a value that is not known {position}"),
        _ => text,
    }
}

/// The client of a request; an unspecified address if the request did not come over a connection, as in tests.
pub fn peer(extensions: &Extensions) -> Peer {
    let unknown = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), encrypted: false, account: None };
    extensions.get().copied().unwrap_or(unknown)
}

/// The method and the route of a request, for the audit.
pub fn call(parts: &Parts) -> String {
    let route = parts.extensions.get().map_or(parts.uri.path(), MatchedPath::as_str);
    format!("{} {route}", parts.method)
}

/// The text of a header that is part of a signature; empty if it is absent.
///
/// # Errors
/// A text for the client if the header is too long or not printable ASCII.
pub fn short_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, String> {
    let Some(value) = headers.get(name) else { return Ok("") };
    let text = value.to_str().ok().filter(|text| text.len() <= SIGNED_HEADER_BYTES_MAX);
    text.ok_or_else(|| format!("the header {name} must be short and plain"))
}

/// An answer with a JSON body; `None` if the value cannot be serialized.
pub fn json(status: StatusCode, value: &impl Serialize) -> Option<Response> {
    let mut bytes = Vec::with_capacity(1024);
    serde_json::to_writer(&mut bytes, value).ok()?;
    Some(json_response(status, bytes))
}

/// An answer with a body that is already JSON. One client parses it only if the content type begins like this.
pub fn json_response(status: StatusCode, json: Vec<u8>) -> Response {
    let content_type = HeaderValue::from_static("application/json;charset=UTF-8");
    (status, [(header::CONTENT_TYPE, content_type)], Body::from(json)).into_response()
}

/// An empty response that carries a failure to the middleware that writes it.
pub fn carrying<F: Clone + Send + Sync + 'static>(failure: F) -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(failure);
    response
}

/// Two numbers that identify a request: a random one for this process, and a counter.
pub fn request_number() -> (u64, u64) {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| crate::random::number().unwrap_or_default());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    (*PROCESS, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Adds an explanation to a refusal.
pub fn explain(refusal: &mut Response, text: &str) {
    if let Ok(value) = HeaderValue::from_str(&header_text(text, "\\n")) {
        refusal.headers_mut().insert(EXPLAIN_HEADER, value);
    }
}

/// Text that is valid in a header: line ends as `line_end`, other characters than printable ASCII percent-encoded, and
/// cut to the maximum length.
pub fn header_text(text: &str, line_end: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\n' => safe.push_str(line_end),
            b' '..=b'~' => safe.push(char::from(byte)),
            _ => safe.push_str(&format!("%{byte:02X}")),
        }
        if safe.len() >= EXPLAIN_BYTES_MAX {
            safe.push_str("...");
            break;
        }
    }
    safe
}
