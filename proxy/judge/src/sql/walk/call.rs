//! Calls: what a function can do with its arguments, and what its result can be made of.

use super::{
    Walker, names,
    nodes::any_node,
    proven,
    scope::{Field, Found, Rows, Value},
};
use crate::sql::functions::{self, Class, Resolved};
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;

/// PostgreSQL's own that return as many rows as their arguments say, for catalogs without functions.
const MULTIPLY: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "unnest",
    "string_to_table",
    "regexp_split_to_table",
    "regexp_matches",
    "jsonb_array_elements",
    "jsonb_path_query",
];

impl<'a> Walker<'a> {
    /// A call in an expression.
    pub(super) fn call(&mut self, call: &protobuf::FuncCall) -> Value {
        self.call_with_rows(call).0
    }

    /// A call, and the columns of the rows that it returns, where they are known.
    pub(super) fn call_with_rows(&mut self, call: &protobuf::FuncCall) -> (Value, Option<Rows>) {
        let (schema, name) = names::split(&call.funcname);
        // a word of the grammar since version 16, a column's name before
        if name == "system_user"
            && call.args.is_empty()
            && let Found::Value(value) = self.unqualified(name)
            && !value.sources.is_empty()
        {
            return (value, None);
        }
        let mut arguments = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            arguments.push(self.expression(argument));
        }
        let named = call.args.iter().any(|node| matches!(node.node, Some(NodeEnum::NamedArgExpr(_))));
        let count = (!named && !call.func_variadic).then(|| call.args.len() + self.ordered_set_arguments(call));
        if matches!(schema, "" | "pg_catalog") && self.setting(schema, name, call) {
            return (Value::default(), None);
        }
        let resolved = functions::resolve(self.catalog, self.search_path, schema, name, count);
        // a function that returns rows decides how many there are
        let multiplies = resolved.candidates.iter().any(|function| function.returns_set) || MULTIPLY.contains(&name);
        if multiplies && !self.yields_fixed_rows(name, &call.args) {
            for value in &arguments {
                self.decide(value, Usage::Filtered);
            }
        }
        let rows = self.returned(&resolved);
        let mut value = self.apply(resolved, name, Some(call), arguments);
        let made = value.clone();
        let filter = self.maybe(call.agg_filter.as_deref());
        self.decide(&filter, Usage::Filtered);
        value.reach(&filter);
        let order = self.list(&call.agg_order);
        if !call.agg_within_group {
            self.decide(&order, Usage::Filtered);
        }
        value.reach(&order);
        let fraction = call.args.first().is_none_or(|node| proven::argument(name, call.args.len(), 0, node));
        if call.agg_within_group && !fraction {
            self.tell(&order);
        }
        if let Some(window) = call.over.as_deref() {
            let window = self.window(window);
            value.reach(&window);
        }
        value = Value { sources: value.sources, opaque: value.opaque, risky: value.risky, ..made };
        let rows = rows.map(|names| {
            let fields = names.into_iter().map(|name| Field { name, value: value.clone() }).collect();
            Rows { fields, unknown: false }
        });
        if let Some(rows) = &rows {
            value.row = Some(std::rc::Rc::new(rows.clone()));
        }
        (value, rows)
    }

    /// WITHIN GROUP's arguments count as the function's.
    fn ordered_set_arguments(&self, call: &protobuf::FuncCall) -> usize {
        if call.agg_within_group { call.agg_order.len() } else { 0 }
    }

    /// `value.name` and `name(value)` without a call's other clauses.
    pub(super) fn call_named(&mut self, schema: &str, name: &str, arguments: Vec<Value>, _: Option<()>) -> Value {
        let resolved = functions::resolve(self.catalog, self.search_path, schema, name, Some(arguments.len()));
        self.apply(resolved, name, None, arguments)
    }

    /// Some function has that name.
    pub(super) fn is_function(&self, name: &str) -> bool {
        !functions::resolve(self.catalog, self.search_path, "", name, Some(1)).candidates.is_empty()
    }

    fn apply(
        &mut self,
        resolved: Resolved<'a>,
        name: &str,
        call: Option<&protobuf::FuncCall>,
        arguments: Vec<Value>,
    ) -> Value {
        // `card_number(c)` is `c.card_number` where no function has that name
        if let ([Value { row: Some(row), .. }], true) = (arguments.as_slice(), resolved.candidates.is_empty())
            && let Some(field) = row.fields.iter().find(|field| field.name == name)
        {
            return field.value.clone();
        }
        let mut value = Value::default();
        for argument in &arguments {
            value.reach(argument);
        }
        if value.collation == 0 {
            let types = resolved.candidates.iter().filter_map(|function| self.catalog.types.get(&function.returns));
            value.collation = types.map(|found| found.collation).max().unwrap_or(0);
        }
        self.call_tells(&resolved, name, call, &arguments);
        self.call_shape(&resolved, name, call, &arguments, &mut value);
        match resolved.class {
            Class::Pure => return value,
            Class::Waits => return value,
            Class::Reads => {}
            Class::Sequence => {
                self.out.writes = true;
                self.out.stored.extend(value.sources.iter().copied());
            }
            Class::Unknown => {
                if resolved.candidates.is_empty() && self.catalog.knows_functions() {
                    self.lacks(format!("function {}", resolved.name));
                }
                self.out.calls = true;
                self.out.stored.extend(value.sources.iter().copied());
            }
            Class::Reaches => {
                self.out.calls = true;
                self.out.stored.extend(value.sources.iter().copied());
                self.give_up(format!("function {} reaches beyond what the statement names", resolved.name));
            }
        }
        self.out.functions.insert(resolved.name);
        value.opaque = true;
        value
    }

    /// The names of the columns that a function returns, if it returns a row and all candidates agree.
    fn returned(&self, resolved: &Resolved<'a>) -> Option<Vec<String>> {
        let mut all = resolved.candidates.iter().map(|function| {
            if !function.out.is_empty() {
                return Some(function.out.clone());
            }
            let relation = self.catalog.types.get(&function.returns)?.relation;
            let relation = self.catalog.relation(relation)?;
            Some(relation.columns.iter().map(|column| column.name.clone()).collect())
        });
        let first = all.next()??;
        all.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }
}

/// A constant's text: a literal, possibly cast; `true` and `false`.
pub(super) fn constant(node: &Node) -> Option<String> {
    use protobuf::a_const::Val;
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            Val::Sval(text) => Some(text.sval.clone()),
            Val::Ival(number) => Some(number.ival.to_string()),
            Val::Fval(number) => Some(number.fval.clone()),
            Val::Boolval(truth) => Some(truth.boolval.to_string()),
            Val::Bsval(_) => None,
        },
        NodeEnum::TypeCast(cast) => constant(cast.arg.as_deref()?),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => None,
    }
}
