//! What a statement would do to the session's meaning of names and texts, and names whose meaning is not sure.

use super::{Judge, No};
use crate::{
    policy::closed,
    sql::{Effect, Facts},
};

impl Judge<'_> {
    /// What is denied even where nothing is hidden.
    pub(super) fn always(&self, facts: &Facts) -> Option<No> {
        if let Some(why) = &facts.hidden_setting {
            let reason = format!("what it would set cannot be known: {why}");
            let hint = "send SET, or SELECT set_config(...) with three constants as a statement of its own";
            return Some(No { policy: "builtin:setting", reason, hint });
        }
        facts.effects.iter().find_map(|effect| {
            let Effect::Set { name, value, .. } = effect else { return None };
            let why = closed::pinned(name, value.as_deref())?;
            Some(No {
                policy: "builtin:setting",
                reason: format!("the setting {name} may not be changed: {why}"),
                hint: "leave it as it is",
            })
        })
    }

    /// An unqualified name for which PostgreSQL may come to a guarded relation though the catalog snapshot has another
    /// before it: that one's schema may be closed to the role, it may be gone by now, or a plan may be older than it.
    pub(super) fn ambiguous(&self, facts: &Facts) -> Option<No> {
        let guarded = |(id, name): &(&u32, &String)| self.bound.is_closed(name) || self.hides_of(**id);
        let (_, name) = facts.shadowed.iter().find(guarded)?;
        let reason = format!("a name in it means several relations of the search path, {name} among them");
        Some(No { policy: "builtin:name", reason, hint: "write the name with its schema" })
    }
}
