//! Expressions: what reaches their value.

use super::{
    Walker, names,
    nodes::{analyzed, any_node, parts, queries, statements},
    scope::{Field, Found, Rows, Value},
};
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;
use std::rc::Rc;

/// The collation `C`, which the type `name` has.
const NAMES: u32 = 950;

impl<'a> Walker<'a> {
    /// What reaches an expression's value.
    pub(super) fn expression(&mut self, node: &Node) -> Value {
        let Some(kind) = &node.node else { return Value::default() }; // an empty place in a list
        let value = self.expression_kind(kind);
        // two collations that nobody chose between are found out only where something looks at the text
        if value.collated {
            self.tell(&value);
        }
        value
    }

    pub(super) fn maybe(&mut self, node: Option<&Node>) -> Value {
        node.map(|node| self.expression(node)).unwrap_or_default()
    }

    /// All of a list together.
    pub(super) fn list(&mut self, nodes: &[Node]) -> Value {
        let mut value = Value::default();
        for node in nodes {
            let one = self.expression(node);
            value.absorb(one);
        }
        value
    }

    fn both(&mut self, first: Option<&Node>, second: Option<&Node>) -> Value {
        let mut value = self.maybe(first);
        let other = self.maybe(second);
        value.absorb(other);
        value
    }

    /// The value of an argument, as an expression over it.
    fn over(&mut self, argument: Option<&Node>) -> Value {
        let mut value = self.maybe(argument);
        value.direct = false;
        value.composite |= value.row.take().is_some();
        value
    }

