//! Sessions of devices: who a device says it is, and the secret that proves it. Never for a cloud call.

use super::device::FactoryName;
use super::{Cloud, Device, DeviceId, Result};

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
}
