//! An issuer of our own for trials, where no provider is configured. Whoever can read its key can be anybody.
//!
//! Its tokens are signed with an Ed25519 key that lies in the process's folder of keys, readable by its owner alone. A
//! verifier accepts them only where the configuration says so, and says loudly at its start that it does.

use crate::keys::KeySet;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kit::{Clock, Secret};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use schemas::IdentityKind;
use serde_json::json;
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The `iss` of its tokens.
pub const ISSUER: &str = "urn:postern:development";

/// The development issuer: mints tokens.
pub struct Issuer {
    pair: Ed25519KeyPair,
    key_id: String,
    clock: Clock,
}

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Who it is for.
    pub subject: &'a str,
    /// A person or a program.
    pub kind: IdentityKind,
    /// The groups.
    pub groups: &'a [String],
    /// Who is to accept it.
    pub audience: &'a str,
    /// Its `act` chain, outermost first; empty for none.
    pub actors: &'a [String],
    /// How long it is valid, at most [`MAX_LIFETIME`].
    pub lifetime: Duration,
}

/// Why the development issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file could not be made.
    #[error("creating the development issuer's key {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file could not be read.
    #[error("reading the development issuer's key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the key.
    #[error("the development issuer's key {} is open to others than its owner (chmod 600)", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a key.
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

impl Issuer {
    /// Opens the key in this folder, or makes one. Several processes may do so at once: all get the same key.
    ///
    /// # Errors
    /// [`Error`], naming the file; also if others than its owner may read it.
    pub fn open_or_create(folder: &Path) -> Result<Self, Error> {
        Self::with_clock(folder, Clock::system())
    }

    /// As [`Issuer::open_or_create`], by another clock.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_clock(folder: &Path, clock: Clock) -> Result<Self, Error> {
        let path = folder.join(KEY_FILE);
        if !path.exists() {
            create(folder, &path)?;
        }
        let document = read(&path)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.expose()).map_err(|_| Error::NotAKey { path })?;
        let print = digest(&SHA256, pair.public_key().as_ref());
        let key_id = BASE64_URL_SAFE_NO_PAD.encode(print.as_ref().get(..12).unwrap_or_default());
        Ok(Self { pair, key_id, clock })
    }

    /// Mints a token.
    ///
    /// # Errors
    /// [`Error::Lifetime`] over [`MAX_LIFETIME`].
    pub fn mint(&self, request: &Request<'_>) -> Result<Secret<String>, Error> {
        if request.lifetime > MAX_LIFETIME {
            return Err(Error::Lifetime);
        }
        let now = self.clock.now_seconds();
        let lifetime = i64::try_from(request.lifetime.as_secs()).map_err(|_| Error::Lifetime)?;
        let kind = match request.kind {
            IdentityKind::Human => "human",
            IdentityKind::Machine => "machine",
        };
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.key_id});
        let mut claims = json!({
            "iss": ISSUER, "sub": request.subject, "aud": request.audience, "iat": now, "exp": now + lifetime,
            "groups": request.groups, "kind": kind,
        });
        let chain = request.actors.iter().rev().fold(None, |inner: Option<serde_json::Value>, subject| {
            Some(match inner {
                Some(inner) => json!({"sub": subject, "act": inner}),
                None => json!({"sub": subject}),
            })
        });
        if let (Some(chain), Some(claims)) = (chain, claims.as_object_mut()) {
            claims.insert("act".to_owned(), chain);
        }
        let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        Ok(Secret::new(format!("{message}.{signature}")))
    }

    pub(crate) fn keys(&self) -> Result<KeySet, String> {
        KeySet::of_ed25519(&self.key_id, self.pair.public_key().as_ref())
    }
}

fn create(folder: &Path, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Create { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::Random)?;
    // Written aside and linked whole: another process sees all of it or nothing, and the first one wins.
    let aside = folder.join(format!("{KEY_FILE}.{}.{}", std::process::id(), ATTEMPT.fetch_add(1, Ordering::Relaxed)));
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

fn read(path: &Path) -> Result<Secret<Vec<u8>>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(Error::Open { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_KEY_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Secret::new(bytes))
}

/// Keeps the attempts of one process apart.
static ATTEMPT: AtomicU64 = AtomicU64::new(0);

/// The name of the key file.
const KEY_FILE: &str = "development-issuer.p8";

/// An Ed25519 key has 83 bytes.
const MAX_KEY_BYTES: u64 = 1024;

/// The longest lifetime of a development token: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| Issuer::open_or_create(&keys).unwrap().key_id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|id| *id == opened[0]), "{opened:?}");
        let path = keys.join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Issuer::open_or_create(&keys), Err(Error::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"no key").unwrap();
        assert!(matches!(Issuer::open_or_create(&keys), Err(Error::NotAKey { .. })));
    }

    #[test]
    fn a_token_for_ever_is_not_minted() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::open_or_create(folder.path()).unwrap();
        let request = Request {
            subject: "a",
            kind: IdentityKind::Machine,
            groups: &[],
            audience: "postern",
            actors: &[],
            lifetime: MAX_LIFETIME + Duration::from_secs(1),
        };
        assert!(matches!(issuer.mint(&request), Err(Error::Lifetime)));
    }
}
