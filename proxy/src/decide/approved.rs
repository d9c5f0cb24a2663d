//! Decisions in the light of a reviewer's approval, and which holds somebody can be asked about.

use super::{Decider, Decision, Refused};
use crate::paths::Paths;
use judge::policy::Approval;
use schemas::event::VerdictKind;
use std::cell::Cell;

/// Whether holds are asked about, and whether what is decided now was approved.
#[derive(Debug, Default)]
pub(crate) struct Approving {
    /// There is somebody who can be asked.
    asks: Cell<bool>,
    approved: Cell<bool>,
}

impl Approving {
    /// From now on held statements wait for an answer.
    pub(crate) fn asks(&self) {
        self.asks.set(true);
    }

    /// What is decided from now on is what reviewers agreed to, or not.
    pub(crate) fn set(&self, approved: bool) {
        self.approved.set(approved);
    }

    pub(super) fn is_approved(&self) -> bool {
        self.approved.get()
    }

    /// The version of the search path by which decisions are remembered: none for what is approved once.
    pub(super) fn version(&self, paths: &Paths) -> Option<u64> {
        if self.approved.get() { None } else { paths.version() }
    }
}

impl Decision {
    /// Whose approval it waits for; of an approved one, whose it had to have.
    pub(crate) fn approvals(&self) -> &[Approval] {
        &self.judgement.holds
    }

    /// It waits for an approval.
    pub(crate) fn is_held(&self) -> bool {
        self.judgement.verdict == VerdictKind::Hold
    }
}

impl Decider {
    /// The refusal that a decision is, whatever reviewers may say: a hold that nobody can be asked about is one.
    pub(crate) fn outright(&self, decision: &Decision) -> Option<Refused> {
        if decision.is_held() && self.approving.asks.get() { None } else { Refused::of(decision) }
    }

    /// Decides as before of what was approved, without an approval else.
    pub(super) fn as_approved<T>(&self, approved: bool, decide: impl FnOnce() -> T) -> T {
        let before = self.approving.approved.replace(approved);
        let decided = decide();
        self.approving.approved.set(before);
        decided
    }

    /// Somebody can be asked about holds.
    pub(super) fn can_ask(&self) -> bool {
        self.approving.asks.get()
    }
}
