//! Invitations into a home: what a user asks another user to, and what that one accepts or not (contract tuya §4.2;
//! decision 0014).

use super::caller::check_self;
use super::home::{HOMES_GIVEN_MAX, HOMES_OF_ONE_MAX, MEMBERS_MAX, MemberPut};
use super::user::User;
use super::{Cloud, Error, HomeId, Noun, Requester, Result, Uid, UserNo};

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

/// What decides whether a user may invite another one: invitations that wait, but for the one that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// By whoever invites.
    pub by_one: usize,
    /// Of those, of the same user.
    pub of_pair: usize,
    /// Of that user, by anybody.
    pub of_user: usize,
    /// How many live in the home besides its owner.
    pub members: usize,
}

impl Waiting {
    /// Whether the invitation may be made. How often others have invited the user is in nobody's way.
    pub fn has_room(&self) -> bool {
        self.by_one < INVITATIONS_BY_ONE_MAX && self.of_pair < INVITATIONS_OF_PAIR_MAX && self.members < MEMBERS_MAX
    }

    /// Whether another invitation of that user makes room for it.
    pub fn replaces_another(&self) -> bool {
        self.of_user >= INVITATIONS_MAX
    }
}

/// Whether an invited user may live in a home that has so many members, in so many homes of others already, of which so many
/// are of that owner.
pub fn may_accept(members: usize, homes: usize, of_owner: usize) -> bool {
    members < MEMBERS_MAX && homes < HOMES_GIVEN_MAX && of_owner < HOMES_OF_ONE_MAX
}

impl Cloud {
    /// The invitations of a user that wait, the oldest first, at most [`INVITATIONS_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for another user than the one who asks.
    pub async fn invitations(&self, who: &impl Requester, uid: &Uid) -> Result<Vec<Invitation>> {
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
    pub async fn answer_invitation(&self, who: &impl Requester, uid: &Uid, home: HomeId, accept: bool) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_may_be_invited_and_accept() {
        let none = Waiting { by_one: 0, of_pair: 0, of_user: 0, members: 0 };
        for (waiting, has_room, replaces_another) in [
            (none, true, false),
            (Waiting { by_one: INVITATIONS_BY_ONE_MAX, ..none }, false, false),
            (Waiting { of_pair: INVITATIONS_OF_PAIR_MAX, ..none }, false, false),
            (Waiting { of_user: INVITATIONS_MAX, ..none }, true, true),
            (Waiting { members: MEMBERS_MAX, ..none }, false, false),
        ] {
            assert_eq!((waiting.has_room(), waiting.replaces_another()), (has_room, replaces_another), "{waiting:?}");
        }
        assert!(may_accept(MEMBERS_MAX - 1, HOMES_GIVEN_MAX - 1, HOMES_OF_ONE_MAX - 1));
        assert!(!may_accept(MEMBERS_MAX, 0, 0) && !may_accept(0, HOMES_GIVEN_MAX, 0));
        assert!(!may_accept(0, 0, HOMES_OF_ONE_MAX));
    }
}
