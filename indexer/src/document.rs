//! From events to documents: joins what belongs to one statement or session.
//!
//! Statement, Verdict and Completed of one statement may come in three batches, hours apart. A document is written as
//! soon as there is something to find (`running`), and written again, in its place, when more is known. What is open is
//! kept in memory here; it is also exactly what the index holds under `state:open`, so that the index itself is the
//! memory that survives: after a restart [`Joiner::restore`] is given those documents, at the same commit as the
//! offsets (IDX-1).
//!
//! ```text
//! Statement --> running --Verdict--> running --Held--> held --Reviewed--> running --Completed--> succeeded | failed | ...
//!                  +--------------------- SessionClosed -----------------------------> unknown
//! ```

mod control;

use crate::schema::plain_words;
use crate::search::{Document, Hit, Review};
use schemas::event::{Access, CloseReason, Gap, HoldOutcome, SessionRefused};
use schemas::event::{
    Body, Completed, Event, Outcome, PayloadCodec, Protocol, SessionClosed, SessionOpened, Statement, Verdict,
};
use schemas::{SessionId, StatementId, literals};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most open sessions that are kept. A gate has far fewer; more are sessions whose end never came. The oldest are let
/// go: what still comes of them is indexed without its identity, and says so in the log.
pub const MAX_OPEN_SESSIONS: usize = 262_144;

/// Most open statements of one session: a pipeline may have many.
pub const MAX_OPEN_STATEMENTS: usize = 65_536;

/// A document to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it says.
    pub hit: Hit,
    /// Words of its text, for phrases.
    pub words: Vec<String>,
    /// One of the same id was written before.
    pub replaces: bool,
}

#[derive(Debug)]
struct Entry {
    hit: Hit,
    words: Vec<String>,
    written: bool,
}

#[derive(Debug)]
struct Session {
    /// Its document; without identity where its opening was not seen.
    entry: Entry,
    statements: BTreeMap<u64, Entry>,
}

/// What is open, and what changed since the last [`Joiner::take`].
#[derive(Debug, Default)]
pub struct Joiner {
    sessions: HashMap<SessionId, Session>,
    dirty: BTreeSet<(SessionId, Option<u64>)>,
    done: Vec<Entry>,
}

impl Joiner {
    /// Begins where a commit ended: `open` are the documents under `state:open`, with the words of their texts.
    pub fn restore(open: impl IntoIterator<Item = (Hit, Vec<String>)>) -> Self {
        let mut joiner = Self::default();
        for (hit, words) in open {
            let entry = Entry { words, written: true, hit };
            let session = joiner.session(entry.hit.session, entry.hit.time);
            match entry.hit.number.filter(|_| entry.hit.document == Document::Statement) {
                Some(number) => drop(session.statements.insert(number, entry)),
                None => session.entry = entry,
            }
        }
        joiner
    }

    /// How many documents wait to be written, at most.
    pub fn pending(&self) -> usize {
        self.dirty.len() + self.done.len()
    }

    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Takes in one event. Events of a session must come in order, each once.
    pub fn apply(&mut self, event: &Event) {
        let (session, time) = (event.session, event.time);
        match &event.body {
            Body::SessionOpened(opened) => self.opened(session, time, opened),
            Body::SessionRefused(refused) => self.alone(refused_hit(session, time, refused)),
            Body::Statement(statement) => self.statement(session, time, statement),
            Body::Verdict(verdict) => {
                self.change(session, time, verdict.number, |entry| decided(entry, verdict));
            }
            Body::Frames(_) => {}
            Body::Held(held) => self.change(session, time, held.number, |Entry { hit, .. }| {
                hit.outcome = "held".to_owned();
                hit.review = Some(Review {
                    request: held.request.clone(),
                    reviewer: None,
                    approved: None,
                    reason: String::new(),
                });
            }),
            Body::Reviewed(reviewed) => self.change(session, time, reviewed.number, |Entry { hit, .. }| {
                hit.outcome = "running".to_owned();
                hit.review = Some(Review {
                    request: reviewed.request.clone(),
                    reviewer: reviewed.reviewer.as_ref().map(|identity| identity.subject.clone()),
                    approved: Some(reviewed.approved),
                    reason: literals::remove_from_reason(&reviewed.reason),
                });
            }),
            Body::Completed(completed) => self.completed(session, time, completed),
            Body::Gap(gap) => self.alone(gap_hit(session, time, gap)),
            Body::SessionClosed(closed) => self.closed(session, time, closed),
            Body::Access(access) => self.alone(access_hit(session, time, access)),
            Body::HoldEnded(ended) => self.change(session, time, ended.number, |Entry { hit, .. }| {
                let reviewed = hit.review.get_or_insert_with(|| Review {
                    request: ended.request.clone(),
                    reviewer: None,
                    approved: None,
                    reason: String::new(),
                });
                reviewed.approved = Some(ended.outcome == HoldOutcome::Released);
                reviewed.reason = literals::remove_from_reason(&ended.reason);
                "running".clone_into(&mut hit.outcome);
            }),
            // a session's own roles are known by its SessionOpened
            Body::RoleLeased(_) => {}
            Body::RoleDropped(_) if event.sequence > 0 => {}
            Body::AccessRequested(_)
            | Body::AccessReviewed(_)
            | Body::AccessGranted(_)
            | Body::AccessEnded(_)
            | Body::Revoked(_)
            | Body::Alarm(_)
            | Body::RoleDropped(_) => control::hit(event).into_iter().for_each(|hit| self.again(hit)),
        }
    }

