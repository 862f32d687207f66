//! `ingle apply`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use axum::body::Bytes;
use clap::Args;

use crate::control::Control;
use crate::control::world::{APPLY, Applied, AppliedProject, COMPARE, FILL, REPLACE_SECRETS};
use crate::domain::inventory::ObjectKind;
use crate::domain::world::{Counts, Difference, MemberChange};

use super::{Outcome, Place, control, print, read_text};

/// The end of a document that was filled in completely.
const END: &[u8] = b"]}\n";

/// Create or update the projects, apps, products, users, homes and devices that a document describes.
///
/// Applying the same document again changes nothing. Values that the document leaves out stay as they are, or are generated if there
/// are none. A document that is refused changes nothing. Up to 256 objects that differ are written as a whole. More are written in
/// many short transactions, between which the server carries out other writes: if the process ends meanwhile, a part of them is
/// written, and applying the document again writes the rest. If a server runs on the data folder, it applies the document; otherwise
/// this process opens the folder. docs/world.md describes the document.
#[derive(Args)]
pub struct Apply {
    /// The document, or - for standard input.
    #[arg(value_name = "WORLD.json")]
    world: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Write nothing, and print what would be created (+) and changed (~). Fails if the document would be refused.
    #[arg(long)]
    dry_run: bool,
    /// Allow the document to replace credentials that are in use: secrets, local keys, client ids, AppKeys and passwords.
    #[arg(long)]
    replace_secrets: bool,
    /// Print the document with all values filled in, including secrets; with --dry-run the differences.
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(super) async fn run(self) -> Outcome {
        let text = Bytes::from(read_text(&self.world)?);
        let (control, _app) = control(&self.place).await?;
        let path = if self.dry_run { COMPARE } else { APPLY };
        let path = if self.replace_secrets { format!("{path}?{REPLACE_SECRETS}") } else { path.to_owned() };
        let kept = if self.json && !self.dry_run { text.clone() } else { Bytes::new() };
        let failed = |error: String| format!("{}: {error}", self.world.display());
        let answer = control.ask(&path, text).await.map_err(failed)?;
        let applied: Applied = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        if let Some(note) = &applied.note {
            tracing::warn!("{note}");
        }
        match (self.json, self.dry_run) {
            (true, true) => print(&String::from_utf8_lossy(&answer)),
            (true, false) => return fill(&control, kept).await,
            (false, _) => {
                applied.differences.iter().for_each(|difference| print(&line(difference)));
                applied.projects.iter().for_each(summary);
            }
        }
        match applied.refusal {
            Some(refusal) => Err(failed(refusal)),
            None => Ok(()),
        }
    }
}

/// Prints the document filled in.
async fn fill(control: &Control, text: Bytes) -> Outcome {
    let (mut end, mut written) = (Vec::new(), Ok(()));
    let each = |piece: &[u8]| {
        end.extend_from_slice(piece);
        end.drain(..end.len().saturating_sub(END.len()));
        written = std::io::stdout().write_all(piece);
        written.is_ok()
    };
    control.read(FILL, text, each).await?;
    written.map_err(|error| error.to_string())?;
    if end == END { Ok(()) } else { Err("the document was applied, but not printed completely".to_owned()) }
}

fn summary(project: &AppliedProject) {
    let counted = |kind: ObjectKind| {
        let counts = project.counts.get(kind.noun()).copied().unwrap_or_default();
        counts.created + counts.changed + counts.unchanged
    };
    let sections = ObjectKind::OF_DOCUMENT.iter().filter_map(|kind| Some((counted(*kind), kind.section()?)));
    let sections: Vec<String> = sections.map(|(count, section)| format!("{count} {section}")).collect();
    print(&format!("{}: {}", project.name, sections.join(", ")));
    if let Some(client_id) = &project.client_id {
        print(&format!("  client_id {client_id}"));
    }
    type Number = fn(&Counts) -> usize;
    let groups: [(&str, Number); 3] = [
        ("created", |counts| counts.created),
        ("changed", |counts| counts.changed),
        ("unchanged", |counts| counts.unchanged),
    ];
    for (name, number) in groups {
        print(&format!("  {name}: {}", numbers(&project.counts, number)));
    }
}

fn numbers(counts: &BTreeMap<String, Counts>, number: fn(&Counts) -> usize) -> String {
    let of_kind = |kind: &ObjectKind| {
        let count = number(counts.get(kind.noun())?);
        (count > 0).then(|| format!("{count} {}", kind.section().filter(|_| count != 1).unwrap_or(kind.noun())))
    };
    let numbers: Vec<String> = ObjectKind::OF_DOCUMENT.iter().filter_map(of_kind).collect();
    if numbers.is_empty() { "nothing".to_owned() } else { numbers.join(", ") }
}

/// An object that is created or changed. Secrets are not shown.
fn line(difference: &Difference) -> String {
    let Difference { kind, project, object, is_new, members } = difference;
    let sign = if *is_new { '+' } else { '~' };
    let project = if *kind == ObjectKind::Project { String::new() } else { format!(" of {project}") };
    let members: Vec<String> = members.iter().map(change).collect();
    let colon = if members.is_empty() { "" } else { ": " };
    format!("{sign} {} {object}{project}{colon}{}", kind.noun(), members.join(", "))
}

fn change(change: &MemberChange) -> String {
    let MemberChange { member, old, new, is_credential } = change;
    match (old, new) {
        (Some(old), Some(new)) => format!("{member} {old} -> {new}"),
        (None, Some(new)) => format!("{member} {new}"),
        (Some(old), None) => format!("{member} {old} -> another"),
        (None, None) if *is_credential => format!("{member} replaced"),
        (None, None) => format!("{member} set"),
    }
}
