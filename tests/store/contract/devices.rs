//! The contract of the registry, third part: attributes, gateways and their sub-devices, and devices that are created when
//! they register.

use std::sync::Mutex;

use ingle::domain::attribute::{Attribute, AttributeChange, AttributeKind};
use ingle::domain::binding::{Bound, Unbound};
use ingle::domain::device::{FactoryName, Removal};
use ingle::domain::handover::HistoryCuts;
use ingle::domain::home::{Home, HomeRole};
use ingle::domain::product::Registration;
use ingle::domain::session::DeviceClaim;
use ingle::domain::topology::NewSubDevice;
use ingle::domain::{Device, DeviceId, DeviceNo, ProductId, Uid, Value};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{DOOR, FOREIGN, GATEWAY, GUEST, LEAK, OWNER, PLUG, SCALE};

#[test]
fn facts_are_kept_by_kind_and_key() {
    on_engines(async |registry, first, _| {
        let device = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap();
        let (plug, scale) = (&device(PLUG).await, &device(SCALE).await);
        let change = async |device: &Device, kind, changes: Vec<AttributeChange>| {
            registry.change_attributes(device, kind, changes, 3).await.unwrap()
        };
        let facts = async |device: &Device, kind| registry.attributes(device, kind).await.unwrap();
        let fact = |key: &str, text: &str, version| Attribute { key: key.to_owned(), text: text.to_owned(), version };
        assert!(
            change(plug, AttributeKind::Tag, vec![AttributeChange::set("b", "1"), AttributeChange::set("a", "2")])
                .await
        );
        assert!(change(plug, AttributeKind::Tag, vec![AttributeChange::set("b", "3")]).await);
        assert_eq!(facts(plug, AttributeKind::Tag).await, [fact("a", "2", 1), fact("b", "3", 2)]);
        for (device, kind) in [(scale, AttributeKind::Tag), (plug, AttributeKind::Shadow)] {
            assert!(facts(device, kind).await.is_empty());
        }
        // If there are too many, or one has another version, none is changed.
        assert!(
            !change(plug, AttributeKind::Tag, vec![AttributeChange::set("c", ""), AttributeChange::set("d", "")]).await
        );
        let at = |key: &str, version| AttributeChange { from_version: Some(version), ..AttributeChange::set(key, "9") };
        assert!(!change(plug, AttributeKind::Tag, vec![at("a", 1), at("b", 1)]).await);
        assert!(!change(plug, AttributeKind::Tag, vec![at("new", 1)]).await);
        assert_eq!(facts(plug, AttributeKind::Tag).await, [fact("a", "2", 1), fact("b", "3", 2)]);
        assert!(change(plug, AttributeKind::Tag, vec![at("a", 1), at("new", 0)]).await);
        assert!(
            change(plug, AttributeKind::Tag, vec![AttributeChange::remove("b"), AttributeChange::remove("nothing")])
                .await
        );
        assert_eq!(facts(plug, AttributeKind::Tag).await, [fact("a", "9", 2), fact("new", "9", 1)]);
        // A reset deletes the attributes from users, but not the firmware versions.
        assert!(change(plug, AttributeKind::Firmware, vec![AttributeChange::set("0", "1.0.0")]).await);
        let setpoint = |code: &str, value: &str| (code.into(), Value::from_json(value).unwrap());
        let put = async |setpoints, until_ms, now_ms| {
            registry.put_desired(plug, setpoints, until_ms, true, now_ms, 2).await.unwrap()
        };
        let desired = async || {
            let all = registry.desired(&[plug]).await.unwrap().remove(0).into_iter();
            all.map(|one| (one.code, one.value.as_json().to_owned(), one.version)).collect::<Vec<_>>()
        };
        let one = |code: &str, value: &str, version: i64| (code.to_owned(), value.to_owned(), version);
        assert!(put(vec![setpoint("on", "true"), setpoint("at", "1")], NOW + 9, NOW).await);
        assert!(!put(vec![setpoint("on", "false"), setpoint("more", "1")], NOW + 9, NOW).await, "all or none");
        assert!(put(vec![setpoint("on", "false")], NOW + 20, NOW).await);
        assert_eq!(desired().await, [one("at", "1", 1), one("on", "false", 2)]);
        let versions = vec![("on".to_owned(), Some(1)), ("at".to_owned(), None), ("nothing".to_owned(), None)];
        registry.remove_desired(&[(plug, versions)]).await.unwrap();
        assert_eq!(desired().await, [one("on", "false", 2)], "a newer one stays");
        assert!(put(vec![setpoint("on", "true")], NOW + 30, NOW + 20).await);
        assert_eq!(desired().await, [one("on", "true", 1)], "one whose time is over is gone");
        assert!(registry.remove_devices(first, &[id(PLUG)], Removal::Reset, &Cut(NOW), NOW).await.unwrap().is_some());
        assert_eq!(facts(plug, AttributeKind::Firmware).await, [fact("0", "1.0.0", 1)]);
        assert!(desired().await.is_empty());
        for kind in [AttributeKind::Tag, AttributeKind::Shadow] {
            assert!(facts(plug, kind).await.is_empty(), "{kind:?}");
        }
    });
}

