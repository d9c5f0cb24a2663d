//! What a decision asks of facts.

use judge::sql::{Action, Effect, Facts};
use std::sync::Arc;

/// What PREPARE statements will run.
pub(super) fn inner_statements(all: &[Arc<Facts>]) -> impl Iterator<Item = Arc<Facts>> {
    all.iter().flat_map(|facts| &facts.effects).filter_map(|effect| match effect {
        Effect::Prepare { inner, .. } => Some(Arc::new((**inner).clone())),
        _ => None,
    })
}

pub(super) fn names_unknown(facts: &Facts) -> bool {
    let unknown = facts.relations.iter().any(|r| r.id.is_none() && !r.actions.contains(&Action::Create));
    unknown
        || facts.missing.is_some()
        || facts.effects.iter().any(|effect| match effect {
            Effect::Prepare { inner, .. } | Effect::Declare { inner, .. } => names_unknown(inner),
            _ => false,
        })
}

pub(super) fn reads_from_client(facts: &Facts) -> bool {
    facts.relations.iter().any(|r| r.actions.contains(&Action::CopyIn)) && !facts.copies_server_side
}

/// The facts of an empty statement.
pub(super) fn nothing() -> Facts {
    Facts { kind: "EMPTY".to_owned(), read_only: true, ..Facts::default() }
}
