//! From the client to the database: each message is understood, decided and recorded before a byte of it goes on.
//!
//! Sans IO: reads frames from a [`Reader`], appends what may go to an [`Outbox`] whose gate says how durable the record
//! must be first. A refused message is replaced by one that must fail, so that the transaction ends up in the state
//! PostgreSQL would leave it in; its error is replaced by ours on the way back ([`crate::answer`]), and in the extended
//! protocol everything up to the next Sync is dropped, as PostgreSQL drops it.

mod refusal;

pub(crate) use refusal::{MUST_FAIL, REFUSED_NAME};

use crate::{
    budget::Step,
    conversation::{Conversation, CopyIn, End, Outbox},
    decide::{Decision, Permit, Refused, Simple},
    estimate::Asked,
    flight::{Awaited, Running},
    frames::{
        self, Head, Reader, Violation, frontend,
        frontend::{Message, Target},
    },
    hold::Held,
    statement::{Origin, Portal, Prepared},
};
use schemas::event::Protocol;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

/// Largest Bind parameters that a Statement event repeats; the Frames have all of them.
const MAX_EVENT_PARAMETERS: usize = 64 << 10;

/// What the exchange must do before the next client frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read more.
    More,
    /// Wait for answers: too much is under way, or a COPY is about to begin.
    Wait,
    /// The statement names what the catalog snapshot does not know: refresh it, then call again.
    RefreshCatalog,
    /// The client said goodbye.
    Terminate,
}

impl Conversation {
    /// Deals with every whole frame that the client has sent.
    ///
    /// # Errors
    /// [`End`]: the session ends for that reason.
    pub fn client(&mut self, input: &mut Reader, out: &mut Outbox) -> Result<Flow, End> {
        let mut begun = 0u32;
        let mut consumed = 0;
        let full = self.lacks_room(input.unread().len());
        let flow = loop {
            let unread = input.unread().get(consumed..).unwrap_or_default();
            if self.passing_in > 0 {
                let count = self.passing_in.min(unread.len());
                self.pass_copy_data(unread.get(..count).unwrap_or_default(), out);
                self.passing_in -= count;
                consumed += count;
                if self.passing_in > 0 {
                    break Flow::More;
                }
                continue;
            }
            if self.flight.is_full() || self.must_wait() {
                break Flow::Wait;
            }
            let Some(head) = frames::head(unread)? else { break Flow::More };
            let limit = frontend::limit(head.kind)?;
            if head.total > limit {
                return Err(Violation::Length { kind: char::from(head.kind), length: head.total, limit }.into());
            }
            if head.kind == b'd' && !self.guards_copy() {
                begun += 1;
                self.passing_in = head.total;
                self.dropping_in = !matches!(self.copy_in, CopyIn::Streaming { .. });
                continue;
            }
            let Some(frame) = unread.get(..head.total) else {
                self.wanted_in = head.total;
                break Flow::More;
            };
            let frame = Frame { head, bytes: frame };
            self.begin_frame(consumed);
            if self.refuses_for_room(full, frame, consumed, out)? {
                consumed += head.total;
                continue;
            }
            match self.one(frame, out) {
                Ok(flow @ (Flow::RefreshCatalog | Flow::Wait)) => break flow,
                Ok(flow) => {
                    self.hold_after()?;
                    begun += 1;
                    consumed += head.total;
                    if flow == Flow::Terminate {
                        break flow;
                    }
                }
                Err(end) => {
                    self.record_client_run(input, consumed + head.total, begun + 1)?;
                    return Err(end);
                }
            }
        };
        self.record_client_run(input, consumed, begun)?;
        self.commit(out)?;
        Ok(flow)
    }

    /// The run as received stands in the record; statements and verdicts were noted on the way.
    fn record_client_run(&mut self, input: &mut Reader, consumed: usize, begun: u32) -> Result<(), End> {
        if consumed > 0 {
            let run = input.unread().get(..consumed).unwrap_or_default();
            self.note_client_run(run, begun)?;
            input.consume(consumed);
            self.wanted_in = 0;
        }
        Ok(())
    }

