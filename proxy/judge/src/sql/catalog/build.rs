//! From rows to a snapshot: names first, then generated columns and inheritance, then views in the order of their needs.

use super::{
    Catalog, Column, ColumnId, Error, Function, Keys, Kind, Operator, Part, QUERIES, Relation, RelationId, Rows,
    Sources, Type, View, keys,
};
use crate::sql::{Limits, failing, parse, walk};
use std::collections::{BTreeSet, HashMap};

/// Deepest chain of inheritance and of views over views that is followed.
const DEEPEST: usize = 64;

/// Longest definition of a view that is followed, in bytes.
const LONGEST_VIEW: usize = 1 << 20;

pub(super) fn catalog(epoch: u64, results: &[Rows]) -> Result<Catalog, Error> {
    if results.len() != QUERIES.len() {
        return Err(Error::Incomplete { got: results.len() });
    }
    let rows = |part: Part| -> Reader<'_> {
        let found = QUERIES.iter().zip(results).find(|((name, _), _)| *name == part);
        Reader { part, rows: found.map_or(&[], |(_, rows)| rows.as_slice()) }
    };
    let mut catalog = Catalog { epoch, ..Catalog::default() };
    let mut schemas = HashMap::new();
    for row in rows(Part::Schemas).iter() {
        schemas.insert(row.number::<u32>(0)?, row.text(1)?.to_owned());
    }
    relations(&mut catalog, &schemas, rows(Part::Relations), rows(Part::Columns))?;
    inheritance(&mut catalog, rows(Part::Inheritance))?;
    generated(&mut catalog, rows(Part::Generated))?;
    keys::read(&mut catalog, rows(Part::Indexes), rows(Part::Constraints), rows(Part::Statistics))?;
    types(&mut catalog, &schemas, rows(Part::Types))?;
    shapes(&mut catalog, rows(Part::Types))?;
    functions(&mut catalog, &schemas, rows(Part::Functions))?;
    for row in rows(Part::Operators).iter() {
        let Some(schema) = schemas.get(&row.number::<u32>(0)?) else { continue };
        let operator = Operator { schema: schema.clone(), extension: row.maybe(2).map(str::to_owned) };
        catalog.operators.entry(row.text(1)?.to_owned()).or_default().push(operator);
    }
    for row in rows(Part::Casts).iter() {
        // without the types of both sides at hand, either end may call the cast's function
        for column in [0, 1] {
            if let Some(found) = catalog.types.get_mut(&row.number::<u32>(column)?) {
                found.calls = true;
            }
        }
    }
    let (views, checks) = (rows(Part::Views), rows(Part::DomainChecks));
    let texts = definitions(&catalog, views)?;
    let constraints =
        checks.iter().map(|row| Ok((row.number::<u32>(0)?, row.text(1)?))).collect::<Result<Vec<_>, Error>>()?;
    parse::on_large_stack(|| {
        domain_checks(&mut catalog, &constraints);
        follow_views(&mut catalog, &texts);
        Ok(())
    })
    .map_err(|error| Error::Views(Box::new(error)))?;
    Ok(catalog)
}

fn relations(
    catalog: &mut Catalog,
    schemas: &HashMap<u32, String>,
    relations: Reader<'_>,
    columns: Reader<'_>,
) -> Result<(), Error> {
    for row in relations.iter() {
        let Some(schema) = schemas.get(&row.number::<u32>(1)?) else { continue };
        let relation = Relation {
            id: row.number(0)?,
            schema: schema.clone(),
            name: row.text(2)?.to_owned(),
            kind: kind(row.text(3)?),
            columns: Vec::new(),
            ancestors: Vec::new(),
            descendants: Vec::new(),
            has_rules: row.truth(5)?,
            view: None,
            keys: Keys::default(),
        };
        catalog.relation_ids.entry(schema.clone()).or_default().insert(relation.name.clone(), relation.id);
        catalog.relations.insert(relation.id, relation);
    }
    for row in columns.iter() {
        let id = row.number(0)?;
        let Some(relation) = catalog.relations.get_mut(&id) else { continue };
        let attribute = row.number(2)?;
        relation.columns.push(Column {
            name: row.text(1)?.to_owned(),
            attribute,
            type_id: row.number(3)?,
            generated: row.truth(4)?,
            collation: row.maybe_number(5)?,
            origins: Sources::from([ColumnId { relation: id, attribute }]),
            opaque: false,
            shaped: true,
            direct: true,
        });
    }
    for relation in catalog.relations.values_mut() {
        relation.columns.sort_by_key(|column| column.attribute);
    }
    Ok(())
}

