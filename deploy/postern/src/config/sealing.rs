//! The keys under which the data keys of sealed sessions are wrapped.

use kit::kms::{self, Kms};
use schemas::seal::{Kek, Keks};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The `[sealing]` section. Gates need it to seal, and whoever shows, plays or exports sealed sessions to open; recorder,
/// indexer and `audit verify` do not.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The key-encryption key: 64 hexadecimal digits in a file that its owner alone may read, the same on all nodes
    /// (`openssl rand -hex 32`), or wrapped by `[kms]`. Who loses it loses what is sealed. _Default:_ none.
    pub key_file: Option<PathBuf>,
    /// Keys before it, which still open. _Default:_ none.
    pub old_key_files: Vec<PathBuf>,
}

impl File {
    /// Reads the keys, and has wrapped ones unwrapped.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(self, kms: &Kms) -> Result<Option<Keks>, Vec<String>> {
        let mut problems = Vec::new();
        let mut read = |name: &str, path: &Path| {
            kek(path, kms).map_err(|problem| problems.push(format!("sealing.{name}: {problem}"))).ok()
        };
        let present = self.key_file.as_deref().map(|path| read("key_file", path));
        let before: Vec<Option<Kek>> = self.old_key_files.iter().map(|path| read("old_key_files", path)).collect();
        if present.is_none() && !before.is_empty() {
            problems.push("sealing.old_key_files: needs key_file".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(present.flatten().map(|present| Keks::new(present, before.into_iter().flatten().collect())))
    }
}

fn kek(path: &Path, kms: &Kms) -> Result<Kek, String> {
    let secret = kms::read_secret(path, kms).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let text = str::from_utf8(secret.expose()).unwrap_or_default();
    Kek::parse(text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    //! Keys are read strictly, and what lacks one says so.

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_present_key_wraps_and_old_ones_open() {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str, digit: &str| write(folder.path(), name, &format!("{}\n", digit.repeat(64)), 0o600);
        let file = File { key_file: Some(key("new", "a")), old_key_files: vec![key("old", "b")] };
        let keks = file.check(&Kms::none()).unwrap().unwrap();
        let old = Kek::new(&[0xbb; 32]);
        assert_eq!((keks.present(), keks.get(old.id())), (&Kek::new(&[0xaa; 32]), Some(&old)));
        assert_eq!(File::default().check(&Kms::none()), Ok(None));
    }

    #[test]
    fn what_is_no_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = |file: File| file.check(&Kms::none()).unwrap_err().join("\n");
        let old = File { key_file: None, old_key_files: vec![folder.path().join("none")] };
        assert!(told(old).contains("sealing.old_key_files: needs key_file"));
        let open = write(folder.path(), "open", &"a".repeat(64), 0o644);
        let short = write(folder.path(), "short", "abc", 0o600);
        let told = told(File { key_file: Some(open), old_key_files: vec![short, folder.path().join("none")] });
        for part in ["chmod 600", "64 hexadecimal digits", "none: No such file"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
