//! The contract of the registry, fifth part: invitations to homes, and which devices leave a home with a former member.

use ingle::domain::home::{HomePatch, HomeRole, MemberChange, MemberResult};
use ingle::domain::invitation::{
    INVITATION_LIFE_MS, INVITATIONS_BY_ONE_MAX, INVITATIONS_MAX, INVITATIONS_OF_PAIR_MAX, Invitation,
};
use ingle::domain::store::Registry;
use ingle::domain::world::{World, WorldDevice, WorldHome, WorldProject, WorldUser};
use ingle::domain::{DeviceNo, HomeId, ProjectNo, Uid, UserNo};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{DOOR, FOREIGN_USER, GATEWAY, GUEST, LEAK, OWNER};

const HOME: HomeId = HomeId(10_700_001);

fn uid(text: &str) -> Uid {
    Uid::from(text)
}

async fn no(registry: &dyn Registry, project: ProjectNo, user: &str) -> UserNo {
    registry.app_user(project, &uid(user)).await.unwrap().unwrap().no
}

async fn home(registry: &dyn Registry, project: ProjectNo, owner: &str) -> HomeId {
    registry.make_home(project, &uid(owner), HomePatch::default(), 10_000).await.unwrap().unwrap().unwrap()
}

async fn invite(
    registry: &dyn Registry,
    project: ProjectNo,
    home: HomeId,
    user: &str,
    by: UserNo,
    at: i64,
) -> MemberResult {
    let change = MemberChange { name: Some("New".to_owned()), is_admin: Some(false), may_join: true, by: Some(by) };
    registry.put_member(project, home, &uid(user), change, at).await.unwrap()
}

async fn waiting(registry: &dyn Registry, project: ProjectNo, user: &str, now: i64) -> Option<Vec<Invitation>> {
    registry.invitations(project, &uid(user), now - INVITATION_LIFE_MS, 10_000).await.unwrap()
}

/// Users without passwords, because hashing is slow.
async fn users(registry: &dyn Registry, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("az00000000000user{n:03}")).collect();
    let user = |name: &String| WorldUser {
        schema: "testApp".into(),
        username: name.clone(),
        uid: Some(name.clone()),
        username_type: None,
        country_code: None,
        password: None,
        nick_name: None,
        avatar: None,
        gender: None,
        time_zone_id: None,
        identity_id: None,
        open_id: None,
        login_id: None,
        phone: None,
        email: None,
        disabled: None,
    };
    let project = WorldProject { name: "first".into(), users: names.iter().map(user).collect(), ..Default::default() };
    registry.apply(World { projects: vec![project] }, &Cut(NOW), NOW).await.unwrap();
    names
}

