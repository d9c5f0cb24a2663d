//! Prepared statements, portals and cursors of a session: what a name in a message stands for.
//!
//! PostgreSQL has one namespace for prepared statements (Parse and SQL PREPARE) and one for portals (Bind and DECLARE),
//! and so has the gate. A prepared statement keeps its text, because PostgreSQL analyzes it again when the search path
//! or the catalog changed since; a portal keeps its facts, because its plan is fixed when it is opened.

use crate::{
    decide::{Decided, Decision},
    names::{Slot, Ticket, Tickets, Window},
    redact,
};
use judge::{mask::Plan, sql::Facts};
use schemas::codec::{self, template::Template};
use schemas::event::{Body, Payload, Protocol, Statement};
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

/// Prepared statements and portals that one session may have at once.
const MAX_NAMES: usize = 10_000;

/// Bytes of text that the prepared statements of one session may hold.
const MAX_TEXT: usize = 64 << 20;

/// How a prepared statement came to be, and so where in its text the statement itself is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A Parse message: the text is the statement.
    Parse,
    /// SQL PREPARE: the statement is inside.
    Prepare,
}

/// A prepared statement.
pub struct Prepared {
    /// SQL text.
    pub text: Rc<str>,
    /// Where it came from.
    pub origin: Origin,
    /// The last decision, for as long as what it was decided under stays the same.
    pub decided: RefCell<Option<Decided>>,
    /// What the last run's rows were searched by.
    pub searched: RefCell<Option<Searched>>,
    types: Vec<u8>,
    name: String,
    event: OnceCell<Template>,
}

impl Prepared {
    /// A statement that the client names `name`.
    pub fn new(text: &str, origin: Origin, name: &str) -> Self {
        let (decided, searched) = (RefCell::new(None), RefCell::new(None));
        let (types, name) = (Vec::new(), name.to_owned());
        Self { text: text.into(), origin, decided, searched, types, name, event: OnceCell::new() }
    }

    /// With the types of its parameters, as they stand in Parse: their count, and an object id each.
    #[must_use]
    pub fn with_types(mut self, types: &[u8]) -> Self {
        types.clone_into(&mut self.types);
        self
    }

    /// The types of its parameters, as they stand in Parse.
    pub fn types(&self) -> &[u8] {
        if self.types.is_empty() { &[0, 0] } else { &self.types }
    }

    /// The Statement event, encoded but for what changes from run to run.
    ///
    /// # Errors
    /// [`codec::Error`].
    pub fn event(&self) -> Result<&Template, codec::Error> {
        if let Some(template) = self.event.get() {
            return Ok(template);
        }
        let template = Template::new(Body::Statement(self.statement(0, "", None)))?;
        Ok(self.event.get_or_init(|| template))
    }

    /// The Statement event's body.
    pub fn statement(&self, number: u64, portal: &str, parameters: Option<&[u8]>) -> Statement {
        Statement {
            number,
            protocol: Protocol::Extended,
            index: 0,
            text: redact::text(self.text.as_bytes()),
            prepared: self.name.clone(),
            portal: portal.to_owned(),
            parameters: parameters.map(Payload::plain),
            tokens: None,
        }
    }
}

/// An open portal or cursor.
pub struct Portal {
    /// What it may run: one set of facts, or several while answers are under way.
    pub facts: Vec<Arc<Facts>>,
    /// The statement that it was bound from; `None` for a cursor.
    pub prepared: Option<Rc<Prepared>>,
    /// The decision that it was opened under.
    pub decision: Rc<Decision>,
    /// Result format codes, as bound.
    pub formats: Vec<i16>,
    /// The parameters, as they stood in Bind.
    pub parameters: Option<Vec<u8>>,
    /// What to hide of its rows, once the server described them.
    pub plan: RefCell<Option<Rc<Plan>>>,
    /// A description of it was asked for.
    pub asked: Cell<bool>,
    /// The number of its first run, where that was held: it is in the record already.
    pub held: Cell<Option<u64>>,
}

/// By what the rows of a prepared statement were searched that hides nothing by itself. The types of its answer cannot
/// change; only what is decided anew, or bound to other formats, needs a description again.
#[derive(Clone)]
pub struct Searched {
    decision: Rc<Decision>,
    formats: Vec<i16>,
    plan: Rc<Plan>,
}

impl Portal {
    /// Takes the plan of an earlier run, where that surely holds: `candidates` statements may be meant.
    pub fn reuse_plan(&self, candidates: usize) {
        let Some(prepared) = self.prepared.as_ref().filter(|_| candidates == 1) else { return };
        let searched = prepared.searched.borrow();
        let same = |s: &&Searched| Rc::ptr_eq(&s.decision, &self.decision) && s.formats == self.formats;
        if let Some(searched) = searched.as_ref().filter(same) {
            *self.plan.borrow_mut() = Some(searched.plan.clone());
            self.asked.set(true);
        }
    }

    /// Its rows have no plan yet, or it must be made of what the server says now: rows of a masked statement.
    pub fn lacks_plan(&self) -> bool {
        self.decision.masks() || self.plan.borrow().is_none()
    }

