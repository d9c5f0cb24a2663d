//! A catalog of tables that somebody wrote down, for trying policies without a database.

use super::{Catalog, Error, Part, QUERIES, Rows};
use std::collections::BTreeMap;

/// The type of every column: `text`.
const TEXT: &str = "25";

/// The first object id that PostgreSQL gives to what is no part of the system.
const FIRST: usize = 16_384;

impl Catalog {
    /// A catalog of tables, each `schema.table` with the names of its columns. Functions are PostgreSQL's own.
    ///
    /// # Errors
    /// [`Error`].
    pub fn of_tables(tables: &BTreeMap<String, Vec<String>>) -> Result<Self, Error> {
        let mut schemas = BTreeMap::from([("pg_catalog", 11), ("public", 2200)]);
        let mut parts: BTreeMap<Part, Rows> = BTreeMap::new();
        let mut add = |part, row: &[&str]| {
            let row = row.iter().map(|field| Some((*field).to_owned())).collect();
            parts.entry(part).or_default().push(row);
        };
        for (number, (table, columns)) in tables.iter().enumerate() {
            let (schema, name) = table.split_once('.').unwrap_or(("public", table));
            let next = FIRST + schemas.len();
            let schema = schemas.entry(schema).or_insert(next).to_string();
            let id = (2 * FIRST + 2 * number).to_string();
            let kind = (2 * FIRST + 2 * number + 1).to_string();
            add(Part::Relations, &[&id, &schema, name, "r", &kind, "false"]);
            for (at, column) in (1..).zip(columns) {
                let at: usize = at;
                add(Part::Columns, &[&id, column, &at.to_string(), TEXT, "false"]);
            }
        }
        for (name, id) in &schemas {
            add(Part::Schemas, &[&id.to_string(), name]);
        }
        let rows: Vec<Rows> = QUERIES.iter().map(|(part, _)| parts.remove(part).unwrap_or_default()).collect();
        Self::build(1, &rows)
    }
}
