//! What an operation tells of its values by failing, waiting, or not being reached.

use super::{Walker, names, nodes::any_node, proven, scope::Value};
use crate::sql::failing::{self, Cast, Operator};
use pg_query::{Node, NodeEnum, protobuf, protobuf::AExprKind};

/// Longest number in the text that moves no numeric out of range, however often it is used.
const SHORT_NUMBER: usize = 11;

/// Functions that take documents apart, which fail for those that cannot be.
pub(super) const TAKE_APART: &[&str] = &[
    "json_each",
    "json_each_text",
    "jsonb_each",
    "jsonb_each_text",
    "json_object_keys",
    "jsonb_object_keys",
    "each",
    "akeys",
    "avals",
    "skeys",
    "svals",
];

impl<'a> Walker<'a> {
    /// An operation may fail or wait by these values: whether it does tells of them.
    pub(super) fn tell(&mut self, value: &Value) {
        self.hazards += 1;
        self.spend(value.sources.len());
        self.out.told.extend(value.sources.iter().copied());
    }

    /// The same of an argument, unless it is a constant, which cannot be moved over anything.
    pub(super) fn tell_unless_constant(&mut self, node: Option<&Node>, value: &Value) {
        if node.is_some_and(is_constant) {
            self.hazards += 1;
        } else {
            self.tell(value);
        }
    }

    /// Values of which the later are computed only if the earlier say so (AND, OR, COALESCE): whether what is computed
    /// late fails tells of what came before.
    pub(super) fn short_circuit(&mut self, nodes: &[Node]) -> Value {
        let mut value = Value::default();
        let (mut numeric, mut whole) = (!nodes.is_empty(), !nodes.is_empty());
        for node in nodes {
            let before = self.hazards;
            let one = self.expression(node);
            if self.hazards > before && !value.sources.is_empty() {
                let earlier = value.clone();
                self.tell(&earlier);
            }
            numeric &= one.numeric || short_number(node).is_some();
            whole &= one.whole || proven::number(node).is_some();
            value.absorb(one);
        }
        value.numeric = numeric;
        value.whole = whole;
        value
    }

    pub(super) fn operation(&mut self, expression: &protobuf::AExpr) -> Value {
        let before = self.hazards;
        let (left_node, right_node) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
        let mut left = self.maybe(left_node);
        let right = self.maybe(right_node);
        if self.hazards > before && is_lazy(expression) {
            self.tell(&left);
            self.tell(&right);
        }
        let made = self.operator_tells(expression, &left, &right);
        left.absorb(right);
        left.numeric = made.numeric;
        left.whole = made.whole;
        left.shaped = made.shaped;
        left.composite &= made.shaped || expression.kind() == AExprKind::AexprNullif;
        left.joined |= made.joined;
        left.opaque |= self.operator(&expression.name);
        if !made_text(expression) {
            left.collation = 0;
        }
        left
    }

    /// What an operator tells, and what it makes.
    fn operator_tells(&mut self, expression: &protobuf::AExpr, left: &Value, right: &Value) -> Made {
        let (left_node, right_node) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
        let (left_number, right_number) = (left_node.and_then(short_number), right_node.and_then(short_number));
        let name = names::split(&expression.name).1;
        let numeric = left.numeric || right.numeric;
        match failing::operator(name) {
            Operator::Never => Made { shaped: matches!(name, "->" | "#>"), ..Made::default() },
            Operator::Comparison => {
                if compares_deeply(expression, left, right) {
                    self.tell(left);
                    self.tell(right);
                }
                if expression.kind() == AExprKind::AexprNullif {
                    Made { numeric: left.numeric, whole: left.whole, shaped: left.shaped, joined: left.joined }
                } else {
                    Made::default()
                }
            }
            Operator::Right => {
                self.pattern_tells(expression, name, left, right);
                Made::default()
            }
            // a sign
            Operator::Arithmetic if left_node.is_none() => {
                Made { numeric: right.numeric, whole: right.whole, ..Made::default() }
            }
            // a number by itself, over and over, outgrows every type
            Operator::Arithmetic
                if (left.numeric || left_number.is_some())
                    && (right.numeric || right_number.is_some())
                    && numeric
                    && (name != "*" || left_number.is_some() || right_number.is_some()) =>
            {
                Made { numeric: true, ..Made::default() }
            }
            // the other sign
            Operator::Arithmetic
                if name == "*"
                    && (is_unit(left_number) || is_unit(right_number))
                    && (numeric || left.whole || right.whole) =>
            {
                Made { numeric, ..Made::default() }
            }
            Operator::Division
                if (left.numeric || left.whole || left.direct && left.stored)
                    && right_number.is_some_and(|number| number.abs() >= 1.0) =>
            {
                Made { numeric: left.numeric, ..Made::default() }
            }
            Operator::Concatenation if !left.shaped && !right.shaped => {
                Made { joined: !left.sources.is_empty() && !right.sources.is_empty(), ..Made::default() }
            }
            Operator::Arithmetic | Operator::Division | Operator::Concatenation | Operator::Any => {
                // a constant alone fails always or never, if it is computed
                if left_node.is_none_or(is_constant) && right_node.is_none_or(is_constant) {
                    self.hazards += 1;
                } else {
                    self.tell(left);
                    self.tell(right);
                }
                Made { shaped: left.shaped || right.shaped, ..Made::default() }
            }
        }
    }

