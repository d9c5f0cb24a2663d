//! Answers to questions, from the search index.

use crate::reconstruct::ColumnUse;
use crate::search::{Found, Hit, Question, Who};
use crate::sources::{Later, Search, SearchError, Unavailable};
use indexer::search::parse::Condition;
use indexer::search::{self, Deed, Document, IdentityCount, Searcher};
use kit::Clock;
use schemas::event::VerdictKind;
use std::ops::Bound;

pub(super) struct Indexed(pub(super) Searcher);

impl Search for Indexed {
    fn search<'a>(&'a self, question: &'a Question) -> Later<'a, Result<Found, SearchError>> {
        Box::pin(async move {
            let asked = search::Question::parse(&question.text, Clock::system().now_micros())
                .map_err(|error| SearchError::Question { reason: error.to_string() })?;
            let understood = understood(&asked);
            let counts = asked.who.as_ref().is_some_and(|who| matches!(who.deed, Deed::Read | Deed::TriedToRead));
            let asked = of_resources(within(asked, question.since, question.until), question.resources.as_deref());
            let (searcher, limit, offset) = (self.0.clone(), question.limit, question.offset);
            // It reads files: not on the thread that serves the other requests.
            let searched = tokio::task::spawn_blocking(move || searcher.search(&asked, limit, offset)).await;
            let searched = searched.map_err(|error| failed(error.into()))?;
            let answer = searched.map_err(|error| failed(error.into()))?;
            Ok(Found {
                understood,
                total: answer.total,
                opaque: answer.opaque,
                who: answer.identities.into_iter().map(|one| who(one, counts)).collect(),
                hits: answer.hits.into_iter().map(hit).collect(),
            })
        })
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> SearchError {
    SearchError::Index(Unavailable::failed("searching", source))
}

/// Narrows a question to a span of time, its count of what cannot be known too.
fn within(asked: search::Question, since: Option<i64>, until: Option<i64>) -> search::Question {
    if since.is_none() && until.is_none() {
        return asked;
    }
    let span = Condition::Time {
        from: since.map_or(Bound::Unbounded, Bound::Included),
        to: until.map_or(Bound::Unbounded, Bound::Excluded),
    };
    let and = |condition| Condition::And(vec![condition, span.clone()]);
    search::Question { condition: and(asked.condition), filters: and(asked.filters), who: asked.who }
}

/// Narrows a question to some databases, its count of what cannot be known too.
fn of_resources(asked: search::Question, resources: Option<&[String]>) -> search::Question {
    let Some(resources) = resources else { return asked };
    let one = |value: &String| Condition::Term { field: "resource", value: value.clone() };
    let any = Condition::Or(resources.iter().map(one).collect());
    let and = |condition| Condition::And(vec![condition, any.clone()]);
    search::Question { condition: and(asked.condition), filters: and(asked.filters), who: asked.who }
}

fn understood(asked: &search::Question) -> String {
    let Some(who) = &asked.who else { return "statements that match".to_owned() };
    match who.deed {
        Deed::Read => format!("who read {}", who.object),
        Deed::TriedToRead => format!("who tried to read {}", who.object),
        Deed::Wrote => format!("who wrote {}", who.object),
        Deed::Touched => format!("who touched {}", who.object),
        Deed::WasDenied => "who was denied".to_owned(),
    }
}

fn who(one: IdentityCount, counts: bool) -> Who {
    Who {
        identity: if one.subject.is_empty() { "(nobody known)".to_owned() } else { one.subject },
        issuer: one.issuer,
        statements: one.count,
        masked: counts.then_some(one.masked),
        clear: counts.then_some(one.clear),
        first: Some(one.first),
        last: Some(one.last),
    }
}

fn hit(found: search::Hit) -> Hit {
    let verdict = match found.verdict {
        Some(VerdictKind::Allow) => "allow",
        Some(VerdictKind::Mask) => "mask",
        Some(VerdictKind::Hold) => "hold",
        Some(VerdictKind::Deny) => "deny",
        None => "",
    };
    let column = |column: schemas::event::Column| ColumnUse {
        name: column.name,
        usage: Some(column.usage),
        masked: column.masked,
    };
    Hit {
        r#type: found.document.name(),
        statement: (found.document == Document::Statement).then_some(found.id),
        session: found.session.to_string(),
        time: found.time,
        identity: found.identity.map_or_else(|| "(nobody known)".to_owned(), |identity| identity.name),
        resource: found.resource,
        text: found.text.unwrap_or_default(),
        verdict: verdict.to_owned(),
        kind: found.kind,
        outcome: found.outcome,
        relations: found.relations.into_iter().map(|relation| relation.name).collect(),
        columns: found.columns.into_iter().map(column).collect(),
        rows: found.rows,
        duration_us: found.duration,
        sqlstate: found.sqlstate,
        found: found.found,
    }
}
