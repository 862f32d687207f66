//! The end users of an app (contract tuya §3.1–3.3).

use std::borrow::Cow;
use std::sync::Arc;

use super::caller::check_self;
use super::country::calling_code;
use super::password::Password;
use super::{Caller, Cloud, Error, Noun, Requester, Result, Schema, Uid, UserNo};

/// The maximal time span of a user list.
pub const USER_LIST_SPAN_MS_MAX: i64 = 30 * 24 * 3600 * 1000;
/// The maximal number of users on a page.
pub const USER_PAGE_MAX: usize = 100;
/// The maximal number of users on a page of all apps together.
pub const ALL_USERS_PAGE_MAX: usize = 200;

/// The kind of a user name. The numbers are the vendor's `username_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsernameType {
    /// A mobile phone number.
    Mobile = 1,
    /// An email address.
    Email = 2,
    /// Anything else.
    Other = 3,
}

impl UsernameType {
    /// The type with a vendor's number.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Mobile, Self::Email, Self::Other].into_iter().find(|kind| *kind as i64 == number)
    }
}

/// An end user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Tuya's id.
    pub uid: Uid,
    /// Alibaba's id.
    pub identity_id: String,
    /// The id of the account.
    pub login_id: String,
    /// The id under which the app knows the user: [`User::login_id`], unless an account of a third party is linked.
    pub open_id: String,
    /// Alibaba's AppKey of the app.
    pub app_key: String,
    /// The name for logins, unique in its app.
    pub username: String,
    /// The kind of that name.
    pub username_type: UsernameType,
    /// The country's calling code, without a plus.
    pub country_code: String,
    /// The name that other users see.
    pub nick_name: String,
    /// The URL of a picture.
    pub avatar: String,
    /// An IANA time zone, if known.
    pub time_zone_id: Option<String>,
    /// An additional phone number.
    pub phone: Option<String>,
    /// An additional email address.
    pub email: Option<String>,
    /// In the vendor's form.
    pub gender: Option<String>,
    /// Time of the last login with a password, milliseconds since 1970.
    pub last_login_ms: Option<i64>,
    /// Time of creation, milliseconds since 1970.
    pub created_ms: i64,
    /// Time of the last change, milliseconds since 1970.
    pub updated_ms: i64,
}

/// An account whose password was checked, with its version. The version increases whenever all logins of the account
/// end: with a new password, or when the account is disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The store's number of the user.
    pub no: UserNo,
    /// The user.
    pub uid: Uid,
    /// The country's calling code; empty if unknown.
    pub country_code: String,
    /// The version.
    pub version: i64,
}

/// A user to create or update with [`Cloud::sync_user`]. No `Debug`: it has a password.
#[derive(Clone, PartialEq, Eq)]
pub struct UserSync {
    /// The country's calling code, in any form.
    pub country_code: String,
    /// The name, unique in the app.
    pub username: String,
    /// The password as the caller sent it (the vendor recommends its MD5).
    pub password: Password,
    /// The kind of that name.
    pub username_type: UsernameType,
    /// The new nick name; `None` leaves it unchanged.
    pub nick_name: Option<String>,
    /// The new time zone; `None` leaves it unchanged.
    pub time_zone_id: Option<String>,
}

/// Selects users of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserQuery {
    /// Only users created at or after this time; milliseconds.
    pub from_ms: Option<i64>,
    /// Only users created at or before this time; milliseconds.
    pub to_ms: Option<i64>,
    /// Only the user with this name.
    pub username: Option<String>,
    /// The number of users to skip.
    pub offset: usize,
    /// The maximal number of users to return, 0 to [`USER_PAGE_MAX`].
    pub limit: usize,
}

/// The order of a list of users by their creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserOrder {
    /// The oldest first.
    OldestFirst,
    /// The newest first.
    NewestFirst,
}

/// A page of an app's users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// The users, in order of creation.
    pub users: Vec<User>,
    /// Whether the query selects more users after this page.
    pub has_more: bool,
    /// The number of all users of the app, independent of the query.
    pub total: u64,
}

impl Cloud {
    /// Creates a user, or updates password, nick name and time zone of the user with that name. Country, name and kind
    /// of name do not change after the creation.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a schema that is not the caller's, [`Error::InvalidCountry`],
    /// [`Error::CountryNotServed`], [`Error::InvalidMobile`], [`Error::InvalidEmail`], [`Error::Busy`] if too many
    /// passwords are being hashed.
    pub async fn sync_user(&self, caller: &Caller, schema: &Schema, mut user: UserSync) -> Result<Uid> {
        let countries = self.registry.app_countries(caller.project.no, schema).await?;
        let countries = countries.ok_or(Error::NotVisible(Noun::App))?;
        user.country_code = calling_code(&user.country_code).ok_or(Error::InvalidCountry)?;
        if !countries.is_empty() && !countries.contains(&user.country_code) {
            return Err(Error::CountryNotServed(countries.join(", ")));
        }
        match user.username_type {
            UsernameType::Mobile if !is_mobile(&user.username) => return Err(Error::InvalidMobile),
            UsernameType::Email if !is_email(&user.username) => return Err(Error::InvalidEmail),
            _ => {}
        }
        let uid = self.registry.sync_user(caller.project.no, schema, user, self.now_ms()).await?;
        let uid = uid.ok_or(Error::NotVisible(Noun::App))?;
        // A new password revokes the user's logins.
        self.end_subscribers(Some(&uid)).await?;
        Ok(uid)
    }

