//! One strict TOML file, overridden by the environment, overridden by the command line.
//!
//! ```text
//! file (TOML) --+
//! POSTERN_SECTION_KEY --+--> one table --> the process's own `File` type, by serde
//! --set section.key=value --+
//! ```
//!
//! The types say which keys there are (`#[serde(deny_unknown_fields)]`); this module asks them, so that there is no
//! second list of keys. Whatever is wrong is taken out of the table and the rest is read again, so that all problems
//! are reported at once, each with its place and, for a misspelt key, the nearest that exists.
//!
//! Values inside a list of tables (`[[resources]]`) have no name in the environment: they are set in the file.

mod keys;
mod place;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Everything that is wrong with a config. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: file and line, name of the environment variable, command line argument, or section.
    pub place: String,
    /// What, and what to do about it.
    pub text: String,
}

impl Problem {
    /// One problem at one place.
    pub fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value given on the command line: `section.key` and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The key, with dots between its parts.
    pub key: String,
    /// The value: TOML, or else a string as it stands.
    pub value: String,
}

impl std::str::FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not section.key=value"))?;
        Ok(Self { key: key.trim().to_owned(), value: value.to_owned() })
    }
}

/// Loads a config: `path` (none: an empty file), then the environment variables that begin with `prefix` and `_`, then
/// `overrides`.
///
/// # Errors
/// [`Problems`], as many as can be told apart in one go.
pub fn load<T: DeserializeOwned>(path: Option<&Path>, prefix: &str, overrides: &[Override]) -> Result<T, Problems> {
    load_from(path, prefix, std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v))), overrides)
}

/// [`load`] with an environment that is handed in.
///
/// # Errors
/// [`Problems`].
pub fn load_from<T: DeserializeOwned>(
    path: Option<&Path>,
    prefix: &str,
    environment: impl IntoIterator<Item = (String, std::ffi::OsString)>,
    overrides: &[Override],
) -> Result<T, Problems> {
    let (text, name) = match path {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (String::new(), "no file".to_owned()),
    };
    let mut loading = Loading { name, ..Loading::parse(&text, path)? };
    for (variable, value) in environment {
        match value.into_string() {
            Ok(value) => loading.variable::<T>(prefix, &variable, &value),
            Err(_) if keys::names::<T>(prefix, &variable) => {
                loading.problems.push(Problem::new(variable, "its value is not UTF-8"));
            }
            Err(_) => {}
        }
    }
    for given in overrides {
        loading.set(given.key.split('.').map(str::to_owned).collect(), &given.value, format!("--set {}", given.key));
    }
    loading.finish()
}

/// Reads a config text as if it were a file called `name`, without environment and command line.
///
/// # Errors
/// [`Problems`].
pub fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Problems> {
    let name = PathBuf::from(name);
    Loading { name: name.display().to_string(), ..Loading::parse(text, Some(&name))? }.finish()
}

/// The keys of a section of `T` (empty path: its sections), for holding documents against the types. None: `path` is not
/// a section, or its type does not say which keys it has.
pub fn known_keys<T: DeserializeOwned>(path: &[&str]) -> Option<Vec<String>> {
    keys::known_keys::<T>(&path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>())
}

