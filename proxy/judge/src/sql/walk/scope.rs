//! Names within a query: what its FROM offers, and what a column's name means there.

use super::Walker;
use crate::sql::{
    catalog::{self, Relation, Sources},
    facts::ColumnId,
    failing::{self, NUMERIC},
};
use pg_query::protobuf;
use std::rc::Rc;

/// What is known of an expression's value.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    /// Base columns that can reach it.
    pub(super) sources: Sources,
    /// Something else can reach it too.
    pub(super) opaque: bool,
    /// It is one column as it stands.
    pub(super) direct: bool,
    /// It may be an array, a document, or so large that an operation over it fails by its shape.
    pub(super) shaped: bool,
    /// It is a number without bounds.
    pub(super) numeric: bool,
    /// It is a whole number, which a sum makes no harder to hold.
    pub(super) whole: bool,
    /// It is a table's column, or a cast of one: it is null only where nothing is stored.
    pub(super) stored: bool,
    /// It is no longer than what is stored.
    pub(super) brief: bool,
    /// It may hold rows, or arrays of arrays, whose comparison can fail.
    pub(super) composite: bool,
    /// It is made of several texts: many times over, how long it is is a question.
    pub(super) joined: bool,
    /// A COLLATE clause or two collations reached it: what looks at its order or case may fail.
    pub(super) collated: bool,
    /// The collation that it has from a column or type, as an id of `pg_collation`; 0: the database's.
    pub(super) collation: u32,
    /// Computing it may fail; PostgreSQL may do that where it is used, not where it stands.
    pub(super) risky: bool,
    /// It is a row of these columns.
    pub(super) row: Option<Rc<Rows>>,
}

impl Value {
    pub(super) fn opaque() -> Self {
        Self { opaque: true, ..Self::default() }
    }

    /// Lets another value reach this one: it is an expression from now on.
    pub(super) fn absorb(&mut self, other: Value) {
        self.reach(&other);
        self.direct = false;
        self.composite |= self.row.take().is_some();
    }

    /// Adds what another value is made of.
    pub(super) fn reach(&mut self, other: &Value) {
        if self.sources.is_empty() {
            self.sources.clone_from(&other.sources);
        } else {
            self.sources.extend(other.sources.iter().copied());
        }
        self.opaque |= other.opaque;
        self.shaped |= other.shaped;
        self.numeric &= other.numeric;
        self.composite |= other.composite || other.row.is_some();
        self.joined |= other.joined;
        self.collated |=
            other.collated || self.collation != 0 && other.collation != 0 && self.collation != other.collation;
        self.collation = if self.collation == 0 { other.collation } else { self.collation };
        self.risky |= other.risky;
        self.whole = false;
        self.stored = false;
        self.brief = false;
    }

    /// Comparing it, element by element, may fail.
    pub(super) fn is_deep(&self) -> bool {
        self.row.is_some() || self.composite || self.shaped
    }

    /// It has no more to it than what is stored, in each of its columns.
    pub(super) fn is_brief(&self) -> bool {
        let brief = |value: &Value| value.stored || value.brief || value.whole || value.numeric;
        match &self.row {
            Some(row) => !row.unknown && row.fields.iter().all(|field| brief(&field.value)),
            None => brief(self),
        }
    }
}

/// A named value: a column of a FROM item, or of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Value,
}

/// The columns of a query or of a FROM item.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) fields: Vec<Field>,
    /// There may be more columns, of unknown names.
    pub(super) unknown: bool,
}

impl Rows {
    /// Columns of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self { fields: Vec::new(), unknown: true }
    }

    pub(super) fn one(name: &str, value: Value) -> Self {
        Self { fields: vec![Field { name: name.to_owned(), value }], unknown: false }
    }

    /// The whole row as one value.
    pub(super) fn whole(&self) -> Value {
        let mut whole = Value { opaque: self.unknown, ..Value::default() };
        for field in &self.fields {
            whole.reach(&field.value);
            if self.fields.len() > 1 {
                whole.collation = 0; // of a row, each column has its own
            }
        }
        whole
    }
}

/// Where an item's columns come from.
#[derive(Debug, Clone)]
pub(super) enum Columns<'a> {
    /// A relation's own: made when they are asked for.
    Relation(&'a Relation),
    /// A query's, a function's, a join's.
    Rows(Rc<Rows>),
}

/// One name of a FROM clause.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    /// The name by which it is qualified; empty for the merged columns of a join.
    pub(super) alias: String,
    /// The schema by which it may be qualified too: only of a relation without an alias.
    pub(super) schema: String,
    pub(super) columns: Columns<'a>,
    /// Names that the FROM clause gives to its first columns.
    pub(super) renamed: Rc<[String]>,
    /// Columns that a join merged into an item before this one.
    pub(super) hidden: Vec<String>,
    /// Only by qualified names: OLD and NEW of RETURNING, the alias of a join's USING.
    pub(super) qualified_only: bool,
}

impl<'a> Item<'a> {
    pub(super) fn rows(alias: &str, rows: Rows) -> Self {
        Self {
            alias: alias.to_owned(),
            schema: String::new(),
            columns: Columns::Rows(Rc::new(rows)),
            renamed: Rc::default(),
            hidden: Vec::new(),
            qualified_only: false,
        }
    }

    pub(super) fn relation(relation: &'a Relation) -> Self {
        Self {
            alias: relation.name.clone(),
            schema: relation.schema.clone(),
            columns: Columns::Relation(relation),
            renamed: Rc::default(),
            hidden: Vec::new(),
            qualified_only: false,
        }
    }

