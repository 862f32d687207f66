//! What real clients send that the documents do not say (contract tuya §1.1, §1.8): one test a habit.

use serde_json::json;

use crate::support::TestCloud;
use crate::support::tuya::{Request, TuyaApp, hex, hmac_upper};
use crate::support::world::{FIRST_ID, GATEWAY, PLUG, SCALE};

/// A request of which the signed string and the wire differ.
#[derive(Clone, Copy)]
struct Habit<'a> {
    method: &'a str,
    /// On the wire.
    target: &'a str,
    /// The method in the signed string; that of the wire when it is empty.
    signed_method: &'a str,
    /// In the signed string.
    url: &'a str,
    /// On the wire.
    body: &'a str,
    /// In the signed string.
    signed_body: &'a str,
    /// `Signature-Headers`, further headers and the block in the signed string.
    headers: &'a [(&'a str, &'a str)],
    block: &'a str,
}

const PLAIN: Habit<'_> =
    Habit { method: "GET", signed_method: "", target: "", url: "", body: "", signed_body: "", headers: &[], block: "" };

fn send(app: &TuyaApp, habit: &Habit<'_>) -> i64 {
    use sha2::{Digest, Sha256};
    let t = app.t.map_or_else(now, |t| t.to_string());
    let token = app.token();
    let method = if habit.signed_method.is_empty() { habit.method } else { habit.signed_method };
    let string = format!("{}\n{}\n{}\n{}", method, hex(&Sha256::digest(habit.signed_body)), habit.block, habit.url);
    let sign = hmac_upper(&app.secret, &format!("{FIRST_ID}{token}{t}{string}"));
    let mut headers =
        vec![("client_id", FIRST_ID), ("t", &t), ("sign", &sign), ("access_token", &token), ("mode", "cors")];
    headers.extend_from_slice(habit.headers);
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    app.send(&Request { method: habit.method.into(), target: habit.target.into(), headers, body: habit.body.into() })
        .code()
}

fn now() -> String {
    ingle::domain::Clock::now_ms(&ingle::app::SystemClock).to_string()
}

#[test]
fn queries() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let list = format!("{PLUG},{SCALE}");
    let encoded = format!("{PLUG}%2C{SCALE}");
    for (wire, url) in [
        // Sorted and decoded for the signature, unsorted and encoded on the wire.
        (format!("page_size=5&page_no=1&device_ids={encoded}"), format!("device_ids={list}&page_no=1&page_size=5")),
        // Neither sorted nor encoded anywhere.
        (format!("page_size=5&device_ids={list}"), format!("page_size=5&device_ids={list}")),
        // Encoded in both.
        (format!("page_size=5&device_ids={encoded}"), format!("page_size=5&device_ids={encoded}")),
        // Only the first of a repeated name.
        (format!("device_ids={PLUG}&device_ids={SCALE}"), format!("device_ids={PLUG}")),
        // Arrays as one connector writes them.
        (format!("device_ids[0]={PLUG}&device_ids[1]={SCALE}"), format!("device_ids[0]={PLUG}&device_ids[1]={SCALE}")),
        // A null that was signed literally.
        (format!("device_ids={PLUG}&last_id="), format!("device_ids={PLUG}&last_id=")),
        // A space as a plus on the wire.
        ("page_size=5&start_time=+1".to_owned(), "page_size=5&start_time= 1".to_owned()),
        // A plus that is one.
        ("page_size=5&x=a+b".to_owned(), "page_size=5&x=a+b".to_owned()),
    ] {
        let (target, url) = (format!("/v1.0/devices?{wire}"), format!("/v1.0/devices?{url}"));
        assert_eq!(send(&app, &Habit { target: &target, url: &url, ..PLAIN }), 0, "{wire}");
    }
    let target = format!("/v1.0/devices?device_ids={PLUG}&page_size=5");
    assert_eq!(send(&app, &Habit { target: &target, url: "/v1.0/devices?page_size=5", ..PLAIN }), 1004);
    // A null that was signed and not sent, in the one place where a client does that.
    let path = "/v1.0/iot-03/users/assets";
    let (target, url) =
        (format!("{path}?page_no=0&page_size=9"), format!("{path}?parent_asset_id=null&page_no=0&page_size=9"));
    assert_eq!(send(&app, &Habit { target: &target, url: &url, ..PLAIN }), 0);
    let url = format!("{path}?other=null&page_no=0&page_size=9");
    assert_eq!(send(&app, &Habit { target: &target, url: &url, ..PLAIN }), 1004);
}

/// One connector sends the method in capitals, and signs it as its caller wrote it.
#[test]
fn methods_in_small_letters() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    let list = format!("/v1.0/devices?page_size=5&device_ids={PLUG}");
    for (method, target, body) in [
        ("GET", &target, ""),
        ("GET", &list, ""),
        ("PUT", &target, r#"{"name":"small"}"#),
        ("POST", &format!("{target}/reset-factory"), "{}"),
        ("DELETE", &target, ""),
    ] {
        let small = method.to_lowercase();
        let habit = Habit { method, signed_method: &small, target, url: target, body, signed_body: body, ..PLAIN };
        let code = if method == "DELETE" { 1106 } else { 0 };
        assert_eq!(send(&app, &habit), code, "{method} {target}");
        // Another method is another request, in whatever letters.
        for other in ["patch", "Get", "gET", "get ", "put\n", "delete0"] {
            assert_eq!(send(&app, &Habit { signed_method: other, ..habit }), 1004, "{other} {target}");
        }
    }
}

