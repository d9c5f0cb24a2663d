//! Cancel requests of the gate's own: what runs on a session's connection is stopped at once, or after a time.
//!
//! A cancel request hits whatever runs when it arrives. So nothing of the client's goes to the server from the moment one
//! is sent until the server has closed its connection: by then the signal is raised, and a server that is idle drops it.

use crate::{
    conversation::Conversation,
    resource::Resource,
    upstream::{self, Upstream},
};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;

/// What runs on after a cancel request is sent another one after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// Whose statements are cancelled.
struct Target {
    resource: Arc<Resource>,
    backend_pid: i32,
    key: Vec<u8>,
}

/// The means to stop what runs in one session. Without a server, as in tests without IO, it does nothing.
#[derive(Default)]
pub struct Interrupt {
    target: Option<Arc<Target>>,
    alarm: Option<Pin<Box<Sleep>>>,
    request: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Interrupt {
    /// For a session on this connection.
    pub fn of(upstream: &Upstream, resource: &Arc<Resource>) -> Self {
        let (backend_pid, key) = (upstream.backend_pid, upstream.cancel_key.clone());
        let target = Some(Arc::new(Target { resource: resource.clone(), backend_pid, key }));
        Self { target, alarm: None, request: None }
    }

    /// Sends a cancel request, unless one is under way, and again every second until [`Interrupt::disarm`].
    pub(crate) fn now(&mut self) {
        let Some(target) = self.target.clone() else { return };
        self.alarm = Some(Box::pin(tokio::time::sleep(AGAIN)));
        if self.request.is_some() {
            return;
        }
        self.request = Some(Box::pin(async move {
            if let Err(error) = upstream::cancel(&target.resource.database, target.backend_pid, &target.key).await {
                let resource = &target.resource.name;
                tracing::warn!(%resource, error = %crate::chain(&error), "a cancel request did not reach the database");
            }
        }));
    }

    /// Sends a cancel request after a time, unless it is disarmed before.
    pub(crate) fn after(&mut self, time: Duration) {
        if self.target.is_some() {
            self.alarm = Some(Box::pin(tokio::time::sleep(time)));
        }
    }

    /// What was to be stopped has ended. A request that is under way goes on.
    pub(crate) fn disarm(&mut self) {
        self.alarm = None;
    }

    /// A request was sent that the server may not have dealt with: nothing may go to it that must not be hit.
    pub(crate) fn is_under_way(&self) -> bool {
        self.request.is_some()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut changed = Poll::Pending;
        if self.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(context).is_ready()) {
            self.now();
            if let Some(alarm) = &mut self.alarm
                && alarm.as_mut().poll(context).is_ready()
            {
                // its clock wakes this task later
                tracing::trace!("the next cancel request is due at once");
            }
        }
        if self.request.as_mut().is_some_and(|request| request.as_mut().poll(context).is_ready()) {
            self.request = None;
            changed = Poll::Ready(());
        }
        changed
    }
}

impl Conversation {
    /// Drives the gate's cancel requests; ready where one is done, so that the client may go on.
    pub fn poll_interrupt(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.interrupt.poll(context)
    }

    /// The gate may stop what runs in the session through this.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }
}
