//! What was decided of a statement, and what it touches: all that the index needs.

use serde::{Deserialize, Serialize};

/// What becomes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// It goes on, and its answer comes back as it is.
    Allow,
    /// It goes on, and its answer is masked.
    Mask,
    /// It waits for a person's approval.
    Hold,
    /// It is refused; PostgreSQL never sees it.
    Deny,
}

/// How a statement uses a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// Its value reaches the answer, as it is or in an expression.
    Projected,
    /// It decides which rows, groups or order there are.
    Filtered,
    /// It joins relations.
    Joined,
    /// The statement stores into it.
    Written,
}

/// A relation that a statement touches, views followed to what they show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// `schema.name`, as in the catalog.
    pub name: String,
    /// What is done to it: `select`, `insert`, `update`, `delete`, `truncate`, `copy_in`, `copy_out`, `create`, `alter`, `drop`, `lock`, ....
    pub actions: Vec<String>,
    /// Reached through a view or a partitioned parent, not named in the text.
    pub indirect: bool,
}

/// A column that a statement touches, resolved: star, views and CTEs expanded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Column {
    /// `schema.relation.column`, as in the catalog.
    pub name: String,
    /// How it is used.
    pub usage: Usage,
    /// Its values are hidden from the identity.
    pub masked: bool,
    /// Its classification, such as `pan`; null where it has none.
    pub label: Option<String>,
}

/// What was decided of a statement, why, and what the statement touches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The statement.
    #[serde(with = "crate::codec::long")]
    pub number: u64,
    /// What becomes of it.
    pub verdict: VerdictKind,
    /// The reason, as the client is told it; empty for an allowance.
    pub reason: String,
    /// The ids of the policies that decided.
    pub policies: Vec<String>,
    /// SHA-256 of the policy version, hexadecimal, its first 16 digits.
    pub policy_version: String,
    /// The statement's kind, such as `SELECT`, `COPY`, `CREATE TABLE`; `UNKNOWN` where it was not understood.
    pub kind: String,
    /// The facts prove that it changes nothing.
    pub read_only: bool,
    /// The facts are incomplete: what it reaches cannot be known from its text.
    pub opaque: bool,
    /// Relations.
    pub relations: Vec<Relation>,
    /// Columns.
    pub columns: Vec<Column>,
    /// Functions called, `schema.name`.
    pub functions: Vec<String>,
    /// Shape of the text with its constants removed, for grouping; 16 hexadecimal digits, empty where unparsed.
    pub fingerprint: String,
    /// Notes for auditors, such as `tripwire:parsers_differ`.
    pub flags: Vec<String>,
    /// The text without its constants, where the text itself is sealed; null where it is not, or nothing of it may be
    /// shown. Since version 4.
    #[serde(default)]
    pub shape: Option<String>,
}
