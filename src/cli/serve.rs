//! `ingle serve`

use std::future::Future;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, Place, print};
use crate::app::{Addresses, App, SystemClock};
use crate::config::{Config, Durability};

/// Run the server until it is told to stop (Ctrl-C or SIGTERM).
///
/// The first start creates the data folder, the key that encrypts secrets (secret.key) and a local CA whose certificate is
/// ca.pem. A backup of the folder needs secret.key in it, without which nothing that was encrypted can be read, and is then as
/// secret as the folder itself. The addresses in force are printed.
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

/// Done when the process is told to stop. What notices it is in place when this returns, and so before anybody can
/// know that there is a server to stop.
pub(super) fn stopped() -> impl Future<Output = ()> {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| {
        let noticed = signal(kind);
        if let Err(error) = &noticed {
            tracing::warn!(%error, "a signal to stop cannot be noticed");
        }
        noticed.ok()
    });
    async {
        let [terminate, interrupt] = signals;
        tokio::select! {
            () = told(terminate) => {}
            () = told(interrupt) => {}
        }
    }
}

async fn told(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
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
