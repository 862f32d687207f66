//! World documents as people write them: what is read in several forms, and what is refused by its place.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FIRST_ID, PLUG};
use crate::support::{INGLE, TestCloud, ingle};

/// A project with these members.
fn home(members: Value) -> Value {
    let mut project = json!({"name": "home"});
    project.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"projects": [project]})
}

/// The document filled in, or why it was refused.
fn apply(folder: &std::path::Path, world: &Value) -> Result<Value, String> {
    let text = ingle(&["apply", "-", "--json"], folder, &world.to_string())?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn a_country_has_one_form_whatever_the_document_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = |code: Value| {
        home(json!({"apps": [{"schema": "app", "country_codes": [code, "1"]}],
            "users": [{"schema": "app", "username": "me", "country_code": code}]}))
    };
    let mut first = None;
    for code in [json!("+49"), json!("49"), json!(49), json!("0049")] {
        let filled = apply(folder.path(), &world(code.clone())).unwrap();
        let project = &filled["projects"][0];
        assert_eq!(project["users"][0]["country_code"], "49", "{code}");
        assert_eq!(project["apps"][0]["country_codes"], json!(["49", "1"]), "{code}");
        assert_eq!(&filled, first.get_or_insert_with(|| filled.clone()), "{code}");
        assert_eq!(apply(folder.path(), &filled).unwrap(), filled, "what was printed changes nothing");
    }
    for code in [json!("DE"), json!(999_999), json!("999"), json!("+"), json!(49.5), json!(-49)] {
        let error = apply(folder.path(), &world(code.clone())).unwrap_err();
        assert!(
            error.contains("project \"home\" app \"app\": country_codes") && error.contains("calling code"),
            "{error}"
        );
        let user = json!({"schema": "app", "username": "me", "country_code": code});
        let error = apply(folder.path(), &home(json!({"users": [user]}))).unwrap_err();
        assert!(
            error.contains("project \"home\" user \"me\": country_code") && error.contains("calling code"),
            "{error}"
        );
    }
    let listed = home(json!({"users": [{"schema": "app", "username": "me", "country_code": ["49"]}]}));
    assert!(apply(folder.path(), &listed).unwrap_err().contains("calling code must be text or a whole number"));
    // A user without one is printed so that it can be applied again.
    let without = apply(folder.path(), &home(json!({"users": [{"schema": "app", "username": "you"}]}))).unwrap();
    assert_eq!(without["projects"][0]["users"][0]["country_code"], "");
    assert_eq!(apply(folder.path(), &without).unwrap(), without);
}

#[test]
fn an_email_address_is_one_user_whatever_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let user = |name: &str| json!({"schema": "app", "username": name});
    let uid = |filled: &Value| filled["projects"][0]["users"][0]["uid"].clone();
    let first = home(json!({"apps": [{"schema": "app"}], "users": [user("Me@Example.com")]}));
    let first = uid(&apply(folder.path(), &first).unwrap());
    let again =
        home(json!({"users": [user("me@example.COM")], "homes": [{"name": "Home", "owner": "ME@example.com"}]}));
    assert_eq!(uid(&apply(folder.path(), &again).unwrap()), first);
    let twice = home(json!({"users": [user("me@example.com"), user("ME@example.com")]}));
    assert!(apply(folder.path(), &twice).unwrap_err().contains("\"app/me@example.com\" is listed twice"));
    // Any other name is distinguished by its case.
    let names = home(json!({"users": [user("me"), user("ME")]}));
    let filled = apply(folder.path(), &names).unwrap();
    assert_ne!(filled["projects"][0]["users"][0]["uid"], filled["projects"][0]["users"][1]["uid"]);
}

/// A document with one product of these functions.
fn product(functions: &Value) -> Value {
    home(json!({"products": [{"name": "Lamp", "category": "dj", "product_id": "lamp", "functions": functions}]}))
}

/// The functions of such a document, filled in.
fn functions(folder: &std::path::Path, functions: &Value) -> Result<Value, String> {
    Ok(apply(folder, &product(functions))?["projects"][0]["products"][0]["functions"].clone())
}

