//! The contract of the registry, first part: projects, tokens, users, devices, and the world document.

use ingle::domain::device::{DeviceCursor, DeviceQuery, Removal, UserDevices};
use ingle::domain::device_user::DeviceUserProfile;
use ingle::domain::password::Password;
use ingle::domain::user::{UserQuery, UserSync};
use ingle::domain::{DurationMs, Schema, Uid, UsernameType};

use super::{Cut, NOW, id, on_engines, world};
use crate::support::world::{
    FOREIGN, FOREIGN_USER, GATEWAY, GUEST, HELD_ELSEWHERE, LEAK, LONELY, OWNER, PLUG, SCALE, SECOND_ID,
};

#[test]
fn projects_and_their_secrets() {
    on_engines(async |registry, first, second| {
        assert_ne!(first, second);
        assert!(registry.project_by_client_id("nobody").await.unwrap().is_none());
        let all = registry.projects(10).await.unwrap();
        let names: Vec<&str> = all.iter().map(|project| project.name.as_str()).collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!(registry.projects(1).await.unwrap().len(), 1);
        let second = registry.project_by_client_id(SECOND_ID).await.unwrap().unwrap();
        assert!(second.legacy_sign && !second.mask_private_fields && second.admin_uid.starts_with("bay"));
        assert_eq!(second.secret, crate::support::world::SECOND_SECRET);
    });
}

#[test]
fn tokens_are_granted_refreshed_once_and_die() {
    on_engines(async |registry, first, second| {
        let lives = async |project, access: &str, now| {
            let holder = registry.token_holder(access, now).await.unwrap();
            holder.is_some_and(|holder| holder.project == project && holder.user.is_none())
        };
        let grant = async |now| registry.grant_token(first, now, DurationMs(1000), DurationMs(100)).await.unwrap();
        let pair = grant(NOW).await;
        assert!(pair == grant(NOW + 900).await, "a living token is handed out again");
        assert!(lives(first, &pair.access, NOW + 999).await);
        assert!(!lives(first, &pair.access, NOW + 1000).await);
        assert!(!lives(second, &pair.access, NOW).await);
        assert!(!lives(first, &pair.refresh, NOW).await);
        let new = grant(NOW + 901).await;
        assert!(new.access != pair.access && !lives(first, &pair.access, NOW).await);
        let refresh =
            async |project, token: &str| registry.refresh_token(project, token, NOW, DurationMs(1000)).await.unwrap();
        assert!(refresh(second, &new.refresh).await.is_none() && refresh(first, &pair.refresh).await.is_none());
        let newest = refresh(first, &new.refresh).await.unwrap();
        assert!(refresh(first, &new.refresh).await.is_none(), "single use");
        assert!(lives(first, &newest.access, NOW).await);
        assert!(!lives(first, &new.access, NOW).await);
    });
}

