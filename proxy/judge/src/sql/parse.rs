//! From text to tree: limits first, then PostgreSQL's grammar, on a stack that is large enough.
//!
//! Parser, decoder, walk and drop recurse with the tree's depth, which no level can deepen without a token of its own.
//! [`weigh`] counts, without a parser, what could be such tokens: light texts run where they are called. For others
//! PostgreSQL's own scanner gives the tokens and [`depth`] a bound of the tree's depth: that is limited by
//! [`Limits::depth`], and what may be deep runs on a thread of its own with [`STACK`] bytes.

use super::Error;
use pg_query::{
    NodeEnum,
    protobuf::{self, Token},
};
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
    /// Most tokens on the way from a text's beginning to its deepest place, what commas and closed brackets end left out:
    /// each may deepen its tree by one. A chain of 8000 `OR a = 1` is within it. _Default:_ 32768
    pub depth: usize,
    /// Most statements of one message. _Default:_ 1024
    pub statements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 10, comments: 32, brackets: 512, depth: 32 << 10, statements: 1024 }
    }
}

/// The stack of a thread for deep texts. The grammar gives up beyond 10000 open levels, and the way from its tree to ours
/// beyond 5000: the deepest that it lets pass takes less than half of this (see the tests). Only what is touched costs.
pub(super) const STACK: usize = 64 << 20;

/// Texts of at most so many words, and trees of at most that depth, stay on the caller's stack, of which they take less
/// than half of the 2 MiB that a thread has (see the tests).
const LIGHT: usize = 128;

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
    if weigh(text, limits)? <= LIGHT || depth(text, limits)? <= LIGHT {
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

/// Checks the limits that need no scanner, and counts what could deepen a tree: operators, brackets and words. What stands
/// in strings counts too: this count must not be cleverer than PostgreSQL's.
fn weigh(text: &str, limits: &Limits) -> Result<usize, Error> {
    let bytes = text.as_bytes();
    if bytes.len() > limits.bytes {
        return Err(Error::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let (mut weight, mut comments, mut deepest) = (0usize, 0usize, 0usize);
    let (mut previous, mut in_word) = (0u8, false);
    for &byte in bytes {
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let mut paired = false;
        match byte {
            0 => return Err(Error::Nul),
            b'*' if previous == b'/' => {
                comments += 1;
                deepest = deepest.max(comments);
                paired = true;
            }
            b'/' if previous == b'*' => {
                comments = comments.saturating_sub(1);
                paired = true;
            }
            _ => {}
        }
        // an operator of n characters may be n operators of one
        let operator =
            !word && !byte.is_ascii_whitespace() && !matches!(byte, b',' | b'.' | b';' | b'\'' | b')' | b']');
        weight += usize::from(operator || (word && !in_word));
        in_word = word;
        previous = if paired { 0 } else { byte }; // `/*/*` opens two, `/*/` closes none
    }
    if deepest > limits.comments {
        return Err(Error::TooDeep { what: "comments", limit: limits.comments });
    }
    Ok(weight)
}

/// A bound of the depth of a text's tree, from PostgreSQL's own tokens: a comma or semicolon ends what stands before it at
/// its level of brackets, a closing bracket what is within. Set operations alone go on over commas.
///
/// # Errors
/// [`Error::TooDeep`]. A text that the scanner refuses is as deep as nothing: the parser refuses it too, before it has made
/// a tree.
fn depth(text: &str, limits: &Limits) -> Result<usize, Error> {
    let Ok(tokens) = super::scan::tokens(text) else { return Ok(0) };
    // tokens since the last comma, and set operations, of each open bracket
    let mut open = vec![(0usize, 0usize)];
    let (mut now, mut deepest) = (0usize, 0usize);
    for token in &tokens {
        let Some(level) = open.last_mut() else { break };
        match Token::try_from(token.token).unwrap_or(Token::Nul) {
            Token::Ascii40 | Token::Ascii91 => {
                level.0 += 1;
                now += 1;
                open.push((0, 0));
                if open.len() > limits.brackets {
                    return Err(Error::TooDeep { what: "brackets", limit: limits.brackets });
                }
            }
            Token::Ascii41 | Token::Ascii93 => {
                if open.len() > 1 {
                    let inner = open.pop().unwrap_or_default();
                    now = now.saturating_sub(inner.0 + inner.1);
                }
            }
            Token::Ascii44 => now = now.saturating_sub(std::mem::take(&mut level.0)),
            Token::Ascii59 => now = now.saturating_sub(std::mem::take(&mut level.0) + std::mem::take(&mut level.1)),
            Token::Union | Token::Intersect | Token::Except => {
                level.1 += 1;
                now += 1;
            }
            _ => {
                level.0 += 1;
                now += 1;
            }
        }
        deepest = deepest.max(now);
    }
    if deepest > limits.depth {
        return Err(Error::TooDeep { what: "operators and words", limit: limits.depth });
    }
    Ok(deepest)
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

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
