//! A client for the services that a process asks besides its own work: a witness of the archive, a key management service.
//!
//! It follows no redirect and reads no proxy from the environment: whom it trusts is in the config alone. It blocks.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The file of certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds no certificate.
    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// A client that gives up after this time, and believes these authorities; without a file those of the web.
///
/// # Errors
/// [`Error`].
pub fn agent(ca_file: Option<&Path>, timeout: Duration) -> Result<Agent, Error> {
    let roots = match ca_file {
        Some(path) => RootCerts::from(authorities(path)?),
        None => RootCerts::WebPki,
    };
    let config = Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .max_idle_connections(0)
        // no proxy from the environment: what is trusted is in the configuration alone
        .proxy(None)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&text).filter_map(certificate).collect();
    if found.is_empty() { Err(Error::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}

/// Accepts the address of a service: https; http to this machine, and where `plain` allows it. What it says of a wrong one
/// does not repeat it.
///
/// # Errors
/// What is wrong, in words that follow the name of the key.
pub fn check_url(text: &str, plain: bool) -> Result<(), String> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must have a host, and no user name".to_owned());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("must not have `?` or `#`".to_owned());
    }
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if local || plain => Ok(()),
        Some("http") => Err("must be https, or http on this machine".to_owned()),
        _ => Err("is not an https URL".to_owned()),
    }
}

/// What became of a request, in words without its address.
pub fn described(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "its name is not known".to_owned(),
        ureq::Error::Io(error) => format!("the connection failed: {error}"),
        ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
        ureq::Error::Tls(reason) => format!("TLS failed: {reason}"),
        ureq::Error::Rustls(error) => format!("TLS failed: {error}"),
        ureq::Error::BodyExceedsLimit(_) => "its answer is too large".to_owned(),
        error => format!("the request failed: {error}"),
    }
}

/// What a service says of a refusal, as one short line that orders no terminal about.
pub fn plain(text: &str) -> String {
    let shown = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MAX_SAID).collect()
}

/// Characters of it that are shown.
const MAX_SAID: usize = 300;

#[cfg(test)]
mod tests {
    //! Which addresses are accepted, and which files of authorities.

    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        for url in ["https://kms.internal:8200", "http://127.0.0.1:1", "http://[::1]:1/x", "http://localhost"] {
            assert_eq!(check_url(url, false), Ok(()), "{url}");
        }
        for url in [
            "http://kms.internal",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example/",
            "ftp://127.0.0.1",
            "kms.internal",
            "",
            "https://",
            "https://user:hunter2@kms.internal",
            "https://kms.internal/?token=hunter2",
        ] {
            let problem = check_url(url, false).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert_eq!(check_url("http://kms.internal", true), Ok(()));
        assert!(check_url("ftp://kms.internal", true).is_err());
    }

    #[test]
    fn a_file_without_a_certificate_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\n").unwrap();
        let time = Duration::from_secs(1);
        assert!(agent(Some(file.path()), time).unwrap_err().to_string().contains("no PEM certificate"));
        assert!(agent(Some(Path::new("/nowhere")), time).unwrap_err().to_string().contains("/nowhere"));
        assert!(agent(None, time).is_ok());
    }

    #[test]
    fn what_a_service_says_is_one_short_line() {
        assert_eq!(plain("no\r\n\x1b[2Jroom \n"), "no   [2Jroom");
        assert_eq!(plain(&"x".repeat(9_999)).len(), MAX_SAID);
    }
}
