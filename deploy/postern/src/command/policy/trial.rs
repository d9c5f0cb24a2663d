//! One statement, judged outside of a session: what tests and explanations share.

use judge::policy::{self, Bound, Cache, Context, Judgement, Subject};
use judge::sql::{self, Catalog, Facts, Limits};
use schemas::event::VerdictKind;
use std::collections::BTreeSet;

/// Where statements are tried.
pub struct Ground<'a> {
    /// The names that there are.
    pub catalog: &'a Catalog,
    /// The rules over them.
    pub bound: &'a Bound,
    /// The search path.
    pub search_path: &'a [String],
}

/// What became of a message.
#[derive(Debug)]
pub struct Tried {
    /// The verdict of its first statement that does not go on, or the last one's.
    pub verdict: VerdictKind,
    /// Why; empty where it goes on.
    pub reason: String,
    /// What to do; empty where it goes on.
    pub hint: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The columns that are masked.
    pub masked: BTreeSet<String>,
    /// Each statement's facts.
    pub statements: Vec<(Facts, Judgement)>,
}

impl Ground<'_> {
    /// Judges a message as the gate would.
    pub fn try_out(&self, text: &str, subject: &Subject, context: &Context) -> Tried {
        let denied = |reason: String, hint: &str, policy: String| Tried {
            verdict: VerdictKind::Deny,
            reason,
            hint: hint.to_owned(),
            policies: vec![policy],
            masked: BTreeSet::new(),
            statements: Vec::new(),
        };
        if let Err(denial) = self.bound.may_connect(subject, context) {
            return denied(denial.reason, &denial.hint, denial.policy);
        }
        let limits = Limits::default();
        let reading = sql::Context { catalog: self.catalog, search_path: self.search_path, limits, tripwire: false };
        let all = match sql::analyze(text, &reading) {
            Ok(all) => all,
            Err(error) => return denied(error.to_string(), "correct the statement", "builtin:grammar".to_owned()),
        };
        let mut cache = Cache::default();
        let judged = |facts: Facts| {
            let judgement = policy::decide(&facts, self.bound, subject, context, &mut cache);
            (facts, judgement)
        };
        let statements: Vec<(Facts, Judgement)> = all.into_iter().map(judged).collect();
        let refuses = |judgement: &Judgement| matches!(judgement.verdict, VerdictKind::Deny | VerdictKind::Hold);
        let masks = |judgement: &Judgement| judgement.verdict == VerdictKind::Mask;
        let all = || statements.iter().map(|(_, judgement)| judgement);
        let deciding =
            all().find(|j| refuses(j)).or_else(|| all().find(|j| masks(j))).or_else(|| all().next_back()).cloned();
        let Some(one) = deciding else {
            return Tried { verdict: VerdictKind::Allow, ..denied(String::new(), "", "builtin:allow".to_owned()) };
        };
        let shown = !refuses(&one);
        let columns = all().flat_map(|judgement| &judgement.columns).filter(|column| column.masked && shown);
        let masked = columns.map(|column| column.name.clone()).collect();
        let Judgement { verdict, reason, hint, policies, .. } = one;
        Tried { verdict, reason, hint, policies, masked, statements }
    }
}

/// A verdict's word.
pub fn word(verdict: VerdictKind) -> &'static str {
    match verdict {
        VerdictKind::Allow => "allow",
        VerdictKind::Mask => "mask",
        VerdictKind::Hold => "hold",
        VerdictKind::Deny => "deny",
    }
}
