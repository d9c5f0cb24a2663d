//! From texts to a [`Set`], with every problem and its place.

use super::{Approval, Candidates, Policy, Reads, SCHEMA, Set, Types};
use cedar_policy::{
    ActionConstraint, Authorizer, Effect, Entities, EntityUid, PolicyId, PolicySet, PrincipalConstraint, Schema,
    ValidationMode, Validator,
};
use miette::Diagnostic;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    str::FromStr,
};

/// Policies that one resource may have; each is evaluated for every action that it may concern.
const MAX_POLICIES: usize = 2_000;

/// Most members of a group that one policy may wait for.
const MAX_APPROVALS: u32 = 9;

/// See [`Reads::instant`].
const INSTANT: &str = "instant";

/// Prefixes of ids that are the gate's own.
const RESERVED: &[&str] = &["guard:", "builtin:", "config:", "default:"];

/// Policies in the text form of Cedar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where they come from: a file's name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What is wrong with policies, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The source's name.
    pub source: String,
    /// Line and column, counted from 1, where they are known.
    pub place: Option<(usize, usize)>,
    /// The policy's id, where it is known.
    pub policy: Option<String>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(policy) = &self.policy {
            write!(f, ": policy {policy:?}")?;
        }
        write!(f, ": {}", self.text)
    }
}

fn place(text: &str, diagnostic: &dyn Diagnostic) -> Option<(usize, usize)> {
    let offset = diagnostic.labels()?.next()?.offset();
    let before = text.get(..offset)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

fn said(error: &(impl Diagnostic + fmt::Display)) -> String {
    match error.help() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}

/// A source's policies, in their order, renamed to their own ids.
struct Parsed<'a> {
    source: &'a Source,
    policies: Vec<cedar_policy::Policy>,
}

fn parse<'a>(source: &'a Source, own: bool, problems: &mut Vec<Problem>) -> Parsed<'a> {
    let set = match PolicySet::from_str(&source.text) {
        Ok(set) => set,
        Err(errors) => {
            problems.extend(errors.iter().map(|error| Problem {
                source: source.name.clone(),
                place: place(&source.text, error),
                policy: None,
                text: said(error),
            }));
            return Parsed { source, policies: Vec::new() };
        }
    };
    let mut problem = |policy: Option<String>, text: &str| {
        problems.push(Problem { source: source.name.clone(), place: None, policy, text: text.to_owned() });
    };
    if set.templates().next().is_some() {
        problem(None, "templates are not supported: write out the principal and the resource");
    }
    let mut numbered: Vec<(usize, cedar_policy::Policy)> = Vec::new();
    for policy in set.policies() {
        // Cedar numbers a text's policies: policy0, policy1, ...
        let number = policy.id().to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX);
        let id = match policy.annotation("id") {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => format!("{}#{}", source.name, number.saturating_add(1)),
        };
        if !own && RESERVED.iter().any(|prefix| id.starts_with(prefix)) {
            problem(Some(id.clone()), "ids that begin with guard:, builtin:, config: or default: are the gate's own");
        }
        if policy.annotation("hold").is_some() {
            if policy.effect() != Effect::Forbid {
                problem(Some(id.clone()), "@hold belongs to a forbid");
            }
            if !reads(policy).contains("approved") {
                let text = "@hold needs `unless { context.approved }`: nobody could release it";
                problem(Some(id.clone()), text);
            }
        }
        if let Some(count) = policy.annotation("approvals") {
            if policy.annotation("hold").is_none() {
                problem(Some(id.clone()), "@approvals belongs to a @hold");
            }
            if !count.parse().is_ok_and(|count| (1..=MAX_APPROVALS).contains(&count)) {
                problem(Some(id.clone()), "@approvals must be a number from 1 to 9");
            }
        }
        numbered.push((number, policy.new_id(PolicyId::new(id))));
    }
    numbered.sort_by_key(|(number, _)| *number);
    Parsed { source, policies: numbered.into_iter().map(|(_, policy)| policy).collect() }
}

/// The ids of a text of the gate's own.
pub(super) fn ids_of(text: &str) -> Vec<String> {
    let source = Source { name: "own".to_owned(), text: text.to_owned() };
    let parsed = parse(&source, true, &mut Vec::new());
    parsed.policies.iter().map(|policy| policy.id().to_string()).collect()
}

