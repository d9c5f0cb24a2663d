//! The methods: one value in, what takes its place out.

use super::{Cell, Method, address, array, kind::Kind, moment, numeric};
use ring::hmac;

const STARS: &str = "****";

/// Longest value of which a made-up one is made; longer ones are redacted.
const MAX_FAKE: usize = 256;

/// No piece of a hidden value of this length may show in what replaces it.
const WINDOW: usize = 5;

/// Appends what takes the place of `field`; `None` for NULL. Never fails: what cannot be read as its type says is redacted.
pub(super) fn hide(cell: &Cell, key: Option<&hmac::Key>, field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let method = match (cell.method, key) {
        (Method::Null, _) => return None,
        // a pseudonym without a secret could be found by trying
        (Method::Hash | Method::Fake, None) => Method::Redact,
        (method, _) => method,
    };
    match cell.kind {
        // the ordinary case, without an allocation
        Kind::Text if method == Method::Redact => {
            let room = cell.room.unwrap_or(STARS.len()).min(STARS.len());
            out.extend_from_slice(STARS.as_bytes().get(..room).unwrap_or_default());
        }
        Kind::Text => out.extend_from_slice(text(method, key, field, cell.room).as_bytes()),
        Kind::Xml => out.extend_from_slice(plain(method, key, field).as_bytes()),
        Kind::Char => match method {
            Method::Redact | Method::Last4 => out.push(b'*'),
            Method::Hash | Method::Fake | Method::Null => return None,
        },
        Kind::Integer(width) => integer(method, key, field, width, cell.binary, out)?,
        Kind::Json => quoted(method, key, field, out),
        Kind::Jsonb => {
            if cell.binary {
                out.push(1);
            }
            quoted(method, key, field.get(usize::from(cell.binary)..).unwrap_or_default(), out);
        }
        Kind::Bytea => bytea(method, key, field, cell.binary, out),
        Kind::Uuid => uuid(method, key, field, cell.binary, out),
        Kind::Texts(element) => {
            let one = fit(&plain(method, key, &array::elements(field, cell.binary)), cell.room);
            if cell.binary {
                // one dimension, no NULLs, the element's type, one element, its lower bound, its length
                out.extend([1, 0].into_iter().flat_map(i32::to_be_bytes));
                out.extend_from_slice(&element.to_be_bytes());
                out.extend([1, 1, i32::try_from(one.len()).ok()?].into_iter().flat_map(i32::to_be_bytes));
                out.extend_from_slice(one.as_bytes());
            } else {
                out.push(b'{');
                out.extend_from_slice(one.as_bytes());
                out.push(b'}');
            }
        }
        Kind::Numeric => numeric::hide(method, key, field, cell.binary, out)?,
        Kind::Float(width) => numeric::hide_float(method, key, field, width, cell.binary, out)?,
        Kind::Date => moment::hide_date(method, key, field, cell.binary, out)?,
        Kind::Timestamp { zone } => moment::hide_timestamp(method, key, field, zone, cell.binary, out)?,
        Kind::Inet { network } => address::hide(method, key, field, network, cell.binary, out)?,
        Kind::Other => return None,
    }
    Some(())
}

fn fit(text: &str, room: Option<usize>) -> String {
    room.map_or_else(|| text.to_owned(), |room| text.chars().take(room).collect())
}

/// Sixteen digits of a keyed hash, or stars.
fn plain(method: Method, key: Option<&hmac::Key>, value: &[u8]) -> String {
    match (method, key) {
        (Method::Hash, Some(key)) => digits(key, value),
        _ => STARS.to_owned(),
    }
}

pub(super) fn digest(key: &hmac::Key, purpose: &str, value: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(purpose.as_bytes());
    context.update(&[0]);
    context.update(value);
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    bytes
}