#[test]
fn filters_are_kept_by_session_and_device() {
    on_engines(async |registry, first, _| {
        let device = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap();
        let (gateway, door) = (&device(GATEWAY).await, &device(DOOR).await);
        let (leak, plug) = (&device(LEAK).await, &device(PLUG).await);
        let filters = |all: &[&str]| all.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>();
        let kept = async |session| registry.stored_filters(session).await.unwrap();
        assert!(kept(gateway).await.is_empty());
        let of = |device: &Device, all: &[&str]| (device.no, filters(all));
        registry.store_filters(gateway, vec![of(gateway, &["a/#", "水/+"]), of(door, &["d"])]).await.unwrap();
        registry.store_filters(plug, vec![of(plug, &["p"])]).await.unwrap();
        let mut expected = vec![of(gateway, &["a/#", "水/+"]), of(door, &["d"])];
        expected.sort_by_key(|(device, _)| device.0);
        assert_eq!(kept(gateway).await, expected);
        assert_eq!(kept(plug).await, [of(plug, &["p"])]);
        // New filters replace the stored ones of the same device. An empty list deletes them. Other devices are unchanged.
        registry.store_filters(gateway, vec![of(gateway, &["b"]), of(leak, &["l"])]).await.unwrap();
        registry.store_filters(gateway, vec![of(door, &[])]).await.unwrap();
        let mut expected = vec![of(gateway, &["b"]), of(leak, &["l"])];
        expected.sort_by_key(|(device, _)| device.0);
        assert_eq!(kept(gateway).await, expected);
        // Filters of devices that are not sub-devices of the gateway are deleted.
        assert!(registry.detach(&[leak.no], gateway.no, NOW).await.unwrap());
        registry.store_filters(gateway, vec![of(plug, &["p"])]).await.unwrap();
        assert_eq!(kept(gateway).await, [of(gateway, &["b"])]);
        registry.delete_filters(gateway).await.unwrap();
        assert!(kept(gateway).await.is_empty());
        assert_eq!(kept(plug).await, [of(plug, &["p"])]);
    });
}

#[test]
fn homes_and_what_stands_in_them() {
    on_engines(async |registry, first, second| {
        let uid = |text: &str| Uid::from(text);
        let homes = registry.homes_of_user(first, &uid(OWNER), 10).await.unwrap().unwrap();
        assert_eq!((homes.len(), homes[0].1), (1, HomeRole::Owner));
        let homes: Vec<Home> = homes.into_iter().map(|(home, _)| home).collect();
        assert_eq!((homes[0].id.0, homes[0].name.as_str()), (10_700_001, "Home"));
        assert_eq!(registry.home(first, homes[0].id).await.unwrap().unwrap(), homes[0]);
        assert!(registry.homes_of_user(first, &uid(OWNER), 0).await.unwrap().unwrap().is_empty());
        assert!(registry.homes_of_user(second, &uid(OWNER), 10).await.unwrap().is_none());
        assert!(registry.home(second, homes[0].id).await.unwrap().is_none());
        let devices = registry.devices_of_home(first, homes[0].id, 0, 100).await.unwrap();
        assert!(devices.len() > 3 && devices.iter().all(|device| device.home == Some(homes[0].id)));
        assert_eq!(registry.devices_of_home(first, homes[0].id, 0, 2).await.unwrap().len(), 2);
        let rest = registry.devices_of_home(first, homes[0].id, 2, 100).await.unwrap();
        assert_eq!((rest.len() + 2, rest[0].no), (devices.len(), devices[2].no));
        assert!(registry.devices_of_home(second, homes[0].id, 0, 100).await.unwrap().is_empty());
    });
}

