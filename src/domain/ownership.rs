//! The rules for a change of owners of a device, its gateway and its sub-devices (decision 0013), as pure functions. A
//! store loads a [`Group`], calls a rule, and carries out the returned [`Step`]s in their order, in one transaction.

use super::{DeviceNo, HomeId, ProjectNo, UserNo};

/// The name of a user's first home, which is created if necessary.
pub const FIRST_HOME: &str = "Home";

/// Instead of a home: the device belongs to none.
pub const NO_HOME: HomeId = HomeId(0);

/// The properties of a device that decide about its owner and home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The store's number.
    pub no: DeviceNo,
    /// The project of its product.
    pub project: ProjectNo,
    /// The owner.
    pub owner: Option<UserNo>,
    /// The present owner or, if there is none, the last one.
    pub last_owner: Option<UserNo>,
    /// The home that it belongs to.
    pub home: Option<HomeId>,
}

/// A device with its gateway and its sub-devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The device.
    pub device: Placement,
    /// Its gateway.
    pub gateway: Option<Placement>,
    /// Its sub-devices.
    pub behind: Vec<Placement>,
}

/// Whether a new owner sees the history of earlier owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The history is hidden from a new owner, as after a reset.
    EndsForNew,
    /// The history remains visible, because the operator says so.
    Kept,
}

/// One change to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All users lose the device, and are informed. Its bindings are removed, it belongs to no home, and it is detached
    /// from its gateway and its sub-devices.
    Release(DeviceNo),
    /// Its bindings, its membership of a home and its desired values are removed.
    EndBindings(DeviceNo),
    /// It is detached from its gateway, which no longer represents it: its session ends.
    Detach(DeviceNo),
    /// As after a reset: names and other data of its users are removed, and its history is hidden.
    ResetHistory(DeviceNo),
    /// The device gets an owner who did not own it before.
    NewOwner(DeviceNo, UserNo),
    /// The following steps may take it from some users, who are informed; its desired values are removed.
    LeaveHome(DeviceNo),
    /// It belongs to this home, or to none for [`NO_HOME`].
    SetHome(DeviceNo, HomeId),
    /// The user owns it; it no longer counts as removed.
    Bind(DeviceNo, UserNo),
}

impl Placement {
    /// Whether a user other than this one owned the device last, or owns it now.
    pub fn had_other_owner(&self, user: UserNo) -> bool {
        self.last_owner.is_some_and(|last| last != user)
    }
}

/// Whether a gateway and its sub-device have different owners.
fn is_between_owners(one: &Placement, other: &Placement) -> bool {
    one.owner.is_some() && other.owner.is_some() && one.owner != other.owner
}

impl Group {
    /// Makes the device a user's, in one of the user's homes. Its other users lose it. It is detached from gateways and
    /// sub-devices of other owners.
    pub fn hand_over(&self, user: UserNo, home: HomeId, history: History) -> Vec<Step> {
        let (no, owner) = (self.device.no, self.device.owner);
        if owner == Some(user) {
            return self.move_to(home).into_iter().chain([Step::Bind(no, user)]).collect();
        }
        let mut steps = match owner {
            Some(_) => self.release(),
            None => vec![Step::EndBindings(no)],
        };
        let is_anothers = |other: &Placement| other.owner.is_some_and(|owner| owner != user);
        if owner.is_none() {
            steps.extend(self.gateway.filter(is_anothers).map(|_| Step::Detach(no)));
            steps.extend(self.behind.iter().filter(|sub| is_anothers(sub)).map(|sub| Step::Detach(sub.no)));
        }
        if self.device.had_other_owner(user) && history == History::EndsForNew {
            steps.push(Step::ResetHistory(no));
        }
        steps.extend([Step::NewOwner(no, user), Step::SetHome(no, home), Step::Bind(no, user)]);
        steps
    }

    /// Takes the device from all its users, together with those sub-devices that have the same owner.
    pub fn release(&self) -> Vec<Step> {
        let is_owners =
            |sub: &&Placement| sub.no != self.device.no && sub.owner.is_some() && sub.owner == self.device.owner;
        self.behind.iter().filter(is_owners).chain([&self.device]).map(|one| Step::Release(one.no)).collect()
    }

