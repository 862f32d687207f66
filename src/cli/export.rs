//! `ingle export`

use std::io::Write;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Outcome, Place, existing};
use crate::control::Control;
use crate::control::person::{PERSON_END, PersonRequest};
use crate::domain::inventory::WorldScope;

/// The end of a complete world document.
const WORLD_END: &[u8] = b"]}\n";

/// Export data: the world, or everything about one person.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Export {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    person: Person,
}

/// Everything about one person, as one JSON object: the account, logins, homes, devices with their names and device users, shares,
/// the rows of the audit about the person, and all rows of the logs of the person's devices, as far as the person can see them.
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
        copy(&control, "/export/world", &WorldScope { project, secrets }, WORLD_END).await
    }
}

impl Person {
    async fn run(self) -> Outcome {
        let user = self.user.ok_or("say what to export: `ingle export world`, or --user")?;
        let (control, _app) = existing(&self.place).await?;
        copy(&control, "/users/export", &PersonRequest { user, project: self.project }, PERSON_END).await
    }
}

/// Prints an answer while it arrives. If it does not end with `complete`, it is not complete.
async fn copy(control: &Control, path: &str, request: &impl Serialize, complete: &[u8]) -> Outcome {
    let request = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let (mut end, mut written) = (Vec::new(), Ok(()));
    let each = |piece: &[u8]| {
        end.extend_from_slice(piece);
        end.drain(..end.len().saturating_sub(complete.len()));
        written = std::io::stdout().write_all(piece);
        written.is_ok()
    };
    control.read(path, request, each).await?;
    written.map_err(|error| error.to_string())?;
    if end == complete { Ok(()) } else { Err("the export ended early: it is not complete".to_owned()) }
}
