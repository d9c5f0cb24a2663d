//! The rules that every review obeys, of access requests and of held statements alike.

use super::{Answered, HoldState, Issued, Refused, State};
use crate::record::{Digest, HoldAsk, Review};
use schemas::{Identity, IdentityKind};
use std::sync::Arc;

/// What is asked, as far as a review depends on it.
pub(super) struct Asked<'a> {
    pub requester: &'a Identity,
    pub reviewers: &'a [String],
    pub digest: Digest,
    pub expires: i64,
    pub reviews: &'a [Review],
}

impl State {
    /// Whether a review counts.
    pub(super) fn counts(&self, at: i64, asked: &Asked<'_>, review: &Review) -> Result<(), Refused> {
        let reviewer = &review.reviewer;
        // a refusal counts however late by its writer's clock: for others it may be in time
        if review.approved && at >= asked.expires {
            return Err(Refused::Expired);
        }
        if self.is_disabled(reviewer).is_some() {
            return Err(Refused::Disabled(reviewer.subject.clone()));
        }
        self.apart(asked.requester, reviewer)?;
        if review.exception.is_none() {
            person(reviewer)?;
        }
        if !reviewer.groups.iter().any(|group| asked.reviewers.contains(group)) {
            return Err(Refused::NotReviewer(asked.reviewers.join(", ")));
        }
        if asked.reviews.iter().any(|before| same_party(&before.reviewer, reviewer)) {
            return Err(Refused::Twice(reviewer.subject.clone()));
        }
        if review.digest != asked.digest {
            return Err(Refused::OtherDigest);
        }
        Ok(())
    }

    /// Whether these are two people, as far as can be told: neither asks or answers by an API key that the other has issued,
    /// and may know. Keys that have ended count too: what was asked by them may still wait.
    pub(super) fn apart(&self, requester: &Identity, reviewer: &Identity) -> Result<(), Refused> {
        if same_party(requester, reviewer) {
            return Err(Refused::Requester);
        }
        let has_issued = |issuer: &Identity, to: &Identity| {
            let is_one = |key: &Arc<Issued>| key.key.subject == to.subject && same_party(&key.by, issuer);
            to.issuer == identity::api_key::ISSUER && self.api_keys().any(is_one)
        };
        if has_issued(reviewer, requester) || has_issued(requester, reviewer) {
            return Err(Refused::KeyIssuer);
        }
        Ok(())
    }

    /// The answers that still stand: those of whom has been disabled since do not.
    pub(super) fn standing<'a>(&self, reviews: &'a [Review]) -> Vec<&'a Review> {
        reviews.iter().filter(|review| self.is_disabled(&review.reviewer).is_none()).collect()
    }

    /// Takes back what was approved by API keys of this subject and has had no consequence yet: whoever has a key that was
    /// revoked may have approved it. What still waits, another of the subject's keys may approve again.
    pub(super) fn strike(&mut self, subject: &str) {
        let is_struck = |review: &Review| {
            let by = &review.reviewer;
            review.approved && by.subject == subject && by.issuer == identity::api_key::ISSUER
        };
        let requests = self.requests.values().filter(|request| request.state == Answered::Waiting);
        let requests = requests.filter(|request| request.reviews.iter().any(is_struck)).map(|request| request.asked.id);
        for id in requests.collect::<Vec<_>>() {
            if let Some(request) = self.requests.get_mut(&id) {
                Arc::make_mut(request).reviews.retain(|review| !is_struck(review));
            }
        }
        let holds = self.holds.values().filter(|hold| matches!(hold.state, HoldState::Waiting | HoldState::Approved));
        let holds = holds.filter(|hold| hold.reviews.iter().any(is_struck)).map(|hold| hold.asked.id);
        for id in holds.collect::<Vec<_>>() {
            if let Some(hold) = self.holds.get_mut(&id) {
                Arc::make_mut(hold).reviews.retain(|review| !is_struck(review));
            }
        }
    }
}

/// Whether a person answers, and nobody through that person: an agent that acts for a reviewer is no reviewer, or else it
/// would answer what it has asked another agent to do.
///
/// # Errors
/// [`Refused::NotPerson`].
pub(crate) fn person(identity: &Identity) -> Result<(), Refused> {
    if !identity.on_behalf_of.is_empty() {
        return Err(Refused::NotPerson("whoever acts for somebody may not answer for them"));
    }
    if identity.issuer == identity::api_key::ISSUER {
        return Err(Refused::NotPerson("an API key does not prove that a person is there"));
    }
    match identity.kind {
        IdentityKind::Human => Ok(()),
        IdentityKind::Machine => Err(Refused::NotPerson("a program may not")),
    }
}

/// Whether two identities are one, or one acts for the other, or both for a third: no two people then.
pub(super) fn same_party(one: &Identity, other: &Identity) -> bool {
    fn parties(identity: &Identity) -> impl Iterator<Item = &String> {
        std::iter::once(&identity.subject).chain(&identity.on_behalf_of)
    }
    if one.subject == other.subject {
        // a subject is its issuer's: two of the same name may be two people, but nobody here can tell
        return true;
    }
    parties(one).any(|party| parties(other).any(|another| party == another))
}

/// How many have agreed.
pub(super) fn approvals(reviews: &[&Review]) -> u32 {
    u32::try_from(reviews.iter().filter(|review| review.approved).count()).unwrap_or(u32::MAX)
}

/// Whether all have agreed who must. Where groups are named with a number each, every approval fills one place of one
/// group: one person in two groups is one person.
pub(super) fn agreed(asked: &HoldAsk, reviews: &[&Review]) -> bool {
    if asked.needs.is_empty() {
        return approvals(reviews) >= asked.approvals;
    }
    let groups = asked.needs.iter();
    let places: Vec<&str> = groups.flat_map(|needs| (0..needs.count).map(|_| needs.group.as_str())).collect();
    let yes: Vec<&Review> = reviews.iter().copied().filter(|review| review.approved).collect();
    let mut taken = vec![None; places.len()];
    let filled =
        (0..yes.len()).filter(|one| seat(*one, &yes, &places, &mut taken, &mut vec![false; places.len()])).count();
    filled == places.len()
}

/// Finds a place for one approval, moving others where that helps.
fn seat(one: usize, yes: &[&Review], places: &[&str], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    let fits =
        |place: &str| yes.get(one).is_some_and(|review| review.reviewer.groups.iter().any(|group| group == place));
    for at in (0..places.len()).filter(|at| places.get(*at).is_some_and(|place| fits(place))).collect::<Vec<_>>() {
        match tried.get_mut(at) {
            Some(tried) if !*tried => *tried = true,
            _ => continue,
        }
        let free = match taken.get(at).copied().flatten() {
            None => true,
            Some(other) => seat(other, yes, places, taken, tried),
        };
        if free && let Some(taken) = taken.get_mut(at) {
            *taken = Some(one);
            return true;
        }
    }
    false
}
