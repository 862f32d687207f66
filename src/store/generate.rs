//! Generates identifiers and secrets in the forms that the vendors use (contract tuya §1, §3; aliyun §4, §6).

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use crate::domain::{Error, Result};
use crate::{hex, random};

const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `n` random digits and lower-case letters.
///
/// # Errors
/// [`Error::Store`] when the operating system provides no random bytes. The same holds for all functions here.
pub fn letters(n: usize) -> Result<String> {
    let mut text = String::with_capacity(n);
    while text.len() < n {
        // Bytes from 252 (7 × 36) on would favour some letters.
        let fair = random::bytes::<32>()?.into_iter().filter(|byte| *byte < 252);
        text.extend(fair.take(n - text.len()).map(|byte| char::from(LETTERS[usize::from(byte % 36)])));
    }
    Ok(text)
}

/// `n` random decimal digits. The first is not 0.
pub fn digits(n: usize) -> Result<String> {
    let mut text = String::with_capacity(n);
    while text.len() < n {
        let fair =
            random::bytes::<16>()?.into_iter().filter(|byte| *byte < 250).map(|byte| char::from(b'0' + byte % 10));
        text.extend(fair.take(n - text.len()));
        if text.starts_with('0') {
            text.clear();
        }
    }
    Ok(text)
}

/// Tuya's Access ID, 20 characters.
pub fn client_id() -> Result<String> {
    letters(20)
}

/// A secret of 32 hex digits: Access Secret, AppSecret.
pub fn secret() -> Result<String> {
    Ok(hex::encode(random::bytes::<16>()?))
}

/// A secret of 16 characters, used as device secret, product secret and local key.
pub fn device_secret() -> Result<String> {
    letters(16)
}

/// Tuya's uid of a user.
pub fn uid(now_ms: i64) -> Result<String> {
    Ok(format!("az{now_ms:013}{}", letters(6)?))
}

/// Tuya's uid of a project.
pub fn admin_uid(now_ms: i64) -> Result<String> {
    Ok(format!("bay{now_ms:013}{}", letters(4)?))
}

/// Alibaba's identityId, 40 characters.
pub fn identity_id() -> Result<String> {
    Ok(format!("50{}op{}", letters(6)?, hex::encode(random::bytes::<15>()?)))
}

/// Alibaba's account number, 15 digits.
pub fn login_id() -> Result<String> {
    digits(15)
}

/// Alibaba's AppKey, 8 digits.
pub fn app_key() -> Result<String> {
    digits(8)
}

/// Alibaba's project id.
pub fn aliyun_project_id() -> Result<String> {
    Ok(format!("a1{}", letters(15)?))
}

/// Alibaba's productKey, 11 characters.
pub fn product_key() -> Result<String> {
    Ok(format!("a1{}", letters(9)?))
}

/// Tuya's product id, 16 characters.
pub fn product_id() -> Result<String> {
    letters(16)
}

/// A device id, the same in both cloud APIs, 20 characters.
pub fn device_id() -> Result<String> {
    Ok(format!("bf{}", letters(18)?))
}

/// Alibaba's iotId, 32 characters.
pub fn iot_id() -> Result<String> {
    Ok(format!("{}0010000000", letters(22)?))
}

/// A home's id, 8 digits.
pub fn home_id() -> Result<i64> {
    digits(8)?.parse().map_err(Error::store)
}

/// A key pair for visual tokens: key id, private key as PKCS#8, and public key as a point on P-256.
pub fn es256_key() -> Result<(String, Vec<u8>, Vec<u8>)> {
    let failed = |_| Error::store("no key could be generated");
    let source = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &source).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref(), &source);
    let public = pair.map_err(|_| Error::store("no key could be generated"))?.public_key().as_ref().to_vec();
    Ok((hex::encode(random::bytes::<8>()?), private.as_ref().to_vec(), public))
}
