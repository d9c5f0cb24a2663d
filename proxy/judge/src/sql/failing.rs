//! What can fail for one value and not for another.
//!
//! Over a hidden value such an operation is a question: `translate(left(ssn, 1), '5', 'x')::int` fails where the first digit
//! is 5. So this is a list of what cannot fail, whatever its arguments hold; everything else tells of them. A constant that
//! cannot be moved over the values is left out of account: `substr(ssn, 1, 3)` asks nothing.

use std::{collections::HashSet, sync::LazyLock};

/// Which of a function's arguments can make it fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fails {
    /// None.
    Never,
    /// Those at these positions, from 0.
    At(&'static [usize]),
    /// The keys, every other one from the first.
    Keys,
    /// Any.
    Any,
}

/// Functions that no argument makes fail.
static TOTAL: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("functions/total.txt").split_whitespace().collect());

/// Which arguments of PostgreSQL's own function (or a known extension's) of that name can make it fail, all forms of it
/// together.
pub(super) fn function(name: &str) -> Fails {
    if TOTAL.contains(name) || name.starts_with("hash") {
        return Fails::Never;
    }
    match name {
        "date_trunc" => Fails::At(&[0, 2]),
        "date_part" | "extract" | "timezone" | "ntile" | "percentile_cont" | "percentile_disc" => Fails::At(&[0]),
        "round" | "trunc" | "to_char" | "encode" | "digest" | "normalize" | "is_normalized" | "lag" | "lead"
        | "nth_value" | "array_length" | "array_upper" | "array_lower" => Fails::At(&[1]),
        "hmac" | "split_part" => Fails::At(&[2]),
        "substring" | "substr" => Fails::At(&[1, 2]),
        "overlay" => Fails::At(&[2, 3]),
        "regexp_replace" => Fails::At(&[1, 3, 4, 5]),
        "regexp_match"
        | "regexp_matches"
        | "regexp_count"
        | "regexp_instr"
        | "regexp_like"
        | "regexp_substr"
        | "regexp_split_to_array"
        | "regexp_split_to_table" => Fails::At(&[1, 2, 3, 4, 5, 6]),
        "json_build_object" | "jsonb_build_object" | "json_object_agg" | "jsonb_object_agg" => Fails::Keys,
        _ => Fails::Any, // no node: a function's name
    }
}

/// How an operator can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// It cannot.
    Never,
    /// By comparing rows and arrays.
    Comparison,
    /// By its right side: a pattern.
    Right,
    /// Out of range, but for numbers of any size.
    Arithmetic,
    /// By a zero on its right, and out of range.
    Division,
    /// By the shapes of arrays and documents, but for text.
    Concatenation,
    /// Somehow.
    Any,
}

/// How PostgreSQL's own operators (or a known extension's) of that name can fail.
pub(super) fn operator(name: &str) -> Operator {
    match name {
        "=" | "<>" | "!=" | "<" | ">" | "<=" | ">=" | "@>" | "<@" | "&&" => Operator::Comparison,
        "->" | "->>" | "#>" | "#>>" | "?" | "?|" | "?&" | "^@" | "<->" | "~>=~" | "~<=~" | "~<~" | "~>~" => {
            Operator::Never
        }
        "~~" | "!~~" | "~~*" | "!~~*" | "~" | "~*" | "!~" | "!~*" => Operator::Right,
        "+" | "-" | "*" => Operator::Arithmetic,
        "/" | "%" => Operator::Division,
        "||" => Operator::Concatenation,
        _ => Operator::Any, // no node: an operator's name
    }
}

/// What a cast to a type can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cast {
    /// Every value has a text.
    Text,
    /// A value of another type either reads as one or does not: nobody can move the limit.
    Fixed,
    /// The limit can be chosen: precision, or a type that somebody made.
    Chosen,
}

/// What a cast to PostgreSQL's own type of that name can do.
pub(super) fn cast(name: &str, modifiers: &[Option<i64>]) -> Cast {
    match (name, modifiers) {
        ("text" | "varchar" | "bpchar" | "char" | "name" | "unknown", _) => Cast::Text,
        ("numeric", [Some(precision), Some(scale)]) if precision - scale >= WIDE => Cast::Fixed,
        ("numeric", [Some(precision)]) if *precision >= WIDE => Cast::Fixed,
        ("timestamp" | "timestamptz" | "time" | "timetz" | "interval", _) => Cast::Fixed,
        (
            "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "date" | "bool" | "uuid" | "inet" | "cidr"
            | "macaddr" | "bytea" | "json" | "jsonb" | "xml" | "money" | "oid",
            [],
        ) => Cast::Fixed,
        (..) => Cast::Chosen,
    }
}

/// Digits before the point that leave every ordinary number room, so that nobody can move the limit over one.
const WIDE: i64 = 30;

/// Types whose values are no array, document or row, by their ids in `pg_type`.
const SCALAR: &[u32] = &[
    16, 17, 18, 19, 20, 21, 23, 25, 26, 650, 700, 701, 705, 790, 829, 869, 1042, 1043, 1082, 1083, 1114, 1184, 1186,
    1266, 1560, 1562, 1700, 2950,
];

/// Whether values of PostgreSQL's own type of that id are no array, document or row.
pub(super) fn is_scalar(type_id: u32) -> bool {
    SCALAR.contains(&type_id)
}

/// Whether values of PostgreSQL's own type of that id are whole numbers.
pub(super) fn is_whole(type_id: u32) -> bool {
    matches!(type_id, 20 | 21 | 23)
}

/// The id of `numeric`, whose sums and products are never out of range in practice.
pub(super) const NUMERIC: u32 = 1700;
