//! The password of a leased role, and what PostgreSQL keeps of it.
//!
//! The verifier's iteration count is 1, not 4096. Iterations make guessing a password slow, which protects one that a
//! person could think of. This one is 256 random bits: nobody guesses it, with one iteration or with a million. So the
//! count buys nothing here and would cost PostgreSQL several milliseconds of CPU at each login. It must never be used for
//! a secret that is not random; this module makes both, and takes no password from anybody.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use kit::Secret;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

/// See the module's text.
const ITERATIONS: u32 = 1;

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// Random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// A fresh password, and its verifier for `CREATE ROLE ... PASSWORD`.
pub fn fresh() -> Result<(Secret<String>, String), NoRandom> {
    let password = random::<32>()?.iter().fold(String::with_capacity(64), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    });
    let verifier = verifier(password.as_bytes(), &random::<16>()?);
    Ok((Secret::new(password), verifier))
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5803, as `pg_authid.rolpassword` has it).
fn verifier(password: &[u8], salt: &[u8]) -> String {
    // one iteration of Hi() of RFC 5802 is one HMAC over the salt and the number of the block
    let salted = mac(password, &[salt, &ITERATIONS.to_be_bytes()]);
    let stored = Sha256::digest(mac(&salted, &[b"Client Key"]));
    let server = mac(&salted, &[b"Server Key"]);
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", text(salt), text(&stored), text(&server))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_that_of_the_password() {
        // by Python: hashlib.pbkdf2_hmac('sha256', b'secret', bytes(range(16)), 1)
        assert_eq!(verifier(b"secret", &std::array::from_fn::<u8, 16, _>(|n| u8::try_from(n).unwrap())), PYTHON);
    }

    #[test]
    fn no_two_passwords_are_the_same() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one.0.expose(), other.0.expose());
        assert_eq!(one.0.expose().len(), 64);
        assert!(one.1.starts_with("SCRAM-SHA-256$1:"), "{}", one.1);
    }

    const PYTHON: &str = "SCRAM-SHA-256$1:AAECAwQFBgcICQoLDA0ODw==$Uo6MTNgk6jESTjgVPzvhB8pn7Tu8QPYz3HlKAek8Uwk=:1T2ouJJ59ci29qwnr6EYiKGfKhZNyonVDSa2JTHq1KM=";
}
