//! Homes: the devices of one family, and who lives there (contract tuya §4.2).

use std::sync::Arc;

use super::caller::check_self;
use super::country::calling_code;
use super::device::DEVICE_LIST_MAX;
use super::feed::{TAKEN_MAX, Taken};
use super::invitation::full;
use super::user::User;
use super::{Cloud, DeviceState, Error, HomeId, Noun, ProjectNo, Requester, Result, Schema, Uid, UserNo};

/// Homes that a list may hold.
pub const HOMES_MAX: usize = 1000;
/// Homes that one user may own by asking for them.
pub const HOMES_OF_OWNER_MAX: usize = 100;
/// People who may live in a home besides its owner.
pub const MEMBERS_MAX: usize = 100;
/// Homes of others that one user may live in.
pub const HOMES_GIVEN_MAX: usize = 100;
/// Of those, homes of one owner.
pub const HOMES_OF_ONE_MAX: usize = 20;

/// A home.
#[derive(Clone, Debug, PartialEq)]
pub struct Home {
    /// Its id.
    pub id: HomeId,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: Uid,
    /// What people call the place where it is; may be empty.
    pub geo_name: String,
    /// Latitude in degrees; 0 when it is not known.
    pub lat: f64,
    /// Longitude in degrees; 0 when it is not known.
    pub lon: f64,
}

/// What can be said of a home; `None` leaves what is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HomePatch {
    /// What people call it.
    pub name: Option<String>,
    /// What people call the place where it is.
    pub geo_name: Option<String>,
    /// Latitude in degrees.
    pub lat: Option<f64>,
    /// Longitude in degrees.
    pub lon: Option<f64>,
}

/// What somebody may do in a home, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HomeRole {
    /// Sees and commands its devices.
    Member,
    /// Brings devices and members, and sends members away.
    Admin,
    /// Whose it is: changes and removes it, and makes admins.
    Owner,
}

/// Somebody who lives in a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: User,
    /// What the user may do.
    pub role: HomeRole,
    /// What the user is called in this home; empty when nobody said.
    pub name: String,
}

/// What is to become of somebody in a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// What the user is called in this home; none leaves what is there.
    pub name: Option<String>,
    /// Whether as admin; none leaves it as it is.
    pub is_admin: Option<bool>,
    /// Whether for somebody who does not live there yet, too.
    pub may_come: bool,
    /// The user who asks, and by whom somebody new is only invited; the project without one.
    pub by: Option<UserNo>,
}

/// How that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberPut {
    /// The user lives there so.
    Done,
    /// The user is invited, and lives there when the invitation is accepted.
    Invited,
    /// The home has [`MEMBERS_MAX`] members, the user lives in [`HOMES_GIVEN_MAX`] homes of others, or whoever asks has
    /// invited too many.
    Full,
    /// No such user lives there, or could.
    Unknown,
    /// It is not for whoever asks to do, or no longer.
    NotAllowed,
}

/// What decides about somebody who is to live in a home, at the moment of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberClaim {
    /// What that user may do there already.
    pub before: Option<HomeRole>,
    /// What the user who asks may do there.
    pub by: Option<HomeRole>,
    /// How many others live there besides the owner.
    pub members: usize,
    /// In how many other homes of others that user lives.
    pub homes: usize,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberDecision {
    /// The user lives there, as admin or not.
    Put {
        /// Whether as admin.
        is_admin: bool,
    },
    /// The user is invited.
    Invite,
    /// It stays as it is.
    Refuse(MemberPut),
}

