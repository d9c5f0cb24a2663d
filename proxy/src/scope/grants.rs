//! Scope roles: what is wanted meets what the gate's role can give, and becomes a role that has exactly that.
//!
//! A scope role is made in one transaction, so that it is there whole or not at all, and its comment says what it holds. It
//! never changes: other rights have another digest, and so another role.
//!
//! Grants of two nodes on the same tables would abort each other, so one scope role is made or dropped at a time. An
//! advisory lock would be an agent's to take, with the key that stands here for everybody to read. What an agent cannot do is
//! to make a role: so who makes or drops a scope role first makes one of a certain name, which no second transaction can while
//! the first is open, and drops it before the end. Nobody ever sees it.

use super::{
    Error,
    admin::Admin,
    held::Held,
    names::{SCOPE, ident, literal, texts},
    wanted::Wanted,
};
use crate::ask::{self, Rows};
use std::collections::BTreeSet;

/// Begins the name of the role that only one transaction of a server can make at a time.
const TURN: &str = "postern_turn";

/// How long others' turns are waited for, and in a turn, what somebody else is changing; milliseconds.
const TURN_WAIT: u32 = 8_000;
const GRANT_WAIT: u32 = 1_500;
const DROP_WAIT: u32 = 200;

/// Waits for the turn to change scope roles, until the end of the transaction.
fn turn() -> String {
    format!("SET LOCAL lock_timeout = {TURN_WAIT}; CREATE ROLE {TURN} NOLOGIN;")
}

/// Keeps a scope role from being dropped until the end of the transaction: takes a lock on it, fails where it is gone, and
/// changes nothing.
pub(super) fn join(scope: &str) -> String {
    format!("ALTER ROLE {} RESET application_name;", ident(scope))
}

/// A scope role that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) role: String,
    /// Privileges that were wanted and that the gate's role cannot give.
    pub(super) short: usize,
}

/// Makes sure that there is a scope role with what is wanted, as far as the gate's role can give it.
pub(super) async fn ensure(admin: &mut Admin, name: &str, wanted: &Wanted) -> Result<Scope, Error> {
    let answers = admin.ask("finding out what can be granted", &question(admin, wanted)).await?;
    let maintains = admin.version >= 17;
    let known = |privilege: &str| maintains || privilege != "MAINTAIN";
    let total = wanted.relations.keys().filter(|(_, privilege)| known(privilege)).count() + wanted.functions.len();
    let (held, given) = held(wanted, &answers)?;
    let short = total.saturating_sub(given);
    let digest = held.digest(admin.database);
    let statements = held.statements();
    let role = format!("{SCOPE}{name}_{}", digest.get(..8).unwrap_or_default());
    let comment = comment(admin.database, &digest);
    if there(admin, &role, &comment).await? {
        return Ok(Scope { role, short });
    }
    let quoted = ident(&role);
    let mut sql = format!("{} SET LOCAL lock_timeout = {GRANT_WAIT}; CREATE ROLE {quoted} NOLOGIN;", turn());
    for statement in &statements {
        sql.push_str(&format!("GRANT {statement} TO {quoted};"));
    }
    // last, for whoever reads it: the role is whole
    let made = format!("{comment} made {}", super::seconds());
    sql.push_str(&format!("COMMENT ON ROLE {quoted} IS {}; DROP ROLE {TURN}", literal(&made)));
    match admin.ask("making a scope role", &sql).await {
        Ok(_) => {
            tracing::info!(%role, grants = statements.len(), short, "scope role made");
            Ok(Scope { role, short })
        }
        // another node was first
        Err(error) if error.sqlstate_of_server() == Some("42710") => {
            if there(admin, &role, &comment).await? {
                Ok(Scope { role, short })
            } else {
                // it is no scope role that stands in the way
                Err(Error::Taken { role: TURN.to_owned() })
            }
        }
        Err(error) => Err(error),
    }
}

