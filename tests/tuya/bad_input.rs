//! What the worst caller sends. Each gets the vendor's code or a clean close; the server goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::openapi::routes;
use crate::support::TestCloud;
use crate::support::tuya::TuyaApp;
use crate::support::world::{GUEST, PLUG};

/// The server still answers, and nothing changed.
fn still_well(app: &TuyaApp) {
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["name"], "xxx测试");
}

#[test]
fn every_route_takes_any_text_in_any_parameter() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let nasty = [
        "",
        "%20",
        "0",
        "-1",
        "9223372036854775807",
        "99999999999999999999999",
        "1e9",
        "NaN",
        "null",
        "true",
        "[]",
        "%00",
        "%0d%0a",
        "%2e%2e%2f",
        "%F0%9F%98%80",
        "a%27%3B--",
        "%25n%25s",
        ",,,,",
        "%22",
        "x%7By%7D",
        &"9".repeat(300),
        &"x".repeat(5000),
    ];
    for route in routes("tuya") {
        for (index, parameter) in route.parameters.iter().enumerate() {
            for text in nasty {
                if parameter.in_path && text.is_empty() {
                    continue;
                }
                let mut target = route.path.clone();
                let mut pairs = Vec::new();
                for (other, parameter) in route.parameters.iter().enumerate() {
                    let value = if other == index { text } else { "1" };
                    if parameter.in_path {
                        target = target.replace(&format!("{{{}}}", parameter.name), value);
                    } else if parameter.required || other == index {
                        pairs.push(format!("{}={value}", parameter.name));
                    }
                }
                pairs.sort();
                if !pairs.is_empty() {
                    target = format!("{target}?{}", pairs.join("&"));
                }
                let token = if route.tag == "token" { String::new() } else { app.token() };
                let request = app.signed(&route.method, &target, b"", &token);
                let answer = app.send(&request);
                let known = [0, 1003, 1010, 1100, 1101, 1106, 1109, 2003, 2006, 2009, 2503];
                assert!(known.contains(&answer.code()), "{} {target}: {answer:?}", route.method);
                assert_eq!(answer.status, 200);
                if route.name == "get_token" {
                    app.forget_token();
                }
            }
        }
    }
    still_well(&app);
}

#[test]
fn every_body_takes_any_bytes() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let deep_array = "[".repeat(200_000);
    let deep_object = "{\"name\":".repeat(50_000);
    let bodies: &[&[u8]] = &[
        b"{",
        b"}",
        b"[]",
        b"null",
        b"1",
        b"\"\"",
        b"{\"name\"}",
        b"\xff\xfe\xfd",
        b"{\"name\":\"\xff\"}",
        b"\0",
        b"{\"name\":\"\\ud800\"}",
        b"{\"name\":1e999}",
        deep_array.as_bytes(),
        deep_object.as_bytes(),
        b"name=x",
        b"<xml/>",
        b"{\"name\":[[[[]]]]}",
    ];
    for route in routes("tuya").into_iter().filter(|route| route.has_body) {
        let target = route.path.replace("{device_id}", PLUG).replace("{function_code}", "switch_1");
        let target = target.replace("{schema}", "testApp").replace("{user_id}", "1");
        let target = target.replace("{home_id}", "10700001").replace("{uid}", GUEST);
        let token = if route.tag == "logins" { String::new() } else { app.token() };
        for body in bodies {
            let answer = app.send(&app.signed(&route.method, &target, body, &token));
            assert!(
                matches!(answer.code(), 1100 | 1109),
                "{target} {:?}: {answer:?}",
                String::from_utf8_lossy(&body[..body.len().min(20)])
            );
        }
    }
    still_well(&app);
}

#[test]
fn long_bodies_end_at_a_megabyte() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    let body = |bytes: usize| format!("{{\"name\":\"xxx测试\",\"x\":\"{}\"}}", "y".repeat(bytes));
    let fits = body(1024 * 1024 - 100);
    assert_eq!(app.send(&app.signed("PUT", &target, fits.as_bytes(), &app.token())).code(), 0);
    let long = body(1024 * 1024);
    assert_eq!(app.send(&app.signed("PUT", &target, long.as_bytes(), &app.token())).code(), 1101);
    still_well(&app);
}

#[test]
fn queries_and_heads_are_bounded() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let query = vec!["a=1"; 10_000].join("&");
    assert_eq!(app.call("GET", &format!("/v1.0/devices?{query}"), "").code(), 1101);
    let long = format!("/v1.0/devices?x={}", "y".repeat(50_000));
    assert_eq!(app.call("GET", &long, "").code(), 0);
    for head in [
        format!("GET /v1.0/devices?x={} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(20_000)),
        format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(200_000)),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        "GET  /  / HTTP/1.1\r\n\r\n".to_owned(),
        "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n".to_owned(),
        "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ] {
        let answer = cloud.raw(head.as_bytes());
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.contains("\"success\":false");
        assert!(refused, "{answer}");
    }
    still_well(&app);
}

#[test]
fn a_client_that_dawdles_is_closed_and_hinders_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("INGLE_TIMES_REQUEST_HEAD_MS", "200"), ("INGLE_TIMES_REQUEST_BODY_MS", "200")];
    let cloud = TestCloud::binary(&folder.path().join("data"), &settings);
    cloud.apply(&crate::support::world::standard());
    let app = cloud.first();
    // One that sends its head byte by byte for ever, and one that never sends the body it announced.
    let mut slow_head = TcpStream::connect(cloud.api).unwrap();
    let mut slow_body = TcpStream::connect(cloud.api).unwrap();
    let request = app.signed("PUT", &format!("/v1.0/devices/{PLUG}"), b"{\"name\":\"half\"}", &app.token());
    let head: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(slow_body, "PUT {} HTTP/1.1\r\nhost: x\r\n{head}content-length: 15\r\n\r\n{{\"name\"", request.target)
        .unwrap();
    let began = Instant::now();
    slow_head.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 1000];
    let closed = loop {
        assert!(began.elapsed() < Duration::from_secs(60), "the slow head was never closed");
        if slow_head.write_all(b"a").is_err() {
            break true;
        }
        match slow_head.read(&mut buffer) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                still_well(&app);
            }
            Err(_) => break true,
        }
    };
    assert!(closed);
    let mut answer = String::new();
    slow_body.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = slow_body.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("\"code\":1109"), "{answer}");
    still_well(&app);
}

#[test]
fn a_crowd_of_connections_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&folder.path().join("data"), &[("INGLE_API_CONNECTIONS_MAX", "8")]);
    cloud.apply(&crate::support::world::standard());
    let idle: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(cloud.api).unwrap()).collect();
    // Those that wait are served as soon as others go.
    drop(idle);
    still_well(&cloud.first());
}

#[test]
fn nothing_is_half_written_when_a_caller_hangs_up() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    for index in 0..50 {
        let body = json!({"name": format!("name {index}")}).to_string();
        let request = app.signed("PUT", &format!("/v1.0/devices/{PLUG}"), body.as_bytes(), &app.token());
        let head: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect(cloud.api).unwrap();
        write!(
            stream,
            "PUT {} HTTP/1.1\r\nhost: x\r\n{head}content-length: {}\r\n\r\n{body}",
            request.target,
            body.len()
        )
        .unwrap();
        drop(stream);
    }
    let name = app.get(&format!("/v1.0/devices/{PLUG}"))["result"]["name"].as_str().unwrap().to_owned();
    assert!(name == "xxx测试" || name.starts_with("name "), "{name}");
}
