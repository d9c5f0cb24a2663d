//! What a call tells of its arguments by failing, waiting, or the size of its result, and what it makes of them.

use super::{
    Walker, proven,
    scope::Value,
    tells::{TAKE_APART, is_constant},
};
use crate::sql::{
    failing::{self, Fails},
    functions::{Class, Resolved},
};
use pg_query::{Node, NodeEnum, protobuf};

/// Most copies that `repeat` and the like make without the size of a text becoming a question.
const FEW_COPIES: i64 = 100;

/// Functions whose result is a numeric if their first argument is one.
const KEEP_NUMERIC: &[&str] =
    &["abs", "round", "trunc", "ceil", "ceiling", "floor", "sum", "avg", "min", "max", "sign"];

/// Functions that put one of their arguments in the place of parts of another.
const REPLACE: &[&str] = &["replace", "regexp_replace", "overlay"];

/// Functions that put their arguments together.
const JOIN: &[&str] = &["concat", "concat_ws", "format", "textcat", "lpad", "rpad", "string_agg"];

/// Aggregates that put the values of many rows together.
const GATHER: &[&str] = &[
    "array_agg",
    "string_agg",
    "json_agg",
    "json_agg_strict",
    "json_arrayagg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "xmlagg",
];

/// Aggregates that add, and overflow but for whole numbers and numerics.
const SUMS: &[&str] = &["sum", "avg", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp"];

/// Functions whose result is no longer than their arguments, or of a fixed length.
const BRIEF: &[&str] = &[
    "any_value",
    "ascii",
    "btrim",
    "encode",
    "first_value",
    "initcap",
    "lag",
    "last_value",
    "lead",
    "left",
    "lower",
    "ltrim",
    "max",
    "md5",
    "min",
    "regexp_substr",
    "reverse",
    "right",
    "rtrim",
    "sha256",
    "split_part",
    "substr",
    "substring",
    "to_json",
    "to_jsonb",
    "to_hex",
    "translate",
    "upper",
];

/// Longest text of a constant that REPLACE may put in.
const LONGEST_REPLACEMENT: usize = 256;

impl<'a> Walker<'a> {
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
        let fails = self.call_fails(resolved, name, call, arguments);
        let unproven: Vec<usize> = match fails {
            Fails::At(positions) if by_position => {
                let good = |at: usize| nodes.get(at).is_none_or(|node| proven::argument(name, nodes.len(), at, node));
                positions.iter().copied().filter(|at| !good(*at)).collect()
            }
            Fails::At(_) | Fails::Never | Fails::Any | Fails::Keys => Vec::new(),
        };
        // what fails by one argument is computed only if the others are not null
        let at = |position: usize| match fails {
            Fails::Never => false,
            Fails::Any => true,
            Fails::At(_) | Fails::Keys if !by_position => true,
            Fails::At(_) => {
                unproven.contains(&position)
                    || !unproven.is_empty() && !arguments.get(position).is_some_and(|argument| argument.stored)
            }
            Fails::Keys => position.is_multiple_of(2),
        };
        self.hazards += unproven.len();
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

    /// Which of a call's arguments can make it fail.
    fn call_fails(
        &mut self,
        resolved: &Resolved<'a>,
        name: &str,
        call: Option<&protobuf::FuncCall>,
        arguments: &[Value],
    ) -> Fails {
        let nodes = call.map(|call| call.args.as_slice()).unwrap_or_default();
        let few = self.few_copies(name, nodes, arguments);
        match resolved.class {
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
            // a size that somebody chose is a question if it comes to the largest there is
            Class::Pure if GATHER.contains(&name) && !all_brief(arguments, nodes) => Fails::Any,
            Class::Pure if JOIN.contains(&name) && arguments.iter().any(|one| one.shaped && one.row.is_none()) => {
                Fails::Any
            }
            Class::Pure if SUMS.contains(&name) && !arguments.iter().all(|one| one.numeric || one.whole) => Fails::Any,
            Class::Pure if matches!(name, "min" | "max" | "mode") && arguments.iter().any(Value::is_deep) => Fails::Any,
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
        }
    }

    /// `repeat` and the like, of so little that neither time nor size is a question.
    fn few_copies(&self, name: &str, nodes: &[Node], arguments: &[Value]) -> bool {
        matches!(name, "repeat" | "lpad" | "rpad")
            && nodes.get(1).and_then(proven::number).is_some_and(|count| count <= FEW_COPIES)
            && arguments.iter().all(|argument| !argument.shaped)
    }

    /// Marks what a call's result is.
    pub(super) fn call_shape(
        &self,
        resolved: &Resolved<'a>,
        name: &str,
        call: Option<&protobuf::FuncCall>,
        arguments: &[Value],
        value: &mut Value,
    ) {
        let nodes = call.map(|call| call.args.as_slice()).unwrap_or_default();
        let count = nodes.get(1).and_then(proven::number);
        let copies = matches!(name, "repeat" | "lpad" | "rpad") && count.is_none_or(|count| count > FEW_COPIES);
        value.shaped = copies
            // copies of copies are not few
            || (matches!(name, "repeat") && count.is_some_and(|count| count > 1))
            || name == "hstore"
            || (resolved.candidates.is_empty() && self.catalog.knows_functions())
            || resolved.candidates.iter().any(|function| !failing::is_scalar(function.returns));
        value.shaped |= matches!(name, "replace" | "regexp_replace") && lengthens(name, nodes);
        value.composite &= value.shaped;
        let hidden = arguments.iter().filter(|argument| !argument.sources.is_empty()).count();
        value.joined |= JOIN.contains(&name) && hidden > 1 || matches!(name, "array_to_string" | "string_agg");
        value.brief = BRIEF.contains(&name) && all_brief(arguments, nodes);
        let first = arguments.first();
        value.whole = !resolved.candidates.is_empty()
            && resolved.candidates.iter().all(|function| failing::is_whole(function.returns))
            || matches!(name, "sum" | "min" | "max") && first.is_some_and(|first| first.whole);
        value.numeric = KEEP_NUMERIC.contains(&name) && first.is_some_and(|first| first.numeric);
    }
}

/// Arguments none of which is longer than what is stored.
fn all_brief(arguments: &[Value], nodes: &[Node]) -> bool {
    arguments.len() == nodes.len() && arguments.iter().zip(nodes).all(is_brief)
}

/// An argument that is no longer than what is stored.
fn is_brief((value, node): (&Value, &Node)) -> bool {
    is_constant(node) && !is_long(node) || value.is_brief()
}

/// `replace` and `regexp_replace`, unless what they put in is no longer than what they take out.
fn lengthens(name: &str, nodes: &[Node]) -> bool {
    let length = |position: usize| nodes.get(position).and_then(proven::text).map(|text| text.chars().count());
    match (name, length(1), length(2)) {
        (_, _, Some(0)) => false,
        // an expression may match nothing, over and over
        ("replace", Some(taken), Some(put)) => put > taken,
        (..) => true,
    }
}

/// A constant text so long that putting it in takes time.
fn is_long(node: &Node) -> bool {
    super::call::constant(node).is_some_and(|text| text.len() > LONGEST_REPLACEMENT)
}

/// `format` with places for texts only: `%I` fails for what is null, a `*` takes its width from a value.
fn only_texts(call: &protobuf::FuncCall) -> bool {
    let format = call.args.first().and_then(proven::text);
    format.is_some_and(|format| {
        !format.contains('*')
            && format.split('%').skip(1).all(|place| place.is_empty() || place.starts_with(['s', 'L']))
    })
}

fn to_utf8(call: &protobuf::FuncCall) -> bool {
    let encoding = call.args.get(1).and_then(proven::text);
    encoding.is_some_and(|name| matches!(name.to_ascii_lowercase().as_str(), "utf8" | "utf-8"))
}

/// A constant format of `to_char` without `V`, which multiplies.
fn only_formats(node: &Node) -> bool {
    proven::text(node).is_some_and(|text| !text.contains(['v', 'V']))
}
