//! Health and metrics for the operator, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::domain::Cloud;
use crate::http::{Bodies, Refusals};
use crate::refusals::DeviceRefusals;
use crate::repeated::Repeated;

/// Where the figures come from.
#[derive(Clone)]
pub struct Sources {
    /// The cloud.
    pub cloud: Arc<Cloud>,
    /// The bodies of requests.
    pub bodies: Arc<Bodies>,
    /// Requests that were refused.
    pub refusals: Arc<Refusals>,
    /// Connections that could not be accepted.
    pub accepts: Arc<Repeated>,
    /// Devices that were refused.
    pub device_refusals: Arc<DeviceRefusals>,
}

/// Whether everything works: 200 and `ok`, or 503 and what does not.
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

async fn show(State(sources): State<Sources>) -> String {
    let Sources { cloud, bodies, refusals, device_refusals, accepts } = sources;
    let (figures, feed) = (cloud.telemetry_figures(), cloud.feed_figures());
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("ingle_log_rows_total", "counter", "Rows acknowledged since the start.", figures.rows_appended),
        ("ingle_log_commits_total", "counter", "Commits that brought them.", figures.commits),
        ("ingle_log_memory_rows", "gauge", "Rows in memory that wait for a roll.", figures.rows_in_memory),
        ("ingle_log_rolls_total", "counter", "Rolls finished since the start.", figures.rolls),
        ("ingle_log_rolls_failed_total", "counter", "Rolls that failed and are tried again.", figures.rolls_failed),
        ("ingle_log_damaged_total", "counter", "Parts of files that were found damaged.", figures.damaged),
        ("ingle_log_writing", "gauge", "0 while the disk is full and rows are refused.", u64::from(figures.is_writing)),
        ("ingle_log_refused_rows_total", "counter", "Rows refused because the disk is full.", figures.refused_rows),
        ("ingle_log_lost_rows_total", "counter", "Acknowledged rows found missing, at any start.", figures.lost_rows),
        (
            "ingle_log_waiting_to_expire",
            "gauge",
            "Files that are too old by the clock alone: `ingle expire` removes them.",
            figures.waiting_to_expire,
        ),
        ("ingle_unknown_codes_total", "counter", "Values reported that no product has.", cloud.unknown_codes()),
        ("ingle_clock_corrected_total", "counter", "Times by devices that could not be.", cloud.clocks_corrected()),
        ("ingle_feed_listeners", "gauge", "Apps that listen to their devices.", feed.listeners),
        ("ingle_feed_dropped_total", "counter", "Messages dropped for listeners that were too slow.", feed.dropped),
        ("ingle_body_bytes", "gauge", "Bytes held for bodies of requests, beyond small ones.", bodies.held_bytes()),
        ("ingle_bodies_refused_total", "counter", "Requests refused for want of memory for bodies.", bodies.refused()),
        ("ingle_long_reads", "gauge", "Long reads under way.", figures.long_reads),
        ("ingle_reads_refused_total", "counter", "Long reads refused, too many waited.", figures.reads_refused),
        (
            "ingle_commands_unheard_total",
            "counter",
            "Commands to devices that subscribed to nothing that covers them.",
            device_refusals.unheard_total(),
        ),
        ("ingle_accepts_failed_total", "counter", "Connections that could not be accepted.", accepts.total()),
        ("ingle_log_durable", "gauge", "1 if an acknowledgement waits for the disk.", u64::from(figures.durable)),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    let name = "ingle_off_spec_values_total";
    let help =
        "Values kept that their functions cannot have, by product and code; without names those of further codes.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for (product, code, count) in cloud.off_spec_values() {
        let (product, code) = (label(product.as_str()), label(&code));
        let _ = writeln!(text, "{name}{{product=\"{product}\",code=\"{code}\"}} {count}");
    }
    let name = "ingle_requests_refused_total";
    let _ = writeln!(text, "# HELP {name} Requests refused, by dialect and code.\n# TYPE {name} counter");
    for (dialect, code, total) in refusals.totals() {
        let _ = writeln!(text, "{name}{{dialect=\"{dialect}\",code=\"{code}\"}} {total}");
    }
    let (name, help) = ("ingle_device_refusals_total", "Devices and messages of theirs that were refused, by reason.");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for (reason, count) in device_refusals.totals() {
        let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
    }
    text
}

/// A label's value, escaped as the text format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
