//! What the domain asks of an engine: a small trait a noun, each method one atomic fact. No transaction crosses this
//! seam. `tests/store/contract.rs` says what each method means, for every engine.

use std::sync::Arc;

use async_trait::async_trait;

use super::device::{Device, DevicePage, DeviceQuery, Leaving, UserDevices};
use super::device_user::{DeviceUser, DeviceUserFacts};
use super::name::FunctionName;
use super::token::TokenPair;
use super::user::{User, UserPage, UserQuery, UserSync};
use super::world::World;
use super::{
    DeviceId, DeviceNo, DeviceUserId, EventPage, EventQuery, Latest, NewEvent, Project, ProjectNo, Result, Schema, Uid,
};

/// Facts that change slowly.
pub trait Registry:
    ProjectStore + TokenStore + UserStore + DeviceStore + NameStore + DeviceUserStore + WorldStore
{
}

impl<T> Registry for T where
    T: ProjectStore + TokenStore + UserStore + DeviceStore + NameStore + DeviceUserStore + WorldStore
{
}

/// Tenants.
#[async_trait]
pub trait ProjectStore: Send + Sync {
    /// The project of Tuya credentials.
    async fn project_by_client_id(&self, client_id: &str) -> Result<Option<Arc<Project>>>;
    /// All projects, in order of creation. For the operator.
    async fn projects(&self, limit: usize) -> Result<Vec<Project>>;
}

/// Tokens, of which only hashes are kept.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The living token with at least `left_ms_min` left, or a new one that lives `life_ms` and replaces it.
    async fn grant_token(&self, project: ProjectNo, now_ms: i64, life_ms: i64, left_ms_min: i64) -> Result<TokenPair>;
    /// A new pair in place of the one with this refresh token; `None` when there is none.
    async fn refresh_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life_ms: i64,
    ) -> Result<Option<TokenPair>>;
    /// Whether this access token of the project is alive.
    async fn token_lives(&self, project: ProjectNo, access: &str, now_ms: i64) -> Result<bool>;
}

/// End users.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// The calling codes that an app serves, none meaning every one; `None` for an app that is not the project's.
    async fn app_countries(&self, project: ProjectNo, schema: &Schema) -> Result<Option<Vec<String>>>;
    /// Creates or updates a user by name; `None` for an app that is not the project's.
    async fn sync_user(&self, project: ProjectNo, schema: &Schema, user: UserSync, now_ms: i64) -> Result<Option<Uid>>;
    /// A page of an app's users; `None` for an app that is not the project's.
    async fn users(&self, project: ProjectNo, schema: &Schema, query: &UserQuery) -> Result<Option<UserPage>>;
    /// A user of any of the project's apps.
    async fn user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<User>>;
}

/// Devices. A project sees those of its products and those bound to its users, as long as they were not removed.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// A device that the project sees.
    async fn device(&self, project: ProjectNo, id: &DeviceId) -> Result<Option<Arc<Device>>>;
    /// A user's devices; `None` for a user that is not the project's.
    async fn devices_of_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        which: UserDevices,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Vec<Device>>>;
    /// A page of what the project sees; `None` for a schema or product that is not the project's.
    async fn devices(&self, project: ProjectNo, query: &DeviceQuery) -> Result<Option<DevicePage<Device>>>;
    /// Those behind a gateway that the project sees.
    async fn sub_devices(&self, project: ProjectNo, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>>;
    /// Whether there was such a device to rename.
    async fn rename_device(&self, project: ProjectNo, id: &DeviceId, name: &str, now_ms: i64) -> Result<bool>;
    /// Unbinds every user, and for a reset drops names and device users; whether the project saw the device.
    async fn remove_device(
        &self,
        project: ProjectNo,
        id: &DeviceId,
        leaving: Leaving,
        history_from_ms: i64,
        now_ms: i64,
    ) -> Result<bool>;
    /// Notes the first activation; whether it was the first.
    async fn activate_device(&self, device: DeviceNo, now_ms: i64) -> Result<bool>;
    /// A device by its id alone, for the device's own session.
    async fn device_by_id(&self, id: &DeviceId) -> Result<Option<Device>>;
    /// The devices that the server plays itself and that were not removed.
    async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>>;
}

/// Names of functions.
#[async_trait]
pub trait NameStore: Send + Sync {
    /// Sets one name.
    async fn name_function(&self, device: DeviceNo, code: &str, name: &str, now_ms: i64) -> Result<()>;
    /// All names, ordered by code.
    async fn function_names(&self, device: DeviceNo) -> Result<Vec<FunctionName>>;
}

/// People known to a device.
#[async_trait]
pub trait DeviceUserStore: Send + Sync {
    /// Adds one unless there are `max` already.
    async fn add_device_user(
        &self,
        device: DeviceNo,
        facts: DeviceUserFacts,
        max: usize,
    ) -> Result<Option<DeviceUserId>>;
    /// Whether there was such a person.
    async fn update_device_user(&self, device: DeviceNo, id: &DeviceUserId, facts: DeviceUserFacts) -> Result<bool>;
    /// Whether there was such a person.
    async fn remove_device_user(&self, device: DeviceNo, id: &DeviceUserId) -> Result<bool>;
    /// Everybody, in order of addition.
    async fn device_users(&self, device: DeviceNo, limit: usize) -> Result<Vec<DeviceUser>>;
}

/// The world document.
#[async_trait]
pub trait WorldStore: Send + Sync {
    /// Makes a world true, as a whole or not at all.
    async fn apply(&self, world: World, now_ms: i64) -> Result<World>;
}

/// The event log and the latest values. Facts that change all the time.
#[async_trait]
pub trait Telemetry: Send + Sync {
    /// Appends rows, as a whole or not at all. When it returns they are on disk and visible to every later read. A
    /// row's number is the next free one of its device and millisecond, in the order of the batch.
    async fn append(&self, rows: Vec<NewEvent>) -> Result<()>;
    /// A page of a device's log, newest first, with a bound on the rows scanned.
    async fn page(&self, device: DeviceNo, query: &EventQuery) -> Result<EventPage>;
    /// How many rows a query selects, whatever its start and limit. Exact.
    async fn count(&self, device: DeviceNo, query: &EventQuery) -> Result<u64>;
    /// The latest values and presence of each device, in the order asked. Of rows with equal time the later number
    /// wins. Of presence rows the newest.
    async fn latest(&self, devices: &[DeviceNo]) -> Result<Vec<Arc<Latest>>>;
    /// Drops what is older than `before_ms`, in whole files: something older may stay, nothing newer goes.
    async fn expire(&self, before_ms: i64) -> Result<()>;
    /// Figures for the operator.
    fn figures(&self) -> TelemetryFigures;
}

/// What an operator wants to know of the log's engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryFigures {
    /// Rows acknowledged since the start.
    pub rows_appended: u64,
    /// Commits that brought them.
    pub commits: u64,
    /// Rows in memory that wait for a roll.
    pub rows_in_memory: u64,
    /// Rolls finished since the start.
    pub rolls: u64,
    /// Rolls that failed and will be tried again.
    pub rolls_failed: u64,
    /// Blobs on disk whose checksum was wrong when read.
    pub damaged: u64,
    /// Whether an acknowledgement waits for the disk.
    pub durable: bool,
}
