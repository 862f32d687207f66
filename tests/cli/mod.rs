//! The command line, as an operator uses it.

mod administration;
mod apply;
mod audit;
mod call;
mod connect_info;
mod doctor;
mod documents;
mod export;
mod import;
mod import_formats;
mod live;
mod objects;
mod person;
mod rotation;
mod settings;
mod simulate;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::world::{FIRST_SECRET, PLUG};
use crate::support::{INGLE, TestCloud, free_ports, ingle, run, terminate};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(INGLE);
    command.args(arguments);
    command
}

#[test]
fn demo_prints_a_request_that_answers_with_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let mut demo = command(&["demo", "--data"]);
    let mut child = demo.arg(&data).envs(free_ports()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let api = lines.by_ref().find_map(|line| line.strip_prefix("api ").map(str::to_owned)).unwrap();
    let printed = lines.by_ref().find(|line| line.contains(" call GET ")).unwrap();
    let words: Vec<&str> = printed.split_whitespace().skip(1).collect();
    // The server has just started; its devices connect in their first round.
    let device = loop {
        let answer: Value = serde_json::from_str(&run(command(&words), "").unwrap()).unwrap();
        if answer["result"]["online"] == true && answer["result"]["status"] != json!([]) {
            break answer["result"].clone();
        }
    };
    assert_eq!(device["category"], "cz");
    // The shell's way, with the functions it printed.
    let mut shell: Vec<String> = Vec::new();
    for line in lines.by_ref().skip_while(|line| !line.trim_start().starts_with("base=")) {
        shell.push(line.trim().to_owned());
        if line.trim_start().starts_with("tuya /v1.0/devices") {
            break;
        }
    }
    let mut bash = Command::new("bash");
    bash.args(["-c", &shell.join("\n")]);
    let answer: Value = serde_json::from_str(&run(bash, "").unwrap()).unwrap();
    assert_eq!(answer["result"]["id"], device["id"]);
    // A dozen and more devices of different categories.
    let mut call = command(&["call", "GET", "/v1.0/devices?page_size=100", "--data", data.to_str().unwrap()]);
    let list: Value = serde_json::from_str(&run(call_at(&mut call, &api), "").unwrap()).unwrap();
    let devices = list["result"]["devices"].as_array().unwrap();
    let mut categories: Vec<&str> = devices.iter().map(|device| device["category"].as_str().unwrap()).collect();
    categories.sort_unstable();
    categories.dedup();
    assert!(devices.len() >= 12 && categories.len() >= 10, "{categories:?}");
    // A refusal is explained.
    let mut call = command(&["call", "GET", "/v1.0/users/nobody/infos", "--data", data.to_str().unwrap()]);
    assert!(run(call_at(&mut call, &api), "").unwrap_err().contains("no user with that id"));
    terminate(&child);
    assert!(child.wait().unwrap().success());
}

/// Where the demo really listens.
fn call_at(command: &mut Command, api: &str) -> Command {
    let mut whole = Command::new(command.get_program());
    whole.args(command.get_args()).args(["--url", api]);
    whole
}

#[test]
fn a_removed_virtual_device_goes_offline_and_stays_away() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let device = |virtual_: bool| {
        json!({"projects": [{"name": "first", "devices": [{"product_id": "EvolhYPyZNWYP001", "device_id": "virtual1",
            "owner": "18200000678", "virtual": virtual_}]}]})
    };
    cloud.apply(&device(true));
    while app.get("/v1.0/devices/virtual1")["result"]["online"] == false {}
    let end = cloud.now_ms() + 60_000;
    let logs = || app.get(&format!("/v1.0/devices/virtual1/logs?end_time={end}&size=100&start_time=0&type=1,2,3,4"));
    let types = |logs: &Value| -> Vec<i64> {
        logs["result"]["logs"].as_array().unwrap().iter().map(|log| log["event_id"].as_i64().unwrap()).collect()
    };
    // The first connection activates.
    assert_eq!(types(&logs()), [1, 3]);
    assert!(app.get("/v1.0/devices/virtual1")["result"]["active_time"].as_i64().unwrap() > 0);
    assert_eq!(app.delete("/v1.0/devices/virtual1")["result"], true);
    cloud.apply(&device(false));
    while types(&logs()).len() < 4 {}
    assert_eq!(types(&logs()), [2, 4, 1, 3]);
    assert_eq!(app.get("/v1.0/devices/virtual1")["result"]["online"], false);
}

