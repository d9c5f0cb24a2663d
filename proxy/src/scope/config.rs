//! The `[resources.lease]` section: leased roles in the place of one configured role.

use crate::upstream::{CredentialFile, Database};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// The `[resources.lease]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The role that makes the leased roles: CREATEROLE, no superuser. _Default:_ the resource's `user`.
    pub user: Option<String>,
    /// Where its password comes from, where `user` is given. _Default:_ the server trusts the gate.
    pub credential: CredentialFile,
    /// Connections that make and drop leased roles, 1 to 16, beside one that looks after those that nodes left behind.
    /// _Default:_ 2.
    pub connections: usize,
    /// Seconds after which the role of a session is gone whose node died, 4 to 3600. _Default:_ 30.
    pub grace_seconds: u64,
    /// Seconds for which a leased role's password opens anything, 15 to 3600; the gate uses it at once. _Default:_ 120.
    pub login_seconds: u64,
    /// Seconds for which a scope role stays that no session uses, 1 to 86400. _Default:_ 300.
    pub scope_keep_seconds: u64,
    /// Where no role can be leased (a standby, a managed server without CREATEROLE): `refuse`, or `static`, which lets
    /// sessions run as the resource's `user` as without this section. _Default:_ `refuse`.
    pub fallback: Fallback,
    /// What becomes of objects that a session made: `none`, it may make none but temporary ones; `drop`, they go with the
    /// session; `reassign`, they go to `owner`. _Default:_ `none`.
    pub owned: Owned,
    /// The role that gets what sessions made; the gate's role must be a member of it. _Default:_ none.
    pub owner: Option<String>,
    /// Settings that sessions begin with, such as `search_path` or `idle_in_transaction_session_timeout`: a leased role
    /// has none by ALTER ROLE. _Default:_ none.
    pub settings: BTreeMap<String, String>,
    /// Who gets which rights: the first that names a group of the identity. _Default:_ one scope for everybody, with what
    /// the policies allow.
    pub scopes: Vec<ScopeFile>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            user: None,
            credential: CredentialFile::default(),
            connections: 2,
            grace_seconds: 30,
            login_seconds: 120,
            scope_keep_seconds: 300,
            fallback: Fallback::Refuse,
            owned: Owned::None,
            owner: None,
            settings: BTreeMap::new(),
            scopes: Vec::new(),
        }
    }
}

/// What is done where no role can be leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// No session.
    Refuse,
    /// A session as the resource's configured role.
    Static,
}

/// What becomes of what a session made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owned {
    /// No right to make anything; what is there all the same is dropped.
    None,
    /// It is dropped.
    Drop,
    /// It gets another owner.
    Reassign,
}

/// One entry of `[[resources.lease.scopes]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeFile {
    /// Its name: 1 to 24 lower case letters, digits, `_`.
    pub name: String,
    /// Groups that it is for. _Default:_ none, for everybody.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What it may do. _Default:_ none, what the policies could allow the identity.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

/// One entry of a scope's `grants`. Names are `schema.name`; `*` stands for any run of letters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// Tables, views, materialized views and foreign tables. _Default:_ none.
    pub tables: Vec<String>,
    /// Columns of these tables, for `select`, `insert` and `update`. _Default:_ none, the whole tables.
    pub columns: Vec<String>,
    /// Sequences. _Default:_ none; those behind the defaults of tables with `insert` come with them.
    pub sequences: Vec<String>,
    /// What may be done with them: `select`, `insert`, `update`, `delete`, `truncate`, `references`, `trigger`,
    /// `maintain`; for sequences `usage`, `select`, `update`. _Default:_ `select`; for sequences `usage`.
    pub privileges: Vec<String>,
    /// Functions and procedures that may be called. _Default:_ none.
    pub functions: Vec<String>,
    /// Schemas in which tables may be made. _Default:_ none.
    pub create_in: Vec<String>,
    /// Temporary tables may be made. _Default:_ false.
    pub temporary: bool,
    /// Existing roles whose rights it has: the gate's role must have them WITH ADMIN OPTION. _Default:_ none.
    pub roles: Vec<String>,
}

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database, with the role that makes leased roles.
    pub admin: Database,
    /// Connections that make and drop.
    pub connections: usize,
    /// After which the role of a dead node's session is gone.
    pub grace: Duration,
    /// For which a password opens anything.
    pub login: Duration,
    /// For which an unused scope role stays.
    pub scope_keep: Duration,
    /// Where no role can be leased.
    pub fallback: Fallback,
    /// What becomes of what sessions made.
    pub owned: Owned,
    /// Who gets it.
    pub owner: Option<String>,
    /// What sessions begin with.
    pub settings: BTreeMap<String, String>,
    /// Who gets what; never empty.
    pub scopes: Vec<ScopeFile>,
}

