//! Lists, single objects, their changes and their deletion.

use serde_json::{Value, json};

use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::world::{FIRST_SECRET, FOREIGN, GATEWAY, GUEST, LEAK, LONELY, OWNER, PLUG, SCALE, SPEAKER};
use crate::support::{TestCloud, ingle};

/// The rows of a list.
fn list(cloud: &TestCloud, arguments: &str) -> Vec<Value> {
    let arguments: Vec<&str> = arguments.split(' ').chain(["--json"]).collect();
    let text = cloud.ingle(&arguments, "").unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(rows: &[Value], member: &str) -> Vec<String> {
    rows.iter().map(|row| row[member].as_str().map_or_else(|| row[member].to_string(), str::to_owned)).collect()
}

/// A result as JSON.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_kind_is_listed_and_shown_without_secrets() {
    let cloud = TestCloud::start();
    cloud.first().token();
    for (list_of, member, ids) in [
        ("project list", "name", vec!["first", "second"]),
        ("app list --project first", "schema", vec!["testApp", "emptyApp"]),
        ("product list --name wi-fi", "product_id", vec!["EvolhYPyZNWYP001", "i9vkz00000000001"]),
        ("user list --project first", "uid", vec![OWNER, GUEST]),
        ("home list --owner guest@EXAMPLE.com", "home_id", vec!["11600001"]),
        ("home list --project first", "home_id", vec!["10700001", "11600001"]),
        ("device list --owner guest@example.com", "device_id", vec![SPEAKER]),
        ("device list --project second --product foreign000000001", "device_id", vec![FOREIGN]),
        ("device list --mac 5CCF7F531001", "device_id", vec![PLUG]),
        ("device list --name NOBODY", "device_id", vec![LONELY]),
        ("device list --home 11600001", "device_id", vec![SPEAKER]),
        ("token list", "project", vec!["first"]),
        ("listener list", "name", vec![]),
    ] {
        assert_eq!(texts(&list(&cloud, list_of), member), ids, "{list_of}");
    }
    let all = ["project", "app", "product", "user", "home", "device", "token"];
    for kind in all {
        let table = cloud.ingle(&[kind, "list"], "").unwrap();
        assert!(
            table.lines().count() > 1 && table.lines().next().unwrap().chars().all(|c| !c.is_lowercase()),
            "{table}"
        );
        let rows = list(&cloud, &format!("{kind} list"));
        assert_eq!(table.lines().count(), rows.len() + 1, "{kind}");
        for text in [table, Value::from(rows).to_string()] {
            assert!(
                !text.contains(FIRST_SECRET) && !text.contains("local_key") && !text.contains("secret\""),
                "{text}"
            );
        }
    }
    let shown = |arguments: &[&str]| cloud.ingle(arguments, "").unwrap();
    let plug = shown(&["device", "show", PLUG]);
    for word in ["owner", "18200000678", "shared_with", "guest@example.com", "online", "false", "5c:cf:7f:53:10:01"] {
        assert!(plug.contains(word), "{word}: {plug}");
    }
    assert!(!plug.contains("11a53bdd67e40001"), "{plug}");
    assert!(shown(&["device", "show", PLUG, "--secrets"]).contains("11a53bdd67e40001"));
    assert!(shown(&["project", "show", "first", "--secrets", "--json"]).contains(FIRST_SECRET));
    let error = cloud.ingle(&["device", "show", "nothing"], "").unwrap_err();
    assert!(error.contains("there is no device \"nothing\""), "{error}");
    let error = cloud.ingle(&["app", "list", "--online"], "").unwrap_err();
    assert!(error.contains("a list of apps has no online"), "{error}");
}

#[test]
fn many_devices_are_listed_page_by_page_and_by_presence() {
    let cloud = TestCloud::start();
    let row = |at: usize| json!({"product_id": "EvolhYPyZNWYP001", "device_id": format!("many{at:05}"), "secret": "s"});
    let devices: Vec<Value> = (0..2500).map(row).collect();
    cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    let all = list(&cloud, "device list --project first");
    assert_eq!(all.len(), 2500 + 8);
    let mut ids = texts(&all, "device_id");
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    // The cursor that a list with a limit ends with is that of the next one.
    let some = |after: &str| list(&cloud, &format!("device list --project first --limit 3{after}"));
    assert_eq!(texts(&some(""), "device_id"), ids[..3]);
    let mut text = crate::cli::command(&["device", "list", "--limit", "3", "--data", cloud.folder.to_str().unwrap()]);
    let output = text.output().unwrap();
    let cursor = String::from_utf8(output.stderr).unwrap().trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(texts(&some(&format!(" --after {cursor}")), "device_id"), ids[3..6]);
    let _device = MqttDevice::connect(&cloud, &tuyalink("many02499", "s"));
    cloud.wait(|| list(&cloud, "device list --online").len() == 1);
    assert_eq!(texts(&list(&cloud, "device list --online true"), "device_id"), ["many02499"]);
    assert_eq!(list(&cloud, "device list --online false --project first").len(), 2500 + 7);
}

