//! Pairing: a user requests a token, and a device that redeems it becomes the user's (contract tuya §4.2; aliyun §6.8;
//! decision 0010).

use std::sync::Arc;

use super::access::{DeviceRole, seen_as};
use super::device::Removal;
use super::home::HomeRole;
use super::ownership::Placement;
use super::{
    Cloud, Device, DeviceNo, DeviceState, DurationMs, Error, EventSource, EventType, HomeId, NewEvent, Noun, ProjectNo,
    Requester, Result, Uid, UserNo,
};

/// The time after which a token expires.
pub const PAIRING_LIFE: DurationMs = DurationMs(300 * 1000);
/// The time for which the result of a token is available.
pub const PAIRING_KEPT_MS: i64 = 24 * 3600 * 1000;
/// The maximal number of stored tokens of a user; a further one replaces the oldest.
pub const PAIRINGS_MAX: usize = 100;
/// The maximal number of refused devices in the result of a token.
pub const FAILURES_MAX: usize = 20;

/// A new token. No `Debug`.
pub struct PairingToken {
    /// The token for a device; 12 digits and lower-case letters.
    pub token: String,
    /// 4 further characters, for devices that send both.
    pub secret: String,
}

/// The result of an attempt to redeem a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The device became the user's.
    Bound,
    /// Another user owns the device, or it is not of the project's products.
    Refused,
    /// The token does not exist, was used or has expired.
    Unknown,
}

/// The text with which a device redeems a token. No `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SentToken {
    /// The token.
    pub token: String,
    /// The secret of the token, if the device sends it.
    pub secret: Option<String>,
}

impl SentToken {
    /// Accepts the token only, or region, token and secret in one text: 2, 12 and 4 characters.
    pub fn parse(text: &str) -> Self {
        match (text.is_ascii() && text.len() == 18).then(|| (&text[2..14], &text[14..])) {
            Some((token, secret)) => Self { token: token.to_owned(), secret: Some(secret.to_owned()) },
            None => Self { token: text.to_owned(), secret: None },
        }
    }
}

/// A stored token, with the state that decides whether it can be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The project that created it.
    pub project: ProjectNo,
    /// The user who gets the device.
    pub user: UserNo,
    /// The home that the device joins.
    pub home: HomeId,
    /// The user's present role in that home.
    pub role: Option<HomeRole>,
    /// Whether the user is disabled.
    pub is_disabled: bool,
    /// When the token expires, milliseconds since 1970.
    pub expires_ms: i64,
    /// Whether a device has redeemed it.
    pub is_used: bool,
    /// Whether the device sent the right secret, or none.
    pub is_secret_right: bool,
}

/// The decision about a device that sends a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The token is not valid.
    Unknown,
    /// The device may not be bound with it.
    Refuse {
        /// Whether the result of the token lists the device: fewer than [`FAILURES_MAX`] are listed already.
        is_noted: bool,
    },
    /// The device becomes the user's.
    Bind,
}

impl Claim {
    /// Whether the token is valid: not used, not expired, and its user may still add devices to that home.
    pub fn is_valid(&self, now_ms: i64) -> bool {
        let may_bring = self.role.is_some_and(|role| role >= HomeRole::Admin);
        self.expires_ms > now_ms && !self.is_used && !self.is_disabled && may_bring && self.is_secret_right
    }

    /// Decides about a device. A device of the project's products that has no other owner becomes the user's.
    /// `failures` is the number of devices that were refused before.
    pub fn decide(&self, device: &Placement, failures: usize, now_ms: i64) -> Decision {
        if !self.is_valid(now_ms) {
            return Decision::Unknown;
        }
        let is_free = device.project == self.project && device.owner.is_none_or(|owner| owner == self.user);
        if is_free { Decision::Bind } else { Decision::Refuse { is_noted: failures < FAILURES_MAX } }
    }
}

/// The result of a token.
pub struct PairingResult {
    /// The device that redeemed it.
    pub paired: Option<DeviceState>,
    /// Devices that were refused; at most [`FAILURES_MAX`].
    pub refused: Vec<DeviceState>,
}

impl Cloud {
    /// Creates a token with which a device becomes a user's. The device joins `home` or the user's first own home,
    /// which is created if necessary. Without a user, the device becomes the home owner's.
    ///
    /// # Errors
    /// [`Error::Missing`] if a project names neither; [`Error::NotVisible`] for a user or home that is not the
    /// caller's; [`Error::NotAllowed`] for a home to which the user may not add devices.
    pub async fn pairing_token(
        &self,
        requester: &impl Requester,
        uid: Option<Uid>,
        home: Option<HomeId>,
    ) -> Result<PairingToken> {
        let uid = match (uid, requester.user(), home) {
            (Some(uid), None, _) => uid,
            (Some(uid), Some(user), _) if uid == user.uid => uid,
            (Some(_), Some(_), _) => return Err(Error::NotVisible(Noun::User)),
            (None, Some(user), _) => user.uid.clone(),
            (None, None, Some(home)) => self.home(requester, home).await?.owner,
            (None, None, None) => return Err(Error::Missing("uid")),
        };
        let home = self.home_to_bring_to(requester, &uid, home).await?;
        let (project, now_ms) = (requester.project().no, self.now_ms());
        let made = self.registry.make_pairing(project, &uid, home, now_ms, PAIRING_LIFE).await?;
        made.ok_or(Error::NotVisible(Noun::User))
    }

