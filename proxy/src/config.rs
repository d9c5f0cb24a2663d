//! Settings of the gate: the `[proxy]` section and the list of `[[resources]]`.
//!
//! [`File`] and [`ResourceFile`] are what stands in the config file; [`Config`] is what the gate runs with: parsed,
//! checked, with nothing optional that must be there.

use crate::{
    budget, dlp, estimate, evidence::ResultEvidence, hold, limits, policies::PolicyFiles, scope, tls, upstream,
    values::RecordedValues,
};
use judge::{
    mask::detect,
    policy::{self, Rules},
};
use schemas::{seal::Keks, tokens::Tokens};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The `[proxy]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Address and port that agents connect to. _Default:_ `127.0.0.1:6432`.
    pub listen: SocketAddr,
    /// Worker threads, each with its own listener. _Default:_ 0, one for every two cores: sealing, shipping and reading policies take the others.
    pub workers: usize,
    /// Sessions at once on this node; beyond it new connections are refused with 53300. _Default:_ 1000.
    pub max_connections: NonZeroUsize,
    /// Seconds for the whole start of a connection: TLS, startup packet, token. _Default:_ 15.
    pub startup_timeout_seconds: u64,
    /// Seconds before its end at which a session is warned by a notice; a shorter one is warned half way. 0 for no
    /// warning. _Default:_ 60.
    pub expiry_warning_seconds: u64,
    /// When clients are offered SASL OAUTHBEARER, which libpq knows since version 18, in the place of a password: `asked`,
    /// only those that say so by `options` of `-c postern.auth=oauth`; or `always`, all but those that say
    /// `-c postern.auth=password`. _Default:_ `asked`.
    pub oauth: Oauth,
    /// The issuer that clients without a token are sent to by OAUTHBEARER. _Default:_ the first of `[[issuers]]`.
    pub oauth_issuer: Option<String>,
    /// The scope that they are told to ask for. _Default:_ `openid`.
    pub oauth_scope: String,
    /// PEM file with the certificate chain; with `key_file` it replaces the self-signed development certificate. _Default:_ none.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the private key. _Default:_ none.
    pub key_file: Option<PathBuf>,
    /// Lets clients connect without TLS: the token then crosses the network in clear. For loopback only. _Default:_ false.
    pub allow_plaintext: bool,
    /// Compares pg_query's reading of each statement with sqlparser's, number, kinds and named relations, and flags differences
    /// in the Verdict event. Costs as much again as the analysis. _Default:_ false.
    pub tripwire: bool,
    /// Bytes that each worker's cache of analyzed statements may hold. _Default:_ 33554432.
    pub statement_cache_bytes: usize,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 6432)),
            workers: 0,
            max_connections: NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MIN),
            startup_timeout_seconds: 15,
            expiry_warning_seconds: 60,
            oauth: Oauth::Asked,
            oauth_issuer: None,
            oauth_scope: "openid".to_owned(),
            certificate_file: None,
            key_file: None,
            allow_plaintext: false,
            tripwire: false,
            statement_cache_bytes: 32 << 20,
        }
    }
}

/// When clients are offered OAUTHBEARER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oauth {
    /// When they ask for it.
    Asked,
    /// Unless they ask for a password.
    Always,
}

/// One entry of `[[resources]]`: a registered database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceFile {
    /// The name that agents give as their database.
    pub name: String,
    /// Host name or address; a folder that begins with `/` holds a Unix socket. _Default:_ `127.0.0.1`.
    #[serde(default = "default_host")]
    pub host: String,
    /// Port. _Default:_ 5432.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The database's name on its server. _Default:_ the resource's name.
    pub database: Option<String>,
    /// The role that the gate logs in as. Give it no more rights than the agents need together.
    pub user: String,
    /// File with its password, one line. _Default:_ none, for servers that trust the gate's address or socket.
    pub password_file: Option<PathBuf>,
    /// `disable`, `require`, `verify-ca` or `verify-full`. _Default:_ `verify-full`; for this machine `disable`.
    pub tls: Option<upstream::TlsMode>,
    /// PEM file with the authorities that vouch for the server. _Default:_ none.
    pub ca_file: Option<PathBuf>,
    /// Longest time to open a connection, seconds, 1 to 300. _Default:_ 10.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Take a server of any version. The gate is tested with PostgreSQL 13 to 18 and refuses others: what it does not
    /// know of their SQL and catalog could show what is hidden. _Default:_ false.
    #[serde(default)]
    pub accept_any_version: bool,
    /// Seconds between refreshes of the catalog snapshot; changes made through the gate are seen at once. _Default:_ 30.
    #[serde(default = "default_catalog_refresh")]
    pub catalog_refresh_seconds: u64,
    /// Roles of the database that clients may give as their user name; the session's role stays the gate's. Names that are
    /// no role, the identity's own and `user` need no entry. _Default:_ none.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups whose members may connect. _Default:_ none, so that nobody may.
    #[serde(default)]
    pub connect_groups: Vec<String>,
    /// File with 32 bytes, hexadecimal: the key of the methods `hash` and `fake`. _Default:_ none; they redact then.
    pub masking_key_file: Option<PathBuf>,
    /// `standing`: `connect_groups` and policies decide who may connect; a grant adds its role. `request`: a grant or an entry
    /// of `[[access.standing]]` is needed besides. _Default:_ `standing`.
    #[serde(default)]
    pub access: AccessMode,
    /// What is hidden, and from whom. _Default:_ nothing.
    #[serde(default)]
    pub masking: Vec<policy::Masking>,
    /// Relations that nobody may touch, as `schema.table`, or `schema.*` for a whole schema; and columns that nobody may
    /// name, as `schema.table.column`. _Default:_ none.
    #[serde(default)]
    pub closed: Vec<String>,
    /// Functions of the database's own, as `schema.name`, that read nothing that is hidden or closed: others may not be
    /// called where there is such. _Default:_ none.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Files of policies in Cedar's language, and folders whose `*.cedar` are read; they are read again when they change.
    /// With any, only what they permit is allowed. _Default:_ none: members of `connect_groups` may do what no guardrail denies.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
    /// TOML file with more of `masking`, `closed` and `functions`; it is read again when it changes. _Default:_ none.
    pub classification_file: Option<PathBuf>,
    /// The guardrails.
    #[serde(default)]
    pub guardrails: GuardrailsFile,
    /// What is looked for in values that no masking rule names. _Default:_ card numbers, ids, accounts and secrets, for
    /// identities for whom a masking rule holds.
    #[serde(default)]
    pub detectors: detect::Settings,
    /// An external provider of data loss prevention, for some columns. _Default:_ none.
    pub dlp: Option<dlp::File>,
    /// Rows that agents may write, counted before each COMMIT. _Default:_ none; nothing is counted.
    pub budget: Option<budget::Limits>,
    /// What one identity and one statement may take. _Default:_ no limits.
    #[serde(default)]
    pub limits: limits::Limits,
    /// The planner's estimates of statements, for policies and limits. _Default:_ asked where a policy reads them.
    #[serde(default)]
    pub estimates: estimate::Settings,
    /// Where the gate's password comes from, where it is not `password_file`. _Default:_ none.
    #[serde(default)]
    pub credential: upstream::CredentialFile,
    /// A role of its own for each session. _Default:_ none; sessions run as `user`.
    pub lease: Option<scope::config::File>,
    /// How much of results the record keeps: `"all"` rows; `{ first_rows = N }` of each answer, and digests of those after
    /// them; or of rows only a `"digest"`, SHA-256, which of short rows can be guessed. _Default:_ `"all"`.
    #[serde(default)]
    pub result_evidence: ResultEvidence,
    /// Which values the record keeps of those that statements name: `"all"`; those of statements that touch no table with
    /// protected columns, `"unprotected"`; or `"none"`. Tokens stand for what is left out: see `[tokens]`. _Default:_ `"all"`.
    #[serde(default)]
    pub recorded_values: RecordedValues,
    /// Seals what its sessions say, and what they are answered, under a key for each session: see `[sealing]`.
    /// _Default:_ false.
    #[serde(default)]
    pub seal_payloads: bool,
}

/// What lets identities connect to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// `connect_groups` and policies.
    #[default]
    Standing,
    /// A grant or standing access by name, and then these.
    Request,
}

/// The `[resources.guardrails]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardrailsFile {
    /// Guardrails that do not hold for this resource, by id, such as `guard:truncate`. _Default:_ none.
    pub off: Vec<String>,
}

