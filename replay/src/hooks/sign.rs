//! Slack's way of signing: `X-Slack-Signature: v0=HMAC-SHA256(secret, "v0:" timestamp ":" body)`, for what goes out and
//! for what comes in.
//!
//! What comes in must be signed within five minutes of now, and comes once: its signature is remembered for as long as
//! its timestamp would be good.

use kit::Secret;
use ring::hmac;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// The header with the time, seconds since 1970-01-01 UTC.
pub const TIMESTAMP: &str = "x-slack-request-timestamp";
/// The header with the signature.
pub const SIGNATURE: &str = "x-slack-signature";
/// How far the time may be from now, in seconds, either way.
const MAX_AGE: i64 = 300;
/// Signatures that are remembered; when so many came within [`MAX_AGE`], further ones are refused.
const MAX_SEEN: usize = 10_000;
/// A shorter secret can be guessed.
pub(super) const MIN_SECRET_BYTES: usize = 16;

/// A secret that signs and verifies.
#[derive(Clone)]
pub struct Key(hmac::Key);

/// Why what came in is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A header is missing or cannot be read.
    #[error("the request is not signed: it needs the headers X-Slack-Request-Timestamp and X-Slack-Signature")]
    Unsigned,
    /// It was signed too long ago, or in the future.
    #[error("the timestamp is more than five minutes from this node's clock")]
    Old,
    /// The signature is not this secret's over this body.
    #[error("the signature is not that of the configured secret")]
    Signature,
    /// It came before.
    #[error("this request came before: it is a replay")]
    Replayed,
    /// Too many came to remember them all.
    #[error("too many signed requests within five minutes")]
    TooMany,
}

impl Key {
    /// Of a secret; none if it is too short.
    pub fn new(secret: &Secret<String>) -> Option<Self> {
        let bytes = secret.expose().as_bytes();
        (bytes.len() >= MIN_SECRET_BYTES).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The signature's header of a body at a time.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &signed(&timestamp.to_string(), body));
        tag.as_ref().iter().fold("v0=".to_owned(), |mut text, byte| {
            // writing to a String cannot fail
            write!(text, "{byte:02x}").unwrap_or_default();
            text
        })
    }

    fn verifies(&self, timestamp: &str, body: &[u8], tag: &[u8]) -> bool {
        // compares in constant time
        hmac::verify(&self.0, &signed(timestamp, body), tag).is_ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

fn signed(timestamp: &str, body: &[u8]) -> Vec<u8> {
    [b"v0:", timestamp.as_bytes(), b":", body].concat()
}

/// Verifies what comes in, and remembers it.
#[derive(Debug)]
pub struct Gatekeeper {
    key: Key,
    seen: Mutex<BTreeMap<[u8; 32], i64>>,
}

impl Gatekeeper {
    /// By this secret.
    pub fn new(key: Key) -> Self {
        Self { key, seen: Mutex::default() }
    }

    /// Takes a request once, if it is signed and of now. `now` is in seconds.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(
        &self,
        now: i64,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
    ) -> Result<(), Refused> {
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else { return Err(Refused::Unsigned) };
        let time: i64 = timestamp.parse().map_err(|_| Refused::Unsigned)?;
        let tag = signature.strip_prefix("v0=").and_then(schemas::chain::from_hexadecimal).ok_or(Refused::Unsigned)?;
        // the signature first: who has no secret learns nothing of this node's clock
        if !self.key.verifies(timestamp, body, &tag) {
            return Err(Refused::Signature);
        }
        if now.saturating_sub(time).saturating_abs() > MAX_AGE {
            return Err(Refused::Old);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, until| *until >= now);
        if seen.contains_key(&tag) {
            return Err(Refused::Replayed);
        }
        if seen.len() >= MAX_SEEN {
            return Err(Refused::TooMany);
        }
        seen.insert(tag, time.saturating_add(MAX_AGE));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Slack's documentation, "Verifying requests from Slack".
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNED: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const AT: i64 = 1_531_420_618;

    fn key() -> Key {
        Key::new(&Secret::new(SECRET.to_owned())).unwrap()
    }

    #[test]
    fn it_signs_as_slack_does() {
        assert_eq!(key().sign(AT, BODY.as_bytes()), SIGNED);
        assert!(Key::new(&Secret::new("short".to_owned())).is_none());
        assert_eq!(format!("{:?}", key()), "Key(..)");
    }

    #[test]
    fn what_is_signed_now_comes_in_once() {
        let keeper = Gatekeeper::new(key());
        let admit = |now, body: &str, signature: &str| {
            keeper.admit(now, Some(&AT.to_string()), Some(signature), body.as_bytes())
        };
        assert_eq!(admit(AT + 301, BODY, SIGNED), Err(Refused::Old));
        assert_eq!(admit(AT - 301, BODY, SIGNED), Err(Refused::Old));
        assert_eq!(admit(AT, &BODY.replace("testteamnow", "other"), SIGNED), Err(Refused::Signature));
        assert_eq!(admit(AT, BODY, &SIGNED.replace("a2", "b2")), Err(Refused::Signature));
        for wrong in ["", "v0=", "v1=aa", &SIGNED[3..], &SIGNED[..60]] {
            assert_eq!(admit(AT, BODY, wrong), Err(Refused::Unsigned), "{wrong}");
        }
        assert_eq!(keeper.admit(AT, None, Some(SIGNED), BODY.as_bytes()), Err(Refused::Unsigned));
        assert_eq!(keeper.admit(AT, Some("now"), Some(SIGNED), BODY.as_bytes()), Err(Refused::Unsigned));
        assert_eq!(admit(AT + 300, BODY, SIGNED), Ok(()));
        assert_eq!(admit(AT + 299, BODY, SIGNED), Err(Refused::Replayed));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let keeper = Gatekeeper::new(key());
        let admit = |now: i64, number: usize| {
            let body = number.to_string();
            let signature = key().sign(now, body.as_bytes());
            keeper.admit(now, Some(&now.to_string()), Some(&signature), body.as_bytes())
        };
        let tag = |number: usize| {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&number.to_be_bytes());
            tag
        };
        *keeper.seen.lock().unwrap() = (0..MAX_SEEN).map(|number| (tag(number), AT + MAX_AGE)).collect();
        assert_eq!(admit(AT, 1), Err(Refused::TooMany));
        assert_eq!(admit(AT + MAX_AGE + 1, 2), Ok(()));
        assert_eq!(keeper.seen.lock().unwrap().len(), 1);
    }
}
