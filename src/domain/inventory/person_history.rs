//! What happened to a person's objects, for the export of everything about the person: rows of the audit, and the logs of the
//! person's devices. Both are read page by page, because they may be long.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::domain::audit::{AUDIT_PAGE_MAX, ActorKind, AuditQuery, AuditRow};
use crate::domain::event::{EventTypes, PAGE_ROWS_MAX, PageStart};
use crate::domain::{Cloud, Device, DeviceId, Event, EventQuery, Result, RowRef};

/// The kinds of object whose ids begin with the id of a device.
const OF_DEVICE: [&str; 6] = ["device", "binding", "function_name", "device_user", "attribute", "desired_value"];
/// The kinds of object whose ids begin with the id of a home.
const OF_HOME: [&str; 3] = ["home", "home_member", "home_invitation"];

/// How the audit shows a secret.
const SECRET: &str = "***";

/// The rows of the audit about a person, newest first: what the person did, and what happened to the account, to what connects
/// it with other objects, and to the person's homes and devices since they belong to the person.
pub struct PersonAudit {
    uid: String,
    devices: HashMap<String, Own>,
    homes: HashMap<String, Own>,
    pages: AuditPages,
}

/// An object that belongs to the person.
struct Own {
    /// Since when at the earliest, milliseconds since 1970.
    since_ms: i64,
    /// The operation by which it became the person's, if the audit still has it.
    change_no: Option<i64>,
}

/// How much of a row is about a person.
#[derive(PartialEq, Eq)]
enum Part {
    Nothing,
    /// The state afterwards: the one before is somebody else's.
    After,
    Everything,
}

/// All rows of the audit, page by page.
#[derive(Default)]
struct AuditPages {
    before_no: Option<i64>,
    is_at_end: bool,
}

impl AuditPages {
    async fn next(&mut self, cloud: &Cloud) -> Result<Option<Vec<AuditRow>>> {
        if self.is_at_end {
            return Ok(None);
        }
        let query = AuditQuery { before_no: self.before_no, limit: AUDIT_PAGE_MAX, ..AuditQuery::default() };
        let rows = cloud.audit(query).await?;
        self.is_at_end = rows.len() < AUDIT_PAGE_MAX;
        self.before_no = rows.last().map(|row| row.no);
        Ok(Some(rows))
    }
}

impl PersonAudit {
    fn new(person: &Map<String, Json>) -> Self {
        let list = |part: &str| person.get(part).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let own = |since_ms| Own { since_ms, change_no: None };
        let device = |row: &Json| Some((row["device_id"].as_str()?.to_owned(), own(row["owned_since_ms"].as_i64()?)));
        Self {
            uid: person.get("account").and_then(|account| account["uid"].as_str()).unwrap_or_default().to_owned(),
            devices: list("devices").iter().filter_map(device).collect(),
            homes: list("homes").iter().map(|row| (row["home_id"].to_string(), own(0))).collect(),
            pages: AuditPages::default(),
        }
    }

    /// Notes the newest operation by which an object became the person's. Rows come newest first.
    fn note(&mut self, row: &AuditRow) {
        let (first, last) = ids(row);
        let (own, is_new_owner) = match row.object_kind.as_str() {
            "binding" if last == self.uid => (self.devices.get_mut(first), member(row, "owned") == 1),
            "home" => (self.homes.get_mut(first), member(row, "owner") == self.uid),
            _ => return,
        };
        if let Some(own) = own.filter(|own| own.change_no.is_none() && is_new_owner) {
            own.change_no = Some(row.change_no);
        }
    }

    fn part(&self, row: &AuditRow) -> Part {
        let (first, last) = ids(row);
        if row.actor.kind == ActorKind::User && row.actor.name == self.uid || last == self.uid {
            return Part::Everything;
        }
        let kind = row.object_kind.as_str();
        let own = match () {
            () if OF_DEVICE.contains(&kind) => self.devices.get(first),
            () if OF_HOME.contains(&kind) => self.homes.get(first),
            () => None,
        };
        match own {
            Some(own) if row.time_ms >= own.since_ms => match own.change_no {
                Some(change_no) if row.change_no == change_no && kind != "device" && kind != "home" => Part::Nothing,
                Some(change_no) if row.change_no == change_no => Part::After,
                Some(change_no) if row.change_no < change_no => Part::Nothing,
                _ => Part::Everything,
            },
            _ => Part::Nothing,
        }
    }

