//! `ingle check-config`

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, print};
use crate::config::Config;

/// Check a configuration file and the environment without starting anything.
#[derive(Args)]
pub struct CheckConfig {
    /// The file; without one, only the environment is checked.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl CheckConfig {
    pub(super) fn run(self) -> Outcome {
        Config::load(self.file.as_deref(), std::env::vars()).map_err(|error| error.to_string())?;
        print("ok");
        Ok(())
    }
}
