//! Commands: what is wished of a device, on its way down to it (contract tuya §4.2, §6.3; aliyun §5 rows 3, 4).

use std::sync::Arc;

use super::caller::source;
use super::event::CODE_BYTES_MAX;
use super::product::Function;
use super::{Access, Cloud, Device, DeviceId, Error, EventSource, EventType, NewEvent, Requester, Result, Value};

/// Wishes that one call may carry.
pub const SETPOINTS_MAX: usize = 100;

/// A setpoint for a value: code and value.
pub type Setpoint = (Arc<str>, Value);

/// What is sent down to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To take these values.
    Set(Vec<Setpoint>),
    /// To do something and to say what came of it: a service of one vendor, an action of the other.
    Do {
        /// The service.
        name: String,
        /// What it needs: a JSON object or list.
        input: Value,
    },
}

/// Why a command did not reach its device, or nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Nobody is there.
    Offline,
    /// The device has too much under way.
    Busy,
    /// It did not answer in time.
    NoAnswer,
    /// It said that it will not.
    Refused,
    /// It is connected, and subscribed to nothing that covers the command.
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
    /// Sends values down to a device. The log keeps each as a command before it goes.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`Device::held_elsewhere`]; [`Error::CommandNotSupported`];
    /// [`Error::Offline`]; [`Error::Busy`]. Nothing was sent then.
    pub async fn set_values(&self, who: &impl Requester, id: &DeviceId, setpoints: Vec<Setpoint>) -> Result<()> {
        let device = self.device_at_home(who, id).await?;
        let setpoints = checked_setpoints(&device, setpoints)?;
        self.command(source(who), &device, Command::Set(setpoints)).await.map(drop)
    }

    /// Has a device do something, and waits for what comes of it: JSON text.
    ///
    /// # Errors
    /// As [`Cloud::set_values`], and [`Error::NoAnswer`].
    pub async fn invoke(&self, who: &impl Requester, id: &DeviceId, name: &str, input: Value) -> Result<String> {
        let device = self.device_at_home(who, id).await?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > CODE_BYTES_MAX || !name.bytes().all(is_plain) {
            let allowed = format!("1 to {CODE_BYTES_MAX} letters, digits, '_', '-' and '.'");
            return Err(Error::OutOfRange { param: "identifier", allowed });
        }
        self.command(source(who), &device, Command::Do { name: name.to_owned(), input }).await
    }

    async fn command(&self, source: EventSource, device: &Arc<Device>, command: Command) -> Result<String> {
        if !self.is_online(device.no) {
            return Err(Error::Offline);
        }
        self.log(rows(&self.row_now(device, EventType::Command, source), &command)).await?;
        Ok(self.downlink.command(device, command).await?)
    }

    /// Notes what a device should be, for as long as `for_ms`: it is told at once or when it next connects, or asks itself.
    ///
    /// # Errors
    /// [`Error::NotVisible`], [`Error::CommandNotSupported`].
    pub async fn set_desired_values(
        &self,
        who: &impl Requester,
        id: &DeviceId,
        setpoints: Vec<Setpoint>,
        for_ms: i64,
        is_told: bool,
    ) -> Result<()> {
        let device = self.device_at_home(who, id).await?;
        let setpoints = checked_setpoints(&device, setpoints)?;
        if is_told && self.is_online(device.no) {
            match self.command(source(who), &device, Command::Set(setpoints.clone())).await {
                // It does not listen, or no longer: it is told once it does.
                Err(Error::Offline) => {}
                told => return told.map(drop),
            }
        }
        self.store_desired_values(&device, setpoints, self.now_ms().saturating_add(for_ms), is_told).await
    }
}

/// Each command is a row: the wished values by their codes, a service by its name.
fn rows(row: &NewEvent, command: &Command) -> Vec<NewEvent> {
    let row = |(code, value): (Arc<str>, Value)| NewEvent { code: Some(code), value: Some(value), ..row.clone() };
    match command {
        Command::Set(setpoints) => setpoints.iter().cloned().map(row).collect(),
        Command::Do { name, input } => vec![row((Arc::from(name.as_str()), input.clone()))],
    }
}

/// The values in the form in which their functions have them.
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
