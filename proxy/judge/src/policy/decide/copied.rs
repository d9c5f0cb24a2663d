//! COPY to the client: whether its rows can be masked.

use super::{Judge, No};
use crate::{
    mask::Method,
    sql::{Action, Facts},
};
use schemas::event::Usage;

impl Judge<'_> {
    /// COPY to the client is masked row by row, where its columns and its layout are known.
    pub(super) fn copied(&self, facts: &Facts) -> Option<No> {
        if !facts.relations.iter().any(|r| r.actions.contains(&Action::CopyOut)) && !facts.copies_to_client
            || only_reads_client(facts)
        {
            return None;
        }
        let known = facts.outputs.as_ref().is_some_and(|outputs| !outputs.iter().any(|o| o.opaque && o.name == "*"));
        let used = self.uses(facts, |usage| usage == Usage::Projected);
        let reason = match (&facts.copy, used) {
            (None, _) => "its options are not known, so its rows cannot be masked".to_owned(),
            // the text for NULL is hidden like a value then: its pseudonym would tell which rows have that value
            (Some(format), Some(name)) if format.is_ambiguous() && self.names_values(facts) => {
                format!("{name} is masked by a pseudonym, which the text that stands for NULL would get too")
            }
            (Some(_), Some(name)) if !known => format!("{name} is masked, and which columns are copied is not known"),
            (Some(_), _) => return None,
        };
        Some(No {
            policy: "builtin:copy",
            reason,
            hint: "leave NULL and ENCODING as they are, or use SELECT, which masks",
        })
    }

    /// A column of the answer is hidden in a way by which equal values can be told.
    fn names_values(&self, facts: &Facts) -> bool {
        let shown = facts.columns.iter().filter(|used| used.usage == Usage::Projected);
        let mut methods =
            shown.flat_map(|used| self.bound.expand(used.column)).filter_map(|c| self.bound.method(c, &self.exempt));
        methods.any(|method| matches!(method, Method::Hash | Method::Fake))
    }
}

fn only_reads_client(facts: &Facts) -> bool {
    !facts.relations.is_empty()
        && facts.relations.iter().any(|r| r.actions.contains(&Action::CopyIn))
        && !facts.relations.iter().any(|r| r.actions.contains(&Action::CopyOut) || r.actions.contains(&Action::Select))
}