    /// The row as far as it is about the person, without secrets and without the addresses of other users.
    fn view(&self, mut row: AuditRow) -> Option<AuditRow> {
        match self.part(&row) {
            Part::Nothing => return None,
            Part::After => row.before = None,
            Part::Everything => {}
        }
        if row.actor.kind == ActorKind::User && row.actor.name != self.uid {
            row.actor.origin.clear();
        }
        row.before = row.before.as_deref().and_then(without_secrets);
        row.after = row.after.as_deref().and_then(without_secrets);
        Some(row)
    }
}

/// The first and the last of the ids that a row names its object by.
fn ids(row: &AuditRow) -> (&str, &str) {
    row.object.split_once('/').unwrap_or((&row.object, &row.object))
}

/// A member of the object after the operation.
fn member(row: &AuditRow, name: &str) -> Json {
    let after = row.after.as_deref().and_then(|after| serde_json::from_str::<Map<String, Json>>(after).ok());
    after.and_then(|mut after| after.remove(name)).unwrap_or_default()
}

fn without_secrets(members: &str) -> Option<String> {
    let mut members: Map<String, Json> = serde_json::from_str(members).ok()?;
    members.retain(|_, value| value != SECRET);
    Some(Json::Object(members).to_string())
}

/// The log of a device as far as its present owner can see it, oldest row first. Pages can only be read from newer to older
/// ones, so the beginnings of all pages are found first, and then the pages are read from the last one on.
pub struct OldestFirst {
    device: Device,
    /// The newest row of each page that was not returned yet; the oldest page is the last one.
    begins: Vec<RowRef>,
    /// The newest row of the page that was returned last.
    returned: Option<RowRef>,
}

impl Cloud {
    /// The rows of the audit about a person, from the newest one on. `person` is from [`Cloud::person`]. Reads the whole audit
    /// once, to find out when the homes and devices became the person's.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`].
    pub async fn person_audit(&self, person: &Map<String, Json>) -> Result<PersonAudit> {
        let (mut audit, mut pages) = (PersonAudit::new(person), AuditPages::default());
        while let Some(rows) = pages.next(self).await? {
            rows.iter().for_each(|row| audit.note(row));
        }
        Ok(audit)
    }

    /// The next rows of the audit about a person; `None` at the end. A page may be empty.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`].
    pub async fn next_of_audit(&self, person: &mut PersonAudit) -> Result<Option<Vec<AuditRow>>> {
        let rows = person.pages.next(self).await?;
        Ok(rows.map(|rows| rows.into_iter().filter_map(|row| person.view(row)).collect()))
    }

    /// The logs of devices that exist, each from its oldest row on.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`].
    pub async fn device_logs(&self, ids: &[DeviceId]) -> Result<Vec<OldestFirst>> {
        let devices = self.devices_by_id(ids).await?.into_iter().flatten();
        Ok(devices.map(|device| OldestFirst { device, begins: Vec::new(), returned: None }).collect())
    }

    /// Goes to the oldest row of a log, and returns whether there is one. Rows that arrive later are not in the log then.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`].
    pub async fn begin_log(&self, log: &mut OldestFirst) -> Result<bool> {
        let mut query = everything(PageStart::Newest);
        log.begins.clear();
        loop {
            let page = self.device_log(&log.device, query.clone()).await?;
            log.begins.extend(page.rows.first().map(|event| event.row));
            match page.next {
                Some(next) => query.start = PageStart::At(next.row),
                None => return Ok(!log.begins.is_empty()),
            }
        }
    }

    /// The next rows of a log, oldest first, after [`Cloud::begin_log`]; `None` at the end.
    ///
    /// # Errors
    /// [`crate::domain::Error::Store`].
    pub async fn next_of_log(&self, log: &mut OldestFirst) -> Result<Option<Vec<Event>>> {
        let Some(begin) = log.begins.pop() else { return Ok(None) };
        let mut query = everything(PageStart::At(begin));
        let mut rows = Vec::new();
        let is_new = |row: RowRef| log.returned.is_none_or(|returned| row > returned);
        // Rows that were imported meanwhile make a page longer.
        loop {
            let page = self.device_log(&log.device, query.clone()).await?;
            rows.extend(page.rows.into_iter().filter(|event| is_new(event.row)));
            match page.next {
                Some(next) if is_new(next.row) => query.start = PageStart::At(next.row),
                _ => break,
            }
        }
        log.returned = Some(begin);
        rows.reverse();
        Ok(Some(rows))
    }
}

impl OldestFirst {
    /// The id of the device.
    pub fn device_id(&self) -> &str {
        self.device.id.as_str()
    }
}

fn everything(start: PageStart) -> EventQuery {
    let (types, codes) = (EventTypes::all(), Vec::new());
    EventQuery { types, codes, from_ms: 0, to_ms: i64::MAX, start, limit: PAGE_ROWS_MAX }
}
