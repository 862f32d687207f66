//! The traits of the stores: a small trait for each kind of object, in which each method is one atomic operation. No
//! transaction crosses these traits. `tests/store/contract.rs` tests what each method must do, for every engine. The
//! traits for everything that may change the owner of a device are in [`super::owner_store`].

mod homes;
mod inventory;

use std::sync::Arc;

use async_trait::async_trait;

use super::access::DeviceRole;
use super::attribute::{Attribute, AttributeChange, AttributeKind, Desired, DesiredVersions};
use super::audit::AuditStore;
use super::caller::AppUser;
use super::command::Setpoint;
use super::device::{Device, DeviceName, DevicePage, DeviceQuery, FactoryName, Removal, UserDevices};
use super::device_user::{DeviceUser, DeviceUserProfile};
use super::event::{Consent, Expiry};
use super::feed::{Audience, SubscribedQuery};
use super::figures::TelemetryFigures;
use super::handover::{HistoryCuts, Moves};
use super::login::TokenHolder;
use super::name::FunctionName;
pub use super::owner_store::{BindingStore, PairingStore, TopologyStore};
use super::password::Password;
use super::session::{DeviceClaim, DeviceSecret};
use super::token::{EarlierTokens, TokenPair};
use super::user::{Account, User, UserOrder, UserPage, UserQuery, UserSync};
use super::visual::{Access, VisualKey};
use super::world::compare::{FoundDevice, StoredObjects};
use super::world::{World, WorldDevice, WorldProject};
use super::{
    DeviceId, DeviceNo, DeviceUserId, DurationMs, EventCount, EventPage, EventQuery, Latest, NewEvent, Product,
    Project, ProjectNo, Result, Schema, Uid, UserNo,
};

pub use homes::{HomeStore, InvitationStore};
pub use inventory::InventoryStore;

/// The registry: projects, users, products, devices and homes, which change rarely.
pub trait Registry:
    ProjectStore
    + TokenStore
    + UserTokenStore
    + CloudTokenStore
    + UserStore
    + ProductStore
    + DeviceStore
    + BindingStore
    + VisualStore
    + NameStore
    + DeviceUserStore
    + AttributeStore
    + StoredFilterStore
    + HomeStore
    + InvitationStore
    + PairingStore
    + TopologyStore
    + WorldStore
    + AuditStore
    + InventoryStore
{
}

impl<T> Registry for T where
    T: ProjectStore
        + TokenStore
        + UserTokenStore
        + CloudTokenStore
        + UserStore
        + ProductStore
        + DeviceStore
        + BindingStore
        + VisualStore
        + NameStore
        + DeviceUserStore
        + AttributeStore
        + StoredFilterStore
        + HomeStore
        + InvitationStore
        + InvitationStore
        + PairingStore
        + TopologyStore
        + WorldStore
        + AuditStore
        + InventoryStore
{
}

/// Projects.
#[async_trait]
pub trait ProjectStore: Send + Sync {
    /// The project with these Tuya credentials.
    async fn project_by_client_id(&self, client_id: &str) -> Result<Option<Arc<Project>>>;
    /// The project with these Alibaba credentials.
    async fn project_by_app_key(&self, app_key: &str) -> Result<Option<Arc<Project>>>;
    /// All projects, in order of creation. For the operator.
    async fn projects(&self, limit: usize) -> Result<Vec<Project>>;
    /// Replaces both secrets of a project. The old ones and all tokens that were granted are valid until `until_ms`, or not at
    /// all.
    async fn rotate_secrets(&self, project: ProjectNo, until_ms: Option<i64>) -> Result<()>;
}

/// Tokens of projects, stored as hashes.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The valid token if it has at least `left_min` left; otherwise a new one with the lifetime `life` replaces
    /// it.
    async fn grant_token(
        &self,
        project: ProjectNo,
        now_ms: i64,
        life: DurationMs,
        left_min: DurationMs,
    ) -> Result<TokenPair>;
    /// Replaces the pair with this refresh token by a new one; `None` if there is no such token.
    async fn refresh_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life: DurationMs,
    ) -> Result<Option<TokenPair>>;
    /// The project or user to whom a valid access token was issued.
    async fn token_holder(&self, access: &str, now_ms: i64) -> Result<Option<TokenHolder>>;
}

