//! `ingle log` and `ingle watch`

use std::io::Write;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::Value as Json;

use super::objects::{escaped, iso, printed};
use super::times::time_ms;
use super::{Outcome, Place, existing};
use crate::control::Control;
use crate::control::live::{LogRequest, WatchRequest};

/// The words for the types of events, in the order of their numbers, from 1.
const TYPES: [&str; 11] =
    ["online", "offline", "activated", "reset", "command", "firmware", "data", "signal", "restart", "timer", "event"];

/// Print the log of a device, oldest row first.
///
/// It shows what the present owner of the device can see: no rows from before the last reset or change of owner, and none that are
/// older than the retention.
#[derive(Args)]
pub struct Log {
    /// The device id.
    device: String,
    #[command(flatten)]
    filter: RowFilter,
    /// Only rows from this time on: ISO 8601, such as 2026-01-31T12:00:00Z, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    from: Option<i64>,
    /// Only rows up to this time.
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    to: Option<i64>,
    /// At most so many rows, the newest; up to 100000.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// Go on with new rows as they arrive, until the server stops. Needs a running server.
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object a line, as `ingle import events` reads it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Print what happens to devices, at the moment at which it is on disk, until the server stops.
///
/// If this process reads too slowly, messages are dropped; the server does not wait. The number of dropped messages is printed.
#[derive(Args)]
pub struct Watch {
    /// Only these devices. By default, all.
    #[arg(value_name = "DEVICE")]
    devices: Vec<String>,
    #[command(flatten)]
    filter: RowFilter,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Which rows are printed.
#[derive(Args)]
struct RowFilter {
    /// Only rows of this type: online, offline, activated, reset, command, firmware, data, signal, restart, timer, event, or a
    /// number. Can be given several times.
    #[arg(long = "type", value_name = "TYPE", value_parser = type_number)]
    types: Vec<i64>,
    /// Only rows with this code. Can be given several times.
    #[arg(long = "code", value_name = "CODE")]
    codes: Vec<String>,
}

fn type_number(text: &str) -> Result<i64, String> {
    let named = TYPES.iter().position(|name| *name == text).and_then(|index| i64::try_from(index + 1).ok());
    named.or_else(|| text.parse().ok()).ok_or_else(|| format!("the types are {}", TYPES.join(", ")))
}

impl Log {
    pub(super) async fn run(self) -> Outcome {
        let (control, _app) = existing(&self.place).await?;
        let RowFilter { types, codes } = self.filter;
        let (from_ms, to_ms) = (self.from.unwrap_or(0), self.to.unwrap_or(i64::MAX));
        let (device_id, limit, follow) = (self.device, self.limit, self.follow);
        let request = LogRequest { device_id, types, codes, from_ms, to_ms, limit, follow };
        lines(&control, "/log", &request, self.json, false).await
    }
}

impl Watch {
    pub(super) async fn run(self) -> Outcome {
        let (control, _app) = existing(&self.place).await?;
        let RowFilter { types, codes } = self.filter;
        let request = WatchRequest { device_ids: self.devices, types, codes };
        lines(&control, "/watch", &request, self.json, true).await
    }
}

/// Prints the lines of an answer until it ends or nobody reads them any more.
async fn lines(control: &Control, path: &str, request: &impl Serialize, is_json: bool, names_device: bool) -> Outcome {
    let body = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let mut rest: Vec<u8> = Vec::new();
    let each = |piece: &[u8]| {
        rest.extend_from_slice(piece);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { return true };
        let whole: Vec<u8> = rest.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        text.lines().filter(|line| !line.is_empty()).all(|line| show(line, is_json, names_device)) && is_read()
    };
    control.read(path, body, each).await
}

/// Whether somebody reads the standard output. Without this, the end of a pipe would be noticed only at the next row.
fn is_read() -> bool {
    let stdout = std::io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&at_once)).is_err() || !polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

fn show(line: &str, is_json: bool, names_device: bool) -> bool {
    let Ok(row) = serde_json::from_str::<Json>(line) else { return true };
    if let Some(dropped) = row["dropped"].as_u64() {
        let _ = writeln!(std::io::stderr(), "{dropped} messages were dropped, because they were not read in time");
        return !is_json || printed(line);
    }
    let is_written = if is_json { printed(line) } else { printed(&text(&row, names_device)) };
    is_written && std::io::stdout().flush().is_ok()
}

/// A row for people.
fn text(row: &Json, names_device: bool) -> String {
    let device = match names_device {
        true => format!("{}  ", escaped(row["device_id"].as_str().unwrap_or_default())),
        false => String::new(),
    };
    if let Some(event) = row["event"].as_str() {
        let members = row.as_object().into_iter().flatten();
        let others = members.filter(|(name, _)| !matches!(name.as_str(), "device_id" | "event"));
        let others: Vec<String> = others.map(|(name, value)| format!("{name} {value}")).collect();
        return format!("{device}{event}  {}", escaped(&others.join(", ")));
    }
    let number = row["type"].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    let kind = number.checked_sub(1).and_then(|index| TYPES.get(index)).copied().unwrap_or("?");
    let value = match (row["code"].as_str(), &row["value"]) {
        (Some(code), Json::Null) => format!("  {}", escaped(code)),
        (Some(code), value) => format!("  {} = {value}", escaped(code)),
        (None, _) => String::new(),
    };
    let from = match row["from"].as_i64() {
        Some(1) | None => String::new(),
        Some(2) => "  (app user)".to_owned(),
        Some(4 | 11) => "  (project)".to_owned(),
        Some(other) => format!("  (from {other})"),
    };
    format!("{}  {device}{kind}{value}{from}", row["time"].as_i64().map(iso).unwrap_or_default())
}
