//! What the domain asks of an engine: a small trait a noun, each method one atomic fact. No transaction crosses this
//! seam. `tests/store/contract.rs` says what each method means, for every engine.
//! Where devices change hands the traits are in [`super::owner_store`].

mod homes;

use std::sync::Arc;

use async_trait::async_trait;

use super::access::DeviceRole;
use super::attribute::{Attribute, AttributeChange, AttributeKind, Desired};
use super::caller::AppUser;
use super::command::Setpoint;
use super::device::{Device, DeviceName, DevicePage, DeviceQuery, FactoryName, Leaving, UserDevices};
use super::device_user::{DeviceUser, DeviceUserProfile};
use super::event::{Consent, Expiry};
use super::feed::Audience;
use super::figures::TelemetryFigures;
use super::handover::{HistoryCuts, Moves};
use super::login::TokenHolder;
use super::name::FunctionName;
pub use super::owner_store::{BindingStore, PairingStore, TopologyStore};
use super::password::Password;
use super::session::{DeviceClaim, DeviceSecret};
use super::token::TokenPair;
use super::user::{Account, User, UserPage, UserQuery, UserSync};
use super::visual::{Access, VisualKey};
use super::world::World;
use super::{
    DeviceId, DeviceNo, DeviceUserId, EventCount, EventPage, EventQuery, Latest, NewEvent, Product, Project, ProjectNo,
    Result, Schema, Uid, UserNo,
};

pub use homes::{HomeStore, InvitationStore};

/// Facts that change slowly.
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
    + KeptFilterStore
    + HomeStore
    + InvitationStore
    + PairingStore
    + TopologyStore
    + WorldStore
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
        + KeptFilterStore
        + HomeStore
        + InvitationStore
        + InvitationStore
        + PairingStore
        + TopologyStore
        + WorldStore
{
}

/// Tenants.
#[async_trait]
pub trait ProjectStore: Send + Sync {
    /// The project of Tuya credentials.
    async fn project_by_client_id(&self, client_id: &str) -> Result<Option<Arc<Project>>>;
    /// The project of Alibaba credentials.
    async fn project_by_app_key(&self, app_key: &str) -> Result<Option<Arc<Project>>>;
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
    /// Who holds a living access token: a project, or one of its users.
    async fn token_holder(&self, access: &str, now_ms: i64) -> Result<Option<TokenHolder>>;
}

/// Logins of users, of which only hashes are kept.
#[async_trait]
pub trait UserTokenStore: Send + Sync {
    /// A new pair that lives `life_ms`; with `max` others of the user the oldest dies. `None` when what ends the
    /// account's access has happened since its password was checked.
    async fn grant_user_token(
        &self,
        account: &Account,
        now_ms: i64,
        life_ms: i64,
        max: usize,
    ) -> Result<Option<TokenPair>>;
    /// Ends the login of a user that an access token is of; whether there was one.
    async fn end_user_token(&self, user: UserNo, access: &str) -> Result<bool>;
    /// A new pair in place of the one with this refresh token of one of the project's users, and whose it is; `None`
    /// when there is none, it has died with the account's access, or it was granted `refresh_life_ms` ago.
    async fn refresh_user_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life_ms: i64,
        refresh_life_ms: i64,
    ) -> Result<Option<(TokenPair, Uid)>>;
}

/// Alibaba's cloudTokens, of which only hashes are kept.
#[async_trait]
pub trait CloudTokenStore: Send + Sync {
    /// A new token that lives `life_ms`. The project's others die, unless they are kept.
    async fn grant_cloud_token(&self, project: ProjectNo, now_ms: i64, life_ms: i64, keep: bool) -> Result<String>;
    /// A new token for a living one of the project, which then lives `grace_ms` more at most, as do the project's
    /// others unless they are kept; `None` without that one.
    async fn refresh_cloud_token(
        &self,
        project: ProjectNo,
        token: &str,
        now_ms: i64,
        life_ms: i64,
        grace_ms: i64,
        keep: bool,
    ) -> Result<Option<String>>;
    /// The project of a living token.
    async fn cloud_token_holder(&self, token: &str, now_ms: i64) -> Result<Option<ProjectNo>>;
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
    /// The account of that name and password, in an app of the project's; without a schema in the only one that knows
    /// the name. Not one that is shut out. Takes as long without an account as with a wrong password.
    async fn account_by_password(
        &self,
        project: ProjectNo,
        schema: Option<&Schema>,
        username: &str,
        password: Password,
    ) -> Result<Option<Account>>;
    /// A user by the name in an app of the project's; without a schema in the only one that knows it.
    async fn user_by_name(&self, project: ProjectNo, schema: Option<&Schema>, username: &str) -> Result<Option<User>>;
    /// A user of any of the project's apps, as one who asks, unless shut out.
    async fn app_user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<AppUser>>;
    /// A user of any of the project's apps.
    async fn user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<User>>;
    /// A page of the users of all the project's apps, in order of creation or the newest first.
    async fn all_users(&self, project: ProjectNo, offset: usize, limit: usize, newest_first: bool)
    -> Result<Vec<User>>;
    /// A user by what an app knows it by; the outer `None` for an AppKey that is neither the project's nor one of its
    /// apps'. With the project's own, the user of any of its apps when only one has that open id.
    async fn user_by_open_id(
        &self,
        project: ProjectNo,
        app_key: &str,
        open_id: &str,
    ) -> Result<Option<Option<Arc<User>>>>;
    /// A user of the project by Alibaba's id.
    async fn user_by_identity(&self, project: ProjectNo, identity_id: &str) -> Result<Option<Arc<User>>>;
    /// Whether there was such a user to rename.
    async fn rename_user(&self, project: ProjectNo, uid: &Uid, nick_name: &str, now_ms: i64) -> Result<bool>;
    /// Removes a user with homes and bindings; devices that the user owned are nobody's then, and as after a reset.
    /// `None` when there was no such user.
    async fn remove_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<Option<Moves>>;
}

