//! How many rows a query, or an item of FROM, has at most.

use super::{MOST_VALUES, Reckoning, Source, flatten};
use crate::sql::walk::{call::constant, names, nodes::any_node, scope::Item, scope::Rows};
use pg_query::{Node, NodeEnum, protobuf};

/// Aggregates, of which a query without GROUP BY makes one row.
const AGGREGATES: [&str; 10] =
    ["count", "max", "min", "sum", "avg", "array_agg", "string_agg", "bool_and", "bool_or", "any_value"];

/// Functions that make a row of each element of a json that they are given.
const OF_JSON: [&str; 8] = [
    "json_array_elements",
    "jsonb_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements_text",
    "json_to_recordset",
    "jsonb_to_recordset",
    "json_populate_recordset",
    "jsonb_populate_recordset",
];

/// A number of rows by estimate, as a count.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's cast saturates")]
pub(super) fn few(rows: f64) -> u64 {
    rows.ceil() as u64
}

impl<'a> Reckoning<'_, 'a> {
    /// Reckons with the CTEs of a WITH clause.
    pub(super) fn within<T>(
        &mut self,
        clause: Option<&protobuf::WithClause>,
        depth: usize,
        reckon: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let before = self.ctes.len();
        let below = depth.checked_sub(1)?;
        for node in clause.iter().flat_map(|clause| &clause.ctes) {
            let Some(NodeEnum::CommonTableExpr(cte)) = &node.node else { return None };
            let recursive = clause.is_some_and(|clause| clause.recursive);
            let query = cte.ctequery.as_deref().filter(|_| !recursive);
            let most = query.and_then(|query| self.rows_of(query, below));
            self.ctes.push((cte.ctename.clone(), most));
        }
        let result = reckon(self);
        self.ctes.truncate(before);
        result
    }

    /// The rows of a query at most.
    pub(super) fn rows_of(&mut self, query: &Node, depth: usize) -> Option<u64> {
        if !self.step(0) {
            return None;
        }
        let below = depth.checked_sub(1)?;
        match query.node.as_ref()? {
            NodeEnum::SelectStmt(select) => self.rows_of_select(select, below),
            // the rows of RETURNING
            NodeEnum::UpdateStmt(update) => {
                let reach = self.update(update, below)?;
                (update.from_clause.is_empty() && reach.is_bounded(MOST_VALUES)).then(|| reach.total())
            }
            NodeEnum::DeleteStmt(delete) => {
                let reach = self.delete(delete, below)?;
                (delete.using_clause.is_empty() && reach.is_bounded(MOST_VALUES)).then(|| reach.total())
            }
            NodeEnum::InsertStmt(insert) if insert.with_clause.is_none() => {
                insert.select_stmt.as_deref().map_or(Some(1), |query| self.rows_of(query, below))
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            any_node!() => None,
        }
    }

    fn rows_of_select(&mut self, select: &protobuf::SelectStmt, depth: usize) -> Option<u64> {
        use protobuf::SetOperation;
        let limit = limit(select);
        let rows = self.within(select.with_clause.as_ref(), depth, |all| {
            let below = depth.checked_sub(1)?;
            let side = |all: &mut Self, side: &Option<Box<protobuf::SelectStmt>>| {
                all.step(0).then_some(())?;
                all.rows_of_select(side.as_deref()?, below)
            };
            match select.op() {
                SetOperation::SetopUnion => Some(side(all, &select.larg)?.saturating_add(side(all, &select.rarg)?)),
                SetOperation::SetopIntersect | SetOperation::SetopExcept => side(all, &select.larg),
                SetOperation::SetopNone | SetOperation::Undefined if !select.values_lists.is_empty() => {
                    Some(select.values_lists.len() as u64)
                }
                SetOperation::SetopNone | SetOperation::Undefined => all.rows_of_plain(select, depth),
            }
        });
        rows.into_iter().chain(limit).min()
    }

    fn rows_of_plain(&mut self, select: &protobuf::SelectStmt, depth: usize) -> Option<u64> {
        let sets = select.group_clause.iter().any(|group| matches!(group.node, Some(NodeEnum::GroupingSet(_))));
        if sets || !select.target_list.iter().all(|target| self.is_single(target)) {
            return None;
        }
        if select.group_clause.is_empty() && select.target_list.iter().any(is_aggregated) {
            return Some(1);
        }
        let (mut sources, mut conditions) = (Vec::new(), Vec::new());
        for node in &select.from_clause {
            if !self.add(node, true, &mut sources, &mut conditions, depth) {
                return None;
            }
        }
        flatten(select.where_clause.as_deref(), &mut conditions);
        if sources.is_empty() {
            return Some(1);
        }
        self.solve(&mut sources, &conditions, depth);
        sources.iter().try_fold(1u64, |rows, source| Some(rows.saturating_mul(source.most?.max(1))))
    }

    /// Adds an item of FROM, and what its joins demand (`inner`: of the rows that come out). False if a join of it adds rows
    /// of its own.
    pub(super) fn add<'n>(
        &mut self,
        node: &'n Node,
        inner: bool,
        sources: &mut Vec<Source<'a>>,
        conditions: &mut Vec<&'n Node>,
        depth: usize,
    ) -> bool {
        let unknown = |alias: Option<&protobuf::Alias>| Item::rows("", Rows::unknown()).aliased(alias);
        let Some(below) = depth.checked_sub(1) else { return false };
        let source = match &node.node {
            Some(NodeEnum::RangeVar(name)) => self.table(name),
            Some(NodeEnum::RangeSubselect(part)) => {
                let query = part.subquery.as_deref().filter(|query| !part.lateral || self.is_closed(query));
                let most = query.and_then(|query| self.rows_of(query, below));
                Source::of(unknown(part.alias.as_ref()), most)
            }
            Some(NodeEnum::RangeFunction(part)) => {
                Source::of(unknown(part.alias.as_ref()), self.rows_of_function(part, below))
            }
            Some(NodeEnum::JoinExpr(join)) => {
                let kind = join.jointype();
                let (left, right) = match kind {
                    protobuf::JoinType::JoinInner => (inner, inner),
                    protobuf::JoinType::JoinLeft => (inner, false),
                    protobuf::JoinType::JoinRight => (false, inner),
                    // FULL; the others only the planner makes
                    protobuf::JoinType::JoinFull
                    | protobuf::JoinType::JoinSemi
                    | protobuf::JoinType::JoinAnti
                    | protobuf::JoinType::JoinRightAnti
                    | protobuf::JoinType::JoinRightSemi
                    | protobuf::JoinType::JoinUniqueOuter
                    | protobuf::JoinType::JoinUniqueInner
                    | protobuf::JoinType::Undefined => (false, false),
                };
                let mut simple = kind != protobuf::JoinType::JoinFull && join.alias.is_none();
                for (side, inner) in [(join.larg.as_deref(), left), (join.rarg.as_deref(), right)] {
                    simple &= side.is_some_and(|side| self.add(side, inner, sources, conditions, below));
                }
                if inner && kind == protobuf::JoinType::JoinInner {
                    flatten(join.quals.as_deref(), conditions);
                }
                return simple;
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => Source::of(unknown(None), None),
        };
        sources.push(source);
        true
    }

    fn table(&self, name: &protobuf::RangeVar) -> Source<'a> {
        if name.schemaname.is_empty() {
            let own = self.ctes.iter().rev().find(|(cte, _)| *cte == name.relname).map(|(_, most)| *most);
            let around = || {
                let at = self.walker.ctes.iter().rposition(|(cte, _)| *cte == name.relname)?;
                Some(self.walker.few.get(at).copied().flatten())
            };
            if let Some(most) = own.or_else(around) {
                let item = Item::rows(&name.relname, Rows::unknown()).aliased(name.alias.as_ref());
                return Source::of(item, most);
            }
        }
        Source::of(self.relation(name), None)
    }

    fn rows_of_function(&mut self, part: &protobuf::RangeFunction, depth: usize) -> Option<u64> {
        let [one] = part.functions.as_slice() else { return None };
        let Some(NodeEnum::List(list)) = &one.node else { return None };
        let Some(NodeEnum::FuncCall(call)) = &list.items.first()?.node else { return None };
        match names::split(&call.funcname).1 {
            "unnest" => {
                let counts: Option<Vec<u64>> = call.args.iter().map(|array| self.elements_of(array, depth)).collect();
                counts?.into_iter().max()
            }
            "string_to_table" | "regexp_split_to_table" => self.parts_of(&call.args),
            name if OF_JSON.contains(&name) => self.elements_of(call.args.last()?, depth),
            _ => None, // no node: a name
        }
    }

    /// An expression of an answer that gives one value for a row. A short list: what is not on it may give many.
    fn is_single(&self, node: &Node) -> bool {
        if !self.step(0) {
            return false;
        }
        let all = |nodes: &[Node]| nodes.iter().all(|node| self.is_single(node));
        let maybe = |node: &Option<Box<Node>>| node.as_deref().is_none_or(|node| self.is_single(node));
        match &node.node {
            Some(
                NodeEnum::ColumnRef(_)
                | NodeEnum::AConst(_)
                | NodeEnum::ParamRef(_)
                | NodeEnum::SqlvalueFunction(_)
                | NodeEnum::SubLink(_)
                | NodeEnum::SetToDefault(_),
            ) => true,
            Some(NodeEnum::ResTarget(target)) => maybe(&target.val),
            Some(NodeEnum::TypeCast(cast)) => maybe(&cast.arg),
            Some(NodeEnum::AExpr(expression)) => maybe(&expression.lexpr) && maybe(&expression.rexpr),
            Some(NodeEnum::BoolExpr(expression)) => all(&expression.args),
            Some(NodeEnum::NullTest(test)) => maybe(&test.arg),
            Some(NodeEnum::CoalesceExpr(choice)) => all(&choice.args),
            Some(NodeEnum::MinMaxExpr(choice)) => all(&choice.args),
            Some(NodeEnum::RowExpr(row)) => all(&row.args),
            Some(NodeEnum::AArrayExpr(array)) => all(&array.elements),
            Some(NodeEnum::List(list)) => all(&list.items),
            Some(NodeEnum::FuncCall(call)) => {
                let name = names::split(&call.funcname).1;
                let known = self.walker.catalog.functions.get(name);
                let single = known.map_or(AGGREGATES.contains(&name), |found| !found.iter().any(|one| one.returns_set));
                single && all(&call.args)
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => false,
        }
    }
}

/// The constant of a LIMIT.
fn limit(select: &protobuf::SelectStmt) -> Option<u64> {
    let counted = select.limit_option() == protobuf::LimitOption::Count;
    let count = select.limit_count.as_deref().filter(|_| counted)?;
    constant(count)?.parse().ok()
}

/// An aggregate stands in an answer, so that all of it is one row.
fn is_aggregated(node: &Node) -> bool {
    let maybe = |node: &Option<Box<Node>>| node.as_deref().is_some_and(is_aggregated);
    match &node.node {
        Some(NodeEnum::ResTarget(target)) => maybe(&target.val),
        Some(NodeEnum::TypeCast(cast)) => maybe(&cast.arg),
        Some(NodeEnum::CoalesceExpr(choice)) => choice.args.iter().any(is_aggregated),
        Some(NodeEnum::AExpr(expression)) => maybe(&expression.lexpr) || maybe(&expression.rexpr),
        Some(NodeEnum::FuncCall(call)) => call.over.is_none() && AGGREGATES.contains(&names::split(&call.funcname).1),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => false,
    }
}
