//! Traces of OpenTelemetry: one span for each request, each batch of reports of a device and each command. They are exported
//! by OTLP over HTTP if the setting `traces.endpoint` names a collector; otherwise nothing is recorded.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use opentelemetry::Context;
pub use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{Span, SpanBuilder, Status, TracerProvider};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::repeated::Repeated;

/// The header of a request with the span of its client (W3C Trace Context).
pub const PARENT_HEADER: &str = "traceparent";
/// The maximum time of one export, and of the last one when the server stops.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a collector's answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The traces of a server.
pub struct Traces {
    exported: OnceLock<Exported>,
    /// Exports that failed. The spans in them are lost.
    pub failures: Arc<Repeated>,
}

impl Default for Traces {
    fn default() -> Self {
        Self { exported: OnceLock::new(), failures: Arc::new(Repeated::new("traces could not be exported")) }
    }
}

struct Exported {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// What is recorded.
pub struct Recorded<'a> {
    /// The name of the span.
    pub name: String,
    /// Whether it is work for a client, or a call to a device.
    pub kind: SpanKind,
    /// The value of [`PARENT_HEADER`], if there is one.
    pub parent: Option<&'a str>,
    /// Why it failed, if it failed.
    pub error: Option<String>,
    /// The attributes. A device, a project and so on have the prefix `ingle.`.
    pub attributes: Vec<KeyValue>,
}

impl Traces {
    /// Starts the export to a collector of OTLP over HTTP, in JSON. `percent` of the traces are recorded; those of a client
    /// with a span of its own are recorded if the client records it. Must be called in a runtime of tokio.
    ///
    /// # Errors
    /// A text that says what is wrong with the endpoint.
    pub fn start(&self, endpoint: &str, percent: u8) -> Result<(), String> {
        let client = Collector { runtime: Handle::current(), failures: self.failures.clone() };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .with_headers(HashMap::new())
            .build()
            .map_err(|error| error.to_string())?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(f64::from(percent) / 100.0)));
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder_empty().with_service_name("ingle").with_attribute(version).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        let provider = provider.with_sampler(sampler).with_resource(resource).build();
        let tracer = provider.tracer("ingle");
        self.exported.get_or_init(|| Exported { provider, tracer });
        Ok(())
    }

    /// Records work that began at `begun` and ends now. `describe` is called only if traces are exported.
    pub fn record<'a>(&self, begun: Instant, describe: impl FnOnce() -> Recorded<'a>) {
        let Some(Exported { tracer, .. }) = self.exported.get() else { return };
        let Recorded { name, kind, parent, error, attributes } = describe();
        let end = opentelemetry::time::now();
        let context = match parent {
            Some(parent) => TraceContextPropagator::new().extract_with_context(&Context::new(), &Parent(parent)),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        let mut span = builder.with_start_time(end - begun.elapsed()).start_with_context(tracer, &context);
        if let Some(error) = error {
            span.set_status(Status::error(error));
        }
        span.end_with_timestamp(end);
    }

    /// Exports what was recorded, and ends the export. It can wait for the collector for some seconds.
    pub async fn stop(&self) {
        let Some(Exported { provider, .. }) = self.exported.get() else { return };
        let provider = provider.clone();
        // The failure of an export is logged by the client of the collector.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
    }
}

/// The value of [`PARENT_HEADER`].
struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == PARENT_HEADER).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT_HEADER]
    }
}

/// The connection to the collector. The exporter runs on a thread of its own, so the requests are sent by the runtime.
struct Collector {
    runtime: Handle,
    failures: Arc<Repeated>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.runtime.spawn(async { tokio::time::timeout(EXPORT_TIMEOUT, send(request)).await });
        let answer = match sent.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(elapsed)) => Err(elapsed.into()),
            Err(stopped) => Err(stopped.into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => self.failures.record_success(),
            Ok(answer) => self.failures.record_failure(&format!("the collector answered {}", answer.status())),
            Err(error) => self.failures.record_failure(&error.to_string()),
        }
        answer
    }
}

/// Sends one request on a connection of its own.
async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the endpoint has no host")?.clone();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    parts.uri = path;
    parts.headers.insert(header::HOST, authority.as_str().parse()?);
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let sent = sender.send_request(Request::from_parts(parts, Full::new(body)));
    let connection = tokio::spawn(connection);
    let (parts, body) = sent.await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}