fn default_host() -> String {
    "127.0.0.1".to_owned()
}

const fn default_port() -> u16 {
    5432
}

const fn default_connect_timeout() -> u64 {
    10
}

const fn default_catalog_refresh() -> u64 {
    30
}

impl ResourceFile {
    fn check(self) -> Result<ResourceConfig, Vec<String>> {
        let name = self.name;
        let named = |problem: String| format!("resource {name:?}: {problem}");
        let database = upstream::DatabaseFile {
            host: self.host,
            port: self.port,
            database: self.database.unwrap_or_else(|| name.clone()),
            user: self.user,
            password_file: self.password_file,
            password: None,
            credential: self.credential,
            tls: self.tls,
            ca_file: self.ca_file,
            connect_timeout_seconds: self.connect_timeout_seconds,
            accept_any_version: self.accept_any_version,
        };
        let mut problems = Vec::new();
        let database = database.check().map_err(|more| problems.extend(more)).ok();
        let lease = match (self.lease, &database) {
            (Some(lease), Some(database)) => lease.check(database).map_err(|more| problems.extend(more)).ok(),
            _ => None,
        };
        let mut rules = Rules::default();
        rules.connect_groups = self.connect_groups;
        rules.masking = self.masking;
        rules.closed = self.closed;
        rules.functions = self.functions;
        rules.guardrails_off = self.guardrails.off;
        rules.resource.clone_from(&name);
        rules.detectors = self.detectors;
        rules.asked = self.dlp.as_ref().map(|dlp| dlp.columns.clone()).unwrap_or_default();
        problems.extend(self.dlp.iter().flat_map(dlp::File::check));
        problems.extend(self.result_evidence.problem());
        match self.masking_key_file.map(|path| (read_key(&path), path)) {
            Some((Some(key), _)) => rules = rules.with_key(&key),
            Some((None, path)) => problems.push(format!("{} does not hold 64 hexadecimal digits", path.display())),
            None => {}
        }
        let files = PolicyFiles { base: rules, policies: self.policies, classification: self.classification_file };
        let rules = files.read().and_then(|contents| files.rules(&contents));
        let rules = rules.map_err(|more| problems.extend(more)).unwrap_or_default();
        match database {
            Some(database) if problems.is_empty() && !name.is_empty() => Ok(ResourceConfig {
                database,
                dlp: self.dlp,
                rules,
                files,
                users: self.users,
                by_request: self.access == AccessMode::Request,
                budget: self.budget,
                limits: self.limits,
                estimates: self.estimates,
                lease,
                evidence: self.result_evidence,
                sealed: self.seal_payloads,
                values: self.recorded_values,
                catalog_refresh: Duration::from_secs(self.catalog_refresh_seconds.max(1)),
                name,
            }),
            _ => {
                if name.is_empty() {
                    problems.push("the name is empty".to_owned());
                }
                Err(problems.into_iter().map(named).collect())
            }
        }
    }
}

