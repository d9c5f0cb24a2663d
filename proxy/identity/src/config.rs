//! Which issuers are trusted: the sections `[[issuers]]` and `[development_issuer]`.

mod exchange;

pub(crate) use exchange::TokenExchange;
pub use exchange::TokenExchangeFile;

use crate::certificate;
use jsonwebtoken::Algorithm;
use kit::kms::Kms;
use schemas::IdentityKind;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};
use ureq::http::Uri;

/// One `[[issuers]]` section: an OpenID Connect provider whose tokens are accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerFile {
    /// The provider's issuer URL, exactly as its tokens state it in `iss`. Plain http only for loopback hosts.
    /// _Default: none, required._
    pub issuer: String,
    /// Values of which the token's `aud` must hold at least one. _Default: none, at least one is required._
    pub audiences: Vec<String>,
    /// Signature algorithms that are accepted: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA. `none`
    /// and the HMAC family are never accepted. _Default: `["RS256", "ES256", "EdDSA"]`._
    pub algorithms: Vec<String>,
    /// Where the provider publishes its keys. Set it where the provider has no discovery document.
    /// _Default: `jwks_uri` of `<issuer>/.well-known/openid-configuration`._
    pub jwks_url: Option<String>,
    /// The claim that holds the groups: a list, or one string with spaces between. A dot leads into an object
    /// (`realm_access.roles`). _Default: `groups`._
    pub groups_claim: String,
    /// What stands behind this issuer's tokens: `human` or `machine`. _Default: `machine`._
    pub kind: String,
    /// A claim that says `human` or `machine` for each token; another value or none leaves it at `kind`.
    /// _Default: none._
    pub kind_claim: Option<String>,
    /// The claim with a name for people to read; the subject where it is absent. _Default: `name`._
    pub name_claim: String,
    /// The claim that is the subject. _Default: `sub`._
    pub subject_claim: String,
    /// The claim that names the task that the identity works on. _Default: `task`._
    pub task_claim: String,
    /// What stands before each group of this issuer's tokens, so that an issuer cannot name the groups of another.
    /// _Default: nothing._
    pub groups_prefix: String,
    /// Groups that every identity of this issuer has besides, as they stand here. _Default: none._
    pub groups: Vec<String>,
    /// Claims that a token must have, each with this text, or with a list that has it. A CI provider's tokens are for all
    /// its customers: name your repository here. _Default: none._
    pub required_claims: BTreeMap<String, String>,
    /// How far the issuer's clock may differ from ours, seconds, at most 300. _Default: 30._
    pub clock_skew_seconds: u64,
    /// How long fetched keys are believed, seconds, 10 to 86400: a key that the issuer removed is refused after this
    /// time at the latest. _Default: 300._
    pub jwks_max_age_seconds: u64,
    /// How much longer they serve while the issuer cannot be reached, seconds, at most 86400. Longer keeps logins
    /// working through an outage, shorter ends a removed key sooner in one. _Default: 3600._
    pub jwks_stale_limit_seconds: u64,
    /// Longest time of one request to the issuer, seconds, 1 to 60. _Default: 5._
    pub timeout_seconds: u64,
    /// PEM file with the certificate authorities that vouch for the issuer's TLS certificate, in the place of the
    /// public ones. _Default: none._
    pub ca_file: Option<PathBuf>,
}

impl Default for IssuerFile {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audiences: Vec::new(),
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            jwks_url: None,
            groups_claim: "groups".to_owned(),
            kind: "machine".to_owned(),
            kind_claim: None,
            name_claim: "name".to_owned(),
            subject_claim: "sub".to_owned(),
            task_claim: "task".to_owned(),
            groups_prefix: String::new(),
            groups: Vec::new(),
            required_claims: BTreeMap::new(),
            clock_skew_seconds: 30,
            jwks_max_age_seconds: 300,
            jwks_stale_limit_seconds: 3600,
            timeout_seconds: 5,
            ca_file: None,
        }
    }
}

