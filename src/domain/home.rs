//! Homes: groups of devices with an owner and members (contract tuya §4.2).

use std::sync::Arc;

use super::caller::check_self;
use super::country::calling_code;
use super::device::DEVICE_LIST_MAX;
use super::feed::{DeviceLoss, LOSSES_MAX};
use super::invitation::full;
use super::user::User;
use super::{Cloud, DeviceState, Error, HomeId, Noun, ProjectNo, Requester, Result, Schema, Uid, UserNo};

/// The maximal number of homes in a list.
pub const HOMES_MAX: usize = 1000;
/// The maximal number of homes that a user may create.
pub const HOMES_OF_OWNER_MAX: usize = 100;
/// The maximal number of members of a home besides its owner.
pub const MEMBERS_MAX: usize = 100;
/// The maximal number of homes of other owners in which a user may be a member.
pub const HOMES_GIVEN_MAX: usize = 100;
/// The maximal number of them that have the same owner.
pub const HOMES_OF_ONE_MAX: usize = 20;

/// A home.
#[derive(Clone, Debug, PartialEq)]
pub struct Home {
    /// Its id.
    pub id: HomeId,
    /// The name.
    pub name: String,
    /// The owner.
    pub owner: Uid,
    /// The name of the location; may be empty.
    pub geo_name: String,
    /// Latitude in degrees; 0 if unknown.
    pub lat: f64,
    /// Longitude in degrees; 0 if unknown.
    pub lon: f64,
}

/// Changes of a home; `None` leaves a member unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HomePatch {
    /// The name.
    pub name: Option<String>,
    /// The name of the location.
    pub geo_name: Option<String>,
    /// Latitude in degrees.
    pub lat: Option<f64>,
    /// Longitude in degrees.
    pub lon: Option<f64>,
}

/// The role of a user in a home, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HomeRole {
    /// May see and command its devices.
    Member,
    /// May also pair devices and manage members.
    Admin,
    /// May also change and remove the home, and appoint admins.
    Owner,
}

/// A user who belongs to a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: User,
    /// The role of the user.
    pub role: HomeRole,
    /// The name of the user in this home; may be empty.
    pub name: String,
}

/// A change that adds a member or changes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// The name of the user in this home; `None` leaves it unchanged.
    pub name: Option<String>,
    /// Whether the user is an admin; `None` leaves it unchanged.
    pub is_admin: Option<bool>,
    /// Whether a user who is not a member yet may be added.
    pub may_join: bool,
    /// The user who requests the change, in whose name new members are only invited; `None` for the project.
    pub by: Option<UserNo>,
}

/// The result of such a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberResult {
    /// The user is a member with the requested name and role.
    Done,
    /// The user is invited, and becomes a member by accepting the invitation.
    Invited,
    /// The home has [`MEMBERS_MAX`] members, the user is in [`HOMES_GIVEN_MAX`] homes of other owners, or the requester
    /// has too many open invitations.
    Full,
    /// The user does not exist or is not a member.
    Unknown,
    /// The requester is not allowed to make this change.
    NotAllowed,
}

/// The state that decides such a change, at the moment of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberClaim {
    /// The present role of the user.
    pub before: Option<HomeRole>,
    /// The role of the user who requests the change.
    pub by: Option<HomeRole>,
    /// The number of other members besides the owner.
    pub members: usize,
    /// The number of other homes of other owners to which the user belongs.
    pub homes: usize,
}

/// The decision about such a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberDecision {
    /// The user becomes or remains a member.
    Put {
        /// Whether as an admin.
        is_admin: bool,
    },
    /// The user is invited.
    Invite,
    /// The change is refused.
    Refuse(MemberResult),
}

impl MemberChange {
    /// Decides. A user can only invite new members; only the owner appoints and dismisses admins; the owner's own role
    /// cannot be changed.
    pub fn decide(&self, claim: &MemberClaim) -> MemberDecision {
        let MemberClaim { before, by, members, homes } = *claim;
        let is_there = before.is_some_and(|role| role != HomeRole::Owner);
        if before == Some(HomeRole::Owner) || !is_there && !self.may_join {
            return MemberDecision::Refuse(MemberResult::Unknown);
        }
        let was_admin = before == Some(HomeRole::Admin);
        let is_admin = self.is_admin.unwrap_or(was_admin);
        if self.by.is_some() {
            let least = if is_admin == was_admin { HomeRole::Admin } else { HomeRole::Owner };
            if by.is_none_or(|role| role < least) {
                return MemberDecision::Refuse(MemberResult::NotAllowed);
            }
            if !is_there {
                return MemberDecision::Invite;
            }
        }
        if members >= MEMBERS_MAX || homes >= HOMES_GIVEN_MAX {
            return MemberDecision::Refuse(MemberResult::Full);
        }
        MemberDecision::Put { is_admin }
    }
}

