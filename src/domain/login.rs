//! Logins of an app's users, and the tokens that they receive (contract tuya §1.6, §1.7).

use std::net::IpAddr;

use super::attempts::{AttemptKey, Bound};
use super::caller::{AppCaller, AppUser};
use super::country::calling_code;
use super::password::Password;
use super::token::{TOKEN_LIFE, TokenPair};
use super::user::{Account, compared_name};
use super::{Cloud, DurationMs, Error, Limits, Noun, Project, ProjectNo, Result, Schema, Uid};

/// The maximal number of valid logins of a user; a further one replaces the oldest.
pub const LOGINS_MAX: usize = 20;

/// A login attempt.
pub struct Login<'a> {
    /// The app; `None` for the only app of the project that has this user name.
    pub schema: Option<&'a Schema>,
    /// The user name in the app.
    pub username: &'a str,
    /// The password.
    pub password: Password,
    /// The country's calling code, in any form.
    pub country_code: Option<&'a str>,
    /// The client's address.
    pub address: IpAddr,
}

/// The lifetime of a user's refresh token, the same as the vendor's.
pub const USER_REFRESH_LIFE: DurationMs = DurationMs(7 * 24 * 3600 * 1000);

/// The factor by which an account may fail more often from all addresses together than from one, before it is slowed
/// down.
const ADDRESSES_OF_ACCOUNT: u16 = 20;

/// The keys and limits of a login. Only the pair of account and network is refused after too many failures. The account
/// alone and the network alone are only slowed down, so that nobody can block the account's owner or other users of the
/// network.
pub(super) fn counted<'a>(
    limits: &Limits,
    project: Option<ProjectNo>,
    name: &'a str,
    address: IpAddr,
) -> [(AttemptKey<'a>, Bound); 3] {
    let prefix = network(address);
    let of_account = limits.failures_of_account;
    [
        (AttemptKey::Pair(project, name, prefix), Bound::Refused(of_account)),
        (AttemptKey::Account(project, name), Bound::Slowed(of_account.saturating_mul(ADDRESSES_OF_ACCOUNT))),
        (AttemptKey::Address(project, prefix), Bound::Slowed(limits.failures_of_address)),
    ]
}

impl Cloud {
    /// Checks a password and issues tokens for the user. The check takes as long for an unknown account as for a wrong
    /// password.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for an app that is not the project's; [`Error::InvalidCountry`]; [`Error::OtherCountry`]
    /// for a country that is not the account's, [`Error::OtherRegion`] for one that the app does not serve;
    /// [`Error::WrongPassword`], also for an unknown or disabled account; [`Error::TooManyFailures`]; [`Error::Busy`].
    pub async fn log_in(&self, project: &Project, login: Login<'_>) -> Result<(TokenPair, Uid)> {
        let country = |text: &str| calling_code(text).ok_or(Error::InvalidCountry);
        let country_code = login.country_code.map(country).transpose()?;
        let country_code = country_code.as_deref();
        if let Some(schema) = login.schema {
            let countries = self.registry.app_countries(project.no, schema).await?;
            let countries = countries.ok_or(Error::NotVisible(Noun::App))?;
            let is_served = |code: &str| countries.is_empty() || countries.iter().any(|served| served == code);
            if !country_code.is_none_or(is_served) {
                return Err(Error::OtherRegion(countries.join(", ")));
            }
        }
        let now_ms = self.now_ms();
        let name = compared_name(login.username);
        let keys = counted(&self.limits, Some(project.no), &name, login.address);
        // Concurrent attempts are not counted yet, but the store limits how many passwords it checks at once.
        if !self.attempts.allow(&keys, now_ms).await? {
            return Err(Error::TooManyFailures);
        }
        let Login { schema, username, password, .. } = login;
        let found = self.registry.account_by_password(project.no, schema, username, password).await?;
        let is_at_home = |account: &Account| {
            account.country_code.is_empty() || country_code.is_none_or(|code| code == account.country_code)
        };
        let refusal = match &found {
            None => Some(Error::WrongPassword),
            Some(account) if !is_at_home(account) => Some(Error::OtherCountry),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            self.attempts.failed(&keys, now_ms).await?;
            return Err(refusal);
        }
        let account = found.ok_or(Error::WrongPassword)?;
        let pair =
            self.registry.grant_user_token(&account, now_ms, project.life(TOKEN_LIFE, now_ms), LOGINS_MAX).await?;
        let pair = pair.ok_or(Error::WrongPassword)?;
        self.accept_at_login(account.no).await?;
        Ok((pair, account.uid))
    }

    /// Exchanges a refresh token of the project or of one of its users for a new pair, and returns the user. The old
    /// pair is revoked.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] for a token that is unknown, used or of another project, and for a user's token that is
    /// older than [`USER_REFRESH_LIFE`]. The project's own refresh token does not expire, because its credentials
    /// can request a new token anyway.
    pub async fn refresh_any_token(&self, project: &Project, refresh: &str) -> Result<(TokenPair, Option<Uid>)> {
        let now_ms = self.now_ms();
        let life = project.life(TOKEN_LIFE, now_ms);
        if let Some(pair) = self.registry.refresh_token(project.no, refresh, now_ms, life).await? {
            return Ok((pair, None));
        }
        let (pair, uid) = self.refresh_user_token(project, refresh).await?;
        Ok((pair, Some(uid)))
    }

    /// Exchanges a refresh token of one of the project's users for a new pair. The old pair is revoked.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`], also for a token that is older than [`USER_REFRESH_LIFE`].
    pub async fn refresh_user_token(&self, project: &Project, refresh: &str) -> Result<(TokenPair, Uid)> {
        let now_ms = self.now_ms();
        let life = project.life(TOKEN_LIFE, now_ms);
        let fresh = self.registry.refresh_user_token(project.no, refresh, now_ms, life, USER_REFRESH_LIFE).await?;
        fresh.ok_or(Error::TokenInvalid)
    }

    /// Ends the login of the requester, and all subscribers that the user has through logins. An app that is still
    /// logged in elsewhere must subscribe again.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for the project, whose token is not a login; [`Error::TokenInvalid`] if the login has
    /// ended already.
    pub async fn log_out(&self, caller: &AppCaller, access: &str) -> Result<()> {
        let user = caller.user.as_ref().ok_or(Error::NotAllowed("only a user's own login can be ended"))?;
        let ended = self.registry.end_user_token(user.no, access).await?;
        self.end_own_subscribers(user).await?;
        ended.then_some(()).ok_or(Error::TokenInvalid)
    }

    /// The requester to whom a valid access token was issued: the project itself, or one of its users. The signature
    /// must be checked first.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`].
    pub async fn app_caller(&self, project: std::sync::Arc<Project>, access: &str) -> Result<AppCaller> {
        let holder = self.registry.token_holder(access, self.now_ms()).await?;
        let holder = holder.filter(|holder| holder.project == project.no).ok_or(Error::TokenInvalid)?;
        Ok(AppCaller { project, user: holder.user })
    }
}

/// The project or user to whom an access token was issued.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The project.
    pub project: ProjectNo,
    /// The user, if the token is a user's.
    pub user: Option<std::sync::Arc<AppUser>>,
    /// When the token expires, milliseconds since 1970.
    pub expires_ms: i64,
}

/// The part of an address that identifies a client network: all of an IPv4 address, the first 64 bits of an IPv6
/// address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}
