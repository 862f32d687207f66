//! The contract of the registry: a method that takes a list answers for each item what it answers for that item alone, in the
//! order of the list.

use ingle::domain::attribute::DesiredVersions;
use ingle::domain::device::FactoryName;
use ingle::domain::feed::{Audience, SubscribedQuery};
use ingle::domain::session::DeviceClaim;
use ingle::domain::topology::NewSubDevice;
use ingle::domain::{Device, DeviceId, DeviceName, DeviceNo, ProductId, Value};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{FOREIGN, GATEWAY, PLUG};

#[test]
fn devices_are_found_in_the_order_of_the_list() {
    on_engines(async |registry, first, second| {
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        let foreign = registry.device(second, &id(FOREIGN)).await.unwrap().unwrap();
        let ids = [PLUG, "nobody", FOREIGN, GATEWAY, PLUG].map(id);
        let found = registry.devices_by_id(&ids).await.unwrap();
        let found: Vec<Option<DeviceId>> = found.into_iter().map(|device| device.map(|device| device.id)).collect();
        let expected = [Some(id(PLUG)), None, Some(id(FOREIGN)), Some(id(GATEWAY)), Some(id(PLUG))];
        assert_eq!(found, expected);
        let claims = ids.clone().map(DeviceClaim::Id);
        let secrets = registry.device_secrets(&claims).await.unwrap();
        let found: Vec<Option<DeviceId>> =
            secrets.into_iter().map(|found| found.map(|found| found.device.id)).collect();
        assert_eq!(found, expected);

        let mut seen = Vec::new();
        for project in [first, second] {
            seen.extend(ids.iter().map(|id| (project, id.clone())));
        }
        let found = registry.devices_seen(&seen).await.unwrap();
        for ((project, id), found) in seen.iter().zip(&found) {
            assert!(*found == registry.device(*project, id).await.unwrap(), "{project:?} {id:?}");
        }
        assert_eq!(found.iter().filter(|found| found.is_some()).count(), 4, "those of each project");

        let factory = FactoryName { product_key: plug.product.key.clone(), device_name: plug.device_name.clone() };
        let names = [
            DeviceName::IotId(foreign.iot_id.clone()),
            DeviceName::Factory(factory),
            DeviceName::IotId("nothing".to_owned()),
            DeviceName::IotId(plug.iot_id.clone()),
        ];
        let numbers = async |project| -> Vec<Option<DeviceNo>> {
            let found = registry.devices_named(project, &names).await.unwrap();
            found.into_iter().map(|device| device.map(|device| device.no)).collect()
        };
        assert_eq!(numbers(first).await, [None, Some(plug.no), None, Some(plug.no)]);
        assert_eq!(numbers(second).await, [Some(foreign.no), None, None, None]);

        let numbers = [foreign.no, DeviceNo(-1), plug.no];
        let audiences = registry.audiences(&numbers).await.unwrap();
        assert_eq!((audiences[0].projects.as_slice(), &audiences[1]), ([second].as_slice(), &Audience::default()));
        assert_eq!(audiences[2].projects, [first]);
        let queries = numbers.map(|device| SubscribedQuery { project: first, user: None, device });
        let seen = registry.subscribed_devices(&queries).await.unwrap();
        let seen: Vec<Option<DeviceNo>> = seen.into_iter().map(|device| device.map(|device| device.no)).collect();
        assert_eq!(seen, [None, None, Some(plug.no)]);

        assert!(registry.devices_by_id(&[]).await.unwrap().is_empty());
        assert!(registry.device_secrets(&[]).await.unwrap().is_empty());
        assert!(registry.devices_seen(&[]).await.unwrap().is_empty());
        assert!(registry.devices_named(first, &[]).await.unwrap().is_empty());
        assert!(registry.audiences(&[]).await.unwrap().is_empty());
        assert!(registry.subscribed_devices(&[]).await.unwrap().is_empty());
    });
}

#[test]
fn names_and_desired_values_are_of_their_devices() {
    on_engines(async |registry, first, _| {
        let device = async |name: &str| registry.device(first, &id(name)).await.unwrap().unwrap();
        let (plug, gateway) = (&*device(PLUG).await, &*device(GATEWAY).await);
        registry.name_function(plug, "switch_1", "left", NOW).await.unwrap();
        let names = registry.function_names(&[gateway, plug, plug]).await.unwrap();
        assert_eq!(names.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(names[1], names[2]);

        let one = |code: &str| vec![(code.into(), Value::from_json("1").unwrap())];
        for (device, code) in [(plug, "a"), (plug, "b"), (gateway, "a")] {
            assert!(registry.put_desired(device, one(code), NOW + 9, true, NOW, 9).await.unwrap());
        }
        let desired = async |devices: &[&Device]| -> Vec<Vec<String>> {
            let desired = registry.desired(devices).await.unwrap();
            desired.into_iter().map(|all| all.into_iter().map(|one| one.code).collect()).collect()
        };
        assert_eq!(desired(&[gateway, plug, gateway]).await, [vec!["a"], vec!["a", "b"], vec!["a"]]);
        let gone = |code: &str, version| -> DesiredVersions { vec![(code.to_owned(), version)] };
        let values = [(plug, gone("a", Some(1))), (gateway, gone("a", Some(2))), (plug, gone("nothing", None))];
        registry.remove_desired(&values).await.unwrap();
        assert_eq!(desired(&[plug, gateway]).await, [vec!["b"], vec!["a"]], "another version stays");
        registry.remove_desired(&[]).await.unwrap();
        assert!(
            registry.desired(&[]).await.unwrap().is_empty() && registry.function_names(&[]).await.unwrap().is_empty()
        );
    });
}

#[test]
fn devices_are_made_up_to_the_first_that_is_refused() {
    on_engines(async |registry, first, _| {
        let gateway = registry.device(first, &id(GATEWAY)).await.unwrap().unwrap();
        let named = |product: &str, name: &str| NewSubDevice {
            product: ProductId::from(product),
            name: name.to_owned(),
            node_id: None,
        };
        let sub = |name: &str| named("rzeSU2h9uoklx001", name);
        let make = async |devices: &[NewSubDevice], max| -> Vec<String> {
            let made = registry.make_devices(devices, Some(gateway.no), max, &Cut(NOW), NOW).await.unwrap().0;
            made.into_iter().map(|device| device.device_name).collect()
        };
        let behind = registry.behind(gateway.no, 99).await.unwrap().len();
        let all = [sub("one"), sub("two"), sub("one"), named("nothing", "three"), sub("four")];
        assert_eq!(make(&all, 99).await, ["one", "two", "one"]);
        assert_eq!(registry.behind(gateway.no, 99).await.unwrap().len(), behind + 2, "nothing after the refused one");
        let more = [sub("two"), sub("five"), sub("six")];
        assert_eq!(make(&more, behind + 3).await, ["two", "five"], "no room for another");
        assert!(make(&[], 99).await.is_empty());
    });
}
