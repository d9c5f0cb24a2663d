//! From equalities to rows: which columns have how many values, and how many rows of each source those pick.

use super::{Reckoning, Source, few::few, given::is_operator};
use crate::sql::{
    catalog::{Catalog, Kind, Relation},
    walk::{call::constant, names, nodes::any_node, scope::Columns},
};
use pg_query::{Node, NodeEnum, protobuf};
use std::collections::{BTreeMap, BTreeSet};

/// Rows, by estimate, that a write may pick by a column that is no key.
const MOST_ESTIMATED: f64 = 1_000.0;

/// Share of a table that it may pick so.
const LARGEST_SHARE: f64 = 0.125;

/// Rows, by estimate, that are few whatever share of the table they are.
const HANDFUL: f64 = 8.0;

/// Rounds in which what is known of one source may tell more of another.
const MOST_ROUNDS: usize = 16;

/// The row's own place, which is a key.
const PLACE: &str = "ctid";

/// Rows that a condition leaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reach {
    /// Values of a key: one row each.
    values: u64,
    /// Share of the table, by its statistics.
    share: f64,
    /// Rows that this share is.
    rows: f64,
}

impl Reach {
    fn of_values(values: u64) -> Self {
        Self { values, ..Self::default() }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            values: self.values.saturating_add(other.values),
            share: self.share + other.share,
            rows: self.rows + other.rows,
        }
    }

    /// Few enough to have been meant one by one.
    pub(super) fn is_bounded(self, most_values: u64) -> bool {
        self.values <= most_values
            && self.rows <= MOST_ESTIMATED
            && (self.share <= LARGEST_SHARE || self.rows <= HANDFUL)
    }

    /// All of them.
    pub(super) fn total(self) -> u64 {
        self.values.saturating_add(few(self.rows))
    }
}

/// Values that a column has at most.
#[derive(Debug, Clone, Copy)]
struct Known {
    count: u64,
    /// What they come from: two columns of one origin have their values together.
    origin: usize,
}

/// A column: its source's position, and its name there.
type Place = (usize, String);

/// What the conditions say.
#[derive(Default)]
struct Equalities {
    known: BTreeMap<Place, Known>,
    same: Vec<(Place, Place)>,
    /// The first source's row is the one that a cursor stands on.
    current: bool,
    origins: usize,
}

impl Equalities {
    /// A column has at most so many values, all of a new origin.
    fn know(&mut self, places: Vec<Place>, count: u64) {
        self.origins += 1;
        for place in places {
            let known = Known { count, origin: usize::MAX - self.origins };
            let entry = self.known.entry(place).or_insert(known);
            if count < entry.count {
                *entry = known;
            }
        }
    }
}