#[test]
fn a_refresh_token_is_spent_once_however_many_ask() {
    on_engines(async |registry, first, _| {
        let pair = registry.grant_token(first, NOW, DurationMs(1000), DurationMs(100)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (registry, token) = (registry.clone(), pair.refresh.clone());
            tasks.spawn(async move {
                registry.refresh_token(first, &token, NOW, DurationMs(1000)).await.unwrap().is_some()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
    });
}

#[test]
fn users_are_made_once_and_listed_by_time() {
    on_engines(async |registry, first, second| {
        let app = Schema::from("testApp");
        let sync = async |project, name: &str, nick: Option<&str>, now| {
            let user = UserSync {
                country_code: "86".into(),
                username: name.into(),
                password: Password::sent("p".into()),
                username_type: UsernameType::Other,
                nick_name: nick.map(str::to_owned),
                time_zone_id: None,
            };
            registry.sync_user(project, &app, user, now).await.unwrap()
        };
        assert!(sync(second, "x", None, NOW).await.is_none());
        let uid = sync(first, "x", Some("nick"), NOW + 10).await.unwrap();
        assert_eq!(sync(first, "x", None, NOW + 20).await.unwrap(), uid);
        let user = registry.user(first, &uid).await.unwrap().unwrap();
        assert_eq!((user.nick_name.as_str(), user.created_ms, user.updated_ms), ("nick", NOW + 10, NOW + 20));
        assert!(registry.user(second, &uid).await.unwrap().is_none());
        let query = |from, to, offset, limit| UserQuery { from_ms: from, to_ms: to, username: None, offset, limit };
        let page = registry.users(first, &app, &query(None, None, 0, 2)).await.unwrap().unwrap();
        assert_eq!((page.users.len(), page.has_more, page.total), (2, true, 3));
        let page = registry.users(first, &app, &query(None, None, 2, 2)).await.unwrap().unwrap();
        assert_eq!((page.users.len(), page.has_more, page.users[0].uid.clone()), (1, false, uid));
        let page = registry.users(first, &app, &query(Some(NOW + 11), None, 0, 9)).await.unwrap().unwrap();
        assert_eq!((page.users.len(), page.total), (0, 3));
        assert!(registry.users(second, &app, &query(None, None, 0, 9)).await.unwrap().is_none());
        assert!(registry.app_countries(second, &app).await.unwrap().is_none());
        assert_eq!(registry.app_countries(first, &app).await.unwrap().unwrap(), ["86", "1"]);
    });
}

#[test]
fn a_project_sees_its_own_devices_and_those_of_its_users() {
    on_engines(async |registry, first, second| {
        let sees = async |project, device: &str| registry.device(project, &id(device)).await.unwrap().is_some();
        for device in [SCALE, PLUG, LEAK, LONELY, HELD_ELSEWHERE] {
            assert!(sees(first, device).await, "{device}");
        }
        assert!(sees(second, FOREIGN).await && sees(second, HELD_ELSEWHERE).await);
        assert!(!sees(first, FOREIGN).await && !sees(second, PLUG).await && !sees(first, "unknown").await);
        let leak = registry.device(first, &id(LEAK)).await.unwrap().unwrap();
        assert_eq!((leak.gateway.clone(), leak.owner.clone()), (Some(id(GATEWAY)), Some(Uid::from(OWNER))));
        let held_elsewhere = registry.device(first, &id(HELD_ELSEWHERE)).await.unwrap().unwrap();
        assert!(held_elsewhere.owner.is_none() && held_elsewhere.home.is_none() && held_elsewhere.local_key.is_empty());
        let at_home = registry.device(second, &id(HELD_ELSEWHERE)).await.unwrap().unwrap();
        assert!(at_home.owner == Some(Uid::from(FOREIGN_USER)) && at_home.local_key.len() == 16);
        let mine = async |project, user: &str, which| {
            let found = registry.devices_of_user(project, &Uid::from(user), which, 0, 100).await.unwrap();
            found.map(|devices| devices.len())
        };
        assert_eq!(mine(first, OWNER, UserDevices::Home).await, Some(6));
        assert_eq!(mine(first, GUEST, UserDevices::Shared).await, Some(1));
        assert_eq!(mine(second, OWNER, UserDevices::Home).await, None);
        let gateway = registry.device(first, &id(GATEWAY)).await.unwrap().unwrap();
        assert_eq!(registry.sub_devices(first, gateway.no, 100).await.unwrap().len(), 2);
        assert_eq!(registry.sub_devices(second, gateway.no, 100).await.unwrap().len(), 0);
        assert_eq!(registry.sub_devices(first, gateway.no, 1).await.unwrap().len(), 1);
    });
}

#[test]
fn a_new_owner_takes_a_device_home() {
    on_engines(async |registry, first, _| {
        let mut world = world();
        world.projects.truncate(1);
        let plug =
            world.projects[0].devices.iter_mut().find(|device| device.device_id.as_deref() == Some(PLUG)).unwrap();
        plug.owner = Some("guest@example.com".into());
        plug.shared_with = Some(vec!["18200000678".into()]);
        registry.apply(world, &Cut(NOW), NOW + 1).await.map_err(|error| error.to_string()).unwrap();
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        assert_eq!((plug.owner.clone(), plug.home.map(|home| home.0)), (Some(Uid::from(GUEST)), Some(11_600_001)));
        let at_home = async |user: &str, which| {
            let devices = registry.devices_of_user(first, &Uid::from(user), which, 0, 100).await.unwrap().unwrap();
            devices.iter().any(|device| device.id == id(PLUG))
        };
        assert!(at_home(GUEST, UserDevices::Home).await && !at_home(OWNER, UserDevices::Home).await);
        assert!(at_home(OWNER, UserDevices::Shared).await);
    });
}

#[test]
fn device_lists_page_filter_and_count() {
    on_engines(async |registry, first, second| {
        let query = DeviceQuery { limit: 4, ..DeviceQuery::default() };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = DeviceQuery { after: after.clone(), ..query.clone() };
            let page = registry.devices(first, &page).await.unwrap().unwrap();
            assert_eq!(page.total, 9);
            let Some(last) = page.devices.last() else { break };
            after = Some(DeviceCursor { created_ms: last.created_ms, id: last.id.clone() });
            seen.extend(page.devices.into_iter().map(|device| (device.created_ms, device.id)));
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.is_sorted());
        let offset = DeviceQuery { offset: 8, ..query.clone() };
        assert_eq!(registry.devices(first, &offset).await.unwrap().unwrap().devices.len(), 1);
        let app = DeviceQuery { schema: Some(Schema::from("testApp")), ..query.clone() };
        assert_eq!(registry.devices(first, &app).await.unwrap().unwrap().total, 7);
        assert!(registry.devices(second, &app).await.unwrap().is_none());
        let late = DeviceQuery { from_ms: Some(NOW + 1), ..query.clone() };
        assert_eq!(registry.devices(first, &late).await.unwrap().unwrap().total, 0);
        assert!(registry.rename_device(first, &id(PLUG), "later", NOW + 5).await.unwrap());
        assert_eq!(registry.devices(first, &late).await.unwrap().unwrap().total, 1);
        assert!(!registry.rename_device(second, &id(PLUG), "foreign", NOW + 6).await.unwrap());
        assert_eq!(registry.device(first, &id(PLUG)).await.unwrap().unwrap().name, "later");
    });
}

#[test]
fn removal_and_reset() {
    on_engines(async |registry, first, second| {
        let remove = async |project, device: &str, removal, from| {
            registry.remove_devices(project, &[id(device)], removal, &Cut(from), NOW + 9).await.unwrap().is_some()
        };
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        registry.name_function(&plug, "switch_1", "left", NOW).await.unwrap();
        registry.add_device_user(&plug, profile("n"), 10).await.unwrap().unwrap();
        assert!(!remove(second, PLUG, Removal::Removed, 0).await);
        assert!(remove(first, PLUG, Removal::Removed, 0).await);
        assert!(!remove(first, PLUG, Removal::Removed, 0).await);
        assert!(registry.device(first, &id(PLUG)).await.unwrap().is_none());
        assert!(registry.device_by_id(&id(PLUG)).await.unwrap().is_some(), "its own session still finds it");
        assert_eq!(registry.function_names(&[&plug]).await.unwrap()[0].len(), 1);
        // The device is bound again and then reset.
        registry.apply(world(), &Cut(NOW), NOW + 20).await.unwrap();
        let again = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        assert_eq!((again.no, again.owner.clone()), (plug.no, Some(Uid::from(OWNER))));
        assert!(remove(first, PLUG, Removal::Reset, NOW + 30).await);
        assert!(registry.function_names(&[&plug]).await.unwrap()[0].is_empty());
        assert!(registry.device_users(&plug, 10).await.unwrap().is_empty());
        assert_eq!(registry.device_by_id(&id(PLUG)).await.unwrap().unwrap().history_from_ms, NOW + 30);
        // Only the first call activates a device.
        assert_eq!(registry.activate_devices(&[&plug, &plug], NOW).await.unwrap(), [true, false]);
        assert_eq!(registry.activate_devices(&[&plug], NOW + 1).await.unwrap(), [false]);
        assert!(registry.virtual_devices(10).await.unwrap().is_empty());
    });
}

fn profile(name: &str) -> DeviceUserProfile {
    DeviceUserProfile {
        nick_name: name.into(),
        sex: 1,
        birthday_ms: None,
        height_cm: Some(180),
        weight_g: None,
        contact: Some("c".into()),
    }
}

#[test]
fn device_users_are_of_one_device_and_bounded() {
    on_engines(async |registry, first, _| {
        let scale = &*registry.device(first, &id(SCALE)).await.unwrap().unwrap();
        let plug = &*registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        let one = registry.add_device_user(scale, profile("a"), 2).await.unwrap().unwrap();
        let two = registry.add_device_user(scale, profile("b"), 2).await.unwrap().unwrap();
        assert!(one != two && registry.add_device_user(scale, profile("c"), 2).await.unwrap().is_none());
        let changed = DeviceUserProfile { contact: None, height_cm: None, ..profile("z") };
        assert!(!registry.update_device_user(plug, &one, changed.clone()).await.unwrap());
        assert!(registry.update_device_user(scale, &one, changed).await.unwrap());
        let users = registry.device_users(scale, 10).await.unwrap();
        assert_eq!((users[0].id.clone(), users[0].profile.nick_name.as_str()), (one.clone(), "z"));
        assert_eq!((users[0].profile.contact.as_deref(), users[0].profile.height_cm), (Some("c"), None));
        assert!(!registry.remove_device_user(plug, &one).await.unwrap());
        assert!(registry.remove_device_user(scale, &one).await.unwrap());
        assert!(!registry.remove_device_user(scale, &one).await.unwrap());
    });
}

#[test]
fn a_world_is_true_as_a_whole_or_not_at_all() {
    on_engines(async |registry, first, _| {
        let before = registry.apply(world(), &Cut(NOW), NOW + 1).await.unwrap();
        assert!(before == registry.apply(world(), &Cut(NOW), NOW + 2).await.unwrap(), "applying again changes nothing");
        assert_eq!(registry.device(first, &id(PLUG)).await.unwrap().unwrap().updated_ms, NOW);
        let mut broken = world();
        broken.projects[0].devices[0].name = Some("half".into());
        broken.projects[0].devices[1].owner = Some("nobody".into());
        assert!(registry.apply(broken, &Cut(NOW), NOW + 3).await.is_err());
        assert_ne!(registry.device(first, &id(SCALE)).await.unwrap().unwrap().name, "half");
        // Concurrent writes are all stored.
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..50 {
            let registry = registry.clone();
            tasks.spawn(
                async move { registry.rename_device(first, &id(SCALE), &format!("n{n}"), NOW + n).await.unwrap() },
            );
        }
        assert!(tasks.join_all().await.into_iter().all(|renamed| renamed));
        assert!(registry.device(first, &id(SCALE)).await.unwrap().unwrap().name.starts_with('n'));
    });
}