fn kind(letter: &str) -> Kind {
    match letter {
        "r" => Kind::Table,
        "p" => Kind::Partitioned,
        "f" => Kind::Foreign,
        "v" => Kind::View,
        "m" => Kind::MaterializedView,
        "S" => Kind::Sequence,
        "i" | "I" => Kind::Index,
        "c" => Kind::Composite,
        _ => Kind::Other,
    }
}

fn inheritance(catalog: &mut Catalog, rows: Reader<'_>) -> Result<(), Error> {
    let mut parents: HashMap<RelationId, Vec<RelationId>> = HashMap::new();
    for row in rows.iter() {
        parents.entry(row.number(0)?).or_default().push(row.number(1)?);
    }
    for &child in parents.keys() {
        let (mut found, mut level) = (BTreeSet::new(), vec![child]);
        for _ in 0..DEEPEST {
            level = level
                .iter()
                .filter_map(|id| parents.get(id))
                .flatten()
                .copied()
                .filter(|id| found.insert(*id))
                .collect();
        }
        for &ancestor in &found {
            if let Some(relation) = catalog.relations.get_mut(&ancestor) {
                relation.descendants.push(child);
            }
        }
        if let Some(relation) = catalog.relations.get_mut(&child) {
            relation.ancestors = found.into_iter().collect();
        }
    }
    let mut reached = Vec::new();
    for relation in catalog.relations.values_mut() {
        relation.descendants.sort_unstable();
    }
    for relation in catalog.relations.values().filter(|relation| !relation.ancestors.is_empty()) {
        for (position, column) in relation.columns.iter().enumerate() {
            for ancestor in &relation.ancestors {
                let Some(above) = catalog.relations.get(ancestor).and_then(|found| found.column(&column.name)) else {
                    continue;
                };
                reached.push((relation.id, position, ColumnId { relation: *ancestor, attribute: above.attribute }));
            }
        }
    }
    for (id, position, origin) in reached {
        if let Some(column) = catalog.relations.get_mut(&id).and_then(|found| found.columns.get_mut(position)) {
            column.origins.insert(origin);
        }
    }
    Ok(())
}

/// A generated column cannot be computed from another generated one, so that one step is enough.
fn generated(catalog: &mut Catalog, rows: Reader<'_>) -> Result<(), Error> {
    for row in rows.iter() {
        let (id, generated, base) = (row.number::<u32>(0)?, row.number::<i16>(1)?, row.number::<i16>(2)?);
        let Some(relation) = catalog.relations.get_mut(&id) else { continue };
        let origins =
            relation.columns.iter().find(|column| column.attribute == base).map(|column| column.origins.clone());
        let column = relation.columns.iter_mut().find(|column| column.attribute == generated && column.generated);
        if let (Some(origins), Some(column)) = (origins, column) {
            column.origins.extend(origins);
        }
    }
    Ok(())
}

fn types(catalog: &mut Catalog, schemas: &HashMap<u32, String>, rows: Reader<'_>) -> Result<(), Error> {
    for row in rows.iter() {
        let Some(schema) = schemas.get(&row.number::<u32>(1)?) else { continue };
        let id = row.number(0)?;
        catalog.type_ids.entry(schema.clone()).or_default().insert(row.text(2)?.to_owned(), id);
        catalog.types.insert(
            id,
            Type {
                relation: row.number(4)?,
                base: row.number(6)?,
                calls: false,
                is_text: row.text(2)? == "citext",
                collation: row.maybe_number(7)?,
            },
        );
    }
    Ok(())
}

