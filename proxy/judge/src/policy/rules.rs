//! The rules of one resource as they stand in the configuration.

use super::{
    Bound, Names,
    cedar::{self, Problem, Set, Source},
};
use crate::mask::{Method, detect};
use ring::digest;
use serde::Deserialize;
use std::{collections::BTreeSet, fmt};

/// Begins what the policy version is the digest of; changes when the built-in rules do.
const BUILTIN: &str = "builtin/4";

/// Who may connect to a resource, and what is hidden from whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Groups whose members may connect. _Default:_ none, so that nobody may.
    pub connect_groups: Vec<String>,
    /// What is hidden, and from whom. _Default:_ nothing.
    pub masking: Vec<Masking>,
    /// Relations that nobody may touch, as `schema.table`, or `schema.*` for a whole schema; and columns that nobody may
    /// name, not even to see them masked, as `schema.table.column`. _Default:_ none.
    pub closed: Vec<String>,
    /// Functions, as `schema.name`, that read nothing that is hidden or closed, and so may be called where there is such.
    /// PostgreSQL's own need not be listed. _Default:_ none.
    pub functions: Vec<String>,
    /// Guardrails that do not hold for this resource, by id. _Default:_ none.
    pub guardrails_off: Vec<String>,
    /// The resource's name, as policies see it.
    #[serde(skip)]
    pub resource: String,
    /// Policies in files. Without any, members of `connect_groups` may do what no guardrail denies.
    #[serde(skip)]
    pub policies: Vec<Source>,
    /// What is looked for in values that no rule names. _Default:_ see [`detect::Settings`].
    pub detectors: detect::Settings,
    /// Columns of which an external provider is asked, as `schema.table.column`. _Default:_ none.
    pub asked: Vec<String>,
    #[serde(skip)]
    key: Option<Key>,
}

/// One masking rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masking {
    /// The columns, each as `schema.table.column`, in the case in which the catalog has them.
    pub columns: Vec<String>,
    /// What the columns hold, such as `pan`. _Default:_ none.
    #[serde(default)]
    pub label: Option<String>,
    /// How they are hidden: `redact`, `last4`, `hash`, `null`, `fake`. _Default:_ `redact`.
    #[serde(default)]
    pub method: Method,
    /// Groups that see them as they are. _Default:_ none.
    #[serde(default)]
    pub unmask_groups: Vec<String>,
}

/// The secret of `hash` and `fake`; never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Splits `schema.table.column`.
pub(super) fn split(column: &str) -> Option<(&str, &str, &str)> {
    let mut parts = column.split('.');
    let (schema, table, name) = (parts.next()?, parts.next()?, parts.next()?);
    let empty = schema.is_empty() || table.is_empty() || name.is_empty();
    (!empty && parts.next().is_none()).then_some((schema, table, name))
}

/// Entities as Cedar writes them.
fn list(kind: &str, names: &[String]) -> String {
    let names: Vec<String> = names.iter().filter_map(|name| cedar::entity(kind, name)).collect();
    format!("[{}]", names.join(", "))
}

impl Rules {
    /// Gives the methods `hash` and `fake` their key. Without one they redact, since a pseudonym without a secret can be
    /// found by trying.
    #[must_use]
    pub fn with_key(mut self, key: &[u8; 32]) -> Self {
        self.key = Some(Key(*key));
        self
    }

    /// Whether a rule needs the key of [`Rules::with_key`].
    pub fn needs_key(&self) -> bool {
        self.masking.iter().any(|rule| matches!(rule.method, Method::Hash | Method::Fake))
    }

