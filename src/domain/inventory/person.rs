//! Everything that is stored about one person: its export, and its erasure with a proof.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{OBJECT_PAGE_MAX, ObjectKind, ObjectQuery};
use crate::domain::event::{EventTypes, PageStart};
use crate::domain::{Cloud, DeviceId, EventCount, EventQuery, Result};

/// The days that a partition of the event log spans. A row may live so much longer than the retention says.
const PARTITION_DAYS: i64 = 7;

/// Who a person is, in the texts by which others could find the person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifiers {
    /// The store's number of the account.
    pub user_no: i64,
    /// The `uid`.
    pub uid: String,
    /// `uid`, `identity_id`, `login_id`, `open_id`, user name, phone number and email address, without empty ones.
    pub texts: Vec<String>,
}

/// Rows of the event log that an erased person left on disk, where nothing shows them any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenRows {
    /// The device.
    pub device_id: String,
    /// How many rows.
    pub rows: u64,
    /// Whether these are all: a count examines a limited number of rows.
    pub is_exact: bool,
}

/// A place in the registry where something of a person was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The table and column.
    pub place: String,
    /// The number of rows.
    pub rows: u64,
}

/// The result of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The account that was erased.
    pub uid: String,
    /// The number of columns of the registry that were searched afterwards.
    pub columns: u64,
    /// What the search found. A text may also belong to somebody else who has the same.
    pub traces: Vec<Trace>,
    /// Rows of the event log that remain on disk for a time.
    pub hidden: Vec<HiddenRows>,
    /// When the retention has deleted the last of them, milliseconds since 1970.
    pub gone_by_ms: i64,
}

impl Cloud {
    /// Everything that the registry has about a user, without secrets: the account, logins, homes, memberships, invitations,
    /// devices with their names, device users, attributes and desired values, and shares. For the operator.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] if there is no such user; [`crate::domain::Error::Store`].
    pub async fn person(&self, id: &str, project: Option<&str>) -> Result<Map<String, Json>> {
        let user = self.object(ObjectKind::User, id, project, false).await?;
        let parts = self.registry.person(&user.cursor).await?;
        let mut all = Map::new();
        all.insert("account".to_owned(), Json::Object(user.into_json()));
        all.extend(parts);
        Ok(all)
    }

    /// Removes a user with everything about the user, and then searches the registry for what is left. The history of the
    /// user's devices is hidden at once; its rows remain on disk until the retention deletes their files.
    ///
    /// # Errors
    /// As [`Cloud::person`].
    pub async fn erase_user(&self, id: &str, project: Option<&str>) -> Result<Erasure> {
        let user = self.object(ObjectKind::User, id, project, false).await?;
        let uid = user.members.get("uid").and_then(Json::as_str).unwrap_or_default().to_owned();
        let members = ["uid", "identity_id", "login_id", "open_id", "username", "phone", "email"];
        let mut texts: Vec<String> =
            members.iter().filter_map(|member| Some(user.members.get(*member)?.as_str()?.to_owned())).collect();
        texts.retain(|text| !text.is_empty());
        texts.sort_unstable();
        texts.dedup();
        let user_no: i64 = user.cursor.parse().map_err(crate::domain::Error::store)?;
        let hidden = self.rows_of_owner(&uid).await?;
        self.delete_object(ObjectKind::User, &uid, None).await?;
        let (columns, traces) = self.registry.forget_user(Identifiers { user_no, uid: uid.clone(), texts }).await?;
        let keep_ms = self.now_ms() - self.oldest_kept_ms();
        let gone_by_ms = self.now_ms() + keep_ms + PARTITION_DAYS * 24 * 3600 * 1000;
        Ok(Erasure { uid, columns, traces, hidden, gone_by_ms })
    }

    /// The rows in the visible logs of a user's own devices.
    async fn rows_of_owner(&self, uid: &str) -> Result<Vec<HiddenRows>> {
        let owner = Some(uid.to_owned());
        let mut query = ObjectQuery { owner, limit: OBJECT_PAGE_MAX, ..ObjectQuery::default() };
        let mut hidden = Vec::new();
        loop {
            let page = self.objects(ObjectKind::Device, query.clone()).await?;
            let ids = page.rows.iter().filter_map(|row| row.members.get("device_id")?.as_str());
            let ids: Vec<DeviceId> = ids.map(DeviceId::from).collect();
            for device in self.devices_by_id(&ids).await?.into_iter().flatten() {
                let all = EventQuery {
                    types: EventTypes::all(),
                    codes: Vec::new(),
                    from_ms: 0,
                    to_ms: i64::MAX,
                    start: PageStart::Newest,
                    limit: 1,
                };
                let query = self.within_history(&device, all);
                let EventCount { rows, is_exact } = self.telemetry.count(None, device.no, &query).await?;
                if rows > 0 {
                    hidden.push(HiddenRows { device_id: device.id.0, rows, is_exact });
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(hidden),
            }
        }
    }
}
