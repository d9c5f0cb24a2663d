//! Whose signatures count: this node's own, and those of the nodes that the config names.

use crate::envelope::PublicKey;
use identity::signing;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;
use std::path::Path;

/// This node's signing key, and whom it trusts.
pub(crate) struct Keys {
    pub(crate) pair: Ed25519KeyPair,
    pub(crate) own: PublicKey,
    trusted: BTreeMap<PublicKey, String>,
}

impl Keys {
    /// Opens this node's key, or makes one.
    pub(crate) fn open(path: &Path, node: &str, others: &BTreeMap<PublicKey, String>) -> Result<Self, signing::Error> {
        let pair = signing::key_pair(path)?;
        let own = public(&pair);
        let mut trusted = others.clone();
        trusted.insert(own, node.to_owned());
        Ok(Self { pair, own, trusted })
    }

    /// Whether this key may sign for this node.
    pub(crate) fn trusts(&self, key: &PublicKey, author: &str) -> bool {
        self.trusted.get(key).is_some_and(|node| node == author)
    }
}

/// The public half.
pub(crate) fn public(pair: &Ed25519KeyPair) -> PublicKey {
    // an Ed25519 public key has 32 bytes
    pair.public_key().as_ref().try_into().unwrap_or_default()
}

/// The public half of the key in this file, hexadecimal, as other nodes' `control.trusted_keys` name it. Makes the key where
/// there is none.
///
/// # Errors
/// As [`signing::key_pair`].
pub fn public_key(path: &Path) -> Result<String, signing::Error> {
    Ok(schemas::chain::hexadecimal(&public(&signing::key_pair(path)?)))
}
