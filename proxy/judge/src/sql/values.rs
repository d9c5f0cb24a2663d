//! A text without its values, byte for byte as long: for a record that must not keep them.
//!
//! PostgreSQL's scanner finds the constants and the comments. What stands within quotes becomes stars, a number noughts, so
//! that the text reads as before and means as little as it can. A text that the scanner refuses loses all.

use super::secrets::{self, MARK, quoted};
use pg_query::protobuf::{ScanToken, Token};
use std::ops::Range;

/// Longest text that is scanned; of what is longer nothing stays.
const MAX_SCANNED: usize = 1 << 20;

/// What stands in the place of a digit.
const NOUGHT: u8 = b'0';

/// A text, and what was taken out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// As long as it was.
    pub text: Vec<u8>,
    /// The constants as they are meant, in order, without those that are secrets: nobody should look for these.
    pub values: Vec<Vec<u8>>,
}

/// Which words of a text are not kept besides constants and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// All words stay.
    Kept,
    /// What stands in double quotes may be a value: the text was not understood.
    Doubted,
}

/// Takes the values out of a text.
pub fn leave_out(text: &[u8], names: Names) -> LeftOut {
    scanned(text, names).unwrap_or_else(|| LeftOut { text: vec![MARK; text.len()], values: Vec::new() })
}

fn scanned(text: &[u8], names: Names) -> Option<LeftOut> {
    if text.len() > MAX_SCANNED {
        return None;
    }
    let tokens = super::scan::tokens(std::str::from_utf8(text).ok()?).ok()?;
    let secrets = secrets::secrets(text);
    let mut left = LeftOut { text: text.to_vec(), values: Vec::new() };
    for token in &tokens {
        let Some((place, mark, is_value)) = found(text, token, names)? else { continue };
        let hidden = secrets.iter().any(|secret| secret.start < place.end && place.start < secret.end);
        if is_value && !hidden {
            let constant = text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)?;
            left.values.push(meant(constant, text.get(place.clone())?));
        }
        left.text.get_mut(place)?.fill(mark);
    }
    Some(left)
}

/// Where in a token the value stands, what it becomes, and whether it is one to look for. None at all where a token is
/// not where it should be.
fn found(text: &[u8], token: &ScanToken, names: Names) -> Option<Option<(Range<usize>, u8, bool)>> {
    let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
    let bytes = text.get(start..end)?;
    let within = |range: Range<usize>| start + range.start..start + range.end;
    Some(match Token::try_from(token.token).ok()? {
        Token::Sconst | Token::Usconst | Token::Bconst | Token::Xconst => Some((within(quoted(bytes)), MARK, true)),
        Token::Iconst | Token::Fconst => Some((start..end, NOUGHT, true)),
        Token::SqlComment => Some((within(2.min(bytes.len())..bytes.len()), MARK, false)),
        Token::CComment => Some((within(2.min(bytes.len())..bytes.len().saturating_sub(2).max(2)), MARK, false)),
        Token::Ident | Token::Uident if names == Names::Doubted => {
            let from = bytes.iter().position(|byte| *byte == b'"').map(|quote| quote + 1);
            from.map(|from| (within(from..bytes.len().saturating_sub(1).max(from)), MARK, false))
        }
        _ => None,
    })
}

/// What a constant stands for, `within` its quotes: escapes are resolved, pieces on several lines joined; of a number its
/// digits. `UESCAPE` is not heeded, nor are bits and bytes read.
fn meant(constant: &[u8], within: &[u8]) -> Vec<u8> {
    let escapes = match constant {
        [b'e' | b'E', ..] => Escapes::Backslash,
        [b'u' | b'U', b'&', ..] => Escapes::Unicode,
        [b'$', ..] => return within.to_vec(),
        [first, ..] if first.is_ascii_digit() || *first == b'.' => {
            return within.iter().copied().filter(|byte| *byte != b'_').collect();
        }
        _ => Escapes::None,
    };
    let (mut plain, mut rest) = (Vec::with_capacity(within.len()), within);
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, escapes) {
            (b'\'', _) => match behind.split_first() {
                Some((b'\'', behind)) => {
                    plain.push(b'\'');
                    rest = behind;
                }
                // the next piece of it begins behind white space and its own quote
                _ => {
                    rest =
                        behind.iter().position(|b| *b == b'\'').and_then(|at| behind.get(at + 1..)).unwrap_or_default()
                }
            },
            (b'\\', Escapes::Backslash) => rest = backslash(behind, &mut plain),
            (b'\\', Escapes::Unicode) => rest = unicode(behind, &mut plain),
            _ => plain.push(*byte),
        }
    }
    plain
}

/// How a constant is escaped, besides doubled quotes.
#[derive(Clone, Copy)]
enum Escapes {
    None,
    Backslash,
    Unicode,
}

