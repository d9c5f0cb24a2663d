//! Table tests: statements, who sends them, and what must become of them. `docs/policies.md` has the form.

use super::trial::{Ground, Tried, word};
use crate::arguments::{Global, Output};
use crate::failure::Failure;
use crate::{config, output};
use anyhow::{Context as _, anyhow};
use judge::policy::{Bound, Context, Masking, Rules, Subject};
use judge::sql::Catalog;
use proxy::policies::PolicyFiles;
use schemas::{Identity, IdentityKind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A file of tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The resource's name, as policies see it.
    #[serde(default = "resource")]
    resource: String,
    /// Policy files and folders, from this file's folder.
    #[serde(default)]
    policies: Vec<PathBuf>,
    /// As in the config.
    #[serde(default)]
    connect_groups: Vec<String>,
    /// As in the config.
    #[serde(default)]
    masking: Vec<Masking>,
    /// As in the config.
    #[serde(default)]
    closed: Vec<String>,
    /// As in the config.
    #[serde(default)]
    functions: Vec<String>,
    /// As `guardrails.off` in the config.
    #[serde(default)]
    guardrails_off: Vec<String>,
    /// The schemas of the search path.
    #[serde(default = "search_path")]
    search_path: Vec<String>,
    /// The tables that there are, `schema.table`, each with its columns.
    #[serde(default)]
    tables: BTreeMap<String, Vec<String>>,
    /// The tests.
    #[serde(default, rename = "test")]
    tests: Vec<Test>,
}

/// One test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The statement.
    sql: String,
    /// Who sends it.
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default = "subject")]
    subject: String,
    #[serde(default)]
    human: bool,
    #[serde(default)]
    application_name: String,
    /// When, as RFC 3339. _Default:_ a Wednesday at noon, UTC.
    #[serde(default = "noon")]
    at: String,
    /// A reviewer agreed.
    #[serde(default)]
    approved: bool,
    /// The planner's estimate of its rows. _Default:_ not asked.
    estimated_rows: Option<i64>,
    /// The planner's estimate of its cost. _Default:_ not asked.
    estimated_cost: Option<i64>,
    /// What must become of it: allow, mask, hold or deny.
    verdict: String,
    /// A policy that must be among those that decide.
    policy: Option<String>,
    /// The columns that must be masked, all of them.
    masked: Option<BTreeSet<String>>,
}

fn resource() -> String {
    "shop".to_owned()
}

fn search_path() -> Vec<String> {
    vec!["public".to_owned()]
}

fn subject() -> String {
    "agent".to_owned()
}

fn noon() -> String {
    "2026-01-07T12:00:00Z".to_owned()
}

/// Reads RFC 3339 as milliseconds since 1970.
pub fn moment(text: &str) -> anyhow::Result<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("{text:?} is not a time as RFC 3339"))?;
    Ok(i64::try_from(time.unix_timestamp_nanos() / 1_000_000)?)
}

/// Who, for the policies.
pub fn asker(subject: &str, groups: &[String], human: bool, application_name: &str) -> Subject {
    let identity = Identity {
        kind: if human { IdentityKind::Human } else { IdentityKind::Machine },
        subject: subject.to_owned(),
        issuer: String::new(),
        name: subject.to_owned(),
        groups: groups.to_vec(),
        on_behalf_of: Vec::new(),
        task: None,
    };
    Subject::new(&identity, application_name)
}