#[test]
fn trailing_slashes() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/?device_ids={PLUG}");
    assert_eq!(send(&app, &Habit { target: &target, url: &target, ..PLAIN }), 0);
    let target = format!("/v1.0/devices/{GATEWAY}/sub-devices/");
    assert_eq!(send(&app, &Habit { target: &target, url: &target, ..PLAIN }), 0);
    let token = app.send(&app.signed("GET", "/v1.0/token/?grant_type=1", b"", ""));
    assert_eq!(token.code(), 0, "{token:?}");
}

#[test]
fn bodies_where_none_belongs() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    // One connector sends `{}` with every call and signs it.
    let read = Habit { target: &target, url: &target, body: "{}", signed_body: "{}", ..PLAIN };
    assert_eq!(send(&app, &read), 0);
    // Another sends `{}` and signs nothing.
    let reset = format!("/v1.0/devices/{SCALE}/reset-factory");
    assert_eq!(send(&app, &Habit { method: "PUT", target: &reset, url: &reset, body: "{}", ..PLAIN }), 0);
    assert_eq!(send(&app, &Habit { method: "DELETE", body: "{}", signed_body: "{}", ..read }), 0);
}

#[test]
fn signed_headers_with_and_without_the_last_line_end() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    let plain = Habit { target: &target, url: &target, ..PLAIN };
    let headers: &[_] = &[("Signature-Headers", "area_id:call_id"), ("area_id", "29a3"), ("call_id", "8afd")];
    for block in ["area_id:29a3\ncall_id:8afd\n", "area_id:29a3\ncall_id:8afd"] {
        assert_eq!(send(&app, &Habit { headers, block, ..plain }), 0, "{block:?}");
    }
    // Spelling and order are the list's; an empty list is none.
    let headers: &[_] = &[("Signature-Headers", "Content-type"), ("content-type", "application/json")];
    assert_eq!(send(&app, &Habit { headers, block: "Content-type:application/json\n", ..plain }), 0);
    assert_eq!(send(&app, &Habit { headers: &[("Signature-Headers", "")], ..plain }), 0);
    // A header that the list names and the request changed.
    let headers: &[_] = &[("Signature-Headers", "area_id"), ("area_id", "other")];
    assert_eq!(send(&app, &Habit { headers, block: "area_id:29a3\n", ..plain }), 1004);
}

#[test]
fn bodies_without_a_content_type_and_with_escapes() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let target = format!("/v1.0/devices/{PLUG}");
    for body in [r#"{"name": "\u5ba2\u5385\u706f"}"#, r#"{"name":"客厅灯"}"#, " {\n\"name\" : \"客厅灯\" } "] {
        let habit = Habit { method: "PUT", target: &target, url: &target, body, signed_body: body, ..PLAIN };
        assert_eq!(send(&app, &habit), 0, "{body}");
        assert_eq!(app.get(&target)["result"]["name"], "客厅灯");
    }
}

#[test]
fn a_stale_token_on_a_token_call() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    app.token();
    // Signed with the stale token, and without it though it is sent.
    let with = app.signed("GET", "/v1.0/token?grant_type=1", b"", "0123456789abcdef0123456789abcdef");
    assert_eq!(app.send(&with).code(), 0);
    let mut without = app.signed("GET", "/v1.0/token?grant_type=1", b"", "");
    without.headers.push(("access_token".into(), "0123456789abcdef0123456789abcdef".into()));
    assert_eq!(app.send(&without).code(), 0);
    // The old rule, which one connector refreshes with, on a project that has no `legacy_sign`.
    let t = now();
    let headers = [("client_id", FIRST_ID), ("t", &t), ("sign", &hmac_upper(&app.secret, &format!("{FIRST_ID}{t}")))];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let old = Request { method: "GET".into(), target: "/v1.0/token?grant_type=1".into(), headers, body: Vec::new() };
    assert_eq!(app.send(&old).code(), 0);
}

#[test]
fn chunked_bodies_and_lower_case_signatures() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let body = r#"{"name":"chunked"}"#;
    let mut request = app.signed("PUT", &format!("/v1.0/devices/{PLUG}"), body.as_bytes(), &app.token());
    for (name, value) in &mut request.headers {
        if name == "sign" {
            *value = value.to_lowercase();
        }
    }
    request.headers.push(("transfer-encoding".into(), "chunked".into()));
    let head: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (first, second) = body.split_at(5);
    let answer = cloud.raw(
        format!(
            "PUT {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            request.target,
            first.len(),
            second.len()
        )
        .as_bytes(),
    );
    assert!(answer.contains("\"success\":true"), "{answer}");
    assert_eq!(app.get(&request.target)["result"]["name"], json!("chunked"));
}
