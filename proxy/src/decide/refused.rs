//! Refusals: why a statement does not go on, in words that an agent can act on.

use super::Decision;
use judge::{
    policy::{UNKNOWN_COLUMN, UNKNOWN_FUNCTION},
    sql,
};
use schemas::{StatementId, event::VerdictKind};

/// Why a statement or message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It names what the snapshot of the catalog does not know: refresh it and decide again.
    CatalogTooOld,
    /// A rule, the grammar or a limit refuses it.
    Because {
        /// For the client.
        sqlstate: &'static str,
        /// For the client, the Verdict and the log.
        reason: String,
        /// What to do.
        hint: String,
        /// The rule.
        policy: String,
    },
}

/// undefined_column
const UNDEFINED_COLUMN: &str = "42703";

/// undefined_function
const UNDEFINED_FUNCTION: &str = "42883";

/// invalid_cursor_name
const UNKNOWN_PORTAL: &str = "34000";

/// invalid_sql_statement_name
const UNKNOWN_STATEMENT: &str = "26000";

impl Refused {
    pub(super) fn because(sqlstate: &'static str, policy: &str, reason: impl Into<String>, hint: &str) -> Self {
        Self::Because { sqlstate, reason: reason.into(), hint: hint.to_owned(), policy: policy.to_owned() }
    }

    /// The refusal that a decision is, if it is one.
    pub fn of(decision: &Decision) -> Option<Self> {
        let judgement = &decision.judgement;
        let sqlstate = match judgement.policies.first().map(String::as_str) {
            Some(UNKNOWN_COLUMN) => UNDEFINED_COLUMN,
            Some(UNKNOWN_FUNCTION) => UNDEFINED_FUNCTION,
            Some(_) | None => "42501",
        };
        // a hold without anybody who could answer is a denial
        matches!(judgement.verdict, VerdictKind::Deny | VerdictKind::Hold).then(|| Self::Because {
            sqlstate,
            reason: judgement.reason.clone(),
            hint: judgement.hint.clone(),
            policy: judgement.policies.first().cloned().unwrap_or_default(),
        })
    }

    /// A limit was reached.
    pub fn limit(text: &str) -> Self {
        Self::because("53400", "builtin:limit", text, "close what is no longer needed")
    }

    /// A FunctionCall message.
    pub fn function_call() -> Self {
        let hint = "call the function in a SELECT statement";
        Self::because(
            "42501",
            "builtin:function-call",
            "the function call message of the protocol is not allowed",
            hint,
        )
    }

    /// The refusal of a name that the gate cannot resolve.
    pub fn is_unknown_name(&self) -> bool {
        matches!(self, Self::Because { sqlstate: UNKNOWN_PORTAL | UNKNOWN_STATEMENT, .. })
    }

    /// A name that the gate cannot resolve.
    pub fn unknown_name(kind: &str, name: &str, what: &str) -> Self {
        let state = if kind == "portal" { UNKNOWN_PORTAL } else { UNKNOWN_STATEMENT };
        Self::because(state, "builtin:unknown-name", format!("{kind} {name:?} {what}"), "prepare or open it first")
    }

    /// What a mask shows would be stored in the place of what it hides.
    pub fn placeholder() -> Self {
        let hint = "leave the masked columns out of what is written, or write their real values";
        let reason = "it would store the placeholder of a mask in a masked column";
        Self::because("42501", "builtin:placeholder", reason, hint)
    }

    /// Rows of a COPY into masked columns that cannot be read.
    pub fn unreadable_copy(why: &str) -> Self {
        let reason = format!("its rows go to masked columns and cannot be read: {why}");
        Self::because("42501", "builtin:placeholder", reason, "use the options of COPY in UTF8")
    }

    pub(super) fn of_sql(error: &sql::Error) -> Self {
        let hint = "correct the statement; what PostgreSQL's own grammar does not accept is not forwarded";
        Self::because(error.sqlstate(), "builtin:grammar", error.to_string(), hint)
    }

    /// Why, in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::CatalogTooOld => "the catalog changed",
            Self::Because { reason, .. } => reason,
        }
    }

    /// The fields of the ErrorResponse that the client is sent.
    pub fn report(&self, statement: Option<StatementId>) -> Vec<(u8, String)> {
        let Self::Because { sqlstate, reason, hint, policy } = self else { return Vec::new() };
        let text =
            if *sqlstate == "42501" { format!("postern denied this statement: {reason}") } else { reason.clone() };
        let mut fields =
            vec![(b'S', "ERROR".to_owned()), (b'V', "ERROR".to_owned()), (b'C', (*sqlstate).to_owned()), (b'M', text)];
        let statement = statement.map(|id| format!(", statement {id}")).unwrap_or_default();
        fields.push((b'D', format!("Decided by policy {policy}{statement}.")));
        if !hint.is_empty() {
            fields.push((b'H', hint.clone()));
        }
        fields
    }
}
