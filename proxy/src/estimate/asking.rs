//! Asking for estimates on a session's connection, and what becomes of the answers.

use super::{Estimate, Need, leaves_plans, plan, refused};
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::{Decision, Permit, Refused, Simple},
    flight::Awaited,
    frames::{self, backend, frontend},
    own::{self, Answered, Own, Purpose},
    statement::{Origin, Prepared},
};
use judge::mask::detect;
use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

/// Estimates that a session remembers.
const MAX_REMEMBERED: usize = 32;

/// Bytes of text and values of one that is remembered.
const MAX_KEY: usize = 16 << 10;

/// What the client's statement becomes an EXPLAIN by.
const EXPLAIN: &str = "EXPLAIN (FORMAT JSON) ";

/// What becomes of a statement that may need an estimate.
pub(crate) enum Asked<T> {
    /// It is decided.
    Go(T),
    /// The server is asked: the message comes back when it has answered.
    Wait,
    /// It is refused for want of an estimate.
    Refuse(Refused),
}

/// What a run of the extended protocol is refused by, should its estimate fail.
struct Run {
    prepared: Rc<Prepared>,
    decision: Rc<Decision>,
    portal: String,
    arrived: Instant,
}

/// Where a session's question stands.
#[derive(Default)]
enum Stage {
    #[default]
    None,
    Asked {
        run: Option<Run>,
        protected: bool,
        until: Option<Instant>,
    },
    Answered(Result<Vec<Estimate>, Refused>),
}

/// A statement that was asked about before, and what was decided.
struct Remembered {
    key: Vec<u8>,
    until: Instant,
    before: Rc<Decision>,
    decided: Rc<Decision>,
}

/// The estimates of one session.
#[derive(Default)]
pub(crate) struct Estimating {
    stage: Stage,
    remembered: VecDeque<Remembered>,
}

impl Estimating {
    /// The server has not answered yet: the client waits.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Asked { .. })
    }

    /// What plans rest on may have changed.
    pub(crate) fn forget(&mut self) {
        self.remembered.clear();
    }

    /// What was asked about does not go on.
    pub(crate) fn forget_question(&mut self) {
        self.stage = Stage::None;
    }

    fn known(&self, key: &[u8], decision: &Rc<Decision>) -> Option<Rc<Decision>> {
        let now = Instant::now();
        let same = |one: &&Remembered| one.key == key && one.before.stands_on(decision) && now < one.until;
        self.remembered.iter().find(same).map(|one| one.decided.clone())
    }

    fn remember(&mut self, key: Vec<u8>, before: &Rc<Decision>, decided: &Rc<Decision>, time: Duration) {
        if key.len() > MAX_KEY || time.is_zero() {
            return;
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.pop_front();
        }
        let until = Instant::now() + time;
        self.remembered.push_back(Remembered { key, until, before: before.clone(), decided: decided.clone() });
    }
}

impl Conversation {
    /// Decides the statements of a simple message by their estimates, where they are needed. Each is then decided anew.
    pub(crate) fn estimate_message(&mut self, decided: &mut [Simple], out: &mut Outbox) -> Asked<()> {
        let needs = decided.iter().any(|one| one.decision.need != Need::Nothing);
        if !needs || decided.iter().any(|one| self.decider.outright(&one.decision).is_some()) {
            return Asked::Go(());
        }
        if let Some(what) = decided.iter().find_map(|one| one.decision.cannot_be_estimated()) {
            return Asked::Refuse(Need::refusal(what));
        }
        if !self.flight.runs_nothing() {
            return self.waits_for_runs(out);
        }
        let mut answers = match std::mem::take(&mut self.estimating.stage) {
            Stage::Answered(Err(refused)) => return Asked::Refuse(refused),
            Stage::Answered(Ok(estimates)) => Some(VecDeque::from(estimates)),
            Stage::None | Stage::Asked { .. } => None,
        };
        let (mut texts, mut protected) = (Vec::new(), false);
        let mut plain = true;
        for one in decided.iter_mut() {
            let before = one.decision.clone();
            if before.need == Need::Ask {
                let key = one.text.as_bytes().to_vec();
                if let Some(known) = self.estimating.known(&key, &before) {
                    one.decision = known;
                } else if let Some(answers) = &mut answers {
                    let Some(estimate) = answers.pop_front() else { return Asked::Refuse(unknown()) };
                    one.decision = self.decider.estimated(&before, estimate);
                    self.estimating.remember(key, &before, &one.decision, self.remember_for());
                } else if plain {
                    protected |= before.touches_protected();
                    texts.push(format!("{EXPLAIN}{}", one.text));
                } else {
                    let reason = "its estimate depends on what stands before it in the same message";
                    return Asked::Refuse(refused(reason, "send it in a message of its own"));
                }
            }
            plain &= leaves_plans(&before);
        }
        if texts.is_empty() {
            return Asked::Go(());
        }
        // a comment at the end of one hides nothing of the next
        let sql = texts.join("\n;");
        self.flight.push(Awaited::Own(Box::new(Own::sent(Purpose::Estimate, true))));
        out.pass(Permit::plain(), &own::simple(&sql));
        self.asked(None, protected);
        Asked::Wait
    }

