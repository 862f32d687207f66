//! What a change of owners does to a device, its gateway and those behind it (decision 0013): pure decisions. A store
//! loads a [`Group`], asks, and carries out the [`Step`]s in their order, in one transaction.

use super::{DeviceNo, HomeId, ProjectNo, UserNo};

/// What an owner's first home is called, which is made when there is none.
pub const FIRST_HOME: &str = "Home";

/// A device, as far as it matters to who owns it and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The store's number.
    pub no: DeviceNo,
    /// The project of its product.
    pub project: ProjectNo,
    /// Who owns it.
    pub owner: Option<UserNo>,
    /// Who owned it last, also when nobody does now.
    pub last_owner: Option<UserNo>,
    /// The home that it stands in.
    pub home: Option<HomeId>,
}

/// A device with the gateway that it is behind, and those behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The device.
    pub device: Placement,
    /// Its gateway.
    pub gateway: Option<Placement>,
    /// Those behind it.
    pub behind: Vec<Placement>,
}

/// Whether a new owner sees what a device logged for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Somebody new gets it as after a reset.
    EndsForNew,
    /// The operator keeps what there is.
    Kept,
}

/// One change to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everybody loses it, and it is told to them: its bindings and its home end, it leaves its gateway, and those behind
    /// it leave it.
    Release(DeviceNo),
    /// Its bindings, its home and what was wished of it end.
    EndBindings(DeviceNo),
    /// It leaves the gateway, which no longer speaks for it: its session ends.
    Detach(DeviceNo),
    /// As a reset: what people said of it goes, and the sight of its history.
    ForgetPast(DeviceNo),
    /// The device belongs to somebody who did not own it before.
    Arrive(DeviceNo, UserNo),
    /// Some may lose it by what follows, who are told; what was wished of it ends.
    LeaveHome(DeviceNo),
    /// It stands in this home.
    Stand(DeviceNo, HomeId),
    /// The user owns it; it is no longer removed.
    Bind(DeviceNo, UserNo),
}

/// Whether one of two devices speaks, as a gateway, for what another owner has.
fn is_between_owners(one: &Placement, other: &Placement) -> bool {
    one.owner.is_some() && other.owner.is_some() && one.owner != other.owner
}

impl Group {
    /// Makes the device a user's, in one of the user's homes. Whoever had it loses it, and gateways of others do not
    /// speak for it, nor it for devices of others.
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
        if self.was_anothers(user) && history == History::EndsForNew {
            steps.push(Step::ForgetPast(no));
        }
        steps.extend([Step::Arrive(no, user), Step::Stand(no, home), Step::Bind(no, user)]);
        steps
    }

    /// Whether somebody else than the user owned the device last, or does now.
    pub fn was_anothers(&self, user: UserNo) -> bool {
        self.device.last_owner.is_some_and(|last| last != user)
    }

    /// Takes the device from everybody, and with it what is behind it and the same owner's.
    pub fn release(&self) -> Vec<Step> {
        let is_owners =
            |sub: &&Placement| sub.no != self.device.no && sub.owner.is_some() && sub.owner == self.device.owner;
        self.behind.iter().filter(is_owners).chain([&self.device]).map(|one| Step::Release(one.no)).collect()
    }

    /// Puts the device into a home. From the one before go the people of that home, what they wished of it, and gateways
    /// there that others own.
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
        steps.push(Step::Stand(no, home));
        steps
    }

    /// Those behind the device that become its new owner's with it: of the same project, and nobody's.
    pub fn free_behind(&self) -> Vec<DeviceNo> {
        let is_free = |sub: &&Placement| sub.owner.is_none() && sub.project == self.device.project;
        self.behind.iter().filter(is_free).map(|sub| sub.no).collect()
    }
}

/// The owner whom a device gets by coming behind a gateway: the gateway's, when it is of the same project and nobody's
/// and was not removed.
pub fn owner_by_gateway(sub: &Placement, removed: bool, gateway: &Placement) -> Option<UserNo> {
    let is_free = sub.owner.is_none() && !removed && sub.project == gateway.project;
    gateway.owner.filter(|_| is_free)
}

/// Devices, each with its gateway, that are parted when a home of theirs goes: those that another owner has than the
/// gateway.
pub fn parted(behind: &[(Placement, Placement)]) -> Vec<DeviceNo> {
    behind.iter().filter(|(sub, gateway)| is_between_owners(sub, gateway)).map(|(sub, _)| sub.no).collect()
}

