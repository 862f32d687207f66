//! Bindings: which user has which device, as owner or as one to whom it is shared.

use std::sync::{Arc, OnceLock};

use super::device::{DEVICE_LIST_MAX, FactoryName, Leaving, UserDevices};
use super::feed::News;
use super::user::User;
use super::{Caller, Cloud, Device, DeviceId, DeviceName, DeviceNo, Error, Noun, Requester, Result, Uid};

/// Devices of one user that are read at once.
pub const DEVICES_OF_USER_MAX: usize = 5000;
/// Bindings a page may hold.
pub const BINDING_PAGE_MAX: usize = 100;

/// Users to whom one device may be shared by its owner, as with the vendor's apps.
pub const SHAREES_MAX: usize = 20;
/// Devices that others may share to one user.
pub const SHARES_OF_USER_MAX: usize = 5000;
/// Of those, devices of one owner, so that nobody's fill all of them.
pub const SHARES_OF_ONE_MAX: usize = 500;

/// A device that a user has.
#[derive(Clone, PartialEq)]
pub struct BoundDevice {
    /// The device.
    pub device: Arc<Device>,
    /// Whether the user owns it; otherwise it is shared to the user.
    pub owned: bool,
    /// When it was bound, milliseconds since 1970.
    pub bound_ms: i64,
}

/// What a user has, in the order of binding.
pub struct BoundDevices {
    /// Alibaba's id of the user.
    pub identity_id: String,
    /// The user's name.
    pub username: String,
    /// The devices.
    pub list: Vec<BoundDevice>,
    /// Where a dialect may keep how it writes them, for as long as that is true.
    pub written: OnceLock<Written>,
}

/// What a dialect wrote of it is no part of it.
impl PartialEq for BoundDevices {
    fn eq(&self, other: &Self) -> bool {
        (&self.identity_id, &self.username, &self.list) == (&other.identity_id, &other.username, &other.list)
    }
}

/// A list of devices as a dialect writes it, but for the one byte of each that changes all the time: its state.
pub struct Written {
    /// The text, with the state of each device when it is offline.
    pub text: Vec<u8>,
    /// Where in the text the state of each device is.
    pub states: Vec<usize>,
    /// The devices.
    pub devices: Vec<DeviceNo>,
}

/// A user who has a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceHolder {
    /// Alibaba's id of the user.
    pub identity_id: String,
    /// Whether the user owns the device.
    pub owned: bool,
}

/// How an attempt to bind ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The user owns the device now, or did already.
    Owner,
    /// Somebody else owns it.
    Taken,
    /// There is no such device that the project could bind.
    Unknown,
}

/// How an attempt to share a device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// The user has it now, or had it already.
    Done,
    /// The user owns it.
    Owner,
    /// It is shared to [`SHAREES_MAX`] others, or [`SHARES_OF_USER_MAX`] are shared to the user, [`SHARES_OF_ONE_MAX`] of
    /// them by that owner.
    Full,
    /// Whoever asks does not own it, or no longer.
    NotOwned,
}

/// What decides whether a device may be shared to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareClaim {
    /// Whether the user owns it.
    pub is_owner: bool,
    /// To how many others it is shared.
    pub others: usize,
    /// How many other devices are shared to the user.
    pub of_user: usize,
    /// Of those, how many of the same owner.
    pub by_owner: usize,
}

impl ShareClaim {
    /// Decides.
    pub fn decide(&self) -> Shared {
        if self.is_owner {
            return Shared::Owner;
        }
        let is_full =
            self.others >= SHAREES_MAX || self.of_user >= SHARES_OF_USER_MAX || self.by_owner >= SHARES_OF_ONE_MAX;
        if is_full { Shared::Full } else { Shared::Done }
    }
}

/// What an unbinding took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// Nothing: the two were not bound.
    Nothing,
    /// One share.
    Share,
    /// The owner, and with the owner every share.
    Owner,
}

impl Cloud {
    /// What a user has, owned and shared, in the order of binding: the first [`DEVICES_OF_USER_MAX`], or as many after
    /// `offset` others.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the caller's.
    pub async fn bound_devices(&self, caller: &Caller, uid: &Uid, offset: usize) -> Result<Arc<BoundDevices>> {
        let devices = self.registry.bound_devices(caller.project.no, uid, offset, DEVICES_OF_USER_MAX).await?;
        devices.ok_or(Error::NotVisible(Noun::User))
    }

    /// Those of the caller's users who have a device, the owner first, and how many they are.
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

    /// Makes a user the owner of a device that nobody owns, also of one that was removed. With the device, when there
    /// is one that could be bound.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the caller's.
    pub async fn bind_device(
        &self,
        caller: &Caller,
        uid: &Uid,
        name: &FactoryName,
    ) -> Result<(Bound, Option<Arc<Device>>)> {
        let project = caller.project.no;
        let (bound, moves) = self.registry.bind_device(project, uid, name, self, self.now_ms()).await?;
        let bound = bound.ok_or(Error::NotVisible(Noun::User))?;
        if bound == Bound::Unknown {
            return Ok((bound, None));
        }
        self.follow(moves, Leaving::Removed).await?;
        let device = self.registry.device_named(project, &DeviceName::Factory(name.clone())).await?;
        Ok((bound, device))
    }

