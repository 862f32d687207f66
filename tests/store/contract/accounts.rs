//! The contract of the registry, second part: AppKeys and cloudTokens, accounts, products, bindings, and logins with a
//! password.

use ingle::domain::binding::{Bound, BoundDevice, Unbound};
use ingle::domain::device::FactoryName;
use ingle::domain::password::Password;
use ingle::domain::session::DeviceClaim;
use ingle::domain::token::EarlierTokens;
use ingle::domain::user::UserOrder;
use ingle::domain::{DeviceName, DeviceNo, DurationMs, Uid};

use super::{Cut, NOW, id, on_engines, world};
use crate::support::world::{
    APP_KEY, FIRST_APP_KEY, FIRST_APP_SECRET, FIRST_PROJECT_ID, FOREIGN_USER, GUEST, HELD_ELSEWHERE, LONELY,
    OTHER_APP_KEY, OWNER, PLUG, SCALE,
};

fn uid(text: &str) -> Uid {
    Uid::from(text)
}

#[test]
fn app_keys_and_their_secrets() {
    on_engines(async |registry, first, _| {
        let project = registry.project_by_app_key(FIRST_APP_KEY).await.unwrap().unwrap();
        assert_eq!((project.no, project.app_secret.as_str()), (first, FIRST_APP_SECRET));
        assert_eq!(project.aliyun_project_id, FIRST_PROJECT_ID);
        assert!(project.require_cloud_token && !project.keep_cloud_tokens);
        // The key of an app does not identify a project.
        assert!(registry.project_by_app_key(APP_KEY).await.unwrap().is_none());
    });
}

