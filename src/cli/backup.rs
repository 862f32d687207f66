//! `ingle backup`

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::serve::stopped;
use super::{Outcome, Place, control, print};
use crate::control::ReceivedBackup;
use crate::durable_file::{Draft, SECRET_MODE};

/// Standard input or output instead of a file.
pub(super) const STANDARD: &str = "-";
/// After so many bytes the file is synced, so that the disk never has to write a large part of it at once.
const SYNC_BYTES: u64 = 8 << 20;

/// Copy everything in the data folder into one file, while the server runs or when it is stopped.
///
/// The backup contains the registry, the event log, the keys and the certificate of the CA as they were at one moment: everything
/// that was acknowledged before it, and nothing half. The server goes on meanwhile. The file is a tar archive with checksums, which
/// only its owner can read, because the key in it decrypts every secret. It gets its name when it is complete. `ingle restore` makes
/// a data folder of it. docs/backup.md describes backups.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Backup {
    /// The file, or - for standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Leave the keys out. Without secret.key nobody can decrypt the secrets in the backup, so keep the keys elsewhere.
    #[arg(long)]
    without_key: bool,
    /// Replace the file if it exists.
    #[arg(long)]
    overwrite: bool,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ingle backup /backups/ingle-monday.tar --data /var/lib/ingle
  ingle backup /backups/ingle.tar --overwrite --data /var/lib/ingle          one file that is replaced every night
  ingle backup - --data /var/lib/ingle | zstd | ssh nas 'cat > ingle.tar.zst'";

impl Backup {
    pub(super) async fn run(self) -> Outcome {
        let folder = &self.place.data;
        if !folder.exists() {
            return Err(format!("there is no data folder {}: name it with --data", folder.display()));
        }
        let is_standard = self.file == Path::new(STANDARD);
        if is_standard && std::io::stdout().is_terminal() {
            return Err("a backup is not written to a terminal: name a file, or redirect the output".to_owned());
        }
        if !is_standard {
            self.check_destination()?;
        }
        // A signal must not leave a part of a file.
        let stopped = stopped();
        let made = async {
            let (control, _app) = control(&self.place).await?;
            let backup = control.backup(!self.without_key).await?;
            let bytes = backup.bytes;
            let bar = progress_bar(bytes, "saving");
            let written =
                if is_standard { to_standard_output(backup, &bar).await } else { self.to_file(backup, &bar).await };
            bar.finish_and_clear();
            written.map(|()| bytes)
        };
        let bytes = tokio::select! {
            made = made => made?,
            () = stopped => return Err("the backup was interrupted; nothing is left of it".to_owned()),
        };
        if is_standard {
            return Ok(());
        }
        let keys =
            if self.without_key { "without the keys" } else { "with the keys: keep it as secret as the data folder" };
        let file = self.file.display();
        if self.json {
            print(&json!({"file": self.file, "bytes": bytes, "with_keys": !self.without_key}).to_string());
        } else {
            print(&format!("{file}: {bytes} bytes, {keys}"));
        }
        Ok(())
    }

    /// Refuses a destination at which no backup should be.
    fn check_destination(&self) -> Outcome {
        let file = self.file.display();
        match self.file.symlink_metadata() {
            Ok(found) if found.is_dir() => return Err(format!("{file} is a folder: name a file in it")),
            Ok(found) if !found.is_file() => return Err(format!("{file} is no regular file: name another one")),
            Ok(_) if !self.overwrite => {
                return Err(format!("{file} exists: name another file, or replace it with --overwrite"));
            }
            _ => {}
        }
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = parent.canonicalize().map_err(|error| format!("{}: {error}", parent.display()))?;
        let data = self.place.data.canonicalize().map_err(|error| format!("{}: {error}", self.place.data.display()))?;
        if parent.starts_with(&data) {
            return Err(format!("{file} would be in the data folder and be lost with it: name a file elsewhere"));
        }
        Ok(())
    }

    async fn to_file(&self, mut backup: ReceivedBackup, bar: &ProgressBar) -> Outcome {
        let mut draft = Draft::create(&self.file, SECRET_MODE).map_err(|error| error.to_string())?;
        let failed = |error: std::io::Error| format!("{}: {error}", self.file.display());
        let mut unsynced = 0;
        while let Some(piece) = backup.next().await? {
            draft.write_all(&piece).map_err(failed)?;
            bar.inc(piece.len() as u64);
            unsynced += piece.len() as u64;
            if unsynced >= SYNC_BYTES {
                draft.sync().map_err(failed)?;
                unsynced = 0;
            }
        }
        draft.publish(self.overwrite).map_err(|error| match error.cause.kind() {
            std::io::ErrorKind::AlreadyExists => format!("{} exists now: name another file", self.file.display()),
            _ => error.to_string(),
        })
    }
}

async fn to_standard_output(mut backup: ReceivedBackup, bar: &ProgressBar) -> Outcome {
    let mut output = std::io::stdout().lock();
    let failed = |error: std::io::Error| format!("standard output: {error}");
    while let Some(piece) = backup.next().await? {
        output.write_all(&piece).map_err(failed)?;
        bar.inc(piece.len() as u64);
    }
    output.flush().map_err(failed)
}

/// A progress bar over bytes, which is shown only on a terminal.
pub(super) fn progress_bar(bytes: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(doing);
    if let Ok(style) = ProgressStyle::with_template("{msg:>9} {wide_bar} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar
}