    /// Gives it the names of an alias clause.
    pub(super) fn aliased(mut self, alias: Option<&protobuf::Alias>) -> Self {
        if let Some(alias) = alias {
            self.alias.clone_from(&alias.aliasname);
            self.schema = String::new();
            if !alias.colnames.is_empty() {
                self.renamed = super::strings(&alias.colnames).into();
            }
        }
        self
    }

    /// It may have columns that are not known.
    pub(super) fn is_unknown(&self) -> bool {
        match &self.columns {
            Columns::Relation(relation) => relation.columns.is_empty() && !relation.is_table_like(),
            Columns::Rows(rows) => rows.unknown,
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.columns {
            Columns::Relation(relation) => relation.columns.len(),
            Columns::Rows(rows) => rows.fields.len(),
        }
    }

    pub(super) fn name(&self, position: usize) -> &str {
        if let Some(name) = self.renamed.get(position) {
            return name;
        }
        match &self.columns {
            Columns::Relation(relation) => relation.columns.get(position).map_or("", |column| &column.name),
            Columns::Rows(rows) => rows.fields.get(position).map_or("", |field| &field.name),
        }
    }

    pub(super) fn value(&self, position: usize) -> Value {
        match &self.columns {
            Columns::Relation(relation) => relation.columns.get(position).map_or_else(Value::opaque, |column| Value {
                sources: column.origins.clone(),
                opaque: column.opaque,
                direct: true,
                // what a view computes may have any size
                shaped: column.shaped || !column.direct,
                numeric: column.type_id == NUMERIC,
                whole: failing::is_whole(column.type_id),
                stored: column.direct,
                collation: column.collation,
                ..Value::default()
            }),
            Columns::Rows(rows) => rows.fields.get(position).map_or_else(Value::opaque, |field| field.value.clone()),
        }
    }

    /// Where a column of that name stands.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        (0..self.len()).find(|&position| self.name(position) == name)
    }

    /// The column of that name, system columns included.
    pub(super) fn find(&self, name: &str) -> Option<Value> {
        if let Some(position) = self.position(name) {
            return Some(self.value(position));
        }
        let Columns::Relation(relation) = &self.columns else { return None };
        let attribute = catalog::system_column(name)?;
        let sources = Sources::from([ColumnId { relation: relation.id, attribute }]);
        Some(Value { sources, direct: true, stored: true, ..Value::default() })
    }

    /// All columns, by the names that they have here.
    pub(super) fn all(&self) -> Rows {
        let fields = (0..self.len())
            .map(|position| Field { name: self.name(position).to_owned(), value: self.value(position) })
            .collect();
        Rows { fields, unknown: self.is_unknown() }
    }

    /// The whole row as one value, whose columns can still be told apart. A function's single column is no row.
    pub(super) fn whole(&self) -> Value {
        let rows = self.all();
        Value { row: Some(Rc::new(rows.clone())), ..rows.whole() }
    }

    pub(super) fn is_named(&self, schema: &str, name: &str) -> bool {
        !self.alias.is_empty() && self.alias == name && (schema.is_empty() || self.schema == schema)
    }
}

/// What a column reference came to.
pub(super) enum Found {
    Value(Value),
    /// No such name where all names are known.
    Missing,
}

impl<'a> Walker<'a> {
    /// An unqualified name: the nearest query in whose FROM it is a column.
    pub(super) fn unqualified(&mut self, name: &str) -> Found {
        let mut maybe = false;
        for (depth, scope) in self.scopes.iter().enumerate().rev() {
            let mut found: Option<Value> = None;
            for item in scope.iter().filter(|item| !item.qualified_only) {
                if item.hidden.iter().any(|hidden| hidden == name) {
                    continue;
                }
                match (item.find(name), &mut found) {
                    (Some(value), None) => found = Some(value),
                    (Some(value), Some(before)) => before.absorb(value), // ambiguous: PostgreSQL will refuse it
                    (None, _) => maybe |= item.is_unknown(),
                }
            }
            if let Some(mut value) = found {
                self.outermost.set(self.outermost.get().min(depth));
                value.opaque |= maybe;
                return Found::Value(value);
            }
        }
        // then it may be a FROM item's name: the whole row
        if let Some(item) = self.item("", name) {
            let whole = item.whole();
            self.spend(whole.sources.len());
            return Found::Value(whole);
        }
        if maybe { Found::Value(Value::opaque()) } else { Found::Missing }
    }

    /// The nearest FROM item of that name.
    pub(super) fn item(&self, schema: &str, name: &str) -> Option<Item<'a>> {
        self.scopes.iter().enumerate().rev().find_map(|(depth, scope)| {
            let item = scope.iter().find(|item| item.is_named(schema, name))?;
            self.outermost.set(self.outermost.get().min(depth));
            Some(item.clone())
        })
    }

    /// A qualified name.
    pub(super) fn qualified(&mut self, schema: &str, item: &str, name: &str) -> Found {
        let Some(item) = self.item(schema, item) else { return Found::Missing };
        match item.find(name) {
            Some(value) => Found::Value(value),
            None if item.is_unknown() => Found::Value(Value::opaque()),
            None if self.catalog.knows_functions() && !self.is_function(name) => Found::Missing,
            // `c.f` is `f(c)` where `c` has no column `f`
            None => {
                let whole = item.whole();
                Found::Value(self.call_named("", name, vec![whole], None))
            }
        }
    }
}
