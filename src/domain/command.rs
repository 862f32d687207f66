//! Commands that are sent to devices (contract tuya §4.2, §6.3; aliyun §5 rows 3, 4).

use std::sync::Arc;

use super::caller::source;
use super::event::CODE_BYTES_MAX;
use super::product::Function;
use super::{Access, Cloud, Device, DeviceId, Error, EventSource, EventType, NewEvent, Requester, Result, Value};

/// The maximal number of setpoints in one call.
pub const SETPOINTS_MAX: usize = 100;

/// A setpoint: code and value.
pub type Setpoint = (Arc<str>, Value);

/// A command for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Set these values.
    Set(Vec<Setpoint>),
    /// Call a service and return its result. Tuya calls it an action.
    Do {
        /// The name of the service.
        name: String,
        /// Its input: a JSON object or list.
        input: Value,
    },
}

/// Why a command was not delivered or got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The device is not connected.
    Offline,
    /// Too many commands to the device are waiting.
    Busy,
    /// The device did not answer in time.
    NoAnswer,
    /// The device refused the command.
    Refused,
    /// The device is connected, but has no subscription that matches the command.
    NotSubscribed,
}

impl From<Undelivered> for Error {
    fn from(why: Undelivered) -> Self {
        match why {
            Undelivered::Offline | Undelivered::NotSubscribed => Self::Offline,
            Undelivered::Busy => Self::Busy("the device has too many commands under way"),
            Undelivered::NoAnswer => Self::NoAnswer,
            Undelivered::Refused => Self::CommandNotSupported("the device refused".to_owned()),
        }
    }
}

impl Cloud {
    /// Sends values to a device. Each is written to the event log before it is sent.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`Device::held_elsewhere`]; [`Error::CommandNotSupported`];
    /// [`Error::Offline`]; [`Error::Busy`]. Nothing was sent then.
    pub async fn set_values(&self, requester: &impl Requester, id: &DeviceId, setpoints: Vec<Setpoint>) -> Result<()> {
        let device = self.device_at_home(requester, id).await?;
        let setpoints = checked_setpoints(&device, setpoints)?;
        self.command(source(requester), &device, Command::Set(setpoints)).await.map(drop)
    }

    /// Calls a service of a device and waits for its result: JSON text.
    ///
    /// # Errors
    /// As [`Cloud::set_values`], and [`Error::NoAnswer`].
    pub async fn invoke(&self, requester: &impl Requester, id: &DeviceId, name: &str, input: Value) -> Result<String> {
        let device = self.device_at_home(requester, id).await?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > CODE_BYTES_MAX || !name.bytes().all(is_plain) {
            let allowed = format!("1 to {CODE_BYTES_MAX} letters, digits, '_', '-' and '.'");
            return Err(Error::OutOfRange { param: "identifier", allowed });
        }
        self.command(source(requester), &device, Command::Do { name: name.to_owned(), input }).await
    }

    async fn command(&self, source: EventSource, device: &Arc<Device>, command: Command) -> Result<String> {
        if !self.is_online(device.no).await? {
            return Err(Error::Offline);
        }
        self.log(rows(&self.row_now(device, EventType::Command, source), &command)).await?;
        Ok(self.downlink.command(device, command).await?)
    }

    /// Stores desired values for `for_ms`. They are sent to the device at once or when it connects, or the device reads
    /// them.
    ///
    /// # Errors
    /// [`Error::NotVisible`], [`Error::CommandNotSupported`].
    pub async fn set_desired_values(
        &self,
        requester: &impl Requester,
        id: &DeviceId,
        setpoints: Vec<Setpoint>,
        for_ms: i64,
        is_pushed: bool,
    ) -> Result<()> {
        let device = self.device_at_home(requester, id).await?;
        let setpoints = checked_setpoints(&device, setpoints)?;
        if is_pushed && self.is_online(device.no).await? {
            match self.command(source(requester), &device, Command::Set(setpoints.clone())).await {
                // The device is not connected or not subscribed. The values are sent when it is.
                Err(Error::Offline) => {}
                answered => return answered.map(drop),
            }
        }
        self.store_desired_values(&device, setpoints, self.now_ms().saturating_add(for_ms), is_pushed).await
    }
}

/// The rows of a command: one for each setpoint with its code, or one for a service with its name.
fn rows(row: &NewEvent, command: &Command) -> Vec<NewEvent> {
    let row = |(code, value): (Arc<str>, Value)| NewEvent { code: Some(code), value: Some(value), ..row.clone() };
    match command {
        Command::Set(setpoints) => setpoints.iter().cloned().map(row).collect(),
        Command::Do { name, input } => vec![row((Arc::from(name.as_str()), input.clone()))],
    }
}

/// The setpoints with their values in the normal form of their functions.
fn checked_setpoints(device: &Device, mut setpoints: Vec<Setpoint>) -> Result<Vec<Setpoint>> {
    if setpoints.is_empty() {
        return Err(Error::Missing("a code with its value"));
    }
    if setpoints.len() > SETPOINTS_MAX {
        return Err(Error::OutOfRange { param: "commands", allowed: format!("at most {SETPOINTS_MAX}") });
    }
    for (code, value) in &mut setpoints {
        let refuse = |text: String| Err(Error::CommandNotSupported(text));
        let Some(function) = device.product.function(code) else {
            return refuse(format!("the product has no function {:?}", &**code));
        };
        if function.access == Access::ReadOnly {
            return refuse(format!("{:?} is only reported", &**code));
        }
        if !function.accepts_normalized(value) {
            return refuse(explain(function));
        }
    }
    Ok(setpoints)
}

fn explain(function: &Function) -> String {
    format!("{:?} takes a {:?} within {}", function.code, function.kind, function.values)
}
