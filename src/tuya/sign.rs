//! The two signature rules, and all the forms of the second that real clients send (contract tuya §1.3, §1.8). Without
//! I/O: the server and `ingle explain` use the same code.

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::hex;

/// Maximum number of names in `Signature-Headers`.
const SIGNED_HEADERS_MAX: usize = 20;
/// A longer block of signed headers is cut, so its signature is invalid.
const BLOCK_BYTES_MAX: usize = 8 * 1024;
/// Maximum length of each part of a string to sign in an explanation.
const SHOWN_BYTES_MAX: usize = 1000;

/// The parts of a request that a signature can cover, as they were sent.
pub struct SignedParts<'a> {
    /// Upper case.
    pub method: &'a str,
    /// The path, not decoded.
    pub path: &'a str,
    /// The query, not decoded, without its `?`.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

/// The rules by which a request may be signed.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The old rule, which covers neither path nor body.
    pub old: bool,
    /// A token or login call, which is signed without an access token.
    pub without_token: bool,
}

/// The headers that carry a signature.
pub struct Claims<'a> {
    /// The project's Access ID.
    pub client_id: &'a str,
    /// The signature in hex digits.
    pub sign: &'a str,
    /// Milliseconds since 1970, as text.
    pub t: &'a str,
    /// Any text. It is part of the string to sign.
    pub nonce: &'a str,
    /// The access token, if any.
    pub access_token: &'a str,
}

/// Whether the signature is valid for this secret and these parts by any accepted rule.
pub fn verify(secret: &str, claims: &Claims<'_>, parts: &SignedParts<'_>, rules: Rules) -> bool {
    let Some(given) = hex::decode_array::<32>(claims.sign.as_bytes()) else { return false };
    let Ok(key) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    let with_token: &[&str] = match (rules.without_token, claims.access_token.is_empty()) {
        (true, true) => &[""],
        (true, false) => &["", claims.access_token],
        (false, _) => &[claims.access_token],
    };
    let matches = |pieces: &[&[u8]]| -> bool {
        let mut mac = key.clone();
        for piece in pieces {
            mac.update(piece);
        }
        let expected: [u8; 32] = mac.finalize().into_bytes().into();
        expected.ct_eq(&given).into()
    };
    for token in with_token {
        let start = [claims.client_id.as_bytes(), token.as_bytes(), claims.t.as_bytes()];
        if rules.old && matches(&start) {
            return true;
        }
        let start = [start[0], start[1], start[2], claims.nonce.as_bytes()];
        let new_rule = strings_to_sign(parts, |string| matches(&[start[0], start[1], start[2], start[3], string]));
        if new_rule {
            return true;
        }
    }
    false
}

/// Clients that use the vendor's first JavaScript module sign this parameter as `null`, first in the query, but do not
/// send it.
const NULL_SIGNED: (&str, &str) = ("/v1.0/iot-03/users/assets", "parent_asset_id");

/// Passes every accepted string to sign to `accept`, the documented one first, until one is accepted.
fn strings_to_sign(parts: &SignedParts<'_>, mut accept: impl FnMut(&[u8]) -> bool) -> bool {
    let block = header_block(parts.headers);
    if parts.query.is_none() && accept(&string_to_sign(parts.method, &body_hash(parts.body), &block, parts.path)) {
        return true;
    }
    // One connector sends the method in capitals but signs it as its caller wrote it.
    let in_small_letters = parts.method.to_ascii_lowercase();
    let mut blocks = vec![block.as_slice()];
    if let Some(short) = block.strip_suffix(b"\n") {
        // One connector omits the last line end of the signed headers.
        blocks.push(short);
    }
    let mut bodies = vec![body_hash(parts.body)];
    if parts.body == b"{}" {
        // One connector sends an empty object and signs an empty body.
        bodies.push(body_hash(b""));
    }
    for url in urls(parts.path, parts.query) {
        for body in &bodies {
            for block in &blocks {
                for method in [parts.method, &in_small_letters] {
                    if accept(&string_to_sign(method, body, block, &url)) {
                        return true;
                    }
                }
            }
        }
    }
    false
}

