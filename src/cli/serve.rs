//! `ingle serve`

use std::future::Future;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, Place, print};
use crate::app::{Addresses, App, SystemClock};
use crate::config::{Config, Durability};
use crate::logging::LogLevel;

/// Run the server until it receives Ctrl-C or SIGTERM.
///
/// The first start creates the data folder, the key that encrypts secrets (secret.key) and a local CA with its certificate
/// (ca.pem). `ingle backup` makes a backup of the folder while the server runs. A backup of the folder must contain secret.key,
/// because nothing that is encrypted can be read without it; keep it as secret as the folder itself. The server prints the addresses
/// on which it listens. It does not start if a file is damaged, or if the folder is a copy that was made while a server was running.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    pub(super) place: Place,
    /// Print the addresses as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Start although files are damaged, or the folder is a copy of one that was in use: serve what is sound of it, and log what is
    /// not. Damaged files are set aside. If the registry lacks changes, it is repaired as by `ingle recover`, which hides all earlier
    /// device logs. Copy the folder first, and give this option for one start only.
    #[arg(long)]
    salvage: bool,
}

impl Serve {
    pub(super) async fn run(self, log_level: LogLevel) -> Outcome {
        let open = if self.salvage { App::salvage } else { App::open };
        let app = open(&self.place.data, self.place.config()?, Arc::new(SystemClock));
        let mut app = app.map_err(|error| error.to_string())?;
        app.log_level = Some(log_level);
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
        print("durability os: acknowledged rows may be lost in a power cut");
    }
}

/// Completes when the process receives a signal to stop. The signal handlers are installed when this returns, before the server
/// has printed its addresses.
pub(super) fn stopped() -> impl Future<Output = ()> {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| {
        let handler = signal(kind);
        if let Err(error) = &handler {
            tracing::warn!(%error, "a handler for a signal to stop could not be installed");
        }
        handler.ok()
    });
    async {
        let [terminate, interrupt] = signals;
        tokio::select! {
            () = received(terminate) => {}
            () = received(interrupt) => {}
        }
    }
}

async fn received(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

impl Place {
    /// The settings of a demo: those of the place, with `api.explain` on.
    pub(super) fn demo_config(&self) -> Result<Config, String> {
        let mut config = self.config()?;
        config.api.explain = true;
        Ok(config)
    }
}
