//! Presence: devices that connect and disconnect.

use super::{Cloud, Device, DeviceId, EventSource, EventType, NewEvent, Result};

impl Cloud {
    /// A device has connected. The first time also activates it.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn connected(&self, device: &Device) -> Result<()> {
        let time_ms = self.now_ms();
        let mut rows = Vec::with_capacity(2);
        // The registry is asked only when it may be the first time: a write makes everybody read anew.
        if device.active_ms == 0 && self.registry.activate_device(device.no, time_ms).await? {
            rows.push(presence_row(device, EventType::Activated, time_ms));
        }
        rows.push(presence_row(device, EventType::Online, time_ms));
        self.log(rows).await
    }

    /// A device has disconnected.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn disconnected(&self, device: &Device) -> Result<()> {
        self.log(vec![presence_row(device, EventType::Offline, self.now_ms())]).await
    }

    /// A device by its id alone: for the device's own session, which its secret has opened, never for a cloud call.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn device_by_id(&self, id: &DeviceId) -> Result<Option<Device>> {
        self.registry.device_by_id(id).await
    }

    /// The devices that this process plays itself, at most `limit`.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>> {
        self.registry.virtual_devices(limit).await
    }
}

fn presence_row(device: &Device, kind: EventType, time_ms: i64) -> NewEvent {
    NewEvent { device: device.no, time_ms, kind, source: EventSource::DEVICE, code: None, value: None }
}
