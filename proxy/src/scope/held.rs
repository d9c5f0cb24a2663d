//! What a scope role holds, in one form, whether it is to be granted or was read from the server: so that both have one digest.

use super::{
    Error,
    names::{ident, literal},
};
use crate::ask::Rows;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The rights of one role in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// By quoted name and kind: privileges, and their columns where they are not for the whole.
    objects: BTreeMap<(String, &'static str), BTreeMap<String, BTreeSet<String>>>,
    /// What follows `GRANT`, of anything else.
    others: BTreeSet<String>,
}

impl Held {
    /// Adds a privilege on a relation; an empty column stands for the whole.
    pub(super) fn relation(&mut self, schema: &str, name: &str, kind: &str, privilege: &str, column: &str) {
        let object = if kind == "S" { "SEQUENCE" } else { "TABLE" };
        let privileges = self.objects.entry((format!("{}.{}", ident(schema), ident(name)), object)).or_default();
        let columns = privileges.entry(privilege.to_owned()).or_default();
        columns.extend((!column.is_empty()).then(|| ident(column)));
    }

    /// Adds anything else, as it follows `GRANT`.
    pub(super) fn other(&mut self, statement: String) {
        self.others.insert(statement);
    }

    /// Privileges on relations.
    pub(super) fn on_relations(&self) -> usize {
        self.objects.values().map(BTreeMap::len).sum()
    }

    /// What follows `GRANT` in each statement, sorted.
    pub(super) fn statements(&self) -> BTreeSet<String> {
        let mut all = self.others.clone();
        for ((name, object), privileges) in &self.objects {
            let each = privileges.iter().map(|(privilege, columns)| match columns.len() {
                0 => privilege.clone(),
                _ => format!("{privilege} ({})", columns.iter().cloned().collect::<Vec<_>>().join(", ")),
            });
            all.insert(format!("{} ON {object} {name}", each.collect::<Vec<_>>().join(", ")));
        }
        all
    }

    /// All of it in 64 hexadecimal digits.
    pub(super) fn digest(&self, database: u32) -> String {
        let mut digest = Sha256::new();
        digest.update(database.to_be_bytes());
        for statement in self.statements() {
            digest.update(statement.as_bytes());
            digest.update([0]);
        }
        digest.finalize().iter().fold(String::new(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        })
    }

    /// The question whose answers [`Held::read`] takes.
    pub(super) fn question(role: &str) -> String {
        let grantee = format!("(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = {})", literal(role));
        format!(
            "SELECT n.nspname::text, c.relname::text, c.relkind::text, a.privilege_type::text, '' \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a WHERE a.grantee = {grantee} \
             UNION ALL SELECT n.nspname::text, c.relname::text, c.relkind::text, a.privilege_type::text, t.attname::text \
             FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace, \
             aclexplode(t.attacl) a WHERE a.grantee = {grantee} AND NOT t.attisdropped; \
             SELECT 'EXECUTE ON ROUTINE ' || p.oid::regprocedure::text FROM pg_proc p, aclexplode(p.proacl) a \
             WHERE a.grantee = {grantee} \
             UNION ALL SELECT a.privilege_type || ' ON SCHEMA ' || '\"' || replace(n.nspname::text, '\"', '\"\"') || '\"' \
             FROM pg_namespace n, aclexplode(n.nspacl) a WHERE a.grantee = {grantee} \
             UNION ALL SELECT a.privilege_type || ' ON DATABASE ' || '\"' || replace(d.datname::text, '\"', '\"\"') || '\"' \
             FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = {grantee} AND d.datname = current_database() \
             UNION ALL SELECT '\"' || replace(g.rolname::text, '\"', '\"\"') || '\"' FROM pg_auth_members m \
             JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = {grantee}"
        )
    }

    /// What the server says that a role holds.
    pub(super) fn read(answers: &[Rows]) -> Result<Self, Error> {
        let [relations, others] = answers else { return Err(Error::Answer) };
        let mut held = Self::default();
        for row in relations {
            let [Some(schema), Some(name), Some(kind), Some(privilege), Some(column)] = row.as_slice() else {
                return Err(Error::Answer);
            };
            held.relation(schema, name, kind, privilege, column);
        }
        for row in others {
            let [Some(statement)] = row.as_slice() else { return Err(Error::Answer) };
            held.other(statement.clone());
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rights_have_one_digest_in_whatever_order_they_come() {
        let mut one = Held::default();
        one.relation("public", "t", "r", "SELECT", "b");
        one.relation("public", "t", "r", "SELECT", "a");
        one.other("USAGE ON SCHEMA \"public\"".to_owned());
        let mut other = Held::default();
        other.other("USAGE ON SCHEMA \"public\"".to_owned());
        other.relation("public", "t", "r", "SELECT", "a");
        other.relation("public", "t", "r", "SELECT", "b");
        assert_eq!(one.digest(1), other.digest(1));
        assert_ne!(one.digest(1), one.digest(2), "another database has other tables");
        let all: Vec<String> = one.statements().into_iter().collect();
        assert_eq!(all, ["SELECT (\"a\", \"b\") ON TABLE \"public\".\"t\"", "USAGE ON SCHEMA \"public\""]);
        other.relation("public", "t", "r", "UPDATE", "");
        assert_ne!(one.digest(1), other.digest(1));
    }
}
