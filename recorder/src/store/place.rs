//! `archive.url`, and what it is parsed to.

use super::s3;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where an archive lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a folder of a local file system.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(Box<Bucket>),
}

/// A bucket and the part of it that is the archive's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Who keeps it.
    pub provider: Provider,
    /// Its name; of Azure the container's.
    pub name: String,
    /// What the names of the archive's objects begin with; may be empty.
    pub prefix: object_store::path::Path,
    /// How it is asked.
    pub limits: Limits,
}

/// Who keeps a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, or what speaks like it.
    S3(s3::Settings),
    /// Google Cloud Storage, with the credentials of the environment.
    #[cfg(feature = "gcs")]
    Gcs,
    /// Azure Blob Storage, with the credentials of the environment.
    #[cfg(feature = "azure")]
    Azure,
}

/// How long a bucket may take, and whom it is believed to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// See [`crate::config::File::request_timeout_seconds`].
    pub timeout: Duration,
    /// See [`crate::config::File::request_retries`].
    pub retries: usize,
    /// See [`crate::config::File::ca_file`].
    pub ca_file: Option<PathBuf>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(directory) => directory.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.provider {
            Provider::S3(_) => "s3",
            #[cfg(feature = "gcs")]
            Provider::Gcs => "gs",
            #[cfg(feature = "azure")]
            Provider::Azure => "az",
        };
        write!(f, "{scheme}://{}", self.name)?;
        if self.prefix.as_ref().is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// The parts of `archive.url`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Url {
    Folder(PathBuf),
    Bucket { scheme: Scheme, name: String, prefix: object_store::path::Path },
}

/// The providers by name, whether or not they are compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    S3,
    Gcs,
    Azure,
}

/// Reads `archive.url`. What it says of a wrong one holds no part of it that could be a credential.
pub(crate) fn parse(url: &str) -> Result<Url, String> {
    let (scheme, rest) = match url.split_once("://") {
        None if url.is_empty() => return Err("archive.url: must not be empty".to_owned()),
        None => return Ok(Url::Folder(PathBuf::from(url))),
        Some(("file", path)) if path.starts_with('/') => return Ok(Url::Folder(PathBuf::from(path))),
        Some(("file", _)) => {
            let slashes = "a file URL has three slashes, as in file:///var/lib/postern/archive";
            return Err(format!("archive.url: {slashes}"));
        }
        Some(("s3", rest)) => (Scheme::S3, rest),
        Some(("gs", rest)) => (Scheme::Gcs, rest),
        Some(("az", rest)) => (Scheme::Azure, rest),
        Some((scheme, _)) => {
            let known = "use a folder, file:///..., s3://BUCKET/PREFIX, gs://... or az://...";
            return Err(format!("archive.url: {scheme}:// is not supported; {known}"));
        }
    };
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !(3..=MAX_NAME_BYTES).contains(&name.len()) || !name.chars().all(is_name) {
        let form = "has 3 to 222 letters, digits, `.`, `-` and `_`; settings and credentials do not stand in it";
        return Err(format!("archive.url: the bucket's name, between :// and the next /, {form}"));
    }
    let is_plain = |c: char| is_name(c) || matches!(c, '/' | '=' | '+' | ',' | '!' | '~');
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let parsed = object_store::path::Path::parse(prefix).ok().filter(|_| prefix.chars().all(is_plain));
    let form = "what follows the bucket's name is folders, each of letters, digits and `.-_=+,!~`";
    let prefix = parsed.ok_or_else(|| format!("archive.url: {form}"))?;
    Ok(Url::Bucket { scheme, name: name.to_owned(), prefix })
}

/// Google's names with dots are the longest.
const MAX_NAME_BYTES: usize = 222;

impl Scheme {
    /// The provider, where it is compiled in.
    pub(crate) fn provider(self, s3: s3::Settings) -> Result<Provider, String> {
        match self {
            Self::S3 => Ok(Provider::S3(s3)),
            #[cfg(feature = "gcs")]
            Self::Gcs => Ok(Provider::Gcs),
            #[cfg(not(feature = "gcs"))]
            Self::Gcs => Err(missing("gs", "gcs")),
            #[cfg(feature = "azure")]
            Self::Azure => Ok(Provider::Azure),
            #[cfg(not(feature = "azure"))]
            Self::Azure => Err(missing("az", "azure")),
        }
    }
}

#[cfg(not(all(feature = "gcs", feature = "azure")))]
fn missing(scheme: &str, feature: &str) -> String {
    format!("archive.url: {scheme}:// needs a postern that was built with `cargo build --features {feature}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_told_from_folders() {
        let bucket = |url: &str| match parse(url) {
            Ok(Url::Bucket { scheme, name, prefix }) => (scheme, name, prefix.to_string()),
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(bucket("s3://audit"), (Scheme::S3, "audit".into(), String::new()));
        assert_eq!(bucket("s3://audit/"), (Scheme::S3, "audit".into(), String::new()));
        assert_eq!(bucket("s3://audit/a/b=1/"), (Scheme::S3, "audit".into(), "a/b=1".into()));
        assert_eq!(bucket("gs://a.b_c/x"), (Scheme::Gcs, "a.b_c".into(), "x".into()));
        assert_eq!(bucket("az://audit/x").0, Scheme::Azure);
        for folder in ["/a/b", "file:///a/b"] {
            assert_eq!(parse(folder), Ok(Url::Folder("/a/b".into())));
        }
    }

    #[test]
    fn a_wrong_url_is_told_without_what_may_be_a_secret_in_it() {
        for url in [
            "",
            "file://a",
            "ftp://x/y",
            "s3://",
            "s3://AKIA:hunter2@audit/x",
            "s3://audit/a//b",
            "s3://audit/../x",
            "s3://audit/x?secret=hunter2",
            "s3://audit/x#hunter2",
        ] {
            let problem = parse(url).unwrap_err();
            assert!(problem.starts_with("archive.url: ") && !problem.contains("hunter2"), "{url}: {problem}");
        }
    }
}