/// The `[development_issuer]` section: an issuer of our own, for trials. Whoever can read its key file can be anybody.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DevelopmentFile {
    /// Whether its tokens are accepted. Never in production. _Default: false._
    pub enabled: bool,
    /// The audience that its tokens carry and must carry. _Default: `postern`._
    pub audience: String,
}

impl Default for DevelopmentFile {
    fn default() -> Self {
        Self { enabled: false, audience: "postern".to_owned() }
    }
}

/// The `[api_keys]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeysFile {
    /// Whether API keys are accepted in the place of tokens: for the time of a migration. _Default: false._
    pub enabled: bool,
    /// The store, which `postern key` changes; several nodes may share one. _Default: `keys/api-keys.json` in the node's
    /// folder._
    pub file: Option<PathBuf>,
}

/// The sections that concern identity, as read from the file.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// `[[issuers]]`.
    pub issuers: Vec<IssuerFile>,
    /// `[development_issuer]`.
    pub development_issuer: DevelopmentFile,
    /// `[client_certificates]`.
    pub client_certificates: certificate::File,
    /// `[api_keys]`.
    pub api_keys: ApiKeysFile,
    /// `[token_exchange]`.
    pub token_exchange: TokenExchangeFile,
}

/// A trusted issuer, checked.
#[derive(Debug, Clone)]
pub struct Issuer {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) keys: KeySource,
    pub(crate) claims: Mapping,
    pub(crate) clock_skew: i64,
}

/// Which claims of a token say what.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) task: String,
    pub(crate) kind: IdentityKind,
    pub(crate) kind_claim: Option<String>,
    pub(crate) groups: String,
    pub(crate) groups_prefix: String,
    pub(crate) more_groups: Vec<String>,
    pub(crate) required: BTreeMap<String, String>,
    /// The claim that names the issuer whose identity it is, where that is another.
    pub(crate) issuer: Option<String>,
    /// The claim that names the resources that it is good for.
    pub(crate) resources: Option<String>,
}

impl Mapping {
    /// That of our own tokens.
    pub(crate) fn own() -> Self {
        Self {
            subject: "sub".to_owned(),
            name: "name".to_owned(),
            task: "task".to_owned(),
            kind: IdentityKind::Machine,
            kind_claim: Some("kind".to_owned()),
            groups: "groups".to_owned(),
            groups_prefix: String::new(),
            more_groups: Vec::new(),
            required: BTreeMap::new(),
            issuer: None,
            resources: None,
        }
    }
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// The development issuer's folder.
    Folder(PathBuf),
    /// The key of the exchange.
    File(PathBuf),
    /// The provider.
    Remote(Remote),
}

/// How a provider's keys are fetched, and how long they are believed.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) issuer: String,
    pub(crate) jwks_url: Option<String>,
    pub(crate) max_age: Duration,
    pub(crate) stale_limit: Duration,
    pub(crate) timeout: Duration,
    pub(crate) ca_file: Option<PathBuf>,
}

/// The trusted issuers, checked.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) certificates: Option<certificate::Settings>,
    pub(crate) api_keys: Option<PathBuf>,
    pub(crate) exchange: Option<TokenExchange>,
    pub(crate) kms: Kms,
}

impl Config {
    /// Has keys that are wrapped in their files unwrapped by this service.
    #[must_use]
    pub fn with_kms(mut self, kms: Kms) -> Self {
        self.kms = kms;
        self
    }

    /// Whether nobody can log in: no issuer is trusted, no authority, and no API keys.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty() && self.certificates.is_none() && self.api_keys.is_none()
    }

    /// The store of API keys, where they are accepted.
    pub fn api_keys(&self) -> Option<&Path> {
        self.api_keys.as_deref()
    }
}

