//! The common name of a certificate's subject: the one thing that webpki does not read.

/// The last common name (2.5.4.3) of a subject, given as the content of its sequence in DER.
pub(super) fn common_name(subject: &[u8]) -> Option<&str> {
    let mut rest = subject;
    let mut found = None;
    while let Some((tag, set, after)) = element(rest) {
        rest = after;
        let (SET, Some((SEQUENCE, pair, _))) = (tag, element(set)) else { continue };
        let Some((OBJECT_ID, id, value)) = element(pair) else { continue };
        if id == COMMON_NAME
            && let Some((UTF8_STRING | PRINTABLE_STRING, text, _)) = element(value)
        {
            found = std::str::from_utf8(text).ok();
        }
    }
    found
}

/// The first element: tag, content, and what follows it. Only definite lengths, as in DER.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_too_strange() {
        let name = [&[0x31, 0x0e, 0x30, 0x0c, 0x06, 3, 0x55, 4, 3, 0x0c, 5][..], b"agent"].concat();
        assert_eq!(common_name(&name), Some("agent"));
        for end in 0..name.len() {
            assert_eq!(common_name(&name[..end]), None, "{end}");
        }
        for at in 0..name.len() {
            for byte in 0..=255 {
                let mut other = name.clone();
                other[at] = byte;
                let _any = common_name(&other);
            }
        }
    }
}
