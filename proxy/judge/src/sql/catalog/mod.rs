//! The names that there are on a resource: an immutable snapshot, filled from the rows of [`QUERIES`].
//!
//! Views are followed when the snapshot is built: [`Catalog::origins`] answers at once. Relations of a session's own
//! (temporary ones) are not in it, by intent: statements name them with id `None`.

mod build;
mod keys;
mod queries;
mod tables;

pub use queries::{Part, QUERIES};

pub(super) use keys::Keys;

use super::facts::{ColumnId, RelationId, RelationUse};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The result of one of [`QUERIES`]: rows of text columns.
pub type Rows = Vec<Vec<Option<String>>>;

/// Base columns that reach something.
pub(super) type Sources = BTreeSet<ColumnId>;

/// Why a snapshot could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one result for each of [`QUERIES`].
    #[error("the catalog was read by {got} queries instead of {}", QUERIES.len())]
    Incomplete {
        /// How many results there were.
        got: usize,
    },
    /// A row has too few columns, or one that does not read as it should.
    #[error("row {row} of the catalog's {part:?} has no usable column {column}")]
    Row {
        /// Which query's.
        part: Part,
        /// Its number, from 0.
        row: usize,
        /// The column's number, from 0.
        column: usize,
    },
    /// The views' definitions could not be analyzed at all.
    #[error("the views' definitions could not be analyzed")]
    Views(#[source] Box<super::Error>),
}

/// What a relation is, by `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `r`
    Table,
    /// `p`
    Partitioned,
    /// `f`
    Foreign,
    /// `v`
    View,
    /// `m`
    MaterializedView,
    /// `S`
    Sequence,
    /// `i`, `I`
    Index,
    /// `c`
    Composite,
    /// Any other letter.
    Other,
}

/// A relation of the snapshot.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its id.
    pub id: RelationId,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its columns, without dropped ones, by attribute number.
    pub columns: Vec<Column>,
    /// What it inherits from or is a partition of, itself not included, all the way up.
    pub ancestors: Vec<RelationId>,
    /// What inherits from it or is a partition of it, itself not included, all the way down.
    pub descendants: Vec<RelationId>,
    /// It has rewrite rules besides a view's own: what a write does to it cannot be known from its text.
    pub has_rules: bool,
    pub(super) view: Option<View>,
    pub(super) keys: Keys,
}

impl Relation {
    /// `schema.name`.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// It belongs to PostgreSQL itself.
    pub(super) fn is_system(&self) -> bool {
        matches!(self.schema.as_str(), "pg_catalog" | "information_schema")
    }
}

/// A column of a relation.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its number.
    pub attribute: i16,
    /// Its type's id in `pg_type`.
    pub type_id: u32,
    /// It is computed from others.
    pub generated: bool,
    /// The collation that it has of its own, as an id of `pg_collation`; 0: the database's, or its type has none.
    pub(super) collation: u32,
    /// See [`Catalog::origins`].
    pub(super) origins: Sources,
    /// Not all origins are known.
    pub(super) opaque: bool,
    /// Its values may be arrays, documents or rows.
    pub(super) shaped: bool,
    /// It is one column as it stands: a table's own, or what a view shows unchanged.
    pub(super) direct: bool,
}

/// What a view does, found from its definition.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// What it reads.
    pub(super) relations: Vec<RelationUse>,
    /// What it calls.
    pub(super) functions: BTreeSet<String>,
    /// Why that is not all.
    pub(super) opaque: Option<String>,
    /// Reading it changes nothing.
    pub(super) read_only: bool,
    /// Reading it may set a setting: why that is not known.
    pub(super) hidden_setting: Option<String>,
}

/// A function, procedure, aggregate or window function.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub(super) schema: String,
    /// `i`mmutable, `s`table, `v`olatile.
    pub(super) volatility: char,
    pub(super) returns: u32,
    pub(super) returns_set: bool,
    pub(super) extension: Option<String>,
    pub(super) least: usize,
    /// `None`: variadic.
    pub(super) most: Option<usize>,
    /// The names of its OUT, INOUT and TABLE parameters.
    pub(super) out: Vec<String>,
}

/// An operator outside pg_catalog.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub(super) schema: String,
    pub(super) extension: Option<String>,
}

/// A type.
#[derive(Debug, Clone)]
pub(super) struct Type {
    pub(super) relation: RelationId,
    pub(super) base: u32,
    /// Making a value of it may call functions outside the list of pure ones.
    pub(super) calls: bool,
    /// An extension's type whose values look like text in both formats.
    pub(super) is_text: bool,
    /// As [`Column::collation`].
    pub(super) collation: u32,
}

/// A snapshot of a resource's catalog.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Grows with each snapshot of a resource; part of every cache key.
    pub epoch: u64,
    pub(super) relations: HashMap<RelationId, Relation>,
    relation_ids: HashMap<String, HashMap<String, RelationId>>,
    pub(super) functions: HashMap<String, Vec<Function>>,
    pub(super) operators: HashMap<String, Vec<Operator>>,
    pub(super) types: HashMap<u32, Type>,
    type_ids: HashMap<String, HashMap<String, u32>>,
    /// Views whose definition was not yet followed, while the snapshot is being built.
    pub(super) pending: BTreeSet<RelationId>,
}

impl Catalog {
    /// A snapshot with no names at all: every relation is unknown.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Builds a snapshot from the results of [`QUERIES`], in their order.
    ///
    /// # Errors
    /// [`Error`] if rows are missing or malformed. A view that cannot be followed is no error: its columns are opaque.
    pub fn build(epoch: u64, results: &[Rows]) -> Result<Self, Error> {
        build::catalog(epoch, results)
    }

