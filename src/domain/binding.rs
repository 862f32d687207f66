//! Bindings: the relations between devices and their owners and sharees.

use std::sync::Arc;

use super::device::{DEVICE_LIST_MAX, FactoryName, Removal, UserDevices};
use super::feed::News;
use super::user::User;
use super::{Caller, Cloud, Device, DeviceId, DeviceName, Error, Noun, Requester, Result, Uid};

/// The maximal number of devices of a user that are read at once.
pub const DEVICES_OF_USER_MAX: usize = 5000;
/// The maximal number of bindings on a page.
pub const BINDING_PAGE_MAX: usize = 100;

/// The maximal number of sharees of a device, as in the vendor's apps.
pub const SHAREES_MAX: usize = 20;
/// The maximal number of devices that are shared with one user.
pub const SHARES_OF_USER_MAX: usize = 5000;
/// The maximal number of them that have the same owner, so that one owner cannot use up the limit.
pub const SHARES_OF_ONE_MAX: usize = 500;

/// A device that a user owns or that is shared with the user.
#[derive(Clone, PartialEq)]
pub struct BoundDevice {
    /// The device.
    pub device: Arc<Device>,
    /// Whether the user owns it; otherwise it is shared with the user.
    pub owned: bool,
    /// The time of the binding, milliseconds since 1970.
    pub bound_ms: i64,
}

/// The devices of a user, in the order of binding.
#[derive(PartialEq)]
pub struct BoundDevices {
    /// Alibaba's id of the user.
    pub identity_id: String,
    /// The user's name.
    pub username: String,
    /// The devices.
    pub list: Vec<BoundDevice>,
}

/// A user who owns a device or with whom it is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceHolder {
    /// Alibaba's id of the user.
    pub identity_id: String,
    /// Whether the user owns the device.
    pub owned: bool,
}

/// The result of an attempt to bind a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The user owns the device now, or owned it before.
    Owner,
    /// Another user owns it.
    Taken,
    /// The device does not exist, or the project may not bind it.
    Unknown,
}

/// The result of an attempt to share a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// The device is shared with the user now, or was before.
    Done,
    /// The user is the owner.
    Owner,
    /// The device has [`SHAREES_MAX`] other sharees, or [`SHARES_OF_USER_MAX`] devices are shared with the user, or
    /// [`SHARES_OF_ONE_MAX`] of them have this owner.
    Full,
    /// The requester does not own it (any more).
    NotOwned,
}

/// The state that decides whether a device may be shared with a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareClaim {
    /// Whether the user owns it.
    pub is_owner: bool,
    /// The number of other sharees.
    pub others: usize,
    /// The number of other devices that are shared with the user.
    pub of_user: usize,
    /// The number of those that have the same owner.
    pub by_owner: usize,
}

impl ShareClaim {
    /// Decides whether the device may be shared.
    pub fn decide(&self) -> Shared {
        if self.is_owner {
            return Shared::Owner;
        }
        let is_full =
            self.others >= SHAREES_MAX || self.of_user >= SHARES_OF_USER_MAX || self.by_owner >= SHARES_OF_ONE_MAX;
        if is_full { Shared::Full } else { Shared::Done }
    }
}

/// What was unbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// Nothing, because the user did not have the device.
    Nothing,
    /// One share.
    Share,
    /// The owner, and with the owner all sharees.
    Owner,
}

impl Cloud {
    /// The devices that a user owns or that are shared with the user, in the order of binding: the first
    /// [`DEVICES_OF_USER_MAX`], or as many after `offset` others.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the caller's.
    pub async fn bound_devices(&self, caller: &Caller, uid: &Uid, offset: usize) -> Result<Arc<BoundDevices>> {
        let devices = self.registry.bound_devices(caller.project.no, uid, offset, DEVICES_OF_USER_MAX).await?;
        devices.ok_or(Error::NotVisible(Noun::User))
    }