#[test]
fn cloud_tokens_live_die_and_are_refreshed() {
    on_engines(async |registry, first, second| {
        let holder = async |token: &str, now| registry.cloud_token_holder(token, now).await.unwrap();
        let one = registry.grant_cloud_token(first, NOW, DurationMs(1000), EarlierTokens::Revoke).await.unwrap();
        assert_eq!(holder(&one, NOW + 999).await, Some(first));
        assert_eq!(holder(&one, NOW + 1000).await, None);
        let two = registry.grant_cloud_token(first, NOW, DurationMs(1000), EarlierTokens::Keep).await.unwrap();
        assert_eq!((holder(&one, NOW).await, holder(&two, NOW).await), (Some(first), Some(first)), "kept");
        let other = registry.grant_cloud_token(second, NOW, DurationMs(1000), EarlierTokens::Revoke).await.unwrap();
        let three = registry
            .refresh_cloud_token(first, &two, NOW, DurationMs(1000), DurationMs(10), EarlierTokens::Keep)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((holder(&two, NOW + 9).await, holder(&two, NOW + 10).await), (Some(first), None));
        assert_eq!(holder(&three, NOW + 999).await, Some(first));
        assert_eq!(holder(&one, NOW + 10).await, Some(first), "kept");
        let alone = registry
            .refresh_cloud_token(first, &three, NOW, DurationMs(1000), DurationMs(20), EarlierTokens::Revoke)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((holder(&one, NOW + 20).await, holder(&three, NOW + 20).await), (None, None));
        assert_eq!((holder(&one, NOW + 19).await, holder(&alone, NOW + 999).await), (Some(first), Some(first)));
        for (token, now) in [(&two, NOW + 10), (&other, NOW), (&"unknown".to_owned(), NOW)] {
            assert!(
                registry
                    .refresh_cloud_token(first, token, now, DurationMs(1000), DurationMs(10), EarlierTokens::Keep)
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        let four = registry.grant_cloud_token(first, NOW, DurationMs(1000), EarlierTokens::Revoke).await.unwrap();
        for dead in [&one, &two, &three] {
            assert_eq!(holder(dead, NOW).await, None);
        }
        assert_eq!((holder(&four, NOW).await, holder(&other, NOW).await), (Some(first), Some(second)));
    });
}

#[test]
fn accounts_by_every_name() {
    on_engines(async |registry, first, second| {
        let all = registry.all_users(first, 0, 10, UserOrder::OldestFirst).await.unwrap();
        let names: Vec<&str> = all.iter().map(|user| user.username.as_str()).collect();
        assert_eq!(names, ["18200000678", "guest@example.com"]);
        assert_eq!(registry.all_users(first, 0, 1, UserOrder::NewestFirst).await.unwrap()[0].uid, uid(GUEST));
        assert!(registry.all_users(first, 2, 10, UserOrder::OldestFirst).await.unwrap().is_empty());
        let owner = &all[0];
        assert_eq!((&owner.open_id, owner.app_key.as_str()), (&owner.login_id, APP_KEY));
        let by_open_id = async |project, key: &str| {
            let found = registry.user_by_open_id(project, key, &owner.open_id).await.unwrap();
            found.map(|user| user.map(|user| user.uid.clone()))
        };
        // The second call returns the cached value.
        for _ in 0..2 {
            assert_eq!(by_open_id(first, APP_KEY).await, Some(Some(uid(OWNER))));
            assert_eq!(by_open_id(first, FIRST_APP_KEY).await, Some(Some(uid(OWNER))));
            assert_eq!(by_open_id(first, OTHER_APP_KEY).await, None);
            assert_eq!(by_open_id(second, APP_KEY).await, None);
            assert_eq!(by_open_id(second, OTHER_APP_KEY).await, Some(None));
            let ids = ["nobody", &owner.identity_id, &owner.identity_id];
            let identities = registry.users_by_identity(first, &ids).await.unwrap();
            let found: Vec<Option<&Uid>> = identities.iter().map(|user| user.as_ref().map(|user| &user.uid)).collect();
            assert_eq!(found, [None, Some(&owner.uid), Some(&owner.uid)]);
            assert!(registry.users_by_identity(second, &ids).await.unwrap().iter().all(Option::is_none));
            assert!(registry.users_by_identity(first, &[]).await.unwrap().is_empty());
        }
        assert!(registry.rename_user(first, &uid(OWNER), "new", NOW + 5).await.unwrap());
        assert!(!registry.rename_user(second, &uid(OWNER), "taken", NOW + 5).await.unwrap());
        let renamed = registry.users_by_identity(first, &[&owner.identity_id]).await.unwrap().remove(0).unwrap();
        assert_eq!((renamed.nick_name.as_str(), renamed.updated_ms), ("new", NOW + 5));
    });
}

#[test]
fn products_of_a_project() {
    on_engines(async |registry, first, second| {
        let all = registry.products(first, 0, 100).await.unwrap();
        assert_eq!((all.len(), registry.products(first, 4, 100).await.unwrap().len()), (6, 2));
        let key = &all[0].key;
        assert_eq!(registry.product_by_key(first, key).await.unwrap().unwrap().id, all[0].id);
        assert!(registry.product_by_key(second, key).await.unwrap().is_none());
    });
}

#[test]
fn bindings_are_made_and_ended() {
    on_engines(async |registry, first, second| {
        let device = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap();
        let name = async |text: &str| {
            let device = device(text).await;
            FactoryName { product_key: device.product.key.clone(), device_name: device.device_name.clone() }
        };
        let count = async |user: &str| {
            registry.bound_devices(first, &uid(user), 0, 100).await.unwrap().map(|bound| bound.list.len())
        };
        assert_eq!((count(OWNER).await, count(GUEST).await, count(FOREIGN_USER).await), (Some(6), Some(2), None));
        assert_eq!(
            registry.bound_devices(first, &uid(OWNER), 0, 2).await.unwrap().unwrap().list.len(),
            6,
            "remembered"
        );
        let all = registry.bound_devices(first, &uid(OWNER), 0, 100).await.unwrap().unwrap();
        let part = registry.bound_devices(first, &uid(OWNER), 4, 100).await.unwrap().unwrap();
        let numbers = |list: &[BoundDevice]| list.iter().map(|bound| bound.device.no).collect::<Vec<_>>();
        assert_eq!(numbers(&part.list), numbers(&all.list[4..]), "the rest of a long list");
        let guests = registry.bound_devices(first, &uid(GUEST), 0, 100).await.unwrap().unwrap();
        assert_eq!(guests.list.iter().map(|bound| bound.owned).collect::<Vec<_>>(), [false, true]);

        let plug = device(PLUG).await;
        let (holders, total) = registry.holders(first, plug.no, 0, 10).await.unwrap();
        assert_eq!((holders[0].owned, holders[1].owned, total), (true, false, 2));
        assert_eq!(registry.holders(first, plug.no, 1, 10).await.unwrap().0.len(), 1);
        assert_eq!(registry.holders(second, plug.no, 0, 10).await.unwrap(), (Vec::new(), 0));

        let named = DeviceName::Factory(name(PLUG).await);
        assert_eq!(registry.device_named(first, &named).await.unwrap().unwrap().no, plug.no);
        let iot_id = DeviceName::IotId(plug.iot_id.clone());
        assert_eq!(registry.device_named(first, &iot_id).await.unwrap().unwrap().no, plug.no);
        assert!(registry.device_named(second, &iot_id).await.unwrap().is_none());

        // If many users bind a device without an owner, one succeeds.
        let lonely = name(LONELY).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (registry, lonely) = (registry.clone(), lonely.clone());
            let user = uid(if n % 2 == 0 { OWNER } else { GUEST });
            tasks.spawn(async move {
                (n, registry.bind_devices(first, &user, &[lonely], &Cut(NOW), NOW + 1).await.unwrap().0)
            });
        }
        let ended = tasks.join_all().await;
        let won: Vec<i32> =
            ended.iter().filter(|(_, bound)| *bound == Some(vec![Bound::Owner])).map(|(n, _)| n % 2).collect();
        assert!(won.len() == 10 && won.iter().all(|side| *side == won[0]), "{ended:?}");
        assert!(ended.iter().filter(|(n, _)| n % 2 != won[0]).all(|(_, bound)| *bound == Some(vec![Bound::Taken])));
        assert!(device(LONELY).await.home.is_some());
        let bind = async |project, user: &str, names: &[FactoryName]| {
            registry.bind_devices(project, &uid(user), names, &Cut(NOW), NOW).await.unwrap().0
        };
        assert_eq!(bind(first, FOREIGN_USER, std::slice::from_ref(&lonely)).await, None);
        let nothing = FactoryName { product_key: "x".into(), device_name: "y".into() };
        let scale = name(SCALE).await;
        let all = [nothing, scale, lonely, name(PLUG).await];
        let (owner, guest) = if won[0] == 0 { (Bound::Owner, Bound::Taken) } else { (Bound::Taken, Bound::Owner) };
        let guests = vec![Bound::Unknown, Bound::Taken, guest, Bound::Taken];
        assert_eq!(bind(first, GUEST, &all).await, Some(guests));
        assert_eq!(bind(first, OWNER, &all).await, Some(vec![Bound::Unknown, Bound::Owner, owner, Bound::Owner]));
        let foreign = bind(second, FOREIGN_USER, &all[..2]).await;
        assert_eq!(foreign, Some(vec![Bound::Unknown; 2]), "another project's device is none");
        assert_eq!(bind(first, OWNER, &[]).await, Some(Vec::new()));

        let unbind = async |user: &str, no: DeviceNo| {
            registry.unbind_device(first, &uid(user), no, &Cut(NOW), NOW + 2).await.unwrap().0
        };
        assert_eq!(unbind(GUEST, plug.no).await, Unbound::Share);
        assert_eq!(unbind(GUEST, plug.no).await, Unbound::Nothing);
        assert_eq!(unbind(OWNER, plug.no).await, Unbound::Owner);
        assert_eq!(unbind(OWNER, plug.no).await, Unbound::Nothing);
        let plug = device(PLUG).await;
        assert_eq!((&plug.owner, &plug.home, plug.updated_ms), (&None, &None, NOW + 2));
        let scale = device(SCALE).await;
        // A project that neither made the device nor has its owner can only end its own users' shares.
        assert_eq!(registry.unbind_everybody(second, scale.no, &Cut(NOW), NOW + 3).await.unwrap().0, Unbound::Nothing);
        assert_eq!(registry.unbind_everybody(first, scale.no, &Cut(NOW), NOW + 3).await.unwrap().0, Unbound::Owner);
        assert_eq!(registry.unbind_everybody(first, scale.no, &Cut(NOW), NOW + 4).await.unwrap().0, Unbound::Nothing);
        assert_eq!(device(SCALE).await.updated_ms, NOW + 3, "nothing happened the second time");
    });
}

#[test]
fn a_user_is_removed_with_all_that_was_the_users() {
    on_engines(async |registry, first, second| {
        assert_eq!(registry.remove_user(second, &uid(OWNER), &Cut(NOW), NOW).await.unwrap(), None);
        assert_eq!(
            registry.remove_user(first, &uid(OWNER), &Cut(NOW), NOW + 3).await.unwrap().unwrap().removed.len(),
            6
        );
        assert_eq!(registry.remove_user(first, &uid(OWNER), &Cut(NOW), NOW).await.unwrap(), None);
        assert!(registry.user(first, &uid(OWNER)).await.unwrap().is_none());
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        assert_eq!((&plug.owner, &plug.home, plug.updated_ms), (&None, &None, NOW + 3));
        let guests = registry.bound_devices(first, &uid(GUEST), 0, 100).await.unwrap().unwrap();
        assert_eq!(guests.list.len(), 1);
    });
}

#[test]
fn a_password_opens_what_is_bound() {
    on_engines(async |registry, first, _| {
        let mut world = world();
        for user in world.projects.iter_mut().flat_map(|project| &mut project.users) {
            user.password = Some(format!("of {}", user.username));
        }
        registry.apply(world, &Cut(NOW), NOW).await.map_err(|error| error.to_string()).unwrap();
        let name = async |text: &str| {
            let device = registry.device(first, &id(text)).await.unwrap().unwrap();
            FactoryName { product_key: device.product.key.clone(), device_name: device.device_name.clone() }
        };
        let (plug, held_elsewhere) = (name(PLUG).await, name(HELD_ELSEWHERE).await);
        let check = async |user: &str, word: &str| {
            let account = registry
                .user_by_password(user, Password::Clear(word.to_owned()), std::slice::from_ref(&plug))
                .await
                .unwrap();
            account.map(|account| account.uid)
        };
        assert_eq!(check("18200000678", "of 18200000678").await, Some(uid(OWNER)));
        assert_eq!(check("18200000678", "of guest@example.com").await, None);
        assert_eq!(check("nobody", "of nobody").await, None);
        let accesses = async |user: &str, names: &[FactoryName]| registry.accesses(&uid(user), names).await.unwrap();
        let access = async |user: &str, name: &FactoryName| accesses(user, std::slice::from_ref(name)).await.remove(0);
        let version = access(OWNER, &plug).await.unwrap().version;
        assert_eq!(access(OWNER, &plug).await.unwrap().version, version);
        assert!(access(GUEST, &plug).await.is_some(), "a share");
        assert!(
            access(OWNER, &held_elsewhere).await.is_none() && access(FOREIGN_USER, &held_elsewhere).await.is_some()
        );
        assert!(access(FOREIGN_USER, &plug).await.is_none());
        // Of several devices, each has the answer that it has alone, in their order.
        let several = accesses(OWNER, &[plug.clone(), held_elsewhere.clone(), plug.clone()]).await;
        let versions: Vec<Option<&str>> =
            several.iter().map(|access| access.as_ref().map(|access| access.version.as_str())).collect();
        assert_eq!(versions, [Some(version.as_str()), None, Some(version.as_str())]);
        assert!(accesses(OWNER, &[]).await.is_empty());
        assert!(accesses("nobody", &[plug.clone(), plug.clone()]).await.iter().all(Option::is_none));
        registry.record_login(&uid(OWNER), NOW + 9).await.unwrap();
        assert_eq!(registry.user(first, &uid(OWNER)).await.unwrap().unwrap().last_login_ms, Some(NOW + 9));
        assert_eq!(access(OWNER, &plug).await.unwrap().version, version, "a login changes nothing");
    });
}

#[test]
fn visual_keys_are_made_rotated_and_forgotten() {
    on_engines(async |registry, _, _| {
        let keys = async |now| registry.visual_keys(now, DurationMs(100)).await.unwrap();
        let names = async |now| keys(now).await.into_iter().map(|key| key.kid).collect::<Vec<_>>();
        // The first call creates a key. Concurrent calls create no second one.
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let registry = registry.clone();
            tasks.spawn(async move { registry.visual_keys(NOW, DurationMs(100)).await.unwrap().remove(0).kid });
        }
        let mut made = tasks.join_all().await;
        made.dedup();
        assert_eq!(made.len(), 1);
        let first = keys(NOW).await.remove(0);
        assert_eq!((first.public.len(), first.public[0], first.retired_ms), (65, 4, None));
        let second = registry.rotate_visual_key(NOW + 10, DurationMs(100)).await.unwrap();
        assert_eq!(names(NOW + 10).await, [second.clone(), first.kid.clone()]);
        assert_eq!(names(NOW + 110).await.len(), 2);
        assert_eq!(names(NOW + 111).await, [second]);
    });
}