/// Logins of users, stored as hashes.
#[async_trait]
pub trait UserTokenStore: Send + Sync {
    /// Issues a new pair with the lifetime `life`, and stores the time of the login; if the user has `max` others, the
    /// oldest is revoked. `None` if the account's logins were ended since its password was checked.
    async fn grant_user_token(
        &self,
        account: &Account,
        now_ms: i64,
        life: DurationMs,
        max: usize,
    ) -> Result<Option<TokenPair>>;
    /// Revokes the login of a user with this access token; `false` if there is none.
    async fn end_user_token(&self, user: UserNo, access: &str) -> Result<bool>;
    /// Replaces the pair with this refresh token of one of the project's users by a new one, and returns the user;
    /// `None` if there is no such token, if it was revoked, or if it was issued `refresh_life` ago.
    async fn refresh_user_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life: DurationMs,
        refresh_life: DurationMs,
    ) -> Result<Option<(TokenPair, Uid)>>;
}

/// Alibaba's cloudTokens, stored as hashes.
#[async_trait]
pub trait CloudTokenStore: Send + Sync {
    /// Issues a new token with the lifetime `life`. The project's others are revoked, unless `earlier` keeps them.
    async fn grant_cloud_token(
        &self,
        project: ProjectNo,
        now_ms: i64,
        life: DurationMs,
        earlier: EarlierTokens,
    ) -> Result<String>;
    /// Issues a new token for a valid one of the project. That one, and the project's others unless `earlier` keeps them, then
    /// expire after at most `grace`. `None` if the given token is not valid.
    async fn refresh_cloud_token(
        &self,
        project: ProjectNo,
        token: &str,
        now_ms: i64,
        life: DurationMs,
        grace: DurationMs,
        earlier: EarlierTokens,
    ) -> Result<Option<String>>;
    /// The project to which a valid token was issued.
    async fn cloud_token_holder(&self, token: &str, now_ms: i64) -> Result<Option<ProjectNo>>;
}

/// The users of apps.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// The calling codes that an app serves; empty for all countries; `None` for an app that is not the project's.
    async fn app_countries(&self, project: ProjectNo, schema: &Schema) -> Result<Option<Vec<String>>>;
    /// Creates or updates a user by name; `None` for an app that is not the project's.
    async fn sync_user(&self, project: ProjectNo, schema: &Schema, user: UserSync, now_ms: i64) -> Result<Option<Uid>>;
    /// A page of an app's users; `None` for an app that is not the project's.
    async fn users(&self, project: ProjectNo, schema: &Schema, query: &UserQuery) -> Result<Option<UserPage>>;
    /// The account with that name and password, in an app of the project; without a schema in the only app that has the
    /// name. `None` for a disabled account. The check takes as long for an unknown account as for a wrong password.
    async fn account_by_password(
        &self,
        project: ProjectNo,
        schema: Option<&Schema>,
        username: &str,
        password: Password,
    ) -> Result<Option<Account>>;
    /// A user by the name in an app of the project; without a schema in the only app that has the name.
    async fn user_by_name(&self, project: ProjectNo, schema: Option<&Schema>, username: &str) -> Result<Option<User>>;
    /// A user of any of the project's apps as a requester; `None` for a disabled account.
    async fn app_user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<AppUser>>;
    /// A user of any of the project's apps.
    async fn user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<User>>;
    /// A page of the users of all apps of the project.
    async fn all_users(&self, project: ProjectNo, offset: usize, limit: usize, order: UserOrder) -> Result<Vec<User>>;
    /// A user by the open id in an app; the outer `None` for an AppKey that belongs neither to the project nor to one
    /// of its apps. With the project's own AppKey, the user of any of its apps if only one has that open id.
    async fn user_by_open_id(
        &self,
        project: ProjectNo,
        app_key: &str,
        open_id: &str,
    ) -> Result<Option<Option<Arc<User>>>>;
    /// Users of the project by Alibaba's ids, in the order of the ids.
    async fn users_by_identity(&self, project: ProjectNo, ids: &[&str]) -> Result<Vec<Option<Arc<User>>>>;
    /// Changes a user's nick name; `false` if there is no such user.
    async fn rename_user(&self, project: ProjectNo, uid: &Uid, nick_name: &str, now_ms: i64) -> Result<bool>;
    /// Removes a user with homes and bindings. Devices that the user owned then have no owner, and are as after a
    /// reset. `None` if there is no such user.
    async fn remove_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<Option<Moves>>;
}

