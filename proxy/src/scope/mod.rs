//! As which role a session runs: one that is made for it, has what the policies need and no more, and goes with it.
//!
//! ```text
//! Leases::lease (subject) -> scope role (NOLOGIN, granted once) -> leased role (LOGIN, member of it) -> login as it
//!        -> Lease dropped (any way out) -> backend gone -> DROP ROLE;   a node died -> reaper of any other -> DROP ROLE
//! ```
//!
//! Rights are granted to scope roles, each once: grants on shared tables for every session would abort each other
//! (`tuple concurrently updated`). A leased role is only a member of one. The gate logs in as it and never says SET ROLE: what
//! the session may do, PostgreSQL knows from the first byte, and there is no stronger role to return to.
//!
//! Roles are made and dropped on one thread of the node ([`run`]), over connections of its own. [`grants`] makes scope
//! roles, [`wanted`] says what they hold, [`reaper`] drops what crashes left. SCP-1 is the promise.

mod admin;
pub mod config;
mod desk;
mod grants;
mod held;
mod inspect;
mod known;
pub mod names;
mod reaper;
mod secret;
mod wanted;

pub(crate) use admin::timestamp;
pub use config::Config;
pub use inspect::{Inspection, inspect};

use crate::{ask, resource::Resource, telemetry::Metrics, upstream};
use desk::Desk;
use judge::policy::Subject;
use kit::{Secret, Shutdown};
use names::Owner;
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::sync::oneshot;

/// No role could be leased. `Display` and its sources are for the log; [`Error::to_client`] is for agents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection that makes roles cannot be opened.
    #[error("opening the connection that makes roles")]
    Connect(#[source] upstream::Error),
    /// The server refused, or the connection broke.
    #[error("{doing}")]
    Ask {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: ask::Error,
    },
    /// No answer in time.
    #[error("{doing} took too long")]
    Slow {
        /// What was being done.
        doing: &'static str,
    },
    /// The answer is not that of the question.
    #[error("the database's answer is not that of the question")]
    Answer,
    /// It is a standby, which takes no roles.
    #[error("the database is a standby, where no role can be made")]
    Standby,
    /// The server knows the connection by another name than the gate gave it.
    #[error("the name of the gate's connection is changed on its way, so that no node would see that this one lives")]
    Nameless,
    /// A role has the name of a scope role and is none, or holds something else.
    #[error("the role {role} exists and is not the scope role that it should be: drop or rename it")]
    Taken {
        /// Its name.
        role: String,
    },
    /// No scope is for the identity's groups.
    #[error("no scope is for a group of the identity")]
    NoScope,
    /// More sessions wait than the limit, or more roles to be dropped.
    #[error("more than {limit} {what}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
    /// No random numbers.
    #[error("making a password")]
    Random(#[source] secret::NoRandom),
    /// The node ends.
    #[error("the gate is shutting down")]
    Closing,
}

impl Error {
    /// The SQLSTATE that the server gave, if it refused.
    fn sqlstate_of_server(&self) -> Option<&str> {
        match self {
            Self::Ask { source: ask::Error::Refused { sqlstate, .. }, .. } => Some(sqlstate),
            _ => None,
        }
    }

    /// The server cannot lease roles at all: a standby, or a role that may not make roles.
    fn is_incapable(&self) -> bool {
        matches!(self, Self::Standby) || matches!(self.sqlstate_of_server(), Some("42501" | "25006" | "0A000"))
    }

    /// The SQLSTATE that the agent is told.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.sqlstate(),
            Self::NoScope => "42501",
            Self::Full { .. } => "53300",
            Self::Closing => "57P01",
            Self::Standby => "25006",
            Self::Ask { .. }
            | Self::Slow { .. }
            | Self::Answer
            | Self::Nameless
            | Self::Taken { .. }
            | Self::Random(_) => "08004",
        }
    }

    /// What the agent is told: nothing of roles or addresses.
    pub fn to_client(&self) -> String {
        match self {
            Self::Connect(error) => error.to_client(),
            Self::NoScope => "none of your groups has a scope on this resource".to_owned(),
            Self::Full { .. } => "the gate has too many sessions to open or to close just now".to_owned(),
            Self::Closing => "the gate is shutting down; connect again".to_owned(),
            Self::Standby => "the database is a standby, on which the gate can lease no role".to_owned(),
            error if error.sqlstate_of_server() == Some("42501") => {
                "the gate's role may not make or grant what your session needs".to_owned()
            }
            Self::Ask { .. }
            | Self::Slow { .. }
            | Self::Answer
            | Self::Nameless
            | Self::Taken { .. }
            | Self::Random(_) => "the gate could not make a role for your session".to_owned(),
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoScope => "ask the owner of the resource for a scope for one of your groups",
            Self::Full { .. } | Self::Closing | Self::Slow { .. } => "try again later",
            Self::Standby => "connect to the primary, or ask who runs the gate about lease.fallback",
            Self::Nameless => "ask who runs the gate to let it reach the database without a pooler",
            Self::Connect(_) | Self::Ask { .. } | Self::Answer | Self::Taken { .. } | Self::Random(_) => {
                "ask who runs the gate to look at its log and at postern doctor"
            }
        }
    }
}

