//! Pairing: a token that the cloud makes for a user, and that a device redeems to become the user's (contract tuya §4.2;
//! aliyun §6.8; decision 0010).

use std::sync::Arc;

use super::access::{DeviceRole, seen_as};
use super::device::Leaving;
use super::{
    Asks, Cloud, Device, DeviceNo, DeviceState, Error, EventSource, EventType, HomeId, NewEvent, Noun, Result, Uid,
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
    pub async fn pairing_token(&self, who: &impl Asks, uid: Option<Uid>, home: Option<HomeId>) -> Result<PairingToken> {
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
    pub async fn pairing_result(&self, who: &impl Asks, token: &str) -> Result<PairingResult> {
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
        let (redeemed, moves) = self.registry.redeem_pairing(device.no, token, self, self.now_ms()).await?;
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
