//! The contract of the registry, fourth part: logins of users, their rights on devices, shared homes, and pairing tokens.

use ingle::domain::access::DeviceRole;
use ingle::domain::binding::{Shared, Unbound};
use ingle::domain::device::{DeviceQuery, Removal, UserDevices};
use ingle::domain::home::{HomePatch, HomeRole, MemberChange, MemberResult};
use ingle::domain::pairing::{PAIRING_KEPT_MS, Redeemed, SentToken};
use ingle::domain::password::Password;
use ingle::domain::store::Registry;
use ingle::domain::user::{Account, UserSync};
use ingle::domain::{DeviceNo, DurationMs, Error, HomeId, Noun, ProjectNo, Schema, Uid, UserNo, UsernameType, Value};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{FOREIGN, FOREIGN_USER, GATEWAY, GUEST, LEAK, LONELY, OWNER, PLUG, SCALE, SPEAKER};

const HOME: HomeId = HomeId(10_700_001);

fn uid(text: &str) -> Uid {
    Uid::from(text)
}

fn clear(text: &str) -> Password {
    Password::Clear(text.to_owned())
}

async fn sync(registry: &dyn Registry, project: ProjectNo, schema: &str, username: &str, password: Password) -> Uid {
    let user = UserSync {
        country_code: "86".into(),
        username: username.into(),
        password,
        username_type: UsernameType::Other,
        nick_name: None,
        time_zone_id: None,
    };
    registry.sync_user(project, &Schema::from(schema), user, NOW).await.unwrap().unwrap()
}

async fn account(registry: &dyn Registry, project: ProjectNo, username: &str) -> Account {
    let schema = Schema::from("testApp");
    let found = registry.account_by_password(project, Some(&schema), username, clear("right")).await.unwrap();
    found.unwrap()
}

async fn number(registry: &dyn Registry, project: ProjectNo, username: &str) -> UserNo {
    sync(registry, project, "testApp", username, clear("right")).await;
    account(registry, project, username).await.no
}

async fn no(registry: &dyn Registry, project: ProjectNo, device: &str) -> DeviceNo {
    registry.device(project, &id(device)).await.unwrap().unwrap().no
}

#[test]
fn an_account_is_found_by_name_and_password() {
    on_engines(async |registry, first, second| {
        let one = sync(&*registry, first, "testApp", "one", clear("right")).await;
        let check = async |project, schema: Option<&str>, name: &str, word: &str| {
            let schema = schema.map(Schema::from);
            let found = registry.account_by_password(project, schema.as_ref(), name, clear(word)).await.unwrap();
            found.map(|account| account.uid)
        };
        for schema in [Some("testApp"), None] {
            assert_eq!(check(first, schema, "one", "right").await, Some(one.clone()));
            assert_eq!(check(first, schema, "one", "wrong").await, None);
            assert_eq!(check(first, schema, "nobody", "right").await, None);
            assert_eq!(check(second, schema, "one", "right").await, None);
        }
        assert_eq!(check(first, Some("emptyApp"), "one", "right").await, None);
        assert_eq!(check(first, None, "18200000678", "").await, None, "no password is no password");
        // If users of two apps have the name, the app must be given.
        let other = sync(&*registry, first, "emptyApp", "one", clear("right")).await;
        assert_eq!(check(first, None, "one", "right").await, None);
        assert_eq!(check(first, Some("emptyApp"), "one", "right").await, Some(other.clone()));
        let by_name = async |schema: Option<&str>| {
            let schema = schema.map(Schema::from);
            let found = registry.user_by_name(first, schema.as_ref(), "one").await.unwrap();
            found.map(|user| user.uid)
        };
        assert_eq!((by_name(None).await, by_name(Some("emptyApp")).await), (None, Some(other)));
        assert!(registry.user_by_name(second, None, "18200000678").await.unwrap().is_none());
    });
}

