//! Sessions of devices: who a device says it is, and the secret that proves it. Never for a cloud call.

use super::device::FactoryName;
use super::{Cloud, Device, DeviceId, DeviceNo, Result};

/// How a device names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceClaim {
    /// By its id.
    Id(DeviceId),
    /// By what the factory called it.
    Factory(FactoryName),
    /// By both: its id was given to it when it registered.
    Registered(DeviceId, FactoryName),
}

/// A device and its secret. No `Debug`.
pub struct DeviceSecret {
    /// The device.
    pub device: Device,
    /// What it proves itself with.
    pub secret: String,
}

impl Cloud {
    /// The device that a session claims to be, with the secret that must prove it.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn claimed_device(&self, who: &DeviceClaim) -> Result<Option<DeviceSecret>> {
        self.registry.device_secret(who).await
    }

    /// What a device subscribed to in its session that is kept, by the device that each filter is of: itself, or one
    /// behind it.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn kept_filters(&self, session: &Device) -> Result<Vec<(DeviceNo, Vec<String>)>> {
        self.registry.kept_filters(session.no).await
    }

    /// Keeps filters of a session in place of those of each device that is named.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn keep_filters(&self, session: &Device, filters: Vec<(DeviceNo, Vec<String>)>) -> Result<()> {
        self.registry.keep_filters(session.no, filters).await
    }

    /// Forgets the filters of a session.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn forget_filters(&self, session: &Device) -> Result<()> {
        self.registry.forget_filters(session.no).await
    }
}