    /// Decides a Bind by the estimate of what it opens, where that is needed.
    pub(crate) fn estimate_bind(
        &mut self,
        candidates: &[Rc<Prepared>],
        decision: Rc<Decision>,
        (portal, parameters): (&str, &[u8]),
        out: &mut Outbox,
    ) -> Asked<Rc<Decision>> {
        if decision.need == Need::Nothing || decision.need == Need::Before {
            return Asked::Go(decision);
        }
        if let Some(what) = decision.cannot_be_estimated() {
            return Asked::Refuse(Need::refusal(what));
        }
        let [prepared] = candidates else { return self.waits_for_runs(out) };
        if prepared.origin != Origin::Parse {
            return Asked::Refuse(Need::refusal("a statement of PREPARE that is run by the extended protocol"));
        }
        let Some(values) = frontend::bound(parameters) else { return Asked::Refuse(unknown()) };
        if !self.flight.runs_nothing() {
            return self.waits_for_runs(out);
        }
        let key = [prepared.text.as_bytes(), &[0], prepared.types(), values].concat();
        match std::mem::take(&mut self.estimating.stage) {
            Stage::Answered(Err(refused)) => return Asked::Refuse(refused),
            Stage::Answered(Ok(estimates)) => {
                let [estimate] = estimates.as_slice() else { return Asked::Refuse(unknown()) };
                let decided = self.decider.estimated(&decision, *estimate);
                self.estimating.remember(key, &decision, &decided, self.remember_for());
                return Asked::Go(decided);
            }
            Stage::None | Stage::Asked { .. } => {}
        }
        if let Some(known) = self.estimating.known(&key, &decision) {
            return Asked::Go(known);
        }
        let mut bytes = Vec::new();
        own::put_bound(&mut bytes, &format!("{EXPLAIN}{}", prepared.text), prepared.types(), values);
        frames::put(&mut bytes, b'H', &[]);
        self.flight.push(Awaited::Own(Box::new(Own::sent(Purpose::Estimate, false))));
        out.pass(Permit::plain(), &bytes);
        let (protected, arrived) = (decision.touches_protected(), Instant::now());
        let run = Run { prepared: prepared.clone(), decision, portal: portal.to_owned(), arrived };
        self.asked(Some(run), protected);
        Asked::Wait
    }

    fn remember_for(&self) -> Duration {
        Duration::from_secs(u64::from(self.decider.resource().estimates.remember_seconds))
    }

    fn asked(&mut self, run: Option<Run>, protected: bool) {
        let timeout = self.decider.resource().estimates.timeout();
        self.interrupt.after(timeout);
        self.estimating.stage = Stage::Asked { run, protected, until: Instant::now().checked_add(timeout) };
    }

    /// The limit of time is the question's alone: what was sent before it ends first.
    fn waits_for_runs<T>(&mut self, out: &mut Outbox) -> Asked<T> {
        self.hold_for_answers(out);
        Asked::Wait
    }

    /// Takes an answer to a question. True where the frame was a part of it.
    pub(crate) fn estimate_answer(
        &mut self,
        answered: Answered,
        (kind, body): (u8, &[u8]),
        out: &mut Outbox,
    ) -> Result<bool, End> {
        let simple = matches!(self.flight.front(), Some(Awaited::Own(own)) if own.simple);
        if kind == b'E' {
            let report = backend::report(b'E', body)?;
            if report.iter().any(|(code, text)| *code == b'V' && matches!(text.as_str(), "FATAL" | "PANIC")) {
                return Ok(false);
            }
            self.transaction_failed = true;
            return self.estimate_failed(&report, simple, out).map(|()| true);
        }
        match answered {
            Answered::Other => return Ok(false),
            Answered::More => return Ok(true),
            Answered::Whole => {}
        }
        let Some(Awaited::Own(own)) = self.flight.pop() else { return Ok(false) };
        self.interrupt.disarm();
        if matches!(self.estimating.stage, Stage::Asked { .. }) {
            let read: Option<Vec<Estimate>> = own.rows.iter().map(|row| plan::read(row.first()?.as_deref()?)).collect();
            let read = read.filter(|estimates| !estimates.is_empty());
            self.estimating.stage = Stage::Answered(read.ok_or_else(unknown));
        }
        if simple {
            self.settle_ready(backend::ready(body)?);
        }
        Ok(true)
    }

