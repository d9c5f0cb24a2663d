//! Whom a legal hold means.
//!
//! It reads wide: each thing that the record does not say counts as met, of sessions and of what stands alone, and a person is
//! meant wherever the identity names them. So a doubt keeps, and a hold never needs to be placed again for what comes later.

use crate::archive::manifest::SessionNote;
use schemas::SessionId;
use schemas::event::{Identity, IdentityKind};
use serde::{Deserialize, Serialize};

/// Sessions that are meant: those that meet every condition that is given. An empty list, and null, is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// These.
    pub sessions: Vec<SessionId>,
    /// Of an identity with one of these as subject or name, or on behalf of one of them.
    pub subjects: Vec<String>,
    /// Of people, or of programs.
    pub identity_kind: Option<IdentityKind>,
    /// Of an identity in one of these groups.
    pub groups: Vec<String>,
    /// Of an identity that one of these issuers vouches for.
    pub issuers: Vec<String>,
    /// On one of these resources.
    pub resources: Vec<String>,
    /// That ended at or after this time, or have not ended; microseconds since 1970-01-01 UTC.
    pub from: Option<i64>,
    /// That began before this time.
    pub to: Option<i64>,
}

impl Selection {
    /// Whether it has no condition: it then means everything.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a session is meant.
    pub(crate) fn means(&self, session: &SessionId, facts: &Facts) -> bool {
        let Self { sessions, subjects, identity_kind, groups, issuers, resources, from, to } = self;
        let who = |meets: &dyn Fn(&Identity) -> bool| facts.identity.as_ref().is_none_or(meets);
        let named = |one: &String| subjects.contains(one);
        let resource = || facts.resource.as_ref().is_none_or(|one| resources.contains(one));
        (sessions.is_empty() || sessions.contains(session))
            && (subjects.is_empty()
                || who(&|i| named(&i.subject) || named(&i.name) || i.on_behalf_of.iter().any(named)))
            && identity_kind.is_none_or(|kind| who(&|i| i.kind == kind))
            && (groups.is_empty() || who(&|i| i.groups.iter().any(|group| groups.contains(group))))
            && (issuers.is_empty() || who(&|i| issuers.contains(&i.issuer)))
            && (resources.is_empty() || resource())
            && from.is_none_or(|from| !facts.ended || facts.last >= from)
            && to.is_none_or(|to| facts.first < to)
    }
}

/// What the manifests' notes say of a session, or of an event that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Who.
    pub(crate) identity: Option<Identity>,
    /// The resource.
    pub(crate) resource: Option<String>,
    /// The time of its first event.
    pub(crate) first: i64,
    /// The time of its last event.
    pub(crate) last: i64,
    /// Nothing more is to come.
    pub(crate) ended: bool,
    /// It is no session but an event that stands alone.
    pub(crate) alone: bool,
    /// When the last manifest that notes it was made.
    pub(crate) archived: i64,
}

impl Facts {
    /// Of what no manifest says anything: every hold may mean it.
    pub(crate) fn unknown() -> Self {
        let (first, last) = (i64::MIN, i64::MAX);
        Self { identity: None, resource: None, first, last, ended: false, alone: false, archived: i64::MAX }
    }

    /// What a manifest that was made then says.
    pub(crate) fn new(note: &SessionNote, archived: i64) -> Self {
        let (first, last) = (note.first_time, note.last_time);
        let mut facts = Self { first, last, archived, ..Self::unknown() };
        facts.add(note, archived);
        facts
    }

    /// Adds what another manifest says.
    pub(crate) fn add(&mut self, note: &SessionNote, archived: i64) {
        self.archived = self.archived.max(archived);
        self.first = self.first.min(note.first_time);
        self.last = self.last.max(note.last_time);
        if let Some(opened) = &note.opened {
            self.identity = Some(opened.event.identity.clone());
            self.resource = Some(opened.event.resource.clone());
        }
        if let Some(refused) = &note.refused {
            self.identity.clone_from(&refused.event.identity);
            self.resource.clone_from(&refused.event.resource);
        }
        if let Some(access) = &note.access {
            self.identity = Some(access.event.identity.clone());
        }
        let alone = note.stands_alone();
        self.alone |= alone;
        self.ended |= note.closed.is_some() || alone;
    }
}

impl SessionNote {
    /// Whether it is of an event that is no part of a session: a refusal, an access, a gap, one of the control plane's.
    pub(crate) fn stands_alone(&self) -> bool {
        self.refused.is_some() || self.access.is_some() || self.gap.is_some() || self.control.is_some()
    }
}

#[cfg(test)]
mod tests {
    //! Which sessions a hold keeps, and that doubt keeps.
    use super::*;
    use crate::testing::{identity, session};

    fn facts() -> Facts {
        let (identity, resource) = (Some(identity()), Some("shop".to_owned()));
        Facts { identity, resource, first: 100, last: 200, ended: true, alone: false, archived: 0 }
    }

    fn texts(text: &str) -> Vec<String> {
        vec!["other".to_owned(), text.to_owned()]
    }

    #[test]
    fn every_condition_that_is_given_must_be_met() {
        let all = Selection {
            sessions: vec![session(1)],
            subjects: texts("billing-bot"),
            identity_kind: Some(IdentityKind::Machine),
            groups: texts("agents"),
            issuers: texts("https://issuer.example"),
            resources: texts("shop"),
            from: Some(200),
            to: Some(101),
        };
        assert!(all.means(&session(1), &facts()) && Selection::default().means(&session(9), &facts()));
        assert!(!all.means(&session(2), &facts()));
        for changed in [
            Selection { subjects: vec!["other".into()], ..all.clone() },
            Selection { identity_kind: Some(IdentityKind::Human), ..all.clone() },
            Selection { groups: vec!["other".into()], ..all.clone() },
            Selection { issuers: vec!["other".into()], ..all.clone() },
            Selection { resources: vec!["other".into()], ..all.clone() },
            Selection { from: Some(201), ..all.clone() },
            Selection { to: Some(100), ..all.clone() },
        ] {
            assert!(!changed.means(&session(1), &facts()), "{changed:?}");
        }
    }

    #[test]
    fn doubt_keeps() {
        let on_behalf = Selection { subjects: texts("ada@example.com"), ..Selection::default() };
        assert!(on_behalf.means(&session(1), &facts()));
        let nobody = Selection { subjects: texts("x"), resources: texts("y"), ..Selection::default() };
        assert!(!nobody.means(&session(1), &facts()));
        assert!(nobody.means(&session(1), &Facts { identity: None, resource: None, ..facts() }));
        // each thing that is not said counts as met, and what is said is asked
        let (who, place) = (Facts { identity: None, ..facts() }, Facts { resource: None, ..facts() });
        let (x, y) = (texts("x"), texts("y"));
        let met = [(x.clone(), vec![], true, false), (vec![], y.clone(), false, true), (x, y, false, false)];
        for (subjects, resources, of_nobody, of_nowhere) in met {
            let held = Selection { subjects, resources, ..Selection::default() };
            assert_eq!(held.means(&session(1), &who), of_nobody, "{held:?}");
            assert_eq!(held.means(&session(1), &place), of_nowhere, "{held:?}");
        }
        assert!(nobody.means(&session(1), &Facts { alone: true, ..Facts::unknown() }), "a gap");
        let later = Selection { from: Some(1_000), ..Selection::default() };
        assert!(later.means(&session(1), &Facts { ended: false, ..facts() }), "it runs on");
    }
}
