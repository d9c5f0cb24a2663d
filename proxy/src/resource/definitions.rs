//! What the relations of a catalog are, as digests: whether a statement that was approved still runs on what it was asked
//! about.
//!
//! A catalog's epoch changes with everything that is read, statistics too. An approval need not fall with them, nor with a
//! table that the statement does not touch. It falls with each relation that it does touch: columns, view, rules, triggers,
//! constraints, indexes, heirs, and whatever refers to it by a foreign key; and with all that has no relation: functions,
//! with their bodies, types, operators, casts, schemas.

use judge::sql::catalog::{Part, QUERIES, Rows};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};

/// One digest.
type Hash = [u8; 32];

type Row = [Option<String>];

/// The definitions of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    /// What belongs to no relation, or to a composite type.
    shared: Hash,
    relations: HashMap<u32, Hash>,
    /// By relation: those that refer to it.
    referring: HashMap<u32, Vec<u32>>,
}

impl Definitions {
    /// Of the answers to [`QUERIES`], in their order.
    pub(crate) fn read(results: &[Rows]) -> Self {
        let rows = |wanted: Part| {
            let found = QUERIES.iter().zip(results).find(|((part, _), _)| *part == wanted);
            found.map_or(&[][..], |(_, rows)| rows.as_slice())
        };
        let composites: BTreeSet<u32> =
            rows(Part::Relations).iter().filter(|row| cell(row, 3) == Some("c")).filter_map(|row| id(row, 0)).collect();
        let tables: BTreeSet<u32> = rows(Part::Types)
            .iter()
            .filter(|row| id(row, 4).is_some_and(|relation| relation != 0 && !composites.contains(&relation)))
            .filter_map(|row| id(row, 0))
            .collect();
        let mut read = Reading { composites, ..Reading::default() };
        for (part, _) in QUERIES {
            for row in rows(*part) {
                read.row(*part, row, &tables);
            }
        }
        let relations = read.relations.into_iter().map(|(id, digests)| (id, together(digests))).collect();
        Self { shared: together(read.shared), relations, referring: read.referring }
    }

    /// What these relations are, and what refers to them. One that the snapshot does not know is nothing: it never becomes
    /// something else unseen, since a statement that names it then touches another.
    pub(crate) fn of(&self, relations: impl Iterator<Item = u32>) -> Hash {
        let mut wanted: BTreeSet<u32> = relations.collect();
        let mut next: Vec<u32> = wanted.iter().copied().collect();
        while let Some(id) = next.pop() {
            let referring = self.referring.get(&id).into_iter().flatten().copied();
            next.extend(referring.filter(|id| wanted.insert(*id)));
        }
        let mut hash = Sha256::new();
        hash.update(self.shared);
        for id in wanted {
            hash.update(id.to_be_bytes());
            hash.update(self.relations.get(&id).unwrap_or(&[0; 32]));
        }
        hash.finalize().into()
    }
}

#[derive(Default)]
struct Reading {
    shared: Vec<Hash>,
    relations: HashMap<u32, Vec<Hash>>,
    referring: HashMap<u32, Vec<u32>>,
    composites: BTreeSet<u32>,
}

impl Reading {
    fn row(&mut self, part: Part, row: &Row, tables: &BTreeSet<u32>) {
        match part {
            Part::Relations | Part::Columns | Part::Views | Part::Generated | Part::Indexes => {
                self.of_relations(part, row, &[0])
            }
            Part::Inheritance => self.of_relations(part, row, &[0, 1]),
            Part::Constraints => {
                self.of_relations(part, row, &[0, 3]);
                if let (Some(from), Some(to)) = (id(row, 0), id(row, 3).filter(|to| *to != 0)) {
                    self.referring.entry(to).or_default().push(from);
                }
            }
            // a table brings its row type and the array of it
            Part::Types if [0, 5].iter().any(|column| id(row, *column).is_some_and(|id| tables.contains(&id))) => {}
            // those of temporary tables come and go with sessions
            Part::Schemas if cell(row, 1).is_some_and(|name| name.starts_with("pg_t")) => {}
            Part::Types | Part::Schemas | Part::Functions | Part::Operators | Part::DomainChecks | Part::Casts => {
                self.shared.push(digest(part, row));
            }
            Part::Statistics => {}
        }
    }

    fn of_relations(&mut self, part: Part, row: &Row, columns: &[usize]) {
        let digest = digest(part, row);
        let of: BTreeSet<Option<u32>> = columns.iter().map(|column| id(row, *column)).collect();
        for relation in of {
            match relation {
                Some(0) => {}
                Some(id) if !self.composites.contains(&id) => self.relations.entry(id).or_default().push(digest),
                // what cannot be told apart counts for all
                _ => self.shared.push(digest),
            }
        }
    }
}

