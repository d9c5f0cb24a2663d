//! Names of the roles that the gate makes, and quoting.
//!
//! ```text
//! postern_scope_<scope>_<8 digits of the grants' digest>
//! postern_lease_<oid of the database>_<owner>_<random>
//! ```
//!
//! Roles belong to a whole server, advisory locks to one database: so a lease carries the database beside the owner whose
//! lock tells whether it lives.

use std::fmt;

/// Begins the names of scope roles.
pub const SCOPE: &str = "postern_scope_";

/// Begins the names of leased roles.
pub const LEASE: &str = "postern_lease_";

/// One start of one node, as far as one resource goes: the key of the advisory lock that it holds while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u64);

impl Owner {
    /// One that nobody else has.
    pub fn new(random: u64) -> Self {
        Self(random)
    }

    /// Its key as PostgreSQL takes it.
    pub fn key(self) -> i64 {
        self.0.cast_signed()
    }

    /// The owner of a lock that `pg_locks` shows as two halves.
    pub fn of_lock(high: u32, low: u32) -> Self {
        Self(u64::from(high) << 32 | u64::from(low))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of a leased role.
pub fn lease(database: u32, owner: Owner, random: u64) -> String {
    format!("{LEASE}{database:08x}_{owner}_{random:016x}")
}

/// The database and the owner of a leased role; none where it is not the gate's.
pub fn parse(name: &str) -> Option<(u32, Owner)> {
    let mut parts = name.strip_prefix(LEASE)?.split('_');
    let (database, owner, random) = (parts.next()?, parts.next()?, parts.next()?);
    let exact = parts.next().is_none() && database.len() == 8 && owner.len() == 16 && random.len() == 16;
    u64::from_str_radix(random, 16).ok().filter(|_| exact)?;
    Some((u32::from_str_radix(database, 16).ok()?, Owner(u64::from_str_radix(owner, 16).ok()?)))
}

/// An identifier, quoted.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A string constant. `standard_conforming_strings` is on in every session of the gate's.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

/// An array of texts.
pub fn texts<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<String> = all.into_iter().map(literal).collect();
    format!("ARRAY[{}]::pg_catalog.text[]", all.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_names_its_database_and_owner() {
        let owner = Owner::new(0xfeed_0000_0000_0001);
        let name = lease(16384, owner, 7);
        assert_eq!(name, "postern_lease_00004000_feed000000000001_0000000000000007");
        assert!(name.len() < 64, "PostgreSQL cuts names at 63 bytes");
        assert_eq!(parse(&name), Some((16384, owner)));
        assert_eq!(Owner::of_lock(0xfeed_0000, 1), owner);
        for other in ["postern_lease_", "postern_lease_1_2_3", "postern_scope_a_0123abcd", &format!("{name}_1")] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_quoted_stays_one_name_or_one_text() {
        assert_eq!(ident("a\"; drop role x; --"), "\"a\"\"; drop role x; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(texts(["a", "b'"]), "ARRAY['a','b''']::pg_catalog.text[]");
        assert_eq!(texts([]), "ARRAY[]::pg_catalog.text[]");
    }
}
