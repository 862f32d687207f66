//! `ingle serve`

use std::sync::Arc;

use clap::Args;

use super::{Outcome, Place, print};
use crate::app::{Addresses, App, SystemClock};
use crate::config::{Config, Durability};

/// Run the server until it is told to stop (Ctrl-C or SIGTERM).
///
/// The first start creates the data folder, the key that encrypts secrets (secret.key: keep a copy, it is not in any
/// backup of the data) and a local CA whose certificate is ca.pem. The addresses in force are printed.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    place: Place,
    /// Print the addresses as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Outcome {
        let app = App::open(&self.place.data, self.place.config()?, Arc::new(SystemClock));
        let app = app.map_err(|error| error.to_string())?;
        let durability = self.place.config()?.telemetry.durability;
        let announce = |addresses: &Addresses| announce(addresses, self.json, durability);
        app.serve(announce, stopped()).await.map_err(|error| error.to_string())
    }
}

fn announce(addresses: &Addresses, json: bool, durability: Durability) {
    if json {
        print(&serde_json::to_string(addresses).unwrap_or_default());
        return;
    }
    for (name, address) in addresses.lines() {
        print(&format!("{name} {address}"));
    }
    if durability == Durability::Os {
        print("durability os: a power cut may take acknowledged rows");
    }
}

/// Done when the process is told to stop.
pub(super) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be noticed");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

impl Place {
    /// The settings of a demo: as any others, but refusals are explained.
    pub(super) fn demo_config(&self) -> Result<Config, String> {
        let mut config = self.config()?;
        config.api.explain = true;
        Ok(config)
    }
}
