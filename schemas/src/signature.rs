//! Who says so: Ed25519 signatures (RFC 8032) of nodes over what they seal, and of recorders over what they archived.
//!
//! A signature names the key that made it, which by itself proves nothing of who that was: whose key it is, the reader must
//! know from elsewhere. What is signed begins with what it is for, so that no signature can serve for something else.

use crate::chain::{Digest, hexadecimal};
use crate::codec;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An Ed25519 public key.
pub type PublicKey = [u8; 32];

/// A signature, and the key that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "BatchSignature")]
pub struct Signature {
    /// The public key.
    #[serde(with = "codec::fixed")]
    pub key: PublicKey,
    /// The signature.
    #[serde(with = "codec::fixed")]
    pub signature: [u8; 64],
}

impl Signature {
    /// Whether the key that it names made it over this message.
    pub fn verifies(&self, message: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, &self.signature).is_ok()
    }
}

/// Signs with a private key. Clones share it; its `Debug` shows the public half.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Signer {
    /// Signs with this pair.
    pub fn new(pair: Ed25519KeyPair) -> Self {
        let public = pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        Self { pair: Arc::new(pair), public }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes");
        Signature { key: self.public, signature }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&hexadecimal(&self.public)).finish()
    }
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for Signer {}

/// What a node signs of a batch.
pub fn of_batch(header_hash: &Digest) -> Vec<u8> {
    [b"postern.sign.batch.v1", &header_hash[..]].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn signer(seed: u8) -> Signer {
        Signer::new(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        let made = signer(1).sign(b"a");
        assert!(made.verifies(b"a"));
        assert!(!made.verifies(b"b"));
        assert!(!Signature { key: *signer(2).public(), ..made }.verifies(b"a"));
    }

    #[test]
    fn the_signature_of_rfc_8032_is_made() {
        // section 7.1, test 2
        let seed =
            crate::chain::from_hexadecimal::<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let signer = Signer::new(Ed25519KeyPair::from_seed_unchecked(&seed.unwrap()).unwrap());
        let made = signer.sign(&[0x72]);
        assert!(hexadecimal(&made.key).starts_with("3d4017c3e843895a92b70aa74d1b7ebc"));
        assert!(hexadecimal(&made.signature).starts_with("92a009a9f0d4cab8720e820b5f642540"));
    }
}
