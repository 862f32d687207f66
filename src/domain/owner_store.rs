//! The traits of the registry for everything that may change the owner of a device: bindings, pairing tokens and
//! gateways. As in [`super::store`], each method is one atomic operation.
//!
//! A method that takes [`HistoryCuts`] may give a device to a new owner. It requests the cuts of exactly those devices,
//! where their visible history then begins, and returns all changes of owners and sharees as [`Moves`].

use std::sync::Arc;

use async_trait::async_trait;

use super::binding::{Bound, BoundDevices, DeviceHolder, Shared, Unbound};
use super::device::{Device, FactoryName};
use super::handover::{HistoryCuts, Moves};
use super::pairing::{PairingToken, Redeemed, SentToken};
use super::topology::{NewSubDevice, ProductSecret};
use super::user::User;
use super::{DeviceNo, DurationMs, HomeId, ProjectNo, Result, Uid, UserNo};

/// The owners and sharees of devices.
#[async_trait]
pub trait BindingStore: Send + Sync {
    /// The devices that a user owns or that are shared with the user, in the order of binding; `None` for a user that
    /// is not the project's.
    async fn bound_devices(
        &self,
        project: ProjectNo,
        uid: &Uid,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Arc<BoundDevices>>>;
    /// Those users of the project who own the device or with whom it is shared, the owner first, and their number.
    async fn holders(
        &self,
        project: ProjectNo,
        device: DeviceNo,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<DeviceHolder>, u64)>;
    /// Makes a user the owner of those devices that have no owner and that are of the project's products or visible to
    /// the project, and returns what became of each, in their order. A device then belongs to the user's first home, and
    /// its sub-devices without an owner become the user's too. `None` for a user that is not the project's.
    async fn bind_devices(
        &self,
        project: ProjectNo,
        uid: &Uid,
        devices: &[FactoryName],
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Option<Vec<Bound>>, Moves)>;
    /// Shares a device with a user, in the name of its owner `by` or of the owner's project; `None` for a user that is
    /// not the project's.
    async fn share_device(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        uid: &Uid,
        device: DeviceNo,
        now_ms: i64,
    ) -> Result<Option<Shared>>;
    /// Ends the share of a user of the project; `false` if there was none.
    async fn withdraw_device(&self, project: ProjectNo, uid: &Uid, device: DeviceNo) -> Result<bool>;
    /// Those users of the project with whom a device is shared, in the order of sharing.
    async fn sharees(&self, project: ProjectNo, device: DeviceNo, limit: usize) -> Result<Vec<User>>;
    /// Unbinds a device from a user of the project; from all users if that user owns it.
    async fn unbind_device(
        &self,
        project: ProjectNo,
        uid: &Uid,
        device: DeviceNo,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Unbound, Moves)>;
    /// Unbinds a device from all users, for the project of its product and the owner's project; for another project
    /// only from its own users.
    async fn unbind_everybody(
        &self,
        project: ProjectNo,
        device: DeviceNo,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Unbound, Moves)>;
}

/// Pairing tokens, stored as hashes.
#[async_trait]
pub trait PairingStore: Send + Sync {
    /// Creates a token with which a device becomes the user's and joins the given home, or the user's first home, which
    /// is created if necessary. `None` for a user that is not the project's.
    async fn make_pairing(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: Option<HomeId>,
        now_ms: i64,
        life: DurationMs,
    ) -> Result<Option<PairingToken>>;
    /// The device that redeemed a token of the project (and of the user, if given) that was valid at `from_ms` or
    /// later, and the devices that were refused. `None` if there is no such token.
    async fn pairing(
        &self,
        project: ProjectNo,
        user: Option<UserNo>,
        token: &str,
        from_ms: i64,
    ) -> Result<Option<(Option<Device>, Vec<Device>)>>;
    /// Redeems a token: the device is activated and becomes the user's, with its sub-devices that have no owner.
    async fn redeem_pairing(
        &self,
        device: DeviceNo,
        token: &SentToken,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Redeemed, Moves)>;
}

/// Gateways and their sub-devices, and devices that are created at their registration. For the devices' own sessions.
#[async_trait]
pub trait TopologyStore: Send + Sync {
    /// Products by Alibaba's ids, with their secrets, in the order of the ids.
    async fn product_secrets(&self, keys: &[&str]) -> Result<Vec<Option<ProductSecret>>>;
    /// The devices with these names, in their order, up to the first that is refused. Each is created if it does not
    /// exist, as a sub-device of the gateway if one is given. One is refused if the product is not one of the gateway's
    /// project for sub-devices; if the device has another gateway, another owner than the gateway's, was removed, or has
    /// connected by itself; and if there are `max` already: created by or attached to the gateway or, without a gateway,
    /// created for the product.
    async fn make_devices(
        &self,
        devices: &[NewSubDevice],
        gateway: Option<DeviceNo>,
        max: usize,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Vec<Device>, Moves)>;
    /// Attaches devices to a gateway, all of them or, if there would be more than `max`, none; returns whether they are
    /// attached. A device of the same project that has no owner and was not removed becomes the gateway's owner's.
    async fn attach(
        &self,
        subs: &[DeviceNo],
        gateway: DeviceNo,
        max: usize,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(bool, Moves)>;
    /// Detaches sub-devices from a gateway, all of them or none; `false` if one of them was not attached to it.
    async fn detach(&self, subs: &[DeviceNo], gateway: DeviceNo, now_ms: i64) -> Result<bool>;
    /// The sub-devices of a gateway, in order of creation.
    async fn behind(&self, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>>;
}