/// The attributes of `context` that a policy reads; all of them where it takes the context as a whole. `instant` stands
/// among them where it reads more of the time than what a whole minute has in common.
fn reads(policy: &cedar_policy::Policy) -> HashSet<String> {
    fn is_context(value: &serde_json::Value) -> bool {
        value.get("Var").is_some_and(|name| name == "context")
    }
    fn is_time(value: &serde_json::Value) -> bool {
        let inner = value.get(".");
        inner.is_some_and(|i| i.get("left").is_some_and(is_context) && i.get("attr").is_some_and(|a| a == "time"))
    }
    fn walk(value: &serde_json::Value, found: &mut HashSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, inner) in map {
                    let attribute = matches!(key.as_str(), "." | "has").then(|| inner.get("attr")?.as_str()).flatten();
                    let left = attribute.and(inner.get("left"));
                    if let (Some(name), true) = (attribute, left.is_some_and(is_context)) {
                        found.insert(name.to_owned());
                        if name == "time" {
                            found.insert(INSTANT.to_owned());
                        }
                    } else if matches!(attribute, Some("hour" | "minute" | "weekday")) && left.is_some_and(is_time) {
                        found.insert("time".to_owned());
                    } else if key == "Var" && inner == "context" {
                        let all = ["time", INSTANT, "estimated_rows", "estimated_cost", "approved"];
                        found.extend(all.map(str::to_owned));
                    } else {
                        walk(inner, found);
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut found = HashSet::new();
    match policy.to_json() {
        Ok(json) => walk(&json, &mut found),
        // what cannot be looked at may read anything
        Err(_) => found.extend(["time", INSTANT, "estimated_rows"].map(str::to_owned)),
    }
    found
}

fn types() -> Option<Types> {
    let name = |text: &str| cedar_policy::EntityTypeName::from_str(text).ok();
    Some(Types {
        group: name("Group")?,
        identity: name("Identity")?,
        resource: name("Resource")?,
        schema: name("Schema")?,
        table: name("Table")?,
        column: name("Column")?,
        function: name("Function")?,
        setting: name("Setting")?,
    })
}

impl Set {
    /// Compiles and checks. `own` are the gate's sources, which come first; `off` names policies of theirs to leave out.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(in crate::policy) fn compile(
        resource: &str,
        own: &[Source],
        given: &[Source],
        off: &[String],
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let general = |text: String| Problem { source: "policies".to_owned(), place: None, policy: None, text };
        let schema = match Schema::from_cedarschema_str(SCHEMA) {
            Ok((schema, _)) => schema,
            Err(error) => return Err(vec![general(format!("the schema is wrong: {error}"))]),
        };
        let own: Vec<Parsed<'_>> = own.iter().map(|source| parse(source, true, &mut problems)).collect();
        let given: Vec<Parsed<'_>> = given.iter().map(|source| parse(source, false, &mut problems)).collect();
        for name in off {
            let known = own.iter().flat_map(|p| &p.policies).any(|policy| policy.id().to_string() == *name);
            if !name.starts_with("guard:") || !known {
                problems.push(general(format!("guardrails.off: there is no guardrail {name:?}")));
            }
        }
        let mut all = PolicySet::new();
        let mut texts: HashMap<String, &Source> = HashMap::new();
        let mut policies = Vec::new();
        for parsed in own.iter().chain(&given) {
            for policy in &parsed.policies {
                let id = policy.id().to_string();
                if off.contains(&id) && id.starts_with("guard:") {
                    continue;
                }
                if all.add(policy.clone()).is_err() {
                    let text = "another policy has this id".to_owned();
                    problems.push(Problem { source: parsed.source.name.clone(), place: None, policy: Some(id), text });
                    continue;
                }
                texts.insert(id.clone(), parsed.source);
                policies.push(described(policy));
            }
        }
        if policies.len() > MAX_POLICIES {
            problems.push(general(format!("there are {} policies; the limit is {MAX_POLICIES}", policies.len())));
        }
        validate(&schema, &all, &texts, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let (Some(types), Some(actions)) = (types(), candidates(&schema, &all)) else {
            return Err(vec![general("the schema has no usable actions".to_owned())]);
        };
        let ranks = policies.iter().enumerate().map(|(rank, policy)| (policy.id.clone(), rank)).collect();
        Ok(Self { schema, types, authorizer: Authorizer::new(), policies, ranks, actions, resource: resource.into() })
    }
}

fn described(policy: &cedar_policy::Policy) -> Policy {
    let text = |key: &str| policy.annotation(key).filter(|text| !text.is_empty()).map(str::to_owned);
    // what is no number was a problem; should it come here, it waits for most
    let count = text("approvals").map_or(1, |count| count.parse().unwrap_or(MAX_APPROVALS));
    let hold = text("hold").map(|group| Approval { group, count });
    Policy { id: policy.id().to_string(), reason: text("reason"), hint: text("hint"), hold }
}

fn validate(schema: &Schema, all: &PolicySet, texts: &HashMap<String, &Source>, problems: &mut Vec<Problem>) {
    let result = Validator::new(schema.clone()).validate(all, ValidationMode::Strict);
    for error in result.validation_errors() {
        let id = error.policy_id().to_string();
        let source = texts.get(&id);
        problems.push(Problem {
            source: source.map_or_else(|| "policies".to_owned(), |source| source.name.clone()),
            place: source.and_then(|source| place(&source.text, error)),
            policy: Some(id),
            text: said(error),
        });
    }
}

/// For each action the policies that its scope does not rule out.
fn candidates(schema: &Schema, all: &PolicySet) -> Option<BTreeMap<String, Candidates>> {
    let entities: Entities = schema.action_entities().ok()?;
    let mut actions = BTreeMap::new();
    for uid in schema.actions() {
        let applies = |group: &EntityUid| group == uid || entities.is_ancestor_of(group, uid);
        let mut policies = PolicySet::new();
        let (mut all_read, mut of_groups) = (Reads::default(), BTreeMap::<String, Reads>::new());
        for policy in all.policies() {
            let fits = match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(action) => action == *uid,
                ActionConstraint::In(groups) => groups.iter().any(applies),
            };
            if !fits {
                continue;
            }
            policies.add(policy.clone()).ok()?;
            let attributes = reads(policy);
            let estimates = attributes.contains("estimated_rows") || attributes.contains("estimated_cost");
            let (time, instant) = (attributes.contains("time"), attributes.contains(INSTANT));
            let read = Reads { time, instant, estimates };
            let read_by = match policy.principal_constraint() {
                PrincipalConstraint::In(group) if group.type_name().to_string() == "Group" => {
                    of_groups.entry(AsRef::<str>::as_ref(group.id()).to_owned()).or_default()
                }
                _ => &mut all_read,
            };
            *read_by = read_by.or(read);
        }
        let reads_of_groups = of_groups.into_iter().filter(|(_, reads)| *reads != Reads::default()).collect();
        let entity = entities.get(uid)?.clone();
        let name = AsRef::<str>::as_ref(uid.id()).to_owned();
        actions.insert(name, Candidates { uid: uid.clone(), entity, policies, reads: all_read, reads_of_groups });
    }
    Some(actions)
}
