//! Signatures that the vendor published or that its clients produced (contract tuya §1.4), put on the wire as those
//! clients put them. Each must be accepted, and refused after any change.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::tuya::{Answer, Request, send};

const CLIENT_ID: &str = "1KAD46OrT9HafiKdsXeg";
const SECRET: &str = "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC";
const T_MS: i64 = 1_588_925_778_000;

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn cloud(legacy: bool) -> TestCloud {
    let cloud = TestCloud::at(T_MS);
    cloud.apply(&json!({"projects": [{"name": "vectors",
        "tuya": {"client_id": CLIENT_ID, "secret": SECRET, "legacy_sign": legacy}}]}));
    cloud
}

fn request(vector: &Value) -> Request {
    let text = |name: &str| vector[name].as_str().unwrap_or_default();
    let signed = if text("url_signed") == "(any)" { "/v1.0/devices/vdevo1" } else { text("url_signed") };
    let target = match vector["wire_query"].as_str() {
        Some(query) => format!("{}?{query}", signed.split('?').next().unwrap()),
        None => signed.to_owned(),
    };
    let mut headers: Vec<(String, String)> = vec![
        ("client_id".into(), CLIENT_ID.into()),
        ("t".into(), T_MS.to_string()),
        ("sign".into(), text("sign").into()),
    ];
    for name in ["access_token", "nonce"] {
        if let Some(value) = vector[name].as_str() {
            headers.push((name.into(), value.into()));
        }
    }
    let block: Vec<(&str, &str)> =
        text("signature_headers_block").lines().map(|line| line.split_once(':').unwrap()).collect();
    if !block.is_empty() {
        let names: Vec<&str> = block.iter().map(|(name, _)| *name).collect();
        headers.push(("Signature-Headers".into(), names.join(":")));
        headers.extend(block.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }
    Request { method: text("method").into(), target, headers, body: text("body").into() }
}

/// Past the signature a business call fails for its token, which is none of this server's.
fn signature_accepted(answer: &Answer) -> bool {
    !matches!(answer.code(), 1004 | 1005 | 1013)
}

#[test]
fn every_vector_is_accepted() {
    let cloud = cloud(true);
    let vectors = vectors();
    assert!(vectors.len() >= 20);
    for vector in vectors {
        let answer = send(cloud.api, &request(&vector));
        let name = vector["name"].as_str().unwrap();
        let login = name == "authorized-login" || name == "users-login";
        if login {
            // Past the signature there is no such app and no such account here.
            assert!(matches!(answer.code(), 1106 | 2401), "{name}: {answer:?}");
        } else {
            assert!(signature_accepted(&answer), "{name}: {answer:?}");
        }
        let served = vector["url_signed"].as_str().unwrap().contains("/commands");
        if !vector["access_token"].is_null() && !served {
            assert_eq!(answer.code(), 1010, "{name}: {answer:?}");
            assert_eq!(answer.body["msg"], "token invalid");
        }
    }
}

#[test]
fn the_old_rule_needs_the_projects_leave_for_business_calls() {
    let cloud = cloud(false);
    for vector in vectors().iter().filter(|vector| vector["scheme"] == "v1") {
        let answer = send(cloud.api, &request(vector));
        let token_call = vector["access_token"].is_null();
        assert_eq!(signature_accepted(&answer), token_call, "{vector}: {answer:?}");
    }
}

#[test]
fn any_change_is_refused() {
    let cloud = cloud(false);
    for vector in vectors().iter().filter(|vector| vector["scheme"] == "v2") {
        let good = request(vector);
        let unserved = ["commands", "login"].iter().any(|word| good.target.contains(word));
        if unserved {
            continue;
        }
        let mut changed = vec![
            Request { target: good.target.replacen(".0/", ".0/x/../", 1), ..good.clone() },
            Request {
                target: format!("{}{}x=1", good.target, if good.target.contains('?') { "&" } else { "?" }),
                ..good.clone()
            },
            Request { body: b"{\"a\":1}".to_vec(), ..good.clone() },
        ];
        for (index, (name, value)) in good.headers.iter().enumerate() {
            if matches!(name.as_str(), "sign" | "nonce" | "access_token") || name.ends_with("_id") {
                let mut bent = good.clone();
                let other = if value.starts_with('A') { "B" } else { "A" };
                bent.headers[index].1 = format!("{other}{}", &value[1..]);
                changed.push(bent);
            }
        }
        for request in changed {
            let answer = send(cloud.api, &request);
            assert!(matches!(answer.code(), 1004 | 1005 | 1108), "{request:?}: {answer:?}");
        }
    }
}
