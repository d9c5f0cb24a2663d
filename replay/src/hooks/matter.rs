//! What webhooks are told of: a held statement, an access request, a broken glass, as the control plane has it now.

use super::config::{About, Webhook};
use control::{Digest, Hold, HoldState, Request, Review, State, Subject};
use schemas::Identity;
use schemas::event::RequestKind;
use std::sync::Arc;

/// Something that waits, or waited, for an answer.
#[derive(Debug, Clone)]
pub(crate) enum Matter {
    /// A held statement.
    Hold(Arc<Hold>),
    /// An access request, or access that somebody took.
    Request(Arc<Request>),
}

impl Matter {
    /// The one of this id.
    pub(crate) fn of(state: &State, about: Subject) -> Option<Self> {
        match about {
            Subject::Hold(id) => state.hold(id).cloned().map(Self::Hold),
            Subject::Request(id) => state.request(id).cloned().map(Self::Request),
        }
    }

    /// All that wait for an answer.
    pub(super) fn open(state: &State, now: i64) -> impl Iterator<Item = Self> {
        let holds = state.holds().filter(move |hold| hold.is_open(now)).cloned().map(Self::Hold);
        let requests = state.requests().filter(move |request| request.is_open(now)).cloned().map(Self::Request);
        holds.chain(requests)
    }

    /// Its id.
    pub(super) fn about(&self) -> Subject {
        match self {
            Self::Hold(hold) => Subject::Hold(hold.asked.id),
            Self::Request(request) => Subject::Request(request.asked.id),
        }
    }

    pub(super) fn kind(&self) -> About {
        match self {
            Self::Hold(_) => About::Hold,
            Self::Request(request) if request.asked.kind == RequestKind::BreakGlass => About::BreakGlass,
            Self::Request(_) => About::Request,
        }
    }

    /// Whether it waits for an answer.
    pub(crate) fn is_open(&self, now: i64) -> bool {
        match self {
            Self::Hold(hold) => hold.is_open(now),
            Self::Request(request) => request.is_open(now),
        }
    }

    /// Where it stands, in a word.
    pub(super) fn label(&self, now: i64) -> &'static str {
        match self {
            Self::Hold(hold) if hold.state == HoldState::Waiting && !hold.is_open(now) => "expired",
            Self::Hold(hold) => hold.state.label(),
            Self::Request(request) => request.label(now),
        }
    }

    /// When it was asked.
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::Hold(hold) => hold.time,
            Self::Request(request) => request.time,
        }
    }

    pub(super) fn requester(&self) -> &Identity {
        match self {
            Self::Hold(hold) => &hold.asked.requester,
            Self::Request(request) => &request.asked.requester,
        }
    }

    pub(super) fn resource(&self) -> &str {
        match self {
            Self::Hold(hold) => &hold.asked.resource,
            Self::Request(request) => &request.asked.resource,
        }
    }

    pub(super) fn reviewers(&self) -> &[String] {
        match self {
            Self::Hold(hold) => &hold.asked.reviewers,
            Self::Request(request) => &request.asked.reviewers,
        }
    }

    pub(super) fn reviews(&self) -> &[Review] {
        match self {
            Self::Hold(hold) => &hold.reviews,
            Self::Request(request) => &request.reviews,
        }
    }

    /// What an answer must name.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Hold(hold) => hold.asked.digest,
            Self::Request(request) => request.digest,
        }
    }
}

impl Webhook {
    /// Whether this webhook is to be told of it, now.
    pub(super) fn wants(&self, matter: &Matter, now: i64) -> bool {
        let any =
            |wanted: &[String], given: &[String]| wanted.is_empty() || given.iter().any(|one| wanted.contains(one));
        self.about.contains(&matter.kind())
            && any(&self.resources, &[matter.resource().to_owned()])
            && any(&self.groups, matter.reviewers())
            && now < self.end(matter)
    }

    /// When the telling of it is given up.
    pub(super) fn end(&self, matter: &Matter) -> i64 {
        let patience = i64::try_from(self.give_up.as_micros()).unwrap_or(i64::MAX);
        matter.time().saturating_add(patience)
    }
}