    /// A pattern that is not one fails where it is computed, or where it gets as far as its end.
    fn pattern_tells(&mut self, expression: &protobuf::AExpr, name: &str, left: &Value, right: &Value) {
        let one = matches!(expression.kind(), AExprKind::AexprOp | AExprKind::AexprLike | AExprKind::AexprIlike);
        let node = expression.rexpr.as_deref();
        if one && node.is_some_and(|node| proven::operand(name, node)) {
            return;
        }
        self.tell_unless_constant(node, right);
        if name.contains("~~") || !left.stored || !node.is_some_and(is_constant) {
            self.tell(left);
        }
    }

    /// GREATEST and LEAST compare.
    pub(super) fn greatest_or_least(&mut self, nodes: &[Node]) -> Value {
        let values: Vec<Value> = nodes.iter().map(|node| self.expression(node)).collect();
        let deep = values.iter().any(Value::is_deep);
        let mut all = Value::default();
        for value in values {
            all.absorb(value);
        }
        if deep {
            self.tell(&all);
        }
        all
    }

    /// IS NULL looks at the columns of a row one after the other, until one decides.
    pub(super) fn null_test(&mut self, node: Option<&Node>) -> Value {
        let mut value = match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::RowExpr(row)) => self.short_circuit(&row.args),
            Some(_) | None => {
                let value = self.maybe(node); // no node: whatever is tested
                if value.risky && value.row.is_some() {
                    self.tell(&value);
                }
                value
            }
        };
        value = Value { sources: value.sources, opaque: value.opaque, risky: value.risky, ..Value::default() };
        value
    }

    /// ARRAY[...] of arrays fails where they are not of one length.
    pub(super) fn array(&mut self, nodes: &[Node]) -> Value {
        let mut all = Value::default();
        let mut deep = false;
        for node in nodes {
            let value = self.expression(node);
            deep |= value.shaped && value.row.is_none();
            all.absorb(value);
        }
        if deep && nodes.len() > 1 {
            self.tell(&all);
        }
        all.composite |= deep;
        all.shaped = true;
        all
    }

    pub(super) fn cast(&mut self, cast: &protobuf::TypeCast) -> Value {
        let mut value = self.maybe(cast.arg.as_deref());
        let direct = value.direct && value.stored;
        value.direct = false;
        value.composite |= value.row.take().is_some();
        let Some(name) = &cast.type_name else { return value };
        value.opaque |= self.type_calls(name);
        let kind = self.cast_to(name);
        let constant = cast.arg.as_deref().is_some_and(is_constant);
        if !constant && (kind == Cast::Chosen || kind == Cast::Fixed && !direct) {
            self.tell(&value);
        }
        let (schema, typed) = names::split(&name.names);
        let collation = self.catalog.resolve_type(schema, typed, self.search_path).map_or(0, |found| found.collation);
        value.collation =
            if collation == 0 || value.collation != 0 && typed == "name" { value.collation } else { collation };
        value.shaped = kind == Cast::Chosen && !matches!(typed, "bit" | "varbit" | "numeric")
            || matches!(typed, "json" | "jsonb" | "xml");
        value.numeric = typed == "numeric" && kind == Cast::Fixed;
        value.whole = matches!(typed, "int2" | "int4" | "int8") && kind == Cast::Fixed;
        value.composite &= value.shaped;
        value.joined &= kind == Cast::Text;
        value.stored &= kind != Cast::Chosen;
        value
    }

    /// What making a value of a type can do.
    pub(super) fn cast_to(&self, name: &protobuf::TypeName) -> Cast {
        let (schema, typed) = names::split(&name.names);
        let found = self.catalog.resolve_type(schema, typed, self.search_path);
        let own = self.catalog.resolve_type("pg_catalog", typed, self.search_path);
        let same = match (found, own) {
            (Some(found), Some(own)) => std::ptr::eq(found, own),
            (Some(found), None) => {
                return if found.is_text && name.array_bounds.is_empty() { Cast::Text } else { Cast::Chosen };
            }
            // a catalog without types
            (None, _) => matches!(schema, "" | "pg_catalog") && !self.catalog.knows_functions(),
        };
        if !same || !name.array_bounds.is_empty() {
            return Cast::Chosen;
        }
        let modifiers: Vec<Option<i64>> = name.typmods.iter().map(proven::number).collect();
        failing::cast(typed, &modifiers)
    }

    /// A function that returns as many rows for every value.
    pub(super) fn yields_fixed_rows(&mut self, name: &str, arguments: &[Node]) -> bool {
        arguments.iter().all(is_constant)
            || ((TAKE_APART.contains(&name) || matches!(name, "unnest" | "generate_subscripts"))
                && arguments.iter().all(|argument| self.is_of_fixed_size(argument)))
    }

    /// An argument whose number of elements does not depend on what is stored.
    pub(super) fn is_of_fixed_size(&mut self, node: &Node) -> bool {
        match node.node.as_ref() {
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
            // an array of arrays has as many elements as those
            Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(|element| !self.expression(element).shaped),
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(|node| self.is_of_fixed_size(node)),
            Some(NodeEnum::FuncCall(call)) => {
                let (name, arguments) = (names::split(&call.funcname).1, call.args.as_slice());
                (TAKE_APART.contains(&name) || matches!(name, "to_jsonb" | "to_json" | "row_to_json"))
                    && matches!(arguments, [one] if self.is_row(one))
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => false,
        }
    }

    /// A whole row, none of whose own columns is taken for one.
    pub(super) fn is_row(&mut self, node: &Node) -> bool {
        match node.node.as_ref() {
            Some(NodeEnum::RowExpr(_)) => true,
            Some(NodeEnum::ColumnRef(_)) => self.expression(node).row.is_some(),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => false,
        }
    }
}

