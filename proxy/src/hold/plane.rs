//! The reviewers of the control plane: asked on one node, answering on any, released on the first.

use super::{Answer, Asked, Elsewhere, Outcome, Pending, Review, Reviewers, asked::Needed};
use control::{Control, Digest, HoldAsk, HoldState, Needs, Record};
use schemas::{HoldId, event::Identity};
use serde::Deserialize;
use std::sync::Arc;

/// Asks by the control topic.
pub struct ByControl {
    control: Control,
    elsewhere: Elsewhere,
}

impl ByControl {
    /// Over this handle.
    pub fn new(control: Control) -> Self {
        let elsewhere = Elsewhere::new(control.clone());
        Self { control, elsewhere }
    }
}

impl Reviewers for ByControl {
    fn ask(&self, asked: Asked) -> Pending<Result<(), String>> {
        let (control, elsewhere) = (self.control.clone(), self.elsewhere.clone());
        Box::pin(async move {
            control.fresh().map_err(|stale| stale.to_string())?;
            let mut question = question(&asked)?;
            if asked.sealed {
                question.shown = control.seal_shown(question.id, &question.shown)?;
            }
            if let Some(cancel) = asked.cancel {
                question.cancel = elsewhere.mark(question.session, cancel).await;
            }
            let record = Record::HoldAsked(Box::new(question));
            control.append(record).await.map(drop).map_err(|error| crate::chain(&error))
        })
    }

    fn answer(&self, id: &str) -> Pending<Answer> {
        let (mut states, id) = (self.control.watch(), id.parse::<HoldId>());
        Box::pin(async move {
            let Ok(id) = id else { return Answer::Ended("its id is none".to_owned()) };
            loop {
                let answer = states.borrow_and_update().hold(id).and_then(answer);
                if let Some(answer) = answer {
                    return answer;
                }
                if states.changed().await.is_err() {
                    return Answer::Ended("the gate is shutting down".to_owned());
                }
            }
        })
    }

    fn release(&self, id: &str, digest: &str) -> Pending<Result<(), String>> {
        let control = self.control.clone();
        let record = id.parse().map_err(|error: schemas::id::ParseError| error.to_string());
        let record = record.and_then(|hold| Ok(Record::HoldReleased { hold, digest: digest.parse::<Digest>()? }));
        Box::pin(async move {
            let record = record?;
            // whoever has been disabled meanwhile must be known to be
            control.fresh().map_err(|stale| stale.to_string())?;
            control.append(record).await.map(drop).map_err(|error| crate::chain(&error))
        })
    }

    fn end(&self, id: &str, outcome: Outcome, reason: &str) {
        let Ok(hold) = id.parse::<HoldId>() else { return };
        let reason = reason.to_owned();
        let record = match outcome {
            Outcome::Withdrawn => Record::HoldWithdrawn { hold, reason },
            Outcome::Released | Outcome::Denied | Outcome::Expired | Outcome::Refused => {
                Record::HoldExpired { hold, reason }
            }
        };
        let control = self.control.clone();
        let told = async move {
            match control.append(record).await {
                // a reviewer was faster
                Ok(_) | Err(control::Error::Refused(_)) => {}
                Err(error) => tracing::warn!(%hold, error = %crate::chain(&error), "the end of a hold was not told"),
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(told)),
            Err(error) => tracing::warn!(%hold, %error, "the end of a hold was not told: it expires by itself"),
        }
    }
}

fn question(asked: &Asked) -> Result<HoldAsk, String> {
    let id = |error: schemas::id::ParseError| error.to_string();
    Ok(HoldAsk {
        id: asked.id.parse().map_err(id)?,
        session: asked.session.parse().map_err(id)?,
        statement: asked.number,
        requester: asked.requester.clone(),
        resource: asked.resource.clone(),
        role: asked.role.clone(),
        digest: asked.digest.parse()?,
        policy_version: asked.policy_version.clone(),
        reviewers: asked.approvals.iter().map(|needed| needed.group.clone()).collect(),
        approvals: asked.approvals.iter().map(|needed| needed.count).sum(),
        needs: asked.approvals.iter().map(|one| Needs { group: one.group.clone(), count: one.count }).collect(),
        expires: asked.expires,
        shown: serde_json::to_value(asked).map_err(|error| error.to_string())?,
        opened: None,
        cancel: None,
    })
}

/// What the state says of a hold, once it is no longer open.
fn answer(hold: &Arc<control::Hold>) -> Option<Answer> {
    let review = |one: &control::Review| Review { reviewer: one.reviewer.clone(), reason: one.reason.clone() };
    match hold.state {
        HoldState::Waiting => None,
        HoldState::Approved => {
            let reviews: Vec<Review> = hold.reviews.iter().filter(|one| one.approved).map(review).collect();
            let Ok(asked) = Asked::deserialize(hold.asked.shown()) else {
                return Some(Answer::Ended("what was asked cannot be read any more".to_owned()));
            };
            Some(match lacking(&asked.approvals, reviews.iter().map(|one| &one.reviewer)) {
                None => Answer::Approved(reviews),
                Some(group) => Answer::Ended(format!("as many agreed as had to, and too few of {group}")),
            })
        }
        HoldState::Denied => {
            let denied = hold.reviews.iter().find(|one| !one.approved).map(review);
            Some(denied.map_or_else(|| Answer::Ended("it was denied".to_owned()), Answer::Denied))
        }
        HoldState::Withdrawn => Some(Answer::Withdrawn),
        other @ (HoldState::Released | HoldState::Expired) => {
            let why = hold.ended.clone().unwrap_or_else(|| other.label().to_owned());
            Some(Answer::Ended(why))
        }
    }
}

/// The first group of which too few are among these.
fn lacking<'a>(needed: &[Needed], reviewers: impl Iterator<Item = &'a Identity> + Clone) -> Option<String> {
    let of = |group: &str| reviewers.clone().filter(|one| one.groups.iter().any(|g| g == group)).count();
    let lacks = |one: &&Needed| (of(&one.group) as u64) < u64::from(one.count);
    needed.iter().find(lacks).map(|one| one.group.clone())
}
