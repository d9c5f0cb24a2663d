//! A condition as a tantivy query, and the collector that counts by identity.

use super::parse::Condition;
use crate::schema::{Fields, NUMBERS, TERMS};
use std::collections::HashMap;
use std::ops::Bound;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, StrColumn};
use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader, Term};

/// Makes the query of a condition.
pub(super) fn query(condition: &Condition, fields: &Fields) -> Box<dyn Query> {
    match condition {
        Condition::All => Box::new(AllQuery),
        Condition::Term { field, value } => term(field, value, fields),
        Condition::Number { field, from, to } => match fields.number(field) {
            Some(field) => number_range(field, *from, *to),
            None => unreachable_field(field),
        },
        Condition::Time { from, to } => {
            let term = |bound: &Bound<i64>| bound.map(|at| Term::from_field_i64(fields.time, at));
            Box::new(RangeQuery::new(term(from), term(to)))
        }
        Condition::Words(words) => {
            let either = [fields.text, fields.reason].map(|field| (Occur::Should, phrase(field, words)));
            Box::new(BooleanQuery::new(either.into()))
        }
        Condition::And(parts) => boolean(parts, Occur::Must, fields),
        Condition::Or(parts) => boolean(parts, Occur::Should, fields),
        // what only excludes must have something to exclude from
        Condition::Not(_) => boolean(std::slice::from_ref(condition), Occur::Must, fields),
    }
}

fn boolean(parts: &[Condition], occur: Occur, fields: &Fields) -> Box<dyn Query> {
    let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::with_capacity(parts.len() + 1);
    for part in parts {
        match (part, occur) {
            (Condition::Not(inner), Occur::Must) => clauses.push((Occur::MustNot, query(inner, fields))),
            _ => clauses.push((occur, query(part, fields))),
        }
    }
    if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
        clauses.push((Occur::Must, Box::new(AllQuery)));
    }
    Box::new(ConstScoreQuery::new(Box::new(BooleanQuery::new(clauses)), 1.0))
}

fn term(field: &str, value: &str, fields: &Fields) -> Box<dyn Query> {
    match fields.term(field) {
        Some((field, form)) => {
            let term = Term::from_field_text(field, &form.term(value));
            Box::new(TermQuery::new(term, IndexRecordOption::Basic))
        }
        None => unreachable_field(field),
    }
}

/// The parser gives only names of [`TERMS`] and [`NUMBERS`]; another one finds nothing.
fn unreachable_field(field: &str) -> Box<dyn Query> {
    tracing::error!(
        field,
        terms = TERMS.len(),
        numbers = NUMBERS.len(),
        "a question names a field that is not indexed"
    );
    Box::new(EmptyQuery)
}

fn number_range(field: Field, from: Bound<u64>, to: Bound<u64>) -> Box<dyn Query> {
    let term = |bound: Bound<u64>| bound.map(|number| Term::from_field_u64(field, number));
    Box::new(RangeQuery::new(term(from), term(to)))
}

fn phrase(field: Field, words: &[String]) -> Box<dyn Query> {
    let mut terms: Vec<Term> = words.iter().map(|word| Term::from_field_text(field, word)).collect();
    match (terms.len(), terms.pop()) {
        (1, Some(term)) => Box::new(TermQuery::new(term, IndexRecordOption::Basic)),
        (_, Some(last)) => {
            terms.push(last);
            Box::new(PhraseQuery::new(terms))
        }
        (_, None) => Box::new(EmptyQuery),
    }
}

/// What is counted for one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Tally {
    const NONE: Self = Self { count: 0, first: i64::MAX, last: i64::MIN };

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Counts documents by identity, over fast fields alone.
pub(super) struct ByIdentity;

pub(super) struct OfSegment {
    who: Option<StrColumn>,
    time: Column<i64>,
    tallies: HashMap<u64, Tally>,
}

impl Collector for ByIdentity {
    type Fruit = HashMap<String, Tally>;
    type Child = OfSegment;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<OfSegment> {
        let fast = segment.fast_fields();
        Ok(OfSegment { who: fast.str("who")?, time: fast.i64("time")?, tallies: HashMap::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<HashMap<String, Tally>>) -> tantivy::Result<HashMap<String, Tally>> {
        let mut merged = HashMap::new();
        for (who, tally) in segments.into_iter().flatten() {
            merged.entry(who).or_insert(Tally::NONE).add(tally);
        }
        Ok(merged)
    }
}

/// Stands for documents without identity.
const NOBODY: u64 = u64::MAX;

impl SegmentCollector for OfSegment {
    type Fruit = HashMap<String, Tally>;

    fn collect(&mut self, doc: DocId, _: Score) {
        let who = self.who.as_ref().and_then(|who| who.term_ords(doc).next()).unwrap_or(NOBODY);
        let time = self.time.first(doc).unwrap_or_default();
        self.tallies.entry(who).or_insert(Tally::NONE).add(Tally { count: 1, first: time, last: time });
    }

    fn harvest(self) -> HashMap<String, Tally> {
        let mut found = HashMap::new();
        for (ordinal, tally) in self.tallies {
            let mut name = String::new();
            if ordinal != NOBODY
                && let Some(who) = &self.who
                && !matches!(who.ord_to_str(ordinal, &mut name), Ok(true))
            {
                tracing::error!(ordinal, "an identity of the index cannot be read");
                "(unreadable)".clone_into(&mut name);
            }
            found.entry(name).or_insert(Tally::NONE).add(tally);
        }
        found
    }
}
