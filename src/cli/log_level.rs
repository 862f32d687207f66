//! `ingle log-level`

use clap::Args;

use super::{Outcome, Place, running};

/// Change the log level of a running server, until it stops.
///
/// The setting log.level and the environment variable RUST_LOG set the level with which a server starts. docs/logging.md lists
/// what is logged at which level.
#[derive(Args)]
pub struct LogLevel {
    /// error, warn, info, debug or trace, or levels by module: info,ingle::gateway=debug.
    #[arg(value_name = "LEVEL")]
    level: String,
    #[command(flatten)]
    place: Place,
}

impl LogLevel {
    pub(super) async fn run(self) -> Outcome {
        running(&self.place)?.ask("/log-level", self.level).await.map(|_| ())
    }
}
