//! Who sees what of a device: which relation to it gives which view, and what each view shows. Pure rules; an engine
//! that selects many devices says the same as conditions of its query language, in one module (for SQLite
//! `store/sqlite/visibility.rs`), and the contract suite compares the two.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::device::TIME_ZONE;
use super::feed::Audience;
use super::{Device, Error, Noun, ProjectNo, Requester, Result, UserNo};

/// What a user has of a device, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceRole {
    /// It is shared to the user, who sees and commands it.
    Sharee,
    /// It stands in a home that the user lives in; it is seen and commanded.
    Resident,
    /// The user owns it, and may name and share it too.
    Owner,
}

/// Who asks to see a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The tenant.
    pub project: ProjectNo,
    /// One of its users; the project itself without one.
    pub user: Option<UserNo>,
}

impl Viewer {
    /// Whoever makes a request.
    pub fn of(who: &impl Requester) -> Self {
        Self { project: who.project().no, user: who.user().map(|user| user.no) }
    }
}

/// The relations of one device that decide who sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relations {
    /// The project of its product.
    pub maker: ProjectNo,
    /// Whether it was removed and not bound since.
    pub removed: bool,
    /// Its owner and those to whom it is shared.
    pub holders: Vec<Holder>,
    /// The project of its last owner, who may have lost it since.
    pub last_owner: Option<ProjectNo>,
    /// The home that it stands in.
    pub home: Option<HomePeople>,
}

/// A user to whom a device is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The user.
    pub user: UserNo,
    /// The user's project.
    pub project: ProjectNo,
    /// Whether the user owns the device; otherwise it is shared to the user.
    pub owned: bool,
}

/// The people of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomePeople {
    /// Their project.
    pub project: ProjectNo,
    /// The home's owner and its members.
    pub users: Vec<UserNo>,
}

/// How a viewer sees a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// What the viewer has of it; a project that sees a device has all of it.
    pub role: DeviceRole,
    /// Whether it is another project's for the viewer's ([`Device::held_elsewhere`]).
    pub held_elsewhere: bool,
}

impl View {
    /// Whether the viewer may name and share the device: its owner, or a project, unless another project's people have
    /// it.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for one that is held elsewhere; [`Error::NotAllowed`] for somebody who only sees it.
    pub fn check_manages(self) -> Result<()> {
        match self {
            Self { held_elsewhere: true, .. } => Err(Error::NotVisible(Noun::Device)),
            Self { role: DeviceRole::Owner, .. } => Ok(()),
            Self { .. } => Err(Error::NotAllowed("only the owner of the device may do that")),
        }
    }
}

impl Relations {
    /// How a viewer sees the device; `None` when the viewer does not. The maker's project sees it, and the project of
    /// everybody who has it. A user sees what the user has, or what stands in a home where the user lives.
    pub fn view(&self, viewer: Viewer) -> Option<View> {
        if !self.projects().contains(&viewer.project) {
            return None;
        }
        let role = viewer.user.map_or(Some(DeviceRole::Owner), |user| self.role(user))?;
        Some(View { role, held_elsewhere: self.is_held_elsewhere(viewer.project) })
    }

    /// What a user has of the device.
    pub fn role(&self, user: UserNo) -> Option<DeviceRole> {
        let held = self.holders.iter().find(|holder| holder.user == user);
        let lives_there = self.home.as_ref().is_some_and(|home| home.users.contains(&user));
        role(held.is_some_and(|holder| holder.owned), lives_there, held.is_some())
    }

    /// Whether the device is another project's for this one: its people are or were last, and none of this project's.
    pub fn is_held_elsewhere(&self, project: ProjectNo) -> bool {
        let others = self.holders.iter().map(|holder| holder.project);
        let others = others.chain(self.home.as_ref().map(|home| home.project)).chain(self.last_owner);
        !self.holders.iter().any(|holder| holder.project == project) && others.into_iter().any(|other| other != project)
    }

    /// Everybody who sees the device.
    pub fn audience(&self) -> Audience {
        let holders = self.holders.iter().map(|holder| holder.user);
        let users: BTreeSet<UserNo> = holders.chain(self.home.iter().flat_map(|home| home.users.clone())).collect();
        Audience { projects: self.projects().into_iter().collect(), users: users.into_iter().collect() }
    }

    fn projects(&self) -> BTreeSet<ProjectNo> {
        let maker = (!self.removed).then_some(self.maker);
        maker.into_iter().chain(self.holders.iter().map(|holder| holder.project)).collect()
    }
}

/// What a user has of a device who owns it, lives where it stands, or to whom it is bound in any way.
pub fn role(owns: bool, lives_there: bool, holds: bool) -> Option<DeviceRole> {
    match (owns, lives_there, holds) {
        (true, _, _) => Some(DeviceRole::Owner),
        (false, true, _) => Some(DeviceRole::Resident),
        (false, false, true) => Some(DeviceRole::Sharee),
        (false, false, false) => None,
    }
}

/// What opens a home cannot be taken back: one to whom a device is shared learns neither its key nor its addresses, and not
/// where it stands.
pub fn seen_as(device: Arc<Device>, role: DeviceRole) -> Arc<Device> {
    if role > DeviceRole::Sharee {
        return device;
    }
    let (local_key, ip, mac, sn) = Default::default();
    Arc::new(Device { local_key, ip, mac, sn, home: None, lat: None, lon: None, ..Device::clone(&device) })
}

