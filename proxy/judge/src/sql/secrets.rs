//! Where a text says a password, a key or a token: for those who keep the text, not for those who decide about it.
//!
//! PostgreSQL's scanner finds the constants. A constant is a secret if a name such as `PASSWORD` stands before it, with or
//! without an operator, a function or a format in between: `ALTER ROLE a PASSWORD 'x'`, `OPTIONS (password 'x')`, `secret =>
//! crypt('x')`, `format('... PASSWORD %L', 'x')`. Other constants are read as statements in their turn, as deep as they are
//! quoted; and in them and in comments the ways of connection strings (`password=x`), addresses (`postgres://user:x@host`), JSON
//! (`"password": "x"`) and headers are known. What is struck within a constant ends with its word or its own quotes: code that
//! runs cannot hide behind a name. What looks like a secret and is none costs a word of the record; the other way round it
//! would cost the secret. So in `CREATE ROLE` and `ALTER ROLE` each constant is one that is not a date or a setting: `PASWORD
//! 'x'` fails, and its password is one all the same. A text that PostgreSQL cannot read does not run: all behind a name is struck.

mod known;

pub use known::Known;

use aho_corasick::AhoCorasick;
use pg_query::protobuf::{KeywordKind, ScanToken, Token};
use std::{borrow::Cow, ops::Range, sync::OnceLock};

/// Names of secrets, and what else may announce one.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pgpassword",
    "passphrase",
    "sslpassword",
    "secret",
    "clientsecret",
    "secretkey",
    "secret_key",
    "access_key",
    "accesskey",
    "api_key",
    "api-key",
    "apikey",
    "private_key",
    "privatekey",
    "token",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "idtoken",
    "credential",
    "authorization",
    BEARER,
    ADDRESS,
    JWT,
    ALTER,
    CREATE,
];

const BEARER: &str = "bearer";
const ADDRESS: &str = "://";
const JWT: &str = "eyJ";
const ALTER: &str = "alter";
const CREATE: &str = "create";

/// What stands in the place of a secret, as often as it has bytes: what follows keeps its place.
pub const MARK: u8 = b'*';

/// Longest text that is scanned; what is longer is more than the gate reads, and does not run.
const MAX_SCANNED: usize = 1 << 20;

/// How deep statements stand in statements.
const DEPTH: u32 = 4;

fn searcher() -> Option<&'static AhoCorasick> {
    static SEARCHER: OnceLock<Option<AhoCorasick>> = OnceLock::new();
    let build = || AhoCorasick::builder().ascii_case_insensitive(true).build(NAMES).ok();
    SEARCHER.get_or_init(build).as_ref()
}

/// Names in a text that stand for themselves, and where.
fn hits<'a>(searcher: &'a AhoCorasick, text: &'a [u8]) -> impl Iterator<Item = (&'static str, Range<usize>)> + 'a {
    searcher.find_overlapping_iter(text).filter_map(move |hit| {
        let name = *NAMES.get(hit.pattern().as_usize())?;
        let before = hit.start().checked_sub(1).and_then(|at| text.get(at)).copied();
        let after = text.get(hit.end()).copied();
        let alone = match name {
            ADDRESS => true,
            JWT => text.get(hit.range()) == Some(JWT.as_bytes()) && !before.is_some_and(is_word),
            ALTER | CREATE => !before.is_some_and(is_word) && !after.is_some_and(is_word),
            // `db_password` is one, `password_hash` is none
            _ => !before.is_some_and(|byte| is_word(byte) && byte != b'_') && !after.is_some_and(is_word),
        };
        alone.then(|| (name, hit.range()))
    })
}

/// Whether a text names something that may be a secret.
pub fn may_hold(text: &[u8]) -> bool {
    searcher().is_none_or(|searcher| hits(searcher, text).next().is_some())
}

/// Where secrets stand in a text, ascending, without what quotes them. All of it where it cannot be told.
pub fn secrets(text: &[u8]) -> Vec<Range<usize>> {
    let Some(searcher) = searcher() else { return std::iter::once(0..text.len()).collect() };
    if hits(searcher, text).next().is_none() {
        return Vec::new();
    }
    merged(scanned(searcher, text, 0).unwrap_or_else(|| unscanned(searcher, text)))
}

