//! Texts as a person must see them who decides by them: what is not seen, or is seen elsewhere than it stands, is written out.
//!
//! A terminal, a page and a messenger each have their own idea of a carriage return, of a character without width and of one
//! that turns the direction of writing. PostgreSQL has another: a comment that begins with `--` ends at `\r` too. So such
//! characters are shown as `\u{d}`: what is read is what runs.

/// Whether a character is not seen, or moves what is seen: the format characters of Unicode (general category Cf), those that it
/// says are shown as nothing, and its separators of lines and paragraphs.
pub fn is_unseen(c: char) -> bool {
    !c.is_ascii() && UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// The text with every control character but line feed, every unseen one and every space but the common one written out.
/// Doing it again changes nothing.
pub fn lines(text: &str) -> String {
    written(text, |c| c == '\n' || !is_hidden(c))
}

/// Likewise, in one line.
pub fn line(text: &str) -> String {
    written(text, |c| !is_hidden(c))
}

/// Like [`lines`], and no two texts look the same: what looks like a character that is written out is marked.
pub fn exact(text: &str) -> String {
    lines(&text.replace("\\u{", "\\u{5c}u{"))
}

/// A value in one line and in quotes, as no other value is shown: with `\\`, `\'`, `\n`, `\r`, `\t` and `\u{...}`.
pub fn quoted(value: &str) -> String {
    let mut shown = String::with_capacity(value.len() + 2);
    shown.push('\'');
    for c in value.chars() {
        match c {
            '\\' => shown.push_str("\\\\"),
            '\'' => shown.push_str("\\'"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown.push('\'');
    shown
}

fn is_hidden(c: char) -> bool {
    c.is_control() || is_unseen(c) || (c.is_whitespace() && c != ' ')
}

fn written(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if stays(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// By Unicode 15; unassigned characters of blocks that are shown as nothing are among them.
const UNSEEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_written_out() {
        assert_eq!(lines("a -- b\r or\n c\t"), "a -- b\\u{d} or\n c\\u{9}");
        assert_eq!(line("a\n\u{1b}[31m\u{a0}é"), "a\\u{a}\\u{1b}[31m\\u{a0}é");
        for c in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{ad}', '\u{2028}', '\u{2029}', '\u{85}', '\u{e0041}']
        {
            let shown = format!("a{}b", c.escape_unicode());
            assert_eq!(lines(&format!("a{c}b")), shown);
            assert_eq!(quoted(&format!("a{c}b")), format!("'{shown}'"));
            assert_eq!(lines(&shown), shown, "a second time changes nothing");
        }
        assert_eq!(lines("Grüße, 日本語 🙂"), "Grüße, 日本語 🙂");
    }

    #[test]
    fn no_two_look_the_same() {
        assert_ne!(exact("\\u{202e}"), exact("\u{202e}"));
        assert_ne!(exact("\\u{5c}u{202e}"), exact("\\u{202e}"));
        let values = ["NULL", "a\nb", "a\\nb", "a\\\nb", "a\rb", "a'b", "a\\'b", "a\\", "\\u{9}", "\t", "a', 'b"];
        let shown: std::collections::BTreeSet<String> = values.iter().map(|value| quoted(value)).collect();
        assert_eq!(shown.len(), values.len());
        assert!(shown.iter().all(|one| one.starts_with('\'') && one.ends_with('\'') && !one.contains('\n')));
    }
}