/// Marks the columns whose values are neither arrays nor documents nor rows; an enum's are texts.
fn shapes(catalog: &mut Catalog, rows: Reader<'_>) -> Result<(), Error> {
    let mut flat = BTreeSet::new();
    for row in rows.iter().filter(|row| row.maybe(3) == Some("e")) {
        flat.insert(row.number::<u32>(0)?);
    }
    let mut wire: HashMap<u32, bool> = HashMap::new();
    let types: BTreeSet<u32> =
        catalog.relations.values().flat_map(|relation| &relation.columns).map(|column| column.type_id).collect();
    for id in types {
        let base = catalog.wire_type(id);
        wire.insert(id, !failing::is_scalar(base) && !flat.contains(&base));
    }
    for column in catalog.relations.values_mut().flat_map(|relation| &mut relation.columns) {
        column.shaped = wire.get(&column.type_id).copied().unwrap_or(true);
    }
    Ok(())
}

fn functions(catalog: &mut Catalog, schemas: &HashMap<u32, String>, rows: Reader<'_>) -> Result<(), Error> {
    for row in rows.iter() {
        let Some(schema) = schemas.get(&row.number::<u32>(0)?) else { continue };
        let most = row.number::<i64>(10)?;
        let function = Function {
            schema: schema.clone(),
            volatility: row.text(3)?.chars().next().unwrap_or('v'),
            returns: row.number(5)?,
            returns_set: row.truth(6)?,
            extension: row.maybe(8).map(str::to_owned),
            least: usize::try_from(row.number::<i64>(9)?).unwrap_or(0),
            most: usize::try_from(most).ok(),
            out: out_names(row.maybe(11), row.maybe(12)),
        };
        catalog.functions.entry(row.text(1)?.to_owned()).or_default().push(function);
    }
    Ok(())
}

/// The names of the parameters whose mode is OUT, INOUT or TABLE, from the texts of two arrays.
fn out_names(names: Option<&str>, modes: Option<&str>) -> Vec<String> {
    let (Some(names), Some(modes)) = (names, modes) else { return Vec::new() };
    let modes = elements(modes);
    elements(names)
        .into_iter()
        .zip(modes)
        .filter(|(_, mode)| matches!(mode.as_str(), "o" | "b" | "t"))
        .map(|(name, _)| name)
        .collect()
}

/// The elements of a one-dimensional array's text.
pub(super) fn elements(text: &str) -> Vec<String> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let (mut all, mut current, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for character in inner.chars() {
        match character {
            _ if escaped => {
                current.push(character);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut current)),
            _ => current.push(character),
        }
    }
    if !inner.is_empty() {
        all.push(current);
    }
    all
}

/// Each view's tree; none for a view whose definition is not understood.
fn definitions<'a>(catalog: &Catalog, rows: Reader<'a>) -> Result<Vec<(RelationId, &'a str)>, Error> {
    let mut all = Vec::new();
    for row in rows.iter() {
        let id = row.number(0)?;
        if catalog.relations.contains_key(&id) {
            all.push((id, row.maybe(1).unwrap_or_default()));
        }
    }
    Ok(all)
}

/// Marks domains whose checks call what may read anything.
fn domain_checks(catalog: &mut Catalog, constraints: &[(u32, &str)]) {
    for (id, definition) in constraints {
        let condition = definition.trim_start().strip_prefix("CHECK").unwrap_or("(unknown())");
        let condition = condition.trim_end().strip_suffix("NOT VALID").unwrap_or(condition);
        let text = format!("SELECT {condition} FROM (SELECT NULL::text AS value) v");
        let limits = Limits { bytes: LONGEST_VIEW, ..Limits::default() };
        let pure =
            parse::statements(&text, &limits).ok().and_then(|all| all.into_iter().next()).is_some_and(|statement| {
                let facts = walk::statement(&statement, catalog, &[]);
                facts.functions.is_empty() && facts.opaque.is_none()
            });
        if let Some(found) = catalog.types.get_mut(id).filter(|_| !pure) {
            found.calls = true;
        }
    }
}