    /// The relation of that id.
    pub fn relation(&self, id: RelationId) -> Option<&Relation> {
        self.relations.get(&id)
    }

    /// The relation of that schema and name.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(self.relation_ids.get(schema)?.get(name)?)
    }

    /// All relations, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    /// The column of that schema, relation and name.
    pub fn column(&self, schema: &str, relation: &str, name: &str) -> Option<ColumnId> {
        let relation = self.find(schema, relation)?;
        let column = relation.column(name)?;
        Some(ColumnId { relation: relation.id, attribute: column.attribute })
    }

    /// `schema.relation.column`; for attribute 0 `schema.relation.*`, for a system column its name.
    pub fn column_name(&self, column: ColumnId) -> Option<String> {
        let relation = self.relations.get(&column.relation)?;
        let name = match column.attribute {
            0 => "*",
            number if number < 0 => system_column_name(number)?,
            number => relation.columns.iter().find(|column| column.attribute == number)?.name.as_str(),
        };
        Some(format!("{}.{}.{}", relation.schema, relation.name, name))
    }

    /// Every column whose value can reach this one: itself; what a view or materialized view shows in it; what it is
    /// computed from; the column of the same name of whatever its relation inherits from or is a partition of.
    pub fn origins(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        self.stored_column(column).map_or_else(|| BTreeSet::from([column]), |found| found.origins.clone())
    }

    /// Not all origins of a column are known: a view's expression calls a function that may read anything.
    pub fn is_opaque(&self, column: ColumnId) -> bool {
        self.stored_column(column).is_some_and(|found| found.opaque)
    }

    fn stored_column(&self, column: ColumnId) -> Option<&Column> {
        self.relations.get(&column.relation)?.columns.iter().find(|found| found.attribute == column.attribute)
    }

    /// The columns of the same name of ancestors and descendants: rows of one are rows of the other, so that a rule for
    /// one holds for all.
    pub fn relatives(&self, column: ColumnId) -> BTreeSet<ColumnId> {
        let Some(relation) = self.relations.get(&column.relation) else { return BTreeSet::new() };
        let Some(found) = self.stored_column(column) else { return BTreeSet::new() };
        let others = relation.ancestors.iter().chain(&relation.descendants);
        others
            .filter_map(|id| {
                let other = self.relations.get(id)?.column(&found.name)?;
                Some(ColumnId { relation: *id, attribute: other.attribute })
            })
            .collect()
    }

    /// Schemas in which an unqualified name is looked for, in order.
    pub(super) fn path<'a>(&self, search_path: &'a [String]) -> impl Iterator<Item = &'a str> + use<'a> {
        let explicit = search_path.iter().any(|schema| schema == "pg_catalog");
        let implicit = (!explicit).then_some("pg_catalog");
        implicit.into_iter().chain(search_path.iter().map(String::as_str))
    }

    /// The relation that a name means; `schema` empty for an unqualified one.
    pub(super) fn resolve(&self, schema: &str, name: &str, search_path: &[String]) -> Option<&Relation> {
        if !schema.is_empty() {
            return self.find(schema, name);
        }
        self.path(search_path).find_map(|schema| self.find(schema, name))
    }

    /// Every relation that an unqualified name means in some schema of the path, in order.
    pub(super) fn all<'a>(&'a self, name: &'a str, search_path: &'a [String]) -> impl Iterator<Item = &'a Relation> {
        self.path(search_path).filter_map(move |schema| self.find(schema, name))
    }

    /// The type as its values come on the wire: of a domain what it stands on, of text under another name text.
    pub fn wire_type(&self, type_id: u32) -> u32 {
        let mut id = type_id;
        for _ in 0..DEEPEST_DOMAIN {
            match self.types.get(&id) {
                Some(found) if found.is_text => return TEXT,
                Some(found) if found.base != 0 => id = found.base,
                _ => break,
            }
        }
        id
    }

    /// The type of a column's values on the wire.
    pub fn column_type(&self, column: ColumnId) -> Option<u32> {
        self.stored_column(column).map(|found| self.wire_type(found.type_id))
    }

    /// Every function outside the system's schemas, as `schema.name`, and whether it depends on its arguments only.
    pub fn own_functions(&self) -> BTreeMap<String, bool> {
        super::functions::own(self)
    }

    /// Functions were read at all.
    pub(super) fn knows_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// The type that a name means.
    pub(super) fn resolve_type(&self, schema: &str, name: &str, search_path: &[String]) -> Option<&Type> {
        let find = |schema: &str| self.types.get(self.type_ids.get(schema)?.get(name)?);
        if schema.is_empty() { self.path(search_path).find_map(find) } else { find(schema) }
    }
}

/// Deepest chain of domains over domains that is followed.
const DEEPEST_DOMAIN: usize = 32;

/// The id of `text`.
const TEXT: u32 = 25;

/// The number of a system column that every table has.
pub(super) fn system_column(name: &str) -> Option<i16> {
    Some(match name {
        "ctid" => -1,
        "xmin" => -2,
        "cmin" => -3,
        "xmax" => -4,
        "cmax" => -5,
        "tableoid" => -6,
        _ => return None,
    })
}

fn system_column_name(number: i16) -> Option<&'static str> {
    ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"].into_iter().find(|name| system_column(name) == Some(number))
}
