//! The store of the operator's view: lists of all kinds of objects, and their deletion.

use async_trait::async_trait;
use serde_json::{Map, Value as Json};

use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::inventory::{Identifiers, Loss, ObjectKind, ObjectQuery, ObjectRow, Trace, WorldScope};
use crate::domain::{DeviceId, DeviceNo, Result};

/// Lists of all kinds of objects, and their deletion. For the operator: nothing is limited to a project.
#[async_trait]
pub trait InventoryStore: Send + Sync {
    /// The objects of a kind that a query selects, at most its limit, in order of creation. It does not know who is online
    /// and no subscribers.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] for a damaged cursor.
    async fn objects(&self, kind: ObjectKind, query: &ObjectQuery) -> Result<Vec<ObjectRow>>;
    /// Calls `each` for all objects that a world document describes, project by project, as they are at one moment. A
    /// document with these members changes nothing when it is applied. It blocks the calling thread, which must
    /// not be one of the runtime.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] for an unknown project; those of `each`.
    fn export_world(&self, scope: &WorldScope, each: &mut dyn FnMut(ObjectKind, ObjectRow) -> Result<()>)
    -> Result<()>;
    /// The ids of devices, in their order; `None` for a number that no device has.
    async fn device_ids(&self, devices: &[DeviceNo]) -> Result<Vec<Option<DeviceId>>>;
    /// A new id for a device.
    fn new_device_id(&self) -> Result<String>;
    /// What is lost when an object of a kind is deleted, and whether something forbids it. `key` is the cursor of its row.
    async fn losses(&self, kind: ObjectKind, key: &str) -> Result<Vec<Loss>>;
    /// Deletes a project, app, product, device or token with everything that belongs to it alone; `false` if there is no
    /// such object. Users and homes have their own methods.
    ///
    /// # Errors
    /// [`crate::domain::Error::Refused`] if one of its [`Loss`]es forbids it.
    async fn delete_object(
        &self,
        kind: ObjectKind,
        key: &str,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(bool, Moves)>;
    /// Everything about the user with this key besides the account, without secrets: the rows of each part.
    async fn person(&self, key: &str) -> Result<Map<String, Json>>;
    /// Forgets whom a removed user's devices belonged to, removes the user from the rows of the audit, and searches all tables
    /// for the user. Returns the number of columns that were searched, and where something was found.
    async fn forget_user(&self, who: Identifiers) -> Result<(u64, Vec<Trace>)>;
}