/// Checks that a role is at least `least`.
///
/// # Errors
/// [`Error::NotVisible`] for a user who is not a member; [`Error::NotAllowed`] for a lower role.
pub fn check_role(role: Option<HomeRole>, least: HomeRole) -> Result<()> {
    let role = role.ok_or(Error::NotVisible(Noun::Home))?;
    (role >= least).then_some(()).ok_or(Error::NotAllowed("members of a home may not do that"))
}

/// Checks that a user may remove a member. Everyone except the owner may leave; only the owner may remove an admin,
/// admins may remove plain members.
///
/// # Errors
/// [`Error::NotAllowed`].
pub fn check_removes(by: Option<HomeRole>, is_self: bool, member: Option<HomeRole>) -> Result<()> {
    match member {
        Some(HomeRole::Owner) => Err(Error::NotAllowed("the owner of the home stays; remove the home")),
        _ if is_self => Ok(()),
        Some(HomeRole::Admin) => check_role(by, HomeRole::Owner),
        Some(HomeRole::Member) | None => check_role(by, HomeRole::Admin),
    }
}

/// A user who is to become a member of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// The user's app; `None` for the only app of the project that has this user name.
    pub schema: Option<Schema>,
    /// The user name in the app.
    pub username: String,
    /// The calling code of the account's country, in any form, to be compared.
    pub country_code: Option<String>,
    /// The name of the user in this home.
    pub name: String,
    /// Whether as an admin.
    pub is_admin: bool,
}

impl Cloud {
    /// The homes of a user with the user's role, in the order of their ids, at most [`HOMES_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for a user other than the requester.
    pub async fn homes_of_user(&self, requester: &impl Requester, uid: &Uid) -> Result<Vec<(Home, HomeRole)>> {
        check_self(requester, uid)?;
        let homes = self.registry.homes_of_user(requester.project().no, uid, HOMES_MAX).await?;
        homes.ok_or(Error::NotVisible(Noun::User))
    }

