//! `postern doctor`: ways past the gate, and rights that are larger than they must be, looked for in the database itself.
//!
//! Each check is one question whose rows are what is wrong; [`checks`] has them all. Nothing is changed. What the role that
//! asks may not read is told as not examined, never as good.

mod checks;

use crate::{
    ask, chain,
    config::ResourceConfig,
    resource, scope,
    upstream::{self, Database, Upstream},
};
use std::collections::BTreeMap;

/// Objects that are named of one finding; the rest are counted.
const NAMED: usize = 12;

/// Something that should not be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// What is wrong.
    pub problem: &'static str,
    /// Where: names of objects, settings, roles.
    pub objects: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// What to do.
    pub remedy: &'static str,
}

/// What was examined, and what was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Checks that found nothing.
    pub passed: Vec<&'static str>,
    /// What could not be examined, and why.
    pub unexamined: Vec<(&'static str, String)>,
    /// Leased roles that are in use.
    pub leased: usize,
}

/// What the checks ask with.
struct Ground {
    /// The roles that the gate logs in as.
    own: Vec<String>,
    /// Roles besides that are meant to log in.
    expected: Vec<String>,
    /// Columns that are hidden, as `schema.table.column`.
    protected: Vec<String>,
    /// Relations that are closed, as `schema.name` or `schema.*`.
    closed: Vec<String>,
}

/// Examines a resource's database, as `examiner` if given, or else as the gate's own role. Blocks.
///
/// # Errors
/// The database cannot be reached, in words.
pub fn examine(
    config: &ResourceConfig,
    examiner: Option<(String, upstream::Credential)>,
    expected: &[String],
) -> Result<Report, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let view = resource::read_once(config);
    let own = config.lease.as_ref().map_or(&config.database, |lease| &lease.admin);
    let database = match examiner {
        Some((user, credential)) => own.as_role(&user, credential),
        None => own.clone(),
    }
    .of_any_version();
    let ground = Ground {
        own: [&config.database.user, &own.user].into_iter().cloned().collect(),
        expected: expected.to_vec(),
        protected: match &view {
            Ok(view) => view.bound().protected_names().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        },
        closed: config.rules.closed.clone(),
    };
    runtime.block_on(async {
        let mut report = run(&database, &ground).await?;
        if let Err(reason) = view {
            // not knowing what is protected is no proof that nobody reads it
            for check in checks::OF_PROTECTED {
                report.passed.retain(|passed| passed != check);
                report.unexamined.push((check, format!("the gate cannot read the catalog: {reason}")));
            }
        }
        if let Some(lease) = &config.lease {
            leases(&mut report, lease).await;
        }
        Ok(report)
    })
}

async fn run(database: &Database, ground: &Ground) -> Result<Report, String> {
    let mut report = Report::default();
    let mut upstream = connect(database).await?;
    let version = upstream::major(upstream.parameter("server_version").unwrap_or_default()).unwrap_or_default();
    for check in checks::ALL {
        if version < check.since {
            continue;
        }
        match ask::ask(&mut upstream, &(check.question)(ground)).await {
            Ok(answers) => {
                let rows = answers.into_iter().next().unwrap_or_default();
                let objects = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
                report.note(check.name, check.problem, objects, check.remedy);
            }
            Err(ask::Error::Refused { sqlstate, message }) => {
                report.unexamined.push((check.name, format!("{message} ({sqlstate})")));
            }
            Err(error) => return Err(chain(&error)),
        }
    }
    Ok(report)
}

async fn connect(database: &Database) -> Result<Upstream, String> {
    let parameters =
        [("application_name", "postern doctor"), ("search_path", "pg_catalog"), ("statement_timeout", "60s")];
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    upstream::connect(database, &parameters).await.map_err(|error| chain(&error))
}

async fn leases(report: &mut Report, config: &scope::Config) {
    match scope::inspect(config).await {
        Ok(found) => {
            report.leased = found.used;
            let incapable = found.incapable.into_iter().map(str::to_owned).collect();
            for (check, problem, objects, remedy) in [
                checks::LEASES_LEFT.with(found.left),
                checks::SCOPE_DRIFT.with(found.drifted),
                checks::LEASE_INCAPABLE.with(incapable),
            ] {
                report.note(check, problem, objects, remedy);
            }
        }
        Err(error) => {
            for told in [checks::LEASES_LEFT, checks::SCOPE_DRIFT, checks::LEASE_INCAPABLE] {
                report.unexamined.push((told.name, chain(&error)));
            }
        }
    }
}

impl Report {
    fn note(&mut self, check: &'static str, problem: &'static str, objects: Vec<String>, remedy: &'static str) {
        if objects.is_empty() {
            self.passed.push(check);
            return;
        }
        let count = objects.len();
        let objects = objects.into_iter().take(NAMED).collect();
        self.findings.push(Finding { check, problem, objects, count, remedy });
    }
}
