//! Health and metrics for the operator, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::domain::Cloud;

/// `/healthz` and `/metrics`.
pub fn router(cloud: Arc<Cloud>) -> Router {
    Router::new().route("/healthz", get(health)).route("/metrics", get(show)).with_state(cloud)
}

/// Whether everything works: 200 and `ok`, or 503 and what does not.
async fn health(State(cloud): State<Arc<Cloud>>) -> (StatusCode, &'static str) {
    if cloud.telemetry_figures().is_writing {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not writing: the disk is full\n")
    }
}

async fn show(State(cloud): State<Arc<Cloud>>) -> String {
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
        ("ingle_log_durable", "gauge", "1 if an acknowledgement waits for the disk.", u64::from(figures.durable)),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
}
