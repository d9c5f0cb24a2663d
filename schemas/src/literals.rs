//! What of a statement's text anybody may read: its words, without any constant (MSK-1). The index has no more of it.
//!
//! A value that a client writes into a statement may be a protected one, and the index is read by more people than the
//! recorded frames are. So the text is cut into tokens by PostgreSQL's lexical rules, and every constant (strings of all
//! forms, bit strings, dollar quotes, numbers) becomes `?`, comments go, and what is not a plain name in double quotes
//! becomes `"?"`. Where the rules do not account for every character the answer is nothing at all: a text that is cut
//! wrongly would show a constant as words.
//!
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>; the server's `standard_conforming_strings` is pinned
//! to `on` by the gate.

use crate::id::is_id;
use std::{iter::Peekable, str::CharIndices};

/// One piece of a text whose constants are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A keyword, a name, or a parameter such as `$1`, as it was written.
    Word(String),
    /// A name in double quotes, without them.
    Quoted(String),
    /// A constant, or a quoted name that may be one.
    Constant,
    /// An operator or punctuation character.
    Mark(char),
}

/// A text without its constants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// For people: white space runs and comments are one space.
    pub shown: String,
    /// For the index: words in lower case and `?` for constants, in order.
    pub words: Vec<String>,
}

/// Longest word that is kept; PostgreSQL's names end at 63 bytes, keywords are shorter.
const MAX_WORD_BYTES: usize = 63;
/// A run of digits this long inside a word (an alias, a table of the day) may be a number of a person or a card.
const MAX_DIGITS: usize = 8;
/// Longest text for people; what is beyond is found, not shown.
const MAX_SHOWN_BYTES: usize = 16 << 10;
/// Most words of one text that can be found.
const MAX_WORDS: usize = 16 << 10;

/// Removes the constants of a text. `None`: the text is not lexically sound SQL, nothing of it may be kept.
pub fn remove(sql: &str) -> Option<Text> {
    let mut text = Text::default();
    let mut cut = false;
    for (spaced, token) in tokens(sql)? {
        if text.words.len() < MAX_WORDS {
            match &token {
                Token::Word(word) | Token::Quoted(word) => text.words.push(word.to_lowercase()),
                Token::Constant => text.words.push("?".to_owned()),
                Token::Mark(_) => {}
            }
        }
        if cut {
            continue;
        }
        if spaced && !text.shown.is_empty() {
            text.shown.push(' ');
        }
        match token {
            Token::Word(word) => text.shown.push_str(&word),
            Token::Quoted(name) => text.shown.extend(["\"", &name, "\""]),
            Token::Constant => text.shown.push('?'),
            Token::Mark(mark) => text.shown.push(mark),
        }
        if text.shown.len() > MAX_SHOWN_BYTES {
            text.shown.push_str(" ...");
            cut = true;
        }
    }
    Some(text)
}

/// The words of what [`remove`] shows, as it gave them.
pub fn words_of_shown(shown: &str) -> Vec<String> {
    let word = |(_, token)| match token {
        Token::Word(word) | Token::Quoted(word) => Some(word.to_lowercase()),
        Token::Constant | Token::Mark('?') => Some("?".to_owned()),
        Token::Mark(_) => None,
    };
    tokens(shown).unwrap_or_default().into_iter().filter_map(word).take(MAX_WORDS).collect()
}

/// What [`remove`] shows, without names in double quotes that `is_known` does not know: a value may stand in such quotes by
/// mistake.
pub fn known_names(shown: &str, is_known: impl Fn(&str) -> bool) -> Option<String> {
    let mut out = String::with_capacity(shown.len());
    for (spaced, token) in tokens(shown)? {
        if spaced && !out.is_empty() {
            out.push(' ');
        }
        match token {
            Token::Word(word) => out.push_str(&word),
            Token::Quoted(name) if is_known(&name) => out.extend(["\"", &name, "\""]),
            Token::Quoted(_) => out.push_str("\"?\""),
            Token::Constant => out.push('?'),
            Token::Mark(mark) => out.push(mark),
        }
    }
    Some(out)
}

/// A name that the client chose, as far as it may be shown: a plain word.
pub fn name(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    if name.is_empty() || (plain && kept(name).is_some()) { name.to_owned() } else { "?".to_owned() }
}

