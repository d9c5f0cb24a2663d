//! Where a message meets its hold: before it is forwarded, and again when it was answered.
//!
//! [`crate::forward`] calls this for a simple message and for a Bind, since a Bind alone already evaluates parts of its
//! statement and has the values. A message that must wait is not consumed: it comes back, is decided again, and finds
//! here what became of it.

use super::{
    Holder, Measured, Outcome,
    asked::Unshown,
    digest::{self, Meaning, Parts},
    holding::{AGAIN, Hold, Phase, refused},
    measure::{Begun, Measuring, Run},
    told::Message,
};
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::{Decision, Permit, Refused, Simple},
    flight::Awaited,
    frames::{self, backend, backend::Transaction},
    own::{Answered, Own, Purpose},
    statement::Prepared,
};
use judge::{policy::Approval, sql::Effect};
use schemas::{
    StatementId,
    event::{Completed, Outcome as Ending},
};
use std::{collections::BTreeSet, rc::Rc, time::Duration};

/// Largest values of a Bind that can be held: what a Statement event repeats.
const MAX_VALUES: usize = 64 << 10;

/// What becomes of a message that policies may hold.
pub(crate) enum Held {
    /// Nothing holds it, or it is released.
    Go,
    /// It comes back.
    Wait,
    /// It does not run.
    Refuse(Refused),
}

impl Conversation {
    /// Held statements of this session wait for reviewers.
    #[must_use]
    pub fn with_holder(mut self, holder: Holder) -> Self {
        self.decider.approving.asks();
        self.holding.holder = Some(holder);
        self
    }

    /// A message is decided: with its approval, if it comes back with one.
    pub(crate) fn hold_resumes(&self) {
        self.decider.approving.set(self.holding.is_approved());
    }

    /// The client ends its window.
    pub(crate) fn hold_sync(&mut self) {
        (self.holding.settling, self.holding.flushed, self.holding.used) = (false, false, false);
    }

    /// The number of the run that was released last, if it has one already.
    pub(crate) fn hold_number(&mut self) -> Option<u64> {
        self.holding.numbers.pop_front()
    }

    /// What becomes of a simple message.
    pub(crate) fn hold_message(&mut self, decided: &[Simple], text: &[u8], out: &mut Outbox) -> Result<Held, End> {
        if self.holding.hold.is_none() && !decided.iter().any(|one| one.decision.is_held()) {
            return Ok(Held::Go);
        }
        let decisions: Vec<Rc<Decision>> = decided.iter().map(|one| one.decision.clone()).collect();
        let text = std::str::from_utf8(text).unwrap_or_default();
        let message = Message { text, types: &[], parameters: &[], runs: self.runs(&decisions) };
        if self.holding.hold.is_some() {
            return self.hold_comes_back(&decisions, &message);
        }
        if let Some(measured) = self.holding.measuring.take() {
            return self.hold_measured(&decisions, &message, measured, out);
        }
        if let Some(answer) = self.hold_first(&decisions, false, out) {
            return Ok(answer);
        }
        let mut numbers = Vec::new();
        for statement in decided {
            let number = self.next_number();
            self.note_text(number, statement)?;
            if statement.decision.is_held() {
                self.note_decision(number, &statement.decision)?;
            }
            self.record.noted_early(number);
            numbers.push(number);
        }
        let run = match decided {
            [one] => Some(Run::simple(&one.text)),
            _ => None,
        };
        self.hold_noted(&numbers, &decisions, &message, run, out)
    }

