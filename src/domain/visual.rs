//! The visual login: an account's password gives access to some of its devices, with a token for each (contract aliyun
//! §7).

use std::net::IpAddr;
use std::sync::Arc;

use super::device::FactoryName;
use super::login::counted;
use super::password::Password;
use super::user::{Account, compared_name};
use super::{Cloud, Device, DeviceState, DurationMs, Error, EventPage, EventQuery, Noun, Result, Uid};

/// The lifetime of a token.
pub const VISUAL_TOKEN_LIFE: DurationMs = DurationMs(3600 * 1000);
/// The tolerated difference between the clocks of issuer and verifier.
pub const VISUAL_LEEWAY: DurationMs = DurationMs(60 * 1000);
/// The maximal number of devices in one login.
pub const VISUAL_DEVICES_MAX: usize = 100;

/// A key pair for visual tokens. No `Debug`: it holds the private key.
#[derive(Clone)]
pub struct VisualKey {
    /// Its name in the header of a token.
    pub kid: String,
    /// The private key, PKCS#8 in DER.
    pub private: Vec<u8>,
    /// The public key: the point on P-256, uncompressed, 65 bytes.
    pub public: Vec<u8>,
    /// When it was replaced, milliseconds since 1970; `None` for the current key.
    pub retired_ms: Option<i64>,
}

/// Proof that an account may access a device. Only a login or a valid token creates one.
#[derive(Clone)]
pub struct Access {
    /// The account.
    pub account: Account,
    /// The device, as the account's project sees it.
    pub device: Arc<Device>,
    /// The version of this access: a text that changes with every unbinding, with a new password, and when account or
    /// device are disabled. It is never repeated.
    pub version: String,
}

/// Why a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// The account does not exist, the password is wrong, or a device does not exist or is not the account's. These
    /// cases are not distinguished: two projects may have accounts with the same name, and the difference would reveal
    /// which of them has a device.
    Denied,
    /// Too many failed logins in this minute: of the account from this address, or of the account or the address in
    /// total.
    TooMany,
}

impl Cloud {
    /// Checks a password and gives access to all given devices or to none. The check takes as long for an unknown
    /// account as for a wrong password.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::OutOfRange`] for an empty or too long list; [`Error::Busy`] if too many passwords
    /// are being checked.
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
        // Concurrent attempts are not counted yet, but the store limits how many passwords it checks at once.
        if !self.attempts.allow(&keys, now_ms).await? {
            return Ok(Err(LoginRefusal::TooMany));
        }
        let granted = match self.registry.user_by_password(username, Password::Clear(password), devices).await? {
            Some(account) => self.access_to_all(&account, devices).await?,
            None => None,
        };
        let Some(granted) = granted else {
            self.attempts.failed(&keys, now_ms).await?;
            return Ok(Err(LoginRefusal::Denied));
        };
        if let Some(access) = granted.first() {
            self.registry.record_login(&access.account.uid, now_ms).await?;
        }
        Ok(Ok(granted))
    }

    /// Access to all of these devices or to none; also none if the password was changed since it was checked.
    async fn access_to_all(&self, account: &Account, devices: &[FactoryName]) -> Result<Option<Vec<Access>>> {
        let accesses = self.registry.accesses(&account.uid, devices).await?.into_iter();
        Ok(accesses.map(|access| access.filter(|access| access.account == *account)).collect())
    }

    /// The access of a token whose signature was checked, if it was not revoked.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`].
    pub async fn granted(&self, uid: &Uid, name: &FactoryName, version: &str) -> Result<Access> {
        let access = self.registry.accesses(uid, std::slice::from_ref(name)).await?.pop().flatten();
        access.filter(|access| access.version == version).ok_or(Error::TokenInvalid)
    }

    /// The device of an access with its presence and latest values.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn accessed_device(&self, access: &Access) -> Result<DeviceState> {
        let state = self.with_state([access.device.clone()]).await?.pop();
        state.ok_or(Error::NotVisible(Noun::Device))
    }

    /// A page of the log of the device.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn accessed_events(&self, access: &Access, query: EventQuery) -> Result<EventPage> {
        let query = self.within_history(&access.device, query);
        self.telemetry.page(None, access.device.no, &query).await
    }

    /// The keys whose tokens may still be valid, the current key first. The first call creates it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn visual_keys(&self) -> Result<Vec<VisualKey>> {
        self.registry.visual_keys(self.now_ms(), VISUAL_TOKEN_LIFE + VISUAL_LEEWAY).await
    }

    /// Replaces the current key by a new one. The old one remains published until its last token expires. Returns the
    /// name of the new key.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rotate_visual_key(&self) -> Result<String> {
        self.registry.rotate_visual_key(self.now_ms(), VISUAL_TOKEN_LIFE + VISUAL_LEEWAY).await
    }
}
