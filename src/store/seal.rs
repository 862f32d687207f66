//! Encryption and hashing of secrets, with the key that is stored beside the data.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::domain::{Error, Result};
use crate::durable_file::{self, SECRET_MODE};
use crate::random;

/// The file of the key in the data folder.
pub const KEY_FILE: &str = "secret.key";
const NONCE_BYTES: usize = 12;
/// Random bytes from which, together with the key, a pair of tokens is derived.
pub type TokenSeed = [u8; 16];

/// Encrypts secrets and derives tokens with the key of one data folder.
pub struct Seal {
    cipher: Aes256Gcm,
    token_key: [u8; 32],
}

impl Seal {
    /// Reads the key of a data folder. `create` says that nothing has been encrypted yet: a missing key is then
    /// created, readable only by its owner, and a damaged one is set aside and replaced.
    ///
    /// # Errors
    /// [`Error::Refused`] when the key is missing or damaged, with what to do; [`Error::Store`]. Both name the file.
    pub fn open(folder: &Path, create: bool) -> Result<Self> {
        let path = folder.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(key) => match <[u8; 32]>::try_from(key) {
                Ok(key) => key,
                Err(_) if create => {
                    let aside = durable_file::set_aside(&path).map_err(Error::store)?;
                    let (file, aside) = (path.display(), aside.display());
                    tracing::error!(%file, %aside, "the key is damaged; nothing was encrypted with it, so a new one is created");
                    create_key(&path)?
                }
                Err(_) => {
                    return Err(Error::Refused(format!("{} is damaged: restore it from a backup", path.display())));
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound && create => create_key(&path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = format!(
                    "{} is missing: without it the secrets in the data cannot be decrypted; restore it",
                    path.display()
                );
                return Err(Error::Refused(text));
            }
            Err(error) => return Err(Error::store(format!("{}: {error}", path.display()))),
        };
        Self::from_key(&key)
    }

    fn from_key(key: &[u8; 32]) -> Result<Self> {
        let cipher = Aes256Gcm::new_from_slice(&derive(key, b"at rest")?).map_err(Error::store)?;
        Ok(Self { cipher, token_key: derive(key, b"token")? })
    }

    /// Encrypts `text` with AES-GCM. `aad` is the additional authenticated data: it names the column and the row that
    /// will store the result, which can be decrypted only with the same `aad`.
    ///
    /// # Errors
    /// [`Error::Store`] when the operating system provides no random bytes.
    pub fn seal(&self, text: &str, aad: &str) -> Result<Vec<u8>> {
        let nonce = random::bytes::<NONCE_BYTES>()?;
        let payload = Payload { msg: text.as_bytes(), aad: aad.as_bytes() };
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| Error::store("encryption"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts the result of [`Seal::seal`] for the same `aad`.
    ///
    /// # Errors
    /// [`Error::Store`] for anything else.
    pub fn unseal(&self, blob: &[u8], aad: &str) -> Result<String> {
        let damaged = || Error::store(format!("{aad} cannot be decrypted with {KEY_FILE}"));
        let (nonce, sealed) = blob.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| damaged())?;
        let payload = Payload { msg: sealed, aad: aad.as_bytes() };
        let text = self.cipher.decrypt(&Nonce::from(nonce), payload).map_err(|_| damaged())?;
        String::from_utf8(text).map_err(|_| damaged())
    }

    /// The access token and the refresh token of a seed. The same seed gives the same tokens, so they are not stored.
    ///
    /// # Errors
    /// [`Error::Store`], never in practice.
    pub fn tokens(&self, seed: &TokenSeed) -> Result<(String, String)> {
        let token = |label: &[u8]| -> Result<String> {
            let mac = mac(&self.token_key, &[label, seed])?;
            Ok(crate::hex::encode(&mac[..16]))
        };
        Ok((token(b"access")?, token(b"refresh")?))
    }
}

/// The hash of a token, which is stored instead of it. Tokens have 128 random bits, so a fast hash is sufficient.
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::store(error.to_string())
    }
}

fn create_key(path: &Path) -> Result<[u8; 32]> {
    let key = random::bytes::<32>()?;
    durable_file::write(path, &key, SECRET_MODE).map_err(Error::store)?;
    Ok(key)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::store)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

fn derive(key: &[u8; 32], purpose: &[u8]) -> Result<[u8; 32]> {
    mac(key, &[b"ingle ", purpose])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_can_be_decrypted_only_with_its_aad() -> Result<()> {
        let seal = Seal::from_key(&[7; 32])?;
        let blob = seal.seal("local key", "device.local_key:a")?;
        assert_eq!(seal.unseal(&blob, "device.local_key:a")?, "local key");
        assert!(seal.unseal(&blob, "device.local_key:b").is_err());
        assert!(Seal::from_key(&[8; 32])?.unseal(&blob, "device.local_key:a").is_err());
        assert!(seal.unseal(&blob[..5], "device.local_key:a").is_err());
        assert_ne!(blob, seal.seal("local key", "device.local_key:a")?);
        Ok(())
    }

    #[test]
    fn a_seed_gives_the_same_two_tokens_again() -> Result<()> {
        let seal = Seal::from_key(&[7; 32])?;
        let (access, refresh) = seal.tokens(&[1; 16])?;
        assert_eq!(seal.tokens(&[1; 16])?, (access.clone(), refresh.clone()));
        assert_ne!(access, refresh);
        assert!(access.len() == 32 && access.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(seal.tokens(&[2; 16])?.0, access);
        Ok(())
    }
}
