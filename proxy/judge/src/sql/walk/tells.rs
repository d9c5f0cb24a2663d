//! What an operation tells of its values by failing, waiting, or not being reached.

use super::{Walker, names, nodes::any_node, scope::Value};
use crate::sql::{
    failing::{self, Cast, Fails, Operator},
    functions::{Class, Resolved},
};
use pg_query::{Node, NodeEnum, protobuf, protobuf::AExprKind};

/// Longest number in the text that moves no numeric out of range, however often it is used.
const SHORT_NUMBER: usize = 11;

/// Most copies that `repeat` and the like make without the size of a text becoming a question.
const FEW_COPIES: i64 = 100;

/// Functions whose result is a numeric if their first argument is one.
const KEEP_NUMERIC: &[&str] =
    &["abs", "round", "trunc", "ceil", "ceiling", "floor", "sum", "avg", "min", "max", "sign"];

/// Functions that put one of their arguments in the place of parts of another.
const REPLACE: &[&str] = &["replace", "regexp_replace", "overlay"];

/// Longest text of a constant that REPLACE may put in.
const LONGEST_REPLACEMENT: usize = 256;

/// Functions that take documents apart, which fail for those that cannot be.
const TAKE_APART: &[&str] = &[
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
    "hstore",
];

impl<'a> Walker<'a> {
    /// An operation may fail or wait by these values: whether it does tells of them.
    pub(super) fn tell(&mut self, value: &Value) {
        self.hazards += 1;
        self.spend(value.sources.len());
        self.out.told.extend(value.sources.iter().copied());
    }

    /// The same of an argument, unless it is a constant, which cannot be moved over anything.
    fn tell_unless_constant(&mut self, node: Option<&Node>, value: &Value) {
        if !node.is_some_and(is_constant) {
            self.tell(value);
        }
    }

    /// Values of which the later are computed only if the earlier say so (AND, OR, COALESCE): whether what is computed
    /// late fails tells of what came before.
    pub(super) fn short_circuit(&mut self, nodes: &[Node]) -> Value {
        let mut value = Value::default();
        let mut numeric = !nodes.is_empty();
        for node in nodes {
            let before = self.hazards;
            let one = self.expression(node);
            if self.hazards > before && !value.sources.is_empty() {
                let earlier = value.clone();
                self.tell(&earlier);
            }
            numeric &= one.numeric || short_number(node).is_some();
            value.absorb(one);
        }
        value.numeric = numeric;
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
        let (numeric, shaped) = self.operator_tells(expression, &left, &right);
        left.absorb(right);
        left.numeric = numeric;
        left.shaped = shaped;
        left.direct = false;
        left.row = None;
        left.opaque |= self.operator(&expression.name);
        left
    }

    /// Whether the result is a numeric, and whether it may be an array or a document.
    fn operator_tells(&mut self, expression: &protobuf::AExpr, left: &Value, right: &Value) -> (bool, bool) {
        let (left_node, right_node) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
        let (left_number, right_number) = (left_node.and_then(short_number), right_node.and_then(short_number));
        let name = names::split(&expression.name).1;
        match failing::operator(name) {
            Operator::Never => (false, matches!(name, "->" | "#>")),
            Operator::Right => {
                self.tell_unless_constant(right_node, right);
                (false, false)
            }
            // a sign
            Operator::Arithmetic if left_node.is_none() => (right.numeric, false),
            Operator::Arithmetic
                if (left.numeric || left_number.is_some())
                    && (right.numeric || right_number.is_some())
                    && (left.numeric || right.numeric) =>
            {
                (true, false)
            }
            // the other sign
            Operator::Arithmetic if name == "*" && (is_unit(left_number) || is_unit(right_number)) => {
                (left.numeric || right.numeric, false)
            }
            Operator::Division
                if (left.numeric || left.direct) && right_number.is_some_and(|number| number.abs() >= 1.0) =>
            {
                (left.numeric, false)
            }
            Operator::Concatenation if !left.shaped && !right.shaped => (false, false),
            Operator::Arithmetic | Operator::Division | Operator::Concatenation | Operator::Any => {
                // a constant alone fails always or never
                if !(left_node.is_none_or(is_constant) && right_node.is_none_or(is_constant)) {
                    self.tell(left);
                    self.tell(right);
                }
                (false, left.shaped || right.shaped)
            }
        }
    }

    pub(super) fn cast(&mut self, cast: &protobuf::TypeCast) -> Value {
        let mut value = self.maybe(cast.arg.as_deref());
        let direct = value.direct;
        value.direct = false;
        value.row = None;
        let Some(name) = &cast.type_name else { return value };
        value.opaque |= self.type_calls(name);
        let kind = self.cast_to(name);
        let constant = cast.arg.as_deref().is_some_and(is_constant);
        if !constant && (kind == Cast::Chosen || kind == Cast::Fixed && !direct) {
            self.tell(&value);
        }
        let typed = names::split(&name.names).1;
        value.shaped = kind == Cast::Chosen && !matches!(typed, "bit" | "varbit" | "numeric")
            || matches!(typed, "json" | "jsonb" | "xml");
        value.numeric = typed == "numeric" && kind == Cast::Fixed;
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
        let modifiers: Vec<Option<i64>> = name.typmods.iter().map(whole_number).collect();
        failing::cast(typed, &modifiers)
    }

