//! Handing over: the one rule for every way in which a device leaves its owner and comes to the next one (decision
//! 0013). [`super::ownership`] decides what changes, and the store changes it in one transaction; what it must know for
//! that, and what follows from it, is here.
//!
//! A device that leaves its owner is nobody's: all bindings, its home, its gateway and what was wished of it end, and
//! the visual tokens for it. What is behind a gateway and the same owner's leaves with it. To a new owner who is not
//! the last one it is as after a reset: without names, device users, attributes, place and history. The history begins after
//! the newest row of its log, also when that row was ahead of the clock.

use std::sync::Arc;

use async_trait::async_trait;

use super::device::Leaving;
use super::event::{EventTypes, PageStart};
use super::feed::{News, Taken};
use super::{
    Cloud, Device, DeviceId, DeviceNo, EventQuery, EventSource, EventType, HomeId, NewEvent, ProjectNo, Result, Uid,
    UserNo,
};

/// Where the history of a device begins for somebody who did not own it before. The store asks when it finds that a
/// device goes to somebody new.
#[async_trait]
pub trait HistoryCuts: Send + Sync {
    /// For each device, in their order, a time in milliseconds since 1970 that is not before now and is after every row
    /// of its log.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    async fn history_from_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>>;
}

/// What one change did to who has which device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Devices that everybody lost.
    pub left: Vec<Left>,
    /// Devices that belong to a user who did not own them before.
    pub came: Vec<(DeviceNo, Uid)>,
    /// Devices that are shared to a user who had them in no way before.
    pub shared: Vec<(DeviceNo, Uid)>,
    /// Devices that some may have lost who are not their owners: a home, a share.
    pub lost: Vec<Left>,
    /// Devices that somebody else's gateway no longer speaks for.
    pub ended: Vec<DeviceNo>,
}

/// A device that everybody lost, and who that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The store's number.
    pub no: DeviceNo,
    /// Its id in both clouds.
    pub id: DeviceId,
    /// Who owned it.
    pub owner: Option<Uid>,
    /// The project of that user.
    pub owner_project: Option<ProjectNo>,
    /// The home that it stood in.
    pub home: Option<HomeId>,
    /// Its owner, those to whom it was shared, and who lived in that home.
    pub users: Vec<UserNo>,
    /// Projects that saw it.
    pub projects: Vec<ProjectNo>,
    /// What its log shows from now on, milliseconds since 1970.
    pub history_from_ms: i64,
}

#[async_trait]
impl HistoryCuts for Cloud {
    async fn history_from_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>> {
        let mut cuts = Vec::with_capacity(devices.len());
        for device in devices {
            cuts.push(self.now_ms().max(self.newest_row_ms(*device).await?.saturating_add(1)));
        }
        Ok(cuts)
    }
}

impl Cloud {
    /// Does what follows from a change of owners: the log keeps each removal, sessions of devices that left end, and
    /// those who listen are told.
    pub(super) async fn follow(&self, moves: Moves, leaving: Leaving) -> Result<()> {
        let source = match leaving {
            Leaving::Removed => EventSource::PROJECT_REMOVAL,
            Leaving::Reset => EventSource::CLOUD,
        };
        let row = |left: &Left| NewEvent {
            device: left.no,
            // After a reset it is the first row that is seen again, also when the device was ahead of the clock.
            time_ms: self.now_ms().max(left.history_from_ms),
            kind: EventType::Reset,
            source,
            code: None,
            value: None,
            is_history: false,
        };
        let rows: Vec<NewEvent> = moves.left.iter().map(row).collect();
        let logged = if rows.is_empty() { Ok(()) } else { self.log(rows).await };
        for device in moves.left.iter().map(|left| left.no).chain(moves.ended) {
            self.downlink.end_session(device).await;
        }
        for left in moves.left.into_iter().chain(moves.lost) {
            self.tell_left(left).await?;
        }
        for (device, owner) in moves.came {
            if self.newest_row_ms(device).await? > self.now_ms() {
                // Its history begins ahead of the clock, which its session does not know.
                self.downlink.end_session(device).await;
            }
            self.tell(device, News::Bound(owner));
        }
        for (device, user) in moves.shared {
            self.tell(device, News::Bound(user));
        }
        logged
    }

    /// Tells those who no longer see a device. What it was in its owner's home is told to the owner's project alone.
    async fn tell_left(&self, left: Left) -> Result<()> {
        if !self.feed.is_heard() {
            return Ok(());
        }
        let Some(device) = self.registry.device_by_id(&left.id).await? else { return Ok(()) };
        let held_elsewhere = Arc::new(Device { owner: None, home: None, ..device.clone() });
        let at_home = Arc::new(Device { owner: left.owner.clone(), home: left.home, ..device });
        let is_home = |project| left.owner_project.is_none_or(|owners| owners == project);
        let view = |project| (project, if is_home(project) { at_home.clone() } else { held_elsewhere.clone() });
        let views = left.projects.iter().copied().map(view).collect();
        self.tell_taken([Taken { device: left.no, views, users: left.users, at_ms: self.now_ms() }]);
        Ok(())
    }

    /// The time of the newest row of a device's log, 0 without one.
    pub(super) async fn newest_row_ms(&self, device: DeviceNo) -> Result<i64> {
        let query = EventQuery {
            types: EventTypes::all(),
            codes: Vec::new(),
            from_ms: 0,
            to_ms: i64::MAX,
            start: PageStart::Newest,
            limit: 1,
        };
        let page = self.telemetry.page(None, device, &query).await?;
        Ok(page.rows.first().map_or(0, |event| event.row.time_ms))
    }
}
