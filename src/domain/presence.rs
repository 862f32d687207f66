//! The presence of devices. A device is online if this process has a session for it; the log rows and the time of the
//! last change are only a record of it (decisions 0004 and 0015).

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use super::{Cloud, Device, DeviceId, DeviceNo, EventSource, EventType, Result};

/// The devices that are connected to this process. Empty at the start.
#[derive(Default)]
pub(super) struct Present(RwLock<HashSet<DeviceNo>>);

/// Updates the presence of a device when it is dropped, so also if the waiting future is cancelled.
struct PresenceUpdate<'a, F: Fn() -> bool> {
    present: &'a Present,
    device: DeviceNo,
    has_session: F,
}

impl<F: Fn() -> bool> Drop for PresenceUpdate<'_, F> {
    fn drop(&mut self) {
        let mut present = self.present.0.write().unwrap_or_else(PoisonError::into_inner);
        // Checked under the lock: of two concurrent updates, the later one sees the final state.
        if (self.has_session)() {
            present.insert(self.device);
        } else {
            present.remove(&self.device);
        }
    }
}

impl Cloud {
    /// A device has connected. The first time also activates it. `has_session` returns whether this process has a
    /// session of the device at the moment, so that concurrent changes end in the right state.
    ///
    /// # Errors
    /// [`super::Error::Store`]; the presence is updated all the same.
    pub async fn connected(&self, device: &Device, has_session: impl Fn() -> bool) -> Result<()> {
        let update = PresenceUpdate { present: &self.present, device: device.no, has_session };
        let mut rows = Vec::with_capacity(2);
        // The registry is called only if this may be the first activation: a write invalidates cache entries.
        if device.active_ms == 0 && self.registry.activate_device(device.no, self.now_ms()).await? {
            rows.push(self.row_now(device, EventType::Activated, EventSource::DEVICE));
        }
        rows.push(self.row_now(device, EventType::Online, EventSource::DEVICE));
        self.log_then(rows, || drop(update)).await
    }

    /// A session of a device has ended; `has_session` as in [`Cloud::connected`].
    ///
    /// # Errors
    /// [`super::Error::Store`]; the presence is updated all the same.
    pub async fn disconnected(&self, device: &Device, has_session: impl Fn() -> bool) -> Result<()> {
        let update = PresenceUpdate { present: &self.present, device: device.no, has_session };
        let row = self.row_now(device, EventType::Offline, EventSource::DEVICE);
        self.log_then(vec![row], || drop(update)).await
    }

    /// Whether each of these devices is connected.
    pub fn online(&self, devices: impl IntoIterator<Item = DeviceNo>) -> Vec<bool> {
        let present = self.present.0.read().unwrap_or_else(PoisonError::into_inner);
        devices.into_iter().map(|device| present.contains(&device)).collect()
    }

    pub(super) fn is_online(&self, device: DeviceNo) -> bool {
        self.present.0.read().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }

    /// A device by its id only, for its own authenticated session. Not for calls of the cloud APIs.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn device_by_id(&self, id: &DeviceId) -> Result<Option<Device>> {
        self.registry.device_by_id(id).await
    }

    /// The devices that this process simulates, at most `limit`.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>> {
        self.registry.virtual_devices(limit).await
    }
}
