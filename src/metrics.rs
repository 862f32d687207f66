//! Health and metrics for the operator, in the text format of Prometheus. A new metric whose value exists already is one
//! line of the table in `sample`; one that is counted or measured as it happens is a line of `instruments.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::domain::Cloud;
use crate::http::{Bodies, Requests};
use crate::instruments::Instruments;
use crate::net::Limits;
use crate::refusals::DeviceRefusals;
use crate::repeated::Repeated;

/// The registry must answer `/readyz` within this time.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of the server that have metrics.
#[derive(Clone)]
pub struct Sources {
    /// The cloud.
    pub cloud: Arc<Cloud>,
    /// Metrics that are counted as they happen.
    pub instruments: Arc<Instruments>,
    /// The memory budget of request bodies.
    pub bodies: Arc<Bodies>,
    /// Counters of refused requests.
    pub requests: Arc<Requests>,
    /// The counter of connections that could not be accepted.
    pub accepts: Arc<Repeated>,
    /// Counters of refused devices.
    pub device_refusals: Arc<DeviceRefusals>,
    /// Reads of the registry that its cache answered, and those that it did not.
    pub cache: [Counter; 2],
    /// The limits of each listener, or of several, by a name.
    pub connections: Vec<(&'static str, Arc<Limits>)>,
    /// When the first of the certificates in use expires, in seconds since 1970; `None` without TLS.
    pub certificate_expires_s: Option<i64>,
    /// Whether the server has opened all its listeners and is not shutting down.
    pub is_serving: Arc<AtomicBool>,
}

/// Answers 200 and `ok`, or 503 and what does not work.
async fn health(State(Sources { cloud, .. }): State<Sources>) -> (StatusCode, String) {
    match cloud.telemetry_figures().write_failure {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not writing: {why}\n")),
    }
}

/// Answers 200 and `ready` if requests and devices can be served, or 503 and why not: besides what `/healthz` checks, the
/// server must have opened its listeners, must not be shutting down, and must be able to read the registry.
async fn ready(State(sources): State<Sources>) -> (StatusCode, String) {
    let not_ready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"));
    if !sources.is_serving.load(Ordering::Acquire) {
        return not_ready("starting or shutting down");
    }
    if let Some(why) = sources.cloud.telemetry_figures().write_failure {
        return not_ready(&format!("not writing: {why}"));
    }
    match tokio::time::timeout(READ_TIMEOUT, sources.cloud.projects()).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Err(_)) => not_ready("the registry cannot be read"),
        Err(_) => not_ready("the registry does not answer"),
    }
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(sources: Sources) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(show))
        .with_state(sources)
}

