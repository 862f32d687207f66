//! Settings: read once, checked once, passed by value. `config.default.toml` is the default and the documentation.

use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

const DEFAULT: &str = include_str!("../config.default.toml");
const ENV_PREFIX: &str = "INGLE_";

/// Every setting.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The listeners of the cloud APIs.
    pub api: Api,
    /// The listeners for devices.
    pub mqtt: Mqtt,
    /// Time-outs and intervals.
    pub times: Times,
    /// The listener for health and metrics.
    pub metrics: Metrics,
    /// The log.
    pub log: Log,
    /// The export of traces.
    pub traces: Traces,
    /// The event log.
    pub telemetry: Telemetry,
    /// The Tuya dialect.
    pub tuya: Tuya,
    /// The Alibaba dialect.
    pub aliyun: Aliyun,
    /// The visual login.
    pub visual: Visual,
}

/// `[api]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Address of the plain listener, empty for none.
    pub listen: String,
    /// Address of the TLS listener, empty for none.
    pub tls_listen: String,
    /// PEM file of a certificate chain; empty for a certificate of the built-in CA.
    pub tls_cert: String,
    /// PEM file of the private key.
    pub tls_key: String,
    /// Additional names in the certificate of the built-in CA.
    pub tls_names: Vec<String>,
    /// Maximum number of open connections of each listener.
    pub connections_max: usize,
    /// Maximum memory for the bodies of requests, in megabytes.
    pub bodies_megabytes: usize,
    /// Whether refusals are explained.
    pub explain: bool,
}

/// `[mqtt]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// Address of the plain listener, empty for none.
    pub listen: String,
    /// Address of the TLS listener, empty for none.
    pub tls_listen: String,
    /// Address for a proxy that terminates TLS for devices, empty for none.
    pub proxy_listen: String,
    /// Maximum number of open connections.
    pub connections_max: usize,
    /// Maximum number of open connections from one address.
    pub connections_per_address: usize,
}

/// `[times]`, in milliseconds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The timeout for the CONNECT of a device.
    pub connect_ms: u64,
    /// How long after a device comes online commands wait for its subscription.
    pub subscribe_ms: u64,
    /// The timeout for the answer of a device to the call of a service.
    pub command_answer_ms: u64,
    /// The timeout for writing a command to a connection.
    pub command_delivery_ms: u64,
    /// The timeout for the headers of a request, and of an idle connection.
    pub request_head_ms: u64,
    /// The timeout for the body of a request.
    pub request_body_ms: u64,
    /// The interval at which virtual devices come online and report.
    pub virtual_round_ms: u64,
}

impl Times {
    /// The first setting outside of the accepted range.
    fn invalid(&self) -> Option<&'static str> {
        let settings = [
            ("connect_ms", self.connect_ms),
            ("subscribe_ms", self.subscribe_ms),
            ("command_answer_ms", self.command_answer_ms),
            ("command_delivery_ms", self.command_delivery_ms),
            ("request_head_ms", self.request_head_ms),
            ("request_body_ms", self.request_body_ms),
            ("virtual_round_ms", self.virtual_round_ms),
        ];
        settings.into_iter().find(|(_, ms)| !(50..=600_000).contains(ms)).map(|(name, _)| name)
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address, empty for none.
    pub listen: String,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The level, or levels by module.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// `[traces]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The URL of a collector of OTLP over HTTP; empty for no export.
    pub endpoint: String,
    /// How many percent of the traces are exported.
    pub percent: u8,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The condition for acknowledging a report.
    pub durability: Durability,
    /// Days for which log rows are stored.
    pub retention_days: u32,
    /// Maximum number of rows in memory.
    pub memory_rows: usize,
    /// Maximum memory for these rows, in megabytes.
    pub memory_megabytes: usize,
    /// Megabytes that must stay free on the disk.
    pub free_megabytes: u64,
}

/// The condition for acknowledging a report.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The report is on disk.
    Sync,
    /// The operating system has the report.
    Os,
}

/// `[tuya]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Tuya {
    /// The largest accepted difference between the time of a request and the server's clock.
    pub clock_window_seconds: u32,
    /// The URL of the live feed that apps are given.
    pub mqtt_url: String,
    /// Whether a login accepts the pending invitations of the user into homes.
    pub accept_invitations_at_login: bool,
}

/// `[aliyun]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Aliyun {
    /// Whether signatures with HmacSHA1 are accepted.
    pub hmac_sha1: bool,
    /// Whether a request must carry a time.
    pub require_timestamp: bool,
    /// The value of `owned` for a sharee.
    pub sharee_owned: u8,
    /// The address for devices that clients are given.
    pub mqtt_endpoint: String,
}

