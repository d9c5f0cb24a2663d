//! Every check: what is asked, what its rows mean, and what to do about them. Each question gives one column of text.

use super::Ground;
use crate::scope::names::texts;

/// One check.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) problem: &'static str,
    pub(super) remedy: &'static str,
    /// The first version of the server that can be asked.
    pub(super) since: u32,
    pub(super) question: fn(&Ground) -> String,
}

/// A check that is no question.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) name: &'static str,
    problem: &'static str,
    remedy: &'static str,
}

impl Told {
    pub(super) fn with(self, objects: Vec<String>) -> (&'static str, &'static str, Vec<String>, &'static str) {
        (self.name, self.problem, objects, self.remedy)
    }
}

pub(super) const LEASES_LEFT: Told = Told {
    name: "leases-left",
    problem: "leased roles are left whose node is gone",
    remedy: "start a node with this resource: it drops them after lease.grace_seconds; or DROP ROLE",
};

pub(super) const SCOPE_DRIFT: Told = Told {
    name: "scope-drift",
    problem: "scope roles do not hold what the gate made them with",
    remedy: "somebody granted or revoked by hand, or dropped a table: let sessions end, then DROP OWNED BY and \
             DROP ROLE as the gate's role; the gate makes a new one",
};

pub(super) const LEASE_INCAPABLE: Told = Told {
    name: "lease-incapable",
    problem: "no role can be leased here",
    remedy: "ALTER ROLE ... CREATEROLE for the role that makes roles; on a standby or without that right, see lease.fallback",
};

const HARDEN: &str = "run deploy/config/harden.sql in this database";

/// Schemas that are not PostgreSQL's own.
const OWN_SCHEMA: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

fn gate(ground: &Ground) -> String {
    texts(ground.own.iter().map(String::as_str))
}

fn known(ground: &Ground) -> String {
    texts(ground.own.iter().chain(&ground.expected).map(String::as_str))
}

/// Relations and columns that are protected, as a table of oid and attribute number; 0 for the whole.
fn protected(ground: &Ground) -> String {
    let columns = texts(ground.protected.iter().map(String::as_str));
    let closed = texts(ground.closed.iter().map(String::as_str));
    format!(
        "(SELECT c.oid, a.attnum, n.nspname || '.' || c.relname || '.' || a.attname AS name FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
         AND NOT a.attisdropped WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND ( \
         n.nspname || '.' || c.relname || '.' || a.attname = ANY ({columns}) \
         OR n.nspname || '.' || c.relname = ANY ({closed}) OR n.nspname || '.*' = ANY ({closed}))) p"
    )
}

/// Those that ask about what is masked or closed.
pub(super) const OF_PROTECTED: &[&str] = &["public-protected", "direct-reader"];

