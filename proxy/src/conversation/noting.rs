//! Notes statements and what is decided of them, as far as the record keeps it.

use super::{Conversation, End};
use crate::{
    decide::{Decision, MAX_EVENT_TEXT, Refused, Simple},
    redact, sealing,
    statement::Prepared,
    values::Said,
};
use schemas::event::{Body, Payload, Protocol, Statement, Verdict, VerdictKind};
use schemas::literals;

impl Conversation {
    pub(crate) fn note_statement(
        &mut self,
        number: u64,
        statement: &Simple,
        denied: Option<&Refused>,
    ) -> Result<(), End> {
        self.note_text(number, statement)?;
        match denied {
            Some(other) => {
                let mut verdict = Verdict { number, verdict: VerdictKind::Deny, ..statement.decision.verdict() };
                verdict.reason = format!("another statement of the same message was denied: {}", other.reason());
                self.note_verdict_of(verdict)?;
            }
            None => self.note_verdict(number, &statement.decision)?,
        }
        Ok(())
    }

    /// Notes a statement without what is decided of it.
    pub(crate) fn note_text(&mut self, number: u64, statement: &Simple) -> Result<(), End> {
        let noted = Statement { index: statement.index, ..empty(number, Protocol::Simple) };
        let said = Said { decision: Some(&statement.decision), text: statement.text.as_bytes(), ..Said::default() };
        self.note_said(noted, said)
    }

    /// Notes one run of a prepared statement without what is decided of it.
    pub(crate) fn note_prepared(
        &mut self,
        number: u64,
        prepared: &Prepared,
        decision: &Decision,
        portal: &str,
        parameters: Option<&[u8]>,
    ) -> Result<(), End> {
        if !self.leaves_out(decision) {
            return Ok(self.record.note_statement(prepared, number, portal, parameters)?);
        }
        let (text, types) = (prepared.text.as_bytes(), prepared.types());
        let said = Said { decision: Some(decision), text, types, parameters };
        self.note_said(prepared.statement(number, portal, None), said)
    }

    /// Notes the Statement and Verdict of one run of a prepared statement.
    pub(crate) fn note_run_of(
        &mut self,
        number: u64,
        prepared: &Prepared,
        decision: &Decision,
        portal: &str,
        parameters: Option<&[u8]>,
    ) -> Result<(), End> {
        self.note_prepared(number, prepared, decision, portal, parameters)?;
        self.note_verdict(number, decision)
    }

    pub(crate) fn note_verdict(&mut self, number: u64, decision: &Decision) -> Result<(), End> {
        // what was denied does not run, so no error can quote what it would have read
        self.protected_window |= decision.touches_protected() && Refused::of(decision).is_none();
        self.note_decision(number, decision)
    }

    /// Notes what is decided of a statement, which may not run yet.
    pub(crate) fn note_decision(&mut self, number: u64, decision: &Decision) -> Result<(), End> {
        if !self.knows_secrets() && !self.leaves_reasons() {
            return Ok(decision.note(number, &mut self.record)?);
        }
        self.note_verdict_of(Verdict { number, ..decision.verdict() })
    }

    /// Notes a verdict, without what it may quote.
    pub(crate) fn note_verdict_of(&mut self, mut verdict: Verdict) -> Result<(), End> {
        verdict.reason = self.redact_reason(verdict.reason);
        if self.leaves_reasons() && verdict.verdict == VerdictKind::Deny {
            // it may quote the database, or a name that is not there; the policies tell which it was
            Payload::LEFT_OUT.clone_into(&mut verdict.reason);
            sealing::without_doubtful_names(&mut verdict);
        }
        Ok(self.record.note(Body::Verdict(verdict))?)
    }

    pub(crate) fn note_cursor_run(&mut self, number: u64, portal: &str, decision: &Decision) -> Result<(), End> {
        self.note_cursor(number, portal)?;
        self.note_verdict(number, decision)
    }

    /// Notes the run of a cursor without what is decided of it.
    pub(crate) fn note_cursor(&mut self, number: u64, portal: &str) -> Result<(), End> {
        let portal = if self.leaving.is_some() { literals::name(portal) } else { portal.to_owned() };
        Ok(self.record.note(Body::Statement(Statement { portal, ..empty(number, Protocol::Extended) }))?)
    }

    pub(crate) fn note_unparsed(
        &mut self,
        number: u64,
        text: &[u8],
        protocol: Protocol,
        name: &str,
        refused: &Refused,
    ) -> Result<(), End> {
        let text = text.get(..text.len().min(MAX_EVENT_TEXT)).unwrap_or_default();
        let prepared = name.to_owned();
        self.note_said(Statement { prepared, ..empty(number, protocol) }, Said { text, ..Said::default() })?;
        let verdict = self.decider.verdict_of(number, refused);
        self.note_verdict_of(verdict)
    }

    fn note_said(&mut self, statement: Statement, said: Said<'_>) -> Result<(), End> {
        let statement = match self.left_out(said) {
            Some((text, tokens)) => Statement {
                text: Payload::plain(text),
                prepared: literals::name(&statement.prepared),
                portal: literals::name(&statement.portal),
                tokens: Some(tokens),
                ..statement
            },
            None => Statement { text: redact::text(said.text), ..statement },
        };
        Ok(self.record.note(Body::Statement(statement))?)
    }
}

fn empty(number: u64, protocol: Protocol) -> Statement {
    Statement {
        number,
        protocol,
        index: 0,
        text: Payload::plain(Vec::new()),
        prepared: String::new(),
        portal: String::new(),
        parameters: None,
        tokens: None,
    }
}