/// What it makes may have the collation of what it is made of.
fn made_text(expression: &protobuf::AExpr) -> bool {
    let operator = failing::operator(names::split(&expression.name).1);
    expression.kind() == AExprKind::AexprNullif || matches!(operator, Operator::Concatenation | Operator::Any)
}

/// Some of its parts may not be computed: PostgreSQL makes AND and OR of it.
fn is_lazy(expression: &protobuf::AExpr) -> bool {
    let is_row = |node: &Option<Box<Node>>| {
        matches!(node.as_deref().and_then(|node| node.node.as_ref()), Some(NodeEnum::RowExpr(_)))
    };
    matches!(
        expression.kind(),
        AExprKind::AexprIn
            | AExprKind::AexprBetween
            | AExprKind::AexprNotBetween
            | AExprKind::AexprBetweenSym
            | AExprKind::AexprNotBetweenSym
    ) || is_row(&expression.lexpr)
        || is_row(&expression.rexpr)
}

/// A literal, a parameter, or a cast of one: the same for every row.
pub(super) fn is_constant(node: &Node) -> bool {
    match node.node.as_ref() {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        Some(NodeEnum::NamedArgExpr(argument)) => argument.arg.as_deref().is_some_and(is_constant),
        // a negative number
        Some(NodeEnum::AExpr(expression)) => {
            expression.lexpr.is_none() && expression.rexpr.as_deref().is_some_and(is_constant)
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        None | Some(any_node!()) => false,
    }
}

/// What an operator makes.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    numeric: bool,
    whole: bool,
    shaped: bool,
    joined: bool,
}

/// Whether it compares rows or arrays, which fails where elements of other types or lengths are reached.
fn compares_deeply(expression: &protobuf::AExpr, left: &Value, right: &Value) -> bool {
    let sides = [expression.lexpr.as_deref(), expression.rexpr.as_deref()];
    // a literal is read as what it is compared with
    if sides.into_iter().flatten().any(|node| proven::text(node).is_some()) {
        return false;
    }
    let is_row = |node: &Node| match &node.node {
        Some(NodeEnum::RowExpr(_)) => true,
        Some(NodeEnum::List(list)) => list.items.iter().all(|item| matches!(item.node, Some(NodeEnum::RowExpr(_)))),
        Some(_) | None => false, // no node: a side
    };
    let fields = |value: &Value| value.row.as_ref().is_some_and(|row| row.fields.iter().any(|one| one.value.is_deep()));
    if sides.into_iter().flatten().all(is_row) {
        return fields(left) || fields(right);
    }
    if matches!(expression.kind(), AExprKind::AexprOpAny | AExprKind::AexprOpAll) {
        return left.is_deep() || right.composite || right.row.is_some();
    }
    left.is_deep() || right.is_deep()
}

fn is_unit(number: Option<f64>) -> bool {
    number.is_some_and(|number| number.abs() <= 1.0)
}

/// A number of few digits.
pub(super) fn short_number(node: &Node) -> Option<f64> {
    use protobuf::a_const::Val;
    let Some(NodeEnum::AConst(constant)) = &node.node else { return None };
    match constant.val.as_ref()? {
        Val::Ival(number) => Some(f64::from(number.ival)),
        Val::Fval(number) if number.fval.len() <= SHORT_NUMBER && !number.fval.contains(['e', 'E', 'x', 'X']) => {
            number.fval.parse().ok()
        }
        Val::Fval(_) | Val::Sval(_) | Val::Bsval(_) | Val::Boolval(_) => None,
    }
}
