//! Errors and notices of statements that touch protected data: what PostgreSQL says may quote a value.

/// The fields of an ErrorResponse or NoticeResponse, without anything that could quote a value: severity and SQLSTATE
/// stay, the message is one for the class of the SQLSTATE; detail, hint, context, position, names and source are dropped.
pub fn scrub_report(fields: &[(u8, String)]) -> Vec<(u8, String)> {
    let state = fields.iter().find(|(code, _)| *code == b'C').map_or("", |(_, text)| text.as_str());
    let state = shown_state(state);
    let mut kept = Vec::with_capacity(5);
    for (code, text) in fields {
        // severities are words of PostgreSQL, localized in S
        if matches!(code, b'S' | b'V') {
            kept.push((*code, text.clone()));
        }
    }
    kept.push((b'C', state.clone()));
    kept.push((b'M', message(&state).to_owned()));
    kept.push((b'H', "the statement touches masked columns, so the text of the database is not shown".to_owned()));
    kept
}

/// The SQLSTATE that is shown: a standard one, or its class. Of what is wrong with a value (class 22) only the class:
/// which way a conversion failed tells what was converted. A function can raise any five letters.
pub fn shown_state(state: &str) -> String {
    let class = state.get(..2).unwrap_or_default();
    match state {
        _ if class == "22" => "22000".to_owned(),
        _ if STATES.contains(&state) => state.to_owned(),
        _ if by_class(class) != OTHER => format!("{class}000"),
        _ => "XX000".to_owned(),
    }
}

/// States that a client acts on.
const STATES: &[&str] = &[
    "00000", "01000", "02000", "0A000", "21000", "23000", "23001", "23502", "23503", "23505", "23514", "23P01",
    "24000", "25000", "25001", "25006", "25P01", "25P02", "25P03", "26000", "2BP01", "34000", "3D000", "3F000",
    "40000", "40001", "40002", "40003", "40P01", "42501", "42601", "42602", "42622", "42701", "42702", "42703",
    "42704", "42710", "42712", "42723", "42725", "42803", "42804", "42809", "42830", "42846", "42883", "42939",
    "42P01", "42P02", "42P03", "42P04", "42P05", "42P06", "42P07", "42P08", "42P09", "42P10", "42P16", "42P17",
    "42P18", "42P19", "42P20", "42P21", "42P22", "53000", "53100", "53200", "53300", "53400", "54000", "54001",
    "54011", "54023", "55000", "55006", "55P02", "55P03", "57000", "57014", "57P01", "57P02", "57P03", "57P05",
    "58000", "58030", "P0001", "P0002", "P0003", "P0004", "XX000", "XX001", "XX002",
];

const OTHER: &str = "the database reported an error";

fn message(state: &str) -> &'static str {
    match state {
        "23502" => "a column that must have a value has none",
        "23503" => "a foreign key constraint is violated",
        "23505" => "a unique constraint is violated",
        "23514" => "a check constraint is violated",
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
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_standard_state_and_its_text_is_left() {
        let fields = |state: &str| {
            let texts = "SVCMDHPpqWstcdnFLR".chars().map(|code| (code as u8, format!("4929731608452298 {code}")));
            let mut fields: Vec<(u8, String)> = texts.collect();
            fields[0].1 = "ERROR".into();
            fields[1].1 = "ERROR".into();
            fields[2].1 = state.into();
            fields
        };
        for (state, shown) in [
            ("22P02", "22000"),
            ("22012", "22000"),
            ("23505", "23505"),
            ("40001", "40001"),
            ("23492", "23000"),
            ("49297", "XX000"),
            ("P0297", "P0000"),
            ("not a state", "XX000"),
        ] {
            let kept = scrub_report(&fields(state));
            let text: String = kept.iter().map(|(_, text)| text.as_str()).collect();
            assert!(!text.contains("4929"), "{state}: {text}");
            assert_eq!(kept.iter().find(|(code, _)| *code == b'C').unwrap().1, shown, "{state}");
            assert_eq!(kept.iter().map(|(code, _)| char::from(*code)).collect::<String>(), "SVCMH");
        }
    }
}