#[test]
fn devices_go_behind_a_gateway_and_leave_it() {
    on_engines(async |registry, first, _| {
        let device = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap();
        let (gateway, plug, leak) = (device(GATEWAY).await, device(PLUG).await, device(LEAK).await);
        let behind = async |limit| -> Vec<String> {
            registry.behind(gateway.no, limit).await.unwrap().into_iter().map(|device| device.id.0).collect()
        };
        assert_eq!(behind(10).await, [LEAK, DOOR]);
        assert_eq!(behind(1).await, [LEAK]);
        assert!(!registry.attach(&[plug.no], gateway.no, 2, &Cut(NOW), NOW).await.unwrap().0, "no room");
        assert!(registry.attach(&[leak.no], gateway.no, 2, &Cut(NOW), NOW).await.unwrap().0, "there already");
        assert!(registry.attach(&[plug.no], gateway.no, 3, &Cut(NOW), NOW).await.unwrap().0);
        assert_eq!(behind(10).await.len(), 3);
        assert_eq!(device(PLUG).await.gateway, Some(id(GATEWAY)));
        assert!(registry.detach(&[plug.no], gateway.no, NOW).await.unwrap());
        assert!(!registry.detach(&[plug.no], gateway.no, NOW).await.unwrap());
        assert!(!registry.detach(&[leak.no], plug.no, NOW).await.unwrap(), "behind another");
        assert_eq!(behind(10).await, [LEAK, DOOR]);
    });
}

#[test]
fn devices_are_made_as_they_come() {
    on_engines(async |registry, first, second| {
        let gateway = registry.device(first, &id(GATEWAY)).await.unwrap().unwrap();
        let named = |product: &str, name: &str| NewSubDevice {
            product: ProductId::from(product),
            name: name.to_owned(),
            node_id: Some("n7".to_owned()),
        };
        let behind = Some(gateway.no);
        let make = async |device: &NewSubDevice, gateway, max| {
            let device = std::slice::from_ref(device);
            registry.make_devices(device, gateway, max, &Cut(NOW), NOW).await.unwrap().0.pop()
        };
        let sub = named("rzeSU2h9uoklx001", "cellar");
        let made = make(&sub, behind, 3).await.unwrap();
        assert_eq!((made.device_name.as_str(), made.node_id.as_deref()), ("cellar", Some("n7")));
        assert_eq!(
            (made.gateway.as_ref(), made.owner.as_ref().map(|uid| uid.as_str())),
            (Some(&id(GATEWAY)), Some(OWNER))
        );
        assert_eq!(made.home, gateway.home);
        assert_eq!(make(&sub, behind, 3).await.unwrap().id, made.id, "once");
        assert!(registry.device(first, &made.id).await.unwrap().is_some());
        assert!(registry.device(second, &made.id).await.unwrap().is_none());
        assert!(make(&named("rzeSU2h9uoklx001", "attic"), behind, 3).await.is_none(), "no room");
        for product in ["EvolhYPyZNWYP001", "foreign000000001", "nothing"] {
            assert!(make(&named(product, "attic"), behind, 9).await.is_none(), "{product}");
        }
        // Another gateway cannot get the sub-device, nor can it register without a gateway.
        let other = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        assert!(make(&sub, Some(other.no), 9).await.is_none());
        assert!(make(&sub, None, 9).await.is_none());
        // Without a gateway, a device of any product can register, up to the limit.
        let alone = make(&named("EvolhYPyZNWYP001", "alone"), None, 9).await.unwrap();
        assert_eq!((alone.gateway.as_ref(), alone.owner.as_ref()), (None, None));
        assert!(make(&named("EvolhYPyZNWYP001", "more"), None, 1).await.is_none());
        // The device has its own secret, which is found by its name, and by its id only with that name.
        let name = FactoryName { product_key: alone.product.key.clone(), device_name: "alone".to_owned() };
        let found = registry.device_secret(&DeviceClaim::Factory(name.clone())).await.unwrap().unwrap();
        assert_eq!((found.device.no, found.secret.len()), (alone.no, 16));
        let claim = |device_id: &str| DeviceClaim::Registered(id(device_id), name.clone());
        assert!(registry.device_secret(&claim(alone.id.as_str())).await.unwrap().is_some());
        assert!(registry.device_secret(&claim(PLUG)).await.unwrap().is_none());
        let keys = ["nothing", alone.product.key.as_str()];
        let mut products = registry.product_secrets(&keys).await.unwrap();
        let product = products.remove(1).unwrap();
        assert_eq!((product.product.registration, product.secret.len()), (Registration::Off, 16));
        assert!(products.remove(0).is_none() && registry.product_secrets(&[]).await.unwrap().is_empty());
    });
}

