//! Constants that cannot make an operation fail.
//!
//! An operation that fails for a constant fails only if it is computed, and PostgreSQL does not compute most of them over
//! NULL: `nullif(left(ssn, 1), '5') ~ '('` asks about the digit. So a constant is left out of account only where it is a
//! plain literal that is known to be good there.

use crate::sql::pattern;
use pg_query::{Node, NodeEnum, protobuf::a_const::Val};

/// Fields that every date and time without a time of day only has.
const DATE_FIELDS: &[&str] = &["millennium", "century", "decade", "year", "quarter", "month", "day"];

/// Fields to which every date and time can be cut.
const TIME_FIELDS: &[&str] = &["hour", "minute", "second", "milliseconds", "microseconds"];

/// A literal's text as it stands: a cast could make another of it.
pub(super) fn text(node: &Node) -> Option<&str> {
    let Some(NodeEnum::AConst(constant)) = &node.node else { return None };
    if let Some(Val::Sval(text)) = &constant.val { Some(&text.sval) } else { None }
}

/// A literal whole number.
pub(super) fn number(node: &Node) -> Option<i64> {
    let Some(NodeEnum::AConst(constant)) = &node.node else { return None };
    if let Some(Val::Ival(number)) = &constant.val { Some(i64::from(number.ival)) } else { None }
}

/// Whether the argument at this position of a call of that name cannot make it fail.
pub(super) fn argument(name: &str, arguments: usize, position: usize, node: &Node) -> bool {
    let text = text(node);
    let number = number(node);
    let one_of = |names: &[&str]| text.is_some_and(|text| names.contains(&text.to_ascii_lowercase().as_str()));
    match name {
        "date_part" | "extract" => one_of(&["epoch"]),
        "date_trunc" => position == 0 && (one_of(DATE_FIELDS) || one_of(TIME_FIELDS)),
        "timezone" => one_of(&["utc"]),
        "ntile" | "nth_value" => number.is_some_and(|number| number > 0),
        "percentile_cont" | "percentile_disc" => {
            super::tells::short_number(node).is_some_and(|number| (0.0..=1.0).contains(&number))
        }
        "round" | "trunc" | "lag" | "lead" | "array_length" | "array_upper" | "array_lower" => number.is_some(),
        "encode" => one_of(&["hex", "base64", "escape"]),
        "digest" | "hmac" => one_of(&["md5", "sha1", "sha224", "sha256", "sha384", "sha512"]),
        "normalize" | "is_normalized" => one_of(&["nfc", "nfd", "nfkc", "nfkd"]),
        "split_part" => number.is_some_and(|number| number != 0),
        "substring" | "substr" if position == 1 => {
            number.is_some() || arguments == 2 && text.is_some_and(pattern::expression_is_sound)
        }
        "substring" | "substr" => number.is_some_and(|number| number >= 0),
        "overlay" => number.is_some_and(|number| number >= i64::from(position == 2)),
        name if name.starts_with("regexp_") && position == 1 => text.is_some_and(pattern::expression_is_sound),
        "regexp_replace" | "regexp_matches" => {
            is_flags(text, "icnmspwg") || is_start(number) && name != "regexp_matches"
        }
        "regexp_like" | "regexp_match" | "regexp_split_to_array" | "regexp_split_to_table" => is_flags(text, "icnmspw"),
        "regexp_count" | "regexp_instr" | "regexp_substr" => is_flags(text, "icnmspw") || is_start(number),
        _ => false, // no node: a function's name
    }
}

fn is_flags(text: Option<&str>, known: &str) -> bool {
    text.is_some_and(|text| text.chars().all(|flag| known.contains(flag)))
}

/// Where to begin, which match, and which end of it: 1 is good for all.
fn is_start(number: Option<i64>) -> bool {
    number == Some(1)
}

/// Whether a pattern on the right of an operator cannot make it fail.
pub(super) fn operand(name: &str, node: &Node) -> bool {
    let Some(text) = text(node) else { return false };
    if name.contains("~~") { pattern::like_is_sound(text) } else { pattern::expression_is_sound(text) }
}
