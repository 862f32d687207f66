//! Device users: persons who use one device, for example a scale's family (contract tuya §3.15).

use super::{Caller, Cloud, DeviceId, DeviceUserId, Error, Result};

/// The maximal number of device users of a device.
pub const DEVICE_USERS_MAX: usize = 100;

/// The data of a device user. No `Debug`: it is private.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceUserProfile {
    /// The name.
    pub nick_name: String,
    /// 1 male, 2 female.
    pub sex: i64,
    /// Birthday, milliseconds since 1970.
    pub birthday_ms: Option<i64>,
    /// Height in centimetres.
    pub height_cm: Option<i64>,
    /// Weight in grams.
    pub weight_g: Option<i64>,
    /// Contact data. `None` in an update leaves it unchanged.
    pub contact: Option<String>,
}

/// A device user.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceUser {
    /// The id, unique in its device.
    pub id: DeviceUserId,
    /// The data.
    pub profile: DeviceUserProfile,
}

impl Cloud {
    /// Adds a device user.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::OutOfRange`] if the device has [`DEVICE_USERS_MAX`] already.
    pub async fn add_device_user(
        &self,
        caller: &Caller,
        id: &DeviceId,
        profile: DeviceUserProfile,
    ) -> Result<DeviceUserId> {
        let device = self.device_at_home(caller, id).await?;
        let added = self.registry.add_device_user(&device, profile, DEVICE_USERS_MAX).await?;
        added.ok_or_else(|| Error::OutOfRange {
            param: "device_id",
            allowed: format!("a device with fewer than {DEVICE_USERS_MAX} users"),
        })
    }

    /// Replaces the data of a device user; a missing contact remains unchanged.
    ///
    /// # Errors
    /// [`Error::NotVisible`], [`Error::NoSuchDeviceUser`].
    pub async fn update_device_user(
        &self,
        caller: &Caller,
        id: &DeviceId,
        user: &DeviceUserId,
        profile: DeviceUserProfile,
    ) -> Result<()> {
        let device = self.device_at_home(caller, id).await?;
        let updated = self.registry.update_device_user(&device, user, profile).await?;
        updated.then_some(()).ok_or(Error::NoSuchDeviceUser)
    }

    /// Removes a device user.
    ///
    /// # Errors
    /// [`Error::NotVisible`], [`Error::NoSuchDeviceUser`].
    pub async fn remove_device_user(&self, caller: &Caller, id: &DeviceId, user: &DeviceUserId) -> Result<()> {
        let device = self.device_at_home(caller, id).await?;
        let removed = self.registry.remove_device_user(&device, user).await?;
        removed.then_some(()).ok_or(Error::NoSuchDeviceUser)
    }

    /// One device user.
    ///
    /// # Errors
    /// [`Error::NotVisible`], [`Error::NoSuchDeviceUser`].
    pub async fn device_user(&self, caller: &Caller, id: &DeviceId, user: &DeviceUserId) -> Result<DeviceUser> {
        let users = self.device_users(caller, id).await?;
        users.into_iter().find(|known| known.id == *user).ok_or(Error::NoSuchDeviceUser)
    }

    /// All device users of a device, at most [`DEVICE_USERS_MAX`], in the order of addition.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn device_users(&self, caller: &Caller, id: &DeviceId) -> Result<Vec<DeviceUser>> {
        let device = self.device_at_home(caller, id).await?;
        self.registry.device_users(&device, DEVICE_USERS_MAX).await
    }
}
