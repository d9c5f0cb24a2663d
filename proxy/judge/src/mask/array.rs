//! Arrays of text, read alike in both formats, so that the same elements have the same pseudonym.

/// PostgreSQL's own limit of an array's dimensions.
pub(super) const MOST_DIMENSIONS: usize = 6;

/// The elements one after the other, each with a mark before it; of what does not read so, the bytes as they are.
pub(super) fn elements(field: &[u8], binary: bool) -> Vec<u8> {
    let read = if binary { of_binary(field) } else { of_text(field) };
    read.unwrap_or_else(|| field.to_vec())
}

const ELEMENT: u8 = 1;
const NULL: u8 = 2;

fn of_binary(field: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| field.get(at..)?.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
    let dimensions = usize::try_from(number(0)?).ok().filter(|count| *count <= MOST_DIMENSIONS)?;
    let (mut at, mut all) = (12 + 8 * dimensions, Vec::new());
    while at < field.len() {
        let length = number(at)?;
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            all.push(NULL);
            continue;
        };
        all.push(ELEMENT);
        all.extend_from_slice(field.get(at..at.checked_add(length)?)?);
        at += length;
    }
    Some(all)
}

/// `{one,"two, three",NULL}`, nested, and with bounds before it.
fn of_text(field: &[u8]) -> Option<Vec<u8>> {
    let begin = field.iter().position(|byte| *byte == b'{')?;
    let mut all = Vec::new();
    let mut rest = field.get(begin..)?.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'}' | b',' => continue,
            b'"' => {
                all.push(ELEMENT);
                loop {
                    match rest.next()? {
                        b'"' => break,
                        b'\\' => all.push(rest.next()?),
                        other => all.push(other),
                    }
                }
            }
            first => {
                let mut word = vec![first];
                while let Some(next) = rest.next_if(|b| !matches!(b, b',' | b'}' | b'{')) {
                    word.push(if next == b'\\' { rest.next()? } else { next });
                }
                if word == b"NULL" {
                    all.push(NULL);
                } else {
                    all.push(ELEMENT);
                    all.append(&mut word);
                }
            }
        }
    }
    Some(all)
}