    fn estimate_failed(&mut self, report: &[(u8, String)], simple: bool, out: &mut Outbox) -> Result<(), End> {
        let stage = std::mem::take(&mut self.estimating.stage);
        let Stage::Asked { run, protected, until } = stage else { return Ok(()) };
        let sqlstate = backend::sqlstate(report);
        let refused = if is_late(&sqlstate, until) {
            self.refused_late()
        } else {
            let text = report.iter().find(|(code, _)| *code == b'M').map_or("", |(_, text)| text.as_str());
            self.refused_by_server(&sqlstate, text, protected)
        };
        let Some(run) = run.filter(|_| !simple) else {
            self.estimating.stage = Stage::Answered(Err(refused));
            return Ok(());
        };
        // the server skips the window: it never comes to the client's Bind
        self.interrupt.disarm();
        self.flight.pop();
        let number = self.next_number();
        self.note_refused_bind(number, &run.prepared, &run.portal, &run.decision, &refused)?;
        let refusal = self.refusal(&refused, vec![(number, run.arrived)]);
        backend::put_report(&mut out.bytes, b'E', &refusal.report);
        self.frames_out += 1;
        self.refused(&refusal);
        self.skip_window();
        Ok(())
    }

    fn refused_late(&self) -> Refused {
        let limit = self.decider.resource().estimates.milliseconds;
        let reason = format!("its cost could not be estimated within {limit} ms");
        refused(&reason, "another session may hold a lock on what it names: try again, or write it more simply")
    }

    /// What the client is told where the gate, waiting for an estimate, stopped the Parse before it.
    pub(crate) fn estimate_report(&mut self, sqlstate: &str) -> Option<Vec<(u8, String)>> {
        let Stage::Asked { until, .. } = self.estimating.stage else { return None };
        is_late(sqlstate, until).then(|| self.refused_late().report(None))
    }

    /// What the server says to the question it would say to the statement: that is what the client is told.
    fn refused_by_server(&mut self, sqlstate: &str, text: &str, protected: bool) -> Refused {
        let hint = "the database refuses the statement already when it plans it";
        let known = STATES.iter().find(|state| **state == sqlstate).copied();
        let text = if protected || self.protected_window {
            format!("the statement cannot be planned (SQLSTATE {sqlstate})")
        } else {
            detect::clean(self.decider.detectors(), text).map_or_else(|| text.to_owned(), |(clean, _)| clean)
        };
        let text = if known.is_some() { text } else { format!("{text} (SQLSTATE {sqlstate})") };
        crate::limits::refused(known.unwrap_or("42501"), super::POLICY, &text, hint)
    }

    /// The server skips the question.
    pub(crate) fn estimate_abandoned(&mut self) {
        self.interrupt.disarm();
        self.estimating.stage = Stage::None;
    }
}

/// An error is that of the gate's own cancel request.
fn is_late(sqlstate: &str, until: Option<Instant>) -> bool {
    sqlstate == "57014" && until.is_some_and(|until| Instant::now() >= until)
}

fn unknown() -> Refused {
    let hint = "ask the owner of the data: what may run here depends on the planner's estimate";
    refused("the database gives no plan of it, so that its cost is not known", hint)
}

/// Errors of planning that keep their SQLSTATE.
const STATES: &[&str] = &[
    "22003", "22007", "22008", "22012", "22023", "22P02", "25001", "25006", "25P02", "26000", "34000", "3F000",
    "42501", "42601", "42602", "42611", "42622", "42701", "42702", "42703", "42704", "42710", "42712", "42723",
    "42725", "42803", "42804", "42809", "42830", "42846", "42883", "428C9", "42939", "42P01", "42P02", "42P07",
    "42P08", "42P09", "42P10", "42P16", "42P17", "42P18", "42P19", "42P20", "42P21", "42P22", "0A000", "53200",
    "54000", "54001", "54011", "55000", "55P03", "57014",
];
