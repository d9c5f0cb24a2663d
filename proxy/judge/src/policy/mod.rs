//! What becomes of a statement: a pure function of facts, rules, policies, who asks, and when.
//!
//! ```text
//! Rules (config, policy files) --bind (catalog)--> Bound --decide (Facts, Subject, Context)--> Judgement --> mask::plan
//! ```
//!
//! Two layers, and both must allow. [`cedar`] asks the policies: guardrails, what the config says, and files. Beside it
//! stand the built-in rules, which follow from masking and which no policy can turn off: what they let through would make
//! a mask worthless. Each has a stable id that every verdict names:
//!
//! | id | what it says |
//! |---|---|
//! | `builtin:allow` | nothing that is protected from the identity is touched |
//! | `builtin:mask` | protected columns reach the answer: they are masked there |
//! | `builtin:connect` | only members of `connect_groups` may connect |
//! | `builtin:opaque` | what cannot be known from its text is denied where there is something to protect |
//! | `builtin:lineage` | an answer whose origin is unknown is denied in a statement that touches a protected relation |
//! | `builtin:filter` | protected columns may not filter, join, group or order rows: that would tell their values |
//! | `builtin:store` | protected values may not be copied to where no rule hides them |
//! | `builtin:copy` | COPY whose columns or layout are not known is denied |
//! | `builtin:placeholder` | what a mask shows may not be written into a masked column |
//! | `builtin:function` | protected values may not be given to functions that leave a trace or take time, and functions that may read anything are denied |
//! | `builtin:scope` | relations that are closed may not be touched |
//! | `builtin:privilege` | who may do what, what the server is and where its data goes stay as they are |
//! | `builtin:definition` | a definition on which a masking rule rests may not be changed |
//! | `builtin:catalog` | parts of the system catalog that repeat values are closed |
//! | `builtin:setting` | settings that change how text is read, or who one is, stay as they are |
//! | `builtin:server-file` | COPY with files or programs of the server is denied |
//!
//! [`decide()`] is the one entry. [`rules`] is the configuration, [`bound`] the rules over a catalog.

pub mod bound;
pub mod cedar;
mod closed;
mod decide;
mod permission;
pub mod reach;
pub mod rules;

pub use bound::{Bound, Names};
pub use cedar::{Approval, Problem, Reads, Source, Subject};
pub use decide::{Judgement, OutputRule, UNKNOWN_COLUMN, UNKNOWN_FUNCTION, decide, merge};
pub use permission::{Asked, Cache, detectors, explain};
pub use rules::{Masking, Rules};

/// What a decision may depend on besides the statement and who sends it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Context {
    /// Milliseconds since 1970; read only where [`Reads::time`] says so.
    pub now: i64,
    /// A reviewer agreed to this statement.
    pub approved: bool,
    /// The planner's estimate of the rows that it returns, or writes if these are more, where it was asked; see
    /// [`Reads::estimates`].
    pub estimated_rows: Option<i64>,
    /// The planner's estimate of its cost, where it was asked.
    pub estimated_cost: Option<i64>,
}

/// Why something is refused, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// For the client.
    pub reason: String,
    /// What to do.
    pub hint: String,
    /// The rule's id.
    pub policy: String,
}