#[test]
fn what_a_device_proves_itself_with() {
    on_engines(async |registry, first, _| {
        let mut known = Vec::new();
        for name in [PLUG, SCALE] {
            let device = registry.device(first, &id(name)).await.unwrap().unwrap();
            let factory =
                FactoryName { product_key: device.product.key.clone(), device_name: device.device_name.clone() };
            let by_id = registry.device_secret(&DeviceClaim::Id(id(name))).await.unwrap().unwrap();
            let by_factory = registry.device_secret(&DeviceClaim::Factory(factory.clone())).await.unwrap().unwrap();
            assert_eq!((by_id.device.no, by_factory.device.no), (device.no, device.no));
            assert_eq!(by_id.secret, by_factory.secret);
            known.push((factory, by_id.secret));
        }
        assert_ne!(known[0].1, known[1].1);
        assert!(known.iter().all(|(_, secret)| secret.len() >= 16), "generated");
        let mixed = FactoryName { device_name: known[0].0.device_name.clone(), ..known[1].0.clone() };
        for nobody in [DeviceClaim::Id(id("nobody")), DeviceClaim::Id(id("")), DeviceClaim::Factory(mixed)] {
            assert!(registry.device_secret(&nobody).await.unwrap().is_none(), "{nobody:?}");
        }
    });
}
