//! What a transaction has written so far, as PostgreSQL itself counts it.
//!
//! The counters are those of `pg_stat_xact_user_tables`: rows inserted, updated and deleted by this backend, whoever asked
//! for it: a statement, a function, a trigger, a cascade. They are attempts: what a rollback to a savepoint undid stays
//! counted. They may still hold what earlier transactions of the session did, until the server adds it to its shared
//! counters between two transactions: so they are read before the first write, and the difference counts.
//!
//! Three things move or remove rows and no counter: TRUNCATE, DROP, and a rewrite by ALTER TABLE. All of them take an
//! ACCESS EXCLUSIVE lock, which is held to the end of the transaction, so the locks are read as well. And a cursor WITH
//! HOLD runs to its end at COMMIT, behind the reading, so one that nobody saw declared is reported too.

use std::collections::{BTreeMap, BTreeSet};

/// Every name and operator is written out: the session's search path must not decide what this means.
pub(super) const QUERY: &str = "\
SELECT 'written', c.oid::pg_catalog.text, w.n::pg_catalog.text FROM pg_catalog.pg_class c, \
LATERAL (SELECT (pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) OPERATOR(pg_catalog.+) \
pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)) OPERATOR(pg_catalog.+) \
pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS n) w \
WHERE (c.relkind OPERATOR(pg_catalog.=) 'r'::pg_catalog.\"char\" OR c.relkind OPERATOR(pg_catalog.=) 'm'::pg_catalog.\"char\") \
AND c.relpersistence OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\" \
AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND w.n OPERATOR(pg_catalog.>) 0::pg_catalog.int8 \
UNION ALL SELECT 'locked', l.relation::pg_catalog.text, '' FROM pg_catalog.pg_locks l \
WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
AND l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock'::pg_catalog.text \
AND l.locktype OPERATOR(pg_catalog.=) 'relation'::pg_catalog.text \
UNION ALL SELECT 'cursor', c.name, '' FROM pg_catalog.pg_cursors c \
WHERE c.is_holdable AND c.creation_time OPERATOR(pg_catalog.>=) pg_catalog.now() \
UNION ALL SELECT 'counted', pg_catalog.current_setting('track_counts'), ''";

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Rows written, by relation.
    written: BTreeMap<u32, u64>,
    /// Relations that this transaction holds an ACCESS EXCLUSIVE lock of.
    pub(super) locked: BTreeSet<u32>,
    /// Cursors WITH HOLD that this transaction declared.
    pub(super) cursors: BTreeSet<String>,
}

impl Reading {
    /// Reads the answer to [`QUERY`]; `None` where it is not one, or the server does not count.
    pub(super) fn of(rows: &[Vec<Option<String>>]) -> Option<Self> {
        let mut reading = Self::default();
        let mut counted = false;
        for row in rows {
            let [Some(what), Some(key), Some(value)] = row.as_slice() else { return None };
            match what.as_str() {
                "written" => drop(reading.written.insert(key.parse().ok()?, value.parse().ok()?)),
                "locked" => drop(reading.locked.insert(key.parse().ok()?)),
                "cursor" => drop(reading.cursors.insert(key.clone())),
                "counted" => counted = key == "on",
                _ => return None,
            }
        }
        counted.then_some(reading)
    }

    /// Rows written since an earlier reading of the same session. A counter that went down or away took nothing with it.
    pub(super) fn since(&self, earlier: &Self) -> u64 {
        let more = |(id, rows): (&u32, &u64)| rows.saturating_sub(earlier.written.get(id).copied().unwrap_or(0));
        self.written.iter().map(more).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(all: &[[&str; 3]]) -> Vec<Vec<Option<String>>> {
        all.iter().map(|row| row.iter().map(|value| Some((*value).to_owned())).collect()).collect()
    }

    #[test]
    fn the_difference_counts_table_by_table() {
        let on = ["counted", "on", ""];
        let before = Reading::of(&rows(&[["written", "16400", "50"], ["written", "16401", "7"], on])).unwrap();
        let after = Reading::of(&rows(&[["written", "16400", "53"], ["written", "16402", "2"], on])).unwrap();
        assert_eq!(after.since(&before), 5, "a table that is gone gives nothing back");
    }

    #[test]
    fn what_is_no_reading_is_none() {
        assert_eq!(Reading::of(&rows(&[])), None);
        assert_eq!(Reading::of(&rows(&[["counted", "off", ""]])), None);
        assert_eq!(Reading::of(&rows(&[["written", "x", "1"], ["counted", "on", ""]])), None);
    }
}
