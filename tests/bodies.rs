//! Bodies that are not what they should be, of every operation that reads one, in every dialect.

use serde_json::json;

use crate::aliyun::devices::named;
use crate::openapi::{Route, routes};
use crate::support::TestCloud;
use crate::support::aliyun::envelope;
use crate::support::http::{Request, send};
use crate::support::people::{PASSWORD, People, people};
use crate::support::tuya::TuyaApp;
use crate::support::world::PLUG;
use crate::tuya::rights::{Subject, body, subjects, target};
use crate::visual::login::body as login_body;

const MARK: &str = "\u{feff}";
const ALIYUN: &str = "/living/account/region/get";
const VISUAL: &str = "/v1.0/openapi/visual/d/user/login";

/// The operations of the Tuya dialect that read a body, each with subjects of its own.
fn readers(cloud: &TestCloud, app: &TuyaApp, people: &People) -> Vec<(Route, Vec<Subject>)> {
    let readers = routes("tuya").into_iter().filter(|route| route.has_body).enumerate();
    let readers: Vec<_> = readers
        .map(|(number, route)| {
            let subjects = subjects(cloud, app, &people.owner, number, &route);
            (route, subjects)
        })
        .collect();
    assert!(readers.len() >= 20, "{}", readers.len());
    readers
}

/// A request of an operation as the project sends it.
fn signed(cloud: &TestCloud, app: &TuyaApp, route: &Route, subject: &Subject, body: &[u8]) -> Request {
    let token = if route.tag == "logins" { String::new() } else { app.token() };
    app.signed(&route.method, &target(route, subject, cloud.now_ms()), body, &token)
}

#[test]
fn what_is_no_object_is_refused_by_every_operation() {
    let cloud = TestCloud::start();
    let (app, people) = (cloud.first(), people(&cloud));
    for (route, subjects) in readers(&cloud, &app, &people) {
        let good = body(&route).to_string();
        let twice = json!(good).to_string();
        let listed = format!("[{good}]");
        for text in ["[]", "7", "true", "{", "\"", "\"{}\"", "\"[]\"", "{} {}", &twice, &listed, &good[1..]] {
            let answer = app.send(&signed(&cloud, &app, &route, &subjects[0], text.as_bytes()));
            assert_eq!(answer.code(), 1109, "{} {} {text}", route.method, route.path);
        }
        let answer = app.send(&signed(&cloud, &app, &route, &subjects[0], b"{\"\xff\":1}"));
        assert_eq!(answer.code(), 1109, "{} {}", route.method, route.path);
        // A bare text is a name where one old client sends it so.
        let is_name = ["rename_device", "name_function"].contains(&route.name.as_str());
        let answer = app.send(&signed(&cloud, &app, &route, &subjects[0], b"\"bare\""));
        assert_eq!(answer.code(), if is_name { 0 } else { 1109 }, "{} {}", route.method, route.path);
    }
    let device = format!("/v1.0/devices/{PLUG}");
    assert_eq!(app.call("PUT", &device, r#""{\"name\":\"taken\"}""#).code(), 1109);
    assert_eq!(app.get(&device)["result"]["name"], "xxx测试");
}

#[test]
fn a_byte_order_mark_is_skipped_by_every_operation() {
    let cloud = TestCloud::start();
    named(&cloud);
    let (app, people) = (cloud.first(), people(&cloud));
    for (route, subjects) in readers(&cloud, &app, &people) {
        let text = body(&route).to_string();
        let without = app.send(&signed(&cloud, &app, &route, &subjects[0], text.as_bytes())).code();
        let marked = format!("{MARK}{text}");
        let with = app.send(&signed(&cloud, &app, &route, &subjects[1], marked.as_bytes())).code();
        assert_eq!(with, without, "{} {}", route.method, route.path);
        // The signature covers the mark.
        let mut request = signed(&cloud, &app, &route, &subjects[1], text.as_bytes());
        request.body = marked.into_bytes();
        assert_eq!(app.send(&request).code(), 1004, "{} {}", route.method, route.path);
    }
    let mut login = Request::new("POST", VISUAL);
    login.body = format!(
        "{MARK}{}",
        login_body("18200000678", PASSWORD, json!([{"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"}]))
    )
    .into_bytes();
    assert_eq!(send(cloud.api, &login).body["success"], true);
    let aliyun = cloud.aliyun();
    for route in routes("aliyun") {
        let envelope = envelope("1.0.9", Some(&aliyun.token()), &json!({"identityId": "50owner"})).to_string();
        let answer = |text: &str| send(aliyun.api, &aliyun.signed(&route.path, text.as_bytes())).code();
        let without = if route.tag == "token" { continue } else { answer(&envelope) };
        assert_ne!(without, 400, "{}", route.path);
        if without != 200 || !route.name.contains("un") {
            assert_eq!(answer(&format!("{MARK}{envelope}")), without, "{}", route.path);
        }
    }
}

/// A request whose chunks are these, with the head of another.
fn chunked(request: &Request, chunks: &str) -> Vec<u8> {
    let head: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (method, target) = (&request.method, &request.target);
    format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{head}transfer-encoding: chunked\r\n\r\n{chunks}").into_bytes()
}

#[test]
fn a_body_that_breaks_off_is_refused_in_the_words_of_each_dialect() {
    // No number, a chunk longer than it says, one that is cut, and a last chunk that does not come.
    const BROKEN: [&str; 5] = ["zz\r\n{}\r\n0\r\n\r\n", "1\r\n{}\r\n0\r\n\r\n", "2\r\n{", "2\r\n{}\r\n", "2;\u{1}"];
    let cloud = TestCloud::start();
    let (app, people, aliyun) = (cloud.first(), people(&cloud), cloud.aliyun());
    for chunks in BROKEN {
        for (route, subjects) in readers(&cloud, &app, &people) {
            let answer = cloud.raw(&chunked(&signed(&cloud, &app, &route, &subjects[0], b"{}"), chunks));
            assert!(answer.contains("\"code\":1109"), "{} {} {chunks:?}: {answer}", route.method, route.path);
        }
        let answer = cloud.raw(&chunked(&aliyun.signed(ALIYUN, b"{}"), chunks));
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Invalid Request Body"), "{chunks:?}: {answer}");
        let answer = cloud.raw(&chunked(&Request::new("POST", VISUAL), chunks));
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"success\":false"), "{chunks:?}: {answer}");
    }
}
