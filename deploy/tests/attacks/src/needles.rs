//! The protected values, in every shape in which one of them might come through.

use crate::{
    admin::Admin,
    case::Case,
    messages::{Message, Row, lower, rows},
};
use anyhow::{Context as _, Result, ensure};
use regex::bytes::Regex;
use std::collections::BTreeSet;

const CARDS: [&str; 5] =
    ["4929731608452298", "5491837204617583", "6011983405721664", "4532987156043777", "371449635398431"];
const CARDS_WITH_DASHES: [&str; 4] =
    ["6011-9834-0572-1664", "4929-7316-0845-2298", "5491-8372-0461-7583", "4532-9871-5604-3777"];
const SSNS: [&str; 5] = ["536-90-4399", "219-09-9134", "457-55-5462", "078-05-1120", "601-22-7718"];
const MAILS: [&str; 5] = ["zephyr.quill77", "marlow.tusk31", "brisk.ferro90", "odile.vantage58", "quorra.lumen12"];
const CLOSED: [&str; 4] = ["987654.31", "876543.29", "DE44HRSECRET5001", "DE44HRSECRET5002"];

/// A protected value that came through: on which channel, and what was seen.
#[derive(Debug, Clone)]
pub struct Hit {
    pub channel: &'static str,
    pub needle: String,
}

/// Looks for protected values in what a server said.
pub struct Scanner {
    universal: Regex,
    /// The same without what is short enough to stand in a time or an id by chance.
    long: Regex,
}

impl Scanner {
    /// The database computes the digests.
    pub fn new(admin: &mut Admin) -> Result<Self> {
        let mut needles = BTreeSet::new();
        let windows = CARDS.iter().map(|value| ((*value).to_owned(), 7));
        let windows = windows.chain(CARDS_WITH_DASHES.iter().map(|value| ((*value).to_owned(), 9)));
        let windows =
            windows.chain(SSNS.iter().flat_map(|value| [((*value).to_owned(), 8), (value.replace('-', ""), 7)]));
        for (value, length) in windows.chain(MAILS.iter().map(|value| ((*value).to_owned(), 8))) {
            for window in value.as_bytes().windows(length) {
                let window = String::from_utf8_lossy(window).to_lowercase();
                needles.insert(window.chars().rev().collect());
                needles.insert(window);
            }
        }
        needles.extend(CLOSED.iter().map(|value| value.to_lowercase()));
        let whole = CARDS.iter().chain(&SSNS).map(|value| (*value).to_owned());
        let whole = whole.chain(MAILS.iter().map(|name| format!("{name}@secretmail.example")));
        for value in whole.chain([CARDS_WITH_DASHES.first().map(|value| (*value).to_owned()).unwrap_or_default()]) {
            let sql = format!(
                "SELECT encode(v,'hex'), left(lower(encode(v,'base64')),-4), md5(v), encode(public.digest(v,'sha1'),'hex'), \
                 encode(sha256(v),'hex') FROM (SELECT convert_to('{value}','UTF8') AS v) AS x"
            );
            let answer = admin.query(&sql)?;
            let row = answer.first().context("digests have a row")?;
            needles.extend(row.iter().flatten().map(|cell| String::from_utf8_lossy(cell).into_owned()));
        }
        ensure!(needles.iter().all(|needle| needle.len() >= 7), "every needle is long enough to mean something");
        // of a card and a number twelve characters, of what has other letters than an id all
        let by_chance =
            |needle: &str| needle.len() < 11 && needle.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let mut long: BTreeSet<String> = needles.iter().filter(|needle| !by_chance(needle)).cloned().collect();
        for value in CARDS.iter().chain(&CARDS_WITH_DASHES) {
            long.extend(value.as_bytes().windows(12).map(|window| String::from_utf8_lossy(window).into_owned()));
        }
        long.extend(SSNS.iter().map(|value| (*value).to_owned()));
        let long = pattern(&long)?;
        Ok(Self { universal: pattern(&needles)?, long })
    }

    /// A protected value, or what is known to be made of one, in these bytes.
    pub fn any(&self, bytes: &[u8]) -> Option<String> {
        let text = lower(bytes);
        self.long.find(&text).map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned())
    }

    /// What came through of a case.
    pub fn hits(&self, case: &Case, messages: &[Message]) -> Vec<Hit> {
        let needles: Vec<Vec<u8>> = case.must_not_contain.iter().filter_map(|needle| latin(needle)).collect();
        let binary: Vec<Vec<u8>> = case.must_not_contain_hex.iter().filter_map(|hex| unhex(hex)).collect();
        let scan = |bytes: &[u8]| {
            let text = lower(bytes);
            if let Some(needle) = needles.iter().find(|needle| contains(&text, needle)) {
                return Some(String::from_utf8_lossy(needle).into_owned());
            }
            let found = case.universal.then(|| self.universal.find(&text)).flatten();
            found.map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned())
        };
        let mut hits = Vec::new();
        for (kind, body) in messages.iter().filter_map(Message::server) {
            // PostgreSQL's own default, told at every login; one case has the word `postgres` for a secret
            let usual = kind == b'S' && body == b"IntervalStyle\0postgres\0";
            if usual || matches!(kind, b'R' | b'K' | b'Z') {
                continue;
            }
            let values = matches!(kind, b'D' | b'd' | b'V');
            let raw = || binary.iter().find(|needle| values && contains(body, needle)).map(|needle| hex(needle));
            if let Some(needle) = scan(body).or_else(raw) {
                hits.push(Hit { channel: channel(kind), needle });
            }
        }
        if hits.is_empty() && case.concat {
            hits.extend(rows(messages).iter().filter_map(|result| together(result, &scan)));
        }
        hits
    }
}

fn pattern(needles: &BTreeSet<String>) -> Result<Regex> {
    let mut needles: Vec<String> = needles.iter().map(|needle| regex::escape(needle)).collect();
    needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    let pattern = regex::bytes::RegexBuilder::new(&needles.join("|")).unicode(false).size_limit(64 << 20).build();
    pattern.context("building the needles' pattern")
}

/// A value cut into pieces over the rows of a column or the columns of a row.
fn together(result: &[Row], scan: &impl Fn(&[u8]) -> Option<String>) -> Option<Hit> {
    let width = result.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..width {
        let joined: Vec<u8> = result.iter().filter_map(|row| row.get(column)).flatten().flatten().copied().collect();
        if let Some(needle) = scan(&joined) {
            return Some(Hit { channel: "rows_concat", needle });
        }
    }
    result.iter().find_map(|row| {
        let joined: Vec<u8> = row.iter().flatten().flatten().copied().collect();
        scan(&joined).map(|needle| Hit { channel: "row_concat", needle })
    })
}

fn channel(kind: u8) -> &'static str {
    match kind {
        b'D' => "row",
        b'd' | b'G' | b'H' | b'W' => "copy",
        b'E' => "error",
        b'N' => "notice",
        b'S' => "parameter_status",
        b'A' => "notification",
        b'V' => "function_result",
        b'T' => "column_name",
        b'C' => "command_tag",
        _ => "other",
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || text.windows(needle.len()).any(|window| window == needle)
}

/// As one byte a character; none for a text that has others.
fn latin(needle: &str) -> Option<Vec<u8>> {
    needle.to_lowercase().chars().map(|char| u8::try_from(u32::from(char)).ok()).collect()
}

/// Bytes of a hexadecimal text.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits?;
    (digits.len() % 2 == 0)
        .then(|| digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
