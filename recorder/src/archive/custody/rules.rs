//! What the config says of retention: classes, of which the first that covers a session counts.

use super::selection::Facts;
use schemas::event::{Identity, IdentityKind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What becomes of a session of a class when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Its key is erased: its payloads cannot be read any more. For sealed sessions.
    Shred,
    /// Its key is erased, and each data object once nothing else is in it.
    Delete,
}

/// One `[[archive.retention]]` of the config file. None of it can change while running; a run reads it anew.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The name of the class: it stands in the custody log.
    pub class: String,
    /// Only sessions on one of these resources.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Only sessions of one of these subjects.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Only sessions of people (`human`), or of programs (`machine`).
    #[serde(default)]
    pub identity_kind: Option<IdentityKind>,
    /// Only sessions of an identity in one of these groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// How long a session is kept after its end, in days. This or `hours`.
    #[serde(default)]
    pub days: Option<u32>,
    /// The same in hours. For trials.
    #[serde(default)]
    pub hours: Option<u32>,
    /// What becomes of it then: `shred` or `delete`.
    pub then: Then,
}

/// A class of retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub class: String,
    /// See [`RuleFile::resources`].
    pub resources: Vec<String>,
    /// See [`RuleFile::subjects`].
    pub subjects: Vec<String>,
    /// See [`RuleFile::identity_kind`].
    pub identity_kind: Option<IdentityKind>,
    /// See [`RuleFile::groups`].
    pub groups: Vec<String>,
    /// How long a session is kept after its end, in hours.
    pub hours: u32,
    /// What becomes of it then.
    pub then: Then,
}

