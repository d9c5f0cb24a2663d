//! What a statement really runs: texts read under every possible search path, EXECUTE and FETCH followed, portals looked at
//! again when they run.

use super::{
    Decider, Decision, Refused, Scope,
    executed::few,
    facts::{inner_statements, names_unknown},
    message::Reading,
};
use crate::{paths::MAX_POSSIBLE, resource::View, statement::Portal};
use judge::sql::{Effect, Facts};
use std::{rc::Rc, sync::Arc};

/// Kinds of statements whose names PostgreSQL looks up when a portal is bound; those of others when it is executed.
const PLANNED: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];

/// What the earlier statements of a simple message do to names.
#[derive(Default)]
pub(super) struct Earlier {
    /// The effects of each.
    pub(super) effects: Vec<Vec<Effect>>,
    /// The whole message, read under each search path that is possible now.
    pub(super) readings: Vec<Reading>,
}

impl Earlier {
    /// What a cursor or prepared statement that an earlier statement of the message makes may be. PostgreSQL reads a
    /// prepared one again under the search path of its EXECUTE.
    fn declared(&self, wanted: &str, prepared: bool) -> Option<Vec<Arc<Facts>>> {
        let inner = |effect: &Effect| match effect {
            Effect::Prepare { name, inner } if prepared && name == wanted => Some(Arc::new((**inner).clone())),
            Effect::Declare { name, inner } if !prepared && name == wanted => Some(Arc::new((**inner).clone())),
            _ => None,
        };
        let place = self.effects.iter().rposition(|effects| effects.iter().any(|effect| inner(effect).is_some()))?;
        let mut found: Vec<Arc<Facts>> = self.effects.get(place)?.iter().filter_map(inner).collect();
        if prepared {
            let now: Vec<Arc<Facts>> = self.readings.iter().filter_map(|reading| reading.get(place)).cloned().collect();
            found.extend(inner_statements(&now));
        }
        Some(found)
    }
}

impl Decision {
    /// Its names were looked up when its portal was bound.
    fn is_planned(&self) -> bool {
        let planned = |facts: &Arc<Facts>| PLANNED.contains(&facts.kind.as_str()) && runs_no_other(&facts.effects);
        self.facts.iter().all(planned) && runs_no_other(&self.effects)
    }
}

fn runs_no_other(effects: &[Effect]) -> bool {
    !effects.iter().any(|effect| matches!(effect, Effect::Execute { .. } | Effect::Fetch { .. }))
}

impl Decider {
    /// Decides a portal again at Execute: the policy may have changed since Bind, and with the search path or a name what
    /// the portal runs, if PostgreSQL looks that up only now.
    ///
    /// # Errors
    /// As [`Decider::simple`].
    pub fn portal(&mut self, portal: &Rc<Portal>, scope: Scope<'_>) -> Result<Rc<Decision>, Refused> {
        let view = self.view()?;
        let before = &portal.decision;
        if let Some(prepared) = portal.prepared.as_ref().filter(|_| !before.is_planned()) {
            let now = self.prepared(prepared, scope)?;
            let bound = |facts: &Arc<Facts>| before.facts.iter().any(|b| Arc::ptr_eq(b, facts) || b == facts);
            if !Rc::ptr_eq(&now, before) && !now.facts.iter().all(bound) {
                let text = "what this portal runs changed since it was bound, by the search path or by a name";
                return Err(Refused::because("55000", "builtin:portal", text, "bind it again"));
            }
        }
        if Arc::ptr_eq(&before.view, &view) && !before.judgement.reads.time {
            return Ok(before.clone());
        }
        let decision = self.decide_estimated(&view, before);
        if !decision.judgement.hides_as(&before.judgement) {
            // its rows were described under the rules of then: nothing knows how to mask them now
            let text = "what is masked of this portal's rows changed since it was opened";
            return Err(Refused::because("55000", "builtin:portal", text, "bind it again"));
        }
        Ok(decision)
    }

    /// Decides what FETCH from a cursor will return, given what the statement does that declares it.
    pub fn cursor(&mut self, effects: &[Effect], wanted: &str) -> Rc<Decision> {
        let view = self.resource.view();
        let inner = effects.iter().filter_map(|effect| match effect {
            Effect::Declare { name, inner } if name == wanted => Some(Arc::new((**inner).clone())),
            _ => None,
        });
        self.decide_known(&view, inner.collect())
    }

    /// Reads a text under each possible path.
    pub(super) fn read(&self, view: &Arc<View>, text: &str, scope: Scope<'_>) -> Result<Vec<Reading>, Refused> {
        let paths = scope.paths.possible(scope.window);
        if paths.is_empty() || paths.len() > MAX_POSSIBLE {
            let text = "the search path cannot be known while so many changes of it are under way";
            return Err(Refused::because(
                "53400",
                "builtin:limit",
                text,
                "wait for the answers to SET before going on",
            ));
        }
        let mut readings = Vec::with_capacity(paths.len());
        for path in &paths {
            let reading = view.analyze(text, path).map_err(|error| Refused::of_sql(&error))?;
            readings.push(reading);
        }
        Ok(readings)
    }

    /// Replaces EXECUTE and FETCH by what they run, then decides.
    pub(super) fn resolve(
        &mut self,
        view: &Arc<View>,
        facts: Vec<Arc<Facts>>,
        scope: Scope<'_>,
        earlier: &Earlier,
    ) -> Result<Rc<Decision>, Refused> {
        if self.refreshed != Some(view.epoch()) && facts.iter().any(|facts| names_unknown(facts)) {
            return Err(Refused::CatalogTooOld);
        }
        let mut effects = Vec::new();
        facts.iter().for_each(|facts| join(&mut effects, &facts.effects));
        let mut all = facts;
        for effect in &effects.clone() {
            let found = match effect {
                Effect::Execute { name } => match earlier.declared(name, true) {
                    Some(facts) => facts,
                    None => self.executed(name, scope)?,
                },
                Effect::Fetch { name } => match earlier.declared(name, false) {
                    Some(facts) => facts,
                    None => {
                        scope.names.portals(name, scope.window).iter().flat_map(|p| p.facts.iter().cloned()).collect()
                    }
                },
                _ => continue,
            };
            if found.is_empty() && view.protects() {
                let (kind, name) = match effect {
                    Effect::Fetch { name } => ("portal", name),
                    Effect::Execute { name } => ("prepared statement", name),
                    _ => continue,
                };
                return Err(Refused::unknown_name(kind, name, "was not opened through this gate"));
            }
            // a setting that the inner statement sets is set by running it
            found.iter().for_each(|facts| join(&mut effects, &facts.effects));
            all.extend(found);
            few(&all)?;
        }
        self.decide(view, all, effects)
    }
}

/// Adds the effects that are not there yet.
fn join(all: &mut Vec<Effect>, more: &[Effect]) {
    for effect in more {
        if !all.contains(effect) {
            all.push(effect.clone());
        }
    }
}