    fn pass_copy_data(&mut self, bytes: &[u8], out: &mut Outbox) {
        if !self.dropping_in {
            out.bytes.extend_from_slice(bytes);
        }
    }

    /// A COPY FROM STDIN was sent and the server has not said yet whether it begins: what follows depends on it.
    fn must_wait(&self) -> bool {
        self.copy_in == CopyIn::Asked
            || self.budget_waits()
            || self.cutting_waits()
            || self.estimating.waits()
            || self.hold_waits()
    }

    fn one(&mut self, frame: Frame<'_>, out: &mut Outbox) -> Result<Flow, End> {
        let body = frame.bytes.get(frames::HEAD..).unwrap_or_default();
        self.learn_secrets(frame);
        let message = frontend::parse(frame.head.kind, body)?;
        self.note_names(&message);
        if let CopyIn::Streaming { extended } = self.copy_in {
            return self.while_copying(&message, frame, body, extended, out);
        }
        if self.discarding && !matches!(message, Message::Sync | Message::Terminate) {
            return Ok(Flow::More);
        }
        if self.cutting_holds(&message, out) {
            return Ok(Flow::Wait);
        }
        match message {
            Message::Query(text) => {
                let flow = self.query(text, frame, out);
                // had the message failed, the server would not skip what follows it
                self.window += 1;
                flow
            }
            Message::Parse { name, text } => self.parse(name, text, frame, out),
            Message::Bind { portal, statement, parameters, formats } => {
                self.bind(portal, statement, parameters, &formats.codes(), frame, out)
            }
            Message::Describe(target) => self.describe(target, frame, out),
            Message::Execute { portal, .. } => self.execute(portal, frame, out),
            Message::Close(target) => self.close_name(target, frame, out),
            Message::Sync => {
                self.budget_sync(out);
                self.hold_sync();
                self.flight.push(Awaited::Sync);
                self.discarding = false;
                self.window += 1;
                out.pass(Permit::plain(), frame.bytes);
                Ok(Flow::More)
            }
            Message::Flush => {
                out.pass(Permit::plain(), frame.bytes);
                Ok(Flow::More)
            }
            Message::FunctionCall => self.refuse_function_call(out),
            // PostgreSQL ignores these outside of a COPY: a client may still be sending when a COPY failed
            Message::CopyData | Message::CopyDone | Message::CopyFail => Ok(Flow::More),
            Message::Terminate => {
                out.pass(Permit::plain(), frame.bytes);
                Ok(Flow::Terminate)
            }
        }
    }

    fn while_copying(
        &mut self,
        message: &Message<'_>,
        frame: Frame<'_>,
        body: &[u8],
        extended: bool,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        match message {
            // only where rows are looked at; others pass without being held
            Message::CopyData if self.may_copy(Some(body), out) => out.pass(Permit::plain(), frame.bytes),
            Message::CopyDone if !self.may_copy(None, out) => {}
            Message::CopyData => {}
            // a server that reads COPY data ignores both
            Message::Sync | Message::Flush => {}
            Message::CopyDone | Message::CopyFail => {
                self.copy_in = CopyIn::None;
                // in the extended protocol a failed COPY is skipped up to the next Sync like any other error
                let _ = extended;
                out.pass(Permit::plain(), frame.bytes);
            }
            Message::Terminate => {
                out.pass(Permit::plain(), frame.bytes);
                return Ok(Flow::Terminate);
            }
            _ => {
                let kind = char::from(frame.head.kind);
                return Err(Violation::OutOfPlace { kind, when: "during COPY FROM STDIN" }.into());
            }
        }
        Ok(Flow::More)
    }

