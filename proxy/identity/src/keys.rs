//! An issuer's published keys (RFC 7517), and which of them may check which signature.

use crate::rejection::{Kind, Rejection};
use jsonwebtoken::{
    Algorithm, DecodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::str::FromStr;

/// Identifies one key, by what it is and not by what it is called.
pub(crate) type Thumbprint = [u8; 32];

/// The keys of one issuer.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    /// The one algorithm that the issuer says it is for, if it says so.
    algorithm: Option<Algorithm>,
    shape: Shape,
    key: DecodingKey,
    thumbprint: Thumbprint,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("shape", &self.shape).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// What became of a search for the key that made a signature.
#[derive(Debug)]
pub(crate) enum Checked {
    /// This key made it.
    By(Thumbprint),
    /// No key of the set could have: a newer set may hold it.
    NoSuchKey,
}

impl KeySet {
    /// Reads a published key set. Keys that are of no use here (other types, for encryption, too short) are skipped.
    ///
    /// # Errors
    /// In words, if it is not a key set or none of its keys can be used.
    pub(crate) fn read(document: &Value) -> Result<Self, String> {
        let published = document.get("keys").and_then(Value::as_array).ok_or("it is not a key set")?;
        if published.len() > MAX_KEYS {
            return Err(format!("it has more than {MAX_KEYS} keys"));
        }
        let keys: Vec<Key> = published.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("none of its keys can check a signature".to_owned());
        }
        Ok(Self { keys })
    }

    /// A set of the one Ed25519 public key.
    pub(crate) fn of_ed25519(id: &str, public: &[u8]) -> Result<Self, String> {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(public)).map_err(|e| e.to_string())?;
        let thumbprint = thumbprint(&[public]);
        let key = Key { id: Some(id.to_owned()), algorithm: None, shape: Shape::Ed25519, key, thumbprint };
        Ok(Self { keys: vec![key] })
    }

    /// Whether the key is still published.
    pub(crate) fn holds(&self, thumbprint: &Thumbprint) -> bool {
        self.keys.iter().any(|key| key.thumbprint == *thumbprint)
    }

    /// Finds the key that made `signature` over `message`. With a key id, only keys of that id are tried.
    ///
    /// # Errors
    /// A key of that id exists and does not fit the algorithm, or did not make the signature.
    pub(crate) fn check(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
    ) -> Result<Checked, Rejection> {
        let named = self.keys.iter().filter(|key| id.is_none() || key.id.as_deref() == id);
        let (mut any_named, mut any_fits) = (false, false);
        for key in named {
            any_named = true;
            if !key.fits(algorithm) {
                continue;
            }
            any_fits = true;
            // An error is a signature or key of the wrong form: it proves as little as a wrong signature.
            if crypto::verify(signature, message.as_bytes(), &key.key, algorithm).unwrap_or(false) {
                return Ok(Checked::By(key.thumbprint));
            }
        }
        if id.is_none() || !any_named {
            Ok(Checked::NoSuchKey)
        } else if any_fits {
            Err(Rejection::new(Kind::Signature, "the token's signature is not its issuer's"))
        } else {
            Err(Rejection::new(Kind::Algorithm, "the token's algorithm does not fit the key that it names"))
        }
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|u| *u != PublicKeyUse::Signature) {
            return None;
        }
        if jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return None;
        }
        let (shape, thumbprint) = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => {
                if !(MIN_MODULUS_TEXT..=MAX_MODULUS_TEXT).contains(&rsa.n.len()) {
                    return None;
                }
                (Shape::Rsa, thumbprint(&[rsa.n.as_bytes(), rsa.e.as_bytes()]))
            }
            AlgorithmParameters::EllipticCurve(point) => {
                let shape = match point.curve {
                    EllipticCurve::P256 => Shape::P256,
                    EllipticCurve::P384 => Shape::P384,
                    _ => return None,
                };
                (shape, thumbprint(&[point.x.as_bytes(), point.y.as_bytes()]))
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (Shape::Ed25519, thumbprint(&[pair.x.as_bytes()]))
            }
            // A symmetric key is a secret: one that is published is nobody's proof.
            AlgorithmParameters::OctetKey(_) | AlgorithmParameters::OctetKeyPair(_) => return None,
        };
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(name) => Some(read_algorithm(name)?),
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm, shape, key, thumbprint })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        shape_of(algorithm) == Some(self.shape) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

fn read_algorithm(name: KeyAlgorithm) -> Option<Algorithm> {
    Algorithm::from_str(&name.to_string()).ok()
}

fn shape_of(algorithm: Algorithm) -> Option<Shape> {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Some(Shape::Rsa),
        Algorithm::ES256 => Some(Shape::P256),
        Algorithm::ES384 => Some(Shape::P384),
        Algorithm::EdDSA => Some(Shape::Ed25519),
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
    }
}

fn thumbprint(parts: &[&[u8]]) -> Thumbprint {
    let mut context = ring::digest::Context::new(&SHA256);
    for part in parts {
        context.update(digest(&SHA256, part).as_ref());
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Providers publish two to four; a token without key id is tried against all that fit.
const MAX_KEYS: usize = 32;

/// Base64 of 2048 bits: a shorter modulus can be factored.
const MIN_MODULUS_TEXT: usize = 342;

/// Base64 of 8192 bits: longer ones make a check cost milliseconds.
const MAX_MODULUS_TEXT: usize = 1366;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rsa(n_length: usize) -> Value {
        json!({"kty": "RSA", "n": "A".repeat(n_length), "e": "AQAB", "kid": "r"})
    }

    #[test]
    fn keys_of_no_use_are_skipped() {
        let good = rsa(342);
        let with = |name: &str, value: Value| {
            let mut key = rsa(342);
            key.as_object_mut().unwrap().insert(name.to_owned(), value);
            key
        };
        assert!(Key::read(&good).is_some());
        assert!(Key::read(&with("use", json!("sig"))).is_some());
        assert!(Key::read(&with("key_ops", json!(["verify"]))).is_some());
        assert!(Key::read(&with("alg", json!("PS256"))).is_some());
        for bad in [
            rsa(171),
            rsa(2000),
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("alg", json!("RSA-OAEP")),
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
            json!({"kty": "new"}),
            json!(7),
        ] {
            assert!(Key::read(&bad).is_none(), "{bad}");
            assert!(KeySet::read(&json!({"keys": [bad]})).is_err());
        }
        assert_eq!(KeySet::read(&json!({"keys": [rsa(171), good]})).unwrap().keys.len(), 1);
    }

    #[test]
    fn a_key_checks_only_its_own_algorithm() {
        let mut value = rsa(342);
        value.as_object_mut().unwrap().insert("alg".to_owned(), json!("PS256"));
        let key = Key::read(&value).unwrap();
        assert!(key.fits(Algorithm::PS256));
        for other in [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256, Algorithm::EdDSA] {
            assert!(!key.fits(other), "{other:?}");
        }
    }

    #[test]
    fn a_set_has_a_limit() {
        let keys: Vec<Value> = (0..=MAX_KEYS).map(|_| rsa(342)).collect();
        assert!(KeySet::read(&json!({"keys": keys})).unwrap_err().contains("more than 32"));
    }
}
