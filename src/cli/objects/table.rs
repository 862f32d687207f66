//! Objects as text for people.

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::printed;
use crate::domain::inventory::ObjectKind;

/// The longest text of a cell, in characters, except in the first and the last column.
const CELL_CHARS_MAX: usize = 40;

/// A table that is printed page by page.
pub struct Table {
    columns: &'static [(&'static str, &'static str)],
    widths: Vec<usize>,
}

/// The columns of a kind: heading and path of the member.
fn columns(kind: ObjectKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        ObjectKind::Project => &[
            ("NAME", "name"),
            ("CLIENT_ID", "tuya.client_id"),
            ("APP_KEY", "aliyun.app_key"),
            ("PROJECT_ID", "aliyun.project_id"),
        ],
        ObjectKind::App => &[
            ("SCHEMA", "schema"),
            ("PROJECT", "project"),
            ("APP_KEY", "app_key"),
            ("USERS", "users"),
            ("NAME", "name"),
        ],
        ObjectKind::Product => &[
            ("PRODUCT_ID", "product_id"),
            ("PRODUCT_KEY", "product_key"),
            ("PROJECT", "project"),
            ("CATEGORY", "category"),
            ("NODE", "node_type"),
            ("DEVICES", "devices"),
            ("NAME", "name"),
        ],
        ObjectKind::User => &[
            ("UID", "uid"),
            ("PROJECT", "project"),
            ("SCHEMA", "schema"),
            ("USERNAME", "username"),
            ("DISABLED", "disabled"),
            ("NICK_NAME", "nick_name"),
        ],
        ObjectKind::Home => &[
            ("HOME_ID", "home_id"),
            ("PROJECT", "project"),
            ("OWNER", "owner"),
            ("DEVICES", "devices"),
            ("NAME", "name"),
        ],
        ObjectKind::Device => &[
            ("DEVICE_ID", "device_id"),
            ("PROJECT", "project"),
            ("PRODUCT_ID", "product_id"),
            ("OWNER", "owner"),
            ("HOME", "home_id"),
            ("ONLINE", "online"),
            ("MAC", "mac"),
            ("NAME", "name"),
        ],
        ObjectKind::Token => &[
            ("ID", "id"),
            ("KIND", "kind"),
            ("PROJECT", "project"),
            ("USERNAME", "username"),
            ("GRANTED", "granted_ms"),
            ("EXPIRES", "expires_ms"),
        ],
        ObjectKind::Listener => &[
            ("NAME", "name"),
            ("PROJECT", "project"),
            ("UID", "uid"),
            ("BY_LOGIN", "by_login"),
            ("EXPIRES", "expires_ms"),
        ],
    }
}

impl Table {
    pub fn of(kind: ObjectKind) -> Self {
        Self { columns: columns(kind), widths: Vec::new() }
    }

    /// Prints a page, before the first one the headings; false if nobody reads any more. The first page decides the widths.
    pub fn print(&mut self, rows: &[Json]) -> bool {
        let cells = |row: &Json| -> Vec<String> {
            self.columns.iter().map(|(_, path)| shown(path, at(row, path)).unwrap_or_else(|| "-".to_owned())).collect()
        };
        let mut lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
        if self.widths.is_empty() {
            lines.insert(0, self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect());
            let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or(0);
            self.widths = (0..self.columns.len()).map(width).collect();
        }
        lines.iter().all(|line| {
            let last = line.len() - 1;
            let padded = line.iter().enumerate().map(|(index, cell)| {
                let width = self.widths[index].min(CELL_CHARS_MAX);
                let cell = if index == 0 || index == last { cell.clone() } else { short(cell) };
                if index == last { cell } else { format!("{cell:width$}  ") }
            });
            printed(padded.collect::<String>().trim_end())
        })
    }
}

fn short(cell: &str) -> String {
    match cell.chars().count() > CELL_CHARS_MAX {
        true => cell.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect(),
        false => cell.to_owned(),
    }
}

fn at<'a>(row: &'a Json, path: &str) -> &'a Json {
    path.split('.').fold(row, |value, member| &value[member])
}

/// A value as text; `None` for one that is absent or empty. A member whose name ends with `_ms` is a time.
fn shown(path: &str, value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(escaped(text)).filter(|text| !text.is_empty()),
        Json::Number(number) if path.ends_with("_ms") => match number.as_i64() {
            None | Some(0) => None,
            Some(ms) => Some(iso(ms)),
        },
        Json::Array(items) if items.is_empty() => None,
        Json::Array(items) if items.iter().all(Json::is_string) => {
            Some(items.iter().filter_map(Json::as_str).map(escaped).collect::<Vec<_>>().join(", "))
        }
        other => Some(other.to_string()),
    }
}

/// The members of an object, one a line.
pub fn members(object: &Json) -> String {
    let mut lines = Vec::new();
    collect("", object, &mut lines);
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.into_iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn collect(path: &str, value: &Json, lines: &mut Vec<(String, String)>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Json::Object(members) => members.iter().for_each(|(name, value)| collect(&below(name), value, lines)),
        Json::Array(items) if items.iter().any(Json::is_object) => {
            lines.extend(items.iter().map(|item| (path.to_owned(), item.to_string())));
        }
        value => lines.extend(shown(path, value).map(|text| (path.to_owned(), text))),
    }
}

/// A text without control characters, which could change what a terminal shows.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => safe.extend(char.escape_default()),
            false => safe.push(char),
        }
    }
    safe
}

/// A time in UTC, such as `2026-01-31T12:00:00.5Z`.
pub fn iso(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}
