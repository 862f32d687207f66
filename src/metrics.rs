//! Health and metrics for the operator, in the text format of Prometheus. A new metric is one line of the table in `show`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::domain::Cloud;
use crate::http::{Bodies, Requests};
use crate::refusals::DeviceRefusals;
use crate::repeated::Repeated;

/// The parts of the server that have metrics.
#[derive(Clone)]
pub struct Sources {
    /// The cloud.
    pub cloud: Arc<Cloud>,
    /// The memory budget of request bodies.
    pub bodies: Arc<Bodies>,
    /// Counters of refused requests.
    pub requests: Arc<Requests>,
    /// The counter of connections that could not be accepted.
    pub accepts: Arc<Repeated>,
    /// Counters of refused devices.
    pub device_refusals: Arc<DeviceRefusals>,
}

/// Answers 200 and `ok`, or 503 and what does not work.
async fn health(State(Sources { cloud, .. }): State<Sources>) -> (StatusCode, &'static str) {
    if cloud.telemetry_figures().is_writing {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not writing: the disk is full\n")
    }
}

/// `/healthz` and `/metrics`.
pub fn router(sources: Sources) -> Router {
    Router::new().route("/healthz", get(health)).route("/metrics", get(show)).with_state(sources)
}

/// Appends metrics to a text, one a line of its table.
macro_rules! write_metrics {
    ($text:ident; $($kind:ident $name:ident = $value:expr, $help:literal;)*) => {$(
        let (name, kind) = (stringify!($name), stringify!($kind));
        let _ = writeln!($text, "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {}", $help, $value);
    )*};
}

async fn show(State(sources): State<Sources>) -> String {
    let Sources { cloud, bodies, requests, device_refusals, accepts } = sources;
    let (figures, feed) = (cloud.telemetry_figures(), cloud.feed_figures());
    let mut text = String::new();
    write_metrics! { text;
        counter ingle_log_rows_total = figures.rows_appended, "Number of rows acknowledged since the start.";
        counter ingle_log_commits_total = figures.commits, "Number of group commits to the write-ahead log.";
        gauge ingle_log_memory_rows = figures.rows_in_memory, "Number of rows in the memtables, not flushed yet.";
        counter ingle_log_rolls_total = figures.rolls, "Number of memtables flushed since the start.";
        counter ingle_log_rolls_failed_total = figures.rolls_failed, "Number of flushes that failed and are repeated.";
        counter ingle_log_damaged_total = figures.damaged, "Number of damaged parts found in files.";
        gauge ingle_log_writing = u64::from(figures.is_writing), "0 while the disk is full and rows are refused, otherwise 1.";
        counter ingle_log_refused_rows_total = figures.refused_rows, "Number of rows refused because the disk was full.";
        counter ingle_log_lost_rows_total = figures.lost_rows, "Number of acknowledged rows that were missing at a start; it is never reset.";
        gauge ingle_log_waiting_to_expire = figures.waiting_to_expire, "Number of files that are too old only according to the clock; `ingle expire` removes them.";
        counter ingle_unknown_codes_total = cloud.unknown_codes(), "Number of reported data points whose code the product does not have.";
        counter ingle_clock_corrected_total = cloud.clocks_corrected(), "Number of impossible times from devices that were replaced by the time of the server.";
        gauge ingle_feed_listeners = feed.listeners, "Number of connected subscribers of the live feed.";
        counter ingle_feed_dropped_total = feed.dropped, "Number of messages dropped because a subscriber was too slow.";
        gauge ingle_body_bytes = bodies.held_bytes(), "Bytes in use for request bodies, without the first 8 KiB of each.";
        counter ingle_bodies_refused_total = bodies.refused(), "Number of requests refused because the memory for bodies was used up.";
        gauge ingle_long_reads = figures.long_reads, "Number of long reads that are running.";
        counter ingle_reads_refused_total = figures.reads_refused, "Number of long reads refused because too many were waiting.";
        counter ingle_commands_unheard_total = device_refusals.not_subscribed_total(), "Number of commands whose topic matched no subscription of the device.";
        counter ingle_accepts_failed_total = accepts.total(), "Number of connections that could not be accepted.";
        gauge ingle_log_durable = u64::from(figures.durable), "1 if an acknowledgement waits for fsync, otherwise 0.";
    }
    let name = "ingle_off_spec_values_total";
    let help = "Number of stored values that are off the specification of their function, by product and code; empty labels count all further codes.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for (product, code, count) in cloud.off_spec_values() {
        let (product, code) = (label(product.as_str()), label(&code));
        let _ = writeln!(text, "{name}{{product=\"{product}\",code=\"{code}\"}} {count}");
    }
    let name = "ingle_requests_refused_total";
    let _ = writeln!(text, "# HELP {name} Number of refused requests, by dialect and code.\n# TYPE {name} counter");
    for (dialect, code, total) in requests.totals() {
        let _ = writeln!(text, "{name}{{dialect=\"{dialect}\",code=\"{code}\"}} {total}");
    }
    let (name, help) =
        ("ingle_device_refusals_total", "Number of refused connections and messages of devices, by reason.");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for (reason, count) in device_refusals.totals() {
        let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
    }
    text
}

/// The value of a label, escaped for the text format.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
