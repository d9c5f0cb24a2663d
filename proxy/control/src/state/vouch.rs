//! Whose records the nodes count. A node that does not know a key for which another vouches lacks records, a revocation
//! perhaps: the reader stops then ([`crate::reader`]).

use super::{Effect, Refused, State};
use crate::envelope::{PublicKey, Stamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys for which a node may vouch.
const MAX_VOUCHED: usize = 1000;

impl State {
    /// Whether the node that signs with `by` has said that it counts what this key signs for this node.
    pub(crate) fn vouches(&self, by: &PublicKey, signer: &(PublicKey, String)) -> bool {
        self.vouched.get(by).is_some_and(|keys| keys.contains(signer))
    }

    pub(super) fn vouched(&mut self, stamp: &Stamp, key: &str, node: &str) -> Result<Vec<Effect>, Refused> {
        let invalid = Refused::Invalid("a key has 64 hexadecimal digits");
        let key: PublicKey = schemas::chain::from_hexadecimal(key).ok_or(invalid)?;
        let keys = Arc::make_mut(self.vouched.entry(stamp.key).or_default());
        if keys.len() >= MAX_VOUCHED {
            return Err(Refused::Full { limit: MAX_VOUCHED });
        }
        if !keys.insert((key, node.to_owned())) {
            return Err(Refused::Answered("vouched for"));
        }
        Ok(Vec::new())
    }
}

/// By the key that vouches.
pub(super) type Vouched = std::collections::BTreeMap<PublicKey, Arc<BTreeSet<(PublicKey, String)>>>;