fn read_key(path: &Path) -> Option<[u8; 32]> {
    let text = std::fs::read_to_string(path).ok()?;
    schemas::chain::from_hexadecimal(text.trim())
}

impl File {
    /// Checks the section and the resources. `keys` is the node's folder of keys, for a development certificate.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(self, node: &str, keys: &Path, resources: Vec<ResourceFile>) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let tls = match (self.certificate_file, self.key_file) {
            (Some(certificate), Some(key)) => Some(tls::Files::Given { certificate, key }),
            (None, None) => Some(tls::Files::Development { folder: keys.to_owned() }),
            _ => {
                problems.push("proxy: certificate_file and key_file belong together".to_owned());
                None
            }
        };
        let mut names = BTreeSet::new();
        let mut checked: Vec<ResourceConfig> = Vec::new();
        for resource in resources {
            if !names.insert(resource.name.clone()) {
                problems.push(format!("resource {:?} is registered twice", resource.name));
            }
            match resource.check() {
                Ok(resource) => checked.push(resource),
                Err(more) => problems.extend(more),
            }
        }
        let roles: Vec<_> = checked.iter().map(|one| (one.name.as_str(), &one.database, one.lease.as_ref())).collect();
        problems.extend(scope::config::conflicts(&roles));
        if !(1..=600).contains(&self.startup_timeout_seconds) {
            problems.push("proxy.startup_timeout_seconds must be 1 to 600".to_owned());
        }
        if self.expiry_warning_seconds > 3600 {
            problems.push("proxy.expiry_warning_seconds must be at most 3600".to_owned());
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // fewer workers share more syncs of the disk: measured on 2 cores, one serves 8 clients faster than two do
        let half = NonZeroUsize::new(cores.div_ceil(2)).unwrap_or(NonZeroUsize::MIN);
        match tls {
            Some(tls) if problems.is_empty() => Ok(Config {
                node: node.to_owned(),
                listen: self.listen,
                workers: NonZeroUsize::new(self.workers).unwrap_or(half),
                max_connections: self.max_connections,
                startup_timeout: Duration::from_secs(self.startup_timeout_seconds),
                expiry_warning: Duration::from_secs(self.expiry_warning_seconds),
                oauth: self.oauth,
                oauth_issuer: self.oauth_issuer,
                oauth_scope: self.oauth_scope,
                tls,
                allow_plaintext: self.allow_plaintext,
                tripwire: self.tripwire,
                statement_cache_bytes: self.statement_cache_bytes,
                holds: None,
                keks: None,
                tokens: None,
                resources: checked,
            }),
            _ => Err(problems),
        }
    }
}

