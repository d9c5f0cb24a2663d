//! Queries: WITH, SELECT, VALUES, set operations, and what their clauses decide.

use super::{
    MOST_COLUMNS, Walker, names,
    nodes::{analyzed, any_node, expressions, parts, statements},
    scope::{Field, Found, Rows, Value},
};
use crate::sql::{
    catalog::{Kind, Sources},
    facts::Action,
};
use pg_query::{Node, NodeEnum, protobuf, protobuf::a_const::Val};
use schemas::event::Usage;
use std::rc::Rc;

/// Rounds after which a recursive query's columns are taken to be made of all of it.
const MOST_ROUNDS: usize = 32;

impl<'a> Walker<'a> {
    /// A query: its columns.
    pub(super) fn query(&mut self, kind: &NodeEnum) -> Rows {
        let ctes = self.ctes.len();
        let rows = match kind {
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => self.insert(insert),
            NodeEnum::UpdateStmt(update) => self.update(update),
            NodeEnum::DeleteStmt(delete) => self.delete(delete),
            NodeEnum::MergeStmt(merge) => self.merge(merge),
            analyzed!() | parts!() | expressions!() | statements!() => {
                self.unexpected(kind, "the place of a query");
                Rows::unknown()
            }
        };
        self.ctes.truncate(ctes);
        rows
    }

    /// A query within another: what it computes is used only as far as it is taken up.
    pub(super) fn subquery(&mut self, node: &Node) -> Rows {
        let Some(kind) = &node.node else { return Rows::default() };
        let around = self.outermost.replace(usize::MAX);
        let rows = self.query(kind);
        let outermost = self.outermost.get();
        self.note_closed(node, outermost >= self.scopes.len());
        self.outermost.set(around.min(outermost));
        for field in rows.fields.iter().filter(|field| !field.value.direct && !field.value.sources.is_empty()) {
            self.spend(field.value.sources.len());
            self.computed.push(field.value.sources.clone());
        }
        let mut rows = rows;
        for field in &mut rows.fields {
            field.value.shaped |= field.value.joined;
        }
        rows
    }

    pub(super) fn with(&mut self, clause: Option<&protobuf::WithClause>) {
        let Some(clause) = clause else { return };
        let ctes = clause.ctes.iter().filter_map(|node| match &node.node {
            Some(NodeEnum::CommonTableExpr(cte)) => Some(cte.as_ref()),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => None,
        });
        let ctes: Vec<_> = ctes.collect();
        if ctes.len() != clause.ctes.len() {
            self.give_up("a WITH clause is not understood");
        }
        if clause.recursive {
            self.with_recursive(&ctes);
        } else {
            for cte in ctes {
                let rows = self.cte(cte);
                let few = cte.ctequery.as_deref().and_then(|query| self.few_rows(query));
                self.note_few(few);
                self.ctes.push((cte.ctename.clone(), Rc::new(rows)));
            }
        }
    }

    /// Names may refer to themselves and to later ones: begin with nothing, and go round until no column gains a source.
    fn with_recursive(&mut self, ctes: &[&protobuf::CommonTableExpr]) {
        let first = self.ctes.len();
        for cte in ctes {
            self.note_few(None);
            self.ctes.push((cte.ctename.clone(), Rc::new(Rows::unknown())));
        }
        let mut before: Vec<Rows> = Vec::new();
        for round in 0..=MOST_ROUNDS {
            let noted = (self.out.clone(), self.computed.len(), self.deciding.clone());
            let mut now = Vec::with_capacity(ctes.len());
            for (position, cte) in ctes.iter().enumerate() {
                let rows = self.cte(cte);
                let seen = if round == 0 { known(&rows) } else { rows.clone() };
                if let Some(slot) = self.ctes.get_mut(first + position) {
                    slot.1 = Rc::new(seen);
                }
                now.push(rows);
            }
            if self.budget == 0 || (round > 0 && same(&before, &now)) {
                return;
            }
            if round == MOST_ROUNDS {
                break;
            }
            before = if round == 0 { now.iter().map(known).collect() } else { now };
            (self.out, self.deciding) = (noted.0, noted.2);
            self.computed.truncate(noted.1);
        }
        for slot in self.ctes.iter_mut().skip(first) {
            let whole = slot.1.whole();
            let fields = slot.1.fields.iter().map(|field| Field { name: field.name.clone(), value: whole.clone() });
            slot.1 = Rc::new(Rows { fields: fields.collect(), unknown: slot.1.unknown });
        }
    }