/// Resolves what stands behind a backslash of `E''`, and says what stands behind that.
fn backslash<'a>(rest: &'a [u8], plain: &mut Vec<u8>) -> &'a [u8] {
    let Some((kind, behind)) = rest.split_first() else { return rest };
    let number = |digits: &'a [u8], most: usize, radix: u32| {
        let count = digits.iter().take(most).take_while(|byte| char::from(**byte).is_digit(radix)).count();
        let (digits, behind) = digits.split_at_checked(count)?;
        Some((u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?, behind))
    };
    let byte =
        |read: Option<(u32, &'a [u8])>| read.and_then(|(code, rest)| Some((u8::try_from(code & 0xff).ok()?, rest)));
    let one = match kind {
        b'b' => Some((8, behind)),
        b'f' => Some((12, behind)),
        b'n' => Some((b'\n', behind)),
        b'r' => Some((b'\r', behind)),
        b't' => Some((b'\t', behind)),
        b'0'..=b'7' => byte(number(rest, 3, 8)),
        b'x' => byte(number(behind, 2, 16)),
        b'u' | b'U' => {
            let read = number(behind, if *kind == b'u' { 4 } else { 8 }, 16);
            return read.map_or(behind, |(code, rest)| {
                put(code, plain);
                rest
            });
        }
        _ => None,
    };
    let (byte, rest) = one.unwrap_or((*kind, behind));
    plain.push(byte);
    rest
}

/// Likewise behind a backslash of `U&''`.
fn unicode<'a>(rest: &'a [u8], plain: &mut Vec<u8>) -> &'a [u8] {
    let (skipped, most) = match rest.first() {
        Some(b'\\') => {
            plain.push(b'\\');
            return rest.get(1..).unwrap_or_default();
        }
        Some(b'+') => (1, 6),
        _ => (0, 4),
    };
    let digits = rest.get(skipped..skipped + most).and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(code) => {
            put(code, plain);
            rest.get(skipped + most..).unwrap_or_default()
        }
        None => rest,
    }
}

fn put(code: u32, plain: &mut Vec<u8>) {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    //! Nothing of a value stays, and everything else does.

    use super::*;
    use proptest::prelude::*;

    fn left(text: &str) -> (String, Vec<String>) {
        let left = leave_out(text.as_bytes(), Names::Kept);
        let values = left.values.into_iter().map(|value| String::from_utf8(value).unwrap());
        (String::from_utf8(left.text).unwrap(), values.collect())
    }

    #[test]
    fn constants_of_every_form_are_left_out() {
        for (text, without, values) in [
            ("select 'a''b', 12.5 from t", "select '****', 0000 from t", &["a'b", "12.5"][..]),
            ("select e'a\\'b', $1", "select e'****', $1", &["a'b"]),
            ("select $x$ab$x$, $$c$$", "select $x$**$x$, $$*$$", &["ab", "c"]),
            ("select x'1f', b'01', n'z'", "select x'**', b'**', n'*'", &["1f", "01", "z"]),
            ("select U&'d\\0061t' uescape '!'", "select U&'*******' uescape '*'", &["dat", "!"]),
            ("select 'a'\n 'b''c'", "select '*********'", &["ab'c"]),
            (r"select e'\x34\0651\u0031\'\\\q\n'", "select e'***********************'", &["4511'\\q\n"]),
            (" ", " ", &[]),
            ("", "", &[]),
            ("select 1_000", "select 00000", &["1000"]),
            ("select 1 /* 4 /* 5 */ */ -- 6", "select 0 /*************/ --**", &["1"]),
            ("select \"a 1\" from t1 limit 1e3", "select \"a 1\" from t1 limit 000", &["1e3"]),
            ("update t set a = -5 where b = 0x1F", "update t set a = -0 where b = 0000", &["5", "0x1F"]),
        ] {
            let (shown, named) = left(text);
            assert!(shown.starts_with(without), "{shown}");
            assert_eq!(shown.len(), text.len());
            if !values.is_empty() {
                assert_eq!(named, values, "{text}");
            }
        }
    }

    #[test]
    fn what_may_be_a_value_in_double_quotes_goes_where_names_are_doubted() {
        let text = b"select \"4111\", U&\"x\\0041\" from t";
        assert_eq!(leave_out(text, Names::Doubted).text, b"select \"****\", U&\"******\" from t");
    }

    #[test]
    fn what_is_no_sql_loses_all() {
        for text in [&b"select 'a"[..], b"select \xff", b"/* 4711"] {
            assert_eq!(leave_out(text, Names::Kept).text, vec![MARK; text.len()]);
        }
        assert!(leave_out(&vec![b'x'; MAX_SCANNED + 1], Names::Kept).text.iter().all(|byte| *byte == MARK));
    }

    #[test]
    fn secrets_have_no_token() {
        assert_eq!(left("create role a password 'abcdef'; select 'ghij'").1, ["ghij"]);
    }

    proptest! {
        #[test]
        fn a_value_is_gone_in_whatever_it_is_quoted(
            before in "[a-z ,=(0-9]{0,20}", value in "[QZ]{6}", quote in "'|\\$q\\$|e'|x'|\"|--|/\\*",
        ) {
            let close = match quote.as_str() {
                "e'" | "x'" => "'",
                "--" => "\n",
                "/*" => "*/",
                same => same,
            };
            let text = format!("select {before} {quote}{value}{close} from t");
            let left = leave_out(text.as_bytes(), Names::Doubted);
            prop_assert_eq!(left.text.len(), text.len());
            let shown = String::from_utf8(left.text).unwrap();
            prop_assert!(!shown.contains(&value), "{}", shown);
        }
    }
}
