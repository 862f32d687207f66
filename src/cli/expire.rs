//! `ingle expire`

use clap::Args;

use super::{Outcome, Place, control, print};

/// Remove the log files that are older than telemetry.retention_days according to the clock.
///
/// The server removes old files by itself while it runs. After it was off for a long time, or when the clock was wrong, it keeps the
/// files that are too old only according to the clock, reports them in its log and in the metric ingle_log_waiting_to_expire, and
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