    fn query(&mut self, text: &[u8], frame: Frame<'_>, out: &mut Outbox) -> Result<Flow, End> {
        let arrived = Instant::now();
        self.window += 1;
        self.hold_resumes();
        let mut decided = match self.decide_simple(text) {
            Ok(decided) => decided,
            Err(Refused::CatalogTooOld) => return Ok(Flow::RefreshCatalog),
            Err(refused) => {
                let number = self.next_number();
                self.note_unparsed(number, text, Protocol::Simple, "", &refused)?;
                return self.refuse_simple(refused, vec![(number, arrived)], out);
            }
        };
        self.note_decided(decided.iter().map(|statement| &*statement.decision));
        match self.estimate_message(&mut decided, out) {
            Asked::Go(()) => {}
            Asked::Wait => return Ok(Flow::Wait),
            Asked::Refuse(refused) => return self.refuse_message(&decided, 0, refused, arrived, out),
        }
        match self.hold_message(&decided, text, out)? {
            Held::Go => {}
            Held::Wait => return Ok(Flow::Wait),
            Held::Refuse(refused) => return self.refuse_message(&decided, 0, refused, arrived, out),
        }
        if let Some(denied) = decided.iter().find_map(|d| Refused::of(&d.decision)) {
            let mut numbers = Vec::new();
            for statement in &decided {
                let number = self.next_number();
                numbers.push((number, arrived));
                let verdict = Refused::of(&statement.decision).is_none().then_some(&denied);
                self.note_statement(number, statement, verdict)?;
            }
            return self.refuse_simple(denied, numbers, out);
        }
        if let Some((place, refused)) = self.limits_message(&decided, arrived) {
            return self.refuse_message(&decided, place, refused, arrived, out);
        }
        if self.budget.is_some() {
            return self.budget_query(&decided, text, frame.bytes, arrived, out);
        }
        let mut running = std::collections::VecDeque::new();
        let mut durable = false;
        for statement in &decided {
            durable |= !statement.decision.read_only;
            let one = self.start(statement, arrived)?;
            if one.copying_in {
                self.copy_in = CopyIn::Asked;
            }
            running.push_back(one);
        }
        self.flight.push(Awaited::Simple(running));
        out.pass(Permit::decided(durable), frame.bytes);
        Ok(Flow::More)
    }

    /// Notes a statement of a simple message that is allowed.
    pub(crate) fn start(&mut self, statement: &Simple, arrived: Instant) -> Result<Running, End> {
        let number = self.next_number();
        self.note_statement(number, statement, None)?;
        let effects = self.propose_effects(&statement.decision, &statement.text)?;
        Ok(Running::new(number, arrived, statement.decision.clone(), effects))
    }

