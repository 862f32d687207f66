//! The way to all devices: to those that this process simulates, and to those that are connected.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::domain::command::{Command, Undelivered};
use crate::domain::{Device, DeviceNo, Downlink};
use crate::gateway::CommandRouter;
use crate::instruments::{CommandOutcome, Instruments};
use crate::traces::{KeyValue, Recorded, SpanKind};
use crate::virtual_devices::VirtualDownlink;

/// Sends commands to virtual devices and to connected devices, and measures how long they take.
pub struct Downlinks {
    /// Where the times are counted.
    pub instruments: Arc<Instruments>,
    /// The way to the devices that this process simulates.
    pub to_virtual: VirtualDownlink,
    /// The way to the sessions of connected devices.
    pub router: Arc<CommandRouter>,
}

#[async_trait]
impl Downlink for Downlinks {
    async fn end_session(&self, device: DeviceNo) {
        self.to_virtual.end_session(device).await;
        self.router.end_session(device).await;
    }

    async fn command(&self, device: &Arc<Device>, command: Command) -> Result<String, Undelivered> {
        let begun = Instant::now();
        let answer = if device.is_virtual {
            self.to_virtual.command(device, command).await
        } else {
            self.router.command(device, command).await
        };
        let outcome = match &answer {
            Ok(_) => "delivered",
            Err(Undelivered::Offline) => "offline",
            Err(Undelivered::Busy) => "busy",
            Err(Undelivered::NoAnswer) => "no_answer",
            Err(Undelivered::Refused) => "refused",
            Err(Undelivered::NotSubscribed) => "not_subscribed",
        };
        self.instruments.commands.get_or_create(&CommandOutcome { outcome }).observe(begun.elapsed().as_secs_f64());
        self.instruments.traces.record(begun, || Recorded {
            name: "command".to_owned(),
            kind: SpanKind::Client,
            parent: None,
            error: answer.is_err().then(|| outcome.to_owned()),
            attributes: vec![KeyValue::new("ingle.device", device.id.to_string())],
        });
        answer
    }
}