    fn cte(&mut self, cte: &protobuf::CommonTableExpr) -> Rows {
        let Some(query) = cte.ctequery.as_deref() else { return Rows::unknown() };
        let mut rows = self.subquery(query);
        for (field, name) in rows.fields.iter_mut().zip(super::strings(&cte.aliascolnames)) {
            field.name = name;
        }
        let marks = cte.cycle_clause.as_deref().map(|cycle| [&cycle.cycle_mark_value, &cycle.cycle_mark_default]);
        for mark in marks.into_iter().flatten() {
            self.maybe(mark.as_deref());
        }
        let whole = rows.whole();
        let mut add = |name: &str, value: Value| rows.fields.push(Field { name: name.to_owned(), value });
        if let Some(search) = &cte.search_clause {
            add(&search.search_seq_column, whole.clone());
        }
        if let Some(cycle) = cte.cycle_clause.as_deref() {
            add(&cycle.cycle_mark_column, whole.clone());
            add(&cycle.cycle_path_column, whole.clone());
        }
        if cte.search_clause.is_some() || cte.cycle_clause.is_some() {
            self.decide(&whole, Usage::Filtered);
        }
        rows
    }

    fn select(&mut self, select: &protobuf::SelectStmt) -> Rows {
        self.spend(0);
        self.with(select.with_clause.as_ref());
        let rows =
            match select.op() {
                protobuf::SetOperation::SetopUnion
                | protobuf::SetOperation::SetopIntersect
                | protobuf::SetOperation::SetopExcept => self.set_operation(select),
                protobuf::SetOperation::Undefined | protobuf::SetOperation::SetopNone => {
                    if select.values_lists.is_empty() { self.plain_select(select) } else { self.values(select) }
                }
            };
        if let Some(into) = select.into_clause.as_deref() {
            self.created(into.rel.as_ref());
            self.store(&rows.whole());
        }
        rows
    }

    fn set_operation(&mut self, select: &protobuf::SelectStmt) -> Rows {
        // a chain of UNIONs leans to the left: go down it without recursion
        let (mut chain, mut node) = (vec![select], select);
        while let Some(left) = node.larg.as_deref().filter(|left| is_bare_operation(left)) {
            chain.push(left);
            node = left;
        }
        let mut rows = node.larg.as_deref().map(|left| self.side(left)).unwrap_or_default();
        for operation in chain.into_iter().rev() {
            let right = operation.rarg.as_deref().map(|right| self.side(right)).unwrap_or_default();
            rows = combine(rows, &right);
            let keeps_all = operation.op() == protobuf::SetOperation::SetopUnion && operation.all;
            if !keeps_all {
                self.decide(&rows.whole(), Usage::Filtered);
            }
        }
        self.order_and_limit(select, &rows);
        rows
    }

    fn side(&mut self, select: &protobuf::SelectStmt) -> Rows {
        let ctes = self.ctes.len();
        let rows = self.select(select);
        self.ctes.truncate(ctes);
        rows
    }

    fn values(&mut self, select: &protobuf::SelectStmt) -> Rows {
        let mut rows: Option<Rows> = None;
        for list in &select.values_lists {
            let Some(NodeEnum::List(list)) = &list.node else { continue };
            let next = self.targets(&list.items);
            rows = Some(match rows {
                None => next,
                Some(before) => combine(before, &next),
            });
        }
        let mut rows = rows.unwrap_or_default();
        for (position, field) in rows.fields.iter_mut().enumerate() {
            field.name = format!("column{}", position + 1);
        }
        self.order_and_limit(select, &rows);
        rows
    }

    fn plain_select(&mut self, select: &protobuf::SelectStmt) -> Rows {
        let items = self.items_of_list(&select.from_clause);
        self.scopes.push(Rc::new(items));
        let condition = self.maybe(select.where_clause.as_deref());
        self.decide(&condition, Usage::Filtered);
        let rows = self.targets(&select.target_list);
        for group in &select.group_clause {
            let value = self.ordered(group, &rows, false);
            self.decide(&value, Usage::Filtered);
        }
        let having = self.maybe(select.having_clause.as_deref());
        self.decide(&having, Usage::Filtered);
        for window in &select.window_clause {
            self.expression(window);
        }
        for distinct in &select.distinct_clause {
            let value = if distinct.node.is_none() { rows.whole() } else { self.ordered(distinct, &rows, true) };
            self.decide(&value, Usage::Filtered);
        }
        self.order_and_limit(select, &rows);
        for lock in &select.locking_clause {
            self.lock(lock);
        }
        self.scopes.pop();
        rows
    }

