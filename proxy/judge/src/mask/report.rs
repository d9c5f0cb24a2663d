//! Errors and notices of statements that touch protected data: what PostgreSQL says may quote a value.

/// The fields of an ErrorResponse or NoticeResponse, without anything that could quote a value: severity and SQLSTATE
/// stay, the message is one for the class of the SQLSTATE; detail, hint, context, position, names and source are dropped.
pub fn scrub_report(fields: &[(u8, String)]) -> Vec<(u8, String)> {
    let state = fields.iter().find(|(code, _)| *code == b'C').map_or("", |(_, text)| text.as_str());
    let is_state = state.len() == 5 && state.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    let state = if is_state { state } else { "XX000" };
    let mut kept = Vec::with_capacity(5);
    for (code, text) in fields {
        // severities are words of PostgreSQL, localized in S
        if matches!(code, b'S' | b'V') {
            kept.push((*code, text.clone()));
        }
    }
    kept.push((b'C', state.to_owned()));
    kept.push((b'M', message(state).to_owned()));
    kept.push((b'H', "the statement touches masked columns, so the text of the database is not shown".to_owned()));
    kept
}

fn message(state: &str) -> &'static str {
    match state {
        "23502" => "a column that must have a value has none",
        "23503" => "a foreign key constraint is violated",
        "23505" => "a unique constraint is violated",
        "23514" => "a check constraint is violated",
        "22001" => "a value is too long for its column",
        "22003" => "a number is out of range",
        "22007" | "22008" => "a date or time is not valid",
        "22012" => "division by zero",
        "22P02" => "a value is not valid for its type",
        "40001" => "could not serialize access",
        "40P01" => "deadlock detected",
        "42P01" => "a relation does not exist",
        "42703" => "a column does not exist",
        "42601" => "syntax error",
        "42501" => "permission denied",
        "55P03" => "a lock is not available",
        "57014" => "the statement was canceled",
        _ => by_class(state.get(..2).unwrap_or_default()),
    }
}

fn by_class(class: &str) -> &'static str {
    match class {
        "00" => "notice",
        "01" => "warning",
        "02" => "no data",
        "08" => "connection error",
        "0A" => "feature not supported",
        "21" => "a query returned more than one row",
        "22" => "a value is not valid",
        "23" => "an integrity constraint is violated",
        "24" => "invalid cursor state",
        "25" => "invalid transaction state",
        "26" | "34" => "a statement or cursor of that name does not exist",
        "2B" | "2D" | "40" => "the transaction cannot go on",
        "3D" | "3F" => "a database or schema does not exist",
        "42" => "the statement is not valid",
        "53" => "the server is short of resources",
        "54" => "a limit of the server is exceeded",
        "55" => "the object is not in a state for this",
        "57" => "an operator or a timeout intervened",
        "P0" => "a function raised an error",
        _ => "the database reported an error",
    }
}