/// Types of devices.
#[async_trait]
pub trait ProductStore: Send + Sync {
    /// A product of the project by Alibaba's id.
    async fn product_by_key(&self, project: ProjectNo, key: &str) -> Result<Option<Arc<Product>>>;
    /// A page of the project's products, in order of creation.
    async fn products(&self, project: ProjectNo, offset: usize, limit: usize) -> Result<Vec<Arc<Product>>>;
}

/// Devices. A project sees those of its products and those bound to its users, as long as they were not removed.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// A device that the project sees.
    async fn device(&self, project: ProjectNo, id: &DeviceId) -> Result<Option<Arc<Device>>>;
    /// A device that the project sees, by another name than its id.
    async fn device_named(&self, project: ProjectNo, name: &DeviceName) -> Result<Option<Arc<Device>>>;
    /// What a user has of each of these devices, in their order; nothing of one that was removed.
    async fn device_roles(&self, user: UserNo, devices: &[DeviceNo]) -> Result<Vec<Option<DeviceRole>>>;
    /// A device that the project sees, and of the project's users the one who is given, as long as the account is of
    /// that version and not shut out. As it is seen: without its key when it is only shared.
    async fn heard_device(
        &self,
        project: ProjectNo,
        user: Option<&AppUser>,
        device: DeviceNo,
    ) -> Result<Option<Arc<Device>>>;
    /// Who may see a device.
    async fn audience(&self, device: DeviceNo) -> Result<Audience>;
    /// A user's devices; `None` for a user that is not the project's.
    async fn devices_of_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        which: UserDevices,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Vec<Arc<Device>>>>;
    /// A page of what the project sees; `None` for a schema or a product that is not the project's.
    async fn devices(&self, project: ProjectNo, query: &DeviceQuery) -> Result<Option<DevicePage<Device>>>;
    /// Those behind a gateway that the project sees.
    async fn sub_devices(&self, project: ProjectNo, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>>;
    /// Whether there was such a device to rename.
    async fn rename_device(&self, project: ProjectNo, id: &DeviceId, name: &str, now_ms: i64) -> Result<bool>;
    /// Takes devices from everybody, all of them or none; for a reset their past goes too. `None` when one of them is
    /// not the project's to remove: as its maker or as its owner's project.
    async fn remove_devices(
        &self,
        project: ProjectNo,
        ids: &[DeviceId],
        leaving: Leaving,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<Option<Moves>>;
    /// Notes the first activation; whether it was the first.
    async fn activate_device(&self, device: DeviceNo, now_ms: i64) -> Result<bool>;
    /// A device by its id alone, for the device's own session.
    async fn device_by_id(&self, id: &DeviceId) -> Result<Option<Device>>;
    /// A device and its secret, for the device's own session.
    async fn device_secret(&self, who: &DeviceClaim) -> Result<Option<DeviceSecret>>;
    /// The devices that the server plays itself and that were neither removed nor disabled.
    async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>>;
}

/// Passwords, the access they give, and the keys that attest it.
#[async_trait]
pub trait VisualStore: Send + Sync {
    /// The account of that name and password. Where several apps have the name, it is the one that has most of
    /// `devices`. Takes as long without an account as with a wrong password.
    async fn user_by_password(
        &self,
        username: &str,
        password: Password,
        devices: &[FactoryName],
    ) -> Result<Option<Account>>;
    /// Access of an account to a device that it owns or that is shared to it, neither of them disabled.
    async fn access(&self, uid: &Uid, device: &FactoryName) -> Result<Option<Access>>;
    /// Notes when an account last signed in.
    async fn note_login(&self, uid: &Uid, now_ms: i64) -> Result<()>;
    /// The keys but for those retired more than `published_ms` ago, the current one first, which is made if need be.
    async fn visual_keys(&self, now_ms: i64, published_ms: i64) -> Result<Vec<VisualKey>>;
    /// Retires the current key for a new one and forgets those retired more than `published_ms` ago. The new name.
    async fn rotate_visual_key(&self, now_ms: i64, published_ms: i64) -> Result<String>;
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
        profile: DeviceUserProfile,
        max: usize,
    ) -> Result<Option<DeviceUserId>>;
    /// Whether there was such a person.
    async fn update_device_user(&self, device: DeviceNo, id: &DeviceUserId, profile: DeviceUserProfile)
    -> Result<bool>;
    /// Whether there was such a person.
    async fn remove_device_user(&self, device: DeviceNo, id: &DeviceUserId) -> Result<bool>;
    /// Everybody, in order of addition.
    async fn device_users(&self, device: DeviceNo, limit: usize) -> Result<Vec<DeviceUser>>;
}

