//! Live views for the operator: what happens to devices, at the moment at which it is on disk. Unlike the live feed, they are
//! not limited to a project, and a row that was uploaded later is shown too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::device::Device;
use super::feed::News;
use super::{Cloud, DeviceNo, EventPage, EventQuery, NewEvent, Result};

/// Receives what happens to devices. Its methods are called while a device waits for its acknowledgement, so they must
/// return at once.
pub trait Watcher: Send + Sync {
    /// Rows that were added to the event log, of any devices.
    fn logged(&self, rows: &[NewEvent]);
    /// Another change of a device.
    fn changed(&self, device: DeviceNo, news: &News);
}

/// The watchers at the moment.
#[derive(Default)]
pub(super) struct Watchers {
    all: RwLock<Vec<Arc<dyn Watcher>>>,
    count: AtomicUsize,
}

impl Watchers {
    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Shows something to all of them.
    pub fn show(&self, show: impl Fn(&dyn Watcher)) {
        if self.is_any() {
            self.all.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|watcher| show(&**watcher));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<dyn Watcher>>)) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        self.count.store(all.len(), Ordering::Relaxed);
    }
}

impl Cloud {
    /// Shows a watcher everything that is on disk from now on, until [`Cloud::unwatch`].
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        self.watchers.change(|all| all.push(watcher));
    }

    /// Shows a watcher nothing any more.
    pub fn unwatch(&self, watcher: &Arc<dyn Watcher>) {
        self.watchers.change(|all| all.retain(|other| !Arc::ptr_eq(other, watcher)));
    }

    /// A page of the log of a device for the operator: what the present owner of the device can see. Newest first.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn device_log(&self, device: &Device, query: EventQuery) -> Result<EventPage> {
        let query = self.within_history(device, query);
        self.telemetry.page(None, device.no, &query).await
    }
}