impl File {
    /// Checks the sections. `keys` is the folder of the process's own keys, where the development issuer's lies.
    ///
    /// # Errors
    /// Every problem at once, each naming its section and field.
    pub fn check(self, keys: &Path) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let mut issuers = Vec::new();
        let mut seen = BTreeSet::new();
        if self.issuers.len() > MAX_ISSUERS {
            problems.push(format!("issuers: at most {MAX_ISSUERS} are supported"));
        }
        for (index, file) in self.issuers.into_iter().enumerate() {
            let place = format!("issuers[{index}]");
            if !seen.insert(file.issuer.clone()) {
                problems.push(format!("{place}.issuer: {:?} is listed twice", file.issuer));
            }
            issuers.extend(file.check(&place, &mut problems));
        }
        if self.development_issuer.enabled {
            let audience = self.development_issuer.audience;
            if audience.is_empty() {
                problems.push("development_issuer.audience: is empty".to_owned());
            }
            issuers.push(development(audience, keys));
        }
        let exchange = self.token_exchange.check(keys, &mut problems).map(|(exchange, trusted)| {
            if !seen.insert(trusted.issuer.clone()) {
                problems.push(format!("token_exchange.issuer: {:?} is one of [[issuers]]", trusted.issuer));
            }
            issuers.push(trusted);
            exchange
        });
        let certificates = self.client_certificates.check(&mut problems);
        let ApiKeysFile { enabled, file } = self.api_keys;
        let api_keys = enabled.then(|| file.unwrap_or_else(|| keys.join(API_KEYS)));
        if problems.is_empty() {
            Ok(Config { issuers, certificates, api_keys, exchange, kms: Kms::none() })
        } else {
            Err(problems)
        }
    }
}

fn development(audience: String, keys: &Path) -> Issuer {
    Issuer {
        issuer: crate::development::ISSUER.to_owned(),
        audiences: vec![audience],
        algorithms: vec![Algorithm::EdDSA],
        keys: KeySource::Folder(keys.to_owned()),
        claims: Mapping::own(),
        clock_skew: 30,
    }
}

impl IssuerFile {
    fn check(self, place: &str, problems: &mut Vec<String>) -> Option<Issuer> {
        let before = problems.len();
        let mut problem = |field: &str, text: String| problems.push(format!("{place}.{field}: {text}"));
        if let Err(text) = check_url(&self.issuer) {
            problem("issuer", text);
        }
        if let Some(Err(text)) = self.jwks_url.as_deref().map(check_url) {
            problem("jwks_url", text);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            problem("audiences", "at least one is required, and none may be empty".to_owned());
        }
        let algorithms: Vec<Algorithm> = self
            .algorithms
            .iter()
            .filter_map(|name| {
                let found = algorithm(name);
                if found.is_none() {
                    problem("algorithms", format!("{name:?} is not one of {ALGORITHMS}"));
                }
                found
            })
            .collect();
        if self.algorithms.is_empty() {
            problem("algorithms", "at least one is required".to_owned());
        }
        let kind = kind(&self.kind);
        if kind.is_none() {
            problem("kind", format!("{:?} is neither `human` nor `machine`", self.kind));
        }
        for (field, claim) in [("subject_claim", &self.subject_claim), ("task_claim", &self.task_claim)] {
            if claim.is_empty() {
                problem(field, "is empty".to_owned());
            }
        }
        if self.groups.iter().any(String::is_empty) {
            problem("groups", "one of them is empty".to_owned());
        }
        for (field, value, range) in [
            ("clock_skew_seconds", self.clock_skew_seconds, 0..=300),
            ("jwks_max_age_seconds", self.jwks_max_age_seconds, 10..=86_400),
            ("jwks_stale_limit_seconds", self.jwks_stale_limit_seconds, 0..=86_400),
            ("timeout_seconds", self.timeout_seconds, 1..=60),
        ] {
            if !range.contains(&value) {
                problem(field, format!("{value} is not within {} to {}", range.start(), range.end()));
            }
        }
        if problems.len() > before {
            return None;
        }
        Some(Issuer {
            keys: KeySource::Remote(Remote {
                issuer: self.issuer.clone(),
                jwks_url: self.jwks_url,
                max_age: Duration::from_secs(self.jwks_max_age_seconds),
                stale_limit: Duration::from_secs(self.jwks_stale_limit_seconds),
                timeout: Duration::from_secs(self.timeout_seconds),
                ca_file: self.ca_file,
            }),
            issuer: self.issuer,
            audiences: self.audiences,
            algorithms,
            claims: Mapping {
                subject: self.subject_claim,
                name: self.name_claim,
                task: self.task_claim,
                kind: kind?,
                kind_claim: self.kind_claim,
                groups: self.groups_claim,
                groups_prefix: self.groups_prefix,
                more_groups: self.groups,
                required: self.required_claims,
                issuer: None,
                resources: None,
            },
            clock_skew: i64::try_from(self.clock_skew_seconds).ok()?,
        })
    }
}