impl File {
    /// Checks the section; `database` is the resource's.
    ///
    /// # Errors
    /// All problems.
    pub fn check(self, database: &Database) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        for (key, value, least, most) in [
            ("connections", self.connections as u64, 1, 16),
            ("grace_seconds", self.grace_seconds, 4, 3600),
            ("login_seconds", self.login_seconds, 15, 3600),
            ("scope_keep_seconds", self.scope_keep_seconds, 1, 86_400),
        ] {
            if !(least..=most).contains(&value) {
                problems.push(format!("lease.{key}: is not within {least} to {most}"));
            }
        }
        if (self.owned == Owned::Reassign) != self.owner.is_some() {
            problems.push("lease.owner: belongs to owned = \"reassign\", and only to it".to_owned());
        }
        if self.fallback == Fallback::Static && self.user.as_ref().is_none_or(|user| *user == database.user) {
            let why = "without a lease.user of its own sessions would run as the role that makes roles";
            problems.push(format!("lease.fallback: {why}"));
        }
        for name in self.settings.keys().filter(|name| PINNED.contains(&name.to_ascii_lowercase().as_str())) {
            problems.push(format!("lease.settings: {name} is the gate's own"));
        }
        let admin = match self.user {
            Some(user) => match self.credential.check() {
                Ok(credential) => database.as_role(&user, credential),
                Err(more) => {
                    problems.extend(more.into_iter().map(|problem| format!("lease.credential.{problem}")));
                    database.clone()
                }
            },
            None => database.clone(),
        };
        let mut scopes = self.scopes;
        if scopes.is_empty() {
            scopes.push(ScopeFile { name: "policy".to_owned(), groups: Vec::new(), grants: Vec::new() });
        }
        let mut seen = std::collections::BTreeSet::new();
        for scope in &scopes {
            problems.extend(scope.problems(seen.insert(scope.name.clone())));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            admin,
            connections: self.connections,
            grace: Duration::from_secs(self.grace_seconds),
            login: Duration::from_secs(self.login_seconds),
            scope_keep: Duration::from_secs(self.scope_keep_seconds),
            fallback: self.fallback,
            owned: self.owned,
            owner: self.owner,
            settings: self.settings,
            scopes,
        })
    }
}

/// Resources whose sessions run as the role that makes the leased roles of another resource of the same server: agents would
/// be what makes and drops roles, and could pass for a node.
pub fn conflicts(resources: &[(&str, &Database, Option<&Config>)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, database, _) in resources.iter().filter(|(_, _, lease)| lease.is_none()) {
        let shares = |lease: &Config| {
            let admin = &lease.admin;
            (&admin.host, admin.port, &admin.user) == (&database.host, database.port, &database.user)
        };
        let leased = resources.iter().find(|(_, _, lease)| lease.as_ref().is_some_and(|lease| shares(lease)));
        if let Some((other, _, _)) = leased {
            let user = &database.user;
            problems.push(format!(
                "resource {name:?}: its sessions run as {user}, which makes the leased roles of {other:?}: \
                 give it [resources.lease] too, or another user"
            ));
        }
    }
    problems
}

