//! That the time of a grant is over is said once, by whichever node says it first.
//!
//! Nothing depends on it: a grant ends by every reader's clock. Each node waits a little longer than the others, and a record
//! that comes second changes nothing; so the record has one event for each grant, whatever nodes are there.

use crate::plane::Inner;
use crate::record::Record;
use crate::state::State;
use schemas::GrantId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Between two looks at the grants.
const LOOK: Duration = Duration::from_secs(1);

/// Grants that are told of at one look.
const MOST: usize = 16;

/// A record that did not come back is written again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// Longest that a node waits for the others, in steps of [`STEP`].
const STEPS: u8 = 16;

/// Microseconds.
const STEP: i64 = 250_000;

/// What this node has told.
#[derive(Default)]
pub(crate) struct Lapsed {
    looked: Option<Instant>,
    told: BTreeMap<GrantId, Instant>,
}

impl Lapsed {
    /// Tells of grants whose time is over.
    pub(crate) fn tell(&mut self, inner: &Inner, state: &State, caught_up: bool) {
        if !caught_up || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) || inner.fresh().is_err() {
            return;
        }
        self.looked = Some(Instant::now());
        self.told.retain(|_, told| told.elapsed() < AGAIN);
        let turn = i64::from(inner.turn() % STEPS);
        let by = inner.now().saturating_sub(turn * STEP);
        let grants: Vec<GrantId> = state.lapsing(by).filter(|id| !self.told.contains_key(id)).take(MOST).collect();
        for grant in grants {
            self.told.insert(grant, Instant::now());
            // nobody waits for what comes of it
            let (sender, _) = oneshot::channel();
            if let Err(error) = inner.hand_over(&Record::GrantLapsed { grant }, sender) {
                tracing::warn!(%grant, error = %error, "the end of a grant was not told");
                return;
            }
        }
    }
}
