//! The text of `search_path`: how PostgreSQL splits it into names, and how names are put into it.
//!
//! SET takes a list: each identifier or string in it is one name, whatever is in it, and PostgreSQL quotes it. `set_config`
//! and startup options take the text itself, whose unquoted names are folded. Both come to one form here, [`list`].

/// Bytes of a name that PostgreSQL keeps.
const LONGEST_NAME: usize = 63;

/// The names of a list, as `SplitIdentifierString` has them; `None` where PostgreSQL refuses the text. Unquoted letters
/// beyond ASCII are left as they are, which holds for databases of a multibyte encoding alone.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let (name, after) = rest.split_at(rest.find(|c| c == ',' || is_space(c)).unwrap_or(rest.len()));
                if name.is_empty() {
                    return None;
                }
                (name.to_ascii_lowercase(), after)
            }
        };
        names.push(truncated(name));
        let after = after.trim_start_matches(is_space);
        if after.is_empty() {
            return Some(names);
        }
        rest = after.strip_prefix(',')?.trim_start_matches(is_space);
    }
}

/// The text of a list of names, that [`split`] takes apart again.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = |name: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.chars().all(plain) && name.starts_with(|c: char| !c.is_ascii_digit()) {
            name.to_owned()
        } else {
            format!("\"{}\"", name.replace('"', "\"\""))
        }
    };
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// A name up to its closing quote, and what follows that.
fn quoted_name(quoted: &str) -> Option<(String, &str)> {
    let (mut name, mut chars) = (String::new(), quoted.char_indices().peekable());
    while let Some((index, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((name, quoted.get(index + 1..).unwrap_or_default()));
        }
    }
    None
}

/// White space between names; a vertical tab is some since version 16 and is taken for a letter here.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn truncated(mut name: String) -> String {
    if name.len() > LONGEST_NAME {
        let end = (0..=LONGEST_NAME).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name.truncate(end);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_as_postgresql_splits_it() {
        let names = |text| split(text).unwrap();
        assert_eq!(names("\"$user\", public"), ["$user", "public"]);
        assert_eq!(names(" \"A \"\"b\" ,\tHr "), ["A \"b", "hr"]);
        assert_eq!(names("\"a,b\",c"), ["a,b", "c"]);
        assert_eq!(names("\"\""), [""]);
        assert_eq!(names("  "), [""; 0]);
        assert_eq!(names("foreign-table, a\"B"), ["foreign-table", "a\"b"]);
        // no white space to PostgreSQL, so a part of the name
        assert_eq!(names("zz\u{a0}, public"), ["zz\u{a0}", "public"]);
        for text in ["a b", "a,", ",a", "\"a", "a,,b", "\"a\"b", "a \"b\""] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let long = format!("{}\u{e9}x", "a".repeat(62));
        assert_eq!(split(&long).unwrap(), ["a".repeat(62)]);
        assert_eq!(split(&format!("\"{}\"", "b".repeat(64))).unwrap(), ["b".repeat(63)]);
    }

    #[test]
    fn a_list_comes_back_as_it_went() {
        for names in [vec!["public", "PUBLIC", "a,b", "$user", "q\"", "", "1a", "\u{e9}"], vec![]] {
            assert_eq!(split(&list(names.iter().copied())).unwrap(), names);
        }
        assert_eq!(list(["public", "hr_2"]), "public, hr_2");
    }
}
