//! `ingle log` and `ingle watch`: what they print, and how they end.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::command;
use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, tuyalink};
use crate::support::world::{DOOR, LONELY, PLUG, SCALE};

const SECRET: &str = "0123456789abcdef";

/// The standard world, in which [`PLUG`] and [`SCALE`] have a known secret.
fn cloud() -> TestCloud {
    let cloud = TestCloud::start();
    let device = |product: &str, id: &str| json!({"product_id": product, "device_id": id, "secret": SECRET});
    cloud.apply(&json!({"projects": [{"name": "first",
        "devices": [device("EvolhYPyZNWYP001", PLUG), device("g0er6hSKgMqr0001", SCALE)]}]}));
    cloud
}

fn report(device: &mut MqttDevice, id: &str, code: &str, value: Value) {
    assert!(
        device.published(&format!("tylink/{id}/thing/property/report"), &json!({"data": {code: {"value": value}}}))
    );
}

/// A command that goes on, and the lines that it prints.
fn begin(cloud: &TestCloud, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = command(arguments);
    command.arg("--data").arg(&cloud.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn row(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
}

#[test]
fn the_log_is_filtered_and_can_be_imported_again() {
    let cloud = cloud();
    let now = cloud.now_ms();
    let rows: Vec<(&str, i64, i64, i64, &str, Value)> = (0..250)
        .map(|at| (PLUG, now - 1_000_000 + at, 7, 1, if at % 2 == 0 { "cur_power" } else { "switch" }, json!(at)))
        .collect();
    cloud.import(&rows);
    cloud.import(&[(PLUG, now - 500_000, 1, 1, "", Value::Null)]);
    let log = |arguments: &str| -> Vec<Value> {
        let arguments: Vec<&str> = ["log", PLUG, "--json"].into_iter().chain(arguments.split_whitespace()).collect();
        cloud.ingle(&arguments, "").unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let times = |rows: &[Value]| -> Vec<i64> { rows.iter().map(|row| row["time"].as_i64().unwrap()).collect() };
    let all = log("--limit 1000");
    assert_eq!(all.len(), 251);
    assert!(times(&all).is_sorted(), "oldest first");
    assert_eq!(log("").len(), 50);
    assert_eq!(log("")[..], all[201..], "the newest");
    assert_eq!(log("--type online"), all[250..]);
    assert_eq!(log("--type 1 --type data --code switch --limit 3")[..2], [all[245].clone(), all[247].clone()]);
    let from = now - 1_000_000 + 10;
    assert_eq!(times(&log(&format!("--from {from} --to {}", from + 2))), [from, from + 1, from + 2]);
    assert_eq!(log("--from 2099-01-01T00:00:00Z"), [] as [Value; 0]);
    let text = cloud.ingle(&["log", PLUG, "--limit", "2"], "").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("Z  data  switch = 249") && lines[1].ends_with("Z  online"), "{text}");
    // What is printed can be imported.
    let printed: String = all.iter().map(|row| format!("{}\n", row.to_string().replace(PLUG, LONELY))).collect();
    cloud.import_file(printed.as_bytes(), &["--lenient"]).unwrap();
    let lonely = cloud.ingle(&["log", LONELY, "--json", "--limit", "1000"], "").unwrap();
    assert_eq!(lonely, printed);
    for (arguments, text) in [
        (["log", "nobody", "--json"], "there is no device \"nobody\""),
        (["log", PLUG, "--type=x"], "the types are online"),
        (["log", PLUG, "--from=yesterday"], "write it as"),
    ] {
        assert!(cloud.ingle(&arguments, "").unwrap_err().contains(text), "{arguments:?}");
    }
}

#[test]
fn following_a_log_shows_each_row_once_and_ends_with_the_server() {
    let cloud = cloud();
    let mut device = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    report(&mut device, PLUG, "cur_power", json!(1));
    let (mut child, mut lines) = begin(&cloud, &["log", PLUG, "--follow", "--json", "--type", "data"]);
    assert_eq!(row(&mut lines)["value"], 1);
    for value in 2..200 {
        report(&mut device, PLUG, "cur_power", json!(value));
        assert_eq!(row(&mut lines)["value"], value);
    }
    // A row that is uploaded later.
    cloud.import(&[(PLUG, cloud.now_ms() - 60_000, 7, 1, "cur_power", json!(500))]);
    assert_eq!(row(&mut lines)["value"], 500);
    cloud.stop();
    assert!(lines.next().is_none(), "no more rows");
    assert!(child.wait().unwrap().success());
}

#[test]
fn watching_shows_rows_and_changes_of_all_or_some_devices() {
    let cloud = cloud();
    let app = cloud.first();
    let (mut all, mut of_all) = begin(&cloud, &["watch", "--json"]);
    let (mut some, mut of_some) = begin(&cloud, &["watch", SCALE, "--type", "data", "--json"]);
    let (mut text, mut of_text) = begin(&cloud, &["watch", SCALE]);
    // Both see a row before the test begins.
    let mut scale = MqttDevice::connect(&cloud, &tuyalink(SCALE, SECRET));
    let mut value = 0;
    for lines in [&mut of_some, &mut of_text, &mut of_all] {
        let (found, first) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| found.send(lines.next().unwrap().unwrap()).unwrap());
            while first.try_recv().is_err() {
                value += 1;
                report(&mut scale, SCALE, "weight", json!(value));
            }
        });
    }
    assert_eq!(app.put(&format!("/v1.0/devices/{DOOR}"), json!({"name": "New name"}))["result"], true);
    report(&mut scale, SCALE, "weight", json!(999_999));
    let until = |lines: &mut Lines<BufReader<ChildStdout>>, word: &str| {
        lines.map(Result::unwrap).find(|line| line.contains(word)).unwrap()
    };
    assert_eq!(
        serde_json::from_str::<Value>(&until(&mut of_all, "renamed")).unwrap(),
        json!({"device_id": DOOR, "event": "renamed", "name": "New name"})
    );
    let last: Value = serde_json::from_str(&until(&mut of_some, "999999")).unwrap();
    assert_eq!((&last["device_id"], &last["code"], &last["type"]), (&json!(SCALE), &json!("weight"), &json!(7)));
    assert!(until(&mut of_text, "999999").ends_with(&format!("Z  {SCALE}  data  weight = 999999")));
    cloud.stop();
    for child in [&mut all, &mut some, &mut text] {
        assert!(child.wait().unwrap().success(), "it ends with the server");
    }
}

