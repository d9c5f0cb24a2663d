//! Whether a write names the rows that it changes: by the values of a key, or of a column whose values are rare.
//!
//! A condition's equalities with what is given (constants, parameters, queries of few rows) say which columns have how many
//! values at most; indexes and statistics of the catalog say how many rows that picks. Equality carries over from table to
//! table, so that `o.customer_id = c.id AND c.id = 1` bounds both. What is not understood bounds nothing.

mod few;
mod given;
mod reach;

use super::{Walker, nodes::any_node, scope::Item};
use pg_query::{Node, NodeEnum, protobuf};
use reach::Reach;
use std::cell::Cell;

/// Values of a key that a write may name: one row each.
const MOST_VALUES: u64 = 100;

/// Rows that an upsert may be fed with: they stand in its text, or come from few rows elsewhere.
const MOST_UPSERTED: u64 = 1_000;

/// Steps of one statement's reckoning; beyond, nothing is bounded.
const MOST_STEPS: usize = 200_000;

/// How deep alternatives (OR), joins and queries within each other are followed.
const DEEPEST: usize = 16;

/// An item of FROM, or the target.
struct Source<'a> {
    item: Item<'a>,
    /// Its rows at most, where that is known.
    most: Option<u64>,
    /// What the statement writes.
    is_target: bool,
}

impl<'a> Source<'a> {
    fn of(item: Item<'a>, most: Option<u64>) -> Self {
        Self { item, most, is_target: false }
    }
}

/// What is reckoned for one statement.
struct Reckoning<'w, 'a> {
    walker: &'w Walker<'a>,
    /// CTEs of the queries within it, with their rows at most.
    ctes: Vec<(String, Option<u64>)>,
    steps: Cell<usize>,
}

impl<'a> Walker<'a> {
    /// Remembers whether a query refers to nothing around it.
    pub(super) fn note_closed(&mut self, query: &Node, closed: bool) {
        let address = std::ptr::from_ref(query).addr();
        if closed {
            self.closed.insert(address);
        } else {
            self.closed.remove(&address);
        }
    }

    /// Remembers how many rows the CTE has that is about to be added.
    pub(super) fn note_few(&mut self, most: Option<u64>) {
        self.few.truncate(self.ctes.len());
        self.few.push(most);
    }

    /// The rows of a query at most, if they are few.
    pub(super) fn few_rows(&mut self, query: &Node) -> Option<u64> {
        self.reckon(|all| all.rows_of(query, DEEPEST))
    }

    /// Reckons, and pays for it.
    fn reckon<T>(&mut self, reckon: impl FnOnce(&mut Reckoning<'_, 'a>) -> T) -> T {
        let mut all = Reckoning { walker: self, ctes: Vec::new(), steps: Cell::new(MOST_STEPS) };
        let result = reckon(&mut all);
        let steps = MOST_STEPS - all.steps.get();
        self.spend(steps);
        result
    }

    /// Whether the condition of an UPDATE picks few rows.
    pub(super) fn bounds_update(&mut self, update: &protobuf::UpdateStmt) -> bool {
        self.reckon(|all| all.update(update, DEEPEST)).is_some_and(|reach| reach.is_bounded(MOST_VALUES))
    }

    /// Whether the condition of a DELETE picks few rows.
    pub(super) fn bounds_delete(&mut self, delete: &protobuf::DeleteStmt) -> bool {
        self.reckon(|all| all.delete(delete, DEEPEST)).is_some_and(|reach| reach.is_bounded(MOST_VALUES))
    }

    /// Whether an upsert changes few rows: it is fed with few, or its own condition picks few.
    pub(super) fn bounds_upsert(
        &mut self,
        insert: &protobuf::InsertStmt,
        conflict: &protobuf::OnConflictClause,
    ) -> bool {
        self.reckon(|all| {
            let query = insert.select_stmt.as_deref();
            let fed = query.map_or(Some(1), |query| all.rows_of(query, DEEPEST));
            fed.is_some_and(|rows| rows <= MOST_UPSERTED)
                || all.conflict(insert, conflict).is_some_and(|reach| reach.is_bounded(MOST_VALUES))
        })
    }

    /// Whether one clause of a MERGE changes few rows.
    pub(super) fn bounds_merge(&mut self, merge: &protobuf::MergeStmt, when: &protobuf::MergeWhenClause) -> bool {
        let updates = when.command_type() == protobuf::CmdType::CmdUpdate;
        let most = if updates { MOST_UPSERTED } else { MOST_VALUES };
        self.reckon(|all| all.merge(merge, when)).is_some_and(|reach| reach.is_bounded(most))
    }
}

