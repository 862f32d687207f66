//! Virtual devices, simulated by the server with the same calls of the cloud as the session of a real device. `ingle
//! demo` uses them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::domain::command::{Command, Undelivered};
use crate::domain::data_point::Reported;
use crate::domain::presence::LeasedDevice;
use crate::domain::row_time::ReportTime;
use crate::domain::{Access, Cloud, Device, DeviceNo, Downlink, Function, FunctionType, Result, Value};
use crate::shutdown::Shutdown;

/// Maximum number of virtual devices that are simulated.
const DEVICES_MAX: usize = 1000;
/// Maximum number of messages that wait for virtual devices.
const WAITING_MAX: usize = 64;

/// Sends commands to virtual devices.
pub struct VirtualDownlink {
    messages: mpsc::Sender<Message>,
    answer_timeout: Duration,
}

/// Receives the commands to virtual devices.
pub struct VirtualMessages(mpsc::Receiver<Message>);

enum Message {
    /// The device was unbound.
    Unbound(DeviceNo),
    /// A command, and the channel for its result.
    Command(DeviceNo, Command, oneshot::Sender<String>),
}

/// Both ends of the channel. A command fails after `answer_timeout`.
pub fn downlink(answer_timeout: Duration) -> (VirtualDownlink, VirtualMessages) {
    let (messages, receiver) = mpsc::channel(WAITING_MAX);
    (VirtualDownlink { messages, answer_timeout }, VirtualMessages(receiver))
}

#[async_trait]
impl Downlink for VirtualDownlink {
    async fn end_session(&self, device: DeviceNo) {
        // A full queue is no problem: the device is not in the next round anyway.
        let _ = self.messages.try_send(Message::Unbound(device));
    }

    async fn command(&self, device: &Arc<Device>, command: Command) -> std::result::Result<String, Undelivered> {
        let (sender, answer) = oneshot::channel();
        self.messages.try_send(Message::Command(device.no, command, sender)).map_err(|_| Undelivered::Busy)?;
        match timeout(self.answer_timeout, answer).await {
            Err(_) => Err(Undelivered::NoAnswer),
            Ok(answer) => answer.map_err(|_| Undelivered::Offline),
        }
    }
}

/// Runs all virtual devices of the cloud until the shutdown begins, then disconnects them. `period` is the time between
/// two rounds of reports.
pub async fn run(cloud: Arc<Cloud>, mut messages: VirtualMessages, period: Duration, mut shutdown: Shutdown) {
    let mut running: HashMap<DeviceNo, VirtualDevice> = HashMap::new();
    let mut rounds = tokio::time::interval(period);
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if let Err(error) = round(&cloud, &mut running).await {
                    tracing::warn!(%error, "the virtual devices could not report");
                }
            }
            Some(message) = messages.0.recv() => match message {
                Message::Unbound(no) => {
                    if let Some(simulated) = running.remove(&no) {
                        disconnect(&cloud, &[simulated.leased]).await;
                    }
                }
                Message::Command(no, command, answer) => {
                    // After the time-out, the caller has already received an error.
                    if let Some(simulated) = running.get_mut(&no).filter(|_| !answer.is_closed()) {
                        apply(&cloud, simulated, command).await;
                        let _ = answer.send("{}".to_owned());
                    }
                }
            },
            () = shutdown.begun() => break,
        }
    }
    disconnect(&cloud, &running.into_values().map(|simulated| simulated.leased).collect::<Vec<_>>()).await;
}

async fn disconnect(cloud: &Cloud, devices: &[LeasedDevice]) {
    if let Err(error) = cloud.disconnected(devices).await {
        tracing::warn!(%error, "virtual devices could not be disconnected");
    }
}

/// Applies the values of a command and reports them, as a real device would. A service has no effect.
async fn apply(cloud: &Cloud, simulated: &mut VirtualDevice, command: Command) {
    let Command::Set(setpoints) = command else { return };
    let now_ms = cloud.now_ms();
    for (code, value) in &setpoints {
        if let Some(current) = simulated.values.iter_mut().find(|current| current.code == *code) {
            current.shown = current.kind.shown(value);
        }
    }
    let points = setpoints.into_iter().map(|(code, value)| (code, value, ReportTime::Live(now_ms))).collect();
    if let Err(error) = cloud.report(&simulated.leased.device, points).await {
        tracing::warn!(%error, "a virtual device could not report the values of a command");
    }
}

async fn round(cloud: &Cloud, running: &mut HashMap<DeviceNo, VirtualDevice>) -> Result<()> {
    let devices = cloud.virtual_devices(DEVICES_MAX).await?;
    let present: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
    let removed = running.extract_if(|no, _| !present.contains(no)).map(|(_, simulated)| simulated.leased);
    cloud.disconnected(&removed.collect::<Vec<_>>()).await?;
    let new = devices.into_iter().filter(|device| !running.contains_key(&device.no)).map(Arc::new);
    let new = cloud.acquire_leases(new.collect()).await?;
    cloud.connected(&new).await?;
    running.extend(new.into_iter().map(|leased| (leased.device.no, VirtualDevice::new(leased))));
    let mut rows = Reported::default();
    for simulated in running.values_mut() {
        let now_ms = cloud.now_ms();
        let changed =
            simulated.changes().into_iter().map(|(code, value)| (code, value, ReportTime::Live(now_ms))).collect();
        rows.extend(cloud.reported(&simulated.leased.device, changed)?);
    }
    cloud.keep(rows).await
}