/// Where secrets stand in a value, which is no statement: in connection strings, addresses, JSON, headers, or SQL.
pub fn secrets_of_value(value: &[u8]) -> Vec<Range<usize>> {
    let Some(searcher) = searcher() else { return std::iter::once(0..value.len()).collect() };
    if hits(searcher, value).next().is_none() {
        return Vec::new();
    }
    // prose has apostrophes too: what the scanner refuses has no quotes here
    let mut found = inside(searcher, value, false);
    found.extend(scanned(searcher, value, 1).unwrap_or_default());
    merged(found)
}

/// Where secrets stand in a name or in words for people, who may speak of tokens: the passwords of addresses, and tokens.
pub fn secrets_of_words(words: &[u8]) -> Vec<Range<usize>> {
    let Some(searcher) = searcher() else { return std::iter::once(0..words.len()).collect() };
    let found = hits(searcher, words).filter_map(|(name, place)| match name {
        ADDRESS => user_info(words, place.end),
        JWT => Some(jwt(words, place.start)),
        _ => None,
    });
    merged(found.collect())
}

/// The text with its secrets struck out.
pub fn redacted(text: &[u8]) -> Cow<'_, [u8]> {
    let found = secrets(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut text = text.to_vec();
    strike(&mut text, &found);
    Cow::Owned(text)
}

/// Strikes these out of a text.
pub fn strike(text: &mut [u8], found: &[Range<usize>]) {
    for range in found {
        text.get_mut(range.clone()).unwrap_or_default().fill(MARK);
    }
}

fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.retain(|range| !range.is_empty());
    found.sort_unstable_by_key(|range| range.start);
    let mut all: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for range in found {
        match all.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

/// Where a text that the scanner refuses may hold secrets: behind the first name, and in what makes or changes a role
/// behind its first quote.
fn unscanned(searcher: &AhoCorasick, text: &[u8]) -> Vec<Range<usize>> {
    let mut from = text.len();
    let mut found = Vec::new();
    for (name, place) in hits(searcher, text) {
        match name {
            ADDRESS => found.extend(user_info(text, place.end)),
            JWT => from = from.min(place.start),
            ALTER | CREATE => {
                let rest = skip(text.get(place.end..).unwrap_or_default(), |byte| !is_word(byte));
                let word = rest.get(..rest.iter().take_while(|byte| is_word(**byte)).count()).unwrap_or_default();
                if ["role", "user", "group"].iter().any(|what| word.eq_ignore_ascii_case(what.as_bytes())) {
                    let rest = text.get(place.end..).unwrap_or_default();
                    let quote = rest.iter().position(|byte| matches!(byte, b'\'' | b'"' | b'$'));
                    from = quote.map_or(from, |quote| from.min(place.end + quote));
                }
            }
            _ => from = from.min(place.end),
        }
    }
    found.push(from..text.len());
    found
}

/// Whether the next value is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// It is not.
    No,
    /// A name stands directly before it.
    Name,
    /// An operator stands in between, and so many open brackets.
    Value(u32),
    /// A constant ended in a name: the next constant is, wherever it stands in the statement.
    Next,
}

/// Whether the next constant may be the password of a role: where in `CREATE ROLE` or `ALTER ROLE` a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Elsewhere.
    No,
    /// Behind CREATE or ALTER.
    Verb,
    /// In it: a constant would be a password.
    Constant,
    /// In it: a constant would be a date or the value of a setting.
    Value,
}

impl Role {
    const fn after(self, token: Token) -> Self {
        match (self, token) {
            (_, Token::SqlComment | Token::CComment) => self,
            (Self::No, Token::Create | Token::Alter) => Self::Verb,
            (Self::Verb, Token::Role | Token::User | Token::GroupP) => Self::Constant,
            (Self::Constant | Self::Value, Token::Mapping | Token::Ascii59) | (Self::Verb | Self::No, _) => Self::No,
            (Self::Constant | Self::Value, Token::Until | Token::To | Token::Ascii61 | Token::Ascii44) => Self::Value,
            (Self::Constant | Self::Value, _) => Self::Constant,
        }
    }
}

