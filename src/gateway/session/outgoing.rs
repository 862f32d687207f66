//! What is sent down to a session's devices that they did not ask for: commands, and values that they should take.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::super::auth::Protocol;
use super::super::calls::Call;
use super::super::hub::{Loss, Sent};
use super::super::link::{Gone, Link};
use super::super::wire::Ending;
use super::super::{Gateway, alink, tylink};
use super::{SUBSCRIBE_TIMEOUT, Session};
use crate::domain::command::{Command, Undelivered};
use crate::domain::fact::Desired;
use crate::domain::{Cloud, DeviceNo};

/// Commands that are held while a device may be about to subscribe; further ones are not heard.
const HELD_MAX: usize = 64;

impl Session {
    /// Sends down what waits for it. `Gone` when the session no longer stands for its own device.
    pub(super) async fn deliver<S>(&mut self, link: &mut Link<S>, gateway: &Gateway) -> Result<(), Gone> {
        let waiting = self.mailbox.take();
        for (no, loss) in waiting.gone {
            if no == self.device.no {
                link.wire.ends(match loss {
                    Loss::TakenOver => Ending::SessionTakenOver,
                    Loss::Ended => Ending::AdministrativeAction,
                });
                return Err(Gone);
            }
            let found = self.subs.values().find(|sub| sub.no == no).cloned();
            if let Some(sub) = found {
                self.drop_sub(gateway, &sub).await;
            }
        }
        for sent in std::mem::take(&mut self.held) {
            self.send_down(link, gateway, sent, false);
        }
        for sent in waiting.commands {
            self.send_down(link, gateway, sent, true);
        }
        Ok(())
    }

    /// Sends a command down. One that its device does not listen to is held for a short time after the device came, in
    /// which it may be about to subscribe; then who waits is told that it was not heard.
    fn send_down<S>(&mut self, link: &mut Link<S>, gateway: &Gateway, sent: Sent, is_new: bool) {
        let Sent { device, id, command, answer } = sent;
        let now_ms = gateway.cloud.now_ms();
        let message = match (self.protocol, &command) {
            (Protocol::TuyaLink, Command::Set(wishes)) => tylink::set(&device, id, wishes, now_ms),
            (Protocol::TuyaLink, Command::Do { name, input }) => tylink::execute(&device, id, name, input, now_ms),
            (Protocol::LinkKit { .. }, Command::Set(wishes)) => alink::say::set(&device, id, wishes),
            (Protocol::LinkKit { .. }, Command::Do { name, input }) => alink::say::invoke(&device, id, name, input),
        };
        if !self.wants(&message.topic) {
            let until = self.may_subscribe_until(device.no).filter(|until| *until > Instant::now());
            match until.filter(|_| self.held.len() < HELD_MAX) {
                Some(until) => {
                    if is_new {
                        let mailbox = self.mailbox.clone();
                        tokio::spawn(async move {
                            sleep_until(until).await;
                            mailbox.wake();
                        });
                    }
                    self.held.push_back(Sent { device, id, command, answer });
                }
                None => {
                    gateway.refusals.unheard();
                    // What is wished of it instead is told once it listens.
                    if self.owed.iter().all(|owed| owed.no != device.no) {
                        self.owed.push(device);
                    }
                    let _ = answer.send(Err(Undelivered::Unheard));
                }
            }
            return;
        }
        link.wire.publish(&message.topic, message.payload);
        match command {
            Command::Do { name: service, .. } => self.calls.begin(Call { id, device: device.no, service, answer }),
            Command::Set(_) => drop(answer.send(Ok("{}".to_owned()))),
        }
    }

    /// Until when a device may be about to subscribe, if it came within a while.
    fn may_subscribe_until(&self, device: DeviceNo) -> Option<Instant> {
        let since = match device == self.device.no {
            true => Some(self.since),
            false => self.subs_since.iter().find(|(sub, _)| *sub == device).map(|(_, since)| *since),
        };
        since.map(|since| since + SUBSCRIBE_TIMEOUT)
    }

    /// Tells its devices the values that they should take, once they listen.
    pub(super) async fn tell_desires<S>(&mut self, link: &mut Link<S>, cloud: &Cloud) -> Result<(), Gone>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for device in std::mem::take(&mut self.owed) {
            let Ok(desired) = cloud.desired(&device).await else { continue };
            let told: Vec<Desired> = desired.into_iter().filter(|desired| desired.is_told).collect();
            if told.is_empty() {
                continue;
            }
            let wishes: Vec<_> = told.iter().map(|one| (Arc::from(one.code.as_str()), one.value.clone())).collect();
            let message = match self.protocol {
                Protocol::TuyaLink => tylink::set(&device, 0, &wishes, cloud.now_ms()),
                Protocol::LinkKit { .. } => alink::say::set(&device, 0, &wishes),
            };
            if !self.wants(&message.topic) {
                self.owed.push(device);
                continue;
            }
            link.wire.publish(&message.topic, message.payload);
            link.flush().await?;
            let versions = told.into_iter().map(|one| (one.code, Some(one.version))).collect();
            if let Err(error) = cloud.forget_desired(&device, versions).await {
                tracing::warn!(%error, "a value that was told could not be forgotten");
            }
        }
        Ok(())
    }
}