/// `[visual]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Visual {
    /// Whether passwords and tokens are accepted from other machines without TLS.
    pub plain_http: bool,
    /// Maximum number of failed logins per minute for an account from one address.
    pub failures_of_account: u16,
    /// Maximum number of failed logins per minute from an address, in each project and in the visual login.
    pub failures_of_address: u16,
}

/// An invalid setting. The text says which setting, where it is, and which values are valid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// The defaults, overridden by the file, overridden by the environment.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown setting, or an invalid value.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut settings: Table = DEFAULT.parse().map_err(|error| ConfigError(format!("default: {error}")))?;
        if let Some(path) = file {
            let place = path.display();
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{place}: {error}")))?;
            let table: Table = text.parse().map_err(|error| ConfigError(format!("{place}: {error}")))?;
            override_with(&mut settings, table).map_err(|text| ConfigError(format!("{place}: {text}")))?;
        }
        for (name, value) in environment {
            if let Some(rest) = name.strip_prefix(ENV_PREFIX) {
                from_environment(&mut settings, rest, &value).map_err(|text| ConfigError(format!("{name}: {text}")))?;
            }
        }
        let config: Self = settings.try_into().map_err(|error| ConfigError(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: &str| Err(ConfigError(text.to_owned()));
        if !(1..=36_500).contains(&self.telemetry.retention_days) {
            return refuse("telemetry.retention_days must be 1 to 36500");
        }
        if !(1_000..=100_000_000).contains(&self.telemetry.memory_rows) {
            return refuse("telemetry.memory_rows must be 1000 to 100000000");
        }
        if !(4..=65_536).contains(&self.telemetry.memory_megabytes) {
            return refuse("telemetry.memory_megabytes must be 4 to 65536");
        }
        if !(1..=100).contains(&self.traces.percent) {
            return refuse("traces.percent must be 1 to 100");
        }
        let endpoint = &self.traces.endpoint;
        if !endpoint.is_empty() && endpoint.strip_prefix("http://").is_none_or(|rest| rest.starts_with(['/', ':'])) {
            return refuse("traces.endpoint must be a URL such as http://127.0.0.1:4318/v1/traces");
        }
        if !(1..=3600).contains(&self.tuya.clock_window_seconds) {
            return refuse("tuya.clock_window_seconds must be 1 to 3600");
        }
        if let Some(name) = self.times.invalid() {
            return refuse(&format!("times.{name} must be 50 to 600000"));
        }
        if !matches!(self.aliyun.sharee_owned, 0 | 2) {
            return refuse("aliyun.sharee_owned must be 0 or 2");
        }
        if !(1..=1_000_000).contains(&self.mqtt.connections_max) {
            return refuse("mqtt.connections_max must be 1 to 1000000");
        }
        if !(1..=1_000_000).contains(&self.api.connections_max) {
            return refuse("api.connections_max must be 1 to 1000000");
        }
        if !(4..=65_536).contains(&self.api.bodies_megabytes) {
            return refuse("api.bodies_megabytes must be 4 to 65536");
        }
        if self.api.tls_cert.is_empty() != self.api.tls_key.is_empty() {
            return refuse("api.tls_cert and api.tls_key go together");
        }
        if let Some(name) = self.api.tls_names.iter().find(|name| !is_host(name)) {
            return refuse(&format!("api.tls_names: {name:?} is neither a host name nor an address"));
        }
        for (name, address) in [
            ("api.listen", &self.api.listen),
            ("api.tls_listen", &self.api.tls_listen),
            ("mqtt.listen", &self.mqtt.listen),
            ("mqtt.tls_listen", &self.mqtt.tls_listen),
            ("mqtt.proxy_listen", &self.mqtt.proxy_listen),
            ("metrics.listen", &self.metrics.listen),
        ] {
            if !address.is_empty() && address.parse::<std::net::SocketAddr>().is_err() {
                return refuse(&format!("{name} must be an address and a port, such as 127.0.0.1:7700, or empty"));
            }
        }
        Ok(())
    }
}

/// Overrides `defaults` by `settings`.
fn override_with(defaults: &mut Table, settings: Table) -> Result<(), String> {
    for (section, values) in settings {
        let Some(Value::Table(defaults)) = defaults.get_mut(&section) else {
            return Err(format!("there is no section [{section}]"));
        };
        let Value::Table(values) = values else { return Err(format!("[{section}] must be a section")) };
        for (key, value) in values {
            let slot = defaults.get_mut(&key).ok_or_else(|| format!("there is no setting {section}.{key}"))?;
            *slot = value;
        }
    }
    Ok(())
}