/// What is kept of a device under a key.
#[async_trait]
pub trait AttributeStore: Send + Sync {
    /// Those of one kind, in the order of their keys.
    async fn attributes(&self, device: DeviceNo, kind: AttributeKind) -> Result<Vec<Attribute>>;
    /// Changes attributes, all or none: `false` when there would be more than `max` of the kind, or one is of another
    /// version than the change asks for. Each change makes the fact's version one more.
    async fn change_attributes(
        &self,
        device: DeviceNo,
        kind: AttributeKind,
        changes: Vec<AttributeChange>,
        max: usize,
    ) -> Result<bool>;
    /// The values that a device should take, in the order of their codes, also those whose time is over.
    async fn desired(&self, device: DeviceNo) -> Result<Vec<Desired>>;
    /// Stores values that a device should take until `until_ms`, all or none, and removes those whose time is over:
    /// `false` when there would be more than `max`. Each change makes the version of a value one more.
    async fn put_desired(
        &self,
        device: DeviceNo,
        setpoints: Vec<Setpoint>,
        until_ms: i64,
        is_told: bool,
        now_ms: i64,
        max: usize,
    ) -> Result<bool>;
    /// Removes values that a device should take, by code. One of another version than the given one stays.
    async fn forget_desired(&self, device: DeviceNo, versions: Vec<(String, Option<i64>)>) -> Result<()>;
}

/// What devices subscribed to in MQTT sessions that are kept, by the device that connects.
#[async_trait]
pub trait KeptFilterStore: Send + Sync {
    /// The filters of a session, by the device that they are of: the same, or one behind it.
    async fn kept_filters(&self, session: DeviceNo) -> Result<Vec<(DeviceNo, Vec<String>)>>;
    /// Keeps these in place of those of each device that is named. What is of a device that is no longer behind the
    /// session's is forgotten. A filter holds no line end.
    async fn keep_filters(&self, session: DeviceNo, filters: Vec<(DeviceNo, Vec<String>)>) -> Result<()>;
    /// Forgets all of a session.
    async fn forget_filters(&self, session: DeviceNo) -> Result<()>;
}

/// The world document.
#[async_trait]
pub trait WorldStore: Send + Sync {
    /// Makes a world true, as a whole or not at all. With the devices whose sessions are of something that is no longer
    /// true: another secret, name, owner, gateway or thing model, or the device is shut out.
    async fn apply(&self, world: World, cuts: &dyn HistoryCuts, now_ms: i64)
    -> Result<((World, Vec<DeviceNo>), Moves)>;
}

/// The event log and the latest values. Facts that change all the time.
#[async_trait]
pub trait Telemetry: Send + Sync {
    /// Appends rows, as a whole or not at all. When it returns they are on disk and visible to every later read. A
    /// row's number is the next free one of its device and millisecond, in the order of the batch.
    async fn append(&self, rows: Vec<NewEvent>) -> Result<()>;
    /// A page of a device's log, newest first, with a bound on the rows scanned. A long one waits for the asker's turn.
    async fn page(&self, asker: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventPage>;
    /// How many rows a query selects, whatever its start and limit; bounded and in turn as [`Telemetry::page`].
    async fn count(&self, asker: Option<ProjectNo>, device: DeviceNo, query: &EventQuery) -> Result<EventCount>;
    /// The latest values and presence of each device, in the order asked. The row that arrived last is the state,
    /// whatever its time; a row that is history is the state only when it is newer than the one that is.
    async fn latest(&self, devices: &[DeviceNo]) -> Result<Vec<Arc<Latest>>>;
    /// Removes what is older than `keep_ms` before now, in whole files: something older may stay, nothing newer goes. Without
    /// consent nothing goes because a clock jumped: not more than became too old since the last time while the engine ran,
    /// and nothing within `keep_ms` of the newest row.
    async fn expire(&self, now_ms: i64, keep_ms: i64, consent: Consent) -> Result<Expiry>;
    /// Figures for the operator.
    fn figures(&self) -> TelemetryFigures;
}