fn cell(row: &Row, column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

fn id(row: &Row, column: usize) -> Option<u32> {
    cell(row, column)?.parse().ok()
}

fn digest(part: Part, row: &Row) -> Hash {
    let mut hash = Sha256::new();
    hash.update(format!("{part:?}").as_bytes());
    for cell in row {
        match cell {
            None => hash.update([0]),
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text.as_bytes());
            }
        }
    }
    hash.finalize().into()
}

/// Rows come in any order.
fn together(mut digests: Vec<Hash>) -> Hash {
    digests.sort_unstable();
    let mut hash = Sha256::new();
    digests.iter().for_each(|one| hash.update(one));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of some parts; the others are empty.
    fn snapshot(parts: &[(Part, &[&[&str]])]) -> Definitions {
        let of = |wanted: Part| -> Rows {
            let rows = parts.iter().filter(|(part, _)| *part == wanted).flat_map(|(_, rows)| rows.iter());
            rows.map(|row| row.iter().map(|cell| Some((*cell).to_owned())).collect()).collect()
        };
        Definitions::read(&QUERIES.iter().map(|(part, _)| of(*part)).collect::<Vec<_>>())
    }

    fn base() -> Vec<(Part, &'static [&'static [&'static str]])> {
        vec![
            (Part::Relations, &[&["1", "9", "a", "r"], &["2", "9", "b", "r"], &["3", "9", "c", "r"]]),
            (Part::Columns, &[&["1", "id", "1", "23", "false"], &["2", "id", "1", "23", "false"]]),
            (Part::Types, &[&["11", "9", "a", "c", "1", "0", "0"], &["23", "9", "int4", "b", "0", "0", "0"]]),
            (Part::Functions, &[&["9", "f", "f", "v", "sql", "700"]]),
            (Part::Constraints, &[&["3", "f", "{1}", "2", "{1}"]]),
            (Part::Statistics, &[&["1", "1", "-3", "10"]]),
        ]
    }

    fn with(part: Part, rows: &'static [&'static [&'static str]]) -> Definitions {
        let mut all = base();
        all.push((part, rows));
        snapshot(&all)
    }

    #[test]
    fn what_a_statement_does_not_touch_may_change() {
        let (before, a) = (snapshot(&base()), [1].into_iter());
        let unchanged = before.of(a.clone());
        let mut turned = base();
        turned.reverse();
        assert_eq!(snapshot(&turned).of(a.clone()), unchanged);
        assert_eq!(with(Part::Statistics, &[&["1", "1", "-1", "20"]]).of(a.clone()), unchanged);
        let table: &[&[&str]] = &[&["4", "9", "d", "r"]];
        assert_eq!(with(Part::Relations, table).of(a.clone()), unchanged);
        assert_eq!(with(Part::Columns, &[&["2", "more", "2", "23", "false"]]).of(a.clone()), unchanged);
        // the types that come with a table, and a session's temporary schema
        let mut all = base();
        all.push((Part::Relations, table));
        all.push((Part::Types, &[&["40", "9", "d", "c", "4", "0", "0"], &["41", "9", "_d", "b", "0", "40", "0"]]));
        all.push((Part::Schemas, &[&["77", "pg_temp_3"], &["78", "pg_toast_temp_3"]]));
        assert_eq!(snapshot(&all).of(a), unchanged);
    }

    #[test]
    fn what_it_touches_may_not() {
        let before = snapshot(&base());
        let a = before.of([1].into_iter());
        assert_ne!(before.of([1, 2].into_iter()), a);
        let changes: [(Part, &'static [&'static [&'static str]]); 7] = [
            (Part::Columns, &[&["1", "more", "2", "23", "false"]]),
            (Part::Views, &[&["1", "select 2"]]),
            (Part::Inheritance, &[&["2", "1"]]),
            (Part::Indexes, &[&["1", "1", "1", "true", "true"]]),
            (Part::Functions, &[&["9", "f", "f", "v", "sql", "701"]]),
            (Part::Casts, &[&["1", "2"]]),
            (Part::Constraints, &[&["2", "f", "{1}", "1", "{1}"]]),
        ];
        for (part, rows) in changes {
            assert_ne!(with(part, rows).of([1].into_iter()), a, "{part:?}");
        }
        // what refers to it, and what refers to that
        let b = before.of([2].into_iter());
        assert_ne!(with(Part::Columns, &[&["3", "more", "2", "23", "false"]]).of([2].into_iter()), b);
        assert_ne!(with(Part::Constraints, &[&["1", "f", "{1}", "3", "{1}"]]).of([2].into_iter()), b);
    }
}