/// Records the devices for which the store requests a history cut.
#[derive(Default)]
struct Asked(Mutex<Vec<DeviceNo>>);

#[async_trait::async_trait]
impl HistoryCuts for Asked {
    async fn history_from_ms(&self, devices: &[DeviceNo]) -> ingle::domain::Result<Vec<i64>> {
        self.0.lock().unwrap().extend_from_slice(devices);
        Ok(devices.iter().map(|device| NOW + 100 + device.0).collect())
    }
}

#[test]
fn the_history_ends_for_exactly_those_that_go_to_somebody_new() {
    on_engines(async |registry, first, _| {
        let device = async |name: &str| registry.device_by_id(&id(name)).await.unwrap().unwrap();
        let (gateway, leak, door) = (device(GATEWAY).await, device(LEAK).await, device(DOOR).await);
        let factory = |device: &Device| FactoryName {
            product_key: device.product.key.clone(),
            device_name: device.device_name.clone(),
        };
        let asked = Asked::default();
        let taken = || std::mem::take(&mut *asked.0.lock().unwrap());
        let (owner, guest) = (Uid::from(OWNER), Uid::from(GUEST));
        // The sub-devices leave with the gateway. Their owners are reported, and no history is cut.
        let (unbound, moves) = registry.unbind_device(first, &owner, gateway.no, &asked, NOW).await.unwrap();
        let mut left: Vec<DeviceNo> = moves.removed.iter().map(|left| left.no).collect();
        left.sort_unstable();
        assert_eq!((unbound, left), (Unbound::Owner, vec![gateway.no, leak.no, door.no]));
        assert!(moves.removed.iter().all(|left| left.owner.as_ref() == Some(&owner) && left.home.is_some()));
        assert!(moves.new_owners.is_empty() && taken().is_empty());
        // The same owner gets them back unchanged.
        let (bound, moves) = registry.bind_devices(first, &owner, &[factory(&leak)], &asked, NOW).await.unwrap();
        assert_eq!((bound, moves.new_owners), (Some(vec![Bound::Owner]), vec![(leak.no, owner.clone())]));
        assert!(taken().is_empty() && device(LEAK).await.history_from_ms == 0);
        // Another user gets the gateway and its sub-devices without an owner.
        assert!(registry.attach(&[door.no], gateway.no, 9, &asked, NOW).await.unwrap().0);
        let (bound, moves) = registry.bind_devices(first, &guest, &[factory(&gateway)], &asked, NOW).await.unwrap();
        let came = vec![(gateway.no, guest.clone()), (door.no, guest.clone())];
        assert_eq!((bound, moves.new_owners), (Some(vec![Bound::Owner]), came));
        assert_eq!(taken(), [gateway.no, door.no]);
        for one in [&gateway, &door] {
            assert_eq!(device(one.id.as_str()).await.history_from_ms, NOW + 100 + one.no.0);
        }
        // A sub-device keeps its owner when it is attached to a gateway of another owner.
        assert!(registry.attach(&[leak.no], gateway.no, 9, &asked, NOW).await.unwrap().0);
        assert_eq!((device(LEAK).await.owner, taken()), (Some(owner), vec![]));
        // The history of a removed user's devices is cut.
        let moves = registry.remove_user(first, &guest, &asked, NOW).await.unwrap().unwrap();
        assert!(moves.new_owners.is_empty() && taken().contains(&door.no));
    });
}

#[test]
fn devices_are_removed_together_or_not_at_all() {
    on_engines(async |registry, first, second| {
        let remove = async |project, names: &[&str]| {
            let ids: Vec<DeviceId> = names.iter().map(|name| id(name)).collect();
            registry.remove_devices(project, &ids, Removal::Reset, &Cut(NOW), NOW).await.unwrap()
        };
        let before = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        for stranger in ["nobody", FOREIGN] {
            assert_eq!(remove(first, &[PLUG, SCALE, stranger]).await, None);
        }
        assert_eq!(remove(second, &[PLUG]).await, None);
        assert!(registry.device(first, &id(PLUG)).await.unwrap() == Some(before), "nothing of it was done");
        let moves = remove(first, &[PLUG, SCALE]).await.unwrap();
        assert_eq!(moves.removed.len(), 2);
        assert!(moves.removed.iter().all(|left| left.history_from_ms == NOW), "{moves:?}");
        assert_eq!(moves.removed[0].projects, [first]);
        assert_eq!(remove(first, &[PLUG]).await, None, "the second time");
    });
}