/// The documented string to sign, for an explanation. It contains only data that the caller sent.
pub fn shown_string_to_sign(parts: &SignedParts<'_>) -> String {
    let url = urls(parts.path, parts.query).swap_remove(0);
    let string = string_to_sign(parts.method, &body_hash(parts.body), &header_block(parts.headers), &url);
    let mut shown = String::from_utf8_lossy(&string).into_owned();
    if shown.len() > SHOWN_BYTES_MAX {
        let end = (0..=SHOWN_BYTES_MAX).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or_default();
        shown.truncate(end);
        shown.push_str("...");
    }
    shown
}

fn string_to_sign(method: &str, body: &str, block: &[u8], url: &str) -> Vec<u8> {
    [method.as_bytes(), b"\n", body.as_bytes(), b"\n", block, b"\n", url.as_bytes()].concat()
}

/// All forms in which clients sign path and query, without repetition, the documented one first.
fn urls(path: &str, query: Option<&str>) -> Vec<String> {
    let decoded_path = percent_decode_str(path).decode_utf8_lossy();
    let paths = if decoded_path == path { vec![path] } else { vec![path, &decoded_path] };
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return paths.into_iter().map(str::to_owned).collect();
    };
    let mut queries = Vec::new();
    for plus_is_space in [false, true] {
        if plus_is_space && !query.contains('+') {
            break;
        }
        let pairs = decoded_pairs(query, plus_is_space);
        let mut sorted = pairs.clone();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut first_of_each = sorted.clone();
        first_of_each.dedup_by(|later, earlier| later.0 == earlier.0);
        queries.extend([joined(&sorted), joined(&pairs), joined(&first_of_each)]);
    }
    queries.push(query.to_owned());
    if path == NULL_SIGNED.0 && !query.contains(NULL_SIGNED.1) {
        queries.push(format!("{}=null&{query}", NULL_SIGNED.1));
    }
    let mut urls = Vec::new();
    for (path, query) in paths.into_iter().flat_map(|path| queries.iter().map(move |query| (path, query))) {
        let url = format!("{path}?{query}");
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

fn decoded_pairs(query: &str, plus_is_space: bool) -> Vec<(String, Option<String>)> {
    let decode = |text: &str| {
        let spaced = if plus_is_space { text.replace('+', " ") } else { text.to_owned() };
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => (decode(name), Some(decode(value))),
        None => (decode(pair), None),
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

fn joined(pairs: &[(String, Option<String>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        if let Some(value) = value {
            let _ = write!(text, "={value}");
        }
    }
    text
}

/// `Name:Value\n` for each name in `Signature-Headers`, with the order and spelling of that list.
fn header_block(headers: &HeaderMap) -> Vec<u8> {
    let Some(names) = headers.get("signature-headers").and_then(|names| names.to_str().ok()) else {
        return Vec::new();
    };
    let mut block = Vec::new();
    for name in names.split(':').map(str::trim).filter(|name| !name.is_empty()).take(SIGNED_HEADERS_MAX) {
        let value = headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
        for piece in [name.as_bytes(), b":", value, b"\n"] {
            block.extend_from_slice(piece);
        }
        if block.len() > BLOCK_BYTES_MAX {
            break;
        }
    }
    block
}

fn body_hash(body: &[u8]) -> Cow<'static, str> {
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    if body.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    Cow::Owned(hex::encode(Sha256::digest(body)))
}

/// Signs a request by the new rule, for `ingle call`. The server only verifies.
pub fn sign(secret: &str, claims: &Claims<'_>, parts: &SignedParts<'_>) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    for piece in [claims.client_id, claims.access_token, claims.t, claims.nonce] {
        mac.update(piece.as_bytes());
    }
    let url = urls(parts.path, parts.query).swap_remove(0);
    mac.update(&string_to_sign(parts.method, &body_hash(parts.body), &header_block(parts.headers), &url));
    let mut text = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02X}");
    }
    Some(text)
}
