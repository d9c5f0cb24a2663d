//! From the database to the client: each answer finds its statement, is masked, and is recorded before the client sees it.
//!
//! Sans IO: reads frames from a [`Reader`], appends what the client may see to an [`Outbox`]. Rows that nothing hides
//! pass as a run, without looking at their fields. Whatever the gate does not understand ends the session: an answer
//! that cannot be assigned to a statement cannot be masked (AUD-2, MSK-1).

use crate::{
    conversation::{Conversation, CopyIn, End, Outbox},
    copying,
    flight::{Awaited, Refusal, Running},
    frames::{self, Reader, Violation, backend, backend::Transaction},
    mask,
    own::Purpose,
    statement::Portal,
};
use event_log::Priority;
use schemas::event::{Completed, Outcome};
use std::rc::Rc;

impl Conversation {
    /// Deals with everything that the server has sent.
    ///
    /// # Errors
    /// [`End`]: the session ends for that reason.
    pub fn server(&mut self, input: &mut Reader, out: &mut Outbox) -> Result<(), End> {
        let before = out.bytes.len();
        let mut consumed = 0;
        self.frames_out = 0;
        loop {
            let unread = input.unread().get(consumed..).unwrap_or_default();
            if self.passing_out > 0 {
                let count = self.passing_out.min(unread.len());
                if !self.dropping_out {
                    out.bytes.extend_from_slice(unread.get(..count).unwrap_or_default());
                }
                self.passing_out -= count;
                consumed += count;
                if self.passing_out > 0 {
                    break;
                }
                continue;
            }
            let Some(head) = frames::head(unread)? else { break };
            let limit = backend::limit(head.kind)?;
            if head.total > limit {
                return Err(Violation::Length { kind: char::from(head.kind), length: head.total, limit }.into());
            }
            if self.ending.is_some() {
                break;
            }
            self.dropping_out = self.cuts(head);
            if self.dropping_out {
                self.passing_out = head.total;
                continue;
            }
            if head.kind == b'D' && self.must_ask(unread)? {
                break;
            }
            if self.passes(head.kind, head.total)? {
                self.passing_out = head.total;
                self.frames_out += 1;
                continue;
            }
            if head.total > frames::MAX_HELD_FRAME {
                return Err(Violation::Length {
                    kind: char::from(head.kind),
                    length: head.total,
                    limit: frames::MAX_HELD_FRAME,
                }
                .into());
            }
            let Some(frame) = unread.get(..head.total) else {
                self.wanted_out = head.total;
                break;
            };
            let at = out.bytes.len();
            self.answer(head.kind, frame, out)?;
            self.became(head.kind, at, out);
            consumed += head.total;
        }
        if consumed > 0 {
            input.consume(consumed);
            self.wanted_out = 0;
        }
        if out.bytes.len() > before {
            self.note_server_run(&out.bytes, before)?;
        }
        // what ends a statement may use the log's reserve, rows may not
        let priority = if self.completed.is_empty() { Priority::Normal } else { Priority::Closing };
        for completed in std::mem::take(&mut self.completed) {
            self.record.note_completed(&completed)?;
        }
        self.commit_answer(out, priority)
    }

    /// Whether a frame may pass without being held: rows and COPY data of a statement that hides nothing.
    fn passes(&mut self, kind: u8, total: usize) -> Result<bool, End> {
        match kind {
            b'D' => {
                let Some(running) = self.flight.running() else {
                    if matches!(self.flight.front(), Some(Awaited::Own(_))) {
                        return Ok(false);
                    }
                    return Err(End::desynchronized("a row came for no statement"));
                };
                // others are counted once they are whole
                let passes = mask::nothing_hidden(running)?;
                if passes {
                    running.rows += 1;
                    running.bytes += total as u64;
                }
                Ok(passes)
            }
            b'd' => {
                let Some(running) = self.flight.running() else {
                    return Err(End::desynchronized("COPY data came for no statement"));
                };
                let passes = copying::passes(running)?;
                if passes {
                    running.rows += 1;
                    running.bytes += total as u64;
                }
                Ok(passes)
            }
            _ => Ok(false),
        }
    }

