//! What is closed while there is something to protect: parts of the catalog that repeat values, settings that change meaning.

/// Relations of the system that repeat values of others, and why each is closed.
const RELATIONS: &[(&str, &str)] = &[
    ("pg_catalog.pg_statistic", "it repeats values of columns"),
    ("pg_catalog.pg_stats", "it repeats values of columns"),
    ("pg_catalog.pg_statistic_ext_data", "it repeats values of columns"),
    ("pg_catalog.pg_stats_ext", "it repeats values of columns"),
    ("pg_catalog.pg_stats_ext_exprs", "it repeats values of expressions"),
    ("pg_catalog.pg_stat_activity", "it shows the text of other sessions' statements"),
    ("pg_catalog.pg_stat_get_activity", "it shows the text of other sessions' statements"),
    ("pg_catalog.pg_stat_replication", "it is part of the server's operation"),
    ("pg_catalog.pg_largeobject", "large objects have no columns that a rule could name"),
    ("pg_catalog.pg_shadow", "it holds password verifiers"),
    ("pg_catalog.pg_user_mapping", "it may hold credentials"),
    ("pg_catalog.pg_user_mappings", "it may hold credentials"),
    ("pg_catalog.pg_hba_file_rules", "it is part of the server's operation"),
    ("pg_catalog.pg_file_settings", "it is part of the server's operation"),
    ("pg_catalog.pg_replication_slots", "it is part of the server's operation"),
];

/// Columns of the system's relations that are closed, where the rest of the relation is what tools read.
const COLUMNS: &[(&str, &str)] = &[
    ("pg_catalog.pg_authid.rolpassword", "it holds password verifiers"),
    ("pg_catalog.pg_subscription.subconninfo", "it may hold credentials"),
];

/// Why a column of the system is closed, if it is.
pub(super) fn column(name: &str) -> Option<&'static str> {
    COLUMNS.iter().find(|(closed, _)| *closed == name).map(|(_, why)| *why)
}

/// Kinds of statements that change who may do what, what the server is, or where its data goes: they would undermine
/// every rule.
const KINDS: &[&str] = &[
    "CREATE ROLE",
    "ALTER ROLE",
    "DROP ROLE",
    "GRANT ROLE",
    "REVOKE ROLE",
    "ALTER DEFAULT PRIVILEGES",
    "REASSIGN OWNED",
    "DROP OWNED",
    "ALTER SYSTEM",
    "CREATE DATABASE",
    "ALTER DATABASE",
    "DROP DATABASE",
    "CREATE TABLESPACE",
    "ALTER TABLESPACE",
    "DROP TABLESPACE",
    "ALTER TABLE ALL",
    "CREATE EXTENSION",
    "ALTER EXTENSION",
    "CREATE LANGUAGE",
    "CREATE ACCESS METHOD",
    "CREATE FOREIGN DATA WRAPPER",
    "ALTER FOREIGN DATA WRAPPER",
    "CREATE SERVER",
    "ALTER SERVER",
    "CREATE FOREIGN TABLE",
    "IMPORT FOREIGN SCHEMA",
    "CREATE USER MAPPING",
    "ALTER USER MAPPING",
    "CREATE PUBLICATION",
    "ALTER PUBLICATION",
    "CREATE SUBSCRIPTION",
    "ALTER SUBSCRIPTION",
    "DROP SUBSCRIPTION",
    "CREATE EVENT TRIGGER",
    "ALTER EVENT TRIGGER",
    "CREATE CAST",
    "CREATE TRANSFORM",
    "CREATE CONVERSION",
    "CREATE OPERATOR",
    "CREATE OPERATOR CLASS",
    "CREATE OPERATOR FAMILY",
    "ALTER OPERATOR FAMILY",
    "SECURITY LABEL",
    "ALTER DOMAIN", // a new check tells whether stored values pass it
    "PREPARE TRANSACTION",
];

/// Whether statements of that kind are closed.
pub(super) fn kind(kind: &str) -> bool {
    KINDS.contains(&kind)
}

/// Names of extensions' views, in whatever schema they are.
const EXTENSIONS: &[(&str, &str)] = &[
    ("pg_stat_statements", "it shows the text of other sessions' statements"),
    ("pg_stat_statements_info", "it belongs to what shows the text of other sessions' statements"),
    ("pg_buffercache", "it shows what other sessions read"),
    ("pg_stat_monitor", "it shows the text of other sessions' statements"),
    ("hypopg_list_indexes", "it shows the text of other sessions' statements"),
];

/// Why a relation of the system is closed, if it is.
pub(super) fn relation(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let qualified =
        RELATIONS.iter().find(|(closed, _)| *closed == name || (name == last && closed.ends_with(&format!(".{last}"))));
    let extension = || EXTENSIONS.iter().find(|(closed, _)| *closed == last);
    qualified.or_else(extension).map(|(_, why)| *why)
}

/// A setting, the values that it may be set to, and why it is closed otherwise.
type Setting = (&'static str, &'static [&'static str], &'static str);

/// Settings on which the gate's own understanding rests: no policy opens them.
const PINNED: &[Setting] = &[
    ("role", &[], "a session stays who it is"),
    ("session_authorization", &[], "a session stays who it is"),
    ("standard_conforming_strings", &["on", "true", "yes", "1"], "it changes how text is read"),
    ("backslash_quote", &["safe_encoding"], "it changes how text is read"),
    ("client_encoding", &["utf8", "utf-8", "unicode"], "it changes how text is read"),
];

/// Settings that turn a protection of the server off, or show what is not the session's: `guard:setting`.
const SETTINGS: &[Setting] = &[
    ("session_replication_role", &["origin"], "it turns triggers and rules off"),
    ("local_preload_libraries", &[], "it loads code into the server"),
    ("session_preload_libraries", &[], "it loads code into the server"),
    ("dynamic_library_path", &[], "it loads code into the server"),
    ("allow_system_table_mods", &["off", "false", "no", "0"], "it opens the system catalog for writing"),
    ("row_security", &["on", "off", "true", "false", "1", "0"], "it decides whether row policies hold"),
    ("lo_compat_privileges", &["off", "false", "no", "0"], "it turns off the rights of large objects"),
    ("transform_null_equals", &["off", "false", "no", "0"], "it changes what a comparison with NULL means"),
    ("debug_print_parse", &["off"], "it writes statements to the server's log"),
    ("debug_print_plan", &["off"], "it writes statements to the server's log"),
    ("debug_print_rewritten", &["off"], "it writes statements to the server's log"),
];

fn closed_in(settings: &[Setting], name: &str, value: Option<&str>) -> Option<&'static str> {
    let (_, allowed, why) = settings.iter().find(|(closed, ..)| *closed == name)?;
    let harmless = value.is_some_and(|value| allowed.iter().any(|a| a.eq_ignore_ascii_case(value.trim())));
    (!harmless).then_some(*why)
}

/// Why a setting on which the gate's understanding rests may not be changed so, if it may not.
pub(super) fn pinned(name: &str, value: Option<&str>) -> Option<&'static str> {
    closed_in(PINNED, name, value)
}

/// Why a setting may not be changed so by the guardrail, if it may not.
pub(super) fn setting(name: &str, value: Option<&str>) -> Option<&'static str> {
    closed_in(SETTINGS, name, value)
}
