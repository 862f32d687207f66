//! What the operator administers: every kind of object, its list, a single one, and its deletion. Objects are created
//! and changed by world documents ([`super::world`]); the module `document` builds one for a single object.

mod delete;
mod document;
mod person;
mod person_history;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::feed::Selection;
use super::{Cloud, DeviceId, DeviceNo, Error, Result};

pub use delete::Loss;
pub use document::ObjectChange;
pub use person::{Erasure, HiddenRows, Identifiers, Trace};
pub use person_history::{OldestFirst, PersonAudit};

/// The maximal number of objects on a page of a list.
pub const OBJECT_PAGE_MAX: usize = 1000;
/// The number of objects of a page if the operator names none.
pub const OBJECT_PAGE: usize = 100;
/// The maximal number of pages that one call reads to find devices that are online or offline.
const READS_MAX: usize = 20;

/// A kind of object that the operator administers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A project, by its name.
    Project,
    /// An app, by its schema.
    App,
    /// A product, by its `product_id` or its `product_key`.
    Product,
    /// A user, by its `uid` or its name.
    User,
    /// A home, by its `home_id`.
    Home,
    /// A device, by its `device_id`.
    Device,
    /// A token of a project or a login of a user, by an id that is not the secret.
    Token,
    /// A subscriber of the live feed, by its name.
    Listener,
}

impl ObjectKind {
    /// The kinds that a world document describes, in the order in which it does.
    pub const OF_DOCUMENT: [Self; 6] = [Self::Project, Self::App, Self::Product, Self::User, Self::Home, Self::Device];

    /// The word for one object of this kind.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::App => "app",
            Self::Product => "product",
            Self::User => "user",
            Self::Home => "home",
            Self::Device => "device",
            Self::Token => "token",
            Self::Listener => "listener",
        }
    }

    /// The member of a project in a world document that lists objects of this kind; `None` for projects themselves and
    /// for what documents do not describe.
    pub fn section(self) -> Option<&'static str> {
        match self {
            Self::App => Some("apps"),
            Self::Product => Some("products"),
            Self::User => Some("users"),
            Self::Home => Some("homes"),
            Self::Device => Some("devices"),
            Self::Project | Self::Token | Self::Listener => None,
        }
    }
}

/// Selects objects of one kind. A filter that the kind does not have is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectQuery {
    /// Only the object with this id.
    pub id: Option<String>,
    /// Only objects of the project with this name. A device belongs to the project of its owner, and without one to the
    /// project of its product.
    pub project: Option<String>,
    /// Only devices of the product with this `product_id`.
    pub product: Option<String>,
    /// Only homes and devices that this user owns: `uid` or name.
    pub owner: Option<String>,
    /// Only devices in the home with this id.
    pub home: Option<i64>,
    /// Only devices that are, or are not, connected.
    pub online: Option<bool>,
    /// Only objects whose name contains this text; case does not matter.
    pub name: Option<String>,
    /// Only devices with this MAC address, in any notation.
    pub mac: Option<String>,
    /// The cursor of the last object of the page before.
    pub after: Option<String>,
    /// The maximal number of objects, at most [`OBJECT_PAGE_MAX`]; 0 for [`OBJECT_PAGE`].
    pub limit: usize,
    /// Whether secrets and local keys are returned.
    pub secrets: bool,
}

/// An object as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRow {
    /// The store's key of the object, which is also the cursor after which the next page begins.
    pub cursor: String,
    /// The name of its project; empty for a project itself.
    pub project: String,
    /// The number of a device.
    pub device: Option<DeviceNo>,
    /// Its members as a world document has them, without secrets unless they were requested.
    pub members: Map<String, Json>,
    /// What a document does not say: times of creation and change, counts, whether it is online.
    pub facts: Map<String, Json>,
}

impl ObjectRow {
    /// Members and facts together, with the name of the project.
    pub fn into_json(self) -> Map<String, Json> {
        let mut all = Map::new();
        if !self.project.is_empty() {
            all.insert("project".to_owned(), self.project.into());
        }
        all.extend(self.members);
        all.extend(self.facts);
        all
    }
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectPage {
    /// The objects, in order of creation.
    pub rows: Vec<ObjectRow>,
    /// The cursor of the next page; `None` at the end. A page with a filter may be short, even empty, and have a next one.
    pub next: Option<String>,
}

/// What an export of the world contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldScope {
    /// Only the project with this name.
    pub project: Option<String>,
    /// Whether secrets and local keys are exported. Passwords never are, because only their hashes are stored.
    pub secrets: bool,
}

