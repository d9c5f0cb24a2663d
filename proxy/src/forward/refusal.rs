//! What is sent in the place of a message that is refused, and what is noted of it.

use super::Flow;
use crate::{
    conversation::{Conversation, End, Outbox},
    decide::{Decision, Refused, Simple},
    flight::{Awaited, Refusal},
    frames,
    statement::{Portal, Prepared},
};
use schemas::event::Protocol;
use std::{rc::Rc, time::Instant};

/// SQL that cannot be parsed: what the server is sent in the place of a refused statement, so that it fails there.
pub(crate) const MUST_FAIL: &str = "/* postern refused the statement that stood here */ )";

/// The name of the statement that is to fail in the extended protocol, except in the place of an unnamed Parse: to parse
/// the unnamed statement frees it, even where that fails, and a refusal frees no more than the client's message would.
pub(crate) const REFUSED_NAME: &str = "postern refused";

impl Conversation {
    /// Refuses a simple message for one of its statements, for a reason that its decision does not hold.
    pub(crate) fn refuse_message(
        &mut self,
        decided: &[Simple],
        denied: usize,
        refused: Refused,
        arrived: Instant,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        let mut numbers = Vec::new();
        for (place, statement) in decided.iter().enumerate() {
            let number = self.next_number();
            numbers.push((number, arrived));
            if place == denied {
                self.note_text(number, statement)?;
                self.note_denied(number, &statement.decision, &refused)?;
            } else {
                self.note_statement(number, statement, Some(&refused))?;
            }
        }
        self.refuse_simple(refused, numbers, out)
    }

    pub(crate) fn refuse_simple(
        &mut self,
        refused: Refused,
        numbers: Vec<(u64, Instant)>,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        let refusal = self.refusal(&refused, numbers);
        self.flight.push(Awaited::SimpleRefused(refusal));
        let mut body = MUST_FAIL.as_bytes().to_vec();
        body.push(0);
        frames::put(&mut out.bytes, b'Q', &body);
        Ok(Flow::More)
    }

    pub(crate) fn refuse_extended(
        &mut self,
        refused: Refused,
        number: u64,
        arrived: Instant,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        let refusal = self.refusal(&refused, vec![(number, arrived)]);
        self.fail_pipeline(refusal, REFUSED_NAME, out)
    }

    pub(super) fn refuse_parse(
        &mut self,
        refused: Refused,
        name: &str,
        run: (u64, Instant),
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        let refusal = self.refusal(&refused, vec![run]);
        self.fail_pipeline(refusal, if name.is_empty() { "" } else { REFUSED_NAME }, out)
    }

    pub(super) fn refuse_without_statement(&mut self, refused: Refused, out: &mut Outbox) -> Result<Flow, End> {
        self.note_decided([]);
        let refusal = self.refusal(&refused, Vec::new());
        self.fail_pipeline(refusal, REFUSED_NAME, out)
    }

    pub(crate) fn fail_pipeline(&mut self, refusal: Refusal, name: &str, out: &mut Outbox) -> Result<Flow, End> {
        self.flight.push(Awaited::Refused(refusal));
        self.discarding = true;
        let mut body = name.as_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(MUST_FAIL.as_bytes());
        body.extend_from_slice(&[0, 0, 0]);
        frames::put(&mut out.bytes, b'P', &body);
        Ok(Flow::More)
    }

    pub(super) fn refuse_function_call(&mut self, out: &mut Outbox) -> Result<Flow, End> {
        let number = self.next_number();
        let refused = Refused::function_call();
        self.note_unparsed(number, b"", Protocol::FunctionCall, "", &refused)?;
        self.refuse_simple(refused, vec![(number, Instant::now())], out)
    }

    /// Notes the Statement of a run, and that it is refused for a reason that its decision does not hold.
    pub(super) fn note_refused_run(
        &mut self,
        number: u64,
        portal: &Portal,
        name: &str,
        decision: &Decision,
        refused: &Refused,
    ) -> Result<(), End> {
        match &portal.prepared {
            Some(prepared) => self.note_prepared(number, prepared, decision, name, portal.parameters.as_deref())?,
            None => self.note_cursor(number, name)?,
        }
        self.note_denied(number, decision, refused)
    }

    /// Refuses a Bind for a reason that its decision does not hold.
    pub(super) fn refuse_bind(
        &mut self,
        refused: &Refused,
        prepared: &Prepared,
        (portal, parameters): (&str, Option<&[u8]>),
        decision: &Decision,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        let (number, arrived) = (self.next_number(), Instant::now());
        self.note_prepared(number, prepared, decision, portal, parameters)?;
        self.note_denied(number, decision, refused)?;
        self.refuse_extended(refused.clone(), number, arrived, out)
    }

    /// Notes the Statement of a Bind, and that it is refused for a reason that its decision does not hold.
    pub(crate) fn note_refused_bind(
        &mut self,
        number: u64,
        prepared: &Prepared,
        portal: &str,
        decision: &Decision,
        refused: &Refused,
    ) -> Result<(), End> {
        self.note_prepared(number, prepared, decision, portal, None)?;
        self.note_denied(number, decision, refused)
    }

    pub(super) fn refuse_parameters(
        &mut self,
        candidates: &[Rc<Prepared>],
        refused: Refused,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        let number = self.next_number();
        let text = candidates.last().map(|prepared| prepared.text.clone()).unwrap_or_else(|| Rc::from(""));
        self.note_unparsed(number, text.as_bytes(), Protocol::Extended, "", &refused)?;
        self.refuse_extended(refused, number, Instant::now(), out)
    }
}
