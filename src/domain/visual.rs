//! The visual login: an account's password opens some of its devices, each with a token of its own (seed 001; contract
//! aliyun §7).

use std::net::IpAddr;
use std::sync::Arc;

use super::device::FactoryName;
use super::login::counted;
use super::password::Password;
use super::user::{Account, compared_name};
use super::{Cloud, Device, DeviceState, Error, EventPage, EventQuery, Noun, Result, Uid};

/// How long a token lives.
pub const VISUAL_TOKEN_LIFE_MS: i64 = 3600 * 1000;
/// How far the clock of one who checks a token may be off.
pub const VISUAL_LEEWAY_MS: i64 = 60 * 1000;
/// Devices that one login may name.
pub const VISUAL_DEVICES_MAX: usize = 100;

/// A key of visual tokens. No `Debug`: it holds the private half.
#[derive(Clone)]
pub struct VisualKey {
    /// Its name in a token's header.
    pub kid: String,
    /// The private half, PKCS#8 in DER.
    pub private: Vec<u8>,
    /// The public half: the point on P-256, uncompressed, 65 bytes.
    pub public: Vec<u8>,
    /// When it was replaced, milliseconds since 1970; `None` for the one that signs.
    pub retired_ms: Option<i64>,
}

/// Proof that an account may see a device. Only a login or a token makes one.
#[derive(Clone)]
pub struct Access {
    /// The account.
    pub account: Account,
    /// The device, as the account's project sees it.
    pub device: Arc<Device>,
    /// Which grant of access this is: a text that is never the same again after an unbinding, another password, or the
    /// disablement of account or device.
    pub version: String,
}

/// Why there was no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// No such account, or not its password, or a device that does not exist or is not the account's. They are never
    /// told apart: two projects may have accounts of one name, and what fails would say which of them has a device.
    Denied,
    /// Too many failures of this account from this address, of either in all, in this minute.
    TooMany,
}

impl Cloud {
    /// Checks a password and gives access to the devices named, to all or to none. An unknown account takes as long
    /// as a wrong password.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::OutOfRange`] for a list of none or too many; [`Error::Busy`] when too many
    /// passwords are being checked.
    pub async fn visual_login(
        &self,
        username: &str,
        password: String,
        devices: &[FactoryName],
        address: IpAddr,
    ) -> Result<std::result::Result<Vec<Access>, LoginRefusal>> {
        if devices.is_empty() {
            return Err(Error::Missing("deviceList"));
        }
        if devices.len() > VISUAL_DEVICES_MAX {
            let allowed = format!("at most {VISUAL_DEVICES_MAX} devices");
            return Err(Error::OutOfRange { param: "deviceList", allowed });
        }
        let now_ms = self.now_ms();
        let name = compared_name(username);
        let keys = counted(&self.limits, None, &name, address);
        // Those under way are not counted yet; the store checks only so many passwords at once.
        if !self.logins.allow(&keys, now_ms) {
            return Ok(Err(LoginRefusal::TooMany));
        }
        let granted = match self.registry.user_by_password(username, Password::Clear(password), devices).await? {
            Some(account) => self.access_to_all(&account, devices).await?,
            None => None,
        };
        let Some(granted) = granted else {
            self.logins.failed(&keys, now_ms);
            return Ok(Err(LoginRefusal::Denied));
        };
        if let Some(access) = granted.first() {
            self.registry.note_login(&access.account.uid, now_ms).await?;
        }
        Ok(Ok(granted))
    }

    /// Access to all of these or to none; also none when the password was changed since it was checked.
    async fn access_to_all(&self, account: &Account, devices: &[FactoryName]) -> Result<Option<Vec<Access>>> {
        let mut granted = Vec::with_capacity(devices.len());
        for name in devices {
            match self.registry.access(&account.uid, name).await? {
                Some(access) if access.account == *account => granted.push(access),
                _ => return Ok(None),
            }
        }
        Ok(Some(granted))
    }

    /// The access that a proven token carries, as long as nothing ended it.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`].
    pub async fn granted(&self, uid: &Uid, name: &FactoryName, version: &str) -> Result<Access> {
        let access = self.registry.access(uid, name).await?;
        access.filter(|access| access.version == version).ok_or(Error::TokenInvalid)
    }

    /// The device of an access and what it last said.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn accessed_device(&self, access: &Access) -> Result<DeviceState> {
        let state = self.with_state([access.device.clone()]).await?.pop();
        state.ok_or(Error::NotVisible(Noun::Device))
    }

    /// A page of the log of an access's device.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn accessed_events(&self, access: &Access, query: EventQuery) -> Result<EventPage> {
        let query = self.within_history(&access.device, query);
        self.telemetry.page(None, access.device.no, &query).await
    }

    /// The keys whose tokens may still live, the one that signs first. The first call makes it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn visual_keys(&self) -> Result<Vec<VisualKey>> {
        self.registry.visual_keys(self.now_ms(), VISUAL_TOKEN_LIFE_MS + VISUAL_LEEWAY_MS).await
    }

    /// Signs with a new key from now on; the old one stays published until its last token is gone. The new key's name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rotate_visual_key(&self) -> Result<String> {
        self.registry.rotate_visual_key(self.now_ms(), VISUAL_TOKEN_LIFE_MS + VISUAL_LEEWAY_MS).await
    }
}
