//! How a CancelRequest finds a held statement: nothing runs in the database that it could cancel.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// One session's ear for cancel requests while a statement of it is held.
#[derive(Debug, Default)]
pub struct Signal {
    held: AtomicBool,
    cancelled: Notify,
}

impl Signal {
    /// A cancel request came. False where nothing is held: it is the database's then.
    pub fn cancel(&self) -> bool {
        let held = self.held.load(Ordering::Acquire);
        if held {
            self.cancelled.notify_one();
        }
        held
    }

    /// A statement is held from now on, or no more.
    pub(super) fn set(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    /// What was asked to be cancelled is over: the request is not for what comes later.
    pub(super) fn forget(&self) {
        self.set(false);
        std::pin::pin!(self.cancelled.notified()).enable();
    }

    /// Waits for a cancel request.
    pub(super) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}
