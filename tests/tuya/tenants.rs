//! Every route as another project: nothing of the first is seen, and nothing of it changes.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::openapi::{Route, routes};
use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;
use crate::support::world::{DOOR, DUMB, GATEWAY, GUEST, LEAK, LONELY, OWNER, PLUG, SCALE, SPEAKER};

/// Texts that belong to the first project alone.
const FIRST_ONLY: &[&str] = &[
    SCALE,
    PLUG,
    SPEAKER,
    GATEWAY,
    LEAK,
    DOOR,
    LONELY,
    DUMB,
    OWNER,
    GUEST,
    "3a9b50126fe47301",
    "11a53bdd67e40001",
    "18200000678",
    "guest@example.com",
    "体脂秤",
    "secret-nick-name",
    "a-secret-name",
    "firstclient000000001",
];

/// What stands in a parameter: mostly ids of the first project, with other things among them.
fn value(name: &str) -> BoxedStrategy<String> {
    let first: &[&str] = match name {
        "device_id" | "device_ids" => &[SCALE, PLUG, SPEAKER, GATEWAY, LEAK, DOOR, LONELY, DUMB],
        "uid" => &[OWNER, GUEST],
        "schema" => &["testApp", "emptyApp"],
        "product_id" => &["g0er6hSKgMqr0001", "EvolhYPyZNWYP001"],
        "function_code" | "identifier" | "codes" => &["switch_1", "weight"],
        "type" => &["1,2,3,4,5,6,7,8,9,10"],
        "page_no" | "grant_type" | "query_type" | "sex" => &["1", "2"],
        "page_size" | "size" => &["20", "100"],
        "start_time" => &["0", ""],
        "end_time" => &["4000000000", "4000000000000"],
        "last_id" => &["0_", ""],
        "from" => &["home", "sharing"],
        _ => &["1", "x"],
    };
    let first: Vec<String> = first.iter().map(|text| (*text).to_owned()).collect();
    prop_oneof![8 => proptest::sample::select(first), 1 => "[a-zA-Z0-9_.-]{1,12}"].boxed()
}

fn call(app: &TuyaApp, route: &Route, values: &[String], query: &[bool]) -> Value {
    let mut target = route.path.clone();
    let mut pairs = Vec::new();
    let mut wanted = query.iter().cycle();
    for (parameter, value) in route.parameters.iter().zip(values) {
        if parameter.in_path {
            target = target.replace(&format!("{{{}}}", parameter.name), value);
        } else if parameter.required || *wanted.next().unwrap() {
            pairs.push(format!("{}={value}", parameter.name));
        }
    }
    pairs.sort();
    if !pairs.is_empty() {
        target = format!("{target}?{}", pairs.join("&"));
    }
    let body = json!({"name": "taken over", "identifier": "switch_1", "nick_name": "n", "sex": 1, "country_code": "86",
        "username": "18200000678", "password": "p"});
    let body = if route.method == "GET" { String::new() } else { body.to_string() };
    app.call(&route.method, &target, &body).body
}

/// Everything that the first project can read of itself, but for times and ids of requests.
fn first_sees(app: &TuyaApp, user: &str, end: i64) -> Vec<Value> {
    let mut seen = vec![
        app.get("/v1.0/devices?page_size=100"),
        app.get("/v1.0/apps/testApp/users?page_no=1&page_size=100"),
        app.get(&format!("/v1.0/users/{OWNER}/infos")),
        app.get(&format!("/v1.0/devices/{PLUG}/multiple-names")),
        app.get(&format!("/v1.0/devices/{SCALE}/users/{user}")),
        app.get(&format!("/v1.0/devices/{PLUG}/logs?end_time={end}&size=100&start_time=0&type=1,2,3,4,5,6,7")),
    ];
    for answer in &mut seen {
        assert_eq!(answer["success"], true, "{answer}");
        *answer = answer["result"].clone();
    }
    seen
}

#[test]
fn another_project_sees_and_changes_nothing() {
    let cloud = TestCloud::start();
    let (first, second) = (cloud.first(), cloud.second());
    first.put(&format!("/v1.0/devices/{PLUG}/functions/switch_1"), json!({"name": "a-secret-name"}));
    let person = json!({"nick_name": "secret-nick-name", "sex": 1});
    let user = first.post(&format!("/v1.0/devices/{SCALE}/user"), person)["result"].as_str().unwrap().to_owned();
    cloud.import(&[(PLUG, cloud.now_ms(), 7, 1, "switch_1", json!("a-secret-name"))]);
    let end = cloud.now_ms() + 1000;
    let before = first_sees(&first, &user, end);

    let routes: Vec<Route> = routes("tuya").into_iter().filter(|route| route.tag != "token").collect();
    assert!(routes.len() >= 21);
    let strategies: Vec<_> = routes
        .iter()
        .map(|route| {
            let known = user.clone();
            let values: Vec<BoxedStrategy<String>> = route
                .parameters
                .iter()
                .map(|parameter| match parameter.name.as_str() {
                    "user_id" => Just(known.clone()).boxed(),
                    name => value(name),
                })
                .collect();
            (values, proptest::collection::vec(any::<bool>(), 8))
        })
        .collect();
    // Each route a dozen times, with other parameters each time.
    for (route, strategy) in routes.iter().zip(&strategies) {
        let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
        runner
            .run(strategy, |(values, query)| {
                let answer = call(&second, route, &values, &query).to_string();
                for text in FIRST_ONLY.iter().chain([&user.as_str()]) {
                    let asked = values.iter().any(|value| value == text);
                    let received = answer.contains(text) && !(asked && answer.contains("\"success\":false"));
                    prop_assert!(!received, "{} {} shows {text}: {answer}", route.method, route.path);
                }
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(first_sees(&first, &user, end), before);
}
