//! New policies and classifications for running sessions: what the files hold takes the place of the rules in force, whole or
//! not at all.

use super::Resource;
use crate::{policies::Contents, telemetry::Metrics};
use judge::policy::Rules;
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Between looks at the files of policies and classifications.
const FILES_INTERVAL: Duration = Duration::from_secs(2);

impl Resource {
    /// Reads the files of policies and classifications again, for ever: every other second, and when asked. Runs on the
    /// thread of [`Resource::keep_fresh`], so that no other view comes in between.
    pub(super) async fn keep_policies(&self, metrics: &Metrics) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        let mut last: Option<Result<u64, Vec<String>>> = None;
        loop {
            let read = self.files.read();
            let now = read.as_ref().map(Contents::digest).map_err(Clone::clone);
            if last.as_ref() != Some(&now) {
                let outcome = read.and_then(|contents| self.files.rules(&contents)).map(|rules| self.take(rules));
                if let Err(problems) = &outcome {
                    let problems = problems.join("; ");
                    tracing::error!(resource = %self.name, %problems, "policy files are wrong, the rules stay as they were");
                }
                // what was read at the start counts as no reload
                if last.is_some() || outcome.is_err() {
                    metrics.policies_read(outcome.is_ok());
                }
                metrics.policies_wrong(&self.name, outcome.is_err());
                last = Some(now);
            }
            // running out is the ordinary case
            if tokio::time::timeout(FILES_INTERVAL, self.reload.notified()).await.is_ok() {
                last = None;
            }
        }
    }

    /// New rules hold from now on.
    pub(crate) fn take(&self, rules: Rules) {
        if self.rules().version() == rules.version() {
            return;
        }
        let view = Arc::new(self.view().under(&rules));
        let version = view.policy_version();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        tracing::info!(resource = %self.name, %version, "policies changed");
    }
}
