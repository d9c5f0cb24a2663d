//! A key of our own that signs tokens: Ed25519, in a file that its owner alone may read.

use crate::keys::KeySet;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kit::Secret;
use kit::kms::{self, Kms, read_secret};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Signs tokens.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    key_id: String,
}

/// Why a signing key cannot be used, or a token not be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file could not be made.
    #[error("creating the signing key {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file could not be read.
    #[error("reading the signing key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the key.
    #[error("the signing key {} is open to others than its owner (chmod 600)", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The key is wrapped, and was not unwrapped; or the file is no key's.
    #[error(transparent)]
    Unwrap(kms::Error),
    /// The file is not a key, or what it was unwrapped to is none.
    #[error("{} is not an Ed25519 key in PKCS #8", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("making a key pair: the system gave no randomness")]
    Random,
    /// The requested lifetime is too long.
    #[error("a token of the development issuer is valid for at most 30 days")]
    Lifetime,
}

impl Signer {
    /// Opens the key in this file, or makes one. Several processes may do so at once: all get the same key.
    pub(crate) fn open_or_create(path: &Path, kms: &Kms) -> Result<Self, Error> {
        let pair = key_pair(path, kms)?;
        let print = digest(&SHA256, pair.public_key().as_ref());
        let key_id = BASE64_URL_SAFE_NO_PAD.encode(print.as_ref().get(..12).unwrap_or_default());
        Ok(Self { pair, key_id })
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Value) -> Secret<String> {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.key_id});
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        Secret::new(format!("{message}.{signature}"))
    }

    /// The `act` claim of a chain of actors, the outermost first.
    pub(crate) fn act(actors: &[String]) -> Option<Value> {
        actors.iter().rev().fold(None, |inner: Option<Value>, subject| {
            Some(match inner {
                Some(inner) => json!({"sub": subject, "act": inner}),
                None => json!({"sub": subject}),
            })
        })
    }

    /// The set of the one key that checks what it signs.
    pub(crate) fn keys(&self) -> Result<KeySet, String> {
        KeySet::of_ed25519(&self.key_id, self.pair.public_key().as_ref())
    }

    /// The same as it is published (RFC 8037).
    pub(crate) fn jwks(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.key_id, "alg": "EdDSA", "use": "sig"}]})
    }

    #[cfg(test)]
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }
}

/// Opens the Ed25519 key in this file, or makes one that its owner alone may read. Several processes may do so at once: all
/// get the same key. A wrapped one is unwrapped by the key management service ([`read_secret`]); none is made wrapped.
///
/// # Errors
/// [`Error`]; above all a key that others may read.
pub fn key_pair(path: &Path, kms: &Kms) -> Result<Ed25519KeyPair, Error> {
    if !path.exists() {
        create(path)?;
    }
    let document = read(path, kms)?;
    Ed25519KeyPair::from_pkcs8(document.expose()).map_err(|_| Error::NotAKey { path: path.to_owned() })
}

fn create(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Create { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::Random)?;
    // Written aside and linked whole: another process sees all of it or nothing, and the first one wins.
    let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_extension(format!("{}.{attempt}", std::process::id()));
    let written = write(&aside, document.as_ref()).and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&aside);
    written.and(removed).map_err(failed)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path, kms: &Kms) -> Result<Secret<Vec<u8>>, Error> {
    read_secret(path, kms).map_err(|error| match error {
        kms::Error::Read { path, source } => Error::Read { path, source },
        kms::Error::Open { path } => Error::Open { path },
        error => Error::Unwrap(error),
    })
}

/// Keeps the attempts of one process apart.
static ATTEMPT: AtomicU64 = AtomicU64::new(0);
