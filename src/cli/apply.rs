//! `ingle apply`

use std::path::PathBuf;

use clap::Args;

use crate::domain::world::{World, WorldDevice};

use super::{Outcome, Place, control, print, read_text};

/// Create or update the projects, apps, products, users, homes and devices that a document describes.
///
/// Applying the same document again changes nothing. Values that the document leaves out stay as they are, or are generated if there
/// are none. Either the whole document is applied or nothing of it. If a server runs on the data folder, it applies the document;
/// otherwise this process opens the folder. docs/world.md describes the document.
#[derive(Args)]
pub struct Apply {
    /// The document, or - for standard input.
    #[arg(value_name = "WORLD.json")]
    world: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print the document with all values filled in, including secrets.
    #[arg(long)]
    json: bool,
}

/// Characters of a secret that Tuya's C SDK for TuyaLink uses (docs/devices.md).
const TUYALINK_SECRET_CHARS: usize = 16;

/// Says which devices cannot use Tuya's C SDK because of their secrets.
fn secrets_note(world: &World) -> Option<String> {
    let devices = world.projects.iter().flat_map(|project| &project.devices);
    let other = |device: &&WorldDevice| device.secret.as_ref().is_some_and(|text| text.len() != TUYALINK_SECRET_CHARS);
    let mut devices = devices.filter(other).map(|device| device.device_id.as_ref().map_or("", |id| id.as_str()));
    let (first, more) = (devices.next()?, devices.count());
    let others = if more > 0 { format!(" and of {more} more devices") } else { String::new() };
    Some(format!(
        "the secret of device {first}{others} does not have {TUYALINK_SECRET_CHARS} characters. Tuya's C SDK for \
         TuyaLink takes exactly {TUYALINK_SECRET_CHARS}; LinkKit devices take any length."
    ))
}

impl Apply {
    pub(super) async fn run(self) -> Outcome {
        let text = read_text(&self.world)?;
        let (control, _app) = control(&self.place).await?;
        let applied = control.ask("/world", text).await;
        let applied = applied.map_err(|error| format!("{}: {error}", self.world.display()))?;
        let applied = String::from_utf8_lossy(&applied);
        let world = World::parse(&applied).map_err(|error| error.to_string())?;
        if let Some(note) = secrets_note(&world) {
            tracing::warn!("{note}");
        }
        if self.json {
            print(&applied);
            return Ok(());
        }
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
            print(&format!("  client_id {}", project.tuya.client_id.unwrap_or_default()));
        }
        Ok(())
    }
}
