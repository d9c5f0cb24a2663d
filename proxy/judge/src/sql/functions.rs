//! What a function can do, by an allow list: PostgreSQL's own that depend on their arguments only.

use super::catalog::{Catalog, Function};
use std::{
    collections::{BTreeMap, HashSet},
    sync::LazyLock,
};

/// What a call can do, from harmless to not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Its result depends on its arguments, the clock, chance or the session's name only.
    Pure,
    /// Takes time that its arguments decide.
    Waits,
    /// Reads the system catalog and changes nothing.
    Reads,
    /// Reads or changes a sequence.
    Sequence,
    /// Nothing is known of it; it may do anything that the role may do.
    Unknown,
    /// Runs SQL that is given as text, reads files, settings, statistics or other sessions, or acts on the server.
    Reaches,
}

/// A call, resolved as far as names and the number of arguments go.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    pub(super) class: Class,
    /// `schema.name`, as in the text where the catalog does not know it.
    pub(super) name: String,
    pub(super) candidates: Vec<&'a Function>,
}

/// PostgreSQL's own functions whose every form is immutable, and stable ones that look at the clock, chance and formats
/// only: from PostgreSQL 15's pg_proc, with what 16 to 18 added.
static PURE: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("functions/pure.txt").split_whitespace().chain(HARMLESS.iter().copied()).collect());

/// Depend on the session's name, the clock or chance; volatile ones among them change nothing.
const HARMLESS: &[&str] = &[
    "random",
    "random_normal",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "version",
    "current_database",
    "current_catalog",
    "current_schema",
    "current_schemas",
    "current_user",
    "session_user",
    "user",
    "system_user",
    "pg_backend_pid",
    "pg_is_in_recovery",
    "pg_postmaster_start_time",
    "pg_conf_load_time",
    "pg_client_encoding",
    "getdatabaseencoding",
    "pg_encoding_to_char",
    "pg_char_to_encoding",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "pg_trigger_depth",
    "pg_jit_available",
    "get_current_ts_config",
];

/// The functions that come with information_schema and depend on their arguments only: drivers call them for keys and
/// types.
const INFORMATION: &[&str] = &[
    "_pg_expandarray",
    "_pg_truetypid",
    "_pg_truetypmod",
    "_pg_char_max_length",
    "_pg_char_octet_length",
    "_pg_numeric_precision",
    "_pg_numeric_precision_radix",
    "_pg_numeric_scale",
    "_pg_datetime_precision",
    "_pg_interval_type",
];

const WAITS: &[&str] = &["pg_sleep", "pg_sleep_for", "pg_sleep_until"];
/// `setseed` too: what `random` gives afterwards is made of its argument.
const SEQUENCES: &[&str] = &["nextval", "currval", "lastval", "setval", "setseed"];

/// Begin the names of functions that take and give back advisory locks: like a sequence, a lock keeps the number that it
/// is given where other sessions see it.
const LOCKS: &[&str] = &["pg_advisory_", "pg_try_advisory_"];

/// Called volatile, though they only tell what the system catalog, the server's settings or its clocks say, or how large
/// files are: tools that describe a database call them. No value of a table can reach their results.
const DESCRIBE: &[&str] = &[
    "current_setting", // a setting is stored by SET and set_config, which are judged where they stand
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_relation_size",
    "pg_table_size",
    "pg_total_relation_size",
    "pg_indexes_size",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_tablespace_databases",
    "pg_tablespace_location",
    "pg_extension_config_dump",
    "pg_get_keywords",
    "pg_get_catalog_foreign_keys",
    "pg_timezone_names",
    "pg_timezone_abbrevs",
    "pg_event_trigger_table_rewrite_oid",
    "pg_database_collation_actual_version",
    "pg_collation_actual_version",
    "pg_get_wal_replay_pause_state",
    "pg_is_wal_replay_paused",
    "pg_last_wal_replay_lsn",
    "pg_last_wal_receive_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_current_wal_lsn",
    "pg_my_temp_schema",
    "pg_is_other_temp_schema",
    "pg_blocking_pids",
    "pg_isolation_test_session_is_blocked",
    "pg_sequence_last_value",
    "pg_get_sequence_data",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "txid_current",
    "txid_current_if_assigned",
    "txid_status",
    "pg_xact_status",
    "pg_show_all_settings",
    "pg_available_extensions",
    "pg_available_extension_versions",
    "pg_extension_update_paths",
];

/// Begin the names of functions that reach out of the statement.
const REACHING: &[&str] = &[
    "query_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "cursor_to_xml",
    "ts_stat",
    "ts_rewrite",
    "lo_",
    "loread",
    "lowrite",
    "pg_read_",
    "pg_ls_",
    "pg_stat_",
    "pg_file_",
    "pg_logdir_",
    "pg_hba_",
    "pg_ident_",
    "pg_show_all_file_settings",
    "pg_lock_status",
    "pg_cursor",
    "pg_prepared_",
    "pg_mcv_list_items",
    "pg_get_backend_memory_contexts",
    "pg_get_shmem",
    "pg_logical_",
    "pg_notify",
    "pg_listening_channels",
    "pg_current_logfile",
    "pg_rotate_logfile",
    "pg_config",
    "pg_control_",
    "binary_upgrade_",
    "set_config",
    "current_query",
    "pg_restore_",
    "pg_clear_",
    "pg_get_loaded_modules",
    "pg_get_wal",
    "pg_available_wal",
];

