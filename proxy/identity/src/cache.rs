//! Tokens that were verified a moment ago: the same token again costs a hash, not a signature check.
//!
//! An entry holds the key that made the signature. The caller still asks the issuer's current keys for it, so that a
//! removed key ends its tokens here as fast as anywhere else, and still compares the time.

use crate::{keys::Thumbprint, verifier::Verified};
use ring::digest::{SHA256, digest};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Verified tokens by their SHA-256: the tokens themselves are not kept.
#[derive(Default)]
pub(crate) struct Cache {
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

/// A token that was verified.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Thumbprint,
    pub(crate) verified: Verified,
    /// Seconds since 1970: not before this time, and not from that time on.
    pub(crate) valid: (i64, i64),
}

/// The name of a token in the cache.
pub(crate) fn name(token: &str) -> [u8; 32] {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Cache {
    pub(crate) fn find(&self, name: &[u8; 32], now: i64) -> Option<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).filter(|entry| entry.valid.0 <= now && now < entry.valid.1).cloned()
    }

    pub(crate) fn keep(&self, name: [u8; 32], entry: Entry, now: i64) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| now < entry.valid.1);
        }
        if entries.len() >= MAX_ENTRIES {
            // Full of living tokens: begin anew, each costs one signature check.
            entries.clear();
        }
        entries.insert(name, entry);
    }

    pub(crate) fn forget(&self, name: &[u8; 32]) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// About 1 KiB each.
const MAX_ENTRIES: usize = 8192;
