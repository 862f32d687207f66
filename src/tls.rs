//! TLS certificates: the operator's, or one that is signed by the data folder's own certificate authority (CA).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use time::{Date, Duration, Month, OffsetDateTime, Time};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::durable_file::{self, FileError, PUBLIC_MODE, SECRET_MODE};

/// The certificate of the own CA in the data folder, which clients have to trust.
pub const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
/// Days for which the certificate of the own CA is valid; some clients reject longer ones. It is issued again at every
/// start.
const LEAF_DAYS: i64 = 800;

/// The ALPN name of the protocol of an HTTP listener.
pub const HTTP: &[u8] = b"http/1.1";
/// The ALPN name of the protocol of an MQTT listener. Clients that offer no ALPN name are accepted as well.
pub const MQTT: &[u8] = b"mqtt";

/// Errors of certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the data folder could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The own CA or its certificate could not be created.
    #[error("the own certificate: {0}")]
    Own(#[from] rcgen::Error),
    /// A PEM file of the operator does not contain what it must.
    #[error("{0}: {1}")]
    Pem(String, String),
    /// The certificate and the key do not match.
    #[error("tls: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A TLS configuration.
pub struct Certificate {
    /// The configuration.
    pub config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since 1970, if that can be read.
    pub expires_s: Option<i64>,
}

/// A TLS configuration with the operator's certificate, for one ALPN protocol.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn from_files(certificates: &Path, key: &Path, protocol: &[u8]) -> Result<Certificate, TlsError> {
    let wrong =
        |path: &Path, error: &dyn std::fmt::Display| TlsError::Pem(path.display().to_string(), error.to_string());
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificates, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificates, &"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    config(chain, key, protocol)
}

/// A TLS configuration, for one ALPN protocol, with a certificate from the folder's own CA for localhost, this
/// machine's host name and `names`. The CA is created if it does not exist. If its certificate is damaged, it is
/// created again from its key; if its key is damaged, the key is set aside and a new CA is created. Both are logged.
///
/// # Errors
/// [`TlsError`].
pub fn from_own_ca(folder: &Path, names: &[String], protocol: &[u8]) -> Result<Certificate, TlsError> {
    let ca_key = ca_key(folder)?;
    let issuer = Issuer::new(ca_params()?, ca_key);
    let mut all_names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    all_names.extend(host_name());
    all_names.extend_from_slice(names);
    let mut params = CertificateParams::new(all_names)?;
    params.distinguished_name.push(DnType::CommonName, "ingle");
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = params.not_before + Duration::days(LEAF_DAYS);
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| TlsError::Pem("own key".to_owned(), error.to_owned()))?;
    config(vec![certificate.der().clone()], key, protocol)
}

/// The host name of this machine, if it can be put into a certificate. Some devices verify only names and no addresses.
fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_ascii_lowercase();
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(is_plain) && !label.starts_with('-')
    };
    (name.len() <= 253 && name != "localhost" && name.split('.').all(is_label)).then_some(name)
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    protocol: &[u8],
) -> Result<Certificate, TlsError> {
    let expires_s = chain.first().and_then(|certificate| not_after(certificate)).map(OffsetDateTime::unix_timestamp);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Certificate { config: Arc::new(config), expires_s })
}

fn ca_params() -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "ingle local CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// The key of the folder's own CA. When this returns, its certificate is in the folder too. The key is written first,
/// because the certificate can be created again from it.
fn ca_key(folder: &Path) -> Result<KeyPair, TlsError> {
    let (key_path, ca_path) = (folder.join(CA_KEY_FILE), folder.join(CA_FILE));
    let (key_file, ca_file) = (key_path.display(), ca_path.display());
    let stored = read(&key_path)?;
    let certificate = read(&ca_path)?;
    let readable = stored.as_deref().and_then(|text| KeyPair::from_pem(std::str::from_utf8(text).ok()?).ok());
    let Some(key) = readable else {
        if stored.is_some() {
            let aside = durable_file::set_aside(&key_path)?;
            let aside = aside.display();
            tracing::error!(file = %key_file, %aside, "the CA's key is damaged and was set aside");
        }
        let key = KeyPair::generate()?;
        durable_file::write(&key_path, key.serialize_pem().as_bytes(), SECRET_MODE)?;
        durable_file::write(&ca_path, ca_params()?.self_signed(&key)?.pem().as_bytes(), PUBLIC_MODE)?;
        if stored.is_some() || certificate.is_some() {
            tracing::error!(
                file = %key_file,
                "there was no usable key of the CA, so a new CA was created: clients must trust the new {ca_file}"
            );
        }
        return Ok(key);
    };
    if !certificate.as_deref().is_some_and(|pem| is_certificate_of(pem, &key)) {
        if certificate.is_some() {
            let aside = durable_file::set_aside(&ca_path)?;
            tracing::warn!(file = %ca_file, aside = %aside.display(), "the CA's certificate is damaged and was set aside");
        }
        durable_file::write(&ca_path, ca_params()?.self_signed(&key)?.pem().as_bytes(), PUBLIC_MODE)?;
        tracing::warn!(file = %ca_file, "the CA's certificate was created again from {key_file}");
    }
    Ok(key)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(FileError { path: path.to_owned(), cause }.into()),
    }
}