    /// What becomes of a Bind.
    pub(crate) fn hold_bind(
        &mut self,
        candidates: &[Rc<Prepared>],
        decision: &Rc<Decision>,
        (portal, parameters): (&str, &[u8]),
        out: &mut Outbox,
    ) -> Result<Held, End> {
        if self.holding.hold.is_none() && !decision.is_held() {
            (self.holding.used, self.holding.flushed) = (true, false);
            return Ok(Held::Go);
        }
        let decisions = [decision.clone()];
        let measured = self.holding.measuring.take();
        if self.holding.hold.is_none()
            && measured.is_none()
            && let Some(answer) = self.hold_first(&decisions, true, out)
        {
            return Ok(answer);
        }
        let [prepared] = candidates else { return Ok(Held::Go) };
        let runs = self.runs(&decisions);
        let message = Message { text: &prepared.text, types: prepared.types(), parameters, runs };
        if self.holding.hold.is_some() {
            let answer = self.hold_comes_back(&decisions, &message)?;
            self.holding.used |= matches!(answer, Held::Go);
            return Ok(answer);
        }
        if let Some(measured) = measured {
            return self.hold_measured(&decisions, &message, measured, out);
        }
        if parameters.len() > MAX_VALUES {
            let reason = format!("it needs approval, and its values have more than {MAX_VALUES} bytes to review");
            return Ok(Held::Refuse(refused("42501", &reason, "send them in smaller parts")));
        }
        let number = self.next_number();
        self.note_prepared(number, prepared, decision, portal, Some(parameters))?;
        self.note_decision(number, decision)?;
        self.record.noted_early(number);
        let run = Run::bound(prepared, parameters);
        self.hold_noted(&[number], &decisions, &message, run, out)
    }

    /// The message is in the record: what it would write is counted first, where that is allowed.
    fn hold_noted(
        &mut self,
        numbers: &[u64],
        decisions: &[Rc<Decision>],
        message: &Message<'_>,
        run: Option<Run>,
        out: &mut Outbox,
    ) -> Result<Held, End> {
        self.holding.numbers = numbers.iter().copied().collect();
        let holder = self.holding.holder.as_ref().filter(|holder| holder.holds.has_room(&holder.identity));
        let signal = holder.map(|holder| holder.signal.clone());
        let measured = match signal.as_ref().map(|_| self.measure(decisions, run, out)) {
            Some(Begun::Runs) => {
                // what the client cancels from now on is the hold to come
                signal.iter().for_each(|signal| signal.set(true));
                return Ok(Held::Wait);
            }
            Some(Begun::Not(why)) => why,
            None => None,
        };
        self.begin_hold(decisions, message, measured, out)
    }

    /// The message was counted, and comes back.
    fn hold_measured(
        &mut self,
        decisions: &[Rc<Decision>],
        message: &Message<'_>,
        measured: Measured,
        out: &mut Outbox,
    ) -> Result<Held, End> {
        if let (Some(decision), Some(number)) = (decisions.first(), self.holding.numbers.front()) {
            let mut verdict = decision.verdict();
            verdict.number = *number;
            verdict.flags.push(measured.flag());
            self.note_verdict_of(verdict)?;
        }
        self.begin_hold(decisions, message, Some(measured), out)
    }

    /// A message went its way, or was refused: nothing of its hold stays behind.
    pub(crate) fn hold_after(&mut self) -> Result<(), End> {
        self.decider.approving.set(false);
        if self.holding.measuring.is_over() {
            // it was counted, and then not held
            self.holding.measuring = Measuring::default();
            self.holding.holder.iter().for_each(|holder| holder.signal.forget());
        }
        if self.holding.hold.is_none() && self.holding.numbers.is_empty() {
            return Ok(());
        }
        if let Some(mut hold) = self.holding.hold.take()
            && !matches!(hold.phase, Phase::Refused(_))
        {
            let why = refused("42501", "it can no longer be decided", AGAIN);
            self.over(&mut hold, Outcome::Refused, why)?;
        }
        self.complete(Ending::Denied);
        Ok(())
    }

    /// The session ends.
    pub(crate) fn hold_abandoned(&mut self) {
        if let Some(mut hold) = self.holding.hold.take()
            && !matches!(hold.phase, Phase::Refused(_))
        {
            let why = refused("57014", "its session ended", "");
            if let Err(end) = self.over(&mut hold, Outcome::Withdrawn, why) {
                tracing::error!(detail = %end.detail, "cannot record the end of a hold");
            }
        }
        self.complete(Ending::Abandoned);
    }

    /// Statements that are in the record and will not run.
    fn complete(&mut self, outcome: Ending) {
        for number in std::mem::take(&mut self.holding.numbers) {
            let denied = outcome == Ending::Denied;
            self.denied += u64::from(denied);
            self.completed.push(Completed {
                number,
                outcome,
                tag: String::new(),
                rows: 0,
                bytes: 0,
                duration: 0,
                sqlstate: denied.then(|| "42501".to_owned()),
                found: Vec::new(),
            });
        }
    }