/// A device that another project's people have, without anything that is theirs: what they call it, where it is, when
/// they last changed something, and the ways to it.
pub fn as_its_maker_sees(device: Device) -> Device {
    let (home, gateway, node_id, lat, lon, ip, local_key) = Default::default();
    let (name, time_zone) = (device.product.name.clone(), TIME_ZONE.to_owned());
    let updated_ms = device.created_ms.max(device.active_ms);
    Device {
        held_elsewhere: true,
        home,
        gateway,
        node_id,
        ip,
        lat,
        lon,
        local_key,
        name,
        time_zone,
        updated_ms,
        ..device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKER: ProjectNo = ProjectNo(1);
    const OTHER: ProjectNo = ProjectNo(2);
    const THIRD: ProjectNo = ProjectNo(3);

    fn device(holders: &[(i64, ProjectNo, bool)], home: Option<(ProjectNo, &[i64])>) -> Relations {
        let holder = |&(user, project, owned): &(i64, ProjectNo, bool)| Holder { user: UserNo(user), project, owned };
        let users = |users: &[i64]| users.iter().map(|user| UserNo(*user)).collect();
        Relations {
            maker: MAKER,
            removed: false,
            last_owner: holders.iter().find(|(_, _, owned)| *owned).map(|(_, project, _)| *project),
            holders: holders.iter().map(holder).collect(),
            home: home.map(|(project, people)| HomePeople { project, users: users(people) }),
        }
    }

    fn view(relations: &Relations, project: ProjectNo, user: i64) -> Option<(DeviceRole, bool)> {
        let user = (user > 0).then_some(UserNo(user));
        relations.view(Viewer { project, user }).map(|view| (view.role, view.held_elsewhere))
    }

    #[test]
    fn who_sees_a_device() {
        use DeviceRole::{Owner, Resident, Sharee};
        let lonely = device(&[], None);
        let own = device(&[(11, MAKER, true), (12, MAKER, false)], Some((MAKER, &[11, 13])));
        let held_elsewhere = device(&[(21, OTHER, true)], Some((OTHER, &[21, 22])));
        let shared_back = device(&[(21, OTHER, true), (12, MAKER, false)], Some((OTHER, &[21])));
        let given_up = Relations { last_owner: Some(OTHER), ..lonely.clone() };
        let removed = Relations { removed: true, ..lonely.clone() };
        let table = [
            // Of nobody: the maker's project sees it, and nobody else.
            (&lonely, MAKER, 0, Some((Owner, false))),
            (&lonely, MAKER, 11, None),
            (&lonely, OTHER, 0, None),
            // A device of the maker's own people.
            (&own, MAKER, 0, Some((Owner, false))),
            (&own, MAKER, 11, Some((Owner, false))),
            (&own, MAKER, 12, Some((Sharee, false))),
            (&own, MAKER, 13, Some((Resident, false))),
            (&own, MAKER, 14, None),
            (&own, OTHER, 0, None),
            (&own, OTHER, 11, None),
            // Another project's people have it.
            (&held_elsewhere, MAKER, 0, Some((Owner, true))),
            (&held_elsewhere, OTHER, 0, Some((Owner, false))),
            (&held_elsewhere, OTHER, 21, Some((Owner, false))),
            (&held_elsewhere, OTHER, 22, Some((Resident, false))),
            (&held_elsewhere, THIRD, 0, None),
            // One of the maker's has a share of it again.
            (&shared_back, MAKER, 0, Some((Owner, false))),
            (&shared_back, MAKER, 12, Some((Sharee, false))),
            // What they left stays theirs, also when nobody has it any more.
            (&given_up, MAKER, 0, Some((Owner, true))),
            (&given_up, OTHER, 0, None),
            (&removed, MAKER, 0, None),
        ];
        for (relations, project, user, expected) in table {
            assert_eq!(view(relations, project, user), expected, "{project:?} {user}: {relations:?}");
        }
    }

    #[test]
    fn an_audience_is_whoever_has_a_view() {
        let shared_back = device(&[(21, OTHER, true), (12, MAKER, false)], Some((OTHER, &[21, 22])));
        let audience = shared_back.audience();
        assert_eq!(audience.projects, [MAKER, OTHER]);
        assert_eq!(audience.users, [UserNo(12), UserNo(21), UserNo(22)]);
        let removed = Relations { removed: true, ..device(&[], None) };
        assert_eq!(removed.audience(), Audience::default());
    }

    #[test]
    fn only_an_owner_and_a_project_with_people_manage() {
        use DeviceRole::{Owner, Resident, Sharee};
        for (role, held_elsewhere, expected) in [
            (Owner, false, None),
            (Resident, false, Some(false)),
            (Sharee, false, Some(false)),
            (Owner, true, Some(true)),
            (Sharee, true, Some(true)),
        ] {
            let refused = View { role, held_elsewhere }.check_manages().err();
            let is_hidden = refused.map(|error| matches!(error, Error::NotVisible(Noun::Device)));
            assert_eq!(is_hidden, expected, "{role:?} {held_elsewhere}");
        }
    }
}
