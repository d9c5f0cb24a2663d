//! Numbers of any length: digits become other digits, the sign and the point stay where they are.

use super::{
    Method,
    value::{digest, other, shows},
};
use ring::hmac;

/// Digits in a binary numeric's unit.
const UNIT: usize = 4;

/// Most digits of a number that is made up; longer ones become NULL.
const MAX_DIGITS: usize = 256;

/// Appends what takes the place of a `numeric`.
pub(super) fn hide(
    method: Method,
    key: Option<&hmac::Key>,
    field: &[u8],
    binary: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let text = if binary { decode(field)? } else { std::str::from_utf8(field).ok()?.to_owned() };
    let made = match (method, key) {
        (Method::Last4, _) => {
            let digits: Vec<char> = text.chars().filter(char::is_ascii_digit).collect();
            let keep = (digits.len() / 4).min(4);
            let kept: String = digits.get(digits.len() - keep..)?.iter().collect();
            if kept.is_empty() {
                return None;
            }
            kept.parse::<u64>().ok()?.to_string()
        }
        (Method::Hash | Method::Fake, Some(key)) => fake(key, &text)?,
        _ => return None,
    };
    if binary {
        encode(&made, out)?;
    } else {
        out.extend_from_slice(made.as_bytes());
    }
    Some(())
}

/// Appends what takes the place of a `float4` or `float8`.
pub(super) fn hide_float(
    method: Method,
    key: Option<&hmac::Key>,
    field: &[u8],
    width: usize,
    binary: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let (Method::Hash | Method::Fake, Some(key)) = (method, key) else { return None };
    let text = || std::str::from_utf8(field).ok();
    // the shortest digits that give the same number, and its size apart
    let shortest = match (width, binary) {
        (4, true) => format!("{:e}", f32::from_be_bytes(field.try_into().ok()?)),
        (4, false) => format!("{:e}", text()?.parse::<f32>().ok()?),
        (_, true) => format!("{:e}", f64::from_be_bytes(field.try_into().ok()?)),
        (_, false) => format!("{:e}", text()?.parse::<f64>().ok()?),
    };
    let (digits, size) = shortest.split_once('e')?;
    let made = format!("{}e{size}", fake(key, digits)?);
    match (width, binary) {
        (4, true) => out.extend_from_slice(&made.parse::<f32>().ok()?.to_be_bytes()),
        (_, true) => out.extend_from_slice(&made.parse::<f64>().ok()?.to_be_bytes()),
        (_, false) => out.extend_from_slice(made.as_bytes()),
    }
    Some(())
}

/// Other digits; the first of several does not become zero. `None` for what is no number of digits.
fn fake(key: &hmac::Key, text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.len() > MAX_DIGITS || !text.chars().all(plain) {
        return None;
    }
    let whole = text.trim_start_matches('-').split('.').next().unwrap_or_default().len();
    let mut made = String::with_capacity(text.len());
    let (mut place, mut block) = (0, [0; 32]);
    for letter in text.chars() {
        if !letter.is_ascii_digit() {
            made.push(letter);
            continue;
        }
        if place % 32 == 0 {
            block = digest(key, &format!("numeric{}", place / 32), text.as_bytes());
        }
        let chance = block.get(place % 32).copied().unwrap_or_default();
        made.push(match letter {
            // 0.5 stays below one
            '0' if place == 0 && whole == 1 && text.contains('.') => '0',
            '0' if place == 0 => '1',
            _ if place == 0 => other(letter, b'1', 9, chance),
            _ => other(letter, b'0', 10, chance),
        });
        place += 1;
    }
    (place > 0 && !shows(text, &made)).then_some(made)
}

/// The text of a binary numeric; `None` for NaN and the infinities.
fn decode(field: &[u8]) -> Option<String> {
    let (head, units) = field.split_first_chunk::<8>()?;
    let [a, b, c, d, e, f, g, h] = *head;
    let count = usize::from(u16::from_be_bytes([a, b]));
    let weight = i32::from(i16::from_be_bytes([c, d]));
    let sign = u16::from_be_bytes([e, f]);
    let scale = usize::from(u16::from_be_bytes([g, h]));
    if !matches!(sign, 0 | 0x4000) || units.len() != 2 * count || weight.unsigned_abs() > 1 << 12 || scale > 1 << 14 {
        return None;
    }
    let unit = |number: i32| {
        let found = usize::try_from(number).ok().and_then(|n| units.get(2 * n..2 * n + 2));
        found.map_or(0, |bytes| bytes.iter().fold(0u16, |sum, byte| sum << 8 | u16::from(*byte)))
    };
    let whole: String = (0..=weight.max(0)).map(|n| format!("{:04}", if weight < 0 { 0 } else { unit(n) })).collect();
    let whole = whole.trim_start_matches('0');
    let units = i32::try_from(scale.div_ceil(UNIT)).ok()?;
    let fraction: String = (1..=units).map(|n| format!("{:04}", unit(weight + n))).collect();
    let sign = if sign == 0 { "" } else { "-" };
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(match scale {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{}", fraction.get(..scale)?),
    })
}

/// Appends the binary of a text of digits.
fn encode(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (negative, plain) = text.strip_prefix('-').map_or((false, text), |plain| (true, plain));
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let lead = whole.len().next_multiple_of(UNIT) - whole.len();
    let digits = format!("{}{whole}{fraction}", "0".repeat(lead));
    let digits = format!("{digits}{}", "0".repeat(digits.len().next_multiple_of(UNIT) - digits.len()));
    let mut units: Vec<u16> =
        digits.as_bytes().chunks(UNIT).map(|c| c.iter().fold(0, |sum, d| sum * 10 + u16::from(d - b'0'))).collect();
    let mut weight = i16::try_from((whole.len() + lead) / UNIT).ok()? - 1;
    let leading = units.iter().take_while(|unit| **unit == 0).count();
    units.drain(..leading);
    weight -= i16::try_from(leading).ok()?;
    while units.last() == Some(&0) {
        units.pop();
    }
    if units.is_empty() {
        weight = 0;
    }
    let sign: u16 = if negative && !units.is_empty() { 0x4000 } else { 0 };
    out.extend_from_slice(&u16::try_from(units.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::try_from(fraction.len()).ok()?.to_be_bytes());
    out.extend(units.into_iter().flat_map(u16::to_be_bytes));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_numeric_survives_its_binary(whole in "0|[1-9][0-9]{0,20}", fraction in "[0-9]{0,12}", negative: bool) {
            let text = if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") };
            let zero = text.chars().all(|c| matches!(c, '0' | '.'));
            let text = if negative && !zero { format!("-{text}") } else { text };
            let mut bytes = Vec::new();
            encode(&text, &mut bytes).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), text);
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _text = decode(&bytes);
        }
    }
}
