//! What is sent down to a session's devices that they did not ask for: commands, and values that they should take.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::auth::Protocol;
use super::super::calls::Call;
use super::super::hub::{Loss, Sent};
use super::super::link::{Gone, Link};
use super::super::wire::Ending;
use super::super::{Gateway, alink, tylink};
use super::Session;
use crate::domain::Cloud;
use crate::domain::command::Command;
use crate::domain::fact::{Desired, FactChange, FactKind};

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
        for Sent { device, id, command, answer } in waiting.commands {
            let now_ms = gateway.cloud.now_ms();
            let message = match (self.protocol, &command) {
                (Protocol::TuyaLink, Command::Set(wishes)) => tylink::set(&device, id, wishes, now_ms),
                (Protocol::TuyaLink, Command::Do { name, input }) => tylink::execute(&device, id, name, input, now_ms),
                (Protocol::LinkKit { .. }, Command::Set(wishes)) => alink::say::set(&device, id, wishes),
                (Protocol::LinkKit { .. }, Command::Do { name, input }) => alink::say::invoke(&device, id, name, input),
            };
            // A device that did not subscribe never hears of it; who waits is told in time.
            if self.wants(&message.topic) {
                link.wire.publish(&message.topic, message.payload);
            }
            if let Command::Do { name: service, .. } = command {
                self.calls.begin(Call { id, device: device.no, service, answer });
            }
        }
        Ok(())
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
            let change = |one: Desired| FactChange { from_version: Some(one.version), ..FactChange::forget(one.code) };
            let changes = told.into_iter().map(change).collect();
            if let Err(error) = cloud.change_facts(&device, FactKind::Desired, changes).await {
                tracing::warn!(%error, "a value that was told could not be forgotten");
            }
        }
        Ok(())
    }
}
