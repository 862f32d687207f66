//! `ingle apply`: what it would change, what it counts, what it does not replace, and large documents.

use std::thread;

use serde_json::{Value, json};

use crate::support::{TestCloud, ingle};

fn world(devices: Value) -> Value {
    json!({"projects": [{"name": "home", "tuya": {"client_id": "homeclient0000000001", "secret": "home's secret 01"},
        "apps": [{"schema": "app", "app_key": "60010001"}],
        "products": [{"product_id": "plug", "name": "Plug", "category": "cz", "product_secret": "plugs' secret 01"},
            {"product_id": "gate", "name": "Gate", "category": "wg2", "node_type": "gateway"},
            {"product_id": "door", "name": "Door", "category": "mcs", "node_type": "sub"}],
        "users": [{"schema": "app", "username": "anna", "password": "correct horse"}, {"schema": "app", "username": "ben"}],
        "homes": [{"home_id": 7, "name": "Home", "owner": "anna"}], "devices": devices}]})
}

#[test]
fn a_dry_run_prints_each_difference_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], world: &Value| {
        ingle(&[&["apply", "-"], arguments].concat(), folder.path(), &world.to_string())
    };
    let lamp = |more: Value| {
        let mut lamp = json!({"product_id": "plug", "device_id": "lamp", "secret": "lamp's secret 01", "name": "Lamp",
            "local_key": "lamp's key 00001", "owner": "anna", "home_id": 7});
        lamp.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([lamp, {"product_id": "gate", "device_id": "gate"},
            {"product_id": "door", "device_id": "door", "gateway": "gate", "owner": "anna"}])
    };
    let first = world(lamp(json!({})));
    let planned = run(&["--dry-run"], &first).unwrap();
    for line in ["+ project home\n", "+ app app of home\n", "+ user anna of home\n", "+ home 7 of home\n"] {
        assert!(planned.contains(line), "{line}: {planned}");
    }
    assert!(planned.contains("+ device lamp of home\n") && planned.contains("created: 1 project, 1 app"), "{planned}");
    assert_eq!(run(&["--dry-run"], &first).unwrap(), planned, "nothing was written");
    let created = run(&[], &first).unwrap();
    let counts = "  created: 1 project, 1 app, 3 products, 2 users, 1 home, 3 devices\n  changed: nothing\n  unchanged: nothing\n";
    assert!(created.ends_with(counts), "{created}");
    let nothing = run(&["--dry-run"], &first).unwrap();
    assert!(!nothing.contains("\n+ ") && !nothing.contains('~') && nothing.contains("changed: nothing"), "{nothing}");

    let second = world(lamp(json!({"name": "Desk lamp", "owner": "ben", "home_id": 0, "shared_with": ["anna"]})));
    let planned = run(&["--dry-run"], &second).unwrap();
    let line = "~ device lamp of home: owner \"anna\" -> \"ben\", home_id 7 -> 0, shared_with [] -> [\"anna\"], \
                name \"Lamp\" -> \"Desk lamp\"\n";
    assert!(planned.starts_with(line), "{planned}");
    assert_eq!(run(&["--dry-run"], &second).unwrap(), planned);
    let changed = run(&[], &second).unwrap();
    let counts = "created: nothing\n  changed: 1 device\n  unchanged: 1 project, 1 app, 3 products, 2 users, 1 home, 2 devices\n";
    assert!(changed.ends_with(counts), "{changed}");
    assert!(run(&[], &second).unwrap().contains("changed: nothing"));
    // A document that would be refused.
    let error = run(&["--dry-run"], &world(json!([{"product_id": "plug", "device_id": "new", "owner": "carl"}])));
    let error = error.unwrap_err();
    assert!(error.contains("devices[0]") && error.contains("there is no user \"carl\""), "{error}");
}