/// Begins the comment of a scope role.
fn comment(database: u32, digest: &str) -> String {
    format!("postern scope of database {database}, grants {digest},")
}

/// The database in a comment; none where the gate did not write it.
fn of_database(comment: &str) -> Option<u32> {
    comment.strip_prefix("postern scope of database ")?.split(',').next()?.parse().ok()
}

async fn there(admin: &mut Admin, role: &str, comment: &str) -> Result<bool, Error> {
    let sql = format!(
        "SELECT pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles WHERE rolname = {}",
        literal(role)
    );
    let answers = admin.ask("looking for a scope role", &sql).await?;
    let Some(row) = answers.first().and_then(|rows| rows.first()) else { return Ok(false) };
    match row.first() {
        Some(Some(found)) if found.starts_with(comment) => Ok(true),
        _ => Err(Error::Taken { role: role.to_owned() }),
    }
}

/// What of it the gate's role may grant, and what everybody has anyway. Five answers: relations, sequences behind
/// defaults, functions, schemas, the database.
fn question(admin: &Admin, wanted: &Wanted) -> String {
    let (mut ids, mut privileges, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    // MAINTAIN came with 17
    let known = wanted.relations.iter().filter(|((_, privilege), _)| admin.version >= 17 || *privilege != "MAINTAIN");
    for ((id, privilege), numbers) in known {
        let numbers: Vec<i16> = if numbers.is_empty() { vec![0] } else { numbers.iter().copied().collect() };
        for number in numbers {
            ids.push(id.to_string());
            privileges.push(*privilege);
            columns.push(number.to_string());
        }
    }
    let privileges = texts(privileges);
    let (ids, columns) = (ids.join(","), columns.join(","));
    // a table whose rights the gate has by column is granted by column
    let relations = format!(
        "SELECT n.nspname::text, c.relname::text, c.relkind::text, w.p, coalesce(a.attname::text, '') \
         FROM (SELECT w.o, w.p, w.n AS n, CASE WHEN w.n <> 0 THEN false WHEN c.relkind = 'S' \
           THEN has_sequence_privilege(c.oid, w.p || ' WITH GRANT OPTION') \
           ELSE has_table_privilege(c.oid, w.p || ' WITH GRANT OPTION') END AS whole, c.relkind AS k \
           FROM unnest(ARRAY[{ids}]::oid[], {privileges}, ARRAY[{columns}]::int2[]) AS w(o, p, n) \
           JOIN pg_class c ON c.oid = w.o) w \
         JOIN pg_class c ON c.oid = w.o JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_attribute a ON NOT w.whole AND w.k <> 'S' AND w.p IN ('SELECT', 'INSERT', 'UPDATE') \
           AND a.attrelid = c.oid AND NOT a.attisdropped AND (a.attnum = w.n OR (w.n = 0 AND a.attnum > 0)) \
         WHERE CASE WHEN w.whole THEN true WHEN a.attnum IS NULL THEN false \
           ELSE has_column_privilege(c.oid, a.attnum, w.p || ' WITH GRANT OPTION') END"
    );
    let inserted: Vec<String> =
        wanted.relations.keys().filter(|(_, p)| *p == "INSERT").map(|(id, _)| id.to_string()).collect();
    let sequences = format!(
        "SELECT DISTINCT n.nspname::text, s.relname::text FROM pg_attrdef f \
         JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid \
           AND d.refclassid = 'pg_class'::regclass \
         JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace \
         WHERE f.adrelid = ANY (ARRAY[{}]::oid[]) \
         AND CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(s.oid, 'USAGE WITH GRANT OPTION') ELSE false END",
        inserted.join(",")
    );
    let functions = format!(
        "SELECT n.nspname::text, p.oid::regprocedure::text, has_function_privilege('public', p.oid, 'EXECUTE')::text, \
         has_function_privilege(p.oid, 'EXECUTE WITH GRANT OPTION')::text \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname || '.' || p.proname = ANY ({}) AND p.prorettype <> 'trigger'::regtype",
        texts(wanted.functions.iter().map(String::as_str))
    );
    let schemas = "SELECT nspname::text, has_schema_privilege('public', oid, 'USAGE')::text, \
         has_schema_privilege(oid, 'USAGE WITH GRANT OPTION')::text, \
         has_schema_privilege(oid, 'CREATE WITH GRANT OPTION')::text \
         FROM pg_namespace WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";
    let database = "SELECT datname::text, has_database_privilege('public', oid, 'CONNECT')::text, \
         has_database_privilege('public', oid, 'TEMP')::text, \
         has_database_privilege(oid, 'CONNECT WITH GRANT OPTION')::text, \
         has_database_privilege(oid, 'TEMP WITH GRANT OPTION')::text \
         FROM pg_database WHERE datname = current_database()";
    format!("{relations}; {sequences}; {functions}; {schemas}; {database}")
}

/// What of it can be given, and how many of the privileges that are wanted that is.
fn held(wanted: &Wanted, answers: &[Rows]) -> Result<(Held, usize), Error> {
    let [relations, sequences, functions, schemas, database] = answers else { return Err(Error::Answer) };
    let mut held = Held::default();
    let mut used = BTreeSet::new();
    for row in relations {
        let [Some(schema), Some(name), Some(kind), Some(privilege), Some(column)] = row.as_slice() else {
            return Err(Error::Answer);
        };
        held.relation(schema, name, kind, privilege, column);
        used.insert(schema.clone());
    }
    let mut given = held.on_relations();
    for row in sequences {
        let [Some(schema), Some(name)] = row.as_slice() else { return Err(Error::Answer) };
        held.relation(schema, name, "S", "USAGE", "");
        used.insert(schema.clone());
    }
    for row in functions {
        let [Some(schema), Some(signature), Some(everybody), Some(can)] = row.as_slice() else {
            return Err(Error::Answer);
        };
        if everybody != "true" && can == "true" {
            held.other(format!("EXECUTE ON ROUTINE {signature}"));
        }
        if everybody == "true" || can == "true" {
            given += 1;
            used.insert(schema.clone());
        }
    }
    for row in schemas {
        let [Some(schema), Some(everybody), Some(usage), Some(create)] = row.as_slice() else {
            return Err(Error::Answer);
        };
        let creates = wanted.create_in.contains(schema);
        if (creates || used.contains(schema)) && everybody != "true" && usage == "true" {
            held.other(format!("USAGE ON SCHEMA {}", ident(schema)));
        }
        if creates && create == "true" {
            held.other(format!("CREATE ON SCHEMA {}", ident(schema)));
        }
    }
    let [row] = database.as_slice() else { return Err(Error::Answer) };
    let [Some(name), Some(connect), Some(temp), Some(may_connect), Some(may_temp)] = row.as_slice() else {
        return Err(Error::Answer);
    };
    if connect != "true" && may_connect == "true" {
        held.other(format!("CONNECT ON DATABASE {}", ident(name)));
    }
    if wanted.temporary && temp != "true" && may_temp == "true" {
        held.other(format!("TEMPORARY ON DATABASE {}", ident(name)));
    }
    for role in &wanted.roles {
        held.other(ident(role));
    }
    Ok((held, given))
}

/// The scope roles of this database that do not hold what they were made with.
pub(super) async fn drifted(admin: &mut Admin) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT r.rolname::text, coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), ''), \
         (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolbypassrls OR r.rolreplication)::text \
         FROM pg_catalog.pg_roles r WHERE pg_catalog.starts_with(r.rolname::text, {}) ORDER BY 1",
        literal(SCOPE)
    );
    let answers = admin.ask("listing scope roles", &sql).await?;
    let mut drifted = Vec::new();
    for row in answers.first().into_iter().flatten() {
        let [Some(role), Some(made), Some(flagged)] = row.as_slice() else { return Err(Error::Answer) };
        if made.starts_with("postern scope of database ")
            && !made.starts_with(&format!("postern scope of database {},", admin.database))
        {
            continue;
        }
        let answers = admin.ask("reading what a scope role holds", &Held::question(role)).await?;
        let digest = Held::read(&answers)?.digest(admin.database);
        if flagged == "true" || !made.starts_with(&comment(admin.database, &digest)) {
            drifted.push(role.clone());
        }
    }
    Ok(drifted)
}

