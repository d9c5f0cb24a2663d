//! What the client, the reviewers and the record are told of a hold.

use super::{
    Measured, Outcome, Review,
    asked::{self, Asked, Needed, Unshown},
    holding::{Hold, shown},
};
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::Decision,
    frames::backend,
};
use event_log::Priority;
use schemas::event::{Body, Direction, Held, HoldEnded, HoldOutcome, Payload, Reviewed};
use std::{collections::BTreeSet, rc::Rc};

/// What is held: the message as it came.
pub(super) struct Message<'a> {
    /// The exact text.
    pub(super) text: &'a str,
    /// The types of its parameters, as in Parse.
    pub(super) types: &'a [u8],
    /// What stands in Bind behind the names; empty for a simple message.
    pub(super) parameters: &'a [u8],
    /// The texts behind EXECUTE and FETCH.
    pub(super) runs: Vec<String>,
}

impl Conversation {
    /// The client learns at once that its statement waits, and for whom.
    pub(super) fn tell_held(&mut self, hold: &Hold, out: &mut Outbox) -> Result<(), End> {
        let groups: Vec<String> = hold.approvals.iter().map(ToString::to_string).collect();
        let console = self.holding.holder.as_ref().and_then(|holder| holder.holds.settings.console.as_ref());
        let link = console.map(|console| format!(" or open {console}/#/holds/{}", hold.id)).unwrap_or_default();
        let fields = [
            (b'S', "NOTICE".to_owned()),
            (b'V', "NOTICE".to_owned()),
            (b'C', "00000".to_owned()),
            (b'M', format!("postern holds this statement for approval by {}: {}", groups.join(" and "), hold.id)),
            (
                b'D',
                format!(
                    "It runs when they agree, and is denied after {}. Statement {}.",
                    shown(hold.time),
                    hold.statement
                ),
            ),
            (b'H', format!("Reviewers run: postern review show {}{link}. Cancel it to withdraw it.", hold.id)),
        ];
        let before = out.bytes.len();
        backend::put_report(&mut out.bytes, b'N', &fields);
        let run = out.bytes.get(before..).unwrap_or_default();
        self.record.note_run(Direction::Server, run, 1)?;
        self.commit_answer(out, Priority::Normal)
    }

    /// What reviewers see of a message: all that an approval would release.
    ///
    /// # Errors
    /// [`Unshown`]: why it cannot be shown whole and as it is.
    pub(super) fn for_reviewers(
        &self,
        hold: &Hold,
        message: &Message<'_>,
        decisions: &[Rc<Decision>],
        measured: Option<Measured>,
        expires: i64,
    ) -> Result<Asked, Unshown> {
        let held = || decisions.iter().filter(|decision| decision.is_held());
        let union = |list: fn(&Decision) -> &[String]| {
            let all: BTreeSet<&String> = held().flat_map(|decision| list(decision)).collect();
            all.into_iter().cloned().collect::<Vec<String>>()
        };
        let facts = || decisions.iter().flat_map(|decision| &decision.facts);
        let functions: BTreeSet<String> = facts().flat_map(|facts| facts.functions.iter().cloned()).collect();
        let mut kinds: Vec<String> = facts().map(|facts| facts.kind.clone()).collect();
        kinds.dedup();
        let estimates: Vec<_> = decisions.iter().filter_map(|decision| decision.estimate).collect();
        let sum = |all: i64, one: i64| all.saturating_add(one);
        let values = match decisions.first() {
            Some(decision) if !message.parameters.is_empty() => {
                let values = asked::values(decision, message.types, message.parameters, self.decider.detectors());
                values.ok_or_else(Unshown::values)?
            }
            _ => Vec::new(),
        };
        let holder = self.holding.holder.as_ref();
        let identity = holder.map(|holder| holder.identity.clone());
        let asked = Asked {
            id: hold.id.clone(),
            statement: hold.statement.clone(),
            number: hold.number,
            session: self.record.session().to_string(),
            requester: identity.unwrap_or_else(asked::nobody),
            resource: self.decider.resource().name.clone(),
            role: holder.map(|holder| holder.role.clone()).unwrap_or_default(),
            node: holder.map(|holder| holder.holds.node.clone()).unwrap_or_default(),
            text: message.text.to_owned(),
            runs: message.runs.clone(),
            values,
            kinds,
            relations: distinct(decisions.iter().flat_map(|decision| &decision.judgement.relations)),
            columns: distinct(decisions.iter().flat_map(|decision| &decision.judgement.columns)),
            functions: functions.into_iter().collect(),
            estimated_rows: estimates.iter().map(|one| one.rows).reduce(sum),
            estimated_cost: estimates.iter().map(|one| one.cost).reduce(sum),
            measured,
            policies: union(|decision| &decision.judgement.policies),
            policy_version: hold.meaning.policy_version.clone(),
            reason: held().map(|decision| decision.judgement.reason.as_str()).next().unwrap_or_default().to_owned(),
            in_transaction: self.in_transaction(),
            approvals: hold.approvals.iter().map(Needed::from).collect(),
            digest: hold.digest.clone(),
            asked: crate::record::now(),
            expires,
            sealed: self.record.is_sealed(),
            cancel: holder.and_then(|holder| holder.cancel.clone()),
        };
        asked.shown()
    }

    /// Notes that a statement is held.
    pub(super) fn note_held(&mut self, hold: &Hold, expires: i64) -> Result<(), End> {
        let reviewers = hold.approvals.iter().map(|approval| approval.group.clone()).collect();
        let approvals = hold.approvals.iter().map(|approval| approval.count).sum();
        let (number, request, digest) = (hold.number, hold.id.clone(), hold.digest.clone());
        self.record.note(Body::Held(Held { number, request, reviewers, expires, digest, approvals }))?;
        Ok(())
    }

    /// Notes one reviewer's answer.
    pub(super) fn note_review(&mut self, hold: &Hold, review: &Review, approved: bool) -> Result<(), End> {
        let (number, request, reason) = (hold.number, hold.id.clone(), review.reason.clone());
        let reviewer = Some(review.reviewer.clone());
        self.record.note(Body::Reviewed(Reviewed { number, request, reviewer, approved, reason }))?;
        Ok(())
    }

    /// Notes what became of the hold.
    pub(super) fn note_end(&mut self, hold: &Hold, outcome: Outcome, reason: &str) -> Result<(), End> {
        if let Some(holder) = &self.holding.holder {
            holder.holds.metrics.ended(outcome.label());
        }
        let outcome = match outcome {
            Outcome::Released => HoldOutcome::Released,
            Outcome::Denied => HoldOutcome::Denied,
            Outcome::Expired => HoldOutcome::Expired,
            Outcome::Withdrawn => HoldOutcome::Withdrawn,
            Outcome::Refused => HoldOutcome::Refused,
        };
        let (number, request, digest) = (hold.number, hold.id.clone(), hold.digest.clone());
        let quotes = outcome == HoldOutcome::Refused && self.leaving.is_some();
        let reason = if quotes { Payload::LEFT_OUT.to_owned() } else { self.redact_reason(reason.to_owned()) };
        self.record.note(Body::HoldEnded(HoldEnded { number, request, outcome, reason, digest }))?;
        Ok(())
    }
}

fn distinct<'a, T: Ord + Clone + 'a>(all: impl Iterator<Item = &'a T>) -> Vec<T> {
    let all: BTreeSet<&T> = all.collect();
    all.into_iter().cloned().collect()
}