#[test]
fn a_reader_that_is_gone_or_slow_costs_nothing() {
    let cloud = cloud();
    let mut device = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    // A pipe that is closed ends the command, also while nothing happens.
    let (mut child, lines) = begin(&cloud, &["watch", "--json"]);
    drop(lines);
    assert!(child.wait().unwrap().success());
    // A reader that reads nothing: everything is acknowledged, and what it missed is counted.
    let (mut slow, mut lines) = begin(&cloud, &["watch", PLUG, "--json"]);
    let text = "x".repeat(200);
    report(&mut device, PLUG, "note", json!(text));
    while cloud.ingle(&["log", PLUG, "--type", "data"], "").unwrap().is_empty() {}
    let first = {
        let (found, first) = std::sync::mpsc::sync_channel(1);
        let lines = &mut lines;
        std::thread::scope(|scope| {
            scope.spawn(move || found.send(lines.next().unwrap().unwrap()).unwrap());
            loop {
                if let Ok(first) = first.try_recv() {
                    break first;
                }
                report(&mut device, PLUG, "note", json!(text));
            }
        })
    };
    assert!(first.contains("note"), "{first}");
    let begun = Instant::now();
    let points: serde_json::Map<String, Value> =
        (0..200).map(|at| (format!("note{at}"), json!({"value": text}))).collect();
    for _ in 0..60 {
        assert!(device.published(&format!("tylink/{PLUG}/thing/property/report"), &json!({"data": points})));
    }
    assert!(begun.elapsed().as_secs() < 60, "devices do not wait");
    let mut rows = 0;
    let dropped = loop {
        let row = row(&mut lines);
        if let Some(dropped) = row["dropped"].as_u64() {
            break dropped;
        }
        rows += 1;
    };
    assert!(dropped > 0 && rows > 0 && rows < 12_000, "{rows} {dropped}");
    // More views than there may be are refused, and the socket serves other calls.
    let views: Vec<(Child, Lines<BufReader<ChildStdout>>)> =
        (0..9).map(|_| begin(&cloud, &["watch", "--type", "reset"])).collect();
    assert!(cloud.ingle(&["project", "list"], "").unwrap().contains("first"));
    let mut refused = 0;
    for (mut child, lines) in views {
        drop(lines);
        if !child.wait().unwrap().success() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(said.contains("too many live views"), "{said}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    let _ = slow.kill();
    let _ = slow.wait();
    // Without a server there is nothing to watch.
    let copy = tempfile::tempdir().unwrap();
    crate::support::ingle(&["project", "create", "--name", "x"], copy.path(), "").unwrap();
    let error = crate::support::ingle(&["watch"], copy.path(), "").unwrap_err();
    assert!(error.contains("no server runs"), "{error}");
}
