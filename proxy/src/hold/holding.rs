//! Where a session's hold stands, and what it waits for: an answer, the clock, or the client's change of mind.
//!
//! Nothing here blocks and nothing is asked again and again: the session's own task is woken by what it waits for.

use super::{Answer, Holder, Outcome, POLICY, Pending, Place, digest::Meaning, measure::Measuring};
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::Refused,
};
use judge::policy::Approval;
use schemas::event::Payload;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;

/// The holds of one session: one at a time.
#[derive(Default)]
pub(crate) struct Holding {
    pub(super) holder: Option<Holder>,
    pub(super) hold: Option<Box<Hold>>,
    /// The numbers of the held message's statements, which are in the record already.
    pub(super) numbers: VecDeque<u64>,
    /// The client's message waits for the answers to what came before it.
    pub(super) settling: bool,
    /// The server was asked for them.
    pub(super) flushed: bool,
    /// The open window opened a portal: its transaction is more than a Parse.
    pub(super) used: bool,
    /// How many rows the message would write is being counted.
    pub(super) measuring: Measuring,
}

/// A held message.
pub(super) struct Hold {
    pub(super) id: String,
    /// Its first held statement.
    pub(super) number: u64,
    pub(super) statement: String,
    pub(super) digest: String,
    pub(super) meaning: Meaning,
    pub(super) approvals: Vec<Approval>,
    pub(super) phase: Phase,
    /// Who agreed.
    pub(super) by: String,
    pub(super) time: Duration,
    pub(super) expiry: Pin<Box<Sleep>>,
    pub(super) cancelled: Pin<Box<dyn Future<Output = ()>>>,
    pub(super) _place: Place,
}

/// Where it stands.
pub(super) enum Phase {
    /// The question is on its way.
    Asking(Pending<Result<(), String>>),
    /// The client was told; nobody answered yet.
    Waiting(Pending<Answer>),
    /// Reviewers agreed: it is decided again.
    Approved,
    /// The approval is taken.
    Releasing(Pending<Result<(), String>>),
    /// It may go, if it still means the same.
    Released,
    /// It may not.
    Refused(Refused),
}

impl Phase {
    fn waits(&self) -> bool {
        match self {
            Self::Asking(_) | Self::Waiting(_) | Self::Releasing(_) => true,
            Self::Approved | Self::Released | Self::Refused(_) => false,
        }
    }
}

impl Holding {
    /// What is decided now has an approval.
    pub(super) fn is_approved(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| matches!(hold.phase, Phase::Approved | Phase::Released))
    }
}

/// The refusal of a held statement.
pub(super) fn refused(sqlstate: &'static str, reason: &str, hint: &str) -> Refused {
    crate::limits::refused(sqlstate, POLICY, reason, hint)
}

/// What a client gets that cancels, as PostgreSQL words it.
fn cancelled() -> Refused {
    refused("57014", "canceling statement due to user request", "it was held for approval, and did not run")
}

/// What the client may do about an answer that it does not like.
pub(super) const AGAIN: &str = "send it again to ask again";

impl Conversation {
    /// A statement is held: the session waits, and the client may change its mind.
    pub fn is_held(&self) -> bool {
        self.holding.hold.as_ref().is_some_and(|hold| hold.phase.waits())
    }

    /// The client's next message waits: for an answer of reviewers, or of the server to what came before.
    pub(crate) fn hold_waits(&self) -> bool {
        self.is_held() || self.holding.measuring.waits() || (self.holding.settling && !self.flight.is_empty())
    }

    /// Drives the hold; ready where the client's message is to be looked at again. Words for the client go to `out`.
    ///
    /// # Errors
    /// [`End`]: the record cannot be made.
    pub fn poll_hold(&mut self, context: &mut Context<'_>, out: &mut Outbox) -> Result<Poll<()>, End> {
        let Some(mut hold) = self.holding.hold.take() else { return Ok(Poll::Pending) };
        let polled = self.poll_phase(&mut hold, context, out);
        self.holding.hold = Some(hold);
        polled
    }

