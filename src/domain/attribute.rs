//! Attributes of a device: tags, firmware versions and the shadow document; and desired values.

use super::command::Setpoint;
use super::{Cloud, Device, Error, EventSource, EventType, NewEvent, Result, Value};

/// The maximal number of attributes of one kind.
pub const ATTRIBUTES_MAX: usize = 128;
/// The maximal length of a key.
pub const KEY_BYTES_MAX: usize = 64;
/// The maximal length of a shadow document.
pub const LONG_BYTES_MAX: usize = 16 * 1024;
/// The maximal length of any other text.
pub const TEXT_BYTES_MAX: usize = 512;

/// The kinds of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// A text that the device reports in addition to its values.
    Tag,
    /// The version of a part of its firmware.
    Firmware,
    /// The shadow, a JSON document under one key.
    Shadow,
}

impl AttributeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tag, Self::Firmware, Self::Shadow];
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The key, unique among the attributes of its kind.
    pub key: String,
    /// The text.
    pub text: String,
    /// The number of changes, from 1.
    pub version: i64,
}

/// A desired value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The code of the function.
    pub code: String,
    /// The value.
    pub value: Value,
    /// The number of changes, from 1.
    pub version: i64,
    /// When it expires, milliseconds since 1970.
    pub until_ms: i64,
    /// Whether the server sends it when the device connects; otherwise the device reads it.
    pub is_pushed: bool,
}

/// Codes of desired values, each with the version that a value must have if one is given.
pub type DesiredVersions = Vec<(String, Option<i64>)>;

/// A change of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeChange {
    /// The key.
    pub key: String,
    /// The new text; `None` removes the attribute.
    pub text: Option<String>,
    /// Change it only if it has this version (0 if it does not exist).
    pub from_version: Option<i64>,
}

impl AttributeChange {
    /// Sets an attribute unconditionally.
    pub fn set(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: Some(text.into()), from_version: None }
    }

    /// Removes an attribute unconditionally.
    pub fn remove(key: impl Into<String>) -> Self {
        Self { key: key.into(), text: None, from_version: None }
    }
}

impl Cloud {
    /// The attributes of a device, in the order of their keys.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn attributes(&self, device: &Device, kind: AttributeKind) -> Result<Vec<Attribute>> {
        self.registry.attributes(device, kind).await
    }

    /// Changes attributes of a device, all or none. `false` if there would be too many, one is too long, or one has
    /// another version than required.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn change_attributes(
        &self,
        device: &Device,
        kind: AttributeKind,
        changes: Vec<AttributeChange>,
    ) -> Result<bool> {
        let bytes_max = match kind {
            AttributeKind::Tag | AttributeKind::Firmware => TEXT_BYTES_MAX,
            AttributeKind::Shadow => LONG_BYTES_MAX,
        };
        let fits = |change: &AttributeChange| {
            (1..=KEY_BYTES_MAX).contains(&change.key.len())
                && change.text.as_ref().is_none_or(|text| text.len() <= bytes_max)
        };
        if changes.len() > ATTRIBUTES_MAX || !changes.iter().all(fits) {
            return Ok(false);
        }
        self.registry.change_attributes(device, kind, changes, ATTRIBUTES_MAX).await
    }

    /// Stores the firmware versions of a device, and writes each change to the event log.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn store_firmware(&self, device: &Device, versions: Vec<(String, String)>) -> Result<bool> {
        let known = self.registry.attributes(device, AttributeKind::Firmware).await?;
        let is_new = |(part, version): &&(String, String)| {
            !known.iter().any(|attribute| attribute.key == *part && attribute.text == *version)
        };
        let row = |(_, version): &(String, String)| NewEvent {
            value: Value::from_json(json_text(version)),
            ..self.row_now(device, EventType::Firmware, EventSource::DEVICE)
        };
        let rows: Vec<NewEvent> = versions.iter().filter(is_new).map(row).collect();
        let is_short = |(part, version): &(String, String)| {
            (1..=KEY_BYTES_MAX).contains(&part.len()) && version.len() <= TEXT_BYTES_MAX
        };
        if known.len() + versions.len() > ATTRIBUTES_MAX || !versions.iter().all(is_short) {
            return Ok(false);
        }
        // Write to the event log first: a repeated row is better than a missing one.
        if !rows.is_empty() {
            self.log(rows).await?;
        }
        let changes = versions.into_iter().map(|(part, version)| AttributeChange::set(part, version)).collect();
        self.change_attributes(device, AttributeKind::Firmware, changes).await
    }

    /// The desired values of each device that have not expired, in the order of `devices`.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn desired(&self, devices: &[&Device]) -> Result<Vec<Vec<Desired>>> {
        let mut desired = self.registry.desired(devices).await?;
        let now_ms = self.now_ms();
        desired.iter_mut().for_each(|desired| desired.retain(|desired| desired.until_ms > now_ms));
        Ok(desired)
    }

    /// Removes desired values of devices by code. If a version is given, a value with another version remains, because
    /// it is newer.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn remove_desired(&self, values: &[(&Device, DesiredVersions)]) -> Result<()> {
        self.registry.remove_desired(values).await
    }

    pub(super) async fn store_desired_values(
        &self,
        device: &Device,
        setpoints: Vec<Setpoint>,
        until_ms: i64,
        is_pushed: bool,
    ) -> Result<()> {
        let noted =
            self.registry.put_desired(device, setpoints, until_ms, is_pushed, self.now_ms(), ATTRIBUTES_MAX).await?;
        noted.then_some(()).ok_or(Error::Busy("the device has too many values that it should take"))
    }
}

/// A text as a JSON string, without its control characters.
fn json_text(text: &str) -> String {
    serde_json::Value::from(text.replace(char::is_control, "")).to_string()
}