fn read(path: &Path) -> Result<String, Problems> {
    let problem = |text: String| Problems(vec![Problem::new(path.display().to_string(), text)]);
    let size =
        std::fs::metadata(path).map_err(|error| problem(format!("the config file cannot be read: {error}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(problem(format!("the config file is larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| problem(format!("the config file cannot be read: {error}")))
}

/// A config on its way from table to type.
struct Loading {
    name: String,
    table: Table,
    places: place::Places,
    /// Values that did not come from the file: their key, their text, and where they came from.
    given: Vec<Given>,
    problems: Vec<Problem>,
}

struct Given {
    key: Vec<String>,
    text: String,
    place: String,
}

impl Loading {
    fn parse(text: &str, path: Option<&Path>) -> Result<Self, Problems> {
        let name = path.map_or_else(String::new, |path| path.display().to_string());
        let table = text.parse::<Table>().map_err(|error| {
            let place = match error.span() {
                Some(span) => format!("{name}:{}", place::line(text, span.start)),
                None => name.clone(),
            };
            Problems(vec![Problem::new(place, error.message().to_owned())])
        })?;
        Ok(Self { name, table, places: place::Places::of(text), given: Vec::new(), problems: Vec::new() })
    }

    /// Takes an environment variable if it names a key. One that begins like a section but names no key of it is a
    /// problem; one that has nothing to do with the config is left alone.
    fn variable<T: DeserializeOwned>(&mut self, prefix: &str, variable: &str, value: &str) {
        if keys::is_service_link(variable, value) {
            return;
        }
        match keys::of_variable::<T>(prefix, variable) {
            keys::Variable::Key(key) => self.set(key, value, variable.to_owned()),
            keys::Variable::Unknown { nearest } => {
                let hint = nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                self.problems.push(Problem::new(variable, format!("no such key{hint}")));
            }
            keys::Variable::Foreign => {}
        }
    }

    fn set(&mut self, key: Vec<String>, text: &str, place: String) {
        // Digits, booleans and lists are TOML; everything else (an address, a path) is a string as it stands.
        let value = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
        match keys::put(&mut self.table, &key, value.unwrap_or_else(|| Value::String(text.to_owned()))) {
            Ok(()) => self.given.push(Given { key, text: text.to_owned(), place }),
            Err(text) => self.problems.push(Problem::new(place, text)),
        }
    }

    /// Reads the table as `T`; takes out what is wrong and reads again, so that one mistake does not hide the next.
    fn finish<T: DeserializeOwned>(mut self) -> Result<T, Problems> {
        loop {
            let result = serde_path_to_error::deserialize::<_, T>(Value::Table(self.table.clone()));
            let error = match result {
                Ok(value) if self.problems.is_empty() => return Ok(value),
                Ok(_) => return Err(Problems(self.problems)),
                Err(error) => error,
            };
            let path = keys::Path::of(error.path());
            let message = error.into_inner().message().to_owned();
            if self.retry_as_string(&path) {
                continue;
            }
            let removed = self.report(&path, &message);
            if !removed || self.problems.len() >= MAX_PROBLEMS {
                return Err(Problems(self.problems));
            }
        }
    }

    /// Whether a value from outside the file, read as TOML, was given another try as the string that it was.
    fn retry_as_string(&mut self, path: &keys::Path) -> bool {
        let Some(given) = self.given.iter().rfind(|given| path.is(&given.key)) else { return false };
        let string = Value::String(given.text.clone());
        let now = path.find(&self.table);
        if now.is_none() || now == Some(&string) {
            return false;
        }
        keys::put(&mut self.table, &given.key, string).is_ok()
    }

    /// Notes one problem and takes its cause out of the table. False: there was nothing to take out, so that reading
    /// again would only find the same.
    fn report(&mut self, path: &keys::Path, message: &str) -> bool {
        if let Some((unknown, known)) = keys::unknown_field(message) {
            let path = path.parent_of(unknown);
            let section = match path.to_string() {
                section if section.is_empty() => "at the top".to_owned(),
                section => format!("in [{section}]"),
            };
            let hint = match keys::nearest(unknown, known.iter().map(String::as_str)) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => keys::listed(&known),
            };
            let key = path.child(unknown);
            self.problems.push(Problem::new(self.place(&key), format!("unknown key `{unknown}` {section}{hint}")));
            return key.remove(&mut self.table);
        }
        let named = match path.to_string() {
            name if name.is_empty() => message.to_owned(),
            name => format!("`{name}`: {message}"),
        };
        self.problems.push(Problem::new(self.place(path), named));
        // A missing key cannot be taken out; what holds it can only where that is one entry of a list.
        !message.starts_with("missing field") && path.remove(&mut self.table)
    }

    fn place(&self, path: &keys::Path) -> String {
        if let Some(given) = self.given.iter().rfind(|given| path.is(&given.key)) {
            return given.place.clone();
        }
        if let Some(line) = self.places.line(path) {
            return format!("{}:{line}", self.name);
        }
        // Not in the file at all: something that was given from outside made this section.
        match self.given.iter().rfind(|given| path.holds(&given.key)) {
            Some(given) => given.place.clone(),
            None => self.name.clone(),
        }
    }
}

/// A config is a page, not a database.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Nobody reads more at once, and each costs a reading of the whole table.
const MAX_PROBLEMS: usize = 50;