impl MemberChange {
    /// Decides. Whom a user takes in is only invited; only the owner makes and unmakes admins, and nobody puts the owner.
    pub fn decide(&self, claim: &MemberClaim) -> MemberDecision {
        let MemberClaim { before, by, members, homes } = *claim;
        let is_there = before.is_some_and(|role| role != HomeRole::Owner);
        if before == Some(HomeRole::Owner) || !is_there && !self.may_come {
            return MemberDecision::Refuse(MemberPut::Unknown);
        }
        let was_admin = before == Some(HomeRole::Admin);
        let is_admin = self.is_admin.unwrap_or(was_admin);
        if self.by.is_some() {
            let least = if is_admin == was_admin { HomeRole::Admin } else { HomeRole::Owner };
            if by.is_none_or(|role| role < least) {
                return MemberDecision::Refuse(MemberPut::NotAllowed);
            }
            if !is_there {
                return MemberDecision::Invite;
            }
        }
        if members >= MEMBERS_MAX || homes >= HOMES_GIVEN_MAX {
            return MemberDecision::Refuse(MemberPut::Full);
        }
        MemberDecision::Put { is_admin }
    }
}

/// Whether somebody with a role in a home may do what takes at least another one.
///
/// # Errors
/// [`Error::NotVisible`] for somebody who does not live there; [`Error::NotAllowed`] for somebody with a lesser role.
pub fn check_role(role: Option<HomeRole>, least: HomeRole) -> Result<()> {
    let role = role.ok_or(Error::NotVisible(Noun::Home))?;
    (role >= least).then_some(()).ok_or(Error::NotAllowed("members of a home may not do that"))
}

/// Whether a member may be sent away by a user who lives there. Everybody but the owner may go; an admin is sent away by the
/// owner, anybody else by an admin too.
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

/// Who is to live in a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// The user's app; without it the only one of the project that knows the name.
    pub schema: Option<Schema>,
    /// The user's name in it.
    pub username: String,
    /// The calling code of the account's country, in any form, if it is named.
    pub country_code: Option<String>,
    /// What the user is called in this home.
    pub name: String,
    /// Whether as admin.
    pub is_admin: bool,
}

impl Cloud {
    /// The homes that a user lives in, with what the user may do there, in the order of their ids, at most [`HOMES_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for another user than the one who asks.
    pub async fn homes_of_user(&self, who: &impl Requester, uid: &Uid) -> Result<Vec<(Home, HomeRole)>> {
        check_self(who, uid)?;
        let homes = self.registry.homes_of_user(who.project().no, uid, HOMES_MAX).await?;
        homes.ok_or(Error::NotVisible(Noun::User))
    }

