//! Every route as every kind of caller. A route without a row here fails, and so does a cell that is otherwise.

use serde_json::{Value, json};

use crate::openapi::{Route, routes};
use crate::support::TestCloud;
use crate::support::people::{HOME, MEMBER, OWNER_NAME, PASSWORD, STRANGER, md5, people, sign_in};
use crate::support::tuya::TuyaApp;
use crate::support::world::{GUEST, OWNER, PLUG};

/// Who asks, in the order of a row's cells.
const CALLERS: [&str; 7] = ["nobody", "other project", "other user", "sharee", "member", "owner", "project"];

/// What those of them sign in with who are users.
const LOGINS: [&str; 4] = ["stranger", "guest@example.com", "member", OWNER_NAME];

/// What a caller gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    /// The code of a refusal, or of what is then in the way.
    Code(i64),
    /// What was asked for.
    Done,
    /// A list with the subject in it.
    Sees,
    /// A list without.
    Blind,
}
use Cell::{Blind, Code, Done, Sees};

type Row = [Cell; 7];

const UNSIGNED: Cell = Code(1105);
const DENIED: Cell = Code(1106);
/// There is no scene to trigger.
const NONE: Cell = Code(2503);

/// Whoever has the device gets this.
const fn of_device(cell: Cell) -> Row {
    [UNSIGNED, DENIED, DENIED, cell, cell, cell, cell]
}

/// Whoever lives in the home gets this.
const fn of_home(cell: Cell) -> Row {
    [UNSIGNED, DENIED, DENIED, DENIED, cell, cell, cell]
}

/// Whoever has the device finds it in a list.
const LISTED: Row = [UNSIGNED, Blind, Blind, Sees, Sees, Sees, Sees];
/// Whoever lives in the home finds it in a list.
const HOME_LISTED: Row = [UNSIGNED, Blind, Blind, Blind, Sees, Sees, Sees];
/// The owner, of device, home or self.
const OWNERS: Row = [UNSIGNED, DENIED, DENIED, DENIED, DENIED, Done, Done];
/// The project alone.
const PROJECTS: Row = [UNSIGNED, DENIED, DENIED, DENIED, DENIED, DENIED, Done];
/// Whoever signs with the project's secret.
const SIGNED: Row = [UNSIGNED, Done, Done, Done, Done, Done, Done];

fn row(route: &Route) -> Option<Row> {
    Some(match (route.tag.as_str(), route.name.as_str()) {
        ("token", "get_token") => SIGNED,
        ("token", "refresh_token") | ("logins", "refresh_login") => {
            [UNSIGNED, Code(1010), Code(1010), Code(1010), Code(1010), Code(1010), Code(1010)]
        }
        ("logins", "authorized_login" | "custom_login") => [UNSIGNED, DENIED, Done, Done, Done, Done, Done],

        ("logins", "log_out") => [UNSIGNED, DENIED, Done, Done, Done, Done, DENIED],

        ("users", "sync_user" | "users" | "users_v1") => PROJECTS,
        ("users", "user_infos") => OWNERS,

        ("devices", "device" | "sub_devices") => of_device(Done),
        ("devices", "user_devices") => OWNERS,
        ("devices", "devices" | "factory_infos") => LISTED,
        ("devices", "rename_device") => OWNERS,
        ("devices", "remove_device" | "reset_factory" | "reset_factory_post") => PROJECTS,
        ("device_lists", "iot03_device") => of_device(Done),
        ("device_lists", "associated_devices" | "iot03_devices" | "sourced_devices") => LISTED,
        ("device_lists", _) => PROJECTS,
        ("status", "device_status" | "iot03_device_status") => of_device(Done),
        ("status", "devices_status" | "iot03_devices_status") => LISTED,
        ("functions", "devices_functions") => LISTED,
        ("functions", "category_functions" | "iot03_category_functions") => {
            [UNSIGNED, Code(2003), Done, Done, Done, Done, Done]
        }
        ("functions", _) => of_device(Done),
        ("things", "things") => LISTED,
        ("things", "reset_thing") => PROJECTS,
        ("things", _) => of_device(Done),
        ("commands", "desire_properties") => of_device(Done),
        ("commands", _) => of_device(Code(2001)),
        ("names", "multiple_names") => of_device(Done),
        ("names", _) => OWNERS,
        ("logs", _) => of_device(Done),
        ("device_users", _) => PROJECTS,
        ("shares", "withdraw_device") => [UNSIGNED, DENIED, DENIED, Done, DENIED, Done, Done],
        ("shares", _) => OWNERS,

        ("homes", "user_homes" | "create_home" | "change_home" | "remove_home") => OWNERS,
        ("homes", _) => of_home(Done),
        ("members", "home_members") => of_home(Done),
        ("members", "remove_member") => of_home(Done),
        ("members", _) => OWNERS,
        ("invitations", "invitations") => OWNERS,
        // Nobody has invited the owner, whoever asks.
        ("invitations", "answer_invitation") => [UNSIGNED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED],
        ("scenes", "trigger_scene") => of_home(NONE),
        ("scenes", "trigger_rule") => [UNSIGNED, NONE, NONE, NONE, NONE, NONE, NONE],
        ("scenes", "allocate_stream") => of_device(Code(2009)),
        ("scenes", _) => of_home(Done),
        ("assets", "user_assets") => HOME_LISTED,
        ("assets", _) => of_home(Done),
        ("pairing", _) => OWNERS,
        ("open_hub", _) => OWNERS,
        _ => return None,
    })
}