#[test]
fn functions_paste_as_the_vendor_prints_them() {
    let folder = tempfile::tempdir().unwrap();
    let printed = json!([
        {"code": "switch_led", "desc": "{}", "name": "Switch", "type": "Boolean", "values": "{}"},
        {"code": "bright_value_v2", "desc": "{\"min\":10}", "name": "Brightness", "type": "Integer",
         "values": "{\"min\":10,\"scale\":0,\"unit\":\"\",\"max\":1000,\"step\":1}"},
        {"code": "work_mode", "desc": null, "type": "Enum", "values": "{\"range\":[\"white\",\"colour\"]}"},
        {"code": "fault", "type": "bitmap", "values": "{\"label\":[\"e1\"],\"maxlen\":1}", "dp_id": 9},
        {"code": "note", "type": "String", "values": {"maxlen": 255}},
        {"code": "flash", "type": "Raw", "values": ""},
        {"code": "scene", "type": "Json"},
    ]);
    let filled = functions(folder.path(), &printed).unwrap();
    let of = |code: &str| filled.as_array().unwrap().iter().find(|row| row["code"] == code).unwrap().clone();
    assert_eq!(of("bright_value_v2")["values"], json!({"min": 10, "max": 1000, "scale": 0, "step": 1, "unit": ""}));
    assert_eq!(of("work_mode")["values"], json!({"range": ["white", "colour"]}));
    assert_eq!((&of("fault")["values"]["label"], &of("fault")["type"]), (&json!(["e1"]), &json!("Bitmap")));
    for empty in ["switch_led", "flash", "scene"] {
        assert_eq!(of(empty)["values"], json!({}), "{empty}");
    }
    assert!(filled.as_array().unwrap().iter().all(|row| row.get("desc").is_none()));
    assert_eq!(functions(folder.path(), &filled).unwrap(), filled, "what was printed changes nothing");
    // And as this server prints them.
    let cloud = TestCloud::start();
    let get = |path: &str| cloud.first().get(&format!("{path}/{PLUG}/specifications"))["result"].clone();
    for rows in [
        cloud.first().get(&format!("/v1.0/devices/{PLUG}/functions"))["result"]["functions"].clone(),
        get("/v1.0/devices")["status"].clone(),
        get("/v1.1/devices")["status"].clone(),
    ] {
        assert!(rows[0]["values"].is_string(), "{rows}");
        let filled = functions(folder.path(), &rows).unwrap();
        assert_eq!(filled.as_array().unwrap().len(), rows.as_array().unwrap().len());
        assert_eq!(filled[0]["values"], json!({"min": 0, "max": 1_000_000}));
    }
}

#[test]
fn numbers_with_decimals_and_structs_come_back_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    let members = json!([{"code": "lat", "type": "double"}, {"code": "on", "type": "Boolean", "name": "On"}]);
    let rows = json!([
        {"code": "temperature", "type": "float", "values": {"min": -40, "max": 120.5, "step": 0.1}},
        {"code": "since", "type": "date"},
        {"code": "place", "type": "struct", "values": {"members": members}},
    ]);
    let filled = functions(folder.path(), &rows).unwrap();
    assert_eq!((&filled[0]["type"], &filled[0]["values"]), (&json!("Float"), &rows[0]["values"]));
    assert_eq!(filled[1]["type"], "Date");
    let members = json!([{"code": "lat", "type": "Double", "values": {}, "name": "lat"},
        {"code": "on", "type": "Boolean", "values": {}, "name": "On"}]);
    assert_eq!((&filled[2]["type"], &filled[2]["values"]["members"]), (&json!("Struct"), &members));
    assert_eq!(functions(folder.path(), &filled).unwrap(), filled, "what was printed changes nothing");
}

#[test]
fn a_secret_that_tuyas_c_sdk_cannot_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let note = |secrets: &[&str]| {
        let device = |(at, secret): (usize, &&str)| json!({"product_id": "lamp", "device_id": format!("lamp{at}"), "secret": secret});
        let devices: Vec<Value> = secrets.iter().enumerate().map(device).collect();
        let mut world = product(&json!([]));
        world["projects"][0]["devices"] = json!(devices);
        let mut command = Command::new(INGLE);
        command.args(["apply", "-", "--replace-secrets", "--data"]).arg(folder.path());
        said(command, &world.to_string())
    };
    let sixteen = "0123456789abcdef";
    assert!(!note(&[sixteen]).contains("16 characters"));
    let one = note(&[sixteen, "short"]);
    assert!(one.contains("the secret of device lamp1 does not have 16 characters"), "{one}");
    let three = note(&["short", "0123456789abcdef0", &sixteen.repeat(2)]);
    assert!(three.contains("device lamp0 and of 2 more devices"), "{three}");
    assert!(!one.contains("short") && !three.contains("short"), "a secret is not printed");
}

