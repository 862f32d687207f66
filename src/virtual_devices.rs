//! Devices that the server plays itself, through the same calls of the cloud that a real device's session uses.
//! `ingle demo` lives from them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::domain::command::{Command, Undelivered};
use crate::domain::row_time::ReportTime;
use crate::domain::{Access, Cloud, Device, DeviceNo, Downlink, Function, FunctionType, Result, Value};
use crate::shutdown::Shutdown;

/// Virtual devices that are played at once.
const DEVICES_MAX: usize = 1000;
/// Between two rounds of reports.
const ROUND: Duration = Duration::from_secs(2);
/// What is sent down and waits to be played.
const WAITING_MAX: usize = 64;

/// The way down to virtual devices.
pub struct VirtualDownlink(mpsc::Sender<Sent>);

/// What comes down to them.
pub struct Waiting(mpsc::Receiver<Sent>);

enum Sent {
    /// The device was taken from its users.
    Left(DeviceNo),
    /// It is to do something, and to say what came of it.
    Command(DeviceNo, Command, oneshot::Sender<String>),
}

/// Both ends of the way down.
pub fn downlink() -> (VirtualDownlink, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (VirtualDownlink(sender), Waiting(receiver))
}

#[async_trait]
impl Downlink for VirtualDownlink {
    async fn end_session(&self, device: DeviceNo) {
        // A full queue loses nothing: the next round does not find the device any more.
        let _ = self.0.try_send(Sent::Left(device));
    }

    async fn command(&self, device: &Arc<Device>, command: Command) -> std::result::Result<String, Undelivered> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(Sent::Command(device.no, command, sender)).map_err(|_| Undelivered::Busy)?;
        answer.await.map_err(|_| Undelivered::Offline)
    }
}

/// Plays every virtual device of the cloud until the shutdown begins, then disconnects them.
pub async fn play(cloud: Arc<Cloud>, mut waiting: Waiting, mut shutdown: Shutdown) {
    let mut players: HashMap<DeviceNo, Player> = HashMap::new();
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if let Err(error) = round(&cloud, &mut players).await {
                    tracing::warn!(%error, "a round of the virtual devices failed");
                }
            }
            Some(sent) = waiting.0.recv() => match sent {
                Sent::Left(no) => {
                    if let Some(player) = players.remove(&no) {
                        disconnect(&cloud, &player.device).await;
                    }
                }
                Sent::Command(no, command, answer) => {
                    if let Some(player) = players.get_mut(&no) {
                        obey(&cloud, player, command).await;
                        let _ = answer.send("{}".to_owned());
                    }
                }
            },
            () = shutdown.begun() => break,
        }
    }
    for player in players.values() {
        disconnect(&cloud, &player.device).await;
    }
}

async fn disconnect(cloud: &Cloud, device: &Device) {
    if let Err(error) = cloud.disconnected(device, || false).await {
        tracing::warn!(%error, "a virtual device could not be disconnected");
    }
}

/// Takes the values of a command and reports them, as a real device would. A service does nothing.
async fn obey(cloud: &Cloud, player: &mut Player, command: Command) {
    let Command::Set(setpoints) = command else { return };
    let now_ms = cloud.now_ms();
    for (code, value) in &setpoints {
        if let Some(playing) = player.values.iter_mut().find(|playing| playing.code == *code) {
            playing.shown = playing.kind.shown(value);
        }
    }
    let points = setpoints.into_iter().map(|(code, value)| (code, value, ReportTime::Live(now_ms))).collect();
    if let Err(error) = cloud.report(&player.device, points).await {
        tracing::warn!(%error, "a virtual device could not report what it was told");
    }
}

async fn round(cloud: &Cloud, players: &mut HashMap<DeviceNo, Player>) -> Result<()> {
    let devices = cloud.virtual_devices(DEVICES_MAX).await?;
    let known: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
    let gone: Vec<DeviceNo> = players.keys().filter(|no| !known.contains(no)).copied().collect();
    for player in gone.iter().filter_map(|no| players.remove(no)) {
        cloud.disconnected(&player.device, || false).await?;
    }
    for device in devices {
        if let Entry::Vacant(place) = players.entry(device.no) {
            cloud.connected(&device, || true).await?;
            place.insert(Player::new(device));
        }
    }
    for player in players.values_mut() {
        let now_ms = cloud.now_ms();
        let changed =
            player.changes().into_iter().map(|(code, value)| (code, value, ReportTime::Live(now_ms))).collect();
        cloud.report(&player.device, changed).await?;
    }
    Ok(())
}

/// One device and what it shows.
struct Player {
    device: Device,
    values: Vec<Playing>,
    dice: Dice,
}

struct Playing {
    code: Arc<str>,
    kind: Play,
    shown: Option<i64>,
}

/// How the value of a function moves.
enum Play {
    /// Stays, and now and then flips.
    Switch,
    /// Wanders between two bounds.
    Number { min: i64, max: i64 },
    /// Now and then another of these JSON texts.
    Choice(Vec<Box<str>>),
    /// Never changes from this JSON text.
    Text(&'static str),
    /// No fault, nearly always.
    Faults,
}

impl Player {
    fn new(device: Device) -> Self {
        let reported = device.product.functions.iter().filter(|function| function.access != Access::WriteOnly);
        let values = reported.map(Playing::new).collect();
        let dice = Dice::seeded(device.no);
        Self { device, values, dice }
    }

    /// The values that changed since the last round; all of them in the first.
    fn changes(&mut self) -> Vec<(Arc<str>, Value)> {
        let dice = &mut self.dice;
        let changed = self.values.iter_mut().filter_map(|playing| {
            let next = playing.kind.next(playing.shown, dice);
            (playing.shown != Some(next)).then(|| {
                playing.shown = Some(next);
                Some((playing.code.clone(), playing.kind.value(next)?))
            })
        });
        changed.flatten().collect()
    }
}

impl Playing {
    fn new(function: &Function) -> Self {
        let bounds = &function.bounds;
        let kind = match function.kind {
            FunctionType::Boolean => Play::Switch,
            FunctionType::Integer => {
                let min = bounds.min.unwrap_or(0);
                Play::Number { min, max: bounds.max.unwrap_or(100).max(min) }
            }
            FunctionType::Enum if !bounds.range.is_empty() => Play::Choice(bounds.range.clone()),
            FunctionType::Bitmap => Play::Faults,
            FunctionType::Float | FunctionType::Double if bounds.decimal.scale.is_some() => {
                let bound = |number: Option<f64>, usual| bounds.decimal.scaled(number.unwrap_or(usual)).unwrap_or(0);
                let min = bound(bounds.decimal.min, 0.0);
                Play::Number { min, max: bound(bounds.decimal.max, 100.0).max(min) }
            }
            FunctionType::Float | FunctionType::Double | FunctionType::Date => Play::Text("\"0\""),
            FunctionType::Struct => Play::Text("{}"),
            FunctionType::Enum | FunctionType::String | FunctionType::Json | FunctionType::Raw => Play::Text("\"\""),
        };
        Self { code: Arc::from(function.code.as_str()), kind, shown: None }
    }
}

impl Play {
    fn next(&self, shown: Option<i64>, dice: &mut Dice) -> i64 {
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

    /// What [`Play::value`] gives this value for; 0 for a text, which stays as it is.
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

/// Chance that is good enough to play with: xorshift.
struct Dice(u64);

impl Dice {
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