#[test]
fn a_credential_in_use_is_replaced_only_if_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], world: &Value| {
        ingle(&[&["apply", "-"], arguments].concat(), folder.path(), &world.to_string())
    };
    let devices =
        json!([{"product_id": "plug", "device_id": "lamp", "secret": "lamp's secret 01", "local_key": "key"}]);
    let first = world(devices);
    run(&[], &first).unwrap();
    let export = || ingle(&["export", "world", "--secrets"], folder.path(), "").unwrap();
    let before = export();
    for (path, member, of) in [
        ("/projects/0/tuya/client_id", "tuya.client_id", "project \"home\""),
        ("/projects/0/tuya/secret", "tuya.secret", "project \"home\""),
        ("/projects/0/apps/0/app_key", "app_key", "app \"app\""),
        ("/projects/0/products/0/product_secret", "product_secret", "product \"plug\""),
        ("/projects/0/users/0/password", "password", "user \"anna\""),
        ("/projects/0/devices/0/secret", "secret", "device \"lamp\""),
        ("/projects/0/devices/0/local_key", "local_key", "device \"lamp\""),
    ] {
        let mut other = first.clone();
        *other.pointer_mut(path).unwrap() = json!("another-one-00001");
        for arguments in [&["--dry-run"][..], &[]] {
            let error = run(arguments, &other).unwrap_err();
            assert!(error.contains(&format!("{member} of {of}")) && error.contains("--replace-secrets"), "{error}");
            assert!(!error.contains("another-one"), "{error}");
        }
        assert_eq!(export(), before, "{member}");
        let planned = run(&["--dry-run", "--replace-secrets"], &other).unwrap();
        let shown = if of.starts_with("project \"home\"") && member.ends_with("client_id") || member == "app_key" {
            format!("{member} \"")
        } else {
            assert!(!planned.contains("another-one"), "{planned}");
            format!("{member} replaced\n")
        };
        assert!(planned.starts_with('~') && planned.contains(&shown), "{planned}");
        assert!(run(&["--replace-secrets"], &other).unwrap().contains("changed: 1 "));
        assert!(run(&[], &other).unwrap().contains("changed: nothing"), "it is stored now");
        run(&["--replace-secrets"], &first).unwrap();
    }
    // The first password of a user replaces none.
    let mut with_password = first.clone();
    with_password["projects"][0]["users"][1]["password"] = json!("battery staple");
    assert!(run(&["--dry-run"], &with_password).unwrap().contains("~ user ben of home: password set\n"));
    assert!(run(&[], &with_password).unwrap().contains("changed: 1 user\n"));
}

#[test]
fn a_device_may_name_its_product() {
    let folder = tempfile::tempdir().unwrap();
    let apply = |world: &Value| ingle(&["apply", "-", "--json"], folder.path(), &world.to_string());
    // Of a product that the document creates, with or without an id, and of a stored one.
    let mut named = world(json!([{"product": "Plug", "device_id": "lamp"}, {"product": "New"}, {"product": "Plug"},
        {"product": "New"}, {"product_id": "plug"}]));
    named["projects"][0]["products"].as_array_mut().unwrap().push(json!({"name": "New", "category": "cz"}));
    let filled: Value = serde_json::from_str(&apply(&named).unwrap()).unwrap();
    let (products, devices) = (&filled["projects"][0]["products"], &filled["projects"][0]["devices"]);
    let new = products[3]["product_id"].as_str().unwrap();
    let of =
        |index: usize| [&devices[index]["product_id"], &devices[index]["device_name"]].map(|one| one.as_str().unwrap());
    assert_eq!([of(0), of(2), of(4)], [["plug", "lamp"], ["plug", "plug-1"], ["plug", "plug-2"]]);
    assert_eq!([of(1), of(3)], [[new, &format!("{new}-1")], [new, &format!("{new}-2")]]);
    assert_eq!(devices[0].get("product"), None);
    assert_eq!(serde_json::from_str::<Value>(&apply(&named).unwrap()).unwrap(), filled, "nothing changes");
    assert_eq!(serde_json::from_str::<Value>(&apply(&filled).unwrap()).unwrap(), filled);
    for (device, text) in [
        (json!({"product": "Nothing", "device_id": "x"}), "there is no product \"Nothing\""),
        (json!({"product": "Plug", "product_id": "plug"}), "one of them is enough"),
        (json!({"product": "", "device_id": "x"}), "product must not be empty"),
        (json!({"product": "Gate", "device_id": "lamp"}), "another product"),
    ] {
        let error = apply(&world(json!([device]))).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
    let mut twice = world(json!([{"product": "Plug", "device_id": "lamp"}]));
    twice["projects"][0]["products"]
        .as_array_mut()
        .unwrap()
        .push(json!({"product_id": "plug2", "name": "Plug", "category": "cz"}));
    let error = apply(&twice).unwrap_err();
    assert!(error.contains("2 products have the name \"Plug\""), "{error}");
}

/// Devices with gateways that come after their sub-devices.
fn many(count: usize) -> Vec<Value> {
    let device = |at: usize| match at % 3 {
        0 => {
            json!({"product_id": "door", "device_id": format!("d{at}"), "gateway": format!("d{}", at + 1), "owner": "anna"})
        }
        1 => json!({"product_id": "gate", "device_id": format!("d{at}"), "owner": "anna"}),
        _ => {
            json!({"product": "Plug", "device_id": format!("d{at}"), "shared_with": ["ben"], "owner": "anna", "home_id": 7})
        }
    };
    (0..count).map(device).collect()
}

#[test]
fn a_large_document_is_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let apply = |world: &Value| ingle(&["apply", "-"], folder.path(), &world.to_string());
    apply(&world(json!([{"product_id": "plug", "device_id": "old", "iot_id": "taken"}]))).unwrap();
    let before = ingle(&["export", "world"], folder.path(), "").unwrap();
    for (last, text) in [
        (json!({"product_id": "plug", "owner": "carl"}), "there is no user \"carl\""),
        (json!({"product_id": "plug", "shared_with": ["carl"]}), "there is no user \"carl\""),
        (json!({"product_id": "plug", "home_id": 8}), "no home 8"),
        (json!({"product_id": "nothing"}), "no product \"nothing\""),
        (json!({"product": "Nothing"}), "no product \"Nothing\""),
        (json!({"product_id": "door", "gateway": "d2"}), "is no gateway"),
        (json!({"product_id": "door", "gateway": "old"}), "is no gateway"),
        (json!({"product_id": "plug", "device_id": "new", "iot_id": "taken"}), "iot_id is in use"),
        (json!({"product_id": "plug", "device_id": "new", "device_name": "old"}), "device_name is in use"),
        (json!({"product_id": "plug", "device_id": "new", "device_name": "d2"}), "device_name is in use"),
        (json!({"product_id": "plug", "device_id": "d5"}), "\"d5\" is listed twice"),
        (json!({"product_id": "gate", "device_id": "old"}), "another product"),
        (json!({"product_id": "plug", "device_id": "a/b"}), "device_id must be"),
        (json!({"product_id": "plug", "colour": 1}), "unknown field `colour`"),
    ] {
        let mut devices = many(900);
        devices.push(last.clone());
        let error = apply(&world(json!(devices))).unwrap_err();
        assert!(error.contains(text), "{last}: {error}");
        assert_eq!(ingle(&["export", "world"], folder.path(), "").unwrap(), before, "{last}");
    }
}

