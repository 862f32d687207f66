//! Checks how a server may behave on a damaged folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::folder::{Fixture, Known, PROJECTS, document, first_name, idle, metrics, start};
use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;

/// Number of new devices. They are more than the folder has, so that numbers which are assigned twice are among theirs.
const NEW_DEVICES: usize = 8;
const NEW_ID: &str = "thirdclient000000001";
const NEW_SECRET: &str = "00112233445566778899aabbccddeeff";

/// What was observed of a server that started.
#[derive(Default)]
pub struct Seen {
    /// Data that was never sent, or that belongs to another device.
    pub wrong: Vec<String>,
    /// Data that must exist and is not shown.
    pub lost: Vec<String>,
    /// What the log and the metrics report about it.
    pub said: Vec<String>,
}

/// The faults of a server on a folder in which one file was damaged.
pub fn judge(fixture: &Fixture, data: &Path, damaged: &str) -> Vec<String> {
    match look(fixture, data) {
        Err(refusal) => {
            // A write-ahead log may be named by its database.
            let database = damaged.trim_end_matches("-wal").trim_end_matches("-journal");
            let named = refusal.contains(database);
            if named { Vec::new() } else { vec![format!("refused without a word of {damaged}: {}", refusal.trim())] }
        }
        Ok(seen) => {
            let mut faults = seen.wrong;
            if !seen.lost.is_empty() && seen.said.is_empty() {
                faults.push(format!("silent about: {}", seen.lost.join("; ")));
            }
            faults
        }
    }
}

/// Starts a server and reads everything; or returns its message when it refused to start.
pub fn look(fixture: &Fixture, data: &Path) -> Result<Seen, String> {
    let cloud = start(data)?;
    let mut seen = Seen::default();
    let everybodys: BTreeMap<&str, &str> = fixture
        .known
        .iter()
        .flatten()
        .flat_map(|known| known.rows.iter().map(|(_, value)| (value.as_str(), known.id.as_str())))
        .collect();
    for (project, (name, client_id, secret)) in PROJECTS.into_iter().enumerate() {
        let app = TuyaApp::new(&cloud, client_id, secret);
        if !has_token(&app) {
            seen.lost.push(format!("project {name}"));
            continue;
        }
        let known = &fixture.known[project];
        look_at_list(&app, project, known, &mut seen);
        for known in known {
            look_at_device(&app, known, &everybodys, &mut seen);
        }
    }
    look_at_new_devices(&cloud, &everybodys, &mut seen);
    let log = std::fs::read_to_string(TestCloud::log_of(data)).unwrap();
    seen.said.extend(log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).map(str::to_owned));
    for line in metrics(&cloud).lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if ["_damaged", "_lost"].iter().any(|part| name.contains(part)) && value != "0" {
            seen.said.push(line.to_owned());
        }
    }
    Ok(seen)
}

fn has_token(app: &TuyaApp) -> bool {
    let answer = app.send(&app.signed("GET", "/v1.0/token?grant_type=1", b"", ""));
    let token = answer.body["result"]["access_token"].as_str();
    token.is_some_and(|token| {
        app.hold(token);
        true
    })
}

/// Checks the devices that a project sees: all of its own, no others, and the idle ones unchanged.
fn look_at_list(app: &TuyaApp, project: usize, known: &[Known], seen: &mut Seen) {
    let answer = app.get("/v1.0/devices?page_no=1&page_size=100");
    let Some(list) = answer["result"]["devices"].as_array() else {
        seen.lost.push(format!("the list of devices: {answer}"));
        return;
    };
    let mut listed: BTreeMap<&str, &Value> = list.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
    let mut missing = Vec::new();
    for id in known.iter().map(|known| known.id.as_str()) {
        if listed.remove(id).is_none() {
            missing.push(id.to_owned());
        }
    }
    for (id, local_key) in idle(project) {
        let Some(row) = listed.remove(id.as_str()) else {
            missing.push(id);
            continue;
        };
        if (row["name"].as_str(), row["local_key"].as_str()) != (Some(&first_name(&id)), Some(&local_key)) {
            seen.wrong.push(format!("{id} has a name or a key that nobody gave: {row}"));
        }
    }
    for id in listed.keys() {
        seen.wrong.push(format!("another's device, or one that was never made, is listed: {id:?}"));
    }
    if !missing.is_empty() {
        seen.lost.push(format!("{} devices in the list", missing.join(", ")));
    }
}