/// Of these those that are parted when a user leaves a home with the devices that are the user's: one of the two leaves and
/// the other, which somebody else owns, stays.
pub fn parted_by_leaving(home: HomeId, user: UserNo, behind: Vec<(Placement, Placement)>) -> Vec<DeviceNo> {
    let leaves = |one: &Placement| one.home == Some(home) && one.owner == Some(user);
    parted(&Vec::from_iter(behind.into_iter().filter(|(sub, gateway)| leaves(sub) || leaves(gateway))))
}

#[cfg(test)]
mod tests {
    use super::Step::{Arrive, Bind, Detach, EndBindings, ForgetPast, LeaveHome, Release, Stand};
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

    /// A device that nobody has, and that was somebody's last.
    fn given_up(last_owner: UserNo) -> Group {
        let mut given_up = group(None, None, &[]);
        given_up.device.last_owner = Some(last_owner);
        given_up
    }

    #[test]
    fn who_gets_a_device() {
        let arrives = [Arrive(DEVICE, ANN), Stand(DEVICE, HOME), Bind(DEVICE, ANN)];
        let table: [(&str, Group, &[Step]); 8] = [
            ("nobody's", group(None, None, &[]), &[EndBindings(DEVICE)]),
            ("nobody's now, the same owner's last", given_up(ANN), &[EndBindings(DEVICE)]),
            ("nobody's now, another's last", given_up(BOB), &[EndBindings(DEVICE), ForgetPast(DEVICE)]),
            ("another's", group(Some(BOB), None, &[]), &[Release(DEVICE), ForgetPast(DEVICE)]),
            (
                "another's gateway: what is behind it and that owner's goes with it",
                group(Some(BOB), None, &[Some(BOB), Some(CAT), None]),
                &[Release(DeviceNo(30)), Release(DEVICE), ForgetPast(DEVICE)],
            ),
            (
                "nobody's, behind a gateway of another's",
                group(None, Some(Some(BOB)), &[]),
                &[EndBindings(DEVICE), Detach(DEVICE)],
            ),
            ("nobody's, behind the own gateway", group(None, Some(Some(ANN)), &[]), &[EndBindings(DEVICE)]),
            (
                "nobody's gateway: it does not speak for what others have",
                group(None, None, &[Some(ANN), Some(BOB), None]),
                &[EndBindings(DEVICE), Detach(DeviceNo(31))],
            ),
        ];
        for (name, group, first) in table {
            let steps = group.hand_over(ANN, HOME, History::EndsForNew);
            let expected: Vec<Step> = first.iter().chain(&arrives).copied().collect();
            assert_eq!(steps, expected, "{name}");
            let kept = group.hand_over(ANN, HOME, History::Kept);
            assert!(!kept.contains(&ForgetPast(DEVICE)), "{name}: the operator keeps the history");
        }
    }

    #[test]
    fn an_owner_who_has_it_already_only_moves_it() {
        let same = group(Some(ANN), Some(Some(ANN)), &[Some(ANN)]);
        assert_eq!(
            same.hand_over(ANN, OTHER_HOME, History::EndsForNew),
            [Stand(DEVICE, OTHER_HOME), Bind(DEVICE, ANN)]
        );
        let moved = [LeaveHome(DEVICE), Stand(DEVICE, HOME), Bind(DEVICE, ANN)];
        assert_eq!(same.hand_over(ANN, HOME, History::EndsForNew), moved);
    }

    #[test]
    fn a_device_that_moves_leaves_the_gateways_of_others() {
        let alone = group(Some(ANN), Some(Some(BOB)), &[Some(ANN), Some(BOB), None]);
        let expected = [LeaveHome(DEVICE), Detach(DEVICE), Detach(DeviceNo(31)), Stand(DEVICE, HOME)];
        assert_eq!(alone.move_to(HOME), expected);
        assert_eq!(alone.move_to(OTHER_HOME), [Stand(DEVICE, OTHER_HOME)], "it stands there already");
        assert_eq!(group(None, Some(Some(BOB)), &[]).move_to(HOME), [Stand(DEVICE, HOME)], "it stood nowhere");
    }

    #[test]
    fn what_comes_with_a_gateway() {
        let foreign = Placement { project: ProjectNo(2), ..placed(9, None) };
        let mut gateway = group(None, None, &[None, Some(BOB)]);
        gateway.behind.push(foreign);
        assert_eq!(gateway.free_behind(), [DeviceNo(30)]);
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
            let parted = parted_by_leaving(OTHER_HOME, ANN, vec![(sub, gateway)]);
            assert_eq!(parted, Vec::from_iter(is_parted.then_some(sub.no)), "{sub:?} {gateway:?}");
        }
    }
}