fn digits(key: &hmac::Key, value: &[u8]) -> String {
    digest(key, "hash", value).iter().take(8).fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

pub(super) fn number(key: &hmac::Key, value: &[u8]) -> u64 {
    digest(key, "number", value).iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn text(method: Method, key: Option<&hmac::Key>, field: &[u8], room: Option<usize>) -> String {
    let Ok(value) = std::str::from_utf8(field) else { return fit(STARS, room) };
    // char(n) comes padded, and compares without its padding
    let value = value.trim_end_matches(' ');
    let hidden = match (method, key) {
        (Method::Last4, _) => last4(value),
        (Method::Fake, Some(key)) => fake(key, value).unwrap_or_else(|| STARS.to_owned()),
        _ => plain(method, key, value.as_bytes()),
    };
    match room {
        // cut, the last characters would be lost or too many
        Some(room) if method != Method::Hash && hidden.chars().count() > room => fit(STARS, Some(room)),
        _ => fit(&hidden, room),
    }
}

fn last4(value: &str) -> String {
    let letters = value.chars().filter(|c| c.is_alphanumeric()).count();
    let keep = (letters / 4).min(4);
    let skip = letters - keep;
    STARS.chars().chain(value.chars().filter(|c| c.is_alphanumeric()).skip(skip)).collect()
}

/// Letters become letters, digits digits; what stands between them stays. `None` where too much of the value would stay.
fn fake(key: &hmac::Key, value: &str) -> Option<String> {
    if value.is_empty() || value.len() > MAX_FAKE {
        return None;
    }
    let email = value.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && domain.contains('.'));
    let shape = email.map_or(value, |(local, _)| local);
    let mut made = String::with_capacity(value.len());
    let mut block = [0; 32];
    for (place, letter) in shape.chars().enumerate() {
        if place % 32 == 0 {
            block = digest(key, &format!("fake{}", place / 32), value.as_bytes());
        }
        let chance = block.get(place % 32).copied().unwrap_or_default();
        made.push(match letter {
            '0'..='9' => other(letter, b'0', 10, chance),
            'a'..='z' => other(letter, b'a', 26, chance),
            'A'..='Z' => other(letter, b'A', 26, chance),
            _ if letter.is_alphanumeric() => char::from(b'a' + chance % 26),
            _ => letter,
        });
    }
    if (12..=19).contains(&made.chars().filter(char::is_ascii_digit).count()) && luhn(&made) {
        made = break_check_digit(&made);
    }
    if email.is_none() {
        return (!shows(value, &made)).then_some(made);
    }
    // the domain that every made-up address has tells nothing by itself
    (!shows(value, &format!("{made}@exa"))).then(|| made + "@example.invalid")
}

/// Another letter of the same alphabet.
pub(super) fn other(letter: char, first: u8, size: u8, chance: u8) -> char {
    let place = u32::from(letter) - u32::from(first);
    let moved = (place + 1 + u32::from(chance) % (u32::from(size) - 1)) % u32::from(size);
    char::from_u32(u32::from(first) + moved).unwrap_or('*')
}

fn luhn(text: &str) -> bool {
    let digits = text.chars().rev().filter_map(|c| c.to_digit(10));
    let sum: u32 =
        digits.enumerate().map(|(n, d)| if n % 2 == 1 { d * 2 - if d > 4 { 9 } else { 0 } } else { d }).sum();
    sum.is_multiple_of(10)
}

fn break_check_digit(text: &str) -> String {
    let last = text.rfind(|c: char| c.is_ascii_digit());
    let change = |(place, c): (usize, char)| match c.to_digit(10).filter(|_| Some(place) == last) {
        Some(digit) => char::from_digit((digit + 1) % 10, 10).unwrap_or('0'),
        None => c,
    };
    text.char_indices().map(change).collect()
}

/// Whether a piece of the value stands in what was made of it.
pub(super) fn shows(value: &str, made: &str) -> bool {
    value == made
        || value.as_bytes().windows(WINDOW).any(|piece| made.as_bytes().windows(WINDOW).any(|other| other == piece))
}

fn quoted(method: Method, key: Option<&hmac::Key>, field: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(plain(method, key, field).as_bytes());
    out.push(b'"');
}

fn integer(
    method: Method,
    key: Option<&hmac::Key>,
    field: &[u8],
    width: usize,
    binary: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let value = read_integer(field, width, binary)?;
    let largest = i64::MAX >> (64 - 8 * width);
    let text = value.unsigned_abs().to_string();
    let hidden = match (method, key) {
        (Method::Last4, _) => {
            let keep = u32::try_from((text.len() / 4).min(4)).ok().filter(|keep| *keep > 0)?;
            (value.unsigned_abs() % 10u64.pow(keep)).cast_signed()
        }
        (Method::Hash, Some(key)) if width > 2 => (number(key, text.as_bytes()) >> 1).cast_signed() & largest,
        (Method::Fake, Some(key)) => {
            let least = 10i64.checked_pow(u32::try_from(text.len() - 1).ok()?)?;
            let most = least.saturating_mul(10).saturating_sub(1).min(largest);
            let span = u64::try_from(most - least).ok()?.checked_add(1)?;
            let made = least + (number(key, text.as_bytes()) % span).cast_signed();
            if shows(&text, &made.to_string()) {
                return None;
            }
            if value < 0 { -made } else { made }
        }
        _ => return None,
    };
    if binary {
        out.extend_from_slice(hidden.to_be_bytes().get(8 - width..)?);
    } else {
        out.extend_from_slice(hidden.to_string().as_bytes());
    }
    Some(())
}

fn read_integer(field: &[u8], width: usize, binary: bool) -> Option<i64> {
    if !binary {
        return std::str::from_utf8(field).ok()?.parse().ok();
    }
    match width {
        2 => Some(i64::from(i16::from_be_bytes(field.try_into().ok()?))),
        4 => Some(i64::from(i32::from_be_bytes(field.try_into().ok()?))),
        _ => Some(i64::from_be_bytes(field.try_into().ok()?)),
    }
}

pub(super) fn hexadecimal(field: &[u8]) -> Option<Vec<u8>> {
    let digits = field.strip_prefix(b"\\x")?;
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    digits.chunks(2).map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?)).collect()
}

fn bytea(method: Method, key: Option<&hmac::Key>, field: &[u8], binary: bool, out: &mut Vec<u8>) {
    let value = if binary { Some(field.to_vec()) } else { hexadecimal(field) };
    let hidden = match (method, key, value) {
        (Method::Hash | Method::Fake, Some(key), Some(value)) => {
            digest(key, "hash", &value).iter().take(8).copied().collect()
        }
        _ => STARS.as_bytes().to_vec(),
    };
    if binary {
        out.extend_from_slice(&hidden);
        return;
    }
    out.extend_from_slice(b"\\x");
    for byte in hidden {
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

fn uuid(method: Method, key: Option<&hmac::Key>, field: &[u8], binary: bool, out: &mut Vec<u8>) {
    let text = std::str::from_utf8(field).ok().map(|text| text.replace('-', ""));
    let value =
        if binary { Some(field.to_vec()) } else { text.and_then(|t| hexadecimal(format!("\\x{t}").as_bytes())) };
    let mut hidden = [0u8; 16];
    if let (Method::Hash | Method::Fake, Some(key), Some(value)) = (method, key, value) {
        for (to, from) in hidden.iter_mut().zip(digest(key, "uuid", &value)) {
            *to = from;
        }
        // version 8, made by the application; variant 1
        hidden[6] = hidden[6] & 0x0f | 0x80;
        hidden[8] = hidden[8] & 0x3f | 0x80;
    }
    if binary {
        out.extend_from_slice(&hidden);
        return;
    }
    for (place, byte) in hidden.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}
