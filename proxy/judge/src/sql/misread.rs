//! Whether a person reads in a text what PostgreSQL reads.
//!
//! A comment that begins with `--` ends at a carriage return as well as at a line feed, which few editors, terminals and pages
//! show as the end of a line; and characters that are not seen, or that turn the direction of writing, make a text look like
//! another one. Within a string constant they are data.

use pg_query::protobuf::{ScanToken, Token};

/// Why a text reads differently from what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misread {
    /// A carriage return that no line feed follows stands in a comment, or ends it.
    Return,
    /// This character stands outside of a string constant.
    Unseen(char),
}

/// Why a text reads differently from what runs, where it does; `unseen` says which characters are not seen. Texts that have none
/// of it are not scanned.
pub fn misread(text: &str, unseen: impl Fn(char) -> bool) -> Option<Misread> {
    let has_return = text.as_bytes().contains(&b'\r');
    let first = || text.chars().find(|c| unseen(*c));
    if !has_return && (text.is_ascii() || first().is_none()) {
        return None;
    }
    // what the scanner refuses has no constants, as far as anybody knows
    let Ok(tokens) = super::scan::tokens(text) else {
        return first().map(Misread::Unseen).or(Some(Misread::Return));
    };
    if has_return && tokens.iter().any(|token| returns(text, token)) {
        return Some(Misread::Return);
    }
    let (mut after, mut outside) = (0, Vec::new());
    for (start, end) in tokens.iter().filter(|token| is_constant(token)).filter_map(range) {
        outside.push((after, start));
        after = end;
    }
    outside.push((after, text.len()));
    let found = |(start, end): (usize, usize)| match text.get(start..end) {
        Some(part) => part.chars().find(|c| unseen(*c)),
        None => first(),
    };
    outside.into_iter().find_map(found).map(Misread::Unseen)
}

fn range(token: &ScanToken) -> Option<(usize, usize)> {
    Some((usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?))
}

fn is_constant(token: &ScanToken) -> bool {
    matches!(Token::try_from(token.token), Ok(Token::Sconst | Token::Usconst))
}

/// A carriage return without a line feed stands in a comment, or ends one that a line ends.
fn returns(text: &str, token: &ScanToken) -> bool {
    let behind = match Token::try_from(token.token) {
        Ok(Token::SqlComment) => 1,
        Ok(Token::CComment) => 0,
        _ => return false,
    };
    let Some((start, end)) = range(token) else { return true };
    let bytes = text.as_bytes();
    let is_bare = |at: usize| bytes.get(at) == Some(&b'\r') && bytes.get(at + 1) != Some(&b'\n');
    (start..end.saturating_add(behind)).any(is_bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Misread> {
        misread(text, |c| matches!(c, '\u{202e}' | '\u{200b}'))
    }

    #[test]
    fn a_comment_that_a_carriage_return_ends_is_found() {
        for text in [
            "delete from t where id = 1 -- one row\r or true",
            "delete from t where id = 1 -- one row\r",
            "delete from t -- a\r\n-- b\r or true",
            "delete from t /* a\r */ where id = 1",
            "delete from t /* a /* b\r */ */ where id = 1",
        ] {
            assert_eq!(of(text), Some(Misread::Return), "{text:?}");
        }
        for text in [
            "delete from t -- all of it\r\n where true\r\n",
            "delete from t /* a\r\n b */",
            "delete from t\rwhere id = 1",
            "delete from t /* b */\rwhere id = 1",
            "select '-- a\r'",
            "select $$ -- a\r b $$, $q$ /* \r */ $q$",
            "select \"--\r\"",
            "select 1 -- 1",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }

    #[test]
    fn unseen_characters_are_data_in_constants_alone() {
        for text in [
            "select 1 -- \u{202e}",
            "select /* \u{202e} */ 1",
            "select 'é' -- \u{202e}",
            "select \"a\u{202e}\" from t",
            "select a\u{202e} from t",
            "select 'a', b\u{202e}, 'c'",
        ] {
            assert_eq!(of(text), Some(Misread::Unseen('\u{202e}')), "{text:?}");
        }
        for text in [
            "select 'é\u{202e}'",
            "select $é$\u{202e}$é$, 'x\u{200b}'",
            "select E'\u{200b}', U&'\u{200b}'",
            "select 'é'",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
        assert!(of("select '\u{202e}").is_some(), "what cannot be scanned is not waved through");
    }
}