    fn answer(&mut self, kind: u8, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let body = frame.get(frames::HEAD..).unwrap_or_default();
        if self.own_answer(kind, body, frame, out)? || self.cut_answer(kind, out)? {
            return Ok(());
        }
        match kind {
            b'D' => {
                let running =
                    self.flight.running().ok_or_else(|| End::desynchronized("a row came for no statement"))?;
                running.rows += 1;
                running.bytes += frame.len() as u64;
                mask::row(running, body, &mut self.asking.answers, &mut out.bytes)?;
                self.frames_out += 1;
            }
            b'd' => {
                let running =
                    self.flight.running().ok_or_else(|| End::desynchronized("COPY data came for no statement"))?;
                running.bytes += frame.len() as u64;
                self.frames_out += u32::from(copying::data(running, body, &mut out.bytes)?);
            }
            b'T' => self.row_description(body, frame, out)?,
            b'C' => {
                let (tag, rows) = backend::command_tag(body)?;
                self.completed(tag, rows, Outcome::Succeeded)?;
                if !self.budget_holds(frame) {
                    self.show(frame, out);
                }
            }
            b'I' => {
                self.completed("", 0, Outcome::Succeeded)?;
                self.show(frame, out);
            }
            b's' => {
                self.completed("", 0, Outcome::Suspended)?;
                self.show(frame, out);
            }
            b'E' => self.error(body, frame, out)?,
            b'N' => self.notice(frame, out)?,
            b'Z' => self.ready(backend::ready(body)?, frame, out)?,
            b'S' => {
                let (name, value) = backend::parameter_status(body)?;
                self.parameter(name, value)?;
                if self.may_show_setting(name) {
                    self.show(frame, out);
                }
            }
            b'1' | b'2' | b'3' => self.settled(kind, frame, out)?,
            b'n' => self.no_data(frame, out)?,
            b't' => match self.flight.front() {
                Some(Awaited::DescribeStatement) => self.show(frame, out),
                _ => return Err(End::desynchronized("a parameter description came unasked")),
            },
            b'G' => {
                // the client is read no further while a COPY is awaited: what comes now belongs to its newest message
                let copies = self.flight.running().is_some_and(|running| running.copying_in);
                if !copies || !self.flight.is_newest() {
                    return Err(End::desynchronized("the server asks for COPY data that no statement announced"));
                }
                let extended = matches!(self.flight.front(), Some(Awaited::Execute(_)));
                self.copy_in = CopyIn::Streaming { extended };
                if let Some(running) = self.flight.running() {
                    copying::begin_in(running)?;
                }
                self.show(frame, out);
            }
            b'H' | b'c' => {
                let running = self.flight.running().ok_or_else(|| End::desynchronized("a COPY of no statement"))?;
                if kind == b'H' {
                    copying::begin_out(running, body)?
                } else {
                    copying::end_out(running)?
                }
                self.show(frame, out);
            }
            b'A' => {
                self.show_notification(frame, out)?;
                self.frames_out += 1;
            }
            other => return Err(Violation::UnknownType(char::from(other)).into()),
        }
        Ok(())
    }

    fn show(&mut self, frame: &[u8], out: &mut Outbox) {
        self.frames_out += 1;
        out.bytes.extend_from_slice(frame);
    }

    fn row_description(&mut self, body: &[u8], frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let fields = backend::row_description(body)?;
        match self.flight.front() {
            Some(Awaited::DescribeStatement) => {
                self.flight.pop();
                self.show(frame, out);
            }
            Some(Awaited::DescribePortal { portal, own }) => {
                let own = *own;
                if let Some(portal) = portal.as_ref().filter(|portal| portal.lacks_plan()) {
                    portal.described(mask::plan(&portal.decision, &fields, None)?);
                }
                self.flight.pop();
                if !own {
                    self.show(frame, out);
                }
            }
            Some(Awaited::Simple(statements)) => {
                let running = statements
                    .front_mut()
                    .ok_or_else(|| End::desynchronized("a row description came after the last statement"))?;
                running.plan = Some(Rc::new(mask::plan(&running.decision, &fields, None)?));
                self.show(frame, out);
            }
            _ => return Err(End::desynchronized("a row description came unasked")),
        }
        Ok(())
    }

    fn no_data(&mut self, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let own = match self.flight.pop() {
            Some(Awaited::DescribeStatement) => false,
            Some(Awaited::DescribePortal { own, portal }) => {
                if let Some(portal) = portal.filter(|portal| portal.lacks_plan()) {
                    portal.described(mask::plan_of_nothing());
                }
                own
            }
            _ => return Err(End::desynchronized("NoData came unasked")),
        };
        if !own {
            self.show(frame, out);
        }
        Ok(())
    }

