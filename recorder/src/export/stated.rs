//! A statement with all that its events say of it: what a row of a table, or an event for others, is made of.
//!
//! It is read from the events of its own alone, and not from the frames: so it holds no value that the database returned.

use crate::frames;
use schemas::event::{Body, Completed, Held, HoldEnded, PayloadCodec, Reviewed, SessionOpened, Statement, Verdict};
use schemas::{Event, SessionId, StatementId};
use std::collections::BTreeMap;

/// One statement of a session.
#[derive(Debug, Clone)]
pub(super) struct Stated<'a> {
    pub(super) session: SessionId,
    /// When it arrived, microseconds since 1970-01-01 UTC.
    pub(super) time: i64,
    /// When the session began, and how; `None` where the beginning is missing.
    pub(super) opened: Option<(i64, &'a SessionOpened)>,
    pub(super) statement: &'a Statement,
    /// The last one: a statement that waited for a person is decided again.
    pub(super) verdict: Option<&'a Verdict>,
    pub(super) held: Option<&'a Held>,
    pub(super) reviews: Vec<&'a Reviewed>,
    pub(super) hold_ended: Option<&'a HoldEnded>,
    pub(super) completed: Option<&'a Completed>,
}

/// The statements of a session, in the order in which they came: that of their numbers.
pub(super) fn stated(events: &[Event]) -> impl Iterator<Item = Stated<'_>> {
    let mut statements: BTreeMap<u64, Stated<'_>> = BTreeMap::new();
    let mut opened = None;
    for event in events {
        match &event.body {
            Body::SessionOpened(one) => opened = Some((event.time, one)),
            Body::Statement(statement) => {
                statements.insert(statement.number, Stated::new(event, statement, opened));
            }
            Body::Verdict(verdict) => note(&mut statements, verdict.number, |one| one.verdict = Some(verdict)),
            Body::Held(held) => note(&mut statements, held.number, |one| one.held = Some(held)),
            Body::Reviewed(reviewed) => note(&mut statements, reviewed.number, |one| one.reviews.push(reviewed)),
            Body::HoldEnded(ended) => note(&mut statements, ended.number, |one| one.hold_ended = Some(ended)),
            Body::Completed(completed) => {
                note(&mut statements, completed.number, |one| one.completed = Some(completed));
            }
            Body::SessionRefused(_)
            | Body::Frames(_)
            | Body::Gap(_)
            | Body::SessionClosed(_)
            | Body::Access(_)
            | Body::AccessRequested(_)
            | Body::AccessReviewed(_)
            | Body::AccessGranted(_)
            | Body::AccessEnded(_)
            | Body::Revoked(_)
            | Body::Alarm(_)
            | Body::RoleLeased(_)
            | Body::RoleDropped(_) => {}
        }
    }
    statements.into_values()
}

/// Notes something of a statement; nothing where the record does not have it.
fn note<'a>(statements: &mut BTreeMap<u64, Stated<'a>>, number: u64, note: impl FnOnce(&mut Stated<'a>)) {
    if let Some(statement) = statements.get_mut(&number) {
        note(statement);
    }
}

impl<'a> Stated<'a> {
    fn new(event: &Event, statement: &'a Statement, opened: Option<(i64, &'a SessionOpened)>) -> Self {
        Self {
            session: event.session,
            time: event.time,
            opened,
            statement,
            verdict: None,
            held: None,
            reviews: Vec::new(),
            hold_ended: None,
            completed: None,
        }
    }

    pub(super) fn id(&self) -> StatementId {
        StatementId { session: self.session, number: self.statement.number }
    }

    pub(super) fn session(&self) -> Option<&'a SessionOpened> {
        self.opened.map(|(_, opened)| opened)
    }

    /// The SQL text; `None` where it is sealed or was left out.
    pub(super) fn text(&self) -> Option<String> {
        (self.statement.text.codec == PayloadCodec::Plain).then(|| self.statement.text.to_text())
    }

    /// The bound values as text, whole, binary ones in hexadecimal; none where the event has none that can be read.
    pub(super) fn parameters(&self) -> Vec<Option<String>> {
        let plain = self.statement.parameters.as_ref().filter(|payload| payload.codec == PayloadCodec::Plain);
        let Some(Ok(bound)) = plain.map(|payload| frames::bound(&payload.bytes)) else { return Vec::new() };
        let shown = |(binary, value): (bool, Option<Vec<u8>>)| value.map(|bytes| frames::shown(&bytes, 0, binary));
        bound.values.into_iter().map(shown).collect()
    }
}