#[test]
fn objects_are_created_and_changed_by_the_rules_of_the_document() {
    let cloud = TestCloud::start();
    let run = |arguments: &str, input: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        cloud.ingle(&arguments, input)
    };
    let done = |arguments: &str| json_of(&run(&format!("{arguments} --json"), "").unwrap());
    let made = done("project create --name third --legacy-sign true --secrets");
    assert_eq!((&made["tuya"]["legacy_sign"], made["tuya"]["secret"].as_str().unwrap().len()), (&json!(true), 32));
    done("app create --project third --schema app --country-codes 49,+1");
    let user = done("user create --project third --schema app --username mia --nick-name Mia --disabled false");
    assert!(user["uid"].as_str().unwrap().starts_with("az") && user.get("password").is_none(), "{user}");
    let functions = json!([{"code": "switch_1", "type": "Boolean"}]).to_string();
    let product = json!({"category": "cz", "functions": serde_json::from_str::<Value>(&functions).unwrap()});
    run("product create --project third --product-id lamp --name Lamp --json -", &product.to_string()).unwrap();
    let device = done("device create --project third --product-id lamp --owner mia --name One");
    let other = done("device create --project third --product-id lamp");
    assert_ne!(device["device_id"], other["device_id"], "no position in a document");
    assert_eq!((&device["owner"], &device["name"]), (&json!("mia"), &json!("One")));
    let home = device["home_id"].as_i64().unwrap();
    let id = device["device_id"].as_str().unwrap();
    // What was shown can be edited and given back.
    let mut shown = json_of(&run(&format!("device show {id} --json"), "").unwrap());
    shown["name"] = json!("Two");
    let changed = json_of(&run(&format!("device set {id} --json -"), &shown.to_string()).unwrap());
    assert_eq!((&changed["name"], &changed["home_id"]), (&json!("Two"), &json!(home)));
    assert_eq!(done(&format!("device set {id} --home-id 0 --mac aa:bb"))["home_id"], 0);
    assert_eq!(done(&format!("device set {id} --home-id {home}"))["mac"], "aa:bb");
    assert_eq!(done(&format!("home set {home} --name Flat"))["owner"], "mia");
    assert_eq!(done("product set lamp --strict true")["functions"][0]["code"], "switch_1");
    assert_eq!(done("app set app --name Ours")["country_codes"], json!(["49", "1"]));
    assert_eq!(done("project set third --mask-private-fields false")["tuya"]["legacy_sign"], true);
    for (arguments, text) in [
        ("project create --name third", "there is a project \"third\" already"),
        ("app create --project third --schema app", "already"),
        ("product create --project third --name Lamp --category cz", "there is a product \"Lamp\" already"),
        ("user create --project third --schema app --username mia", "already"),
        ("device create --project third --product-id lamp --device-id 27511006b4e62d4b8f21", "already"),
        ("home create --project third --name Flat --owner mia", "already"),
        ("device create --project third --product-id none", "there is no product \"none\""),
        ("device create --product-id lamp", "name the project with --project: first, second, third"),
        ("device create --project nowhere --product-id lamp", "there is no project \"nowhere\""),
        ("user create --project third --username mia", "a new user needs schema"),
        ("device set nothing --name x", "there is no device \"nothing\""),
        ("user set mia --username other", "the username of a user cannot be changed"),
        ("device set 27511006b4e62d4b8f21 --home-id x", "--home-id: \"x\" is no whole number"),
        ("device set 27511006b4e62d4b8f21", "nothing to change"),
        ("home set 10700001 --owner nobody", "there is no user \"nobody\""),
    ] {
        let error = run(arguments, "").unwrap_err();
        assert!(error.contains(text), "{arguments}: {error}");
    }
    let error = run("device set 27511006b4e62d4b8f21 --json -", r#"{"colour": 1}"#).unwrap_err();
    assert!(error.contains("unknown field `colour`"), "{error}");
    // A stopped server: the same commands open the folder themselves.
    let folder = tempfile::tempdir().unwrap();
    ingle(&["project", "create", "--name", "alone"], folder.path(), "").unwrap();
    assert!(ingle(&["project", "list"], folder.path(), "").unwrap().contains("alone"));
    let error = ingle(&["project", "list"], &folder.path().join("nowhere"), "").unwrap_err();
    assert!(error.contains("there is no data folder"), "{error}");
}

