//! Which device is connected, by which session. A second session of a device replaces the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::device::Leaving;
use crate::domain::{DeviceNo, Downlink};

/// The sessions of this process.
#[derive(Default)]
pub struct Hub(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    count: u64,
    by_device: HashMap<DeviceNo, (u64, watch::Sender<bool>)>,
}

/// One device's place, until [`Place::leave`].
pub struct Place {
    hub: Arc<Hub>,
    device: DeviceNo,
    number: u64,
    ended: watch::Receiver<bool>,
}

impl Hub {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of a device; whoever had it is told to go.
    pub fn enter(self: &Arc<Self>, device: DeviceNo) -> Place {
        let (sender, ended) = watch::channel(false);
        let mut sessions = self.sessions();
        sessions.count += 1;
        let number = sessions.count;
        if let Some((_, before)) = sessions.by_device.insert(device, (number, sender)) {
            before.send_replace(true);
        }
        drop(sessions);
        Place { hub: self.clone(), device, number, ended }
    }
}

impl Place {
    /// Done when the session must end: another took its place, or the device was taken from its users.
    pub async fn ended(&mut self) {
        // The sender lives in the hub; when it is gone the place is, too.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// Gives the place back; whether it was still this session's.
    pub fn leave(self) -> bool {
        let mut sessions = self.hub.sessions();
        let mine = sessions.by_device.get(&self.device).is_some_and(|(number, _)| *number == self.number);
        if mine {
            sessions.by_device.remove(&self.device);
        }
        mine
    }
}

#[async_trait]
impl Downlink for Hub {
    async fn left(&self, device: DeviceNo, _leaving: Leaving) {
        if let Some((_, sender)) = self.sessions().by_device.get(&device) {
            sender.send_replace(true);
        }
    }
}
