//! FROM: relations, subqueries, functions, joins.

use super::{
    Walker,
    nodes::{analyzed, any_node, expressions, queries, statements},
    scope::{Field, Item, Rows, Value},
};
use crate::sql::{
    catalog::{Kind, Relation},
    facts::Action,
};
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;
use std::rc::Rc;

/// The type `tsvector`.
const WORDS: u32 = 3614;

/// What an item that is copied costs of the budget.
const ITEM: usize = 8;

impl Relation {
    /// It has columns of its own, be they none.
    pub(super) fn is_table_like(&self) -> bool {
        matches!(self.kind, Kind::Table | Kind::Partitioned | Kind::Foreign | Kind::View | Kind::MaterializedView)
    }
}

impl<'a> Walker<'a> {
    /// The items of a FROM clause, in order.
    pub(super) fn items_of_list(&mut self, nodes: &[Node]) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        for node in nodes {
            let more = self.items_of(node, &items);
            items.extend(more);
        }
        items
    }

    /// One item, a join being several. `left` is what LATERAL may refer to.
    pub(super) fn items_of(&mut self, node: &Node, left: &[Item<'a>]) -> Vec<Item<'a>> {
        let Some(kind) = &node.node else { return Vec::new() };
        if self.budget == 0 {
            return vec![Item::rows("", Rows::unknown())];
        }
        match kind {
            NodeEnum::RangeVar(name) => vec![self.table(name)],
            NodeEnum::RangeSubselect(part) => {
                let query = part.subquery.as_deref();
                let rows = if part.lateral {
                    self.lateral(left, |walker| query.map(|query| walker.subquery(query)).unwrap_or_default())
                } else {
                    query.map(|query| self.subquery(query)).unwrap_or_default()
                };
                vec![Item::rows("", rows).aliased(part.alias.as_ref())]
            }
            NodeEnum::RangeFunction(part) => vec![self.lateral(left, |walker| walker.functions(part))],
            NodeEnum::RangeTableFunc(part) => vec![self.lateral(left, |walker| walker.xml_table(part))],
            NodeEnum::JsonTable(part) => {
                let (value, names) = self.lateral(left, |walker| walker.json_table(part));
                self.decide(&value, Usage::Filtered);
                let fields = names.into_iter().map(|name| Field { name, value: value.clone() }).collect();
                vec![Item::rows("json_table", Rows { fields, unknown: false }).aliased(part.alias.as_ref())]
            }
            NodeEnum::RangeTableSample(part) => {
                let items = part.relation.as_deref().map(|relation| self.items_of(relation, left)).unwrap_or_default();
                self.lateral(left, |walker| {
                    let value = walker.list(&part.args);
                    walker.decide(&value, Usage::Filtered);
                    let value = walker.maybe(part.repeatable.as_deref());
                    walker.decide(&value, Usage::Filtered);
                });
                items
            }
            NodeEnum::JoinExpr(join) => self.join(join, left),
            NodeEnum::Alias(_)
            | NodeEnum::IntoClause(_)
            | NodeEnum::JsonFormat(_)
            | NodeEnum::JsonReturning(_)
            | NodeEnum::TypeName(_)
            | NodeEnum::RoleSpec(_)
            | NodeEnum::RangeTableFuncCol(_)
            | NodeEnum::ColumnDef(_)
            | NodeEnum::TableLikeClause(_)
            | NodeEnum::IndexElem(_)
            | NodeEnum::DefElem(_)
            | NodeEnum::LockingClause(_)
            | NodeEnum::PartitionElem(_)
            | NodeEnum::PartitionSpec(_)
            | NodeEnum::PartitionBoundSpec(_)
            | NodeEnum::PartitionRangeDatum(_)
            | NodeEnum::PartitionCmd(_)
            | NodeEnum::WithClause(_)
            | NodeEnum::InferClause(_)
            | NodeEnum::OnConflictClause(_)
            | NodeEnum::CtesearchClause(_)
            | NodeEnum::CtecycleClause(_)
            | NodeEnum::CommonTableExpr(_)
            | NodeEnum::MergeWhenClause(_)
            | NodeEnum::ReturningOption(_)
            | NodeEnum::ReturningClause(_)
            | NodeEnum::TriggerTransition(_)
            | NodeEnum::JsonOutput(_)
            | NodeEnum::JsonTableColumn(_)
            | NodeEnum::AlterTableCmd(_)
            | NodeEnum::ReplicaIdentityStmt(_)
            | NodeEnum::ObjectWithArgs(_)
            | NodeEnum::AccessPriv(_)
            | NodeEnum::Constraint(_)
            | NodeEnum::CreateOpClassItem(_)
            | NodeEnum::StatsElem(_)
            | NodeEnum::FunctionParameter(_)
            | NodeEnum::VacuumRelation(_)
            | NodeEnum::PublicationTable(_)
            | NodeEnum::PublicationObjSpec(_)
            | analyzed!()
            | expressions!()
            | queries!()
            | statements!() => {
                self.unexpected(kind, "FROM");
                vec![Item::rows("", Rows::unknown())]
            }
        }
    }

    /// Walks what may refer to the items on its left.
    fn lateral<T>(&mut self, left: &[Item<'a>], walk: impl FnOnce(&mut Self) -> T) -> T {
        self.spend(left.len() * ITEM);
        self.scopes.push(Rc::new(left.to_vec()));
        let result = walk(self);
        self.scopes.pop();
        result
    }

    /// A name in FROM: a CTE or a relation.
    fn table(&mut self, name: &protobuf::RangeVar) -> Item<'a> {
        if name.schemaname.is_empty() {
            let cte = self.ctes.iter().rev().find(|(cte, _)| *cte == name.relname).map(|(_, rows)| Rc::clone(rows));
            if let Some(rows) = cte {
                let mut item = Item::rows(&name.relname, Rows::default());
                item.columns = super::scope::Columns::Rows(rows);
                return item.aliased(name.alias.as_ref());
            }
        }
        self.relation(name, Action::Select)
    }

    /// A relation in FROM, or the target of a write.
    pub(super) fn relation(&mut self, name: &protobuf::RangeVar, action: Action) -> Item<'a> {
        let item = match self.touch_named(name, action) {
            Some(relation) => Item::relation(relation),
            None => Item { schema: name.schemaname.clone(), ..Item::rows(&name.relname, Rows::unknown()) },
        };
        item.aliased(name.alias.as_ref())
    }

    /// A function, or several by ROWS FROM.
    fn functions(&mut self, part: &protobuf::RangeFunction) -> Item<'a> {
        let mut rows = Rows::default();
        let mut first_name = String::new();
        for entry in &part.functions {
            let Some(NodeEnum::List(list)) = &entry.node else {
                self.give_up("a function in FROM is not understood");
                continue;
            };
            let Some(function) = list.items.first() else { continue };
            let (mut found, name) = self.function_rows(function);
            let defined = list.items.get(1).map(definitions).unwrap_or_default();
            if !defined.is_empty() {
                found = self.redefine(&found, defined);
            }
            if first_name.is_empty() {
                first_name = name;
            }
            rows.unknown |= found.unknown;
            rows.fields.extend(found.fields);
        }
        let defined: Vec<_> = part.coldeflist.iter().filter_map(definition).collect();
        if !defined.is_empty() {
            rows = self.redefine(&rows, defined);
        }
        // the alias of a function with one column names the column as well
        if let (Some(alias), [field], false) = (&part.alias, rows.fields.as_mut_slice(), rows.unknown)
            && field.name == first_name
            && part.coldeflist.is_empty()
        {
            field.name.clone_from(&alias.aliasname);
        }
        if part.ordinality {
            rows.fields.push(Field { name: "ordinality".to_owned(), value: Value::default() });
        }
        Item::rows(&first_name, rows).aliased(part.alias.as_ref())
    }

    /// Gives a function's result the columns of a definition list: each is made of all of it.
    fn redefine(&mut self, rows: &Rows, columns: Vec<&protobuf::ColumnDef>) -> Rows {
        let mut value = rows.whole();
        value.row = None;
        value.direct = false;
        for column in &columns {
            value.opaque |= column.type_name.as_ref().is_some_and(|name| self.type_calls(name));
        }
        let field = |column: &protobuf::ColumnDef| Field { name: column.colname.clone(), value: value.clone() };
        Rows { fields: columns.into_iter().map(field).collect(), unknown: false }
    }

    fn function_rows(&mut self, node: &Node) -> (Rows, String) {
        let Some(NodeEnum::FuncCall(call)) = &node.node else {
            let value = self.expression(node);
            let target = protobuf::ResTarget { val: Some(Box::new(node.clone())), ..Default::default() };
            let name = super::names::of_target(&target);
            return (Rows::one(&name, value), name);
        };
        let name = super::names::split(&call.funcname).1.to_owned();
        let (value, rows) = self.call_with_rows(call);
        // with several arrays, it returns a column for each
        if name == "unnest" && call.args.len() > 1 {
            let one = Field { name: name.clone(), value };
            return (Rows { fields: vec![one; call.args.len()], unknown: false }, name);
        }
        // of words of a text, it returns other columns than of an array
        if let ("unnest", [words]) = (name.as_str(), call.args.as_slice())
            && self.may_be_words(words)
        {
            return (Rows { unknown: true, ..Rows::one(&name, value) }, name);
        }
        let unknown = value.opaque && rows.is_none();
        let rows = rows.unwrap_or_else(|| Rows { unknown, ..Rows::one(&name, value) });
        (rows, name)
    }

    /// Its type may be `tsvector`.
    fn may_be_words(&self, node: &Node) -> bool {
        match node.node.as_ref() {
            Some(NodeEnum::AArrayExpr(_)) => false,
            Some(NodeEnum::TypeCast(cast)) => {
                cast.type_name.as_ref().is_some_and(|name| super::names::split(&name.names).1 == "tsvector")
            }
            Some(NodeEnum::FuncCall(call)) => {
                let name = super::names::split(&call.funcname).1;
                let all = self.catalog.functions.get(name).map(Vec::as_slice).unwrap_or_default();
                all.iter().any(|function| function.returns == WORDS)
            }
            Some(NodeEnum::ColumnRef(column)) => {
                let name = column.fields.last().and_then(|field| match &field.node {
                    Some(NodeEnum::String(name)) => Some(name.sval.as_str()),
                    #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                    None | Some(any_node!()) => None,
                });
                let mut columns = self.catalog.relations().flat_map(|relation| &relation.columns);
                columns.any(|column| Some(column.name.as_str()) == name && column.type_id == WORDS)
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => true,
        }
    }

    fn xml_table(&mut self, part: &protobuf::RangeTableFunc) -> Item<'a> {
        let mut value = self.maybe(part.docexpr.as_deref());
        for more in [self.maybe(part.rowexpr.as_deref()), self.list_values(&part.namespaces)] {
            value.absorb(more);
        }
        let mut names = Vec::new();
        for column in &part.columns {
            let Some(NodeEnum::RangeTableFuncCol(column)) = &column.node else { continue };
            names.push(column.colname.clone());
            for expression in [&column.colexpr, &column.coldefexpr] {
                let more = self.maybe(expression.as_deref());
                value.absorb(more);
            }
            value.opaque |= column.type_name.as_ref().is_some_and(|name| self.type_calls(name));
        }
        value.direct = false;
        self.decide(&value, Usage::Filtered);
        let fields = names.into_iter().map(|name| Field { name, value: value.clone() }).collect();
        Item::rows("xmltable", Rows { fields, unknown: false }).aliased(part.alias.as_ref())
    }

    fn list_values(&mut self, nodes: &[Node]) -> Value {
        self.list(nodes)
    }

    fn join(&mut self, join: &protobuf::JoinExpr, around: &[Item<'a>]) -> Vec<Item<'a>> {
        let mut left = join.larg.as_deref().map(|node| self.items_of(node, around)).unwrap_or_default();
        self.spend((around.len() + left.len()) * ITEM);
        let visible: Vec<_> = around.iter().chain(&left).cloned().collect();
        let mut right = join.rarg.as_deref().map(|node| self.items_of(node, &visible)).unwrap_or_default();
        let shared = if join.is_natural { shared_names(&left, &right) } else { super::strings(&join.using_clause) };
        let full = join.jointype() == protobuf::JoinType::JoinFull;
        if join.is_natural && left.iter().chain(&right).any(Item::is_unknown) {
            self.give_up("a NATURAL JOIN with a relation whose columns are not known");
        }
        let mut merged = Rows::default();
        for name in shared {
            let (first, second) = (take(&mut left, &name), take(&mut right, &name));
            let direct = !full && first.direct;
            let mut value =
                if join.jointype() == protobuf::JoinType::JoinRight { second.clone() } else { first.clone() };
            value.absorb(first);
            value.absorb(second);
            self.decide(&value, Usage::Joined);
            value.direct = direct;
            merged.fields.push(Field { name, value });
        }
        let mut items = Vec::with_capacity(left.len() + right.len() + 2);
        if let Some(alias) = &join.join_using_alias {
            items.push(Item { qualified_only: true, ..Item::rows(&alias.aliasname, merged.clone()) });
        }
        if !merged.fields.is_empty() {
            items.push(Item::rows("", merged));
        }
        items.extend(left);
        items.extend(right);
        if join.quals.is_some() {
            let condition = self.lateral(&items, |walker| walker.maybe(join.quals.as_deref()));
            self.decide(&condition, Usage::Joined);
        }
        let Some(alias) = &join.alias else { return items };
        let mut rows = Rows::default();
        for item in items.iter().filter(|item| !item.qualified_only) {
            let mut all = item.all();
            all.fields.retain(|field| !item.hidden.contains(&field.name));
            rows.unknown |= all.unknown;
            rows.fields.extend(all.fields);
        }
        self.spend(rows.fields.len());
        vec![Item::rows("", rows).aliased(Some(alias))]
    }
}

/// Takes a column out of a join's side, which then shows it only by a qualified name.
fn take(items: &mut [Item<'_>], name: &str) -> Value {
    let mut value: Option<Value> = None;
    let mut unknown = false;
    for item in items.iter_mut().filter(|item| !item.qualified_only) {
        unknown |= item.is_unknown();
        if item.hidden.iter().any(|hidden| hidden == name) {
            continue;
        }
        let Some(position) = item.position(name) else { continue };
        let found = item.value(position);
        item.hidden.push(name.to_owned());
        match &mut value {
            None => value = Some(found),
            Some(before) => before.absorb(found),
        }
    }
    let mut value = value.unwrap_or_else(Value::opaque);
    value.opaque |= unknown;
    value
}

/// The names of the columns that both sides of a NATURAL JOIN have, in the left one's order.
fn shared_names(left: &[Item<'_>], right: &[Item<'_>]) -> Vec<String> {
    let visible = |items: &[Item<'_>]| -> Vec<String> {
        let mut names = Vec::new();
        for item in items.iter().filter(|item| !item.qualified_only) {
            let all = (0..item.len()).map(|position| item.name(position).to_owned());
            names.extend(all.filter(|name| !item.hidden.contains(name)));
        }
        names
    };
    let others: std::collections::HashSet<String> = visible(right).into_iter().collect();
    visible(left).into_iter().filter(|name| others.contains(name)).collect()
}

/// A column definition list.
fn definitions(node: &Node) -> Vec<&protobuf::ColumnDef> {
    match &node.node {
        Some(NodeEnum::List(list)) => list.items.iter().filter_map(definition).collect(),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => Vec::new(),
    }
}

fn definition(node: &Node) -> Option<&protobuf::ColumnDef> {
    if let Some(NodeEnum::ColumnDef(column)) = &node.node { Some(column) } else { None }
}