#[test]
fn an_invitation_waits_is_answered_once_and_ends() {
    on_engines(async |registry, first, second| {
        let registry: &dyn Registry = &*registry;
        let owner = no(registry, first, OWNER).await;
        let answer = async |project, user: &str, accept, at| {
            registry.answer_invitation(project, &uid(user), HOME, accept, at).await.unwrap()
        };
        assert_eq!(waiting(registry, first, GUEST, NOW).await, Some(Vec::new()));
        assert_eq!(waiting(registry, second, GUEST, NOW).await, None);
        assert_eq!(answer(first, GUEST, true, NOW).await, MemberResult::Unknown);
        assert_eq!(invite(registry, first, HOME, GUEST, owner, NOW).await, MemberResult::Invited);
        let list = waiting(registry, first, GUEST, NOW).await.unwrap();
        assert_eq!((list.len(), list[0].home, list[0].home_name.as_str()), (1, HOME, "Home"));
        assert_eq!((&list[0].by.uid, list[0].is_admin, list[0].invited_ms), (&uid(OWNER), false, NOW));
        let lives_there = async || registry.home_role(no(registry, first, GUEST).await, HOME).await.unwrap().is_some();
        assert!(!lives_there().await && registry.members(first, HOME, 9).await.unwrap().len() == 1);
        // It expires, and it belongs to one user.
        let over = NOW + INVITATION_LIFE_MS;
        assert!(waiting(registry, first, GUEST, over).await.unwrap().is_empty());
        assert_eq!(answer(first, GUEST, true, over).await, MemberResult::Unknown);
        for (project, user) in [(second, GUEST), (first, FOREIGN_USER), (second, FOREIGN_USER)] {
            assert_eq!(answer(project, user, true, NOW).await, MemberResult::Unknown, "{user}");
        }
        assert_eq!(answer(first, GUEST, false, NOW).await, MemberResult::Done);
        assert_eq!(answer(first, GUEST, true, NOW).await, MemberResult::Unknown, "declined");
        // It is accepted by an answer and by a login.
        invite(registry, first, HOME, GUEST, owner, NOW).await;
        assert_eq!(answer(first, GUEST, true, over - 1).await, MemberResult::Done);
        assert!(lives_there().await && waiting(registry, first, GUEST, NOW).await.unwrap().is_empty());
        registry.remove_member(first, None, HOME, &uid(GUEST), NOW).await.unwrap();
        let guest = no(registry, first, GUEST).await;
        registry.accept_all_invitations(guest, NOW).await.unwrap();
        assert!(!lives_there().await);
        invite(registry, first, HOME, GUEST, owner, NOW).await;
        registry.accept_all_invitations(guest, over).await.unwrap();
        assert!(!lives_there().await, "its time is over");
        registry.accept_all_invitations(guest, over - 1).await.unwrap();
        assert!(lives_there().await);
        // It is removed with the home, with the user, and when the user becomes a member directly.
        registry.remove_member(first, None, HOME, &uid(GUEST), NOW).await.unwrap();
        invite(registry, first, HOME, GUEST, owner, NOW).await;
        let at_once = MemberChange { name: None, is_admin: None, may_join: true, by: None };
        assert_eq!(registry.put_member(first, HOME, &uid(GUEST), at_once, NOW).await.unwrap(), MemberResult::Done);
        assert!(waiting(registry, first, GUEST, NOW).await.unwrap().is_empty());
        let (lent, flat) = (home(registry, first, OWNER).await, home(registry, first, GUEST).await);
        invite(registry, first, lent, GUEST, owner, NOW).await;
        registry.remove_home(first, None, lent, NOW).await.unwrap();
        assert!(waiting(registry, first, GUEST, NOW).await.unwrap().is_empty());
        invite(registry, first, flat, OWNER, guest, NOW).await;
        registry.remove_user(first, &uid(GUEST), &Cut(NOW), NOW).await.unwrap();
        assert!(waiting(registry, first, OWNER, NOW).await.unwrap().is_empty());
    });
}

#[test]
fn invitations_are_counted_by_who_invites_and_nobody_is_kept_out() {
    on_engines(async |registry, first, _| {
        let registry: &dyn Registry = &*registry;
        let crowd = INVITATIONS_MAX / INVITATIONS_OF_PAIR_MAX;
        let names = users(registry, crowd + 1).await;
        let (honest, crowd) = names.split_last().unwrap();
        let honest_no = no(registry, first, honest).await;
        let real = home(registry, first, honest).await;
        assert_eq!(invite(registry, first, real, GUEST, honest_no, NOW).await, MemberResult::Invited);
        for (n, name) in crowd.iter().enumerate() {
            let by = no(registry, first, name).await;
            for again in 0..=INVITATIONS_OF_PAIR_MAX {
                let trap = home(registry, first, name).await;
                let put = invite(registry, first, trap, GUEST, by, NOW + n as i64).await;
                let expected = if again < INVITATIONS_OF_PAIR_MAX { MemberResult::Invited } else { MemberResult::Full };
                assert_eq!(put, expected);
            }
        }
        let list = waiting(registry, first, GUEST, NOW).await.unwrap();
        assert_eq!(list.len(), INVITATIONS_MAX, "bounded");
        assert!(list.iter().any(|invitation| invitation.home == real), "a flood does not wash the real one away");
        let other = home(registry, first, honest).await;
        assert_eq!(invite(registry, first, other, GUEST, honest_no, NOW + 99).await, MemberResult::Invited, "nor out");
        // The limit on all invitations of one inviter.
        for (n, name) in crowd.iter().cycle().take(INVITATIONS_BY_ONE_MAX - 2).enumerate() {
            let home = home(registry, first, honest).await;
            assert_eq!(invite(registry, first, home, name, honest_no, NOW).await, MemberResult::Invited, "{n}");
        }
        assert_eq!(invite(registry, first, other, OWNER, honest_no, NOW).await, MemberResult::Full);
        assert_eq!(
            invite(registry, first, other, OWNER, honest_no, NOW + INVITATION_LIFE_MS).await,
            MemberResult::Invited
        );
    });
}