    /// Moves the device to a home. If it was in another one, the members of that home lose it, its desired values are
    /// removed, and it is detached from gateways and sub-devices of other owners.
    pub fn move_to(&self, home: HomeId) -> Vec<Step> {
        let no = self.device.no;
        let mut steps = Vec::new();
        if self.device.home.is_some_and(|before| before != home) {
            steps.push(Step::LeaveHome(no));
            let gateway = self.gateway.filter(|gateway| is_between_owners(&self.device, gateway));
            steps.extend(gateway.map(|_| Step::Detach(no)));
            let others = self.behind.iter().filter(|sub| is_between_owners(&self.device, sub));
            steps.extend(others.map(|sub| Step::Detach(sub.no)));
        }
        steps.push(Step::SetHome(no, home));
        steps
    }

    /// The sub-devices that get the device's new owner too: those of the same project without an owner.
    pub fn unowned_sub_devices(&self) -> Vec<DeviceNo> {
        let is_free = |sub: &&Placement| sub.owner.is_none() && sub.project == self.device.project;
        self.behind.iter().filter(is_free).map(|sub| sub.no).collect()
    }
}

/// The owner that a device gets when it is attached to a gateway: the gateway's owner, if the device is of the same
/// project, has no owner and was not removed.
pub fn owner_by_gateway(sub: &Placement, removed: bool, gateway: &Placement) -> Option<UserNo> {
    let is_free = sub.owner.is_none() && !removed && sub.project == gateway.project;
    gateway.owner.filter(|_| is_free)
}

/// The sub-devices that are detached when their home is removed: those whose gateway has another owner.
pub fn detached_by_removal(behind: &[(Placement, Placement)]) -> Vec<DeviceNo> {
    behind.iter().filter(|(sub, gateway)| is_between_owners(sub, gateway)).map(|(sub, _)| sub.no).collect()
}

/// The sub-devices that are detached when a user leaves a home with the user's own devices: either the sub-device or
/// its gateway leaves, and the other one, which has another owner, stays.
pub fn detached_by_leaving(home: HomeId, user: UserNo, behind: Vec<(Placement, Placement)>) -> Vec<DeviceNo> {
    let leaves = |one: &Placement| one.home == Some(home) && one.owner == Some(user);
    detached_by_removal(&Vec::from_iter(behind.into_iter().filter(|(sub, gateway)| leaves(sub) || leaves(gateway))))
}

#[cfg(test)]
mod tests {
    use super::Step::{Bind, Detach, EndBindings, LeaveHome, NewOwner, Release, ResetHistory, SetHome};
    use super::*;

    const MAKER: ProjectNo = ProjectNo(1);
    const ANN: UserNo = UserNo(11);
    const BOB: UserNo = UserNo(12);
    const CAT: UserNo = UserNo(13);
    const HOME: HomeId = HomeId(5);
    const OTHER_HOME: HomeId = HomeId(6);
    const DEVICE: DeviceNo = DeviceNo(1);

    fn placed(no: i64, owner: Option<UserNo>) -> Placement {
        let home = owner.map(|_| OTHER_HOME);
        Placement { no: DeviceNo(no), project: MAKER, owner, last_owner: owner, home }
    }

    fn group(owner: Option<UserNo>, gateway: Option<Option<UserNo>>, behind: &[Option<UserNo>]) -> Group {
        let behind = behind.iter().zip(30..).map(|(owner, no)| placed(no, *owner)).collect();
        Group { device: placed(1, owner), gateway: gateway.map(|owner| placed(20, owner)), behind }
    }

    /// A device that has no owner now, but had one.
    fn given_up(last_owner: UserNo) -> Group {
        let mut given_up = group(None, None, &[]);
        given_up.device.last_owner = Some(last_owner);
        given_up
    }

