//! Pairing: a token that the cloud makes for a user, and that a device redeems to become the user's (contract tuya §4.2;
//! aliyun §6.8; decision 0010).

use std::sync::Arc;

use super::access::{DeviceRole, seen_as};
use super::device::Leaving;
use super::home::HomeRole;
use super::ownership::Placement;
use super::{
    Cloud, Device, DeviceNo, DeviceState, Error, EventSource, EventType, HomeId, NewEvent, Noun, ProjectNo, Requester,
    Result, Uid, UserNo,
};

/// How long a token can be redeemed.
pub const PAIRING_LIFE_MS: i64 = 300 * 1000;
/// How long it is told what came of one.
pub const PAIRING_KEPT_MS: i64 = 24 * 3600 * 1000;
/// Tokens of one user that are kept; the oldest makes room for a further one.
pub const PAIRINGS_MAX: usize = 100;
/// Devices that may not be bound, of which a token's result tells.
pub const FAILURES_MAX: usize = 20;

/// A new token. No `Debug`.
pub struct PairingToken {
    /// What a device redeems; 12 digits and lower-case letters.
    pub token: String,
    /// Further 4, for devices that send both.
    pub secret: String,
}

/// How an attempt to redeem a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The device is the user's.
    Bound,
    /// Somebody else owns the device, or it is no device of the project's products.
    Refused,
    /// There is no such token, or it is used or expired.
    Unknown,
}

/// What a device sends to redeem a token. No `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SentToken {
    /// The token.
    pub token: String,
    /// The secret that was made with it, when the device sends that too.
    pub secret: Option<String>,
}

impl SentToken {
    /// The token alone, or region, token and secret in one: 2, 12 and 4 characters.
    pub fn parse(text: &str) -> Self {
        match (text.is_ascii() && text.len() == 18).then(|| (&text[2..14], &text[14..])) {
            Some((token, secret)) => Self { token: token.to_owned(), secret: Some(secret.to_owned()) },
            None => Self { token: text.to_owned(), secret: None },
        }
    }
}

/// A token of the registry that a device sends, and what decides whether it can be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The project that made it.
    pub project: ProjectNo,
    /// Whose the device becomes.
    pub user: UserNo,
    /// Where it is to stand.
    pub home: HomeId,
    /// What the user may do in that home at this moment.
    pub role: Option<HomeRole>,
    /// Whether the user is shut out.
    pub is_disabled: bool,
    /// When the token dies, milliseconds since 1970.
    pub expires_ms: i64,
    /// Whether a device has redeemed it.
    pub is_used: bool,
    /// Whether its secret is the one that was sent, or none was sent.
    pub is_secret_right: bool,
}

/// What becomes of a device that sends a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is no such token.
    Unknown,
    /// The device may not be bound by it, and whether that is noted for the user.
    Refuse {
        /// Whether fewer than [`FAILURES_MAX`] are noted already.
        is_noted: bool,
    },
    /// The device becomes the user's.
    Bind,
}

impl Claim {
    /// Whether the token can be redeemed still: by a user who may bring devices into that home still.
    pub fn is_living(&self, now_ms: i64) -> bool {
        let may_bring = self.role.is_some_and(|role| role >= HomeRole::Admin);
        self.expires_ms > now_ms && !self.is_used && !self.is_disabled && may_bring && self.is_secret_right
    }

    /// Decides about a device: one of the project's products, and nobody else's, becomes the user's. `failures` are the
    /// devices that were refused before.
    pub fn decide(&self, device: &Placement, failures: usize, now_ms: i64) -> Decision {
        if !self.is_living(now_ms) {
            return Decision::Unknown;
        }
        let is_free = device.project == self.project && device.owner.is_none_or(|owner| owner == self.user);
        if is_free { Decision::Bind } else { Decision::Refuse { is_noted: failures < FAILURES_MAX } }
    }
}

/// What came of a token.
pub struct PairingResult {
    /// The device that redeemed it.
    pub paired: Option<DeviceState>,
    /// Devices that tried to and may not be bound; at most [`FAILURES_MAX`].
    pub refused: Vec<DeviceState>,
}

impl Cloud {
    /// A token by which a device becomes a user's. It stands in `home` then, or in the user's first own home, which is
    /// made if need be. Without a user: the owner of the home.
    ///
    /// # Errors
    /// [`Error::Missing`] when a project names neither; [`Error::NotVisible`] for a user or home that is not the
    /// caller's; [`Error::NotAllowed`] for a home that the user may not bring devices into.
    pub async fn pairing_token(
        &self,
        who: &impl Requester,
        uid: Option<Uid>,
        home: Option<HomeId>,
    ) -> Result<PairingToken> {
        let uid = match (uid, who.user(), home) {
            (Some(uid), None, _) => uid,
            (Some(uid), Some(user), _) if uid == user.uid => uid,
            (Some(_), Some(_), _) => return Err(Error::NotVisible(Noun::User)),
            (None, Some(user), _) => user.uid.clone(),
            (None, None, Some(home)) => self.home(who, home).await?.owner,
            (None, None, None) => return Err(Error::Missing("uid")),
        };
        let home = self.home_to_bring_to(who, &uid, home).await?;
        let (project, now_ms) = (who.project().no, self.now_ms());
        let made = self.registry.make_pairing(project, &uid, home, now_ms, PAIRING_LIFE_MS).await?;
        made.ok_or(Error::NotVisible(Noun::User))
    }

    /// What came of a token: of the project's, or of the user's who asks.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for an unknown one.
    pub async fn pairing_result(&self, who: &impl Requester, token: &str) -> Result<PairingResult> {
        let user = who.user().map(|user| user.no);
        let from_ms = self.now_ms() - PAIRING_KEPT_MS;
        let found = self.registry.pairing(who.project().no, user, token, from_ms).await?;
        let (paired, refused) = found.ok_or(Error::NotVisible(Noun::Pairing))?;
        // It may be somebody else's by now.
        let paired = self.seen_with_state(who, paired.into_iter().collect()).await?.pop();
        let strange = |device| if user.is_some() { unknown(device) } else { Arc::new(device) };
        let refused = self.with_state(refused.into_iter().map(strange)).await?;
        Ok(PairingResult { paired, refused })
    }

    /// A device, which its session proved, redeems a token: it is activated, and the user's from then on.
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
        self.follow(moves, Leaving::Removed).await?;
        Ok(redeemed)
    }
}

/// A device of somebody else's, as it left the factory.
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
            ("by one who has left the home", Claim { role: None, ..claim() }, Decision::Unknown),
            ("by one who is shut out", Claim { is_disabled: true, ..claim() }, Decision::Unknown),
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
