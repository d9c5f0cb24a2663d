//! Who asks: an identity and the facts of its session, as Cedar sees them.

use schemas::{Identity, event::IdentityKind};

/// Who asks; made once for a session.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) identity: Identity,
    pub(super) application_name: String,
    /// All of it as one text: what answers are remembered by.
    pub(super) key: std::sync::Arc<str>,
}

impl Subject {
    /// An identity and the application name that its session gave.
    pub fn new(identity: &Identity, application_name: &str) -> Self {
        let mut identity = identity.clone();
        identity.groups.sort();
        identity.groups.dedup();
        let key = format!("{identity:?} {application_name:?}").into();
        Self { identity, application_name: application_name.to_owned(), key }
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
        };
        Self::new(&identity, "")
    }

    /// The groups, sorted.
    pub fn groups(&self) -> &[String] {
        &self.identity.groups
    }

    /// What answers are remembered by.
    pub(in crate::policy) fn key(&self) -> &std::sync::Arc<str> {
        &self.key
    }

    pub(super) fn is_machine(&self) -> bool {
        self.identity.kind == IdentityKind::Machine
    }
}
