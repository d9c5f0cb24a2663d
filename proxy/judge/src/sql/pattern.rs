//! Patterns that PostgreSQL takes whatever they are matched with.

/// Longest pattern that is looked at.
const LONGEST: usize = 256;

/// Deepest nesting of groups.
const DEEPEST: usize = 8;

/// Most repetitions that `{n}` may ask for.
const MOST_REPEATS: u32 = 64;

/// Whether a pattern of LIKE cannot fail: it does not end within an escape.
pub(super) fn like_is_sound(pattern: &str) -> bool {
    pattern.chars().rev().take_while(|character| *character == '\\').count().is_multiple_of(2)
}

/// Whether a regular expression surely is one: plain characters, classes, groups and single quantifiers. What is not
/// known here may be a good one all the same.
pub(super) fn expression_is_sound(pattern: &str) -> bool {
    let mut rest: Vec<char> = pattern.chars().collect();
    if rest.len() > LONGEST {
        return false;
    }
    rest.reverse();
    let mut reader = Reader { rest, repeated: false };
    reader.branches(0) && reader.rest.is_empty()
}

/// What is left of a pattern, its next character last.
struct Reader {
    rest: Vec<char>,
    /// A count was seen: a second one could multiply it.
    repeated: bool,
}

impl Reader {
    fn branches(&mut self, depth: usize) -> bool {
        let mut quantifiable = false;
        while let Some(next) = self.rest.pop() {
            quantifiable = match next {
                ')' if depth > 0 => {
                    self.rest.push(next);
                    return true;
                }
                '|' | '^' | '$' => false,
                '*' | '+' | '?' if quantifiable => {
                    // the one that takes as little as it can
                    self.rest.pop_if(|lazy| *lazy == '?');
                    false
                }
                '{' if quantifiable && self.count() => false,
                '(' if depth < DEEPEST && self.group(depth) => true,
                '[' if self.class() => true,
                '\\' if self.escape() => true,
                '*' | '+' | '?' | '{' | '}' | '(' | ')' | '[' | ']' | '\\' => return false,
                _ => true,
            };
        }
        depth == 0
    }

    fn group(&mut self, depth: usize) -> bool {
        if self.rest.pop_if(|next| *next == '?').is_some() && self.rest.pop() != Some(':') {
            return false;
        }
        self.branches(depth + 1) && self.rest.pop() == Some(')')
    }

    /// `\d`, `\.` and the like; no numbers of groups.
    fn escape(&mut self) -> bool {
        self.rest.pop().is_some_and(|next| matches!(next, 'd' | 'w' | 's' | 'D' | 'W' | 'S') || is_sign(next))
    }

    /// The rest of `{n}` or `{n,m}`.
    fn count(&mut self) -> bool {
        let mut text = String::new();
        loop {
            match self.rest.pop() {
                Some('}') => break,
                Some(next) if next.is_ascii_digit() || next == ',' => text.push(next),
                Some(_) | None => return false,
            }
        }
        let again = std::mem::replace(&mut self.repeated, true);
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= MOST_REPEATS);
        let good = match text.split_once(',') {
            None => number(&text).is_some(),
            Some((least, "")) => number(least).is_some(),
            Some((least, most)) => number(least).zip(number(most)).is_some_and(|(least, most)| least <= most),
        };
        good && !again
    }

    /// The rest of `[...]`: letters, digits, signs, and ranges between two letters of a kind or two digits.
    fn class(&mut self) -> bool {
        self.rest.pop_if(|next| *next == '^');
        let mut any = false;
        loop {
            let Some(first) = self.rest.pop() else { return false };
            if first == ']' {
                return any;
            }
            any = true;
            if !first.is_ascii_alphanumeric() {
                if !matches!(first, ' ' | '@' | '.' | '_' | ',' | ';' | '/' | '+') {
                    return false;
                }
            } else if self.rest.pop_if(|next| *next == '-').is_some() {
                let Some(last) = self.rest.pop() else { return false };
                let kind = [char::is_ascii_digit, char::is_ascii_lowercase, char::is_ascii_uppercase];
                if first > last || !kind.iter().any(|kind| kind(&first) && kind(&last)) {
                    return false;
                }
            }
        }
    }
}

/// A sign that an escape makes plain.
fn is_sign(character: char) -> bool {
    character.is_ascii_punctuation()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_patterns_are_known() {
        for pattern in ["[0-9]", "^5", "(..)", "x", "", "(a|b)+?", r"\d{3}-\d+", "[A-Za-z_.]+@", "^(?:a|b)$", "a{2}"] {
            assert!(expression_is_sound(pattern), "{pattern}");
        }
        for pattern in [
            "(", ")", "[", "a**", "*", "^*", "[z-a]", "a{2", "a{3,2}", "a{999}", r"\", r"(a)\1", "***=", "(?<x)",
            "[[:x:]]",
        ] {
            assert!(!expression_is_sound(pattern), "{pattern}");
        }
        assert!(like_is_sound("5%") && like_is_sound(r"5\%") && like_is_sound(r"5\\"));
        assert!(!like_is_sound(r"5\") && !like_is_sound(r"\\\"));
    }
}