/// Extensions whose immutable functions and whose operators depend on their arguments only.
const EXTENSIONS: &[&str] = &[
    "citext",
    "hstore",
    "pg_trgm",
    "fuzzystrmatch",
    "cube",
    "earthdistance",
    "ltree",
    "intarray",
    "isn",
    "seg",
    "unaccent",
    "btree_gin",
    "btree_gist",
    "pgcrypto",
    "uuid-ossp",
    "vector",
];

/// Functions of those extensions that are not immutable and harmless all the same.
const EXTENSION_HARMLESS: &[&str] = &[
    "gen_salt",
    "gen_random_bytes",
    "gen_random_uuid",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "unaccent",
    "show_trgm",
    "similarity",
    "show_limit",
];

/// Whether an operator of that extension depends on its arguments only.
pub(super) fn is_pure_extension(name: Option<&str>) -> bool {
    name.is_some_and(|name| EXTENSIONS.contains(&name))
}

/// What a call of that name with that many arguments can do. Types are not looked at: where several functions can be
/// meant, the worst of them counts.
pub(super) fn resolve<'a>(
    catalog: &'a Catalog,
    search_path: &[String],
    schema: &str,
    name: &str,
    arguments: Option<usize>,
) -> Resolved<'a> {
    let all = catalog.functions.get(name).map(Vec::as_slice).unwrap_or_default();
    let visible = |function: &&Function| {
        if schema.is_empty() {
            catalog.path(search_path).any(|schema| schema == function.schema)
        } else {
            function.schema == schema
        }
    };
    let fits = |function: &&Function| {
        arguments.is_none_or(|count| count >= function.least && function.most.is_none_or(|most| count <= most))
    };
    let mut candidates: Vec<_> = all.iter().filter(visible).filter(fits).collect();
    if candidates.is_empty() {
        candidates = all.iter().filter(visible).collect();
    }
    // an empty catalog still knows what every server has
    let builtin = matches!(schema, "" | "pg_catalog") && candidates.is_empty() && all.is_empty();
    let class = if builtin && !catalog.knows_functions() {
        builtin_class(name, Class::Unknown)
    } else {
        candidates.iter().map(|function| class(name, function)).max().unwrap_or(Class::Unknown)
    };
    let worst = candidates.iter().max_by_key(|function| self::class(name, function));
    let name = match worst {
        Some(function) => format!("{}.{name}", function.schema),
        None if schema.is_empty() => name.to_owned(),
        None => format!("{schema}.{name}"),
    };
    Resolved { class, name, candidates }
}

/// Every function outside the system's schemas, as `schema.name`, and whether all of that name depend on their arguments
/// only.
pub(super) fn own(catalog: &Catalog) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for (name, candidates) in &catalog.functions {
        let own = candidates.iter().filter(|f| !matches!(f.schema.as_str(), "pg_catalog" | "information_schema"));
        for function in own {
            let pure = found.entry(format!("{}.{name}", function.schema)).or_insert(true);
            *pure &= class(name, function) == Class::Pure;
        }
    }
    found
}

fn class(name: &str, function: &Function) -> Class {
    if function.schema == "pg_catalog" {
        let other = if function.volatility == 'v' { Class::Reaches } else { Class::Reads };
        return builtin_class(name, other);
    }
    if function.schema == "information_schema" {
        return match name {
            "_pg_index_position" => Class::Reads,
            _ if INFORMATION.contains(&name) => Class::Pure,
            _ => Class::Unknown,
        };
    }
    let extension = function.extension.as_deref();
    let harmless = function.volatility == 'i' || EXTENSION_HARMLESS.contains(&name);
    match extension {
        _ if is_pure_extension(extension) && harmless => Class::Pure,
        Some("dblink" | "tablefunc" | "xml2" | "adminpack" | "file_fdw" | "pageinspect" | "pg_walinspect" | "lo") => {
            Class::Reaches
        }
        Some(_) | None => Class::Unknown,
    }
}

fn builtin_class(name: &str, other: Class) -> Class {
    if REACHING.iter().any(|prefix| name.starts_with(prefix)) {
        Class::Reaches
    } else if PURE.contains(name) {
        Class::Pure
    } else if WAITS.contains(&name) {
        Class::Waits
    } else if SEQUENCES.contains(&name) || LOCKS.iter().any(|prefix| name.starts_with(prefix)) {
        Class::Sequence
    } else if DESCRIBE.contains(&name) {
        Class::Reads
    } else {
        other
    }
}