/// Where a text's tokens have been read to.
struct Reading {
    named: Named,
    role: Role,
    /// The statement begins with SET.
    sets: bool,
    begins: bool,
}

impl Reading {
    /// Whether this token is a secret; then moves on behind it.
    fn takes(&mut self, token: &ScanToken, kind: Token, bytes: &[u8]) -> bool {
        let (named, in_role) = (self.named, !matches!(self.role, Role::No | Role::Verb));
        let keyword = token.keyword_kind;
        let is_word = keyword != KeywordKind::NoKeyword as i32 || matches!(kind, Token::Ident | Token::Uident);
        let quoted = bytes.first() == Some(&b'"');
        let open = matches!(named, Named::Value(_) | Named::Next);
        let takes = match kind {
            Token::Sconst | Token::Usconst => named != Named::No || self.role == Role::Constant,
            Token::Iconst | Token::Fconst => in_role && matches!(named, Named::Name | Named::Value(_)),
            Token::Ident | Token::Uident => {
                (named == Named::Name && in_role)
                    || (matches!(named, Named::Value(_)) && (quoted || self.sets || in_role))
            }
            _ => false,
        };
        self.named = match (named, kind) {
            _ if takes => Named::No,
            (_, Token::Ascii59) => Named::No,
            _ if is_word && is_name(bytes) => Named::Name,
            (Named::Name, Token::Ascii61 | Token::ColonEquals | Token::EqualsGreater | Token::To) => Named::Value(0),
            (Named::Name, Token::Ascii40) => Named::Value(1),
            (Named::Value(depth), Token::Ascii40) => Named::Value(depth + 1),
            (Named::Value(depth), Token::Ascii41) if depth > 1 => Named::Value(depth - 1),
            (Named::Value(0), Token::Ascii44) | (Named::Value(_), Token::Ascii41 | Token::Param) => Named::No,
            (Named::Value(_), _) if keyword == KeywordKind::ReservedKeyword as i32 => Named::No,
            (Named::Next, Token::Param) | (Named::Name | Named::No, _) => Named::No,
            _ if open => named,
            _ => Named::No,
        };
        self.role = self.role.after(kind);
        if kind == Token::Ascii59 {
            (self.begins, self.sets) = (true, false);
        } else if std::mem::take(&mut self.begins) {
            self.sets = kind == Token::Set;
        }
        takes
    }
}

/// Where secrets stand in a statement; none if the scanner refuses it.
fn scanned(searcher: &AhoCorasick, text: &[u8], depth: u32) -> Option<Vec<Range<usize>>> {
    if text.len() > MAX_SCANNED {
        return None;
    }
    let tokens = super::scan::tokens(std::str::from_utf8(text).ok()?).ok()?;
    let mut found = Vec::new();
    let mut reading = Reading { named: Named::No, role: Role::No, sets: false, begins: true };
    for token in &tokens {
        let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
        let bytes = text.get(start..end)?;
        let kind = Token::try_from(token.token).unwrap_or(Token::Nul);
        if matches!(kind, Token::SqlComment | Token::CComment) {
            found.extend(moved(inside(searcher, bytes, true), start));
            continue;
        }
        let takes = reading.takes(token, kind, bytes);
        match kind {
            Token::Sconst | Token::Usconst => {
                let place = quoted(bytes);
                if takes {
                    found.push(start + place.start..start + place.end);
                    continue;
                }
                let within = text.get(start + place.start..start + place.end)?;
                if hits(searcher, within).next().is_some() {
                    let ranges = constant(searcher, bytes, within, depth);
                    found.extend(moved(ranges, start + place.start));
                    if ends_in_name(within) {
                        reading.named = Named::Next;
                    }
                }
            }
            _ if takes => {
                let quotes = usize::from(bytes.first() == Some(&b'"') && bytes.len() > 1);
                found.push(start + quotes..end - quotes);
            }
            _ => {}
        }
    }
    Some(found)
}