/// A virtual device and its values.
struct VirtualDevice {
    leased: LeasedDevice,
    values: Vec<VirtualValue>,
    dice: Xorshift,
}

struct VirtualValue {
    code: Arc<str>,
    kind: Behavior,
    shown: Option<i64>,
}

/// How the value of a function changes.
enum Behavior {
    /// Stays the same and sometimes toggles.
    Switch,
    /// Moves between two limits.
    Number { min: i64, max: i64 },
    /// Sometimes changes to another of these JSON texts.
    Choice(Vec<Box<str>>),
    /// Is always this JSON text.
    Text(&'static str),
    /// Reports no fault, almost always.
    Faults,
}

impl VirtualDevice {
    fn new(leased: LeasedDevice) -> Self {
        let device = &leased.device;
        let reported = device.product.functions.iter().filter(|function| function.access != Access::WriteOnly);
        let values = reported.map(VirtualValue::new).collect();
        let dice = Xorshift::seeded(device.no);
        Self { leased, values, dice }
    }

    /// The values that changed since the last round; all of them in the first.
    fn changes(&mut self) -> Vec<(Arc<str>, Value)> {
        let dice = &mut self.dice;
        let changed = self.values.iter_mut().filter_map(|current| {
            let next = current.kind.next(current.shown, dice);
            (current.shown != Some(next)).then(|| {
                current.shown = Some(next);
                Some((current.code.clone(), current.kind.value(next)?))
            })
        });
        changed.flatten().collect()
    }
}

impl VirtualValue {
    fn new(function: &Function) -> Self {
        let bounds = &function.bounds;
        let kind = match function.kind {
            FunctionType::Boolean => Behavior::Switch,
            FunctionType::Integer => {
                let min = bounds.min.unwrap_or(0);
                Behavior::Number { min, max: bounds.max.unwrap_or(100).max(min) }
            }
            FunctionType::Enum if !bounds.range.is_empty() => Behavior::Choice(bounds.range.clone()),
            FunctionType::Bitmap => Behavior::Faults,
            FunctionType::Float | FunctionType::Double if bounds.decimal.scale.is_some() => {
                let bound = |number: Option<f64>, usual| bounds.decimal.scaled(number.unwrap_or(usual)).unwrap_or(0);
                let min = bound(bounds.decimal.min, 0.0);
                Behavior::Number { min, max: bound(bounds.decimal.max, 100.0).max(min) }
            }
            FunctionType::Float | FunctionType::Double | FunctionType::Date => Behavior::Text("\"0\""),
            FunctionType::Struct => Behavior::Text("{}"),
            FunctionType::Enum | FunctionType::String | FunctionType::Json | FunctionType::Raw => {
                Behavior::Text("\"\"")
            }
        };
        Self { code: Arc::from(function.code.as_str()), kind, shown: None }
    }
}

impl Behavior {
    fn next(&self, shown: Option<i64>, dice: &mut Xorshift) -> i64 {
        match (self, shown) {
            (Self::Switch, None) => 1,
            (Self::Switch, Some(on)) if dice.one_in(40) => 1 - on,
            (Self::Number { min, max }, None) => min.midpoint(*max),
            (Self::Number { min, max }, Some(at)) if dice.one_in(3) => {
                let step = (max.saturating_sub(*min) / 50).max(1);
                at.saturating_add(dice.between(-step, step)).clamp(*min, *max)
            }
            (Self::Choice(range), Some(_)) if dice.one_in(30) => dice.between(0, range.len() as i64 - 1),
            (Self::Faults, Some(0)) if dice.one_in(1000) => 1,
            (Self::Faults, Some(1)) if dice.one_in(20) => 0,
            (_, shown) => shown.unwrap_or(0),
        }
    }

    /// The number for which [`Behavior::value`] returns this value; 0 for a constant text.
    fn shown(&self, value: &Value) -> Option<i64> {
        match self {
            Self::Switch => Some(i64::from(value.as_json() == "true")),
            Self::Number { .. } | Self::Faults => value.as_json().parse().ok(),
            Self::Choice(range) => i64::try_from(range.iter().position(|choice| **choice == *value.as_json())?).ok(),
            Self::Text(_) => Some(0),
        }
    }

    fn value(&self, shown: i64) -> Option<Value> {
        match self {
            Self::Switch => Value::from_json(if shown == 1 { "true" } else { "false" }),
            Self::Number { .. } | Self::Faults => Value::from_json(shown.to_string()),
            Self::Choice(range) => {
                let choice = usize::try_from(shown).ok().and_then(|index| range.get(index))?;
                Value::from_json(choice.clone())
            }
            Self::Text(text) => Value::from_json(*text),
        }
    }
}

/// A xorshift random number generator, which is sufficient for a simulation.
struct Xorshift(u64);

impl Xorshift {
    fn seeded(device: DeviceNo) -> Self {
        Self(crate::random::number().unwrap_or_default() ^ device.0.unsigned_abs() | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        low.saturating_add_unsigned(self.roll() % span)
    }
}