fn look_at_device(app: &TuyaApp, known: &Known, everybodys: &BTreeMap<&str, &str>, seen: &mut Seen) {
    let id = &known.id;
    let detail = app.get(&format!("/v1.0/devices/{id}"));
    match detail["result"]["name"].as_str() {
        None => seen.lost.push(format!("{id}: {detail}")),
        Some(name) if known.names.last().unwrap() == name => {}
        Some(name) if known.names.iter().any(|older| older == name) => seen.lost.push(format!("the name of {id}")),
        Some(name) => seen.wrong.push(format!("{id} has a name that nobody gave: {name:?}")),
    }
    if let Some(key) = detail["result"]["local_key"].as_str()
        && key != known.local_key
    {
        seen.wrong.push(format!("{id} has a key that nobody gave: {key:?}"));
    }
    match status(app, id) {
        None => seen.lost.push(format!("the status of {id}")),
        Some(value) if known.latest() == value => {}
        Some(value) if known.rows.iter().any(|(_, older)| *older == value) => {
            seen.lost.push(format!("the latest value of {id}"));
        }
        Some(value) => seen.wrong.push(format!("{id} has the value {value}, {}", whose(everybodys, &value))),
    }
    match log(app, id) {
        Err(answer) => seen.lost.push(format!("the log of {id}: {answer}")),
        Ok(rows) => {
            for (time_ms, value) in &rows {
                if !known.rows.contains(&(*time_ms, value.clone())) {
                    seen.wrong.push(format!("{id} has a row {time_ms} {value}, {}", whose(everybodys, value)));
                }
            }
            let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
            if distinct.len() < rows.len() {
                seen.wrong.push(format!("{id} has {} rows twice", rows.len() - distinct.len()));
            }
            let missing = known.rows.iter().filter(|row| !distinct.contains(row)).count();
            if missing > 0 {
                seen.lost.push(format!("{missing} of {} rows of {id}", known.rows.len()));
            }
        }
    }
}

/// A newly created device has no history.
fn look_at_new_devices(cloud: &TestCloud, everybodys: &BTreeMap<&str, &str>, seen: &mut Seen) {
    let devices: Vec<_> = (0..NEW_DEVICES).map(|n| (format!("gamma{n}"), "key".to_owned())).collect();
    let document = document("third", NEW_ID, NEW_SECRET, &devices).to_string();
    let app = TuyaApp::new(cloud, NEW_ID, NEW_SECRET);
    if let Err(refusal) = cloud.ingle(&["apply", "-"], &document) {
        seen.lost.push(format!("a place for new devices: {}", refusal.trim()));
        return;
    }
    if !has_token(&app) {
        seen.lost.push("the new project".to_owned());
        return;
    }
    for (id, _) in &devices {
        if let Ok(rows) = log(&app, id)
            && let Some((_, value)) = rows.first()
        {
            let whose = whose(everybodys, value);
            seen.wrong.push(format!("{id} is new and has {} rows, {value} for one, {whose}", rows.len()));
        }
        if let Some(value) = status(&app, id)
            && value != "0"
        {
            seen.wrong.push(format!("{id} is new and has the value {value}, {}", whose(everybodys, &value)));
        }
    }
}

fn whose(everybodys: &BTreeMap<&str, &str>, value: &str) -> String {
    everybodys.get(value).map_or("which nobody sent".to_owned(), |id| format!("which is {id}'s"))
}

/// The value of a device's only data point.
fn status(app: &TuyaApp, id: &str) -> Option<String> {
    let answer = app.get(&format!("/v1.0/devices/{id}/status"));
    let point = answer["result"].as_array()?.iter().find(|point| point["code"] == "n")?;
    Some(point["value"].to_string())
}

/// Time and value of each reported row of a device, or the response if it is an error.
pub fn log(app: &TuyaApp, id: &str) -> Result<Vec<(i64, String)>, Value> {
    let (mut rows, mut from) = (Vec::new(), String::new());
    loop {
        let end = ingle::domain::Clock::now_ms(&ingle::app::SystemClock) + 60_000;
        let answer = app.get(&format!("/v1.0/devices/{id}/logs?end_time={end}&size=100{from}&start_time=1&type=7"));
        let Some(page) = answer["result"]["logs"].as_array() else { return Err(answer) };
        for row in page {
            rows.push((row["event_time"].as_i64().unwrap(), row["value"].as_str().unwrap_or("none").to_owned()));
        }
        match answer["result"]["next_row_key"].as_str() {
            Some(next) => from = format!("&start_row_key={}", next.replace('=', "%3D")),
            None => return Ok(rows),
        }
    }
}