#[test]
fn a_large_document_is_written_in_parts_while_others_write() {
    let cloud = TestCloud::start();
    let mut document = world(json!(many(1500)));
    let users: Vec<Value> = (0..300).map(|at| json!({"schema": "app", "username": format!("user{at}")})).collect();
    let homes: Vec<Value> = (0..300).map(|at| json!({"name": "Own", "owner": format!("user{at}")})).collect();
    document["projects"][0]["users"].as_array_mut().unwrap().extend(users);
    document["projects"][0]["homes"].as_array_mut().unwrap().extend(homes);
    let text = document.to_string();
    let created = thread::scope(|scope| {
        let writer = scope.spawn(|| cloud.ingle(&["apply", "-"], &text).unwrap());
        // Other writes are carried out meanwhile.
        let app = cloud.first();
        let mut at = 0;
        while !writer.is_finished() || at == 0 {
            let renamed =
                app.put(&format!("/v1.0/devices/{}", crate::support::world::PLUG), json!({"name": format!("n{at}")}));
            assert_eq!(renamed["result"], true, "{renamed}");
            at += 1;
        }
        writer.join().unwrap()
    });
    let counts = "created: 1 project, 1 app, 3 products, 302 users, 301 homes, 1500 devices\n";
    assert!(created.contains(counts), "{created}");
    let again = cloud.ingle(&["apply", "-", "--dry-run"], &text).unwrap();
    assert!(again.contains("created: nothing\n  changed: nothing\n"), "{again}");
    let door: Value = serde_json::from_str(&cloud.ingle(&["device", "show", "d1497", "--json"], "").unwrap()).unwrap();
    assert_eq!((&door["gateway"], &door["owner"]), (&json!("d1498"), &json!("anna")));
    let plug: Value = serde_json::from_str(&cloud.ingle(&["device", "show", "d1499", "--json"], "").unwrap()).unwrap();
    assert_eq!((&plug["shared_with"], &plug["home_id"]), (&json!(["ben"]), &json!(7)));
    // One change of it.
    document["projects"][0]["devices"][1499]["name"] = json!("Changed");
    let changed = cloud.ingle(&["apply", "-"], &document.to_string()).unwrap();
    assert!(changed.contains("changed: 1 device\n"), "{changed}");
    let audit = cloud.ingle(&["audit", "--json"], "").unwrap();
    assert!(audit.contains("Changed"), "{audit}");
}

#[test]
fn sub_devices_follow_what_the_document_says_of_their_gateways() {
    let cloud = TestCloud::start();
    let devices = |gate_owner: &str| {
        json!([{"product_id": "door", "device_id": "door", "gateway": "gate", "owner": "anna"},
            {"product_id": "gate", "device_id": "gate", "owner": gate_owner}])
    };
    cloud.apply(&world(devices("anna")));
    // The door does not differ, but would go to the new owner together with its gateway.
    cloud.apply(&world(devices("ben")));
    let door: Value = serde_json::from_str(&cloud.ingle(&["device", "show", "door", "--json"], "").unwrap()).unwrap();
    assert_eq!(door["owner"], "anna");
    // A home that gets another owner: its devices leave it, unless the document says otherwise.
    let lamp = json!([{"product_id": "plug", "device_id": "lamp", "owner": "anna", "home_id": 7}]);
    cloud.apply(&world(lamp.clone()));
    let mut moved = world(lamp);
    moved["projects"][0]["homes"][0]["owner"] = json!("ben");
    cloud.apply(&moved);
    let lamp: Value = serde_json::from_str(&cloud.ingle(&["device", "show", "lamp", "--json"], "").unwrap()).unwrap();
    assert_eq!((&lamp["owner"], &lamp["home_id"]), (&json!("anna"), &json!(7)));
}