    /// Those users of the caller who own the device or with whom it is shared, the owner first, and their number.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn holders(
        &self,
        caller: &Caller,
        name: &DeviceName,
        offset: usize,
        limit: usize,
    ) -> Result<(Arc<Device>, Vec<DeviceHolder>, u64)> {
        let device = self.device_named(caller, name).await?;
        let limit = limit.min(BINDING_PAGE_MAX);
        let (holders, total) = self.registry.holders(caller.project.no, device.no, offset, limit).await?;
        Ok((device, holders, total))
    }

    /// Makes a user the owner of those devices that have no owner, also if they were removed. Returns what became of
    /// each, in their order, with the device if it exists and the project sees it.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the caller's.
    pub async fn bind_devices(
        &self,
        caller: &Caller,
        uid: &Uid,
        names: &[FactoryName],
    ) -> Result<Vec<(Bound, Option<Arc<Device>>)>> {
        let project = caller.project.no;
        let (bound, moves) = self.registry.bind_devices(project, uid, names, self, self.now_ms()).await?;
        let bound = bound.ok_or(Error::NotVisible(Noun::User))?;
        self.follow(moves, Removal::Removed).await?;
        let names: Vec<DeviceName> = names.iter().cloned().map(DeviceName::Factory).collect();
        let devices = self.registry.devices_named(project, &names).await?;
        let found = bound.into_iter().zip(devices);
        Ok(found.map(|(bound, device)| if bound == Bound::Unknown { (bound, None) } else { (bound, device) }).collect())
    }

    /// Unbinds a device from a user. If the user is the owner, all sharees lose it too, the removal is written to the
    /// event log, and the device's session ends.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a device or user that the caller does not see.
    pub async fn unbind_device(&self, caller: &Caller, uid: &Uid, name: &DeviceName) -> Result<Unbound> {
        let device = self.device_named(caller, name).await?;
        let viewers = self.viewers_of(caller.project.no, &device).await?;
        let (project, now_ms) = (caller.project.no, self.now_ms());
        let (unbound, moves) = self.registry.unbind_device(project, uid, device.no, self, now_ms).await?;
        if unbound == Unbound::Share {
            self.publish_losses(viewers);
        }
        self.follow(moves, Removal::Removed).await?;
        Ok(unbound)
    }

    /// Shares a device with a user of the project, who can then see and command it.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a device that the requester does not see or that has no owner, and for a user that is
    /// not the project's; [`Error::NotAllowed`] for a user who does not own the device, and if the sharee is the owner;
    /// [`Error::OutOfRange`] for more than [`SHAREES_MAX`].
    pub async fn share_device(&self, requester: &impl Requester, id: &DeviceId, uid: &Uid) -> Result<()> {
        let device = self.owned_device(requester, id).await?;
        if device.held_elsewhere || device.owner.is_none() {
            return Err(Error::NotVisible(Noun::Device));
        }
        let by = requester.user().map(|user| user.no);
        let shared = self.registry.share_device(requester.project().no, by, uid, device.no, self.now_ms()).await?;
        match shared.ok_or(Error::NotVisible(Noun::User))? {
            Shared::NotOwned => Err(Error::NotVisible(Noun::Device)),
            Shared::Done => {
                self.publish(device.no, News::Bound(uid.clone()));
                Ok(())
            }
            Shared::Owner => Err(Error::NotAllowed("the user owns the device")),
            Shared::Full => Err(Error::OutOfRange {
                param: "uid",
                allowed: format!(
                    "one of at most {SHAREES_MAX} to whom it is shared, who has at most {SHARES_OF_USER_MAX} such \
                     devices, {SHARES_OF_ONE_MAX} of one owner"
                ),
            }),
        }
    }

    /// Ends the share of a device with a user. The sharee may end it too.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a user with whom it is not shared; [`Error::NotAllowed`] for a user who is
    /// neither the owner nor the sharee.
    pub async fn withdraw_device(&self, requester: &impl Requester, id: &DeviceId, uid: &Uid) -> Result<()> {
        let device = match requester.user() {
            Some(user) if user.uid == *uid => self.visible_device(requester, id).await?,
            _ => self.owned_device(requester, id).await?,
        };
        let viewers = self.viewers_of(requester.project().no, &device).await?;
        let withdrawn = self.registry.withdraw_device(requester.project().no, uid, device.no).await?;
        withdrawn.then_some(()).ok_or(Error::NotVisible(Noun::User))?;
        self.publish_losses(viewers);
        Ok(())
    }

    /// Those users of the project with whom a device is shared, in the order of sharing.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for a user who does not own the device.
    pub async fn sharees(&self, requester: &impl Requester, id: &DeviceId) -> Result<Vec<User>> {
        let device = self.owned_device(requester, id).await?;
        self.registry.sharees(requester.project().no, device.no, BINDING_PAGE_MAX).await
    }

    /// Unbinds a device from all its users or, if it is only shared with users of the caller, from these.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`Device::held_elsewhere`].
    pub async fn unbind_everybody(&self, caller: &Caller, name: &DeviceName) -> Result<Unbound> {
        let device = self.device_named(caller, name).await?;
        if device.held_elsewhere {
            return Err(Error::NotVisible(Noun::Device));
        }
        let viewers = self.viewers_of(caller.project.no, &device).await?;
        let (project, now_ms) = (caller.project.no, self.now_ms());
        let (unbound, moves) = self.registry.unbind_everybody(project, device.no, self, now_ms).await?;
        if unbound == Unbound::Share {
            self.publish_losses(viewers);
        }
        self.follow(moves, Removal::Removed).await?;
        Ok(unbound)
    }

    /// Removes a user with homes and bindings. The user's own devices then have no owner, and are as after a reset.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn remove_user(&self, caller: &Caller, uid: &Uid) -> Result<()> {
        let project = caller.project.no;
        // The members of the user's homes lose access to the devices of these homes.
        let mut viewers = match self.feed.has_subscribers() {
            true => {
                let home = UserDevices::Home;
                let devices = self.registry.devices_of_user(project, uid, home, 0, DEVICE_LIST_MAX).await?;
                self.viewers_of_all(project, &devices.unwrap_or_default()).await?
            }
            false => Vec::new(),
        };
        let moves = self.registry.remove_user(project, uid, self, self.now_ms()).await?;
        let moves = moves.ok_or(Error::NotVisible(Noun::User))?;
        viewers.retain(|loss| !moves.removed.iter().any(|left| left.no == loss.device));
        let followed = self.follow(moves, Removal::Removed).await;
        self.publish_losses(viewers);
        self.end_subscribers(Some(uid)).await?;
        followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_shared() {
        let claim = ShareClaim { is_owner: false, others: 0, of_user: 0, by_owner: 0 };
        for (claim, expected) in [
            (claim, Shared::Done),
            (ShareClaim { is_owner: true, others: SHAREES_MAX, ..claim }, Shared::Owner),
            (ShareClaim { others: SHAREES_MAX, ..claim }, Shared::Full),
            (ShareClaim { of_user: SHARES_OF_USER_MAX, ..claim }, Shared::Full),
            (ShareClaim { by_owner: SHARES_OF_ONE_MAX, ..claim }, Shared::Full),
        ] {
            assert_eq!(claim.decide(), expected, "{claim:?}");
        }
    }
}