    /// What changed, to be written to the index now.
    pub fn take(&mut self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.done.drain(..).map(Entry::into_change).collect();
        for (id, number) in std::mem::take(&mut self.dirty) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let entry = match number {
                Some(number) => session.statements.get_mut(&number),
                None => Some(&mut session.entry),
            };
            if let Some(entry) = entry {
                changes.push(Change { hit: entry.hit.clone(), words: entry.words.clone(), replaces: entry.written });
                entry.written = true;
            }
        }
        changes
    }

    fn session(&mut self, id: SessionId, time: i64) -> &mut Session {
        if self.sessions.len() >= MAX_OPEN_SESSIONS && !self.sessions.contains_key(&id) {
            // ids sort by the time of opening
            if let Some(oldest) = self.sessions.keys().min().copied() {
                tracing::warn!(session = %oldest, limit = MAX_OPEN_SESSIONS, "too many open sessions, the oldest is let go");
                self.sessions.remove(&oldest);
            }
        }
        self.sessions.entry(id).or_insert_with(|| {
            let mut hit = Hit::new(Document::Session, id.to_string(), id, time);
            "open".clone_into(&mut hit.outcome);
            hit.open = true;
            Session { entry: Entry { hit, words: Vec::new(), written: false }, statements: BTreeMap::new() }
        })
    }

    fn opened(&mut self, id: SessionId, time: i64, opened: &SessionOpened) {
        let hit = &mut self.session(id, time).entry.hit;
        hit.time = time;
        hit.identity = Some(opened.identity.clone());
        hit.resource.clone_from(&opened.resource);
        hit.role.clone_from(&opened.role);
        hit.node.clone_from(&opened.node);
        hit.peer.clone_from(&opened.peer);
        self.dirty.insert((id, None));
    }

    fn statement(&mut self, id: SessionId, time: i64, statement: &Statement) {
        self.change(id, time, statement.number, |Entry { hit, words, .. }| {
            hit.time = time;
            hit.protocol = match statement.protocol {
                Protocol::Simple => "simple",
                Protocol::Extended => "extended",
                Protocol::FunctionCall => "function_call",
            }
            .to_owned();
            hit.tokens = statement.tokens.clone().unwrap_or_default();
            let plain = Some(&statement.text).filter(|text| text.codec == PayloadCodec::Plain);
            let text = plain.and_then(|text| std::str::from_utf8(&text.bytes).ok()).and_then(literals::remove);
            if let Some(text) = text {
                hit.text = Some(text.shown);
                *words = text.words;
            }
        });
    }

    /// Changes an open statement, begun here if its Statement was not seen.
    fn change(&mut self, id: SessionId, time: i64, number: u64, change: impl FnOnce(&mut Entry)) {
        let session = self.session(id, time);
        if session.statements.len() >= MAX_OPEN_STATEMENTS && !session.statements.contains_key(&number) {
            // only a gate that never completes anything gets here; the oldest stays in the index as it is
            session.statements.pop_first();
            tracing::warn!(session = %id, limit = MAX_OPEN_STATEMENTS, "too many open statements, the oldest is let go");
        }
        let entry =
            session.statements.entry(number).or_insert_with(|| statement_entry(&session.entry.hit, number, time));
        change(entry);
        self.dirty.insert((id, Some(number)));
    }

    fn completed(&mut self, id: SessionId, time: i64, completed: &Completed) {
        self.change(id, time, completed.number, |Entry { hit, .. }| {
            hit.open = false;
            outcome_name(completed.outcome).clone_into(&mut hit.outcome);
            hit.tag.clone_from(&completed.tag);
            hit.rows = Some(completed.rows);
            hit.bytes = Some(completed.bytes);
            hit.duration = Some(completed.duration);
            hit.sqlstate.clone_from(&completed.sqlstate);
            hit.found.clone_from(&completed.found);
        });
        self.dirty.remove(&(id, Some(completed.number)));
        let entry = self.sessions.get_mut(&id).and_then(|session| session.statements.remove(&completed.number));
        self.done.extend(entry);
    }

    fn closed(&mut self, id: SessionId, time: i64, closed: &SessionClosed) {
        self.session(id, time);
        let Some(Session { mut entry, statements }) = self.sessions.remove(&id) else { return };
        self.dirty.remove(&(id, None));
        for (number, mut statement) in statements {
            self.dirty.remove(&(id, Some(number)));
            statement.hit.open = false;
            "unknown".clone_into(&mut statement.hit.outcome);
            self.done.push(statement);
        }
        let hit = &mut entry.hit;
        hit.open = false;
        close_name(closed.reason).clone_into(&mut hit.outcome);
        hit.reason = literals::remove_from_reason(&closed.detail);
        hit.number = Some(closed.statements);
        hit.rows = Some(closed.rows);
        hit.bytes = Some(closed.bytes_out);
        hit.duration = u64::try_from(time.saturating_sub(hit.time)).ok();
        self.done.push(entry);
    }

    fn alone(&mut self, hit: Hit) {
        self.finished(hit, false);
    }

    /// Likewise, of an event that a node may tell twice: before it was killed and after.
    fn again(&mut self, hit: Hit) {
        self.finished(hit, true);
    }

    fn finished(&mut self, hit: Hit, written: bool) {
        let words = hit.text.as_deref().map(plain_words).unwrap_or_default();
        self.done.push(Entry { hit, words, written });
    }
}