    /// The server described its rows, or said that there are none.
    pub fn described(&self, plan: Plan) {
        let plan = Rc::new(plan);
        if let Some(prepared) = self.prepared.as_ref().filter(|_| !self.decision.masks() && self.decision.walks()) {
            let (decision, formats) = (self.decision.clone(), self.formats.clone());
            *prepared.searched.borrow_mut() = Some(Searched { decision, formats, plan: plan.clone() });
        }
        *self.plan.borrow_mut() = Some(plan);
    }

    /// The same portal under another decision, without a plan.
    #[must_use]
    pub fn decided_anew(&self, decision: &Rc<Decision>) -> Self {
        Self {
            facts: self.facts.clone(),
            prepared: None,
            decision: decision.clone(),
            formats: self.formats.clone(),
            parameters: None,
            plan: RefCell::new(None),
            asked: Cell::new(false),
            held: Cell::new(None),
        }
    }
}

/// Too many names are in use. The statement is refused; the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this session has too many prepared statements or cursors open; close some (DEALLOCATE ALL, CLOSE ALL)")]
pub struct TooMany;

/// The names of a session.
#[derive(Default)]
pub struct Names {
    prepared: HashMap<String, Slot<Rc<Prepared>>>,
    portals: HashMap<String, Slot<Rc<Portal>>>,
    tickets: Tickets,
    text: usize,
}

/// A proposal about a name, to be settled when the server answered.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// About a prepared statement.
    Prepared(String, Ticket),
    /// About a portal.
    Portal(String, Ticket),
    /// Every prepared statement is freed (DEALLOCATE ALL).
    AllPrepared,
    /// Every portal is closed (CLOSE ALL).
    AllPortals,
}

impl Names {
    /// What a prepared statement's name may stand for.
    pub fn prepared(&self, name: &str, window: Window) -> Vec<Rc<Prepared>> {
        self.prepared.get(name).map(|slot| slot.candidates(window)).unwrap_or_default()
    }

    /// What a portal's name may stand for.
    pub fn portals(&self, name: &str, window: Window) -> Vec<Rc<Portal>> {
        self.portals.get(name).map(|slot| slot.candidates(window)).unwrap_or_default()
    }

    /// Proposes a prepared statement, or (`None`) that its name is freed.
    ///
    /// # Errors
    /// [`TooMany`]; nothing changed.
    pub fn propose_prepared(
        &mut self,
        name: &str,
        value: Option<Rc<Prepared>>,
        window: Window,
    ) -> Result<Proposal, TooMany> {
        let size = value.as_ref().map_or(0, |prepared| prepared.text.len());
        if value.is_some() && (self.prepared.len() >= MAX_NAMES || self.text + size > MAX_TEXT) {
            self.forget_free();
            if self.prepared.len() >= MAX_NAMES || self.text + size > MAX_TEXT {
                return Err(TooMany);
            }
        }
        self.text += size;
        let ticket = self.prepared.entry(name.to_owned()).or_default().propose(window, value, &mut self.tickets);
        Ok(Proposal::Prepared(name.to_owned(), ticket))
    }

    /// Proposes a portal, or (`None`) that its name is freed.
    ///
    /// # Errors
    /// [`TooMany`]; nothing changed.
    pub fn propose_portal(
        &mut self,
        name: &str,
        value: Option<Rc<Portal>>,
        window: Window,
    ) -> Result<Proposal, TooMany> {
        if value.is_some() && self.portals.len() >= MAX_NAMES {
            self.forget_free();
            if self.portals.len() >= MAX_NAMES {
                return Err(TooMany);
            }
        }
        let ticket = self.portals.entry(name.to_owned()).or_default().propose(window, value, &mut self.tickets);
        Ok(Proposal::Portal(name.to_owned(), ticket))
    }

    /// The server did, or did not do, what was proposed.
    pub fn settle(&mut self, proposal: &Proposal, done: bool) {
        match proposal {
            Proposal::Prepared(name, ticket) => settle(&mut self.prepared, name, *ticket, done),
            Proposal::Portal(name, ticket) => settle(&mut self.portals, name, *ticket, done),
            Proposal::AllPrepared if done => self.prepared.clear(),
            Proposal::AllPortals if done => self.portals.clear(),
            Proposal::AllPrepared | Proposal::AllPortals => {}
        }
    }

    fn forget_free(&mut self) {
        self.prepared.retain(|_, slot| !slot.is_free());
        self.portals.retain(|_, slot| !slot.is_free());
        let texts = self.prepared.values().flat_map(|slot| slot.candidates(Window::MAX));
        self.text = texts.map(|prepared| prepared.text.len()).sum();
    }
}

fn settle<T: Clone>(slots: &mut HashMap<String, Slot<T>>, name: &str, ticket: Ticket, done: bool) {
    if let Some(slot) = slots.get_mut(name) {
        if done {
            slot.confirm(ticket);
        } else {
            slot.reject(ticket);
        }
        if slot.is_free() {
            slots.remove(name);
        }
    }
}