/// The leased roles of one resource on one node.
pub struct Leases {
    config: Config,
    resource: String,
    owner: Owner,
    desk: Arc<Desk>,
}

/// A role that exists for one session. Dropping it has the role dropped, soon.
#[must_use]
pub struct Lease {
    role: String,
    password: Arc<Secret<String>>,
    desk: Arc<Desk>,
}

impl Lease {
    /// The role's name.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The database, to be logged into as this role.
    pub fn login(&self, database: &upstream::Database) -> upstream::Database {
        database.as_role(&self.role, upstream::Credential::Fixed(self.password.clone()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.desk.ended(std::mem::take(&mut self.role));
    }
}

/// A session that waits for its role.
struct Request {
    subject: Subject,
    view: Arc<crate::resource::View>,
    /// The scope that it asks for by name.
    scope: Option<String>,
    reply: oneshot::Sender<Result<Lease, Error>>,
}

impl Leases {
    /// For one resource.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(config: Config, resource: &str) -> io::Result<Self> {
        let random = secret::random::<8>().map_err(io::Error::other)?;
        let owner = Owner::new(u64::from_be_bytes(random));
        Ok(Self { config, resource: resource.to_owned(), owner, desk: Arc::default() })
    }

    /// What sessions begin with.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.config.settings
    }

    /// Leases a role; none where the session runs as the configured one, since `lease.fallback` says so. `scope`: of that
    /// name, instead of the first that is for a group of the subject; it must be for one all the same.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lease(
        &self,
        view: Arc<crate::resource::View>,
        subject: &Subject,
        scope: Option<&str>,
    ) -> Result<Option<Lease>, Error> {
        let (reply, answer) = oneshot::channel();
        self.desk.request(Request { subject: subject.clone(), view, scope: scope.map(str::to_owned), reply })?;
        match answer.await.unwrap_or(Err(Error::Closing)) {
            Err(error) if error.is_incapable() && self.config.fallback == config::Fallback::Static => {
                tracing::warn!(resource = %self.resource, error = %crate::chain(&error),
                    "no role can be leased, the session runs as the configured one");
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }
}

impl Resource {
    /// Its sessions get roles of their own, if the config says so.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn with_leases(mut self, config: &crate::config::ResourceConfig) -> io::Result<Self> {
        self.leases = config.lease.clone().map(|lease| Leases::new(lease, &config.name)).transpose()?;
        Ok(self)
    }
}

/// Makes and drops roles of every resource until `closing`, then drops those that are left: the work of one thread of
/// the node, which ends after all sessions did.
///
/// # Errors
/// The runtime's.
pub fn run(resources: &BTreeMap<String, Arc<Resource>>, metrics: &Metrics, closing: &Shutdown) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all = resources.values().filter_map(|resource| resource.leases.as_ref());
        futures_util::future::join_all(all.map(|leases| desk::serve(leases, metrics, closing))).await;
    });
    Ok(())
}

/// Seconds since 1970.
fn seconds() -> i64 {
    crate::record::now() / 1_000_000
}