    /// Takes a device from one user. When that is its owner, everybody to whom it was shared loses it too, the log
    /// keeps the removal, and the device is told if it is connected.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a device or user that the caller does not see.
    pub async fn unbind_device(&self, caller: &Caller, uid: &Uid, name: &DeviceName) -> Result<Unbound> {
        let device = self.device_named(caller, name).await?;
        let people = self.people_of(caller.project.no, &device).await?;
        let (project, now_ms) = (caller.project.no, self.now_ms());
        let (unbound, moves) = self.registry.unbind_device(project, uid, device.no, self, now_ms).await?;
        if unbound == Unbound::Share {
            self.tell_taken(people);
        }
        self.follow(moves, Leaving::Removed).await?;
        Ok(unbound)
    }

    /// Shares a device to a user of the project, who sees and commands it from then on.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a device that whoever asks does not see, for one that nobody owns, and for a user that
    /// is not the project's; [`Error::NotAllowed`] for a user who does not own the device, and for sharing it to the
    /// owner; [`Error::OutOfRange`] for more than [`SHAREES_MAX`].
    pub async fn share_device(&self, who: &impl Requester, id: &DeviceId, uid: &Uid) -> Result<()> {
        let device = self.owned_device(who, id).await?;
        if device.held_elsewhere || device.owner.is_none() {
            return Err(Error::NotVisible(Noun::Device));
        }
        let by = who.user().map(|user| user.no);
        let shared = self.registry.share_device(who.project().no, by, uid, device.no, self.now_ms()).await?;
        match shared.ok_or(Error::NotVisible(Noun::User))? {
            Shared::NotOwned => Err(Error::NotVisible(Noun::Device)),
            Shared::Done => {
                self.tell(device.no, News::Bound(uid.clone()));
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

    /// Takes a device back from a user to whom it was shared. The user may give it back too.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a user to whom it is not shared; [`Error::NotAllowed`] for a user who neither owns
    /// the device nor is the one meant.
    pub async fn withdraw_device(&self, who: &impl Requester, id: &DeviceId, uid: &Uid) -> Result<()> {
        let device = match who.user() {
            Some(user) if user.uid == *uid => self.visible_device(who, id).await?,
            _ => self.owned_device(who, id).await?,
        };
        let people = self.people_of(who.project().no, &device).await?;
        let withdrawn = self.registry.withdraw_device(who.project().no, uid, device.no).await?;
        withdrawn.then_some(()).ok_or(Error::NotVisible(Noun::User))?;
        self.tell_taken(people);
        Ok(())
    }

    /// Those of the project's users to whom a device is shared, in the order of sharing.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for a user who does not own the device.
    pub async fn sharees(&self, who: &impl Requester, id: &DeviceId) -> Result<Vec<User>> {
        let device = self.owned_device(who, id).await?;
        self.registry.sharees(who.project().no, device.no, BINDING_PAGE_MAX).await
    }

    /// Takes a device from everybody, or, when it is only shared to the caller's users, from those.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`Device::held_elsewhere`].
    pub async fn unbind_everybody(&self, caller: &Caller, name: &DeviceName) -> Result<Unbound> {
        let device = self.device_named(caller, name).await?;
        if device.held_elsewhere {
            return Err(Error::NotVisible(Noun::Device));
        }
        let people = self.people_of(caller.project.no, &device).await?;
        let (project, now_ms) = (caller.project.no, self.now_ms());
        let (unbound, moves) = self.registry.unbind_everybody(project, device.no, self, now_ms).await?;
        if unbound == Unbound::Share {
            self.tell_taken(people);
        }
        self.follow(moves, Leaving::Removed).await?;
        Ok(unbound)
    }

    /// Removes a user, with homes and bindings. The user's own devices belong to nobody then, and are as after a reset.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn remove_user(&self, caller: &Caller, uid: &Uid) -> Result<()> {
        let project = caller.project.no;
        // What stands in the user's homes is lost by those who live there too.
        let mut people = match self.feed.is_heard() {
            true => {
                let home = UserDevices::Home;
                let devices = self.registry.devices_of_user(project, uid, home, 0, DEVICE_LIST_MAX).await?;
                self.people_of_all(project, &devices.unwrap_or_default()).await?
            }
            false => Vec::new(),
        };
        let moves = self.registry.remove_user(project, uid, self, self.now_ms()).await?;
        let moves = moves.ok_or(Error::NotVisible(Noun::User))?;
        people.retain(|taken| !moves.left.iter().any(|left| left.no == taken.device));
        let followed = self.follow(moves, Leaving::Removed).await;
        self.tell_taken(people);
        self.end_listeners(Some(uid)).await?;
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