impl Cloud {
    /// A page of the objects of a kind. For the operator.
    ///
    /// # Errors
    /// [`Error::Refused`] for a filter that the kind does not have and for a damaged cursor; [`Error::Store`].
    pub async fn objects(&self, kind: ObjectKind, mut query: ObjectQuery) -> Result<ObjectPage> {
        query.check(kind)?;
        query.limit = if query.limit == 0 { OBJECT_PAGE } else { query.limit.min(OBJECT_PAGE_MAX) };
        if kind == ObjectKind::Listener {
            return self.listeners(&query).await;
        }
        let limit = query.limit;
        if query.online.is_some() {
            query.limit = OBJECT_PAGE_MAX;
        }
        let mut page = ObjectPage::default();
        for _ in 0..READS_MAX {
            let rows = self.registry.objects(kind, &query).await?;
            let is_last = rows.len() < query.limit;
            let devices: Vec<DeviceNo> = rows.iter().filter_map(|row| row.device).collect();
            let mut online = self.online(&devices).await?.into_iter();
            for mut row in rows {
                query.after = Some(row.cursor.clone());
                if row.device.is_some() {
                    let online = online.next().unwrap_or_default();
                    if query.online.is_some_and(|wanted| wanted != online) {
                        continue;
                    }
                    row.facts.insert("online".to_owned(), online.into());
                }
                page.rows.push(row);
                if page.rows.len() == limit {
                    break;
                }
            }
            if is_last && page.rows.len() < limit {
                return Ok(page);
            }
            if page.rows.len() == limit {
                break;
            }
        }
        page.next = query.after;
        Ok(page)
    }

    /// One object by its id. For the operator.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is none, or if the name of a user or a schema is one in several projects; [`Error::Store`].
    pub async fn object(&self, kind: ObjectKind, id: &str, project: Option<&str>, secrets: bool) -> Result<ObjectRow> {
        let found = self.find_object(kind, id, project, secrets).await?;
        found.ok_or_else(|| Error::Refused(format!("there is no {} {id:?}", kind.noun())))
    }

    async fn find_object(
        &self,
        kind: ObjectKind,
        id: &str,
        project: Option<&str>,
        secrets: bool,
    ) -> Result<Option<ObjectRow>> {
        let project = project.filter(|_| kind != ObjectKind::Project).map(str::to_owned);
        let query = ObjectQuery { id: Some(id.to_owned()), project, secrets, limit: 2, ..ObjectQuery::default() };
        let mut rows = self.objects(kind, query).await?.rows;
        if rows.len() > 1 {
            let text = "is the name of several: give the uid of one, or its project with --project";
            return Err(Error::Refused(format!("{} {id:?} {text}", kind.noun())));
        }
        Ok(rows.pop())
    }

    /// Calls `each` for all objects that a world document describes, project by project and in the order of a document, as
    /// they are at one moment. It blocks the calling thread while it reads, which must not be a worker of the runtime.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project; those of `each`; [`Error::Store`].
    pub fn export_world(
        &self,
        scope: &WorldScope,
        each: &mut dyn FnMut(ObjectKind, ObjectRow) -> Result<()>,
    ) -> Result<()> {
        self.registry.export_world(scope, each)
    }

    /// The ids of devices, in their order; `None` for a device that was deleted. For the operator.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn device_ids(&self, devices: &[DeviceNo]) -> Result<Vec<Option<DeviceId>>> {
        self.registry.device_ids(devices).await
    }

    /// The subscribers of the live feed.
    async fn listeners(&self, query: &ObjectQuery) -> Result<ObjectPage> {
        let projects = self.projects().await?;
        let mut rows = Vec::new();
        for (name, subscriber) in self.feed.admitted(Selection::All).await? {
            let project = projects.iter().find(|project| project.no == subscriber.project);
            let project = project.map_or("", |project| project.name.as_str());
            if query.project.as_deref().is_some_and(|wanted| wanted != project)
                || query.id.as_deref().is_some_and(|wanted| wanted != name)
            {
                continue;
            }
            let mut facts = Map::new();
            facts.insert("name".to_owned(), name.clone().into());
            if let Some(user) = &subscriber.user {
                facts.insert("uid".to_owned(), user.uid.as_str().into());
            }
            facts.insert("by_login".to_owned(), subscriber.by_login.into());
            facts.insert("expires_ms".to_owned(), subscriber.expires_ms.into());
            rows.push(ObjectRow {
                cursor: name,
                project: project.to_owned(),
                device: None,
                members: Map::new(),
                facts,
            });
        }
        rows.sort_by(|one, other| one.cursor.cmp(&other.cursor));
        Ok(ObjectPage { rows, next: None })
    }
}

impl ObjectQuery {
    /// Refuses filters that objects of the kind do not have.
    fn check(&self, kind: ObjectKind) -> Result<()> {
        use ObjectKind::{App, Device, Home, Listener, Project, Token, User};
        let filters = [
            ("project", self.project.is_some(), kind != Project),
            ("product", self.product.is_some(), kind == Device),
            ("owner", self.owner.is_some(), matches!(kind, Home | Device)),
            ("home", self.home.is_some(), kind == Device),
            ("online", self.online.is_some(), kind == Device),
            ("name", self.name.is_some(), !matches!(kind, Token | Listener)),
            ("mac", self.mac.is_some(), kind == Device),
            ("secrets", self.secrets, !matches!(kind, App | User | Home | Token | Listener)),
        ];
        // A search by id passes the request for secrets for every kind.
        let refused = filters
            .into_iter()
            .find(|(filter, is_given, is_had)| *is_given && !is_had && (*filter != "secrets" || self.id.is_none()));
        refused
            .map_or(Ok(()), |(filter, ..)| Err(Error::Refused(format!("a list of {}s has no {filter}", kind.noun()))))
    }
}