/// The DER encoding of the algorithm identifier ecdsa-with-SHA256.
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];

/// Whether the PEM text is a complete certificate that is signed with the key.
fn is_certificate_of(pem: &[u8], key: &KeyPair) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(pem) else { return false };
    let verified = (|| {
        let (whole, after) = der_element(&certificate)?;
        let (signed, rest) = der_element(whole.content)?;
        let (algorithm, rest) = der_element(rest)?;
        let (signature, end) = der_element(rest)?;
        // A DER bit string begins with the number of unused bits.
        let (0, signature) = signature.content.split_first().map(|(unused, bits)| (*unused, bits))? else {
            return None;
        };
        let is_whole = after.is_empty() && end.is_empty() && algorithm.all == ECDSA_WITH_SHA256;
        let public_key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key_raw());
        (is_whole && public_key.verify(signed.all, signature).is_ok()).then_some(())
    })();
    verified.is_some()
}

/// When the first certificate of a PEM file expires: as text, and in milliseconds since 1970.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn expiry(path: &Path) -> Result<(String, i64), TlsError> {
    let wrong = |error: &dyn std::fmt::Display| TlsError::Pem(path.display().to_string(), error.to_string());
    let certificate = CertificateDer::from_pem_file(path).map_err(|error| wrong(&error))?;
    let end = not_after(&certificate).ok_or_else(|| wrong(&"no certificate in it"))?;
    let text = end.date().to_string();
    Ok((text, i64::try_from(end.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)))
}

/// The end of the validity of a certificate (RFC 5280, 4.1.2.5).
fn not_after(certificate: &[u8]) -> Option<OffsetDateTime> {
    const VERSION_TAG: u8 = 0xA0;
    const UTC_TIME_TAG: u8 = 0x17;
    let (whole, _) = der_element(certificate)?;
    let (signed, _) = der_element(whole.content)?;
    // Version (optional), serial number, algorithm, issuer, validity.
    let skipped = if signed.content.first() == Some(&VERSION_TAG) { 4 } else { 3 };
    let mut rest = signed.content;
    for _ in 0..skipped {
        rest = der_element(rest)?.1;
    }
    let (validity, _) = der_element(rest)?;
    let (_, rest) = der_element(validity.content)?;
    let (end, _) = der_element(rest)?;
    let digits = std::str::from_utf8(end.content).ok()?.strip_suffix('Z')?;
    let digits = match end.all.first()? {
        // A year of two digits is from 1950 to 2049.
        &UTC_TIME_TAG => format!("{}{digits}", if digits.get(..2)? < "50" { "20" } else { "19" }),
        _ => digits.to_owned(),
    };
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u8>().ok();
    let month = Month::try_from(part(4, 6)?).ok()?;
    let date = Date::from_calendar_date(digits.get(..4)?.parse().ok()?, month, part(6, 8)?).ok()?;
    let time = Time::from_hms(part(8, 10)?, part(10, 12)?, part(12, 14)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

/// A DER element: all its bytes, and those after its tag and length.
struct Element<'a> {
    all: &'a [u8],
    content: &'a [u8],
}

/// The first DER element, and the bytes after it.
fn der_element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (head, length) = match *bytes.get(1)? {
        short @ 0..=0x7F => (2, usize::from(short)),
        0x81 => (3, usize::from(*bytes.get(2)?)),
        0x82 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        _ => return None,
    };
    let (all, rest) = bytes.split_at_checked(head + length)?;
    Some((Element { all, content: all.get(head..)? }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_of_a_certificate_is_read_in_both_forms() {
        let expiry = |end: OffsetDateTime| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.not_after = end;
            not_after(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
        };
        for seconds in [4_102_444_799, 1_700_000_000, 2_524_607_999, 2_524_608_000, 253_402_300_799] {
            let end = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            assert_eq!(expiry(end), Some(end));
        }
        assert_eq!(not_after(b"no certificate"), None);
    }
}
