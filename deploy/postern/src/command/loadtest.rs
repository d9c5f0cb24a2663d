//! `postern loadtest replay`: a captured session as load.

use crate::arguments::{Global, Loadtest, Output};
use crate::command::block_on;
use crate::failure::Failure;
use crate::{config, output};
use anyhow::{Context as _, anyhow};
use kit::Secret;
use loadtest::Options;
use recorder::archive::{self, Reader};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Runs the verb.
pub fn run(global: &Global, verb: &Loadtest) -> Result<(), Failure> {
    let Loadtest::Replay { session, target, speed, user, database, password_file, direct, ca_file, plaintext } = verb;
    let config = config::load(global)?;
    let reader = Reader::open(&config.archive)?;
    let (summary, events) = block_on(async {
        let known = |error| match error {
            archive::Error::UnknownSession(_) => Failure::NotFound(format!("{error}")),
            other => other.into(),
        };
        Ok((reader.summary(*session).await.map_err(known)?, reader.events(*session).await.map_err(known)?))
    })?;
    let recorded = if *direct { summary.database } else { summary.resource };
    let subject = summary.identity.map(|identity| identity.subject);
    let password = match password_file {
        Some(path) => Secret::from_file(path)?,
        None => Secret::new(String::new()),
    };
    let development = config.keys.join("gate-development.crt");
    let tls = match plaintext {
        true => None,
        false => Some(trusting(ca_file.as_deref().unwrap_or(&development))?),
    };
    let options = Options {
        target: target.clone(),
        user: user.clone().or(subject).context("the record names no user: say one with --user")?,
        password: password.expose().clone(),
        database: database.clone().or(recorded).context("the record names no database: say one with --database")?,
        tls,
        speed: *speed,
        direct: *direct,
        timeout: ANSWER,
    };
    let report = block_on(async { Ok(loadtest::replay(&events, &options).await?) })?;
    let text = match global.output {
        Output::Text => report.to_string(),
        Output::Json => report.to_json()?,
    };
    output::line(text.trim_end())?;
    match report.differing {
        0 => Ok(()),
        differing => Err(Failure::Unsound(format!("{differing} answers differ from the recorded ones"))),
    }
}

/// TLS that trusts the certificates of one file.
fn trusting(path: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| anyhow!("reading {}: {error}", path.display()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| anyhow!("reading {}: {error}", path.display()))?;
        roots.add(certificate).with_context(|| format!("trusting {}", path.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(builder.context("setting up TLS")?.with_root_certificates(roots).with_no_client_auth()))
}

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(60);