async fn show(State(sources): State<Sources>) -> Response {
    let instruments = sources.instruments.clone();
    match instruments.write(move |encoder| sample(&sources, encoder)) {
        Ok(text) => {
            let content_type = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Encodes metrics, one a line of its table.
macro_rules! encode_metrics {
    ($encoder:ident; $($kind:ident $name:ident = $value:expr, $help:literal;)*) => {$(
        $kind(&mut $encoder, stringify!($name), $help, [([], $value)])?;
    )*};
}

/// Encodes the metrics whose values exist already.
fn sample(sources: &Sources, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let Sources { cloud, bodies, requests, device_refusals, accepts, cache: [hits, misses], .. } = sources;
    let (figures, feed) = (cloud.telemetry_figures(), cloud.feed_figures());
    encode_metrics! { encoder;
        counter ingle_log_rows_total = figures.rows_appended, "Number of rows acknowledged since the start.";
        counter ingle_log_commits_total = figures.commits, "Number of group commits to the write-ahead log.";
        gauge ingle_log_memory_rows = figures.rows_in_memory, "Number of rows in the memtables, not flushed yet.";
        gauge ingle_log_memory_bytes = figures.bytes_in_memory, "Approximate size of the memtables in bytes.";
        gauge ingle_log_memtables = figures.memtables, "Number of memtables: the active one, and those that wait for their flush.";
        gauge ingle_log_partitions = figures.partitions, "Number of partition files.";
        gauge ingle_log_runs = figures.runs, "Number of sorted runs in all partition files and in the latest values, as far as they were read.";
        counter ingle_log_rolls_total = figures.flushes, "Number of memtables flushed since the start.";
        counter ingle_log_rolls_failed_total = figures.flushes_failed, "Number of flushes that failed and are repeated.";
        counter ingle_log_damaged_total = figures.damaged, "Number of damaged parts found in files.";
        gauge ingle_log_writing = u64::from(figures.write_failure.is_none()), "0 while rows are refused because the disk is full or cannot be written, otherwise 1.";
        counter ingle_log_refused_rows_total = figures.refused_rows, "Number of rows refused because the disk was full.";
        counter ingle_log_lost_rows_total = figures.lost_rows, "Number of acknowledged rows that were missing at a start; it is never reset.";
        gauge ingle_log_waiting_to_expire = figures.waiting_to_expire, "Number of files that are too old only according to the clock; `ingle expire` removes them.";
        gauge ingle_disk_free_bytes = figures.disk_free_bytes, "Free space of the disk with the data folder, in bytes.";
        gauge ingle_disk_used_bytes = figures.disk_used_bytes, "Size of the files in the data folder, in bytes.";
        counter ingle_unknown_codes_total = cloud.unknown_codes(), "Number of reported data points whose code the product does not have.";
        counter ingle_clock_corrected_total = cloud.clocks_corrected(), "Number of impossible times from devices that were replaced by the time of the server.";
        gauge ingle_feed_listeners = feed.subscribers, "Number of connected subscribers of the live feed.";
        counter ingle_feed_dropped_total = feed.dropped, "Number of messages dropped because a subscriber was too slow.";
        gauge ingle_body_bytes = bodies.held_bytes(), "Bytes in use for request bodies, without the first 8 KiB of each.";
        counter ingle_bodies_refused_total = bodies.refused(), "Number of requests refused because the memory for bodies was used up.";
        gauge ingle_long_reads = figures.long_reads, "Number of long reads that are running.";
        counter ingle_reads_refused_total = figures.reads_refused, "Number of long reads refused because too many were waiting.";
        counter ingle_cache_hits_total = hits.get(), "Number of reads of the registry that its cache answered.";
        counter ingle_cache_misses_total = misses.get(), "Number of reads of the registry that its cache could not answer.";
        counter ingle_commands_unheard_total = device_refusals.not_subscribed_total(), "Number of commands whose topic matched no subscription of the device.";
        counter ingle_accepts_failed_total = accepts.total(), "Number of connections that could not be accepted.";
        counter ingle_trace_exports_failed_total = sources.instruments.traces.failures.total(), "Number of exports of traces that failed; their spans are lost.";
        gauge ingle_log_durable = u64::from(figures.durable), "1 if an acknowledgement waits for fsync, otherwise 0.";
    }
    if let Some(expires_s) = sources.certificate_expires_s {
        let help = "Time at which the first of the certificates in use expires, in seconds since 1970.";
        let value = u64::try_from(expires_s).unwrap_or_default();
        gauge(&mut encoder, "ingle_certificate_expiry_timestamp_seconds", help, [([], value)])?;
    }
    let build = [([("version", env!("CARGO_PKG_VERSION").to_owned())], 1_u64)];
    gauge(&mut encoder, "ingle_build_info", "1, with the version of this server.", build)?;
    let connections =
        sources.connections.iter().map(|(name, limits)| ([("listener", (*name).to_owned())], limits.open()));
    gauge(&mut encoder, "ingle_connections", "Number of open connections, by listener.", connections)?;
    let off_spec = cloud.off_spec_values().into_iter();
    let off_spec =
        off_spec.map(|(product, code, count)| ([("product", product.as_str().to_owned()), ("code", code)], count));
    let help = "Number of stored values that are off the specification of their function, by product and code; empty labels count all further codes.";
    counter(&mut encoder, "ingle_off_spec_values_total", help, off_spec)?;
    let refused = requests.totals().into_iter();
    let refused =
        refused.map(|(dialect, code, total)| ([("dialect", dialect.to_owned()), ("code", code.to_string())], total));
    counter(&mut encoder, "ingle_requests_refused_total", "Number of refused requests, by dialect and code.", refused)?;
    let refused = device_refusals.totals().map(|(reason, count)| ([("reason", reason.to_owned())], count));
    let help = "Number of refused connections and messages of devices, by reason.";
    counter(&mut encoder, "ingle_device_refusals_total", help, refused)
}

/// Encodes a counter with a value for each set of labels.
fn counter<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
) -> fmt::Result {
    // The library appends the suffix.
    let name = name.trim_end_matches("_total");
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    values.into_iter().try_for_each(|(labels, value)| ConstCounter::new(value).encode(metric.encode_family(&labels)?))
}

/// Encodes a gauge with a value for each set of labels.
fn gauge<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.into_iter().try_for_each(|(labels, value)| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)
    })
}