    /// What a call tells of its arguments.
    pub(super) fn call_tells(
        &mut self,
        resolved: &Resolved<'a>,
        name: &str,
        call: Option<&protobuf::FuncCall>,
        arguments: &[Value],
    ) {
        let nodes = call.map(|call| call.args.as_slice()).unwrap_or_default();
        let by_position = call.is_some_and(|call| {
            !call.func_variadic && !nodes.iter().any(|node| matches!(node.node, Some(NodeEnum::NamedArgExpr(_))))
        });
        let few = self.few_copies(name, nodes, arguments);
        let fails = match resolved.class {
            Class::Pure if resolved.candidates.iter().any(|function| function.schema == "information_schema") => {
                Fails::Any
            }
            Class::Pure if few => Fails::Never,
            Class::Pure if name == "hstore" && matches!(nodes, [one] if self.is_row(one)) => Fails::Never,
            // how long it takes is how often something long is put in
            Class::Pure
                if REPLACE.contains(&name)
                    && (nodes.iter().any(is_long) || arguments.iter().any(|value| value.shaped)) =>
            {
                Fails::Any
            }
            Class::Pure if name == "format" && call.is_some_and(only_texts) => Fails::Never,
            Class::Pure if name == "convert_to" && call.is_some_and(to_utf8) => Fails::Never,
            Class::Pure if TAKE_APART.contains(&name) && nodes.iter().all(|node| self.is_of_fixed_size(node)) => {
                Fails::Never
            }
            // with a length, an encoding, a format that multiplies
            Class::Pure if arguments.len() > 1 && matches!(name, "varchar" | "bpchar" | "length") => Fails::Any,
            Class::Pure if name == "to_char" && !nodes.get(1).is_some_and(only_formats) => Fails::Any,
            Class::Pure => failing::function(name),
            Class::Reads | Class::Waits | Class::Sequence | Class::Unknown | Class::Reaches => Fails::Any,
        };
        let at = |position: usize| match fails {
            Fails::Never => false,
            Fails::Any => true,
            Fails::At(_) | Fails::Keys if !by_position => true,
            Fails::At(positions) => positions.contains(&position),
            Fails::Keys => position.is_multiple_of(2),
        };
        // what is not pure waits, or leaves a trace, only if it is reached
        if resolved.class != Class::Pure {
            self.hazards += 1;
        }
        for (position, argument) in arguments.iter().enumerate().filter(|(position, _)| at(*position)) {
            self.tell_unless_constant(nodes.get(position), argument);
        }
        // chance is drawn only if it is reached, and the next draw shows it
        if matches!(name, "random" | "random_normal" | "array_shuffle" | "array_sample") {
            self.hazards += 1;
        }
    }

    /// `repeat` and the like, of so little that neither time nor size is a question.
    fn few_copies(&self, name: &str, nodes: &[Node], arguments: &[Value]) -> bool {
        matches!(name, "repeat" | "lpad" | "rpad")
            && nodes.get(1).and_then(whole_number).is_some_and(|count| count <= FEW_COPIES)
            && arguments.iter().all(|argument| !argument.shaped)
    }

    /// Marks what a call's result is.
    pub(super) fn call_shape(
        &self,
        resolved: &Resolved<'a>,
        name: &str,
        call: Option<&protobuf::FuncCall>,
        first: Option<&Value>,
        value: &mut Value,
    ) {
        let nodes = call.map(|call| call.args.as_slice()).unwrap_or_default();
        let count = nodes.get(1).and_then(whole_number);
        let copies = matches!(name, "repeat" | "lpad" | "rpad") && count.is_none_or(|count| count > FEW_COPIES);
        value.shaped = copies
            // copies of copies are not few
            || (matches!(name, "repeat") && count.is_some_and(|count| count > 1))
            || name == "hstore"
            || (resolved.candidates.is_empty() && self.catalog.knows_functions())
            || resolved.candidates.iter().any(|function| !failing::is_scalar(function.returns));
        value.numeric = KEEP_NUMERIC.contains(&name) && first.is_some_and(|first| first.numeric);
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
    fn is_row(&mut self, node: &Node) -> bool {
        match node.node.as_ref() {
            Some(NodeEnum::RowExpr(_)) => true,
            Some(NodeEnum::ColumnRef(_)) => self.expression(node).row.is_some(),
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => false,
        }
    }
}

/// A constant format of `to_char` without `V`, which multiplies.
fn only_formats(node: &Node) -> bool {
    super::call::constant(node).is_some_and(|text| !text.contains(['v', 'V']))
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

fn is_unit(number: Option<f64>) -> bool {
    number.is_some_and(|number| number.abs() <= 1.0)
}

/// A constant text so long that putting it in takes time.
fn is_long(node: &Node) -> bool {
    super::call::constant(node).is_some_and(|text| text.len() > LONGEST_REPLACEMENT)
}

/// A number of few digits.
fn short_number(node: &Node) -> Option<f64> {
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

fn whole_number(node: &Node) -> Option<i64> {
    use protobuf::a_const::Val;
    let Some(NodeEnum::AConst(constant)) = &node.node else { return None };
    match constant.val.as_ref()? {
        Val::Ival(number) => Some(i64::from(number.ival)),
        Val::Fval(_) | Val::Sval(_) | Val::Bsval(_) | Val::Boolval(_) => None,
    }
}

/// `format` with places for texts only: `%I` fails for what is null, a `*` takes its width from a value.
fn only_texts(call: &protobuf::FuncCall) -> bool {
    let format = call.args.first().and_then(super::call::constant);
    format.is_some_and(|format| {
        !format.contains('*')
            && format.split('%').skip(1).all(|place| place.is_empty() || place.starts_with(['s', 'L']))
    })
}

fn to_utf8(call: &protobuf::FuncCall) -> bool {
    let encoding = call.args.get(1).and_then(super::call::constant);
    encoding.is_some_and(|name| matches!(name.to_ascii_lowercase().as_str(), "utf8" | "utf-8"))
}
