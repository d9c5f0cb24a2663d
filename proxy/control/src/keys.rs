//! Whose signatures count: this node's own, those of the nodes that the config names, and what retired keys signed before
//! they were retired.
//!
//! A key is never simply taken out: with it would go the revocations that it signed, and rights would come back. It is
//! retired at an offset of the topic, so that what it signed before counts on, and a thief of it can sign nothing more.
//! What keeps somebody from taking it out all the same is [`crate::seen`] on this node, and the vouching of others.

use crate::config::{Config, Retired};
use crate::envelope::PublicKey;
use event_log::Offset;
use identity::signing;
use kit::kms::Kms;
use ring::signature::{Ed25519KeyPair, KeyPair};
use schemas::chain::hexadecimal;
use std::collections::BTreeMap;
use std::path::Path;

/// This node's signing key, and whom it trusts.
pub(crate) struct Keys {
    pub(crate) pair: Ed25519KeyPair,
    pub(crate) own: PublicKey,
    trusted: BTreeMap<PublicKey, String>,
    retired: BTreeMap<PublicKey, Retired>,
}

/// Why a record does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    /// The config does not name the key for that node.
    #[error("nobody trusts the key {key} for the node {author:?}")]
    Unknown {
        /// The key.
        key: String,
        /// Whom the record names.
        author: String,
    },
    /// It was retired before.
    #[error("the key {key} of the node {author:?} was retired before offset {before}")]
    Retired {
        /// The key.
        key: String,
        /// Whom the record names.
        author: String,
        /// Where it was.
        before: Offset,
    },
}

impl Keys {
    /// Opens this node's key, or makes one.
    pub(crate) fn open(config: &Config) -> Result<Self, signing::Error> {
        let pair = signing::key_pair(&config.signing_key, &config.kms)?;
        let own = public(&pair);
        let mut trusted = config.trusted.clone();
        trusted.insert(own, config.node.clone());
        let retired = config.retired.clone();
        Ok(Self { pair, own, trusted, retired })
    }

    /// Whether a record that this key signed for this node counts at this place of the topic.
    pub(crate) fn judge(&self, key: &PublicKey, author: &str, offset: Offset) -> Result<(), Distrust> {
        // under whatever name this node wrote before
        if *key == self.own || self.trusted.get(key).is_some_and(|node| node == author) {
            return Ok(());
        }
        let (key_text, author) = (|| hexadecimal(key), author.to_owned());
        match self.retired.get(key).filter(|retired| retired.node == author) {
            Some(retired) if offset < retired.before => Ok(()),
            Some(retired) => Err(Distrust::Retired { key: key_text(), author, before: retired.before }),
            None => Err(Distrust::Unknown { key: key_text(), author }),
        }
    }

    /// Whether anything that this key signs at this place of the topic may count, for whatever node.
    pub(crate) fn trusts(&self, key: &PublicKey, offset: Offset) -> bool {
        let counted = self.retired.get(key).is_some_and(|retired| offset < retired.before);
        *key == self.own || self.trusted.contains_key(key) || counted
    }

    /// Whether the config says something of this key for this node: that it signs, or no more.
    pub(crate) fn knows(&self, key: &PublicKey, node: &str) -> bool {
        let trusted = self.trusted.get(key).is_some_and(|one| one == node);
        *key == self.own || trusted || self.retired.get(key).is_some_and(|retired| retired.node == node)
    }

    /// The offset at which the config retires this key, where that undoes what counted: the last record by it that did is at
    /// `last`. All that it signed is voided on purpose, by `@0`, or nothing.
    pub(crate) fn undone_at(&self, key: &PublicKey, node: &str, last: Offset) -> Option<Offset> {
        let retired = self.retired.get(key).filter(|retired| retired.node == node && *key != self.own);
        retired.map(|retired| retired.before).filter(|before| *before != 0 && *before <= last)
    }

    /// Whether this node's own key is retired: it would write what nobody counts.
    pub(crate) fn is_own_retired(&self, node: &str) -> bool {
        self.retired.get(&self.own).is_some_and(|retired| retired.node == node)
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
pub fn public_key(path: &Path, kms: &Kms) -> Result<String, signing::Error> {
    Ok(hexadecimal(&public(&signing::key_pair(path, kms)?)))
}