/// A variable that only shares the prefix belongs to another program, unless it names a section.
fn from_environment(defaults: &mut Table, rest: &str, value: &str) -> Result<(), String> {
    let rest = rest.to_ascii_lowercase();
    for (section, values) in defaults.iter_mut() {
        let (Some(key), Value::Table(values)) = (rest.strip_prefix(&format!("{section}_")), values) else { continue };
        let slot = values.get_mut(key).ok_or_else(|| format!("there is no setting {section}.{key}"))?;
        let typed = match slot {
            Value::Integer(_) => value.parse().map(Value::Integer).ok(),
            Value::Boolean(_) => value.parse().map(Value::Boolean).ok(),
            Value::Array(_) => list(value),
            _ => Some(Value::String(value.to_owned())),
        };
        *slot = typed.ok_or_else(|| format!("{value:?} does not fit {section}.{key}"))?;
    }
    Ok(())
}

/// A list in TOML, or items separated by commas.
fn list(text: &str) -> Option<Value> {
    if text.trim_start().starts_with('[') {
        let table: Table = format!("list = {text}").parse().ok()?;
        // The text must contain only the list, and nothing after a line end.
        let is_alone = table.len() == 1;
        return table.into_iter().next().filter(|_| is_alone).map(|(_, value)| value);
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
}

/// Whether a certificate can contain it: an IP address, or a DNS name whose first label may be a star.
fn is_host(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    // A name that ends in a number would be parsed as an address.
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && !is_number && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(None, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_wins_over_the_default() {
        let config = with(&[("INGLE_API_LISTEN", ""), ("INGLE_API_EXPLAIN", "true"), ("HOME", "/")]).unwrap();
        assert_eq!((config.api.listen.as_str(), config.api.explain), ("", true));
        assert_eq!(config.tuya.clock_window_seconds, 300);
    }

    #[test]
    fn a_list_is_read_as_toml_or_with_commas() {
        let names = |text: &str| with(&[("INGLE_API_TLS_NAMES", text)]).map(|config| config.api.tls_names);
        for (text, expected) in [
            ("a.example,b.example", vec!["a.example", "b.example"]),
            (" a.example, b.example ,", vec!["a.example", "b.example"]),
            (r#"["a.example","b.example"]"#, vec!["a.example", "b.example"]),
            (r#" [ "a.example", '10.0.0.7', ] "#, vec!["a.example", "10.0.0.7"]),
            ("[\"a\"]", vec!["a"]),
            ("[]", vec![]),
            ("", vec![]),
            (
                "*.home.arpa,::1,xn--bcher-kva.example,my_host",
                vec!["*.home.arpa", "::1", "xn--bcher-kva.example", "my_host"],
            ),
        ] {
            assert_eq!(names(text).unwrap(), expected, "{text}");
        }
        for text in [
            "[\"a\"",
            "[\"a\"]]",
            "[a]",
            "[1]",
            "[\"a\"]\nother = 1",
            "\"a\",\"b\"",
            "a b",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a*.b",
            "*",
            "https://a",
            "a:443",
            "1.2.3",
            "256.1.1.1",
            "bücher.example",
            "[\"\"]",
        ] {
            let error = names(text).unwrap_err().to_string();
            assert!(error.contains("tls_names"), "{text}: {error}");
        }
        assert!(
            names(&"a".repeat(64)).is_err()
                && names(&["a"; 127].join(".")).is_ok()
                && names(&["a"; 128].join(".")).is_err()
        );
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (name, value, text) in [
            ("INGLE_API_LISTN", "x", "api.listn"),
            ("INGLE_API_LISTEN", "x", "api.listen"),
            ("INGLE_API_EXPLAIN", "yes", "api.explain"),
            ("INGLE_API_BODIES_MEGABYTES", "3", "bodies_megabytes"),
            ("INGLE_TELEMETRY_RETENTION_DAYS", "0", "retention_days"),
            ("INGLE_TELEMETRY_DURABILITY", "maybe", "durability"),
            ("INGLE_TIMES_CONNECT_MS", "0", "times.connect_ms"),
            ("INGLE_TIMES_VIRTUAL_ROUND_MS", "600001", "times.virtual_round_ms"),
            ("INGLE_ALIYUN_SHAREE_OWNED", "1", "sharee_owned"),
            ("INGLE_API_TLS_CERT", "cert.pem", "tls_key"),
        ] {
            let error = with(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(text), "{name}: {error}");
        }
        assert!(with(&[("INGLE_OTHER_THING", "x")]).is_ok());
    }
}