    fn poll_phase(&mut self, hold: &mut Hold, context: &mut Context<'_>, out: &mut Outbox) -> Result<Poll<()>, End> {
        if !hold.phase.waits() {
            return Ok(Poll::Pending);
        }
        // an approval that is being taken may have been: what became of it comes first
        let releasing = matches!(hold.phase, Phase::Releasing(_));
        if !releasing && hold.cancelled.as_mut().poll(context).is_ready() {
            return self.over(hold, Outcome::Withdrawn, cancelled()).map(Poll::Ready);
        }
        if !releasing && hold.expiry.as_mut().poll(context).is_ready() {
            let reason = format!("nobody approved it within {} ({})", shown(hold.time), hold.id);
            return self.over(hold, Outcome::Expired, refused("42501", &reason, AGAIN)).map(Poll::Ready);
        }
        loop {
            match &mut hold.phase {
                Phase::Asking(asking) => match asking.as_mut().poll(context) {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(Ok(())) => {
                        self.tell_held(hold, out)?;
                        let Some(holder) = &self.holding.holder else { return Ok(Poll::Pending) };
                        hold.phase = Phase::Waiting(holder.holds.reviewers.answer(&hold.id));
                    }
                    Poll::Ready(Err(why)) => {
                        let reason = format!("it needs approval, and nobody can be asked: {why}");
                        return self.over(hold, Outcome::Refused, refused("42501", &reason, AGAIN)).map(Poll::Ready);
                    }
                },
                Phase::Waiting(waiting) => match waiting.as_mut().poll(context) {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(answer) => return self.answered(hold, answer).map(Poll::Ready),
                },
                Phase::Releasing(releasing) => match releasing.as_mut().poll(context) {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(Ok(())) => {
                        // the approval is used up, and the client wants nothing of it any more
                        if hold.cancelled.as_mut().poll(context).is_ready() {
                            return self.over(hold, Outcome::Withdrawn, cancelled()).map(Poll::Ready);
                        }
                        hold.phase = Phase::Released;
                        return Ok(Poll::Ready(()));
                    }
                    Poll::Ready(Err(why)) => {
                        let reason = format!("its approval does not count: {why}");
                        return self.over(hold, Outcome::Refused, refused("42501", &reason, AGAIN)).map(Poll::Ready);
                    }
                },
                Phase::Approved | Phase::Released | Phase::Refused(_) => return Ok(Poll::Pending),
            }
        }
    }

    fn answered(&mut self, hold: &mut Hold, answer: Answer) -> Result<(), End> {
        match answer {
            Answer::Approved(reviews) => {
                for review in &reviews {
                    self.note_review(hold, review, true)?;
                }
                let names: Vec<&str> = reviews.iter().map(|review| review.reviewer.subject.as_str()).collect();
                hold.by = format!("approved by {}", names.join(" and "));
                hold.phase = Phase::Approved;
                Ok(())
            }
            Answer::Denied(review) => {
                self.note_review(hold, &review, false)?;
                let why = if review.reason.is_empty() { String::new() } else { format!(": {}", review.reason) };
                let reason = format!("{} denied it{why} ({})", review.reviewer.subject, hold.id);
                self.over(hold, Outcome::Denied, refused("42501", &reason, "do without it, or ask the reviewer"))
            }
            Answer::Withdrawn => self.over(hold, Outcome::Withdrawn, cancelled()),
            Answer::Ended(why) => {
                let reason = format!("its request for approval ended: {why} ({})", hold.id);
                self.over(hold, Outcome::Refused, refused("42501", &reason, AGAIN))
            }
        }
    }

    /// It will not run: the record and the reviewers learn why.
    pub(super) fn over(&mut self, hold: &mut Hold, outcome: Outcome, why: Refused) -> Result<(), End> {
        self.note_end(hold, outcome, why.reason())?;
        if let Some(holder) = &self.holding.holder {
            holder.signal.forget();
            // a denial is the reviewers' own word
            if outcome != Outcome::Denied {
                // the topic is not sealed, and a reason may quote the statement
                let reason = match (self.record.is_sealed(), self.leaving.is_some()) {
                    (true, _) => Payload::SEALED,
                    (_, true) => Payload::LEFT_OUT,
                    _ => why.reason(),
                };
                holder.holds.reviewers.end(&hold.id, outcome, reason);
            }
        }
        hold.phase = Phase::Refused(why);
        Ok(())
    }
}

/// A time in words.
pub(super) fn shown(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds if seconds >= 120 && seconds.is_multiple_of(60) => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