    fn parse(&mut self, name: &str, text: &[u8], frame: Frame<'_>, out: &mut Outbox) -> Result<Flow, End> {
        let arrived = Instant::now();
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(Violation::Malformed { kind: 'P', what: "the statement is not UTF-8" }.into());
        };
        let types = frame.bytes.get(frames::HEAD + name.len() + text.len() + 2..).unwrap_or_default();
        let prepared = Rc::new(Prepared::new(text, Origin::Parse, name).with_types(types));
        match self.decide_prepared(&prepared) {
            Ok(decision) => {
                self.note_decided([&*decision]);
                if let Some(refused) = self.decider.outright(&decision) {
                    let number = self.next_number();
                    self.note_run_of(number, &prepared, &decision, "", None)?;
                    return self.refuse_parse(refused, name, (number, arrived), out);
                }
            }
            Err(Refused::CatalogTooOld) => return Ok(Flow::RefreshCatalog),
            // EXECUTE of what may be prepared by then: nothing runs yet, and Bind decides
            Err(refused) if refused.is_unknown_name() => self.note_decided([]),
            Err(refused) => {
                let number = self.next_number();
                self.note_unparsed(number, text.as_bytes(), Protocol::Extended, name, &refused)?;
                return self.refuse_parse(refused, name, (number, arrived), out);
            }
        }
        match self.names.propose_prepared(name, Some(prepared), self.window) {
            Ok(proposal) => self.flight.push(Awaited::Parse(proposal)),
            Err(full) => return self.refuse_without_statement(Refused::limit(&full.to_string()), out),
        }
        out.pass(Permit::plain(), frame.bytes);
        Ok(Flow::More)
    }

    fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        parameters: &[u8],
        formats: &[i16],
        frame: Frame<'_>,
        out: &mut Outbox,
    ) -> Result<Flow, End> {
        self.hold_resumes();
        let candidates = self.names.prepared(statement, self.window);
        let decision = match self.decide_candidates(&candidates) {
            Ok(decision) => decision,
            Err(Refused::CatalogTooOld) => return Ok(Flow::RefreshCatalog),
            Err(refused) => return self.refuse_without_statement(refused, out),
        };
        self.note_decided([&*decision]);
        let repeated = (parameters.len() <= MAX_EVENT_PARAMETERS).then_some(parameters);
        let asked = match self.decider.outright(&decision) {
            Some(_) => Asked::Go(decision.clone()),
            None => self.estimate_bind(&candidates, decision.clone(), (portal, parameters), out),
        };
        let (decision, unknown) = match asked {
            Asked::Go(decided) => (decided, None),
            Asked::Wait => return Ok(Flow::Wait),
            Asked::Refuse(refused) => (decision, Some(refused)),
        };
        if let (Some(refused), Some(prepared)) = (&unknown, candidates.last()) {
            return self.refuse_bind(refused, prepared, (portal, repeated), &decision, out);
        }
        match (self.hold_bind(&candidates, &decision, (portal, parameters), out)?, candidates.last()) {
            (Held::Go, _) => {}
            (Held::Refuse(why), Some(prepared)) => {
                return self.refuse_bind(&why, prepared, (portal, repeated), &decision, out);
            }
            (Held::Wait | Held::Refuse(_), _) => return Ok(Flow::Wait),
        }
        if let (Some(refused), Some(prepared)) = (Refused::of(&decision), candidates.last()) {
            // allowed at Parse, and no longer: a Bind alone already evaluates parts of it
            let (number, arrived) = (self.next_number(), Instant::now());
            self.note_run_of(number, prepared, &decision, portal, repeated)?;
            return self.refuse_extended(refused, number, arrived, out);
        }
        if let Some(refused) = decision.refuses_parameters(parameters) {
            return self.refuse_parameters(&candidates, refused, out);
        }
        let opened = Rc::new(Portal {
            facts: decision.facts.clone(),
            prepared: candidates.last().cloned(),
            decision,
            formats: formats.to_vec(),
            parameters: repeated.map(<[u8]>::to_vec),
            plan: RefCell::new(None),
            asked: Cell::new(false),
            held: Cell::new(self.hold_number()),
        });
        opened.reuse_plan(candidates.len());
        match self.names.propose_portal(portal, Some(opened), self.window) {
            Ok(proposal) => self.flight.push(Awaited::Bind(proposal)),
            Err(full) => return self.refuse_without_statement(Refused::limit(&full.to_string()), out),
        }
        out.pass(Permit::plain(), frame.bytes);
        Ok(Flow::More)
    }

    fn describe(&mut self, target: Target<'_>, frame: Frame<'_>, out: &mut Outbox) -> Result<Flow, End> {
        match target {
            Target::Statement(_) => self.flight.push(Awaited::DescribeStatement),
            Target::Portal(name) => {
                let portal = self.names.portals(name, self.window).into_iter().next_back();
                if let Some(portal) = &portal {
                    portal.asked.set(true);
                }
                self.flight.push(Awaited::DescribePortal { portal, own: false });
            }
        }
        out.pass(Permit::plain(), frame.bytes);
        Ok(Flow::More)
    }

    fn execute(&mut self, name: &str, frame: Frame<'_>, out: &mut Outbox) -> Result<Flow, End> {
        let arrived = Instant::now();
        let candidates = self.names.portals(name, self.window);
        let [portal] = candidates.as_slice() else {
            let text =
                if candidates.is_empty() { "is not open" } else { "may stand for several statements; send Sync first" };
            return self.refuse_without_statement(Refused::unknown_name("portal", name, text), out);
        };
        let decision = match self.decide_again(portal) {
            Ok(decision) => decision,
            Err(Refused::CatalogTooOld) => return Ok(Flow::RefreshCatalog),
            Err(refused) => return self.refuse_without_statement(refused, out),
        };
        self.note_decided([&*decision]);
        let refused = match decision.lacks_estimate().or_else(|| self.limits_run(&decision, arrived)) {
            Some(refused) => Some(refused),
            None => match self.budget_execute(&decision, out) {
                Step::Go => None,
                Step::Wait => return Ok(Flow::Wait),
                Step::Refuse(refused) => Some(refused),
            },
        };
        let number = portal.held.take().unwrap_or_else(|| self.next_number());
        if let Some(refused) = refused {
            self.note_refused_run(number, portal, name, &decision, &refused)?;
            return self.refuse_extended(refused, number, arrived, out);
        }
        self.budget_ran(number, &decision);
        let prepared = portal.prepared.clone();
        match &prepared {
            Some(prepared) => self.note_run_of(number, prepared, &decision, name, portal.parameters.as_deref())?,
            None => self.note_cursor_run(number, name, &decision)?,
        }
        if let Some(refused) = Refused::of(&decision) {
            return self.refuse_extended(refused, number, arrived, out);
        }
        let text = prepared.as_ref().map_or_else(|| Rc::from(""), |prepared| prepared.text.clone());
        let effects = self.propose_effects(&decision, &text)?;
        if decision.copies_in {
            self.copy_in = CopyIn::Asked;
        }
        let durable = !decision.read_only;
        self.cutting_ran(&decision);
        let portal = self.ask_for_description(name, portal, &decision, out);
        let plan = portal.plan.borrow().clone();
        let running = Running { plan, portal: Some(portal), ..Running::new(number, arrived, decision, effects) };
        self.flight.push(Awaited::Execute(Box::new(running)));
        out.pass(Permit::decided(durable), frame.bytes);
        Ok(Flow::More)
    }

    /// Without RowDescription nobody knows the types of the columns to mask: where the client did not ask, the gate does.
    fn ask_for_description(
        &mut self,
        name: &str,
        portal: &Rc<Portal>,
        decision: &Rc<Decision>,
        out: &mut Outbox,
    ) -> Rc<Portal> {
        let same = Rc::ptr_eq(decision, &portal.decision);
        if !decision.walks() || same && portal.asked.get() {
            return portal.clone();
        }
        // what was decided anew since Bind needs a plan of its own
        let asked = if same { portal.clone() } else { Rc::new(portal.decided_anew(decision)) };
        asked.asked.set(true);
        let mut body = vec![b'P'];
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        frames::put(&mut out.bytes, b'D', &body);
        self.flight.push(Awaited::DescribePortal { portal: Some(asked.clone()), own: true });
        asked
    }

    fn close_name(&mut self, target: Target<'_>, frame: Frame<'_>, out: &mut Outbox) -> Result<Flow, End> {
        let proposal = match target {
            Target::Statement(name) => self.names.propose_prepared(name, None, self.window),
            Target::Portal(name) => self.names.propose_portal(name, None, self.window),
        };
        if let Ok(proposal) = proposal {
            self.flight.push(Awaited::Close(proposal));
        }
        out.pass(Permit::plain(), frame.bytes);
        Ok(Flow::More)
    }
}

/// One whole frame of the client.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Its head.
    pub head: Head,
    /// All of it.
    pub bytes: &'a [u8],
}
