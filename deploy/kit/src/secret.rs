//! Values that must never be printed: passwords, keys, tokens.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroize;

/// A secret. It has no `Display`, its `Debug` shows nothing of it, it does not serialize, and it is wiped when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value into custody.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. Each call is a place where it may leak: pass it on at once, never into a log, an error or an event.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// Reads a secret from a file. One line feed (or carriage return and line feed) at its end is not part of it.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read, is larger than 64 KiB, is not UTF-8 or is empty. The error never
    /// shows what the file holds.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let read = |source| SecretError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(read)?;
        let result = file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text);
        let mut secret = Self(text);
        result.map_err(|error| read(io::Error::from(error.kind())))?;
        if secret.0.len() as u64 > MAX_SECRET_BYTES {
            return Err(SecretError::TooLarge { path: path.to_owned() });
        }
        if secret.0.ends_with('\n') {
            secret.0.pop();
            if secret.0.ends_with('\r') {
                secret.0.pop();
            }
        }
        if secret.0.is_empty() {
            return Err(SecretError::Empty { path: path.to_owned() });
        }
        Ok(secret)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl<'de> Deserialize<'de> for Secret<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// A secret could not be read from its file.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read, or is not UTF-8.
    #[error("reading the secret file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why, without the content.
        #[source]
        source: io::Error,
    },
    /// The file is no secret's.
    #[error("the secret file {} is larger than 64 KiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// An empty password is never meant.
    #[error("the secret file {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// No password, key or certificate is larger; a wrong path (a log, a device) is refused before it fills the memory.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "Secret(..) Some(\n    Secret(..),\n)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn one_line_end_is_not_part_of_it() {
        for (content, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(Secret::from_file(file(content.as_bytes()).path()).unwrap().expose(), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_showing_it() {
        let cases: [(&[u8], &str); 3] =
            [(b"\n", "is empty"), (b"caf\xe9", "reading the secret file"), (&[b'x'; 65_537], "larger than 64 KiB")];
        for (content, expected) in cases {
            let file = file(content);
            let error = Secret::from_file(file.path()).unwrap_err();
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!format!("{error} {source}").contains("caf"), "{error} {source}");
        }
        assert!(Secret::from_file("/nowhere").unwrap_err().to_string().contains("/nowhere"));
    }
}
