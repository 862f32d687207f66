//! The log: lines on standard error as text or JSON, with a level that can be changed while the server runs.
//! `docs/logging.md` lists the events.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// The environment variable that sets the level, before the setting `log.level`.
const LEVEL_VARIABLE: &str = "RUST_LOG";

/// Changes the level of the log of this process.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Sets the level, such as `debug`, or levels by module, such as `info,ingle::gateway=debug`.
    ///
    /// # Errors
    /// A text that says what is wrong with the level.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let filter = parse(level)?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts the log of this process. `RUST_LOG` overrides `level`.
///
/// # Errors
/// A text that says what is wrong with the level.
pub fn start(format: LogFormat, level: &str) -> Result<LogLevel, String> {
    let from_environment = EnvFilter::try_from_env(LEVEL_VARIABLE).ok();
    let (filter, handle) = reload::Layer::new(from_environment.map_or_else(|| parse(level), Ok)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    // A second subscriber in one process (a test) is no reason to stop.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(LogLevel(handle))
}

/// Checks a level.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn check(level: &str) -> Result<(), String> {
    parse(level).map(|_| ())
}

fn parse(level: &str) -> Result<EnvFilter, String> {
    let explained = |text: &str| {
        format!("{level:?} is not a log level: use error, warn, info, debug or trace, or levels by module ({text})")
    };
    if level.trim().is_empty() {
        return Err(explained("it is empty"));
    }
    // A single word that is not a level would be the name of a module, with every level.
    let is_word = |part: &str| !part.contains('=') && part.parse::<tracing_subscriber::filter::LevelFilter>().is_err();
    let level = level.replace(' ', "");
    if let Some(word) = level.split(',').find(|part| is_word(part)) {
        return Err(explained(&format!("{word:?} is none")));
    }
    EnvFilter::try_new(&level).map_err(|error| explained(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_would_log_nothing_or_everything_by_mistake_is_refused() {
        for level in ["info", "DEBUG", "off", "warn,ingle=debug", "info, ingle::gateway=trace"] {
            assert_eq!(check(level), Ok(()), "{level}");
        }
        for level in ["", " ", "verbose", "inf", "ingle=loud", "info,ingle"] {
            assert!(check(level).unwrap_err().contains("not a log level"), "{level}");
        }
    }
}
