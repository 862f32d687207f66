//! What the domain asks of an engine: a small trait a noun, each method one atomic fact. No transaction crosses this
//! seam. `tests/store/contract.rs` says what each method means, for every engine.

mod homes;

use std::sync::Arc;

use async_trait::async_trait;

use super::binding::{Bound, BoundDevices, DeviceHolder, Shared, Unbound};
use super::caller::{AppUser, DeviceRole};
use super::device::{Device, DeviceName, DevicePage, DeviceQuery, FactoryName, Leaving, UserDevices};
use super::device_user::{DeviceUser, DeviceUserFacts};
use super::fact::{Fact, FactChange, FactKind};
use super::feed::Audience;
use super::login::TokenHolder;
use super::name::FunctionName;
use super::pairing::{PairingToken, Redeemed};
use super::password::Password;
use super::session::{DeviceClaim, DeviceSecret};
use super::token::TokenPair;
use super::topology::{NewSubDevice, ProductSecret};
use super::user::{Account, User, UserPage, UserQuery, UserSync};
use super::visual::{Access, VisualKey};
use super::world::World;
use super::{
    DeviceId, DeviceNo, DeviceUserId, EventPage, EventQuery, HomeId, Latest, NewEvent, Product, Project, ProjectNo,
    Result, RowRef, Schema, Uid, UserNo,
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
    + FactStore
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
        + FactStore
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
    /// when there is none, or it has died with the account's access.
    async fn refresh_user_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life_ms: i64,
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
    /// Removes a user with homes and bindings; every binding of a device that the user owned goes. Those
    /// devices; `None` when there was no such user.
    async fn remove_user(&self, project: ProjectNo, uid: &Uid, now_ms: i64) -> Result<Option<Vec<DeviceNo>>>;
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
    /// A device and its secret, for the device's own session.
    async fn device_secret(&self, who: &DeviceClaim) -> Result<Option<DeviceSecret>>;
    /// The devices that the server plays itself and that were neither removed nor disabled.
    async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>>;
}

/// Which user has which device.
#[async_trait]
pub trait BindingStore: Send + Sync {
    /// What a user has, owned and shared, in the order of binding; `None` for a user that is not the project's.
    async fn bound_devices(
        &self,
        project: ProjectNo,
        uid: &Uid,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Arc<BoundDevices>>>;
    /// Those of the project's users who have a device, the owner first, and how many they are.
    async fn holders(
        &self,
        project: ProjectNo,
        device: DeviceNo,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<DeviceHolder>, u64)>;
    /// Makes a user the owner of a device that nobody owns and that is of the project's products or visible to it; it
    /// stands in the user's first home then. `None` for a user that is not the project's.
    async fn bind_device(
        &self,
        project: ProjectNo,
        uid: &Uid,
        device: &FactoryName,
        now_ms: i64,
    ) -> Result<Option<Bound>>;
    /// Shares a device to a user, for the one who owns it or for its owner's project; `None` for a user that is not the
    /// project's.
    async fn share_device(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        uid: &Uid,
        device: DeviceNo,
        now_ms: i64,
    ) -> Result<Option<Shared>>;
    /// Ends a share of a user of the project; whether there was one.
    async fn withdraw_device(&self, project: ProjectNo, uid: &Uid, device: DeviceNo) -> Result<bool>;
    /// Those of the project's users to whom a device is shared, in the order of sharing.
    async fn sharees(&self, project: ProjectNo, device: DeviceNo, limit: usize) -> Result<Vec<User>>;
    /// Takes a device from a user of the project; from everybody when that user owns it.
    async fn unbind_device(&self, project: ProjectNo, uid: &Uid, device: DeviceNo, now_ms: i64) -> Result<Unbound>;
    /// Takes a device from everybody, for its maker's project and its owner's; for any other only from its own users.
    async fn unbind_everybody(&self, project: ProjectNo, device: DeviceNo, now_ms: i64) -> Result<Unbound>;
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

/// Tokens that pair devices, of which only hashes are kept.
#[async_trait]
pub trait PairingStore: Send + Sync {
    /// A token by which a device becomes a user's and stands in a home, or in the user's first, which is made if need be.
    /// `None` for a user that is not the project's.
    async fn make_pairing(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: Option<HomeId>,
        now_ms: i64,
        life_ms: i64,
    ) -> Result<Option<PairingToken>>;
    /// The device that redeemed a token of the project's (and of a user's, if one is given) that lived at `from_ms` or
    /// later, and those that were refused. `None` when there is no such token.
    async fn pairing(
        &self,
        project: ProjectNo,
        user: Option<UserNo>,
        token: &str,
        from_ms: i64,
    ) -> Result<Option<(Option<Device>, Vec<Device>)>>;
    /// A device redeems a token: it is activated, and the user's from then on, with those behind it that are nobody's.
    /// To another than its last owner it shows no history from before `from_ms`.
    async fn redeem_pairing(&self, device: DeviceNo, token: &str, from_ms: i64, now_ms: i64) -> Result<Redeemed>;
}

/// What is kept of a device under a key.
#[async_trait]
pub trait FactStore: Send + Sync {
    /// Those of one kind, in the order of their keys.
    async fn facts(&self, device: DeviceNo, kind: FactKind) -> Result<Vec<Fact>>;
    /// Changes facts, all or none: `false` when there would be more than `max` of the kind, or one is of another
    /// version than the change asks for. Each change makes the fact's version one more.
    async fn change_facts(
        &self,
        device: DeviceNo,
        kind: FactKind,
        changes: Vec<FactChange>,
        max: usize,
    ) -> Result<bool>;
}

/// Gateways and what is behind them, and devices that are made as they come. For the devices' own sessions.
#[async_trait]
pub trait TopologyStore: Send + Sync {
    /// A product by Alibaba's id, with its secret.
    async fn product_secret(&self, key: &str) -> Result<Option<ProductSecret>>;
    /// The device of that name, made when there is none, behind a gateway if one is given. `None` when the product is
    /// not one of the gateway's project's for sub-devices; for a device that is elsewhere: behind another gateway, with
    /// another owner than the gateway's, removed, or it has connected by itself; and when there are `max` already, by or
    /// behind the gateway, or without one of the product.
    async fn make_device(
        &self,
        device: &NewSubDevice,
        gateway: Option<DeviceNo>,
        max: usize,
        now_ms: i64,
    ) -> Result<Option<Device>>;
    /// Puts a device behind a gateway unless `max` others are; whether it is there now.
    async fn attach(&self, sub: DeviceNo, gateway: DeviceNo, max: usize, now_ms: i64) -> Result<bool>;
    /// Takes a device from behind a gateway; whether it was there.
    async fn detach(&self, sub: DeviceNo, gateway: DeviceNo, now_ms: i64) -> Result<bool>;
    /// The devices behind a gateway, in order of creation.
    async fn behind(&self, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>>;
}

/// The world document.
#[async_trait]
pub trait WorldStore: Send + Sync {
    /// Makes a world true, as a whole or not at all. With the devices whose sessions are of something that is no longer
    /// true: another secret, name, owner, gateway or thing model, or the device is shut out.
    async fn apply(&self, world: World, now_ms: i64) -> Result<(World, Vec<DeviceNo>)>;
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
    /// The presence alone of each device, as [`Telemetry::latest`] has it.
    async fn presence(&self, devices: &[DeviceNo]) -> Result<Vec<Option<(bool, RowRef)>>>;
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