    /// Everything that is wrong with the rules, without looking at a catalog; empty if nothing is.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.connect_groups.is_empty() && self.policies.is_empty() {
            problems.push("connect_groups is empty: nobody could connect".to_owned());
        }
        if self.connect_groups.iter().any(String::is_empty) {
            problems.push("connect_groups has an empty name".to_owned());
        }
        let parts = |name: &str| {
            let parts: Vec<&str> = name.split('.').collect();
            if parts.iter().any(|part| part.is_empty()) { 0 } else { parts.len() }
        };
        for name in self.functions.iter().filter(|name| parts(name) != 2) {
            problems.push(format!("{name:?} is not schema.name"));
        }
        for name in self.closed.iter().filter(|name| parts(name) != 2 && (parts(name) != 3 || name.ends_with(".*"))) {
            problems.push(format!("{name:?} is not schema.name, nor schema.table.column"));
        }
        for column in self.detectors.skip.iter().chain(&self.asked).filter(|column| split(column).is_none()) {
            problems.push(format!("detectors.skip, dlp.columns: {column:?} is not schema.table.column"));
        }
        let mut seen = BTreeSet::new();
        for (number, rule) in (1..).zip(&self.masking) {
            if rule.columns.is_empty() {
                problems.push(format!("masking rule {number} names no column"));
            }
            if rule.unmask_groups.iter().any(String::is_empty) {
                problems.push(format!("masking rule {number}: unmask_groups has an empty name"));
            }
            if rule.label.as_deref() == Some("") {
                problems.push(format!("masking rule {number}: the label is empty"));
            }
            for column in &rule.columns {
                if split(column).is_none() {
                    problems.push(format!("masking rule {number}: {column:?} is not schema.table.column"));
                } else if !seen.insert(column) {
                    problems.push(format!("masking rule {number}: {column:?} is in another rule already"));
                }
            }
        }
        if let Err(more) = self.compile() {
            problems.extend(more.iter().map(ToString::to_string));
        }
        problems
    }

    /// The policies of these rules: guardrails, defaults, what the config says, and files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn compile(&self) -> Result<Set, Vec<Problem>> {
        let own = |name: &str, text: String| Source { name: name.to_owned(), text };
        let gates = [
            own("guardrails", cedar::GUARDRAILS.to_owned()),
            own("defaults", cedar::DEFAULTS.to_owned()),
            own("config", self.of_config()),
        ];
        Set::compile(&self.resource, &gates, &self.policies, &self.guardrails_off)
    }

    /// The keys of the config as policies.
    fn of_config(&self) -> String {
        let groups = |names: &[String]| list("Group", names);
        let mut text = String::new();
        if !self.connect_groups.is_empty() {
            let members = groups(&self.connect_groups);
            text.push_str(&format!(
                "@id(\"config:connect\") permit (principal, action in Action::\"session\", resource) \
                 when {{ principal in {members} }};\n"
            ));
            if self.policies.is_empty() {
                text.push_str(&format!(
                    "@id(\"default:work\") permit (principal, action in Action::\"work\", resource) \
                     when {{ principal in {members} }};\n"
                ));
            }
        }
        for (number, rule) in (1..).zip(&self.masking).filter(|(_, rule)| !rule.unmask_groups.is_empty()) {
            text.push_str(&format!(
                "@id(\"config:unmask:{number}\") permit (principal, action == Action::\"read_clear\", resource) \
                 when {{ principal in {} && {}.contains(resource) }};\n",
                groups(&rule.unmask_groups),
                list("Column", &rule.columns),
            ));
        }
        text
    }

    /// Finds the columns of the rules in a catalog. Ones that it does not have are in [`Bound::unknown`], and found again
    /// when a later catalog has them.
    pub fn bind(&self, names: &impl Names) -> Bound {
        Bound::new(self, names)
    }

    /// SHA-256 of the rules, hexadecimal, its first 16 digits. The key is not part of it.
    pub fn version(&self) -> String {
        fn put(text: &mut String, name: &str, items: &[String]) {
            let items: BTreeSet<&String> = items.iter().collect();
            text.push_str(&format!("{name}: {items:?}\n"));
        }
        let mut text = format!("{BUILTIN}\n");
        put(&mut text, "connect", &self.connect_groups);
        put(&mut text, "closed", &self.closed);
        put(&mut text, "functions", &self.functions);
        put(&mut text, "guardrails off", &self.guardrails_off);
        text.push_str(&format!("{:?} {:?} {:?}\n", self.resource, cedar::GUARDRAILS, cedar::DEFAULTS));
        for source in &self.policies {
            text.push_str(&format!("{:?} {:?}\n", source.name, source.text));
        }
        text.push_str(&format!("{:?} {:?}\n", self.detectors.on, self.detectors.types));
        put(&mut text, "skip", &self.detectors.skip);
        put(&mut text, "asked", &self.asked);
        for rule in &self.masking {
            put(&mut text, "mask", &rule.columns);
            put(&mut text, "unmask", &rule.unmask_groups);
            text.push_str(&format!("{:?} {:?}\n", rule.label, rule.method));
        }
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        digest.as_ref().iter().take(8).fold(String::new(), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        })
    }

    /// Whether the methods `hash` and `fake` have their key.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }
}