fn follow_views(catalog: &mut Catalog, texts: &[(RelationId, &str)]) {
    let limits = Limits { bytes: LONGEST_VIEW, ..Limits::default() };
    let mut waiting = Vec::new();
    for (id, text) in texts {
        match parse::statements(text, &limits).map(|mut all| all.pop()) {
            Ok(Some(statement)) if text.len() <= LONGEST_VIEW => waiting.push((*id, statement)),
            Ok(_) | Err(_) => close_view(catalog, *id, "a view's definition is not understood"),
        }
    }
    catalog.pending = waiting.iter().map(|(id, _)| *id).collect();
    for _ in 0..DEEPEST {
        let mut later = Vec::new();
        for (id, statement) in waiting {
            match walk::view(&statement, catalog) {
                Some((view, columns)) => {
                    catalog.pending.remove(&id);
                    settle_view(catalog, id, view, &columns);
                }
                None => later.push((id, statement)),
            }
        }
        waiting = later;
        if waiting.is_empty() {
            break;
        }
    }
    for (id, _) in waiting {
        close_view(catalog, id, "views are nested too deep");
    }
    catalog.pending.clear();
}

fn settle_view(catalog: &mut Catalog, id: RelationId, view: View, columns: &[walk::ViewColumn]) {
    let Some(relation) = catalog.relations.get_mut(&id) else { return };
    // a view's own columns are never dropped, so that position and number agree
    if columns.len() != relation.columns.len() {
        close_view(catalog, id, "a view's columns do not match its definition");
        return;
    }
    for (column, shown) in relation.columns.iter_mut().zip(columns) {
        column.origins.extend(shown.sources.iter().copied());
        column.opaque = shown.opaque;
        column.direct = shown.direct;
    }
    relation.view = Some(view);
}

fn close_view(catalog: &mut Catalog, id: RelationId, reason: &str) {
    if let Some(relation) = catalog.relations.get_mut(&id) {
        let reason = format!("{reason}: {}", relation.qualified());
        relation.view = Some(View { opaque: Some(reason), ..View::default() });
        for column in &mut relation.columns {
            column.opaque = true;
            column.direct = false;
        }
    }
}

/// Rows of one query, read with errors that say where.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    part: Part,
    rows: &'a [Vec<Option<String>>],
}

impl<'a> Reader<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = Row<'a>> {
        self.rows.iter().enumerate().map(move |(number, cells)| Row { part: self.part, number, cells })
    }
}

pub(super) struct Row<'a> {
    part: Part,
    number: usize,
    cells: &'a [Option<String>],
}

impl<'a> Row<'a> {
    pub(super) fn maybe(&self, column: usize) -> Option<&'a str> {
        self.cells.get(column)?.as_deref()
    }

    pub(super) fn text(&self, column: usize) -> Result<&'a str, Error> {
        self.maybe(column).ok_or(Error::Row { part: self.part, row: self.number, column })
    }

    pub(super) fn number<T: std::str::FromStr>(&self, column: usize) -> Result<T, Error> {
        self.text(column)?.parse().map_err(|_| Error::Row { part: self.part, row: self.number, column })
    }

    /// 0 for NULL.
    pub(super) fn maybe_number(&self, column: usize) -> Result<u32, Error> {
        self.maybe(column).map_or(Ok(0), |_| self.number(column))
    }

    pub(super) fn truth(&self, column: usize) -> Result<bool, Error> {
        match self.text(column)? {
            "true" | "t" => Ok(true),
            "false" | "f" => Ok(false),
            _ => Err(Error::Row { part: self.part, row: self.number, column }),
        }
    }
}
