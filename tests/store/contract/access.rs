//! The contract of the registry: every search shows a device to exactly the requesters to whom `domain::access` shows it, in
//! the same form.

use ingle::domain::access::{DeviceRole, Holder, HomeUsers, Relations, Viewer};
use ingle::domain::caller::AppUser;
use ingle::domain::device::{DeviceQuery, Removal, UserDevices};
use ingle::domain::feed::SubscribedQuery;
use ingle::domain::home::MemberChange;
use ingle::domain::store::Registry;
use ingle::domain::{DeviceNo, HomeId, ProjectNo, Uid};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{FOREIGN, FOREIGN_USER, GUEST, HELD_ELSEWHERE, LONELY, OWNER, PLUG, SCALE, SPEAKER};

/// A requester: a project, or one of its users.
struct Asking {
    project: ProjectNo,
    user: Option<AppUser>,
}

async fn asking(registry: &dyn Registry, project: ProjectNo, user: &str) -> Asking {
    let user = registry.app_user(project, &Uid::from(user)).await.unwrap();
    Asking { project, user: Some(user.unwrap()) }
}

/// Checks every search for devices for one device and all requesters.
async fn compare(registry: &dyn Registry, everybody: &[Asking], name: &str, expected: &Relations) {
    let stored = registry.device_by_id(&id(name)).await.unwrap().unwrap();
    let no: DeviceNo = stored.no;
    assert_eq!(registry.audiences(&[no]).await.unwrap(), [expected.audience()], "{name}");
    for asking in everybody {
        let project = asking.project;
        let of_project = expected.view(Viewer { project, user: None });
        let found = registry.device(project, &id(name)).await.unwrap();
        let place = format!("{name} {project:?} {:?}", asking.user.as_ref().map(|user| &user.uid));
        assert_eq!(
            found.as_ref().map(|device| device.held_elsewhere),
            of_project.map(|view| view.held_elsewhere),
            "{place}"
        );
        if let Some(device) = found {
            let nothing_of_theirs = device.local_key.is_empty() && device.home.is_none() && device.owner.is_none();
            assert!(!device.held_elsewhere || nothing_of_theirs && device.name == device.product.name, "{place}");
        }

        let view = expected.view(Viewer { project, user: asking.user.as_ref().map(|user| user.no) });
        let query = SubscribedQuery { project, user: asking.user.as_ref(), device: no };
        let seen = registry.subscribed_devices(&[query]).await.unwrap().remove(0);
        assert_eq!(seen.is_some(), view.is_some(), "{place}");
        if let (Some(seen), Some(view)) = (seen, view) {
            let shows_key = view.role > DeviceRole::Sharee && !view.held_elsewhere;
            assert_eq!((seen.held_elsewhere, !seen.local_key.is_empty()), (view.held_elsewhere, shows_key), "{place}");
        }

        let user = asking.user.as_ref().map(|user| user.no);
        for ids in [None, Some(vec![id(name)])] {
            let query = DeviceQuery { user, ids, limit: 100, ..DeviceQuery::default() };
            let page = registry.devices(project, &query).await.unwrap().unwrap();
            assert_eq!(page.devices.iter().any(|device| device.no == no), view.is_some(), "{place}");
            assert_eq!(page.total, page.devices.len() as u64, "{place}");
        }
        let Some(user) = &asking.user else { continue };
        let role = registry.device_roles(user.no, &[&stored]).await.unwrap();
        assert_eq!(role, [expected.role(user.no)], "{place}");
        let role = view.map(|view| view.role);
        let is_held = |owned| expected.holders.iter().any(|holder| holder.user == user.no && holder.owned == owned);
        for (which, expected) in [
            (UserDevices::Home, role.is_some_and(|role| role > DeviceRole::Sharee)),
            (UserDevices::Shared, is_held(false)),
        ] {
            let list = registry.devices_of_user(project, &user.uid, which, 0, 100).await.unwrap().unwrap();
            assert_eq!(list.iter().any(|device| device.no == no), expected, "{place} {which:?}");
        }
    }
}

#[test]
fn every_finder_shows_a_device_to_those_who_see_it() {
    on_engines(async |registry, first, second| {
        let registry: &dyn Registry = &*registry;
        // The guest is also a member of the owner's home.
        let comes = MemberChange { name: None, is_admin: None, may_join: true, by: None };
        registry.put_member(first, HomeId(10_700_001), &Uid::from(GUEST), comes, NOW).await.unwrap();
        let project = |project| Asking { project, user: None };
        let (owner, guest) = (asking(registry, first, OWNER).await, asking(registry, first, GUEST).await);
        let other = asking(registry, second, FOREIGN_USER).await;
        let no = |asking: &Asking| asking.user.as_ref().unwrap().no;
        let holds = |asking: &Asking, owned| Holder { user: no(asking), project: asking.project, owned };
        let people = |users: &[&Asking]| {
            Some(HomeUsers { project: users[0].project, users: users.iter().map(|one| no(one)).collect() })
        };
        let nobodys = Relations { maker: first, removed: false, holders: vec![], last_owner: None, home: None };
        let scale = Relations {
            holders: vec![holds(&owner, true)],
            last_owner: Some(first),
            home: people(&[&owner, &guest]),
            ..nobodys.clone()
        };
        let plug = Relations { holders: vec![holds(&owner, true), holds(&guest, false)], ..scale.clone() };
        let speaker = Relations { holders: vec![holds(&guest, true)], home: people(&[&guest]), ..scale.clone() };
        let held_elsewhere = Relations {
            holders: vec![holds(&other, true)],
            last_owner: Some(second),
            home: people(&[&other]),
            ..nobodys.clone()
        };
        let foreign = Relations { maker: second, ..held_elsewhere.clone() };
        let everybody = [project(first), project(second), owner, guest, other];
        let check = async |name: &str, expected: &Relations| compare(registry, &everybody, name, expected).await;
        for (name, expected) in [
            (SCALE, &scale),
            (PLUG, &plug),
            (SPEAKER, &speaker),
            (LONELY, &nobodys),
            (HELD_ELSEWHERE, &held_elsewhere),
            (FOREIGN, &foreign),
        ] {
            check(name, expected).await;
        }

        // The share is withdrawn, and the guest leaves the home. Each ends the access that it gave.
        let plug_no = registry.device_by_id(&id(PLUG)).await.unwrap().unwrap().no;
        assert!(registry.withdraw_device(first, &Uid::from(GUEST), plug_no).await.unwrap());
        check(PLUG, &scale).await;
        registry.remove_member(first, None, HomeId(10_700_001), &Uid::from(GUEST), NOW).await.unwrap();
        let left = Relations { home: people(&[&everybody[2]]), ..scale.clone() };
        check(PLUG, &left).await;
        check(SCALE, &left).await;

        // It has no users any more, and its last owner's project is not the maker.
        let elsewhere_no = registry.device_by_id(&id(HELD_ELSEWHERE)).await.unwrap().unwrap().no;
        registry.unbind_device(second, &Uid::from(FOREIGN_USER), elsewhere_no, &Cut(NOW), NOW).await.unwrap();
        check(HELD_ELSEWHERE, &Relations { last_owner: Some(second), ..nobodys.clone() }).await;

        // A removed device is visible to none of them.
        let removed = [id(LONELY)];
        registry.remove_devices(first, &removed, Removal::Removed, &Cut(NOW), NOW).await.unwrap().unwrap();
        check(LONELY, &Relations { removed: true, ..nobodys }).await;
    });
}