    /// A transaction is open in the database, with locks that others may wait for.
    pub(super) fn in_transaction(&self) -> bool {
        self.transaction != Transaction::Idle || self.holding.used
    }

    /// What comes before a question: whether it makes sense to ask, and the answers to what was sent before.
    fn hold_first(&mut self, decisions: &[Rc<Decision>], binds: bool, out: &mut Outbox) -> Option<Held> {
        let nobody = self.holding.holder.is_none();
        let refused = decisions.iter().any(|decision| self.decider.outright(decision).is_some());
        // what is denied, or would fail in any case, is not asked about: the hold is the refusal that it always is
        if nobody || refused || (self.transaction == Transaction::Failed && self.flight.is_empty()) {
            return Some(Held::Go);
        }
        self.hold_settles(binds, out).then_some(Held::Wait)
    }

    /// The server answers first what came before: a message behind an error is skipped, and nobody need look at it. A
    /// window that only parsed and was estimated is closed besides, so that it keeps no lock meanwhile.
    fn hold_settles(&mut self, binds: bool, out: &mut Outbox) -> bool {
        let closes = binds && !self.in_transaction() && !self.budget_has_block();
        let owes = !self.flight.is_empty() && self.flight.window_is_open();
        if (closes || owes) && !self.holding.flushed {
            self.holding.flushed = true;
            let mut bytes = Vec::new();
            if closes {
                frames::put(&mut bytes, b'S', &[]);
                self.flight.push(Awaited::Own(Box::new(Own::sent(Purpose::Settle, true))));
            } else {
                frames::put(&mut bytes, b'H', &[]);
            }
            out.pass(Permit::plain(), &bytes);
        }
        self.holding.settling = !self.flight.is_empty();
        self.holding.settling
    }

    /// The server closed a window that only parsed, or had failed.
    pub(crate) fn hold_settled(&mut self, answered: Answered, body: &[u8]) -> Result<bool, End> {
        if answered == Answered::Whole {
            self.flight.pop();
            self.settle_ready(backend::ready(body)?);
        }
        Ok(answered != Answered::Other)
    }

    /// The texts behind the names in EXECUTE and FETCH.
    fn runs(&self, decisions: &[Rc<Decision>]) -> Vec<String> {
        let mut texts = Vec::new();
        for effect in decisions.iter().flat_map(|decision| &decision.effects) {
            match effect {
                Effect::Execute { name } => {
                    texts.extend(self.names.prepared(name, self.window).iter().map(|one| one.text.to_string()));
                }
                Effect::Fetch { name } => {
                    let portals = self.names.portals(name, self.window);
                    let prepared = portals.iter().filter_map(|portal| portal.prepared.as_ref());
                    texts.extend(prepared.map(|one| one.text.to_string()));
                }
                _ => {}
            }
        }
        texts
    }

    fn digest_of(&self, statement: &str, meaning: &Meaning, message: &Message<'_>) -> String {
        digest::digest(&Parts {
            text: message.text.as_bytes(),
            values: &[message.types, message.parameters],
            meaning,
            role: self.holding.holder.as_ref().map_or("", |holder| holder.role.as_str()),
            statement,
            resource: &self.decider.resource().name,
        })
    }