/// Products.
#[async_trait]
pub trait ProductStore: Send + Sync {
    /// A product of the project by Alibaba's id.
    async fn product_by_key(&self, project: ProjectNo, key: &str) -> Result<Option<Arc<Product>>>;
    /// A page of the project's products, in order of creation.
    async fn products(&self, project: ProjectNo, offset: usize, limit: usize) -> Result<Vec<Arc<Product>>>;
}

/// Devices. A project sees the devices of its products and those bound to its users, until they are removed.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// A device that the project sees.
    async fn device(&self, project: ProjectNo, id: &DeviceId) -> Result<Option<Arc<Device>>>;
    /// For each project and id, in their order, the device if that project sees it.
    async fn devices_seen(&self, devices: &[(ProjectNo, DeviceId)]) -> Result<Vec<Option<Arc<Device>>>>;
    /// Devices that the project sees, identified by other names than their ids, in the order of the names.
    async fn devices_named(&self, project: ProjectNo, names: &[DeviceName]) -> Result<Vec<Option<Arc<Device>>>>;
    /// One device as from [`DeviceStore::devices_named`].
    async fn device_named(&self, project: ProjectNo, name: &DeviceName) -> Result<Option<Arc<Device>>> {
        Ok(self.devices_named(project, std::slice::from_ref(name)).await?.pop().flatten())
    }
    /// The role of a user for each of these devices, in their order; `None` for a removed device.
    async fn device_roles(&self, user: UserNo, devices: &[&Device]) -> Result<Vec<Option<DeviceRole>>>;
    /// For each query, in their order, a device that the project sees; with a user, only if the user sees it and the
    /// account still has that version and is not disabled. The device has only the members that the user may see: no
    /// local key for a sharee.
    async fn subscribed_devices(&self, queries: &[SubscribedQuery<'_>]) -> Result<Vec<Option<Arc<Device>>>>;
    /// Everyone who may see each device, in the order of `devices`.
    async fn audiences(&self, devices: &[DeviceNo]) -> Result<Vec<Audience>>;
    /// A user's devices; `None` for a user that is not the project's.
    async fn devices_of_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        which: UserDevices,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Vec<Arc<Device>>>>;
    /// A page of the devices that the project sees; `None` for a schema or a product that is not the project's.
    async fn devices(&self, project: ProjectNo, query: &DeviceQuery) -> Result<Option<DevicePage<Device>>>;
    /// The sub-devices of a gateway that the project sees.
    async fn sub_devices(&self, project: ProjectNo, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>>;
    /// Renames a device; `false` if there is no such device.
    async fn rename_device(&self, project: ProjectNo, id: &DeviceId, name: &str, now_ms: i64) -> Result<bool>;
    /// Removes devices from all users, all of them or none; for a reset also their names and history. `None` if the
    /// project may not remove one of them: it must be the project of its product or of its owner.
    async fn remove_devices(
        &self,
        project: ProjectNo,
        ids: &[DeviceId],
        removal: Removal,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<Option<Moves>>;
    /// Stores the first activation of devices; for each, in their order, `false` if it was activated before.
    async fn activate_devices(&self, devices: &[&Device], now_ms: i64) -> Result<Vec<bool>>;
    /// Devices by their ids only, in the order of the ids, for a device's own session and for the operator.
    async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>>;
    /// One device as from [`DeviceStore::devices_by_id`].
    async fn device_by_id(&self, id: &DeviceId) -> Result<Option<Device>> {
        Ok(self.devices_by_id(std::slice::from_ref(id)).await?.pop().flatten())
    }
    /// Devices and their secrets, in the order of the claims, for the devices' own sessions.
    async fn device_secrets(&self, claims: &[DeviceClaim]) -> Result<Vec<Option<DeviceSecret>>>;
    /// One device as from [`DeviceStore::device_secrets`].
    async fn device_secret(&self, claim: &DeviceClaim) -> Result<Option<DeviceSecret>> {
        Ok(self.device_secrets(std::slice::from_ref(claim)).await?.pop().flatten())
    }
    /// The devices that the server simulates and that are neither removed nor disabled.
    async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>>;
}

/// The visual login: passwords, the access that they give, and the keys that sign its tokens.
#[async_trait]
pub trait VisualStore: Send + Sync {
    /// The account with that name and password. If several apps have the name, the account with most of `devices`. The
    /// check takes as long for an unknown account as for a wrong password.
    async fn user_by_password(
        &self,
        username: &str,
        password: Password,
        devices: &[FactoryName],
    ) -> Result<Option<Account>>;
    /// The access of an account to devices that it owns or that are shared with it, in their order; `None` for others and
    /// for disabled ones, and if the account is disabled.
    async fn accesses(&self, uid: &Uid, devices: &[FactoryName]) -> Result<Vec<Option<Access>>>;
    /// Stores the time of an account's last login.
    async fn record_login(&self, uid: &Uid, now_ms: i64) -> Result<()>;
    /// The keys that are valid or were retired at most `published` ago, the current one first. It is created if
    /// necessary.
    async fn visual_keys(&self, now_ms: i64, published: DurationMs) -> Result<Vec<VisualKey>>;
    /// Retires the current key, creates a new one, and deletes those retired more than `published` ago. Returns the
    /// name of the new key.
    async fn rotate_visual_key(&self, now_ms: i64, published: DurationMs) -> Result<String>;
}

/// Names of functions.
#[async_trait]
pub trait NameStore: Send + Sync {
    /// Sets the name of a function.
    async fn name_function(&self, device: &Device, code: &str, name: &str, now_ms: i64) -> Result<()>;
    /// All names of each device, ordered by code, in the order of `devices`.
    async fn function_names(&self, devices: &[&Device]) -> Result<Vec<Vec<FunctionName>>>;
}

/// Device users.
#[async_trait]
pub trait DeviceUserStore: Send + Sync {
    /// Adds a device user unless there are `max` already.
    async fn add_device_user(
        &self,
        device: &Device,
        profile: DeviceUserProfile,
        max: usize,
    ) -> Result<Option<DeviceUserId>>;
    /// Updates a device user; `false` if there is none with this id.
    async fn update_device_user(&self, device: &Device, id: &DeviceUserId, profile: DeviceUserProfile) -> Result<bool>;
    /// Removes a device user; `false` if there is none with this id.
    async fn remove_device_user(&self, device: &Device, id: &DeviceUserId) -> Result<bool>;
    /// All device users, in order of addition.
    async fn device_users(&self, device: &Device, limit: usize) -> Result<Vec<DeviceUser>>;
}

/// Attributes and desired values of devices.
#[async_trait]
pub trait AttributeStore: Send + Sync {
    /// The attributes of one kind, in the order of their keys.
    async fn attributes(&self, device: &Device, kind: AttributeKind) -> Result<Vec<Attribute>>;
    /// Changes attributes, all or none: `false` if there would be more than `max` of the kind, or if one has another
    /// version than the change requires. Each change increments the version of the attribute. Nothing changes and no
    /// version is incremented if no change requires a version and every attribute already is as its change says.
    async fn change_attributes(
        &self,
        device: &Device,
        kind: AttributeKind,
        changes: Vec<AttributeChange>,
        max: usize,
    ) -> Result<bool>;
    /// The desired values of each device, ordered by code and including expired ones, in the order of `devices`.
    async fn desired(&self, devices: &[&Device]) -> Result<Vec<Vec<Desired>>>;
    /// Stores desired values that expire at `until_ms`, all or none, and removes expired ones: `false` if there would
    /// be more than `max`. Each change increments the version of the value.
    async fn put_desired(
        &self,
        device: &Device,
        setpoints: Vec<Setpoint>,
        until_ms: i64,
        is_pushed: bool,
        now_ms: i64,
        max: usize,
    ) -> Result<bool>;
    /// Removes desired values of devices by code, and only with that version if one is given.
    async fn remove_desired(&self, values: &[(&Device, DesiredVersions)]) -> Result<()>;
}

/// The stored topic filters of persistent MQTT sessions, by the device that connects.
#[async_trait]
pub trait StoredFilterStore: Send + Sync {
    /// The filters of a session, grouped by the device that they concern: the device itself or a sub-device.
    async fn stored_filters(&self, session: &Device) -> Result<Vec<(DeviceNo, Vec<String>)>>;
    /// Stores filters, which replace those of each device in the list. Filters of former sub-devices are deleted. A
    /// filter contains no line break.
    async fn store_filters(&self, session: &Device, filters: Vec<(DeviceNo, Vec<String>)>) -> Result<()>;
    /// Deletes all filters of a session.
    async fn delete_filters(&self, session: &Device) -> Result<()>;
}

/// The world document.
#[async_trait]
pub trait WorldStore: Send + Sync {
    /// Applies a world document, as a whole or not at all. Also returns the devices whose sessions must end because
    /// something that they depend on has changed: secret, name, owner, gateway or thing model, or because the device
    /// was disabled.
    async fn apply(&self, world: World, cuts: &dyn HistoryCuts, now_ms: i64)
    -> Result<((World, Vec<DeviceNo>), Moves)>;
    /// What is stored of the objects of a document's project, without its devices. It verifies the passwords of the
    /// document, which takes long.
    async fn stored_objects(&self, project: &WorldProject) -> Result<StoredObjects>;
    /// What is stored of devices of a document and of what they name, with the devices and in their order. Each of them has
    /// an id or a device name, unless its product is new. `project` is that of the document, 0 if it does not exist.
    /// `with_keys` says that the local keys of gateways are needed.
    async fn stored_devices(
        &self,
        project: ProjectNo,
        devices: Vec<WorldDevice>,
        with_keys: bool,
    ) -> Result<Vec<(WorldDevice, FoundDevice)>>;
    /// The Tuya ids of the products of a project that have this name. The project is found by its name.
    async fn products_named(&self, project: &str, name: &str) -> Result<Vec<String>>;
}

/// The event log and the latest values, which change all the time.
#[async_trait]
pub trait Telemetry: Send + Sync {
    /// Appends rows, as a whole or not at all. When it returns, they are on disk and visible to every later read. A row
    /// gets the next free number of its device and millisecond, in the order of the batch.
    async fn append(&self, rows: Vec<NewEvent>) -> Result<()>;
    /// A page of a device's log, newest first. The number of examined rows is limited. A long read waits for a permit.
    async fn page(&self, project: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventPage>;
    /// The number of rows that a query selects, regardless of its start and limit; with the same limits as
    /// [`Telemetry::page`].
    async fn count(&self, project: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventCount>;
    /// For each of these rows, in their order, whether the log has a row with the same device, time, type, code and value
    /// ([`NewEvent::content`]), whatever else differs. Reads as many rows as there are within the same milliseconds, and for
    /// each of `rows` at most a page of others.
    async fn contains(&self, rows: &[NewEvent]) -> Result<Vec<bool>>;
    /// The time of the newest row of each device's log, milliseconds since 1970, in the order of `devices`; 0 for an
    /// empty log.
    async fn newest_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>>;
    /// The latest values and presence of each device, in the order of `devices`. The row that arrived last counts,
    /// whatever its time; a row with `is_history` counts only if it is newer than the present one.
    async fn latest(&self, devices: &[DeviceNo]) -> Result<Vec<Arc<Latest>>>;
    /// Removes whole files that contain only rows older than `keep` before now. Without consent, a jump of the clock
    /// removes nothing: only what became too old while the engine ran is removed, and nothing within `keep` of the
    /// newest row.
    async fn expire(&self, now_ms: i64, keep: DurationMs, consent: Consent) -> Result<Expiry>;
    /// Metrics of the event log.
    fn figures(&self) -> TelemetryFigures;
}