/// Parses the classes.
///
/// # Errors
/// Every problem at once, each naming its class.
pub fn check(files: Vec<RuleFile>) -> Result<Vec<Rule>, Vec<String>> {
    let (mut rules, mut problems) = (Vec::<Rule>::new(), Vec::new());
    for file in files {
        let place = format!("archive.retention {:?}", file.class);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if file.class.is_empty() || file.class.len() > MAX_CLASS_BYTES || !file.class.chars().all(is_name) {
            problems.push(format!("{place}: class must be 1 to {MAX_CLASS_BYTES} letters, digits, `.`, `_`, `-`"));
        }
        if rules.iter().any(|rule| rule.class == file.class) {
            problems.push(format!("{place}: there is another class of this name; the custody log could not tell them"));
        }
        if let Some(before) = rules.iter().find(|rule| rule.covers_all()) {
            problems.push(format!("{place}: never counts, since {:?} before it covers every session", before.class));
        }
        let hours = match (file.days, file.hours) {
            (Some(days), None) => days.checked_mul(24),
            (None, Some(hours)) => Some(hours),
            (None, None) => {
                problems.push(format!("{place}: days is missing: how long a session is kept after its end"));
                continue;
            }
            (Some(_), Some(_)) => {
                problems.push(format!("{place}: has days and hours; leave one of them out"));
                continue;
            }
        };
        let Some(hours) = hours.filter(|hours| *hours <= MAX_HOURS) else {
            problems
                .push(format!("{place}: must be at most 36500 days (100 years); without a class it is kept for ever"));
            continue;
        };
        let RuleFile { class, resources, subjects, identity_kind, groups, then, .. } = file;
        rules.push(Rule { class, resources, subjects, identity_kind, groups, hours, then });
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

const MAX_CLASS_BYTES: usize = 64;
const MAX_HOURS: u32 = 36_500 * 24;

impl Rule {
    fn covers_all(&self) -> bool {
        let Self { resources, subjects, identity_kind, groups, .. } = self;
        resources.is_empty() && subjects.is_empty() && groups.is_empty() && identity_kind.is_none()
    }

    /// Whether a session is of this class, as far as no class before it covers it. What the record does not say is not
    /// covered by a class that asks for it: it is kept.
    pub(crate) fn covers(&self, facts: &Facts) -> bool {
        let who = |meets: &dyn Fn(&Identity) -> bool| facts.identity.as_ref().is_some_and(meets);
        (self.resources.is_empty() || facts.resource.as_ref().is_some_and(|one| self.resources.contains(one)))
            && (self.subjects.is_empty() || who(&|i| self.subjects.contains(&i.subject)))
            && self.identity_kind.is_none_or(|kind| who(&|i| i.kind == kind))
            && (self.groups.is_empty() || who(&|i| i.groups.iter().any(|group| self.groups.contains(group))))
    }

    /// When the time of what ended is over, in microseconds since 1970-01-01 UTC. It counts from its last event, or from when that
    /// was archived, whichever is later: the two are of different clocks.
    pub(crate) fn expiry(&self, facts: &Facts) -> i64 {
        facts.last.max(facts.archived).saturating_add(i64::from(self.hours) * 3_600_000_000)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, resources, subjects, identity_kind, groups, hours, then } = self;
        let then = match then {
            Then::Shred => "shred",
            Then::Delete => "delete",
        };
        let time = match hours {
            hours if hours.is_multiple_of(24) => format!("{} days", hours / 24),
            hours => format!("{hours} hours"),
        };
        write!(f, "class {class}: {time} after the end, then {then};")?;
        for (what, values) in [("on", resources), ("of", subjects), ("in", groups)] {
            if !values.is_empty() {
                write!(f, " {what} {}", values.join(" or "))?;
            }
        }
        match identity_kind {
            Some(IdentityKind::Human) => f.write_str(" people only")?,
            Some(IdentityKind::Machine) => f.write_str(" programs only")?,
            None => {}
        }
        if self.covers_all() { f.write_str(" every session that no class before it covers") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    //! Classes of the config: what they cover, and what is said of those that cannot be.
    use super::*;
    use crate::testing::identity;

    fn file(class: &str) -> RuleFile {
        RuleFile {
            class: class.into(),
            resources: vec!["shop".into()],
            subjects: vec![],
            identity_kind: None,
            groups: vec![],
            days: Some(2),
            hours: None,
            then: Then::Delete,
        }
    }

    #[test]
    fn all_problems_are_told_with_what_to_do() {
        let files = vec![
            RuleFile { days: None, ..file("a") },
            RuleFile { hours: Some(1), ..file("b") },
            RuleFile { days: Some(36_501), ..file("c") },
            file("d d"),
            file("e"),
            file("e"),
            RuleFile { resources: vec![], ..file("rest") },
            file("late"),
        ];
        let problems = check(files).unwrap_err().join("\n");
        for told in [
            "\"a\": days is missing",
            "\"b\": has days and hours",
            "\"c\": must be at most 36500 days",
            "\"d d\": class must be",
            "\"e\": there is another class of this name",
            "\"late\": never counts, since \"rest\" before it",
        ] {
            assert!(problems.contains(told), "{told} in {problems}");
        }
        assert_eq!(problems.lines().count(), 6, "{problems}");
    }

    #[test]
    fn what_the_record_does_not_say_is_not_covered() {
        let rules = check(vec![
            RuleFile { groups: vec!["agents".into()], subjects: vec!["billing-bot".into()], ..file("a") },
            RuleFile { resources: vec![], hours: Some(5), days: None, then: Then::Shred, ..file("rest") },
        ]);
        let rules = rules.unwrap();
        let (identity, resource) = (Some(identity()), Some("shop".to_owned()));
        let facts = Facts { identity, resource, first: 1, last: 2, ended: true, alone: false, archived: 1 };
        assert!(rules[0].covers(&facts) && rules[1].covers(&facts));
        assert!(!rules[0].covers(&Facts { identity: None, ..facts.clone() }));
        assert!(!rules[0].covers(&Facts { resource: None, ..facts.clone() }));
        assert_eq!(rules[0].expiry(&facts), 2 + 48 * 3_600_000_000);
        // whoever has a clock that is behind does not shorten it
        assert_eq!(rules[0].expiry(&Facts { archived: 9, ..facts.clone() }), 9 + 48 * 3_600_000_000);
        assert_eq!(
            rules[0].to_string(),
            "class a: 2 days after the end, then delete; on shop of billing-bot in agents"
        );
        let rest = "class rest: 5 hours after the end, then shred; every session that no class before it covers";
        assert_eq!(rules[1].to_string(), rest);
    }
}
