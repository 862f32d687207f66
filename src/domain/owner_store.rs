//! What the domain asks of an engine where devices change hands: which user has which device, tokens that pair, and
//! gateways. As in [`super::store`] each method is one atomic fact.
//!
//! A method that takes [`HistoryCuts`] may give a device to somebody new. It asks for the cuts of exactly those devices,
//! whose history before begins there, and tells in [`Moves`] who lost and who got one.

use std::sync::Arc;

use async_trait::async_trait;

use super::binding::{Bound, BoundDevices, DeviceHolder, Shared, Unbound};
use super::device::{Device, FactoryName};
use super::handover::{HistoryCuts, Moves};
use super::pairing::{PairingToken, Redeemed, SentToken};
use super::topology::{NewSubDevice, ProductSecret};
use super::user::User;
use super::{DeviceNo, HomeId, ProjectNo, Result, Uid, UserNo};

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
    /// stands in the user's first home then, and those behind it that are nobody's become the user's too. `None` for a
    /// user that is not the project's.
    async fn bind_device(
        &self,
        project: ProjectNo,
        uid: &Uid,
        device: &FactoryName,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Option<Bound>, Moves)>;
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
    async fn unbind_device(
        &self,
        project: ProjectNo,
        uid: &Uid,
        device: DeviceNo,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Unbound, Moves)>;
    /// Takes a device from everybody, for its maker's project and its owner's; for any other only from its own users.
    async fn unbind_everybody(
        &self,
        project: ProjectNo,
        device: DeviceNo,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Unbound, Moves)>;
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
    async fn redeem_pairing(
        &self,
        device: DeviceNo,
        token: &SentToken,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Redeemed, Moves)>;
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
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Option<Device>, Moves)>;
    /// Puts devices behind a gateway, all of them unless there would be more than `max`; whether they are there now. One
    /// of the same project that is nobody's and was not removed becomes the gateway's owner's.
    async fn attach(
        &self,
        subs: &[DeviceNo],
        gateway: DeviceNo,
        max: usize,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(bool, Moves)>;
    /// Takes devices from behind a gateway, all of them or none; whether all were there.
    async fn detach(&self, subs: &[DeviceNo], gateway: DeviceNo, now_ms: i64) -> Result<bool>;
    /// The devices behind a gateway, in order of creation.
    async fn behind(&self, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>>;
}
