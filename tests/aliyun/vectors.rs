//! Signatures that the vendor's own clients produced (contract aliyun §1.6). Each must be accepted, and refused after
//! any change; those of paths that exist also on the wire.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ingle::aliyun::sign::{Method, SignedParts, verify};
use serde_json::Value;

use crate::support::TestCloud;
use crate::support::http::{Request, send};
use crate::support::world::FIRST_APP_SECRET;

/// When the vectors were made.
pub const THEN_MS: i64 = 1_530_262_800_000;

#[derive(Clone)]
struct Vector {
    name: String,
    request: Request,
    signature: String,
}

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let vector = |vector: &Value| {
        let mut request = Request::new(vector["method"].as_str().unwrap(), vector["target"].as_str().unwrap());
        request.body = text(&vector["body"]).into_bytes();
        for header in vector["headers"].as_array().unwrap() {
            request = request.with(header[0].as_str().unwrap(), header[1].as_str().unwrap());
        }
        Vector { name: text(&vector["name"]), request, signature: text(&vector["signature"]) }
    };
    let vectors: Vec<Vector> = vectors.iter().map(vector).collect();
    assert_eq!(vectors.len(), 14);
    vectors
}

fn is_accepted(request: &Request, signature: &str, secret: &str) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::try_from(name.as_str()).unwrap();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target.as_str(), None),
    };
    let parts = SignedParts { method: &request.method, path, query, headers: &headers, body: &request.body };
    parts.md5_matches() && verify(secret, Method::of(&headers), &parts.string_to_sign(), signature)
}

#[test]
fn every_vector_is_accepted() {
    for Vector { name, request, signature } in vectors() {
        assert!(is_accepted(&request, &signature, FIRST_APP_SECRET), "{name}");
    }
}

#[test]
fn a_vector_with_one_changed_byte_is_refused() {
    for Vector { name, request, signature } in vectors() {
        let refused = |request: &Request, what: &str| {
            assert!(!is_accepted(request, &signature, FIRST_APP_SECRET), "{name}: {what}");
        };
        assert!(!is_accepted(&request, &signature, "0123456789abcdef0123456789abcdee"), "{name}: the secret");
        refused(&Request { method: "PATCH".to_owned(), ..request.clone() }, "the method");
        let target = request.target.clone();
        refused(&Request { target: format!("/x{target}"), ..request.clone() }, "the path");
        let more = if target.contains('?') { "&zz=1" } else { "?zz=1" };
        refused(&Request { target: format!("{target}{more}"), ..request.clone() }, "a parameter more");
        let names = request.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case("x-ca-signature-headers"));
        let names: Vec<&str> = names.unwrap().1.split(',').collect();
        for name in names.iter().chain(&["accept", "content-type"]) {
            let Some((_, value)) = request.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)) else {
                continue;
            };
            refused(&request.clone().with(name, &format!("{value}0")), name);
            refused(&request.clone().without(name), name);
        }
        // A body without Content-MD5 that is no form is the vendor's own hole.
        let is_covered = !request.method.eq("PUT") && !request.body.is_empty();
        if is_covered {
            for at in 0..request.body.len() {
                let mut changed = request.clone();
                changed.body[at] ^= 1;
                refused(&changed, &format!("byte {at} of the body"));
            }
        }
        for at in 0..signature.len() - 1 {
            let mut bytes = signature.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(!is_accepted(&request, std::str::from_utf8(&bytes).unwrap(), FIRST_APP_SECRET), "{name}: {at}");
        }
        assert!(!is_accepted(&request, "", FIRST_APP_SECRET));
    }
}

#[test]
fn header_lists_in_every_form() {
    let java = vectors().into_iter().find(|vector| vector.name.starts_with("V7 Java")).unwrap();
    for list in [
        "x-ca-nonce:x-ca-timestamp:x-ca-key:x-ca-signature-method",
        " x-ca-key , x-ca-nonce,,x-ca-signature-method,x-ca-timestamp ",
        "x-ca-key,x-ca-nonce,x-ca-signature-method,x-ca-timestamp,x-ca-signature,Accept,date,X-Ca-Signature-Headers",
    ] {
        let request = java.request.clone().with("x-ca-signature-headers", list);
        assert!(is_accepted(&request, &java.signature, FIRST_APP_SECRET), "{list}");
    }
    let shorter = java.request.with("x-ca-signature-headers", "x-ca-key");
    assert!(!is_accepted(&shorter, &java.signature, FIRST_APP_SECRET));
}

#[test]
fn vectors_on_the_wire() {
    let mut seen = 0;
    for Vector { name, request, signature } in vectors() {
        if !request.target.starts_with("/cloud") {
            continue;
        }
        // A cloud each: all have one nonce.
        let cloud = TestCloud::at(THEN_MS);
        let answer = send(cloud.api, &request.with("X-Ca-Signature", &signature));
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        seen += 1;
    }
    assert_eq!(seen, 11);
}
