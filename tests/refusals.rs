//! What an operator learns of refused requests: a line each with what was asked and why, bounded, without secrets, and a
//! counter by dialect and code.

use serde_json::json;

use crate::support::TestCloud;
use crate::support::http::{Request, send};
use crate::support::people::{PASSWORD, md5};
use crate::support::world::{FOREIGN, PLUG, standard};
use crate::visual::devices::get;
use crate::visual::login::{body, plug, post, with_passwords};

const AGENT: &str = "some-integration/1.0";

/// A counter's value.
fn counted(metrics: &str, dialect: &str, code: u32) -> u64 {
    let start = format!("ingle_requests_refused_total{{dialect=\"{dialect}\",code=\"{code}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or(0)
}

#[test]
fn refusals_of_every_dialect_are_logged_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&folder.path().join("data"), "info");
    cloud.apply(&standard());
    with_passwords(&cloud);
    let (tuya, aliyun) = (cloud.first(), cloud.aliyun());
    let with_agent = |request: Request| request.with("User-Agent", AGENT);
    let tuya_code = |request: Request| tuya.send(&with_agent(request)).code();

    let device = format!("/v1.0/devices/{PLUG}");
    assert_eq!(tuya_code(Request::new("GET", &device)), 1105);
    assert_eq!(tuya_code(tuya.signed("GET", &device, b"", &tuya.token()).with("sign", "00")), 1004);
    assert_eq!(tuya_code(tuya.signed("GET", &format!("/v1.0/devices/{FOREIGN}"), b"", &tuya.token())), 1106);
    assert_eq!(tuya_code(tuya.signed("GET", "/v1.0/no/such/path", b"", &tuya.token())), 1108);
    assert_eq!(tuya_code(tuya.signed("PUT", &device, b"[]", &tuya.token())), 1109);
    let answer = send(aliyun.api, &with_agent(aliyun.signed("/cloud/token", b"{}").with("X-Ca-Signature", "AA")));
    assert_eq!(answer.code(), 401);
    let answer = send(aliyun.api, &with_agent(aliyun.signed("/cloud/nothing", b"{}")));
    assert_eq!(answer.code(), 404);
    assert_eq!(get(&cloud, "x", "").status, 401);
    assert_eq!(post(&cloud, &json!([])).status, 400);

    let metrics = cloud.metrics();
    for (dialect, code) in [
        ("tuya", 1105),
        ("tuya", 1004),
        ("tuya", 1106),
        ("tuya", 1108),
        ("tuya", 1109),
        ("aliyun", 401),
        ("aliyun", 404),
        ("visual", 401),
        ("visual", 400),
    ] {
        assert_eq!(counted(&metrics, dialect, code), 1, "{dialect} {code}: {metrics}");
    }
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let foreign = format!("/v1.0/devices/{FOREIGN}");
    for (dialect, code, method, path, agent, reason) in [
        ("tuya", 1105, "GET", device.as_str(), AGENT, "the header client_id is missing"),
        ("tuya", 1004, "GET", &device, AGENT, "the signature is not that of the project's secret"),
        ("tuya", 1106, "GET", &foreign, AGENT, "no device with that id is visible to this project"),
        ("tuya", 1108, "GET", "/v1.0/no/such/path", AGENT, "no such path and method here"),
        ("tuya", 1109, "PUT", &device, AGENT, "the body must be a JSON object"),
        ("aliyun", 401, "POST", "/cloud/token", AGENT, "the signature is not that of the project's AppSecret"),
        ("aliyun", 404, "POST", "/cloud/nothing", AGENT, "no such path and method here"),
        ("visual", 401, "GET", "/v1.0/visual/devices/wkNCAsnnlsYSnI6n/2ac4d7cffa", "", ""),
        ("visual", 400, "POST", "/v1.0/openapi/visual/d/user/login", "", "it does not begin with a brace"),
    ] {
        let parts = [
            format!("dialect=\"{dialect}\""),
            format!("code={code} "),
            format!("http.method={method} "),
            format!("http.path=\"{path}\""),
            format!("http.user_agent=\"{agent}\""),
            "client.address=\"127.0.0.1\"".to_owned(),
            format!("reason=\"{reason}"),
            "INFO".to_owned(),
        ];
        let is_it = |line: &&str| parts.iter().all(|part| line.contains(part));
        assert_eq!(log.lines().filter(is_it).count(), 1, "{parts:?} in\n{log}");
    }
}

#[test]
fn a_flood_of_refusals_does_not_flood_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&folder.path().join("data"), "info");
    for n in 0..500 {
        send(cloud.api, &Request::new("GET", &format!("/v1.0/devices/{n}")).with("User-Agent", &n.to_string()));
        send(cloud.api, &Request::new("POST", "/cloud/token").with("X-Ca-Key", &n.to_string()));
    }
    let metrics = cloud.metrics();
    assert_eq!((counted(&metrics, "tuya", 1105), counted(&metrics, "aliyun", 401)), (500, 500));
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log.lines().filter(|line| line.contains("a request was refused")).count();
    // Ten of each in a minute; the test may see the next minute begin.
    assert!((20..=60).contains(&lines), "{lines}");
}

/// Whatever is refused, no token, secret, password or body is logged, and a log line is one line.
#[test]
fn no_secret_of_a_refused_request_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&folder.path().join("data"), "trace");
    cloud.apply(&standard());
    with_passwords(&cloud);
    let (tuya, aliyun) = (cloud.first(), cloud.aliyun());
    let tokens = tuya.send(&tuya.signed("GET", "/v1.0/token?grant_type=1", b"", "")).body["result"].clone();
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let (access, refresh) = (text("access_token"), text("refresh_token"));
    let mut secrets = vec![access.clone(), refresh.clone(), tuya.secret.clone(), aliyun.secret.clone()];
    secrets.extend(["short-token", "bodytext", "a-wrong-password", &md5(PASSWORD)].map(str::to_owned));
    for path in [
        format!("/v1.0/token/{refresh}"),
        format!("/v1.0/token/{refresh}/"),
        format!("/v1.0/iot-03/users/token/{refresh}"),
        format!("/v1.0/refresh/{refresh}"),
        "/v1.0/token/short-token".to_owned(),
        "/v1.0/devices/tokens/short-token".to_owned(),
        format!("/v1.0/devices?access_token={access}&refresh_token=short-token"),
        format!("/v1.0/devices?{access}"),
        "/cloud/token/refresh?cloudToken=short-token".to_owned(),
        "/cloud/nothing?token=short-token".to_owned(),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let mut request = tuya.signed(method, &path, b"{\"bodytext\":", &access);
            request.headers.extend(aliyun.signed(&path, b"{\"bodytext\":").headers);
            send(cloud.api, &request);
            send(cloud.api, &request.clone().with("sign", "00").with("X-Ca-Signature", "AA"));
            send(cloud.api, &request.clone().without("sign").without("X-Ca-Key"));
            send(cloud.api, &request.with("User-Agent", "with\ta tab and \u{e9}"));
        }
    }
    let login =
        json!({"username": "18200000678", "password": md5(PASSWORD), "country_code": "86", "schema": "testApp"});
    let login = login.to_string();
    tuya.send(&tuya.signed("POST", "/v1.0/iot-03/users/login", login.as_bytes(), ""));
    post(&cloud, &body("18200000678", "a-wrong-password", json!([plug()])));
    get(&cloud, "short-token", "");
    cloud.stop();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.matches("a request was refused").count() > 20, "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds {secret}:\n{log}");
    }
    assert!(log.chars().all(|character| matches!(character, '\n' | ' '..='~')), "all of it can be printed");
}
