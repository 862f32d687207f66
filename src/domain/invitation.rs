//! Invitations of users into homes (contract tuya §4.2; decision 0014).

use super::caller::check_self;
use super::home::{HOMES_GIVEN_MAX, HOMES_OF_ONE_MAX, MEMBERS_MAX, MemberResult};
use super::user::User;
use super::{Cloud, Error, HomeId, Noun, Requester, Result, Uid, UserNo};

/// The time after which an invitation expires.
pub const INVITATION_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;
/// The maximal number of open invitations by one user.
pub const INVITATIONS_BY_ONE_MAX: usize = 100;
/// The maximal number of them for the same invited user.
pub const INVITATIONS_OF_PAIR_MAX: usize = 5;
/// The maximal number of open invitations of one user. A further one replaces the oldest invitation of the user who has
/// invited this user most often.
pub const INVITATIONS_MAX: usize = 200;

/// An open invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The home.
    pub home: HomeId,
    /// The name of the home.
    pub home_name: String,
    /// The user who invites.
    pub by: User,
    /// Whether the user is to become an admin.
    pub is_admin: bool,
    /// When it was sent, milliseconds since 1970.
    pub invited_ms: i64,
}

/// The counts that decide whether a user may invite another one. An invitation that would be replaced is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Open invitations by the inviter.
    pub by_one: usize,
    /// The number of them for the same invited user.
    pub of_pair: usize,
    /// Open invitations of the invited user, by anyone.
    pub of_user: usize,
    /// Members of the home besides its owner.
    pub members: usize,
}

impl Waiting {
    /// Whether the invitation may be made. Invitations of the user by others do not prevent it.
    pub fn has_room(&self) -> bool {
        self.by_one < INVITATIONS_BY_ONE_MAX && self.of_pair < INVITATIONS_OF_PAIR_MAX && self.members < MEMBERS_MAX
    }

    /// Whether it replaces another invitation of the invited user.
    pub fn replaces_another(&self) -> bool {
        self.of_user >= INVITATIONS_MAX
    }
}

/// Whether an invited user may become a member of a home with `members` members, if the user is a member of `homes`
/// homes of other owners, `of_owner` of them of the same owner.
pub fn may_accept(members: usize, homes: usize, of_owner: usize) -> bool {
    members < MEMBERS_MAX && homes < HOMES_GIVEN_MAX && of_owner < HOMES_OF_ONE_MAX
}

impl Cloud {
    /// The open invitations of a user, the oldest first, at most [`INVITATIONS_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for a user other than the requester.
    pub async fn invitations(&self, requester: &impl Requester, uid: &Uid) -> Result<Vec<Invitation>> {
        check_self(requester, uid)?;
        let from_ms = self.now_ms() - INVITATION_LIFE_MS;
        let found = self.registry.invitations(requester.project().no, uid, from_ms, INVITATIONS_MAX).await?;
        found.ok_or(Error::NotVisible(Noun::User))
    }

    /// Accepts an invitation, so that the user becomes a member of the home, or declines it.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user other than the requester, and if there is no such invitation, it has expired,
    /// or its inviter lost the right to invite; [`Error::OutOfRange`] for a home with [`MEMBERS_MAX`] members, and for
    /// a user in [`HOMES_GIVEN_MAX`] homes of other owners, or in [`HOMES_OF_ONE_MAX`] of that owner.
    pub async fn answer_invitation(
        &self,
        requester: &impl Requester,
        uid: &Uid,
        home: HomeId,
        accept: bool,
    ) -> Result<()> {
        check_self(requester, uid)?;
        match self.registry.answer_invitation(requester.project().no, uid, home, accept, self.now_ms()).await? {
            MemberResult::Done => Ok(()),
            MemberResult::Full => Err(full()),
            MemberResult::Unknown | MemberResult::NotAllowed | MemberResult::Invited => {
                Err(Error::NotVisible(Noun::Home))
            }
        }
    }

    /// Accepts all open invitations of a user at a login, if the settings say so.
    pub(super) async fn accept_at_login(&self, user: UserNo) -> Result<()> {
        if self.limits.accepts_at_login {
            self.registry.accept_all_invitations(user, self.now_ms()).await?;
        }
        Ok(())
    }
}

/// The error for a home or user that has reached a limit.
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
