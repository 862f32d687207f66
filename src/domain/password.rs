//! Passwords in the forms in which clients send them (contract tuya §1.7; decision 0009).

/// A password as a client sent it. No `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The clear text.
    Clear(String),
    /// The 32 hex digits of its MD5, in lower case.
    Md5(String),
    /// The 64 hex digits of its SHA-256, in lower case.
    Sha256(String),
}

impl Password {
    /// A password in the form in which the client sent it, which is recognized by its characters: the digits of a hash,
    /// otherwise clear text.
    pub fn sent(text: String) -> Self {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            32 if is_hex => Self::Md5(text.to_ascii_lowercase()),
            64 if is_hex => Self::Sha256(text.to_ascii_lowercase()),
            _ => Self::Clear(text),
        }
    }
}
