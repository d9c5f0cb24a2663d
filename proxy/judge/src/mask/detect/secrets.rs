//! Keys, tokens and passwords, by what they begin with.

use super::{is_word, searcher};
use aho_corasick::AhoCorasick;
use std::{ops::Range, sync::OnceLock};

/// Shortest value that can hold a secret with what stands before it.
pub(super) const SHORTEST: usize = 16;

/// Fewest letters of a value after a name such as `password` that is taken for one.
const SHORTEST_NAMED: usize = 12;

/// How far behind the end of its name a value may begin.
const FARTHEST_NAMED: usize = 48;

/// How much of a long value is looked at to tell a secret.
const MOST_LOOKED_AT: usize = 1024;

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

/// Whether a secret stands here whose rare place this is: the `_` or `-` that ends what it begins with, the second or third
/// letter of that, the `:` or `=` after its name, the `/` after its host.
pub(super) fn stands_at(value: &[u8], at: usize) -> bool {
    let head = value.get(..=at).unwrap_or_default();
    match value.get(at) {
        Some(b'_') => begun(value, head, at),
        Some(b'-') => begun(value, head, at) || at >= 4 && begins_key(value, at - 4) || chat(value, head, at),
        Some(b'K' | b'S' | b'I' | b'G') => at >= 1 && begun_at(value, at - 1),
        Some(b'J') => at >= 2 && begun_at(value, at - 2),
        Some(b'/') => head.ends_with(b"hooks.slack.com/"),
        Some(b':' | b'=') => {
            let url = value.get(at..at + 3) == Some(b"://") && url_password(value, at + 3).is_some();
            url || assigned(value, at)
        }
        _ => false,
    }
}

/// Something formed whose prefix ends here.
fn begun(value: &[u8], head: &[u8], at: usize) -> bool {
    // the letters that stand before the last of a prefix
    let [.., before, _] = head else { return false };
    matches!(before, b'p' | b'o' | b'u' | b's' | b'r' | b't' | b'e' | b'c' | b'm' | b'k' | b'i')
        && FORMS.iter().any(|form| {
            head.ends_with(form.prefix.as_bytes()) && formed(value, at + 1 - form.prefix.len(), at + 1, form).is_some()
        })
}

/// Something formed whose prefix begins here.
fn begun_at(value: &[u8], start: usize) -> bool {
    let rest = value.get(start..).unwrap_or_default();
    FORMS.iter().any(|form| {
        rest.starts_with(form.prefix.as_bytes()) && formed(value, start, start + form.prefix.len(), form).is_some()
    })
}

fn begins_key(value: &[u8], start: usize) -> bool {
    let begins = value.get(start..).is_some_and(|rest| rest.starts_with(b"-----BEGIN "));
    begins && private_key(value, start, start + 11).is_some()
}

/// `xox`, a letter and the hyphen that stands here.
fn chat(value: &[u8], head: &[u8], at: usize) -> bool {
    matches!(head, [.., b'x', b'o', b'x', _, _]) && begun_at(value, at - 4)
}

/// A name before the `:` or `=` that stands here, and a value after it.
fn assigned(value: &[u8], at: usize) -> bool {
    let after = value.get(at + 1..).unwrap_or_default();
    let gap = after.iter().take(FARTHEST_NAMED).take_while(|b| is_between(**b)).count();
    let body = after.get(gap..).unwrap_or_default();
    let long = body.get(..SHORTEST_NAMED).is_some_and(|body| body.iter().all(|b| is_named(*b)));
    // what may stand between a name and its value is no longer than that, and a name is no longer than sixteen
    let near = value.get(at.saturating_sub(FARTHEST_NAMED + 16)..at).unwrap_or_default();
    long && near.len() >= 5 && anchors().is_match(near)
}

/// Tells what is found; the spans may overlap.
pub(super) fn find(value: &[u8], note: &mut dyn FnMut(Range<usize>)) {
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
            note(span);
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
    let near = value.get(..value.len().min(end + MOST_LOOKED_AT))?;
    let body = value.get(end..end + run(near, end, form.more))?;
    let tells = match form.prefix {
        // a JWT has points, and its second part begins like the first
        "eyJ" => body.windows(4).any(|w| w == b".eyJ"),
        "xox" => body.get(1) == Some(&b'-'),
        "AKIA" | "ASIA" => body.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
        // words joined by hyphens are no keys
        "sk-" => body.iter().any(u8::is_ascii_digit) && entropy(body) > 3.0,
        _ => true,
    };
    let secret = body.len() >= form.least && tells && !before.is_some_and(|b| is_word(*b));
    secret.then(|| start..end + run(value, end, form.more))
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
    let near = value.get(end..value.len().min(end + FARTHEST_NAMED + 1))?;
    let name = run(near, 0, b"_-");
    let gap = near.get(name..)?.iter().take_while(|b| is_between(**b)).count();
    let between = near.get(name..name + gap)?;
    if name + gap > FARTHEST_NAMED || !between.iter().any(|b| matches!(b, b'=' | b':')) {
        return None;
    }
    let at = end + name + gap;
    let rest = value.get(at..)?;
    let length = rest.iter().take(MOST_LOOKED_AT).take_while(|b| is_named(**b)).count();
    let body = rest.get(..length)?;
    let mixed = body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_alphabetic);
    let secret = length >= SHORTEST_NAMED && mixed && entropy(body) >= 3.0;
    secret.then(|| at..at + rest.iter().take_while(|b| is_named(**b)).count())
}

/// What may stand between a name and its value.
fn is_between(byte: u8) -> bool {
    matches!(byte, b'=' | b':' | b'"' | b'\'' | b' ' | b'\\' | b'>')
}

/// What a value after a name may consist of.
fn is_named(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-+/=.~!$%^&*#".contains(&byte)
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
