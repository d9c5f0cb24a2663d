//! An issuer of our own for trials, where no provider is configured. Whoever can read its key can be anybody.
//!
//! Its tokens are signed with an Ed25519 key that lies in the process's folder of keys, readable by its owner alone. A
//! verifier accepts them only where the configuration says so, and says loudly at its start that it does.

pub use crate::signing::Error;

use crate::{keys::KeySet, signing::Signer};
use kit::kms::Kms;
use kit::{Clock, Secret};
use schemas::IdentityKind;
use serde_json::json;
use std::{path::Path, time::Duration};

/// The `iss` of its tokens.
pub const ISSUER: &str = "urn:postern:development";

/// The development issuer: mints tokens.
pub struct Issuer {
    signer: Signer,
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
    /// What it works on.
    pub task: Option<&'a str>,
    /// How long it is valid, at most [`MAX_LIFETIME`].
    pub lifetime: Duration,
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
        Ok(Self { signer: Signer::open_or_create(&folder.join(KEY_FILE), &Kms::none())?, clock })
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
        let mut claims = json!({
            "iss": ISSUER, "sub": request.subject, "aud": request.audience, "iat": now, "exp": now + lifetime,
            "groups": request.groups, "kind": kind,
        });
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(Signer::act(request.actors).map(|chain| ("act".to_owned(), chain)));
            claims.extend(request.task.map(|task| ("task".to_owned(), task.into())));
        }
        Ok(self.signer.sign(&claims))
    }

    pub(crate) fn keys(&self) -> Result<KeySet, String> {
        self.signer.keys()
    }
}

/// The name of the key file.
const KEY_FILE: &str = "development-issuer.p8";

/// The longest lifetime of a development token: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| Issuer::open_or_create(&keys).unwrap().signer.key_id().to_owned()))
                .collect();
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
            task: None,
            lifetime: MAX_LIFETIME + Duration::from_secs(1),
        };
        assert!(matches!(issuer.mint(&request), Err(Error::Lifetime)));
    }
}
