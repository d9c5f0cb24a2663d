//! Tokens of AWS RDS in the place of a password: a request to connect, signed and never sent (AWS Signature Version 4, query
//! string). Nothing is asked of AWS: a token is made here for each login, from the access key that is there at that time.

use super::credential::Error;
use hmac::{Hmac, Mac};
use kit::Secret;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{path::PathBuf, sync::Arc};

/// Seconds for which a token opens a connection: what RDS takes at most.
const EXPIRES: u32 = 900;

/// A `rds` section. RDS takes tokens over TLS only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The region of the database, such as `eu-west-1`.
    pub region: String,
    /// The shared credentials file, in the AWS tools' format, read again for each login. _Default:_ none, the environment's
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub credentials_file: Option<PathBuf>,
    /// The file's profile. _Default:_ `default`.
    #[serde(default = "default_profile")]
    pub profile: String,
}

fn default_profile() -> String {
    "default".to_owned()
}

/// An access key.
#[derive(Debug, Clone)]
struct Key {
    id: String,
    secret: Secret<String>,
    session: Option<Secret<String>>,
}

/// Where tokens come from.
#[derive(Debug, Clone)]
pub struct Source {
    region: String,
    file: Option<(PathBuf, String)>,
    fixed: Option<Key>,
}

impl Source {
    /// Checks the section; reads the environment where it names no file.
    pub(super) fn new(file: File) -> Result<Self, String> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if file.region.is_empty() || !file.region.chars().all(named) {
            return Err(format!("rds.region: {:?} is no region", file.region));
        }
        let source = match file.credentials_file {
            Some(path) => Self { region: file.region, file: Some((path, file.profile)), fixed: None },
            None => {
                let key = from_environment(|name| std::env::var(name).ok()).ok_or(
                    "rds: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and there is no credentials_file",
                )?;
                Self { region: file.region, file: None, fixed: Some(key) }
            }
        };
        source.key().map_err(|error| format!("rds: {}", crate::chain(&error)))?;
        Ok(source)
    }

    /// The key that is there now.
    fn key(&self) -> Result<Key, Error> {
        if let Some(key) = &self.fixed {
            return Ok(key.clone());
        }
        let Some((path, profile)) = &self.file else { return Err(Error::Rds("there is no access key")) };
        let text = Secret::from_file(path).map_err(Error::File)?;
        from_file(text.expose(), profile).ok_or(Error::Rds("the credentials file has no such profile with both keys"))
    }

    /// A token for a login now. `now`: seconds since 1970.
    pub(super) fn token(&self, host: &str, port: u16, user: &str, now: i64) -> Result<Arc<Secret<String>>, Error> {
        let key = self.key()?;
        let place = format!("{}:{port}", host.to_ascii_lowercase());
        let query = [("Action", "connect"), ("DBUser", user)];
        let request = Request { host: &place, path: "/", query: &query, payload: &hex(&Sha256::digest(b"")) };
        let signed = sign(&key, &self.region, "rds-db", &request, EXPIRES, now);
        Ok(Arc::new(Secret::new(format!("{place}/?{signed}"))))
    }
}

fn from_environment(read: impl Fn(&str) -> Option<String>) -> Option<Key> {
    let read = |name: &str| read(name).filter(|value| !value.is_empty());
    Some(Key {
        id: read("AWS_ACCESS_KEY_ID")?,
        secret: Secret::new(read("AWS_SECRET_ACCESS_KEY")?),
        session: read("AWS_SESSION_TOKEN").map(Secret::new),
    })
}

/// `[profile]` and `name = value` lines.
fn from_file(text: &str, profile: &str) -> Option<Key> {
    let mut inside = false;
    let mut found = std::collections::BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) {
            found.insert(name.trim().to_ascii_uppercase(), value.trim().to_owned());
        }
    }
    from_environment(|name| found.get(name).cloned())
}

/// What is signed.
struct Request<'a> {
    host: &'a str,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    payload: &'a str,
}

