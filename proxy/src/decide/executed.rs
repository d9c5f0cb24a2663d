//! What EXECUTE of a name runs, and how much a name may stand for.

use super::{Decider, Refused, Scope};
use judge::sql::Facts;
use std::sync::Arc;

/// Statements that one message may run, all answers to what its names stand for together: a cursor over a cursor over a
/// cursor, opened anew before the server answered, would double with each.
const MOST: usize = 1024;

/// Refuses what may stand for more statements than anybody could mean.
pub(super) fn few(facts: &[Arc<Facts>]) -> Result<(), Refused> {
    if facts.len() <= MOST {
        return Ok(());
    }
    let text = "the name may stand for too many statements while so many answers are under way";
    Err(Refused::because("54000", "builtin:limit", text, "wait for answers before using the name again"))
}

impl Decider {
    /// The facts of everything that EXECUTE of a name may run.
    ///
    /// # Errors
    /// [`Refused`]: also where that is an EXECUTE itself, which a Parse message can prepare. It could be of its own name.
    pub(super) fn executed(&mut self, name: &str, scope: Scope<'_>) -> Result<Vec<Arc<Facts>>, Refused> {
        if self.executes {
            let text = "a prepared statement that is executed may not be an EXECUTE itself";
            return Err(Refused::because(
                "54001",
                "builtin:limit",
                text,
                "execute the inner statement by its own name",
            ));
        }
        self.executes = true;
        let found = self.all_prepared(name, scope);
        self.executes = false;
        found
    }

    fn all_prepared(&mut self, name: &str, scope: Scope<'_>) -> Result<Vec<Arc<Facts>>, Refused> {
        let mut found = Vec::new();
        for prepared in scope.names.prepared(name, scope.window) {
            found.extend(self.prepared(&prepared, scope)?.facts.iter().cloned());
            few(&found)?;
        }
        Ok(found)
    }
}