    /// Asks, and lets the session wait.
    fn begin_hold(
        &mut self,
        decisions: &[Rc<Decision>],
        message: &Message<'_>,
        measured: Option<Measured>,
        out: &mut Outbox,
    ) -> Result<Held, End> {
        // all was answered: what is held next in the same window asks for its own answers
        self.holding.flushed = false;
        let Some(holder) = &self.holding.holder else { return Ok(Held::Go) };
        let (holds, signal) = (holder.holds.clone(), holder.signal.clone());
        let place = match holds.place(&holder.identity) {
            Ok(place) => place,
            Err(full) => {
                signal.forget();
                let reason = format!("it needs approval, and {full}");
                return Ok(Held::Refuse(refused("53400", &reason, "try again when others are answered")));
            }
        };
        let first = decisions.iter().position(|decision| decision.is_held()).unwrap_or(0);
        let number = self.holding.numbers.get(first).copied().unwrap_or_default();
        let statement = StatementId { session: self.record.session(), number }.to_string();
        let meaning = Meaning::of(decisions.iter().map(AsRef::as_ref));
        let time = if self.in_transaction() { holds.settings.expires_in_transaction } else { holds.settings.expires };
        let expires = crate::record::now().saturating_add(microseconds(time));
        let mut hold = Box::new(Hold {
            id: format!("hld_{}", uuid::Uuid::now_v7().simple()),
            number,
            digest: self.digest_of(&statement, &meaning, message),
            statement,
            meaning,
            approvals: needed(decisions),
            phase: Phase::Approved,
            by: String::new(),
            time,
            expiry: Box::pin(tokio::time::sleep(time)),
            cancelled: Box::pin({
                let signal = signal.clone();
                async move { signal.cancelled().await }
            }),
            _place: place,
        });
        let asked = match self.for_reviewers(&hold, message, decisions, measured, expires) {
            Ok(asked) => asked,
            Err(Unshown { why, hint }) => {
                signal.forget();
                let reason = format!("it needs approval, and nobody could see what they would approve: {why}");
                return Ok(Held::Refuse(refused("42501", &reason, hint)));
            }
        };
        self.note_held(&hold, expires)?;
        self.commit(out)?;
        hold.phase = Phase::Asking(holds.reviewers.ask(asked));
        signal.set(true);
        self.holding.hold = Some(hold);
        Ok(Held::Wait)
    }

    /// The message of the hold was decided again.
    fn hold_comes_back(&mut self, decisions: &[Rc<Decision>], message: &Message<'_>) -> Result<Held, End> {
        let Some(mut hold) = self.holding.hold.take() else { return Ok(Held::Go) };
        match &hold.phase {
            Phase::Refused(why) => return Ok(Held::Refuse(why.clone())),
            Phase::Asking(_) | Phase::Waiting(_) | Phase::Releasing(_) => {
                self.holding.hold = Some(hold);
                return Ok(Held::Wait);
            }
            Phase::Approved | Phase::Released => {}
        }
        if let Err(why) = self.still_same(&hold, decisions, message) {
            let why = refused("42501", &format!("it was approved, but {why} ({})", hold.id), AGAIN);
            self.over(&mut hold, Outcome::Refused, why.clone())?;
            self.decider.approving.set(false);
            return Ok(Held::Refuse(why));
        }
        let Some(holder) = &self.holding.holder else { return Ok(Held::Go) };
        if matches!(hold.phase, Phase::Approved) {
            hold.phase = Phase::Releasing(holder.holds.reviewers.release(&hold.id, &hold.digest));
            self.holding.hold = Some(hold);
            self.decider.approving.set(false);
            return Ok(Held::Wait);
        }
        holder.signal.forget();
        self.note_end(&hold, Outcome::Released, &hold.by)?;
        Ok(Held::Go)
    }

    /// What was approved is what is about to run (CTL-1).
    fn still_same(&self, hold: &Hold, decisions: &[Rc<Decision>], message: &Message<'_>) -> Result<(), String> {
        let meaning = Meaning::of(decisions.iter().map(AsRef::as_ref));
        let before = &hold.meaning;
        if meaning.policy_version != before.policy_version {
            return Err("the policies have changed since it was asked for".to_owned());
        }
        if meaning.definitions != before.definitions {
            return Err("definitions in the database have changed since it was asked for".to_owned());
        }
        if meaning.objects != before.objects {
            return Err("it no longer means what it meant when it was asked for".to_owned());
        }
        if let Some(why) = decisions.iter().find_map(|decision| Refused::of(decision)) {
            return Err(format!("it is denied now: {}", why.reason()));
        }
        if let Some(more) = needed(decisions).iter().find(|needed| !hold.approvals.contains(needed)) {
            return Err(format!("it needs the approval of {more} now"));
        }
        if self.digest_of(&hold.statement, &meaning, message) != hold.digest {
            return Err("it is not what was approved".to_owned());
        }
        Ok(())
    }
}

/// Whose approval a message needs: all that its statements do.
fn needed(decisions: &[Rc<Decision>]) -> Vec<Approval> {
    let all: BTreeSet<&Approval> = decisions.iter().flat_map(|decision| decision.approvals()).collect();
    all.into_iter().cloned().collect()
}

fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
