//! Who asks: an identity and the facts of its session, as Cedar sees them.

use crate::sql::{Action, Facts, RelationUse};
use schemas::{Identity, event::IdentityKind};
use std::collections::BTreeSet;

/// Temporary tables of one session whose bare names are remembered.
const MAX_TEMPORARY: usize = 1_000;

/// Definitions through which nothing else is written.
const PLAIN: [&str; 6] =
    ["CREATE TABLE", "CREATE TABLE AS", "SELECT INTO", "CREATE SEQUENCE", "CREATE TYPE", "CREATE DOMAIN"];

/// What a view passes on to its table.
const WRITES: [Action; 5] = [Action::Insert, Action::Update, Action::Delete, Action::Truncate, Action::CopyIn];

/// Who asks; made once for a session.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) identity: Identity,
    pub(super) application_name: String,
    /// Names of the temporary tables that its session made.
    temporary: BTreeSet<String>,
    /// Its session made or renamed something by which a write to a new name may reach a table that was there before.
    views: bool,
    /// All of the identity as one text: what answers are remembered by.
    pub(super) key: std::sync::Arc<str>,
}

impl Subject {
    /// An identity and the application name that its session gave.
    pub fn new(identity: &Identity, application_name: &str) -> Self {
        let mut identity = identity.clone();
        identity.groups.sort();
        identity.groups.dedup();
        let key = format!("{identity:?} {application_name:?}").into();
        Self { identity, application_name: application_name.to_owned(), temporary: BTreeSet::new(), views: false, key }
    }

    /// A machine of these groups, for trials and tests.
    pub fn of_groups(groups: &[&str]) -> Self {
        let identity = Identity {
            kind: IdentityKind::Machine,
            subject: "agent".to_owned(),
            issuer: String::new(),
            name: "agent".to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            on_behalf_of: Vec::new(),
            task: None,
        };
        Self::new(&identity, "")
    }

    /// The groups, sorted.
    pub fn groups(&self) -> &[String] {
        &self.identity.groups
    }

    /// Remembers the temporary tables that an allowed statement makes: their bare names then mean them, as long as the
    /// catalog knows no other relation of the name. At most [`MAX_TEMPORARY`].
    pub fn note_temporary(&mut self, facts: &Facts) {
        let creates = facts.relations.iter().any(|used| used.actions.contains(&Action::Create));
        // a renaming removes the old name
        let renames =
            facts.kind.starts_with("ALTER") && facts.relations.iter().any(|used| used.actions.contains(&Action::Drop));
        self.views |= renames || facts.kind == "CREATE RULE" || creates && !PLAIN.contains(&facts.kind.as_str());
        for used in &facts.relations {
            if let Some(name) = used.name.strip_prefix("pg_temp.")
                && used.actions.contains(&Action::Create)
                && self.temporary.len() < MAX_TEMPORARY
            {
                self.temporary.insert(name.to_owned());
            }
        }
    }

    /// A write to a name that the catalog does not know may reach a table that was there before the session.
    pub(in crate::policy) fn may_write_through(&self, used: &RelationUse) -> bool {
        self.views && used.id.is_none() && used.actions.iter().any(|action| WRITES.contains(action))
    }

    /// A name that the catalog does not know is that of a temporary table or view of the session.
    pub(in crate::policy) fn made(&self, name: &str) -> bool {
        self.temporary.contains(name)
    }

    /// What answers are remembered by.
    pub fn key(&self) -> &std::sync::Arc<str> {
        &self.key
    }

    pub(super) fn is_machine(&self) -> bool {
        self.identity.kind == IdentityKind::Machine
    }
}
