//! The shape of a text, for grouping only: two texts of one shape may touch different things.

use pg_query::protobuf::Token;

/// Shape of a text with constants, comments and white space removed, words in lower case; 16 hexadecimal digits.
/// Lists of constants of any length have one shape. Empty where the scanner refuses the text.
pub fn fingerprint(text: &str) -> String {
    let Ok(tokens) = super::scan::tokens(text) else { return String::new() };
    let mut hash = Fnv::new();
    let (mut constant, mut comma) = (false, false);
    for token in &tokens {
        let kind = Token::try_from(token.token).unwrap_or(Token::Nul);
        if matches!(kind, Token::SqlComment | Token::CComment) {
            continue;
        }
        let is_constant = matches!(
            kind,
            Token::Iconst
                | Token::Fconst
                | Token::Sconst
                | Token::Usconst
                | Token::Bconst
                | Token::Xconst
                | Token::Param
        );
        if is_constant {
            if !(constant && comma) {
                hash.flush(&mut comma);
                hash.word(b"?");
            }
            (constant, comma) = (true, false);
        } else if kind == Token::Ascii44 && constant && !comma {
            comma = true; // held back: it may stand between two constants
        } else {
            hash.flush(&mut comma);
            constant = false;
            let start = usize::try_from(token.start).unwrap_or(0);
            let end = usize::try_from(token.end).unwrap_or(0);
            hash.word(text.as_bytes().get(start..end).unwrap_or_default());
        }
    }
    hash.flush(&mut comma);
    format!("{:016x}", hash.0)
}

/// FNV-1a: short inputs, no secret.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn word(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().chain(b" ") {
            self.0 = (self.0 ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn flush(&mut self, comma: &mut bool) {
        if std::mem::take(comma) {
            self.word(b",");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn constants_comments_and_case_do_not_count() {
        let shape = fingerprint("SELECT a FROM t WHERE id IN (1, 2) -- x");
        assert_eq!(shape.len(), 16);
        assert_eq!(shape, fingerprint("select a from t\nwhere id in ($1)"));
        assert_ne!(shape, fingerprint("select a from u where id in (1)"));
        assert_ne!(fingerprint("select 1, a"), fingerprint("select 1 a"));
    }
}
