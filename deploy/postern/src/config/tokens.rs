//! The key of the tokens that stand for values which the record leaves out.

use kit::kms::{self, Kms};
use schemas::tokens::Tokens;
use serde::Deserialize;
use std::path::PathBuf;

/// The `[tokens]` section. Gates need it where a resource has `recorded_values`, and whoever runs `postern audit token`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The key: 64 hexadecimal digits in a file that its owner alone may read, the same on all nodes (`openssl rand -hex 32`),
    /// or wrapped by `[kms]`. Under another key the same values have other tokens. _Default:_ none.
    pub key_file: Option<PathBuf>,
}

impl File {
    /// Reads the key, and has a wrapped one unwrapped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, kms: &Kms) -> Result<Option<Tokens>, String> {
        let Some(path) = self.key_file else { return Ok(None) };
        let named = |problem: String| format!("tokens.key_file: {problem}");
        let secret =
            kms::read_secret(&path, kms).map_err(|error| named(format!("{:#}", anyhow::Error::from(error))))?;
        let text = str::from_utf8(secret.expose()).unwrap_or_default();
        Ok(Some(Tokens::parse(text).map_err(|error| named(format!("{}: {error}", path.display())))?))
    }
}

#[cfg(test)]
mod tests {
    //! The key is read strictly.

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_read_and_what_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.key");
        let check = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            File { key_file: Some(path.clone()) }.check(&Kms::none())
        };
        let tokens = check(&format!("{}\n", "07".repeat(32)), 0o600).unwrap().unwrap();
        assert_eq!(tokens.of(b"value"), Tokens::new(&[7; 32]).of(b"value"));
        assert!(check("07", 0o600).unwrap_err().contains("64 hexadecimal digits"));
        assert!(check(&"07".repeat(32), 0o644).unwrap_err().contains("chmod 600"));
        assert!(File::default().check(&Kms::none()).unwrap().is_none());
    }
}
