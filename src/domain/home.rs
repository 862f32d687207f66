//! Homes: the devices of one family (contract tuya §4.2).

use std::sync::Arc;

use super::device::DEVICE_LIST_MAX;
use super::{Caller, Cloud, DeviceState, Error, HomeId, Noun, Result, Uid};

/// Homes that a list may hold.
pub const HOMES_MAX: usize = 1000;

/// A home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its id.
    pub id: HomeId,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: Uid,
}

impl Cloud {
    /// A user's homes, in the order of their ids, at most [`HOMES_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the caller's.
    pub async fn homes_of_user(&self, caller: &Caller, uid: &Uid) -> Result<Vec<Home>> {
        let homes = self.registry.homes_of_user(caller.project.no, uid, HOMES_MAX).await?;
        homes.ok_or(Error::NotVisible(Noun::User))
    }

    /// A home of one of the caller's users.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn home(&self, caller: &Caller, id: HomeId) -> Result<Home> {
        self.registry.home(caller.project.no, id).await?.ok_or(Error::NotVisible(Noun::Home))
    }

    /// The devices that stand in a home, in order of creation.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::OutOfRange`] for more than [`DEVICE_LIST_MAX`].
    pub async fn devices_of_home(&self, caller: &Caller, id: HomeId) -> Result<Vec<DeviceState>> {
        let home = self.home(caller, id).await?;
        let devices = self.registry.devices_of_home(caller.project.no, home.id, DEVICE_LIST_MAX + 1).await?;
        if devices.len() > DEVICE_LIST_MAX {
            let allowed = format!("a home of at most {DEVICE_LIST_MAX} devices");
            return Err(Error::OutOfRange { param: "home_id", allowed });
        }
        self.with_state(devices.into_iter().map(Arc::new)).await
    }
}