#[test]
fn two_servers_on_one_folder() {
    let cloud = TestCloud::start();
    let error = ingle(&["serve"], &cloud.folder, "").unwrap_err();
    assert!(error.contains("in use by another ingle") && error.contains("--data"), "{error}");
}

#[test]
fn apply_fills_in_what_is_not_given_and_is_idempotent() {
    let folder = tempfile::tempdir().unwrap();
    let world = json!({"projects": [{"name": "home", "apps": [{"schema": "app"}],
        "products": [{"name": "Plug", "category": "cz", "product_id": "plug", "functions": [{"code": "switch", "type": "Boolean"}]}],
        "users": [{"schema": "app", "username": "me", "password": "p"}],
        "devices": [{"product_id": "plug"}, {"product_id": "plug", "name": "Second", "owner": "me"}]}]});
    let apply = |text: &str| ingle(&["apply", "-", "--json"], folder.path(), text);
    let first = apply(&world.to_string()).unwrap();
    let filled: Value = serde_json::from_str(&first).unwrap();
    let project = &filled["projects"][0];
    assert_eq!(project["tuya"]["client_id"].as_str().unwrap().len(), 20);
    assert_eq!(project["users"][0]["identity_id"].as_str().unwrap().len(), 40);
    assert!(project["users"][0].get("password").is_none());
    let device = &project["devices"][1];
    assert!(device["home_id"].as_i64().unwrap() > 0, "an owner has a home");
    for name in ["device_id", "secret", "local_key", "uuid", "iot_id", "device_name"] {
        assert!(!device[name].as_str().unwrap().is_empty(), "{name}");
    }
    assert_ne!(project["devices"][0]["device_id"], device["device_id"]);
    // The same document again changes nothing, and neither does the filled one.
    assert_eq!(apply(&world.to_string()).unwrap(), first);
    assert_eq!(apply(&first).unwrap(), first);
    let plain = ingle(&["apply", "-"], folder.path(), &world.to_string()).unwrap();
    assert!(plain.contains("home: 1 apps, 1 products, 1 users") && !plain.contains("secret"), "{plain}");
}

#[test]
fn apply_refuses_as_a_whole_and_names_the_place() {
    let cloud = TestCloud::start();
    let apply = |world: Value| cloud.ingle(&["apply", "-", "--replace-secrets"], &world.to_string()).unwrap_err();
    let first = |members: Value| {
        let mut project = json!({"name": "first"});
        project.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!({"projects": [{"name": "kept-out", "apps": [{"schema": "keptOut"}]}, project]})
    };
    for (world, text) in [
        (json!({"projects": [{"name": "x", "colour": 1}]}), "colour"),
        (json!({"project": []}), "project"),
        (json!({"projects": [{"tuya": {}}]}), "name"),
        (first(json!({"devices": [{"product_id": "nowhere"}]})), "no product \"nowhere\""),
        (first(json!({"devices": [{"product_id": "g0er6hSKgMqr0001", "owner": "nobody"}]})), "no user \"nobody\""),
        (first(json!({"devices": [{"product_id": "g0er6hSKgMqr0001", "gateway": PLUG}]})), "is no gateway"),
        (first(json!({"devices": [{"product_id": "g0er6hSKgMqr0001", "device_id": PLUG}]})), "another product"),
        (first(json!({"devices": [{"product_id": "g0er6hSKgMqr0001", "device_id": "a/b"}]})), "device_id must be"),
        (first(json!({"devices": [{"product_id": "g0er6hSKgMqr0001", "home_id": 5}]})), "no home 5"),
        (first(json!({"tuya": {"client_id": "secondclient00000001"}})), "in use already"),
        (
            first(json!({"products": [{"name": "p", "category": "cz", "product_id": "foreign000000001"}]})),
            "another project",
        ),
        (first(json!({"users": [{"schema": "nowhere", "username": "u"}]})), "no app \"nowhere\""),
        (first(json!({"apps": [{"schema": "a"}, {"schema": "a"}]})), "twice"),
        (first(json!({"apps": [{"schema": "a", "country_codes": ["DE"]}]})), "app \"a\": country_codes: \"DE\""),
        (first(json!({"users": [{"schema": "testApp", "username": "u", "username_type": 9}]})), "username_type"),
    ] {
        let error = apply(world.clone());
        assert!(error.contains(text), "{world}: {error}");
    }
    // Nothing of the refused documents is there, not even what stood before the refused part.
    let all = cloud.ingle(&["apply", "-", "--json"], r#"{"projects":[{"name":"kept-out"}]}"#).unwrap();
    assert!(!all.contains("keptOut"));
}

#[test]
fn explain_says_what_the_server_would() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let request = app.signed("PUT", "/v1.0/devices/x?b=2&a=1", b"{\"name\":\"n\"}", &app.token());
    let text = |request: &crate::support::tuya::Request| {
        let headers: String = request.headers.iter().map(|(name, value)| format!("> {name}: {value}\n")).collect();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!("> {} {} HTTP/1.1\n{headers}>\n\n{body}\n", request.method, request.target)
    };
    let explain = |arguments: &[&str], text: &str| {
        let mut command = command(&["explain", "-"]);
        command.args(arguments).args(["--data"]).arg(&cloud.folder);
        run(command, text)
    };
    // Signed in the order of the wire, which is accepted, by the secret of the data folder or a given one.
    assert!(explain(&[], &text(&request)).unwrap().contains("are right"));
    assert!(explain(&["--secret", FIRST_SECRET], &text(&request)).unwrap().contains("are right"));
    let error = explain(&["--secret", "wrong"], &text(&request)).unwrap_err();
    assert!(error.contains("1004 sign invalid") && error.contains("/v1.0/devices/x?a=1&b=2"), "{error}");
    assert!(!error.contains(FIRST_SECRET) && !error.contains(&app.token()), "{error}");
    let error = explain(&["--at", "1588925778000"], &text(&request)).unwrap_err();
    assert!(error.contains("1013") && error.contains("ms from the server's clock"), "{error}");
    let mut unsigned = request.clone();
    unsigned.headers.retain(|(name, _)| name != "sign");
    assert!(explain(&[], &text(&unsigned)).unwrap_err().contains("1105"));
    for (text, error) in [("", "empty"), ("GET\n", "first line"), ("GET x\n", "slash"), ("GET / \nx\n", "colon")] {
        assert!(explain(&["--secret", "s"], text).unwrap_err().contains(error), "{text:?}");
    }
}