impl ScopeFile {
    fn problems(&self, first: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let name = &self.name;
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 24 || !name.bytes().all(letter) {
            problems.push(format!("lease.scopes: the name {name:?} is not 1 to 24 lower case letters, digits, `_`"));
        }
        if !first {
            problems.push(format!("lease.scopes: there are two of the name {name:?}"));
        }
        for grant in &self.grants {
            for pattern in grant.tables.iter().chain(&grant.sequences).chain(&grant.functions) {
                if pattern.split('.').count() != 2 || pattern.split('.').any(str::is_empty) {
                    problems.push(format!("lease scope {name:?}: {pattern:?} is not schema.name"));
                }
            }
            let known = if grant.sequences.is_empty() { TABLE } else { SEQUENCE };
            for privilege in grant.privileges.iter().filter(|privilege| !known.contains(&privilege.as_str())) {
                problems.push(format!("lease scope {name:?}: {privilege:?} is none of {}", known.join(", ")));
            }
            if !grant.tables.is_empty() && !grant.sequences.is_empty() {
                problems.push(format!("lease scope {name:?}: tables and sequences need grants of their own"));
            }
            let partial = |privilege: &String| matches!(privilege.as_str(), "select" | "insert" | "update");
            if !grant.columns.is_empty() && !grant.privileges.iter().all(partial) {
                problems.push(format!("lease scope {name:?}: columns go with select, insert and update"));
            }
        }
        problems
    }
}

/// Privileges of tables.
const TABLE: &[&str] = &["select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain"];

/// Privileges of sequences.
const SEQUENCE: &[&str] = &["usage", "select", "update"];

/// Startup parameters that stay the gate's.
const PINNED: &[&str] = &[
    "client_encoding",
    "standard_conforming_strings",
    "backslash_quote",
    "user",
    "database",
    "replication",
    "options",
    "role",
    "session_authorization",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::DatabaseFile;

    fn database() -> Database {
        let file: DatabaseFile = toml::from_str("database = 'shop'\nuser = 'gate'").unwrap();
        file.check().unwrap()
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = "connections = 0\ngrace_seconds = 1\nowned = 'reassign'\nfallback = 'static'\n\
                    settings = { Client_Encoding = 'LATIN1' }\n\
                    [[scopes]]\nname = 'Big Name'\n[[scopes]]\nname = 'a'\n[[scopes]]\nname = 'a'\n\
                    grants = [{ tables = ['orders'] }, { tables = ['public.t'], privileges = ['drop'] }, \
                    { tables = ['public.t'], columns = ['id'], privileges = ['delete'] }]";
        let file: File = toml::from_str(text).unwrap();
        let told = file.check(&database()).unwrap_err().join("\n");
        for part in [
            "lease.connections",
            "lease.grace_seconds",
            "lease.owner",
            "lease.fallback",
            "Client_Encoding",
            "\"Big Name\"",
            "two of the name \"a\"",
            "\"orders\" is not schema.name",
            "\"drop\" is none of",
            "columns go with",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn no_session_runs_as_the_role_that_makes_roles() {
        let (gate, lease) = (database(), File::default().check(&database()).unwrap());
        let other = gate.as_role("app", crate::upstream::Credential::None);
        let problems = conflicts(&[("shop", &gate, Some(&lease)), ("crm", &gate, None), ("erp", &other, None)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("\"crm\"") && problems[0].contains("\"shop\""), "{problems:?}");
        assert!(conflicts(&[("crm", &gate, None), ("erp", &gate, None)]).is_empty());
    }

    #[test]
    fn nothing_said_is_one_scope_by_the_policies() {
        let config = File::default().check(&database()).unwrap();
        assert_eq!((config.scopes.len(), config.scopes[0].grants.len(), config.fallback), (1, 0, Fallback::Refuse));
        assert_eq!(config.admin.user, "gate");
        assert!(toml::from_str::<File>("conections = 3").is_err(), "an unknown key");
    }
}
