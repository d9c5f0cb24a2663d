//! Section `[archive.s3]`, and how a bucket of it is opened.

use super::Error;
use super::http::{CONNECT, Connector, retries};
use super::lock::{Examiner, Retention};
use super::place::{Bucket, Provider};
use crate::archive::put::Kind;
use kit::Secret;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::{ClientOptions, ObjectStore};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Section `[archive.s3]`: for `archive.url = "s3://..."` alone. None of it can change while running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where S3 is: `https://host:port`. _Default:_ `AWS_ENDPOINT_URL`, or else Amazon's of the region.
    pub endpoint: Option<String>,
    /// The bucket's region. _Default:_ `AWS_REGION` or `AWS_DEFAULT_REGION`, or else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket's name stands in the path, and not in the host's name. _Default:_ true.
    pub path_style: bool,
    /// Lets an endpoint be `http://`: what is archived then crosses the network in clear. _Default:_ false.
    pub allow_http: bool,
    /// An access key. _Default:_ what the environment names, in this order: `AWS_ACCESS_KEY_ID` with
    /// `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE` with
    /// `AWS_ROLE_ARN`), the container's or pod's credentials, the instance's.
    pub access_key_id: Option<String>,
    /// The file with its secret.
    pub secret_access_key_file: Option<PathBuf>,
    /// `governance` or `compliance`: objects are written with this retention; the bucket must have Object Lock.
    /// _Default:_ `off`.
    pub object_lock: Lock,
    /// Days for which they cannot be changed or deleted.
    pub object_lock_days: u32,
    /// Which: `checkpoints`, `manifests`, `data`. _Default:_ `checkpoints`.
    pub object_lock_objects: BTreeSet<Kind>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: true,
            allow_http: false,
            access_key_id: None,
            secret_access_key_file: None,
            object_lock: Lock::Off,
            object_lock_days: 0,
            object_lock_objects: BTreeSet::from([Kind::Checkpoints]),
        }
    }
}

/// How objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lock {
    /// Not by the recorder. The bucket's default retention counts.
    Off,
    /// Who may bypass governance can still delete them.
    Governance,
    /// Nobody can, the account's owner neither.
    Compliance,
}

/// The parsed section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// See [`File::endpoint`].
    pub endpoint: Option<String>,
    /// See [`File::region`].
    pub region: Option<String>,
    /// See [`File::path_style`].
    pub path_style: bool,
    /// See [`File::allow_http`].
    pub allow_http: bool,
    /// The access key and the file of its secret; `None`: those of the environment.
    pub key: Option<(String, PathBuf)>,
    /// What is locked.
    pub retention: Option<RetentionRule>,
}

/// For how long which objects are locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// How.
    pub mode: LockMode,
    /// How long.
    pub days: u32,
    /// Which.
    pub objects: Vec<Kind>,
}

/// [`Lock`], where it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// See [`Lock::Governance`].
    Governance,
    /// See [`Lock::Compliance`].
    Compliance,
}

/// A hundred years, as S3 has it.
const MAX_LOCK_DAYS: u32 = 36_500;

impl File {
    /// Parses the section.
    pub(crate) fn check(self, problems: &mut Vec<String>) -> Settings {
        let mut problem = |key: &str, text: &str| problems.push(format!("archive.s3.{key}: {text}"));
        if let Some(endpoint) = &self.endpoint {
            let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            let host = host.map(|host| host.trim_end_matches('/'));
            if !host.is_some_and(|host| !host.is_empty() && host.chars().all(is_host)) {
                problem("endpoint", "must be https://HOST or https://HOST:PORT, with nothing behind it");
            } else if endpoint.starts_with("http://") && !self.allow_http {
                problem(
                    "endpoint",
                    "http:// needs archive.s3.allow_http; the archive then crosses the network in clear",
                );
            }
        }
        if self.region.as_ref().is_some_and(|region| region.is_empty() || !region.chars().all(is_word)) {
            problem("region", "must be a region's name, as in eu-central-1");
        }
        let key = match (self.access_key_id, self.secret_access_key_file) {
            (Some(id), _) if id.is_empty() || !id.chars().all(|c| c.is_ascii_graphic()) => {
                problem("access_key_id", "must not be empty, and have no spaces");
                None
            }
            (Some(id), Some(file)) => Some((id, file)),
            (Some(_), None) => {
                problem("access_key_id", "needs archive.s3.secret_access_key_file");
                None
            }
            (None, Some(_)) => {
                problem("secret_access_key_file", "needs archive.s3.access_key_id");
                None
            }
            (None, None) => None,
        };
        let mode = match self.object_lock {
            Lock::Off => None,
            Lock::Governance => Some(LockMode::Governance),
            Lock::Compliance => Some(LockMode::Compliance),
        };
        match mode {
            None if self.object_lock_days > 0 => {
                problem("object_lock_days", "needs archive.s3.object_lock, governance or compliance");
            }
            Some(_) if !(1..=MAX_LOCK_DAYS).contains(&self.object_lock_days) => {
                problem("object_lock_days", "must be 1 to 36500");
            }
            Some(_) if self.object_lock_objects.is_empty() => {
                problem("object_lock_objects", "must name checkpoints, manifests or data");
            }
            _ => {}
        }
        let (days, objects) = (self.object_lock_days, self.object_lock_objects.into_iter().collect());
        Settings {
            endpoint: self.endpoint,
            region: self.region,
            path_style: self.path_style,
            allow_http: self.allow_http,
            key,
            retention: mode.map(|mode| RetentionRule { mode, days, objects }),
        }
    }
}

