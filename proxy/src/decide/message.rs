//! Decides a simple message. Each of its statements is read under the search path that those before it leave.

use super::{Decided, Decider, Decision, Refused, Scope, facts::nothing, runs::Earlier};
use crate::resource::View;
use judge::sql::Facts;
use std::{rc::Rc, sync::Arc};

/// A text, read under one search path: the facts of each of its statements.
pub(super) type Reading = Arc<[Arc<Facts>]>;

/// Most decisions about simple messages that a session keeps.
const MAX_SEEN: usize = 16;

/// One statement of a simple message, decided.
pub struct Simple {
    /// Its place in the message.
    pub index: u32,
    /// Its text.
    pub text: String,
    /// What was decided.
    pub decision: Rc<Decision>,
}

/// A decision about the only statement of a simple message. Facts are known by their place in memory: they are of one text,
/// or of texts that differ in nothing that matters.
pub(super) struct Seen {
    reading: Reading,
    decided: Decided,
}

impl Decider {
    /// Decides a simple message: all of its statements, before any byte of it goes.
    ///
    /// # Errors
    /// [`Refused`] where it is not understood or the catalog must be refreshed first.
    pub fn simple(&mut self, text: &[u8], scope: Scope<'_>) -> Result<Vec<Simple>, Refused> {
        let hint = "send UTF-8 text without NUL bytes";
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(Refused::because("22021", "builtin:grammar", "the statement is not UTF-8", hint));
        };
        let view = self.view()?;
        let readings = self.read(&view, text, scope)?;
        let count = readings.first().map_or(0, |reading| reading.len());
        if count == 0 {
            let decision = self.decide(&view, vec![Arc::new(nothing())], Vec::new())?;
            return Ok(vec![Simple { index: 0, text: text.to_owned(), decision }]);
        }
        if count == 1 {
            let decision = self.single(&view, &readings, scope)?;
            let text = text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
            return Ok(vec![Simple { index: 0, text: text.to_owned(), decision }]);
        }
        self.several(&view, text, count, scope)
    }

    /// A statement that is reached runs after all before it did: what those set holds then.
    fn several(
        &mut self,
        view: &Arc<View>,
        text: &str,
        count: usize,
        scope: Scope<'_>,
    ) -> Result<Vec<Simple>, Refused> {
        let mut paths = scope.paths.clone();
        let mut statements = Vec::with_capacity(count);
        let mut earlier = Earlier::default();
        for place in 0..count {
            let here = Scope { paths: &paths, ..scope };
            earlier.readings = self.read(view, text, here)?;
            let all = earlier.readings.iter().filter_map(|reading| reading.get(place));
            let facts: Vec<Arc<Facts>> = all.cloned().collect();
            let first = facts.first().cloned().unwrap_or_default();
            let decision = self.resolve(view, facts, here, &earlier)?;
            paths.send(&decision.effects, &first.kind, scope.window);
            earlier.effects.push(decision.effects.clone());
            statements.push(Simple {
                index: u32::try_from(place).unwrap_or(u32::MAX),
                text: text.get(first.text.clone()).unwrap_or(text).to_owned(),
                decision,
            });
        }
        Ok(statements)
    }

    /// Decides the only statement of a message: as the last time, if that was of the same facts under the same conditions.
    fn single(&mut self, view: &Arc<View>, readings: &[Reading], scope: Scope<'_>) -> Result<Rc<Decision>, Refused> {
        let version = self.approving.version(scope.paths);
        let known = |seen: &&Seen| {
            Arc::ptr_eq(&seen.decided.decision.view, view)
                && version == Some(seen.decided.paths)
                && matches!(readings, [one] if Arc::ptr_eq(one, &seen.reading))
        };
        if let Some(seen) = self.seen.iter().find(known) {
            return Ok(seen.decided.decision.clone());
        }
        let facts = readings.iter().filter_map(|reading| reading.first()).cloned().collect();
        let decision = self.resolve(view, facts, scope, &Earlier::default())?;
        if let (Some(paths), [reading]) = (version, readings)
            && decision.is_fixed()
        {
            if self.seen.len() >= MAX_SEEN {
                self.seen.pop_front();
            }
            self.seen
                .push_back(Seen { reading: reading.clone(), decided: Decided { paths, decision: decision.clone() } });
        }
        Ok(decision)
    }
}