    /// The homes that whoever asks sees, in the order of their ids, after `after`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn homes(&self, who: &impl Requester, after: Option<HomeId>, limit: usize) -> Result<Vec<Home>> {
        let user = who.user().map(|user| user.no);
        self.registry.homes(who.project().no, user, after.unwrap_or(HomeId(0)), limit.min(HOMES_MAX)).await
    }

    /// A home of one of the project's users. A user sees those that the user lives in.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn home(&self, who: &impl Requester, id: HomeId) -> Result<Home> {
        self.home_with(who, id, HomeRole::Member).await
    }

    /// A home in which whoever asks may do at least what a role may. A project may do everything.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for somebody who lives there with a lesser role.
    pub(super) async fn home_with(&self, who: &impl Requester, id: HomeId, least: HomeRole) -> Result<Home> {
        let home = self.registry.home(who.project().no, id).await?.ok_or(Error::NotVisible(Noun::Home))?;
        if let Some(user) = who.user() {
            check_role(self.registry.home_role(user.no, id).await?, least)?;
        }
        Ok(home)
    }

    /// The devices that stand in a home, in order of creation; `offset` and `limit` in devices, at most
    /// [`DEVICE_LIST_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn devices_of_home(
        &self,
        who: &impl Requester,
        id: HomeId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<DeviceState>> {
        let home = self.home(who, id).await?;
        let limit = limit.min(DEVICE_LIST_MAX);
        let devices = self.registry.devices_of_home(who.project().no, home.id, offset, limit).await?;
        self.seen_with_state(who, devices).await
    }

    /// Makes a home of a user's.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for another user than the one who asks;
    /// [`Error::OutOfRange`] for one with [`HOMES_OF_OWNER_MAX`] already.
    pub async fn make_home(&self, who: &impl Requester, owner: &Uid, patch: HomePatch) -> Result<HomeId> {
        check_self(who, owner)?;
        let made = self.registry.make_home(who.project().no, owner, patch, HOMES_OF_OWNER_MAX).await?;
        let too_many = || Error::OutOfRange { param: "uid", allowed: format!("of at most {HOMES_OF_OWNER_MAX} homes") };
        made.ok_or(Error::NotVisible(Noun::User))?.ok_or_else(too_many)
    }

    /// Changes what is said of a home.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for anybody but its owner.
    pub async fn change_home(&self, who: &impl Requester, id: HomeId, patch: HomePatch) -> Result<()> {
        let by = who.user().map(|user| user.no);
        self.registry.change_home(who.project().no, by, id, patch).await
    }

    /// Removes a home. Its devices stay their owners', and stand in no home.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also the second time; [`Error::NotAllowed`] for anybody but its owner.
    pub async fn remove_home(&self, who: &impl Requester, id: HomeId) -> Result<()> {
        let (project, by) = (who.project().no, who.user().map(|user| user.no));
        let people = self.people_of_home(project, id).await?;
        for device in self.registry.remove_home(project, by, id, self.now_ms()).await? {
            self.downlink.end_session(device).await;
        }
        self.tell_taken(people);
        Ok(())
    }

    /// Who sees the devices in a home, before somebody no longer does; nothing when nobody listens.
    async fn people_of_home(&self, project: ProjectNo, id: HomeId) -> Result<Vec<Taken>> {
        if !self.feed.is_heard() {
            return Ok(Vec::new());
        }
        let devices = self.registry.devices_of_home(project, id, 0, TAKEN_MAX).await?;
        self.people_of_all(project, &devices.into_iter().map(Arc::new).collect::<Vec<_>>()).await
    }

    /// Who lives in a home, its owner first.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn members(&self, who: &impl Requester, id: HomeId) -> Result<Vec<Member>> {
        let home = self.home(who, id).await?;
        self.registry.members(who.project().no, home.id, MEMBERS_MAX + 1).await
    }

    /// Takes a user of the project into a home, or gives one who lives there another name and role. Whom a user takes in
    /// is invited and lives there when the invitation is accepted; whom the project takes in, at once (decision 0014).
    ///
    /// # Errors
    /// [`Error::NotVisible`] also for an unknown user, or one of another country than the one named;
    /// [`Error::InvalidCountry`]; [`Error::NotAllowed`] for plain members, and for admins who would
    /// make or unmake an admin; [`Error::OutOfRange`] for a home with [`MEMBERS_MAX`] members, for a user in
    /// [`HOMES_GIVEN_MAX`] homes when the project asks, and for too many invitations when a user does.
    pub async fn add_member(&self, who: &impl Requester, id: HomeId, member: NewMember) -> Result<()> {
        let home = self.home_with(who, id, HomeRole::Admin).await?;
        let NewMember { schema, username, country_code, name, is_admin } = member;
        let country = |text: &str| calling_code(text).ok_or(Error::InvalidCountry);
        let country_code = country_code.as_deref().map(country).transpose()?;
        let user = self.registry.user_by_name(who.project().no, schema.as_ref(), &username).await?;
        let is_meant =
            |user: &User| user.country_code.is_empty() || country_code.is_none_or(|code| code == user.country_code);
        let user = user.filter(is_meant).ok_or(Error::NotVisible(Noun::User))?;
        let by = who.user().map(|user| user.no);
        let change = MemberChange { name: Some(name), is_admin: Some(is_admin), may_come: true, by };
        self.put_member(who, &home, &user.uid, change).await
    }

    /// Gives somebody who lives in a home another name there, or another role.
    ///
    /// # Errors
    /// As [`Cloud::add_member`]; [`Error::NotVisible`] for somebody who does not live there.
    pub async fn change_member(
        &self,
        who: &impl Requester,
        id: HomeId,
        uid: &Uid,
        name: Option<String>,
        is_admin: Option<bool>,
    ) -> Result<()> {
        let home = self.home_with(who, id, HomeRole::Admin).await?;
        let by = who.user().map(|user| user.no);
        self.put_member(who, &home, uid, MemberChange { name, is_admin, may_come: false, by }).await
    }

    async fn put_member(&self, who: &impl Requester, home: &Home, uid: &Uid, change: MemberChange) -> Result<()> {
        if *uid == home.owner {
            return Err(Error::NotAllowed("the owner of the home stays what the owner is"));
        }
        match self.registry.put_member(who.project().no, home.id, uid, change, self.now_ms()).await? {
            MemberPut::Done | MemberPut::Invited => Ok(()),
            MemberPut::Unknown => Err(Error::NotVisible(Noun::User)),
            MemberPut::NotAllowed => Err(Error::NotAllowed("members of a home may not do that")),
            MemberPut::Full => Err(full()),
        }
    }

    /// Sends somebody away who lives in a home. Everybody but the owner may go. The devices that are the user's leave the
    /// home too: nobody there sees or commands them any more, and nothing that was wished of a device there is kept.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also the second time; [`Error::NotAllowed`] for plain members who mean somebody else, for
    /// admins who mean an admin, and for whoever means the owner.
    pub async fn remove_member(&self, who: &impl Requester, id: HomeId, uid: &Uid) -> Result<()> {
        let (project, by) = (who.project().no, who.user().map(|user| user.no));
        let people = self.people_of_home(project, id).await?;
        let detached = self.registry.remove_member(project, by, id, uid, self.now_ms()).await?;
        self.tell_taken(people);
        for device in detached {
            self.downlink.end_session(device).await;
        }
        Ok(())
    }

    /// The home that a device is to stand in when a user brings it: the one named, which the user must be owner or admin
    /// of, or else the user's first own home.
    pub(super) async fn home_to_bring_to(
        &self,
        who: &impl Requester,
        uid: &Uid,
        id: Option<HomeId>,
    ) -> Result<Option<HomeId>> {
        let homes = self.homes_of_user(who, uid).await?;
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
        let change = |by, may_come, is_admin| MemberChange { name: None, is_admin, may_come, by };
        let put = |is_admin| MemberDecision::Put { is_admin };
        let refuse = MemberDecision::Refuse;
        for (by, by_role, before, may_come, is_admin, expected) in [
            // The project takes anybody in at once, but does not put the owner.
            (None, None, None, true, None, put(false)),
            (None, None, None, true, Some(true), put(true)),
            (None, None, None, false, None, refuse(MemberPut::Unknown)),
            (None, None, Some(Owner), true, None, refuse(MemberPut::Unknown)),
            (None, None, Some(Admin), false, None, put(true)),
            // A user invites, and changes who lives there.
            (user, Some(Owner), None, true, Some(true), MemberDecision::Invite),
            (user, Some(Admin), None, true, Some(false), MemberDecision::Invite),
            (user, Some(Admin), None, true, Some(true), refuse(MemberPut::NotAllowed)),
            (user, Some(Admin), Some(Admin), false, Some(false), refuse(MemberPut::NotAllowed)),
            (user, Some(Admin), Some(Admin), false, None, put(true)),
            (user, Some(Owner), Some(Admin), false, Some(false), put(false)),
            (user, Some(Member), Some(Member), false, None, refuse(MemberPut::NotAllowed)),
            (user, None, Some(Member), false, None, refuse(MemberPut::NotAllowed)),
        ] {
            let claim = MemberClaim { before, by: by_role, members: 0, homes: 0 };
            let decision = change(by, may_come, is_admin).decide(&claim);
            assert_eq!(decision, expected, "{by_role:?} {before:?} {is_admin:?}");
        }
        for (members, homes) in [(MEMBERS_MAX, 0), (0, HOMES_GIVEN_MAX)] {
            let claim = MemberClaim { before: None, by: None, members, homes };
            assert_eq!(change(None, true, None).decide(&claim), refuse(MemberPut::Full));
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
