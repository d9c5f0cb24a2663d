//! What an approval is for, as one SHA-256: change anything of it, and the approval is for something else (CTL-1).

use crate::decide::Decision;
use judge::sql::{Effect, Facts};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What a statement means where it is decided: by what it is told whether it still means the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// The policies' version.
    pub policy_version: String,
    /// What the relations that it touches are, and what refers to them.
    pub definitions: [u8; 32],
    /// What it touches, and how.
    pub objects: [u8; 32],
}

/// What becomes one digest.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The exact text.
    pub text: &'a [u8],
    /// Types, formats and values of its parameters, as they stand in Parse and Bind.
    pub values: &'a [&'a [u8]],
    /// What it means.
    pub meaning: &'a Meaning,
    /// The database role.
    pub role: &'a str,
    /// The statement, and by it the session.
    pub statement: &'a str,
    /// The resource.
    pub resource: &'a str,
}

impl Meaning {
    /// What these decisions, of one message, mean.
    pub(crate) fn of<'a>(decisions: impl Iterator<Item = &'a Decision> + Clone) -> Self {
        let view = decisions.clone().next().map(|first| first.view.clone());
        let mut relations = BTreeSet::new();
        let mut hash = Hash::begin(b"postern.meaning.v1");
        for decision in decisions {
            hash.number(decision.facts.len());
            decision.facts.iter().for_each(|facts| {
                hash.facts(facts);
                touched(facts, &mut relations);
            });
        }
        let policy_version = view.as_ref().map(|view| view.policy_version()).unwrap_or_default();
        let definitions = view.map_or([0; 32], |view| view.definitions.of(relations.into_iter()));
        Self { policy_version, definitions, objects: hash.end() }
    }
}

/// Every relation that a statement touches, through views and in what it prepares or declares too.
fn touched(facts: &Facts, relations: &mut BTreeSet<u32>) {
    relations.extend(facts.relations.iter().filter_map(|used| used.id));
    relations.extend(facts.columns.iter().map(|used| used.column.relation));
    for effect in &facts.effects {
        if let Effect::Prepare { inner, .. } | Effect::Declare { inner, .. } = effect {
            touched(inner, relations);
        }
    }
}

/// The digest, in hexadecimal.
pub fn digest(parts: &Parts<'_>) -> String {
    let mut hash = Hash::begin(b"postern.hold.v2");
    hash.bytes(parts.statement.as_bytes());
    hash.bytes(parts.resource.as_bytes());
    hash.bytes(parts.role.as_bytes());
    hash.bytes(parts.text);
    hash.number(parts.values.len());
    parts.values.iter().for_each(|value| hash.bytes(value));
    hash.bytes(parts.meaning.policy_version.as_bytes());
    hash.bytes(&parts.meaning.definitions);
    hash.bytes(&parts.meaning.objects);
    schemas::chain::hexadecimal(&hash.end())
}

/// Every field stands behind its length, so that no two lists of fields are the same bytes.
struct Hash(Sha256);

impl Hash {
    fn begin(domain: &[u8]) -> Self {
        let mut hash = Self(Sha256::new());
        hash.bytes(domain);
        hash
    }

    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn facts(&mut self, facts: &Facts) {
        self.bytes(facts.kind.as_bytes());
        let objects = (&facts.relations, &facts.columns, &facts.functions, &facts.stored, &facts.outputs);
        self.bytes(format!("{objects:?}").as_bytes());
        let rest = (&facts.opaque, facts.read_only, facts.unbounded_write, &facts.copy, &facts.told, &facts.probed);
        self.bytes(format!("{rest:?}").as_bytes());
        self.bytes(facts.fingerprint.as_bytes());
        self.number(facts.effects.len());
        for effect in &facts.effects {
            match effect {
                Effect::Prepare { name, inner } | Effect::Declare { name, inner } => {
                    self.bytes(name.as_bytes());
                    self.facts(inner);
                }
                other => self.bytes(format!("{other:?}").as_bytes()),
            }
        }
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
