//! The rules over one catalog: names became column ids, and what shows or repeats a protected column is protected too.

use super::{
    Context, Denial,
    cedar::{Object, Set, Situation, Subject},
    rules::{Key, Rules, split},
};
use crate::{
    mask::{
        Method,
        detect::{self, Detector},
    },
    sql::{Catalog, ColumnId, Effect, Facts, RelationId},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What binding needs of a catalog.
pub trait Names {
    /// The column of that name.
    fn column(&self, schema: &str, table: &str, column: &str) -> Option<ColumnId>;
    /// Every column whose value can reach this one.
    fn origins(&self, column: ColumnId) -> BTreeSet<ColumnId>;
    /// The columns that hold the same values in ancestors and descendants.
    fn relatives(&self, column: ColumnId) -> BTreeSet<ColumnId>;
    /// Not all origins of this column are known.
    fn is_opaque(&self, column: ColumnId) -> bool;
    /// Every column that there is, with its name as `schema.table.column`.
    fn columns(&self) -> Vec<(ColumnId, String)>;
}

impl Names for Catalog {
    fn column(&self, schema: &str, table: &str, column: &str) -> Option<ColumnId> {
        Self::column(self, schema, table, column)
    }

    fn origins(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        Self::origins(self, column)
    }

    fn relatives(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        Self::relatives(self, column)
    }

    fn is_opaque(&self, column: ColumnId) -> bool {
        Self::is_opaque(self, column)
    }

    fn columns(&self) -> Vec<(ColumnId, String)> {
        let mut all = Vec::new();
        for relation in self.relations() {
            for column in &relation.columns {
                let id = ColumnId { relation: relation.id, attribute: column.attribute };
                all.push((id, format!("{}.{}", relation.qualified(), column.name)));
            }
        }
        all
    }
}

/// The first id of relations and types that do not belong to PostgreSQL itself.
const FIRST_OWN: RelationId = 16384;

/// A masking rule for one of its columns.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) method: Method,
    pub(crate) label: Option<String>,
    pub(super) column: String,
    /// It is for everybody, and nobody may name the column at all.
    pub(super) closed: bool,
}

/// Numbers every [`Bound`], so that what was remembered under one is not taken for another's.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A relation without classified columns.
static NO_LABELS: BTreeSet<String> = BTreeSet::new();

/// Which rules do not hold for an identity: bit by rule.
pub(crate) type Exempt = Arc<[bool]>;

/// The rules of a resource over one catalog.
#[derive(Debug)]
pub struct Bound {
    version: String,
    rules: Vec<Rule>,
    protected: HashMap<ColumnId, Vec<usize>>,
    relations: HashMap<RelationId, BTreeSet<usize>>,
    attributes: HashMap<RelationId, Vec<i16>>,
    names: HashMap<ColumnId, Box<str>>,
    opaque: HashSet<ColumnId>,
    unknown: Vec<String>,
    key: Option<Key>,
    closed: Vec<String>,
    functions: HashSet<String>,
    labels: HashMap<RelationId, BTreeSet<String>>,
    number: u64,
    /// None where they do not compile: nothing is allowed then.
    set: Option<Set>,
    detectors: detect::Settings,
    /// What is looked for where nobody is exempt from anything: the ordinary case.
    usual: detect::Set,
    skipped: HashSet<ColumnId>,
    asked: HashSet<ColumnId>,
}

