//! `ingle erase`

use std::io::Write;

use clap::Args;

use super::objects::{ask, confirm, escaped, iso};
use super::{Outcome, Place, existing, print};
use crate::control::person::PersonRequest;
use crate::domain::inventory::Erasure;

/// Erase everything about one person, and search for what is left.
///
/// The account, logins, homes, bindings, shares and invitations are deleted, and the devices of the person are as after a reset:
/// without owner, names, device users, attributes and visible history. The rows of the audit about all of this remain, but show
/// neither the person nor what was changed. Then all tables of the registry are searched for the person. Rows of the event log
/// are hidden at once, but remain on disk until the retention deletes their files; it is printed until when. Backups and logs of
/// the server are not changed.
#[derive(Args)]
pub struct Erase {
    /// The uid or the name of the user.
    #[arg(long, value_name = "USER")]
    user: String,
    /// The project, if several have a user of that name.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

impl Erase {
    pub(super) async fn run(self) -> Outcome {
        let (control, _app) = existing(&self.place).await?;
        let request = PersonRequest { user: self.user, project: self.project };
        // This also checks that the user exists, before anything is asked.
        let person = ask(&control, "/users/export", &request).await?;
        for (part, rows) in person.as_object().into_iter().flatten() {
            if let Some(rows) = rows.as_array().filter(|rows| !rows.is_empty()) {
                let _ = writeln!(std::io::stderr(), "{}: {}", part.replace('_', " "), rows.len());
            }
        }
        confirm(&format!("erase user {}", escaped(&request.user)), self.yes)?;
        let erasure = ask(&control, "/users/erase", &request).await?;
        let erasure: Erasure = serde_json::from_value(erasure).map_err(|error| error.to_string())?;
        print(&format!("user {} is erased", escaped(&erasure.uid)));
        for hidden in &erasure.hidden {
            let (at_least, id) = (if hidden.is_exact { "" } else { "at least " }, escaped(&hidden.device_id));
            print(&format!("event log, device {id}: {at_least}{} rows are hidden, but still on disk", hidden.rows));
        }
        if !erasure.hidden.is_empty() {
            print(&format!("the retention deletes their files by {}", iso(erasure.gone_by_ms)));
            print(
                "latest.db keeps the latest value of each of their data points, hidden, until the device reports another",
            );
        }
        if erasure.traces.is_empty() {
            print(&format!("{} columns of the registry were searched: nothing of the user is left", erasure.columns));
            return Ok(());
        }
        for trace in &erasure.traces {
            print(&format!("found: {} rows in {}", trace.rows, trace.place));
        }
        Err("the registry still has rows with texts of the user, which may also belong to somebody else".to_owned())
    }
}