/// A reason without what may be a value: long numbers, and quoted pieces that are no plain name. What a quote opens that
/// nothing closes is cut off.
pub fn remove_from_reason(reason: &str) -> String {
    let shown = |piece: &str, quoted: bool| {
        let plain = piece.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '*'));
        let numbered = piece.split(|c: char| !c.is_alphanumeric() && c != '_').any(is_numbered);
        if numbered || (quoted && !plain) { "?".to_owned() } else { piece.to_owned() }
    };
    let (mut out, mut rest) = (String::with_capacity(reason.len()), reason);
    while let Some((before, behind)) = rest.split_once('"') {
        out.push_str(&shown(before, false));
        out.push('"');
        let Some((quoted, after)) = closed(behind) else {
            out.push('?');
            return out;
        };
        out.push_str(&shown(quoted, true));
        out.push('"');
        rest = after;
    }
    out.push_str(&shown(rest, false));
    out
}

/// Splits at the quote that closes what was quoted as Rust's `{:?}` does: a backslash takes the next character.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '"' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// The tokens of a text, each with whether space stood before it; `None` where it is not lexically sound.
fn tokens(sql: &str) -> Option<Vec<(bool, Token)>> {
    let mut lexer = Lexer { rest: sql.char_indices().peekable(), text: sql };
    let mut tokens = Vec::new();
    loop {
        let spaced = lexer.space()?;
        match lexer.token()? {
            Some(token) => tokens.push((spaced, token)),
            None => return Some(tokens),
        }
    }
}

/// How the end of a quoted run is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// A doubled quote stands for one.
    Doubling,
    /// And a backslash takes the next character.
    Backslash,
}