impl Bound {
    pub(super) fn new(rules: &Rules, names: &impl Names) -> Self {
        let mut unknown = Vec::new();
        let mut named: HashMap<ColumnId, Vec<usize>> = HashMap::new();
        let mut each: Vec<Rule> = Vec::new();
        for rule in &rules.masking {
            for column in &rule.columns {
                let number = each.len();
                let (label, column) = (rule.label.clone(), column.clone());
                each.push(Rule { method: rule.method, label, closed: false, column: column.clone() });
                match split(&column).and_then(|(schema, table, name)| names.column(schema, table, name)) {
                    Some(id) => named.entry(id).or_default().push(number),
                    None => unknown.push(column),
                }
            }
        }
        // what nobody may name is hidden besides: from errors, and wherever else a column comes to light
        for column in &rules.closed {
            let Some((schema, table, name)) = split(column) else { continue };
            let number = each.len();
            each.push(Rule { method: Method::Redact, label: None, column: column.clone(), closed: true });
            match names.column(schema, table, name) {
                Some(id) => named.entry(id).or_default().push(number),
                None => unknown.push(column.clone()),
            }
        }
        let mut bound = Self {
            version: rules.version(),
            rules: each,
            protected: HashMap::new(),
            relations: HashMap::new(),
            attributes: HashMap::new(),
            names: HashMap::new(),
            opaque: HashSet::new(),
            unknown,
            key: rules.key().cloned(),
            closed: rules.closed.clone(),
            functions: rules.functions.iter().cloned().collect(),
            labels: HashMap::new(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            set: rules.compile().ok(),
            detectors: rules.detectors.clone(),
            usual: detect::Set::default(),
            skipped: HashSet::new(),
            asked: HashSet::new(),
        };
        for column in &rules.detectors.skip {
            match split(column).and_then(|(schema, table, name)| names.column(schema, table, name)) {
                Some(id) => {
                    bound.skipped.extend(names.relatives(id));
                    bound.skipped.insert(id);
                }
                None => bound.unknown.push(column.clone()),
            }
        }
        let mut asked = HashSet::new();
        for column in &rules.asked {
            match split(column).and_then(|(schema, table, name)| names.column(schema, table, name)) {
                Some(id) => drop(asked.insert(id)),
                None => bound.unknown.push(column.clone()),
            }
        }
        for (id, name) in names.columns() {
            bound.add(id, name, names, &named, &asked);
        }
        bound.usual = bound.search(&vec![false; bound.rules.len()]);
        bound
    }

    fn add(
        &mut self,
        id: ColumnId,
        name: String,
        names: &impl Names,
        named: &HashMap<ColumnId, Vec<usize>>,
        asked: &HashSet<ColumnId>,
    ) {
        self.names.insert(id, name.into_boxed_str());
        self.attributes.entry(id.relation).or_default().push(id.attribute);
        if named.is_empty() && asked.is_empty() {
            return;
        }
        // a view over a partition, a partition with a generated column: both ways, from each origin
        let mut same = names.origins(id);
        same.insert(id);
        for origin in same.clone() {
            for relative in names.relatives(origin) {
                same.extend(names.origins(relative));
                same.insert(relative);
            }
        }
        if same.iter().any(|c| asked.contains(c)) {
            self.asked.insert(id);
        }
        let rules: BTreeSet<usize> = same.iter().filter_map(|c| named.get(c)).flatten().copied().collect();
        if !rules.is_empty() {
            self.relations.entry(id.relation).or_default().extend(&rules);
            let labels = rules.iter().filter_map(|number| self.rules.get(*number)?.label.clone());
            self.labels.entry(id.relation).or_default().extend(labels);
            self.protected.insert(id, rules.into_iter().collect());
        }
        if names.is_opaque(id) {
            self.opaque.insert(id);
        }
    }

    /// The version of the rules: see [`Rules::version`].
    pub fn version(&self) -> &str {
        &self.version
    }

    /// There is something to protect, from somebody.
    pub fn protects(&self) -> bool {
        !self.protected.is_empty() || !self.closed.is_empty()
    }

    /// Whether a statement with these facts may name a value of a column that is protected from anybody: it touches a relation
    /// with one, or what it touches is not all known.
    pub fn concerns(&self, facts: &Facts) -> bool {
        let mut touched = facts.relations.iter().filter_map(|relation| relation.id);
        facts.reaches_unknown()
            || facts.missing.is_some()
            || touched.any(|id| self.relations.contains_key(&id))
            || facts.columns.iter().any(|used| self.relations.contains_key(&used.column.relation))
            || facts.relations.iter().any(|relation| self.is_closed(&relation.name))
            || facts.effects.iter().any(|effect| match effect {
                Effect::Prepare { inner, .. } | Effect::Declare { inner, .. } => self.concerns(inner),
                _ => false,
            })
    }

    /// The columns that rules name and the catalog does not have.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(String::as_str)
    }

    /// Every column that a rule hides, as `schema.table.column`; those of views among them.
    pub fn protected_names(&self) -> impl Iterator<Item = &str> {
        self.protected.keys().filter_map(|column| self.name(*column))
    }