impl<'a> Reckoning<'_, 'a> {
    /// What conditions that all hold leave of the first source; finds out how many rows the others have.
    pub(super) fn solve(&mut self, sources: &mut [Source<'a>], conditions: &[&Node], depth: usize) -> Option<Reach> {
        let mut all = Equalities::default();
        for condition in conditions {
            if !self.step(sources.len()) {
                return None;
            }
            self.read(condition, sources, &mut all, depth);
        }
        if all.current {
            return Some(Reach::of_values(1));
        }
        for _ in 0..MOST_ROUNDS {
            let mut more = false;
            for (left, right) in all.same.clone() {
                for (one, other) in [(&left, &right), (&right, &left)] {
                    if !self.step(0) || all.known.contains_key(one) {
                        continue;
                    }
                    let carried = all.known.get(other).copied();
                    let few = sources.get(other.0).and_then(|source| source.most);
                    let few = few.map(|count| Known { count, origin: other.0 });
                    if let Some(known) = few.into_iter().chain(carried).min_by_key(|known| known.count) {
                        all.known.insert(one.clone(), known);
                        more = true;
                    }
                }
            }
            for position in 0..sources.len() {
                let free = |source: &&Source<'_>| source.most.is_none() && !source.is_target;
                let Some(source) = sources.get(position).filter(free) else { continue };
                let most = self.picked(position, source, &all.known).map(Reach::total);
                if let (Some(most), Some(source)) = (most, sources.get_mut(position)) {
                    source.most = Some(most);
                    more = true;
                }
            }
            if !more {
                break;
            }
        }
        self.picked(0, sources.first()?, &all.known)
    }

    /// What one condition says.
    fn read(&mut self, condition: &Node, sources: &[Source<'a>], all: &mut Equalities, depth: usize) {
        use protobuf::AExprKind;
        match &condition.node {
            Some(NodeEnum::CurrentOfExpr(_)) => all.current = true,
            Some(NodeEnum::SubLink(link)) if link.sub_link_type() == protobuf::SubLinkType::AnySublink => {
                if !link.oper_name.is_empty() && !is_operator(&link.oper_name, "=") {
                    return;
                }
                let places = columns(link.testexpr.as_deref(), sources);
                let query = link.subselect.as_deref().filter(|query| self.is_closed(query));
                if let (Some(places), Some(most)) = (places, query.and_then(|query| self.rows_of(query, depth))) {
                    all.know(places, most);
                }
            }
            Some(NodeEnum::AExpr(expression)) => {
                let (left, right) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
                let equals = is_operator(&expression.name, "=");
                match expression.kind() {
                    AExprKind::AexprOp if equals => self.read_equality(left, right, sources, all),
                    AExprKind::AexprIn if equals => {
                        if let (Some(places), Some(count)) = (columns(left, sources), self.listed(right)) {
                            all.know(places, count);
                        }
                    }
                    AExprKind::AexprOpAny if equals => {
                        let count = right.and_then(|array| self.elements_of(array, depth));
                        if let (Some(place), Some(count)) = (column(left, sources), count) {
                            all.know(vec![place], count);
                        }
                    }
                    AExprKind::AexprBetween | AExprKind::AexprBetweenSym => {
                        let place = column(left, sources);
                        let place = place.filter(|place| is_whole(place, sources, self.walker.catalog));
                        if let (Some(place), Some(count)) = (place, span(right)) {
                            all.know(vec![place], count);
                        }
                    }
                    // another operator, or one that leaves rows rather than picks them
                    AExprKind::AexprOp
                    | AExprKind::AexprOpAny
                    | AExprKind::AexprIn
                    | AExprKind::AexprOpAll
                    | AExprKind::AexprDistinct
                    | AExprKind::AexprNotDistinct
                    | AExprKind::AexprNullif
                    | AExprKind::AexprLike
                    | AExprKind::AexprIlike
                    | AExprKind::AexprSimilar
                    | AExprKind::AexprNotBetween
                    | AExprKind::AexprNotBetweenSym
                    | AExprKind::Undefined => {}
                }
            }
            #[allow(unreachable_patterns, reason = "the other nodes, by name")]
            None | Some(any_node!()) => {}
        }
    }

    fn read_equality(&self, left: Option<&Node>, right: Option<&Node>, sources: &[Source<'a>], all: &mut Equalities) {
        if let (Some(left), Some(right)) = (row(left), row(right)) {
            if left.len() == right.len() {
                left.iter().zip(right).for_each(|(l, r)| self.read_equality(Some(l), Some(r), sources, all));
            }
            return;
        }
        match (column(left, sources), column(right, sources)) {
            (Some(left), Some(right)) => all.same.push((left, right)),
            (Some(place), None) if self.is_given(right) => all.know(vec![place], 1),
            (None, Some(place)) if self.is_given(left) => all.know(vec![place], 1),
            (Some(_) | None, None) | (None, Some(_)) => {}
        }
    }

    /// The rows of a source that the known columns pick.
    fn picked(&self, position: usize, source: &Source<'a>, known: &BTreeMap<Place, Known>) -> Option<Reach> {
        let mine = known.iter().filter(|((at, _), _)| *at == position);
        let mut mine = mine.map(|((_, name), known)| (name.as_str(), *known)).collect::<Vec<_>>();
        mine.sort_by_key(|(_, known)| known.count);
        let (_, fewest) = mine.first()?;
        let Columns::Relation(relation) = source.item.columns else {
            // a relation that is not in the catalog may have no key; of a query that is not understood nothing is known
            return source.is_target.then(|| Reach::of_values(fewest.count));
        };
        if let Some((_, known)) = mine.iter().find(|(name, _)| *name == PLACE) {
            return Some(Reach::of_values(known.count));
        }
        let named = mine.iter().filter_map(|(name, known)| {
            let column = source.item.position(name).and_then(|at| relation.columns.get(at))?;
            Some((column, *known))
        });
        let catalog = self.walker.catalog;
        if relation.kind != Kind::View {
            let columns: Vec<(i16, Known)> = named.map(|(column, known)| (column.attribute, known)).collect();
            return of_relation(catalog, relation, &columns, source.is_target);
        }
        // a view's column that shows one of a table's is that one
        let mut tables: BTreeMap<u32, Vec<(i16, Known)>> = BTreeMap::new();
        for (column, known) in named.filter(|(column, _)| column.direct && !column.opaque) {
            let mut counts: BTreeMap<u32, Vec<i16>> = BTreeMap::new();
            for origin in column.origins.iter().filter(|origin| origin.relation != relation.id) {
                counts.entry(origin.relation).or_default().push(origin.attribute);
            }
            for (table, attributes) in counts {
                if let [one] = attributes.as_slice() {
                    tables.entry(table).or_default().push((*one, known));
                }
            }
        }
        let reaches = tables.iter().filter_map(|(id, columns)| {
            let table = catalog.relation(*id).filter(|table| table.kind != Kind::View)?;
            of_relation(catalog, table, columns, source.is_target)
        });
        fewest_rows(reaches)
    }
}

fn fewest_rows(reaches: impl Iterator<Item = Reach>) -> Option<Reach> {
    reaches.min_by(|a, b| a.share.total_cmp(&b.share).then(a.values.cmp(&b.values)))
}

/// The rows of a table that have given values in some columns. Of a table that is written a column will do by which the
/// table was made to be searched, where nothing is known of how its values are spread.
fn of_relation(catalog: &Catalog, relation: &Relation, columns: &[(i16, Known)], is_target: bool) -> Option<Reach> {
    let find = |attribute: &i16| columns.iter().find(|(number, _)| number == attribute).map(|(_, known)| *known);
    let keys = &relation.keys;
    let by_key = keys.indexes.iter().filter(|index| index.picks_one).filter_map(|index| {
        let all: Option<Vec<Known>> = index.columns.iter().map(find).collect();
        let mut origins = BTreeSet::new();
        let separate = all?.into_iter().filter(|known| origins.insert(known.origin)).collect::<Vec<_>>();
        Some(separate.iter().fold(1u64, |product, known| product.saturating_mul(known.count)))
    });
    if let Some(values) = by_key.min() {
        return Some(Reach::of_values(values));
    }
    let rows = catalog.rows(relation);
    let by_statistics = columns.iter().filter_map(|(attribute, known)| {
        #[allow(clippy::cast_precision_loss, reason = "so many values are too many anyhow")]
        let share = (keys.share(*attribute)? * known.count as f64).min(1.0);
        Some(Reach { values: 0, share, rows: share * rows })
    });
    if let Some(reach) = fewest_rows(by_statistics) {
        return Some(reach);
    }
    if !is_target {
        return None;
    }
    let keyless = !keys.indexes.iter().any(|index| index.picks_one);
    let searched = columns.iter().filter(|(attribute, _)| keyless || keys.finds(*attribute));
    searched.map(|(_, known)| known.count).min().map(Reach::of_values)
}

/// The parts of a row.
fn row(node: Option<&Node>) -> Option<&[Node]> {
    match node?.node.as_ref()? {
        NodeEnum::RowExpr(row) => Some(&row.args),
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => None,
    }
}

/// A column, or a row of them.
fn columns<'a>(node: Option<&Node>, sources: &[Source<'a>]) -> Option<Vec<Place>> {
    match row(node) {
        // those that are none say nothing
        Some(parts) => Some(parts.iter().filter_map(|part| column(Some(part), sources)).collect()),
        None => Some(vec![column(node, sources)?]),
    }
}

