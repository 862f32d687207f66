//! `ingle import events`

mod answers;
mod lines;
mod rows;
mod table;

use std::fs::File;
use std::io::Seek;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use self::rows::{BadRow, Format, Row};
use super::{Outcome, Place, control, print};
use crate::control::Control;
use crate::control::import::{CHECK_PATH, IMPORT_PATH, ImportAnswer, ImportOptions};

/// The number of rows in one request.
const BATCH_ROWS: usize = 5_000;
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
/// The whole file is checked first: if a row is wrong, it is named by its line and nothing is imported. Rows that the log has
/// already, with the same device, time, type, code and value, are not added again, so an import that was interrupted can be
/// repeated.
///
/// Formats: JSON lines with the members device_id, time, type, from, code and value; CSV with these columns; answers of GET
/// /v1.0/devices/{device_id}/logs, one after another. Times are in milliseconds since 1970 or ISO 8601 with an offset. Type
/// and from are the numbers of the vendor. Code and value belong to data points (type 7); a value may be text, such as "21"
/// for 21. The latest value of a data point is replaced if the row is newer. A time slightly in the future becomes the time
/// of the server.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Events {
    /// The file. It is read twice.
    file: PathBuf,
    /// The format. By default it is recognized by the end of the name (.csv, .jsonl) or by the content.
    #[arg(long)]
    format: Option<Format>,
    /// The device of rows that name none.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Also import data points whose code or value the product cannot have, as a device can report them. Values of a strict
    /// product are still refused.
    #[arg(long)]
    lenient: bool,
    #[command(flatten)]
    place: Place,
}

const EXAMPLES: &str = "\
Examples:
  ingle import events history.jsonl --data /var/lib/ingle
  ingle import events history.csv --lenient --data /var/lib/ingle
  ingle import events logs.json --format tuya --device 27511006b4e62d4b8f21 --data /var/lib/ingle";

impl Import {
    pub(super) async fn run(self) -> Outcome {
        let What::Events(events) = self.what;
        let (control, _app) = control(&events.place).await?;
        let mut file = File::open(&events.file).map_err(|error| events.failed(&error))?;
        let format = match events.format {
            Some(format) => format,
            None => rows::recognize(&events.name(), &mut file).map_err(|error| events.failed(&error))?,
        };
        let checked = events.send(&control, (&mut file, format), CHECK_PATH).await?;
        let ImportAnswer { stored, known, unfit } = events.send(&control, (&mut file, format), IMPORT_PATH).await?;
        print(&format!("{stored} events imported, {known} were there already"));
        if events.lenient {
            print(&format!("{unfit} of the imported events are data points that their product cannot have"));
        }
        match checked.stored == stored + known {
            true => Ok(()),
            false => Err(format!("the file changed: {} events were checked", checked.stored)),
        }
    }
}

/// The rows of a request, and their lines in the file.
#[derive(Default)]
struct Batch {
    body: String,
    lines: Vec<u64>,
}

impl Batch {
    fn new(options: ImportOptions) -> Result<Self, String> {
        let options = serde_json::to_string(&options).map_err(|error| error.to_string())?;
        Ok(Self { body: format!("{options}\n"), lines: Vec::new() })
    }

    fn add(&mut self, row: &Row) {
        self.body.push_str(&row.json);
        self.body.push('\n');
        self.lines.push(row.line);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_ROWS || self.body.len() >= BATCH_BYTES
    }
}

impl Events {
    fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn failed(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.file.display())
    }

    /// Sends the file in batches and returns the sums of the answers.
    async fn send(
        &self,
        control: &Control,
        (file, format): (&mut File, Format),
        path: &str,
    ) -> Result<ImportAnswer, String> {
        let failed = |error: std::io::Error| self.failed(&error);
        let mut place = file.try_clone().map_err(failed)?;
        let doing = if path == IMPORT_PATH { "importing" } else { "checking" };
        let bar = ProgressBar::new(file.metadata().map_err(failed)?.len()).with_message(doing);
        if let Ok(style) = ProgressStyle::with_template("{msg:>9} {wide_bar} {bytes}/{total_bytes} {eta}") {
            bar.set_style(style);
        }
        let options = ImportOptions { lenient: self.lenient };
        let mut rows = rows::rows(file, format, self.device.as_deref()).map_err(failed)?;
        let mut sum = ImportAnswer::default();
        loop {
            let (mut batch, mut end) = (Batch::new(options)?, None);
            while end.is_none() && !batch.is_full() {
                match rows.next() {
                    Some(Ok(row)) => batch.add(&row),
                    Some(Err(bad)) => end = Some(Err(bad)),
                    None => end = Some(Ok(())),
                }
            }
            // If both the server and this process refuse a row, the first one is named.
            if !batch.lines.is_empty() {
                let imported = if path == IMPORT_PATH { sum.stored } else { 0 };
                let answer = ask(control, path, batch).await;
                let answer = answer.map_err(|refusal| self.refused(&refusal, imported))?;
                sum.stored += answer.stored;
                sum.known += answer.known;
                sum.unfit += answer.unfit;
            }
            bar.set_position(place.stream_position().map_err(failed)?);
            match end {
                None => {}
                Some(Ok(())) => {
                    bar.finish_and_clear();
                    return Ok(sum);
                }
                Some(Err(BadRow { line, text })) => {
                    let imported = if path == IMPORT_PATH { sum.stored } else { 0 };
                    return Err(self.refused(&Refusal { line: Some(line), text }, imported));
                }
            }
        }
    }

    /// The text of a refusal, with what was imported before it.
    fn refused(&self, refusal: &Refusal, imported: u64) -> String {
        let Refusal { line, text } = refusal;
        let kept = match imported {
            0 => "nothing was imported".to_owned(),
            count => format!("{count} events before it were imported"),
        };
        match line {
            Some(line) => format!("{}, line {line}: {text}; {kept}", self.name()),
            None => format!("{}: {text}; {kept}", self.name()),
        }
    }
}

/// Why a file is refused.
struct Refusal {
    /// The line of the file, if a row is the reason.
    line: Option<u64>,
    text: String,
}

async fn ask(control: &Control, path: &str, batch: Batch) -> Result<ImportAnswer, Refusal> {
    let answer = control.ask(path, batch.body).await.map_err(|text| {
        // The server names a row by its number in the request.
        let named = text.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
        let line = named.and_then(|(number, _)| batch.lines.get(number.parse::<usize>().ok()?.checked_sub(1)?));
        match (named, line) {
            (Some((_, reason)), Some(line)) => Refusal { line: Some(*line), text: reason.to_owned() },
            _ => Refusal { line: None, text: text.clone() },
        }
    })?;
    serde_json::from_slice(&answer).map_err(|error| Refusal { line: None, text: error.to_string() })
}
