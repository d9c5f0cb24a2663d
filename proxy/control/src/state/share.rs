//! How much of what is bounded one identity, and one issuer, may have open at once: nobody can take all of it.

use super::Refused;
use super::map::Map;
use schemas::Identity;
use std::sync::Arc;

/// An issuer, and one subject of it or all.
type Party = (String, Option<String>);

/// Parties that are remembered before those with nothing open are forgotten.
const MAX_PARTIES: usize = 20_000;

/// What each party has open, and its weight. What has ended may stand here until its room is needed.
#[derive(Debug, Clone)]
pub(super) struct Shares<Id>(Map<Party, Arc<Map<Id, usize>>>);

impl<Id> Default for Shares<Id> {
    fn default() -> Self {
        Self(Map::default())
    }
}

/// How much one party may have open.
pub(super) struct Share {
    /// As many.
    pub number: usize,
    /// Of this weight together.
    pub weight: usize,
}

/// The subject at its issuer, whoever acts for it.
pub(super) fn one(identity: &Identity) -> Party {
    (identity.issuer.clone(), Some(identity.subject.clone()))
}

/// All whom its issuer vouches for.
pub(super) fn all(identity: &Identity) -> Party {
    (identity.issuer.clone(), None)
}

impl<Id: Ord + Copy> Shares<Id> {
    /// Whether one more of this weight fits into a party's share.
    ///
    /// # Errors
    /// [`Refused::Share`].
    pub(super) fn admit(
        &mut self,
        party: &Party,
        share: &Share,
        weight: usize,
        is_open: impl Fn(Id) -> bool,
    ) -> Result<(), Refused> {
        let Some(open) = self.0.get(party) else { return Ok(()) };
        let is_over = |open: &Map<Id, usize>| {
            open.len() >= share.number || open.values().sum::<usize>().saturating_add(weight) > share.weight
        };
        if !is_over(open) {
            return Ok(());
        }
        let mut left = Map::default();
        open.iter().filter(|(id, _)| is_open(**id)).for_each(|(id, weight)| left.insert(*id, *weight));
        let is_over = is_over(&left);
        self.0.insert(party.clone(), Arc::new(left));
        if !is_over {
            return Ok(());
        }
        let who = match &party.1 {
            Some(subject) => format!("{subject:?}"),
            None => format!("those of the issuer {:?} together", party.0),
        };
        Err(Refused::Share { who, limit: share.number })
    }

    /// Notes that something of a party's is open.
    pub(super) fn enter(&mut self, party: Party, id: Id, weight: usize, is_open: impl Fn(Id) -> bool) {
        if self.0.len() >= MAX_PARTIES {
            let idle = self.0.iter().filter(|(_, open)| !open.keys().any(|id| is_open(*id)));
            let idle: Vec<Party> = idle.map(|(party, _)| party.clone()).collect();
            idle.iter().for_each(|party| drop(self.0.remove(party)));
        }
        let mut open = self.0.get(&party).cloned().unwrap_or_default();
        Arc::make_mut(&mut open).insert(id, weight);
        self.0.insert(party, open);
    }
}