#[test]
fn logins_live_until_another_password_or_too_many_others() {
    on_engines(async |registry, first, second| {
        sync(&*registry, first, "testApp", "one", clear("right")).await;
        let account = account(&*registry, first, "one").await;
        let grant = async |now| registry.grant_user_token(&account, now, DurationMs(1000), 3).await.unwrap();
        let lives = async |access: &str, now| {
            let holder = registry.token_holder(access, now).await.unwrap();
            holder.is_some_and(|holder| {
                holder.project == first
                    && holder.user.is_some_and(|user| user.no == account.no && user.uid == account.uid)
            })
        };
        let pair = grant(NOW).await.unwrap();
        let logged_in = registry.user(first, &account.uid).await.unwrap().unwrap();
        assert_eq!(logged_in.last_login_ms, Some(NOW), "in the same transaction");
        assert!(lives(&pair.access, NOW + 999).await && !lives(&pair.access, NOW + 1000).await);
        assert!(!lives(&pair.refresh, NOW).await);
        let refresh = async |project, token: &str| {
            registry.refresh_user_token(project, token, NOW, DurationMs(1000), DurationMs(5000)).await.unwrap()
        };
        assert!(refresh(second, &pair.refresh).await.is_none());
        let late = registry
            .refresh_user_token(first, &pair.refresh, NOW + 5000, DurationMs(1000), DurationMs(5000))
            .await
            .unwrap();
        assert!(late.is_none(), "its time is over");
        let (fresh, who) = refresh(first, &pair.refresh).await.unwrap();
        assert_eq!(who, account.uid);
        assert!(refresh(first, &pair.refresh).await.is_none(), "single use");
        assert!(lives(&fresh.access, NOW).await && !lives(&pair.access, NOW).await);
        // The refresh token of a user is not one of the project.
        assert!(registry.refresh_token(first, &fresh.refresh, NOW, DurationMs(1000)).await.unwrap().is_none());
        for n in 1..=3 {
            grant(NOW + n).await.unwrap();
        }
        assert!(!lives(&fresh.access, NOW).await, "the oldest made room");
        let last = grant(NOW + 9).await.unwrap();
        let out = grant(NOW + 10).await.unwrap();
        let other = number(&*registry, first, "two").await;
        assert!(!registry.end_user_token(other, &out.access).await.unwrap(), "somebody else's");
        assert!(registry.end_user_token(account.no, &out.access).await.unwrap());
        assert!(!registry.end_user_token(account.no, &out.access).await.unwrap(), "the second time");
        assert!(!lives(&out.access, NOW).await && refresh(first, &out.refresh).await.is_none());
        sync(&*registry, first, "testApp", "one", clear("right")).await;
        assert!(lives(&last.access, NOW).await, "the same password ends nothing");
        sync(&*registry, first, "testApp", "one", clear("another")).await;
        assert!(!lives(&last.access, NOW).await && refresh(first, &last.refresh).await.is_none());
        assert!(grant(NOW).await.is_none(), "checked before the password was changed");
        registry.remove_user(first, &account.uid, &Cut(NOW), NOW).await.unwrap().unwrap();
        assert!(!lives(&last.access, NOW).await);
    });
}

#[test]
fn what_a_user_has_of_devices() {
    on_engines(async |registry, first, _| {
        let member = number(&*registry, first, "member").await;
        let member_uid = account(&*registry, first, "member").await.uid;
        let devices = async |names: &[&str]| {
            let mut devices = Vec::new();
            for name in names {
                devices.push(registry.device(first, &id(name)).await.unwrap().unwrap());
            }
            devices
        };
        let all = devices(&[PLUG, SPEAKER, SCALE, LONELY, PLUG]).await;
        let roles = async || {
            registry.device_roles(member, &all.iter().map(|device| &**device).collect::<Vec<_>>()).await.unwrap()
        };
        assert_eq!(roles().await, [None; 5]);
        assert!(registry.device_roles(member, &[]).await.unwrap().is_empty());
        let comes = MemberChange { name: None, is_admin: None, may_join: true, by: None };
        let put = registry.put_member(first, HOME, &member_uid, comes, NOW).await.unwrap();
        assert_eq!(put, MemberResult::Done);
        let home = Some(DeviceRole::Resident);
        assert_eq!(roles().await, [home, None, home, None, home]);
        let shared = registry.share_device(first, None, &member_uid, all[1].no, NOW).await.unwrap();
        assert_eq!(shared, Some(Shared::Done));
        assert_eq!(roles().await, [home, Some(DeviceRole::Sharee), home, None, home]);
        let page = async || {
            let query = DeviceQuery { user: Some(member), limit: 100, ..DeviceQuery::default() };
            registry.devices(first, &query).await.unwrap().unwrap()
        };
        let seen = page().await;
        let numbers: Vec<DeviceNo> = seen.devices.iter().map(|device| device.no).collect();
        assert_eq!(seen.total as usize, numbers.len());
        assert!(all[..3].iter().all(|no| numbers.contains(&no.no)) && !numbers.contains(&all[3].no));
        let of_user = async |which| registry.devices_of_user(first, &member_uid, which, 0, 99).await.unwrap().unwrap();
        assert_eq!(of_user(UserDevices::Shared).await.len(), 1);
        assert_eq!(of_user(UserDevices::Home).await.len() + 1, numbers.len());
        // The owner of a removed device has no role.
        registry.remove_devices(first, &[id(PLUG)], Removal::Removed, &Cut(0), NOW).await.unwrap().unwrap();
        assert_eq!(roles().await, [None, Some(DeviceRole::Sharee), home, None, None]);
        registry.remove_member(first, None, HOME, &member_uid, NOW).await.unwrap();
        assert_eq!(page().await.total, 1);
    });
}

