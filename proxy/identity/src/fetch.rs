//! Downloads an issuer's keys: discovery (OpenID Connect Discovery 1.0, section 4), then the key set. Blocking.

use crate::{config::Remote, keys::KeySet};
use kit::http;
use serde_json::Value;
use ureq::Agent;

/// Why an issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request failed.
    #[error("requesting {url}")]
    Request {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer was no success; redirects are not followed.
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    /// The answer was not JSON, or too large.
    #[error("reading the answer of {url}")]
    Body {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The discovery document is another issuer's: its keys must not vouch for this one.
    #[error("the discovery document of {url} states another issuer")]
    OtherIssuer { url: String },
    /// The discovery document has no usable address of the keys.
    #[error("the discovery document of {url} has no usable jwks_uri: {reason}")]
    NoKeyAddress { url: String, reason: String },
    /// What was downloaded is no key set.
    #[error("the key set of {url} cannot be used: {reason}")]
    KeySet { url: String, reason: String },
    /// The fetch itself broke down.
    #[error("fetching the keys failed in the gate")]
    Internal,
}

/// Fetches the keys of one issuer.
pub(crate) struct Fetcher {
    remote: Remote,
    agent: Agent,
}

impl Fetcher {
    pub(crate) fn new(remote: Remote) -> Result<Self, http::Error> {
        let agent = http::agent(remote.ca_file.as_deref(), remote.timeout)?;
        Ok(Self { remote, agent })
    }

    /// The settings that it fetches by.
    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Blocks for at most two timeouts.
    pub(crate) fn fetch(&self) -> Result<KeySet, Error> {
        let url = match &self.remote.jwks_url {
            Some(url) => url.clone(),
            None => self.discover()?,
        };
        let document = self.download(&url)?;
        KeySet::read(&document).map_err(|reason| Error::KeySet { url, reason })
    }

    fn discover(&self) -> Result<String, Error> {
        let issuer = &self.remote.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.download(&url)?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(Error::OtherIssuer { url });
        }
        let address = document.get("jwks_uri").and_then(Value::as_str).unwrap_or_default();
        match crate::config::check_url(address) {
            Ok(()) => Ok(address.to_owned()),
            Err(reason) => Err(Error::NoKeyAddress { url, reason }),
        }
    }

    fn download(&self, url: &str) -> Result<Value, Error> {
        let request = self.agent.get(url).header("accept", "application/json").call();
        let mut response =
            request.map_err(|source| Error::Request { url: url.to_owned(), source: Box::new(source) })?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::Status { url: url.to_owned(), status });
        }
        let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_json();
        body.map_err(|source| Error::Body { url: url.to_owned(), source: Box::new(source) })
    }
}

/// A key set has a few KiB; whoever answers with more is not a provider.
const MAX_BODY_BYTES: u64 = 1 << 20;
