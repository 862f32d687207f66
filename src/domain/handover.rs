//! The rule for every operation that changes the owner of a device (decision 0013). [`super::ownership`] decides what
//! changes, and the store changes it in one transaction. This module loads what the store needs for it, and carries out
//! the consequences.
//!
//! A device that is removed from its owner has no owner: its bindings, its membership of a home, its connection to a
//! gateway, its desired values and the visual tokens for it are removed. Sub-devices of a gateway that have the same
//! owner are removed with it. For a new owner who is not the last one the device is as after a reset: without names,
//! device users, attributes, position and history. The new history begins after the newest row of the log, also if that
//! row is ahead of the clock.

use std::sync::Arc;

use async_trait::async_trait;

use super::device::Removal;
use super::feed::{DeviceLoss, News};
use super::{
    Cloud, Device, DeviceId, DeviceNo, EventSource, EventType, HomeId, NewEvent, ProjectNo, Result, Uid, UserNo,
};

/// Decides where the history of a device begins for a new owner. The store calls it when a device gets a new owner.
#[async_trait]
pub trait HistoryCuts: Send + Sync {
    /// For each device, in their order, a time in milliseconds since 1970 that is not before now and that is after
    /// every row of the device's log.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    async fn history_from_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>>;
}

/// The changes of owners and sharees that one operation made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Devices that were removed from all their users.
    pub removed: Vec<LostDevice>,
    /// Devices that got a new owner.
    pub new_owners: Vec<(DeviceNo, Uid)>,
    /// Devices that were shared with a user who could not see them before.
    pub shared: Vec<(DeviceNo, Uid)>,
    /// Devices that users other than the owner may no longer see: a home or a share ended.
    pub access_lost: Vec<LostDevice>,
    /// Sub-devices that the gateway of another owner no longer represents.
    pub detached: Vec<DeviceNo>,
}

/// A device that was removed from users, and who could see it until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostDevice {
    /// The store's number.
    pub no: DeviceNo,
    /// The id of the device in both clouds.
    pub id: DeviceId,
    /// The last owner.
    pub owner: Option<Uid>,
    /// The project of the last owner.
    pub owner_project: Option<ProjectNo>,
    /// The home that it belonged to.
    pub home: Option<HomeId>,
    /// The last owner, the sharees, and the members of that home.
    pub users: Vec<UserNo>,
    /// The projects that saw it.
    pub projects: Vec<ProjectNo>,
    /// The start of its visible history, milliseconds since 1970.
    pub history_from_ms: i64,
}

#[async_trait]
impl HistoryCuts for Cloud {
    async fn history_from_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>> {
        let newest_ms = self.telemetry.newest_ms(devices).await?;
        let now_ms = self.now_ms();
        Ok(newest_ms.into_iter().map(|newest_ms| now_ms.max(newest_ms.saturating_add(1))).collect())
    }
}

impl Cloud {
    /// Carries out the consequences of a change of owners: writes each removal to the event log, ends the sessions of
    /// removed devices, and informs the subscribers of the feed.
    pub(super) async fn follow(&self, moves: Moves, removal: Removal) -> Result<()> {
        let source = match removal {
            Removal::Removed => EventSource::PROJECT_REMOVAL,
            Removal::Reset => EventSource::CLOUD,
        };
        let row = |lost: &LostDevice| NewEvent {
            device: lost.no,
            // The reset is the first row of the new history, also if the device was ahead of the clock.
            time_ms: self.now_ms().max(lost.history_from_ms),
            kind: EventType::Reset,
            source,
            code: None,
            value: None,
            is_history: false,
        };
        let rows: Vec<NewEvent> = moves.removed.iter().map(row).collect();
        let logged = if rows.is_empty() { Ok(()) } else { self.log(rows).await };
        for device in moves.removed.iter().map(|lost| lost.no).chain(moves.detached) {
            self.downlink.end_session(device).await;
        }
        self.publish_lost(moves.removed.into_iter().chain(moves.access_lost).collect()).await?;
        let new: Vec<DeviceNo> = moves.new_owners.iter().map(|(device, _)| *device).collect();
        let newest_ms = if new.is_empty() { Vec::new() } else { self.telemetry.newest_ms(&new).await? };
        for ((device, owner), newest_ms) in moves.new_owners.into_iter().zip(newest_ms) {
            if newest_ms > self.now_ms() {
                // The new history begins ahead of the clock, and the session has an older value.
                self.downlink.end_session(device).await;
            }
            self.publish(device, News::Bound(owner));
        }
        for (device, user) in moves.shared {
            self.publish(device, News::Bound(user));
        }
        logged
    }

    /// Informs the subscribers who no longer see devices. Only the owner's project learns the details of the owner's
    /// home.
    async fn publish_lost(&self, lost: Vec<LostDevice>) -> Result<()> {
        if lost.is_empty() || !self.feed.has_subscribers() {
            return Ok(());
        }
        let ids: Vec<DeviceId> = lost.iter().map(|lost| lost.id.clone()).collect();
        let devices = self.registry.devices_by_id(&ids).await?;
        for (lost, device) in lost.into_iter().zip(devices) {
            let Some(device) = device else { continue };
            let held_elsewhere = Arc::new(Device { owner: None, home: None, ..device.clone() });
            let at_home = Arc::new(Device { owner: lost.owner.clone(), home: lost.home, ..device });
            let is_home = |project| lost.owner_project.is_none_or(|owners| owners == project);
            let view = |project| (project, if is_home(project) { at_home.clone() } else { held_elsewhere.clone() });
            let views = lost.projects.iter().copied().map(view).collect();
            self.publish_losses([DeviceLoss { device: lost.no, views, users: lost.users, at_ms: self.now_ms() }]);
        }
        Ok(())
    }
}
