//! The files of a resource's policies and classifications: read at the start, and again whenever they change.
//!
//! Files that do not compile change nothing: the rules that were in force stay, the log and a metric say so, and the next
//! change of the files is tried again. New rules hold for the next statement of every session.

use judge::policy::{Masking, Rules, Source};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// Files that one resource may have.
const MAX_FILES: usize = 256;

/// Bytes that they may have together.
const MAX_BYTES: usize = 4 << 20;

/// What a classification file may hold: more of the resource's keys of the same names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClassificationFile {
    masking: Vec<Masking>,
    closed: Vec<String>,
    functions: Vec<String>,
}

/// The rules of a resource as the config states them, and the files that add to them.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles {
    /// What the config states.
    pub base: Rules,
    /// Files in Cedar's language, and folders whose `*.cedar` are read.
    pub policies: Vec<PathBuf>,
    /// More classifications, in TOML.
    pub classification: Option<PathBuf>,
}

/// What the files held at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    policies: Vec<Source>,
    classification: Option<(PathBuf, String)>,
}

impl Contents {
    /// Differs where the contents do.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for source in &self.policies {
            (&source.name, &source.text).hash(&mut hasher);
        }
        self.classification.hash(&mut hasher);
        hasher.finish()
    }
}

impl PolicyFiles {
    /// There is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.classification.is_none()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Which cannot be read, in words.
    pub fn read(&self) -> Result<Contents, Vec<String>> {
        let mut problems = Vec::new();
        let mut paths = BTreeSet::new();
        for path in &self.policies {
            match listed(path) {
                Ok(more) => paths.extend(more),
                Err(error) => problems.push(format!("cannot read {}: {error}", path.display())),
            }
        }
        if paths.len() > MAX_FILES {
            problems.push(format!("there are {} policy files; the limit is {MAX_FILES}", paths.len()));
            return Err(problems);
        }
        let mut room = MAX_BYTES;
        let mut text = |path: &Path| match std::fs::read_to_string(path) {
            Ok(text) if text.len() <= room => {
                room -= text.len();
                Some(text)
            }
            Ok(_) => {
                problems
                    .push(format!("{}: the policy files have more than {MAX_BYTES} bytes together", path.display()));
                None
            }
            Err(error) => {
                problems.push(format!("cannot read {}: {error}", path.display()));
                None
            }
        };
        let source = |path: &PathBuf, text| Source { name: path.display().to_string(), text };
        let policies: Vec<Source> = paths.iter().filter_map(|path| Some(source(path, text(path)?))).collect();
        let classification = self.classification.as_ref().and_then(|path| Some((path.clone(), text(path)?)));
        if !self.policies.is_empty() && policies.is_empty() && problems.is_empty() {
            // none would mean: everything that no guardrail denies
            problems.push("policies names no file that exists".to_owned());
        }
        if problems.is_empty() { Ok(Contents { policies, classification }) } else { Err(problems) }
    }

    /// The rules with what the files hold.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn rules(&self, contents: &Contents) -> Result<Rules, Vec<String>> {
        let mut rules = self.base.clone();
        rules.policies.clone_from(&contents.policies);
        if let Some((path, text)) = &contents.classification {
            let more: ClassificationFile =
                toml::from_str(text).map_err(|error| vec![format!("{}: {error}", path.display())])?;
            rules.masking.extend(more.masking);
            rules.closed.extend(more.closed);
            rules.functions.extend(more.functions);
        }
        let mut problems = rules.check();
        if rules.needs_key() && !rules.has_key() {
            problems.push("hash and fake need masking_key_file".to_owned());
        }
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }
}

/// A file, or the policies in a folder.
fn listed(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_add_to_the_config_and_bad_ones_add_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut base = Rules::default();
        base.connect_groups = vec!["agents".to_owned()];
        let files =
            PolicyFiles { base, policies: vec![folder.path().to_owned()], classification: Some(path("columns.toml")) };
        std::fs::write(path("columns.toml"), "[[masking]]\ncolumns = [\"public.t.c\"]\n").unwrap();
        assert!(files.read().unwrap_err()[0].contains("no file"), "an empty folder opens nothing");
        std::fs::write(path("a.cedar"), "permit (principal, action == Action::\"select\", resource);").unwrap();
        let first = files.read().unwrap();
        let rules = files.rules(&first).unwrap();
        assert_eq!((rules.masking.len(), rules.policies.len()), (1, 1));
        std::fs::write(path("a.cedar"), "permit (principal, action == Action::\"selec\", resource);").unwrap();
        let second = files.read().unwrap();
        assert_ne!(first.digest(), second.digest());
        let problems = files.rules(&second).unwrap_err();
        assert!(problems[0].contains("a.cedar:1:"), "{problems:?}");
        std::fs::write(path("columns.toml"), "maskin = 1").unwrap();
        assert!(files.rules(&files.read().unwrap()).is_err());
        std::fs::remove_file(path("columns.toml")).unwrap();
        assert!(files.read().is_err());
    }
}
