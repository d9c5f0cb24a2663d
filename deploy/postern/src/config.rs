//! One config file for all processes: each library's section, put together, its folders resolved, checked at once.

use crate::arguments::Global;
use crate::failure::Failure;
use kit::config::{Problem, Problems};
use kit::kms::Kms;
use kit::logging;
use schemas::tokens::Tokens;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod sealing;
mod tokens;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// This node.
    pub node: NodeFile,
    /// The gate.
    pub proxy: proxy::config::File,
    /// Trusted OpenID Connect providers.
    pub issuers: Vec<identity::config::IssuerFile>,
    /// An issuer for trials.
    pub development_issuer: identity::config::DevelopmentFile,
    /// Client certificates in the place of tokens.
    pub client_certificates: identity::certificate::File,
    /// Long-lived keys in the place of tokens.
    pub api_keys: identity::config::ApiKeysFile,
    /// Short tokens of our own for those of other issuers.
    pub token_exchange: identity::config::TokenExchangeFile,
    /// Who unwraps keys that are wrapped in their files.
    pub kms: kit::kms::File,
    /// The control plane.
    pub control: control::config::File,
    /// Roles that can be asked for, and who answers.
    pub access: control::access::File,
    /// Statements that wait for a reviewer.
    pub holds: proxy::hold::config::File,
    /// Registered databases.
    pub resources: Vec<proxy::config::ResourceFile>,
    /// The durable log.
    pub log: event_log::config::File,
    /// The bus, where it is Kafka.
    pub kafka: event_log::config::KafkaFile,
    /// The archive.
    pub archive: recorder::config::File,
    /// Who may read sealed payloads.
    pub sealing: sealing::File,
    /// What stands for values that are left out of the record.
    pub tokens: tokens::File,
    /// The search index.
    pub index: indexer::config::File,
    /// The API and console.
    pub api: replay::config::File,
    /// Who is told of what waits for an answer.
    pub webhooks: Vec<replay::hooks::File>,
    /// Metrics and health.
    pub metrics: MetricsFile,
    /// Logs.
    pub logging: LoggingFile,
}

/// The `[node]` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeFile {
    /// The name that this node's events carry: unique among the nodes of one bus, and the same after every restart.
    /// _Default:_ the host's name.
    pub name: Option<String>,
    /// The folder of everything that the node keeps: spool, archive, index, keys, each of which can be put elsewhere by
    /// its own section. _Default:_ `postern-data`.
    pub data_dir: Option<PathBuf>,
}

/// The `[metrics]` section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsFile {
    /// Address and port of `/metrics`, `/healthz` and `/readyz`, open to everybody who reaches it.
    /// _Default:_ `127.0.0.1:9090`.
    pub listen: SocketAddr,
}

impl Default for MetricsFile {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9090)) }
    }
}

/// The `[logging]` section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingFile {
    /// `text` for people, `json` for machines. _Default:_ `text`.
    pub format: logging::Format,
    /// Least level, or a list of `target=level`, as in `info,proxy=debug`. _Default:_ `info`.
    pub filter: String,
}

impl Default for LoggingFile {
    fn default() -> Self {
        Self { format: logging::Format::default(), filter: "info".to_owned() }
    }
}

/// The whole config, parsed and checked.
#[derive(Debug)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// The folder of the node's keys.
    pub keys: PathBuf,
    /// The gate and its databases.
    pub proxy: proxy::config::Config,
    /// Who is trusted to say who somebody is.
    pub identity: identity::Config,
    /// The audience of the development issuer's tokens, where it is enabled.
    pub development_audience: Option<String>,
    /// Who unwraps keys that are wrapped in their files.
    pub kms: Kms,
    /// The control plane.
    pub control: control::Config,
    /// What the config says about access.
    pub access: Arc<control::Access>,
    /// The log; with Kafka behind it where brokers are named.
    pub log: event_log::Config,
    /// The key that signs batches, where they are signed.
    pub log_key: Option<PathBuf>,
    /// The archive.
    pub archive: recorder::Config,
    /// The key that signs checkpoints of the archive.
    pub archive_key: PathBuf,
    /// What makes tokens of values that are left out of the record.
    pub tokens: Option<Tokens>,
    /// What a resource asks for and there is no key of: no gate may run.
    pub lacks: Option<Problem>,
    /// The search index.
    pub index: indexer::Config,
    /// The API and console.
    pub api: replay::config::Config,
    /// Who is told of what waits for an answer.
    pub webhooks: Vec<replay::hooks::Webhook>,
    /// Where metrics and health are served.
    pub metrics: SocketAddr,
    /// How logs look.
    pub logging: LoggingFile,
}

/// Loads and checks the config that a command line names.
pub fn load(global: &Global) -> Result<Config, Failure> {
    let path = path(global);
    let place = path.as_ref().map_or_else(|| "no config file".to_owned(), |path| path.display().to_string());
    let file: File = kit::config::load(path.as_deref(), PREFIX, &global.overrides).map_err(Failure::Config)?;
    file.check(&place).map_err(Failure::Config)
}