    fn expression_kind(&mut self, kind: &NodeEnum) -> Value {
        self.spend(0);
        match kind {
            NodeEnum::AConst(constant) => {
                if let Some(protobuf::a_const::Val::Sval(text)) = &constant.val {
                    self.out.placeholders.note(text.sval.as_bytes());
                }
                Value::default()
            }
            NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::String(_)
            | NodeEnum::BitString(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::MergeSupportFunc(_) => Value::default(),
            NodeEnum::SqlvalueFunction(_) => Value { collation: NAMES, ..Value::default() },
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::AStar(_) => self.whole_scope(),
            NodeEnum::AExpr(expression) => self.operation(expression),
            NodeEnum::BoolExpr(expression) => self.short_circuit(&expression.args),
            NodeEnum::TypeCast(cast) => self.cast(cast),
            NodeEnum::CollateClause(clause) => {
                let value = self.over(clause.arg.as_deref());
                Value { collated: true, ..value }
            }
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::SubLink(link) => self.sublink(link),
            NodeEnum::CaseExpr(case) => self.case(case),
            NodeEnum::CaseWhen(when) => self.both(when.expr.as_deref(), when.result.as_deref()),
            NodeEnum::RowExpr(row) => self.row(&row.args),
            NodeEnum::CoalesceExpr(choice) => self.short_circuit(&choice.args),
            NodeEnum::MinMaxExpr(choice) => self.greatest_or_least(&choice.args),
            NodeEnum::NullTest(test) => self.null_test(test.arg.as_deref()),
            NodeEnum::BooleanTest(test) => self.over(test.arg.as_deref()),
            NodeEnum::NamedArgExpr(argument) => self.maybe(argument.arg.as_deref()),
            NodeEnum::GroupingFunc(function) => self.list(&function.args),
            NodeEnum::AIndirection(path) => self.indirection(path),
            NodeEnum::AIndices(indices) => self.both(indices.lidx.as_deref(), indices.uidx.as_deref()),
            NodeEnum::AArrayExpr(array) => self.array(&array.elements),
            NodeEnum::List(list) => self.list(&list.items),
            NodeEnum::ResTarget(target) => {
                let mut value = self.maybe(target.val.as_deref());
                let path = self.list(&target.indirection);
                value.absorb(path);
                value
            }
            NodeEnum::MultiAssignRef(part) => self.over(part.source.as_deref()),
            NodeEnum::SortBy(sort) => {
                self.operator(&sort.use_op);
                self.maybe(sort.node.as_deref())
            }
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::GroupingSet(set) => self.list(&set.content),
            NodeEnum::XmlSerialize(xml) => {
                let mut value = self.over(xml.expr.as_deref());
                self.tell(&value);
                value.opaque |= xml.type_name.as_ref().is_some_and(|name| self.type_calls(name));
                value
            }
            NodeEnum::XmlExpr(xml) => {
                let mut value = self.list(&xml.args);
                let named = self.list(&xml.named_args);
                value.absorb(named);
                use protobuf::XmlExprOp;
                if !matches!(xml.op(), XmlExprOp::IsXmlelement | XmlExprOp::IsXmlforest | XmlExprOp::IsXmlconcat) {
                    self.tell(&value);
                }
                value.shaped = true;
                value
            }
            NodeEnum::JsonValueExpr(_)
            | NodeEnum::JsonIsPredicate(_)
            | NodeEnum::JsonBehavior(_)
            | NodeEnum::JsonArgument(_)
            | NodeEnum::JsonFuncExpr(_)
            | NodeEnum::JsonTablePathSpec(_)
            | NodeEnum::JsonKeyValue(_)
            | NodeEnum::JsonParseExpr(_)
            | NodeEnum::JsonScalarExpr(_)
            | NodeEnum::JsonSerializeExpr(_)
            | NodeEnum::JsonObjectConstructor(_)
            | NodeEnum::JsonArrayConstructor(_)
            | NodeEnum::JsonArrayQueryConstructor(_)
            | NodeEnum::JsonAggConstructor(_)
            | NodeEnum::JsonObjectAgg(_)
            | NodeEnum::JsonArrayAgg(_) => self.json(kind),
            analyzed!() | parts!() | queries!() | statements!() => self.unexpected(kind, "an expression"),
        }
    }

    /// A name, up to `database.schema.relation.column`.
    fn column(&mut self, column: &protobuf::ColumnRef) -> Value {
        let star = matches!(column.fields.last().and_then(|last| last.node.as_ref()), Some(NodeEnum::AStar(_)));
        let parts = super::strings(&column.fields);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let found = match (parts.as_slice(), star) {
            ([], true) => return self.whole_scope(),
            ([item], true) => return self.whole_item("", item),
            ([.., schema, item], true) => return self.whole_item(schema, item),
            ([name], false) => self.unqualified(name),
            ([item, name], false) => self.qualified("", item, name),
            ([.., schema, item, name], false) => self.qualified(schema, item, name),
            ([], false) => Found::Missing,
        };
        match found {
            Found::Value(value) => {
                self.spend(value.sources.len());
                self.hazards += usize::from(value.risky);
                value
            }
            Found::Missing => {
                self.lacks(format!("column {}", parts.join(".")));
                Value::opaque()
            }
        }
    }

    fn whole_item(&mut self, schema: &str, name: &str) -> Value {
        match self.item(schema, name) {
            Some(item) => item.whole(),
            None => {
                self.lacks(format!("what {name}.* stands for"));
                Value::opaque()
            }
        }
    }

    /// All columns of the query's FROM.
    fn whole_scope(&mut self) -> Value {
        let Some(scope) = self.scopes.last().cloned() else { return Value::default() };
        let mut value = Value::default();
        for item in scope.iter().filter(|item| !item.qualified_only) {
            value.absorb(item.whole());
        }
        value
    }

    /// Whether an operator of that name may be one that is not PostgreSQL's own.
    pub(super) fn operator(&mut self, names: &[Node]) -> bool {
        let (schema, name) = names::split(names);
        if name.is_empty() || schema == "pg_catalog" {
            return false;
        }
        let all = self.catalog.operators.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut visible = all.iter().filter(|operator| {
            let listed = self.search_path.contains(&operator.schema);
            if schema.is_empty() { listed } else { operator.schema == schema }
        });
        let is_foreign = |extension: &Option<String>| !crate::sql::functions::is_pure_extension(extension.as_deref());
        let foreign = if schema.is_empty() {
            visible.find(|operator| is_foreign(&operator.extension)).map(|operator| operator.schema.clone())
        } else {
            let pure = visible.clone().next().is_some() && !visible.any(|operator| is_foreign(&operator.extension));
            (!pure).then(|| schema.to_owned())
        };
        let Some(schema) = foreign else { return false };
        self.out.functions.insert(format!("{schema}.{name}"));
        self.out.calls = true;
        true
    }

    /// Whether making a value of that type may call functions that are not PostgreSQL's own.
    pub(super) fn type_calls(&mut self, name: &protobuf::TypeName) -> bool {
        let (schema, name) = names::split(&name.names);
        match self.catalog.resolve_type(schema, name, self.search_path) {
            Some(found) if found.calls => {
                self.out.functions.insert(names::qualified(schema, name));
                self.out.calls = true;
                true
            }
            Some(found) if found.base != 0 => self.catalog.types.get(&found.base).is_some_and(|base| base.calls),
            Some(_) => false, // no node: a type
            None => schema != "pg_catalog" && self.catalog.knows_functions(),
        }
    }

    fn sublink(&mut self, link: &protobuf::SubLink) -> Value {
        let mut value = self.over(link.testexpr.as_deref());
        let deep = link.testexpr.as_deref().is_some_and(|node| is_deep(node, &value));
        value.opaque |= self.operator(&link.oper_name);
        let before = self.hazards;
        let rows = self.subquery_of_a_value(link.subselect.as_deref(), &mut value);
        if self.hazards > before {
            // the rows after the one that decides are not computed
            let tested = value.clone();
            self.tell(&tested);
        }
        if link.sub_link_type() == protobuf::SubLinkType::ExprSublink {
            self.hazards += 1; // more than one row
        }
        if link.sub_link_type() == protobuf::SubLinkType::ExistsSublink {
            return value;
        }
        // rows of other types are found out only where they are compared
        if link.testexpr.is_some() && (deep || rows.fields.iter().any(|field| field.value.is_deep())) {
            self.tell(&value.clone());
            self.tell(&rows.whole());
        }
        // and arrays of other lengths
        let array = link.sub_link_type() == protobuf::SubLinkType::ArraySublink;
        if array && rows.fields.iter().any(|field| field.value.shaped && field.value.row.is_none()) {
            self.tell(&rows.whole());
        }
        value.reach(&rows.whole());
        value.shaped = link.sub_link_type() == protobuf::SubLinkType::ArraySublink
            || !matches!(rows.fields.as_slice(), [one] if !one.value.shaped);
        value.numeric = matches!(rows.fields.as_slice(), [one] if one.value.numeric);
        value.whole = !array && matches!(rows.fields.as_slice(), [one] if one.value.whole);
        value.row = match rows.fields.as_slice() {
            [one] => one.value.row.clone(),
            [] | [_, ..] => Some(Rc::new(rows)),
        };
        value
    }

    /// A query that a value is made of: what decides about its rows reaches the value too.
    pub(super) fn subquery_of_a_value(&mut self, query: Option<&Node>, value: &mut Value) -> Rows {
        self.deciding.push(Default::default());
        let rows = query.map(|query| self.subquery(query)).unwrap_or_default();
        let deciding = self.deciding.pop().unwrap_or_default();
        if let Some(around) = self.deciding.last_mut() {
            around.extend(deciding.iter().copied());
        }
        value.sources.extend(deciding);
        rows
    }

    fn case(&mut self, case: &protobuf::CaseExpr) -> Value {
        let mut value = self.over(case.arg.as_deref());
        self.decide(&value, Usage::Filtered);
        for when in &case.args {
            let Some(NodeEnum::CaseWhen(when)) = &when.node else {
                value.absorb(self.list(std::slice::from_ref(when)));
                continue;
            };
            let condition = self.over(when.expr.as_deref());
            self.decide(&condition, Usage::Filtered);
            value.absorb(condition);
            let result = self.maybe(when.result.as_deref());
            value.absorb(result);
        }
        let otherwise = self.maybe(case.defresult.as_deref());
        value.absorb(otherwise);
        value
    }

    /// ROW(...): its fields can be told apart as f1, f2, ....
    fn row(&mut self, arguments: &[Node]) -> Value {
        let rows = self.targets(arguments);
        let mut whole = rows.whole();
        let fields = rows.fields.into_iter().enumerate();
        let fields = fields.map(|(position, field)| Field { name: format!("f{}", position + 1), ..field }).collect();
        whole.row = Some(Rc::new(Rows { fields, unknown: rows.unknown }));
        whole
    }

    fn indirection(&mut self, path: &protobuf::AIndirection) -> Value {
        let mut value = self.maybe(path.arg.as_deref());
        for step in &path.indirection {
            value = match &step.node {
                Some(NodeEnum::String(name)) => self.field(value, &name.sval),
                Some(NodeEnum::AStar(_)) => value,
                Some(NodeEnum::AIndices(_)) => {
                    let before = self.hazards;
                    let index = self.expression(step);
                    // of a null, no element is looked for
                    if self.hazards > before {
                        self.tell(&value);
                    }
                    value.absorb(index);
                    value
                }
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                Some(other @ any_node!()) => self.unexpected(other, "a path"),
                None => value,
            };
        }
        value
    }

    /// `(value).name`
    fn field(&mut self, mut value: Value, name: &str) -> Value {
        let Some(row) = value.row.take() else {
            value.direct = false;
            // a field of a stored composite, or `f(value)` where a function has that name
            if self.is_function(name) {
                return self.call_named("", name, vec![value], None);
            }
            return value;
        };
        match row.fields.iter().find(|field| field.name == name) {
            Some(field) => field.value.clone(),
            None if row.unknown => Value::opaque(),
            None => self.call_named("", name, vec![Value { row: Some(row), ..value }], None),
        }
    }

    /// PARTITION BY, ORDER BY and the frame decide which rows a window's value is made of.
    pub(super) fn window(&mut self, window: &protobuf::WindowDef) -> Value {
        let mut value = self.list(&window.partition_clause);
        let order = self.list(&window.order_clause);
        value.absorb(order);
        let frame = self.both(window.start_offset.as_deref(), window.end_offset.as_deref());
        value.absorb(frame);
        self.decide(&value, Usage::Filtered);
        value
    }
}

/// Whether what is compared with a query's rows is a row or an array itself; the columns of ROW(...) are compared one by
/// one, by their types.
fn is_deep(node: &Node, value: &Value) -> bool {
    !matches!(node.node, Some(NodeEnum::RowExpr(_))) && value.is_deep()
}