    /// `schema.table.column`.
    pub(crate) fn name(&self, column: ColumnId) -> Option<&str> {
        self.names.get(&column).map(AsRef::as_ref)
    }

    pub(crate) fn is_opaque(&self, column: ColumnId) -> bool {
        self.opaque.contains(&column)
    }

    pub(crate) fn key(&self) -> Option<&[u8; 32]> {
        self.key.as_ref().map(|key| &key.0)
    }

    pub(crate) fn knows(&self, relation: RelationId) -> bool {
        self.attributes.contains_key(&relation)
    }

    /// A relation that nobody may touch here, by its name or its schema's.
    pub(super) fn is_closed(&self, relation: &str) -> bool {
        let schema = relation.split_once('.').map(|(schema, _)| schema);
        self.closed
            .iter()
            .any(|closed| closed == relation || schema.is_some_and(|s| closed.strip_suffix(".*") == Some(s)))
    }

    /// A column that nobody may name here; never a whole row.
    pub(super) fn closes(&self, column: ColumnId) -> bool {
        self.protected.get(&column).is_some_and(|numbers| numbers.iter().any(|n| self.is_firm(*n, &[])))
    }

    /// A column that a rule hides which holds whatever the policies answer: `firm` says so by rule, and of a closed column
    /// each does.
    pub(super) fn hides_firmly(&self, column: ColumnId, firm: &[bool]) -> bool {
        self.protected.get(&column).is_some_and(|numbers| numbers.iter().any(|n| self.is_firm(*n, firm)))
    }

    fn is_firm(&self, rule: usize, firm: &[bool]) -> bool {
        firm.get(rule) == Some(&true) || self.rules.get(rule).is_some_and(|rule| rule.closed)
    }

    /// A function that is known to read nothing that is protected.
    pub(super) fn may_call(&self, function: &str) -> bool {
        self.functions.contains(function)
    }

    /// A whole row becomes its columns.
    pub(super) fn expand(&self, column: ColumnId) -> Vec<ColumnId> {
        match self.attributes.get(&column.relation) {
            Some(attributes) if column.attribute == 0 => {
                attributes.iter().map(|a| ColumnId { relation: column.relation, attribute: *a }).collect()
            }
            _ => vec![column],
        }
    }