/// The file that a command line means, if there is one.
pub fn path(global: &Global) -> Option<PathBuf> {
    let usual = USUAL.iter().map(Path::new).find(|path| path.exists());
    global.config.clone().or_else(|| usual.map(Path::to_owned))
}

impl File {
    /// Resolves the folders and checks every section. `place` is what the problems are said to be in.
    ///
    /// # Errors
    /// All problems of all sections.
    pub fn check(mut self, place: &str) -> Result<Config, Problems> {
        let data = self.node.data_dir.take().unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let node = self.node.name.take().unwrap_or_else(host_name);
        let keys = data.join("keys");
        self.log.directory.get_or_insert_with(|| data.join("spool"));
        self.archive.url.get_or_insert_with(|| data.join("archive").display().to_string());
        self.index.directory.get_or_insert_with(|| data.join("index"));
        let audit_key = || keys.join("audit.pk8");
        let log_key = self.log.sign.then(|| self.log.signing_key.take().unwrap_or_else(audit_key));
        let archive_key = self.archive.signing_key.take().unwrap_or_else(audit_key);
        let development_audience = self.development_issuer.enabled.then(|| self.development_issuer.audience.clone());
        let identity = identity::config::File {
            issuers: self.issuers,
            development_issuer: self.development_issuer,
            client_certificates: self.client_certificates,
            api_keys: self.api_keys,
            token_exchange: self.token_exchange,
        };

        let mut problems = Vec::new();
        if node.is_empty() || node.len() > MAX_NODE_BYTES || !node.chars().all(is_name) {
            problems.push(format!("node.name: {node:?} is not 1 to {MAX_NODE_BYTES} letters, digits, `.`, `_`, `-`"));
        }
        if let Err(error) = logging::filter(&self.logging.filter) {
            problems.push(format!("logging.filter: {error}"));
        }
        let access = noted(&mut problems, self.access.check());
        if let Some(access) = &access {
            with_roles(&mut self.resources, access, &mut problems);
        }
        let kms = noted(&mut problems, self.kms.check());
        let control = noted(&mut problems, self.control.check(&node, &keys, &data));
        let webhooks = noted(&mut problems, replay::hooks::check(self.webhooks, self.holds.console.as_deref()));
        let holds = noted(&mut problems, self.holds.check());
        let sealed = self.resources.iter().any(|resource| resource.seal_payloads);
        let no_kms = kit::kms::Kms::none();
        let keks = self.sealing.check(kms.as_ref().unwrap_or(&no_kms));
        let keks = noted(&mut problems, keks).flatten().map(Arc::new);
        let left_out = self.resources.iter().any(|resource| resource.recorded_values.leaves_out());
        let tokens = self.tokens.check(kms.as_ref().unwrap_or(&no_kms));
        let tokens = noted(&mut problems, tokens.map_err(|problem| vec![problem])).flatten();
        let proxy = noted(&mut problems, self.proxy.check(&node, &keys, self.resources));
        let proxy = proxy.zip(holds);
        let proxy = proxy.map(|(proxy, holds)| proxy::config::Config {
            holds,
            keks: keks.clone(),
            tokens: tokens.clone(),
            ..proxy
        });
        let identity = noted(&mut problems, identity.check(&keys));
        let log = noted(&mut problems, self.log.check());
        let kafka = noted(&mut problems, self.kafka.check());
        let copies = log.as_ref().is_some_and(|log| log.durability == event_log::config::Durability::Kafka);
        if copies && matches!(kafka, Some(None)) {
            problems.push("log.durability: \"kafka\" needs kafka.brokers".to_owned());
        }
        let archive = noted(&mut problems, self.archive.check());
        let index = noted(&mut problems, self.index.check());
        let api = noted(&mut problems, self.api.check(&node));
        match (proxy, identity.zip(kms), control.zip(access), log.zip(kafka), archive, index, api.zip(webhooks)) {
            (
                Some(proxy),
                Some((identity, kms)),
                Some((control, access)),
                Some((log, kafka)),
                Some(archive),
                Some(index),
                Some((api, webhooks)),
            ) if problems.is_empty() => {
                let control = control.with_kms(kms.clone()).with_kafka(kafka.clone()).with_keks(keks.clone());
                let archive = archive.with_keks(keks);
                let log = match kafka {
                    Some(kafka) => log.with_kafka(kafka),
                    None => log,
                };
                let lacks = if sealed && archive.keks.is_none() {
                    Some(Problem::new("sealing.key_file", "must be set where a resource has seal_payloads"))
                } else if left_out && tokens.is_none() {
                    Some(Problem::new("tokens.key_file", "must be set where a resource has recorded_values"))
                } else {
                    None
                };
                let (metrics, logging) = (self.metrics.listen, self.logging);
                Ok(Config {
                    node,
                    keys,
                    proxy,
                    identity: identity.with_kms(kms.clone()),
                    development_audience,
                    kms,
                    control,
                    access: Arc::new(access),
                    log,
                    log_key,
                    archive,
                    archive_key,
                    tokens,
                    lacks,
                    index,
                    api,
                    webhooks,
                    metrics,
                    logging,
                })
            }
            _ => Err(Problems(problems.into_iter().map(|text| Problem::new(place, text)).collect())),
        }
    }
}

