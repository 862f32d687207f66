//! Metrics that are counted and measured while they happen. A new one is a line of the table below; the place that knows
//! the value uses its field. Values that exist already are in the table of `metrics.rs`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::traces::Traces;

/// Upper bounds of requests and commands, in seconds.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Upper bounds of the numbers of rows.
const ROWS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0];

/// A histogram for each set of labels.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// A route of a cloud API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    /// The name of the dialect.
    pub dialect: &'static str,
    /// The method of HTTP, or `other`.
    pub method: &'static str,
    /// The path with the names of its parameters; empty for a path that matches none.
    pub route: Arc<str>,
}

/// A protocol of devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Protocol {
    /// Its name.
    pub protocol: &'static str,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandOutcome {
    /// `delivered`, or why it was not.
    pub outcome: &'static str,
}

/// Declares the instruments: the field, its type, how it is created, the name of the metric and its description.
macro_rules! instruments {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $new:expr, $name:literal, $help:literal;)*) => {
        /// The instruments of a server.
        pub struct Instruments {
            registry: Mutex<Registry>,
            /// The spans of the same work, for a collector of traces.
            pub traces: Traces,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for Instruments {
            fn default() -> Self {
                let mut registry = Registry::default();
                $(
                    let $field: $type = $new;
                    register(&mut registry, $name, $help, $field.clone());
                )*
                Self { registry: Mutex::new(registry), traces: Traces::default(), $($field,)* }
            }
        }
    };
}

instruments! {
    /// How long requests take, by route.
    requests: Histograms<Route> = Histograms::new_with_constructor(seconds), "ingle_request_duration_seconds",
        "Time from the headers of a request to its answer, by dialect, method and route.";
    /// Open sessions of devices, by protocol.
    sessions: Family<Protocol, Gauge> = Family::default(), "ingle_sessions",
        "Number of open sessions of devices, without devices behind gateways, by protocol.";
    /// Sessions of devices that began, by protocol.
    sessions_started: Family<Protocol, Counter> = Family::default(), "ingle_sessions_started_total",
        "Number of sessions of devices since the start, by protocol.";
    /// Messages from devices.
    messages: Counter = Counter::default(), "ingle_device_messages_total",
        "Number of messages from devices.";
    /// Reports of devices.
    reports: Counter = Counter::default(), "ingle_device_reports_total",
        "Number of messages from devices that report values or events.";
    /// How long reports take.
    report_seconds: Histogram = seconds(), "ingle_report_duration_seconds",
        "Time from the decoding of the reports that came in one read to their acknowledgement.";
    /// How long commands take.
    commands: Histograms<CommandOutcome> = Histograms::new_with_constructor(seconds), "ingle_command_duration_seconds",
        "Time from sending a command to its outcome: for a service, the answer of the device.";
    /// The size of group commits.
    commit_rows: Histogram = Histogram::new(ROWS), "ingle_log_commit_rows",
        "Number of rows in a group commit to the write-ahead log.";
    /// How long group commits take.
    commit_seconds: Histogram = seconds(), "ingle_log_commit_duration_seconds",
        "Time of a group commit to the write-ahead log, with its fsync.";
    /// How long the fsync of a group commit takes.
    fsync_seconds: Histogram = seconds(), "ingle_log_fsync_duration_seconds",
        "Time of the last step of a group commit: the write of the last pages and the fsync.";
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Registers a metric. The library appends `_total` to the names of counters, and a full stop to descriptions.
fn register(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    registry.register(name.trim_end_matches("_total"), help.trim_end_matches('.'), metric);
}

impl Instruments {
    /// Writes all metrics in the text format of Prometheus, and after them those that `sample` encodes.
    ///
    /// # Errors
    /// If a text cannot be written, which does not happen in memory.
    pub fn write(
        &self,
        sample: impl Fn(DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
    ) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)?;
        drop(registry);
        let mut sampled = Registry::default();
        sampled.register_collector(Box::new(Sampled(sample)));
        prometheus_client::encoding::prometheus_text::encode(&mut text, &sampled)?;
        Ok(text)
    }
}

/// Metrics whose values are read when they are asked for.
struct Sampled<F>(F);

impl<F> fmt::Debug for Sampled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sampled")
    }
}

impl<F: Fn(DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static> prometheus_client::collector::Collector
    for Sampled<F>
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(encoder)
    }
}
