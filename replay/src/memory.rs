//! The sources over values in memory: for tests of the routes and for the demonstration. Not for production.

use crate::reconstruct::{Session, Status, Timeline};
use crate::search::{Found, Question};
use crate::sources::{
    Archive, Authenticate, Events, Filter, Known, Later, Record, Refused, Search, SearchError, Sessions, Unavailable,
};
use kit::Secret;
use schemas::event::{Body, Direction};
use schemas::{Event, SessionId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Sessions in memory.
#[derive(Debug, Default)]
pub struct Shelf(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    timeline: Timeline,
    events: Vec<Event>,
}

impl Shelf {
    /// Adds a session with what happened in it.
    #[must_use]
    pub fn with(mut self, timeline: Timeline, events: Vec<Event>) -> Self {
        self.0.push(Kept { timeline, events });
        self.0.sort_by_key(|kept| std::cmp::Reverse((kept.timeline.session.opened, kept.timeline.session.id)));
        self
    }

    fn find(&self, id: SessionId) -> Option<&Kept> {
        self.0.iter().find(|kept| kept.timeline.session.id == id)
    }
}

fn admits(filter: &Filter, session: &Session) -> bool {
    let identity = session.identity.as_ref();
    filter.identity.as_ref().is_none_or(|who| identity.is_some_and(|i| i.subject == *who || i.name == *who))
        && filter.resource.as_ref().is_none_or(|resource| session.resource.as_ref() == Some(resource))
        && filter.since.is_none_or(|since| session.opened >= since)
        && filter.until.is_none_or(|until| session.opened < until)
        && filter.open.is_none_or(|open| open == (session.status == Status::Open))
}

fn ready<'a, T: Send + 'a>(value: T) -> Later<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Archive for Shelf {
    fn sessions<'a>(&'a self, filter: &'a Filter) -> Later<'a, Result<Sessions, Unavailable>> {
        let all = self.0.iter().map(|kept| &kept.timeline.session);
        let after: Vec<_> = match filter.after {
            Some(last) => all.skip_while(|session| session.id != last).skip(1).collect(),
            None => all.collect(),
        };
        let mut sessions: Vec<_> = after.into_iter().filter(|session| admits(filter, session)).cloned().collect();
        let more = sessions.len() > filter.limit;
        sessions.truncate(filter.limit);
        ready(Ok(Sessions { sessions, more }))
    }

    fn session(&self, id: SessionId) -> Later<'_, Result<Option<Session>, Unavailable>> {
        ready(Ok(self.find(id).map(|kept| kept.timeline.session.clone())))
    }

    fn timeline(&self, id: SessionId, _: usize) -> Later<'_, Result<Option<Timeline>, Unavailable>> {
        ready(Ok(self.find(id).map(|kept| kept.timeline.clone())))
    }

    fn events(&self, id: SessionId, from: u64, limit: usize) -> Later<'_, Result<Option<Events>, Unavailable>> {
        ready(Ok(self.find(id).map(|kept| {
            let mut events: Vec<_> =
                kept.events.iter().filter(|e| e.sequence >= from).take(limit + 1).cloned().collect();
            let more = events.len() > limit;
            events.truncate(limit);
            Events { events, more }
        })))
    }

    fn frames(&self, id: SessionId, way: Direction, limit: usize) -> Later<'_, Result<Option<Vec<u8>>, Unavailable>> {
        let Some(kept) = self.find(id) else { return ready(Ok(None)) };
        let mut bytes = Vec::new();
        for event in &kept.events {
            match &event.body {
                Body::Frames(frames) if frames.direction == way => bytes.extend_from_slice(&frames.payload.bytes),
                _ => {}
            }
        }
        ready(if bytes.len() > limit { Err(Unavailable::TooLarge { limit }) } else { Ok(Some(bytes)) })
    }
}

/// One prepared answer for every question but those that it does not understand.
#[derive(Debug)]
pub struct Oracle(
    /// The answer.
    pub Found,
);

impl Search for Oracle {
    fn search<'a>(&'a self, question: &'a Question) -> Later<'a, Result<Found, SearchError>> {
        if question.text.contains("nonsense:") {
            let reason = "there is no field nonsense".to_owned();
            return ready(Err(SearchError::Question { reason }));
        }
        let covers =
            |hit: &&crate::search::Hit| question.resources.as_ref().is_none_or(|all| all.contains(&hit.resource));
        let hits = self.0.hits.iter().filter(covers).skip(question.offset).take(question.limit).cloned().collect();
        ready(Ok(Found { hits, ..self.0.clone() }))
    }
}

/// Identities by token.
#[derive(Debug, Default)]
pub struct Doorman(
    /// Who they are, and what their tokens are good for.
    pub BTreeMap<String, Known>,
);

impl Authenticate for Doorman {
    fn identity(&self, token: Secret<String>) -> Later<'_, Result<Known, Refused>> {
        let known = self.0.get(token.expose()).cloned();
        ready(known.ok_or_else(|| Refused::Token { reason: "The token's signature is not its issuer's.".to_owned() }))
    }
}

/// A record of accesses that can be broken.
#[derive(Debug, Default)]
pub struct Ledger {
    events: Mutex<Vec<Event>>,
    broken: AtomicBool,
}

impl Ledger {
    /// Makes it refuse every event from now on.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// What was recorded.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Record for Ledger {
    fn record(&self, event: Event) -> Later<'_, Result<(), Unavailable>> {
        if self.broken.load(Ordering::SeqCst) {
            return ready(Err(Unavailable::failed("recording an access", "the spool is full")));
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        ready(Ok(()))
    }
}