    /// A page of an app's users that were created within 30 days, by default the last ones.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a schema that is not the caller's; [`Error::OutOfRange`] for a longer time span.
    pub async fn recent_users(&self, caller: &Caller, schema: &Schema, mut query: UserQuery) -> Result<UserPage> {
        let to_ms = match (query.from_ms, query.to_ms) {
            (_, Some(to_ms)) => to_ms,
            (Some(from_ms), None) => from_ms.saturating_add(USER_LIST_SPAN_MS_MAX),
            (None, None) => self.now_ms(),
        };
        let from_ms = query.from_ms.unwrap_or(to_ms.saturating_sub(USER_LIST_SPAN_MS_MAX));
        let span_ms = to_ms.checked_sub(from_ms).unwrap_or(-1);
        if !(0..=USER_LIST_SPAN_MS_MAX).contains(&span_ms) {
            let allowed = "0 to 30 days after start_time".to_owned();
            return Err(Error::OutOfRange { param: "end_time", allowed });
        }
        (query.from_ms, query.to_ms) = (Some(from_ms), Some(to_ms));
        self.users(caller, schema, query).await
    }

    /// A page of an app's users.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a schema that is not the caller's.
    pub async fn users(&self, caller: &Caller, schema: &Schema, query: UserQuery) -> Result<UserPage> {
        let page = self.registry.users(caller.project.no, schema, &query).await?;
        page.ok_or(Error::NotVisible(Noun::App))
    }

    /// A page of all users of the caller's apps.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn all_users(&self, caller: &Caller, offset: usize, limit: usize, order: UserOrder) -> Result<Vec<User>> {
        self.registry.all_users(caller.project.no, offset, limit.min(ALL_USERS_PAGE_MAX), order).await
    }

    /// The user with an open id in an app of the caller. With the project's own AppKey, the only user of all its apps
    /// with this open id.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for an app that is not the caller's and for an unknown open id.
    pub async fn user_by_open_id(&self, caller: &Caller, app_key: &str, open_id: &str) -> Result<Arc<User>> {
        let found = self.registry.user_by_open_id(caller.project.no, app_key, open_id).await?;
        found.ok_or(Error::NotVisible(Noun::App))?.ok_or(Error::NotVisible(Noun::User))
    }

    /// The user with an identity id.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn user_by_identity(&self, caller: &Caller, identity_id: &str) -> Result<Arc<User>> {
        self.users_by_identity(caller, &[identity_id]).await?.pop().flatten().ok_or(Error::NotVisible(Noun::User))
    }

    /// The users with these identity ids, in the order of the ids; `None` for one that is not the caller's.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn users_by_identity(&self, caller: &Caller, ids: &[&str]) -> Result<Vec<Option<Arc<User>>>> {
        self.registry.users_by_identity(caller.project.no, ids).await
    }

    /// Changes a user's nick name.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn rename_user(&self, caller: &Caller, uid: &Uid, nick_name: &str) -> Result<()> {
        let renamed = self.registry.rename_user(caller.project.no, uid, nick_name, self.now_ms()).await?;
        renamed.then_some(()).ok_or(Error::NotVisible(Noun::User))
    }

    /// A user of one of the project's apps. A user sees only itself.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn user(&self, requester: &impl Requester, uid: &Uid) -> Result<User> {
        check_self(requester, uid)?;
        self.registry.user(requester.project().no, uid).await?.ok_or(Error::NotVisible(Noun::User))
    }
}

/// A user name in the form in which it is compared: an email address in lower case, any other name unchanged.
pub fn compared_name(username: &str) -> Cow<'_, str> {
    if username.contains('@') { username.to_ascii_lowercase().into() } else { username.into() }
}

/// Digits with an optional `+` and one optional `-` after the country prefix.
fn is_mobile(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (prefix, number) = digits.split_once('-').unwrap_or(("", digits));
    let digit = |c: char| c.is_ascii_digit();
    prefix.len() <= 4 && prefix.chars().all(digit) && (4..=20).contains(&number.len()) && number.chars().all(digit)
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    !name.is_empty()
        && text.len() <= 254
        && text.chars().filter(|c| *c != '@').all(plain)
        && !name.contains('@')
        && host.contains('.')
        && host.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mobile_numbers() {
        for good in ["18200000678", "+8618200000678", "86-18200000678", "1234"] {
            assert!(is_mobile(good), "{good}");
        }
        for bad in ["", "123", "18 200", "abc", "86--182000", "123456789012345678901", "86-", "+", "１８２００"] {
            assert!(!is_mobile(bad), "{bad}");
        }
    }

    #[test]
    fn email_addresses() {
        for good in ["a@b.c", "first.last+tag@example.co.uk", "名@例.cn"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "a@b", "@b.c", "a@@b.c", "a b@c.d", "a@b..c", "a@.c", "a@b.c\n"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
