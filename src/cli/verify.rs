//! `ingle verify`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::restore::{in_thread, read_backup};
use super::{Outcome, Place, print};
use crate::app::{self, AppError};
use crate::control::{Control, SOCKET_FILE};

/// Examine the data folder, or compare a backup with its checksums.
///
/// Every page, index and reference of the registry and every block of the event log is read, and every secret is decrypted. Nothing
/// is changed. It works while the server runs and when it is stopped. With --backup, every file in the backup is compared with its
/// checksum. The exit code is 0 if nothing is wrong.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// A backup to examine instead of the data folder, or - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    backup: Option<PathBuf>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ingle verify --data /var/lib/ingle
  ingle verify --backup /backups/ingle-monday.tar";

impl Verify {
    pub(super) async fn run(self) -> Outcome {
        match &self.backup {
            Some(file) => self.of_backup(file.clone()).await,
            None => self.of_folder().await,
        }
    }

    async fn of_backup(&self, file: PathBuf) -> Outcome {
        let checked = read_backup(&file, "reading", |archive, progress| {
            app::check(archive, progress).map_err(|error| error.to_string())
        });
        let manifest = checked.await?;
        if self.json {
            print(
                &json!({"backup": file, "time": manifest.time, "files": manifest.files.len(),
                "with_keys": manifest.with_keys})
                .to_string(),
            );
        } else {
            let keys = if manifest.with_keys { "with the keys" } else { "without the keys" };
            print(&format!(
                "{}: every checksum is correct; {} files as of {}, {keys}",
                file.display(),
                manifest.files.len(),
                manifest.time
            ));
        }
        Ok(())
    }

    async fn of_folder(&self) -> Outcome {
        let folder = self.place.data.clone();
        let bytes = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let bytes = bytes.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum();
        let examined = in_thread(bytes, "reading", move |progress| match app::verify(&folder, progress) {
            Ok(report) => serde_json::to_value(report).map(Some).map_err(|error| error.to_string()),
            Err(AppError::InUse(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        });
        let report = match examined.await? {
            Some(report) => report,
            None => {
                let answer = Control::Running(self.place.data.join(SOCKET_FILE)).ask("/verify", String::new()).await?;
                serde_json::from_slice(&answer).map_err(|error| error.to_string())?
            }
        };
        self.show(&report)
    }

    fn show(&self, report: &Value) -> Outcome {
        let texts = |name: &str| {
            let list = report[name].as_array().cloned().unwrap_or_default();
            list.into_iter().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let problems = texts("problems");
        if self.json {
            print(&report.to_string());
        } else {
            print(&format!(
                "{}: {} files with {} bytes, {} devices, {} rows of the event log, {} secrets",
                self.place.data.display(),
                report["files"],
                report["bytes"],
                report["devices"],
                report["rows"],
                report["secrets"]
            ));
            texts("notes").iter().for_each(|note| print(&format!("note: {note}")));
            problems.iter().for_each(|problem| print(&format!("wrong: {problem}")));
        }
        match problems.len() {
            0 => Ok(()),
            count => Err(format!("{} is damaged ({count} problems)", self.place.data.display())),
        }
    }
}