#[test]
fn check_config_and_help_teach() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ingle.toml");
    std::fs::write(&file, "[api]\nlistn = \"127.0.0.1:1\"\n").unwrap();
    let error = run(command(&["check-config", file.to_str().unwrap()]), "").unwrap_err();
    assert!(error.contains("api.listn") && error.contains("ingle.toml"), "{error}");
    std::fs::write(&file, "[telemetry]\nretention_days = 90\n").unwrap();
    assert_eq!(run(command(&["check-config", file.to_str().unwrap()]), "").unwrap(), "ok\n");
    let help = run(command(&["--help"]), "").unwrap();
    for word in [
        "demo",
        "serve",
        "apply",
        "import",
        "call",
        "explain",
        "rotate",
        "simulate",
        "openapi",
        "check-config",
        "INGLE_API_LISTEN",
    ] {
        assert!(help.contains(word), "{word}");
    }
    for subcommand in [
        "demo",
        "serve",
        "apply",
        "import",
        "call",
        "explain",
        "log-level",
        "rotate",
        "simulate",
        "openapi",
        "check-config",
    ] {
        assert!(run(command(&[subcommand, "--help"]), "").unwrap().lines().count() > 5, "{subcommand}");
    }
}

#[test]
fn health_metrics_and_switched_off_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let off = [("INGLE_API_TLS_LISTEN", ""), ("INGLE_TELEMETRY_DURABILITY", "os")];
    let cloud = TestCloud::binary(folder.path(), &off);
    assert!(cloud.addresses.get("api_tls").is_none());
    let metrics = cloud.addresses["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let get = |path: &str| {
        crate::support::raw(metrics, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    };
    assert!(get("/healthz").ends_with("ok\n"));
    let text = get("/metrics");
    assert!(text.contains("\ningle_log_durable 0\n") && text.contains("ingle_log_rows_total 0"), "{text}");
    cloud.stop();
}

#[test]
fn a_key_that_is_gone_is_said() {
    let folder = tempfile::tempdir().unwrap();
    ingle(&["apply", "-"], folder.path(), r#"{"projects":[{"name":"x"}]}"#).unwrap();
    std::fs::remove_file(folder.path().join("secret.key")).unwrap();
    let error = ingle(&["serve"], folder.path(), "").unwrap_err();
    assert!(error.contains("secret.key is missing"), "{error}");
}