/// The guest's gateway and sensor are in the owner's home. The sensor is attached to the owner's gateway, and the owner's
/// door sensor to the guest's gateway.
async fn entangled(registry: &dyn Registry, first: ProjectNo) {
    let device = |product: &str, name: &str| WorldDevice {
        product_id: product.into(),
        device_id: Some(name.into()),
        owner: Some("guest@example.com".into()),
        home_id: Some(HOME.0),
        ..WorldDevice::default()
    };
    let devices = vec![device("gateway000000001", "guestgate"), device("rzeSU2h9uoklx001", "guestsensor")];
    let project = WorldProject { name: "first".into(), devices, ..Default::default() };
    registry.apply(World { projects: vec![project] }, &Cut(NOW), NOW).await.unwrap();
    let no = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap().no;
    for (sub, gateway) in [("guestsensor", GATEWAY), (DOOR, "guestgate")] {
        assert!(registry.attach(&[no(sub).await], no(gateway).await, 9, &Cut(NOW), NOW).await.unwrap().0);
    }
}

/// Checks these devices after the guest has left the home.
async fn is_disentangled(registry: &dyn Registry, first: ProjectNo, mut ended: Vec<DeviceNo>) {
    let device = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap();
    for (name, owner, home, gateway) in [
        ("guestgate", GUEST, None, None),
        ("guestsensor", GUEST, None, None),
        (DOOR, OWNER, Some(HOME), None),
        (LEAK, OWNER, Some(HOME), Some(id(GATEWAY))),
    ] {
        let found = device(name).await;
        assert_eq!((&found.owner, found.home, &found.gateway), (&Some(uid(owner)), home, &gateway), "{name}");
    }
    ended.sort_unstable();
    let mut expected = vec![device("guestsensor").await.no, device(DOOR).await.no];
    expected.sort_unstable();
    assert_eq!(ended, expected, "the sessions that end");
}

#[test]
fn who_leaves_a_home_takes_the_own_devices_along_and_leaves_no_way_to_them() {
    on_engines(async |registry, first, _| {
        let registry: &dyn Registry = &*registry;
        entangled(registry, first).await;
        let at_once = MemberChange { name: None, is_admin: Some(true), may_join: true, by: None };
        registry.put_member(first, HOME, &uid(GUEST), at_once, NOW).await.unwrap();
        let ended = registry.remove_member(first, None, HOME, &uid(GUEST), NOW).await.unwrap();
        is_disentangled(registry, first, ended).await;
    });
}

#[test]
fn a_home_that_gets_another_owner_keeps_nothing_of_the_one_before() {
    on_engines(async |registry, first, _| {
        let registry: &dyn Registry = &*registry;
        let owned_by = |name: &str| {
            let home = WorldHome { home_id: Some(HOME.0), name: "Home".into(), owner: name.into() };
            let project = WorldProject { name: "first".into(), homes: vec![home], ..Default::default() };
            World { projects: vec![project] }
        };
        let at_once = MemberChange { name: None, is_admin: Some(true), may_join: true, by: None };
        registry.put_member(first, HOME, &uid(GUEST), at_once, NOW).await.unwrap();
        registry.apply(owned_by("guest@example.com"), &Cut(NOW), NOW).await.unwrap();
        let members = registry.members(first, HOME, 9).await.unwrap();
        assert_eq!(members.iter().map(|member| &member.user.uid).collect::<Vec<_>>(), [&uid(GUEST)]);
        let guest = no(registry, first, GUEST).await;
        assert_eq!(registry.home_role(guest, HOME).await.unwrap(), Some(HomeRole::Owner));
        assert!(registry.devices_of_home(first, HOME, 0, 9).await.unwrap().is_empty());
        // Naming the same owner again changes nothing.
        entangled(registry, first).await;
        let ((_, ended), _) = registry.apply(owned_by("guest@example.com"), &Cut(NOW), NOW).await.unwrap();
        assert!(ended.is_empty() && registry.devices_of_home(first, HOME, 0, 9).await.unwrap().len() == 2);
    });
}
