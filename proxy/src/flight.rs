//! What the server still owes an answer to, in order: how an answer finds its statement.

use crate::{
    copying::Copying,
    decide::Decision,
    names::Ticket,
    own::{Own, Purpose},
    statement::{Portal, Proposal},
};
use judge::mask::{Plan, findings::Findings};
use std::{collections::VecDeque, rc::Rc, time::Instant};

/// Messages that may be under way at once in one session; beyond it the client is not read until answers came.
pub const MAX_IN_FLIGHT: usize = 4096;

/// A statement that runs.
pub struct Running {
    /// Its number in the session.
    pub number: u64,
    /// When it arrived.
    pub arrived: Instant,
    /// What was decided of it.
    pub decision: Rc<Decision>,
    /// What to hide of its rows, once known.
    pub plan: Option<Rc<Plan>>,
    /// The portal that it runs, in the extended protocol.
    pub portal: Option<Rc<Portal>>,
    /// What its success will mean.
    pub effects: Effects,
    /// Rows that went to the client.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
    /// The client streams rows in (COPY FROM STDIN).
    pub copying_in: bool,
    /// Its COPY, as far as rows of it are looked at.
    pub copying: Copying,
    /// Its answer is cut off: what the client will be told.
    pub cut: Option<Vec<(u8, String)>>,
    /// What detectors found in its answer.
    pub findings: Findings,
}

impl Running {
    /// One that begins, and of whose rows nothing is to hide.
    pub fn new(number: u64, arrived: Instant, decision: Rc<Decision>, effects: Effects) -> Self {
        Self {
            number,
            arrived,
            plan: None,
            portal: None,
            effects,
            rows: 0,
            bytes: 0,
            copying_in: decision.copies_in,
            copying: Copying::default(),
            cut: None,
            findings: Findings::default(),
            decision,
        }
    }
}

/// What a statement's success will mean for the session.
#[derive(Debug, Default)]
pub struct Effects {
    /// For prepared statements and portals.
    pub names: Vec<Proposal>,
    /// For the search path.
    pub paths: Vec<Ticket>,
}

/// A message that was refused: the server was sent one that must fail in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Fields of the ErrorResponse for the client.
    pub report: Vec<(u8, String)>,
    /// The statements that it refuses, with when they arrived.
    pub numbers: Vec<(u64, Instant)>,
    /// It stays out of the record, which has no room; true: and so does the rest of its window.
    pub unrecorded: Option<bool>,
}

/// One message of the client that the server owes an answer to.
pub enum Awaited {
    /// Parse.
    Parse(Proposal),
    /// Bind.
    Bind(Proposal),
    /// Close.
    Close(Proposal),
    /// Describe of a statement.
    DescribeStatement,
    /// Describe of a portal; the gate's own ones are not shown to the client.
    DescribePortal {
        /// The portal, where the gate knows it.
        portal: Option<Rc<Portal>>,
        /// The gate asked, not the client.
        own: bool,
    },
    /// Execute.
    Execute(Box<Running>),
    /// A simple message, with its statements in order.
    Simple(VecDeque<Running>),
    /// A message of the extended protocol that was refused.
    Refused(Refusal),
    /// A simple message that was refused.
    SimpleRefused(Refusal),
    /// Sync.
    Sync,
    /// A statement of the gate's own.
    Own(Box<Own>),
}

/// Everything that is under way.
#[derive(Default)]
pub struct Flight {
    queue: VecDeque<Awaited>,
}

impl Flight {
    /// A message was sent.
    pub fn push(&mut self, awaited: Awaited) {
        self.queue.push_back(awaited);
    }

    /// The message that the server answers now.
    pub fn front(&mut self) -> Option<&mut Awaited> {
        self.queue.front_mut()
    }

    /// The message that the server answers now is answered.
    pub fn pop(&mut self) -> Option<Awaited> {
        self.queue.pop_front()
    }

    /// Puts back what [`Flight::pop`] took, changed.
    pub fn put_back(&mut self, awaited: Awaited) {
        self.queue.push_front(awaited);
    }

    /// The statement whose rows come now.
    pub fn running(&mut self) -> Option<&mut Running> {
        match self.queue.front_mut()? {
            Awaited::Execute(running) => Some(running),
            Awaited::Simple(statements) => statements.front_mut(),
            _ => None,
        }
    }

    /// Nothing under way runs a statement, or may still end one.
    pub fn runs_nothing(&self) -> bool {
        self.queue.iter().all(|awaited| {
            matches!(
                awaited,
                Awaited::Parse(_)
                    | Awaited::Bind(_)
                    | Awaited::Close(_)
                    | Awaited::DescribeStatement
                    | Awaited::DescribePortal { .. }
            )
        })
    }

    /// The Executes of the open window that are not answered.
    pub fn open_runs(&self) -> impl Iterator<Item = &Running> {
        let open =
            self.queue.iter().rev().take_while(|awaited| {
                !matches!(awaited, Awaited::Sync | Awaited::Simple(_) | Awaited::SimpleRefused(_))
            });
        open.filter_map(|awaited| match awaited {
            Awaited::Execute(running) => Some(&**running),
            _ => None,
        })
    }

    /// Takes the running statement, which came to its end.
    pub fn pop_running(&mut self) -> Option<Running> {
        match self.queue.front_mut()? {
            Awaited::Simple(statements) => statements.pop_front(),
            Awaited::Execute(_) => match self.queue.pop_front()? {
                Awaited::Execute(running) => Some(*running),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes everything up to the next Sync, which stays: the server skips it after an error.
    pub fn skip_to_sync(&mut self) -> Vec<Awaited> {
        let ends = |awaited: &Awaited| matches!(awaited, Awaited::Sync) || is_settling(awaited);
        let end = self.queue.iter().position(ends).unwrap_or(self.queue.len());
        self.queue.drain(..end).collect()
    }

    /// The client's window goes on behind what the server answers: its own Sync has not come.
    pub fn window_goes_on(&self) -> bool {
        self.queue.front().is_none_or(is_settling)
    }

    /// Takes everything: the session ends.
    pub fn drain(&mut self) -> Vec<Awaited> {
        self.queue.drain(..).collect()
    }

    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The message that the server answers now is the newest one.
    pub fn is_newest(&self) -> bool {
        self.queue.len() == 1
    }

    /// The newest message has a COPY FROM STDIN that has not ended.
    pub fn copies_in(&self) -> bool {
        match self.queue.back() {
            Some(Awaited::Execute(running)) => running.copying_in,
            Some(Awaited::Simple(statements)) => statements.iter().any(|running| running.copying_in),
            _ => false,
        }
    }

    /// The client must wait.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_IN_FLIGHT
    }

    /// No message but those of a window that was answered or closed by Sync is under way.
    pub fn window_is_open(&self) -> bool {
        !matches!(self.queue.back(), None | Some(Awaited::Sync | Awaited::Simple(_) | Awaited::SimpleRefused(_)))
    }
}

/// A Sync of the gate's own, before a statement is held.
fn is_settling(awaited: &Awaited) -> bool {
    matches!(awaited, Awaited::Own(own) if own.purpose == Purpose::Settle)
}
