//! Which device is connected, by which session, and the way down to it. A second session of a device replaces the
//! first; a gateway's session stands for the devices behind it too.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::domain::command::{Command, Undelivered};
use crate::domain::{Device, DeviceNo, Downlink};

/// Commands that wait for one session.
const WAITING_MAX: usize = 64;
/// An answer must have come by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// A command that has no answer must have been written to its connection by then.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The sessions of this process.
#[derive(Default)]
pub struct Hub {
    sessions: Mutex<HashMap<DeviceNo, Arc<Mailbox>>>,
    commands: AtomicU32,
}

/// What waits for one session.
#[derive(Default)]
pub struct Mailbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

/// What a session has to do.
#[derive(Default)]
pub struct Waiting {
    /// Devices that it no longer stands for, and why.
    pub gone: Vec<(DeviceNo, Loss)>,
    /// Commands to send down.
    pub commands: VecDeque<Sent>,
}

/// Why a session no longer stands for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another session does.
    TakenOver,
    /// It was taken from its users, shut out, or is another thing now.
    Ended,
}

/// A command on its way down.
pub struct Sent {
    /// To whom.
    pub device: Arc<Device>,
    /// Its number, by which an answer names it.
    pub id: u32,
    /// What to do.
    pub command: Command,
    /// Who waits for what comes of it.
    pub answer: Answer,
}

/// Who waits for what comes of a command: JSON text.
pub type Answer = oneshot::Sender<Result<String, Undelivered>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// Waits until there may be something to do.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has the session look whether there is something to do.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Everything there is to do.
    pub fn take(&self) -> Waiting {
        std::mem::take(&mut *lock(&self.waiting))
    }

    fn tell_gone(&self, device: DeviceNo, loss: Loss) {
        let mut waiting = lock(&self.waiting);
        if waiting.gone.iter().all(|(gone, _)| *gone != device) {
            waiting.gone.push((device, loss));
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn send(&self, sent: Sent) -> Result<(), Undelivered> {
        let mut waiting = lock(&self.waiting);
        if waiting.commands.len() >= WAITING_MAX {
            return Err(Undelivered::Busy);
        }
        waiting.commands.push_back(sent);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }
}

impl Hub {
    /// A session stands for a device from now on; one that did before is told.
    pub fn enter(&self, device: DeviceNo, mailbox: &Arc<Mailbox>) {
        let before = lock(&self.sessions).insert(device, mailbox.clone());
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, mailbox)) {
            // What waits there for the device comes here.
            let waiting = std::mem::take(&mut lock(&before.waiting).commands);
            let (moved, left): (VecDeque<Sent>, _) = waiting.into_iter().partition(|sent| sent.device.no == device);
            lock(&before.waiting).commands.extend(left);
            lock(&mailbox.waiting).commands.extend(moved);
            mailbox.changed.notify_one();
            before.tell_gone(device, Loss::TakenOver);
        }
    }

    /// Whether a session stands for a device.
    pub fn has(&self, device: DeviceNo) -> bool {
        lock(&self.sessions).contains_key(&device)
    }

    /// A session no longer stands for a device; whether it still did.
    pub fn leave(&self, device: DeviceNo, mailbox: &Arc<Mailbox>) -> bool {
        let mut sessions = lock(&self.sessions);
        let mine = sessions.get(&device).is_some_and(|there| Arc::ptr_eq(there, mailbox));
        if mine {
            sessions.remove(&device);
        }
        mine
    }

    /// Whether a session still stands for a device.
    pub fn is_of(&self, device: DeviceNo, mailbox: &Arc<Mailbox>) -> bool {
        lock(&self.sessions).get(&device).is_some_and(|there| Arc::ptr_eq(there, mailbox))
    }

    fn mailbox(&self, device: DeviceNo) -> Option<Arc<Mailbox>> {
        lock(&self.sessions).get(&device).cloned()
    }
}

#[async_trait]
impl Downlink for Hub {
    async fn end_session(&self, device: DeviceNo) {
        if let Some(mailbox) = self.mailbox(device) {
            mailbox.tell_gone(device, Loss::Ended);
        }
    }

    async fn command(&self, device: &Arc<Device>, command: Command) -> Result<String, Undelivered> {
        let mailbox = self.mailbox(device.no).ok_or(Undelivered::Offline)?;
        let patience = if matches!(command, Command::Do { .. }) { ANSWER_TIMEOUT } else { DELIVERY_TIMEOUT };
        let id = self.commands.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (answer, answered) = oneshot::channel();
        mailbox.send(Sent { device: device.clone(), id, command, answer })?;
        match timeout(patience, answered).await {
            Err(_) => Err(Undelivered::NoAnswer),
            Ok(Err(_)) => Err(Undelivered::Offline),
            Ok(Ok(answer)) => answer,
        }
    }
}