#[test]
fn deleting_says_what_is_lost_and_asks() {
    let cloud = TestCloud::start();
    let secret = cloud.apply(&json!({"projects": [{"name": "first", "devices": [{"product_id": "gateway000000001",
        "device_id": GATEWAY}]}]}));
    let secret = secret["projects"][0]["devices"][0]["secret"].as_str().unwrap().to_owned();
    let app = cloud.first();
    let delete = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        cloud.ingle(&arguments, "")
    };
    for (arguments, text) in [
        ("product delete gateway000000001 --yes", "product gateway000000001 has 1 devices: delete them first"),
        ("project delete first --yes", "has 9 devices of its products"),
        ("app delete testApp --yes", "has 2 users"),
        (&format!("device delete {GATEWAY}"), "2 sub-devices, which will have no gateway"),
        (&format!("device delete {GATEWAY}"), "to delete device 6c0747cfe887e21e8b00, give --yes"),
        ("user delete 18200000678", "6 devices, which will have no owner"),
        ("home delete 11600001", "1 devices, which will be in no home"),
        ("device delete nothing --yes", "there is no device"),
    ] {
        let error = delete(arguments).unwrap_err();
        assert!(error.contains(text), "{arguments}: {error}");
    }
    let mut gateway = MqttDevice::connect(&cloud, &tuyalink(GATEWAY, &secret));
    assert!(delete(&format!("device delete {GATEWAY} --yes")).unwrap().contains("is deleted"));
    assert!(gateway.is_closed(), "its session ends");
    assert_eq!(app.get(&format!("/v1.0/devices/{GATEWAY}"))["code"], 1106);
    assert_eq!(app.get(&format!("/v1.0/devices/{LEAK}"))["success"], true);
    assert!(list(&cloud, "device list").iter().all(|row| row["gateway"].is_null()));
    // A device with that id is a new one.
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [{"product_id": "gateway000000001",
        "device_id": GATEWAY, "owner": "18200000678"}]}]}));
    assert_eq!(app.get(&format!("/v1.0/devices/{GATEWAY}"))["result"]["active_time"], 0);
    // A user, as by the API; a home, whose devices stay.
    delete(&format!("user delete {GUEST} --yes")).unwrap();
    assert!(list(&cloud, "home list --project first").len() == 1);
    delete("home delete 10700001 --yes").unwrap();
    assert_eq!(json_of(&cloud.ingle(&["device", "show", SCALE, "--json"], "").unwrap())["home_id"], 0);
    // Tokens end at once.
    let token = app.token();
    let call = || app.get(&format!("/v1.0/devices/{SCALE}"));
    assert_eq!(call()["success"], true);
    let tokens = list(&cloud, "token list");
    let id = tokens[0]["id"].as_str().unwrap();
    assert!(!token.contains(id), "the id is not a part of the token");
    delete(&format!("token delete {id} --yes")).unwrap();
    assert_eq!(call()["code"], 1010);
    // A project is empty before it goes.
    cloud.ingle(&["project", "create", "--name", "short"], "").unwrap();
    cloud.ingle(&["product", "create", "--project", "short", "--name", "p", "--category", "cz"], "").unwrap();
    delete("project delete short --yes").unwrap();
    assert_eq!(texts(&list(&cloud, "project list"), "name"), ["first", "second"]);
}

#[test]
fn subscribers_of_the_live_feed_are_listed_and_disconnected() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let config = || {
        let body = json!({"link_id": "one", "link_type": "mqtt", "topics": "device", "msg_encrypted_version": "1.0"});
        let config = app.post("/v1.0/iot-03/open-hub/access-config", body)["result"].clone();
        ["client_id", "username", "password"].map(|name| config[name].as_str().unwrap().to_owned())
    };
    let who = config();
    let mut subscriber = MqttDevice::connect(&cloud, &who);
    let rows = list(&cloud, "listener list --project first");
    assert_eq!((texts(&rows, "project"), &rows[0]["by_login"]), (vec!["first".to_owned()], &json!(false)));
    assert!(!Value::from(rows.clone()).to_string().contains(&who[2]), "no password");
    let name = rows[0]["name"].as_str().unwrap();
    assert!(cloud.ingle(&["listener", "show", name], "").unwrap().contains("expires_ms"));
    cloud.ingle(&["listener", "delete", name, "--yes"], "").unwrap();
    assert!(subscriber.is_closed());
    assert!(list(&cloud, "listener list").is_empty());
    // A rotation disconnects subscribers, who may come back while the old secret is accepted.
    let mut subscriber = MqttDevice::connect(&cloud, &config());
    cloud.ingle(&["project", "rotate-secret", "first", "--grace", "1h"], "").unwrap();
    assert!(subscriber.is_closed());
    assert!(MqttDevice::connect(&cloud, &config()).pings());
}