/// Where secrets stand in a constant, `within` its quotes.
fn constant(searcher: &AhoCorasick, bytes: &[u8], within: &[u8], depth: u32) -> Vec<Range<usize>> {
    let (plain, places) = unquoted(bytes, within);
    let deeper = if depth < DEPTH { scanned(searcher, &plain, depth + 1) } else { None };
    let mut found = inside(searcher, &plain, deeper.is_none());
    found.extend(deeper.unwrap_or_default());
    if places.is_empty() {
        return found;
    }
    let place = |at: usize| places.get(at).copied().unwrap_or(within.len());
    found.into_iter().map(|range| place(range.start)..place(range.end)).collect()
}

/// What a constant stands for, and where each of its bytes stands `within` the quotes; no places where they are the same.
fn unquoted<'a>(constant: &[u8], within: &'a [u8]) -> (Cow<'a, [u8]>, Vec<usize>) {
    let escapes = matches!(constant.first(), Some(b'e' | b'E'));
    if constant.first() == Some(&b'$') || !within.iter().any(|byte| matches!(byte, b'\'' | b'\\')) {
        return (Cow::Borrowed(within), Vec::new());
    }
    let (mut plain, mut places) = (Vec::with_capacity(within.len()), Vec::with_capacity(within.len() + 1));
    let mut at = 0;
    while let Some(byte) = within.get(at) {
        places.push(at);
        let pair = match (byte, within.get(at + 1)) {
            (b'\'', Some(b'\'')) => Some(b'\''),
            (b'\\', Some(next @ (b'\'' | b'"' | b'\\'))) if escapes => Some(*next),
            (b'\\', Some(b'n' | b'r' | b't')) if escapes => Some(b'\n'),
            _ => None,
        };
        plain.push(pair.unwrap_or(*byte));
        at += if pair.is_some() { 2 } else { 1 };
    }
    places.push(within.len());
    (Cow::Owned(plain), places)
}

fn moved(ranges: Vec<Range<usize>>, by: usize) -> impl Iterator<Item = Range<usize>> {
    ranges.into_iter().map(move |range| range.start + by..range.end + by)
}

/// The part of a constant that its quotes enclose; of `'a'`, `E'a'`, `U&'a'`, `$tag$a$tag$`.
pub(super) fn quoted(constant: &[u8]) -> Range<usize> {
    let Some(first) = constant.iter().position(|byte| matches!(byte, b'\'' | b'$')) else { return 0..constant.len() };
    let open = match constant.get(first) {
        Some(b'$') => {
            let tag = constant.iter().skip(first + 1).position(|byte| *byte == b'$');
            tag.map_or(1, |length| length + 2)
        }
        _ => 1,
    };
    let from = first + open;
    from..constant.len().saturating_sub(open).max(from)
}

/// Whether a word is a name of secrets, or ends in one: `"password"`, `db_password`.
fn is_name(word: &[u8]) -> bool {
    let bare = word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")).unwrap_or(word);
    let names = NAMES.iter().filter(|name| !matches!(**name, ADDRESS | JWT | ALTER | CREATE | BEARER));
    names.into_iter().any(|name| {
        let Some((before, end)) = bare.len().checked_sub(name.len()).and_then(|at| bare.split_at_checked(at)) else {
            return false;
        };
        end.eq_ignore_ascii_case(name.as_bytes()) && before.last().is_none_or(|byte| !is_word(*byte) || *byte == b'_')
    })
}

/// Whether a constant ends in a name, where another constant may come: `'app.password'`, `'... PASSWORD %L'`, `'password='`.
fn ends_in_name(within: &[u8]) -> bool {
    let mut rest = within;
    loop {
        let shorter = [&b"%L"[..], b"%s", b"%I"].iter().find_map(|what| rest.strip_suffix(*what));
        let punctuation =
            |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'\'' | b'"' | b'=' | b':' | b'(' | b'>');
        rest = match (shorter, rest.split_last()) {
            (Some(shorter), _) => shorter,
            (None, Some((last, shorter))) if punctuation(*last) => shorter,
            _ => break,
        };
    }
    let word = rest.iter().rev().take_while(|byte| is_word(**byte) || **byte == b'-').count();
    rest.get(rest.len() - word..).is_some_and(is_name)
}

