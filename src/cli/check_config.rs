//! `ingle check-config`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Outcome, print};
use crate::config::Config;
use crate::logging;
use crate::tls;

/// Check a configuration file, the environment variables, and the certificate and key that they name. Nothing is started.
#[derive(Args)]
pub struct CheckConfig {
    /// The file. Without it, only the environment variables are checked.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl CheckConfig {
    pub(super) fn run(self) -> Outcome {
        let config = Config::load(self.file.as_deref(), std::env::vars()).map_err(|error| error.to_string())?;
        logging::check(&config.log.level).map_err(|error| format!("log.level: {error}"))?;
        let (certificates, key) = (&config.api.tls_cert, &config.api.tls_key);
        if !certificates.is_empty() {
            let opened = tls::from_files(Path::new(certificates), Path::new(key), tls::HTTP);
            opened.map_err(|error| format!("api.tls_cert, api.tls_key: {error}"))?;
        }
        print("ok");
        Ok(())
    }
}