impl Config {
    /// What a gate needs besides.
    ///
    /// # Errors
    /// A resource seals, or leaves values out, and no key for it is named.
    pub fn for_gate(&self) -> Result<(), Failure> {
        match &self.lacks {
            Some(problem) => Err(Failure::Config(Problems(vec![problem.clone()]))),
            None => Ok(()),
        }
    }
}

/// Lets the sessions of a resource's roles connect to it, and finds roles and modes that do not fit.
fn with_roles(resources: &mut [proxy::config::ResourceFile], access: &control::Access, problems: &mut Vec<String>) {
    for resource in resources.iter_mut() {
        let roles = access.roles(&resource.name).map(|role| format!("{}{}", control::access::ROLE_PREFIX, role.name));
        resource.connect_groups.extend(roles);
    }
    // the API of a node without a gate has roles and no databases
    let is_known = |name: &str| resources.is_empty() || resources.iter().any(|resource| resource.name == name);
    for role in access.all_roles().iter().filter(|role| !is_known(&role.resource)) {
        problems.push(format!("access.roles {:?}: there is no resource {:?}", role.name, role.resource));
    }
}

fn noted<T>(problems: &mut Vec<String>, checked: Result<T, Vec<String>>) -> Option<T> {
    checked.map_err(|more| problems.extend(more)).ok()
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// The host's name, as far as it may be a node's.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| is_name(*c)).take(MAX_NODE_BYTES).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// Environment variables begin with it.
pub const PREFIX: &str = "POSTERN";

/// Where a config file is looked for.
const USUAL: &[&str] = &["postern.toml", "/etc/postern/postern.toml"];

const DATA_DIR: &str = "postern-data";

/// A node's name stands in every batch.
const MAX_NODE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = crate::command::config::EXAMPLE;

    fn parse(text: &str) -> File {
        kit::config::parse(text, "example").unwrap()
    }

    /// The example with its commented keys switched on: `# key = value`, with one space.
    fn switched_on() -> String {
        let is_key =
            |rest: &str| rest.split_once(" = ").is_some_and(|(key, _)| key.trim_matches('"').chars().all(is_name));
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if is_key(rest) || rest.starts_with("[[") || rest.starts_with("[resources.") => rest.to_owned(),
            _ => line.to_owned(),
        };
        EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_the_defaults() {
        assert_eq!(format!("{:#?}", parse(EXAMPLE)), format!("{:#?}", File::default()));
    }

    #[test]
    fn the_example_names_every_key_and_only_such() {
        let text = switched_on();
        parse(&text); // an unknown key or a wrong type in a comment fails here
        let table: toml::Table = text.parse().unwrap();
        for section in kit::config::known_keys::<File>(&[]).unwrap() {
            let Some(keys) = kit::config::known_keys::<File>(&[section.as_str()]) else { continue };
            for key in keys {
                assert!(
                    table.get(&section).is_some_and(|t| t.get(&key).is_some()),
                    "the example lacks [{section}] {key}"
                );
            }
        }
        let issuer = &table["issuers"].as_array().unwrap()[0];
        for key in kit::config::known_keys::<identity::config::IssuerFile>(&[]).unwrap() {
            assert!(issuer.get(&key).is_some(), "the example lacks [[issuers]] {key}");
        }
        let webhook = &table["webhooks"].as_array().unwrap()[0];
        for key in kit::config::known_keys::<replay::hooks::File>(&[]).unwrap() {
            assert!(webhook.get(&key).is_some(), "the example lacks [[webhooks]] {key}");
        }
    }

    #[test]
    fn every_config_file_that_is_handed_out_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut read = 0;
        for folder in [folder.clone(), folder.join("kafka")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    kit::config::load_from::<File>(Some(&path), PREFIX, [], &[])
                        .unwrap_or_else(|problems| panic!("{problems}"));
                    read += 1;
                }
            }
        }
        assert!(read >= 6, "{read} files");
    }

    #[test]
    fn folders_lie_under_the_data_folder_unless_they_are_set() {
        let text = "[node]\nname = 'a'\ndata_dir = '/d'\n[index]\ndirectory = '/fast/index'\n";
        let config = parse(text).check("c").unwrap();
        assert_eq!((config.log.directory, config.index.directory), ("/d/spool".into(), "/fast/index".into()));
        assert_eq!((config.archive.place.to_string(), config.keys), ("/d/archive".to_owned(), "/d/keys".into()));
    }

    #[test]
    fn problems_of_all_sections_are_told_at_once() {
        let text =
            "[node]\nname = 'a b'\n[log]\nbatch_bytes = 0\n[api]\nlisten = 'here'\n[logging]\nfilter = 'proxy=loud'\n";
        let told = parse(text).check("c.toml").unwrap_err().to_string();
        for part in ["c.toml: node.name", "c.toml: log.batch_bytes", "c.toml: api.listen", "c.toml: logging.filter"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
