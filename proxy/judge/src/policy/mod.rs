//! What becomes of a statement: the built-in policy, a pure function of facts, rules and groups.
//!
//! ```text
//! Rules (config) --bind (catalog)--> Bound --decide (Facts, groups)--> Judgement --> mask::plan
//! ```
//!
//! Each rule has a stable id that every verdict names:
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
mod closed;
mod decide;
pub mod rules;

pub use bound::{Bound, Names};
pub use decide::{Judgement, OutputRule, decide, merge};
pub use rules::{Masking, Rules};

/// Why something is refused, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// For the client.
    pub reason: String,
    /// What to do.
    pub hint: String,
    /// The rule's id.
    pub policy: &'static str,
}
