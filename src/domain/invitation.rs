//! Invitations into a home: what a user asks another user to, and what that one accepts or not (contract tuya §4.2;
//! decision 0014).

use super::caller::check_self;
use super::home::{HOMES_GIVEN_MAX, HOMES_OF_ONE_MAX, MEMBERS_MAX, MemberPut};
use super::user::User;
use super::{Asks, Cloud, Error, HomeId, Noun, Result, Uid, UserNo};

/// How long an invitation waits to be accepted.
pub const INVITATION_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;
/// Invitations by one user that may wait.
pub const INVITATIONS_BY_ONE_MAX: usize = 100;
/// Of those, invitations of one other user.
pub const INVITATIONS_OF_PAIR_MAX: usize = 5;
/// Invitations of one user that may wait. Of a further one, the oldest of whoever has invited the user most makes room.
pub const INVITATIONS_MAX: usize = 200;

/// An invitation that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The home.
    pub home: HomeId,
    /// What the home is called.
    pub home_name: String,
    /// Who invites.
    pub by: User,
    /// Whether as admin.
    pub is_admin: bool,
    /// When, milliseconds since 1970.
    pub invited_ms: i64,
}

impl Cloud {
    /// The invitations of a user that wait, the oldest first, at most [`INVITATIONS_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for another user than the one who asks.
    pub async fn invitations(&self, who: &impl Asks, uid: &Uid) -> Result<Vec<Invitation>> {
        check_self(who, uid)?;
        let from_ms = self.now_ms() - INVITATION_LIFE_MS;
        let found = self.registry.invitations(who.project().no, uid, from_ms, INVITATIONS_MAX).await?;
        found.ok_or(Error::NotVisible(Noun::User))
    }

    /// Accepts an invitation of a user, who lives in that home from then on, or declines it.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for another user than the one who asks, and when there is no such invitation, or no longer:
    /// its time is over, or whoever invited may not any more; [`Error::OutOfRange`] for a home with [`MEMBERS_MAX`]
    /// members, and for a user in [`HOMES_GIVEN_MAX`] homes of others, or [`HOMES_OF_ONE_MAX`] of that owner's.
    pub async fn answer_invitation(&self, who: &impl Asks, uid: &Uid, home: HomeId, accept: bool) -> Result<()> {
        check_self(who, uid)?;
        match self.registry.answer_invitation(who.project().no, uid, home, accept, self.now_ms()).await? {
            MemberPut::Done => Ok(()),
            MemberPut::Full => Err(full()),
            MemberPut::Unknown | MemberPut::NotAllowed | MemberPut::Invited => Err(Error::NotVisible(Noun::Home)),
        }
    }

    /// Accepts all that waits for a user who signs in, where the settings say so.
    pub(super) async fn accept_at_login(&self, user: UserNo) -> Result<()> {
        if self.limits.accepts_at_login {
            self.registry.accept_all_invitations(user, self.now_ms()).await?;
        }
        Ok(())
    }
}

/// What is said of a home or a user that has all that may be had.
pub(super) fn full() -> Error {
    let allowed = format!(
        "of at most {MEMBERS_MAX} members, each in at most {HOMES_GIVEN_MAX} homes and {HOMES_OF_ONE_MAX} of one owner; \
         a user invites at most {INVITATIONS_BY_ONE_MAX} at once, one other {INVITATIONS_OF_PAIR_MAX} times"
    );
    Error::OutOfRange { param: "home_id", allowed }
}
