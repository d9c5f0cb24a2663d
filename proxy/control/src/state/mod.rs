//! Who may do what now: a pure fold of records.
//!
//! ```text
//! record 0 -> record 1 -> ... -> State        the same records in the same order give the same state on every node
//! ```
//!
//! Every rule of validity lives here: the topic's order decides between two reviewers, and the time of a record is that of
//! its signed stamp, never that of the node that reads it. What is refused changes nothing, and says why ([`Refused`]).
//! What time alone ends (a grant, an unanswered request) ends for readers by their clock; that a grant did is written down
//! besides, by the first node that says so.

mod access;
mod api_key;
mod hold;
mod map;
mod notice;
mod refused;
mod review;
mod revocation;
mod share;
#[cfg(test)]
mod tests;
mod vouch;

pub use access::{Answered, Grant, Request};
pub use api_key::Issued;
pub use hold::{Hold, HoldState};
pub use notice::Notice;
pub use refused::Refused;
pub(crate) use review::person;
pub use revocation::{Disabled, Killed};

use crate::envelope::{PublicKey, Stamp};
use crate::record::{Record, Subject};
use map::Map;
use schemas::{GrantId, HoldId, Identity, RequestId, SessionId};
use share::Shares;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known after the records so far. Clones share what has not changed.
#[derive(Debug, Clone, Default)]
pub struct State {
    requests: Map<RequestId, Arc<Request>>,
    grants: Map<GrantId, Arc<Grant>>,
    holds: Map<HoldId, Arc<Hold>>,
    disabled: Map<(String, Option<String>), Arc<Disabled>>,
    killed: Map<SessionId, Arc<Killed>>,
    keys: Map<String, Arc<Issued>>,
    notices: Map<(Subject, String), Arc<Notice>>,
    /// By key and start of a process: the last sequence seen.
    lanes: Map<(PublicKey, u64), u64>,
    /// How many starts of processes are remembered for each key.
    starts: BTreeMap<PublicKey, usize>,
    /// Requests and holds that each identity and issuer has open.
    asked: Shares<RequestId>,
    held: Shares<HoldId>,
    /// Holds that have not ended, by when their time is over, with the bytes that they show.
    showing: Map<(i64, HoldId), usize>,
    shown_bytes: usize,
    vouched: vouch::Vouched,
    rights: u64,
}

/// What a record brought about, beyond itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A grant began.
    Granted(GrantId),
    /// A grant lasts longer.
    Extended(GrantId),
    /// A grant ended: before its time, or at it.
    Ended(GrantId),
    /// A hold has the approvals that it needs.
    Approved(HoldId),
}

/// Requests, grants and holds of each kind that are kept; beyond it the oldest that have ended go, and where none has, new
/// ones are refused.
const MAX_KEPT: usize = 10_000;
/// Starts of processes that are remembered for each key; what an older one wrote is refused.
const MAX_EPOCHS: usize = 4096;

impl State {
    /// Takes a record in, in the topic's order.
    ///
    /// # Errors
    /// [`Refused`]: the record changed nothing.
    pub fn apply(&mut self, stamp: &Stamp, record: &Record) -> Result<Vec<Effect>, Refused> {
        self.enter(stamp)?;
        self.forget_shown(stamp.time);
        self.change(stamp, record)
    }

