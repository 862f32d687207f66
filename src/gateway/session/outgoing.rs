//! What a session's devices are sent without having asked: commands and desired values.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::super::Gateway;
use super::super::calls::PendingCall;
use super::super::router::{PendingCommand, SessionLoss};
use super::Session;
use crate::domain::attribute::{Desired, DesiredVersions};
use crate::domain::command::{Command, Undelivered};
use crate::domain::{Device, DeviceNo};
use crate::mqtt::codec::DisconnectReason;
use crate::mqtt::connection::{Closed, Connection};

/// Commands that are held while a device may be about to subscribe; further ones are not delivered.
const HELD_MAX: usize = 64;

impl Session {
    /// Sends the commands in the mailbox. `Closed` when the session has lost its own device.
    pub(super) async fn deliver_mail<S>(
        &mut self,
        connection: &mut Connection<S>,
        gateway: &Gateway,
    ) -> Result<(), Closed> {
        let mail = self.mailbox.take();
        if let Some((_, loss)) = mail.lost.iter().find(|(no, _)| *no == self.device.no) {
            connection.codec.close_with(match loss {
                SessionLoss::TakenOver => DisconnectReason::SessionTakenOver,
                SessionLoss::Ended => DisconnectReason::AdministrativeAction,
            });
            return Err(Closed);
        }
        if !mail.lost.is_empty() {
            let is_lost = |sub: &&Arc<Device>| mail.lost.iter().any(|(no, _)| *no == sub.no);
            let lost = self.sub_devices.values().map(|leased| &leased.device).filter(is_lost);
            let lost: Vec<Arc<Device>> = lost.cloned().collect();
            self.remove_sub_devices(gateway, &lost).await;
        }
        for sent in std::mem::take(&mut self.held_commands) {
            self.send_command(connection, gateway, sent, false);
        }
        for sent in mail.commands {
            self.send_command(connection, gateway, sent, true);
        }
        Ok(())
    }

    /// Sends a command. One to whose topic its device is not subscribed is held for a short time after the device came
    /// online, in which it may be about to subscribe; after that the command fails as not delivered.
    fn send_command<S>(
        &mut self,
        connection: &mut Connection<S>,
        gateway: &Gateway,
        sent: PendingCommand,
        is_new: bool,
    ) {
        let PendingCommand { device, id, command, answer } = sent;
        if answer.is_closed() {
            // The time-out has passed, and the caller has received an error.
            return;
        }
        let message = self.dialect.encode_command(&device, id, &command, gateway.cloud.now_ms());
        if !self.is_subscribed(&message.topic) {
            let until =
                self.may_subscribe_until(device.no, gateway.timeouts.subscribe).filter(|until| *until > Instant::now());
            match until.filter(|_| self.held_commands.len() < HELD_MAX) {
                Some(until) => {
                    if is_new {
                        let mailbox = self.mailbox.clone();
                        tokio::spawn(async move {
                            sleep_until(until).await;
                            mailbox.wake();
                        });
                    }
                    self.held_commands.push_back(PendingCommand { device, id, command, answer });
                }
                None => {
                    gateway.refusals.count_not_subscribed();
                    // A desired value that replaces the command is sent once it subscribes.
                    if self.pending_desired.iter().all(|pending| pending.no != device.no) {
                        self.pending_desired.push(device);
                    }
                    let _ = answer.send(Err(Undelivered::NotSubscribed));
                }
            }
            return;
        }
        connection.codec.publish(&message.topic, message.payload);
        match command {
            Command::Do { name: service, .. } => self.calls.add(PendingCall { id, device: device.no, service, answer }),
            Command::Set(_) => drop(answer.send(Ok("{}".to_owned()))),
        }
    }

    /// Until when a device may be about to subscribe, if it came online a short time ago.
    fn may_subscribe_until(&self, device: DeviceNo, within: Duration) -> Option<Instant> {
        let since = match device == self.device.no {
            true => Some(self.since),
            false => self.sub_devices_since.iter().find(|(sub, _)| *sub == device).map(|(_, since)| *since),
        };
        since.map(|since| since + within)
    }

    /// Sends its devices their desired values, once they are subscribed.
    pub(super) async fn send_desired<S>(
        &mut self,
        connection: &mut Connection<S>,
        gateway: &Gateway,
    ) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let cloud = &gateway.cloud;
        let pending: Vec<&Device> = self.pending_desired.iter().map(|device| &**device).collect();
        let desired = match cloud.desired(&pending).await {
            Ok(desired) => desired,
            Err(error) => {
                // Tried again when the device sends something next.
                gateway.desired_failed.record_failure(&error.to_string());
                return Ok(());
            }
        };
        let (mut sent, mut flushed) = (Vec::new(), Ok(()));
        for (device, desired) in std::mem::take(&mut self.pending_desired).into_iter().zip(desired) {
            let unsent: Vec<Desired> = desired.into_iter().filter(|desired| desired.is_pushed).collect();
            if unsent.is_empty() {
                continue;
            }
            let values = unsent.iter().map(|one| (Arc::from(one.code.as_str()), one.value.clone())).collect();
            let message = self.dialect.encode_command(&device, 0, &Command::Set(values), cloud.now_ms());
            if !self.is_subscribed(&message.topic) {
                self.pending_desired.push(device);
                continue;
            }
            connection.codec.publish(&message.topic, message.payload);
            flushed = connection.flush().await;
            if flushed.is_err() {
                break;
            }
            let versions: DesiredVersions = unsent.into_iter().map(|one| (one.code, Some(one.version))).collect();
            sent.push((device, versions));
        }
        let sent: Vec<(&Device, DesiredVersions)> =
            sent.iter().map(|(device, versions)| (&**device, versions.clone())).collect();
        if let Err(error) = cloud.remove_desired(&sent).await {
            tracing::warn!(%error, "desired values that were sent could not be deleted");
        }
        flushed
    }
}