fn is_host(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | ':' | '[' | ']' | '_')
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_')
}

impl Bucket {
    /// Opens the whole bucket.
    pub(super) fn open(&self) -> Result<(Arc<dyn ObjectStore>, Option<Examiner>), Error> {
        match &self.provider {
            Provider::S3(settings) => {
                let (store, examiner) = self.open_s3(settings)?;
                Ok((Arc::new(store), examiner))
            }
            #[cfg(feature = "gcs")]
            Provider::Gcs => {
                let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(&self.name)
                    .with_client_options(ClientOptions::new())
                    .with_retry(retries(&self.limits))
                    .with_http_connector(Connector::new(&self.limits, None)?);
                Ok((Arc::new(builder.build().map_err(self.refused())?), None))
            }
            #[cfg(feature = "azure")]
            Provider::Azure => {
                let builder = object_store::azure::MicrosoftAzureBuilder::from_env()
                    .with_container_name(&self.name)
                    .with_client_options(ClientOptions::new())
                    .with_retry(retries(&self.limits))
                    .with_http_connector(Connector::new(&self.limits, None)?);
                Ok((Arc::new(builder.build().map_err(self.refused())?), None))
            }
        }
    }

    fn refused(&self) -> impl FnOnce(object_store::Error) -> Error {
        let place = self.to_string();
        move |source| Error::Open { place, source }
    }

    fn open_s3(&self, settings: &Settings) -> Result<(AmazonS3, Option<Examiner>), Error> {
        // The AWS_ variables are the ways in which every tool gets credentials; the config's own settings win over them.
        let environment = AmazonS3Builder::from_env();
        let of_environment = |key| environment.get_config_value(&key);
        let region = settings.region.clone().or_else(|| of_environment(AmazonS3ConfigKey::Region));
        let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint = settings.endpoint.clone().or_else(|| of_environment(AmazonS3ConfigKey::S3Endpoint));
        let endpoint = endpoint.or_else(|| of_environment(AmazonS3ConfigKey::Endpoint));

        let builder = match &settings.key {
            None => environment,
            // a session token of the environment belongs to another key
            Some((id, file)) => {
                let place = || self.to_string();
                let secret = Secret::from_file(file).map_err(|source| Error::Secret { place: place(), source })?;
                AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret.expose())
            }
        };
        let builder = match endpoint {
            Some(endpoint) if settings.path_style => builder.with_endpoint(endpoint),
            Some(endpoint) => builder.with_endpoint(hosted(&endpoint, &self.name)),
            None => builder,
        };
        let retention = settings.retention.clone().map(|rule| Arc::new(Retention::new(rule, region.clone())));
        let connector = Connector::new(&self.limits, retention.clone())?;
        let http = connector.client(settings.allow_http, CONNECT);
        let store = builder
            .with_bucket_name(&self.name)
            .with_region(region)
            .with_virtual_hosted_style_request(!settings.path_style)
            .with_skip_signature(false)
            .with_unsigned_payload(false)
            // commits are exclusive by it, and locked objects must state their checksum
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::SHA256)
            // retention erases one object a request: not every store that speaks like S3 has the other way
            .with_disable_bulk_delete(true)
            .with_client_options(ClientOptions::new().with_allow_http(settings.allow_http))
            .with_retry(retries(&self.limits))
            .with_http_connector(connector)
            .build()
            .map_err(self.refused())?;
        let examiner = retention.map(|retention| {
            retention.sign_by(store.credentials().clone());
            Examiner::new(store.clone(), http, retention)
        });
        Ok((store, examiner))
    }
}

/// An endpoint with the bucket's name in its host.
fn hosted(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{}", host.trim_end_matches('/')),
        None => endpoint.to_owned(),
    }
}

const DEFAULT_REGION: &str = "us-east-1";
