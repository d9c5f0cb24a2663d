//! The places of held statements on a node: so many in all, and a share for each identity, so that none takes all of them.

use crate::telemetry;
use schemas::event::Identity;
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Whose statements they are: the subject and its issuer.
type Party = (String, String);

/// The places.
pub(super) struct Room {
    all: NonZeroUsize,
    each: NonZeroUsize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by: HashMap<Party, usize>,
}

/// A place; dropping it gives it back.
pub(crate) struct Place {
    room: Arc<Room>,
    party: Party,
    metrics: telemetry::Holds,
}

/// No place is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// On the node.
    #[error("this node holds its limit of {0} statements (holds.max_held)")]
    Node(NonZeroUsize),
    /// For this identity.
    #[error("{0} statements of yours are held already, the limit of one identity (holds.max_held_per_identity)")]
    Identity(NonZeroUsize),
}

impl Room {
    pub(super) fn new(all: NonZeroUsize, each: NonZeroUsize) -> Self {
        Self { all, each, held: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self, held: &Held, party: &Party) -> Option<Full> {
        if held.by.get(party).is_some_and(|own| *own >= self.each.get()) {
            return Some(Full::Identity(self.each));
        }
        (held.all >= self.all.get()).then_some(Full::Node(self.all))
    }

    pub(super) fn has(&self, identity: &Identity) -> bool {
        self.full(&self.lock(), &party(identity)).is_none()
    }

    pub(super) fn enter(room: &Arc<Self>, identity: &Identity, metrics: &telemetry::Holds) -> Result<Place, Full> {
        let party = party(identity);
        let mut held = room.lock();
        if let Some(full) = room.full(&held, &party) {
            return Err(full);
        }
        held.all += 1;
        *held.by.entry(party.clone()).or_default() += 1;
        metrics.began();
        Ok(Place { room: room.clone(), party, metrics: metrics.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.room.lock();
        held.all = held.all.saturating_sub(1);
        if let Some(own) = held.by.get_mut(&self.party) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by.remove(&self.party);
            }
        }
        self.metrics.waits_no_more();
    }
}

fn party(identity: &Identity) -> Party {
    (identity.subject.clone(), identity.issuer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_leaves_room_for_others() {
        let limit = |number| NonZeroUsize::new(number).unwrap();
        let room = Arc::new(Room::new(limit(3), limit(2)));
        let who = |subject: &str| Identity { subject: subject.to_owned(), ..super::super::asked::nobody() };
        let enter = |subject: &str| Room::enter(&room, &who(subject), &telemetry::Holds::default());
        let (one, _two) = (enter("a").unwrap(), enter("a").unwrap());
        assert_eq!(enter("a").err(), Some(Full::Identity(limit(2))));
        assert!(!room.has(&who("a")) && room.has(&who("b")));
        let _other = enter("b").unwrap();
        assert_eq!(enter("c").err(), Some(Full::Node(limit(3))));
        drop(one);
        assert!(enter("c").is_ok());
        assert!(!room.lock().by.contains_key(&party(&who("c"))), "nothing is kept of who has left");
    }
}
