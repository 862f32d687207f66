//! `ingle recover`

use clap::Args;

use super::{Outcome, Place, print};
use crate::app::{self, Recovered};

/// Go on with a damaged or older registry, when there is no backup to restore.
///
/// For a folder that `serve` refuses to open because registry.db is damaged, lacks acknowledged changes, or is older than
/// the event log. What SQLite can still read is kept; what was lost stays lost. Numbers of devices that the event log knows
/// are not given again. Because nobody knows which devices changed hands since, the history of every device is hidden,
/// unless --keep-history says that none did. Copy the folder before.
#[derive(Args)]
pub struct Recover {
    #[command(flatten)]
    place: Place,
    /// Show the history of all devices: no device has changed hands since the copy of the registry was made.
    #[arg(long)]
    keep_history: bool,
}

impl Recover {
    pub(super) fn run(&self) -> Outcome {
        let Recovered { devices, problems } =
            app::recover(&self.place.data, self.keep_history).map_err(|error| error.to_string())?;
        for problem in &problems {
            print(&format!("lost: {problem}"));
        }
        print(&format!("the registry opens again, with {devices} devices; see the log of the next start"));
        Ok(())
    }
}
