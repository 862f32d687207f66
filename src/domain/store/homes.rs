//! What the domain asks of an engine about homes, who lives there, and who is invited.

use async_trait::async_trait;

use crate::domain::home::{Home, HomePatch, HomeRole, Member, MemberChange, MemberPut};
use crate::domain::invitation::Invitation;
use crate::domain::{Device, DeviceNo, HomeId, ProjectNo, Result, Uid, UserNo};

/// Homes of users, and who lives there.
#[async_trait]
pub trait HomeStore: Send + Sync {
    /// The homes that a user lives in, in the order of their ids; `None` for a user that is not the project's.
    async fn homes_of_user(&self, project: ProjectNo, uid: &Uid, limit: usize)
    -> Result<Option<Vec<(Home, HomeRole)>>>;
    /// Homes of the project's users, or of those the ones that one user lives in, in the order of their ids, after
    /// `after`.
    async fn homes(&self, project: ProjectNo, user: Option<UserNo>, after: HomeId, limit: usize) -> Result<Vec<Home>>;
    /// A home of one of the project's users.
    async fn home(&self, project: ProjectNo, id: HomeId) -> Result<Option<Home>>;
    /// The devices in a home that the project sees, in order of creation.
    async fn devices_of_home(&self, project: ProjectNo, id: HomeId, offset: usize, limit: usize)
    -> Result<Vec<Device>>;
    /// What a user may do in a home.
    async fn home_role(&self, user: UserNo, id: HomeId) -> Result<Option<HomeRole>>;
    /// Makes a home; the outer `None` for a user that is not the project's, the inner for one who owns `max`.
    async fn make_home(
        &self,
        project: ProjectNo,
        owner: &Uid,
        patch: HomePatch,
        max: usize,
    ) -> Result<Option<Option<HomeId>>>;
    /// Changes a home, for the project or for a user who owns it at that moment. [`Error::NotVisible`] without such a home
    /// that whoever asks sees, [`Error::NotAllowed`] for a user who only lives there.
    ///
    /// [`Error::NotVisible`]: crate::domain::Error::NotVisible
    /// [`Error::NotAllowed`]: crate::domain::Error::NotAllowed
    async fn change_home(&self, project: ProjectNo, by: Option<UserNo>, id: HomeId, patch: HomePatch) -> Result<()>;
    /// Removes a home with its members; its devices stand in none then, and not behind gateways that others own. The devices
    /// whose sessions are no longer right. For whom and with which errors, as [`HomeStore::change_home`].
    async fn remove_home(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        id: HomeId,
        now_ms: i64,
    ) -> Result<Vec<DeviceNo>>;
    /// Who lives in a home of the project's, the owner first, then in the order in which they came.
    async fn members(&self, project: ProjectNo, id: HomeId, limit: usize) -> Result<Vec<Member>>;
    /// Takes a user into a home, or changes one who lives there, if that is for whoever asks to do; whom a user takes in is
    /// only invited. The owner is not one to be put.
    async fn put_member(
        &self,
        project: ProjectNo,
        id: HomeId,
        uid: &Uid,
        change: MemberChange,
        now_ms: i64,
    ) -> Result<MemberPut>;
    /// Sends a member away, with the devices that are that user's: they stand nowhere from then on. With the devices that
    /// are no longer behind their gateways. For the project, or for a user who may at that moment
    /// ([`check_removes`](crate::domain::home::check_removes)); errors as [`HomeStore::change_home`], also without such a
    /// member.
    async fn remove_member(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        id: HomeId,
        uid: &Uid,
        now_ms: i64,
    ) -> Result<Vec<DeviceNo>>;
}

/// Invitations into homes ([`HomeStore::put_member`] makes them). Those that are older than
/// [`INVITATION_LIFE_MS`](crate::domain::invitation::INVITATION_LIFE_MS), or whose maker may no longer invite so, are none.
#[async_trait]
pub trait InvitationStore: Send + Sync {
    /// Those of a user that were made after `from_ms`, the oldest first; `None` for a user that is not the project's.
    async fn invitations(
        &self,
        project: ProjectNo,
        uid: &Uid,
        from_ms: i64,
        limit: usize,
    ) -> Result<Option<Vec<Invitation>>>;
    /// Makes a user live in the home of an invitation, or forgets the invitation.
    async fn answer_invitation(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: HomeId,
        accept: bool,
        now_ms: i64,
    ) -> Result<MemberPut>;
    /// Accepts all that wait for a user, the oldest first, as far as the bounds allow.
    async fn accept_all_invitations(&self, user: UserNo, now_ms: i64) -> Result<()>;
}
