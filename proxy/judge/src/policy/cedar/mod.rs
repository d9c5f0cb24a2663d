//! Cedar: the policies of a resource, compiled and checked, and what they answer. The only code that names cedar_policy.
//!
//! ```text
//! guardrails + defaults + config + files --compile--> Set --ask (Subject, action, Object, Facts about it)--> Answer
//! ```
//!
//! A set is compiled whole or not at all: what does not parse, does not fit the schema, or repeats an id is a
//! [`Problem`] with its place. Cedar skips a policy whose evaluation fails; here any failure denies.

mod ask;
mod compile;
mod subject;

pub use ask::{Answer, Object, Situation};
pub use compile::{Problem, Source};
pub use subject::Subject;

use cedar_policy::{Authorizer, Entity, EntityTypeName, EntityUid, PolicySet, Schema};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What policies can speak of.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// The guardrails that ship.
pub const GUARDRAILS: &str = include_str!("guardrails.cedar");

/// What ships besides.
pub(super) const DEFAULTS: &str = include_str!("defaults.cedar");

/// What the candidates for an action read that changes by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reads {
    /// The time: what was decided holds for one execution.
    pub time: bool,
    /// The time to the millisecond, not only its hour, minute or weekday: an answer is not remembered.
    pub instant: bool,
    /// The planner's estimates: ask for them, and decide again with them.
    pub estimates: bool,
}

impl Reads {
    /// What either reads.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            time: self.time || other.time,
            instant: self.instant || other.instant,
            estimates: self.estimates || other.estimates,
        }
    }
}

/// What a held statement waits for: so many different members of a group agree to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Approval {
    /// The group.
    pub group: String,
    /// How many of its members.
    pub count: u32,
}

impl std::fmt::Display for Approval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            0 | 1 => f.write_str(&self.group),
            more => write!(f, "{more} of {}", self.group),
        }
    }
}

/// A policy, for the texts of its decisions.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) id: String,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
    /// Whose approval it waits for.
    pub(super) hold: Option<Approval>,
}

/// The policies that can apply to one action.
#[derive(Debug)]
struct Candidates {
    uid: EntityUid,
    entity: Entity,
    policies: PolicySet,
    /// What they read, whoever asks.
    reads: Reads,
    /// What those read that apply to the members of one group alone.
    reads_of_groups: Vec<(String, Reads)>,
}

/// The names of the entity types, parsed once.
#[derive(Debug)]
struct Types {
    group: EntityTypeName,
    identity: EntityTypeName,
    resource: EntityTypeName,
    schema: EntityTypeName,
    table: EntityTypeName,
    column: EntityTypeName,
    function: EntityTypeName,
    setting: EntityTypeName,
}

/// The compiled policies of one resource.
pub struct Set {
    schema: Schema,
    types: Types,
    authorizer: Authorizer,
    /// By rank: the first of several that decide gives the words.
    policies: Vec<Policy>,
    ranks: HashMap<String, usize>,
    actions: BTreeMap<String, Candidates>,
    resource: Arc<str>,
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Set").field("resource", &self.resource).field("policies", &self.policies.len()).finish()
    }
}

impl Set {
    /// Every policy's id, in the order of their rank.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.id.as_str())
    }

    /// What the candidates for an action read that changes by itself. Policies for groups that the subject is not in
    /// do not count: whatever they read, they neither permit nor forbid it anything.
    pub fn reads(&self, action: &str, subject: &Subject) -> Reads {
        let Some(candidates) = self.actions.get(action) else { return Reads::default() };
        let groups = subject.groups();
        let of_groups = candidates.reads_of_groups.iter().filter(|(group, _)| groups.contains(group));
        of_groups.fold(candidates.reads, |all, (_, reads)| all.or(*reads))
    }

    pub(super) fn policy(&self, rank: usize) -> Option<&Policy> {
        self.policies.get(rank)
    }
}

/// The ids of the guardrails that ship.
pub fn guardrail_ids() -> Vec<String> {
    compile::ids_of(GUARDRAILS)
}

/// An entity as Cedar writes it, quoted.
pub(super) fn entity(kind: &str, name: &str) -> Option<String> {
    let kind = kind.parse::<EntityTypeName>().ok()?;
    Some(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(name)).to_string())
}
