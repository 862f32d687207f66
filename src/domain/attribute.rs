//! What is kept of a device under a key: its tags, the versions of its firmware, its shadow; and the values that it should
//! take.

use super::command::Setpoint;
use super::{Cloud, Device, Error, EventSource, EventType, NewEvent, Result, Value};

/// Keys of one kind that a device may have.
pub const ATTRIBUTES_MAX: usize = 128;
/// A key may be this long.
pub const KEY_BYTES_MAX: usize = 64;
/// A shadow may be this long.
pub const LONG_BYTES_MAX: usize = 16 * 1024;
/// Any other text may be this long.
pub const TEXT_BYTES_MAX: usize = 512;

/// Kinds of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// What the device says of itself beside its values.
    Tag,
    /// The version of a part of its firmware.
    Firmware,
    /// Its shadow, a JSON document under one key.
    Shadow,
}

impl AttributeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tag, Self::Firmware, Self::Shadow];
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name among those of its kind.
    pub key: String,
    /// What it says.
    pub text: String,
    /// How often it was changed, from 1.
    pub version: i64,
}

/// A value that a device should take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Of which function.
    pub code: String,
    /// The value.
    pub value: Value,
    /// How often it was changed, from 1.
    pub version: i64,
    /// When it no longer matters, milliseconds since 1970.
    pub until_ms: i64,
    /// Whether the device is told when it connects; otherwise it asks.
    pub is_told: bool,
}

/// A change of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeChange {
    /// Which.
    pub key: String,
    /// What it says from now on; `None` to forget it.
    pub text: Option<String>,
    /// Only from this version on (0 for a attribute that is not there).
    pub from_version: Option<i64>,
}

impl AttributeChange {
    /// Sets a attribute, whatever it was.
    pub fn set(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: Some(text.into()), from_version: None }
    }

    /// Forgets a attribute, whatever it was.
    pub fn forget(key: impl Into<String>) -> Self {
        Self { key: key.into(), text: None, from_version: None }
    }
}

impl Cloud {
    /// The attributes of a device, in the order of their keys.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn attributes(&self, device: &Device, kind: AttributeKind) -> Result<Vec<Attribute>> {
        self.registry.attributes(device.no, kind).await
    }

    /// Changes attributes of a device, all of them or none. `false` when there would be too many, one of them is too long,
    /// or of another version.
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
        let known = self.registry.attributes(device.no, kind).await?;
        let is_known = |change: &AttributeChange| {
            let found = known.iter().find(|attribute| attribute.key == change.key);
            change.from_version.is_none() && found.map(|attribute| &attribute.text) == change.text.as_ref()
        };
        // A device says the same at every start, and a write makes everybody read anew.
        if changes.iter().all(is_known) {
            return Ok(true);
        }
        self.registry.change_attributes(device.no, kind, changes, ATTRIBUTES_MAX).await
    }

    /// Notes the versions of a device's firmware; the log keeps each change.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn note_firmware(&self, device: &Device, versions: Vec<(String, String)>) -> Result<bool> {
        let known = self.registry.attributes(device.no, AttributeKind::Firmware).await?;
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
        // The log first: a row that comes twice is better than one that never comes.
        if !rows.is_empty() {
            self.log(rows).await?;
        }
        let changes = versions.into_iter().map(|(part, version)| AttributeChange::set(part, version)).collect();
        self.change_attributes(device, AttributeKind::Firmware, changes).await
    }

    /// The values that a device should take, but for those whose time is over.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn desired(&self, device: &Device) -> Result<Vec<Desired>> {
        let mut desired = self.registry.desired(device.no).await?;
        let now_ms = self.now_ms();
        desired.retain(|desired| desired.until_ms > now_ms);
        Ok(desired)
    }

    /// Removes values that a device should take, by code. One of another version than the given one has been replaced by
    /// a newer one, and stays.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn forget_desired(&self, device: &Device, mut versions: Vec<(String, Option<i64>)>) -> Result<()> {
        // A write has a price for everybody, so nothing is written where nothing would change.
        let known = self.registry.desired(device.no).await?;
        versions.retain(|(code, version)| {
            let found = known.iter().find(|known| known.code == *code);
            found.is_some_and(|known| version.is_none_or(|version| version == known.version))
        });
        match versions.is_empty() {
            true => Ok(()),
            false => self.registry.forget_desired(device.no, versions).await,
        }
    }

    pub(super) async fn store_desired_values(
        &self,
        device: &Device,
        setpoints: Vec<Setpoint>,
        until_ms: i64,
        is_told: bool,
    ) -> Result<()> {
        let noted =
            self.registry.put_desired(device.no, setpoints, until_ms, is_told, self.now_ms(), ATTRIBUTES_MAX).await?;
        noted.then_some(()).ok_or(Error::Busy("the device has too many values that it should take"))
    }
}

/// A text as a JSON string. Only letters that need no more than a backslash are left in it.
fn json_text(text: &str) -> String {
    let plain = text.chars().filter(|char| !char.is_control());
    let escaped: String =
        plain.flat_map(|char| ['"', '\\'].contains(&char).then_some('\\').into_iter().chain([char])).collect();
    format!("\"{escaped}\"")
}
