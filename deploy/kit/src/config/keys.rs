//! The names of keys: paths in the table, names in the environment, and the nearest to a misspelt one.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use std::fmt;
use toml::{Table, Value};

/// Where a value stands in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn of(path: &serde_path_to_error::Path) -> Self {
        let part = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Part::Index(*index)),
            Segment::Map { key } => Some(Part::Key(key.clone())),
            // An enum's variant is the value itself, or its only key: the place is the same.
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self(path.iter().filter_map(part).collect())
    }

    pub(super) fn child(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Part::Key(key.to_owned()));
        path
    }

    /// The path of the table that holds `key`: serde names some unknown keys by their own path, some by their table's.
    pub(super) fn parent_of(&self, key: &str) -> Self {
        let mut path = self.clone();
        if matches!(path.0.last(), Some(Part::Key(last)) if last == key) {
            path.0.pop();
        }
        path
    }

    /// Whether it is this key, or something inside of it.
    pub(super) fn is(&self, key: &[String]) -> bool {
        self.0.len() >= key.len() && self.0.iter().zip(key).all(|(part, key)| matches!(part, Part::Key(k) if k == key))
    }

    /// Whether this key is inside of it.
    pub(super) fn holds(&self, key: &[String]) -> bool {
        self.0.len() <= key.len() && self.0.iter().zip(key).all(|(part, key)| matches!(part, Part::Key(k) if k == key))
    }

    pub(super) fn find<'a>(&self, table: &'a Table) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        let Part::Key(first) = first else { return None };
        rest.iter().try_fold(table.get(first)?, |value, part| match part {
            Part::Key(key) => value.get(key),
            Part::Index(index) => value.get(index),
        })
    }

    /// Takes the value out of the table; false if there is none. An entry of a list leaves the list shorter.
    pub(super) fn remove(&self, table: &mut Table) -> bool {
        let Some((Part::Key(first), rest)) = self.0.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return table.remove(first).is_some() };
        let Some(value) = table.get_mut(first) else { return false };
        let holder = middle.iter().try_fold(value, |value, part| match part {
            Part::Key(key) => value.get_mut(key),
            Part::Index(index) => value.get_mut(index),
        });
        match (holder, last) {
            (Some(Value::Table(table)), Part::Key(key)) => table.remove(key).is_some(),
            (Some(Value::Array(list)), Part::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) if number == 0 => f.write_str(key)?,
                Part::Key(key) => write!(f, ".{key}")?,
                // People count from 1, and the file has no numbers to look up.
                Part::Index(index) => write!(f, "[{}]", index + 1)?,
            }
        }
        Ok(())
    }
}

/// Sets a value, making the tables on its way.
pub(super) fn put(table: &mut Table, key: &[String], value: Value) -> Result<(), String> {
    let Some((last, sections)) = key.split_last().filter(|(last, _)| !last.is_empty()) else {
        return Err("the name of a key is missing".to_owned());
    };
    let mut table = table;
    for section in sections {
        let entry = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        table =
            entry.as_table_mut().ok_or_else(|| format!("`{section}` is not a section: it is set in the file only"))?;
    }
    table.insert(last.clone(), value);
    Ok(())
}

/// What an environment variable stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Key(Vec<String>),
    /// It begins like a section, but that has no such key.
    Unknown {
        nearest: Option<String>,
    },
    /// Nothing of ours.
    Foreign,
}

/// Whether a variable stands for a key.
pub(super) fn names<T: DeserializeOwned>(prefix: &str, variable: &str) -> bool {
    !matches!(of_variable::<T>(prefix, variable), Variable::Foreign)
}

/// Finds the key that `PREFIX_SECTION_KEY` stands for, by asking the type which keys it has.
pub(super) fn of_variable<T: DeserializeOwned>(prefix: &str, variable: &str) -> Variable {
    let Some(name) = variable.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
        return Variable::Foreign;
    };
    let name = name.to_lowercase();
    let mut found = Vec::new();
    let sections: Vec<String> = known_keys::<T>(&[]).unwrap_or_default();
    let Some(section) = sections.iter().filter(|section| begins(&name, section)).max_by_key(|section| section.len())
    else {
        return Variable::Foreign;
    };
    if search::<T>(&mut found, &name) {
        return Variable::Key(found);
    }
    let keys = known_keys::<T>(std::slice::from_ref(section)).unwrap_or_default();
    let spelt: Vec<String> = keys.iter().map(|key| format!("{prefix}_{section}_{key}").to_uppercase()).collect();
    Variable::Unknown { nearest: nearest(variable, spelt.iter().map(String::as_str)).map(str::to_owned) }
}

fn begins(name: &str, section: &str) -> bool {
    name.strip_prefix(section).is_some_and(|rest| rest.starts_with('_'))
}

/// Finds the parts of `rest` below `found`: longest first, so that `development_issuer` is not read as `development`.
fn search<T: DeserializeOwned>(found: &mut Vec<String>, rest: &str) -> bool {
    if found.len() >= MAX_DEPTH {
        return false;
    }
    let Some(mut keys) = known_keys::<T>(found) else { return false };
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    for key in keys {
        // The top of a config holds sections only: `POSTERN_LOG` is somebody else's, `POSTERN_LOG_FORMAT` is ours.
        if rest == key && !found.is_empty() {
            found.push(key);
            return true;
        }
        if let Some(deeper) = rest.strip_prefix(&key).and_then(|rest| rest.strip_prefix('_')) {
            found.push(key);
            if search::<T>(found, deeper) {
                return true;
            }
            found.pop();
        }
    }
    false
}

/// Whether it is one of the variables that Kubernetes sets for a Service called `postern-proxy` and the like.
pub(super) fn is_service_link(variable: &str, value: &str) -> bool {
    variable.contains("_SERVICE_") || value.starts_with("tcp://") || value.starts_with("udp://") || {
        let behind = variable.split_once("_PORT_").map(|(_, rest)| rest);
        behind.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// The keys of the table at `path`, learnt from what the type says to a key that it cannot have. None: not a table.
pub(super) fn known_keys<T: DeserializeOwned>(path: &[String]) -> Option<Vec<String>> {
    let mut table = Table::new();
    let key: Vec<String> = path.iter().cloned().chain([PROBE.to_owned()]).collect();
    put(&mut table, &key, Value::Boolean(true)).ok()?;
    let error = T::deserialize(Value::Table(table)).err()?;
    let (unknown, known) = unknown_field(error.message())?;
    (unknown == PROBE).then_some(known)
}

/// Takes serde's message about an unknown key apart: the key, and the keys that there are.
pub(super) fn unknown_field(message: &str) -> Option<(&str, Vec<String>)> {
    let (unknown, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((unknown, known))
}

/// The keys as a sentence's end, nothing if they are not known.
pub(super) fn listed(known: &[String]) -> String {
    match known {
        // A flattened struct does not say which keys it has.
        [] => String::new(),
        [one] => format!("; there is only `{one}`"),
        many => format!("; there are `{}`", many.join("`, `")),
    }
}

/// The nearest of some names, if it is near enough to be a slip.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    scored.filter(|(score, _)| *score >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// A key that no section has.
const PROBE: &str = "\u{1}";

/// Sections in sections: a config of ours has two levels, three at most.
const MAX_DEPTH: usize = 4;

/// Below this Jaro-Winkler similarity a hint confuses more than it helps.
const NEAR: f64 = 0.8;