    /// The same of a record whose stamp tells another time than the topic's: it counts for itself, and nothing else ends
    /// with its time.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub(crate) fn apply_untimely(&mut self, stamp: &Stamp, record: &Record) -> Result<Vec<Effect>, Refused> {
        self.enter(stamp)?;
        self.change(stamp, record)
    }

    fn change(&mut self, stamp: &Stamp, record: &Record) -> Result<Vec<Effect>, Refused> {
        let at = stamp.time;
        match record {
            Record::AccessRequested(request) => self.requested(at, request),
            Record::AccessReviewed { request, review } => self.reviewed(at, *request, review),
            Record::AccessWithdrawn { request, by } => self.withdrawn(*request, by),
            Record::GrantRevoked { grant, by, reason } => self.revoked(*grant, by, reason),
            Record::GrantLapsed { grant } => self.lapsed(at, *grant),
            Record::GrantExtended { grant, until, by, .. } => self.extended(at, *grant, *until, by),
            Record::IdentityDisabled { subject, issuer, by, reason } => self.disabled(at, subject, issuer, by, reason),
            Record::IdentityEnabled { subject, issuer, .. } => self.enabled(subject, issuer),
            Record::SessionKilled { session, by, reason } => self.killed(at, *session, by, reason),
            Record::HoldAsked(ask) => self.hold_asked(at, ask),
            Record::HoldReviewed { hold, review } => self.hold_reviewed(at, *hold, review),
            Record::HoldWithdrawn { hold, reason } => self.hold_ended(*hold, HoldState::Withdrawn, reason),
            Record::HoldReleased { hold, digest } => self.hold_released(at, *hold, *digest),
            Record::HoldExpired { hold, reason } => self.hold_ended(*hold, HoldState::Expired, reason),
            Record::Notice(telling) => self.notice(stamp, telling),
            Record::SignerVouched { key, node } => self.vouched(stamp, key, node),
            Record::KeyIssued { key, by, .. } => self.key_issued(at, key, by),
            Record::KeyRevoked { key, by, reason } => self.key_revoked(at, key, by, reason),
        }
    }

    /// A record that came before, or out of its process's order, is no new one.
    fn enter(&mut self, stamp: &Stamp) -> Result<(), Refused> {
        let lane = (stamp.key, stamp.epoch);
        if stamp.sequence <= self.lanes.get(&lane).copied().unwrap_or(0) {
            return Err(Refused::Replayed);
        }
        if !self.lanes.contains_key(&lane) {
            let starts = self.starts.entry(stamp.key).or_insert(0);
            if *starts < MAX_EPOCHS {
                *starts += 1;
            } else {
                let oldest = self.lanes.first_from(&(stamp.key, 0)).map(|(lane, _)| *lane);
                match oldest {
                    Some((key, epoch)) if key == stamp.key && epoch < stamp.epoch => {
                        self.lanes.remove(&(key, epoch));
                    }
                    _ => return Err(Refused::Replayed),
                }
            }
        }
        self.lanes.insert(lane, stamp.sequence);
        Ok(())
    }

    /// Grows with every record by which somebody may have lost a right, or got one for longer.
    pub const fn rights(&self) -> u64 {
        self.rights
    }

    /// Access requests, oldest first.
    pub fn requests(&self) -> impl DoubleEndedIterator<Item = &Arc<Request>> {
        self.requests.values()
    }

    /// One access request.
    pub fn request(&self, id: RequestId) -> Option<&Arc<Request>> {
        self.requests.get(&id)
    }

    /// Grants, oldest first, ended ones too.
    pub fn grants(&self) -> impl DoubleEndedIterator<Item = &Arc<Grant>> {
        self.grants.values()
    }

    /// One grant.
    pub fn grant(&self, id: GrantId) -> Option<&Arc<Grant>> {
        self.grants.get(&id)
    }

    /// Grants whose time is over by then, and of which nobody has said so.
    pub fn lapsing(&self, by: i64) -> impl Iterator<Item = GrantId> {
        let is_one = move |grant: &&Arc<Grant>| grant.revoked.is_none() && !grant.lapsed && grant.until <= by;
        self.grants.values().filter(is_one).map(|grant| grant.id)
    }

    /// The grants that let this identity use this resource now.
    pub fn live_grants<'a>(
        &'a self,
        identity: &'a Identity,
        resource: &'a str,
        now: i64,
    ) -> impl Iterator<Item = &'a Arc<Grant>> {
        let is_one =
            move |grant: &&Arc<Grant>| grant.resource == resource && grant.is_of(identity) && grant.is_live(now);
        self.grants.values().filter(is_one)
    }

    /// Held statements, oldest first, ended ones too.
    pub fn holds(&self) -> impl DoubleEndedIterator<Item = &Arc<Hold>> {
        self.holds.values()
    }

    /// One held statement.
    pub fn hold(&self, id: HoldId) -> Option<&Arc<Hold>> {
        self.holds.get(&id)
    }

    /// Why this identity may do nothing, where it is disabled: itself, or somebody who acts for it. A token does not say
    /// who vouches for an actor of its chain: one whom any issuer vouches for may be the one that was disabled.
    pub fn is_disabled(&self, identity: &Identity) -> Option<&Arc<Disabled>> {
        if self.disabled.is_empty() {
            return None;
        }
        let of = |issuer: Option<String>| self.disabled.get(&(identity.subject.clone(), issuer));
        let itself = of(None).or_else(|| of(Some(identity.issuer.clone())));
        itself.or_else(|| identity.on_behalf_of.iter().find_map(|actor| self.disabled_actor(actor)))
    }

    fn disabled_actor(&self, actor: &str) -> Option<&Arc<Disabled>> {
        let first = self.disabled.first_from(&(actor.to_owned(), None));
        first.filter(|((subject, _), _)| subject == actor).map(|(_, disabled)| disabled)
    }

    /// How many are disabled, of how many that can be.
    pub(crate) const fn disabled_of(&self) -> (usize, usize) {
        (self.disabled.len(), revocation::MAX_DISABLED)
    }

    /// All that are disabled.
    pub fn disabled_identities(&self) -> impl Iterator<Item = &Arc<Disabled>> {
        self.disabled.values()
    }

    /// Who killed this session, if somebody did.
    pub fn is_killed(&self, session: SessionId) -> Option<&Arc<Killed>> {
        self.killed.get(&session)
    }
}

/// Makes room for one more by letting the oldest that has ended go.
fn make_room<K: Ord + Clone, V>(
    map: &mut Map<K, Arc<V>>,
    limit: usize,
    has_ended: impl Fn(&V) -> bool,
) -> Result<(), Refused> {
    if map.len() < limit {
        return Ok(());
    }
    let oldest = map.iter().find(|(_, value)| has_ended(value)).map(|(key, _)| key.clone());
    match oldest {
        Some(key) => {
            map.remove(&key);
            Ok(())
        }
        None => Err(Refused::Full { limit }),
    }
}
