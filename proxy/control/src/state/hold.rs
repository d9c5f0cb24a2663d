//! Held statements: an approval releases one of them, once (CTL-1).

use super::review::{Asked, approvals};
use super::{Effect, MAX_KEPT, Refused, State, make_room};
use crate::record::{Digest, HoldAsk, Review};
use schemas::HoldId;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// Bytes of what reviewers were shown that are kept of a hold that has ended.
const MAX_SHOWN_AFTERWARDS: usize = 16 << 10;
/// Characters of a longer one's text that are.
const MAX_TEXT_AFTERWARDS: usize = 1_000;

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// For reviewers.
    Waiting,
    /// Enough have agreed; its gate may release it, once.
    Approved,
    /// A reviewer said no.
    Denied,
    /// The client cancelled it or left.
    Withdrawn,
    /// It went to the database.
    Released,
    /// Nobody answered in time, or what was approved no longer holds.
    Expired,
}

impl HoldState {
    /// In a word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// A held statement, and what was said about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hold {
    /// What is asked.
    #[serde(flatten)]
    pub asked: HoldAsk,
    /// When, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// Where it stands.
    pub state: HoldState,
    /// Answers that count, in order.
    pub reviews: Vec<Review>,
    /// Why it ended, where no reviewer ended it.
    pub ended: Option<String>,
}

impl Hold {
    /// Whether it waits for reviewers now.
    pub fn is_open(&self, now: i64) -> bool {
        self.state == HoldState::Waiting && now < self.asked.expires
    }

    /// It waits no more. Of what reviewers were shown only the beginning is kept where that is much: the record has all of it.
    fn end(&mut self, state: HoldState) {
        self.state = state;
        let shown = &self.asked.shown;
        if shown.to_string().len() > MAX_SHOWN_AFTERWARDS {
            let text: String = shown
                .get("text")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .chars()
                .take(MAX_TEXT_AFTERWARDS)
                .collect();
            let (reason, kinds) = (shown.get("reason"), shown.get("kinds"));
            self.asked.shown = json!({"text": text, "reason": reason, "kinds": kinds, "shortened": true});
        }
    }

    fn has_ended(&self, now: i64) -> bool {
        match self.state {
            HoldState::Waiting | HoldState::Approved => now >= self.asked.expires,
            HoldState::Denied | HoldState::Withdrawn | HoldState::Released | HoldState::Expired => true,
        }
    }
}

impl State {
    pub(super) fn hold_asked(&mut self, at: i64, ask: &HoldAsk) -> Result<Vec<Effect>, Refused> {
        if self.holds.contains_key(&ask.id) {
            return Err(Refused::Exists(ask.id.to_string()));
        }
        if self.is_disabled(&ask.requester).is_some() {
            return Err(Refused::Disabled(ask.requester.subject.clone()));
        }
        if ask.approvals == 0 || ask.expires <= at {
            return Err(Refused::Invalid("it needs no approval, or has expired already"));
        }
        make_room(&mut self.holds, MAX_KEPT, |hold| hold.has_ended(at))?;
        let hold = Hold { asked: ask.clone(), time: at, state: HoldState::Waiting, reviews: Vec::new(), ended: None };
        self.holds.insert(ask.id, Arc::new(hold));
        Ok(Vec::new())
    }

    pub(super) fn hold_reviewed(&mut self, at: i64, id: HoldId, review: &Review) -> Result<Vec<Effect>, Refused> {
        let hold = self.holds.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        match hold.state {
            HoldState::Waiting => {}
            HoldState::Expired => return Err(Refused::Expired),
            HoldState::Released => return Err(Refused::Released),
            other => return Err(Refused::Answered(other.label())),
        }
        let asked = Asked {
            requester: &hold.asked.requester,
            reviewers: &hold.asked.reviewers,
            digest: hold.asked.digest,
            expires: hold.asked.expires,
            reviews: &hold.reviews,
        };
        self.counts(at, &asked, review)?;
        let mut hold = Hold::clone(hold);
        hold.reviews.push(review.clone());
        let mut effects = Vec::new();
        if !review.approved {
            hold.end(HoldState::Denied);
        } else if approvals(&hold.reviews) >= hold.asked.approvals {
            hold.state = HoldState::Approved;
            effects.push(Effect::Approved(id));
        }
        self.holds.insert(id, Arc::new(hold));
        Ok(effects)
    }

    pub(super) fn hold_released(&mut self, at: i64, id: HoldId, digest: Digest) -> Result<Vec<Effect>, Refused> {
        let hold = self.holds.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        match hold.state {
            HoldState::Approved => {}
            HoldState::Waiting => {
                return Err(Refused::TooFew { given: approvals(&hold.reviews), needed: hold.asked.approvals });
            }
            HoldState::Released => return Err(Refused::Released),
            HoldState::Expired => return Err(Refused::Expired),
            other => return Err(Refused::Answered(other.label())),
        }
        if at >= hold.asked.expires {
            return Err(Refused::Expired);
        }
        if digest != hold.asked.digest {
            return Err(Refused::OtherDigest);
        }
        if self.is_disabled(&hold.asked.requester).is_some() {
            return Err(Refused::Disabled(hold.asked.requester.subject.clone()));
        }
        if let Some(hold) = self.holds.get_mut(&id) {
            Arc::make_mut(hold).end(HoldState::Released);
        }
        Ok(Vec::new())
    }

    /// The end that its gate says, withdrawn or expired, unless it ended before.
    pub(super) fn hold_ended(&mut self, id: HoldId, state: HoldState, reason: &str) -> Result<Vec<Effect>, Refused> {
        let hold = self.holds.get_mut(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        match hold.state {
            HoldState::Waiting | HoldState::Approved => {
                let hold = Arc::make_mut(hold);
                hold.end(state);
                hold.ended = Some(reason.to_owned());
                Ok(Vec::new())
            }
            HoldState::Released => Err(Refused::Released),
            other => Err(Refused::Answered(other.label())),
        }
    }
}
