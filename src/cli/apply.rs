//! `ingle apply`

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, Place, control, print, read_text};

/// Make the projects, apps, products, users, homes and devices that a document describes true.
///
/// Idempotent: what is there already is brought up to date, what is not given is left or generated. Nothing is half
/// applied. A server that runs on the data folder is asked; without one the folder is opened here. The document is
/// described in docs/world.md.
#[derive(Args)]
pub struct Apply {
    /// The document, or - for standard input.
    #[arg(value_name = "WORLD.json")]
    world: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print the document back with everything filled in, secrets included.
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(super) async fn run(self) -> Outcome {
        let text = read_text(&self.world)?;
        let (control, _app) = control(&self.place).await?;
        let applied = control.ask("/world", text).await;
        let applied = applied.map_err(|error| format!("{}: {error}", self.world.display()))?;
        let applied = String::from_utf8_lossy(&applied);
        if self.json {
            print(&applied);
            return Ok(());
        }
        let world = crate::world::parse(&applied).map_err(|error| error.to_string())?;
        for project in world.projects {
            print(&format!(
                "{}: {} apps, {} products, {} users, {} homes, {} devices",
                project.name,
                project.apps.len(),
                project.products.len(),
                project.users.len(),
                project.homes.len(),
                project.devices.len()
            ));
            print(&format!("  client_id {}", project.client_id.unwrap_or_default()));
        }
        Ok(())
    }
}