    /// The homes that the requester sees, in the order of their ids, starting after `after`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn homes(&self, requester: &impl Requester, after: Option<HomeId>, limit: usize) -> Result<Vec<Home>> {
        let user = requester.user().map(|user| user.no);
        self.registry.homes(requester.project().no, user, after.unwrap_or(HomeId(0)), limit.min(HOMES_MAX)).await
    }

    /// A home of one of the project's users. A user sees only homes to which the user belongs.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn home(&self, requester: &impl Requester, id: HomeId) -> Result<Home> {
        self.home_with(requester, id, HomeRole::Member).await
    }

    /// A home in which the requester has at least a role. A project may do everything.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for a member with a lower role.
    pub(super) async fn home_with(&self, requester: &impl Requester, id: HomeId, least: HomeRole) -> Result<Home> {
        let home = self.registry.home(requester.project().no, id).await?.ok_or(Error::NotVisible(Noun::Home))?;
        if let Some(user) = requester.user() {
            check_role(self.registry.home_role(user.no, id).await?, least)?;
        }
        Ok(home)
    }

    /// The devices of a home, in order of creation; `offset` and `limit` count devices, at most [`DEVICE_LIST_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn devices_of_home(
        &self,
        requester: &impl Requester,
        id: HomeId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<DeviceState>> {
        let home = self.home(requester, id).await?;
        let limit = limit.min(DEVICE_LIST_MAX);
        let devices = self.registry.devices_of_home(requester.project().no, home.id, offset, limit).await?;
        self.seen_with_state(requester, devices).await
    }

    /// Creates a home of a user.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for a user other than the requester;
    /// [`Error::OutOfRange`] for a user with [`HOMES_OF_OWNER_MAX`] homes.
    pub async fn make_home(&self, requester: &impl Requester, owner: &Uid, patch: HomePatch) -> Result<HomeId> {
        check_self(requester, owner)?;
        let made = self.registry.make_home(requester.project().no, owner, patch, HOMES_OF_OWNER_MAX).await?;
        let too_many = || Error::OutOfRange { param: "uid", allowed: format!("of at most {HOMES_OF_OWNER_MAX} homes") };
        made.ok_or(Error::NotVisible(Noun::User))?.ok_or_else(too_many)
    }

    /// Changes name and location of a home.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for a user who is not its owner.
    pub async fn change_home(&self, requester: &impl Requester, id: HomeId, patch: HomePatch) -> Result<()> {
        let by = requester.user().map(|user| user.no);
        self.registry.change_home(requester.project().no, by, id, patch).await
    }

    /// Removes a home. Its devices keep their owners and belong to no home.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also if it was removed already; [`Error::NotAllowed`] for a user who is not its owner.
    pub async fn remove_home(&self, requester: &impl Requester, id: HomeId) -> Result<()> {
        let (project, by) = (requester.project().no, requester.user().map(|user| user.no));
        let viewers = self.viewers_of_home(project, id).await?;
        for device in self.registry.remove_home(project, by, id, self.now_ms()).await? {
            self.downlink.end_session(device).await;
        }
        self.publish_losses(viewers);
        Ok(())
    }

    /// Everyone who sees the devices of a home, before some of them lose access; empty without subscribers.
    async fn viewers_of_home(&self, project: ProjectNo, id: HomeId) -> Result<Vec<DeviceLoss>> {
        if !self.feed.has_subscribers() {
            return Ok(Vec::new());
        }
        let devices = self.registry.devices_of_home(project, id, 0, LOSSES_MAX).await?;
        self.viewers_of_all(project, &devices.into_iter().map(Arc::new).collect::<Vec<_>>()).await
    }

    /// The owner and the members of a home, the owner first.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn members(&self, requester: &impl Requester, id: HomeId) -> Result<Vec<Member>> {
        let home = self.home(requester, id).await?;
        self.registry.members(requester.project().no, home.id, MEMBERS_MAX + 1).await
    }

    /// Adds a user of the project to a home, or changes name and role of a member. A user can only invite a new member,
    /// who joins by accepting; the project adds members at once (decision 0014).
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for an unknown user, or one of another country than the one given;
    /// [`Error::InvalidCountry`]; [`Error::NotAllowed`] for plain members, and for admins who appoint or dismiss an
    /// admin; [`Error::OutOfRange`] for a home with [`MEMBERS_MAX`] members, for a user in [`HOMES_GIVEN_MAX`] homes if
    /// the project adds the user, and for too many invitations if a user invites.
    pub async fn add_member(&self, requester: &impl Requester, id: HomeId, member: NewMember) -> Result<()> {
        let home = self.home_with(requester, id, HomeRole::Admin).await?;
        let NewMember { schema, username, country_code, name, is_admin } = member;
        let country = |text: &str| calling_code(text).ok_or(Error::InvalidCountry);
        let country_code = country_code.as_deref().map(country).transpose()?;
        let user = self.registry.user_by_name(requester.project().no, schema.as_ref(), &username).await?;
        let is_meant =
            |user: &User| user.country_code.is_empty() || country_code.is_none_or(|code| code == user.country_code);
        let user = user.filter(is_meant).ok_or(Error::NotVisible(Noun::User))?;
        let by = requester.user().map(|user| user.no);
        let change = MemberChange { name: Some(name), is_admin: Some(is_admin), may_join: true, by };
        self.put_member(requester, &home, &user.uid, change).await
    }

    /// Changes name or role of a member.
    ///
    /// # Errors
    /// As [`Cloud::add_member`]; [`Error::NotVisible`] for a user who is not a member.
    pub async fn change_member(
        &self,
        requester: &impl Requester,
        id: HomeId,
        uid: &Uid,
        name: Option<String>,
        is_admin: Option<bool>,
    ) -> Result<()> {
        let home = self.home_with(requester, id, HomeRole::Admin).await?;
        let by = requester.user().map(|user| user.no);
        self.put_member(requester, &home, uid, MemberChange { name, is_admin, may_join: false, by }).await
    }

    async fn put_member(&self, requester: &impl Requester, home: &Home, uid: &Uid, change: MemberChange) -> Result<()> {
        if *uid == home.owner {
            return Err(Error::NotAllowed("the owner of the home stays what the owner is"));
        }
        match self.registry.put_member(requester.project().no, home.id, uid, change, self.now_ms()).await? {
            MemberResult::Done | MemberResult::Invited => Ok(()),
            MemberResult::Unknown => Err(Error::NotVisible(Noun::User)),
            MemberResult::NotAllowed => Err(Error::NotAllowed("members of a home may not do that")),
            MemberResult::Full => Err(full()),
        }
    }

    /// Removes a member from a home. The member's own devices leave the home too: its other members no longer see or
    /// command them, and their desired values are removed.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also if the member was removed already; [`Error::NotAllowed`] for plain members who
    /// remove another user, for admins who remove an admin, and for the removal of the owner.
    pub async fn remove_member(&self, requester: &impl Requester, id: HomeId, uid: &Uid) -> Result<()> {
        let (project, by) = (requester.project().no, requester.user().map(|user| user.no));
        let viewers = self.viewers_of_home(project, id).await?;
        let detached = self.registry.remove_member(project, by, id, uid, self.now_ms()).await?;
        self.publish_losses(viewers);
        for device in detached {
            self.downlink.end_session(device).await;
        }
        Ok(())
    }

    /// The home that a new device of a user joins: the given one, if the user is its owner or an admin of it, otherwise
    /// the user's first own home.
    pub(super) async fn home_to_bring_to(
        &self,
        requester: &impl Requester,
        uid: &Uid,
        id: Option<HomeId>,
    ) -> Result<Option<HomeId>> {
        let homes = self.homes_of_user(requester, uid).await?;
        let Some(id) = id else {
            return Ok(homes.iter().find(|(_, role)| *role == HomeRole::Owner).map(|(home, _)| home.id));
        };
        let role = homes.iter().find(|(home, _)| home.id == id).map(|(_, role)| *role);
        match role.ok_or(Error::NotVisible(Noun::Home))? {
            HomeRole::Member => Err(Error::NotAllowed("members of a home may not bring devices into it")),
            HomeRole::Admin | HomeRole::Owner => Ok(Some(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HomeRole::{Admin, Member, Owner};
    use super::*;

    #[test]
    fn who_may_put_whom() {
        let user = Some(UserNo(1));
        let change = |by, may_join, is_admin| MemberChange { name: None, is_admin, may_join, by };
        let put = |is_admin| MemberDecision::Put { is_admin };
        let refuse = MemberDecision::Refuse;
        for (by, by_role, before, may_join, is_admin, expected) in [
            // The project adds any user at once, but cannot change the owner's role.
            (None, None, None, true, None, put(false)),
            (None, None, None, true, Some(true), put(true)),
            (None, None, None, false, None, refuse(MemberResult::Unknown)),
            (None, None, Some(Owner), true, None, refuse(MemberResult::Unknown)),
            (None, None, Some(Admin), false, None, put(true)),
            // A user invites new members and changes present ones.
            (user, Some(Owner), None, true, Some(true), MemberDecision::Invite),
            (user, Some(Admin), None, true, Some(false), MemberDecision::Invite),
            (user, Some(Admin), None, true, Some(true), refuse(MemberResult::NotAllowed)),
            (user, Some(Admin), Some(Admin), false, Some(false), refuse(MemberResult::NotAllowed)),
            (user, Some(Admin), Some(Admin), false, None, put(true)),
            (user, Some(Owner), Some(Admin), false, Some(false), put(false)),
            (user, Some(Member), Some(Member), false, None, refuse(MemberResult::NotAllowed)),
            (user, None, Some(Member), false, None, refuse(MemberResult::NotAllowed)),
        ] {
            let claim = MemberClaim { before, by: by_role, members: 0, homes: 0 };
            let decision = change(by, may_join, is_admin).decide(&claim);
            assert_eq!(decision, expected, "{by_role:?} {before:?} {is_admin:?}");
        }
        for (members, homes) in [(MEMBERS_MAX, 0), (0, HOMES_GIVEN_MAX)] {
            let claim = MemberClaim { before: None, by: None, members, homes };
            assert_eq!(change(None, true, None).decide(&claim), refuse(MemberResult::Full));
        }
    }

    #[test]
    fn who_may_send_whom_away() {
        for (by, is_self, member, expected) in [
            (Some(Member), true, Some(Member), true),
            (Some(Admin), true, Some(Admin), true),
            (Some(Owner), true, Some(Owner), false),
            (Some(Member), false, Some(Member), false),
            (Some(Admin), false, Some(Member), true),
            (Some(Admin), false, Some(Admin), false),
            (Some(Admin), false, Some(Owner), false),
            (Some(Owner), false, Some(Admin), true),
            (Some(Member), false, None, false),
            (Some(Admin), false, None, true),
        ] {
            let allowed = check_removes(by, is_self, member).is_ok();
            assert_eq!(allowed, expected, "{by:?} {is_self} {member:?}");
        }
    }
}
