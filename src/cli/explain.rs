//! `ingle explain`

use std::path::PathBuf;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Outcome, Place, control, print, read_text, running};
use crate::app::SystemClock;
use crate::control::Credentials;
use crate::domain::Clock;
use crate::refusals::Refusal;
use crate::tuya::explain::WrittenRequest;

/// Stands for all refusals in place of the id of a device.
const EVERYTHING: &str = "*";

/// Explain why a device or a request is refused.
///
/// With --device or --refusals, it prints the last refusals of a device, or all of them, from the memory of a running server.
/// Otherwise it explains whether the signature and the time of a request are valid.
///
/// The request is a text: a request line, headers, an empty line and a body, as `curl -v` shows it (the prefix `> ` may stay). The
/// secret is given with --secret, or read from the data folder by the client_id of the request. Nothing is sent, and no secret is
/// printed.
#[derive(Args)]
pub struct Explain {
    /// Print the last refusals of the device with this id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["request", "secret", "at", "refusals"])]
    device: Option<String>,
    /// Print the last refusals of all devices and requests.
    #[arg(long, conflicts_with_all = ["request", "secret", "at"])]
    refusals: bool,
    /// Print the refusals as JSON.
    #[arg(long)]
    json: bool,
    /// The request, or - for standard input.
    #[arg(value_name = "REQUEST.txt", default_value = "-")]
    request: PathBuf,
    /// The secret of the project. By default it is read from the data folder.
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// The current time in milliseconds since 1970. By default, the clock of the system.
    #[arg(long, value_name = "MS")]
    at: Option<i64>,
    #[command(flatten)]
    place: Place,
}

impl Explain {
    pub(super) async fn run(self) -> Outcome {
        match &self.device {
            Some(id) => return self.print_refusals(id).await,
            None if self.refusals => return self.print_refusals(EVERYTHING).await,
            None => {}
        }
        let request = WrittenRequest::parse(&read_text(&self.request)?)?;
        let (secret, legacy_sign) = match &self.secret {
            Some(secret) => (secret.clone(), false),
            None => self.known_secret(&request).await?,
        };
        let now_ms = self.at.unwrap_or_else(|| SystemClock.now_ms());
        let window_ms = i64::from(self.place.config()?.tuya.clock_window_seconds) * 1000;
        match request.diagnose(&secret, legacy_sign, now_ms, window_ms) {
            Ok(()) => {
                print("the signature and the time are right; whether the token lives only the server knows");
                Ok(())
            }
            Err((code, msg, explain)) => Err(format!("{code} {msg}\n{explain}")),
        }
    }

    /// Prints the refusals of a device, the newest last.
    async fn print_refusals(&self, id: &str) -> Outcome {
        let bytes = running(&self.place)?.ask("/refusals", id.to_owned()).await?;
        if self.json {
            print(&String::from_utf8_lossy(&bytes));
            return Ok(());
        }
        let refusals: Vec<Refusal> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if refusals.is_empty() {
            print("nothing was refused that the server remembers; it forgets when it stops");
        }
        for Refusal { time_ms, count, client, device, code, reason, what } in refusals {
            let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000);
            let time = time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
            let client = client.map(|address| format!(" from {address}")).unwrap_or_default();
            let device = if self.device.is_some() || device.is_empty() { String::new() } else { format!(" {device}") };
            let times = if count == 1 { String::new() } else { format!(", {count} times") };
            // A client chose these texts: they cannot end a line or control a terminal.
            print(&format!("{time}{client}{} {code}: {reason} ({}){times}", shown(&device), shown(&what)));
        }
        Ok(())
    }

    async fn known_secret(&self, request: &WrittenRequest) -> Result<(String, bool), String> {
        if !self.place.data.exists() {
            let folder = self.place.data.display();
            return Err(format!("there is no data folder {folder}: name it with --data, or give --secret"));
        }
        let (control, _app) = control(&self.place).await?;
        let bytes = control.ask("/projects", String::new()).await?;
        let projects: Vec<Credentials> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let project = projects.into_iter().find(|project| Some(project.client_id.as_str()) == request.client_id());
        let project = project.ok_or("1005 clientId invalid\nno project of the data folder has that client_id")?;
        Ok((project.secret, project.legacy_sign))
    }
}

/// A text without characters that control a terminal.
fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}
