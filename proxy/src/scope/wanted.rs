//! What a scope should hold: by the policies, or by the config's lists.

use super::config::{Grant, Owned, ScopeFile};
use judge::{
    policy::{Subject, reach},
    sql::{
        Action, Catalog, RelationId,
        catalog::{Kind, Relation},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// A privilege as PostgreSQL names it.
pub(super) type Privilege = &'static str;

/// What a scope should hold, before it is known what can be granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// By relation and privilege: the columns' numbers; none for the whole.
    pub(super) relations: BTreeMap<(RelationId, Privilege), BTreeSet<i16>>,
    /// `schema.name`.
    pub(super) functions: BTreeSet<String>,
    /// Schemas to make tables in.
    pub(super) create_in: BTreeSet<String>,
    pub(super) temporary: bool,
    /// Roles to be a member of.
    pub(super) roles: BTreeSet<String>,
}

/// What the policies could allow the subject, and whether that changes with the time. Without a way for what it makes, it
/// makes nothing that stays.
pub(super) fn by_policy(view: &crate::resource::View, subject: &Subject, owned: Owned) -> (Wanted, bool) {
    let reach = reach::reach(view.catalog(), view.bound(), subject, &crate::resource::now());
    let mut wanted = Wanted { functions: reach.functions, temporary: reach.temporary, ..Wanted::default() };
    for (id, actions) in reach.relations {
        let kind = view.catalog().relation(id).map(|relation| relation.kind);
        for action in actions {
            let mut columns = reach.columns.get(&(id, action)).cloned();
            if columns.as_ref().is_some_and(BTreeSet::is_empty) {
                continue;
            }
            let stored = !matches!(kind, Some(Kind::View | Kind::Sequence));
            if let Some(columns) =
                columns.as_mut().filter(|_| stored && matches!(action, Action::Select | Action::CopyOut))
            {
                columns.extend(SYSTEM);
            }
            for privilege in if kind == Some(Kind::Sequence) { of_sequence(action) } else { of_table(action) } {
                put(&mut wanted, (id, privilege), columns.clone().unwrap_or_default());
            }
        }
    }
    if owned != Owned::None {
        wanted.create_in = reach.creates_in;
    }
    (wanted, reach.timed)
}

/// The numbers of `ctid`, `xmin`, `cmin`, `xmax`, `cmax`, `tableoid`, which come with a table that is granted whole, and by
/// which clients find a row again.
const SYSTEM: std::ops::RangeInclusive<i16> = -6..=-1;

/// Adds a privilege: of some columns, or of the whole for none.
fn put(wanted: &mut Wanted, of: (RelationId, Privilege), columns: BTreeSet<i16>) {
    match wanted.relations.get_mut(&of) {
        // the whole is more than any columns
        Some(known) if known.is_empty() || columns.is_empty() => known.clear(),
        Some(known) => known.extend(columns),
        None => drop(wanted.relations.insert(of, columns)),
    }
}

fn of_table(action: Action) -> &'static [Privilege] {
    match action {
        Action::Select | Action::CopyOut => &["SELECT"],
        Action::Insert | Action::CopyIn => &["INSERT"],
        Action::Update => &["UPDATE"],
        Action::Delete => &["DELETE"],
        Action::Truncate => &["TRUNCATE"],
        Action::Maintain => &["MAINTAIN"],
        // a lock needs UPDATE, which the policies permit or not; definitions need the owner
        Action::Lock | Action::Create | Action::Alter | Action::Drop => &[],
    }
}

fn of_sequence(action: Action) -> &'static [Privilege] {
    match action {
        Action::Select | Action::CopyOut => &["SELECT"],
        Action::Update => &["USAGE", "UPDATE"],
        Action::Insert
        | Action::CopyIn
        | Action::Delete
        | Action::Truncate
        | Action::Maintain
        | Action::Lock
        | Action::Create
        | Action::Alter
        | Action::Drop => &[],
    }
}

/// What the config lists.
pub(super) fn by_list(scope: &ScopeFile, catalog: &Catalog) -> Wanted {
    let mut wanted = Wanted::default();
    for grant in &scope.grants {
        for relation in catalog.relations() {
            let patterns = match relation.kind {
                Kind::Table | Kind::Partitioned | Kind::Foreign | Kind::View | Kind::MaterializedView => &grant.tables,
                Kind::Sequence => &grant.sequences,
                Kind::Index | Kind::Composite | Kind::Other => continue,
            };
            if patterns.iter().any(|pattern| matches(pattern, &relation.qualified())) {
                add(&mut wanted, relation, grant);
            }
        }
        let named = |name: &String| grant.functions.iter().any(|pattern| matches(pattern, name));
        wanted.functions.extend(catalog.own_functions().into_keys().filter(named));
        wanted.create_in.extend(grant.create_in.iter().cloned());
        wanted.roles.extend(grant.roles.iter().cloned());
        wanted.temporary |= grant.temporary;
    }
    wanted
}

fn add(wanted: &mut Wanted, relation: &Relation, grant: &Grant) {
    let default = if relation.kind == Kind::Sequence { "USAGE" } else { "SELECT" };
    let privileges: Vec<Privilege> = if grant.privileges.is_empty() {
        vec![default]
    } else {
        grant.privileges.iter().filter_map(|name| word(name)).collect()
    };
    let named = relation.columns.iter().filter(|column| grant.columns.contains(&column.name));
    let columns: BTreeSet<i16> = named.map(|column| column.attribute).collect();
    if columns.is_empty() && !grant.columns.is_empty() {
        return;
    }
    for privilege in privileges {
        put(wanted, (relation.id, privilege), columns.clone());
    }
}

fn word(name: &str) -> Option<Privilege> {
    const ALL: [Privilege; 9] =
        ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN", "USAGE"];
    ALL.into_iter().find(|privilege| privilege.eq_ignore_ascii_case(name))
}

/// The policies' scope of a subject reads nothing but these.
pub(super) fn is_by_policy(scope: &ScopeFile) -> bool {
    scope.grants.is_empty()
}

/// `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let cases = [
            ("public.orders", "public.orders", true),
            ("public.orders", "public.orders2", false),
            ("public.*", "public.orders", true),
            ("public.*", "publicity.orders", false),
            ("public.v_*", "public.v_", true),
            ("*.a*b*c", "x.a1b2c", true),
            ("*.a*b*c", "x.a1c2b", false),
            ("public.*_log", "public.a_log_log", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