    fn settled(&mut self, kind: u8, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        match (kind, self.flight.pop()) {
            (b'1', Some(Awaited::Parse(proposal)))
            | (b'2', Some(Awaited::Bind(proposal)))
            | (b'3', Some(Awaited::Close(proposal))) => self.names.settle(&proposal, true),
            _ => return Err(End::desynchronized("the server confirms what was not asked next")),
        }
        self.show(frame, out);
        Ok(())
    }

    /// The running statement came to its end.
    fn completed(&mut self, tag: &str, rows: u64, outcome: Outcome) -> Result<(), End> {
        let Some(mut running) = self.flight.pop_running() else {
            return Err(End::desynchronized("a statement completed that was not under way"));
        };
        if running.copying_in {
            self.copy_ended();
            running.rows = rows;
        }
        if running.rows == 0 {
            running.rows = rows;
        }
        self.settle_effects(&running, outcome != Outcome::Failed);
        self.outcome(&running, outcome, tag, None);
        Ok(())
    }

    pub(crate) fn outcome(&mut self, running: &Running, outcome: Outcome, tag: &str, sqlstate: Option<String>) {
        self.rows += running.rows;
        self.completed.push(Completed {
            number: running.number,
            outcome,
            tag: tag.to_owned(),
            rows: running.rows,
            bytes: running.bytes,
            duration: u64::try_from(running.arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
            sqlstate,
            found: mask::found(running),
        });
    }

    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        let sqlstate = backend::sqlstate(&refusal.report);
        for (number, arrived) in &refusal.numbers {
            self.denied += 1;
            self.completed.push(Completed {
                number: *number,
                outcome: Outcome::Denied,
                tag: String::new(),
                rows: 0,
                bytes: 0,
                duration: u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
                sqlstate: Some(sqlstate.clone()),
                found: Vec::new(),
            });
        }
    }

    pub(crate) fn abandoned(&mut self, awaited: Awaited) {
        match awaited {
            Awaited::Parse(proposal) | Awaited::Bind(proposal) | Awaited::Close(proposal) => {
                self.names.settle(&proposal, false);
            }
            Awaited::Execute(running) => {
                self.settle_effects(&running, false);
                self.outcome(&running, Outcome::Abandoned, "", None);
            }
            Awaited::Simple(statements) => {
                for running in statements {
                    self.settle_effects(&running, false);
                    self.outcome(&running, Outcome::Abandoned, "", None);
                }
            }
            Awaited::Refused(refusal) | Awaited::SimpleRefused(refusal) => {
                self.refused(&refusal);
            }
            Awaited::Own(own) if own.purpose == Purpose::Estimate => self.estimate_abandoned(),
            Awaited::Own(_) => self.budget_abandoned(),
            Awaited::DescribeStatement | Awaited::DescribePortal { .. } | Awaited::Sync => {}
        }
    }

    fn error(&mut self, body: &[u8], frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let report = backend::report(b'E', body)?;
        let sqlstate = backend::sqlstate(&report);
        let fatal = report.iter().any(|(code, text)| *code == b'V' && matches!(text.as_str(), "FATAL" | "PANIC"));
        self.transaction_failed = true;
        self.frames_out += 1;
        match self.flight.front() {
            Some(Awaited::SimpleRefused(refusal)) if !fatal => {
                backend::put_report(&mut out.bytes, b'E', &refusal.report);
                let refusal = refusal.clone();
                self.shows_refusal(refusal.unrecorded);
                self.refused(&refusal);
                if let Some(Awaited::SimpleRefused(refusal)) = self.flight.front() {
                    refusal.numbers.clear();
                }
                return Ok(());
            }
            Some(Awaited::Refused(refusal)) if !fatal => {
                backend::put_report(&mut out.bytes, b'E', &refusal.report);
                let whole = refusal.unrecorded;
                self.shows_refusal(whole);
                self.skip_window();
                return Ok(());
            }
            _ => {}
        }
        let protected = self.flight.front().is_some_and(|awaited| touches_protected(awaited));
        let better = self.budget_report(&report, &sqlstate);
        let sqlstate = if protected || self.protected_window { judge::mask::shown_state(&sqlstate) } else { sqlstate };
        let own = if fatal {
            None
        } else {
            self.own_report().or_else(|| self.cut_report()).or_else(|| self.estimate_report(&sqlstate))
        };
        let sqlstate = own.as_ref().map_or(sqlstate, |own| backend::sqlstate(own));
        match own {
            Some(own) => backend::put_report(&mut out.bytes, b'E', &own),
            None => self.show_report(b'E', protected, better.as_deref().unwrap_or(frame), out)?,
        }
        match self.flight.pop() {
            Some(Awaited::Simple(mut statements)) => {
                if let Some(running) = statements.pop_front() {
                    self.failed(&running, sqlstate);
                }
                self.abandoned(Awaited::Simple(std::mem::take(&mut statements)));
                self.flight.put_back(Awaited::Simple(statements));
            }
            Some(Awaited::Execute(running)) => {
                self.failed(&running, sqlstate);
                self.skip_window();
            }
            Some(Awaited::Sync) => {
                // an error of the implicit transaction's commit comes between the last statement and ReadyForQuery
                self.flight.put_back(Awaited::Sync);
            }
            Some(other) => {
                self.abandoned(other);
                self.skip_window();
            }
            None => {}
        }
        self.copy_ended();
        Ok(())
    }

