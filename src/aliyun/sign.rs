//! Signatures of the API gateway, in all the forms that real clients send (contract aliyun §1.2–1.5). Without I/O.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use percent_encoding::percent_decode;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Maximum number of names in `X-Ca-Signature-Headers`.
const SIGNED_HEADERS_MAX: usize = 32;
/// Maximum number of signed query and form parameters together.
const PAIRS_MAX: usize = 1000;
/// Headers that are signed separately or not at all.
const NOT_IN_BLOCK: [&str; 6] =
    ["x-ca-signature", "x-ca-signature-headers", "accept", "content-md5", "content-type", "date"];

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

impl SignedParts<'_> {
    fn header(&self, name: &str) -> &[u8] {
        self.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default()
    }

    /// The names of the signed headers, with the case and order of the list.
    fn listed_names(&self) -> impl Iterator<Item = &str> {
        let list = std::str::from_utf8(self.header("x-ca-signature-headers")).unwrap_or_default();
        let names = list.split([',', ':']).map(str::trim).filter(|name| !name.is_empty()).take(SIGNED_HEADERS_MAX);
        names.filter(|name| !NOT_IN_BLOCK.iter().any(|other| other.eq_ignore_ascii_case(name)))
    }

    /// Whether the signature covers a header that the list names.
    pub fn covers(&self, name: &str) -> bool {
        self.listed_names().any(|signed| signed.eq_ignore_ascii_case(name))
    }

    /// Whether `Content-MD5` is absent or matches the body.
    pub fn md5_matches(&self) -> bool {
        let given = self.header("content-md5");
        given.is_empty() || given == content_md5(self.body).as_bytes()
    }

    /// The string to sign. It contains only data that the caller sent.
    pub fn string_to_sign(&self) -> Vec<u8> {
        let mut string = Vec::with_capacity(512);
        for line in [
            self.method.as_bytes(),
            self.header("accept"),
            self.header("content-md5"),
            self.header("content-type"),
            self.header("date"),
        ] {
            string.extend_from_slice(line);
            string.push(b'\n');
        }
        // Sorted bytewise, because one client lists them in arbitrary order.
        let mut names: Vec<&str> = self.listed_names().collect();
        names.sort_unstable();
        for name in names {
            for piece in [name.as_bytes(), b":", self.header(name), b"\n"] {
                string.extend_from_slice(piece);
            }
        }
        self.resource(&mut string);
        string
    }

    /// The path with the decoded query and form parameters, sorted by name. Of a repeated name only the first is used.
    fn resource(&self, string: &mut Vec<u8>) {
        string.extend_from_slice(self.path.as_bytes());
        let mut pairs = Vec::new();
        decode_pairs(self.query.unwrap_or_default().as_bytes(), &mut pairs);
        let form = b"application/x-www-form-urlencoded";
        if self.header("content-type").get(..form.len()).is_some_and(|start| start.eq_ignore_ascii_case(form)) {
            decode_pairs(self.body, &mut pairs);
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        for (index, (name, value)) in pairs.iter().enumerate() {
            string.push(if index == 0 { b'?' } else { b'&' });
            string.extend_from_slice(name);
            if !value.is_empty() {
                string.push(b'=');
                string.extend_from_slice(value);
            }
        }
    }
}

fn decode_pairs(text: &[u8], pairs: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    let decode = |text: &[u8]| -> Vec<u8> {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_decode(&spaced).collect()
    };
    for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == PAIRS_MAX {
            return;
        }
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        pairs.push((decode(name), decode(value)));
    }
}

/// The hash function of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `HmacSHA256`, also if the request names none.
    Sha256,
    /// `HmacSHA1`.
    Sha1,
}

impl Method {
    /// The method that the request names.
    pub fn of(headers: &HeaderMap) -> Self {
        let named = headers.get("x-ca-signature-method");
        let is_sha1 = named.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"hmacsha1"));
        if is_sha1 { Self::Sha1 } else { Self::Sha256 }
    }
}

/// The signature with HMAC-SHA256, for a client.
pub fn sign(secret: &str, string: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    mac.map(|mac| STANDARD.encode(mac.chain_update(string).finalize().into_bytes())).unwrap_or_default()
}

/// The value of `Content-MD5` for a body.
pub fn content_md5(body: &[u8]) -> String {
    STANDARD.encode(Md5::digest(body))
}

/// Whether `signature` is valid for this secret and string to sign.
pub fn verify(secret: &str, method: Method, string: &[u8], signature: &str) -> bool {
    let Ok(given) = STANDARD.decode(signature) else { return false };
    let expected: Vec<u8> = match method {
        Method::Sha256 => match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
            Ok(mac) => mac.chain_update(string).finalize().into_bytes().to_vec(),
            Err(_) => return false,
        },
        Method::Sha1 => match Hmac::<Sha1>::new_from_slice(secret.as_bytes()) {
            Ok(mac) => mac.chain_update(string).finalize().into_bytes().to_vec(),
            Err(_) => return false,
        },
    };
    expected.ct_eq(&given).into()
}