/// What one cell is tried on, so that no cell is in another's way.
pub struct Subject {
    device: String,
    home: i64,
    device_user: String,
    token: String,
}

pub fn target(route: &Route, subject: &Subject, end: i64) -> String {
    let home = subject.home.to_string();
    let mut target = route.path.clone();
    let mut pairs = Vec::new();
    for parameter in &route.parameters {
        let value = match (route.tag.as_str(), parameter.name.as_str()) {
            (_, "device_id" | "device_ids") => subject.device.as_str(),
            ("members", "uid") => MEMBER,
            ("shares", "uid") => GUEST,
            (_, "uid") => OWNER,
            (_, "home_id" | "asset_id" | "space_id") => &home,
            (_, "user_id") => &subject.device_user,
            ("pairing", "token") => &subject.token,
            (_, "schema") => "testApp",
            (_, "category") => "cz",
            (_, "function_code") => "switch_1",
            (_, "end_time") => &end.to_string(),
            (_, "type") => "7",
            _ => "1",
        };
        if parameter.in_path {
            target = target.replace(&format!("{{{}}}", parameter.name), value);
        } else if parameter.required || (parameter.name == "device_ids" && route.name != "sourced_devices") {
            pairs.push(format!("{}={value}", parameter.name));
        } else if matches!(parameter.name.as_str(), "size" | "page_size") && route.name != "things" {
            pairs.push(format!("{}=100", parameter.name));
        }
    }
    pairs.sort();
    if pairs.is_empty() { target } else { format!("{target}?{}", pairs.join("&")) }
}

pub fn body(route: &Route) -> Value {
    let login = json!({"username": "member", "password": md5(PASSWORD), "country_code": "86", "schema": "testApp"});
    match (route.tag.as_str(), route.name.as_str()) {
        ("logins", _) => login,
        ("users", _) => json!({"country_code": "86", "username": "made", "password": "p"}),
        ("commands", "commands" | "iot03_commands") => json!({"commands": [{"code": "switch_1", "value": true}]}),
        ("commands", _) => json!({"properties": {"switch_1": true}, "duration": 60}),
        ("names", _) => json!({"identifier": "switch_1", "name": "n"}),
        ("device_users", _) => json!({"nick_name": "n", "sex": 1}),
        ("shares", _) => json!({"uid": STRANGER}),
        ("homes", "create_home") => json!({"uid": OWNER, "home": {"name": "n"}}),
        ("members", "add_member") => json!({"member": {"member_account": "stranger"}}),
        ("invitations", _) => json!({"accept": true}),
        ("pairing" | "open_hub", _) => json!({"uid": OWNER, "link_id": "x", "link_type": "mqtt", "topics": "device"}),
        _ => json!({"name": "n"}),
    }
}