/// Drops scope roles that no leased role is a member of, made longer ago than `age` seconds: those of this database, and of
/// such as are none of `databases` any more.
pub(super) async fn drop_unused(admin: &mut Admin, age: i64, databases: &BTreeSet<u32>) -> Result<usize, Error> {
    let sql = format!(
        "SELECT r.rolname::text, coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') FROM pg_catalog.pg_roles r \
         WHERE pg_catalog.starts_with(r.rolname::text, {}) AND NOT EXISTS ({})",
        literal(SCOPE),
        MEMBERS
    );
    let answers = admin.ask("looking for unused scope roles", &sql).await?;
    let mut count = 0;
    for row in answers.first().into_iter().flatten() {
        let [Some(role), Some(comment)] = row.as_slice() else { continue };
        let made = comment.rsplit(' ').next().and_then(|made| made.parse::<i64>().ok());
        let near = of_database(comment).is_some_and(|of| of == admin.database || !databases.contains(&of));
        if near && made.is_some_and(|made| super::seconds() - made > age) {
            count += usize::from(drop_one(admin, role).await?);
        }
    }
    Ok(count)
}

/// The leased roles that are members of `r`.
const MEMBERS: &str = "SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles l ON l.oid = m.member \
     WHERE m.roleid = r.oid AND pg_catalog.starts_with(l.rolname::text, 'postern_lease_')";