    #[test]
    fn who_gets_a_device() {
        let arrives = [NewOwner(DEVICE, ANN), SetHome(DEVICE, HOME), Bind(DEVICE, ANN)];
        let table: [(&str, Group, &[Step]); 8] = [
            ("nobody's", group(None, None, &[]), &[EndBindings(DEVICE)]),
            ("nobody's now, the same owner's last", given_up(ANN), &[EndBindings(DEVICE)]),
            ("nobody's now, another's last", given_up(BOB), &[EndBindings(DEVICE), ResetHistory(DEVICE)]),
            ("another's", group(Some(BOB), None, &[]), &[Release(DEVICE), ResetHistory(DEVICE)]),
            (
                "another's gateway: what is behind it and that owner's goes with it",
                group(Some(BOB), None, &[Some(BOB), Some(CAT), None]),
                &[Release(DeviceNo(30)), Release(DEVICE), ResetHistory(DEVICE)],
            ),
            (
                "nobody's, behind a gateway of another's",
                group(None, Some(Some(BOB)), &[]),
                &[EndBindings(DEVICE), Detach(DEVICE)],
            ),
            ("nobody's, behind the own gateway", group(None, Some(Some(ANN)), &[]), &[EndBindings(DEVICE)]),
            (
                "nobody's gateway: it does not represent devices of others",
                group(None, None, &[Some(ANN), Some(BOB), None]),
                &[EndBindings(DEVICE), Detach(DeviceNo(31))],
            ),
        ];
        for (name, group, first) in table {
            let steps = group.hand_over(ANN, HOME, History::EndsForNew);
            let expected: Vec<Step> = first.iter().chain(&arrives).copied().collect();
            assert_eq!(steps, expected, "{name}");
            let kept = group.hand_over(ANN, HOME, History::Kept);
            assert!(!kept.contains(&ResetHistory(DEVICE)), "{name}: the operator keeps the history");
        }
    }

    #[test]
    fn an_owner_who_has_it_already_only_moves_it() {
        let same = group(Some(ANN), Some(Some(ANN)), &[Some(ANN)]);
        assert_eq!(
            same.hand_over(ANN, OTHER_HOME, History::EndsForNew),
            [SetHome(DEVICE, OTHER_HOME), Bind(DEVICE, ANN)]
        );
        let moved = [LeaveHome(DEVICE), SetHome(DEVICE, HOME), Bind(DEVICE, ANN)];
        assert_eq!(same.hand_over(ANN, HOME, History::EndsForNew), moved);
    }

    #[test]
    fn a_device_that_moves_leaves_the_gateways_of_others() {
        let alone = group(Some(ANN), Some(Some(BOB)), &[Some(ANN), Some(BOB), None]);
        let expected = [LeaveHome(DEVICE), Detach(DEVICE), Detach(DeviceNo(31)), SetHome(DEVICE, HOME)];
        assert_eq!(alone.move_to(HOME), expected);
        assert_eq!(alone.move_to(OTHER_HOME), [SetHome(DEVICE, OTHER_HOME)], "it stands there already");
        assert_eq!(group(None, Some(Some(BOB)), &[]).move_to(HOME), [SetHome(DEVICE, HOME)], "it stood nowhere");
    }

    #[test]
    fn what_comes_with_a_gateway() {
        let foreign = Placement { project: ProjectNo(2), ..placed(9, None) };
        let mut gateway = group(None, None, &[None, Some(BOB)]);
        gateway.behind.push(foreign);
        assert_eq!(gateway.unowned_sub_devices(), [DeviceNo(30)]);
        let owned = placed(1, Some(ANN));
        for (sub, removed, gateway, expected) in [
            (placed(30, None), false, owned, Some(ANN)),
            (placed(30, Some(BOB)), false, owned, None),
            (placed(30, None), true, owned, None),
            (foreign, false, owned, None),
            (placed(30, None), false, placed(1, None), None),
        ] {
            assert_eq!(owner_by_gateway(&sub, removed, &gateway), expected, "{sub:?} {removed}");
        }
    }

    #[test]
    fn who_leaves_a_home_leaves_no_way_back() {
        let (anns, bobs, nobodys) = (placed(1, Some(ANN)), placed(2, Some(BOB)), placed(3, None));
        let elsewhere = Placement { home: Some(HOME), ..anns };
        for (sub, gateway, is_parted) in [
            (anns, bobs, true),
            (bobs, anns, true),
            (anns, anns, false),
            (bobs, bobs, false),
            (anns, nobodys, false),
            (nobodys, anns, false),
            (elsewhere, bobs, false),
        ] {
            let detached_by_removal = detached_by_leaving(OTHER_HOME, ANN, vec![(sub, gateway)]);
            assert_eq!(detached_by_removal, Vec::from_iter(is_parted.then_some(sub.no)), "{sub:?} {gateway:?}");
        }
    }
}
