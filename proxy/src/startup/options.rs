//! The startup parameter `options`: settings as they stand on a server's command line.
//!
//! Of all that a command line may hold the gate takes `-c name=value` and `--name=value`, each by the allow list of startup
//! parameters: libpq's `PGOPTIONS`, and the connection strings of most drivers, carry settings so.
//!
//! Source: PostgreSQL's `pg_split_opts` and `process_postgres_switches`; `ParseLongOption` for `-` in names.

use super::{Error, Wish, parameters::refused};

/// What `options` say.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// For the gate itself: `postern.auth`.
    pub(super) wish: Option<Wish>,
    /// Names and values in their order, not checked yet.
    pub(super) settings: Vec<(String, String)>,
}

/// Reads the text.
///
/// # Errors
/// [`Error::Parameter`] for a switch of another kind.
pub(super) fn read(text: &str) -> Result<Options, Error> {
    let mut options = Options::default();
    let mut words = split(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(setting) => Some(setting.to_owned()),
            None => match word.strip_prefix("-c") {
                Some("") => words.next(),
                Some(setting) => Some(setting.to_owned()),
                None => None,
            },
        };
        let setting = setting.as_deref().and_then(|setting| setting.split_once('='));
        let Some((name, value)) = setting else {
            return Err(refused("options", "only settings are taken, as -c name=value or --name=value"));
        };
        // the server reads `-` in a name so, and a name that differs would pass for another
        let name = name.replace('-', "_");
        if name != "postern.auth" {
            options.settings.push((name, value.to_owned()));
            continue;
        }
        options.wish = Some(match value {
            "oauth" => Wish::Oauth,
            "password" => Wish::Password,
            _ => return Err(refused("options", "postern.auth is oauth or password")),
        });
    }
    Ok(options)
}

/// The words of the text: white space is between them, a backslash takes the next character as it is.
fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for character in text.chars() {
        if escaped {
            word.get_or_insert_default().push(character);
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if is_space(character) {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(character);
        }
    }
    words.extend(word);
    words
}

/// `isspace` of the C locale: what the server splits at.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_server_reads_them() {
        for (text, settings) in [
            ("", vec![]),
            ("  ", vec![]),
            ("-c search_path=app", vec![("search_path", "app")]),
            ("-csearch_path=app\t--statement-timeout=5s", vec![("search_path", "app"), ("statement_timeout", "5s")]),
            ("-c search_path=app,\\ public -c jit=off", vec![("search_path", "app, public"), ("jit", "off")]),
            ("-c a=b=c\\\\d", vec![("a", "b=c\\d")]),
            ("-c role=", vec![("role", "")]),
        ] {
            let read = read(text).unwrap();
            let found: Vec<_> = read.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, settings, "{text}");
        }
        assert_eq!(read("-c postern.auth=oauth -c jit=off").unwrap().wish, Some(Wish::Oauth));
    }

    #[test]
    fn attack_other_switches_are_refused() {
        for text in
            ["-d 5", "-c", "-c search_path", "app", "-f s", "-O", "-W 30", "--", "-", "-c postern.auth=no", "-p x"]
        {
            assert!(matches!(read(text), Err(Error::Parameter { .. })), "{text}");
        }
    }
}