/// The subjects of a route's cells: what only is read is shared by all of them.
pub fn subjects(cloud: &TestCloud, project: &TuyaApp, owner: &TuyaApp, number: usize, route: &Route) -> Vec<Subject> {
    let names_a = |name: &str| route.parameters.iter().any(|parameter| parameter.name == name);
    let is_read = route.method == "GET" && route.tag != "device_users";
    let own_device = !is_read && (names_a("device_id") || names_a("device_ids"));
    let own_home = !is_read && names_a("home_id");
    let names: Vec<(String, i64)> = (0..CALLERS.len())
        .map(|caller| {
            let device = if own_device { format!("subject{number:03}n{caller}") } else { PLUG.to_owned() };
            (device, if own_home { 20_000_000 + (number * 10 + caller) as i64 } else { HOME })
        })
        .collect();
    if own_home {
        let homes: Vec<Value> =
            names.iter().map(|(_, home)| json!({"home_id": home, "name": "Home", "owner": "18200000678"})).collect();
        cloud.apply(&json!({"projects": [{"name": "first", "homes": homes}]}));
    }
    if own_device {
        let devices: Vec<Value> = names
            .iter()
            .map(|(id, home)| {
                json!({"product_id": "EvolhYPyZNWYP001", "device_id": id, "owner": "18200000678", "home_id": home,
                    "shared_with": ["guest@example.com"]})
            })
            .collect();
        cloud.apply(&json!({"projects": [{"name": "first", "devices": devices}]}));
    }
    let token = match names_a("token") {
        true => owner.post("/v1.0/devices/token", json!({}))["result"]["token"].as_str().unwrap().to_owned(),
        false => String::new(),
    };
    let subject = |(device, home): (String, i64)| {
        if own_home {
            let member = json!({"member": {"member_account": "member"}});
            assert_eq!(project.post(&format!("/v1.0/homes/{home}/members"), member)["result"], true);
        }
        let device_user = match names_a("user_id") {
            true => {
                let made = project.post(&format!("/v1.0/devices/{device}/user"), json!({"nick_name": "n", "sex": 1}));
                made["result"].as_str().unwrap().to_owned()
            }
            false => String::new(),
        };
        Subject { device, home, device_user, token: token.clone() }
    };
    names.into_iter().map(subject).collect()
}

fn outcome(answer: &Value, subject: &Subject) -> Cell {
    if answer["success"] != true {
        return Code(answer["code"].as_i64().unwrap());
    }
    let text = answer["result"].to_string();
    if text.contains(&subject.device) || text.contains(&subject.home.to_string()) { Sees } else { Done }
}

#[test]
fn every_route_as_every_caller() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let (project, other) = (cloud.first(), cloud.second());
    let mut wrong = Vec::new();
    for (number, route) in routes("tuya").iter().enumerate() {
        let Some(row) = row(route) else { panic!("{} {} has no row", route.method, route.path) };
        let subjects = subjects(&cloud, &project, &people.owner, number, route);
        for ((caller, expected), subject) in row.iter().enumerate().zip(&subjects) {
            let target = target(route, subject, cloud.now_ms() + 1000);
            let text = if route.method == "GET" { String::new() } else { body(route).to_string() };
            let app = match caller {
                0 | 6 => &project,
                1 => &other,
                2 => &people.stranger,
                3 => &people.sharee,
                4 => &people.member,
                _ => &people.owner,
            };
            // A token call has no token; who signs is then the project, whoever it is. A login ends for itself alone.
            let token = match (route.tag.as_str(), route.name.as_str()) {
                ("logins", "log_out") if (2..6).contains(&caller) => sign_in(&cloud, LOGINS[caller - 2]).token(),
                ("logins", "log_out") => app.token(),
                ("token" | "logins", _) => String::new(),
                _ => app.token(),
            };
            let mut request = app.signed(&route.method, &target, text.as_bytes(), &token);
            if caller == 0 {
                request.headers.clear();
            }
            let answer = app.send(&request).body;
            let found = outcome(&answer, subject);
            let fits = match expected {
                Done => matches!(found, Done | Sees),
                Blind => found == Done,
                _ => found == *expected,
            };
            if !fits {
                let who = CALLERS[caller];
                wrong.push(format!("{} {target} as {who}: {expected:?} expected, {answer}", route.method));
            }
            if route.method == "GET" && caller > 0 {
                // Clients end a path with a slash, or send a body where none belongs.
                let slash =
                    target.split_once('?').map_or(format!("{target}/"), |(path, query)| format!("{path}/?{query}"));
                for (target, text) in [(&slash, ""), (&target, "{}")] {
                    let answer = app.send(&app.signed("GET", target, text.as_bytes(), &token)).body;
                    if outcome(&answer, subject) != found {
                        wrong.push(format!("GET {target} {text} as {}: {found:?} expected, {answer}", CALLERS[caller]));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}
