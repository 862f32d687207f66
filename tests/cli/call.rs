//! `ingle call` and the servers that it finds.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::world::{FOREIGN, PLUG, standard};
use crate::support::{INGLE, TestCloud, ingle, run};

/// A call on a data folder.
fn call(folder: &Path, path: &str, more: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(INGLE);
    command.args(["call", "GET", path, "--data"]).arg(folder).args(more);
    run(command, "").map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn the_server_is_found_by_its_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let plug = format!("/v1.0/devices/{PLUG}");
    // In the clear, at all addresses, or over TLS alone.
    for settings in [
        [("INGLE_API_LISTEN", "127.0.0.1:0"), ("INGLE_API_TLS_LISTEN", "")],
        [("INGLE_API_LISTEN", "0.0.0.0:0"), ("INGLE_API_TLS_LISTEN", "")],
        [("INGLE_API_LISTEN", ""), ("INGLE_API_TLS_LISTEN", "127.0.0.1:0")],
        [("INGLE_API_LISTEN", ""), ("INGLE_API_TLS_LISTEN", "0.0.0.0:0")],
    ] {
        let mut command = Command::new(INGLE);
        command.args(["serve", "--json", "--data"]).arg(&data).envs(crate::support::free_ports()).envs(settings);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        ingle(&["apply", "-"], &data, &standard().to_string()).unwrap();
        let answer = call(&data, &plug, &[]);
        crate::support::terminate(&child);
        assert!(child.wait().unwrap().success());
        assert_eq!(answer.unwrap()["result"]["id"], PLUG, "{settings:?}");
    }
    let error = call(&data, &plug, &[]).unwrap_err();
    assert!(error.contains("no server") && error.contains("--url"), "{error}");
}

#[test]
fn a_project_is_chosen_by_its_name() {
    let cloud = TestCloud::start();
    let path = |device: &str| format!("/v1.0/devices/{device}");
    for more in [&[][..], &["--project", "first"]] {
        assert_eq!(call(&cloud.folder, &path(PLUG), more).unwrap()["result"]["id"], PLUG);
    }
    assert_eq!(call(&cloud.folder, &path(FOREIGN), &["--project", "second"]).unwrap()["result"]["id"], FOREIGN);
    let error = call(&cloud.folder, &path(FOREIGN), &["--project", "first"]).unwrap_err();
    assert!(error.contains("no device with that id"), "{error}");
    let error = call(&cloud.folder, &path(PLUG), &["--project", "third"]).unwrap_err();
    assert!(error.contains("no project \"third\", but first, second"), "{error}");
}

#[test]
fn https_is_spoken_with_the_folders_ca() {
    let cloud = TestCloud::start();
    let url = cloud.addresses["api_tls"].as_str().unwrap();
    let plug = format!("/v1.0/devices/{PLUG}");
    let localhost = url.replace("127.0.0.1", "localhost");
    for url in [url, &localhost, &format!("{url}/")] {
        assert_eq!(call(&cloud.folder, &plug, &["--url", url]).unwrap()["result"]["id"], PLUG, "{url}");
    }
    // The certificate of another CA is not trusted.
    let other = tempfile::tempdir().unwrap();
    let stranger = TestCloud::binary(other.path(), &[]);
    let ca = other.path().join("ca.pem");
    let error = call(&cloud.folder, &plug, &["--url", url, "--ca", ca.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("is not trusted by") && error.contains("ca.pem"), "{error}");
    drop(stranger);
    for (url, text) in
        [("ftp://127.0.0.1", "http:// or https://"), ("127.0.0.1:1", "http:// or https://"), ("/x", "names no host")]
    {
        let error = call(&cloud.folder, &plug, &["--url", url]).unwrap_err();
        assert!(error.contains(text), "{url}: {error}");
    }
    assert_eq!(json!(call(&cloud.folder, &plug, &[]).unwrap()["success"]), true);
}

#[test]
fn help_says_what_is_true() {
    let help = |arguments: &[&str]| {
        let mut command = Command::new(INGLE);
        command.args(arguments).arg("--help");
        run(command, "").unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let serve = help(&["serve"]);
    // The key lies in the folder: a copy of the folder has it.
    assert!(
        serve.contains("A backup of the folder must contain secret.key") && !serve.contains("not in any backup"),
        "{serve}"
    );
    let all = help(&[]);
    assert!(all.contains("DNS") && all.contains("ca.pem") && !all.contains("only the endpoint"), "{all}");
    let call = help(&["call"]);
    assert!(call.contains("--project") && call.contains("https://"), "{call}");
}

#[test]
fn the_path_decides_which_api_is_called() {
    let cloud = TestCloud::start();
    let post = |path: &str, body: &str, more: &[&str]| {
        let mut command = Command::new(INGLE);
        command.args(["call", "post", path, body, "--data"]).arg(&cloud.folder).args(more);
        run(command, "").map(|text| serde_json::from_str::<Value>(&text).unwrap())
    };
    let named = json!({"productKey": "", "iotId": "", "items": {}});
    let shown = ingle(&["device", "show", PLUG, "--json"], &cloud.folder, "").unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let params = json!({"iotId": shown["iot_id"]}).to_string();
    let url = cloud.addresses["api_tls"].as_str().unwrap();
    for more in [&[][..], &["--project", "first", "--url", url], &["--api-version", "1.0.2"]] {
        let answer = post("/cloud/thing/info/get", &params, more).unwrap();
        assert_eq!((&answer["code"], &answer["data"]["iotId"]), (&json!(200), &shown["iot_id"]), "{answer}");
    }
    let error = post("/cloud/thing/info/get", &named.to_string(), &[]).unwrap_err();
    assert!(!error.contains("panicked") && !error.is_empty(), "{error}");
    assert!(post("/cloud/thing/info/get", "{", &[]).unwrap_err().contains("the body is no JSON"));
    assert!(call(&cloud.folder, "/cloud/thing/info/get", &[]).unwrap_err().contains("the method"));
    let renamed = json!({"name": "By call"}).to_string();
    let mut command = Command::new(INGLE);
    command.args(["call", "PUT", &format!("/v1.0/devices/{PLUG}"), &renamed, "--data"]).arg(&cloud.folder);
    run(command, "").unwrap();
    assert!(ingle(&["device", "show", PLUG], &cloud.folder, "").unwrap().contains("By call"));
}