impl Entry {
    fn into_change(self) -> Change {
        Change { hit: self.hit, words: self.words, replaces: self.written }
    }
}

fn statement_entry(session: &Hit, number: u64, time: i64) -> Entry {
    let id = StatementId { session: session.session, number };
    let mut hit = Hit::new(Document::Statement, id.to_string(), session.session, time);
    hit.number = Some(number);
    hit.open = true;
    "running".clone_into(&mut hit.outcome);
    hit.identity.clone_from(&session.identity);
    hit.resource.clone_from(&session.resource);
    hit.role.clone_from(&session.role);
    hit.node.clone_from(&session.node);
    hit.peer.clone_from(&session.peer);
    Entry { hit, words: Vec::new(), written: false }
}

/// The kind of a statement that was not understood.
const UNKNOWN: &str = "UNKNOWN";

fn decided(entry: &mut Entry, verdict: &Verdict) {
    let hit = &mut entry.hit;
    hit.verdict = Some(verdict.verdict);
    hit.policies.clone_from(&verdict.policies);
    hit.policy_version.clone_from(&verdict.policy_version);
    hit.kind.clone_from(&verdict.kind);
    hit.read_only = verdict.read_only;
    hit.opaque = verdict.opaque;
    hit.relations.clone_from(&verdict.relations);
    hit.columns.clone_from(&verdict.columns);
    hit.functions.clone_from(&verdict.functions);
    hit.fingerprint.clone_from(&verdict.fingerprint);
    hit.flags.clone_from(&verdict.flags);
    if let Some(shape) = &verdict.shape {
        entry.words = literals::words_of_shown(shape);
        hit.text = Some(shape.clone());
    }
    if verdict.kind == UNKNOWN {
        // what does not parse may hold a value where a name should be: nothing of it is kept, nor what quotes it
        hit.text = None;
        entry.words.clear();
        hit.reason =
            literals::remove_from_reason(verdict.reason.split(['"', '\'']).next().unwrap_or_default().trim_end());
    } else {
        hit.reason = literals::remove_from_reason(&verdict.reason);
    }
}

fn refused_hit(session: SessionId, time: i64, refused: &SessionRefused) -> Hit {
    let mut hit = Hit::new(Document::Refused, session.to_string(), session, time);
    hit.identity.clone_from(&refused.identity);
    hit.resource = refused.resource.clone().unwrap_or_default();
    hit.node.clone_from(&refused.node);
    hit.peer.clone_from(&refused.peer);
    hit.text.clone_from(&refused.user);
    hit.reason = literals::remove_from_reason(&refused.reason);
    "refused".clone_into(&mut hit.outcome);
    hit.sqlstate = Some(refused.sqlstate.clone());
    hit
}

/// The question that was asked is left out: it may name a value. The archive has it.
fn access_hit(session: SessionId, time: i64, access: &Access) -> Hit {
    let mut hit = Hit::new(Document::Access, session.to_string(), session, time);
    hit.identity = Some(access.identity.clone());
    hit.node.clone_from(&access.node);
    hit.peer.clone_from(&access.peer);
    hit.text = Some(format!("{} {}", access.method, access.path));
    hit.outcome = access.status.to_string();
    hit
}

fn gap_hit(session: SessionId, time: i64, gap: &Gap) -> Hit {
    let mut hit = Hit::new(Document::Gap, session.to_string(), session, time);
    hit.node.clone_from(&gap.node);
    hit.reason = literals::remove_from_reason(&gap.detail);
    hit.text = Some(format!("{} bytes {} to {}", gap.segment, gap.from, gap.to));
    hit.bytes = gap.to.checked_sub(gap.from);
    "unreadable".clone_into(&mut hit.outcome);
    hit
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Denied => "denied",
        Outcome::Suspended => "suspended",
        Outcome::Abandoned => "abandoned",
    }
}

const fn close_name(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::ClientTerminated => "client_terminated",
        CloseReason::ClientGone => "client_gone",
        CloseReason::UpstreamGone => "upstream_gone",
        CloseReason::ProtocolViolation => "protocol_violation",
        CloseReason::Expired => "expired",
        CloseReason::Revoked => "revoked",
        CloseReason::Shutdown => "shutdown",
        CloseReason::LogUnavailable => "log_unavailable",
        CloseReason::LimitReached => "limit_reached",
        CloseReason::InternalError => "internal_error",
        CloseReason::NodeCrashed => "node_crashed",
    }
}
