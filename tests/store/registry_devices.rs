//! The contract of the registry, third part: what is kept of devices under a key, gateways and what is behind them, and
//! devices that are made as they come.

use ingle::domain::device::{FactoryName, Leaving};
use ingle::domain::fact::{Fact, FactChange, FactKind};
use ingle::domain::home::{Home, HomeRole};
use ingle::domain::product::Registration;
use ingle::domain::session::DeviceClaim;
use ingle::domain::topology::NewSubDevice;
use ingle::domain::{DeviceNo, ProductId};

use super::registry::{NOW, id, on_engines};
use crate::support::world::{DOOR, GATEWAY, LEAK, OWNER, PLUG, SCALE};

#[test]
fn facts_are_kept_by_kind_and_key() {
    on_engines(async |registry, first, _| {
        let no = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap().no;
        let (plug, scale) = (no(PLUG).await, no(SCALE).await);
        let change = async |device: DeviceNo, kind, changes: Vec<FactChange>| {
            registry.change_facts(device, kind, changes, 3).await.unwrap()
        };
        let facts = async |device: DeviceNo, kind| registry.facts(device, kind).await.unwrap();
        let fact = |key: &str, text: &str, version| Fact { key: key.to_owned(), text: text.to_owned(), version };
        assert!(change(plug, FactKind::Tag, vec![FactChange::set("b", "1"), FactChange::set("a", "2")]).await);
        assert!(change(plug, FactKind::Tag, vec![FactChange::set("b", "3")]).await);
        assert_eq!(facts(plug, FactKind::Tag).await, [fact("a", "2", 1), fact("b", "3", 2)]);
        for (device, kind) in [(scale, FactKind::Tag), (plug, FactKind::Desired), (plug, FactKind::Shadow)] {
            assert!(facts(device, kind).await.is_empty());
        }
        // All or none: too many, or one of another version.
        assert!(!change(plug, FactKind::Tag, vec![FactChange::set("c", ""), FactChange::set("d", "")]).await);
        let at = |key: &str, version| FactChange { from_version: Some(version), ..FactChange::set(key, "9") };
        assert!(!change(plug, FactKind::Tag, vec![at("a", 1), at("b", 1)]).await);
        assert!(!change(plug, FactKind::Tag, vec![at("new", 1)]).await);
        assert_eq!(facts(plug, FactKind::Tag).await, [fact("a", "2", 1), fact("b", "3", 2)]);
        assert!(change(plug, FactKind::Tag, vec![at("a", 1), at("new", 0)]).await);
        assert!(change(plug, FactKind::Tag, vec![FactChange::forget("b"), FactChange::forget("nothing")]).await);
        assert_eq!(facts(plug, FactKind::Tag).await, [fact("a", "9", 2), fact("new", "9", 1)]);
        // A reset forgets what its users left, not what the device is.
        assert!(change(plug, FactKind::Firmware, vec![FactChange::set("0", "1.0.0")]).await);
        assert!(change(plug, FactKind::Desired, vec![FactChange::set("on", "true")]).await);
        assert!(registry.remove_device(first, &id(PLUG), Leaving::Reset, NOW, NOW).await.unwrap());
        assert_eq!(facts(plug, FactKind::Firmware).await, [fact("0", "1.0.0", 1)]);
        for kind in [FactKind::Tag, FactKind::Desired, FactKind::Shadow] {
            assert!(facts(plug, kind).await.is_empty(), "{kind:?}");
        }
    });
}

#[test]
fn homes_and_what_stands_in_them() {
    on_engines(async |registry, first, second| {
        let uid = |text: &str| ingle::domain::Uid::from(text);
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
        assert!(!registry.attach(plug.no, gateway.no, 2, NOW).await.unwrap(), "no room");
        assert!(registry.attach(leak.no, gateway.no, 2, NOW).await.unwrap(), "there already");
        assert!(registry.attach(plug.no, gateway.no, 3, NOW).await.unwrap());
        assert_eq!(behind(10).await.len(), 3);
        assert_eq!(device(PLUG).await.gateway, Some(id(GATEWAY)));
        assert!(registry.detach(plug.no, gateway.no, NOW).await.unwrap());
        assert!(!registry.detach(plug.no, gateway.no, NOW).await.unwrap());
        assert!(!registry.detach(leak.no, plug.no, NOW).await.unwrap(), "behind another");
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
        let make =
            async |device: &NewSubDevice, gateway, max| registry.make_device(device, gateway, max, NOW).await.unwrap();
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
        // Behind this gateway, so no other gets it, nor is it made as a device of its own.
        let other = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        assert!(make(&sub, Some(other.no), 9).await.is_none());
        assert!(make(&sub, None, 9).await.is_none());
        // Without a gateway any product will do, as long as there is room.
        let alone = make(&named("EvolhYPyZNWYP001", "alone"), None, 9).await.unwrap();
        assert_eq!((alone.gateway.as_ref(), alone.owner.as_ref()), (None, None));
        assert!(make(&named("EvolhYPyZNWYP001", "more"), None, 1).await.is_none());
        // Its own secret, which its name leads to; by its id alone with that name.
        let name = FactoryName { product_key: alone.product.key.clone(), device_name: "alone".to_owned() };
        let found = registry.device_secret(&DeviceClaim::Factory(name.clone())).await.unwrap().unwrap();
        assert_eq!((found.device.no, found.secret.len()), (alone.no, 16));
        let claim = |device_id: &str| DeviceClaim::Registered(id(device_id), name.clone());
        assert!(registry.device_secret(&claim(alone.id.as_str())).await.unwrap().is_some());
        assert!(registry.device_secret(&claim(PLUG)).await.unwrap().is_none());
        let product = registry.product_secret(&alone.product.key).await.unwrap().unwrap();
        assert_eq!((product.product.registration, product.secret.len()), (Registration::Off, 16));
        assert!(registry.product_secret("nothing").await.unwrap().is_none());
    });
}