    /// A statement ended. An earlier one's end says nothing of the COPY that the client asked for since.
    pub(crate) fn copy_ended(&mut self) {
        if !self.flight.copies_in() {
            self.copy_in = CopyIn::None;
        }
    }

    fn failed(&mut self, running: &Running, sqlstate: String) {
        self.settle_effects(running, false);
        self.outcome(running, Outcome::Failed, "", Some(sqlstate));
    }

    /// The server skips what follows up to the next Sync; if that has not come yet, so does the gate.
    pub(crate) fn skip_window(&mut self) {
        let skipped = self.flight.skip_to_sync();
        for awaited in skipped {
            self.abandoned(awaited);
        }
        self.discarding |= self.flight.window_goes_on();
    }

    fn notice(&mut self, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let protected = self.flight.front().is_some_and(|awaited| touches_protected(awaited));
        self.frames_out += 1;
        self.show_report(b'N', protected, frame, out)
    }

    fn ready(&mut self, transaction: Transaction, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        match self.flight.pop() {
            Some(Awaited::Sync) => {}
            Some(awaited @ (Awaited::Simple(_) | Awaited::SimpleRefused(_))) => self.abandoned(awaited),
            _ => return Err(End::desynchronized("the server is ready while answers are missing")),
        }
        if self.cut_ready(transaction, out) {
            return Ok(());
        }
        self.go_on_ready(transaction, frame, out)
    }

    /// The server is ready, and nothing of the gate's own comes before the client hears of it.
    pub(crate) fn go_on_ready(&mut self, transaction: Transaction, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        if self.in_script() {
            return self.script_ready(transaction, out);
        }
        let held = self.budget_ready(transaction, out)?;
        self.settle_ready(transaction);
        if !held {
            self.show(frame, out);
        }
        Ok(())
    }

    /// The server said how the transaction stands.
    pub(crate) fn settle_ready(&mut self, transaction: Transaction) {
        self.named_settings.clear();
        self.transaction = transaction;
        // kept through the whole transaction: COMMIT of one that failed rolls it back
        self.paths.ready(transaction, !self.transaction_failed);
        if transaction == Transaction::Idle {
            self.transaction_failed = false;
            self.protected_window = false;
        }
    }

    /// Everything still under way ends with the session.
    pub fn abandon_all(&mut self) -> Vec<Completed> {
        self.hold_abandoned();
        for awaited in self.flight.drain() {
            self.abandoned(awaited);
        }
        std::mem::take(&mut self.completed)
    }
}

fn touches_protected(awaited: &Awaited) -> bool {
    match awaited {
        Awaited::Execute(running) => running.decision.touches_protected(),
        Awaited::Simple(statements) => statements.iter().any(|running| running.decision.touches_protected()),
        Awaited::DescribePortal { portal, .. } => {
            portal.as_ref().is_some_and(|p: &Rc<Portal>| p.decision.touches_protected())
        }
        // what a Parse or Bind may say of its constants and parameters is the client's own, but a planner error can
        // quote a value: these are scrubbed by the window's mark
        Awaited::Parse(_) | Awaited::Bind(_) | Awaited::Close(_) | Awaited::DescribeStatement | Awaited::Sync => false,
        Awaited::Refused(_) | Awaited::SimpleRefused(_) | Awaited::Own(_) => false,
    }
}