#[test]
fn shares_are_counted_and_withdrawn() {
    on_engines(async |registry, first, second| {
        let plug = no(&*registry, first, PLUG).await;
        let share = async |project, by: Option<UserNo>, user: &str, device: DeviceNo| {
            registry.share_device(project, by, &uid(user), device, NOW).await.unwrap()
        };
        assert_eq!(share(first, None, OWNER, plug).await, Some(Shared::Owner));
        assert_eq!(share(first, None, FOREIGN_USER, plug).await, None);
        assert_eq!(share(first, None, GUEST, plug).await, Some(Shared::Done), "had it already");
        // Only the present owner can share a device.
        let user = async |user: &str| registry.app_user(first, &uid(user)).await.unwrap().unwrap().no;
        let (owner, guest) = (user(OWNER).await, user(GUEST).await);
        assert_eq!(share(first, Some(owner), GUEST, plug).await, Some(Shared::Done));
        assert_eq!(share(first, Some(guest), GUEST, plug).await, Some(Shared::NotOwned));
        assert_eq!(share(second, None, FOREIGN_USER, plug).await, Some(Shared::NotOwned));
        let lamp = no(&*registry, first, SPEAKER).await;
        registry.remove_devices(first, &[id(SPEAKER)], Removal::Removed, &Cut(0), NOW).await.unwrap().unwrap();
        assert_eq!(share(first, None, GUEST, lamp).await, Some(Shared::NotOwned));
        assert!(registry.device(first, &id(SPEAKER)).await.unwrap().is_none(), "removed is removed");
        let sharees = async |project| registry.sharees(project, plug, 9).await.unwrap();
        assert_eq!(sharees(first).await[0].uid, uid(GUEST));
        assert!(sharees(second).await.is_empty());
        let withdraw = async |project, user: &str| registry.withdraw_device(project, &uid(user), plug).await.unwrap();
        assert!(!withdraw(second, GUEST).await && !withdraw(first, OWNER).await);
        // The end of a share deletes the desired values that the sharee may have set.
        let device = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        let setpoint = vec![("switch_1".into(), Value::from_json("true").unwrap())];
        assert!(registry.put_desired(&device, setpoint, NOW + 1, true, NOW, 9).await.unwrap());
        assert!(withdraw(first, GUEST).await && !withdraw(first, GUEST).await);
        assert!(sharees(first).await.is_empty());
        assert!(registry.desired(&[&device]).await.unwrap()[0].is_empty());
    });
}

