//! `ingle audit`

use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Outcome, Place, control, print};
use crate::app::SystemClock;
use crate::control::{AuditParams, AuditView};
use crate::domain::Clock;

/// Show who changed what, when and from where, newest first.
///
/// Every change of a project, app, product, user, home, device or binding is one line, whether it came from this command line, a
/// document or an API. With --json, each line is a JSON object that also contains the changed members before and afterwards. Secrets
/// are never shown. The newest 50,000 rows of each project are kept.
#[derive(Args)]
#[command(after_help = "Examples:
  ingle audit --object vdevo156083035305868         what happened to one device
  ingle audit --kind user --since 24h               changes of users in the last day
  ingle audit --by 'account 1000' --json            everything that one operator did, with the changed members")]
pub struct Audit {
    #[command(flatten)]
    place: Place,
    /// Only objects of this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only objects of this kind: project, app, product, user, home, home_member, home_invitation, device, binding, function_name,
    /// device_user, attribute, desired_value, visual_key or operation.
    #[arg(long)]
    kind: Option<String>,
    /// Only the object with this id, and what connects it to others.
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// Only changes by this actor: a project's name, a uid, a device id or an operator's account.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only changes of this time span until now, for example 30m, 24h or 7d.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<Duration>,
    /// The maximal number of lines, up to 1000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only lines before the one with this number, for the next page.
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
    /// Print one JSON object for each line.
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "a number with s, m, h or d, for example 24h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?))
}

impl Audit {
    pub(super) async fn run(self) -> Outcome {
        if !self.place.data.exists() {
            return Err(format!("there is no data folder {}: name it with --data", self.place.data.display()));
        }
        let (control, _app) = control(&self.place).await?;
        let now = SystemClock.now_ms();
        let from_ms = self.since.map(|span| now.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)));
        let params = AuditParams {
            before_no: self.before,
            project: self.project,
            kind: self.kind,
            object: self.object,
            actor: self.by,
            from_ms,
            limit: usize::from(self.limit),
        };
        let params = serde_json::to_string(&params).map_err(|error| error.to_string())?;
        let rows = control.ask("/audit", params).await?;
        let rows: Vec<AuditView> = serde_json::from_slice(&rows).map_err(|error| error.to_string())?;
        for row in &rows {
            if self.json {
                print(&serde_json::to_string(row).map_err(|error| error.to_string())?);
            } else {
                print(&line(row));
            }
        }
        Ok(())
    }
}

fn line(row: &AuditView) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.time) * 1_000_000);
    let time = time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| row.time.to_string());
    let AuditView { no, actor_kind, actor, origin, kind, object, operation, .. } = row;
    let mut line = format!("{no:>6}  {time}  {operation:<6} {kind} {object}  by {actor_kind} {actor} from {origin}");
    for (name, members) in [("before", &row.before), ("after", &row.after)] {
        if let Some(members) = members {
            line.push_str(&format!("\n        {name}: {members}"));
        }
    }
    line
}
