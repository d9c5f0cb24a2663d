//! Names of the roles that the gate makes, and quoting.
//!
//! ```text
//! postern_scope_<scope>_<8 digits of the grants' digest>
//! postern_lease_<oid of the database>_<owner>_<random>
//! ```
//!
//! Roles belong to a whole server, what they own to one database: so a lease carries the database beside the owner whose
//! connections tell whether it lives.

use std::fmt;

/// Begins the names of scope roles.
pub const SCOPE: &str = "postern_scope_";

/// Begins the names of leased roles.
pub const LEASE: &str = "postern_lease_";

/// Begins what the connections are called by which roles are made; the owner follows.
pub const LIFE: &str = "postern leases ";

/// One start of one node, as far as one resource goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u64);

impl Owner {
    /// One that nobody else has.
    pub fn new(random: u64) -> Self {
        Self(random)
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

/// The name of the connections of an owner that lives.
pub fn life(owner: Owner) -> String {
    format!("{LIFE}{owner}")
}

/// The owner of a connection of this name.
pub fn living(name: &str) -> Option<Owner> {
    let digits = name.strip_prefix(LIFE).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(Owner)
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
        assert_eq!(life(owner), "postern leases feed000000000001");
        assert!(life(owner).len() < 64, "PostgreSQL cuts these too");
        assert_eq!(living(&life(owner)), Some(owner));
        assert_eq!(living("postern leases 1"), None);
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
