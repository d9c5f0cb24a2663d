//! Keys, tokens and passwords, by what they begin with.

use super::{is_word, searcher};
use aho_corasick::AhoCorasick;
use std::{ops::Range, sync::OnceLock};

/// Shortest value that can hold a secret with what stands before it.
pub(super) const SHORTEST: usize = 16;

/// Fewest letters of a value after a name such as `password` that is taken for one.
const SHORTEST_NAMED: usize = 12;

/// What a secret begins with, and how it goes on.
struct Form {
    prefix: &'static str,
    /// Fewest characters that follow.
    least: usize,
    /// Characters besides letters and digits that may follow.
    more: &'static [u8],
}

const fn form(prefix: &'static str, least: usize, more: &'static [u8]) -> Form {
    Form { prefix, least, more }
}

const FORMS: &[Form] = &[
    form("AKIA", 16, b""),
    form("ASIA", 16, b""),
    form("AIza", 30, b"_-"),
    form("ghp_", 30, b""),
    form("gho_", 30, b""),
    form("ghu_", 30, b""),
    form("ghs_", 30, b""),
    form("ghr_", 30, b""),
    form("github_pat_", 20, b"_"),
    form("glpat-", 16, b"_-."),
    form("xox", 10, b"-"),
    form("sk_live_", 16, b""),
    form("rk_live_", 16, b""),
    form("sk_test_", 16, b""),
    form("rk_test_", 16, b""),
    form("whsec_", 16, b"+/="),
    form("sk-", 20, b"_-"),
    form("npm_", 30, b""),
    form("pypi-", 40, b"_-"),
    form("SG.", 40, b"._-"),
    form("eyJ", 20, b"._-"),
];

const PREFIXES: &[&str] = &[
    "AKIA",
    "ASIA",
    "AIza",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "sk_live_",
    "rk_live_",
    "sk_test_",
    "rk_test_",
    "whsec_",
    "sk-",
    "npm_",
    "pypi-",
    "SG.",
    "eyJ",
    "-----BEGIN ",
    "://",
    "hooks.slack.com/",
    "passw",
    "Passw",
    "PASSW",
    "secret",
    "Secret",
    "SECRET",
    "token",
    "Token",
    "TOKEN",
    "api_key",
    "API_KEY",
    "apikey",
    "ApiKey",
    "api-key",
    "AccountKey",
    "access_key",
    "ACCESS_KEY",
];

/// What every secret that is looked for begins with or stands behind.
pub(super) fn anchors() -> &'static AhoCorasick {
    static ANCHORS: OnceLock<AhoCorasick> = OnceLock::new();
    searcher(&ANCHORS, PREFIXES)
}

/// Whether anything of that stands in a value. Every form has one of these bytes; hashes, names and sentences have none
/// that stands so.
pub(super) fn may_hold(value: &[u8]) -> bool {
    // counted without branches, which the compiler turns into vector instructions
    let marks = value.chunks(128).map(|block| {
        let marked = |byte: &u8| u8::from(matches!(byte, b'_' | b'-' | b':' | b'=' | b'A' | b'G' | b'J'));
        u32::from(block.iter().fold(0u8, |sum, byte| sum + marked(byte)))
    });
    marks.sum::<u32>() > 0 && anchors().is_match(value)
}

/// Appends what is found; the spans may overlap.
pub(super) fn find(value: &[u8], spans: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(hit) = value.get(from..).and_then(|rest| anchors().find(rest)) {
        let (start, end) = (from + hit.start(), from + hit.end());
        from = end;
        let found = match PREFIXES.get(hit.pattern().as_usize()).copied().unwrap_or_default() {
            "-----BEGIN " => private_key(value, start, end),
            "://" => url_password(value, end),
            "hooks.slack.com/" => Some(start..end + run(value, end, b"/_-")),
            prefix => match FORMS.iter().find(|form| form.prefix == prefix) {
                Some(form) => formed(value, start, end, form),
                None => named(value, end),
            },
        };
        if let Some(span) = found {
            from = from.max(span.end);
            spans.push(span);
        }
    }
}

/// Letters, digits and these in a row.
fn run(value: &[u8], from: usize, more: &[u8]) -> usize {
    let rest = value.get(from..).unwrap_or_default();
    rest.iter().take_while(|b| b.is_ascii_alphanumeric() || more.contains(b)).count()
}

fn formed(value: &[u8], start: usize, end: usize, form: &Form) -> Option<Range<usize>> {
    let before = start.checked_sub(1).and_then(|at| value.get(at));
    let length = run(value, end, form.more);
    let body = value.get(end..end + length)?;
    let tells = match form.prefix {
        // a JWT has points, and its second part begins like the first
        "eyJ" => body.windows(4).any(|w| w == b".eyJ"),
        "xox" => body.get(1) == Some(&b'-'),
        "AKIA" | "ASIA" => body.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
        // words joined by hyphens are no keys
        "sk-" => body.iter().any(u8::is_ascii_digit) && entropy(body) > 3.0,
        _ => true,
    };
    (length >= form.least && tells && !before.is_some_and(|b| is_word(*b))).then_some(start..end + length)
}

fn private_key(value: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    let rest = value.get(end..)?;
    let line = rest.windows(5).position(|w| w == b"-----")?;
    if !rest.get(..line)?.windows(11).any(|w| w == b"PRIVATE KEY") && rest.get(..line)? != b"OPENSSH PRIVATE KEY" {
        return None;
    }
    let close = rest.windows(9).position(|w| w == b"-----END ");
    let after = close.and_then(|close| {
        let tail = rest.get(close + 9..)?;
        Some(end + close + 9 + tail.windows(5).position(|w| w == b"-----")? + 5)
    });
    Some(start..after.unwrap_or(value.len()))
}

/// `scheme://user:password@host`: the password.
fn url_password(value: &[u8], end: usize) -> Option<Range<usize>> {
    let rest = value.get(end..)?;
    let reach = rest.iter().take(256).position(|b| matches!(b, b'/' | b'?' | b'#' | b' ' | b'"' | b'\''));
    let authority = rest.get(..reach.unwrap_or(rest.len().min(256)))?;
    let at = authority.iter().rposition(|b| *b == b'@')?;
    let colon = authority.get(..at)?.iter().position(|b| *b == b':')?;
    (at > colon + 1).then_some(end + colon + 1..end + at)
}

/// `password = "..."`, `"api_key": "..."` and the like: a value of high entropy.
fn named(value: &[u8], end: usize) -> Option<Range<usize>> {
    let mut at = end + run(value, end, b"_-");
    let mut assigned = false;
    while let Some(byte) = value.get(at) {
        match byte {
            b'=' | b':' => assigned = true,
            b'"' | b'\'' | b' ' | b'\\' | b'>' => {}
            _ => break,
        }
        at += 1;
        if at > end + 48 {
            return None;
        }
    }
    let length = run(value, at, b"_-+/=.~!$%^&*#");
    let body = value.get(at..at + length)?;
    let mixed = body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_alphabetic);
    (assigned && length >= SHORTEST_NAMED && mixed && entropy(body) >= 3.0).then_some(at..at + length)
}

/// Bits a byte.
fn entropy(bytes: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a length, and an estimate")]
    let total = bytes.len() as f32;
    counts.iter().filter(|count| **count > 0).map(|count| f32::from(*count) / total).map(|p| -p * p.log2()).sum()
}
