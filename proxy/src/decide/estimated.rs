//! Decisions that depend on the planner's estimate of a statement.

use super::{Decider, Decision, Refused};
use crate::{
    estimate::{self, Estimate, Need},
    resource::{self, View},
};
use judge::{
    policy::{self, Judgement, Subject},
    sql::{Effect, Facts},
};
use schemas::event::VerdictKind;
use std::{rc::Rc, sync::Arc};

/// What is known of a statement's estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// It was judged when what it runs was opened.
    Before,
    /// The planner said it.
    Said(Estimate),
}

impl Known {
    pub(super) fn estimate(self) -> Option<Estimate> {
        match self {
            Self::Said(estimate) => Some(estimate),
            Self::Nothing | Self::Before => None,
        }
    }
}

fn refuses(judgement: &Judgement) -> bool {
    matches!(judgement.verdict, VerdictKind::Deny | VerdictKind::Hold)
}

impl Decision {
    /// What it runs that the planner cannot be asked about, if so.
    pub(crate) fn cannot_be_estimated(&self) -> Option<&'static str> {
        match self.need {
            Need::Impossible(what) => Some(what),
            Need::Nothing | Need::Before | Need::Ask => None,
        }
    }

    /// It was decided of the same facts, under the same policies and catalog, and nothing that passes by itself counts.
    pub(crate) fn stands_on(&self, other: &Self) -> bool {
        let alike = |(one, two): (&Arc<Facts>, &Arc<Facts>)| Arc::ptr_eq(one, two);
        Arc::ptr_eq(&self.view, &other.view)
            && self.approved == other.approved
            && !self.judgement.reads.time
            && self.facts.len() == other.facts.len()
            && self.facts.iter().zip(&other.facts).all(alike)
    }

    /// Why what was bound before estimates were wanted cannot run now.
    pub(crate) fn lacks_estimate(&self) -> Option<Refused> {
        (matches!(self.need, Need::Ask | Need::Impossible(_)) && Refused::of(self).is_none()).then(|| {
            let text = "the policies judge by the cost of statements since this portal was opened";
            Refused::because("55000", "builtin:portal", text, "bind it again")
        })
    }

    /// The estimate, as notes of the verdict.
    pub(super) fn estimate_flags(&self) -> Vec<String> {
        let of = |estimate: Estimate| {
            vec![format!("estimate:rows={}", estimate.rows), format!("estimate:cost={}", estimate.cost)]
        };
        self.estimate.map(of).unwrap_or_default()
    }
}

impl Decider {
    /// Decides again what was decided without the planner's estimate, now with it.
    pub fn estimated(&self, before: &Rc<Decision>, estimate: Estimate) -> Rc<Decision> {
        self.decide_with(&before.view, before.facts.clone(), before.effects.clone(), Known::Said(estimate))
    }

    /// Decides again what a portal was opened under, with what was known of its estimate then.
    pub(super) fn decide_estimated(&self, view: &Arc<View>, before: &Decision) -> Rc<Decision> {
        let known = match (before.estimate, before.need) {
            (Some(estimate), _) => Known::Said(estimate),
            (None, Need::Before) => Known::Before,
            (None, _) => Known::Nothing,
        };
        // an approval counts for what it was given under alone
        let approved = before.approved && Arc::ptr_eq(&before.view, view);
        self.as_approved(approved, || self.decide_with(view, before.facts.clone(), before.effects.clone(), known))
    }

    /// Decides what a cursor returns, whose estimate was judged when it was declared.
    pub(super) fn decide_known(&self, view: &Arc<View>, inner: Vec<Arc<Facts>>) -> Rc<Decision> {
        // that it may be declared is not that it may be read from
        self.as_approved(false, || self.decide_with(view, inner, Vec::new(), Known::Before))
    }

    /// Judges a statement, and says whether the planner must be asked. Where it must, the judgement is the one of a
    /// statement that costs nothing: what that denies is denied, and the planner is not asked.
    pub(super) fn judged(
        &self,
        view: &View,
        facts: &[Arc<Facts>],
        subject: &Subject,
        known: Known,
    ) -> (Judgement, Need) {
        let settings = &self.resource.estimates;
        let mut context = resource::now();
        context.approved = self.approving.is_approved();
        if let Known::Said(estimate) = known {
            (context.estimated_rows, context.estimated_cost) = (Some(estimate.rows), Some(estimate.cost));
        }
        let judge = |context: &policy::Context| judge_all(view, facts, subject, context);
        let mut judgement = judge(&context);
        if let Known::Said(estimate) = known {
            if let Some((reason, hint)) = settings.exceeded(estimate).filter(|_| judgement.verdict != VerdictKind::Deny)
            {
                judgement.verdict = VerdictKind::Deny;
                (judgement.reason, judgement.hint) = (reason, hint);
                judgement.policies = vec![estimate::POLICY.to_owned()];
            }
            return (judgement, Need::Nothing);
        }
        // reviewers are shown the estimate, where there can be one
        let shown = judgement.verdict == VerdictKind::Hold && self.can_ask() && settings.may_ask();
        let shown = shown && facts.first().is_some_and(|first| Need::of(first) == Need::Ask);
        let wanted = shown || settings.wants(judgement.reads.estimates);
        let mut need = facts.first().filter(|_| wanted).map_or(Need::Nothing, |first| Need::of(first));
        if known == Known::Before && need != Need::Nothing {
            need = Need::Before;
        }
        if need == Need::Nothing {
            return (judgement, need);
        }
        (context.estimated_rows, context.estimated_cost) = (Some(0), Some(0));
        let judgement = judge(&context);
        // what waits for reviewers is estimated, since the estimate may ask for more of them
        if refuses(&judgement) && !(judgement.verdict == VerdictKind::Hold && self.can_ask()) {
            need = Need::Nothing;
        }
        (judgement, need)
    }
}

/// Judges all that a statement may be; of what is approved, with the approvals that it had to have.
fn judge_all(view: &View, facts: &[Arc<Facts>], subject: &Subject, context: &policy::Context) -> Judgement {
    let mut judgement = judge(view, facts, subject, context);
    if context.approved {
        judgement.holds = judge(view, facts, subject, &policy::Context { approved: false, ..*context }).holds;
    }
    judgement
}

/// Judges all that a statement may be. With an estimate, the query of a cursor is judged when the cursor is declared.
fn judge(view: &View, facts: &[Arc<Facts>], subject: &Subject, context: &policy::Context) -> Judgement {
    let mut judgement = policy::merge(facts.iter().map(|f| view.judge(f, subject, context)));
    for inner in facts.iter().flat_map(|facts| &facts.effects) {
        let Effect::Declare { inner, .. } = inner else { continue };
        let inside = view.judge(inner, subject, context);
        judgement.reads = judgement.reads.or(inside.reads);
        if context.estimated_rows.is_none() || !refuses(&inside) {
            continue;
        }
        if judgement.verdict == VerdictKind::Hold && inside.verdict == VerdictKind::Hold {
            judgement.holds.extend(inside.holds);
            judgement.holds.sort();
            judgement.holds.dedup();
        } else if judgement.verdict != VerdictKind::Deny {
            judgement.verdict = inside.verdict;
            (judgement.reason, judgement.hint) = (inside.reason, inside.hint);
            (judgement.policies, judgement.holds) = (inside.policies, inside.holds);
        }
    }
    judgement
}
