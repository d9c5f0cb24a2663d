//! What the fuzzer drives: gates' halves of sessions, without sockets and without a database.
//!
//! A [`Conversation`] takes bytes of both sides and gives bytes for both; what the exchange does for it between, as far as
//! it needs no clock and no network, is here too. Its record goes to a real log in a folder of the caller's.

use crate::{
    budget,
    config::ResourceConfig,
    conversation::{Conversation, Outbox},
    decide::Decider,
    estimate,
    evidence::ResultEvidence,
    limits,
    paths::Paths,
    policies::PolicyFiles,
    record::Record,
    resource::Resource,
    upstream::{CredentialFile, DatabaseFile},
    values::{Leaving, RecordedValues},
};
use event_log::Log;
use judge::{
    policy::{Rules, Subject},
    sql::catalog::{self, Rows},
};
use schemas::{SessionId, tokens::Tokens};
use std::{path::Path, sync::Arc, time::Duration};

/// Sessions cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error("cannot open a log")]
    Log(#[source] event_log::Error),
    /// The rows of the catalog.
    #[error("cannot build the catalog")]
    Catalog(#[source] catalog::Error),
    /// The settings of the database.
    #[error("cannot use the settings of the database: {0}")]
    Database(String),
}

/// What a made-up resource asks for beside its rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// Rows that agents may write.
    pub budget: Option<budget::Limits>,
    /// When the planner is asked for estimates.
    pub estimates: estimate::Settings,
    /// Which values that statements name stay in the record.
    pub values: RecordedValues,
}

/// Sessions of one subject, of the group `agents`, on one resource.
pub struct Sessions {
    log: Log,
    resource: Arc<Resource>,
}

/// A database of this name on this port of this machine; the gate logs in without a password.
pub fn database(name: &str, port: u16) -> DatabaseFile {
    DatabaseFile {
        host: "127.0.0.1".to_owned(),
        port,
        database: name.to_owned(),
        user: "gate".to_owned(),
        password_file: None,
        credential: CredentialFile::default(),
        password: None,
        tls: None,
        ca_file: None,
        connect_timeout_seconds: 10,
        accept_any_version: false,
    }
}

/// A resource of this database and these rules, with everything else as it is by default.
///
/// # Errors
/// [`Error::Database`].
pub fn resource(name: &str, database: DatabaseFile, rules: Rules) -> Result<ResourceConfig, Error> {
    Ok(ResourceConfig {
        name: name.to_owned(),
        database: database.check().map_err(|problems| Error::Database(problems.join("; ")))?,
        dlp: None,
        rules,
        files: PolicyFiles::default(),
        users: Vec::new(),
        by_request: false,
        budget: None,
        limits: limits::Limits::default(),
        estimates: estimate::Settings::default(),
        lease: None,
        evidence: ResultEvidence::default(),
        sealed: false,
        values: RecordedValues::default(),
        catalog_refresh: Duration::from_secs(60),
    })
}

impl Sessions {
    /// Opens a log in a folder, for sessions on a resource with this catalog and these rules.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(folder: &Path, catalog: &[Rows], rules: Rules, extras: Extras) -> Result<Self, Error> {
        let mut config = resource("nowhere", database("nowhere", 5432), rules)?;
        config.budget = extras.budget;
        config.estimates = extras.estimates;
        config.values = extras.values;
        let resource = Arc::new(Resource::with_catalog(&config, catalog).map_err(Error::Catalog)?);
        let (log, _) = Log::open(event_log::testing::config(folder), "gate-1".into()).map_err(Error::Log)?;
        Ok(Self { log, resource })
    }

    /// Begins a session, after its startup phase.
    pub fn begin(&self) -> Conversation {
        let decider = Decider::new(self.resource.clone(), Subject::of_groups(&["agents"]));
        let record = Record::new(self.log.clone(), SessionId::generate());
        let values = self.resource.values;
        let leaving = values.leaves_out().then(|| Leaving::new(values, Tokens::new(&[7; 32])));
        Conversation::new(record, decider, Paths::new("public", "gate")).with_leaving(leaving)
    }

    /// Ends the log as a kill would.
    pub fn close(self) {
        self.log.crash();
    }
}

/// What the exchange does after each read of the server: what waited for an answer goes on.
pub fn proceed(conversation: &mut Conversation, out: &mut Outbox) {
    conversation.proceed(out);
}

/// What the exchange does for [`crate::forward::Flow::RefreshCatalog`]: here the catalog is the same as before.
pub fn refreshed(conversation: &mut Conversation) {
    conversation.decider.refreshed();
}
