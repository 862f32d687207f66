//! visualTokens: JWTs that each give access to one device (contract aliyun §7.3). Only ES256 is supported.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use utoipa::ToSchema;

use crate::domain::device::FactoryName;
use crate::domain::visual::{Access, VISUAL_TOKEN_LIFE, VisualKey};

const ISSUER: &str = "ingle";
const AUDIENCE: &str = "visual";
const TOKEN_BYTES_MAX: usize = 2048;

/// The claims of a token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// `productKey#deviceName`.
    sub: String,
    /// Seconds.
    iat: i64,
    /// Seconds.
    nbf: i64,
    /// Seconds.
    exp: i64,
    jti: String,
    /// The account.
    pub uid: String,
    /// The version of the grant of access.
    pub ver: String,
}

impl Claims {
    /// The device to which the token gives access.
    pub fn device(&self) -> Option<FactoryName> {
        let (product_key, device_name) = self.sub.split_once('#')?;
        Some(FactoryName { product_key: product_key.to_owned(), device_name: device_name.to_owned() })
    }
}

/// The name of the device, as the subject of the token.
fn subject(access: &Access) -> String {
    format!("{}#{}", access.device.product.key, access.device.device_name)
}

/// The lifetime of a token in seconds.
pub const LIFE_S: i64 = VISUAL_TOKEN_LIFE.0 / 1000;

/// Signs a token for an access. `jti` must be different for each.
///
/// # Errors
/// An invalid key.
pub fn issue(key: &VisualKey, access: &Access, jti: String, now_ms: i64) -> Result<String, JwtError> {
    use_ring();
    let iat = now_ms / 1000;
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: subject(access),
        iat,
        nbf: iat,
        exp: iat + LIFE_S,
        jti,
        uid: access.account.uid.0.clone(),
        ver: access.version.clone(),
    };
    let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&key.private))
}

/// Verifies the signature and times of a token and returns its claims. The caller must check that the grant is still
/// valid.
///
/// # Errors
/// What is wrong with the token, for the explanation.
pub fn check(keys: &[VisualKey], token: &str, now_ms: i64) -> Result<Claims, String> {
    use_ring();
    if token.len() > TOKEN_BYTES_MAX {
        return Err("the token is too long".to_owned());
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| format!("the token's header: {error}"))?;
    let key = keys.iter().find(|key| Some(&key.kid) == header.kid.as_ref());
    let key = key.ok_or("the token's key is not in /.well-known/jwks.json")?;
    // The algorithm comes from the key, not from the token. Times are checked below against the server's clock.
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    let decoded = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ec_der(&key.public), &validation);
    let claims = decoded.map_err(|error| format!("the token: {error}"))?.claims;
    if claims.exp.saturating_mul(1000) <= now_ms {
        return Err(format!("the token died at {}", claims.exp));
    }
    if claims.nbf.saturating_mul(1000) > now_ms {
        return Err(format!("the token is valid from {} on", claims.nbf));
    }
    Ok(claims)
}

/// The public half of a key as JWKS has it.
#[derive(Serialize, ToSchema)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
    x: String,
    y: String,
}

impl Jwk {
    /// The public key of a key pair; `None` if it is invalid.
    pub fn of(key: &VisualKey) -> Option<Self> {
        let (x, y) = key.public.strip_prefix(&[4])?.split_at_checked(32)?;
        let text = |half| URL_SAFE_NO_PAD.encode(half);
        Some(Self { kty: "EC", crv: "P-256", alg: "ES256", usage: "sig", kid: key.kid.clone(), x: text(x), y: text(y) })
    }
}

/// `jsonwebtoken` signs with ring, which TLS uses anyway; its own back ends would add RSA, Ed25519 and a second P-256.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_bytes(), &SystemRandom::new());
            Ok(Box::new(Es256Signer(pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::ES256 => Ok(Box::new(Es256Verifier(key.try_get_as_bytes()?.to_vec()))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn use_ring() {
    // Only the first call of the process installs it.
    let _ = RING.install_default();
}

struct Es256Signer(EcdsaKeyPair);

impl Signer<Vec<u8>> for Es256Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signed = self.0.sign(&SystemRandom::new(), message).map_err(|_| SignatureError::new())?;
        Ok(signed.as_ref().to_vec())
    }
}

impl JwtSigner for Es256Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

struct Es256Verifier(Vec<u8>);

impl Verifier<Vec<u8>> for Es256Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0);
        key.verify(message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Es256Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}