impl<'a> Reckoning<'_, 'a> {
    /// Pays for work; false when nothing is left.
    fn step(&self, cost: usize) -> bool {
        let left = self.steps.get().saturating_sub(cost + 1);
        self.steps.set(left);
        left > 0
    }

    fn update(&mut self, update: &protobuf::UpdateStmt, depth: usize) -> Option<Reach> {
        self.within(update.with_clause.as_ref(), depth, |all| {
            let (mut sources, mut conditions) = (vec![all.target(update.relation.as_ref())?], Vec::new());
            for node in &update.from_clause {
                all.add(node, true, &mut sources, &mut conditions, depth);
            }
            flatten(update.where_clause.as_deref(), &mut conditions);
            all.reach(&mut sources, &conditions, depth)
        })
    }

    fn delete(&mut self, delete: &protobuf::DeleteStmt, depth: usize) -> Option<Reach> {
        self.within(delete.with_clause.as_ref(), depth, |all| {
            let (mut sources, mut conditions) = (vec![all.target(delete.relation.as_ref())?], Vec::new());
            for node in &delete.using_clause {
                all.add(node, true, &mut sources, &mut conditions, depth);
            }
            flatten(delete.where_clause.as_deref(), &mut conditions);
            all.reach(&mut sources, &conditions, depth)
        })
    }

    /// The rows that DO UPDATE's own condition leaves.
    fn conflict(&mut self, insert: &protobuf::InsertStmt, conflict: &protobuf::OnConflictClause) -> Option<Reach> {
        let excluded = Source::of(Item::rows("excluded", super::scope::Rows::unknown()), None);
        let mut conditions = Vec::new();
        flatten(conflict.where_clause.as_deref(), &mut conditions);
        let mut sources = vec![self.target(insert.relation.as_ref())?, excluded];
        self.reach(&mut sources, &conditions, DEEPEST)
    }

    fn merge(&mut self, merge: &protobuf::MergeStmt, when: &protobuf::MergeWhenClause) -> Option<Reach> {
        let (mut sources, mut conditions) = (vec![self.target(merge.relation.as_ref())?], Vec::new());
        if let Some(source) = merge.source_relation.as_deref() {
            self.add(source, true, &mut sources, &mut conditions, DEEPEST);
        }
        // the joining condition says nothing of the rows that have no match
        if when.match_kind() == protobuf::MergeMatchKind::MergeWhenNotMatchedBySource {
            sources.truncate(1);
            conditions.clear();
        } else {
            flatten(merge.join_condition.as_deref(), &mut conditions);
        }
        flatten(when.condition.as_deref(), &mut conditions);
        self.reach(&mut sources, &conditions, DEEPEST)
    }

    /// The relation that is written: never a CTE.
    fn target(&self, name: Option<&protobuf::RangeVar>) -> Option<Source<'a>> {
        Some(Source { is_target: true, ..Source::of(self.relation(name?), None) })
    }

    fn relation(&self, name: &protobuf::RangeVar) -> Item<'a> {
        let (catalog, path) = (self.walker.catalog, self.walker.search_path);
        let known =
            if name.schemaname == "pg_temp" { None } else { catalog.resolve(&name.schemaname, &name.relname, path) };
        let item = match known {
            Some(relation) => Item::relation(relation),
            None => Item::rows(&name.relname, super::scope::Rows::unknown()),
        };
        item.aliased(name.alias.as_ref())
    }

    /// The rows of the first source that the conditions, all of which hold, leave.
    fn reach(&mut self, sources: &mut [Source<'a>], conditions: &[&Node], depth: usize) -> Option<Reach> {
        let known: Vec<Option<u64>> = sources.iter().map(|source| source.most).collect();
        let found = self.solve(sources, conditions, depth);
        if let Some(reach) = found
            && reach.is_bounded(MOST_VALUES)
        {
            return found;
        }
        if depth == 0 {
            return found;
        }
        for (position, condition) in conditions.iter().enumerate() {
            let Some(arms) = alternatives(condition) else { continue };
            let mut sum = Some(Reach::default());
            for arm in arms {
                let mut narrower: Vec<&Node> = conditions.to_vec();
                narrower.remove(position);
                flatten(Some(arm), &mut narrower);
                for (source, most) in sources.iter_mut().zip(&known) {
                    source.most = *most;
                }
                let one = if self.step(narrower.len()) { self.reach(sources, &narrower, depth - 1) } else { None };
                sum = sum.zip(one).map(|(sum, one)| sum.plus(one));
                if sum.is_none() {
                    break;
                }
            }
            if sum.is_some() {
                return sum;
            }
        }
        found
    }
}

/// The conditions that must all hold.
fn flatten<'n>(condition: Option<&'n Node>, into: &mut Vec<&'n Node>) {
    let Some(condition) = condition else { return };
    match &condition.node {
        Some(NodeEnum::BoolExpr(expression)) if expression.boolop() == protobuf::BoolExprType::AndExpr => {
            expression.args.iter().for_each(|argument| flatten(Some(argument), into));
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => into.push(condition),
    }
}

/// The conditions one of which must hold.
fn alternatives(condition: &Node) -> Option<&[Node]> {
    match &condition.node {
        Some(NodeEnum::BoolExpr(expression)) if expression.boolop() == protobuf::BoolExprType::OrExpr => {
            Some(&expression.args)
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => None,
    }
}