/// Accepts https, and http to this machine: keys that came over an open line could be anybody's.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    let uri: Uri = text.parse().map_err(|_| format!("{text:?} is not a URL"))?;
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err(format!("{text:?} is not a URL with a host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must not hold a user name".to_owned());
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(host) => Ok(()),
        Some("http") => Err(format!("{text:?} is plain http, which is accepted for loopback hosts only")),
        _ => Err(format!("{text:?} is not an https URL")),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(crate) fn kind(name: &str) -> Option<IdentityKind> {
    match name {
        "human" => Some(IdentityKind::Human),
        "machine" => Some(IdentityKind::Machine),
        _ => None,
    }
}

/// The algorithms that may be allowed at all: those with a public key.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

const ALGORITHMS: &str = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";

/// The usual name of the store of API keys.
const API_KEYS: &str = "api-keys.json";

/// More issuers than anybody federates; each keeps a key set.
const MAX_ISSUERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: IssuerFile) -> Result<Config, Vec<String>> {
        File { issuers: vec![file], ..File::default() }.check(Path::new("/keys"))
    }

    fn good() -> IssuerFile {
        IssuerFile {
            issuer: "https://login.example".to_owned(),
            audiences: vec!["postern".to_owned()],
            ..IssuerFile::default()
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let file = IssuerFile {
            issuer: "http://login.example".to_owned(),
            algorithms: vec!["none".to_owned(), "HS256".to_owned()],
            kind: "robot".to_owned(),
            timeout_seconds: 0,
            ..IssuerFile::default()
        };
        let problems = check(file).unwrap_err();
        let expected = ["issuer: ", "audiences: ", "\"none\"", "\"HS256\"", "kind: ", "timeout_seconds: 0"];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.starts_with("issuers[0].") && problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for (url, good) in [
            ("https://a.example/realms/x", true),
            ("http://127.0.0.1:5000", true),
            ("http://localhost:5000", true),
            ("http://[::1]:5000", true),
            ("http://127.0.0.1.example", false),
            ("http://10.0.0.1", false),
            ("ftp://a.example", false),
            ("https://user@a.example", false),
            ("a.example", false),
            ("/path", false),
            ("", false),
        ] {
            assert_eq!(check_url(url).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn one_issuer_is_listed_once() {
        let file = File { issuers: vec![good(), good()], ..File::default() };
        assert!(file.check(Path::new("/keys")).unwrap_err().join(" ").contains("listed twice"));
        assert!(check(good()).is_ok());
    }

    #[test]
    fn the_development_issuer_is_off_by_default() {
        assert!(File::default().check(Path::new("/keys")).unwrap().is_empty());
        let mut file = File::default();
        file.development_issuer.enabled = true;
        assert!(!file.check(Path::new("/keys")).unwrap().is_empty());
    }
}