/// The leased roles that are members of nothing. Each joins its scope role as it is made: one that is of none lost it.
const LONE: &str = "SELECT l.rolname::text FROM pg_catalog.pg_roles l WHERE pg_catalog.starts_with(l.rolname::text, 'postern_lease_') \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = l.oid)";

async fn drop_one(admin: &mut Admin, role: &str) -> Result<bool, Error> {
    let quoted = ident(role);
    let look = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; {} SET LOCAL lock_timeout = {DROP_WAIT}; \
         SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.rolname = {} AND NOT EXISTS ({MEMBERS}); {LONE}",
        turn(),
        literal(role)
    );
    let inherit = if admin.version >= 16 { " WITH INHERIT TRUE" } else { "" };
    // a session may have joined since that was looked at: it holds the role until it is its member, DROP ROLE waits for
    // that and then takes the membership too, and the transaction is rolled back
    let sql =
        format!("GRANT {quoted} TO CURRENT_USER{inherit}; DROP OWNED BY {quoted}; DROP ROLE {quoted}, {TURN}; {LONE}");
    let dropped = match admin.ask("looking at a scope role", &look).await {
        Ok(seen) if seen.first().is_some_and(|rows| !rows.is_empty()) => {
            let before = seen.get(1).cloned().unwrap_or_default();
            let after = admin.ask("dropping a scope role", &sql).await;
            after.map(|after| after.first().is_some_and(|after| after.iter().all(|lone| before.contains(lone))))
        }
        Ok(_) => Ok(false),
        Err(error) => Err(error),
    };
    match dropped {
        Ok(true) => {
            admin.ask("dropping a scope role", "COMMIT").await?;
            tracing::info!(%role, "unused scope role dropped");
            Ok(true)
        }
        Ok(false) => admin.ask("leaving a scope role", "ROLLBACK").await.map(|_| false),
        Err(error @ Error::Ask { source: ask::Error::Refused { .. }, .. }) => {
            tracing::warn!(%role, error = %crate::chain(&error), "an unused scope role could not be dropped");
            admin.ask("leaving a scope role", "ROLLBACK").await.map(|_| false)
        }
        Err(error) => Err(error),
    }
}
