//! The presence of devices. A device is online if this process has a session for it; the log rows and the time of the
//! last change are only a record of it (decisions 0004 and 0015).

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use super::{Cloud, Device, DeviceId, DeviceNo, EventSource, EventType, Result};

/// The devices that are connected to this process. Empty at the start.
#[derive(Default)]
pub(super) struct Present(RwLock<HashSet<DeviceNo>>);

/// Updates the presence of devices when it is dropped, so also if the waiting future is cancelled.
struct PresenceUpdate<'a, F: Fn(DeviceNo) -> bool> {
    present: &'a Present,
    devices: Vec<DeviceNo>,
    has_session: F,
}

impl<F: Fn(DeviceNo) -> bool> Drop for PresenceUpdate<'_, F> {
    fn drop(&mut self) {
        let mut present = self.present.0.write().unwrap_or_else(PoisonError::into_inner);
        // Checked under the lock: of two concurrent updates, the later one sees the final state.
        for device in &self.devices {
            if (self.has_session)(*device) {
                present.insert(*device);
            } else {
                present.remove(device);
            }
        }
    }
}

impl Cloud {
    /// Devices have connected. The first time also activates them. `has_session` returns whether this process has a
    /// session of a device at the moment, so that concurrent changes end in the right state.
    ///
    /// # Errors
    /// [`super::Error::Store`]; the presence is updated all the same.
    pub async fn connected(&self, devices: &[&Device], has_session: impl Fn(DeviceNo) -> bool) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let update = self.presence_update(devices, has_session);
        // The registry is called only if this may be the first activation: a write invalidates cache entries.
        let new: Vec<&Device> = devices.iter().filter(|device| device.active_ms == 0).copied().collect();
        let activated = match new.is_empty() {
            true => Vec::new(),
            false => self.registry.activate_devices(&new, self.now_ms()).await?,
        };
        let activated = new.iter().zip(activated).filter(|(_, is_new)| *is_new).map(|(device, _)| device.no);
        let activated: Vec<DeviceNo> = activated.collect();
        let mut rows = Vec::with_capacity(devices.len() + activated.len());
        for device in devices {
            if activated.contains(&device.no) {
                rows.push(self.row_now(device, EventType::Activated, EventSource::DEVICE));
            }
            rows.push(self.row_now(device, EventType::Online, EventSource::DEVICE));
        }
        self.log_then(rows, || drop(update)).await
    }

    /// Sessions of devices have ended; `has_session` as in [`Cloud::connected`].
    ///
    /// # Errors
    /// [`super::Error::Store`]; the presence is updated all the same.
    pub async fn disconnected(&self, devices: &[&Device], has_session: impl Fn(DeviceNo) -> bool) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let update = self.presence_update(devices, has_session);
        let row = |device: &&Device| self.row_now(device, EventType::Offline, EventSource::DEVICE);
        self.log_then(devices.iter().map(row).collect(), || drop(update)).await
    }

    fn presence_update<F: Fn(DeviceNo) -> bool>(&self, devices: &[&Device], has_session: F) -> PresenceUpdate<'_, F> {
        let devices = devices.iter().map(|device| device.no).collect();
        PresenceUpdate { present: &self.present, devices, has_session }
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

    /// Devices by their ids only, in the order of the ids, for the operator. Not for calls of the cloud APIs.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>> {
        self.registry.devices_by_id(ids).await
    }

    /// The devices that this process simulates, at most `limit`.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>> {
        self.registry.virtual_devices(limit).await
    }
}
