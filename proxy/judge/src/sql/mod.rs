//! Understands SQL by PostgreSQL's own grammar: the only code that names pg_query.

pub mod facts;

pub use facts::{Action, ColumnId, ColumnUse, Effect, Facts, Output, RelationId, RelationUse};
