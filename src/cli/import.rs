//! `ingle import events`

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Outcome, Place, control, print};
use crate::control::Control;

/// The path of the second pass, which stores. The first pass only checks.
const IMPORT: &str = "/events";
/// The number of lines in one request.
const BATCH_LINES: usize = 5_000;
/// The number of bytes in one request.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Import data from elsewhere.
#[derive(Args)]
pub struct Import {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Events(Events),
}

/// Add historical events to the logs of devices.
///
/// The file has one JSON object per line: {"device_id": "...", "time": 1763800000000, "type": 7, "from": 1, "code": "switch_1",
/// "value": true}. The time is in milliseconds, type and from are the numbers of the vendor, code and value belong to type 7, and the
/// value has its JSON type. The latest value of a data point is replaced if the row is newer. A time slightly in the future becomes
/// the time of the server. The whole file is checked first: if a line is wrong, it is named and nothing is imported.
#[derive(Args)]
struct Events {
    /// The file. It is read twice.
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Import {
    pub(super) async fn run(self) -> Outcome {
        let What::Events(events) = self.what;
        let (control, _app) = control(&events.place).await?;
        let checked = events.send(&control, "/events/check", "checking").await?;
        let imported = events.send(&control, IMPORT, "importing").await?;
        print(&format!("{imported} events imported"));
        if checked == imported { Ok(()) } else { Err(format!("the file changed: {checked} events were checked")) }
    }
}

impl Events {
    /// Sends the file in batches and returns the number of events.
    async fn send(&self, control: &Control, path: &str, doing: &'static str) -> Result<u64, String> {
        let name = self.file.display().to_string();
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let file = File::open(&self.file).map_err(failed)?;
        let bar = ProgressBar::new(file.metadata().map_err(failed)?.len()).with_message(doing);
        if let Ok(style) = ProgressStyle::with_template("{msg:>9} {wide_bar} {bytes}/{total_bytes} {eta}") {
            bar.set_style(style);
        }
        let mut lines = BufReader::new(file).lines();
        let (mut first_line, mut events) = (0, 0);
        loop {
            let (mut batch, mut count) = (String::new(), 0);
            while count < BATCH_LINES
                && batch.len() < BATCH_BYTES
                && let Some(line) = lines.next()
            {
                batch.push_str(&line.map_err(failed)?);
                batch.push('\n');
                count += 1;
            }
            if count == 0 {
                bar.finish_and_clear();
                return Ok(events);
            }
            bar.inc(batch.len() as u64);
            let answer = control.ask(path, batch).await.map_err(|text| {
                let imported = if path == IMPORT { events } else { 0 };
                numbered(&name, &text, first_line, imported)
            })?;
            events += String::from_utf8_lossy(&answer).trim().parse::<u64>().map_err(|error| error.to_string())?;
            first_line += count;
        }
    }
}

/// Adds the lines of the batches before: the server counts lines from the beginning of a batch.
fn numbered(file: &str, text: &str, lines_before: usize, imported: u64) -> String {
    let kept = match imported {
        0 => "nothing was imported".to_owned(),
        count => format!("{count} events before it were imported"),
    };
    let line = text.strip_prefix("line ").and_then(|rest| {
        let (number, what) = rest.split_once(':')?;
        Some((number.parse::<usize>().ok()?, what))
    });
    match line {
        Some((number, what)) => format!("{file}, line {}:{what}; {kept}", lines_before + number),
        None => format!("{file}: {text}; {kept}"),
    }
}