    fn order_and_limit(&mut self, select: &protobuf::SelectStmt, rows: &Rows) {
        for sort in &select.sort_clause {
            let value = self.ordered(sort, rows, true);
            self.decide(&value, Usage::Filtered);
        }
        for limit in [&select.limit_count, &select.limit_offset] {
            let value = self.maybe(limit.as_deref());
            self.decide(&value, Usage::Filtered);
        }
    }

    /// What ORDER BY, GROUP BY or DISTINCT ON means: a position, an output's name, or an expression.
    fn ordered(&mut self, node: &Node, rows: &Rows, outputs_first: bool) -> Value {
        let inner = match &node.node {
            Some(NodeEnum::SortBy(sort)) => {
                self.operator(&sort.use_op);
                sort.node.as_deref()
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => Some(node),
        };
        let Some(inner) = inner else { return Value::default() };
        match &inner.node {
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(Val::Ival(number)) => {
                    let position = usize::try_from(number.ival).ok().and_then(|number| number.checked_sub(1));
                    position.and_then(|at| rows.fields.get(at)).map(|field| field.value.clone()).unwrap_or_default()
                }
                Some(Val::Fval(_) | Val::Boolval(_) | Val::Sval(_) | Val::Bsval(_)) | None => Value::default(),
            },
            Some(NodeEnum::ColumnRef(column)) if column.fields.len() == 1 => {
                let name = column.fields.first().and_then(super::string).unwrap_or_default();
                let output = rows.fields.iter().find(|field| field.name == name).map(|field| field.value.clone());
                match (output, outputs_first) {
                    (Some(value), true) => value,
                    (Some(value), false) => match self.unqualified(name) {
                        Found::Value(mut input) => {
                            input.absorb(value);
                            input
                        }
                        Found::Missing => value,
                    },
                    (None, _) => self.expression(inner),
                }
            }
            Some(NodeEnum::GroupingSet(set)) => {
                let mut value = Value::default();
                for part in &set.content {
                    let one = self.ordered(part, rows, outputs_first);
                    value.absorb(one);
                }
                value
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => self.expression(inner),
        }
    }

    /// A select list, stars expanded.
    pub(super) fn targets(&mut self, targets: &[Node]) -> Rows {
        let mut rows = Rows::default();
        for node in targets {
            match &node.node {
                Some(NodeEnum::ResTarget(target)) => match self.star(target.val.as_deref()) {
                    Some(all) => append(&mut rows, all),
                    None => {
                        let before = self.hazards;
                        let mut value = self.maybe(target.val.as_deref());
                        value.risky |= self.hazards > before;
                        rows.fields.push(Field { name: names::of_target(target), value });
                    }
                },
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                None | Some(any_node!()) => match self.star(Some(node)) {
                    Some(all) => append(&mut rows, all),
                    None => {
                        let value = self.expression(node);
                        rows.fields.push(Field { name: "?column?".to_owned(), value });
                    }
                },
            }
            if rows.fields.len() > MOST_COLUMNS {
                self.give_up("a list has more columns than PostgreSQL allows");
                return Rows::unknown();
            }
        }
        rows
    }

    /// The columns that `*`, `c.*` or `(expression).*` stands for; `None` for anything else.
    fn star(&mut self, node: Option<&Node>) -> Option<Rows> {
        match node?.node.as_ref()? {
            NodeEnum::ColumnRef(column) => {
                if !matches!(column.fields.last()?.node.as_ref()?, NodeEnum::AStar(_)) {
                    return None;
                }
                let parts = super::strings(&column.fields);
                let mut rows = Rows::default();
                match parts.as_slice() {
                    [] => {
                        let scope = self.scopes.last().cloned().unwrap_or_default();
                        for item in scope.iter().filter(|item| !item.qualified_only) {
                            let mut all = item.all();
                            all.fields.retain(|field| !item.hidden.contains(&field.name));
                            append(&mut rows, all);
                        }
                    }
                    [.., name] => {
                        let schema = parts.iter().rev().nth(1).map_or("", String::as_str);
                        match self.item(schema, name) {
                            Some(item) => append(&mut rows, item.all()),
                            None => {
                                self.lacks(format!("what {}.* stands for", parts.join(".")));
                                append(&mut rows, Rows::unknown());
                            }
                        }
                    }
                }
                self.spend(rows.fields.iter().map(|field| field.value.sources.len() + 1).sum());
                Some(rows)
            }
            NodeEnum::AIndirection(path) => {
                if !matches!(path.indirection.last()?.node.as_ref()?, NodeEnum::AStar(_)) {
                    return None;
                }
                let value = self.expression(node?);
                let rows = match &value.row {
                    Some(row) => row.as_ref().clone(),
                    // a composite whose fields are not told apart: their number is not known
                    None => Rows { unknown: true, ..Rows::one("*", Value { opaque: true, direct: false, ..value }) },
                };
                Some(rows)
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            any_node!() => None,
        }
    }

    /// FOR UPDATE and its kin.
    fn lock(&mut self, node: &Node) {
        self.out.writes = true;
        let Some(NodeEnum::LockingClause(clause)) = &node.node else { return };
        let named: Vec<&str> = clause
            .locked_rels
            .iter()
            .filter_map(|node| match &node.node {
                Some(NodeEnum::RangeVar(name)) => Some(name.relname.as_str()),
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                None | Some(any_node!()) => None,
            })
            .collect();
        let scope = self.scopes.last().cloned().unwrap_or_default();
        for item in scope.iter().filter(|item| named.is_empty() || named.contains(&item.alias.as_str())) {
            if let super::scope::Columns::Relation(relation) = item.columns {
                self.touch(relation, Action::Lock);
            }
        }
    }

    /// Notes a relation that is being defined, under the name that it will have.
    pub(super) fn created(&mut self, name: Option<&protobuf::RangeVar>) {
        self.out.writes = true;
        self.out.effects.push(crate::sql::facts::Effect::ChangesCatalog);
        let Some(name) = name else { return };
        let temporary = name.relpersistence == "t" || name.schemaname == "pg_temp";
        let schema = if temporary {
            "pg_temp"
        } else if name.schemaname.is_empty() {
            self.search_path.first().map_or("", String::as_str)
        } else {
            &name.schemaname
        };
        let hides = self.catalog.resolve("", &name.relname, self.search_path);
        if let Some(hidden) = hides.filter(|_| temporary || name.schemaname.is_empty())
            && hidden.kind != Kind::Index
        {
            self.out.flags.insert(format!("shadows:{}", hidden.qualified()));
        }
        let id = self.catalog.find(schema, &name.relname).map(|relation| relation.id);
        self.note(id, names::qualified(schema, &name.relname), Action::Create, false);
    }
}

/// A set operation without clauses of its own that a walk down the chain would miss.
fn is_bare_operation(select: &protobuf::SelectStmt) -> bool {
    let operation = !matches!(select.op(), protobuf::SetOperation::Undefined | protobuf::SetOperation::SetopNone);
    operation
        && select.with_clause.is_none()
        && select.into_clause.is_none()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
}

/// Rows of both kinds under one: a value of either reaches the column.
fn combine(mut first: Rows, second: &Rows) -> Rows {
    if second.unknown || first.unknown || first.fields.len() != second.fields.len() {
        let mut whole = first.whole();
        whole.absorb(second.whole());
        whole.opaque = true;
        for field in &mut first.fields {
            field.value = whole.clone();
        }
        first.unknown = true;
        return first;
    }
    for (field, other) in first.fields.iter_mut().zip(&second.fields) {
        field.value.absorb(other.value.clone());
    }
    first
}

/// Adds columns to a list. Unknown ones stand as one opaque `*`.
fn append(rows: &mut Rows, more: Rows) {
    let Rows { fields, unknown } = more;
    let marked = fields.iter().any(|field| field.name == "*" && field.value.opaque);
    rows.fields.extend(fields);
    if unknown && !marked {
        rows.fields.push(Field { name: "*".to_owned(), value: Value::opaque() });
    }
    rows.unknown |= unknown;
}

/// The same columns as if nothing unknown reached them: the first round of a recursion.
fn known(rows: &Rows) -> Rows {
    let fields = rows.fields.iter().filter(|field| field.name != "*").map(|field| {
        let value = Value { opaque: false, row: None, ..field.value.clone() };
        Field { name: field.name.clone(), value }
    });
    Rows { fields: fields.collect(), unknown: false }
}

fn same(before: &[Rows], now: &[Rows]) -> bool {
    let key = |rows: &[Rows]| -> Vec<Vec<(String, Sources, bool)>> {
        let one = |field: &Field| (field.name.clone(), field.value.sources.clone(), field.value.opaque);
        rows.iter().map(|rows| rows.fields.iter().map(one).collect()).collect()
    };
    key(before) == key(now)
}
