//! From text to tree: limits first, then PostgreSQL's grammar, on a stack that is large enough.
//!
//! Parser, decoder and walk recurse with the tree's depth, which no level can deepen without at least one token. So the
//! scan of [`weigh`], which counts tokens that can open a level, bounds the depth. Light texts run where they are called;
//! others on a thread of their own with [`STACK`] bytes, and none may have more than [`Limits::levels`] of them.

use super::Error;
use pg_query::{NodeEnum, protobuf};
use std::ops::Range;

/// What is refused before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes. _Default:_ 256 KiB
    pub bytes: usize,
    /// Deepest nesting of comments; PostgreSQL's scanner is quadratic in it. _Default:_ 32
    pub comments: usize,
    /// Deepest nesting of brackets. _Default:_ 512
    pub brackets: usize,
    /// Most operators, brackets and words of a text: each may deepen its tree by one. _Default:_ 131072
    pub levels: usize,
    /// Most statements of one message. _Default:_ 1024
    pub statements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 10, comments: 32, brackets: 512, levels: 128 << 10, statements: 1024 }
    }
}

/// The stack of a thread for heavy texts: [`Limits::levels`] times the bytes that a level was measured to take.
const STACK: usize = 1 << 30;

/// Texts up to this weight run on the caller's stack, of which they take less than 1 MiB (see the test).
const LIGHT: usize = 192;

/// One statement of a text.
#[derive(Debug)]
pub(super) struct Statement {
    /// Its bytes of the text, without the semicolon.
    pub(super) range: Range<usize>,
    /// Its tree.
    pub(super) node: NodeEnum,
}

/// Takes the bytes of a message as text.
///
/// # Errors
/// [`Error::Encoding`], [`Error::Nul`].
pub fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::Encoding { position: error.valid_up_to() })?;
    if text.contains('\0') { Err(Error::Nul) } else { Ok(text) }
}

/// Runs an analysis of a text on a stack that its depth cannot overflow, after its limits are checked.
///
/// # Errors
/// [`Error`] of the limits, or of the analysis.
pub(super) fn on_fitting_stack<T: Send>(
    text: &str,
    limits: &Limits,
    analysis: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if weigh(text, limits)? <= LIGHT {
        return analysis();
    }
    on_large_stack(analysis)
}

/// Runs something on a thread with a large stack, and waits for it.
///
/// # Errors
/// [`Error::Unavailable`], or its own.
pub(super) fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("sql-analysis".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| Error::Unavailable(error.to_string()))?
            .join()
            .map_err(|_| Error::Unavailable("the analysis ended without an answer".to_owned()))?
    })
}

/// Checks the limits that need no parser, and counts what can deepen a tree: operators, brackets and words. What stands in
/// strings counts too: this scan must not be cleverer than PostgreSQL's.
fn weigh(text: &str, limits: &Limits) -> Result<usize, Error> {
    let bytes = text.as_bytes();
    if bytes.len() > limits.bytes {
        return Err(Error::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let (mut weight, mut comments, mut brackets) = (0usize, 0usize, 0usize);
    let (mut deepest_comment, mut deepest_bracket) = (0usize, 0usize);
    let (mut previous, mut in_word) = (0u8, false);
    for &byte in bytes {
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match byte {
            0 => return Err(Error::Nul),
            b'*' if previous == b'/' => {
                comments += 1;
                deepest_comment = deepest_comment.max(comments);
            }
            b'/' if previous == b'*' => comments = comments.saturating_sub(1),
            b'(' | b'[' => {
                brackets += 1;
                deepest_bracket = deepest_bracket.max(brackets);
            }
            b')' | b']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        // an operator of n characters may be n operators of one
        let operator = !word && !byte.is_ascii_whitespace() && !matches!(byte, b',' | b'.' | b';' | b'\'' | b')' | b']');
        weight += usize::from(operator || (word && !in_word));
        in_word = word;
        previous = byte;
    }
    if deepest_comment > limits.comments {
        return Err(Error::TooDeep { what: "comments", limit: limits.comments });
    }
    if deepest_bracket > limits.brackets {
        return Err(Error::TooDeep { what: "brackets", limit: limits.brackets });
    }
    if weight > limits.levels {
        return Err(Error::TooDeep { what: "operators and words", limit: limits.levels });
    }
    Ok(weight)
}

/// Splits a text into its statements. Call it within [`on_fitting_stack`].
///
/// # Errors
/// [`Error::Syntax`], [`Error::TooManyStatements`].
pub(super) fn statements(text: &str, limits: &Limits) -> Result<Vec<Statement>, Error> {
    let parsed = parse(text)?;
    if parsed.stmts.len() > limits.statements {
        return Err(Error::TooManyStatements { limit: limits.statements });
    }
    let mut statements = Vec::with_capacity(parsed.stmts.len());
    for raw in parsed.stmts {
        let start = usize::try_from(raw.stmt_location).unwrap_or(0).min(text.len());
        let length = usize::try_from(raw.stmt_len).unwrap_or(0);
        let end = if length == 0 { text.len() } else { start.saturating_add(length).min(text.len()) };
        let node = raw.stmt.and_then(|node| node.node);
        let node = node.ok_or_else(|| Error::Syntax { message: "empty statement".to_owned(), position: None })?;
        statements.push(Statement { range: start..end, node });
    }
    Ok(statements)
}

fn parse(text: &str) -> Result<protobuf::ParseResult, Error> {
    match pg_query::parse(text, 0) {
        Ok(result) => Ok(result.protobuf),
        Err(pg_query::Error::Parse(message)) => {
            let position = position(text, &message);
            Err(Error::Syntax { message, position })
        }
        Err(error) => Err(Error::Syntax { message: error.to_string(), position: None }),
    }
}

/// Longest text of which a syntax error's place is searched, and most places that are tried.
const SEARCHED: (usize, usize) = (4 << 10, 16);

/// pg_query keeps the place of a syntax error to itself: it is the first token of the quoted text such that the text up
/// to and with it fails with the same words.
fn position(text: &str, message: &str) -> Option<usize> {
    if message.ends_with("at end of input") {
        return Some(text.len());
    }
    let near = message.split_once(" at or near \"")?.1.strip_suffix('"')?;
    if text.len() > SEARCHED.0 || near.is_empty() {
        return None;
    }
    text.match_indices(near).take(SEARCHED.1).find_map(|(at, _)| {
        let prefix = text.get(..at.saturating_add(near.len()))?;
        match pg_query::parse(prefix, 0) {
            Err(pg_query::Error::Parse(again)) if again == message => Some(at),
            Ok(_) | Err(_) => None,
        }
    })
}
