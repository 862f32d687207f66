//! `ingle expire`

use clap::Args;

use super::{Outcome, Place, control, print};

/// Remove the log files that are older than telemetry.retention_days by the clock as it is now.
///
/// The server removes them by itself as time passes while it runs. After a long time off, or when the clock was wrong, it
/// keeps files that the clock alone calls too old, says so in its log and in the metric ingle_log_waiting_to_expire, and
/// waits for this command. Check the date of this machine first.
#[derive(Args)]
pub struct Expire {
    #[command(flatten)]
    place: Place,
}

impl Expire {
    pub(super) async fn run(self) -> Outcome {
        if !self.place.data.exists() {
            return Err(format!("there is no data folder {}: name it with --data", self.place.data.display()));
        }
        let (control, _app) = control(&self.place).await?;
        let removed = control.ask("/expire", " ".to_owned()).await?;
        print(&format!("{} files of the event log were removed", String::from_utf8_lossy(&removed)));
        Ok(())
    }
}
