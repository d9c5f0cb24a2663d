//! PostgreSQL's scanner.

use pg_query::protobuf::ScanToken;

/// The tokens of a text, comments among them, in order.
///
/// # Errors
/// The scanner refuses the text: quotes or a comment without end.
pub(super) fn tokens(text: &str) -> Result<Vec<ScanToken>, pg_query::Error> {
    // of no tokens the library makes a slice at no address, which is undefined behaviour
    if text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)) {
        return Ok(Vec::new());
    }
    pg_query::scan_tokens(text)
}

#[cfg(test)]
mod tests {
    //! Every text has tokens, or none.

    #[test]
    fn a_text_without_tokens_has_none() {
        for (text, count) in [("", 0), (" \t\r\n\x0b\x0c", 0), (";", 1), ("/**/", 1), ("--", 1), ("\u{a0}", 1)] {
            assert_eq!(super::tokens(text).map(|tokens| tokens.len()).ok(), Some(count), "{text:?}");
        }
        assert!(super::tokens("'").is_err());
        assert!(super::tokens("\0").is_err());
    }
}
