//! Routes commands to the sessions of this process. The session that holds the lease of a device gets the commands to it; a
//! gateway's session has its sub-devices too.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::domain::command::{Command, Undelivered};
use crate::domain::presence::Lease;
use crate::domain::{Device, DeviceNo, Downlink};

/// Commands that wait for one session.
const WAITING_MAX: usize = 64;

/// The sessions of this process, by their devices.
pub struct CommandRouter {
    answer_timeout: Duration,
    delivery_timeout: Duration,
    sessions: Mutex<HashMap<DeviceNo, Route>>,
    commands: AtomicU32,
}

/// The session to which the commands to a device are routed.
struct Route {
    epoch: u64,
    mailbox: Arc<Mailbox>,
}

/// The mailbox of one session.
#[derive(Default)]
pub struct Mailbox {
    waiting: Mutex<Mail>,
    changed: Notify,
}

/// The content of a mailbox.
#[derive(Default)]
pub struct Mail {
    /// Devices that the session has lost, and why.
    pub lost: Vec<(DeviceNo, SessionLoss)>,
    /// Commands to send.
    pub commands: VecDeque<PendingCommand>,
}

/// Why a session has lost a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLoss {
    /// Another session has it.
    TakenOver,
    /// It was removed from its users, disabled or changed.
    Ended,
}

/// A command that waits to be sent.
pub struct PendingCommand {
    /// The device.
    pub device: Arc<Device>,
    /// Its number, by which a response names it.
    pub id: u32,
    /// The command.
    pub command: Command,
    /// Where its response goes.
    pub answer: Responder,
}

/// Where the response to a command goes: JSON text.
pub type Responder = oneshot::Sender<Result<String, Undelivered>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// Waits until there may be something in it.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the session, so that it looks into its mailbox.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Empties it.
    pub fn take(&self) -> Mail {
        std::mem::take(&mut *lock(&self.waiting))
    }

    fn notify_loss(&self, device: DeviceNo, loss: SessionLoss) {
        let mut waiting = lock(&self.waiting);
        if waiting.lost.iter().all(|(lost, _)| *lost != device) {
            waiting.lost.push((device, loss));
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn send(&self, sent: PendingCommand) -> Result<(), Undelivered> {
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

impl CommandRouter {
    /// A router without sessions. The response to a command must have come within `answer_timeout`; a command that has
    /// no response must have been written to its connection within `delivery_timeout`.
    pub fn new(answer_timeout: Duration, delivery_timeout: Duration) -> Self {
        Self { answer_timeout, delivery_timeout, sessions: Mutex::default(), commands: AtomicU32::new(0) }
    }

    /// Routes the commands to the device of a lease to a session from now on. Of two sessions of a device, the one with the
    /// later lease has it, in whichever order they are registered; the other one is notified.
    pub fn register(&self, Lease { device, epoch, .. }: Lease, mailbox: &Arc<Mailbox>) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&device).is_some_and(|route| route.epoch > epoch) {
            return mailbox.notify_loss(device, SessionLoss::TakenOver);
        }
        let before = sessions.insert(device, Route { epoch, mailbox: mailbox.clone() });
        drop(sessions);
        if let Some(Route { mailbox: before, .. }) = before.filter(|before| !Arc::ptr_eq(&before.mailbox, mailbox)) {
            // Commands that wait there for the device move.
            let waiting = std::mem::take(&mut lock(&before.waiting).commands);
            let (moved, left): (VecDeque<PendingCommand>, _) =
                waiting.into_iter().partition(|sent| sent.device.no == device);
            lock(&before.waiting).commands.extend(left);
            lock(&mailbox.waiting).commands.extend(moved);
            mailbox.changed.notify_one();
            before.notify_loss(device, SessionLoss::TakenOver);
        }
    }

    /// Ends the routing to the session of a lease, if it is still in force.
    pub fn unregister(&self, Lease { device, epoch, .. }: Lease) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&device).is_some_and(|route| route.epoch == epoch) {
            sessions.remove(&device);
        }
    }

    fn mailbox(&self, device: DeviceNo) -> Option<Arc<Mailbox>> {
        lock(&self.sessions).get(&device).map(|route| route.mailbox.clone())
    }
}

#[async_trait]
impl Downlink for CommandRouter {
    async fn end_session(&self, device: DeviceNo) {
        if let Some(mailbox) = self.mailbox(device) {
            mailbox.notify_loss(device, SessionLoss::Ended);
        }
    }

    async fn command(&self, device: &Arc<Device>, command: Command) -> Result<String, Undelivered> {
        let mailbox = self.mailbox(device.no).ok_or(Undelivered::Offline)?;
        let has_answer = matches!(command, Command::Do { .. });
        let patience = if has_answer { self.answer_timeout } else { self.delivery_timeout };
        let id = self.commands.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (answer, answered) = oneshot::channel();
        mailbox.send(PendingCommand { device: device.clone(), id, command, answer })?;
        match timeout(patience, answered).await {
            Err(_) => Err(Undelivered::NoAnswer),
            Ok(Err(_)) => Err(Undelivered::Offline),
            Ok(Ok(answer)) => answer,
        }
    }
}
