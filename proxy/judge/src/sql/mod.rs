//! Understands SQL by PostgreSQL's own grammar: the only code that names pg_query.
//!
//! ```text
//! text --parse--> tree --walk (catalog, search_path)--> Facts        cache: text + search_path + epoch -> Facts
//! ```
//!
//! [`analyze`] is the way in. It promises to name what a statement touches, or to say in [`Facts::opaque`] why it cannot;
//! it never guesses in favour of a statement. It decides nothing: `policy` does. No IO: the [`catalog`] snapshot is
//! filled by whoever holds a connection. sqlparser is asked too, if wanted, but only to raise a flag ([`tripwire`]).

pub mod cache;
pub mod catalog;
pub mod facts;
mod failing;
mod fingerprint;
mod functions;
mod misread;
mod parse;
mod pattern;
mod scan;
pub mod search_path;
pub mod secrets;
pub mod shape;
mod tripwire;
pub mod values;
mod walk;

pub use cache::Cache;
pub use catalog::Catalog;
pub use facts::{
    Action, ColumnId, ColumnUse, CopyFormat, CopyLayout, EXPLAIN_RUNS, Effect, Facts, Output, Placeholders, RelationId,
    RelationUse,
};
pub use fingerprint::fingerprint;
pub use misread::{Misread, misread};
pub use parse::{Limits, utf8};

use std::collections::BTreeSet;

/// Everything that a text's meaning depends on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The names that there are.
    pub catalog: &'a Catalog,
    /// The schemas of `search_path`, in order, `$user` already replaced. `pg_catalog` comes first unless it is listed.
    pub search_path: &'a [String],
    /// What is refused before it is looked at.
    pub limits: Limits,
    /// Whether sqlparser is asked as well; costs as much again as the analysis.
    pub tripwire: bool,
}

/// Why a text was not understood at all. None of these reaches PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// PostgreSQL's grammar refuses it.
    #[error("{message}")]
    Syntax {
        /// As PostgreSQL says it.
        message: String,
        /// The byte of the text at which it stands, counted from 0, where it is known.
        position: Option<usize>,
    },
    /// The text is longer than the limit.
    #[error("the statement has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// [`Limits::bytes`].
        limit: usize,
    },
    /// Comments or brackets are nested deeper than the limit.
    #[error("{what} are nested deeper than {limit}")]
    TooDeep {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// More statements in one message than the limit.
    #[error("the message has more than {limit} statements")]
    TooManyStatements {
        /// [`Limits::statements`].
        limit: usize,
    },
    /// A NUL byte: PostgreSQL would end the text there.
    #[error("the statement contains a NUL byte")]
    Nul,
    /// Bytes that are not UTF-8.
    #[error("the statement is not valid UTF-8 at byte {position}")]
    Encoding {
        /// The first byte that is wrong.
        position: usize,
    },
    /// No thread with a large stack could be had, or it ended without an answer.
    #[error("the statement could not be analyzed: {0}")]
    Unavailable(String),
}

impl Error {
    /// A stable word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "syntax",
            Self::TooLarge { .. } => "too_large",
            Self::TooDeep { .. } => "too_deep",
            Self::TooManyStatements { .. } => "too_many_statements",
            Self::Nul => "nul",
            Self::Encoding { .. } => "encoding",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The SQLSTATE to tell the client.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "42601",
            Self::TooLarge { .. } | Self::TooManyStatements { .. } => "54000",
            Self::TooDeep { .. } => "54001",
            Self::Nul | Self::Encoding { .. } => "22021",
            Self::Unavailable(_) => "53000",
        }
    }

    /// The byte of the text to point at, counted from 0, where there is one.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Syntax { position, .. } => *position,
            Self::Encoding { position } => Some(*position),
            Self::TooLarge { .. }
            | Self::TooDeep { .. }
            | Self::TooManyStatements { .. }
            | Self::Nul
            | Self::Unavailable(_) => None,
        }
    }
}

/// Says what each statement of a message touches, in order; nothing for an empty text.
///
/// # Errors
/// [`Error`]: the text is not SQL, or beyond a limit. A statement that is understood in part is no error: see [`Facts::opaque`].
pub fn analyze(text: &str, context: &Context<'_>) -> Result<Vec<Facts>, Error> {
    analyze_with_free(text, context).map(|(facts, _)| facts)
}

/// As [`analyze`]; and where the literals begin that the facts do not depend on: see [`shape`].
///
/// # Errors
/// As [`analyze`].
pub fn analyze_with_free(text: &str, context: &Context<'_>) -> Result<(Vec<Facts>, BTreeSet<usize>), Error> {
    parse::on_fitting_stack(text, &context.limits, || {
        let statements = parse::statements(text, &context.limits)?;
        let mut all = Vec::with_capacity(statements.len());
        for statement in &statements {
            let mut facts = walk::statement(statement, context.catalog, context.search_path);
            facts.text = statement.range.clone();
            facts.fingerprint = text.get(statement.range.clone()).map(fingerprint).unwrap_or_default();
            all.push(facts);
        }
        let suspicion = if context.tripwire { tripwire::compare(text, &statements, &all, context) } else { None };
        for facts in &mut all {
            facts.flags.extend(suspicion.map(str::to_owned));
        }
        let free = match (statements.as_slice(), all.as_slice()) {
            ([one], [facts]) if facts.effects.is_empty() && facts.opaque.is_none() => shape::free(&one.node),
            _ => BTreeSet::new(),
        };
        Ok((all, free))
    })
}
