//! Indexes, constraints and statistics: how many rows a value picks, and what a write's success tells of stored values.

use super::{
    Catalog, Column, ColumnId, Error, Kind, Relation, Sources,
    build::{Reader, Row, elements},
};

/// What picks rows of a relation, and what its rows are checked against.
#[derive(Debug, Clone, Default)]
pub(in crate::sql) struct Keys {
    pub(in crate::sql) indexes: Vec<Index>,
    /// The columns of each check constraint.
    checks: Vec<Vec<i16>>,
    /// Columns with foreign keys, and what those refer to.
    references: Vec<(Vec<i16>, Vec<ColumnId>)>,
    /// The share of the rows that have the commonest value, by column; none for one without statistics.
    shares: Vec<(i16, f64)>,
    /// Rows, its descendants' not among them.
    rows: f64,
}

/// An index.
#[derive(Debug, Clone)]
pub(in crate::sql) struct Index {
    /// Its key columns; 0 stands for an expression.
    pub(in crate::sql) columns: Vec<i16>,
    /// Equality on all key columns picks at most one row.
    pub(in crate::sql) picks_one: bool,
    /// No two rows may be alike in it: its columns.
    distinct: Vec<i16>,
}

impl Keys {
    /// The share of the rows that have the commonest value of a column, if there are statistics.
    pub(in crate::sql) fn share(&self, attribute: i16) -> Option<f64> {
        self.shares.iter().find(|(number, _)| *number == attribute).map(|(_, share)| *share)
    }

    /// The column was made to find rows by: an index begins with it, or it refers to another table's key.
    pub(in crate::sql) fn finds(&self, attribute: i16) -> bool {
        self.indexes.iter().any(|index| index.columns.first() == Some(&attribute))
            || self.references.iter().any(|(columns, _)| columns.contains(&attribute))
    }
}

impl Catalog {
    /// About how many rows a relation has, its descendants' among them.
    pub(in crate::sql) fn rows(&self, relation: &Relation) -> f64 {
        let below = relation.descendants.iter().filter_map(|id| self.relations.get(id));
        relation.keys.rows + below.map(|found| found.keys.rows).sum::<f64>()
    }

    /// What [`Catalog::told_by`] says of a column of a relation; of a view's, for what it shows.
    pub(crate) fn told_by_column(&self, relation: &Relation, column: &Column, updates: bool) -> Sources {
        let own = |origin: &&ColumnId| relation.kind == Kind::View || origin.relation == relation.id;
        column.origins.iter().filter(own).flat_map(|origin| self.told_by(*origin, updates)).collect()
    }

    /// Of which stored values it tells something whether a column can be written; `updates`: of a row that is there.
    pub(in crate::sql) fn told_by(&self, written: ColumnId, updates: bool) -> Sources {
        let mut told = Sources::new();
        let Some(relation) = self.relations.get(&written.relation) else { return told };
        let Some(name) = relation.columns.iter().find(|c| c.attribute == written.attribute).map(|c| &c.name) else {
            return told;
        };
        // a row of the relation may belong to a partition, which has indexes of its own
        let below = relation.descendants.iter().filter_map(|id| self.relations.get(id));
        for relation in std::iter::once(relation).chain(below) {
            let Some(column) = relation.column(name) else { continue };
            let id = ColumnId { relation: relation.id, attribute: column.attribute };
            // a generated column is written with what it is computed from
            let changes = |number: &i16| {
                let found = relation.columns.iter().find(|column| column.attribute == *number);
                found.is_some_and(|found| found.attribute == id.attribute || found.origins.contains(&id))
            };
            let mut all = |numbers: &[i16]| {
                let found = relation.columns.iter().filter(|column| numbers.contains(&column.attribute));
                told.extend(found.flat_map(|column| column.origins.iter().copied()));
            };
            for index in relation.keys.indexes.iter().filter(|index| index.distinct.iter().any(changes)) {
                all(&index.distinct);
            }
            for check in relation.keys.checks.iter().filter(|check| updates && check.iter().any(changes)) {
                let others: Vec<i16> = check.iter().copied().filter(|number| !changes(number)).collect();
                all(&others);
            }
            for (columns, referred) in &relation.keys.references {
                if columns.iter().any(changes) {
                    told.extend(referred.iter().copied());
                }
            }
        }
        told
    }
}

pub(super) fn read(
    catalog: &mut Catalog,
    indexes: Reader<'_>,
    constraints: Reader<'_>,
    statistics: Reader<'_>,
) -> Result<(), Error> {
    for row in indexes.iter() {
        let Some(relation) = catalog.relations.get_mut(&row.number::<u32>(0)?) else { continue };
        let mut columns: Vec<i16> = numbers(row.text(1)?);
        columns.truncate(row.number(2)?);
        let mut distinct = Vec::new();
        if row.truth(4)? {
            distinct.extend(columns.iter().copied().filter(|number| *number != 0));
            distinct.extend(row.maybe(5).map(numbers).unwrap_or_default());
        }
        let picks_one = row.truth(3)? && !columns.is_empty();
        relation.keys.indexes.push(Index { columns, picks_one, distinct });
    }
    for row in constraints.iter() {
        let Some(relation) = catalog.relations.get_mut(&row.number::<u32>(0)?) else { continue };
        let columns = array(&row, 2);
        match row.text(1)? {
            "c" => relation.keys.checks.push(columns),
            _ => {
                let other = row.number(3)?;
                let column = |attribute| ColumnId { relation: other, attribute };
                relation.keys.references.push((columns, array(&row, 4).into_iter().map(column).collect()));
            }
        }
    }
    for row in statistics.iter() {
        let Some(relation) = catalog.relations.get_mut(&row.number::<u32>(0)?) else { continue };
        relation.keys.shares.push((row.number(1)?, 2f64.powi(row.number(2)?)));
        relation.keys.rows = 2f64.powi(row.number(3)?);
    }
    Ok(())
}

/// The numbers of a vector's text.
fn numbers(text: &str) -> Vec<i16> {
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The numbers of an array's text.
fn array(row: &Row<'_>, column: usize) -> Vec<i16> {
    let all = row.maybe(column).map(elements).unwrap_or_default();
    all.iter().filter_map(|number| number.parse().ok()).collect()
}