impl File {
    /// Reads a file of tests.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?)
    }

    /// Its search path.
    pub fn search_path(&self) -> &[String] {
        &self.search_path
    }

    /// Its tables under its policies.
    pub fn ground(&self, path: &Path) -> Result<(Catalog, Bound), Failure> {
        let mut base = Rules::default();
        base.resource.clone_from(&self.resource);
        base.connect_groups.clone_from(&self.connect_groups);
        base.masking.clone_from(&self.masking);
        base.closed.clone_from(&self.closed);
        base.functions.clone_from(&self.functions);
        base.guardrails_off.clone_from(&self.guardrails_off);
        // no value is masked here: any key does
        let base = base.with_key(&[0; 32]);
        let folder = path.parent().unwrap_or(Path::new("."));
        let policies = self.policies.iter().map(|policy| folder.join(policy)).collect();
        let files = PolicyFiles { base, policies, classification: None };
        let rules = files.read().and_then(|contents| files.rules(&contents));
        let rules = rules.map_err(|problems| Failure::Unsound(problems.join("\n")))?;
        let catalog = Catalog::of_tables(&self.tables)?;
        let bound = rules.bind(&catalog);
        if let Some(unknown) = bound.unknown().next() {
            return Err(anyhow!("{}: masking names {unknown}, which no table has", path.display()).into());
        }
        Ok((catalog, bound))
    }
}

impl Test {
    fn run(&self, ground: &Ground<'_>) -> Result<(Tried, Vec<String>), Failure> {
        let who = asker(&self.subject, &self.groups, self.human, &self.application_name);
        let (estimated_rows, estimated_cost) = (self.estimated_rows, self.estimated_cost);
        let context = Context { now: moment(&self.at)?, approved: self.approved, estimated_rows, estimated_cost };
        let tried = ground.try_out(&self.sql, &who, &context);
        let mut wrong = Vec::new();
        if word(tried.verdict) != self.verdict {
            let why = if tried.reason.is_empty() { String::new() } else { format!(" ({})", tried.reason) };
            wrong.push(format!("{}, not {}{why}", word(tried.verdict), self.verdict));
        }
        if let Some(policy) = &self.policy
            && !tried.policies.contains(policy)
        {
            wrong.push(format!("decided by {}, not {policy}", tried.policies.join(", ")));
        }
        if let Some(masked) = &self.masked
            && *masked != tried.masked
        {
            wrong.push(format!("masked are {:?}, not {masked:?}", tried.masked));
        }
        Ok((tried, wrong))
    }
}

/// The files that are meant, folders opened.
fn listed(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(".test.toml")) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() { Err(Failure::NotFound("there are no files of tests".to_owned())) } else { Ok(found) }
}

/// Runs the tests of files.
pub fn run(global: &Global, files: &[PathBuf], resource: Option<&str>) -> Result<(), Failure> {
    let live = match resource {
        Some(name) => {
            let config = config::load(global)?;
            let view = proxy::resource::read_once(super::registered(&config, name)?);
            Some(view.map_err(|reason| anyhow!("cannot read the catalog of {name}: {reason}"))?)
        }
        None => None,
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for path in listed(files)? {
        let file = File::read(&path)?;
        let own = if live.is_none() { Some(file.ground(&path)?) } else { None };
        let (catalog, bound) = match (&live, &own) {
            (Some(view), _) => (view.catalog(), view.bound()),
            (None, Some((catalog, bound))) => (catalog, bound),
            (None, None) => continue,
        };
        let ground = Ground { catalog, bound, search_path: file.search_path() };
        for (number, test) in (1..).zip(&file.tests) {
            count += 1;
            let (tried, problems) = test.run(&ground)?;
            if global.output == Output::Json {
                output::line(&result(&path, number, test, &tried, &problems).to_string())?;
            }
            wrong.extend(problems.iter().map(|text| format!("{} test {number}: {}: {text}", path.display(), test.sql)));
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Unsound(format!("{}\n{} of {count} tests failed", wrong.join("\n"), wrong.len())));
    }
    if global.output == Output::Text {
        output::line(&format!("{count} tests passed"))?;
    }
    Ok(())
}

fn result(path: &Path, number: usize, test: &Test, tried: &Tried, problems: &[String]) -> Value {
    json!({
        "file": path.display().to_string(),
        "test": number,
        "sql": test.sql,
        "verdict": word(tried.verdict),
        "policies": tried.policies,
        "masked": tried.masked,
        "passed": problems.is_empty(),
        "problems": problems,
    })
}
