//! Drops the roles that nodes left behind which died, wherever they ran.
//!
//! A node that lives has connections that bear its owner's name, of a role that may make roles. A role whose owner has none
//! for half the grace is dropped by whoever sees that; its backend, if one is still there, is ended first. So a node that only
//! lost its connections for a moment keeps its sessions' roles. No lock tells it, since every lock that a gate can name an agent
//! can take; two reapers of the same owner find roles gone that the other one dropped. What a node itself could not drop comes
//! here as well, and so do scope roles that nobody is a member of any more.

use super::{
    Error, Leases,
    admin::Admin,
    config::Owned,
    grants,
    names::{self, Owner},
};
use crate::telemetry::Metrics;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// Longest time between two looks.
const INTERVAL: Duration = Duration::from_secs(4);

/// A role whose backend was just ended is looked at again after this time, and so many times in a row.
const AGAIN: Duration = Duration::from_millis(250);
const HURRIES: u32 = 4;

/// Looks at scope roles, one for so many looks at leases.
const SCOPES_EVERY: u32 = 15;

/// Roles that are dropped at once.
const BATCH: usize = 64;

/// Looks for ever.
pub(super) async fn watch(leases: &Leases, metrics: &Metrics) {
    let interval = (leases.config.grace / 6).min(INTERVAL);
    let mut reaper = Reaper { leases, metrics, admin: None, ownerless: HashMap::new(), left: 0, failing: false };
    let mut hurries = 0;
    for look in 0_u32.. {
        match reaper.look(look % SCOPES_EVERY == SCOPES_EVERY - 1).await {
            Ok(()) => reaper.failing = false,
            Err(error) => {
                if error.sqlstate_of_server().is_none() {
                    reaper.admin = None;
                }
                // said once, not at every look
                if !std::mem::replace(&mut reaper.failing, true) {
                    tracing::warn!(resource = %leases.resource, error = %crate::chain(&error), "cannot look for leased roles that were left");
                }
            }
        }
        hurries = if reaper.left == 0 { 0 } else { (hurries + 1).min(HURRIES + 1) };
        let hurried = (1..=HURRIES).contains(&hurries);
        tokio::time::sleep(if hurried { AGAIN } else { interval }).await;
    }
}

struct Reaper<'a> {
    leases: &'a Leases,
    metrics: &'a Metrics,
    admin: Option<Admin>,
    /// Since when a role was seen without its owner.
    ownerless: HashMap<String, Instant>,
    /// Roles that were due at the last look and are still there.
    left: usize,
    failing: bool,
}

impl Reaper<'_> {
    async fn look(&mut self, scopes: bool) -> Result<(), Error> {
        let leases = self.leases;
        let admin = match &mut self.admin {
            Some(admin) => admin,
            none => none.insert(Admin::open(&leases.config.admin, leases.owner).await?),
        };
        // roles first: an owner has its connection before it makes any, and a database is there before its roles
        let roles = admin.leases().await?;
        let owners = admin.owners().await?;
        let databases = admin.databases().await?;
        let mut seen = HashMap::new();
        let mut due: BTreeMap<Owner, Vec<String>> = BTreeMap::new();
        for (role, past) in roles {
            let Some((database, owner)) = names::parse(&role) else { continue };
            let nowhere = !databases.contains(&database);
            let orphan = if nowhere {
                // nobody can be in a database that was dropped
                true
            } else if database != admin.database {
                // what it owns is not seen from here: a role that opens nothing and serves nobody may go
                past && !owners.contains(&owner)
            } else if owner == leases.owner {
                !leases.desk.knows(&role)
            } else {
                !owners.contains(&owner)
            };
            if orphan {
                let since = self.ownerless.get(&role).copied().unwrap_or_else(Instant::now);
                seen.insert(role.clone(), since);
                let near = nowhere || database == admin.database;
                let wait = if near { leases.config.grace / 2 } else { FOREIGN };
                if since.elapsed() >= wait {
                    due.entry(owner).or_default().push(role);
                }
            }
        }
        self.ownerless = seen;
        self.left = 0;
        for (owner, roles) in due {
            for some in roles.chunks(BATCH) {
                let gone = reap(admin, owner, leases, some).await?;
                self.left += some.len().saturating_sub(gone.len());
                for role in gone {
                    tracing::info!(resource = %leases.resource, %role, "a leased role that was left behind is dropped");
                    self.metrics.lease_reaped();
                    self.ownerless.remove(&role);
                }
            }
        }
        if scopes {
            let age = i64::try_from(leases.config.scope_keep.as_secs()).unwrap_or(i64::MAX);
            grants::drop_unused(admin, age, &databases).await?;
        }
        Ok(())
    }
}

/// A role of another database waits this long without a backend and without a password that opens anything.
const FOREIGN: Duration = Duration::from_secs(600);

async fn reap(admin: &mut Admin, owner: Owner, leases: &Leases, roles: &[String]) -> Result<Vec<String>, Error> {
    // it may have come back since the look began
    if owner != leases.owner && admin.owners().await?.contains(&owner) {
        return Ok(Vec::new());
    }
    let foreign = |role: &String| names::parse(role).is_some_and(|(database, _)| database != admin.database);
    // of another database: dropped only where it serves nobody and owns nothing
    let insist = !roles.iter().any(foreign);
    let reassigned = match leases.config.owned {
        Owned::Reassign => leases.config.owner.clone(),
        Owned::None | Owned::Drop => None,
    };
    Ok(admin.drop_roles(roles, reassigned.as_deref(), insist).await?.gone)
}
