//! The section `[client_certificates]`: whose certificates are accepted, and who their holders are.

use super::{name::common_name, rejected};
use crate::{config, rejection::Rejection};
use schemas::{Identity, IdentityKind};
use serde::Deserialize;
use std::path::PathBuf;
use webpki::EndEntityCert;

/// The `[client_certificates]` section. Without `ca_file` no client is asked for a certificate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// PEM file with the authorities that sign agents' certificates; read again when it changes. _Default: none._
    pub ca_file: Option<PathBuf>,
    /// PEM file with a revocation list of each authority, intermediate ones too; read again when it changes. With it, a
    /// certificate of whose authority there is no list, or one that is out of date, is refused. _Default: none._
    pub crl_file: Option<PathBuf>,
    /// Who the holders are; the first that fits holds, and a certificate that none fits is refused. _Default: none._
    pub identities: Vec<IdentityFile>,
}

/// One `[[client_certificates.identities]]`: certificates with a name, and who their holder is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityFile {
    /// A URI of the certificate's alternative names, such as `spiffe://example.org/agents/billing`; a `dns:` name; or the
    /// subject's common name as `cn:billing`. A `*` at its end stands for any rest.
    pub name: String,
    /// The identity's subject. _Default: the certificate's name as it stands there, without `dns:` or `cn:`._
    pub subject: Option<String>,
    /// Its groups. _Default: none._
    pub groups: Vec<String>,
    /// `human` or `machine`. _Default: `machine`._
    pub kind: Option<String>,
}

/// The section, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) ca_file: PathBuf,
    pub(super) crl_file: Option<PathBuf>,
    identities: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    source: Source,
    /// What the name is, or begins with.
    name: String,
    any_rest: bool,
    subject: Option<String>,
    groups: Vec<String>,
    kind: IdentityKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Uri,
    Dns,
    CommonName,
}

impl File {
    pub(crate) fn check(self, problems: &mut Vec<String>) -> Option<Config> {
        let Some(ca_file) = self.ca_file else {
            if self.crl_file.is_some() || !self.identities.is_empty() {
                problems
                    .push("client_certificates.ca_file: is missing, and the rest is of no use without it".to_owned());
            }
            return None;
        };
        if self.identities.is_empty() {
            problems.push("client_certificates.identities: at least one is required".to_owned());
        }
        let mut identities = Vec::new();
        for (index, file) in self.identities.into_iter().enumerate() {
            match file.check() {
                Ok(rule) => identities.push(rule),
                Err(text) => problems.push(format!("client_certificates.identities[{index}].{text}")),
            }
        }
        Some(Config { ca_file, crl_file: self.crl_file, identities })
    }
}

impl IdentityFile {
    fn check(self) -> Result<Rule, String> {
        let (source, name) = match self.name.split_once(':') {
            Some(("dns", name)) => (Source::Dns, name),
            Some(("cn", name)) => (Source::CommonName, name),
            Some(_) => (Source::Uri, self.name.as_str()),
            None => return Err(format!("name: {:?} is no URI, and does not begin with dns: or cn:", self.name)),
        };
        let (name, any_rest) = name.strip_suffix('*').map_or((name, false), |start| (start, true));
        if name.contains('*') {
            return Err(format!("name: {:?} has a * that is not at its end", self.name));
        }
        let kind = self.kind.as_deref().unwrap_or("machine");
        let kind = config::kind(kind).ok_or_else(|| format!("kind: {kind:?} is neither `human` nor `machine`"))?;
        let name = name.to_owned();
        Ok(Rule { source, name, any_rest, subject: self.subject, groups: self.groups, kind })
    }
}

impl Config {
    /// Who holds a certificate that was verified.
    pub(super) fn identity(&self, certificate: &EndEntityCert<'_>) -> Result<Identity, Rejection> {
        let uris: Vec<&str> = certificate.valid_uri_names().collect();
        if uris.len() > 1 && uris.iter().any(|uri| uri.starts_with("spiffe://")) {
            return Err(rejected("the client certificate has a SPIFFE ID and another URI: an SVID has exactly one"));
        }
        let hosts: Vec<&str> = certificate.valid_dns_names().collect();
        let common: Vec<&str> = common_name(certificate.subject()).into_iter().collect();
        let found = self.identities.iter().find_map(|rule| {
            let names = match rule.source {
                Source::Uri => &uris,
                Source::Dns => &hosts,
                Source::CommonName => &common,
            };
            names.iter().find(|name| rule.fits(name)).map(|name| (rule, *name))
        });
        let (rule, name) = found.ok_or_else(|| {
            rejected(
                "the client certificate is good, but its names are of no identity in client_certificates.identities",
            )
        })?;
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(rejected("the client certificate's name is too long or has control characters"));
        }
        Ok(Identity {
            kind: rule.kind,
            subject: rule.subject.clone().unwrap_or_else(|| name.to_owned()),
            issuer: issuer(name),
            name: name.to_owned(),
            groups: rule.groups.clone(),
            on_behalf_of: Vec::new(),
            task: None,
        })
    }
}

impl Rule {
    fn fits(&self, name: &str) -> bool {
        if self.any_rest { name.len() > self.name.len() && name.starts_with(&self.name) } else { name == self.name }
    }
}

/// A SPIFFE ID's trust domain; for other names ourselves, who trust their authority.
fn issuer(name: &str) -> String {
    match name.strip_prefix("spiffe://") {
        Some(rest) => format!("spiffe://{}", rest.split('/').next().unwrap_or_default()),
        None => ISSUER.to_owned(),
    }
}

/// The issuer of identities that a certificate proves by another name than a SPIFFE ID.
const ISSUER: &str = "urn:postern:client-certificate";

/// A SPIFFE ID has at most 2048; events carry the name.
const MAX_NAME_BYTES: usize = 512;
