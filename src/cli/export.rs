//! `ingle export`

use std::io::Write;

use clap::{Args, Subcommand};

use super::objects::ask;
use super::{Outcome, Place, existing};
use crate::control::live::LogRequest;
use crate::control::person::PersonRequest;
use crate::domain::inventory::WorldScope;

/// The end of a complete document.
const END: &[u8] = b"]}\n";

/// Export data: the world, or everything about one person.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Export {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    person: Person,
}

/// Everything about one person, as one JSON object: the account, logins, homes, devices with their names and device users, shares, and
/// the logs of the person's devices, as far as the person can see them.
#[derive(Args)]
struct Person {
    /// Print everything about this user: uid or name.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The project, if several have a user of that name.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum What {
    World(World),
}

/// Print a world document of everything, or of one project, as it is at this moment.
///
/// Applying the document to the same data folder changes nothing. Passwords are not in it, because only their hashes are stored. Secrets
/// and local keys are in it only with --secrets; without them, another data folder generates new ones.
#[derive(Args)]
struct World {
    /// Only this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Include secrets and local keys.
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    place: Place,
}

impl Export {
    pub(super) async fn run(self) -> Outcome {
        let Some(What::World(World { project, secrets, place })) = self.what else {
            return self.person.run().await;
        };
        let (control, _app) = existing(&place).await?;
        let request = serde_json::to_string(&WorldScope { project, secrets }).map_err(|error| error.to_string())?;
        let (mut end, mut written) = (Vec::new(), Ok(()));
        let each = |piece: &[u8]| {
            end.extend_from_slice(piece);
            end.drain(..end.len().saturating_sub(END.len()));
            written = std::io::stdout().write_all(piece);
            written.is_ok()
        };
        control.read("/export/world", request, each).await?;
        written.map_err(|error| error.to_string())?;
        if end == END { Ok(()) } else { Err("the export ended early: it is not complete".to_owned()) }
    }
}

impl Person {
    async fn run(self) -> Outcome {
        let user = self.user.ok_or("say what to export: `ingle export world`, or --user")?;
        let (control, _app) = existing(&self.place).await?;
        let person = ask(&control, "/users/export", &PersonRequest { user, project: self.project }).await?;
        let text = serde_json::to_string_pretty(&person).map_err(|error| error.to_string())?;
        let mut output = std::io::stdout();
        let failed = |error: std::io::Error| error.to_string();
        let open = text.trim_end().strip_suffix('}').unwrap_or(&text).trim_end();
        output.write_all(format!("{open},\n  \"log\": [").as_bytes()).map_err(failed)?;
        let mut is_first = true;
        for device in person["devices"].as_array().into_iter().flatten() {
            let device_id = device["device_id"].as_str().unwrap_or_default().to_owned();
            let request = LogRequest { device_id, limit: usize::MAX, ..LogRequest::default() };
            let request = serde_json::to_string(&request).map_err(|error| error.to_string())?;
            let mut rest = Vec::new();
            control
                .read("/log", request, |piece| {
                    rest.extend_from_slice(piece);
                    true
                })
                .await?;
            for row in String::from_utf8_lossy(&rest).lines() {
                let comma = if std::mem::take(&mut is_first) { "" } else { "," };
                output.write_all(format!("{comma}\n    {row}").as_bytes()).map_err(failed)?;
            }
        }
        output.write_all(b"\n  ]\n}\n").map_err(failed)
    }
}
