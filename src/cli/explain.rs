//! `ingle explain`

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, Place, control, print, read_text};
use crate::app::SystemClock;
use crate::control::Credentials;
use crate::domain::Clock;
use crate::tuya::explain::WrittenRequest;

/// Explain whether the signature and the time of a request are valid.
///
/// The request is a text: a request line, headers, an empty line and a body, as `curl -v` shows it (the prefix `> ` may stay). The
/// secret is given with --secret, or read from the data folder by the client_id of the request. Nothing is sent, and no secret is
/// printed.
#[derive(Args)]
pub struct Explain {
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
