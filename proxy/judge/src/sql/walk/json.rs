//! SQL/JSON expressions: every part reaches the value.

use super::{Walker, names, nodes::any_node, scope::Value, tells::is_constant};
use crate::sql::failing::Cast;
use pg_query::{Node, NodeEnum, protobuf};
use schemas::event::Usage;

impl Walker<'_> {
    pub(super) fn json(&mut self, kind: &NodeEnum) -> Value {
        let mut value = match kind {
            NodeEnum::JsonValueExpr(part) => self.json_value(Some(part)),
            NodeEnum::JsonIsPredicate(part) => self.maybe(part.expr.as_deref()),
            NodeEnum::JsonBehavior(part) => self.maybe(part.expr.as_deref()),
            NodeEnum::JsonArgument(part) => self.json_value(part.val.as_deref()),
            NodeEnum::JsonTablePathSpec(part) => self.maybe(part.string.as_deref()),
            NodeEnum::JsonKeyValue(part) => self.json_pair(part),
            NodeEnum::JsonParseExpr(part) => {
                let value = self.json_value(part.expr.as_deref());
                self.tell(&value);
                value
            }
            NodeEnum::JsonScalarExpr(part) => self.maybe(part.expr.as_deref()),
            NodeEnum::JsonSerializeExpr(part) => {
                let value = self.json_value(part.expr.as_deref());
                // a text is read first
                self.tell(&value);
                value
            }
            NodeEnum::JsonObjectConstructor(part) => {
                let value = self.list(&part.exprs);
                self.json_returns(part.output.as_ref(), &value);
                value
            }
            NodeEnum::JsonArrayConstructor(part) => {
                let value = self.list(&part.exprs);
                self.json_returns(part.output.as_ref(), &value);
                value
            }
            NodeEnum::JsonArrayQueryConstructor(part) => {
                let mut value = Value::default();
                let rows = self.subquery_of_a_value(part.query.as_deref(), &mut value);
                value.reach(&rows.whole());
                if part.format.as_ref().is_some_and(is_formatted) {
                    self.tell(&value);
                }
                self.json_returns(part.output.as_ref(), &value);
                value
            }
            NodeEnum::JsonAggConstructor(part) => self.json_aggregate(Some(part)),
            NodeEnum::JsonObjectAgg(part) => {
                let mut value = part.arg.as_deref().map(|pair| self.json_pair(pair)).unwrap_or_default();
                // a size that somebody chose
                if !value.is_brief() {
                    self.tell(&value);
                }
                let around = self.json_aggregate(part.constructor.as_deref());
                value.absorb(around);
                self.json_returns(output(kind), &value);
                value
            }
            NodeEnum::JsonArrayAgg(part) => {
                let mut value = self.json_value(part.arg.as_deref());
                // a size that somebody chose
                if !value.is_brief() {
                    self.tell(&value);
                }
                let around = self.json_aggregate(part.constructor.as_deref());
                value.absorb(around);
                self.json_returns(output(kind), &value);
                value
            }
            NodeEnum::JsonFuncExpr(part) => self.json_function(part),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            other @ any_node!() => self.unexpected(other, "a JSON expression"),
        };
        value.opaque |= self.json_type(output(kind));
        value.direct = false;
        value.shaped = true;
        value.numeric = false;
        value.row = None;
        value
    }

    /// RETURNING another type than a text or a document may fail.
    fn json_returns(&mut self, output: Option<&protobuf::JsonOutput>, value: &Value) {
        let Some(name) = output.and_then(|output| output.type_name.as_ref()) else { return };
        let kind = names::split(&name.names).1;
        let plain = kind == "text" && name.typmods.is_empty() && self.cast_to(name) == Cast::Text;
        if !plain && !matches!(kind, "json" | "jsonb") {
            self.tell(value);
        }
    }

    /// Whether the type of RETURNING may call functions that are not PostgreSQL's own.
    fn json_type(&mut self, output: Option<&protobuf::JsonOutput>) -> bool {
        output.and_then(|output| output.type_name.as_ref()).is_some_and(|name| self.type_calls(name))
    }

    pub(super) fn json_value(&mut self, part: Option<&protobuf::JsonValueExpr>) -> Value {
        let Some(part) = part else { return Value::default() };
        let mut value = self.maybe(part.raw_expr.as_deref());
        let formatted = self.maybe(part.formatted_expr.as_deref());
        let direct = value.direct;
        let as_it_is = part.formatted_expr.is_none();
        // a text is read as a document
        if part.format.as_ref().is_some_and(is_formatted) {
            self.tell(&value);
        }
        value.absorb(formatted);
        value.direct = direct && as_it_is;
        value
    }

    fn json_pair(&mut self, pair: &protobuf::JsonKeyValue) -> Value {
        let mut value = self.maybe(pair.key.as_deref());
        // a null is no key
        if !pair.key.as_deref().is_some_and(is_constant) {
            let key = value.clone();
            self.tell(&key);
        }
        let other = self.json_value(pair.value.as_deref());
        value.absorb(other);
        value
    }

    fn json_aggregate(&mut self, part: Option<&protobuf::JsonAggConstructor>) -> Value {
        let Some(part) = part else { return Value::default() };
        let mut value = self.maybe(part.agg_filter.as_deref());
        let order = self.list(&part.agg_order);
        value.absorb(order);
        self.decide(&value, Usage::Filtered);
        if let Some(window) = part.over.as_deref() {
            let window = self.window(window);
            value.absorb(window);
        }
        value
    }

    fn json_function(&mut self, part: &protobuf::JsonFuncExpr) -> Value {
        let mut value = self.json_value(part.context_item.as_deref());
        let path = self.maybe(part.pathspec.as_deref());
        value.absorb(path);
        let passing = self.list(&part.passing);
        value.absorb(passing);
        // a text that is no document, a path that fails, a default that is computed or not
        self.tell(&value.clone());
        for behavior in [&part.on_empty, &part.on_error].into_iter().flatten() {
            let other = self.maybe(behavior.expr.as_deref());
            value.absorb(other);
        }
        value
    }

    /// JSON_TABLE: every column is made of the document.
    pub(super) fn json_table(&mut self, table: &protobuf::JsonTable) -> (Value, Vec<String>) {
        let mut value = self.json_value(table.context_item.as_deref());
        if let Some(path) = table.pathspec.as_deref() {
            let path = self.maybe(path.string.as_deref());
            value.absorb(path);
        }
        let passing = self.list(&table.passing);
        value.absorb(passing);
        if let Some(behavior) = table.on_error.as_deref() {
            let other = self.maybe(behavior.expr.as_deref());
            value.absorb(other);
        }
        self.tell(&value.clone());
        let mut names = Vec::new();
        self.json_columns(&table.columns, &mut value, &mut names);
        value.direct = false;
        value.row = None;
        (value, names)
    }

    fn json_columns(&mut self, columns: &[Node], value: &mut Value, names: &mut Vec<String>) {
        for column in columns {
            match &column.node {
                Some(NodeEnum::JsonTableColumn(column)) => {
                    if !column.name.is_empty() && column.columns.is_empty() {
                        names.push(column.name.clone());
                    }
                    if let Some(path) = column.pathspec.as_deref() {
                        let path = self.maybe(path.string.as_deref());
                        value.absorb(path);
                    }
                    for behavior in [&column.on_empty, &column.on_error].into_iter().flatten() {
                        let other = self.maybe(behavior.expr.as_deref());
                        value.absorb(other);
                    }
                    if let Some(name) = &column.type_name {
                        value.opaque |= self.type_calls(name);
                    }
                    self.json_columns(&column.columns, value, names);
                }
                #[allow(unreachable_patterns, reason = "the other nodes, by name")]
                Some(other @ any_node!()) => value.absorb(self.unexpected(other, "JSON_TABLE")),
                None => {}
            }
        }
    }
}

