//! Certificates: the operator's, or one that the data folder's own CA signs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// The own CA's certificate in the data folder, for clients to trust.
pub const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
/// Days that the own certificate is valid; some clients refuse longer ones. It is made anew at every start.
const LEAF_DAYS: i64 = 800;

/// What can go wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the data folder could not be read or written.
    #[error("{0}: {1}")]
    File(String, #[source] std::io::Error),
    /// The own CA or its certificate could not be made.
    #[error("the own certificate: {0}")]
    Own(#[from] rcgen::Error),
    /// A PEM file of the operator does not hold what it should.
    #[error("{0}: {1}")]
    Pem(String, String),
    /// Certificate and key do not fit each other.
    #[error("tls: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A configuration with the operator's certificate.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn given(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let wrong =
        |path: &Path, error: &dyn std::fmt::Display| TlsError::Pem(path.display().to_string(), error.to_string());
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificates, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificates, &"no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    config(chain, key)
}

/// A configuration with a certificate for localhost and `names` from the folder's own CA, which is made first if
/// there is none.
///
/// # Errors
/// [`TlsError`].
pub fn own(folder: &Path, names: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
    let ca_key = ca_key(folder)?;
    let issuer = Issuer::new(ca_params()?, ca_key);
    let mut all_names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
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
    config(vec![certificate.der().clone()], key)
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn ca_params() -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "ingle local CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn ca_key(folder: &Path) -> Result<KeyPair, TlsError> {
    let (key_path, ca_path) = (folder.join(CA_KEY_FILE), folder.join(CA_FILE));
    let failed = |path: &Path| {
        let name = path.display().to_string();
        |error| TlsError::File(name, error)
    };
    if key_path.exists() && ca_path.exists() {
        return Ok(KeyPair::from_pem(&fs::read_to_string(&key_path).map_err(failed(&key_path))?)?);
    }
    let key = KeyPair::generate()?;
    let certificate = ca_params()?.self_signed(&key)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&key_path)
        .map_err(failed(&key_path))?;
    file.write_all(key.serialize_pem().as_bytes()).map_err(failed(&key_path))?;
    fs::write(&ca_path, certificate.pem()).map_err(failed(&ca_path))?;
    Ok(key)
}
