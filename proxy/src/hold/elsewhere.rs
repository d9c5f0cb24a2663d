//! Cancel requests for statements that another node holds: a client's request may come to any node.
//!
//! ```text
//! holding node: key -> slow hash -> HoldAsked, on the control topic
//! any node:     cancel request, key unknown -> open holds of that process id -> same hash? -> HoldWithdrawn
//! ```

use crate::startup::Cancel;
use control::{CancelMark, Control, Record};
use schemas::{HoldId, SessionId};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Hashes that a node works on at once. Each takes milliseconds, on a thread beside those that serve.
const AT_ONCE: usize = 1;

/// Cancel requests that wait for that; more are dropped, as a request that comes too late is.
const MAX_WAITING: usize = 64;

/// Statements of one process id, of different databases, that a request is compared with.
const MAX_COMPARED: usize = 8;

/// Recognises them. Clones share the limits.
#[derive(Clone)]
pub struct Elsewhere {
    control: Control,
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Elsewhere {
    /// Over this handle.
    pub fn new(control: Control) -> Self {
        let (working, waiting) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(MAX_WAITING)));
        Self { control, working, waiting }
    }

    /// By what the other nodes recognise it. None where it cannot be made: they do not recognise it then.
    pub(super) async fn mark(&self, session: SessionId, cancel: Cancel) -> Option<CancelMark> {
        let _permit = self.working.acquire().await.ok()?;
        let made = tokio::task::spawn_blocking(move || CancelMark::of(session, cancel.backend_pid, &cancel.key));
        made.await.inspect_err(|error| tracing::error!(%error, "a cancel key cannot be told to the other nodes")).ok()
    }

    /// Withdraws the held statement that a cancel request is for, if there is one.
    pub async fn withdraw(&self, cancel: &Cancel) {
        let holds = self.held(cancel);
        if holds.is_empty() {
            return;
        }
        let Ok(_permit) = self.waiting.try_acquire() else {
            tracing::warn!("too many cancel requests at once, one is dropped");
            return;
        };
        for (hold, session, mark) in holds {
            if self.mark(session, cancel.clone()).await != Some(mark) {
                continue;
            }
            let reason = "its client cancelled it".to_owned();
            match self.control.append(Record::HoldWithdrawn { hold, reason }).await {
                Ok(_) => tracing::info!(%hold, "a cancel request withdrew what another node holds"),
                Err(error) => tracing::warn!(%hold, error = %crate::chain(&error), "a cancel request came too late"),
            }
            return;
        }
    }

    /// Open holds whose client was told this process id.
    fn held(&self, cancel: &Cancel) -> Vec<(HoldId, SessionId, CancelMark)> {
        let (state, now) = (self.control.state(), self.control.now());
        let open = state.holds().rev().filter(|hold| hold.is_open(now));
        let of = open.filter_map(|hold| {
            let mark = hold.asked.cancel.filter(|mark| mark.backend_pid == cancel.backend_pid)?;
            Some((hold.asked.id, hold.asked.session, mark))
        });
        of.take(MAX_COMPARED).collect()
    }
}
