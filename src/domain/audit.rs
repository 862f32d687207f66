//! The audit: one row for each change of an object of the registry, with who made it, when and from where.

use async_trait::async_trait;

use super::{Cloud, Result};

/// The maximal number of rows on a page of the audit.
pub const AUDIT_PAGE_MAX: usize = 1000;

/// The kind of an [`Actor`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActorKind {
    /// The server itself.
    #[default]
    Server,
    /// A person with access to the data folder.
    Operator,
    /// A project, by its credentials.
    Project,
    /// A user of an app, by a login.
    User,
    /// A device, by its session.
    Device,
}

impl ActorKind {
    /// All kinds with their names.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Server, "server"),
        (Self::Operator, "operator"),
        (Self::Project, "project"),
        (Self::User, "user"),
        (Self::Device, "device"),
    ];

    /// The name of the kind, as the store and the command line write it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| *name)
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// Who makes a change, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The kind.
    pub kind: ActorKind,
    /// The name: of a project, a uid, a device id, or the number of the operator's account on this machine.
    pub name: String,
    /// From where: an address, or how the operator reached the server.
    pub origin: String,
    /// The call: an HTTP method and route, or a call of the control socket.
    pub call: String,
}

/// A row of the audit: what one atomic operation changed in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The number of the row, in order of the changes.
    pub no: i64,
    /// The number that all rows of one atomic operation have in common.
    pub change_no: i64,
    /// When, milliseconds since 1970.
    pub time_ms: i64,
    /// Who, and from where.
    pub actor: Actor,
    /// The name of the project to which the object belongs.
    pub project: Option<String>,
    /// The kind of object, for example `device`.
    pub object_kind: String,
    /// The id of the object. Two ids with a slash between them for what connects two objects.
    pub object: String,
    /// `create`, `change` or `delete`; for other operations of the operator their name.
    pub operation: String,
    /// The changed members before, as a JSON object. A secret is shown as `***`.
    pub before: Option<String>,
    /// The same members afterwards.
    pub after: Option<String>,
}

/// Selects rows of the audit. They come newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only rows before the one with this number, for the next page.
    pub before_no: Option<i64>,
    /// Only objects of this project, by its name.
    pub project: Option<String>,
    /// Only objects of this kind.
    pub object_kind: Option<String>,
    /// Only the object with this id, or what connects it to another one.
    pub object: Option<String>,
    /// Only changes by actors of this name.
    pub actor: Option<String>,
    /// Only changes at this time or later, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// The maximal number of rows, 1 to [`AUDIT_PAGE_MAX`].
    pub limit: usize,
}

/// The audit. Every write of the registry adds its rows in its own transaction; the actor is the one that the calling
/// task has at that time. The number of rows is limited for each project, so that one project cannot displace the rows
/// of another.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// A page of rows, newest first.
    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>>;
    /// Adds a row for an operation that changes nothing in the registry, for example an import of events.
    async fn record_operation(&self, operation: &'static str, object: String, details: String) -> Result<()>;
}

impl Cloud {
    /// A page of the audit, newest first. For the operator.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn audit(&self, mut query: AuditQuery) -> Result<Vec<AuditRow>> {
        query.limit = query.limit.clamp(1, AUDIT_PAGE_MAX);
        self.registry.audit(&query).await
    }

    /// Adds a row for an operation of the operator that changes nothing in the registry. `details` is a JSON object.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn record_operation(&self, operation: &'static str, object: String, details: String) -> Result<()> {
        self.registry.record_operation(operation, object, details).await
    }
}
