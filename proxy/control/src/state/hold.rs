//! Held statements: an approval releases one of them, once (CTL-1).

use super::review::{Asked, agreed, approvals};
use super::share::{self, Share};
use super::{Effect, MAX_KEPT, Refused, State, make_room};
use crate::reader::MAX_SKEW_MICROS;
use crate::record::{Digest, HoldAsk, Review};
use schemas::HoldId;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Statements that one identity may have held at once, and bytes that they may show together.
const SHARE_OF_ONE: Share = Share { number: 1000, weight: 64 << 20 };
/// Likewise of all whom one issuer vouches for.
const SHARE_OF_ISSUER: Share = Share { number: MAX_KEPT / 2, weight: MAX_SHOWN_BYTES / 2 };
/// Bytes that all held statements may show together.
const MAX_SHOWN_BYTES: usize = 256 << 20;
/// Members of groups that may have to agree.
const MAX_NEEDED: u32 = 64;
/// Bytes of what reviewers were shown that are kept of a hold that has ended.
const MAX_SHOWN_AFTERWARDS: usize = 4 << 10;
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
    /// What is asked. Of what is shown of it, the beginning stays when it ends: the audit record has all of it for good.
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

    /// Of what reviewers were shown only the beginning is kept where that is much: the audit record has all of it.
    fn shorten(&mut self) {
        let beginning = |shown: &Value| {
            let text = shown.get("text").and_then(Value::as_str).unwrap_or_default();
            let text: String = text.chars().take(MAX_TEXT_AFTERWARDS).collect();
            json!({"text": text, "reason": shown.get("reason"), "kinds": shown.get("kinds"), "shortened": true})
        };
        if self.asked.shown.to_string().len() > MAX_SHOWN_AFTERWARDS {
            self.asked.opened = self.asked.opened.as_ref().map(beginning);
            self.asked.shown = beginning(&self.asked.shown);
        }
    }

    /// Whether reviewers cannot see all of it any more.
    fn is_shortened(&self) -> bool {
        self.asked.shown.get("shortened") == Some(&Value::Bool(true))
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
        if self.is_killed(ask.session).is_some() {
            return Err(Refused::Killed);
        }
        let needed = ask.needs.iter().fold(0u32, |sum, needs| sum.saturating_add(needs.count));
        if ask.approvals == 0 || ask.approvals > MAX_NEEDED || needed > MAX_NEEDED || ask.expires <= at {
            return Err(Refused::Invalid("it needs no approval, or too many, or has expired already"));
        }
        let bytes = weight(&ask.shown);
        if self.shown_bytes.saturating_add(bytes) > MAX_SHOWN_BYTES {
            return Err(Refused::Full { limit: self.showing.len() });
        }
        let holds = &self.holds;
        let is_open = |id| holds.get(&id).is_some_and(|hold| !hold.has_ended(at));
        let (one, all) = (share::one(&ask.requester), share::all(&ask.requester));
        self.held.admit(&one, &SHARE_OF_ONE, bytes, is_open)?;
        self.held.admit(&all, &SHARE_OF_ISSUER, bytes, is_open)?;
        self.held.enter(one, ask.id, bytes, is_open);
        self.held.enter(all, ask.id, bytes, is_open);
        make_room(&mut self.holds, MAX_KEPT, |hold| hold.has_ended(at))?;
        self.showing.insert((ask.expires, ask.id), bytes);
        self.shown_bytes += bytes;
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
        if review.approved && hold.is_shortened() {
            return Err(Refused::Shortened);
        }
        let mut hold = Hold::clone(hold);
        hold.reviews.push(review.clone());
        let mut effects = Vec::new();
        if !review.approved {
            hold.state = HoldState::Denied;
        } else if agreed(&hold.asked, &self.standing(&hold.reviews)) {
            hold.state = HoldState::Approved;
            effects.push(Effect::Approved(id));
        }
        let denied = hold.state == HoldState::Denied;
        self.holds.insert(id, Arc::new(hold));
        if denied {
            self.stop_showing(id);
        }
        Ok(effects)
    }

    pub(super) fn hold_released(&mut self, at: i64, id: HoldId, digest: Digest) -> Result<Vec<Effect>, Refused> {
        let hold = self.holds.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        match hold.state {
            HoldState::Approved | HoldState::Waiting => {}
            HoldState::Released => return Err(Refused::Released),
            HoldState::Expired => return Err(Refused::Expired),
            other => return Err(Refused::Answered(other.label())),
        }
        if at >= hold.asked.expires {
            return Err(Refused::Expired);
        }
        // also of one that was approved: by somebody, perhaps, who has been disabled since
        let standing = self.standing(&hold.reviews);
        if hold.state != HoldState::Approved || !agreed(&hold.asked, &standing) {
            return Err(Refused::TooFew { given: approvals(&standing), needed: hold.asked.approvals });
        }
        if digest != hold.asked.digest {
            return Err(Refused::OtherDigest);
        }
        if self.is_disabled(&hold.asked.requester).is_some() {
            return Err(Refused::Disabled(hold.asked.requester.subject.clone()));
        }
        if self.is_killed(hold.asked.session).is_some() {
            return Err(Refused::Killed);
        }
        if let Some(hold) = self.holds.get_mut(&id) {
            Arc::make_mut(hold).state = HoldState::Released;
        }
        self.stop_showing(id);
        Ok(Vec::new())
    }

    /// The end that its gate says, withdrawn or expired, unless it ended before.
    pub(super) fn hold_ended(&mut self, id: HoldId, state: HoldState, reason: &str) -> Result<Vec<Effect>, Refused> {
        let hold = self.holds.get_mut(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        match hold.state {
            HoldState::Waiting | HoldState::Approved => {
                let hold = Arc::make_mut(hold);
                hold.state = state;
                hold.ended = Some(reason.to_owned());
                self.stop_showing(id);
                Ok(Vec::new())
            }
            HoldState::Released => Err(Refused::Released),
            other => Err(Refused::Answered(other.label())),
        }
    }

    /// Lets go of what is shown of a hold that has ended.
    fn stop_showing(&mut self, id: HoldId) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        let hold = Arc::make_mut(hold);
        hold.shorten();
        self.shown_bytes -= self.showing.remove(&(hold.asked.expires, id)).unwrap_or(0);
    }

    /// Likewise of those whose time is over, whoever has said so or not.
    pub(super) fn forget_shown(&mut self, at: i64) {
        // nodes' clocks differ by a little
        let at = at.saturating_sub(MAX_SKEW_MICROS);
        while let Some((&(expires, id), bytes)) = self.showing.first().filter(|((expires, _), _)| *expires <= at) {
            let bytes = *bytes;
            self.stop_showing(id);
            // also of one that is not there any more
            if self.showing.remove(&(expires, id)).is_some() {
                self.shown_bytes -= bytes;
            }
        }
    }
}

/// Bytes that a value takes, about.
fn weight(value: &Value) -> usize {
    const EACH: usize = 32;
    EACH + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
    }
}