/// What the gate runs with.
#[derive(Debug)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// Where agents connect.
    pub listen: SocketAddr,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Sessions at once.
    pub max_connections: NonZeroUsize,
    /// For the whole start of a connection.
    pub startup_timeout: Duration,
    /// Before the end of a session, when it is warned.
    pub expiry_warning: Duration,
    /// When OAUTHBEARER is offered.
    pub oauth: Oauth,
    /// The issuer that clients without a token are sent to, where it is not the first.
    pub oauth_issuer: Option<String>,
    /// What they are told to ask for.
    pub oauth_scope: String,
    /// Certificate and key.
    pub tls: tls::Files,
    /// Whether clients may connect without TLS.
    pub allow_plaintext: bool,
    /// Whether sqlparser is asked as well.
    pub tripwire: bool,
    /// Bytes of each worker's statement cache.
    pub statement_cache_bytes: usize,
    /// How statements are held; none: a hold is a denial.
    pub holds: Option<hold::Settings>,
    /// What wraps the keys of sealed sessions.
    pub keks: Option<Arc<Keks>>,
    /// What makes tokens of values that are left out of the record.
    pub tokens: Option<Tokens>,
    /// The registered databases.
    pub resources: Vec<ResourceConfig>,
}

/// A registered database.
#[derive(Debug)]
pub struct ResourceConfig {
    /// The name that agents give.
    pub name: String,
    /// Where it is.
    pub database: upstream::Database,
    /// Who is asked about values of some columns, with its threads.
    pub dlp: Option<dlp::File>,
    /// Who may do what, and what is hidden from whom, with what the files held at the start.
    pub rules: Rules,
    /// Where the rules come from.
    pub files: PolicyFiles,
    /// Roles of the database that clients may give as their user name.
    pub users: Vec<String>,
    /// Connecting needs a grant or standing access by name.
    pub by_request: bool,
    /// Rows that agents may write.
    pub budget: Option<budget::Limits>,
    /// What one identity and one statement may take.
    pub limits: limits::Limits,
    /// When the planner is asked for estimates.
    pub estimates: estimate::Settings,
    /// A role of its own for each session.
    pub lease: Option<scope::Config>,
    /// How much of results the record keeps.
    pub evidence: ResultEvidence,
    /// Its sessions' payloads are sealed.
    pub sealed: bool,
    /// Which values that statements name stay in the record.
    pub values: RecordedValues,
    /// Between refreshes of the catalog snapshot.
    pub catalog_refresh: Duration,
}
