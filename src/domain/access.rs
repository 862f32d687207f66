//! Who may see a device, and which of its members. These rules are pure functions. An engine that selects many devices
//! expresses the same rules in its query language, in one module (for SQLite `store/sqlite/visibility.rs`), and the
//! contract suite compares the two.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::device::TIME_ZONE;
use super::feed::Audience;
use super::{Device, DeviceNo, Error, Noun, ProjectNo, Requester, Result, UserNo};

/// What reads devices from the database of an engine. Only engines implement it.
pub trait DeviceFinder {}

/// Proof that a store found a device. Every [`Device`] holds one, and only an engine can create it. Methods of the stores
/// that take a `&Device` use the number in its proof, so they cannot be called with a number from elsewhere (decision
/// 0025).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(DeviceNo);

impl Found {
    /// The proof, for an engine that found a device.
    pub fn by(_: &impl DeviceFinder, device: DeviceNo) -> Self {
        Self(device)
    }

    /// The device that was found.
    pub fn no(self) -> DeviceNo {
        self.0
    }
}

/// The role of a user for a device, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceRole {
    /// The device is shared with the user, who may see and command it.
    Sharee,
    /// The device belongs to a home of which the user is the owner or a member; the user may see and command it.
    Resident,
    /// The user owns the device, and may also name and share it.
    Owner,
}

/// A project or user that wants to see a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The project.
    pub project: ProjectNo,
    /// The user; `None` for the project itself.
    pub user: Option<UserNo>,
}

impl Viewer {
    /// The viewer that makes a call.
    pub fn of(requester: &impl Requester) -> Self {
        Self { project: requester.project().no, user: requester.user().map(|user| user.no) }
    }
}

/// The relations of a device that decide who sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relations {
    /// The project of its product.
    pub maker: ProjectNo,
    /// Whether it was removed and not bound again.
    pub removed: bool,
    /// Its owner and its sharees.
    pub holders: Vec<Holder>,
    /// The project of its present or last owner.
    pub last_owner: Option<ProjectNo>,
    /// The home that it belongs to.
    pub home: Option<HomeUsers>,
}

/// A user to whom a device is bound, as owner or sharee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The user.
    pub user: UserNo,
    /// The user's project.
    pub project: ProjectNo,
    /// Whether the user owns the device; otherwise it is shared with the user.
    pub owned: bool,
}

/// The owner and the members of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeUsers {
    /// Their project.
    pub project: ProjectNo,
    /// The owner and the members.
    pub users: Vec<UserNo>,
}

/// The way in which a viewer sees a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The viewer's role; a project that sees a device has the role of an owner.
    pub role: DeviceRole,
    /// Whether the device is [`Device::held_elsewhere`] for the viewer's project.
    pub held_elsewhere: bool,
}

impl View {
    /// Checks that the viewer may name and share the device: its owner, or a project for which it is not held
    /// elsewhere.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a device that is held elsewhere; [`Error::NotAllowed`] for another role.
    pub fn check_manages(self) -> Result<()> {
        match self {
            Self { held_elsewhere: true, .. } => Err(Error::NotVisible(Noun::Device)),
            Self { role: DeviceRole::Owner, .. } => Ok(()),
            Self { .. } => Err(Error::NotAllowed("only the owner of the device may do that")),
        }
    }
}

impl Relations {
    /// The way in which a viewer sees the device; `None` if the viewer does not see it. The project of its product and
    /// the projects of its owner and sharees see it. A user sees own and shared devices, and those in the user's homes.
    pub fn view(&self, viewer: Viewer) -> Option<View> {
        if !self.projects().contains(&viewer.project) {
            return None;
        }
        let role = viewer.user.map_or(Some(DeviceRole::Owner), |user| self.role(user))?;
        Some(View { role, held_elsewhere: self.is_held_elsewhere(viewer.project) })
    }

    /// The role of a user.
    pub fn role(&self, user: UserNo) -> Option<DeviceRole> {
        let held = self.holders.iter().find(|holder| holder.user == user);
        let belongs_to_home = self.home.as_ref().is_some_and(|home| home.users.contains(&user));
        role(held.is_some_and(|holder| holder.owned), belongs_to_home, held.is_some())
    }

    /// Whether the device is held elsewhere for a project: users of other projects have it or had it last, and no user
    /// of this project has it.
    pub fn is_held_elsewhere(&self, project: ProjectNo) -> bool {
        let others = self.holders.iter().map(|holder| holder.project);
        let others = others.chain(self.home.as_ref().map(|home| home.project)).chain(self.last_owner);
        !self.holders.iter().any(|holder| holder.project == project) && others.into_iter().any(|other| other != project)
    }

    /// Everyone who sees the device.
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

/// The role of a user who owns a device, belongs to its home, or to whom it is bound in any way.
pub fn role(owns: bool, belongs_to_home: bool, holds: bool) -> Option<DeviceRole> {
    match (owns, belongs_to_home, holds) {
        (true, _, _) => Some(DeviceRole::Owner),
        (false, true, _) => Some(DeviceRole::Resident),
        (false, false, true) => Some(DeviceRole::Sharee),
        (false, false, false) => None,
    }
}

/// Information that gives access to the home cannot be revoked later. So a sharee sees neither the local key nor
/// addresses nor the position.
pub fn seen_as(device: Arc<Device>, role: DeviceRole) -> Arc<Device> {
    if role > DeviceRole::Sharee {
        return device;
    }
    let (local_key, ip, mac, sn) = Default::default();
    Arc::new(Device { local_key, ip, mac, sn, home: None, lat: None, lon: None, ..Device::clone(&device) })
}

/// A device that is held elsewhere, without the data of its users: name, home, position, time of the last change,
/// addresses and local key.
pub fn as_held_elsewhere(device: Device) -> Device {
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
            home: home.map(|(project, people)| HomeUsers { project, users: users(people) }),
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
            // Without an owner: only the project of the product sees it.
            (&lonely, MAKER, 0, Some((Owner, false))),
            (&lonely, MAKER, 11, None),
            (&lonely, OTHER, 0, None),
            // A device of users of that project.
            (&own, MAKER, 0, Some((Owner, false))),
            (&own, MAKER, 11, Some((Owner, false))),
            (&own, MAKER, 12, Some((Sharee, false))),
            (&own, MAKER, 13, Some((Resident, false))),
            (&own, MAKER, 14, None),
            (&own, OTHER, 0, None),
            (&own, OTHER, 11, None),
            // Users of another project have it.
            (&held_elsewhere, MAKER, 0, Some((Owner, true))),
            (&held_elsewhere, OTHER, 0, Some((Owner, false))),
            (&held_elsewhere, OTHER, 21, Some((Owner, false))),
            (&held_elsewhere, OTHER, 22, Some((Resident, false))),
            (&held_elsewhere, THIRD, 0, None),
            // It is also shared with a user of the project of its product.
            (&shared_back, MAKER, 0, Some((Owner, false))),
            (&shared_back, MAKER, 12, Some((Sharee, false))),
            // It remains held elsewhere after its last user has lost it.
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