#[test]
fn homes_are_made_changed_shared_and_removed() {
    on_engines(async |registry, first, second| {
        let named = |name: &str| HomePatch { name: Some(name.to_owned()), lat: Some(53.5), ..HomePatch::default() };
        let make = async |project, owner: &str, max| {
            registry.make_home(project, &uid(owner), named("Boat"), max).await.unwrap()
        };
        assert_eq!((make(second, OWNER, 9).await, make(first, OWNER, 1).await), (None, Some(None)));
        let boat = make(first, OWNER, 2).await.unwrap().unwrap();
        let home = async |id| registry.home(first, id).await.unwrap();
        let made = home(boat).await.unwrap();
        assert_eq!((made.name.as_str(), made.lat, made.lon, made.owner), ("Boat", 53.5, 0.0, uid(OWNER)));
        let moved = HomePatch { geo_name: Some("Elbe".to_owned()), lon: Some(9.9), ..HomePatch::default() };
        assert!(registry.change_home(second, None, boat, moved.clone()).await.is_err());
        registry.change_home(first, None, boat, moved).await.unwrap();
        let changed = home(boat).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.geo_name.as_str(), changed.lon), ("Boat", "Elbe", 9.9));

        let guest = registry.user_by_name(first, None, "guest@example.com").await.unwrap().unwrap();
        let admin = MemberChange { name: None, is_admin: Some(true), may_join: true, by: None };
        let put = async |project, user: &Uid, change: MemberChange| {
            registry.put_member(project, boat, user, change, NOW).await.unwrap()
        };
        for (project, user) in [(first, OWNER), (first, FOREIGN_USER), (second, GUEST), (second, FOREIGN_USER)] {
            assert_eq!(put(project, &uid(user), admin.clone()).await, MemberResult::Unknown, "{user}");
        }
        let there = MemberChange { may_join: false, ..admin.clone() };
        assert_eq!(put(first, &guest.uid, there.clone()).await, MemberResult::Unknown, "does not live there");
        let skipper = MemberChange { name: Some("Skipper".to_owned()), ..admin.clone() };
        assert_eq!(put(first, &guest.uid, skipper).await, MemberResult::Done);
        // The present role of the requester decides.
        let guest_no = registry.app_user(first, &guest.uid).await.unwrap().unwrap().no;
        let by_guest = MemberChange { is_admin: None, by: Some(guest_no), ..there };
        assert_eq!(put(first, &guest.uid, by_guest.clone()).await, MemberResult::Done);
        let demoted = MemberChange { is_admin: Some(false), ..admin.clone() };
        assert_eq!(put(first, &guest.uid, demoted).await, MemberResult::Done);
        for change in [by_guest.clone(), MemberChange { may_join: true, ..by_guest.clone() }] {
            assert_eq!(put(first, &guest.uid, change).await, MemberResult::NotAllowed);
        }
        let members = registry.members(first, boat, 9).await.unwrap();
        let roles: Vec<_> = members.iter().map(|member| (member.role, member.name.as_str())).collect();
        assert_eq!(roles, [(HomeRole::Owner, ""), (HomeRole::Member, "Skipper")]);
        assert!(registry.members(second, boat, 9).await.unwrap().is_empty());
        assert_eq!(registry.members(first, boat, 1).await.unwrap().len(), 1);
        let role = async |user: &str| {
            let user = registry.app_user(first, &uid(user)).await.unwrap().unwrap();
            registry.home_role(user.no, boat).await.unwrap()
        };
        assert_eq!((role(GUEST).await, role(OWNER).await), (Some(HomeRole::Member), Some(HomeRole::Owner)));
        // The present role of the requester decides here too: a plain member must not change or remove anything.
        let guest_no = Some(guest_no);
        let named = HomePatch { name: Some("Ship".to_owned()), ..HomePatch::default() };
        assert!(matches!(registry.change_home(first, guest_no, boat, named).await, Err(Error::NotAllowed(_))));
        assert!(matches!(registry.remove_home(first, guest_no, boat, NOW).await, Err(Error::NotAllowed(_))));
        let owner_goes = registry.remove_member(first, guest_no, boat, &uid(OWNER), NOW).await;
        assert!(matches!(owner_goes, Err(Error::NotAllowed(_))));
        let stranger = Some(number(&*registry, first, "stranger").await);
        let not_there = registry.remove_member(first, stranger, boat, &guest.uid, NOW).await;
        assert!(matches!(not_there, Err(Error::NotVisible(Noun::Home))));
        assert_eq!(home(boat).await.unwrap().name, "Boat");
        let homes = registry.homes_of_user(first, &guest.uid, 9).await.unwrap().unwrap();
        assert!(homes.iter().any(|(home, role)| home.id == boat && *role == HomeRole::Member), "{homes:?}");
        assert_eq!(registry.homes(first, None, HomeId(0), 99).await.unwrap().len(), 3);
        assert_eq!(registry.homes(first, None, HOME, 1).await.unwrap().len(), 1);
        assert_eq!(registry.homes(second, None, HomeId(0), 99).await.unwrap().len(), 1);

        assert!(registry.remove_member(second, None, boat, &guest.uid, NOW).await.is_err());
        assert_eq!(registry.remove_member(first, None, boat, &guest.uid, NOW).await.unwrap(), Vec::new());
        let device = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        let setpoint = vec![("switch_1".into(), Value::from_json("true").unwrap())];
        assert!(registry.put_desired(&device, setpoint, NOW + 1, true, NOW, 9).await.unwrap());
        registry.put_member(first, HOME, &guest.uid, admin, NOW).await.unwrap();
        assert!(registry.remove_member(first, None, HOME, &guest.uid, NOW).await.is_ok());
        assert!(registry.desired(&[&device]).await.unwrap()[0].is_empty(), "as with a share");
        assert_eq!(put(first, &guest.uid, by_guest.clone()).await, MemberResult::Unknown, "gone is gone");
        assert_eq!(put(first, &guest.uid, MemberChange { may_join: true, ..by_guest }).await, MemberResult::NotAllowed);
        assert!(registry.remove_home(second, None, HOME, NOW).await.is_err());
        assert!(registry.remove_home(first, None, HOME, NOW + 5).await.is_ok());
        assert!(registry.remove_home(first, None, HOME, NOW).await.is_err());
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        assert_eq!((plug.home, plug.updated_ms, plug.owner.clone()), (None, NOW + 5, Some(uid(OWNER))));
        // The removal of a user deletes the user's homes, memberships and pairing tokens.
        registry.make_pairing(first, &guest.uid, Some(boat), NOW, DurationMs(10)).await.unwrap().unwrap();
        registry.remove_user(first, &guest.uid, &Cut(NOW), NOW).await.unwrap().unwrap();
        registry.make_pairing(first, &uid(OWNER), None, NOW, DurationMs(10)).await.unwrap().unwrap();
        registry.remove_user(first, &uid(OWNER), &Cut(NOW), NOW).await.unwrap().unwrap();
        assert!(home(boat).await.is_none());
    });
}

