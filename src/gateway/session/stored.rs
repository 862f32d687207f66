//! Subscriptions that outlive a connection: a device that connects with clean session 0 relies on them, and subscribes
//! only once (decision 0019).

use super::super::Gateway;
use super::Session;
use crate::domain::DeviceNo;
use crate::mqtt::codec::{SessionOptions, SessionState};

/// The part of a session that is on disk.
#[derive(Default)]
pub struct StoredSubscriptions {
    /// Whether the session outlives its connection.
    is_stored: bool,
    /// Filters of sub-devices that have not come online yet.
    of_sub_devices: Vec<(DeviceNo, Vec<String>)>,
    /// Devices whose filters differ from those on disk.
    changed: Vec<DeviceNo>,
    /// Whether the device ended its session as it disconnected.
    is_forgotten: bool,
}

impl StoredSubscriptions {
    /// The filters of a device differ from those on disk.
    pub fn changed(&mut self, device: DeviceNo) {
        if self.is_stored && !self.changed.contains(&device) {
            self.changed.push(device);
        }
    }

    /// Whether filters differ from those on disk.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The device disconnects and ends its session.
    pub fn forget(&mut self) {
        self.is_forgotten = self.is_stored;
    }
}

impl Session {
    /// Resumes the session of the device's earlier connection, if it wants that.
    pub(super) async fn resume(&mut self, gateway: &Gateway, options: SessionOptions) -> SessionState {
        let stored = gateway.cloud.stored_filters(&self.device).await;
        let stored =
            stored.inspect_err(|error| tracing::warn!(%error, "a session could not be read")).unwrap_or_default();
        let mut is_present = false;
        if !stored.is_empty() && (options.is_clean_start || !options.outlives_connection) {
            self.delete_filters(gateway).await;
        }
        for (device, filters) in stored.into_iter().filter(|_| !options.is_clean_start) {
            if device == self.device.no {
                // Filters of another protocol mean nothing to this session.
                is_present |= filters.iter().filter(|filter| self.subscribe(filter).is_ok()).count() > 0;
            } else {
                is_present = true;
                self.stored.of_sub_devices.push((device, filters));
            }
        }
        self.stored.is_stored = options.outlives_connection;
        SessionState { is_present, outlives_connection: options.outlives_connection }
    }

    /// Subscribes a sub-device that came online to the filters of its earlier connection.
    pub(super) fn resume_sub_device(&mut self, sub: DeviceNo) {
        let Some(at) = self.stored.of_sub_devices.iter().position(|(device, _)| *device == sub) else { return };
        // They are on disk already.
        let is_stored = std::mem::take(&mut self.stored.is_stored);
        for filter in self.stored.of_sub_devices.swap_remove(at).1 {
            let _ = self.subscribe(&filter);
        }
        self.stored.is_stored = is_stored;
    }

    /// Writes the filters that changed. The subscriptions hold even if the store fails.
    pub(super) async fn store_filters(&mut self, gateway: &Gateway) {
        let changed = std::mem::take(&mut self.stored.changed);
        let filters = changed.into_iter().map(|device| (device, self.filters_of(device))).collect();
        if let Err(error) = gateway.cloud.store_filters(&self.device, filters).await {
            tracing::warn!(%error, device = %self.device.id, "subscriptions could not be kept");
        }
    }

    /// Deletes the filters on disk, if the device ended its session.
    pub(super) async fn forget_if_asked(&self, gateway: &Gateway) {
        // A device that has connected again in the meantime resumes them.
        if let Some(lease) = self.lease.filter(|_| self.stored.is_forgotten)
            && gateway.cloud.is_valid_lease(lease).await.unwrap_or_default()
        {
            self.delete_filters(gateway).await;
        }
    }

    async fn delete_filters(&self, gateway: &Gateway) {
        if let Err(error) = gateway.cloud.delete_filters(&self.device).await {
            tracing::warn!(%error, device = %self.device.id, "subscriptions could not be forgotten");
        }
    }

    fn filters_of(&self, device: DeviceNo) -> Vec<String> {
        let is_own = self.receives_all && device == self.device.no;
        let auto = is_own.then(|| self.dialect.auto_subscription(&self.device)).flatten();
        auto.into_iter().chain(self.subscriptions.of(device).map(str::to_owned)).collect()
    }
}