    /// The policies; none where they do not compile.
    pub(super) fn set(&self) -> Option<&Set> {
        self.set.as_ref()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn all_rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the columns of a relation hold.
    pub(super) fn labels(&self, relation: Option<RelationId>) -> &BTreeSet<String> {
        relation.and_then(|id| self.labels.get(&id)).unwrap_or(&NO_LABELS)
    }

    /// Whether somebody may open a session at all.
    ///
    /// # Errors
    /// [`Denial`] if no policy permits it, or one forbids it.
    pub fn may_connect(&self, subject: &Subject, context: &Context) -> Result<(), Denial> {
        let denial = |reason: String, policy: &str| Denial {
            reason,
            hint: "ask the owner of the resource to let one of your groups connect".to_owned(),
            policy: policy.to_owned(),
        };
        let Some(set) = &self.set else {
            return Err(denial("the policies of this resource do not compile".to_owned(), "builtin:policy"));
        };
        let situation = Situation {
            kind: "CONNECT".to_owned(),
            now: context.now,
            approved: context.approved,
            ..Situation::default()
        };
        let answer = set.ask(subject, "connect", Object::Resource, &situation);
        if answer.allowed {
            return Ok(());
        }
        if let Some(failed) = answer.failed {
            return Err(denial(format!("the policies cannot be evaluated: {failed}"), "builtin:policy"));
        }
        match answer.policies.first().and_then(|rank| set.policy(*rank)) {
            Some(policy) => {
                let reason = policy.reason.clone().unwrap_or_else(|| "a policy forbids to connect now".to_owned());
                Err(denial(reason, &policy.id))
            }
            None => Err(denial("none of your groups may connect to this resource".to_owned(), "builtin:connect")),
        }
    }

    fn active<'a>(
        &'a self,
        numbers: impl Iterator<Item = &'a usize>,
        exempt: &[bool],
    ) -> impl Iterator<Item = &'a Rule> {
        numbers.filter(|n| exempt.get(**n) == Some(&false)).filter_map(|n| self.rules.get(*n))
    }

    /// The rules that hide a column; for attribute 0, any column of the relation.
    pub(crate) fn rules<'a>(&'a self, column: ColumnId, exempt: &[bool]) -> Vec<&'a Rule> {
        if column.attribute == 0 {
            return self.relation_rules(column.relation, exempt);
        }
        self.protected.get(&column).map(|numbers| self.active(numbers.iter(), exempt).collect()).unwrap_or_default()
    }

    pub(crate) fn relation_rules<'a>(&'a self, relation: RelationId, exempt: &[bool]) -> Vec<&'a Rule> {
        self.relations.get(&relation).map(|numbers| self.active(numbers.iter(), exempt).collect()).unwrap_or_default()
    }

    /// How a column is hidden, by the strictest rule.
    pub(crate) fn method(&self, column: ColumnId, exempt: &[bool]) -> Option<Method> {
        let strictest = self.rules(column, exempt).iter().map(|rule| rule.method).max()?;
        // a row as one value can only be hidden whole
        Some(if column.attribute == 0 { strictest.max(Method::Redact) } else { strictest })
    }

    /// The labels of the rules of a column that do not hold for the identity.
    pub(super) fn cleared<'a>(&'a self, column: ColumnId, exempt: &'a [bool]) -> impl Iterator<Item = &'a str> {
        let numbers = self.protected.get(&column).map(Vec::as_slice).unwrap_or_default();
        let clear = numbers.iter().filter(|number| exempt.get(**number) == Some(&true));
        clear.filter_map(|number| self.rules.get(*number)?.label.as_deref())
    }

    /// What is looked for in the values that an identity sees of columns without a rule.
    pub(crate) fn detectors(&self, exempt: &[bool]) -> detect::Set {
        if exempt.contains(&true) || exempt.len() != self.rules.len() { self.search(exempt) } else { self.usual }
    }

    fn search(&self, exempt: &[bool]) -> detect::Set {
        let holds = |n: &usize| exempt.get(*n) == Some(&false);
        let labelled = |detector: &Detector| {
            let rules = self.rules.iter().enumerate();
            rules.filter(|(_, rule)| rule.label.as_deref() == Some(detector.word())).map(|(n, _)| n).collect::<Vec<_>>()
        };
        let wanted: Vec<Detector> = match &self.detectors.on {
            Some(on) => on.clone(),
            None if !self.relations.values().flatten().any(holds) => Vec::new(),
            None => {
                let all = Detector::ALL.into_iter();
                all.filter(|d| detect::USUAL.contains(d) || labelled(d).iter().any(holds)).collect()
            }
        };
        // who may see every column of such values may see them in free text
        let exempted = |detector: &Detector| {
            let rules = labelled(detector);
            !rules.is_empty() && !rules.iter().any(holds)
        };
        wanted.into_iter().filter(|detector| !exempted(detector)).collect()
    }

    /// Whether a provider is asked about values of a column; for attribute 0, of any column of the relation.
    pub(crate) fn asks(&self, column: ColumnId) -> bool {
        !self.asked.is_empty() && self.expand(column).iter().any(|c| self.asked.contains(c))
    }

    /// Whether a provider is asked at all.
    pub(crate) fn asks_any(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether values of a column, as it stands, are searched.
    pub(crate) fn searches(&self, column: ColumnId, family: detect::Family) -> bool {
        let system = (1..FIRST_OWN).contains(&column.relation);
        // a column with a rule is hidden, or shown in clear by an exemption
        !system
            && self.detectors.searches(family)
            && !self.skipped.contains(&column)
            && !self.protected.contains_key(&column)
    }

    /// What a column holds, for whoever reads the record; also where the identity may see it.
    pub(super) fn label(&self, column: ColumnId) -> Option<String> {
        self.protected.get(&column)?.iter().find_map(|n| self.rules.get(*n)?.label.clone())
    }

    pub(super) fn protects_from(&self, exempt: &[bool]) -> bool {
        !self.closed.is_empty() || self.relations.values().flatten().any(|n| exempt.get(*n) == Some(&false))
    }
}
