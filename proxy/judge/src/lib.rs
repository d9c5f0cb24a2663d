//! Understanding and judgement of statements, without IO: pure functions of text, catalog and policy.
//!
//! ```text
//! text --sql--> Facts (what it touches) --policy--> Judgement (what becomes of it) --mask--> Plan (what the answer hides)
//! ```
//!
//! The gate calls it live, simulation calls it over recorded history. [`sql`] is the only code that names pg_query.

pub mod mask;
pub mod policy;
pub mod sql;