/// Where secrets stand in what is no statement: without quotes, up to white space; in JSON's; and in others where `quotes` says
/// that no scanner reads them.
fn inside(searcher: &AhoCorasick, text: &[u8], quotes: bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (name, place) in hits(searcher, text) {
        if found.last().is_some_and(|last| place.start < last.end) {
            continue;
        }
        let secret = match name {
            ADDRESS => user_info(text, place.end),
            JWT => Some(jwt(text, place.start)),
            ALTER | CREATE => None,
            _ => named(text, name, &place, quotes),
        };
        found.extend(secret.filter(|secret| !secret.is_empty()));
    }
    found
}

/// The password in `user:password@host`, which begins here.
fn user_info(text: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = text.get(from..)?;
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'\'' | b'"' | b'<' | b'>');
    let authority = rest.get(..rest.iter().position(ends).unwrap_or(rest.len()))?;
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority.iter().position(|byte| *byte == b':').filter(|colon| *colon < at)?;
    Some(from + colon + 1..from + at)
}

/// The token that begins here.
fn jwt(text: &[u8], from: usize) -> Range<usize> {
    let rest = text.get(from..).unwrap_or_default();
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let length = rest.iter().take_while(|byte| part(byte)).count();
    // a word may begin so
    if length < 20 { from..from } else { from..from + length }
}

/// The value after a name.
fn named(text: &[u8], name: &str, place: &Range<usize>, quotes: bool) -> Option<Range<usize>> {
    let mut rest = text.get(place.end..)?;
    // `"password": "x"`
    let before = place.start.checked_sub(1).and_then(|at| text.get(at));
    if matches!(before, Some(b'"' | b'\'')) {
        rest = rest.strip_prefix(b"\\").unwrap_or(rest);
        rest = rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest);
    }
    let blank = |byte: u8| matches!(byte, b' ' | b'\t');
    rest = skip(rest, blank);
    let operator = ["=>", ":=", "=", ":"].iter().find(|operator| rest.starts_with(operator.as_bytes()));
    let bare = name == BEARER || (quotes && rest.first() == Some(&b'\''));
    if operator.is_none() && !bare {
        return None;
    }
    rest = skip(rest.get(operator.map_or(0, |operator| operator.len())..)?, blank);
    let from = text.len() - rest.len();
    let (skipped, quote) = match rest {
        [b'\\', b'"', ..] => (2, Some(&b"\\\""[..])),
        [b'"', ..] => (1, Some(&b"\""[..])),
        [b'\'', ..] if quotes => (1, Some(&b"'"[..])),
        [b'\'', ..] => return None,
        _ => (0, None),
    };
    let value = rest.get(skipped..)?;
    let mut escaped = false;
    // a value that nothing closes ends with its line
    let ends = |(at, byte): (usize, &u8)| {
        let ends = match quote {
            Some(quote) => *byte == b'\n' || (!escaped && value.get(at..).is_some_and(|rest| rest.starts_with(quote))),
            None => byte.is_ascii_whitespace() && !escaped,
        };
        escaped = *byte == b'\\' && !escaped && quote.is_none_or(|quote| quote.len() == 1);
        ends
    };
    let length = value.iter().enumerate().position(ends);
    let bearer = value.get(..BEARER.len()).is_some_and(|word| word.eq_ignore_ascii_case(BEARER.as_bytes()));
    // `Authorization: Bearer x`: the next name's
    if quote.is_none() && bearer {
        return None;
    }
    Some(from + skipped..from + skipped + length.unwrap_or(value.len()))
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn skip(text: &[u8], what: impl Fn(u8) -> bool) -> &[u8] {
    text.get(text.iter().take_while(|byte| what(**byte)).count()..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
