//! `ingle recover`

use clap::Args;

use super::{Outcome, Place, print};
use crate::app::{self, OldHistory, Recovered};

/// Continue with a registry that is damaged or too old, if there is no backup to restore.
///
/// Use it for a folder that `serve` refuses to open because registry.db is damaged, lacks acknowledged changes, or is older than the
/// event log. What SQLite can still read is kept. Device numbers that occur in the event log are not assigned again. The registry may
/// not know which devices have changed their owner since, so the history of every device is hidden, unless --keep-history states that
/// no device has. Copy the folder first.
#[derive(Args)]
pub struct Recover {
    #[command(flatten)]
    place: Place,
    /// Keep the history of all devices visible: no device has changed its owner since this copy of the registry was made.
    #[arg(long)]
    keep_history: bool,
}

impl Recover {
    pub(super) fn run(&self) -> Outcome {
        let history = if self.keep_history { OldHistory::Keep } else { OldHistory::Hide };
        let Recovered { devices, problems } =
            app::recover(&self.place.data, history).map_err(|error| error.to_string())?;
        for problem in &problems {
            print(&format!("lost: {problem}"));
        }
        print(&format!("the registry opens again, with {devices} devices; see the log of the next start"));
        Ok(())
    }
}
