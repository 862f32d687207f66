//! Subscriptions that outlive a connection: a device that connects with clean session 0 relies on them, and subscribes
//! only once (decision 0019).

use super::super::Gateway;
use super::super::auth::Protocol;
use super::super::dialect::tuyalink;
use super::Session;
use crate::domain::DeviceNo;
use crate::mqtt::codec::{Resumed, Terms};

/// What is kept of a session on disk.
#[derive(Default)]
pub struct Kept {
    /// Whether it is.
    is_kept: bool,
    /// Filters of devices behind the session's that have not come yet.
    of_subs: Vec<(DeviceNo, Vec<String>)>,
    /// Devices whose filters are not on disk as they are.
    changed: Vec<DeviceNo>,
    /// Whether the device had its session forgotten as it went.
    is_forgotten: bool,
}

impl Kept {
    /// Filters of a device are others than on disk.
    pub fn changed(&mut self, device: DeviceNo) {
        if self.is_kept && !self.changed.contains(&device) {
            self.changed.push(device);
        }
    }

    /// Whether something is not on disk.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The device goes and wants nothing kept.
    pub fn forget(&mut self) {
        self.is_forgotten = self.is_kept;
    }
}

impl Session {
    /// Goes on where an earlier connection of the device ended, if it wants that.
    pub(super) async fn resume(&mut self, gateway: &Gateway, terms: Terms) -> Resumed {
        let kept = gateway.cloud.kept_filters(&self.device).await;
        let kept = kept.inspect_err(|error| tracing::warn!(%error, "a session could not be read")).unwrap_or_default();
        let mut is_present = false;
        if !kept.is_empty() && (terms.is_clean || !terms.is_kept) {
            self.forget_filters(gateway).await;
        }
        for (device, filters) in kept.into_iter().filter(|_| !terms.is_clean) {
            if device == self.device.no {
                // What is of the other protocol is nothing to this session.
                is_present |= filters.iter().filter(|filter| self.subscribe(filter).is_ok()).count() > 0;
            } else {
                is_present = true;
                self.kept.of_subs.push((device, filters));
            }
        }
        self.kept.is_kept = terms.is_kept;
        Resumed { is_present, is_kept: terms.is_kept }
    }

    /// Subscribes for a device behind it that came, to what it had in an earlier connection.
    pub(super) fn resume_sub(&mut self, sub: DeviceNo) {
        let Some(at) = self.kept.of_subs.iter().position(|(device, _)| *device == sub) else { return };
        // They are on disk already.
        let is_kept = std::mem::take(&mut self.kept.is_kept);
        for filter in self.kept.of_subs.swap_remove(at).1 {
            let _ = self.subscribe(&filter);
        }
        self.kept.is_kept = is_kept;
    }

    /// Writes what changed. The subscriptions hold all the same when the store fails.
    pub(super) async fn keep_filters(&mut self, gateway: &Gateway) {
        let changed = std::mem::take(&mut self.kept.changed);
        let filters = changed.into_iter().map(|device| (device, self.filters_of(device))).collect();
        if let Err(error) = gateway.cloud.keep_filters(&self.device, filters).await {
            tracing::warn!(%error, device = %self.device.id, "subscriptions could not be kept");
        }
    }

    /// Forgets what is kept, if the device said so as it went.
    pub(super) async fn forget_if_asked(&self, gateway: &Gateway) {
        // One that has come again in the meantime goes on with it.
        if self.kept.is_forgotten && gateway.hub.is_of(self.device.no, &self.mailbox) {
            self.forget_filters(gateway).await;
        }
    }

    async fn forget_filters(&self, gateway: &Gateway) {
        if let Err(error) = gateway.cloud.forget_filters(&self.device).await {
            tracing::warn!(%error, device = %self.device.id, "subscriptions could not be forgotten");
        }
    }

    fn filters_of(&self, device: DeviceNo) -> Vec<String> {
        let is_auto = self.protocol == Protocol::TuyaLink && self.is_auto && device == self.device.no;
        let auto = is_auto.then(|| tuyalink::auto_subscription(&self.device));
        auto.into_iter().chain(self.subscriptions.of(device).map(str::to_owned)).collect()
    }
}