#[test]
fn a_pairing_token_is_redeemed_once() {
    on_engines(async |registry, first, second| {
        let (lonely, plug) = (no(&*registry, first, LONELY).await, no(&*registry, first, PLUG).await);
        let foreign = no(&*registry, second, FOREIGN).await;
        let make =
            async |now| registry.make_pairing(first, &uid(GUEST), None, now, DurationMs(100)).await.unwrap().unwrap();
        assert!(registry.make_pairing(second, &uid(GUEST), None, NOW, DurationMs(100)).await.unwrap().is_none());
        let made = make(NOW).await;
        assert_eq!((made.token.len(), made.secret.len()), (12, 4));
        let redeem = async |device, token: &str, now| {
            registry.redeem_pairing(device, &SentToken::parse(token), &Cut(now), now).await.unwrap().0
        };
        let whole = |token: &str, secret: &str| format!("AY{token}{secret}");
        assert_eq!(redeem(lonely, "nothing", NOW).await, Redeemed::Unknown);
        assert_eq!(redeem(lonely, &whole(&made.token, "0000"), NOW).await, Redeemed::Unknown);
        assert_eq!(redeem(lonely, &made.token, NOW + 100).await, Redeemed::Unknown, "expired");
        assert_eq!(redeem(plug, &made.token, NOW).await, Redeemed::Refused, "somebody else's");
        assert_eq!(redeem(foreign, &made.token, NOW).await, Redeemed::Refused, "another project's");
        assert_eq!(redeem(lonely, &whole(&made.token, &made.secret), NOW + 7).await, Redeemed::Bound);
        assert_eq!(redeem(lonely, &made.token, NOW + 8).await, Redeemed::Unknown, "used");
        let device = registry.device(first, &id(LONELY)).await.unwrap().unwrap();
        assert_eq!(
            (device.owner.clone(), device.active_ms, device.home),
            (Some(uid(GUEST)), NOW + 7, Some(HomeId(11_600_001)))
        );

        let result = async |project, user, token: &str| registry.pairing(project, user, token, NOW).await.unwrap();
        assert!(registry.pairing(first, None, &made.token, NOW + 101).await.unwrap().is_none(), "too old");
        let (paired, refused) = result(first, None, &made.token).await.unwrap();
        assert_eq!((paired.unwrap().no, refused.len()), (lonely, 1), "devices of another project are not shown");
        let stranger = number(&*registry, first, "stranger").await;
        assert!(result(first, Some(stranger), &made.token).await.is_none());
        assert!(result(second, None, &made.token).await.is_none() && result(first, None, "x").await.is_none());
        // A user can pair an own device again. The results of old tokens are deleted.
        let again = make(NOW + PAIRING_KEPT_MS + 200).await;
        assert!(result(first, None, &made.token).await.is_none());
        assert_eq!(redeem(lonely, &again.token, NOW).await, Redeemed::Bound);

        // A user who may no longer pair devices in a home cannot do it with an older token.
        let guest = registry.app_user(first, &uid(GUEST)).await.unwrap().unwrap();
        let admin = MemberChange { name: None, is_admin: Some(true), may_join: true, by: None };
        registry.put_member(first, HOME, &guest.uid, admin.clone(), NOW).await.unwrap();
        let mine = registry.make_pairing(first, &guest.uid, Some(HOME), NOW, DurationMs(100)).await.unwrap().unwrap();
        let demoted = MemberChange { is_admin: Some(false), ..admin };
        registry.put_member(first, HOME, &guest.uid, demoted, NOW).await.unwrap();
        assert_eq!(redeem(lonely, &mine.token, NOW).await, Redeemed::Unknown);

        // With a gateway, the user gets its sub-devices that have no owner.
        let (gateway, leak) = (no(&*registry, first, GATEWAY).await, no(&*registry, first, LEAK).await);
        for name in [GATEWAY, LEAK] {
            registry.remove_devices(first, &[id(name)], Removal::Removed, &Cut(0), NOW).await.unwrap().unwrap();
        }
        assert!(registry.attach(&[leak], gateway, 9, &Cut(NOW), NOW).await.unwrap().0);
        assert!(registry.device(first, &id(LEAK)).await.unwrap().is_none(), "nobody's yet");
        assert_eq!(redeem(gateway, &make(NOW).await.token, NOW).await, Redeemed::Bound);
        let behind = registry.device(first, &id(LEAK)).await.unwrap().unwrap();
        assert_eq!((behind.owner.clone(), behind.home), (Some(uid(GUEST)), Some(HomeId(11_600_001))));

        // The sub-device follows the gateway to its next owner. A removed device returns only by a pairing token.
        let no_binding = registry.unbind_device(first, &uid(GUEST), gateway, &Cut(NOW), NOW).await.unwrap().0;
        assert_eq!(no_binding, Unbound::Owner);
        assert_eq!(registry.device(first, &id(LEAK)).await.unwrap().unwrap().owner, None);
        let owners = registry.make_pairing(first, &uid(OWNER), None, NOW, DurationMs(100)).await.unwrap().unwrap();
        assert_eq!(redeem(gateway, &owners.token, NOW).await, Redeemed::Bound);
        assert!(registry.attach(&[leak], gateway, 9, &Cut(NOW), NOW).await.unwrap().0);
        assert_eq!(registry.device(first, &id(LEAK)).await.unwrap().unwrap().owner, Some(uid(OWNER)));
        registry.remove_devices(first, &[id(LEAK)], Removal::Removed, &Cut(0), NOW).await.unwrap().unwrap();
        assert!(registry.attach(&[leak], gateway, 9, &Cut(NOW), NOW).await.unwrap().0);
        assert!(registry.device(first, &id(LEAK)).await.unwrap().is_none());

        // If many devices redeem one token, one succeeds.
        let third = make(NOW).await.token;
        registry.remove_devices(first, &[id(GATEWAY)], Removal::Removed, &Cut(0), NOW).await.unwrap().unwrap();
        registry.remove_devices(first, &[id(LONELY)], Removal::Removed, &Cut(0), NOW).await.unwrap().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (registry, third) = (registry.clone(), third.clone());
            let device = if n % 2 == 0 { gateway } else { lonely };
            tasks.spawn(async move {
                registry.redeem_pairing(device, &SentToken::parse(&third), &Cut(NOW), NOW).await.unwrap().0
                    == Redeemed::Bound
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|bound| *bound).count(), 1);
    });
}