    /// The result of a token of the project, or of the user who is the requester.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for an unknown token.
    pub async fn pairing_result(&self, requester: &impl Requester, token: &str) -> Result<PairingResult> {
        let user = requester.user().map(|user| user.no);
        let from_ms = self.now_ms() - PAIRING_KEPT_MS;
        let found = self.registry.pairing(requester.project().no, user, token, from_ms).await?;
        let (paired, refused) = found.ok_or(Error::NotVisible(Noun::Pairing))?;
        // Another user may own it by now.
        let paired = self.seen_with_state(requester, paired.into_iter().collect()).await?.pop();
        let strange = |device| if user.is_some() { unknown(device) } else { Arc::new(device) };
        let refused = self.with_state(refused.into_iter().map(strange)).await?;
        Ok(PairingResult { paired, refused })
    }

    /// An authenticated device redeems a token: it is activated, and becomes the user's.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn redeem(&self, device: &Device, token: &str) -> Result<Redeemed> {
        let sent = SentToken::parse(token);
        let (redeemed, moves) = self.registry.redeem_pairing(device.no, &sent, self, self.now_ms()).await?;
        if redeemed == Redeemed::Bound {
            let history_from_ms = self.registry.device_by_id(&device.id).await?.map(|device| device.history_from_ms);
            let time_ms = self.now_ms().max(history_from_ms.unwrap_or_default());
            self.log(vec![activation(device.no, time_ms)]).await?;
        }
        self.follow(moves, Removal::Removed).await?;
        Ok(redeemed)
    }
}

/// A device of another owner, without all data of that owner.
fn unknown(device: Device) -> Arc<Device> {
    let name = device.product.name.clone();
    seen_as(Arc::new(Device { name, ..device }), DeviceRole::Sharee)
}

fn activation(device: DeviceNo, time_ms: i64) -> NewEvent {
    let (kind, source) = (EventType::Activated, EventSource::DEVICE);
    NewEvent { device, time_ms, kind, source, code: None, value: None, is_history: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: ProjectNo = ProjectNo(1);
    const ANN: UserNo = UserNo(11);
    const NOW: i64 = 1000;

    fn claim() -> Claim {
        let (home, role) = (HomeId(5), Some(HomeRole::Owner));
        let (is_disabled, is_used, is_secret_right) = (false, false, true);
        let expires_ms = NOW + 1;
        Claim { project: PROJECT, user: ANN, home, role, is_disabled, expires_ms, is_used, is_secret_right }
    }

    fn device(owner: Option<UserNo>) -> Placement {
        Placement { no: DeviceNo(1), project: PROJECT, owner, last_owner: owner, home: None }
    }

    #[test]
    fn which_tokens_can_be_redeemed() {
        for (name, claim, expected) in [
            ("living", claim(), Decision::Bind),
            ("by an admin of the home", Claim { role: Some(HomeRole::Admin), ..claim() }, Decision::Bind),
            ("by a plain member", Claim { role: Some(HomeRole::Member), ..claim() }, Decision::Unknown),
            ("by a former member", Claim { role: None, ..claim() }, Decision::Unknown),
            ("by a disabled user", Claim { is_disabled: true, ..claim() }, Decision::Unknown),
            ("expired", Claim { expires_ms: NOW, ..claim() }, Decision::Unknown),
            ("used", Claim { is_used: true, ..claim() }, Decision::Unknown),
            ("with another secret", Claim { is_secret_right: false, ..claim() }, Decision::Unknown),
        ] {
            assert_eq!(claim.decide(&device(None), 0, NOW), expected, "{name}");
        }
    }

    #[test]
    fn which_devices_a_token_binds() {
        let (noted, not_noted) = (Decision::Refuse { is_noted: true }, Decision::Refuse { is_noted: false });
        let foreign = Placement { project: ProjectNo(2), ..device(None) };
        for (name, device, failures, expected) in [
            ("nobody's", device(None), FAILURES_MAX, Decision::Bind),
            ("the user's own", device(Some(ANN)), 0, Decision::Bind),
            ("somebody else's", device(Some(UserNo(12))), FAILURES_MAX - 1, noted),
            ("somebody else's, after many others", device(Some(UserNo(12))), FAILURES_MAX, not_noted),
            ("another project's", foreign, 0, noted),
        ] {
            assert_eq!(claim().decide(&device, failures, NOW), expected, "{name}");
        }
    }

    #[test]
    fn what_a_device_sends() {
        for (text, token, secret) in [
            ("k3j5h2k3j5h2", "k3j5h2k3j5h2", None),
            ("AYk3j5h2k3j5h2abcd", "k3j5h2k3j5h2", Some("abcd")),
            ("", "", None),
            ("水k3j5h2k3j5h2abc", "水k3j5h2k3j5h2abc", None),
        ] {
            let sent = SentToken::parse(text);
            assert_eq!((sent.token.as_str(), sent.secret.as_deref()), (token, secret), "{text}");
        }
    }
}
