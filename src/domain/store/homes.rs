//! The traits of the registry for homes, their members and invitations.

use async_trait::async_trait;

use crate::domain::home::{Home, HomePatch, HomeRole, Member, MemberChange, MemberResult};
use crate::domain::invitation::Invitation;
use crate::domain::{Device, DeviceNo, HomeId, ProjectNo, Result, Uid, UserNo};

/// Homes and their members.
#[async_trait]
pub trait HomeStore: Send + Sync {
    /// The homes to which a user belongs, in the order of their ids; `None` for a user that is not the project's.
    async fn homes_of_user(&self, project: ProjectNo, uid: &Uid, limit: usize)
    -> Result<Option<Vec<(Home, HomeRole)>>>;
    /// The homes of the project's users, or only those to which one user belongs, in the order of their ids, starting
    /// after `after`.
    async fn homes(&self, project: ProjectNo, user: Option<UserNo>, after: HomeId, limit: usize) -> Result<Vec<Home>>;
    /// A home of one of the project's users.
    async fn home(&self, project: ProjectNo, id: HomeId) -> Result<Option<Home>>;
    /// The devices of a home that the project sees, in order of creation.
    async fn devices_of_home(&self, project: ProjectNo, id: HomeId, offset: usize, limit: usize)
    -> Result<Vec<Device>>;
    /// The role of a user in a home.
    async fn home_role(&self, user: UserNo, id: HomeId) -> Result<Option<HomeRole>>;
    /// Creates a home; the outer `None` for a user that is not the project's, the inner for a user who owns `max`
    /// homes.
    async fn make_home(
        &self,
        project: ProjectNo,
        owner: &Uid,
        patch: HomePatch,
        max: usize,
    ) -> Result<Option<Option<HomeId>>>;
    /// Changes a home, for the project or for the user `by`, who must own it at that moment.
    ///
    /// # Errors
    /// `NotVisible` for a home that the requester does not see; `NotAllowed` for a user who is only a member.
    async fn change_home(&self, project: ProjectNo, by: Option<UserNo>, id: HomeId, patch: HomePatch) -> Result<()>;
    /// Removes a home with its members. Its devices then belong to no home and have no gateways of other owners.
    /// Returns the devices whose sessions must end. Requester and errors as in [`HomeStore::change_home`].
    async fn remove_home(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        id: HomeId,
        now_ms: i64,
    ) -> Result<Vec<DeviceNo>>;
    /// The owner and the members of a home of the project, the owner first, the others in the order of joining.
    async fn members(&self, project: ProjectNo, id: HomeId, limit: usize) -> Result<Vec<Member>>;
    /// Adds a user to a home, or changes a member, if the requester may do so. A user can only invite new members. The
    /// owner's role cannot be changed.
    async fn put_member(
        &self,
        project: ProjectNo,
        id: HomeId,
        uid: &Uid,
        change: MemberChange,
        now_ms: i64,
    ) -> Result<MemberResult>;
    /// Removes a member from a home, with the member's own devices, which then belong to no home. Also returns the
    /// devices that were detached from their gateways. For the project, or for a user who may do so at that moment
    /// ([`check_removes`](crate::domain::home::check_removes)); errors as in [`HomeStore::change_home`], also for a
    /// user who is not a member.
    async fn remove_member(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        id: HomeId,
        uid: &Uid,
        now_ms: i64,
    ) -> Result<Vec<DeviceNo>>;
}

/// Invitations into homes, which [`HomeStore::put_member`] creates. An invitation that is older than
/// [`INVITATION_LIFE_MS`](crate::domain::invitation::INVITATION_LIFE_MS), or whose inviter lost the right to invite,
/// does not exist for these methods.
#[async_trait]
pub trait InvitationStore: Send + Sync {
    /// The invitations of a user that were created after `from_ms`, the oldest first; `None` for a user that is not the
    /// project's.
    async fn invitations(
        &self,
        project: ProjectNo,
        uid: &Uid,
        from_ms: i64,
        limit: usize,
    ) -> Result<Option<Vec<Invitation>>>;
    /// Accepts an invitation, so that the user becomes a member of the home, or declines it.
    async fn answer_invitation(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: HomeId,
        accept: bool,
        now_ms: i64,
    ) -> Result<MemberResult>;
    /// Accepts all open invitations of a user, the oldest first, within the limits.
    async fn accept_all_invitations(&self, user: UserNo, now_ms: i64) -> Result<()>;
}