/// All of them, in the order in which they are told.
pub(super) const ALL: &[Check] = &[
    Check {
        name: "version",
        problem: "the server is of a version that the gate was not tested with",
        remedy: "use PostgreSQL 13 to 18",
        since: 0,
        question: |_| {
            "SELECT current_setting('server_version') \
             WHERE current_setting('server_version_num')::int / 10000 NOT BETWEEN 13 AND 18"
                .to_owned()
        },
    },
    Check {
        name: "gate-superuser",
        problem: "the gate's role has attributes that no role of a gate needs",
        remedy: "ALTER ROLE ... NOSUPERUSER NOBYPASSRLS NOREPLICATION NOCREATEDB",
        since: 0,
        question: |ground| {
            format!(
                "SELECT r.rolname || ': ' || concat_ws(', ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END, \
                 CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END, \
                 CASE WHEN r.rolcreatedb THEN 'CREATEDB' END) FROM pg_roles r WHERE r.rolname = ANY ({}) \
                 AND (r.rolsuper OR r.rolbypassrls OR r.rolreplication OR r.rolcreatedb)",
                gate(ground)
            )
        },
    },
    Check {
        name: "gate-member",
        problem: "the gate's role is a member of roles that read or write everything, files or programs",
        remedy: "REVOKE the membership; grant what agents need on the tables instead",
        since: 0,
        question: |ground| {
            format!(
                "SELECT m.rolname || ' is a member of ' || g.rolname FROM pg_roles m, pg_roles g \
                 WHERE m.rolname = ANY ({}) AND NOT m.rolsuper AND pg_has_role(m.oid, g.oid, 'MEMBER') \
                 AND (g.rolsuper OR g.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', \
                 'pg_write_server_files', 'pg_execute_server_program', 'pg_maintain', 'pg_create_subscription'))",
                gate(ground)
            )
        },
    },
    Check {
        name: "public-database",
        problem: "everybody may connect to the database, or make schemas or temporary tables in it",
        remedy: HARDEN,
        since: 0,
        question: |_| {
            "SELECT p || ' on ' || current_database() FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) p \
             WHERE has_database_privilege('public', current_database(), p)"
                .to_owned()
        },
    },
    Check {
        name: "public-schema",
        problem: "everybody may make objects in schemas",
        remedy: HARDEN,
        since: 0,
        question: |_| {
            format!(
                "SELECT n.nspname::text FROM pg_namespace n WHERE {OWN_SCHEMA} \
                 AND has_schema_privilege('public', n.oid, 'CREATE')"
            )
        },
    },
    Check {
        name: "public-function",
        problem: "everybody may call functions of the database; SECURITY DEFINER ones read what their caller may not",
        remedy: HARDEN,
        since: 0,
        question: |_| {
            format!(
                "SELECT p.oid::regprocedure || CASE WHEN p.prosecdef THEN ' (SECURITY DEFINER)' ELSE '' END \
                 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {OWN_SCHEMA} \
                 AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.prosecdef DESC, 1"
            )
        },
    },
    Check {
        name: "text-function",
        problem: "everybody may call functions that run SQL given as text, write large objects, or reach other sessions",
        remedy: HARDEN,
        since: 0,
        question: |_| {
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace \
             AND (p.proname ~ '^(query|table|cursor|schema|database)_to_xml' \
             OR p.proname IN ('lo_from_bytea', 'lo_put', 'lowrite', 'pg_notify', 'pg_terminate_backend', \
             'pg_cancel_backend', 'pg_logical_emit_message', 'ts_stat')) \
             AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY 1"
                .to_owned()
        },
    },
    Check {
        name: "outside",
        problem: "roles that are no superusers may call functions that read or write files or connect elsewhere",
        remedy: "REVOKE EXECUTE ON these FROM the roles; drop extensions such as dblink and user mappings FOR PUBLIC",
        since: 0,
        question: |_| {
            "SELECT p.oid::regprocedure || ' by ' || CASE WHEN a.grantee = 0 THEN 'everybody' \
             ELSE pg_get_userbyid(a.grantee)::text END \
             FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a \
             WHERE (p.proname ~ '^(pg_read_file|pg_read_binary_file|pg_stat_file|pg_ls_dir|lo_import|lo_export)$|^(pg_file_|dblink)') \
             AND a.grantee <> p.proowner AND NOT coalesce((SELECT r.rolsuper FROM pg_roles r WHERE r.oid = a.grantee), false) \
             AND pg_get_userbyid(a.grantee) !~ '^pg_' \
             UNION ALL SELECT 'user mapping for everybody on ' || srvname FROM pg_user_mappings WHERE umuser = 0"
                .to_owned()
        },
    },
    Check {
        name: "language",
        problem: "everybody may write code in these languages (DO blocks, functions), or others than superusers in untrusted ones",
        remedy: HARDEN,
        since: 0,
        question: |_| {
            "SELECT l.lanname || CASE WHEN l.lanpltrusted THEN '' ELSE ' (untrusted)' END || ' by ' || \
             CASE WHEN a.grantee = 0 THEN 'everybody' ELSE pg_get_userbyid(a.grantee)::text END \
             FROM pg_language l, aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) a \
             WHERE l.lanname NOT IN ('internal', 'c') AND a.grantee <> l.lanowner AND (a.grantee = 0 OR NOT l.lanpltrusted)"
                .to_owned()
        },
    },
    Check {
        name: "public-protected",
        problem: "everybody may read what is masked or closed",
        remedy: HARDEN,
        since: 0,
        question: |ground| {
            format!(
                "SELECT p.name FROM {} WHERE has_column_privilege('public', p.oid, p.attnum, 'SELECT')",
                protected(ground)
            )
        },
    },
    Check {
        name: "direct-reader",
        problem: "roles other than the gate's can log in and read what is masked or closed",
        remedy: "REVOKE their rights or their LOGIN, or name those that are meant to with --expect",
        since: 0,
        question: |ground| {
            format!(
                "SELECT r.rolname || ': ' || string_agg(p.name, ', ' ORDER BY p.name) FROM pg_roles r, {} \
                 WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> ALL ({}) \
                 AND NOT starts_with(r.rolname::text, 'postern_lease_') \
                 AND has_column_privilege(r.oid, p.oid, p.attnum, 'SELECT') GROUP BY r.rolname ORDER BY 1",
                protected(ground),
                known(ground)
            )
        },
    },
    Check {
        name: "bypass-session",
        problem: "sessions on this database did not come through the gate",
        remedy: "end them; close the way by pg_hba.conf and the network, or name those that are meant with --expect",
        since: 0,
        question: |ground| {
            format!(
                "SELECT coalesce(a.usename::text, '(a role that is gone)') || ' from ' || \
                 coalesce(host(a.client_addr), 'the server itself') || ': ' || count(*) FROM pg_stat_activity a \
                 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() \
                 AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.usename <> ALL ({}) \
                 AND NOT starts_with(a.usename::text, 'postern_lease_') GROUP BY a.usename, a.client_addr ORDER BY 1",
                known(ground)
            )
        },
    },
    Check {
        name: "hba-trust",
        problem: "pg_hba.conf lets clients in without proof of who they are, or sends their passwords in clear",
        remedy: "use scram-sha-256 or cert, and let only the gate's addresses in",
        since: 0,
        question: |_| {
            "SELECT type || ' ' || array_to_string(database, ',') || ' ' || array_to_string(user_name, ',') || ' ' || \
             coalesce(address, '') || ' ' || auth_method FROM pg_hba_file_rules WHERE auth_method = 'trust' \
             OR (auth_method = 'password' AND type NOT IN ('local', 'hostssl', 'hostgssenc')) ORDER BY line_number"
                .to_owned()
        },
    },
    Check {
        name: "log-values",
        problem: "the server writes statements, and the values in them, to its own log",
        remedy: "set log_statement to none or ddl, and the others to -1 or 0, for this database",
        since: 0,
        question: |_| {
            "SELECT name || ' = ' || setting FROM pg_settings WHERE (name = 'log_statement' AND setting IN ('mod', 'all')) \
             OR (name IN ('log_min_duration_statement', 'log_min_duration_sample', 'auto_explain.log_min_duration') \
             AND setting <> '-1') OR (name = 'log_parameter_max_length_on_error' AND setting <> '0') \
             OR (name IN ('debug_print_parse', 'debug_print_rewritten', 'debug_print_plan', 'log_statement_stats') \
             AND setting = 'on') ORDER BY 1"
                .to_owned()
        },
    },
    Check {
        name: "password-md5",
        problem: "passwords are kept as MD5, which anybody who reads one can log in with",
        remedy: "set password_encryption to scram-sha-256, and the passwords anew",
        since: 0,
        question: |_| {
            "SELECT 'password_encryption = ' || setting FROM pg_settings \
             WHERE name = 'password_encryption' AND setting NOT IN ('scram-sha-256')"
                .to_owned()
        },
    },
    Check {
        name: "default-privileges",
        problem: "what is made later is everybody's to use by default privileges",
        remedy: "ALTER DEFAULT PRIVILEGES FOR ROLE ... REVOKE ... FROM PUBLIC",
        since: 0,
        question: |_| {
            "SELECT pg_get_userbyid(d.defaclrole) || ': ' || a.privilege_type || ' on ' || CASE d.defaclobjtype \
             WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'n' THEN 'schemas' \
             ELSE 'types' END FROM pg_default_acl d, aclexplode(d.defaclacl) a \
             WHERE a.grantee = 0 AND d.defaclobjtype <> 'T'"
                .to_owned()
        },
    },
];