/// What a command that succeeds writes to standard error.
fn said(mut command: Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn functions_that_cannot_be_are_refused_by_product_and_code() {
    let folder = tempfile::tempdir().unwrap();
    let of = |kind: &str, values: Value| json!([{"code": "sound", "type": "Boolean"}, {"code": "wrong", "type": kind, "values": values}]);
    for (rows, text) in [
        (of("Integer", json!({"min": 5, "max": 4})), "min 5 is greater than max 4"),
        (of("Integer", json!("{\"min\":5,\"max\":4}")), "min 5 is greater than max 4"),
        (of("Integer", json!({"min": 0, "max": 9, "step": 0})), "step must be greater than 0"),
        (of("Integer", json!({"step": -1})), "step must be greater than 0"),
        (of("Integer", json!({"min": "0", "max": 9})), "min must be a whole number"),
        (of("Integer", json!({"min": 0, "max": "nine"})), "max must be a whole number"),
        (of("Integer", json!({"max": 9.5})), "max must be a whole number"),
        (of("Integer", json!({"max": [9]})), "max must be a whole number"),
        (of("Integer", json!({"max": 1e300})), "max must be a whole number"),
        (of("Integer", json!({"step": true})), "step must be a whole number"),
        (of("Integer", json!({"scale": -1})), "scale must be"),
        (of("String", json!({"maxlen": "255"})), "maxlen must be a whole number"),
        (of("String", json!({"maxlen": -1})), "maxlen must not be negative"),
        (of("Enum", json!({"range": "white"})), "range must be a list of texts"),
        (of("Enum", json!({"range": [1, 2]})), "range must be a list of texts"),
        (of("Bitmap", json!({"label": {"0": "e1"}})), "label must be a list of texts"),
        (of("Json", json!({"h": {"min": 360, "max": 0}})), "h: min 360 is greater than max 0"),
        (of("Integer", json!("min 0")), "values: the text is not a JSON object"),
        (of("Integer", json!("[]")), "values: the text is not a JSON object"),
        (of("Integer", json!([])), "values must be an object"),
        (of("Integer", json!(5)), "values must be an object"),
        (of("Float", json!({"min": 1.5, "max": 1.25})), "min 1.5 is greater than max 1.25"),
        (of("Double", json!({"step": 0})), "step must be greater than 0"),
        (of("Float", json!({"max": "1.5"})), "max must be a number"),
        (of("Struct", json!({})), "a Struct needs members"),
        (of("Struct", json!({"members": []})), "a Struct needs members"),
        (of("Struct", json!({"members": {"code": "a"}})), "members: "),
        (of("Struct", json!({"min": 1})), "a Struct has members alone"),
        (of("Struct", json!({"members": [{"code": "a", "type": "Text"}]})), "unknown variant `Text`"),
        (of("Struct", json!({"members": [{"code": "a", "type": "Date", "dp_id": 1}]})), "unknown field `dp_id`"),
        (of("Struct", json!({"members": [{"code": "", "type": "Date"}]})), "a code of its own"),
        (
            of("Struct", json!({"members": [{"code": "a", "type": "Date"}, {"code": "a", "type": "Date"}]})),
            "member \"a\": each member needs a code of its own",
        ),
        (
            of("Struct", json!({"members": [{"code": "a", "type": "Integer", "values": {"min": 0.5}}]})),
            "member \"a\": min must be a whole number",
        ),
        (
            of("Struct", json!({"members": [{"code": "a", "type": "Struct", "values": {"members": []}}]})),
            "member \"a\": a member cannot be a Struct itself",
        ),
    ] {
        let error = functions(folder.path(), &rows).unwrap_err();
        assert!(error.contains("product \"Lamp\" function \"wrong\"") && error.contains(text), "{rows}: {error}");
    }
    let twice = json!([{"code": "one", "type": "Boolean", "dp_id": 7}, {"code": "two", "type": "Boolean", "dp_id": 7}]);
    let error = functions(folder.path(), &twice).unwrap_err();
    assert!(error.contains("product \"Lamp\"") && error.contains("\"one\" and \"two\" both have dp_id 7"), "{error}");
    // A number that is not said is one that no other has.
    let some = json!([{"code": "one", "type": "Boolean"}, {"code": "two", "type": "Boolean"},
        {"code": "three", "type": "Boolean", "dp_id": 2}, {"code": "four", "type": "Boolean"}]);
    let filled = functions(folder.path(), &some).unwrap();
    let numbers: Vec<u64> = filled.as_array().unwrap().iter().map(|row| row["dp_id"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 3, 2, 4]);
}

#[test]
fn a_colour_without_ranges_has_the_vendors() {
    let folder = tempfile::tempdir().unwrap();
    let part = |max: i64| json!({"min": 0, "max": max, "scale": 0, "step": 1, "unit": ""});
    let ranges = |most: i64| json!({"h": part(360), "s": part(most), "v": part(most)});
    let rows =
        json!([{"code": "colour_data", "type": "Json"}, {"code": "colour_data_v2", "type": "Json", "values": "{}"}]);
    let filled = functions(folder.path(), &rows).unwrap();
    assert_eq!((&filled[0]["values"], &filled[1]["values"]), (&ranges(255), &ranges(1000)));
    // What is said is kept, and what is no colour gets nothing.
    let own = json!({"h": {"min": 1, "max": 359}});
    let rows =
        json!([{"code": "colour_data_v2", "type": "Json", "values": own}, {"code": "colour_data", "type": "String"}]);
    let filled = functions(folder.path(), &rows).unwrap();
    assert_eq!((&filled[0]["values"], &filled[1]["values"]), (&own, &json!({})));
    // The demo's bulb too.
    let demo: Value = serde_json::from_str(include_str!("../../src/cli/demo_world.json")).unwrap();
    let filled = apply(tempfile::tempdir().unwrap().path(), &demo).unwrap();
    let products = filled["projects"][0]["products"].as_array().unwrap().clone();
    let rows = products.iter().flat_map(|product| product["functions"].as_array().unwrap());
    let colours: Vec<&Value> = rows.filter(|row| row["code"] == "colour_data_v2").collect();
    assert!(!colours.is_empty() && colours.iter().all(|row| row["values"] == ranges(1000)), "{colours:?}");
}

#[test]
fn secrets_may_have_every_printable_sign() {
    let signs: String = (b' '..=b'~').map(char::from).collect();
    let cloud = TestCloud::start();
    for secret in signs.as_bytes().chunks(16).map(|chunk| String::from_utf8(chunk.to_vec()).unwrap()) {
        let device =
            json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "secret": secret, "local_key": secret});
        let world = json!({"projects": [{"name": "first", "tuya": {"secret": secret}, "devices": [device]}]});
        let filled = cloud.apply(&world);
        assert_eq!(filled["projects"][0]["devices"][0]["local_key"], secret);
        assert_eq!(filled["projects"][0]["devices"][0]["secret"], secret);
        // Devices and apps sign with it.
        MqttDevice::connect(&cloud, &tuyalink(PLUG, &secret));
        let app = TuyaApp::new(&cloud, FIRST_ID, &secret);
        assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["local_key"], secret);
    }
    for secret in ["", "tab\t", "new\nline", "\u{7f}", "schlüssel", &"s".repeat(65)] {
        for member in ["secret", "local_key"] {
            let device = json!({"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, member: secret});
            let world = json!({"projects": [{"name": "first", "devices": [device]}]});
            let error = cloud.ingle(&["apply", "-"], &world.to_string()).unwrap_err();
            assert!(error.contains(&format!("{PLUG:?}: {member} must be 1 to 64 printable ASCII")), "{error}");
            assert!(secret.is_empty() || !error.contains(secret), "the secret is not repeated: {error}");
        }
    }
}

#[test]
fn the_example_of_the_documentation_pastes() {
    let text = include_str!("../../docs/world.md");
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let first = ingle(&["apply", "-", "--json"], folder.path(), example).unwrap();
    assert_eq!(ingle(&["apply", "-", "--json"], folder.path(), example).unwrap(), first, "it changes nothing again");
    let counted = ingle(&["apply", "-"], folder.path(), example).unwrap();
    assert!(counted.contains("\n  created: nothing\n  changed: nothing\n  unchanged: 1 project, "), "{counted}");
    assert!(counted.contains(" 1 app, 3 products, 2 users, 1 home, 3 devices\n"), "{counted}");
    let filled: Value = serde_json::from_str(&first).unwrap();
    let said: Value = serde_json::from_str(example).unwrap();
    let project = &said["projects"][0];
    // Every member that a filled document has is in the example, on the first of its kind or a later one.
    for part in ["apps", "products", "users", "homes", "devices"] {
        let rows = project[part].as_array().unwrap();
        for member in
            filled["projects"][0][part].as_array().unwrap().iter().flat_map(|row| row.as_object().unwrap().keys())
        {
            assert!(rows.iter().any(|row| row.get(member).is_some()), "{part}: {member}");
        }
    }
    for part in ["tuya", "aliyun"] {
        for member in filled["projects"][0][part].as_object().unwrap().keys() {
            assert!(project[part].get(member).is_some(), "{part}: {member}");
        }
    }
    // What is required, as it is said below the example: without it a document is refused.
    for (part, member) in [
        ("apps", "schema"),
        ("products", "name"),
        ("products", "category"),
        ("users", "schema"),
        ("users", "username"),
        ("homes", "name"),
        ("homes", "owner"),
        ("devices", "product_id"),
    ] {
        let mut without = said.clone();
        without["projects"][0][part][0].as_object_mut().unwrap().remove(member);
        let error = ingle(&["apply", "-"], folder.path(), &without.to_string()).unwrap_err();
        assert!(error.contains(&format!("missing field `{member}`")), "{part}: {member}: {error}");
    }
}
