//! Tokens that stand for values which the record leaves out: whoever holds the key and a value can find where it was named, and
//! nobody learns a value from its token.
//!
//! A token is an HMAC-SHA-256 of the value, cut to 128 bits: the same value has the same token on every resource and in every
//! column, as long as the key is the same. Equal values can be told to be equal; that is what a token is for.
//!
//! Source: RFC 2104.

use crate::chain::{from_hexadecimal, hexadecimal};
use ring::hmac;
use std::sync::Arc;

/// With what a token begins.
pub const PREFIX: &str = "tok_";

/// The shortest value that has a token, in bytes: what is shorter is named by chance, and says too little to be looked for.
pub const MIN_BYTES: usize = 4;

/// Most tokens of one statement; of more values the first have one.
pub const MAX_TOKENS: usize = 1024;

/// Bytes of the MAC that a token keeps.
const TOKEN_BYTES: usize = 16;

/// The key is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of tokens is 64 hexadecimal digits; `openssl rand -hex 32` makes one")]
pub struct NoKey;

/// Makes tokens under one key. Clones share it; its `Debug` shows nothing of it.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<hmac::Key>);

impl Tokens {
    /// Under this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// Reads 64 hexadecimal digits, with white space around them.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn parse(text: &str) -> Result<Self, NoKey> {
        Ok(Self::new(&from_hexadecimal(text.trim()).ok_or(NoKey)?))
    }

    /// The token of a value; none for one of fewer than [`MIN_BYTES`].
    pub fn of(&self, value: &[u8]) -> Option<String> {
        if value.len() < MIN_BYTES {
            return None;
        }
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"postern.token.v1");
        context.update(value);
        let mac = context.sign();
        Some(format!("{PREFIX}{}", hexadecimal(mac.as_ref().get(..TOKEN_BYTES)?)))
    }
}

#[cfg(test)]
mod tests {
    //! A token is the same for ever, and tells nothing.

    use super::*;

    #[test]
    fn the_same_value_has_the_same_token_for_ever() {
        let tokens = Tokens::new(&[7; 32]);
        // made by: printf 'postern.token.v14111111111111111' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...
        assert_eq!(tokens.of(b"4111111111111111").as_deref(), Some("tok_296a3e133b9d1881b1fcbe5e8eea3656"));
        assert_ne!(tokens.of(b"4111111111111111"), tokens.of(b"4111111111111112"));
        assert_ne!(tokens.of(b"4111111111111111"), Tokens::new(&[8; 32]).of(b"4111111111111111"));
        assert_eq!(tokens.of(b"123"), None);
    }

    #[test]
    fn a_key_has_64_digits() {
        let token = |text: &str| Tokens::parse(text).map(|tokens| tokens.of(b"value"));
        assert_eq!(token(&format!(" {}\n", "07".repeat(32))), Ok(Tokens::new(&[7; 32]).of(b"value")));
        assert_eq!(token("07").unwrap_err(), NoKey);
    }
}
