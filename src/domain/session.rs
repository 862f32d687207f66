//! Sessions of devices: the identity that a device claims, and the secret that proves it. Not for calls of the cloud
//! APIs.

use super::device::FactoryName;
use super::{Cloud, Device, DeviceId, DeviceNo, Result};

/// The identity that a device claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceClaim {
    /// By its id.
    Id(DeviceId),
    /// By the name that the factory gave it.
    Factory(FactoryName),
    /// By both: the server gave it its id at the registration.
    Registered(DeviceId, FactoryName),
}

/// A device and its secret. No `Debug`.
pub struct DeviceSecret {
    /// The device.
    pub device: Device,
    /// The secret that authenticates the device.
    pub secret: String,
}

impl Cloud {
    /// The device that a session claims to be, with the secret that must authenticate it.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn claimed_device(&self, claim: &DeviceClaim) -> Result<Option<DeviceSecret>> {
        self.registry.device_secret(claim).await
    }

    /// The devices that the sub-devices of a session claim to be, in the order of the claims.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn claimed_devices(&self, claims: &[DeviceClaim]) -> Result<Vec<Option<DeviceSecret>>> {
        self.registry.device_secrets(claims).await
    }

    /// The stored topic filters of a device's session, grouped by the device that each filter concerns: the device
    /// itself or a sub-device.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn stored_filters(&self, session: &Device) -> Result<Vec<(DeviceNo, Vec<String>)>> {
        self.registry.stored_filters(session).await
    }

    /// Stores topic filters of a session. They replace the filters of each device in the list.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn store_filters(&self, session: &Device, filters: Vec<(DeviceNo, Vec<String>)>) -> Result<()> {
        self.registry.store_filters(session, filters).await
    }

    /// Deletes the stored topic filters of a session.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn delete_filters(&self, session: &Device) -> Result<()> {
        self.registry.delete_filters(session).await
    }
}