/// The query string of a request that carries its signature.
fn sign(key: &Key, region: &str, service: &str, request: &Request<'_>, expires: u32, now: i64) -> String {
    let time = time(now);
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let (credential, expires) = (format!("{}/{scope}", key.id), expires.to_string());
    let mut query: Vec<(String, String)> = request
        .query
        .iter()
        .copied()
        .chain([
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", credential.as_str()),
            ("X-Amz-Date", time.as_str()),
            ("X-Amz-Expires", expires.as_str()),
            ("X-Amz-SignedHeaders", "host"),
        ])
        .chain(key.session.iter().map(|session| ("X-Amz-Security-Token", session.expose().as_str())))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    query.sort();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let query = query.join("&");
    let canonical = format!("GET\n{}\n{query}\nhost:{}\n\nhost\n{}", request.path, request.host, request.payload);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let signature = mac(&signing_key(key.secret.expose(), date, region, service), text.as_bytes());
    format!("{query}&X-Amz-Signature={}", hex(&signature))
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let first = Secret::new(format!("AWS4{secret}"));
    let key = mac(first.expose().as_bytes(), date.as_bytes());
    let key = mac(&key, region.as_bytes());
    let key = mac(&key, service.as_bytes());
    mac(&key, b"aws4_request")
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// Everything but unreserved characters (RFC 3986) as `%XX`.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => all.push(char::from(byte)),
            _ => all.push_str(&format!("%{byte:02X}")),
        }
        all
    })
}

/// As `20161107T173933Z`.
fn time(now: i64) -> String {
    let text = crate::scope::timestamp(now);
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or_default();
    format!("{date}T{time}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, secret: &str) -> Key {
        Key { id: id.to_owned(), secret: Secret::new(secret.to_owned()), session: None }
    }

    #[test]
    fn the_signing_key_is_that_of_the_documentation() {
        // docs.aws.amazon.com, "Create a signed AWS API request", the example for iam
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam");
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn a_presigned_request_is_that_of_the_documentation() {
        // docs.aws.amazon.com, "Authenticating Requests: Using Query Parameters", the example
        let key = key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let request = Request {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            payload: "UNSIGNED-PAYLOAD",
        };
        let signed = sign(&key, "us-east-1", "s3", &request, 86_400, 1_369_353_600);
        let wanted = "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(signed.ends_with(wanted), "{signed}");
    }

    #[test]
    fn a_token_is_that_of_the_aws_tools() {
        // what botocore makes of the same
        let source = Source { region: "us-east-1".to_owned(), file: None, fixed: Some(key("akid", "skid")) };
        let token = source.token("host.us-east-1.rds.amazonaws.com", 3306, "mySQLUser", 1_478_540_373).unwrap();
        assert_eq!(
            token.expose(),
            "host.us-east-1.rds.amazonaws.com:3306/?Action=connect&DBUser=mySQLUser&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=akid%2F20161107%2Fus-east-1%2Frds-db%2Faws4_request&X-Amz-Date=20161107T173933Z\
             &X-Amz-Expires=900&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=c4e4e0a4f1fa5fc9bfe6edb0f2aae7bfea62a8e2bd7ffb60a8c576cda77535ea"
        );
    }

    #[test]
    fn the_credentials_file_is_read_anew_and_by_profile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let write = |secret: &str| {
            let text = format!(
                "[default]\naws_access_key_id = other\naws_secret_access_key = other\n\n[gate]\n# key\naws_access_key_id=AK\naws_secret_access_key = {secret}\naws_session_token = S/T\n"
            );
            std::fs::write(&path, text).unwrap();
        };
        write("one");
        let file = |profile: &str| File {
            region: "eu-west-1".to_owned(),
            credentials_file: Some(path.clone()),
            profile: profile.to_owned(),
        };
        let source = Source::new(file("gate")).unwrap();
        let first = source.token("h", 5432, "gate", 0).unwrap();
        assert!(first.expose().contains("X-Amz-Credential=AK%2F19700101") && first.expose().contains("Token=S%2FT"));
        write("two");
        assert_ne!(source.token("h", 5432, "gate", 0).unwrap().expose(), first.expose());
        assert!(Source::new(file("nobody")).is_err());
        assert!(!format!("{source:?}").contains("two"), "no secret in Debug");
    }
}