/// RETURNING of a JSON expression.
fn output(kind: &NodeEnum) -> Option<&protobuf::JsonOutput> {
    match kind {
        NodeEnum::JsonFuncExpr(part) => part.output.as_ref(),
        NodeEnum::JsonParseExpr(part) => part.output.as_ref(),
        NodeEnum::JsonScalarExpr(part) => part.output.as_ref(),
        NodeEnum::JsonSerializeExpr(part) => part.output.as_ref(),
        NodeEnum::JsonObjectConstructor(part) => part.output.as_ref(),
        NodeEnum::JsonArrayConstructor(part) => part.output.as_ref(),
        NodeEnum::JsonArrayQueryConstructor(part) => part.output.as_ref(),
        NodeEnum::JsonAggConstructor(part) => part.output.as_ref(),
        NodeEnum::JsonObjectAgg(part) => part.constructor.as_deref().and_then(|part| part.output.as_ref()),
        NodeEnum::JsonArrayAgg(part) => part.constructor.as_deref().and_then(|part| part.output.as_ref()),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => None,
    }
}

/// FORMAT JSON.
fn is_formatted(format: &protobuf::JsonFormat) -> bool {
    !matches!(format.format_type(), protobuf::JsonFormatType::Undefined | protobuf::JsonFormatType::JsFormatDefault)
}