/// The source that a column reference means. A cast to text keeps different values apart.
fn column<'a>(node: Option<&Node>, sources: &[Source<'a>]) -> Option<Place> {
    let reference = match node?.node.as_ref()? {
        NodeEnum::ColumnRef(reference) => reference,
        NodeEnum::TypeCast(cast) => {
            let name = cast.type_name.as_ref()?;
            let plain = names::split(&name.names).1 == "text" && name.array_bounds.is_empty();
            return if plain { column(cast.arg.as_deref(), sources) } else { None };
        }
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => return None,
    };
    let parts = crate::sql::walk::strings(&reference.fields);
    if parts.len() != reference.fields.len() {
        return None;
    }
    let has = |source: &Source<'_>, name: &str| source.item.position(name).is_some() || name == PLACE;
    let known = |source: &Source<'_>| matches!(source.item.columns, Columns::Relation(_));
    match parts.as_slice() {
        [] => None,
        [name] => {
            // PostgreSQL refuses a name that two of them have
            let mut numbered = sources.iter().enumerate();
            if let Some((at, _)) = numbered.find(|(_, source)| known(source) && has(source, name)) {
                return Some((at, name.clone()));
            }
            let unknown = sources.iter().enumerate().filter(|(_, source)| !known(source));
            let at = unknown.max_by_key(|(_, source)| source.most.unwrap_or(u64::MAX))?.0;
            Some((at, name.clone()))
        }
        [.., item, name] => {
            let at = sources.iter().position(|source| source.item.alias == *item)?;
            sources.get(at).filter(|source| !known(source) || has(source, name))?;
            Some((at, name.clone()))
        }
    }
}

/// A column of whole numbers.
fn is_whole<'a>(place: &Place, sources: &[Source<'a>], catalog: &Catalog) -> bool {
    let Some(source) = sources.get(place.0) else { return false };
    let Columns::Relation(relation) = source.item.columns else { return source.item.is_unknown() };
    let column = source.item.position(&place.1).and_then(|at| relation.columns.get(at));
    // int8, int2, int4
    column.is_some_and(|column| matches!(catalog.wire_type(column.type_id), 20 | 21 | 23))
}

/// How many whole numbers a range of constants holds.
fn span(range: Option<&Node>) -> Option<u64> {
    let Some(NodeEnum::List(list)) = range.and_then(|range| range.node.as_ref()) else { return None };
    let [low, high] = list.items.as_slice() else { return None };
    let number = |node| constant(node).and_then(|text| text.trim().parse::<i64>().ok());
    Some(number(high)?.abs_diff(number(low)?).saturating_add(1))
}