struct Lexer<'a> {
    rest: Peekable<CharIndices<'a>>,
    text: &'a str,
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn goes_on(c: char) -> bool {
    starts_word(c) || c.is_ascii_digit() || c == '$'
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

impl Lexer<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    /// The character after the next.
    fn second(&self) -> Option<char> {
        let mut ahead = self.rest.clone();
        ahead.next();
        ahead.next().map(|(_, c)| c)
    }

    fn take(&mut self) -> Option<char> {
        self.rest.next().map(|(_, c)| c)
    }

    /// Where the next character stands.
    fn place(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(place, _)| *place)
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> &str {
        let from = self.place();
        while self.rest.next_if(|(_, c)| holds(*c)).is_some() {}
        let to = self.place();
        self.text.get(from..to).unwrap_or_default()
    }

    /// Passes white space and comments; `None` for a comment without end.
    fn space(&mut self) -> Option<bool> {
        let mut any = false;
        loop {
            match (self.peek(), self.second()) {
                (Some(c), _) if is_space(c) => {
                    self.take();
                }
                (Some('-'), Some('-')) => {
                    self.take_while(|c| c != '\n' && c != '\r');
                }
                (Some('/'), Some('*')) => self.block_comment()?,
                _ => return Some(any),
            }
            any = true;
        }
    }

    fn block_comment(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        loop {
            match (self.take()?, self.peek()) {
                ('/', Some('*')) => {
                    self.take();
                    depth += 1;
                }
                ('*', Some('/')) => {
                    self.take();
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => {}
            }
        }
    }

    /// The next token; the inner `None` is the end of the text, the outer one something unsound.
    fn token(&mut self) -> Option<Option<Token>> {
        let Some(c) = self.peek() else { return Some(None) };
        let token = match (c, self.second()) {
            ('\'', _) => self.constant(Escapes::Doubling)?,
            ('"', _) => self.name()?,
            ('e' | 'E', Some('\'')) => self.prefixed(Escapes::Backslash)?,
            ('b' | 'B' | 'x' | 'X' | 'n' | 'N', Some('\'')) => self.prefixed(Escapes::Doubling)?,
            ('u' | 'U', Some('&')) => self.unicode()?,
            ('$', _) => self.dollar()?,
            ('.', Some(digit)) if digit.is_ascii_digit() => self.number(),
            _ if c.is_ascii_digit() => self.number(),
            _ if starts_word(c) => self.word(),
            _ if c.is_ascii_punctuation() && c != '\\' => {
                self.take();
                Token::Mark(c)
            }
            _ => return None,
        };
        Some(Some(token))
    }

    fn word(&mut self) -> Token {
        kept(self.take_while(goes_on)).map_or(Token::Constant, Token::Word)
    }

    fn prefixed(&mut self, escapes: Escapes) -> Option<Token> {
        self.take();
        self.constant(escapes)
    }

    /// `U&'...'`, `U&"..."`, or the name `u` before an operator. A name by escapes could spell anything.
    fn unicode(&mut self) -> Option<Token> {
        let from = self.place();
        let mut ahead = self.text.get(from..)?.chars().skip(2);
        match ahead.next() {
            Some('\'') => {
                self.take();
                self.take();
                self.constant(Escapes::Doubling)
            }
            Some('"') => {
                self.take();
                self.take();
                self.name().map(|_| Token::Constant)
            }
            _ => Some(self.word()),
        }
    }

    /// A string from its opening quote on, with the pieces that follow it on further lines.
    fn constant(&mut self, escapes: Escapes) -> Option<Token> {
        loop {
            self.quoted('\'', escapes)?;
            let mut ahead = self.rest.clone();
            let mut lines = false;
            while let Some((_, c)) = ahead.peek().copied() {
                if is_space(c) {
                    lines |= c == '\n' || c == '\r';
                    ahead.next();
                } else if c == '-' && ahead.clone().nth(1).is_some_and(|(_, c)| c == '-') {
                    while ahead.next_if(|(_, c)| *c != '\n' && *c != '\r').is_some() {}
                } else {
                    break;
                }
            }
            if !lines || ahead.peek().is_none_or(|(_, c)| *c != '\'') {
                return Some(Token::Constant);
            }
            self.rest = ahead;
        }
    }

    /// Passes a quoted run from its opening quote to its closing one.
    fn quoted(&mut self, quote: char, escapes: Escapes) -> Option<()> {
        self.take();
        loop {
            let c = self.take()?;
            if c == '\\' && escapes == Escapes::Backslash {
                self.take()?;
            } else if c == quote {
                if self.peek() != Some(quote) {
                    return Some(());
                }
                self.take();
            }
        }
    }

    fn name(&mut self) -> Option<Token> {
        let from = self.place();
        self.quoted('"', Escapes::Doubling)?;
        let to = self.place();
        let inside = self.text.get(from + 1..to - 1)?;
        let plain = inside.starts_with(starts_word) && inside.chars().all(goes_on);
        Some(kept(inside).filter(|_| plain).map_or(Token::Constant, Token::Quoted))
    }

    /// `$1`, or `$tag$ ... $tag$`.
    fn dollar(&mut self) -> Option<Token> {
        let from = self.place();
        self.take();
        if self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let digits = self.take_while(goes_on);
            // PostgreSQL has at most 65535 parameters
            let number = digits.parse::<u16>().ok();
            return Some(number.map_or(Token::Constant, |number| Token::Word(format!("${number}"))));
        }
        let tag = self.take_while(|c| goes_on(c) && c != '$');
        if tag.starts_with(|c: char| c.is_ascii_digit()) || self.take()? != '$' {
            return None;
        }
        let to = self.place();
        let mark = self.text.get(from..to)?;
        let end = to + self.text.get(to..)?.find(mark)? + mark.len();
        while self.rest.next_if(|(place, _)| *place < end).is_some() {}
        Some(Token::Constant)
    }

    /// Digits and whatever is glued to them: a number of any form, or junk that is best not kept either.
    fn number(&mut self) -> Token {
        loop {
            let run = self.take_while(|c| goes_on(c) || c == '.');
            let exponent = run.ends_with(['e', 'E']);
            if !exponent
                || !self.second().is_some_and(|c| c.is_ascii_digit())
                || !matches!(self.peek(), Some('+' | '-'))
            {
                return Token::Constant;
            }
            self.take();
        }
    }
}

/// A word as it may be kept; `None` for one that may be a value.
fn kept(word: &str) -> Option<String> {
    (!word.is_empty() && word.len() <= MAX_WORD_BYTES && !is_numbered(word)).then(|| word.to_owned())
}

/// Whether a word may hold the number of a card or a person. The gate's own ids do not: reasons name them, and people ask
/// for them.
fn is_numbered(word: &str) -> bool {
    word.split(|c: char| !c.is_numeric()).any(|run| run.len() > MAX_DIGITS) && !is_id(word)
}

#[cfg(test)]
mod tests;
