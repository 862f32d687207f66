//! `ingle restore`

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::json;

use super::backup::{STANDARD, progress_bar};
use super::serve::stopped;
use super::{Outcome, print};
use crate::app::{self, Restored};
use crate::domain::Error;

/// Make a data folder of a backup.
///
/// The folder must not exist, or be empty. The whole backup is examined first: every checksum, every block of the event log, and
/// whether the key decrypts the secrets. Only then the folder gets its name, so that an interrupted or damaged restore leaves nothing
/// behind. If this command runs as root, give the folder to the user of the server afterwards.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Restore {
    /// The backup, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder to make.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The folder with secret.key, and with ca.key if there is one, for a backup without keys.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ingle restore /backups/ingle-monday.tar --data /var/lib/ingle
  ingle restore without-keys.tar --keys /root/ingle-keys --data /var/lib/ingle
  ssh nas 'zstdcat ingle.tar.zst' | ingle restore - --data /var/lib/ingle";

impl Restore {
    pub(super) async fn run(self) -> Outcome {
        let (data, keys) = (self.data.clone(), self.keys.clone());
        let restored = read_backup(&self.file, "restoring", move |archive, progress| {
            app::restore(archive, &data, keys.as_deref(), progress).map_err(|error| error.to_string())
        });
        let Restored { manifest, report } = restored.await?;
        if self.json {
            let value = json!({"data": self.data, "time": manifest.time, "devices": report.devices, "rows": report.rows,
                "notes": report.notes});
            print(&value.to_string());
            return Ok(());
        }
        print(&format!(
            "{}: {} devices and {} rows of the event log, as of {}",
            self.data.display(),
            report.devices,
            report.rows,
            manifest.time
        ));
        report.notes.iter().for_each(|note| print(&format!("note: {note}")));
        Ok(())
    }
}

/// Reports the bytes that were read, and fails after a signal to stop.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64) -> crate::domain::Result<()>;

/// Runs `work` on a backup in a thread, with a progress bar. A signal to stop lets `work` fail and clean up.
pub(super) async fn read_backup<T: Send + 'static>(
    file: &Path,
    doing: &'static str,
    work: impl FnOnce(&mut dyn Read, Progress<'_>) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (mut archive, bytes): (Box<dyn Read + Send>, u64) = if file == Path::new(STANDARD) {
        (Box::new(std::io::stdin()), 0)
    } else {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let opened = File::open(file).map_err(failed)?;
        let bytes = opened.metadata().map_err(failed)?.len();
        (Box::new(std::io::BufReader::with_capacity(1 << 20, opened)), bytes)
    };
    let name = file.display().to_string();
    in_thread(bytes, doing, move |progress| work(&mut archive, progress))
        .await
        .map_err(|error| format!("{name}: {error}"))
}

/// Runs `work` in a thread, with a progress bar. A signal to stop lets `work` fail and clean up.
pub(super) async fn in_thread<T: Send + 'static>(
    bytes: u64,
    doing: &'static str,
    work: impl FnOnce(Progress<'_>) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let bar = progress_bar(bytes, doing);
    let is_stopped = Arc::new(AtomicBool::new(false));
    let (shown, stop) = (bar.clone(), is_stopped.clone());
    let mut progress = move |bytes| {
        shown.inc(bytes);
        if stop.load(Ordering::Relaxed) { Err(Error::Refused("it was interrupted".to_owned())) } else { Ok(()) }
    };
    let stopped = stopped();
    let mut running = tokio::task::spawn_blocking(move || work(&mut progress));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = stopped => {
            is_stopped.store(true, Ordering::Relaxed);
            running.await
        }
    };
    bar.finish_and_clear();
    ended.unwrap_or_else(|panicked| Err(panicked.to_string()))
}
